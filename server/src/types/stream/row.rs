//! A row: values in the order of their ids, in chunks.
//!
//! What a stream keeps grows at one end and shrinks at the other, and is looked up by id now and then. Two levels are
//! enough for that: the chunks lie in a deque, and so do the values in a chunk. Adding at the end and removing near an
//! end moves nothing; anywhere else at most half a chunk is moved, and now and then the heads of half the chunks.

use std::collections::VecDeque;

use super::id::StreamId;

/// Values in a full chunk.
const CHUNK_MAX: usize = 128;
/// A chunk with fewer values is joined with a neighbour where both together are no more than half a chunk.
const CHUNK_FEW: usize = CHUNK_MAX / 4;

#[derive(Clone)]
struct Chunk<V> {
    /// The id of the first value.
    first: StreamId,
    values: VecDeque<(StreamId, V)>,
}

/// Values by id. See the module's text.
#[derive(Clone)]
pub struct Row<V> {
    /// None is empty, but for the only one.
    chunks: VecDeque<Chunk<V>>,
    len: usize,
}

/// Where a value of a row is. It holds until the row changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    chunk: usize,
    index: usize,
}

impl<V> Default for Row<V> {
    fn default() -> Self {
        Self { chunks: VecDeque::new(), len: 0 }
    }
}

impl<V> Chunk<V> {
    fn of(id: StreamId, value: V) -> Self {
        let mut values = VecDeque::with_capacity(1);
        values.push_back((id, value));
        Self { first: id, values }
    }

    /// The index of the first value whose id is `id` or higher.
    fn seek(&self, id: StreamId) -> usize {
        self.values.partition_point(|(held, _)| *held < id)
    }
}

impl<V> Row<V> {
    /// Values.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value at a place, with its id.
    #[inline]
    #[must_use]
    pub fn at(&self, place: Place) -> Option<(StreamId, &V)> {
        let (id, value) = self.chunks.get(place.chunk)?.values.get(place.index)?;
        Some((*id, value))
    }

    /// The value at a place, to be changed.
    #[inline]
    pub fn at_mut(&mut self, place: Place) -> Option<&mut V> {
        Some(&mut self.chunks.get_mut(place.chunk)?.values.get_mut(place.index)?.1)
    }

    /// The place behind another.
    #[inline]
    #[must_use]
    pub fn after(&self, place: Place) -> Place {
        let in_chunk = self.chunks.get(place.chunk).map_or(0, |chunk| chunk.values.len());
        if place.index + 1 < in_chunk {
            Place { index: place.index + 1, ..place }
        } else {
            Place { chunk: place.chunk + 1, index: 0 }
        }
    }

    /// The place before another.
    #[must_use]
    pub fn before(&self, place: Place) -> Option<Place> {
        if place.index > 0 {
            return Some(Place { index: place.index - 1, ..place });
        }
        let chunk = place.chunk.checked_sub(1)?;
        let index = self.chunks.get(chunk)?.values.len().checked_sub(1)?;
        Some(Place { chunk, index })
    }

    /// The place of the last value.
    #[inline]
    #[must_use]
    pub fn last_place(&self) -> Option<Place> {
        let chunk = self.chunks.len().checked_sub(1)?;
        let index = self.chunks[chunk].values.len().checked_sub(1)?;
        Some(Place { chunk, index })
    }

    /// The first value.
    #[must_use]
    pub fn first(&self) -> Option<(StreamId, &V)> {
        self.at(Place::default())
    }

    /// The last value.
    #[inline]
    #[must_use]
    pub fn last(&self) -> Option<(StreamId, &V)> {
        self.at(self.last_place()?)
    }

    /// The last value, to be changed.
    #[inline]
    pub fn last_mut(&mut self) -> Option<(StreamId, &mut V)> {
        let (id, value) = self.chunks.back_mut()?.values.back_mut()?;
        Some((*id, value))
    }

    /// The place of the last value whose id is `id` or lower.
    #[must_use]
    pub fn floor(&self, id: StreamId) -> Option<Place> {
        // What is asked for is most often new.
        if let Some((last, _)) = self.last()
            && last <= id
        {
            return self.last_place();
        }
        let chunk = self.chunks.partition_point(|chunk| chunk.first <= id).checked_sub(1)?;
        let values = &self.chunks[chunk].values;
        let index = values.partition_point(|(held, _)| *held <= id).checked_sub(1)?;
        Some(Place { chunk, index })
    }

