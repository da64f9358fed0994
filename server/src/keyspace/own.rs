//! Keys with a deadline that were written on a replica itself: its primary knows nothing of them and never says that they are
//! gone, so the replica removes them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use hashbrown::HashSet;

type Name = (usize, Box<[u8]>);

/// The names of such keys, in the order in which they are looked at.
#[derive(Default)]
pub struct OwnVolatile {
    is_kept: Cell<bool>,
    names: RefCell<Names>,
}

#[derive(Default)]
struct Names {
    known: HashSet<Name>,
    queue: VecDeque<Name>,
}

impl OwnVolatile {
    /// Whether names are kept from now on: on a replica that takes writes.
    pub fn keep(&self, is_kept: bool) {
        self.is_kept.set(is_kept);
        if !is_kept {
            self.names.take();
        }
    }

    /// A key got a deadline.
    #[inline]
    pub(super) fn note(&self, db: usize, key: &[u8]) {
        if self.is_kept.get() {
            self.add((db, key.into()));
        }
    }

    #[cold]
    fn add(&self, name: Name) {
        let mut names = self.names.borrow_mut();
        if names.known.insert(name.clone()) {
            names.queue.push_back(name);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.borrow().known.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next name out.
    pub fn take(&self) -> Option<(usize, Box<[u8]>)> {
        let mut names = self.names.borrow_mut();
        let name = names.queue.pop_front()?;
        names.known.remove(&name);
        Some(name)
    }

    /// Puts a name back, behind the others.
    pub fn put_back(&self, name: (usize, Box<[u8]>)) {
        self.add(name);
    }

    /// All data is gone.
    pub fn clear(&self) {
        self.names.take();
    }
}
