//! Streams, beside the original: replies and errors, who is served in which order, what is published, and what replicas and
//! files hold.

use std::process::Command;

use redstart_tests::proxy_support::{Client, Folder, Listening, eventually, free_port};
use redstart_tests::server_support::{Peer, figure, server_binary};

/// What is asked of both, a command a line.
const FIXED: &str = include_str!("streams.txt");

#[test]
fn what_there_is_of_streams_is_answered_alike() {
    let peers = Peer::both(&["--save", "", "--enable-debug-command", "yes"]);
    for (protocol, entries) in [("2", "100"), ("3", "100"), ("2", "2"), ("3", "1")] {
        let [mut theirs, mut ours] = peers.each_ref().map(Peer::client);
        for client in [&mut theirs, &mut ours] {
            client.call(&format!("HELLO {protocol}"));
            client.call("FLUSHALL");
            client.call("SET text x");
            client.call(&format!("CONFIG SET stream-node-max-entries {entries}"));
        }
        for call in FIXED.lines() {
            assert_eq!(ours.call(call), theirs.call(call), "{call}");
        }
    }
}

#[test]
fn the_last_entry_is_read_by_its_sign() {
    let [_, ours] = Peer::both(&[]);
    let mut client = ours.client();
    assert_eq!(client.call("XREAD STREAMS s +"), "*-1\r\n");
    for ms in 1..=3 {
        client.call(&format!("XADD s {ms}-1 n {ms}"));
    }
    let last = "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n3-1\r\n*2\r\n$1\r\nn\r\n$1\r\n3\r\n";
    assert_eq!(client.call("XREAD STREAMS s +"), last);
    client.call("XDEL s 3-1");
    assert!(client.call("XREAD STREAMS s +").contains("2-1"));
    client.call("XGROUP CREATE s g 0");
    assert!(client.call("XREADGROUP GROUP g c STREAMS s +").starts_with("-ERR The + ID"));
}

fn wait(admin: &mut Client, count: u64) {
    eventually("all wait", || figure(admin, "blocked_clients") == count);
}

/// Begins to wait.
fn waiting(peer: &Peer, admin: &mut Client, request: &str) -> Client {
    let before = figure(admin, "blocked_clients");
    let mut waiter = peer.client();
    waiter.send(&request.split(' ').collect::<Vec<_>>());
    wait(admin, before + 1);
    waiter
}

/// What those who wait are told, for each of some conversations.
fn told(peer: &Peer, setup: &str, requests: &[&str], then: &str) -> Vec<String> {
    println!("{}: {setup} / {requests:?} / {then}", peer.name());
    let mut admin = peer.client();
    admin.call("FLUSHALL");
    setup.split('|').for_each(|line| {
        admin.call(line);
    });
    let mut waiters: Vec<Client> =
        requests.iter().map(|request| waiting(peer, &mut admin, request)).collect();
    then.split('|').for_each(|line| {
        admin.call(line);
    });
    let told = waiters.iter_mut().map(Client::receive).collect();
    wait(&mut admin, 0);
    told
}

