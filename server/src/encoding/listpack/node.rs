//! A listpack with room at its ends: a node of a long list, to which elements are added and from which they are taken
//! without the others being moved.
//!
//! ```text
//!   gap │ header │ element … │ 0xff │ spare
//! ```
//!
//! To read, it is a [`Listpack`]. To be changed anywhere but at its ends it is first made exact.
//!
//! `unsafe` rests on this: *with a capacity of 0 the listpack owns its allocation, as any does; otherwise the node owns
//! an allocation of `capacity` initialised bytes, and the listpack lies in it, `gap` bytes behind its start.*

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;

use redstart_common::memory::size_class;

use super::{END, Element, Encoded, HEADER, Listpack};

/// Bytes that a node with room has at least.
const CAPACITY_MIN: usize = 256;
/// A node whose allocation is larger gives most of it back when little of it is used.
const CAPACITY_KEPT: usize = 8192;

/// One end of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Before the first element.
    Front,
    /// Behind the last one.
    Back,
}

/// A listpack with room at its ends. See the module's text.
pub struct Node {
    pack: ManuallyDrop<Listpack>,
    gap: u32,
    capacity: u32,
}

fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(capacity, 1).expect("capacities fit 32 bits")
}

fn allocate(capacity: usize) -> NonNull<u8> {
    // SAFETY: a capacity holds at least a header, so the layout is not empty.
    let place = unsafe { alloc_zeroed(layout(capacity)) };
    NonNull::new(place).unwrap_or_else(|| handle_alloc_error(layout(capacity)))
}

impl Deref for Node {
    type Target = Listpack;

    #[inline]
    fn deref(&self) -> &Listpack {
        &self.pack
    }
}

impl From<Listpack> for Node {
    fn from(pack: Listpack) -> Self {
        Self { pack: ManuallyDrop::new(pack), gap: 0, capacity: 0 }
    }
}

impl Clone for Node {
    fn clone(&self) -> Self {
        Self::from(Listpack::clone(self))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SAFETY: the node is not used again, and owns what it frees here by the invariant.
        unsafe {
            if self.capacity == 0 {
                ManuallyDrop::drop(&mut self.pack);
            } else {
                dealloc(self.start().as_ptr(), layout(self.capacity as usize));
            }
        }
    }
}

impl Node {
    /// A node of one element.
    #[must_use]
    pub fn of(text: &[u8], side: Side, most: usize) -> Self {
        Self::with_room(text, side, 0, most)
    }

    /// A node of one element and an allocation of `capacity` bytes, at most `most` where the element allows that.
    #[must_use]
    pub fn with_room(text: &[u8], side: Side, capacity: usize, most: usize) -> Self {
        let mut node = Self::from(Listpack::new());
        let capacity = capacity.min(most);
        if capacity > node.total() {
            node.relocate(capacity, side);
        }
        node.push(side, text, most);
        node
    }

