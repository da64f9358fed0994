//! The databases; nobody else holds the map.

pub mod db;
pub mod entry;
pub mod expire;
pub mod lazyfree;
pub mod lfu;
pub mod shared;

use std::rc::Rc;

pub use db::{Db, Deadline, Held, Place, Taken, Vacant, Value, WrongType};
pub use entry::{Entry, Kind, Str};
pub use shared::Shared;

/// All databases of an engine.
pub struct Keyspace {
    /// The databases by number.
    pub dbs: Vec<Db>,
    /// What they share.
    pub shared: Rc<Shared>,
}

impl Keyspace {
    /// `count` empty databases.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let shared = Rc::new(Shared::default());
        let dbs = (0..count).map(|index| Db::new(index, Rc::clone(&shared))).collect();
        Self { dbs, shared }
    }

    /// The database with this number, which a client has selected and so exists.
    #[inline]
    pub fn db(&mut self, index: usize) -> &mut Db {
        &mut self.dbs[index]
    }

    /// Two different databases at once.
    pub fn two(&mut self, first: usize, second: usize) -> Option<(&mut Db, &mut Db)> {
        let [first, second] = self.dbs.get_disjoint_mut([first, second]).ok()?;
        Some((first, second))
    }

    /// Keys in all databases.
    #[must_use]
    pub fn len(&self) -> usize {
        self.dbs.iter().map(Db::len).sum()
    }

    /// Whether no database holds a key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dbs.iter().all(Db::is_empty)
    }
}
