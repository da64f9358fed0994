mod streams;

use std::collections::BTreeMap;
use std::io::Read;

use proptest::prelude::*;

use self::streams::{plain_stream, stream_of};
use super::format::{kind, opcode};
use super::*;
use crate::encoding::listpack::Listpack;
use crate::keyspace::{Deadline, Keyspace, Str, Value};
use crate::types::list::End;
use crate::types::{Bloom, Hash, Limits, List, Object, Set, Zset};

/// A value as a plain program would hold it.
#[derive(Debug, PartialEq, Clone)]
enum Plain {
    Text(Vec<u8>),
    List(Vec<Vec<u8>>),
    Map(BTreeMap<Vec<u8>, Vec<u8>>),
    Sorted(Vec<(Vec<u8>, f64)>),
    /// All of a stream: entries, facts, groups with what is pending.
    Stream(Vec<String>),
}

fn plain_object(object: &Object) -> Plain {
    match object {
        Object::List(list) => {
            let mut texts = Vec::new();
            list.walk(End::Front, |_, element| {
                texts.push(element.to_vec());
                true
            });
            Plain::List(texts)
        }
        Object::Set(set) => {
            let mut members = BTreeMap::new();
            set.for_each(|member| {
                members.insert(member.to_vec(), Vec::new());
            });
            Plain::Map(members)
        }
        Object::Hash(hash) => {
            let mut fields = BTreeMap::new();
            hash.for_each_stored(|field, value, deadline| {
                let mut value = value.to_vec();
                if let Some(at) = deadline {
                    value.extend_from_slice(format!(" until {at}").as_bytes());
                }
                fields.insert(field.to_vec(), value);
            });
            Plain::Map(fields)
        }
        Object::Zset(zset) => {
            zset.check();
            let mut members = Vec::new();
            zset.walk(0, false, |member, score| {
                members.push((member.to_vec(), score));
                true
            });
            Plain::Sorted(members)
        }
        Object::Stream(stream) => Plain::Stream(plain_stream(stream)),
        Object::Bloom(filter) => {
            let bits = filter.links().iter().map(|link| link.data.clone());
            Plain::List(std::iter::once(filter.header()).chain(bits).collect())
        }
    }
}

fn plain(value: &Value) -> Plain {
    match value {
        Value::Int(number) => Plain::Text(number.to_string().into_bytes()),
        Value::Bytes(text) | Value::Raw(text) => Plain::Text(text.clone()),
        Value::Object(object) => plain_object(object),
    }
}

type Read1 = (u64, Vec<u8>, Plain, Option<i64>, Usage);

fn read_with(reader: impl Read, options: Options) -> Result<(Vec<Read1>, Checksum), LoadError> {
    let mut decoder = Decoder::new(reader, options);
    let (mut db, mut found) = (0, Vec::new());
    loop {
        match decoder.next()? {
            Item::Select(number) => db = number,
            Item::Entry { key, value, deadline, usage } => {
                let key = key.to_vec();
                if let Some(value) = value.into_value() {
                    found.push((db, key, plain(&value), deadline, usage));
                }
            }
            Item::End(checksum) => return Ok((found, checksum)),
            _ => {}
        }
    }
}

fn read(bytes: &[u8]) -> Result<(Vec<Read1>, Checksum), LoadError> {
    let known = Options { length: Some(bytes.len() as u64), ..Options::default() };
    let result = read_with(bytes, Options::default());
    match (&result, &read_with(bytes, known)) {
        (Ok(left), Ok(right)) => assert_eq!(left, right),
        // Where the length is known, a count that cannot be true is seen before its elements are.
        (Err(_), Err(_)) => {}
        _ => panic!("it depends on the length"),
    }
    result
}

fn problem(bytes: &[u8]) -> String {
    read(bytes).expect_err("damaged").log_lines().pop().expect("a line")
}

/// A file of one entry with a value in this form.
fn file_of(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"REDIS0010\xfa\x09redis-ver\x057.9.9\xfe\x03".to_vec();
    bytes.extend_from_slice(&[kind, 1, b'k']);
    bytes.extend_from_slice(body);
    bytes.push(opcode::EOF);
    bytes.extend_from_slice(&[0; 8]);
    bytes
}

fn value_of(kind: u8, body: &[u8]) -> Plain {
    let (mut found, checksum) = read(&file_of(kind, body)).expect("whole");
    assert_eq!((found.len(), checksum), (1, Checksum::NotMade));
    found.remove(0).2
}

