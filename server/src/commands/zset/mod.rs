//! Sorted sets: adding, asking for one member, popping. Ranges and set operations have files of their own.

mod combine;
mod range;

use redstart_common::number::format_f64_17g;
use redstart_common::resp::Proto;
use redstart_common::resp::error;

use super::keys::{cursor, scan_options};
use super::list::{MultiPop, multi_pop};
use super::options::{Options, count as non_negative, float, random_count, timeout_ms};
use super::{Handlers, Removal, after_removal};
use crate::client::Reply;
use crate::encoding::listpack::Element;
use crate::engine::Call;
use crate::engine::waiting::Nothing;
use crate::engine::{CommandError, CommandResult, SYNTAX};
use crate::keyspace::Kind;
use crate::settings::notify::Classes;
use crate::types::zset::whole;
use crate::types::{Limits, Zset};

pub(super) const HANDLERS: Handlers = &[
    ("bzmpop", bzmpop),
    ("bzpopmax", bzpopmax),
    ("bzpopmin", bzpopmin),
    ("zadd", zadd),
    ("zcard", zcard),
    ("zcount", range::zcount),
    ("zdiff", combine::zdiff),
    ("zdiffstore", combine::zdiffstore),
    ("zincrby", zincrby),
    ("zinter", combine::zinter),
    ("zintercard", combine::zintercard),
    ("zinterstore", combine::zinterstore),
    ("zlexcount", range::zlexcount),
    ("zmpop", zmpop),
    ("zmscore", zmscore),
    ("zpopmax", zpopmax),
    ("zpopmin", zpopmin),
    ("zrandmember", zrandmember),
    ("zrange", range::zrange),
    ("zrangebylex", range::zrangebylex),
    ("zrangebyscore", range::zrangebyscore),
    ("zrangestore", range::zrangestore),
    ("zrank", zrank),
    ("zrem", zrem),
    ("zremrangebylex", range::zremrangebylex),
    ("zremrangebyrank", range::zremrangebyrank),
    ("zremrangebyscore", range::zremrangebyscore),
    ("zrevrange", range::zrevrange),
    ("zrevrangebylex", range::zrevrangebylex),
    ("zrevrangebyscore", range::zrevrangebyscore),
    ("zrevrank", zrevrank),
    ("zscan", zscan),
    ("zscore", zscore),
    ("zunion", combine::zunion),
    ("zunionstore", combine::zunionstore),
];

/// Has it repeated member by member what a command has put at `target`, where older servers do not know the command. An empty
/// `result` was put nowhere; without one nobody listens.
pub(super) fn propagate_result(call: &mut Call<'_>, target: &[u8], result: Option<&Zset>) {
    /// Members of one command.
    const AT_ONCE: usize = 512;
    let Some(result) = result else { return };
    call.propagate_instead(&[b"DEL", target]);
    let db = call.client.db;
    let mut pairs: Vec<Vec<u8>> = Vec::new();
    let mut push = |pairs: &mut Vec<Vec<u8>>| {
        let words = [&b"ZADD"[..], target].into_iter().chain(pairs.iter().map(Vec::as_slice));
        call.core.feed.push(db, &words.collect::<Vec<_>>());
        pairs.clear();
    };
    result.walk(0, false, |member, score| {
        pairs.push(format_f64_17g(score).into_bytes());
        pairs.push(member.to_vec());
        if pairs.len() == 2 * AT_ONCE {
            push(&mut pairs);
        }
        true
    });
    if !pairs.is_empty() {
        push(&mut pairs);
    }
}

#[derive(Default, Clone, Copy)]
struct AddOptions {
    only_new: bool,
    only_old: bool,
    greater: bool,
    less: bool,
    changed: bool,
    increment: bool,
}

/// What became of one member.
enum Added {
    New(f64),
    Updated(f64),
    Same(f64),
    Refused,
}

const NAN: CommandError = CommandError::new(error::SCORE_NOT_A_NUMBER);

