//! LZF, the compression of RDB strings, read.
//!
//! A control byte below 32 is followed by that many literal bytes plus one; any other copies from what has been
//! written: the upper three bits and perhaps a byte more say how much, the rest how far back.

/// Decompresses to exactly `length` bytes; `None` when the data does not give that.
#[must_use]
pub fn decompress(data: &[u8], length: usize) -> Option<Vec<u8>> {
    // A copy takes two bytes at least and gives 264 at most: a larger claim is a lie, and allocates nothing.
    if length > data.len().saturating_mul(264) {
        return None;
    }
    let mut out = Vec::with_capacity(length);
    let mut rest = data;
    while let Some((&control, behind)) = rest.split_first() {
        rest = behind;
        if control < 32 {
            let (literal, behind) = rest.split_at_checked(control as usize + 1)?;
            out.extend_from_slice(literal);
            rest = behind;
        } else {
            let mut count = (control >> 5) as usize;
            if count == 7 {
                let (&more, behind) = rest.split_first()?;
                count += more as usize;
                rest = behind;
            }
            let (&low, behind) = rest.split_first()?;
            rest = behind;
            let back = ((control & 31) as usize) << 8 | low as usize;
            let start = out.len().checked_sub(back + 1)?;
            let end = start + count + 2;
            if end <= out.len() {
                out.extend_from_within(start..end);
            } else {
                // What is copied is still growing, so byte by byte.
                for place in start..end {
                    out.push(*out.get(place)?);
                }
            }
        }
        if out.len() > length {
            return None;
        }
    }
    (out.len() == length).then_some(out)
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

    proptest! {
        #[test]
        fn noise_never_panics(data in prop::collection::vec(any::<u8>(), 0..200), length in 0_usize..5000) {
            if let Some(out) = decompress(&data, length) {
                prop_assert_eq!(out.len(), length);
            }
        }
    }
}
