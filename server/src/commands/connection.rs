//! What a client says about its connection.

use redstart_common::number;
use redstart_common::resp::Proto;
use redstart_common::resp::error;

use super::Handlers;
use super::options::{Options, integer_between};
use crate::client::{Flags, Origin};
use crate::clustering::moves::MARK;
use crate::dispatch::transaction;
use crate::engine::{Call, Core};
use crate::engine::{CommandError, CommandResult, DB_OUT_OF_RANGE};
use crate::pubsub::Channel;

pub(super) const HANDLERS: Handlers = &[
    ("auth", auth),
    ("echo", echo),
    ("hello", hello),
    ("ping", ping),
    ("quit", quit),
    ("reset", reset),
    ("select", select),
];

/// `PING [message]`
pub fn ping(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    if args.len() > 2 {
        return Err(CommandError::arity("ping"));
    }
    if call.client.origin != Origin::Client
        && let Some(text) = call.args.get(1).and_then(|text| text.strip_prefix(MARK))
    {
        Core::hear_mark(call.keyspace, text);
        // The log of a replica says it too.
        call.dirty(1);
    }
    let reply = &mut call.client.reply;
    if call.client.flags.any(Flags::SUBSCRIBED) && reply.proto == Proto::Resp2 {
        reply.array(2);
        reply.bulk(b"pong");
        reply.bulk(args.get(1).unwrap_or_default());
        return Ok(());
    }
    match args.get(1) {
        Some(message) => reply.bulk(message),
        None => reply.raw(b"+PONG\r\n"),
    }
    Ok(())
}

/// `ECHO message`
pub fn echo(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.bulk(call.args.at(1));
    Ok(())
}

/// `QUIT`
pub fn quit(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.ok();
    call.client.flags.set(Flags::CLOSE_AFTER_REPLY);
    Ok(())
}

/// `SELECT index`
pub fn select(call: &mut Call<'_>) -> CommandResult {
    let index = integer_between(call.arg(1), i32::MIN.into(), i32::MAX.into())?;
    if call.is_in_cluster() && index != 0 {
        return Err(CommandError::new("ERR SELECT is not allowed in cluster mode"));
    }
    match usize::try_from(index) {
        Ok(index) if index < call.core.settings.databases => {
            call.client.db = index;
            call.client.reply.ok();
            Ok(())
        }
        _ => Err(DB_OUT_OF_RANGE),
    }
}

const WRONG_PASSWORD: CommandError = CommandError::new(error::WRONG_PASS);

fn authenticate(call: &mut Call<'_>, user: &[u8], password: &[u8]) -> CommandResult {
    let by = call.arg(0);
    if call.core.log_in(call.client, user, password, by) { Ok(()) } else { Err(WRONG_PASSWORD) }
}

/// `AUTH [username] password`
pub fn auth(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    match args.len() {
        2 => {
            if call.core.users.default_user().no_password {
                return Err(CommandError::new(error::AUTH_WITHOUT_PASSWORD));
            }
            authenticate(call, b"default", args.at(1))?;
        }
        3 => authenticate(call, args.at(1), args.at(2))?,
        _ => return Err(crate::engine::SYNTAX),
    }
    call.client.reply.ok();
    Ok(())
}

/// Whether a name can be printed in CLIENT LIST: no spaces, nothing unprintable.
pub(super) fn is_plain(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

/// The refusal of a name that is not.
pub(super) const NAME_NOT_PLAIN: CommandError =
    CommandError::new("ERR Client names cannot contain spaces, newlines or special characters.");

/// `HELLO [protover [AUTH username password] [SETNAME clientname]]`
pub fn hello(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let mut proto = call.client.reply.proto;
    if let Some(version) = args.get(1) {
        proto = match number::parse_i64(version) {
            Some(2) => Proto::Resp2,
            Some(3) => Proto::Resp3,
            Some(_) => return Err(CommandError::new(error::NO_PROTO)),
            None => {
                return Err(CommandError::new(error::PROTO_NOT_AN_INTEGER));
            }
        };
    }
    let mut options = Options::new(args, 2.min(args.len()));
    let mut name = None;
    while let Some(word) = options.word() {
        if word.eq_ignore_ascii_case(b"AUTH") && options.left() >= 2 {
            let (user, password) = (options.need()?, options.need()?);
            authenticate(call, user, password)?;
        } else if word.eq_ignore_ascii_case(b"SETNAME") && options.left() >= 1 {
            let given = options.need()?;
            if !is_plain(given) {
                return Err(NAME_NOT_PLAIN);
            }
            name = Some(given.to_vec());
        } else {
            return Err(CommandError::about("ERR Syntax error in HELLO option '", word, "'"));
        }
    }
    if !call.client.authenticated {
        return Err(CommandError::new(error::HELLO_NO_AUTH));
    }
    if let Some(name) = name {
        call.client.name = name;
    }
    let id = call.client.id;
    let is_sentinel = call.core.sentinel.is_some();
    let mode: &[u8] = match (is_sentinel, call.is_in_cluster()) {
        (true, _) => b"sentinel",
        (false, true) => b"cluster",
        (false, false) => b"standalone",
    };
    let role: &[u8] = if call.core.replication.is_replica() { b"replica" } else { b"master" };
    let zone = call.core.settings.availability_zone.as_str();
    let reply = &mut call.client.reply;
    reply.proto = proto;
    reply.map(6 + usize::from(!is_sentinel) + usize::from(!zone.is_empty()));
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(crate::REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(if proto == Proto::Resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.integer(id as i64);
    reply.bulk(b"mode");
    reply.bulk(mode);
    if !is_sentinel {
        reply.bulk(b"role");
        reply.bulk(role);
    }
    reply.bulk(b"modules");
    reply.array(0);
    if !zone.is_empty() {
        reply.bulk(b"availability_zone");
        reply.bulk(zone.as_bytes());
    }
    Ok(())
}

/// `RESET`
pub fn reset(call: &mut Call<'_>) -> CommandResult {
    transaction::discard_transaction(call);
    for kind in [Channel::Plain, Channel::Pattern, Channel::Shard] {
        let channels: Vec<Box<[u8]>> = call.client.channels.of(kind).iter().cloned().collect();
        for channel in channels {
            call.core.pubsub.unsubscribe(call.client, kind, &channel);
        }
    }
    call.core.tracking.disable(call.client);
    let id = call.client.id;
    call.core.monitors.retain(|monitor| *monitor != id);
    let client = &mut *call.client;
    client.flags.clear(
        Flags::MONITOR
            .or(Flags::REPLY_OFF)
            .or(Flags::REPLY_SKIP)
            .or(Flags::REPLY_SKIP_NEXT)
            .or(Flags::NO_EVICT)
            .or(Flags::NO_TOUCH)
            .or(Flags::FOLLOWS)
            .or(Flags::ASKING)
            .or(Flags::READS_REPLICA),
    );
    client.db = 0;
    client.name.clear();
    client.reply.proto = Proto::Resp2;
    client.authenticated = call.core.users.open_to_all();
    call.core.become_user(client, b"default");
    client.reply.raw(b"+RESET\r\n");
    Ok(())
}
