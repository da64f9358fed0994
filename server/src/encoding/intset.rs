//! The intset: sorted integers in one allocation, each as wide as the widest needs.
//!
//! ```text
//!   width: u32 (2, 4 or 8) │ count: u32 │ integers, ascending, little endian
//! ```
//!
//! The bytes are Redis's, for they go into RDB files and DUMP payloads as they are.

const HEADER: usize = 8;

/// A set of integers.
#[derive(Clone, Debug)]
pub struct IntSet {
    bytes: Box<[u8]>,
}

impl Default for IntSet {
    fn default() -> Self {
        Self { bytes: Box::new([2, 0, 0, 0, 0, 0, 0, 0]) }
    }
}

fn width_of(number: i64) -> usize {
    if i16::try_from(number).is_ok() {
        2
    } else if i32::try_from(number).is_ok() {
        4
    } else {
        8
    }
}

fn read(bytes: &[u8], width: usize, index: usize) -> i64 {
    let at = HEADER + index * width;
    let part = &bytes[at..at + width];
    match width {
        2 => i64::from(i16::from_le_bytes([part[0], part[1]])),
        4 => i64::from(i32::from_le_bytes([part[0], part[1], part[2], part[3]])),
        _ => {
            let mut full = [0; 8];
            full.copy_from_slice(part);
            i64::from_le_bytes(full)
        }
    }
}

impl IntSet {
    /// Takes bytes from outside in, if they are a well-formed intset.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
        };
        let (width, count) = (word(0)?, word(4)?);
        if !matches!(width, 2 | 4 | 8) || bytes.len() != HEADER + width * count {
            return None;
        }
        let set = Self { bytes: bytes.into() };
        let ascending = (1..count).all(|index| set.at(index - 1) < set.at(index));
        ascending.then_some(set)
    }

    /// The set as it goes into files.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn width(&self) -> usize {
        self.bytes[0] as usize
    }

    /// Integers.
    #[must_use]
    pub fn len(&self) -> usize {
        (self.bytes.len() - HEADER) / self.width()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER
    }

    /// The integer at an index.
    #[must_use]
    pub fn at(&self, index: usize) -> i64 {
        read(&self.bytes, self.width(), index)
    }

    fn place(&self, number: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.at(middle).cmp(&number) {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Whether an integer is there.
    #[must_use]
    pub fn contains(&self, number: i64) -> bool {
        self.place(number).is_ok()
    }

    /// Adds an integer. Answers whether it is new.
    pub fn insert(&mut self, number: i64) -> bool {
        let Err(place) = self.place(number) else { return false };
        let (old, count) = (self.width(), self.len());
        let width = old.max(width_of(number));
        let mut bytes = Vec::with_capacity(HEADER + (count + 1) * width);
        bytes.extend_from_slice(&(width as u32).to_le_bytes());
        bytes.extend_from_slice(&(count as u32 + 1).to_le_bytes());
        if width == old {
            let at = HEADER + place * width;
            bytes.extend_from_slice(&self.bytes[HEADER..at]);
            bytes.extend_from_slice(&number.to_le_bytes()[..width]);
            bytes.extend_from_slice(&self.bytes[at..]);
        } else {
            for index in 0..=count {
                let number = match index.cmp(&place) {
                    std::cmp::Ordering::Less => self.at(index),
                    std::cmp::Ordering::Equal => number,
                    std::cmp::Ordering::Greater => self.at(index - 1),
                };
                bytes.extend_from_slice(&number.to_le_bytes()[..width]);
            }
        }
        self.bytes = bytes.into_boxed_slice();
        true
    }

    /// Removes an integer. Answers whether it was there.
    pub fn remove(&mut self, number: i64) -> bool {
        let Ok(place) = self.place(number) else { return false };
        let (width, count) = (self.width(), self.len());
        let at = HEADER + place * width;
        let mut bytes = std::mem::take(&mut self.bytes).into_vec();
        bytes.drain(at..at + width);
        bytes[4..8].copy_from_slice(&(count as u32 - 1).to_le_bytes());
        self.bytes = bytes.into_boxed_slice();
        true
    }

    /// All integers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.len()).map(|index| self.at(index))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_sorted_set(steps in prop::collection::vec(
            (any::<bool>(), prop_oneof![-50_i64..50, any::<i64>(), -70_000_i64..70_000]), 0..200)) {
            let mut set = IntSet::default();
            let mut model = BTreeSet::new();
            for (adds, number) in steps {
                if adds {
                    prop_assert_eq!(set.insert(number), model.insert(number));
                } else {
                    prop_assert_eq!(set.remove(number), model.remove(&number));
                }
                prop_assert_eq!(set.contains(number), adds);
            }
            prop_assert!(set.iter().eq(model.iter().copied()));
            let again = IntSet::from_bytes(set.as_bytes()).expect("well formed");
            prop_assert_eq!(again.len(), model.len());
        }

        #[test]
        fn bytes_from_outside_never_panic(bytes in prop::collection::vec(0_u8..9, 0..40)) {
            if let Some(set) = IntSet::from_bytes(&bytes) {
                prop_assert_eq!(set.iter().count(), set.len());
            }
        }
    }
}
