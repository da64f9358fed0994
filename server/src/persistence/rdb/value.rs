//! Reading one value, of any form that Redis ever wrote.
//!
//! All is checked to the last byte whatever `sanitize-dump-payload` says, for what lies in memory is trusted afterwards;
//! the setting decides whether it is counted.

use std::collections::HashSet;

use redstart_common::number::{parse_f64, parse_i64};

use super::bloom;
use super::error::{Fault, Feature, Problem, corrupt};
use super::foreign;
use super::format::{NODE_PACKED, NODE_PLAIN, kind, special};
use super::input::Input;
use crate::encoding::intset::IntSet;
use crate::encoding::listpack::Listpack;
use crate::encoding::lzf;
use crate::keyspace::Value;
use crate::keyspace::entry::VALUE_BYTES_MAX;
use crate::persistence::{ziplist, zipmap};
use crate::types::list::End;
use crate::types::{Hash, Limits, List, Object, Set, Zset};

/// The longest text that is read: with what is packed around it, it must have a length of 32 bits.
const TEXT_BYTES_MAX: u64 = VALUE_BYTES_MAX as u64 - 64;
/// The longest string that is left in the room instead of in an allocation of its own.
const SHORT_BYTES: u64 = 4096;
/// Room that is kept from one entry to the next.
const ROOM_BYTES_KEPT: usize = 1 << 20;
/// The longest text of an integer.
const INTEGER_TEXT_MAX: usize = 20;

/// Room for texts that do not lie in the input as they are.
#[derive(Default)]
pub(crate) struct Rooms {
    pub(crate) text: Vec<u8>,
    other: Vec<u8>,
    packed: Vec<u8>,
}

impl Rooms {
    /// The room for a text, and that for its packed form.
    pub(super) fn for_text(&mut self) -> (&mut Vec<u8>, &mut Vec<u8>) {
        (&mut self.text, &mut self.packed)
    }

    /// Gives back what a large text needed.
    pub(super) fn settle(&mut self) {
        for room in [&mut self.text, &mut self.other, &mut self.packed] {
            if room.capacity() > ROOM_BYTES_KEPT {
                *room = Vec::new();
            }
        }
    }
}

pub(super) enum Length {
    Count(u64),
    Special(u8),
}

pub(super) fn length(input: &mut impl Input) -> Result<Length, Fault> {
    let first = input.piece(1)?[0];
    Ok(match first >> 6 {
        0 => Length::Count(u64::from(first & 63)),
        1 => Length::Count(u64::from(first & 63) << 8 | u64::from(input.piece(1)?[0])),
        2 if first == 0x80 => Length::Count(u64::from(u32::from_be_bytes(array(input)?))),
        2 if first == 0x81 => Length::Count(u64::from_be_bytes(array(input)?)),
        3 => Length::Special(first & 63),
        _ => return Err(corrupt("Unknown length encoding 2 in rdbLoadLen()", 236)),
    })
}

/// A number where no string can stand, and so nothing special.
pub(super) fn number(input: &mut impl Input) -> Result<u64, Fault> {
    length(input).map(|length| match length {
        Length::Count(count) => count,
        Length::Special(bits) => u64::from(bits),
    })
}

pub(super) fn array<const N: usize>(input: &mut impl Input) -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    bytes.copy_from_slice(input.piece(N)?);
    Ok(bytes)
}

/// What a string begins with.
enum Head {
    Plain(usize),
    Int(i64),
    Packed { bytes: usize, length: usize },
}

fn bounded(length: u64) -> Result<usize, Fault> {
    if length > TEXT_BYTES_MAX {
        return Err(Problem::TooLong(length).into());
    }
    usize::try_from(length).map_err(|_| Problem::TooLong(length).into())
}

fn head(input: &mut impl Input) -> Result<Head, Fault> {
    Ok(match length(input)? {
        Length::Count(length) if length > input.most_left() => return Err(Problem::Short.into()),
        Length::Count(length) => Head::Plain(bounded(length)?),
        Length::Special(special::INT8) => Head::Int(i64::from(i8::from_le_bytes(array(input)?))),
        Length::Special(special::INT16) => Head::Int(i64::from(i16::from_le_bytes(array(input)?))),
        Length::Special(special::INT32) => Head::Int(i64::from(i32::from_le_bytes(array(input)?))),
        Length::Special(special::LZF) => {
            let bytes = number(input)?;
            if bytes > input.most_left() {
                return Err(Problem::Short.into());
            }
            Head::Packed { bytes: bounded(bytes)?, length: bounded(number(input)?)? }
        }
        Length::Special(other) => {
            return Err(corrupt(format!("Unknown RDB string encoding type {other}"), 529));
        }
    })
}

