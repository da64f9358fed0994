//! Fields of hashes that live for a time: HEXPIRE and its family (Redis 7.4), HGETEX, HSETEX and HGETDEL (Redis 8.0).
//!
//! What is repeated to replicas and the log is what was done: HPEXPIREAT with the fields that were given the deadline,
//! HDEL with those that went.

use super::super::expiry::Unit;
use super::super::options::{Options, integer};
use super::super::{Handlers, Removal, after_removal};
use crate::engine::feed::Audience;
use crate::engine::{Call, CommandError, CommandResult, SYNTAX};
use crate::settings::notify::Classes;
use crate::types::Hash;
use crate::types::hash::DEADLINE_MAX;
use redstart_common::resp::Args;

pub(in crate::commands) const HANDLERS: Handlers = &[
    ("hexpire", hexpire),
    ("hexpireat", hexpireat),
    ("hexpiretime", hexpiretime),
    ("hgetdel", hgetdel),
    ("hgetex", hgetex),
    ("hpersist", hpersist),
    ("hpexpire", hpexpire),
    ("hpexpireat", hpexpireat),
    ("hpexpiretime", hpexpiretime),
    ("hpttl", hpttl),
    ("hsetex", hsetex),
    ("httl", httl),
];

/// The field is not there.
const NO_FIELD: i64 = -2;
/// The field has no deadline.
const NO_DEADLINE: i64 = -1;
/// The condition does not hold.
const NOT_SET: i64 = 0;
/// The field has the deadline now, or has none any more.
const DONE: i64 = 1;
/// The deadline is past, so the field went.
const DELETED: i64 = 2;

const DELETION: Removal = Removal { class: Classes::HASH, event: "hdel", watchers_last: false };
const TEXT_NOT_POSITIVE: &str = "ERR Number of fields must be a positive integer";

/// The fields behind `FIELDS count` at the argument `at`, which are the last arguments.
fn fields<'a>(
    args: Args<'a>,
    at: usize,
    not_positive: &'static str,
) -> Result<Args<'a>, CommandError> {
    if !args.get(at).is_some_and(|word| word.eq_ignore_ascii_case(b"FIELDS")) {
        return Err(CommandError::new(
            "ERR Mandatory argument FIELDS is missing or not at the right position",
        ));
    }
    let count = args.get(at + 1).and_then(|count| integer(count).ok());
    let count = count.filter(|count| *count > 0).ok_or(CommandError::new(not_positive))?;
    let fields = args.tail(at + 2);
    if usize::try_from(count) != Ok(fields.len()) {
        return Err(CommandError::new(
            "ERR The `numfields` parameter must match the number of arguments",
        ));
    }
    Ok(fields)
}

/// The deadline that `amount` stands for.
fn deadline(call: &Call<'_>, unit: Unit, amount: &[u8], name: &str) -> Result<i64, CommandError> {
    let amount = integer(amount)?;
    if amount < 0 {
        return Err(CommandError::new("ERR invalid expire time, must be >= 0"));
    }
    unit.deadline_of(amount, call.now_ms())
        .filter(|at| *at <= DEADLINE_MAX)
        .ok_or_else(|| CommandError::invalid_expire(name))
}

#[derive(Clone, Copy)]
enum Condition {
    Always,
    /// The field has none.
    Unset,
    /// It has one.
    Set,
    /// It has an earlier one.
    Later,
    /// It has a later one, or none.
    Earlier,
}

impl Condition {
    fn of(word: &[u8]) -> Option<Self> {
        [("NX", Self::Unset), ("XX", Self::Set), ("GT", Self::Later), ("LT", Self::Earlier)]
            .into_iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, condition)| condition)
    }

    fn holds(self, old: Option<i64>, new: i64) -> bool {
        match self {
            Self::Always => true,
            Self::Unset => old.is_none(),
            Self::Set => old.is_some(),
            Self::Later => old.is_some_and(|old| old < new),
            Self::Earlier => old.is_none_or(|old| old > new),
        }
    }
}

