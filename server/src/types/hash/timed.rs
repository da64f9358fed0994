//! A hash of which fields have deadlines. Small ones are a listpack of field, value, deadline …, as Redis 7.4 keeps
//! them; larger ones a bag whose tails begin with the deadline, and an index of what is due when.
//!
//! A field past its deadline is not seen from [`Timed::see_at`] on, which whoever looks the key up calls; it is removed
//! by [`Timed::take_due`]. What saves or copies the hash sees all ([`Timed::for_each_stored`]).

use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};

use rand::Rng;

use super::{FieldValue, Hash};
use crate::encoding::bag::{Bag, Tail, Thin};
use crate::encoding::choice::some_of;
use crate::encoding::listpack::{Element, Listpack};
use crate::encoding::table;
use crate::types::Limits;

/// The last deadline that a command gives a field, in milliseconds since 1970: as in Redis, of 46 bits.
pub const DEADLINE_MAX: i64 = (1 << 46) - 1;
/// The deadline of a field that has none.
const NEVER: i64 = i64::MAX;
/// Bytes of a deadline in a tail.
const DEADLINE_BYTES: usize = size_of::<i64>();
/// How often a field is drawn that is not seen, before those that are seen are counted.
const DRAWS_MAX: usize = 16;

/// A hash with deadlines. See the module's text.
#[derive(Clone)]
pub struct Timed {
    store: Store,
    /// The nearest deadline.
    next_due: i64,
    /// What is due at this time is not seen.
    seen_at: Cell<i64>,
}

#[derive(Clone)]
enum Store {
    /// Field, value, deadline (0 for none) …, in no order.
    Packed(Listpack),
    /// Tails are a deadline and the value. `due` has deadlines with the hashes of their fields; fields that share both
    /// share an item.
    Table { bag: Bag<Tail>, due: BTreeSet<(i64, u64)> },
}

impl Timed {
    /// Buckets and overflow buckets of its table, if it has one.
    #[must_use]
    pub fn bucket_counts(&self) -> Option<(usize, usize)> {
        match &self.store {
            Store::Packed(_) => None,
            Store::Table { bag, .. } => Some(bag.bucket_counts()),
        }
    }
}

fn deadline_of(item: &Thin<Tail>) -> i64 {
    item.tail().first_chunk().map_or(NEVER, |bytes| i64::from_le_bytes(*bytes))
}

fn value_of(item: &Thin<Tail>) -> Element<'_> {
    Element::Bytes(item.tail().get(DEADLINE_BYTES..).unwrap_or(b""))
}

/// Field, value and deadline, one after the other.
fn triples(pack: &Listpack) -> impl Iterator<Item = (Element<'_>, Element<'_>, i64)> {
    let mut elements = pack.iter();
    std::iter::from_fn(move || {
        let (field, value) = (elements.next()?, elements.next()?);
        let deadline = match elements.next()? {
            Element::Int(0) | Element::Bytes(_) => NEVER,
            Element::Int(deadline) => deadline,
        };
        Some((field, value, deadline))
    })
}

/// What stands in a listpack for a deadline.
fn packed_deadline(deadline: i64) -> i64 {
    if deadline == NEVER { 0 } else { deadline }
}

fn place(pack: &Listpack, field: &[u8]) -> Option<usize> {
    pack.find(pack.first(), field, 2)
}

/// The deadline in the triple that begins at `position`.
fn deadline_at(pack: &Listpack, position: usize) -> i64 {
    match pack.get(pack.after(pack.after(position))) {
        Some(Element::Int(deadline)) if deadline != 0 => deadline,
        _ => NEVER,
    }
}

