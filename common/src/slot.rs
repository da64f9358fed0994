//! Hash tags, and the slot of a key in a Redis Cluster.

/// Slots of a cluster.
pub const SLOT_COUNT: u16 = 16384;

// `crc & (SLOT_COUNT - 1)` stands for `crc % SLOT_COUNT`; that holds only for a power of two.
const _: () = assert!(SLOT_COUNT.is_power_of_two());

/// The part of `key` that decides where it lies: what stands between the first `tag[0]` and the first `tag[1]` after
/// it, if there is at least a byte; otherwise the whole key. Redis Cluster, twemproxy and predixy agree on this.
#[must_use]
#[inline]
pub fn hash_tag(key: &[u8], tag: [u8; 2]) -> &[u8] {
    let Some(open) = memchr::memchr(tag[0], key) else { return key };
    let after = &key[open + 1..];
    match memchr::memchr(tag[1], after) {
        Some(len) if len > 0 => &after[..len],
        _ => key,
    }
}

/// The slot of `key`: its CRC-16, or that of its `{tag}`.
#[must_use]
#[inline]
pub fn key_slot(key: &[u8]) -> u16 {
    crc(hash_tag(key, *b"{}")) & (SLOT_COUNT - 1)
}

/// Bytes that are taken at once.
const STRIDE: usize = 8;

/// The checksums of each byte when so many bytes of zeros follow.
static FOLLOWED: [[u16; 256]; STRIDE] = followed();

const fn followed() -> [[u16; 256]; STRIDE] {
    let mut tables = [[0; 256]; STRIDE];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = (byte as u16) << 8;
        let mut zeros = 0;
        while zeros < STRIDE {
            let mut bit = 0;
            while bit < 8 {
                sum = if sum & 0x8000 == 0 { sum << 1 } else { sum << 1 ^ 0x1021 };
                bit += 1;
            }
            tables[zeros][byte] = sum;
            zeros += 1;
        }
        byte += 1;
    }
    tables
}

/// The CRC-16 of XMODEM, as the package `crc16` computes it. A node of a cluster needs it several times for each request, and
/// that package's way, byte after byte, takes three times as long for a usual key: each byte waits for the one before.
#[inline]
fn crc(bytes: &[u8]) -> u16 {
    let (chunks, rest) = bytes.as_chunks::<STRIDE>();
    let mut sum = 0_u16;
    for chunk in chunks {
        let [high, low] = sum.to_be_bytes();
        let [a, b, c, d, e, f, g, h] = *chunk;
        let terms = [a ^ high, b ^ low, c, d, e, f, g, h];
        sum = 0;
        for (place, term) in terms.into_iter().enumerate() {
            sum ^= FOLLOWED[STRIDE - 1 - place][usize::from(term)];
        }
    }
    for byte in rest {
        sum = sum << 8 ^ FOLLOWED[0][usize::from((sum >> 8) as u8 ^ byte)];
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_tag_is_the_first_pair_if_it_holds_anything() {
        for (key, part) in [
            ("user:{42}:name", "42"),
            ("{a}{b}", "a"),
            ("{}{b}", "{}{b}"),
            ("{a", "{a"),
            ("a}", "a}"),
            ("}a{b}", "b"),
            ("{{a}}", "{a"),
            ("", ""),
        ] {
            assert_eq!(hash_tag(key.as_bytes(), *b"{}"), part.as_bytes(), "{key}");
        }
        assert_eq!(hash_tag(b"x$tag$y", *b"$$"), b"tag");
    }

    #[test]
    fn slots_equal_those_of_redis() {
        for (key, slot) in [
            ("foo", 12182),
            ("", 0),
            ("123456789", 12739),
            ("{user1000}.following", 3443),
            ("foo{}{bar}", 8363),
        ] {
            assert_eq!(key_slot(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(key_slot(b"{user1000}.followers"), key_slot(b"user1000"));
    }

    proptest! {
        #[test]
        fn the_checksum_is_that_of_the_package(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
            prop_assert_eq!(crc(&bytes), crc16::State::<crc16::XMODEM>::calculate(&bytes));
        }

        #[test]
        fn redis_protocol_finds_the_same_slot(key in "[{}a-c]{0,12}") {
            prop_assert_eq!(key_slot(key.as_bytes()), redis_protocol::redis_keyslot(key.as_bytes()));
        }
    }
}
