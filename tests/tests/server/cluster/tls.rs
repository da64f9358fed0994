//! Nodes that speak TLS with each other (`tls-cluster`): ours and the original's in one cluster.

use std::path::Path;
use std::process::Command;

use redstart_common::slot::key_slot;
use redstart_tests::cluster_support::{NODE_TIMEOUT_MS, bulk, id_of, node_port};
use redstart_tests::proxy_support::{Client, Redis, eventually, free_port};
use redstart_tests::server_support::server_binary;
use redstart_tests::tls_support::{Papers, TlsClient};

use super::nodes::Kind::{self, Original, Ours};

/// A node with a plain port for clients, and one for TLS that the others reach it by.
struct Node {
    process: Redis,
    tls: u16,
}

impl Node {
    fn start(kind: Kind, papers: &Papers) -> Self {
        let program = match kind {
            Original => Path::new("redis-server"),
            Ours => server_binary(),
        };
        let (tls, timeout) = (node_port(), NODE_TIMEOUT_MS.to_string());
        let mut options = papers.options(tls);
        for (name, value) in [
            ("--cluster-enabled", "yes"),
            ("--cluster-node-timeout", &timeout),
            ("--tls-cluster", "yes"),
            ("--tls-replication", "yes"),
            ("--repl-diskless-sync-delay", "0"),
            ("--loglevel", "verbose"),
        ] {
            options.extend([name.to_owned(), value.to_owned()]);
        }
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        Self { process: Redis::start_by(Command::new(program), free_port(), &options), tls }
    }

    fn client(&self) -> Client {
        self.process.client()
    }

    fn call(&self, words: &str) -> String {
        self.client().call(words)
    }

    fn meet(&self, other: &Self) {
        let meet = format!("CLUSTER MEET 127.0.0.1 {}", other.tls);
        assert_eq!(self.call(&meet), "+OK\r\n");
    }

    /// Sends a slot with its keys to another node, as `redis-cli --cluster reshard` does.
    fn send_slot(&self, slot: u16, to: &Self) {
        let ids = [id_of(&self.process), id_of(&to.process)];
        let setslot = |node: &Self, way: &str, id: &str| {
            assert_eq!(node.call(&format!("CLUSTER SETSLOT {slot} {way} {id}")), "+OK\r\n");
        };
        setslot(to, "IMPORTING", &ids[0]);
        setslot(self, "MIGRATING", &ids[1]);
        let keys = self.call(&format!("CLUSTER GETKEYSINSLOT {slot} 10"));
        for key in keys.lines().skip(2).step_by(2) {
            let migrate = format!("MIGRATE 127.0.0.1 {} {key} 0 20000", to.tls);
            assert_eq!(self.call(&migrate), "+OK\r\n");
        }
        setslot(to, "NODE", &ids[1]);
        setslot(self, "NODE", &ids[1]);
    }
}

/// Three primaries, of which the first is the original's, with a replica of the other kind for each of the first two.
fn form(papers: &Papers) -> Vec<Node> {
    let nodes: Vec<Node> =
        [Original, Ours, Ours, Ours, Original].map(|kind| Node::start(kind, papers)).into();
    for (number, slots) in ["0 5460", "5461 10922", "10923 16383"].iter().enumerate() {
        let epoch = format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1);
        assert_eq!(nodes[number].call(&epoch), "+OK\r\n");
        assert_eq!(nodes[number].call(&format!("CLUSTER ADDSLOTSRANGE {slots}")), "+OK\r\n");
    }
    // Each kind is called by the other.
    nodes[0].meet(&nodes[1]);
    nodes[2].meet(&nodes[0]);
    nodes[3].meet(&nodes[0]);
    nodes[4].meet(&nodes[1]);
    for node in &nodes {
        let mut client = node.client();
        eventually("it knows all others", || {
            client.call("CLUSTER INFO").contains("cluster_known_nodes:5\r\n")
        });
    }
    for (replica, primary) in [(3, 0), (4, 1)] {
        let replicate = format!("CLUSTER REPLICATE {}", id_of(&nodes[primary].process));
        eventually("it takes its place", || nodes[replica].call(&replicate) == "+OK\r\n");
    }
    for node in &nodes {
        let mut client = node.client();
        eventually("the cluster is up", || {
            let shown = client.call("CLUSTER NODES");
            client.call("CLUSTER INFO").contains("cluster_state:ok")
                && !shown.contains("handshake")
                && !shown.contains(" disconnected")
        });
    }
    for replica in &nodes[3..] {
        eventually("it follows by TLS", || {
            replica.call("INFO replication").contains("master_link_status:up")
        });
    }
    nodes
}

/// A key whose slot is `slot`.
fn key_in(slot: u16) -> String {
    let keys = (0u32..).map(|number| format!("k{number}"));
    keys.into_iter().find(|key| key_slot(key.as_bytes()) == slot).expect("there is one")
}