impl Timed {
    /// The same fields and values, without any deadline.
    #[must_use]
    pub fn from_hash(hash: &Hash) -> Self {
        let store = match hash {
            Hash::Packed(plain) => {
                let mut pack = Listpack::new();
                for (field, value) in plain.pairs() {
                    field.with_text(|text| pack.push_back(text));
                    value.with_text(|text| pack.push_back(text));
                    pack.push_back_int(0);
                }
                Store::Packed(pack)
            }
            Hash::Table(plain) => {
                let mut bag = Bag::default();
                for item in plain.iter() {
                    put(&mut bag, item.key(), item.tail(), NEVER);
                }
                Store::Table { bag, due: BTreeSet::new() }
            }
            Hash::Timed(timed) => timed.store.clone(),
        };
        let mut timed = Self { store, next_due: NEVER, seen_at: Cell::new(i64::MIN) };
        timed.find_next();
        timed
    }

    /// Sets the time from which deadlines are looked at; with [`i64::MIN`] none is past.
    pub fn see_at(&self, now_ms: i64) {
        self.seen_at.set(now_ms);
    }

    /// The nearest deadline, if there is any, in milliseconds since 1970.
    #[must_use]
    pub fn next_due(&self) -> Option<i64> {
        (self.next_due != NEVER).then_some(self.next_due)
    }

    fn is_seen(&self, deadline: i64) -> bool {
        deadline > self.seen_at.get()
    }

    /// Whether there are fields that are not seen.
    fn hides(&self) -> bool {
        !self.is_seen(self.next_due)
    }

    /// Fields, unseen ones included.
    #[must_use]
    pub fn stored_len(&self) -> usize {
        match &self.store {
            Store::Packed(pack) => pack.len() / 3,
            Store::Table { bag, .. } => bag.len(),
        }
    }

    /// Fields that are seen.
    #[must_use]
    pub fn seen_len(&self) -> usize {
        if !self.hides() {
            return self.stored_len();
        }
        let mut seen = 0;
        self.for_each(|_, _| seen += 1);
        seen
    }

    /// Whether the form is that of a small hash.
    #[must_use]
    pub fn is_packed(&self) -> bool {
        matches!(self.store, Store::Packed(_))
    }

    /// Whether all fields differ, which is so but for those that were added without a look while the hash was packed and
    /// had no deadlines.
    #[must_use]
    pub fn is_distinct(&self) -> bool {
        match &self.store {
            Store::Packed(pack) => {
                let mut seen = HashSet::new();
                triples(pack).all(|(field, _, _)| seen.insert(field))
            }
            Store::Table { .. } => true,
        }
    }

    /// Bytes that the hash has allocated, told from `samples` of its fields when it is a large one.
    #[must_use]
    pub fn allocated_bytes(&self, samples: usize) -> usize {
        size_of::<Self>()
            + match &self.store {
                Store::Packed(pack) => pack.allocated_bytes(),
                Store::Table { bag, due } => {
                    // A node of a B-tree is three quarters full, more or less.
                    bag.allocated_bytes(samples) + due.len() * size_of::<(i64, u64)>() * 4 / 3
                }
            }
    }

    /// The value and the deadline of a field that is seen.
    fn find(&self, field: &[u8]) -> Option<(FieldValue<'_>, i64)> {
        let (value, deadline) = match &self.store {
            Store::Packed(pack) => {
                let position = place(pack, field)?;
                (pack.get(pack.after(position))?, deadline_at(pack, position))
            }
            Store::Table { bag, .. } => {
                let item = bag.get(field)?;
                (value_of(item), deadline_of(item))
            }
        };
        self.is_seen(deadline).then_some((value, deadline))
    }

