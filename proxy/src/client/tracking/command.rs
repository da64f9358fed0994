//! `CLIENT TRACKING`, `CACHING`, `GETREDIR` and `TRACKINGINFO`.

use redstart_common::resp::encode::Proto;
use redstart_common::resp::{Args, RespWrite, error};
use tokio::sync::oneshot;

use super::{Choice, Hearer, Mode, listen};
use crate::client::dispatch::refuse;
use crate::client::request::Request;
use crate::client::{Client, ClientId};
use crate::control::{Message, Which};
use crate::worker::Core;

/// What is wrong with a request.
type Problem = Vec<u8>;

/// The options of CLIENT TRACKING as they came.
#[derive(Debug, Default, PartialEq, Eq)]
struct Given {
    redirect: Option<u64>,
    broadcast: bool,
    opt_in: bool,
    opt_out: bool,
    no_loop: bool,
    prefixes: Vec<Box<[u8]>>,
}

fn options(args: Args<'_>) -> Result<Given, Problem> {
    let mut given = Given::default();
    let mut at = 3;
    while at < args.len() {
        let value = args.get(at + 1);
        match (args.at(at).to_ascii_uppercase().as_slice(), value) {
            (b"REDIRECT", Some(value)) => {
                if given.redirect.is_some() {
                    return Err(b"ERR A client can only redirect to a single other client".into());
                }
                let number = std::str::from_utf8(value).ok().and_then(|it| it.parse::<i64>().ok());
                let number = number.ok_or(error::NOT_AN_INTEGER)?;
                given.redirect = Some(u64::try_from(number).unwrap_or(0));
                at += 1;
            }
            (b"PREFIX", Some(value)) => {
                given.prefixes.push(value.into());
                at += 1;
            }
            (b"BCAST", _) => given.broadcast = true,
            (b"OPTIN", _) => given.opt_in = true,
            (b"OPTOUT", _) => given.opt_out = true,
            (b"NOLOOP", _) => given.no_loop = true,
            _ => return Err(error::SYNTAX.into()),
        }
        at += 1;
    }
    Ok(given)
}

fn overlapping(prefix: &[u8], which: &str, other: &[u8]) -> Problem {
    let mut text = b"ERR Prefix '".to_vec();
    text.extend_from_slice(prefix);
    text.extend_from_slice(format!("' overlaps with {which} prefix '").as_bytes());
    text.extend_from_slice(other);
    text.extend_from_slice(b"'. Prefixes for a single client must not overlap.");
    text
}

