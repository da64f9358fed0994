//! The one place of the proxy that reads clocks. Whatever decides is handed a [`Moment`].

use tokio::time::Instant;

/// A point in time, as what decides needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment {
    /// Microseconds since the process started. All threads count from the same start.
    pub us: u64,
    /// The wall clock, in microseconds since 1970; only ever shown.
    pub unix_us: u64,
}

impl Moment {
    /// Milliseconds since the process started.
    #[must_use]
    pub fn ms(self) -> u64 {
        self.us / 1000
    }
}

/// The clock of the process.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Microseconds since the start.
    #[inline]
    #[must_use]
    pub fn us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// Milliseconds since the start.
    #[must_use]
    pub fn ms(&self) -> u64 {
        self.us() / 1000
    }

    /// Whole seconds since the start.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.us() / 1_000_000
    }

    /// Now, by both clocks.
    #[must_use]
    pub fn now(&self) -> Moment {
        let unix_us = u64::try_from(redstart_common::clock::unix_us()).unwrap_or(0);
        Moment { us: self.us(), unix_us }
    }
}
