//! Texts as numbers, against Rust's and the C library's reading of them, and numbers as texts.
#![no_main]

use std::ffi::CString;

use libfuzzer_sys::fuzz_target;
use redstart_common::number::{
    FloatText, LongDouble, format_human, format_memory, parse_f64, parse_i64, parse_memory,
};

fuzz_target!(|data: &[u8]| {
    let plain = std::str::from_utf8(data).ok().and_then(|text| {
        let value = text.parse::<i64>().ok()?;
        (value.to_string() == text).then_some(value)
    });
    assert_eq!(parse_i64(data), plain);

    if let Some(bytes) = parse_memory(data) {
        assert_eq!(parse_memory(format_memory(bytes).as_bytes()), Some(bytes));
    }

    let double = parse_f64(data);
    // A NUL ends the text for the C library, so only texts without one can be compared.
    if let Ok(text) = CString::new(data) {
        assert_eq!(double.map(f64::to_bits), strtod(&text).map(f64::to_bits));
    }
    if let Some(double) = double {
        print_and_read(double);
    }
    if let Some(bits) = data.first_chunk::<8>() {
        print_and_read(f64::from_bits(u64::from_le_bytes(*bits)));
    }

    let (left, right) = data.split_at(data.len() / 2);
    if let (Some(left), Some(right)) = (LongDouble::parse(left), LongDouble::parse(right)) {
        let sum = left.plus(right);
        assert_eq!(sum, right.plus(left));
        if let Some(text) = sum.to_human() {
            let read = LongDouble::parse(text.as_bytes()).expect("what is printed is a number");
            assert_eq!(read.to_human().as_deref(), Some(&*text), "printing settles");
        }
    }
});

/// `%.17g` is enough to find a double again; the human form shows at most seventeen decimals.
fn print_and_read(value: f64) {
    let mut text = FloatText::new();
    let text = text.format_17g(value);
    if !value.is_nan() {
        assert_eq!(parse_f64(text.as_bytes()).map(f64::to_bits), Some(value.to_bits()), "{text}");
    }
    let human = format_human(value);
    assert!(
        human.split_once('.').is_none_or(|(_, decimals)| (1..=17).contains(&decimals.len())),
        "{human}"
    );
}

/// The C library's reading, by Redis's rules of acceptance.
fn strtod(text: &CString) -> Option<f64> {
    let mut end = std::ptr::null_mut();
    // SAFETY: the text ends with a NUL and outlives `end`; errno is this thread's own.
    let (value, read, out_of_range) = unsafe {
        *libc::__errno_location() = 0;
        let value = libc::strtod(text.as_ptr(), &mut end);
        (value, end.offset_from(text.as_ptr()) as usize, *libc::__errno_location() == libc::ERANGE)
    };
    let bytes = text.as_bytes();
    let refused = bytes.is_empty()
        || bytes[0].is_ascii_whitespace()
        || bytes[0] == 0x0b
        || read != bytes.len()
        || value.is_nan()
        || (out_of_range && (value.is_infinite() || value == 0.0));
    (!refused).then_some(value)
}
