//! A Redis Cluster of real nodes behind one endpoint: slots that move, nodes that come, go and die.

use std::collections::BTreeMap;
use std::process::Command;

use redstart_common::slot::key_slot;
use redstart_tests::cluster_support::Cluster;
use redstart_tests::proxy_support::{
    Client, Folder, Listening, eventually, free_port, proxy_binary,
};

use crate::load::under_load;

/// A proxy over the cluster of a node.
fn proxy_with(seed: u16, keys: &str, workers: usize) -> Listening {
    let (port, folder) = (free_port(), Folder::new());
    let text =
        format!("test:\n  listen: 127.0.0.1:{port}\n  cluster:\n    - 127.0.0.1:{seed}\n{keys}");
    let file = folder.join("proxy.yml");
    std::fs::write(&file, text).expect("written");
    let mut command = Command::new(proxy_binary());
    command.arg("-c").arg(file).args(["--workers", &workers.to_string(), "-s", "0"]);
    Listening::start(command, port, folder)
}

fn proxy(cluster: &Cluster, keys: &str) -> Listening {
    proxy_with(cluster.nodes[0].port, keys, 1)
}

/// The value of a line `name:value` of INFO.
fn fact(client: &mut Client, section: &str, name: &str) -> String {
    let info = client.call(&format!("INFO {section}"));
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().to_owned()
}

/// The place of the node among three that has a key.
fn owner(key: &str) -> usize {
    (0..3).find(|n| usize::from(key_slot(key.as_bytes())) < 16_384 * (n + 1) / 3).expect("one")
}

#[test]
fn three_nodes_are_one_endpoint() {
    let cluster = Cluster::start(3, 0, &[]);
    let proxy = proxy(&cluster, "");
    let mut client = proxy.client();
    // The first requests wait until it is known which nodes there are.
    client.play(
        "> SET a 1
         < +OK
         > MSET b 2 c 3 d 4 {d}2 5
         < +OK
         > MGET d a {d}2 none c b
         < *6
         < $1
         < 4
         < $1
         < 1
         < $1
         < 5
         < $-1
         < $1
         < 3
         < $1
         < 2
         > EXISTS a b c d none
         < :4
         > MULTI
         < +OK
         > INCR {d}n
         < +QUEUED
         > MGET d {d}2
         < +QUEUED
         > EXEC
         < *2
         < :1
         < *2
         < $1
         < 4
         < $1
         < 5
         > MULTI
         < +OK
         > GET a
         < +QUEUED
         > GET b
         < -CROSSSLOT Keys in request don't hash to the same slot
         > EXEC
         < -EXECABORT Transaction discarded because of previous errors.
         > SINTER a b
         < -CROSSSLOT Keys in request don't hash to the same slot
         > MSETNX {x}1 a {x}2 b
         < :1
         > DBSIZE
         < :8
         > DEL a b none {d}n
         < :3
         > DBSIZE
         < :5
         > SPUBLISH channel text
         < :0
         > EVAL return{redis.call('get',KEYS[1])} 1 c
         < *1
         < $1
         < 3",
    );
    // Two keys of one node, in different slots.
    let at = |n: usize| (0..).map(|i| format!("k{i}")).filter(move |key| owner(key) == n);
    for node in 0..3 {
        let keys: Vec<String> = at(node).take(2).collect();
        client.play(&format!(
            "> SUNION {} {}\n< -CROSSSLOT Keys in request don't hash to the same slot",
            keys[0], keys[1]
        ));
        assert_eq!(client.call(&format!("MSET {} v {} v", keys[0], keys[1])), "+OK\r\n");
        assert_eq!(client.call(&format!("DEL {} {}", keys[0], keys[1])), ":2\r\n");
    }
    let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
    loop {
        let reply = client.call(&format!("SCAN {cursor} COUNT 2"));
        let mut words = reply.lines().filter(|line| !line.starts_with(['*', '$']));
        cursor = words.next().expect("a cursor").to_owned();
        found.extend(words.map(str::to_owned));
        if cursor == "0" {
            break;
        }
    }
    found.sort();
    assert_eq!(found, ["c", "d", "{d}2", "{x}1", "{x}2"]);
    assert_eq!(client.call("FLUSHALL"), "+OK\r\n");
    assert_eq!(client.call("DBSIZE"), ":0\r\n");
    let redirects: u64 = ["moved", "ask"]
        .map(|kind| fact(&mut client, "pool", &format!("redirects_{kind}")).parse::<u64>())
        .into_iter()
        .map(|count| count.expect("a number"))
        .sum();
    assert_eq!(redirects, 0, "whoever knows the slots needs none");
}

