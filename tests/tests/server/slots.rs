//! What a node of a cluster says to requests: the same as the original, in clusters of the same shape.

use std::path::Path;

use redstart_common::slot::key_slot;
use redstart_tests::cluster_support::{Cluster, id_of};
use redstart_tests::proxy_support::{Client, eventually};
use redstart_tests::server_support::server_binary;

/// A cluster, and what its replies are told apart by.
struct Side {
    cluster: Cluster,
    clients: Vec<Client>,
}

impl Side {
    fn start(program: &Path) -> Self {
        let cluster = Cluster::start_by(&[program], 2, 1, &["--enable-debug-command", "yes"]);
        let clients = cluster.nodes.iter().map(|node| node.client()).collect();
        Self { cluster, clients }
    }

    /// A text without what is this cluster's own: ports and names.
    fn plain(&self, reply: &str) -> String {
        let mut plain = reply.to_owned();
        for (number, node) in self.cluster.nodes.iter().enumerate() {
            plain = plain.replace(&format!(":{}", node.port), &format!(":<{number}>"));
        }
        plain
    }

    fn call(&mut self, node: usize, words: &str) -> String {
        let words =
            self.cluster.nodes.iter().enumerate().fold(words.to_owned(), |words, (at, node)| {
                words.replace(&format!("<port {at}>"), &node.port.to_string())
            });
        // A script is one word.
        let words: Vec<String> = words
            .split_whitespace()
            .map(|word| word.replace('~', " ").replace('^', "\n"))
            .collect();
        self.clients[node].send(&words);
        let reply = self.clients[node].receive();
        self.plain(&reply)
    }
}

/// A key in one of these slots.
fn key_in(from: u16, to: u16) -> String {
    (0..100_000)
        .map(|number| format!("k{number}"))
        .find(|key| (from..=to).contains(&key_slot(key.as_bytes())))
        .expect("a key there")
}

