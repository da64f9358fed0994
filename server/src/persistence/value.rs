//! One value as RDB bytes, version 10: what DUMP gives and RESTORE takes.
//!
//! Packed forms go out as they lie in memory. Bytes from outside are checked to the last, bounded by what there is,
//! and refused whole when anything is wrong.

use std::borrow::Cow;

use crc::{CRC_64_REDIS, Crc, Table};

use super::{lzf, ziplist};
use crate::encoding::intset::IntSet;
use crate::encoding::listpack::{Element, Listpack};
use crate::keyspace::{Entry, Str, Value};
use crate::types::list::End;
use crate::types::{Hash, Limits, List, Object, Set, Zset};

/// The version of the format that is written, and the highest that is read.
pub const VERSION: u16 = 10;

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

const STRING: u8 = 0;
const LIST: u8 = 1;
const SET: u8 = 2;
const ZSET_TEXT: u8 = 3;
const HASH: u8 = 4;
const ZSET: u8 = 5;
const LIST_ZIPLIST: u8 = 10;
const SET_INTSET: u8 = 11;
const ZSET_ZIPLIST: u8 = 12;
const HASH_ZIPLIST: u8 = 13;
const LIST_QUICKLIST: u8 = 14;
const HASH_LISTPACK: u8 = 16;
const ZSET_LISTPACK: u8 = 17;
const LIST_QUICKLIST_2: u8 = 18;

const NODE_PLAIN: u64 = 1;
const NODE_PACKED: u64 = 2;

