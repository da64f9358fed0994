//! Streams that know names of entries (see [`Idempotence`](crate::types::stream::Idempotence)), so that the names are
//! forgotten in time though nobody writes to the stream any more.
//!
//! The `unsafe` here rests on the invariant of the parent module.

use std::ops::Bound;
use std::ptr::NonNull;

use super::{Db, Entry, Object};

/// Whether an entry is a stream that knows names.
fn knows_names(entry: &Entry) -> bool {
    entry.object().is_some_and(Object::knows_names)
}

impl Db {
    /// Notes that the stream of a key knows names of entries.
    pub fn note_names(&mut self, key: &[u8]) {
        if !self.named.contains(key) {
            self.named.insert(key.into());
        }
    }

    /// Notes it of an entry that has just come in.
    pub(super) fn note_names_of(&mut self, entry: NonNull<Entry>) {
        // SAFETY: a live entry of this database.
        let entry = unsafe { entry.as_ref() };
        if knows_names(entry) {
            let key: Box<[u8]> = entry.key().into();
            self.note_names(&key);
        }
    }

    /// Has up to `most` of the streams that know names forget those that are too old, from where the last call ended.
    pub(in crate::keyspace) fn forget_old_names(&mut self, most: usize) {
        let from = Bound::Excluded(std::mem::take(&mut self.names_cursor));
        let keys: Vec<_> = self.named.range((from, Bound::Unbounded)).take(most).cloned().collect();
        for key in &keys {
            if !self.forget_names_of(key) {
                self.named.remove(key);
            }
        }
        // The end is where it begins.
        self.names_cursor = keys.into_iter().nth(most - 1).unwrap_or_default();
    }

    /// Has the stream of a key forget names that are too old, unless a snapshot still wants to see it whole. Answers whether
    /// it may know others.
    fn forget_names_of(&mut self, key: &[u8]) -> bool {
        let hash = self.table.hash(key);
        let Some(mut found) = self.table.find(hash, key) else { return false };
        // SAFETY: a live entry of this database.
        if !knows_names(unsafe { found.as_ref() }) {
            return false;
        }
        if self.is_wanted_whole(found) {
            return true;
        }
        let now_ms = u64::try_from(self.shared.now_ms.get()).unwrap_or(0);
        self.change(found);
        // SAFETY: a live entry of this database, held mutably through `self`.
        match unsafe { found.as_mut() }.object_mut() {
            Some(Object::Stream(stream)) => stream.forget_old_names(now_ms),
            _ => false,
        }
    }

    /// Streams that may know names.
    #[must_use]
    pub fn named_len(&self) -> usize {
        self.named.len()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::keyspace::{Deadline, Shared};
    use crate::types::Stream;
    use crate::types::stream::{Memory, StreamId};

    #[test]
    fn names_are_forgotten_though_nobody_writes() {
        let mut db = Db::new(0, Rc::new(Shared::default()));
        let memory = Memory { seconds: 10, most: 5 };
        for number in 0..50_u8 {
            let key = [b'k', number];
            let stream = db.write_or_create::<Stream>(&key).expect("a stream");
            let id = StreamId::new(if number < 25 { 1000 } else { 60_000 }, 1);
            stream.idempotence_or(memory).note(b"p", &[number], id);
            db.note_names(&key);
        }
        db.set_string(&[b'k', 30], b"text", Deadline::Clear);
        assert!(db.rename(&[b'k', 31], b"other"));
        // Those of 31 are found under both keys.
        assert_eq!(db.named_len(), 51);
        db.shared.now_ms.set(20_000);
        (0..8).for_each(|_| db.forget_old_names(8));
        assert_eq!(db.named_len(), 24);
        let known = |db: &mut Db, key: &[u8]| {
            let stream = db.read_as::<Stream>(key).expect("a stream").expect("there");
            stream.idempotence().map_or(0, |known| known.name_count())
        };
        assert_eq!((known(&mut db, &[b'k', 24]), known(&mut db, &[b'k', 25])), (0, 1));
        assert_eq!(known(&mut db, b"other"), 1);
        db.clear();
        assert_eq!(db.named_len(), 0);
    }
}
