//! Brings the connections of a worker in line with a new picture of a pool.
//!
//! Whoever serves a shard keeps its connections; who is new gets some; who has no duty any more is let go: what was
//! sent is answered first, and what still waits for a connection goes to whoever serves its shard now.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::backend::Duty;
use crate::backend::connection::Ending;
use crate::client::reads::Candidate;
use crate::client::reads::rank::{Center, Rank};
use crate::client::{absent, forward, private, redirect, subscribe, tracking};
use crate::route::distribution::{Distribution, ShardIndex};
use crate::route::lane::Manner;
use crate::settings::OnServerDown;
use crate::stats::Lost;
use crate::topology::{Endpoint, Member, PoolId, Role, ServerId, ShardId, State, Topology};
use crate::worker::Core;

/// Said of a write that was sent to a primary which has been replaced before it answered.
const DEPOSED: &[u8] =
    b"-ERR the primary was replaced before it answered; whether the request has run is not known\r\n";

/// Said, behind `ERR`, of requests for a server that is down, whose keys stay with it.
pub const IS_DOWN: &str = "the server of this key is down (on_server_down: fail)";

/// Said of a request by key that has waited in vain for somebody to serve it.
const NO_NODE: &str = "CLUSTERDOWN Hash slot not served";
const NO_GROUP: &str = "ERR the sentinels have not told of any group";

/// Takes the newest picture of a pool into use.
pub fn reconcile(core: &mut Core, pool: PoolId) {
    let now_us = core.clock.now_us();
    let it = &mut core.pools[pool];
    let fresh = it.newest();
    let lanes = it.lanes;
    let preconnect = it.shared.settings.preconnect;
    let keeps = it.shared.settings.keeps();
    let follows = it.shared.settings.cluster.is_some();
    let mut before = std::mem::take(&mut it.links);
    let mut links: HashMap<ServerId, Vec<u32>> = HashMap::with_capacity(fresh.shards.len());
    let mut routes = Vec::with_capacity(fresh.shards.len() * lanes.count());
    for shard in &fresh.shards {
        let endpoint = &fresh.primary(shard).endpoint;
        let places = before.remove(&endpoint.id).unwrap_or_else(|| {
            let add = |lane: usize| {
                let duty = Duty::Shared { shard: shard.id, lane: lane as u32 };
                let manner = lanes.manner(lane);
                let place = core.up.add(pool, Arc::clone(endpoint), manner, keeps, duty);
                let backend = core.up.get_mut(place as usize);
                (backend.follows, backend.is_heavy) = (follows, lanes.is_heavy(lane));
                if preconnect && manner == Manner::default() && !lanes.is_heavy(lane) {
                    core.up.want(place as usize, now_us);
                }
                place
            };
            (0..lanes.count()).map(add).collect()
        });
        routes.extend_from_slice(&places);
        links.insert(endpoint.id, places);
    }
    if it.reads.is_some() {
        read_connections(core, pool, &fresh, now_us);
    }
    let it = &mut core.pools[pool];
    if keeps && it.shared.settings.is_discovered() && it.limbo.is_empty() {
        let nobody = Arc::new(Endpoint {
            id: ServerId::new(0),
            name: "nobody".into(),
            address: None,
            is_told_down: AtomicBool::new(true),
            is_told_silent: AtomicBool::new(true),
        });
        let why = if follows { NO_NODE } else { NO_GROUP };
        let add = |lane| core.up.add_limbo(pool, Arc::clone(&nobody), lanes.manner(lane), why);
        it.limbo = (0..lanes.count()).map(add).collect();
    }
    let old = std::mem::replace(&mut it.topology, fresh);
    it.routes = routes;
    it.links = links;
    // What is under way follows its slot, or is still answered by a connection that is let go of, perhaps to a server that comes back
    // under another: what comes next must not be there first.
    let is_left = |place: &u32| !core.up.get_mut(*place as usize).pipeline.is_empty();
    let are_left = before.values().flatten().any(is_left);
    if are_left || (follows && have_moved(&old, &core.pools[pool].topology)) {
        core.down.clients.hold_until_answered(pool);
    }
    let unread = std::mem::take(&mut core.pools[pool].unread);
    // In their order, not in that of a table: a seed of the simulation tells all.
    let mut left: Vec<u32> = before.into_values().flatten().chain(unread).collect();
    left.sort_unstable();
    for place in left {
        let_go(core, place as usize, &old);
    }
    bar(core, pool);
    leave_limbo(core, pool);
    absent::reconciled(core, pool);
    private::reconciled(core, pool);
    subscribe::reconciled(core, pool);
    tracking::reconciled(core, pool);
}

/// Where the keys of a server that is down stay with it, its connections are given up and requests for it refused, until it is
/// back.
fn bar(core: &mut Core, pool: PoolId) {
    if core.pools[pool].shared.settings.on_server_down != OnServerDown::Fail {
        return;
    }
    let now_us = core.clock.now_us();
    let topology = Arc::clone(&core.pools[pool].topology);
    let preconnect = core.pools[pool].shared.settings.preconnect;
    for (place, shard) in topology.shards.iter().enumerate() {
        let is_down = topology.primary(shard).state == State::Down;
        let lanes = core.pools[pool].lanes;
        for lane in 0..lanes.count() {
            let backend = core.pools[pool].routes[place * lanes.count() + lane] as usize;
            if is_down == core.up.is_barred(backend) {
                continue;
            }
            if is_down {
                core.close_backend(backend, IS_DOWN, Ending::Barred);
                core.up.bar(backend, IS_DOWN);
            } else {
                core.up.unbar(backend);
                let is_usual = lanes.manner(lane) == Manner::default() && !lanes.is_heavy(lane);
                if preconnect && is_usual {
                    core.up.want(backend, now_us);
                }
            }
        }
    }
}

