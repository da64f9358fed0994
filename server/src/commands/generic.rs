//! Commands on keys of any type: deleting, renaming, expiring, copying, describing.

use super::expiry::Unit;
use super::options::{Options, integer, integer_between};
use super::{Handlers, removal_word};
use crate::engine::Call;
use crate::engine::{
    CommandError, CommandResult, DB_OUT_OF_RANGE, NO_SUCH_KEY, SAME_OBJECT, SYNTAX,
};
use crate::keyspace::{Entry, Place, Taken};
use crate::settings::notify::Classes;

pub(super) const HANDLERS: Handlers = &[
    ("copy", copy),
    ("del", del),
    ("exists", exists),
    ("expire", expire),
    ("expireat", expireat),
    ("expiretime", expiretime),
    ("move", move_key),
    ("object|encoding", object_encoding),
    ("object|freq", object_freq),
    ("object|help", object_help),
    ("object|idletime", object_idletime),
    ("object|refcount", object_refcount),
    ("persist", persist),
    ("pexpire", pexpire),
    ("pexpireat", pexpireat),
    ("pexpiretime", pexpiretime),
    ("pttl", pttl),
    ("rename", rename),
    ("renamenx", renamenx),
    ("touch", touch),
    ("ttl", ttl),
    ("type", type_of),
    ("unlink", unlink),
];

fn delete(call: &mut Call<'_>, lazily: bool) -> CommandResult {
    let mut removed = 0;
    for key in call.args.tail(1).iter() {
        let there = if lazily { call.db().unlink(key) } else { call.db().remove(key) };
        if there {
            call.modified(key);
            call.removed(key);
            call.dirty(1);
            removed += 1;
        }
    }
    call.client.reply.integer(removed);
    Ok(())
}

/// `DEL key [key ...]`
pub fn del(call: &mut Call<'_>) -> CommandResult {
    let lazily = call.core.settings.lazyfree_lazy_user_del;
    delete(call, lazily)
}

/// `UNLINK key [key ...]`
pub fn unlink(call: &mut Call<'_>) -> CommandResult {
    delete(call, true)
}

/// `EXISTS key [key ...]`
pub fn exists(call: &mut Call<'_>) -> CommandResult {
    let mut found = 0;
    let db = call.keyspace.db(call.client.db);
    for key in call.args.tail(1).iter() {
        found += i64::from(db.inspect(key).is_some());
    }
    call.client.reply.integer(found);
    Ok(())
}

/// `TOUCH key [key ...]`
pub fn touch(call: &mut Call<'_>) -> CommandResult {
    let mut found = 0;
    let db = call.keyspace.db(call.client.db);
    for key in call.args.tail(1).iter() {
        found += i64::from(db.read(key).is_some());
    }
    call.client.reply.integer(found);
    Ok(())
}

/// `TYPE key`
pub fn type_of(call: &mut Call<'_>) -> CommandResult {
    let name = call.keyspace.db(call.client.db).inspect(call.args.at(1));
    let name = name.map_or("none", |entry| entry.kind().name());
    call.client.reply.simple(name);
    Ok(())
}

fn rename_key(call: &mut Call<'_>, only_if_absent: bool) -> CommandResult {
    let (from, to) = (call.arg(1), call.arg(2));
    if !call.db().contains(from) {
        return Err(NO_SUCH_KEY);
    }
    if from == to {
        if only_if_absent {
            call.client.reply.integer(0);
        } else {
            call.client.reply.ok();
        }
        return Ok(());
    }
    if only_if_absent && call.db().contains(to) {
        call.client.reply.integer(0);
        return Ok(());
    }
    call.db().rename(from, to);
    call.modified(from);
    call.modified(to);
    call.notify(Classes::GENERIC, "rename_from", from);
    call.notify(Classes::GENERIC, "rename_to", to);
    call.dirty(1);
    if only_if_absent {
        call.client.reply.integer(1);
    } else {
        call.client.reply.ok();
    }
    Ok(())
}

/// `RENAME key newkey`
pub fn rename(call: &mut Call<'_>) -> CommandResult {
    rename_key(call, false)
}

