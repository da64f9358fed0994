//! Entries that have left their database and are still to be read: for a snapshot that has not seen them yet.
//!
//! The `unsafe` here rests on one invariant: *an entry is in one place only, a database or one of these, and whoever
//! holds it frees it.*

use std::ptr::NonNull;

use super::entries::Entries;
use super::entry::Entry;
use super::lazyfree;
use crate::types::{Collection, List};

/// An entry that belongs to no database.
pub struct Detached(NonNull<Entry>);

impl Detached {
    /// Takes an entry over.
    ///
    /// # Safety
    /// The entry comes from [`Entry::build`], and nobody else leads to it.
    pub(super) unsafe fn new(entry: NonNull<Entry>) -> Self {
        Self(entry)
    }
}

impl std::ops::Deref for Detached {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        // SAFETY: we own it.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        // SAFETY: we own it, and it is not used again.
        unsafe {
            if let Some(object) = self.0.as_mut().object_mut()
                && object.parts_to_free() > lazyfree::THRESHOLD
            {
                lazyfree::free(std::mem::replace(object, List::create()));
            }
            Entry::free(self.0);
        }
    }
}

/// What a database held when it was emptied.
pub struct DetachedTable(Entries);

impl DetachedTable {
    /// Takes a database's entries over.
    pub(super) fn new(table: Entries) -> Self {
        Self(table)
    }

    /// The entries, which are the caller's to free.
    pub(super) fn into_entries(mut self) -> Entries {
        self.0.take()
    }

    /// Visits the entries of the bucket at `cursor` and answers the next cursor; 0 begins and ends. A cursor of the
    /// database from before goes on here.
    pub fn walk(&mut self, cursor: u64, mut visit: impl FnMut(&mut Entry)) -> u64 {
        // SAFETY: live entries that we own, borrowed one at a time.
        self.0.scan(cursor, |mut entry| visit(unsafe { entry.as_mut() }))
    }

    /// An entry by its key.
    pub fn find(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let found = self.0.find(self.0.hash(key), key)?;
        // SAFETY: a live entry that we own.
        Some(unsafe { &mut *found.as_ptr() })
    }
}

impl Drop for DetachedTable {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            lazyfree::free_entries(self.0.take());
        }
    }
}
