//! Which of the servers that may be read from is the best at the moment. Pure.
//!
//! ```text
//!   of those that may be read from at all, and do not owe too much while others do not
//!   in the data center that is preferred; among equals one by weight
//!   of the role that is preferred
//!   the one that owes the fewest replies; among equals any
//! ```

use smallvec::SmallVec;

use crate::settings::{DataCenters, ServerAddress};

/// How much a data center is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Center {
    /// Which one it is, in the order of the file.
    pub number: u16,
    /// 1 to 100; 0 is never read from.
    pub priority: u8,
    /// Its share among those of the same priority.
    pub weight: u32,
}

impl Center {
    /// Where a server at this address is. One that is in none of the data centers is never read from.
    #[must_use]
    pub fn of(centers: Option<&DataCenters>, address: Option<&ServerAddress>) -> Self {
        let Some(centers) = centers else { return Self::default() };
        let place = address.and_then(|address| centers.place_of(address));
        match place.map(|place| (place, &centers.0[place])) {
            Some((place, center)) => Self {
                number: u16::try_from(place).unwrap_or(u16::MAX),
                priority: center.priority,
                weight: center.weight,
            },
            None => Self { number: u16::MAX, priority: 0, weight: 1 },
        }
    }
}

impl Default for Center {
    /// Where nobody has said anything of data centers, all servers lie in one.
    fn default() -> Self {
        Self { number: 0, priority: 1, weight: 1 }
    }
}

/// What speaks for a server, whatever happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rank {
    /// How much servers of its role are preferred: 1 to 100; 0 is never read from.
    pub priority: u8,
    /// Where it is.
    pub center: Center,
}

impl Rank {
    /// Whether it may be read from.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.priority > 0 && self.center.priority > 0
    }
}

/// A server as it is at the moment.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// What speaks for it.
    pub rank: Rank,
    /// Replies that it owes.
    pub owes: usize,
    /// It owes too much, or for too long.
    pub is_loaded: bool,
}

/// The place of the best of these servers; `None` when none may be read from.
#[must_use]
pub fn best(servers: &[Seen], chance: u64) -> Option<usize> {
    let readable = |seen: &Seen| seen.rank.is_readable();
    let has_room = servers.iter().any(|seen| readable(seen) && !seen.is_loaded);
    let is_fit = |seen: &Seen| readable(seen) && !(has_room && seen.is_loaded);
    let center = center(servers, is_fit, chance)?;
    let in_center = |seen: &Seen| is_fit(seen) && seen.rank.center.number == center;
    let key = |seen: &Seen| (std::cmp::Reverse(seen.rank.priority), seen.owes);
    let top = servers.iter().filter(|seen| in_center(seen)).map(key).min()?;
    let equals =
        || (0..servers.len()).filter(|at| in_center(&servers[*at]) && key(&servers[*at]) == top);
    equals().nth((chance >> 33) as usize % equals().count())
}

