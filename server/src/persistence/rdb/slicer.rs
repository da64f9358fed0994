//! A value as RDB bytes, in slices when it is large.

use super::bloom::BloomSlicer;
use super::decode::Usage;
use super::encode::{self, Draft};
use super::format::{NODE_PACKED, kind};
use super::stream::{self, StreamSlicer};
use crate::encoding::bag::{Bag, Extra, Thin};
use crate::encoding::listpack::Element;
use crate::keyspace::{Entry, Str};
use crate::types::hash::Timed;
use crate::types::{Hash, Object, Set, Zset};

/// Strings of more bytes are written as they are and in slices: what is compressed has to lie in one piece, twice.
const SLICED_FROM: usize = 16 << 20;

/// A value that lies in the keyspace.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// A string.
    Text(Str<'a>),
    /// A collection.
    Object(&'a Object),
}

impl<'a> From<&'a Object> for Content<'a> {
    #[inline]
    fn from(object: &'a Object) -> Self {
        Self::Object(object)
    }
}

impl<'a> From<&'a Entry> for Content<'a> {
    #[inline]
    fn from(entry: &'a Entry) -> Self {
        match (entry.string(), entry.object()) {
            (Some(text), _) => Self::Text(text),
            (None, Some(object)) => Self::Object(object),
            // An entry is one or the other.
            (None, None) => Self::Text(Str::Bytes(b"")),
        }
    }
}

impl Content<'_> {
    /// The type that stands in the file.
    #[inline]
    pub(crate) fn kind(self) -> u8 {
        match self {
            Self::Text(_) => kind::STRING,
            Self::Object(Object::List(_)) => kind::LIST_QUICKLIST_2,
            Self::Object(Object::Set(Set::Ints(_))) => kind::SET_INTSET,
            Self::Object(Object::Set(_)) => kind::SET,
            Self::Object(Object::Hash(Hash::Packed(_))) => kind::HASH_LISTPACK,
            Self::Object(Object::Hash(Hash::Timed(timed))) if timed.next_due().is_some() => {
                if timed.is_packed() { kind::HASH_LISTPACK_DEADLINES } else { kind::HASH_DEADLINES }
            }
            Self::Object(Object::Hash(_)) => kind::HASH,
            Self::Object(Object::Zset(Zset::Packed(_))) => kind::ZSET_LISTPACK,
            Self::Object(Object::Zset(_)) => kind::ZSET,
            Self::Object(Object::Stream(_)) => kind::STREAM_2,
            Self::Object(Object::Bloom(_)) => kind::MODULE_2,
        }
    }
}

/// Where the writing of a value stands. Between two slices the value must not change; the slices together are what one
/// piece would have been.
#[derive(Debug, Clone, Default)]
pub struct Slicer {
    is_begun: bool,
    /// How far it is: bytes of a string, nodes of a list, buckets of a table, members of a sorted set.
    place: usize,
    stream: StreamSlicer,
    bloom: BloomSlicer,
}

impl Slicer {
    /// Writes what stands before the value of an entry: deadline, use, type and key.
    #[inline]
    pub fn begin(draft: &mut Draft, entry: &Entry, usage: Usage) -> Self {
        if let Some(Object::Stream(stream)) = entry.object() {
            stream::names_before(draft, stream);
        }
        encode::head(draft, entry, usage, Content::from(entry).kind());
        Self::default()
    }

    /// Writes a value that stands alone, as the payload of DUMP, where what is known of producers is part of a stream.
    pub fn alone(draft: &mut Draft, entry: &Entry) -> Self {
        match entry.object() {
            Some(Object::Stream(stream)) if stream.idempotence().is_some() => {
                draft.bytes.push(kind::STREAM_4);
                Self { stream: StreamSlicer::with_names(), ..Self::default() }
            }
            _ => {
                draft.bytes.push(Content::from(entry).kind());
                Self::default()
            }
        }
    }

