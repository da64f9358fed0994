//! Strings.

pub(super) mod conditional;
pub(super) mod increx;

use redstart_common::number;

use self::conditional::{ValueTest, tested};

use super::Handlers;
use super::expiry::Unit;
use super::options::{Options, clamp_range, integer};
use super::removal_word;
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult, NOT_AN_INTEGER, STRING_TOO_LONG, SYNTAX};
use crate::keyspace::{Deadline, Place, Str, WrongType};
use crate::settings::Settings;
use crate::settings::notify::Classes;
use redstart_common::resp::error;

pub(super) const HANDLERS: Handlers = &[
    ("append", append),
    ("decr", decr),
    ("decrby", decrby),
    ("get", get),
    ("getdel", getdel),
    ("getex", getex),
    ("getrange", getrange),
    ("getset", getset),
    ("incr", incr),
    ("incrby", incrby),
    ("incrbyfloat", incrbyfloat),
    ("lcs", super::lcs::lcs),
    ("mget", mget),
    ("mset", mset),
    ("msetnx", msetnx),
    ("psetex", psetex),
    ("set", set),
    ("setex", setex),
    ("setnx", setnx),
    ("setrange", setrange),
    ("strlen", strlen),
    ("substr", getrange),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition<'a> {
    Always,
    IfAbsent,
    IfPresent,
    IfValue(ValueTest<'a>),
}

#[derive(Clone, Copy)]
enum Expiry<'a> {
    Clear,
    Keep,
    Set(Unit, &'a [u8]),
}

impl Expiry<'_> {
    /// The deadline that it comes to, for the command of that name.
    fn deadline(self, now_ms: i64, name: &str) -> Result<Deadline, CommandError> {
        Ok(match self {
            Self::Clear => Deadline::Clear,
            Self::Keep => Deadline::Keep,
            Self::Set(unit, amount) => Deadline::At(unit.deadline(amount, now_ms, name)?),
        })
    }
}

struct SetOptions<'a> {
    condition: Condition<'a>,
    expiry: Expiry<'a>,
    return_old: bool,
}

fn set_options<'a>(mut options: Options<'a>) -> Result<SetOptions<'a>, CommandError> {
    let mut parsed =
        SetOptions { condition: Condition::Always, expiry: Expiry::Clear, return_old: false };
    while let Some(word) = options.word() {
        let fresh = matches!(parsed.expiry, Expiry::Clear);
        if word.eq_ignore_ascii_case(b"NX")
            && matches!(parsed.condition, Condition::Always | Condition::IfAbsent)
        {
            parsed.condition = Condition::IfAbsent;
        } else if word.eq_ignore_ascii_case(b"XX")
            && matches!(parsed.condition, Condition::Always | Condition::IfPresent)
        {
            parsed.condition = Condition::IfPresent;
        } else if word.eq_ignore_ascii_case(b"GET") {
            parsed.return_old = true;
        } else if word.eq_ignore_ascii_case(b"KEEPTTL")
            && (fresh || matches!(parsed.expiry, Expiry::Keep))
        {
            parsed.expiry = Expiry::Keep;
        } else if let Some(unit) = Unit::of_option(word)
            && fresh
        {
            parsed.expiry = Expiry::Set(unit, options.need()?);
        } else {
            match ValueTest::of(word, &mut options)? {
                Some(test) if parsed.condition == Condition::Always => {
                    parsed.condition = Condition::IfValue(test);
                }
                _ => return Err(SYNTAX),
            }
        }
    }
    Ok(parsed)
}

/// `SET key value [NX | XX | IFEQ value | IFNE value | IFDEQ digest | IFDNE digest] [GET] [EX seconds | PX milliseconds | EXAT seconds | PXAT milliseconds | KEEPTTL]`
pub fn set(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (key, value) = (args.at(1), args.at(2));
    if args.len() == 3 {
        call.db().set_string(key, value, Deadline::Clear);
        finish_set(call, key);
        call.client.reply.ok();
        return Ok(());
    }
    let options = set_options(Options::new(args, 3))?;
    let deadline = options.expiry.deadline(call.now_ms(), "set")?;
    let db = call.keyspace.db(call.client.db);
    let mut place = if options.return_old { db.place_to_read(key) } else { db.place_to_write(key) };
    let holds = match options.condition {
        Condition::Always => true,
        Condition::IfAbsent => matches!(place, Place::Vacant(_)),
        Condition::IfPresent => matches!(place, Place::Held(_)),
        Condition::IfValue(test) => test.holds(tested(&place)?),
    };
    if options.return_old {
        match &mut place {
            Place::Held(old) => {
                call.client.reply.bulk_entry(old.entry())?;
                // As in Redis, which reads and then looks again to write.
                old.touch();
            }
            Place::Vacant(_) => call.client.reply.null(),
        }
    }
    if !holds {
        if !options.return_old {
            call.client.reply.null();
        }
        return Ok(());
    }
    match place {
        Place::Held(old) => old.set_string(value, deadline),
        Place::Vacant(vacant) => vacant.set_string(key, value, deadline),
    }
    finish_set(call, key);
    if let Deadline::At(at) = deadline {
        call.notify(Classes::GENERIC, "expire", key);
        if call.core.feed.wanted() {
            call.propagate_instead(&[b"SET", key, value, b"PXAT", at.to_string().as_bytes()]);
        }
    } else if matches!(options.condition, Condition::IfValue(_)) {
        // Without the condition, which holds and which older servers do not know.
        match deadline {
            Deadline::Keep => call.propagate_instead(&[b"SET", key, value, b"KEEPTTL"]),
            _ => call.propagate_instead(&[b"SET", key, value]),
        }
    } else if options.return_old && call.core.feed.wanted() {
        let kept: Vec<&[u8]> = args
            .iter()
            .enumerate()
            .filter(|(at, arg)| *at < 3 || !arg.eq_ignore_ascii_case(b"GET"))
            .map(|(_, arg)| arg)
            .collect();
        call.propagate_instead(&kept);
    }
    if !options.return_old {
        call.client.reply.ok();
    }
    Ok(())
}

