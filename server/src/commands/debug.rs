//! `DEBUG`: for tests, and only where `enable-debug-command` allows.

mod memory;

use redstart_common::glob;
use redstart_common::resp::error;
use redstart_common::resp::{Proto, RespWrite};
use sha1::{Digest, Sha1};

use super::Handlers;
use super::options::integer;
use crate::client::{Client, Flags};
use crate::cluster::{Cluster, Turn};
use crate::encoding::listpack::Element;
use crate::engine::Call;
use crate::engine::asks::{Ask, Source};
use crate::engine::{CommandError, CommandResult, NO_SUCH_KEY};
use crate::keyspace::{Entry, Kind, Str};
use crate::settings::Protected;
use crate::types::stream::StreamId;
use crate::types::{Object, Stream};

pub(super) const HANDLERS: Handlers = &[("debug", debug)];

/// Whether a client may use commands that are protected so.
pub(super) fn is_allowed(client: &Client, protected: Protected) -> bool {
    match protected {
        Protected::Yes => true,
        Protected::No => false,
        Protected::Local => client.flags.any(Flags::UNIX) || client.address.starts_with("127."),
    }
}

/// `DEBUG subcommand [argument ...]`
pub fn debug(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    if !is_allowed(call.client, call.core.settings.enable_debug_command) {
        return Err(CommandError::new(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", \
             you can run it from a local connection, otherwise you need to set this option in the \
             configuration file, and then restart the server.",
        ));
    }
    let word = String::from_utf8_lossy(args.at(1)).to_ascii_lowercase();
    match (word.as_str(), args.len()) {
        ("help", 2) => help(call),
        ("sleep", 3) => sleep(call),
        ("segfault", 2) => redstart_common::crash::crash(),
        ("panic", 2) => {
            let at = redstart_common::clock::unix_ms() / 1000;
            panic!("Panic called at Unix time {at}")
        }
        ("set-active-expire", 3) => {
            call.core.settings.active_expire = args.at(2) != b"0";
            call.client.reply.ok();
            Ok(())
        }
        ("object", 3) => object(call),
        ("digest", 2) => {
            let digest = dataset_digest(call);
            call.client.reply.simple(&hex(digest));
            Ok(())
        }
        ("digest-value", _) => {
            call.client.reply.array(args.len() - 2);
            for key in args.tail(2).iter() {
                let digest = match call.db().peek(key) {
                    Some(entry) => value_digest(entry, [0; 20]),
                    None => [0; 20],
                };
                call.client.reply.simple(&hex(digest));
            }
            Ok(())
        }
        ("protocol", 3) => protocol(call),
        ("stringmatch-len", 4) => {
            let length = usize::try_from(integer(args.at(2))?).unwrap_or(0).min(1 << 28);
            let text = vec![b'a'; length];
            let found = glob::matches(args.at(3), &text, false);
            call.client.reply.integer(i64::from(found));
            Ok(())
        }
        ("htstats", 3) => table_statistics(call),
        ("htstats-key", 3) => table_statistics_of_key(call),
        ("mallctl", 3 | 4) => memory::number(call),
        ("mallctl-str", 3 | 4) => memory::text(call),
        ("replicate", 3..) => {
            let words: Vec<&[u8]> = args.tail(2).iter().collect();
            call.core.feed.push(call.client.db, &words);
            call.client.reply.ok();
            Ok(())
        }
        ("pause-cron", 3) => {
            call.core.cron_paused = args.at(2) != b"0";
            call.client.reply.ok();
            Ok(())
        }
        ("set-skip-checksum-validation", 3) => {
            call.core.checksums_skipped = args.at(2) != b"0";
            call.client.reply.ok();
            Ok(())
        }
        ("set-disable-deny-scripts", 3) => {
            call.core.scripting.may_call_all = args.at(2) != b"0";
            call.client.reply.ok();
            Ok(())
        }
        ("quicklist-packed-threshold", 3) => packed_threshold(call),
        ("replybuffer", 4) => reply_buffer(call),
        ("config-rewrite-force-all", 2) => {
            super::config::rewrite_file(call, crate::settings::file::Extent::All)
        }
        ("clusterlink", 5) if args.at(2).eq_ignore_ascii_case(b"kill") => kill_links(call),
        ("drop-cluster-packet-filter", 3) => {
            let kind = u16::try_from(integer(args.at(2))?).ok();
            let drop = |cluster: &mut Cluster, _: &mut Turn<'_>| cluster.drop_kind(kind);
            call.core.cluster_step(call.keyspace, Some(call.client), drop);
            call.client.reply.ok();
            Ok(())
        }
        ("close-cluster-link-on-packet-drop", 3) => {
            let closes = integer(args.at(2))? != 0;
            let set = |cluster: &mut Cluster, _: &mut Turn<'_>| cluster.close_where_dropped(closes);
            call.core.cluster_step(call.keyspace, Some(call.client), set);
            call.client.reply.ok();
            Ok(())
        }
        ("change-repl-id", 2) => {
            call.core.replicate(call.keyspace, Some(call.client), |replication, turn| {
                replication.change_id(turn);
            });
            call.client.reply.ok();
            Ok(())
        }
        ("error", 3) => Err(CommandError::made(args.at(2))),
        ("log", 3) => {
            redstart_common::log!(Warning, "DEBUG LOG: {}", String::from_utf8_lossy(args.at(2)));
            call.client.reply.ok();
            Ok(())
        }
        ("populate", 3..=5) => populate(call),
        ("reload", _) => reload(call),
        ("loadaof", _) => load_log(call),
        ("aof-flush-sleep", 3) => {
            let us = u64::try_from(integer(args.at(2))?).unwrap_or(0);
            call.core.logging.flush_sleep = std::time::Duration::from_micros(us);
            call.client.reply.ok();
            Ok(())
        }
        _ => Err(CommandError::made(error::subcommand_syntax(b"DEBUG", args.at(1)))),
    }
}

