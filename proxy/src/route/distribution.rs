//! From a key's hash to a server: three ways to spread keys over weighted servers, as twemproxy does it, and the slots of
//! a Redis Cluster.
//!
//! A distribution is built whole from the shards that are alive and never changes; when one leaves or returns another
//! distribution is built. Shards are named by their place in the picture it belongs to. In a pool of fixed servers each
//! server is a shard; in one of sentinel groups each group is, in one over a
//! cluster each primary with its replicas.

mod ketama;
mod modula;
mod random;
pub mod slots;

use crate::settings::DistributionKind;

/// The place of a shard in a picture of its pool; it means nothing in another picture.
pub type ShardIndex = u16;

/// What a distribution needs to know of a shard.
pub trait Share {
    /// What it is called on the ring.
    fn name(&self) -> &str;
    /// Its share of the keys.
    fn weight(&self) -> u32;
}

/// Most shards a pool can have.
pub const SHARDS_MAX: usize = ShardIndex::MAX as usize;

/// How the keys of a pool lie over its live shards.
#[derive(Debug)]
pub enum Distribution {
    /// No shard is alive.
    Nobody,
    /// A pool of one shard needs no hash.
    One(ShardIndex),
    /// Consistent hashing.
    Ketama(ketama::Ring),
    /// Remainder of the hash.
    Modula(modula::Wheel),
    /// Any shard.
    Random(random::Any),
    /// The slots of a cluster.
    Slots(slots::SlotTable),
}

impl Distribution {
    /// Spreads keys over `live`, places in `shards` in ascending order. Slots are not spread but told: nobody has any.
    #[must_use]
    pub fn build<S: Share>(kind: DistributionKind, shards: &[S], live: &[ShardIndex]) -> Self {
        match kind {
            DistributionKind::Slots => Self::Slots(slots::SlotTable::build([])),
            _ if live.is_empty() => Self::Nobody,
            _ if shards.len() == 1 => Self::One(0),
            DistributionKind::Ketama => Self::Ketama(ketama::Ring::build(shards, live)),
            DistributionKind::Modula => Self::Modula(modula::Wheel::build(shards, live)),
            DistributionKind::Random => Self::Random(random::Any::build(live)),
        }
    }

    /// As [`Distribution::build`] over all shards, but those that are not live are passed over: the next one has their keys,
    /// and all others stay where they are.
    #[must_use]
    pub fn build_with_next<S: Share>(
        kind: DistributionKind,
        shards: &[S],
        live: &[ShardIndex],
    ) -> Self {
        if live.is_empty() {
            return Self::Nobody;
        }
        let all: Vec<ShardIndex> = (0..shards.len() as ShardIndex).collect();
        let mut all = Self::build(kind, shards, &all);
        match &mut all {
            Self::Ketama(ring) => pass_over(ring.owners_mut(), live),
            Self::Modula(wheel) => pass_over(wheel.owners_mut(), live),
            // A pool of slots, or without an order, has no next server.
            _ => return Self::build(kind, shards, live),
        }
        all
    }

    /// The shard for a hash or a slot, whichever it [wants](Self::wants); `None` when none is alive.
    #[inline]
    #[must_use]
    pub fn shard(&self, hash: u64) -> Option<ShardIndex> {
        match self {
            Self::Nobody => None,
            Self::One(shard) => Some(*shard),
            Self::Ketama(ring) => Some(ring.shard(hash as u32)),
            Self::Modula(wheel) => Some(wheel.shard(hash)),
            Self::Random(any) => Some(any.shard(hash)),
            Self::Slots(slots) => slots.shard(hash as u16),
        }
    }

    /// The shard that comes after those which `passes` says yes to, going round from a hash; only a ring has an order.
    #[must_use]
    pub fn next(&self, hash: u64, passes: impl Fn(ShardIndex) -> bool) -> Option<ShardIndex> {
        match self {
            Self::Ketama(ring) => ring.next(hash as u32, passes),
            _ => None,
        }
    }

    /// What stands in for the hash of a key.
    #[inline]
    #[must_use]
    pub fn wants(&self) -> Wants {
        match self {
            Self::Nobody | Self::One(_) => Wants::Nothing,
            Self::Ketama(_) | Self::Modula(_) => Wants::Hash,
            Self::Slots(_) => Wants::Slot,
            Self::Random(_) => Wants::Chance,
        }
    }
}

/// Gives what belongs to shards that are not live to the next one that is, going round.
fn pass_over(owners: &mut [ShardIndex], live: &[ShardIndex]) {
    let is_live = |owner: &ShardIndex| live.binary_search(owner).is_ok();
    let Some(mut next) = owners.iter().copied().find(is_live) else { return };
    for owner in owners.iter_mut().rev() {
        if is_live(owner) {
            next = *owner;
        } else {
            *owner = next;
        }
    }
}

/// What a distribution chooses by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// The key's hash, as the pool's settings say.
    Hash,
    /// The key's slot.
    Slot,
    /// A random number.
    Chance,
    /// Nothing: the choice is already made.
    Nothing,
}
