//! Which server of a shard a request goes to, where reads may go to replicas. Of those that may serve, [`rank`] says which.
//!
//! ```text
//!   a write, and reads of its client for a while after it      the primary
//!   what goes on where it has stopped (SSCAN …)                the primary
//!   reads of a shard of a cluster that gives slots away        the primary: it says where keys have gone, a replica that they
//!                                                              are not there
//!   other reads                                                as the pool's `read_from` says, of those that are connected
//! ```
//!
//! A replica that is not connected is called, and until it is there another server serves.

pub mod rank;

use smallvec::SmallVec;

use self::rank::{Rank, Seen};
use super::hedge::{Budget, Hedging};
use super::{Client, ClientId};
use crate::backend::pipeline::Kind;
use crate::backend::{Refusal, Upstream};
use crate::route::distribution::ShardIndex;
use crate::route::pool::Pool;
use crate::settings::{Load, PoolSettings, ReadFrom};
use crate::topology::{PoolId, ShardId};
use crate::worker::Core;

/// Shards of which it is kept when a client wrote to them last. Who writes to more reads from primaries everywhere.
const WROTE_MAX: usize = 32;

/// Where reads of a pool may go.
#[derive(Debug)]
pub struct Reads {
    /// The nearest is wanted, whoever it is.
    pub by_distance: bool,
    /// How much primaries and replicas are preferred, as [`Rank::priority`].
    pub priorities: (u8, u8),
    /// How much a replica may owe.
    pub load: Option<Load>,
    /// For how long after a write its client reads from the primary, in microseconds.
    pub after_write_us: u64,
    /// When a second server is asked.
    pub hedging: Option<Hedging>,
    /// For each shard, what speaks for its primary.
    pub primaries: Vec<Rank>,
    /// For each shard, lane by lane, its replicas that are fit.
    pub routes: Vec<Vec<Candidate>>,
}

impl Reads {
    /// As a pool's settings say; `None` where reads go to primaries.
    #[must_use]
    pub fn new(settings: &PoolSettings) -> Option<Self> {
        (settings.read_from != ReadFrom::Master).then(|| Self {
            by_distance: settings.read_from == ReadFrom::Nearest,
            priorities: settings.read_from.priorities(),
            load: settings.max_load,
            after_write_us: settings.read_after_write_ms * 1000,
            hedging: settings.hedge_after_ms.map(|ms| Hedging {
                after_us: ms * 1000,
                budget: Budget::new(settings.hedge_percent),
            }),
            primaries: Vec::new(),
            routes: Vec::new(),
        })
    }
}

/// A connection to a server that may be read from.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// The connection.
    pub backend: u32,
    /// How long the server takes to answer, beyond what the primary takes; only where that counts.
    pub farther_us: i64,
    /// What speaks for it.
    pub rank: Rank,
}

/// When a client wrote last, by shard.
#[derive(Debug, Default)]
pub struct Wrote {
    shards: Vec<(ShardId, u64)>,
    /// To shards that are not kept.
    elsewhere_us: Option<u64>,
}

impl Wrote {
    fn note(&mut self, shard: ShardId, now_us: u64) {
        if let Some((_, at_us)) = self.shards.iter_mut().find(|(other, _)| *other == shard) {
            *at_us = now_us;
        } else if self.shards.len() < WROTE_MAX {
            self.shards.push((shard, now_us));
        } else {
            self.elsewhere_us = Some(now_us);
        }
    }

    fn was_within(&self, shard: ShardId, since_us: u64) -> bool {
        let here = self.shards.iter().any(|(other, at_us)| *other == shard && *at_us >= since_us);
        here || self.elsewhere_us.is_some_and(|at_us| at_us >= since_us)
    }
}

/// The connection for a client's request on a shard, in a pool whose replicas may be read.
///
/// # Errors
/// When only replicas may serve it, and there is none.
#[cold]
pub fn choose(
    pool: &mut Pool,
    up: &mut Upstream,
    client: &mut Client,
    shard: ShardIndex,
    kind: Kind,
    now_us: u64,
) -> Result<usize, Refusal> {
    let primary = pool.backend(shard, client.lane);
    let id = pool.topology.shards[usize::from(shard)].id;
    let Some(reads) = &mut pool.reads else { return Ok(primary) };
    if kind == Kind::Write {
        if reads.after_write_us > 0 {
            client.wrote.get_or_insert_default().note(id, now_us);
        }
        return Ok(primary);
    }
    if let Some(hedging) = &mut reads.hedging {
        hedging.budget.read();
    }
    let is_parting = pool.topology.shards[usize::from(shard)].is_parting;
    if kind == Kind::Walk || is_parting || !may_lag(client, reads, id, now_us) {
        return Ok(primary);
    }
    let chance = pool.chance();
    match best(pool, up, (shard, client.lane), None, chance, now_us) {
        Some(backend) => {
            pool.stats.replica_reads += u64::from(backend != primary);
            Ok(backend)
        }
        None => Err(Refusal::no_replica()),
    }
}

