//! A node: some entries of a stream in one listpack, behind the names of the first entry's fields.
//!
//! ```text
//!   entries │ deleted │ fields │ name … │ 0 │ entry …
//!   entry:  flags │ ms │ seq │ value … │ elements of the entry                      with the names of the first
//!           flags │ ms │ seq │ fields │ name │ value … │ elements of the entry      with names of its own
//! ```
//!
//! The form is Redis's, for it goes into files as it is. The id of an entry is told by its distance from the node's,
//! which is the id of the first entry. What is deleted is marked and stays while the node does. The number of
//! elements at the end of each entry leads back to its beginning; behind the names, 0 stands in its place.
//!
//! Entries are in the order of their ids, but for deleted ones: XSETID may have set the stream back behind those.

use redstart_common::number::parse_i64;

use super::StreamId;
use crate::encoding::listpack::{self, Element, Listpack};

const DELETED: i64 = 1;
const SAME_NAMES: i64 = 2;
/// Elements of an entry before its values: flags and id.
const ENTRY_HEAD: i64 = 3;

/// A node. See the module's text.
#[derive(Clone)]
pub struct Node {
    pack: listpack::Node,
}

/// An entry where it lies.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// Its id.
    pub id: StreamId,
    pack: &'a Listpack,
    fields: usize,
    /// Where the names of the node are, if they are the entry's.
    names: Option<usize>,
    /// Where its values, or its names and values, begin.
    body: usize,
}

impl<'a> Entry<'a> {
    /// Fields.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields
    }

    /// Whether it has no field; none that a client has added is so.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields == 0
    }

    /// Calls `visit` with the name and the value of each field.
    #[inline]
    pub fn for_each(&self, mut visit: impl FnMut(Element<'a>, Element<'a>)) {
        let (mut names, mut at) = (self.names.unwrap_or(0), self.body);
        for _ in 0..self.fields {
            let from = if self.names.is_some() { &mut names } else { &mut at };
            let Some((name, after)) = self.pack.read(*from) else { return };
            *from = after;
            let Some((value, after)) = self.pack.read(at) else { return };
            at = after;
            visit(name, value);
        }
    }

    /// Where the next entry begins.
    #[inline]
    fn end(&self) -> usize {
        let elements = if self.names.is_some() { self.fields } else { self.fields * 2 };
        (0..=elements).fold(self.body, |at, _| self.pack.after(at))
    }
}

/// An entry, deleted or not, and where it begins.
pub(super) struct Found<'a> {
    pub at: usize,
    pub is_deleted: bool,
    pub entry: Entry<'a>,
}

impl Found<'_> {
    #[inline]
    pub fn end(&self) -> usize {
        self.entry.end()
    }

    fn is_live_from(&self, id: StreamId) -> bool {
        !self.is_deleted && self.entry.id >= id
    }
}

#[inline]
fn integer(element: Element<'_>) -> Option<i64> {
    match element {
        Element::Int(number) => Some(number),
        // Not what we write, but allowed.
        Element::Bytes(text) => parse_i64(text),
    }
}

#[inline]
fn read_integer(pack: &Listpack, at: usize) -> Option<(i64, usize)> {
    let (element, after) = pack.read(at)?;
    Some((integer(element)?, after))
}

/// What a node says of itself, and how to walk through it.
#[derive(Clone, Copy)]
pub(super) struct Walk<'a> {
    pack: &'a Listpack,
    id: StreamId,
    fields: usize,
    names: usize,
    first: usize,
}

impl<'a> Walk<'a> {
    /// Where the first entry begins.
    #[inline]
    pub fn first(&self) -> usize {
        self.first
    }

    /// Behind the last entry.
    #[inline]
    pub fn end(&self) -> usize {
        self.pack.end()
    }

