//! Slots that go from one of our nodes to another as one step, with writers, and with ends that come early.

use std::sync::atomic::{AtomicBool, Ordering};

use redstart_common::slot::key_slot;
use redstart_tests::cluster_support::bulk;
use redstart_tests::proxy_support::{Client, eventually};

use super::nodes::Kind::{Original, Ours};
use super::nodes::{Node, form};

/// The first slots of the first node are moved.
const SLOTS: u16 = 1000;
/// Keys that lie in them.
const KEYS: usize = 2000;
/// About how long their values are.
const VALUE_BYTES: usize = 1000;
/// Keys of each writer.
const WRITTEN: usize = 25;
const WRITERS: usize = 2;

/// What CLUSTER GETSLOTMIGRATIONS says of the newest move.
fn newest(client: &mut Client, name: &str) -> String {
    let shown = client.call("CLUSTER GETSLOTMIGRATIONS");
    let rest = shown.split(&format!("\r\n{name}\r\n")).nth(1).unwrap_or_default();
    rest.split("\r\n").nth(1).unwrap_or_default().to_owned()
}

fn wait_for(node: &Node, state: &str) {
    let mut client = node.client();
    eventually(state, || newest(&mut client, "state") == state);
}

fn move_to(from: &Node, to: &Node) -> String {
    let to = bulk(&to.client().call("CLUSTER MYID"));
    from.client().call(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE 0 {} NODE {to}", SLOTS - 1))
}

/// Keys of the slots that move.
fn keys(prefix: &str) -> impl Iterator<Item = String> + '_ {
    let all = (0..).map(move |number| format!("{prefix}:{number}"));
    all.filter(|key| key_slot(key.as_bytes()) < SLOTS)
}

/// Keys that a node has in the slots, seen or not.
fn held(node: &Node) -> usize {
    let mut client = node.client();
    let count = |slot: u16| client.call(&format!("CLUSTER COUNTKEYSINSLOT {slot}"));
    let counts = (0..SLOTS).map(count).map(|reply| reply[1..].trim().parse::<usize>());
    counts.map(|count| count.expect("a number")).sum()
}

fn size(node: &Node) -> String {
    node.client().call("DBSIZE")
}

/// Keys are long, so that a snapshot comes in several pieces.
fn value(key: &str) -> String {
    key.repeat(VALUE_BYTES / key.len())
}

/// Snapshots take two seconds for a thousand keys, or no time.
fn slow_down(node: &Node, slow: bool) {
    let delay = if slow { 2000 } else { 0 };
    let set = format!("CONFIG SET rdb-key-save-delay {delay}");
    assert_eq!(node.client().call(&set), "+OK\r\n");
}

/// Counts up, by whichever node has the slots, until told to stop. Answers how often for each key.
fn count_up(nodes: [&Node; 2], writer: usize, stop: &AtomicBool) -> Vec<usize> {
    let keys: Vec<String> = keys(&format!("w{writer}")).take(WRITTEN).collect();
    let mut clients = nodes.map(Node::client);
    let (mut counts, mut at) = (vec![0; WRITTEN], 0);
    while !stop.load(Ordering::Relaxed) {
        for (key, count) in keys.iter().zip(&mut counts) {
            let reply = clients[at].call(&format!("INCR {key}"));
            if reply.starts_with("-MOVED") {
                at = 1 - at;
            } else {
                *count += 1;
                assert_eq!(reply, format!(":{count}\r\n"), "{key}");
            }
        }
    }
    counts
}

