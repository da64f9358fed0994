//! Nodes that can be killed and started again, and clusters that are made of them.

use std::path::PathBuf;
use std::process::Command;

use redstart_tests::cluster_support::{NODE_TIMEOUT_MS, bulk, node_port};
use redstart_tests::proxy_support::{Client, Folder, Listening, eventually};
use redstart_tests::server_support::server_binary;

/// Whose server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ours,
    Original,
}

/// A node with a port and a folder of its own.
pub struct Node {
    kind: Kind,
    pub port: u16,
    folder: PathBuf,
    running: Option<Listening>,
    kept: Option<Folder>,
}

impl Node {
    pub fn start(kind: Kind) -> Self {
        let folder = Folder::new();
        let path = folder.path().to_owned();
        let mut node =
            Self { kind, port: node_port(), folder: path, running: None, kept: Some(folder) };
        node.run();
        node
    }

    fn command(&self) -> Command {
        let mut command = match self.kind {
            Kind::Ours => Command::new(server_binary()),
            Kind::Original => Command::new("redis-server"),
        };
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--cluster-enabled", "yes", "--appendonly", "yes", "--save", ""]);
        command.args(["--cluster-node-timeout", &NODE_TIMEOUT_MS.to_string()]);
        command.args(["--repl-diskless-sync-delay", "0"]);
        command
    }

    /// Starts it, for the first time or again.
    pub fn run(&mut self) {
        let folder = self.kept.take().expect("it does not run");
        self.running = Some(Listening::start(self.command(), self.port, folder));
        eventually("everything is loaded", || !self.client().call("PING").contains("LOADING"));
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        self.kept = self.running.take().map(|running| running.folder);
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.port)
    }

    /// Its nodes.conf.
    pub fn file(&self) -> PathBuf {
        self.folder.join("nodes.conf")
    }

    /// What a server prints that is started where this one would be, and ends by itself.
    pub fn refused(&self) -> String {
        let output = self.command().current_dir(&self.folder).output().expect("started");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The same for one that is started beside it, on another port.
    pub fn refused_beside(&self) -> String {
        let mut command = self.command();
        command.args(["--port", &node_port().to_string()]);
        let output = command.current_dir(&self.folder).output().expect("started");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Starts three primaries, which share the slots, and replicas of them in the same order; all know each other and serve.
pub fn form(kinds: &[Kind]) -> Vec<Node> {
    let nodes: Vec<Node> = kinds.iter().map(|kind| Node::start(*kind)).collect();
    let mut clients: Vec<Client> = nodes.iter().map(Node::client).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let epoch = format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1);
        assert_eq!(client.call(&epoch), "+OK\r\n");
        let ranges = [(0, 5460), (5461, 10_922), (10_923, 16_383)];
        if let Some((first, last)) = ranges.get(number) {
            let slots = format!("CLUSTER ADDSLOTSRANGE {first} {last}");
            assert_eq!(client.call(&slots), "+OK\r\n");
        }
        let meet = format!("CLUSTER MEET 127.0.0.1 {}", nodes[0].port);
        assert_eq!(client.call(&meet), "+OK\r\n");
    }
    let known = format!("cluster_known_nodes:{}\r\n", nodes.len());
    eventually("all nodes know all", || {
        clients.iter_mut().all(|client| client.call("CLUSTER INFO").contains(&known))
    });
    let names: Vec<String> =
        clients.iter_mut().map(|client| bulk(&client.call("CLUSTER MYID"))).collect();
    for number in 3..nodes.len() {
        let replicate = format!("CLUSTER REPLICATE {}", names[number - 3]);
        eventually("it replicates", || clients[number].call(&replicate) == "+OK\r\n");
    }
    for client in &mut clients {
        eventually("the cluster is up, and linked", || {
            let shown = client.call("CLUSTER NODES");
            client.call("CLUSTER INFO").contains("cluster_state:ok")
                && !shown.contains("handshake")
                && !shown.contains("disconnected")
                && shown.matches("slave").count() == nodes.len() - 3
        });
        eventually("the replicas follow", || {
            let info = client.call("INFO replication");
            info.contains("role:master") || info.contains("master_link_status:up")
        });
    }
    nodes
}
