//! Publish and subscribe: who listens to which channel or pattern, and delivery.

use hashbrown::HashMap;
use redstart_common::glob;
use redstart_common::resp::{Proto, RespWrite};

pub use crate::client::subscriptions::{Channel, Subscriptions};
use crate::client::{Client, Clients, Flags};

type Listeners = HashMap<Box<[u8]>, Vec<u64>, foldhash::fast::RandomState>;

/// Who listens to what.
#[derive(Default)]
pub struct PubSub {
    channels: Listeners,
    patterns: Listeners,
    shards: Listeners,
}

impl PubSub {
    fn of(&mut self, kind: Channel) -> &mut Listeners {
        match kind {
            Channel::Plain => &mut self.channels,
            Channel::Pattern => &mut self.patterns,
            Channel::Shard => &mut self.shards,
        }
    }

    /// Adds a listener. Answers whether it is new.
    pub fn subscribe(&mut self, client: &mut Client, kind: Channel, channel: &[u8]) -> bool {
        if !client.channels.of(kind).insert(channel.into()) {
            return false;
        }
        self.of(kind).entry(channel.into()).or_default().push(client.id);
        client.flags.set(Flags::SUBSCRIBED);
        true
    }

    /// Takes a listener away. Answers whether it was one.
    pub fn unsubscribe(&mut self, client: &mut Client, kind: Channel, channel: &[u8]) -> bool {
        if !client.channels.of(kind).remove(channel) {
            return false;
        }
        let listeners = self.of(kind);
        if let Some(ids) = listeners.get_mut(channel) {
            ids.retain(|id| *id != client.id);
            if ids.is_empty() {
                listeners.remove(channel);
            }
        }
        if client.channels.is_empty() {
            client.flags.clear(Flags::SUBSCRIBED);
        }
        true
    }

    /// Takes a client out of everything.
    pub fn forget(&mut self, client: &mut Client) {
        for kind in [Channel::Plain, Channel::Pattern, Channel::Shard] {
            for channel in std::mem::take(client.channels.of(kind)) {
                client.channels.of(kind).insert(channel.clone());
                self.unsubscribe(client, kind, &channel);
            }
        }
    }

    /// Ends all listening to a shard channel that is served elsewhere now, and tells who listened.
    pub fn close_shard_channel(&mut self, clients: &mut Clients, channel: &[u8]) {
        for id in self.shards.get(channel).cloned().unwrap_or_default() {
            let Some(client) = clients.by_id(id) else { continue };
            self.unsubscribe(client, Channel::Shard, channel);
            let left = client.channels.shards.len();
            client.reply.push(3);
            client.reply.bulk(b"sunsubscribe");
            client.reply.bulk(channel);
            client.reply.count(left);
            client.mark();
        }
    }

    /// Whether nobody listens to channels or patterns, so that publishing can be skipped.
    #[inline]
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty()
    }

    /// Listeners of one channel.
    #[must_use]
    pub fn listeners(&self, kind: Channel, channel: &[u8]) -> usize {
        let listeners = match kind {
            Channel::Plain => &self.channels,
            Channel::Pattern => &self.patterns,
            Channel::Shard => &self.shards,
        };
        listeners.get(channel).map_or(0, Vec::len)
    }

    /// Channels with at least one listener.
    pub fn active(&self, kind: Channel) -> impl Iterator<Item = &[u8]> {
        let listeners = match kind {
            Channel::Plain => &self.channels,
            Channel::Pattern => &self.patterns,
            Channel::Shard => &self.shards,
        };
        listeners.keys().map(|channel| &**channel)
    }

    /// Patterns with at least one listener.
    #[must_use]
    pub fn pattern_count(&self) -> usize {
        self.patterns.len()
    }

    /// Channels with at least one listener.
    #[must_use]
    pub fn channel_count(&self) -> usize {
        self.channels.len()
    }

    /// Shard channels with at least one listener.
    #[must_use]
    pub fn shard_channel_count(&self) -> usize {
        self.shards.len()
    }

    /// Delivers a message to everybody who listens; `current` is the client being served, which is not in its
    /// place. Answers how many got it.
    pub fn publish(
        &self,
        clients: &mut Clients,
        mut current: Option<&mut Client>,
        kind: Channel,
        channel: &[u8],
        message: &[u8],
    ) -> usize {
        let mut receivers = 0;
        let mut deliver = |id: u64, parts: &[&[u8]]| {
            let client = match &mut current {
                Some(client) if client.id == id => Some(&mut **client),
                _ => clients.by_id(id),
            };
            if let Some(client) = client {
                // A push is no element of the array that EXEC answers with, nor of what a command answers a script.
                let aside = client.reply.proto == Proto::Resp3 || client.flags.any(Flags::SCRIPT);
                if client.flags.any(Flags::EXECUTING) && aside {
                    client.after_exec.push_len(parts.len(), Proto::Resp3);
                    parts.iter().for_each(|part| client.after_exec.bulk(part));
                } else {
                    client.reply.push(parts.len());
                    parts.iter().for_each(|part| client.reply.bulk(part));
                }
                client.mark();
                receivers += 1;
            }
        };
        let (word, direct): (&[u8], _) = match kind {
            Channel::Shard => (b"smessage", self.shards.get(channel)),
            _ => (b"message", self.channels.get(channel)),
        };
        for id in direct.into_iter().flatten() {
            deliver(*id, &[word, channel, message]);
        }
        if kind == Channel::Plain {
            for (pattern, ids) in &self.patterns {
                if glob::matches(pattern, channel, false) {
                    for id in ids {
                        deliver(*id, &[b"pmessage", pattern, channel, message]);
                    }
                }
            }
        }
        receivers
    }
}
