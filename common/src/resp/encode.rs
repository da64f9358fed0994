//! Writes replies and requests into a byte vector.
//!
//! Values whose form depends on the protocol version take a [`Proto`]; the others are the same in both. Where
//! Redis 7.0.15 and the RESP3 text differ, Redis is followed.

use crate::number;

/// The protocol version a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Proto {
    /// What every connection begins with.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

impl Proto {
    /// The number `HELLO` takes and shows.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// Reply values, appended.
pub trait RespWrite {
    /// `+text`. Line ends inside become blanks, since they would end the value.
    fn simple(&mut self, text: impl AsRef<[u8]>);
    /// `-text`, where the text begins with its code: `ERR …`. Line ends inside become blanks.
    fn error(&mut self, text: impl AsRef<[u8]>);
    /// `:value`
    fn integer(&mut self, value: i64);
    /// `$len`, then the bytes.
    fn bulk(&mut self, bytes: &[u8]);
    /// A bulk string that is the decimal form of `value`.
    fn bulk_integer(&mut self, value: i64);
    /// The null of a missing string.
    fn null(&mut self, proto: Proto);
    /// The null of a missing array.
    fn null_array(&mut self, proto: Proto);
    /// Begins an array of `len` values.
    fn array_len(&mut self, len: usize);
    /// Begins a map of `pairs` keys and values: in RESP2 an array twice as long.
    fn map_len(&mut self, pairs: usize, proto: Proto);
    /// Begins a set of `len` values: in RESP2 an array. (`set_len` is a method of `Vec` itself.)
    fn set_reply_len(&mut self, len: usize, proto: Proto);
    /// Begins an out-of-band message of `len` values: in RESP2 an array.
    fn push_len(&mut self, len: usize, proto: Proto);
    /// Begins `pairs` attributes of the value that follows them. RESP3 only.
    fn attribute_len(&mut self, pairs: usize);
    /// A double as `%.17g` prints it: in RESP2 a bulk string.
    fn double(&mut self, value: f64, proto: Proto);
    /// A double whose text the caller made: in RESP2 a bulk string.
    fn double_text(&mut self, text: &[u8], proto: Proto);
    /// A truth value: in RESP2 `:1` or `:0`.
    fn boolean(&mut self, value: bool, proto: Proto);
    /// A number of any length: in RESP2 a bulk string.
    fn big_number(&mut self, digits: &[u8], proto: Proto);
    /// Text with a three-letter format such as `txt`: in RESP2 a bulk string.
    fn verbatim(&mut self, format: [u8; 3], text: &[u8], proto: Proto);
}

impl RespWrite for Vec<u8> {
    #[inline]
    fn simple(&mut self, text: impl AsRef<[u8]>) {
        line(self, b'+', text.as_ref());
    }

    fn error(&mut self, text: impl AsRef<[u8]>) {
        line(self, b'-', text.as_ref());
    }

    #[inline]
    fn integer(&mut self, value: i64) {
        match usize::try_from(value) {
            Ok(value) => header(self, b':', value),
            Err(_) => {
                let mut digits = itoa::Buffer::new();
                let digits = digits.format(value).as_bytes();
                self.reserve(digits.len() + 3);
                self.push(b':');
                self.extend_from_slice(digits);
                self.extend_from_slice(b"\r\n");
            }
        }
    }

    #[inline]
    fn bulk(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len() + 24);
        header(self, b'$', bytes.len());
        self.extend_from_slice(bytes);
        self.extend_from_slice(b"\r\n");
    }

