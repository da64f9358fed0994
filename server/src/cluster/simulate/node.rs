//! A server of the simulation: a [`Cluster`], a disk, and a replication that is no more than a place in a stream.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::super::{Action, ById, Cluster, Flags, Name, Options, SlotSet, Turn};

/// The age of data that never came from a primary.
const AGE_UNKNOWN_MS: i64 = i64::MAX / 4;

/// What a server says of itself: the life that it is in, its name, its role, its epoch, and how often its slots or roles have changed.
pub type Said = (u32, Name, Flags, u64, u64);

/// A server.
pub struct Node {
    pub ip: String,
    pub port: u16,
    pub options: Options,
    /// Nothing while it is down.
    pub cluster: Option<Cluster>,
    /// Counts its starts.
    pub life: u32,
    /// How far the cluster's clock of this life is ahead of the world's.
    pub clock_ahead_ms: i64,
    /// How far its wall clock is.
    pub wall_ahead_ms: i64,
    /// Until when it is stopped, as by SIGSTOP.
    pub stopped_until_ms: i64,
    /// Its connections: their numbers in the world.
    pub links: ById<usize>,
    /// The file as the process sees it, and as it would be after a loss of power.
    pub file: String,
    pub synced_file: String,
    /// Earlier ones.
    pub old_files: Vec<String>,
    /// Whom it replicates.
    pub upstream: Option<(String, u16)>,
    /// Its place in the stream of its shard; 0 without data.
    pub place: i64,
    /// When it was last in step with its primary.
    pub heard_ms: Option<i64>,
    /// When the link to its primary stands.
    pub link_at_ms: i64,
    pub writes_paused_until_ms: i64,
    /// The last write to each of some slots that it has; slots whose keys lie aside; and slots whose writers wait.
    pub data: BTreeMap<u16, u64>,
    pub aside: SlotSet,
    pub held: SlotSet,
    /// The epoch that it had as a primary, under this name.
    pub newest_epoch: Option<(Name, u64)>,
    /// What it said of itself when that was looked at last.
    pub looked_at: Option<Said>,
    /// How long its cluster took to decide, where that is measured.
    pub decided: Option<Duration>,
    pub random: SmallRng,
    pub actions: Vec<Action>,
}

/// How long this thread has worked.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The address of a server.
pub fn address(number: usize) -> String {
    format!("10.0.{}.{}", number / 250, number % 250 + 1)
}

impl Node {
    pub fn new(number: usize, options: Options, seed: u64) -> Self {
        Self {
            ip: address(number),
            port: options.port,
            options,
            cluster: None,
            life: 0,
            clock_ahead_ms: 0,
            wall_ahead_ms: 0,
            stopped_until_ms: 0,
            links: ById::default(),
            file: String::new(),
            synced_file: String::new(),
            old_files: Vec::new(),
            upstream: None,
            place: 0,
            heard_ms: None,
            link_at_ms: 0,
            writes_paused_until_ms: 0,
            data: BTreeMap::new(),
            aside: SlotSet::default(),
            held: SlotSet::default(),
            newest_epoch: None,
            looked_at: None,
            decided: None,
            random: SmallRng::seed_from_u64(seed ^ (number as u64 + 1) << 32),
            actions: Vec::new(),
        }
    }

    /// Has the cluster do something; the actions lie in `actions`.
    pub fn step<R>(
        &mut self,
        now_ms: i64,
        step: impl FnOnce(&mut Cluster, &mut Turn<'_>) -> R,
    ) -> Option<R> {
        let cluster = self.cluster.as_mut()?;
        let age_ms = self.heard_ms.map_or(AGE_UNKNOWN_MS, |heard_ms| now_ms - heard_ms);
        let mut turn = Turn {
            now_ms: now_ms + self.clock_ahead_ms,
            wall_ahead_ms: self.wall_ahead_ms - self.clock_ahead_ms,
            offset: self.place,
            data_age_ms: age_ms,
            follows: self.upstream.is_some(),
            random: &mut self.random,
            actions: &mut self.actions,
        };
        let begun = self.decided.is_some().then(worked);
        let result = step(cluster, &mut turn);
        cluster.settle();
        if let (Some(begun), Some(decided)) = (begun, &mut self.decided) {
            *decided += worked() - begun;
        }
        Some(result)
    }

    pub fn is_running(&self, now_ms: i64) -> bool {
        self.cluster.is_some() && self.stopped_until_ms <= now_ms
    }
}
