//! Entries between two ids, in either direction.

use super::node::Walk;
use super::{Entry, Place, Stream, StreamId};

/// Entries in order. See [`Stream::range`] and [`Stream::range_back`].
pub struct Range<'a> {
    stream: &'a Stream,
    place: Option<Place>,
    /// The node that the range is in, and where in it.
    walk: Option<(Walk<'a>, usize)>,
    start: StreamId,
    end: StreamId,
    is_back: bool,
}

impl Stream {
    /// The entries from the id `start` to the id `end`, both included.
    #[must_use]
    pub fn range(&self, start: StreamId, end: StreamId) -> Range<'_> {
        let place = self.nodes.floor(start).unwrap_or_default();
        let walk = self.nodes.at(place).map(|(id, node)| {
            let walk = node.walk(id);
            let at = if start > id { walk.seek(start) } else { walk.first() };
            (walk, at)
        });
        Range { stream: self, place: Some(place), walk, start, end, is_back: false }
    }

    /// As [`Stream::range`], the highest id first.
    #[must_use]
    pub fn range_back(&self, start: StreamId, end: StreamId) -> Range<'_> {
        let place = self.nodes.floor(end);
        let mut range = Range { stream: self, place, walk: None, start, end, is_back: true };
        range.enter();
        range
    }
}

impl<'a> Range<'a> {
    /// Enters the node at the range's place.
    fn enter(&mut self) {
        self.walk = self.place.and_then(|place| self.stream.nodes.at(place)).map(|(id, node)| {
            let walk = node.walk(id);
            (walk, if self.is_back { walk.end() } else { walk.first() })
        });
    }

    fn next_forth(&mut self) -> Option<Entry<'a>> {
        loop {
            let (walk, at) = self.walk.as_mut()?;
            let Some(found) = walk.read(*at) else {
                self.place = self.place.map(|place| self.stream.nodes.after(place));
                self.enter();
                continue;
            };
            *at = found.end();
            if found.is_deleted || found.entry.id < self.start {
                continue;
            }
            if found.entry.id > self.end {
                self.walk = None;
                return None;
            }
            return Some(found.entry);
        }
    }

    fn next_back(&mut self) -> Option<Entry<'a>> {
        loop {
            let (walk, at) = self.walk.as_mut()?;
            let Some(found) = walk.before(*at).and_then(|before| walk.read(before)) else {
                self.place = self.place.and_then(|place| self.stream.nodes.before(place));
                self.enter();
                continue;
            };
            *at = found.at;
            if found.is_deleted || found.entry.id > self.end {
                continue;
            }
            if found.entry.id < self.start {
                self.walk = None;
                return None;
            }
            return Some(found.entry);
        }
    }
}

impl<'a> Iterator for Range<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        if self.is_back { self.next_back() } else { self.next_forth() }
    }
}
