//! The 16,384 slots of a Redis Cluster, each with the shard that has its keys.

use redstart_common::slot::SLOT_COUNT;

use super::ShardIndex;

/// Stands for no shard. [`SHARDS_MAX`](super::SHARDS_MAX) shards have places below it.
const NOBODY: ShardIndex = ShardIndex::MAX;
const COUNT: usize = SLOT_COUNT as usize;

/// The slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotTable(Box<[ShardIndex; COUNT]>);

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
        Self(table)
    }

    /// The shard of a slot; `None` when nobody serves it.
    #[inline]
    #[must_use]
    pub fn shard(&self, slot: u16) -> Option<ShardIndex> {
        // The remainder is the slot itself, and spares the check of bounds.
        let shard = self.0[usize::from(slot) % COUNT];
        (shard != NOBODY).then_some(shard)
    }

    /// The shard of every slot.
    pub fn iter(&self) -> impl Iterator<Item = Option<ShardIndex>> {
        self.0.iter().map(|shard| (*shard != NOBODY).then_some(*shard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
