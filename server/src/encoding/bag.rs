//! A bag: keyed items in one allocation each, found through a [`Table`]. Big sets, hashes and sorted sets are bags.
//!
//! ```text
//!   item:  extra │ key length: u32 │ key bytes │ tail bytes        extra: nothing, a tail length, or a score
//! ```
//!
//! `unsafe` rests on this: *items are only made by [`Thin::build`], so that the header describes what lies behind
//! it, and belong to the one bag whose table holds them.*

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::mem::offset_of;
use std::ptr::NonNull;

use redstart_common::memory::size_class;

use super::choice;
use super::table::{self, Item, Table};

/// What an item has beside its key.
pub trait Extra: Copy {
    /// Bytes that follow the key.
    fn tail_length(self) -> usize;
}

impl Extra for () {
    fn tail_length(self) -> usize {
        0
    }
}

impl Extra for f64 {
    fn tail_length(self) -> usize {
        0
    }
}

/// The length of a tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail(pub u32);

impl Extra for Tail {
    fn tail_length(self) -> usize {
        self.0 as usize
    }
}

/// An item: lives behind a pointer only.
#[repr(C)]
pub struct Thin<X: Extra> {
    extra: X,
    key_length: u32,
}

// SAFETY: items are allocated with an alignment of 8; their keys never change.
unsafe impl<X: Extra> Item for Thin<X> {
    #[inline]
    fn key(&self) -> &[u8] {
        Thin::key(self)
    }
}

impl<X: Extra> Thin<X> {
    const DATA: usize = offset_of!(Self, key_length) + size_of::<u32>();

    fn layout(key: usize, tail: usize) -> Layout {
        let size = size_class((Self::DATA + key + tail).max(size_of::<Self>()));
        Layout::from_size_align(size, 8).expect("lengths fit 32 bits")
    }

    fn build(key: &[u8], extra: X, tail: &[u8]) -> NonNull<Self> {
        let layout = Self::layout(key.len(), tail.len());
        // SAFETY: the layout holds the header and, from `DATA` on, both parts.
        unsafe {
            let place = alloc(layout);
            let Some(place) = NonNull::new(place) else { handle_alloc_error(layout) };
            let item = place.cast::<Self>();
            (&raw mut (*item.as_ptr()).extra).write(extra);
            (&raw mut (*item.as_ptr()).key_length).write(key.len() as u32);
            let data = place.as_ptr().add(Self::DATA);
            data.copy_from_nonoverlapping(key.as_ptr(), key.len());
            data.add(key.len()).copy_from_nonoverlapping(tail.as_ptr(), tail.len());
            item
        }
    }

    /// # Safety
    /// `item` must come from `build` and not be used again.
    unsafe fn free(item: NonNull<Self>) {
        // SAFETY: given by the caller.
        unsafe {
            let this = item.as_ref();
            let layout = Self::layout(this.key_length as usize, this.extra.tail_length());
            dealloc(item.as_ptr().cast(), layout);
        }
    }

    /// The key.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &[u8] {
        // SAFETY: the key's bytes lie there.
        unsafe {
            let data = std::ptr::from_ref(self).cast::<u8>().add(Self::DATA);
            std::slice::from_raw_parts(data, self.key_length as usize)
        }
    }

    /// The bytes behind the key.
    #[inline]
    #[must_use]
    pub fn tail(&self) -> &[u8] {
        // SAFETY: the tail's bytes lie there.
        unsafe {
            let data = std::ptr::from_ref(self).cast::<u8>().add(Self::DATA);
            std::slice::from_raw_parts(data.add(self.key_length as usize), self.extra.tail_length())
        }
    }

    /// What the item has beside its key.
    #[inline]
    #[must_use]
    pub fn extra(&self) -> X {
        self.extra
    }
}

