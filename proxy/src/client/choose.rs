//! In which shard the keys of a request lie.

use redstart_common::command::keys;

use super::ClientId;
use super::request::Request;
use crate::route::distribution::{ShardIndex, Wants};
use crate::topology::PoolId;
use crate::worker::Core;

/// The first live shard.
pub fn anywhere(core: &mut Core, id: ClientId) -> Option<ShardIndex> {
    let client = core.down.clients.get_mut(id)?;
    core.pools[client.pool].topology.live.first().copied()
}

/// Where all keys of a request lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It has none.
    NoKeys,
    /// In one shard; `None` when none is alive.
    Shard(Option<ShardIndex>),
    /// In several.
    Several,
}

/// The slot of a request's first key, in a cluster.
pub fn slot_of_first(core: &Core, pool: PoolId, request: Request<'_>) -> Option<u16> {
    let first = keys::first(request.row, request.args)?;
    core.pools[pool].slot_of(request.args.get(first)?)
}

/// Finds where the keys of a request lie.
pub fn place(core: &mut Core, pool: PoolId, request: Request<'_>) -> Place {
    let pool = &mut core.pools[pool];
    let mut found = Place::NoKeys;
    let mut first_slot = None;
    for at in keys::positions(request.row, request.args) {
        let Some(key) = request.args.get(at) else { continue };
        let slot = pool.slot_of(key);
        match found {
            Place::NoKeys => {
                found = Place::Shard(pool.shard_of(key));
                first_slot = slot;
            }
            // A node of a cluster takes keys of one slot together, and those of two it has not.
            _ if slot != first_slot => return Place::Several,
            // Any shard is as good as another: all keys go where the first went.
            Place::Shard(_) if pool.topology.distribution.wants() == Wants::Chance => {}
            Place::Shard(shard) if shard == pool.shard_of(key) => {}
            _ => return Place::Several,
        }
    }
    found
}
