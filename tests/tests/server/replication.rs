//! Replication between processes of ours and the original's, each way: full and partial syncs, chains, restarts, promotion.

use std::process::Command;

use redstart_tests::proxy_support::{Client, Folder, Listening, eventually, free_port};
use redstart_tests::server_support::{Random, figure, server_binary};

/// Whose server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ours,
    Original,
}

use Kind::{Original, Ours};

/// A server that can be ended and started again with its folder and port.
struct Node {
    kind: Kind,
    options: Vec<String>,
    running: Option<Listening>,
}

impl Node {
    fn start(kind: Kind, options: &[&str]) -> Self {
        const ALWAYS: [&str; 10] = [
            "--enable-debug-command",
            "yes",
            "--repl-diskless-sync-delay",
            "0",
            // Signs of life would move the offset while the test compares.
            "--repl-ping-replica-period",
            "3600",
            "--shutdown-timeout",
            "10",
            "--save",
            "",
        ];
        let options = ALWAYS.iter().chain(options).map(|word| (*word).to_owned()).collect();
        let mut node = Self { kind, options, running: None };
        node.run(Folder::new(), free_port());
        node
    }

    fn replica_of(kind: Kind, primary: &Self, options: &[&str]) -> Self {
        let of = primary.port().to_string();
        Self::start(kind, &[&["--replicaof", "127.0.0.1", &of], options].concat())
    }

    fn run(&mut self, folder: Folder, port: u16) {
        let mut command = match self.kind {
            Ours => Command::new(server_binary()),
            Original => Command::new("redis-server"),
        };
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]).args(&self.options);
        self.running = Some(Listening::start(command, port, folder));
        eventually("everything is loaded", || self.log().contains("eady to accept connections"));
    }

    fn running(&self) -> &Listening {
        self.running.as_ref().expect("it runs")
    }

    fn port(&self) -> u16 {
        self.running().port
    }

    fn log(&self) -> String {
        self.running().log()
    }

    fn client(&self) -> Client {
        self.running().client()
    }

    fn call(&self, words: &str) -> String {
        self.client().call(words)
    }

    fn figure(&self, name: &str) -> u64 {
        figure(&mut self.client(), name)
    }

    fn info(&self, name: &str) -> String {
        let info = self.call("INFO everything");
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().to_owned()
    }

    fn is_linked(&self) -> bool {
        self.info("master_link_status") == "up"
    }

    fn set_primary(&self, primary: &Self) {
        assert_eq!(self.call(&format!("REPLICAOF 127.0.0.1 {}", primary.port())), "+OK\r\n");
    }

    /// Ends it as `SHUTDOWN` with these words does, and starts it again.
    fn restart(&mut self, words: &str) {
        self.client().send(&format!("SHUTDOWN {words}").split_whitespace().collect::<Vec<_>>());
        let mut running = self.running.take().expect("it runs");
        eventually("it has ended", || !running.process.is_alive());
        let Listening { folder, port, .. } = running;
        self.run(folder, port);
    }

    fn describe(&self) -> String {
        format!("{:?} at {}:\n{}\n{}", self.kind, self.port(), self.call("INFO"), self.log())
    }
}

/// Writes of many kinds to three databases.
fn write(node: &Node, seed: u64, count: usize) {
    let (mut client, mut random) = (node.client(), Random::new(seed));
    for round in 0..count {
        let key = random.below(60);
        let words = match random.below(9) {
            0 => format!("SET s{key} {}", random.number()),
            1 => format!("RPUSH l{key} a {} c", random.number()),
            2 => format!("SADD t{key} {} x", random.below(1000)),
            3 => format!("SPOP t{key}"),
            4 => format!("ZADD z{key} {} m{}", random.below(100), random.below(900)),
            5 => format!("INCR n{key}"),
            6 => format!("HSET h{} f{} {}", random.below(3), random.below(900), random.number()),
            7 => format!("SET e{key} 1 EX 1000"),
            _ => format!("DEL l{key}"),
        };
        client.call(&words);
        if round % 50 == 0 {
            client.call(&format!("SELECT {}", random.below(3)));
        }
    }
}

