//! What the cluster decides about data.

use crate::client::Client;
use crate::engine::{Call, Core};
use crate::keyspace::Keyspace;

impl Core {
    /// Removes the keys of a slot that is another node's now.
    pub(super) fn delete_slot(&mut self, keyspace: &mut Keyspace, slot: u16) {
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        keyspace.dbs[0].keys_in_slot(slot, usize::MAX, |key| keys.push(key.into()));
        if keys.is_empty() {
            return;
        }
        let mut nobody = Client::new(0, 0);
        for key in keys {
            keyspace.dbs[0].remove(&key);
            self.feed.push(0, &[b"DEL", &key]);
            Call::aside(keyspace, self, &mut nobody).modified_in(0, &key);
            self.feed.end_call();
        }
    }
}
