//! A stream as the commands that make it, in the forms that Redis writes.

use redstart_common::resp::RespWrite;

use super::commands::command;
use crate::types::Stream;
use crate::types::stream::{Group, Pending, StreamId};

/// Appends what makes a stream.
pub(super) fn stream(out: &mut Vec<u8>, key: &[u8], stream: &Stream) {
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        out.array_len(3 + 2 * entry.len());
        out.bulk(b"XADD");
        out.bulk(key);
        out.bulk(entry.id.text().as_bytes());
        entry.for_each(|name, value| {
            name.with_text(|name| out.bulk(name));
            value.with_text(|value| out.bulk(value));
        });
    }
    if stream.is_empty() {
        command(out, &[b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"]);
    }
    let facts = stream.facts();
    command(
        out,
        &[
            b"XSETID",
            key,
            facts.last_id.text().as_bytes(),
            b"ENTRIESADDED",
            facts.entries_added.to_string().as_bytes(),
            b"MAXDELETEDID",
            facts.max_deleted_id.text().as_bytes(),
        ],
    );
    stream.groups().iter().for_each(|held| group(out, key, held));
    if let Some(known) = stream.idempotence() {
        let memory = known.memory();
        let (seconds, most) = (memory.seconds.to_string(), memory.most.to_string());
        let options = [b"IDMP-DURATION", seconds.as_bytes(), b"IDMP-MAXSIZE", most.as_bytes()];
        command(out, &[&[&b"XCFGSET"[..], key], &options[..]].concat());
        for (producer, name, id) in known.iter() {
            command(out, &[b"XIDMPRECORD", key, producer, name, id.text().as_bytes()]);
        }
    }
}

fn group(out: &mut Vec<u8>, key: &[u8], group: &Group) {
    let (name, last_id) = (group.name(), group.last_id.text());
    let (last_id, reads) = (last_id.as_bytes(), group.entries_read.to_string());
    command(out, &[b"XGROUP", b"CREATE", key, name, last_id, b"ENTRIESREAD", reads.as_bytes()]);
    // What is nobody's is as if one without a name had been handed it in 1970.
    let released = group.pending().iter().filter(|(_, held)| held.is_released());
    released.for_each(|(id, held)| claim(out, key, group, id, held));
    for consumer in group.consumers() {
        if consumer.pending().is_empty() {
            command(out, &[b"XGROUP", b"CREATECONSUMER", key, name, consumer.name()]);
        }
        for (id, ()) in consumer.pending().iter() {
            if let Some(held) = group.pending().get(id) {
                claim(out, key, group, id, held);
            }
        }
    }
}

/// What has somebody have a pending entry.
fn claim(out: &mut Vec<u8>, key: &[u8], group: &Group, id: StreamId, held: &Pending) {
    command(
        out,
        &[
            b"XCLAIM",
            key,
            group.name(),
            group.owner_name(held),
            b"0",
            id.text().as_bytes(),
            b"TIME",
            held.delivered_ms.to_string().as_bytes(),
            b"RETRYCOUNT",
            held.deliveries.to_string().as_bytes(),
            b"JUSTID",
            b"FORCE",
        ],
    );
}
