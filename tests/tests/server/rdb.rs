//! RDB files: ours in redis-server, its in ours, and what `redis-check-rdb` says of both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use redstart_server::keyspace::{Deadline, Keyspace, Value};
use redstart_server::persistence::rdb::{
    About, Checksum, Decoder, Draft, Finisher, Item, LoadError, Options, SaveFile, Usage, begin,
    check, end, entry, select,
};
use redstart_server::persistence::value::restore;
use redstart_server::types::list::End;
use redstart_server::types::stream::{Delivery, Group, StreamId, Wanted};
use redstart_server::types::{Hash, Limits, List, Object, Set, Stream, Zset};
use redstart_tests::proxy_support::{Client, Folder, Redis, free_port};
use redstart_tests::server_support::{Peer, run};

/// A value as a plain program would hold it, and its encoding.
type Plain = (BTreeMap<Vec<u8>, Vec<u8>>, Vec<Vec<u8>>, &'static str);

fn plain(value: &Value) -> Plain {
    let (mut map, mut row) = (BTreeMap::new(), Vec::new());
    let name = match value {
        Value::Int(number) => {
            row.push(number.to_string().into_bytes());
            "int"
        }
        Value::Bytes(text) | Value::Raw(text) => {
            row.push(text.clone());
            "text"
        }
        Value::Object(object) => {
            match object {
                Object::List(list) => list.walk(End::Front, |_, element| {
                    row.push(element.to_vec());
                    true
                }),
                Object::Set(set) => set.for_each(|member| {
                    map.insert(member.to_vec(), Vec::new());
                }),
                Object::Hash(hash) => hash.for_each(|field, value| {
                    map.insert(field.to_vec(), value.to_vec());
                }),
                Object::Zset(zset) => zset.walk(0, false, |member, score| {
                    row.push(member.to_vec());
                    row.push(score.to_string().into_bytes());
                    true
                }),
                Object::Stream(stream) => row = plain_stream(stream),
                Object::Bloom(filter) => {
                    row.push(filter.header());
                    row.extend(filter.links().iter().map(|link| link.data.clone()));
                }
            }
            object.encoding_name()
        }
    };
    (map, row, name)
}

/// All of a stream: entries, facts, and groups with what is pending.
fn plain_stream(stream: &Stream) -> Vec<Vec<u8>> {
    let mut row = vec![format!("{:?}", stream.facts()).into_bytes()];
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        row.push(entry.id.text().as_bytes().to_vec());
        entry.for_each(|name, value| row.extend([name.to_vec(), value.to_vec()]));
    }
    for group in stream.groups() {
        row.push(format!("{:?} {:?} {}", group.name(), group.last_id, group.entries_read).into());
        for (id, held) in group.pending().iter() {
            let name = group.consumer(held.consumer).name();
            row.push(format!("{id:?} {name:?} {} {}", held.delivered_ms, held.deliveries).into());
        }
        for consumer in group.consumers() {
            let pending: Vec<_> = consumer.pending().iter().map(|(id, ())| id).collect();
            row.push(format!("{:?} {} {pending:?}", consumer.name(), consumer.seen_ms).into());
        }
    }
    row
}

/// A stream of so many texts, of which some are deleted and some are pending.
fn stream_of(texts: &[String], limits: &Limits) -> Stream {
    let mut stream = Stream::default();
    for (at, text) in texts.iter().enumerate() {
        let pairs = [(&b"text"[..], text.as_bytes()), (b"more", &text.as_bytes()[..at % 2])];
        let pairs = pairs.into_iter().take(1 + at / 50 % 2).collect::<Vec<_>>();
        stream.add(Wanted::Next, at as u64 / 3, pairs.into_iter(), limits).expect("added");
    }
    stream.add_group(Group::new(b"none", StreamId::MIN, -1));
    let mut group = Group::new(b"some", StreamId::MIN, 0);
    let consumer = group.add_consumer(b"busy", 1_700_000_000_123).expect("the first");
    group.add_consumer(b"idle", 0);
    stream.add_group(group);
    let most = texts.len() * 2 / 3;
    let delivery = Delivery { consumer, is_pending: true, now_ms: 1_700_000_000_456, most };
    stream.with_group(b"some", |stream, group| group.deliver(stream, delivery, |_, _| true));
    let some: Vec<StreamId> = stream
        .range(StreamId::MIN, StreamId::MAX)
        .step_by(4)
        .skip(1)
        .map(|entry| entry.id)
        .collect();
    stream.remove(some);
    stream
}