/// Waits until all have the same place in the same history, and compares their data.
fn assert_equal(nodes: &[&Node]) {
    let offset = |node: &Node| node.info("master_repl_offset");
    let is_even = || {
        let first = offset(nodes[0]);
        nodes[1..].iter().all(|node| node.is_linked() && offset(node) == first)
    };
    let told = || nodes.iter().map(|node| node.describe()).collect::<Vec<_>>().join("\n\n");
    assert!(redstart_tests::proxy_support::within(PATIENCE, is_even), "not even:\n{}", told());
    let digests: Vec<_> = nodes.iter().map(|node| node.call("DEBUG DIGEST")).collect();
    assert!(digests.iter().all(|one| *one == digests[0]), "{digests:?}\n{}", told());
    assert_ne!(digests[0], "+0000000000000000000000000000000000000000\r\n");
}

use redstart_tests::proxy_support::PATIENCE;

const MIXED: [(Kind, Kind); 3] = [(Ours, Original), (Original, Ours), (Ours, Ours)];

#[test]
fn each_follows_the_other_from_all_data_on() {
    for (primary, replica) in MIXED {
        for diskless in ["yes", "no"] {
            for load in ["disabled", "on-empty-db", "swapdb"] {
                let primary = Node::start(primary, &["--repl-diskless-sync", diskless]);
                write(&primary, 1, 700);
                let replica = Node::replica_of(replica, &primary, &["--repl-diskless-load", load]);
                write(&primary, 2, 300);
                assert_equal(&[&primary, &replica]);
                assert_eq!(primary.figure("sync_full"), 1, "{}", primary.describe());
            }
        }
    }
}

#[test]
fn a_link_that_was_cut_is_continued() {
    for (primary, replica) in MIXED {
        let primary = Node::start(primary, &[]);
        let replica = Node::replica_of(replica, &primary, &[]);
        write(&primary, 3, 200);
        assert_equal(&[&primary, &replica]);
        for round in 1..=3 {
            assert_eq!(primary.call("CLIENT KILL TYPE replica"), ":1\r\n");
            write(&primary, 3 + round, 200);
            assert_equal(&[&primary, &replica]);
            assert_eq!(primary.figure("sync_partial_ok"), round, "{}", primary.describe());
        }
        assert_eq!(primary.figure("sync_full"), 1, "{}", primary.describe());
    }
}

#[test]
fn what_was_saved_is_continued_after_a_restart() {
    for (primary, replica) in MIXED {
        let mut primary = Node::start(primary, &[]);
        let mut replica = Node::replica_of(replica, &primary, &[]);
        write(&primary, 11, 300);
        assert_equal(&[&primary, &replica]);
        primary.restart("SAVE");
        write(&primary, 12, 100);
        assert_equal(&[&primary, &replica]);
        assert_eq!(primary.figure("sync_full"), 0, "{}", primary.describe());
        assert_eq!(primary.figure("sync_partial_ok"), 1, "{}", primary.describe());

        replica.restart("SAVE");
        write(&primary, 13, 100);
        assert_equal(&[&primary, &replica]);
        assert_eq!(primary.figure("sync_full"), 0, "{}", primary.describe());
        assert_eq!(primary.figure("sync_partial_ok"), 2, "{}", primary.describe());
    }
}

#[test]
fn a_failover_costs_no_full_sync() {
    for (primary, replica) in MIXED {
        let first = Node::start(primary, &[]);
        let second = Node::replica_of(replica, &first, &[]);
        write(&first, 21, 200);
        assert_equal(&[&first, &second]);
        let asked = format!("FAILOVER TO 127.0.0.1 {} TIMEOUT 15000", second.port());
        // The primary takes it for online once it has acknowledged the end of its snapshot.
        eventually("the target is online", || first.call(&asked) == "+OK\r\n");
        eventually("the roles have changed", || {
            second.info("role") == "master" && first.info("role") == "slave" && first.is_linked()
        });
        write(&second, 22, 200);
        assert_equal(&[&second, &first]);
        assert_eq!(second.figure("sync_full"), 0, "{}", second.describe());
        assert_eq!(second.figure("sync_partial_ok"), 1, "{}", second.describe());
        assert_eq!(first.info("master_failover_state"), "no-failover");
    }
}

