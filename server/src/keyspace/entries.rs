//! The entries of a database by key: one table, or in a cluster a table for each slot, so that the keys of a slot are
//! counted, found and taken out without looking at any other.
//!
//! **Which table.** In a cluster the upper 14 bits of a key's hash are its slot (see [`Entries::hash`]); a table reads
//! 50 bits from below. So whoever has a key's hash has its table, and a single table costs a mask.
//!
//! **Cursors** of a scan carry the slot in their lowest 14 bits and the table's own cursor above.

use std::ptr::NonNull;

use rand::Rng;
use redstart_common::slot::{SLOT_COUNT, key_slot};

use super::entry::Entry;
use crate::encoding::table::{self, Drawn, Table};

const SLOT_BITS: u32 = SLOT_COUNT.trailing_zeros();
const SLOT_SHIFT: u32 = u64::BITS - SLOT_BITS;
const SLOT_MASK: u64 = SLOT_COUNT as u64 - 1;
/// Slots that are counted together.
const GROUP: usize = 128;

/// The hash of a key: that of [`table::hash`], with the key's slot in its upper bits where `by_slot` asks for it.
#[inline]
#[must_use]
pub fn hash(key: &[u8], by_slot: bool) -> u64 {
    let plain = table::hash(key);
    if by_slot { hash_in_slot(plain, key) } else { plain }
}

#[inline(never)]
fn hash_in_slot(plain: u64, key: &[u8]) -> u64 {
    plain << SLOT_BITS >> SLOT_BITS | u64::from(key_slot(key)) << SLOT_SHIFT
}

/// All entries of a database. It does not free them; its owner does.
pub struct Entries {
    /// One, or as many as there are slots.
    tables: Box<[Table<Entry>]>,
    /// What of a hash's upper bits names a table: nothing, or the slot.
    mask: usize,
    /// How many entries there are in each group of slots; empty where there is one table.
    groups: Box<[u32]>,
    /// Entries in all tables.
    len: usize,
}

impl Entries {
    /// No entries; `by_slot` says whether there is a table for each slot.
    #[must_use]
    pub fn new(by_slot: bool) -> Self {
        let count = if by_slot { usize::from(SLOT_COUNT) } else { 1 };
        Self {
            tables: (0..count).map(|_| Table::new()).collect(),
            mask: count - 1,
            groups: vec![0; count / GROUP].into(),
            len: 0,
        }
    }

    /// Whether there is a table for each slot.
    #[inline]
    #[must_use]
    pub fn is_by_slot(&self) -> bool {
        self.mask != 0
    }

