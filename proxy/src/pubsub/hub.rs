//! Who subscribes to what, and what is asked of which server for it. It does no I/O and reads no clock: clients and servers
//! come in by identity, and what is to be sent gathers in each server's output.

use std::collections::{HashMap, VecDeque};

use super::message::{self, Said};
use super::post::Post;
use super::{Kind, Topic, is_of_keyspace};
use crate::client::ClientId;
use crate::topology::ServerId;

#[derive(Debug, Default)]
struct Entry {
    /// Clients that get its messages.
    subscribers: Vec<ClientId>,
    /// Clients that will, once it is subscribed to.
    awaiting: Vec<ClientId>,
    /// The servers where it is said.
    homes: Vec<ServerId>,
    /// Which topic it was, in the order they came.
    number: u64,
}

/// A topic at a server.
#[derive(Debug, Default, Clone, Copy)]
struct Side {
    is_wanted: bool,
    /// Confirmations that are still to come.
    outstanding: u32,
}

/// The connection to a server that subscribes.
#[derive(Debug, Default)]
pub struct Link {
    topics: HashMap<Topic, Side>,
    /// What was asked and is not confirmed, oldest first.
    asked: VecDeque<Topic>,
    is_up: bool,
    /// What it is driven by.
    pub post: Post,
    /// Topics had been there, and the connection was lost.
    pub was_lost: bool,
    /// Since when it has had nothing to do.
    pub idle_us: Option<u64>,
}

impl Link {
    fn ask(&mut self, topic: &Topic, is_wanted: bool) {
        let side = self.topics.entry(topic.clone()).or_default();
        if side.is_wanted == is_wanted {
            return;
        }
        side.is_wanted = is_wanted;
        if self.is_up {
            side.outstanding += 1;
            self.asked.push_back(topic.clone());
            message::ask(topic, is_wanted, &mut self.post.out);
            self.post.wake();
        } else if !is_wanted {
            self.topics.remove(topic);
        }
    }

    fn has(&self, topic: &Topic) -> bool {
        self.is_up
            && self.topics.get(topic).is_some_and(|side| side.is_wanted && side.outstanding == 0)
    }

    /// Whether it is connected.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.is_up
    }

    /// Topics that it is there for.
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.topics.values().filter(|side| side.is_wanted).count()
    }
}

/// What has come of something that a server said.
#[derive(Debug, PartialEq, Eq)]
pub enum News<'a> {
    /// Nothing.
    Nothing,
    /// These clients are to get it.
    Message(&'a [ClientId]),
    /// A topic is subscribed to wherever it is at home: these clients waited for it.
    Active(Vec<ClientId>),
    /// A topic is refused: these clients waited for it.
    Refused(Vec<ClientId>),
}

/// The subscriptions of a pool's clients on one worker.
#[derive(Debug, Default)]
pub struct Hub {
    topics: HashMap<Topic, Entry>,
    links: HashMap<ServerId, Link>,
    /// Servers that need a link and have none.
    wanted: Vec<ServerId>,
    numbers: u64,
    /// Each server says what was published at any of them.
    is_echoed: bool,
}

impl Hub {
    /// Nothing is subscribed to yet. Where servers tell each other what is published (`is_echoed`), only the first home of a
    /// topic is listened to, but for what each says of its own keys.
    #[must_use]
    pub fn new(is_echoed: bool) -> Self {
        Self { is_echoed, ..Self::default() }
    }

    /// A client wants to subscribe to a topic that is at home at `homes`. Says whether its messages are coming already.
    pub fn join(&mut self, topic: &Topic, homes: &[ServerId], client: ClientId) -> bool {
        self.numbers += 1;
        let number = self.numbers;
        let entry = self.topics.entry(topic.clone()).or_insert_with(|| {
            let homes = homes.to_vec();
            Entry { homes, number, ..Entry::default() }
        });
        entry.awaiting.push(client);
        let is_new = entry.awaiting.len() + entry.subscribers.len() == 1;
        let homes = if is_new { entry.homes.clone() } else { Vec::new() };
        for server in homes {
            self.link(server).ask(topic, true);
        }
        self.is_active(topic)
    }

