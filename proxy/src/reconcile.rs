//! Brings the connections of a worker in line with a new picture of a pool.
//!
//! Whoever serves a shard keeps its connections; who is new gets some; who has no duty any more is let go: what was
//! sent is answered first, and what still waits for a connection goes to whoever serves its shard now.

use std::collections::HashMap;
use std::sync::Arc;

use crate::backend::Duty;
use crate::client::{forward, private, subscribe};
use crate::topology::{PoolId, ServerId, ShardId, Topology};
use crate::worker::Core;

/// Said of a write that was sent to a primary which has been replaced before it answered.
const DEPOSED: &[u8] =
    b"-ERR the primary was replaced before it answered; whether the request has run is not known\r\n";

/// Takes the newest picture of a pool into use.
pub fn reconcile(core: &mut Core, pool: PoolId) {
    let now_us = core.clock.now_us();
    let it = &mut core.pools[pool];
    let fresh = it.newest();
    let per_server = it.connections_per_server();
    let numbers = it.shared.settings.server_connections;
    let preconnect = it.shared.settings.preconnect;
    let keeps = it.shared.settings.failover_hold_ms > 0;
    let mut before = std::mem::take(&mut it.links);
    let mut links: HashMap<ServerId, Vec<u32>> = HashMap::with_capacity(fresh.shards.len());
    let mut routes = Vec::with_capacity(fresh.shards.len() * per_server);
    for shard in &fresh.shards {
        let endpoint = &fresh.primary(shard).endpoint;
        let places = before.remove(&endpoint.id).unwrap_or_else(|| {
            let add = |lane: usize| {
                let duty = Duty::Shared { shard: shard.id, lane: lane as u32 };
                let resp3 = lane >= numbers;
                let place = core.up.add(pool, Arc::clone(endpoint), resp3, keeps, duty);
                if preconnect && !resp3 {
                    core.up.want(place as usize, now_us);
                }
                place
            };
            (0..per_server).map(add).collect()
        });
        routes.extend_from_slice(&places);
        links.insert(endpoint.id, places);
    }
    let old = std::mem::replace(&mut it.topology, fresh);
    it.routes = routes;
    it.links = links;
    for place in before.into_values().flatten() {
        let_go(core, place as usize, &old);
    }
    private::reconciled(core, pool);
    subscribe::reconciled(core, pool);
}

/// Relieves a connection of its duty.
fn let_go(core: &mut Core, backend: usize, old: &Topology) {
    let now_us = core.clock.now_us();
    let it = core.up.get_mut(backend);
    let Duty::Shared { shard, lane } = it.duty else { return };
    let pool = it.pool;
    it.duty = Duty::Leaving;
    if it.is_up() && !was_deposed(old, &core.pools[pool].topology, shard) {
        if it.has_left() {
            core.release_backend(backend);
        }
        return;
    }
    // Writes that it was sent may have run, and would be lost if it still acknowledged them.
    let (up, down) = (&mut core.up, &mut core.down);
    let (waiting, broken) =
        up.take_waiting(backend, now_us, |slot| down.answer(slot.target, DEPOSED, now_us));
    if let Some(client) = broken {
        down.clients.break_stream(client);
    }
    core.release_backend(backend);
    forward::again(core, pool, shard, lane, &waiting);
}

/// Whether the primary of a shard was replaced by another. Whoever leaves otherwise is as good as before.
fn was_deposed(old: &Topology, new: &Topology, shard: ShardId) -> bool {
    let failovers = |topology: &Topology| {
        let place = topology.place_of(shard)?;
        Some(topology.shards[usize::from(place)].failovers)
    };
    matches!((failovers(old), failovers(new)), (Some(old), Some(new)) if old != new)
}
