//! A string of bytes as a row of bits: bit 0 is the highest of the first byte.
//!
//! What reads or combines much works on whole words, and is written so that the compiler makes vector code of it.

/// Bytes that a step of the search compares at once.
const BLOCK: usize = 64;

/// Bits of a stretch of bytes: both ends are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first bit.
    pub first: usize,
    /// The last bit.
    pub last: usize,
}

impl Span {
    /// The bits of the bytes `first` to `last`.
    #[must_use]
    pub fn of_bytes(first: usize, last: usize) -> Self {
        Self { first: first * 8, last: last * 8 + 7 }
    }

    /// The bytes that the span touches, and which bits of the first and of the last of them lie within.
    fn edges(self) -> (std::ops::RangeInclusive<usize>, u8, u8) {
        let head = 0xff >> (self.first % 8);
        let tail = 0xff << (7 - self.last % 8);
        (self.first / 8..=self.last / 8, head, tail)
    }
}

#[inline(always)]
fn count_words(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    // Summed up in 64 bits, so that a vector holds as many sums as words.
    let whole: u64 =
        words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    whole as usize + rest.iter().map(|byte| byte.count_ones() as usize).sum::<usize>()
}

/// The same with the instructions that most of today's processors have.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
fn count_words_wide(bytes: &[u8]) -> usize {
    count_words(bytes)
}

/// How many bits are set.
#[must_use]
pub fn count(bytes: &[u8]) -> usize {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
        // SAFETY: the processor has both features, as was just asked.
        return unsafe { count_words_wide(bytes) };
    }
    count_words(bytes)
}

/// How many bits of `span`, which lies within the bytes, are set.
#[must_use]
pub fn count_within(bytes: &[u8], span: Span) -> usize {
    let (range, head, tail) = span.edges();
    let bytes = &bytes[range];
    let outside = |byte: Option<&u8>, within: u8| {
        byte.map_or(0, |byte| (byte & !within).count_ones() as usize)
    };
    count(bytes) - outside(bytes.first(), head) - outside(bytes.last(), tail)
}

/// The first bit of `span`, which lies within the bytes, that is `bit`.
#[must_use]
pub fn find(bytes: &[u8], span: Span, bit: bool) -> Option<usize> {
    let (range, head, tail) = span.edges();
    let (first, last) = (*range.start(), *range.end());
    // From here on a set bit is looked for; `flip` makes one of what is looked for.
    let flip = if bit { 0 } else { 0xff };
    let place = |at: usize, byte: u8| at * 8 + byte.leading_zeros() as usize;
    let mut byte = (bytes[first] ^ flip) & head;
    if first == last {
        byte &= tail;
    }
    if byte != 0 {
        return Some(place(first, byte));
    }
    if first == last {
        return None;
    }
    let middle = &bytes[first + 1..last];
    if let Some(at) = middle_other_than(middle, flip) {
        return Some(place(first + 1 + at, middle[at] ^ flip));
    }
    let byte = (bytes[last] ^ flip) & tail;
    (byte != 0).then(|| place(last, byte))
}

/// The first byte that is not `skip`, which is all zeros or all ones.
fn middle_other_than(bytes: &[u8], skip: u8) -> Option<usize> {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let uniform = |block: &[u8; BLOCK]| block.iter().fold(0, |seen, byte| seen | byte ^ skip) == 0;
    let from = blocks.iter().take_while(|block| uniform(block)).count() * BLOCK;
    bytes[from..].iter().position(|byte| *byte != skip).map(|at| from + at)
}

/// Whether the bit is set; bits behind the end are not.
#[must_use]
pub fn get(bytes: &[u8], bit: usize) -> bool {
    bytes.get(bit / 8).is_some_and(|byte| byte & mask(bit) != 0)
}

/// The byte's bit at the place of `bit`.
#[must_use]
pub fn mask(bit: usize) -> u8 {
    0x80 >> (bit % 8)
}

/// How strings are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combination {
    /// Bits set in all.
    And,
    /// Bits set in any.
    Or,
    /// Bits set in an odd number of them.
    Xor,
}

/// Combines `more` into what was gathered so far. The shorter of the two counts as filled up with zeros.
pub fn combine(gathered: &mut Vec<u8>, more: &[u8], how: Combination) {
    let common = gathered.len().min(more.len());
    let (both, rest) = gathered.split_at_mut(common);
    let pairs = both.iter_mut().zip(more);
    match how {
        Combination::And => {
            pairs.for_each(|(to, from)| *to &= from);
            rest.fill(0);
            gathered.resize(gathered.len().max(more.len()), 0);
        }
        Combination::Or => {
            pairs.for_each(|(to, from)| *to |= from);
            gathered.extend_from_slice(&more[common..]);
        }
        Combination::Xor => {
            pairs.for_each(|(to, from)| *to ^= from);
            gathered.extend_from_slice(&more[common..]);
        }
    }
}

