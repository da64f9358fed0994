//! The table of nodes: by handle, and by name.

use std::collections::BTreeMap;

use rand::{Rng, RngCore};

use super::node::{Handle, Name, Node};

/// All nodes that are known, this server among them.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    places: Vec<Option<Box<Node>>>,
    free: Vec<u32>,
    names: BTreeMap<Name, Handle>,
}

impl Table {
    /// Adds a node whose name is not known yet.
    pub(super) fn add(&mut self, node: Node) -> Handle {
        let name = node.name;
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        self.places[place as usize] = Some(Box::new(node));
        self.names.insert(name, Handle(place));
        Handle(place)
    }

    /// Takes a node out. What names it elsewhere is the caller's to clear.
    pub(super) fn remove(&mut self, handle: Handle) -> Option<Node> {
        let node = self.places.get_mut(handle.0 as usize)?.take()?;
        self.names.remove(&node.name);
        self.free.push(handle.0);
        Some(*node)
    }

    /// Gives a node another name, which no other has.
    pub(super) fn rename(&mut self, handle: Handle, name: Name) {
        let Some(node) = self.get_mut(handle) else { return };
        let old = std::mem::replace(&mut node.name, name);
        self.names.remove(&old);
        self.names.insert(name, handle);
    }

    pub(super) fn get(&self, handle: Handle) -> Option<&Node> {
        self.places.get(handle.0 as usize)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, handle: Handle) -> Option<&mut Node> {
        self.places.get_mut(handle.0 as usize)?.as_deref_mut()
    }

    pub(super) fn find(&self, name: &Name) -> Option<Handle> {
        self.names.get(name).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// All nodes by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Handle, &Node)> {
        self.names.values().filter_map(|handle| Some((*handle, self.get(*handle)?)))
    }

    /// A node by chance.
    pub(super) fn random(&self, random: &mut dyn RngCore) -> Option<Handle> {
        if self.names.is_empty() {
            return None;
        }
        loop {
            let place = random.random_range(0..self.places.len());
            if self.places[place].is_some() {
                return Some(Handle(u32::try_from(place).unwrap_or(u32::MAX)));
            }
        }
    }

    /// Their handles, by name.
    pub(super) fn handles(&self) -> Vec<Handle> {
        self.names.values().copied().collect()
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