#[test]
fn those_who_wait_are_served_alike() {
    let peers = Peer::both(&["--enable-debug-command", "yes"]);
    let group = "XGROUP CREATE s g $ MKSTREAM|XGROUP CREATE t g $ MKSTREAM";
    let for_group = "XREADGROUP GROUP g c BLOCK 0 STREAMS s >";
    let both = "XREADGROUP GROUP g c BLOCK 0 STREAMS t s > >";
    for (setup, requests, then) in [
        ("PING", &["XREAD BLOCK 0 STREAMS s $", "XREAD BLOCK 0 STREAMS s 0"][..], "XADD s 1-1 a b"),
        ("XADD s 5-1 a b", &["XREAD BLOCK 0 STREAMS s $"], "XADD s 5-2 c d|XADD s 5-3 e f"),
        ("XADD s 5-1 a b", &["XREAD BLOCK 0 STREAMS s 9"], "XADD s 5-2 c d|XADD s 9-1 e f"),
        (
            "PING",
            &["XREAD COUNT 1 BLOCK 0 STREAMS t s s 0 $ 0"],
            "MULTI|XADD s 1-1 a b|XADD s 1-2 a b|XADD t 1-1 a b|EXEC",
        ),
        ("PING", &["XREAD BLOCK 0 STREAMS s $"], "MULTI|XADD s 1-1 a b|XDEL s 1-1|EXEC"),
        ("PING", &["XREAD BLOCK 0 STREAMS s $"], "LPUSH s a|DEL s|XADD s 1-1 a b"),
        ("PING", &["BLPOP s 0", "XREAD BLOCK 0 STREAMS s $"], "XADD s 1-1 a b|DEL s|LPUSH s a"),
        (group, &[for_group, for_group], "XADD s 1-1 a b|XADD s 1-2 c d"),
        (
            group,
            &[for_group, "XREADGROUP GROUP g other BLOCK 0 STREAMS s >"],
            "MULTI|XADD s 1-1 a b|XADD s 1-2 c d|EXEC|XADD s 1-3 e f",
        ),
        (
            group,
            &["XREADGROUP GROUP g c COUNT 1 NOACK BLOCK 0 STREAMS s >", for_group],
            "MULTI|XADD s 1-1 a b|XADD s 1-2 c d|EXEC",
        ),
        (group, &[both], "XADD s 1-1 a b"),
        (group, &[both, for_group], "XGROUP DESTROY s g"),
        (group, &[for_group, "XREAD BLOCK 0 STREAMS s $"], "DEL s|XADD s 1-1 a b"),
        (group, &[both], "UNLINK t"),
        (group, &[for_group], "SET s text"),
        (group, &[for_group], "RENAME s other"),
        (group, &[for_group], "RENAME t s|XADD s 1-1 a b"),
        (group, &[for_group], "FLUSHALL"),
        (group, &[for_group], "FLUSHDB ASYNC"),
        (group, &[for_group], "SWAPDB 0 1"),
        (group, &[for_group], "PEXPIRE s 1"),
        (group, &[for_group], "EXPIRE s -1"),
        (group, &[for_group], "MULTI|DEL s|XADD s 1-1 a b|EXEC"),
        (group, &[for_group], "MULTI|DEL s|SADD s 1|EXEC"),
        (group, &[for_group], "MULTI|DEL s|XGROUP CREATE s g 0 MKSTREAM|EXEC|XADD s 7-7 a b"),
        (group, &[for_group], "XADD t 1-1 a b|XSETID s 5|XADD s 6 a b"),
        (
            group,
            &["XREAD BLOCK 900 STREAMS s $", "XREADGROUP GROUP g c BLOCK 900 STREAMS s >"],
            "PING",
        ),
    ] {
        let [theirs, ours] = peers.each_ref().map(|peer| told(peer, setup, requests, then));
        assert_eq!(ours, theirs, "{setup} / {requests:?} / {then}");
    }
}

#[test]
fn many_wait_and_are_served_in_their_order() {
    for peer in Peer::both(&[]) {
        let mut admin = peer.client();
        admin.call("XGROUP CREATE s g $ MKSTREAM");
        let mut waiters: Vec<Client> = (0..30)
            .map(|at| {
                let request = format!("XREADGROUP GROUP g c{at} COUNT 1 BLOCK 0 STREAMS s >");
                waiting(&peer, &mut admin, &request)
            })
            .collect();
        // One gives up.
        waiters.remove(7);
        wait(&mut admin, 29);
        assert_eq!(admin.call("MULTI"), "+OK\r\n");
        for at in 0..29 {
            admin.call(&format!("XADD s 1-{} n {at}", at + 1));
        }
        assert!(admin.call("EXEC").starts_with("*29"));
        for (at, mut waiter) in waiters.into_iter().enumerate() {
            let said = waiter.receive();
            assert!(said.contains(&format!("\r\n1-{}\r\n", at + 1)), "{}: {said}", peer.name());
        }
        assert!(admin.call("XPENDING s g").starts_with("*4\r\n:29\r\n$3\r\n1-1\r\n$4\r\n1-29\r\n"));
    }
}

