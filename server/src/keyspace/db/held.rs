//! A key that was looked up once, to be read and then changed without looking again.
//!
//! The `unsafe` here rests on the invariant of the parent module, and on this one: *a [`Held`] borrows its database
//! mutably, so from the look-up to its last use nothing else can move or free the entry; each method that may do so
//! ends it.*

use std::ptr::NonNull;

use redstart_common::number::parse_i64;

use super::{Collection, Db, Deadline, Entry, Kind, Payload, Str, WrongType};
use crate::keyspace::shared::IncidentKind;

/// What a look-up found.
pub enum Place<'d> {
    /// The key is there.
    Held(Held<'d>),
    /// It is not.
    Vacant(Vacant<'d>),
}

/// A live key.
pub struct Held<'d> {
    db: &'d mut Db,
    hash: u64,
    entry: NonNull<Entry>,
}

/// A key that is not there.
pub struct Vacant<'d> {
    db: &'d mut Db,
    hash: u64,
}

/// A string as a value is kept: the text of a number as a number.
#[inline]
pub(super) fn payload_of(bytes: &[u8]) -> Payload<'_> {
    match if bytes.len() <= 20 { parse_i64(bytes) } else { None } {
        Some(number) => Payload::Int(number),
        None => Payload::Bytes(bytes),
    }
}

impl Db {
    #[inline]
    fn place(&mut self, key: &[u8]) -> Place<'_> {
        let hash = self.table.hash(key);
        match self.find_live(hash, key) {
            Some(mut entry) => {
                // SAFETY: a live entry of this database, held mutably through `self`.
                self.shared.touch(unsafe { entry.as_mut() });
                Place::Held(Held { db: self, hash, entry })
            }
            None => Place::Vacant(Vacant { db: self, hash }),
        }
    }

    /// Looks a key up to change it, or to add it. As with [`Db::write`], the eviction data is touched and nothing
    /// counted.
    #[inline]
    pub fn place_to_write(&mut self, key: &[u8]) -> Place<'_> {
        self.place(key)
    }

    /// Looks a key up to read it first: counts the hit or miss, as [`Db::read`] does.
    #[inline]
    pub fn place_to_read(&mut self, key: &[u8]) -> Place<'_> {
        let place = self.place(key);
        let (shared, index) = match &place {
            Place::Held(held) => {
                let shared = &held.db.shared;
                shared.hits.set(shared.hits.get() + 1);
                return place;
            }
            Place::Vacant(vacant) => (&vacant.db.shared, vacant.db.index),
        };
        shared.misses.set(shared.misses.get() + 1);
        if shared.watch_misses.get() {
            shared.note(IncidentKind::Missed, index, key);
        }
        place
    }
}

impl<'d> Held<'d> {
    /// What lies there.
    #[inline]
    #[must_use]
    pub fn entry(&self) -> &Entry {
        // SAFETY: alive for as long as `self` is.
        unsafe { self.entry.as_ref() }
    }