/// Unpacks into `room`, which is emptied before.
fn unpack(
    input: &mut impl Input,
    (bytes, length): (usize, usize),
    packed: &mut Vec<u8>,
    room: &mut Vec<u8>,
) -> Result<(), Fault> {
    let bytes = input.lend(bytes, packed)?;
    room.clear();
    if lzf::decompress_onto(bytes, length, room) {
        Ok(())
    } else {
        Err(corrupt("Invalid LZF compressed string", 413))
    }
}

/// The next text: where it lies, or in `room`.
pub(super) fn text<'a>(
    input: &'a mut impl Input,
    room: &'a mut Vec<u8>,
    packed: &mut Vec<u8>,
) -> Result<&'a [u8], Fault> {
    match head(input)? {
        Head::Plain(length) => return input.lend(length, room),
        Head::Int(number) => {
            room.clear();
            room.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
        Head::Packed { bytes, length } => unpack(input, (bytes, length), packed, room)?,
    }
    Ok(room)
}

/// The next text, copied into `room`.
pub(super) fn text_into(
    input: &mut impl Input,
    room: &mut Vec<u8>,
    packed: &mut Vec<u8>,
) -> Result<(), Fault> {
    match head(input)? {
        Head::Plain(length) => {
            room.clear();
            input.append(length, room)?;
        }
        Head::Int(number) => {
            room.clear();
            room.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
        Head::Packed { bytes, length } => unpack(input, (bytes, length), packed, room)?,
    }
    Ok(())
}

/// A string as it is kept.
pub(crate) fn string_value(text: &[u8]) -> Value {
    let number = if text.len() <= INTEGER_TEXT_MAX { parse_i64(text) } else { None };
    number.map_or_else(|| Value::Bytes(text.to_vec()), Value::Int)
}

/// Reads values from an input.
pub(crate) struct Reader<'r, I> {
    pub(crate) input: &'r mut I,
    pub(crate) rooms: &'r mut Rooms,
    pub(crate) limits: &'r Limits,
    /// Packed values that were checked.
    pub(crate) checked: u64,
}

