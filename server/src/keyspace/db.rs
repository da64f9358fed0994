//! One database: the map from keys to entries, and the index of those that have a deadline.
//!
//! Nobody else holds an entry's address across calls. Every change of an entry goes through [`Db::change`], the
//! choke point that shows old values to a snapshot before they are gone.
//!
//! The `unsafe` here dereferences addresses that a table of this database gave; the invariant is that *both tables
//! hold only live entries built by [`Entry::build`] and owned by this database, an entry with a deadline is in both
//! and one without only in the first, and an entry is freed only after it has left both.* The same holds for the index of
//! hashes with fields that have deadlines and the entries that say they are in it.

mod aside;
mod fields;
mod held;
mod names;
mod slots;
mod value;
mod visit;
mod write;

use std::collections::BTreeSet;
use std::ptr::NonNull;
use std::rc::Rc;

use super::detached::{Detached, DetachedTable};
use super::entries::Entries;
use super::entry::{Entry, Kind, Payload, Str};
use super::shared::{IncidentKind, Shared, is_large};
use crate::cluster::SlotSet;
use crate::encoding::table::{Drawn, Table};
use crate::types::{Collection, Object};

pub use held::{Held, Place, Vacant};
pub use value::{Taken, Value};

/// What becomes of a key's deadline when its value is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// The key lives for ever.
    Clear,
    /// It stays as it was.
    Keep,
    /// Milliseconds since 1970.
    At(i64),
}

/// The key holds a value of another type than the command works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongType;

/// A database.
pub struct Db {
    index: usize,
    home: usize,
    table: Entries,
    expires: Table<Entry>,
    /// Hashes with fields that have deadlines, and some that had.
    timed: Table<Entry>,
    /// Keys whose streams know names of entries, and some that did.
    named: BTreeSet<Box<[u8]>>,
    /// The key behind which the forgetting of names goes on.
    names_cursor: Box<[u8]>,
    shared: Rc<Shared>,
    /// Slots whose keys lie aside: see `aside`.
    aside: Option<Box<SlotSet>>,
    /// Where the active expiry goes on.
    pub(super) expire_cursor: u64,
    /// Where the active expiry of fields goes on.
    pub(super) fields_cursor: u64,
    /// A running estimate of the time to live of volatile keys, in milliseconds.
    pub(super) average_ttl_ms: i64,
}

impl Db {
    /// An empty database with the number `index`.
    #[must_use]
    pub fn new(index: usize, shared: Rc<Shared>) -> Self {
        Self {
            index,
            home: index,
            table: Entries::new(shared.by_slot.get()),
            expires: Table::new(),
            timed: Table::new(),
            named: BTreeSet::new(),
            names_cursor: Box::default(),
            shared,
            aside: None,
            expire_cursor: 0,
            fields_cursor: 0,
            average_ttl_ms: 0,
        }
    }

    /// The database's number. It stays where it is when contents are exchanged.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// The number that these contents had when the epoch began. It moves with them.
    #[must_use]
    pub fn home(&self) -> usize {
        self.home
    }

    pub(super) fn set_home(&mut self, home: usize) {
        self.home = home;
    }

