//! A file as C's standard library reads it: by lines of a limited length and by counted bytes, with a position and an
//! end that is noticed once it has been reached for.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};

const BUFFER_BYTES: usize = 256 * 1024;
/// Bytes at the beginning of a counted piece that are kept.
const FIRST_KEPT: usize = 8;

/// Bytes that were counted, of which little is kept.
#[derive(Debug, Default)]
pub(super) struct Payload {
    /// How many there were.
    pub bytes: u64,
    /// The first of them.
    pub first: Vec<u8>,
    /// The last two.
    pub last: [u8; 2],
}

/// A file that is read.
#[derive(Debug)]
pub(super) struct Input {
    reader: BufReader<File>,
    position: u64,
    is_at_end: bool,
    has_failed: bool,
}

impl Input {
    /// Reads from `start` on.
    pub fn new(mut file: File, start: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(start))?;
        let reader = BufReader::with_capacity(BUFFER_BYTES, file);
        Ok(Self { reader, position: start, is_at_end: false, has_failed: false })
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether something was to be read behind the end.
    pub fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    pub fn file(&self) -> &File {
        self.reader.get_ref()
    }

    pub fn into_file(self) -> File {
        self.reader.into_inner()
    }

    /// The next byte, which stays.
    pub fn peek(&mut self) -> Option<u8> {
        self.available().first().copied()
    }

    /// The rest of the line with its end, but at most `max` bytes; nothing at the end of the file.
    pub fn line(&mut self, max: usize) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        while line.len() < max {
            let available = self.available();
            let within = &available[..available.len().min(max - line.len())];
            let newline = within.iter().position(|&byte| byte == b'\n');
            let taken = newline.map_or(within.len(), |end| end + 1);
            line.extend_from_slice(&within[..taken]);
            self.consume(taken);
            if newline.is_some() || taken == 0 {
                break;
            }
        }
        (!line.is_empty()).then_some(line)
    }

    /// The next `count` bytes, or as many as there are.
    pub fn payload(&mut self, count: u64) -> Payload {
        let mut payload = Payload::default();
        while payload.bytes < count {
            let wanted = usize::try_from(count - payload.bytes).unwrap_or(usize::MAX);
            let available = self.available();
            let within = &available[..available.len().min(wanted)];
            if within.is_empty() {
                break;
            }
            let kept = within.len().min(FIRST_KEPT.saturating_sub(payload.first.len()));
            payload.first.extend_from_slice(&within[..kept]);
            for &byte in &within[within.len().saturating_sub(2)..] {
                payload.last = [payload.last[1], byte];
            }
            let taken = within.len();
            payload.bytes += taken as u64;
            self.consume(taken);
        }
        payload
    }

    fn available(&mut self) -> &[u8] {
        if self.has_failed {
            return &[];
        }
        // Asked twice, since what is returned cannot be kept over the look at it.
        match self.reader.fill_buf() {
            Ok([]) => self.is_at_end = true,
            Ok(_) => {}
            Err(_) => self.has_failed = true,
        }
        self.reader.buffer()
    }

    fn consume(&mut self, bytes: usize) {
        self.reader.consume(bytes);
        self.position += bytes as u64;
    }
}

/// C's `strtol`: the number that the text begins with, how many bytes it takes, and whether it is in range. Without
/// digits it is 0 and takes none.
pub(super) fn leading_long(text: &[u8]) -> (i64, usize, bool) {
    let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let mut at = text.iter().take_while(is_blank).count();
    let is_negative = text.get(at) == Some(&b'-');
    if matches!(text.get(at), Some(b'-' | b'+')) {
        at += 1;
    }
    let digits = text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return (0, 0, true);
    }
    let value = text[at..at + digits].iter().try_fold(0_i64, |value, byte| {
        let digit = i64::from(byte - b'0');
        let value = value.checked_mul(10)?;
        if is_negative { value.checked_sub(digit) } else { value.checked_add(digit) }
    });
    let edge = if is_negative { i64::MIN } else { i64::MAX };
    (value.unwrap_or(edge), at + digits, value.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_c_reads_them() {
        for (text, found) in [
            ("12\r\n", (12, 2, true)),
            (" -7x", (-7, 3, true)),
            ("+", (0, 0, true)),
            ("", (0, 0, true)),
            ("-9223372036854775808", (i64::MIN, 20, true)),
            ("9223372036854775808", (i64::MAX, 19, false)),
        ] {
            assert_eq!(leading_long(text.as_bytes()), found, "{text:?}");
        }
    }
}