/// Whether a read of a client may be answered by a server that is behind the primary of this shard.
pub fn may_lag(client: &Client, reads: &Reads, shard: ShardId, now_us: u64) -> bool {
    if client.tracks() {
        return false;
    }
    let since_us = now_us.saturating_sub(reads.after_write_us);
    let wrote = client.wrote.as_ref().filter(|_| reads.after_write_us > 0);
    !wrote.is_some_and(|wrote| wrote.was_within(shard, since_us))
}

/// The best connection for a read of a shard on a lane, but for the one `without`. Replicas that are not connected are called.
pub fn best(
    pool: &mut Pool,
    up: &mut Upstream,
    (shard, lane): (ShardIndex, u32),
    without: Option<usize>,
    chance: u64,
    now_us: u64,
) -> Option<usize> {
    let primary = pool.backend(shard, lane);
    let place = usize::from(shard) * pool.lanes.count() + lane as usize;
    let Some(reads) = &pool.reads else { return Some(primary) };
    let rank = reads.primaries.get(usize::from(shard)).copied().unwrap_or_default();
    let is_primary_up = !up.get_mut(primary).is_away();
    if !is_primary_up {
        up.call(primary, now_us);
    }
    let candidates = reads.routes.get(place).map_or(&[][..], Vec::as_slice);
    let mut usable: SmallVec<[(Candidate, Seen); 8]> = SmallVec::new();
    if is_primary_up && without != Some(primary) {
        let owes = up.get_mut(primary).pipeline.len();
        let candidate = Candidate { backend: primary as u32, farther_us: 0, rank };
        usable.push((candidate, Seen { rank, owes, is_loaded: false }));
    }
    for candidate in candidates.iter().filter(|it| Some(it.backend as usize) != without) {
        let backend = candidate.backend as usize;
        let it = up.get_mut(backend);
        if it.may_serve() {
            let owes = it.pipeline.len();
            let waits_us = it.pipeline.oldest_us().map_or(0, |at_us| now_us.saturating_sub(at_us));
            let is_loaded = reads.load.is_some_and(|load| load.is_over(owes, waits_us));
            usable.push((*candidate, Seen { rank: candidate.rank, owes, is_loaded }));
        } else {
            up.call(backend, now_us);
        }
    }
    let loaded = usable.iter().filter(|(_, seen)| seen.is_loaded).count();
    let chosen = if reads.by_distance {
        nearest(&usable)
    } else {
        let seen: SmallVec<[Seen; 8]> = usable.iter().map(|(_, seen)| *seen).collect();
        rank::best(&seen, chance)
    };
    if let Some(chosen) = chosen {
        if loaded > 0 && !usable[chosen].1.is_loaded {
            pool.stats.load_skips += 1;
        }
        return Some(usable[chosen].0.backend as usize);
    }
    match without {
        Some(_) => None,
        // It waits for the primary, or for a replica that is on its way.
        None if reads.by_distance || rank.is_readable() => Some(primary),
        None => {
            let on_their_way = || candidates.iter().filter(|it| it.rank.is_readable());
            let turn = (chance >> 33) as usize % on_their_way().count().max(1);
            on_their_way().nth(turn).map(|it| it.backend as usize)
        }
    }
}

/// The nearest of those that do not owe too much; the primary, unless another is nearer.
fn nearest(usable: &[(Candidate, Seen)]) -> Option<usize> {
    let places = (0..usable.len()).filter(|at| !usable[*at].1.is_loaded);
    let nearest = places.min_by_key(|at| usable[*at].0.farther_us);
    nearest.or_else(|| (0..usable.len()).min_by_key(|at| usable[*at].0.farther_us))
}

/// As [`choose`], from a worker's parts.
///
/// # Errors
/// As there.
pub fn choose_for(
    core: &mut Core,
    id: ClientId,
    pool: PoolId,
    shard: ShardIndex,
    kind: Kind,
    now_us: u64,
) -> Result<usize, Refusal> {
    let (pool, up) = (&mut core.pools[pool], &mut core.up);
    match core.down.clients.get_mut(id) {
        Some(client) if pool.reads.is_some() => choose(pool, up, client, shard, kind, now_us),
        Some(client) => Ok(pool.backend(shard, client.lane)),
        None => Err(Refusal::nobody()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::roster::shard_of_tests;

    #[test]
    fn what_was_written_is_remembered_by_shard() {
        let mut wrote = Wrote::default();
        let shard = shard_of_tests();
        assert!(!wrote.was_within(shard, 0));
        wrote.note(shard, 100);
        wrote.note(shard, 200);
        assert_eq!(wrote.shards.len(), 1);
        assert!(wrote.was_within(shard, 200) && !wrote.was_within(shard, 201));
        wrote.elsewhere_us = Some(300);
        assert!(wrote.was_within(shard, 300));
    }
}
