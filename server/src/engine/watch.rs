//! WATCH: which clients want to know that a key has changed.
//!
//! To a client a key past its deadline is gone, whether it has been removed or not. A watch set on such a key is
//! *stale*: that the key is removed later is no change for it, and ends its being stale.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

/// The watchers of a key by their ids, and whether each one's watch is stale.
type Watchers = HashMap<u64, bool, foldhash::fast::FixedState>;

type WatchedKeys = HashMap<Box<[u8]>, Watchers, foldhash::fast::RandomState>;

/// What a database holds of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Nothing.
    Absent,
    /// A value past its deadline.
    Stale,
    /// A value.
    Live,
}

/// Watched keys of all databases, and their watchers.
#[derive(Default)]
pub struct Watches {
    dbs: Vec<WatchedKeys>,
    keys: usize,
}

impl Watches {
    /// For `count` databases.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { dbs: (0..count).map(|_| WatchedKeys::default()).collect(), keys: 0 }
    }

    /// Whether nothing is watched.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// Watched keys, for statistics.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys
    }

    /// Adds a watcher; `stale` says that the key is past its deadline already. Answers whether it did not watch the key
    /// before; otherwise nothing changes.
    pub fn add(&mut self, db: usize, key: &[u8], client: u64, stale: bool) -> bool {
        let watchers = match self.dbs[db].get_mut(key) {
            Some(watchers) => watchers,
            None => {
                self.keys += 1;
                self.dbs[db].entry(key.into()).or_default()
            }
        };
        match watchers.entry(client) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(stale);
                true
            }
        }
    }

    /// Takes a watcher away.
    pub fn remove(&mut self, db: usize, key: &[u8], client: u64) {
        let Some(watchers) = self.dbs[db].get_mut(key) else { return };
        watchers.remove(&client);
        if watchers.is_empty() {
            self.dbs[db].remove(key);
            self.keys -= 1;
        }
    }

    /// Whether a client's watch of a key is stale.
    #[must_use]
    pub fn is_stale(&self, db: usize, key: &[u8], client: u64) -> bool {
        self.dbs[db].get(key).and_then(|watchers| watchers.get(&client)).is_some_and(|stale| *stale)
    }

    /// A key has changed; `dirty` is told whose watch it spoils. While the key `is_there`, stale watches stay so.
    pub fn touch(
        &mut self,
        db: usize,
        key: &[u8],
        is_there: impl FnOnce() -> bool,
        mut dirty: impl FnMut(u64),
    ) {
        let Some(watchers) = self.dbs[db].get_mut(key) else { return };
        let is_there = watchers.values().any(|stale| *stale) && is_there();
        for (client, stale) in watchers {
            if !*stale {
                dirty(*client);
            }
            *stale &= is_there;
        }
    }

    /// All keys of a database are about to change: `change` says what it holds of one and what it will hold;
    /// `dirty` is told whose watch that spoils.
    pub fn touch_all(
        &mut self,
        db: usize,
        change: impl Fn(&[u8]) -> (Presence, Presence),
        mut dirty: impl FnMut(u64),
    ) {
        use Presence::{Absent, Live, Stale};
        for (key, watchers) in &mut self.dbs[db] {
            let (held, next) = change(key);
            for (client, stale) in watchers {
                match (held, next) {
                    (Absent, Absent) => {}
                    (_, Absent) if *stale => *stale = false,
                    (_, Stale) if *stale => {}
                    (Absent, Stale) => *stale = true,
                    (_, Absent | Stale | Live) => dirty(*client),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: u64 = 7;

    fn watching(stale: bool) -> Watches {
        let mut watches = Watches::new(1);
        assert!(watches.add(0, b"key", CLIENT, stale));
        // Once more is no watch of its own, nor does it change the first.
        assert!(!watches.add(0, b"key", CLIENT, !stale) && watches.len() == 1);
        watches
    }

    #[test]
    fn removing_a_stale_key_is_no_change_but_setting_it_is() {
        let mut watches = watching(true);
        let mut told = Vec::new();
        watches.touch(0, b"key", || false, |id| told.push(id));
        assert!(told.is_empty() && !watches.is_stale(0, b"key", CLIENT));
        watches.touch(0, b"key", || true, |id| told.push(id));
        assert_eq!(told, [CLIENT]);
    }

    #[test]
    fn replacing_a_database_changes_only_what_clients_can_see() {
        use Presence::{Absent, Live, Stale};
        // The watch, what the database holds, what it will hold; whether that is a change, and the watch after it.
        for (stale, held, next, changes, stale_after) in [
            (false, Absent, Absent, false, false),
            (false, Absent, Stale, false, true),
            (false, Absent, Live, true, false),
            (false, Live, Absent, true, false),
            (false, Live, Stale, true, false),
            (false, Live, Live, true, false),
            (true, Stale, Absent, false, false),
            (true, Stale, Stale, false, true),
            (true, Stale, Live, true, true),
        ] {
            let mut watches = watching(stale);
            let mut told = false;
            watches.touch_all(0, |_| (held, next), |_| told = true);
            let case = format!("{stale} {held:?} {next:?}");
            assert_eq!(told, changes, "{case}");
            assert_eq!(watches.is_stale(0, b"key", CLIENT), stale_after, "{case}");
        }
    }
}
