//! XINFO and XPENDING.

use redstart_common::resp::error;

use super::super::options::{Options, integer};
use super::{answer_entry, answer_id, no_group, no_key_or_group, range_end, range_start};
use crate::client::Reply;
use crate::engine::{Call, CommandError, CommandResult, NO_SUCH_KEY, SYNTAX};
use crate::types::Stream;
use crate::types::stream::{Consumer, Group, Idempotence, Pending, StreamId, UNKNOWN_READS};

/// `XPENDING key group [[IDLE min-idle-time] start end count [consumer]]`
pub(super) fn xpending(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (key, name) = (args.at(1), args.at(2));
    let wanted = match args.len() {
        3 => None,
        6..=9 => Some(wanted(call)?),
        _ => return Err(SYNTAX),
    };
    let now_ms = call.now_ms();
    let most = call.output_most();
    let stream = call.keyspace.db(call.client.db).read_as::<Stream>(key)?;
    let group = stream.and_then(|stream| stream.group(name));
    let group = group.ok_or_else(|| no_key_or_group(key, name))?;
    let reply = &mut call.client.reply;
    let Some(wanted) = wanted else {
        answer_overview(reply, group);
        return Ok(());
    };
    let open = reply.begin();
    let mut written = 0;
    let mut answer = |id: StreamId, held: &Pending| {
        if id > wanted.end || written == wanted.count || reply.pending() > most {
            return false;
        }
        let idle = now_ms.wrapping_sub(held.delivered_ms);
        if wanted.min_idle_ms == 0 || idle >= wanted.min_idle_ms {
            reply.array(4);
            answer_id(reply, id);
            reply.bulk(group.owner_name(held));
            reply.integer(idle.max(0));
            reply.integer(held.deliveries as i64);
            written += 1;
        }
        true
    };
    let pending = group.pending();
    match wanted.consumer {
        None => {
            pending.iter_from(wanted.start).all(|(id, held)| answer(id, held));
        }
        Some(name) => {
            if let Some(consumer) = group.find(name) {
                let own = group.consumer(consumer).pending().iter_from(wanted.start);
                let mut own = own.filter_map(|(id, ())| Some((id, pending.get(id)?)));
                own.all(|(id, held)| answer(id, held));
            }
        }
    }
    reply.end_array(open, written);
    Ok(())
}

/// Which pending entries XPENDING is to tell of.
struct Wanted<'a> {
    min_idle_ms: i64,
    start: StreamId,
    end: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

fn wanted<'a>(call: &Call<'a>) -> Result<Wanted<'a>, CommandError> {
    let args = call.args;
    let (mut at, mut min_idle_ms) = (3, 0);
    if args.at(3).eq_ignore_ascii_case(b"IDLE") {
        min_idle_ms = integer(args.at(4))?;
        if args.len() < 8 {
            return Err(SYNTAX);
        }
        at = 5;
    }
    let count = usize::try_from(integer(args.at(at + 2))?).unwrap_or(0);
    let (start, end) = (range_start(args.at(at))?, range_end(args.at(at + 1))?);
    Ok(Wanted { min_idle_ms, start, end, count, consumer: args.get(at + 3) })
}

fn answer_overview(reply: &mut Reply, group: &Group) {
    let pending = group.pending();
    reply.array(4);
    reply.count(pending.len());
    let (Some((first, _)), Some((last, _))) = (pending.first(), pending.last()) else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    answer_id(reply, first);
    answer_id(reply, last);
    let busy = || group.consumers().filter(|consumer| !consumer.pending().is_empty());
    reply.array(busy().count());
    for consumer in busy() {
        reply.array(2);
        reply.bulk(consumer.name());
        reply.bulk_int(consumer.pending().len() as i64);
    }
}

fn syntax(call: &Call<'_>) -> CommandError {
    CommandError::made(error::subcommand_syntax(b"XINFO", call.arg(1)))
}

fn stream_of<'c>(call: &'c mut Call<'_>) -> Result<(&'c Stream, &'c mut Reply), CommandError> {
    let stream = call.keyspace.db(call.client.db).read_as::<Stream>(call.args.at(2))?;
    Ok((stream.ok_or(NO_SUCH_KEY)?, &mut call.client.reply))
}