#[inline]
fn finish_set(call: &mut Call<'_>, key: &[u8]) {
    call.modified(key);
    call.dirty(1);
    call.notify(Classes::STRING, "set", key);
}

fn set_with_expiry(call: &mut Call<'_>, unit: Unit, name: &str) -> CommandResult {
    let args = call.args;
    let (key, value) = (args.at(1), args.at(3));
    let at = unit.deadline(args.at(2), call.now_ms(), name)?;
    call.db().set_string(key, value, Deadline::At(at));
    finish_set(call, key);
    call.notify(Classes::GENERIC, "expire", key);
    if call.core.feed.wanted() {
        call.propagate_instead(&[b"SET", key, value, b"PXAT", at.to_string().as_bytes()]);
    }
    call.client.reply.ok();
    Ok(())
}

/// `SETEX key seconds value`
pub fn setex(call: &mut Call<'_>) -> CommandResult {
    set_with_expiry(call, Unit::Seconds, "setex")
}

/// `PSETEX key milliseconds value`
pub fn psetex(call: &mut Call<'_>) -> CommandResult {
    set_with_expiry(call, Unit::Millis, "psetex")
}

/// `SETNX key value`
pub fn setnx(call: &mut Call<'_>) -> CommandResult {
    let (key, value) = (call.arg(1), call.arg(2));
    let Place::Vacant(vacant) = call.db().place_to_write(key) else {
        call.client.reply.integer(0);
        return Ok(());
    };
    vacant.set_string(key, value, Deadline::Clear);
    finish_set(call, key);
    call.client.reply.integer(1);
    Ok(())
}

/// `GET key`
pub fn get(call: &mut Call<'_>) -> CommandResult {
    match call.keyspace.db(call.client.db).read(call.args.at(1)) {
        Some(entry) => call.client.reply.bulk_entry(entry)?,
        None => call.client.reply.null(),
    }
    Ok(())
}

/// `GETDEL key`
pub fn getdel(call: &mut Call<'_>) -> CommandResult {
    let key = call.arg(1);
    let Place::Held(held) = call.keyspace.db(call.client.db).place_to_read(key) else {
        call.client.reply.null();
        return Ok(());
    };
    call.client.reply.bulk_entry(held.entry())?;
    let lazily = call.core.settings.lazyfree_lazy_user_del;
    held.remove(lazily);
    call.modified(key);
    call.removed(key);
    call.dirty(1);
    call.propagate_instead(&[removal_word(lazily), key]);
    Ok(())
}

/// `GETEX key [EX seconds | PX milliseconds | EXAT seconds | PXAT milliseconds | PERSIST]`
pub fn getex(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let key = args.at(1);
    let mut options = Options::new(args, 2);
    let mut persist = false;
    let mut expiry = None;
    while let Some(word) = options.word() {
        if word.eq_ignore_ascii_case(b"PERSIST") && expiry.is_none() {
            persist = true;
        } else if let Some(unit) = Unit::of_option(word)
            && !persist
            && expiry.is_none()
        {
            expiry = Some((unit, options.need()?));
        } else {
            return Err(SYNTAX);
        }
    }
    let (now, ignores) = (call.now_ms(), call.keyspace.shared.ignore_expiry.get());
    let Place::Held(held) = call.keyspace.db(call.client.db).place_to_read(key) else {
        call.client.reply.null();
        return Ok(());
    };
    held.string()?;
    let deadline = match expiry {
        Some((unit, amount)) => Some(unit.deadline(amount, now, "getex")?),
        None => None,
    };
    call.client.reply.bulk_entry(held.entry())?;
    match deadline {
        Some(at) if at <= now && !ignores => {
            let lazily = call.core.settings.lazyfree_lazy_expire;
            held.remove(lazily);
            call.modified(key);
            call.removed(key);
            call.dirty(1);
            call.propagate_instead(&[removal_word(lazily), key]);
        }
        Some(at) => {
            held.set_deadline(Some(at));
            call.modified(key);
            call.notify(Classes::GENERIC, "expire", key);
            call.dirty(1);
            if call.core.feed.wanted() {
                call.propagate_instead(&[b"PEXPIREAT", key, at.to_string().as_bytes()]);
            }
        }
        None if persist && held.entry().deadline().is_some() => {
            held.set_deadline(None);
            call.modified(key);
            call.notify(Classes::GENERIC, "persist", key);
            call.dirty(1);
            call.propagate_instead(&[b"PERSIST", key]);
        }
        None => {}
    }
    Ok(())
}