    /// The string that lies there.
    ///
    /// # Errors
    /// When the key holds something else.
    #[inline]
    pub fn string(&self) -> Result<Str<'_>, WrongType> {
        self.entry().string().ok_or(WrongType)
    }

    /// The collection that lies there.
    ///
    /// # Errors
    /// When the key holds something else.
    #[inline]
    pub fn collection<C: Collection>(&self) -> Result<&C, WrongType> {
        self.entry().object().and_then(C::of).ok_or(WrongType)
    }

    /// The collection that lies there, to be changed.
    ///
    /// # Errors
    /// When the key holds something else.
    #[inline]
    pub fn collection_mut<C: Collection>(&mut self) -> Result<&mut C, WrongType> {
        self.db.change(self.entry);
        // SAFETY: alive for as long as `self` is, which borrows the database mutably.
        unsafe { self.entry.as_mut() }.object_mut().and_then(C::of_mut).ok_or(WrongType)
    }

    /// Touches the eviction data once more, where Redis looks the key up twice.
    pub fn touch(&mut self) {
        // SAFETY: alive for as long as `self` is, which borrows the database mutably.
        self.db.shared.touch(unsafe { self.entry.as_mut() });
    }

    /// As [`Db::set_string`].
    pub fn set_string(self, bytes: &[u8], deadline: Deadline) {
        self.db.set_found(self.hash, self.entry, payload_of(bytes), deadline);
    }

    /// As [`Db::set_text`].
    pub fn set_text(self, bytes: &[u8], deadline: Deadline) {
        self.db.set_found(self.hash, self.entry, Payload::Bytes(bytes), deadline);
    }

    /// Makes the string `length` bytes long, filled up with zeros, and puts `bytes` at `offset`, within the length.
    ///
    /// # Errors
    /// When the key holds something else.
    pub fn splice(self, length: usize, offset: usize, bytes: &[u8]) -> Result<(), WrongType> {
        let text = self.db.resize_found(self.hash, self.entry, length)?;
        text[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    /// The string's bytes, to be changed in place; `None` for a number. The string counts as `raw` from then on.
    ///
    /// # Errors
    /// When the key holds something else.
    pub fn bytes_mut(&mut self) -> Result<Option<&mut [u8]>, WrongType> {
        if self.entry().kind() != Kind::String {
            return Err(WrongType);
        }
        self.db.change(self.entry);
        if let Some(length) = self.entry().shared().map(bytes::Bytes::len) {
            self.entry = self.db.resize_entry(self.hash, self.entry, length)?;
        }
        // SAFETY: alive for as long as `self` is, which borrows the database mutably.
        Ok(unsafe { self.entry.as_mut() }.bytes_mut())
    }

    /// The string's bytes, after it was filled up with zeros to be `length` long at least, to be changed in place. The
    /// string counts as `raw` from then on.
    ///
    /// # Errors
    /// When the key holds something else.
    pub fn bytes_grown(mut self, length: usize) -> Result<&'d mut [u8], WrongType> {
        let have = match self.string()? {
            Str::Bytes(bytes) if bytes.len() >= length && self.entry().shared().is_none() => {
                self.db.change(self.entry);
                // SAFETY: alive for as long as the database stays borrowed, which it does mutably.
                return unsafe { self.entry.as_mut() }.bytes_mut().ok_or(WrongType);
            }
            Str::Bytes(bytes) => bytes.len(),
            Str::Int(number) => itoa::Buffer::new().format(number).len(),
        };
        self.db.resize_found(self.hash, self.entry, length.max(have))
    }

    /// Sets the string to one that counts as `raw`; the deadline stays.
    pub fn set_raw(self, bytes: &[u8]) {
        self.db.set_found(self.hash, self.entry, Payload::Raw(bytes), Deadline::Keep);
    }

    /// As [`Db::set_deadline`].
    pub fn set_deadline(self, deadline: Option<i64>) {
        self.db.set_deadline_found(self.hash, self.entry, deadline);
    }

    /// As [`Db::unlink`] when `lazily`, else as [`Db::remove`].
    pub fn remove(self, lazily: bool) {
        if lazily {
            self.db.unlink_found(self.hash, self.entry);
        } else {
            self.db.remove_found(self.hash, self.entry);
        }
    }
}

impl<'d> Vacant<'d> {
    /// Adds the key, which is the one that was looked up, with a string.
    pub fn set_string(self, key: &[u8], bytes: &[u8], deadline: Deadline) {
        debug_assert_eq!(self.hash, self.db.table.hash(key));
        self.db.set_absent(self.hash, key, payload_of(bytes), deadline);
    }

    /// As [`Vacant::set_string`]; the string stays text though it be a number's.
    pub fn set_text(self, key: &[u8], bytes: &[u8]) {
        debug_assert_eq!(self.hash, self.db.table.hash(key));
        self.db.set_absent(self.hash, key, Payload::Bytes(bytes), Deadline::Clear);
    }

    /// As [`Vacant::set_string`]; the string counts as `raw`.
    pub fn set_raw(self, key: &[u8], bytes: &[u8]) {
        debug_assert_eq!(self.hash, self.db.table.hash(key));
        self.db.set_absent(self.hash, key, Payload::Raw(bytes), Deadline::Clear);
    }

