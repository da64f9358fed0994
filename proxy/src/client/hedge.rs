//! Reads that are not answered in time are sent to another server that may serve them, within a budget (`hedge_after`,
//! `hedge_budget`). The first good answer goes to the client, the other one is thrown away.
//!
//! Both requests are owed to the same entry here, which says who gets the answer. It goes when that is given; what comes later
//! finds no entry and nobody. An error counts as an answer only where the other server has given none either. Writes never come
//! here, nor reads that only the primary may answer.

use std::collections::HashMap;

use super::reads;
use crate::backend::pipeline::{Kind, Slot, Target};
use crate::gather::Merge;
use crate::route::distribution::ShardIndex;
use crate::topology::PoolId;
use crate::worker::Core;

/// Reads for which a second server is asked when all have failed to answer for long: no more are saved up.
const SAVED_MAX: u64 = 1000;
/// What one of them costs.
const PRICE: u64 = 100;

/// How many reads may be asked twice: a share of all reads, never more.
#[derive(Debug)]
pub struct Budget {
    percent: u64,
    saved: u64,
}

impl Budget {
    /// So many of a hundred reads.
    #[must_use]
    pub fn new(percent: u8) -> Self {
        Self { percent: u64::from(percent), saved: 0 }
    }

    /// A read was asked.
    #[inline]
    pub fn read(&mut self) {
        self.saved = (self.saved + self.percent).min(SAVED_MAX * PRICE);
    }

    /// Whether one more may be asked twice.
    #[must_use]
    pub fn has_any(&self) -> bool {
        self.saved >= PRICE
    }

    /// One is asked twice.
    fn spend(&mut self) {
        self.saved = self.saved.saturating_sub(PRICE);
    }
}

/// When a second server is asked.
#[derive(Debug)]
pub struct Hedging {
    /// After this time without an answer, in microseconds.
    pub after_us: u64,
    /// How often.
    pub budget: Budget,
}

#[derive(Debug)]
struct Open {
    pool: PoolId,
    target: Target,
    /// Answers that may still come.
    left: u8,
}

/// Reads that two servers were asked and none has answered.
#[derive(Debug, Default)]
pub struct Hedges {
    open: HashMap<u32, Open>,
    number: u32,
    /// Those that the second server has answered first, by pool.
    pub won: Vec<u64>,
}

impl Hedges {
    /// Whether no read is waited for that two servers were asked.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// A second server is asked what `target` is owed. Says which such read it is.
    pub fn begin(&mut self, pool: PoolId, target: Target) -> u32 {
        self.number = self.number.wrapping_add(1);
        self.won.resize(self.won.len().max(pool.place() + 1), 0);
        self.open.insert(self.number, Open { pool, target, left: 2 });
        self.number
    }

    /// Who is owed the reply in the end: nobody where the other was first.
    #[must_use]
    pub fn target(&self, target: Target) -> Target {
        let Target::Hedged { number, .. } = target else { return target };
        self.open.get(&number).map_or(Target::Nobody, |open| open.target)
    }

    /// One of the two servers has answered, or will not. Says who gets the reply; `None` where nobody does.
    pub fn answered(&mut self, number: u32, is_copy: bool, reply: &[u8]) -> Option<Target> {
        let open = self.open.get_mut(&number)?;
        open.left -= 1;
        let is_error = reply.starts_with(b"-");
        if is_error && open.left > 0 {
            return None;
        }
        let open = self.open.remove(&number)?;
        self.won[open.pool.place()] += u64::from(is_copy && !is_error);
        Some(open.target)
    }
}

/// What is done by the clock: asks second servers.
pub fn run(core: &mut Core) {
    let now_us = core.clock.now_us();
    for pool in core.pools.ids() {
        let reads = core.pools[pool].reads.as_ref();
        let Some(hedging) = reads.and_then(|reads| reads.hedging.as_ref()) else { continue };
        let Some(deadline_us) = now_us.checked_sub(hedging.after_us) else { continue };
        let lanes = core.pools[pool].lanes.count();
        for place in 0..core.pools[pool].routes.len() {
            let on = ((place / lanes) as ShardIndex, (place % lanes) as u32);
            let primary = core.pools[pool].routes[place] as usize;
            look(core, pool, on, primary, deadline_us, now_us);
            let replica = |core: &Core, at: usize| {
                let routes = &core.pools[pool].reads.as_ref()?.routes;
                Some(routes.get(place)?.get(at)?.backend as usize)
            };
            let mut at = 0;
            while let Some(replica) = replica(core, at) {
                look(core, pool, on, replica, deadline_us, now_us);
                at += 1;
            }
        }
    }
}

/// Looks at what a connection owes, and has owed since `deadline_us`.
fn look(
    core: &mut Core,
    pool: PoolId,
    on: (ShardIndex, u32),
    backend: usize,
    deadline_us: u64,
    now_us: u64,
) {
    let oldest_us = core.up.get_mut(backend).pipeline.oldest_us();
    if oldest_us.is_none_or(|at_us| at_us > deadline_us) || other(core, pool, on, backend).is_none()
    {
        return;
    }
    for (slot, bytes) in copies(core, pool, on.0, backend, deadline_us) {
        let other = other(core, pool, on, backend);
        match other.filter(|other| core.up.check(*other, now_us).is_ok()) {
            Some(other) => {
                core.pools[pool].stats.hedged_reads += 1;
                let scripts = &core.pools[pool].shared.scripts;
                core.up.send_again(other, Slot { at_us: now_us, ..slot }, &bytes, scripts);
            }
            // The first goes on alone.
            None => core.down.answer(slot.target, b"-", now_us),
        }
    }
}

