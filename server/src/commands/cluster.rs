//! Cluster commands, as a server that is not part of a cluster answers them: `cluster-enabled yes` is refused at the
//! start, so none is.

use redstart_common::resp::error;

use super::Handlers;
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult};

pub(super) const HANDLERS: Handlers = &[
    ("cluster|addslots", disabled),
    ("cluster|addslotsrange", disabled),
    ("cluster|bumpepoch", disabled),
    ("cluster|count-failure-reports", disabled),
    ("cluster|countkeysinslot", disabled),
    ("cluster|delslots", disabled),
    ("cluster|delslotsrange", disabled),
    ("cluster|failover", disabled),
    ("cluster|flushslots", disabled),
    ("cluster|forget", disabled),
    ("cluster|getkeysinslot", disabled),
    ("cluster|help", disabled),
    ("cluster|info", disabled),
    ("cluster|keyslot", disabled),
    ("cluster|links", disabled),
    ("cluster|meet", disabled),
    ("cluster|myid", disabled),
    ("cluster|nodes", disabled),
    ("cluster|replicas", disabled),
    ("cluster|replicate", disabled),
    ("cluster|reset", disabled),
    ("cluster|saveconfig", disabled),
    ("cluster|set-config-epoch", disabled),
    ("cluster|setslot", disabled),
    ("cluster|shards", disabled),
    ("cluster|slaves", disabled),
    ("cluster|slots", disabled),
];

/// `CLUSTER …`, `ASKING`, `READONLY` and `READWRITE`: libraries that look for a cluster know a server without one by
/// this text. Redis answers so even to `CLUSTER HELP`.
pub fn disabled(_call: &mut Call<'_>) -> CommandResult {
    Err(CommandError::new(error::CLUSTER_DISABLED))
}
