//! The clock of an engine.

use redstart_common::clock::Stopwatch;

/// The clock of an engine: the wall clock is read once a batch, and a stopwatch after each command, which moves time
/// on.
pub struct Time {
    base_ms: i64,
    since_ns: u64,
    watch: Stopwatch,
}

impl Time {
    /// A clock that starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { base_ms: redstart_common::clock::unix_ms(), since_ns: 0, watch: Stopwatch::new() }
    }

    /// Reads the wall clock; the next command's duration counts from here.
    pub fn refresh(&mut self, shared: &crate::keyspace::Shared) {
        self.base_ms = redstart_common::clock::unix_ms();
        self.since_ns = 0;
        self.watch.learn();
        shared.now_ms.set(self.base_ms);
    }

    /// The end of the last lap, for [`lap`](Self::lap).
    #[inline]
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.since_ns
    }

    /// Ends a lap. Answers how many microseconds have passed since `mark`, laps in between included: a command may call
    /// others. Unless `frozen`, the engine's time moves on as well.
    #[inline]
    pub fn lap(&mut self, shared: &crate::keyspace::Shared, frozen: bool, mark: u64) -> u64 {
        self.since_ns += self.watch.lap();
        if !frozen {
            shared.now_ms.set(self.base_ms + (self.since_ns / 1_000_000) as i64);
        }
        self.since_ns.saturating_sub(mark) / 1000
    }
}

impl Default for Time {
    fn default() -> Self {
        Self::new()
    }
}
