//! CRC-32, and what twemproxy calls `crc32`: fifteen of its bits, for the sake of old clients.

pub(super) fn crc32(key: &[u8]) -> u32 {
    !key.iter().fold(!0, |crc: u32, &byte| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)])
}

pub(super) fn fifteen_bits(key: &[u8]) -> u32 {
    (crc32(key) >> 16) & 0x7fff
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ 0xedb8_8320 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::check_golden;

    #[test]
    fn equals_twemproxy() {
        check_golden(
            crc32,
            [3904355907, 2356372769, 2838417488, 2675185635, 4073842076, 2561491637, 224216354],
        );
        check_golden(fifteen_bits, [26807, 3187, 10542, 8052, 29393, 6317, 3421]);
    }

    #[test]
    fn equals_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