/// Connections to the replicas that are fit to be read from.
fn read_connections(core: &mut Core, pool: PoolId, fresh: &Topology, now_us: u64) {
    let it = &mut core.pools[pool];
    let lanes = it.lanes;
    let follows = it.shared.settings.cluster.is_some();
    let mut before = std::mem::take(&mut it.read_links);
    let mut links: HashMap<ServerId, Vec<u32>> = HashMap::new();
    let mut routes = vec![Vec::new(); fresh.shards.len() * lanes.count()];
    let centers = it.shared.settings.data_centers.clone();
    let (of_primaries, of_replicas) = it.reads.as_ref().map_or((1, 0), |reads| reads.priorities);
    let rank = |priority: u8, member: &Member| {
        let address = member.endpoint.address.as_ref();
        Rank { priority, center: Center::of(centers.as_ref(), address) }
    };
    let primaries = fresh.shards.iter().map(|shard| rank(of_primaries, fresh.primary(shard)));
    let primaries = primaries.collect();
    let is_fit = |it: &&Member| it.role == Role::Replica && it.state == State::Live;
    for member in fresh.members.iter().filter(is_fit) {
        let endpoint = &member.endpoint;
        let shard = &fresh.shards[usize::from(member.shard)];
        let distance_us = i64::from(member.distance_us);
        let farther_us = distance_us - i64::from(fresh.primary(shard).distance_us);
        let places = before.remove(&endpoint.id).unwrap_or_else(|| {
            let add = |lane: usize| {
                let duty = Duty::Shared { shard: shard.id, lane: lane as u32 };
                let manner = lanes.manner(lane);
                let place = core.up.add(pool, Arc::clone(endpoint), manner, true, duty);
                let backend = core.up.get_mut(place as usize);
                (backend.follows, backend.reads) = (follows, true);
                backend.is_heavy = lanes.is_heavy(lane);
                if manner == Manner::default() && !lanes.is_heavy(lane) {
                    core.up.want(place as usize, now_us);
                }
                place
            };
            (0..lanes.count()).map(add).collect()
        });
        for (lane, backend) in places.iter().enumerate() {
            let place = usize::from(member.shard) * lanes.count() + lane;
            let rank = rank(of_replicas, member);
            routes[place].push(Candidate { backend: *backend, farther_us, rank });
        }
        links.insert(endpoint.id, places);
    }
    let it = &mut core.pools[pool];
    it.read_links = links;
    if let Some(reads) = &mut it.reads {
        reads.routes = routes;
        reads.primaries = primaries;
    }
    it.unread.extend(before.into_values().flatten());
}

/// Whether a slot that was served is served by another server.
fn have_moved(old: &Topology, new: &Topology) -> bool {
    let (Distribution::Slots(before), Distribution::Slots(after)) =
        (&old.distribution, &new.distribution)
    else {
        return false;
    };
    let server = |topology: &Topology, shard: Option<ShardIndex>| {
        Some(topology.primary(&topology.shards[usize::from(shard?)]).endpoint.id)
    };
    before.iter().zip(after.iter()).any(|(before, after)| {
        let before = server(old, before);
        before.is_some() && before != server(new, after)
    })
}

/// What waited for somebody to serve its slot goes there, or waits on.
fn leave_limbo(core: &mut Core, pool: PoolId) {
    let now_us = core.clock.now_us();
    for (lane, place) in (0..).zip(core.pools[pool].limbo.clone()) {
        let place = place as usize;
        if core.up.get_mut(place).pipeline.is_empty() {
            continue;
        }
        // All of it has not been sent: none is lost.
        let (waiting, _) = core.up.take_waiting(place, now_us, |_| {});
        let mut at = 0;
        for slot in waiting.slots {
            let request = &waiting.bytes[at..at + slot.bytes as usize];
            at += request.len();
            redirect::by_map(core, pool, lane, slot, request);
        }
    }
}

/// Relieves a connection of its duty.
fn let_go(core: &mut Core, backend: usize, old: &Topology) {
    let now_us = core.clock.now_us();
    let it = core.up.get_mut(backend);
    let Duty::Shared { shard, lane } = it.duty else { return };
    let pool = it.pool;
    it.duty = Duty::Leaving;
    // Reads need not be answered by whom they were sent to, unless one of them is being answered already.
    let stays = !it.reads || it.streaming.is_some();
    if it.is_up() && stays && !was_deposed(old, &core.pools[pool].topology, shard) {
        if it.has_left() {
            core.release_backend(backend);
        }
        return;
    }
    // Writes that it was sent may have run, and would be lost if it still acknowledged them.
    let (up, down) = (&mut core.up, &mut core.down);
    let lost = (Lost::Replaced, core.pools[pool].shared.settings.on_lost_request);
    let (waiting, broken) =
        up.take_waiting(backend, now_us, |slot| down.lose((pool, slot), lost, DEPOSED, now_us));
    if let Some(reply) = broken {
        down.break_off(&reply);
    }
    core.release_backend(backend);
    forward::again(core, pool, Some(shard), lane, &waiting);
}

/// Whether the primary of a shard was replaced by another. Whoever leaves otherwise is as good as before.
fn was_deposed(old: &Topology, new: &Topology, shard: ShardId) -> bool {
    let failovers = |topology: &Topology| {
        let place = topology.place_of(shard)?;
        Some(topology.shards[usize::from(place)].failovers)
    };
    matches!((failovers(old), failovers(new)), (Some(old), Some(new)) if old != new)
}
