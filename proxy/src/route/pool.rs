//! A pool as one worker sees it: from a key to the connection that serves it.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use redstart_common::hash::{CharSign, HashKind};
use redstart_common::slot::{hash_tag, key_slot};

use super::distribution::{Distribution, ShardIndex, Wants};
use super::heavy::Heavies;
use super::lane::Lanes;
use super::plan::{Plan, plans};
use crate::client::observe::Pause;
use crate::client::reads::Reads;
use crate::local::figures::Figures;
use crate::stats::PoolStats;
use crate::topology::pool::SharedPool;
use crate::topology::{PoolId, ServerId, Topology};

/// A pool of a worker.
pub struct Pool {
    /// What all workers share of it.
    pub shared: Arc<SharedPool>,
    /// The picture in use; renewed once a batch.
    pub topology: Arc<Topology>,
    cache: Cache<Arc<ArcSwap<Topology>>, Arc<Topology>>,
    /// The connections to each shard's primary: shard by shard, lane by lane.
    pub routes: Vec<u32>,
    /// Where requests wait whose slot is served by nobody, lane by lane; none in pools that know no slots.
    pub limbo: Vec<u32>,
    /// Where reads may go, if not to the primaries alone.
    pub reads: Option<Reads>,
    /// The connections to replicas, by server.
    pub read_links: HashMap<ServerId, Vec<u32>>,
    /// Connections to replicas that are to be let go.
    pub unread: Vec<u32>,
    /// The connections by server. What is not here is on its way out.
    pub links: HashMap<ServerId, Vec<u32>>,
    /// The lanes to each server.
    pub lanes: Lanes,
    /// Requests that are known to be heavy.
    pub heavies: Heavies,
    /// What to do with each command, by id.
    pub plans: Box<[Plan]>,
    hash: HashKind,
    char_sign: CharSign,
    hash_tag: Option<[u8; 2]>,
    chance: u64,
    /// Its clients are paused.
    pub pause: Option<Pause>,
    /// What happened in it.
    pub stats: PoolStats,
    /// Requests at the last look at how many there are in a second.
    requests_before: u64,
    /// What its servers have told of themselves.
    pub figures: Figures,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("name", &self.shared.settings.name).finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool without connections; those come with [`reconcile`](crate::reconcile).
    #[must_use]
    pub fn new(shared: Arc<SharedPool>, seed: u64) -> Self {
        let settings = &shared.settings;
        let mut cache = Cache::new(Arc::clone(&shared.topology));
        Self {
            topology: Arc::clone(cache.load()),
            cache,
            routes: Vec::new(),
            limbo: Vec::new(),
            reads: Reads::new(settings),
            read_links: HashMap::new(),
            unread: Vec::new(),
            links: HashMap::new(),
            plans: plans(settings.read_fallback > 0),
            lanes: settings.lanes(),
            heavies: Heavies::default(),
            // Where keys lie in slots, or anywhere, it is not asked.
            hash: settings.hash.unwrap_or_default(),
            char_sign: settings.char_sign,
            hash_tag: settings.hash_tag,
            chance: seed | 1,
            pause: None,
            stats: PoolStats::default(),
            requests_before: 0,
            figures: Figures::default(),
            shared: Arc::clone(&shared),
        }
    }

    /// Takes note of how many requests there are in a second, `ms` after it did so last.
    pub fn note_rate(&mut self, ms: u64) {
        let before = std::mem::replace(&mut self.requests_before, self.stats.requests);
        let requests = self.stats.requests.saturating_sub(before);
        self.stats.requests_per_s = requests.saturating_mul(1000) / ms.max(1);
    }

    /// Whether there is another picture than the one in use.
    #[inline]
    pub fn is_stale(&mut self) -> bool {
        !Arc::ptr_eq(self.cache.load(), &self.topology)
    }

    /// The newest picture.
    pub fn newest(&mut self) -> Arc<Topology> {
        Arc::clone(self.cache.load())
    }

