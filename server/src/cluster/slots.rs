//! A set of slots, with the bits of the bus.

use redstart_common::slot::SLOT_COUNT;

/// Words of a set.
pub const SLOT_WORDS: usize = SLOT_COUNT as usize / 64;
/// Bytes of a set on the bus.
pub const SLOT_BYTES: usize = SLOT_COUNT as usize / 8;

/// A set of slots: slot `n` is bit `n % 64` of word `n / 64`, which is the order of the bus, byte by byte.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet {
    words: [u64; SLOT_WORDS],
    len: usize,
}

impl Default for SlotSet {
    fn default() -> Self {
        Self { words: [0; SLOT_WORDS], len: 0 }
    }
}

impl std::fmt::Debug for SlotSet {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self.ranges()).finish()
    }
}

impl SlotSet {
    /// Reads a set of the bus.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; SLOT_BYTES]) -> Self {
        let mut words = [0; SLOT_WORDS];
        let (chunks, _) = bytes.as_chunks::<8>();
        for (word, chunk) in words.iter_mut().zip(chunks) {
            *word = u64::from_le_bytes(*chunk);
        }
        let len = words.iter().map(|word| word.count_ones() as usize).sum();
        Self { words, len }
    }

    /// Whether the bus would have the set so.
    #[must_use]
    pub fn is_bytes(&self, bytes: &[u8; SLOT_BYTES]) -> bool {
        let (chunks, _) = bytes.as_chunks::<8>();
        self.words.iter().zip(chunks).all(|(word, chunk)| *word == u64::from_le_bytes(*chunk))
    }

    /// Appends the set as the bus has it.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.words.map(u64::to_le_bytes).as_flattened());
    }

    /// Its bits.
    #[must_use]
    pub fn words(&self) -> &[u64; SLOT_WORDS] {
        &self.words
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
        let word = self.words.get(usize::from(slot / 64));
        word.is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    /// Adds a slot; answers whether it was not there. One that cannot be is not added.
    pub fn insert(&mut self, slot: u16) -> bool {
        let Some(word) = self.words.get_mut(usize::from(slot / 64)) else { return false };
        let added = *word >> (slot % 64) & 1 == 0;
        *word |= 1 << (slot % 64);
        self.len += usize::from(added);
        added
    }

    /// Takes a slot out; answers whether it was there.
    pub fn remove(&mut self, slot: u16) -> bool {
        let was = self.contains(slot);
        if was {
            self.words[usize::from(slot / 64)] &= !(1 << (slot % 64));
            self.len -= 1;
        }
        was
    }

    /// The slots, in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.words.iter().enumerate().flat_map(|(place, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                rest &= rest.checked_sub(1)?;
                Some((place * 64) as u16 + bit as u16)
            })
        })
    }

    /// The slots as ranges of first and last.
    pub fn ranges(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        let mut from = 0;
        std::iter::from_fn(move || {
            let first = self.next_that(from, |word| word)?;
            let end = self.next_that(first, |word| !word).unwrap_or(SLOT_COUNT);
            from = end;
            Some((first, end - 1))
        })
    }

    /// The first slot from `from` on whose bit is set in what `of` makes of its word.
    fn next_that(&self, from: u16, of: impl Fn(u64) -> u64) -> Option<u16> {
        let mut place = usize::from(from / 64);
        let mut word = of(*self.words.get(place)?) & (u64::MAX << (from % 64));
        while word == 0 {
            place += 1;
            word = of(*self.words.get(place)?);
        }
        Some((place * 64) as u16 + word.trailing_zeros() as u16)
    }

    /// Whether no slot is in both.
    #[must_use]
    pub fn is_apart_from(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).all(|(one, other)| one & other == 0)
    }

    /// Whether no slot of this set is outside of another.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).all(|(one, other)| one & !other == 0)
    }

    /// Adds those of another set.
    pub fn add(&mut self, other: &Self) {
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
        self.len = self.words.iter().map(|word| word.count_ones() as usize).sum();
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
            for slot in first..=last {
                slots.insert(slot);
            }
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
        let mut words = self.words;
        for (word, taken) in words.iter_mut().zip(&other.words) {
            *word &= !taken;
        }
        let len = words.iter().map(|word| word.count_ones() as usize).sum();
        Self { words, len }
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
        }
    }
}
