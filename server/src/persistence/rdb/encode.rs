//! Writing: what the engine's thread does, which is little more than to copy.
//!
//! A [`Draft`] takes the bytes as they will be in the file, but for what another thread can do as well: it notes where
//! the strings lie that compression may shorten, and leaves them to the [`super::Finisher`].

use redstart_common::number::parse_i64;

use super::format::{opcode, special};
use super::slicer::Slicer;
use crate::keyspace::Entry;
use crate::persistence::rdb::decode::Usage;
use crate::persistence::rdb::format::{VERSION, VERSION_FIELD_DEADLINES};

/// Strings of more bytes are tried to be compressed.
const COMPRESSED_FROM: usize = 20;
/// The longest text that is tried as an integer.
const INTEGER_TEXT_MAX: usize = 11;
/// Bytes an entry may need beside its key and its string.
const OVERHEAD: usize = 40;

/// A string in a [`Draft`] that compression may shorten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    /// Where its length is written.
    pub at: usize,
    /// Bytes of the string, which stand behind its length.
    pub length: usize,
}

/// RDB bytes before compression and checksum. A snapshot may go out in many drafts; only their order counts.
#[derive(Debug, Default)]
pub struct Draft {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The strings among them that compression may shorten, in order.
    pub texts: Vec<Text>,
    /// Whether the last byte is that of the end of the file.
    pub is_last: bool,
}

impl Draft {
    /// Forgets what is in it and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.texts.clear();
        self.is_last = false;
    }

    #[inline]
    pub(in crate::persistence) fn put_length(&mut self, length: u64) {
        put_length(&mut self.bytes, length);
    }

    pub(super) fn put_int(&mut self, number: i64) {
        let out = &mut self.bytes;
        if let Ok(number) = i8::try_from(number) {
            out.extend_from_slice(&[0xc0 | special::INT8, number as u8]);
        } else if let Ok(number) = i16::try_from(number) {
            let [low, high] = number.to_le_bytes();
            out.extend_from_slice(&[0xc0 | special::INT16, low, high]);
        } else if let Ok(number) = i32::try_from(number) {
            out.push(0xc0 | special::INT32);
            out.extend_from_slice(&number.to_le_bytes());
        } else {
            self.put_plain(itoa::Buffer::new().format(number).as_bytes());
        }
    }

    /// A string that stays text.
    #[inline]
    pub(in crate::persistence) fn put_plain(&mut self, text: &[u8]) {
        if text.len() > COMPRESSED_FROM {
            self.texts.push(Text { at: self.bytes.len(), length: text.len() });
        }
        self.put_length(text.len() as u64);
        self.bytes.extend_from_slice(text);
    }

    /// A string; a short one that is the text of an integer as one.
    #[inline]
    pub(in crate::persistence) fn put_text(&mut self, text: &[u8]) {
        match text {
            [b'-' | b'0'..=b'9', ..] if text.len() <= INTEGER_TEXT_MAX => match parse_i64(text) {
                Some(number) => self.put_int(number),
                None => self.put_plain(text),
            },
            _ => self.put_plain(text),
        }
    }

    fn put_aux(&mut self, name: &str, value: &[u8]) {
        self.bytes.push(opcode::AUX);
        self.put_text(name.as_bytes());
        self.put_text(value);
    }
}

/// Appends a length.
#[inline]
pub(super) fn put_length(out: &mut Vec<u8>, length: u64) {
    match length {
        0..64 => out.push(length as u8),
        64..16_384 => out.extend_from_slice(&[0x40 | (length >> 8) as u8, length as u8]),
        _ => match u32::try_from(length) {
            Ok(length) => {
                out.push(0x80);
                out.extend_from_slice(&length.to_be_bytes());
            }
            Err(_) => {
                out.push(0x81);
                out.extend_from_slice(&length.to_be_bytes());
            }
        },
    }
}

/// Bytes that a length takes.
pub(super) fn length_bytes(length: usize) -> usize {
    match length {
        0..64 => 1,
        64..16_384 => 2,
        16_384..=0xffff_ffff => 5,
        _ => 9,
    }
}

