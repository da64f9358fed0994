//! MurmurHash2 with 32 bits, seeded with a multiple of the length.

const MULTIPLIER: u32 = 0x5bd1_e995;

pub(super) fn murmur(key: &[u8]) -> u32 {
    // The original's length is a 32-bit number as well.
    let len = key.len() as u32;
    let mut hash = 0xdead_beef_u32.wrapping_mul(len) ^ len;
    let mut quads = key.chunks_exact(4);
    for quad in &mut quads {
        let mut word =
            u32::from_le_bytes([quad[0], quad[1], quad[2], quad[3]]).wrapping_mul(MULTIPLIER);
        word = (word ^ (word >> 24)).wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER) ^ word;
    }
    let rest = quads.remainder();
    if !rest.is_empty() {
        let word = rest.iter().rev().fold(0, |word, &byte| (word << 8) | u32::from(byte));
        hash = (hash ^ word).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::check_golden;

    #[test]
    fn equals_twemproxy() {
        check_golden(
            murmur,
            [1262581116, 3303027599, 4142305122, 2384768711, 3816643891, 3658586143, 3541589279],
        );
    }
}
