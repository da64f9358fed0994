//! Connections that serve one client at a time: how many there are of each server, and which of them nobody uses now.
//!
//! It keeps the books only; the connections themselves are in [`Upstream`](super::Upstream), with a place each.

use std::collections::HashMap;

use crate::topology::{PoolId, ServerId};

/// How long a connection is kept that nobody uses, in microseconds.
const IDLE_US: u64 = 30_000_000;

/// A connection that somebody has; the epoch tells it from others that have its place later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Its place.
    pub place: u32,
    /// Which connection of that place it is.
    pub epoch: u32,
}

/// Whether there may be one connection more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Yes.
    Free,
    /// Yes, when this one is closed, which nobody uses.
    InsteadOf(Held),
    /// No: all are in use.
    None,
}

#[derive(Debug, Default)]
struct OfServer {
    /// Connections, idle ones among them.
    count: usize,
    /// Those that nobody uses, with the time since; by protocol, the one used last at the end.
    idle: [Vec<(Held, u64)>; 2],
}

/// The private connections of a worker.
#[derive(Debug, Default)]
pub struct Privates {
    servers: HashMap<(PoolId, ServerId), OfServer>,
}

impl Privates {
    /// A connection to this server that nobody uses, now in use.
    pub fn take(&mut self, pool: PoolId, server: ServerId, resp3: bool) -> Option<Held> {
        let of_server = self.servers.get_mut(&(pool, server))?;
        of_server.idle[usize::from(resp3)].pop().map(|(held, _)| held)
    }

    /// Whether there may be one connection more, where there may be `most`.
    pub fn room(&mut self, pool: PoolId, server: ServerId, most: usize) -> Room {
        let Some(of_server) = self.servers.get_mut(&(pool, server)) else {
            return if most == 0 { Room::None } else { Room::Free };
        };
        if of_server.count < most {
            return Room::Free;
        }
        match of_server.idle.iter_mut().find(|idle| !idle.is_empty()) {
            Some(idle) => Room::InsteadOf(idle.remove(0).0),
            None => Room::None,
        }
    }

    /// There is one connection more, which is in use.
    pub fn added(&mut self, pool: PoolId, server: ServerId) {
        self.servers.entry((pool, server)).or_default().count += 1;
    }

    /// A connection is not in use any more.
    pub fn give(&mut self, pool: PoolId, server: ServerId, resp3: bool, held: Held, now_us: u64) {
        if let Some(of_server) = self.servers.get_mut(&(pool, server)) {
            of_server.idle[usize::from(resp3)].push((held, now_us));
        }
    }

    /// A connection is gone, whether it was in use or not.
    pub fn gone(&mut self, pool: PoolId, server: ServerId, place: u32) {
        let Some(of_server) = self.servers.get_mut(&(pool, server)) else { return };
        of_server.count = of_server.count.saturating_sub(1);
        for idle in &mut of_server.idle {
            idle.retain(|(held, _)| held.place != place);
        }
        if of_server.count == 0 {
            self.servers.remove(&(pool, server));
        }
    }

    /// The connections that nobody has used for long.
    #[must_use]
    pub fn stale(&self, now_us: u64) -> Vec<Held> {
        let idle = self.servers.values().flat_map(|of_server| of_server.idle.iter().flatten());
        idle.filter(|(_, since_us)| since_us + IDLE_US <= now_us).map(|(held, _)| *held).collect()
    }

    /// Connections of a pool, and how many of them are in use.
    #[must_use]
    pub fn count(&self, pool: PoolId) -> (usize, usize) {
        let (mut all, mut idle) = (0, 0);
        for (_, of_server) in self.servers.iter().filter(|((of, _), _)| *of == pool) {
            all += of_server.count;
            idle += of_server.idle.iter().map(Vec::len).sum::<usize>();
        }
        (all, all - idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> ServerId {
        ServerId::new(1)
    }

    fn held(place: u32) -> Held {
        Held { place, epoch: 0 }
    }

    #[test]
    fn there_are_no_more_than_there_may_be() {
        let (pool, mut privates) = (PoolId::new(0), Privates::default());
        for place in 0..2 {
            assert_eq!(privates.room(pool, server(), 2), Room::Free);
            privates.added(pool, server());
            assert_eq!(privates.count(pool), (place + 1, place + 1));
        }
        assert_eq!(privates.room(pool, server(), 2), Room::None, "both are in use");
        privates.give(pool, server(), false, held(0), 5);
        assert_eq!(privates.count(pool), (2, 1));
        assert_eq!(privates.take(pool, server(), true), None, "it speaks the other protocol");
        assert_eq!(privates.room(pool, server(), 2), Room::InsteadOf(held(0)), "so it makes place");
        privates.gone(pool, server(), 0);
        assert_eq!(privates.room(pool, server(), 2), Room::Free);
        assert_eq!(privates.room(pool, ServerId::new(9), 0), Room::None);
    }

    #[test]
    fn the_one_used_last_is_used_next_and_the_others_go_in_time() {
        let (pool, mut privates) = (PoolId::new(0), Privates::default());
        for place in 0..3 {
            privates.added(pool, server());
            privates.give(pool, server(), false, held(place), u64::from(place));
        }
        assert_eq!(privates.take(pool, server(), false), Some(held(2)));
        assert_eq!(privates.stale(IDLE_US), [held(0)]);
        assert_eq!(privates.stale(IDLE_US + 5), [held(0), held(1)]);
        for place in 0..3 {
            privates.gone(pool, server(), place);
        }
        assert!(privates.servers.is_empty() && privates.stale(u64::MAX).is_empty());
    }
}