#[test]
fn a_replica_that_was_promoted_comes_back() {
    let first = Node::start(Ours, &[]);
    let second = Node::replica_of(Ours, &first, &[]);
    write(&first, 31, 200);
    assert_equal(&[&first, &second]);
    let history = first.info("master_replid");
    assert_eq!(second.call("REPLICAOF NO ONE"), "+OK\r\n");
    assert_eq!(second.info("master_replid2"), history);
    assert_ne!(second.info("master_replid"), history);
    // Nothing was written since: the other can follow without all data.
    first.set_primary(&second);
    write(&second, 32, 100);
    assert_equal(&[&second, &first]);
    assert_eq!(second.figure("sync_full"), 0, "{}", second.describe());
    // What was written on a server that others do not follow is lost when it follows.
    assert_eq!(first.call("REPLICAOF NO ONE"), "+OK\r\n");
    assert_eq!(first.call("SET only here"), "+OK\r\n");
    write(&second, 33, 100);
    first.set_primary(&second);
    assert_equal(&[&second, &first]);
    assert_eq!(first.call("GET only"), "$-1\r\n");
    assert_eq!(second.figure("sync_full"), 1, "{}", second.describe());
}

#[test]
fn a_chain_of_ours_and_theirs_ends_equal() {
    let first = Node::start(Ours, &[]);
    let second = Node::replica_of(Original, &first, &[]);
    let third = Node::replica_of(Ours, &second, &[]);
    let fourth = Node::replica_of(Original, &third, &[]);
    let all = [&first, &second, &third, &fourth];
    eventually("all follow", || all[1..].iter().all(|node| node.is_linked()));
    write(&first, 41, 300);
    assert_equal(&all);
    for round in 0..3 {
        first.call("CLIENT KILL TYPE replica");
        third.call("CLIENT KILL TYPE replica");
        write(&first, 42 + round, 200);
        assert_equal(&all);
    }
    for node in &all[..3] {
        assert_eq!(node.figure("sync_full"), 1, "{}", node.describe());
    }
}

#[test]
fn five_replicas_at_once_cost_one_walk() {
    let options = ["--repl-diskless-sync-delay", "60", "--repl-diskless-sync-max-replicas", "5"];
    for [diskless, line] in [["yes", "RDB transfer started"], ["no", "Background saving started"]] {
        let options = [&options[..], &["--repl-diskless-sync", diskless]].concat();
        let primary = Node::start(Ours, &options);
        write(&primary, 51, 500);
        let kinds = [Ours, Original, Ours, Original, Ours];
        let replicas = kinds.map(|kind| Node::start(kind, &[]));
        if diskless == "no" {
            // The first begins it at once, and the others join while it is made.
            assert_eq!(primary.call("CONFIG SET rdb-key-save-delay 30000"), "+OK\r\n");
        }
        replicas.iter().for_each(|replica| replica.set_primary(&primary));
        eventually("all follow", || replicas.iter().all(Node::is_linked));
        let all: Vec<_> = std::iter::once(&primary).chain(&replicas).collect();
        assert_equal(&all);
        assert_eq!(primary.figure("sync_full"), 5);
        assert_eq!(primary.log().matches(line).count(), 1, "{}", primary.log());
    }
}

#[test]
fn wait_counts_who_has_it() {
    let primary = Node::start(Ours, &[]);
    let replicas = [Ours, Original].map(|kind| Node::replica_of(kind, &primary, &[]));
    eventually("both follow", || replicas.iter().all(Node::is_linked));
    let mut client = primary.client();
    assert_eq!(client.call("SET k 1"), "+OK\r\n");
    assert_eq!(client.call("WAIT 2 20000"), ":2\r\n");
    replicas[1].running().process.signal(19);
    assert_eq!(client.call("SET k 2"), "+OK\r\n");
    assert_eq!(client.call("WAIT 2 300"), ":1\r\n");
    // Within a transaction nobody waits.
    client.call("MULTI");
    client.call("SET k 3");
    client.call("WAIT 2 0");
    assert!(client.call("EXEC").starts_with("*2\r\n+OK\r\n:"));
    // Who is waited for comes back.
    client.send(&["WAIT", "2", "0"]);
    replicas[1].running().process.signal(18);
    assert_eq!(client.receive(), ":2\r\n");
    let refused = "-ERR WAIT cannot be used with replica instances. Please also note that since \
                   Redis 4.0 if a replica is configured to be writable (which is not the default) \
                   writes to replicas are just local and are not propagated.\r\n";
    assert_eq!(replicas[0].call("WAIT 1 0"), refused);
    assert_eq!(replicas[1].call("WAIT 1 0"), refused);
}

