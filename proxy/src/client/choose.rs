//! In which shard the keys of a request lie.

use redstart_common::command::spec::Flags;
use redstart_common::command::{CommandSpec, keys};

use super::ClientId;
use super::request::Request;
use crate::route::distribution::{ShardIndex, Wants};
use crate::topology::PoolId;
use crate::worker::Core;

/// The first live shard whose server is not known to be down.
pub fn anywhere(core: &mut Core, id: ClientId) -> Option<ShardIndex> {
    let client = core.down.clients.get_mut(id)?;
    core.pools[client.pool].topology.well().first().copied()
}

/// A live shard for a request without keys: any, if it only reads, else the first.
pub fn whichever(core: &mut Core, id: ClientId, row: &CommandSpec) -> Option<ShardIndex> {
    if !row.flags.contains(Flags::READONLY) {
        return anywhere(core, id);
    }
    let client = core.down.clients.get_mut(id)?;
    let pool = &mut core.pools[client.pool];
    let chance = pool.chance() >> 32;
    let well = pool.topology.well();
    let place = (chance as usize).checked_rem(well.len())?;
    well.get(place).copied()
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
    if request.row.name == "publish" {
        // Its channel lies where a key of that name would.
        return Place::Shard(pool.shard_of(request.args.at(1)));
    }
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
            Place::Shard(_) if pool.shared.settings.first_key_decides => {}
            // Any shard is as good as another: all keys go where the first went.
            Place::Shard(_) if pool.topology.distribution.wants() == Wants::Chance => {}
            Place::Shard(shard) if shard == pool.shard_of(key) => {}
            _ => return Place::Several,
        }
    }
    found
}
