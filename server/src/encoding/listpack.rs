//! The listpack: a sequence of strings and integers in one allocation, readable from both ends.
//!
//! ```text
//!   total bytes: u32 │ elements: u16 │ element … │ 0xff          element:  encoding and data │ back length
//! ```
//!
//! The bytes are Redis's, for they go into RDB files and DUMP payloads as they are (redis `listpack.md`). An element
//! that is the text of an integer is kept as one. `elements` is `UNKNOWN` from 65535 on, and counted when asked.
//!
//! A [`Listpack`] is one pointer wide; the allocation always has the size class of `total bytes`, so that it grows in
//! steps without a capacity being stored. Positions are byte offsets of elements and hold until the next change.
//!
//! `unsafe` rests on this: *the pointer leads to an allocation of `size_class(total)` bytes that begins with a valid
//! listpack of `total` bytes.* Everything else is slices and checked arithmetic.

mod node;

pub use node::{Node, Side};

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ptr::NonNull;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use redstart_common::memory::size_class;
use redstart_common::number::parse_i64;

const HEADER: usize = 6;
const END: u8 = 0xff;
const UNKNOWN: u16 = u16::MAX;
/// The longest text that is tried as an integer.
const INTEGER_TEXT_MAX: usize = 20;

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element<'a> {
    /// An integer; its text is its decimal form.
    Int(i64),
    /// Any other string.
    Bytes(&'a [u8]),
}

impl Element<'_> {
    /// Whether the element's text is `text`.
    #[inline]
    #[must_use]
    pub fn is(self, text: &[u8]) -> bool {
        match self {
            Self::Bytes(bytes) => bytes == text,
            Self::Int(number) => {
                text.len() <= INTEGER_TEXT_MAX
                    && itoa::Buffer::new().format(number).as_bytes() == text
            }
        }
    }

    /// Calls `body` with the element's text.
    #[inline]
    pub fn with_text<R>(self, body: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::Bytes(bytes) => body(bytes),
            Self::Int(number) => body(itoa::Buffer::new().format(number).as_bytes()),
        }
    }

    /// The element's text.
    #[must_use]
    pub fn to_vec(self) -> Vec<u8> {
        self.with_text(<[u8]>::to_vec)
    }
}

/// An element ready to be stored: its encoded bytes without the back length.
struct Encoded<'a> {
    head: [u8; 9],
    head_len: usize,
    data: &'a [u8],
}

impl<'a> Encoded<'a> {
    fn of(text: &'a [u8]) -> Self {
        if text.len() <= INTEGER_TEXT_MAX
            && let Some(number) = parse_i64(text)
        {
            return Self::int(number);
        }
        let mut head = [0; 9];
        let length = text.len();
        let head_len = if length < 64 {
            head[0] = 0x80 | length as u8;
            1
        } else if length < 4096 {
            head[0] = 0xe0 | (length >> 8) as u8;
            head[1] = length as u8;
            2
        } else {
            head[0] = 0xf0;
            head[1..5].copy_from_slice(&(length as u32).to_le_bytes());
            5
        };
        Self { head, head_len, data: text }
    }

    fn int(number: i64) -> Self {
        let mut head = [0; 9];
        let bytes = number.to_le_bytes();
        let mut wide = |mark: u8, width: usize| {
            head[0] = mark;
            head[1..=width].copy_from_slice(&bytes[..width]);
            width + 1
        };
        let head_len = match number {
            0..=127 => {
                head[0] = number as u8;
                1
            }
            -4096..=4095 => {
                let number = number as u16 & 0x1fff;
                head[0] = 0xc0 | (number >> 8) as u8;
                head[1] = number as u8;
                2
            }
            -32_768..=32_767 => wide(0xf1, 2),
            -8_388_608..=8_388_607 => wide(0xf2, 3),
            -2_147_483_648..=2_147_483_647 => wide(0xf3, 4),
            _ => wide(0xf4, 8),
        };
        Self { head, head_len, data: b"" }
    }

    fn len(&self) -> usize {
        self.head_len + self.data.len()
    }

    /// Bytes of the whole element, back length included.
    fn total(&self) -> usize {
        self.len() + back_length_size(self.len())
    }

