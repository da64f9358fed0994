//! What a client is about to be sent: RESP2 or RESP3, as the client speaks.

use redstart_common::number;
use redstart_common::resp::{Proto, RespWrite};

/// A client's output. Commands append to it; the end of the turn sends it.
pub struct Reply {
    /// Encoded bytes that wait to be sent, from `sent` on.
    pub bytes: Vec<u8>,
    /// Bytes at the front that the kernel has taken already.
    pub sent: usize,
    /// Bytes at the front that may leave: what they promise is done. It moves at the end of a turn, behind the log.
    pub released: usize,
    /// The version the client speaks.
    pub proto: Proto,
    /// Whether the last command answered with an error.
    pub failed: bool,
}

/// An aggregate whose length is known only once its elements are written. See [`Reply::begin`].
#[must_use = "an aggregate must be ended"]
pub struct Open(usize);

impl Default for Reply {
    fn default() -> Self {
        Self { bytes: Vec::new(), sent: 0, released: 0, proto: Proto::Resp2, failed: false }
    }
}

impl Reply {
    /// Bytes that wait to be sent.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.bytes.len() - self.sent
    }

    #[inline]
    fn out(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = redstart_common::net::buffer::take();
        }
        &mut self.bytes
    }

    /// The output, for those who encode themselves.
    pub fn encoded(&mut self) -> &mut Vec<u8> {
        self.out()
    }

    /// Bytes that are encoded already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out().extend_from_slice(bytes);
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// A simple string.
    pub fn simple(&mut self, text: &str) {
        self.out().simple(text);
    }

    /// An error; line breaks in the text become spaces.
    pub fn error(&mut self, text: impl AsRef<[u8]>) {
        self.failed = true;
        self.out().error(text);
    }

    /// A number.
    #[inline]
    pub fn integer(&mut self, number: i64) {
        self.out().integer(number);
    }

    /// A number that counts something.
    #[inline]
    pub fn count(&mut self, number: usize) {
        self.out().integer(number as i64);
    }

    /// A string of bytes.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.out().bulk(bytes);
    }

    /// A number as a string of bytes.
    #[inline]
    pub fn bulk_int(&mut self, number: i64) {
        let mut digits = itoa::Buffer::new();
        self.out().bulk(digits.format(number).as_bytes());
    }

    /// A stored string as a string of bytes.
    #[inline]
    pub fn bulk_str(&mut self, text: crate::keyspace::Str<'_>) {
        match text {
            crate::keyspace::Str::Int(number) => self.bulk_int(number),
            crate::keyspace::Str::Bytes(bytes) => self.bulk(bytes),
        }
    }

    /// Nothing, where a value would be: `$-1` or `_`.
    #[inline]
    pub fn null(&mut self) {
        let proto = self.proto;
        self.out().null(proto);
    }

    /// Nothing, where an array would be: `*-1` or `_`.
    pub fn null_array(&mut self) {
        let proto = self.proto;
        self.out().null_array(proto);
    }

    /// The head of an array.
    #[inline]
    pub fn array(&mut self, elements: usize) {
        self.out().array_len(elements);
    }

    /// The head of a map of `pairs`; a flat array in RESP2.
    pub fn map(&mut self, pairs: usize) {
        let proto = self.proto;
        self.out().map_len(pairs, proto);
    }

    /// The head of a set; an array in RESP2.
    pub fn set(&mut self, elements: usize) {
        let proto = self.proto;
        RespWrite::set_reply_len(self.out(), elements, proto);
    }

    /// The head of a push message; an array in RESP2.
    pub fn push(&mut self, elements: usize) {
        let proto = self.proto;
        self.out().push_len(elements, proto);
    }

    /// A floating point number: `,1.5`, or a string of bytes in RESP2.
    pub fn double(&mut self, number: f64) {
        let proto = self.proto;
        self.out().double(number, proto);
    }

    /// A floating point number, always as a string of bytes.
    pub fn bulk_double(&mut self, number: f64) {
        let mut text = number::FloatText::new();
        let text = text.format_17g(number);
        self.bulk(text.as_bytes());
    }

    /// A truth value: `#t`, or 1 and 0 in RESP2.
    pub fn boolean(&mut self, truth: bool) {
        let proto = self.proto;
        self.out().boolean(truth, proto);
    }

    /// Text with a format of three letters; a string of bytes in RESP2.
    pub fn verbatim(&mut self, format: [u8; 3], text: &[u8]) {
        let proto = self.proto;
        self.out().verbatim(format, text, proto);
    }

    /// Begins an aggregate whose length is not known yet.
    pub fn begin(&mut self) -> Open {
        Open(self.out().len())
    }

    /// Ends an array that was begun.
    pub fn end_array(&mut self, open: Open, elements: usize) {
        self.insert_head(open, |out| out.array_len(elements));
    }

    /// Ends a map that was begun.
    pub fn end_map(&mut self, open: Open, pairs: usize) {
        let proto = self.proto;
        self.insert_head(open, |out| out.map_len(pairs, proto));
    }

    fn insert_head(&mut self, open: Open, head: impl FnOnce(&mut Vec<u8>)) {
        let end = self.bytes.len();
        head(&mut self.bytes);
        let length = self.bytes.len() - end;
        self.bytes[open.0..].rotate_right(length);
    }

    /// Takes back what was written since the output was `length` bytes long.
    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
        self.released = self.released.min(length);
    }

    /// What may be sent now.
    #[must_use]
    pub fn free_to_go(&self) -> &[u8] {
        &self.bytes[self.sent..self.released.max(self.sent)]
    }

    /// Lets all that is there leave.
    pub fn release(&mut self) {
        self.released = self.bytes.len();
    }

    /// Notes that the kernel took `count` bytes more. Answers whether nothing is left.
    pub fn took(&mut self, count: usize) -> bool {
        self.sent += count;
        if self.pending() == 0 {
            (self.sent, self.released) = (0, 0);
            redstart_common::net::buffer::give(std::mem::take(&mut self.bytes));
            return true;
        }
        // What is sent is dropped once it is the larger part, so that a slow reader's output does not grow for ever.
        if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.released -= self.sent;
            self.sent = 0;
        }
        false
    }

    /// Lines of help, as `CONTAINER HELP` prints them.
    pub fn help(&mut self, container: &str, lines: &[&str]) {
        self.array(lines.len() + 3);
        self.simple(&format!(
            "{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
        ));
        for line in lines {
            self.simple(line);
        }
        self.simple("HELP");
        self.simple("    Prints this help.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_released_may_leave() {
        let mut reply = Reply::default();
        reply.ok();
        assert_eq!(reply.free_to_go(), b"");
        reply.release();
        reply.simple("later");
        assert_eq!(reply.free_to_go(), b"+OK\r\n");
        assert!(!reply.took(4));
        assert_eq!(reply.free_to_go(), b"\n");
        assert!(!reply.took(1));
        assert_eq!((reply.free_to_go(), reply.pending()), (&b""[..], 8));
        reply.release();
        assert!(reply.took(8));
        assert_eq!((reply.sent, reply.released), (0, 0));
    }
}
