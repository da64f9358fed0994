//! Bob Jenkins's one-at-a-time hash.

use super::CharSign;

pub(super) fn one_at_a_time(key: &[u8], sign: CharSign) -> u32 {
    let mut hash: u32 = 0;
    for &byte in key {
        hash = hash.wrapping_add(sign.widen(byte));
        hash = hash.wrapping_add(hash << 10);
        hash ^= hash >> 6;
    }
    hash = hash.wrapping_add(hash << 3);
    hash ^= hash >> 11;
    hash.wrapping_add(hash << 15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::check_golden;

    #[test]
    fn equals_twemproxy() {
        let ascii = [3392050242, 596015325, 2297466611, 3043211087, 1504538723];
        let [a, b, c, d, e] = ascii;
        check_golden(
            |key| one_at_a_time(key, CharSign::Signed),
            [a, b, c, d, e, 3650908318, 565816914],
        );
        check_golden(
            |key| one_at_a_time(key, CharSign::Unsigned),
            [a, b, c, d, e, 2425794034, 1604962594],
        );
    }
}
