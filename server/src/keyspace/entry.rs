//! An entry: a key and its value in one allocation.
//!
//! ```text
//!   kind flags epoch lru lru lru klen vlen │ deadline? │ payload │ klen32? vlen32? │ key bytes │ value bytes
//!   └────────────── 8 bytes ─────────────┘   8 bytes     Object, Bytes, i64, or none
//! ```
//!
//! A string is its bytes, or an `i64`, right behind the key; a collection is an [`Object`] in the payload. A long string
//! may lie outside, in [`Bytes`] that the payload shares with whoever sends them or has received them. `klen`
//! and `vlen` hold lengths up to 254, and 255 where a 32-bit length follows. The deadline is there once a key has
//! had a time to live (`NO_DEADLINE` after PERSIST), so that taking it away moves nothing.
//!
//! Allocations are made in jemalloc's size classes, so that a new value of about the same size is written over the
//! old one without asking the allocator.
//!
//! All `unsafe` here rests on one invariant: *an `Entry` is only ever made by [`Entry::build`], so the header
//! describes exactly what lies behind it, within an allocation of [`Layout`] `layout_of(header)`.*

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ptr::NonNull;

use bytes::Bytes;
use redstart_common::memory::size_class;

use crate::encoding::table::Item;
pub use crate::types::Kind;
use crate::types::Object;

const FLAG_DEADLINE: u8 = 1;
const FLAG_INT: u8 = 2;
const FLAG_OBJECT: u8 = 4;
/// The string was built by a command that leaves `raw` strings in Redis (APPEND, SETRANGE, SETBIT …).
const FLAG_RAW: u8 = 8;
/// The string lies outside of the entry.
const FLAG_SHARED: u8 = 16;
/// The entry is in its database's index of hashes with fields that have deadlines.
const FLAG_FIELDS: u8 = 32;

const LONG: u8 = 255;
const NO_DEADLINE: i64 = i64::MIN;
const HEADER: usize = 8;

/// The longest string value, in bytes: lengths are kept in 32 bits.
pub const VALUE_BYTES_MAX: usize = u32::MAX as usize;

/// A key and its value. Lives behind a pointer only.
#[repr(C, align(8))]
pub struct Entry {
    kind: Kind,
    flags: u8,
    epoch: u8,
    lru: [u8; 3],
    klen: u8,
    vlen: u8,
}

const _: () = assert!(size_of::<Entry>() == HEADER && size_of::<Object>().is_multiple_of(8));
const _: () = assert!(align_of::<Bytes>() <= 8 && size_of::<Bytes>().is_multiple_of(8));

/// A string value as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Str<'a> {
    /// A number; its text is its decimal form.
    Int(i64),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// What a new entry shall hold.
