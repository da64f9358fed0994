//! RDB files: refused or read whole, by pieces as well as at once; what was read is written and read again as the same
//! entries, and nothing holds more memory than its bytes account for.
//!
//! The first byte says how the file is read. With nothing in the corpus yet, an input that is too short for a file stands
//! for one that is made here of every type, so that the first mutations have something to change.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use redstart_server::keyspace::{Deadline, Keyspace, Taken, Value};
use redstart_server::persistence::rdb::{
    About, Decoder, Draft, Finisher, Item, Options, Slicer, Usage, begin, end, entry, select,
};
use redstart_server::types::list::End;
use redstart_server::types::stream::{Delivery, Group, StreamId, Wanted};
use redstart_server::types::{Bloom, Hash, Limits, List, Object, Set, Stream, Zset};

/// What a byte of LZF can grow to, twice for what containers take besides, and something to begin with.
const GROWTH_MAX: usize = 264 * 2;
const SMALL_BYTES: usize = 16 * 1024;

/// Gives a few bytes at a time.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = out.len().min(7);
        self.0.read(&mut out[..count])
    }
}

fuzz_target!(|data: &[u8]| {
    let [choice, file @ ..] = data else { return };
    let seed;
    let file = if file.len() < 9 {
        seed = sample(file.len(), choice & 8 != 0);
        &seed
    } else {
        file
    };
    let options = Options {
        limits: limits(*choice),
        // Mutations would hardly ever fit the checksum.
        verifies: choice & 64 != 0,
        length: (choice & 16 != 0).then_some(file.len() as u64),
        passes_over: choice & 32 != 0,
    };
    let whole = load(file, options.clone());
    let pieces = load(Slow(file), options.clone());
    assert_eq!(whole.is_some(), pieces.is_some());
    let (Some(mut keyspace), Some(pieces)) = (whole, pieces) else { return };
    assert_eq!(keyspace.len(), pieces.len());
    for entry in keyspace.db(0).iter() {
        if let Some(object) = entry.object() {
            assert!(!object.is_empty());
            let bytes = object.allocated_bytes(usize::MAX);
            assert!(bytes <= file.len() * GROWTH_MAX + SMALL_BYTES, "{bytes} bytes");
        }
    }
    let written = write(&mut keyspace, choice & 128 != 0);
    let again = load(&written[..], Options { verifies: true, length: None, ..options });
    let mut again = again.expect("what was written is read");
    assert_eq!(keyspace.len(), again.len());
    again.db(0).check();
    // Forms may differ after the first reading, but not after the second.
    let third = write(&mut again, false);
    assert!(load(&third[..], Options::default()).is_some_and(|third| third.len() == again.len()));
});

fn load(reader: impl Read, options: Options) -> Option<Keyspace> {
    let mut keyspace = Keyspace::new(1);
    let mut decoder = Decoder::new(reader, options);
    loop {
        match decoder.next().ok()? {
            Item::Entry { key, value, deadline, .. } => {
                let key = key.to_vec();
                if let Some(value) = value.into_value() {
                    keyspace.db(0).put(&key, Taken { value, deadline });
                }
            }
            Item::End(_) => return Some(keyspace),
            _ => {}
        }
    }
}

/// By slices or at once.
fn write(keyspace: &mut Keyspace, by_slices: bool) -> Vec<u8> {
    let mut draft = Draft::default();
    begin(&mut draft, &About::default());
    select(&mut draft, 0, keyspace.len(), 0);
    for held in keyspace.db(0).iter() {
        if by_slices {
            let mut slicer = Slicer::begin(&mut draft, held, Usage::Frequency(3));
            while !slicer.advance(&mut draft, held, 50) {}
        } else {
            entry(&mut draft, held, Usage::IdleSeconds(9));
        }
    }
    end(&mut draft);
    let mut finisher = Finisher::new(true, true);
    finisher.finish(&draft);
    std::mem::take(finisher.output())
}

fn sample(members: usize, large: bool) -> Vec<u8> {
    let limits = Limits::default();
    let (mut list, mut set) = (List::default(), Set::default());
    let (mut hash, mut zset) = (Hash::default(), Zset::default());
    let mut stream = Stream::default();
    for at in 0..=members * if large { 90 } else { 1 } {
        let text = format!("{at} of them");
        list.push(End::Back, text.as_bytes(), &limits);
        set.insert(text.as_bytes(), &limits);
        hash.set(text.as_bytes(), b"12", &limits);
        zset.set(text.as_bytes(), at as f64, &limits);
        let pairs = [(&b"name"[..], text.as_bytes()), (b"more", b"7")].into_iter().take(1 + at % 2);
        stream.add(Wanted::Next, 9, pairs, &limits).expect("a higher id");
    }
    let mut group = Group::new(b"group", StreamId::MIN, 0);
    let consumer = group.add_consumer(b"consumer", 1 << 40).expect("the first");
    group.add_consumer(b"idle", 0);
    stream.add_group(group);
    let delivery = Delivery { consumer, is_pending: true, now_ms: 1 << 41, most: members };
    stream.with_group(b"group", |stream, group| group.deliver(stream, delivery, |_, _| true));
    stream.remove([StreamId::new(9, 1), StreamId::new(9, 2)]);
    let stream = Object::Stream(Box::new(stream));
    let mut keyspace = Keyspace::new(1);
    let db = keyspace.db(0);
    let rest = [Object::Set(set), Object::Hash(hash), Object::Zset(zset), stream];
    for object in [Object::List(list)].into_iter().chain(rest) {
        db.set_object(format!("{:?}", object.kind()).as_bytes(), object, Deadline::At(1 << 45));
    }
    let (mut timed, mut filter) = (Hash::default(), Bloom::new(9, 0.01, 2, true).expect("one"));
    for at in 0..=members {
        let text = at.to_string();
        timed.set(text.as_bytes(), b"12", &limits);
        let deadline = (at % 3 != 0).then_some(1 << 41 | at as i64);
        timed.make_timed().set_deadline(text.as_bytes(), deadline);
        filter.add(text.as_bytes()).expect("room");
    }
    db.set_object(b"timed", Object::Hash(timed), Deadline::Clear);
    db.set_object(b"filter", Object::Bloom(Box::new(filter)), Deadline::Clear);
    db.put(b"text", Taken { value: Value::Bytes(vec![b'a'; 100]), deadline: None });
    write(&mut keyspace, false)
}

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