    /// Writes more of the value until the slice has about `budget` bytes; answers whether that was the end. A part that
    /// cannot be divided (a node of a list, a member, a field with its value, a packed collection) is written whole.
    #[inline]
    pub fn advance<'a>(
        &mut self,
        draft: &mut Draft,
        content: impl Into<Content<'a>>,
        budget: usize,
    ) -> bool {
        match content.into() {
            Content::Text(Str::Int(number)) => {
                draft.put_int(number);
                true
            }
            Content::Text(Str::Bytes(bytes)) if bytes.len() <= SLICED_FROM => {
                draft.put_text(bytes);
                true
            }
            Content::Text(Str::Bytes(bytes)) => self.string(draft, bytes, budget),
            Content::Object(object) => self.object(draft, object, budget),
        }
    }

    /// Writes how many parts follow, once.
    fn count(&mut self, draft: &mut Draft, count: usize) {
        if !std::mem::replace(&mut self.is_begun, true) {
            draft.put_length(count as u64);
        }
    }

    fn string(&mut self, draft: &mut Draft, bytes: &[u8], budget: usize) -> bool {
        self.count(draft, bytes.len());
        let end = self.place.saturating_add(budget.max(1)).min(bytes.len());
        draft.bytes.extend_from_slice(&bytes[self.place..end]);
        self.place = end;
        end == bytes.len()
    }

    fn object(&mut self, draft: &mut Draft, object: &Object, budget: usize) -> bool {
        let most = draft.bytes.len().saturating_add(budget.max(1));
        match object {
            Object::List(list) => {
                self.count(draft, list.node_count());
                while self.place < list.node_count() {
                    draft.put_length(NODE_PACKED);
                    list.with_node(self.place, |node| draft.put_plain(node.as_bytes()));
                    self.place += 1;
                    if draft.bytes.len() >= most {
                        break;
                    }
                }
                self.place >= list.node_count()
            }
            Object::Set(Set::Ints(ints)) => {
                draft.put_plain(ints.as_bytes());
                true
            }
            Object::Set(Set::Packed(pack)) => {
                draft.put_length(pack.len() as u64);
                pack.iter().for_each(|member| put_element(draft, member));
                true
            }
            Object::Set(Set::Table(bag)) => {
                self.count(draft, bag.len());
                self.bag(draft, bag, most, |draft, item| draft.put_text(item.key()))
            }
            Object::Hash(Hash::Packed(pack)) | Object::Zset(Zset::Packed(pack)) => {
                draft.put_plain(pack.as_bytes());
                true
            }
            Object::Hash(Hash::Table(bag)) => {
                self.count(draft, bag.len());
                self.bag(draft, bag, most, |draft, item| {
                    draft.put_text(item.key());
                    draft.put_text(item.tail());
                })
            }
            Object::Hash(Hash::Timed(timed)) => self.timed(draft, timed, most),
            Object::Zset(zset) => {
                self.count(draft, zset.len());
                // Highest first, as Redis writes them: reading back appends at one end.
                zset.walk(self.place, true, |member, score| {
                    put_element(draft, member);
                    draft.bytes.extend_from_slice(&score.to_le_bytes());
                    self.place += 1;
                    draft.bytes.len() < most
                });
                self.place >= zset.len()
            }
            Object::Stream(stream) => self.stream.advance(draft, stream, most),
            Object::Bloom(filter) => self.bloom.advance(draft, filter, most),
        }
    }

    fn timed(&mut self, draft: &mut Draft, timed: &Timed, most: usize) -> bool {
        let nearest = timed.next_due();
        if let Some(nearest) = nearest
            && !self.is_begun
        {
            draft.bytes.extend_from_slice(&nearest.to_le_bytes());
            if let Some(pack) = timed.sorted_listpack() {
                draft.put_plain(pack.as_bytes());
                return true;
            }
        }
        self.count(draft, timed.stored_len());
        while draft.bytes.len() < most {
            let is_there = timed.visit_bucket(self.place, |field, value, deadline| {
                if let Some(nearest) = nearest {
                    // From 1 on, for 0 is none.
                    let apart = deadline.map_or(0, |deadline| deadline.abs_diff(nearest) + 1);
                    draft.put_length(apart);
                }
                put_element(draft, field);
                put_element(draft, value);
            });
            if !is_there {
                return true;
            }
            self.place += 1;
        }
        false
    }

    fn bag<X: Extra>(
        &mut self,
        draft: &mut Draft,
        bag: &Bag<X>,
        most: usize,
        mut put: impl FnMut(&mut Draft, &Thin<X>),
    ) -> bool {
        while draft.bytes.len() < most {
            if !bag.visit_bucket(self.place, |item| put(draft, item)) {
                return true;
            }
            self.place += 1;
        }
        false
    }
}

fn put_element(draft: &mut Draft, element: Element<'_>) {
    match element {
        Element::Bytes(text) => draft.put_text(text),
        Element::Int(number) => draft.put_int(number),
    }
}
