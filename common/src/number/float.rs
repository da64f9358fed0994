//! Doubles: scores, timeouts, RESP3 values.

use super::literal::{Literal, round_binary};
use super::long_double::LongDouble;

/// Reads a double as Redis does: what C's `strtod` reads to the last byte, hexadecimal and infinities included,
/// but no blanks in front, no NaN, and nothing that overflows or vanishes.
#[must_use]
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    if let Some(value) = short_decimal(text) {
        return Some(value);
    }
    let literal = Literal::parse(text)?;
    match literal {
        Literal::Infinity { negative } => {
            Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY })
        }
        Literal::Decimal { digits, .. } => {
            let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
            let vanished = value == 0.0 && digits.iter().any(|digit| (b'1'..=b'9').contains(digit));
            (value.is_finite() && !vanished).then_some(value)
        }
        Literal::Hexadecimal { negative, mantissa, sticky, exponent } => {
            let magnitude = hexadecimal(mantissa, sticky, exponent)?;
            Some(if negative { -magnitude } else { magnitude })
        }
    }
}

/// The digits and powers of ten that a double holds exactly, so that one division rounds as a whole reading would
/// (W. Clinger, "How to read floating point numbers accurately", 1990).
const EXACT_DIGITS: usize = 15;

/// Most numbers: a few digits, perhaps with a point among them. `None` is not an error, but something else.
#[inline]
fn short_decimal(text: &[u8]) -> Option<f64> {
    const POWERS: [f64; EXACT_DIGITS + 1] =
        [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let body = text.strip_prefix(b"-").unwrap_or(text);
    if body.len() > EXACT_DIGITS + 1 {
        return None;
    }
    let (mut mantissa, mut digits, mut point) = (0_u64, 0, None);
    for byte in body {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa * 10 + u64::from(byte - b'0');
                digits += 1;
            }
            b'.' if point.is_none() => point = Some(digits),
            _ => return None,
        }
    }
    if digits == 0 || digits > EXACT_DIGITS {
        return None;
    }
    let magnitude = mantissa as f64 / POWERS[digits - point.unwrap_or(digits)];
    Some(if body.len() < text.len() { -magnitude } else { magnitude })
}

/// Reads a double where Redis asks C's `strtod` itself: blanks in front are passed over, the text ends at its first
/// NUL, and nothing at all is zero. NaN is refused.
///
/// What is too large is infinite, and what is too small vanishes or loses digits; the second answer says whether the
/// number is neither.
#[must_use]
pub fn strtod(text: &[u8]) -> Option<(f64, bool)> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some((0.0, true));
    }
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    let text = &text[blanks..];
    if let Some(value) = parse_f64(text) {
        return Some((value, !value.is_subnormal()));
    }
    let value = match Literal::parse(text)? {
        // Rust's reading goes to infinity and to zero as C's does.
        Literal::Decimal { .. } => std::str::from_utf8(text).ok()?.parse().ok()?,
        Literal::Hexadecimal { negative, mantissa, exponent, .. } => {
            let is_small = i64::from(mantissa.ilog2()).saturating_add(exponent) < 0;
            let size = if is_small { 0.0 } else { f64::INFINITY };
            if negative { -size } else { size }
        }
        Literal::Infinity { .. } => return None,
    };
    Some((value, false))
}

fn hexadecimal(mantissa: u128, sticky: bool, exponent: i64) -> Option<f64> {
    const PRECISION: u32 = f64::MANTISSA_DIGITS;
    /// Of the lowest bit of the smallest number.
    const EXPONENT_MIN: i64 = -1074;
    /// Of the lowest bit of the largest number.
    const EXPONENT_MAX: i64 = 971;
    if mantissa == 0 {
        return Some(0.0);
    }
    let (mantissa, exponent) = round_binary(mantissa, exponent, sticky, PRECISION, EXPONENT_MIN);
    if mantissa == 0 || exponent > EXPONENT_MAX {
        return None;
    }
    // Below 2^52 the number is subnormal, and its exponent field is 0, which stands for the same power as 1.
    let hidden = 1u64 << (PRECISION - 1);
    let field = if mantissa < hidden { 0 } else { (exponent - EXPONENT_MIN + 1) as u64 };
    Some(f64::from_bits(field << (PRECISION - 1) | (mantissa & (hidden - 1))))
}

