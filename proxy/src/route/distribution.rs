//! From a key's hash to a server: three ways to spread keys over weighted servers, as twemproxy does it.
//!
//! A distribution is built whole from the servers that are alive and never changes; when a server leaves or
//! returns another one is built. Servers are named by their index in the pool.

mod ketama;
mod modula;
mod random;

use crate::settings::{DistributionKind, ServerSettings};

/// A server's index in its pool.
pub type ServerIndex = u16;

/// Most servers a pool can have.
pub const SERVERS_MAX: usize = ServerIndex::MAX as usize;

/// How the keys of a pool lie over its live servers.
#[derive(Debug)]
pub enum Distribution {
    /// No server is alive.
    Nobody,
    /// A pool of one server needs no hash.
    One(ServerIndex),
    /// Consistent hashing.
    Ketama(ketama::Ring),
    /// Remainder of the hash.
    Modula(modula::Wheel),
    /// Any server.
    Random(random::Any),
}

impl Distribution {
    /// Spreads keys over `live`, indices into `servers` in ascending order.
    #[must_use]
    pub fn build(kind: DistributionKind, servers: &[ServerSettings], live: &[ServerIndex]) -> Self {
        if live.is_empty() {
            return Self::Nobody;
        }
        if servers.len() == 1 {
            return Self::One(0);
        }
        match kind {
            DistributionKind::Ketama => Self::Ketama(ketama::Ring::build(servers, live)),
            DistributionKind::Modula => Self::Modula(modula::Wheel::build(servers, live)),
            DistributionKind::Random => Self::Random(random::Any::build(live)),
        }
    }

    /// The server for a hash; `None` when no server is alive.
    #[inline]
    #[must_use]
    pub fn server(&self, hash: u64) -> Option<ServerIndex> {
        match self {
            Self::Nobody => None,
            Self::One(server) => Some(*server),
            Self::Ketama(ring) => Some(ring.server(hash as u32)),
            Self::Modula(wheel) => Some(wheel.server(hash)),
            Self::Random(any) => Some(any.server(hash)),
        }
    }

    /// What stands in for the hash of a key.
    #[inline]
    #[must_use]
    pub fn wants(&self) -> Wants {
        match self {
            Self::Nobody | Self::One(_) => Wants::Nothing,
            Self::Ketama(_) | Self::Modula(_) => Wants::Hash,
            Self::Random(_) => Wants::Chance,
        }
    }
}

/// What a distribution chooses by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// The key's hash.
    Hash,
    /// A random number.
    Chance,
    /// Nothing: the choice is already made.
    Nothing,
}
