//! Streams that are written and read, and those that are refused.

use super::super::format::kind;
use super::{file_of, problem, read, string};
use crate::encoding::listpack::Listpack;
use crate::types::stream::{Claim, Delivery, Group, Memory, StreamId, Wanted};
use crate::types::{Limits, Stream};

/// All of a stream, as lines.
pub(super) fn plain_stream(stream: &Stream) -> Vec<String> {
    let mut all = vec![format!("{:?}", stream.facts())];
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        let mut fields = Vec::new();
        entry.for_each(|name, value| fields.push((name.to_vec(), value.to_vec())));
        all.push(format!("{:?} {fields:?}", entry.id));
    }
    for group in stream.groups() {
        all.push(format!("{:?} {:?} {}", group.name(), group.last_id, group.entries_read));
        for (id, held) in group.pending().iter() {
            let name = group.owner_name(held);
            all.push(format!("{id:?} {name:?} {} {}", held.delivered_ms, held.deliveries));
        }
        for consumer in group.consumers() {
            let own: Vec<_> = consumer.pending().iter().map(|(id, ())| id).collect();
            all.push(format!("{:?} {} {own:?}", consumer.name(), consumer.seen_ms));
        }
    }
    if let Some(known) = stream.idempotence() {
        let names: Vec<_> = known.iter().collect();
        let counts = (known.added, known.duplicates);
        all.push(format!("{:?} {counts:?} {names:?}", known.memory()));
    }
    all
}

/// A stream of texts, some of them deleted, some pending.
pub(super) fn stream_of(texts: &[Vec<u8>], limits: &Limits) -> Stream {
    let mut stream = Stream::default();
    for text in texts {
        let pairs = [(&text[..text.len() / 2], &text[..])];
        stream.add(Wanted::Next, 7, pairs.into_iter(), limits).expect("added");
    }
    for (number, text) in texts.iter().take(4).enumerate() {
        let mut group = Group::new(text, StreamId::MIN, number as i64 - 1);
        let consumer = group.add_consumer(text, 1 << 40).expect("the first");
        group.add_consumer(&[text, &b"other"[..]].concat(), -1);
        stream.add_group(group);
        let delivery = Delivery { consumer, is_pending: number < 3, now_ms: 5, most: 100 * number };
        stream.with_group(text, |stream, group| group.deliver(stream, delivery, |_, _| true));
    }
    // Some are given back, in a group with and one without a consumer that has no name.
    for (number, group) in stream.groups_mut().iter_mut().enumerate() {
        if number == 1 {
            let consumer = group.find_or_add(b"", 3).0;
            let claim = Claim { consumer, delivered_ms: 9, deliveries: None };
            if group.claim(StreamId::new(7, 0), claim).is_none() {
                group.remove_consumer(b"");
            }
        }
        (1..texts.len() as u64).step_by(2).for_each(|seq| {
            group.release(StreamId::new(7, seq), |before| before + 1);
        });
    }
    if texts.len() % 2 == 1 {
        let known = stream.idempotence_or(Memory { seconds: 9, most: 3 });
        known.duplicates = 4;
        for (number, text) in texts.iter().enumerate() {
            known.note(&text[..text.len() % 3], text, StreamId::new(7, number as u64));
        }
    }
    stream.remove((0..texts.len() as u64 / 3).map(|seq| StreamId::new(7, seq * 3)));
    stream
}

const ID: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];

/// A node of these elements with an id.
fn node(id: [u8; 16], elements: &[&str]) -> Vec<u8> {
    let mut pack = Listpack::new();
    elements.iter().for_each(|element| pack.push_back(element.as_bytes()));
    [string(&id), string(pack.as_bytes())].concat()
}

/// The entry `1-1 f v`.
const ONE: &[&str] = &["1", "0", "1", "f", "0", "2", "0", "0", "v", "4"];

/// A pending entry: id, time, count.
fn pending(id: [u8; 16]) -> Vec<u8> {
    [&id[..], &[7, 0, 0, 0, 0, 0, 0, 0, 3]].concat()
}

/// A consumer of a stream of the second form with so many ids of its own.
fn consumer(name: &str, ids: &[[u8; 16]]) -> Vec<u8> {
    let name = string(name.as_bytes());
    [name, vec![9, 0, 0, 0, 0, 0, 0, 0, ids.len() as u8], ids.concat()].concat()
}

/// A group of a stream of the second form.
fn group(name: &str, pending: &[Vec<u8>], consumers: &[Vec<u8>]) -> Vec<u8> {
    let head = [string(name.as_bytes()), vec![1, 1, 1, pending.len() as u8]].concat();
    [head, pending.concat(), vec![consumers.len() as u8], consumers.concat()].concat()
}

