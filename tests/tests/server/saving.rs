//! Saving and loading beside the original: files each way, the moment a snapshot is of, and how a server ends.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use redstart_tests::proxy_support::{
    Client, Folder, PATIENCE, Redis, eventually, free_port, within,
};
use redstart_tests::server_support::{Peer, Random, Server, figure, run, server_binary};

const DEBUG: [&str; 2] = ["--enable-debug-command", "yes"];

#[derive(Debug, Clone, Copy)]
enum Who {
    Ours,
    Original,
}

/// A server that keeps its data in `folder`, and has loaded what is there.
fn start(who: Who, folder: &Path, options: &[&str]) -> Peer {
    let dir = folder.to_str().expect("text");
    let options = [&["--dir", dir], &DEBUG[..], options].concat();
    let peer = match who {
        Who::Ours => Peer::Ours(Server::start(&options)),
        Who::Original => Peer::Original(Redis::start_on(free_port(), &options)),
    };
    eventually("the data is loaded", || peer.log().contains("Ready to accept connections"));
    peer
}

/// Waits until nothing is being written.
fn is_saving_nothing(client: &mut Client) -> bool {
    let info = client.call("INFO persistence");
    ["rdb_bgsave_in_progress:0", "aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"]
        .iter()
        .all(|line| info.contains(line))
}

/// Sends requests in pipelines, and looks that none is refused.
fn send_all(client: &mut Client, requests: &[Vec<Vec<u8>>]) {
    for piece in requests.chunks(500) {
        for request in piece {
            client.send(request);
        }
        for request in piece {
            let reply = client.receive();
            let asked = String::from_utf8_lossy(&request[0]);
            assert!(!reply.starts_with('-'), "{asked}: {reply}");
        }
    }
}

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// Values of all types in all their encodings, deadlines, and several databases: about `scale` keys.
fn fill(client: &mut Client, scale: usize, seed: u64) {
    let mut random = Random::new(seed);
    let mut requests = Vec::new();
    for key in 0..scale {
        if key % (scale / 4).max(1) == 0 {
            requests.push(words(&format!("SELECT {}", key * 4 / scale * 3)));
        }
        let count = match random.below(60) {
            0 => 300 + random.below(900),
            1..5 => 100 + random.below(60),
            _ => 1 + random.below(9),
        };
        let kind = random.below(7);
        let name = format!("key:{kind}:{key}");
        let mut member = |at: usize| match random.below(5) {
            0 => (random.number() as i64 >> random.below(64)).to_string().into_bytes(),
            1 => vec![b'a' + (at % 26) as u8; random.below(90)],
            2 => random.number().to_le_bytes().to_vec(),
            _ => format!("member {at}").into_bytes(),
        };
        let mut request = match kind {
            0 | 1 => vec![b"SET".to_vec(), name.clone().into_bytes(), member(key)],
            2 => words(&format!("RPUSH {name}")),
            3 | 4 => words(&format!("SADD {name}")),
            5 => words(&format!("HSET {name}")),
            _ => words(&format!("ZADD {name}")),
        };
        match kind {
            0 | 1 => {}
            3 => request.extend((0..count).map(|at| (at * 7_001).to_string().into_bytes())),
            2 | 4 => request.extend((0..count).map(member)),
            5 => request.extend((0..count).flat_map(|at| [member(at), member(at)])),
            _ => request.extend(
                (0..count).flat_map(|at| [format!("{}", at as f64 / 7.0).into_bytes(), member(at)]),
            ),
        }
        requests.push(request);
        if random.chance(10) {
            let at = 4_000_000_000_000_u64 + key as u64;
            requests.push(words(&format!("PEXPIREAT {name} {at}")));
        }
    }
    requests.push(words("SELECT 0"));
    send_all(client, &requests);
}