#[test]
fn requests_are_served_or_sent_elsewhere_as_by_the_original() {
    let mut sides = [Side::start(Path::new("redis-server")), Side::start(server_binary())];
    let (near, other, far) = (key_in(0, 100), key_in(4000, 4100), key_in(9000, 9100));
    let (slot, tag) = (key_slot(near.as_bytes()), format!("{{{near}}}"));
    let mut both = |node: usize, words: &str| {
        let words = words
            .replace("NEAR", &near)
            .replace("OTHER", &other)
            .replace("FAR", &far)
            .replace("TAG", &tag)
            .replace("SLOT", &slot.to_string());
        let [theirs, ours] = [0, 1].map(|side: usize| sides[side].call(node, &words));
        assert_eq!(ours, theirs, "{words}");
        ours
    };
    // A cluster in which nothing moves.
    for words in [
        "SET NEAR v",
        "GET NEAR",
        "SET FAR v",
        "GET FAR",
        "MGET NEAR OTHER",
        "MGET NEAR FAR",
        "MGET NEAR TAG1",
        "DEL NEAR NEAR",
        "SET NEAR v",
        "PING",
        "DBSIZE",
        "KEYS *",
        "RANDOMKEY",
        "SCAN 0 COUNT 1000",
        "SELECT 0",
        "SELECT 1",
        "SWAPDB 0 1",
        "MOVE NEAR 1",
        "COPY NEAR TAG1 DB 1",
        "COPY NEAR FAR",
        "COPY NEAR TAG1",
        "SORT NEAR BY x*",
        "SORT NEAR GET x*",
        "SORT TAGlist BY nosort",
        "SORT TAGlist STORE FAR",
        "MULTI",
        "SET NEAR 1",
        "SET TAG1 2",
        "EXEC",
        "MULTI",
        "SET NEAR 1",
        "SET FAR 1",
        "EXEC",
        "MULTI",
        "SET NEAR 1",
        "SET OTHER 1",
        "EXEC",
        "EXEC",
        "MULTI",
        "PING",
        "EXEC",
        "DISCARD",
        "EVAL return~redis.call('get',KEYS[1]) 1 NEAR",
        "EVAL return~redis.call('get',KEYS[1]) 1 FAR",
        "EVAL return~redis.call('get',KEYS[1]) 2 NEAR OTHER",
        "EVAL return~redis.call('get','FAR') 0",
        "EVAL return~redis.call('get','OTHER') 1 NEAR",
        "EVAL #!lua^return~redis.call('get','OTHER') 1 NEAR",
        "EVAL #!lua~flags=allow-cross-slot-keys^return~redis.call('get','OTHER') 1 NEAR",
        "EVAL #!lua~flags=no-cluster^return~1 0",
        "EVAL #!lua^redis.call('get','NEAR')return~redis.call('get','OTHER') 0",
        "OBJECT ENCODING NEAR",
        "OBJECT ENCODING FAR",
        "XREAD STREAMS TAGs FAR 0 0",
        "XREAD STREAMS TAGs FAR2 0 0",
        "GEORADIUS TAGg 1 1 1 m STORE FAR",
        "ZUNIONSTORE TAGz 2 NEAR FAR",
        "BITOP AND TAGd NEAR FAR",
        "LMPOP 2 TAGa TAGb LEFT",
        "LMPOP 2 TAGa FAR LEFT",
        "SPUBLISH NEAR m",
        "SPUBLISH FAR m",
        "PUBLISH FAR m",
        "WATCH FAR",
        "WATCH NEAR FAR",
        "WATCH NEAR",
        "UNWATCH",
        "READONLY",
        "READWRITE",
        "ASKING",
        "CLUSTER KEYSLOT NEAR",
        "CLUSTER COUNTKEYSINSLOT SLOT",
        "CLUSTER COUNTKEYSINSLOT 16384",
        "CLUSTER GETKEYSINSLOT SLOT 0",
        "MIGRATE 127.0.0.1 <port 1> FAR 0 1000",
        "RESTORE-ASKING FAR 0 x",
        "CLUSTER FLUSHSLOTS",
    ] {
        both(0, words);
    }
    // Replicas.
    for words in [
        "GET NEAR",
        "READONLY",
        "GET NEAR",
        "SET NEAR x",
        "GET FAR",
        "MULTI",
        "GET NEAR",
        "EXEC",
        "MULTI",
        "SET NEAR x",
        "EXEC",
        "EVAL_RO return~redis.call('get',KEYS[1]) 1 NEAR",
        "EVAL return~redis.call('get',KEYS[1]) 1 NEAR",
        "SPUBLISH NEAR m",
        "READWRITE",
        "GET NEAR",
    ] {
        both(2, words);
    }
    // A slot on its way from the first to the second.
    both(0, "SET NEAR here");
    both(0, "SET TAG1 here");
    for side in &sides {
        side.cluster.begin_move(slot, 0, 1);
    }
    let mut both = |node: usize, words: &str| {
        let words = words.replace("NEAR", &near).replace("TAG", &tag);
        let [theirs, ours] = [0, 1].map(|side: usize| sides[side].call(node, &words));
        assert_eq!(ours, theirs, "{words}");
        ours
    };
    for words in [
        "GET NEAR",
        "GET TAGnone",
        "SET TAGnone v",
        "MGET NEAR TAG1",
        "MGET NEAR TAGnone",
        "MGET TAGno TAGnone",
        "MULTI",
        "GET NEAR",
        "GET TAGnone",
        "EXEC",
        "EVAL return~1 1 TAGnone",
        "EVAL return~redis.call('get','TAGnone') 0",
        "SPUBLISH NEAR m",
        "MIGRATE 127.0.0.1 <port 1> NEAR 0 5000",
        "GET NEAR",
        "MGET NEAR TAG1",
        "MIGRATE 127.0.0.1 <port 1> NEAR 0 5000",
    ] {
        both(0, words);
    }
    for words in [
        "GET NEAR",
        "ASKING",
        "GET NEAR",
        "GET NEAR",
        "ASKING",
        "MGET NEAR TAG1",
        "ASKING",
        "MGET NEAR NEAR",
        "ASKING",
        "SET TAGnew v",
        "ASKING",
        "MULTI",
        "GET NEAR",
        "GET TAG1",
        "EXEC",
        "ASKING",
        "MULTI",
        "GET NEAR",
        "EXEC",
        "ASKING",
        "PING",
        "GET NEAR",
        "ASKING",
        "EVAL return~redis.call('get',KEYS[1]) 1 NEAR",
        "DEL NEAR",
    ] {
        both(1, words);
    }
    // Who listens to a channel of the slot is told when it goes.
    let mut listening = [0, 1].map(|side: usize| sides[side].cluster.nodes[0].client());
    for client in &mut listening {
        assert!(client.call(&format!("SSUBSCRIBE {near}")).contains("ssubscribe"));
    }
    for side in &sides {
        side.cluster.move_keys(slot, 0, 1);
    }
    let mut client = sides[1].cluster.nodes[0].client();
    for side in &sides {
        side.cluster.end_move(slot, 0, 1);
    }
    for side in 0..2 {
        let told = listening[side].receive();
        assert_eq!(
            told,
            format!("*3\r\n$12\r\nsunsubscribe\r\n${}\r\n{near}\r\n:0\r\n", near.len())
        );
        let reply = sides[side].call(0, &format!("GET {near}"));
        assert_eq!(reply, format!("-MOVED {slot} 127.0.0.1:<1>\r\n"));
    }
    assert_eq!(client.call(&format!("CLUSTER COUNTKEYSINSLOT {slot}")), ":0\r\n");
}