/// `DEBUG CLUSTERLINK KILL <to|from|all> <node-id>`
fn kill_links(call: &mut Call<'_>) -> CommandResult {
    let Some(cluster) = &call.core.cluster else {
        return Err(CommandError::new(
            "ERR Debug option only available for cluster mode enabled setup!",
        ));
    };
    let name = call.args.at(4);
    let node =
        cluster.find(name).ok_or_else(|| CommandError::about("ERR Unknown node ", name, ""))?;
    let way = call.args.at(3);
    let is = |word: &[u8]| way.eq_ignore_ascii_case(word) || way.eq_ignore_ascii_case(b"all");
    if !is(b"to") && !is(b"from") {
        return Err(CommandError::about("ERR Unknown direction ", way, ""));
    }
    let (to, from) = (is(b"to"), is(b"from"));
    call.core.cluster_step(call.keyspace, Some(call.client), |cluster, turn| {
        cluster.kill_links(node, to, from, turn);
    });
    call.client.reply.ok();
    Ok(())
}

/// From which size on Redis gives an element of a list a node of its own. Lists here have one kind of node, whatever
/// the size, so that nothing depends on the number; it is checked as Redis checks it, for tests that set it.
fn packed_threshold(call: &mut Call<'_>) -> CommandResult {
    if redstart_common::number::parse_memory(call.arg(2)).is_none_or(|bytes| bytes >= 4 << 30) {
        return Err(CommandError::new(
            "ERR argument must be a memory value bigger than 1 and smaller than 4gb",
        ));
    }
    call.client.reply.ok();
    Ok(())
}

