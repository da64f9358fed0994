//! Walks a complete reply without copying or allocating.
//!
//! Meant for replies that [`ReplyScanner`](super::reply::ReplyScanner) has measured. Given anything else the
//! reader ends early; it neither panics nor invents.

use super::header::short_length;

/// A value, or the head of one: the values inside an aggregate follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// `+`
    Simple(&'a [u8]),
    /// `-`, and `!` of RESP3: the text with its code.
    Error(&'a [u8]),
    /// `:`
    Integer(i64),
    /// `$`
    Bulk(&'a [u8]),
    /// `$-1`, `*-1` or `_`
    Null,
    /// `*` and its number of values.
    Array(usize),
    /// `,` and its text.
    Double(&'a [u8]),
    /// `#`
    Boolean(bool),
    /// `(` and its digits.
    BigNumber(&'a [u8]),
    /// `=`: three letters of format, and the text.
    Verbatim([u8; 3], &'a [u8]),
    /// `~` and its number of values.
    Set(usize),
    /// `%` and its number of pairs.
    Map(usize),
    /// `>` and its number of values.
    Push(usize),
    /// `|` and its number of pairs, which precede the value they describe.
    Attribute(usize),
}

impl<'a> Value<'a> {
    /// Values that follow as part of this one.
    #[must_use]
    pub fn children(&self) -> usize {
        match *self {
            Self::Array(count) | Self::Set(count) | Self::Push(count) => count,
            Self::Map(pairs) | Self::Attribute(pairs) => pairs.saturating_mul(2),
            _ => 0,
        }
    }

    /// The bytes of a simple, bulk or verbatim string.
    #[must_use]
    pub fn bytes(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Simple(bytes) | Self::Bulk(bytes) | Self::Verbatim(_, bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The integer, if it is one.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        match *self {
            Self::Integer(value) => Some(value),
            _ => None,
        }
    }
}

/// A place in a complete reply.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    buf: &'a [u8],
    pos: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `reply`.
    #[must_use]
    pub fn new(reply: &'a [u8]) -> Self {
        Self { buf: reply, pos: 0 }
    }

    /// Bytes read so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.pos
    }

    /// What has not been read.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        &self.buf[self.pos..]
    }

    /// Reads one value, or only its head if it is an aggregate. `None` at the end and at what is no value.
    #[inline]
    pub fn read(&mut self) -> Option<Value<'a>> {
        let (value, end) = read_at(self.buf, self.pos)?;
        self.pos = end;
        Some(value)
    }

    /// Passes over one whole value, with all that it holds and the attributes before it, and returns its bytes.
    pub fn take_raw(&mut self) -> Option<&'a [u8]> {
        let start = self.pos;
        let mut pending: usize = 1;
        while pending > 0 {
            let value = self.read()?;
            let attribute = usize::from(matches!(value, Value::Attribute(_)));
            pending = (pending - 1 + attribute).checked_add(value.children())?;
        }
        Some(&self.buf[start..self.pos])
    }

    /// Reads the head of an aggregate and returns its values one by one, raw. `None` if it is no aggregate.
    pub fn elements(&mut self) -> Option<Elements<'a>> {
        match self.read()? {
            head @ (Value::Array(_) | Value::Set(_) | Value::Push(_) | Value::Map(_)) => {
                Some(Elements { reader: *self, left: head.children() })
            }
            _ => None,
        }
    }
}

/// The values of an aggregate, each as its raw bytes; keys and values in turn for a map.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        self.reader.take_raw()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Fewer if the reply is cut short.
        (0, Some(self.left))
    }
}

fn read_at(buf: &[u8], pos: usize) -> Option<(Value<'_>, usize)> {
    let marker = *buf.get(pos)?;
    match marker {
        b'$' | b'!' | b'=' => {
            let (len, next) = length(buf, pos)?;
            let Some(len) = len else { return Some((Value::Null, next)) };
            let end = next.checked_add(len)?;
            let bytes = buf.get(next..end)?;
            if buf.get(end..end + 2)? != b"\r\n" {
                return None;
            }
            let value = match marker {
                b'$' => Value::Bulk(bytes),
                b'!' => Value::Error(bytes),
                _ => Value::Verbatim(bytes.get(..3)?.try_into().ok()?, bytes.get(4..)?),
            };
            Some((value, end + 2))
        }
        b'*' | b'~' | b'%' | b'>' | b'|' => {
            let (count, next) = length(buf, pos)?;
            let value = match (marker, count) {
                (_, None) => Value::Null,
                (b'*', Some(count)) => Value::Array(count),
                (b'~', Some(count)) => Value::Set(count),
                (b'%', Some(count)) => Value::Map(count),
                (b'>', Some(count)) => Value::Push(count),
                (_, Some(count)) => Value::Attribute(count),
            };
            Some((value, next))
        }
        _ => {
            let (content, next) = line(buf, pos)?;
            let value = match marker {
                b'+' => Value::Simple(content),
                b'-' => Value::Error(content),
                b':' => Value::Integer(std::str::from_utf8(content).ok()?.parse().ok()?),
                b',' => Value::Double(content),
                b'(' => Value::BigNumber(content),
                b'#' => Value::Boolean(content == b"t"),
                b'_' => Value::Null,
                _ => return None,
            };
            Some((value, next))
        }
    }
}

