//! Lists: one listpack while small, then a deque of listpacks of bounded size. With `list-compress-depth` all of them but so many
//! at each end are compressed, and opened where something in them changes.
//!
//! OBJECT ENCODING answers `quicklist` for both, as 7.0.15 does for every list.

mod held;

use std::collections::VecDeque;

use held::Held;

use super::Limits;
use crate::encoding::choice::sum_by_samples;
use crate::encoding::listpack::{Element, Listpack, Node, Side};

/// A list.
#[derive(Clone)]
pub enum List {
    /// One node.
    Packed(Listpack),
    /// Several nodes, none empty.
    Quick(Box<Quick>),
}

/// Several nodes.
#[derive(Clone)]
pub struct Quick {
    nodes: VecDeque<Held>,
    length: usize,
    /// Nodes at each end that are not compressed; 0 is all.
    depth: usize,
}

impl Quick {
    /// Sees to it that the nodes at both ends are open, and those next to them compressed.
    fn arrange(&mut self) {
        let (count, depth) = (self.nodes.len(), self.depth);
        if depth == 0 {
            return;
        }
        for place in 0..depth.min(count) {
            self.nodes[place].open();
            self.nodes[count - 1 - place].open();
        }
        if count > 2 * depth {
            self.nodes[depth].shut();
            self.nodes[count - 1 - depth].shut();
        }
    }

    /// Compresses a node again that was opened within the list.
    fn shut(&mut self, place: usize) {
        let behind = self.nodes.len().saturating_sub(place + 1);
        if self.depth > 0
            && place >= self.depth
            && behind >= self.depth
            && let Some(held) = self.nodes.get_mut(place)
        {
            held.shut();
        }
    }
}

impl Default for List {
    fn default() -> Self {
        Self::Packed(Listpack::new())
    }
}

/// Which end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The front: LEFT.
    Front,
    /// The back: RIGHT.
    Back,
}

impl End {
    fn side(self) -> Side {
        match self {
            Self::Front => Side::Front,
            Self::Back => Side::Back,
        }
    }
}

/// Bytes of a node that is bounded by its count of elements.
const COUNTED_NODE_BYTES_MAX: usize = 8192;
/// A list of so many nodes is expected to grow on: a new node gets the room at once that its neighbour filled, at most
/// an eighth of what the list has.
const NODES_LONG: usize = 8;
/// So many nodes are taken out of a list one by one.
const FEW_NODES: usize = 4;
/// Bytes an element takes beside its text, at most.
const ELEMENT_OVERHEAD: usize = 10;

/// Bytes of a node, at most; more only when one element takes more.
fn node_bytes_max(limits: &Limits) -> usize {
    match limits.list_node {
        node @ -5..=-1 => 2048 << node.unsigned_abs(),
        _ => COUNTED_NODE_BYTES_MAX,
    }
}

fn fits(pack: &Listpack, more: usize, limits: &Limits) -> bool {
    let bytes = pack.total() + more + ELEMENT_OVERHEAD;
    bytes <= node_bytes_max(limits)
        && (limits.list_node < 0 || (pack.len() as i64) < limits.list_node.max(1))
}

