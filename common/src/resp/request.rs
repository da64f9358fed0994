//! Finds one request in a buffer that may end anywhere.
//!
//! Two shapes: `*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`, where lengths come first, and a bare line of words (see
//! `inline`). The scanner remembers how far it came, so a request that arrives in a thousand reads is still
//! read once. It accepts and refuses exactly what Redis 7.0.15 does, also where that is lenient: the two bytes
//! after a payload are skipped unseen, and a NUL in a line that should hold a length hides the line's end.

use std::borrow::Cow;

use super::args::{Args, Span};
use super::header::short_length;
use super::inline::{self, Words};
use super::limits::{Limits, UNAUTHENTICATED_ARGS_MAX, UNAUTHENTICATED_BULK_MAX};
use crate::number::parse_i64;

/// Spans kept from one request to the next; a request with more gives its memory back.
const SPANS_KEPT: usize = 1024;
/// Unquoting space kept from one inline request to the next, in bytes.
const SCRATCH_KEPT: usize = 1024;
/// The end of a request must be expressible in a [`Span`].
const REQUEST_BYTES_MAX: usize = u32::MAX as usize;

/// A request that breaks the protocol. The client gets [`wire`](Self::wire) and is disconnected, since nobody
/// knows where its next request begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// `*` with something that is no count, or too large a count.
    #[error("Protocol error: invalid multibulk length")]
    InvalidMultibulkLength,
    /// More than [`UNAUTHENTICATED_ARGS_MAX`] arguments before authentication.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulkLength,
    /// An argument that does not begin with `$`; holds what it begins with.
    #[error("Protocol error: expected '$', got '{}'", .0.escape_ascii())]
    ExpectedDollar(u8),
    /// `$` with something that is no length, or too large a length.
    #[error("Protocol error: invalid bulk length")]
    InvalidBulkLength,
    /// An argument of more than [`UNAUTHENTICATED_BULK_MAX`] bytes before authentication.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// The line of the argument count does not end.
    #[error("Protocol error: too big mbulk count string")]
    TooBigCountLine,
    /// The line of an argument's length does not end.
    #[error("Protocol error: too big bulk count string")]
    TooBigLengthLine,
    /// An inline request does not end.
    #[error("Protocol error: too big inline request")]
    TooBigInline,
    /// A quote in an inline request is not closed, or has something glued to its end.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// The whole request would pass 4 GiB. Redis has no such bound of its own (its query buffer limit acts
    /// first by default), so this text is ours.
    #[error("Protocol error: too big request")]
    TooBigRequest,
}

impl RequestError {
    /// The error reply's text, without the leading `-` and the line end. Bytes rather than text, because one
    /// of them repeats a byte of the client's.
    #[must_use]
    pub fn wire(&self) -> Cow<'static, [u8]> {
        match *self {
            Self::ExpectedDollar(got) => {
                // A line end inside an error reply would end it, so Redis shows it as a blank.
                let shown = if matches!(got, b'\r' | b'\n') { b' ' } else { got };
                let mut text = b"ERR Protocol error: expected '$', got '".to_vec();
                text.extend_from_slice(&[shown, b'\'']);
                text.into()
            }
            other => format!("ERR {other}").into_bytes().into(),
        }
    }

    /// What redis-server writes to its log: `Protocol error (<reason>) from client: …`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidMultibulkLength => "invalid mbulk count",
            Self::UnauthenticatedMultibulkLength => "unauth mbulk count",
            Self::ExpectedDollar(_) => "expected $ but got something else",
            Self::InvalidBulkLength => "invalid bulk length",
            Self::UnauthenticatedBulkLength => "unauth bulk length",
            Self::TooBigCountLine => "too big mbulk count string",
            Self::TooBigLengthLine => "too big bulk count string",
            Self::TooBigInline => "too big inline request",
            Self::UnbalancedQuotes => "unbalanced quotes in inline request",
            Self::TooBigRequest => "too big request",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between requests.
    Start,
    /// In a line of words.
    Inline,
    /// In the line of the argument count.
    Count,
    /// In the line of an argument's length.
    Length,
    /// In an argument of so many bytes.
    Payload(usize),
}

/// Finds the end and the arguments of one request after another; one per connection.
#[derive(Debug)]
pub struct RequestScanner {
    phase: Phase,
    /// Offset of the line or payload that is being read.
    pos: usize,
    /// No line end lies before this offset.
    searched: usize,
    /// Arguments still to come.
    remaining: usize,
    /// Bytes missing from the payload when the last call ran out.
    missing: usize,
    in_scratch: bool,
    spans: Vec<Span>,
    scratch: Vec<u8>,
}

