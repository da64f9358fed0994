//! When the log is written and synced, and what follows from how that went. No disk and no clock here: the caller says
//! what happened and when, and does what it is told.
//!
//! Places in the log are *marks*: bytes since the server began to log, over all files. `appended ≥ written ≥ synced`.
//! The rules are those of Redis 7.0.15 but for these: `always` leaves the fsync to a thread (replies wait for it), and what
//! comes meanwhile is written when it has ended, for the next one; a failing write is tried again ten times a second and not each turn; and after a failed fsync nothing of what it was
//! for counts as synced, even if a later one succeeds, until a rewrite has put that data elsewhere, since the system
//! may have dropped the pages. Such a failed fsync is tried again each second though nothing is written meanwhile, for
//! writes are refused until one succeeds.

use std::io;

use crate::text::system_words;

/// The setting `appendfsync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Before replies leave.
    Always,
    /// About once a second, on a thread.
    EverySecond,
    /// When the system likes.
    No,
}

/// A second of the log's clock, which is in milliseconds from anywhere and never goes back.
const SECOND_MS: u64 = 1000;
/// How long a write waits for an fsync under way.
const POSTPONED_MAX_MS: u64 = 2 * SECOND_MS;
/// Write errors are not said more often than this.
const ERROR_LINE_EVERY_MS: u64 = 30 * SECOND_MS;
/// A failed write is tried again after this.
const RETRY_MS: u64 = 100;

/// What to do at the end of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing, or not yet.
    Nothing,
    /// Write all there is; `is_late` if an fsync took so long that it is not waited for any more.
    Write {
        /// To be said in the log.
        is_late: bool,
    },
    /// Nothing to write, but something to sync: see [`Then::Sync`].
    Sync,
}

/// How a write went.
#[derive(Debug)]
pub enum Written {
    /// All of it.
    All,
    /// Nothing.
    Nothing(io::Error),
    /// So many bytes, and what cutting them off again came to.
    Short {
        /// Bytes in the file.
        bytes: usize,
        /// Bytes there were to write.
        of: usize,
        /// Whether they could be cut off.
        cut: io::Result<()>,
    },
}

/// What follows from a result.
#[derive(Debug, PartialEq, Eq)]
pub enum Then {
    /// Go on.
    Nothing,
    /// Sync on the thread, and tell [`Flush::synced`] when it is done.
    Sync,
    /// End the process with exit code 1: an acknowledged write would be lost.
    Exit,
}

/// What follows, and the lines that say so, all of them warnings.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Bytes at the front of the buffer that are in the file and stay there.
    pub kept_bytes: usize,
    /// What to do.
    pub then: Then,
    /// Lines for the log.
    pub lines: Vec<String>,
}

/// Where the log stands.
#[derive(Debug)]
pub struct Flush {
    policy: Policy,
    /// The setting `no-appendfsync-on-rewrite`.
    spare_disk: bool,
    /// A snapshot or a rewrite is writing to the disk.
    is_saving: bool,
    appended: u64,
    written: u64,
    /// How far the file has been synced, whatever failed before.
    reached: u64,
    synced: u64,
    /// The mark that the fsync under way will have synced.
    syncing: Option<u64>,
    /// Where the last fsync was started at.
    asked: u64,
    /// Up to here a failed fsync has left open what is on the disk.
    doubtful_to: Option<u64>,
    last_sync_ms: u64,
    postponed_at_ms: Option<u64>,
    /// What the last write or fsync failed with.
    write_error: Option<i32>,
    sync_error: Option<i32>,
    retry_at_ms: u64,
    error_line_at_ms: Option<u64>,
    delayed_syncs: u64,
}

impl Flush {
    /// At the beginning of a log, which is `mark`: nothing is outstanding.
    #[must_use]
    pub fn new(policy: Policy, mark: u64, now_ms: u64) -> Self {
        Self {
            policy,
            spare_disk: false,
            is_saving: false,
            appended: mark,
            written: mark,
            reached: mark,
            synced: mark,
            syncing: None,
            asked: mark,
            doubtful_to: None,
            last_sync_ms: now_ms,
            postponed_at_ms: None,
            write_error: None,
            sync_error: None,
            retry_at_ms: 0,
            error_line_at_ms: None,
            delayed_syncs: 0,
        }
    }

    /// The setting `appendfsync`.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// Changes the setting `appendfsync`.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Changes the setting `no-appendfsync-on-rewrite`.
    pub fn set_spare_disk(&mut self, spare: bool) {
        self.spare_disk = spare;
    }

    /// A snapshot or a rewrite begins or ends to write to the disk.
    pub fn set_saving(&mut self, saving: bool) {
        self.is_saving = saving;
    }

    /// So many bytes were added to the buffer.
    pub fn append(&mut self, bytes: usize) {
        self.appended += bytes as u64;
    }

