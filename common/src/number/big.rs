//! Whole numbers of any size, as far as exact decimal conversion needs them.

use std::cmp::Ordering;

/// Decimal digits taken in one step.
const CHUNK_DIGITS: usize = 9;
const CHUNK: u32 = 1_000_000_000;

/// A whole number: 32-bit words, least significant first, none of them a leading zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Big(Vec<u32>);

impl Big {
    pub(super) fn from_u64(value: u64) -> Self {
        let mut big = Self(vec![value as u32, (value >> 32) as u32]);
        big.trim();
        big
    }

    /// The number that decimal `digits` spell.
    pub(super) fn from_digits(digits: impl Iterator<Item = u8>) -> Self {
        let mut big = Self(Vec::new());
        let (mut chunk, mut factor) = (0u32, 1u32);
        for digit in digits {
            chunk = chunk * 10 + u32::from(digit - b'0');
            factor *= 10;
            if factor == CHUNK {
                big.multiply_add(factor, chunk);
                (chunk, factor) = (0, 1);
            }
        }
        big.multiply_add(factor, chunk);
        big
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// Bits up to the highest one set.
    pub(super) fn bits(&self) -> i64 {
        self.0.last().map_or(0, |top| 32 * self.0.len() as i64 - i64::from(top.leading_zeros()))
    }

    pub(super) fn multiply_by_power_of_ten(&mut self, power: usize) {
        for _ in 0..power / CHUNK_DIGITS {
            self.multiply_add(CHUNK, 0);
        }
        self.multiply_add(10u32.pow((power % CHUNK_DIGITS) as u32), 0);
    }

    pub(super) fn shift_left(&mut self, bits: usize) {
        self.multiply_add(1 << (bits % 32), 0);
        if !self.is_zero() {
            self.0.splice(0..0, std::iter::repeat_n(0, bits / 32));
        }
    }

    /// The quotient, which has to fit 128 bits, and whether something is left over.
    pub(super) fn divide(mut self, divisor: &Self) -> (u128, bool) {
        let steps = (self.bits() - divisor.bits()).max(-1) + 1;
        let mut scaled = divisor.clone();
        scaled.shift_left(steps as usize);
        let mut quotient = 0;
        for _ in 0..=steps {
            quotient <<= 1;
            if self.compare(&scaled) != Ordering::Less {
                self.subtract(&scaled);
                quotient |= 1;
            }
            scaled.halve();
        }
        (quotient, !self.is_zero())
    }

    /// The decimal digits, none for zero.
    pub(super) fn into_digits(mut self) -> String {
        let mut chunks = Vec::new();
        while !self.is_zero() {
            chunks.push(self.divide_by_chunk());
        }
        let mut digits = String::with_capacity(chunks.len() * CHUNK_DIGITS);
        for (place, chunk) in chunks.iter().rev().enumerate() {
            digits += &if place == 0 { chunk.to_string() } else { format!("{chunk:09}") };
        }
        digits
    }

    fn multiply_add(&mut self, factor: u32, more: u32) {
        let mut carry = u64::from(more);
        for word in &mut self.0 {
            carry += u64::from(*word) * u64::from(factor);
            *word = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    fn divide_by_chunk(&mut self) -> u32 {
        let mut rest = 0u64;
        for word in self.0.iter_mut().rev() {
            let value = rest << 32 | u64::from(*word);
            *word = (value / u64::from(CHUNK)) as u32;
            rest = value % u64::from(CHUNK);
        }
        self.trim();
        rest as u32
    }

    fn halve(&mut self) {
        let mut carry = 0;
        for word in self.0.iter_mut().rev() {
            let next = *word << 31;
            *word = *word >> 1 | carry;
            carry = next;
        }
        self.trim();
    }

    fn compare(&self, other: &Self) -> Ordering {
        let lengths = self.0.len().cmp(&other.0.len());
        lengths.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    /// Takes away `other`, which is not larger.
    fn subtract(&mut self, other: &Self) {
        let mut borrow = false;
        for (place, word) in self.0.iter_mut().enumerate() {
            let taken = other.0.get(place).copied().unwrap_or(0);
            let (less, under) = word.overflowing_sub(taken);
            let (less, again) = less.overflowing_sub(u32::from(borrow));
            *word = less;
            borrow = under || again;
        }
        self.trim();
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn big(value: u128) -> Big {
        Big::from_digits(value.to_string().into_bytes().into_iter())
    }

    proptest! {
        #[test]
        fn agrees_with_128_bits(a: u128, b in 1..u128::MAX, power in 0usize..12, bits in 0usize..40, small: u64) {
            let shown = |value: u128| if value == 0 { String::new() } else { value.to_string() };
            prop_assert_eq!(big(a).into_digits(), shown(a));
            prop_assert_eq!(big(a).bits(), i64::from(128 - a.leading_zeros()));
            prop_assert_eq!(big(a).divide(&big(b)), (a / b, a % b != 0));
            prop_assert_eq!(Big::from_u64(small), big(u128::from(small)));
            let (mut scaled, mut shifted) = (Big::from_u64(small), Big::from_u64(small));
            scaled.multiply_by_power_of_ten(power);
            shifted.shift_left(bits);
            prop_assert_eq!(scaled.into_digits(), shown(u128::from(small) * 10u128.pow(power as u32)));
            prop_assert_eq!(shifted.into_digits(), shown(u128::from(small) << bits));
        }
    }
}