/// The data center to read in.
fn center(servers: &[Seen], is_fit: impl Fn(&Seen) -> bool, chance: u64) -> Option<u16> {
    let fit = || servers.iter().filter(|seen| is_fit(seen)).map(|seen| seen.rank.center);
    let top = fit().map(|center| center.priority).max()?;
    let mut centers: SmallVec<[Center; 8]> = SmallVec::new();
    for center in fit().filter(|center| center.priority == top) {
        if !centers.iter().any(|other| other.number == center.number) {
            centers.push(center);
        }
    }
    let total: u64 = centers.iter().map(|center| u64::from(center.weight)).sum();
    let mut turn = (chance & u64::from(u32::MAX)) % total.max(1);
    for center in &centers {
        match turn.checked_sub(u64::from(center.weight)) {
            Some(rest) => turn = rest,
            None => return Some(center.number),
        }
    }
    centers.last().map(|center| center.number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(priority: u8, owes: usize) -> Seen {
        Seen { rank: Rank { priority, center: Center::default() }, owes, is_loaded: false }
    }

    fn at(center: (u16, u8, u32), seen: Seen) -> Seen {
        let (number, priority, weight) = center;
        let center = Center { number, priority, weight };
        Seen { rank: Rank { center, ..seen.rank }, ..seen }
    }

    /// How often each is chosen.
    fn shares(servers: &[Seen]) -> Vec<usize> {
        let mut counts = vec![0; servers.len()];
        let mut chance = 88_172_645_463_325_252_u64;
        for _ in 0..4000 {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            counts[best(servers, chance).expect("one of them")] += 1;
        }
        counts
    }

    #[test]
    fn the_role_counts_first_and_then_what_is_owed() {
        assert_eq!(best(&[seen(50, 0), seen(100, 9)], 7), Some(1));
        assert_eq!(best(&[seen(50, 3), seen(50, 2), seen(50, 4)], 7), Some(1));
        assert_eq!(best(&[seen(0, 0), seen(1, 900)], 7), Some(1), "0 is never");
        assert_eq!(best(&[seen(0, 0)], 7), None);
        assert_eq!(best(&[], 7), None);
        let equals = shares(&[seen(50, 1), seen(50, 1), seen(50, 2)]);
        assert!(equals[0] > 1800 && equals[1] > 1800 && equals[2] == 0, "{equals:?}");
    }

    #[test]
    fn who_owes_too_much_is_passed_over_while_others_do_not() {
        let loaded = |seen: Seen| Seen { is_loaded: true, ..seen };
        assert_eq!(best(&[loaded(seen(100, 0)), seen(50, 7)], 7), Some(1));
        assert_eq!(best(&[loaded(seen(100, 0)), loaded(seen(50, 7))], 7), Some(0));
        assert_eq!(best(&[loaded(seen(100, 0)), seen(0, 0)], 7), Some(0), "0 is never");
    }

    #[test]
    fn data_centers_come_before_roles_and_share_by_weight() {
        let near = (0, 50, 1);
        let far = (1, 20, 1);
        assert_eq!(best(&[at(far, seen(100, 0)), at(near, seen(1, 9))], 7), Some(1));
        assert_eq!(best(&[at(far, seen(1, 0)), at(near, seen(0, 0))], 7), Some(0));
        assert_eq!(best(&[at((1, 0, 1), seen(100, 0))], 7), None, "0 is never");
        let two = shares(&[at((0, 50, 1), seen(9, 5)), at((1, 50, 3), seen(1, 0))]);
        assert!((700..1300).contains(&two[0]), "{two:?}");
    }

    proptest! {
        /// Whoever is chosen may be read from, and nobody who may be is better in role within its data center.
        #[test]
        fn the_chosen_is_never_worse_than_another(
            // What is said of a data center is said once.
            centers in prop::array::uniform3((0u8..3, 1u32..4)),
            servers in prop::collection::vec((0u8..4, 0usize..3, 0usize..3, any::<bool>()), 0..9),
            chance in any::<u64>(),
        ) {
            let servers: Vec<Seen> = servers
                .into_iter()
                .map(|(priority, number, owes, is_loaded)| {
                    let (of_center, weight) = centers[number];
                    let center = (number as u16, of_center, weight);
                    Seen { is_loaded, ..at(center, seen(priority, owes)) }
                })
                .collect();
            let may = || servers.iter().filter(|seen| seen.rank.is_readable());
            match best(&servers, chance) {
                None => prop_assert!(may().next().is_none()),
                Some(place) => {
                    let it = servers[place];
                    prop_assert!(it.rank.is_readable());
                    let room = may().any(|seen| !seen.is_loaded);
                    prop_assert!(!(room && it.is_loaded));
                    for other in may().filter(|seen| !(room && seen.is_loaded)) {
                        let (mine, its) = (it.rank, other.rank);
                        prop_assert!(mine.center.priority >= its.center.priority);
                        if mine.center.number == its.center.number {
                            prop_assert!(mine.priority >= its.priority);
                            prop_assert!(mine.priority > its.priority || it.owes <= other.owes);
                        }
                    }
                }
            }
        }
    }
}
