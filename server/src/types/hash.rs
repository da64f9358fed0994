//! Hashes: fields with values. Small ones are a listpack of field, value, field, value …; larger ones a bag. One of
//! which a field has been given a deadline has a form of its own.

mod timed;

use rand::Rng;

use super::Limits;
use crate::encoding::bag::{Bag, Tail};
use crate::encoding::choice::some_of;
use crate::encoding::listpack::{Element, Listpack};

pub use timed::{DEADLINE_MAX, Timed};

/// A hash.
#[derive(Clone)]
pub enum Hash {
    /// Field, value, field, value …
    Packed(Listpack),
    /// Fields found by hashing.
    Table(Box<Bag<Tail>>),
    /// Fields may have deadlines.
    Timed(Box<Timed>),
}

impl Default for Hash {
    fn default() -> Self {
        Self::Packed(Listpack::new())
    }
}

/// A field's value as it is stored.
pub type FieldValue<'a> = Element<'a>;

impl Hash {
    /// Fields.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Packed(pack) => pack.len() / 2,
            Self::Table(bag) => bag.len(),
            Self::Timed(timed) => timed.seen_len(),
        }
    }

    /// Fields, those past their deadline included.
    #[must_use]
    pub fn stored_len(&self) -> usize {
        match self {
            Self::Timed(timed) => timed.stored_len(),
            _ => self.len(),
        }
    }

    /// The form with deadlines, if it is that.
    #[must_use]
    pub fn timed(&self) -> Option<&Timed> {
        if let Self::Timed(timed) = self { Some(timed) } else { None }
    }

    /// The form with deadlines, which it takes.
    pub fn make_timed(&mut self) -> &mut Timed {
        if !matches!(self, Self::Timed(_)) {
            *self = Self::Timed(Box::new(Timed::from_hash(self)));
        }
        match self {
            Self::Timed(timed) => timed,
            _ => unreachable!("made so just above"),
        }
    }

    /// Whether any field has a deadline.
    #[must_use]
    pub fn has_deadlines(&self) -> bool {
        self.timed().is_some_and(|timed| timed.next_due().is_some())
    }

    /// The deadline of a field, which may have none; `None` without such a field.
    #[must_use]
    pub fn deadline(&self, field: &[u8]) -> Option<Option<i64>> {
        match self {
            Self::Timed(timed) => timed.deadline(field),
            _ => self.contains(field).then_some(None),
        }
    }

    /// Bytes that the hash has allocated, told from `samples` of its fields when it is a large one.
    #[must_use]
    pub fn allocated_bytes(&self, samples: usize) -> usize {
        match self {
            Self::Packed(pack) => pack.allocated_bytes(),
            Self::Table(bag) => bag.allocated_bytes(samples),
            Self::Timed(timed) => timed.allocated_bytes(samples),
        }
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stored_len() == 0
    }

    /// The name OBJECT ENCODING answers.
    #[must_use]
    pub fn encoding_name(&self) -> &'static str {
        match self {
            Self::Packed(_) => "listpack",
            Self::Timed(timed) if timed.is_packed() => "listpackex",
            Self::Table(_) | Self::Timed(_) => "hashtable",
        }
    }

    /// The hash of fields and values that lie in a listpack from outside; `None` if a value is missing or a field is
    /// there twice. As in Redis it is not asked how long they are.
    #[must_use]
    pub fn from_listpack(pack: Listpack, limits: &Limits) -> Option<Self> {
        let pack = pack.normalized();
        if !pack.is_map() {
            return None;
        }
        let mut hash = Self::Packed(pack);
        if hash.len() > limits.hash_entries {
            hash.spread();
        }
        Some(hash)
    }

    /// An empty hash to which `count` pairs are about to be [`Hash::add`]ed.
    #[must_use]
    pub fn expecting(count: usize, limits: &Limits) -> Self {
        let mut hash = Self::default();
        if count > limits.hash_entries {
            hash.spread();
        }
        hash
    }

    /// Adds a pair without a look for the field in a packed hash; whether a field was there twice is seen at the end, by
    /// [`Hash::is_of`].
    pub fn add(&mut self, field: &[u8], value: &[u8], limits: &Limits) {
        self.prepare([field, value].into_iter(), limits);
        match self {
            Self::Packed(pack) => {
                pack.push_back(field);
                pack.push_back(value);
            }
            Self::Table(bag) => {
                bag.set(field, value);
            }
            Self::Timed(timed) => {
                timed.set(field, value, false, limits);
            }
        }
    }

    /// Whether the hash that was made by [`Hash::add`] is of `count` different fields.
    #[must_use]
    pub fn is_of(&self, count: usize) -> bool {
        let is_distinct = match self {
            Self::Packed(pack) => pack.is_map(),
            // What was there twice is so but once now.
            Self::Table(_) => true,
            Self::Timed(timed) => timed.is_distinct(),
        };
        is_distinct && self.stored_len() == count
    }

    fn place(pack: &Listpack, field: &[u8]) -> Option<usize> {
        pack.find(pack.first(), field, 1)
    }

    /// The value of a field.
    #[must_use]
    pub fn get(&self, field: &[u8]) -> Option<FieldValue<'_>> {
        match self {
            Self::Packed(pack) => pack.get(pack.after(Self::place(pack, field)?)),
            Self::Table(bag) => bag.get(field).map(|item| Element::Bytes(item.tail())),
            Self::Timed(timed) => timed.get(field),
        }
    }

    /// Whether a field is there.
    #[must_use]
    pub fn contains(&self, field: &[u8]) -> bool {
        match self {
            Self::Packed(pack) => Self::place(pack, field).is_some(),
            Self::Table(bag) => bag.get(field).is_some(),
            Self::Timed(timed) => timed.get(field).is_some(),
        }
    }

    /// Becomes a table if any of `texts` is too long for a packed hash, as Redis does before it looks at the fields.
    pub fn prepare<'t>(&mut self, texts: impl Iterator<Item = &'t [u8]>, limits: &Limits) {
        match self {
            Self::Packed(pack) => {
                let mut sum = 0;
                for text in texts {
                    sum += text.len();
                    if text.len() > limits.hash_value {
                        return self.spread();
                    }
                }
                if !pack.has_room_for(sum) {
                    self.spread();
                }
            }
            Self::Table(_) => {}
            Self::Timed(timed) => timed.prepare(texts, limits),
        }
    }

    fn spread(&mut self) {
        if let Self::Packed(pack) = self {
            let mut bag = Bag::default();
            for (field, value) in pack.pairs() {
                field.with_text(|field| value.with_text(|value| bag.set(field, value)));
            }
            *self = Self::Table(Box::new(bag));
        }
    }

    /// As [`Hash::set`], and a deadline that the field has stays.
    pub fn set_keeping_deadline(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        match self {
            Self::Timed(timed) => timed.set(field, value, true, limits),
            _ => self.set(field, value, limits),
        }
    }

    /// Sets a field, which then has no deadline. Answers whether it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        if field.len() > limits.hash_value || value.len() > limits.hash_value {
            self.spread();
        }
        match self {
            Self::Packed(pack) => {
                let new = match Self::place(pack, field) {
                    Some(position) => {
                        let value_at = pack.after(position);
                        pack.replace(value_at, value);
                        false
                    }
                    None => {
                        pack.push_back(field);
                        pack.push_back(value);
                        true
                    }
                };
                if new && self.len() > limits.hash_entries {
                    self.spread();
                }
                new
            }
            Self::Table(bag) => bag.set(field, value),
            Self::Timed(timed) => timed.set(field, value, false, limits),
        }
    }

    /// Removes a field. Answers whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match self {
            Self::Packed(pack) => match Self::place(pack, field) {
                Some(position) => {
                    pack.remove(position, 2);
                    true
                }
                None => false,
            },
            Self::Table(bag) => bag.remove(field),
            Self::Timed(timed) => timed.remove(field),
        }
    }

    /// Calls `visit` with each field and its value.
    pub fn for_each(&self, mut visit: impl FnMut(Element<'_>, Element<'_>)) {
        match self {
            Self::Packed(pack) => {
                pack.pairs().for_each(|(field, value)| visit(field, value));
            }
            Self::Table(bag) => {
                for item in bag.iter() {
                    visit(Element::Bytes(item.key()), Element::Bytes(item.tail()));
                }
            }
            Self::Timed(timed) => timed.for_each(visit),
        }
    }

    /// Calls `visit` with each field, its value and its deadline, those past it included: for copies of the data.
    pub fn for_each_stored(&self, mut visit: impl FnMut(Element<'_>, Element<'_>, Option<i64>)) {
        match self {
            Self::Timed(timed) => timed.for_each_stored(visit),
            _ => self.for_each(|field, value| visit(field, value, None)),
        }
    }

    /// Visits some fields and answers the next cursor, 0 at the end; a packed hash is visited whole.
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(Element<'_>, Element<'_>)) -> u64 {
        match self {
            Self::Packed(_) => {
                self.for_each(visit);
                0
            }
            Self::Table(bag) => bag.scan(cursor, |item| {
                visit(Element::Bytes(item.key()), Element::Bytes(item.tail()));
            }),
            Self::Timed(timed) => timed.scan(cursor, visit),
        }
    }

    /// Calls `visit` with `wanted` different fields chosen at random and their values, or all when there are no more.
    pub fn with_some(&self, wanted: usize, mut visit: impl FnMut(Element<'_>, Element<'_>)) {
        match self {
            Self::Packed(pack) => {
                some_of(pack.pairs(), self.len(), wanted, |(field, value)| visit(field, value));
            }
            Self::Table(bag) => bag.with_some(wanted, |item| {
                visit(Element::Bytes(item.key()), Element::Bytes(item.tail()));
            }),
            Self::Timed(timed) => timed.with_some(wanted, visit),
        }
    }

    /// Calls `visit` with a random field and its value.
    pub fn with_random(&self, mut visit: impl FnMut(Element<'_>, Element<'_>)) {
        match self {
            Self::Packed(pack) => {
                let fields = pack.len() / 2;
                if fields == 0 {
                    return;
                }
                let index = rand::rng().random_range(0..fields) * 2;
                let found = pack.seek(index).and_then(|position| {
                    Some((pack.get(position)?, pack.get(pack.after(position))?))
                });
                if let Some((field, value)) = found {
                    visit(field, value);
                }
            }
            Self::Table(bag) => {
                if let Some(item) = bag.random() {
                    visit(Element::Bytes(item.key()), Element::Bytes(item.tail()));
                }
            }
            Self::Timed(timed) => timed.with_random(visit),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spreads_at_redis_thresholds() {
        let limits = Limits::default();
        let mut hash = Hash::default();
        for n in 0..limits.hash_entries {
            hash.set(n.to_string().as_bytes(), b"v", &limits);
        }
        assert_eq!(hash.encoding_name(), "listpack");
        hash.set(b"one more", b"v", &limits);
        assert_eq!(hash.encoding_name(), "hashtable");
        let mut hash = Hash::default();
        hash.set(b"f", &[b'v'; 64], &limits);
        assert_eq!(hash.encoding_name(), "listpack");
        hash.set(b"f", &[b'v'; 65], &limits);
        assert_eq!(hash.encoding_name(), "hashtable");
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(
            steps in prop::collection::vec((0_u8..3, 0_u16..60, prop::collection::vec(any::<u8>(), 0..40)), 1..200),
            entries in 1_usize..80,
        ) {
            let limits = Limits { hash_entries: entries, hash_value: 30, ..Limits::default() };
            let mut hash = Hash::default();
            let mut model = BTreeMap::new();
            for (what, field, value) in steps {
                let field = field.to_string().into_bytes();
                if what < 2 {
                    let new = model.insert(field.clone(), value.clone()).is_none();
                    prop_assert_eq!(hash.set(&field, &value, &limits), new);
                } else {
                    prop_assert_eq!(hash.remove(&field), model.remove(&field).is_some());
                }
                prop_assert_eq!(hash.get(&field).map(Element::to_vec), model.get(&field).cloned());
                prop_assert_eq!(hash.len(), model.len());
            }
            let mut all = BTreeMap::new();
            hash.for_each(|field, value| {
                all.insert(field.to_vec(), value.to_vec());
            });
            prop_assert_eq!(all, model);
        }
    }
}
