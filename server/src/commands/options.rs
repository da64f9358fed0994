//! The cursor that reads option words and numbers.

use redstart_common::number;
use redstart_common::resp::{Args, error};

use crate::engine::Call;
use crate::engine::{
    CommandError, NOT_A_FLOAT, NOT_AN_INTEGER, NOT_POSITIVE, SYNTAX, TIMEOUT_NEGATIVE,
    TIMEOUT_NOT_A_FLOAT,
};

/// Reads arguments one after another.
pub struct Options<'a> {
    args: Args<'a>,
    at: usize,
}

impl<'a> Options<'a> {
    /// Begins at the argument `at`.
    #[must_use]
    pub fn new(args: Args<'a>, at: usize) -> Self {
        Self { args, at }
    }

    /// The next argument, if there is one.
    pub fn word(&mut self) -> Option<&'a [u8]> {
        let word = self.args.get(self.at)?;
        self.at += 1;
        Some(word)
    }

    /// The next argument, without moving on.
    #[must_use]
    pub fn peek(&self) -> Option<&'a [u8]> {
        self.args.get(self.at)
    }

    /// Moves on if the next argument is `name`, in any case of letters.
    pub fn take(&mut self, name: &str) -> bool {
        let there = self.peek().is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()));
        self.at += usize::from(there);
        there
    }

    /// Arguments not yet read.
    #[must_use]
    pub fn left(&self) -> usize {
        self.args.len() - self.at
    }

    /// The index of the next argument.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Skips `count` arguments.
    pub fn skip(&mut self, count: usize) {
        self.at += count;
    }

    /// The next argument, which the syntax demands.
    ///
    /// # Errors
    /// A syntax error when there is none.
    pub fn need(&mut self) -> Result<&'a [u8], CommandError> {
        self.word().ok_or(SYNTAX)
    }

    /// The next argument as a number.
    ///
    /// # Errors
    /// When there is none, or it is no number.
    pub fn integer(&mut self) -> Result<i64, CommandError> {
        integer(self.need()?)
    }
}

/// A number.
///
/// # Errors
/// When it is none, or does not fit 64 bits.
#[inline]
pub fn integer(arg: &[u8]) -> Result<i64, CommandError> {
    number::parse_i64(arg).ok_or(NOT_AN_INTEGER)
}

/// A number within `range`.
///
/// # Errors
/// With `text` when it is outside, and as [`integer`].
pub fn integer_within(
    arg: &[u8],
    range: std::ops::RangeInclusive<i64>,
    text: &'static str,
) -> Result<i64, CommandError> {
    let number = integer(arg)?;
    if range.contains(&number) { Ok(number) } else { Err(CommandError::new(text)) }
}

/// A number within bounds that the error tells.
///
/// # Errors
/// When it is outside, and as [`integer`].
pub fn integer_between(arg: &[u8], min: i64, max: i64) -> Result<i64, CommandError> {
    let number = integer(arg)?;
    if number < min || number > max {
        return Err(CommandError::made(error::out_of_range_between(min, max)));
    }
    Ok(number)
}

/// Reads what HRANDFIELD and ZRANDMEMBER want: `[count [<with>]]`, and answers count and whether `with` was said.
///
/// # Errors
/// When the count is no number or too large, or the words are others.
pub fn random_count(args: Args<'_>, with: &str) -> Result<Option<(i64, bool)>, CommandError> {
    let Some(count) = args.get(2) else { return Ok(None) };
    let count = integer_between(count, -i64::MAX, i64::MAX)?;
    let mut options = Options::new(args, 3);
    let with = options.take(with);
    if options.left() > 0 {
        return Err(SYNTAX);
    }
    // Each answer takes two places then.
    if with && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(CommandError::new(error::OUT_OF_RANGE));
    }
    Ok(Some((count, with)))
}

/// A count that is not negative.
///
/// # Errors
/// One text for all that is none.
pub fn count(arg: &[u8]) -> Result<usize, CommandError> {
    number::parse_i64(arg).and_then(|count| usize::try_from(count).ok()).ok_or(NOT_POSITIVE)
}

/// Refuses a sub-command with more than `count` arguments, the names included, as Redis does where its table does
/// not.
///
/// # Errors
/// When there are more.
pub fn at_most(call: &Call<'_>, count: usize) -> Result<(), CommandError> {
    if call.args.len() <= count {
        return Ok(());
    }
    let container = call.row.spec().container.map_or("", |id| id.spec().name);
    let after = format!("'. Try {} HELP.", container.to_ascii_uppercase());
    let before = "ERR unknown subcommand or wrong number of arguments for '";
    Err(CommandError::about(before, call.arg(1), &after))
}

/// A floating point number; not NaN.
///
/// # Errors
/// When it is none.
pub fn float(arg: &[u8]) -> Result<f64, CommandError> {
    number::parse_f64(arg).ok_or(NOT_A_FLOAT)
}

/// A blocking command's timeout in seconds, as milliseconds; 0 is for ever.
///
/// # Errors
/// When it is no number, negative or too large.
pub fn timeout_ms(arg: &[u8]) -> Result<i64, CommandError> {
    let seconds = number::LongDouble::parse(arg).ok_or(TIMEOUT_NOT_A_FLOAT)?.to_f64();
    let ms = (seconds * 1000.0).ceil();
    // What 64 bits do not hold wraps around in the original.
    if ms < 0.0 || ms >= i64::MAX as f64 {
        return Err(TIMEOUT_NEGATIVE);
    }
    Ok(ms as i64)
}

/// Start and end of a range given as Redis gives ranges (negative counts from the end), clamped to `length`; `None`
/// when it is empty. Both ends are included.
#[must_use]
pub fn clamp_range(start: i64, end: i64, length: usize) -> Option<(usize, usize)> {
    let length = length as i64;
    let start = if start < 0 { (start + length).max(0) } else { start };
    let end = if end < 0 { end + length } else { end }.min(length - 1);
    (start <= end && start < length && end >= 0).then_some((start as usize, end as usize))
}
