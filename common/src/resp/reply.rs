//! Finds one reply in a buffer that may end anywhere, and tells sound replies from nonsense.
//!
//! All types of RESP2 and RESP3 but the streamed ones (`$?`, `*?`), which Redis never sends. Nesting is counted,
//! not recursed into. What is checked is what a relay needs to trust the boundary: markers, lengths, counts, the
//! line ends of payloads. A line ends at the first `\r\n`; lone halves of it are content, as for other clients.

use super::header::short_length;
use super::limits::ReplyLimits;

/// Levels kept from one reply to the next.
const LEVELS_KEPT: usize = 128;
/// Bytes of a line that holds a length or a count: a marker, a sign, nineteen digits, the line end.
const LENGTH_LINE_MAX: usize = 32;

/// A reply that no sound server sends, or one beyond the limits. Where the next one begins is unknown, so the
/// connection it came from has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A value does not begin with a marker.
    #[error("reply begins with '{}', which is no type", .0.escape_ascii())]
    UnknownType(u8),
    /// A length or a count that is none.
    #[error("invalid length in a '{}' reply", char::from(*.0))]
    InvalidLength(u8),
    /// A number, a truth value or a null with something else in it.
    #[error("invalid '{}' reply", char::from(*.0))]
    InvalidScalar(u8),
    /// A payload without its line end.
    #[error("bulk reply is not followed by a line end")]
    MissingLineEnd,
    /// A value whose length is told only at its end.
    #[error("streamed replies are not supported")]
    Streamed,
    /// A string above [`ReplyLimits::bulk_max`].
    #[error("bulk reply of {len} bytes is too large")]
    TooLargeBulk {
        /// Its announced length.
        len: u64,
    },
    /// A line above [`ReplyLimits::line_max`].
    #[error("reply line is too long")]
    TooLongLine,
    /// More values than [`ReplyLimits::values_max`].
    #[error("reply has too many values")]
    TooManyValues,
    /// Nesting above [`ReplyLimits::depth_max`].
    #[error("reply is nested too deeply")]
    TooDeep,
}

/// Finds the end of one reply after another; one per connection.
#[derive(Debug, Default)]
pub struct ReplyScanner {
    /// Offset of the value that is being read.
    pos: usize,
    /// No line end begins before this offset.
    searched: usize,
    /// Values still to come in the innermost aggregate; one before a reply begins.
    remaining: usize,
    /// The same of the aggregates around it.
    levels: Vec<usize>,
    /// Values announced by the aggregates so far.
    announced: usize,
    /// Bytes missing from the payload when the last call ran out.
    missing: usize,
    inside: bool,
}

/// One value as far as the scanner is concerned.
enum Step {
    Incomplete,
    /// A value that ends at this offset.
    Scalar(usize),
    /// So many values follow from this offset on, and they are one value.
    Aggregate(usize, usize),
    /// So many values follow from this offset on, and none of them counts.
    Attribute(usize, usize),
}

