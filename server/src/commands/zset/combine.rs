//! Unions, intersections and differences of sorted sets, and of sets, whose members count as scored 1.

use hashbrown::HashMap;

use super::propagate_result;
use super::range::store;
use crate::commands::options::{Options, float, integer};
use crate::encoding::listpack::Element;
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult, SYNTAX};
use crate::keyspace::{Db, WrongType};
use crate::types::{Object, Set, Zset};
use redstart_common::resp::Proto;
use redstart_common::resp::error;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
    /// The scores do not count (Redis 8.8).
    Count,
}

impl Aggregate {
    /// What a member's score in one of several sources brings.
    fn part(self, score: f64, weight: f64) -> f64 {
        if matches!(self, Self::Count) { weight } else { score * weight }
    }

    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            // What is not a number is neither less nor more.
            Self::Min => {
                if b < a {
                    b
                } else {
                    a
                }
            }
            Self::Max => {
                if b > a {
                    b
                } else {
                    a
                }
            }
            // Infinities of both signs make nothing rather than NaN.
            Self::Sum | Self::Count if (a + b).is_nan() => 0.0,
            Self::Sum | Self::Count => a + b,
        }
    }
}

struct Request<'a> {
    keys: Vec<&'a [u8]>,
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    limit: usize,
}

/// Which options a command knows.
#[derive(Clone, Copy)]
struct Knows {
    weights: bool,
    with_scores: bool,
    limit: bool,
}

fn request<'a>(call: &mut Call<'a>, at: usize, knows: Knows) -> Result<Request<'a>, CommandError> {
    let args = call.args;
    let numkeys = integer(args.at(at))?;
    if numkeys < 1 {
        return Err(CommandError::made(format!(
            "ERR at least 1 input key is needed for '{}' command",
            call.row.spec().name
        )));
    }
    if numkeys > (args.len() - at - 1) as i64 {
        return Err(SYNTAX);
    }
    let numkeys = numkeys as usize;
    let mut wanted = Request {
        keys: args.tail(at + 1).iter().take(numkeys).collect(),
        weights: vec![1.0; numkeys],
        aggregate: Aggregate::Sum,
        with_scores: false,
        limit: 0,
    };
    // A key of another type is told before a wrong option.
    touch_all(call.keyspace.db(call.client.db), &wanted.keys)?;
    let mut options = Options::new(args, at + 1 + numkeys);
    while let Some(word) = options.word() {
        if knows.weights && word.eq_ignore_ascii_case(b"WEIGHTS") && options.left() >= numkeys {
            for weight in &mut wanted.weights {
                *weight = float(options.need()?)
                    .map_err(|_| CommandError::new(error::WEIGHT_NOT_A_FLOAT))?;
            }
        } else if knows.weights && word.eq_ignore_ascii_case(b"AGGREGATE") && options.left() >= 1 {
            let word = options.need()?;
            wanted.aggregate = if word.eq_ignore_ascii_case(b"SUM") {
                Aggregate::Sum
            } else if word.eq_ignore_ascii_case(b"MIN") {
                Aggregate::Min
            } else if word.eq_ignore_ascii_case(b"MAX") {
                Aggregate::Max
            } else if word.eq_ignore_ascii_case(b"COUNT") {
                Aggregate::Count
            } else {
                return Err(SYNTAX);
            };
        } else if knows.with_scores && word.eq_ignore_ascii_case(b"WITHSCORES") {
            wanted.with_scores = true;
        } else if knows.limit && word.eq_ignore_ascii_case(b"LIMIT") && options.left() >= 1 {
            wanted.limit = integer(options.need()?)
                .ok()
                .filter(|limit| *limit >= 0)
                .ok_or(CommandError::new("ERR LIMIT can't be negative"))?
                as usize;
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(wanted)
}

/// What a key can contribute.
enum Source<'d> {
    Zset(&'d Zset),
    Set(&'d Set),
}

impl Source<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Zset(zset) => zset.len(),
            Self::Set(set) => set.len(),
        }
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Self::Zset(zset) => zset.score(member),
            Self::Set(set) => set.contains(member).then_some(1.0),
        }
    }

    /// Visits members until `visit` answers `false`.
    fn each(&self, mut visit: impl FnMut(Element<'_>, f64) -> bool) {
        match self {
            Self::Zset(zset) => zset.walk(0, false, visit),
            Self::Set(set) => {
                set.all(|member| visit(member, 1.0));
            }
        }
    }
}

/// Looks all keys up, so that they expire and count; refuses what is neither a set nor a sorted set.
fn touch_all(db: &mut Db, keys: &[&[u8]]) -> Result<(), WrongType> {
    for key in keys {
        let fits = db
            .read(key)
            .is_none_or(|entry| matches!(entry.object(), Some(Object::Zset(_) | Object::Set(_))));
        if !fits {
            return Err(WrongType);
        }
    }
    Ok(())
}

fn source<'d>(db: &'d Db, key: &[u8]) -> Option<Source<'d>> {
    match db.look(key)?.object()? {
        Object::Zset(zset) => Some(Source::Zset(zset)),
        Object::Set(set) => Some(Source::Set(set)),
        _ => None,
    }
}

fn weigh(aggregate: Aggregate, score: f64, weight: f64) -> f64 {
    let weighed = aggregate.part(score, weight);
    if weighed.is_nan() { 0.0 } else { weighed }
}