fn string(text: &[u8]) -> Vec<u8> {
    let mut draft = Draft::default();
    draft.put_plain(text);
    draft.bytes
}

fn finished(drafts: &[Draft], compresses: bool, checksums: bool) -> Vec<u8> {
    let mut finisher = Finisher::new(compresses, checksums);
    let mut out = Vec::new();
    for draft in drafts {
        finisher.finish(draft);
        out.append(finisher.output());
    }
    out
}

fn collections(texts: &[Vec<u8>], limits: &Limits) -> Vec<Object> {
    let (mut list, mut set) = (List::default(), Set::default());
    let (mut hash, mut zset) = (Hash::default(), Zset::default());
    let (mut timed, mut lasting) = (Hash::default(), Hash::default());
    for (at, text) in texts.iter().enumerate() {
        list.push(End::Back, text, limits);
        set.insert(text, limits);
        hash.set(text, texts[at / 2].as_slice(), limits);
        zset.set(text, (at as f64 - 5.0) / 3.0, limits);
    }
    for (number, text) in texts.iter().enumerate() {
        timed.set(text, text, limits);
        lasting.set(text, text, limits);
        let at = (number % 3 != 0).then(|| 1 << (number % 45));
        timed.make_timed().set_deadline(text, at);
    }
    lasting.make_timed();
    let hashes = [hash, timed, lasting].map(Object::Hash);
    let mut filter = Bloom::new(5, 0.01, 2, true).expect("a filter");
    for text in texts {
        filter.add(text).expect("room");
    }
    let stream = Object::Stream(Box::new(stream_of(texts, limits)));
    let filter = Object::Bloom(Box::new(filter));
    let others = [Object::List(list), Object::Set(set), Object::Zset(zset), stream, filter];
    hashes.into_iter().chain(others).collect()
}

fn texts() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let text = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        (-300_i32..300).prop_map(|number| number.to_string().into_bytes()),
        ("[ab]{1,4}", 1_usize..60).prop_map(|(word, times)| word.repeat(times).into_bytes()),
    ];
    prop::collection::btree_set(text, 1..300).prop_map(|set| set.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_read_whatever_the_slices(
        texts in texts(),
        compresses in any::<bool>(),
        checksums in any::<bool>(),
        budget in 1_usize..3000,
        deadline in prop::option::of(any::<i64>().prop_filter("kept", |at| *at != i64::MIN)),
        usage in prop_oneof![
            Just(Usage::Unknown),
            (0_u64..1 << 40).prop_map(Usage::IdleSeconds),
            any::<u8>().prop_map(Usage::Frequency),
        ],
    ) {
        let limits = Limits::default();
        let mut keyspace = Keyspace::new(1);
        let db = keyspace.db(0);
        let at = deadline.map_or(Deadline::Clear, Deadline::At);
        for (number, object) in collections(&texts, &limits).into_iter().enumerate() {
            db.set_object(format!("{number}").as_bytes(), object, at);
        }
        for text in &texts {
            db.set_string(&[b"text ", &text[..]].concat(), text, at);
        }
        let (mut whole, mut slices) = (Draft::default(), vec![Draft::default()]);
        begin(&mut whole, &About::default());
        begin(&mut slices[0], &About::default());
        let mut expected = Vec::new();
        select(&mut whole, 7, db.len(), db.volatile_len());
        select(&mut slices[0], 7, db.len(), db.volatile_len());
        for held in db.iter() {
            entry(&mut whole, held, usage);
            let last = slices.last_mut().expect("one");
            let mut slicer = Slicer::begin(last, held, usage);
            loop {
                let mut slice = Draft::default();
                let is_done = slicer.advance(&mut slice, held, budget);
                slices.push(slice);
                if is_done {
                    break;
                }
            }
            let value = match (held.string(), held.object()) {
                (Some(Str::Int(number)), _) => Plain::Text(number.to_string().into_bytes()),
                (Some(Str::Bytes(bytes)), _) => Plain::Text(bytes.to_vec()),
                (_, Some(object)) => plain_object(object),
                _ => unreachable!("one or the other"),
            };
            expected.push((7, held.key().to_vec(), value, deadline, usage));
        }
        end(&mut whole);
        let mut last = Draft::default();
        end(&mut last);
        slices.push(last);
        let bytes = finished(&[whole], compresses, checksums);
        prop_assert_eq!(&bytes, &finished(&slices, compresses, checksums));
        let (found, checksum) = read(&bytes).expect("whole");
        prop_assert_eq!(found, expected);
        prop_assert_eq!(checksum, if checksums { Checksum::Right } else { Checksum::NotMade });
    }

    #[test]
    fn damaged_files_are_refused_or_read_and_no_more_is_allocated_than_came(
        texts in texts(),
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut keyspace = Keyspace::new(1);
        for (number, object) in collections(&texts, &Limits::default()).into_iter().enumerate() {
            keyspace.db(0).set_object(format!("{number}").as_bytes(), object, Deadline::Clear);
        }
        let mut draft = Draft::default();
        begin(&mut draft, &About::default());
        keyspace.db(0).iter().for_each(|held| entry(&mut draft, held, Usage::Unknown));
        end(&mut draft);
        let mut bytes = finished(&[draft], true, true);
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
            prop_assert!(read(&bytes).is_err());
        } else {
            let before = std::mem::replace(&mut bytes[at], with);
            // The checksum sees it, if nothing before.
            prop_assert_eq!(read(&bytes).is_ok(), before == with);
            let _ = read_with(&bytes[..], Options { verifies: false, ..Options::default() });
        }
    }

    #[test]
    fn noise_never_panics(
        kind in prop_oneof![0_u8..30, 240_u8..=255],
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0_u8..4], 0..200),
        magic in prop_oneof![Just(b"REDIS0010"), Just(b"REDIS0003"), Just(b"REDIS0012"), Just(b"VALKEY080")],
    ) {
        let file = [&magic[..], &[kind, 1, b'k'], &bytes].concat();
        let _ = read(&file);
        let _ = read_with(&file[..], Options { passes_over: true, ..Options::default() });
    }
}

