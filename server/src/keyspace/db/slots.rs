//! Keys by the slots of a cluster.

use redstart_common::slot::key_slot;

use super::Db;

impl Db {
    /// Keys in a slot, those past their deadline included.
    #[must_use]
    pub fn slot_len(&self, slot: u16) -> usize {
        self.iter().filter(|entry| key_slot(entry.key()) == slot).count()
    }

    /// Shows up to `max` keys of a slot, those past their deadline included.
    pub fn keys_in_slot(&self, slot: u16, max: usize, mut visit: impl FnMut(&[u8])) {
        let keys = self.iter().map(|entry| entry.key());
        keys.filter(|key| key_slot(key) == slot).take(max).for_each(|key| visit(key));
    }
}
