//! Hashes with fields that have deadlines: what a look-up does about fields past theirs, and the index of such hashes.
//!
//! On a primary a look-up removes what is due and notes it, so that replicas and the log hear of it before the command. Where
//! nothing may be removed (on a replica, while writes are paused, or while a snapshot still wants to see a large hash
//! whole) what is due is not seen.
//!
//! The `unsafe` here rests on the invariant of the parent module.

use std::ptr::NonNull;

use super::{Db, Entry, Object};
use crate::keyspace::shared::IncidentKind;
use crate::types::hash::Timed;

/// Fields that a look-up removes at most, unless the hash is then changed.
const REMOVED_BY_READ_MAX: usize = 256;

fn timed_of(entry: &Entry) -> Option<&Timed> {
    match entry.object()? {
        Object::Hash(hash) => hash.timed(),
        _ => None,
    }
}

impl Db {
    /// Hashes with fields that have deadlines, and some that had.
    #[must_use]
    pub fn timed_len(&self) -> usize {
        self.timed.len()
    }

    /// Has fields past their deadline not be seen, where deadlines count.
    pub(super) fn hide_fields(&self, entry: &Entry) {
        if entry.is_in_fields_index()
            && let Some(timed) = timed_of(entry)
        {
            let ignores = self.shared.ignore_expiry.get();
            timed.see_at(if ignores { i64::MIN } else { self.shared.now_ms.get() });
        }
    }

    /// What a look-up does about fields; answers the entry unless it went with its last field.
    #[cold]
    pub(super) fn look_at_fields(
        &mut self,
        hash: u64,
        found: NonNull<Entry>,
    ) -> Option<NonNull<Entry>> {
        // SAFETY: a live entry of this database.
        let entry = unsafe { found.as_ref() };
        self.hide_fields(entry);
        if self.is_wanted_whole(found) {
            return Some(found);
        }
        self.take_due_fields(hash, found, REMOVED_BY_READ_MAX)
    }

    /// Removes up to `most` fields of an entry that are due, where they may be removed; answers the entry unless it went
    /// with its last field.
    pub(super) fn take_due_fields(
        &mut self,
        hash: u64,
        mut found: NonNull<Entry>,
        most: usize,
    ) -> Option<NonNull<Entry>> {
        let now_ms = self.shared.now_ms.get();
        // SAFETY: a live entry of this database.
        let next_due = timed_of(unsafe { found.as_ref() }).and_then(Timed::next_due);
        let is_due = next_due.is_some_and(|next_due| next_due <= now_ms);
        if !is_due || self.shared.ignore_expiry.get() || self.shared.keep_expired.get() {
            return Some(found);
        }
        self.change(found);
        // SAFETY: a live entry of this database, held mutably through `self`.
        let entry = unsafe { found.as_mut() };
        let mut fields = Vec::new();
        let mut emptied = false;
        if let Some(Object::Hash(hash)) = entry.object_mut() {
            hash.make_timed().take_due(now_ms, most, |field| fields.push(field.into()));
            emptied = hash.is_empty();
        }
        self.shared.expired_fields.set(self.shared.expired_fields.get() + fields.len() as u64);
        let what = IncidentKind::FieldsExpired { emptied };
        self.shared.note_fields(what, self.index, entry.key(), fields);
        if emptied {
            self.remove_found(hash, found);
            return None;
        }
        Some(found)
    }

    /// Removes up to `most` fields of a hash that are due, unless a snapshot still wants to see it whole. A hash without
    /// deadlines leaves the index.
    pub fn expire_fields(&mut self, key: &[u8], most: usize) {
        let hash = self.table.hash(key);
        let Some(found) = self.table.find(hash, key) else { return };
        if self.is_wanted_whole(found) {
            return;
        }
        if let Some(mut left) = self.take_due_fields(hash, found, most) {
            // SAFETY: a live entry of this database, held mutably through `self`.
            let entry = unsafe { left.as_mut() };
            if entry.is_in_fields_index()
                && !entry.object().is_some_and(Object::has_field_deadlines)
            {
                entry.set_in_fields_index(false);
                self.timed.remove_item(hash, left);
            }
        }
    }

    /// Enters a key in the index whose hash was given fields with deadlines in place.
    pub fn note_field_deadlines(&mut self, key: &[u8]) {
        let hash = self.table.hash(key);
        let Some(mut found) = self.table.find(hash, key) else { return };
        // SAFETY: a live entry of this database, held mutably through `self`.
        let entry = unsafe { found.as_mut() };
        if !entry.is_in_fields_index() && entry.object().is_some_and(Object::has_field_deadlines) {
            entry.set_in_fields_index(true);
            self.timed.insert(hash, found);
        }
    }

