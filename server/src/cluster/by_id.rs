//! What belongs to the links of the bus, by their numbers.

use super::node::LinkId;

/// A value for each link, in the order of their numbers, which grow: a new one stands at the end, mostly. A node of a large cluster has
/// thousands, which a hash table would need twice the room for.
#[derive(Debug)]
pub struct ById<T> {
    entries: Vec<(LinkId, T)>,
}

impl<T> Default for ById<T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<T> ById<T> {
    fn place(&self, id: LinkId) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&id, |(id, _)| *id)
    }

    /// The value of a link.
    #[must_use]
    pub fn get(&self, id: LinkId) -> Option<&T> {
        self.place(id).ok().map(|place| &self.entries[place].1)
    }

    /// The value of a link.
    pub fn get_mut(&mut self, id: LinkId) -> Option<&mut T> {
        self.place(id).ok().map(|place| &mut self.entries[place].1)
    }

    /// Gives a link a value; answers the one that it had.
    pub fn insert(&mut self, id: LinkId, value: T) -> Option<T> {
        match self.place(id) {
            Ok(place) => Some(std::mem::replace(&mut self.entries[place].1, value)),
            Err(place) => {
                self.entries.insert(place, (id, value));
                None
            }
        }
    }

    /// Takes the value of a link out.
    pub fn remove(&mut self, id: LinkId) -> Option<T> {
        self.place(id).ok().map(|place| self.entries.remove(place).1)
    }

    /// All values, by number.
    pub fn iter(&self) -> impl Iterator<Item = (LinkId, &T)> {
        self.entries.iter().map(|(id, value)| (*id, value))
    }

    /// All values, by number.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (LinkId, &mut T)> {
        self.entries.iter_mut().map(|(id, value)| (*id, value))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroU64;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_as_a_map(steps in prop::collection::vec((0u8..3, 1u64..40), 0..200)) {
            let (mut tried, mut map) = (ById::default(), BTreeMap::new());
            for (place, (step, number)) in steps.into_iter().enumerate() {
                let id = LinkId(NonZeroU64::new(number).expect("not 0"));
                match step {
                    0 => prop_assert_eq!(tried.insert(id, place), map.insert(id, place)),
                    1 => prop_assert_eq!(tried.remove(id), map.remove(&id)),
                    _ => prop_assert_eq!(tried.get_mut(id).map(|it| *it), map.get(&id).copied()),
                }
                prop_assert_eq!(tried.get(id), map.get(&id));
            }
            prop_assert!(tried.iter().eq(map.iter().map(|(id, it)| (*id, it))));
            prop_assert_eq!(tried.iter_mut().count(), map.len());
        }
    }
}
