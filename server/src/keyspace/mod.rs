//! The databases; nobody else holds the map.

pub mod db;
pub mod detached;
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

    /// The database that had the number `home` when the epoch began: SWAPDB may have given it another since.
    pub fn by_home(&mut self, home: usize) -> Option<&mut Db> {
        self.dbs.iter_mut().find(|db| db.home() == home)
    }

    /// Begins an epoch: every entry there is belongs to an older one. `witness` sees what changes.
    pub fn begin_epoch(&mut self, witness: Rc<dyn shared::Witness>) {
        /// An epoch's number has eight bits. It may come again only when no entry can be of the one before.
        const UNSETTLED_MAX: u8 = 250;
        let shared = Rc::clone(&self.shared);
        if shared.unsettled.get() >= UNSETTLED_MAX {
            let epoch = shared.epoch.get();
            self.dbs.iter_mut().for_each(|db| db.settle(epoch));
            shared.unsettled.set(0);
        }
        shared.unsettled.set(shared.unsettled.get() + 1);
        shared.epoch.set(shared.epoch.get().wrapping_add(1));
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

    /// Whether no database holds a key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dbs.iter().all(Db::is_empty)
    }
}