    /// What to do at the end of a turn, or in between. `force`: neither an fsync under way nor a failure a moment ago is
    /// a reason to wait.
    pub fn plan(&mut self, now_ms: u64, force: bool) -> Plan {
        if self.appended == self.written {
            return if self.sync_due(now_ms, true) { Plan::Sync } else { Plan::Nothing };
        }
        if !force && self.write_error.is_some() && now_ms < self.retry_at_ms {
            return Plan::Nothing;
        }
        if self.policy == Policy::Always && !force && self.syncing.is_some() {
            // It has to wait for the next one, and a write may wait for the disk while it syncs.
            return Plan::Nothing;
        }
        let mut is_late = false;
        if self.policy == Policy::EverySecond && !force && self.syncing.is_some() {
            let since = *self.postponed_at_ms.get_or_insert(now_ms);
            if now_ms.saturating_sub(since) < POSTPONED_MAX_MS {
                return Plan::Nothing;
            }
            is_late = true;
            self.delayed_syncs += 1;
        }
        self.postponed_at_ms = None;
        Plan::Write { is_late }
    }

    /// How the write of all that was in the buffer went.
    pub fn wrote(&mut self, result: Written, now_ms: u64) -> Verdict {
        let mut lines = Vec::new();
        let kept_bytes = match result {
            Written::All => {
                let bytes = self.appended - self.written;
                self.written = self.appended;
                if self.write_error.take().is_some() {
                    lines.push("AOF write error looks solved, Redis can write again.".to_owned());
                }
                let then = if self.sync_due(now_ms, false) { Then::Sync } else { Then::Nothing };
                return Verdict { kept_bytes: bytes as usize, then, lines };
            }
            Written::Nothing(error) => {
                lines.push(format!("Error writing to the AOF file: {}", system_words(&error)));
                self.write_error = Some(error.raw_os_error().unwrap_or(libc::EIO));
                0
            }
            Written::Short { bytes, of, cut } => {
                lines.push(format!(
                    "Short write while writing to the AOF file: (nwritten={bytes}, expected={of})"
                ));
                self.write_error = Some(libc::ENOSPC);
                match cut {
                    Ok(()) => 0,
                    Err(error) => {
                        lines.push(format!(
                            "Could not remove short write from the append-only file.  Redis may refuse to load the \
                             AOF the next time it starts.  ftruncate: {}",
                            system_words(&error)
                        ));
                        bytes
                    }
                }
            }
        };
        self.written += kept_bytes as u64;
        self.retry_at_ms = now_ms + RETRY_MS;
        let is_said = self.error_line_at_ms.is_some_and(|at| now_ms - at <= ERROR_LINE_EVERY_MS);
        if is_said {
            lines.clear();
        } else {
            self.error_line_at_ms = Some(now_ms);
        }
        let mut then = Then::Nothing;
        if self.policy == Policy::Always {
            lines.push(
                "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting..."
                    .to_owned(),
            );
            then = Then::Exit;
        }
        Verdict { kept_bytes, then, lines }
    }

    /// An fsync of everything that is written begins; returns the mark that it reaches.
    pub fn sync_begins(&mut self, now_ms: u64) -> u64 {
        self.syncing = Some(self.written);
        self.asked = self.written;
        self.last_sync_ms = now_ms;
        self.written
    }

    /// An fsync that began at `mark` has ended, of the file at hand (`is_current`) or of one that was left behind.
    pub fn synced(&mut self, mark: u64, is_current: bool, result: &io::Result<()>) -> Verdict {
        if is_current {
            self.syncing = None;
        }
        let mut verdict = Verdict { kept_bytes: 0, then: Then::Nothing, lines: Vec::new() };
        let Err(error) = result else {
            if is_current {
                self.sync_error = None;
            }
            self.reached = self.reached.max(mark);
            if self.doubtful_to.is_none() {
                self.synced = self.synced.max(mark);
            }
            if self.policy == Policy::Always && is_current && self.sync_due(0, false) {
                verdict.then = Then::Sync;
            }
            return verdict;
        };
        let words = system_words(error);
        self.doubtful_to = Some(self.doubtful_to.unwrap_or(0).max(mark));
        if self.policy == Policy::Always {
            verdict.then = Then::Exit;
            verdict.lines.push(format!(
                "Can't persist AOF for fsync error when the AOF fsync policy is 'always': {words}. Exiting..."
            ));
        } else if self.sync_error.is_none() {
            verdict.lines.push(format!("Fail to fsync the AOF file: {words}"));
        }
        self.sync_error = Some(error.raw_os_error().unwrap_or(libc::EIO));
        verdict
    }

