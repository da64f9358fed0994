//! What is known of saving and loading: for INFO, LASTSAVE, and for refusing writes that could not be kept.

use crate::settings::Settings;

/// A load that is under way.
#[derive(Debug, Clone)]
pub struct Loading {
    /// When it began, in seconds since 1970.
    pub since_unix_s: i64,
    /// Bytes to load; 0 where that is not known.
    pub total_bytes: u64,
    /// Bytes loaded so far.
    pub loaded_bytes: u64,
    /// The memory in use when the file was written, as it says.
    pub rdb_used_mem: u64,
    /// Whether the old data serves meanwhile.
    pub beside: bool,
}

/// Why writes are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The last snapshot failed, and there are save points.
    Snapshot,
    /// The log could not be written, for this reason.
    Log(String),
}

/// What was saved and loaded, and how that went.
#[derive(Debug)]
pub struct Saved {
    /// The load that is under way.
    pub loading: Option<Loading>,
    /// When the last snapshot was completed, or the engine began, in seconds since 1970.
    pub last_save_unix_s: i64,
    /// When a snapshot was last attempted, in seconds since 1970.
    pub last_try_unix_s: i64,
    /// Whether the last snapshot failed.
    pub last_failed: bool,
    /// How long the last snapshot took that was written while clients were served, in seconds.
    pub last_took_s: Option<i64>,
    /// Snapshots completed.
    pub saves: u64,
    /// Changes that are in the last snapshot, of those counted since the start.
    pub changes_saved: u64,
    /// BGSAVE SCHEDULE: one is to begin as soon as it can.
    pub scheduled: bool,
    /// Keys that the last load left out for being past their deadline.
    pub keys_expired: u64,
    /// Keys that the last load took in.
    pub keys_loaded: u64,
    /// Why the log could not be written last, if it could not.
    pub log_error: Option<String>,
}

impl Saved {
    /// Nothing saved, at `now_unix_s`.
    #[must_use]
    pub fn new(now_unix_s: i64) -> Self {
        Self {
            loading: None,
            last_save_unix_s: now_unix_s,
            last_try_unix_s: 0,
            last_failed: false,
            last_took_s: None,
            saves: 0,
            changes_saved: 0,
            scheduled: false,
            keys_expired: 0,
            keys_loaded: 0,
            log_error: None,
        }
    }

    /// Why writes are refused, if they are.
    #[must_use]
    pub fn refusal(&self, settings: &Settings) -> Option<Refusal> {
        if self.last_failed
            && settings.saving.stop_writes_on_bgsave_error
            && !settings.save.is_empty()
        {
            return Some(Refusal::Snapshot);
        }
        self.log_error.clone().map(Refusal::Log)
    }
}