/// Whether the options fit together, and what the client did before.
fn check(given: &Given, old: Option<&Mode>) -> Result<(), Problem> {
    let refuse = |text: &str| Err(text.into());
    if !given.broadcast && !given.prefixes.is_empty() {
        return refuse("ERR PREFIX option requires BCAST mode to be enabled");
    }
    if old.is_some_and(|old| old.prefixes.is_some() != given.broadcast) {
        return refuse(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.",
        );
    }
    if given.broadcast && (given.opt_in || given.opt_out) {
        return refuse("ERR OPTIN and OPTOUT are not compatible with BCAST");
    }
    if given.opt_in && given.opt_out {
        return refuse("ERR You can't specify both OPTIN mode and OPTOUT mode");
    }
    if old.is_some_and(|old| match old.choice {
        Choice::All => false,
        Choice::OptIn => given.opt_out,
        Choice::OptOut => given.opt_in,
    }) {
        return refuse(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.",
        );
    }
    let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
    for (place, prefix) in given.prefixes.iter().enumerate() {
        let mut held = old.and_then(|old| old.prefixes.as_ref()).into_iter().flatten();
        if let Some(held) = held.find(|held| overlap(held, prefix)) {
            return Err(overlapping(prefix, "an existing", held));
        }
        let mut rest = given.prefixes[place + 1..].iter();
        if let Some(other) = rest.find(|other| overlap(other, prefix)) {
            return Err(overlapping(prefix, "another provided", other));
        }
    }
    Ok(())
}

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
    let given = options(request.args)?;
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
    let Some(number) = given.redirect else { return enable(core, id, given, None).map(|()| true) };
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
fn find(core: &mut Core, id: ClientId, now_us: u64, given: Given, number: u64) {
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
    given: Given,
    redirect: Option<Hearer>,
) -> Result<(), Problem> {
    let Some(client) = core.down.clients.get_mut(id) else { return Ok(()) };
    let pool = client.pool;
    check(&given, client.mode().map(|mode| &*mode))?;
    let mode = client.subscriptions.get_or_insert_default().tracking.take();
    let is_new = mode.is_none();
    let before = mode.unwrap_or_default();
    let prefixes = given.broadcast.then(|| {
        let mut all = before.prefixes.clone().unwrap_or_default();
        all.extend(given.prefixes);
        if all.is_empty() { vec![Box::default()] } else { all }
    });
    let choice = match (given.opt_in, given.opt_out) {
        (true, _) => Choice::OptIn,
        (_, true) => Choice::OptOut,
        _ => Choice::All,
    };
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
        let choice: &[&str] = match (mode.choice, mode.caching) {
            (Choice::All, _) => &[],
            (Choice::OptIn, false) => &["optin"],
            (Choice::OptIn, true) => &["optin", "caching-yes"],
            (Choice::OptOut, false) => &["optout"],
            (Choice::OptOut, true) => &["optout", "caching-no"],
        };
        flags.extend(mode.prefixes.as_ref().map(|_| "bcast"));
        flags.extend(choice);
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

#[cfg(test)]
mod tests {
    use redstart_common::resp::OwnedArgs;

    use super::*;

    fn given(words: &str) -> Result<Given, Problem> {
        let words: Vec<&str> = words.split(' ').collect();
        options(OwnedArgs::from_slices(&words).as_args())
    }

    fn problem(words: &str, old: Option<&Mode>) -> String {
        let checked = given(words).and_then(|given| check(&given, old));
        checked.map_or_else(|text| String::from_utf8(text).expect("text"), |()| "OK".to_owned())
    }

    #[test]
    fn options_are_read_and_fit_together() {
        let it =
            given("client tracking on bcast Prefix a PREFIX b redirect 7 NOLOOP").expect("good");
        assert_eq!((it.redirect, it.broadcast, it.no_loop), (Some(7), true, true));
        assert_eq!(it.prefixes, [Box::from(*b"a"), Box::from(*b"b")]);
        let on = "client tracking on";
        let old = |choice, prefixes| Mode { choice, prefixes, ..Mode::default() };
        let prefixed = || Some(vec![Box::from(*b"ab")]);
        for (words, old, wanted) in [
            ("", None, "OK"),
            (" optin", None, "OK"),
            (" prefix", None, "ERR syntax error"),
            (" redirect x", None, error::NOT_AN_INTEGER),
            (
                " redirect 1 redirect 2",
                None,
                "ERR A client can only redirect to a single other client",
            ),
            (" prefix a", None, "ERR PREFIX option requires BCAST mode to be enabled"),
            (" bcast optin", None, "ERR OPTIN and OPTOUT are not compatible with BCAST"),
            (" optout optin", None, "ERR You can't specify both OPTIN mode and OPTOUT mode"),
            (
                " bcast prefix a prefix ab",
                None,
                "ERR Prefix 'a' overlaps with another provided prefix 'ab'. Prefixes for a single client must not overlap.",
            ),
            (
                " bcast prefix a",
                Some(old(Choice::All, prefixed())),
                "ERR Prefix 'a' overlaps with an existing prefix 'ab'. Prefixes for a single client must not overlap.",
            ),
            (" bcast prefix b", Some(old(Choice::All, prefixed())), "OK"),
            (
                "",
                Some(old(Choice::All, prefixed())),
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.",
            ),
            (
                " optout",
                Some(old(Choice::OptIn, None)),
                "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.",
            ),
        ] {
            assert_eq!(problem(&format!("{on}{words}"), old.as_ref()), wanted, "{words}");
        }
    }
}
