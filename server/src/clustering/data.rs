//! What the cluster decides about data.

use crate::engine::{Call, Core};
use crate::keyspace::Keyspace;

impl Core {
    /// Removes the keys of a slot that is another node's now. The log and the replicas hear of it; clients that listen for keys
    /// that go do not, for they are elsewhere.
    pub(super) fn delete_slot(&mut self, keyspace: &mut Keyspace, slot: u16) {
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        keyspace.dbs[0].keys_in_slot(slot, usize::MAX, |key| keys.push(key.into()));
        if keys.is_empty() {
            return;
        }
        let mut nobody = self.clients.take_nobody();
        for key in keys {
            keyspace.dbs[0].unlink(&key);
            self.feed.push(0, &[b"DEL", &key]);
            Call::aside(keyspace, self, &mut nobody).modified_in(0, &key);
            self.feed.end_call();
        }
        self.clients.give_nobody(nobody);
    }
}