#[test]
fn waitaof_counts_the_disks_that_have_it() {
    const LOG: &[&str] =
        &["--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"];
    let primary = Node::start(Ours, LOG);
    let mut client = primary.client();
    let error = |reply: &str, words: &str| assert_eq!(reply, format!("-ERR {words}\r\n"));
    // Who has written nothing waits for nothing.
    assert_eq!(client.call("WAITAOF 1 0 0"), "*2\r\n:1\r\n:0\r\n");
    client.call("SET k 1");
    assert_eq!(client.call("WAITAOF 1 0 0"), "*2\r\n:1\r\n:0\r\n");
    client.call("CONFIG SET appendfsync no");
    client.call("SET k 2");
    assert_eq!(client.call("WAITAOF 1 0 50"), "*2\r\n:0\r\n:0\r\n");
    client.call("CONFIG SET appendfsync always");
    client.call("SET k 3");
    assert_eq!(client.call("WAITAOF 1 0 0"), "*2\r\n:1\r\n:0\r\n");
    error(&client.call("WAITAOF 2 0 0"), "value is out of range, value must between 0 and 1");
    error(&client.call("WAITAOF 0 -1 0"), "value is out of range, must be positive");
    error(&client.call("WAITAOF 0 0 -1"), "timeout is negative");
    for command in ["WAIT 1", "WAITAOF 1 1"] {
        let reply = client.call(&format!("{command} {}", i64::MAX));
        error(&reply, "timeout is out of range");
    }

    // A replica counts once its own disk has it, which a log that is turned on later has after its first rewrite.
    let replica = Node::replica_of(Ours, &primary, &[]);
    eventually("it follows", || replica.is_linked());
    client.call("SET k 4");
    assert_eq!(client.call("WAIT 1 20000"), ":1\r\n");
    assert_eq!(client.call("WAITAOF 1 1 100"), "*2\r\n:1\r\n:0\r\n");
    client.send(&["WAITAOF", "1", "1", "0"]);
    replica.call("CONFIG SET appendonly yes");
    assert_eq!(client.receive(), "*2\r\n:1\r\n:1\r\n");
    for fsync in ["everysec", "always"] {
        replica.call(&format!("CONFIG SET appendfsync {fsync}"));
        client.call("SET k 5");
        assert_eq!(client.call("WAITAOF 0 1 0"), "*2\r\n:1\r\n:1\r\n");
    }
    let refused = "WAITAOF cannot be used with replica instances. Please also note that writes to \
                   replicas are just local and are not propagated.";
    error(&replica.call("WAITAOF 0 0 0"), refused);

    // Within a transaction nobody waits, and who waits no longer is not answered for it later.
    client.call("CONFIG SET appendfsync no");
    client.call("MULTI");
    client.call("SET k 6");
    client.call("WAITAOF 1 2 0");
    assert!(client.call("EXEC").starts_with("*2\r\n+OK\r\n*2\r\n:"));
    let id = client.call("CLIENT ID");
    client.send(&["WAITAOF", "1", "0", "0"]);
    let unblock = format!("CLIENT UNBLOCK {} ERROR", id.trim_matches([':', '\r', '\n']));
    eventually("it waits and is let go", || primary.call(&unblock) == ":1\r\n");
    assert!(client.receive().starts_with("-UNBLOCKED client unblocked via CLIENT UNBLOCK"));
    client.send(&["BLPOP", "list", "0"]);
    eventually("it waits for the list", || primary.figure("blocked_clients") == 1);
    primary.call("CONFIG SET appendfsync always");
    primary.call("SET k 7");
    assert_eq!(primary.call("RPUSH list a"), ":1\r\n");
    assert_eq!(client.receive(), "*2\r\n$4\r\nlist\r\n$1\r\na\r\n");

    // Without a log there is nothing to wait for.
    primary.call("CONFIG SET appendfsync no");
    client.call("SET k 8");
    client.send(&["WAITAOF", "1", "0", "0"]);
    eventually("it waits", || primary.figure("blocked_clients") == 1);
    primary.call("CONFIG SET appendonly no");
    let off = "WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
    error(&client.receive(), off);
    error(&client.call("WAITAOF 1 0 0"), off);
    client.call("SET k 9");
    assert_eq!(client.call("WAITAOF 0 1 0"), "*2\r\n:0\r\n:1\r\n");
}