fn each_loads_the_files_of_the_other(scale: usize) {
    // The original looks at a million keys for longer than the usual wait.
    let times = 1 + scale as u32 / 50_000;
    for (writer, reader) in [(Who::Ours, Who::Original), (Who::Original, Who::Ours)] {
        for options in [
            &["--appendonly", "no"][..],
            // It is rewritten when the test says so.
            &["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"],
            &[
                "--appendonly",
                "yes",
                "--auto-aof-rewrite-percentage",
                "0",
                "--aof-use-rdb-preamble",
                "no",
                "--aof-timestamp-enabled",
                "yes",
            ],
        ] {
            let folder = Folder::new();
            let expected = {
                let peer = start(writer, folder.path(), options);
                let mut client = peer.client();
                client.wait_longer(times);
                fill(&mut client, scale, 1);
                if options[1] == "yes" {
                    assert!(client.call("BGREWRITEAOF").starts_with("+Background"));
                    // Some of it is written meanwhile, some later.
                    fill(&mut client, scale / 4, 2);
                    let is_idle = within(PATIENCE * times, || is_saving_nothing(&mut client));
                    assert!(is_idle, "it is being saved for too long");
                    fill(&mut client, scale / 8, 3);
                } else {
                    assert_eq!(client.call("SAVE"), "+OK\r\n");
                }
                client.call("DEBUG DIGEST")
            };
            let peer = start(reader, folder.path(), options);
            let mut client = peer.client();
            client.wait_longer(times);
            let found = client.call("DEBUG DIGEST");
            assert_eq!(found, expected, "{writer:?} to {reader:?}, {options:?}:\n{}", peer.log());
        }
    }
}

#[test]
fn each_loads_what_the_other_has_saved() {
    each_loads_the_files_of_the_other(2000);
}

#[test]
#[ignore = "a million keys take minutes"]
fn each_loads_a_million_keys_that_the_other_has_saved() {
    each_loads_the_files_of_the_other(1_000_000);
}

#[test]
fn a_snapshot_is_of_the_moment_when_it_began() {
    const ELEMENTS: usize = 200_000;
    let folder = Folder::new();
    let peer = start(Who::Ours, folder.path(), &["--save", ""]);
    let mut client = peer.client();
    fill(&mut client, 20_000, 4);
    let mut requests = Vec::new();
    for from in (0..ELEMENTS).step_by(1000) {
        let mut large = ["RPUSH list", "SADD set", "HSET hash", "ZADD zset"].map(words);
        for at in from..from + 1000 {
            let element = format!("the element {at} of many").into_bytes();
            large[0].push(element.clone());
            large[1].push(element.clone());
            large[2].extend([element.clone(), at.to_string().into_bytes()]);
            large[3].extend([at.to_string().into_bytes(), element]);
        }
        requests.extend(large);
    }
    send_all(&mut client, &requests);
    for round in 0..3 {
        // The last is held up by its thread, so that the walk waits for it.
        let delay = if round == 2 { 20 } else { 0 };
        client.call(&format!("CONFIG SET rdb-key-save-delay {delay}"));
        // The digest counts what has expired until it is removed; who loads the dump leaves it out.
        for db in [12, 9, 6, 3, 0] {
            assert_eq!(client.call(&format!("SELECT {db}")), "+OK\r\n");
            eventually("what has expired is removed", || {
                let keys = client.call("KEYS *");
                let count = keys.lines().next().and_then(|line| line.strip_prefix('*'));
                client.call("DBSIZE").trim_end().strip_prefix(':') == count
            });
        }
        let expected = client.call("DEBUG DIGEST");
        let is_over = AtomicBool::new(false);
        let port = peer.port();
        std::thread::scope(|scope| {
            let is_over = &is_over;
            assert_eq!(client.call("BGSAVE"), "+Background saving started\r\n");
            for writer in 0..3 {
                scope.spawn(move || change_everything(port, round * 10 + writer, is_over));
            }
            // Somebody who only reads goes on.
            let mut reads = 0;
            while client.call("INFO persistence").contains("rdb_bgsave_in_progress:1") {
                assert!(client.call("LLEN list").starts_with(':'));
                reads += 1;
            }
            assert!(reads > 0);
            is_over.store(true, Ordering::Relaxed);
        });
        assert!(client.call("INFO persistence").contains("rdb_last_bgsave_status:ok"));
        let copy = Folder::new();
        std::fs::copy(folder.join("dump.rdb"), copy.join("dump.rdb")).expect("copied");
        let original = start(Who::Original, copy.path(), &[]);
        assert_eq!(original.client().call("DEBUG DIGEST"), expected, "round {round}");
    }
}

