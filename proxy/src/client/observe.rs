//! What is looked at before a request is dispatched, where somebody wants that: MONITOR shows it, CLIENT PAUSE holds it back.
//!
//! A worker knows whether there is any need; a request costs it one look at a flag where there is none.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redstart_common::clock;
use redstart_common::command::spec::Flags;
use redstart_common::command::{self, CommandId, CommandSpec, Mode};
use redstart_common::resp::{Args, RespWrite};

use super::ClientId;
use super::dispatch::Next;
use super::request::Request;
use crate::backend::pipeline::Kind;
use crate::control::Message;
use crate::route::plan::command_named;
use crate::topology::PoolId;
use crate::worker::Core;

/// A pause that CLIENT PAUSE has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// When it ends, in microseconds of the process's clock.
    pub until_us: u64,
    /// Whether only what may change anything is held back.
    pub writes_only: bool,
}

impl Pause {
    /// What holds when another pause is asked for meanwhile: the longer, and the stricter.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            until_us: self.until_us.max(other.until_us),
            writes_only: self.writes_only && other.writes_only,
        }
    }

    /// Whether it holds a command back; `writes` says whether it ends a transaction that changes anything.
    fn holds(self, row: &CommandSpec, writes: bool) -> bool {
        !self.writes_only
            || row.flags.contains(Flags::WRITE)
            || row.flags.contains(Flags::MAY_REPLICATE)
            || (row.name == "exec" && writes)
    }
}

