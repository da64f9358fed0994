//! Which server of a shard a request goes to, where reads may go to replicas.
//!
//! ```text
//!   a write, and reads of its client for a while after it      the primary
//!   other reads                                                as the pool's `read_from` says, of those that are connected
//! ```
//!
//! A replica that is not connected is called, and until it is there another server serves.

use smallvec::SmallVec;

use super::{Client, ClientId};
use crate::backend::pipeline::Kind;
use crate::backend::{Refusal, Upstream};
use crate::route::distribution::ShardIndex;
use crate::route::pool::Pool;
use crate::settings::ReadFrom;
use crate::topology::{PoolId, ShardId};
use crate::worker::Core;

/// Shards of which it is kept when a client wrote to them last. Who writes to more reads from primaries everywhere.
const WROTE_MAX: usize = 32;

/// Where reads of a pool may go.
#[derive(Debug)]
pub struct Reads {
    /// Which servers are wanted.
    pub from: ReadFrom,
    /// For how long after a write its client reads from the primary, in microseconds.
    pub after_write_us: u64,
    /// For each shard, lane by lane, its replicas that are fit.
    pub routes: Vec<Vec<Candidate>>,
}

/// A connection to a server that may be read from.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// The connection.
    pub backend: u32,
    /// How long the server takes to answer, beyond what the primary takes; only where that counts.
    pub farther_us: i64,
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
    let chance = pool.chance();
    let place = usize::from(shard) * pool.lanes.count() + client.lane as usize;
    let id = pool.topology.shards[usize::from(shard)].id;
    let Some(reads) = &pool.reads else { return Ok(primary) };
    if kind == Kind::Read && client.tracks() {
        return Ok(primary);
    }
    if kind == Kind::Write {
        if reads.after_write_us > 0 {
            client.wrote.get_or_insert_default().note(id, now_us);
        }
        return Ok(primary);
    }
    let since_us = now_us.saturating_sub(reads.after_write_us);
    let has_written = client.wrote.as_ref().is_some_and(|wrote| wrote.was_within(id, since_us));
    if has_written && reads.after_write_us > 0 {
        return Ok(primary);
    }
    let is_primary_up = !up.get_mut(primary).is_away();
    if !is_primary_up {
        up.call(primary, now_us);
    }
    let candidates = reads.routes.get(place).map_or(&[][..], Vec::as_slice);
    let mut usable: SmallVec<[Candidate; 8]> = SmallVec::new();
    for candidate in candidates {
        let backend = candidate.backend as usize;
        if up.get_mut(backend).may_serve() {
            usable.push(*candidate);
        } else {
            up.call(backend, now_us);
        }
    }
    let any = |usable: &[Candidate]| match usable.len() {
        0 => None,
        count => Some(usable[(chance >> 33) as usize % count].backend as usize),
    };
    let replica = any(&usable);
    let chosen = match reads.from {
        ReadFrom::Master => primary,
        ReadFrom::MasterPreferred if is_primary_up => primary,
        ReadFrom::MasterPreferred | ReadFrom::ReplicaPreferred => replica.unwrap_or(primary),
        ReadFrom::Replica => {
            // It waits for one that is on its way.
            let on_its_way = || any(candidates);
            return replica.or_else(on_its_way).ok_or_else(Refusal::no_replica);
        }
        ReadFrom::Any => {
            let own = usize::from(is_primary_up);
            let turn = (chance >> 33) as usize % (usable.len() + own).max(1);
            usable.get(turn).map_or(primary, |candidate| candidate.backend as usize)
        }
        ReadFrom::Nearest => {
            let nearest = usable.iter().min_by_key(|candidate| candidate.farther_us);
            match nearest {
                Some(nearest) if nearest.farther_us < 0 || !is_primary_up => {
                    nearest.backend as usize
                }
                _ => primary,
            }
        }
    };
    Ok(chosen)
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