    fn write(&self, out: &mut [u8]) {
        out[..self.head_len].copy_from_slice(&self.head[..self.head_len]);
        let end = self.len();
        out[self.head_len..end].copy_from_slice(self.data);
        write_back_length(end, &mut out[end..]);
    }
}

#[inline]
fn back_length_size(length: usize) -> usize {
    match length {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    }
}

/// Seven bits a byte, to be read from the right; all but the leftmost have the high bit set.
fn write_back_length(length: usize, out: &mut [u8]) {
    let size = back_length_size(length);
    let mut rest = length;
    for place in (0..size).rev() {
        out[place] = (rest & 127) as u8 | if place > 0 { 128 } else { 0 };
        rest >>= 7;
    }
}

/// Reads the back length that ends just before `end`: the element's length, and the bytes the back length takes.
fn read_back_length(bytes: &[u8], end: usize) -> Option<(usize, usize)> {
    let (mut length, mut size) = (0_usize, 0);
    loop {
        let byte = *bytes.get(end.checked_sub(size + 1)?)?;
        length |= ((byte & 127) as usize) << (7 * size);
        size += 1;
        if byte & 128 == 0 {
            return Some((length, size));
        }
        if size == 5 {
            return None;
        }
    }
}

/// Bytes of the element at the start of `bytes`, without its back length.
#[inline]
fn encoded_length(bytes: &[u8]) -> Option<usize> {
    let first = *bytes.first()?;
    Some(match first {
        0x00..=0x7f => 1,
        0x80..=0xbf => 1 + (first & 0x3f) as usize,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 2 + (((first & 0x0f) as usize) << 8 | *bytes.get(1)? as usize),
        0xf0 => 5 + u32::from_le_bytes(bytes.get(1..5)?.try_into().ok()?) as usize,
        0xf1 => 3,
        0xf2 => 4,
        0xf3 => 5,
        0xf4 => 9,
        _ => return None,
    })
}

#[inline]
fn decode(bytes: &[u8]) -> Element<'_> {
    let signed = |width: usize| {
        let mut full = [0; 8];
        full[8 - width..].copy_from_slice(&bytes[1..=width]);
        Element::Int(i64::from_le_bytes(full) >> (64 - 8 * width))
    };
    let first = bytes[0];
    match first {
        0x00..=0x7f => Element::Int(i64::from(first)),
        0x80..=0xbf => Element::Bytes(&bytes[1..1 + (first & 0x3f) as usize]),
        0xc0..=0xdf => {
            let number = u16::from(first & 0x1f) << 8 | u16::from(bytes[1]);
            // The thirteenth bit is the sign.
            Element::Int(i64::from((number << 3) as i16 >> 3))
        }
        0xe0..=0xef => {
            let length = ((first & 0x0f) as usize) << 8 | bytes[1] as usize;
            Element::Bytes(&bytes[2..2 + length])
        }
        0xf1 => signed(2),
        0xf2 => signed(3),
        0xf3 => signed(4),
        0xf4 => signed(8),
        _ => {
            let length = u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize;
            Element::Bytes(&bytes[5..5 + length])
        }
    }
}

/// A packed sequence. See the module's text.
pub struct Listpack {
    place: NonNull<u8>,
}

fn layout(total: usize) -> Layout {
    Layout::from_size_align(size_class(total), 1).expect("totals fit 32 bits")
}

impl Default for Listpack {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for Listpack {
    fn clone(&self) -> Self {
        Self::copy_of(self.as_bytes())
    }
}

impl Drop for Listpack {
    fn drop(&mut self) {
        // SAFETY: the allocation has this layout by the invariant.
        unsafe { dealloc(self.place.as_ptr(), layout(self.total())) }
    }
}

impl Listpack {
    /// An empty listpack.
    #[must_use]
    pub fn new() -> Self {
        Self::copy_of(&[HEADER as u8 + 1, 0, 0, 0, 0, 0, END])
    }

