//! Reads that go to replicas, and what makes them go to the primary.

use std::time::{Duration, Instant};

use redstart_common::slot::key_slot;
use redstart_tests::cluster_support::Cluster;
use redstart_tests::proxy_support::{Client, Redis, eventually};

use crate::cluster::proxy_with;

/// How often a server was asked to GET.
fn gets(server: &Redis) -> u64 {
    let info = server.client().call("INFO commandstats");
    let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls="));
    line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
}

/// Reads until the replicas, but for the primary, have answered.
fn replicas_answer(client: &mut Client, replicas: &[Redis]) {
    eventually("every replica is read from", || {
        assert_eq!(client.call("GET k"), "$1\r\nv\r\n");
        replicas.iter().all(|replica| gets(replica) > 0)
    });
}

/// A value is at all servers.
fn is_everywhere(cluster: &Cluster) {
    for replica in &cluster.nodes[1..] {
        let mut direct = replica.client();
        assert_eq!(direct.call("READONLY"), "+OK\r\n");
        eventually("the replica has it", || direct.call("STRLEN k") == ":1\r\n");
    }
}

#[test]
fn reads_go_to_replicas_and_a_client_reads_what_it_wrote() {
    let cluster = Cluster::start(1, 2, &[]);
    let keys = "  read_from: replica_preferred\n  read_after_write: 60000\n";
    let proxy = proxy_with(cluster.nodes[0].port, keys, 1);
    let mut writer = proxy.client();
    assert_eq!(writer.call("SET k v"), "+OK\r\n");
    is_everywhere(&cluster);
    let mut reader = proxy.client();
    replicas_answer(&mut reader, &cluster.nodes[1..]);
    let before = gets(&cluster.nodes[0]);
    for _ in 0..100 {
        assert_eq!(reader.call("GET k"), "$1\r\nv\r\n");
    }
    assert_eq!(gets(&cluster.nodes[0]), before, "none of them went to the primary");
    for round in 0..50 {
        assert_eq!(writer.call(&format!("SET k {round}")), "+OK\r\n");
        let text = round.to_string();
        assert_eq!(writer.call("GET k"), format!("${}\r\n{text}\r\n", text.len()));
    }
    assert_eq!(gets(&cluster.nodes[0]), before + 50, "all of these did");
    // Parts of a split request are reads as well, in a transaction they go with it.
    assert_eq!(reader.call("MGET k none"), "*2\r\n$2\r\n49\r\n$-1\r\n");
    let mut direct = cluster.nodes[0].client();
    assert!(!direct.call("INFO commandstats").contains("cmdstat_mget:"));
    reader.play("> MULTI\n< +OK\n> GET k\n< +QUEUED\n> EXEC\n< *1\n< $2\n< 49");
    assert_eq!(gets(&cluster.nodes[0]), before + 51);
}

#[test]
fn keys_on_their_way_to_another_node_are_not_missed() {
    const KEYS: usize = 40;
    let cluster = Cluster::start(2, 1, &[]);
    let proxy = proxy_with(cluster.nodes[0].port, "  read_from: replica_preferred\n", 1);
    let mut client = proxy.client();
    let key = |number: usize| format!("{{t}}{number}");
    for number in 0..KEYS {
        assert_eq!(client.call(&format!("SET {} v", key(number))), "+OK\r\n");
    }
    let slot = key_slot(b"t");
    let from = usize::from(slot >= 8192);
    let to = 1 - from;
    let is_at = |replica: usize| {
        let mut direct = cluster.nodes[2 + replica].client();
        assert_eq!(direct.call("READONLY"), "+OK\r\n");
        let last = format!("STRLEN {}", key(KEYS - 1));
        eventually("the replica has it", || direct.call(&last) == ":1\r\n");
    };
    let read = |client: &mut Client, times: usize| {
        for number in 0..times {
            assert_eq!(client.call(&format!("GET {}", key(number % KEYS))), "$1\r\nv\r\n");
        }
    };
    is_at(from);
    let served_by = |client: &mut Client, node: usize| {
        eventually("the reads go there", || {
            let before = gets(&cluster.nodes[node]);
            read(client, 5);
            gets(&cluster.nodes[node]) >= before + 5
        });
    };
    served_by(&mut client, 2 + from);
    cluster.begin_move(slot, from, to);
    // Its primary says where keys have gone; the replica would say that they are nowhere.
    served_by(&mut client, from);
    let port = cluster.nodes[to].port;
    for number in 0..KEYS / 2 {
        let migrate = format!("MIGRATE 127.0.0.1 {port} {} 0 5000", key(number));
        assert_eq!(cluster.nodes[from].client().call(&migrate), "+OK\r\n");
        read(&mut client, 2);
    }
    read(&mut client, KEYS);
    cluster.move_keys(slot, from, to);
    cluster.end_move(slot, from, to);
    is_at(to);
    read(&mut client, KEYS);
    let keys = (0..KEYS).map(key).collect::<Vec<_>>().join(" ");
    assert_eq!(client.call(&format!("MGET {keys}")).matches("$1\r\nv\r\n").count(), KEYS);
    served_by(&mut client, 2 + to);
}