#[test]
fn who_was_sent_away_from_wait_is_not_answered_later() {
    for primary in [Ours, Original] {
        let primary = Node::start(primary, &[]);
        let (mut client, mut other) = (primary.client(), primary.client());
        let id = client.call("CLIENT ID").trim_start_matches(':').trim_end().to_owned();
        client.send(&["WAIT", "1", "0"]);
        let unblock = format!("CLIENT UNBLOCK {id} ERROR");
        eventually("it waits", || other.call(&unblock) == ":1\r\n");
        assert!(client.receive().starts_with("-UNBLOCKED"));
        client.send(&["BLPOP", "list", "0"]);
        let replica = Node::replica_of(Ours, &primary, &[]);
        eventually("it follows", || replica.is_linked());
        assert_eq!(other.call("SET k 1"), "+OK\r\n");
        assert_eq!(other.call("WAIT 1 20000"), ":1\r\n");
        assert_eq!(other.call("RPUSH list a"), ":1\r\n");
        assert_eq!(client.receive(), "*2\r\n$4\r\nlist\r\n$1\r\na\r\n");
    }
}

#[test]
fn a_replica_that_loads_says_so_or_serves_what_it_has() {
    for primary in [Ours, Original] {
        let primary = Node::start(primary, &["--repl-diskless-sync", "yes"]);
        write(&primary, 61, 500);
        assert_eq!(primary.call("SET witness old"), "+OK\r\n");
        for load in ["disabled", "on-empty-db", "swapdb"] {
            let replica = Node::start(Ours, &["--repl-diskless-load", load]);
            assert_eq!(replica.call("SET own 1"), "+OK\r\n");
            if load == "on-empty-db" {
                replica.call("FLUSHALL");
            }
            assert_eq!(replica.call("CONFIG SET key-load-delay 20000"), "+OK\r\n");
            replica.set_primary(&primary);
            eventually("it loads", || replica.info("loading") == "1");
            assert!(replica.call("GET own").starts_with("-LOADING"), "{load}");
            assert_eq!(replica.call("PING").as_bytes()[0], b'-');
            assert_eq!(replica.call("CONFIG SET key-load-delay 0"), "+OK\r\n");
            eventually("it has loaded", || replica.info("loading") == "0");
            assert_equal(&[&primary, &replica]);
            assert_eq!(replica.call("GET own"), "$-1\r\n");
        }
        // What it has is an earlier state of the same data: it serves while the new comes.
        let replica = Node::replica_of(Ours, &primary, &["--repl-diskless-load", "swapdb"]);
        assert_equal(&[&primary, &replica]);
        assert_eq!(replica.call("CONFIG SET key-load-delay 20000"), "+OK\r\n");
        let mut watcher = replica.client();
        watcher.call("WATCH witness");
        // More than the backlog holds is written while the link is down.
        primary.call("CONFIG SET repl-backlog-size 16384");
        replica.running().process.signal(19);
        primary.call("CLIENT KILL TYPE replica");
        primary.call("SET witness new");
        write(&primary, 62, 2000);
        replica.running().process.signal(18);
        eventually("it loads beside", || replica.info("async_loading") == "1");
        assert_eq!(replica.call("GET witness"), "$3\r\nold\r\n");
        assert_eq!(replica.info("loading"), "0");
        assert!(replica.call("BGREWRITEAOF").starts_with("-LOADING"));
        assert_eq!(replica.call("CONFIG SET key-load-delay 0"), "+OK\r\n");
        assert_equal(&[&primary, &replica]);
        assert_eq!(replica.call("GET witness"), "$3\r\nnew\r\n");
        watcher.call("MULTI");
        watcher.call("GET witness");
        assert_eq!(watcher.call("EXEC"), "*-1\r\n");
    }
}

