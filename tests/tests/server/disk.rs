//! What the append-only file does when the disk fails or does not answer, beside the original.

use std::time::Duration;

use redstart_tests::faulty_disk::{Fault, FaultyDisk};
use redstart_tests::proxy_support::{
    Client, Folder, Listening, Process, eventually, free_port, within,
};
use redstart_tests::server_support::{Peer, Server, figure, server_binary};

const EVERYSEC: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""];
const ALWAYS: &[&str] = &["--appendonly", "yes", "--appendfsync", "always", "--save", ""];

/// Waits until a server has loaded what there is.
fn ready(server: &Listening) -> Client {
    eventually("the data is loaded", || server.log().contains("Ready to accept connections"));
    server.client()
}

fn status(client: &mut Client) -> bool {
    let info = client.call("INFO persistence");
    assert!(info.contains("aof_last_write_status:"));
    info.contains("aof_last_write_status:ok")
}

fn is_alive(peer: &mut Peer) -> bool {
    match peer {
        Peer::Ours(server) => server.process.is_alive(),
        Peer::Original(server) => server.process.is_alive(),
    }
}

#[test]
fn a_sync_that_fails_stops_writes() {
    for is_original in [true, false] {
        let disk = FaultyDisk::new();
        let peer = disk.start(is_original, EVERYSEC);
        let mut client = ready(peer.listening());
        assert_eq!(client.call("SET before 1"), "+OK\r\n");
        disk.begin(Fault::SyncFails, ".aof");
        eventually("writes are refused", || {
            let reply = client.call("INCR count");
            let is_refused =
                reply.starts_with("-MISCONF Errors writing to the AOF file: Input/output error");
            assert!(is_refused || reply.starts_with(':'), "{}: {reply}", peer.name());
            is_refused
        });
        assert!(!status(&mut client));
        assert_eq!(client.call("GET before"), "$1\r\n1\r\n");
        let line = "Fail to fsync the AOF file: Input/output error";
        assert!(peer.log().contains(line), "{}", peer.log());
    }
}

#[test]
fn writes_are_taken_again_once_the_disk_syncs_and_the_log_is_rewritten() {
    let disk = FaultyDisk::new();
    let mut server = disk.ours(Folder::new(), EVERYSEC);
    let mut client = ready(&server);
    disk.begin(Fault::SyncFails, ".aof");
    let mut count = 0;
    eventually("writes are refused", || {
        let is_taken = client.call("INCR count").starts_with(':');
        count += usize::from(is_taken);
        !is_taken
    });
    let rewrites = figure(&mut client, "aof_rewrites");
    disk.end(Fault::SyncFails);
    // Nothing is written meanwhile: the sync itself is tried again.
    eventually("writes are taken again", || status(&mut client));
    // What the failed sync was for may not be on the disk, whatever a later one says.
    eventually("the log is rewritten", || figure(&mut client, "aof_rewrites") > rewrites);
    let is_done = || server.log().contains("Background AOF rewrite finished successfully");
    eventually("that is done", is_done);
    let line =
        "A failed fsync has left open what is on the disk: the append-only file is rewritten";
    assert!(server.log().contains(line), "{}", server.log());
    assert_eq!(client.call("INCR count"), format!(":{}\r\n", count + 1));
    server.process.kill();
    let server = Server::start_in(server.into_folder(), EVERYSEC);
    assert_eq!(ready(&server).call("INCR count"), format!(":{}\r\n", count + 2));
}

#[test]
fn a_write_that_fails_stops_writes_until_one_succeeds() {
    for is_original in [true, false] {
        let disk = FaultyDisk::new();
        let peer = disk.start(is_original, EVERYSEC);
        let mut client = ready(peer.listening());
        assert_eq!(client.call("SET before 1"), "+OK\r\n");
        disk.begin(Fault::WriteFails, ".aof");
        eventually("writes are refused", || {
            let reply = client.call("INCR count");
            reply.starts_with("-MISCONF Errors writing to the AOF file: Input/output error")
        });
        assert!(!status(&mut client));
        assert_eq!(client.call("GET before"), "$1\r\n1\r\n");
        assert!(peer.log().contains("Error writing to the AOF file: Input/output error"));
        let count = client.call("GET count");
        disk.end(Fault::WriteFails);
        eventually("writes are taken again", || status(&mut client));
        assert!(peer.log().contains("AOF write error looks solved, Redis can write again."));
        assert_eq!(client.call("SET after 1"), "+OK\r\n");
        eventually("it is written", || figure(&mut client, "aof_buffer_length") == 0);
        // What was acknowledged before the error is there, as is what was written after it.
        if let Peer::Ours(mut server) = peer {
            server.process.kill();
            let server = Server::start_in(server.into_folder(), EVERYSEC);
            let mut client = ready(&server);
            assert_eq!(client.call("GET count"), count);
            assert_eq!(client.call("MGET before after"), "*2\r\n$1\r\n1\r\n$1\r\n1\r\n");
        }
    }
}

