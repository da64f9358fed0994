//! Giving keys values, names and deadlines.
//!
//! The `unsafe` here rests on the invariant of the parent module.

use std::ptr::NonNull;

use super::{Db, Deadline, Entry, Kind, Object, Payload, Taken, Value, WrongType, held};
use crate::keyspace::shared::IncidentKind;

impl Db {
    pub(super) fn add(
        &mut self,
        hash: u64,
        key: &[u8],
        payload: Payload<'_>,
        deadline: Option<i64>,
    ) -> NonNull<Entry> {
        let entry = Entry::build(key, payload, deadline, self.shared.fresh_lru());
        self.enter(hash, entry);
        self.note_volatile(key, deadline);
        entry
    }

    /// Takes an entry in that was just built and whose key is not there.
    fn enter(&mut self, hash: u64, mut new: NonNull<Entry>) {
        // SAFETY: just built, and nobody else's yet.
        let entry = unsafe { new.as_mut() };
        entry.set_epoch(self.shared.epoch.get());
        self.table.insert(hash, new);
        if entry.deadline().is_some() {
            self.expires.insert(hash, new);
        }
        // Whether it was in the index before, under another name, does not count.
        let is_timed = entry.object().is_some_and(Object::has_field_deadlines);
        entry.set_in_fields_index(is_timed);
        if is_timed {
            self.timed.insert(hash, new);
        }
        self.note_names_of(new);
        if self.shared.watch_added.get() {
            self.shared.note(IncidentKind::Added, self.index, entry.key());
        }
    }

    /// Puts an entry in the place of another of the same key, and frees that one.
    pub(super) fn exchange(&mut self, hash: u64, old: NonNull<Entry>, mut new: NonNull<Entry>) {
        // SAFETY: `old` is in our tables, `new` was just built. `old` leaves both tables before it is freed.
        unsafe {
            new.as_mut().set_epoch(self.shared.epoch.get());
            self.table.readdress(hash, old, new);
            match (old.as_ref().deadline().is_some(), new.as_ref().deadline().is_some()) {
                (true, true) => {
                    self.expires.readdress(hash, old, new);
                }
                (true, false) => {
                    self.expires.remove(hash, new.as_ref().key());
                }
                (false, true) => self.expires.insert(hash, new),
                (false, false) => {}
            }
            if old.as_ref().is_in_fields_index() {
                self.timed.remove_item(hash, old);
            }
            if new.as_ref().object().is_some_and(Object::has_field_deadlines) {
                new.as_mut().set_in_fields_index(true);
                self.timed.insert(hash, new);
            }
            Entry::free(old);
        }
        self.note_names_of(new);
    }

    /// Sets `key` to a string, over whatever it held. A string that is the text of a number is kept as one.
    #[inline]
    pub fn set_string(&mut self, key: &[u8], bytes: &[u8], deadline: Deadline) {
        self.set_payload(key, held::payload_of(bytes), deadline);
    }

    /// Sets `key` to a number, over whatever it held.
    pub fn set_int(&mut self, key: &[u8], number: i64, deadline: Deadline) {
        self.set_payload(key, Payload::Int(number), deadline);
    }

    /// Sets `key` to a string that stays text though it be a number's, over whatever it held.
    pub fn set_text(&mut self, key: &[u8], bytes: &[u8], deadline: Deadline) {
        self.set_payload(key, Payload::Bytes(bytes), deadline);
    }

    /// Sets `key` to a collection, over whatever it held.
    pub fn set_object(&mut self, key: &[u8], object: Object, deadline: Deadline) {
        self.set_payload(key, Payload::Object(object), deadline);
    }

    pub(super) fn set_payload(&mut self, key: &[u8], payload: Payload<'_>, deadline: Deadline) {
        let hash = self.table.hash(key);
        match self.find_live(hash, key) {
            None => self.set_absent(hash, key, payload, deadline),
            Some(mut found) => {
                // SAFETY: a live entry of this database, held mutably through `self`.
                self.shared.touch(unsafe { found.as_mut() });
                self.set_found(hash, found, payload, deadline);
            }
        }
    }

