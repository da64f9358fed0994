//! Finds the end of a reply that is passed on piece by piece, keeping nothing of it but where it stands.

/// Longest line a header may be: a type byte and a number, with room for whatever a simple string says.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// What a server sent that is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Garbage;

/// How far a reply has come.
#[derive(Debug)]
pub struct Skipper {
    /// Elements still to come, this one included.
    elements: u64,
    /// Bytes of the present bulk still to come, its line end included.
    bulk: u64,
    /// The present line, as far as it has come. Only its first bytes are kept: they hold type and number.
    line: Vec<u8>,
    line_len: usize,
}

/// Bytes of a line that are kept.
const HEADER_BYTES: usize = 32;

impl Default for Skipper {
    fn default() -> Self {
        Self { elements: 1, bulk: 0, line: Vec::with_capacity(HEADER_BYTES), line_len: 0 }
    }
}

impl Skipper {
    /// Begins with another reply.
    pub fn reset(&mut self) {
        self.line.clear();
        (self.elements, self.bulk, self.line_len) = (1, 0, 0);
    }

    /// Takes the next bytes of the reply. Says how many belong to it and whether it is complete.
    ///
    /// # Errors
    /// When the bytes are no reply.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(usize, bool), Garbage> {
        let mut at = 0;
        while self.elements > 0 {
            let rest = &bytes[at..];
            if rest.is_empty() {
                return Ok((at, false));
            }
            if self.bulk > 0 {
                let count = self.bulk.min(rest.len() as u64);
                self.bulk -= count;
                at += count as usize;
                if self.bulk == 0 {
                    self.elements -= 1;
                }
                continue;
            }
            let end = memchr::memchr(b'\n', rest);
            let piece = end.map_or(rest.len(), |end| end + 1);
            let room = HEADER_BYTES - self.line.len();
            self.line.extend_from_slice(&rest[..piece.min(room)]);
            self.line_len += piece;
            at += piece;
            if end.is_some() {
                self.header()?;
            } else if self.line_len > LINE_BYTES_MAX {
                return Err(Garbage);
            }
        }
        Ok((at, true))
    }

    /// Reads the line that is complete now.
    fn header(&mut self) -> Result<(), Garbage> {
        let kind = *self.line.first().ok_or(Garbage)?;
        match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => self.elements -= 1,
            b'$' | b'=' | b'!' => match self.number()? {
                Some(length) => self.bulk = length + 2,
                None => self.elements -= 1,
            },
            b'*' | b'~' | b'>' => {
                let count = self.number()?.unwrap_or(0);
                self.elements = (self.elements - 1).checked_add(count).ok_or(Garbage)?;
            }
            b'%' | b'|' => {
                let pairs = self.number()?.unwrap_or(0);
                // An attribute precedes the element it describes.
                let this = u64::from(kind == b'%');
                let count = pairs.checked_mul(2).ok_or(Garbage)?;
                self.elements = (self.elements - this).checked_add(count).ok_or(Garbage)?;
            }
            _ => return Err(Garbage),
        }
        self.line.clear();
        self.line_len = 0;
        Ok(())
    }

    /// The number of the line; `None` is a null.
    fn number(&self) -> Result<Option<u64>, Garbage> {
        let digits = self.line[1..].strip_suffix(b"\r\n").ok_or(Garbage)?;
        if digits == b"-1" {
            return Ok(None);
        }
        if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
            return Err(Garbage);
        }
        Ok(Some(digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reply() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            Just(b"+OK\r\n".to_vec()),
            Just(b":-12\r\n".to_vec()),
            Just(b"$-1\r\n".to_vec()),
            Just(b"*-1\r\n".to_vec()),
            Just(b"_\r\n".to_vec()),
            "[a-z ]{0,80}".prop_map(|text| format!("-ERR {text}\r\n").into_bytes()),
            prop::collection::vec(any::<u8>(), 0..100).prop_map(|bytes| {
                let mut reply = format!("${}\r\n", bytes.len()).into_bytes();
                reply.extend(bytes);
                reply.extend(b"\r\n");
                reply
            }),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(|items| {
                    let mut reply = format!("*{}\r\n", items.len()).into_bytes();
                    reply.extend(items.into_iter().flatten());
                    reply
                }),
                prop::collection::vec((inner.clone(), inner), 0..4).prop_map(|items| {
                    let mut reply = format!("%{}\r\n", items.len()).into_bytes();
                    reply.extend(items.into_iter().flat_map(|(key, value)| [key, value].concat()));
                    reply
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_end_is_found_however_the_bytes_are_cut(
            reply in reply(), more in prop::collection::vec(any::<u8>(), 0..20), cut in 1usize..50,
        ) {
            let all = [reply.clone(), more].concat();
            let mut skipper = Skipper::default();
            let (mut at, mut done) = (0, false);
            while !done {
                let piece = &all[at..all.len().min(at + cut)];
                let (count, complete) = skipper.feed(piece).expect("it is a reply");
                prop_assert!(complete || count == piece.len());
                at += count;
                done = complete;
            }
            prop_assert_eq!(at, reply.len());
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Skipper::default().feed(&bytes);
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bytes in [
            &b"hello\r\n"[..],
            b"$x\r\n",
            b"$\r\n",
            b"*99999999999999999999\r\n",
            b"\r\n",
            b"$-2\r\n",
            b"$5\n",
        ] {
            assert_eq!(Skipper::default().feed(bytes), Err(Garbage), "{bytes:?}");
        }
    }
}