fn answer_reads(reply: &mut Reply, group: &Group) {
    match group.entries_read {
        UNKNOWN_READS => reply.null(),
        reads => reply.integer(reads),
    }
}

fn answer_lag(reply: &mut Reply, stream: &Stream, group: &Group) {
    match stream.lag(group) {
        Some(lag) => reply.integer(lag),
        None => reply.null(),
    }
}

/// `XINFO CONSUMERS key group`
pub(super) fn consumers(call: &mut Call<'_>) -> CommandResult {
    let (key, name, now_ms) = (call.arg(2), call.arg(3), call.now_ms());
    let (stream, reply) = stream_of(call)?;
    let group = stream.group(name).ok_or_else(|| no_group(name, key))?;
    reply.array(group.consumer_count());
    for consumer in group.consumers() {
        reply.map(3);
        reply.bulk(b"name");
        reply.bulk(consumer.name());
        reply.bulk(b"pending");
        reply.count(consumer.pending().len());
        reply.bulk(b"idle");
        reply.integer(now_ms.wrapping_sub(consumer.seen_ms).max(0));
    }
    Ok(())
}

/// `XINFO GROUPS key`
pub(super) fn groups(call: &mut Call<'_>) -> CommandResult {
    let (stream, reply) = stream_of(call)?;
    reply.array(stream.groups().len());
    for group in stream.groups() {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(group.name());
        reply.bulk(b"consumers");
        reply.count(group.consumer_count());
        reply.bulk(b"pending");
        reply.count(group.pending().len());
        reply.bulk(b"last-delivered-id");
        answer_id(reply, group.last_id);
        reply.bulk(b"entries-read");
        answer_reads(reply, group);
        reply.bulk(b"lag");
        answer_lag(reply, stream, group);
    }
    Ok(())
}

/// `XINFO STREAM key [FULL [COUNT count]]`
pub(super) fn stream(call: &mut Call<'_>) -> CommandResult {
    /// How much FULL tells of each part unless told.
    const COUNT: usize = 10;
    let args = call.args;
    // The key comes first, whatever is said of the options.
    let is_there = call.keyspace.db(call.client.db).read_as::<Stream>(args.at(2))?.is_some();
    if !is_there {
        return Err(NO_SUCH_KEY);
    }
    let mut full = None;
    if args.len() > 3 {
        let mut options = Options::new(args, 3);
        if !options.take("FULL") {
            return Err(syntax(call));
        }
        full = Some(COUNT);
        if options.left() > 0 {
            if options.left() != 2 || !options.take("COUNT") {
                return Err(syntax(call));
            }
            full = Some(match options.integer()? {
                ..0 => COUNT,
                0 => usize::MAX,
                count => usize::try_from(count).unwrap_or(usize::MAX),
            });
        }
    }
    let most = call.output_most();
    let Some(stream) = call.keyspace.db(call.client.db).peek_as::<Stream>(args.at(2))? else {
        return Err(NO_SUCH_KEY);
    };
    let reply = &mut call.client.reply;
    // What 7.0.15 does not tell is told of streams that have it.
    let known = stream.idempotence();
    let more = if known.is_some() { 6 } else { 0 };
    reply.map(more + if full.is_some() { 9 } else { 10 });
    answer_facts(reply, stream);
    known.into_iter().for_each(|known| answer_known(reply, known));
    match full {
        None => answer_ends(reply, stream),
        Some(count) => answer_full(reply, stream, count, most),
    }
    Ok(())
}

fn answer_facts(reply: &mut Reply, stream: &Stream) {
    let facts = stream.facts();
    reply.bulk(b"length");
    reply.integer(facts.length as i64);
    reply.bulk(b"radix-tree-keys");
    reply.count(stream.nodes().len());
    reply.bulk(b"radix-tree-nodes");
    reply.count(stream.radix_tree_nodes());
    reply.bulk(b"last-generated-id");
    answer_id(reply, facts.last_id);
    reply.bulk(b"max-deleted-entry-id");
    answer_id(reply, facts.max_deleted_id);
    reply.bulk(b"entries-added");
    reply.integer(facts.entries_added as i64);
    reply.bulk(b"recorded-first-entry-id");
    answer_id(reply, facts.first_id);
}

