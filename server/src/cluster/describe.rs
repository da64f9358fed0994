//! Nodes as lines: CLUSTER NODES, and nodes.conf.

use std::fmt::Write;

use super::node::{Flags, Handle, Node};
use super::{Came, Cluster};

impl Flags {
    /// The flags as CLUSTER NODES has them.
    #[must_use]
    pub fn describe(self) -> String {
        let names: Vec<&str> =
            Self::NAMES.iter().filter(|(flag, _)| self.any(*flag)).map(|(_, name)| *name).collect();
        if names.is_empty() { "noflags".to_owned() } else { names.join(",") }
    }
}

impl Cluster {
    /// Appends the line of a node, without its end. `wall_ahead_ms` is how far the wall clock is ahead of the cluster's, `came`
    /// how the client came, if it is for one.
    fn describe_into(&self, node: &Node, wall_ahead_ms: i64, came: Option<Came>, out: &mut String) {
        let shown = |ms: i64| if ms == 0 { 0 } else { ms + wall_ahead_ms };
        let primary = node.primary.map(|primary| &self.nodes[primary]);
        let epoch = match primary.filter(|_| node.is_replica()) {
            Some(primary) => primary.config_epoch,
            None => node.config_epoch,
        };
        let hostname = if node.hostname().is_empty() { "" } else { "," };
        let is_linked = node.link.is_some() || node.is_myself();
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "{} {}:{}@{}{hostname}{} {} {} {} {} {epoch} {}",
            node.name,
            came.map_or(&*node.ip, |came| node.client_ip(came.by_ipv6)),
            came.map_or(node.port, |came| self.port_for(node, came)),
            node.bus_port,
            node.hostname(),
            node.flags.describe(),
            primary.map_or("-", |primary| primary.name.as_str()),
            shown(node.ping_sent_ms),
            shown(node.pong_received_ms),
            if is_linked { "connected" } else { "disconnected" },
        );
        for (first, last) in node.slots.ranges() {
            let _ = if first == last {
                write!(out, " {first}")
            } else {
                write!(out, " {first}-{last}")
            };
        }
        if node.is_myself() {
            self.describe_open_slots(out);
        }
    }

    /// Slots that are on their way, in order; one on both ways is shown as leaving.
    fn describe_open_slots(&self, out: &mut String) {
        let leaving = self.migrating.iter().map(|(slot, node)| (*slot, "->-", *node));
        let coming = self.importing.iter().filter(|(slot, _)| !self.migrating.contains_key(slot));
        let coming = coming.map(|(slot, node)| (*slot, "-<-", *node));
        let mut open: Vec<(u16, &str, Handle)> = leaving.chain(coming).collect();
        open.sort_unstable_by_key(|(slot, ..)| *slot);
        for (slot, way, node) in open {
            let _ = write!(out, " [{slot}{way}{}]", self.nodes[node].name);
        }
    }

    /// The line of a node, for a client that came so.
    #[must_use]
    pub fn describe_node(&self, node: Handle, wall_ahead_ms: i64, came: Came) -> String {
        let mut line = String::new();
        if let Some(node) = self.nodes.get(node) {
            self.describe_into(node, wall_ahead_ms, Some(came), &mut line);
        }
        line
    }

    /// The lines of all nodes, for a client that came so.
    #[must_use]
    pub fn describe(&self, wall_ahead_ms: i64, came: Came) -> String {
        let mut lines = String::new();
        for node in self.nodes() {
            self.describe_into(node, wall_ahead_ms, Some(came), &mut lines);
            lines.push('\n');
        }
        lines
    }

    /// The text of nodes.conf.
    #[must_use]
    pub fn to_file(&self, wall_ahead_ms: i64) -> String {
        let mut text = String::new();
        for node in self.nodes().filter(|node| !node.is_in_handshake()) {
            self.describe_into(node, wall_ahead_ms, None, &mut text);
            text.push('\n');
        }
        let _ = write!(
            text,
            "vars currentEpoch {} lastVoteEpoch {}",
            self.current_epoch, self.last_vote_epoch
        );
        if let Some(shard) = self.written_shard() {
            let _ = write!(text, " myShardId {shard}");
        }
        text.push('\n');
        text
    }
}
