//! What values mean: lists, sets, hashes, sorted sets and streams, with no word of clients or replies.

pub mod bloom;
pub mod geo;
pub mod hash;
mod kind;
pub mod list;
pub mod set;
pub mod stream;
pub mod zset;

pub use bloom::Bloom;
pub use hash::Hash;
pub use kind::Kind;
pub use list::List;
pub use set::Set;
pub use stream::Stream;
pub use zset::Zset;

/// How large collections may be in their packed forms.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Fields of a packed hash.
    pub hash_entries: usize,
    /// Bytes of a field or value of a packed hash.
    pub hash_value: usize,
    /// Integers of an integer set.
    pub set_intset_entries: usize,
    /// Members of a packed sorted set.
    pub zset_entries: usize,
    /// Bytes of a member of a packed sorted set.
    pub zset_value: usize,
    /// Size of a list's node: elements when positive, else -1 to -5 for 4 to 64 KiB.
    pub list_node: i64,
    /// Nodes at each end of a list that are not compressed; 0 is all.
    pub list_compress_depth: usize,
    /// Bytes of a stream's node; 0 is no limit.
    pub stream_node_bytes: usize,
    /// Entries of a stream's node, deleted ones included; 0 is no limit.
    pub stream_node_entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hash_entries: 512,
            hash_value: 64,
            set_intset_entries: 512,
            zset_entries: 128,
            zset_value: 64,
            list_node: -2,
            list_compress_depth: 0,
            stream_node_bytes: 4096,
            stream_node_entries: 100,
        }
    }
}

/// A value that is not a string.
#[derive(Clone)]
pub enum Object {
    /// A list.
    List(List),
    /// A set.
    Set(Set),
    /// A hash.
    Hash(Hash),
    /// A sorted set.
    Zset(Zset),
    /// A stream.
    Stream(Box<Stream>),
    /// A Bloom filter.
    Bloom(Box<Bloom>),
}

impl Object {
    /// Buckets and overflow buckets of its table, and what lies there, if it has one.
    #[must_use]
    pub fn table_counts(&self) -> Option<(usize, usize, usize)> {
        let (counts, len) = match self {
            Self::Set(set) => match set {
                Set::Table(bag) => (Some(bag.bucket_counts()), set.len()),
                Set::Ints(_) | Set::Packed(_) => (None, 0),
            },
            Self::Hash(hash) => match hash {
                Hash::Table(bag) => (Some(bag.bucket_counts()), hash.len()),
                Hash::Timed(timed) => (timed.bucket_counts(), hash.len()),
                Hash::Packed(_) => (None, 0),
            },
            Self::Zset(zset) => (zset.bucket_counts(), zset.len()),
            Self::List(_) | Self::Stream(_) | Self::Bloom(_) => (None, 0),
        };
        counts.map(|(buckets, overflow)| (buckets, overflow, len))
    }