/// An entry: its value, when it dies, and how much it was used.
type Held = (Plain, Option<i64>, Usage);

/// What was read of a file.
#[derive(Default)]
struct Loaded {
    entries: BTreeMap<(u64, Vec<u8>), Held>,
    empty: usize,
    checksum: Option<Checksum>,
}

fn load(path: &Path) -> Result<Loaded, LoadError> {
    let file = std::fs::File::open(path).expect("a file");
    let length = Some(file.metadata().expect("its length").len());
    let mut decoder = Decoder::new(file, Options { length, ..Options::default() });
    let (mut loaded, mut db) = (Loaded::default(), 0);
    loop {
        match decoder.next()? {
            Item::Select(number) => db = number,
            Item::Entry { key, value, deadline, usage } => {
                let key = (db, key.to_vec());
                let value = value.into_value().expect("a type of ours");
                loaded.entries.insert(key, (plain(&value), deadline, usage));
            }
            Item::EmptyKey(_) => loaded.empty += 1,
            Item::End(checksum) => {
                loaded.checksum = Some(checksum);
                return Ok(loaded);
            }
            _ => {}
        }
    }
}

fn bulk(reply: &[u8]) -> &[u8] {
    let begin = reply.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    reply.get(begin..reply.len() - 2).unwrap_or_default()
}

fn ask(client: &mut Client, args: &[&[u8]]) -> Vec<u8> {
    client.send(args);
    client.try_receive().expect("a reply")
}

