//! The order of a large sorted set: a B+tree over (score, member) that knows how many keys lie in each subtree.
//!
//! ```text
//!   inner:  low key, count, child │ low key, count, child │ …        up to 32
//!   leaf:   key │ key │ …                                            up to 64
//! ```
//!
//! A key is a score and the address of the item that holds the member; equal scores are told apart by the members'
//! bytes. `low` is the lowest key of a child, exactly. Ranks, positions and ranges are found in logarithmic time by
//! the counts. A leaf that overflows at its end is split there, so that ascending insertion leaves full leaves; so
//! is the first leaf at its beginning, for descending insertion, which is the order of RDB files.
//!
//! `unsafe` rests on this: *every key in the tree leads to an item that lives; whoever removes an item from its bag
//! removes its key from the tree first.*

use std::cmp::Ordering;
use std::ptr::NonNull;

use crate::encoding::bag::Thin;
use crate::encoding::choice;

const LEAF_KEYS: usize = 64;
const INNER_CHILDREN: usize = 32;

/// A score and who has it.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The score; never NaN.
    pub score: f64,
    item: NonNull<Thin<f64>>,
}

impl Key {
    /// The key of an item.
    ///
    /// # Safety
    /// The item must live for as long as the key is used.
    #[must_use]
    pub unsafe fn new(score: f64, item: NonNull<Thin<f64>>) -> Self {
        Self { score, item }
    }

    /// The member.
    #[inline]
    #[must_use]
    pub fn member(&self) -> &[u8] {
        // SAFETY: the item lives, as promised to `new`.
        unsafe { self.item.as_ref() }.key()
    }

    #[inline]
    fn order(&self, other: &Self) -> Ordering {
        match self.score.partial_cmp(&other.score) {
            Some(Ordering::Equal) | None if self.item == other.item => Ordering::Equal,
            Some(Ordering::Equal) | None => self.member().cmp(other.member()),
            Some(order) => order,
        }
    }
}

struct Child {
    low: Key,
    count: usize,
    node: Box<Node>,
}

enum Node {
    Leaf(Vec<Key>),
    Inner(Vec<Child>),
}

impl Node {
    fn count(&self) -> usize {
        match self {
            Self::Leaf(keys) => keys.len(),
            Self::Inner(children) => children.iter().map(|child| child.count).sum(),
        }
    }

    /// Bytes of the node and those below it, told from the first `leaves_left` leaves.
    fn allocated_bytes(&self, leaves_left: &mut usize) -> usize {
        match self {
            Self::Leaf(keys) => {
                *leaves_left = leaves_left.saturating_sub(1);
                keys.capacity() * size_of::<Key>()
            }
            Self::Inner(children) => {
                let (mut keys, mut bytes) = (0, 0);
                for child in children {
                    if *leaves_left == 0 {
                        break;
                    }
                    keys += child.count;
                    bytes += size_of::<Self>() + child.node.allocated_bytes(leaves_left);
                }
                children.capacity() * size_of::<Child>() + choice::scale(bytes, keys, self.count())
            }
        }
    }

    fn low(&self) -> Option<Key> {
        match self {
            Self::Leaf(keys) => keys.first().copied(),
            Self::Inner(children) => children.first().map(|child| child.low),
        }
    }

    fn width(&self) -> usize {
        match self {
            Self::Leaf(keys) => keys.len(),
            Self::Inner(children) => children.len(),
        }
    }

    fn is_small(&self) -> bool {
        match self {
            Self::Leaf(keys) => keys.len() < LEAF_KEYS / 4,
            Self::Inner(children) => children.len() < INNER_CHILDREN / 4,
        }
    }

