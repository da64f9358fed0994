//! `CLIENT TRACKING`, `CACHING`, `GETREDIR` and `TRACKINGINFO`.

use redstart_common::client_tracking::{Before, Choice, Options};
use redstart_common::resp::encode::Proto;
use redstart_common::resp::{Args, RespWrite, error};
use tokio::sync::oneshot;

use super::{Hearer, Mode, listen};
use crate::client::dispatch::refuse;
use crate::client::request::Request;
use crate::client::{Client, ClientId};
use crate::control::{Message, Which};
use crate::worker::Core;

/// What is wrong with a request.
type Problem = Vec<u8>;

/// Answers those of the sub-commands of CLIENT that are about tracking.
pub fn answer(core: &mut Core, id: ClientId, request: Request<'_>) {
    let now_us = request.now_us;
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let done = match request.row.name {
        "client|tracking" => match tracking(core, id, request) {
            Ok(false) => return,
            done => done.map(|_| b"+OK\r\n".to_vec()),
        },
        "client|caching" => caching(client, request.args).map(|()| b"+OK\r\n".to_vec()),
        "client|getredir" => {
            let mut out = Vec::new();
            out.integer(client.tracking_shown().1);
            Ok(out)
        }
        _ => Ok(info(client)),
    };
    match done {
        Ok(reply) => core.down.clients.reply(id, now_us, |out| out.extend_from_slice(&reply)),
        Err(text) => refuse(core, id, now_us, |out| out.error(&text)),
    }
}

/// Says whether it is done: whoever is to hear may be another worker's client.
fn tracking(core: &mut Core, id: ClientId, request: Request<'_>) -> Result<bool, Problem> {
    // Who is to hear is looked for later, over all workers.
    let given = Options::read(request.args, |_| Ok(()))?;
    let Some(client) = core.down.clients.get_mut(id) else { return Ok(true) };
    let (pool, word) = (client.pool, request.args.at(2));
    if word.eq_ignore_ascii_case(b"OFF") {
        if let Some(subscriptions) = &mut client.subscriptions
            && subscriptions.tracking.take().is_some()
        {
            if subscriptions.is_empty() {
                client.subscriptions = None;
            }
            super::left(core, id, pool);
        }
        return Ok(true);
    }
    if !word.eq_ignore_ascii_case(b"ON") {
        return Err(error::SYNTAX.into());
    }
    let Some(number) = given.redirect.map(|id| u64::try_from(id).unwrap_or(0)) else {
        return enable(core, id, given, None).map(|()| true);
    };
    let is_meant = |it: &&Client| it.session.number == number && it.pool == pool;
    let own = core.down.clients.iter().find(is_meant).map(|it| it.id);
    if let Some(own) = own {
        let hearer = Hearer { number, worker: core.number, id: own };
        return enable(core, id, given, Some(hearer)).map(|()| true);
    }
    find(core, id, request.now_us, given, number);
    Ok(false)
}

/// Looks for whoever is to hear among the other workers' clients, and answers then.
fn find(core: &mut Core, id: ClientId, now_us: u64, given: Options, number: u64) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let which = Which { pool: client.pool, number: Some(number), ..Which::default() };
    let sequence = client.begin(now_us);
    // What comes next is read as it is about to be.
    client.barrier = true;
    let Some(worker) = core.me.upgrade() else { return };
    let directory = std::sync::Arc::clone(&core.directory);
    tokio::task::spawn_local(async move {
        let mut found = None;
        for (worker, line) in directory.workers.iter().enumerate() {
            let (send, receive) = oneshot::channel();
            if line.send(Message::Find(which.clone(), send)).is_ok()
                && let Ok(Some(id)) = receive.await
            {
                found = Some(Hearer { number, worker, id });
            }
        }
        let core = &mut *worker.core.borrow_mut();
        let done = match found {
            Some(hearer) => enable(core, id, given, Some(hearer)),
            None => Err(b"ERR The client ID you want redirect to does not exist".to_vec()),
        };
        let mut reply = Vec::new();
        match done {
            Ok(()) => reply.simple("OK"),
            Err(text) => reply.error(&text),
        }
        let now_us = core.clock.now_us();
        core.down.clients.answer(id, sequence, &reply, now_us);
    });
}

fn enable(
    core: &mut Core,
    id: ClientId,
    given: Options,
    redirect: Option<Hearer>,
) -> Result<(), Problem> {
    let Some(client) = core.down.clients.get_mut(id) else { return Ok(()) };
    let pool = client.pool;
    let before = client.mode().map(|old| &*old);
    let before = before.map(|old| Before { prefixes: old.prefixes.as_ref(), choice: old.choice });
    given.check(before)?;
    let choice = given.choice();
    let mode = client.subscriptions.get_or_insert_default().tracking.take();
    let is_new = mode.is_none();
    let before = mode.unwrap_or_default();
    let prefixes = given.broadcast.then(|| {
        let mut all = before.prefixes.clone().unwrap_or_default();
        all.extend(given.prefixes);
        if all.is_empty() { vec![Box::default()] } else { all }
    });
    let Mode { queued, later, .. } = *before;
    let (caching, is_broken, no_loop) = (false, false, given.no_loop);
    let mode = Mode { redirect, prefixes, choice, caching, no_loop, is_broken, queued, later };
    client.subscriptions.get_or_insert_default().tracking = Some(Box::new(mode));
    if is_new {
        core.tracking(pool).clients.push(id);
        listen(core, pool);
    }
    Ok(())
}

/// `CLIENT CACHING YES | NO`
fn caching(client: &mut Client, args: Args<'_>) -> Result<(), Problem> {
    let Some(mode) = client.mode() else {
        return Err(b"ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled".into());
    };
    let (wanted, problem) = match args.at(2).to_ascii_lowercase().as_slice() {
        b"yes" => (
            Choice::OptIn,
            "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
        ),
        b"no" => (
            Choice::OptOut,
            "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
        ),
        _ => return Err(error::SYNTAX.into()),
    };
    if mode.choice != wanted {
        return Err(problem.into());
    }
    mode.caching = true;
    Ok(())
}

/// `CLIENT TRACKINGINFO`
fn info(client: &mut Client) -> Vec<u8> {
    let proto = if client.resp3 { Proto::Resp3 } else { Proto::Resp2 };
    let (_, redirect) = client.tracking_shown();
    let mode = client.mode();
    let mut flags = vec![if mode.is_some() { "on" } else { "off" }];
    let mut prefixes: Vec<&[u8]> = Vec::new();
    if let Some(mode) = &mode {
        flags.extend(mode.prefixes.as_ref().map(|_| "bcast"));
        flags.extend(mode.choice.flags(mode.caching));
        flags.extend(mode.no_loop.then_some("noloop"));
        flags.extend(mode.is_broken.then_some("broken_redirect"));
        prefixes.extend(mode.prefixes.iter().flatten().map(|prefix| &**prefix));
    }
    prefixes.sort_unstable();
    let mut out = Vec::new();
    out.map_len(3, proto);
    out.bulk(b"flags");
    out.set_reply_len(flags.len(), proto);
    flags.iter().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"redirect");
    out.integer(redirect);
    out.bulk(b"prefixes");
    out.array_len(prefixes.len());
    prefixes.iter().for_each(|prefix| out.bulk(prefix));
    out
}
