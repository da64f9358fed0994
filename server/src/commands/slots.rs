//! What a client of a cluster says of how it wants its keys served.

use redstart_common::resp::error;

use super::Handlers;
use crate::client::Flags;
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult};

pub(super) const HANDLERS: Handlers =
    &[("asking", asking), ("readonly", readonly), ("readwrite", readwrite)];

fn in_cluster(call: &mut Call<'_>, change: impl FnOnce(&mut Flags)) -> CommandResult {
    if !call.is_in_cluster() && !may_follow(call) {
        return Err(CommandError::new(error::CLUSTER_DISABLED));
    }
    change(&mut call.client.flags);
    call.client.reply.ok();
    Ok(())
}

/// Valkey takes READONLY and READWRITE outside a cluster from those who would be sent to the primary.
fn may_follow(call: &Call<'_>) -> bool {
    call.client.flags.any(Flags::FOLLOWS) && call.row.spec().name != "asking"
}

/// `ASKING`: the next command is served though its slot is only on its way here.
pub fn asking(call: &mut Call<'_>) -> CommandResult {
    in_cluster(call, |flags| flags.set(Flags::ASKING))
}

/// `READONLY`: a replica serves reads of what its primary owns.
pub fn readonly(call: &mut Call<'_>) -> CommandResult {
    in_cluster(call, |flags| flags.set(Flags::READS_REPLICA))
}

/// `READWRITE`: it does not any more.
pub fn readwrite(call: &mut Call<'_>) -> CommandResult {
    in_cluster(call, |flags| flags.clear(Flags::READS_REPLICA))
}
