//! From registers to a number of elements: Otmar Ertl, "New cardinality estimation algorithms for HyperLogLog
//! sketches", arXiv:1702.01284. The operations and their order are those of Redis, so that the last digit is too.

use super::REGISTERS;

/// One half by the natural logarithm of two.
const ALPHA: f64 = 0.721_347_520_444_481_7;
/// The largest number that an element offers is one more.
const LARGEST: usize = 50;

/// How many registers hold each number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram([u32; 64]);

impl Default for Histogram {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl Histogram {
    /// Counts `times` registers that hold `number`, which is below 64.
    #[inline]
    pub fn add(&mut self, number: u8, times: u32) {
        let held = &mut self.0[usize::from(number % 64)];
        *held = held.wrapping_add(times);
    }

    /// Adds what another counted.
    pub fn add_all(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(held, times)| *held = held.wrapping_add(times));
    }

    /// The estimated number of different elements.
    #[must_use]
    pub fn cardinality(&self) -> u64 {
        let m = REGISTERS as f64;
        let mut z = m * tau((m - f64::from(self.0[LARGEST + 1])) / m);
        for held in self.0[1..=LARGEST].iter().rev() {
            z = (z + f64::from(*held)) * 0.5;
        }
        z += m * sigma(f64::from(self.0[0]) / m);
        let estimate = (ALPHA * m * m / z).round();
        // Registers that no elements make give what fits no integer; the original's conversion answers this.
        if estimate < i64::MAX as f64 { estimate as u64 } else { 1 << 63 }
    }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if before == z {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_the_range() {
        let mut histogram = Histogram::default();
        histogram.add(0, REGISTERS as u32);
        assert_eq!(histogram.cardinality(), 0);
        let mut one = Histogram::default();
        one.add(0, REGISTERS as u32 - 1);
        one.add(1, 1);
        assert_eq!(one.cardinality(), 1);
        // No elements fill registers like this.
        let mut impossible = Histogram::default();
        impossible.add(63, REGISTERS as u32);
        assert_eq!(impossible.cardinality(), 1 << 63);
        let mut full = Histogram::default();
        full.add(51, REGISTERS as u32);
        assert_eq!(full.cardinality(), 1 << 63);
    }
}
