//! Who subscribes to what, and what is asked of which server for it. It does no I/O and reads no clock: clients and servers
//! come in by identity, and what is to be sent gathers in each server's output.

use std::collections::{HashMap, VecDeque};

use super::handover::Handover;
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
    /// The servers where it is said; of servers that repeat each other, the first counts.
    homes: Vec<ServerId>,
    /// The first of them was another, and its messages may still count.
    handover: Option<Box<Handover>>,
    /// Where it goes when that is over.
    later: Option<Vec<ServerId>>,
    /// Which topic it was, in the order they came.
    number: u64,
}

/// A topic at a server.
#[derive(Debug, Default, Clone, Copy)]
struct Side {
    is_wanted: bool,
    /// Confirmations that are still to come.
    outstanding: u32,
    /// The server has said that it is to be asked for elsewhere, or later.
    is_elsewhere: bool,
}

/// The connection to a server that subscribes.
#[derive(Debug, Default)]
pub struct Link {
    topics: HashMap<Topic, Side>,
    /// What was asked and is not confirmed, oldest first: topics, and whether they are wanted.
    asked: VecDeque<(Topic, bool)>,
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
        if !is_wanted && !self.topics.contains_key(topic) {
            return;
        }
        let side = self.topics.entry(topic.clone()).or_default();
        if side.is_wanted == is_wanted {
            // It may have come back to where it was, after that server had sent it elsewhere.
            return self.ask_again(topic);
        }
        side.is_wanted = is_wanted;
        if self.is_up {
            side.outstanding += 1;
            side.is_elsewhere = false;
            self.asked.push_back((topic.clone(), is_wanted));
            message::ask(topic, is_wanted, &mut self.post.out);
            self.post.wake();
        } else if !is_wanted {
            self.topics.remove(topic);
        }
    }

    fn has(&self, topic: &Topic) -> bool {
        let is_confirmed =
            |side: &Side| side.is_wanted && side.outstanding == 0 && !side.is_elsewhere;
        self.is_up && self.topics.get(topic).is_some_and(is_confirmed)
    }

    /// Asks again for a topic that was to be asked for elsewhere, or later.
    fn ask_again(&mut self, topic: &Topic) {
        let is_left =
            |side: &&mut Side| side.is_elsewhere && side.is_wanted && side.outstanding == 0;
        let Some(side) = self.topics.get_mut(topic).filter(|_| self.is_up).filter(is_left) else {
            return;
        };
        (side.is_elsewhere, side.outstanding) = (false, 1);
        self.asked.push_back((topic.clone(), true));
        message::ask(topic, true, &mut self.post.out);
        self.post.wake();
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
    /// The node of a cluster says a shard channel no more, or not yet: the slots are to be looked at.
    Elsewhere,
}

/// The subscriptions of a pool's clients on one worker.
#[derive(Debug, Default)]
pub struct Hub {
    topics: HashMap<Topic, Entry>,
    links: HashMap<ServerId, Link>,
    /// Servers that need a link and have none.
    wanted: Vec<ServerId>,
    numbers: u64,
    /// A server has said that something is to be asked for elsewhere, or later.
    has_elsewhere: bool,
    /// Topics on their way between servers that repeat each other.
    settling: Vec<Topic>,
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

