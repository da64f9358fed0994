//! LZF, the compression of RDB strings.
//!
//! A control byte below 32 is followed by that many literal bytes plus one; any other copies from what has been
//! written: the upper three bits and perhaps a byte more say how much, the rest how far back.

/// A copy takes two bytes at least and gives so many at most.
const COPY_MAX: usize = 264;
/// The shortest piece that is worth a copy.
const COPY_MIN: usize = 3;
/// How far back a copy may reach.
const REACH: usize = 1 << 13;
/// The longest run of literal bytes behind one control byte.
const LITERALS_MAX: usize = 32;
const TABLE_BITS: u32 = 14;

/// Decompresses to exactly `length` bytes, which are appended to `out`; answers whether the data gives that. Nothing is
/// appended when it does not.
pub fn decompress_onto(data: &[u8], length: usize, out: &mut Vec<u8>) -> bool {
    // A larger claim is a lie, and allocates nothing.
    if length > data.len().saturating_mul(COPY_MAX) {
        return false;
    }
    let begin = out.len();
    out.reserve_exact(length);
    let done = unpack(data, begin + length, begin, out).is_some() && out.len() == begin + length;
    if !done {
        out.truncate(begin);
    }
    done
}

fn unpack(data: &[u8], most: usize, begin: usize, out: &mut Vec<u8>) -> Option<()> {
    let mut rest = data;
    while let Some((&control, behind)) = rest.split_first() {
        rest = behind;
        if control < 32 {
            let (literal, behind) = rest.split_at_checked(control as usize + 1)?;
            if out.len() + literal.len() > most {
                return None;
            }
            out.extend_from_slice(literal);
            rest = behind;
            continue;
        }
        let mut count = (control >> 5) as usize + 2;
        if count == 9 {
            let (&more, behind) = rest.split_first()?;
            count += more as usize;
            rest = behind;
        }
        let (&low, behind) = rest.split_first()?;
        rest = behind;
        let back = (((control & 31) as usize) << 8 | low as usize) + 1;
        let start = out.len().checked_sub(back).filter(|start| *start >= begin)?;
        if out.len() + count > most {
            return None;
        }
        // What is copied may still be growing: then it repeats itself every `back` bytes.
        while count > 0 {
            let step = count.min(out.len() - start);
            out.extend_from_within(start..start + step);
            count -= step;
        }
    }
    Some(())
}

/// Decompresses to exactly `length` bytes; `None` when the data does not give that.
#[must_use]
pub fn decompress(data: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    decompress_onto(data, length, &mut out).then_some(out)
}

/// Compresses one text after the other. What it remembers of a text is where its pieces of three bytes stood last.
pub struct Compressor {
    /// `base` of the text plus the position in it.
    places: Box<[u32]>,
    /// Positions below are of texts that are done with, so that the table need not be cleared for each.
    base: u32,
}

impl Default for Compressor {
    fn default() -> Self {
        Self { places: vec![0; 1 << TABLE_BITS].into_boxed_slice(), base: 1 }
    }
}

impl Compressor {
    /// Appends the compressed form of `data` to `out` if it takes `most` bytes at most, which must be fewer than `data` has.
    /// Answers whether it did; `out` is as it was when not.
    pub fn compress(&mut self, data: &[u8], most: usize, out: &mut Vec<u8>) -> bool {
        let Ok(length) = u32::try_from(data.len()) else { return false };
        if length > u32::MAX - self.base {
            if length == u32::MAX {
                return false;
            }
            self.places.fill(0);
            self.base = 1;
        }
        let begin = out.len();
        let fits = self.pack(data, begin + most, out);
        self.base += length;
        if !fits {
            out.truncate(begin);
        }
        fits
    }

    /// Remembers position `at` and answers where the same three bytes (or others of the same hash) stood before.
    #[inline]
    fn remember(&mut self, data: &[u8], at: usize) -> Option<usize> {
        let piece = u32::from_le_bytes([data[at], data[at + 1], data[at + 2], 0]);
        let slot = (piece.wrapping_mul(0x9e37_79b1) >> (32 - TABLE_BITS)) as usize;
        let before = std::mem::replace(&mut self.places[slot], self.base + at as u32);
        Some(before.checked_sub(self.base)? as usize)
    }

