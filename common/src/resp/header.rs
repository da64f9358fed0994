//! The lines that announce a length or a count, which both scanners meet at every step.

/// Reads `<marker>digits\r\n` at `pos`: the number and the offset after the line.
///
/// This is the common case only, and cheap: no sign, no leading zero, at most nine digits, the whole line
/// present. `None` means "look closer", not "wrong".
#[inline]
pub(super) fn short_length(buf: &[u8], pos: usize) -> Option<(usize, usize)> {
    let line = buf.get(pos + 1..)?;
    let (&first, rest) = line.split_first()?;
    let mut value = usize::from(first.wrapping_sub(b'0'));
    if value > 9 {
        return None;
    }
    let mut digits = 1;
    for &byte in rest.iter().take(9) {
        let digit = usize::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            break;
        }
        value = value * 10 + digit;
        digits += 1;
    }
    let ends = line.get(digits..digits + 2)? == b"\r\n";
    let plain = digits == 1 || first != b'0';
    (ends && plain && digits <= 9).then_some((value, pos + 1 + digits + 2))
}
