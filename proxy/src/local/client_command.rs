//! `CLIENT` and its sub-commands, for the clients of the proxy.

use redstart_common::client_filter::{Command, Filter, Known};
use redstart_common::resp::encode::Proto;
use redstart_common::resp::{Args, RespWrite, error};
use tokio::sync::oneshot;

use crate::client::dispatch::refuse;
use crate::client::observe::Pause;
use crate::client::request::Request;
use crate::client::session::{describe, facts};
use crate::client::{ClientId, Gone, ReplyMode, tracking};
use crate::control::{Message, Which};
use crate::local::later;
use crate::texts;
use crate::topology::PoolId;
use crate::worker::Core;

const NAME_ERROR: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// A name that may be shown in a list; an empty one takes the name away.
pub fn checked_name(name: &[u8]) -> Result<Option<Box<str>>, &'static str> {
    if !name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Err(NAME_ERROR);
    }
    let name = String::from_utf8_lossy(name);
    Ok((!name.is_empty()).then(|| name.into()))
}

/// Answers `CLIENT …`.
pub fn answer(core: &mut Core, id: ClientId, request: Request<'_>) {
    let Request { args, now_us, row, .. } = request;
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let proto = if client.resp3 { Proto::Resp3 } else { Proto::Resp2 };
    match row.name {
        "client|id" => {
            let number = client.session.number as i64;
            core.down.clients.reply(id, now_us, |out| out.integer(number));
        }
        "client|getname" => {
            let name = client.session.name.clone();
            core.down.clients.reply(id, now_us, |out| match name {
                Some(name) => out.bulk(name.as_bytes()),
                None => out.null(proto),
            });
        }
        "client|setname" => match checked_name(args.at(2)) {
            Ok(name) => {
                client.session.name = name;
                core.down.clients.reply(id, now_us, |out| out.simple("OK"));
            }
            Err(text) => refuse(core, id, now_us, |out| out.error(text)),
        },
        "client|reply" => reply_mode(core, id, request),
        "client|info" => {
            let mut line = String::new();
            describe(client, now_us, &mut line);
            line.push('\n');
            core.down
                .clients
                .reply(id, now_us, |out| out.verbatim(*b"txt", line.as_bytes(), proto));
        }
        "client|no-evict" => match on_or_off(args.at(2)) {
            Some(on) => {
                client.session.no_evict = on;
                core.down.clients.reply(id, now_us, |out| out.simple("OK"));
            }
            None => refuse(core, id, now_us, |out| out.error(error::SYNTAX)),
        },
        "client|no-touch" => no_touch(core, id, args, now_us),
        "client|setinfo" => set_info(core, id, args, now_us),
        "client|list" => list(core, id, request, proto),
        "client|kill" => kill(core, id, request),
        "client|pause" => pause(core, id, request),
        "client|unpause" => pause_all(core, id, now_us, None),
        "client|unblock" => unblock(core, id, request),
        "client|tracking" | "client|caching" | "client|getredir" | "client|trackinginfo" => {
            tracking::answer(core, id, request);
        }
        "client|help" => core.down.clients.reply(id, now_us, help),
        _ => refuse(core, id, now_us, |out| texts::not_shared(out, row)),
    }
}

/// `CLIENT SETINFO` came after 7.0: its row is not in the table, yet every current library sends it first.
fn set_info(core: &mut Core, id: ClientId, args: Args<'_>, now_us: u64) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let (attribute, value) = (args.at(2), args.at(3));
    let place = match attribute.to_ascii_lowercase().as_slice() {
        b"lib-name" => &mut client.session.library,
        b"lib-ver" => &mut client.session.library_version,
        _ => {
            let text = error::about("ERR Unrecognized option '", attribute, "'");
            return refuse(core, id, now_us, |out| out.error(&text));
        }
    };
    match checked_name(value) {
        Ok(value) => {
            *place = value;
            core.down.clients.reply(id, now_us, |out| out.simple("OK"));
        }
        Err(_) => {
            let mut text = attribute.to_ascii_lowercase();
            text.splice(0..0, *b"ERR ");
            text.extend_from_slice(b" cannot contain spaces, newlines or special characters.");
            refuse(core, id, now_us, |out| out.error(&text));
        }
    }
}

