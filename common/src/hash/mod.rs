//! The key hashes of twemproxy and predixy, exactly, so that keys stay where those proxies put them.
//!
//! Several differ from the functions they are named after. twemproxy reads keys through C's `char`, which is signed
//! on x86 and unsigned on ARM: the same configuration sends non-ASCII keys to other servers there, hence
//! [`CharSign`]. Which bytes of a key are hashed is settled before (see [`slot::hash_tag`](crate::slot::hash_tag)).

mod atol;
mod crc16;
mod crc32;
mod fnv;
mod hsieh;
mod jenkins;
mod md5;
mod murmur;
mod one_at_a_time;

pub use md5::digest as md5_digest;

/// Whether the machine whose placement is followed has a signed `char`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CharSign {
    /// x86: bytes from 0x80 on count as negative.
    #[default]
    Signed,
    /// Linux on ARM.
    Unsigned,
}

impl CharSign {
    /// The byte as C widens it to 32 bits.
    #[inline]
    fn widen(self, byte: u8) -> u32 {
        match self {
            Self::Signed => byte as i8 as u32,
            Self::Unsigned => u32::from(byte),
        }
    }
}

/// A hash by its name in a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HashKind {
    /// Jenkins's one-at-a-time.
    OneAtATime,
    /// The first four bytes of the MD5 digest.
    Md5,
    /// twemproxy's CRC-16, which keeps residue above its sixteen bits.
    Crc16,
    /// twemproxy's CRC-32 of fifteen bits.
    Crc32,
    /// CRC-32 as everywhere.
    Crc32a,
    /// The lower half of FNV-1 with 64 bits.
    Fnv1With64,
    /// The lower half of FNV-1a with 64 bits: twemproxy's default.
    #[default]
    Fnv1aWith64,
    /// FNV-1 with 32 bits.
    Fnv1With32,
    /// FNV-1a with 32 bits.
    Fnv1aWith32,
    /// Paul Hsieh's SuperFastHash, begun at 0.
    Hsieh,
    /// MurmurHash2 with twemproxy's seed.
    Murmur,
    /// Bob Jenkins's lookup3.
    Jenkins,
    /// predixy's: the number that the key begins with, which may be negative.
    Atol,
    /// predixy's CRC-16: Redis Cluster's, before it is reduced to a slot.
    PredixyCrc16,
}

impl HashKind {
    /// Every hash, twemproxy's in its own order and then predixy's.
    pub const ALL: [Self; 14] = [
        Self::OneAtATime,
        Self::Md5,
        Self::Crc16,
        Self::Crc32,
        Self::Crc32a,
        Self::Fnv1With64,
        Self::Fnv1aWith64,
        Self::Fnv1With32,
        Self::Fnv1aWith32,
        Self::Hsieh,
        Self::Murmur,
        Self::Jenkins,
        Self::Atol,
        Self::PredixyCrc16,
    ];

    /// The name in a configuration. Both proxies call their CRC-16 `crc16`; here that is twemproxy's.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OneAtATime => "one_at_a_time",
            Self::Md5 => "md5",
            Self::Crc16 => "crc16",
            Self::Crc32 => "crc32",
            Self::Crc32a => "crc32a",
            Self::Fnv1With64 => "fnv1_64",
            Self::Fnv1aWith64 => "fnv1a_64",
            Self::Fnv1With32 => "fnv1_32",
            Self::Fnv1aWith32 => "fnv1a_32",
            Self::Hsieh => "hsieh",
            Self::Murmur => "murmur",
            Self::Jenkins => "jenkins",
            Self::Atol => "atol",
            Self::PredixyCrc16 => "crc16_predixy",
        }
    }

    /// The hash of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The hash of `key`. All are 32-bit numbers but `atol`, whose negative numbers appear as predixy divides
    /// them: as unsigned 64-bit ones. `sign` matters to the hashes that read bytes as `char`.
    #[must_use]
    #[inline]
    pub fn hash(self, key: &[u8], sign: CharSign) -> u64 {
        let hash = match self {
            Self::OneAtATime => one_at_a_time::one_at_a_time(key, sign),
            Self::Md5 => md5::md5(key),
            Self::Crc16 => crc16::unmasked(key),
            Self::Crc32 => crc32::fifteen_bits(key),
            Self::Crc32a => crc32::crc32(key),
            Self::Fnv1With64 => fnv::fnv1_64(key, sign),
            Self::Fnv1aWith64 => fnv::fnv1a_64(key, sign),
            Self::Fnv1With32 => fnv::fnv1_32(key, sign),
            Self::Fnv1aWith32 => fnv::fnv1a_32(key, sign),
            Self::Hsieh => hsieh::hsieh(key, sign),
            Self::Murmur => murmur::murmur(key),
            Self::Jenkins => jenkins::jenkins(key),
            Self::Atol => return atol::atol(key) as u64,
            Self::PredixyCrc16 => u32::from(crc16::crc16(key)),
        };
        u64::from(hash)
    }
}

impl std::fmt::Display for HashKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no hash's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no hash has this name")]
pub struct UnknownHash;

impl std::str::FromStr for HashKind {
    type Err = UnknownHash;

    fn from_str(name: &str) -> Result<Self, UnknownHash> {
        Self::from_name(name).ok_or(UnknownHash)
    }
}

/// Keys whose hashes were taken from twemproxy 0.5.0 itself; each function's file has its row.
#[cfg(test)]
const GOLDEN_KEYS: [&[u8]; 7] =
    [b"a", b"foo", b"apple", b"user:1000", b"key:000000000123", "café".as_bytes(), b"\xff\x80\x01"];

/// Compares a hash with the numbers recorded for [`GOLDEN_KEYS`].
#[cfg(test)]
fn check_golden(hash: impl Fn(&[u8]) -> u32, recorded: [u32; 7]) {
    for (key, expected) in GOLDEN_KEYS.into_iter().zip(recorded) {
        assert_eq!(hash(key), expected, "{}", key.escape_ascii());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_hash_is_found_by_its_name() {
        for kind in HashKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert_eq!("sha1".parse::<HashKind>(), Err(UnknownHash));
        assert_eq!(HashKind::default().name(), "fnv1a_64");
    }

    proptest! {
        #[test]
        fn any_key_has_a_hash_and_ascii_has_no_sign(key: Vec<u8>, text in "[ -~]{0,40}") {
            for kind in HashKind::ALL {
                let _ = kind.hash(&key, CharSign::Signed);
                prop_assert_eq!(
                    kind.hash(text.as_bytes(), CharSign::Signed),
                    kind.hash(text.as_bytes(), CharSign::Unsigned)
                );
            }
        }
    }
}
