//! How many clients each worker has.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many clients each worker has, to find the least loaded.
#[derive(Debug, Default)]
pub struct Loads(Box<[AtomicUsize]>);

impl Loads {
    /// No clients yet.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| AtomicUsize::new(0)).collect())
    }

    /// Counts a client in on the least loaded worker and names that.
    pub fn enter_least(&self) -> usize {
        let least =
            (0..self.0.len()).min_by_key(|n| self.0[*n].load(Ordering::Relaxed)).unwrap_or(0);
        self.enter(least);
        least
    }

    /// Counts a client in.
    pub fn enter(&self, worker: usize) {
        self.0[worker].fetch_add(1, Ordering::Relaxed);
    }

    /// Clients of all workers.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.iter().map(|load| load.load(Ordering::Relaxed)).sum()
    }

    /// Counts a client out.
    pub fn leave(&self, worker: usize) {
        self.0[worker].fetch_sub(1, Ordering::Relaxed);
    }
}