/// Changes all there is in all ways there are, until `is_over` and for a while at least.
fn change_everything(port: u16, seed: u64, is_over: &AtomicBool) {
    let (mut client, mut random) = (Client::connect(port), Random::new(seed));
    let mut rounds = 0;
    while rounds < 30 || !is_over.load(Ordering::Relaxed) {
        rounds += 1;
        let mut requests = Vec::new();
        for _ in 0..50 {
            let at = random.below(200_000);
            let key = random.below(20_000);
            let element = format!("the element {at} of many");
            let two = |command: &str, key: &str| {
                vec![
                    command.as_bytes().to_vec(),
                    key.as_bytes().to_vec(),
                    element.clone().into_bytes(),
                ]
            };
            let kind = random.below(7);
            requests.push(match random.below(24) {
                0 => two("LPUSH", "list"),
                1 => words("RPOP list"),
                2 => words(&format!("LSET list {} changed", at / 2)),
                3 => two("SREM", "set"),
                4 => words(&format!("SADD set new{at}")),
                5 => two("HDEL", "hash"),
                6 => words(&format!("HSET hash new{at} {at}")),
                7 => two("ZREM", "zset"),
                8 => words(&format!("ZADD zset {at} new{at}")),
                9 => words("SPOP set"),
                10 => words(&format!("SET key:0:{key} {at}")),
                11 => words(&format!("SET new{at} {at}")),
                12 => words(&format!("DEL key:{kind}:{key}")),
                // Later than the end of the test.
                13 => words(&format!("EXPIRE key:{kind}:{key} {}", 10_000 + at)),
                14 => words(&format!("RESTORE key:{kind}:{key} 0 {at}")),
                15 => words(&format!("COPY key:{kind}:{key} copy:{key} REPLACE")),
                16 => words(&format!("MOVE key:{kind}:{key} 12")),
                17 => words(&format!("SELECT {}", random.below(4) * 3)),
                18 => words(&format!("PEXPIRE key:{kind}:{key} 1")),
                19 if random.chance(5) => words("SWAPDB 3 6"),
                20 if random.chance(2) => words("FLUSHDB"),
                21 if random.chance(2) => words("RENAME list list2"),
                22 if random.chance(2) => words("COPY hash hash2 REPLACE"),
                _ => words("RPOPLPUSH list list"),
            });
        }
        for request in &requests {
            client.send(request);
        }
        for _ in &requests {
            client.receive();
        }
    }
}

#[test]
fn clients_are_told_while_it_loads() {
    let folder = Folder::new();
    {
        let peer = start(Who::Ours, folder.path(), &["--save", ""]);
        let mut client = peer.client();
        fill(&mut client, 3000, 5);
        assert_eq!(client.call("SAVE"), "+OK\r\n");
    }
    let dir = folder.path().to_str().expect("text");
    let mut server = Server::start(&["--dir", dir, "--key-load-delay", "10000"]);
    let mut client = server.client();
    assert_eq!(client.call("GET x"), "-LOADING Redis is loading the dataset in memory\r\n");
    assert_eq!(client.call("SET x 1"), "-LOADING Redis is loading the dataset in memory\r\n");
    let info = client.call("INFO persistence");
    for line in ["loading:1", "async_loading:0", "loading_start_time:", "loading_total_bytes:"] {
        assert!(info.contains(line), "{line}: {info}");
    }
    let bytes = std::fs::metadata(folder.join("dump.rdb")).expect("a dump").len();
    assert_eq!(figure(&mut client, "loading_total_bytes"), bytes);
    eventually("it loads", || figure(&mut client, "loading_loaded_bytes") > 1000);
    assert_eq!(client.call("CONFIG SET key-load-delay 0"), "+OK\r\n");
    eventually("it is loaded", || client.call("GET x") == "$-1\r\n");
    assert_eq!(figure(&mut client, "rdb_last_load_keys_loaded"), 3000);
    server.process.kill();

    let before = std::fs::read(folder.join("dump.rdb")).expect("a dump");
    let options = ["--dir", dir, "--key-load-delay", "10000", "--save", "1 1"];
    let mut server = Server::start(&options);
    assert!(server.client().call("GET x").starts_with("-LOADING"));
    server.process.signal(15);
    eventually("it ends", || !server.process.is_alive());
    assert!(server.log().contains("Received shutdown signal during loading, exiting now."));
    assert_eq!(std::fs::read(folder.join("dump.rdb")).expect("a dump"), before);
}

