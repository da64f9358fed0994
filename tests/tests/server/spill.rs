//! `repl-spill-size`: what a slow replica has yet to be sent lies in files, and it is not dropped for it.

use std::process::Command;
use std::time::Duration;

use redstart_tests::faulty_disk::{Fault, FaultyDisk};
use redstart_tests::proxy_support::{Folder, Listening, Redis, eventually, free_port, within};
use redstart_tests::server_support::{Server, figure};

const MB: u64 = 1 << 20;
/// What a value of [`write`] has, in bytes.
const VALUE_BYTES: usize = 1 << 20;
/// How long a replica may take to catch up with hundreds of megabytes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

const ALWAYS: [&str; 12] = [
    "--enable-debug-command",
    "yes",
    "--repl-diskless-sync-delay",
    "0",
    // Signs of life would move the offset while the test compares.
    "--repl-ping-replica-period",
    "3600",
    "--repl-timeout",
    "600",
    "--save",
    "",
    "--repl-backlog-size",
    "1mb",
];

fn options<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&ALWAYS, more].concat()
}

fn start_replica(is_original: bool, primary: &Listening, more: &[&str]) -> Replica {
    let port = primary.port.to_string();
    let options = [&options(more)[..], &["--replicaof", "127.0.0.1", &port]].concat();
    match is_original {
        true => {
            let command = Command::new("redis-server");
            Replica::Original(Redis::start_by(command, free_port(), &options))
        }
        false => Replica::Ours(Server::start(&options)),
    }
}

enum Replica {
    Ours(Server),
    Original(Redis),
}

impl std::ops::Deref for Replica {
    type Target = Listening;

    fn deref(&self) -> &Listening {
        match self {
            Self::Ours(server) => server,
            Self::Original(server) => server,
        }
    }
}

fn is_linked(replica: &Listening) -> bool {
    replica.client().call("INFO replication").contains("master_link_status:up")
}

/// Writes so many values over a few keys, one after the other is taken.
fn write(primary: &Listening, count: usize) {
    let (mut client, value) = (primary.client(), "v".repeat(VALUE_BYTES));
    for round in 0..count {
        let number = round.to_string();
        let value = format!("{number}{}", &value[number.len()..]);
        client.send(&["SET", &format!("k{}", round % 7), &value]);
        assert_eq!(client.receive(), "+OK\r\n", "{round}\n{}", primary.log());
    }
}

fn assert_equal(primary: &Listening, replica: &Listening) {
    let offset = |server: &Listening| figure(&mut server.client(), "master_repl_offset");
    let is_even = within(PATIENCE, || is_linked(replica) && offset(replica) == offset(primary));
    let told = || format!("{}\n{}", primary.client().call("INFO replication"), primary.log());
    assert!(is_even, "{}\n{}", told(), replica.log());
    let digest = |server: &Listening| server.client().call("DEBUG DIGEST");
    assert_eq!(digest(replica), digest(primary), "{}", told());
}

/// Nothing is left of the files, and of the memory.
fn assert_given_back(primary: &Listening) {
    let mut client = primary.client();
    eventually("files and memory are given back", || {
        figure(&mut client, "repl_spilled_bytes") == 0
            && figure(&mut client, "mem_total_replication_buffers") < 4 * MB
    });
    let names: Vec<_> = std::fs::read_dir(primary.folder.path())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    assert!(!names.iter().any(|name| name.contains("spill")), "{names:?}");
}

#[test]
fn a_replica_that_is_stuck_costs_disk_and_neither_memory_nor_a_full_sync() {
    for is_original in [true, false] {
        let primary = Server::start(&options(&[
            "--client-output-buffer-limit",
            "replica 256mb 0 0",
            "--repl-spill-size",
            "1gb",
            "--repl-slow-writers",
            "yes",
        ]));
        let mut client = primary.client();
        write(&primary, 10);
        let replica = start_replica(is_original, &primary, &[]);
        eventually("it follows", || is_linked(&replica));
        replica.process.signal(19);
        write(&primary, 300);
        // The disk may be slow.
        eventually("it lies in files", || figure(&mut client, "repl_spilled_bytes") > 200 * MB);
        // A few values, what is kept, and what the process has anyway.
        let resident = primary.process.peak_bytes();
        assert!(resident < 200 * MB, "{resident}");
        assert_eq!(figure(&mut client, "connected_slaves"), 1, "{}", primary.log());
        replica.process.signal(18);
        // It goes on while the replica catches up.
        write(&primary, 50);
        assert_equal(&primary, &replica);
        assert_eq!(figure(&mut client, "sync_full"), 1, "{}", primary.log());
        assert!(primary.process.peak_bytes() < 200 * MB, "{}", primary.process.peak_bytes());
        assert_given_back(&primary);
    }
}

