//! The primary's stream as it is executed: which bytes are applied, and can be passed on.
//!
//! The offset of a replica counts what it has *applied*. Bytes that were read but not executed, and the commands of a MULTI
//! whose EXEC has not come, do not count: after a lost link they are asked for again. What is applied is passed on byte for
//! byte, so that all servers along a chain have the same offsets.

use bytes::{Bytes, BytesMut};
use redstart_common::resp::request::RequestScanner;
use redstart_common::resp::{Args, Limits};

/// The bytes of the stream that are not applied yet. It belongs to a link and goes with it.
#[derive(Debug)]
pub struct Stream {
    buffer: BytesMut,
    scanner: RequestScanner,
    /// Bytes at the front that are applied and not yet taken.
    applied: usize,
    /// Bytes behind those whose commands ran, but belong to a transaction that is still open.
    held: usize,
    /// Length of the request that was given out last.
    current: usize,
}

/// The stream makes no sense any more. The link is closed, and what is here is not to be continued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// A primary sends arrays only.
    #[error(
        "WARNING: Receiving inline protocol from master, master stream corruption? Closing the master connection and discarding the cached master."
    )]
    Inline,
    /// Not even a request.
    #[error("{0}")]
    Broken(#[from] redstart_common::resp::request::RequestError),
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            buffer: BytesMut::new(),
            scanner: RequestScanner::new(),
            applied: 0,
            held: 0,
            current: 0,
        }
    }
}

impl Stream {
    /// Takes bytes that came. Nothing is copied if all before them is applied.
    pub fn push(&mut self, bytes: Bytes) {
        if self.buffer.is_empty() {
            match bytes.try_into_mut() {
                Ok(whole) => self.buffer = whole,
                Err(shared) => self.buffer.extend_from_slice(&shared),
            }
        } else {
            self.buffer.extend_from_slice(&bytes);
        }
    }

    /// The next complete request, to be executed and then [`done`](Self::done). An empty one is a newline that keeps the link
    /// alive; it counts like any other.
    pub fn next_request(&mut self) -> Result<Option<Args<'_>>, StreamError> {
        const LIMITS: Limits = Limits {
            proto_max_bulk_len: usize::MAX,
            multibulk_max: i32::MAX as usize,
            inline_max: 64 << 10,
            unauthenticated: false,
        };
        let from = self.applied + self.held;
        let rest = &self.buffer[from..];
        let Some(&first) = rest.first() else { return Ok(None) };
        let Some(length) = self.scanner.scan(rest, &LIMITS)? else { return Ok(None) };
        if first != b'*' && !matches!(&rest[..length], b"\n" | b"\r\n") {
            return Err(StreamError::Inline);
        }
        self.current = length;
        Ok(Some(self.scanner.args(&self.buffer[from..])))
    }

    /// The request that was given out has run. `in_transaction`: a MULTI is open now, so it does not count until the EXEC.
    pub fn done(&mut self, in_transaction: bool) {
        self.held += std::mem::take(&mut self.current);
        if !in_transaction {
            self.applied += std::mem::take(&mut self.held);
        }
    }

    /// Whether [`take_applied`](Self::take_applied) would give anything.
    #[must_use]
    pub fn has_applied(&self) -> bool {
        self.applied > 0
    }

    /// The bytes that were applied since the last call, for [`applied`](super::Replication::applied): once a turn, and before
    /// what asks for the offset.
    pub fn take_applied(&mut self) -> Bytes {
        self.buffer.split_to(std::mem::take(&mut self.applied)).freeze()
    }

    /// Bytes that came and are not applied.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.buffer.len() - self.applied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(args: Args) -> Vec<String> {
        args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
    }

    #[test]
    fn a_transaction_counts_when_it_is_executed() {
        let mut stream = Stream::default();
        let sent = b"*1\r\n$5\r\nMULTI\r\n*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n*1\r\n$4\r\nEXEC\r\n*1\r\n$4\r\nPING\r\n";
        let mut applied = Vec::new();
        let mut open = false;
        for byte in sent {
            stream.push(Bytes::copy_from_slice(&[*byte]));
            while let Some(args) = stream.next_request().unwrap() {
                match args.at(0) {
                    b"MULTI" => open = true,
                    b"EXEC" => open = false,
                    _ => {}
                }
                stream.done(open);
                let bytes = stream.take_applied();
                if !bytes.is_empty() {
                    applied.push(bytes.len());
                }
            }
        }
        assert_eq!(applied, [sent.len() - 14, 14]);
        assert_eq!(stream.waiting(), 0);
    }

    #[test]
    fn what_is_read_and_not_complete_waits() {
        let mut stream = Stream::default();
        stream.push(Bytes::from_static(b"*1\r\n$4\r\nPING\r\n*1\r\n$4"));
        assert_eq!(words(stream.next_request().unwrap().unwrap()), ["PING"]);
        stream.done(false);
        assert!(stream.next_request().unwrap().is_none());
        assert_eq!(stream.take_applied().len(), 14);
        assert_eq!(stream.waiting(), 6);
    }

    #[test]
    fn what_was_applied_may_be_taken_before_a_request_runs() {
        let mut stream = Stream::default();
        let getack = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";
        stream.push(Bytes::from_static(b"*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n"));
        stream.push(Bytes::from_static(getack));
        assert_eq!(words(stream.next_request().unwrap().unwrap()), ["DEL", "k"]);
        stream.done(false);
        assert!(stream.has_applied());
        assert_eq!(words(stream.next_request().unwrap().unwrap()), ["REPLCONF", "GETACK", "*"]);
        assert_eq!(stream.take_applied().len(), 20);
        assert!(!stream.has_applied());
        assert_eq!(words(stream.next_request().unwrap().unwrap()), ["REPLCONF", "GETACK", "*"]);
        stream.done(false);
        assert_eq!(stream.take_applied().len(), getack.len());
    }

    #[test]
    fn a_newline_counts_and_words_do_not_come_from_a_primary() {
        let mut stream = Stream::default();
        stream.push(Bytes::from_static(b"\nSET k v\r\n"));
        assert!(stream.next_request().unwrap().unwrap().is_empty());
        stream.done(false);
        assert_eq!(stream.next_request().err(), Some(StreamError::Inline));
    }
}