    /// Bytes of the allocation.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        if self.capacity == 0 { self.pack.allocated_bytes() } else { self.capacity as usize }
    }

    /// The start of the node's own allocation.
    fn start(&self) -> NonNull<u8> {
        // SAFETY: the listpack lies `gap` bytes behind the start.
        unsafe { self.pack.place.sub(self.gap as usize) }
    }

    fn spare(&self) -> usize {
        (self.capacity as usize).saturating_sub(self.gap as usize + self.total())
    }

    /// Moves the listpack to an allocation of `capacity` bytes, with all room at one side.
    fn relocate(&mut self, capacity: usize, room: Side) {
        let total = self.total();
        assert!(total <= capacity && u32::try_from(capacity).is_ok());
        let gap = if room == Side::Front { capacity - total } else { 0 };
        let start = allocate(capacity);
        // SAFETY: `gap + total <= capacity`, and a fresh allocation overlaps nothing. The listpack has the only other
        // copy of the bytes, which is freed with the old node.
        let pack = unsafe {
            let place = start.add(gap);
            place.copy_from_nonoverlapping(self.pack.place, total);
            ManuallyDrop::new(Listpack { place })
        };
        *self = Self { pack, gap: gap as u32, capacity: capacity as u32 };
    }

    /// Makes the listpack's own allocation the node's.
    fn adopt(&mut self) {
        let (total, class) = (self.total(), size_class(self.total()));
        // SAFETY: a listpack's allocation has this size. What lies behind the listpack may never have been written.
        unsafe { self.pack.place.add(total).write_bytes(0, class - total) };
        self.capacity = class as u32;
    }

    fn set_total(&mut self, total: usize) {
        // SAFETY: a listpack has at least its header.
        unsafe { self.pack.place.cast::<u32>().write_unaligned((total as u32).to_le()) }
    }

    /// Adds an element at an end. A node that needs more room grows up to `most` bytes, and beyond only by what the
    /// element takes.
    #[inline]
    pub fn push(&mut self, side: Side, text: &[u8], most: usize) {
        self.push_encoded(side, &Encoded::of(text), most);
    }

    /// Adds an integer at the end. See [`Node::push`].
    #[inline]
    pub fn push_back_int(&mut self, number: i64, most: usize) {
        self.push_encoded(Side::Back, &Encoded::int(number), most);
    }

    fn push_encoded(&mut self, side: Side, encoded: &Encoded<'_>, most: usize) {
        let size = encoded.total();
        let room = match side {
            Side::Front => self.gap as usize,
            Side::Back => self.spare(),
        };
        if room < size {
            let needed = self.total() + size;
            let wished = (needed * 2).max(CAPACITY_MIN).min(most);
            self.relocate(needed.max(wished), side);
        }
        let total = self.total();
        match side {
            Side::Front => {
                // SAFETY: the gap holds `size` bytes, so the header moves within the allocation.
                unsafe {
                    let place = self.pack.place.sub(size);
                    place.copy_from(self.pack.place, HEADER);
                    self.pack.place = place;
                }
                self.gap -= size as u32;
                self.set_total(total + size);
                encoded.write(&mut self.pack.bytes_mut()[HEADER..HEADER + size]);
            }
            Side::Back => {
                self.set_total(total + size);
                let bytes = &mut self.pack.bytes_mut()[total - 1..];
                encoded.write(&mut bytes[..size]);
                bytes[size] = END;
            }
        }
        self.pack.change_count(1);
    }

    /// Takes the element at an end away and calls `visit` with it. Answers whether there was one.
    #[inline]
    pub fn pop(&mut self, side: Side, visit: impl FnOnce(Element<'_>)) -> bool {
        let position = match side {
            Side::Front => self.first(),
            Side::Back => match self.last() {
                Some(position) => position,
                None => return false,
            },
        };
        let Some(element) = self.get(position) else { return false };
        visit(element);
        let total = self.total();
        if self.capacity == 0 {
            self.adopt();
        }
        match side {
            Side::Front => {
                let size = self.after(position) - position;
                // SAFETY: `size` bytes of the element lie behind the header, so it moves within the listpack.
                unsafe {
                    let place = self.pack.place.add(size);
                    place.copy_from(self.pack.place, HEADER);
                    self.pack.place = place;
                }
                self.gap += size as u32;
                self.set_total(total - size);
            }
            Side::Back => {
                self.set_total(position + 1);
                self.pack.bytes_mut()[position] = END;
            }
        }
        self.pack.change_count(-1);
        if self.capacity as usize > CAPACITY_KEPT && self.total() < self.capacity as usize / 4 {
            let opposite = if side == Side::Front { Side::Back } else { Side::Front };
            self.relocate(self.total() * 2, opposite);
        }
        true
    }

    /// Makes the allocation `capacity` bytes large, if it is smaller; the room is behind the last element.
    pub fn reserve(&mut self, capacity: usize) {
        if self.allocated_bytes() < capacity {
            self.relocate(capacity, Side::Back);
        }
    }

    /// Puts an integer in the place of the element at a position. One of the same size moves nothing.
    #[inline]
    pub fn replace_int(&mut self, position: usize, number: i64) {
        let encoded = Encoded::int(number);
        let size = encoded.total();
        if self.size_at(position) == size {
            encoded.write(&mut self.pack.bytes_mut()[position..position + size]);
        } else {
            self.exact().replace_encoded(position, &encoded);
        }
    }

    /// Gives back room that a smaller allocation would do without.
    pub fn trim(&mut self) {
        if size_class(self.total()) < self.capacity as usize {
            self.exact();
        }
    }

    /// The listpack without room, to be changed anywhere.
    pub fn exact(&mut self) -> &mut Listpack {
        if self.capacity != 0 {
            *self = Self::from(Listpack::clone(self));
        }
        &mut self.pack
    }

    /// The listpack without room.
    #[must_use]
    pub fn into_pack(mut self) -> Listpack {
        std::mem::take(self.exact())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn texts(node: &Node) -> Vec<Vec<u8>> {
        node.iter().map(|element| element.with_text(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn a_count_beyond_what_the_header_holds_is_found_again() {
        let mut node = Node::from(Listpack::new());
        for _ in 0..70_000 {
            node.push(Side::Front, b"x", 8192);
        }
        assert_eq!(node.len(), 70_000);
        for left in (60_000..70_000).rev() {
            assert!(node.pop(if left % 2 == 0 { Side::Front } else { Side::Back }, |_| {}));
            if left % 1000 == 0 {
                assert_eq!(node.len(), left);
            }
        }
        assert!(Listpack::from_bytes(node.as_bytes()).is_some());
    }

    proptest! {
        #[test]
        fn behaves_like_a_deque(
            steps in prop::collection::vec((0_u8..10, prop::collection::vec(any::<u8>(), 0..400)), 1..200),
        ) {
            let mut node = Node::from(Listpack::new());
            let mut model: VecDeque<Vec<u8>> = VecDeque::new();
            for (what, text) in steps {
                let mut taken = None;
                let take = |element: Element<'_>| element.with_text(<[u8]>::to_vec);
                match what {
                    0 | 1 => {
                        node.push(Side::Front, &text, 8192);
                        model.push_front(text);
                    }
                    2 | 3 => {
                        node.push(Side::Back, &text, 512);
                        model.push_back(text);
                    }
                    4 => {
                        prop_assert_eq!(node.pop(Side::Front, |e| taken = Some(take(e))), !model.is_empty());
                        prop_assert_eq!(taken, model.pop_front());
                    }
                    5 => {
                        prop_assert_eq!(node.pop(Side::Back, |e| taken = Some(take(e))), !model.is_empty());
                        prop_assert_eq!(taken, model.pop_back());
                    }
                    6 => node.exact().push_back(b"exact"),
                    8 if !model.is_empty() => {
                        let (index, number) = (text.len() % model.len(), text.len() as i64 * 77 - 9000);
                        node.replace_int(node.seek(index).expect("there"), number);
                        model[index] = number.to_string().into_bytes();
                    }
                    9 => {
                        node.reserve(text.len() * 4);
                        prop_assert!(node.allocated_bytes() >= text.len() * 4);
                        node.push_back_int(text.len() as i64 - 200, 512);
                        model.push_back((text.len() as i64 - 200).to_string().into_bytes());
                    }
                    _ if text.len() % 2 == 0 => node = node.clone(),
                    _ => {
                        node.trim();
                        prop_assert!(node.allocated_bytes() <= size_class(node.total()));
                    }
                }
                if what == 6 {
                    model.push_back(b"exact".to_vec());
                }
                prop_assert!(Listpack::from_bytes(node.as_bytes()).is_some());
                prop_assert!(node.allocated_bytes() >= node.total());
                prop_assert_eq!(texts(&node), Vec::from(model.clone()));
            }
            let pack = node.into_pack();
            prop_assert_eq!(pack.len(), model.len());
        }
    }
}
