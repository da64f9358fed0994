//! Who serves what: an immutable picture of a pool, swapped whole whenever it changes.
//!
//! ```text
//!   discovery ──changes──▶ roster ──picture──▶ ArcSwap ──▶ every worker: connections, routes
//!   (fixed, sentinels,     (who is there,                  (reconcile)
//!   cluster, health,        by identity)
//!   the door
//! ```
//!
//! Servers and shards have identities that are never given twice. A place (`ShardIndex`) is only good in the picture it
//! was taken from.

pub mod cluster;
pub mod links;
pub mod pool;
pub mod replicas;
pub mod roster;
pub mod sentinel;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use smallvec::SmallVec;

use crate::route::distribution::{Distribution, ShardIndex, Share};
use crate::settings::ServerAddress;

/// A pool's identity in the process; given once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PoolId(u32);

impl PoolId {
    /// The identity of the pool that was made as the `number`th of the process, counted from zero.
    #[must_use]
    pub fn new(number: u32) -> Self {
        Self(number)
    }

    /// Where it stands in a list that has a place for every pool there ever was.
    #[inline]
    #[must_use]
    pub fn place(self) -> usize {
        self.0 as usize
    }
}

/// A server's identity in its pool. A server that comes back at another address is another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(u32);

impl ServerId {
    /// The identity of the `number`th server of a pool. A roster gives them out.
    #[must_use]
    pub fn new(number: u32) -> Self {
        Self(number)
    }
}

/// A shard's identity in its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(u32);

impl ShardId {
    /// The identity of the `number`th shard of a pool. A roster gives them out.
    #[cfg(test)]
    pub(crate) fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number that was given it: later ones are greater.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

/// What a server does in its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It takes the writes.
    Primary,
    /// It follows the primary, or is no primary any more.
    Replica,
}

impl Role {
    /// As statistics show it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// Whether a server is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As far as is known.
    Live,
    /// It failed and left the distribution.
    Ejected,
    /// Those who watch it cannot reach it, or it failed and its keys stay with it or with the next.
    Down,
    /// Nobody has said yet where it is.
    Unknown,
    /// It is a replica that is further behind than it may be.
    Lagging,
    /// It is a replica that loads its data.
    Loading,
}

impl State {
    /// Whether it is known to be down, whatever became of its keys.
    #[must_use]
    pub fn is_down(self) -> bool {
        matches!(self, Self::Ejected | Self::Down)
    }

    /// As statistics show it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Ejected => "ejected",
            Self::Down => "down",
            Self::Unknown => "unknown",
            Self::Lagging => "lagging",
            Self::Loading => "loading",
        }
    }
}

/// A server and where it is.
#[derive(Debug)]
pub struct Endpoint {
    /// Its identity.
    pub id: ServerId,
    /// What it is called in statistics and logs.
    pub name: Box<str>,
    /// Where it is; `None` until that is known.
    pub address: Option<ServerAddress>,
    /// The log has been told that it cannot be reached.
    pub is_told_down: AtomicBool,
    /// The log has been told that it does not answer.
    pub is_told_silent: AtomicBool,
}

/// A server of a picture.
#[derive(Debug, Clone)]
pub struct Member {
    /// Who and where it is.
    pub endpoint: Arc<Endpoint>,
    /// Its shard's place.
    pub shard: ShardIndex,
    /// What it does there.
    pub role: Role,
    /// Whether it is well.
    pub state: State,
    /// How often it was ejected.
    pub ejections: u64,
    /// When last, in microseconds since 1970; 0 if never.
    pub ejected_at_us: u64,
    /// How long it takes to answer, in microseconds, where that counts.
    pub distance_us: u32,
}

/// A shard of a picture: the servers that hold the same keys.
#[derive(Debug, Clone)]
pub struct Shard {
    /// Its identity.
    pub id: ShardId,
    /// Its name, by which the ring is made.
    pub name: Arc<str>,
    /// Its share of the keys.
    pub weight: u32,
    /// The place of its primary among the members.
    pub primary: usize,
    /// How often another server became its primary.
    pub failovers: u64,
    /// How many slots of a cluster lie in it.
    pub slots: u32,
    /// Some of them are on their way to others: keys of theirs may have gone, which only the primary says.
    pub is_parting: bool,
}

impl Share for Shard {
    fn name(&self) -> &str {
        &self.name
    }

    fn weight(&self) -> u32 {
        self.weight
    }
}

/// The picture.
#[derive(Debug)]
pub struct Topology {
    /// Which picture of the pool it is, counted from zero.
    pub epoch: u64,
    /// The servers, shard by shard, the primary first.
    pub members: Box<[Member]>,
    /// The shards, in the order that the distribution goes by.
    pub shards: Box<[Shard]>,
    /// How keys lie over the live shards.
    pub distribution: Distribution,
    /// The live shards, in ascending order.
    pub live: Box<[ShardIndex]>,
}

impl Topology {
    /// Whether a shard takes part.
    #[must_use]
    pub fn is_live(&self, shard: ShardIndex) -> bool {
        self.live.binary_search(&shard).is_ok()
    }

    /// The live shards whose server is not known to be down. All live shards, if that holds for none.
    pub fn well(&self) -> SmallVec<[ShardIndex; 16]> {
        let is_well = |shard: &&ShardIndex| {
            self.primary(&self.shards[usize::from(**shard)]).state != State::Down
        };
        let well: SmallVec<_> = self.live.iter().filter(is_well).copied().collect();
        if well.is_empty() { self.live.iter().copied().collect() } else { well }
    }

    /// The server that takes a shard's writes.
    #[must_use]
    pub fn primary(&self, shard: &Shard) -> &Member {
        &self.members[shard.primary]
    }

    /// Where a shard stands, if it is still there.
    #[must_use]
    pub fn place_of(&self, shard: ShardId) -> Option<ShardIndex> {
        let place = self.shards.iter().position(|other| other.id == shard)?;
        ShardIndex::try_from(place).ok()
    }

    /// A server, if it is still there.
    #[must_use]
    pub fn member(&self, server: ServerId) -> Option<&Member> {
        self.members.iter().find(|member| member.endpoint.id == server)
    }
}
