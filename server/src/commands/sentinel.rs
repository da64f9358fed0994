//! `SENTINEL` and its sub-commands, and what other commands answer in a sentinel.

use redstart_common::number::parse_i64;
use redstart_common::resp::Args;

use super::Handlers;
use crate::client::Flags;
use crate::engine::asks::Ask;
use crate::engine::{Call, CommandError, CommandResult};
use crate::sentinel::{HELLO_CHANNEL, Key, Outside, Refused, Sentinel, Wanted};

pub(super) const HANDLERS: Handlers = &[
    ("sentinel|ckquorum", check_quorum),
    ("sentinel|config", config),
    ("sentinel|debug", debug),
    ("sentinel|failover", failover),
    ("sentinel|flushconfig", flush_config),
    ("sentinel|get-master-addr-by-name", address_by_name),
    ("sentinel|get-primary-addr-by-name", address_by_name),
    ("sentinel|help", help),
    ("sentinel|info-cache", info_cache),
    ("sentinel|is-master-down-by-addr", is_primary_down),
    ("sentinel|is-primary-down-by-addr", is_primary_down),
    ("sentinel|master", primary),
    ("sentinel|masters", primaries),
    ("sentinel|primaries", primaries),
    ("sentinel|primary", primary),
    ("sentinel|monitor", monitor),
    ("sentinel|myid", my_id),
    ("sentinel|pending-scripts", pending_scripts),
    ("sentinel|remove", remove),
    ("sentinel|replicas", replicas),
    ("sentinel|reset", reset),
    ("sentinel|sentinels", sentinels),
    ("sentinel|set", set),
    ("sentinel|simulate-failure", simulate_failure),
    ("sentinel|slaves", replicas),
];

const NO_SUCH_PRIMARY: CommandError = CommandError::new("ERR No such master with that name");
const NOT_SAVED: CommandError =
    CommandError::new("ERR Failed to save config file. Check server logs.");
/// These commands exist nowhere else; a table that is wrong is no reason to panic.
const NO_SENTINEL: CommandError = CommandError::new("ERR This is no sentinel");

/// What the file system says, for the paths of scripts.
struct Files;

impl Outside for Files {
    fn resolve(&mut self, _: &str) -> Option<String> {
        // Names are looked up by the shell while clients are served.
        None
    }

    fn is_executable(&mut self, path: &str) -> bool {
        crate::process::files::is_executable(path)
    }
}

/// An argument as text. What is none cannot be written to the configuration and read again.
fn text<'a>(args: Args<'a>, index: usize) -> Result<&'a str, CommandError> {
    std::str::from_utf8(args.at(index))
        .map_err(|_| CommandError::new("ERR Arguments of SENTINEL must be valid UTF-8"))
}

fn texts(args: Args<'_>) -> Result<Vec<&str>, CommandError> {
    (0..args.len()).map(|index| text(args, index)).collect()
}

/// An error of these words, which may bring their own code behind a `-`.
fn error(words: &str) -> CommandError {
    match words.strip_prefix('-') {
        Some(coded) => CommandError::made(coded.to_owned()),
        None => CommandError::made(format!("ERR {words}")),
    }
}

/// Has the sentinel do something. Answers whether the configuration could be written, too.
fn ask<R>(
    call: &mut Call<'_>,
    act: impl FnOnce(&mut Sentinel) -> R,
) -> Result<(R, bool), CommandError> {
    let now = call.now_ms();
    call.core.with_sentinel(now, Some(call.client), act).ok_or(NO_SENTINEL)
}

/// Shows something of the sentinel's.
fn look<'c>(call: &'c Call<'_>) -> Result<&'c Sentinel, CommandError> {
    call.core.sentinel.as_deref().ok_or(NO_SENTINEL)
}

fn saved(is_saved: bool, call: &mut Call<'_>) -> CommandResult {
    if !is_saved {
        return Err(NOT_SAVED);
    }
    call.client.reply.ok();
    Ok(())
}

fn refused(reason: Refused) -> CommandError {
    match reason {
        Refused::NoSuchPrimary => NO_SUCH_PRIMARY,
        Refused::Because(words) => error(&words),
    }
}

