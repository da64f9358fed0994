//! Numbers as texts, as C's library prints and reads them.

use redstart_common::number;

/// Appends `value` as `%.{precision}g` prints it.
pub(super) fn print_general(value: f64, precision: usize, out: &mut Vec<u8>) {
    use std::io::Write;
    /// Below it every integer has fewer than fifteen digits.
    const EXACT: f64 = 1e14;
    if precision >= 14 && value.fract() == 0.0 && value.abs() < EXACT {
        if value == 0.0 && value.is_sign_negative() {
            out.push(b'-');
        }
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
        return;
    }
    if !value.is_finite() {
        let text: &[u8] = match (value.is_nan(), value.is_sign_negative()) {
            (true, false) => b"nan",
            (true, true) => b"-nan",
            (false, false) => b"inf",
            (false, true) => b"-inf",
        };
        out.extend_from_slice(text);
        return;
    }
    let precision = precision.max(1);
    // Digits that are rounded as they have to be, and the power of ten of the first.
    let text = format!("{value:.*e}", precision - 1);
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let start = out.len();
    if exponent < -4 || exponent >= precision as i32 {
        out.extend_from_slice(digits.as_bytes());
        trim_zeros(out, start);
        let sign = if exponent < 0 { '-' } else { '+' };
        // Writing to a vector does not fail.
        let _ = write!(out, "e{sign}{:02}", exponent.unsigned_abs());
    } else {
        let decimals = usize::try_from(precision as i32 - 1 - exponent).unwrap_or(0);
        // The digits are those of above, put elsewhere: the number is rounded at the same one.
        let _ = write!(out, "{value:.decimals$}");
        trim_zeros(out, start);
    }
}

/// Takes zeros off that end the decimals of the number from `start` on.
fn trim_zeros(out: &mut Vec<u8>, start: usize) {
    if !out[start..].contains(&b'.') {
        return;
    }
    while out.last() == Some(&b'0') {
        out.pop();
    }
    if out.last() == Some(&b'.') {
        out.pop();
    }
}

/// The number that a text begins with, and its length, as `strtod` reads it: decimal, hexadecimal, infinite or none.
pub(super) fn read_prefix(text: &[u8]) -> Option<(f64, usize)> {
    let signs = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let negative = text.first() == Some(&b'-');
    let body = &text[signs..];
    let with_sign = |value: f64| if negative { -value } else { value };
    // Most numbers are whole and short: those that a double holds to the last digit.
    const EXACT_DIGITS: usize = 15;
    let digits = body.iter().take(EXACT_DIGITS + 1).take_while(|byte| byte.is_ascii_digit());
    let digits = digits.count();
    if (1..=EXACT_DIGITS).contains(&digits)
        && !matches!(body.get(digits), Some(b'.' | b'e' | b'E' | b'x' | b'X'))
    {
        let value = body[..digits].iter().fold(0, |sum, byte| sum * 10 + u64::from(byte - b'0'));
        return Some((with_sign(value as f64), signs + digits));
    }
    for (word, value) in
        [(&b"infinity"[..], f64::INFINITY), (b"inf", f64::INFINITY), (b"nan", f64::NAN)]
    {
        if body.len() >= word.len() && body[..word.len()].eq_ignore_ascii_case(word) {
            return Some((with_sign(value), signs + word.len()));
        }
    }
    if let [b'0', b'x' | b'X', rest @ ..] = body
        && let Some(length) = literal(rest, |byte| byte.is_ascii_hexdigit(), b'p')
    {
        let end = signs + 2 + length;
        let (value, _) = number::strtod(&text[..end])?;
        return Some((value, end));
    }
    let length = literal(body, |byte| byte.is_ascii_digit(), b'e')?;
    let value: f64 = std::str::from_utf8(&body[..length]).ok()?.parse().ok()?;
    Some((with_sign(value), signs + length))
}

/// The length of digits with a point and an exponent.
fn literal(text: &[u8], is_digit: impl Fn(&u8) -> bool, exponent: u8) -> Option<usize> {
    let count = |from: usize| text[from..].iter().take_while(|byte| is_digit(byte)).count();
    let whole = count(0);
    let mut end = whole;
    let mut digits = whole;
    if text.get(end) == Some(&b'.') {
        let decimals = count(end + 1);
        digits += decimals;
        if digits > 0 {
            end += 1 + decimals;
        }
    }
    if digits == 0 {
        return None;
    }
    if text.get(end).is_some_and(|byte| byte | 0x20 == exponent) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let from = end + 1 + sign;
        let power = text.get(from..).unwrap_or_default();
        let power = power.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if power > 0 {
            end = from + power;
        }
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(value: f64, precision: usize) -> String {
        let mut out = Vec::new();
        print_general(value, precision, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn numbers_are_printed_as_c_does() {
        for (value, precision, text) in [
            (0.1, 14, "0.1"),
            (-0.0, 14, "-0"),
            (3.0, 14, "3"),
            (1e15, 14, "1e+15"),
            (123456789012345.0, 14, "1.2345678901234e+14"),
            (0.00001234, 14, "1.234e-05"),
            (0.0001, 14, "0.0001"),
            (2.0 / 3.0, 3, "0.667"),
            (999.9, 3, "1e+03"),
            (1234.5, 1, "1e+03"),
            (9.5, 1, "1e+01"),
            (1e300, 14, "1e+300"),
            (f64::INFINITY, 14, "inf"),
        ] {
            assert_eq!(printed(value, precision), text);
        }
    }

    #[test]
    fn numbers_are_read_as_far_as_they_go() {
        for (text, value, length) in [
            ("12,", 12.0, 2),
            ("007", 7.0, 3),
            ("-0", -0.0, 2),
            ("123456789012345", 123_456_789_012_345.0, 15),
            ("9007199254740993", 9_007_199_254_740_992.0, 16),
            ("12e1", 120.0, 4),
            ("-1.5e3x", -1500.0, 6),
            ("1e", 1.0, 1),
            ("1.", 1.0, 2),
            (".5", 0.5, 2),
            ("0x10]", 16.0, 4),
            ("0x", 0.0, 1),
            ("+7", 7.0, 2),
            ("1e999", f64::INFINITY, 5),
            ("-Infinity", f64::NEG_INFINITY, 9),
            ("infinit", f64::INFINITY, 3),
        ] {
            assert_eq!(read_prefix(text.as_bytes()), Some((value, length)), "{text}");
        }
        assert!(read_prefix(b"nan").is_some_and(|(value, length)| value.is_nan() && length == 3));
        assert_eq!(read_prefix(b"x"), None);
        assert_eq!(read_prefix(b"-"), None);
        assert_eq!(read_prefix(b"."), None);
    }
}
