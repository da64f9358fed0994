//! Sets.

use std::collections::HashSet;

use redstart_common::resp::Args;

use super::keys::{cursor, scan_options};
use super::options::{Options, count as non_negative, integer, integer_between, integer_within};
use super::{Handlers, Removal, after_removal, removal_word, store_result};
use crate::encoding::hll;
use crate::encoding::listpack::Element;
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult, SYNTAX};
use crate::keyspace::{Db, WrongType};
use crate::settings::notify::Classes;
use crate::types::{Limits, Object, Set};

pub(super) const HANDLERS: Handlers = &[
    ("sadd", sadd),
    ("scard", scard),
    ("sdiff", sdiff),
    ("sdiffstore", sdiffstore),
    ("sinter", sinter),
    ("sintercard", sintercard),
    ("sdiffcard", sdiffcard),
    ("sunioncard", sunioncard),
    ("sinterstore", sinterstore),
    ("sismember", sismember),
    ("smembers", smembers),
    ("smismember", smismember),
    ("smove", smove),
    ("spop", spop),
    ("srandmember", srandmember),
    ("srem", srem),
    ("sscan", sscan),
    ("sunion", sunion),
    ("sunionstore", sunionstore),
];

/// `SADD key member [member ...]`
pub fn sadd(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let key = args.at(1);
    let limits = &call.core.settings.packed;
    let set = call.keyspace.db(call.client.db).write_or_create::<Set>(key)?;
    let added = args.tail(2).iter().filter(|member| set.insert(member, limits)).count();
    if added > 0 {
        call.modified(key);
        call.notify(Classes::SET, "sadd", key);
        call.dirty(added as u64);
    }
    call.client.reply.count(added);
    Ok(())
}

/// `SREM key member [member ...]`
pub fn srem(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let key = args.at(1);
    let Some(set) = call.keyspace.db(call.client.db).write_as::<Set>(key)? else {
        call.client.reply.integer(0);
        return Ok(());
    };
    let removed = args.tail(2).iter().filter(|member| set.remove(member)).count();
    let empty = set.is_empty();
    if removed > 0 {
        after_removal(call, key, taken("srem"), empty, removed);
    }
    call.client.reply.count(removed);
    Ok(())
}

fn taken(event: &'static str) -> Removal {
    Removal { class: Classes::SET, event, watchers_last: false }
}

/// `SCARD key`
pub fn scard(call: &mut Call<'_>) -> CommandResult {
    let set = call.keyspace.db(call.client.db).read_as::<Set>(call.args.at(1))?;
    call.client.reply.count(set.map_or(0, Set::len));
    Ok(())
}

/// `SISMEMBER key member`
pub fn sismember(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let set = call.keyspace.db(call.client.db).read_as::<Set>(args.at(1))?;
    let there = set.is_some_and(|set| set.contains(args.at(2)));
    call.client.reply.integer(i64::from(there));
    Ok(())
}

/// `SMISMEMBER key member [member ...]`
pub fn smismember(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let set = call.keyspace.db(call.client.db).read_as::<Set>(args.at(1))?;
    let members = args.tail(2);
    call.client.reply.array(members.len());
    for member in members.iter() {
        let there = set.is_some_and(|set| set.contains(member));
        call.client.reply.integer(i64::from(there));
    }
    Ok(())
}

/// `SMEMBERS key`
pub fn smembers(call: &mut Call<'_>) -> CommandResult {
    let set = call.keyspace.db(call.client.db).read_as::<Set>(call.args.at(1))?;
    let reply = &mut call.client.reply;
    reply.set(set.map_or(0, Set::len));
    if let Some(set) = set {
        set.for_each(|member| reply.element(member));
    }
    Ok(())
}

/// `SMOVE source destination member`
pub fn smove(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (from, to, member) = (args.at(1), args.at(2), args.at(3));
    let db = call.keyspace.db(call.client.db);
    // Both must be sets before either changes.
    if !db.holds::<Set>(from)? {
        call.client.reply.integer(0);
        return Ok(());
    }
    db.holds::<Set>(to)?;
    let Some(source) = db.write_as::<Set>(from)? else { return Ok(()) };
    if from == to {
        let there = source.contains(member);
        call.client.reply.integer(i64::from(there));
        return Ok(());
    }
    if !source.remove(member) {
        call.client.reply.integer(0);
        return Ok(());
    }
    let empty = source.is_empty();
    after_removal(call, from, taken("srem"), empty, 1);
    let limits = &call.core.settings.packed;
    let added = call.keyspace.db(call.client.db).write_or_create::<Set>(to)?.insert(member, limits);
    if added {
        call.modified(to);
        call.dirty(1);
        call.notify(Classes::SET, "sadd", to);
    }
    call.client.reply.integer(1);
    Ok(())
}