    /// The value of a field.
    #[must_use]
    pub fn get(&self, field: &[u8]) -> Option<FieldValue<'_>> {
        self.find(field).map(|(value, _)| value)
    }

    /// The deadline of a field, which may have none; `None` without such a field.
    #[must_use]
    pub fn deadline(&self, field: &[u8]) -> Option<Option<i64>> {
        self.find(field).map(|(_, deadline)| (deadline != NEVER).then_some(deadline))
    }

    /// A small hash as Redis 7.4 has it in its files: field, value, deadline …, the nearest deadline first and what has
    /// none (0) last.
    #[must_use]
    pub fn sorted_listpack(&self) -> Option<Listpack> {
        let Store::Packed(pack) = &self.store else { return None };
        let mut all: Vec<_> = triples(pack).collect();
        all.sort_by_key(|(_, _, deadline)| *deadline);
        let mut sorted = Listpack::new();
        for (field, value, deadline) in all {
            field.with_text(|text| sorted.push_back(text));
            value.with_text(|text| sorted.push_back(text));
            sorted.push_back_int(packed_deadline(deadline));
        }
        Some(sorted)
    }

    /// Becomes a table.
    fn spread(&mut self) {
        if let Store::Packed(pack) = &self.store {
            let (mut bag, mut due) = (Bag::default(), BTreeSet::new());
            for (field, value, deadline) in triples(pack) {
                field.with_text(|field| {
                    value.with_text(|value| put(&mut bag, field, value, deadline));
                    if deadline != NEVER {
                        due.insert((deadline, table::hash(field)));
                    }
                });
            }
            self.store = Store::Table { bag, due };
        }
    }

    /// Becomes a table if any of `texts` is too long for a packed hash.
    pub fn prepare<'t>(&mut self, texts: impl Iterator<Item = &'t [u8]>, limits: &Limits) {
        if let Store::Packed(pack) = &self.store {
            let mut sum = 0;
            let mut is_long = false;
            for text in texts {
                sum += text.len();
                is_long |= text.len() > limits.hash_value;
            }
            if is_long || !pack.has_room_for(sum) {
                self.spread();
            }
        }
    }

    /// Sets a field's value; its deadline goes unless it is to be `kept`. Answers whether the field is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], kept: bool, limits: &Limits) -> bool {
        self.prepare([field, value].into_iter(), limits);
        let old = self.find(field).map(|(_, deadline)| deadline);
        let deadline = old.filter(|_| kept).unwrap_or(NEVER);
        self.write(field, Some(value), deadline);
        if old.is_none()
            && matches!(&self.store, Store::Packed(pack) if pack.len() / 3 > limits.hash_entries)
        {
            self.spread();
        }
        old.is_none()
    }

    /// Gives a field that is seen a deadline, or takes it away. Answers whether there is such a field.
    pub fn set_deadline(&mut self, field: &[u8], deadline: Option<i64>) -> bool {
        let is_there = self.find(field).is_some();
        if is_there {
            self.write(field, None, deadline.unwrap_or(NEVER));
        }
        is_there
    }

    /// Writes a field's value, if one is given, and its deadline.
    fn write(&mut self, field: &[u8], value: Option<&[u8]>, deadline: i64) {
        let old = match &mut self.store {
            Store::Packed(pack) => match place(pack, field) {
                Some(position) => {
                    let old = deadline_at(pack, position);
                    let at = pack.after(position);
                    if let Some(value) = value {
                        pack.replace(at, value);
                    }
                    let at = pack.after(at);
                    let mut digits = itoa::Buffer::new();
                    pack.replace(at, digits.format(packed_deadline(deadline)).as_bytes());
                    old
                }
                None => {
                    pack.push_back(field);
                    pack.push_back(value.unwrap_or(b""));
                    pack.push_back_int(packed_deadline(deadline));
                    NEVER
                }
            },
            Store::Table { bag, due } => {
                let held = bag.get(field).map(|item| (deadline_of(item), value_of(item).to_vec()));
                let old = held.as_ref().map_or(NEVER, |(old, _)| *old);
                match (value, &held) {
                    (Some(value), _) => put(bag, field, value, deadline),
                    (None, Some((_, value))) => put(bag, field, value, deadline),
                    (None, None) => put(bag, field, b"", deadline),
                }
                if old != deadline {
                    leave(bag, due, old, table::hash(field));
                    if deadline != NEVER {
                        due.insert((deadline, table::hash(field)));
                    }
                }
                old
            }
        };
        if deadline < self.next_due {
            self.next_due = deadline;
        } else if old == self.next_due && old != deadline {
            self.find_next();
        }
    }

    fn find_next(&mut self) {
        self.next_due = match &self.store {
            Store::Packed(pack) => {
                triples(pack).map(|(_, _, deadline)| deadline).min().unwrap_or(NEVER)
            }
            Store::Table { due, .. } => due.first().map_or(NEVER, |(deadline, _)| *deadline),
        };
    }

    /// Removes a field. Answers whether it was seen.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        let old = match &mut self.store {
            Store::Packed(pack) => {
                let Some(position) = place(pack, field) else { return false };
                let old = deadline_at(pack, position);
                pack.remove(position, 3);
                old
            }
            Store::Table { bag, due } => {
                let Some(old) = bag.get(field).map(deadline_of) else { return false };
                bag.remove(field);
                leave(bag, due, old, table::hash(field));
                old
            }
        };
        if old == self.next_due {
            self.find_next();
        }
        self.is_seen(old)
    }

    /// Removes up to `most` fields that are due at `now_ms`, and shows them.
    pub fn take_due(&mut self, now_ms: i64, most: usize, mut visit: impl FnMut(&[u8])) {
        let mut taken = Vec::new();
        while taken.len() < most && self.next_due <= now_ms {
            match &mut self.store {
                Store::Packed(pack) => {
                    for (field, _, deadline) in triples(pack) {
                        if deadline <= now_ms && taken.len() < most {
                            taken.push(field.to_vec());
                        }
                    }
                    for field in &taken {
                        if let Some(position) = place(pack, field) {
                            pack.remove(position, 3);
                        }
                    }
                }
                Store::Table { bag, due } => {
                    while taken.len() < most
                        && let Some(&(deadline, hash)) = due.first()
                        && deadline <= now_ms
                    {
                        if let Some(item) = bag.find_by(hash, |item| deadline_of(item) == deadline)
                        {
                            let field = item.key().to_vec();
                            bag.remove(&field);
                            taken.push(field);
                        }
                        leave(bag, due, deadline, hash);
                    }
                }
            }
            self.find_next();
        }
        taken.iter().for_each(|field| visit(field));
    }

    /// Calls `visit` with each field that is seen and its value.
    pub fn for_each(&self, mut visit: impl FnMut(Element<'_>, Element<'_>)) {
        self.for_each_stored(|field, value, deadline| {
            if self.is_seen(deadline.unwrap_or(NEVER)) {
                visit(field, value);
            }
        });
    }

    /// Calls `visit` with each field, its value and its deadline, whether it is seen or not.
    pub fn for_each_stored(&self, mut visit: impl FnMut(Element<'_>, Element<'_>, Option<i64>)) {
        let given = |deadline| (deadline != NEVER).then_some(deadline);
        match &self.store {
            Store::Packed(pack) => {
                for (field, value, deadline) in triples(pack) {
                    visit(field, value, given(deadline));
                }
            }
            Store::Table { bag, .. } => {
                for item in bag.iter() {
                    visit(Element::Bytes(item.key()), value_of(item), given(deadline_of(item)));
                }
            }
        }
    }

    /// As [`Timed::for_each_stored`], for the fields of one bucket of a large hash; a small one has but the first. Answers
    /// whether there is such a bucket.
    pub fn visit_bucket(
        &self,
        index: usize,
        mut visit: impl FnMut(Element<'_>, Element<'_>, Option<i64>),
    ) -> bool {
        match &self.store {
            Store::Packed(_) => {
                if index == 0 {
                    self.for_each_stored(visit);
                }
                index == 0
            }
            Store::Table { bag, .. } => bag.visit_bucket(index, |item| {
                let deadline = deadline_of(item);
                let deadline = (deadline != NEVER).then_some(deadline);
                visit(Element::Bytes(item.key()), value_of(item), deadline);
            }),
        }
    }

    /// Visits some fields that are seen and answers the next cursor, 0 at the end; a packed hash is visited whole.
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(Element<'_>, Element<'_>)) -> u64 {
        match &self.store {
            Store::Packed(_) => {
                self.for_each(visit);
                0
            }
            Store::Table { bag, .. } => bag.scan(cursor, |item| {
                if self.is_seen(deadline_of(item)) {
                    visit(Element::Bytes(item.key()), value_of(item));
                }
            }),
        }
    }

    /// Calls `visit` with `wanted` different fields that are seen, chosen at random, and their values, or all when there
    /// are no more.
    pub fn with_some(&self, wanted: usize, mut visit: impl FnMut(Element<'_>, Element<'_>)) {
        match &self.store {
            Store::Table { bag, .. } if !self.hides() => bag.with_some(wanted, |item| {
                visit(Element::Bytes(item.key()), value_of(item));
            }),
            Store::Table { bag, .. } => {
                let seen = bag.iter().filter(|item| self.is_seen(deadline_of(item)));
                some_of(seen, self.seen_len(), wanted, |item| {
                    visit(Element::Bytes(item.key()), value_of(item));
                });
            }
            Store::Packed(pack) => {
                let seen = triples(pack).filter(|(_, _, deadline)| self.is_seen(*deadline));
                some_of(seen, self.seen_len(), wanted, |(field, value, _)| visit(field, value));
            }
        }
    }

    /// Calls `visit` with a random field that is seen, and its value.
    pub fn with_random(&self, mut visit: impl FnMut(Element<'_>, Element<'_>)) {
        match &self.store {
            Store::Packed(pack) => {
                let seen = self.seen_len();
                if seen > 0 {
                    let nth = rand::rng().random_range(0..seen);
                    let mut all = triples(pack).filter(|(_, _, deadline)| self.is_seen(*deadline));
                    if let Some((field, value, _)) = all.nth(nth) {
                        visit(field, value);
                    }
                }
            }
            Store::Table { bag, .. } => {
                for _ in 0..DRAWS_MAX {
                    let Some(item) = bag.random() else { return };
                    if self.is_seen(deadline_of(item)) {
                        return visit(Element::Bytes(item.key()), value_of(item));
                    }
                }
                self.with_some(1, visit);
            }
        }
    }

    /// Asks the processor to fetch the bucket of a field's hash.
    #[inline]
    pub fn prefetch(&self, field: u64) {
        if let Store::Table { bag, .. } = &self.store {
            bag.prefetch(field);
        }
    }

    /// Asks the processor to fetch the item of a field's hash; the bucket should be there already.
    #[inline]
    pub fn prefetch_item(&self, field: u64) {
        if let Store::Table { bag, .. } = &self.store {
            bag.prefetch_item(field);
        }
    }
}

