//! Sets: of integers in an intset, small ones of any strings in a listpack, larger ones in a bag.
//!
//! Redis 7.0.15 keeps every set that is not of integers in a hash table, and OBJECT ENCODING says so here too; the
//! listpack beneath saves three quarters of the memory of a small set.

use rand::Rng;
use redstart_common::number::parse_i64;

use super::Limits;
use crate::encoding::bag::Bag;
use crate::encoding::choice::some_of;
use crate::encoding::intset::IntSet;
use crate::encoding::listpack::{Element, Listpack};

/// Members of a packed set of strings: few enough that a search beats hashing.
const PACKED_MEMBERS_MAX: usize = 32;
/// Bytes of a member of a packed set.
const PACKED_BYTES_MAX: usize = 64;

/// Integers of an integer set, whatever the limit says: Redis's own bound.
const INTS_MAX: usize = 1 << 30;

/// A set.
#[derive(Clone)]
pub enum Set {
    /// Integers.
    Ints(IntSet),
    /// A few strings.
    Packed(Listpack),
    /// Members found by hashing.
    Table(Box<Bag<()>>),
}

impl Default for Set {
    fn default() -> Self {
        Self::Ints(IntSet::default())
    }
}

impl Set {
    /// Members.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Ints(ints) => ints.len(),
            Self::Packed(pack) => pack.len(),
            Self::Table(bag) => bag.len(),
        }
    }

    /// Bytes that the set has allocated, told from `samples` of its members when it is a large one.
    #[must_use]
    pub fn allocated_bytes(&self, samples: usize) -> usize {
        match self {
            Self::Ints(ints) => ints.as_bytes().len(),
            Self::Packed(pack) => pack.allocated_bytes(),
            Self::Table(bag) => bag.allocated_bytes(samples),
        }
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name OBJECT ENCODING answers.
    #[must_use]
    pub fn encoding_name(&self) -> &'static str {
        match self {
            Self::Ints(_) => "intset",
            Self::Packed(_) | Self::Table(_) => "hashtable",
        }
    }

    /// Whether a member is there.
    #[must_use]
    pub fn contains(&self, member: &[u8]) -> bool {
        match self {
            Self::Ints(ints) => parse_i64(member).is_some_and(|number| ints.contains(number)),
            Self::Packed(pack) => pack.find(pack.first(), member, 0).is_some(),
            Self::Table(bag) => bag.get(member).is_some(),
        }
    }

    /// The set of integers.
    #[must_use]
    pub fn from_ints(ints: IntSet, limits: &Limits) -> Self {
        let is_large = ints.len() > limits.set_intset_entries.min(INTS_MAX);
        let mut set = Self::Ints(ints);
        if is_large {
            set.spread();
        }
        set
    }

    /// Adds a member. Answers whether it is new.
    pub fn insert(&mut self, member: &[u8], limits: &Limits) -> bool {
        match self {
            Self::Ints(ints) => {
                if let Some(number) = parse_i64(member) {
                    let new = ints.insert(number);
                    if new && ints.len() > limits.set_intset_entries.min(INTS_MAX) {
                        self.spread();
                    }
                    return new;
                }
                self.pack_or_spread(member);
                self.insert(member, limits)
            }
            Self::Packed(pack) => {
                if pack.find(pack.first(), member, 0).is_some() {
                    return false;
                }
                if pack.len() >= PACKED_MEMBERS_MAX || member.len() > PACKED_BYTES_MAX {
                    self.spread();
                    return self.insert(member, limits);
                }
                pack.push_back(member);
                true
            }
            Self::Table(bag) => bag.insert(member),
        }
    }

    /// Leaves the integers' form, for `member` is none.
    fn pack_or_spread(&mut self, member: &[u8]) {
        if let Self::Ints(ints) = self {
            if ints.len() < PACKED_MEMBERS_MAX && member.len() <= PACKED_BYTES_MAX {
                let mut pack = Listpack::new();
                ints.iter().for_each(|number| pack.push_back_int(number));
                *self = Self::Packed(pack);
            } else {
                self.spread();
            }
        }
    }

    fn spread(&mut self) {
        let mut bag = Bag::default();
        self.for_each(|member| {
            member.with_text(|member| bag.insert(member));
        });
        *self = Self::Table(Box::new(bag));
    }

    /// Removes a member. Answers whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            Self::Ints(ints) => parse_i64(member).is_some_and(|number| ints.remove(number)),
            Self::Packed(pack) => match pack.find(pack.first(), member, 0) {
                Some(position) => {
                    pack.remove(position, 1);
                    true
                }
                None => false,
            },
            Self::Table(bag) => bag.remove(member),
        }
    }

    /// Calls `visit` with each member.
    pub fn for_each(&self, mut visit: impl FnMut(Element<'_>)) {
        match self {
            Self::Ints(ints) => ints.iter().for_each(|number| visit(Element::Int(number))),
            Self::Packed(pack) => pack.iter().for_each(visit),
            Self::Table(bag) => bag.iter().for_each(|item| visit(Element::Bytes(item.key()))),
        }
    }

    /// Whether `check` holds for every member; stops at the first for which it does not.
    pub fn all(&self, mut check: impl FnMut(Element<'_>) -> bool) -> bool {
        match self {
            Self::Ints(ints) => ints.iter().all(|number| check(Element::Int(number))),
            Self::Packed(pack) => pack.iter().all(check),
            Self::Table(bag) => bag.iter().all(|item| check(Element::Bytes(item.key()))),
        }
    }

    /// Visits some members and answers the next cursor, 0 at the end; small forms are visited whole.
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(Element<'_>)) -> u64 {
        match self {
            Self::Table(bag) => bag.scan(cursor, |item| visit(Element::Bytes(item.key()))),
            _ => {
                self.for_each(visit);
                0
            }
        }
    }

    /// Calls `visit` with `wanted` different members chosen at random, or all when there are no more.
    pub fn with_some(&self, wanted: usize, mut visit: impl FnMut(Element<'_>)) {
        let count = self.len();
        match self {
            Self::Ints(ints) => {
                some_of(ints.iter(), count, wanted, |number| visit(Element::Int(number)));
            }
            Self::Packed(pack) => some_of(pack.iter(), count, wanted, visit),
            Self::Table(bag) => bag.with_some(wanted, |item| visit(Element::Bytes(item.key()))),
        }
    }

    /// Calls `visit` with a random member.
    pub fn with_random(&self, visit: impl FnOnce(Element<'_>)) {
        match self {
            Self::Ints(ints) if !ints.is_empty() => {
                visit(Element::Int(ints.at(rand::rng().random_range(0..ints.len()))));
            }
            Self::Ints(_) => {}
            Self::Packed(pack) => {
                let length = pack.len();
                let position = (length > 0)
                    .then(|| rand::rng().random_range(0..length))
                    .and_then(|index| pack.seek(index));
                if let Some(member) = position.and_then(|position| pack.get(position)) {
                    visit(member);
                }
            }
            Self::Table(bag) => {
                if let Some(item) = bag.random() {
                    visit(Element::Bytes(item.key()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn encodings_are_named_as_in_redis() {
        let limits = Limits::default();
        let mut set = Set::default();
        for n in 0..512 {
            set.insert(n.to_string().as_bytes(), &limits);
        }
        assert_eq!(set.encoding_name(), "intset");
        set.insert(b"512", &limits);
        assert_eq!(set.encoding_name(), "hashtable");
        let mut set = Set::default();
        set.insert(b"1", &limits);
        set.insert(b"a", &limits);
        assert_eq!(set.encoding_name(), "hashtable");
    }

    proptest! {
        #[test]
        fn behaves_like_a_sorted_set(steps in prop::collection::vec((0_u8..3, prop_oneof![
            (0_i64..80).prop_map(|n| n.to_string().into_bytes()),
            prop::collection::vec(b'a'..b'd', 0..4),
            prop::collection::vec(any::<u8>(), 60..70),
        ]), 1..300)) {
            let limits = Limits { set_intset_entries: 20, ..Limits::default() };
            let mut set = Set::default();
            let mut model = BTreeSet::new();
            for (what, member) in steps {
                if what < 2 {
                    prop_assert_eq!(set.insert(&member, &limits), model.insert(member.clone()));
                } else {
                    prop_assert_eq!(set.remove(&member), model.remove(&member));
                }
                prop_assert_eq!(set.contains(&member), model.contains(&member));
                prop_assert_eq!(set.len(), model.len());
            }
            let mut all = BTreeSet::new();
            set.for_each(|member| {
                all.insert(member.to_vec());
            });
            prop_assert_eq!(all, model);
        }
    }
}