impl<I: Input> Reader<'_, I> {
    /// A string: a long one in an allocation of its own, a short one in `rooms.text`.
    pub(crate) fn string(&mut self) -> Result<Option<Value>, Fault> {
        let room = &mut self.rooms.text;
        match head(self.input)? {
            Head::Plain(length) => {
                if length as u64 > SHORT_BYTES {
                    let mut bytes = Vec::new();
                    self.input.append(length, &mut bytes)?;
                    return Ok(Some(Value::Bytes(bytes)));
                }
                room.clear();
                self.input.append(length, room)?;
                Ok(None)
            }
            Head::Int(number) => Ok(Some(Value::Int(number))),
            Head::Packed { bytes, length } => {
                unpack(self.input, (bytes, length), &mut self.rooms.packed, room)?;
                let is_short = length as u64 <= SHORT_BYTES;
                Ok((!is_short).then(|| Value::Bytes(std::mem::take(room))))
            }
        }
    }

    /// A collection of a type.
    pub(crate) fn object(&mut self, kind: u8) -> Result<Object, Fault> {
        let object = match kind {
            kind::LIST | kind::LIST_ZIPLIST | kind::LIST_QUICKLIST | kind::LIST_QUICKLIST_2 => {
                Object::List(self.list(kind)?)
            }
            kind::SET | kind::SET_INTSET | kind::SET_LISTPACK => Object::Set(self.set(kind)?),
            kind::ZSET | kind::ZSET_TEXT => Object::Zset(self.zset(kind)?),
            kind::ZSET_LISTPACK | kind::ZSET_ZIPLIST => {
                let (reason, line) = if kind == kind::ZSET_LISTPACK {
                    ("Zset listpack integrity check failed.", 2255)
                } else {
                    ("Zset ziplist integrity check failed.", 2229)
                };
                let pack = self.packed(kind == kind::ZSET_ZIPLIST, reason, line)?;
                Object::Zset(
                    Zset::from_listpack(pack, self.limits).ok_or_else(|| corrupt(reason, line))?,
                )
            }
            kind::HASH => Object::Hash(self.hash()?),
            kind::HASH_ZIPMAP => Object::Hash(self.zipmap()?),
            kind::HASH_LISTPACK | kind::HASH_ZIPLIST => {
                let (reason, line) = if kind == kind::HASH_LISTPACK {
                    ("Hash listpack integrity check failed.", 2301)
                } else {
                    ("Hash ziplist integrity check failed.", 2275)
                };
                let pack = self.packed(kind == kind::HASH_ZIPLIST, reason, line)?;
                Object::Hash(
                    Hash::from_listpack(pack, self.limits).ok_or_else(|| corrupt(reason, line))?,
                )
            }
            kind::HASH_DEADLINES | kind::HASH_DEADLINES_EARLY | kind::HASH_DEADLINES_VALKEY => {
                Object::Hash(self.hash_with_deadlines(kind)?)
            }
            kind::HASH_LISTPACK_DEADLINES | kind::HASH_LISTPACK_DEADLINES_EARLY => {
                Object::Hash(self.packed_hash_with_deadlines(kind)?)
            }
            kind::STREAM | kind::STREAM_2 | kind::STREAM_3 | kind::STREAM_4 | kind::STREAM_5 => {
                Object::Stream(Box::new(self.stream(kind)?))
            }
            kind::MODULE | kind::MODULE_2 => {
                let id = number(self.input)?;
                if kind == kind::MODULE_2 && id == bloom::ID {
                    return Ok(Object::Bloom(Box::new(self.bloom()?)));
                }
                return Err(Feature::Module(foreign::module_name(id)).into());
            }
            other => return Err(Feature::Type(other).into()),
        };
        if object.is_empty() { Err(Fault::Empty) } else { Ok(object) }
    }

    /// The next text, in an allocation of its own.
    pub(super) fn text_into(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        text_into(self.input, out, &mut self.rooms.packed)
    }

    pub(super) fn text(&mut self) -> Result<&[u8], Fault> {
        text(self.input, &mut self.rooms.text, &mut self.rooms.packed)
    }

    /// Reads two texts and answers the second; the first is in `rooms.other`.
    fn two_texts(&mut self) -> Result<(&[u8], &[u8]), Fault> {
        text_into(self.input, &mut self.rooms.other, &mut self.rooms.packed)?;
        let second = text(self.input, &mut self.rooms.text, &mut self.rooms.packed)?;
        Ok((&self.rooms.other, second))
    }

    /// How many elements follow: at least one, and each takes a byte at least.
    fn count(&mut self) -> Result<usize, Fault> {
        match number(self.input)? {
            0 => Err(Fault::Empty),
            count if count > self.input.most_left() => Err(Problem::Short.into()),
            count => usize::try_from(count).map_err(|_| Problem::Short.into()),
        }
    }

    /// A packed value, which may be empty; `None` is damage.
    pub(super) fn listpack(&mut self) -> Result<Option<Listpack>, Fault> {
        self.checked += 1;
        Ok(Listpack::from_bytes(self.text()?))
    }

    fn packed(
        &mut self,
        is_zipped: bool,
        reason: &'static str,
        line: u16,
    ) -> Result<Listpack, Fault> {
        let pack = if is_zipped { unzipped(self.text()?) } else { self.listpack()? };
        let pack = pack.ok_or_else(|| corrupt(reason, line))?;
        if pack.is_empty() { Err(Fault::Empty) } else { Ok(pack) }
    }

    fn list(&mut self, kind: u8) -> Result<List, Fault> {
        let limits = self.limits;
        let mut list = List::default();
        if kind == kind::LIST_ZIPLIST {
            push_unzipped(self.text()?, &mut list, limits)
                .ok_or_else(|| corrupt("List ziplist integrity check failed.", 2189))?;
            return Ok(list);
        }
        for _ in 0..self.count()? {
            match kind {
                kind::LIST => list.push(End::Back, self.text()?, limits),
                kind::LIST_QUICKLIST => {
                    push_unzipped(self.text()?, &mut list, limits)
                        .ok_or_else(|| corrupt("Ziplist integrity check failed.", 2081))?;
                }
                _ => self.node(&mut list)?,
            }
        }
        Ok(list)
    }

    fn node(&mut self, list: &mut List) -> Result<(), Fault> {
        let limits = self.limits;
        match number(self.input)? {
            NODE_PLAIN => match self.text()? {
                // redis-server takes it for the end of the file too.
                b"" => return Err(Problem::Short.into()),
                text => list.push(End::Back, text, limits),
            },
            NODE_PACKED => {
                let pack = self
                    .listpack()?
                    .ok_or_else(|| corrupt("Listpack integrity check failed.", 2071))?;
                // Writers of old have left empty nodes behind.
                if !pack.is_empty() {
                    list.push_node(pack, self.limits);
                }
            }
            _ => return Err(corrupt("Quicklist integrity check failed.", 2048)),
        }
        Ok(())
    }

    fn set(&mut self, kind: u8) -> Result<Set, Fault> {
        let limits = self.limits;
        match kind {
            kind::SET_INTSET => {
                self.checked += 1;
                let ints = IntSet::from_bytes(self.text()?).filter(|ints| !ints.is_empty());
                let ints = ints.ok_or_else(|| corrupt("Intset integrity check failed.", 2214))?;
                Ok(Set::from_ints(ints, limits))
            }
            kind::SET_LISTPACK => {
                // Redis 7.2 has it; the words follow those of 7.0.15 for hashes.
                let damage = || corrupt("Set listpack integrity check failed.", 2301);
                let pack = self.listpack()?.ok_or_else(damage)?;
                let mut set = Set::default();
                for member in pack.iter() {
                    if !member.with_text(|member| set.insert(member, limits)) {
                        return Err(damage());
                    }
                }
                Ok(set)
            }
            _ => {
                let mut set = Set::default();
                for _ in 0..self.count()? {
                    if !set.insert(self.text()?, limits) {
                        let line = if matches!(set, Set::Ints(_)) { 1809 } else { 1829 };
                        return Err(corrupt("Duplicate set members detected", line));
                    }
                }
                Ok(set)
            }
        }
    }

    fn hash(&mut self) -> Result<Hash, Fault> {
        let limits = self.limits;
        let count = self.count()?;
        let mut hash = Hash::expecting(count, limits);
        for added in 1..=count {
            let (field, value) = self.two_texts()?;
            hash.add(field, value, limits);
            // A table sees a field again at once, a packed hash at the end.
            if matches!(hash, Hash::Table(_)) && hash.len() < added {
                break;
            }
        }
        distinct(hash, count)
    }

    fn zipmap(&mut self) -> Result<Hash, Fault> {
        let limits = self.limits;
        let pairs = zipmap::pairs(self.text()?)
            .ok_or_else(|| corrupt("Zipmap integrity check failed.", 2130))?;
        let count = pairs.len();
        let mut hash = Hash::expecting(count, limits);
        pairs.iter().for_each(|(field, value)| hash.add(field, value, limits));
        if hash.is_of(count) {
            return Ok(hash);
        }
        let mut seen = HashSet::new();
        let twice = pairs.iter().find(|(field, _)| !seen.insert(field));
        let length = twice.map_or(0, |(field, _)| field.len());
        let reason = format!("Hash zipmap with dup elements, or big length ({length})");
        Err(corrupt(reason, 2154))
    }

    /// A hash in a form that has a place for the deadlines of fields.
    fn hash_with_deadlines(&mut self, kind: u8) -> Result<Hash, Fault> {
        let limits = self.limits;
        let damage = || corrupt("Hash with a deadline that is none", 2019);
        let nearest = match kind {
            kind::HASH_DEADLINES => Some(i64::from_le_bytes(array(self.input)?)),
            _ => None,
        };
        let count = self.count()?;
        let mut hash = Hash::expecting(count, limits);
        for _ in 0..count {
            let is_last = kind == kind::HASH_DEADLINES_VALKEY;
            let mut deadline = None;
            if !is_last {
                let given = number(self.input)?;
                if given != 0 {
                    // Relative to the nearest they begin with 1.
                    let given = i64::try_from(given).map_err(|_| damage())?;
                    let at = nearest.map_or(Some(given), |nearest| nearest.checked_add(given - 1));
                    deadline = Some(at.ok_or_else(damage)?);
                }
            }
            text_into(self.input, &mut self.rooms.other, &mut self.rooms.packed)?;
            let value = text(self.input, &mut self.rooms.text, &mut self.rooms.packed)?;
            let field = &self.rooms.other;
            hash.add(field, value, limits);
            if is_last {
                let given = i64::from_le_bytes(array(self.input)?);
                deadline = (given != -1).then_some(given);
            }
            if let Some(deadline) = deadline {
                set_deadline(&mut hash, &self.rooms.other, deadline).ok_or_else(damage)?;
            }
        }
        distinct(hash, count)
    }

    /// As [`Reader::hash_with_deadlines`], packed: field, value, deadline …
    fn packed_hash_with_deadlines(&mut self, kind: u8) -> Result<Hash, Fault> {
        let limits = self.limits;
        if kind == kind::HASH_LISTPACK_DEADLINES {
            self.input.piece(8)?;
        }
        let damage = || corrupt("Hash listpack integrity check failed.", 2301);
        let pack = self.listpack()?.ok_or_else(damage)?;
        if !pack.len().is_multiple_of(3) {
            return Err(damage());
        }
        let count = pack.len() / 3;
        let mut hash = Hash::expecting(count, limits);
        let mut elements = pack.iter();
        while let (Some(field), Some(value), Some(deadline)) =
            (elements.next(), elements.next(), elements.next())
        {
            field.with_text(|field| value.with_text(|value| hash.add(field, value, limits)));
            let deadline = deadline.with_text(parse_i64).ok_or_else(damage)?;
            if deadline != 0 {
                field
                    .with_text(|field| set_deadline(&mut hash, field, deadline))
                    .ok_or_else(damage)?;
            }
        }
        distinct(hash, count)
    }

    fn zset(&mut self, kind: u8) -> Result<Zset, Fault> {
        let limits = self.limits;
        // As Redis does: the packed form would lose the sign of a zero on the way to the large one.
        let mut zset = Zset::large();
        for _ in 0..self.count()? {
            text_into(self.input, &mut self.rooms.other, &mut self.rooms.packed)?;
            let score = if kind == kind::ZSET {
                f64::from_le_bytes(array(self.input)?)
            } else {
                self.double_text()?
            };
            if score.is_nan() {
                return Err(corrupt("Zset with NAN score detected", 1882));
            }
            if !zset.set(&self.rooms.other, score, limits) {
                return Err(corrupt("Duplicate zset fields detected", 1894));
            }
        }
        zset.shrink(limits);
        Ok(zset)
    }

    /// A double as text behind its length; three lengths stand for what has no text.
    fn double_text(&mut self) -> Result<f64, Fault> {
        Ok(match self.input.piece(1)?[0] {
            255 => f64::NEG_INFINITY,
            254 => f64::INFINITY,
            253 => f64::NAN,
            length => parse_f64(self.input.piece(length as usize)?).unwrap_or(f64::NAN),
        })
    }
}