/// `CLIENT NO-TOUCH on|off`, later than 7.0 as well.
fn no_touch(core: &mut Core, id: ClientId, args: Args<'_>, now_us: u64) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    match args.get(2).and_then(on_or_off) {
        Some(on) => {
            client.session.no_touch = on;
            core.down.clients.reply(id, now_us, |out| out.simple("OK"));
        }
        None => refuse(core, id, now_us, |out| out.error(error::SYNTAX)),
    }
}

fn on_or_off(word: &[u8]) -> Option<bool> {
    match word.to_ascii_lowercase().as_slice() {
        b"on" => Some(true),
        b"off" => Some(false),
        _ => None,
    }
}

fn reply_mode(core: &mut Core, id: ClientId, request: Request<'_>) {
    let Request { args, now_us, .. } = request;
    let Some(client) = core.down.clients.get_mut(id) else { return };
    match args.at(2).to_ascii_lowercase().as_slice() {
        b"on" => {
            client.reply_mode = ReplyMode::On;
            core.down.clients.reply(id, now_us, |out| out.simple("OK"));
        }
        b"off" => client.reply_mode = ReplyMode::Off,
        b"skip" if client.reply_mode == ReplyMode::On => client.reply_mode = ReplyMode::SkipNext,
        b"skip" => {}
        _ => refuse(core, id, now_us, |out| out.error(error::SYNTAX)),
    }
}

fn help(out: &mut Vec<u8>) {
    const LINES: &[&str] = &[
        "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands (through the proxy) are:",
        "CACHING, GETNAME, GETREDIR, ID, INFO, KILL, LIST, NO-EVICT, NO-TOUCH, PAUSE, REPLY, SETINFO, SETNAME, TRACKING, TRACKINGINFO, UNBLOCK, UNPAUSE.",
        "HELP",
        "    Print this help.",
    ];
    out.array_len(LINES.len());
    LINES.iter().for_each(|line| out.simple(line));
}

/// Reads the filters of CLIENT LIST and CLIENT KILL. The proxy has one user.
fn filter(core: &Core, pool: PoolId, args: Args<'_>, command: Command) -> Result<Filter, Vec<u8>> {
    let databases = usize::from(core.pools[pool].shared.settings.databases);
    Filter::read(args, command, &Known { user: &|name| name == b"default", databases })
}

/// `CLIENT LIST`, with filters, over all workers.
fn list(core: &mut Core, id: ClientId, request: Request<'_>, proto: Proto) {
    let Request { args, now_us, .. } = request;
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let (pool, number) = (client.pool, client.session.number);
    let filter = match filter(core, pool, args, Command::List) {
        Ok(filter) => filter,
        Err(text) => return refuse(core, id, now_us, |out| out.error(&text)),
    };
    let except = (filter.skip_me == Some(true)).then_some(number);
    let which = Which { pool, filter, except, ..Which::default() };
    let directory = std::sync::Arc::clone(&core.directory);
    later(core, id, now_us, async move {
        let mut lines: Vec<(u64, String)> = Vec::new();
        for worker in &directory.workers {
            let (send, receive) = oneshot::channel();
            if worker.send(Message::List(which.clone(), send)).is_ok() {
                lines.extend(receive.await.unwrap_or_default());
            }
        }
        lines.sort_unstable();
        let mut text = String::new();
        for (_, line) in lines {
            text.push_str(&line);
            text.push('\n');
        }
        let mut reply = Vec::new();
        reply.verbatim(*b"txt", text.as_bytes(), proto);
        reply
    });
}