/// The number of a length line, absent for -1, and the offset after the line.
#[inline]
fn length(buf: &[u8], pos: usize) -> Option<(Option<usize>, usize)> {
    if let Some((len, next)) = short_length(buf, pos) {
        return Some((Some(len), next));
    }
    let (content, next) = line(buf, pos)?;
    if content == b"-1" {
        return Some((None, next));
    }
    Some((Some(std::str::from_utf8(content).ok()?.parse().ok()?), next))
}

/// The content of the line at `pos` after its marker, and the offset after the line.
fn line(buf: &[u8], pos: usize) -> Option<(&[u8], usize)> {
    let mut from = pos + 1;
    loop {
        let at = from + memchr::memchr(b'\r', buf.get(from..)?)?;
        if *buf.get(at + 1)? == b'\n' {
            return Some((&buf[pos + 1..at], at + 2));
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resp::{ReplyLimits, ReplyScanner};

    fn walked(reply: &[u8]) -> Vec<Value<'_>> {
        let mut reader = Reader::new(reply);
        std::iter::from_fn(|| reader.read()).collect()
    }

    #[test]
    fn every_type_is_read() {
        use Value::*;
        assert_eq!(
            walked(b"+OK\r\n-ERR no\r\n:-7\r\n$2\r\nhi\r\n$-1\r\n*-1\r\n*2\r\n_\r\n,1.5\r\n#t\r\n(123\r\n=6\r\ntxt:hi\r\n!3\r\nERR\r\n~1\r\n%2\r\n>3\r\n|1\r\n"),
            [
                Simple(b"OK"), Error(b"ERR no"), Integer(-7), Bulk(b"hi"), Null, Null, Array(2), Null,
                Double(b"1.5"), Boolean(true), BigNumber(b"123"), Verbatim(*b"txt", b"hi"), Error(b"ERR"),
                Set(1), Map(2), Push(3), Attribute(1),
            ]
        );
    }

    #[test]
    fn elements_are_raw_and_whole() {
        let reply = b"*3\r\n$1\r\na\r\n*2\r\n:1\r\n*0\r\n|1\r\n+k\r\n+v\r\n+last\r\n";
        let elements: Vec<_> = Reader::new(reply).elements().unwrap().collect();
        assert_eq!(
            elements,
            [&b"$1\r\na\r\n"[..], b"*2\r\n:1\r\n*0\r\n", b"|1\r\n+k\r\n+v\r\n+last\r\n"]
        );
        assert!(Reader::new(b"+OK\r\n").elements().is_none());
        assert_eq!(Reader::new(b"%1\r\n+a\r\n:1\r\n").elements().unwrap().count(), 2);
    }

    #[test]
    fn an_unsound_reply_ends_the_walk() {
        for reply in [
            &b"$5\r\nab\r\n"[..],
            b"*9\r\n:1\r\n",
            b"=2\r\nab\r\n",
            b"?\r\n",
            b"$18446744073709551615\r\n",
        ] {
            assert_eq!(Reader::new(reply).take_raw(), None, "{}", reply.escape_ascii());
        }
    }

    proptest! {
        /// What the scanner measures, the reader walks to the same end; and no input makes it panic.
        #[test]
        fn the_reader_ends_where_the_scanner_does(input in prop_oneof![
            "[*$%~:+,#_(=!|>0-3tx\r\n]{0,60}".prop_map(String::into_bytes),
            "([*%~>|][0-2]\r\n|:-?[0-9]{1,3}\r\n|\\$1\r\nx\r\n|=4\r\ntxt:\r\n|_\r\n|#t\r\n){0,9}".prop_map(String::into_bytes),
        ]) {
            let measured = ReplyScanner::new().scan(&input, &ReplyLimits::default());
            let walked = Reader::new(&input).take_raw().map(<[u8]>::len);
            if let Ok(Some(end)) = measured {
                prop_assert_eq!(walked, Some(end));
            }
        }
    }
}
