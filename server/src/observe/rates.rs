//! Rates per second, over the last moments.

use std::time::Instant;

use super::stats::Stats;

/// Samples a mean of rates is made of.
const SAMPLES: usize = 16;
/// Milliseconds between two samples, at least.
const SAMPLE_MS: u128 = 100;

/// Rates per second: what INFO calls instantaneous.
pub struct Rates {
    samples: [[f64; 3]; SAMPLES],
    next: usize,
    last: [u64; 3],
    at: Instant,
}

impl Default for Rates {
    fn default() -> Self {
        Self { samples: [[0.0; 3]; SAMPLES], next: 0, last: [0; 3], at: Instant::now() }
    }
}

impl Rates {
    /// Takes a sample, if it is time for one.
    pub fn sample(&mut self, stats: &Stats) {
        let elapsed = self.at.elapsed();
        if elapsed.as_millis() < SAMPLE_MS {
            return;
        }
        let now = [stats.commands, stats.bytes_in, stats.bytes_out];
        for (place, (new, old)) in now.iter().zip(self.last).enumerate() {
            let rate = new.saturating_sub(old) as f64 / elapsed.as_secs_f64();
            self.samples[self.next][place] = rate;
        }
        self.next = (self.next + 1) % SAMPLES;
        self.last = now;
        self.at = Instant::now();
    }

    fn mean(&self, place: usize) -> f64 {
        self.samples.iter().map(|sample| sample[place]).sum::<f64>() / SAMPLES as f64
    }

    /// Commands, bytes in and bytes out a second.
    #[must_use]
    pub fn means(&self) -> [f64; 3] {
        [self.mean(0), self.mean(1), self.mean(2)]
    }
}