fn texts_of(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn map_of(pairs: &[(&str, &str)]) -> Plain {
    let pairs =
        pairs.iter().map(|(field, value)| (field.as_bytes().to_vec(), value.as_bytes().to_vec()));
    Plain::Map(pairs.collect())
}

fn pack_of(words: &[&str]) -> Vec<u8> {
    let mut pack = Listpack::new();
    words.iter().for_each(|word| pack.push_back(word.as_bytes()));
    string(pack.as_bytes())
}

#[test]
fn every_old_form_is_read() {
    let zipped = string(b"\x14\0\0\0\x0f\0\0\0\x03\0\x00\x01a\x03\xf6\x02\x02bc\xff");
    assert_eq!(value_of(kind::LIST_ZIPLIST, &zipped), Plain::List(texts_of(&["a", "5", "bc"])));
    let nodes = [&[2], &zipped[..], &zipped].concat();
    let twice = texts_of(&["a", "5", "bc", "a", "5", "bc"]);
    assert_eq!(value_of(kind::LIST_QUICKLIST, &nodes), Plain::List(twice));
    assert_eq!(value_of(kind::LIST, b"\x02\x01a\xc0\x05"), Plain::List(texts_of(&["a", "5"])));
    let plain_node = [&[2, 1, 1, b'x', 2], &pack_of(&["y"])[..]].concat();
    assert_eq!(value_of(kind::LIST_QUICKLIST_2, &plain_node), Plain::List(texts_of(&["x", "y"])));

    let zipmap = string(b"\x02\x03foo\x03\x00bar\x05hello\x05\x02world..\xff");
    assert_eq!(value_of(kind::HASH_ZIPMAP, &zipmap), map_of(&[("foo", "bar"), ("hello", "world")]));
    let pairs = string(b"\x11\0\0\0\x0d\0\0\0\x02\0\x00\x01f\x03\x01v\xff");
    assert_eq!(value_of(kind::HASH_ZIPLIST, &pairs), map_of(&[("f", "v")]));
    assert_eq!(value_of(kind::HASH, b"\x01\x01f\x01v"), map_of(&[("f", "v")]));
    assert_eq!(value_of(kind::HASH_LISTPACK, &pack_of(&["f", "v"])), map_of(&[("f", "v")]));

    let scored = string(b"\x10\0\0\0\x0d\0\0\0\x02\0\x00\x01m\x03\xf4\xff");
    let member = Plain::Sorted(vec![(b"m".to_vec(), 3.0)]);
    assert_eq!(value_of(kind::ZSET_ZIPLIST, &scored), member);
    assert_eq!(value_of(kind::ZSET_LISTPACK, &pack_of(&["m", "3"])), member);
    assert_eq!(value_of(kind::ZSET_TEXT, b"\x01\x01m\x013"), member);
    let ends = Plain::Sorted(vec![
        (b"low".to_vec(), f64::NEG_INFINITY),
        (b"m".to_vec(), 3.5),
        (b"high".to_vec(), f64::INFINITY),
    ]);
    assert_eq!(value_of(kind::ZSET_TEXT, b"\x03\x03low\xff\x01m\x033.5\x04high\xfe"), ends);

    let set = map_of(&[("1", ""), ("2", "")]);
    assert_eq!(value_of(kind::SET_INTSET, b"\x0c\x02\0\0\0\x02\0\0\0\x01\0\x02\0"), set);
    assert_eq!(value_of(kind::SET_LISTPACK, &pack_of(&["1", "2"])), set);
    assert_eq!(value_of(kind::SET, b"\x02\xc0\x01\x012"), set);
    assert_eq!(
        value_of(kind::STRING, b"\xc3\x05\x0a\x00a\xe0\x00\x00"),
        Plain::Text(b"aaaaaaaaaa".to_vec())
    );
    assert_eq!(value_of(kind::STRING, b"\xc1\x39\x30"), Plain::Text(b"12345".to_vec()));
}

#[test]
fn hashes_with_room_for_deadlines_are_read() {
    let hash = map_of(&[("a", "1"), ("b", "2")]);
    let pairs = b"\x02\0\x01a\x011\0\x01b\x012";
    let with_min = [&[0; 8], &pairs[..]].concat();
    assert_eq!(value_of(kind::HASH_DEADLINES_EARLY, pairs), hash);
    assert_eq!(value_of(kind::HASH_DEADLINES, &with_min), hash);
    let pack = pack_of(&["a", "1", "0", "b", "2", "0"]);
    assert_eq!(value_of(kind::HASH_LISTPACK_DEADLINES_EARLY, &pack), hash);
    assert_eq!(value_of(kind::HASH_LISTPACK_DEADLINES, &[&[0; 8], &pack[..]].concat()), hash);
    // Valkey gave 22 to a form of its own.
    let mut valkey = file_of(
        22,
        b"\x02\x01a\x011\xff\xff\xff\xff\xff\xff\xff\xff\x01b\x012\xff\xff\xff\xff\xff\xff\xff\xff",
    );
    valkey[..9].copy_from_slice(b"VALKEY080");
    assert_eq!(read(&valkey).expect("whole").0[0].2, hash);

    let hash = map_of(&[("a", "1 until 77"), ("b", "2"), ("c", "3 until 80")]);
    let absolute = b"\x03\x40\x4d\x01a\x011\0\x01b\x012\x40\x50\x01c\x013";
    assert_eq!(value_of(kind::HASH_DEADLINES_EARLY, absolute), hash);
    let relative = b"\x4d\0\0\0\0\0\0\0\x03\x01\x01a\x011\0\x01b\x012\x04\x01c\x013";
    assert_eq!(value_of(kind::HASH_DEADLINES, relative), hash);
    let pack = pack_of(&["a", "1", "77", "c", "3", "80", "b", "2", "0"]);
    assert_eq!(value_of(kind::HASH_LISTPACK_DEADLINES_EARLY, &pack), hash);
    assert_eq!(value_of(kind::HASH_LISTPACK_DEADLINES, &[&[0; 8], &pack[..]].concat()), hash);

    for (kind, body) in [
        (kind::HASH_LISTPACK_DEADLINES_EARLY, pack_of(&["a", "1", "-77"])),
        (kind::HASH_LISTPACK_DEADLINES_EARLY, pack_of(&["a", "1", "soon"])),
        (kind::HASH_LISTPACK_DEADLINES_EARLY, pack_of(&["a", "1", "7", "a", "2", "0"])),
        // Twice before the first that has a deadline.
        (
            kind::HASH_DEADLINES,
            b"\x4d\0\0\0\0\0\0\0\x03\0\x01a\x011\0\x01a\x012\x01\x01b\x013".to_vec(),
        ),
        (
            kind::HASH_LISTPACK_DEADLINES_EARLY,
            pack_of(&["a", "1", "0", "a", "2", "0", "b", "3", "77"]),
        ),
        (kind::HASH_DEADLINES, b"\0\0\0\0\0\0\0\0\x01\x01\x01a\x011".to_vec()),
        (kind::HASH_DEADLINES, b"\xff\xff\xff\xff\xff\xff\xff\x7f\x01\x02\x01a\x011".to_vec()),
    ] {
        let said = problem(&file_of(kind, &body));
        let words = ["Hash listpack", "Duplicate hash fields", "a deadline that is none"];
        assert!(words.iter().any(|words| said.contains(words)), "{said}");
    }
}

#[test]
fn what_this_server_has_not_is_refused_by_name() {
    for (kind, body, feature) in [
        (kind::MODULE_2, &b"\x81\x45\xe2\x48\xe3\x7d\x12\x4c\x00"[..], "needs the module '"),
        (kind::MODULE, b"\x05", "needs the module 'AAAAAAAAA'"),
    ] {
        let said = problem(&file_of(kind, body));
        assert!(said.contains(feature), "{said}");
        assert!(said.contains("key 'k'"), "{said}");
    }
    // Whether a key follows is not known either.
    for (kind, feature) in [(60, "RDB encoding type 60"), (107, "type 107 of Redis Enterprise")] {
        let said = problem(&file_of(kind, b""));
        assert!(said.contains(feature), "{said}");
    }
    let said = problem(b"VALKEY080\xf3");
    assert!(said.contains("an unknown version") && said.contains("import of slots"), "{said}");
}

#[test]
fn damage_is_told_as_redis_server_tells_it() {
    for (bytes, expected) in [
        (b"RADIS0010".to_vec(), "Wrong signature trying to load DB from file"),
        (b"REDIS0015".to_vec(), "Can't handle RDB format version 15"),
        (b"REDIS0000".to_vec(), "Can't handle RDB format version 0"),
        (b"VALKEY011".to_vec(), "Can't handle RDB format version 11"),
        (
            b"REDIS0010".to_vec(),
            "Internal error in RDB reading offset 9, function at rdb.c:3249 -> Unexpected EOF reading RDB file",
        ),
        (
            file_of(kind::SET, b"\x02\x01a\x01a"),
            "offset 36, function at rdb.c:1829 -> Duplicate set members detected, key 'k'",
        ),
        (
            file_of(kind::HASH_ZIPLIST, b"\x01a"),
            "rdb.c:2275 -> Hash ziplist integrity check failed.",
        ),
        (file_of(kind::STRING, b"\xc3\x01\x05a"), "rdb.c:413 -> Invalid LZF compressed string"),
        (b"REDIS0010\xff12345678".to_vec(), "rdb.c:3225 -> RDB CRC error"),
    ] {
        let said = problem(&bytes);
        assert!(said.contains(expected), "{said}");
    }
    let lines = read(b"REDIS0010\xff12345678").expect_err("damaged").log_lines();
    assert_eq!(
        lines[0],
        "Wrong RDB checksum expected: (eb7ea789fe37fda9) but got (3837363534333231). Aborting now."
    );
    let lines = read(b"REDIS0010").expect_err("damaged").log_lines();
    assert_eq!(lines[0], "Short read or OOM loading DB. Unrecoverable error, aborting now.");
}

#[test]
fn collections_of_nothing_are_told_apart_from_damage() {
    let empty = string(b"\x0b\0\0\0\x0a\0\0\0\0\0\xff");
    for (kind, body) in [
        (kind::LIST, vec![0]),
        (kind::SET, vec![0]),
        (kind::HASH, vec![0]),
        (kind::ZSET, vec![0]),
        (kind::LIST_QUICKLIST, [&[1], &empty[..]].concat()),
        (kind::LIST_ZIPLIST, empty.clone()),
        (kind::HASH_ZIPLIST, empty.clone()),
        (kind::ZSET_ZIPLIST, empty),
        (kind::ZSET_LISTPACK, pack_of(&[])),
    ] {
        let file = file_of(kind, &body);
        let mut decoder = Decoder::new(&file[..], Options::default());
        let mut skipped = Vec::new();
        loop {
            match decoder.next().expect("no damage") {
                Item::EmptyKey(key) => skipped.push(key.to_vec()),
                Item::Entry { .. } => panic!("an entry of type {kind}"),
                Item::End(_) => break,
                _ => {}
            }
        }
        assert_eq!(skipped, [b"k"], "{kind}");
    }
}

#[test]
fn what_stands_beside_the_entries_is_read() {
    let about = About {
        has_field_deadlines: false,
        written_at_seconds: 1_700_000_000,
        used_memory: 1 << 40,
        replication: Some(Replication { selected_db: -1, id: &"a1".repeat(20), offset: 77 }),
        is_log_base: true,
    };
    let mut draft = Draft::default();
    begin(&mut draft, &about);
    function(&mut draft, b"#!lua name=mine\nredis.log()");
    select(&mut draft, 3, 70_000, 2);
    // An early library, a hint about a slot, what a module left.
    draft.bytes.extend_from_slice(b"\xf6\x04mine\x03LUA\x01\x02hm\x04code");
    draft.bytes.extend_from_slice(b"\xf4\x01\x02\x03");
    draft.bytes.extend_from_slice(b"\xf7\x00\x02\x01\x05\x03abc\x04........\x03....\x01\x09\x00");
    end(&mut draft);
    let mut bytes = finished(&[draft], true, true);
    bytes.extend_from_slice(b"a log");
    let mut decoder = Decoder::new(&bytes[..], Options::default());
    let (mut said, mut others) = (Vec::new(), Vec::new());
    loop {
        match decoder.next().expect("whole") {
            Item::Aux { name, value } => {
                said.push([name, b"=", value].concat().escape_ascii().to_string());
            }
            Item::Select(db) => others.push(format!("db {db}")),
            Item::Resize { keys, volatile } => others.push(format!("{keys} {volatile}")),
            Item::Function(code) => others.push(code.escape_ascii().to_string()),
            Item::ModuleAux { module } => others.push(module),
            Item::End(checksum) => {
                assert_eq!(checksum, Checksum::Right);
                break;
            }
            _ => panic!("there are no entries"),
        }
    }
    assert_eq!(said[0], format!("redis-ver={}", crate::REDIS_VERSION));
    let id = format!("repl-id={}", "a1".repeat(20));
    let expected = [
        "redis-bits=64",
        "ctime=1700000000",
        "used-mem=1099511627776",
        "repl-stream-db=-1",
        &id,
        "repl-offset=77",
        "aof-base=1",
    ];
    assert_eq!(said[1..], expected);
    let expected =
        ["#!lua name=mine\\nredis.log()", "db 3", "70000 2", "#!LUA name=mine\\ncode", "AAAAAAAAA"];
    assert_eq!(others, expected);
    assert_eq!(decoder.into_parts().0, b"a log");
}

#[test]
fn old_deadlines_are_seconds() {
    let file = b"REDIS0002\xfd\x05\0\0\0\x00\x01k\x01v\x00\x01l\x01w\xff";
    let (found, checksum) = read(file).expect("whole");
    assert_eq!(found[0].3, Some(5000));
    assert_eq!(found[1].3, None);
    assert_eq!(checksum, Checksum::NotLookedAt);
}

#[test]
fn a_long_string_goes_out_in_slices() {
    let text: Vec<u8> = (0..(16 << 20) + 5).map(|number: u32| (number / 3) as u8).collect();
    let mut keyspace = Keyspace::new(1);
    keyspace.db(0).set_string(b"long", &text, Deadline::Clear);
    let held = keyspace.db(0).look(b"long").expect("there");
    let mut drafts = vec![Draft::default()];
    begin(&mut drafts[0], &About::default());
    let mut slicer = Slicer::begin(&mut drafts[0], held, Usage::Unknown);
    loop {
        let mut slice = Draft::default();
        let is_done = slicer.advance(&mut slice, held, 1 << 20);
        assert!(slice.bytes.len() <= (1 << 20) + 9);
        drafts.push(slice);
        if is_done {
            break;
        }
    }
    end(drafts.last_mut().expect("one"));
    let (found, _) = read(&finished(&drafts, true, true)).expect("whole");
    assert!(found[0].2 == Plain::Text(text));
}

#[test]
fn a_length_beyond_what_an_entry_holds_is_refused() {
    // Five gigabytes, packed: the claim is made of few bytes, but it is believed only as far as they can reach.
    let said =
        problem(&file_of(kind::STRING, b"\xc3\x05\x81\0\0\0\x01\x40\0\0\0\x00a\xe0\x00\x00"));
    assert!(said.contains("5368709120 bytes"), "{said}");
}

#[test]
fn a_save_that_fails_or_is_given_up_leaves_the_old_file() {
    let folder = std::env::temp_dir().join(format!("redstart-save-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let target = folder.join("dump.rdb");
    let names = || {
        let entries = std::fs::read_dir(&folder).expect("a folder").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        names.sort();
        names
    };
    let mut file = SaveFile::create(&target, true).expect("made");
    file.write(&vec![1; 9 << 20]).expect("written");
    assert_eq!(file.written(), 9 << 20);
    assert_eq!(names(), [format!("temp-{}.rdb", std::process::id()).as_str()]);
    file.commit().expect("saved");
    assert_eq!(names(), ["dump.rdb"]);

    let mut file = SaveFile::create(&target, false).expect("made");
    file.write(b"new").expect("written");
    drop(file);
    assert_eq!(names(), ["dump.rdb"]);
    assert_eq!(std::fs::metadata(&target).expect("there").len(), 9 << 20);

    let missing = folder.join("none").join("dump.rdb");
    let error = SaveFile::create(&missing, false).expect_err("no such folder");
    assert_eq!(error.step, SaveStep::Open);
    let said = error.to_string();
    assert!(said.starts_with("Failed opening the temp RDB file temp-"), "{said}");
    assert!(said.ends_with("for saving: No such file or directory"), "{said}");

    std::fs::create_dir(folder.join("taken")).expect("made");
    let file = SaveFile::create(&folder.join("taken"), false).expect("made");
    let error = file.commit().expect_err("a folder has the name");
    assert_eq!(error.step, SaveStep::Rename);
    assert_eq!(names(), ["dump.rdb", "taken"]);
    std::fs::remove_dir_all(&folder).expect("removed");
}

/// Run by hand: `cargo test --release -p redstart-server --lib rdb -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn speed() {
    use std::time::Instant;
    const KEYS: usize = 1_000_000;
    let mut keyspace = Keyspace::new(1);
    for number in 0..KEYS {
        let key = format!("key:{number:012}");
        let value = format!("value of {number:023}");
        keyspace.db(0).set_string(key.as_bytes(), value.as_bytes(), Deadline::Clear);
    }
    let told = |what: &str, start: Instant, bytes: usize| {
        let seconds = start.elapsed().as_secs_f64();
        let rate = bytes as f64 / seconds / 1e6;
        println!("{what}: {:.0} ns a key, {rate:.0} MB/s", seconds * 1e9 / KEYS as f64);
    };
    let mut draft = Draft::default();
    for _ in 0..2 {
        draft.clear();
        let start = Instant::now();
        begin(&mut draft, &About::default());
        keyspace.db(0).iter().for_each(|held| entry(&mut draft, held, Usage::Unknown));
        end(&mut draft);
        told("walk and draft", start, draft.bytes.len());
    }
    let held: Vec<&crate::keyspace::Entry> = keyspace.db(0).iter().take(1000).collect();
    draft.clear();
    let start = Instant::now();
    for _ in 0..KEYS / 1000 {
        draft.clear();
        held.iter().for_each(|held| entry(&mut draft, held, Usage::Unknown));
    }
    told("draft of what is in the cache", start, draft.bytes.len() * (KEYS / 1000));
    draft.clear();
    begin(&mut draft, &About::default());
    keyspace.db(0).iter().for_each(|held| entry(&mut draft, held, Usage::Unknown));
    end(&mut draft);
    let mut out = Vec::new();
    for (compresses, checksums) in [(false, false), (false, true), (true, false), (true, true)] {
        let start = Instant::now();
        let mut finisher = Finisher::new(compresses, checksums);
        finisher.finish(&draft);
        told(&format!("finish, {compresses} {checksums}"), start, draft.bytes.len());
        out = std::mem::take(finisher.output());
    }
    println!("{} bytes drafted, {} finished", draft.bytes.len(), out.len());
    for into in [false, true] {
        let mut loaded = Keyspace::new(1);
        let start = Instant::now();
        let mut decoder = Decoder::new(&out[..], Options::default());
        loop {
            match decoder.next().expect("whole") {
                Item::Entry { key, value: Decoded::Short(text), .. } if into => {
                    loaded.db(0).set_string(key, text, Deadline::Clear);
                }
                Item::End(_) => break,
                _ => {}
            }
        }
        told(if into { "decode into a database" } else { "decode" }, start, out.len());
    }
}
