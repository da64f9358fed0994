//! x86's 80-bit floats, in integers: the arithmetic behind INCRBYFLOAT and HINCRBYFLOAT.
//!
//! Redis adds in `long double` and prints with 17 decimals, so any other width gives other digits. A number here is
//! `mantissa * 2^exponent` with 64 bits of mantissa; reading, adding and printing each round once, to the nearest,
//! ties to even, as the hardware and the C library do.

use super::big::Big;
use super::literal::{Literal, round_binary};

/// Bits of the mantissa.
const PRECISION: u32 = 64;
/// Exponent of the lowest bit of the smallest number.
const EXPONENT_MIN: i64 = -16_445;
/// Exponent of the lowest bit of the largest number.
const EXPONENT_MAX: i64 = 16_320;
/// Numbers of this many digits before the point overflow, whatever the digits.
const WHOLE_DIGITS_MAX: i64 = 4_933;
/// Numbers with this many zeros after the point vanish, whatever the digits.
const ZEROS_MAX: i64 = 4_951;
/// Redis copies the text into a buffer of this size, its NUL included, and refuses what does not fit.
const TEXT_BYTES_MAX: usize = 5 * 1024;
/// Decimals that are printed.
const DECIMALS: usize = 17;
/// 10 to the power of [`DECIMALS`].
const DECIMAL_UNIT: u64 = 100_000_000_000_000_000;
/// The largest power of ten that fits 64 bits.
const SHORT_POWER: u32 = 19;

/// An 80-bit float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    magnitude: Magnitude,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Magnitude {
    /// The mantissa's highest bit is set unless the exponent is the lowest.
    Finite {
        mantissa: u64,
        exponent: i64,
    },
    Infinite,
    NotANumber,
}

impl Magnitude {
    const ZERO: Self = Self::Finite { mantissa: 0, exponent: EXPONENT_MIN };

    /// `value * 2^exponent`, and a little more if `sticky`.
    fn rounded(value: u128, exponent: i64, sticky: bool) -> Self {
        if value == 0 {
            return Self::ZERO;
        }
        match round_binary(value, exponent, sticky, PRECISION, EXPONENT_MIN) {
            (_, exponent) if exponent > EXPONENT_MAX => Self::Infinite,
            (mantissa, exponent) => Self::Finite { mantissa, exponent },
        }
    }
}

impl LongDouble {
    /// Reads a number as Redis does: what C's `strtold` reads to the last byte, but no blanks in front, no NaN, and
    /// nothing that overflows or vanishes.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= TEXT_BYTES_MAX {
            return None;
        }
        let (negative, magnitude) = match Literal::parse(text)? {
            Literal::Infinity { negative } => (negative, Magnitude::Infinite),
            Literal::Decimal { negative, digits, exponent } => {
                (negative, decimal(digits, exponent)?)
            }
            Literal::Hexadecimal { negative, mantissa: 0, .. } => (negative, Magnitude::ZERO),
            Literal::Hexadecimal { negative, mantissa, sticky, exponent } => {
                (negative, in_range(Magnitude::rounded(mantissa, exponent, sticky))?)
            }
        };
        Some(Self { negative, magnitude })
    }

    /// Whether it is neither infinite nor NaN.
    #[must_use]
    pub fn is_finite(self) -> bool {
        matches!(self.magnitude, Magnitude::Finite { .. })
    }

    /// The number as a double: infinite when too large, and never zero unless it is.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        let size = match self.magnitude {
            Magnitude::Finite { mantissa: 0, .. } => 0.0,
            Magnitude::Finite { mantissa, exponent } => {
                let exponent = exponent.clamp(-2000, 2000) as i32;
                (mantissa as f64 * 2_f64.powi(exponent)).max(f64::MIN_POSITIVE)
            }
            Magnitude::Infinite => f64::INFINITY,
            Magnitude::NotANumber => f64::NAN,
        };
        if self.negative { -size } else { size }
    }

    /// The number with the other sign.
    #[must_use]
    pub fn negated(self) -> Self {
        Self { negative: !self.negative, ..self }
    }

    /// The sum, rounded once.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        use Magnitude::{Finite, Infinite, NotANumber};
        match (self.magnitude, other.magnitude) {
            (NotANumber, _) | (Infinite, Finite { .. }) => self,
            (_, NotANumber) | (Finite { .. }, Infinite) => other,
            (Infinite, Infinite) if self.negative == other.negative => self,
            (Infinite, Infinite) => Self { negative: true, magnitude: NotANumber },
            (Finite { mantissa: a, exponent: at }, Finite { mantissa: b, exponent: bt }) => {
                // By exponent, then mantissa: since mantissas are normal, that is by size.
                if (at, a) >= (bt, b) {
                    add((self.negative, a, at), (other.negative, b, bt))
                } else {
                    add((other.negative, b, bt), (self.negative, a, at))
                }
            }
        }
    }

    /// The form with 17 decimals and no trailing zeros, which is what Redis stores; `None` for what is not finite.
    #[must_use]
    pub fn to_human(self) -> Option<String> {
        let Magnitude::Finite { mantissa, exponent } = self.magnitude else { return None };
        let mut text = String::new();
        if self.negative {
            text.push('-');
        }
        if exponent >= 0 {
            let mut whole = Big::from_u64(mantissa);
            whole.shift_left(exponent as usize);
            text += &whole.into_digits();
            return Some(text);
        }
        let (whole, decimals) = split_at_point(mantissa, exponent.unsigned_abs());
        if whole == 0 && decimals == 0 {
            // Also for what is below zero by less than can be seen.
            return Some("0".to_owned());
        }
        text += itoa::Buffer::new().format(whole);
        if decimals != 0 {
            text += &format!(".{decimals:0width$}", width = DECIMALS);
            text.truncate(text.trim_end_matches('0').len());
        }
        Some(text)
    }
}