fn add_one(
    zset: &mut Zset,
    member: &[u8],
    score: f64,
    options: AddOptions,
    limits: &Limits,
) -> Result<Added, CommandError> {
    let Some(old) = zset.score(member) else {
        if options.only_old {
            return Ok(Added::Refused);
        }
        zset.set(member, score, limits);
        return Ok(Added::New(score));
    };
    if options.only_new {
        return Ok(Added::Refused);
    }
    let new = if options.increment { old + score } else { score };
    if new.is_nan() {
        return Err(NAN);
    }
    if (options.less && new >= old) || (options.greater && new <= old) {
        return Ok(Added::Refused);
    }
    if new == old {
        return Ok(Added::Same(new));
    }
    zset.set(member, new, limits);
    Ok(Added::Updated(new))
}

fn add(call: &mut Call<'_>, increments: bool) -> CommandResult {
    let args = call.args;
    let key = args.at(1);
    let mut options = AddOptions { increment: increments, ..AddOptions::default() };
    let mut cursor = Options::new(args, 2);
    // ZINCRBY reads them, too, and then lacks its increment.
    loop {
        let flag = match cursor.peek() {
            Some(word) if word.eq_ignore_ascii_case(b"NX") => &mut options.only_new,
            Some(word) if word.eq_ignore_ascii_case(b"XX") => &mut options.only_old,
            Some(word) if word.eq_ignore_ascii_case(b"GT") => &mut options.greater,
            Some(word) if word.eq_ignore_ascii_case(b"LT") => &mut options.less,
            Some(word) if word.eq_ignore_ascii_case(b"CH") => &mut options.changed,
            Some(word) if word.eq_ignore_ascii_case(b"INCR") => &mut options.increment,
            _ => break,
        };
        *flag = true;
        cursor.skip(1);
    }
    let pairs = args.tail(cursor.position());
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    if options.only_new && options.only_old {
        return Err(CommandError::new("ERR XX and NX options at the same time are not compatible"));
    }
    let exclusive = [options.greater, options.less, options.only_new];
    if exclusive.iter().filter(|set| **set).count() > 1 {
        return Err(CommandError::new(
            "ERR GT, LT, and/or NX options at the same time are not compatible",
        ));
    }
    if options.increment && pairs.len() > 2 {
        return Err(CommandError::new("ERR INCR option supports a single increment-element pair"));
    }
    // All scores are read before anything changes, so that a wrong one changes nothing.
    let count = pairs.len() / 2;
    let mut scores = smallvec::SmallVec::<[f64; 8]>::with_capacity(count);
    for at in 0..count {
        scores.push(float(pairs.at(at * 2))?);
    }
    let limits = &call.core.settings.packed;
    let db = call.keyspace.db(call.client.db);
    let zset = if options.only_old {
        db.write_as::<Zset>(key)?
    } else {
        // One that is created here gets its first member below: nothing refuses a member that is new.
        Some(db.write_or_create::<Zset>(key)?)
    };
    let (mut new, mut updated) = (0, 0);
    let mut last = Added::Refused;
    if let Some(zset) = zset {
        if zset.is_empty() {
            let longest = (0..count).map(|at| pairs.at(at * 2 + 1).len()).max().unwrap_or(0);
            // As in Redis, a first member that is too long, or no packed members at all, decide the form.
            let first = if limits.zset_entries == 0 { usize::MAX } else { 0 };
            zset.expect(first, longest, limits);
        }
        for (at, score) in scores.iter().enumerate() {
            last = add_one(zset, pairs.at(at * 2 + 1), *score, options, limits)?;
            match last {
                Added::New(_) => new += 1,
                Added::Updated(_) => updated += 1,
                Added::Same(_) | Added::Refused => {}
            }
        }
    }
    if options.increment {
        match last {
            Added::New(score) | Added::Updated(score) | Added::Same(score) => {
                call.client.reply.double(score);
            }
            Added::Refused => call.client.reply.null(),
        }
    } else {
        call.client.reply.integer(if options.changed { new + updated } else { new });
    }
    if new + updated > 0 {
        call.modified(key);
        let event = if options.increment { "zincr" } else { "zadd" };
        call.notify(Classes::ZSET, event, key);
        call.dirty((new + updated) as u64);
    }
    Ok(())
}