impl ReplyScanner {
    /// A scanner at the start of a reply. It owns no memory before the first nested one.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            pos: 0,
            searched: 0,
            remaining: 0,
            levels: Vec::new(),
            announced: 0,
            missing: 0,
            inside: false,
        }
    }

    /// Looks for the end of the reply that begins at the first byte of `buf`.
    ///
    /// `Some(n)`: it is complete in `n` bytes; the next call begins another. `None`: it is not complete; call
    /// again with the same bytes and more behind them. Attributes belong to the reply that follows them.
    ///
    /// # Errors
    /// When `buf` does not hold a reply or it passes `limits`. The scanner is of no use after that.
    #[inline]
    pub fn scan(&mut self, buf: &[u8], limits: &ReplyLimits) -> Result<Option<usize>, ReplyError> {
        if !self.inside {
            // Most replies are one short string, integer or status; they need no state.
            if let Some(end) = short_value(buf, 0, limits) {
                return Ok(Some(end));
            }
            if buf.is_empty() {
                return Ok(None);
            }
            self.begin();
        }
        self.scan_values(buf, limits)
    }

    /// Bytes that the string at hand still lacks, its line end included, when its length is known. The number
    /// is the server's claim, within [`ReplyLimits::bulk_max`].
    #[must_use]
    pub fn wanted(&self) -> Option<usize> {
        (self.inside && self.missing > 0).then_some(self.missing)
    }

    /// Whether a reply has begun and is not complete.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.inside
    }

    fn begin(&mut self) {
        self.inside = true;
        self.pos = 0;
        self.searched = 0;
        self.remaining = 1;
        self.announced = 0;
        self.missing = 0;
        self.levels.clear();
        self.levels.shrink_to(LEVELS_KEPT);
    }

    fn scan_values(
        &mut self,
        buf: &[u8],
        limits: &ReplyLimits,
    ) -> Result<Option<usize>, ReplyError> {
        self.missing = 0;
        loop {
            while self.remaining == 0 {
                match self.levels.pop() {
                    Some(outer) => self.remaining = outer,
                    None => {
                        self.inside = false;
                        return Ok(Some(self.pos));
                    }
                }
            }
            if let Some(end) = short_value(buf, self.pos, limits) {
                self.pos = end;
                self.remaining -= 1;
                continue;
            }
            match self.value(buf, limits)? {
                Step::Incomplete => return Ok(None),
                Step::Scalar(end) => {
                    self.pos = end;
                    self.remaining -= 1;
                }
                Step::Aggregate(count, next) => {
                    self.remaining -= 1;
                    self.descend(count, next, limits)?;
                }
                Step::Attribute(count, next) => self.descend(count, next, limits)?,
            }
        }
    }

    fn descend(
        &mut self,
        count: usize,
        next: usize,
        limits: &ReplyLimits,
    ) -> Result<(), ReplyError> {
        self.pos = next;
        if self.levels.len() >= limits.depth_max {
            return Err(ReplyError::TooDeep);
        }
        self.announced = self.announced.saturating_add(count);
        if self.announced > limits.values_max {
            return Err(ReplyError::TooManyValues);
        }
        self.levels.push(self.remaining);
        self.remaining = count;
        Ok(())
    }

    /// Reads the value at `pos`, or the head of it.
    fn value(&mut self, buf: &[u8], limits: &ReplyLimits) -> Result<Step, ReplyError> {
        let Some(&marker) = buf.get(self.pos) else { return Ok(Step::Incomplete) };
        match marker {
            b'+' | b'-' | b':' | b',' | b'(' | b'#' | b'_' => self.line_value(buf, marker, limits),
            b'$' | b'!' | b'=' => self.bulk(buf, marker, limits),
            b'*' | b'~' | b'>' => self.aggregate(buf, marker, 1),
            b'%' | b'|' => self.aggregate(buf, marker, 2),
            other => Err(ReplyError::UnknownType(other)),
        }
    }

    fn line_value(
        &mut self,
        buf: &[u8],
        marker: u8,
        limits: &ReplyLimits,
    ) -> Result<Step, ReplyError> {
        let Some(end) = self.line_end(buf, limits.line_max)? else { return Ok(Step::Incomplete) };
        let content = &buf[self.pos + 1..end];
        let sound = match marker {
            b':' => std::str::from_utf8(content).is_ok_and(|digits| digits.parse::<i64>().is_ok()),
            b'(' => is_integer(content),
            b',' => is_double(content),
            b'#' => matches!(content, b"t" | b"f"),
            b'_' => content.is_empty(),
            _ => true,
        };
        if sound { Ok(Step::Scalar(end + 2)) } else { Err(ReplyError::InvalidScalar(marker)) }
    }

    fn bulk(&mut self, buf: &[u8], marker: u8, limits: &ReplyLimits) -> Result<Step, ReplyError> {
        let (len, next) = match self.length(buf, marker)? {
            Length::Incomplete => return Ok(Step::Incomplete),
            Length::Null(next) if marker == b'$' => return Ok(Step::Scalar(next)),
            Length::Null(_) => return Err(ReplyError::InvalidLength(marker)),
            Length::Of(len, next) => (len, next),
        };
        let len = usize::try_from(len)
            .ok()
            .filter(|&len| len <= limits.bulk_max)
            .ok_or(ReplyError::TooLargeBulk { len })?;
        let end = next.saturating_add(len);
        if marker == b'=' {
            if len < 4 {
                return Err(ReplyError::InvalidLength(marker));
            }
            if buf.get(next + 3).is_some_and(|&byte| byte != b':') {
                return Err(ReplyError::InvalidScalar(marker));
            }
        }
        match buf.get(end..).unwrap_or_default() {
            [b'\r', b'\n', ..] => Ok(Step::Scalar(end + 2)),
            [] | [b'\r'] => {
                self.missing = end.saturating_add(2) - buf.len();
                Ok(Step::Incomplete)
            }
            _ => Err(ReplyError::MissingLineEnd),
        }
    }

    fn aggregate(&mut self, buf: &[u8], marker: u8, values_each: u64) -> Result<Step, ReplyError> {
        let (count, next) = match self.length(buf, marker)? {
            Length::Incomplete => return Ok(Step::Incomplete),
            Length::Null(next) if marker == b'*' => return Ok(Step::Scalar(next)),
            Length::Null(_) => return Err(ReplyError::InvalidLength(marker)),
            Length::Of(count, next) => (count, next),
        };
        let count = count
            .checked_mul(values_each)
            .and_then(|count| usize::try_from(count).ok())
            .ok_or(ReplyError::TooManyValues)?;
        Ok(if marker == b'|' { Step::Attribute(count, next) } else { Step::Aggregate(count, next) })
    }

    fn length(&mut self, buf: &[u8], marker: u8) -> Result<Length, ReplyError> {
        if let Some((len, next)) = short_length(buf, self.pos) {
            return Ok(Length::Of(len as u64, next));
        }
        let end = match self.line_end(buf, LENGTH_LINE_MAX) {
            Ok(Some(end)) => end,
            Ok(None) => return Ok(Length::Incomplete),
            Err(_) => return Err(ReplyError::InvalidLength(marker)),
        };
        let digits = &buf[self.pos + 1..end];
        if digits == b"-1" {
            return Ok(Length::Null(end + 2));
        }
        if digits == b"?" {
            return Err(ReplyError::Streamed);
        }
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(ReplyError::InvalidLength(marker));
        }
        let len = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        len.map(|len| Length::Of(len, end + 2)).ok_or(ReplyError::InvalidLength(marker))
    }

    /// The offset of the `\r\n` that ends the line at `pos`.
    fn line_end(&mut self, buf: &[u8], line_max: usize) -> Result<Option<usize>, ReplyError> {
        let mut from = self.searched.max(self.pos);
        while let Some(found) = memchr::memchr(b'\r', &buf[from..]) {
            let at = from + found;
            match buf.get(at + 1) {
                Some(b'\n') if at - self.pos <= line_max => return Ok(Some(at)),
                Some(b'\n') => return Err(ReplyError::TooLongLine),
                Some(_) => from = at + 1,
                None => {
                    self.searched = at;
                    return if at - self.pos > line_max {
                        Err(ReplyError::TooLongLine)
                    } else {
                        Ok(None)
                    };
                }
            }
        }
        self.searched = buf.len();
        if buf.len() - self.pos > line_max { Err(ReplyError::TooLongLine) } else { Ok(None) }
    }
}

