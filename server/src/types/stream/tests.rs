//! Streams beside plain models.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn pairs(fields: &Fields) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> + Clone {
    fields.iter().map(|(name, value)| (&name[..], &value[..]))
}

fn seen(entry: Entry<'_>) -> (StreamId, Fields) {
    let mut fields = Vec::new();
    entry.for_each(|name, value| fields.push((name.to_vec(), value.to_vec())));
    assert_eq!(fields.len(), entry.len());
    (entry.id, fields)
}

fn add(stream: &mut Stream, ms: u64, limits: &Limits) -> StreamId {
    let fields = vec![(b"name".to_vec(), ms.to_string().into_bytes())];
    stream.add(Wanted::At(ms), 0, pairs(&fields), limits).expect("a higher id")
}

/// The same stream as it comes out of a file.
fn rebuilt(stream: &Stream) -> Stream {
    let mut rebuild = Rebuild::default();
    for (id, node) in stream.nodes().iter() {
        let pack = crate::encoding::listpack::Listpack::from_bytes(node.pack().as_bytes());
        rebuild.node(id, pack.expect("a listpack")).expect("a node");
    }
    rebuild.facts(*stream.facts()).expect("facts that fit");
    for group in stream.groups() {
        let begun = Group::new(group.name(), group.last_id, group.entries_read);
        rebuild.begin_group(begun).expect("another group");
        for (id, held) in group.pending().iter() {
            rebuild.pending(id, held.delivered_ms, held.deliveries).expect("pending once");
        }
        for consumer in group.consumers() {
            rebuild.begin_consumer(consumer.name(), consumer.seen_ms).expect("another consumer");
            consumer.pending().iter().for_each(|(id, ())| rebuild.owns(id).expect("owned once"));
        }
        let released = group.pending().iter().filter(|(_, held)| held.is_released());
        released.for_each(|(id, _)| rebuild.released(id).expect("nobody's"));
        rebuild.end_group().expect("all owned");
    }
    rebuild.finish()
}

#[test]
fn nodes_are_as_large_as_the_settings_say() {
    let limits = Limits { stream_node_entries: 10, ..Limits::default() };
    let mut stream = Stream::default();
    (1..=95).for_each(|ms| {
        add(&mut stream, ms, &limits);
    });
    assert_eq!(stream.nodes().len(), 10);
    let limits = Limits { stream_node_entries: 0, stream_node_bytes: 300, ..Limits::default() };
    let mut stream = Stream::default();
    (1..=1000).for_each(|ms| {
        add(&mut stream, ms, &limits);
    });
    let (most, least) = stream
        .nodes()
        .iter()
        .take(stream.nodes().len() - 1)
        .fold((0, usize::MAX), |(most, least), (_, node)| {
            (most.max(node.pack().total()), least.min(node.pack().total()))
        });
    assert!(most < 320 && least > 270, "{least} to {most}");
    let limits = Limits { stream_node_entries: 0, stream_node_bytes: 0, ..Limits::default() };
    let mut stream = Stream::default();
    (1..=5000).for_each(|ms| {
        add(&mut stream, ms, &limits);
    });
    assert_eq!(stream.nodes().len(), 1);
}

#[test]
fn names_that_differ_stand_with_the_entry() {
    let limits = Limits::default();
    let mut stream = Stream::default();
    let all: Vec<Fields> = [&["a"][..], &["a", "b"], &["b"], &["a"], &["1", "2", "3"]]
        .map(|names| names.iter().map(|name| (name.as_bytes().to_vec(), b"v".to_vec())).collect())
        .into();
    for fields in &all {
        stream.add(Wanted::Next, 5, pairs(fields), &limits).expect("added");
    }
    let read: Vec<Fields> =
        stream.range(StreamId::MIN, StreamId::MAX).map(|entry| seen(entry).1).collect();
    assert_eq!(read, all);
    assert_eq!(stream.nodes().len(), 1);
    assert_eq!(stream.facts().last_id, StreamId::new(5, 4));
}