    /// The type's name-giving kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::List(_) => Kind::List,
            Self::Set(_) => Kind::Set,
            Self::Hash(_) => Kind::Hash,
            Self::Zset(_) => Kind::Zset,
            Self::Stream(_) => Kind::Stream,
            Self::Bloom(_) => Kind::Bloom,
        }
    }

    /// Asks the processor to fetch the bucket of a member's hash, if members are found by hashing.
    #[inline]
    pub fn prefetch(&self, member: u64) {
        match self {
            Self::Set(Set::Table(bag)) => bag.prefetch(member),
            Self::Hash(Hash::Table(bag)) => bag.prefetch(member),
            Self::Hash(Hash::Timed(timed)) => timed.prefetch(member),
            Self::Zset(Zset::Tree(large)) => large.prefetch(member),
            _ => {}
        }
    }

    /// Asks the processor to fetch the item of a member's hash; the bucket should be there already.
    #[inline]
    pub fn prefetch_item(&self, member: u64) {
        match self {
            Self::Set(Set::Table(bag)) => bag.prefetch_item(member),
            Self::Hash(Hash::Table(bag)) => bag.prefetch_item(member),
            Self::Hash(Hash::Timed(timed)) => timed.prefetch_item(member),
            Self::Zset(Zset::Tree(large)) => large.prefetch_item(member),
            _ => {}
        }
    }

    /// The name OBJECT ENCODING answers in 7.0.15, whatever form lies beneath.
    #[must_use]
    pub fn encoding_name(&self) -> &'static str {
        match self {
            Self::List(list) => list.encoding_name(),
            Self::Set(set) => set.encoding_name(),
            Self::Hash(hash) => hash.encoding_name(),
            Self::Zset(zset) => zset.encoding_name(),
            Self::Stream(_) => "stream",
            // As a value of a module.
            Self::Bloom(_) => "raw",
        }
    }

    /// Whether it is a hash with fields that have deadlines.
    #[must_use]
    pub fn has_field_deadlines(&self) -> bool {
        matches!(self, Self::Hash(hash) if hash.has_deadlines())
    }

    /// Whether it is a stream that knows names of entries.
    #[must_use]
    pub fn knows_names(&self) -> bool {
        let Self::Stream(stream) = self else { return false };
        stream.idempotence().is_some_and(|known| known.producer_count() > 0)
    }

    /// Elements that lie in the collection, also those that nobody sees any more.
    #[must_use]
    pub fn stored_len(&self) -> usize {
        match self {
            Self::Hash(hash) => hash.stored_len(),
            _ => self.len(),
        }
    }

    /// Elements in the collection; of a stream, all parts that take time (see [`Stream::parts`]).
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::List(list) => list.len(),
            Self::Set(set) => set.len(),
            Self::Hash(hash) => hash.len(),
            Self::Zset(zset) => zset.len(),
            Self::Stream(stream) => stream.parts(),
            Self::Bloom(filter) => filter.parts(),
        }
    }

    /// Parts that have to be freed one by one, about.
    #[must_use]
    pub fn parts_to_free(&self) -> usize {
        match self {
            Self::Stream(stream) => stream.parts_to_free(),
            // Few allocations, however large.
            Self::Bloom(filter) => filter.links().len(),
            other => other.stored_len(),
        }
    }

    /// Bytes that the collection has allocated beside its entry, told from `samples` of its parts when they are many.
    #[must_use]
    pub fn allocated_bytes(&self, samples: usize) -> usize {
        match self {
            Self::List(list) => list.allocated_bytes(samples),
            Self::Set(set) => set.allocated_bytes(samples),
            Self::Hash(hash) => hash.allocated_bytes(samples),
            Self::Zset(zset) => zset.allocated_bytes(samples),
            Self::Stream(stream) => stream.allocated_bytes(samples),
            Self::Bloom(filter) => filter.allocated_bytes(),
        }
    }

    /// Whether nothing is left; such a key is removed. A stream stays without entries too.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !matches!(self, Self::Stream(_)) && self.stored_len() == 0
    }
}

/// A collection type that a key can hold: how to find it in an [`Object`] and how a new one begins.
pub trait Collection: Sized {
    /// The collection inside `object`, if it is of this type.
    fn of(object: &Object) -> Option<&Self>;
    /// The same, to be changed.
    fn of_mut(object: &mut Object) -> Option<&mut Self>;
    /// An empty one.
    fn create() -> Object;
}

macro_rules! collection {
    ($($name:ident),*) => {$(
        impl Collection for $name {
            fn of(object: &Object) -> Option<&Self> {
                if let Object::$name(inner) = object { Some(inner) } else { None }
            }
            fn of_mut(object: &mut Object) -> Option<&mut Self> {
                if let Object::$name(inner) = object { Some(inner) } else { None }
            }
            fn create() -> Object {
                Object::$name($name::default())
            }
        }
    )*};
}

collection!(List, Set, Hash, Zset);

impl Collection for Stream {
    fn of(object: &Object) -> Option<&Self> {
        if let Object::Stream(inner) = object { Some(inner) } else { None }
    }

    fn of_mut(object: &mut Object) -> Option<&mut Self> {
        if let Object::Stream(inner) = object { Some(inner) } else { None }
    }

    fn create() -> Object {
        Object::Stream(Box::default())
    }
}

impl Collection for Bloom {
    fn of(object: &Object) -> Option<&Self> {
        if let Object::Bloom(inner) = object { Some(inner) } else { None }
    }

    fn of_mut(object: &mut Object) -> Option<&mut Self> {
        if let Object::Bloom(inner) = object { Some(inner) } else { None }
    }

    /// One without a link, which takes nothing: filters are made with a capacity.
    fn create() -> Object {
        Object::Bloom(Box::default())
    }
}
