//! The wall clock and the monotonic clock, read once a turn rather than once a command.

mod stopwatch;

pub use stopwatch::Stopwatch;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The wall clock in milliseconds since 1970.
#[must_use]
pub fn unix_ms() -> i64 {
    i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX)
}

/// The wall clock in microseconds since 1970.
#[must_use]
pub fn unix_us() -> i64 {
    i64::try_from(since_epoch().as_micros()).unwrap_or(i64::MAX)
}

/// A time in seconds since 1970 as ctime(3) has it, without the line end: `Mon Nov 30 01:02:03 2026`, where we are.
#[must_use]
pub fn local_words(unix_s: i64) -> String {
    let time = chrono::DateTime::from_timestamp(unix_s, 0).unwrap_or_default();
    time.with_timezone(&chrono::Local).format("%a %b %e %H:%M:%S %Y").to_string()
}

fn since_epoch() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Microseconds that have passed since `start`.
#[must_use]
pub fn elapsed_us(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}
