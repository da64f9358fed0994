//! CLUSTER. Without `cluster-enabled yes` all of it is answered that there is none, as libraries that look for a cluster expect.

mod change;
mod moves;
mod show;

use redstart_common::resp::error;

use super::Handlers;
use super::options::integer;
use crate::cluster::{Cluster, Handle};
use crate::engine::Call;
use crate::engine::CommandError;

pub(super) const HANDLERS: Handlers = &[
    ("cluster|addslots", change::addslots),
    ("cluster|addslotsrange", change::addslotsrange),
    ("cluster|bumpepoch", change::bumpepoch),
    ("cluster|cancelslotmigrations", moves::cancelslotmigrations),
    ("cluster|count-failure-reports", show::count_failure_reports),
    ("cluster|countkeysinslot", show::countkeysinslot),
    ("cluster|delslots", change::delslots),
    ("cluster|delslotsrange", change::delslotsrange),
    ("cluster|failover", change::failover),
    ("cluster|flushslots", change::flushslots),
    ("cluster|forget", change::forget),
    ("cluster|getkeysinslot", show::getkeysinslot),
    ("cluster|getslotmigrations", moves::getslotmigrations),
    ("cluster|help", show::help),
    ("cluster|info", show::info),
    ("cluster|keyslot", show::keyslot),
    ("cluster|links", show::links),
    ("cluster|meet", change::meet),
    ("cluster|migrateslots", moves::migrateslots),
    ("cluster|myid", show::myid),
    ("cluster|myshardid", show::myshardid),
    ("cluster|nodes", show::nodes),
    ("cluster|replicas", show::replicas),
    ("cluster|replicate", change::replicate),
    ("cluster|reset", change::reset),
    ("cluster|saveconfig", change::saveconfig),
    ("cluster|set-config-epoch", change::set_config_epoch),
    ("cluster|setslot", change::setslot),
    ("cluster|shards", show::shards),
    ("cluster|slaves", show::replicas),
    ("cluster|slot-stats", show::slot_stats),
    ("cluster|slots", show::slots),
    ("cluster|syncslots", moves::syncslots),
];

const DISABLED: CommandError = CommandError::new(error::CLUSTER_DISABLED);

/// The cluster; a server without one answers so, even to `CLUSTER HELP`.
fn cluster<'c>(call: &'c Call<'_>) -> Result<&'c Cluster, CommandError> {
    call.core.cluster.as_deref().ok_or(DISABLED)
}

/// The node that the argument at `place` names.
fn node(call: &Call<'_>, place: usize) -> Result<Handle, CommandError> {
    let name = call.args.at(place);
    cluster(call)?.find(name).ok_or_else(|| CommandError::about("ERR Unknown node ", name, ""))
}

/// A slot, as the commands take it that assign them.
fn slot(arg: &[u8]) -> Result<u16, CommandError> {
    integer(arg)
        .ok()
        .and_then(|slot| u16::try_from(slot).ok())
        .filter(|slot| *slot < redstart_common::slot::SLOT_COUNT)
        .ok_or(CommandError::new("ERR Invalid or out of range slot"))
}
