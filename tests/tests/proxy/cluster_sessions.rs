//! What needs a connection of its own, scripts and channels, over a Redis Cluster of real nodes.

use redstart_common::slot::key_slot;
use redstart_tests::cluster_support::Cluster;
use redstart_tests::proxy_support::{Client, eventually};

use crate::cluster::proxy_with;

fn line(client: &mut Client, words: &str) -> String {
    client.call(words).trim_end().replace("\r\n", " ")
}

fn expect(client: &mut Client, conversation: &[(&str, &str)]) {
    for (words, reply) in conversation {
        assert_eq!(line(client, words), *reply, "{words}");
    }
}

fn blocked(client: &mut Client, count: usize) {
    eventually("they wait", || {
        client.call("INFO clients").contains(&format!("blocked_clients:{count}\r\n"))
    });
}

/// The place of the node among three that has a slot.
fn owner(slot: u16) -> usize {
    (0..3).find(|n| usize::from(slot) < 16_384 * (n + 1) / 3).expect("one")
}

#[test]
fn sessions_work_within_a_slot() {
    let cluster = Cluster::start(3, 0, &[]);
    let proxy = proxy_with(cluster.nodes[0].port, "", 1);
    let (mut client, mut other) = (proxy.client(), proxy.client());
    expect(
        &mut client,
        &[
            ("SET {a}k 1", "+OK"),
            ("SET {b}k 1", "+OK"),
            ("SET {c}k 1", "+OK"),
            ("WATCH {a}k", "+OK"),
            ("MULTI", "+OK"),
            ("INCR {a}k", "+QUEUED"),
            ("EXEC", "*1 :2"),
            ("WATCH {a}k", "+OK"),
        ],
    );
    assert_eq!(line(&mut other, "SET {a}k 5"), "+OK");
    expect(&mut client, &[("MULTI", "+OK"), ("INCR {a}k", "+QUEUED"), ("EXEC", "*-1")]);
    // Keys of three slots, each on another node.
    let sha = line(&mut client, "SCRIPT LOAD return(redis.call('incr',KEYS[1]))");
    let sha = sha.rsplit(' ').next().expect("a digest").to_owned();
    for key in ["{a}k", "{b}k", "{c}k"] {
        let reply = line(&mut client, &format!("EVALSHA {sha} 1 {key}"));
        assert!(reply.starts_with(':'), "{reply}");
    }
    for node in &cluster.nodes {
        node.client().call("SCRIPT FLUSH");
    }
    for key in ["{a}k", "{b}k", "{c}k"] {
        let reply = line(&mut client, &format!("EVALSHA {sha} 1 {key}"));
        assert!(reply.starts_with(':'), "{key}: {reply}");
    }
    client.send(&["BLPOP", "{b}list", "{b}other", "0"]);
    blocked(&mut other, 1);
    assert_eq!(line(&mut other, "RPUSH {b}other x"), ":1");
    assert_eq!(client.receive(), "*2\r\n$8\r\n{b}other\r\n$1\r\nx\r\n");
    assert_eq!(
        line(&mut client, "BLPOP {a}list {b}list 1"),
        "-CROSSSLOT Keys in request don't hash to the same slot"
    );
}

#[test]
fn what_waits_follows_its_slot() {
    let cluster = Cluster::start(3, 0, &[]);
    let proxy = proxy_with(cluster.nodes[0].port, "", 1);
    let (mut waiter, mut client) = (proxy.client(), proxy.client());
    // Which waits until it is known which nodes there are.
    assert_eq!(line(&mut client, "SET first x"), "+OK");
    let slot = key_slot(b"queue");
    let from = owner(slot);
    let to = (from + 1) % 3;
    waiter.send(&["BLPOP", "queue", "0"]);
    blocked(&mut client, 1);
    cluster.move_slot(slot, from, to);
    // It waits on, at the node that has the slot now.
    eventually("it waits there", || {
        cluster.nodes[to].client().call("INFO clients").contains("blocked_clients:1\r\n")
    });
    assert_eq!(line(&mut client, "RPUSH queue x"), ":1");
    assert_eq!(waiter.receive(), "*2\r\n$5\r\nqueue\r\n$1\r\nx\r\n");
    // A script that one node was shown is found on the next.
    let body = "return redis.call('incr', KEYS[1])";
    client.send(&["EVAL", body, "1", "queue:n{queue}"]);
    assert_eq!(client.receive(), ":1\r\n");
    cluster.move_slot(slot, to, from);
    let sha = line(&mut client, "SCRIPT LOAD return(1)");
    assert!(sha.starts_with("$40 "), "{sha}");
    client.send(&["EVAL", body, "1", "queue:n{queue}"]);
    assert_eq!(client.receive(), ":2\r\n");
}

#[test]
fn what_is_published_is_heard_once() {
    let cluster = Cluster::start(3, 0, &["--notify-keyspace-events", "KEA"]);
    let proxy = proxy_with(cluster.nodes[0].port, "", 1);
    let (mut client, mut channels, mut patterns, mut events, mut shards) =
        (proxy.client(), proxy.client(), proxy.client(), proxy.client(), proxy.client());
    let names = ["a", "b", "c", "d", "e"];
    // Which waits until it is known which nodes there are.
    assert_eq!(line(&mut client, "SET first x"), "+OK");
    for (at, name) in names.iter().enumerate() {
        let reply = line(&mut channels, &format!("SUBSCRIBE {name}"));
        assert!(reply.ends_with(&format!(":{}", at + 1)), "{reply}");
        let reply = line(&mut shards, &format!("SSUBSCRIBE {name}"));
        assert!(reply.ends_with(&format!(":{}", at + 1)), "{reply}");
    }
    assert!(line(&mut patterns, "PSUBSCRIBE [a-e]").ends_with(":1"));
    assert!(line(&mut events, "PSUBSCRIBE __keyevent@0__:set").ends_with(":1"));
    for name in names {
        client.call(&format!("PUBLISH {name} by-proxy"));
        let heard = channels.receive();
        assert!(heard.ends_with("\r\nby-proxy\r\n") && heard.contains("message"), "{heard}");
        assert!(patterns.receive().ends_with("\r\nby-proxy\r\n"));
        // By a client of the nodes, at each of them.
        for (at, node) in cluster.nodes.iter().enumerate() {
            node.client().call(&format!("PUBLISH {name} by-node-{at}"));
            let told = format!("\r\nby-node-{at}\r\n");
            assert!(channels.receive().ends_with(&told));
            assert!(patterns.receive().ends_with(&told));
        }
        client.call(&format!("SPUBLISH {name} to-shard"));
        let heard = shards.receive();
        assert!(heard.contains("smessage") && heard.ends_with("\r\nto-shard\r\n"), "{heard}");
        assert_eq!(line(&mut client, &format!("SET {name} x")), "+OK");
        let heard = events.receive();
        assert!(heard.ends_with(&format!("\r\n{name}\r\n")), "{heard}");
    }
    // Nothing was heard twice.
    for listener in [&mut channels, &mut patterns, &mut events, &mut shards] {
        let reply = line(listener, "PING end");
        assert!(reply.ends_with("end"), "{reply}");
    }
}