#[test]
fn keys_expire_on_replicas_by_the_word_of_the_primary() {
    let primary = Node::start(Ours, &[]);
    let replica = Node::replica_of(Ours, &primary, &[]);
    eventually("it follows", || replica.is_linked());
    let mut client = primary.client();
    client.call("DEBUG SET-ACTIVE-EXPIRE 0");
    client.call("SET k 1 PX 50");
    client.call("SET kept 1 PX 50");
    eventually("it is hidden", || {
        replica.call("GET k") == "$-1\r\n" && replica.call("EXISTS kept") == ":0\r\n"
    });
    // Still there, for the primary has not said otherwise.
    assert_eq!(replica.call("DBSIZE"), ":2\r\n");
    assert!(replica.call("DEBUG OBJECT k").starts_with("+Value at:"));
    assert_eq!(client.call("GET k"), "$-1\r\n");
    eventually("it is gone", || replica.call("DBSIZE") == ":1\r\n");

    // On a writable replica, writes remove what is past its deadline, and what is the replica's own goes by itself.
    assert_eq!(replica.call("CONFIG SET replica-read-only no"), "+OK\r\n");
    assert_eq!(replica.call("RPUSH kept a"), ":1\r\n");
    assert_eq!(replica.call("DBSIZE"), ":1\r\n");
    assert_eq!(replica.call("LRANGE kept 0 -1"), "*1\r\n$1\r\na\r\n");
    assert_eq!(replica.call("SET mine 1 PX 50"), "+OK\r\n");
    eventually("its own key is gone", || {
        replica.call("DBSIZE") == ":1\r\n" && replica.figure("slave_expires_tracked_keys") == 0
    });
}

#[test]
fn the_end_waits_for_replicas_or_is_given_up() {
    let mut primary = Node::start(Ours, &["--shutdown-timeout", "20"]);
    let replica = Node::replica_of(Original, &primary, &[]);
    eventually("it follows", || replica.is_linked());
    replica.running().process.signal(19);
    assert_eq!(primary.call("SET k 1"), "+OK\r\n");
    let mut asking = primary.client();
    asking.send(&["SHUTDOWN", "NOSAVE"]);
    eventually("it waits", || !primary.info("shutdown_in_milliseconds").is_empty());
    assert_eq!(primary.call("SHUTDOWN ABORT"), "+OK\r\n");
    assert_eq!(asking.receive(), "-ERR Errors trying to SHUTDOWN. Check logs.\r\n");
    assert_eq!(primary.call("SHUTDOWN ABORT"), "-ERR No shutdown in progress.\r\n");
    assert_eq!(primary.call("SET k 2"), "+OK\r\n");

    primary.running().process.signal(15);
    eventually("it waits", || !primary.info("shutdown_in_milliseconds").is_empty());
    replica.running().process.signal(18);
    let mut running = primary.running.take().expect("it runs");
    eventually("it has ended", || !running.process.is_alive());
    assert!(running.log().contains("1 of 1 replicas are in sync when shutting down."));
    assert!(!running.log().contains("Lagging replica"));
    eventually("the write has arrived", || replica.call("GET k") == "$1\r\n2\r\n");
}

#[test]
fn what_is_paused_on_a_replica_waits() {
    let primary = Node::start(Ours, &[]);
    let replica = Node::replica_of(Ours, &primary, &[]);
    write(&primary, 81, 50);
    assert_equal(&[&primary, &replica]);
    assert_eq!(replica.call("CLIENT PAUSE 100000 WRITE"), "+OK\r\n");
    let before = replica.figure("slave_repl_offset");
    assert_eq!(primary.call("SET paused 1"), "+OK\r\n");
    let end = primary.figure("master_repl_offset");
    eventually("it is read", || replica.figure("slave_read_repl_offset") == end);
    assert_eq!(replica.figure("slave_repl_offset"), before);
    assert_eq!(replica.call("GET paused"), "$-1\r\n");
    assert_eq!(replica.call("CLIENT UNPAUSE"), "+OK\r\n");
    eventually("it has run", || replica.call("GET paused") == "$1\r\n1\r\n");
}