impl Thin<Tail> {
    /// Writes another tail over the old one if it fits the allocation as a fresh one would.
    fn overwrite(&mut self, tail: &[u8]) -> bool {
        let key = self.key_length as usize;
        if Self::layout(key, self.extra.0 as usize) != Self::layout(key, tail.len()) {
            return false;
        }
        // SAFETY: the allocation has room for a tail of this length, by the layouts' equality.
        unsafe {
            let data = std::ptr::from_mut(self).cast::<u8>().add(Self::DATA + key);
            data.copy_from_nonoverlapping(tail.as_ptr(), tail.len());
        }
        self.extra = Tail(tail.len() as u32);
        true
    }
}

/// Keyed items. See the module's text.
pub struct Bag<X: Extra> {
    table: Table<Thin<X>>,
}

impl<X: Extra> Default for Bag<X> {
    fn default() -> Self {
        Self { table: Table::new() }
    }
}

impl<X: Extra> Bag<X> {
    /// Buckets and overflow buckets of the table, for statistics.
    #[must_use]
    pub fn bucket_counts(&self) -> (usize, usize) {
        self.table.bucket_counts()
    }
}

impl<X: Extra> Drop for Bag<X> {
    fn drop(&mut self) {
        // SAFETY: the items are ours and forgotten by the table as they are freed.
        self.table.drain(|item| unsafe { Thin::free(item) });
    }
}

impl<X: Extra> Clone for Bag<X> {
    fn clone(&self) -> Self {
        let mut copy = Self::default();
        for item in self.iter() {
            copy.add(item.key(), item.extra(), item.tail());
        }
        copy
    }
}

impl<X: Extra> Bag<X> {
    /// Asks the processor to fetch the bucket of a key's hash.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    /// Asks the processor to fetch the item of a key's hash; the bucket should be there already.
    #[inline]
    pub fn prefetch_item(&self, hash: u64) {
        self.table.prefetch_item(hash);
    }

    /// Items.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The item with a key.
    #[inline]
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Thin<X>> {
        // SAFETY: a live item, borrowed with the bag.
        self.table.find(table::hash(key), key).map(|item| unsafe { &*item.as_ptr() })
    }

    /// An item whose key has this hash, and that is the one wanted.
    #[must_use]
    pub fn find_by(&self, hash: u64, is_wanted: impl Fn(&Thin<X>) -> bool) -> Option<&Thin<X>> {
        let is_wanted = |item: &Thin<X>| is_wanted(item) && table::hash(item.key()) == hash;
        // SAFETY: a live item, borrowed with the bag.
        self.table.find_by(hash, is_wanted).map(|item| unsafe { &*item.as_ptr() })
    }

    fn add(&mut self, key: &[u8], extra: X, tail: &[u8]) -> NonNull<Thin<X>> {
        let item = Thin::build(key, extra, tail);
        self.table.insert(table::hash(key), item);
        item
    }

    /// Removes the item with a key. Answers whether it was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        match self.table.remove(table::hash(key), key) {
            Some(item) => {
                // SAFETY: the item has left the table.
                unsafe { Thin::free(item) };
                true
            }
            None => false,
        }
    }

    /// All items, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Thin<X>> {
        // SAFETY: live items, borrowed with the bag.
        self.table.iter().map(|item| unsafe { &*item.as_ptr() })
    }

    /// Visits the items of a bucket and answers the next cursor; see [`Table::scan`].
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(&Thin<X>)) -> u64 {
        // SAFETY: live items.
        self.table.scan(cursor, |item| visit(unsafe { item.as_ref() }))
    }

    /// Calls `visit` with the items of a bucket; answers whether there is such a bucket. See [`Table::visit_bucket`].
    pub fn visit_bucket(&self, index: usize, mut visit: impl FnMut(&Thin<X>)) -> bool {
        // SAFETY: live items.
        self.table.visit_bucket(index, |item| visit(unsafe { item.as_ref() }))
    }

    /// A random item.
    #[must_use]
    pub fn random(&self) -> Option<&Thin<X>> {
        // SAFETY: a live item, borrowed with the bag.
        self.table.random().map(|item| unsafe { &*item.as_ptr() })
    }

    /// Calls `visit` with `wanted` different items drawn at random, or all when there are no more.
    pub fn with_some(&self, wanted: usize, mut visit: impl FnMut(&Thin<X>)) {
        if choice::are_few(wanted, self.len()) {
            for item in self.table.some(wanted) {
                // SAFETY: a live item, borrowed with the bag.
                visit(unsafe { item.as_ref() });
            }
        } else {
            choice::some_of(self.iter(), self.len(), wanted, visit);
        }
    }

    /// Bytes of the table and the items, of which `samples` are looked at.
    #[must_use]
    pub fn allocated_bytes(&self, samples: usize) -> usize {
        let sizes =
            self.iter().map(|item| Thin::<X>::layout(item.key().len(), item.tail().len()).size());
        choice::sum_by_samples(sizes, self.len(), samples) + self.table.allocated_bytes()
    }
}

