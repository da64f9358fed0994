//! Snapshots that are not the dump of BGSAVE: what they do to commands and figures, and who gives them up.

use redstart_tests::proxy_support::{Client, eventually, send_signal};
use redstart_tests::server_support::{Peer, Server, figure};

/// A connection that asks for all data as a replica does, and takes none of it.
fn replica(port: u16) -> Client {
    let mut client = Client::connect(port);
    assert_eq!(client.call("REPLCONF capa eof capa psync2"), "+OK\r\n");
    client.send(&["PSYNC", "?", "-1"]);
    client
}

fn assert_shows(peer: &Peer, lines: &[&str]) {
    let info = peer.client().call("INFO persistence");
    for line in lines {
        assert!(info.contains(&format!("\r\n{line}\r\n")), "{}: {line}: {info}", peer.name());
    }
}

fn shows(client: &mut Client, line: &str) -> bool {
    client.call("INFO persistence").contains(&format!("\r\n{line}\r\n"))
}

#[test]
fn what_is_written_for_replicas_is_an_rdb_and_what_is_for_the_log_is_not() {
    let options = ["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"];
    let options = [&options[..], &["--appendonly", "yes", "--save", "3600 1000"]].concat();
    for peer in Peer::both(&options) {
        let (mut client, name) = (peer.client(), peer.name());
        for key in 0..100 {
            assert_eq!(client.call(&format!("SET key{key} 1")), "+OK\r\n");
        }
        // The original's child does not notice that its replica has gone before it is through.
        assert_eq!(client.call("CONFIG SET rdb-key-save-delay 80000"), "+OK\r\n");
        assert_shows(&peer, &["rdb_last_bgsave_time_sec:-1", "rdb_current_bgsave_time_sec:-1"]);

        let follower = replica(peer.port());
        eventually("it is written for a replica", || {
            shows(&mut client, "rdb_bgsave_in_progress:1")
        });
        client.play(
            "> SAVE
             < -ERR Background save already in progress
             > BGSAVE
             < -ERR Background save already in progress
             > BGSAVE SCHEDULE
             < -ERR Background save already in progress
             > BGREWRITEAOF
             < +Background append only file rewriting scheduled",
        );
        assert_shows(&peer, &["current_save_keys_total:100", "rdb_saves:0"]);
        assert!(!shows(&mut client, "rdb_current_bgsave_time_sec:-1"), "{name}");
        assert_eq!(client.call("CONFIG SET rdb-key-save-delay 500000"), "+OK\r\n");
        drop(follower);
        // The rewrite that was put off follows.
        eventually("it is rewritten", || shows(&mut client, "aof_rewrite_in_progress:1"));
        assert!(!shows(&mut client, "rdb_last_bgsave_time_sec:-1"), "{name}");
        assert_shows(
            &peer,
            &[
                "rdb_bgsave_in_progress:0",
                "rdb_current_bgsave_time_sec:-1",
                "current_save_keys_total:100",
                "rdb_saves:0",
            ],
        );
        client.play(
            "> BGREWRITEAOF
             < -ERR Background append only file rewriting already in progress
             > BGSAVE
             < -ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.
             > CONFIG SET rdb-key-save-delay 0
             < +OK
             > SAVE
             < +OK",
        );
        assert_shows(&peer, &["aof_rewrite_in_progress:1", "rdb_saves:1"]);
        assert_eq!(client.call("CONFIG SET appendonly no"), "+OK\r\n");
        eventually("it is given up", || shows(&mut client, "aof_rewrite_in_progress:0"));

        // By way of the disk it is the dump.
        assert_eq!(client.call("CONFIG SET repl-diskless-sync no"), "+OK\r\n");
        assert_eq!(client.call("SET more 1"), "+OK\r\n");
        assert_shows(&peer, &["rdb_changes_since_last_save:1"]);
        let _follower = replica(peer.port());
        eventually("it is saved", || shows(&mut client, "rdb_changes_since_last_save:0"));
        assert_shows(&peer, &["rdb_saves:2", "rdb_last_bgsave_status:ok"]);
    }
}

#[test]
fn a_save_that_all_wait_for_rests_as_it_is_told() {
    for peer in Peer::both(&["--rdb-key-save-delay", "20000"]) {
        let mut client = peer.client();
        for key in 0..20 {
            client.call(&format!("SET key{key} 1"));
        }
        let begun = std::time::Instant::now();
        assert_eq!(client.call("SAVE"), "+OK\r\n");
        assert!(begun.elapsed().as_millis() >= 400, "{}: {:?}", peer.name(), begun.elapsed());
    }
}

#[test]
fn who_insists_on_the_end_does_not_wait_for_the_save() {
    let options = ["--rdb-key-save-delay", "1000000", "--save", "3600 1"];
    for peer in Peer::both(&options) {
        let (mut client, name) = (peer.client(), peer.name());
        for key in 0..100 {
            client.call(&format!("SET key{key} 1"));
        }
        let process = figure(&mut client, "process_id") as u32;
        let unfinished = peer.folder().join(&format!("temp-{process}.rdb"));
        assert!(send_signal(process, 2));
        eventually("it saves", || unfinished.is_file());
        assert!(send_signal(process, 2));
        assert!(client.is_closed(), "{name}");
        eventually("the file is removed", || !unfinished.exists());
        assert!(!peer.folder().join("dump.rdb").exists(), "{name}");
        assert!(peer.log().contains("You insist... exiting now."), "{name}");
    }
}

/// A server whose snapshot for a replica does not get on, since the replica takes nothing.
fn stuck() -> (Server, Client) {
    let server = Server::start(&[
        "--repl-diskless-sync",
        "yes",
        "--repl-diskless-sync-delay",
        "0",
        "--rdbcompression",
        "no",
        "--enable-debug-command",
        "yes",
    ]);
    let mut client = server.client();
    assert_eq!(client.call("DEBUG POPULATE 6000 key 10000"), "+OK\r\n");
    let follower = replica(server.port);
    let written = |client: &mut Client| figure(client, "current_save_keys_processed");
    // It has begun, and many looks in a row see the same.
    let (mut before, mut same) = (0, 0);
    eventually("it does not get on", || {
        let now = written(&mut client);
        same = if now > 0 && now == before { same + 1 } else { 0 };
        before = now;
        same >= 40
    });
    assert!(before < 6000, "all of it was taken");
    (server, follower)
}

#[test]
fn a_snapshot_that_nobody_takes_any_more_is_given_up() {
    let (server, follower) = stuck();
    drop(follower);
    let mut client = server.client();
    eventually("it is given up", || shows(&mut client, "rdb_bgsave_in_progress:0"));
    assert_eq!(client.call("SET a 1"), "+OK\r\n");
    assert!(server.log().contains("last replica dropped"), "{}", server.log());

    let (server, _follower) = stuck();
    let mut client = server.client();
    assert_eq!(client.call("FLUSHALL"), "+OK\r\n");
    eventually("it is given up", || shows(&mut client, "rdb_bgsave_in_progress:0"));

    let (mut server, _follower) = stuck();
    let mut client = server.client();
    client.send(&["SHUTDOWN", "NOSAVE", "NOW"]);
    assert!(client.is_closed());
    eventually("it ends", || !server.process.is_alive());
}