    /// The place of the first value whose id is `id` or higher, or the end.
    #[must_use]
    pub fn seek(&self, id: StreamId) -> Place {
        match self.floor(id) {
            Some(place) if self.at(place).is_some_and(|(held, _)| held == id) => place,
            Some(place) => self.after(place),
            None => Place::default(),
        }
    }

    fn find(&self, id: StreamId) -> Option<Place> {
        self.floor(id).filter(|place| self.at(*place).is_some_and(|(held, _)| held == id))
    }

    /// The value of an id.
    #[must_use]
    pub fn get(&self, id: StreamId) -> Option<&V> {
        self.find(id).and_then(|place| self.at(place)).map(|(_, value)| value)
    }

    /// The value of an id, to be changed.
    pub fn get_mut(&mut self, id: StreamId) -> Option<&mut V> {
        let place = self.find(id)?;
        self.at_mut(place)
    }

    /// Adds a value. Answers whether there was none of that id; if there was, nothing is changed.
    #[inline]
    pub fn insert(&mut self, id: StreamId, value: V) -> bool {
        match self.last() {
            Some((last, _)) if last >= id => self.insert_within(id, value),
            _ => {
                self.push(id, value);
                true
            }
        }
    }

    fn push(&mut self, id: StreamId, value: V) {
        self.len += 1;
        match self.chunks.back_mut() {
            Some(chunk) if chunk.values.len() < CHUNK_MAX => {
                if chunk.values.is_empty() {
                    chunk.first = id;
                }
                chunk.values.push_back((id, value));
            }
            _ => {
                if self.chunks.is_empty() {
                    self.chunks.reserve_exact(1);
                }
                self.chunks.push_back(Chunk::of(id, value));
            }
        }
    }

    fn insert_within(&mut self, id: StreamId, value: V) -> bool {
        let mut at = self.chunks.partition_point(|chunk| chunk.first <= id).saturating_sub(1);
        let mut index = self.chunks[at].seek(id);
        if self.chunks[at].values.get(index).is_some_and(|(held, _)| *held == id) {
            return false;
        }
        if self.chunks[at].values.len() == CHUNK_MAX {
            let upper = self.chunks[at].values.split_off(CHUNK_MAX / 2);
            self.chunks.insert(at + 1, Chunk { first: upper[0].0, values: upper });
            if index > CHUNK_MAX / 2 {
                (at, index) = (at + 1, index - CHUNK_MAX / 2);
            }
        }
        let chunk = &mut self.chunks[at];
        chunk.values.insert(index, (id, value));
        chunk.first = chunk.values[0].0;
        self.len += 1;
        true
    }

    /// Removes the value of an id.
    pub fn remove(&mut self, id: StreamId) -> Option<V> {
        self.remove_at(self.find(id)?)
    }

    /// Removes the value at a place. Places behind it hold no more.
    pub fn remove_at(&mut self, place: Place) -> Option<V> {
        let is_only = self.chunks.len() == 1;
        let chunk = self.chunks.get_mut(place.chunk)?;
        let (_, value) = chunk.values.remove(place.index)?;
        self.len -= 1;
        match chunk.values.front() {
            Some((first, _)) => {
                chunk.first = *first;
                if chunk.values.len() < CHUNK_FEW {
                    self.join(place.chunk);
                    if let Some(before) = place.chunk.checked_sub(1) {
                        self.join(before);
                    }
                }
            }
            // A row that is filled and emptied all the time keeps its memory, if it is little.
            None if is_only => chunk.values.shrink_to(CHUNK_FEW),
            None => {
                self.chunks.remove(place.chunk);
                self.settle();
            }
        }
        Some(value)
    }

    /// Joins a chunk of few values with the one behind it, if that is of few as well. Places before it stay what they are.
    fn join(&mut self, at: usize) {
        let Some(next) = self.chunks.get(at + 1) else { return };
        if self.chunks[at].values.len() + next.values.len() > CHUNK_MAX / 2 {
            return;
        }
        if let Some(mut next) = self.chunks.remove(at + 1) {
            let chunk = &mut self.chunks[at].values;
            chunk.append(&mut next.values);
            chunk.shrink_to(CHUNK_MAX / 2);
            self.settle();
        }
    }