impl Default for RequestScanner {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestScanner {
    /// A scanner at the start of a request. It owns no memory before the first one.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            phase: Phase::Start,
            pos: 0,
            searched: 0,
            remaining: 0,
            missing: 0,
            in_scratch: false,
            spans: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Looks for the end of the request that begins at the first byte of `buf`.
    ///
    /// `Some(n)`: the request is complete in `n` bytes and [`args`](Self::args) gives its arguments; the next
    /// call begins another request. No arguments is a request that means nothing (an empty line, `*0`), to be
    /// skipped. `None`: it is not complete; call again with the same bytes and more behind them.
    ///
    /// # Errors
    /// Where Redis would refuse the request. The scanner is of no use after that.
    #[inline]
    pub fn scan(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, RequestError> {
        if self.phase == Phase::Start {
            match buf.first() {
                Some(b'*') => self.begin(Phase::Count),
                Some(_) => self.begin(Phase::Inline),
                None => return Ok(None),
            }
        }
        match self.phase {
            Phase::Inline => return self.scan_inline(buf, limits),
            Phase::Count => match self.count(buf, limits)? {
                Line::Incomplete => return Ok(None),
                Line::Complete(0, next) => return Ok(Some(self.finish(next))),
                Line::Complete(count, next) => {
                    self.remaining = count;
                    self.pos = next;
                    self.phase = Phase::Length;
                }
            },
            Phase::Start | Phase::Length | Phase::Payload(_) => {}
        }
        self.scan_arguments(buf, limits)
    }

    /// The arguments of the request that [`scan`](Self::scan) completed in `buf`.
    #[must_use]
    #[inline]
    pub fn args<'a>(&'a self, buf: &'a [u8]) -> Args<'a> {
        Args::new(if self.in_scratch { &self.scratch } else { buf }, &self.spans)
    }

    /// Where the arguments lie: in the request's own bytes, unless [`is_unquoted`](Self::is_unquoted).
    #[must_use]
    #[inline]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Whether the arguments had to be unquoted, so that they lie in the scanner and not in the buffer.
    #[must_use]
    pub fn is_unquoted(&self) -> bool {
        self.in_scratch
    }

    /// Whether a request has begun and is not complete.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.phase != Phase::Start
    }

    /// Bytes that the argument at hand still lacks, its line end included, when its length is known: what a
    /// reader may reserve. The number is the client's claim, within [`Limits::proto_max_bulk_len`].
    #[must_use]
    pub fn wanted(&self) -> Option<usize> {
        matches!(self.phase, Phase::Payload(_)).then_some(self.missing)
    }

    /// Gives back the memory of the last request; for connections that fall idle.
    pub fn release(&mut self) {
        if self.phase == Phase::Start {
            self.spans = Vec::new();
            self.scratch = Vec::new();
        }
    }

    #[inline]
    fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.pos = 0;
        self.searched = 0;
        self.in_scratch = false;
        self.spans.clear();
        if self.spans.capacity() > SPANS_KEPT {
            self.spans.shrink_to(SPANS_KEPT);
        }
    }

    #[inline]
    fn finish(&mut self, end: usize) -> usize {
        self.phase = Phase::Start;
        end
    }

