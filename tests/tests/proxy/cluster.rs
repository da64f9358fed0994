//! A Redis Cluster of real nodes behind one endpoint: slots that move, nodes that come, go and die.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redstart_common::slot::key_slot;
use redstart_tests::cluster_support::{Cluster, bulk, id_of, node};
use redstart_tests::proxy_support::{
    Client, Folder, Listening, eventually, free_port, proxy_binary, within,
};
use redstart_tests::server_support::{run, workspace};

use crate::load::{PATIENCE, is_of_a_write_in_flight, under_load};

/// A proxy over the cluster of a node.
pub fn proxy_with(seed: u16, keys: &str, workers: usize) -> Listening {
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
         > CLIENT SETNAME me
         < +QUEUED
         > APPEND {t}3 d
         < +QUEUED
         > CLIENT GETNAME
         < +QUEUED
         > GET {t}3
         < +QUEUED
         > EXEC
         < *4
         < +OK
         < :2
         < $2
         < me
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
         > CLIENT GETNAME
         < +QUEUED
         > EXEC
         < *2
         < :2
         < $2
         < me",
    );
    eventually("the map is right again", || {
        let moved = fact(&mut client, "pool", "redirects_moved");
        for _ in 0..50 {
            assert_eq!(client.call("GET {t}n"), "$1\r\n2\r\n");
        }
        fact(&mut client, "pool", "redirects_moved") == moved
    });
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

/// Counts up a key of its own, many requests at a time. Each reply must be the next number: none is lost, misplaced or run
/// twice, and they keep their order. Says how far it came.
fn count_up(mut client: Client, key: &str, stop: &AtomicBool) -> Result<u64, String> {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..16 {
            client.send(&["INCR", key]);
        }
        for _ in 0..16 {
            count += 1;
            let reply = client.receive();
            if reply != format!(":{count}\r\n") {
                return Err(format!("{key} at {count}: {reply}"));
            }
        }
    }
    Ok(count)
}

#[test]
fn pipelined_writes_keep_their_order_and_run_once_while_their_slot_moves() {
    let cluster = Cluster::start(3, 0, &[]);
    let proxy = proxy_with(cluster.nodes[0].port, "", 2);
    let stop = AtomicBool::new(false);
    let keys: Vec<String> = (0..8).map(|n| format!("{{t}}count{n}")).collect();
    let (slot, first) = (key_slot(b"t"), owner("t"));
    std::thread::scope(|scope| {
        let threads: Vec<_> = keys
            .iter()
            .map(|key| {
                let (client, stop) = (proxy.client(), &stop);
                scope.spawn(move || count_up(client, key, stop))
            })
            .collect();
        let mut from = first;
        for _ in 0..12 {
            let to = (from + 1) % 3;
            cluster.move_slot(slot, from, to);
            cluster.agrees();
            from = to;
        }
        stop.store(true, Ordering::Relaxed);
        let mut direct = cluster.nodes[from].client();
        for (thread, key) in threads.into_iter().zip(&keys) {
            let count = thread.join().expect("it ends").expect("no wrong reply");
            assert!(count > 100, "{key} came to {count}");
            let text = count.to_string();
            let value = format!("${}\r\n{text}\r\n", text.len());
            assert_eq!(direct.call(&format!("GET {key}")), value);
        }
    });
    let mut client = proxy.client();
    assert!(fact(&mut client, "pool", "redirects_ask").parse::<u64>().is_ok_and(|count| count > 0));
}

#[test]
fn a_large_request_follows_its_slot() {
    let cluster = Cluster::start(3, 0, &[]);
    let proxy = proxy(&cluster, "");
    let mut client = proxy.client();
    assert_eq!(client.call("PING"), "+PONG\r\n");
    assert_eq!(client.call("GET {t}1"), "$-1\r\n");
    let (slot, from) = (key_slot(b"t"), owner("t"));
    cluster.begin_move(slot, from, (from + 1) % 3);
    let large = "x".repeat(3 << 20);
    client.send(&["SET", "{t}large", &large]);
    assert_eq!(client.receive(), "+OK\r\n");
    cluster.end_move(slot, from, (from + 1) % 3);
    client.send(&["SET", "{t}larger", &large]);
    client.send(&["STRLEN", "{t}larger"]);
    client.send(&["GET", "{t}large"]);
    assert_eq!(client.receive(), "+OK\r\n");
    assert_eq!(client.receive(), format!(":{}\r\n", large.len()));
    assert_eq!(client.receive().len(), large.len() + 12);
}