/// What became of the fields of a call.
#[derive(Default)]
struct Changes<'a> {
    /// Were given a deadline.
    set: Vec<&'a [u8]>,
    /// Were removed.
    removed: Vec<&'a [u8]>,
}

impl<'a> Changes<'a> {
    fn count(&self) -> usize {
        self.set.len() + self.removed.len()
    }
}

/// Repeats what became of fields, with the deadline that those were given that were given one.
fn propagate_changes(call: &mut Call<'_>, key: &[u8], changes: &Changes<'_>, at: i64) {
    call.propagate_nothing();
    if !call.core.feed.wanted() {
        return;
    }
    if !changes.removed.is_empty() {
        propagate_deletion(call, key, &changes.removed);
    }
    if !changes.set.is_empty() {
        let (at, count) = (at.to_string(), changes.set.len().to_string());
        let head: [&[u8]; 5] = [b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", count.as_bytes()];
        call.propagate_instead(&[&head, changes.set.as_slice()].concat());
    }
}

fn propagate_deletion(call: &mut Call<'_>, key: &[u8], fields: &[&[u8]]) {
    let head: [&[u8]; 2] = [b"HDEL", key];
    call.propagate_instead(&[&head, fields].concat());
}

/// What follows when fields were given the deadline `at`, or removed because it is past, which may have emptied the hash.
fn after_changes(call: &mut Call<'_>, key: &[u8], changes: &Changes<'_>, at: i64, is_empty: bool) {
    if changes.count() == 0 {
        return;
    }
    if changes.removed.is_empty() {
        call.db().note_field_deadlines(key);
        call.modified(key);
        call.notify(Classes::HASH, "hexpire", key);
        call.dirty(changes.set.len() as u64);
    } else {
        after_removal(call, key, DELETION, is_empty, changes.count());
    }
    propagate_changes(call, key, changes, at);
}

fn expire(call: &mut Call<'_>, unit: Unit, name: &str) -> CommandResult {
    let args = call.args;
    let key = args.at(1);
    let is_there = call.db().holds::<Hash>(key)?;
    let at = deadline(call, unit, args.at(2), name)?;
    let condition = Condition::of(args.at(3));
    let fields = fields(
        args,
        3 + usize::from(condition.is_some()),
        "ERR Parameter `numFields` should be greater than 0",
    )?;
    let condition = condition.unwrap_or(Condition::Always);
    if !is_there {
        return answer_all(call, fields.len(), NO_FIELD);
    }
    let is_past = call.keyspace.shared.is_past(at);
    let mut changes = Changes::default();
    let Some(hash) = call.keyspace.db(call.client.db).write_as::<Hash>(key)? else {
        return answer_all(call, fields.len(), NO_FIELD);
    };
    let reply = &mut call.client.reply;
    reply.array(fields.len());
    for field in fields.iter() {
        let outcome = match hash.deadline(field) {
            None => NO_FIELD,
            Some(old) if !condition.holds(old, at) => NOT_SET,
            Some(_) if is_past => {
                hash.remove(field);
                changes.removed.push(field);
                DELETED
            }
            Some(_) => {
                hash.make_timed().set_deadline(field, Some(at));
                changes.set.push(field);
                DONE
            }
        };
        reply.integer(outcome);
    }
    let is_empty = hash.is_empty();
    let removed = changes.removed.len() as u64;
    let expired = &call.keyspace.shared.expired_fields;
    expired.set(expired.get() + removed);
    after_changes(call, key, &changes, at, is_empty);
    Ok(())
}

fn answer_all(call: &mut Call<'_>, count: usize, answer: i64) -> CommandResult {
    let reply = &mut call.client.reply;
    reply.array(count);
    (0..count).for_each(|_| reply.integer(answer));
    Ok(())
}

/// `HEXPIRE key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
pub fn hexpire(call: &mut Call<'_>) -> CommandResult {
    expire(call, Unit::Seconds, "hexpire")
}

/// `HPEXPIRE key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
pub fn hpexpire(call: &mut Call<'_>) -> CommandResult {
    expire(call, Unit::Millis, "hpexpire")
}

/// `HEXPIREAT key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
pub fn hexpireat(call: &mut Call<'_>) -> CommandResult {
    expire(call, Unit::UnixSeconds, "hexpireat")
}

/// `HPEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
pub fn hpexpireat(call: &mut Call<'_>) -> CommandResult {
    expire(call, Unit::UnixMillis, "hpexpireat")
}

fn remaining(call: &mut Call<'_>, unit: Unit) -> CommandResult {
    let args = call.args;
    let now = call.now_ms();
    let hash = call.keyspace.db(call.client.db).read_as::<Hash>(args.at(1))?;
    let fields = fields(args, 2, TEXT_NOT_POSITIVE)?;
    let reply = &mut call.client.reply;
    reply.array(fields.len());
    for field in fields.iter() {
        reply.integer(match hash.and_then(|hash| hash.deadline(field)) {
            None => NO_FIELD,
            Some(None) => NO_DEADLINE,
            Some(Some(at)) => match unit {
                Unit::Seconds => (at - now + 999) / 1000,
                Unit::Millis => at - now,
                Unit::UnixSeconds => (at + 999) / 1000,
                Unit::UnixMillis => at,
            },
        });
    }
    Ok(())
}

/// `HTTL key FIELDS numfields field [field ...]`
pub fn httl(call: &mut Call<'_>) -> CommandResult {
    remaining(call, Unit::Seconds)
}

/// `HPTTL key FIELDS numfields field [field ...]`
pub fn hpttl(call: &mut Call<'_>) -> CommandResult {
    remaining(call, Unit::Millis)
}

/// `HEXPIRETIME key FIELDS numfields field [field ...]`
pub fn hexpiretime(call: &mut Call<'_>) -> CommandResult {
    remaining(call, Unit::UnixSeconds)
}

/// `HPEXPIRETIME key FIELDS numfields field [field ...]`
pub fn hpexpiretime(call: &mut Call<'_>) -> CommandResult {
    remaining(call, Unit::UnixMillis)
}

/// `HPERSIST key FIELDS numfields field [field ...]`
pub fn hpersist(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let key = args.at(1);
    let is_there = call.db().holds::<Hash>(key)?;
    let fields = fields(args, 2, TEXT_NOT_POSITIVE)?;
    if !is_there {
        return answer_all(call, fields.len(), NO_FIELD);
    }
    let Some(hash) = call.keyspace.db(call.client.db).write_as::<Hash>(key)? else {
        return answer_all(call, fields.len(), NO_FIELD);
    };
    let reply = &mut call.client.reply;
    reply.array(fields.len());
    let mut persisted = 0;
    for field in fields.iter() {
        reply.integer(match hash.deadline(field) {
            None => NO_FIELD,
            Some(None) => NO_DEADLINE,
            Some(Some(_)) => {
                hash.make_timed().set_deadline(field, None);
                persisted += 1;
                DONE
            }
        });
    }
    if persisted > 0 {
        call.modified(key);
        call.notify(Classes::HASH, "hpersist", key);
        call.dirty(persisted);
    }
    Ok(())
}

/// `HGETDEL key FIELDS numfields field [field ...]`
pub fn hgetdel(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let key = args.at(1);
    let is_there = call.db().holds::<Hash>(key)?;
    let fields = fields(args, 2, TEXT_NOT_POSITIVE)?;
    let reply = &mut call.client.reply;
    reply.array(fields.len());
    let hash =
        if is_there { call.keyspace.db(call.client.db).write_as::<Hash>(key)? } else { None };
    let Some(hash) = hash else {
        (0..fields.len()).for_each(|_| reply.null());
        return Ok(());
    };
    let mut removed = Vec::new();
    for field in fields.iter() {
        match hash.get(field) {
            Some(value) => {
                reply.element(value);
                hash.remove(field);
                removed.push(field);
            }
            None => reply.null(),
        }
    }
    let is_empty = hash.is_empty();
    if !removed.is_empty() {
        after_removal(call, key, DELETION, is_empty, removed.len());
        propagate_deletion(call, key, &removed);
    }
    Ok(())
}

/// What HGETEX and HSETEX do about deadlines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    /// Nothing is said of it.
    Unsaid,
    /// It ends then.
    Until(i64),
    /// HGETEX: it has no end.
    Persist,
    /// HSETEX: it stays as it is.
    Keep,
}

