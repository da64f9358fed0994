//! What has been done: counters of commands and errors, for INFO.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use redstart_common::command::CommandId;
use redstart_common::metric::Histogram;

/// Counts of one command.
#[derive(Default, Clone)]
pub struct CallStats {
    /// Times it ran.
    pub calls: u64,
    /// Microseconds it took in all.
    pub us: u64,
    /// Times it was refused before it ran.
    pub rejected: u64,
    /// Times it ran and answered with an error.
    pub failed: u64,
    /// Distribution of durations.
    pub latency: Option<Box<Histogram>>,
}

/// Kinds of errors that are told apart; beyond, none is added.
const ERROR_KINDS_MAX: usize = 128;

/// Counters of an engine since its start or CONFIG RESETSTAT.
#[derive(Clone)]
pub struct Stats {
    calls: Vec<CallStats>,
    /// Error replies by their first word.
    pub errors: BTreeMap<Box<str>, u64>,
    /// Error replies in all.
    pub total_errors: u64,
    /// Errors in answer to what a primary or a replica sent.
    pub unexpected_errors: u64,
    /// Commands run.
    pub commands: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Walks over the data begun in the background, where Redis forks.
    pub background_saves: u64,
    /// How long the last of them took to begin, which is how long clients waited for it.
    pub save_begin_time: Duration,
    /// Connections refused for being too many.
    pub rejected_connections: u64,
    /// Bytes read from clients.
    pub bytes_in: u64,
    /// Bytes written to clients that are no replicas.
    pub bytes_out: u64,
    /// Bytes read from the primary, the snapshots included.
    pub repl_bytes_in: u64,
    /// Bytes written to replicas, the snapshots included.
    pub repl_bytes_out: u64,
    /// Reads from clients.
    pub reads: u64,
    /// Writes to clients.
    pub writes: u64,
    /// Clients closed for `maxmemory-clients`.
    pub evicted_clients: u64,
    /// Keys evicted.
    pub evicted_keys: u64,
    /// Packed values that were checked because `sanitize-dump-payload` wants it.
    pub sanitizations: u64,
    /// Since when memory in use is over its limit, as far as eviction was asked.
    pub over_memory_since: Option<Instant>,
    /// How long it was before.
    pub over_memory_before: Duration,
    /// When it was last logged that a client spoke HTTP, in milliseconds since 1970.
    pub attack_logged_ms: Option<i64>,
    /// Whether durations are kept in histograms (`latency-tracking`).
    pub track_latency: bool,
}

impl Stats {
    /// All zero, with a place for every row.
    #[must_use]
    pub fn new() -> Self {
        Self {
            calls: vec![CallStats::default(); redstart_common::command::count()],
            errors: BTreeMap::new(),
            total_errors: 0,
            unexpected_errors: 0,
            commands: 0,
            connections: 0,
            background_saves: 0,
            save_begin_time: Duration::ZERO,
            rejected_connections: 0,
            bytes_in: 0,
            bytes_out: 0,
            repl_bytes_in: 0,
            repl_bytes_out: 0,
            reads: 0,
            writes: 0,
            evicted_clients: 0,
            evicted_keys: 0,
            sanitizations: 0,
            over_memory_since: None,
            over_memory_before: Duration::ZERO,
            attack_logged_ms: None,
            track_latency: true,
        }
    }

    /// Notes whether memory in use is below its limit now.
    #[inline]
    pub fn memory_fits(&mut self, fits: bool) {
        match (fits, self.over_memory_since) {
            (true, Some(since)) => {
                self.over_memory_before += since.elapsed();
                self.over_memory_since = None;
            }
            (false, None) => self.over_memory_since = Some(Instant::now()),
            _ => {}
        }
    }

    /// How long memory in use has been over its limit now, and in all.
    #[must_use]
    pub fn over_memory(&self) -> [Duration; 2] {
        let now = self.over_memory_since.map_or(Duration::ZERO, |since| since.elapsed());
        [now, self.over_memory_before + now]
    }

    /// A walk over the data in the background has begun, which took `time`.
    pub fn save_began(&mut self, time: Duration) {
        self.background_saves += 1;
        self.save_begin_time = time;
    }

    /// Counts an error reply; `text` is without the leading `-`.
    #[cold]
    pub fn count_error(&mut self, text: impl AsRef<[u8]>) {
        self.total_errors += 1;
        let mut words = text.as_ref().split(|byte| b" \r\n".contains(byte));
        let word = &*String::from_utf8_lossy(words.next().unwrap_or_default());
        let room = self.errors.len() < ERROR_KINDS_MAX;
        match self.errors.get_mut(word) {
            Some(count) => *count += 1,
            None if room => {
                self.errors.insert(word.into(), 1);
            }
            None => {}
        }
    }

    /// Counts bytes that were written to a client at once.
    #[inline]
    pub fn written(&mut self, bytes: usize, to_replica: bool) {
        self.writes += 1;
        let sum = if to_replica { &mut self.repl_bytes_out } else { &mut self.bytes_out };
        *sum += bytes as u64;
    }

    /// Bytes were written to the primary by the stream: it is a client, and so counted as one.
    pub fn written_to_primary(&mut self, bytes: usize) {
        self.written(bytes, false);
    }

    /// Counts a command that was refused before it ran.
    pub fn rejected(&mut self, id: CommandId) {
        self.calls[id.index()].rejected += 1;
    }

    /// Counts a command that ran for `us` microseconds.
    #[inline]
    pub fn ran(&mut self, id: CommandId, us: u64, failed: bool) {
        self.waits(id);
        self.waited(id, us, failed);
    }

    /// Counts a command that now waits for a key, if only for its time to pass.
    #[inline]
    pub fn waits(&mut self, id: CommandId) {
        self.commands += 1;
        self.calls[id.index()].calls += 1;
    }

    /// Counts what became of a command that was counted when it began to wait.
    #[inline]
    pub fn waited(&mut self, id: CommandId, us: u64, failed: bool) {
        let call = &mut self.calls[id.index()];
        call.us += us;
        call.failed += u64::from(failed);
        if self.track_latency {
            call.latency.get_or_insert_default().record(us);
        }
    }

    /// Counts of a command.
    #[must_use]
    pub fn of(&self, id: CommandId) -> &CallStats {
        &self.calls[id.index()]
    }

    /// Counts of a command, to be changed.
    pub fn of_mut(&mut self, id: CommandId) -> &mut CallStats {
        &mut self.calls[id.index()]
    }

    /// Sets everything to zero.
    pub fn reset(&mut self) {
        let Self { track_latency, attack_logged_ms, over_memory_since, .. } = *self;
        // What goes on is counted from now.
        let over_memory_since = over_memory_since.map(|_| Instant::now());
        *self = Self { track_latency, attack_logged_ms, over_memory_since, ..Self::new() };
    }
}

impl Default for Stats {
    fn default() -> Self {
        Self::new()
    }
}
