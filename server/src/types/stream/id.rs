//! The ids of entries: a time in milliseconds, and a number within it.

/// The id of an entry. Ids order entries; those of a stream only ever grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct StreamId {
    /// Milliseconds since 1970, or whatever the writer took for it.
    pub ms: u64,
    /// Tells apart what has the same time.
    pub seq: u64,
}

/// Longer texts are no ids.
const TEXT_MAX: usize = 127;
/// Bytes of an id where it is kept as bytes.
pub const ID_BYTES: usize = 16;

impl StreamId {
    /// The lowest.
    pub const MIN: Self = Self { ms: 0, seq: 0 };
    /// The highest.
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// An id.
    #[must_use]
    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    /// The next higher id, if there is one.
    #[inline]
    #[must_use]
    pub fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Self { seq, ..self }),
            None => self.ms.checked_add(1).map(|ms| Self { ms, seq: 0 }),
        }
    }

    /// The next lower id, if there is one.
    #[must_use]
    pub fn previous(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Self { seq, ..self }),
            None => self.ms.checked_sub(1).map(|ms| Self { ms, seq: u64::MAX }),
        }
    }

    /// The id as it stands in files: a number of 128 bits, highest byte first.
    #[must_use]
    pub fn to_bytes(self) -> [u8; ID_BYTES] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    /// The reverse of [`StreamId::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
        let number = u128::from_be_bytes(bytes);
        Self { ms: (number >> 64) as u64, seq: number as u64 }
    }

    /// The id's text.
    #[must_use]
    pub fn text(self) -> IdText {
        let mut text = IdText { bytes: [0; IdText::LENGTH_MAX], length: 0 };
        text.push(itoa::Buffer::new().format(self.ms).as_bytes());
        text.push(b"-");
        text.push(itoa::Buffer::new().format(self.seq).as_bytes());
        text
    }

    /// The id that a text names: `ms-seq`, or `ms`, which stands for `missing_seq` in it.
    #[must_use]
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<Self> {
        let (ms, seq) = halves(text)?;
        let seq = seq.map_or(Some(missing_seq), parse_number)?;
        Some(Self { ms: parse_number(ms)?, seq })
    }

    /// As [`StreamId::parse`]; `-` and `+` are the lowest and the highest id.
    #[must_use]
    pub fn parse_end(text: &[u8], missing_seq: u64) -> Option<Self> {
        match text {
            b"-" => Some(Self::MIN),
            b"+" => Some(Self::MAX),
            _ => Self::parse(text, missing_seq),
        }
    }

    /// The id that an entry is to have, where `ms-*` leaves the number to the stream.
    #[must_use]
    pub fn parse_wanted(text: &[u8]) -> Option<Wanted> {
        let (ms, seq) = halves(text)?;
        let ms = parse_number(ms)?;
        match seq {
            Some(b"*") => Some(Wanted::At(ms)),
            Some(seq) => Some(Wanted::Exactly(Self { ms, seq: parse_number(seq)? })),
            None => Some(Wanted::Exactly(Self { ms, seq: 0 })),
        }
    }
}

/// The id that a new entry is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The time of now, or what follows the last one.
    Next,
    /// This time, with a number of the stream's choice.
    At(u64),
    /// This one.
    Exactly(StreamId),
}

/// The text of an id.
#[derive(Debug, Clone, Copy)]
pub struct IdText {
    bytes: [u8; Self::LENGTH_MAX],
    length: u8,
}

impl IdText {
    const LENGTH_MAX: usize = 41;

    fn push(&mut self, text: &[u8]) {
        let start = usize::from(self.length);
        self.bytes[start..start + text.len()].copy_from_slice(text);
        self.length += text.len() as u8;
    }

    /// The text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// The two numbers of an id's text; the second may be missing. What follows a zero byte is not looked at, as in Redis.
fn halves(text: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    if text.len() > TEXT_MAX {
        return None;
    }
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    let text = &text[..end];
    Some(match text.iter().position(|byte| *byte == b'-') {
        Some(middle) => (&text[..middle], Some(&text[middle + 1..])),
        None => (text, None),
    })
}

/// A number as C's `strtoull` reads it where it reads all of the text: spaces and a sign may stand before it. What is
/// plainly a negative number is none.
fn parse_number(text: &[u8]) -> Option<u64> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|byte| !is_space(byte)).unwrap_or(text.len());
    let (is_negative, digits) = match &text[start..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })?;
    if !is_negative {
        return Some(number);
    }
    let is_plain = start == 0 && digits[0] != b'0' && number <= 1 << 63;
    (!is_plain).then(|| number.wrapping_neg())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_read_as_redis_reads_them() {
        let id = StreamId::new;
        for (text, wanted) in [
            (&b"5-7"[..], Some(id(5, 7))),
            (b"5", Some(id(5, 9))),
            (b"18446744073709551615-18446744073709551615", Some(StreamId::MAX)),
            (b"18446744073709551616-0", None),
            (b"007-08", Some(id(7, 8))),
            (b" +5- 7", Some(id(5, 7))),
            (b"5--1", None),
            (b"5--0", Some(id(5, 0))),
            (b"5--01", Some(id(5, u64::MAX))),
            (b"5-", None),
            (b"-5", None),
            (b"", None),
            (b"-", None),
            (b"5-*", None),
            (b"5-7 ", None),
            (b"5\0-7", Some(id(5, 9))),
        ] {
            assert_eq!(StreamId::parse(text, 9), wanted, "{}", text.escape_ascii());
        }
        assert_eq!(StreamId::parse(&[b'0'; 128], 0), None);
        assert_eq!(StreamId::parse(&[b'0'; 127], 0), Some(StreamId::MIN));
        assert_eq!(StreamId::parse_end(b"+", 0), Some(StreamId::MAX));
        assert_eq!(StreamId::parse_wanted(b"5-*"), Some(Wanted::At(5)));
        assert_eq!(StreamId::parse_wanted(b"5"), Some(Wanted::Exactly(id(5, 0))));
        assert_eq!(StreamId::parse_wanted(b"-"), None);
        assert_eq!((StreamId::MIN.previous(), StreamId::MAX.next()), (None, None));
    }

    proptest! {
        #[test]
        fn an_id_survives_its_forms(ms in any::<u64>(), seq in any::<u64>()) {
            let id = StreamId { ms, seq };
            prop_assert_eq!(StreamId::parse(id.text().as_bytes(), 0), Some(id));
            prop_assert_eq!(StreamId::from_bytes(id.to_bytes()), id);
            if let Some(next) = id.next() {
                prop_assert!(next > id && next.to_bytes() > id.to_bytes());
                prop_assert_eq!(next.previous(), Some(id));
            }
        }
    }
}