impl Bag<()> {
    /// Adds a key. Answers whether it is new.
    pub fn insert(&mut self, key: &[u8]) -> bool {
        let hash = table::hash(key);
        if self.table.find(hash, key).is_some() {
            return false;
        }
        self.table.insert(hash, Thin::build(key, (), b""));
        true
    }
}

impl Bag<Tail> {
    /// Sets a key's tail. Answers whether the key is new.
    pub fn set(&mut self, key: &[u8], tail: &[u8]) -> bool {
        let hash = table::hash(key);
        match self.table.find(hash, key) {
            Some(mut item) => {
                // SAFETY: a live item of ours; replaced in the table before it is freed.
                unsafe {
                    if !item.as_mut().overwrite(tail) {
                        let new = Thin::build(key, Tail(tail.len() as u32), tail);
                        self.table.readdress(hash, item, new);
                        Thin::free(item);
                    }
                }
                false
            }
            None => {
                self.table.insert(hash, Thin::build(key, Tail(tail.len() as u32), tail));
                true
            }
        }
    }
}

impl Bag<f64> {
    /// Adds a key that is not there, with its number, and answers the item's address, which holds until the key
    /// is removed.
    pub fn insert_at(&mut self, key: &[u8], number: f64) -> NonNull<Thin<f64>> {
        self.add(key, number, b"")
    }

    /// The address of the item with a key.
    #[inline]
    #[must_use]
    pub fn address(&self, key: &[u8]) -> Option<NonNull<Thin<f64>>> {
        self.table.find(table::hash(key), key)
    }

    /// Changes an item's number.
    ///
    /// # Safety
    /// `item` must be an item of this bag.
    pub unsafe fn set_number(&mut self, mut item: NonNull<Thin<f64>>, number: f64) {
        // SAFETY: given by the caller, and we hold the bag mutably.
        unsafe { item.as_mut() }.extra = number;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers_are_small() {
        assert_eq!(Thin::<()>::DATA, 4);
        assert_eq!(Thin::<Tail>::DATA, 8);
        assert_eq!(Thin::<f64>::DATA, 12);
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(steps in prop::collection::vec(
            (any::<bool>(), 0_u8..30, prop::collection::vec(any::<u8>(), 0..100)), 1..300)) {
            let mut bag = Bag::<Tail>::default();
            let mut model = BTreeMap::new();
            for (adds, key, tail) in steps {
                if adds {
                    prop_assert_eq!(bag.set(&[key], &tail), model.insert(vec![key], tail).is_none());
                } else {
                    prop_assert_eq!(bag.remove(&[key]), model.remove(&[key][..]).is_some());
                }
            }
            let copy = bag.clone();
            drop(bag);
            let all: BTreeMap<_, _> =
                copy.iter().map(|item| (item.key().to_vec(), item.tail().to_vec())).collect();
            prop_assert_eq!(all, model);
        }
    }
}
