//! Rates per second, over the last moments.

use std::time::Instant;

use super::stats::Stats;

/// Samples a mean of rates is made of.
const SAMPLES: usize = 16;
/// Milliseconds between two samples, at least.
const SAMPLE_MS: u128 = 100;

/// What is counted.
const COUNTERS: usize = 5;

/// Rates per second: what INFO calls instantaneous.
pub struct Rates {
    samples: [[f64; COUNTERS]; SAMPLES],
    next: usize,
    last: [u64; COUNTERS],
    at: Instant,
}

/// Means of the last samples, each per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Means {
    /// Commands run.
    pub commands: f64,
    /// Bytes read from clients and the primary.
    pub bytes_in: f64,
    /// Bytes written to clients and replicas.
    pub bytes_out: f64,
    /// Of these, read from the primary.
    pub repl_bytes_in: f64,
    /// Of these, written to replicas.
    pub repl_bytes_out: f64,
}

impl Default for Rates {
    fn default() -> Self {
        let samples = [[0.0; COUNTERS]; SAMPLES];
        Self { samples, next: 0, last: [0; COUNTERS], at: Instant::now() }
    }
}

impl Rates {
    /// Takes a sample, if it is time for one.
    pub fn sample(&mut self, stats: &Stats) {
        let elapsed = self.at.elapsed();
        if elapsed.as_millis() < SAMPLE_MS {
            return;
        }
        let now = [
            stats.commands,
            stats.bytes_in + stats.repl_bytes_in,
            stats.bytes_out + stats.repl_bytes_out,
            stats.repl_bytes_in,
            stats.repl_bytes_out,
        ];
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

    /// The rates of now.
    #[must_use]
    pub fn means(&self) -> Means {
        Means {
            commands: self.mean(0),
            bytes_in: self.mean(1),
            bytes_out: self.mean(2),
            repl_bytes_in: self.mean(3),
            repl_bytes_out: self.mean(4),
        }
    }
}
