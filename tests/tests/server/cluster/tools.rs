//! What `redis-cli --cluster` does to clusters, on our nodes.

use std::io::Write;
use std::process::{Command, Stdio};

use redstart_tests::cluster_support::bulk;
use redstart_tests::proxy_support::{Folder, Redis, eventually, free_port};
use redstart_tests::server_support::server_binary;

use super::nodes::Kind::Ours;
use super::nodes::{Node, form};

/// Runs `redis-cli --cluster` with these words, and "yes" to what it asks; answers what it printed.
fn tool(words: &str) -> String {
    let mut command = Command::new("redis-cli");
    command.arg("--cluster").args(words.split(' '));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().expect("redis-cli");
    // It may be done before it has read them.
    let _ = running.stdin.take().map(|mut input| input.write_all(b"yes\nyes\nyes\n"));
    let done = running.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{words}: {text}");
    text.into_owned()
}

fn keys(nodes: &[Node]) -> Vec<usize> {
    let count = |node: &Node| node.client().call("DBSIZE")[1..].trim().parse().expect("a number");
    nodes.iter().map(count).collect()
}

fn total(nodes: &[Node]) -> usize {
    keys(nodes).into_iter().sum()
}

#[test]
fn keys_are_imported_saved_and_spread_and_what_is_broken_is_fixed() {
    let mut nodes = form(&[Ours; 3]);
    let at = format!("127.0.0.1:{}", nodes[0].port);
    let source = Redis::start_by(Command::new(server_binary()), free_port(), &[]);
    let mut client = source.client();
    for number in 0..300 {
        client.call(&format!("SET key:{number} {number}"));
    }
    tool(&format!("import {at} --cluster-from 127.0.0.1:{} --cluster-copy", source.port));
    assert_eq!(client.call("DBSIZE"), ":300\r\n");
    assert_eq!(total(&nodes), 300);
    let folder = Folder::new();
    tool(&format!("backup {at} {}", folder.path().display()));
    let saved = std::fs::read_dir(folder.path()).expect("a folder");
    assert_eq!(saved.count(), 4, "three files of data, and nodes.json");
    assert_eq!(tool(&format!("call {at} GET key:1")).matches("MOVED").count(), 2);
    // A node without slots gets its share.
    nodes.push(Node::start(Ours));
    tool(&format!("add-node 127.0.0.1:{} {at}", nodes[3].port));
    let knows_all = |node: &Node| {
        let info = node.client().call("CLUSTER INFO");
        info.contains("cluster_known_nodes:4\r\n") && info.contains("cluster_state:ok\r\n")
    };
    eventually("all know it", || nodes.iter().all(knows_all));
    tool(&format!("rebalance {at} --cluster-use-empty-masters --cluster-threshold 1"));
    let counts = keys(&nodes);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    // A slot that is on its way, and one that nobody has.
    let names: Vec<String> =
        nodes.iter().map(|node| bulk(&node.client().call("CLUSTER MYID"))).collect();
    let agrees = || Command::new("redis-cli").args(["--cluster", "check", &at]).output();
    eventually("all agree", || agrees().is_ok_and(|done| done.status.success()));
    nodes[2].client().call(&format!("CLUSTER SETSLOT 16383 MIGRATING {}", names[0]));
    nodes[0].client().call(&format!("CLUSTER SETSLOT 16383 IMPORTING {}", names[2]));
    for node in &nodes {
        assert_eq!(node.client().call("CLUSTER DELSLOTS 9000"), "+OK\r\n");
    }
    let text = tool(&format!("fix {at}"));
    assert!(
        text.contains("Fixing open slot 16383") && text.contains("Covering slot 9000"),
        "{text}"
    );
    eventually("all agree", || agrees().is_ok_and(|done| done.status.success()));
    assert_eq!(total(&nodes), 300);
}