    fn bulk_integer(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    #[inline]
    fn null(&mut self, proto: Proto) {
        self.extend_from_slice(match proto {
            Proto::Resp2 => b"$-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    fn null_array(&mut self, proto: Proto) {
        self.extend_from_slice(match proto {
            Proto::Resp2 => b"*-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    #[inline]
    fn array_len(&mut self, len: usize) {
        header(self, b'*', len);
    }

    fn map_len(&mut self, pairs: usize, proto: Proto) {
        match proto {
            Proto::Resp2 => header(self, b'*', pairs * 2),
            Proto::Resp3 => header(self, b'%', pairs),
        }
    }

    fn set_reply_len(&mut self, len: usize, proto: Proto) {
        match proto {
            Proto::Resp2 => header(self, b'*', len),
            Proto::Resp3 => header(self, b'~', len),
        }
    }

    fn push_len(&mut self, len: usize, proto: Proto) {
        match proto {
            Proto::Resp2 => header(self, b'*', len),
            Proto::Resp3 => header(self, b'>', len),
        }
    }

    fn attribute_len(&mut self, pairs: usize) {
        header(self, b'|', pairs);
    }

    fn double(&mut self, value: f64, proto: Proto) {
        let mut text = number::FloatText::new();
        self.double_text(text.format_17g(value).as_bytes(), proto);
    }

    fn double_text(&mut self, text: &[u8], proto: Proto) {
        number_text(self, b',', text, proto);
    }

    fn boolean(&mut self, value: bool, proto: Proto) {
        self.extend_from_slice(match (proto, value) {
            (Proto::Resp2, true) => b":1\r\n",
            (Proto::Resp2, false) => b":0\r\n",
            (Proto::Resp3, true) => b"#t\r\n",
            (Proto::Resp3, false) => b"#f\r\n",
        });
    }

    fn big_number(&mut self, digits: &[u8], proto: Proto) {
        number_text(self, b'(', digits, proto);
    }

    fn verbatim(&mut self, format: [u8; 3], text: &[u8], proto: Proto) {
        match proto {
            Proto::Resp2 => self.bulk(text),
            Proto::Resp3 => {
                header(self, b'=', text.len() + 4);
                self.extend_from_slice(&format);
                self.push(b':');
                self.extend_from_slice(text);
                self.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// Writes a request: an array of bulk strings.
#[inline]
pub fn request<'a>(out: &mut Vec<u8>, args: impl ExactSizeIterator<Item = &'a [u8]>) {
    header(out, b'*', args.len());
    for arg in args {
        out.bulk(arg);
    }
}

/// `<marker><number>\r\n`
#[inline]
pub fn header(out: &mut Vec<u8>, marker: u8, number: usize) {
    if number < 10 {
        out.extend_from_slice(&[marker, b'0' + number as u8, b'\r', b'\n']);
    } else if number < 100 {
        let (tens, ones) = (b'0' + (number / 10) as u8, b'0' + (number % 10) as u8);
        out.extend_from_slice(&[marker, tens, ones, b'\r', b'\n']);
    } else if number < 1000 {
        let (hundreds, rest) = (number / 100, number % 100);
        let digit = |value: usize| b'0' + value as u8;
        out.extend_from_slice(&[
            marker,
            digit(hundreds),
            digit(rest / 10),
            digit(rest % 10),
            b'\r',
            b'\n',
        ]);
    } else if number < 100_000_000 {
        middling(out, marker, number as u32);
    } else {
        let mut digits = itoa::Buffer::new();
        out.push(marker);
        out.extend_from_slice(digits.format(number).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// A header of a number of four to eight digits: lengths of collections, counters, sizes of large values.
#[inline]
fn middling(out: &mut Vec<u8>, marker: u8, number: u32) {
    let digits = number.ilog10() as usize + 1;
    let mut text = [0; 16];
    text[0] = marker;
    let mut rest = number;
    let mut place = digits;
    while rest >= 100 {
        let pair = rest % 100;
        rest /= 100;
        text[(place - 1) & 15] = b'0' + (pair / 10) as u8;
        text[place & 15] = b'0' + (pair % 10) as u8;
        place -= 2;
    }
    if rest >= 10 {
        text[(place - 1) & 15] = b'0' + (rest / 10) as u8;
    }
    text[place & 15] = b'0' + (rest % 10) as u8;
    text[(digits + 1) & 15] = b'\r';
    text[(digits + 2) & 15] = b'\n';
    // Sixteen bytes at once cost less than the right number of them.
    let end = out.len() + digits + 3;
    out.extend_from_slice(&text);
    out.truncate(end);
}

#[inline]
fn line(out: &mut Vec<u8>, marker: u8, text: &[u8]) {
    out.reserve(text.len() + 3);
    out.push(marker);
    let start = out.len();
    out.extend_from_slice(text);
    if memchr::memchr2(b'\r', b'\n', text).is_some() {
        for byte in &mut out[start..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn number_text(out: &mut Vec<u8>, marker: u8, text: &[u8], proto: Proto) {
    match proto {
        Proto::Resp2 => out.bulk(text),
        Proto::Resp3 => line(out, marker, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_of_any_length_are_written_whole() {
        let edges = (0..19).map(|digits| 10_i64.pow(digits));
        let near = edges.flat_map(|edge| [edge - 1, edge, edge + 1, edge * 9 / 4]);
        for number in near.chain([1_234_567, 10_203_040, i64::MAX, i64::MIN, -1]) {
            assert_eq!(written(|out| out.integer(number)), format!(":{number}\r\n"));
        }
    }

    #[test]
    fn both_protocols_are_written_as_redis_writes_them() {
        use Proto::{Resp2, Resp3};
        type Write = fn(&mut Vec<u8>, Proto);
        let rows: [(Write, &str, &str); 14] = [
            (|out, _| out.simple("OK"), "+OK\r\n", "+OK\r\n"),
            (|out, _| out.error("ERR a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n"),
            (|out, _| out.bulk(b"ab\r\n"), "$4\r\nab\r\n\r\n", "$4\r\nab\r\n\r\n"),
            (|out, _| out.bulk_integer(-12), "$3\r\n-12\r\n", "$3\r\n-12\r\n"),
            (|out, proto| out.null(proto), "$-1\r\n", "_\r\n"),
            (|out, proto| out.null_array(proto), "*-1\r\n", "_\r\n"),
            (|out, proto| out.map_len(7, proto), "*14\r\n", "%7\r\n"),
            (|out, proto| out.set_reply_len(0, proto), "*0\r\n", "~0\r\n"),
            (|out, proto| out.push_len(3, proto), "*3\r\n", ">3\r\n"),
            (
                |out, proto| out.double(0.1, proto),
                "$19\r\n0.10000000000000001\r\n",
                ",0.10000000000000001\r\n",
            ),
            (|out, proto| out.double(f64::NEG_INFINITY, proto), "$4\r\n-inf\r\n", ",-inf\r\n"),
            (|out, proto| out.boolean(true, proto), ":1\r\n", "#t\r\n"),
            (|out, proto| out.big_number(b"123", proto), "$3\r\n123\r\n", "(123\r\n"),
            (|out, proto| out.verbatim(*b"txt", b"hi", proto), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
        ];
        for (write, resp2, resp3) in rows {
            assert_eq!(written(|out| write(out, Resp2)), resp2);
            assert_eq!(written(|out| write(out, Resp3)), resp3);
        }
        assert_eq!(written(|out| out.attribute_len(1)), "|1\r\n");
    }

    #[test]
    fn lengths_of_every_width() {
        for number in [0usize, 9, 10, 42, 99, 100, 101, 999, 1000, 65535, 1 << 40, usize::MAX] {
            assert_eq!(written(|out| header(out, b'*', number)), format!("*{number}\r\n"));
        }
        for number in [0, -1, 7, 999_999_999_999_999, i64::MIN, i64::MAX] {
            assert_eq!(written(|out| out.integer(number)), format!(":{number}\r\n"));
        }
    }

    #[test]
    fn a_request_is_an_array_of_bulk_strings() {
        let args: [&[u8]; 2] = [b"GET", b"k"];
        assert_eq!(written(|out| request(out, args.into_iter())), "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    }
}