/// `RENAMENX key newkey`
pub fn renamenx(call: &mut Call<'_>) -> CommandResult {
    rename_key(call, true)
}

fn database(call: &Call<'_>, arg: &[u8]) -> Result<usize, CommandError> {
    let index = integer_between(arg, i32::MIN.into(), i32::MAX.into())?;
    usize::try_from(index)
        .ok()
        .filter(|index| *index < call.core.settings.databases)
        .ok_or(DB_OUT_OF_RANGE)
}

/// `MOVE key db`
pub fn move_key(call: &mut Call<'_>) -> CommandResult {
    if call.is_in_cluster() {
        return Err(CommandError::new("ERR MOVE is not allowed in cluster mode"));
    }
    let args = call.args;
    let key = args.at(1);
    let from = call.client.db;
    let to = database(call, args.at(2))?;
    if from == to {
        return Err(SAME_OBJECT);
    }
    let there = call.keyspace.db(from).contains(key);
    if !there || call.keyspace.db(to).contains(key) {
        call.client.reply.integer(0);
        return Ok(());
    }
    if let Some(taken) = call.keyspace.db(from).take(key) {
        call.keyspace.db(to).put(key, taken);
    }
    call.modified_in(from, key);
    call.modified_in(to, key);
    call.notify_in(from, Classes::GENERIC, "move_from", key);
    call.notify_in(to, Classes::GENERIC, "move_to", key);
    call.dirty(1);
    call.client.reply.integer(1);
    Ok(())
}

/// `COPY source destination [DB destination-db] [REPLACE]`
pub fn copy(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (from_key, to_key) = (args.at(1), args.at(2));
    let from = call.client.db;
    let mut to = from;
    let mut replace = false;
    let mut options = Options::new(args, 3);
    while let Some(word) = options.word() {
        if word.eq_ignore_ascii_case(b"REPLACE") {
            replace = true;
        } else if word.eq_ignore_ascii_case(b"DB") && options.left() >= 1 {
            to = database(call, options.need()?)?;
        } else {
            return Err(SYNTAX);
        }
    }
    if call.is_in_cluster() && to != 0 {
        return Err(CommandError::new(
            "ERR Copying to another database is not allowed in cluster mode",
        ));
    }
    if from == to && from_key == to_key {
        return Err(SAME_OBJECT);
    }
    let Some(source) = call.keyspace.db(from).read(from_key) else {
        call.client.reply.integer(0);
        return Ok(());
    };
    let copy = Taken { value: source.duplicate(), deadline: source.deadline() };
    if call.keyspace.db(to).contains(to_key) {
        if !replace {
            call.client.reply.integer(0);
            return Ok(());
        }
        call.keyspace.db(to).remove(to_key);
    }
    call.keyspace.db(to).put(to_key, copy);
    call.modified_in(to, to_key);
    call.notify_in(to, Classes::GENERIC, "copy_to", to_key);
    call.dirty(1);
    call.client.reply.integer(1);
    Ok(())
}

#[derive(Default, Clone, Copy)]
struct ExpireCondition {
    absent: bool,
    present: bool,
    greater: bool,
    less: bool,
}

fn expire_condition(mut options: Options<'_>) -> Result<ExpireCondition, CommandError> {
    let mut condition = ExpireCondition::default();
    while let Some(word) = options.word() {
        let flag = match word {
            _ if word.eq_ignore_ascii_case(b"NX") => &mut condition.absent,
            _ if word.eq_ignore_ascii_case(b"XX") => &mut condition.present,
            _ if word.eq_ignore_ascii_case(b"GT") => &mut condition.greater,
            _ if word.eq_ignore_ascii_case(b"LT") => &mut condition.less,
            _ => {
                return Err(CommandError::about("ERR Unsupported option ", word, ""));
            }
        };
        *flag = true;
    }
    if condition.absent && (condition.present || condition.greater || condition.less) {
        return Err(CommandError::new(
            "ERR NX and XX, GT or LT options at the same time are not compatible",
        ));
    }
    if condition.greater && condition.less {
        return Err(CommandError::new("ERR GT and LT options at the same time are not compatible"));
    }
    Ok(condition)
}