/// When Redis shrinks the reply buffers of idle clients. Here a buffer is given back as soon as it is sent, so that
/// there is none to shrink; what is asked for is checked, for tests that ask.
fn reply_buffer(call: &mut Call<'_>) -> CommandResult {
    let (what, value) = (call.arg(2), call.arg(3));
    if what.eq_ignore_ascii_case(b"peak-reset-time") {
        let named = [&b"never"[..], b"reset"].iter().any(|word| value.eq_ignore_ascii_case(word));
        if !named {
            integer(value)?;
        }
    } else if !what.eq_ignore_ascii_case(b"resizing") {
        let before = "ERR unknown subcommand or wrong number of arguments for '";
        return Err(CommandError::about(before, call.arg(1), "'. Try DEBUG HELP."));
    }
    call.client.reply.ok();
    Ok(())
}

/// `DEBUG SLEEP seconds`. As in Redis, what follows the number is passed over, and what is none is nought.
fn sleep(call: &mut Call<'_>) -> CommandResult {
    const MOST_S: f64 = 1e6;
    let text = call.arg(2).trim_ascii_start();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    let number = std::str::from_utf8(&text[..digits]).unwrap_or_default();
    let seconds = number.parse::<f64>().unwrap_or(0.0).min(MOST_S);
    // It is asked for: the whole server stands still.
    std::thread::sleep(std::time::Duration::from_secs_f64(seconds));
    call.client.reply.ok();
    Ok(())
}