/// What a file says of itself at its beginning.
#[derive(Debug, Clone, Default)]
pub struct About<'a> {
    /// When it is written, in seconds since 1970.
    pub written_at_seconds: i64,
    /// Memory that the data takes at that time, in bytes.
    pub used_memory: u64,
    /// Where in the stream of a primary the data belongs.
    pub replication: Option<Replication<'a>>,
    /// Whether the file is the base of an append-only log.
    pub is_log_base: bool,
    /// Whether fields of hashes may have deadlines.
    pub has_field_deadlines: bool,
}

/// A place in the stream of a primary.
#[derive(Debug, Clone)]
pub struct Replication<'a> {
    /// The database that is selected there; -1 is none.
    pub selected_db: i64,
    /// The primary's id of 40 hexadecimal digits.
    pub id: &'a str,
    /// Bytes of the stream before that place.
    pub offset: i64,
}

/// Begins a file.
pub fn begin(draft: &mut Draft, about: &About<'_>) {
    let number = |number: i64| number.to_string().into_bytes();
    let version = if about.has_field_deadlines { VERSION_FIELD_DEADLINES } else { VERSION };
    draft.bytes.extend_from_slice(format!("REDIS{version:04}").as_bytes());
    draft.put_aux("redis-ver", crate::REDIS_VERSION.as_bytes());
    draft.put_aux("redis-bits", &number(i64::from(usize::BITS)));
    draft.put_aux("ctime", &number(about.written_at_seconds));
    draft.put_aux("used-mem", about.used_memory.to_string().as_bytes());
    if let Some(place) = &about.replication {
        draft.put_aux("repl-stream-db", &number(place.selected_db));
        draft.put_aux("repl-id", place.id.as_bytes());
        draft.put_aux("repl-offset", &number(place.offset));
    }
    draft.put_aux("aof-base", &number(i64::from(about.is_log_base)));
}

/// What [`aux`] is called that names the slots whose keys lie aside: `0-9 20-29`.
pub const SLOTS_ASIDE: &str = "redstart-slots-aside";

/// Says something of the file. Readers pass over what they do not know.
pub fn aux(draft: &mut Draft, name: &str, value: &[u8]) {
    draft.put_aux(name, value);
}

/// Adds a library of functions: its code as FUNCTION LOAD took it.
pub fn function(draft: &mut Draft, code: &[u8]) {
    draft.bytes.push(opcode::FUNCTION2);
    draft.put_text(code);
}

/// Says that the entries that follow belong to database `db`, which has so many keys, of them `volatile` with a deadline.
/// The numbers are a hint for whoever loads them.
pub fn select(draft: &mut Draft, db: usize, keys: usize, volatile: usize) {
    draft.bytes.push(opcode::SELECTDB);
    draft.put_length(db as u64);
    draft.bytes.push(opcode::RESIZEDB);
    draft.put_length(keys as u64);
    draft.put_length(volatile as u64);
}

/// Adds an entry as a whole. See [`Slicer`] for large ones.
#[inline]
pub fn entry(draft: &mut Draft, entry: &Entry, usage: Usage) {
    let mut slicer = Slicer::begin(draft, entry, usage);
    while !slicer.advance(draft, entry, usize::MAX) {}
}

/// Writes what stands before a value.
#[inline]
pub(super) fn head(draft: &mut Draft, entry: &Entry, usage: Usage, kind: u8) {
    let key = entry.key();
    draft.bytes.reserve(key.len() + OVERHEAD);
    if let Some(deadline) = entry.deadline() {
        draft.bytes.push(opcode::EXPIRETIME_MS);
        draft.bytes.extend_from_slice(&deadline.to_le_bytes());
    }
    match usage {
        Usage::Unknown => {}
        Usage::IdleSeconds(seconds) => {
            draft.bytes.push(opcode::IDLE);
            draft.put_length(seconds);
        }
        Usage::Frequency(count) => draft.bytes.extend_from_slice(&[opcode::FREQ, count]),
    }
    draft.bytes.push(kind);
    draft.put_text(key);
}

/// Ends the file, but for its checksum.
pub fn end(draft: &mut Draft) {
    draft.bytes.push(opcode::EOF);
    draft.is_last = true;
}