enum Length {
    Incomplete,
    /// `-1`, and the offset after the line.
    Null(usize),
    /// The number, and the offset after the line.
    Of(u64, usize),
}

/// The end of the value at `pos`, if it is whole, flat, small and of a common type. `None` means "look closer".
#[inline]
fn short_value(buf: &[u8], pos: usize, limits: &ReplyLimits) -> Option<usize> {
    match buf.get(pos)? {
        b'$' => match short_length(buf, pos) {
            Some((len, next)) => {
                let end = next + len;
                (len <= limits.bulk_max && buf.get(end..end + 2)? == b"\r\n").then_some(end + 2)
            }
            None => (buf.get(pos..pos + 5)? == b"$-1\r\n").then_some(pos + 5),
        },
        b':' => short_length(buf, pos).map(|(_, next)| next),
        b'+' => (buf.get(pos..pos + 5)? == b"+OK\r\n").then_some(pos + 5),
        _ => None,
    }
}

fn is_integer(content: &[u8]) -> bool {
    let digits = content.strip_prefix(b"-").or(content.strip_prefix(b"+")).unwrap_or(content);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

fn is_double(content: &[u8]) -> bool {
    let text = std::str::from_utf8(content).unwrap_or_default();
    // Redis 7.0 may print a negative NaN, which Rust does not read.
    text.parse::<f64>().is_ok() || text == "-nan"
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
