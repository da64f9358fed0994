//! Connections that serve one client at a time: opening, giving back, closing, and what is said on them or of them.

use std::sync::Arc;

use redstart_common::resp::encode::Proto;

use super::ClientId;
use crate::backend::pipeline::{Kind, Slot, Target};
use crate::backend::private::{Held, Room};
use crate::backend::redirect::ASKING;
use crate::backend::{Duty, Refusal, error_text, probe};
use crate::route::distribution::ShardIndex;
use crate::route::lane::Manner;
use crate::topology::{PoolId, ShardId};
use crate::worker::Core;

/// Whether a connection is still the one that was held.
pub fn is_held(core: &mut Core, held: Held) -> bool {
    !core.up.is_free(held.place as usize)
        && core.up.get_mut(held.place as usize).epoch == held.epoch
}

/// A connection to the primary of a shard for one client, opened if there is none.
///
/// # Errors
/// When there are as many as there may be, or the server is down and keeps its keys.
pub fn connect(
    core: &mut Core,
    pool: PoolId,
    shard: ShardIndex,
    manner: Manner,
) -> Result<Held, Refusal> {
    let now_us = core.clock.now_us();
    if core.up.is_barred(core.pools[pool].backend(shard, 0)) {
        return Err(Refusal::is_down());
    }
    let topology = &core.pools[pool].topology;
    let of_shard = &topology.shards[usize::from(shard)];
    let (endpoint, shard) = (Arc::clone(&topology.primary(of_shard).endpoint), of_shard.id);
    while let Some(held) = core.privates.take(pool, endpoint.id, manner) {
        if is_held(core, held) && core.up.get_mut(held.place as usize).is_up() {
            return Ok(held);
        }
        discard(core, held);
    }
    let most = core.pools[pool].shared.settings.private_connections;
    match core.privates.room(pool, endpoint.id, most) {
        Room::Free => {}
        Room::InsteadOf(other) => discard(core, other),
        Room::None => {
            core.pools[pool].stats.private_refused += 1;
            return Err(Refusal::all_private_in_use(most, &endpoint.name));
        }
    }
    core.privates.added(pool, endpoint.id);
    let duty = Duty::Private { shard };
    let place = core.up.add(pool, endpoint, manner, false, duty);
    core.up.get_mut(place as usize).follows = core.pools[pool].has_slots();
    core.up.want(place as usize, now_us);
    Ok(Held { place, epoch: core.up.get_mut(place as usize).epoch })
}

/// A client needs a connection no more: it is kept for the next, unless something is still to come on it.
pub fn give_back(core: &mut Core, held: Held) {
    if !is_held(core, held) {
        return;
    }
    let now_us = core.clock.now_us();
    let it = core.up.get_mut(held.place as usize);
    if !it.is_up() || !it.pipeline.is_owed_to_nobody() {
        return discard(core, held);
    }
    let (pool, server, manner) = (it.pool, it.server.id, it.manner);
    if core.pools[pool].links.contains_key(&server) {
        core.privates.give(pool, server, manner, held, now_us);
    } else {
        discard(core, held);
    }
}

/// Closes a connection. Whoever waits on it is not told.
pub fn discard(core: &mut Core, held: Held) {
    if !is_held(core, held) {
        return;
    }
    let now_us = core.clock.now_us();
    let place = held.place as usize;
    let pool = core.up.get_mut(place).pool;
    core.up.close(place, "", now_us, &core.pools[pool].shared.scripts, |_| {});
    core.release_backend(place);
}

/// A connection of a client's own to a shard.
///
/// # Errors
/// When no shard is alive, or as [`connect`].
pub fn open(core: &mut Core, id: ClientId, shard: Option<ShardIndex>) -> Result<Held, Refusal> {
    let (Some(shard), Some(client)) = (shard, core.down.clients.get_mut(id)) else {
        return Err(Refusal::nobody());
    };
    let (pool, manner) = (client.pool, client.manner());
    connect(core, pool, shard, manner)
}

/// What comes next on a connection is about a slot that is on its way to its server.
pub fn ask_first(core: &mut Core, held: Held, now_us: u64) {
    let slot = Slot::new(Target::Nobody, Kind::Read, now_us);
    core.up.send(held.place as usize, slot, |output| output.push(ASKING));
}

/// Asks a server to let a request go that waits there. It decides itself whether it was served before.
pub fn unblock(core: &mut Core, held: Held, how: &'static [u8]) {
    let it = core.up.get_mut(held.place as usize);
    let (endpoint, number) = (Arc::clone(&it.server), it.remote_id.to_string());
    let shared = Arc::clone(&core.pools[it.pool].shared);
    tokio::task::spawn_local(async move {
        let asking = async {
            let mut link = probe::open_beside(&shared.settings, &endpoint, Proto::Resp2).await?;
            link.ask(&[b"CLIENT", b"UNBLOCK", number.as_bytes(), how]).await
        };
        let limit = probe::connect_timeout(&shared.settings);
        if let Ok(Err(error)) = tokio::time::timeout(limit, asking).await {
            redstart_common::log!(
                Notice,
                "pool '{}': server '{}' was not asked to let a waiting client go: {}",
                shared.settings.name,
                endpoint.name,
                error_text(&error)
            );
        }
    });
}

/// The identity of a shard by its place.
#[must_use]
pub fn shard_id(core: &Core, pool: PoolId, shard: ShardIndex) -> ShardId {
    core.pools[pool].topology.shards[usize::from(shard)].id
}