    /// Adds a key; answers the new right neighbour when the node had to be split.
    fn insert(&mut self, key: Key) -> Option<Child> {
        match self {
            Self::Leaf(keys) => {
                let place = keys.partition_point(|held| held.order(&key) == Ordering::Less);
                if keys.len() < LEAF_KEYS {
                    keys.insert(place, key);
                    return None;
                }
                // Only the very first leaf is given a key that comes before its own.
                let cut = match place {
                    0 | LEAF_KEYS => place,
                    _ => LEAF_KEYS / 2,
                };
                let mut right = Vec::with_capacity((LEAF_KEYS - cut).max(LEAF_KEYS / 2 + 1));
                right.extend(keys.drain(cut..));
                if place <= cut && cut < LEAF_KEYS {
                    keys.insert(place, key);
                } else {
                    right.insert(place - cut, key);
                }
                Some(Child { low: right[0], count: right.len(), node: Box::new(Self::Leaf(right)) })
            }
            Self::Inner(children) => {
                let place = children
                    .partition_point(|child| child.low.order(&key) != Ordering::Greater)
                    .saturating_sub(1);
                let child = &mut children[place];
                let split = child.node.insert(key);
                child.count = child.count + 1 - split.as_ref().map_or(0, |right| right.count);
                if key.order(&child.low) == Ordering::Less {
                    child.low = key;
                }
                let right = split?;
                children.insert(place + 1, right);
                if children.len() <= INNER_CHILDREN {
                    return None;
                }
                // As for leaves: a split at an end leaves a full node behind.
                let cut = match place {
                    0 => 1,
                    place if place + 2 == children.len() => INNER_CHILDREN,
                    _ => INNER_CHILDREN / 2,
                };
                let right: Vec<Child> = children.drain(cut..).collect();
                let count = right.iter().map(|child| child.count).sum();
                Some(Child { low: right[0].low, count, node: Box::new(Self::Inner(right)) })
            }
        }
    }

    /// Removes a key. Answers whether it was there.
    fn remove(&mut self, key: &Key) -> bool {
        match self {
            Self::Leaf(keys) => {
                let place = keys.partition_point(|held| held.order(key) == Ordering::Less);
                let there = keys.get(place).is_some_and(|held| held.item == key.item);
                if there {
                    keys.remove(place);
                }
                there
            }
            Self::Inner(children) => {
                let place =
                    children.partition_point(|child| child.low.order(key) != Ordering::Greater);
                let Some(place) = place.checked_sub(1) else { return false };
                let child = &mut children[place];
                if !child.node.remove(key) {
                    return false;
                }
                child.count -= 1;
                match child.node.low() {
                    Some(low) => child.low = low,
                    None => {
                        children.remove(place);
                        return true;
                    }
                }
                if child.node.is_small() {
                    Self::rebalance(children, place);
                }
                true
            }
        }
    }

    /// Joins a small child with a neighbour when both fit in one.
    fn rebalance(children: &mut Vec<Child>, place: usize) {
        let limit = |node: &Self| match node {
            Self::Leaf(_) => LEAF_KEYS * 3 / 4,
            Self::Inner(_) => INNER_CHILDREN * 3 / 4,
        };
        for left in [place.checked_sub(1), Some(place)].into_iter().flatten() {
            let Some(right) = children.get(left + 1) else { continue };
            let width = children[left].node.width() + right.node.width();
            if width > limit(&right.node) {
                continue;
            }
            let right = children.remove(left + 1);
            let child = &mut children[left];
            child.count += right.count;
            match (&mut *child.node, *right.node) {
                (Self::Leaf(keys), Self::Leaf(more)) => keys.extend(more),
                (Self::Inner(nodes), Self::Inner(more)) => nodes.extend(more),
                // All leaves lie on one level, so neighbours are of one kind.
                _ => unreachable!("neighbours of different kinds"),
            }
            return;
        }
    }

    /// Calls `visit` with keys in order from position `skip` on, until it answers `false`; answers that.
    fn walk(&self, mut skip: usize, visit: &mut impl FnMut(&Key) -> bool) -> bool {
        match self {
            Self::Leaf(keys) => keys.iter().skip(skip).all(visit),
            Self::Inner(children) => {
                for child in children {
                    if skip >= child.count {
                        skip -= child.count;
                    } else {
                        if !child.node.walk(skip, visit) {
                            return false;
                        }
                        skip = 0;
                    }
                }
                true
            }
        }
    }