    /// Adds a key that a look-up has just missed.
    pub(super) fn set_absent(
        &mut self,
        hash: u64,
        key: &[u8],
        payload: Payload<'_>,
        deadline: Deadline,
    ) {
        // A key past its deadline may still lie here while expiry is held back.
        if self.shared.keep_expired.get() {
            self.remove_hashed(hash, key);
        }
        let at = if let Deadline::At(at) = deadline { Some(at) } else { None };
        let payload = self.shared.keep(payload);
        self.add(hash, key, payload, at);
    }

    /// Gives a live entry, which was touched, another value.
    #[inline]
    pub(super) fn set_found(
        &mut self,
        hash: u64,
        mut found: NonNull<Entry>,
        payload: Payload<'_>,
        deadline: Deadline,
    ) {
        self.change(found);
        let payload = self.shared.keep(payload);
        // SAFETY: a live entry of this database, held mutably through `self`.
        let entry = unsafe { found.as_mut() };
        let had = entry.deadline();
        let wanted = match deadline {
            Deadline::Clear => None,
            Deadline::Keep => had,
            Deadline::At(at) => Some(at),
        };
        // In place when neither the deadline needs room that is not there nor the value a new allocation.
        if had.is_some() == wanted.is_some() {
            let written = match &payload {
                Payload::Bytes(bytes) => entry.overwrite(bytes, false),
                Payload::Raw(bytes) => entry.overwrite(bytes, true),
                Payload::Int(number) => entry.overwrite_int(*number),
                Payload::Object(_) | Payload::Shared(_) => false,
            };
            if written {
                entry.set_deadline(wanted);
                self.note_volatile(entry.key(), wanted);
                return;
            }
        }
        let lru = if self.shared.lfu.get() { entry.lru() } else { self.shared.fresh_lru() };
        self.note_volatile(entry.key(), wanted);
        let new = Entry::build(entry.key(), payload, wanted, lru);
        self.exchange(hash, found, new);
    }

    /// A key was given a deadline by a client, not by the primary or a load.
    #[inline]
    fn note_volatile(&self, key: &[u8], deadline: Option<i64>) {
        if deadline.is_some() && !self.shared.ignore_expiry.get() {
            self.shared.own_volatile.note(self.index, key);
        }
    }

    /// Makes the string of a live entry `length` bytes long, cut or filled up with zeros, and lends its bytes.
    pub(super) fn resize_found(
        &mut self,
        hash: u64,
        found: NonNull<Entry>,
        length: usize,
    ) -> Result<&mut [u8], WrongType> {
        let found = self.resize_entry(hash, found, length)?;
        // SAFETY: a live entry of this database, held mutably through `self`.
        unsafe { (*found.as_ptr()).bytes_mut() }.ok_or(WrongType)
    }

    /// As [`Db::resize_found`]; answers where the entry lies now, with its bytes in itself.
    pub(super) fn resize_entry(
        &mut self,
        hash: u64,
        found: NonNull<Entry>,
        length: usize,
    ) -> Result<NonNull<Entry>, WrongType> {
        self.change(found);
        // SAFETY: a live entry of this database. Its old address is not used after `resize` but to find the words
        // that hold it.
        unsafe {
            if found.as_ref().kind() != Kind::String {
                return Err(WrongType);
            }
            let volatile = found.as_ref().deadline().is_some();
            let new = Entry::resize(found, length);
            if new != found {
                self.table.readdress(hash, found, new);
                if volatile {
                    self.expires.readdress(hash, found, new);
                }
            }
            Ok(new)
        }
    }

