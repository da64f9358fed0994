//! The end of the server: whom it waits for, what is saved first, and when it may not end.

use redstart_common::log;

use super::ending::Waits;
use crate::engine::asks::Ask;
use crate::engine::{Core, Unblock};
use crate::keyspace::Keyspace;
use crate::pause::Pause;
use crate::persistence::aof::chain::State;
use crate::process::fork;

pub use super::ending::{Ending, Manner};

/// What became of a wish to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The server ends.
    Ends,
    /// It waits for its replicas first.
    Waits,
    /// It goes on; the log says why.
    Fails,
}

impl Core {
    /// A signal asks the server to end: the regular work sees to it.
    pub fn ask_to_end(&mut self, manner: Manner) {
        self.ending.asked.get_or_insert(manner);
        self.ending.by_signal = true;
    }

    /// The regular work: begins what was asked for, or ends what has waited long enough.
    pub fn look_at_end(&mut self, keyspace: &mut Keyspace) {
        let now_ms = self.replication_now_ms();
        match &self.ending.waits {
            Some(waits) => {
                if now_ms >= waits.until_ms || self.replication.is_in_sync() {
                    let manner = waits.manner;
                    self.end_now(keyspace, manner);
                }
            }
            None => {
                if let Some(manner) = self.ending.asked.take() {
                    self.shut_down(keyspace, manner);
                }
            }
        }
    }

    /// Ends the server, unless something that must be saved cannot be; where replicas lag it waits for them first.
    pub fn shut_down(&mut self, keyspace: &mut Keyspace, manner: Manner) -> End {
        if self.ending.waits.is_some() {
            return End::Waits;
        }
        log!(Warning, "User requested shutdown...");
        let owns_slots = self.cluster.as_ref().is_some_and(|cluster| {
            let myself = cluster.myself();
            !myself.is_replica() && !myself.slots.is_empty()
        });
        if manner.safe && !manner.force && owns_slots {
            log!(Warning, "This node owns slots, so it is not safe to end it.");
            return End::Fails;
        }
        let timeout_s = self.settings.replication.shutdown_timeout;
        // What was written a moment ago counts.
        if self.deliver(keyspace).is_err() {
            std::process::exit(1);
        }
        if manner.now || timeout_s == 0 || self.replication.is_in_sync() {
            return self.end_now(keyspace, manner);
        }
        if self.paused.is_none() {
            self.replication.ask_for_acks();
        }
        let until_ms = self.replication_now_ms() + i64::from(timeout_s) * 1000;
        let paused_before = self.paused;
        self.pause(Pause::Writes, i64::MAX, &keyspace.shared);
        log!(Notice, "Waiting for replicas before shutting down.");
        self.ending.waits = Some(Waits { manner, until_ms, paused_before });
        End::Waits
    }

    /// SHUTDOWN ABORT. Answers whether there was anything to give up.
    pub fn abort_shutdown(&mut self, keyspace: &Keyspace) -> bool {
        let is_under_way = self.ending.is_under_way();
        if is_under_way {
            self.give_up_ending(keyspace);
            log!(Notice, "Shutdown manually aborted.");
        }
        is_under_way
    }

    /// The server goes on: who waited for its end is told, and writes go on.
    fn give_up_ending(&mut self, keyspace: &Keyspace) {
        let Ending { waits, .. } = std::mem::take(&mut self.ending);
        let waiting: Vec<u64> =
            self.clients.iter().filter(|client| client.waits_for_end()).map(|it| it.id).collect();
        for id in waiting {
            self.unblock(id, Unblock::Lives);
        }
        if let Some(Waits { paused_before, .. }) = waits {
            self.unpause(&keyspace.shared);
            if let Some((kind, until_ms)) = paused_before {
                self.pause(kind, until_ms, &keyspace.shared);
            }
        }
    }

    /// Ends the server if what must be saved can be.
    fn end_now(&mut self, keyspace: &mut Keyspace, manner: Manner) -> End {
        let now_ms = self.replication_now_ms();
        let (lagging, total) = self.replication.lagging(now_ms);
        for line in &lagging {
            log!(Warning, "{line}");
        }
        if total > 0 {
            let in_sync = total - lagging.len();
            log!(Notice, "{in_sync} of {total} replicas are in sync when shutting down.");
        }
        if self.save_for_end(keyspace, manner) {
            return End::Ends;
        }
        log!(
            Warning,
            "Errors trying to shut down the server. Check the logs for more information."
        );
        self.give_up_ending(keyspace);
        End::Fails
    }

    /// Saves what is to be saved, and has the shell end. Answers whether it ends.
    fn save_for_end(&mut self, keyspace: &mut Keyspace, manner: Manner) -> bool {
        fork::kill_all(&mut self.scripting.children);
        if self.save.as_ref().is_some_and(|save| !save.purposes.is_empty()) {
            if self.writes_rdb_since().is_some() {
                log!(Warning, "There is a child saving an .rdb. Killing it!");
            }
            self.give_up_saving(keyspace);
        }
        if self.logging.state != State::Off {
            if self.logging.state == State::AwaitRewrite && !manner.force {
                log!(Warning, "Writing initial AOF, can't exit.");
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
