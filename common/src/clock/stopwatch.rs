//! A stopwatch for work of less than a microsecond, which reading the system's clock would lengthen by a tenth.
//!
//! It counts ticks of the processor where these are constant and the same on all cores (x86-64's invariant time stamp
//! counter), and the system's monotonic clock elsewhere. How long a tick is, it learns from the system's clock, first
//! for a moment when it is made and then ever more closely from [`Stopwatch::learn`].

use std::time::{Duration, Instant};

/// How long a new stopwatch looks at the system's clock.
const FIRST_LOOK: Duration = Duration::from_micros(50);
/// Ticks that pass at least before it looks again: some milliseconds.
const LOOK_TICKS: u64 = 1 << 24;

/// Readings of both clocks of which the closest pair counts: the thread may be held up between two.
const READINGS: usize = 5;

/// Measures durations between laps.
#[derive(Debug, Clone)]
pub struct Stopwatch {
    counts: bool,
    epoch: Instant,
    /// The first reading of both clocks; nanoseconds count from the epoch.
    first: Reading,
    last: u64,
    looked: u64,
    /// Nanoseconds of a tick, with 32 bits of fraction.
    tick_ns: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    ticks: u64,
    ns: u64,
}

impl Stopwatch {
    /// A stopwatch whose first lap begins now.
    #[must_use]
    pub fn new() -> Self {
        Self::counting(has_constant_ticks())
    }

    fn counting(counts: bool) -> Self {
        let mut watch = Self {
            counts,
            epoch: Instant::now(),
            first: Reading::default(),
            last: 0,
            looked: 0,
            tick_ns: 0,
        };
        watch.first = watch.read();
        while watch.epoch.elapsed() < FIRST_LOOK {
            std::hint::spin_loop();
        }
        watch.look();
        watch.last = watch.ticks();
        watch
    }

    #[inline]
    fn ticks(&self) -> u64 {
        if self.counts { count() } else { nanoseconds(self.epoch.elapsed()) }
    }

    #[inline]
    fn ns(&self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.tick_ns)) >> 32) as u64
    }

    /// Reads both clocks at the same moment, as nearly as can be.
    fn read(&self) -> Reading {
        let pairs = (0..READINGS).map(|_| {
            let before = self.ticks();
            let ns = nanoseconds(self.epoch.elapsed());
            let gap = self.ticks().saturating_sub(before);
            (gap, Reading { ticks: before + gap / 2, ns })
        });
        pairs.min_by_key(|(gap, _)| *gap).map(|(_, reading)| reading).unwrap_or_default()
    }

    #[cold]
    fn look(&mut self) {
        let now = self.read();
        let passed = now.ticks.saturating_sub(self.first.ticks).max(1);
        let length = (u128::from(now.ns.saturating_sub(self.first.ns)) << 32) / u128::from(passed);
        self.tick_ns = u64::try_from(length).unwrap_or(u64::MAX);
        self.looked = now.ticks;
    }

    /// Begins a lap now, and learns how long a tick is if it is time to.
    #[inline]
    pub fn learn(&mut self) {
        self.last = self.ticks();
        if self.last.wrapping_sub(self.looked) > LOOK_TICKS {
            self.look();
        }
    }

    /// Ends a lap and begins the next. Answers the nanoseconds that it took.
    #[inline]
    pub fn lap(&mut self) -> u64 {
        let now = self.ticks();
        // Two cores' counters may differ by a little.
        let took = now.saturating_sub(self.last);
        self.last = now;
        self.ns(took)
    }
}

impl Default for Stopwatch {
    fn default() -> Self {
        Self::new()
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(target_arch = "x86_64")]
fn has_constant_ticks() -> bool {
    use std::arch::x86_64::__cpuid;
    const POWER: u32 = 0x8000_0007;
    const INVARIANT: u32 = 1 << 8;
    __cpuid(0x8000_0000).eax >= POWER && __cpuid(POWER).edx & INVARIANT != 0
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn count() -> u64 {
    // SAFETY: every x86-64 processor has the instruction; it touches no memory.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn has_constant_ticks() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn count() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agrees(mut watch: Stopwatch) {
        for _ in 0..3 {
            let around = Instant::now();
            watch.learn();
            let within = Instant::now();
            while within.elapsed() < Duration::from_millis(20) {
                std::hint::spin_loop();
            }
            let within = nanoseconds(within.elapsed());
            let took = watch.lap();
            let around = nanoseconds(around.elapsed());
            let bounds = within - within / 50..=around + around / 50;
            assert!(bounds.contains(&took), "{took} is not in {bounds:?}");
        }
    }

    #[test]
    fn a_lap_is_as_long_as_the_system_says() {
        agrees(Stopwatch::new());
        agrees(Stopwatch::counting(false));
    }

    #[test]
    fn a_counter_that_goes_back_makes_no_long_lap() {
        let mut watch = Stopwatch::new();
        watch.last = u64::MAX;
        assert_eq!(watch.lap(), 0);
    }
}