    /// Visits hashes of the index in a bucket, with their nearest deadline, and answers the next cursor.
    pub fn scan_timed(&self, cursor: u64, mut visit: impl FnMut(&Entry, Option<i64>)) -> u64 {
        self.timed.scan(cursor, |entry| {
            // SAFETY: a live entry of this database.
            let entry = unsafe { entry.as_ref() };
            visit(entry, timed_of(entry).and_then(Timed::next_due));
        })
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::keyspace::shared::Incident;
    use crate::keyspace::{Deadline, Shared};
    use crate::types::{Hash, Limits};

    fn db_with(fields: &[(&str, Option<i64>)]) -> Db {
        let mut db = Db::new(0, Rc::new(Shared::default()));
        db.shared.now_ms.set(100);
        let hash = db.write_or_create::<Hash>(b"h").expect("a hash");
        for (field, due) in fields {
            hash.set(field.as_bytes(), b"v", &Limits::default());
            if due.is_some() {
                hash.make_timed().set_deadline(field.as_bytes(), *due);
            }
        }
        db.note_field_deadlines(b"h");
        db.check();
        db
    }

    fn incident(fields: &[&str], emptied: bool) -> Incident {
        Incident {
            what: IncidentKind::FieldsExpired { emptied },
            db: 0,
            key: (*b"h").into(),
            fields: fields.iter().map(|field| field.as_bytes().into()).collect(),
        }
    }

    fn length(db: &mut Db) -> Option<usize> {
        db.read_as::<Hash>(b"h").expect("a hash").map(Hash::len)
    }

    #[test]
    fn a_look_up_removes_what_is_due() {
        let mut db = db_with(&[("a", Some(150)), ("b", Some(200)), ("c", None)]);
        assert_eq!(length(&mut db), Some(3));
        db.shared.now_ms.set(150);
        assert_eq!(length(&mut db), Some(2));
        assert_eq!(db.shared.take_incidents(), [incident(&["a"], false)]);
        db.shared.now_ms.set(500);
        assert!(db.write(b"h").is_some());
        assert_eq!(db.shared.take_incidents(), [incident(&["b"], false)]);
        assert_eq!((db.timed_len(), db.shared.expired_fields.get()), (1, 2));
        db.expire_fields(b"h", 1);
        assert_eq!(db.timed_len(), 0, "there is no deadline any more");
        db.check();
    }

    #[test]
    fn the_key_goes_with_its_last_field() {
        let mut db = db_with(&[("a", Some(150))]);
        db.shared.now_ms.set(151);
        assert!(!db.contains(b"h"));
        assert_eq!(db.shared.take_incidents(), [incident(&["a"], true)]);
        assert_eq!((db.len(), db.timed_len()), (0, 0));
        db.check();
    }

    #[test]
    fn where_nothing_may_be_removed_it_is_hidden() {
        let mut db = db_with(&[("a", Some(150)), ("b", None)]);
        db.shared.now_ms.set(200);
        db.shared.keep_expired.set(true);
        assert_eq!(length(&mut db), Some(1));
        let look = |db: &Db| db.look(b"h").and_then(|entry| timed_of(entry).map(Timed::seen_len));
        assert_eq!(look(&db), Some(1));
        // What a primary says acts on what is there.
        db.shared.ignore_expiry.set(true);
        assert_eq!((length(&mut db), look(&db)), (Some(2), Some(2)));
        assert!(db.shared.take_incidents().is_empty());
    }

    #[test]
    fn the_index_follows_the_key() {
        let mut db = db_with(&[("a", Some(150)), ("b", None)]);
        assert!(db.set_deadline(b"h", Some(900)));
        db.check();
        assert!(db.rename(b"h", b"other"));
        db.check();
        let taken = db.take(b"other").expect("there");
        db.check();
        assert_eq!((db.len(), db.timed_len()), (0, 0));
        db.put(b"h", taken);
        db.check();
        assert_eq!(db.timed_len(), 1);
        db.set_string(b"h", b"text", Deadline::Clear);
        db.check();
        assert_eq!(db.timed_len(), 0);
        let mut db = db_with(&[("a", Some(150))]);
        db.clear();
        db.check();
    }
}
