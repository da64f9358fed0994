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
    crc16::State::<crc16::XMODEM>::calculate(hash_tag(key, *b"{}")) & (SLOT_COUNT - 1)
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
        fn redis_protocol_finds_the_same_slot(key in "[{}a-c]{0,12}") {
            prop_assert_eq!(key_slot(key.as_bytes()), redis_protocol::redis_keyslot(key.as_bytes()));
        }
    }
}
