//! Looking at many entries: in the order of a cursor, all, or by chance.
//!
//! The `unsafe` here rests on the invariant of the parent module.

use super::{Db, Drawn, Entry};

impl Db {
    /// Visits the entries of a bucket and answers the next cursor; see [`Table::scan`].
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(&Entry)) -> u64 {
        // SAFETY: live entries of this database.
        self.table.scan(cursor, |entry| visit(unsafe { entry.as_ref() }))
    }

    /// Visits the entries of the bucket at `cursor` for a snapshot, which notes in them that it has seen them; answers the
    /// next cursor.
    pub fn walk(&mut self, cursor: u64, mut visit: impl FnMut(&mut Entry)) -> u64 {
        // SAFETY: live entries of this database, held mutably through `self`, one at a time.
        self.table.scan(cursor, |mut entry| visit(unsafe { entry.as_mut() }))
    }

    /// Asks the processor to fetch what the next `buckets` calls of [`Self::walk`] visit.
    pub fn prefetch_walk(&self, cursor: u64, buckets: usize) {
        self.table.prefetch_scan(cursor, buckets);
    }

    /// An entry for a snapshot, past its deadline or not, without a trace.
    pub fn find_for_walk(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let found = self.table.find(self.table.hash(key), key)?;
        // SAFETY: a live entry of this database, held mutably through `self`.
        Some(unsafe { &mut *found.as_ptr() })
    }

    /// Has all entries be of one epoch.
    pub(in crate::keyspace) fn settle(&mut self, epoch: u8) {
        // SAFETY: live entries of this database, held mutably through `self`, one at a time.
        self.table.iter().for_each(|mut entry| unsafe { entry.as_mut() }.set_epoch(epoch));
    }

    /// Visits the volatile entries of a bucket and answers the next cursor.
    pub fn scan_volatile(&self, cursor: u64, mut visit: impl FnMut(&Entry)) -> u64 {
        // SAFETY: live entries of this database.
        self.expires.scan(cursor, |entry| visit(unsafe { entry.as_ref() }))
    }

    /// All entries, those past their deadline included.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        // SAFETY: live entries of this database, borrowed with it.
        self.table.iter().map(|entry| unsafe { &*entry.as_ptr() })
    }

    /// A random entry, past its deadline perhaps.
    #[must_use]
    pub fn random(&self) -> Option<&Entry> {
        // SAFETY: a live entry of this database, borrowed with it.
        self.table.random().map(|entry| unsafe { &*entry.as_ptr() })
    }

    /// Shows up to `wanted` entries that lie near each other, from a random place on; only such that have a deadline,
    /// if `volatile`. `drawn` is empty, and room to be used again.
    pub fn sample(
        &self,
        volatile: bool,
        wanted: usize,
        drawn: &mut Drawn<Entry>,
        mut visit: impl FnMut(&Entry),
    ) {
        if volatile {
            self.expires.sample(wanted, drawn);
        } else {
            self.table.sample(wanted, drawn);
        }
        // SAFETY: live entries of this database, borrowed with it.
        drawn.iter().for_each(|entry| visit(unsafe { &*entry.as_ptr() }));
    }
}
