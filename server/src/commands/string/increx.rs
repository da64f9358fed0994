//! INCREX: a counter with bounds and a time to live (Redis 8.8; Valkey 9.2 adds NX and XX).

use redstart_common::number::LongDouble;
use redstart_common::resp::Proto;

use super::super::Handlers;
use super::super::expiry::Unit;
use super::super::options::{Options, integer};
use crate::client::Reply;
use crate::engine::{Call, CommandError, CommandResult, NOT_A_FLOAT, NOT_AN_INTEGER, SYNTAX};
use crate::keyspace::{Deadline, Place, Str};
use crate::settings::notify::Classes;

pub(in crate::commands) const HANDLERS: Handlers = &[("increx", increx)];

/// What it counts in.
trait Number: Copy {
    /// A number in an argument.
    fn of_argument(text: &[u8]) -> Result<Self, CommandError>;
    /// The number that a string is.
    fn of_value(value: Str<'_>) -> Result<Self, CommandError>;
    /// The sum, if there is one.
    fn plus(self, other: Self) -> Option<Self>;
    /// The difference.
    fn minus(self, other: Self) -> Self;
    fn is_less_than(self, other: Self) -> bool;
    /// What stands for a sum that there is none of, in that direction.
    fn limit(is_lower: bool) -> Self;
    fn text(self) -> String;
    fn answer(self, reply: &mut Reply);
    const ZERO_TEXT: &'static [u8] = b"0";
}

impl Number for i64 {
    fn of_argument(text: &[u8]) -> Result<Self, CommandError> {
        integer(text)
    }

    fn of_value(value: Str<'_>) -> Result<Self, CommandError> {
        match value {
            Str::Int(number) => Ok(number),
            Str::Bytes(bytes) => redstart_common::number::parse_i64(bytes).ok_or(NOT_AN_INTEGER),
        }
    }

    fn plus(self, other: Self) -> Option<Self> {
        self.checked_add(other)
    }

    fn minus(self, other: Self) -> Self {
        self.saturating_sub(other)
    }

    fn is_less_than(self, other: Self) -> bool {
        self < other
    }

    fn limit(is_lower: bool) -> Self {
        if is_lower { Self::MIN } else { Self::MAX }
    }

    fn text(self) -> String {
        self.to_string()
    }

    fn answer(self, reply: &mut Reply) {
        reply.integer(self);
    }
}

impl Number for LongDouble {
    fn of_argument(text: &[u8]) -> Result<Self, CommandError> {
        Self::parse(text).filter(|number| number.is_finite()).ok_or(NOT_A_FLOAT)
    }

    fn of_value(value: Str<'_>) -> Result<Self, CommandError> {
        match value {
            Str::Int(number) => Self::of_argument(number.to_string().as_bytes()),
            Str::Bytes(bytes) => Self::of_argument(bytes),
        }
    }

    fn plus(self, other: Self) -> Option<Self> {
        Some(Self::plus(self, other)).filter(|sum| sum.is_finite())
    }

    fn minus(self, other: Self) -> Self {
        Self::plus(self, other.negated())
    }

    fn is_less_than(self, other: Self) -> bool {
        self.minus(other).to_f64() < 0.0
    }

    fn limit(is_lower: bool) -> Self {
        Self::from(if is_lower { f64::MIN } else { f64::MAX })
    }

    fn text(self) -> String {
        self.to_human().unwrap_or_default()
    }

    fn answer(self, reply: &mut Reply) {
        if reply.proto == Proto::Resp3 {
            reply.double(self.to_f64());
        } else {
            reply.bulk(self.text().as_bytes());
        }
    }
}

/// What becomes of the deadline.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    Keep,
    Until(i64),
    Persist,
}

struct Wish<'a> {
    is_float: bool,
    amount: Option<&'a [u8]>,
    lower: Option<&'a [u8]>,
    upper: Option<&'a [u8]>,
    saturates: bool,
    lifetime: Lifetime,
    /// The deadline is set only where there is none.
    only_without: bool,
    /// Whether the key must be there.
    is_there: Option<bool>,
}

