use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::keyspace::{Deadline, Value};
use crate::persistence::rdb::{Decoder, Finisher, Item, Options};
use crate::types::list::End;
use crate::types::stream::{Delivery, Group, StreamId, Wanted};
use crate::types::{Limits, List, Object, Stream};

/// What a data set holds: by database and key, a description of the value and its deadline.
type Model = BTreeMap<(usize, Vec<u8>), (String, Option<i64>)>;

fn described(value: &Value) -> String {
    match value {
        Value::Int(number) => number.to_string(),
        Value::Bytes(bytes) | Value::Raw(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Object(Object::List(list)) => {
            let mut text = format!("list of {}:", list.len());
            list.walk(End::Front, |_, element| {
                element.with_text(|word| text.push_str(&String::from_utf8_lossy(word)));
                text.push(' ');
                true
            });
            text
        }
        Value::Object(Object::Stream(stream)) => {
            let mut text = format!("{:?}:", stream.facts());
            for entry in stream.range(StreamId::MIN, StreamId::MAX) {
                text.push_str(&String::from_utf8_lossy(entry.id.text().as_bytes()));
                text.push(' ');
            }
            for group in stream.groups() {
                text.push_str(&format!("{:?} {}: ", group.last_id, group.entries_read));
                group.pending().iter().for_each(|(id, held)| {
                    text.push_str(&format!("{}-{} {} ", id.ms, id.seq, held.deliveries));
                });
            }
            text
        }
        Value::Object(other) => format!("{} of {}", other.encoding_name(), other.len()),
    }
}

fn model_of(keyspace: &Keyspace) -> Model {
    let mut model = Model::new();
    for db in &keyspace.dbs {
        for entry in db.iter() {
            let value = (described(&entry.duplicate()), entry.deadline());
            model.insert((db.index(), entry.key().to_vec()), value);
        }
    }
    model
}

/// What a snapshot's drafts hold, decoded.
fn model_of_drafts(drafts: &[Draft]) -> Model {
    let mut finisher = Finisher::new(true, true);
    let mut head = Draft::default();
    rdb::begin(&mut head, &rdb::About::default());
    finisher.finish(&head);
    drafts.iter().for_each(|draft| finisher.finish(draft));
    let bytes = std::mem::take(finisher.output());
    let mut decoder = Decoder::new(&bytes[..], Options::default());
    let (mut model, mut db) = (Model::new(), 0);
    loop {
        match decoder.next().expect("what was written is read") {
            Item::Select(number) => db = number,
            Item::Entry { key, value, deadline, .. } => {
                let value = value.into_value().expect("a type of ours");
                let value = (described(&value), deadline);
                let before = model.insert((db as usize, key.to_vec()), value);
                assert!(before.is_none(), "{key:?} came twice");
            }
            Item::End(_) => return model,
            _ => {}
        }
    }
}

/// A list that is written in several slices.
fn large_list(tag: u8) -> Object {
    let mut list = List::default();
    for number in 0..=crate::keyspace::shared::LARGE_ELEMENTS {
        let word = format!("{tag}-{number}-{}", "x".repeat(20));
        list.push(End::Back, word.as_bytes(), &Limits::default());
    }
    Object::List(list)
}

/// A stream, all of which is pending; a large one is written in several slices.
fn stream(large: bool) -> Object {
    let mut stream = Stream::default();
    stream.add_group(Group::new(b"g", StreamId::MIN, 0));
    let entries = if large { crate::keyspace::shared::LARGE_ELEMENTS } else { 5 };
    for _ in 0..entries {
        read(&mut stream);
    }
    Object::Stream(Box::new(stream))
}

/// Adds an entry and hands one out.
fn read(stream: &mut Stream) {
    let pairs = [(&b"name"[..], &b"a value of some length"[..])];
    let _ = stream.add(Wanted::Next, 1, pairs.into_iter(), &Limits::default());
    stream.with_group(b"g", |stream, group| {
        let (consumer, _) = group.find_or_add(b"c", 7);
        let delivery = Delivery { consumer, is_pending: true, now_ms: 8, most: 1 };
        group.deliver(stream, delivery, |_, _| true)
    });
}

fn take_all(snapshot: &Snapshot, into: &mut Vec<Draft>) {
    while let Some((draft, _)) = snapshot.take_draft() {
        into.push(draft);
    }
}

#[derive(Debug, Clone)]
enum Op {
    Set(usize, u8, u8),
    SetLarge(usize, u8),
    Push(usize, u8),
    SetStream(usize, u8, bool),
    Read(usize, u8, u8),
    Remove(usize, u8),
    Unlink(usize, u8),
    Expire(usize, u8, i64),
    Rename(usize, u8, u8),
    Move(usize, u8),
    Swap,
    Clear(usize, bool),
    Step,
    Hold(usize, u8),
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0_u8..24;
    prop_oneof![
        3 => (0_usize..2, key.clone(), any::<u8>()).prop_map(|(db, key, value)| Op::Set(db, key, value)),
        1 => (0_usize..2, key.clone()).prop_map(|(db, key)| Op::SetLarge(db, key)),
        2 => (0_usize..2, key.clone()).prop_map(|(db, key)| Op::Push(db, key)),
        1 => (0_usize..2, key.clone(), any::<bool>())
            .prop_map(|(db, key, large)| Op::SetStream(db, key, large)),
        2 => (0_usize..2, key.clone(), 0_u8..10).prop_map(|(db, key, seq)| Op::Read(db, key, seq)),
        2 => (0_usize..2, key.clone()).prop_map(|(db, key)| Op::Remove(db, key)),
        1 => (0_usize..2, key.clone()).prop_map(|(db, key)| Op::Unlink(db, key)),
        1 => (0_usize..2, key.clone(), 1_i64..1000).prop_map(|(db, key, at)| Op::Expire(db, key, at)),
        1 => (0_usize..2, key.clone(), key.clone()).prop_map(|(db, from, to)| Op::Rename(db, from, to)),
        1 => (0_usize..2, key.clone()).prop_map(|(db, key)| Op::Move(db, key)),
        1 => Just(Op::Swap),
        1 => (0_usize..2, any::<bool>()).prop_map(|(db, lazily)| Op::Clear(db, lazily)),
        6 => Just(Op::Step),
        1 => (0_usize..2, key).prop_map(|(db, key)| Op::Hold(db, key)),
    ]
}

fn apply(keyspace: &mut Keyspace, snapshot: Option<&Snapshot>, op: &Op) {
    let name = |key: &u8| format!("key-{key}").into_bytes();
    match op {
        Op::Set(db, key, value) => {
            let text = format!("value {value} {}", "v".repeat(usize::from(*value)));
            keyspace.db(*db).set_string(&name(key), text.as_bytes(), Deadline::Clear);
        }
        Op::SetLarge(db, key) => {
            keyspace.db(*db).set_object(&name(key), large_list(*key), Deadline::Clear);
        }
        Op::Push(db, key) => {
            // A key of another type refuses, which is as good as no change.
            if let Ok(list) = keyspace.db(*db).write_or_create::<List>(&name(key)) {
                list.push(End::Front, b"pushed", &Limits::default());
            }
        }
        Op::SetStream(db, key, large) => {
            keyspace.db(*db).set_object(&name(key), stream(*large), Deadline::Clear);
        }
        Op::Read(db, key, seq) => {
            if let Ok(Some(stream)) = keyspace.db(*db).write_as::<Stream>(&name(key)) {
                let id = StreamId::new(1, u64::from(*seq));
                stream.remove([id]);
                stream.group_mut(b"g").map(|group| group.acknowledge(id));
                read(stream);
            }
        }
        Op::Remove(db, key) => _ = keyspace.db(*db).remove(&name(key)),
        Op::Unlink(db, key) => _ = keyspace.db(*db).unlink(&name(key)),
        Op::Expire(db, key, at) => _ = keyspace.db(*db).set_deadline(&name(key), Some(*at)),
        Op::Rename(db, from, to) => _ = keyspace.db(*db).rename(&name(from), &name(to)),
        Op::Move(db, key) => {
            if let Some((from, to)) = keyspace.two(*db, 1 - *db)
                && !to.contains(&name(key))
                && let Some(taken) = from.take(&name(key))
            {
                to.put(&name(key), taken);
            }
        }
        Op::Swap => {
            if let Some((one, other)) = keyspace.two(0, 1) {
                one.swap(other);
            }
        }
        Op::Clear(db, true) => keyspace.db(*db).clear_lazily(),
        Op::Clear(db, false) => keyspace.db(*db).clear(),
        Op::Step => {
            if let Some(snapshot) = snapshot {
                snapshot.step(keyspace, Duration::ZERO, usize::MAX);
            }
        }
        Op::Hold(db, key) => {
            let home = keyspace.dbs[*db].home();
            if let (Some(snapshot), Some(entry)) =
                (snapshot, keyspace.dbs[*db].look_any(&name(key)))
            {
                snapshot.holds(home, entry);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_snapshot_is_of_one_moment_whatever_happens_meanwhile(
        before in prop::collection::vec(op(), 0..60),
        during in prop::collection::vec(op(), 0..60),
        aborted in any::<bool>(),
    ) {
        let mut keyspace = Keyspace::new(2);
        for op in &before {
            apply(&mut keyspace, None, op);
        }
        if aborted {
            // One that is given up half-way leaves no trace in the next.
            let snapshot = Snapshot::begin(&mut keyspace, Uses::Unknown);
            for op in &during {
                apply(&mut keyspace, Some(&snapshot), op);
            }
            keyspace.end_epoch(false);
        }
        let wanted = model_of(&keyspace);
        let snapshot = Snapshot::begin(&mut keyspace, Uses::Unknown);
        prop_assert_eq!(snapshot.keys_total(), wanted.len());
        let mut drafts = Vec::new();
        for op in &during {
            apply(&mut keyspace, Some(&snapshot), op);
            take_all(&snapshot, &mut drafts);
        }
        while snapshot.step(&mut keyspace, Duration::ZERO, usize::MAX) == Step::More {
            take_all(&snapshot, &mut drafts);
        }
        take_all(&snapshot, &mut drafts);
        prop_assert_eq!(snapshot.keys_done(), wanted.len());
        keyspace.end_epoch(true);
        prop_assert_eq!(model_of_drafts(&drafts), wanted);
        for db in &keyspace.dbs {
            db.check();
        }
    }
}

#[test]
fn numbers_of_epochs_come_again_without_a_lie() {
    let mut keyspace = Keyspace::new(1);
    keyspace.db(0).set_string(b"old", b"value", Deadline::Clear);
    for _ in 0..600 {
        let snapshot = Snapshot::begin(&mut keyspace, Uses::Unknown);
        drop(snapshot);
        keyspace.end_epoch(false);
    }
    let snapshot = Snapshot::begin(&mut keyspace, Uses::Unknown);
    keyspace.db(0).set_string(b"old", b"new", Deadline::Clear);
    assert_eq!(snapshot.keys_done(), 1, "the old value was seen before it went");
}

/// Whatever becomes of a large value that somebody waits for, it is next, and it is said when it is done with.
#[test]
fn who_waits_for_a_large_value_hears_of_it_first() {
    let changes = [
        None,
        Some(Op::Push(0, 1)),
        Some(Op::Unlink(0, 1)),
        Some(Op::SetLarge(0, 1)),
        Some(Op::Rename(0, 1, 2)),
        Some(Op::Clear(0, true)),
    ];
    for change in changes {
        for slices_before in 0..2 {
            let mut keyspace = Keyspace::new(2);
            for key in 0..24 {
                apply(&mut keyspace, None, &Op::SetLarge(0, key));
            }
            let snapshot = Snapshot::begin(&mut keyspace, Uses::Unknown);
            apply(&mut keyspace, Some(&snapshot), &Op::Hold(0, 1));
            for _ in 0..slices_before {
                apply(&mut keyspace, Some(&snapshot), &Op::Step);
            }
            assert_eq!(snapshot.large_done(), 0, "{change:?}: it takes two slices");
            change.iter().for_each(|op| apply(&mut keyspace, Some(&snapshot), op));
            let mut steps = 0;
            while snapshot.large_done() == 0 {
                let step = snapshot.step(&mut keyspace, Duration::ZERO, usize::MAX);
                assert_eq!(step, Step::More, "{change:?}: nobody was told");
                steps += 1;
            }
            assert!(steps < 50, "{change:?}: told after {steps} steps");
            // RENAME parts two values from their place.
            assert!(snapshot.keys_done() <= 2, "{change:?}: others came first");
            keyspace.end_epoch(false);
        }
    }
}
