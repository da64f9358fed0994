//! Commands about the server itself.

use redstart_common::clock;

use super::Handlers;
use crate::client::Flags;
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult};

pub(super) const HANDLERS: Handlers =
    &[("info", super::info::info), ("monitor", monitor), ("time", time)];

/// `TIME`
pub fn time(call: &mut Call<'_>) -> CommandResult {
    let now = clock::unix_us();
    call.client.reply.array(2);
    call.client.reply.bulk_int(now / 1_000_000);
    call.client.reply.bulk_int(now % 1_000_000);
    Ok(())
}

/// `MONITOR`
pub fn monitor(call: &mut Call<'_>) -> CommandResult {
    if call.client.flags.any(Flags::DENY_BLOCKING) {
        return Err(CommandError::new("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    if !call.client.flags.any(Flags::MONITOR) {
        call.client.flags.set(Flags::MONITOR);
        call.core.monitors.push(call.client.id);
    }
    call.client.reply.ok();
    Ok(())
}
