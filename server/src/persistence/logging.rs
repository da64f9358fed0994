//! The append-only file as the engine holds it: its files, the one that is written to, and its rewrite.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::aof::chain::{Chain, State};
use super::aof::flush::Policy;
use super::aof::growth::{BackOff, Sizes};
use super::aof::log::Log;
use super::aof::sync::SyncThread;
use crate::settings::saving::{Fsync, Saving};
use crate::text::system_words;

/// Who wakes the engine when a sync is done.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// A rewrite that is under way.
#[derive(Debug)]
pub struct Rewrite {
    /// What the log was when it began.
    pub state: State,
    /// Whether the new base is an RDB.
    pub rdb_base: bool,
    /// Where in the log it began, if there is one.
    pub mark: Option<u64>,
    /// Where the new base is written first.
    pub written: PathBuf,
    /// When it began.
    pub since: Instant,
}

/// The log and its files.
pub struct Logging {
    /// Whether writes are logged.
    pub state: State,
    /// The files; none before they are looked at.
    pub chain: Option<Chain>,
    /// What writes.
    pub log: Option<Log<File>>,
    /// How large the files are.
    pub sizes: Sizes,
    /// When failed rewrites are tried again.
    pub back_off: BackOff,
    /// A rewrite is to begin as soon as it can.
    pub scheduled: bool,
    /// The rewrite that is under way.
    pub rewrite: Option<Rewrite>,
    /// Whether the last rewrite failed.
    pub last_failed: bool,
    /// How long the last rewrite took, in seconds.
    pub last_took_s: Option<i64>,
    /// Rewrites that began.
    pub rewrites: u64,
    /// Who wakes the engine.
    pub wake: Option<Wake>,
    /// How long each write of the log is put off, for tests (DEBUG AOF-FLUSH-SLEEP).
    pub flush_sleep: Duration,
    began: Instant,
    /// The mark at which the last log has ended.
    ended_at: u64,
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            state: State::Off,
            chain: None,
            log: None,
            sizes: Sizes::default(),
            back_off: BackOff::default(),
            scheduled: false,
            rewrite: None,
            last_failed: false,
            last_took_s: None,
            rewrites: 0,
            wake: None,
            flush_sleep: Duration::ZERO,
            began: Instant::now(),
            ended_at: 0,
        }
    }
}

/// The setting `appendfsync`, as the log takes it.
#[must_use]
pub fn policy(saving: &Saving) -> Policy {
    match saving.appendfsync {
        Fsync::Always => Policy::Always,
        Fsync::EverySecond => Policy::EverySecond,
        Fsync::No => Policy::No,
    }
}

impl Logging {
    /// Counts from nought on, as CONFIG RESETSTAT does; in Redis too rewrites that failed are forgotten with it, so
    /// that the next one waits for nothing.
    pub fn forget_counts(&mut self) {
        self.rewrites = 0;
        self.back_off.reset();
        if let Some(log) = &mut self.log {
            log.state_mut().reset_delayed_syncs();
        }
    }

    /// The log's clock, in milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Begins to write to `file`, which has `size` bytes.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn open_log(
        &mut self,
        file: File,
        size: u64,
        saving: &Saving,
        offset: u64,
    ) -> std::io::Result<()> {
        let wake = self.wake.clone();
        let syncs = SyncThread::start(move || {
            if let Some(wake) = &wake {
                wake();
            }
        })?;
        let how = (policy(saving), self.ended_at);
        let mut log = Log::new(file, size, syncs, how, offset, self.now_ms());
        log.state_mut().set_spare_disk(saving.no_appendfsync_on_rewrite);
        self.log = Some(log);
        Ok(())
    }

    /// Writes no more. The next log's marks go on from those of this one, so that a reply that waits for one of them waits no
    /// longer.
    pub fn close_log(&mut self) {
        if let Some(log) = self.log.take() {
            self.ended_at = log.state().appended();
        }
    }

    /// The mark that replies to writes wait for, and the one up to which they may leave.
    #[must_use]
    pub fn marks(&self) -> (u64, u64) {
        let state = self.log.as_ref().map(Log::state);
        state.map_or((self.ended_at, u64::MAX), |state| (state.appended(), state.released()))
    }

    /// The mark up to which what was written is on the disk, in files that would do alone after a restart; none without a
    /// log, and before the first rewrite of one that was turned on is done.
    #[must_use]
    pub fn durable(&self) -> Option<u64> {
        let log = self.log.as_ref().filter(|_| self.state == State::On)?;
        Some(log.state().synced_to())
    }

    /// The same as a place of the replication stream, which ends at `end`.
    #[must_use]
    pub fn durable_offset(&self, end: u64) -> Option<u64> {
        let log = self.log.as_ref().filter(|_| self.state == State::On)?;
        Some(log.durable_offset(end))
    }

    /// Whether replies to writes wait for the disk.
    #[must_use]
    pub fn promises(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.state().policy() == Policy::Always)
    }

    /// Bytes of the file that is written to.
    #[must_use]
    pub fn open_bytes(&self) -> u64 {
        self.log.as_ref().map_or(0, Log::file_bytes)
    }

    /// Why writes are refused, in the system's words.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let number = self.log.as_ref().and_then(|log| log.state().refusal())?;
        Some(system_words(&std::io::Error::from_raw_os_error(number)))
    }
}
