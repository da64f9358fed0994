//! Lists, and the commands that wait for one.

pub(super) mod many;

use redstart_common::command::id_of;

use super::options::{Options, clamp_range, count as non_negative, integer, timeout_ms};
use super::{Handlers, Removal, after_removal};
use crate::client::Reply;
use crate::engine::Call;
use crate::engine::waiting::Nothing;
use crate::engine::{CommandError, CommandResult, NO_SUCH_KEY, OUT_OF_RANGE, SYNTAX};
use crate::keyspace::Kind;
use crate::settings::notify::Classes;
use crate::types::List;
use crate::types::list::End;

pub(super) const HANDLERS: Handlers = &[
    ("blmove", blmove),
    ("blmpop", blmpop),
    ("blpop", blpop),
    ("brpop", brpop),
    ("brpoplpush", brpoplpush),
    ("lindex", lindex),
    ("linsert", linsert),
    ("llen", llen),
    ("lmove", lmove),
    ("lmpop", lmpop),
    ("lpop", lpop),
    ("lpos", lpos),
    ("lpush", lpush),
    ("lpushx", lpushx),
    ("lrange", lrange),
    ("lrem", lrem),
    ("lset", lset),
    ("ltrim", ltrim),
    ("rpop", rpop),
    ("rpoplpush", rpoplpush),
    ("rpush", rpush),
    ("rpushx", rpushx),
];

fn push_event(end: End) -> &'static str {
    if end == End::Front { "lpush" } else { "rpush" }
}

fn pop_event(end: End) -> &'static str {
    if end == End::Front { "lpop" } else { "rpop" }
}

fn pop_word(end: End) -> &'static [u8] {
    if end == End::Front { b"LPOP" } else { b"RPOP" }
}

fn push(call: &mut Call<'_>, end: End, only_if_present: bool) -> CommandResult {
    let args = call.args;
    let key = args.at(1);
    let limits = &call.core.settings.packed;
    let db = call.keyspace.db(call.client.db);
    let list = if only_if_present {
        match db.write_as::<List>(key)? {
            Some(list) => list,
            None => {
                call.client.reply.integer(0);
                return Ok(());
            }
        }
    } else {
        db.write_or_create::<List>(key)?
    };
    for element in args.tail(2).iter() {
        list.push(end, element, limits);
    }
    let length = list.len();
    call.client.reply.count(length);
    call.modified(key);
    call.notify(Classes::LIST, push_event(end), key);
    call.dirty(args.len() as u64 - 2);
    Ok(())
}

/// `LPUSH key element [element ...]`
pub fn lpush(call: &mut Call<'_>) -> CommandResult {
    push(call, End::Front, false)
}

/// `RPUSH key element [element ...]`
pub fn rpush(call: &mut Call<'_>) -> CommandResult {
    push(call, End::Back, false)
}

/// `LPUSHX key element [element ...]`
pub fn lpushx(call: &mut Call<'_>) -> CommandResult {
    push(call, End::Front, true)
}

/// `RPUSHX key element [element ...]`
pub fn rpushx(call: &mut Call<'_>) -> CommandResult {
    push(call, End::Back, true)
}

fn taken(event: &'static str) -> Removal {
    Removal { class: Classes::LIST, event, watchers_last: event != "lrem" }
}

fn pop(call: &mut Call<'_>, end: End) -> CommandResult {
    let args = call.args;
    if args.len() > 3 {
        return Err(CommandError::arity(if end == End::Front { "lpop" } else { "rpop" }));
    }
    let key = args.at(1);
    let count = match args.get(2) {
        None => None,
        Some(count) => Some(non_negative(count)?),
    };
    let Some(list) = call.keyspace.db(call.client.db).write_as::<List>(key)? else {
        match count {
            None => call.client.reply.null(),
            Some(_) => call.client.reply.null_array(),
        }
        return Ok(());
    };
    let reply = &mut call.client.reply;
    let popped = match count {
        None => {
            list.pop(end, |element| reply.element(element));
            1
        }
        Some(count) => {
            let popped = count.min(list.len());
            reply.array(popped);
            for _ in 0..popped {
                list.pop(end, |element| reply.element(element));
            }
            popped
        }
    };
    let empty = list.is_empty();
    if popped > 0 {
        after_removal(call, key, taken(pop_event(end)), empty, popped);
    }
    Ok(())
}

/// `LPOP key [count]`
pub fn lpop(call: &mut Call<'_>) -> CommandResult {
    pop(call, End::Front)
}

/// `RPOP key [count]`
pub fn rpop(call: &mut Call<'_>) -> CommandResult {
    pop(call, End::Back)
}