#[test]
fn who_promises_each_write_ends_when_the_disk_fails() {
    let cases = [
        (
            Fault::SyncFails,
            "Can't persist AOF for fsync error when the AOF fsync policy is 'always': Input/output \
             error. Exiting...",
        ),
        (
            Fault::WriteFails,
            "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting...",
        ),
    ];
    for (fault, line) in cases {
        for is_original in [true, false] {
            let disk = FaultyDisk::new();
            let mut peer = disk.start(is_original, ALWAYS);
            let mut client = ready(peer.listening());
            assert_eq!(client.call("SET before 1"), "+OK\r\n");
            disk.begin(fault, ".aof");
            client.send(&["SET", "lost", "1"]);
            assert!(client.is_closed(), "{}: nothing is acknowledged", peer.name());
            eventually("it ends", || !is_alive(&mut peer));
            assert!(peer.log().contains(line), "{}: {}", peer.name(), peer.log());
        }
    }
}

#[test]
fn a_snapshot_that_cannot_be_written_or_synced_leaves_the_old_one() {
    for fault in [Fault::SyncFails, Fault::WriteFails] {
        let disk = FaultyDisk::new();
        let server = disk.ours(Folder::new(), &["--save", "3600 1"]);
        let mut client = ready(&server);
        assert_eq!(client.call("SET kept 1"), "+OK\r\n");
        assert_eq!(client.call("SAVE"), "+OK\r\n");
        let dump = server.folder.join("dump.rdb");
        let old = std::fs::read(&dump).expect("a dump");
        disk.begin(fault, "temp-");
        assert_eq!(client.call("SET x 1"), "+OK\r\n");
        assert_eq!(client.call("SAVE"), "-ERR\r\n");
        assert_eq!(client.call("BGSAVE"), "+Background saving started\r\n");
        eventually("it fails", || {
            client.call("INFO persistence").contains("rdb_last_bgsave_status:err")
        });
        assert!(client.call("SET x 2").starts_with("-MISCONF Redis is configured to save RDB"));
        assert_eq!(std::fs::read(&dump).expect("the dump"), old);
        disk.end(fault);
        assert_eq!(client.call("BGSAVE"), "+Background saving started\r\n");
        eventually("it succeeds", || {
            client.call("INFO persistence").contains("rdb_last_bgsave_status:ok")
        });
        assert_eq!(client.call("SET x 2"), "+OK\r\n");
        assert_ne!(std::fs::read(&dump).expect("the dump"), old);
    }
}

