//! A save that is under way: the walk, the thread that writes, and who waits for them.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::rdb::Draft;
use super::saver::{Purpose, Report, Saver};
use super::snapshot::{Snapshot, Step};
use crate::keyspace::Keyspace;

/// Bytes that may be on their way to the thread. A slow disk or replica stops the walk, it does not fill memory.
const IN_FLIGHT_MAX: usize = 8 << 20;
/// The same while a client waits for a large value to be written: it does not wait for the thread as well.
const IN_FLIGHT_MAX_FOR_WRITERS: usize = 64 << 20;

/// How many times as long as a step the clients get before the next, while they have something to ask.
const SHARE: u32 = 16;
/// The same while replicas wait for the data: what is written meanwhile is kept for them.
const SHARE_BESIDE_REPLICAS: u32 = 2;
/// The same while a client waits for a large value to be written: the others get one turn between two steps.
const SHARE_BESIDE_WRITERS: u32 = 0;

/// How the walk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// There is more to do. While the clients have something to ask they get so long before the next step.
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
    large_done: u64,
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
            large_done: 0,
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
        let is_rdb = |purpose: &Purpose| matches!(purpose, Purpose::Dump | Purpose::Replicas(_));
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
        let in_flight_max =
            if self.waiting.is_empty() { IN_FLIGHT_MAX } else { IN_FLIGHT_MAX_FOR_WRITERS };
        let room = in_flight_max.saturating_sub(self.in_flight);
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
            keyspace.end_epoch(self.snapshot.is_whole());
            return Pace::Sent;
        }
        Pace::More(start.elapsed() * self.share())
    }

    fn share(&self) -> u32 {
        if !self.waiting.is_empty() {
            SHARE_BESIDE_WRITERS
        } else if self
            .purposes
            .iter()
            .any(|it| matches!(it, Purpose::Replicas(_) | Purpose::Slots(_)))
        {
            SHARE_BESIDE_REPLICAS
        } else {
            SHARE
        }
    }

    /// The clients that wait, if a large value is done with since this was last asked. Their requests are tried again; one
    /// that is for another value comes back.
    pub fn take_waiting(&mut self) -> Vec<u64> {
        let done = self.snapshot.large_done();
        let is_news = std::mem::replace(&mut self.large_done, done) != done;
        if is_news || self.is_sent { std::mem::take(&mut self.waiting) } else { Vec::new() }
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
