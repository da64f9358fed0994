//! Payloads of RESTORE: refused or read whole; what was read is written and read again as the same value, and holds
//! no more memory than its bytes account for.
//!
//! The first byte says whether version and checksum stand in the input or are added here, and how large packed forms
//! may be.
#![no_main]

use std::collections::BTreeMap;

use crc::{CRC_64_REDIS, Crc};
use libfuzzer_sys::fuzz_target;
use redstart_server::encoding::listpack::Element;
use redstart_server::keyspace::{Keyspace, Taken, Value};
use redstart_server::persistence::value::{VERSION, dump, restore};
use redstart_server::types::list::End;
use redstart_server::types::{Limits, Object};

/// What a byte of LZF can grow to, twice for what containers take besides, and something to begin with.
const GROWTH_MAX: usize = 264 * 2;
const SMALL_BYTES: usize = 16 * 1024;

fuzz_target!(|data: &[u8]| {
    let [choice, body @ ..] = data else { return };
    let limits = limits(*choice);
    let mut payload = body.to_vec();
    if choice & 1 == 1 {
        payload.extend_from_slice(&VERSION.to_le_bytes());
        let sum = Crc::<u64>::new(&CRC_64_REDIS).checksum(&payload);
        payload.extend_from_slice(&sum.to_le_bytes());
    }
    let Ok(value) = restore(&payload, &limits) else { return };
    if let Value::Object(object) = &value {
        assert!(!object.is_empty());
        let bound = payload.len() * GROWTH_MAX + SMALL_BYTES;
        let bytes = object.allocated_bytes(usize::MAX);
        assert!(bytes <= bound, "{bytes} bytes");
    }
    let before = content(&value);

    let mut keyspace = Keyspace::new(1);
    keyspace.db(0).put(b"key", Taken { value, deadline: None });
    keyspace.db(0).check();
    let written = dump(keyspace.db(0).look(b"key").expect("it was put there"), true);
    let Ok(again) = restore(&written, &limits) else { panic!("what was written is refused") };
    assert_eq!(before, content(&again));
});

fn limits(choice: u8) -> Limits {
    if choice & 2 == 0 {
        return Limits::default();
    }
    Limits {
        hash_entries: 3,
        hash_value: 8,
        set_intset_entries: 3,
        zset_entries: 3,
        zset_value: 8,
        list_node: if choice & 4 == 0 { 2 } else { -1 },
    }
}

/// A value as a plain program would hold it.
#[derive(Debug, PartialEq)]
enum Content {
    Text(Vec<u8>),
    List(Vec<Vec<u8>>),
    Map(BTreeMap<Vec<u8>, Vec<u8>>),
    Sorted(Vec<(Vec<u8>, f64)>),
}

fn content(value: &Value) -> Content {
    let object = match value {
        Value::Bytes(text) | Value::Raw(text) => return Content::Text(text.clone()),
        Value::Int(number) => return Content::Text(number.to_string().into_bytes()),
        Value::Object(object) => object,
    };
    let content = match object {
        Object::List(list) => {
            let mut texts = Vec::new();
            list.walk(End::Front, |_, element| {
                texts.push(element.to_vec());
                true
            });
            Content::List(texts)
        }
        Object::Set(set) => {
            let mut members = BTreeMap::new();
            set.for_each(|member| {
                assert!(set.contains(&member.to_vec()));
                members.insert(member.to_vec(), Vec::new());
            });
            Content::Map(members)
        }
        Object::Hash(hash) => {
            let mut fields = BTreeMap::new();
            hash.for_each_stored(|field: Element<'_>, value, deadline| {
                assert_eq!(hash.deadline(&field.to_vec()), Some(deadline));
                let value = [&value.to_vec(), format!(" until {deadline:?}").as_bytes()].concat();
                fields.insert(field.to_vec(), value);
            });
            Content::Map(fields)
        }
        Object::Zset(zset) => {
            zset.check();
            let mut members = Vec::new();
            zset.walk(0, false, |member, score| {
                assert_eq!(zset.score(&member.to_vec()), Some(score));
                members.push((member.to_vec(), score));
                true
            });
            Content::Sorted(members)
        }
    };
    let length = match &content {
        Content::Text(_) => unreachable!("left above"),
        Content::List(texts) => texts.len(),
        Content::Map(fields) => fields.len(),
        Content::Sorted(members) => members.len(),
    };
    assert_eq!(length, object.stored_len());
    content
}