/// `SPOP key [count]`
pub fn spop(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    if args.len() > 3 {
        return Err(SYNTAX);
    }
    let key = args.at(1);
    let Some(count) = args.get(2) else {
        return pop_one(call, key);
    };
    let count = non_negative(count)?;
    let Some(set) = call.keyspace.db(call.client.db).write_as::<Set>(key)? else {
        call.client.reply.set(0);
        return Ok(());
    };
    if count == 0 {
        call.client.reply.set(0);
        return Ok(());
    }
    let size = set.len();
    if count >= size {
        let reply = &mut call.client.reply;
        reply.set(size);
        set.for_each(|member| reply.element(member));
        after_removal(call, key, taken("spop"), true, size);
        let lazily = call.core.settings.lazyfree_lazy_server_del;
        call.propagate_instead(&[removal_word(lazily), key]);
        return Ok(());
    }
    let mut popped = Vec::with_capacity(count);
    set.with_some(count, |member| popped.push(member.to_vec()));
    for member in &popped {
        set.remove(member);
    }
    call.client.reply.set(popped.len());
    popped.iter().for_each(|member| call.client.reply.bulk(member));
    after_removal(call, key, taken("spop"), false, popped.len());
    call.propagate_nothing();
    if call.core.feed.wanted() {
        for part in popped.chunks(1024) {
            let mut removal: Vec<&[u8]> = vec![b"SREM", key];
            removal.extend(part.iter().map(Vec::as_slice));
            call.propagate_instead(&removal);
        }
    }
    Ok(())
}

fn pop_one(call: &mut Call<'_>, key: &[u8]) -> CommandResult {
    let Some(set) = call.keyspace.db(call.client.db).write_as::<Set>(key)? else {
        call.client.reply.null();
        return Ok(());
    };
    let mut popped = Vec::new();
    set.with_random(|member| popped = member.to_vec());
    set.remove(&popped);
    let empty = set.is_empty();
    call.client.reply.bulk(&popped);
    after_removal(call, key, taken("spop"), empty, 1);
    call.propagate_instead(&[b"SREM", key, &popped]);
    Ok(())
}

/// `SRANDMEMBER key [count]`
pub fn srandmember(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    if args.len() > 3 {
        return Err(SYNTAX);
    }
    let count = match args.get(2) {
        Some(count) => Some(integer_between(count, -i64::MAX, i64::MAX)?),
        None => None,
    };
    let most = call.output_most();
    let set = call.keyspace.db(call.client.db).read_as::<Set>(args.at(1))?;
    let reply = &mut call.client.reply;
    let Some(count) = count else {
        match set {
            Some(set) => set.with_random(|member| reply.element(member)),
            None => reply.null(),
        }
        return Ok(());
    };
    let Some(set) = set.filter(|_| count != 0) else {
        reply.array(0);
        return Ok(());
    };
    if count < 0 {
        let draws = count.unsigned_abs() as usize;
        reply.array(draws);
        for _ in 0..draws {
            if reply.pending() > most {
                break;
            }
            set.with_random(|member| reply.element(member));
        }
        return Ok(());
    }
    let wanted = (count as usize).min(set.len());
    reply.array(wanted);
    set.with_some(wanted, |member| reply.element(member));
    Ok(())
}

/// `SSCAN key cursor [MATCH pattern] [COUNT count]`
pub fn sscan(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let at = cursor(args.at(2))?;
    let set = call.keyspace.db(call.client.db).read_as::<Set>(args.at(1))?;
    let reply = &mut call.client.reply;
    let Some(set) = set else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    // Read only now: without the key, options are not looked at.
    let options = scan_options(Options::new(args, 3), false, None)?;
    reply.array(2);
    let mut found = Vec::new();
    let at = options.walk(at, |at, looked| {
        set.scan(at, |member| {
            *looked += 1;
            if member.with_text(|text| options.fits(text)) {
                found.push(member.to_vec());
            }
        })
    });
    reply.bulk(at.to_string().as_bytes());
    reply.array(found.len());
    found.iter().for_each(|text| reply.bulk(text));
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Difference,
    Intersection,
}

