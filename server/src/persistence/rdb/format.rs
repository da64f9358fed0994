//! The numbers of the format (redis `rdb.h`).

use crc::{CRC_64_REDIS, Crc, Table};

/// The version of the format that is written.
pub const VERSION: u16 = 10;
/// The version that is written where fields of hashes have deadlines (Redis 7.4's).
pub const VERSION_FIELD_DEADLINES: u16 = 12;
/// The version of payloads with what producers of a stream have named (Redis 8.6's).
pub const VERSION_NAMES: u16 = 13;
/// The highest version of Redis that is read (8.8's).
pub const VERSION_MAX: u16 = 14;
/// The version of Valkey's own that is read.
pub(super) const VERSION_VALKEY: u16 = 80;
/// The first version that ends in a checksum.
pub(super) const VERSION_CHECKSUM: u16 = 5;
/// Bytes of what a file begins with: the name of the format and its version.
pub(super) const MAGIC_BYTES: usize = 9;

/// The checksum of files and payloads.
pub(crate) static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// What precedes an entry or stands between entries.
pub(in crate::persistence) mod opcode {
    pub const SLOT_IMPORT: u8 = 243;
    pub const SLOT_INFO: u8 = 244;
    pub const FUNCTION2: u8 = 245;
    pub const FUNCTION: u8 = 246;
    pub const MODULE_AUX: u8 = 247;
    pub const IDLE: u8 = 248;
    pub const FREQ: u8 = 249;
    pub const AUX: u8 = 250;
    pub const RESIZEDB: u8 = 251;
    pub const EXPIRETIME_MS: u8 = 252;
    pub const EXPIRETIME: u8 = 253;
    pub const SELECTDB: u8 = 254;
    pub const EOF: u8 = 255;
    /// The lowest of them; what is below are types of values.
    pub const LOWEST: u8 = SLOT_IMPORT;
}

/// The types of values, by the form they have in the file.
pub(crate) mod kind {
    pub const STRING: u8 = 0;
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    /// Scores are texts.
    pub const ZSET_TEXT: u8 = 3;
    pub const HASH: u8 = 4;
    pub const ZSET: u8 = 5;
    pub const MODULE: u8 = 6;
    pub const MODULE_2: u8 = 7;
    pub const HASH_ZIPMAP: u8 = 9;
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    pub const ZSET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    pub const LIST_QUICKLIST: u8 = 14;
    pub const STREAM: u8 = 15;
    pub const HASH_LISTPACK: u8 = 16;
    pub const ZSET_LISTPACK: u8 = 17;
    pub const LIST_QUICKLIST_2: u8 = 18;
    pub const STREAM_2: u8 = 19;
    pub const SET_LISTPACK: u8 = 20;
    pub const STREAM_3: u8 = 21;
    /// Deadlines of fields as they are (Redis 7.4 before its release). Valkey gave the number to another form.
    pub const HASH_DEADLINES_EARLY: u8 = 22;
    /// Fields, values and deadlines in one listpack (Redis 7.4 before its release).
    pub const HASH_LISTPACK_DEADLINES_EARLY: u8 = 23;
    /// Deadlines of fields relative to the nearest.
    pub const HASH_DEADLINES: u8 = 24;
    /// As [`HASH_LISTPACK_DEADLINES_EARLY`], behind the nearest deadline.
    pub const HASH_LISTPACK_DEADLINES: u8 = 25;
    /// With what is known of producers (Redis 8.6).
    pub const STREAM_4: u8 = 26;
    /// As [`STREAM_4`], with pending entries that are nobody's (Redis 8.8).
    pub const STREAM_5: u8 = 27;
    /// Valkey's: field, value, deadline. Not a number of the file but ours, for Valkey's 22.
    pub const HASH_DEADLINES_VALKEY: u8 = 0x80;

    /// Whether a number in a file is a type at all.
    pub fn is_known(kind: u8) -> bool {
        matches!(kind, 0..=7 | 9..=STREAM_5)
    }
}

/// How a length that is none says what follows.
pub(super) mod special {
    pub const INT8: u8 = 0;
    pub const INT16: u8 = 1;
    pub const INT32: u8 = 2;
    pub const LZF: u8 = 3;
}

/// A node of a list that is one element.
pub(super) const NODE_PLAIN: u64 = 1;
/// A node of a list that is a listpack.
pub(super) const NODE_PACKED: u64 = 2;

/// What a value of a module is made of; each part stands behind its number.
pub(super) mod module {
    pub const END: u64 = 0;
    pub const SINT: u64 = 1;
    pub const UINT: u64 = 2;
    pub const FLOAT: u64 = 3;
    pub const DOUBLE: u64 = 4;
    pub const STRING: u64 = 5;
}
