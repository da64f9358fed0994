//! A pool as one worker sees it: from a key to the connection that serves it.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use redstart_common::hash::{CharSign, HashKind};
use redstart_common::slot::hash_tag;

use super::distribution::{ServerIndex, Wants};
use crate::stats::PoolStats;
use crate::topology::Topology;
use crate::topology::fixed::SharedPool;

/// A pool of a worker.
pub struct Pool {
    /// What all workers share of it.
    pub shared: Arc<SharedPool>,
    /// The picture in use; renewed once a batch.
    pub topology: Arc<Topology>,
    cache: Cache<Arc<ArcSwap<Topology>>, Arc<Topology>>,
    /// Index of its first backend connection among the worker's.
    backends_start: usize,
    connections: usize,
    hash: HashKind,
    char_sign: CharSign,
    hash_tag: Option<[u8; 2]>,
    chance: u64,
    /// What happened in it.
    pub stats: PoolStats,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("name", &self.shared.settings.name).finish_non_exhaustive()
    }
}

/// Protocol lanes to a server: RESP2 and RESP3.
pub const LANES: usize = 2;

impl Pool {
    /// A pool whose connections begin at `backends_start`.
    #[must_use]
    pub fn new(shared: Arc<SharedPool>, backends_start: usize, seed: u64) -> Self {
        let settings = &shared.settings;
        let mut cache = Cache::new(Arc::clone(&shared.topology));
        Self {
            topology: Arc::clone(cache.load()),
            cache,
            backends_start,
            connections: settings.server_connections,
            hash: settings.hash,
            char_sign: settings.char_sign,
            hash_tag: settings.hash_tag,
            chance: seed | 1,
            stats: PoolStats::new(settings.servers.len()),
            shared: Arc::clone(&shared),
        }
    }

    /// Looks whether the picture has changed.
    #[inline]
    pub fn refresh(&mut self) {
        let fresh = self.cache.load();
        if !Arc::ptr_eq(fresh, &self.topology) {
            self.topology = Arc::clone(fresh);
        }
    }

    /// A number nobody can foresee well enough to matter.
    #[inline]
    pub fn chance(&mut self) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance
    }

    /// The server of a key; `None` when no server is alive.
    #[inline]
    pub fn server_of(&mut self, key: &[u8]) -> Option<ServerIndex> {
        let hash = match self.topology.distribution.wants() {
            Wants::Hash => hash_of(self.hash, self.char_sign, self.hash_tag, key),
            Wants::Chance => self.chance(),
            Wants::Nothing => 0,
        };
        self.topology.distribution.server(hash)
    }

    /// The worker's connection to a server for a client.
    #[inline]
    #[must_use]
    pub fn backend(&self, server: ServerIndex, resp3: bool, client: u32) -> usize {
        let lane = usize::from(server) * LANES + usize::from(resp3);
        let spread = if self.connections == 1 { 0 } else { client as usize % self.connections };
        self.backends_start + lane * self.connections + spread
    }

    /// Servers in the pool.
    #[must_use]
    pub fn server_count(&self) -> usize {
        self.shared.settings.servers.len()
    }
}

/// What decides where a key lies: the hash of its tagged part, or of the whole key. An empty key hashes to 0.
#[inline]
#[must_use]
pub fn hash_of(hash: HashKind, sign: CharSign, tag: Option<[u8; 2]>, key: &[u8]) -> u64 {
    let part = match tag {
        Some(tag) => hash_tag(key, tag),
        None => key,
    };
    if part.is_empty() { 0 } else { hash.hash(part, sign) }
}