    /// The wall clock of this turn, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.shared.now_ms.get()
    }

    /// Exchanges contents with another database.
    pub fn swap(&mut self, other: &mut Self) {
        std::mem::swap(self, other);
        std::mem::swap(&mut self.index, &mut other.index);
    }

    /// Keys in the database, those past their deadline but not yet removed included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Keys that have a deadline.
    #[must_use]
    pub fn volatile_len(&self) -> usize {
        self.expires.len()
    }

    /// The running estimate of the volatile keys' time to live, in milliseconds.
    #[must_use]
    pub fn average_ttl_ms(&self) -> i64 {
        self.average_ttl_ms
    }

    /// Bytes that the two tables take, without the entries.
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        self.tables_bytes().iter().sum()
    }

    /// Bytes that the main table and the index of deadlines take, without the entries.
    #[must_use]
    pub fn tables_bytes(&self) -> [usize; 2] {
        [self.table.allocated_bytes(), self.expires.allocated_bytes()]
    }

    /// Buckets of the main table and of the index of deadlines.
    #[must_use]
    pub fn bucket_counts(&self) -> [(usize, usize); 2] {
        [self.table.bucket_counts(), self.expires.bucket_counts()]
    }

    /// The hash by which a key is found here.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.table.hash(key)
    }

    /// Asks the processor to fetch the bucket of a key's hash.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    /// Asks the processor to fetch the entry of a key's hash, once the bucket has had time to arrive.
    #[inline]
    pub fn prefetch_entry(&self, hash: u64) {
        self.table.prefetch_item(hash);
    }

    /// An entry whose tag fits the hash of a key: most likely that key's, but any other may be meant.
    #[inline]
    #[must_use]
    pub fn guess(&self, hash: u64) -> Option<&Entry> {
        // SAFETY: a live entry of this database.
        self.table.guess(hash).map(|found| unsafe { &*found.as_ptr() })
    }

    #[inline]
    fn is_expired(&self, entry: &Entry) -> bool {
        entry.deadline().is_some_and(|deadline| {
            deadline <= self.shared.now_ms.get() && !self.shared.ignore_expiry.get()
        })
    }

    /// Finds a live key; one past its deadline is removed on the way.
    #[inline]
    fn find_live(&mut self, hash: u64, key: &[u8]) -> Option<NonNull<Entry>> {
        let found = self.table.find(hash, key)?;
        // SAFETY: a live entry of this database.
        if unsafe { found.as_ref() }.minds_time() {
            return self.still_live(hash, key, found);
        }
        Some(found)
    }

    /// The entry, if it is not past its deadline; fields that are past theirs are removed, or hidden.
    fn still_live(
        &mut self,
        hash: u64,
        key: &[u8],
        found: NonNull<Entry>,
    ) -> Option<NonNull<Entry>> {
        // SAFETY: a live entry of this database.
        let entry = unsafe { found.as_ref() };
        if self.is_expired(entry) {
            if !self.shared.keep_expired.get() {
                self.expire_now(hash, key);
            }
            return None;
        }
        if entry.is_in_fields_index() {
            return self.look_at_fields(hash, found);
        }
        Some(found)
    }

    fn expire_now(&mut self, hash: u64, key: &[u8]) {
        self.shared.note(IncidentKind::Expired, self.index, key);
        self.shared.expired_keys.set(self.shared.expired_keys.get() + 1);
        self.remove_hashed(hash, key);
    }

    /// Removes `key` as past its deadline, and notes it.
    pub fn expire_key(&mut self, key: &[u8]) {
        self.expire_now(self.table.hash(key), key);
    }

    /// Looks a key up to read it: counts the hit or miss and touches the eviction data.
    #[inline]
    pub fn read(&mut self, key: &[u8]) -> Option<&Entry> {
        let hash = self.table.hash(key);
        let Some(mut found) = self.find_live(hash, key) else {
            self.shared.misses.set(self.shared.misses.get() + 1);
            if self.shared.watch_misses.get() {
                self.shared.note(IncidentKind::Missed, self.index, key);
            }
            return None;
        };
        self.shared.hits.set(self.shared.hits.get() + 1);
        // SAFETY: a live entry of this database, held mutably through `self`.
        let entry = unsafe { found.as_mut() };
        self.shared.touch(entry);
        Some(entry)
    }

    /// Looks a key up to say something about it: counts the hit or miss, and leaves the eviction data alone.
    pub fn inspect(&mut self, key: &[u8]) -> Option<&Entry> {
        let Some(found) = self.find_live(self.table.hash(key), key) else {
            self.shared.misses.set(self.shared.misses.get() + 1);
            if self.shared.watch_misses.get() {
                self.shared.note(IncidentKind::Missed, self.index, key);
            }
            return None;
        };
        self.shared.hits.set(self.shared.hits.get() + 1);
        // SAFETY: a live entry of this database.
        Some(unsafe { &*found.as_ptr() })
    }

    /// Looks a key up without leaving a trace, but for removing it when it is past its deadline.
    pub fn peek(&mut self, key: &[u8]) -> Option<&Entry> {
        // SAFETY: a live entry of this database.
        self.find_live(self.table.hash(key), key).map(|found| unsafe { &*found.as_ptr() })
    }

    /// Looks a key up without leaving any trace; a key past its deadline is not seen.
    #[must_use]
    pub fn look(&self, key: &[u8]) -> Option<&Entry> {
        let found = self.table.find(self.table.hash(key), key)?;
        // SAFETY: a live entry of this database.
        let entry = unsafe { &*found.as_ptr() };
        self.hide_fields(entry);
        (!self.is_expired(entry)).then_some(entry)
    }

    /// Looks a key up without leaving any trace, past its deadline or not.
    #[must_use]
    pub fn look_any(&self, key: &[u8]) -> Option<&Entry> {
        // SAFETY: a live entry of this database.
        self.table.find(self.table.hash(key), key).map(|found| unsafe { &*found.as_ptr() })
    }

    /// Whether the key is there, without counting a hit.
    pub fn contains(&mut self, key: &[u8]) -> bool {
        self.find_live(self.table.hash(key), key).is_some()
    }

    /// The choke point: every change or removal of an entry passes here first.
    #[inline]
    fn change(&self, mut entry: NonNull<Entry>) {
        let epoch = self.shared.epoch.get();
        // SAFETY: a live entry of this database.
        let entry = unsafe { entry.as_mut() };
        if entry.epoch() != epoch {
            if let Some(witness) = &*self.shared.witness.borrow() {
                witness.before_change(self.home, entry);
            }
            entry.set_epoch(epoch);
        }
        if self.shared.change_is_use.get() {
            entry.set_lru(self.shared.lru_clock.get());
        }
    }

    /// Looks a key up to change it in place.
    #[inline]
    pub fn write(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let hash = self.table.hash(key);
        let mut found = self.find_to_change(hash, key)?;
        // SAFETY: a live entry of this database, held mutably through `self`.
        let entry = unsafe { found.as_mut() };
        self.shared.touch(entry);
        Some(entry)
    }

    /// As [`Db::find_live`], for an entry that is then changed.
    #[inline]
    fn find_to_change(&mut self, hash: u64, key: &[u8]) -> Option<NonNull<Entry>> {
        let found = self.find_live(hash, key)?;
        self.change(found);
        // SAFETY: a live entry of this database.
        if unsafe { found.as_ref() }.is_in_fields_index() {
            return self.take_due_fields(hash, found, usize::MAX);
        }
        Some(found)
    }

    /// The collection at `key`, to read.
    ///
    /// # Errors
    /// When the key holds something else.
    pub fn read_as<C: Collection>(&mut self, key: &[u8]) -> Result<Option<&C>, WrongType> {
        match self.read(key) {
            None => Ok(None),
            Some(entry) => entry.object().and_then(C::of).map(Some).ok_or(WrongType),
        }
    }

    /// The collection at `key`, to read without a trace.
    ///
    /// # Errors
    /// When the key holds something else.
    pub fn peek_as<C: Collection>(&mut self, key: &[u8]) -> Result<Option<&C>, WrongType> {
        match self.peek(key) {
            None => Ok(None),
            Some(entry) => entry.object().and_then(C::of).map(Some).ok_or(WrongType),
        }
    }

    /// The collection at `key`, to change. Whoever empties it calls [`Db::remove`].
    ///
    /// # Errors
    /// When the key holds something else.
    pub fn write_as<C: Collection>(&mut self, key: &[u8]) -> Result<Option<&mut C>, WrongType> {
        match self.write(key) {
            None => Ok(None),
            Some(entry) => entry.object_mut().and_then(C::of_mut).map(Some).ok_or(WrongType),
        }
    }

    /// The collection at `key`, to change; an empty one is created when there is none. Whoever leaves it empty
    /// calls [`Db::remove`].
    ///
    /// # Errors
    /// When the key holds something else.
    pub fn write_or_create<C: Collection>(&mut self, key: &[u8]) -> Result<&mut C, WrongType> {
        let hash = self.table.hash(key);
        let mut found = match self.find_to_change(hash, key) {
            Some(found) => found,
            None => {
                // A key past its deadline may still lie here while expiry is held back.
                if self.shared.keep_expired.get() {
                    self.remove_hashed(hash, key);
                }
                self.add(hash, key, Payload::Object(C::create()), None)
            }
        };
        // SAFETY: a live entry of this database, held mutably through `self`.
        let entry = unsafe { found.as_mut() };
        self.shared.touch(entry);
        entry.object_mut().and_then(C::of_mut).ok_or(WrongType)
    }

    /// Whether the key holds a `C`, without a trace.
    ///
    /// # Errors
    /// When the key holds something else.
    pub fn holds<C: Collection>(&mut self, key: &[u8]) -> Result<bool, WrongType> {
        match self.peek(key) {
            None => Ok(false),
            Some(entry) => entry.object().and_then(C::of).map(|_| true).ok_or(WrongType),
        }
    }

    /// The string at `key`, to read.
    ///
    /// # Errors
    /// When the key holds something else.
    #[inline]
    pub fn read_str(&mut self, key: &[u8]) -> Result<Option<Str<'_>>, WrongType> {
        match self.read(key) {
            None => Ok(None),
            Some(entry) => entry.string().map(Some).ok_or(WrongType),
        }
    }

    /// Removes a key. Answers whether a live one was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let hash = self.table.hash(key);
        let found = self.find_live(hash, key);
        if let Some(found) = found {
            self.remove_found(hash, found);
        }
        found.is_some()
    }

    /// Removes a key whose value may be large, leaving the freeing to another thread when it is.
    pub fn unlink(&mut self, key: &[u8]) -> bool {
        let hash = self.table.hash(key);
        let found = self.find_live(hash, key);
        if let Some(found) = found {
            self.unlink_found(hash, found);
        }
        found.is_some()
    }

    fn unlink_found(&mut self, hash: u64, mut found: NonNull<Entry>) {
        if !self.is_wanted_whole(found) {
            self.change(found);
            // SAFETY: a live entry of this database; a collection taken out of it leaves an empty one behind.
            if let Some(object) = unsafe { found.as_mut() }.object_mut()
                && object.parts_to_free() > super::lazyfree::THRESHOLD
            {
                let empty = crate::types::List::create();
                super::lazyfree::free(std::mem::replace(object, empty));
            }
        }
        self.remove_found(hash, found);
    }

    /// Whether somebody still wants to see an entry that is too large to be shown in one go.
    fn is_wanted_whole(&self, found: NonNull<Entry>) -> bool {
        // SAFETY: a live entry of this database.
        let entry = unsafe { found.as_ref() };
        entry.epoch() != self.shared.epoch.get() && self.shared.is_watched() && is_large(entry)
    }

    fn remove_hashed(&mut self, hash: u64, key: &[u8]) -> bool {
        let found = self.table.find(hash, key);
        if let Some(found) = found {
            self.remove_found(hash, found);
        }
        found.is_some()
    }

    fn remove_found(&mut self, hash: u64, found: NonNull<Entry>) {
        let whole = self.is_wanted_whole(found);
        if !whole {
            self.change(found);
        }
        self.table.remove(hash, found);
        // SAFETY: the entry leaves both tables before it is freed or handed over; nothing of it is used after.
        unsafe {
            if found.as_ref().deadline().is_some() {
                self.expires.remove_item(hash, found);
            }
            if found.as_ref().is_in_fields_index() {
                self.timed.remove_item(hash, found);
            }
            match &*self.shared.witness.borrow() {
                Some(witness) if whole => witness.removed(self.home, Detached::new(found)),
                _ => Entry::free(found),
            }
        }
    }

    /// Takes a key's value out of the database, to be put into another: its payload and deadline.
    pub fn take(&mut self, key: &[u8]) -> Option<Taken> {
        let hash = self.table.hash(key);
        let mut found = self.find_live(hash, key)?;
        self.change(found);
        // SAFETY: a live entry of this database; a collection taken out leaves an empty one behind.
        let entry = unsafe { found.as_mut() };
        let deadline = entry.deadline();
        let value = if let Some(object) = entry.object_mut() {
            Value::Object(std::mem::replace(object, crate::types::List::create()))
        } else {
            entry.duplicate()
        };
        self.remove_found(hash, found);
        Some(Taken { value, deadline })
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        if let Some(mut entries) = self.empty() {
            // SAFETY: the entries have left the index of deadlines; the table forgets them as they are freed.
            entries.drain(|entry| unsafe { Entry::free(entry) });
        }
    }

    /// Removes everything, leaving the freeing to another thread.
    pub fn clear_lazily(&mut self) {
        if let Some(entries) = self.empty() {
            super::lazyfree::free_entries(entries);
        }
    }

    /// Takes all entries out. Who still wants to see them gets them; otherwise they are the answer.
    fn empty(&mut self) -> Option<Entries> {
        self.expires = Table::new();
        self.timed = Table::new();
        self.named.clear();
        self.average_ttl_ms = 0;
        self.expire_cursor = 0;
        self.fields_cursor = 0;
        let entries = self.table.take();
        match &*self.shared.witness.borrow() {
            Some(witness) => {
                let back = witness.emptied(self.home, DetachedTable::new(entries))?;
                Some(back.into_entries())
            }
            None => Some(entries),
        }
    }

    /// Checks both tables. For tests.
    ///
    /// # Panics
    /// When an invariant does not hold.
    pub fn check(&self) {
        self.table.check();
        for entry in self.iter() {
            assert!(self.look_any(entry.key()).is_some_and(|found| std::ptr::eq(found, entry)));
        }
        self.expires.check();
        let volatile = self.iter().filter(|entry| entry.deadline().is_some()).count();
        assert_eq!(volatile, self.expires.len());
        self.timed.check();
        let timed = self.iter().filter(|entry| entry.is_in_fields_index());
        assert_eq!(timed.count(), self.timed.len());
        let has_deadlines =
            |entry: &&Entry| entry.object().is_some_and(Object::has_field_deadlines);
        assert!(self.iter().filter(has_deadlines).all(Entry::is_in_fields_index));
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        self.expires = Table::new();
        self.timed = Table::new();
        // SAFETY: as in `clear`.
        self.table.drain(|entry| unsafe { Entry::free(entry) });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::keyspace::shared::Witness;

    fn db() -> Db {
        Db::new(0, Rc::new(Shared::default()))
    }

    fn text(db: &mut Db, key: &[u8]) -> Option<Vec<u8>> {
        match db.read_str(key).expect("a string")? {
            Str::Int(number) => Some(number.to_string().into_bytes()),
            Str::Bytes(bytes) => Some(bytes.to_vec()),
        }
    }

    #[test]
    fn where_a_change_is_the_use_a_look_up_is_none() {
        let mut db = db();
        db.shared.change_is_use.set(true);
        let lru = |db: &Db| db.look(b"k").map(Entry::lru);
        db.shared.lru_clock.set(10);
        db.set_string(b"k", b"v", Deadline::Clear);
        db.shared.lru_clock.set(20);
        assert_eq!(text(&mut db, b"k").as_deref(), Some(&b"v"[..]));
        assert_eq!(lru(&db), Some(10));
        assert!(db.write(b"k").is_some());
        assert_eq!(lru(&db), Some(20));
        db.shared.change_is_use.set(false);
        db.shared.lru_clock.set(30);
        text(&mut db, b"k");
        assert_eq!(lru(&db), Some(30));
    }

    struct Seen(RefCell<Vec<Vec<u8>>>);

    impl Witness for Seen {
        fn before_change(&self, _home: usize, entry: &Entry) {
            if let Some(Str::Bytes(bytes)) = entry.string() {
                self.0.borrow_mut().push(bytes.to_vec());
            }
        }

        fn removed(&self, home: usize, entry: Detached) {
            self.before_change(home, &entry);
        }

        fn emptied(&self, _home: usize, entries: DetachedTable) -> Option<DetachedTable> {
            Some(entries)
        }
    }

    #[test]
    fn a_witness_sees_each_old_value_once() {
        let mut db = db();
        db.set_string(b"a", b"old a", Deadline::Clear);
        db.set_string(b"b", b"old b", Deadline::Clear);
        let seen = Rc::new(Seen(RefCell::default()));
        db.shared.epoch.set(1);
        db.shared.set_witness(Some(Rc::clone(&seen) as Rc<dyn Witness>));
        db.set_string(b"a", b"new a", Deadline::Clear);
        db.set_string(b"a", b"newer a", Deadline::Clear);
        db.set_string(b"c", b"added", Deadline::Clear);
        db.remove(b"c");
        db.remove(b"b");
        assert_eq!(*seen.0.borrow(), [b"old a".to_vec(), b"old b".to_vec()]);
    }

    proptest! {
        #[test]
        fn behaves_like_a_map_with_deadlines(
            by_slot: bool,
            steps in prop::collection::vec((0_u8..9, 0_u8..20, prop::collection::vec(any::<u8>(), 0..400)), 1..300),
        ) {
            let mut db = db();
            db.table = Entries::new(by_slot);
            let mut model: BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)> = BTreeMap::new();
            let mut now = 1000;
            for (what, name, value) in steps {
                let key = vec![b'k', name];
                db.shared.now_ms.set(now);
                model.retain(|_, (_, deadline)| deadline.is_none_or(|deadline| deadline > now));
                match what {
                    0 | 1 => {
                        db.set_string(&key, &value, Deadline::Clear);
                        model.insert(key, (value, None));
                    }
                    2 => {
                        db.set_string(&key, b"12345", Deadline::At(now + 50));
                        model.insert(key, (b"12345".to_vec(), Some(now + 50)));
                    }
                    3 => prop_assert_eq!(db.remove(&key), model.remove(&key).is_some()),
                    4 => {
                        let there = db.set_deadline(&key, Some(now + 20));
                        prop_assert_eq!(there, model.contains_key(&key));
                        model.entry(key).and_modify(|held| held.1 = Some(now + 20));
                    }
                    5 => {
                        db.set_deadline(&key, None);
                        model.entry(key).and_modify(|held| held.1 = None);
                    }
                    6 => {
                        let to = vec![b'k', value.len() as u8 % 20];
                        let there = db.rename(&key, &to);
                        let held = model.remove(&key);
                        prop_assert_eq!(there, held.is_some());
                        if let Some(held) = held {
                            model.insert(to, held);
                        }
                    }
                    7 => {
                        match db.place_to_write(&key) {
                            Place::Held(held) => held.splice(value.len(), 0, b"").expect("a string"),
                            Place::Vacant(vacant) => vacant.splice(&key, value.len(), 0, b""),
                        }
                        let held = model.entry(key.clone()).or_insert_with(|| (Vec::new(), None));
                        held.0.resize(value.len(), 0);
                        let new = text(&mut db, &key);
                        prop_assert_eq!(new.as_ref(), Some(&held.0));
                    }
                    _ => now += 15,
                }
                db.check();
            }
            db.shared.now_ms.set(now);
            model.retain(|_, (_, deadline)| deadline.is_none_or(|deadline| deadline > now));
            for name in 0..20 {
                let key = vec![b'k', name];
                prop_assert_eq!(text(&mut db, &key), model.get(&key).map(|held| held.0.clone()));
                prop_assert_eq!(
                    db.look(&key).and_then(Entry::deadline),
                    model.get(&key).and_then(|held| held.1)
                );
            }
        }
    }
}
