//! The grammar of C's `strtod`, and rounding to a number of bits.

/// A number as it is written, before it is rounded to any width.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Literal<'a> {
    /// `inf` or `infinity` in any case.
    Infinity { negative: bool },
    /// Digits times a power of ten.
    Decimal {
        negative: bool,
        /// Digits and at most one point among them.
        digits: &'a [u8],
        /// Of ten, for the last digit.
        exponent: i64,
    },
    /// `mantissa * 2^exponent`, and a little more if `sticky`.
    Hexadecimal { negative: bool, mantissa: u128, sticky: bool, exponent: i64 },
}

impl<'a> Literal<'a> {
    /// Reads all of `text`. NaN is not accepted, for Redis accepts it nowhere.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        let (negative, body) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if body.eq_ignore_ascii_case(b"inf") || body.eq_ignore_ascii_case(b"infinity") {
            return Some(Self::Infinity { negative });
        }
        if let [b'0', b'x' | b'X', rest @ ..] = body {
            return hexadecimal(negative, rest);
        }
        let (digits, after) = mantissa(body, |byte| byte.is_ascii_digit())?;
        let exponent = exponent(after, b'e')?.saturating_sub(digits_after_point(digits) as i64);
        Some(Self::Decimal { negative, digits, exponent })
    }
}

fn hexadecimal<'a>(negative: bool, body: &[u8]) -> Option<Literal<'a>> {
    let (digits, after) = mantissa(body, |byte| byte.is_ascii_hexdigit())?;
    let places = 4 * digits_after_point(digits) as i64;
    let mut exponent = exponent(after, b'p')?.saturating_sub(places);
    let (mut mantissa, mut sticky) = (0u128, false);
    for &digit in digits.iter().filter(|&&byte| byte != b'.') {
        let digit = char::from(digit).to_digit(16)?;
        if mantissa >> 124 == 0 {
            mantissa = mantissa << 4 | u128::from(digit);
        } else {
            // Too far down to count, but not too far to break a tie.
            sticky |= digit != 0;
            exponent = exponent.saturating_add(4);
        }
    }
    Some(Literal::Hexadecimal { negative, mantissa, sticky, exponent })
}

/// Digits with at most one point among them, at least one digit; and what follows.
fn mantissa(text: &[u8], is_digit: impl Fn(u8) -> bool) -> Option<(&[u8], &[u8])> {
    let mut point = false;
    let end = text
        .iter()
        .position(|&byte| !is_digit(byte) && (byte != b'.' || std::mem::replace(&mut point, true)))
        .unwrap_or(text.len());
    let (digits, after) = text.split_at(end);
    (digits.len() > usize::from(point && digits.contains(&b'.'))).then_some((digits, after))
}

fn digits_after_point(digits: &[u8]) -> usize {
    digits.iter().rev().position(|&byte| byte == b'.').unwrap_or(0)
}

/// Nothing, or `marker` with a number behind it, to the end of the text. Huge exponents are cut: they are as good as
/// infinite, even against the longest of mantissas.
fn exponent(text: &[u8], marker: u8) -> Option<i64> {
    let (negative, digits) = match text {
        [] => return Some(0),
        [first, rest @ ..] if first.eq_ignore_ascii_case(&marker) => match rest {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] => (false, digits),
            _ => (false, rest),
        },
        _ => return None,
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: i64 = 0;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = (value * 10 + i64::from(byte - b'0')).min(i64::MAX / 100);
    }
    Some(if negative { -value } else { value })
}

/// Rounds `value * 2^exponent`, and a little more if `sticky`, to at most `precision` bits (of 64) with no bit below
/// `2^exponent_min`: to the nearest, ties to even. The result has exactly `precision` bits unless it lies at the
/// lower end.
pub(super) fn round_binary(
    value: u128,
    exponent: i64,
    sticky: bool,
    precision: u32,
    exponent_min: i64,
) -> (u64, i64) {
    let bits = i64::from(128 - value.leading_zeros());
    let excess = (bits - i64::from(precision)).max(exponent_min.saturating_sub(exponent));
    if excess <= 0 {
        // Room to spare; whoever sets `sticky` has filled the value beyond any precision.
        return ((value << -excess) as u64, exponent + excess);
    }
    let at = exponent.saturating_add(excess);
    if excess > 128 {
        return (0, at);
    }
    let kept = value.checked_shr(excess as u32).unwrap_or(0);
    let half = 1u128 << (excess - 1);
    let below = value & (half - 1) != 0 || sticky;
    let up = value & half != 0 && (below || kept & 1 == 1);
    let rounded = kept + u128::from(up);
    if rounded >> precision != 0 { ((rounded >> 1) as u64, at + 1) } else { (rounded as u64, at) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_to_the_even_neighbour() {
        let round = |value, sticky| round_binary(value, 0, sticky, 3, -10);
        assert_eq!(round(0b1001, false), (0b100, 1));
        assert_eq!(round(0b1001, true), (0b101, 1));
        assert_eq!(round(0b1011, false), (0b110, 1));
        assert_eq!(round(0b1111, false), (0b100, 2));
        assert_eq!(round(0b1, false), (0b100, -2));
    }

    #[test]
    fn the_lower_end_has_fewer_bits() {
        let round = |value, exponent| round_binary(value, exponent, false, 3, 0);
        assert_eq!(round(0b110, -1), (0b11, 0));
        assert_eq!(round(0b110, -2), (0b10, 0));
        assert_eq!(round(0b100, -3), (0b0, 0));
        assert_eq!(round(0b101, -3), (0b1, 0));
        assert_eq!(round(0b101, -5000).0, 0);
    }
}