    fn pack(&mut self, data: &[u8], most: usize, out: &mut Vec<u8>) -> bool {
        let (mut at, mut literals_from) = (0, 0);
        while at + COPY_MIN <= data.len() {
            let before = self
                .remember(data, at)
                .filter(|before| at - before <= REACH && data[*before..][..3] == data[at..][..3]);
            let Some(before) = before else {
                // The longer nothing was found, the less closely is looked.
                at += 1 + ((at - literals_from) >> 7);
                continue;
            };
            let count = common_length(data, before, at);
            put_literals(&data[literals_from..at], out);
            put_copy(count, at - before - 1, out);
            if out.len() > most {
                return false;
            }
            at += count;
            literals_from = at;
            // The end of what was copied is where a next copy is likely to begin.
            for place in [at - 2, at - 1] {
                if place + COPY_MIN <= data.len() {
                    self.remember(data, place);
                }
            }
        }
        put_literals(&data[literals_from..], out);
        out.len() <= most
    }
}

/// How many bytes from `before` on are as those from `at` on, up to what a copy gives.
#[inline]
fn common_length(data: &[u8], before: usize, at: usize) -> usize {
    let most = COPY_MAX.min(data.len() - at);
    let (left, right) = (&data[before..], &data[at..at + most]);
    let same_words = left
        .chunks_exact(8)
        .zip(right.chunks_exact(8))
        .take_while(|(left, right)| left == right)
        .count();
    let same = same_words * 8;
    same + left[same..].iter().zip(&right[same..]).take_while(|(left, right)| left == right).count()
}

fn put_literals(literals: &[u8], out: &mut Vec<u8>) {
    for run in literals.chunks(LITERALS_MAX) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn put_copy(count: usize, back: usize, out: &mut Vec<u8>) {
    let count = count - 2;
    if count < 7 {
        out.push((count << 5 | back >> 8) as u8);
    } else {
        out.push((7 << 5 | back >> 8) as u8);
        out.push((count - 7) as u8);
    }
    out.push(back as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn literals_and_overlapping_copies() {
        assert_eq!(decompress(b"\x02abc", 3).as_deref(), Some(&b"abc"[..]));
        // One literal, then a copy of it nine times.
        assert_eq!(decompress(b"\x00a\xe0\x00\x00", 10).as_deref(), Some(&b"aaaaaaaaaa"[..]));
        assert_eq!(decompress(b"\x02ab", 3), None);
        assert_eq!(decompress(b"\x20\x05", 3), None);
    }

    fn compressed(compressor: &mut Compressor, data: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        // More than it can take: nothing is given up.
        assert!(compressor.compress(data, data.len() * 2 + 16, &mut out));
        out.split_off(6)
    }

    #[test]
    fn texts_shrink() {
        let mut compressor = Compressor::default();
        let letters = compressed(&mut compressor, &[b'a'; 1000]);
        assert!(letters.len() < 20, "{}", letters.len());
        let words = "the same words again and again, ".repeat(100);
        let small = compressed(&mut compressor, words.as_bytes());
        assert!(small.len() < 150, "{}", small.len());
        assert_eq!(decompress(&small, words.len()).as_deref(), Some(words.as_bytes()));
    }

    #[test]
    fn what_does_not_shrink_leaves_nothing_behind() {
        let mut out = b"before".to_vec();
        assert!(!Compressor::default().compress(b"no piece of it repeats", 18, &mut out));
        assert_eq!(out, b"before");
        assert!(!decompress_onto(b"\x02ab", 3, &mut out));
        // A copy from before the beginning.
        assert!(!decompress_onto(b"\x20\x05", 3, &mut out));
        assert_eq!(out, b"before");
    }

    #[test]
    fn many_texts_wrap_the_positions_around() {
        let mut compressor = Compressor { base: u32::MAX - 1000, ..Compressor::default() };
        for round in 0..100 {
            let text = format!("{round} {round} {round} {round} and {round}");
            let small = compressed(&mut compressor, text.as_bytes());
            assert_eq!(decompress(&small, text.len()).as_deref(), Some(text.as_bytes()));
        }
        assert!(compressor.base < 10_000);
    }

    proptest! {
        #[test]
        fn noise_never_panics(data in prop::collection::vec(any::<u8>(), 0..200), length in 0_usize..5000) {
            if let Some(out) = decompress(&data, length) {
                prop_assert_eq!(out.len(), length);
            }
        }

        #[test]
        fn what_was_compressed_comes_back(
            texts in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..400),
                prop::collection::vec(0_u8..3, 0..20_000),
                ("[a-c]{1,6}", 1_usize..6000).prop_map(|(word, times)| word.repeat(times).into_bytes()),
            ], 1..5),
        ) {
            let mut compressor = Compressor::default();
            for text in texts {
                let small = compressed(&mut compressor, &text);
                prop_assert_eq!(decompress(&small, text.len()), Some(text));
            }
        }
    }
}
