//! A set of slots, with the bits of the bus.

use std::ops::ControlFlow;

use redstart_common::slot::SLOT_COUNT;

/// Words of a set.
pub const SLOT_WORDS: usize = SLOT_COUNT as usize / 64;
/// Bytes of a set on the bus.
pub const SLOT_BYTES: usize = SLOT_COUNT as usize / 8;

/// Words of `SlotSet::filled`.
const FILLED_WORDS: usize = SLOT_WORDS / 64;

/// The empty set of the bus.
static EMPTY: [u8; SLOT_BYTES] = [0; SLOT_BYTES];

/// A set of slots: slot `n` is bit `n % 64` of word `n / 64`, which is the order of the bus, byte by byte.
///
/// Only words with slots in them are kept: each node of a cluster knows the slots of all others, of which one in a thousand has a word or
/// two, and most have none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SlotSet {
    /// Bit `n % 64` of word `n / 64` says whether word `n` has slots in it.
    filled: [u64; FILLED_WORDS],
    /// The words that have, in order.
    words: Vec<u64>,
    len: usize,
}

impl std::fmt::Debug for SlotSet {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self.ranges()).finish()
    }
}

/// The words of a set that have slots in them, by their places.
struct Filled<'s> {
    /// What is left of the words that say which there are, and how many of them have been looked at.
    rest: u64,
    group: usize,
    groups: &'s [u64; FILLED_WORDS],
    words: std::slice::Iter<'s, u64>,
}

impl Iterator for Filled<'_> {
    type Item = (usize, u64);

    fn next(&mut self) -> Option<(usize, u64)> {
        while self.rest == 0 {
            self.rest = *self.groups.get(self.group)?;
            self.group += 1;
        }
        let place = (self.group - 1) * 64 + self.rest.trailing_zeros() as usize;
        self.rest &= self.rest - 1;
        Some((place, *self.words.next()?))
    }
}

impl SlotSet {
    /// Adds a word behind all that there are, unless it is empty.
    fn append(&mut self, place: usize, word: u64) {
        if word != 0 {
            self.filled[place / 64] |= 1 << (place % 64);
            self.words.push(word);
            self.len += word.count_ones() as usize;
        }
    }

