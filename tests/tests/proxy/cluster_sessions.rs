//! What needs a connection of its own, scripts and channels, over a Redis Cluster of real nodes.

use std::collections::BTreeSet;
use std::time::Instant;

use redstart_common::slot::key_slot;
use redstart_tests::cluster_support::Cluster;
use redstart_tests::proxy_support::{Client, Listening, Redis, eventually};

use crate::cluster::proxy_with;
use crate::tracking::may_cache;

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
    on_a_slot_that_is_under_way(&cluster, &proxy, slot, to, from);
    // A script that one node was shown is found on the next.
    let body = "return redis.call('incr', KEYS[1])";
    client.send(&["EVAL", body, "1", "queue:n{queue}"]);
    assert_eq!(client.receive(), ":1\r\n");
    cluster.move_slot(slot, from, to);
    let sha = line(&mut client, "SCRIPT LOAD return(1)");
    assert!(sha.starts_with("$40 "), "{sha}");
    client.send(&["EVAL", body, "1", "queue:n{queue}"]);
    assert_eq!(client.receive(), ":2\r\n");
}

/// The slot of `queue` moves, and the node that it goes to is asked while it does.
fn on_a_slot_that_is_under_way(
    cluster: &Cluster,
    proxy: &Listening,
    slot: u16,
    from: usize,
    to: usize,
) {
    let (mut waiter, mut client) = (proxy.client(), proxy.client());
    assert_eq!(line(&mut client, "SET {queue}old 1"), "+OK");
    cluster.begin_move(slot, from, to);
    waiter.send(&["BLPOP", "queue", "0"]);
    eventually("it waits where the slot goes to", || {
        cluster.nodes[to].client().call("INFO clients").contains("blocked_clients:1\r\n")
    });
    assert_eq!(line(&mut client, "RPUSH queue x"), ":1");
    assert_eq!(waiter.receive(), "*2\r\n$5\r\nqueue\r\n$1\r\nx\r\n");
    // What is not there yet is watched where it will be, and what is there where it was.
    expect(
        &mut client,
        &[
            ("WATCH {queue}new", "+OK"),
            ("MULTI", "+OK"),
            ("SET {queue}new 1", "+QUEUED"),
            ("EXEC", "*1 +OK"),
            ("WATCH {queue}old", "+OK"),
            ("WATCH {queue}new", "+OK"),
            ("MULTI", "+OK"),
            ("INCR {queue}old", "+QUEUED"),
            ("EXEC", "*-1"),
            ("WATCH {queue}old", "+OK"),
        ],
    );
    let mut reader = proxy.client();
    assert!(reader.call("HELLO 3").starts_with('%'));
    assert_eq!(reader.call("CLIENT TRACKING ON"), "+OK\r\n");
    // A node that is heard for the first time may have missed something: all are heard before.
    for key in ["a", "b", "c", "{queue}old"] {
        may_cache(&mut reader, key);
    }
    cluster.move_keys(slot, from, to);
    cluster.end_move(slot, from, to);
    let heard = reader.receive();
    assert!(heard.ends_with("{queue}old\r\n"), "it is gone from its node: {heard}");
    may_cache(&mut reader, "{queue}old");
    // The slot has moved since: nobody knows what became of the key meanwhile.
    expect(&mut client, &[("MULTI", "+OK"), ("INCR {queue}old", "+QUEUED"), ("EXEC", "*-1")]);
    // It begins anew, until nothing more becomes known of where the slot is.
    eventually("the transaction runs", || {
        for words in ["WATCH {queue}old", "MULTI", "INCR {queue}old"] {
            client.call(words);
        }
        line(&mut client, "EXEC") == "*1 :2"
    });
    let heard = reader.receive();
    assert!(heard.ends_with("{queue}old\r\n"), "it has changed at the other: {heard}");
}

#[test]
fn what_is_asked_before_the_nodes_are_known_waits_for_them() {
    const HOLD_MS: u128 = 500;
    let cluster = Cluster::start(1, 0, &[]);
    let port = cluster.nodes[0].port;
    cluster.nodes[0].signal(libc::SIGSTOP);
    let (patient, hasty) = (
        proxy_with(port, "  failover_hold: 20000\n", 1),
        proxy_with(port, &format!("  failover_hold: {HOLD_MS}\n"), 1),
    );
    let requests = [
        "DBSIZE",
        "SCAN 0",
        "BLPOP none 0.01",
        "WATCH k",
        "MGET k l",
        "SUBSCRIBE c",
        "PSUBSCRIBE *",
        "SCRIPT LOAD return(1)",
        "WAIT 0 0",
        "GET k",
    ];
    let ask = |proxy: &Listening| -> Vec<Client> {
        let ask = |words: &&str| {
            let mut client = proxy.client();
            assert_eq!(line(&mut client, "PING"), "+PONG");
            client.send(&words.split(' ').collect::<Vec<_>>());
            client
        };
        requests.iter().map(ask).collect()
    };
    let (mut waiting, begun) = (ask(&patient), Instant::now());
    // What was asked before comes first, and is answered before what comes after.
    waiting[0].send_raw(b"PING\r\n");
    for (client, words) in ask(&hasty).iter_mut().zip(requests) {
        let wanted = match words {
            "GET k" => "-CLUSTERDOWN Hash slot not served",
            _ => "-ERR Connection refused",
        };
        assert_eq!(client.receive().trim_end(), wanted, "{words}");
        assert!(begun.elapsed().as_millis() >= HOLD_MS, "{words}");
    }
    assert!(!waiting.iter().any(Client::has_received));
    cluster.nodes[0].signal(libc::SIGCONT);
    let wanted = [
        ":0",
        "*2 $1 0 *0",
        "*-1",
        "+OK",
        "*2 $-1 $-1",
        "*3 $9 subscribe $1 c :1",
        "*3 $10 psubscribe $1 * :1",
        "$40 930269f31393d0be681588b6ab08dccee7d6bb67",
        ":0",
        "$-1",
    ];
    for ((client, words), wanted) in waiting.iter_mut().zip(requests).zip(wanted) {
        assert_eq!(client.receive().trim_end().replace("\r\n", " "), wanted, "{words}");
    }
    assert_eq!(waiting[0].receive(), "+PONG\r\n");
}

