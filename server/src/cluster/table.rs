//! The table of nodes: by handle, and by name.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use rand::{Rng, RngCore};

use super::node::{Handle, Name, Node};

/// All nodes that are known, this server among them.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    places: Vec<Option<Box<Node>>>,
    free: Vec<Handle>,
    /// Handles by the names of their nodes, which the nodes have.
    found: HashTable<Handle>,
    /// Handles in the order of the names.
    ordered: Vec<Handle>,
}

fn hash(name: &Name) -> u64 {
    FixedState::default().hash_one(name.as_bytes())
}

impl Table {
    /// Adds a node whose name is not known yet.
    pub(super) fn add(&mut self, node: Node) -> Handle {
        let handle = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            Handle::at(self.places.len() - 1)
        });
        self.places[handle.place()] = Some(Box::new(node));
        self.enter(handle);
        handle
    }

    /// Takes a node out. What names it elsewhere is the caller's to clear.
    pub(super) fn remove(&mut self, handle: Handle) -> Option<Node> {
        self.get(handle)?;
        self.leave(handle);
        let node = self.places.get_mut(handle.place())?.take()?;
        self.free.push(handle);
        Some(*node)
    }

    /// Gives a node another name, which no other has.
    pub(super) fn rename(&mut self, handle: Handle, name: Name) {
        if self.get(handle).is_none() {
            return;
        }
        self.leave(handle);
        self[handle].name = name;
        self.enter(handle);
    }

    /// Has a node found by its name.
    fn enter(&mut self, handle: Handle) {
        let name = self[handle].name;
        let place = self.ordered.partition_point(|other| self[*other].name < name);
        self.ordered.insert(place, handle);
        let Self { found, places, .. } = self;
        let name_of =
            |handle: &Handle| places[handle.place()].as_ref().map_or(0, |it| hash(&it.name));
        found.insert_unique(hash(&name), handle, name_of);
    }

    /// Has a node found no more.
    fn leave(&mut self, handle: Handle) {
        let name = self[handle].name;
        let place = self.ordered.partition_point(|other| self[*other].name < name);
        self.ordered.remove(place);
        if let Ok(entry) = self.found.find_entry(hash(&name), |other| *other == handle) {
            entry.remove();
        }
    }

    pub(super) fn get(&self, handle: Handle) -> Option<&Node> {
        self.places.get(handle.place())?.as_deref()
    }

    pub(super) fn get_mut(&mut self, handle: Handle) -> Option<&mut Node> {
        self.places.get_mut(handle.place())?.as_deref_mut()
    }

    pub(super) fn find(&self, name: &Name) -> Option<Handle> {
        self.found.find(hash(name), |handle| self[*handle].name == *name).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.ordered.len()
    }

    /// All nodes by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Handle, &Node)> {
        self.ordered.iter().filter_map(|handle| Some((*handle, self.get(*handle)?)))
    }

    /// All nodes, in no order.
    pub(super) fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.places.iter_mut().filter_map(|node| node.as_deref_mut())
    }

    /// A node by chance.
    pub(super) fn random(&self, random: &mut dyn RngCore) -> Option<Handle> {
        if self.ordered.is_empty() {
            return None;
        }
        loop {
            let place = random.random_range(0..self.places.len());
            if self.places[place].is_some() {
                return Some(Handle::at(place));
            }
        }
    }

    /// Their handles, by name.
    pub(super) fn handles(&self) -> Vec<Handle> {
        self.ordered.clone()
    }

    /// Bytes that it takes, with all nodes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let nodes: usize = self.iter().map(|(_, node)| node.bytes()).sum();
        nodes
            + self.places.capacity() * size_of::<Option<Box<Node>>>()
            + (self.free.capacity() + self.ordered.capacity()) * size_of::<Handle>()
            + self.found.allocation_size()
    }
}

impl std::ops::Index<Handle> for Table {
    type Output = Node;

    /// A node that is known to be there: handles are kept only as long as their nodes are.
    fn index(&self, handle: Handle) -> &Node {
        self.get(handle).expect("a handle is dropped with its node")
    }
}

impl std::ops::IndexMut<Handle> for Table {
    fn index_mut(&mut self, handle: Handle) -> &mut Node {
        self.get_mut(handle).expect("a handle is dropped with its node")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::node::Flags;
    use super::*;

    fn name(number: u8) -> Name {
        // The order of the names is not that of the numbers.
        let digits = format!("{:02x}", number.reverse_bits()).repeat(20);
        Name::parse(digits.as_bytes()).expect("a name")
    }

    proptest! {
        #[test]
        fn a_table_is_as_a_map(steps in prop::collection::vec((0u8..3, any::<u8>(), any::<u8>()), 0..200)) {
            let (mut table, mut map) = (Table::default(), BTreeMap::new());
            for (step, one, other) in steps {
                let (one, other) = (name(one), name(other));
                match (step, map.get(&one).copied()) {
                    (0, None) => {
                        let handle = table.add(Node::new(one, Flags::default(), 0));
                        map.insert(one, handle);
                    }
                    (1, Some(handle)) => {
                        prop_assert_eq!(table.remove(handle).map(|node| node.name), Some(one));
                        prop_assert!(table.get(handle).is_none() && table.remove(handle).is_none());
                        map.remove(&one);
                    }
                    (2, Some(handle)) if !map.contains_key(&other) => {
                        table.rename(handle, other);
                        map.remove(&one);
                        map.insert(other, handle);
                    }
                    _ => {}
                }
                prop_assert_eq!(table.find(&one), map.get(&one).copied());
                prop_assert_eq!(table.find(&other), map.get(&other).copied());
            }
            prop_assert_eq!(table.len(), map.len());
            let all: Vec<(Name, Handle)> = table.iter().map(|(handle, node)| (node.name, handle)).collect();
            prop_assert_eq!(all, map.iter().map(|(name, handle)| (*name, *handle)).collect::<Vec<_>>());
        }
    }
}