    fn settle(&mut self) {
        if self.chunks.len() < self.chunks.capacity() / 4 {
            self.chunks.shrink_to(self.chunks.len() * 2);
        }
    }

    /// All values in order.
    pub fn iter(&self) -> impl Iterator<Item = (StreamId, &V)> {
        self.chunks.iter().flat_map(|chunk| chunk.values.iter().map(|(id, value)| (*id, value)))
    }

    /// The values from an id on, in order.
    pub fn iter_from(&self, id: StreamId) -> impl Iterator<Item = (StreamId, &V)> {
        let mut place = self.seek(id);
        std::iter::from_fn(move || {
            let found = self.at(place)?;
            place = self.after(place);
            Some(found)
        })
    }

    /// Bytes that the row has allocated, without what its values have.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        let heads = self.chunks.capacity() * size_of::<Chunk<V>>();
        let room = |chunk: &Chunk<V>| chunk.values.capacity() * size_of::<(StreamId, V)>();
        match self.chunks.len() {
            0 => heads,
            // All but the last are about as full.
            count => heads + (count - 1) * room(&self.chunks[0]) + room(&self.chunks[count - 1]),
        }
    }

    #[cfg(test)]
    fn check(&self) {
        let mut before = None;
        let mut count = 0;
        for chunk in &self.chunks {
            assert!(chunk.values.len() <= CHUNK_MAX);
            assert!(!chunk.values.is_empty() || self.chunks.len() == 1);
            if let Some((first, _)) = chunk.values.front() {
                assert_eq!(chunk.first, *first);
            }
            for (id, _) in &chunk.values {
                assert!(before < Some(*id));
                before = Some(*id);
                count += 1;
            }
        }
        assert_eq!(count, self.len);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_filled_and_emptied_keeps_little() {
        let mut row = Row::default();
        for number in 0..100_000 {
            assert!(row.insert(StreamId::new(number, 0), number));
        }
        row.check();
        let full = row.allocated_bytes();
        assert!((100_000 * 24..120_000 * 24).contains(&full), "{full}");
        for number in 0..100_000 {
            assert_eq!(row.first().map(|(id, value)| (id.ms, *value)), Some((number, number)));
            assert_eq!(row.remove(StreamId::new(number, 0)), Some(number));
        }
        row.check();
        assert!(row.is_empty() && row.allocated_bytes() < 4096, "{}", row.allocated_bytes());
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(
            steps in prop::collection::vec((0_u8..12, any::<u16>()), 1..1500),
            span in 50_u64..3000,
        ) {
            let mut row = Row::default();
            let mut model = BTreeMap::new();
            for (step, (what, number)) in steps.into_iter().enumerate() {
                let id = StreamId::new(u64::from(number) % span, 0);
                match what {
                    0..6 => {
                        let is_new = !model.contains_key(&id);
                        prop_assert_eq!(row.insert(id, step), is_new);
                        model.entry(id).or_insert(step);
                    }
                    6 | 7 => prop_assert_eq!(row.remove(id), model.remove(&id)),
                    8 => {
                        let first = row.remove_at(Place::default());
                        prop_assert_eq!(first, model.pop_first().map(|(_, value)| value));
                    }
                    9 => {
                        let known = model.range(..=id).next_back().map(|(id, value)| (*id, value));
                        prop_assert_eq!(row.floor(id).and_then(|place| row.at(place)), known);
                    }
                    10 => {
                        let known: Vec<_> = model.range(id..).take(9).map(|(id, value)| (*id, value)).collect();
                        prop_assert_eq!(row.iter_from(id).take(9).collect::<Vec<_>>(), known);
                    }
                    _ => {
                        if let Some(value) = row.get_mut(id) {
                            *value = step;
                        }
                        model.entry(id).and_modify(|value| *value = step);
                    }
                }
                prop_assert_eq!(row.len(), model.len());
            }
            row.check();
            prop_assert!(row.iter().eq(model.iter().map(|(id, value)| (*id, value))));
            let mut place = row.last_place();
            let mut back = Vec::new();
            while let Some(here) = place.filter(|_| !row.is_empty()) {
                back.extend(row.at(here));
                place = row.before(here);
            }
            prop_assert!(back.into_iter().eq(model.iter().rev().map(|(id, value)| (*id, value))));
        }
    }
}