fn number(reply: &[u8]) -> i64 {
    let text = std::str::from_utf8(&reply[1..]).expect("text").trim();
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

/// Whether a server holds exactly what was loaded.
fn assert_server_holds(client: &mut Client, loaded: &Loaded) {
    let mut counts: BTreeMap<u64, i64> = BTreeMap::new();
    for ((db, key), (plainly, deadline, _)) in &loaded.entries {
        *counts.entry(*db).or_default() += 1;
        ask(client, &[b"SELECT", db.to_string().as_bytes()]);
        let payload = ask(client, &[b"DUMP", key]);
        let value = restore(bulk(&payload), &Limits::default());
        let Ok(value) = value else { panic!("{}: {payload:?}", key.escape_ascii()) };
        assert_eq!(&plain(&value), plainly, "{}", key.escape_ascii());
        let at = number(&ask(client, &[b"PEXPIRETIME", key]));
        assert_eq!(at, deadline.unwrap_or(-1), "{}", key.escape_ascii());
    }
    for (db, count) in counts {
        ask(client, &[b"SELECT", db.to_string().as_bytes()]);
        assert_eq!(number(&ask(client, &[b"DBSIZE"])), count, "database {db}");
    }
}

/// Values of every type, small and large, with text that compresses and text that does not.
fn fill(keyspace: &mut Keyspace) {
    let limits = Limits::default();
    let far = Deadline::At(4_000_000_000_123);
    let noise: Vec<u8> =
        (0..5000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let texts: [&[u8]; 10] = [
        b"",
        b"0",
        b"-128",
        b"32767",
        b"2147483648",
        b"-9223372036854775808",
        b"00",
        &[b'a'; 21],
        &[b'b'; 70_000],
        &noise,
    ];
    for (at, text) in texts.iter().enumerate() {
        let deadline = if at % 2 == 0 { far } else { Deadline::Clear };
        keyspace.db(0).set_string(format!("text {at}").as_bytes(), text, deadline);
        keyspace.db(9).set_string(text, b"the key is the text", deadline);
    }
    for members in [1_u32, 5, 40, 200, 3000] {
        let (mut list, mut set, mut ints) = (List::default(), Set::default(), Set::default());
        let (mut hash, mut zset) = (Hash::default(), Zset::default());
        let mut texts = Vec::new();
        for at in 0..members {
            let text = match at % 3 {
                0 => at.to_string(),
                1 => format!("member {at}"),
                _ => format!("{at} {}", "again and ".repeat(at as usize % 40)),
            };
            list.push(End::Back, text.as_bytes(), &limits);
            set.insert(text.as_bytes(), &limits);
            ints.insert((i64::from(at) * 70_001).to_string().as_bytes(), &limits);
            hash.set(text.as_bytes(), &noise[..at as usize % 90], &limits);
            zset.set(text.as_bytes(), f64::from(at) * 0.3 - 7.0, &limits);
            texts.push(text);
        }
        if members > 1000 {
            zset.set(b"lowest", f64::NEG_INFINITY, &limits);
            zset.set(b"highest", f64::INFINITY, &limits);
            zset.set(b"nothing", -0.0, &limits);
        }
        let objects = [
            ("list", Object::List(list)),
            ("set", Object::Set(set)),
            ("ints", Object::Set(ints)),
            ("hash", Object::Hash(hash)),
            ("zset", Object::Zset(zset)),
            ("stream", Object::Stream(Box::new(stream_of(&texts, &limits)))),
        ];
        for (name, object) in objects {
            keyspace.db(0).set_object(format!("{name} {members}").as_bytes(), object, far);
        }
    }
}

fn save(keyspace: &mut Keyspace, path: &Path, compresses: bool, checksums: bool, usage: Usage) {
    let mut finisher = Finisher::new(compresses, checksums);
    let mut file = SaveFile::create(path, true).expect("a file");
    let mut draft = Draft::default();
    begin(&mut draft, &About { written_at_seconds: 1_700_000_000, ..About::default() });
    for db in keyspace.dbs.iter().filter(|db| !db.is_empty()) {
        select(&mut draft, db.index(), db.len(), db.volatile_len());
        db.iter().for_each(|held| entry(&mut draft, held, usage));
        finisher.finish(&draft);
        draft.clear();
    }
    end(&mut draft);
    finisher.finish(&draft);
    file.write(finisher.output()).expect("written");
    file.commit().expect("saved");
}

fn redis_in(folder: &Folder, options: &[&str]) -> Redis {
    let dir = folder.path().to_str().expect("text");
    Redis::start_on(free_port(), &[&["--dir", dir, "--dbfilename", "dump.rdb"], options].concat())
}

#[test]
fn redis_server_loads_what_we_write() {
    for (compresses, checksums, policy, usage) in [
        (true, true, "allkeys-lfu", Usage::Frequency(77)),
        (false, false, "allkeys-lru", Usage::IdleSeconds(70_000)),
    ] {
        let folder = Folder::new();
        let path = folder.join("dump.rdb");
        let mut keyspace = Keyspace::new(16);
        fill(&mut keyspace);
        save(&mut keyspace, &path, compresses, checksums, usage);
        let server = redis_in(&folder, &["--maxmemory-policy", policy]);
        let mut client = server.client();
        let loaded = load(&path).expect("whole");
        assert_eq!(
            loaded.checksum,
            Some(if checksums { Checksum::Right } else { Checksum::NotMade })
        );
        assert_eq!(loaded.entries.len(), keyspace.len());
        // Before anything touches the keys.
        if usage == Usage::Frequency(77) {
            // It falls with time, by one a minute.
            let freq = number(&ask(&mut client, &[b"OBJECT", b"FREQ", b"set 5"]));
            assert!((60..=77).contains(&freq), "{freq}");
        } else {
            let idle = number(&ask(&mut client, &[b"OBJECT", b"IDLETIME", b"set 5"]));
            assert!((70_000..71_000).contains(&idle), "{idle}");
        }
        assert_server_holds(&mut client, &loaded);
        let size = std::fs::metadata(&path).expect("there").len();
        // The text of 70,000 bytes alone says whether it was compressed.
        assert_eq!(size < 500_000, compresses, "{size} bytes");
    }
}

#[test]
fn what_redis_server_writes_is_loaded() {
    for options in [
        &["--rdbcompression", "yes", "--maxmemory-policy", "allkeys-lru"][..],
        &["--rdbcompression", "no", "--rdbchecksum", "no", "--maxmemory-policy", "allkeys-lfu"],
        &["--hash-max-listpack-entries", "0", "--zset-max-listpack-entries", "0"],
    ] {
        let folder = Folder::new();
        let server = redis_in(&folder, options);
        let mut client = server.client();
        let mut keyspace = Keyspace::new(16);
        fill(&mut keyspace);
        for db in &keyspace.dbs {
            ask(&mut client, &[b"SELECT", db.index().to_string().as_bytes()]);
            for held in db.iter() {
                let at = held.deadline().unwrap_or(0).to_string();
                let payload = redstart_server::persistence::value::dump(held, true);
                let said =
                    ask(&mut client, &[b"RESTORE", held.key(), at.as_bytes(), &payload, b"ABSTTL"]);
                assert_eq!(said, b"+OK\r\n", "{}", held.key().escape_ascii());
            }
        }
        client.call("SELECT 0");
        let raw = [b"SETRANGE", &b"raw"[..], b"3", b"text"];
        ask(&mut client, &raw);
        ask(
            &mut client,
            &[b"FUNCTION", b"LOAD", b"#!lua name=l\nredis.register_function('f', function() end)"],
        );
        assert_eq!(client.call("SAVE"), "+OK\r\n");
        let loaded = load(&folder.join("dump.rdb")).expect("whole");
        assert_eq!(loaded.entries.len(), keyspace.len() + 1);
        let usages: Vec<_> = loaded.entries.values().map(|(_, _, usage)| *usage).collect();
        assert!(usages.iter().all(|usage| match options[3] {
            "allkeys-lru" => matches!(usage, Usage::IdleSeconds(_)),
            "no" => matches!(usage, Usage::Frequency(_)),
            _ => *usage == Usage::Unknown,
        }));
        assert_server_holds(&mut client, &loaded);
    }
}

fn reported(path: &Path) -> (bool, String) {
    let mut out = Vec::new();
    let is_whole = check::report(path, &mut out);
    (is_whole, without_places(&String::from_utf8_lossy(&out)))
}

/// Without the lines of Redis's source, which each revision of a distribution's package moves.
fn without_places(said: &str) -> String {
    let mut parts = said.split("rdb.c:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + "rdb.c:" + part.trim_start_matches(|letter: char| letter.is_ascii_digit())
    })
}

/// What redis-check-rdb prints, but for the line with the time.
fn reported_by_original(path: &Path) -> (bool, String) {
    let found = run("redis-check-rdb", &[path.to_str().expect("text")]);
    let said = String::from_utf8_lossy(&found.stdout).into_owned();
    let lines = said.split_inclusive('\n').filter(|line| !line.contains("Terminating server"));
    (found.status.success(), without_places(&lines.collect::<String>()))
}

#[test]
fn a_check_says_what_redis_check_rdb_says() {
    let folder = Folder::new();
    let server = redis_in(&folder, &[]);
    let mut client = server.client();
    client.play(
        "> SET text value PX 100000000
         < +OK
         > RPUSH list a b 3
         < :3
         > SADD set a b
         < :2
         > SADD ints 1 2
         < :2
         > HSET hash f v
         < :1
         > ZADD zset 1.5 m
         < :1
         > XADD stream 5-1 f v
         < $3
         < 5-1
         > XGROUP CREATE stream group 0
         < +OK
         > SELECT 3
         < +OK
         > SET gone now PXAT 1
         < +OK
         > SETEX other 100000000 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
         < +OK
         > SAVE
         < +OK",
    );
    let whole = folder.join("dump.rdb");
    let expected = reported_by_original(&whole);
    assert!(expected.0 && expected.1.contains("Checksum OK"), "{}", expected.1);
    assert_eq!(reported(&whole), expected);

    let bytes = std::fs::read(&whole).expect("read");
    let damaged: PathBuf = folder.join("damaged.rdb");
    let compare = |bytes: &[u8], what: &str| {
        std::fs::write(&damaged, bytes).expect("written");
        let expected = reported_by_original(&damaged);
        assert!(!expected.0, "{what}");
        assert_eq!(reported(&damaged), expected, "{what}");
    };
    for length in (0..bytes.len()).step_by(3) {
        compare(&bytes[..length], &format!("{length} bytes"));
    }
    for (what, body) in [
        ("no type", &b"\x08\x01k"[..]),
        ("another version", b""),
        ("a member twice", b"\x02\x01k\x02\x01a\x01a"),
        ("an integer twice", b"\x02\x01k\x02\xc0\x01\xc0\x01"),
        ("a field twice", b"\x04\x01k\x02\x01a\x01b\x01a\x01c"),
        ("a zipmap with a field twice", b"\x09\x01k\x0c\x02\x01a\x01\x00b\x01a\x01\x00c\xff"),
        ("an encoding of strings", b"\x00\x01k\xc5\x00"),
        ("an encoding of lengths", b"\xfe\x82"),
        ("a compressed string", b"\x00\x01k\xc3\x03\x0a\x02ab"),
        ("an integer set", b"\x0b\x01k\x0a\x02\0\0\0\x03\0\0\0\x01\0"),
        ("a node of a list", b"\x12\x01k\x01\x03"),
        ("no score", b"\x03\x01k\x01\x01a\xfd"),
        ("nothing in a set", b"\x02\x01k\x00"),
        ("a huge string", b"\x00\x01k\x80\x40\0\0\0abc"),
        ("a library cut off", b"\xf5\x20abc"),
        ("an early library cut off", b"\xf6\x01a"),
        ("a module cut off", b"\x07\x01k\x05\x02"),
        ("a module of old", b"\x06\x01k\x05"),
        ("what a module left", b"\xf7\x05\x01\x01"),
        ("a wrong checksum", b"\xff12345678"),
    ] {
        compare(&[b"REDIS0010\xfe\x00", body].concat(), what);
    }
    compare(b"REDIS0000", "no version");
    compare(b"REDIS0099", "a version to come");
    compare(b"no RDB at all", "no RDB");
}

/// Dumps that others have collected, in the folder that `REDSTART_DUMPS` names: redis-server must hold what we load, and
/// what it does not load is told.
#[test]
#[ignore = "needs dumps that are not ours to keep"]
fn dumps_of_others_are_loaded_as_redis_server_loads_them() {
    let Some(dumps) = std::env::var_os("REDSTART_DUMPS") else { return };
    let mut paths: Vec<_> =
        std::fs::read_dir(dumps).expect("a folder").flatten().map(|file| file.path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|end| end == "rdb")) {
        let name = path.file_name().expect("a name").display();
        match load(path) {
            Err(error) => println!("{name}: refused: {error}"),
            Ok(loaded) => {
                let folder = Folder::new();
                std::fs::copy(path, folder.join("dump.rdb")).expect("copied");
                let now = std::time::SystemTime::now();
                let now = now.duration_since(std::time::UNIX_EPOCH).expect("later").as_millis();
                // A server alone lets go what is past its deadline.
                let mut live = loaded;
                let all = live.entries.len();
                live.entries.retain(|_, (_, at, _)| at.is_none_or(|at| at as u128 > now));
                let (count, empty) = (live.entries.len(), live.empty);
                let checked = reported_by_original(path).0;
                let held = checked || empty > 0;
                if held {
                    let server = redis_in(&folder, &[]);
                    assert_server_holds(&mut server.client(), &live);
                }
                println!(
                    "{name}: {all} keys, {count} live, {empty} empty, {}",
                    if held { "as redis-server" } else { "redis-server does not load it" }
                );
                if !held {
                    println!("    {:?}", live.entries);
                }
            }
        }
    }
}