    /// Reads a set of the bus.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; SLOT_BYTES]) -> Self {
        let (chunks, _) = bytes.as_chunks::<8>();
        let mut set = Self::default();
        for (place, chunk) in chunks.iter().enumerate() {
            set.append(place, u64::from_le_bytes(*chunk));
        }
        set
    }

    /// Whether the bus would have the set so.
    #[must_use]
    pub fn is_bytes(&self, bytes: &[u8; SLOT_BYTES]) -> bool {
        // Each packet has one, most of it empty.
        let is_empty = |from: usize, to: usize| bytes[from * 8..to * 8] == EMPTY[from * 8..to * 8];
        let (chunks, _) = bytes.as_chunks::<8>();
        let mut from = 0;
        for (place, word) in self.filled() {
            if place > from && !is_empty(from, place) || chunks[place] != word.to_le_bytes() {
                return false;
            }
            from = place + 1;
        }
        is_empty(from, SLOT_WORDS)
    }

    /// Appends the set as the bus has it.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + SLOT_BYTES, 0);
        let (chunks, _) = out[start..].as_chunks_mut::<8>();
        for (place, word) in self.filled() {
            chunks[place] = word.to_le_bytes();
        }
    }

    /// All of its words, of which most may be empty.
    #[must_use]
    pub fn all_words(&self) -> [u64; SLOT_WORDS] {
        let mut words = [0; SLOT_WORDS];
        for (place, word) in self.filled() {
            words[place] = word;
        }
        words
    }

    /// The words with slots in them, by their places.
    fn filled(&self) -> Filled<'_> {
        Filled { rest: 0, group: 0, groups: &self.filled, words: self.words.iter() }
    }

    /// Goes through all words that this set or another has, until `look`, which is given the place and both words, breaks off.
    fn beside<B>(
        &self,
        other: &Self,
        mut look: impl FnMut(usize, u64, u64) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let (mut mine, mut theirs) = (self.words.iter(), other.words.iter());
        for (group, (of_mine, of_theirs)) in self.filled.iter().zip(&other.filled).enumerate() {
            let mut rest = of_mine | of_theirs;
            while rest != 0 {
                let bit = rest.trailing_zeros();
                rest &= rest - 1;
                let one = if of_mine >> bit & 1 == 1 { mine.next() } else { None };
                let other = if of_theirs >> bit & 1 == 1 { theirs.next() } else { None };
                let place = group * 64 + bit as usize;
                look(place, one.copied().unwrap_or(0), other.copied().unwrap_or(0))?;
            }
        }
        ControlFlow::Continue(())
    }

    /// The set whose words are what `of` makes of those of this set and another.
    fn with(&self, other: &Self, of: impl Fn(u64, u64) -> u64) -> Self {
        let mut set = Self::default();
        let _: ControlFlow<()> = self.beside(other, |place, one, other| {
            set.append(place, of(one, other));
            ControlFlow::Continue(())
        });
        set
    }

    /// Whether something holds of all words of this set and another.
    fn agrees(&self, other: &Self, holds: impl Fn(u64, u64) -> bool) -> bool {
        self.beside(other, |_, one, other| match holds(one, other) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        })
        .is_continue()
    }

    /// How many words with slots lie before a place, and whether there is one at it.
    #[inline]
    fn rank(&self, place: usize) -> (usize, bool) {
        let (word, bit) = (place / 64, place % 64);
        let before: u32 = self.filled[..word].iter().map(|word| word.count_ones()).sum();
        let here = self.filled[word];
        let within = (here & ((1 << bit) - 1)).count_ones();
        ((before + within) as usize, here >> bit & 1 == 1)
    }

    /// The word at a place.
    #[inline]
    fn word(&self, place: usize) -> u64 {
        match self.rank(place) {
            (rank, true) => self.words[rank],
            (_, false) => 0,
        }
    }

    /// Puts a word at a place.
    fn put(&mut self, place: usize, word: u64) {
        let (rank, is_there) = self.rank(place);
        let old = if is_there { self.words[rank] } else { 0 };
        self.len = self.len + word.count_ones() as usize - old.count_ones() as usize;
        match (is_there, word != 0) {
            (true, true) => self.words[rank] = word,
            (false, true) => {
                self.words.insert(rank, word);
                self.filled[place / 64] |= 1 << (place % 64);
            }
            (true, false) => {
                self.words.remove(rank);
                self.filled[place / 64] &= !(1 << (place % 64));
                if self.words.is_empty() {
                    self.words = Vec::new();
                }
            }
            (false, false) => {}
        }
    }

    /// Bytes that it has beside itself.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    /// Slots in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a slot is in it.
    #[must_use]
    #[inline]
    pub fn contains(&self, slot: u16) -> bool {
        slot < SLOT_COUNT && self.word(usize::from(slot / 64)) >> (slot % 64) & 1 == 1
    }

    /// Adds a slot; answers whether it was not there. One that cannot be is not added.
    pub fn insert(&mut self, slot: u16) -> bool {
        if slot >= SLOT_COUNT || self.contains(slot) {
            return false;
        }
        let place = usize::from(slot / 64);
        self.put(place, self.word(place) | 1 << (slot % 64));
        true
    }

    /// Adds all slots from the first to the last; those that cannot be are not added.
    pub fn insert_run(&mut self, first: u16, last: u16) {
        let last = last.min(SLOT_COUNT - 1);
        for place in first / 64..=last / 64 {
            let from = first.max(place * 64) % 64;
            let to = last.min(place * 64 + 63) % 64;
            if first <= last {
                let place = usize::from(place);
                let run = (u64::MAX << from) & (u64::MAX >> (63 - to));
                self.put(place, self.word(place) | run);
            }
        }
    }

    /// Takes a slot out; answers whether it was there.
    pub fn remove(&mut self, slot: u16) -> bool {
        if !self.contains(slot) {
            return false;
        }
        let place = usize::from(slot / 64);
        self.put(place, self.word(place) & !(1 << (slot % 64)));
        true
    }

    /// The slots, in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        let mut words = self.filled();
        let (mut place, mut rest) = (0, 0);
        std::iter::from_fn(move || {
            if rest == 0 {
                (place, rest) = words.next()?;
            }
            let bit = rest.trailing_zeros();
            rest &= rest - 1;
            Some((place * 64) as u16 + bit as u16)
        })
    }

    /// The slots as ranges of first and last.
    pub fn ranges(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        let mut words = self.filled();
        let mut rest = (0, 0);
        let mut open: Option<(u16, u16)> = None;
        std::iter::from_fn(move || {
            loop {
                while rest.1 == 0 {
                    let Some(next) = words.next() else { return open.take() };
                    rest = next;
                }
                let (place, word) = rest;
                let bit = word.trailing_zeros();
                let length = (!(word >> bit)).trailing_zeros();
                rest.1 = word & u64::MAX.checked_shl(bit + length).unwrap_or(0);
                let first = (place * 64) as u16 + bit as u16;
                let last = first + length as u16 - 1;
                match &mut open {
                    Some((_, end)) if *end + 1 == first => *end = last,
                    other => {
                        if let Some(done) = other.replace((first, last)) {
                            return Some(done);
                        }
                    }
                }
            }
        })
    }

    /// Whether no slot is in both.
    #[must_use]
    pub fn is_apart_from(&self, other: &Self) -> bool {
        self.agrees(other, |one, other| one & other == 0)
    }

    /// Whether no slot of this set is outside of another.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.agrees(other, |one, other| one & !other == 0)
    }

    /// Adds those of another set.
    pub fn add(&mut self, other: &Self) {
        *self = self.with(other, |one, other| one | other);
    }

    /// Reads slots as [`text`](Self::text) shows them.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut slots = Self::default();
        for range in text.split_ascii_whitespace() {
            let (first, last) = range.split_once('-')?;
            let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
            if last >= SLOT_COUNT {
                return None;
            }
            slots.insert_run(first, last);
        }
        Some(slots)
    }

    /// Its slots as `0-9 20-29`.
    #[must_use]
    pub fn text(&self) -> String {
        let ranges = self.ranges().map(|(first, last)| format!("{first}-{last}"));
        ranges.collect::<Vec<_>>().join(" ")
    }

    /// Those of this set that are not in another.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.with(other, |one, other| one & !other)
    }

    /// Those that are in both.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        self.with(other, |one, other| one & other)
    }

    /// Takes those of another set out.
    pub fn take_out(&mut self, other: &Self) {
        if !self.is_apart_from(other) {
            *self = self.without(other);
        }
    }
}

