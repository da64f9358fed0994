//! The zipmap, the packed hash of Redis 2.4 and before: read only.
//!
//! ```text
//!   pairs: u8 │ length, field │ length, unused: u8, value, unused bytes │ … │ 0xff     length: u8, or 0xfe and a u32
//! ```

/// What ends a zipmap.
const END: u8 = 0xff;
/// Pairs from which on the first byte does not say how many there are.
const UNCOUNTED: u8 = 0xfe;

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(head)
}

fn length(bytes: &mut &[u8]) -> Option<usize> {
    match take(bytes, 1)?[0] {
        0xfe => Some(u32::from_le_bytes(take(bytes, 4)?.try_into().ok()?) as usize),
        END => None,
        short => Some(short as usize),
    }
}

/// All fields with their values; `None` when the zipmap is damaged or empty.
pub fn pairs(bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let (&count, rest) = bytes.split_first()?;
    let (&end, mut rest) = rest.split_last()?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let size = length(&mut rest)?;
        let field = take(&mut rest, size)?;
        let size = length(&mut rest)?;
        let unused = take(&mut rest, 1)?[0] as usize;
        let value = take(&mut rest, size)?;
        take(&mut rest, unused)?;
        found.push((field, value));
    }
    let is_counted = count >= UNCOUNTED || count as usize == found.len();
    (end == END && is_counted && !found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_are_read_and_damage_is_seen() {
        let whole = b"\x02\x03foo\x03\x00bar\x05hello\x05\x02world..\xff";
        let found: &[(&[u8], &[u8])] = &[(b"foo", b"bar"), (b"hello", b"world")];
        assert_eq!(pairs(whole).as_deref(), Some(found));
        let damaged: [&[u8]; 6] = [
            b"",
            b"\x00\xff",
            b"\x01\x03foo\x03\x00bar\x05hello\x05\x02world..\xff",
            b"\x01\x03foo\xff",
            b"\x01\x09foo\x03\x00bar\xff",
            b"\x01\x03foo\x03\x00bar",
        ];
        for bytes in damaged {
            assert_eq!(pairs(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(prop_oneof![0_u8..6, any::<u8>()], 0..60)) {
            let _ = pairs(&bytes);
        }
    }
}
