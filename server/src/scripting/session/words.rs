//! Requests to the debugger: arrays of words, each of 1 to 1,024 bytes.

/// Words that a request may have, and bytes of each.
const MOST: i64 = 1024;

/// What lies at the start of what a client has sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A request, and the bytes up to its end.
    Whole(Vec<Vec<u8>>, usize),
    /// The beginning of one.
    Part,
    /// No request.
    Broken,
}

/// Reads one request. As in Redis, what stands before its `*` is passed over, and numbers end where their digits do.
pub(super) fn parse(input: &[u8]) -> Parsed {
    if input.is_empty() {
        return Parsed::Part;
    }
    let Some(start) = memchr::memchr(b'*', input) else { return Parsed::Broken };
    let mut at = start + 1;
    let Some(count) = header(input, &mut at) else { return Parsed::Part };
    if !(1..=MOST).contains(&count) {
        return Parsed::Broken;
    }
    let mut words = Vec::new();
    for _ in 0..count {
        match input.get(at) {
            None => return Parsed::Part,
            Some(b'$') => at += 1,
            Some(_) => return Parsed::Broken,
        }
        let Some(length) = header(input, &mut at) else { return Parsed::Part };
        if !(1..=MOST).contains(&length) {
            return Parsed::Broken;
        }
        let end = at + length as usize;
        let Some(line_end) = input.get(end..end + 2) else { return Parsed::Part };
        if line_end != b"\r\n" {
            return Parsed::Broken;
        }
        words.push(input[at..end].to_vec());
        at = end + 2;
    }
    Parsed::Whole(words, at)
}

/// The number of a header, whose line ends behind it.
fn header(input: &[u8], at: &mut usize) -> Option<i64> {
    let rest = &input[*at..];
    let end = memchr::memmem::find(rest, b"\r\n")?;
    *at += end + 2;
    Some(number(&rest[..end]))
}

/// The number at the start of a text, as `atoi` reads it.
pub(super) fn number(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (sign, digits) = match text.split_first() {
        Some((b'-', rest)) => (-1, rest),
        Some((b'+', rest)) => (1, rest),
        _ => (1, text),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    let size = digits
        .fold(0_i64, |size, digit| size.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    sign * size
}
