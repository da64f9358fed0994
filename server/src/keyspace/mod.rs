//! The databases; nobody else holds the map.

pub mod db;
pub mod detached;
pub mod entries;
pub mod entry;
pub mod expire;
pub mod lazyfree;
pub mod lfu;
mod own;
pub mod shared;

use std::rc::Rc;

pub use db::{Db, Deadline, Held, Place, Taken, Vacant, Value, WrongType};
pub use entry::{Entry, Kind, Str};
pub use own::OwnVolatile;
pub use shared::Shared;

/// An epoch's number has eight bits. It may come again only when no entry can be of the one before.
const UNSETTLED_MAX: u8 = 250;

/// Databases that are filled while others serve, and then take their place.
pub struct NewDatabases {
    /// By number.
    pub dbs: Vec<Db>,
    /// Epochs there had been when they were begun.
    epochs: u64,
}

impl Drop for NewDatabases {
    fn drop(&mut self) {
        self.dbs.iter_mut().for_each(Db::clear_lazily);
    }
}

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

    /// One empty database with a table for each slot of a cluster.
    #[must_use]
    pub fn by_slot() -> Self {
        let shared = Rc::new(Shared::default());
        shared.by_slot.set(true);
        Self { dbs: vec![Db::new(0, Rc::clone(&shared))], shared }
    }

    /// The database with this number, which a client has selected and so exists.
    #[inline]
    pub fn db(&mut self, index: usize) -> &mut Db {
        &mut self.dbs[index]
    }

    /// Empty databases that may take the place of those that there are.
    #[must_use]
    pub fn new_databases(&self) -> NewDatabases {
        let dbs = (0..self.dbs.len()).map(|index| Db::new(index, Rc::clone(&self.shared)));
        NewDatabases { dbs: dbs.collect(), epochs: self.shared.epochs.get() }
    }

    /// Exchanges the databases for new ones; the old are freed on another thread. Nobody may be watching.
    pub fn take_over(&mut self, mut new: NewDatabases) {
        debug_assert!(!self.shared.is_watched());
        std::mem::swap(&mut self.dbs, &mut new.dbs);
        if new.epochs != self.shared.epochs.get() {
            // Entries of epochs long ago may be among them.
            self.shared.unsettled.set(UNSETTLED_MAX);
        }
    }

    /// Two different databases at once.
    pub fn two(&mut self, first: usize, second: usize) -> Option<(&mut Db, &mut Db)> {
        let [first, second] = self.dbs.get_disjoint_mut([first, second]).ok()?;
        Some((first, second))
    }

    /// The database that had the number `home` when the epoch began: SWAPDB may have given it another since.
    pub fn by_home(&mut self, home: usize) -> Option<&mut Db> {
        self.dbs.iter_mut().find(|db| db.home() == home)
    }

    /// Begins an epoch: every entry there is belongs to an older one. `witness` sees what changes.
    pub fn begin_epoch(&mut self, witness: Rc<dyn shared::Witness>) {
        let shared = Rc::clone(&self.shared);
        if shared.unsettled.get() >= UNSETTLED_MAX {
            let epoch = shared.epoch.get();
            self.dbs.iter_mut().for_each(|db| db.settle(epoch));
            shared.unsettled.set(0);
        }
        shared.unsettled.set(shared.unsettled.get() + 1);
        shared.epoch.set(shared.epoch.get().wrapping_add(1));
        shared.epochs.set(shared.epochs.get() + 1);
        for (number, db) in self.dbs.iter_mut().enumerate() {
            db.set_home(number);
        }
        shared.set_witness(Some(witness));
    }

    /// Ends an epoch. `complete` says that all entries belong to it.
    pub fn end_epoch(&mut self, complete: bool) {
        self.shared.set_witness(None);
        if complete {
            self.shared.unsettled.set(0);
        }
    }

    /// Keys in all databases.
    #[must_use]
    pub fn len(&self) -> usize {
        self.dbs.iter().map(Db::len).sum()
    }

    /// Whether there may be hashes with fields that have deadlines.
    #[must_use]
    pub fn has_field_deadlines(&self) -> bool {
        self.dbs.iter().any(|db| db.timed_len() > 0)
    }

    /// Whether no database holds a key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dbs.iter().all(Db::is_empty)
    }
}