/// CLUSTER SLOT-STATS of Valkey 8.0, and SHUTDOWN SAFE of 9.0, which the original has not.
#[test]
fn slots_are_counted_and_their_owner_does_not_end_by_a_safe_shutdown() {
    let cluster = Cluster::start_by(&[server_binary()], 1, 0, &[]);
    let mut client = cluster.nodes[0].client();
    for key in ["{b}1", "{b}2", "foo{bar}"] {
        assert_eq!(client.call(&format!("SET {key} v")), "+OK\r\n");
    }
    crate::newer::expect(
        &mut client,
        &[
            (
                "CLUSTER SLOT-STATS SLOTSRANGE 3299 3300",
                "*2 *2 :3299 *2 $9 key-count :0 *2 :3300 *2 $9 key-count :2",
            ),
            (
                "CLUSTER SLOT-STATS ORDERBY key-count LIMIT 2",
                "*2 *2 :3300 *2 $9 key-count :2 *2 :5061 *2 $9 key-count :1",
            ),
            ("CLUSTER SLOT-STATS ORDERBY KEY-COUNT ASC LIMIT 1", "*1 *2 :0 *2 $9 key-count :0"),
            (
                "CLUSTER SLOT-STATS SLOTSRANGE 2 1",
                "-ERR Start slot number 2 is greater than end slot number 1",
            ),
            ("CLUSTER SLOT-STATS SLOTSRANGE 0 16384", "-ERR Invalid or out of range slot"),
            (
                "CLUSTER SLOT-STATS SLOTSRANGE 1",
                "-ERR unknown subcommand or wrong number of arguments for 'SLOT-STATS'. Try CLUSTER HELP.",
            ),
            ("CLUSTER SLOT-STATS ORDERBY cpu-usec", "-ERR Unrecognized sort metric for ORDERBY."),
            (
                "CLUSTER SLOT-STATS ORDERBY key-count LIMIT 0",
                "-ERR Limit has to lie in between 1 and 16384 (maximum number of slots).",
            ),
            ("CLUSTER SLOT-STATS ORDERBY key-count ASC DESC", "-ERR syntax error"),
            ("CONFIG SET cluster-slot-stats-enabled yes", "+OK"),
            ("GET {b}1", "$1 v"),
            ("SET foo{bar} longer", "+OK"),
            ("MULTI", "+OK"),
            ("GET foo{bar}", "+QUEUED"),
            ("EXEC", "*1 $6 longer"),
            ("EVAL return(redis.call('set',KEYS[1],1)) 1 {b}1", "+OK"),
            ("PING", "+PONG"),
            ("CONFIG SET cluster-slot-stats-enabled yes", "+OK"),
        ],
    );
    let costs = |client: &mut Client, slot: u16| {
        let told = client.call(&format!("CLUSTER SLOT-STATS SLOTSRANGE {slot} {slot}"));
        let words: Vec<_> = told.replace("\r\n", " ").split(' ').map(str::to_owned).collect();
        // *1 *2 :slot *8 and a name and a figure each, the second of which is time.
        [words[6].clone(), words[12].clone(), words[15].clone()]
    };
    // The requests are as long as they are; SET, EXEC, GET and MULTI of one, GET and EVAL of the other.
    assert_eq!(costs(&mut client, 5061), [":1", ":95", ":30"]);
    assert_eq!(costs(&mut client, 3300), [":2", ":96", ":12"]);
    crate::newer::expect(
        &mut client,
        &[
            ("CONFIG RESETSTAT", "+OK"),
            (
                "CLUSTER SLOT-STATS ORDERBY network-bytes-in LIMIT 1",
                "*1 *2 :0 *8 $9 key-count :0 $8 cpu-usec :0 $16 network-bytes-in :0 $17 network-bytes-out :0",
            ),
            ("CONFIG SET cluster-slot-stats-enabled no", "+OK"),
            ("SHUTDOWN SAFE", "-ERR Errors trying to SHUTDOWN. Check logs."),
            ("CLUSTER DELSLOTSRANGE 0 16383", "+OK"),
            ("CLUSTER SLOT-STATS ORDERBY key-count", "*0"),
        ],
    );
    client.send(&["SHUTDOWN", "SAFE", "NOSAVE"]);
    assert!(client.is_closed());
}