/// `ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]`
pub fn zadd(call: &mut Call<'_>) -> CommandResult {
    add(call, false)
}

/// `ZINCRBY key increment member`
pub fn zincrby(call: &mut Call<'_>) -> CommandResult {
    add(call, true)
}

/// `ZCARD key`
pub fn zcard(call: &mut Call<'_>) -> CommandResult {
    let zset = call.keyspace.db(call.client.db).read_as::<Zset>(call.args.at(1))?;
    call.client.reply.count(zset.map_or(0, Zset::len));
    Ok(())
}

/// `ZSCORE key member`
pub fn zscore(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let zset = call.keyspace.db(call.client.db).read_as::<Zset>(args.at(1))?;
    match zset.and_then(|zset| zset.score(args.at(2))) {
        Some(score) => call.client.reply.double(score),
        None => call.client.reply.null(),
    }
    Ok(())
}

/// `ZMSCORE key member [member ...]`
pub fn zmscore(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let zset = call.keyspace.db(call.client.db).read_as::<Zset>(args.at(1))?;
    let members = args.tail(2);
    call.client.reply.array(members.len());
    for member in members.iter() {
        match zset.and_then(|zset| zset.score(member)) {
            Some(score) => call.client.reply.double(score),
            None => call.client.reply.null(),
        }
    }
    Ok(())
}

fn rank(call: &mut Call<'_>, reverse: bool) -> CommandResult {
    let args = call.args;
    let mut options = Options::new(args, 3);
    let with_score = options.take("WITHSCORE");
    if options.left() > 0 {
        // As 7.0.15, which knows no such word.
        return Err(CommandError::arity(call.row.spec().name));
    }
    let member = args.at(2);
    let zset = call.keyspace.db(call.client.db).read_as::<Zset>(args.at(1))?;
    let reply = &mut call.client.reply;
    let found = zset.and_then(|zset| Some((zset.rank(member, reverse)?, zset.score(member)?)));
    match found {
        Some((rank, score)) => {
            if with_score {
                reply.array(2);
            }
            reply.count(rank);
            if with_score {
                reply.double(score);
            }
        }
        None if with_score => reply.null_array(),
        None => reply.null(),
    }
    Ok(())
}

/// `ZRANK key member [WITHSCORE]`
pub fn zrank(call: &mut Call<'_>) -> CommandResult {
    rank(call, false)
}

/// `ZREVRANK key member [WITHSCORE]`
pub fn zrevrank(call: &mut Call<'_>) -> CommandResult {
    rank(call, true)
}

fn taken(event: &'static str) -> Removal {
    Removal { class: Classes::ZSET, event, watchers_last: false }
}

/// `ZREM key member [member ...]`
pub fn zrem(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let key = args.at(1);
    let Some(zset) = call.keyspace.db(call.client.db).write_as::<Zset>(key)? else {
        call.client.reply.integer(0);
        return Ok(());
    };
    let removed = args.tail(2).iter().filter(|member| zset.remove(member).is_some()).count();
    let empty = zset.is_empty();
    if removed > 0 {
        after_removal(call, key, taken("zrem"), empty, removed);
    }
    call.client.reply.count(removed);
    Ok(())
}

fn pop_event(highest: bool) -> &'static str {
    if highest { "zpopmax" } else { "zpopmin" }
}