    /// As `walk`, from the last key backwards, leaving `skip` keys out.
    fn walk_back(&self, mut skip: usize, visit: &mut impl FnMut(&Key) -> bool) -> bool {
        match self {
            Self::Leaf(keys) => keys.iter().rev().skip(skip).all(visit),
            Self::Inner(children) => {
                for child in children.iter().rev() {
                    if skip >= child.count {
                        skip -= child.count;
                    } else {
                        if !child.node.walk_back(skip, visit) {
                            return false;
                        }
                        skip = 0;
                    }
                }
                true
            }
        }
    }

    fn check(&self, depth: usize, leaf_depth: &mut Option<usize>) {
        match self {
            Self::Leaf(keys) => {
                assert_eq!(*leaf_depth.get_or_insert(depth), depth, "leaves on several levels");
                assert!(keys.len() <= LEAF_KEYS);
                assert!(keys.windows(2).all(|pair| pair[0].order(&pair[1]) == Ordering::Less));
            }
            Self::Inner(children) => {
                assert!(!children.is_empty() && children.len() <= INNER_CHILDREN);
                for child in children {
                    assert_eq!(child.count, child.node.count());
                    assert_eq!(child.node.low().map(|low| low.item), Some(child.low.item));
                    child.node.check(depth + 1, leaf_depth);
                }
            }
        }
    }
}

/// Keys in order. See the module's text.
pub struct Tree {
    root: Node,
    length: usize,
}

impl Default for Tree {
    fn default() -> Self {
        Self { root: Node::Leaf(Vec::new()), length: 0 }
    }
}

impl Tree {
    /// How many keys there are.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "the set asks its bag")]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Bytes of all nodes, told from `samples` leaves.
    #[must_use]
    pub fn allocated_bytes(&self, samples: usize) -> usize {
        self.root.allocated_bytes(&mut samples.max(1))
    }

    /// Adds a key that is not there.
    pub fn insert(&mut self, key: Key) {
        self.length += 1;
        if let Some(right) = self.root.insert(key) {
            let left = std::mem::replace(&mut self.root, Node::Inner(Vec::new()));
            if let (Some(low), Node::Inner(children)) = (left.low(), &mut self.root) {
                let count = left.count();
                children.push(Child { low, count, node: Box::new(left) });
                children.push(right);
            }
        }
    }

    /// Removes a key. Answers whether it was there.
    pub fn remove(&mut self, key: &Key) -> bool {
        if !self.root.remove(key) {
            return false;
        }
        self.length -= 1;
        while let Node::Inner(children) = &mut self.root {
            match children.len() {
                0 => self.root = Node::Leaf(Vec::new()),
                1 => {
                    if let Some(only) = children.pop() {
                        self.root = *only.node;
                    }
                }
                _ => break,
            }
        }
        true
    }

    /// How many keys come first, of which `is_before` holds; it must hold for a beginning of the order only.
    pub fn count_before(&self, mut is_before: impl FnMut(&Key) -> bool) -> usize {
        let (mut node, mut count) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(keys) => return count + keys.partition_point(is_before),
                Node::Inner(children) => {
                    let place = children.partition_point(|child| is_before(&child.low));
                    let Some(place) = place.checked_sub(1) else { return count };
                    count += children[..place].iter().map(|child| child.count).sum::<usize>();
                    node = &children[place].node;
                }
            }
        }
    }

    /// The position of a key that is there.
    #[must_use]
    pub fn rank(&self, key: &Key) -> usize {
        self.count_before(|held| held.order(key) == Ordering::Less)
    }

    /// Calls `visit` with keys in order from a position on, until it answers `false`.
    pub fn walk(&self, start: usize, mut visit: impl FnMut(&Key) -> bool) {
        self.root.walk(start, &mut visit);
    }

    /// As [`Tree::walk`] backwards, where position 0 is the last key.
    pub fn walk_back(&self, start: usize, mut visit: impl FnMut(&Key) -> bool) {
        self.root.walk_back(start, &mut visit);
    }

    /// Checks the whole tree. For tests.
    ///
    /// # Panics
    /// When an invariant does not hold.
    pub fn check(&self) {
        assert_eq!(self.root.count(), self.length);
        self.root.check(0, &mut None);
    }
}
