//! `repl-slow-writers`: writes of clients wait where a replica would be left behind.

use crate::engine::Core;
use crate::replication::Pace;

/// How long an allowance is for, in milliseconds.
const PERIOD_MS: i64 = 100;

impl Core {
    /// The regular work: looks how far replicas are behind, and lets clients write accordingly.
    pub fn set_pace(&mut self) {
        let now_ms = self.replication_now_ms();
        let was = self.replicating.allowance;
        if was.is_none() && !self.replication.options().slow_writers {
            return;
        }
        if now_ms - self.replicating.paced_at_ms < PERIOD_MS {
            return;
        }
        self.replicating.paced_at_ms = now_ms;
        self.replicating.allowance = match self.replication.pace() {
            Pace::Free => None,
            Pace::Bytes(bytes) => Some(bytes),
        };
        if was == Some(0) && self.paused.is_none() {
            self.clients.wake_paused();
        }
    }

    /// The end of a turn: slows the writers at once where a replica is now far behind. Before the next regular look fast
    /// writers could pass the whole limit.
    pub(super) fn slow_writers_if_behind(&mut self) {
        if self.replicating.allowance.is_some() {
            return;
        }
        if let Pace::Bytes(bytes) = self.replication.pace() {
            self.replicating.allowance = Some(bytes);
            self.replicating.paced_at_ms = self.replication_now_ms();
        }
    }

    /// So many bytes were written for replicas.
    pub(super) fn use_allowance(&mut self, bytes: u64) {
        if let Some(left) = &mut self.replicating.allowance {
            *left = left.saturating_sub(bytes);
        }
    }
}
