//! The hash table behind the keyspace and every big hash, set and sorted set.
//!
//! **Shape.** Linear hashing over buckets of one cache line. A bucket is eight words; a word holds the address of
//! an item in its low 48 bits and 16 bits of the item's hash above. The eighth word may instead lead to an overflow
//! bucket (its lowest bit tells). The table grows and shrinks by one bucket at a time: no pause, no second table,
//! and about the same bytes per item at every size.
//!
//! ```text
//!   directory ─▶ segment of up to 1024 buckets ─▶ bucket │ tag·item × 7 │ tag·item, or address|1 ─▶ bucket │ …
//! ```
//!
//! **Which bucket.** With `2^level <= buckets < 2^(level+1)`, an item lives in the bucket named by the low
//! `level + 1` bits of its hash if that bucket exists, else by the low `level` bits. Splitting bucket `p` moves the
//! items whose next hash bit is set to the new bucket `p + 2^level`.
//!
//! **Tags.** A bucket named by `bits` hash bits keeps the 16 hash bits from bit `bits / 8 * 8` on. So nine bits or
//! more tell items of a bucket apart, and the bit that a split asks for is in the tag: only when `bits` reaches a
//! multiple of eight must hashes be computed again.
//!
//! **Scanning** follows the reverse-binary order of Redis's cursor: an item present throughout a full scan is
//! returned at least once, whatever grows or shrinks meanwhile.
//!
//! The table stores addresses and never frees an item; its owner does. All `unsafe` of the module rests on this
//! invariant: *every non-empty word is either the address of a live item given to [`Table::insert`] and not removed
//! since, or (lowest bit set, eighth word only) the address of an overflow bucket that this table allocated.*

mod draw;
mod growth;
mod visit;

pub use draw::Drawn;
pub use visit::Iter;

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::OnceCell;
use std::marker::PhantomData;
use std::ptr::NonNull;

use rand::Rng;
use siphasher::sip::SipHasher13;

/// Something a table can hold: it lies at a fixed address and has a key.
///
/// # Safety
/// Items must be aligned to 8 bytes, lie below 2^48, and `key` must answer the same bytes for as long as the item
/// is in a table.
pub unsafe trait Item {
    /// The bytes the item is found by.
    fn key(&self) -> &[u8];
}

const SLOTS: usize = 8;
const LAST: usize = SLOTS - 1;
const SEGMENT_BUCKETS: usize = 1024;
const SEGMENT_SHIFT: u32 = SEGMENT_BUCKETS.trailing_zeros();
/// Items per bucket, on average, above which the table grows.
const GROW_AT: usize = 6;
/// Items per bucket, on average, below which the table shrinks.
const SHRINK_AT: usize = 2;
const ADDRESS: u64 = (1 << 48) - 1;
const CHAIN: u64 = 1;

#[repr(C, align(64))]
struct Bucket {
    words: [u64; SLOTS],
}

const _: () = assert!(size_of::<Bucket>() == 64);

thread_local! {
    static SEED: OnceCell<[u8; 16]> = const { OnceCell::new() };
}

/// The hash of a key: SipHash-1-3 under a random seed of the thread, for keys come from clients.
#[inline]
#[must_use]
pub fn hash(key: &[u8]) -> u64 {
    SEED.with(|seed| SipHasher13::new_with_key(seed.get_or_init(|| rand::rng().random())).hash(key))
}

/// The seed of a thread's hashes.
#[derive(Clone, Copy)]
pub struct Seed([u8; 16]);

/// The seed of this thread.
#[must_use]
pub fn seed() -> Seed {
    SEED.with(|seed| Seed(*seed.get_or_init(|| rand::rng().random())))
}

/// Has this thread hash as the one that `seed` comes from, so that tables that are filled here can be used there. False
/// where something has been hashed here by another seed.
#[must_use]
pub fn adopt_seed(Seed(adopted): Seed) -> bool {
    SEED.with(|seed| *seed.get_or_init(|| adopted) == adopted)
}

