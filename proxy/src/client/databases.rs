//! Databases: SELECT, and what names another one.
//!
//! A client's database is part of its manner, and decides the connections that its requests go on. Nothing that it asks in
//! another database is looked at before all it asked in this one is answered, for the two go on different connections.

use redstart_common::command::CommandSpec;
use redstart_common::resp::{Args, RespWrite, error};

use super::choose::anywhere;
use super::dispatch::refuse;
use super::request::Request;
use super::{ClientId, forward};
use crate::route::lane::Manner;
use crate::settings::PoolSettings;
use crate::texts;
use crate::topology::PoolId;
use crate::worker::Core;

const INVALID_FIRST: &str = "ERR invalid first DB index";
const INVALID_SECOND: &str = "ERR invalid second DB index";
const NOT_AT_ONCE: &str =
    "ERR SWAPDB is not supported over several servers, which would not swap at the same moment";
const WHILE_WATCHING: &str =
    "ERR SELECT between WATCH and MULTI is not supported through the proxy";

fn number(word: Option<&[u8]>) -> Option<i64> {
    std::str::from_utf8(word?).ok()?.parse().ok()
}

/// The database that SELECT chooses, or what is wrong with it.
pub fn selected(settings: &PoolSettings, args: Args<'_>) -> Result<u16, &'static str> {
    let index = number(args.get(1)).ok_or(error::NOT_AN_INTEGER)?;
    let index = u16::try_from(index).ok().filter(|index| *index < settings.databases);
    index.ok_or(error::DB_INDEX_OUT_OF_RANGE)
}

/// `SELECT index`
pub fn select(core: &mut Core, id: ClientId, request: Request<'_>) {
    let now_us = request.now_us;
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let problem = match selected(&core.pools[client.pool].shared.settings, request.args) {
        Err(problem) => problem,
        Ok(db) => {
            let manner = Manner { db, ..client.manner() };
            if client.watch.is_some() && manner != client.manner() {
                return refuse(core, id, now_us, |out| out.error(WHILE_WATCHING));
            }
            client.set_manner(manner);
            return core.down.clients.reply(id, now_us, |out| out.simple("OK"));
        }
    };
    refuse(core, id, now_us, |out| out.error(problem));
}

/// Whether a command that names a database names one that the pool has. What is no number is for its server to refuse.
fn named(row: &CommandSpec, args: Args<'_>) -> Option<i64> {
    match row.name {
        "move" => number(args.get(2)),
        _ => {
            let mut places = 3..args.len();
            let at = places.find(|at| args.at(*at).eq_ignore_ascii_case(b"DB"))?;
            number(args.get(at + 1))
        }
    }
}

/// Refuses MOVE, and COPY with DB, where they would lead out of the pool's databases. Says whether it has.
pub fn refuse_beyond(core: &mut Core, id: ClientId, request: Request<'_>) -> bool {
    let Some(client) = core.down.clients.get_mut(id) else { return true };
    let settings = &core.pools[client.pool].shared.settings;
    let Some(index) = named(request.row, request.args) else { return false };
    if settings.redis_db > 0 {
        // What the client calls 0 is another one.
        refuse(core, id, request.now_us, |out| texts::not_shared(out, request.row));
        return true;
    }
    let is_beyond = !(0..i64::from(settings.databases)).contains(&index);
    if is_beyond {
        refuse(core, id, request.now_us, |out| out.error(error::DB_INDEX_OUT_OF_RANGE));
    }
    is_beyond
}

/// What is wrong with `SWAPDB first second`.
fn misfit(settings: &PoolSettings, shards: usize, args: Args<'_>) -> Option<&'static str> {
    let Some(first) = number(args.get(1)) else { return Some(INVALID_FIRST) };
    let Some(second) = number(args.get(2)) else { return Some(INVALID_SECOND) };
    let has = |index| (0..i64::from(settings.databases)).contains(&index);
    if !has(first) || !has(second) {
        return Some(error::DB_INDEX_OUT_OF_RANGE);
    }
    (shards != 1).then_some(NOT_AT_ONCE)
}

/// Whether the databases of a pool have the numbers that they have at its servers.
#[must_use]
pub fn are_the_servers(core: &Core, pool: PoolId) -> bool {
    core.pools[pool].shared.settings.redis_db == 0
}

/// Whether a SWAPDB is one that its server may carry out.
#[must_use]
pub fn may_swap(core: &Core, pool: PoolId, request: Request<'_>) -> bool {
    let it = &core.pools[pool];
    let settings = &it.shared.settings;
    are_the_servers(core, pool)
        && misfit(settings, it.topology.shards.len(), request.args).is_none()
}

/// `SWAPDB first second`, where there is one server.
pub fn swap(core: &mut Core, id: ClientId, request: Request<'_>) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let it = &core.pools[client.pool];
    let settings = &it.shared.settings;
    if settings.redis_db > 0 {
        return refuse(core, id, request.now_us, |out| texts::not_shared(out, request.row));
    }
    if let Some(problem) = misfit(settings, it.topology.shards.len(), request.args) {
        return refuse(core, id, request.now_us, |out| out.error(problem));
    }
    let shard = anywhere(core, id);
    forward::request(core, id, shard, &request);
}

#[cfg(test)]
mod tests {
    use redstart_common::command::lookup;
    use redstart_common::resp::OwnedArgs;

    use super::*;
    use crate::settings::Listen;

    #[test]
    fn databases_are_found_where_they_are_named() {
        for (words, wanted) in [
            ("move k 3", Some(3)),
            ("move k x", None),
            ("copy a b", None),
            ("copy a b replace", None),
            ("copy a b db 4 replace", Some(4)),
            ("copy a b REPLACE DB -1", Some(-1)),
            ("copy db 3 db", None),
        ] {
            let words: Vec<&str> = words.split(' ').collect();
            let args = OwnedArgs::from_slices(&words);
            let row = lookup(words[0].as_bytes()).expect("a command").spec();
            assert_eq!(named(row, args.as_args()), wanted, "{words:?}");
        }
    }

    #[test]
    fn databases_swap_on_one_server_only() {
        let mut settings = PoolSettings::new("p", Listen::tcp("", 0), Vec::new());
        settings.databases = 4;
        for (words, shards, wanted) in [
            ("swapdb 0 3", 1, None),
            ("swapdb 0 3", 2, Some(NOT_AT_ONCE)),
            ("swapdb 0 4", 1, Some(error::DB_INDEX_OUT_OF_RANGE)),
            ("swapdb x 4", 1, Some(INVALID_FIRST)),
            ("swapdb 1 y", 2, Some(INVALID_SECOND)),
        ] {
            let words: Vec<&str> = words.split(' ').collect();
            let args = OwnedArgs::from_slices(&words);
            assert_eq!(misfit(&settings, shards, args.as_args()), wanted, "{words:?}");
        }
    }
}