/// What a stream of one entry says of itself in the second form.
const FACTS: [u8; 8] = [1, 1, 1, 1, 1, 0, 0, 1];

#[test]
fn every_form_of_a_stream_is_read() {
    let entry = "StreamId { ms: 1, seq: 1 } [([102], [118])]";
    let facts = "Facts { length: 1, first_id: StreamId { ms: 1, seq: 1 }, last_id: StreamId { ms: 1, seq: 1 }, \
                 max_deleted_id: StreamId { ms: 0, seq: 0 }, entries_added: 1 }";
    let held = "StreamId { ms: 1, seq: 1 } [99] 7 3";
    let own = "[99] 9 [StreamId { ms: 1, seq: 1 }]";
    let begin = [vec![1], node(ID, ONE)].concat();
    let second = group("g", &[pending(ID)], &[consumer("c", &[ID])]);
    // The first has neither the first id, nor the highest deleted, nor counts of what was added and read.
    let mut first = second.clone();
    first.remove(4);
    // The third has a second time of each consumer.
    let mut third = second.clone();
    let place = third.len() - 17;
    third.splice(place..place, [5, 0, 0, 0, 0, 0, 0, 0]);
    for (kind, facts_of_it, group) in [
        (kind::STREAM, &[1, 1, 1][..], first),
        (kind::STREAM_2, &FACTS, second),
        (kind::STREAM_3, &FACTS, third),
    ] {
        let file = file_of(kind, &[&begin[..], facts_of_it, &[1], &group].concat());
        let (found, _) = read(&file).expect("whole");
        let lines = match &found[0].2 {
            super::Plain::Stream(lines) => lines.clone(),
            other => panic!("{other:?}"),
        };
        let group = "[103] StreamId { ms: 1, seq: 1 } 1";
        assert_eq!(lines, [facts, entry, group, held, own], "{kind}");
    }
    // The fourth has what is known of producers behind the groups, the fifth pending entries that are nobody's behind consumers.
    let fourth = group("g", &[pending(ID)], &[consumer("c", &[ID])]);
    let place = fourth.len() - 17;
    let mut fourth = fourth;
    fourth.splice(place..place, [5, 0, 0, 0, 0, 0, 0, 0]);
    let names = [&[9, 3, 1][..], &string(b"p"), &[1], &string(b"n"), &[1, 1, 7, 2]].concat();
    let no_consumer = group("g", &[pending(ID)], &[]);
    let fifth = [no_consumer, vec![1], ID.to_vec()].concat();
    let known =
        "Memory { seconds: 9, most: 3 } (7, 2) [([112], [110], StreamId { ms: 1, seq: 1 })]";
    let released = "StreamId { ms: 1, seq: 1 } [] 0 3";
    for (kind, group, wanted) in
        [(kind::STREAM_4, fourth, &[held, own][..]), (kind::STREAM_5, fifth, &[released])]
    {
        let file = file_of(kind, &[&begin[..], &FACTS, &[1], &group, &names].concat());
        let (found, _) = read(&file).expect("whole");
        let super::Plain::Stream(lines) = &found[0].2 else { panic!("{:?}", found[0].2) };
        let wanted: Vec<_> =
            [&[facts, entry, "[103] StreamId { ms: 1, seq: 1 } 1"][..], wanted, &[known]].concat();
        assert_eq!(*lines, wanted, "{kind}");
        // Cut off, it is refused.
        let short = file_of(kind, &[&begin[..], &FACTS, &[1], &group, &names[..4]].concat());
        assert!(read(&short[..short.len() - 9]).is_err());
    }
    // A measure that nobody could have wanted.
    let wrong = [&begin[..], &FACTS, &[0], &[0, 3, 0, 0, 0]].concat();
    assert!(read(&file_of(kind::STREAM_4, &wrong)).is_err());
    // One twice, or one that somebody has.
    for ids in [&[ID, ID][..], &[ID]] {
        let consumers = if ids.len() == 1 { vec![consumer("c", &[ID])] } else { vec![] };
        let mut group = group("g", &[pending(ID)], &consumers);
        if ids.len() == 1 {
            let place = group.len() - 17;
            group.splice(place..place, [0; 8]);
        }
        let body =
            [&begin[..], &FACTS, &[1], &group, &[ids.len() as u8], &ids.concat(), &names].concat();
        assert!(read(&file_of(kind::STREAM_5, &body)).is_err());
    }
    // One without entries stays.
    let empty = file_of(kind::STREAM_2, &[0, 0, 5, 0, 0, 0, 0, 0, 3, 0]);
    assert_eq!(read(&empty).expect("whole").0.len(), 1);
}