#[test]
fn ids_are_made_as_redis_makes_them() {
    let limits = Limits::default();
    let mut stream = Stream::default();
    let fields = vec![(b"n".to_vec(), b"v".to_vec())];
    let mut add = |wanted, now| stream.add(wanted, now, pairs(&fields), &limits);
    let id = StreamId::new;
    assert_eq!(add(Wanted::At(0), 9), Ok(id(0, 1)));
    assert_eq!(add(Wanted::Exactly(id(0, 1)), 9), Err(AddError::NotAbove));
    assert_eq!(add(Wanted::Next, 9), Ok(id(9, 0)));
    assert_eq!(add(Wanted::Next, 3), Ok(id(9, 1)));
    assert_eq!(add(Wanted::At(9), 0), Ok(id(9, 2)));
    assert_eq!(add(Wanted::Exactly(id(9, u64::MAX)), 0), Ok(id(9, u64::MAX)));
    assert_eq!(add(Wanted::At(9), 0), Err(AddError::NotAbove));
    assert_eq!(add(Wanted::Next, 9), Ok(id(10, 0)));
    assert_eq!(add(Wanted::Exactly(StreamId::MAX), 0), Ok(StreamId::MAX));
    assert_eq!(add(Wanted::Next, 11), Err(AddError::Exhausted));
}

#[test]
fn a_stream_set_back_behind_what_it_deleted_goes_on() {
    let limits = Limits::default();
    let mut stream = Stream::default();
    for ms in [5, 10] {
        add(&mut stream, ms, &limits);
    }
    assert_eq!(stream.remove([StreamId::new(10, 0)]), 1);
    stream.set_facts(StreamId::new(6, 0), None, None);
    for ms in [7, 10] {
        add(&mut stream, ms, &limits);
    }
    let read: Vec<u64> =
        stream.range(StreamId::new(6, 0), StreamId::MAX).map(|entry| entry.id.ms).collect();
    assert_eq!(read, [7, 10]);
    assert!(stream.contains(StreamId::new(10, 0)) && stream.contains(StreamId::new(7, 0)));
    assert_eq!(rebuilt(&stream).len(), 3);
    assert_eq!(stream.remove([7, 10].map(|ms| StreamId::new(ms, 0))), 2);
    assert_eq!(stream.last_entry_id(), Some(StreamId::new(5, 0)));
}