#[test]
fn slots_move_with_all_that_is_written_or_stay_where_they_are() {
    let mut nodes = form(&[Ours, Ours, Original, Original, Ours]);
    for replica in [3, 4] {
        let mut client = nodes[replica].client();
        assert_eq!(client.call("CONFIG SET cluster-replica-no-failover yes"), "+OK\r\n");
    }
    let mut source = nodes[0].client();
    for key in keys("key").take(KEYS) {
        assert_eq!(source.call(&format!("SET {key} {}", value(&key))), "+OK\r\n");
    }
    let all = format!(":{KEYS}\r\n");
    eventually("the replica has them", || size(&nodes[3]) == all);
    let refused = move_to(&nodes[0], &nodes[2]);
    assert!(refused.contains("it is no Redstart"), "{refused}");

    // While keys come nobody sees them, on the target and on its replica.
    slow_down(&nodes[0], true);
    assert_eq!(move_to(&nodes[0], &nodes[1]), "+OK\r\n");
    eventually("keys have come", || held(&nodes[1]) > 100 && held(&nodes[4]) > 0);
    for node in [&nodes[1], &nodes[4]] {
        let mut client = node.client();
        assert_eq!(client.call("DBSIZE"), ":0\r\n");
        assert_eq!(client.call("KEYS *"), "*0\r\n");
        assert_eq!(client.call("RANDOMKEY"), "$-1\r\n");
        assert!(client.call("SCAN 0 COUNT 100000").ends_with("\r\n*0\r\n"));
    }
    assert!(move_to(&nodes[0], &nodes[1]).contains("I am already migrating slot 0."));
    assert_eq!(source.call("CLUSTER CANCELSLOTMIGRATIONS"), "+OK\r\n");
    assert_eq!(newest(&mut source, "state"), "cancelled");
    wait_for(&nodes[1], "failed");
    eventually("nothing is left", || held(&nodes[1]) + held(&nodes[4]) == 0);

    // Either side is killed in the midst.
    for dies in [1, 0] {
        assert_eq!(move_to(&nodes[0], &nodes[1]), "+OK\r\n");
        eventually("keys have come", || held(&nodes[1]) > 100);
        nodes[dies].kill();
        nodes[dies].run();
        let other = 1 - dies;
        wait_for(&nodes[other], "failed");
        eventually("nothing is left", || held(&nodes[1]) == 0);
        eventually("the cluster is up", || {
            let up = |node: &Node| node.client().call("CLUSTER INFO").contains("cluster_state:ok");
            up(&nodes[0]) && up(&nodes[1])
        });
        assert_eq!(size(&nodes[0]), all, "{dies} was killed");
        slow_down(&nodes[0], true);
    }
    eventually("the replicas follow", || {
        [3, 4].iter().all(|replica| {
            nodes[*replica].client().call("INFO replication").contains("master_link_status:up")
        })
    });

    // It succeeds, under writers.
    slow_down(&nodes[0], false);
    let stop = AtomicBool::new(false);
    let (from, to) = (&nodes[0], &nodes[1]);
    let counts: Vec<Vec<usize>> = std::thread::scope(|scope| {
        let stop = &stop;
        let write = |writer| scope.spawn(move || count_up([from, to], writer, stop));
        let writers: Vec<_> = (0..WRITERS).map(write).collect();
        eventually("they write", || held(from) == KEYS + WRITERS * WRITTEN);
        assert_eq!(move_to(from, to), "+OK\r\n");
        wait_for(from, "success");
        wait_for(to, "success");
        let is_there = || to.client().call(&format!("GET {}", keys("w0").next().expect("one")));
        let before = is_there();
        eventually("they write on", || is_there() != before);
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().expect("a writer")).collect()
    });
    let mut client = to.client();
    for (writer, counts) in counts.iter().enumerate() {
        for (key, count) in keys(&format!("w{writer}")).zip(counts) {
            assert_eq!(bulk(&client.call(&format!("GET {key}"))), count.to_string(), "{key}");
        }
    }
    for key in keys("key").take(KEYS) {
        assert_eq!(bulk(&client.call(&format!("GET {key}"))), value(&key));
    }
    let moved = format!(":{}\r\n", KEYS + WRITERS * WRITTEN);
    eventually("each key is in one place", || {
        let sizes = [0, 1, 3, 4].map(|node| size(&nodes[node]));
        sizes == [":0\r\n", &moved, ":0\r\n", &moved].map(str::to_owned)
    });
    eventually("all nodes agree", || {
        nodes.iter().all(|node| {
            let shown = node.client().call("CLUSTER NODES");
            let line = shown.lines().find(|line| line.contains(&format!(":{}@", nodes[1].port)));
            line.is_some_and(|line| line.contains(&format!(" 0-{} 5461-10922", SLOTS - 1)))
        })
    });
    // It is so after a start as well: the log says that the keys are the node's own.
    nodes[1].kill();
    nodes[1].run();
    assert_eq!(size(&nodes[1]), moved);
}