/// `GETSET key value`
pub fn getset(call: &mut Call<'_>) -> CommandResult {
    let (key, value) = (call.arg(1), call.arg(2));
    match call.keyspace.db(call.client.db).place_to_read(key) {
        Place::Held(mut old) => {
            call.client.reply.bulk_entry(old.entry())?;
            // As in Redis, which reads and then looks again to write.
            old.touch();
            old.set_string(value, Deadline::Clear);
        }
        Place::Vacant(vacant) => {
            call.client.reply.null();
            vacant.set_string(key, value, Deadline::Clear);
        }
    }
    finish_set(call, key);
    call.propagate_instead(&[b"SET", key, value]);
    Ok(())
}

fn length_of(text: Str<'_>) -> usize {
    match text {
        Str::Bytes(bytes) => bytes.len(),
        Str::Int(number) => itoa::Buffer::new().format(number).len(),
    }
}

/// `STRLEN key`
pub fn strlen(call: &mut Call<'_>) -> CommandResult {
    let text = call.keyspace.db(call.client.db).read_str(call.args.at(1))?;
    call.client.reply.count(text.map_or(0, length_of));
    Ok(())
}

/// `GETRANGE key start end`
pub fn getrange(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (start, end) = (integer(args.at(2))?, integer(args.at(3))?);
    let mut digits = itoa::Buffer::new();
    let bytes = match call.keyspace.db(call.client.db).read_str(args.at(1))? {
        Some(Str::Bytes(bytes)) => bytes,
        Some(Str::Int(number)) => digits.format(number).as_bytes(),
        None => b"",
    };
    // Both ends negative and crossed is empty before clamping, as in Redis.
    let crossed = start < 0 && end < 0 && start > end;
    let part = match clamp_range(start, end.max(-(bytes.len() as i64)), bytes.len()) {
        Some((start, end)) if !crossed => &bytes[start..=end],
        _ => b"",
    };
    call.client.reply.bulk(part);
    Ok(())
}

fn check_length(settings: &Settings, length: usize) -> CommandResult {
    let limit = settings.proto_max_bulk_len.min(crate::keyspace::entry::VALUE_BYTES_MAX);
    if length > limit { Err(STRING_TOO_LONG) } else { Ok(()) }
}

/// `SETRANGE key offset value`
pub fn setrange(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (key, value) = (args.at(1), args.at(3));
    let offset = integer(args.at(2))?;
    if offset < 0 {
        return Err(CommandError::new(error::OFFSET_OUT_OF_RANGE));
    }
    let offset = offset as usize;
    let place = call.keyspace.db(call.client.db).place_to_write(key);
    let length = match &place {
        Place::Held(held) => length_of(held.string()?),
        Place::Vacant(_) => 0,
    };
    if value.is_empty() {
        call.client.reply.count(length);
        return Ok(());
    }
    check_length(&call.core.settings, offset.saturating_add(value.len()))?;
    let length = length.max(offset + value.len());
    match place {
        Place::Held(held) => held.splice(length, offset, value)?,
        Place::Vacant(vacant) => vacant.splice(key, length, offset, value),
    }
    call.modified(key);
    call.notify(Classes::STRING, "setrange", key);
    call.dirty(1);
    call.client.reply.count(length);
    Ok(())
}

/// `APPEND key value`
pub fn append(call: &mut Call<'_>) -> CommandResult {
    let (key, value) = (call.arg(1), call.arg(2));
    let length = match call.keyspace.db(call.client.db).place_to_write(key) {
        Place::Vacant(vacant) => {
            vacant.set_string(key, value, Deadline::Clear);
            value.len()
        }
        Place::Held(held) => {
            let old = length_of(held.string()?);
            check_length(&call.core.settings, old + value.len())?;
            held.splice(old + value.len(), old, value)?;
            old + value.len()
        }
    };
    call.modified(key);
    call.notify(Classes::STRING, "append", key);
    call.dirty(1);
    call.client.reply.count(length);
    Ok(())
}

