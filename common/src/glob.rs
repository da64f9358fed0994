//! Redis's patterns: `*`, `?`, `[a-c]`, `[^x]` and `\` before any of them, over bytes.
//!
//! Every oddity of the original is kept, for clients see it in KEYS, SCAN and PSUBSCRIBE: nothing but the empty
//! pattern matches the empty text, a class may lack its bracket, ranges compare bytes as signed and are turned
//! round before case is folded. The original recurses at each star and gives up early to bound the time; here the
//! last star alone is remembered, which is the same answer in constant space, in time pattern × text at worst.

/// Whether the whole of `text` matches `pattern`; `nocase` folds ASCII letters.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut at, mut pos) = (0, 0);
    // The pattern after the last star, and where in the text to try it next.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pos == text.len() {
            // Each element takes one byte, so a later start could only run out sooner.
            return pattern[at..].iter().all(|&byte| byte == b'*');
        }
        let rest = &pattern[at..];
        if rest.first() == Some(&b'*') {
            let stars = rest.iter().take_while(|&&byte| byte == b'*').count();
            at += stars;
            if at == pattern.len() {
                return true;
            }
            retry = Some((at, pos + 1));
            continue;
        }
        match element(rest, text[pos], nocase) {
            Some(len) => {
                at += len;
                pos += 1;
            }
            None => match retry {
                Some((after_star, from)) => {
                    (at, pos) = (after_star, from);
                    retry = Some((after_star, from + 1));
                }
                None => return false,
            },
        }
    }
}

/// The length of the first element of `pattern` (not a star) if it accepts `byte`.
fn element(pattern: &[u8], byte: u8, nocase: bool) -> Option<usize> {
    let (accepts, len) = match *pattern {
        [] => (false, 0),
        [b'?', ..] => (true, 1),
        [b'[', ..] => class(pattern, byte, nocase),
        [b'\\', escaped, ..] => (same(escaped, byte, nocase), 2),
        [literal, ..] => (same(literal, byte, nocase), 1),
    };
    accepts.then_some(len)
}

/// Whether the class at the start of `pattern` accepts `byte`, and its length.
fn class(pattern: &[u8], byte: u8, nocase: bool) -> (bool, usize) {
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = if negated { 2 } else { 1 };
    let mut found = false;
    loop {
        let (accepts, len) = match pattern[at..] {
            // An escaped byte is compared as it is, whatever the case.
            [b'\\', escaped, ..] => (escaped == byte, 2),
            [b']', ..] => {
                at += 1;
                break;
            }
            [] => break,
            [start, b'-', end, ..] => (in_range(start, end, byte, nocase), 3),
            [literal, ..] => (same(literal, byte, nocase), 1),
        };
        found |= accepts;
        at += len;
    }
    (found != negated, at)
}

fn in_range(start: u8, end: u8, byte: u8, nocase: bool) -> bool {
    let signed = |byte: u8| byte as i8;
    let (low, high) = if signed(start) > signed(end) { (end, start) } else { (start, end) };
    let fold = |byte: u8| signed(if nocase { byte.to_ascii_lowercase() } else { byte });
    (fold(low)..=fold(high)).contains(&fold(byte))
}