    /// A copy of bytes that are a valid listpack.
    fn copy_of(bytes: &[u8]) -> Self {
        let layout = layout(bytes.len());
        // SAFETY: the layout is not empty, and at least as large as `bytes`.
        unsafe {
            let place = alloc(layout);
            let Some(place) = NonNull::new(place) else { handle_alloc_error(layout) };
            place.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            Self { place }
        }
    }

    /// Takes bytes from outside in, if they are a well-formed listpack to the last byte.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let total = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        if total != bytes.len() || total < HEADER + 1 || bytes[total - 1] != END {
            return None;
        }
        let count = u16::from_le_bytes([bytes[4], bytes[5]]);
        let (mut at, mut seen) = (HEADER, 0_usize);
        while at < total - 1 {
            let length = encoded_length(&bytes[at..])?;
            let next = at.checked_add(length)?;
            let size = back_length_size(length);
            if next + size > total - 1 || read_back_length(bytes, next + size)? != (length, size) {
                return None;
            }
            at = next + size;
            seen += 1;
        }
        (count == UNKNOWN || count as usize == seen).then(|| Self::copy_of(bytes))
    }

    /// The same elements with the texts of integers kept as integers, as they are in all but data from outside.
    #[must_use]
    pub fn normalized(self) -> Self {
        let is_normal = |element: Element<'_>| match element {
            Element::Int(_) => true,
            Element::Bytes(text) => text.len() > INTEGER_TEXT_MAX || parse_i64(text).is_none(),
        };
        if self.iter().all(is_normal) {
            return self;
        }
        let mut normal = Self::new();
        self.iter().for_each(|element| element.with_text(|text| normal.push_back(text)));
        normal
    }

    /// Whether the listpack, which is [`Listpack::normalized`], is of pairs whose first elements all differ.
    #[must_use]
    pub fn is_map(&self) -> bool {
        let count = self.len();
        let mut seen = HashSet::with_capacity_and_hasher(count / 2, RandomState::default());
        count.is_multiple_of(2) && self.pairs().all(|(first, _)| seen.insert(first))
    }

    /// The elements two by two, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (Element<'_>, Element<'_>)> {
        let mut elements = self.iter();
        std::iter::from_fn(move || Some((elements.next()?, elements.next()?)))
    }

    /// Bytes of the listpack.
    #[inline]
    #[must_use]
    pub fn total(&self) -> usize {
        // SAFETY: a listpack has at least its header.
        u32::from_le(unsafe { self.place.cast::<u32>().read_unaligned() }) as usize
    }

    /// The listpack as it goes into files.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: `total` bytes are there by the invariant.
        unsafe { std::slice::from_raw_parts(self.place.as_ptr(), self.total()) }
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        let total = self.total();
        // SAFETY: as in `as_bytes`, and we hold the listpack mutably.
        unsafe { std::slice::from_raw_parts_mut(self.place.as_ptr(), total) }
    }

    /// Elements.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        let bytes = self.as_bytes();
        match u16::from_le_bytes([bytes[4], bytes[5]]) {
            UNKNOWN => self.iter().count(),
            count => count as usize,
        }
    }

    /// Whether there is no element.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total() == HEADER + 1
    }

    /// Bytes of the allocation.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        size_class(self.total())
    }

    fn set_count(&mut self, count: usize) {
        let count = u16::try_from(count).unwrap_or(UNKNOWN).to_le_bytes();
        self.bytes_mut()[4..6].copy_from_slice(&count);
    }

    fn stored_count(&self) -> u16 {
        let bytes = self.as_bytes();
        u16::from_le_bytes([bytes[4], bytes[5]])
    }

    fn change_count(&mut self, by: isize) {
        let stored = self.stored_count();
        if stored != UNKNOWN {
            self.set_count((stored as usize).saturating_add_signed(by));
        } else if by < 0 {
            // It may be countable again.
            let count = self.iter().count();
            self.set_count(count);
        }
    }

    /// Puts `new` bytes of room in the place of the `old` bytes at `at`, moving what is behind.
    fn make_room(&mut self, at: usize, old: usize, new: usize) {
        let total = self.total();
        let after = total - old + new;
        let (before_class, after_class) = (size_class(total), size_class(after));
        // SAFETY: when growing, the allocation is enlarged first and the tail moved within it; when shrinking, the
        // tail is moved first and the allocation cut after. `at + old <= total`, as all callers take both from
        // positions of elements. The length is written last, when it is true.
        unsafe {
            if after_class > before_class {
                let place = realloc(self.place.as_ptr(), layout(total), after_class);
                let Some(place) = NonNull::new(place) else { handle_alloc_error(layout(after)) };
                self.place = place;
            }
            let base = self.place.as_ptr();
            std::ptr::copy(base.add(at + old), base.add(at + new), total - at - old);
            base.cast::<u32>().write_unaligned((after as u32).to_le());
            if after_class < before_class {
                let place = realloc(base, layout(total), after_class);
                let Some(place) = NonNull::new(place) else { handle_alloc_error(layout(after)) };
                self.place = place;
            }
        }
    }

    /// Whether an element of `length` bytes can be added without the listpack passing 1 GiB, Redis's own bound.
    #[must_use]
    pub fn has_room_for(&self, length: usize) -> bool {
        self.total() + length + 16 <= 1 << 30
    }

    fn insert_encoded(&mut self, at: usize, encoded: &Encoded<'_>) {
        let size = encoded.total();
        self.make_room(at, 0, size);
        encoded.write(&mut self.bytes_mut()[at..at + size]);
        self.change_count(1);
    }

    /// Adds an element at the end.
    pub fn push_back(&mut self, text: &[u8]) {
        self.insert_encoded(self.total() - 1, &Encoded::of(text));
    }

    /// Adds an element at the front.
    pub fn push_front(&mut self, text: &[u8]) {
        self.insert_encoded(HEADER, &Encoded::of(text));
    }

    /// Adds an integer at the end.
    pub fn push_back_int(&mut self, number: i64) {
        self.insert_encoded(self.total() - 1, &Encoded::int(number));
    }

    /// Adds an element before the one at `position`, or at the end when that is the end.
    pub fn insert(&mut self, position: usize, text: &[u8]) {
        self.insert_encoded(position, &Encoded::of(text));
    }

    /// Puts another element in the place of the one at `position`.
    pub fn replace(&mut self, position: usize, text: &[u8]) {
        self.replace_encoded(position, &Encoded::of(text));
    }

    fn replace_encoded(&mut self, position: usize, encoded: &Encoded<'_>) {
        let old = self.size_at(position);
        let new = encoded.total();
        if old != new {
            self.make_room(position, old, new);
        }
        encoded.write(&mut self.bytes_mut()[position..position + new]);
    }

    /// Removes `count` elements from the one at `position` on; fewer when there are fewer. What was behind is at
    /// `position` then.
    pub fn remove(&mut self, position: usize, count: usize) {
        let (mut at, mut removed) = (position, 0);
        while removed < count && self.as_bytes()[at] != END {
            at += self.size_at(at);
            removed += 1;
        }
        self.make_room(position, at - position, 0);
        self.change_count(-(removed as isize));
    }

    /// Bytes of the element at a position, back length included.
    #[inline]
    fn size_at(&self, position: usize) -> usize {
        let length = encoded_length(&self.as_bytes()[position..]).unwrap_or(0);
        length + back_length_size(length)
    }

    /// The position of the first element, or the end.
    #[inline]
    #[must_use]
    pub fn first(&self) -> usize {
        HEADER
    }

    /// The position behind the last element.
    #[inline]
    #[must_use]
    pub fn end(&self) -> usize {
        self.total() - 1
    }

    /// The position of the last element.
    #[must_use]
    pub fn last(&self) -> Option<usize> {
        self.before(self.end())
    }

    /// The position behind the element at `position`.
    #[inline]
    #[must_use]
    pub fn after(&self, position: usize) -> usize {
        position + self.size_at(position)
    }

    /// The position before `position`, if there is one.
    #[must_use]
    pub fn before(&self, position: usize) -> Option<usize> {
        if position <= HEADER {
            return None;
        }
        let (length, size) = read_back_length(self.as_bytes(), position)?;
        position.checked_sub(length + size).filter(|position| *position >= HEADER)
    }

    /// The element at a position, `None` at the end.
    #[inline]
    #[must_use]
    pub fn get(&self, position: usize) -> Option<Element<'_>> {
        let bytes = self.as_bytes();
        (bytes[position] != END).then(|| decode(&bytes[position..]))
    }

    /// The element at a position and the position behind it, `None` at the end.
    #[inline]
    #[must_use]
    pub fn read(&self, position: usize) -> Option<(Element<'_>, usize)> {
        let rest = self.as_bytes().get(position..)?;
        if rest.first().is_none_or(|first| *first == END) {
            return None;
        }
        let length = encoded_length(rest)?;
        Some((decode(rest), position + length + back_length_size(length)))
    }

    /// The position of the element with an index, counted from the nearer end.
    #[must_use]
    pub fn seek(&self, index: usize) -> Option<usize> {
        let stored = self.stored_count();
        if stored != UNKNOWN && index >= stored as usize {
            return None;
        }
        if stored != UNKNOWN && index > stored as usize / 2 {
            let mut position = self.last()?;
            for _ in index..stored as usize - 1 {
                position = self.before(position)?;
            }
            return Some(position);
        }
        let mut position = HEADER;
        for _ in 0..index {
            if self.as_bytes()[position] == END {
                return None;
            }
            position = self.after(position);
        }
        (self.as_bytes()[position] != END).then_some(position)
    }

    /// The position of the first element from `position` on whose text is `text`, looking at one and then leaving
    /// `skip` out.
    #[must_use]
    pub fn find(&self, position: usize, text: &[u8], skip: usize) -> Option<usize> {
        self.find_nth(position, text, skip).map(|(position, _)| position)
    }

    /// As [`Listpack::find`], and how many were looked at before.
    #[must_use]
    pub fn find_nth(
        &self,
        mut position: usize,
        text: &[u8],
        skip: usize,
    ) -> Option<(usize, usize)> {
        let bytes = self.as_bytes();
        let number = if text.len() <= INTEGER_TEXT_MAX { parse_i64(text) } else { None };
        let mut looked_at = 0;
        while bytes[position] != END {
            let same = match (decode(&bytes[position..]), number) {
                (Element::Int(held), Some(number)) => held == number,
                (Element::Bytes(held), None) => held == text,
                // An integer's text is always kept as an integer, but in data from outside.
                (Element::Bytes(held), Some(_)) => held == text,
                (Element::Int(_), None) => false,
            };
            if same {
                return Some((position, looked_at));
            }
            looked_at += 1;
            position = self.after(position);
            for _ in 0..skip {
                if bytes[position] == END {
                    return None;
                }
                position = self.after(position);
            }
        }
        None
    }

    /// All elements in order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter { bytes: self.as_bytes(), at: HEADER }
    }

    /// The elements from a position on.
    #[must_use]
    pub fn iter_from(&self, position: usize) -> Iter<'_> {
        Iter { bytes: self.as_bytes(), at: position }
    }

    /// All elements, last first.
    pub fn iter_back(&self) -> impl Iterator<Item = Element<'_>> {
        self.iter_back_from(self.last())
    }

    /// The element at a position and those before it, the first of all last.
    pub fn iter_back_from(&self, mut position: Option<usize>) -> impl Iterator<Item = Element<'_>> {
        std::iter::from_fn(move || {
            let here = position?;
            position = self.before(here);
            self.get(here)
        })
    }

    /// Moves the elements from `position` on into a listpack of their own.
    #[must_use]
    pub fn split_off(&mut self, position: usize) -> Self {
        let count = self.iter_from(position).count();
        let mut bytes = vec![0; HEADER];
        bytes.extend_from_slice(&self.as_bytes()[position..]);
        let total = (bytes.len() as u32).to_le_bytes();
        bytes[..4].copy_from_slice(&total);
        let mut tail = Self::copy_of(&bytes);
        tail.set_count(count);
        self.remove(position, count);
        tail
    }

    /// Adds all elements of another at the end.
    pub fn append(&mut self, other: &Self) {
        let count = self.len() + other.len();
        let data = &other.as_bytes()[HEADER..other.end()];
        let at = self.end();
        self.make_room(at, 0, data.len());
        self.bytes_mut()[at..at + data.len()].copy_from_slice(data);
        self.set_count(count);
    }
}