    #[inline]
    fn scan_arguments(
        &mut self,
        buf: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, RequestError> {
        // What fits here is right for everyone; what does not goes to `length`, which knows the reasons.
        let plain_max = limits.proto_max_bulk_len.min(UNAUTHENTICATED_BULK_MAX);
        // The scanner itself is only written to where the scan ends or leaves the plain way.
        let (mut pos, mut remaining) = (self.pos, self.remaining);
        let mut begun = match self.phase {
            Phase::Payload(len) => Some(len),
            _ => None,
        };
        while remaining > 0 {
            let len = match begun.take() {
                Some(len) => len,
                None => match short_length(buf, pos) {
                    Some((len, next)) if len <= plain_max && buf[pos] == b'$' => {
                        pos = next;
                        len
                    }
                    _ => {
                        (self.pos, self.remaining) = (pos, remaining);
                        self.phase = Phase::Length;
                        match self.length(buf, limits)? {
                            Line::Incomplete => return Ok(None),
                            Line::Complete(len, next) => {
                                pos = next;
                                len
                            }
                        }
                    }
                },
            };
            let end = pos.saturating_add(len);
            if end.saturating_add(2) > buf.len() {
                (self.pos, self.remaining) = (pos, remaining);
                return self.await_payload(len, end, buf.len());
            }
            if end > REQUEST_BYTES_MAX {
                return Err(RequestError::TooBigRequest);
            }
            self.spans.push(Span { start: pos as u32, end: end as u32 });
            pos = end + 2;
            remaining -= 1;
        }
        Ok(Some(self.finish(pos)))
    }

    #[cold]
    fn await_payload(
        &mut self,
        len: usize,
        end: usize,
        have: usize,
    ) -> Result<Option<usize>, RequestError> {
        if end > REQUEST_BYTES_MAX {
            return Err(RequestError::TooBigRequest);
        }
        self.phase = Phase::Payload(len);
        self.missing = end + 2 - have;
        Ok(None)
    }

    #[inline]
    fn count(&mut self, buf: &[u8], limits: &Limits) -> Result<Line, RequestError> {
        match short_length(buf, 0) {
            Some((count, next)) if count <= limits.multibulk_max.min(UNAUTHENTICATED_ARGS_MAX) => {
                Ok(Line::Complete(count, next))
            }
            _ => self.count_closely(buf, limits),
        }
    }

    #[cold]
    fn count_closely(&mut self, buf: &[u8], limits: &Limits) -> Result<Line, RequestError> {
        let Some(line) = self.line(buf, limits, RequestError::TooBigCountLine)? else {
            return Ok(Line::Incomplete);
        };
        let next = line.len() + 2;
        let count = parse_i64(&line[1..]).ok_or(RequestError::InvalidMultibulkLength)?;
        let count = usize::try_from(count).unwrap_or(0);
        if count > limits.multibulk_max {
            return Err(RequestError::InvalidMultibulkLength);
        }
        if limits.unauthenticated && count > UNAUTHENTICATED_ARGS_MAX {
            return Err(RequestError::UnauthenticatedMultibulkLength);
        }
        Ok(Line::Complete(count, next))
    }

    #[cold]
    fn length(&mut self, buf: &[u8], limits: &Limits) -> Result<Line, RequestError> {
        let start = self.pos;
        let Some(line) = self.line(buf, limits, RequestError::TooBigLengthLine)? else {
            return Ok(Line::Incomplete);
        };
        let next = start + line.len() + 2;
        // An empty line shows the carriage return that ends it.
        let marker = buf[start];
        if marker != b'$' {
            return Err(RequestError::ExpectedDollar(marker));
        }
        let len = parse_i64(&line[1..])
            .and_then(|len| usize::try_from(len).ok())
            .filter(|&len| len <= limits.proto_max_bulk_len)
            .ok_or(RequestError::InvalidBulkLength)?;
        if limits.unauthenticated && len > UNAUTHENTICATED_BULK_MAX {
            return Err(RequestError::UnauthenticatedBulkLength);
        }
        Ok(Line::Complete(len, next))
    }

    /// The line at `pos` up to its carriage return, if that and the byte after it are there.
    fn line<'b>(
        &mut self,
        buf: &'b [u8],
        limits: &Limits,
        too_long: RequestError,
    ) -> Result<Option<&'b [u8]>, RequestError> {
        match self.find(buf, b'\r') {
            Some(end) if end + 2 <= buf.len() => Ok(Some(&buf[self.pos..end])),
            Some(_) => Ok(None),
            None if buf.len() - self.pos > limits.inline_max => Err(too_long),
            None => Ok(None),
        }
    }

    /// The offset of `wanted`, unless a NUL comes first: Redis searches lines as C strings.
    fn find(&mut self, buf: &[u8], wanted: u8) -> Option<usize> {
        let from = self.searched.max(self.pos);
        let Some(found) = memchr::memchr2(wanted, 0, buf.get(from..)?) else {
            self.searched = buf.len();
            return None;
        };
        self.searched = from + found;
        (buf[self.searched] == wanted).then_some(self.searched)
    }

    fn scan_inline(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, RequestError> {
        let Some(newline) = self.find(buf, b'\n') else {
            return if buf.len() > limits.inline_max {
                Err(RequestError::TooBigInline)
            } else {
                Ok(None)
            };
        };
        if newline > REQUEST_BYTES_MAX {
            return Err(RequestError::TooBigRequest);
        }
        let line = &buf[..newline];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.scratch.capacity() > SCRATCH_KEPT {
            self.scratch = Vec::new();
        }
        let words = inline::split(line, &mut self.spans, &mut self.scratch)
            .map_err(|inline::Unbalanced| RequestError::UnbalancedQuotes)?;
        self.in_scratch = words == Words::InScratch;
        Ok(Some(self.finish(newline + 1)))
    }
}

/// What a line that should hold a number held.
enum Line {
    Incomplete,
    /// The number, and the offset after the line.
    Complete(usize, usize),
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
