//! Sessions that clients may go on with: a store with a bound and a time, as OpenSSL's server cache has them.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::server::StoresServerSessions;

/// Places of sessions that are gone, beyond as many as there are sessions, that may wait to be removed.
const PLACES_SPARE: usize = 64;

/// The store.
pub(super) struct Store {
    held: Mutex<Held>,
    /// Sessions at most; 0 is no bound.
    most: usize,
    lifetime: Duration,
}

#[derive(Default)]
struct Held {
    sessions: HashMap<Vec<u8>, (Instant, Vec<u8>)>,
    /// Oldest first. A session that was replaced or taken has left its place here.
    order: VecDeque<(Instant, Vec<u8>)>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({} sessions, {:?})", self.most, self.lifetime)
    }
}

impl Store {
    pub(super) fn new(most: usize, lifetime: Duration) -> Self {
        Self { held: Mutex::default(), most, lifetime }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_at(&self, now: Instant, key: Vec<u8>, value: Vec<u8>) {
        let mut held = self.held();
        held.sessions.insert(key.clone(), (now, value));
        held.order.push_back((now, key));
        if held.order.len() > 2 * held.sessions.len() + PLACES_SPARE {
            let Held { sessions, order } = &mut *held;
            order.retain(|(since, key)| sessions.get(key).is_some_and(|(known, _)| known == since));
        }
        // Those that are over, and the oldest beyond the bound.
        while let Some((since, key)) = held.order.front() {
            let stands = held.sessions.get(key).is_some_and(|(known, _)| known == since);
            let is_over = now.saturating_duration_since(*since) >= self.lifetime;
            let is_beyond = self.most > 0 && held.sessions.len() > self.most;
            if stands && !is_over && !is_beyond {
                break;
            }
            let Some((_, key)) = held.order.pop_front() else { break };
            if stands {
                held.sessions.remove(&key);
            }
        }
    }

    fn get_at(&self, now: Instant, key: &[u8]) -> Option<Vec<u8>> {
        let held = self.held();
        let (since, value) = held.sessions.get(key)?;
        (now.saturating_duration_since(*since) < self.lifetime).then(|| value.clone())
    }

    fn take_at(&self, now: Instant, key: &[u8]) -> Option<Vec<u8>> {
        let (since, value) = self.held().sessions.remove(key)?;
        (now.saturating_duration_since(since) < self.lifetime).then_some(value)
    }
}

impl StoresServerSessions for Store {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.put_at(Instant::now(), key, value);
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.get_at(Instant::now(), key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.take_at(Instant::now(), key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_have_a_bound_and_a_time() {
        let store = Store::new(3, Duration::from_secs(10));
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        for (second, key) in (0..).zip(1..=4u8) {
            store.put_at(at(second), vec![key], vec![key; 2]);
        }
        assert_eq!(store.get_at(at(4), &[1]), None, "the oldest is beyond the bound");
        assert_eq!(store.get_at(at(4), &[2]), Some(vec![2; 2]));
        assert_eq!(store.get_at(at(11), &[2]), None, "its time is over");
        assert_eq!(store.take_at(at(4), &[3]), Some(vec![3; 2]));
        assert_eq!(store.take_at(at(4), &[3]), None, "it is taken once");
        // A session that comes again is as young as it is then.
        store.put_at(at(9), vec![2], vec![9]);
        store.put_at(at(12), vec![5], vec![5]);
        assert_eq!(store.get_at(at(12), &[2]), Some(vec![9]));
        store.put_at(at(100), vec![6], vec![6]);
        let held = store.held();
        assert_eq!((held.sessions.len(), held.order.len()), (1, 1), "nothing is left of the rest");
    }

    #[test]
    fn places_of_sessions_that_were_taken_do_not_pile_up_for_ever() {
        let store = Store::new(2, Duration::from_secs(10));
        let start = Instant::now();
        store.put_at(start, b"the first stays".to_vec(), Vec::new());
        for number in 0..1000u64 {
            let key = number.to_le_bytes().to_vec();
            store.put_at(start, key.clone(), Vec::new());
            store.take_at(start, &key);
        }
        assert!(store.held().order.len() <= PLACES_SPARE + 4, "{}", store.held().order.len());
        assert!(store.get_at(start, b"the first stays").is_some());
    }
}
