//! A histogram of durations with fixed buckets: four per power of two, from 1 microsecond to about 17 minutes.
//!
//! Recording is an index computation and an addition. The relative error of a percentile is at most a quarter
//! of its value, which is enough to see where time goes; exact sums are kept beside.

/// Buckets per power of two.
const STEPS: usize = 4;
/// Powers of two that are told apart; a duration beyond lands in the last bucket.
const POWERS: usize = 30;
const BUCKETS: usize = STEPS * POWERS;

/// Counts of durations, in microseconds.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    sum_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), count: 0, sum_us: 0 }
    }
}

fn bucket_of(us: u64) -> usize {
    if us < STEPS as u64 {
        return us as usize;
    }
    let power = 63 - us.leading_zeros() as usize;
    let step = (us >> (power - 2)) as usize & (STEPS - 1);
    ((power - 1) * STEPS + step).min(BUCKETS - 1)
}

/// The largest duration in microseconds that lands in bucket `place`.
fn upper_us(place: usize) -> u64 {
    if place < STEPS {
        return place as u64;
    }
    let power = place / STEPS + 1;
    let step = (place % STEPS) as u64;
    (((STEPS as u64) + step + 1) << (power - 2)) - 1
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub fn record(&mut self, us: u64) {
        self.record_many(us, 1);
    }

    /// Counts `times` durations of the same length.
    #[inline]
    pub fn record_many(&mut self, us: u64, times: u64) {
        self.buckets[bucket_of(us)] += times;
        self.count += times;
        self.sum_us = self.sum_us.wrapping_add(us.wrapping_mul(times));
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of all durations, in microseconds.
    #[must_use]
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// The duration in microseconds below or at which `share` (0 to 1) of the counted ones lie; the upper end
    /// of the bucket it falls into. 0 when nothing was counted.
    #[must_use]
    pub fn percentile_us(&self, share: f64) -> u64 {
        if self.count == 0 {
            return 0;
        }
        let wanted = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count);
        let mut seen = 0;
        for (place, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_us(place);
            }
        }
        upper_us(BUCKETS - 1)
    }

    /// The non-empty buckets: the largest duration of each, in microseconds, and its count.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.buckets
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(place, count)| (upper_us(place), *count))
    }

    /// Adds what another histogram counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum_us = self.sum_us.wrapping_add(other.sum_us);
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.buckets.fill(0);
        self.count = 0;
        self.sum_us = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_within_its_bucket() {
        for us in (0..5000).chain((13..40).map(|p| 1 << p)).chain((13..29).map(|p| (1 << p) - 1)) {
            let place = bucket_of(us);
            if place == BUCKETS - 1 {
                continue;
            }
            assert!(us <= upper_us(place), "{us} above its bucket {place}");
            assert!(place == 0 || us > upper_us(place - 1), "{us} below its bucket {place}");
        }
    }

    #[test]
    fn percentiles_are_within_a_quarter() {
        let mut histogram = Histogram::default();
        for us in 1..=1000 {
            histogram.record(us);
        }
        for (share, exact) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = histogram.percentile_us(share) as f64;
            assert!(found >= exact && found <= exact * 1.25, "{share}: {found}");
        }
        assert_eq!(histogram.sum_us(), 500_500);
    }
}
