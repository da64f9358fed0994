//! What clients publish goes to all nodes, or to those of the shard.

use super::Cluster;
use super::door::Turn;
use super::node::Flags;
use super::packet::{self, Kind};

impl Cluster {
    /// Sends a message of a client to all nodes, or to those of this server's shard.
    pub fn publish(&mut self, channel: &[u8], message: &[u8], sharded: bool, turn: &mut Turn<'_>) {
        if self.nodes.len() < 2 {
            return;
        }
        let kind = if sharded { Kind::PublishShard } else { Kind::Publish };
        let packet = packet::publish(&self.header(turn.offset), kind, channel, message);
        if !sharded {
            self.broadcast(kind, &packet);
            return;
        }
        for node in self.shard() {
            let node = &self.nodes[node];
            if !node.flags.any(Flags::MYSELF.or(Flags::HANDSHAKE)) {
                self.send(node.link, kind, &packet);
            }
        }
    }
}