#[test]
fn a_slot_that_moves_is_followed() {
    let cluster = Cluster::start(3, 0, &[]);
    let proxy = proxy(&cluster, "");
    let mut client = proxy.client();
    let slot = key_slot(b"t");
    let (from, to) = (owner("t"), (owner("t") + 1) % 3);
    assert_eq!(client.call("MSET {t}1 a {t}2 b"), "+OK\r\n");
    cluster.begin_move(slot, from, to);
    // What is there is served there; what is not has gone already, or is to be made at the other end.
    client.play(
        "> GET {t}1
         < $1
         < a
         > SET {t}3 c
         < +OK
         > GET {t}3
         < $1
         < c
         > MULTI
         < +OK
         > APPEND {t}3 d
         < +QUEUED
         > GET {t}3
         < +QUEUED
         > EXEC
         < *2
         < :2
         < $2
         < cd",
    );
    let count = format!("CLUSTER COUNTKEYSINSLOT {slot}");
    assert_eq!(cluster.nodes[to].client().call(&count), ":1\r\n");
    // Keys at both ends: the answer waits until they are together.
    client.send(&["MGET", "{t}1", "{t}3"]);
    client.send(&["SET", "{t}4", "e"]);
    let mut other = proxy.client();
    eventually("it is tried again", || {
        fact(&mut other, "pool", "redirects_tryagain").parse::<u64>().is_ok_and(|n| n >= 3)
    });
    assert!(!client.has_received());
    cluster.move_keys(slot, from, to);
    assert_eq!(client.receive(), "*2\r\n$1\r\na\r\n$2\r\ncd\r\n");
    assert_eq!(client.receive(), "+OK\r\n");
    cluster.end_move(slot, from, to);
    client.play(
        "> MGET {t}1 {t}2 {t}3 {t}4
         < *4
         < $1
         < a
         < $1
         < b
         < $2
         < cd
         < $1
         < e
         > INCR {t}n
         < :1
         > MULTI
         < +OK
         > INCR {t}n
         < +QUEUED
         > EXEC
         < *1
         < :2",
    );
    let moved = fact(&mut client, "pool", "redirects_moved");
    for _ in 0..50 {
        assert_eq!(client.call("GET {t}n"), "$1\r\n2\r\n");
    }
    assert_eq!(fact(&mut client, "pool", "redirects_moved"), moved, "the map is right again");
}

#[test]
fn nothing_is_lost_or_misplaced_while_slots_move_under_load() {
    let cluster = Cluster::start(3, 0, &[]);
    let proxy = proxy_with(cluster.nodes[1].port, "", 2);
    let seen = under_load(&proxy, |wait_for_more| {
        // Each slot of a key of the load goes to one node, and then on to another.
        let keys = (0..6).flat_map(|number| (0..20).map(move |n| format!("load{number}:{n}")));
        let mut slots: BTreeMap<u16, usize> =
            keys.map(|key| (key_slot(key.as_bytes()), owner(&key))).collect();
        for to in [2, 0] {
            for (slot, at) in slots.iter_mut().filter(|(_, at)| **at != to) {
                cluster.move_slot(*slot, *at, to);
                *at = to;
            }
            cluster.agrees();
            wait_for_more(1000);
        }
    });
    for seen in &seen {
        assert!(seen.errors.is_empty(), "{:?} {:?} {}", seen.errors, seen.longest_gap, proxy.log());
    }
    let mut client = proxy.client();
    let count = |client: &mut Client, kind: &str| {
        fact(client, "pool", &format!("redirects_{kind}")).parse::<u64>().expect("a number")
    };
    assert!(count(&mut client, "moved") > 0);
}
