//! One value as RDB bytes, version 10 (12 for a hash with fields that have deadlines, 13 for a stream that knows producers): what DUMP gives and RESTORE takes.
//!
//! Packed forms go out as they lie in memory. Bytes from outside are checked to the last, bounded by what there is,
//! and refused whole when anything is wrong.

use super::rdb::kind::STRING;
use super::rdb::value::{Reader, Rooms, string_value};
use super::rdb::{CRC, Content, Draft, Fault, Problem, Slice, Slicer, compressed};
use crate::keyspace::{Entry, Str, Value};
use crate::types::{Limits, Object};

pub use super::rdb::{VERSION, VERSION_FIELD_DEADLINES};
use super::rdb::{VERSION_MAX, VERSION_NAMES};

/// Version and checksum.
const FOOTER_BYTES: usize = 10;

/// The payload of DUMP: the value, the version and a checksum. `compresses` is `rdbcompression`.
#[must_use]
pub fn dump(entry: &Entry, compresses: bool) -> Vec<u8> {
    let mut draft = Draft::default();
    let mut slicer = Slicer::alone(&mut draft, entry);
    match Content::from(entry) {
        // However long it is: here nothing is written in slices.
        Content::Text(Str::Bytes(text)) => draft.put_text(text),
        _ => while !slicer.advance(&mut draft, entry, usize::MAX) {},
    }
    let mut out = if compresses { compressed(draft) } else { draft.bytes };
    let version = match entry.object() {
        Some(Object::Stream(stream)) if stream.idempotence().is_some() => VERSION_NAMES,
        Some(object) if object.has_field_deadlines() => VERSION_FIELD_DEADLINES,
        _ => VERSION,
    };
    out.extend_from_slice(&version.to_le_bytes());
    let sum = CRC.checksum(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

/// What is wrong with a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadError {
    /// The version is too new or the checksum differs.
    Checksum,
    /// The bytes are no value. The line for the log says why, if there is more to say.
    Format(Option<String>),
}

/// A value that was restored.
pub struct Restored {
    /// The value.
    pub value: Value,
    /// Packed values in it that were checked.
    pub checked: u64,
}

/// The value in a payload of DUMP.
///
/// # Errors
/// What is wrong with it.
pub fn restore(payload: &[u8], limits: &Limits) -> Result<Value, PayloadError> {
    restore_counted(payload, limits).map(|restored| restored.value)
}

/// As [`restore`], and how much was checked.
///
/// # Errors
/// What is wrong with it.
pub fn restore_counted(payload: &[u8], limits: &Limits) -> Result<Restored, PayloadError> {
    let body = payload.len().checked_sub(FOOTER_BYTES).ok_or(PayloadError::Checksum)?;
    let (value, footer) = payload.split_at(body);
    let version = u16::from_le_bytes([footer[0], footer[1]]);
    let mut sum = [0; 8];
    sum.copy_from_slice(&footer[2..]);
    let sum = u64::from_le_bytes(sum);
    // A sum of zero says that the writer made none.
    if version > VERSION_MAX || (sum != 0 && CRC.checksum(&payload[..body + 2]) != sum) {
        return Err(PayloadError::Checksum);
    }
    read(value, limits).map_err(|fault| PayloadError::Format(fault.log_line()))
}

fn read(bytes: &[u8], limits: &Limits) -> Result<Restored, Fault> {
    let (&kind, bytes) = bytes.split_first().ok_or(Problem::Short)?;
    let mut input = Slice { bytes };
    let mut rooms = Rooms::default();
    let mut reader = Reader { input: &mut input, rooms: &mut rooms, limits, checked: 0 };
    let value =
        if kind == STRING { reader.string()? } else { Some(Value::Object(reader.object(kind)?)) };
    let checked = reader.checked;
    // What lies behind the value has no name: 7.0.15 does not look at it.
    if !input.bytes.is_empty() {
        return Err(Fault::Empty);
    }
    Ok(Restored { value: value.unwrap_or_else(|| string_value(&rooms.text)), checked })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::listpack::Listpack;
    use crate::keyspace::{Deadline, Keyspace};
    use crate::persistence::rdb::kind::{HASH, HASH_LISTPACK, ZSET_LISTPACK};
    use crate::types::list::End;
    use crate::types::{Hash, List, Object, Set, Zset};

    fn put(out: &mut Vec<u8>, write: impl FnOnce(&mut Draft)) {
        let mut draft = Draft::default();
        write(&mut draft);
        out.append(&mut draft.bytes);
    }

    fn put_length(out: &mut Vec<u8>, length: u64) {
        put(out, |draft| draft.put_length(length));
    }

    fn put_plain(out: &mut Vec<u8>, text: &[u8]) {
        put(out, |draft| draft.put_plain(text));
    }

    fn put_text(out: &mut Vec<u8>, text: &[u8]) {
        put(out, |draft| draft.put_text(text));
    }

    #[test]
    fn strings_are_dumped_as_redis_server_dumps_them() {
        // Recorded from redis-server 7.0.15: SET k 10, DUMP k.
        let mut keyspace = Keyspace::new(1);
        keyspace.db(0).set_string(b"k", b"10", Deadline::Clear);
        let payload = dump(keyspace.db(0).look(b"k").expect("there"), true);
        assert_eq!(&payload[..5], b"\x00\xc0\x0a\x0a\x00");
        assert_eq!(CRC.checksum(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    fn back(object: Object) -> Object {
        let mut keyspace = Keyspace::new(1);
        keyspace.db(0).set_object(b"k", object, Deadline::Clear);
        let payload = dump(keyspace.db(0).look(b"k").expect("there"), true);
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
                    Object::Stream(_) | Object::Bloom(_) => unreachable!("there was none"),
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