/// Takes up to `count` members from an end, answering each with `answer`. Answers how many it were, and whether
/// none is left.
fn pop_members(
    zset: &mut Zset,
    highest: bool,
    count: usize,
    mut answer: impl FnMut(Element<'_>, f64),
) -> (usize, bool) {
    let length = zset.len();
    let count = count.min(length);
    if count > 0 {
        let mut left = count;
        zset.walk(0, highest, |member, score| {
            answer(member, score);
            left -= 1;
            left > 0
        });
        zset.remove_range(if highest { length - count } else { 0 }, count);
    }
    (count, count == length)
}

fn pop(call: &mut Call<'_>, highest: bool) -> CommandResult {
    let args = call.args;
    if args.len() > 3 {
        return Err(SYNTAX);
    }
    let key = args.at(1);
    let count = match args.get(2) {
        None => None,
        Some(count) => Some(non_negative(count)?),
    };
    let Some(zset) = call.keyspace.db(call.client.db).write_as::<Zset>(key)? else {
        call.client.reply.array(0);
        return Ok(());
    };
    let reply = &mut call.client.reply;
    let wanted = count.unwrap_or(1).min(zset.len());
    // In RESP3, pairs are nested when a count was given.
    let nested = count.is_some() && reply.proto == Proto::Resp3;
    reply.array(if nested { wanted } else { wanted * 2 });
    let (popped, empty) = pop_members(zset, highest, wanted, |member, score| {
        if nested {
            reply.array(2);
        }
        reply.element(member);
        reply.double(score);
    });
    if popped > 0 {
        after_removal(call, key, taken(pop_event(highest)), empty, popped);
    }
    Ok(())
}

/// `ZPOPMIN key [count]`
pub fn zpopmin(call: &mut Call<'_>) -> CommandResult {
    pop(call, false)
}

/// `ZPOPMAX key [count]`
pub fn zpopmax(call: &mut Call<'_>) -> CommandResult {
    pop(call, true)
}

fn pop_word(highest: bool) -> &'static [u8] {
    if highest { b"ZPOPMAX" } else { b"ZPOPMIN" }
}

fn blocking_pop(call: &mut Call<'_>, highest: bool) -> CommandResult {
    let args = call.args;
    let last = args.len() - 1;
    let timeout = timeout_ms(args.at(last))?;
    for key in args.iter().take(last).skip(1) {
        if !call.may_take(key) {
            continue;
        }
        let Some(zset) = call.keyspace.db(call.client.db).write_as::<Zset>(key)? else { continue };
        let reply = &mut call.client.reply;
        reply.array(3);
        reply.bulk(key);
        let (popped, empty) = pop_members(zset, highest, 1, |member, score| {
            reply.element(member);
            reply.double(score);
        });
        after_removal(call, key, taken(pop_event(highest)), empty, popped);
        call.propagate_instead(&[pop_word(highest), key]);
        return Ok(());
    }
    call.block(Kind::Zset, args.iter().take(last).skip(1), timeout, Nothing::NullArray);
    Ok(())
}

/// `BZPOPMIN key [key ...] timeout`
pub fn bzpopmin(call: &mut Call<'_>) -> CommandResult {
    blocking_pop(call, false)
}

/// `BZPOPMAX key [key ...] timeout`
pub fn bzpopmax(call: &mut Call<'_>) -> CommandResult {
    blocking_pop(call, true)
}

fn which_end(word: &[u8]) -> Result<bool, CommandError> {
    if word.eq_ignore_ascii_case(b"max") {
        Ok(true)
    } else if word.eq_ignore_ascii_case(b"min") {
        Ok(false)
    } else {
        Err(SYNTAX)
    }
}

/// Pops from the first sorted set that has something. Answers whether one had.
fn pop_several(call: &mut Call<'_>, wanted: &MultiPop<'_, bool>) -> Result<bool, CommandError> {
    let highest = wanted.place;
    for key in &wanted.keys {
        if !call.may_take(key) {
            continue;
        }
        let Some(zset) = call.keyspace.db(call.client.db).write_as::<Zset>(key)? else { continue };
        let count = wanted.count.min(zset.len());
        let reply: &mut Reply = &mut call.client.reply;
        reply.array(2);
        reply.bulk(key);
        reply.array(count);
        let (popped, empty) = pop_members(zset, highest, count, |member, score| {
            reply.array(2);
            reply.element(member);
            reply.double(score);
        });
        after_removal(call, key, taken(pop_event(highest)), empty, popped);
        if call.core.feed.wanted() {
            call.propagate_instead(&[pop_word(highest), key, popped.to_string().as_bytes()]);
        }
        return Ok(true);
    }
    Ok(false)
}

