//! A save that is under way: the walk, the thread that writes, and who waits for them.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::rdb::Draft;
use super::saver::{Purpose, Report, Saver};
use super::snapshot::{Snapshot, Step};
use crate::keyspace::Keyspace;

/// Bytes that may be on their way to the thread. A slow disk or replica stops the walk, it does not fill memory.
const IN_FLIGHT_MAX: usize = 8 << 20;

/// How the walk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// There is more to do, and this step took so long.
    More(Duration),
    /// The thread has enough to do: its next report is waited for.
    Full,
    /// Everything is on its way to the thread.
    Sent,
}

/// A save.
pub struct Save {
    /// The data.
    pub snapshot: Rc<Snapshot>,
    /// What it is for, as far as it is not ended.
    pub purposes: Vec<Purpose>,
    /// When it began.
    pub since: Instant,
    /// Changes that had been made by then.
    pub changes: u64,
    /// Clients whose requests wait for a large value to be written.
    pub waiting: Vec<u64>,
    saver: Option<Saver>,
    in_flight: usize,
    is_sent: bool,
}

impl Save {
    /// A save of `snapshot` that `saver` writes.
    #[must_use]
    pub fn new(snapshot: Rc<Snapshot>, saver: Saver, purposes: Vec<Purpose>, changes: u64) -> Self {
        Self {
            snapshot,
            purposes,
            since: Instant::now(),
            changes,
            waiting: Vec::new(),
            saver: Some(saver),
            in_flight: 0,
            is_sent: false,
        }
    }

    /// Whether it is, among others, for `purpose`.
    #[must_use]
    pub fn is_for(&self, purpose: Purpose) -> bool {
        self.purposes.contains(&purpose)
    }

    /// Since when it writes an RDB for the dump or for replicas; the base of the log is not one of these.
    #[must_use]
    pub fn writes_rdb_since(&self) -> Option<Instant> {
        let is_rdb = |purpose: &Purpose| *purpose != Purpose::LogBase;
        self.purposes.iter().any(is_rdb).then_some(self.since)
    }

    /// Whether all data has been taken, so that no change concerns it any more.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.is_sent
    }

    /// Walks for about as long as `budget`.
    pub fn step(&mut self, keyspace: &mut Keyspace, budget: Duration) -> Pace {
        if self.is_sent {
            return Pace::Sent;
        }
        let room = IN_FLIGHT_MAX.saturating_sub(self.in_flight);
        if room == 0 {
            return Pace::Full;
        }
        let start = Instant::now();
        let step = self.snapshot.step(keyspace, budget, room);
        while let Some((draft, keys)) = self.snapshot.take_draft() {
            self.in_flight += draft.bytes.len();
            if let Some(saver) = &self.saver {
                saver.send(draft, keys);
            }
        }
        if step == Step::Done {
            self.is_sent = true;
            keyspace.end_epoch(true);
            return Pace::Sent;
        }
        Pace::More(start.elapsed())
    }

    /// Bytes that were taken of the data and not written yet.
    #[must_use]
    pub fn bytes_on_the_way(&self) -> usize {
        self.in_flight + self.snapshot.waiting_bytes()
    }

    /// Keys that are written.
    #[must_use]
    pub fn keys_written(&self) -> usize {
        self.saver.as_ref().map_or(0, Saver::keys_written)
    }

    /// Takes a draft back from the thread.
    pub fn taken(&mut self, draft: Draft) {
        self.in_flight = self.in_flight.saturating_sub(draft.bytes.len());
        self.snapshot.give_back(draft);
    }

    /// Gives up: what was begun is removed when this returns.
    pub fn abort(mut self, keyspace: &mut Keyspace) {
        if !self.is_sent {
            keyspace.end_epoch(false);
        }
        if let Some(saver) = self.saver.take() {
            saver.abort();
        }
    }
}

/// Where reports go: to the shell, which hands them to the engine.
pub type Reports = tokio::sync::mpsc::UnboundedSender<(u64, Report)>;
