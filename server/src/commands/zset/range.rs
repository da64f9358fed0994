//! Ranges of sorted sets: by rank, by score, by member.

use redstart_common::number::strtod;
use redstart_common::resp::Proto;
use redstart_common::resp::error;

use super::super::{after_removal, store_result};
use super::taken;
use crate::client::Reply;
use crate::commands::options::{Options, clamp_range, integer};
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult, SYNTAX};
use crate::settings::notify::Classes;
use crate::types::{Object, Zset};

/// A range of scores.
#[derive(Debug, Clone, Copy)]
struct ScoreRange {
    low: f64,
    low_open: bool,
    high: f64,
    high_open: bool,
}

fn bound(text: &[u8]) -> Option<(f64, bool)> {
    let (text, open) = match text.strip_prefix(b"(") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    Some((strtod(text)?.0, open))
}

impl ScoreRange {
    fn parse(low: &[u8], high: &[u8]) -> Result<Self, CommandError> {
        let wrong = CommandError::new(error::RANGE_NOT_A_FLOAT);
        match (bound(low), bound(high)) {
            (Some((low, low_open)), Some((high, high_open))) => {
                Ok(Self { low, low_open, high, high_open })
            }
            _ => Err(wrong),
        }
    }

    fn positions(self, zset: &Zset, most: usize) -> std::ops::Range<usize> {
        zset.span_of_scores(
            |score| if self.low_open { score <= self.low } else { score < self.low },
            |score| if self.high_open { score < self.high } else { score <= self.high },
            most,
        )
    }
}

/// One end of a range of members.
#[derive(Debug, Clone, Copy)]
enum LexBound<'a> {
    /// `-`
    Lowest,
    /// `+`
    Highest,
    /// `[member`
    Closed(&'a [u8]),
    /// `(member`
    Open(&'a [u8]),
}

fn lex_bound(text: &[u8]) -> Result<LexBound<'_>, CommandError> {
    match text {
        b"-" => Ok(LexBound::Lowest),
        b"+" => Ok(LexBound::Highest),
        [b'[', member @ ..] => Ok(LexBound::Closed(member)),
        [b'(', member @ ..] => Ok(LexBound::Open(member)),
        _ => Err(CommandError::new(error::RANGE_NOT_A_STRING)),
    }
}

/// A range of members, all of whose scores are expected to be the same.
#[derive(Debug, Clone, Copy)]
struct LexRange<'a> {
    low: LexBound<'a>,
    high: LexBound<'a>,
}

impl<'a> LexRange<'a> {
    fn parse(low: &'a [u8], high: &'a [u8]) -> Result<Self, CommandError> {
        Ok(Self { low: lex_bound(low)?, high: lex_bound(high)? })
    }

    fn positions(self, zset: &Zset, most: usize) -> std::ops::Range<usize> {
        zset.span_of_members(
            |member| match self.low {
                LexBound::Lowest => false,
                LexBound::Highest => true,
                LexBound::Closed(limit) => member < limit,
                LexBound::Open(limit) => member <= limit,
            },
            |member| match self.high {
                LexBound::Lowest => false,
                LexBound::Highest => true,
                LexBound::Closed(limit) => member <= limit,
                LexBound::Open(limit) => member < limit,
            },
            most,
        )
    }
}

/// What a range command asks for.
#[derive(Debug, Clone, Copy)]
enum Range<'a> {
    Rank(i64, i64),
    Score(ScoreRange),
    Lex(LexRange<'a>),
}

#[derive(Clone, Copy)]
struct Limit {
    offset: i64,
    count: i64,
}

const NO_LIMIT: Limit = Limit { offset: 0, count: -1 };