fn show(call: &mut Call<'_>, key: &Key) -> CommandResult {
    let (fields, _) = ask(call, |sentinel| sentinel.fields(key))?;
    let reply = &mut call.client.reply;
    reply.map(fields.len());
    for (name, value) in fields {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    Ok(())
}

fn show_all(call: &mut Call<'_>, keys: &[Key]) -> CommandResult {
    call.client.reply.array(keys.len());
    keys.iter().try_for_each(|key| show(call, key))
}

/// `SENTINEL MASTERS`
pub fn primaries(call: &mut Call<'_>) -> CommandResult {
    let keys: Vec<Key> = look(call)?.primaries().keys().map(|name| Key::primary(name)).collect();
    show_all(call, &keys)
}

/// `SENTINEL MASTER master-name`
pub fn primary(call: &mut Call<'_>) -> CommandResult {
    let name = text(call.args, 2)?;
    look(call)?.primary(name).ok_or(NO_SUCH_PRIMARY)?;
    show(call, &Key::primary(name))
}

/// `SENTINEL REPLICAS master-name`
pub fn replicas(call: &mut Call<'_>) -> CommandResult {
    let name = text(call.args, 2)?;
    let keys = look(call)?.announced_replicas(name).ok_or(NO_SUCH_PRIMARY)?;
    show_all(call, &keys)
}

/// `SENTINEL SENTINELS master-name`
pub fn sentinels(call: &mut Call<'_>) -> CommandResult {
    let name = text(call.args, 2)?;
    let keys = look(call)?.sentinels_of(name).ok_or(NO_SUCH_PRIMARY)?;
    show_all(call, &keys)
}

/// `SENTINEL MYID`
pub fn my_id(call: &mut Call<'_>) -> CommandResult {
    let id = look(call)?.id.clone();
    call.client.reply.bulk(id.as_bytes());
    Ok(())
}

fn number(bytes: &[u8], words: &str) -> Result<i64, CommandError> {
    parse_i64(bytes).ok_or_else(|| error(words))
}

/// `SENTINEL IS-MASTER-DOWN-BY-ADDR ip port current-epoch runid`
pub fn is_primary_down(call: &mut Call<'_>) -> CommandResult {
    const NOT_A_NUMBER: &str = "value is not an integer or out of range";
    let args = call.args;
    let port = number(args.at(3), NOT_A_NUMBER)?;
    let epoch = number(args.at(4), NOT_A_NUMBER)?.cast_unsigned();
    let (host, candidate) = (text(args, 2)?, text(args, 5)?);
    let ((is_down, leader, epoch), _) =
        ask(call, |sentinel| sentinel.is_primary_down(host, port, epoch, candidate))?;
    let reply = &mut call.client.reply;
    reply.array(3);
    reply.integer(i64::from(is_down));
    reply.bulk(leader.as_deref().unwrap_or("*").as_bytes());
    reply.integer(epoch.cast_signed());
    Ok(())
}

/// `SENTINEL RESET pattern`
pub fn reset(call: &mut Call<'_>) -> CommandResult {
    let pattern = text(call.args, 2)?;
    let (count, _) = ask(call, |sentinel| sentinel.reset_matching(pattern))?;
    call.client.reply.count(count);
    Ok(())
}

/// `SENTINEL GET-MASTER-ADDR-BY-NAME master-name`
pub fn address_by_name(call: &mut Call<'_>) -> CommandResult {
    let name = text(call.args, 2)?;
    let sentinel = look(call)?;
    let found = sentinel.primary(name).map(|primary| {
        let at = primary.current_address();
        (sentinel.announced(at).to_owned(), at.port.to_string())
    });
    let reply = &mut call.client.reply;
    match found {
        Some((host, port)) => {
            reply.array(2);
            reply.bulk(host.as_bytes());
            reply.bulk(port.as_bytes());
        }
        None => reply.null_array(),
    }
    Ok(())
}

/// `SENTINEL FAILOVER master-name`
pub fn failover(call: &mut Call<'_>) -> CommandResult {
    let name = text(call.args, 2)?;
    let (outcome, _) = ask(call, |sentinel| sentinel.force_failover(name))?;
    outcome.map_err(refused)?;
    call.client.reply.ok();
    Ok(())
}

/// `SENTINEL PENDING-SCRIPTS`
pub fn pending_scripts(call: &mut Call<'_>) -> CommandResult {
    let now = call.now_ms();
    let jobs = look(call)?.scripts().to_vec();
    let reply = &mut call.client.reply;
    reply.array(jobs.len());
    for job in jobs {
        reply.map(5);
        reply.bulk(b"argv");
        reply.array(job.words.len());
        job.words.iter().for_each(|word| reply.bulk(word.as_bytes()));
        reply.bulk(b"flags");
        reply.bulk(if job.is_running { b"running" } else { b"scheduled" });
        reply.bulk(b"pid");
        reply.bulk_int(i64::from(job.pid));
        if job.is_running {
            reply.bulk(b"run-time");
            reply.bulk_int(now - job.time);
        } else {
            reply.bulk(b"run-delay");
            reply.bulk_int(if job.time == 0 { 0 } else { (job.time - now).max(0) });
        }
        reply.bulk(b"retry-num");
        reply.bulk_int(i64::from(job.tries));
    }
    Ok(())
}

/// `SENTINEL MONITOR name ip port quorum`
pub fn monitor(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let quorum = number(args.at(5), "Invalid quorum")?;
    let port = number(args.at(4), "Invalid port")?;
    if quorum <= 0 {
        return Err(CommandError::new("ERR Quorum must be 1 or greater."));
    }
    let quorum = u32::try_from(quorum).unwrap_or(u32::MAX);
    let (name, host) = (text(args, 2)?.to_owned(), text(args, 3)?.to_owned());
    let wanted = Wanted { name, host, port, quorum };
    if look(call)?.is_unresolved(&wanted.host) && call.may_block() {
        call.core.asks.push(Ask::Monitor { client: call.client.id, wanted });
        call.client.flags.set(Flags::BLOCKED);
        return Ok(());
    }
    let Wanted { name, host, port, quorum } = wanted;
    let (outcome, is_saved) = ask(call, |it| it.monitor(&name, &host, port, quorum))?;
    outcome.map_err(|words| error(&words))?;
    saved(is_saved, call)
}

/// `SENTINEL FLUSHCONFIG`
pub fn flush_config(call: &mut Call<'_>) -> CommandResult {
    let ((), is_saved) = ask(call, Sentinel::flush)?;
    saved(is_saved, call)
}

/// `SENTINEL REMOVE master-name`
pub fn remove(call: &mut Call<'_>) -> CommandResult {
    let name = text(call.args, 2)?;
    let (outcome, is_saved) = ask(call, |sentinel| sentinel.remove(name))?;
    outcome.map_err(refused)?;
    saved(is_saved, call)
}

/// `SENTINEL CKQUORUM master-name`
pub fn check_quorum(call: &mut Call<'_>) -> CommandResult {
    let name = text(call.args, 2)?;
    let found = look(call)?.quorum(name).ok_or(NO_SUCH_PRIMARY)?;
    let usable = found.usable;
    let mut reasons = Vec::new();
    if !found.is_reached {
        reasons
            .push("Not enough available Sentinels to reach the specified quorum for this master");
    }
    if !found.is_majority {
        reasons
            .push("Not enough available Sentinels to reach the majority and authorize a failover");
    }
    if !reasons.is_empty() {
        let reasons = reasons.join(". ");
        return Err(CommandError::made(format!("NOQUORUM {usable} usable Sentinels. {reasons}")));
    }
    call.client.reply.simple(&format!(
        "OK {usable} usable Sentinels. Quorum and failover authorization can be reached"
    ));
    Ok(())
}

/// `SENTINEL SET master-name option value [option value ...]`
pub fn set(call: &mut Call<'_>) -> CommandResult {
    let name = text(call.args, 2)?;
    let words = texts(call.args.tail(3))?;
    let (outcome, is_saved) = ask(call, |sentinel| sentinel.set(name, &words, &mut Files))?;
    match outcome.map_err(refused)?.refused {
        Some(reason) => Err(error(&reason)),
        None => saved(is_saved, call),
    }
}

/// `SENTINEL CONFIG SET option value` and `SENTINEL CONFIG GET pattern`
pub fn config(call: &mut Call<'_>) -> CommandResult {
    let words = texts(call.args)?;
    match words.as_slice() {
        [_, _, set, option, value] if set.eq_ignore_ascii_case("set") => {
            let (outcome, is_saved) = ask(call, |it| it.set_global(option, value))?;
            outcome.map_err(|words| error(&words))?;
            saved(is_saved, call)
        }
        [_, _, get, pattern] if get.eq_ignore_ascii_case("get") => get_config(call, pattern),
        _ => Err(CommandError::new(
            "ERR Only SENTINEL CONFIG GET <option> / SET <option> <value> are supported.",
        )),
    }
}

fn get_config(call: &mut Call<'_>, pattern: &str) -> CommandResult {
    let globals = look(call)?.globals().clone();
    let flag = |flag: bool| if flag { "yes" } else { "no" }.to_owned();
    let mut found = vec![
        ("resolve-hostnames", flag(globals.resolve_hostnames)),
        ("announce-hostnames", flag(globals.announce_hostnames)),
        ("announce-ip", globals.announce_ip.unwrap_or_default()),
        ("announce-port", globals.announce_port.to_string()),
        ("sentinel-user", globals.user.unwrap_or_default()),
        ("sentinel-pass", globals.password.unwrap_or_default()),
    ];
    found.retain(|(name, _)| {
        redstart_common::glob::matches(pattern.as_bytes(), name.as_bytes(), true)
    });
    let reply = &mut call.client.reply;
    reply.map(found.len());
    for (name, value) in found {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    Ok(())
}

/// `SENTINEL INFO-CACHE name [name ...]`
pub fn info_cache(call: &mut Call<'_>) -> CommandResult {
    let mut names = texts(call.args.tail(2))?;
    names.sort_unstable();
    names.dedup();
    let (found, _) = ask(call, |sentinel| {
        let known = names.iter().filter_map(|name| sentinel.primary(name));
        let known = known.map(|primary| {
            let all = std::iter::once(&primary.own).chain(primary.replicas.values());
            let all = all.map(|it| (sentinel.info_age(it), it.info.clone()));
            (primary.own.name.clone(), all.collect::<Vec<_>>())
        });
        known.collect::<Vec<_>>()
    })?;
    let reply = &mut call.client.reply;
    reply.array(found.len() * 2);
    for (name, instances) in found {
        reply.bulk(name.as_bytes());
        reply.array(instances.len());
        for (age, info) in instances {
            reply.array(2);
            reply.integer(age);
            match info {
                Some(info) => reply.bulk(info.as_bytes()),
                None => reply.null(),
            }
        }
    }
    Ok(())
}

/// `SENTINEL SIMULATE-FAILURE [CRASH-AFTER-ELECTION | CRASH-AFTER-PROMOTION | HELP ...]`
pub fn simulate_failure(call: &mut Call<'_>) -> CommandResult {
    use redstart_common::log;
    let words: Vec<String> = texts(call.args.tail(2))?.iter().map(|it| it.to_lowercase()).collect();
    let sentinel = call.core.sentinel.as_deref_mut().ok_or(NO_SENTINEL)?;
    sentinel.simulated = Default::default();
    for word in words {
        match word.as_str() {
            "crash-after-election" => {
                sentinel.simulated.after_election = true;
                log!(
                    Warning,
                    "Failure simulation: this Sentinel will crash after being successfully elected \
                     as failover leader"
                );
            }
            "crash-after-promotion" => {
                sentinel.simulated.after_promotion = true;
                log!(
                    Warning,
                    "Failure simulation: this Sentinel will crash after promoting the selected \
                     replica to master"
                );
            }
            "help" => {
                let reply = &mut call.client.reply;
                reply.array(2);
                reply.bulk(b"crash-after-election");
                reply.bulk(b"crash-after-promotion");
                return Ok(());
            }
            _ => return Err(CommandError::new("ERR Unknown failure simulation specified")),
        }
    }
    call.client.reply.ok();
    Ok(())
}

/// `SENTINEL DEBUG [option value ...]`
pub fn debug(call: &mut Call<'_>) -> CommandResult {
    let words = texts(call.args.tail(2))?;
    if !words.is_empty() {
        let (outcome, _) = ask(call, |sentinel| sentinel.set_periods(&words))?;
        outcome.map_err(|words| error(&words))?;
        call.client.reply.ok();
        return Ok(());
    }
    let periods = look(call)?.periods.all();
    let reply = &mut call.client.reply;
    reply.map(periods.len());
    for (name, ms) in periods {
        reply.bulk(name.as_bytes());
        reply.bulk_int(ms);
    }
    Ok(())
}

/// `PUBLISH`, which takes hellos of other sentinels.
pub fn publish(call: &mut Call<'_>) -> CommandResult {
    if call.arg(1) != HELLO_CHANNEL.as_bytes() {
        return Err(CommandError::new(
            "ERR Only HELLO messages are accepted by Sentinel instances.",
        ));
    }
    let hello = String::from_utf8_lossy(call.arg(2)).into_owned();
    ask(call, |sentinel| sentinel.take_hello(&hello))?;
    call.client.reply.integer(1);
    Ok(())
}

/// `ROLE`
pub fn role(call: &mut Call<'_>) -> CommandResult {
    let names: Vec<String> = look(call)?.primaries().keys().cloned().collect();
    let reply = &mut call.client.reply;
    reply.array(2);
    reply.bulk(b"sentinel");
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name.as_bytes()));
    Ok(())
}