/// How full the tables of a database are.
fn table_statistics(call: &mut Call<'_>) -> CommandResult {
    let index = usize::try_from(integer(call.arg(2))?).ok();
    let db = index
        .and_then(|index| call.keyspace.dbs.get(index))
        .ok_or(CommandError::new("ERR Out of range database"))?;
    let mut text = String::new();
    let lengths = [db.len(), db.volatile_len()];
    for ((name, (buckets, overflow)), count) in
        ["Dictionary", "Expires"].into_iter().zip(db.bucket_counts()).zip(lengths)
    {
        text += &format!("[{name} HT]\n");
        text += &table_text(buckets, overflow, count);
    }
    call.client.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// What is known of one table.
fn table_text(buckets: usize, overflow: usize, count: usize) -> String {
    let head = "Hash table 0 stats (main hash table):\n";
    match count {
        0 => format!("{head}No stats available for empty dictionaries\n"),
        _ => format!(
            "{head} table size: {buckets}\n number of elements: {count}\n overflow buckets: {overflow}\n"
        ),
    }
}

/// `DEBUG HTSTATS-KEY key`
fn table_statistics_of_key(call: &mut Call<'_>) -> CommandResult {
    let db = call.keyspace.db(call.client.db);
    let entry = db.look_any(call.args.at(2)).ok_or(NO_SUCH_KEY)?;
    let counts = entry.object().and_then(Object::table_counts).ok_or(CommandError::new(
        "ERR The value stored at the specified key is not represented using an hash table",
    ))?;
    let (buckets, overflow, count) = counts;
    let text = table_text(buckets, overflow, count);
    call.client.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

fn object(call: &mut Call<'_>) -> CommandResult {
    let key = call.arg(2);
    let clock = call.keyspace.shared.lru_clock.get();
    // Past its deadline or not: who asks wants to know what lies there.
    let entry = call.keyspace.db(call.client.db).look_any(key).ok_or(NO_SUCH_KEY)?;
    let mut length = 0;
    each_text(entry, |text| length += text.len() + 1);
    let idle = clock.wrapping_sub(entry.lru()) & 0xff_ffff;
    let mut line = format!(
        "Value at:{:p} refcount:1 encoding:{} serializedlength:{length} lru:{} lru_seconds_idle:{idle}",
        entry,
        entry.encoding_name(),
        entry.lru(),
    );
    if let Some(Object::List(list)) = entry.object() {
        let nodes = list.node_count();
        let mean = list.len() as f64 / nodes.max(1) as f64;
        line += &format!(
            " ql_nodes:{nodes} ql_avg_node:{mean:.2} ql_listpack_max:{} ql_compressed:{} ql_uncompressed_size:{}",
            call.core.settings.packed.list_node,
            u8::from(list.compressed_count() > 0),
            list.open_bytes(),
        );
    }
    call.client.reply.simple(&line);
    Ok(())
}

fn each_text(entry: &Entry, mut visit: impl FnMut(&[u8])) {
    match (entry.string(), entry.object()) {
        (Some(Str::Int(number)), _) => visit(number.to_string().as_bytes()),
        (Some(Str::Bytes(bytes)), _) => visit(bytes),
        (None, Some(Object::List(list))) => {
            list.walk(crate::types::list::End::Front, |_, element| {
                element.with_text(&mut visit);
                true
            })
        }
        (None, Some(Object::Set(set))) => set.for_each(|member| member.with_text(&mut visit)),
        (None, Some(Object::Hash(hash))) => hash.for_each_stored(|field, value, _| {
            field.with_text(&mut visit);
            value.with_text(&mut visit);
        }),
        (None, Some(Object::Zset(zset))) => zset.walk(0, false, |member, _| {
            member.with_text(&mut visit);
            true
        }),
        (None, Some(Object::Stream(stream))) => each_word(stream, visit),
        (None, Some(Object::Bloom(filter))) => {
            visit(&filter.header());
            filter.links().iter().for_each(|link| visit(&link.data));
        }
        (None, None) => {}
    }
}

/// Ids, as DEBUG DIGEST writes them, and fields of a stream.
fn each_word(stream: &Stream, mut visit: impl FnMut(&[u8])) {
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        visit(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
        entry.for_each(|name, value| {
            name.with_text(&mut visit);
            value.with_text(&mut visit);
        });
    }
}

type Sum = [u8; 20];

fn hex(digest: Sum) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Adds a text where order does not count.
fn add(digest: &mut Sum, text: &[u8]) {
    for (held, byte) in digest.iter_mut().zip(Sha1::digest(text)) {
        *held ^= byte;
    }
}

/// Adds a text where order counts.
fn mix(digest: &mut Sum, text: &[u8]) {
    add(digest, text);
    *digest = Sha1::digest(*digest).into();
}

/// A type's number in Redis, where modules have the 5.
fn kind_number(kind: Kind) -> u32 {
    match kind {
        Kind::Stream => 6,
        Kind::Bloom => 5,
        other => other as u32,
    }
}

/// The digest of one value, by Redis's rules, so that equal data gives equal digests whatever its form and whoever holds
/// it. It goes on from that of the key.
fn value_digest(entry: &Entry, mut digest: Sum) -> Sum {
    mix(&mut digest, &kind_number(entry.kind()).to_be_bytes());
    match (entry.string(), entry.object()) {
        (Some(_), _) | (None, Some(Object::List(_) | Object::Stream(_) | Object::Bloom(_))) => {
            each_text(entry, |text| mix(&mut digest, text));
        }
        (None, Some(Object::Set(set))) => {
            set.for_each(|member| member.with_text(|text| add(&mut digest, text)));
        }
        (None, Some(Object::Zset(zset))) => {
            let mut number = redstart_common::number::FloatText::new();
            zset.walk(0, false, |member, score| {
                let mut pair = [0; 20];
                member.with_text(|text| mix(&mut pair, text));
                mix(&mut pair, number.format_17g(score).as_bytes());
                add(&mut digest, &pair);
                true
            });
        }
        (None, Some(Object::Hash(hash))) => {
            hash.for_each_stored(|field: Element<'_>, value: Element<'_>, deadline| {
                let mut pair = [0; 20];
                field.with_text(|text| mix(&mut pair, text));
                value.with_text(|text| mix(&mut pair, text));
                if deadline.is_some() {
                    add(&mut pair, b"!!hexpire!!");
                }
                add(&mut digest, &pair);
            });
        }
        (None, None) => {}
    }
    if entry.deadline().is_some() {
        add(&mut digest, b"!!expire!!");
    }
    digest
}

fn dataset_digest(call: &Call<'_>) -> Sum {
    let mut all = [0; 20];
    for db in call.keyspace.dbs.iter().filter(|db| !db.is_empty()) {
        mix(&mut all, &(db.index() as u32).to_be_bytes());
        for entry in db.iter() {
            let mut digest = [0; 20];
            mix(&mut digest, entry.key());
            add(&mut all, &value_digest(entry, digest));
        }
    }
    all
}

#[allow(clippy::approx_constant, reason = "the number Redis answers with")]
fn protocol(call: &mut Call<'_>) -> CommandResult {
    let word = String::from_utf8_lossy(call.arg(2)).to_ascii_lowercase();
    let proto = call.client.reply.proto;
    let out = call.client.reply.encoded();
    match word.as_str() {
        "string" => out.bulk(b"Hello World"),
        "integer" => out.integer(12345),
        "double" => out.double(3.141, proto),
        "null" => out.null(proto),
        "array" => {
            out.array_len(3);
            (0..3).for_each(|n| out.integer(n));
        }
        "set" => {
            out.set_reply_len(3, proto);
            (0..3).for_each(|n| out.integer(n));
        }
        "map" => {
            out.map_len(3, proto);
            for n in 0..3 {
                out.integer(n);
                out.boolean(n == 1, proto);
            }
        }
        "attrib" => {
            if proto == Proto::Resp3 {
                out.attribute_len(1);
                out.bulk(b"key-popularity");
                out.array_len(2);
                out.bulk(b"key:123");
                out.integer(90);
            }
            out.bulk(b"Some real reply following the attribute");
        }
        "push" => {
            out.push_len(2, proto);
            out.bulk(b"server-cpu-usage");
            out.integer(42);
        }
        "verbatim" => out.verbatim(*b"txt", b"This is a verbatim\nstring", proto),
        "bignum" => out.big_number(b"1234567999999999999999999999999999999", proto),
        "true" => out.boolean(true, proto),
        "false" => out.boolean(false, proto),
        _ => {
            return Err(CommandError::new(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}

fn populate(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let count = super::options::count(args.at(2))?;
    let prefix = args.get(3).unwrap_or(b"key");
    let size = match args.get(4) {
        Some(size) => usize::try_from(integer(size)?).unwrap_or(0).min(512 << 20),
        None => 0,
    };
    for n in 0..count {
        let mut key = prefix.to_vec();
        key.extend_from_slice(format!(":{n}").as_bytes());
        if call.db().contains(&key) {
            continue;
        }
        let mut value = format!("value:{n}").into_bytes();
        if size > 0 {
            value.resize(size, 0);
        }
        call.db().set_string(&key, &value, crate::keyspace::Deadline::Clear);
        call.modified(&key);
    }
    call.client.reply.ok();
    Ok(())
}

/// `DEBUG RELOAD [MERGE] [NOFLUSH] [NOSAVE]`
fn reload(call: &mut Call<'_>) -> CommandResult {
    let (mut flushes, mut saves, mut replaces) = (true, true, false);
    for word in call.args.tail(2).iter() {
        match word {
            _ if word.eq_ignore_ascii_case(b"MERGE") => replaces = true,
            _ if word.eq_ignore_ascii_case(b"NOFLUSH") => flushes = false,
            _ if word.eq_ignore_ascii_case(b"NOSAVE") => saves = false,
            _ => {
                return Err(CommandError::new(
                    "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
                ));
            }
        }
    }
    may_wait(call)?;
    if saves && !call.core.save(call.keyspace) {
        return Err(CommandError::new("ERR"));
    }
    load_again(call, flushes, Source::Dump { replaces });
    Ok(())
}

/// `DEBUG LOADAOF`
fn load_log(call: &mut Call<'_>) -> CommandResult {
    may_wait(call)?;
    if call.core.prepare_log_reload(call.keyspace).is_err() {
        std::process::exit(1);
    }
    load_again(call, true, Source::Log);
    Ok(())
}

/// The data is loaded between the turns, so that others are told meanwhile that it is.
fn may_wait(call: &Call<'_>) -> CommandResult {
    if call.may_block() && call.core.reports.is_some() && call.core.saved.loading.is_none() {
        return Ok(());
    }
    Err(CommandError::new(
        "ERR The data cannot be loaded again within a transaction or another load",
    ))
}

fn load_again(call: &mut Call<'_>, flushes: bool, source: Source) {
    if flushes {
        call.core.scripting.forget_libraries();
        call.keyspace.dbs.iter_mut().for_each(crate::keyspace::Db::clear);
    }
    // From this command on, so that nobody sees or changes what is half loaded.
    call.core.begin_loading(call.keyspace, 0, false);
    call.core.asks.push(Ask::Reload { client: call.client.id, source });
    call.client.flags.set(Flags::BLOCKED);
}

fn help(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.help(
        "DEBUG",
        &[
            "AOF-FLUSH-SLEEP <microsec>",
            "    Server will sleep before flushing the AOF, this is used for testing.",
            "CHANGE-REPL-ID",
            "    Change the replication IDs of the instance.",
            "CONFIG-REWRITE-FORCE-ALL",
            "    Like CONFIG REWRITE but writes all configuration options, including",
            "    keywords not listed in original configuration file or default values.",
            "DIGEST",
            "    Output a hex signature representing the current DB content.",
            "DIGEST-VALUE <key> [<key> ...]",
            "    Output a hex signature of the values of all the specified keys.",
            "ERROR <string>",
            "    Return a Redis protocol error with <string> as message.",
            "HTSTATS <dbid>",
            "    Return hash table statistics of the specified Redis database.",
            "HTSTATS-KEY <key>",
            "    Like HTSTATS but for the hash table stored at <key>'s value.",
            "LOADAOF",
            "    Flush the AOF buffers on disk and reload the AOF in memory.",
            "LOG <message>",
            "    Write <message> to the server log.",
            "MALLCTL <key> [<val>]",
            "    Get or set a malloc tuning integer.",
            "MALLCTL-STR <key> [<val>]",
            "    Get or set a malloc tuning string.",
            "CLUSTERLINK KILL <to|from|all> <node-id>",
            "    Kills the link based on the direction to/from (both) with the provided node.",
            "DROP-CLUSTER-PACKET-FILTER <packet-type>",
            "    Drop all packets that match the filtered type. Set to -1 allow all packets.",
            "OBJECT <key>",
            "    Show low level info about <key> and associated value.",
            "PAUSE-CRON <0|1>",
            "    Stop periodic cron job processing.",
            "PANIC",
            "    Crash the server simulating a panic.",
            "POPULATE <count> [<prefix>] [<size>]",
            "    Create <count> string keys named key:<num>.",
            "PROTOCOL <type>",
            "    Reply with a test value of the specified type.",
            "QUICKLIST-PACKED-THRESHOLD <size>",
            "    Taken for tests; lists have one kind of node.",
            "RELOAD [option ...]",
            "    Save the RDB on disk and reload it back to memory. Valid <option> values:",
            "    * MERGE: conflicting keys will be loaded from RDB.",
            "    * NOFLUSH: the existing database will not be removed before load, but",
            "      conflicting keys will generate an exception and kill the server.",
            "    * NOSAVE: the database will be loaded from an existing RDB file.",
            "REPLICATE <string>",
            "    Replicates the provided string to replicas, allowing data divergence.",
            "REPLYBUFFER <PEAK-RESET-TIME|RESIZING> <value>",
            "    Taken for tests; reply buffers are given back once they are sent.",
            "SEGFAULT",
            "    Crash the server with sigsegv.",
            "SET-ACTIVE-EXPIRE <0|1>",
            "    Setting it to 0 disables expiring keys in background.",
            "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
            "    Enables or disables checksum checks for RESTORE's payload.",
            "SLEEP <seconds>",
            "    Stop the server for <seconds>. Decimals allowed.",
            "STRINGMATCH-LEN <len> <pattern>",
            "    Run glob style matching against a string of <len> letters.",
        ],
    );
    Ok(())
}
