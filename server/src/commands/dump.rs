//! `DUMP` and `RESTORE`: values as payloads.

use super::Handlers;
use super::options::{Options, integer};
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult, SYNTAX};
use crate::keyspace::Taken;
use crate::persistence::value::{self, PayloadError, Restored};
use crate::settings::notify::Classes;
use crate::settings::saving::Sanitize;
use redstart_common::log;
use redstart_common::resp::error;

pub(super) const HANDLERS: Handlers =
    &[("dump", dump), ("restore", restore), ("restore-asking", restore)];

/// `DUMP key`
pub fn dump(call: &mut Call<'_>) -> CommandResult {
    match call.keyspace.db(call.client.db).read(call.args.at(1)) {
        Some(entry) => {
            let payload = value::dump(entry, call.core.settings.saving.rdbcompression);
            call.client.reply.bulk(&payload);
        }
        None => call.client.reply.null(),
    }
    Ok(())
}

/// `RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]`
pub fn restore(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let key = args.at(1);
    let (mut replace, mut absolute) = (false, false);
    let (mut idle, mut frequency) = (None, None);
    let mut options = Options::new(args, 4);
    while let Some(word) = options.word() {
        if word.eq_ignore_ascii_case(b"REPLACE") {
            replace = true;
        } else if word.eq_ignore_ascii_case(b"ABSTTL") {
            absolute = true;
        } else if word.eq_ignore_ascii_case(b"IDLETIME")
            && options.left() >= 1
            && frequency.is_none()
        {
            let seconds = options.integer()?;
            if seconds < 0 {
                return Err(CommandError::new("ERR Invalid IDLETIME value, must be >= 0"));
            }
            idle = Some(seconds);
        } else if word.eq_ignore_ascii_case(b"FREQ") && options.left() >= 1 && idle.is_none() {
            let number = options.integer()?;
            if !(0..=255).contains(&number) {
                return Err(CommandError::new("ERR Invalid FREQ value, must be >= 0 and <= 255"));
            }
            frequency = Some(number);
        } else {
            return Err(SYNTAX);
        }
    }
    if !replace && call.db().contains(key) {
        return Err(CommandError::new(error::BUSY_KEY));
    }
    let ttl = integer(args.at(2))?;
    if ttl < 0 {
        return Err(CommandError::new("ERR Invalid TTL value, must be >= 0"));
    }
    let mut payload = std::borrow::Cow::Borrowed(args.at(3));
    if call.core.checksums_skipped
        && let Some(sum) = payload.to_mut().last_chunk_mut::<8>()
    {
        // The sum of a writer that makes none.
        *sum = [0; 8];
    }
    let restored = value::restore_counted(&payload, &call.core.settings.packed);
    let Restored { value, checked } = restored.map_err(|error| match error {
        PayloadError::Checksum => {
            CommandError::new("ERR DUMP payload version or checksum are wrong")
        }
        PayloadError::Format(reason) => {
            if let Some(reason) = reason {
                log!(Verbose, "{reason}");
            }
            CommandError::new("ERR Bad data format")
        }
    })?;
    if sanitizes(call) {
        call.core.stats.sanitizations += checked;
    }
    let there = replace && call.db().remove(key);
    let now = call.now_ms();
    let deadline = match (ttl, absolute) {
        (0, _) => None,
        (ttl, true) => Some(ttl),
        (ttl, false) => Some(now.saturating_add(ttl)),
    };
    if deadline.is_some_and(|deadline| call.keyspace.shared.is_past(deadline)) {
        // Past its time already: nothing is created, and what was there is gone.
        if there {
            call.modified(key);
            call.removed(key);
            call.dirty(1);
            call.propagate_instead(&[b"DEL", key]);
        }
        call.client.reply.ok();
        return Ok(());
    }
    call.db().put(key, Taken { value, deadline });
    let lfu = call.core.settings.maxmemory_policy.is_lfu();
    let clock = call.keyspace.shared.lru_clock.get();
    if let Some(entry) = call.db().write(key) {
        match (idle, frequency) {
            (Some(seconds), _) if !lfu => {
                entry.set_lru(clock.wrapping_sub(seconds as u32) & 0xff_ffff);
            }
            (_, Some(number)) if lfu => entry.set_lru(entry.lru() & !0xff | number as u32),
            _ => {}
        }
    }
    call.modified(key);
    call.notify(Classes::GENERIC, "restore", key);
    call.dirty(1);
    if let Some(deadline) = deadline.filter(|_| !absolute)
        && call.core.feed.wanted()
    {
        let at = deadline.to_string();
        let mut words: Vec<&[u8]> = vec![b"RESTORE", key, at.as_bytes(), args.at(3), b"ABSTTL"];
        words.extend(args.tail(4).iter());
        call.propagate_instead(&words);
    }
    call.client.reply.ok();
    Ok(())
}

/// Whether the payload counts as checked to the last byte. It is in any case; what does not count in Redis does not here.
fn sanitizes(call: &Call<'_>) -> bool {
    match call.core.settings.saving.sanitize_dump_payload {
        Sanitize::No => false,
        Sanitize::Yes => true,
        Sanitize::Clients => {
            let user = call.core.users.get(&call.client.user);
            user.is_none_or(|user| user.sanitize != Some(false))
        }
    }
}