/// Recorded from XINFO STREAM of redis-server 7.0.15, with `stream-node-max-entries 1`.
#[test]
fn the_size_of_the_index_is_that_of_redis() {
    let limits = Limits { stream_node_entries: 1, ..Limits::default() };
    let mut stream = Stream::default();
    assert_eq!(stream.radix_tree_nodes(), 1);
    for (ms, seq, nodes) in [
        (1, 0, 2),
        (1, 1, 4),
        (1, 2, 5),
        (1, 256, 8),
        (2, 0, 12),
        (70_000, 7, 16),
        (70_000, 8, 18),
        (1 << 60, 0, 21),
    ] {
        let fields = vec![(b"n".to_vec(), b"v".to_vec())];
        let wanted = Wanted::Exactly(StreamId::new(ms, seq));
        stream.add(wanted, 0, pairs(&fields), &limits).expect("added");
        assert_eq!(stream.radix_tree_nodes(), nodes, "{ms}-{seq}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Add { ahead: u64, names: u8, value: Vec<u8> },
    Remove(u64),
    Trim(Trim),
    Range(u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let text = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        any::<i32>().prop_map(|number| number.to_string().into_bytes()),
    ];
    let keep = prop_oneof![
        (0_u64..120).prop_map(Keep::Newest),
        (0_u64..400).prop_map(|ms| Keep::From(StreamId::new(ms, 0))),
    ];
    prop_oneof![
        8 => (0_u64..3, any::<u8>(), text).prop_map(|(ahead, names, value)| Step::Add { ahead, names, value }),
        3 => (0_u64..400).prop_map(Step::Remove),
        1 => (keep, any::<bool>(), 0_u64..30)
            .prop_map(|(keep, by_nodes, limit)| Step::Trim(Trim { keep, by_nodes, limit })),
        2 => (0_u64..400, 0_u64..400).prop_map(|(from, to)| Step::Range(from, to)),
    ]
}

proptest! {
    #[test]
    fn behaves_like_a_map(
        steps in prop::collection::vec(step(), 1..400),
        entries in 0_u64..12,
        bytes in prop_oneof![Just(0_usize), 60_usize..400],
    ) {
        let limits = Limits { stream_node_entries: entries, stream_node_bytes: bytes, ..Limits::default() };
        let mut stream = Stream::default();
        let mut model: BTreeMap<StreamId, Fields> = BTreeMap::new();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Add { ahead, names, value } => {
                    now += ahead;
                    let fields: Fields = (0..=names % 3)
                        .map(|at| (vec![b'a' + at + names / 100], value.clone()))
                        .collect();
                    let id = stream.add(Wanted::Next, now, pairs(&fields), &limits).expect("added");
                    model.insert(id, fields);
                }
                Step::Remove(ms) => {
                    let id = model.range(StreamId::new(ms, 0)..).next().map_or(StreamId::new(ms, 0), |(id, _)| *id);
                    prop_assert_eq!(stream.remove([id]), usize::from(model.remove(&id).is_some()));
                }
                Step::Trim(trim) => {
                    let removed = stream.trim(&trim);
                    let before = model.len();
                    for _ in 0..removed {
                        model.pop_first();
                    }
                    prop_assert_eq!(before - model.len(), removed as usize);
                    if !trim.by_nodes && trim.limit == 0 {
                        match trim.keep {
                            Keep::Newest(count) => prop_assert!(stream.len() <= count),
                            Keep::From(id) => prop_assert!(model.keys().all(|held| *held >= id)),
                        }
                    }
                    if let Keep::From(id) = trim.keep {
                        // Nothing that was to stay has gone.
                        prop_assert!(removed == 0 || stream.range(id, StreamId::MAX).count() == model.range(id..).count());
                    }
                }
                Step::Range(from, to) => {
                    let (from, to) = (StreamId::new(from, 0), StreamId::new(to, 5));
                    let known: Vec<_> = if from <= to {
                        model.range(from..=to).map(|(id, fields)| (*id, fields.clone())).collect()
                    } else {
                        Vec::new()
                    };
                    let forth: Vec<_> = stream.range(from, to).map(seen).collect();
                    prop_assert_eq!(&forth, &known);
                    let mut back: Vec<_> = stream.range_back(from, to).map(seen).collect();
                    back.reverse();
                    prop_assert_eq!(&back, &known);
                }
            }
            prop_assert_eq!(stream.len(), model.len() as u64);
            let first = model.keys().next().copied().unwrap_or_default();
            prop_assert_eq!(stream.facts().first_id, first);
            prop_assert_eq!(stream.last_entry_id(), model.keys().next_back().copied());
        }
        let again = rebuilt(&stream);
        prop_assert_eq!(again.facts(), stream.facts());
        let read: BTreeMap<_, _> = again.range(StreamId::MIN, StreamId::MAX).map(seen).collect();
        prop_assert_eq!(read, model);
    }

    #[test]
    fn groups_behave_like_maps(
        steps in prop::collection::vec((0_u8..10, 0_u8..4, 0_u64..60), 1..300),
    ) {
        let limits = Limits { stream_node_entries: 7, ..Limits::default() };
        let mut stream = Stream::default();
        stream.add_group(Group::new(b"g", StreamId::MIN, 0));
        prop_assert!(!stream.add_group(Group::new(b"g", StreamId::MIN, 0)));
        let mut model: BTreeMap<StreamId, (Vec<u8>, i64, u64)> = BTreeMap::new();
        let mut consumers: Vec<Vec<u8>> = Vec::new();
        let mut last = StreamId::MIN;
        for (now, (what, who, ms)) in (1_i64..).zip(steps) {
            let name = vec![b'a' + who];
            let id = StreamId::new(ms, 0);
            let consumer = {
                let group = stream.group_mut(b"g").expect("there");
                if group.add_consumer(&name, now).is_some() {
                    prop_assert!(!consumers.contains(&name));
                    consumers.push(name.clone());
                }
                group.find(&name).expect("there")
            };
            match what {
                0 | 1 => {
                    let _ = stream.add(Wanted::Next, ms, [(&b"n"[..], &b"v"[..])].into_iter(), &limits);
                }
                2..5 => {
                    let known: Vec<StreamId> = stream
                        .range(last.next().expect("a next"), StreamId::MAX)
                        .take(3)
                        .map(|entry| entry.id)
                        .collect();
                    let mut got = Vec::new();
                    let is_pending = what != 4;
                    let delivery = Delivery { consumer, is_pending, now_ms: now, most: 3 };
                    let count = stream.with_group(b"g", |stream, group| {
                        group.deliver(stream, delivery, |entry, group| {
                            assert_eq!(group.last_id, entry.id);
                            got.push(entry.id);
                            true
                        })
                    });
                    prop_assert_eq!(count, Some(got.len()));
                    prop_assert_eq!(&got, &known);
                    last = got.last().copied().unwrap_or(last);
                    if is_pending {
                        model.extend(got.into_iter().map(|id| (id, (name.clone(), now, 1))));
                    }
                }
                5 => {
                    let had = stream.group_mut(b"g").and_then(|group| group.acknowledge(id));
                    let known = model.remove(&id);
                    prop_assert_eq!(had.map(|held| held.delivered_ms), known.map(|held| held.1));
                }
                6 => {
                    let claim = Claim { consumer, delivered_ms: now, deliveries: Some(7) };
                    let had = stream.group_mut(b"g").and_then(|group| group.claim(id, claim));
                    prop_assert_eq!(had.is_some(), model.contains_key(&id));
                    model.entry(id).and_modify(|held| *held = (name.clone(), now, 7));
                }
                7 => {
                    let group = stream.group_mut(b"g").expect("there");
                    let pending = Pending { consumer, delivered_ms: now, deliveries: 2 };
                    prop_assert_eq!(group.add_pending(id, pending), !model.contains_key(&id));
                    model.entry(id).or_insert((name, now, 2));
                }
                8 => {
                    let group = stream.group_mut(b"g").expect("there");
                    let had = group.release(id, |before| before + 3);
                    prop_assert_eq!(had.is_some(), model.contains_key(&id));
                    prop_assert_eq!(had.is_none_or(|had| had.is_released()), true);
                    model.entry(id).and_modify(|held| *held = (Vec::new(), 0, held.2 + 3));
                    let released = model.values().filter(|held| held.0.is_empty()).count();
                    prop_assert_eq!(group.released_count(), released);
                }
                _ => {
                    let group = stream.group_mut(b"g").expect("there");
                    let known = model.values().filter(|held| held.0 == name).count();
                    prop_assert_eq!(group.remove_consumer(&name), Some(known));
                    model.retain(|_, held| held.0 != name);
                    consumers.retain(|held| *held != name);
                }
            }
            for stream in [&stream, &rebuilt(&stream)] {
                let group = stream.group(b"g").expect("there");
                let known = model.iter().map(|(id, held)| (*id, held.clone()));
                let held = group.pending().iter().map(|(id, held)| {
                    let name = group.owner_name(held).to_vec();
                    (id, (name, held.delivered_ms, held.deliveries))
                });
                prop_assert!(held.eq(known));
                prop_assert_eq!(group.consumer_count(), consumers.len());
                for consumer in group.consumers() {
                    let known = model.iter().filter(|(_, held)| held.0 == consumer.name());
                    prop_assert!(consumer.pending().iter().map(|(id, ())| id).eq(known.map(|(id, _)| *id)));
                }
            }
        }
    }

    #[test]
    fn noise_is_no_node(
        elements in prop::collection::vec(prop_oneof![
            (-3_i64..9).prop_map(|number| number.to_string().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..5),
        ], 0..40),
        counts in (0_i64..4, 0_i64..3, 0_i64..3),
    ) {
        let mut pack = crate::encoding::listpack::Listpack::new();
        for number in [counts.0, counts.1, counts.2] {
            pack.push_back_int(number);
        }
        elements.iter().for_each(|element| pack.push_back(element));
        let mut rebuild = Rebuild::default();
        if rebuild.node(StreamId::new(1, 1), pack).is_ok() {
            let facts = Facts { length: counts.0 as u64, last_id: StreamId::MAX, ..Facts::default() };
            rebuild.facts(facts).expect("as many as it says");
            let mut stream = rebuild.finish();
            let ids: Vec<_> = stream.range(StreamId::MIN, StreamId::MAX).map(|entry| seen(entry).0).collect();
            prop_assert_eq!(ids.len() as i64, counts.0);
            prop_assert_eq!(stream.remove(ids), counts.0 as usize);
            prop_assert!(stream.is_empty() && (counts.0 == 0 || stream.nodes().is_empty()));
        }
    }
}

