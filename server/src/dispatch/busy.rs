//! What clients are answered while a script runs long: that the server is busy, but for the few commands that may end it.

use redstart_common::command::spec::Flags as RowFlags;
use redstart_common::resp::{Args, error};

use super::gates::{listening_gate, loading_gate};
use super::{Found, find, refuse, run, runs_within_multi};
use crate::client::{Client, Flags};
use crate::engine::{CommandError, CommandResult, Core};
use crate::keyspace::Keyspace;

/// Answers one request of a client while a script of another runs.
pub(crate) fn answer_while_busy(
    keyspace: &mut Keyspace,
    core: &mut Core,
    client: &mut Client,
    args: Args<'_>,
) {
    let id = match find(&core.renames, args) {
        Found::Row(id) | Found::Renamed(id) => id,
        Found::Refused(error) => return refuse(keyspace, core, client, None, &error),
    };
    client.last_command = Some(id);
    let row = id.spec();
    let Some(handler) = core.handlers.of(id).filter(|_| row.accepts_count(args.len())) else {
        return refuse(keyspace, core, client, Some(id), &CommandError::arity(row.name));
    };
    let mut allowed = || -> CommandResult {
        core.client_gates(client, row, args)?;
        listening_gate(client, row)?;
        // A script in the log is a part of the loading.
        loading_gate(core, row.flags, row.flags)?;
        if row.flags.contains(RowFlags::ALLOW_BUSY) { Ok(()) } else { Err(busy(core)) }
    };
    if let Err(error) = allowed() {
        return refuse(keyspace, core, client, Some(id), &error);
    }
    if client.flags.any(Flags::MULTI) && !runs_within_multi(id) {
        client.queue(id, args);
        client.reply.raw(b"+QUEUED\r\n");
        return;
    }
    run(keyspace, core, client, id, handler, args);
}

/// The refusal of what may not be asked while a script runs.
fn busy(core: &Core) -> CommandError {
    let is_function = core.scripting.running.as_ref().is_some_and(|running| !running.is_eval);
    CommandError::new(if is_function { error::BUSY_FUNCTION } else { error::BUSY_SCRIPT })
}
