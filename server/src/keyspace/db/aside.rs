//! Keys that lie aside, in a cluster: those of slots that are on their way here as one step and not this shard's yet, and those
//! of slots that have left, until they are removed. They are data like any other for snapshots, the log and replicas; but no
//! client sees them, they are not counted, do not expire by themselves and are not evicted.

use redstart_common::slot::key_slot;

use super::Db;
use crate::cluster::SlotSet;

impl Db {
    /// The slots whose keys lie aside.
    #[must_use]
    pub fn aside(&self) -> Option<&SlotSet> {
        self.aside.as_deref()
    }

    /// The keys of these slots lie aside, beside those that do so already.
    pub fn set_aside(&mut self, slots: &SlotSet) {
        if !slots.is_empty() {
            self.aside.get_or_insert_default().add(slots);
        }
    }

    /// The keys of these slots lie aside no more.
    pub fn bring_home(&mut self, slots: &SlotSet) {
        self.aside = self
            .aside
            .take()
            .map(|aside| aside.without(slots))
            .filter(|it| !it.is_empty())
            .map(Box::new);
    }

    /// No keys lie aside any more.
    pub fn forget_aside(&mut self) {
        self.aside = None;
    }

    /// Whether a key lies aside.
    #[inline]
    #[must_use]
    pub fn is_aside(&self, key: &[u8]) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.contains(key_slot(key)))
    }

    /// Keys that clients see, those past their deadline but not yet removed included.
    #[must_use]
    pub fn seen_len(&self) -> usize {
        let aside = self.aside.iter().flat_map(|aside| aside.iter());
        self.len() - aside.map(|slot| self.slot_len(slot)).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Deadline, Keyspace};

    #[test]
    fn keys_that_lie_aside_are_not_counted() {
        let mut keyspace = Keyspace::by_slot();
        let db = keyspace.db(0);
        for n in 0..10 {
            db.set_string(format!("{{a}}{n}").as_bytes(), b"v", Deadline::Clear);
            db.set_string(format!("{{b}}{n}").as_bytes(), b"v", Deadline::Clear);
        }
        let mut slots = SlotSet::default();
        slots.insert(key_slot(b"a"));
        db.set_aside(&slots);
        assert!(db.is_aside(b"{a}1") && !db.is_aside(b"{b}1"));
        assert_eq!((db.len(), db.seen_len()), (20, 10));
        slots.insert(key_slot(b"b"));
        db.set_aside(&slots);
        assert_eq!(db.seen_len(), 0);
        db.bring_home(&slots);
        assert_eq!((db.seen_len(), db.aside()), (20, None));
    }
}