/// Takes the bits of `others` away; the shorter of the two counts as filled up with zeros.
pub fn clear(bytes: &mut Vec<u8>, others: &[u8]) {
    bytes.iter_mut().zip(others).for_each(|(to, from)| *to &= !from);
    bytes.resize(bytes.len().max(others.len()), 0);
}

/// Turns every bit round.
pub fn invert(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
}

/// The unsigned number of `width` bits (1 to 64) at bit `at`; bits behind the end count as zero.
#[must_use]
pub fn get_field(bytes: &[u8], at: usize, width: u32) -> u64 {
    let mut window = [0; 16];
    let from = bytes.get(at / 8..).unwrap_or_default();
    // At most 71 bits are touched.
    let touched = from.len().min(9);
    window[..touched].copy_from_slice(&from[..touched]);
    let window = u128::from_be_bytes(window) << (at % 8);
    (window >> (128 - width)) as u64
}

/// Writes the lowest `width` bits (1 to 64) of `number` at bit `at`. All of them lie within the bytes.
pub fn set_field(bytes: &mut [u8], at: usize, width: u32, number: u64) {
    let shift = 128 - width - (at % 8) as u32;
    let mask = (u128::MAX >> (128 - width)) << shift;
    let new = (u128::from(number) << shift) & mask;
    let touched = (at % 8 + width as usize).div_ceil(8);
    let bytes = &mut bytes[at / 8..at / 8 + touched];
    for ((byte, keep), new) in bytes.iter_mut().zip((!mask).to_be_bytes()).zip(new.to_be_bytes()) {
        *byte = *byte & keep | new;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bits one by one.
    fn spread(bytes: &[u8]) -> Vec<bool> {
        bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte & (0x80 >> bit) != 0)).collect()
    }

    /// Bytes of which long stretches are all zeros or all ones.
    fn stretches() -> impl Strategy<Value = Vec<u8>> {
        let stretch = (prop_oneof![Just(0_u8), Just(0xff), any::<u8>()], 1_usize..150);
        prop::collection::vec(stretch, 1..6).prop_map(|parts| {
            parts.into_iter().flat_map(|(byte, times)| vec![byte; times]).collect()
        })
    }

    #[test]
    fn both_ways_to_count_agree() {
        for length in 0..200 {
            let bytes: Vec<u8> = (0..length)
                .map(|at: u32| at.wrapping_mul(2_654_435_761).to_be_bytes()[0])
                .collect();
            assert_eq!(count(&bytes), count_words(&bytes));
        }
    }

    proptest! {
        #[test]
        fn reading_agrees_with_single_bits(
            bytes in stretches(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()
        ) {
            let bits = spread(&bytes);
            let (from, to) = (from.index(bits.len()), to.index(bits.len()));
            let span = Span { first: from.min(to), last: from.max(to) };
            let part = &bits[span.first..=span.last];
            prop_assert_eq!(count_within(&bytes, span), part.iter().filter(|bit| **bit).count());
            for bit in [false, true] {
                let found = part.iter().position(|is| *is == bit).map(|at| span.first + at);
                prop_assert_eq!(find(&bytes, span, bit), found);
            }
            prop_assert_eq!(get(&bytes, from), bits[from]);
            prop_assert!(!get(&bytes, bits.len() + from));
        }

        #[test]
        fn combining_agrees_with_single_bytes(
            first in prop::collection::vec(any::<u8>(), 0..200),
            second in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let length = first.len().max(second.len());
            let at = |bytes: &[u8], at: usize| bytes.get(at).copied().unwrap_or(0);
            for (how, plain) in [
                (Combination::And, (|a, b| a & b) as fn(u8, u8) -> u8),
                (Combination::Or, |a, b| a | b),
                (Combination::Xor, |a, b| a ^ b),
            ] {
                let mut gathered = first.clone();
                combine(&mut gathered, &second, how);
                let model: Vec<u8> =
                    (0..length).map(|i| plain(at(&first, i), at(&second, i))).collect();
                prop_assert_eq!(gathered, model);
            }
            let mut inverted = first.clone();
            invert(&mut inverted);
            prop_assert!(first.iter().zip(&inverted).all(|(a, b)| a ^ b == 0xff));
        }

        #[test]
        fn fields_agree_with_single_bits(
            bytes in prop::collection::vec(any::<u8>(), 1..40),
            at in 0_usize..330,
            width in 1_u32..=64,
            number in any::<u64>(),
        ) {
            let bits = spread(&bytes);
            let read = (at..at + width as usize).fold(0_u64, |number, bit| {
                number << 1 | u64::from(bits.get(bit).copied().unwrap_or(false))
            });
            prop_assert_eq!(get_field(&bytes, at, width), read);
            let mut bytes = bytes;
            bytes.resize(bytes.len().max((at + width as usize).div_ceil(8)), 0);
            let mut model = spread(&bytes);
            for bit in 0..width {
                model[at + bit as usize] = number >> (width - 1 - bit) & 1 != 0;
            }
            set_field(&mut bytes, at, width, number);
            prop_assert_eq!(spread(&bytes), model);
        }
    }
}