impl FromIterator<u16> for SlotSet {
    fn from_iter<I: IntoIterator<Item = u16>>(slots: I) -> Self {
        let mut set = Self::default();
        slots.into_iter().for_each(|slot| {
            set.insert(slot);
        });
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_is_as_a_plain_one(steps in prop::collection::vec((any::<bool>(), 0..SLOT_COUNT + 9), 0..200)) {
            let (mut set, mut plain) = (SlotSet::default(), BTreeSet::new());
            for (adds, slot) in steps {
                if adds {
                    prop_assert_eq!(set.insert(slot), slot < SLOT_COUNT && plain.insert(slot));
                } else {
                    prop_assert_eq!(set.remove(slot), plain.remove(&slot));
                }
            }
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), plain.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.len(), plain.len());
            let mut bytes = Vec::new();
            set.write_to(&mut bytes);
            for slot in 0..SLOT_COUNT {
                let bit = bytes[usize::from(slot / 8)] >> (slot % 8) & 1 == 1;
                prop_assert_eq!(bit, plain.contains(&slot));
            }
            let read = SlotSet::from_bytes(bytes.as_slice().try_into().expect("as long"));
            prop_assert_eq!(&read, &set);
            prop_assert!(set.is_bytes(bytes.as_slice().try_into().expect("as long")));
            let ranged: Vec<u16> = set.ranges().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(ranged, set.iter().collect::<Vec<_>>());
            prop_assert!(set.without(&set).is_empty() && set.is_within(&set));
            prop_assert_eq!(set.is_within(&SlotSet::default()), set.is_empty());
            prop_assert!(set.is_empty() || !set.is_apart_from(&set));
            prop_assert_eq!(SlotSet::read(&set.text()), Some(set.clone()));
            let mut all = SlotSet::default();
            all.add(&set);
            prop_assert_eq!(&all, &set);
            prop_assert_eq!(set.words.len(), set.all_words().iter().filter(|word| **word != 0).count());
        }

        #[test]
        fn two_sets_are_as_two_plain_ones(
            one in prop::collection::btree_set(0..SLOT_COUNT, 0..300),
            other in prop::collection::btree_set(0..SLOT_COUNT, 0..300),
            run in 0..SLOT_COUNT - 200,
        ) {
            let mut grown = one.iter().copied().collect::<Vec<_>>();
            let mut set = SlotSet::default();
            grown.iter().for_each(|slot| assert!(set.insert(*slot)));
            let (first, last) = (run, other.first().copied().unwrap_or(run));
            set.insert_run(first, last);
            grown.extend(first..=last);
            grown.sort_unstable();
            grown.dedup();
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), grown);
            let other: BTreeSet<u16> = other.into_iter().chain(run..run + 200).collect();
            let of = |plain: &BTreeSet<u16>| {
                let mut set = SlotSet::default();
                plain.iter().for_each(|slot| assert!(set.insert(*slot)));
                set
            };
            let (mut a, b) = (of(&one), of(&other));
            prop_assert_eq!(a.is_apart_from(&b), one.is_disjoint(&other));
            prop_assert_eq!(a.is_within(&b), one.is_subset(&other));
            prop_assert_eq!(a.without(&b), of(&one.difference(&other).copied().collect()));
            prop_assert!(a.without(&b).is_within(&a) && a.without(&b).is_apart_from(&b));
            prop_assert_eq!(a.common(&b), one.intersection(&other).copied().collect());
            let mut left = a.clone();
            left.take_out(&b);
            prop_assert_eq!(left, a.without(&b));
            a.add(&b);
            prop_assert_eq!(&a, &of(&one.union(&other).copied().collect()));
            for slot in &other {
                a.remove(*slot);
            }
            prop_assert_eq!(a, of(&one.difference(&other).copied().collect()));
        }
    }
}
