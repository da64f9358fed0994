//! Items by chance: one that may be any, or a few that are cheap to look at.

use std::ptr::NonNull;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use rand::Rng;
use smallvec::SmallVec;

use super::{ADDRESS, CHAIN, Item, LAST, SLOTS, Table, chain_of, prefetch};

/// Items that were drawn together.
pub type Drawn<T> = SmallVec<[NonNull<T>; 32]>;

impl<T: Item> Table<T> {
    /// An item drawn at random, each with the same chance as long as chains are short.
    #[must_use]
    pub fn random(&self) -> Option<NonNull<T>> {
        const LINKS: usize = 3;
        if self.items == 0 {
            return None;
        }
        let mut rng = rand::rng();
        for _ in 0..200 {
            let index = rng.random_range(0..self.buckets);
            let draw: usize = rng.random_range(0..SLOTS * LINKS);
            let mut bucket = Some(self.bucket(index));
            for _ in 0..draw / SLOTS {
                // SAFETY: a live bucket of this table.
                bucket = bucket.and_then(|bucket| chain_of(unsafe { bucket.as_ref().words[LAST] }));
            }
            let Some(bucket) = bucket else { continue };
            // SAFETY: as above.
            let word = unsafe { bucket.as_ref().words[draw % SLOTS] };
            if word & CHAIN == 0
                && let Some(item) = NonNull::new((word & ADDRESS) as *mut T)
            {
                return Some(item);
            }
        }
        // A sparse table, or luck: walk from a random bucket to the first item.
        let start = rng.random_range(0..self.buckets);
        for step in 0..self.buckets {
            let mut found = None;
            self.for_each_in_chain((start + step) % self.buckets, |item| found = Some(item));
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// `wanted` different items drawn at random, or all when there are no more. Meant for a few of many: what was drawn
    /// before is drawn in vain.
    #[must_use]
    pub fn some(&self, wanted: usize) -> Vec<NonNull<T>> {
        let wanted = wanted.min(self.items);
        let mut drawn = Vec::with_capacity(wanted);
        let mut seen = HashSet::with_capacity_and_hasher(wanted, RandomState::default());
        while drawn.len() < wanted {
            drawn.extend(self.random().filter(|item| seen.insert(*item)));
        }
        drawn
    }

    /// Draws up to `wanted` items that lie near each other: those of a random bucket, and of the ones behind it as
    /// far as it takes. An item of a full bucket is drawn less often than one that has its bucket to itself.
    ///
    /// The items' memory is asked for, but not waited for.
    pub fn sample(&self, wanted: usize, drawn: &mut Drawn<T>) {
        if self.items == 0 {
            return;
        }
        let mut rng = rand::rng();
        let mut index = rng.random_range(0..self.buckets);
        for _ in 0..self.buckets {
            let before = drawn.len();
            self.for_each_in_chain(index, |item| drawn.push(item));
            if drawn.len() > wanted {
                // Any of the last bucket's items may be the ones that are too many.
                let last = &mut drawn[before..];
                last.rotate_left(rng.random_range(0..last.len()));
                drawn.truncate(wanted);
            }
            if drawn.len() == wanted {
                break;
            }
            index = (index + 1) % self.buckets;
        }
        for item in drawn {
            prefetch(item.as_ptr().cast());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::tests::{emptied, filled, number};
    use super::*;

    #[test]
    fn random_is_fair() {
        let table = filled(100);
        let mut drawn = HashMap::new();
        for _ in 0..100_000 {
            *drawn.entry(number(table.random().expect("not empty"))).or_insert(0_u32) += 1;
        }
        let chi: f64 = (0..100)
            .map(|n| (f64::from(*drawn.get(&n).unwrap_or(&0)) - 1000.0).powi(2) / 1000.0)
            .sum();
        assert!(chi < 170.0, "chi square {chi} with 99 degrees of freedom");
        emptied(table);
    }

    #[test]
    fn some_are_different_ones_and_any() {
        let table = filled(40);
        let mut times = [0_i32; 40];
        for _ in 0..10_000 {
            let mut drawn: Vec<u64> = table.some(4).into_iter().map(number).collect();
            drawn.iter().for_each(|number| times[*number as usize] += 1);
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len(), 4);
        }
        assert!(times.iter().all(|times| (times - 1000).abs() < 200), "{times:?}");
        assert_eq!(table.some(100).len(), 40);
        emptied(table);
    }

    #[test]
    fn a_sample_is_of_different_items_and_reaches_all() {
        for (count, wanted) in [(1_u64, 5), (3, 5), (100, 1), (100, 5), (5000, 64), (7, 200)] {
            let table = filled(count);
            let mut seen = HashMap::new();
            for _ in 0..20_000 {
                let mut drawn = Drawn::new();
                table.sample(wanted, &mut drawn);
                assert_eq!(drawn.len(), wanted.min(count as usize));
                let numbers: std::collections::BTreeSet<u64> =
                    drawn.iter().map(|item| number(*item)).collect();
                assert_eq!(numbers.len(), drawn.len(), "each but once");
                for number in numbers {
                    *seen.entry(number).or_insert(0_u32) += 1;
                }
            }
            assert_eq!(seen.len() as u64, count);
            let rarest = seen.values().min().copied().unwrap_or(0);
            let mean = seen.values().sum::<u32>() / count as u32;
            assert!(rarest * 8 > mean, "{count} {wanted}: {rarest} of {mean} on average");
            emptied(table);
        }
        Table::<super::super::tests::Word>::new().sample(5, &mut Drawn::new());
    }
}
