//! Which register an element belongs to, and what it offers it: MurmurHash64A, read as little endian everywhere.

use super::REGISTERS;

const SEED: u64 = 0xadc8_3b19;
const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
const SHIFT: u32 = 47;

/// Bits of the hash that choose the register.
const INDEX_BITS: u32 = REGISTERS.trailing_zeros();

fn murmur64a(bytes: &[u8]) -> u64 {
    // The original's length is a signed number of 32 bits, which the longest argument does not pass by default.
    let mut hash = SEED ^ (bytes.len() as i32 as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        word = (word ^ (word >> SHIFT)).wrapping_mul(MULTIPLIER);
        hash = (hash ^ word).wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let word = rest.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte));
        hash = (hash ^ word).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> SHIFT)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> SHIFT)
}

/// The register of an element, and the number it offers: from 1 to 51.
#[must_use]
pub fn offer(element: &[u8]) -> (usize, u8) {
    let hash = murmur64a(element);
    let index = hash as usize % REGISTERS;
    // The bit behind the last ends a row of zeros that would have no end.
    let rest = (hash >> INDEX_BITS) | (1 << (64 - INDEX_BITS));
    (index, rest.trailing_zeros() as u8 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_are_those_of_redis() {
        // Read with PFDEBUG DECODE of redis-server 7.0.15 after PFADD of the one element.
        for (element, index, number) in GOLDEN {
            assert_eq!(offer(element.as_bytes()), (*index, *number), "{element}");
        }
    }

    const GOLDEN: &[(&str, usize, u8)] = &[
        ("", 5938, 2),
        ("a", 12711, 2),
        ("abc", 9474, 1),
        ("hello", 9216, 1),
        ("12345678", 10579, 3),
        ("123456789", 9293, 2),
        ("The quick brown fox jumps over the lazy dog", 6862, 4),
        ("foo", 7348, 5),
    ];
}