/// The options of HGETEX and HSETEX.
struct Extra<'a> {
    lifetime: Lifetime,
    /// None of the fields may be there (`FNX`), or all must be (`FXX`).
    fields_there: Option<bool>,
    /// The key must not be there (`NX`), or must be (`XX`): Valkey 9.1.
    key_there: Option<bool>,
    /// Fields, or fields with their values.
    fields: Args<'a>,
}

fn extra<'a>(call: &Call<'a>, name: &'static str, sets: bool) -> Result<Extra<'a>, CommandError> {
    let words_a_field = if sets { 2 } else { 1 };
    let several = if sets {
        "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified"
    } else {
        "ERR Only one of EX, PX, EXAT, PXAT or PERSIST arguments can be specified"
    };
    let mut lifetime = Lifetime::Unsaid;
    let (mut fields_there, mut key_there) = (None, None);
    let mut found = None;
    let mut options = Options::new(call.args, 2);
    while let Some(word) = options.word() {
        let said = match word {
            _ if word.eq_ignore_ascii_case(b"FIELDS") => {
                if found.is_some() {
                    return Err(CommandError::new("ERR multiple FIELDS argument"));
                }
                let count = options.need().map_err(|_| CommandError::arity(name))?;
                let count =
                    integer(count).ok().filter(|count| (1..=i64::from(i32::MAX)).contains(count));
                let count =
                    count.ok_or(CommandError::new("ERR invalid number of fields"))? as usize;
                if count * words_a_field > options.left() {
                    return Err(CommandError::arity(name));
                }
                found = Some((options.position(), count * words_a_field));
                options.skip(count * words_a_field);
                continue;
            }
            _ if sets
                && (word.eq_ignore_ascii_case(b"FNX") || word.eq_ignore_ascii_case(b"FXX")) =>
            {
                let there = word.eq_ignore_ascii_case(b"FXX");
                if fields_there.is_some_and(|said| said != there) {
                    return Err(CommandError::new(
                        "ERR Only one of FXX or FNX arguments can be specified",
                    ));
                }
                fields_there = Some(there);
                continue;
            }
            _ if sets && (word.eq_ignore_ascii_case(b"NX") || word.eq_ignore_ascii_case(b"XX")) => {
                let there = word.eq_ignore_ascii_case(b"XX");
                if key_there.is_some_and(|said| said != there) {
                    return Err(SYNTAX);
                }
                key_there = Some(there);
                continue;
            }
            _ if !sets && word.eq_ignore_ascii_case(b"PERSIST") => Lifetime::Persist,
            _ if sets && word.eq_ignore_ascii_case(b"KEEPTTL") => Lifetime::Keep,
            _ => match Unit::of_option(word) {
                Some(unit) => {
                    if lifetime != Lifetime::Unsaid {
                        return Err(CommandError::new(several));
                    }
                    let amount =
                        options.need().map_err(|_| CommandError::new("ERR missing expire time"))?;
                    Lifetime::Until(deadline(call, unit, amount, name)?)
                }
                None => {
                    let word = String::from_utf8_lossy(word);
                    return Err(CommandError::made(format!("ERR unknown argument: {word}")));
                }
            },
        };
        if lifetime != Lifetime::Unsaid {
            return Err(CommandError::new(several));
        }
        lifetime = said;
    }
    let (at, count) = found.ok_or(CommandError::new("ERR missing FIELDS argument"))?;
    Ok(Extra { lifetime, fields_there, key_there, fields: call.args.slice(at, count) })
}