/// Whether the server ends after what is done to it, and whether a dump is there then.
fn end_by(
    options: &[&str],
    before: &[&str],
    end: impl FnOnce(&mut Server, &mut Client),
) -> (bool, bool) {
    let mut server = Server::start(options);
    let mut client = server.client();
    for request in before {
        assert_eq!(client.call(request), "+OK\r\n", "{request}");
    }
    end(&mut server, &mut client);
    let dump = server.folder.join("dump.rdb");
    (!server.process.is_alive(), dump.is_file())
}

#[test]
fn the_forms_of_an_end_save_or_do_not() {
    let none = ["--save", ""];
    let some = ["--save", "3600 1"];
    let by_command = |options: &[&str], command: &str| {
        end_by(options, &["SET a 1"], |server, client| {
            client.send(&command.split(' ').collect::<Vec<_>>());
            assert!(client.is_closed(), "{command}");
            eventually("it ends", || !server.process.is_alive());
        })
    };
    assert_eq!(by_command(&none, "SHUTDOWN"), (true, false));
    assert_eq!(by_command(&none, "SHUTDOWN SAVE"), (true, true));
    assert_eq!(by_command(&some, "SHUTDOWN"), (true, true));
    assert_eq!(by_command(&some, "SHUTDOWN NOSAVE"), (true, false));
    assert_eq!(by_command(&some, "SHUTDOWN NOW FORCE"), (true, true));
    let by_signal = |options: &[&str], signal: i32| {
        end_by(options, &["SET a 1"], |server, _| {
            server.process.signal(signal);
            eventually("it ends", || !server.process.is_alive());
        })
    };
    assert_eq!(by_signal(&none, 15), (true, false));
    assert_eq!(by_signal(&some, 15), (true, true));
    assert_eq!(by_signal(&some, 2), (true, true));
    let wishes = [&some[..], &["--shutdown-on-sigterm", "nosave"]].concat();
    assert_eq!(by_signal(&wishes, 15), (true, false));
    let wishes = [&none[..], &["--shutdown-on-sigint", "save"]].concat();
    assert_eq!(by_signal(&wishes, 2), (true, true));
}

#[test]
fn an_end_that_cannot_save_is_refused() {
    let peers = Peer::both(&["--save", "3600 1"]);
    for peer in peers {
        let mut client = peer.client();
        assert_eq!(client.call("SET a 1"), "+OK\r\n");
        // A folder of this name cannot be replaced by a file.
        let place = peer.folder().join("dump.rdb");
        std::fs::create_dir_all(place.join("within")).expect("a folder");
        let name = peer.name();
        assert_eq!(client.call("SAVE"), "-ERR\r\n", "{name}");
        let refused = "-ERR Errors trying to SHUTDOWN. Check logs.\r\n";
        assert_eq!(client.call("SHUTDOWN"), refused, "{name}");
        assert_eq!(client.call("GET a"), "$1\r\n1\r\n", "{name}");
        client.send(&["SHUTDOWN", "FORCE"]);
        assert!(client.is_closed(), "{name}");
    }
}

