//! What a client listens to.

use std::collections::BTreeSet;

/// What one client listens to. Empty sets allocate nothing.
#[derive(Default)]
pub struct Subscriptions {
    /// Channels.
    pub channels: BTreeSet<Box<[u8]>>,
    /// Patterns.
    pub patterns: BTreeSet<Box<[u8]>>,
    /// Shard channels.
    pub shards: BTreeSet<Box<[u8]>>,
}

impl Subscriptions {
    /// Channels and patterns together, as replies count them.
    #[must_use]
    pub fn count(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    /// Whether nothing is listened to.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count() == 0 && self.shards.is_empty()
    }

    /// The set of a kind.
    pub fn of(&mut self, kind: Channel) -> &mut BTreeSet<Box<[u8]>> {
        match kind {
            Channel::Plain => &mut self.channels,
            Channel::Pattern => &mut self.patterns,
            Channel::Shard => &mut self.shards,
        }
    }
}

/// The three kinds of things to listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// SUBSCRIBE.
    Plain,
    /// PSUBSCRIBE.
    Pattern,
    /// SSUBSCRIBE.
    Shard,
}
