//! Reads that go to replicas, and what makes them go to the primary.

use std::time::{Duration, Instant};

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