    /// A number nobody can foresee well enough to matter.
    #[inline]
    pub fn chance(&mut self) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance
    }

    /// The shard of a key; `None` when none is alive.
    #[inline]
    pub fn shard_of(&mut self, key: &[u8]) -> Option<ShardIndex> {
        let hash = match self.topology.distribution.wants() {
            Wants::Hash => self.hash(key),
            Wants::Slot => u64::from(key_slot(key)),
            Wants::Chance => self.chance(),
            Wants::Nothing => 0,
        };
        self.topology.distribution.shard(hash)
    }

    /// What decides where a key lies.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> u64 {
        hash_of(self.hash, self.char_sign, self.hash_tag, key)
    }

    /// The worker's connection to a shard's primary on a lane.
    #[inline]
    #[must_use]
    pub fn backend(&self, shard: ShardIndex, lane: u32) -> usize {
        self.routes[usize::from(shard) * self.lanes.count() + lane as usize] as usize
    }

    /// Where requests on a lane wait that no shard takes, if there is such a place.
    #[cold]
    #[must_use]
    pub fn waiting_place(&self, lane: u32) -> Option<usize> {
        self.limbo.get(lane as usize).map(|place| *place as usize)
    }

    /// Whether its keys lie in the slots of a cluster.
    #[inline]
    #[must_use]
    pub fn has_slots(&self) -> bool {
        matches!(self.topology.distribution, Distribution::Slots(_))
    }

    /// The slot of a key, in a cluster.
    #[must_use]
    pub fn slot_of(&self, key: &[u8]) -> Option<u16> {
        self.has_slots().then(|| key_slot(key))
    }

    /// Shards in the pool.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.topology.shards.len()
    }
}

/// The pools of a worker, by identity. An identity is given once, so it says where a pool stands.
#[derive(Debug, Default)]
pub struct Pools(Vec<Pool>);

impl Pools {
    /// These pools, whose identities count up from the first.
    #[must_use]
    pub fn new(pools: Vec<Pool>) -> Self {
        debug_assert!(pools.iter().zip(0..).all(|(pool, id)| pool.shared.id == PoolId::new(id)));
        Self(pools)
    }

    /// Which there are.
    pub fn ids(&self) -> impl Iterator<Item = PoolId> + use<> {
        (0..self.0.len() as u32).map(PoolId::new)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Pool> {
        self.0.iter()
    }

    /// All of them, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pool> {
        self.0.iter_mut()
    }
}

impl Index<PoolId> for Pools {
    type Output = Pool;

    #[inline]
    fn index(&self, id: PoolId) -> &Pool {
        &self.0[id.place()]
    }
}

impl IndexMut<PoolId> for Pools {
    #[inline]
    fn index_mut(&mut self, id: PoolId) -> &mut Pool {
        &mut self.0[id.place()]
    }
}

/// Whether `key` holds `byte`. Most keys are short and have no tag, and then eight bytes at a time are quicker than a
/// search that is made for long texts.
#[inline]
fn holds(key: &[u8], byte: u8) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    if key.len() > 64 {
        return memchr::memchr(byte, key).is_some();
    }
    let wanted = LOW * u64::from(byte);
    // A byte of the word that equals the wanted one becomes zero, and only a word with a zero byte passes the test.
    let found = |word: u64| {
        let word = word ^ wanted;
        word.wrapping_sub(LOW) & !word & HIGH != 0
    };
    let (words, rest) = key.as_chunks::<8>();
    if words.iter().any(|word| found(u64::from_le_bytes(*word))) {
        return true;
    }
    match key.last_chunk::<8>() {
        // The last eight bytes overlap those before, which does no harm.
        Some(last) => found(u64::from_le_bytes(*last)),
        None => rest.contains(&byte),
    }
}

/// What decides where a key lies: the hash of its tagged part, or of the whole key. An empty key hashes to 0.
#[inline]
#[must_use]
pub fn hash_of(hash: HashKind, sign: CharSign, tag: Option<[u8; 2]>, key: &[u8]) -> u64 {
    let part = match tag {
        Some(tag) if holds(key, tag[0]) => hash_tag(key, tag),
        _ => key,
    };
    if part.is_empty() { 0 } else { hash.hash(part, sign) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_byte_is_found_wherever_it_stands(
            key in prop::collection::vec(prop_oneof![any::<u8>(), 0x7au8..0x7d], 0..100),
            byte in prop_oneof![any::<u8>(), Just(b'{'), Just(0), Just(0x80), Just(0xff)],
        ) {
            prop_assert_eq!(holds(&key, byte), key.contains(&byte));
        }
    }
}
