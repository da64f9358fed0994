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
    databases: u32,
}

impl Lanes {
    /// So many connections of each kind to each server, for so many databases.
    #[must_use]
    pub fn new(connections: usize, databases: u16) -> Self {
        let connections = u32::try_from(connections).unwrap_or(1).max(1);
        Self { connections, databases: u32::from(databases).max(1) }
    }

    /// How many there are.
    #[must_use]
    pub fn count(self) -> usize {
        (self.databases * PROTOCOLS * self.connections) as usize
    }

    /// The lane of a client, by its number on the worker.
    #[must_use]
    pub fn of(self, manner: Manner, client: u32) -> u32 {
        let kind = u32::from(manner.db) * PROTOCOLS + u32::from(manner.resp3);
        kind * self.connections + client % self.connections
    }

    /// How a connection on this lane is spoken on.
    #[must_use]
    pub fn manner(self, lane: usize) -> Manner {
        let kind = lane / self.connections as usize;
        let (db, resp3) = (kind / PROTOCOLS as usize, kind % PROTOCOLS as usize == 1);
        Manner { resp3, db: u16::try_from(db).unwrap_or(u16::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_manner_has_lanes_of_its_own() {
        for (connections, databases) in [(1, 1), (1, 16), (3, 1), (4, 5)] {
            let lanes = Lanes::new(connections, databases);
            let mut seen = BTreeSet::new();
            for db in 0..databases {
                for resp3 in [false, true] {
                    let manner = Manner { resp3, db };
                    let own: BTreeSet<u32> =
                        (0..20).map(|client| lanes.of(manner, client)).collect();
                    assert_eq!(own.len(), connections);
                    for lane in own {
                        assert_eq!(lanes.manner(lane as usize), manner);
                        assert!((lane as usize) < lanes.count() && seen.insert(lane));
                    }
                }
            }
            assert_eq!(seen.len(), lanes.count());
            assert_eq!(lanes.manner(0), Manner::default(), "which costs the first nothing");
        }
    }
}