#[test]
fn who_waits_for_a_key_of_a_slot_that_goes_is_sent_after_it() {
    let cluster = Cluster::start_by(&[server_binary()], 2, 0, &[]);
    let key = key_in(0, 100);
    let slot = key_slot(key.as_bytes());
    let mut waiting = cluster.nodes[0].client();
    let mut client = cluster.nodes[0].client();
    waiting.send(&["BLPOP", &key, "0"]);
    eventually("it waits", || client.call("INFO clients").contains("blocked_clients:1"));
    let owner = format!("CLUSTER SETSLOT {slot} NODE {}", id_of(&cluster.nodes[1]));
    for node in [1, 0] {
        assert_eq!(cluster.nodes[node].client().call(&owner), "+OK\r\n");
    }
    let port = cluster.nodes[1].port;
    assert_eq!(waiting.receive(), format!("-MOVED {slot} 127.0.0.1:{port}\r\n"));
    // The cluster is down for who is alone in it.
    waiting = cluster.nodes[1].client();
    waiting.send(&["BLPOP", &key, "0"]);
    let mut client = cluster.nodes[1].client();
    eventually("it waits", || client.call("INFO clients").contains("blocked_clients:1"));
    assert_eq!(client.call("CLUSTER DELSLOTS 9000"), "+OK\r\n");
    assert_eq!(waiting.receive(), "-CLUSTERDOWN The cluster is down\r\n");
    for (words, reply) in [
        ("GET FAR", "-CLUSTERDOWN The cluster is down\r\n"),
        ("CONFIG SET cluster-allow-reads-when-down yes", "+OK\r\n"),
        ("GET FAR", "$-1\r\n"),
        ("SET FAR 1", "-CLUSTERDOWN The cluster is down and only accepts read commands\r\n"),
        ("SPUBLISH FAR m", ":0\r\n"),
        ("CONFIG SET cluster-allow-pubsubshard-when-down no", "+OK\r\n"),
        ("SPUBLISH FAR m", "-CLUSTERDOWN The cluster is down\r\n"),
    ] {
        let words = words.replace("FAR", &key_in(9500, 9600));
        assert_eq!(client.call(&words), reply, "{words}");
    }
}