fn wish<'a>(call: &Call<'a>) -> Result<Wish<'a>, CommandError> {
    let mut wish = Wish {
        is_float: false,
        amount: None,
        lower: None,
        upper: None,
        saturates: false,
        lifetime: Lifetime::Keep,
        only_without: false,
        is_there: None,
    };
    let mut options = Options::new(call.args, 2);
    let once = |place: &mut Option<&'a [u8]>, value: &'a [u8]| {
        if place.replace(value).is_some() { Err(SYNTAX) } else { Ok(()) }
    };
    while let Some(word) = options.word() {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if is("BYINT") || is("BYFLOAT") {
            wish.is_float = is("BYFLOAT");
            once(&mut wish.amount, options.need()?)?;
        } else if is("LBOUND") {
            once(&mut wish.lower, options.need()?)?;
        } else if is("UBOUND") {
            once(&mut wish.upper, options.need()?)?;
        } else if is("SATURATE") {
            wish.saturates = true;
        } else if is("ENX") {
            wish.only_without = true;
        } else if is("NX") || is("XX") {
            if wish.is_there.replace(is("XX")).is_some_and(|said| said != is("XX")) {
                return Err(SYNTAX);
            }
        } else if wish.lifetime != Lifetime::Keep {
            return Err(SYNTAX);
        } else if is("PERSIST") {
            wish.lifetime = Lifetime::Persist;
        } else {
            let unit = Unit::of_option(word).ok_or(SYNTAX)?;
            let at = unit.deadline(options.need()?, call.now_ms(), "increx")?;
            wish.lifetime = Lifetime::Until(at);
        }
    }
    if wish.only_without && !matches!(wish.lifetime, Lifetime::Until(_)) {
        return Err(SYNTAX);
    }
    Ok(wish)
}

/// `INCREX key [BYINT increment | BYFLOAT increment] [LBOUND lowerbound] [UBOUND upperbound] [SATURATE] [EX seconds |
/// PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] [ENX] [NX | XX]`: answers the value
/// and by how much it has changed.
pub fn increx(call: &mut Call<'_>) -> CommandResult {
    let wish = wish(call)?;
    if wish.is_float { count::<LongDouble>(call, &wish) } else { count::<i64>(call, &wish) }
}

fn count<N: Number>(call: &mut Call<'_>, wish: &Wish<'_>) -> CommandResult {
    let key = call.arg(1);
    let amount = N::of_argument(wish.amount.unwrap_or(b"1"))?;
    let lower = wish.lower.map(N::of_argument).transpose()?;
    let upper = wish.upper.map(N::of_argument).transpose()?;
    if let (Some(lower), Some(upper)) = (lower, upper)
        && upper.is_less_than(lower)
    {
        return Err(CommandError::new("ERR LBOUND can't be greater than UBOUND"));
    }
    let zero = N::of_argument(N::ZERO_TEXT)?;
    let place = call.keyspace.db(call.client.db).place_to_write(key);
    let (old, had) = match &place {
        Place::Held(held) => (N::of_value(held.string()?)?, held.entry().deadline()),
        Place::Vacant(_) => (zero, None),
    };
    let is_there = matches!(place, Place::Held(_));
    let is_down = amount.is_less_than(zero);
    let within = |sum: N| {
        if let Some(lower) = lower.filter(|lower| sum.is_less_than(*lower)) {
            return (lower, false);
        }
        if let Some(upper) = upper.filter(|upper| upper.is_less_than(sum)) {
            return (upper, false);
        }
        (sum, true)
    };
    let (new, fits) = match old.plus(amount) {
        Some(sum) => within(sum),
        None => (within(N::limit(is_down)).0, false),
    };
    let refused = wish.is_there.is_some_and(|wanted| wanted != is_there);
    let reply = &mut call.client.reply;
    reply.array(2);
    if refused || (!fits && !wish.saturates) {
        old.answer(reply);
        zero.answer(reply);
        return Ok(());
    }
    new.answer(reply);
    new.minus(old).answer(reply);
    let deadline = match wish.lifetime {
        Lifetime::Until(at) if had.is_none() || !wish.only_without => Deadline::At(at),
        Lifetime::Until(_) | Lifetime::Keep => Deadline::Keep,
        Lifetime::Persist => Deadline::Clear,
    };
    let text = new.text();
    let db = call.db();
    if wish.is_float {
        db.set_text(key, text.as_bytes(), deadline);
    } else {
        db.set_string(key, text.as_bytes(), deadline);
    }
    call.modified(key);
    call.notify(Classes::STRING, if wish.is_float { "incrbyfloat" } else { "incrby" }, key);
    call.dirty(1);
    match deadline {
        Deadline::At(at) => {
            call.notify(Classes::GENERIC, "expire", key);
            let at = at.to_string();
            call.propagate_instead(&[b"SET", key, text.as_bytes(), b"PXAT", at.as_bytes()]);
        }
        Deadline::Keep => {
            call.propagate_instead(&[b"SET", key, text.as_bytes(), b"KEEPTTL"]);
        }
        Deadline::Clear => {
            if had.is_some() {
                call.notify(Classes::GENERIC, "persist", key);
            }
            call.propagate_instead(&[b"SET", key, text.as_bytes()]);
        }
    }
    Ok(())
}