#[test]
fn a_killed_primary_costs_a_wait() {
    let mut cluster = Cluster::start(3, 1, &[]);
    let proxy = proxy_with(cluster.nodes[0].port, "  failover_hold: 60000\n", 2);
    let mut times = None;
    let seen = under_load(&proxy, |wait_for_more| {
        let victim = cluster.nodes.remove(1);
        let heir = cluster.nodes[3].port;
        let killed = Instant::now();
        victim.kill();
        let mut direct = cluster.on(heir).client();
        let has = within(PATIENCE, || direct.call("ROLE").contains("master"));
        assert!(has, "the replica takes over");
        cluster.settled();
        times = Some((killed, Instant::now()));
        wait_for_more(4000);
    });
    let (killed, up) = times.expect("it was killed");
    for seen in &seen {
        assert!(
            seen.longest_gap <= (up - killed) + Duration::from_secs(1),
            "{:?} with {:?}",
            seen.longest_gap,
            up - killed
        );
        assert!(seen.errors.len() <= 1, "{:?}", seen.errors);
        assert!(seen.errors.iter().all(|it| is_of_a_write_in_flight(it)), "{:?}", seen.errors);
    }
    let mut client = proxy.client();
    assert_eq!(fact(&mut client, "pool", "failovers"), "1");
    let servers = client.call("INFO servers");
    assert!(servers.contains("role=replica,") && servers.contains(",slots=5461,"), "{servers}");
}