/// `CLIENT PAUSE ms [WRITE|ALL]`
fn pause(core: &mut Core, id: ClientId, request: Request<'_>) {
    let Request { args, now_us, .. } = request;
    let problem = |core: &mut Core, text: &str| refuse(core, id, now_us, |out| out.error(text));
    let writes_only = match args.get(3).map(<[u8]>::to_ascii_lowercase).as_deref() {
        _ if args.len() > 4 => {
            return problem(
                core,
                "ERR unknown subcommand or wrong number of arguments for 'pause'. Try CLIENT HELP.",
            );
        }
        None | Some(b"all") => false,
        Some(b"write") => true,
        Some(_) => return problem(core, "ERR CLIENT PAUSE mode must be WRITE or ALL"),
    };
    let number = std::str::from_utf8(args.at(2)).ok().and_then(|text| text.parse::<i64>().ok());
    let ms = match number {
        Some(ms) if ms < 0 => return problem(core, error::TIMEOUT_NEGATIVE),
        Some(ms) => ms as u64,
        None => return problem(core, error::TIMEOUT_NOT_AN_INTEGER),
    };
    let until_us = core.directory.clock.us().saturating_add(ms.saturating_mul(1000));
    pause_all(core, id, now_us, Some(Pause { until_us, writes_only }));
}

/// Tells all workers of a pause, or of its end.
fn pause_all(core: &mut Core, id: ClientId, now_us: u64, pause: Option<Pause>) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let pool = client.pool;
    let directory = std::sync::Arc::clone(&core.directory);
    later(core, id, now_us, async move {
        for worker in &directory.workers {
            let (send, receive) = oneshot::channel();
            if worker.send(Message::Pause(pool, pause, send)).is_ok() {
                // A worker that is gone pauses nobody.
                let _ = receive.await;
            }
        }
        b"+OK\r\n".to_vec()
    });
}

/// `CLIENT UNBLOCK id [TIMEOUT|ERROR]`, over all workers.
fn unblock(core: &mut Core, id: ClientId, request: Request<'_>) {
    let Request { args, now_us, .. } = request;
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let pool = client.pool;
    let is_error = match args.get(3).map(<[u8]>::to_ascii_lowercase).as_deref() {
        None | Some(b"timeout") => false,
        Some(b"error") => true,
        Some(_) => {
            return refuse(core, id, now_us, |out| {
                out.error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
            });
        }
    };
    let number = std::str::from_utf8(args.at(2)).ok().and_then(|text| text.parse::<i64>().ok());
    let Some(number) = number else {
        return refuse(core, id, now_us, |out| out.error(error::NOT_AN_INTEGER));
    };
    let which = Which { pool, number: Some(number as u64), ..Which::default() };
    let directory = std::sync::Arc::clone(&core.directory);
    later(core, id, now_us, async move {
        let mut was_blocked = false;
        for worker in &directory.workers {
            let (send, receive) = oneshot::channel();
            if worker.send(Message::Unblock(which.clone(), is_error, send)).is_ok() {
                was_blocked |= receive.await.unwrap_or(false);
            }
        }
        let mut reply = Vec::new();
        reply.integer(i64::from(was_blocked));
        reply
    });
}

/// `CLIENT KILL address`, and `CLIENT KILL` with filters, over all workers.
fn kill(core: &mut Core, id: ClientId, request: Request<'_>) {
    let Request { args, now_us, .. } = request;
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let (pool, number) = (client.pool, client.session.number);
    let is_old_form = args.len() == 3;
    let filter = match is_old_form {
        true => Ok(Filter::of_address(args.at(2))),
        false => filter(core, pool, args, Command::Kill),
    };
    let filter = match filter {
        Ok(filter) => filter,
        Err(text) => return refuse(core, id, now_us, |out| out.error(&text)),
    };
    // Whoever kills itself still hears of it.
    let own = core.down.clients.get_mut(id).map(|client| facts(client, now_us));
    let mine = filter.skip_me == Some(false) && own.is_some_and(|own| filter.fits(&own));
    let which = Which { pool, filter, except: Some(number), ..Which::default() };
    let directory = std::sync::Arc::clone(&core.directory);
    later(core, id, now_us, async move {
        let mut count = u64::from(mine);
        for worker in &directory.workers {
            let (send, receive) = oneshot::channel();
            if worker.send(Message::Kill(which.clone(), send)).is_ok() {
                count += receive.await.unwrap_or(0);
            }
        }
        let mut reply = Vec::new();
        match (is_old_form, count) {
            (true, 0) => reply.error("ERR No such client"),
            (true, _) => reply.simple("OK"),
            (false, _) => reply.integer(count as i64),
        }
        reply
    });
    if mine && let Some(client) = core.down.clients.get_mut(id) {
        client.closing = Some(Gone::Left);
    }
}
