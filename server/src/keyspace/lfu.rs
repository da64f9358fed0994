//! Least-frequently-used eviction data in 24 bits: 16 bits of minutes, and a logarithmic counter of 8 bits.
//!
//! The scheme is Redis's: the counter is raised with a chance that falls as it grows, and loses one for every
//! `lfu-decay-time` minutes in which the key was not touched.

use rand::Rng;

/// The counter of a new key, so that it is not evicted before it had a chance to be used.
pub const INITIAL: u32 = 5;

fn minutes(now_ms: i64) -> u32 {
    (now_ms / 60_000) as u32 & 0xffff
}

/// The data of a new entry.
#[must_use]
pub fn fresh(now_ms: i64) -> u32 {
    minutes(now_ms) << 8 | INITIAL
}

/// The data after the time since the last touch is taken into account; the time itself stays.
#[must_use]
pub fn decay(data: u32, now_ms: i64, decay_minutes: u32) -> u32 {
    let then = data >> 8;
    let elapsed = minutes(now_ms).wrapping_sub(then) & 0xffff;
    let periods = elapsed.checked_div(decay_minutes).unwrap_or(0);
    (then << 8) | (data & 0xff).saturating_sub(periods)
}

/// The data after a touch of an entry whose data was decayed.
#[must_use]
pub fn touch(data: u32, now_ms: i64, log_factor: u32) -> u32 {
    let counter = data & 0xff;
    let raised = if counter == 255 {
        counter
    } else {
        let base = f64::from(counter.saturating_sub(INITIAL));
        let chance = 1.0 / (base * f64::from(log_factor) + 1.0);
        if rand::rng().random::<f64>() < chance { counter + 1 } else { counter }
    };
    minutes(now_ms) << 8 | raised
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_rise_slowly_and_fall_with_time() {
        let mut data = fresh(0);
        for _ in 0..1000 {
            data = touch(data, 0, 10);
        }
        let counter = data & 0xff;
        assert!((10..60).contains(&counter), "{counter}");
        assert_eq!(decay(data, 3 * 60_000, 1) & 0xff, counter - 3);
        assert_eq!(decay(data, 3 * 60_000, 0) & 0xff, counter);
        assert_eq!(decay(data, 1000 * 60_000, 1) & 0xff, 0);
    }
}
