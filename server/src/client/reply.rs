//! What a client is about to be sent: RESP2 or RESP3, as the client speaks.
//!
//! How the bytes wait is [`Output`]'s matter; this is how values are written.

use bytes::Bytes;
use redstart_common::number;
use redstart_common::resp::{Proto, RespWrite, encode};

use super::output::Output;
use crate::keyspace::{Entry, Str, WrongType};

/// Room for anything that is not as long as the caller's text: the head of an aggregate, a number, null.
const SMALL: usize = 32;
/// What stands around the bytes of a string: its length and two line ends.
const AROUND: usize = 24;
/// From so many bytes on a stored value is lent to the output rather than copied: less is copied faster than lent.
const LENT_FROM: usize = 32 << 10;

/// A client's output. Commands append to it; the end of the turn sends it.
#[derive(Default)]
pub struct Reply {
    /// What waits to be sent.
    pub output: Output,
    /// The version the client speaks.
    pub proto: Proto,
    /// Whether the last command answered with an error.
    pub failed: bool,
}

/// An aggregate whose length is known only once its elements are written. See [`Reply::begin`].
#[must_use = "an aggregate must be ended"]
pub struct Open(usize);

impl Reply {
    /// Bytes that wait to be sent.
    #[inline]
    #[must_use]
    pub fn pending(&self) -> usize {
        self.output.pending()
    }

    /// Where the output ends now, for [`truncate`](Self::truncate). It counts within one turn.
    #[inline]
    #[must_use]
    pub fn end(&self) -> usize {
        self.output.end()
    }

    #[inline]
    fn small(&mut self) -> &mut Vec<u8> {
        self.output.room(SMALL)
    }

    /// The output, for those who encode themselves: much at once grows a block, so this is for what is bounded.
    pub fn encoded(&mut self) -> &mut Vec<u8> {
        self.output.room(SMALL)
    }

    /// Bytes that are encoded already.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.output.room(bytes.len()).extend_from_slice(bytes);
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// A simple string.
    pub fn simple(&mut self, text: &str) {
        self.output.room(text.len() + SMALL).simple(text);
    }

    /// An error; line breaks in the text become spaces.
    pub fn error(&mut self, text: impl AsRef<[u8]>) {
        self.failed = true;
        self.output.room(text.as_ref().len() + SMALL).error(text);
    }

    /// A number.
    #[inline]
    pub fn integer(&mut self, number: i64) {
        self.small().integer(number);
    }

    /// A number that counts something.
    #[inline]
    pub fn count(&mut self, number: usize) {
        self.small().integer(number as i64);
    }

    /// A string of bytes.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.output.room(bytes.len() + AROUND).bulk(bytes);
    }

    /// A string of bytes that is shared with whoever else holds it.
    pub fn bulk_shared(&mut self, bytes: &Bytes) {
        encode::header(self.small(), b'$', bytes.len());
        self.output.lend(bytes.clone());
        self.raw(b"\r\n");
    }

    /// A number as a string of bytes.
    #[inline]
    pub fn bulk_int(&mut self, number: i64) {
        let mut digits = itoa::Buffer::new();
        self.small().bulk(digits.format(number).as_bytes());
    }

    /// A stored string as a string of bytes.
    #[inline]
    pub fn bulk_str(&mut self, text: Str<'_>) {
        match text {
            Str::Int(number) => self.bulk_int(number),
            Str::Bytes(bytes) => self.bulk(bytes),
        }
    }

    /// The string of an entry as a string of bytes; a long one that can be shared is not copied.
    ///
    /// # Errors
    /// When the entry holds something else.
    #[inline]
    pub fn bulk_entry(&mut self, entry: &Entry) -> Result<(), WrongType> {
        match entry.string().ok_or(WrongType)? {
            Str::Bytes(bytes) if bytes.len() >= LENT_FROM => match entry.shared() {
                Some(shared) => self.bulk_shared(shared),
                None => self.bulk(bytes),
            },
            text => self.bulk_str(text),
        }
        Ok(())
    }

    /// Nothing, where a value would be: `$-1` or `_`.
    #[inline]
    pub fn null(&mut self) {
        let proto = self.proto;
        self.small().null(proto);
    }

    /// Nothing, where an array would be: `*-1` or `_`.
    pub fn null_array(&mut self) {
        let proto = self.proto;
        self.small().null_array(proto);
    }

    /// The head of an array.
    #[inline]
    pub fn array(&mut self, elements: usize) {
        self.small().array_len(elements);
    }

    /// The head of a map of `pairs`; a flat array in RESP2.
    pub fn map(&mut self, pairs: usize) {
        let proto = self.proto;
        self.small().map_len(pairs, proto);
    }

    /// The head of a set; an array in RESP2.
    pub fn set(&mut self, elements: usize) {
        let proto = self.proto;
        RespWrite::set_reply_len(self.small(), elements, proto);
    }

    /// The head of a push message; an array in RESP2.
    pub fn push(&mut self, elements: usize) {
        let proto = self.proto;
        self.small().push_len(elements, proto);
    }

    /// A floating point number: `,1.5`, or a string of bytes in RESP2.
    pub fn double(&mut self, number: f64) {
        let proto = self.proto;
        self.small().double(number, proto);
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
        self.small().boolean(truth, proto);
    }

    /// Text with a format of three letters; a string of bytes in RESP2.
    pub fn verbatim(&mut self, format: [u8; 3], text: &[u8]) {
        let proto = self.proto;
        self.output.room(text.len() + SMALL).verbatim(format, text, proto);
    }

    /// Begins an aggregate whose length is not known yet.
    pub fn begin(&mut self) -> Open {
        Open(self.output.end())
    }

    /// Ends an array that was begun.
    pub fn end_array(&mut self, open: Open, elements: usize) {
        let mut head = Vec::with_capacity(SMALL);
        head.array_len(elements);
        self.output.insert(open.0, &head);
    }

    /// Ends a map that was begun.
    pub fn end_map(&mut self, open: Open, pairs: usize) {
        let mut head = Vec::with_capacity(SMALL);
        head.map_len(pairs, self.proto);
        self.output.insert(open.0, &head);
    }

    /// Writes a string of bytes where the output ended when [`end`](Self::end) was `place`.
    pub fn insert_bulk(&mut self, place: usize, bytes: &[u8]) {
        let mut encoded = Vec::with_capacity(bytes.len() + AROUND);
        encoded.bulk(bytes);
        self.output.insert(place, &encoded);
    }

    /// Takes back what was written since [`end`](Self::end) was `length`.
    #[inline]
    pub fn truncate(&mut self, length: usize) {
        self.output.truncate(length);
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