impl ExpireCondition {
    fn allows(self, current: Option<i64>, wanted: i64) -> bool {
        // No deadline counts as an infinite one.
        !(self.absent && current.is_some()
            || self.present && current.is_none()
            || self.greater && current.is_none_or(|current| wanted <= current)
            || self.less && current.is_some_and(|current| wanted >= current))
    }
}

fn expire_with(call: &mut Call<'_>, unit: Unit, name: &str) -> CommandResult {
    let args = call.args;
    let key = args.at(1);
    let condition = expire_condition(Options::new(args, 3))?;
    let amount = integer(args.at(2))?;
    let now = call.now_ms();
    let at = unit.deadline_of(amount, now).ok_or_else(|| CommandError::invalid_expire(name))?;
    let is_past = call.keyspace.shared.is_past(at);
    let Place::Held(held) = call.keyspace.db(call.client.db).place_to_write(key) else {
        call.client.reply.integer(0);
        return Ok(());
    };
    if !condition.allows(held.entry().deadline(), at) {
        call.client.reply.integer(0);
        return Ok(());
    }
    if is_past {
        let lazily = call.core.settings.lazyfree_lazy_expire;
        held.remove(lazily);
        call.modified(key);
        call.removed(key);
        call.propagate_instead(&[removal_word(lazily), key]);
    } else {
        held.set_deadline(Some(at));
        call.modified(key);
        call.notify(Classes::GENERIC, "expire", key);
        if call.core.feed.wanted() {
            call.propagate_instead(&[b"PEXPIREAT", key, at.to_string().as_bytes()]);
        }
    }
    call.dirty(1);
    call.client.reply.integer(1);
    Ok(())
}

/// `EXPIRE key seconds [NX | XX | GT | LT]`
pub fn expire(call: &mut Call<'_>) -> CommandResult {
    expire_with(call, Unit::Seconds, "expire")
}

/// `EXPIREAT key unix-time-seconds [NX | XX | GT | LT]`
pub fn expireat(call: &mut Call<'_>) -> CommandResult {
    expire_with(call, Unit::UnixSeconds, "expireat")
}

/// `PEXPIRE key milliseconds [NX | XX | GT | LT]`
pub fn pexpire(call: &mut Call<'_>) -> CommandResult {
    expire_with(call, Unit::Millis, "pexpire")
}

/// `PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]`
pub fn pexpireat(call: &mut Call<'_>) -> CommandResult {
    expire_with(call, Unit::UnixMillis, "pexpireat")
}

/// Answers what `shown` makes of a key's deadline; -2 without the key, -1 without a deadline.
fn deadline_with(call: &mut Call<'_>, shown: impl Fn(i64, i64) -> i64) -> CommandResult {
    let now = call.now_ms();
    let answer = match call.keyspace.db(call.client.db).inspect(call.args.at(1)) {
        None => -2,
        Some(entry) => entry.deadline().map_or(-1, |deadline| shown(deadline, now)),
    };
    call.client.reply.integer(answer);
    Ok(())
}

/// Milliseconds as seconds, to the nearest; none if negative.
fn whole_seconds(ms: i64) -> i64 {
    ((ms.max(0) as u64 + 500) / 1000) as i64
}

/// `TTL key`
pub fn ttl(call: &mut Call<'_>) -> CommandResult {
    deadline_with(call, |deadline, now| whole_seconds(deadline - now))
}

/// `PTTL key`
pub fn pttl(call: &mut Call<'_>) -> CommandResult {
    deadline_with(call, |deadline, now| (deadline - now).max(0))
}

/// `EXPIRETIME key`
pub fn expiretime(call: &mut Call<'_>) -> CommandResult {
    deadline_with(call, |deadline, _| whole_seconds(deadline))
}

/// `PEXPIRETIME key`
pub fn pexpiretime(call: &mut Call<'_>) -> CommandResult {
    deadline_with(call, |deadline, _| deadline)
}