/// A set of items found by key. See the module's text.
pub struct Table<T: Item> {
    /// All segments but the first hold `SEGMENT_BUCKETS`; the first grows by quarters until it does too.
    segments: Vec<NonNull<Bucket>>,
    first_capacity: usize,
    buckets: usize,
    level: u32,
    items: usize,
    overflow: usize,
    _items: PhantomData<NonNull<T>>,
}

impl<T: Item> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Where an item was found: valid until the table changes.
#[derive(Clone, Copy)]
struct Place {
    bucket: NonNull<Bucket>,
    slot: usize,
}

fn allocate(buckets: usize) -> NonNull<Bucket> {
    let layout = Layout::array::<Bucket>(buckets).expect("a segment's size is small");
    // SAFETY: the layout is not empty, for `buckets` is at least one everywhere this is called.
    let place = unsafe { alloc_zeroed(layout) }.cast::<Bucket>();
    NonNull::new(place).unwrap_or_else(|| handle_alloc_error(layout))
}

/// # Safety
/// `place` must come from [`allocate`] with the same count, and hold nothing that is still needed.
unsafe fn release(place: NonNull<Bucket>, buckets: usize) {
    let layout = Layout::array::<Bucket>(buckets).expect("a segment's size is small");
    // SAFETY: given by the caller.
    unsafe { dealloc(place.as_ptr().cast(), layout) }
}

#[inline]
fn tag_of(hash: u64, bits: u32) -> u64 {
    (hash >> (bits / 8 * 8)) << 48
}

#[inline]
fn chain_of(word: u64) -> Option<NonNull<Bucket>> {
    if word & CHAIN == 0 { None } else { NonNull::new((word & ADDRESS & !CHAIN) as *mut Bucket) }
}

