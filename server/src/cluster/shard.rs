//! Names of shards, as Redis 7.2 has them: a primary and its replicas have one, which stays when they change places.
//!
//! A primary that begins a shard gives it its own name. Nodes tell theirs to those who take it (`packet/extension.rs`); for those that
//! tell none, the name of their primary stands for it. In nodes.conf a server's own stands with the variables, where Redis 7.0
//! skips it with a warning, and only where it is not what would be taken without.

use super::Cluster;
use super::node::{Handle, Name, Node};

impl Cluster {
    /// The name of a node's shard.
    #[must_use]
    pub fn shard_of(&self, node: &Node) -> Name {
        let primary = node.primary.filter(|_| node.is_replica()).map(|it| &self.nodes[it]);
        let of_primary = || primary.map(|primary| primary.shard.unwrap_or(primary.name));
        node.shard.or_else(of_primary).unwrap_or(node.name)
    }

    /// This server's own, if it has to be written down.
    pub(super) fn written_shard(&self) -> Option<Name> {
        let myself = self.myself();
        let shard = self.shard_of(myself);
        let primary = self.my_primary().map_or(myself.name, |primary| primary.name);
        Some(shard).filter(|shard| *shard != primary)
    }

    /// A node says which shard it belongs to.
    pub(super) fn hear_shard(&mut self, sender: Handle, shard: Option<Name>) {
        let Some(shard) = shard.filter(|shard| self.nodes[sender].shard != Some(*shard)) else {
            return;
        };
        self.nodes[sender].shard = Some(shard);
        self.join_shard_of_primary();
    }

    /// A replica is of its primary's shard.
    pub(super) fn join_shard_of_primary(&mut self) {
        let myself = self.myself();
        let Some(primary) = self.my_primary().filter(|primary| primary.is_primary()) else {
            return;
        };
        let shard = self.shard_of(primary);
        if self.shard_of(myself) != shard {
            self.nodes[self.myself].shard = Some(shard);
            self.todo.save = true;
        }
    }
}
