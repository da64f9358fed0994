//! Clients that wait for a key, in the order in which they came.
//!
//! A blocking command that finds nothing asks [`Call::block`](super::Call::block) to wait. When a key that is
//! waited for is written, it is noted as ready; once the writing command is done, the waiters' commands run again,
//! first come first served, until the key has nothing left. Running again and finding nothing leaves a waiter in
//! its place.
//!
//! Each waiter has a number that grows, which is its place in every queue it stands in: joining, leaving and finding the
//! next one cost the same however many others wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};

use hashbrown::HashMap;
use redstart_common::command::id_of;

pub use crate::client::blocked::{Blocked, Nothing};

/// Those who wait for one key.
#[derive(Default)]
struct Queue {
    /// Ids of clients by their places.
    waiters: BTreeMap<u64, u64>,
    /// The key is noted as ready.
    ready: bool,
    /// When the key is to be noted though nobody has written it, in milliseconds since 1970.
    retry_ms: Option<i64>,
}

type Queues = HashMap<Box<[u8]>, Queue, foldhash::fast::RandomState>;

/// Everybody who waits.
#[derive(Default)]
pub struct Blocking {
    dbs: Vec<Queues>,
    deadlines: BTreeSet<(i64, u64)>,
    /// Keys that are to be noted at a time, one for each.
    retries: BTreeSet<(i64, usize, Box<[u8]>)>,
    ready: VecDeque<(usize, Box<[u8]>)>,
    count: usize,
    keys: usize,
    /// Those who read a stream for a group: they hear of it when it goes.
    group_readers: usize,
    last_place: u64,
}

fn reads_for_group(blocked: &Blocked) -> bool {
    blocked.command == const { id_of("xreadgroup") }
}

impl Blocking {
    /// For `count` databases.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { dbs: (0..count).map(|_| Queues::default()).collect(), ..Self::default() }
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

    /// Whether anybody reads a stream for a group, and so has to hear of it when it goes.
    #[inline]
    #[must_use]
    pub fn has_group_readers(&self) -> bool {
        self.group_readers > 0
    }

    /// How many of them give up some time.
    #[must_use]
    pub fn with_deadline(&self) -> usize {
        self.deadlines.len()
    }

    /// Adds a waiter behind those who came before, and notes its place.
    pub fn add(&mut self, client: u64, blocked: &mut Blocked) {
        self.count += 1;
        self.group_readers += usize::from(reads_for_group(blocked));
        self.last_place += 1;
        blocked.place = self.last_place;
        for key in &blocked.keys {
            let queue = self.dbs[blocked.db].entry(key.clone()).or_default();
            self.keys += usize::from(queue.waiters.is_empty());
            queue.waiters.insert(blocked.place, client);
        }
        if let Some(deadline) = blocked.deadline_ms {
            self.deadlines.insert((deadline, client));
        }
    }

