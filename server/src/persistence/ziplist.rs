//! The ziplist, which listpacks have replaced: read only, from payloads of older servers.
//!
//! ```text
//!   total bytes: u32 │ tail offset: u32 │ entries: u16 │ entry … │ 0xff     entry: previous length │ encoding │ data
//! ```

/// One entry.
pub enum Entry<'a> {
    /// A string.
    Bytes(&'a [u8]),
    /// An integer.
    Int(i64),
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(head)
}

/// All entries of a ziplist; `None` when it is damaged.
pub fn entries(bytes: &[u8]) -> Option<Vec<Entry<'_>>> {
    let total = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    if total != bytes.len() || total < 11 || bytes[total - 1] != 0xff {
        return None;
    }
    let count = u16::from_le_bytes([bytes[8], bytes[9]]);
    let mut rest = &bytes[10..total - 1];
    let mut found = Vec::new();
    while !rest.is_empty() {
        if take(&mut rest, 1)?[0] >= 254 {
            take(&mut rest, 4)?;
        }
        let first = take(&mut rest, 1)?[0];
        let signed = |bytes: &[u8]| {
            let mut full = [0; 8];
            full[8 - bytes.len()..].copy_from_slice(bytes);
            i64::from_le_bytes(full) >> (64 - 8 * bytes.len())
        };
        found.push(match first >> 6 {
            0 => Entry::Bytes(take(&mut rest, (first & 63) as usize)?),
            1 => {
                let low = take(&mut rest, 1)?[0];
                Entry::Bytes(take(&mut rest, ((first & 63) as usize) << 8 | low as usize)?)
            }
            2 => {
                let length = u32::from_be_bytes(take(&mut rest, 4)?.try_into().ok()?);
                Entry::Bytes(take(&mut rest, length as usize)?)
            }
            _ => match first {
                0xc0 => Entry::Int(signed(take(&mut rest, 2)?)),
                0xd0 => Entry::Int(signed(take(&mut rest, 4)?)),
                0xe0 => Entry::Int(signed(take(&mut rest, 8)?)),
                0xf0 => Entry::Int(signed(take(&mut rest, 3)?)),
                0xfe => Entry::Int(signed(take(&mut rest, 1)?)),
                0xf1..=0xfd => Entry::Int(i64::from(first & 15) - 1),
                _ => return None,
            },
        });
    }
    (count == u16::MAX || count as usize == found.len()).then_some(found)
}