impl From<f64> for LongDouble {
    /// Exact: every double is an 80-bit float.
    fn from(value: f64) -> Self {
        let magnitude = if value.is_nan() {
            Magnitude::NotANumber
        } else if value.is_infinite() {
            Magnitude::Infinite
        } else {
            let field = (value.to_bits() >> 52 & 0x7ff) as i64;
            let fraction = value.to_bits() & ((1 << 52) - 1);
            let mantissa = if field == 0 { fraction } else { fraction | 1 << 52 };
            Magnitude::rounded(u128::from(mantissa), field.max(1) - 1075, false)
        };
        Self { negative: value.is_sign_negative(), magnitude }
    }
}

fn in_range(magnitude: Magnitude) -> Option<Magnitude> {
    match magnitude {
        Magnitude::Finite { mantissa: 0, .. } | Magnitude::Infinite => None,
        sound => Some(sound),
    }
}

/// `digits * 10^exponent`, where `exponent` is the last digit's.
fn decimal(digits: &[u8], exponent: i64) -> Option<Magnitude> {
    let significant =
        || digits.iter().copied().filter(|&byte| byte != b'.').skip_while(|&byte| byte == b'0');
    let len = significant().count();
    if len == 0 {
        return Some(Magnitude::ZERO);
    }
    let whole_digits = exponent.saturating_add(len as i64);
    if !(-ZEROS_MAX..=WHOLE_DIGITS_MAX).contains(&whole_digits) {
        return None;
    }
    let power = exponent.unsigned_abs();
    if len <= SHORT_POWER as usize && power <= u64::from(SHORT_POWER) {
        let number = significant().fold(0u64, |value, digit| value * 10 + u64::from(digit - b'0'));
        return Some(short_decimal(number, power as u32, exponent < 0));
    }
    let number = Big::from_digits(significant());
    in_range(if exponent >= 0 {
        scaled_up(number, power as usize)
    } else {
        scaled_down(number, power as usize)
    })
}

/// What people write: a number and a power that fit 64 bits each. No allocation, and never out of range.
fn short_decimal(number: u64, power: u32, down: bool) -> Magnitude {
    let scale = 10u64.pow(power);
    if !down {
        return Magnitude::rounded(u128::from(number) * u128::from(scale), 0, false);
    }
    // Both with their highest bit set, so that the quotient has 64 or 65 bits; two more to round by.
    let (number_shift, scale_shift) = (number.leading_zeros(), scale.leading_zeros());
    let divisor = u128::from(scale << scale_shift);
    let dividend = u128::from(number << number_shift) << 64;
    let (quotient, rest) = (dividend / divisor, dividend % divisor);
    let (more, rest) = ((rest << 2) / divisor, (rest << 2) % divisor);
    let exponent = i64::from(scale_shift) - i64::from(number_shift) - 66;
    Magnitude::rounded(quotient << 2 | more, exponent, rest != 0)
}

fn scaled_up(mut number: Big, power: usize) -> Magnitude {
    number.multiply_by_power_of_ten(power);
    quotient(number, Big::from_u64(1))
}

fn scaled_down(number: Big, power: usize) -> Magnitude {
    let mut divisor = Big::from_u64(1);
    divisor.multiply_by_power_of_ten(power);
    quotient(number, divisor)
}

fn quotient(mut number: Big, mut divisor: Big) -> Magnitude {
    // Enough bits to round by; the rest only sticks.
    const BITS: i64 = PRECISION as i64 + 3;
    let shift = BITS - (number.bits() - divisor.bits());
    if shift >= 0 {
        number.shift_left(shift as usize);
    } else {
        divisor.shift_left(shift.unsigned_abs() as usize);
    }
    let (value, rest) = number.divide(&divisor);
    Magnitude::rounded(value, -shift, rest)
}