/// The row of a command, if it is known and has so many arguments.
fn row_of(args: Args<'_>) -> Option<&'static CommandSpec> {
    let command = command_named(args.get(0)?)?;
    let row = command.spec();
    let sub = args.get(1).filter(|_| row.is_container());
    let sub = sub.and_then(|name| command::lookup_sub(Mode::Proxy, command, name));
    let row = sub.map_or(row, CommandId::spec);
    row.accepts_count(args.len()).then_some(row)
}

/// Looks at a request before it is dispatched. Says whether it is held back.
#[cold]
pub fn request(core: &mut Core, id: ClientId, args: Args<'_>) -> bool {
    let Some(row) = row_of(args) else { return false };
    let Some(client) = core.down.clients.get_mut(id) else { return false };
    if !client.authenticated && !row.flags.contains(Flags::NO_AUTH) {
        return false;
    }
    let pool = client.pool;
    let it = &core.pools[pool];
    if let Some(pause) = it.pause {
        let writes = client.transaction.as_ref().is_some_and(|it| it.kind() == Kind::Write);
        if pause.holds(row, writes) {
            client.held = true;
            client.paused = true;
            core.held_back.push(id);
            return true;
        }
    }
    let is_new = !std::mem::take(&mut client.looks_again);
    let is_shown = !row.flags.contains(Flags::SKIP_MONITOR) && !row.flags.contains(Flags::ADMIN);
    if is_new && is_shown && it.shared.monitors.load(Ordering::Relaxed) > 0 {
        let now_us = clock::unix_us();
        show(client.db, &client.session.address, args, now_us, &mut core.shown[pool.place()]);
    }
    false
}

/// The places of arguments that are passwords, or users that go with them.
fn secrets(args: Args<'_>) -> std::ops::Range<usize> {
    if args.at(0).eq_ignore_ascii_case(b"AUTH") {
        return args.len() - 1..args.len();
    }
    if args.at(0).eq_ignore_ascii_case(b"HELLO") {
        let options = args.iter().enumerate().skip(2);
        let mut found = options.filter(|(_, word)| word.eq_ignore_ascii_case(b"AUTH"));
        return found.next().map_or(0..0, |(place, _)| place + 1..place + 3);
    }
    0..0
}

/// Appends the line that MONITOR shows of a request.
fn show(db: u16, address: &str, args: Args<'_>, now_us: i64, out: &mut Vec<u8>) {
    let mut line = String::with_capacity(64);
    // Writing to a string does not fail.
    let _ = write!(line, "+{}.{:06} [{db} {address}]", now_us / 1_000_000, now_us % 1_000_000);
    let secrets = secrets(args);
    for (place, arg) in args.iter().enumerate() {
        line.push_str(" \"");
        let arg = if secrets.contains(&place) { b"(redacted)" } else { arg };
        for byte in arg {
            match byte {
                b'\\' => line.push_str("\\\\"),
                b'"' => line.push_str("\\\""),
                b'\n' => line.push_str("\\n"),
                b'\r' => line.push_str("\\r"),
                b'\t' => line.push_str("\\t"),
                0x07 => line.push_str("\\a"),
                0x08 => line.push_str("\\b"),
                b' '..=b'~' => line.push(char::from(*byte)),
                other => {
                    let _ = write!(line, "\\x{other:02x}");
                }
            }
        }
        line.push('"');
    }
    line.push_str("\r\n");
    out.extend_from_slice(line.as_bytes());
}

/// Hands what was shown during the turn to those who watch, here and on other workers.
pub fn deliver(core: &mut Core) {
    for pool in core.pools.ids() {
        if core.shown[pool.place()].is_empty() {
            continue;
        }
        let lines: Arc<[u8]> = std::mem::take(&mut core.shown[pool.place()]).into();
        let directory = Arc::clone(&core.directory);
        for (_, worker) in directory.workers.iter().enumerate().filter(|(n, _)| *n != core.number) {
            // The workers live as long as the process.
            let _ = worker.send(Message::Shown(pool, Arc::clone(&lines)));
        }
        hand_on(core, pool, &lines);
    }
}

/// Hands lines to those of this worker's clients who watch.
pub fn hand_on(core: &mut Core, pool: PoolId, lines: &[u8]) {
    let most = core.directory.global.subscriber_output_bytes_max;
    let mut dropped = 0;
    for (of, id) in &core.monitors {
        if *of == pool {
            dropped += u64::from(!core.down.clients.push(*id, lines, most));
        }
    }
    core.pools[pool].stats.subscribers_dropped += dropped;
}

/// `MONITOR`
pub fn monitor(core: &mut Core, id: ClientId, request: Request<'_>) -> Next {
    let Some(client) = core.down.clients.get_mut(id) else { return Next::Taken };
    if !client.pending.is_empty() {
        return Next::Later;
    }
    let pool = client.pool;
    core.down.clients.reply(id, request.now_us, |out| out.simple("OK"));
    let Some(client) = core.down.clients.get_mut(id) else { return Next::Taken };
    let subscriptions = client.subscriptions.get_or_insert_default();
    if !std::mem::replace(&mut subscriptions.is_monitor, true) {
        core.monitors.push((pool, id));
        core.pools[pool].shared.monitors.fetch_add(1, Ordering::Relaxed);
        tell_all(core);
    }
    Next::Taken
}

/// A client that watched is gone, or watches no more.
pub fn monitor_left(core: &mut Core, id: ClientId, pool: PoolId) {
    core.monitors.retain(|(_, other)| *other != id);
    core.pools[pool].shared.monitors.fetch_sub(1, Ordering::Relaxed);
    tell_all(core);
}

fn tell_all(core: &mut Core) {
    look(core);
    for worker in &core.directory.workers {
        let _ = worker.send(Message::Look);
    }
}

/// Finds out whether requests are to be looked at.
pub fn look(core: &mut Core) {
    core.is_observed = core
        .pools
        .iter()
        .any(|pool| pool.pause.is_some() || pool.shared.monitors.load(Ordering::Relaxed) > 0);
}

/// Clients of a pool are paused, or (`None`) not any more.
pub fn pause(core: &mut Core, pool: PoolId, pause: Option<Pause>) {
    let it = &mut core.pools[pool];
    it.pause = match (it.pause, pause) {
        (Some(before), Some(now)) => Some(before.with(now)),
        (_, now) => now,
    };
    look(core);
    let Some(Pause { until_us, .. }) = core.pools[pool].pause else { return go_on(core, pool) };
    let Some(worker) = core.me.upgrade() else { return };
    tokio::task::spawn_local(async move {
        loop {
            let left_us = {
                let core = &mut *worker.core.borrow_mut();
                let now_us = core.directory.clock.us();
                match core.pools[pool].pause {
                    // Another pause has its own end.
                    Some(pause) if pause.until_us != until_us => return,
                    Some(_) if until_us > now_us => until_us - now_us,
                    Some(_) => {
                        core.pools[pool].pause = None;
                        look(core);
                        return go_on(core, pool);
                    }
                    None => return,
                }
            };
            tokio::time::sleep(Duration::from_micros(left_us)).await;
        }
    });
}

/// What was held back goes on.
fn go_on(core: &mut Core, pool: PoolId) {
    let held = std::mem::take(&mut core.held_back);
    for id in held {
        match core.down.clients.get_mut(id) {
            Some(client) if client.pool == pool => {
                client.held = false;
                client.wake();
            }
            Some(_) => core.held_back.push(id),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use redstart_common::command::lookup;
    use redstart_common::resp::OwnedArgs;

    use super::*;

    #[test]
    fn a_line_shows_every_byte() {
        let args = OwnedArgs::from_slices(&[&b"set"[..], b"k\"\\", b"\x00\x07\x08\t\r\n\x7f\xff~"]);
        let mut out = Vec::new();
        show(0, "1.2.3.4:5", args.as_args(), 1_700_000_000_000_042, &mut out);
        let wanted = r#"+1700000000.000042 [0 1.2.3.4:5] "set" "k\"\\" "\x00\a\b\t\r\n\x7f\xff~""#;
        assert_eq!(String::from_utf8(out).expect("text"), format!("{wanted}\r\n"));
    }

    #[test]
    fn passwords_are_not_shown() {
        for (words, wanted) in [
            (&["auth", "secret"][..], r#""auth" "(redacted)""#),
            (&["AUTH", "me", "secret"], r#""AUTH" "me" "(redacted)""#),
            (
                &["HELLO", "3", "AUTH", "me", "secret", "SETNAME", "n"],
                r#""HELLO" "3" "AUTH" "(redacted)" "(redacted)" "SETNAME" "n""#,
            ),
            (&["HELLO", "3"], r#""HELLO" "3""#),
        ] {
            let args = OwnedArgs::from_slices(words);
            let mut out = Vec::new();
            show(0, "a", args.as_args(), 0, &mut out);
            let line = String::from_utf8(out).expect("text");
            assert_eq!(line.split_once("] ").map(|(_, rest)| rest.trim_end()), Some(wanted));
        }
    }

    #[test]
    fn the_longer_and_stricter_pause_holds() {
        let (one, other) =
            (Pause { until_us: 5, writes_only: true }, Pause { until_us: 3, writes_only: false });
        assert_eq!(one.with(other), Pause { until_us: 5, writes_only: false });
        assert_eq!(other.with(one), Pause { until_us: 5, writes_only: false });
        let row = |name: &str| lookup(name.as_bytes()).expect("a command").spec();
        for (name, writes, held) in [
            ("get", false, false),
            ("set", false, true),
            ("publish", false, true),
            ("eval", false, true),
            ("exec", true, true),
            ("exec", false, false),
        ] {
            assert_eq!(one.holds(row(name), writes), held, "{name}");
            assert!(other.holds(row(name), writes));
        }
    }
}