#[test]
fn what_is_published_is_heard_once() {
    let cluster = Cluster::start(3, 0, &["--notify-keyspace-events", "KEA"]);
    let proxy = proxy_with(cluster.nodes[0].port, "", 1);
    let (mut client, mut channels, mut patterns, mut events, mut shards) =
        (proxy.client(), proxy.client(), proxy.client(), proxy.client(), proxy.client());
    let mut all = proxy.client();
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
    assert!(line(&mut all, "PSUBSCRIBE *").ends_with(":1"));
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
    // For each name four messages, and two notifications of its node.
    let mut heard: Vec<String> = (0..names.len() * 6).map(|_| all.receive()).collect();
    heard.sort();
    heard.dedup();
    assert_eq!(heard.len(), names.len() * 6, "{heard:?}");
    // Nothing was heard twice.
    for listener in [&mut all, &mut channels, &mut patterns, &mut events, &mut shards] {
        let reply = line(listener, "PING end");
        assert!(reply.ends_with("end"), "{reply}");
    }
    heard_once_while_its_slot_moves(&cluster, &mut client, &mut channels);
    found_again_where_its_slot_has_gone(&cluster, &mut client, &mut shards);
}

/// How many listen to a channel at a node.
fn listeners(node: &Redis, command: &str, channel: &str) -> u64 {
    let reply = line(&mut node.client(), &format!("PUBSUB {command} {channel}"));
    reply.rsplit(':').next().and_then(|count| count.parse().ok()).expect("a count")
}

/// The link moves with the slot of a channel, while it is published on without rest, through the proxy and at each node.
fn heard_once_while_its_slot_moves(cluster: &Cluster, client: &mut Client, listener: &mut Client) {
    let slot = key_slot(b"a");
    let mut publishers: Vec<Client> = cluster.nodes.iter().map(|node| node.client()).collect();
    let (mut from, mut published) = (owner(slot), 0);
    for _ in 0..2 {
        let to = (from + 1) % 3;
        cluster.move_slot(slot, from, to);
        let has_moved = || {
            let at = |node: usize| listeners(&cluster.nodes[node], "NUMSUB", "a");
            (at(from), at(to)) == (0, 1)
        };
        let mut after = 0;
        eventually("the link has moved", || {
            for _ in 0..5 {
                published += 2;
                client.call(&format!("PUBLISH a {published}"));
                let at = published / 2 % publishers.len();
                publishers[at].call(&format!("PUBLISH a {}", published + 1));
            }
            after += u32::from(has_moved());
            after > 3
        });
        from = to;
    }
    let mut heard = Vec::new();
    eventually("all has come from node to node", || {
        listener.send(&["PING", "end"]);
        let said = std::iter::repeat_with(|| listener.receive());
        heard.extend(said.take_while(|said| !said.contains("\r\npong\r\n")));
        heard.len() >= published
    });
    let different: BTreeSet<&String> = heard.iter().collect();
    assert_eq!((different.len(), heard.len()), (published, published));
}

/// A node says no more on a shard channel when its slot has gone: that is asked for where it is now, and others on the same link go
/// on.
fn found_again_where_its_slot_has_gone(
    cluster: &Cluster,
    client: &mut Client,
    listener: &mut Client,
) {
    let slot = key_slot(b"b");
    let (from, to) = (owner(slot), (owner(slot) + 1) % 3);
    let same_node =
        ('f'..='z').map(String::from).find(|name| owner(key_slot(name.as_bytes())) == from);
    let same_node = same_node.expect("another channel of that node");
    assert!(line(listener, &format!("SSUBSCRIBE {same_node}")).contains("ssubscribe"));
    cluster.move_slot(slot, from, to);
    eventually("the node has let go of it", || {
        listeners(&cluster.nodes[from], "SHARDNUMSUB", "b") == 0
    });
    client.call(&format!("SPUBLISH {same_node} goes-on"));
    assert!(listener.receive().ends_with("\r\ngoes-on\r\n"));
    eventually("it is asked for at the other", || {
        listeners(&cluster.nodes[to], "SHARDNUMSUB", "b") == 1
    });
    client.call("SPUBLISH b found");
    assert!(listener.receive().ends_with("\r\nfound\r\n"));
}
