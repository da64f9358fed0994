//! The 16,384 slots of a Redis Cluster, each with the shard that has its keys.

use redstart_common::slot::SLOT_COUNT;

use super::ShardIndex;

/// Stands for no shard. [`SHARDS_MAX`](super::SHARDS_MAX) shards have places below it.
const NOBODY: ShardIndex = ShardIndex::MAX;
const COUNT: usize = SLOT_COUNT as usize;

/// Most runs of slots that are looked through rather than looked up. A table of 32 KiB does not stay in the nearest cache beside all
/// else that a request touches: to look up a slot there was the dearest step of a request in a cluster, a twentieth of what it costs.
const RUNS_MAX: usize = 32;

/// Slots in a row that have the same shard: where each run begins, in their order, and whose it is. Two lines of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
#[repr(align(64))]
struct Runs {
    /// What is not needed begins behind the last slot.
    starts: [u16; RUNS_MAX],
    shards: [ShardIndex; RUNS_MAX],
}

impl Runs {
    /// The runs of a table, unless there are too many.
    fn of(table: &[ShardIndex; COUNT]) -> Option<Self> {
        let mut runs = Self { starts: [u16::MAX; RUNS_MAX], shards: [NOBODY; RUNS_MAX] };
        let mut first = 0;
        for (count, run) in table.chunk_by(|one, next| one == next).enumerate() {
            *runs.starts.get_mut(count)? = first;
            runs.shards[count] = run[0];
            first += run.len() as u16;
        }
        Some(runs)
    }

    #[inline]
    fn shard(&self, slot: u16) -> ShardIndex {
        // The first begins with the first slot.
        let begun: u16 = self.starts.iter().map(|start| u16::from(*start <= slot)).sum();
        self.shards[usize::from(begun.wrapping_sub(1)) % RUNS_MAX]
    }
}

/// The slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotTable {
    runs: Option<Runs>,
    all: Box<[ShardIndex; COUNT]>,
}

impl SlotTable {
    /// The table of these ranges of slots, both ends included; where they overlap the last one counts.
    #[must_use]
    pub fn build(ranges: impl IntoIterator<Item = (u16, u16, ShardIndex)>) -> Self {
        let mut table = Box::new([NOBODY; COUNT]);
        for (first, last, shard) in ranges {
            if let Some(slots) = table.get_mut(usize::from(first)..=usize::from(last)) {
                slots.fill(shard);
            }
        }
        Self { runs: Runs::of(&table), all: table }
    }

    /// The shard of a slot; `None` when nobody serves it.
    #[inline]
    #[must_use]
    pub fn shard(&self, slot: u16) -> Option<ShardIndex> {
        let slot = slot % SLOT_COUNT;
        let shard = match &self.runs {
            Some(runs) => runs.shard(slot),
            None => self.all[usize::from(slot)],
        };
        (shard != NOBODY).then_some(shard)
    }

    /// The shard of every slot.
    pub fn iter(&self) -> impl Iterator<Item = Option<ShardIndex>> {
        self.all.iter().map(|shard| (*shard != NOBODY).then_some(*shard))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However the slots are spread, each has the shard that the last of its ranges names.
        #[test]
        fn few_runs_and_many_say_the_same(
            ranges in prop::collection::vec((0..SLOT_COUNT, 0_u16..3000, 0_u16..9), 0..60),
        ) {
            let ranges: Vec<_> = ranges
                .into_iter()
                .map(|(first, more, shard)| (first, (first + more).min(SLOT_COUNT - 1), shard))
                .collect();
            let table = SlotTable::build(ranges.clone());
            for slot in 0..SLOT_COUNT {
                let last = ranges.iter().rfind(|(first, last, _)| (*first..=*last).contains(&slot));
                prop_assert_eq!(table.shard(slot), last.map(|(.., shard)| *shard), "{}", slot);
            }
        }
    }

    #[test]
    fn as_many_runs_as_fit_are_looked_through() {
        let table =
            |count: u16| SlotTable::build((0..count).map(|it| (it * 500, it * 500 + 499, it)));
        // What is behind them is nobody's, which is a run of its own.
        let (most, too_many) = (table(RUNS_MAX as u16 - 1), table(RUNS_MAX as u16));
        assert!(most.runs.is_some() && too_many.runs.is_none());
        assert_eq!((most.shard(15_499), most.shard(15_500)), (Some(30), None));
        assert_eq!((too_many.shard(15_500), too_many.shard(16_000)), (Some(31), None));
    }

    #[test]
    fn a_slot_has_the_shard_of_its_range_or_none() {
        let table = SlotTable::build([(0, 99, 4), (50, 50, 7), (16_383, 16_383, 0), (9, 99_99, 1)]);
        assert_eq!(table.shard(0), Some(4));
        assert_eq!(table.shard(50), Some(1));
        assert_eq!(table.shard(16_383), Some(0));
        assert_eq!(table.shard(10_000), None);
        assert_eq!(table.iter().flatten().count(), 10_001);
        // Ends that are no slots, or in the wrong order, change nothing.
        assert_eq!(SlotTable::build([(5, 16_384, 1), (7, 6, 1)]).iter().flatten().count(), 0);
    }
}