#[test]
fn a_replica_that_fails_is_not_missed() {
    let mut cluster = Cluster::start(1, 2, &[]);
    let proxy = proxy_with(cluster.nodes[0].port, "  read_from: replica_preferred\n", 2);
    let mut client = proxy.client();
    assert_eq!(client.call("SET k v"), "+OK\r\n");
    is_everywhere(&cluster);
    replicas_answer(&mut client, &cluster.nodes[1..]);
    // One dies, the other one stands still.
    cluster.nodes.remove(2).kill();
    for _ in 0..200 {
        assert_eq!(client.call("GET k"), "$1\r\nv\r\n");
    }
    cluster.nodes[1].signal(libc::SIGSTOP);
    let asked = Instant::now();
    for _ in 0..200 {
        assert_eq!(client.call("GET k"), "$1\r\nv\r\n");
    }
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    let before = gets(&cluster.nodes[0]);
    assert!(before > 0, "the primary has stepped in");
    cluster.nodes[1].signal(libc::SIGCONT);
    eventually("it serves again", || {
        let before = gets(&cluster.nodes[1]);
        assert_eq!(client.call("GET k"), "$1\r\nv\r\n");
        gets(&cluster.nodes[1]) > before
    });
}

#[test]
fn the_modes_differ_in_who_steps_in() {
    let mut cluster = Cluster::start(1, 1, &[]);
    let port = cluster.nodes[0].port;
    let start = |mode: &str| {
        let keys = format!("  read_from: {mode}\n  max_lag: 100mb\n  failover_hold: 300\n");
        proxy_with(port, &keys, 1)
    };
    let modes = ["master_preferred", "replica", "any", "nearest"];
    let proxies = modes.map(start);
    let mut clients = proxies.each_ref().map(|proxy| proxy.client());
    assert_eq!(clients[0].call("SET k v"), "+OK\r\n");
    is_everywhere(&cluster);
    let [by_master, by_replica, by_any, by_nearest] = &mut clients;
    // With a bound on the lag nobody is read from who has not told how far he is.
    eventually("the replica has told", || by_replica.call("GET k") == "$1\r\nv\r\n");
    let (primary, replica) = (&cluster.nodes[0], &cluster.nodes[1]);
    let counts = || (gets(primary), gets(replica));
    let before = counts();
    (0..50).for_each(|_| assert_eq!(by_master.call("GET k"), "$1\r\nv\r\n"));
    assert_eq!(counts(), (before.0 + 50, before.1));
    (0..50).for_each(|_| assert_eq!(by_replica.call("GET k"), "$1\r\nv\r\n"));
    assert_eq!(counts(), (before.0 + 50, before.1 + 50));
    eventually("both are read from", || {
        let before = counts();
        (0..50).for_each(|_| assert_eq!(by_any.call("GET k"), "$1\r\nv\r\n"));
        let now = counts();
        now.0 > before.0 && now.1 > before.1
    });
    (0..50).for_each(|_| assert_eq!(by_nearest.call("GET k"), "$1\r\nv\r\n"));
    let info = by_any.call("INFO servers");
    assert!(info.contains("state=live,") && info.contains("role=replica,"), "{info}");
    // Without the replica all but one go on.
    cluster.nodes.remove(1).kill();
    for client in [by_master, by_any, by_nearest] {
        (0..50).for_each(|_| assert_eq!(client.call("GET k"), "$1\r\nv\r\n"));
    }
    eventually("it is said that there is none", || {
        by_replica.call("GET k") == "-ERR no replica of this key can be read from now\r\n"
    });
    assert_eq!(by_replica.call("SET k w"), "+OK\r\n");
}

/// The value of a line `name:value` of INFO, as a number.
fn count(client: &mut Client, name: &str) -> u64 {
    let info = client.call("INFO pool");
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{name}: {info}"))
}