/// Adds signed mantissas with their exponents, the larger first.
fn add(large: (bool, u64, i64), small: (bool, u64, i64)) -> LongDouble {
    // Room below for what the smaller number sticks out, and one bit above for a carry.
    const ROOM: i64 = 63;
    let gap = (large.2 - small.2).min(128) as u32;
    let high = u128::from(large.1) << ROOM;
    let wide = u128::from(small.1) << ROOM;
    let low = wide.checked_shr(gap).unwrap_or(0);
    let sticky = low.checked_shl(gap).unwrap_or(0) != wide;
    let exponent = large.2 - ROOM;
    if large.0 == small.0 {
        return LongDouble {
            negative: large.0,
            magnitude: Magnitude::rounded(high + low, exponent, sticky),
        };
    }
    // With something lost below, one too much is taken and a little put back.
    let difference = high - low - u128::from(sticky);
    let negative = large.0 && difference != 0;
    LongDouble { negative, magnitude: Magnitude::rounded(difference, exponent, sticky) }
}

/// `mantissa / 2^places` as a whole number and seventeen decimals, rounded.
fn split_at_point(mantissa: u64, places: u64) -> (u64, u64) {
    let (whole, part) = if places < 64 {
        (mantissa >> places, mantissa & ((1 << places) - 1))
    } else {
        (0, mantissa)
    };
    // Seventeen decimals take 57 bits, so this holds; and a part below 2^-64 is far from half the last decimal.
    let scaled = u128::from(part) * u128::from(DECIMAL_UNIT);
    if places >= 128 {
        return (whole, 0);
    }
    let (decimals, rest) = (scaled >> places, scaled & ((1 << places) - 1));
    let half = 1u128 << (places - 1);
    let up = rest > half || (rest == half && decimals & 1 == 1);
    match decimals as u64 + u64::from(up) {
        DECIMAL_UNIT => (whole + 1, 0),
        decimals => (whole, decimals),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What INCRBYFLOAT answers.
    fn sum(old: &str, increment: &str) -> String {
        let (Some(old), Some(increment)) =
            (LongDouble::parse(old.as_bytes()), LongDouble::parse(increment.as_bytes()))
        else {
            return "-ERR value is not a valid float".to_owned();
        };
        old.plus(increment)
            .to_human()
            .unwrap_or("-ERR increment would produce NaN or Infinity".to_owned())
    }

    #[test]
    fn sums_equal_those_of_redis() {
        let recorded = include_str!("../../../tests/golden/incrbyfloat.tsv");
        let mut count = 0;
        for line in recorded.lines().skip(1) {
            let [old, increment, expected] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            assert_eq!(sum(old, increment), expected, "{old} + {increment}");
            count += 1;
        }
        assert!(count > 1500, "only {count} recorded sums");
    }

    #[test]
    fn digits_that_doubles_lose_are_kept() {
        assert_eq!(sum("0.1", "0.2"), "0.3");
        assert_eq!(sum("9007199254740993", "0.5"), "9007199254740993.5");
        assert_eq!(sum("5", "-5"), "0");
        assert_eq!(sum("0", "-0"), "0");
        assert_eq!(sum("inf", "-inf"), "-ERR increment would produce NaN or Infinity");
        assert_eq!(sum("1.1e4932", "1.1e4932"), "-ERR increment would produce NaN or Infinity");
    }

    fn decimals() -> impl Strategy<Value = String> {
        "-?[0-9]{1,12}(\\.[0-9]{1,10})?(e-?[0-9])?"
    }

    proptest! {
        /// The short way of reading gives what the long one gives.
        #[test]
        fn short_decimals_round_as_long_ones(number in 1u64..10u64.pow(19), power in 0u32..=19) {
            let long = || Big::from_digits(number.to_string().into_bytes().into_iter());
            prop_assert_eq!(short_decimal(number, power, false), scaled_up(long(), power as usize));
            prop_assert_eq!(short_decimal(number, power, true), scaled_down(long(), power as usize));
        }

        #[test]
        fn sums_have_no_order_and_zero_changes_nothing(a in decimals(), b in decimals()) {
            let (a, b) = (LongDouble::parse(a.as_bytes()).unwrap(), LongDouble::parse(b.as_bytes()).unwrap());
            prop_assert_eq!(a.plus(b), b.plus(a));
            prop_assert_eq!(a.plus(LongDouble::from(0.0)).magnitude, a.magnitude);
        }

        /// Where doubles are exact, so is this.
        #[test]
        fn whole_numbers_add_exactly(a in -(1i64 << 61)..1 << 61, b in -(1i64 << 61)..1 << 61) {
            prop_assert_eq!(sum(&a.to_string(), &b.to_string()), (a + b).to_string());
        }

        #[test]
        fn any_double_survives(value: f64) {
            let human = LongDouble::from(value).to_human();
            prop_assert_eq!(human.is_some(), value.is_finite());
            if let Some(human) = human {
                let read: f64 = human.parse().unwrap();
                prop_assert!((read - value).abs() <= value.abs() * f64::EPSILON + 1e-17);
            }
        }

        #[test]
        fn any_text_is_refused_or_printed(text: Vec<u8>) {
            if let Some(number) = LongDouble::parse(&text) {
                let _ = number.plus(number).to_human();
            }
        }
    }
}
