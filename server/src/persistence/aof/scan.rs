//! Finds one command after another in the bytes of a log file, which may end anywhere.
//!
//! A file is written by a server, so only the form that servers write is taken: `*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n`, and
//! lines that begin with `#`. What could still become that with more bytes is "incomplete", all else is damage: at the
//! end of a file the first may be cut off, the second never, since whole commands may stand behind it. (Redis reads the
//! numbers as C's `atoi` and does not look at the ends of arguments; its redis-check-aof does, as is done here.)

use redstart_common::resp::{Args, Span};

/// Bytes of an annotation's line, its end included.
const ANNOTATION_MAX: usize = 1023;
/// A command must end within what a [`Span`] can express.
const COMMAND_MAX: usize = u32::MAX as usize;
/// Spans kept from one command to the next; a command with more gives its memory back.
const SPANS_KEPT: usize = 4096;

/// What stands at the beginning of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A command of so many bytes; [`Scanner::args`] gives its arguments.
    Command(usize),
    /// A remark of so many bytes: `#TS:` with the time in seconds since 1970, or one that is not known.
    Annotation(usize, Option<i64>),
    /// Nothing whole yet: call again with the same bytes and more behind them.
    Incomplete,
}

/// Bytes that no server writes. Holds how far behind the command's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// Neither a command nor a remark.
    #[error("expected '*' or '#', got '{}'", .1.escape_ascii())]
    NotACommand(usize, u8),
    /// An argument that does not begin with `$`.
    #[error("expected '$', got '{}'", .1.escape_ascii())]
    ExpectedDollar(usize, u8),
    /// A count or length that is none.
    #[error("invalid number of arguments or bytes")]
    InvalidNumber(usize),
    /// An argument that does not end where its length says.
    #[error("expected the end of a line")]
    ExpectedLineEnd(usize),
    /// A command of 4 GiB or more.
    #[error("a command of 4 GiB or more")]
    TooLarge(usize),
    /// A remark without an end.
    #[error("too long annotation")]
    LongAnnotation(usize),
}

impl ScanError {
    /// Bytes from the beginning of the command to where it goes wrong.
    #[must_use]
    pub fn offset(&self) -> usize {
        match *self {
            Self::NotACommand(at, _)
            | Self::ExpectedDollar(at, _)
            | Self::InvalidNumber(at)
            | Self::ExpectedLineEnd(at)
            | Self::TooLarge(at)
            | Self::LongAnnotation(at) => at,
        }
    }
}

/// The scanner of one file. It remembers how far it came in a command, so that no byte is read twice.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Offset of what is next.
    pos: usize,
    /// Arguments still to come; `None` before the count is known.
    remaining: Option<usize>,
    /// Length of the argument at `pos`, once known.
    payload: Option<usize>,
    spans: Vec<Span>,
}

impl Scanner {
    /// Looks at the command or remark that begins at the first byte of `buf`.
    ///
    /// # Errors
    /// What no server writes. The scanner is of no use after that.
    pub fn scan(&mut self, buf: &[u8]) -> Result<Found, ScanError> {
        let mut remaining = match self.remaining {
            Some(remaining) => remaining,
            None => match buf.first() {
                None => return Ok(Found::Incomplete),
                Some(b'#') => return annotation(buf),
                Some(b'*') => match number(buf, 0)? {
                    None => return Ok(Found::Incomplete),
                    Some((0, _)) => return Err(ScanError::InvalidNumber(0)),
                    Some((count, next)) => {
                        self.begin(next);
                        count
                    }
                },
                Some(&other) => return Err(ScanError::NotACommand(0, other)),
            },
        };
        while remaining > 0 {
            self.remaining = Some(remaining);
            if !self.argument(buf)? {
                return Ok(Found::Incomplete);
            }
            remaining -= 1;
        }
        self.remaining = None;
        Ok(Found::Command(self.pos))
    }

    /// The arguments of the command that was found in `buf`.
    #[must_use]
    pub fn args<'a>(&'a self, buf: &'a [u8]) -> Args<'a> {
        Args::new(buf, &self.spans)
    }

    /// Bytes that a command must have at least, from its beginning, when more of it has been seen than its start.
    #[must_use]
    pub fn needed(&self) -> Option<usize> {
        self.payload.map(|length| self.pos + length + 2)
    }

    fn begin(&mut self, next: usize) {
        self.pos = next;
        self.payload = None;
        self.spans.clear();
        if self.spans.capacity() > SPANS_KEPT {
            self.spans.shrink_to(SPANS_KEPT);
        }
    }

    /// Takes the argument at `pos`; false when it is not all there.
    fn argument(&mut self, buf: &[u8]) -> Result<bool, ScanError> {
        let length = match self.payload {
            Some(length) => length,
            None => match buf.get(self.pos) {
                None => return Ok(false),
                Some(b'$') => match number(buf, self.pos)? {
                    None => return Ok(false),
                    Some((length, next)) => {
                        self.pos = next;
                        length
                    }
                },
                Some(&other) => return Err(ScanError::ExpectedDollar(self.pos, other)),
            },
        };
        self.payload = Some(length);
        let end = self.pos + length;
        if end + 2 > COMMAND_MAX {
            return Err(ScanError::TooLarge(self.pos));
        }
        match buf.get(end..) {
            Some([b'\r', b'\n', ..]) => {}
            None | Some([] | [b'\r']) => return Ok(false),
            Some(_) => return Err(ScanError::ExpectedLineEnd(end)),
        }
        self.spans.push(Span { start: self.pos as u32, end: end as u32 });
        self.pos = end + 2;
        self.payload = None;
        Ok(true)
    }
}