/// `PERSIST key`
pub fn persist(call: &mut Call<'_>) -> CommandResult {
    let key = call.arg(1);
    let volatile = match call.keyspace.db(call.client.db).place_to_write(key) {
        Place::Held(held) if held.entry().deadline().is_some() => {
            held.set_deadline(None);
            true
        }
        _ => false,
    };
    if volatile {
        call.modified(key);
        call.notify(Classes::GENERIC, "persist", key);
        call.dirty(1);
    }
    call.client.reply.integer(i64::from(volatile));
    Ok(())
}

fn describe(
    call: &mut Call<'_>,
    answer: impl Fn(&Call<'_>, &Entry) -> CommandResult,
    write: impl Fn(&mut Call<'_>, &'static str, u32),
) -> CommandResult {
    let key = call.arg(2);
    let db = call.client.db;
    // Expires the key if need be; the second look borrows nothing that the answer needs.
    if !call.db().contains(key) {
        call.client.reply.null();
        return Ok(());
    }
    let (name, lru) = match call.keyspace.dbs[db].look_any(key) {
        Some(entry) => {
            answer(call, entry)?;
            (entry.encoding_name(), entry.lru())
        }
        None => ("", 0),
    };
    write(call, name, lru);
    Ok(())
}

/// `OBJECT ENCODING key`
pub fn object_encoding(call: &mut Call<'_>) -> CommandResult {
    describe(call, |_, _| Ok(()), |call, name, _| call.client.reply.bulk(name.as_bytes()))
}

/// `OBJECT REFCOUNT key`
pub fn object_refcount(call: &mut Call<'_>) -> CommandResult {
    let key = call.arg(2);
    if !call.db().contains(key) {
        call.client.reply.null();
        return Ok(());
    }
    // Redis shares the integers below 10000 and shows so; nothing is shared here, but clients and tests look.
    let shared = matches!(
        call.db().look(key).and_then(Entry::string),
        Some(crate::keyspace::Str::Int(0..10_000))
    );
    let evicts = call.core.settings.maxmemory > 0
        && (call.core.settings.maxmemory_policy.is_lru()
            || call.core.settings.maxmemory_policy.is_lfu());
    call.client.reply.integer(if shared && !evicts { i64::from(i32::MAX) } else { 1 });
    Ok(())
}

/// `OBJECT IDLETIME key`
pub fn object_idletime(call: &mut Call<'_>) -> CommandResult {
    describe(
        call,
        |call, _| {
            if call.core.settings.maxmemory_policy.is_lfu() {
                return Err(CommandError::new(
                    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note \
                     that when switching between policies at runtime LRU and LFU data will take \
                     some time to adjust.",
                ));
            }
            Ok(())
        },
        |call, _, lru| {
            let idle = call.keyspace.shared.lru_clock.get().wrapping_sub(lru) & 0xff_ffff;
            call.client.reply.integer(i64::from(idle));
        },
    )
}

/// `OBJECT FREQ key`
pub fn object_freq(call: &mut Call<'_>) -> CommandResult {
    describe(
        call,
        |call, _| {
            if !call.core.settings.maxmemory_policy.is_lfu() {
                return Err(CommandError::new(
                    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. \
                     Please note that when switching between policies at runtime LRU and LFU data \
                     will take some time to adjust.",
                ));
            }
            Ok(())
        },
        |call, _, lru| {
            let decayed =
                crate::keyspace::lfu::decay(lru, call.now_ms(), call.core.settings.lfu_decay_time);
            call.client.reply.integer(i64::from(decayed & 0xff));
        },
    )
}

/// `OBJECT HELP`
pub fn object_help(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.help(
        "OBJECT",
        &[
            "ENCODING <key>",
            "    Return the kind of internal representation used in order to store the value",
            "    associated with a <key>.",
            "FREQ <key>",
            "    Return the access frequency index of the <key>. The returned integer is",
            "    proportional to the logarithm of the recent access frequency of the key.",
            "IDLETIME <key>",
            "    Return the idle time of the <key>, that is the approximated number of",
            "    seconds elapsed since the last access to the key.",
            "REFCOUNT <key>",
            "    Return the number of references of the value associated with the specified",
            "    <key>.",
        ],
    );
    Ok(())
}
