//! Who subscribes to what, and what is asked of which server for it. It does no I/O and reads no clock: clients and servers
//! come in by identity, and what is to be sent gathers in each server's output.

use std::collections::{HashMap, VecDeque};
use std::task::Waker;

use super::message::{self, Said};
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
    /// What is to be sent.
    pub out: Vec<u8>,
    /// Wakes its task.
    pub waker: Option<Waker>,
    /// Which link it is: its task ends when another has its place, or none.
    pub number: u64,
    /// When the server last said anything, in microseconds of the worker's clock.
    pub heard_us: u64,
    /// When it was last asked whether it is there.
    pub pinged_us: u64,
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
            message::ask(topic, is_wanted, &mut self.out);
            self.wake();
        } else if !is_wanted {
            self.topics.remove(topic);
        }
    }

    fn has(&self, topic: &Topic) -> bool {
        self.is_up
            && self.topics.get(topic).is_some_and(|side| side.is_wanted && side.outstanding == 0)
    }

    /// Has its task look at it.
    pub fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
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
            Link { number: self.numbers, ..Link::default() }
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
                link.wake();
            }
            stays
        });
        self.wanted.retain(|server| is_there(*server));
    }

    /// A link is opened again.
    pub fn reopen(&mut self, server: ServerId) {
        if let Some(link) = self.links.get_mut(&server) {
            self.numbers += 1;
            link.number = self.numbers;
            link.wake();
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
            link.wake();
        }
    }

    /// A link is connected: all that is wanted there is asked for, in the order in which it was wanted first.
    pub fn opened(&mut self, server: ServerId) {
        let Some(link) = self.links.get_mut(&server) else { return };
        link.is_up = true;
        link.out.clear();
        link.asked.clear();
        link.topics.retain(|_, side| side.is_wanted);
        let number = |topic: &Topic| self.topics.get(topic).map_or(0, |entry| entry.number);
        let mut topics: Vec<Topic> = link.topics.keys().cloned().collect();
        topics.sort_unstable_by_key(number);
        for topic in topics {
            message::ask(&topic, true, &mut link.out);
            link.topics.insert(topic.clone(), Side { is_wanted: true, outstanding: 1 });
            link.asked.push_back(topic);
        }
        link.wake();
    }

    /// A link is not connected (any more). Says how many topics are without messages from there, and who waits for any of
    /// them.
    pub fn lost(&mut self, server: ServerId) -> (usize, Vec<ClientId>) {
        let Some(link) = self.links.get_mut(&server) else { return (0, Vec::new()) };
        link.is_up = false;
        link.out.clear();
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
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn client(index: u32) -> ClientId {
        ClientId { index, generation: 1 }
    }

    fn server(number: u32) -> ServerId {
        ServerId::new(number)
    }

    fn channel(name: &str) -> Topic {
        Topic::new(Kind::Channel, name.as_bytes())
    }

    fn confirmation(name: &str) -> Vec<u8> {
        format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{name}\r\n:1\r\n", name.len()).into_bytes()
    }

    fn message(name: &str) -> Vec<u8> {
        format!("*3\r\n$7\r\nmessage\r\n${}\r\n{name}\r\n$1\r\nx\r\n", name.len()).into_bytes()
    }

    /// What a link was to send, as words.
    fn asked(hub: &mut Hub, at: ServerId) -> String {
        let link = hub.link_mut(at).expect("a link");
        let out = String::from_utf8(std::mem::take(&mut link.out)).expect("text");
        let words =
            out.split("\r\n").filter(|word| !word.is_empty() && !word.starts_with(['*', '$']));
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn clients_share_one_subscription() {
        let mut hub = Hub::default();
        let (home, topic) = (server(1), channel("c"));
        assert!(!hub.join(&topic, &[home], client(1)));
        assert_eq!(hub.take_wanted(), [home]);
        hub.opened(home);
        assert_eq!(asked(&mut hub, home), "subscribe c");
        assert!(!hub.join(&topic, &[home], client(2)));
        assert_eq!(asked(&mut hub, home), "");
        assert_eq!(
            hub.hear(home, &confirmation("c")),
            Some(News::Active(vec![client(1), client(2)]))
        );
        hub.subscribe(&topic, client(1));
        hub.subscribe(&topic, client(2));
        assert!(hub.join(&topic, &[home], client(3)), "it is there already");
        assert_eq!(hub.hear(home, &message("c")), Some(News::Message(&[client(1), client(2)])));
        assert_eq!(hub.hear(home, &message("other")), Some(News::Message(&[])));
        for one in [1, 2] {
            hub.leave(&topic, client(one));
            assert_eq!(asked(&mut hub, home), "");
        }
        hub.leave(&topic, client(3));
        assert_eq!(asked(&mut hub, home), "unsubscribe c");
        assert_eq!(hub.totals(), [0, 0, 0]);
    }

    #[test]
    fn a_confirmation_counts_for_the_question_it_answers() {
        let mut hub = Hub::default();
        let (home, topic) = (server(1), channel("c"));
        hub.join(&topic, &[home], client(1));
        hub.opened(home);
        hub.leave(&topic, client(1));
        assert!(!hub.join(&topic, &[home], client(2)));
        assert_eq!(asked(&mut hub, home), "subscribe c unsubscribe c subscribe c");
        let end = b"*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n";
        assert_eq!(hub.hear(home, &confirmation("c")), Some(News::Nothing));
        assert_eq!(hub.hear(home, end), Some(News::Nothing));
        assert_eq!(hub.hear(home, &confirmation("c")), Some(News::Active(vec![client(2)])));
        assert_eq!(hub.hear(home, &confirmation("c")), None, "nobody asked");
    }

    #[test]
    fn a_lost_link_asks_again_in_order() {
        let mut hub = Hub::default();
        let home = server(1);
        for (number, name) in ["b", "a", "c"].into_iter().enumerate() {
            hub.join(&channel(name), &[home], client(number as u32));
        }
        hub.opened(home);
        assert_eq!(asked(&mut hub, home), "subscribe b subscribe a subscribe c");
        hub.hear(home, &confirmation("b"));
        hub.subscribe(&channel("b"), client(0));
        assert!(hub.is_active(&channel("b")));
        assert_eq!(hub.lost(home), (3, vec![client(1), client(2)]));
        assert!(!hub.is_active(&channel("b")));
        hub.leave(&channel("a"), client(1));
        hub.join(&channel("d"), &[home], client(5));
        hub.opened(home);
        assert_eq!(asked(&mut hub, home), "subscribe b subscribe c subscribe d");
        assert_eq!(hub.hear(home, &confirmation("b")), Some(News::Active(Vec::new())));
        assert!(hub.is_active(&channel("b")) && !hub.is_active(&channel("c")));
    }

    #[test]
    fn a_topic_of_every_server_is_there_when_all_have_it() {
        let mut hub = Hub::default();
        let topic = channel("__keyevent@0__:del");
        assert!(topic.is_of_keyspace() && !channel("keyevent").is_of_keyspace());
        hub.join(&topic, &[server(1), server(2)], client(1));
        hub.opened(server(1));
        hub.opened(server(2));
        let confirmed = confirmation("__keyevent@0__:del");
        assert_eq!(hub.hear(server(2), &confirmed), Some(News::Nothing));
        assert_eq!(hub.hear(server(1), &confirmed), Some(News::Active(vec![client(1)])));
        assert_eq!(hub.count(&topic), (0, 2));
    }

    #[test]
    fn what_every_server_repeats_is_heard_once() {
        let said = |channel: &str| {
            let len = channel.len();
            let text =
                format!("*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n${len}\r\n{channel}\r\n$1\r\nx\r\n");
            text.into_bytes()
        };
        for (is_echoed, at_second) in [(true, &[][..]), (false, &[client(1)][..])] {
            let mut hub = Hub::new(is_echoed);
            let all = Topic::new(Kind::Pattern, b"*");
            hub.join(&all, &[server(1), server(2)], client(1));
            hub.subscribe(&all, client(1));
            assert_eq!(hub.hear(server(2), &said("news")), Some(News::Message(at_second)));
            assert_eq!(hub.hear(server(1), &said("news")), Some(News::Message(&[client(1)])));
            for at in [1, 2] {
                let news = hub.hear(server(at), &said("__keyevent@0__:set"));
                assert_eq!(news, Some(News::Message(&[client(1)])));
            }
        }
    }

    #[test]
    fn topics_move_with_their_shards() {
        let mut hub = Hub::default();
        for name in ["stays", "moves"] {
            hub.join(&channel(name), &[server(1)], client(1));
        }
        hub.opened(server(1));
        hub.hear(server(1), &confirmation("stays"));
        hub.hear(server(1), &confirmation("moves"));
        asked(&mut hub, server(1));
        let homes_of =
            |topic: &Topic| Some(vec![server(if *topic.name == *b"moves" { 2 } else { 1 })]);
        hub.rehome(homes_of);
        assert_eq!(asked(&mut hub, server(1)), "unsubscribe moves");
        hub.opened(server(2));
        assert_eq!(asked(&mut hub, server(2)), "subscribe moves");
        assert!(hub.is_active(&channel("stays")) && !hub.is_active(&channel("moves")));
        // The first server is replaced by a third.
        hub.rehome(|_| None);
        hub.rehome(|_| Some(vec![server(3)]));
        hub.drop_links(|it| it == server(3));
        assert!(hub.link_mut(server(1)).is_none() && hub.link_mut(server(2)).is_none());
        assert_eq!(hub.take_wanted(), [server(3)]);
        hub.opened(server(3));
        assert_eq!(asked(&mut hub, server(3)), "subscribe stays subscribe moves");
    }

    /// A server as the hub sees it: what was sent and not taken in, what it subscribes to, and what it said.
    #[derive(Default)]
    struct Peer {
        is_up: bool,
        unread: Vec<u8>,
        has: BTreeSet<String>,
        said: VecDeque<Vec<u8>>,
    }

    impl Peer {
        /// Takes in what was sent.
        fn read(&mut self) {
            let text = String::from_utf8(std::mem::take(&mut self.unread)).expect("text");
            let words =
                text.split("\r\n").filter(|it| !it.is_empty() && !it.starts_with(['*', '$']));
            let words: Vec<&str> = words.collect();
            for pair in words.chunks(2) {
                let (what, name) = (pair[0], pair[1]);
                if what == "subscribe" {
                    self.has.insert(name.into())
                } else {
                    self.has.remove(name)
                };
                let said = format!(
                    "*3\r\n${}\r\n{what}\r\n${}\r\n{name}\r\n:0\r\n",
                    what.len(),
                    name.len()
                );
                self.said.push_back(said.into_bytes());
            }
        }
    }

    proptest! {
        /// Whatever clients, servers and shards do: once it is quiet, each server subscribes to just what is at home there and
        /// wanted, and every client that waits has been told.
        #[test]
        fn servers_end_up_with_what_clients_want(
            steps in prop::collection::vec((0u8..8, 0u32..4, 0u32..4), 1..120),
        ) {
            let mut hub = Hub::default();
            let mut peers: Vec<Peer> = (0..4).map(|_| Peer::default()).collect();
            let mut homes = [0_u32, 1, 2, 3];
            let mut wants: BTreeSet<(u32, u32)> = BTreeSet::new();
            let mut told: BTreeSet<(u32, u32)> = BTreeSet::new();
            let name = |topic: u32| channel(&format!("t{topic}"));
            let quiet = (0..40).flat_map(|_| (0..4).flat_map(|at| [(5, at, 0), (6, at, 0), (7, at, 0)]));
            for (what, one, other) in steps.into_iter().chain(quiet) {
                match what {
                    // A client subscribes.
                    0 | 1 if wants.insert((one, other)) => {
                        let home = server(homes[other as usize]);
                        if hub.join(&name(other), &[home], client(one)) {
                            hub.subscribe(&name(other), client(one));
                            told.insert((one, other));
                        }
                    }
                    // A client leaves.
                    2 if wants.remove(&(one, other)) => {
                        told.remove(&(one, other));
                        hub.leave(&name(other), client(one));
                    }
                    // A topic moves.
                    3 => {
                        homes[other as usize] = one;
                        let now = homes;
                        hub.rehome(|topic| {
                            let at = usize::from(topic.name[1] - b'0');
                            Some(vec![server(now[at])])
                        });
                    }
                    // A connection is lost.
                    4 if peers[one as usize].is_up => {
                        peers[one as usize] = Peer::default();
                        hub.lost(server(one));
                    }
                    // One is opened.
                    5 if !peers[one as usize].is_up && hub.link_mut(server(one)).is_some() => {
                        peers[one as usize].is_up = true;
                        hub.opened(server(one));
                    }
                    // A server takes in what it was sent.
                    6 if peers[one as usize].is_up => {
                        let link = hub.link_mut(server(one)).expect("it is up");
                        let out = std::mem::take(&mut link.out);
                        peers[one as usize].unread.extend(out);
                        peers[one as usize].read();
                    }
                    // What it says arrives.
                    7 => {
                        let Some(said) = peers[one as usize].said.pop_front() else { continue };
                        match hub.hear(server(one), &said) {
                            Some(News::Active(clients)) => {
                                let frame = String::from_utf8(said).expect("text");
                                let topic = frame.split("\r\nt").nth(1).expect("a name");
                                let topic = u32::from(topic.as_bytes()[0] - b'0');
                                for one in clients {
                                    hub.subscribe(&name(topic), one);
                                    told.insert((one.index, topic));
                                }
                            }
                            news => prop_assert_eq!(news, Some(News::Nothing)),
                        }
                    }
                    _ => {}
                }
            }
            for (at, peer) in peers.iter().enumerate() {
                let wanted: BTreeSet<String> = wants
                    .iter()
                    .filter(|(_, topic)| homes[*topic as usize] == at as u32)
                    .map(|(_, topic)| format!("t{topic}"))
                    .collect();
                prop_assert_eq!(&peer.has, &wanted, "server {}", at);
            }
            prop_assert_eq!(told, wants);
        }
    }

    #[test]
    fn who_is_refused_is_told() {
        let mut hub = Hub::default();
        hub.join(&channel("c"), &[server(1)], client(1));
        hub.opened(server(1));
        assert_eq!(hub.hear(server(1), b"-NOPERM no\r\n"), Some(News::Refused(vec![client(1)])));
    }
}