/// The number behind the marker at `at`, at most 4 GiB, and the offset after its line; nothing when the line is not all
/// there.
fn number(buf: &[u8], at: usize) -> Result<Option<(usize, usize)>, ScanError> {
    let mut value = 0_usize;
    let mut pos = at + 1;
    loop {
        match buf.get(pos) {
            None => return Ok(None),
            Some(digit @ b'0'..=b'9') => {
                value = value * 10 + usize::from(digit - b'0');
                if value > COMMAND_MAX {
                    return Err(ScanError::TooLarge(at));
                }
            }
            Some(b'\r') if pos > at + 1 => break,
            Some(_) => return Err(ScanError::InvalidNumber(at)),
        }
        pos += 1;
    }
    match buf.get(pos + 1) {
        None => Ok(None),
        Some(b'\n') => Ok(Some((value, pos + 2))),
        Some(_) => Err(ScanError::ExpectedLineEnd(pos)),
    }
}

fn annotation(buf: &[u8]) -> Result<Found, ScanError> {
    let within = &buf[..buf.len().min(ANNOTATION_MAX)];
    match memchr::memchr(b'\n', within) {
        Some(end) => {
            let digits = buf[..end].strip_prefix(b"#TS:").and_then(|rest| rest.strip_suffix(b"\r"));
            Ok(Found::Annotation(end + 1, digits.and_then(redstart_common::number::parse_i64)))
        }
        None if within.len() == ANNOTATION_MAX => Err(ScanError::LongAnnotation(0)),
        None => Ok(Found::Incomplete),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(args: &[Vec<u8>]) -> Vec<u8> {
        let mut out = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            out.extend_from_slice(arg);
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    fn scan(bytes: &[u8]) -> Result<Found, ScanError> {
        Scanner::default().scan(bytes)
    }

    #[test]
    fn commands_and_remarks() {
        let mut scanner = Scanner::default();
        let bytes = b"*2\r\n$3\r\nDEL\r\n$0\r\n\r\n*1\r\n";
        assert_eq!(scanner.scan(bytes), Ok(Found::Command(19)));
        let args: Vec<_> = scanner.args(bytes).iter().collect();
        assert_eq!(args, [&b"DEL"[..], b""]);
        assert_eq!(scan(b"#TS:1628217470\r\n*"), Ok(Found::Annotation(16, Some(1_628_217_470))));
        assert_eq!(scan(b"# other\n"), Ok(Found::Annotation(8, None)));
        assert_eq!(scan(b"#TS:1628"), Ok(Found::Incomplete));
    }

    #[test]
    fn damage_is_told_from_a_cut() {
        for (bytes, error) in [
            (&b"PING\r\n"[..], ScanError::NotACommand(0, b'P')),
            (b"\0\0\0", ScanError::NotACommand(0, 0)),
            (b"*0\r\n", ScanError::InvalidNumber(0)),
            (b"*-1\r\n", ScanError::InvalidNumber(0)),
            (b"*\r\n", ScanError::InvalidNumber(0)),
            (b"*1x", ScanError::InvalidNumber(0)),
            (b"*1\r\r", ScanError::ExpectedLineEnd(2)),
            (b"*1\r\n*", ScanError::ExpectedDollar(4, b'*')),
            (b"*1\r\n$-1\r\n", ScanError::InvalidNumber(4)),
            (b"*1\r\n$\0", ScanError::InvalidNumber(4)),
            (b"*1\r\n$1\r\nabc", ScanError::ExpectedLineEnd(9)),
            (b"*1\r\n$1\r\na\rx", ScanError::ExpectedLineEnd(9)),
            (b"*1\r\n$99999999999", ScanError::TooLarge(4)),
            (b"*1\r\n$4294967295\r\n", ScanError::TooLarge(17)),
        ] {
            assert_eq!(scan(bytes), Err(error), "{}", bytes.escape_ascii());
        }
        assert_eq!(scan(&[b'#'; 1023]), Err(ScanError::LongAnnotation(0)));
        assert_eq!(scan(&[b'#'; 1022]), Ok(Found::Incomplete));
    }

    #[test]
    fn a_claim_takes_no_memory() {
        let mut scanner = Scanner::default();
        assert_eq!(scanner.scan(b"*4000000000\r\n$5\r\nab"), Ok(Found::Incomplete));
        assert!(scanner.spans.capacity() < 10);
        assert_eq!(scanner.needed(), Some(17 + 5 + 2));
    }

    proptest! {
        #[test]
        fn read_in_pieces_as_in_one(
            args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6),
            step in 1_usize..40,
        ) {
            let bytes = encode(&args);
            let mut scanner = Scanner::default();
            for end in (0..bytes.len()).step_by(step) {
                prop_assert_eq!(scanner.scan(&bytes[..end]), Ok(Found::Incomplete));
            }
            prop_assert_eq!(scanner.scan(&bytes), Ok(Found::Command(bytes.len())));
            let found: Vec<_> = scanner.args(&bytes).iter().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(found, args);
        }

        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut scanner = Scanner::default();
            for end in 0..bytes.len() {
                match scanner.scan(&bytes[..end]) {
                    Ok(Found::Incomplete) => {}
                    _ => break,
                }
            }
        }
    }
}