/// Has each key looked up once, so that it expires and counts, and refuses other types.
fn touch_all<'k>(db: &mut Db, keys: impl Iterator<Item = &'k [u8]>) -> Result<(), WrongType> {
    for key in keys {
        db.read_as::<Set>(key)?;
    }
    Ok(())
}

/// A set that was just touched; absent keys are `None`.
fn look<'d>(db: &'d Db, key: &[u8]) -> Option<&'d Set> {
    match db.look(key)?.object()? {
        Object::Set(set) => Some(set),
        _ => None,
    }
}

/// The members of a union, difference or intersection of sets that were just touched.
fn combine(db: &Db, operation: Operation, keys: &[&[u8]], limits: &Limits) -> Set {
    let mut result = Set::default();
    let mut add = |member: Element<'_>| {
        member.with_text(|member| result.insert(member, limits));
    };
    match operation {
        Operation::Union => {
            for set in keys.iter().filter_map(|key| look(db, key)) {
                set.for_each(&mut add);
            }
        }
        Operation::Difference => {
            let Some(first) = look(db, keys[0]) else { return result };
            let others: Vec<&Set> = keys[1..].iter().filter_map(|key| look(db, key)).collect();
            if keys[1..].contains(&keys[0]) {
                return result;
            }
            first.for_each(|member| {
                let elsewhere =
                    member.with_text(|text| others.iter().any(|other| other.contains(text)));
                if !elsewhere {
                    add(member);
                }
            });
        }
        Operation::Intersection => {
            intersect(db, keys, |member| {
                add(member);
                true
            });
        }
    }
    result
}

/// Calls `visit` with each member of an intersection until it answers `false`.
fn intersect(db: &Db, keys: &[&[u8]], mut visit: impl FnMut(Element<'_>) -> bool) {
    let Some(mut sets) = keys.iter().map(|key| look(db, key)).collect::<Option<Vec<&Set>>>() else {
        return;
    };
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else { return };
    smallest.all(|member| {
        let everywhere = member.with_text(|text| others.iter().all(|other| other.contains(text)));
        !everywhere || visit(member)
    });
}

fn answer_combined(call: &mut Call<'_>, operation: Operation) -> CommandResult {
    let keys: Vec<&[u8]> = call.args.tail(1).iter().collect();
    let db = call.keyspace.db(call.client.db);
    touch_all(db, keys.iter().copied())?;
    let set = combine(db, operation, &keys, &call.core.settings.packed);
    let reply = &mut call.client.reply;
    reply.set(set.len());
    set.for_each(|member| reply.element(member));
    Ok(())
}

fn store_combined(call: &mut Call<'_>, operation: Operation, event: &str) -> CommandResult {
    let target = call.arg(1);
    let keys: Vec<&[u8]> = call.args.tail(2).iter().collect();
    let db = call.keyspace.db(call.client.db);
    touch_all(db, keys.iter().copied())?;
    let set = combine(db, operation, &keys, &call.core.settings.packed);
    let size = set.len();
    store_result(call, target, Object::Set(set), Classes::SET, event, 1);
    call.client.reply.count(size);
    Ok(())
}

/// `SUNION key [key ...]`
pub fn sunion(call: &mut Call<'_>) -> CommandResult {
    answer_combined(call, Operation::Union)
}

/// `SDIFF key [key ...]`
pub fn sdiff(call: &mut Call<'_>) -> CommandResult {
    answer_combined(call, Operation::Difference)
}

/// `SINTER key [key ...]`
pub fn sinter(call: &mut Call<'_>) -> CommandResult {
    answer_combined(call, Operation::Intersection)
}

/// `SUNIONSTORE destination key [key ...]`
pub fn sunionstore(call: &mut Call<'_>) -> CommandResult {
    store_combined(call, Operation::Union, "sunionstore")
}

/// `SDIFFSTORE destination key [key ...]`
pub fn sdiffstore(call: &mut Call<'_>) -> CommandResult {
    store_combined(call, Operation::Difference, "sdiffstore")
}

/// `SINTERSTORE destination key [key ...]`
pub fn sinterstore(call: &mut Call<'_>) -> CommandResult {
    store_combined(call, Operation::Intersection, "sinterstore")
}

/// What SINTERCARD and its kin ask for.
struct CardOptions<'a> {
    keys: Vec<&'a [u8]>,
    /// Counting ends there; 0 is no limit.
    limit: usize,
    /// About so many are enough.
    approximate: bool,
}

