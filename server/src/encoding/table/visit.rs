//! Visiting items: those of a bucket, in the order of a cursor, or all.
//!
//! The `unsafe` here rests on the invariant of the parent module.

use std::ptr::NonNull;

use super::{ADDRESS, Bucket, CHAIN, Item, LAST, SLOTS, Table, chain_of, prefetch};

/// What follows the cursor of a bucket that is named by so many bits: the increment runs from the highest bit of the name
/// downwards.
#[inline]
fn next_cursor(cursor: u64, bits: u32) -> u64 {
    let high = !((1_u64 << bits) - 1);
    (cursor | high).reverse_bits().wrapping_add(1).reverse_bits()
}

impl<T: Item> Table<T> {
    pub(super) fn for_each_in_chain(&self, index: usize, mut visit: impl FnMut(NonNull<T>)) {
        let mut bucket = self.bucket(index);
        loop {
            // SAFETY: a live bucket of this table.
            let words = unsafe { &bucket.as_ref().words };
            let chain = chain_of(words[LAST]);
            let used = if chain.is_some() { LAST } else { SLOTS };
            for &word in &words[..used] {
                if let Some(item) = NonNull::new((word & ADDRESS) as *mut T) {
                    visit(item);
                }
            }
            match chain {
                Some(next) => bucket = next,
                None => return,
            }
        }
    }

    /// Visits the items of the bucket at `cursor` and answers the cursor of the next one; 0 begins and ends.
    ///
    /// Every item that is in the table from the first call to the last is visited at least once.
    pub fn scan(&self, cursor: u64, visit: impl FnMut(NonNull<T>)) -> u64 {
        if self.items == 0 {
            return 0;
        }
        let (index, bits) = self.home(cursor);
        self.for_each_in_chain(index, visit);
        next_cursor(cursor, bits)
    }

    /// Asks the processor to fetch the items of the next `buckets` buckets of a scan. The memory answers many at once: a
    /// scan that asks for each when it needs it waits for each.
    pub fn prefetch_scan(&self, cursor: u64, buckets: usize) {
        if self.items == 0 {
            return;
        }
        let indices = || {
            let mut next = Some(cursor);
            std::iter::from_fn(move || {
                let (index, bits) = self.home(next?);
                next = Some(next_cursor(next?, bits)).filter(|&cursor| cursor != 0);
                Some(index)
            })
            .take(buckets)
        };
        for index in indices() {
            prefetch(self.bucket(index).as_ptr().cast());
        }
        for index in indices() {
            // SAFETY: a live bucket of this table.
            for &word in unsafe { &self.bucket(index).as_ref().words } {
                // The address of an overflow bucket is as good.
                let address = (word & ADDRESS & !CHAIN) as *const u8;
                if !address.is_null() {
                    prefetch(address);
                    prefetch(address.wrapping_add(size_of::<Bucket>()));
                }
            }
        }
    }

    /// Calls `visit` with the items of the bucket at `index`; answers whether there is such a bucket. What visits all
    /// buckets from 0 on visits each item once, as long as nothing is added or removed meanwhile.
    pub fn visit_bucket(&self, index: usize, visit: impl FnMut(NonNull<T>)) -> bool {
        if index >= self.buckets {
            return false;
        }
        self.for_each_in_chain(index, visit);
        true
    }

    /// All items, in no particular order.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { table: self, index: 0, bucket: None, slot: 0 }
    }

    /// Forgets all items, calling `visit` with each, and frees the table's memory.
    pub fn drain(&mut self, mut visit: impl FnMut(NonNull<T>)) {
        let taken = std::mem::take(self);
        for item in taken.iter() {
            visit(item);
        }
    }
}

/// All items of a table. See [`Table::iter`].
pub struct Iter<'a, T: Item> {
    table: &'a Table<T>,
    index: usize,
    bucket: Option<NonNull<Bucket>>,
    slot: usize,
}

impl<T: Item> Iterator for Iter<'_, T> {
    type Item = NonNull<T>;

    fn next(&mut self) -> Option<NonNull<T>> {
        loop {
            let bucket = match self.bucket {
                Some(bucket) => bucket,
                None => {
                    if self.index >= self.table.buckets {
                        return None;
                    }
                    self.slot = 0;
                    let bucket = self.table.bucket(self.index);
                    self.index += 1;
                    self.bucket = Some(bucket);
                    bucket
                }
            };
            // SAFETY: a live bucket; the table is borrowed for as long as we are.
            let words = unsafe { &bucket.as_ref().words };
            while self.slot < SLOTS {
                let word = words[self.slot];
                self.slot += 1;
                if word == 0 || (self.slot == SLOTS && word & CHAIN != 0) {
                    continue;
                }
                return NonNull::new((word & ADDRESS) as *mut T);
            }
            self.bucket = chain_of(words[LAST]);
            self.slot = 0;
        }
    }
}