    fn link(&mut self, server: ServerId) -> &mut Link {
        self.links.entry(server).or_insert_with(|| {
            self.wanted.push(server);
            self.numbers += 1;
            let post = Post { number: self.numbers, ..Post::default() };
            Link { post, ..Link::default() }
        })
    }

    /// Whether the messages of a topic are coming.
    #[must_use]
    pub fn is_active(&self, topic: &Topic) -> bool {
        self.topics.get(topic).is_some_and(|entry| {
            let has = |server| self.links.get(server).is_some_and(|link| link.has(topic));
            entry.homes.iter().all(has)
        })
    }

    /// A client that waited for a topic gets its messages from now on.
    pub fn subscribe(&mut self, topic: &Topic, client: ClientId) {
        if let Some(entry) = self.topics.get_mut(topic) {
            entry.awaiting.retain(|other| *other != client);
            if !entry.subscribers.contains(&client) {
                entry.subscribers.push(client);
            }
        }
    }

    /// A client gets the messages of a topic no more, and waits for it no more.
    pub fn leave(&mut self, topic: &Topic, client: ClientId) {
        let Some(entry) = self.topics.get_mut(topic) else { return };
        entry.awaiting.retain(|other| *other != client);
        if let Some(at) = entry.subscribers.iter().position(|other| *other == client) {
            entry.subscribers.remove(at);
        }
        if entry.awaiting.is_empty() && entry.subscribers.is_empty() {
            let homes = std::mem::take(&mut entry.homes);
            self.topics.remove(topic);
            for server in homes {
                if let Some(link) = self.links.get_mut(&server) {
                    link.ask(topic, false);
                }
            }
        }
    }

    /// Links to servers of which `is_there` says no are over.
    pub fn drop_links(&mut self, is_there: impl Fn(ServerId) -> bool) {
        self.links.retain(|server, link| {
            let stays = is_there(*server);
            if !stays {
                link.post.wake();
            }
            stays
        });
        self.wanted.retain(|server| is_there(*server));
    }

    /// A link is opened again.
    pub fn reopen(&mut self, server: ServerId) {
        if let Some(link) = self.links.get_mut(&server) {
            self.numbers += 1;
            link.post.number = self.numbers;
            link.post.wake();
            self.wanted.push(server);
        }
    }