#[test]
fn who_may_not_wait_is_told_so_at_once() {
    let peers = Peer::both(&[]);
    let [mut theirs, mut ours] = peers.each_ref().map(Peer::client);
    for lines in [
        &["XGROUP CREATE s g $ MKSTREAM"][..],
        &["MULTI", "XREAD BLOCK 0 STREAMS s $", "XREADGROUP GROUP g c BLOCK 0 STREAMS s >", "EXEC"],
        &["EVAL return(redis.call('xread','block','0','streams','s','$')) 0"],
        &["EVAL return(redis.pcall('xreadGroup','group','g','c','block','0','streams','s','>')) 0"],
        &["EVAL return(redis.call('xread','streams','s','0')) 0"],
        &["XADD s 1-1 a b"],
        &["EVAL return(redis.call('xreadgroup','group','g','c','streams','s','>')) 0"],
        &["XPENDING s g"],
    ] {
        for line in lines {
            assert_eq!(ours.call(line), theirs.call(line), "{line}");
        }
    }
    for peer in &peers {
        let mut admin = peer.client();
        for (kind, said) in [
            ("ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
            ("TIMEOUT", "*-1\r\n"),
        ] {
            let mut waiter = peer.client();
            let id = waiter.call("CLIENT ID");
            waiter.send(&["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "s", ">"]);
            wait(&mut admin, 1);
            let id = id.trim_start_matches(':').trim();
            assert_eq!(admin.call(&format!("CLIENT UNBLOCK {id} {kind}")), ":1\r\n");
            assert_eq!(waiter.receive(), said, "{}", peer.name());
        }
    }
}

const PUBLISHED: &[&str] = &[
    "XADD s 1-1 a b",
    "XADD s MAXLEN 5 2-1 a b",
    "XADD s MAXLEN 1 3-1 a b",
    "XTRIM s MAXLEN 1",
    "XADD s 4-1 a b",
    "XTRIM s MAXLEN ~ 1",
    "XTRIM s MAXLEN 1",
    "XDEL s 4-1 9-9",
    "XDEL s 9-9",
    "XGROUP CREATE s g 0",
    "XGROUP CREATE t g 0 MKSTREAM",
    "XGROUP CREATE t g 0 MKSTREAM",
    "XGROUP CREATECONSUMER s g c",
    "XGROUP CREATECONSUMER s g c",
    "XADD s 5-1 a b",
    "XADD s 5-2 a b",
    "XREADGROUP GROUP g c COUNT 1 STREAMS s >",
    "XREADGROUP GROUP g new STREAMS s >",
    "XREADGROUP GROUP g empty STREAMS s 0",
    "XREADGROUP GROUP g nobody STREAMS s >",
    "XCLAIM s g claimer 0 5-1",
    "XCLAIM s g nothing 1000000 5-2",
    "XAUTOCLAIM s g auto 0 -",
    "XACK s g 5-1",
    "XSETID s 9-9",
    "XGROUP SETID s g 0",
    "XGROUP DELCONSUMER s g c",
    "XGROUP DELCONSUMER s g c",
    "XGROUP DESTROY s g",
    "XGROUP DESTROY s g",
    "DEL s",
    "PUBLISH end end",
];

#[test]
fn the_same_is_published_in_the_same_order() {
    let peers = Peer::both(&["--notify-keyspace-events", "KEA"]);
    let heard = peers.each_ref().map(|peer| {
        let (mut admin, mut listener) = (peer.client(), peer.client());
        listener.call("PSUBSCRIBE *");
        for line in PUBLISHED {
            admin.call(line);
        }
        let mut heard = Vec::new();
        while heard.last().is_none_or(|last: &String| !last.contains("end")) {
            heard.push(listener.receive());
        }
        heard
    });
    let [theirs, ours] = heard;
    assert_eq!(ours, theirs);
}

/// What changes a key for those who watch it, and for those who keep it.
#[test]
fn watchers_and_caches_hear_of_the_same_changes() {
    let peers = Peer::both(&[]);
    for line in PUBLISHED.iter().filter(|line| line.starts_with('X')) {
        let heard = peers.each_ref().map(|peer| {
            let (mut admin, mut client) = (peer.client(), peer.client());
            admin.call("FLUSHALL");
            for line in ["XADD s 1-1 a b", "XADD s 4-1 a b", "XGROUP CREATE s g 0 ENTRIESREAD 0"] {
                admin.call(line);
            }
            for line in ["XADD s 5-1 a b", "XREADGROUP GROUP g c COUNT 2 STREAMS s >"] {
                admin.call(line);
            }
            let mut said = Vec::new();
            client.call("HELLO 3");
            client.call("CLIENT TRACKING ON");
            client.call("XRANGE s - +");
            client.call("WATCH s t");
            admin.call(line);
            client.call("MULTI");
            client.call("PING");
            said.push(client.call("EXEC"));
            said.push(client.call("PING"));
            said
        });
        assert_eq!(heard[1], heard[0], "{line}");
    }
}

/// A busy stream: what a replica or a file that repeats it must come to.
const BUSY: &[&str] = &[
    "XADD s * name value",
    "XADD s * name other",
    "XADD s 9999999999999-* name other more 12",
    "XADD s MAXLEN ~ 100 * name trimmed",
    "XADD s MAXLEN 40 * name trimmed",
    "XGROUP CREATE s g 0",
    "XREADGROUP GROUP g joe COUNT 7 STREAMS s >",
    "XREADGROUP GROUP g ann NOACK COUNT 2 STREAMS s >",
    "XREADGROUP GROUP g ann COUNT 5 STREAMS s >",
    "XGROUP CREATECONSUMER s g idle",
    "XAUTOCLAIM s g sue 0 - COUNT 3",
    "XGROUP CREATE made g $ MKSTREAM",
    "XTRIM s MAXLEN ~ 20",
    "XSETID made 7-7 ENTRIESADDED 9 MAXDELETEDID 3-3",
];

/// What there is to say of the streams, but for times, and for how many entries were read: XCLAIM, which is what is
/// repeated of XREADGROUP, does not say it.
fn state(client: &mut Client) -> Vec<String> {
    [
        "DEBUG DIGEST",
        "XINFO STREAM s",
        "XPENDING s g",
        "XPENDING s g - + 1000 joe",
        "XINFO STREAM made",
        "XINFO GROUPS made",
    ]
    .map(|line| {
        let said = client.call(line);
        // How long ago something was handed out is not the same twice.
        let is_idle = |part: &&str| !(line.ends_with("joe") && part.starts_with(':'));
        said.split("\r\n").filter(is_idle).collect::<Vec<_>>().join(" ")
    })
    .into()
}

fn fill(client: &mut Client) {
    for _ in 0..20 {
        for line in BUSY {
            let said = client.call(line);
            assert!(!said.starts_with('-') || said.starts_with("-BUSYGROUP"), "{line}: {said}");
        }
        let first = client.call("XRANGE s - + COUNT 1");
        let id = first.split("\r\n").nth(3).expect("an id").to_owned();
        assert_eq!(client.call(&format!("XDEL s {id}")), ":1\r\n");
        client.call("XREADGROUP GROUP g joe COUNT 1 STREAMS s >");
        let pending = client.call("XPENDING s g");
        let id = pending.split("\r\n").nth(3).expect("an id");
        client.call(&format!("XACK s g {id}"));
    }
}

#[test]
fn a_replica_of_either_kind_follows() {
    let options = ["--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"];
    for (primary, replica) in [(0, 1), (1, 0), (1, 1)] {
        let primary = &Peer::both(&options)[primary];
        let replica = &Peer::both(&options)[replica];
        let (mut writer, mut reader) = (primary.client(), replica.client());
        fill(&mut writer);
        reader.call(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
        eventually("the link is up", || {
            reader.call("INFO replication").contains("master_link_status:up")
        });
        fill(&mut writer);
        assert_eq!(writer.call("WAIT 1 10000"), ":1\r\n");
        assert_eq!(state(&mut reader), state(&mut writer), "{}", primary.name());
    }
}

fn start_in(program: &std::ffi::OsStr, folder: Folder, options: &[&str]) -> Listening {
    let port = free_port();
    let mut command = Command::new(program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.args(["--enable-debug-command", "yes"]).args(options);
    let started = Listening::start(command, port, folder);
    eventually("everything is loaded", || started.log().contains("eady to accept connections"));
    started
}

#[test]
fn files_of_either_kind_are_read_by_both() {
    let programs = [std::ffi::OsStr::new("redis-server"), server_binary().as_os_str()];
    for (preamble, rewrite) in [("no", true), ("yes", true), ("no", false)] {
        let options = ["--appendonly", "yes", "--aof-use-rdb-preamble", preamble];
        for writer in programs {
            for reader in programs {
                let mut writer = start_in(writer, Folder::new(), &options);
                let mut client = writer.client();
                fill(&mut client);
                if rewrite {
                    client.call("BGREWRITEAOF");
                    eventually("the log is rewritten", || {
                        figure(&mut client, "aof_rewrite_in_progress") == 0
                            && figure(&mut client, "aof_rewrite_scheduled") == 0
                    });
                }
                if preamble == "yes" || !rewrite {
                    fill(&mut client);
                }
                let mut before = state(&mut client);
                client.send(&["SHUTDOWN", "NOSAVE"]);
                writer.process.ended();
                let mut reader = start_in(reader, writer.folder, &options);
                let mut after = state(&mut reader.client());
                if preamble == "no" && rewrite {
                    // XADD fills nodes anew, and what is pending but deleted cannot be said in commands.
                    for said in [&mut before, &mut after] {
                        said.drain(1..=3);
                    }
                }
                assert_eq!(after, before, "preamble {preamble}");
                reader.process.kill();
            }
        }
    }
}

#[test]
fn a_large_stream_is_saved_as_it_was_while_it_is_written() {
    let folder = Folder::new();
    let server = start_in(server_binary().as_os_str(), folder, &[]);
    let mut client = server.client();
    client.call("XGROUP CREATE s g 0 MKSTREAM");
    for _ in 0..60 {
        client.send(&["MULTI"]);
        for _ in 0..500 {
            client.send(&["XADD", "s", "*", "name", &"value ".repeat(20)]);
        }
        client.send(&["EXEC"]);
        (0..502).for_each(|_| {
            client.receive();
        });
    }
    for consumer in 0..30 {
        let line = format!("XREADGROUP GROUP g c{consumer} COUNT 300 STREAMS s >");
        client.call(&line);
    }
    let (digest, groups) = (client.call("DEBUG DIGEST-VALUE s"), client.call("XINFO GROUPS s"));
    client.send(&["BGSAVE"]);
    // At once behind it, while it is not written yet.
    client.send(&["XADD", "s", "*", "late", "one"]);
    client.send(&["XREADGROUP", "GROUP", "g", "late", "COUNT", "10", "STREAMS", "s", ">"]);
    client.send(&["XTRIM", "s", "MAXLEN", "100"]);
    client.send(&["DEL", "s"]);
    (0..5).for_each(|_| {
        assert!(!client.receive().starts_with('-'));
    });
    eventually("it is saved", || figure(&mut client, "rdb_bgsave_in_progress") == 0);
    assert!(server.folder.join("dump.rdb").exists());
    let Listening { folder, mut process, .. } = server;
    process.kill();
    let original = start_in(std::ffi::OsStr::new("redis-server"), folder, &[]);
    let mut client = original.client();
    assert_eq!(client.call("DEBUG DIGEST-VALUE s"), digest);
    assert_eq!(client.call("XINFO GROUPS s"), groups);
}
