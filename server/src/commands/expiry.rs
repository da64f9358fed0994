//! Times to live as options give them: `EX`, `PX`, `EXAT`, `PXAT`.

use super::options::integer;
use crate::engine::CommandError;

/// How an expiry is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds from now.
    Seconds,
    /// Milliseconds from now.
    Millis,
    /// Seconds since 1970.
    UnixSeconds,
    /// Milliseconds since 1970.
    UnixMillis,
}

impl Unit {
    /// The option's unit, if `word` is one.
    #[must_use]
    pub fn of_option(word: &[u8]) -> Option<Self> {
        match word {
            _ if word.eq_ignore_ascii_case(b"EX") => Some(Self::Seconds),
            _ if word.eq_ignore_ascii_case(b"PX") => Some(Self::Millis),
            _ if word.eq_ignore_ascii_case(b"EXAT") => Some(Self::UnixSeconds),
            _ if word.eq_ignore_ascii_case(b"PXAT") => Some(Self::UnixMillis),
            _ => None,
        }
    }

    /// The deadline in milliseconds since 1970 that a positive `amount` stands for.
    ///
    /// # Errors
    /// When the amount is not positive, or the deadline does not fit; `name` is the command's.
    pub fn deadline(self, arg: &[u8], now_ms: i64, name: &str) -> Result<i64, CommandError> {
        let amount = integer(arg)?;
        if amount <= 0 {
            return Err(CommandError::invalid_expire(name));
        }
        self.deadline_of(amount, now_ms).ok_or_else(|| CommandError::invalid_expire(name))
    }

    /// The deadline an amount stands for, if it fits.
    #[must_use]
    pub fn deadline_of(self, amount: i64, now_ms: i64) -> Option<i64> {
        let ms = match self {
            Self::Seconds | Self::UnixSeconds => amount.checked_mul(1000)?,
            Self::Millis | Self::UnixMillis => amount,
        };
        match self {
            Self::Seconds | Self::Millis => ms.checked_add(now_ms),
            Self::UnixSeconds | Self::UnixMillis => Some(ms),
        }
    }
}