impl Range<'_> {
    /// First position and count, in the order of the walk.
    fn resolve(self, zset: &Zset, reverse: bool, limit: Limit) -> (usize, usize) {
        let length = zset.len();
        // Backwards the limit counts from the far end, which has to be found first.
        let most = usize::try_from(limit.count).unwrap_or(usize::MAX);
        let offset = usize::try_from(limit.offset).ok();
        let to_find = match offset {
            Some(offset) if !reverse => offset.saturating_add(most),
            _ => usize::MAX,
        };
        let found = match self {
            Self::Rank(start, end) => {
                return clamp_range(start, end, length)
                    .map_or((0, 0), |(start, end)| (start, end + 1 - start));
            }
            Self::Score(range) => range.positions(zset, to_find),
            Self::Lex(range) => range.positions(zset, to_find),
        };
        let Some(offset) = offset else { return (0, 0) };
        let first = if reverse { length - found.end } else { found.start };
        let count = found.len().saturating_sub(offset).min(most);
        (first.saturating_add(offset), count)
    }
}

struct Request<'a> {
    key: &'a [u8],
    range: Range<'a>,
    reverse: bool,
    limit: Limit,
    with_scores: bool,
}

/// How a command's words are read: the old commands fix what ZRANGE's options choose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Any,
    Rank,
    Score,
    Lex,
}