/// Clients are sent to the ports that they speak with, by either kind of node.
fn told_ports_fit(nodes: &[Node], papers: &Papers) {
    let material = papers.material(true);
    let mut told = Vec::new();
    for node in nodes {
        let mut by_tls = TlsClient::connect(node.tls, &material).expect("they agree");
        let mut call = |words: &str| {
            let tls = by_tls.call(words).expect("a reply");
            [node.call(words), tls]
        };
        for (reply, way) in call("CLUSTER NODES").iter().zip(["plain", "tls"]) {
            for other in nodes {
                let port = if way == "tls" { other.tls } else { other.process.port };
                let address = format!(" 127.0.0.1:{port}@{} ", other.tls + 10_000);
                assert!(reply.contains(&address), "{way}: {address}\n{reply}");
            }
        }
        for reply in call("CLUSTER SHARDS") {
            for other in nodes {
                let Node { process, tls } = other;
                let ports = format!("port\r\n:{}\r\n$8\r\ntls-port\r\n:{tls}\r\n", process.port);
                assert!(reply.contains(&ports), "{ports}\n{reply}");
            }
        }
        told.push(call("CLUSTER SLOTS"));
    }
    assert!(told.iter().all(|slots| *slots == told[0]), "{told:?}");
    let (key, slot) = (key_in(6000), 6000);
    for elsewhere in [&nodes[0], &nodes[2]] {
        let get = format!("GET {key}");
        let mut by_tls = TlsClient::connect(elsewhere.tls, &material).expect("they agree");
        let plain = format!("-MOVED {slot} 127.0.0.1:{}\r\n", nodes[1].process.port);
        assert_eq!(elsewhere.call(&get), plain);
        let tls = format!("-MOVED {slot} 127.0.0.1:{}\r\n", nodes[1].tls);
        assert_eq!(by_tls.call(&get).expect("a reply"), tls);
    }
}

/// What is larger than any buffer on the way comes whole by the bus.
fn published_is_heard(from: &Node, by: &Node) {
    let mut listener = by.client();
    assert!(listener.call("SUBSCRIBE news").contains("subscribe"));
    let text = "n".repeat(3_000_000);
    let mut publisher = from.client();
    publisher.send(&["PUBLISH", "news", &text]);
    assert_eq!(publisher.receive(), ":0\r\n");
    let heard = listener.receive();
    let head = "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$3000000\r\n";
    assert!(heard == format!("{head}{text}\r\n"), "{} bytes", heard.len());
}

#[test]
fn nodes_speak_tls_with_the_original_s() {
    let papers = Papers::new();
    let mut nodes = form(&papers);
    told_ports_fit(&nodes, &papers);
    published_is_heard(&nodes[0], &nodes[1]);
    published_is_heard(&nodes[1], &nodes[0]);
    published_is_heard(&nodes[1], &nodes[2]);

    // Keys go by TLS, by MIGRATE of either kind, and between our own as one step.
    let keys = [100, 6000, 16_000].map(key_in);
    for (key, node) in keys.iter().zip(&nodes) {
        assert_eq!(node.call(&format!("SET {key} {key}")), "+OK\r\n");
    }
    let held = |node: &Node, key: &str| bulk(&node.call(&format!("GET {key}"))) == key;
    nodes[0].send_slot(100, &nodes[1]);
    nodes[1].send_slot(6000, &nodes[0]);
    assert!(held(&nodes[1], &keys[0]) && held(&nodes[0], &keys[1]));
    let whole =
        format!("CLUSTER MIGRATESLOTS SLOTSRANGE 16000 16000 NODE {}", id_of(&nodes[1].process));
    assert_eq!(nodes[2].call(&whole), "+OK\r\n");
    eventually("the slot has moved", || held(&nodes[1], &keys[2]));

    // Whoever has no paper of the same authority stays outside.
    let strangers = Papers::new();
    let stranger = Node::start(Ours, &strangers);
    stranger.meet(&nodes[1]);
    nodes[2].meet(&stranger);
    eventually("they are not let in", || {
        stranger.call("CLUSTER INFO").contains("cluster_known_nodes:1\r\n")
            && nodes[2].call("CLUSTER INFO").contains("cluster_known_nodes:5\r\n")
            && nodes[1].process.log().contains("Error accepting cluster node connection from")
    });

    // A primary of the original's dies, and ours takes over.
    eventually("the replica has all", || held_by_replica(&nodes[3], &keys[1]));
    nodes.remove(0).process.kill();
    let heir = &nodes[2];
    eventually("the replica takes over", || heir.call("ROLE").contains("master"));
    eventually("all is served again", || {
        heir.call("CLUSTER INFO").contains("cluster_state:ok") && held(heir, &keys[1])
    });
}

/// Whether a replica holds a key with itself as its value.
fn held_by_replica(node: &Node, key: &str) -> bool {
    let mut client = node.client();
    assert_eq!(client.call("READONLY"), "+OK\r\n");
    bulk(&client.call(&format!("GET {key}"))) == key
}