/// Sets a field in a bag.
fn put(bag: &mut Bag<Tail>, field: &[u8], value: &[u8], deadline: i64) {
    let mut tail = Vec::with_capacity(DEADLINE_BYTES + value.len());
    tail.extend_from_slice(&deadline.to_le_bytes());
    tail.extend_from_slice(value);
    bag.set(field, &tail);
}

/// A field has left its deadline: the item of the index goes, unless another field shares it.
fn leave(bag: &Bag<Tail>, due: &mut BTreeSet<(i64, u64)>, deadline: i64, hash: u64) {
    if deadline != NEVER && bag.find_by(hash, |item| deadline_of(item) == deadline).is_none() {
        due.remove(&(deadline, hash));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

    fn seen(model: &Model, now: i64) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let live = model.iter().filter(|(_, (_, due))| due.is_none_or(|due| due > now));
        live.map(|(field, (value, _))| (field.clone(), value.clone())).collect()
    }

    fn check(timed: &Timed, model: &Model, now: i64) {
        let expected = seen(model, now);
        let mut all = BTreeMap::new();
        timed.for_each(|field, value| {
            assert!(all.insert(field.to_vec(), value.to_vec()).is_none(), "twice");
        });
        assert_eq!(all, expected);
        assert_eq!(timed.seen_len(), expected.len());
        assert_eq!(timed.stored_len(), model.len());
        assert_eq!(timed.next_due(), model.values().filter_map(|(_, due)| *due).min());
        let mut cursor = 0;
        let mut scanned = BTreeMap::new();
        loop {
            cursor = timed.scan(cursor, |field, value| {
                scanned.insert(field.to_vec(), value.to_vec());
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(scanned, expected);
        for wanted in [1, 3, 100] {
            let mut some = BTreeMap::new();
            timed.with_some(wanted, |field, value| {
                some.insert(field.to_vec(), value.to_vec());
            });
            assert_eq!(some.len(), wanted.min(expected.len()));
            assert!(some.iter().all(|(field, value)| expected.get(field) == Some(value)));
        }
        let mut random = None;
        timed.with_random(|field, value| random = Some((field.to_vec(), value.to_vec())));
        match random {
            Some((field, value)) => assert_eq!(expected.get(&field), Some(&value)),
            None => assert!(expected.is_empty()),
        }
        let mut stored = Model::new();
        timed.for_each_stored(|field, value, due| {
            stored.insert(field.to_vec(), (value.to_vec(), due));
        });
        assert_eq!(&stored, model);
        let (mut by_bucket, mut bucket) = (Model::new(), 0);
        while timed.visit_bucket(bucket, |field, value, due| {
            by_bucket.insert(field.to_vec(), (value.to_vec(), due));
        }) {
            bucket += 1;
        }
        assert_eq!(&by_bucket, model);
    }

    proptest! {
        #[test]
        fn behaves_like_a_map_with_deadlines(
            steps in prop::collection::vec(
                (0_u8..8, 0_u8..25, prop::collection::vec(any::<u8>(), 0..40), 0_i64..60), 1..150),
            entries in 1_usize..40,
        ) {
            let limits = Limits { hash_entries: entries, hash_value: 30, ..Limits::default() };
            let mut timed = Timed::from_hash(&Hash::default());
            let (mut model, mut now) = (Model::new(), 100);
            for (what, field, value, ahead) in steps {
                let field = field.to_string().into_bytes();
                timed.see_at(now);
                let live = seen(&model, now).contains_key(&field);
                match what {
                    0 | 1 => {
                        prop_assert_eq!(timed.set(&field, &value, what == 1, &limits), !live);
                        let kept = model.get(&field).and_then(|held| held.1).filter(|_| live && what == 1);
                        model.insert(field.clone(), (value, kept));
                    }
                    2 | 3 => {
                        prop_assert_eq!(timed.set_deadline(&field, Some(now + ahead)), live);
                        if live {
                            model.entry(field.clone()).and_modify(|held| held.1 = Some(now + ahead));
                        }
                    }
                    4 => {
                        prop_assert_eq!(timed.set_deadline(&field, None), live);
                        if live {
                            model.entry(field.clone()).and_modify(|held| held.1 = None);
                        }
                    }
                    5 => {
                        prop_assert_eq!(timed.remove(&field), live);
                        model.remove(&field);
                    }
                    6 => {
                        let most = value.len();
                        let mut taken = 0;
                        timed.take_due(now, most, |field| {
                            taken += 1;
                            let held = model.remove(field);
                            assert!(held.is_some_and(|(_, due)| due.is_some_and(|due| due <= now)));
                        });
                        let left = model.values().any(|(_, due)| due.is_some_and(|due| due <= now));
                        prop_assert!(taken == most || !left);
                    }
                    _ => now += ahead,
                }
                timed.see_at(now);
                let expected = seen(&model, now);
                prop_assert_eq!(timed.get(&field).map(Element::to_vec), expected.get(&field).cloned());
                let due = expected.contains_key(&field).then(|| model[&field].1);
                prop_assert_eq!(timed.deadline(&field), due);
                check(&timed, &model, now);
            }
            timed.see_at(i64::MIN);
            check(&timed, &model, i64::MIN);
            timed.see_at(now);
            check(&timed.clone(), &model, now);
        }
    }
}
