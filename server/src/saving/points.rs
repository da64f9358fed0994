//! Save points, and saves that were put off.

use redstart_common::{clock, log};

use crate::engine::Core;
use crate::keyspace::Keyspace;

/// After a failure the next save is tried so many seconds later.
const RETRY_S: i64 = 5;

impl Core {
    /// The regular work: begins a save where a save point is reached, or one was put off.
    pub fn look_at_save_points(&mut self, keyspace: &mut Keyspace) {
        if self.save.is_some() || self.saved.loading.is_some() {
            return;
        }
        let saved = &self.saved;
        let now = clock::unix_ms() / 1000;
        let may_try = !saved.last_failed || now - saved.last_try_unix_s > RETRY_S;
        if !may_try {
            return;
        }
        let changes = self.feed.dirty.saturating_sub(saved.changes_saved);
        let reached = self.settings.save.iter().find(|(seconds, least)| {
            changes >= least.unsigned_abs() && now - saved.last_save_unix_s > *seconds
        });
        if let Some((seconds, least)) = reached {
            log!(Notice, "{least} changes in {seconds} seconds. Saving...");
        }
        if reached.is_some() || saved.scheduled {
            // The log says why it did not begin; it is tried again.
            let _ = self.begin_dump(keyspace);
        }
    }
}