/// Reads `key start stop` at `at` and the options behind.
fn request<'a>(
    call: &Call<'a>,
    at: usize,
    fixed: By,
    fixed_reverse: bool,
    storing: bool,
) -> Result<Request<'a>, CommandError> {
    let args = call.args;
    let (key, first, second) = (args.at(at), args.at(at + 1), args.at(at + 2));
    let (mut by, mut reverse) = (fixed, fixed_reverse);
    let mut limit = None;
    let mut with_scores = false;
    let mut options = Options::new(args, at + 3);
    while let Some(word) = options.word() {
        let open = fixed == By::Any;
        if !storing && word.eq_ignore_ascii_case(b"WITHSCORES") {
            with_scores = true;
        } else if word.eq_ignore_ascii_case(b"LIMIT") && options.left() >= 2 {
            limit = Some(Limit { offset: options.integer()?, count: options.integer()? });
        } else if open && word.eq_ignore_ascii_case(b"REV") && !reverse {
            reverse = true;
        } else if open && by == By::Any && word.eq_ignore_ascii_case(b"BYLEX") {
            by = By::Lex;
        } else if open && by == By::Any && word.eq_ignore_ascii_case(b"BYSCORE") {
            by = By::Score;
        } else {
            return Err(SYNTAX);
        }
    }
    let by_rank = matches!(by, By::Any | By::Rank);
    if limit.is_some_and(|limit| limit.count != -1) && by_rank {
        return Err(CommandError::new(
            "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        ));
    }
    if with_scores && by == By::Lex {
        return Err(CommandError::new(
            "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
        ));
    }
    // Backwards, the larger end comes first.
    let (low, high) = if reverse && !by_rank { (second, first) } else { (first, second) };
    let range = match by {
        By::Any | By::Rank => Range::Rank(integer(first)?, integer(second)?),
        By::Score => Range::Score(ScoreRange::parse(low, high)?),
        By::Lex => Range::Lex(LexRange::parse(low, high)?),
    };
    Ok(Request { key, range, reverse, limit: limit.unwrap_or(NO_LIMIT), with_scores })
}

fn answer(call: &mut Call<'_>, wanted: &Request<'_>) -> CommandResult {
    let zset = call.keyspace.db(call.client.db).read_as::<Zset>(wanted.key)?;
    let reply: &mut Reply = &mut call.client.reply;
    let Some(zset) = zset else {
        reply.array(0);
        return Ok(());
    };
    let (start, count) = wanted.range.resolve(zset, wanted.reverse, wanted.limit);
    let nested = wanted.with_scores && reply.proto == Proto::Resp3;
    reply.array(if wanted.with_scores && !nested { count * 2 } else { count });
    let mut left = count;
    if left > 0 {
        zset.walk(start, wanted.reverse, |member, score| {
            if nested {
                reply.array(2);
            }
            reply.element(member);
            if wanted.with_scores {
                reply.double(score);
            }
            left -= 1;
            left > 0
        });
    }
    Ok(())
}

fn range(call: &mut Call<'_>, by: By, reverse: bool) -> CommandResult {
    let wanted = request(call, 1, by, reverse, false)?;
    answer(call, &wanted)
}

/// `ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]`
pub fn zrange(call: &mut Call<'_>) -> CommandResult {
    range(call, By::Any, false)
}

/// `ZREVRANGE key start stop [WITHSCORES]`
pub fn zrevrange(call: &mut Call<'_>) -> CommandResult {
    range(call, By::Rank, true)
}

/// `ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]`
pub fn zrangebyscore(call: &mut Call<'_>) -> CommandResult {
    range(call, By::Score, false)
}

/// `ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]`
pub fn zrevrangebyscore(call: &mut Call<'_>) -> CommandResult {
    range(call, By::Score, true)
}

/// `ZRANGEBYLEX key min max [LIMIT offset count]`
pub fn zrangebylex(call: &mut Call<'_>) -> CommandResult {
    range(call, By::Lex, false)
}

/// `ZREVRANGEBYLEX key max min [LIMIT offset count]`
pub fn zrevrangebylex(call: &mut Call<'_>) -> CommandResult {
    range(call, By::Lex, true)
}

/// `ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]`
pub fn zrangestore(call: &mut Call<'_>) -> CommandResult {
    let target = call.arg(1);
    let wanted = request(call, 2, By::Any, false, true)?;
    let limits = &call.core.settings.packed;
    let mut result = Zset::default();
    if let Some(zset) = call.keyspace.db(call.client.db).read_as::<Zset>(wanted.key)? {
        let (start, count) = wanted.range.resolve(zset, wanted.reverse, wanted.limit);
        let mut left = count;
        // As in Redis, which knows how much comes of a range of ranks, but not of one of scores or words.
        if matches!(wanted.range, Range::Rank(..)) {
            result.expect(count, 0, limits);
        }
        if left > 0 {
            zset.walk(start, wanted.reverse, |member, score| {
                member.with_text(|member| result.set(member, score, limits));
                left -= 1;
                left > 0
            });
        }
    }
    let size = result.len();
    store(call, target, result, "zrangestore");
    call.client.reply.count(size);
    Ok(())
}

/// Puts a result where a *STORE command wants it; an empty one removes what is there.
pub(super) fn store(call: &mut Call<'_>, target: &[u8], result: Zset, event: &str) {
    store_result(call, target, Object::Zset(result), Classes::ZSET, event, 1);
}

fn count(call: &mut Call<'_>, range: Range<'_>) -> CommandResult {
    let zset = call.keyspace.db(call.client.db).read_as::<Zset>(call.args.at(1))?;
    let count = zset.map_or(0, |zset| range.resolve(zset, false, NO_LIMIT).1);
    call.client.reply.count(count);
    Ok(())
}

/// `ZCOUNT key min max`
pub fn zcount(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let range = ScoreRange::parse(args.at(2), args.at(3))?;
    count(call, Range::Score(range))
}

/// `ZLEXCOUNT key min max`
pub fn zlexcount(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let range = LexRange::parse(args.at(2), args.at(3))?;
    count(call, Range::Lex(range))
}

fn remove(call: &mut Call<'_>, range: Range<'_>, event: &'static str) -> CommandResult {
    let key = call.arg(1);
    let Some(zset) = call.keyspace.db(call.client.db).write_as::<Zset>(key)? else {
        call.client.reply.integer(0);
        return Ok(());
    };
    let (start, count) = range.resolve(zset, false, NO_LIMIT);
    if count > 0 {
        zset.remove_range(start, count);
        let empty = zset.is_empty();
        after_removal(call, key, taken(event), empty, count);
    }
    call.client.reply.count(count);
    Ok(())
}

/// `ZREMRANGEBYRANK key start stop`
pub fn zremrangebyrank(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let range = Range::Rank(integer(args.at(2))?, integer(args.at(3))?);
    remove(call, range, "zremrangebyrank")
}

/// `ZREMRANGEBYSCORE key min max`
pub fn zremrangebyscore(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let range = ScoreRange::parse(args.at(2), args.at(3))?;
    remove(call, Range::Score(range), "zremrangebyscore")
}

/// `ZREMRANGEBYLEX key min max`
pub fn zremrangebylex(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let range = LexRange::parse(args.at(2), args.at(3))?;
    remove(call, Range::Lex(range), "zremrangebylex")
}