#[test]
fn a_read_that_is_late_is_asked_of_another_within_the_budget() {
    let cluster = Cluster::start(1, 2, &[]);
    let keys = "  read_from: replica\n  hedge_after: 20\n  hedge_budget: 50\n";
    let proxy = proxy_with(cluster.nodes[0].port, keys, 1);
    let mut client = proxy.client();
    let large = "x".repeat(100_000);
    let value = |key: usize| if key.is_multiple_of(4) { large.clone() } else { format!("v{key}") };
    for key in 0..40 {
        assert_eq!(client.call(&format!("SET k{key} {}", value(key))), "+OK\r\n");
    }
    assert_eq!(client.call("SET k v"), "+OK\r\n");
    is_everywhere(&cluster);
    replicas_answer(&mut client, &cluster.nodes[1..]);
    let reply = |key: usize| format!("${}\r\n{}\r\n", value(key).len(), value(key));
    // The budget is what was saved by reads before, and theirs: half of them at most.
    for _ in 0..60 {
        assert_eq!(client.call("GET k"), "$1\r\nv\r\n");
    }
    assert_eq!(count(&mut client, "hedges_denied"), 0);
    cluster.nodes[1].signal(libc::SIGSTOP);
    let lines: String = (0..40).map(|key| format!("GET k{key}\r\n")).collect();
    client.send_raw(format!("{lines}MGET k1 k2 {}\r\n", "k3 ".repeat(9)).as_bytes());
    for key in 0..40 {
        assert!(client.receive() == reply(key), "k{key}: the order holds");
    }
    let all: String = [1, 2].into_iter().chain([3; 9]).map(reply).collect();
    assert_eq!(client.receive(), format!("*11\r\n{all}"));
    let (hedged, won) = (count(&mut client, "hedged_reads"), count(&mut client, "hedge_wins"));
    assert!(won > 0 && won <= hedged, "{won} of {hedged}");
    // Late answers are nobody's.
    cluster.nodes[1].signal(libc::SIGCONT);
    for round in 0..50 {
        let key = round % 40;
        assert!(client.call(&format!("GET k{key}")) == reply(key), "k{key}");
    }
    eventually("it serves again", || {
        let before = gets(&cluster.nodes[1]);
        assert_eq!(client.call("GET k"), "$1\r\nv\r\n");
        gets(&cluster.nodes[1]) > before
    });
    // A cursor goes back to whom it came from, and writes are never sent twice.
    assert_eq!(client.call("HSET h f v"), ":1\r\n");
    for _ in 0..6 {
        assert!(client.call("HSCAN h 0").contains("\r\nv\r\n"));
    }
    let stats = |at: usize| cluster.nodes[at].client().call("INFO commandstats");
    assert!(stats(0).contains("cmdstat_hscan:calls=6,"));
    cluster.nodes[0].signal(libc::SIGSTOP);
    client.send(&["INCR", "n"]);
    let mut other = proxy.client();
    for _ in 0..200 {
        assert_eq!(other.call("GET k"), "$1\r\nv\r\n");
    }
    let asked = Instant::now();
    eventually("time has passed", || asked.elapsed() > Duration::from_millis(100));
    cluster.nodes[0].signal(libc::SIGCONT);
    assert_eq!(client.receive(), ":1\r\n");
}

#[test]
fn reads_keep_to_the_data_center_and_the_priorities() {
    let mut cluster = Cluster::start(1, 2, &[]);
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
    let keys = format!(
        "  failover_hold: 300\n  replica_read_priority: 50\n  master_read_priority: 10\n  max_load: 1000\n  local_dc: south\n  data_centers:
    north: {{prefixes: [\"127.0.0.1:{}\", \"127.0.0.1:{}\"], reads: {{north: 1}}}}
    south: {{prefixes: [\"127.0.0.1:{}\"], reads: {{south: 50, north: 20}}}}\n",
        ports[0], ports[1], ports[2]
    );
    let proxy = proxy_with(ports[0], &keys, 1);
    let mut client = proxy.client();
    assert_eq!(client.call("SET k v"), "+OK\r\n");
    is_everywhere(&cluster);
    eventually("the one nearby is read from", || {
        assert_eq!(client.call("GET k"), "$1\r\nv\r\n");
        gets(&cluster.nodes[2]) > 0
    });
    let before = [0, 1, 2].map(|at| gets(&cluster.nodes[at]));
    (0..50).for_each(|_| assert_eq!(client.call("GET k"), "$1\r\nv\r\n"));
    let now = [0, 1, 2].map(|at| gets(&cluster.nodes[at]));
    assert_eq!(now, [before[0], before[1], before[2] + 50]);
    let info = client.call("INFO servers");
    assert_eq!(info.matches(",dc=south,").count(), 1, "{info}");
    assert_eq!(info.matches(",dc=north,").count(), 2, "{info}");
    assert!(count(&mut client, "replica_reads") >= 50);
    // Without it, the replica of the other one comes before the primary.
    cluster.nodes.remove(2).kill();
    eventually("the other replica has stepped in", || {
        let before = gets(&cluster.nodes[1]);
        assert_eq!(client.call("GET k"), "$1\r\nv\r\n");
        gets(&cluster.nodes[1]) > before
    });
    let before = gets(&cluster.nodes[0]);
    (0..50).for_each(|_| assert_eq!(client.call("GET k"), "$1\r\nv\r\n"));
    assert_eq!(gets(&cluster.nodes[0]), before);
}