/// Visits the members of an intersection with their scores, until `visit` answers `false`.
fn intersect(db: &Db, wanted: &Request<'_>, mut visit: impl FnMut(Element<'_>, f64) -> bool) {
    let sources: Option<Vec<(Source<'_>, f64)>> = wanted
        .keys
        .iter()
        .zip(&wanted.weights)
        .map(|(key, weight)| Some((source(db, key)?, *weight)))
        .collect();
    let Some(mut sources) = sources else { return };
    sources.sort_by_key(|(source, _)| source.len());
    let Some(((smallest, weight), others)) = sources.split_first() else { return };
    smallest.each(|member, score| {
        let mut sum = weigh(wanted.aggregate, score, *weight);
        let everywhere = member.with_text(|text| {
            others.iter().all(|(other, weight)| match other.score(text) {
                Some(score) => {
                    // Not weighed as the first: an infinite score of no weight makes the sum nothing.
                    let part = wanted.aggregate.part(score, *weight);
                    sum = wanted.aggregate.of(sum, part);
                    true
                }
                None => false,
            })
        });
        !everywhere || visit(member, sum)
    });
}

type Scores = HashMap<Box<[u8]>, f64, foldhash::fast::RandomState>;

/// The result is in its large form, whatever its size: only what is stored may be packed, where zeros lose their signs.
fn combine(call: &mut Call<'_>, operation: Operation, wanted: &Request<'_>) -> Zset {
    let limits = call.core.settings.packed;
    let mut result = Zset::large();
    let db = call.keyspace.db(call.client.db);
    match operation {
        Operation::Intersection => intersect(db, wanted, |member, score| {
            member.with_text(|member| result.set(member, score, &limits));
            true
        }),
        Operation::Union => {
            let mut scores = Scores::default();
            for (key, weight) in wanted.keys.iter().zip(&wanted.weights) {
                let Some(source) = source(db, key) else { continue };
                source.each(|member, score| {
                    let score = weigh(wanted.aggregate, score, *weight);
                    member.with_text(|member| {
                        scores
                            .entry(member.into())
                            .and_modify(|held| *held = wanted.aggregate.of(*held, score))
                            .or_insert(score);
                    });
                    true
                });
            }
            for (member, score) in &scores {
                result.set(member, *score, &limits);
            }
        }
        Operation::Difference => {
            let others: Vec<Source<'_>> =
                wanted.keys[1..].iter().filter_map(|key| source(db, key)).collect();
            if let Some(first) = source(db, wanted.keys[0]) {
                first.each(|member, score| {
                    member.with_text(|text| {
                        if others.iter().all(|other| other.score(text).is_none()) {
                            result.set(text, score, &limits);
                        }
                    });
                    true
                });
            }
        }
    }
    result
}

fn answer(call: &mut Call<'_>, operation: Operation, knows: Knows) -> CommandResult {
    let wanted = request(call, 1, knows)?;
    let result = combine(call, operation, &wanted);
    let reply = &mut call.client.reply;
    let nested = wanted.with_scores && reply.proto == Proto::Resp3;
    let width = if wanted.with_scores && !nested { 2 } else { 1 };
    reply.array(result.len() * width);
    result.walk(0, false, |member, score| {
        if nested {
            reply.array(2);
        }
        reply.element(member);
        if wanted.with_scores {
            reply.double(score);
        }
        true
    });
    Ok(())
}

fn answer_stored(
    call: &mut Call<'_>,
    operation: Operation,
    knows: Knows,
    event: &str,
) -> CommandResult {
    let target = call.arg(1);
    let wanted = request(call, 2, knows)?;
    let mut result = combine(call, operation, &wanted);
    result.shrink(&call.core.settings.packed);
    let size = result.len();
    // Older servers do not know how it was made.
    let is_newer = wanted.aggregate == Aggregate::Count;
    let repeated = (is_newer && call.core.feed.wanted()).then(|| result.clone());
    let dirty = call.core.feed.dirty;
    store(call, target, result, event);
    if is_newer && call.core.feed.dirty != dirty {
        propagate_result(call, target, repeated.as_ref());
    }
    call.client.reply.count(size);
    Ok(())
}

const ANSWERS: Knows = Knows { weights: true, with_scores: true, limit: false };
const STORES: Knows = Knows { weights: true, with_scores: false, limit: false };

/// `ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX | COUNT] [WITHSCORES]`
pub fn zunion(call: &mut Call<'_>) -> CommandResult {
    answer(call, Operation::Union, ANSWERS)
}

/// `ZINTER numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX | COUNT] [WITHSCORES]`
pub fn zinter(call: &mut Call<'_>) -> CommandResult {
    answer(call, Operation::Intersection, ANSWERS)
}

/// `ZDIFF numkeys key [key ...] [WITHSCORES]`
pub fn zdiff(call: &mut Call<'_>) -> CommandResult {
    answer(call, Operation::Difference, Knows { weights: false, ..ANSWERS })
}

/// `ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS …] [AGGREGATE …]`
pub fn zunionstore(call: &mut Call<'_>) -> CommandResult {
    answer_stored(call, Operation::Union, STORES, "zunionstore")
}

/// `ZINTERSTORE destination numkeys key [key ...] [WEIGHTS …] [AGGREGATE …]`
pub fn zinterstore(call: &mut Call<'_>) -> CommandResult {
    answer_stored(call, Operation::Intersection, STORES, "zinterstore")
}

/// `ZDIFFSTORE destination numkeys key [key ...]`
pub fn zdiffstore(call: &mut Call<'_>) -> CommandResult {
    answer_stored(call, Operation::Difference, Knows { weights: false, ..STORES }, "zdiffstore")
}

/// `ZINTERCARD numkeys key [key ...] [LIMIT limit]`
pub fn zintercard(call: &mut Call<'_>) -> CommandResult {
    let knows = Knows { weights: false, with_scores: false, limit: true };
    let wanted = request(call, 1, knows)?;
    let db = call.keyspace.db(call.client.db);
    let mut found = 0;
    intersect(db, &wanted, |_, _| {
        found += 1;
        found != wanted.limit
    });
    call.client.reply.count(found);
    Ok(())
}