    /// Adds the key with a string of `length` zeros, to be changed in place.
    pub fn zeros(self, key: &[u8], length: usize) -> &'d mut [u8] {
        debug_assert_eq!(self.hash, self.db.table.hash(key));
        self.db.set_absent(self.hash, key, Payload::Raw(&vec![0; length]), Deadline::Clear);
        let added = self.db.write(key).and_then(Entry::bytes_mut);
        added.unwrap_or_default()
    }

    /// Adds the key with a string of `length` bytes: `bytes` at `offset`, within the length, and zeros before.
    pub fn splice(self, key: &[u8], length: usize, offset: usize, bytes: &[u8]) {
        debug_assert_eq!(self.hash, self.db.table.hash(key));
        let mut text = vec![0; length];
        text[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.db.set_absent(self.hash, key, Payload::Raw(&text), Deadline::Clear);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::keyspace::shared::Shared;

    fn held<'d>(db: &'d mut Db, key: &[u8]) -> Held<'d> {
        match db.place_to_write(key) {
            Place::Held(held) => held,
            Place::Vacant(_) => panic!("not there"),
        }
    }

    fn text(db: &Db, key: &[u8]) -> Vec<u8> {
        match db.look(key).and_then(Entry::string).expect("a string") {
            Str::Int(number) => number.to_string().into_bytes(),
            Str::Bytes(bytes) => bytes.to_vec(),
        }
    }

    #[test]
    fn one_look_up_reads_and_changes() {
        let mut db = Db::new(0, Rc::new(Shared::default()));
        db.shared.now_ms.set(1);
        let Place::Vacant(vacant) = db.place_to_write(b"k") else { panic!("there already") };
        vacant.set_string(b"k", b"12", Deadline::At(50));
        assert_eq!(held(&mut db, b"k").string(), Ok(Str::Int(12)));
        held(&mut db, b"k").set_text(b"13", Deadline::Keep);
        assert_eq!(held(&mut db, b"k").string(), Ok(Str::Bytes(b"13")));
        assert_eq!(held(&mut db, b"k").entry().deadline(), Some(50));
        held(&mut db, b"k").splice(5, 3, b"ab").expect("a string");
        assert_eq!(text(&db, b"k"), b"13\0ab");
        held(&mut db, b"k").bytes_mut().expect("a string").expect("no number")[0] = b'7';
        assert_eq!(text(&db, b"k"), b"73\0ab");
        held(&mut db, b"k").set_raw(b"14");
        assert_eq!(held(&mut db, b"k").entry().encoding_name(), "raw");
        assert_eq!(held(&mut db, b"k").entry().deadline(), Some(50));
        held(&mut db, b"k").bytes_grown(1).expect("a string")[0] = b'2';
        held(&mut db, b"k").bytes_grown(4).expect("a string")[3] = b'5';
        assert_eq!(text(&db, b"k"), b"24\x005");
        db.set_int(b"k", -120, Deadline::Keep);
        assert!(held(&mut db, b"k").bytes_mut().expect("a string").is_none());
        assert_eq!(held(&mut db, b"k").bytes_grown(2).expect("a string"), b"-120");
        assert_eq!(held(&mut db, b"k").entry().encoding_name(), "raw");
        held(&mut db, b"k").set_deadline(None);
        assert_eq!(db.volatile_len(), 0);
        held(&mut db, b"k").set_string(&[b'x'; 300], Deadline::At(60));
        db.check();
        held(&mut db, b"k").remove(false);
        let Place::Vacant(vacant) = db.place_to_write(b"k") else { panic!("removed") };
        vacant.set_raw(b"k", b"12");
        assert_eq!(held(&mut db, b"k").entry().encoding_name(), "raw");
        held(&mut db, b"k").remove(false);
        let Place::Vacant(vacant) = db.place_to_write(b"k") else { panic!("removed") };
        vacant.splice(b"k", 3, 2, b"z");
        assert_eq!(text(&db, b"k"), b"\0\0z");
        held(&mut db, b"k").set_deadline(Some(5));
        held(&mut db, b"k").remove(true);
        db.check();
        assert!(db.is_empty() && db.volatile_len() == 0);
        assert_eq!((db.shared.hits.get(), db.shared.misses.get()), (0, 0));
    }

    #[test]
    fn only_a_place_to_read_counts() {
        let mut db = Db::new(0, Rc::new(Shared::default()));
        db.set_string(b"k", b"v", Deadline::Clear);
        assert!(matches!(db.place_to_read(b"k"), Place::Held(_)));
        assert!(matches!(db.place_to_read(b"none"), Place::Vacant(_)));
        assert_eq!((db.shared.hits.get(), db.shared.misses.get()), (1, 1));
    }
}