    /// Whether there is nothing to it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.topics.is_empty() && self.links.is_empty()
    }

    /// Servers have come or gone: each topic is where `homes_of` says now, or where it was.
    pub fn rehome(&mut self, mut homes_of: impl FnMut(&Topic) -> Option<Vec<ServerId>>) {
        let mut moved = Vec::new();
        for (topic, entry) in &mut self.topics {
            let Some(homes) = homes_of(topic) else { continue };
            if homes != entry.homes {
                let before = std::mem::replace(&mut entry.homes, homes.clone());
                moved.push((entry.number, topic.clone(), before, homes));
            }
        }
        moved.sort_unstable_by_key(|(number, ..)| *number);
        for (_, topic, before, homes) in moved {
            for server in &homes {
                self.link(*server).ask(&topic, true);
            }
            for server in before.iter().filter(|server| !homes.contains(server)) {
                if let Some(link) = self.links.get_mut(server) {
                    link.ask(&topic, false);
                }
            }
        }
    }

    /// The servers to which links are to be opened, since the last call.
    pub fn take_wanted(&mut self) -> Vec<ServerId> {
        std::mem::take(&mut self.wanted)
    }

    /// Whether links are to be opened.
    #[must_use]
    pub fn has_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// A link, unless its server has no say any more.
    pub fn link_mut(&mut self, server: ServerId) -> Option<&mut Link> {
        self.links.get_mut(&server)
    }

    /// All links.
    pub fn links_mut(&mut self) -> impl Iterator<Item = (ServerId, &mut Link)> {
        self.links.iter_mut().map(|(server, link)| (*server, link))
    }

    /// Takes a link away that has nothing to do.
    pub fn close(&mut self, server: ServerId) {
        if let Some(link) = self.links.remove(&server) {
            link.post.wake();
        }
    }

    /// A link is connected: all that is wanted there is asked for, in the order in which it was wanted first.
    pub fn opened(&mut self, server: ServerId) {
        let Some(link) = self.links.get_mut(&server) else { return };
        link.is_up = true;
        link.post.out.clear();
        link.asked.clear();
        link.topics.retain(|_, side| side.is_wanted);
        let number = |topic: &Topic| self.topics.get(topic).map_or(0, |entry| entry.number);
        let mut topics: Vec<Topic> = link.topics.keys().cloned().collect();
        topics.sort_unstable_by_key(number);
        for topic in topics {
            message::ask(&topic, true, &mut link.post.out);
            link.topics.insert(topic.clone(), Side { is_wanted: true, outstanding: 1 });
            link.asked.push_back(topic);
        }
        link.post.wake();
    }

    /// A link is not connected (any more). Says how many topics are without messages from there, and who waits for any of
    /// them.
    pub fn lost(&mut self, server: ServerId) -> (usize, Vec<ClientId>) {
        let Some(link) = self.links.get_mut(&server) else { return (0, Vec::new()) };
        link.is_up = false;
        link.post.out.clear();
        link.asked.clear();
        link.topics.retain(|_, side| {
            side.outstanding = 0;
            side.is_wanted
        });
        let entries = link.topics.keys().filter_map(|topic| self.topics.get(topic));
        let mut waiting: Vec<ClientId> =
            entries.flat_map(|entry| entry.awaiting.iter().copied()).collect();
        waiting.sort_unstable_by_key(|client| (client.index, client.generation));
        waiting.dedup();
        (link.topics.len(), waiting)
    }

    /// Takes in what a server said. `None` is for nonsense.
    pub fn hear(&mut self, server: ServerId, frame: &[u8]) -> Option<News<'_>> {
        Some(match message::read(frame)? {
            Said::Alive => News::Nothing,
            Said::Message(kind, name, channel) => {
                let counts = |entry: &&Entry| {
                    let is_first = entry.homes.first() == Some(&server);
                    !self.is_echoed || is_first || entry.homes.len() == 1 || is_of_keyspace(channel)
                };
                let entry = self.topics.get(&Topic::new(kind, name)).filter(counts);
                News::Message(entry.map_or(&[], |entry| &entry.subscribers))
            }
            said @ (Said::Confirmed | Said::Refused) => {
                let link = self.links.get_mut(&server)?;
                let topic = link.asked.pop_front()?;
                let side = link.topics.get_mut(&topic)?;
                side.outstanding = side.outstanding.saturating_sub(1);
                if !side.is_wanted && side.outstanding == 0 {
                    link.topics.remove(&topic);
                    return Some(News::Nothing);
                }
                let awaiting = || self.topics.get(&topic).map(|entry| entry.awaiting.clone());
                if said == Said::Refused {
                    News::Refused(awaiting().unwrap_or_default())
                } else if self.is_active(&topic) {
                    News::Active(awaiting().unwrap_or_default())
                } else {
                    News::Nothing
                }
            }
        })
    }

    /// How many clients get the messages of a topic, and at how many servers it is subscribed to for them.
    #[must_use]
    pub fn count(&self, topic: &Topic) -> (usize, usize) {
        self.topics.get(topic).map_or((0, 0), |entry| (entry.subscribers.len(), entry.homes.len()))
    }

    /// Subscriptions at servers.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.links.values().map(Link::wanted).sum()
    }

    /// Channels, patterns and shard channels.
    #[must_use]
    pub fn totals(&self) -> [usize; 3] {
        [Kind::Channel, Kind::Pattern, Kind::Shard]
            .map(|kind| self.topics.keys().filter(|topic| topic.kind == kind).count())
    }
}

#[cfg(test)]
mod tests;
