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
use redstart_server::types::stream::{Keep, StreamId, Trim};
use redstart_server::types::{Limits, Object, Stream};

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
        ..Limits::default()
    }
}

/// A value as a plain program would hold it.
#[derive(Debug, PartialEq)]
enum Content {
    Text(Vec<u8>),
    List(Vec<Vec<u8>>),
    Map(BTreeMap<Vec<u8>, Vec<u8>>),
    Sorted(Vec<(Vec<u8>, f64)>),
    Stream(Vec<String>),
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
        Object::Stream(stream) => return Content::Stream(stream_content(stream)),
        Object::Bloom(filter) => {
            let bits = filter.links().iter().map(|link| link.data.clone());
            return Content::List(std::iter::once(filter.header()).chain(bits).collect());
        }
    };
    let length = match &content {
        Content::Text(_) | Content::Stream(_) => unreachable!("left above"),
        Content::List(texts) => texts.len(),
        Content::Map(fields) => fields.len(),
        Content::Sorted(members) => members.len(),
    };
    assert_eq!(length, object.stored_len());
    content
}

/// All of a stream; it is emptied on the way, in two manners, which must leave nothing.
fn stream_content(stream: &Stream) -> Vec<String> {
    let mut all = vec![format!("{:?}", stream.facts())];
    let (mut ids, mut back) = (Vec::new(), Vec::new());
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        let mut fields = Vec::new();
        entry.for_each(|name, value| fields.push((name.to_vec(), value.to_vec())));
        assert_eq!(fields.len(), entry.len());
        all.push(format!("{:?} {fields:?}", entry.id));
        ids.push(entry.id);
    }
    back.extend(stream.range_back(StreamId::MIN, StreamId::MAX).map(|entry| entry.id));
    back.reverse();
    assert!(ids == back && ids.len() as u64 == stream.len() && ids.is_sorted());
    for group in stream.groups() {
        all.push(format!("{:?} {:?} {}", group.name(), group.last_id, group.entries_read));
        for (id, held) in group.pending().iter() {
            let name = group.consumer(held.consumer).name();
            all.push(format!("{id:?} {name:?} {} {}", held.delivered_ms, held.deliveries));
        }
        for consumer in group.consumers() {
            let own: Vec<_> = consumer.pending().iter().map(|(id, ())| id).collect();
            all.push(format!("{:?} {} {own:?}", consumer.name(), consumer.seen_ms));
        }
        assert!(stream.lag(group).is_none_or(|lag| lag != i64::MIN));
    }
    let (mut one, mut other) = (stream.clone(), stream.clone());
    assert_eq!(one.remove(ids.iter().copied()), ids.len());
    let trim = Trim { keep: Keep::Newest(ids.len() as u64 / 2), by_nodes: false, limit: 0 };
    assert_eq!(other.trim(&trim), ids.len() as u64 - ids.len() as u64 / 2);
    other.trim(&Trim { keep: Keep::From(StreamId::MAX), by_nodes: false, limit: 0 });
    assert!(one.is_empty() && other.len() <= 1);
    for group in stream.groups() {
        one.with_group(group.name(), |_, own| {
            let pending: Vec<_> = own.pending().iter().map(|(id, _)| id).collect();
            assert!(pending.iter().all(|id| own.acknowledge(*id).is_some()));
            assert!(own.consumers().all(|consumer| consumer.pending().is_empty()));
        });
    }
    all
}