fn same(a: u8, b: u8, nocase: bool) -> bool {
    if nocase { a.eq_ignore_ascii_case(&b) } else { a == b }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn yes(pattern: &str, text: &str) {
        assert!(
            matches(pattern.as_bytes(), text.as_bytes(), false),
            "{pattern:?} should match {text:?}"
        );
    }

    fn no(pattern: &str, text: &str) {
        assert!(
            !matches(pattern.as_bytes(), text.as_bytes(), false),
            "{pattern:?} should not match {text:?}"
        );
    }

    #[test]
    fn stars_take_any_run() {
        yes("*", "abc");
        yes("a*", "a");
        yes("a**", "abc");
        yes("*c", "abc");
        yes("*b*", "abc");
        yes("a*b*c*d", "axbxbxcxd");
        no("a*d", "abc");
        no("*abc", "ab");
        yes("*aab", "aaaab");
    }

    #[test]
    fn the_empty_text_matches_the_empty_pattern_only() {
        yes("", "");
        no("*", "");
        no("**", "");
        no("", "a");
    }

    #[test]
    fn classes_have_ranges_negation_and_escapes() {
        yes("h[ae]llo", "hallo");
        no("h[ae]llo", "hillo");
        yes("[a-c]", "b");
        yes("[c-a]", "b");
        no("[^a-c]", "b");
        yes("[^a-c]", "d");
        yes("[\\]]", "]");
        yes("[\\-x]", "-");
        // The bracket is the end of the range, and the class lacks one.
        yes("[a-]", "_");
        no("[a-]", "-");
        no("[]", "a");
        yes("[^]", "a");
    }

    #[test]
    fn a_class_may_lack_its_bracket() {
        yes("[ab", "a");
        no("[ab", "c");
        no("[", "a");
        yes("[^", "a");
        yes("[a-", "-");
        yes("[\\", "\\");
        yes("*[ab", "xxb");
    }

    #[test]
    fn a_backslash_takes_the_next_byte_as_it_is() {
        yes("\\*", "*");
        no("\\*", "a");
        yes("a\\", "a\\");
        yes("\\a", "a");
        yes("\\[a]", "[a]");
    }

    #[test]
    fn case_folds_except_where_the_original_forgets() {
        let folded = |pattern: &str, text: &str| matches(pattern.as_bytes(), text.as_bytes(), true);
        assert!(folded("GET*", "getRange"));
        assert!(folded("[A-C]x", "bX"));
        assert!(folded("[abc]", "B"));
        assert!(folded("\\A", "a"));
        assert!(!folded("[\\A]", "a"));
        // Z to a: turned round by their upper-case order, then empty.
        assert!(!folded("[Z-a]", "z"));
    }

    #[test]
    fn ranges_compare_bytes_as_signed() {
        assert!(matches(b"[\x80-a]", b"\xff", false));
        assert!(matches(b"[a-\x80]", b" ", false));
        assert!(!matches(b"[a-\xff]", b"b", false));
    }

    #[test]
    fn stars_do_not_blow_up() {
        let pattern = "a*".repeat(1000) + "b";
        no(&pattern, &"a".repeat(100_000));
        yes(&("*a".repeat(50_000) + "*"), &"a".repeat(50_000));
    }

    #[test]
    fn verdicts_equal_those_of_redis() {
        fn bytes(hex: &str) -> Vec<u8> {
            let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            (0..hex.len()).step_by(2).map(digit).collect()
        }
        let mut count = 0;
        for line in include_str!("../../tests/golden/glob.tsv").lines().skip(1) {
            let [case, pattern, text, verdict] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let (pattern, text) = (bytes(pattern), bytes(text));
            let shown = format!("{} on {}", pattern.escape_ascii(), text.escape_ascii());
            assert_eq!(
                matches(&pattern, &text, case == "folded"),
                verdict == "1",
                "{case} {shown}"
            );
            count += 1;
        }
        assert!(count > 1500, "only {count} recorded verdicts");
    }

    /// The definition, tried in every way a star can be read.
    fn model(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            ([b'*', rest @ ..], _) => {
                (0..=text.len()).any(|skip| model(rest, &text[skip..], nocase))
            }
            (_, []) => false,
            (_, [byte, after @ ..]) => element(pattern, *byte, nocase)
                .is_some_and(|len| model(&pattern[len..], after, nocase)),
        }
    }

    proptest! {
        #[test]
        fn one_remembered_star_is_enough(
            pattern in "[ab?*\\\\\\[\\]^-]{0,9}", text in "[abAB*]{1,9}", nocase: bool,
        ) {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(pattern, text, nocase), model(pattern, text, nocase));
        }

        #[test]
        fn any_bytes_do(pattern: Vec<u8>, text: Vec<u8>, nocase: bool) {
            let _ = matches(&pattern, &text, nocase);
            if !text.is_empty() {
                prop_assert!(matches(b"*", &text, nocase));
            }
        }
    }
}
