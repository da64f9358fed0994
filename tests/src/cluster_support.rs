//! A Redis Cluster, of real redis-servers where nothing else is said, made by hand, which takes a second rather than the ten of `redis-cli`.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::proxy_support::{Client, Redis, eventually, free_port};

/// A node's bus listens this much above it, where `redis-cli` looks for it.
const BUS: u16 = 10_000;
/// Above it a bus would have a port that the system gives out.
const PORTS_END: u16 = 22_000;
/// A node that is silent for so long, in milliseconds, is taken to have failed.
pub const NODE_TIMEOUT_MS: u64 = 2000;

/// A free port whose bus port is free too.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn node_port() -> u16 {
    let fits =
        |port: &u16| *port < PORTS_END && TcpListener::bind(("127.0.0.1", port + BUS)).is_ok();
    (0..u16::MAX).map(|_| free_port()).find(fits).expect("a port whose bus port is free")
}

/// Starts a node that has met nobody.
#[must_use]
pub fn node(options: &[&str]) -> Redis {
    node_by(Path::new("redis-server"), options)
}

/// As [`node`], by another program.
#[must_use]
pub fn node_by(program: &Path, options: &[&str]) -> Redis {
    let timeout = NODE_TIMEOUT_MS.to_string();
    let own = ["--cluster-enabled", "yes", "--cluster-node-timeout", &timeout];
    let fast = ["--repl-diskless-sync-delay", "0", "--appendfsync", "no"];
    let options = [&own[..], &fast, options].concat();
    Redis::start_by(Command::new(program), node_port(), &options)
}

/// The text of a bulk reply.
#[must_use]
pub fn bulk(reply: &str) -> String {
    let text = reply.split_once("\r\n").map_or("", |(_, text)| text);
    text.trim_end_matches("\r\n").to_owned()
}

/// A node's identity.
#[must_use]
pub fn id_of(node: &Redis) -> String {
    bulk(&node.client().call("CLUSTER MYID"))
}

/// Nodes that know each other.
#[derive(Debug)]
pub struct Cluster {
    /// The primaries in the order of their slots, then the replicas in the same order, round by round.
    pub nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts so many primaries, each with so many replicas; the slots are dealt out evenly.
    ///
    /// # Panics
    /// When the nodes do not come together.
    #[must_use]
    pub fn start(primaries: usize, replicas: usize, options: &[&str]) -> Self {
        Self::start_by(&[Path::new("redis-server")], primaries, replicas, options)
    }

    /// As [`Cluster::start`], by other programs, which take turns.
    ///
    /// # Panics
    /// When the nodes do not come together.
    #[must_use]
    pub fn start_by(
        programs: &[&Path],
        primaries: usize,
        replicas: usize,
        options: &[&str],
    ) -> Self {
        let programs = programs.iter().cycle().take(primaries * (replicas + 1));
        let nodes: Vec<Redis> = programs.map(|program| node_by(program, options)).collect();
        let mut clients: Vec<Client> = nodes.iter().map(|node| node.client()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.call(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1)), "+OK\r\n");
            if number < primaries {
                let (first, last) =
                    (16_384 * number / primaries, 16_384 * (number + 1) / primaries - 1);
                let slots = format!("CLUSTER ADDSLOTSRANGE {first} {last}");
                assert_eq!(client.call(&slots), "+OK\r\n");
            }
            if number > 0 {
                let meet = format!("CLUSTER MEET 127.0.0.1 {}", nodes[0].port);
                assert_eq!(client.call(&meet), "+OK\r\n");
            }
        }
        let known = format!("cluster_known_nodes:{}\r\n", nodes.len());
        eventually("all nodes know all", || {
            clients.iter_mut().all(|client| client.call("CLUSTER INFO").contains(&known))
        });
        for number in primaries..nodes.len() {
            let primary = id_of(&nodes[number % primaries]);
            eventually("a replica takes its place", || {
                clients[number].call(&format!("CLUSTER REPLICATE {primary}")) == "+OK\r\n"
            });
        }
        let cluster = Self { nodes };
        cluster.settled();
        cluster
    }

    /// Waits until every node serves, and every replica follows.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn settled(&self) {
        for node in &self.nodes {
            let mut client = node.client();
            eventually("it knows all others", || {
                let nodes = client.call("CLUSTER NODES");
                self.nodes.iter().all(|other| nodes.contains(&format!(":{}@", other.port)))
            });
            eventually("the cluster is up", || {
                // Without a link to another node, what is published does not reach that.
                let nodes = client.call("CLUSTER NODES");
                client.call("CLUSTER INFO").contains("cluster_state:ok")
                    && !nodes.contains("handshake")
                    && !nodes.contains(" disconnected")
            });
            eventually("the replicas follow", || {
                let info = client.call("INFO replication");
                info.contains("role:master") || info.contains("master_link_status:up")
            });
        }
    }

    /// Waits until all nodes say the same of all slots.
    ///
    /// # Panics
    /// When they do not come to that.
    pub fn agrees(&self) {
        let mut clients: Vec<Client> = self.nodes.iter().map(|node| node.client()).collect();
        eventually("the nodes agree", || {
            let slots: Vec<String> =
                clients.iter_mut().map(|client| client.call("CLUSTER SLOTS")).collect();
            slots.iter().all(|said| *said == slots[0])
        });
    }

    /// The node on a port.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn on(&self, port: u16) -> &Redis {
        self.nodes.iter().find(|node| node.port == port).expect("a node on this port")
    }

    /// Moves a slot with its keys from one node to another, as `redis-cli --cluster reshard` does.
    ///
    /// # Panics
    /// When a node refuses.
    pub fn move_slot(&self, slot: u16, from: usize, to: usize) {
        self.begin_move(slot, from, to);
        self.move_keys(slot, from, to);
        self.end_move(slot, from, to);
    }

    /// The slot is on its way from now on.
    ///
    /// # Panics
    /// When a node refuses.
    pub fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        let importing = format!("CLUSTER SETSLOT {slot} IMPORTING {}", id_of(from));
        assert_eq!(to.client().call(&importing), "+OK\r\n");
        let migrating = format!("CLUSTER SETSLOT {slot} MIGRATING {}", id_of(to));
        assert_eq!(from.client().call(&migrating), "+OK\r\n");
    }

    /// Moves the keys of a slot.
    ///
    /// # Panics
    /// When a node refuses.
    pub fn move_keys(&self, slot: u16, from: usize, to: usize) {
        let mut client = self.nodes[from].client();
        loop {
            let reply = client.call(&format!("CLUSTER GETKEYSINSLOT {slot} 100"));
            let keys: Vec<&str> = reply.lines().skip(2).step_by(2).collect();
            if keys.is_empty() {
                return;
            }
            let port = self.nodes[to].port.to_string();
            let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            migrate.extend(keys);
            client.send(&migrate);
            let reply = client.receive();
            assert!(reply == "+OK\r\n" || reply == "+NOKEY\r\n", "{reply}");
        }
    }

    /// The slot has arrived: it is said to its new owner first.
    ///
    /// # Panics
    /// When a node refuses.
    pub fn end_move(&self, slot: u16, from: usize, to: usize) {
        let owner = format!("CLUSTER SETSLOT {slot} NODE {}", id_of(&self.nodes[to]));
        assert_eq!(self.nodes[to].client().call(&owner), "+OK\r\n");
        assert_eq!(self.nodes[from].client().call(&owner), "+OK\r\n");
    }
}
