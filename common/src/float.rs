//! Floating point numbers as Redis reads and prints them, and the 80-bit arithmetic behind INCRBYFLOAT.
//!
//! Redis adds in x86's `long double`, whose mantissa has 64 bits, and prints with 17 decimals: other arithmetic gives
//! other digits. [`LongDouble`] does the same in integers, correctly rounded at each step.

use std::cmp::Ordering;

/// Reads a double as Redis does: what `strtod` reads to the end, without blanks in front and not NaN.
#[must_use]
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let value = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        let magnitude = parse_hex(hex)?;
        if text.starts_with('-') { -magnitude } else { magnitude }
    } else {
        // Rust reads the words `inf`, `infinity` and `nan` in any case of letters, as strtod does.
        text.parse::<f64>().ok()?
    };
    // Too large a number is refused, though `inf` itself is fine.
    let overflowed = value.is_infinite() && digits.starts_with(|c: char| c.is_ascii_digit());
    (!value.is_nan() && !overflowed).then_some(value)
}

fn parse_hex(text: &str) -> Option<f64> {
    let (mantissa, exponent) = match text.split_once(['p', 'P']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let mut value = 0.0_f64;
    for digit in whole.chars().chain(part.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    Some(value * 2.0_f64.powi(exponent.saturating_sub(4 * part.len() as i32)))
}

/// A whole number of any size, least significant word first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Big(Vec<u32>);

impl Big {
    fn of(number: u64) -> Self {
        let mut big = Self(vec![number as u32, (number >> 32) as u32]);
        big.trim();
        big
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn bits(&self) -> i64 {
        match self.0.last() {
            Some(top) => self.0.len() as i64 * 32 - i64::from(top.leading_zeros()),
            None => 0,
        }
    }

    /// Times `factor`, plus `more`.
    fn scale(&mut self, factor: u32, more: u32) {
        let mut carry = u64::from(more);
        for word in &mut self.0 {
            let product = u64::from(*word) * u64::from(factor) + carry;
            *word = product as u32;
            carry = product >> 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    fn scale_by_power_of_ten(&mut self, power: u32) {
        for _ in 0..power {
            self.scale(10, 0);
        }
    }

    fn shift_left(&mut self, bits: u32) {
        let words = (bits / 32) as usize;
        self.scale(1 << (bits % 32), 0);
        if !self.is_zero() {
            self.0.splice(0..0, std::iter::repeat_n(0, words));
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        let lengths = self.0.len().cmp(&other.0.len());
        lengths.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    /// Minus `other`, which is not larger.
    fn subtract(&mut self, other: &Self) {
        let mut borrow = 0_i64;
        for (place, word) in self.0.iter_mut().enumerate() {
            let taken = i64::from(other.0.get(place).copied().unwrap_or(0)) + borrow;
            let difference = i64::from(*word) - taken;
            borrow = i64::from(difference < 0);
            *word = difference as u32;
        }
        self.trim();
    }

    /// Divided by ten; answers the remainder.
    fn divide_by_ten(&mut self) -> u32 {
        let mut rest = 0_u64;
        for word in self.0.iter_mut().rev() {
            let value = rest << 32 | u64::from(*word);
            *word = (value / 10) as u32;
            rest = value % 10;
        }
        self.trim();
        rest as u32
    }

    fn digits(mut self) -> Vec<u8> {
        let mut digits = Vec::new();
        while !self.is_zero() {
            digits.push(b'0' + self.divide_by_ten() as u8);
        }
        digits.reverse();
        digits
    }
}

/// x86's 80-bit float: a sign and `mantissa * 2^exponent`, where the mantissa's highest bit is set unless it is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongDouble {
    /// A number.
    Finite {
        /// Below zero.
        negative: bool,
        /// 64 bits.
        mantissa: u64,
        /// Of the mantissa's lowest bit.
        exponent: i32,
    },
    /// An infinity.
    Infinite {
        /// Below zero.
        negative: bool,
    },
    /// The sum of infinities of both signs.
    Nan,
}

/// Largest exponent of a number's highest bit.
const EXPONENT_MAX: i32 = 16_383;
/// Decimal exponents beyond this are zero or infinite whatever the digits.
const DECIMAL_EXPONENT_MAX: i64 = 6000;

fn rounded(negative: bool, numerator: Big, denominator: &Big) -> LongDouble {
    if numerator.is_zero() {
        return LongDouble::Finite { negative, mantissa: 0, exponent: 0 };
    }
    // Scaled so that the quotient has 65 or 66 bits: 64, one to round by, and what is below sticks.
    let shift = 66 - (numerator.bits() - denominator.bits());
    let (mut rest, mut divisor) = (numerator, denominator.clone());
    if shift >= 0 {
        rest.shift_left(shift as u32);
    } else {
        divisor.shift_left(shift.unsigned_abs() as u32);
    }
    let mut quotient = 0_u128;
    for bit in (0..68).rev() {
        let mut part = divisor.clone();
        part.shift_left(bit);
        if rest.compare(&part) != Ordering::Less {
            rest.subtract(&part);
            quotient |= 1 << bit;
        }
    }
    round(negative, quotient, -shift as i32, !rest.is_zero())
}

/// Rounds `value * 2^exponent`, with something below it if `sticky`, to the nearest, ties to even.
fn round(negative: bool, value: u128, exponent: i32, sticky: bool) -> LongDouble {
    if value == 0 {
        return LongDouble::Finite { negative, mantissa: 0, exponent: 0 };
    }
    let excess = 64 - value.leading_zeros() as i32;
    let (mut mantissa, mut exponent) = if excess <= 0 {
        ((value << -excess) as u64, exponent + excess)
    } else {
        let kept = (value >> excess) as u64;
        let lost = value & ((1 << excess) - 1);
        let half = 1_u128 << (excess - 1);
        let up = lost > half || (lost == half && (sticky || kept & 1 == 1));
        let (raised, carried) = kept.overflowing_add(u64::from(up));
        if carried { (1 << 63, exponent + excess + 1) } else { (raised, exponent + excess) }
    };
    if exponent + 63 > EXPONENT_MAX {
        return LongDouble::Infinite { negative };
    }
    // Below the smallest normal number digits are lost; far below, everything.
    let lowest = -16_445;
    if exponent < lowest {
        let lost = (lowest - exponent).min(64) as u32;
        mantissa = mantissa.checked_shr(lost).unwrap_or(0);
        exponent = lowest;
    }
    LongDouble::Finite { negative, mantissa, exponent }
}

impl LongDouble {
    /// Reads a number as `strtold` does, to the end, without blanks in front and not NaN.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if digits.eq_ignore_ascii_case(b"inf") || digits.eq_ignore_ascii_case(b"infinity") {
            return Some(Self::Infinite { negative });
        }
        let (mut value, mut scale, mut seen, mut point) = (Big(Vec::new()), 0_i64, 0, false);
        let mut at = 0;
        while let Some(&byte) = digits.get(at) {
            match byte {
                b'0'..=b'9' => {
                    value.scale(10, u32::from(byte - b'0'));
                    scale -= i64::from(point);
                    seen += 1;
                }
                b'.' if !point => point = true,
                _ => break,
            }
            at += 1;
        }
        if seen == 0 {
            // Hexadecimal input is rare enough to go by way of a double.
            return None;
        }
        match &digits[at..] {
            [] => {}
            [b'e' | b'E', exponent @ ..] => {
                let exponent = exponent.strip_prefix(b"+").unwrap_or(exponent);
                let exponent: i64 = std::str::from_utf8(exponent).ok()?.parse().ok()?;
                scale = scale.saturating_add(exponent);
            }
            _ => return None,
        }
        value.trim();
        if value.is_zero() || scale < -DECIMAL_EXPONENT_MAX - seen {
            return Some(Self::Finite { negative, mantissa: 0, exponent: 0 });
        }
        if scale > DECIMAL_EXPONENT_MAX {
            return Some(Self::Infinite { negative });
        }
        let mut divisor = Big::of(1);
        if scale >= 0 {
            value.scale_by_power_of_ten(scale as u32);
        } else {
            divisor.scale_by_power_of_ten(scale.unsigned_abs() as u32);
        }
        Some(rounded(negative, value, &divisor))
    }

    /// The sum, rounded to 64 bits of mantissa.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let (a, b) = match (self, other) {
            (Self::Nan, _) | (_, Self::Nan) => return Self::Nan,
            (Self::Infinite { negative: a }, Self::Infinite { negative: b }) => {
                return if a == b { self } else { Self::Nan };
            }
            (Self::Infinite { .. }, _) => return self,
            (_, Self::Infinite { .. }) => return other,
            (
                Self::Finite { negative: an, mantissa: am, exponent: ae },
                Self::Finite { negative: bn, mantissa: bm, exponent: be },
            ) => ((an, am, ae), (bn, bm, be)),
        };
        if a.1 == 0 || b.1 == 0 {
            return if a.1 == 0 { other } else { self };
        }
        let (large, small) = if (a.2, a.1) >= (b.2, b.1) { (a, b) } else { (b, a) };
        // Room of 62 bits below the larger number: what does not fit there only sticks.
        let gap = (large.2 - small.2) as u32;
        let high = u128::from(large.1) << 62;
        let wide = u128::from(small.1) << 62;
        let low = wide.checked_shr(gap).unwrap_or(0);
        let sticky = gap >= 128 || (low << gap) != wide;
        let exponent = large.2 - 62;
        if large.0 == small.0 {
            return round(large.0, high + low, exponent, sticky);
        }
        // Taking a little more and putting a sticky rest back keeps rounding exact.
        let value = high - low - u128::from(sticky);
        if value == 0 {
            return Self::Finite { negative: false, mantissa: 0, exponent: 0 };
        }
        round(large.0, value, exponent, sticky)
    }

    /// The form `%.17Lf` prints, without trailing zeros; `None` for what is no finite number.
    #[must_use]
    pub fn to_human(self) -> Option<String> {
        let Self::Finite { negative, mantissa, exponent } = self else { return None };
        let mut value = Big::of(mantissa);
        value.scale_by_power_of_ten(17);
        if exponent >= 0 {
            value.shift_left(exponent as u32);
        } else {
            value = shift_right_rounded(value, exponent.unsigned_abs());
        }
        let mut digits = value.digits();
        if digits.len() < 18 {
            digits.splice(0..0, std::iter::repeat_n(b'0', 18 - digits.len()));
        }
        let point = digits.len() - 17;
        let mut text = String::with_capacity(digits.len() + 2);
        if negative {
            text.push('-');
        }
        text.extend(digits[..point].iter().map(|digit| char::from(*digit)));
        let part = &digits[point..];
        let end = part.iter().rposition(|digit| *digit != b'0').map_or(0, |place| place + 1);
        if end > 0 {
            text.push('.');
            text.extend(part[..end].iter().map(|digit| char::from(*digit)));
        }
        Some(if text == "-0" { "0".to_owned() } else { text })
    }
}

/// Halved `bits` times, to the nearest, ties to even.
fn shift_right_rounded(value: Big, bits: u32) -> Big {
    let bit = |place: i64| -> bool {
        place >= 0
            && value.0.get((place / 32) as usize).is_some_and(|word| word >> (place % 32) & 1 == 1)
    };
    let bits = i64::from(bits);
    let mut result = Big(vec![0; value.0.len()]);
    for place in bits..value.bits() {
        if bit(place) {
            let to = place - bits;
            result.0[(to / 32) as usize] |= 1 << (to % 32);
        }
    }
    let half = bit(bits - 1);
    let below = (0..bits - 1).any(bit);
    if half && (below || bit(bits)) {
        let mut carry = true;
        for word in &mut result.0 {
            if carry {
                (*word, carry) = word.overflowing_add(1);
            }
        }
        if carry {
            result.0.push(1);
        }
    }
    result.trim();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> Option<String> {
        let a = LongDouble::parse(a.as_bytes()).expect("a number");
        a.plus(LongDouble::parse(b.as_bytes()).expect("a number")).to_human()
    }

    #[test]
    fn sums_print_as_redis_server_prints_them() {
        // Recorded from redis-server 7.0.15: SET k a, INCRBYFLOAT k b.
        for (a, b, expected) in [
            ("1", "0.25", "1.25"),
            ("3", "1.1", "4.1"),
            ("0.1", "0.2", "0.3"),
            ("10.5", "-0.7", "9.8"),
            ("3.0e3", "200", "3200"),
            ("1.23", "-1.123", "0.107"),
            ("0", "0.00000000000000001", "0.00000000000000001"),
            ("5", "-5", "0"),
            ("17179869184", "1.5", "17179869185.5"),
        ] {
            assert_eq!(sum(a, b).as_deref(), Some(expected), "{a} + {b}");
        }
        assert_eq!(sum("1", "inf"), None);
        assert_eq!(sum("1e4932", "1e4932"), None);
    }

    #[test]
    fn doubles_are_read_as_strtod_reads_them() {
        for (text, value) in [
            ("1.5", Some(1.5)),
            ("+1", Some(1.0)),
            ("-inf", Some(f64::NEG_INFINITY)),
            ("1e3", Some(1000.0)),
            (".5", Some(0.5)),
            ("0x1p3", Some(8.0)),
            ("nan", None),
            (" 1", None),
            ("1 ", None),
            ("", None),
            ("abc", None),
            ("1e400", None),
        ] {
            assert_eq!(parse_f64(text.as_bytes()), value, "{text:?}");
        }
    }
}
