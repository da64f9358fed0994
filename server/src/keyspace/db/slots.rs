//! The keys of a slot, in a cluster.
//!
//! The `unsafe` here rests on the invariant of the parent module.

use super::Db;

impl Db {
    /// Whether the database has a table for each slot of a cluster.
    #[must_use]
    pub fn is_by_slot(&self) -> bool {
        self.table.is_by_slot()
    }

    /// How many keys a slot has, those past their deadline included; 0 outside a cluster.
    #[must_use]
    pub fn slot_len(&self, slot: u16) -> usize {
        self.table.slot(slot).map_or(0, |table| table.len())
    }

    /// Shows up to `most` keys of a slot, those past their deadline included; none outside a cluster.
    pub fn keys_in_slot(&self, slot: u16, most: usize, mut visit: impl FnMut(&[u8])) {
        let Some(table) = self.table.slot(slot) else { return };
        // SAFETY: live entries of this database, borrowed with it.
        table.iter().take(most).for_each(|entry| visit(unsafe { &*entry.as_ptr() }.key()));
    }

    /// Slots that have keys, in order.
    pub fn used_slots(&self) -> impl Iterator<Item = u16> {
        (0..redstart_common::slot::SLOT_COUNT).filter(|&slot| self.slot_len(slot) > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use redstart_common::slot::key_slot;

    use crate::encoding::table::Drawn;
    use crate::keyspace::{Deadline, Keyspace};

    #[test]
    fn a_slot_knows_its_keys() {
        let mut keyspace = Keyspace::by_slot();
        let db = keyspace.db(0);
        assert!(db.is_by_slot());
        for n in 0..3000 {
            db.set_string(format!("key:{n}").as_bytes(), b"v", Deadline::Clear);
            db.set_string(format!("{{tag}}{n}").as_bytes(), b"v", Deadline::At(1 << 50));
        }
        db.check();
        let slot = key_slot(b"tag");
        let mut keys = Vec::new();
        db.keys_in_slot(slot, usize::MAX, |key| keys.push(key.to_vec()));
        assert_eq!(keys.len(), db.slot_len(slot));
        assert!(keys.len() >= 3000 && keys.iter().all(|key| key_slot(key) == slot));
        assert_eq!(db.used_slots().map(|slot| db.slot_len(slot)).sum::<usize>(), 6000);
        let mut some = 0;
        db.keys_in_slot(slot, 10, |_| some += 1);
        assert_eq!(some, 10);
        for key in &keys {
            assert!(db.remove(key));
        }
        assert_eq!((db.slot_len(slot), db.len()), (0, 6000 - keys.len()));
        db.check();
        assert_eq!(Keyspace::new(1).db(0).slot_len(slot), 0);
    }

    #[test]
    fn drawing_reaches_each_key_as_often() {
        let mut keyspace = Keyspace::by_slot();
        let db = keyspace.db(0);
        for n in 0..40 {
            // Some slots with many keys, and some with one.
            let key = if n % 2 == 0 { format!("{{a}}{n}") } else { format!("k{n}") };
            db.set_string(key.as_bytes(), b"v", Deadline::Clear);
        }
        let mut drawn = BTreeMap::new();
        for _ in 0..20_000 {
            let key = db.random().expect("there are keys").key().to_vec();
            *drawn.entry(key).or_insert(0) += 1;
        }
        assert_eq!(drawn.len(), 40);
        assert!(drawn.values().all(|&times: &i32| (times - 500).abs() < 150), "{drawn:?}");
        for wanted in [1, 5, 39, 40, 64] {
            let (mut room, mut seen) = (Drawn::new(), Vec::new());
            db.sample(false, wanted, &mut room, |entry| seen.push(entry.key().to_vec()));
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), wanted.min(40));
        }
    }

    proptest! {
        #[test]
        fn a_scan_sees_what_is_there_throughout(
            steps in prop::collection::vec((any::<bool>(), 0_u16..400), 1..400),
        ) {
            let mut keyspace = Keyspace::by_slot();
            let db = keyspace.db(0);
            let name = |n: u16| if n % 3 == 0 { format!("{{t}}{n}") } else { format!("k{n}") };
            for n in 400..600 {
                db.set_string(name(n).as_bytes(), b"v", Deadline::Clear);
            }
            let (mut seen, mut cursor, mut steps) = (std::collections::BTreeSet::new(), 0, steps.into_iter());
            loop {
                cursor = db.scan(cursor, |entry| { seen.insert(entry.key().to_vec()); });
                if cursor == 0 {
                    break;
                }
                if let Some((adds, n)) = steps.next() {
                    if adds {
                        db.set_string(name(n).as_bytes(), b"v", Deadline::Clear);
                    } else {
                        db.remove(name(n).as_bytes());
                    }
                }
            }
            prop_assert!((400..600).all(|n| seen.contains(name(n).as_bytes())));
            db.check();
            db.clear();
            prop_assert!(db.is_empty());
            db.check();
        }
    }
}
