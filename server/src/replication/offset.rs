//! A place in a replication history: the number of bytes before it.
//!
//! On the wire a server asks for the *first byte it wants*, and bytes are counted from 1. Confusing the two is off by one
//! and once made servers ask for full syncs without end, so the number is wrapped, and the two forms have names.

use std::fmt;

/// The number of bytes of a history that lie before this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(u64);

impl Offset {
    /// Before the first byte.
    pub const ZERO: Self = Self(0);
    /// After every byte that there can be.
    pub const MAX: Self = Self(u64::MAX);
    /// Beyond this no server gets by itself; what says so is damaged. It leaves room for all that is added to it.
    const BYTES_MAX: u64 = i64::MAX as u64 / 2;

    /// After so many bytes; nothing if that cannot be.
    #[must_use]
    pub fn after(bytes: i64) -> Option<Self> {
        u64::try_from(bytes).ok().filter(|bytes| *bytes <= Self::BYTES_MAX).map(Self)
    }

    /// The place before the byte that PSYNC asks for, which is counted from 1.
    #[must_use]
    pub fn before_byte(number: i64) -> Option<Self> {
        Self::after(number.checked_sub(1)?)
    }

    /// How many bytes lie before this place: the form of INFO, FULLRESYNC and ACK.
    #[must_use]
    pub fn bytes(self) -> i64 {
        self.0.cast_signed()
    }

    /// The number of the byte that follows: the form of PSYNC and `second_repl_offset`.
    #[must_use]
    pub fn next_byte(self) -> i64 {
        self.bytes() + 1
    }

    /// This place, `bytes` further on.
    #[must_use]
    pub fn plus(self, bytes: usize) -> Self {
        Self(self.0.saturating_add(bytes as u64))
    }

    /// Bytes from `earlier` to here; none if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psync_asks_for_a_byte_and_the_place_is_before_it() {
        assert_eq!(Offset::before_byte(1), Some(Offset::ZERO));
        assert_eq!(Offset::before_byte(101), Offset::after(100));
        assert_eq!(Offset::after(100).unwrap().next_byte(), 101);
        assert_eq!(Offset::before_byte(0), None);
        assert_eq!(Offset::before_byte(-1), None);
        assert_eq!(Offset::before_byte(i64::MIN), None);
    }

    #[test]
    fn offsets_that_nobody_reaches_are_refused() {
        assert_eq!(Offset::after(i64::MAX), None);
    }
}