#[test]
fn damage_of_streams_is_told_as_redis_server_tells_it() {
    let begin = [vec![1], node(ID, ONE)].concat();
    let mut other = ID;
    other[15] = 2;
    let nodes = |nodes: &[Vec<u8>]| {
        [vec![nodes.len() as u8], nodes.concat(), FACTS.to_vec(), vec![0]].concat()
    };
    let groups =
        |groups: &[Vec<u8>]| [&begin[..], &FACTS, &[groups.len() as u8], &groups.concat()].concat();
    let one = |elements: &[&str]| nodes(&[node(ID, elements)]);
    let check = "Stream listpack integrity check failed.";
    let length = "Stream length inconsistent with rax entries";
    let owned = group("g", &[pending(ID)], &[consumer("c", &[ID])]);
    for (what, body, said) in [
        (
            "no id",
            nodes(&[[string(b"short"), string(b"x")].concat()]),
            "not the size of a stream ID",
        ),
        ("no listpack", nodes(&[[string(&ID), string(b"x")].concat()]), check),
        ("an empty one", nodes(&[node(ID, &[])]), "Empty listpack inside stream"),
        ("no fields", one(&["1", "0"]), check),
        ("no number", one(&["x", "0", "1", "f", "0", "2", "0", "0", "v", "4"]), check),
        ("a count below zero", one(&["1", "0", "-1", "0", "2", "0", "0", "4"]), check),
        ("a huge count", one(&["1", "0", "9223372036854775807", "f", "0"]), check),
        ("no end of the names", one(&["1", "0", "1", "f", "1", "2", "0", "0", "v", "4"]), check),
        ("one entry for two", one(&["2", "0", "1", "f", "0", "2", "0", "0", "v", "4"]), check),
        ("more than there should be", one(&[ONE, &["1"]].concat()), check),
        ("a wrong way back", one(&["1", "0", "1", "f", "0", "2", "0", "0", "v", "5"]), check),
        (
            "a mark that is not counted",
            one(&["1", "0", "1", "f", "0", "3", "0", "0", "v", "4"]),
            check,
        ),
        ("names cut off", one(&["1", "0", "1", "f", "0", "0", "0", "0", "7", "a"]), check),
        (
            "out of order",
            one(&["2", "0", "1", "f", "0", "2", "0", "5", "v", "4", "2", "0", "4", "v", "4"]),
            check,
        ),
        ("below the node", one(&["1", "0", "1", "f", "0", "2", "0", "-1", "v", "4"]), check),
        (
            "a node twice",
            nodes(&[node(ID, ONE), node(ID, ONE)]),
            "Listpack re-added with existing key",
        ),
        ("nodes out of order", nodes(&[node(other, ONE), node(ID, ONE)]), check),
        ("more entries than said", nodes(&[node(ID, ONE), node(other, ONE)]), length),
        ("a low last id", [&begin[..], &[1, 1, 0, 1, 1, 0, 0, 1, 0]].concat(), length),
        ("no entries", vec![0, 5, 1, 1, 1, 1, 0, 0, 5, 0], length),
        (
            "a group twice",
            groups(&[group("g", &[], &[]), group("g", &[], &[])]),
            "Duplicated consumer group name",
        ),
        (
            "pending twice",
            groups(&[group("g", &[pending(ID), pending(ID)], &[])]),
            "Duplicated global PEL entry",
        ),
        (
            "a consumer twice",
            groups(&[group("g", &[], &[consumer("c", &[]), consumer("c", &[])])]),
            "Duplicate stream consumer detected.",
        ),
        (
            "what is not pending",
            groups(&[group("g", &[pending(ID)], &[consumer("c", &[other])])]),
            "Consumer entry not found in group global PEL",
        ),
        (
            "owned twice",
            groups(&[group("g", &[pending(ID)], &[consumer("c", &[ID, ID])])]),
            "Duplicated consumer PEL entry",
        ),
        (
            "two owners",
            groups(&[group("g", &[pending(ID)], &[consumer("c", &[ID]), consumer("d", &[ID])])]),
            "Duplicated consumer PEL entry",
        ),
        (
            "no owner",
            groups(&[group("g", &[pending(ID)], &[consumer("c", &[])])]),
            "Stream CG PEL entry without consumer",
        ),
    ] {
        let file = file_of(kind::STREAM_2, &body);
        let found = problem(&file);
        assert!(found.contains(said), "{what}: {found}");
        // And not for what is around it.
        assert!(read(&file_of(kind::STREAM_2, &groups(std::slice::from_ref(&owned)))).is_ok());
    }
}

#[test]
fn a_node_of_nothing_but_deleted_entries_is_taken() {
    let elements = ["0", "1", "1", "f", "0", "3", "0", "0", "v", "4"];
    let body = [vec![1], node(ID, &elements), vec![0, 1, 1, 0, 0, 1, 1, 1, 0]].concat();
    assert!(read(&file_of(kind::STREAM_2, &body)).is_ok());
}
