//! Clients that wait for a key, in the order in which they came.
//!
//! A blocking command that finds nothing asks [`Call::block`](super::Call::block) to wait. When a key that is
//! waited for is written, it is noted as ready; once the writing command is done, the waiters' commands run again,
//! first come first served, until the key has nothing left. Running again and finding nothing leaves a waiter in
//! its place.

use std::collections::{BTreeSet, VecDeque};

use hashbrown::HashMap;

pub use crate::client::blocked::{Blocked, Nothing};

type Waiters = HashMap<Box<[u8]>, VecDeque<u64>, foldhash::fast::RandomState>;

/// Everybody who waits.
#[derive(Default)]
pub struct Blocking {
    dbs: Vec<Waiters>,
    deadlines: BTreeSet<(i64, u64)>,
    ready: VecDeque<(usize, Box<[u8]>)>,
    count: usize,
    keys: usize,
}

impl Blocking {
    /// For `count` databases.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { dbs: (0..count).map(|_| Waiters::default()).collect(), ..Self::default() }
    }

    /// How many clients wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nobody waits.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many of them give up some time.
    #[must_use]
    pub fn with_deadline(&self) -> usize {
        self.deadlines.len()
    }

    /// Adds a waiter behind those who came before.
    pub fn add(&mut self, client: u64, blocked: &Blocked) {
        self.count += 1;
        for key in &blocked.keys {
            let waiters = self.dbs[blocked.db].entry(key.clone()).or_default();
            if waiters.is_empty() {
                self.keys += 1;
            }
            if !waiters.contains(&client) {
                waiters.push_back(client);
            }
        }
        if let Some(deadline) = blocked.deadline_ms {
            self.deadlines.insert((deadline, client));
        }
    }

    /// Takes a waiter out of all queues.
    pub fn remove(&mut self, client: u64, blocked: &Blocked) {
        self.count -= 1;
        for key in &blocked.keys {
            if let Some(waiters) = self.dbs[blocked.db].get_mut(&**key) {
                waiters.retain(|id| *id != client);
                if waiters.is_empty() {
                    self.dbs[blocked.db].remove(&**key);
                    self.keys -= 1;
                }
            }
        }
        if let Some(deadline) = blocked.deadline_ms {
            self.deadlines.remove(&(deadline, client));
        }
    }

    /// Notes that a key was written, if anybody waits for it.
    #[inline]
    pub fn note(&mut self, db: usize, key: &[u8]) {
        if self.keys > 0 && self.dbs[db].contains_key(key) {
            let fresh = !self.ready.iter().any(|(at, held)| *at == db && **held == *key);
            if fresh {
                self.ready.push_back((db, key.into()));
            }
        }
    }

    /// Notes all keys of a database that are waited for, after it has changed wholly.
    pub fn note_all(&mut self, db: usize) {
        let keys: Vec<Box<[u8]>> = self.dbs[db].keys().cloned().collect();
        for key in keys {
            self.note(db, &key);
        }
    }

    /// Whether noted keys wait to be served.
    #[inline]
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next noted key.
    pub fn next_ready(&mut self) -> Option<(usize, Box<[u8]>)> {
        self.ready.pop_front()
    }

    /// Who waits for a key, first come first.
    #[must_use]
    pub fn waiters(&self, db: usize, key: &[u8]) -> Vec<u64> {
        self.dbs[db].get(key).map(|ids| ids.iter().copied().collect()).unwrap_or_default()
    }

    /// When the next waiter gives up, in milliseconds since 1970.
    #[must_use]
    pub fn next_deadline(&self) -> Option<i64> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// A waiter whose time is over.
    pub fn overdue(&self, now_ms: i64) -> Option<u64> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now_ms).map(|(_, id)| *id)
    }
}