/// Another server that may serve reads of a shard.
fn other(core: &mut Core, pool: PoolId, on: (ShardIndex, u32), backend: usize) -> Option<usize> {
    let now_us = core.clock.now_us();
    let it = &mut core.pools[pool];
    if it.topology.shards[usize::from(on.0)].is_parting {
        return None;
    }
    let chance = it.chance();
    reads::best(it, &mut core.up, on, Some(backend), chance, now_us)
}

/// The reads that a connection has owed since `deadline_us` and that a second server is to be asked, as far as the budget goes.
fn copies(
    core: &mut Core,
    pool: PoolId,
    shard: ShardIndex,
    backend: usize,
    deadline_us: u64,
) -> Vec<(Slot, Vec<u8>)> {
    let id = core.pools[pool].topology.shards[usize::from(shard)].id;
    let Core { up, down, pools, .. } = core;
    let it = up.get_mut(backend);
    let mut copies = Vec::new();
    let mut is_denied = false;
    let Some(reads) = &mut pools[pool].reads else { return copies };
    let Some(mut hedging) = reads.hedging.take() else { return copies };
    // A reply that has begun to arrive is given its time.
    let mut is_arriving = it.streaming.is_some();
    let mut pipeline = std::mem::take(&mut it.pipeline);
    pipeline.retarget_late(deadline_us, |slot, before| {
        let as_it_is = Some(slot.target);
        if std::mem::take(&mut is_arriving) || slot.kind != Kind::Read || slot.lead > 0 {
            return as_it_is;
        }
        let client = match slot.target {
            Target::Client { id, .. } => Some(id),
            // What concerns all servers is for primaries.
            Target::Part { gather, .. } if down.gathers.merge_of(gather) == Some(Merge::Values) => {
                down.gathers.client_of(gather)
            }
            _ => None,
        };
        let client = client.and_then(|client| down.clients.get_mut(client));
        if !client.is_some_and(|client| reads::may_lag(client, reads, id, slot.at_us)) {
            return as_it_is;
        }
        if !hedging.budget.has_any() {
            is_denied = true;
            return None;
        }
        let bytes = it.request_bytes(before as usize, slot.bytes as usize);
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else { return as_it_is };
        hedging.budget.spend();
        let number = down.hedges.begin(pool, slot.target);
        copies.push((Slot { target: Target::Hedged { number, is_copy: true }, ..*slot }, bytes));
        Some(Target::Hedged { number, is_copy: false })
    });
    it.pipeline = pipeline;
    reads.hedging = Some(hedging);
    pools[pool].stats.hedges_denied += u64::from(is_denied);
    copies
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::client::ClientId;

    const READ: Target = Target::Client { id: ClientId { index: 1, generation: 1 }, sequence: 7 };

    #[test]
    fn the_first_good_answer_counts_and_the_other_is_nobodys() {
        let mut hedges = Hedges::default();
        let pool = PoolId::new(1);
        let number = hedges.begin(pool, READ);
        assert_eq!(hedges.target(Target::Hedged { number, is_copy: false }), READ);
        assert_eq!(hedges.answered(number, true, b"+a"), Some(READ));
        assert_eq!(hedges.answered(number, false, b"+b"), None);
        assert_eq!(hedges.target(Target::Hedged { number, is_copy: false }), Target::Nobody);
        assert_eq!(hedges.won, [0, 1]);
    }

    #[test]
    fn an_error_waits_for_the_other_answer() {
        for last in [&b"+a"[..], b"-ERR b"] {
            for is_copy in [false, true] {
                let mut hedges = Hedges::default();
                let number = hedges.begin(PoolId::new(0), READ);
                assert_eq!(hedges.answered(number, is_copy, b"-ERR timed out"), None);
                assert_eq!(hedges.answered(number, !is_copy, last), Some(READ));
                assert_eq!(hedges.answered(number, !is_copy, last), None);
                assert_eq!(hedges.won, [u64::from(!is_copy && last[0] == b'+')]);
            }
        }
        assert_eq!(Hedges::default().target(READ), READ, "others are as they are");
    }

    proptest! {
        /// Never more than the share of reads that were asked so far, and no burst beyond what may be saved.
        #[test]
        fn the_budget_is_kept(
            percent in 1u8..=100,
            steps in prop::collection::vec((0u64..3000, 0u64..3000), 1..30),
        ) {
            let mut budget = Budget::new(percent);
            let (mut asked, mut spent) = (0, 0);
            for (reads, wanted) in steps {
                (0..reads).for_each(|_| budget.read());
                asked += reads;
                let mut burst = 0;
                while burst < wanted && budget.has_any() {
                    budget.spend();
                    burst += 1;
                }
                spent += burst;
                prop_assert!(spent * 100 <= asked * u64::from(percent));
                prop_assert!(burst <= SAVED_MAX);
                prop_assert!(burst == wanted || !budget.has_any());
            }
        }
    }
}
