//! Lists: one listpack while small, then a deque of listpacks of bounded size.
//!
//! OBJECT ENCODING answers `quicklist` for both, as 7.0.15 does for every list.

use std::collections::VecDeque;

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
    nodes: VecDeque<Node>,
    length: usize,
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
                let sizes = quick.nodes.iter().map(Node::allocated_bytes);
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

    /// The node with an index.
    #[must_use]
    pub fn node(&self, index: usize) -> Option<&Listpack> {
        match self {
            Self::Packed(pack) => (index == 0).then_some(pack),
            Self::Quick(quick) => quick.nodes.get(index).map(|node| &**node),
        }
    }

    fn node_mut(&mut self, index: usize) -> Option<&mut Listpack> {
        match self {
            Self::Packed(pack) => (index == 0).then_some(pack),
            Self::Quick(quick) => quick.nodes.get_mut(index).map(Node::exact),
        }
    }

    fn quick(&mut self) -> &mut Quick {
        if let Self::Packed(pack) = self {
            let pack = std::mem::take(pack);
            let length = pack.len();
            let nodes = if length == 0 { VecDeque::new() } else { VecDeque::from([pack.into()]) };
            *self = Self::Quick(Box::new(Quick { nodes, length }));
        }
        match self {
            Self::Quick(quick) => quick,
            Self::Packed(_) => unreachable!("made quick above"),
        }
    }

    /// Becomes one packed node again when only one is left.
    fn settle(&mut self) {
        if let Self::Quick(quick) = self
            && quick.nodes.len() <= 1
        {
            *self = Self::Packed(quick.nodes.pop_front().map(Node::into_pack).unwrap_or_default());
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
        let quick = self.quick();
        quick.length += 1;
        let (side, most) = (end.side(), node_bytes_max(limits));
        let node = match end {
            End::Front => quick.nodes.front_mut(),
            End::Back => quick.nodes.back_mut(),
        };
        match node {
            Some(node) if fits(node, text.len(), limits) => node.push(side, text, most),
            full => {
                // It will hardly grow again.
                let mut capacity = 0;
                if let Some(full) = full {
                    full.trim();
                    capacity = full.allocated_bytes();
                }
                let node = if quick.nodes.len() < NODES_LONG {
                    Node::of(text, side, most)
                } else {
                    Node::with_room(text, side, capacity, most)
                };
                match end {
                    End::Front => quick.nodes.push_front(node),
                    End::Back => quick.nodes.push_back(node),
                }
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
                let Some(node) = node else { return false };
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

    /// The element with an index.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Element<'_>> {
        let (place, rest) = self.locate(index)?;
        let node = self.node(place)?;
        node.get(node.seek(rest)?)
    }

    /// Puts another element in the place of the one with an index. Answers whether there is one.
    pub fn set(&mut self, index: usize, text: &[u8], limits: &Limits) -> bool {
        let Some((place, rest)) = self.locate(index) else { return false };
        let Some(node) = self.node_mut(place) else { return false };
        let Some(position) = node.seek(rest) else { return false };
        if node.len() == 1 || fits(node, text.len(), limits) {
            node.replace(position, text);
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
            }
            return;
        }
        let quick = self.quick();
        quick.length += 1;
        let Some(node) = quick.nodes.get_mut(place) else { return };
        let position = node.seek(rest).unwrap_or(node.end());
        let tail = node.exact().split_off(position);
        let fresh = Node::of(text, Side::Back, text.len());
        let mut at = place + 1;
        if node.is_empty() {
            quick.nodes.remove(place);
            at = place;
        }
        quick.nodes.insert(at, fresh);
        if !tail.is_empty() {
            quick.nodes.insert(at + 1, tail.into());
        }
        self.settle();
    }

    /// Adds an element before or behind the first that is `pivot`. Answers whether that was found.
    pub fn insert(&mut self, pivot: &[u8], before: bool, text: &[u8], limits: &Limits) -> bool {
        let mut found = None;
        for place in 0..self.node_count() {
            let Some(node) = self.node(place) else { break };
            if let Some(index) = node.iter().position(|element| element.is(pivot)) {
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
        let mut left = end + 1 - start;
        let Some(mut node) = self.node(place) else { return };
        let Some(mut position) = node.seek(rest) else { return };
        loop {
            for element in node.iter_from(position) {
                if left == 0 {
                    return;
                }
                visit(element);
                left -= 1;
            }
            place += 1;
            match self.node(place) {
                Some(next) if left > 0 => {
                    node = next;
                    position = node.first();
                }
                _ => return,
            }
        }
    }

    /// Calls `visit` with each element and its index, from the front or the back, until it answers `false`.
    pub fn walk(&self, from: End, mut visit: impl FnMut(usize, Element<'_>) -> bool) {
        match from {
            End::Front => {
                let mut index = 0;
                for place in 0..self.node_count() {
                    let Some(node) = self.node(place) else { return };
                    for element in node.iter() {
                        if !visit(index, element) {
                            return;
                        }
                        index += 1;
                    }
                }
            }
            End::Back => {
                let mut index = self.len();
                for place in (0..self.node_count()).rev() {
                    let Some(node) = self.node(place) else { return };
                    for element in node.iter_back() {
                        index -= 1;
                        if !visit(index, element) {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Removes up to `limit` elements that are `text`, seen from an end; 0 is no limit. Answers how many it were.
    pub fn remove(&mut self, text: &[u8], from: End, limit: usize) -> usize {
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut removed = 0;
        let count = self.node_count();
        for step in 0..count {
            let place = if from == End::Front { step } else { count - 1 - step };
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
            if removed == limit {
                break;
            }
        }
        if let Self::Quick(quick) = self
            && removed > 0
        {
            quick.length -= removed;
            quick.nodes.retain(|node| !node.is_empty());
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
    pub fn push_node(&mut self, node: Listpack) {
        if node.is_empty() {
            return;
        }
        if self.is_empty() {
            *self = Self::Packed(node);
            return;
        }
        let quick = self.quick();
        quick.length += node.len();
        quick.nodes.push_back(node.into());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(list: &List) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        list.walk(End::Front, |_, element| {
            all.push(element.to_vec());
            true
        });
        all
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            (0_i64..30).prop_map(|n| n.to_string().into_bytes()),
            prop::collection::vec(b'a'..b'c', 0..3),
            (100_usize..300).prop_map(|n| vec![b'x'; n]),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_deque(
            steps in prop::collection::vec((0_u8..10, any::<u16>(), text()), 1..200),
            node in prop_oneof![Just(-1_i64), Just(3), Just(1), Just(7)],
        ) {
            let limits = Limits { list_node: node, ..Limits::default() };
            let mut list = List::default();
            let mut model: VecDeque<Vec<u8>> = VecDeque::new();
            for (what, place, text) in steps {
                let index = if model.is_empty() { 0 } else { place as usize % model.len() };
                match what {
                    0 | 1 => {
                        list.push(End::Back, &text, &limits);
                        model.push_back(text);
                    }
                    2 | 3 => {
                        list.push(End::Front, &text, &limits);
                        model.push_front(text);
                    }
                    4 => {
                        let end = if place % 2 == 0 { End::Front } else { End::Back };
                        let mut popped = None;
                        list.pop(end, |element| popped = Some(element.to_vec()));
                        let expected = if end == End::Front { model.pop_front() } else { model.pop_back() };
                        prop_assert_eq!(popped, expected);
                    }
                    5 => {
                        let done = list.set(index, &text, &limits);
                        prop_assert_eq!(done, !model.is_empty());
                        if done {
                            model[index] = text;
                        }
                    }
                    6 if !model.is_empty() => {
                        let pivot = model[index].clone();
                        let at = model.iter().position(|held| *held == pivot).expect("there");
                        let before = place % 2 == 0;
                        prop_assert!(list.insert(&pivot, before, &text, &limits));
                        model.insert(if before { at } else { at + 1 }, text);
                    }
                    7 => {
                        let limit = place as usize % 3;
                        let removed = list.remove(&text, if place % 2 == 0 { End::Front } else { End::Back }, limit);
                        let mut expected = 0;
                        let mut places: Vec<usize> = (0..model.len()).filter(|at| model[*at] == text).collect();
                        if place % 2 == 1 {
                            places.reverse();
                        }
                        if limit > 0 {
                            places.truncate(limit);
                        }
                        places.sort_unstable();
                        for at in places.into_iter().rev() {
                            model.remove(at);
                            expected += 1;
                        }
                        prop_assert_eq!(removed, expected);
                    }
                    8 => {
                        let count = place as usize % (model.len() + 1).min(5);
                        if place % 2 == 0 {
                            list.cut(End::Front, count);
                            model.drain(..count);
                        } else {
                            list.cut(End::Back, count);
                            model.truncate(model.len() - count);
                        }
                    }
                    _ if !model.is_empty() => {
                        prop_assert_eq!(list.get(index).map(Element::to_vec), Some(model[index].clone()));
                        let end = (index + 3).min(model.len() - 1);
                        let mut range = Vec::new();
                        list.range(index, end, |element| range.push(element.to_vec()));
                        prop_assert_eq!(range, model.range(index..=end).cloned().collect::<Vec<_>>());
                    }
                    _ => {}
                }
                prop_assert_eq!(list.len(), model.len());
            }
            prop_assert_eq!(texts(&list), Vec::from(model));
        }
    }
}