#[test]
fn a_cluster_that_is_down_is_waited_for_and_then_said_so() {
    let options = ["--cluster-require-full-coverage", "yes"];
    let mut cluster = Cluster::start(3, 0, &options);
    let proxy = proxy(&cluster, "  failover_hold: 700\n");
    let mut client = proxy.client();
    let keys: Vec<String> = (0..3)
        .map(|n| (0..).map(|i| format!("k{i}")).find(|key| owner(key) == n).expect("a key"))
        .collect();
    for key in &keys {
        assert_eq!(client.call(&format!("SET {key} v")), "+OK\r\n");
    }
    let victim = cluster.nodes.remove(2);
    let port = victim.kill();
    let down = "-CLUSTERDOWN The cluster is down\r\n";
    eventually("the others notice", || cluster.nodes[0].client().call("GET x").contains("DOWN"));
    let asked = Instant::now();
    assert_eq!(client.call(&format!("GET {}", keys[0])), down);
    assert!(asked.elapsed() >= Duration::from_millis(650), "{:?}", asked.elapsed());
    let reply = client.call(&format!("SET {} w", keys[2]));
    assert!(reply.starts_with("-ERR the server of this key was away for 700 ms: "), "{reply}");
    let reply = client.call(&format!("MGET {} {} {}", keys[0], keys[1], keys[2]));
    assert!(reply.starts_with('-'), "{reply}");
    let info = client.call("CLUSTER INFO");
    assert!(info.contains("cluster_state:fail\r\n"), "{info}");
    assert!(info.contains("cluster_slots_fail:5462\r\n"), "{info}");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn nodes_come_and_go_unnoticed() {
    // Else a primary that gives its last slot away would turn into a replica at once.
    let options = ["--cluster-allow-replica-migration", "no"];
    let cluster = Cluster::start(2, 0, &options);
    let proxy = proxy_with(cluster.nodes[0].port, "", 2);
    let mut nodes = cluster.nodes;
    nodes.push(node(&options));
    let cluster = Cluster { nodes };
    let seen = under_load(&proxy, |wait_for_more| {
        let meet = format!("CLUSTER MEET 127.0.0.1 {}", cluster.nodes[0].port);
        let mut new = cluster.nodes[2].client();
        assert_eq!(new.call(&meet), "+OK\r\n");
        cluster.settled();
        let keys = (0..6).flat_map(|number| (0..20).map(move |n| format!("load{number}:{n}")));
        let slots: BTreeMap<u16, usize> = keys
            .map(|key| (key_slot(key.as_bytes()), usize::from(key_slot(key.as_bytes()) > 8191)))
            .collect();
        for (slot, from) in &slots {
            cluster.move_slot(*slot, *from, 2);
        }
        cluster.agrees();
        wait_for_more(1000);
        for slot in slots.keys() {
            cluster.move_slot(*slot, 2, 0);
        }
        cluster.agrees();
        let gone = id_of(&cluster.nodes[2]);
        for node in &cluster.nodes[..2] {
            assert_eq!(node.client().call(&format!("CLUSTER FORGET {gone}")), "+OK\r\n");
        }
        assert_eq!(new.call("CLUSTER RESET"), "+OK\r\n");
        eventually("the proxy lets it go", || {
            !proxy.client().call("INFO servers").contains(&format!(":{},", cluster.nodes[2].port))
        });
        wait_for_more(1000);
    });
    for seen in &seen {
        assert!(seen.errors.is_empty(), "{:?} {}", seen.errors, proxy.log());
    }
    assert_eq!(fact(&mut proxy.client(), "pool", "slots_served"), "16384");
}

#[test]
fn a_client_of_clusters_sees_one_node_with_all_slots() {
    let cluster = Cluster::start(1, 0, &["--cluster-announce-ip", "127.0.0.1"]);
    let proxy = proxy(&cluster, "");
    let (ours, theirs) = (proxy.port, cluster.nodes[0].port);
    let mut sides = [proxy.client(), cluster.nodes[0].client()];
    eventually("the cluster is known", || sides[0].call("SET k v") == "+OK\r\n");
    let slot = key_slot(b"k");
    let same = |sides: &mut [Client; 2], words: &str| {
        let ids: Vec<String> =
            sides.iter_mut().map(|side| bulk(&side.call("CLUSTER MYID"))).collect();
        assert_eq!(ids[0].len(), ids[1].len());
        let [ours, theirs] = [(0, ours), (1, theirs)].map(|(at, port)| {
            let words = words.replace("MYID", &ids[at]);
            let reply = sides[at].call(&words).replace(&ids[at], "<id>");
            let bus = format!("@{}", u32::from(port) + 10_000);
            // The length of a text with ports is that of the ports as well.
            let reply = reply.replace(&bus, "@0").replace(&format!(":{port}"), ":<port>");
            match reply.starts_with(['$', '=']) {
                true => reply.split_once("\r\n").map_or(String::new(), |(_, text)| text.to_owned()),
                false => reply,
            }
        });
        assert_eq!(ours, theirs, "{words}");
    };
    for proto in ["2", "3"] {
        for side in &mut sides {
            side.send(&["HELLO", proto]);
            assert!(side.receive().contains("cluster"));
        }
        same(&mut sides, "CLUSTER SLOTS");
        same(&mut sides, "CLUSTER SHARDS");
        same(&mut sides, "CLUSTER NODES");
        same(&mut sides, "CLUSTER KEYSLOT {t}x");
        same(&mut sides, "CLUSTER LINKS");
        same(&mut sides, "CLUSTER REPLICAS MYID");
        same(&mut sides, "CLUSTER SLAVES MYID");
        same(&mut sides, "CLUSTER REPLICAS 0000000000000000000000000000000000000000");
        same(&mut sides, &format!("CLUSTER COUNTKEYSINSLOT {slot}"));
        same(&mut sides, &format!("CLUSTER GETKEYSINSLOT {slot} 10"));
        same(&mut sides, "CLUSTER COUNTKEYSINSLOT 16384");
        same(&mut sides, "CLUSTER COUNTKEYSINSLOT x");
        same(&mut sides, "CLUSTER KEYSLOT");
        same(&mut sides, "CLUSTER NONSENSE");
        same(&mut sides, "READONLY");
        same(&mut sides, "READWRITE");
        same(&mut sides, "ASKING");
    }
    let info = sides[0].call("CLUSTER INFO");
    for line in ["cluster_state:ok", "cluster_slots_assigned:16384", "cluster_known_nodes:1"] {
        assert!(info.contains(&format!("{line}\r\n")), "{info}");
    }
    let refused = "-ERR command 'cluster reset' is not supported through the proxy\r\n";
    assert_eq!(sides[0].call("CLUSTER RESET"), refused);
    assert_eq!(fact(&mut sides[0], "cluster", "cluster_enabled"), "1");
    assert_eq!(fact(&mut sides[0], "server", "redis_mode"), "cluster");
}

const PYTHON: &str = r#"
import sys
from redis.cluster import RedisCluster
r = RedisCluster(host="127.0.0.1", port=int(sys.argv[1]), protocol=int(sys.argv[2]), decode_responses=True)
for n in range(200):
    assert r.set(f"py{n}", n)
assert r.mget_nonatomic([f"py{n}" for n in range(200)]) == [str(n) for n in range(200)]
with r.pipeline() as p:
    for n in range(50):
        p.incr(f"py{n}")
    assert p.execute() == [n + 1 for n in range(50)]
assert sorted(r.scan_iter(match="py*", count=50)) == sorted(f"py{n}" for n in range(200))
assert r.cluster_keyslot("foo") == 12182
assert r.dbsize() == 200
assert r.eval("return redis.call('incr', KEYS[1])", 1, "{t}n") == 1
assert len(r.get_nodes()) == 1
assert r.delete(*[f"py{n}" for n in range(200)]) == 200
print("done", r.dbsize())
"#;

/// What a program prints.
fn printed(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    format!("{text}{}", String::from_utf8_lossy(&output.stderr))
}

#[test]
fn libraries_for_clusters_and_redis_cli_are_served() {
    let cluster = Cluster::start(3, 0, &[]);
    let proxy = proxy_with(cluster.nodes[0].port, "", 2);
    eventually("the cluster is known", || proxy.client().call("SET k v") == "+OK\r\n");
    let port = proxy.port.to_string();
    for key in ["a", "b", "c"] {
        assert_eq!(printed("redis-cli", &["-c", "-p", &port, "set", key, "v"]), "OK");
        assert_eq!(printed("redis-cli", &["-c", "-p", &port, "get", key]), "v");
    }
    let check = printed("redis-cli", &["--cluster", "check", &format!("127.0.0.1:{port}")]);
    assert!(check.contains("[OK] All 16384 slots covered."), "{check}");
    assert_eq!(proxy.client().call("FLUSHALL"), "+OK\r\n");
    let python = workspace().join("target/venv/bin/python");
    if !python.exists() {
        println!("left out: target/venv is not there; `make venv` creates it");
        return;
    }
    let python = python.display().to_string();
    for protocol in ["2", "3"] {
        let found = printed(&python, &["-c", PYTHON, &port, protocol]);
        assert_eq!(found, "done 1", "{found}");
        assert_eq!(proxy.client().call("FLUSHALL"), "+OK\r\n");
    }
}
