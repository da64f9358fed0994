//! predixy's `atol`: the number that a key begins with.

/// An optional sign and digits up to the first other byte; 0 without digits; wraps at 64 bits.
pub(super) fn atol(key: &[u8]) -> i64 {
    let (negative, digits) = match key {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, key),
    };
    let magnitude = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0i64, |value, &byte| value.wrapping_mul(10).wrapping_add(i64::from(byte - b'0')));
    if negative { magnitude.wrapping_neg() } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{CharSign, HashKind};

    #[test]
    fn keys_begin_with_numbers() {
        for (key, number) in [
            ("12", 12),
            ("-12abc", -12),
            ("+7", 7),
            ("", 0),
            ("-", 0),
            ("abc1", 0),
            (" 1", 0),
            ("--1", 0),
            ("18446744073709551617", 1),
        ] {
            assert_eq!(atol(key.as_bytes()), number, "{key}");
        }
    }

    #[test]
    fn negative_numbers_are_divided_as_unsigned_ones() {
        let hash = HashKind::Atol.hash(b"-1", CharSign::Signed);
        assert_eq!((hash % 3, hash % 5, hash % 7), (0, 0, 1));
    }
}