    /// The entry that begins at a position; `None` at the end.
    #[inline]
    pub fn read(&self, at: usize) -> Option<Found<'a>> {
        let (flags, next) = read_integer(self.pack, at)?;
        let (ms, next) = read_integer(self.pack, next)?;
        let (seq, mut body) = read_integer(self.pack, next)?;
        let id = StreamId {
            ms: self.id.ms.wrapping_add(ms as u64),
            seq: self.id.seq.wrapping_add(seq as u64),
        };
        let mut fields = self.fields;
        let names = (flags & SAME_NAMES != 0).then_some(self.names);
        if names.is_none() {
            let (count, after) = read_integer(self.pack, body)?;
            (fields, body) = (usize::try_from(count).ok()?, after);
        }
        let entry = Entry { id, pack: self.pack, fields, names, body };
        Some(Found { at, is_deleted: flags & DELETED != 0, entry })
    }

    /// Where the entry that ends at a position begins; `None` for the first.
    pub fn before(&self, at: usize) -> Option<usize> {
        let mut at = self.pack.before(at)?;
        let (elements, _) = read_integer(self.pack, at)?;
        if elements == 0 {
            return None;
        }
        for _ in 0..elements {
            at = self.pack.before(at)?;
        }
        Some(at)
    }

    /// A position from which on all that is not deleted has at least the id `id`, and before which nothing has. Looked
    /// for from both ends, for what is asked for is most often near one.
    pub fn seek(&self, id: StreamId) -> usize {
        let (mut front, mut back) = (self.first, self.end());
        while front < back {
            let Some(last) = self.before(back).and_then(|at| self.read(at)) else { return front };
            if !last.is_deleted && last.entry.id < id {
                return back;
            }
            back = last.at;
            match self.read(front) {
                Some(first) if !first.is_live_from(id) => front = first.end(),
                _ => return front,
            }
        }
        front
    }
}

/// What a node from outside holds that is not deleted.
pub(super) struct Checked {
    /// Entries. A node has none where trimming has stopped at a deleted one.
    pub live: u64,
    /// The lowest and the highest id.
    pub bounds: Option<(StreamId, StreamId)>,
}

