//! `CLIENT TRACKING` and its kin: client-side caching.

use std::collections::BTreeSet;

use super::Handlers;
use super::options::Options;
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult, SYNTAX};
use crate::tracking::{Choice, Mode};

pub(super) const HANDLERS: Handlers = &[
    ("client|caching", caching),
    ("client|getredir", getredir),
    ("client|tracking", tracking),
    ("client|trackinginfo", trackinginfo),
];

/// The options of CLIENT TRACKING as they came.
#[derive(Default)]
struct Given<'a> {
    redirect: u64,
    broadcast: bool,
    opt_in: bool,
    opt_out: bool,
    no_loop: bool,
    prefixes: Vec<&'a [u8]>,
}

fn read<'a>(call: &Call<'a>) -> Result<Given<'a>, CommandError> {
    let mut given = Given::default();
    let mut options = Options::new(call.args, 3);
    while options.left() > 0 {
        if options.left() > 1 && options.take("REDIRECT") {
            if given.redirect != 0 {
                return Err(CommandError::new(
                    "ERR A client can only redirect to a single other client",
                ));
            }
            let id = options.integer()?;
            given.redirect = u64::try_from(id)
                .ok()
                .filter(|id| call.core.clients.slot_of(*id).is_some())
                .ok_or(CommandError::new(
                    "ERR The client ID you want redirect to does not exist",
                ))?;
        } else if options.take("BCAST") {
            given.broadcast = true;
        } else if options.take("OPTIN") {
            given.opt_in = true;
        } else if options.take("OPTOUT") {
            given.opt_out = true;
        } else if options.take("NOLOOP") {
            given.no_loop = true;
        } else if options.left() > 1 && options.take("PREFIX") {
            given.prefixes.push(options.need()?);
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(given)
}

/// Whether a change of some key would have to be told for both prefixes.
fn overlap(one: &[u8], other: &[u8]) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn overlapping(prefix: &[u8], which: &str, other: &[u8]) -> CommandError {
    let mut text = b"ERR Prefix '".to_vec();
    text.extend_from_slice(prefix);
    text.extend_from_slice(format!("' overlaps with {which} prefix '").as_bytes());
    text.extend_from_slice(other);
    text.extend_from_slice(b"'. Prefixes for a single client must not overlap.");
    CommandError::made(text)
}

/// Whether the options fit together, and what the client did before.
fn check(given: &Given<'_>, old: Option<&Mode>) -> CommandResult {
    let refuse = |text| Err(CommandError::new(text));
    if !given.broadcast && !given.prefixes.is_empty() {
        return refuse("ERR PREFIX option requires BCAST mode to be enabled");
    }
    if old.is_some_and(|old| old.prefixes.is_some() != given.broadcast) {
        return refuse(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and \
             then re-enabling it with a different mode.",
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
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and \
             then re-enabling it with a different mode.",
        );
    }
    for (place, prefix) in given.prefixes.iter().enumerate() {
        let held = old.and_then(|old| old.prefixes.as_ref()).into_iter().flatten();
        if let Some(held) = held.into_iter().find(|held| overlap(held, prefix)) {
            return Err(overlapping(prefix, "an existing", held));
        }
        if let Some(other) = given.prefixes[place + 1..].iter().find(|it| overlap(it, prefix)) {
            return Err(overlapping(prefix, "another provided", other));
        }
    }
    Ok(())
}

/// `CLIENT TRACKING ON | OFF [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT]
/// [NOLOOP]`
pub fn tracking(call: &mut Call<'_>) -> CommandResult {
    let given = read(call)?;
    let word = call.arg(2);
    if word.eq_ignore_ascii_case(b"ON") {
        check(&given, call.client.tracking.as_deref())?;
        let prefixes = given.broadcast.then(|| match given.prefixes.as_slice() {
            [] => BTreeSet::from([Box::default()]),
            some => some.iter().map(|prefix| Box::from(*prefix)).collect(),
        });
        let mode = Mode {
            redirect: given.redirect,
            prefixes,
            choice: match (given.opt_in, given.opt_out) {
                (true, _) => Choice::OptIn,
                (_, true) => Choice::OptOut,
                _ => Choice::All,
            },
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
