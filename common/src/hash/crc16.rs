//! CRC-16/XMODEM, true and as twemproxy computes it.

use crc16::{State, XMODEM};

/// The CRC that Redis Cluster and predixy use.
#[inline]
pub(super) fn crc16(key: &[u8]) -> u16 {
    State::<XMODEM>::calculate(key)
}

/// twemproxy's: the register has 32 bits and is never cut to 16, so what is shifted out stays above. All of it
/// is used.
pub(super) fn unmasked(key: &[u8]) -> u32 {
    key.iter().fold(0, |crc: u32, &byte| {
        (crc << 8) ^ u32::from(TABLE[usize::from((crc >> 8) as u8 ^ byte)])
    })
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hash::check_golden;

    #[test]
    fn equals_twemproxy() {
        check_golden(
            unmasked,
            [31879, 205303702, 3662830516, 3781445233, 695964620, 4129724007, 512935130],
        );
    }

    #[test]
    fn the_true_crc_equals_redis() {
        for (key, crc) in [
            ("a", 31879),
            ("foo", 44950),
            ("apple", 23476),
            ("user:1000", 18033),
            ("key:000000000123", 37836),
        ] {
            assert_eq!(crc16(key.as_bytes()), crc, "{key}");
        }
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    proptest! {
        #[test]
        fn residue_lies_only_above_the_crc(key: Vec<u8>) {
            prop_assert_eq!(unmasked(&key) as u16, crc16(&key));
        }
    }
}
