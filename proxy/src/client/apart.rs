//! Heavy requests go on lanes of their own, so that what others ask does not wait behind their replies.
//!
//! ```text
//!   a request that is known to be heavy      its client waits until all it asked before is answered, and then
//!                                            asks on a heavy lane, where it stays
//!   its client has nothing under way         it is back on its own lane
//! ```
//!
//! So what a client asks of a server is always on one connection, and keeps its order. Which requests are heavy is learnt
//! ([`Heavies`](crate::route::heavy::Heavies)); KEYS always is, and commands that Redis calls fast never are. A heavy lane is
//! opened when it is needed: the first that owes nothing serves, or else the one that owes least.

use redstart_common::command::CommandSpec;
use redstart_common::command::spec::Flags;

use super::request::Request;
use super::{Client, ClientId};
use crate::backend::Upstream;
use crate::route::distribution::ShardIndex;
use crate::route::heavy;
use crate::route::pool::Pool;
use crate::worker::Core;

/// Whether requests of a command may turn out to be heavy.
#[inline]
#[must_use]
pub fn may_be_heavy(row: &CommandSpec) -> bool {
    !row.flags.contains(Flags::FAST)
}

/// Takes note of a request about `what` that is about to be sent, and changes the client's lane if that is to be. Says whether it
/// may be sent now; else it is to be looked at again when all that was asked before it is answered.
pub fn goes(
    pool: &mut Pool,
    up: &mut Upstream,
    client: &mut Client,
    row: &CommandSpec,
    what: &[u8],
) -> bool {
    if pool.lanes.heavy() == 0 {
        return true;
    }
    let tag = heavy::tag(row.id.index(), what);
    let is_heavy = row.name == "keys" || pool.heavies.knows(tag);
    if is_heavy && !client.is_apart {
        if !client.pending.is_empty() {
            return false;
        }
        let shard = match row.name {
            "keys" => pool.topology.live.first().copied(),
            _ => pool.shard_of(what),
        };
        go_apart(pool, up, client, shard);
    }
    pool.stats.heavy_requests += u64::from(is_heavy);
    client.tag = tag;
    true
}

/// As [`goes`], for a request that names `what` as its first argument.
pub fn goes_by_first(core: &mut Core, id: ClientId, request: &Request<'_>) -> bool {
    let Some(client) = core.down.clients.get_mut(id) else { return true };
    let (pool, what) = (&mut core.pools[client.pool], request.args.get(1).unwrap_or_default());
    goes(pool, &mut core.up, client, request.row, what)
}

/// The client asks on a heavy lane from now on.
fn go_apart(pool: &Pool, up: &mut Upstream, client: &mut Client, shard: Option<ShardIndex>) {
    let lanes = (0..pool.lanes.heavy()).map(|number| pool.lanes.of_heavy(client.manner(), number));
    let owed =
        |lane: &u32| shard.map_or(0, |shard| up.get_mut(pool.backend(shard, *lane)).pipeline.len());
    if let Some(lane) = lanes.min_by_key(owed) {
        client.lane = lane;
        client.is_apart = true;
    }
}