    /// Gives a key another name, over whatever that one held, deadline included. Answers whether it was there.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> bool {
        let hash = self.table.hash(from);
        let Some(found) = self.find_live(hash, from) else { return false };
        if from == to {
            return true;
        }
        self.change(found);
        let to_hash = self.table.hash(to);
        self.remove_hashed(to_hash, to);
        // SAFETY: a live entry that leaves both tables before it is built anew.
        let renamed = unsafe {
            let deadline = found.as_ref().deadline();
            self.table.remove(hash, found);
            if deadline.is_some() {
                self.expires.remove(hash, from);
            }
            if found.as_ref().is_in_fields_index() {
                self.timed.remove_item(hash, found);
            }
            Entry::rebuild(found, to, deadline)
        };
        self.enter(to_hash, renamed);
        true
    }

    /// Sets a key to a value that was taken or decoded, over whatever it held.
    pub fn put(&mut self, key: &[u8], taken: Taken) {
        let deadline = taken.deadline.map_or(Deadline::Clear, Deadline::At);
        match taken.value {
            Value::Int(number) => self.set_int(key, number, deadline),
            Value::Bytes(bytes) => self.set_payload(key, Payload::Bytes(&bytes), deadline),
            Value::Raw(bytes) => self.set_payload(key, Payload::Raw(&bytes), deadline),
            Value::Object(object) => self.set_object(key, object, deadline),
        }
    }

    /// Adds a short string from a file; one that is the text of a number is kept as one. Answers whether the key was not
    /// there yet; otherwise nothing is changed.
    pub fn load_string(
        &mut self,
        key: &[u8],
        text: &[u8],
        deadline: Option<i64>,
        lru: u32,
    ) -> bool {
        self.load_payload(key, held::payload_of(text), deadline, lru)
    }

    /// As [`Db::load_string`], for any value.
    pub fn load(&mut self, key: &[u8], value: Value, deadline: Option<i64>, lru: u32) -> bool {
        match value {
            Value::Int(number) => self.load_payload(key, Payload::Int(number), deadline, lru),
            Value::Bytes(bytes) => self.load_payload(key, Payload::Bytes(&bytes), deadline, lru),
            Value::Raw(bytes) => self.load_payload(key, Payload::Raw(&bytes), deadline, lru),
            Value::Object(object) => self.load_payload(key, Payload::Object(object), deadline, lru),
        }
    }

    fn load_payload(
        &mut self,
        key: &[u8],
        payload: Payload<'_>,
        deadline: Option<i64>,
        lru: u32,
    ) -> bool {
        let hash = self.table.hash(key);
        if self.table.find(hash, key).is_some() {
            return false;
        }
        self.enter(hash, Entry::build(key, payload, deadline, lru));
        true
    }

    /// Sets or takes away a key's deadline. Answers whether the key was there.
    pub fn set_deadline(&mut self, key: &[u8], deadline: Option<i64>) -> bool {
        let hash = self.table.hash(key);
        let found = self.find_live(hash, key);
        if let Some(found) = found {
            self.set_deadline_found(hash, found, deadline);
        }
        found.is_some()
    }

    pub(super) fn set_deadline_found(
        &mut self,
        hash: u64,
        mut found: NonNull<Entry>,
        deadline: Option<i64>,
    ) {
        self.change(found);
        // SAFETY: a live entry of this database.
        self.note_volatile(unsafe { found.as_ref() }.key(), deadline);
        // SAFETY: a live entry of this database; where it is built anew, its address is corrected in the tables
        // before anything else looks.
        unsafe {
            let had = found.as_ref().deadline().is_some();
            if !found.as_mut().set_deadline(deadline) {
                let new = Entry::rebuild(found, (*found.as_ptr()).key(), deadline);
                self.table.readdress(hash, found, new);
                if new.as_ref().is_in_fields_index() {
                    self.timed.readdress(hash, found, new);
                }
                found = new;
            }
            match (had, deadline.is_some()) {
                (false, true) => self.expires.insert(hash, found),
                (true, false) => {
                    self.expires.remove_item(hash, found);
                }
                _ => {}
            }
        }
    }
}
