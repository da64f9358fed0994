//! The end of the server: what is saved first, and when it may not end.

use redstart_common::log;

use crate::engine::Core;
use crate::engine::asks::Ask;
use crate::keyspace::Keyspace;
use crate::persistence::aof::chain::State;

/// How the server is to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Manner {
    /// A dump is written though there are no save points.
    pub save: bool,
    /// None is written though there are some.
    pub nosave: bool,
    /// Replicas that lag are not waited for.
    pub now: bool,
    /// What goes wrong is no reason to go on.
    pub force: bool,
}

impl Core {
    /// Ends the server, unless something that must be saved cannot be. Answers whether it ends.
    pub fn shut_down(&mut self, keyspace: &mut Keyspace, manner: Manner) -> bool {
        log!(Warning, "User requested shutdown...");
        if self.save.as_ref().is_some_and(|save| !save.purposes.is_empty()) {
            if self.saved.saving.is_some() {
                log!(Warning, "There is a child saving an .rdb. Killing it!");
            }
            self.give_up_saving(keyspace);
        }
        if self.logging.state != State::Off {
            if self.logging.state == State::AwaitRewrite && !manner.force {
                log!(Warning, "Writing initial AOF, can't exit.");
                log!(
                    Warning,
                    "Errors trying to shut down the server. Check the logs for more information."
                );
                return false;
            }
            log!(Notice, "Calling fsync() on the AOF file.");
            self.flush_for_good(keyspace);
        }
        let wanted = manner.save || (!self.settings.save.is_empty() && !manner.nosave);
        // Before everything is loaded, what is there is not the data.
        if wanted && self.saved.loading.is_none() {
            log!(Notice, "Saving the final RDB snapshot before exiting.");
            if !self.save(keyspace) {
                if !manner.force {
                    log!(Warning, "Error trying to save the DB, can't exit.");
                    log!(
                        Warning,
                        "Errors trying to shut down the server. Check the logs for more information."
                    );
                    return false;
                }
                log!(Warning, "Error trying to save the DB, exiting anyway.");
            }
        }
        self.shell.shutdown = true;
        self.asks.push(Ask::Stop);
        true
    }
}