#[test]
fn commands_answer_as_the_originals_while_a_snapshot_is_written() {
    for peer in Peer::both(&["--rdb-key-save-delay", "500000", "--save", "3600 1000"]) {
        let mut client = peer.client();
        for key in 0..100 {
            client.call(&format!("SET key{key} 1"));
        }
        client.play(
            "> BGSAVE x
             < -ERR syntax error
             > BGSAVE SCHEDULE x
             < -ERR syntax error
             > SHUTDOWN x
             < -ERR syntax error
             > SHUTDOWN SAVE NOSAVE
             < -ERR syntax error
             > SHUTDOWN ABORT NOW
             < -ERR syntax error
             > SHUTDOWN ABORT
             < -ERR No shutdown in progress.
             > BGSAVE
             < +Background saving started
             > BGSAVE
             < -ERR Background save already in progress
             > BGSAVE SCHEDULE
             < -ERR Background save already in progress
             > SAVE
             < -ERR Background save already in progress
             > BGREWRITEAOF
             < +Background append only file rewriting scheduled
             > MULTI
             < +OK
             > SET a 1
             < +QUEUED
             > BGSAVE
             < +QUEUED
             > EXEC
             < *2
             < +OK
             < -ERR Background save already in progress",
        );
        let info = client.call("INFO persistence");
        for line in
            ["rdb_bgsave_in_progress:1", "aof_rewrite_scheduled:1", "rdb_last_bgsave_status:ok"]
        {
            assert!(info.contains(line), "{}: {line}: {info}", peer.name());
        }
        // All data is gone: the snapshot is given up, and an empty one takes its place.
        assert_eq!(client.call("CONFIG SET rdb-key-save-delay 0"), "+OK\r\n");
        assert_eq!(client.call("FLUSHALL"), "+OK\r\n");
        eventually("it is given up", || {
            client.call("INFO persistence").contains("rdb_bgsave_in_progress:0")
        });
        let dump = peer.folder().join("dump.rdb");
        let bytes = std::fs::metadata(dump).expect("a dump").len();
        assert!(bytes < 200, "{}: {bytes} bytes", peer.name());
    }
}

#[test]
fn a_save_point_has_it_saved() {
    for peer in Peer::both(&["--save", "1 3"]) {
        let mut client = peer.client();
        let before = client.call("LASTSAVE");
        client.play(
            "> SET a 1
             < +OK
             > SET b 1
             < +OK
             > SET c 1
             < +OK",
        );
        assert_eq!(figure(&mut client, "rdb_changes_since_last_save"), 3);
        eventually("it is saved", || {
            figure(&mut client, "rdb_changes_since_last_save") == 0
                && client.call("LASTSAVE") != before
        });
        assert!(peer.log().contains("3 changes in 1 seconds. Saving..."), "{}", peer.name());
        assert!(peer.folder().join("dump.rdb").is_file());
    }
}

#[test]
fn a_damaged_dump_is_told_and_left() {
    let folder = Folder::new();
    {
        let peer = start(Who::Ours, folder.path(), &[]);
        let mut client = peer.client();
        fill(&mut client, 200, 6);
        assert_eq!(client.call("SAVE"), "+OK\r\n");
    }
    let file = folder.join("dump.rdb");
    let mut bytes = std::fs::read(&file).expect("a dump");
    // In a value, or no key could be named.
    let half = bytes.len() / 2;
    let member = bytes[half..].windows(7).position(|window| window == b"member ");
    bytes.truncate(half + member.expect("a member in plain text") + 3);
    std::fs::write(&file, &bytes).expect("written");
    let port = free_port().to_string();
    let [ours, theirs] = [server_binary().to_str().expect("text"), "redis-server"].map(|program| {
        let dir = folder.path().to_str().expect("text");
        let output = run(program, &["--port", &port, "--bind", "127.0.0.1", "--dir", dir]);
        assert_eq!(output.status.code(), Some(1), "{program}");
        assert_eq!(std::fs::read(&file).expect("the dump"), bytes, "{program}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        // From where the file is read; without times and process ids.
        let lines = said.lines().skip_while(|line| !line.contains("Loading RDB produced"));
        let plain = |line: &str| {
            let text = line.split_once(" * ").or(line.split_once(" # "));
            let text = text.filter(|_| !line.starts_with('[')).map_or(line, |(_, text)| text);
            text.to_owned()
        };
        let told = lines.map(plain).filter(|line| !line.contains("RDB age"));
        told.collect::<Vec<_>>()
    });
    // Where Redis says offset 0, the true one is said, and the key.
    let (place, rest): (Vec<_>, Vec<_>) =
        ours.into_iter().partition(|line| line.starts_with("Internal error in RDB reading offset"));
    let (_, expected): (Vec<_>, Vec<_>) = theirs
        .into_iter()
        .partition(|line| line.starts_with("Internal error in RDB reading offset"));
    assert_eq!(rest, expected);
    assert!(
        place.len() == 1 && !place[0].contains("offset 0,") && place[0].contains("key 'key:"),
        "{place:?}"
    );
}