fn add(call: &mut Call<'_>, amount: i64) -> CommandResult {
    const OVERFLOW: CommandError = CommandError::new(error::INCREMENT_OVERFLOW);
    let key = call.arg(1);
    let db = call.keyspace.db(call.client.db);
    let mut in_place = false;
    let new = match db.write(key) {
        None => amount,
        Some(entry) => match entry.string().ok_or(crate::keyspace::WrongType)? {
            Str::Int(old) => {
                let new = old.checked_add(amount).ok_or(OVERFLOW)?;
                in_place = entry.overwrite_int(new);
                new
            }
            Str::Bytes(bytes) => {
                let old = number::parse_i64(bytes).ok_or(NOT_AN_INTEGER)?;
                old.checked_add(amount).ok_or(OVERFLOW)?
            }
        },
    };
    if !in_place {
        db.set_int(key, new, Deadline::Keep);
    }
    call.modified(key);
    call.notify(Classes::STRING, "incrby", key);
    call.dirty(1);
    call.client.reply.integer(new);
    Ok(())
}

/// `INCR key`
pub fn incr(call: &mut Call<'_>) -> CommandResult {
    add(call, 1)
}

/// `DECR key`
pub fn decr(call: &mut Call<'_>) -> CommandResult {
    add(call, -1)
}

/// `INCRBY key increment`
pub fn incrby(call: &mut Call<'_>) -> CommandResult {
    let amount = integer(call.arg(2))?;
    add(call, amount)
}

/// `DECRBY key decrement`
pub fn decrby(call: &mut Call<'_>) -> CommandResult {
    let amount = integer(call.arg(2))?;
    // The one number whose negative does not fit.
    let amount = amount.checked_neg().ok_or(CommandError::new(error::DECREMENT_OVERFLOW))?;
    add(call, amount)
}

/// `INCRBYFLOAT key increment`
pub fn incrbyfloat(call: &mut Call<'_>) -> CommandResult {
    let (key, amount) = (call.arg(1), call.arg(2));
    let place = call.keyspace.db(call.client.db).place_to_write(key);
    let text = {
        let mut digits = itoa::Buffer::new();
        let old = match &place {
            Place::Vacant(_) => b"0",
            Place::Held(held) => match held.string()? {
                Str::Int(number) => digits.format(number).as_bytes(),
                Str::Bytes(bytes) => bytes,
            },
        };
        super::add_long_double(old, amount, crate::engine::NOT_A_FLOAT)?
    };
    match place {
        Place::Held(held) => held.set_text(text.as_bytes(), Deadline::Keep),
        Place::Vacant(vacant) => vacant.set_text(key, text.as_bytes()),
    }
    call.modified(key);
    call.notify(Classes::STRING, "incrbyfloat", key);
    call.dirty(1);
    call.client.reply.bulk(text.as_bytes());
    call.propagate_instead(&[b"SET", key, text.as_bytes(), b"KEEPTTL"]);
    Ok(())
}

/// `MGET key [key ...]`
pub fn mget(call: &mut Call<'_>) -> CommandResult {
    let keys = call.args.tail(1);
    call.client.reply.array(keys.len());
    let db = call.keyspace.db(call.client.db);
    for key in keys.iter() {
        match db.read(key).map(|entry| call.client.reply.bulk_entry(entry)) {
            Some(Ok(())) => {}
            Some(Err(WrongType)) | None => call.client.reply.null(),
        }
    }
    Ok(())
}

fn set_pairs(call: &mut Call<'_>) {
    let args = call.args;
    for at in (1..args.len()).step_by(2) {
        let (key, value) = (args.at(at), args.at(at + 1));
        call.db().set_string(key, value, Deadline::Clear);
        call.modified(key);
        call.notify(Classes::STRING, "set", key);
    }
    call.dirty((args.len() / 2) as u64);
}

fn check_pairs(call: &Call<'_>, name: &str) -> CommandResult {
    if call.args.len().is_multiple_of(2) { Err(CommandError::arity(name)) } else { Ok(()) }
}

/// `MSET key value [key value ...]`
pub fn mset(call: &mut Call<'_>) -> CommandResult {
    check_pairs(call, "mset")?;
    set_pairs(call);
    call.client.reply.ok();
    Ok(())
}

/// `MSETNX key value [key value ...]`
pub fn msetnx(call: &mut Call<'_>) -> CommandResult {
    check_pairs(call, "msetnx")?;
    let args = call.args;
    let db = call.db();
    if (1..args.len()).step_by(2).any(|at| db.contains(args.at(at))) {
        call.client.reply.integer(0);
        return Ok(());
    }
    set_pairs(call);
    call.client.reply.integer(1);
    Ok(())
}
