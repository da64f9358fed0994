//! `EVAL` under the debugger: in a child of the process, so that nothing of what the script does is kept and others are served
//! meanwhile, or in the server itself (`SCRIPT DEBUG SYNC`), which stands still for so long.

use std::rc::Rc;
use std::time::Duration;

use redstart_common::log;

use super::session::Session;
use crate::client::Flags;
use crate::engine::{Call, CommandError, CommandResult};
use crate::process::fork::{self, Child, Side};
use crate::text::system_words;

/// How long a client may not take the reply of its script.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs `eval` as a session with the client that calls.
///
/// # Errors
/// Those of `eval`; when replies to the client wait, which a session would overtake; within EXEC; where no child can be made.
pub fn run(
    call: &mut Call<'_>,
    eval: impl FnOnce(&mut Call<'_>) -> CommandResult,
) -> CommandResult {
    let Some(connection) = call.client.connection.clone() else {
        return Err(CommandError::new("ERR A script can be debugged over a connection only"));
    };
    if call.client.flags.any(Flags::EXECUTING) {
        return Err(CommandError::new("ERR A script cannot be debugged within a transaction"));
    }
    if call.client.reply.pending() > 0 {
        return Err(CommandError::new("ERR A script cannot be debugged within a pipeline"));
    }
    let child: Option<Child> = if call.client.flags.any(Flags::DEBUGS_HERE) {
        log!(Warning, "Redis synchronous debugging eval session started");
        None
    } else {
        match fork::fork(connection.descriptor()) {
            Ok(Side::Parent(child)) => {
                call.core.scripting.children.push(child);
                call.client.flags.clear(Flags::DEBUGS);
                call.client.flags.set(Flags::CLOSE_AFTER_REPLY);
                connection.let_go();
                return Ok(());
            }
            Ok(Side::Child(child)) => {
                log!(Warning, "Redis forked for debugging eval");
                Some(child)
            }
            Err(error) => {
                return Err(CommandError::made(format!(
                    "ERR Fork() failed: can't run EVAL in debugging mode: {}",
                    system_words(&error)
                )));
            }
        }
    };
    call.core.scripting.session = Some(Session::new(Rc::clone(&connection), call.arg(1)));
    let outcome = eval(call);
    if let Some(session) = call.core.scripting.session.take() {
        session.end();
    }
    if let Some(child) = child {
        if let Err(refusal) = &outcome {
            call.client.reply.error(refusal.text());
        }
        let reply = call.client.reply.output.waiting();
        // A client that is gone needs none.
        let _ = connection.write_waiting(&reply, SEND_TIMEOUT);
        log!(Warning, "Lua debugging session child exiting");
        child.end();
    }
    log!(Warning, "Redis synchronous debugging eval session ended");
    call.client.flags.set(Flags::CLOSE_AFTER_REPLY);
    outcome
}