/// `LLEN key`
pub fn llen(call: &mut Call<'_>) -> CommandResult {
    let list = call.keyspace.db(call.client.db).read_as::<List>(call.args.at(1))?;
    call.client.reply.count(list.map_or(0, List::len));
    Ok(())
}

/// The place an index names, counted from the back when negative.
fn place(index: i64, length: usize) -> Option<usize> {
    let index = if index < 0 { index.checked_add(length as i64)? } else { index };
    usize::try_from(index).ok().filter(|index| *index < length)
}

/// `LINDEX key index`
pub fn lindex(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let list = call.keyspace.db(call.client.db).read_as::<List>(args.at(1))?;
    let Some(list) = list else {
        call.client.reply.null();
        return Ok(());
    };
    let index = integer(args.at(2))?;
    let reply = &mut call.client.reply;
    let there = place(index, list.len())
        .and_then(|index| list.with(index, |element| reply.element(element)));
    if there.is_none() {
        reply.null();
    }
    Ok(())
}

/// `LSET key index element`
pub fn lset(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let key = args.at(1);
    let limits = &call.core.settings.packed;
    let Some(list) = call.keyspace.db(call.client.db).write_as::<List>(key)? else {
        return Err(NO_SUCH_KEY);
    };
    let index = integer(args.at(2))?;
    let index = place(index, list.len()).ok_or(OUT_OF_RANGE)?;
    list.set(index, args.at(3), limits);
    call.client.reply.ok();
    call.modified(key);
    call.notify(Classes::LIST, "lset", key);
    call.dirty(1);
    Ok(())
}

/// `LINSERT key BEFORE | AFTER pivot element`
pub fn linsert(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let key = args.at(1);
    let before = if args.at(2).eq_ignore_ascii_case(b"before") {
        true
    } else if args.at(2).eq_ignore_ascii_case(b"after") {
        false
    } else {
        return Err(SYNTAX);
    };
    let limits = &call.core.settings.packed;
    let Some(list) = call.keyspace.db(call.client.db).write_as::<List>(key)? else {
        call.client.reply.integer(0);
        return Ok(());
    };
    if !list.insert(args.at(3), before, args.at(4), limits) {
        call.client.reply.integer(-1);
        return Ok(());
    }
    let length = list.len();
    call.modified(key);
    call.notify(Classes::LIST, "linsert", key);
    call.dirty(1);
    call.client.reply.count(length);
    Ok(())
}

/// `LRANGE key start stop`
pub fn lrange(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (start, end) = (integer(args.at(2))?, integer(args.at(3))?);
    let list = call.keyspace.db(call.client.db).read_as::<List>(args.at(1))?;
    let reply = &mut call.client.reply;
    let range = list.and_then(|list| Some((list, clamp_range(start, end, list.len())?)));
    let Some((list, (start, end))) = range else {
        reply.array(0);
        return Ok(());
    };
    reply.array(end + 1 - start);
    list.range(start, end, |element| reply.element(element));
    Ok(())
}

/// `LTRIM key start stop`
pub fn ltrim(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let key = args.at(1);
    let (start, end) = (integer(args.at(2))?, integer(args.at(3))?);
    let Some(list) = call.keyspace.db(call.client.db).write_as::<List>(key)? else {
        call.client.reply.ok();
        return Ok(());
    };
    let length = list.len();
    let (front, back) = match clamp_range(start, end, length) {
        Some((start, end)) => (start, length - 1 - end),
        None => (length, 0),
    };
    list.cut(End::Front, front);
    list.cut(End::Back, back);
    let empty = list.is_empty();
    after_removal(call, key, taken("ltrim"), empty, front + back);
    call.client.reply.ok();
    Ok(())
}

/// `LREM key count element`
pub fn lrem(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let key = args.at(1);
    let count = integer(args.at(2))?;
    let Some(list) = call.keyspace.db(call.client.db).write_as::<List>(key)? else {
        call.client.reply.integer(0);
        return Ok(());
    };
    let from = if count < 0 { End::Back } else { End::Front };
    let removed = list.remove(args.at(3), from, count.unsigned_abs() as usize);
    let empty = list.is_empty();
    if removed > 0 {
        after_removal(call, key, taken("lrem"), empty, removed);
    }
    call.client.reply.count(removed);
    Ok(())
}