/// `HGETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] FIELDS
/// numfields field [field ...]`
pub fn hgetex(call: &mut Call<'_>) -> CommandResult {
    let key = call.arg(1);
    let Extra { lifetime, fields, .. } = extra(call, "hgetex", false)?;
    let is_past = matches!(lifetime, Lifetime::Until(at) if call.keyspace.shared.is_past(at));
    let db = call.keyspace.db(call.client.db);
    let reply = &mut call.client.reply;
    let hash = if lifetime == Lifetime::Unsaid {
        // Nothing is changed.
        let hash = db.read_as::<Hash>(key)?;
        reply.array(fields.len());
        for field in fields.iter() {
            match hash.and_then(|hash| hash.get(field)) {
                Some(value) => reply.element(value),
                None => reply.null(),
            }
        }
        return Ok(());
    } else if db.holds::<Hash>(key)? {
        db.write_as::<Hash>(key)?
    } else {
        None
    };
    reply.array(fields.len());
    let Some(hash) = hash else {
        (0..fields.len()).for_each(|_| reply.null());
        return Ok(());
    };
    let mut changes = Changes::default();
    let mut persisted = Vec::new();
    for field in fields.iter() {
        let Some(value) = hash.get(field) else {
            reply.null();
            continue;
        };
        reply.element(value);
        match lifetime {
            Lifetime::Until(_) if is_past => {
                hash.remove(field);
                changes.removed.push(field);
            }
            Lifetime::Until(at) => {
                hash.make_timed().set_deadline(field, Some(at));
                changes.set.push(field);
            }
            _ => {
                if hash.deadline(field).flatten().is_some() {
                    hash.make_timed().set_deadline(field, None);
                    persisted.push(field);
                }
            }
        }
    }
    let is_empty = hash.is_empty();
    if !persisted.is_empty() {
        call.modified(key);
        call.notify(Classes::HASH, "hpersist", key);
        call.dirty(persisted.len() as u64);
        let count = persisted.len().to_string();
        let head: [&[u8]; 4] = [b"HPERSIST", key, b"FIELDS", count.as_bytes()];
        call.propagate_instead(&[&head, persisted.as_slice()].concat());
    }
    if let Lifetime::Until(at) = lifetime {
        after_changes(call, key, &changes, at, is_empty);
    }
    Ok(())
}