impl<T: Item> Table<T> {
    /// An empty table. It allocates with the first item.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            segments: Vec::new(),
            first_capacity: 0,
            buckets: 0,
            level: 0,
            items: 0,
            overflow: 0,
            _items: PhantomData,
        }
    }

    /// How many items the table holds.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.items
    }

    /// Whether the table holds nothing.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// Buckets in the directory and overflow buckets, for statistics.
    #[must_use]
    pub fn bucket_counts(&self) -> (usize, usize) {
        (self.buckets, self.overflow)
    }

    /// Bytes the table itself has allocated.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        let first = self.first_capacity;
        let rest = self.segments.len().saturating_sub(1) * SEGMENT_BUCKETS;
        (first + rest + self.overflow) * size_of::<Bucket>()
            + self.segments.capacity() * size_of::<usize>()
    }

    #[inline]
    fn bucket(&self, index: usize) -> NonNull<Bucket> {
        debug_assert!(index < self.buckets);
        let segment = self.segments[index >> SEGMENT_SHIFT];
        // SAFETY: `index < buckets`, and the segments hold at least `buckets` buckets.
        unsafe { segment.add(index & (SEGMENT_BUCKETS - 1)) }
    }

    /// The bucket of a hash, and how many hash bits name it.
    #[inline]
    fn home(&self, hash: u64) -> (usize, u32) {
        let low = (1_usize << self.level) - 1;
        let wide = hash as usize & (low << 1 | 1);
        let index = if wide < self.buckets { wide } else { hash as usize & low };
        (index, self.bits_of(index))
    }

    #[inline]
    fn bits_of(&self, index: usize) -> u32 {
        let half = 1_usize << self.level;
        if index >= half || index < self.buckets - half { self.level + 1 } else { self.level }
    }

    /// Asks the processor to fetch the bucket of a hash.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        if self.buckets > 0 {
            let (index, _) = self.home(hash);
            prefetch(self.bucket(index).as_ptr().cast());
        }
    }

    /// Asks the processor to fetch the first item whose tag fits the hash; the bucket should be there already.
    #[inline]
    pub fn prefetch_item(&self, hash: u64) {
        if let Some(item) = self.guess(hash) {
            let address = item.as_ptr().cast::<u8>();
            prefetch(address);
            // Keys and small values reach into the next line.
            prefetch(address.wrapping_add(size_of::<Bucket>()));
        }
    }

    /// The first item in the bucket of a hash whose tag fits it. Its key was not looked at.
    #[inline]
    #[must_use]
    pub fn guess(&self, hash: u64) -> Option<NonNull<T>> {
        if self.buckets == 0 {
            return None;
        }
        let (index, bits) = self.home(hash);
        let tag = tag_of(hash, bits);
        // SAFETY: `index` names a bucket.
        let words = unsafe { &self.bucket(index).as_ref().words };
        let word = words
            .iter()
            .find(|&&word| word & !ADDRESS == tag && word & ADDRESS != 0 && word & CHAIN == 0)?;
        NonNull::new((word & ADDRESS) as *mut T)
    }

    #[inline]
    fn place(&self, hash: u64, key: &[u8]) -> Option<Place> {
        self.place_by(hash, |item| item.key() == key)
    }

    /// Where an item with this hash lies that is the one wanted.
    #[inline]
    fn place_by(&self, hash: u64, is_wanted: impl Fn(&T) -> bool) -> Option<Place> {
        if self.items == 0 {
            return None;
        }
        let (index, bits) = self.home(hash);
        let tag = tag_of(hash, bits);
        let mut bucket = self.bucket(index);
        loop {
            // SAFETY: `bucket` is in a segment or an overflow bucket of this table.
            let words = unsafe { &bucket.as_ref().words };
            for (slot, &word) in words.iter().enumerate() {
                if word & !ADDRESS == tag && word & ADDRESS != 0 && word & CHAIN == 0 {
                    // SAFETY: a non-empty word without the chain bit is a live item.
                    let item = unsafe { &*((word & ADDRESS) as *const T) };
                    if is_wanted(item) {
                        return Some(Place { bucket, slot });
                    }
                }
            }
            bucket = chain_of(words[LAST])?;
        }
    }

    #[inline]
    fn item_at(place: Place) -> NonNull<T> {
        // SAFETY: a `Place` names a word of a live bucket, which holds an item.
        let word = unsafe { place.bucket.as_ref().words[place.slot] };
        NonNull::new((word & ADDRESS) as *mut T).expect("a place holds an item")
    }

    /// The item with this key.
    #[inline]
    #[must_use]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<NonNull<T>> {
        self.place(hash, key).map(Self::item_at)
    }

    /// An item whose key may have this hash, of which only a part is compared, and that is the one wanted.
    #[must_use]
    pub fn find_by(&self, hash: u64, is_wanted: impl Fn(&T) -> bool) -> Option<NonNull<T>> {
        self.place_by(hash, is_wanted).map(Self::item_at)
    }

    /// Changes the address of an item that has moved, found by its old address. Answers whether it was there.
    pub fn readdress(&mut self, hash: u64, old: NonNull<T>, new: NonNull<T>) -> bool {
        let Some(mut place) = self.place_of(hash, old) else { return false };
        // SAFETY: the place is live and we hold the table mutably.
        let word = unsafe { &mut place.bucket.as_mut().words[place.slot] };
        *word = *word & !ADDRESS | new.as_ptr() as u64;
        true
    }

    /// Adds an item whose key is not in the table.
    pub fn insert(&mut self, hash: u64, item: NonNull<T>) {
        debug_assert!(item.as_ptr() as u64 & !ADDRESS == 0 && item.as_ptr() as u64 & 7 == 0);
        if self.buckets == 0 {
            self.segments.push(allocate(1));
            self.first_capacity = 1;
            self.buckets = 1;
        }
        let (index, bits) = self.home(hash);
        self.put(index, tag_of(hash, bits) | item.as_ptr() as u64);
        self.items += 1;
        if self.items > self.buckets * GROW_AT {
            self.grow();
        }
    }

    /// Stores a word in the chain of bucket `index`, lengthening it when full.
    fn put(&mut self, index: usize, word: u64) {
        let mut bucket = self.bucket(index);
        loop {
            // SAFETY: a live bucket of this table, held mutably.
            let words = unsafe { &mut bucket.as_mut().words };
            if let Some(free) = words.iter_mut().find(|word| **word == 0) {
                *free = word;
                return;
            }
            if let Some(next) = chain_of(words[LAST]) {
                bucket = next;
                continue;
            }
            let mut fresh = allocate(1);
            self.overflow += 1;
            // SAFETY: freshly allocated and zeroed.
            unsafe { fresh.as_mut().words[0] = words[LAST] };
            words[LAST] = fresh.as_ptr() as u64 | CHAIN;
            bucket = fresh;
        }
    }

    /// Takes the item with this key out of the table.
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<NonNull<T>> {
        let place = self.place(hash, key)?;
        let item = Self::item_at(place);
        self.vacate(hash, place);
        Some(item)
    }

    /// Takes an item out that is known by its address: its key is not read. Answers whether it was there.
    pub fn remove_item(&mut self, hash: u64, item: NonNull<T>) -> bool {
        let found = self.place_of(hash, item);
        if let Some(place) = found {
            self.vacate(hash, place);
        }
        found.is_some()
    }

    fn vacate(&mut self, hash: u64, mut place: Place) {
        // SAFETY: the place is live and we hold the table mutably.
        unsafe { place.bucket.as_mut().words[place.slot] = 0 };
        self.items -= 1;
        let (index, _) = self.home(hash);
        self.tidy(index);
        if self.buckets > 1 && self.items < self.buckets * SHRINK_AT {
            self.shrink();
        }
    }

    /// Where an item lies, found by its address.
    fn place_of(&self, hash: u64, item: NonNull<T>) -> Option<Place> {
        if self.items == 0 {
            return None;
        }
        let (index, _) = self.home(hash);
        let mut bucket = self.bucket(index);
        loop {
            // SAFETY: a live bucket of this table.
            let words = unsafe { &bucket.as_ref().words };
            let address = item.as_ptr() as u64;
            if let Some(slot) = words.iter().position(|word| *word & ADDRESS == address) {
                return Some(Place { bucket, slot });
            }
            bucket = chain_of(words[LAST])?;
        }
    }

    /// Frees the overflow buckets of a chain that are no longer needed, when there are any.
    fn tidy(&mut self, index: usize) {
        let head = self.bucket(index);
        // SAFETY: a live bucket.
        if chain_of(unsafe { head.as_ref().words[LAST] }).is_none() {
            return;
        }
        let (count, links) = self.chain_shape(index);
        // One link holds 7 items beside its successor; stay lazy by one so that a chain does not flutter.
        if count + 2 <= links * LAST {
            self.rebuild(index, None);
        }
    }

    /// Items in the chain of a bucket, and its overflow buckets.
    fn chain_shape(&self, index: usize) -> (usize, usize) {
        let (mut count, mut links) = (0, 0);
        let mut bucket = self.bucket(index);
        loop {
            // SAFETY: a live bucket of this table.
            let words = unsafe { &bucket.as_ref().words };
            let chain = chain_of(words[LAST]);
            let used = if chain.is_some() { LAST } else { SLOTS };
            count += words[..used].iter().filter(|word| **word != 0).count();
            match chain {
                Some(next) => {
                    links += 1;
                    bucket = next;
                }
                None => return (count, links),
            }
        }
    }

    /// Empties the chain of bucket `index` into `into`, freeing its overflow buckets.
    fn drain_chain(&mut self, index: usize, into: &mut Vec<u64>) {
        let mut bucket = self.bucket(index);
        let mut head = true;
        loop {
            // SAFETY: a live bucket of this table, held mutably.
            let words = std::mem::take(unsafe { &mut bucket.as_mut().words });
            let chain = chain_of(words[LAST]);
            let used = if chain.is_some() { LAST } else { SLOTS };
            into.extend(words[..used].iter().filter(|word| **word != 0));
            if !head {
                self.overflow -= 1;
                // SAFETY: an overflow bucket was allocated alone, and nothing leads to it any more.
                unsafe { release(bucket, 1) };
            }
            head = false;
            match chain {
                Some(next) => bucket = next,
                None => return,
            }
        }
    }

    /// Lays the chain of a bucket anew, with `extra` words added.
    fn rebuild(&mut self, index: usize, extra: Option<&[u64]>) {
        let mut words = Vec::with_capacity(2 * SLOTS);
        self.drain_chain(index, &mut words);
        for word in words.iter().chain(extra.unwrap_or_default()) {
            self.put(index, *word);
        }
    }

    /// # Safety
    /// `word` must hold a live item.
    unsafe fn hash_of_word(word: u64) -> u64 {
        // SAFETY: given by the caller.
        hash(unsafe { &*((word & ADDRESS) as *const T) }.key())
    }

    /// Checks the whole structure: counts, homes and tags. For tests and fuzzers.
    ///
    /// # Panics
    /// When an invariant does not hold.
    pub fn check(&self) {
        let (mut items, mut overflow) = (0, 0);
        for index in 0..self.buckets {
            let (count, links) = self.chain_shape(index);
            items += count;
            overflow += links;
            let mut bucket = self.bucket(index);
            loop {
                // SAFETY: a live bucket of this table.
                let words = unsafe { &bucket.as_ref().words };
                let chain = chain_of(words[LAST]);
                let used = if chain.is_some() { LAST } else { SLOTS };
                for &word in words[..used].iter().filter(|word| **word != 0) {
                    // SAFETY: a live item.
                    let hash = unsafe { Self::hash_of_word(word) };
                    let (home, bits) = self.home(hash);
                    assert_eq!(home, index, "an item lies in another bucket than its home");
                    assert_eq!(word & !ADDRESS, tag_of(hash, bits), "a tag is stale");
                }
                match chain {
                    Some(next) => bucket = next,
                    None => break,
                }
            }
        }
        assert_eq!(items, self.items);
        assert_eq!(overflow, self.overflow);
    }
}

