//! Clusters of our nodes, and of ours and the original's.

mod moves;
mod nodes;
mod tls;
mod tools;

use std::process::Command;

use redstart_tests::cluster_support::{bulk, node_port};
use redstart_tests::proxy_support::{Client, Folder, Listening, eventually};
use redstart_tests::server_support::{server_binary, workspace};

use self::nodes::{Kind, Node, form};
use Kind::{Original, Ours};

/// Writes a hundred keys by whichever node has their slots.
fn write(nodes: &[Node]) {
    let mut clients: Vec<Client> = nodes.iter().map(Node::client).collect();
    for number in 0..100 {
        let set = format!("SET key:{number} {number}");
        assert!(clients.iter_mut().any(|client| client.call(&set) == "+OK\r\n"), "{set}");
    }
    eventually("the replicas have all", || {
        let counts: Vec<String> = clients.iter_mut().map(|client| client.call("DBSIZE")).collect();
        counts[..3] == counts[3..]
    });
}

/// Reads them again.
fn assert_whole(nodes: &[Node]) {
    let mut clients: Vec<Client> =
        nodes.iter().filter(|node| node.is_running()).map(Node::client).collect();
    for number in 0..100 {
        let get = format!("GET key:{number}");
        let text = number.to_string();
        // A node may hold the cluster down for a moment longer than the others.
        eventually(&get, || clients.iter_mut().any(|client| bulk(&client.call(&get)) == text));
    }
}

fn role(node: &Node) -> String {
    let info = node.client().call("INFO replication");
    let role = info.lines().find_map(|line| line.strip_prefix("role:"));
    role.unwrap_or_default().trim().to_owned()
}

/// Primaries 0 to 2 with the replicas 3 to 5: one dies, its replica takes over, it returns as a replica; then they change places
/// again by request.
fn fails_over(mut nodes: Vec<Node>, dies: usize) {
    write(&nodes);
    let heir = dies + 3;
    nodes[dies].kill();
    eventually("the replica takes over", || role(&nodes[heir]) == "master");
    eventually("all is served again", || {
        nodes[heir].client().call("CLUSTER INFO").contains("cluster_state:ok")
    });
    assert_whole(&nodes);
    nodes[dies].run();
    eventually("the old primary follows", || {
        let info = nodes[dies].client().call("INFO replication");
        info.contains("role:slave") && info.contains("master_link_status:up")
    });
    // Who does not know it would not vote for it.
    eventually("all know it to be a replica", || {
        let known = |node: &Node| {
            let shown = node.client().call("CLUSTER NODES");
            let line = shown.lines().find(|line| line.contains(&format!(":{}@", nodes[dies].port)));
            line.is_some_and(|line| line.contains("slave") && !line.contains("fail"))
        };
        nodes.iter().all(known)
    });
    assert_eq!(nodes[dies].client().call("CLUSTER FAILOVER"), "+OK\r\n");
    eventually("it is the primary again", || {
        role(&nodes[dies]) == "master" && role(&nodes[heir]) == "slave"
    });
    eventually("all nodes agree", || {
        nodes.iter().all(|node| {
            let mut client = node.client();
            let shown = client.call("CLUSTER NODES");
            let owner =
                shown.lines().find(|line| line.contains(&format!(":{}@", nodes[dies].port)));
            client.call("CLUSTER INFO").contains("cluster_state:ok")
                && owner.is_some_and(|line| line.contains("master") && line.contains('-'))
        })
    });
    assert_whole(&nodes);
}

#[test]
fn a_primary_of_ours_is_replaced_among_our_own() {
    fails_over(form(&[Ours; 6]), 0);
}

#[test]
fn a_primary_of_ours_is_replaced_by_the_originals_replica() {
    fails_over(form(&[Ours, Original, Ours, Original, Ours, Original]), 0);
}

#[test]
fn a_primary_of_the_original_is_replaced_by_our_replica() {
    fails_over(form(&[Original, Original, Ours, Ours, Ours, Original]), 0);
}

#[test]
fn the_file_is_whole_after_a_kill_and_nobody_else_may_have_it() {
    let mut nodes = form(&[Ours; 3]);
    let name = bulk(&nodes[0].client().call("CLUSTER MYID"));
    for _ in 0..3 {
        for round in 0..20 {
            // Each is written before it is answered.
            let slot = 100 + round;
            let mut client = nodes[0].client();
            assert_eq!(client.call(&format!("CLUSTER DELSLOTS {slot}")), "+OK\r\n");
            assert_eq!(client.call(&format!("CLUSTER ADDSLOTS {slot}")), "+OK\r\n");
        }
        assert_eq!(nodes[0].client().call("CLUSTER DELSLOTS 99"), "+OK\r\n");
        nodes[0].kill();
        let text = std::fs::read_to_string(nodes[0].file()).expect("the file");
        assert!(text.contains("0-98 100-5460") && text.ends_with('\n'), "{text}");
        nodes[0].run();
        let mut client = nodes[0].client();
        assert_eq!(bulk(&client.call("CLUSTER MYID")), name);
        assert_eq!(client.call("CLUSTER ADDSLOTS 99"), "+OK\r\n");
    }
    let log = nodes[0].refused_beside();
    assert!(log.contains("is already used by a different Redis Cluster node"), "{log}");
    nodes[0].kill();
    for text in [String::new(), "vars currentEpoch 1 lastVoteEpoch 0\n".to_owned()] {
        std::fs::write(nodes[0].file(), text).expect("written");
        let log = nodes[0].refused();
        assert!(log.contains("Unrecoverable error: corrupted cluster config file."), "{log}");
    }
}

#[test]
fn what_is_published_is_heard_on_all_nodes_and_what_is_for_a_shard_in_it() {
    let nodes = form(&[Ours, Original, Ours, Original, Ours, Ours]);
    let mut listeners: Vec<Client> = nodes.iter().map(Node::client).collect();
    for listener in &mut listeners {
        assert!(listener.call("SUBSCRIBE news").contains("news"));
    }
    for publisher in [0, 1] {
        nodes[publisher].client().call("PUBLISH news text");
        for listener in &mut listeners {
            assert!(listener.receive().contains("text"));
        }
    }
    // Slot 0 is the first primary's, whose replica is the fourth node.
    let mut listener = nodes[3].client();
    assert!(listener.call("SSUBSCRIBE 06S").contains("06S"));
    assert_eq!(nodes[0].client().call("SPUBLISH 06S text"), ":0\r\n");
    assert!(listener.receive().contains("text"));
}

#[test]
fn the_sample_of_a_node_is_taken() {
    let sample = std::fs::read_to_string(workspace().join("config/cluster.conf")).expect("a file");
    let port = node_port();
    let own = sample.replace("port 7000", &format!("port {port}"));
    // What shows a default is taken as well.
    let text: String = own
        .lines()
        .map(|line| match line.strip_prefix("# cluster-") {
            Some(rest) => format!("cluster-{rest}\n"),
            None => format!("{line}\n"),
        })
        .collect();
    let folder = Folder::new();
    let path = folder.join("cluster.conf");
    std::fs::write(&path, text).expect("written");
    let mut command = Command::new(server_binary());
    command.arg(path);
    let node = Listening::start(command, port, folder);
    let info = node.client().call("CLUSTER INFO");
    assert!(info.contains("cluster_known_nodes:1\r\n"), "{info}");
}