    /// Takes a waiter out of all queues.
    pub fn remove(&mut self, client: u64, blocked: &Blocked) {
        self.count -= 1;
        self.group_readers -= usize::from(reads_for_group(blocked));
        for key in &blocked.keys {
            if let Some(queue) = self.dbs[blocked.db].get_mut(&**key) {
                queue.waiters.remove(&blocked.place);
                if queue.waiters.is_empty() {
                    if let Some(at_ms) = queue.retry_ms {
                        self.retries.remove(&(at_ms, blocked.db, key.clone()));
                    }
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
        if self.keys > 0
            && let Some(queue) = self.dbs[db].get_mut(key)
            && !std::mem::replace(&mut queue.ready, true)
        {
            self.ready.push_back((db, key.into()));
        }
    }

    /// Has a key that is waited for noted at `at_ms` (milliseconds since 1970), or before that if somebody has asked for it.
    pub fn retry_at(&mut self, db: usize, key: &[u8], at_ms: i64) {
        let Some(queue) = self.dbs[db].get_mut(key) else { return };
        if queue.retry_ms.is_some_and(|earlier_ms| earlier_ms <= at_ms) {
            return;
        }
        if let Some(later_ms) = queue.retry_ms.replace(at_ms) {
            self.retries.remove(&(later_ms, db, key.into()));
        }
        self.retries.insert((at_ms, db, key.into()));
    }

    /// Notes the keys whose time has come.
    pub fn note_retries(&mut self, now_ms: i64) {
        while self.retries.first().is_some_and(|(at_ms, ..)| *at_ms <= now_ms) {
            let Some((_, db, key)) = self.retries.pop_first() else { break };
            if let Some(queue) = self.dbs[db].get_mut(&key) {
                queue.retry_ms = None;
            }
            self.note(db, &key);
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
        let (db, key) = self.ready.pop_front()?;
        if let Some(queue) = self.dbs[db].get_mut(&*key) {
            queue.ready = false;
        }
        Some((db, key))
    }

    /// Who waits for a key behind the place `behind`, first come first: the place and the client.
    #[must_use]
    pub fn next_waiter(&self, db: usize, key: &[u8], behind: u64) -> Option<(u64, u64)> {
        let queue = self.dbs[db].get(key)?;
        let mut rest = queue.waiters.range((Excluded(behind), Unbounded));
        rest.next().map(|(place, client)| (*place, *client))
    }

    /// When the next waiter gives up or is looked after, in milliseconds since 1970.
    #[must_use]
    pub fn next_deadline(&self) -> Option<i64> {
        let gives_up = self.deadlines.first().map(|(deadline, _)| *deadline);
        let retry = self.retries.first().map(|(at_ms, ..)| *at_ms);
        gives_up.into_iter().chain(retry).min()
    }

    /// A waiter whose time is over.
    pub fn overdue(&self, now_ms: i64) -> Option<u64> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now_ms).map(|(_, id)| *id)
    }
}

#[cfg(test)]
mod tests {
    use redstart_common::resp::OwnedArgs;

    use super::*;
    use crate::types::Kind;

    fn waiter(keys: &[&str], deadline_ms: Option<i64>) -> Blocked {
        Blocked {
            kind: Kind::List,
            db: 0,
            keys: keys.iter().map(|key| key.as_bytes().into()).collect(),
            deadline_ms,
            nothing: Nothing::Null,
            command: const { id_of("blpop") },
            args: OwnedArgs::new(),
            place: 0,
        }
    }

    fn queue(blocking: &Blocking, key: &str) -> Vec<u64> {
        let (mut behind, mut all) = (0, Vec::new());
        while let Some((place, client)) = blocking.next_waiter(0, key.as_bytes(), behind) {
            behind = place;
            all.push(client);
        }
        all
    }

    #[test]
    fn first_come_is_first_served_whoever_leaves() {
        let mut blocking = Blocking::new(1);
        let mut waiters: Vec<Blocked> =
            [&["a", "b", "a"][..], &["b"], &["a"]].map(|keys| waiter(keys, None)).into();
        for (id, blocked) in [(30, 0), (10, 1), (20, 2)] {
            blocking.add(id, &mut waiters[blocked]);
        }
        assert_eq!((queue(&blocking, "a"), queue(&blocking, "b")), (vec![30, 20], vec![30, 10]));
        blocking.remove(30, &waiters[0]);
        assert_eq!((queue(&blocking, "a"), queue(&blocking, "b")), (vec![20], vec![10]));
        // Who comes again stands at the end.
        blocking.add(30, &mut waiters[0]);
        assert_eq!(queue(&blocking, "b"), [10, 30]);
        assert_eq!(blocking.len(), 3);
    }

    #[test]
    fn a_key_is_noted_once_until_it_is_served_and_in_order() {
        let mut blocking = Blocking::new(1);
        blocking.add(1, &mut waiter(&["a", "b"], Some(5)));
        for key in ["b", "none", "a", "b"] {
            blocking.note(0, key.as_bytes());
        }
        assert_eq!(blocking.next_ready(), Some((0, b"b"[..].into())));
        blocking.note(0, b"b");
        assert_eq!(blocking.next_ready(), Some((0, b"a"[..].into())));
        assert_eq!(blocking.next_ready(), Some((0, b"b"[..].into())));
        assert!(!blocking.has_ready());
        assert_eq!((blocking.overdue(4), blocking.overdue(5)), (None, Some(1)));
    }

    #[test]
    fn a_key_is_looked_at_again_at_the_earliest_of_the_times_while_somebody_waits() {
        let mut blocking = Blocking::new(1);
        blocking.retry_at(0, b"a", 1);
        assert_eq!(blocking.next_deadline(), None);
        let mut both = waiter(&["a", "b"], Some(50));
        blocking.add(1, &mut both);
        for (key, at_ms) in [("a", 40), ("a", 20), ("a", 30), ("b", 10)] {
            blocking.retry_at(0, key.as_bytes(), at_ms);
        }
        assert_eq!(blocking.next_deadline(), Some(10));
        blocking.note_retries(19);
        assert_eq!(blocking.next_ready(), Some((0, b"b"[..].into())));
        assert!(!blocking.has_ready());
        blocking.retry_at(0, b"b", 45);
        blocking.note_retries(20);
        assert_eq!(blocking.next_ready(), Some((0, b"a"[..].into())));
        assert_eq!(blocking.next_deadline(), Some(45));
        blocking.remove(1, &both);
        assert_eq!(blocking.next_deadline(), None);
    }
}