/// The payload of a DUMP.
fn dumped(client: &mut Client, key: &str) -> Vec<u8> {
    let reply = ask(client, &[b"DUMP", key.as_bytes()]);
    let start = reply.iter().position(|byte| *byte == b'\n').expect("a string") + 1;
    reply[start..reply.len() - 2].to_vec()
}

#[test]
fn payloads_are_compressed_where_snapshots_are() {
    let peers = Peer::both(&[]);
    let text = b"some text, again and again; ".repeat(1000);
    let large = vec![b'x'; (16 << 20) + 7];
    let mut payloads = Vec::new();
    for peer in &peers {
        let mut client = peer.client();
        for (key, value) in [(&b"text"[..], &text), (b"large", &large)] {
            assert_eq!(ask(&mut client, &[b"SET", key, value]), b"+OK\r\n");
        }
        assert!(ask(&mut client, &[b"RPUSH", b"list", &text]).starts_with(b":"));
        for key in ["text", "large", "list"] {
            let payload = dumped(&mut client, key);
            let whole = if key == "large" { large.len() } else { text.len() };
            assert!(payload.len() < whole / 20, "{}, {key}: {} bytes", peer.name(), payload.len());
            payloads.push((key, payload));
        }
        assert_eq!(client.call("CONFIG SET rdbcompression no"), "+OK\r\n");
        assert!(dumped(&mut client, "text").len() > text.len());
        assert!(dumped(&mut client, "list").len() > text.len());
    }
    // Each takes what either has given.
    for peer in &peers {
        let mut client = peer.client();
        for (number, (key, payload)) in payloads.iter().enumerate() {
            let copy = format!("copy {number}");
            assert_eq!(ask(&mut client, &[b"RESTORE", copy.as_bytes(), b"0", payload]), b"+OK\r\n");
            let read = |client: &mut Client, name: &str| match *key {
                "list" => ask(client, &[b"LRANGE", name.as_bytes(), b"0", b"-1"]),
                _ => ask(client, &[b"GET", name.as_bytes()]),
            };
            let expected = read(&mut client, key);
            assert!(read(&mut client, &copy) == expected, "{}: {copy}", peer.name());
        }
    }
}
