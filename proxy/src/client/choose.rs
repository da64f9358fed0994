//! In which shard the keys of a request lie.

use redstart_common::command::spec::Flags;
use redstart_common::command::{CommandSpec, keys};
use redstart_common::resp::Args;
use redstart_common::slot::hash_tag;

use super::ClientId;
use super::request::Request;
use crate::route::distribution::{ShardIndex, Wants};
use crate::route::pool::Pool;
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
    if let Place::Shard(Some(shard)) = found
        && request.row.name.starts_with("sort")
        && reads_elsewhere(pool, shard, request.args)
    {
        return Place::Several;
    }
    found
}

/// Whether SORT reads keys by patterns that may lie elsewhere than what it sorts: it would find nothing there, and answer as
/// if there were nothing. A pattern is bound to a shard by its hash tag. A node of a cluster refuses by itself.
fn reads_elsewhere(pool: &mut Pool, shard: ShardIndex, args: Args<'_>) -> bool {
    let settings = &pool.shared.settings;
    let wants_hash = pool.topology.distribution.wants() == Wants::Hash;
    if settings.first_key_decides || !wants_hash {
        return false;
    }
    let tag = settings.hash_tag;
    sort_patterns(args).any(|pattern| {
        let bound = tag.map_or(pattern, |tag| hash_tag(pattern, tag));
        bound.contains(&b'*') || pool.shard_of(pattern) != Some(shard)
    })
}

/// The patterns of SORT that name keys: those with an asterisk. BY without one leaves the order as it is, and `GET #` is the
/// element.
fn sort_patterns(args: Args<'_>) -> impl Iterator<Item = &[u8]> {
    let mut at = 2;
    std::iter::from_fn(move || {
        loop {
            let word = args.get(at)?;
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            let values = match () {
                () if is("by") || is("get") || is("store") => 1,
                () if is("limit") => 2,
                () => 0,
            };
            at += 1 + values;
            if (is("by") || is("get"))
                && let Some(pattern) = args.get(at - 1)
                && pattern.contains(&b'*')
            {
                return Some(pattern);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use redstart_common::resp::OwnedArgs;

    use super::*;

    #[test]
    fn patterns_of_sort_are_those_that_name_keys() {
        let of = |text: &str| -> Vec<String> {
            let words: Vec<&str> = text.split(' ').collect();
            let args = OwnedArgs::from_slices(&words);
            let found = sort_patterns(args.as_args());
            found.map(|pattern| String::from_utf8_lossy(pattern).into_owned()).collect()
        };
        assert_eq!(of("SORT k"), [""; 0]);
        assert_eq!(of("SORT k BY nosort GET # LIMIT 0 10 ALPHA"), [""; 0]);
        assert_eq!(
            of("SORT get by w_* LIMIT by get GET n_*->f get # STORE by ASC"),
            ["w_*", "n_*->f"]
        );
        // What is no request is refused by the server.
        assert_eq!(of("SORT k BY"), [""; 0]);
        assert_eq!(of("SORT k STORE by by x*"), ["x*"]);
    }
}