    /// A rewrite that began at `mark` is done: what was logged before is in its base, on the disk.
    pub fn rewritten(&mut self, mark: u64) {
        if self.doubtful_to.is_some_and(|to| to <= mark) {
            self.doubtful_to = None;
            // Whatever file it was for: what it was to bring to the disk is there.
            self.sync_error = None;
        }
        if self.doubtful_to.is_none() {
            self.synced = self.synced.max(mark);
        }
    }

    /// The log is started again: what went wrong before is left behind. Gives the lines that say so.
    pub fn forgive(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.sync_error.take().is_some() {
            lines.push("AOF reopen, just ignore the AOF fsync error in bio job".to_owned());
        }
        if self.write_error.take().is_some() {
            lines.push("AOF reopen, just ignore the last error.".to_owned());
        }
        lines
    }

    /// What is in the buffer is given up: a rewrite that it was for has failed.
    pub fn discard(&mut self) {
        // Marks do not go back, or a reply could wait for bytes that never come.
        self.written = self.appended;
        self.asked = self.appended;
        self.reached = self.appended;
    }

    /// The file at hand is left behind, all written; it is to be synced up to the mark that is returned, and what comes
    /// now goes to another.
    pub fn leave_file(&mut self, now_ms: u64) -> u64 {
        self.asked = self.written;
        self.last_sync_ms = now_ms;
        self.written
    }

    /// The mark behind all that was appended: what a reply of this turn has to wait for.
    #[must_use]
    pub fn appended(&self) -> u64 {
        self.appended
    }

    /// The mark behind all that is in the file.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The mark behind all that is known to be on the disk.
    #[must_use]
    pub fn synced_to(&self) -> u64 {
        self.synced
    }

    /// Replies that wait for a mark up to this one may leave.
    #[must_use]
    pub fn released(&self) -> u64 {
        match self.policy {
            Policy::Always if self.spare_disk && self.is_saving => self.written,
            Policy::Always => self.reached,
            Policy::EverySecond | Policy::No => self.appended,
        }
    }

    /// Why writes are to be refused, as an error number of the system.
    #[must_use]
    pub fn refusal(&self) -> Option<i32> {
        self.write_error.or(self.sync_error)
    }

    /// Whether a failed fsync has left open what is on the disk; a rewrite mends that.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.doubtful_to.is_some()
    }

    /// Whether that should be mended now: the disk seems to be well.
    #[must_use]
    pub fn wants_rewrite(&self) -> bool {
        self.is_doubtful() && self.refusal().is_none()
    }

    /// Whether a write waits for an fsync.
    #[must_use]
    pub fn is_postponed(&self) -> bool {
        self.postponed_at_ms.is_some()
    }

    /// Whether an fsync is under way on the thread.
    #[must_use]
    pub fn is_syncing(&self) -> bool {
        self.syncing.is_some()
    }

    /// Whether a snapshot or a rewrite is writing to the disk.
    #[must_use]
    pub fn is_saving(&self) -> bool {
        self.is_saving
    }

    /// Times that a write did not wait for a slow fsync any more.
    #[must_use]
    pub fn delayed_syncs(&self) -> u64 {
        self.delayed_syncs
    }

    /// For CONFIG RESETSTAT.
    pub fn reset_delayed_syncs(&mut self) {
        self.delayed_syncs = 0;
    }

    /// Milliseconds from now on after which [`plan`](Self::plan) should be asked even if nothing happens.
    #[must_use]
    pub fn wake_in_ms(&self, now_ms: u64) -> Option<u64> {
        let retry = (self.write_error.is_some() && self.appended != self.written)
            .then(|| self.retry_at_ms.saturating_sub(now_ms));
        let postponed =
            self.postponed_at_ms.map(|since| (since + POSTPONED_MAX_MS).saturating_sub(now_ms));
        let sync = (self.policy == Policy::EverySecond
            && (self.asked != self.written || self.sync_error.is_some())
            && self.syncing.is_none())
        .then(|| (self.last_sync_ms + SECOND_MS).saturating_sub(now_ms));
        [retry, postponed, sync].into_iter().flatten().min()
    }

    fn sync_due(&mut self, now_ms: u64, idle: bool) -> bool {
        let fails = self.policy == Policy::EverySecond && self.sync_error.is_some();
        if (self.asked == self.written && !fails) || (self.spare_disk && self.is_saving) {
            return false;
        }
        match self.policy {
            Policy::No => false,
            Policy::Always => self.syncing.is_none(),
            Policy::EverySecond if now_ms.saturating_sub(self.last_sync_ms) < SECOND_MS => false,
            Policy::EverySecond if self.syncing.is_some() => {
                // As Redis: the one under way counts, and the next is due a second from now.
                if !idle {
                    self.last_sync_ms = now_ms;
                }
                false
            }
            Policy::EverySecond => true,
        }
    }
}

#[cfg(test)]
#[path = "flush_tests.rs"]
mod tests;
