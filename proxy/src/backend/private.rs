//! Connections that serve one client at a time: how many there are of each server, and which of them nobody uses now.
//!
//! It keeps the books only; the connections themselves are in [`Upstream`](super::Upstream), with a place each.

use std::collections::HashMap;

use crate::route::lane::Manner;
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

/// A connection that nobody uses.
#[derive(Debug)]
struct Idle {
    held: Held,
    manner: Manner,
    since_us: u64,
}

#[derive(Debug, Default)]
struct OfServer {
    /// Connections, idle ones among them.
    count: usize,
    /// Those that nobody uses, the one used last at the end.
    idle: Vec<Idle>,
}

/// The private connections of a worker.
#[derive(Debug, Default)]
pub struct Privates {
    servers: HashMap<(PoolId, ServerId), OfServer>,
}

impl Privates {
    /// A connection to this server, spoken on in this manner, that nobody uses, now in use.
    pub fn take(&mut self, pool: PoolId, server: ServerId, manner: Manner) -> Option<Held> {
        let idle = &mut self.servers.get_mut(&(pool, server))?.idle;
        let at = idle.iter().rposition(|idle| idle.manner == manner)?;
        Some(idle.remove(at).held)
    }

    /// Whether there may be one connection more, where there may be `most`.
    pub fn room(&mut self, pool: PoolId, server: ServerId, most: usize) -> Room {
        let Some(of_server) = self.servers.get_mut(&(pool, server)) else {
            return if most == 0 { Room::None } else { Room::Free };
        };
        if of_server.count < most {
            return Room::Free;
        }
        if of_server.idle.is_empty() {
            return Room::None;
        }
        Room::InsteadOf(of_server.idle.remove(0).held)
    }

    /// There is one connection more, which is in use.
    pub fn added(&mut self, pool: PoolId, server: ServerId) {
        self.servers.entry((pool, server)).or_default().count += 1;
    }

    /// A connection is not in use any more.
    pub fn give(
        &mut self,
        pool: PoolId,
        server: ServerId,
        manner: Manner,
        held: Held,
        since_us: u64,
    ) {
        if let Some(of_server) = self.servers.get_mut(&(pool, server)) {
            of_server.idle.push(Idle { held, manner, since_us });
        }
    }

    /// A connection is gone, whether it was in use or not.
    pub fn gone(&mut self, pool: PoolId, server: ServerId, place: u32) {
        let Some(of_server) = self.servers.get_mut(&(pool, server)) else { return };
        of_server.count = of_server.count.saturating_sub(1);
        of_server.idle.retain(|idle| idle.held.place != place);
        if of_server.count == 0 {
            self.servers.remove(&(pool, server));
        }
    }

    /// The connections that nobody has used for long.
    #[must_use]
    pub fn stale(&self, now_us: u64) -> Vec<Held> {
        let idle = self.servers.values().flat_map(|of_server| of_server.idle.iter());
        idle.filter(|idle| idle.since_us + IDLE_US <= now_us).map(|idle| idle.held).collect()
    }

    /// Connections of a pool, and how many of them are in use.
    #[must_use]
    pub fn count(&self, pool: PoolId) -> (usize, usize) {
        let (mut all, mut idle) = (0, 0);
        for (_, of_server) in self.servers.iter().filter(|((of, _), _)| *of == pool) {
            all += of_server.count;
            idle += of_server.idle.len();
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
        privates.give(pool, server(), Manner::default(), held(0), 5);
        assert_eq!(privates.count(pool), (2, 1));
        for (resp3, db) in [(true, 0), (false, 1)] {
            let other = privates.take(pool, server(), Manner { resp3, db });
            assert_eq!(other, None, "it is spoken on in another manner");
        }
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
            privates.give(pool, server(), Manner::default(), held(place), u64::from(place));
        }
        assert_eq!(privates.take(pool, server(), Manner::default()), Some(held(2)));
        assert_eq!(privates.stale(IDLE_US), [held(0)]);
        assert_eq!(privates.stale(IDLE_US + 5), [held(0), held(1)]);
        for place in 0..3 {
            privates.gone(pool, server(), place);
        }
        assert!(privates.servers.is_empty() && privates.stale(u64::MAX).is_empty());
    }
}