    /// The hash by which a key is found here.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> u64 {
        hash(key, self.is_by_slot())
    }

    #[inline]
    fn index(&self, hash: u64) -> usize {
        (hash >> SLOT_SHIFT) as usize & self.mask
    }

    #[inline]
    fn table(&self, hash: u64) -> &Table<Entry> {
        &self.tables[self.index(hash)]
    }

    /// How many entries there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that the tables have allocated, without the entries.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        let each: usize = self.tables.iter().map(Table::allocated_bytes).sum();
        let many = if self.is_by_slot() { size_of_val::<[Table<Entry>]>(&self.tables) } else { 0 };
        each + many
    }

    /// Buckets of the tables, and overflow buckets.
    #[must_use]
    pub fn bucket_counts(&self) -> (usize, usize) {
        self.tables
            .iter()
            .map(Table::bucket_counts)
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// See [`Table::prefetch`].
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        self.table(hash).prefetch(hash);
    }

    /// See [`Table::prefetch_item`].
    #[inline]
    pub fn prefetch_item(&self, hash: u64) {
        self.table(hash).prefetch_item(hash);
    }

    /// See [`Table::guess`].
    #[inline]
    #[must_use]
    pub fn guess(&self, hash: u64) -> Option<NonNull<Entry>> {
        self.table(hash).guess(hash)
    }

    /// The entry of a key.
    #[inline]
    #[must_use]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<NonNull<Entry>> {
        self.table(hash).find(hash, key)
    }

    /// See [`Table::readdress`].
    pub fn readdress(&mut self, hash: u64, old: NonNull<Entry>, new: NonNull<Entry>) {
        let index = self.index(hash);
        self.tables[index].readdress(hash, old, new);
    }

    /// Adds an entry whose key is not there.
    #[inline]
    pub fn insert(&mut self, hash: u64, entry: NonNull<Entry>) {
        let index = self.index(hash);
        self.tables[index].insert(hash, entry);
        self.len += 1;
        if let Some(group) = self.groups.get_mut(index / GROUP) {
            *group += 1;
        }
    }

    /// Takes an entry out. Answers whether it was there.
    #[inline]
    pub fn remove(&mut self, hash: u64, entry: NonNull<Entry>) -> bool {
        let index = self.index(hash);
        let removed = self.tables[index].remove_item(hash, entry);
        if removed {
            self.len -= 1;
            if let Some(group) = self.groups.get_mut(index / GROUP) {
                *group -= 1;
            }
        }
        removed
    }

    /// The entries of a slot, where there is a table for each.
    #[must_use]
    pub fn slot(&self, slot: u16) -> Option<&Table<Entry>> {
        if self.is_by_slot() { self.tables.get(usize::from(slot)) } else { None }
    }

    /// The first table from `index` on that holds an entry.
    fn next_used(&self, index: usize) -> Option<usize> {
        let mut index = index;
        while index < self.tables.len() {
            if !self.tables[index].is_empty() {
                return Some(index);
            }
            index += 1;
            if index.is_multiple_of(GROUP) {
                let skipped =
                    self.groups.get(index / GROUP..)?.iter().position(|&count| count > 0)?;
                index += skipped * GROUP;
            }
        }
        None
    }

    /// A cursor taken apart: the table, and the cursor in it.
    fn split(&self, cursor: u64) -> (usize, u64) {
        if self.is_by_slot() {
            ((cursor & SLOT_MASK) as usize, cursor >> SLOT_BITS)
        } else {
            (0, cursor)
        }
    }

    /// Visits the entries of the bucket at `cursor` and answers the cursor of the next one; 0 begins and ends. What is
    /// there from the first call to the last is visited at least once.
    pub fn scan(&self, cursor: u64, visit: impl FnMut(NonNull<Entry>)) -> u64 {
        if !self.is_by_slot() {
            return self.tables[0].scan(cursor, visit);
        }
        let (named, inner) = self.split(cursor);
        let Some(index) = self.next_used(named) else { return 0 };
        let next = self.tables[index].scan(if index == named { inner } else { 0 }, visit);
        if next != 0 {
            return next << SLOT_BITS | index as u64;
        }
        self.next_used(index + 1).map_or(0, |index| index as u64)
    }

    /// Asks the processor to fetch the entries that the next calls of [`Self::scan`] visit, as far as they are of one
    /// table.
    pub fn prefetch_scan(&self, cursor: u64, buckets: usize) {
        let (index, inner) = self.split(cursor);
        if let Some(table) = self.tables.get(index) {
            table.prefetch_scan(inner, buckets);
        }
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = NonNull<Entry>> {
        self.tables.iter().flat_map(Table::iter)
    }

    /// A table drawn at random, each with a chance as large as its part of the entries.
    fn drawn_table(&self) -> Option<usize> {
        if self.is_empty() {
            return None;
        }
        if !self.is_by_slot() {
            return Some(0);
        }
        let mut left = rand::rng().random_range(0..self.len);
        let mut index = 0;
        for &count in &self.groups {
            if left < count as usize {
                break;
            }
            left -= count as usize;
            index += GROUP;
        }
        for table in self.tables.get(index..)? {
            if left < table.len() {
                return Some(index);
            }
            left -= table.len();
            index += 1;
        }
        None
    }

    /// An entry drawn at random; see [`Table::random`].
    #[must_use]
    pub fn random(&self) -> Option<NonNull<Entry>> {
        self.tables[self.drawn_table()?].random()
    }

    /// Draws up to `wanted` entries that lie near each other; see [`Table::sample`]. Where the table that was hit upon has
    /// fewer, the next ones give the rest.
    pub fn sample(&self, wanted: usize, drawn: &mut Drawn<Entry>) {
        let Some(first) = self.drawn_table() else { return };
        self.tables[first].sample(wanted, drawn);
        let wanted = wanted.min(self.len);
        let mut index = first;
        while drawn.len() < wanted {
            let next = self.next_used(index + 1).or_else(|| self.next_used(0));
            let Some(next) = next.filter(|&next| next != first) else { return };
            let mut more = Drawn::new();
            self.tables[next].sample(wanted - drawn.len(), &mut more);
            drawn.extend(more);
            index = next;
        }
    }

    /// Forgets all entries, calling `visit` with each, and frees the tables' memory.
    pub fn drain(&mut self, mut visit: impl FnMut(NonNull<Entry>)) {
        self.tables.iter_mut().for_each(|table| table.drain(&mut visit));
        self.groups.fill(0);
        self.len = 0;
    }

    /// Takes all entries out.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let empty = Self::new(self.is_by_slot());
        std::mem::replace(self, empty)
    }

    /// Checks all tables and counts. For tests.
    ///
    /// # Panics
    /// When an invariant does not hold.
    pub fn check(&self) {
        let mut counts = vec![0; self.groups.len()];
        for (index, table) in self.tables.iter().enumerate() {
            table.check();
            if let Some(count) = counts.get_mut(index / GROUP) {
                *count += table.len() as u32;
            }
        }
        assert_eq!(&counts[..], &self.groups[..]);
        assert_eq!(self.len, self.tables.iter().map(Table::len).sum::<usize>());
    }
}