#[test]
fn writers_are_slowed_rather_than_a_replica_dropped() {
    let options =
        ["--client-output-buffer-limit", "replica 1mb 0 0", "--repl-backlog-size", "16kb"];
    for slows in [true, false] {
        let primary = Node::start(Ours, &options);
        assert_eq!(
            primary.call(&format!(
                "CONFIG SET repl-slow-writers {}",
                if slows { "yes" } else { "no" }
            )),
            "+OK\r\n"
        );
        let replica = Node::replica_of(Original, &primary, &[]);
        eventually("it follows", || replica.is_linked());
        replica.running().process.signal(19);
        // Far more than the sockets and the limit take.
        let (mut writer, value) = (primary.client(), "v".repeat(1 << 16));
        let mut sent = 0;
        let is_held = redstart_tests::proxy_support::within(PATIENCE, || {
            if sent >= 60_000_000 {
                return true;
            }
            sent += value.len();
            writer.send(&["SET", "k", &value]);
            // A writer that waits is not answered; the next look is at the other side.
            primary.figure("connected_slaves") == 0 || primary.figure("blocked_clients") > 0
        });
        assert!(is_held, "sent {sent}");
        assert_eq!(primary.figure("connected_slaves"), u64::from(slows), "{}", primary.log());
        replica.running().process.signal(18);
        if slows {
            assert_equal(&[&primary, &replica]);
            assert_eq!(primary.figure("sync_full"), 1, "{}", primary.log());
        }
    }
}

#[test]
fn the_traffic_of_replication_is_counted_apart() {
    for (primary, replica) in MIXED {
        let primary = Node::start(primary, &[]);
        let replica = Node::replica_of(replica, &primary, &[]);
        eventually("it follows", || replica.is_linked());
        let (mut writer, value) = (primary.client(), "v".repeat(10_000));
        let mut written = 0;
        let rate = |node: &Node, name: &str| {
            let text = node.info(&format!("instantaneous_{name}_kbps"));
            text.parse::<f64>().unwrap_or_else(|_| panic!("{name}: {text}"))
        };
        eventually("the rates rise", || {
            for _ in 0..20 {
                writer.send(&["SET", "k", &value]);
                assert_eq!(writer.receive(), "+OK\r\n");
                written += 10_000;
            }
            rate(&primary, "output_repl") > 100.0 && rate(&replica, "input_repl") > 100.0
        });
        assert!(rate(&primary, "output") >= 100.0 && rate(&replica, "input") >= 100.0);
        for (node, name) in [(&primary, "input_repl"), (&replica, "output_repl")] {
            assert!(rate(node, name) == 0.0, "{name}\n{}", node.describe());
        }
        assert_equal(&[&primary, &replica]);
        // The rest is the snapshot and what was said before it.
        let sent = primary.figure("total_net_repl_output_bytes");
        let received = replica.figure("total_net_repl_input_bytes");
        for bytes in [sent, received] {
            assert!((written..written * 11 / 10 + 10_000).contains(&bytes), "{bytes} of {written}");
        }
        assert!(primary.figure("total_net_input_bytes") >= written);
        assert!(primary.figure("total_net_output_bytes") >= sent);
        assert!(replica.figure("total_net_input_bytes") >= received);
        assert_eq!(primary.figure("total_net_repl_input_bytes"), 0);
        // Acknowledgements are output, though not that of replication.
        let offset = replica.info("master_repl_offset");
        let digits = offset.len();
        let ack = format!("*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n${digits}\r\n{offset}\r\n").len();
        let mut client = replica.client();
        let reply = client.call("INFO stats");
        let sum = |reply: &str| -> usize {
            let line = reply.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:"));
            line.and_then(|sum| sum.parse().ok()).expect("a sum")
        };
        let (mut before, mut told) = (sum(&reply), reply.len());
        eventually("acknowledgements are counted", || {
            let reply = client.call("INFO stats");
            let others = sum(&reply) - before - told;
            (before, told) = (sum(&reply), reply.len());
            assert_eq!(others % ack, 0, "{others} of {ack}");
            others > 0
        });
        assert_eq!(replica.figure("total_net_repl_output_bytes"), 0);
    }
}