/// A stream with groups that have read some of it, by a plan of numbers.
fn read_by_groups(entries: u64, plans: &[(u64, Vec<u64>)], limits: &Limits) -> Stream {
    let mut stream = Stream::default();
    (1..=entries).for_each(|ms| {
        add(&mut stream, ms, limits);
    });
    for (at, (read, acknowledged)) in plans.iter().enumerate() {
        let name = [b'a' + at as u8];
        stream.add_group(Group::new(&name, StreamId::MIN, 0));
        stream.with_group(&name, |stream, group| {
            let (consumer, _) = group.find_or_add(b"c", 0);
            let most = *read as usize;
            let delivery = Delivery { consumer, is_pending: true, now_ms: 1, most };
            group.deliver(stream, delivery, |_, _| true);
            acknowledged.iter().for_each(|ms| {
                group.acknowledge(StreamId::new(*ms, 0));
            });
        });
    }
    stream
}

fn ids(stream: &Stream) -> Vec<StreamId> {
    stream.range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id).collect()
}

proptest! {
    #[test]
    fn cutting_off_with_regard_to_groups(
        entries in 0_u64..60,
        plans in proptest::collection::vec(
            (0_u64..60, proptest::collection::vec(1_u64..60, 0..60)),
            0..3,
        ),
        keep in 0_u64..70,
        by_id in any::<bool>(),
        by_nodes in any::<bool>(),
        node_entries in 1_u64..12,
    ) {
        let limits = Limits { stream_node_entries: node_entries, ..Limits::default() };
        let stream = read_by_groups(entries, &plans, &limits);
        let keep = if by_id { Keep::From(StreamId::new(keep, 0)) } else { Keep::Newest(keep) };
        let trim = Trim { keep, by_nodes, limit: 0 };
        let before = ids(&stream);

        let mut exact = stream.clone();
        exact.trim(&Trim { by_nodes: false, ..trim });
        let mut cut = stream.clone();
        let (count, gone) = cut.trim_by(&trim, References::Delete);
        prop_assert_eq!(count, gone.removed.len() as u64);
        prop_assert_eq!(ids(&cut), ids(&exact));
        prop_assert_eq!(*cut.facts(), *exact.facts());
        let mut told: Vec<_> = gone.acknowledged.iter().map(|(name, id)| (name.to_vec(), *id)).collect();
        told.sort();
        let mut held = Vec::new();
        for (group, after) in stream.groups().iter().zip(cut.groups()) {
            for id in gone.removed.iter().filter(|id| group.pending().get(**id).is_some()) {
                held.push((group.name().to_vec(), *id));
                prop_assert!(after.pending().get(*id).is_none());
            }
            let went = group.pending().len() - after.pending().len();
            prop_assert_eq!(went, held.iter().filter(|(name, _)| name == group.name()).count());
        }
        held.sort();
        prop_assert_eq!(told, held);

        let mut cut = stream.clone();
        let (count, gone) = cut.trim_by(&trim, References::Acknowledged);
        prop_assert_eq!(count, gone.removed.len() as u64);
        prop_assert!(gone.acknowledged.is_empty());
        let free: Vec<_> = before.iter().copied().filter(|id| !stream.is_awaited(*id)).collect();
        match keep {
            Keep::From(from) => {
                let wanted: Vec<_> = free.into_iter().filter(|id| *id < from).collect();
                prop_assert_eq!(&gone.removed, &wanted);
            }
            Keep::Newest(most) => {
                prop_assert!(free.starts_with(&gone.removed));
                prop_assert!(count <= (before.len() as u64).saturating_sub(most));
                if plans.is_empty() {
                    prop_assert_eq!(ids(&cut), ids(&exact));
                }
            }
        }
        let left: Vec<_> = before.into_iter().filter(|id| !gone.removed.contains(id)).collect();
        prop_assert_eq!(ids(&cut), left);
        prop_assert_eq!(cut.len(), ids(&cut).len() as u64);

        let mut cut = stream.clone();
        let mut same = stream.clone();
        prop_assert_eq!(cut.trim_by(&trim, References::Keep).0, same.trim(&trim));
        prop_assert_eq!(ids(&cut), ids(&same));
    }

    #[test]
    fn the_order_of_deliveries_is_that_of_what_is_pending(
        steps in proptest::collection::vec((0_u8..7, 1_u64..20, 0_i64..50), 1..80),
        begins in 0_usize..80,
    ) {
        let limits = Limits::default();
        let mut stream = Stream::default();
        (1..20).for_each(|ms| {
            add(&mut stream, ms, &limits);
        });
        stream.add_group(Group::new(b"g", StreamId::MIN, 0));
        for (at, (what, ms, now_ms)) in steps.into_iter().enumerate() {
            let id = StreamId::new(ms, 0);
            if what == 5 && ms % 4 == 0 {
                stream.remove([id]);
            }
            stream.with_group(b"g", |stream, group| {
                if at == begins {
                    let _ = group.ages();
                }
                let consumer = group.find_or_add(&[b'0' + (ms % 3) as u8], now_ms).0;
                let delivery = Delivery { consumer, is_pending: true, now_ms, most: 2 };
                match what {
                    0 => { group.deliver(stream, delivery, |_, _| true); }
                    1 => { group.acknowledge(id); }
                    2 => {
                        let claim = Claim { consumer, delivered_ms: now_ms, deliveries: None };
                        group.claim(id, claim);
                    }
                    3 => group.hand_again(id, now_ms),
                    6 => { group.release(id, |before| before); }
                    4 if ms == 1 => { group.remove_consumer(b"1"); }
                    4 => {
                        let pending = Pending { consumer, delivered_ms: now_ms, deliveries: 1 };
                        group.add_pending(id, pending);
                    }
                    _ => {
                        let mut idle: Vec<_> = group
                            .pending()
                            .iter()
                            .filter(|(id, held)| {
                                now_ms - held.delivered_ms >= 10 && stream.contains(*id)
                            })
                            .map(|(id, held)| (held.delivered_ms, id, held.deliveries))
                            .collect();
                        idle.sort();
                        idle.truncate(2);
                        let mut given = Vec::new();
                        group.deliver_idle(stream, delivery, 10, |entry, before, group| {
                            given.push((before.delivered_ms, entry.id, before.deliveries));
                            let held = group.pending().get(entry.id).copied();
                            let deliveries = before.deliveries + 1;
                            let now = Pending { consumer, delivered_ms: now_ms, deliveries };
                            assert_eq!(held, Some(now));
                            true
                        });
                        assert_eq!(given, idle);
                    }
                }
                if at >= begins {
                    let mut wanted: Vec<_> =
                        group.pending().iter().map(|(id, held)| (held.delivered_ms, id)).collect();
                    wanted.sort();
                    assert!(group.ages().iter().copied().eq(wanted), "after step {at}");
                }
            });
        }
    }
}
