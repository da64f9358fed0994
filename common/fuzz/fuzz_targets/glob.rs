//! Patterns against a matcher that tries everything.
//!
//! The first byte holds the case in its lowest bit and the pattern's length above it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redstart_common::glob;

fuzz_target!(|data: &[u8]| {
    let [choice, rest @ ..] = data else { return };
    let nocase = choice & 1 == 1;
    let (pattern, text) = rest.split_at(usize::from(choice >> 1).min(rest.len()));
    let verdict = glob::matches(pattern, text, nocase);
    let stars = pattern.iter().filter(|&&byte| byte == b'*').count();
    if stars <= 4 && text.len() <= 24 {
        let expected =
            if text.is_empty() { pattern.is_empty() } else { plain(pattern, text, nocase) };
        assert_eq!(verdict, expected);
    }
});

fn plain(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    match (pattern, text) {
        ([], _) => text.is_empty(),
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| plain(rest, &text[skip..], nocase)),
        (_, []) => false,
        ([b'?', rest @ ..], [_, after @ ..]) => plain(rest, after, nocase),
        ([b'[', rest @ ..], [byte, after @ ..]) => {
            let (accepts, rest) = class(rest, *byte, nocase);
            accepts && plain(rest, after, nocase)
        }
        ([b'\\', literal, rest @ ..] | [literal, rest @ ..], [byte, after @ ..]) => {
            fold(*literal, nocase) == fold(*byte, nocase) && plain(rest, after, nocase)
        }
    }
}

fn class(mut rest: &[u8], byte: u8, nocase: bool) -> (bool, &[u8]) {
    let negated = rest.first() == Some(&b'^');
    if negated {
        rest = &rest[1..];
    }
    let mut found = false;
    loop {
        match rest {
            [] => return (found != negated, rest),
            [b'\\', literal, after @ ..] => {
                found |= *literal == byte;
                rest = after;
            }
            [b']', after @ ..] => return (found != negated, after),
            [a, b'-', b, after @ ..] => {
                let mut ends = [*a as i8, *b as i8];
                ends.sort_unstable();
                let [low, high] = ends.map(|end| fold(end as u8, nocase) as i8);
                let byte = fold(byte, nocase) as i8;
                found |= low <= byte && byte <= high;
                rest = after;
            }
            [literal, after @ ..] => {
                found |= fold(*literal, nocase) == fold(byte, nocase);
                rest = after;
            }
        }
    }
}

fn fold(byte: u8, nocase: bool) -> u8 {
    if nocase { byte.to_ascii_lowercase() } else { byte }
}