#[test]
fn a_sync_that_does_not_return_holds_those_only_who_were_promised_something() {
    let disk = FaultyDisk::new();
    let mut server = disk.ours(Folder::new(), ALWAYS);
    let mut reader = ready(&server);
    assert_eq!(reader.call("SET before 1"), "+OK\r\n");
    disk.begin(Fault::SyncWaits, ".aof");
    let mut writers: Vec<Client> = (0..3).map(|_| server.client()).collect();
    for (number, writer) in writers.iter_mut().enumerate() {
        // What follows a held reply waits behind it.
        writer.send_raw(format!("INCR count\r\nGET before\r\nSET own:{number} 1\r\n").as_bytes());
    }
    // Whoever has seen what is not on the disk waits as well; a transaction does as a whole.
    let mut curious = server.client();
    assert_eq!(curious.call("GET before"), "$1\r\n1\r\n");
    curious.send(&["GET", "count"]);
    let mut counter = server.client();
    counter.send(&["DBSIZE"]);
    let mut group = server.client();
    group.send_raw(b"MULTI\r\nGET before\r\nSET group 1\r\nEXEC\r\n");
    let mut waiter = server.client();
    waiter.send_raw(b"BLPOP list 0\r\n");
    eventually("it waits", || figure(&mut reader, "blocked_clients") == 1);
    let mut pusher = server.client();
    pusher.send_raw(b"RPUSH list a\r\n");
    // It sends no more, and is answered nevertheless.
    let mut last = std::net::TcpStream::connect(("127.0.0.1", server.port)).expect("connected");
    std::io::Write::write_all(&mut last, b"SET last 1\r\n").expect("sent");
    last.shutdown(std::net::Shutdown::Write).expect("closed");
    let mut quitter = server.client();
    quitter.send_raw(b"SET quitter 1\r\nQUIT\r\n");
    eventually("all that was executed", || {
        let info = reader.call("INFO commandstats");
        ["incr:calls=3,", "set:calls=7,", "rpush:calls=1,", "exec:calls=1,", "quit:calls=1,"]
            .iter()
            .all(|words| info.contains(&format!("cmdstat_{words}")))
    });
    // Other clients are served meanwhile, as often as they like.
    for _ in 0..100 {
        assert_eq!(reader.call("GET before"), "$1\r\n1\r\n");
    }
    let unanswered =
        [&mut counter, &mut group, &mut waiter, &mut pusher, &mut quitter, &mut curious];
    for client in unanswered.into_iter().chain(&mut writers) {
        assert!(!client.has_received(), "a promise before its time");
    }
    disk.end(Fault::SyncWaits);
    let mut counts: Vec<String> = Vec::new();
    for mut writer in writers {
        counts.push(writer.receive());
        assert_eq!(writer.receive(), "$1\r\n1\r\n");
        assert_eq!(writer.receive(), "+OK\r\n");
    }
    counts.sort();
    assert_eq!(counts, [":1\r\n", ":2\r\n", ":3\r\n"]);
    assert!(counter.receive().starts_with(':'));
    for expected in ["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "*2\r\n$1\r\n1\r\n+OK\r\n"] {
        assert_eq!(group.receive(), expected);
    }
    assert_eq!(waiter.receive(), "*2\r\n$4\r\nlist\r\n$1\r\na\r\n");
    assert_eq!(pusher.receive(), ":1\r\n");
    assert!(curious.receive().starts_with('$'));
    assert_eq!((quitter.receive(), quitter.receive()), ("+OK\r\n".into(), "+OK\r\n".into()));
    assert!(quitter.is_closed());
    let mut text = String::new();
    std::io::Read::read_to_string(&mut last, &mut text).expect("answered");
    assert_eq!(text, "+OK\r\n");
    server.process.kill();
    let server = Server::start_in(server.into_folder(), ALWAYS);
    assert_eq!(ready(&server).call("GET count"), "$1\r\n3\r\n");
}

#[test]
fn replicas_hear_of_a_promised_write_when_it_is_on_the_disk() {
    let disk = FaultyDisk::new();
    let server = disk.ours(Folder::new(), ALWAYS);
    let mut client = ready(&server);
    let replica = Server::start(&["--replicaof", "127.0.0.1", &server.port.to_string()]);
    let mut follower = replica.client();
    assert_eq!(client.call("SET before 1"), "+OK\r\n");
    eventually("it follows", || follower.call("GET before") == "$1\r\n1\r\n");
    disk.begin(Fault::SyncWaits, ".aof");
    let mut writer = server.client();
    writer.send(&["SET", "promised", "1"]);
    eventually("it is executed", || client.call("INFO commandstats").contains("set:calls=2,"));
    let behind = |client: &mut Client| {
        let info = client.call("INFO replication");
        let line = info.lines().find(|line| line.starts_with("slave0:")).expect("a replica");
        let sent = line.split("offset=").nth(1).and_then(|rest| rest.split(',').next());
        let sent: u64 = sent.and_then(|number| number.parse().ok()).expect("an offset");
        figure(client, "master_repl_offset") - sent
    };
    // The replica says each second how far it is.
    let acks = || within(Duration::from_millis(2500), || false);
    assert!(!acks());
    assert!(behind(&mut client) > 0);
    assert_eq!(follower.call("EXISTS promised"), ":0\r\n");
    assert!(!writer.has_received());
    disk.end(Fault::SyncWaits);
    assert_eq!(writer.receive(), "+OK\r\n");
    eventually("it hears of it", || follower.call("EXISTS promised") == ":1\r\n");
    assert_eq!(writer.call("WAIT 1 0"), ":1\r\n");
}

#[test]
fn a_policy_that_promises_less_lets_those_go_who_wait() {
    for change in ["CONFIG SET appendfsync everysec", "CONFIG SET appendonly no"] {
        let disk = FaultyDisk::new();
        let server = disk.ours(Folder::new(), ALWAYS);
        let mut client = ready(&server);
        disk.begin(Fault::SyncWaits, ".aof");
        let mut writer = server.client();
        writer.send(&["SET", "k", "1"]);
        eventually("it is executed", || client.call("INFO commandstats").contains("set:calls=1,"));
        assert!(!writer.has_received());
        client.send(&change.split(' ').collect::<Vec<_>>());
        if change.contains("appendonly") {
            // The end of the log waits for the disk itself.
            assert!(!client.has_received());
            disk.end(Fault::SyncWaits);
        }
        assert_eq!((client.receive(), writer.receive()), ("+OK\r\n".into(), "+OK\r\n".into()));
        disk.end(Fault::SyncWaits);
        assert_eq!(client.call("CONFIG SET appendonly yes appendfsync always"), "+OK\r\n");
        eventually("it is logged again", || {
            client.call("INFO persistence").contains("aof_rewrite_in_progress:0")
        });
        assert_eq!(writer.call("SET k 2"), "+OK\r\n");
    }
}