fn put_length(out: &mut Vec<u8>, length: u64) {
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

fn put_int(out: &mut Vec<u8>, number: i64) {
    if let Ok(number) = i8::try_from(number) {
        out.push(0xc0);
        out.push(number as u8);
    } else if let Ok(number) = i16::try_from(number) {
        out.push(0xc1);
        out.extend_from_slice(&number.to_le_bytes());
    } else if let Ok(number) = i32::try_from(number) {
        out.push(0xc2);
        out.extend_from_slice(&number.to_le_bytes());
    } else {
        put_plain(out, number.to_string().as_bytes());
    }
}

fn put_plain(out: &mut Vec<u8>, text: &[u8]) {
    put_length(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// A string; a short one that is the text of an integer as one.
fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    match if text.len() <= 11 { redstart_common::number::parse_i64(text) } else { None } {
        Some(number) => put_int(out, number),
        None => put_plain(out, text),
    }
}

fn put_element(out: &mut Vec<u8>, element: Element<'_>) {
    element.with_text(|text| put_text(out, text));
}

fn encode(entry: &Entry, out: &mut Vec<u8>) {
    match (entry.string(), entry.object()) {
        (Some(Str::Int(number)), _) => {
            out.push(STRING);
            put_int(out, number);
        }
        (Some(Str::Bytes(bytes)), _) => {
            out.push(STRING);
            put_text(out, bytes);
        }
        (None, Some(Object::List(list))) => {
            out.push(LIST_QUICKLIST_2);
            put_length(out, list.node_count() as u64);
            for node in (0..list.node_count()).filter_map(|index| list.node(index)) {
                put_length(out, NODE_PACKED);
                put_plain(out, node.as_bytes());
            }
        }
        (None, Some(Object::Set(Set::Ints(ints)))) => {
            out.push(SET_INTSET);
            put_plain(out, ints.as_bytes());
        }
        (None, Some(Object::Set(set))) => {
            out.push(SET);
            put_length(out, set.len() as u64);
            set.for_each(|member| put_element(out, member));
        }
        (None, Some(Object::Hash(Hash::Packed(pack)))) => {
            out.push(HASH_LISTPACK);
            put_plain(out, pack.as_bytes());
        }
        (None, Some(Object::Hash(hash))) => {
            out.push(HASH);
            put_length(out, hash.len() as u64);
            hash.for_each(|field, value| {
                put_element(out, field);
                put_element(out, value);
            });
        }
        (None, Some(Object::Zset(Zset::Packed(pack)))) => {
            out.push(ZSET_LISTPACK);
            put_plain(out, pack.as_bytes());
        }
        (None, Some(Object::Zset(zset))) => {
            out.push(ZSET);
            put_length(out, zset.len() as u64);
            // Highest first, as Redis writes them: reading back appends at one end.
            zset.walk(0, true, |member, score| {
                put_element(out, member);
                out.extend_from_slice(&score.to_le_bytes());
                true
            });
        }
        (None, None) => {}
    }
}

/// The payload of DUMP: the value, the version and a checksum.
#[must_use]
pub fn dump(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::new();
    encode(entry, &mut out);
    out.extend_from_slice(&VERSION.to_le_bytes());
    let sum = CRC.checksum(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

/// What is wrong with a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadError {
    /// The version is too new or the checksum differs.
    Checksum,
    /// The bytes are no value.
    Format,
}

/// The value in a payload of DUMP.
///
/// # Errors
/// What is wrong with it.
pub fn restore(payload: &[u8], limits: &Limits) -> Result<Value, PayloadError> {
    let body = payload.len().checked_sub(10).ok_or(PayloadError::Checksum)?;
    let (value, footer) = payload.split_at(body);
    let version = u16::from_le_bytes([footer[0], footer[1]]);
    let mut sum = [0; 8];
    sum.copy_from_slice(&footer[2..]);
    let sum = u64::from_le_bytes(sum);
    // A sum of zero says that the writer made none.
    if version > VERSION || (sum != 0 && CRC.checksum(&payload[..body + 2]) != sum) {
        return Err(PayloadError::Checksum);
    }
    let mut reader = Reader { bytes: value };
    let value = reader.value(limits).ok_or(PayloadError::Format)?;
    if reader.bytes.is_empty() { Ok(value) } else { Err(PayloadError::Format) }
}

struct Reader<'a> {
    bytes: &'a [u8],
}

enum Length {
    Count(u64),
    Special(u8),
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn length(&mut self) -> Option<Length> {
        let first = self.byte()?;
        Some(match first >> 6 {
            0 => Length::Count(u64::from(first & 63)),
            1 => Length::Count(u64::from(first & 63) << 8 | u64::from(self.byte()?)),
            2 if first == 0x80 => {
                Length::Count(u64::from(u32::from_be_bytes(self.take(4)?.try_into().ok()?)))
            }
            2 if first == 0x81 => Length::Count(u64::from_be_bytes(self.take(8)?.try_into().ok()?)),
            3 => Length::Special(first & 63),
            _ => return None,
        })
    }

    /// How many elements follow; each takes a byte at least.
    fn count(&mut self) -> Option<usize> {
        match self.length()? {
            Length::Count(count) => {
                usize::try_from(count).ok().filter(|count| *count <= self.bytes.len())
            }
            Length::Special(_) => None,
        }
    }

    fn text(&mut self) -> Option<Cow<'a, [u8]>> {
        let int = |number: i64| Some(Cow::Owned(number.to_string().into_bytes()));
        match self.length()? {
            Length::Count(length) => self.take(usize::try_from(length).ok()?).map(Cow::Borrowed),
            Length::Special(0) => int(i64::from(self.byte()? as i8)),
            Length::Special(1) => {
                int(i64::from(i16::from_le_bytes(self.take(2)?.try_into().ok()?)))
            }
            Length::Special(2) => {
                int(i64::from(i32::from_le_bytes(self.take(4)?.try_into().ok()?)))
            }
            Length::Special(3) => {
                let packed = self.count()?;
                let Length::Count(length) = self.length()? else { return None };
                let length = usize::try_from(length).ok()?;
                lzf::decompress(self.take(packed)?, length).map(Cow::Owned)
            }
            Length::Special(_) => None,
        }
    }

    fn double(&mut self) -> Option<f64> {
        let number = f64::from_le_bytes(self.take(8)?.try_into().ok()?);
        (!number.is_nan()).then_some(number)
    }

    /// A double as text behind its length; three lengths stand for what has no text.
    fn double_text(&mut self) -> Option<f64> {
        match self.byte()? {
            255 => Some(f64::NEG_INFINITY),
            254 => Some(f64::INFINITY),
            253 => None,
            length => redstart_common::number::parse_f64(self.take(length as usize)?),
        }
    }

    fn listpack(&mut self) -> Option<Listpack> {
        Listpack::from_bytes(&self.text()?).filter(|pack| !pack.is_empty())
    }

    fn value(&mut self, limits: &Limits) -> Option<Value> {
        let kind = self.byte()?;
        let object = match kind {
            STRING => {
                let text = self.text()?;
                return Some(
                    redstart_common::number::parse_i64(&text)
                        .map_or_else(|| Value::Bytes(text.into_owned()), Value::Int),
                );
            }
            LIST | LIST_ZIPLIST | LIST_QUICKLIST | LIST_QUICKLIST_2 => {
                Object::List(self.list(kind, limits)?)
            }
            SET | SET_INTSET => Object::Set(self.set(kind, limits)?),
            HASH | HASH_ZIPLIST | HASH_LISTPACK => Object::Hash(self.hash(kind, limits)?),
            ZSET | ZSET_TEXT | ZSET_ZIPLIST | ZSET_LISTPACK => {
                Object::Zset(self.zset(kind, limits)?)
            }
            _ => return None,
        };
        (!object.is_empty()).then_some(Value::Object(object))
    }

    fn list(&mut self, kind: u8, limits: &Limits) -> Option<List> {
        let mut list = List::default();
        match kind {
            LIST => {
                for _ in 0..self.count()? {
                    list.push(End::Back, &self.text()?, limits);
                }
            }
            LIST_ZIPLIST => unzip(&self.text()?, |text| list.push(End::Back, text, limits))?,
            LIST_QUICKLIST => {
                for _ in 0..self.count()? {
                    unzip(&self.text()?, |text| list.push(End::Back, text, limits))?;
                }
            }
            _ => {
                for _ in 0..self.count()? {
                    match self.length()? {
                        Length::Count(NODE_PACKED) => list.push_node(self.listpack()?),
                        Length::Count(NODE_PLAIN) => {
                            list.push(End::Back, &self.text()?, limits);
                        }
                        _ => return None,
                    }
                }
            }
        }
        Some(list)
    }

    fn set(&mut self, kind: u8, limits: &Limits) -> Option<Set> {
        if kind == SET_INTSET {
            return Some(Set::from_ints(IntSet::from_bytes(&self.text()?)?, limits));
        }
        let mut set = Set::default();
        for _ in 0..self.count()? {
            // A member twice is a damaged set.
            if !set.insert(&self.text()?, limits) {
                return None;
            }
        }
        Some(set)
    }

    fn hash(&mut self, kind: u8, limits: &Limits) -> Option<Hash> {
        if kind != HASH {
            return Hash::from_listpack(self.packed(kind == HASH_ZIPLIST)?, limits);
        }
        let count = self.count()?;
        let pairs = std::iter::from_fn(|| Some((self.text()?, self.text()?)));
        Hash::from_pairs(count, pairs, limits)
    }

    fn zset(&mut self, kind: u8, limits: &Limits) -> Option<Zset> {
        if matches!(kind, ZSET | ZSET_TEXT) {
            // As Redis does: the packed form would lose the sign of a zero on the way to the large one.
            let mut zset = Zset::large();
            for _ in 0..self.count()? {
                let member = self.text()?;
                let score = if kind == ZSET { self.double()? } else { self.double_text()? };
                if !zset.set(&member, score, limits) {
                    return None;
                }
            }
            zset.shrink(limits);
            return Some(zset);
        }
        Zset::from_listpack(self.packed(kind == ZSET_ZIPLIST)?, limits)
    }

    /// A packed value.
    fn packed(&mut self, zipped: bool) -> Option<Listpack> {
        if !zipped {
            return self.listpack();
        }
        let mut pack = Listpack::new();
        unzip(&self.text()?, |text| pack.push_back(text))?;
        Some(pack)
    }
}

fn unzip(bytes: &[u8], mut visit: impl FnMut(&[u8])) -> Option<()> {
    for entry in ziplist::entries(bytes)? {
        match entry {
            ziplist::Entry::Bytes(text) => visit(text),
            ziplist::Entry::Int(number) => visit(number.to_string().as_bytes()),
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keyspace::{Deadline, Keyspace};

    #[test]
    fn strings_are_dumped_as_redis_server_dumps_them() {
        // Recorded from redis-server 7.0.15: SET k 10, DUMP k.
        let mut keyspace = Keyspace::new(1);
        keyspace.db(0).set_string(b"k", b"10", Deadline::Clear);
        let payload = dump(keyspace.db(0).look(b"k").expect("there"));
        assert_eq!(&payload[..5], b"\x00\xc0\x0a\x0a\x00");
        assert_eq!(CRC.checksum(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    fn back(object: Object) -> Object {
        let mut keyspace = Keyspace::new(1);
        keyspace.db(0).set_object(b"k", object, Deadline::Clear);
        let payload = dump(keyspace.db(0).look(b"k").expect("there"));
        match restore(&payload, &Limits::default()) {
            Ok(Value::Object(object)) => object,
            _ => panic!("what was dumped restores"),
        }
    }

    #[test]
    fn a_large_sorted_set_keeps_the_sign_of_a_zero_and_a_packed_one_does_not() {
        let limits = Limits::default();
        for (members, negative) in [(3, false), (limits.zset_entries + 1, true)] {
            let mut zset = Zset::large();
            for number in 0..members {
                zset.set(number.to_string().as_bytes(), -(number as f64), &limits);
            }
            let Object::Zset(zset) = back(Object::Zset(zset)) else { panic!("a sorted set") };
            let score = zset.score(b"0").expect("there");
            assert_eq!((score, score.is_sign_negative()), (0.0, negative), "{members} members");
        }
    }

    /// What comes of a payload of that kind without a checksum.
    fn restored(kind: u8, body: &[u8]) -> Option<Object> {
        let mut payload = vec![kind];
        payload.extend_from_slice(body);
        payload.extend_from_slice(&VERSION.to_le_bytes());
        payload.extend_from_slice(&[0; 8]);
        match restore(&payload, &Limits::default()) {
            Ok(Value::Object(object)) => Some(object),
            Ok(_) => panic!("no collection"),
            Err(_) => None,
        }
    }

    fn packed(kind: u8, texts: &[&str]) -> Option<Object> {
        let mut pack = Listpack::new();
        texts.iter().for_each(|text| pack.push_back(text.as_bytes()));
        let mut body = Vec::new();
        put_plain(&mut body, pack.as_bytes());
        restored(kind, &body)
    }

    #[test]
    fn packed_values_from_outside_are_checked() {
        for kind in [HASH_LISTPACK, ZSET_LISTPACK] {
            assert!(packed(kind, &["a", "1", "b", "2"]).is_some());
            assert!(packed(kind, &["a", "1", "b"]).is_none(), "a value is missing");
            assert!(packed(kind, &["a", "1", "b", "2", "a", "3"]).is_none(), "a twice");
            assert!(packed(kind, &[]).is_none(), "nothing");
        }
        for score in ["nan", "", "x", "1e999"] {
            assert!(packed(ZSET_LISTPACK, &["a", score]).is_none(), "{score}");
        }
        // "7" kept as a text, and as an integer.
        let twice = b"\x12\x00\x00\x00\x04\x00\x817\x02\x81a\x02\x07\x01\x81b\x02\xff";
        let mut body = Vec::new();
        put_plain(&mut body, twice);
        assert_eq!(usize::from(twice[0]), twice.len());
        assert!(Listpack::from_bytes(twice).is_some());
        assert!(restored(HASH_LISTPACK, &body).is_none(), "the same field in two forms");
    }

    #[test]
    fn packed_values_from_outside_come_into_order_and_keep_their_form() {
        let Some(Object::Zset(zset)) = packed(ZSET_LISTPACK, &["b", "2", "c", "1", "a", "2"])
        else {
            panic!("a sorted set")
        };
        assert!(matches!(zset, Zset::Packed(_)));
        let ranks = ["c", "a", "b"].map(|member| zset.rank(member.as_bytes(), false));
        assert_eq!(ranks, [Some(0), Some(1), Some(2)]);
        let long = "x".repeat(1000);
        let hash = packed(HASH_LISTPACK, &["field", &long]).expect("a hash");
        assert_eq!(hash.encoding_name(), "listpack", "as in Redis, whatever the length");
        let many: Vec<String> = (0..1200).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(packed(HASH_LISTPACK, &many).expect("a hash").encoding_name(), "hashtable");
    }

    #[test]
    fn a_field_twice_is_refused_whatever_the_form() {
        let long = "x".repeat(100);
        for value in ["v", &long] {
            for count in [3_u64, 600] {
                let mut body = Vec::new();
                put_length(&mut body, count);
                for number in 0..count {
                    put_text(&mut body, number.to_string().as_bytes());
                    put_text(&mut body, value.as_bytes());
                }
                let hash = restored(HASH, &body).expect("a hash");
                assert_eq!(hash.len() as u64, count);
                let mut again = Vec::new();
                put_length(&mut again, count + 1);
                again.extend_from_slice(&body[if count < 64 { 1 } else { 2 }..]);
                put_text(&mut again, b"0");
                put_text(&mut again, b"w");
                assert!(restored(HASH, &again).is_none(), "{count} {}", value.len());
            }
        }
    }

    proptest! {
        #[test]
        fn collections_come_back(texts in prop::collection::btree_set(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..90),
            any::<i32>().prop_map(|n| n.to_string().into_bytes()),
        ], 1..700)) {
            let limits = Limits::default();
            let (mut list, mut set) = (List::default(), Set::default());
            let (mut hash, mut zset) = (Hash::default(), Zset::default());
            for (at, text) in texts.iter().enumerate() {
                list.push(End::Back, text, &limits);
                set.insert(text, &limits);
                hash.set(text, b"value", &limits);
                zset.set(text, at as f64 / 3.0, &limits);
            }
            for object in [Object::List(list), Object::Set(set), Object::Hash(hash), Object::Zset(zset)] {
                let (length, name) = (object.len(), object.encoding_name());
                let again = back(object);
                prop_assert_eq!(again.len(), length);
                prop_assert_eq!(again.encoding_name(), name);
                match again {
                    Object::Zset(zset) => {
                        zset.check();
                        for (at, text) in texts.iter().enumerate() {
                            prop_assert_eq!(zset.score(text), Some(at as f64 / 3.0));
                        }
                    }
                    Object::Set(set) => prop_assert!(texts.iter().all(|text| set.contains(text))),
                    Object::Hash(hash) => prop_assert!(texts.iter().all(|text| hash.contains(text))),
                    Object::List(list) => {
                        let mut expected = texts.iter();
                        list.walk(End::Front, |_, element| element.is(expected.next().expect("as many")));
                        prop_assert!(expected.next().is_none());
                    }
                }
            }
        }

        #[test]
        fn noise_never_panics(kind in 0_u8..20, bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let mut payload = vec![kind];
            payload.extend_from_slice(&bytes);
            payload.extend_from_slice(&[10, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            let _ = restore(&payload, &Limits::default());
        }
    }
}
