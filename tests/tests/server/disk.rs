//! What the append-only file does when the disk fails or does not answer, beside the original.

use redstart_tests::faulty_disk::{Fault, FaultyDisk};
use redstart_tests::proxy_support::{Client, Folder, Listening, eventually};
use redstart_tests::server_support::{Peer, Server, figure};

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