#[test]
fn an_error_that_nobody_hears_ends_who_is_to_end_for_it() {
    let log = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nx\r\n*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n";
    let said = "== CRITICAL == This server is sending an error to its AOF-loading-client: ";
    for behavior in ["ignore", "panic-on-replicas", "panic"] {
        for original in [true, false] {
            let folder = Folder::new();
            std::fs::write(folder.join("appendonly.aof"), log).expect("written");
            let dir = folder.path().display().to_string();
            let mut command = match original {
                true => std::process::Command::new("redis-server"),
                false => std::process::Command::new(server_binary()),
            };
            command.args(["--port", &free_port().to_string(), "--bind", "127.0.0.1"]);
            command.args(["--dir", &dir, "--appendonly", "yes", "--save", ""]);
            command.args(["--propagation-error-behavior", behavior]);
            let mut process = Process::start(&mut command, &folder.join("log"));
            let printed = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            eventually("it is told", || printed().contains(said));
            if behavior == "panic" {
                eventually("it ends", || !process.is_alive());
                let words = "This server panicked sending an error to its AOF-loading-client \
                             after processing the command 'incr'";
                assert!(printed().contains(words), "{}", printed());
            } else {
                eventually("it starts", || printed().contains("Ready to accept connections"));
            }
        }
    }
}

#[test]
fn what_others_are_refused_while_a_script_of_the_log_runs_is_no_error_of_the_log() {
    let folder = Folder::new();
    let script = "redis.call('set', KEYS[1], 'y') for i = 1, 2000000 do redis.call('ping') end";
    let log =
        format!("*4\r\n$4\r\nEVAL\r\n${}\r\n{script}\r\n$1\r\n1\r\n$1\r\nx\r\n", script.len());
    std::fs::write(folder.join("appendonly.aof"), log).expect("written");
    let dir = folder.path().display().to_string();
    let server = Server::start(
        &[
            &["--dir", &dir, "--appendonly", "yes", "--busy-reply-threshold", "1"][..],
            &["--enable-debug-command", "yes", "--propagation-error-behavior", "panic"],
        ]
        .concat(),
    );
    let (mut client, mut other) = (server.client(), server.client());
    eventually("it has loaded", || client.call("PING") == "+PONG\r\n");
    client.send(&["DEBUG", "LOADAOF"]);
    eventually("it loads", || other.call("PING").starts_with("-LOADING"));
    assert_eq!(client.receive(), "+OK\r\n");
    assert_eq!(other.call("GET x"), "$1\r\ny\r\n");
}

#[test]
fn a_replica_that_cannot_follow_ends_if_it_is_to() {
    let primary = Server::start(&[]);
    let mut client = primary.client();
    let follow = ["--replicaof", "127.0.0.1", &primary.port.to_string()].map(str::to_owned);
    for (behavior, ends) in [("ignore", false), ("panic-on-replicas", true), ("panic", true)] {
        let follow: Vec<&str> = follow.iter().map(String::as_str).collect();
        let more = ["--replica-read-only", "no", "--propagation-error-behavior", behavior];
        let mut replica = Server::start(&[&follow[..], &more].concat());
        let mut follower = replica.client();
        eventually("it follows", || {
            follower.call("INFO replication").contains("master_link_status:up")
        });
        let key = format!("key:{behavior}");
        assert_eq!(follower.call(&format!("SET {key} text")), "+OK\r\n");
        assert_eq!(follower.call("CONFIG SET replica-read-only yes"), "+OK\r\n");
        assert_eq!(client.call(&format!("RPUSH {key} a")), ":1\r\n");
        let said = "== CRITICAL == This replica is sending an error to its master: 'WRONGTYPE ";
        eventually("it is told", || replica.log().contains(said));
        if ends {
            eventually("it ends", || !replica.process.is_alive());
            let words = "This replica panicked sending an error to its master after processing \
                         the command 'rpush'";
            assert!(replica.log().contains(words), "{}", replica.log());
        } else {
            assert_eq!(follower.call("PING"), "+PONG\r\n");
        }
    }
}