impl List {
    /// Elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Packed(pack) => pack.len(),
            Self::Quick(quick) => quick.length,
        }
    }

    /// Bytes that the list has allocated, told from `samples` of its nodes.
    #[must_use]
    pub fn allocated_bytes(&self, samples: usize) -> usize {
        match self {
            Self::Packed(pack) => pack.allocated_bytes(),
            Self::Quick(quick) => {
                let sizes = quick.nodes.iter().map(Held::allocated_bytes);
                sum_by_samples(sizes, quick.nodes.len(), samples)
            }
        }
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name OBJECT ENCODING answers.
    #[must_use]
    pub fn encoding_name(&self) -> &'static str {
        "quicklist"
    }

    /// Nodes, for statistics and files.
    #[must_use]
    pub fn node_count(&self) -> usize {
        match self {
            Self::Packed(_) => 1,
            Self::Quick(quick) => quick.nodes.len(),
        }
    }

    /// Bytes of the nodes as they are when none is compressed.
    #[must_use]
    pub fn open_bytes(&self) -> usize {
        match self {
            Self::Packed(pack) => pack.total(),
            Self::Quick(quick) => quick.nodes.iter().map(Held::total).sum(),
        }
    }

    /// How many nodes are compressed.
    #[must_use]
    pub fn compressed_count(&self) -> usize {
        match self {
            Self::Packed(_) => 0,
            Self::Quick(quick) => quick.nodes.iter().filter(|held| held.is_shut()).count(),
        }
    }

    /// Calls `body` with the node of an index, if there is one.
    pub fn with_node<R>(&self, index: usize, body: impl FnOnce(&Listpack) -> R) -> Option<R> {
        match self {
            Self::Packed(pack) => (index == 0).then(|| body(pack)),
            Self::Quick(quick) => quick.nodes.get(index).map(|held| held.with(body)),
        }
    }

    /// The node of an index, to be changed. [`shut`](Self::shut) it then.
    fn node_mut(&mut self, index: usize) -> Option<&mut Listpack> {
        match self {
            Self::Packed(pack) => (index == 0).then_some(pack),
            Self::Quick(quick) => quick.nodes.get_mut(index).map(|held| held.open().exact()),
        }
    }

    /// Compresses a node again where it is to be.
    fn shut(&mut self, index: usize) {
        if let Self::Quick(quick) = self {
            quick.shut(index);
        }
    }

    /// Sets how many nodes at each end are not compressed; 0 is all. Those within follow as they are come by.
    fn quick(&mut self, depth: usize) -> &mut Quick {
        if let Self::Packed(pack) = self {
            let pack = std::mem::take(pack);
            let length = pack.len();
            let nodes = match length {
                0 => VecDeque::new(),
                _ => VecDeque::from([Held::Open(pack.into())]),
            };
            *self = Self::Quick(Box::new(Quick { nodes, length, depth }));
        }
        match self {
            Self::Quick(quick) => {
                quick.depth = depth;
                quick
            }
            Self::Packed(_) => unreachable!("made quick above"),
        }
    }

    /// Becomes one packed node again when only one is left; else the nodes at both ends are open.
    fn settle(&mut self) {
        let Self::Quick(quick) = self else { return };
        if quick.nodes.len() <= 1 {
            *self = Self::Packed(quick.nodes.pop_front().map(Held::into_pack).unwrap_or_default());
        } else {
            quick.arrange();
        }
    }

    /// Adds an element at an end.
    #[inline]
    pub fn push(&mut self, end: End, text: &[u8], limits: &Limits) {
        if let Self::Packed(pack) = self {
            // Adding at the front moves the whole listpack: it becomes a node, with room there, sooner.
            let moved = if end == End::Front { pack.total() * 3 } else { 0 };
            if pack.is_empty() || fits(pack, text.len() + moved, limits) {
                match end {
                    End::Front => pack.push_front(text),
                    End::Back => pack.push_back(text),
                }
                return;
            }
        }
        let quick = self.quick(limits.list_compress_depth);
        quick.length += 1;
        let (side, most) = (end.side(), node_bytes_max(limits));
        let node = match end {
            End::Front => quick.nodes.front_mut(),
            End::Back => quick.nodes.back_mut(),
        };
        match node {
            Some(Held::Open(node)) if fits(node, text.len(), limits) => node.push(side, text, most),
            full => {
                // It will hardly grow again.
                let mut capacity = 0;
                if let Some(full) = full {
                    let full = full.open();
                    full.trim();
                    capacity = full.allocated_bytes();
                }
                let node = if quick.nodes.len() < NODES_LONG {
                    Node::of(text, side, most)
                } else {
                    Node::with_room(text, side, capacity, most)
                };
                match end {
                    End::Front => quick.nodes.push_front(Held::Open(node)),
                    End::Back => quick.nodes.push_back(Held::Open(node)),
                }
                quick.arrange();
            }
        }
    }

    /// Takes the element at an end away and calls `visit` with it. Answers whether there was one.
    #[inline]
    pub fn pop(&mut self, end: End, visit: impl FnOnce(Element<'_>)) -> bool {
        match self {
            Self::Packed(pack) => {
                let position = match end {
                    End::Front => pack.first(),
                    End::Back => match pack.last() {
                        Some(position) => position,
                        None => return false,
                    },
                };
                let Some(element) = pack.get(position) else { return false };
                visit(element);
                pack.remove(position, 1);
            }
            Self::Quick(quick) => {
                let node = match end {
                    End::Front => quick.nodes.front_mut(),
                    End::Back => quick.nodes.back_mut(),
                };
                let Some(node) = node.map(Held::open) else { return false };
                if !node.pop(end.side(), visit) {
                    return false;
                }
                quick.length -= 1;
                if node.is_empty() {
                    match end {
                        End::Front => quick.nodes.pop_front(),
                        End::Back => quick.nodes.pop_back(),
                    };
                    self.settle();
                }
            }
        }
        true
    }

    /// The node and the place in it of an index, counted from the nearer end.
    fn locate(&self, index: usize) -> Option<(usize, usize)> {
        match self {
            Self::Packed(pack) => (index < pack.len()).then_some((0, index)),
            Self::Quick(quick) => {
                if index >= quick.length {
                    return None;
                }
                if index < quick.length / 2 {
                    let mut rest = index;
                    for (place, node) in quick.nodes.iter().enumerate() {
                        let length = node.len();
                        if rest < length {
                            return Some((place, rest));
                        }
                        rest -= length;
                    }
                } else {
                    let mut behind = quick.length - index;
                    for (place, node) in quick.nodes.iter().enumerate().rev() {
                        let length = node.len();
                        if behind <= length {
                            return Some((place, length - behind));
                        }
                        behind -= length;
                    }
                }
                None
            }
        }
    }

    /// Calls `visit` with the element of an index, if there is one.
    pub fn with<R>(&self, index: usize, visit: impl FnOnce(Element<'_>) -> R) -> Option<R> {
        let (place, rest) = self.locate(index)?;
        self.with_node(place, |node| Some(visit(node.get(node.seek(rest)?)?))).flatten()
    }

    /// Puts another element in the place of the one with an index. Answers whether there is one.
    pub fn set(&mut self, index: usize, text: &[u8], limits: &Limits) -> bool {
        let Some((place, rest)) = self.locate(index) else { return false };
        let Some(node) = self.node_mut(place) else { return false };
        let Some(position) = node.seek(rest) else { return false };
        if node.len() == 1 || fits(node, text.len(), limits) {
            node.replace(position, text);
            self.shut(place);
        } else {
            node.remove(position, 1);
            if let Self::Quick(quick) = self {
                quick.length -= 1;
            }
            self.insert_at(place, rest, text, limits);
        }
        true
    }

    /// Adds an element to node `place` before its element `rest`, splitting the node when it is full.
    fn insert_at(&mut self, place: usize, rest: usize, text: &[u8], limits: &Limits) {
        if let Some(node) = self.node_mut(place)
            && (node.is_empty() || fits(node, text.len(), limits))
        {
            let position = node.seek(rest).unwrap_or(node.end());
            node.insert(position, text);
            if let Self::Quick(quick) = self {
                quick.length += 1;
                quick.shut(place);
            }
            return;
        }
        let quick = self.quick(limits.list_compress_depth);
        quick.length += 1;
        let Some(node) = quick.nodes.get_mut(place).map(Held::open) else { return };
        let position = node.seek(rest).unwrap_or(node.end());
        let tail = node.exact().split_off(position);
        let fresh = Node::of(text, Side::Back, text.len());
        let mut at = place + 1;
        if node.is_empty() {
            quick.nodes.remove(place);
            at = place;
        }
        quick.nodes.insert(at, Held::Open(fresh));
        if !tail.is_empty() {
            quick.nodes.insert(at + 1, Held::Open(tail.into()));
        }
        (place..place + 3).for_each(|place| quick.shut(place));
        self.settle();
    }

    /// Adds an element before or behind the first that is `pivot`. Answers whether that was found.
    pub fn insert(&mut self, pivot: &[u8], before: bool, text: &[u8], limits: &Limits) -> bool {
        let mut found = None;
        for place in 0..self.node_count() {
            let position = |node: &Listpack| node.iter().position(|element| element.is(pivot));
            if let Some(Some(index)) = self.with_node(place, position) {
                found = Some((place, index));
                break;
            }
        }
        let Some((place, index)) = found else { return false };
        self.insert_at(place, if before { index } else { index + 1 }, text, limits);
        true
    }

    /// Calls `visit` with the elements from `start` to `end`, both included and within the list.
    pub fn range(&self, start: usize, end: usize, mut visit: impl FnMut(Element<'_>)) {
        let Some((mut place, rest)) = self.locate(start) else { return };
        let (mut left, mut skip) = (end + 1 - start, rest);
        while left > 0 {
            let there = self.with_node(place, |node| {
                let Some(position) = node.seek(std::mem::take(&mut skip)) else { return };
                for element in node.iter_from(position).take(left) {
                    visit(element);
                    left -= 1;
                }
            });
            if there.is_none() {
                return;
            }
            place += 1;
        }
    }

    /// Calls `visit` with each element and its index, from the front or the back, until it answers `false`.
    pub fn walk(&self, from: End, mut visit: impl FnMut(usize, Element<'_>) -> bool) {
        match from {
            End::Front => {
                let mut index = 0;
                for place in 0..self.node_count() {
                    let goes_on = self.with_node(place, |node| {
                        node.iter().all(|element| {
                            index += 1;
                            visit(index - 1, element)
                        })
                    });
                    if goes_on != Some(true) {
                        return;
                    }
                }
            }
            End::Back => {
                let mut index = self.len();
                for place in (0..self.node_count()).rev() {
                    let goes_on = self.with_node(place, |node| {
                        node.iter_back().all(|element| {
                            index -= 1;
                            visit(index, element)
                        })
                    });
                    if goes_on != Some(true) {
                        return;
                    }
                }
            }
        }
    }

    /// Removes up to `limit` elements that are `text`, seen from an end; 0 is no limit. Answers how many it were.
    pub fn remove(&mut self, text: &[u8], from: End, limit: usize) -> usize {
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut removed = 0;
        let mut emptied = Vec::new();
        let count = self.node_count();
        for step in 0..count {
            let place = if from == End::Front { step } else { count - 1 - step };
            // A compressed node without any stays as it is.
            if let Self::Quick(quick) = self
                && quick.nodes[place].is_shut()
                && quick.nodes[place].with(|node| node.find(node.first(), text, 0).is_none())
            {
                continue;
            }
            let Some(node) = self.node_mut(place) else { break };
            match from {
                End::Front => {
                    let mut position = node.first();
                    while removed < limit
                        && let Some(found) = node.find(position, text, 0)
                    {
                        node.remove(found, 1);
                        position = found;
                        removed += 1;
                    }
                }
                End::Back => {
                    let mut position = node.last();
                    while removed < limit
                        && let Some(here) = position
                    {
                        position = node.before(here);
                        if node.get(here).is_some_and(|element| element.is(text)) {
                            node.remove(here, 1);
                            removed += 1;
                        }
                    }
                }
            }
            if node.is_empty() {
                emptied.push(place);
            }
            self.shut(place);
            if removed == limit {
                break;
            }
        }
        if let Self::Quick(quick) = self
            && removed > 0
        {
            quick.length -= removed;
            // The others may be many, and are not looked at for a few.
            if emptied.len() > FEW_NODES {
                quick.nodes.retain(|held| held.len() > 0);
            } else {
                emptied.sort_unstable();
                emptied.iter().rev().for_each(|place| drop(quick.nodes.remove(*place)));
            }
            self.settle();
        }
        removed
    }

    /// Removes `count` elements from an end.
    pub fn cut(&mut self, end: End, count: usize) {
        let mut left = count;
        if let Self::Quick(quick) = self {
            while left > 0 {
                let node = match end {
                    End::Front => quick.nodes.front_mut(),
                    End::Back => quick.nodes.back_mut(),
                };
                let Some(node) = node else { break };
                let length = node.len();
                if length > left {
                    break;
                }
                left -= length;
                quick.length -= length;
                match end {
                    End::Front => quick.nodes.pop_front(),
                    End::Back => quick.nodes.pop_back(),
                };
            }
            self.settle();
        }
        if left == 0 {
            return;
        }
        match self {
            Self::Packed(pack) => {
                let length = pack.len();
                let gone = left.min(length);
                let position = match end {
                    End::Front => pack.first(),
                    End::Back => pack.seek(length - gone).unwrap_or(pack.end()),
                };
                pack.remove(position, gone);
            }
            Self::Quick(_) => {
                while left > 0 && self.pop(end, |_| {}) {
                    left -= 1;
                }
            }
        }
    }

    /// Adds a whole node at the back, as files hold them.
    pub fn push_node(&mut self, node: Listpack, limits: &Limits) {
        if node.is_empty() {
            return;
        }
        if self.is_empty() {
            *self = Self::Packed(node);
            return;
        }
        let quick = self.quick(limits.list_compress_depth);
        quick.length += node.len();
        quick.nodes.push_back(Held::Open(node.into()));
        quick.arrange();
    }
}

#[cfg(test)]
mod tests;