/// Has it repeated that fields were set. What was asked of key and fields before holds no more. Where fields have deadlines,
/// replicas are told in two words, HSET and HPEXPIREAT, so that those have the values that do not know the second; the log
/// has one, that nothing comes between.
fn propagate_set(call: &mut Call<'_>, key: &[u8], lifetime: Lifetime, pairs: Args<'_>) {
    if call.keyspace.shared.has_incidents() {
        call.settle();
    }
    call.propagate_nothing();
    if !call.core.feed.wanted() {
        return;
    }
    let (hset, all): ([&[u8]; 2], Vec<&[u8]>) = ([b"HSET", key], pairs.iter().collect());
    let db = call.client.db;
    if matches!(lifetime, Lifetime::Unsaid | Lifetime::Persist) {
        call.core.feed.push(db, &[&hset, &all[..]].concat());
        return;
    }
    call.core.feed.keep_apart_for(Audience::REPLICAS);
    call.core.feed.push_to(Audience::REPLICAS, db, &[&hset, &all[..]].concat());
    let mut due: Vec<(i64, &[u8])> = Vec::new();
    if let Ok(Some(hash)) = call.keyspace.db(db).peek_as::<Hash>(key) {
        let deadline = |field: &'_ [u8]| hash.deadline(field).flatten();
        due.extend(all.iter().step_by(2).filter_map(|field| Some((deadline(field)?, *field))));
    }
    due.sort();
    due.dedup();
    for same in due.chunk_by(|one, other| one.0 == other.0) {
        let (at, count) = (same[0].0.to_string(), same.len().to_string());
        let mut words = vec![&b"HPEXPIREAT"[..], key, at.as_bytes(), b"FIELDS", count.as_bytes()];
        words.extend(same.iter().map(|(_, field)| *field));
        call.core.feed.push_to(Audience::REPLICAS, db, &words);
    }
    let count = (pairs.len() / 2).to_string();
    let at = match lifetime {
        Lifetime::Until(at) => at.to_string(),
        _ => String::new(),
    };
    let mut words: Vec<&[u8]> = match lifetime {
        Lifetime::Until(_) => {
            vec![b"HSETEX", key, b"PXAT", at.as_bytes(), b"FIELDS", count.as_bytes()]
        }
        _ => vec![b"HSETEX", key, b"KEEPTTL", b"FIELDS", count.as_bytes()],
    };
    words.extend(all);
    call.core.feed.push_to(Audience::ALL.without(Audience::REPLICAS), db, &words);
}

