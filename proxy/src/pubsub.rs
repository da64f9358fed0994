//! Channels: the clients of a worker share one subscription of each at its server.
//!
//! ```text
//!   client::subscribe ──join, leave──▶ hub ──what to ask──▶ link ──▶ server
//!   clients ◀──────────message──────── hub ◀───replies───── link ◀──
//! ```
//!
//! A channel is at home at the shard of its name, where PUBLISH goes as well. Patterns, and channels of keyspace notifications,
//! are at home in every shard, for what they match may be said anywhere. The hub knows no sockets and no clock.

pub mod hub;
pub mod link;
pub mod message;

/// What a subscription is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A channel.
    Channel,
    /// All channels whose names match a pattern.
    Pattern,
    /// A shard channel.
    Shard,
}

impl Kind {
    /// The command that subscribes, which its confirmation is called after.
    #[must_use]
    pub fn subscribe(self) -> &'static str {
        match self {
            Self::Channel => "subscribe",
            Self::Pattern => "psubscribe",
            Self::Shard => "ssubscribe",
        }
    }

    /// The command that ends it.
    #[must_use]
    pub fn unsubscribe(self) -> &'static str {
        match self {
            Self::Channel => "unsubscribe",
            Self::Pattern => "punsubscribe",
            Self::Shard => "sunsubscribe",
        }
    }
}

/// A channel or pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    /// What it is.
    pub kind: Kind,
    /// Its name, or the pattern.
    pub name: Box<[u8]>,
}

impl Topic {
    /// A channel or pattern of this name.
    #[must_use]
    pub fn new(kind: Kind, name: &[u8]) -> Self {
        Self { kind, name: name.into() }
    }

    /// Whether servers say things there of their own, each of its own keys.
    #[must_use]
    pub fn is_of_keyspace(&self) -> bool {
        self.kind == Kind::Channel
            && (self.name.starts_with(b"__keyspace@") || self.name.starts_with(b"__keyevent@"))
    }
}
