//! The four FNV hashes of twemproxy.
//!
//! The 64-bit ones are cut to 32 bits, and the lower half of a product depends on the lower halves of its factors
//! only, so they are computed in 32 bits.

use std::hash::Hasher as _;

use super::CharSign;

const OFFSET_32: u32 = 2_166_136_261;
const PRIME_32: u32 = 16_777_619;
/// Lower half of 0xcbf29ce484222325.
const OFFSET_64_LOW: u32 = 0x8422_2325;
/// Lower half of 0x100000001b3.
const PRIME_64_LOW: u32 = 0x1b3;

pub(super) fn fnv1_32(key: &[u8], sign: CharSign) -> u32 {
    fnv1(key, sign, OFFSET_32, PRIME_32)
}

pub(super) fn fnv1a_32(key: &[u8], sign: CharSign) -> u32 {
    fnv1a(key, sign, OFFSET_32, PRIME_32)
}

pub(super) fn fnv1_64(key: &[u8], sign: CharSign) -> u32 {
    fnv1(key, sign, OFFSET_64_LOW, PRIME_64_LOW)
}

#[inline]
pub(super) fn fnv1a_64(key: &[u8], sign: CharSign) -> u32 {
    match sign {
        CharSign::Signed => fnv1a(key, sign, OFFSET_64_LOW, PRIME_64_LOW),
        // Without the sign this is FNV-1a as everyone knows it.
        CharSign::Unsigned => {
            let mut hasher = fnv::FnvHasher::default();
            hasher.write(key);
            hasher.finish() as u32
        }
    }
}

#[inline]
fn fnv1(key: &[u8], sign: CharSign, offset: u32, prime: u32) -> u32 {
    key.iter().fold(offset, |hash, &byte| hash.wrapping_mul(prime) ^ sign.widen(byte))
}

#[inline]
fn fnv1a(key: &[u8], sign: CharSign, offset: u32, prime: u32) -> u32 {
    key.iter().fold(offset, |hash, &byte| (hash ^ sign.widen(byte)).wrapping_mul(prime))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hash::check_golden;

    /// A hash, and its numbers for five ASCII keys and for two others with a signed and with an unsigned char.
    struct Row(fn(&[u8], CharSign) -> u32, [u32; 5], [u32; 2], [u32; 2]);

    #[test]
    fn equals_twemproxy() {
        let rows = [
            Row(
                fnv1_64,
                [2248259518, 1805727027, 473199127, 3550362913, 2116358108],
                [2315714289, 1813151649],
                [2315665649, 1776848289],
            ),
            Row(
                fnv1a_64,
                [2248273036, 4275688823, 1488911807, 2927313545, 1959240562],
                [3472276361, 1912656593],
                [3483635081, 3850884305],
            ),
            Row(
                fnv1_32,
                [84696446, 1083137555, 67176023, 2796551329, 2889468604],
                [3598905713, 817040737],
                [1719915377, 1921939297],
            ),
            Row(
                fnv1a_32,
                [3826002220, 2851307223, 280767167, 1350311305, 2400171762],
                [1970454601, 3000832017],
                [2821410889, 631952401],
            ),
        ];
        for Row(hash, [a, b, c, d, e], [f, g], [h, i]) in rows {
            check_golden(|key| hash(key, CharSign::Signed), [a, b, c, d, e, f, g]);
            check_golden(|key| hash(key, CharSign::Unsigned), [a, b, c, d, e, h, i]);
        }
    }

    proptest! {
        #[test]
        fn half_the_width_is_enough(key in "[ -~]{0,40}") {
            prop_assert_eq!(
                fnv1a_64(key.as_bytes(), CharSign::Signed),
                fnv1a_64(key.as_bytes(), CharSign::Unsigned)
            );
        }
    }
}
