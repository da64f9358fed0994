//! SCAN over several shards: the cursor that clients see carries a shard, by identity, and that shard's own cursor.
//!
//! Shards are walked in the order of their identities, which are given once and grow. So a scan goes on where it was though
//! shards come and go meanwhile: one that has gone is passed over, one that has come is still to be walked, and all others are
//! walked once, whole.

use super::distribution::ShardIndex;
use crate::topology::{ShardId, Topology};

/// Bits that a shard takes; the rest is its own cursor's.
const SHARD_BITS: u32 = 20;
const SHARD_MASK: u64 = (1 << SHARD_BITS) - 1;

/// What stands for a shard in a cursor: never 0, so that a cursor within a scan is not 0 either.
fn mark(shard: ShardId) -> u64 {
    u64::from(shard.number()) % SHARD_MASK + 1
}

/// Where a scan goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// The shard that is asked.
    pub shard: ShardIndex,
    /// Its own cursor.
    pub cursor: u64,
    /// The cursor that leads back into it, less its own.
    pub here: u32,
    /// The cursor with which the shard after it begins; 0 if it is the last.
    pub next: u32,
}

/// Reads a client's cursor. `None` when no shard is left to be walked.
#[must_use]
pub fn leg(cursor: u64, topology: &Topology) -> Option<Leg> {
    let marks =
        topology.live.iter().map(|shard| (mark(topology.shards[usize::from(*shard)].id), *shard));
    let marks: smallvec::SmallVec<[(u64, ShardIndex); 16]> = marks.collect();
    let from = cursor & SHARD_MASK;
    let (here, shard) = marks.iter().filter(|(mark, _)| *mark >= from).min().copied()?;
    let next = marks.iter().map(|(mark, _)| *mark).filter(|mark| *mark > here).min();
    // Of a shard that has gone, nothing is left to go on with.
    let own = if here == from { cursor >> SHARD_BITS } else { 0 };
    // Marks are of few bits.
    Some(Leg { shard, cursor: own, here: here as u32, next: next.unwrap_or(0) as u32 })
}

/// The cursor a client sees after a shard has answered with its own. `None` when 64 bits are not enough.
#[must_use]
pub fn cursor_after(own: u64, here: u32, next: u32) -> Option<u64> {
    if own == 0 {
        return Some(u64::from(next));
    }
    (own <= u64::MAX >> SHARD_BITS).then_some(own << SHARD_BITS | u64::from(here))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::backend::health::Rules;
    use crate::settings::{DistributionKind, OnServerDown, ServerAddress, ServerOrder};
    use crate::topology::roster::{Change, Roster};

    fn roster() -> Roster {
        let rules = Rules { on_down: OnServerDown::Try, failure_limit: 2, retry_ms: 1000 };
        Roster::new(DistributionKind::Modula, ServerOrder::Sorted, rules, false)
    }

    fn join(roster: &mut Roster, name: &str) {
        let primary = ServerAddress::Tcp { host: name.into(), port: 1 };
        roster.apply(Change::Join { shard: Arc::from(name), weight: 1, primary: Some(primary) });
    }

    fn leave(roster: &mut Roster, name: &str) {
        roster.apply(Change::Leave { shard: Arc::from(name) });
    }

    /// Walks a whole scan; every shard has three steps. `change` runs before each step. Says which steps were seen.
    fn walk(roster: &mut Roster, mut change: impl FnMut(&mut Roster, usize)) -> Vec<(String, u64)> {
        let (mut cursor, mut seen) = (0, Vec::new());
        for step in 0.. {
            change(roster, step);
            let topology = roster.picture();
            let Some(leg) = leg(cursor, &topology) else { break };
            seen.push((topology.shards[usize::from(leg.shard)].name.to_string(), leg.cursor));
            let own = (leg.cursor + 1) % 3;
            cursor = cursor_after(own, leg.here, leg.next).expect("it fits");
            if cursor == 0 {
                break;
            }
        }
        seen
    }

    fn steps(of: &[&str]) -> Vec<(String, u64)> {
        of.iter().flat_map(|name| (0..3).map(|step| ((*name).to_owned(), step))).collect()
    }

    #[test]
    fn shards_are_walked_one_after_the_other() {
        let mut roster = roster();
        for name in ["c", "a", "b"] {
            join(&mut roster, name);
        }
        // By when they came, not by name.
        assert_eq!(walk(&mut roster, |_, _| {}), steps(&["c", "a", "b"]));
    }

    #[test]
    fn shards_that_come_and_go_disturb_no_other() {
        let mut all = roster();
        for name in ["a", "b", "c"] {
            join(&mut all, name);
        }
        let seen = walk(&mut all, |roster, step| match step {
            1 => leave(roster, "a"),
            2 => join(roster, "aa"),
            _ => {}
        });
        let mut expected = vec![("a".to_owned(), 0)];
        expected.extend(steps(&["b", "c", "aa"]));
        assert_eq!(seen, expected);
        let mut one = roster();
        join(&mut one, "only");
        let seen = walk(&mut one, |roster, step| {
            if step == 1 {
                join(roster, "more")
            }
        });
        assert_eq!(seen, steps(&["only", "more"]));
        assert_eq!(leg(0, &roster().picture()), None);
    }

    #[test]
    fn a_cursor_that_is_too_large_is_none() {
        assert_eq!(cursor_after(0, 5, 7), Some(7));
        assert_eq!(cursor_after(1, 5, 7), Some(1 << SHARD_BITS | 5));
        assert_eq!(cursor_after(1 << 44, 5, 7), None);
    }

    proptest! {
        /// Whoever is there all the time is walked whole, whatever else comes and goes.
        #[test]
        fn who_stays_is_walked_whole(changes in prop::collection::vec((0usize..40, 0u8..12, any::<bool>()), 0..30)) {
            let mut all = roster();
            for name in ["s1", "x0", "s2", "x1", "s3"] {
                join(&mut all, name);
            }
            let seen = walk(&mut all, |roster, step| {
                // A scan ends though shards keep coming.
                for (_, name, joins) in changes.iter().filter(|(at, ..)| *at == step) {
                    let name = format!("x{name}");
                    if *joins { join(roster, &name) } else { leave(roster, &name) }
                }
            });
            let seen: BTreeSet<(String, u64)> = seen.into_iter().collect();
            for step in steps(&["s1", "s2", "s3"]) {
                prop_assert!(seen.contains(&step), "{step:?}");
            }
        }

        #[test]
        fn no_cursor_makes_it_panic(cursor in any::<u64>()) {
            let mut all = roster();
            join(&mut all, "a");
            let _ = leg(cursor, &all.picture());
        }
    }
}
