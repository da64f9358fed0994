//! Beginning and ending CLIENT PAUSE.

use super::Core;
use crate::keyspace::Shared;
use crate::pause::Pause;

impl Core {
    /// Begins a pause, or makes the one that is on longer or stricter.
    pub fn pause(&mut self, kind: Pause, until_ms: i64, shared: &Shared) {
        let (kind, until_ms) = match self.paused {
            Some((Pause::All, until)) => (Pause::All, until.max(until_ms)),
            Some((_, until)) => (kind, until.max(until_ms)),
            None => (kind, until_ms),
        };
        self.paused = Some((kind, until_ms));
        // A paused data set does not change by itself either.
        self.note_expiry(shared);
    }

    /// Ends the pause that is on.
    pub fn unpause(&mut self, shared: &Shared) {
        self.paused = None;
        self.note_expiry(shared);
        self.clients.wake_paused();
    }

    /// Ends the pause if its time is over. The regular work asks at each round, and so does a request that would wait: as
    /// in Redis a pause may last a round of the regular work longer than was asked for.
    pub fn check_pause(&mut self, shared: &Shared) {
        if self.paused.is_some_and(|(_, until)| until <= shared.now_ms.get()) {
            self.unpause(shared);
        }
    }
}
