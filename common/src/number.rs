//! Redis's numbers as text: which texts count as numbers, and how numbers are printed.
//!
//! Integers and byte sizes are here, floats in `float`, and the 80-bit numbers of INCRBYFLOAT in `long_double`.

mod big;
mod float;
mod literal;
mod long_double;

pub use float::{FloatText, format_f64_17g, format_human, parse_f64, strtod};
pub use long_double::LongDouble;

/// Reads a decimal integer as strictly as Redis does: no blanks, no plus sign, no leading zeros, no `-0`.
#[must_use]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'0'] => return Some(0),
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if !matches!(digits.first(), Some(b'1'..=b'9')) || digits.len() > 19 {
        return None;
    }
    let mut magnitude: u64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Nineteen digits always fit.
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// Reads an amount of memory as redis.conf has it: `1024`, `64mb`, `1k` (a thousand) or `1kb` (1024), in any case.
///
/// As there, a unit alone is 0, a number too large for 64 bits is the largest, and the product wraps.
#[must_use]
pub fn parse_memory(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // The original has a buffer of 128 bytes.
    if digits >= 128 {
        return None;
    }
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let number = number
        .iter()
        .try_fold(0u64, |value, &digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .unwrap_or(u64::MAX);
    Some(number.wrapping_mul(factor))
}

/// The shortest exact form that [`parse_memory`] reads: how CONFIG REWRITE writes sizes.
#[must_use]
pub fn format_memory(bytes: u64) -> String {
    let units = [(1u64 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")];
    match units.into_iter().find(|(unit, _)| bytes != 0 && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// An amount of memory for people: `1023B`, `1.50K`, `64.00M`, as INFO shows it.
#[must_use]
pub fn human_memory(bytes: u64) -> String {
    let units = [(10, 'K'), (20, 'M'), (30, 'G'), (40, 'T'), (50, 'P')];
    match units.into_iter().rev().find(|(power, _)| bytes >> power > 0) {
        Some((power, unit)) if bytes >> 60 == 0 => {
            format!("{:.2}{unit}", bytes as f64 / (1u64 << power) as f64)
        }
        _ => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers_are_read_strictly() {
        for (text, value) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("99999999999999999999", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("+1", None),
            ("01", None),
            (" 1", None),
            ("1 ", None),
            ("1a", None),
        ] {
            assert_eq!(parse_i64(text.as_bytes()), value, "{text:?}");
        }
    }

    #[test]
    fn sizes_have_units_of_ten_and_of_two() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("1b", Some(1)),
            ("1k", Some(1000)),
            ("1kb", Some(1024)),
            ("64mb", Some(64 << 20)),
            ("1GB", Some(1 << 30)),
            ("2g", Some(2_000_000_000)),
            ("kb", Some(0)),
            ("", Some(0)),
            ("99999999999999999999", Some(u64::MAX)),
            ("1t", None),
            ("-1", None),
            ("1 mb", None),
            ("1.5gb", None),
        ] {
            assert_eq!(parse_memory(text.as_bytes()), bytes, "{text:?}");
        }
        assert_eq!(parse_memory(&[b'1'; 128]), None);
    }

    #[test]
    fn sizes_are_shown_to_people() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (1536, "1.50K"),
            (1_048_575, "1024.00K"),
            (64 << 20, "64.00M"),
            (1 << 50, "1.00P"),
            (1 << 60, "1152921504606846976B"),
        ] {
            assert_eq!(human_memory(bytes), text);
        }
        assert_eq!(
            [format_memory(0), format_memory(64 << 20), format_memory(1500)],
            ["0", "64mb", "1500"]
        );
    }

    proptest! {
        #[test]
        fn every_integer_is_read_back(value: i64) {
            prop_assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
        }

        #[test]
        fn only_the_plain_form_is_an_integer(text in "[-+0-9 ]{0,21}") {
            let plain = text.parse::<i64>().ok().filter(|value| value.to_string() == text);
            prop_assert_eq!(parse_i64(text.as_bytes()), plain);
        }

        #[test]
        fn every_size_is_read_back(bytes: u64) {
            prop_assert_eq!(parse_memory(format_memory(bytes).as_bytes()), Some(bytes));
        }
    }
}