impl Node {
    /// A node for the entry that [`Node::append`] is to add next, in `capacity` bytes.
    pub(super) fn begin<'t>(
        names: impl ExactSizeIterator<Item = &'t [u8]>,
        capacity: usize,
        most: usize,
    ) -> Self {
        let mut pack = listpack::Node::from(Listpack::new());
        pack.reserve(capacity.min(most));
        for number in [0, 0, names.len() as i64] {
            pack.push_back_int(number, most);
        }
        names.for_each(|name| pack.push(listpack::Side::Back, name, most));
        pack.push_back_int(0, most);
        Self { pack }
    }

    /// Takes a listpack from a file in.
    pub(super) fn of(pack: Listpack) -> Self {
        Self { pack: pack.into() }
    }

    /// The listpack.
    #[inline]
    #[must_use]
    pub fn pack(&self) -> &Listpack {
        &self.pack
    }

    /// Bytes of the allocation.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        self.pack.allocated_bytes()
    }

    /// Entries, without and with mark of deletion.
    #[inline]
    pub(super) fn counts(&self) -> (u64, u64) {
        let Some((live, next)) = read_integer(&self.pack, self.pack.first()) else { return (0, 0) };
        let deleted = read_integer(&self.pack, next).map_or(0, |(deleted, _)| deleted);
        (live.max(0) as u64, deleted.max(0) as u64)
    }

    /// The way through the entries of the node with this id.
    #[inline]
    pub(super) fn walk(&self, id: StreamId) -> Walk<'_> {
        let pack = self.pack();
        let at = pack.after(pack.after(pack.first()));
        let (fields, names) = read_integer(pack, at).unwrap_or((0, at));
        let fields = usize::try_from(fields).unwrap_or(0);
        let first = (0..=fields).fold(names, |at, _| pack.after(at));
        Walk { pack, id, fields, names, first }
    }

    fn has_names<'t>(&self, mut names: impl ExactSizeIterator<Item = &'t [u8]>) -> bool {
        let walk = self.walk(StreamId::MIN);
        let mut at = walk.names;
        names.len() == walk.fields
            && names.all(|name| match self.pack.read(at) {
                Some((held, after)) => {
                    at = after;
                    held.is(name)
                }
                None => false,
            })
    }

    /// Adds an entry at the end of the node with the id `node`. A node that needs more room grows up to `most` bytes,
    /// and beyond only by what the entry takes.
    pub(super) fn append<'t, P>(&mut self, node: StreamId, id: StreamId, pairs: P, most: usize)
    where
        P: ExactSizeIterator<Item = (&'t [u8], &'t [u8])> + Clone,
    {
        let fields = pairs.len() as i64;
        let same = self.has_names(pairs.clone().map(|(name, _)| name));
        let first = self.pack.first();
        let (live, _) = self.counts();
        self.pack.replace_int(first, live as i64 + 1);
        let pack = &mut self.pack;
        pack.push_back_int(if same { SAME_NAMES } else { 0 }, most);
        pack.push_back_int(id.ms.wrapping_sub(node.ms) as i64, most);
        pack.push_back_int(id.seq.wrapping_sub(node.seq) as i64, most);
        if !same {
            pack.push_back_int(fields, most);
        }
        for (name, value) in pairs {
            if !same {
                pack.push(listpack::Side::Back, name, most);
            }
            pack.push(listpack::Side::Back, value, most);
        }
        let elements = if same { ENTRY_HEAD + fields } else { ENTRY_HEAD + 1 + 2 * fields };
        pack.push_back_int(elements, most);
    }

    /// Marks the entry that begins at a position as deleted, but leaves the counts to [`Node::count_deleted`].
    pub(super) fn mark_deleted(&mut self, at: usize) {
        if let Some((flags, _)) = read_integer(&self.pack, at) {
            self.pack.replace_int(at, flags | DELETED);
        }
    }

    /// Moves so many entries from those that are there to the deleted.
    pub(super) fn count_deleted(&mut self, more: u64) {
        let (live, deleted) = self.counts();
        let first = self.pack.first();
        self.pack.replace_int(first, live.saturating_sub(more) as i64);
        self.pack.replace_int(self.pack.after(first), (deleted + more) as i64);
    }

    /// Nothing is added any more: gives back the room for it.
    pub(super) fn close(&mut self) {
        self.pack.trim();
    }

    /// Looks through a listpack from outside. `None` when it is no node: an element is missing or is no number where one
    /// must be, numbers do not fit, or entries are out of order.
    pub(super) fn check(pack: &Listpack, id: StreamId) -> Option<Checked> {
        let count = |at: usize| {
            let (number, after) = read_integer(pack, at)?;
            Some((u64::try_from(number).ok()?, after))
        };
        let skip = |at: usize, elements: u64| {
            (0..elements).try_fold(at, |at, _| pack.read(at).map(|(_, after)| after))
        };
        let (live, at) = count(pack.first())?;
        let (deleted, at) = count(at)?;
        let (fields, at) = count(at)?;
        let (zero, mut at) = read_integer(pack, skip(at, fields)?)?;
        if zero != 0 {
            return None;
        }
        let (mut bounds, mut seen) = (None, 0);
        for _ in 0..live.checked_add(deleted)? {
            let (flags, next) = read_integer(pack, at)?;
            let (ms, next) = read_integer(pack, next)?;
            let (seq, mut next) = read_integer(pack, next)?;
            let mut elements = fields;
            if flags & SAME_NAMES == 0 {
                (elements, next) = count(next)?;
                elements = elements.checked_mul(2)?;
            }
            let (told, next) = count(skip(next, elements)?)?;
            let head = if flags & SAME_NAMES == 0 { ENTRY_HEAD + 1 } else { ENTRY_HEAD };
            if told != elements + head as u64 {
                return None;
            }
            at = next;
            if flags & DELETED == 0 {
                let id = StreamId {
                    ms: id.ms.wrapping_add(ms as u64),
                    seq: id.seq.wrapping_add(seq as u64),
                };
                let (first, last) = bounds.unwrap_or((id, StreamId::MIN));
                if bounds.is_some() && id <= last {
                    return None;
                }
                bounds = Some((first, id));
                seen += 1;
            }
        }
        let is_node =
            at == pack.end() && seen == live && bounds.is_none_or(|(first, _)| first >= id);
        is_node.then_some(Checked { live, bounds })
    }
}