pub enum Payload<'a> {
    /// A string of bytes.
    Bytes(&'a [u8]),
    /// A string of bytes that OBJECT ENCODING calls `raw` whatever its length.
    Raw(&'a [u8]),
    /// A string of bytes that lie outside.
    Shared(Bytes),
    /// A number.
    Int(i64),
    /// A collection.
    Object(Object),
}

struct Shape {
    deadline: bool,
    payload: usize,
    klen: usize,
    vlen: usize,
}

impl Shape {
    fn key_offset(&self) -> usize {
        HEADER
            + if self.deadline { 8 } else { 0 }
            + self.payload
            + if self.klen >= LONG as usize { 4 } else { 0 }
            + if self.vlen >= LONG as usize { 4 } else { 0 }
    }

    fn layout(&self) -> Layout {
        let size = size_class(self.key_offset() + self.klen + self.vlen);
        Layout::from_size_align(size, 8).expect("lengths are below 2^33")
    }
}

// SAFETY: entries are made with an alignment of 8 by the allocator, whose addresses fit 48 bits on the platforms
// we run on; a key never changes while its entry lives.
unsafe impl Item for Entry {
    #[inline]
    fn key(&self) -> &[u8] {
        Entry::key(self)
    }
}

impl Entry {
    fn base(&self) -> *const u8 {
        std::ptr::from_ref(self).cast()
    }

    /// # Safety
    /// `offset + size_of::<T>()` must lie within the allocation.
    #[inline]
    unsafe fn load<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: given by the caller; unaligned reads are asked for.
        unsafe { self.base().add(offset).cast::<T>().read_unaligned() }
    }

    #[inline]
    fn payload_offset(&self) -> usize {
        HEADER + if self.flags & FLAG_DEADLINE != 0 { 8 } else { 0 }
    }

    #[inline]
    fn lengths_offset(&self) -> usize {
        self.payload_offset()
            + if self.flags & FLAG_OBJECT != 0 {
                size_of::<Object>()
            } else if self.flags & FLAG_INT != 0 {
                8
            } else if self.flags & FLAG_SHARED != 0 {
                size_of::<Bytes>()
            } else {
                0
            }
    }

    #[inline]
    fn key_length(&self) -> usize {
        if self.klen == LONG {
            // SAFETY: the header says a 32-bit key length is there.
            unsafe { self.load::<u32>(self.lengths_offset()) as usize }
        } else {
            self.klen as usize
        }
    }

    #[inline]
    fn value_length(&self) -> usize {
        if self.vlen == LONG {
            let offset = self.lengths_offset() + if self.klen == LONG { 4 } else { 0 };
            // SAFETY: the header says a 32-bit value length is there, behind the key's if that is there too.
            unsafe { self.load::<u32>(offset) as usize }
        } else {
            self.vlen as usize
        }
    }

    #[inline]
    fn key_offset(&self) -> usize {
        self.lengths_offset()
            + if self.klen == LONG { 4 } else { 0 }
            + if self.vlen == LONG { 4 } else { 0 }
    }

    fn shape(&self) -> Shape {
        Shape {
            deadline: self.flags & FLAG_DEADLINE != 0,
            payload: self.lengths_offset() - self.payload_offset(),
            klen: self.key_length(),
            vlen: self.value_length(),
        }
    }

    /// Allocates an entry. The caller owns it and gives it back with [`Entry::free`].
    ///
    /// # Panics
    /// When key or value are longer than [`VALUE_BYTES_MAX`], which is to be refused before.
    #[must_use]
    pub fn build(
        key: &[u8],
        payload: Payload<'_>,
        deadline: Option<i64>,
        lru: u32,
    ) -> NonNull<Self> {
        let (kind, flags, bytes): (Kind, u8, &[u8]) = match &payload {
            Payload::Bytes(bytes) => (Kind::String, 0, bytes),
            Payload::Raw(bytes) => (Kind::String, FLAG_RAW, bytes),
            Payload::Shared(_) => (Kind::String, FLAG_SHARED, b""),
            Payload::Int(_) => (Kind::String, FLAG_INT, b""),
            Payload::Object(object) => (object.kind(), FLAG_OBJECT, b""),
        };
        assert!(key.len().max(bytes.len()) <= VALUE_BYTES_MAX, "longer than an entry can say");
        let shape = Shape {
            deadline: deadline.is_some(),
            payload: if flags & FLAG_OBJECT != 0 {
                size_of::<Object>()
            } else if flags & FLAG_INT != 0 {
                8
            } else if flags & FLAG_SHARED != 0 {
                size_of::<Bytes>()
            } else {
                0
            },
            klen: key.len(),
            vlen: bytes.len(),
        };
        let layout = shape.layout();
        let key_offset = shape.key_offset();
        // SAFETY: the layout is at least 8 bytes. Everything written below lies within it: `shape` counted each
        // part, and parts follow one another in the order of the drawing above.
        unsafe {
            let place = alloc(layout);
            if place.is_null() {
                handle_alloc_error(layout);
            }
            let lru = lru.to_le_bytes();
            place.cast::<Self>().write(Self {
                kind,
                flags: flags | if deadline.is_some() { FLAG_DEADLINE } else { 0 },
                epoch: 0,
                lru: [lru[0], lru[1], lru[2]],
                klen: key.len().min(LONG as usize) as u8,
                vlen: bytes.len().min(LONG as usize) as u8,
            });
            let mut offset = HEADER;
            if let Some(deadline) = deadline {
                place.add(offset).cast::<i64>().write_unaligned(deadline);
                offset += 8;
            }
            match payload {
                Payload::Int(number) => {
                    place.add(offset).cast::<i64>().write_unaligned(number);
                    offset += 8;
                }
                Payload::Object(object) => {
                    place.add(offset).cast::<Object>().write(object);
                    offset += size_of::<Object>();
                }
                Payload::Shared(bytes) => {
                    place.add(offset).cast::<Bytes>().write(bytes);
                    offset += size_of::<Bytes>();
                }
                Payload::Bytes(_) | Payload::Raw(_) => {}
            }
            if key.len() >= LONG as usize {
                place.add(offset).cast::<u32>().write_unaligned(key.len() as u32);
                offset += 4;
            }
            if bytes.len() >= LONG as usize {
                place.add(offset).cast::<u32>().write_unaligned(bytes.len() as u32);
            }
            std::ptr::copy_nonoverlapping(key.as_ptr(), place.add(key_offset), key.len());
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                place.add(key_offset + key.len()),
                bytes.len(),
            );
            NonNull::new_unchecked(place.cast())
        }
    }

    /// Frees an entry and what it holds.
    ///
    /// # Safety
    /// `entry` must come from [`Entry::build`] and not be used again.
    pub unsafe fn free(entry: NonNull<Self>) {
        // SAFETY: given by the caller.
        unsafe {
            let this = entry.as_ref();
            let layout = this.shape().layout();
            if this.flags & FLAG_OBJECT != 0 {
                let offset = this.payload_offset();
                entry.as_ptr().cast::<u8>().add(offset).cast::<Object>().drop_in_place();
            }
            if this.flags & FLAG_SHARED != 0 {
                let offset = this.payload_offset();
                entry.as_ptr().cast::<u8>().add(offset).cast::<Bytes>().drop_in_place();
            }
            dealloc(entry.as_ptr().cast(), layout);
        }
    }

    /// Builds the same value anew under `key`, with `deadline`; a collection is moved out of `entry`, which is
    /// freed. Used by RENAME, EXPIRE and whatever else changes an entry's shape.
    ///
    /// # Safety
    /// As [`Entry::free`].
    pub unsafe fn rebuild(
        entry: NonNull<Self>,
        key: &[u8],
        deadline: Option<i64>,
    ) -> NonNull<Self> {
        // SAFETY: given by the caller. The object, or the bytes, are read out once, and the old allocation is released without
        // dropping it.
        unsafe {
            let this = entry.as_ref();
            let lru = this.lru();
            let epoch = this.epoch;
            let mut new = if this.flags & FLAG_OBJECT != 0 {
                let offset = this.payload_offset();
                let object = entry.as_ptr().cast::<u8>().add(offset).cast::<Object>().read();
                Self::build(key, Payload::Object(object), deadline, lru)
            } else if this.flags & FLAG_SHARED != 0 {
                let offset = this.payload_offset();
                let bytes = entry.as_ptr().cast::<u8>().add(offset).cast::<Bytes>().read();
                Self::build(key, Payload::Shared(bytes), deadline, lru)
            } else {
                let payload = match this.string().expect("not an object") {
                    Str::Int(number) => Payload::Int(number),
                    Str::Bytes(bytes) if this.flags & FLAG_RAW != 0 => Payload::Raw(bytes),
                    Str::Bytes(bytes) => Payload::Bytes(bytes),
                };
                Self::build(key, payload, deadline, lru)
            };
            new.as_mut().epoch = epoch;
            new.as_mut().flags |= this.flags & FLAG_FIELDS;
            dealloc(entry.as_ptr().cast(), this.shape().layout());
            new
        }
    }

    /// Makes a string of bytes `length` bytes long: cut, or filled up with zeros. The string counts as `raw` from
    /// then on. Growing by little is cheap most of the time, for allocations come in steps of a quarter.
    ///
    /// # Safety
    /// `entry` must come from [`Entry::build`] and hold a string; the old address must not be used again.
    pub unsafe fn resize(entry: NonNull<Self>, length: usize) -> NonNull<Self> {
        // SAFETY: given by the caller. When both lengths are kept in 32 bits the layout before the value stays as
        // it is, so growing the allocation and writing the length is all there is to do; otherwise a new entry
        // is built from a copy.
        unsafe {
            let this = &mut *entry.as_ptr();
            let old = match this.string() {
                Some(Str::Bytes(bytes)) => bytes.len(),
                _ => 0,
            };
            if this.flags & FLAG_INT == 0 && this.vlen == LONG && length >= LONG as usize {
                this.flags |= FLAG_RAW;
                let key_offset = this.key_offset();
                let start = key_offset + this.key_length();
                let before = this.shape().layout();
                let after = size_class(start + length);
                let mut place = entry.as_ptr().cast::<u8>();
                if before.size() != after {
                    place = realloc(place, before, after);
                    if place.is_null() {
                        handle_alloc_error(before);
                    }
                }
                place.add(key_offset - 4).cast::<u32>().write_unaligned(length as u32);
                if length > old {
                    std::ptr::write_bytes(place.add(start + old), 0, length - old);
                }
                return NonNull::new_unchecked(place.cast());
            }
            if let Some(bytes) = this.shared() {
                // The one copy: what is shared is not changed.
                let kept = &bytes[..bytes.len().min(length)];
                let mut own =
                    Self::build(this.key(), Payload::Raw(kept), this.deadline_slot(), this.lru());
                own.as_mut().epoch = this.epoch;
                let grown = if kept.len() == length { own } else { Self::resize(own, length) };
                Self::free(entry);
                return grown;
            }
            let mut bytes = match this.string() {
                Some(Str::Bytes(bytes)) => bytes.to_vec(),
                Some(Str::Int(number)) => number.to_string().into_bytes(),
                None => Vec::new(),
            };
            bytes.resize(length, 0);
            let deadline = this.deadline_slot();
            let mut new = Self::build(this.key(), Payload::Raw(&bytes), deadline, this.lru());
            new.as_mut().epoch = this.epoch;
            Self::free(entry);
            new
        }
    }

    /// Writes a new string over the old one, when the entry is a string of bytes whose allocation fits the new
    /// length exactly as a fresh one would. Answers whether it did.
    #[inline]
    pub fn overwrite(&mut self, bytes: &[u8], raw: bool) -> bool {
        if self.flags & (FLAG_OBJECT | FLAG_INT | FLAG_SHARED) != 0
            || (self.vlen == LONG) != (bytes.len() >= LONG as usize)
        {
            return false;
        }
        let key_offset = self.key_offset();
        let start = key_offset + self.key_length();
        if size_class(start + self.value_length()) != size_class(start + bytes.len()) {
            return false;
        }
        // SAFETY: the allocation has the size class of `start + value_length`, which is that of the new length;
        // the new bytes come from outside the entry, for we hold it mutably.
        unsafe {
            let base = std::ptr::from_mut(self).cast::<u8>();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), base.add(start), bytes.len());
            if self.vlen == LONG {
                let offset = key_offset - 4;
                base.add(offset).cast::<u32>().write_unaligned(bytes.len() as u32);
            } else {
                self.vlen = bytes.len() as u8;
            }
        }
        self.flags = self.flags & !FLAG_RAW | if raw { FLAG_RAW } else { 0 };
        true
    }

    /// Writes a new number over an old one. Answers whether the entry held a number.
    #[inline]
    pub fn overwrite_int(&mut self, number: i64) -> bool {
        if self.flags & FLAG_INT == 0 {
            return false;
        }
        let offset = self.payload_offset();
        // SAFETY: the header says an `i64` is there.
        unsafe {
            std::ptr::from_mut(self).cast::<u8>().add(offset).cast::<i64>().write_unaligned(number);
        }
        true
    }

    /// The string's bytes, to be changed in place. `None` for numbers, collections, and what is shared: that has to be
    /// resized first. The string counts as `raw` from then on.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        if self.flags & (FLAG_OBJECT | FLAG_INT | FLAG_SHARED) != 0 {
            return None;
        }
        self.flags |= FLAG_RAW;
        let start = self.key_offset() + self.key_length();
        let length = self.value_length();
        // SAFETY: the value's bytes lie there, and we hold the entry mutably.
        Some(unsafe {
            std::slice::from_raw_parts_mut(std::ptr::from_mut(self).cast::<u8>().add(start), length)
        })
    }

    /// The key.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &[u8] {
        // SAFETY: the key's bytes lie there.
        unsafe { std::slice::from_raw_parts(self.base().add(self.key_offset()), self.key_length()) }
    }

    /// What the entry holds.
    #[inline]
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The string, if it is one.
    #[inline]
    #[must_use]
    pub fn string(&self) -> Option<Str<'_>> {
        if self.flags & FLAG_OBJECT != 0 {
            None
        } else if self.flags & FLAG_INT != 0 {
            // SAFETY: the header says an `i64` is there.
            Some(Str::Int(unsafe { self.load(self.payload_offset()) }))
        } else if let Some(bytes) = self.shared() {
            Some(Str::Bytes(bytes))
        } else {
            let start = self.key_offset() + self.key_length();
            // SAFETY: the value's bytes lie there.
            Some(Str::Bytes(unsafe {
                std::slice::from_raw_parts(self.base().add(start), self.value_length())
            }))
        }
    }

    /// The string, if it is one that can be shared.
    #[inline]
    #[must_use]
    pub fn shared(&self) -> Option<&Bytes> {
        if self.flags & FLAG_SHARED == 0 {
            return None;
        }
        // SAFETY: the header says `Bytes` are there, at an offset that is a multiple of 8.
        Some(unsafe { &*self.base().add(self.payload_offset()).cast::<Bytes>() })
    }

    /// The collection, if it is one.
    #[inline]
    #[must_use]
    pub fn object(&self) -> Option<&Object> {
        if self.flags & FLAG_OBJECT == 0 {
            return None;
        }
        // SAFETY: the header says an `Object` is there, at an offset that is a multiple of 8.
        Some(unsafe { &*self.base().add(self.payload_offset()).cast::<Object>() })
    }

    /// The collection, to be changed.
    #[inline]
    pub fn object_mut(&mut self) -> Option<&mut Object> {
        if self.flags & FLAG_OBJECT == 0 {
            return None;
        }
        let offset = self.payload_offset();
        // SAFETY: as in `object`, and we hold the entry mutably.
        Some(unsafe { &mut *std::ptr::from_mut(self).cast::<u8>().add(offset).cast::<Object>() })
    }

    /// Whether a look-up has to mind the time: the key may have a deadline, or fields of the hash.
    #[inline]
    #[must_use]
    pub fn minds_time(&self) -> bool {
        self.flags & (FLAG_DEADLINE | FLAG_FIELDS) != 0
    }

    /// Whether the entry is in the index of hashes with fields that have deadlines.
    #[inline]
    #[must_use]
    pub fn is_in_fields_index(&self) -> bool {
        self.flags & FLAG_FIELDS != 0
    }

    /// Says whether the entry is in the index of hashes with fields that have deadlines.
    pub fn set_in_fields_index(&mut self, is_in: bool) {
        self.flags = if is_in { self.flags | FLAG_FIELDS } else { self.flags & !FLAG_FIELDS };
    }

    /// When the key dies, in milliseconds since 1970.
    #[inline]
    #[must_use]
    pub fn deadline(&self) -> Option<i64> {
        if self.flags & FLAG_DEADLINE == 0 {
            return None;
        }
        // SAFETY: the header says a deadline is there.
        let deadline: i64 = unsafe { self.load(HEADER) };
        (deadline != NO_DEADLINE).then_some(deadline)
    }

    /// What stands where the deadline does, `NO_DEADLINE` included, so that an entry that takes this one's place keeps the
    /// room.
    fn deadline_slot(&self) -> Option<i64> {
        // SAFETY: the header says a deadline is there.
        (self.flags & FLAG_DEADLINE != 0).then(|| unsafe { self.load(HEADER) })
    }

    /// Changes the deadline where the entry has room for one; answers whether it had.
    pub fn set_deadline(&mut self, deadline: Option<i64>) -> bool {
        if self.flags & FLAG_DEADLINE == 0 {
            return deadline.is_none();
        }
        // SAFETY: the header says a deadline is there.
        unsafe {
            std::ptr::from_mut(self)
                .cast::<u8>()
                .add(HEADER)
                .cast::<i64>()
                .write_unaligned(deadline.unwrap_or(NO_DEADLINE));
        }
        true
    }

    /// The 24 bits of eviction data: LRU clock, or LFU time and counter.
    #[inline]
    #[must_use]
    pub fn lru(&self) -> u32 {
        u32::from_le_bytes([self.lru[0], self.lru[1], self.lru[2], 0])
    }

    /// Sets the eviction data.
    #[inline]
    pub fn set_lru(&mut self, lru: u32) {
        let lru = lru.to_le_bytes();
        self.lru = [lru[0], lru[1], lru[2]];
    }

    /// The snapshot epoch in which the entry was last seen or written.
    #[must_use]
    pub fn epoch(&self) -> u8 {
        self.epoch
    }

    /// Sets the snapshot epoch.
    pub fn set_epoch(&mut self, epoch: u8) {
        self.epoch = epoch;
    }

    /// Bytes of the entry's own allocation, and of what it shares.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        self.shape().layout().size() + self.shared().map_or(0, |bytes| size_class(bytes.len()))
    }

    /// A copy of what the entry holds.
    #[must_use]
    pub fn duplicate(&self) -> super::Value {
        match (self.string(), self.object()) {
            (Some(Str::Int(number)), _) => super::Value::Int(number),
            (Some(Str::Bytes(bytes)), _) if self.flags & FLAG_RAW != 0 => {
                super::Value::Raw(bytes.to_vec())
            }
            (Some(Str::Bytes(bytes)), _) => super::Value::Bytes(bytes.to_vec()),
            (None, Some(object)) => super::Value::Object(object.clone()),
            (None, None) => super::Value::Bytes(Vec::new()),
        }
    }

    /// The name OBJECT ENCODING answers in 7.0.15.
    #[must_use]
    pub fn encoding_name(&self) -> &'static str {
        match self.string() {
            Some(Str::Int(_)) => "int",
            Some(Str::Bytes(bytes)) if bytes.len() <= 44 && self.flags & FLAG_RAW == 0 => "embstr",
            Some(Str::Bytes(_)) => "raw",
            None => self.object().map_or("unknown", Object::encoding_name),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn see(entry: NonNull<Entry>) -> &'static mut Entry {
        // SAFETY: the tests free what they build at their end, and hold one reference at a time.
        unsafe { &mut *entry.as_ptr() }
    }

    #[test]
    fn a_small_string_is_one_allocation_of_the_promised_size() {
        let entry = Entry::build(&[b'k'; 16], Payload::Bytes(&[b'v'; 32]), None, 0);
        assert_eq!(see(entry).allocated_bytes(), 64);
        // SAFETY: built above.
        unsafe { Entry::free(entry) };
        let entry = Entry::build(&[b'k'; 16], Payload::Bytes(&[b'v'; 32]), Some(7), 0);
        assert_eq!(see(entry).allocated_bytes(), 64);
        // SAFETY: built above.
        unsafe { Entry::free(entry) };
    }

    proptest! {
        #[test]
        fn holds_what_it_was_given(
            key in prop::collection::vec(any::<u8>(), 0..600),
            value in prop::collection::vec(any::<u8>(), 0..600),
            other in prop::collection::vec(any::<u8>(), 0..600),
            deadline in prop::option::of(0_i64..1 << 50),
            lru in 0_u32..1 << 24,
            raw in any::<bool>(),
            number in any::<i64>(),
        ) {
            let payload = if raw { Payload::Raw(&value) } else { Payload::Bytes(&value) };
            let entry = Entry::build(&key, payload, deadline, lru);
            prop_assert_eq!(see(entry).key(), &key[..]);
            prop_assert_eq!(see(entry).string(), Some(Str::Bytes(&value)));
            prop_assert_eq!(see(entry).deadline(), deadline);
            prop_assert_eq!(see(entry).lru(), lru);
            if see(entry).overwrite(&other, raw) {
                prop_assert_eq!(see(entry).string(), Some(Str::Bytes(&other)));
            } else {
                prop_assert_eq!(see(entry).string(), Some(Str::Bytes(&value)));
            }
            prop_assert_eq!(see(entry).key(), &key[..]);
            let before = match see(entry).string() {
                Some(Str::Bytes(bytes)) => bytes.to_vec(),
                _ => Vec::new(),
            };
            // SAFETY: built above; the old address is not used again.
            let entry = unsafe { Entry::resize(entry, value.len() * 2) };
            let mut grown = before.clone();
            grown.resize(value.len() * 2, 0);
            prop_assert_eq!(see(entry).string(), Some(Str::Bytes(&grown)));
            prop_assert_eq!(see(entry).key(), &key[..]);
            prop_assert_eq!(see(entry).deadline(), deadline);
            // SAFETY: built above; the old address is not used again.
            let entry = unsafe { Entry::rebuild(entry, &other, Some(number)) };
            prop_assert_eq!(see(entry).key(), &other[..]);
            prop_assert_eq!(see(entry).set_deadline(None), true);
            prop_assert_eq!(see(entry).deadline(), None);
            // SAFETY: built above.
            unsafe { Entry::free(entry) };

            let entry = Entry::build(&key, Payload::Int(number), deadline, lru);
            prop_assert_eq!(see(entry).string(), Some(Str::Int(number)));
            prop_assert!(see(entry).overwrite_int(!number));
            prop_assert_eq!(see(entry).string(), Some(Str::Int(!number)));
            prop_assert_eq!(see(entry).key(), &key[..]);
            // SAFETY: built above.
            unsafe { Entry::free(entry) };

            let shared = Bytes::from(value.clone());
            let entry = Entry::build(&key, Payload::Shared(shared.clone()), deadline, lru);
            prop_assert_eq!(see(entry).string(), Some(Str::Bytes(&value)));
            prop_assert_eq!(see(entry).deadline(), deadline);
            prop_assert!(!see(entry).overwrite(&other, raw) && see(entry).bytes_mut().is_none());
            // SAFETY: built above; the old address is not used again.
            let entry = unsafe { Entry::rebuild(entry, &other, Some(number)) };
            prop_assert_eq!(see(entry).shared(), Some(&shared));
            prop_assert_eq!(see(entry).key(), &other[..]);
            prop_assert_eq!(see(entry).deadline(), (number != NO_DEADLINE).then_some(number));
            // SAFETY: built above; the old address is not used again.
            let entry = unsafe { Entry::resize(entry, key.len()) };
            let mut resized = value.clone();
            resized.resize(key.len(), 0);
            prop_assert_eq!(see(entry).bytes_mut(), Some(&mut resized[..]));
            prop_assert_eq!(see(entry).key(), &other[..]);
            prop_assert!(shared.is_empty() || shared.is_unique());
            // SAFETY: built above.
            unsafe { Entry::free(entry) };
        }
    }
}