/// `LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]`
pub fn lpos(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let element = args.at(2);
    let (mut rank, mut count, mut longest) = (1_i64, None, 0);
    let mut options = Options::new(args, 3);
    while let Some(word) = options.word() {
        if options.left() == 0 {
            return Err(SYNTAX);
        }
        if word.eq_ignore_ascii_case(b"RANK") {
            rank = options.integer()?;
            if rank == 0 {
                return Err(CommandError::new(
                    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the \
                     second ... or use negative to start from the end of the list",
                ));
            }
        } else if word.eq_ignore_ascii_case(b"COUNT") {
            let number = integer(options.need()?)
                .ok()
                .filter(|number| *number >= 0)
                .ok_or(CommandError::new("ERR COUNT can't be negative"))?;
            count = Some(number as usize);
        } else if word.eq_ignore_ascii_case(b"MAXLEN") {
            longest = integer(options.need()?)
                .ok()
                .filter(|number| *number >= 0)
                .ok_or(CommandError::new("ERR MAXLEN can't be negative"))?
                as usize;
        } else {
            return Err(SYNTAX);
        }
    }
    let list = call.keyspace.db(call.client.db).read_as::<List>(args.at(1))?;
    let reply = &mut call.client.reply;
    let mut found = Vec::new();
    let wanted = match count {
        None => 1,
        Some(0) => usize::MAX,
        // The rank that has no negative stays below any number of matches in the original.
        Some(_) if rank == i64::MIN => usize::MAX,
        Some(count) => count,
    };
    if let Some(list) = list {
        let from = if rank > 0 { End::Front } else { End::Back };
        let mut to_skip = if rank == i64::MIN { 0 } else { rank.unsigned_abs() - 1 };
        let mut looked = 0;
        list.walk(from, |index, held| {
            looked += 1;
            if held.is(element) {
                if to_skip > 0 {
                    to_skip -= 1;
                } else {
                    found.push(index);
                }
            }
            found.len() < wanted && (longest == 0 || looked < longest)
        });
    }
    match count {
        Some(_) => {
            reply.array(found.len());
            found.iter().for_each(|index| reply.count(*index));
        }
        None => match found.first() {
            Some(index) => reply.count(*index),
            None => reply.null(),
        },
    }
    Ok(())
}

fn end(word: &[u8]) -> Result<End, CommandError> {
    if word.eq_ignore_ascii_case(b"left") {
        Ok(End::Front)
    } else if word.eq_ignore_ascii_case(b"right") {
        Ok(End::Back)
    } else {
        Err(SYNTAX)
    }
}

/// Moves one element. Answers whether there was one.
fn move_element(call: &mut Call<'_>, from: End, to: End) -> Result<bool, CommandError> {
    let (source, target) = (call.arg(1), call.arg(2));
    let db = call.keyspace.db(call.client.db);
    // Both must be lists before either changes.
    if !db.holds::<List>(source)? {
        return Ok(false);
    }
    db.holds::<List>(target)?;
    let mut moved = Vec::new();
    let Some(list) = db.write_as::<List>(source)? else { return Ok(false) };
    list.pop(from, |element| moved = element.to_vec());
    let empty = list.is_empty() && source != target;
    let limits = &call.core.settings.packed;
    db.write_or_create::<List>(target)?.push(to, &moved, limits);
    call.client.reply.bulk(&moved);
    call.modified(target);
    call.notify(Classes::LIST, push_event(to), target);
    after_removal(call, source, taken(pop_event(from)), empty, 1);
    Ok(true)
}

/// `LMOVE source destination LEFT | RIGHT LEFT | RIGHT`
pub fn lmove(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (from, to) = (end(args.at(3))?, end(args.at(4))?);
    if !move_element(call, from, to)? {
        call.client.reply.null();
    }
    Ok(())
}

/// `RPOPLPUSH source destination`
pub fn rpoplpush(call: &mut Call<'_>) -> CommandResult {
    if !move_element(call, End::Back, End::Front)? {
        call.client.reply.null();
    }
    Ok(())
}

fn word_of(end: End) -> &'static [u8] {
    if end == End::Front { b"LEFT" } else { b"RIGHT" }
}

fn blocking_move(call: &mut Call<'_>, from: End, to: End, timeout: &[u8]) -> CommandResult {
    let args = call.args;
    let timeout = timeout_ms(timeout)?;
    if move_element(call, from, to)? {
        let (source, target) = (args.at(1), args.at(2));
        if call.core.feed.wanted() {
            if call.row == const { id_of("brpoplpush") } {
                call.propagate_instead(&[b"RPOPLPUSH", source, target]);
            } else {
                call.propagate_instead(&[b"LMOVE", source, target, word_of(from), word_of(to)]);
            }
        }
    } else {
        call.block(Kind::List, std::iter::once(args.at(1)), timeout, Nothing::Moved);
    }
    Ok(())
}

/// `BLMOVE source destination LEFT | RIGHT LEFT | RIGHT timeout`
pub fn blmove(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (from, to) = (end(args.at(3))?, end(args.at(4))?);
    blocking_move(call, from, to, args.at(5))
}

/// `BRPOPLPUSH source destination timeout`
pub fn brpoplpush(call: &mut Call<'_>) -> CommandResult {
    let timeout = call.arg(3);
    blocking_move(call, End::Back, End::Front, timeout)
}