/// Elements of a listpack in order.
#[derive(Clone)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        let rest = &self.bytes[self.at..];
        if rest[0] == END {
            return None;
        }
        let length = encoded_length(rest)?;
        self.at += length + back_length_size(length);
        Some(decode(rest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(pack: &Listpack) -> Vec<Vec<u8>> {
        pack.iter().map(Element::to_vec).collect()
    }

    #[test]
    fn bytes_are_redis_bytes() {
        let mut pack = Listpack::new();
        for text in ["hello", "1", "-1", "5000", "-70000", "99999999999"] {
            pack.push_back(text.as_bytes());
        }
        let expected: &[u8] = b"\x2b\0\0\0\x06\0\x85hello\x06\x01\x01\xdf\xff\x02\xf1\x88\x13\x03\
            \xf2\x90\xee\xfe\x04\xf4\xff\xe7\x76\x48\x17\0\0\0\x09\xff";
        assert_eq!(&pack.as_bytes()[4..], &expected[4..]);
        assert_eq!(pack.total(), expected.len());
    }

    #[test]
    fn a_number_is_only_what_prints_the_same() {
        let mut pack = Listpack::new();
        for text in ["007", "+1", "-0", "1.0", "9223372036854775808"] {
            pack.push_back(text.as_bytes());
        }
        assert!(pack.iter().all(|element| matches!(element, Element::Bytes(_))));
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            any::<i64>().prop_map(|n| n.to_string().into_bytes()),
            (-9000_i64..9000).prop_map(|n| n.to_string().into_bytes()),
            (4000_usize..20_000).prop_map(|n| vec![b'x'; n]),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_vector(steps in prop::collection::vec((0_u8..7, any::<u16>(), text()), 1..80)) {
            let mut pack = Listpack::new();
            let mut model: Vec<Vec<u8>> = Vec::new();
            for (what, place, text) in steps {
                let index = if model.is_empty() { 0 } else { place as usize % model.len() };
                match what {
                    0 => {
                        pack.push_back(&text);
                        model.push(text);
                    }
                    1 => {
                        pack.push_front(&text);
                        model.insert(0, text);
                    }
                    2 => {
                        let position = pack.seek(index).unwrap_or(pack.end());
                        pack.insert(position, &text);
                        model.insert(index, text);
                    }
                    3 if !model.is_empty() => {
                        pack.replace(pack.seek(index).expect("there"), &text);
                        model[index] = text;
                    }
                    4 if !model.is_empty() => {
                        let count = 1 + text.len() % 3;
                        pack.remove(pack.seek(index).expect("there"), count);
                        model.drain(index..(index + count).min(model.len()));
                    }
                    5 => {
                        let position = pack.seek(index).unwrap_or(pack.end());
                        let tail = pack.split_off(position);
                        prop_assert_eq!(texts(&tail), model[index.min(model.len())..].to_vec());
                        pack.append(&tail);
                    }
                    _ => {
                        let found = pack.find(pack.first(), &text, 0);
                        let known = model.iter().position(|held| *held == text);
                        prop_assert_eq!(found.is_some(), known.is_some());
                    }
                }
                prop_assert_eq!(pack.len(), model.len());
            }
            prop_assert_eq!(&texts(&pack), &model);
            let mut back: Vec<_> = pack.iter_back().map(Element::to_vec).collect();
            back.reverse();
            prop_assert_eq!(&back, &model);
            let again = Listpack::from_bytes(pack.as_bytes()).expect("well formed");
            prop_assert_eq!(texts(&again), model);
        }

        #[test]
        fn bytes_from_outside_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 7..60), fix in any::<bool>()) {
            if fix {
                let total = bytes.len() as u32;
                bytes[..4].copy_from_slice(&total.to_le_bytes());
                *bytes.last_mut().expect("not empty") = END;
            }
            if let Some(pack) = Listpack::from_bytes(&bytes) {
                prop_assert_eq!(pack.iter().count(), pack.len());
                prop_assert_eq!(pack.iter_back().count(), pack.len());
            }
        }
    }
}
