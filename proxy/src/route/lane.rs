//! Which of the connections to a server a client's requests go on.
//!
//! Protocol version and database belong to a connection, so each pair of them has connections of its own, as many as the pool
//! has of each kind; a client keeps to one of them. Those of database 0 come first. Connections are opened when they are needed.

/// Protocol versions: RESP2 and RESP3.
const PROTOCOLS: u32 = 2;

/// How a client asks, and a connection is spoken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Manner {
    /// In RESP3 rather than RESP2.
    pub resp3: bool,
    /// Of this database.
    pub db: u16,
}

/// The lanes of a pool: alike for all its servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lanes {
    connections: u32,
    heavy: u32,
    databases: u32,
}

impl Lanes {
    /// So many connections of each kind to each server, and so many more for heavy requests, for so many databases.
    #[must_use]
    pub fn new(connections: usize, heavy: usize, databases: u16) -> Self {
        let number = |count: usize| u32::try_from(count).unwrap_or(1);
        Self {
            connections: number(connections).max(1),
            heavy: number(heavy),
            databases: u32::from(databases).max(1),
        }
    }

    /// How many of each kind there are.
    fn of_kind(self) -> u32 {
        self.connections + self.heavy
    }

    /// How many there are.
    #[must_use]
    pub fn count(self) -> usize {
        (self.databases * PROTOCOLS * self.of_kind()) as usize
    }

    /// How many of each kind are for heavy requests.
    #[inline]
    #[must_use]
    pub fn heavy(self) -> u32 {
        self.heavy
    }

    fn first(self, manner: Manner) -> u32 {
        (u32::from(manner.db) * PROTOCOLS + u32::from(manner.resp3)) * self.of_kind()
    }

    /// The lane of a client, by its number on the worker.
    #[must_use]
    pub fn of(self, manner: Manner, client: u32) -> u32 {
        self.first(manner) + client % self.connections
    }

    /// The lane with this number of those for heavy requests.
    #[must_use]
    pub fn of_heavy(self, manner: Manner, number: u32) -> u32 {
        self.first(manner) + self.connections + number
    }

    /// Whether a lane is for heavy requests.
    #[must_use]
    pub fn is_heavy(self, lane: usize) -> bool {
        lane as u32 % self.of_kind() >= self.connections
    }

    /// How a connection on this lane is spoken on.
    #[must_use]
    pub fn manner(self, lane: usize) -> Manner {
        let kind = lane as u32 / self.of_kind();
        let (db, resp3) = (kind / PROTOCOLS, kind % PROTOCOLS == 1);
        Manner { resp3, db: u16::try_from(db).unwrap_or(u16::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_manner_has_lanes_of_its_own() {
        for (connections, heavy, databases) in [(1, 0, 1), (1, 2, 16), (3, 1, 1), (4, 0, 5)] {
            let lanes = Lanes::new(connections, heavy, databases);
            let mut seen = BTreeSet::new();
            for db in 0..databases {
                for resp3 in [false, true] {
                    let manner = Manner { resp3, db };
                    let own: BTreeSet<u32> =
                        (0..20).map(|client| lanes.of(manner, client)).collect();
                    assert_eq!(own.len(), connections);
                    let apart: BTreeSet<u32> =
                        (0..heavy as u32).map(|number| lanes.of_heavy(manner, number)).collect();
                    assert_eq!(apart.len(), heavy);
                    for lane in own.iter().chain(&apart) {
                        assert_eq!(lanes.manner(*lane as usize), manner);
                        assert_eq!(lanes.is_heavy(*lane as usize), apart.contains(lane));
                        assert!((*lane as usize) < lanes.count() && seen.insert(*lane));
                    }
                }
            }
            assert_eq!(seen.len(), lanes.count());
            assert_eq!(lanes.manner(0), Manner::default(), "which costs the first nothing");
        }
    }
}
