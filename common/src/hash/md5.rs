//! MD5 as a hash: the first four bytes of the digest. ketama's ring uses the whole digest.

/// The MD5 digest of `bytes`.
#[must_use]
pub fn digest(bytes: &[u8]) -> [u8; 16] {
    md5::compute(bytes).0
}

pub(super) fn md5(key: &[u8]) -> u32 {
    let [a, b, c, d, ..] = digest(key);
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::check_golden;

    #[test]
    fn equals_twemproxy() {
        check_golden(
            md5,
            [3111502092, 3675831724, 3195025439, 781738503, 552926717, 3833532679, 4143271320],
        );
    }

    #[test]
    fn ring_words_equal_twemproxy() {
        let digest = digest(b"server1-8");
        let word =
            |index: usize| u32::from_le_bytes(digest[4 * index..4 * index + 4].try_into().unwrap());
        assert_eq!((word(0), word(3)), (3853726576, 2667054752));
    }
}