/// `ZMPOP numkeys key [key ...] MIN | MAX [COUNT count]`
pub fn zmpop(call: &mut Call<'_>) -> CommandResult {
    let wanted = multi_pop(call, 1, which_end)?;
    if !pop_several(call, &wanted)? {
        call.client.reply.null_array();
    }
    Ok(())
}

/// `BZMPOP timeout numkeys key [key ...] MIN | MAX [COUNT count]`
pub fn bzmpop(call: &mut Call<'_>) -> CommandResult {
    let wanted = multi_pop(call, 2, which_end)?;
    let timeout = timeout_ms(call.arg(1))?;
    if !pop_several(call, &wanted)? {
        call.block(Kind::Zset, wanted.keys.iter().copied(), timeout, Nothing::NullArray);
    }
    Ok(())
}

/// `ZSCAN key cursor [MATCH pattern] [COUNT count] [NOSCORES]` (the last of Valkey 8.0)
pub fn zscan(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let at = cursor(args.at(2))?;
    let zset = call.keyspace.db(call.client.db).read_as::<Zset>(args.at(1))?;
    let reply = &mut call.client.reply;
    let Some(zset) = zset else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    // Read only now: without the key, options are not looked at.
    let options = scan_options(Options::new(args, 3), false, Some("NOSCORES"))?;
    reply.array(2);
    let mut found = Vec::new();
    let at = options.walk(at, |at, looked| {
        zset.scan(at, |member, score| {
            *looked += 1;
            if member.with_text(|text| options.fits(text)) {
                found.push((member.to_vec(), score));
            }
        })
    });
    reply.bulk(at.to_string().as_bytes());
    if options.is_bare {
        reply.array(found.len());
        found.iter().for_each(|(member, _)| reply.bulk(member));
        return Ok(());
    }
    reply.array(found.len() * 2);
    let packed = matches!(zset, Zset::Packed(_));
    for (member, score) in &found {
        reply.bulk(member);
        match whole(*score).filter(|_| packed) {
            // The original answers what its listpack holds.
            Some(number) => reply.bulk_int(number),
            None => reply.bulk_double(*score),
        }
    }
    Ok(())
}

/// `ZRANDMEMBER key [count [WITHSCORES]]`
pub fn zrandmember(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let Some((count, with_scores)) = random_count(args, "WITHSCORES")? else {
        let zset = call.keyspace.db(call.client.db).read_as::<Zset>(args.at(1))?;
        let reply = &mut call.client.reply;
        match zset {
            Some(zset) => zset.with_random(|member, _| reply.element(member)),
            None => reply.null(),
        }
        return Ok(());
    };
    let most = call.output_most();
    let zset = call.keyspace.db(call.client.db).read_as::<Zset>(args.at(1))?;
    let reply = &mut call.client.reply;
    let nested = reply.proto == Proto::Resp3;
    let answer = |reply: &mut Reply, member: Element<'_>, score: f64| {
        if with_scores && nested {
            reply.array(2);
        }
        reply.element(member);
        if with_scores {
            reply.double(score);
        }
    };
    let width = if with_scores && !nested { 2 } else { 1 };
    let Some(zset) = zset.filter(|_| count != 0) else {
        reply.array(0);
        return Ok(());
    };
    if count < 0 {
        let draws = count.unsigned_abs() as usize;
        reply.array(draws * width);
        for _ in 0..draws {
            if reply.pending() > most {
                break;
            }
            zset.with_random(|member, score| answer(reply, member, score));
        }
        return Ok(());
    }
    let wanted = (count as usize).min(zset.len());
    reply.array(wanted * width);
    zset.with_some(wanted, |member, score| answer(reply, member, score));
    Ok(())
}
