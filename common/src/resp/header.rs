//! The lines that announce a length or a count, which both scanners meet at every step.

/// Reads `<marker>digits\r\n` at `pos`: the number and the offset after the line.
///
/// This is the common case only, and cheap: no sign, no leading zero, at most nine digits, the whole line
/// present. `None` means "look closer", not "wrong".
#[inline]
pub(super) fn short_length(buf: &[u8], pos: usize) -> Option<(usize, usize)> {
    // Up to three digits, which is nearly all there is.
    if let Some(&[first, second, third, fourth, fifth]) = buf.get(pos + 1..pos + 6) {
        let digit = |byte: u8| usize::from(byte.wrapping_sub(b'0'));
        let (one, two, three) = (digit(first), digit(second), digit(third));
        if one <= 9 && second == b'\r' && third == b'\n' {
            return Some((one, pos + 4));
        }
        if one.wrapping_sub(1) <= 8 && two <= 9 {
            if third == b'\r' && fourth == b'\n' {
                return Some((one * 10 + two, pos + 5));
            }
            if three <= 9 && fourth == b'\r' && fifth == b'\n' {
                return Some((one * 100 + two * 10 + three, pos + 6));
            }
        }
    }
    any_length(buf, pos)
}

fn any_length(buf: &[u8], pos: usize) -> Option<(usize, usize)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_way_answers_as_the_long_one() {
        let ends = [&b"\r\n"[..], b"\r\nrest", b"\r", b"", b"\n", b"x\r\n", b"\r\r\n"];
        let numbers = [
            "", "0", "7", "9", "00", "01", "10", "42", "99", "099", "100", "999", "1000", "12:",
            "-1", "+3", ":", "/5", "5/",
        ];
        for number in numbers {
            for end in ends {
                let mut line = b"??$".to_vec();
                line.extend_from_slice(number.as_bytes());
                line.extend_from_slice(end);
                let shown = line.escape_ascii();
                assert_eq!(short_length(&line, 2), any_length(&line, 2), "{shown}");
            }
        }
        assert_eq!(short_length(b"$42\r\n", 0), Some((42, 5)));
        assert_eq!(short_length(b"$4\r\n", 0), Some((4, 4)));
        assert_eq!(short_length(b"$512000\r\n", 0), Some((512_000, 9)));
        assert_eq!(short_length(b"$", 9), None);
    }
}
