//! Paul Hsieh's SuperFastHash, begun at 0 rather than at the key's length.

use super::CharSign;

pub(super) fn hsieh(key: &[u8], sign: CharSign) -> u32 {
    if key.is_empty() {
        return 0;
    }
    let pair = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]));
    let mut hash: u32 = 0;
    let mut quads = key.chunks_exact(4);
    for quad in &mut quads {
        hash = hash.wrapping_add(pair(quad[0], quad[1]));
        hash = (hash << 16) ^ (pair(quad[2], quad[3]) << 11) ^ hash;
        hash = hash.wrapping_add(hash >> 11);
    }
    match *quads.remainder() {
        [a, b, c] => {
            hash = hash.wrapping_add(pair(a, b));
            hash ^= hash << 16;
            // The one byte that is read through a plain char.
            hash ^= sign.widen(c) << 18;
            hash = hash.wrapping_add(hash >> 11);
        }
        [a, b] => {
            hash = hash.wrapping_add(pair(a, b));
            hash ^= hash << 11;
            hash = hash.wrapping_add(hash >> 17);
        }
        [a] => {
            hash = hash.wrapping_add(u32::from(a));
            hash ^= hash << 10;
            hash = hash.wrapping_add(hash >> 1);
        }
        _ => {}
    }
    hash ^= hash << 3;
    hash = hash.wrapping_add(hash >> 5);
    hash ^= hash << 4;
    hash = hash.wrapping_add(hash >> 17);
    hash ^= hash << 25;
    hash.wrapping_add(hash >> 6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::check_golden;

    #[test]
    fn equals_twemproxy() {
        for sign in [CharSign::Signed, CharSign::Unsigned] {
            check_golden(
                |key| hsieh(key, sign),
                [2472816263, 1993659431, 3738850110, 3723237737, 1842852004, 3728705621, 642505427],
            );
        }
        assert_eq!(hsieh(b"", CharSign::Signed), 0);
    }

    #[test]
    fn only_the_third_byte_left_over_has_a_sign() {
        assert_ne!(hsieh(b"ab\xff", CharSign::Signed), hsieh(b"ab\xff", CharSign::Unsigned));
        for key in [&b"\xff"[..], b"\xff\xff", b"\xff\xff\xff\xff", b"\xff\xffa"] {
            assert_eq!(hsieh(key, CharSign::Signed), hsieh(key, CharSign::Unsigned));
        }
    }
}