fn blocking_pop(call: &mut Call<'_>, from: End) -> CommandResult {
    let args = call.args;
    let last = args.len() - 1;
    let timeout = timeout_ms(args.at(last))?;
    for key in args.iter().take(last).skip(1) {
        if !call.may_take(key) {
            continue;
        }
        let Some(list) = call.keyspace.db(call.client.db).write_as::<List>(key)? else { continue };
        let reply = &mut call.client.reply;
        reply.array(2);
        reply.bulk(key);
        list.pop(from, |element| reply.element(element));
        let empty = list.is_empty();
        after_removal(call, key, taken(pop_event(from)), empty, 1);
        call.propagate_instead(&[pop_word(from), key]);
        return Ok(());
    }
    call.block(Kind::List, args.iter().take(last).skip(1), timeout, Nothing::NullArray);
    Ok(())
}

/// `BLPOP key [key ...] timeout`
pub fn blpop(call: &mut Call<'_>) -> CommandResult {
    blocking_pop(call, End::Front)
}

/// `BRPOP key [key ...] timeout`
pub fn brpop(call: &mut Call<'_>) -> CommandResult {
    blocking_pop(call, End::Back)
}

/// What LMPOP, BLMPOP, ZMPOP and BZMPOP share: `numkeys key [key ...] <where> [COUNT count]`.
pub(super) struct MultiPop<'a, P> {
    /// The keys, in order.
    pub keys: Vec<&'a [u8]>,
    /// Where to pop.
    pub place: P,
    /// How many.
    pub count: usize,
}

/// Reads the arguments of a multi-key pop from `at` on; `place` reads the word that says where.
pub(super) fn multi_pop<'a, P>(
    call: &Call<'a>,
    at: usize,
    place: impl FnOnce(&[u8]) -> Result<P, CommandError>,
) -> Result<MultiPop<'a, P>, CommandError> {
    let args = call.args;
    let numkeys = integer(args.at(at))
        .ok()
        .filter(|count| *count > 0)
        .ok_or(CommandError::new("ERR numkeys should be greater than 0"))?
        as usize;
    // The word that says where is behind the keys.
    if numkeys.saturating_add(at + 1) >= args.len() {
        return Err(SYNTAX);
    }
    let mut options = Options::new(args, at + 1 + numkeys);
    let place = place(options.need()?)?;
    let mut count = None;
    while let Some(word) = options.word() {
        if !word.eq_ignore_ascii_case(b"COUNT") || count.is_some() || options.left() == 0 {
            return Err(SYNTAX);
        }
        let number = integer(options.need()?)
            .ok()
            .filter(|count| *count > 0)
            .ok_or(CommandError::new("ERR count should be greater than 0"))?;
        count = Some(number as usize);
    }
    let keys = args.tail(at + 1).iter().take(numkeys).collect();
    Ok(MultiPop { keys, place, count: count.unwrap_or(1) })
}

/// Pops from the first list that has something. Answers whether one had.
fn pop_several(call: &mut Call<'_>, wanted: &MultiPop<'_, End>) -> Result<bool, CommandError> {
    let from = wanted.place;
    for key in &wanted.keys {
        if !call.may_take(key) {
            continue;
        }
        let Some(list) = call.keyspace.db(call.client.db).write_as::<List>(key)? else { continue };
        let count = wanted.count.min(list.len());
        let reply: &mut Reply = &mut call.client.reply;
        reply.array(2);
        reply.bulk(key);
        reply.array(count);
        for _ in 0..count {
            list.pop(from, |element| reply.element(element));
        }
        let empty = list.is_empty();
        after_removal(call, key, taken(pop_event(from)), empty, count);
        if call.core.feed.wanted() {
            call.propagate_instead(&[pop_word(from), key, count.to_string().as_bytes()]);
        }
        return Ok(true);
    }
    Ok(false)
}

/// `LMPOP numkeys key [key ...] LEFT | RIGHT [COUNT count]`
pub fn lmpop(call: &mut Call<'_>) -> CommandResult {
    let wanted = multi_pop(call, 1, end)?;
    if !pop_several(call, &wanted)? {
        call.client.reply.null_array();
    }
    Ok(())
}

/// `BLMPOP timeout numkeys key [key ...] LEFT | RIGHT [COUNT count]`
pub fn blmpop(call: &mut Call<'_>) -> CommandResult {
    let wanted = multi_pop(call, 2, end)?;
    let timeout = timeout_ms(call.arg(1))?;
    if !pop_several(call, &wanted)? {
        call.block(Kind::List, wanted.keys.iter().copied(), timeout, Nothing::NullArray);
    }
    Ok(())
}