/// `value` as C's `%.17g` prints it. [`FloatText`] does the same without allocating.
#[must_use]
pub fn format_f64_17g(value: f64) -> String {
    FloatText::new().format_17g(value).to_owned()
}

/// `value` with seventeen decimals and no trailing zeros, widened to 80 bits first: what Redis calls the human form.
#[must_use]
pub fn format_human(value: f64) -> String {
    match LongDouble::from(value).to_human() {
        Some(text) => text,
        None => format_f64_17g(value),
    }
}

/// Room for any number this module prints.
const FLOAT_TEXT_BYTES: usize = 48;

/// Space to print a float into, so that printing allocates nothing.
pub struct FloatText {
    bytes: [u8; FLOAT_TEXT_BYTES],
    len: usize,
}

impl Default for FloatText {
    fn default() -> Self {
        Self::new()
    }
}

impl FloatText {
    /// Empty space.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; FLOAT_TEXT_BYTES], len: 0 }
    }

    /// `value` as C's `%.17g` prints it: how Redis 7.0 prints scores and RESP3 doubles.
    pub fn format_17g(&mut self, value: f64) -> &str {
        self.len = 0;
        if value.is_nan() {
            self.put(if value.is_sign_negative() { b"-nan" } else { b"nan" });
        } else if value.is_infinite() {
            self.put(if value < 0.0 { b"-inf" } else { b"inf" });
        } else if value == value.trunc() && value.abs() < 1e17 {
            // Seventeen digits hold every such integer, so %.17g prints it plainly.
            if value == 0.0 && value.is_sign_negative() {
                self.put(b"-");
            }
            self.put(itoa::Buffer::new().format(value as i64).as_bytes());
        } else {
            self.put_digits(value);
        }
        self.text()
    }

    /// Lays out seventeen significant digits the way `%g` does: trailing zeros dropped, an exponent of at least
    /// two digits where the number is below 1e-4 or has more than seventeen digits before the point.
    fn put_digits(&mut self, value: f64) {
        let mut scientific = FloatText::new();
        // Infallible: at most 24 bytes.
        let _ = std::fmt::Write::write_fmt(&mut scientific, format_args!("{:.16e}", value.abs()));
        let (mantissa, exponent) = scientific.text().split_once('e').unwrap_or(("0", "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = [0; 17];
        digits[0] = whole.as_bytes()[0];
        digits[1..1 + fraction.len()].copy_from_slice(fraction.as_bytes());
        let used = digits.iter().rposition(|&digit| digit > b'0').map_or(1, |last| last + 1);
        let digits = &digits[..used];

        if value.is_sign_negative() {
            self.put(b"-");
        }
        match exponent {
            0..17 => {
                let whole = exponent as usize + 1;
                self.put(&digits[..whole.min(used)]);
                self.put_zeros(whole.saturating_sub(used));
                if used > whole {
                    self.put(b".");
                    self.put(&digits[whole..]);
                }
            }
            -4..0 => {
                self.put(b"0.");
                self.put_zeros(-exponent as usize - 1);
                self.put(digits);
            }
            _ => {
                self.put(&digits[..1]);
                if used > 1 {
                    self.put(b".");
                    self.put(&digits[1..]);
                }
                self.put(if exponent < 0 { b"e-" } else { b"e+" });
                if exponent.abs() < 10 {
                    self.put(b"0");
                }
                self.put(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn put_zeros(&mut self, count: usize) {
        self.put(&[b'0'; FLOAT_TEXT_BYTES][..count]);
    }

    fn text(&self) -> &str {
        // Only ASCII is ever put in, so the check never fails; it costs less than what it would take to prove.
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl std::fmt::Write for FloatText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn strtod_reads_what_c_reads() {
        for (text, value) in [
            (&b""[..], Some((0.0, true))),
            (b"\0x", Some((0.0, true))),
            (b" 1", Some((1.0, true))),
            (b"\t\x0b-2.5\0junk", Some((-2.5, true))),
            (b"inf", Some((f64::INFINITY, true))),
            (b"1e400", Some((f64::INFINITY, false))),
            (b"-1e400", Some((f64::NEG_INFINITY, false))),
            (b"1e-400", Some((0.0, false))),
            (b"5e-324", Some((5e-324, false))),
            (b"0x1p5000", Some((f64::INFINITY, false))),
            (b"-0x1p-5000", Some((-0.0, false))),
            (b" ", None),
            (b"1 ", None),
            (b"nan", None),
            (b"x", None),
        ] {
            assert_eq!(strtod(text), value, "{}", text.escape_ascii());
        }
    }

    /// What the C library prints.
    fn c_printf(value: f64) -> String {
        let format = CString::new("%.17g").unwrap();
        let mut out = [0u8; 64];
        // SAFETY: the buffer's length is passed, and the format takes exactly the double given.
        let len =
            unsafe { libc::snprintf(out.as_mut_ptr().cast(), out.len(), format.as_ptr(), value) };
        String::from_utf8(out[..len as usize].to_vec()).unwrap()
    }

    /// What the C library reads, by Redis's rules of acceptance.
    fn c_strtod(text: &str) -> Option<f64> {
        let c_text = CString::new(text).ok()?;
        let mut end = std::ptr::null_mut();
        // SAFETY: the text ends with a NUL and outlives `end`; errno is this thread's own.
        let (value, read, out_of_range) = unsafe {
            *libc::__errno_location() = 0;
            let value = libc::strtod(c_text.as_ptr(), &mut end);
            (
                value,
                end.offset_from(c_text.as_ptr()) as usize,
                *libc::__errno_location() == libc::ERANGE,
            )
        };
        let refused = text.is_empty()
            || text.starts_with(|c: char| c.is_ascii_whitespace() || c == '\x0b')
            || read != text.len()
            || value.is_nan()
            || (out_of_range && (value.is_infinite() || value == 0.0));
        (!refused).then_some(value)
    }

    #[test]
    fn doubles_are_read_and_printed_as_redis_does() {
        for line in include_str!("../../../tests/golden/doubles.tsv").lines().skip(1) {
            let (text, recorded) = line.split_once('\t').unwrap();
            match parse_f64(text.as_bytes()) {
                Some(value) => assert_eq!(format_f64_17g(value), recorded, "{text}"),
                None => assert_eq!(recorded, "-ERR value is not a valid float", "{text}"),
            }
        }
    }

    #[test]
    fn what_is_not_finite_has_names() {
        assert_eq!(format_f64_17g(f64::NAN.copysign(1.0)), "nan");
        assert_eq!(format_f64_17g(f64::NAN.copysign(-1.0)), "-nan");
        assert_eq!(format_f64_17g(-f64::INFINITY), "-inf");
        assert_eq!(format_human(f64::INFINITY), "inf");
        assert_eq!(format_f64_17g(-0.0), "-0");
    }

    #[test]
    fn the_human_form_has_seventeen_decimals_at_most() {
        assert_eq!(format_human(0.1), "0.10000000000000001");
        assert_eq!(format_human(3.0), "3");
        assert_eq!(format_human(-1e-30), "0");
        assert_eq!(format_human(1e20), "100000000000000000000");
    }

    proptest! {
        #[test]
        fn any_double_prints_as_the_c_library_prints_it(
            value in prop_oneof![any::<u64>().prop_map(f64::from_bits), any::<f64>(), -1e18..1e18f64, -1.0..1.0f64,
                any::<i64>().prop_map(|value| value as f64 / 4.0)]
        ) {
            let text = format_f64_17g(value);
            prop_assert_eq!(&text, &c_printf(value));
            if value.is_finite() {
                prop_assert_eq!(parse_f64(text.as_bytes()).map(f64::to_bits), Some(value.to_bits()));
            }
        }

        #[test]
        fn any_text_is_read_as_the_c_library_reads_it(
            text in prop_oneof![
                "[-+]?[0-9]{0,25}\\.?[0-9]{0,25}([eE][-+]?[0-9]{0,4})?",
                "-?[0-9]{0,9}\\.?[0-9]{0,9}",
                "[-+]?0[xX][0-9a-fA-F]{0,40}\\.?[0-9a-fA-F]{0,20}([pP][-+]?[0-9]{0,4})?",
                "[-+ ]?(inf|nan|INFINITY|x|e|\\.|[0-9]){1,4}",
                "[ -~]{0,8}",
            ]
        ) {
            prop_assert_eq!(
                parse_f64(text.as_bytes()).map(f64::to_bits), c_strtod(&text).map(f64::to_bits), "{:?}", text
            );
        }
    }
}