/// Gives a field a deadline, which must be one.
fn set_deadline(hash: &mut Hash, field: &[u8], deadline: i64) -> Option<()> {
    if !(1..i64::MAX).contains(&deadline) {
        return None;
    }
    hash.make_timed().set_deadline(field, Some(deadline)).then_some(())
}

fn distinct(hash: Hash, count: usize) -> Result<Hash, Fault> {
    match hash {
        hash if hash.is_of(count) => Ok(hash),
        Hash::Packed(_) => Err(corrupt("Hash with dup elements", 1951)),
        Hash::Table(_) | Hash::Timed(_) => Err(corrupt("Duplicate hash fields detected", 2019)),
    }
}

fn unzipped(bytes: &[u8]) -> Option<Listpack> {
    let mut pack = Listpack::new();
    ziplist::for_each(bytes, |entry| {
        match entry {
            ziplist::Entry::Bytes(text) if pack.has_room_for(text.len()) => pack.push_back(text),
            ziplist::Entry::Bytes(_) => return None,
            ziplist::Entry::Int(number) => pack.push_back_int(number),
        }
        Some(())
    })?;
    Some(pack)
}

fn push_unzipped(bytes: &[u8], list: &mut List, limits: &Limits) -> Option<()> {
    ziplist::for_each(bytes, |entry| {
        match entry {
            ziplist::Entry::Bytes(text) => list.push(End::Back, text, limits),
            ziplist::Entry::Int(number) => {
                let mut digits = itoa::Buffer::new();
                list.push(End::Back, digits.format(number).as_bytes(), limits);
            }
        }
        Some(())
    })
}
