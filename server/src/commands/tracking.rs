//! `CLIENT TRACKING` and its kin: client-side caching.

use std::collections::BTreeSet;

use redstart_common::client_tracking::{Before, Options};

use super::Handlers;
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult, SYNTAX};
use crate::tracking::{Choice, Mode};

pub(super) const HANDLERS: Handlers = &[
    ("client|caching", caching),
    ("client|getredir", getredir),
    ("client|tracking", tracking),
    ("client|trackinginfo", trackinginfo),
];

/// `CLIENT TRACKING ON | OFF [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT]
/// [NOLOOP]`
pub fn tracking(call: &mut Call<'_>) -> CommandResult {
    let clients = &call.core.clients;
    let given = Options::read(call.args, |id| {
        let is_there = u64::try_from(id).is_ok_and(|id| clients.slot_of(id).is_some());
        let text = b"ERR The client ID you want redirect to does not exist";
        if is_there { Ok(()) } else { Err(text.into()) }
    });
    let given = given.map_err(CommandError::made)?;
    let word = call.arg(2);
    if word.eq_ignore_ascii_case(b"ON") {
        let before = call.client.tracking.as_deref();
        let before =
            before.map(|old| Before { prefixes: old.prefixes.as_ref(), choice: old.choice });
        given.check(before).map_err(CommandError::made)?;
        let choice = given.choice();
        let prefixes = given.broadcast.then(|| match given.prefixes.as_slice() {
            [] => BTreeSet::from([Box::default()]),
            some => some.iter().cloned().collect(),
        });
        let mode = Mode {
            redirect: given.redirect.and_then(|id| u64::try_from(id).ok()).unwrap_or(0),
            prefixes,
            choice,
            no_loop: given.no_loop,
            ..Mode::default()
        };
        call.core.tracking.enable(call.client, mode);
    } else if word.eq_ignore_ascii_case(b"OFF") {
        call.core.tracking.disable(call.client);
    } else {
        return Err(SYNTAX);
    }
    call.client.reply.ok();
    Ok(())
}

/// `CLIENT CACHING YES | NO`
pub fn caching(call: &mut Call<'_>) -> CommandResult {
    let word = call.arg(2);
    let mode = call.client.tracking.as_deref_mut().ok_or(CommandError::new(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or \
         OPTOUT mode enabled",
    ))?;
    let (wanted, refusal) = if word.eq_ignore_ascii_case(b"YES") {
        (
            Choice::OptIn,
            "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
        )
    } else if word.eq_ignore_ascii_case(b"NO") {
        (
            Choice::OptOut,
            "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
        )
    } else {
        return Err(SYNTAX);
    };
    if mode.choice != wanted {
        return Err(CommandError::new(refusal));
    }
    mode.caching = true;
    call.client.reply.ok();
    Ok(())
}

/// `CLIENT GETREDIR`
pub fn getredir(call: &mut Call<'_>) -> CommandResult {
    let id = Mode::redirection(call.client.tracking.as_deref());
    call.client.reply.integer(id);
    Ok(())
}

/// `CLIENT TRACKINGINFO`
pub fn trackinginfo(call: &mut Call<'_>) -> CommandResult {
    let mode = call.client.tracking.as_deref();
    let mut flags = vec![if mode.is_some() { "on" } else { "off" }];
    if let Some(mode) = mode {
        flags.extend(mode.prefixes.as_ref().map(|_| "bcast"));
        flags.extend(mode.choice.flags(mode.caching));
        flags.extend(mode.no_loop.then_some("noloop"));
        flags.extend(mode.broken.then_some("broken_redirect"));
    }
    let prefixes: Vec<&[u8]> = mode
        .and_then(|mode| mode.prefixes.as_ref())
        .into_iter()
        .flatten()
        .map(|prefix| &**prefix)
        .collect();
    let redirect = Mode::redirection(mode);
    let reply = &mut call.client.reply;
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"redirect");
    reply.integer(redirect);
    reply.bulk(b"prefixes");
    reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| reply.bulk(prefix));
    Ok(())
}
