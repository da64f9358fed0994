//! The ziplist, which listpacks have replaced: read only, from files and payloads of older servers.
//!
//! ```text
//!   total bytes: u32 │ tail offset: u32 │ entries: u16 │ entry … │ 0xff     entry: previous length │ encoding │ data
//! ```

/// One entry.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A string.
    Bytes(&'a [u8]),
    /// An integer.
    Int(i64),
}

/// Bytes before the first entry.
const HEADER: usize = 10;
/// What ends a ziplist.
const END: u8 = 0xff;
/// What says that the length of the entry before stands in four bytes more.
const LONG_BEFORE: u8 = 0xfe;

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(head)
}

/// Calls `visit` with each entry of a ziplist; `None` when it is damaged or as soon as `visit` answers `None`.
pub fn for_each<'a>(bytes: &'a [u8], mut visit: impl FnMut(Entry<'a>) -> Option<()>) -> Option<()> {
    let total = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    if total != bytes.len() || total <= HEADER || bytes[total - 1] != END {
        return None;
    }
    let tail = u32::from_le_bytes(bytes[4..8].try_into().ok()?) as usize;
    let count = u16::from_le_bytes([bytes[8], bytes[9]]);
    let mut rest = &bytes[HEADER..total - 1];
    let (mut seen, mut last) = (0, total - 1);
    let mut before = 0;
    while !rest.is_empty() {
        let begin = rest.len();
        let said = match take(&mut rest, 1)?[0] {
            LONG_BEFORE => u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?) as usize,
            END => return None,
            short => short as usize,
        };
        if said != before {
            return None;
        }
        visit(entry(&mut rest)?)?;
        before = begin - rest.len();
        last = total - 1 - begin;
        seen += 1;
    }
    let ends_well = seen == 0 || last == tail;
    (ends_well && (count == u16::MAX || count as usize == seen)).then_some(())
}

fn entry<'a>(rest: &mut &'a [u8]) -> Option<Entry<'a>> {
    let first = take(rest, 1)?[0];
    let signed = |bytes: &[u8]| {
        let mut full = [0; 8];
        full[8 - bytes.len()..].copy_from_slice(bytes);
        i64::from_le_bytes(full) >> (64 - 8 * bytes.len())
    };
    Some(match first >> 6 {
        0 => Entry::Bytes(take(rest, (first & 63) as usize)?),
        1 => {
            let low = take(rest, 1)?[0];
            Entry::Bytes(take(rest, ((first & 63) as usize) << 8 | low as usize)?)
        }
        2 => {
            let length = u32::from_be_bytes(take(rest, 4)?.try_into().ok()?);
            Entry::Bytes(take(rest, length as usize)?)
        }
        _ => match first {
            0xc0 => Entry::Int(signed(take(rest, 2)?)),
            0xd0 => Entry::Int(signed(take(rest, 4)?)),
            0xe0 => Entry::Int(signed(take(rest, 8)?)),
            0xf0 => Entry::Int(signed(take(rest, 3)?)),
            0xfe => Entry::Int(signed(take(rest, 1)?)),
            0xf1..=0xfd => Entry::Int(i64::from(first & 15) - 1),
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries(bytes: &[u8]) -> Option<Vec<Entry<'_>>> {
        let mut found = Vec::new();
        for_each(bytes, |entry| {
            found.push(entry);
            Some(())
        })?;
        Some(found)
    }

    /// "a", 5 and "bc".
    const WHOLE: &[u8] = b"\x14\0\0\0\x0f\0\0\0\x03\0\x00\x01a\x03\xf6\x02\x02bc\xff";

    #[test]
    fn entries_are_read() {
        let found = entries(WHOLE).expect("whole");
        assert_eq!(found, [Entry::Bytes(b"a"), Entry::Int(5), Entry::Bytes(b"bc")]);
        assert_eq!(entries(b"\x0b\0\0\0\x0a\0\0\0\0\0\xff"), Some(Vec::new()));
    }

    #[test]
    fn damage_anywhere_is_seen() {
        // What is no text: lengths, the way to the last entry, the count, the end.
        for at in (0..WHOLE.len()).filter(|at| ![12, 14, 17, 18].contains(at)) {
            let mut bytes = WHOLE.to_vec();
            bytes[at] ^= 0x10;
            assert_eq!(entries(&bytes), None, "byte {at}");
        }
        for length in 0..WHOLE.len() {
            assert_eq!(entries(&WHOLE[..length]), None, "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut whole = (bytes.len() as u32 + 11).to_le_bytes().to_vec();
            whole.extend_from_slice(&[10, 0, 0, 0, 255, 255]);
            whole.extend_from_slice(&bytes);
            whole.push(END);
            let _ = entries(&whole);
        }
    }
}