    /// Whether what is published there is said by several servers: a shard's own nodes alone tell each other of its channels, and only
    /// one of them is a primary.
    fn is_repeated(&self, kind: Kind) -> bool {
        self.is_echoed && kind != Kind::Shard
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
            let before = entry.handover.take().map(|it| it.old);
            self.topics.remove(topic);
            for server in homes.into_iter().chain(before) {
                if let Some(link) = self.links.get_mut(&server) {
                    link.ask(topic, false);
                }
            }
        }
    }

    /// Links to servers of which `is_there` says no are over.
    pub fn drop_links(&mut self, now_us: u64, is_there: impl Fn(ServerId) -> bool) {
        self.links.retain(|server, link| {
            let stays = is_there(*server);
            if !stays {
                link.post.wake();
            }
            stays
        });
        self.wanted.retain(|server| is_there(*server));
        self.go_on_handing_over(now_us);
    }

    /// Takes every handover as far as it goes.
    fn go_on_handing_over(&mut self, now_us: u64) {
        let under_way = self.topics.iter().filter(|(_, entry)| entry.handover.is_some());
        let mut topics: Vec<(u64, Topic)> =
            under_way.map(|(topic, entry)| (entry.number, topic.clone())).collect();
        topics.sort_unstable_by_key(|(number, _)| *number);
        for (_, topic) in topics {
            self.hand_over(&topic, now_us);
        }
    }

    /// Takes the handover of a topic, if there is one, as far as it goes.
    fn hand_over(&mut self, topic: &Topic, now_us: u64) {
        let is_repeated = self.is_repeated(topic.kind);
        let Some(entry) = self.topics.get_mut(topic) else { return };
        let Some(handover) = &mut entry.handover else { return };
        let Some(home) = entry.homes.first() else { return };
        let is_there = |server| self.links.get(server).is_some_and(|link| link.has(topic));
        let is_new_there = is_there(home);
        if is_repeated {
            handover.stands(is_there(&handover.old), is_new_there, now_us);
        } else if is_new_there {
            self.end_handover(topic);
        }
    }

    /// The new home of a topic serves alone.
    fn end_handover(&mut self, topic: &Topic) {
        let Some(entry) = self.topics.get_mut(topic) else { return };
        let Some(handover) = entry.handover.take() else { return };
        if !entry.homes.contains(&handover.old)
            && let Some(link) = self.links.get_mut(&handover.old)
        {
            link.ask(topic, false);
        }
    }

    /// Time has passed: what nodes tell each other has arrived in the end. Says who waits for a topic that has moved on then, and
    /// whose messages are coming already.
    #[must_use]
    pub fn settle(&mut self, now_us: u64) -> Vec<ClientId> {
        let mut active = Vec::new();
        for topic in std::mem::take(&mut self.settling) {
            let handover = self.topics.get_mut(&topic).and_then(|entry| entry.handover.as_mut());
            let Some(handover) = handover else { continue };
            if !handover.settle(now_us) {
                self.settling.push(topic);
                continue;
            }
            self.end_handover(&topic);
            let later = self.topics.get_mut(&topic).and_then(|entry| entry.later.take());
            if let Some(homes) = later {
                self.move_to(&topic, homes, now_us);
                active.extend(self.awaiting_if_active(&topic));
            }
        }
        active
    }

    /// Asks again for what servers have said is to be asked for elsewhere, or later, where it is still at home.
    pub fn ask_those_elsewhere(&mut self) {
        if !std::mem::take(&mut self.has_elsewhere) {
            return;
        }
        let shards = self.topics.iter().filter(|(topic, _)| topic.kind == Kind::Shard);
        let mut shards: Vec<(u64, &Topic)> =
            shards.map(|(topic, entry)| (entry.number, topic)).collect();
        shards.sort_unstable_by_key(|(number, _)| *number);
        for (_, topic) in shards {
            for home in &self.topics[topic].homes {
                if let Some(link) = self.links.get_mut(home) {
                    link.ask_again(topic);
                }
            }
        }
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

    /// Servers have come or gone: each topic is where `homes_of` says now, or where it was. Says who waits for a topic whose messages
    /// are coming from there already.
    #[must_use]
    pub fn rehome(
        &mut self,
        now_us: u64,
        mut homes_of: impl FnMut(&Topic) -> Option<Vec<ServerId>>,
    ) -> Vec<ClientId> {
        let (mut moved, mut active) = (Vec::new(), Vec::new());
        for (topic, entry) in &mut self.topics {
            let Some(homes) = homes_of(topic) else { continue };
            let is_leaving = entry.handover.as_ref().is_some_and(|it| it.is_leaving());
            let is_there = |server| self.links.get(server).is_some_and(|link| link.has(topic));
            if is_leaving && entry.homes.first().is_some_and(is_there) {
                // What is on its way from its last home comes first.
                entry.later = (homes != entry.homes).then_some(homes);
            } else if homes != entry.homes {
                entry.later = None;
                moved.push((entry.number, topic.clone(), homes));
            }
        }
        moved.sort_unstable_by_key(|(number, ..)| *number);
        for (_, topic, homes) in moved {
            self.move_to(&topic, homes, now_us);
            active.extend(self.awaiting_if_active(&topic));
        }
        active
    }

    fn awaiting_if_active(&self, topic: &Topic) -> Vec<ClientId> {
        let entry = self.topics.get(topic).filter(|_| self.is_active(topic));
        entry.map(|entry| entry.awaiting.clone()).unwrap_or_default()
    }

    /// A topic is at home elsewhere.
    fn move_to(&mut self, topic: &Topic, homes: Vec<ServerId>, now_us: u64) {
        for server in &homes {
            self.link(*server).ask(topic, true);
        }
        let is_repeated = self.is_repeated(topic.kind);
        let Some(entry) = self.topics.get_mut(topic) else { return };
        let mut before = std::mem::replace(&mut entry.homes, homes);
        let last = match entry.handover.take() {
            Some(handover) if handover.is_leaving() => {
                before.push(handover.old);
                before.first().copied()
            }
            Some(handover) => Some(handover.old),
            None => before.first().copied(),
        };
        // Who counted so far is listened to until the new one has confirmed, or for longer.
        let last = last.filter(|last| entry.homes.first() != Some(last));
        if let Some(last) = last {
            entry.handover = Some(Box::new(Handover::from(last)));
            if is_repeated && !self.settling.contains(topic) {
                self.settling.push(topic.clone());
            }
        }
        for server in before.iter().filter(|it| !entry.homes.contains(it) && Some(**it) != last) {
            if let Some(link) = self.links.get_mut(server) {
                link.ask(topic, false);
            }
        }
        self.hand_over(topic, now_us);
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
    pub fn opened(&mut self, server: ServerId, now_us: u64) {
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
            let side = Side { is_wanted: true, outstanding: 1, is_elsewhere: false };
            link.topics.insert(topic.clone(), side);
            link.asked.push_back((topic, true));
        }
        link.post.wake();
        self.go_on_handing_over(now_us);
    }

    /// A link is not connected (any more). Says how many topics are without messages from there, and who waits for any of
    /// them.
    pub fn lost(&mut self, server: ServerId, now_us: u64) -> (usize, Vec<ClientId>) {
        let Some(link) = self.links.get_mut(&server) else { return (0, Vec::new()) };
        link.is_up = false;
        link.post.out.clear();
        link.asked.clear();
        link.topics.retain(|_, side| {
            (side.outstanding, side.is_elsewhere) = (0, false);
            side.is_wanted
        });
        let entries = link.topics.keys().filter_map(|topic| self.topics.get(topic));
        let mut waiting: Vec<ClientId> =
            entries.flat_map(|entry| entry.awaiting.iter().copied()).collect();
        waiting.sort_unstable_by_key(|client| (client.index, client.generation));
        waiting.dedup();
        let count = link.topics.len();
        self.go_on_handing_over(now_us);
        (count, waiting)
    }

    /// Takes in what a server said. `None` is for nonsense.
    pub fn hear(&mut self, server: ServerId, frame: &[u8], now_us: u64) -> Option<News<'_>> {
        Some(match message::read(frame)? {
            Said::Alive => News::Nothing,
            Said::Message(kind, name, channel) => {
                let topic = Topic::new(kind, name);
                let is_repeated = self.is_repeated(kind) && !is_of_keyspace(channel);
                let Some(entry) = self.topics.get_mut(&topic) else {
                    return Some(News::Message(&[]));
                };
                let home = entry.homes.first().copied();
                let counts = match &mut entry.handover {
                    _ if !is_repeated => true,
                    Some(it) if server == it.old => it.hands_on(true, frame, now_us),
                    Some(it) if home == Some(server) => it.hands_on(false, frame, now_us),
                    Some(_) => false,
                    None => home == Some(server),
                };
                News::Message(if counts { &entry.subscribers[..] } else { &[] })
            }
            Said::Confirmed { kind, name, is_wanted } => {
                let topic = Topic::new(kind, name);
                let link = self.links.get_mut(&server)?;
                let is_asked = matches!(link.asked.front(), Some((asked, wanted))
                    if *asked == topic && *wanted == is_wanted);
                if is_asked {
                    link.asked.pop_front();
                    return self.confirmed(server, &topic, now_us);
                }
                // Its slot has gone elsewhere: nothing more is said here.
                if kind != Kind::Shard || is_wanted {
                    return None;
                }
                let side = link.topics.get_mut(&topic).filter(|side| side.outstanding == 0);
                if let Some(side) = side {
                    side.is_elsewhere = true;
                    self.has_elsewhere = true;
                }
                News::Elsewhere
            }
            said @ (Said::Refused | Said::Elsewhere) => {
                let link = self.links.get_mut(&server)?;
                let (topic, _) = link.asked.pop_front()?;
                let side = link.topics.get_mut(&topic)?;
                side.outstanding = side.outstanding.saturating_sub(1);
                if !side.is_wanted && side.outstanding == 0 {
                    link.topics.remove(&topic);
                    self.hand_over(&topic, now_us);
                    return Some(News::Nothing);
                }
                if said == Said::Elsewhere {
                    side.is_elsewhere = side.outstanding == 0;
                    self.has_elsewhere |= side.is_elsewhere;
                    return Some(News::Elsewhere);
                }
                let awaiting = self.topics.get(&topic).map(|entry| entry.awaiting.clone());
                News::Refused(awaiting.unwrap_or_default())
            }
        })
    }

    /// A server has confirmed what it was asked of a topic.
    fn confirmed(&mut self, server: ServerId, topic: &Topic, now_us: u64) -> Option<News<'_>> {
        let link = self.links.get_mut(&server)?;
        let side = link.topics.get_mut(topic)?;
        side.outstanding = side.outstanding.saturating_sub(1);
        if !side.is_wanted && side.outstanding == 0 {
            link.topics.remove(topic);
        }
        self.hand_over(topic, now_us);
        let is_new = self.links.get(&server).is_some_and(|link| link.has(topic));
        Some(if is_new && self.is_active(topic) {
            let awaiting = self.topics.get(topic).map(|entry| entry.awaiting.clone());
            News::Active(awaiting.unwrap_or_default())
        } else {
            News::Nothing
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
