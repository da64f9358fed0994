//! WATCH: which clients want to know that a key has changed.

use hashbrown::HashMap;

type Watchers = HashMap<Box<[u8]>, Vec<u64>, foldhash::fast::RandomState>;

/// Watched keys of all databases, and the ids of their watchers.
#[derive(Default)]
pub struct Watches {
    dbs: Vec<Watchers>,
    keys: usize,
}

impl Watches {
    /// For `count` databases.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { dbs: (0..count).map(|_| Watchers::default()).collect(), keys: 0 }
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

    /// Adds a watcher.
    pub fn add(&mut self, db: usize, key: &[u8], client: u64) {
        let watchers = self.dbs[db].entry(key.into()).or_default();
        if watchers.is_empty() {
            self.keys += 1;
        }
        watchers.push(client);
    }

    /// Takes a watcher away.
    pub fn remove(&mut self, db: usize, key: &[u8], client: u64) {
        let Some(watchers) = self.dbs[db].get_mut(key) else { return };
        watchers.retain(|id| *id != client);
        if watchers.is_empty() {
            self.dbs[db].remove(key);
            self.keys -= 1;
        }
    }

    /// The watchers of a key.
    #[must_use]
    pub fn of(&self, db: usize, key: &[u8]) -> &[u64] {
        self.dbs[db].get(key).map_or(&[], Vec::as_slice)
    }

    /// All watched keys of a database.
    pub fn keys(&self, db: usize) -> impl Iterator<Item = (&[u8], &[u64])> {
        self.dbs[db].iter().map(|(key, ids)| (&**key, ids.as_slice()))
    }
}