#[test]
fn replicas_that_load_slowly_are_sent_what_was_written_meanwhile() {
    for by_file in ["yes", "no"] {
        let primary = Server::start(&options(&[
            "--client-output-buffer-limit",
            "replica 32mb 0 0",
            "--repl-spill-size",
            "1gb",
            "--repl-slow-writers",
            "yes",
            "--repl-diskless-sync",
            by_file,
        ]));
        let mut client = primary.client();
        assert_eq!(client.call("DEBUG POPULATE 3000 few 10"), "+OK\r\n");
        // About three seconds.
        let slow = ["--key-load-delay", "1000"];
        let replicas = [true, false].map(|is_original| start_replica(is_original, &primary, &slow));
        eventually("both wait for it or load", || figure(&mut client, "connected_slaves") == 2);
        write(&primary, 200);
        for replica in &replicas {
            assert_equal(&primary, replica);
        }
        assert_eq!(figure(&mut client, "sync_full"), 2, "{}", primary.log());
        assert_given_back(&primary);
    }
}

#[test]
fn beyond_the_files_a_replica_is_dropped_or_writers_are_slowed() {
    for slows in ["yes", "no"] {
        let primary = Server::start(&options(&[
            "--client-output-buffer-limit",
            "replica 16mb 0 0",
            "--repl-spill-size",
            "32mb",
            "--repl-slow-writers",
            slows,
        ]));
        let mut client = primary.client();
        let replica = start_replica(true, &primary, &[]);
        eventually("it follows", || is_linked(&replica));
        replica.process.signal(19);
        let (mut writer, value) = (primary.client(), "v".repeat(VALUE_BYTES));
        let mut sent = 0;
        let is_held = within(PATIENCE, || {
            // A slow disk would be another reason to drop it.
            let is_written = figure(&mut client, "mem_total_replication_buffers") < 8 * MB
                || figure(&mut client, "repl_spilled_bytes") > 30 * MB;
            if sent < 150 && is_written {
                writer.send(&["SET", "k", &value]);
                sent += 1;
            }
            // A writer that waits is not answered; the next look is at the other side.
            figure(&mut client, "connected_slaves") == 0
                || figure(&mut client, "blocked_clients") > 0
        });
        assert!(is_held, "sent {sent}: {}", primary.client().call("INFO"));
        assert!(figure(&mut client, "repl_spilled_bytes") <= 32 * MB);
        let is_there = figure(&mut client, "connected_slaves") == 1;
        assert_eq!(is_there, slows == "yes", "{}", primary.log());
        replica.process.signal(18);
        if slows == "yes" {
            assert_equal(&primary, &replica);
            assert_eq!(figure(&mut client, "sync_full"), 1, "{}", primary.log());
            assert_given_back(&primary);
        } else {
            assert!(primary.log().contains("fills the files up to repl-spill-size"));
        }
    }
}

#[test]
fn a_disk_that_fails_costs_what_it_costs_without_files() {
    let limits = ["--client-output-buffer-limit", "replica 32mb 0 0", "--repl-spill-size", "1gb"];
    let disk = FaultyDisk::new();
    let primary = disk.ours(Folder::new(), &options(&limits));
    let mut client = primary.client();
    let replica = start_replica(true, &primary, &[]);
    eventually("it follows", || is_linked(&replica));

    // What cannot be written stays in memory, up to the limit.
    disk.begin(Fault::WriteFails, "temp-spill");
    replica.process.signal(19);
    write(&primary, 80);
    assert_eq!(figure(&mut client, "repl_spilled_bytes"), 0);
    let line = "cannot be written to a file, and stays in memory: Input/output error";
    assert!(primary.log().contains(line), "{}", primary.log());
    assert!(primary.log().contains("overcoming of output buffer limits"), "{}", primary.log());
    disk.end(Fault::WriteFails);
    replica.process.signal(18);
    assert_equal(&primary, &replica);
    assert_eq!(figure(&mut client, "sync_full"), 2, "{}", primary.log());

    // It is tried again after a while.
    replica.process.signal(19);
    assert_eq!(client.call("CONFIG SET repl-slow-writers yes"), "+OK\r\n");
    write(&primary, 20);
    eventually("it is written", || figure(&mut client, "repl_spilled_bytes") > 0);
    assert!(primary.log().contains("can be written to a file again"));
    write(&primary, 40);

    // What cannot be read back costs the replica a full sync.
    disk.begin(Fault::ReadFails, "temp-spill");
    replica.process.signal(18);
    let line = "cannot be read back from a file: Input/output error";
    let is_told = within(PATIENCE, || primary.log().contains(line));
    assert!(is_told, "{}", primary.log());
    assert_equal(&primary, &replica);
    assert_eq!(figure(&mut client, "sync_full"), 3, "{}", primary.log());
    assert_given_back(&primary);
}