/// `HSETEX key [NX | XX] [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]
/// FIELDS numfields field value [field value ...]`
pub fn hsetex(call: &mut Call<'_>) -> CommandResult {
    let key = call.arg(1);
    let Extra { lifetime, fields_there, key_there, fields: pairs } = extra(call, "hsetex", true)?;
    let is_there = call.db().holds::<Hash>(key)?;
    if key_there.is_some_and(|wanted| wanted != is_there) {
        call.client.reply.integer(0);
        return Ok(());
    }
    let is_past = matches!(lifetime, Lifetime::Until(at) if call.keyspace.shared.is_past(at));
    let named = || (0..pairs.len()).step_by(2).map(|at| (pairs.at(at), pairs.at(at + 1)));
    let db = call.keyspace.db(call.client.db);
    if let Some(wanted) = fields_there {
        let hash = db.peek(key).and_then(|entry| entry.object()).and_then(|object| match object {
            crate::types::Object::Hash(hash) => Some(hash),
            _ => None,
        });
        let holds = |field: &[u8]| hash.is_some_and(|hash| hash.contains(field)) == wanted;
        if !named().all(|(field, _)| holds(field)) {
            call.client.reply.integer(0);
            return Ok(());
        }
    }
    if is_past && !is_there {
        // Set and gone at once.
        call.client.reply.integer(1);
        return Ok(());
    }
    let limits = &call.core.settings.packed;
    let hash = db.write_or_create::<Hash>(key)?;
    hash.prepare(pairs.iter(), limits);
    let mut changes = Changes::default();
    for (field, value) in named() {
        match lifetime {
            Lifetime::Until(_) if is_past => {
                hash.remove(field);
                changes.removed.push(field);
            }
            Lifetime::Until(at) => {
                hash.set(field, value, limits);
                hash.make_timed().set_deadline(field, Some(at));
            }
            Lifetime::Keep => {
                hash.set_keeping_deadline(field, value, limits);
            }
            Lifetime::Unsaid | Lifetime::Persist => {
                hash.set(field, value, limits);
            }
        }
    }
    let is_empty = hash.is_empty();
    if is_past {
        after_removal(call, key, DELETION, is_empty, changes.removed.len());
        propagate_deletion(call, key, &changes.removed);
    } else {
        call.db().note_field_deadlines(key);
        call.modified(key);
        call.notify(Classes::HASH, "hset", key);
        call.dirty((pairs.len() / 2) as u64);
        if let Lifetime::Until(_) = lifetime {
            call.notify(Classes::HASH, "hexpire", key);
        }
        propagate_set(call, key, lifetime, pairs);
    }
    call.client.reply.integer(1);
    Ok(())
}