/// `SENTINEL HELP`
pub fn help(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.help(
        "SENTINEL",
        &[
            "CKQUORUM <master-name>",
            "    Check if the current Sentinel configuration is able to reach the quorum",
            "    needed to failover a master and the majority needed to authorize the",
            "    failover.",
            "CONFIG SET <param> <value>",
            "    Set a global Sentinel configuration parameter.",
            "CONFIG GET <param>",
            "    Get global Sentinel configuration parameter.",
            "DEBUG [<param> <value> ...]",
            "    Show a list of configurable time parameters and their values (milliseconds).",
            "    Or update current configurable parameters values (one or more).",
            "GET-MASTER-ADDR-BY-NAME <master-name>",
            "    Return the ip and port number of the master with that name.",
            "FAILOVER <master-name>",
            "    Manually failover a master node without asking for agreement from other",
            "    Sentinels",
            "FLUSHCONFIG",
            "    Force Sentinel to rewrite its configuration on disk, including the current",
            "    Sentinel state.",
            "INFO-CACHE <master-name>",
            "    Return last cached INFO output from masters and all its replicas.",
            "IS-MASTER-DOWN-BY-ADDR <ip> <port> <current-epoch> <runid>",
            "    Check if the master specified by ip:port is down from current Sentinel's",
            "    point of view.",
            "MASTER <master-name>",
            "    Show the state and info of the specified master.",
            "MASTERS",
            "    Show a list of monitored masters and their state.",
            "MONITOR <name> <ip> <port> <quorum>",
            "    Start monitoring a new master with the specified name, ip, port and quorum.",
            "MYID",
            "    Return the ID of the Sentinel instance.",
            "PENDING-SCRIPTS",
            "    Get pending scripts information.",
            "REMOVE <master-name>",
            "    Remove master from Sentinel's monitor list.",
            "REPLICAS <master-name>",
            "    Show a list of replicas for this master and their state.",
            "RESET <pattern>",
            "    Reset masters for specific master name matching this pattern.",
            "SENTINELS <master-name>",
            "    Show a list of Sentinel instances for this master and their state.",
            "SET <master-name> <option> <value> [<option> <value> ...]",
            "    Set configuration parameters for certain masters.",
            "SIMULATE-FAILURE [CRASH-AFTER-ELECTION] [CRASH-AFTER-PROMOTION] [HELP]",
            "    Simulate a Sentinel crash.",
        ],
    );
    Ok(())
}
