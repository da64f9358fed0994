//! Errors that nobody waits for: what a primary's stream, the append-only file or a replica is answered with one. They say
//! that data differs, or is about to; `propagation-error-behavior` is what follows.

use redstart_common::log;

use crate::client::Client;
use crate::engine::Core;
use crate::settings::replication::PropagationError;

/// Who would be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The primary, whose stream could not be followed.
    Primary,
    /// A replica, which asked for something.
    Replica,
    /// The append-only file that is being loaded.
    Log,
}

impl Core {
    /// Says in the log that an error was the answer to a `command`, and ends the process where the settings say so.
    pub fn unexpected_error(&mut self, peer: Peer, error: &[u8], command: &str) {
        let (from, to) = match peer {
            Peer::Primary => ("replica", "master"),
            Peer::Replica => ("master", "replica"),
            Peer::Log => ("server", "AOF-loading-client"),
        };
        self.stats.unexpected_errors += 1;
        let error = String::from_utf8_lossy(error);
        log!(
            Warning,
            "== CRITICAL == This {from} is sending an error to its {to}: '{}' after processing the command '{command}'",
            error.trim_end()
        );
        let replication = &self.settings.replication;
        let ends = match (replication.propagation_error_behavior, peer) {
            (PropagationError::Ignore, _) | (_, Peer::Replica) => false,
            (_, Peer::Primary) => replication.replica_read_only,
            (behavior, Peer::Log) => behavior == PropagationError::Panic,
        };
        if ends {
            log!(
                Warning,
                "This {from} panicked sending an error to its {to} after processing the command '{command}'"
            );
            // As in Redis: nothing is saved, for the data is in doubt.
            std::process::abort();
        }
    }

    /// Looks whether what `client`, which nobody listens to, was answered holds an error: one was if there are more `errors`
    /// than before.
    pub fn look_for_error(&mut self, peer: Peer, client: &Client, errors: u64) {
        if self.stats.total_errors == errors {
            return;
        }
        let reply = client.reply.output.waiting();
        // Without one the errors were those of others, who were served while a script ran.
        let error = reply.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"-"));
        let Some(error) = error.map(<[u8]>::to_vec) else { return };
        let command = client.last_command.map_or("(unknown)", |id| id.spec().name);
        self.unexpected_error(peer, &error, command);
    }
}