/// What is known of producers (Redis 8.6).
fn answer_known(reply: &mut Reply, known: &Idempotence) {
    let memory = known.memory();
    let counts = [
        (&b"idmp-duration"[..], memory.seconds),
        (b"idmp-maxsize", memory.most),
        (b"pids-tracked", known.producer_count() as u64),
        (b"iids-tracked", known.name_count() as u64),
        (b"iids-added", known.added),
        (b"iids-duplicates", known.duplicates),
    ];
    for (name, count) in counts {
        reply.bulk(name);
        reply.integer(count as i64);
    }
}

fn answer_ends(reply: &mut Reply, stream: &Stream) {
    reply.bulk(b"groups");
    reply.count(stream.groups().len());
    let (first, last) = (
        stream.range(StreamId::MIN, StreamId::MAX).next(),
        stream.range_back(StreamId::MIN, StreamId::MAX).next(),
    );
    for (name, entry) in [(&b"first-entry"[..], first), (b"last-entry", last)] {
        reply.bulk(name);
        match entry {
            Some(entry) => answer_entry(reply, entry),
            None => reply.null(),
        }
    }
}

fn answer_full(reply: &mut Reply, stream: &Stream, count: usize, most: usize) {
    reply.bulk(b"entries");
    let open = reply.begin();
    let mut written = 0;
    for entry in stream.range(StreamId::MIN, StreamId::MAX).take(count) {
        if reply.pending() > most {
            break;
        }
        answer_entry(reply, entry);
        written += 1;
    }
    reply.end_array(open, written);
    reply.bulk(b"groups");
    reply.array(stream.groups().len());
    for group in stream.groups() {
        let released = group.released_count();
        reply.map(7 + usize::from(released > 0));
        reply.bulk(b"name");
        reply.bulk(group.name());
        reply.bulk(b"last-delivered-id");
        answer_id(reply, group.last_id);
        reply.bulk(b"entries-read");
        answer_reads(reply, group);
        reply.bulk(b"lag");
        answer_lag(reply, stream, group);
        reply.bulk(b"pel-count");
        reply.count(group.pending().len());
        if released > 0 {
            reply.bulk(b"nacked-count");
            reply.count(released);
        }
        reply.bulk(b"pending");
        reply.array(group.pending().len().min(count));
        for (id, held) in group.pending().iter().take(count) {
            reply.array(4);
            answer_id(reply, id);
            reply.bulk(group.owner_name(held));
            answer_delivery(reply, held);
        }
        reply.bulk(b"consumers");
        reply.array(group.consumer_count());
        group.consumers().for_each(|consumer| answer_consumer(reply, group, consumer, count));
    }
}

fn answer_delivery(reply: &mut Reply, held: &Pending) {
    reply.integer(held.delivered_ms);
    reply.integer(held.deliveries as i64);
}

fn answer_consumer(reply: &mut Reply, group: &Group, consumer: &Consumer, count: usize) {
    reply.map(4);
    reply.bulk(b"name");
    reply.bulk(consumer.name());
    reply.bulk(b"seen-time");
    reply.integer(consumer.seen_ms);
    reply.bulk(b"pel-count");
    reply.count(consumer.pending().len());
    reply.bulk(b"pending");
    let own = consumer.pending().iter().filter_map(|(id, ())| Some((id, group.pending().get(id)?)));
    reply.array(consumer.pending().len().min(count));
    for (id, held) in own.take(count) {
        reply.array(3);
        answer_id(reply, id);
        answer_delivery(reply, held);
    }
}

/// `XINFO HELP`
pub(super) fn help(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.help(
        "XINFO",
        &[
            "CONSUMERS <key> <groupname>",
            "    Show consumers of <groupname>.",
            "GROUPS <key>",
            "    Show the stream consumer groups.",
            "STREAM <key> [FULL [COUNT <count>]",
            "    Show information about the stream.",
        ],
    );
    Ok(())
}