impl<T: Item> Drop for Table<T> {
    fn drop(&mut self) {
        for index in 0..self.buckets {
            // SAFETY: live buckets; each overflow bucket is released once and not reached again.
            unsafe {
                let mut next = chain_of(self.bucket(index).as_ref().words[LAST]);
                while let Some(link) = next {
                    next = chain_of(link.as_ref().words[LAST]);
                    release(link, 1);
                }
            }
        }
        for (place, segment) in self.segments.iter().enumerate() {
            let capacity = if place == 0 { self.first_capacity } else { SEGMENT_BUCKETS };
            // SAFETY: segments are allocated with these capacities.
            unsafe { release(*segment, capacity) };
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn prefetch(address: *const u8) {
    // SAFETY: a prefetch is a hint; it reads nothing and accepts any address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn prefetch(_address: *const u8) {}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    pub(super) struct Word {
        key: [u8; 8],
    }

    // SAFETY: boxed, so aligned and at a fixed address; the key never changes.
    unsafe impl Item for Word {
        fn key(&self) -> &[u8] {
            &self.key
        }
    }

    fn boxed(number: u64) -> NonNull<Word> {
        // Aligned to 8 as the table asks, which `[u8; 8]` alone would not be.
        let place = Box::leak(Box::new(number)) as *mut u64;
        NonNull::new(place.cast()).expect("not null")
    }

    fn free(item: NonNull<Word>) {
        // SAFETY: made by `boxed`.
        drop(unsafe { Box::from_raw(item.as_ptr().cast::<u64>()) });
    }

    pub(super) fn number(item: NonNull<Word>) -> u64 {
        // SAFETY: live.
        u64::from_ne_bytes(unsafe { item.as_ref() }.key)
    }

    fn key(number: u64) -> [u8; 8] {
        number.to_ne_bytes()
    }

    pub(super) fn filled(count: u64) -> Table<Word> {
        let mut table = Table::new();
        for n in 0..count {
            table.insert(hash(&key(n)), boxed(n));
        }
        table
    }

    pub(super) fn emptied(mut table: Table<Word>) {
        table.drain(free);
    }

    #[test]
    fn grows_past_tag_windows_and_shrinks_back() {
        let count = 300_000;
        let mut table = filled(count);
        table.check();
        for n in 0..count {
            assert_eq!(table.find(hash(&key(n)), &key(n)).map(number), Some(n));
        }
        assert!(table.find(hash(&key(count)), &key(count)).is_none());
        let bytes = table.allocated_bytes() as f64 / count as f64;
        assert!(bytes < 15.0, "{bytes} bytes per item");
        for n in 0..count - 10 {
            let (hash, key) = (hash(&key(n)), key(n));
            if n % 2 == 0 {
                free(table.remove(hash, &key).expect("there"));
            } else {
                let item = table.find(hash, &key).expect("there");
                assert!(table.remove_item(hash, item) && !table.remove_item(hash, item));
                free(item);
            }
        }
        table.check();
        assert_eq!(table.len(), 10);
        assert!(table.allocated_bytes() < 4096);
        emptied(table);
    }

    #[test]
    fn a_scan_returns_what_stays_while_the_table_grows_and_shrinks() {
        let mut table = filled(1000);
        let mut seen = HashSet::new();
        let (mut cursor, mut step) = (0, 0_u64);
        loop {
            cursor = table.scan(cursor, |item| {
                seen.insert(number(item));
            });
            if cursor == 0 {
                break;
            }
            // Swell by many for a while, then take them all out again.
            step += 1;
            for n in 0..50 {
                let extra = 10_000 + (step % 40) * 50 + n;
                if step / 40 % 2 == 0 {
                    if table.find(hash(&key(extra)), &key(extra)).is_none() {
                        table.insert(hash(&key(extra)), boxed(extra));
                    }
                } else if let Some(gone) = table.remove(hash(&key(extra)), &key(extra)) {
                    free(gone);
                }
            }
        }
        assert!((0..1000).all(|n| seen.contains(&n)));
        emptied(table);
    }

    proptest! {
        #[test]
        fn behaves_like_a_hash_map(steps in prop::collection::vec((0_u8..4, 0_u64..400), 1..2000)) {
            let mut table = Table::new();
            let mut model = HashMap::new();
            for (what, n) in steps {
                let at = hash(&key(n));
                match what {
                    0 | 1 => {
                        let fresh = boxed(n);
                        match table.find(at, &key(n)) {
                            Some(old) => {
                                prop_assert!(table.readdress(at, old, fresh));
                                prop_assert_eq!(model.insert(n, fresh), Some(old));
                                free(old);
                            }
                            None => {
                                table.insert(at, fresh);
                                prop_assert_eq!(model.insert(n, fresh), None);
                            }
                        }
                    }
                    2 => {
                        let gone = table.remove(at, &key(n));
                        prop_assert_eq!(gone, model.remove(&n));
                        gone.into_iter().for_each(free);
                    }
                    _ => prop_assert_eq!(table.find(at, &key(n)), model.get(&n).copied()),
                }
                prop_assert_eq!(table.len(), model.len());
            }
            table.check();
            let all: HashSet<_> = table.iter().collect();
            prop_assert_eq!(all.len(), model.len());
            emptied(table);
        }
    }
}