/// Reads `numkeys key [key ...] [LIMIT limit]`, and `[APPROX]` where that is known.
fn card_options<'a>(args: Args<'a>, knows_approx: bool) -> Result<CardOptions<'a>, CommandError> {
    let count = integer_within(args.at(1), 1..=i64::MAX, "ERR numkeys should be greater than 0")
        .map_err(|_| CommandError::new("ERR numkeys should be greater than 0"))?;
    if count > args.len() as i64 - 2 {
        return Err(CommandError::new("ERR Number of keys can't be greater than number of args"));
    }
    let count = count as usize;
    let keys: Vec<&[u8]> = args.tail(2).iter().take(count).collect();
    let (mut limit, mut approximate) = (0, false);
    let mut options = Options::new(args, 2 + count);
    while let Some(word) = options.word() {
        if knows_approx && word.eq_ignore_ascii_case(b"APPROX") {
            approximate = true;
            continue;
        }
        if !word.eq_ignore_ascii_case(b"LIMIT") || options.left() == 0 {
            return Err(SYNTAX);
        }
        limit = integer(options.need()?)
            .ok()
            .filter(|limit| *limit >= 0)
            .ok_or(CommandError::new("ERR LIMIT can't be negative"))? as usize;
    }
    Ok(CardOptions { keys, limit, approximate })
}

/// `SUNIONCARD numkeys key [key ...] [APPROX] [LIMIT limit]` (Redis 8.10)
pub fn sunioncard(call: &mut Call<'_>) -> CommandResult {
    let CardOptions { keys, limit, approximate } = card_options(call.args, true)?;
    let db = call.keyspace.db(call.client.db);
    touch_all(db, keys.iter().copied())?;
    let most = if limit == 0 { usize::MAX } else { limit };
    let sets: Vec<&Set> = keys.iter().filter_map(|key| look(db, key)).collect();
    let count = if approximate {
        let mut registers: hll::Registers = [0; hll::REGISTERS];
        for set in sets {
            set.for_each(|member| member.with_text(|text| hll::gather(&mut registers, text)));
        }
        most.min(hll::count_registers(&registers) as usize)
    } else if let [only] = sets[..] {
        most.min(only.len())
    } else {
        let mut seen: HashSet<Vec<u8>> = HashSet::new();
        for set in sets {
            set.all(|member| {
                seen.insert(member.to_vec());
                seen.len() < most
            });
        }
        seen.len()
    };
    call.client.reply.count(count);
    Ok(())
}

/// `SDIFFCARD numkeys key [key ...] [LIMIT limit]` (Redis 8.10)
pub fn sdiffcard(call: &mut Call<'_>) -> CommandResult {
    let CardOptions { keys, limit, .. } = card_options(call.args, false)?;
    let db = call.keyspace.db(call.client.db);
    touch_all(db, keys.iter().copied())?;
    let mut count = 0;
    if let Some((first, others)) = keys.split_first()
        && !others.contains(first)
        && let Some(first) = look(db, first)
    {
        let others: Vec<&Set> = others.iter().filter_map(|key| look(db, key)).collect();
        first.all(|member| {
            let is_elsewhere =
                member.with_text(|text| others.iter().any(|other| other.contains(text)));
            count += usize::from(!is_elsewhere);
            limit == 0 || count < limit
        });
    }
    call.client.reply.count(count);
    Ok(())
}

/// `SINTERCARD numkeys key [key ...] [LIMIT limit]`
pub fn sintercard(call: &mut Call<'_>) -> CommandResult {
    let CardOptions { keys, limit, .. } = card_options(call.args, false)?;
    let db = call.keyspace.db(call.client.db);
    touch_all(db, keys.iter().copied())?;
    let mut found = 0;
    intersect(db, &keys, |_| {
        found += 1;
        found != limit
    });
    call.client.reply.count(found);
    Ok(())
}
