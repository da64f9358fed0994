//! Watches the nodes of a cluster: whom to ask and when. Pure: events and the time in, actions out.
//!
//! Nodes are asked once a second, more often while something is going on or replicas are read, and at once when a worker has met with
//! something strange: MOVED, a lost connection, CLUSTERDOWN. Those that own slots are asked first; in a large cluster the
//! others are known from what these say.

use std::collections::{BTreeMap, BTreeSet};

use redstart_common::log::Level;

use super::PeerId;
use super::facts::{Said, View};
use super::settle::{Books, Member};
use super::view::{NodeId, Row};
use crate::settings::ServerAddress;
use crate::topology::roster::Change;

/// Between two questions to a node, in milliseconds.
const POLL_MS: u64 = 1000;
/// The same where replicas are read: of a slot on its way elsewhere they do not say that keys have gone.
const POLL_READ_MS: u64 = 250;
/// The same while something is going on.
const POLL_URGENT_MS: u64 = 100;
/// The least, however much is going on.
const POLL_MIN_MS: u64 = 20;
/// How long something is taken to be going on.
const URGENT_MS: u64 = 10_000;
/// A node that does not answer for so long is taken to be lost.
const SILENT_MS: u64 = 2000;
/// What a node has said counts for so long after it was lost. A primary that was replaced, and that alone can still be
/// reached, is believed no sooner.
const KEPT_MS: u64 = 15_000;
/// Waits before a lost node is tried again; doubled up to the maximum.
const RETRY_FIRST_MS: u64 = 50;
const RETRY_MAX_MS: u64 = 1000;
/// Most nodes that are asked, seeds left out.
const ASKED_MAX: usize = 16;

/// What has happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// A node can be asked.
    Opened(PeerId),
    /// A node cannot be reached, for this reason.
    Lost(PeerId, String),
    /// What a node says, or why it says nothing.
    Told(PeerId, Result<Vec<Row>, String>),
    /// A worker has met with something that a change of the cluster would explain.
    Strange,
    /// Nodes have told workers that these slots lie elsewhere.
    Moved(Vec<(u16, ServerAddress)>),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Connect to a node; tell [`Event::Opened`] or [`Event::Lost`].
    Open(PeerId, ServerAddress),
    /// Let go of a node. Nothing more is to be told of it.
    Close(PeerId),
    /// Ask a node what it knows; tell [`Event::Told`].
    Ask(PeerId),
    /// The pool has changed. All changes of one step make one picture.
    Change(Change),
    /// Say so in the log.
    Log(Level, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Closed { retry_ms: u64 },
    Opening { since_ms: u64 },
    Open,
}

#[derive(Debug)]
struct Peer {
    address: ServerAddress,
    is_seed: bool,
    /// Which node it is, once it has said so.
    id: Option<NodeId>,
    link: Link,
    opened_ms: u64,
    backoff_ms: u64,
    /// When it was asked what it has not answered yet.
    asked_ms: Option<u64>,
    polled_ms: Option<u64>,
    poll_due_ms: u64,
    view: Option<View>,
    /// The log has been told that it is lost.
    told_lost: bool,
}

/// The nodes of a cluster and what they said.
#[derive(Debug)]
pub struct Watch {
    peers: BTreeMap<PeerId, Peer>,
    books: Books,
    ids: u32,
    /// Between two questions to a node while nothing is going on.
    poll_ms: u64,
    urgent_until_ms: u64,
    told_refusal: bool,
    /// Something has been said that was not known.
    has_news: bool,
}

impl Watch {
    /// Begins to watch, from these nodes on. `reads_replicas` says that replicas are read.
    #[must_use]
    pub fn new(seeds: &[ServerAddress], reads_replicas: bool, now_ms: u64) -> Self {
        let mut watch = Self {
            peers: BTreeMap::new(),
            books: Books::new(reads_replicas),
            ids: 0,
            poll_ms: if reads_replicas { POLL_READ_MS } else { POLL_MS },
            urgent_until_ms: now_ms + URGENT_MS,
            told_refusal: false,
            has_news: false,
        };
        for seed in seeds {
            watch.add(seed.clone(), None, true, now_ms);
        }
        watch
    }

    fn add(&mut self, address: ServerAddress, id: Option<NodeId>, is_seed: bool, now_ms: u64) {
        let peer = Peer {
            address,
            is_seed,
            id,
            link: Link::Closed { retry_ms: now_ms },
            opened_ms: 0,
            backoff_ms: 0,
            asked_ms: None,
            polled_ms: None,
            poll_due_ms: now_ms,
            view: None,
            told_lost: false,
        };
        self.peers.insert(PeerId(self.ids), peer);
        self.ids += 1;
    }

    /// When the next [`Event::Tick`] is due.
    #[must_use]
    pub fn wake_ms(&self) -> u64 {
        let of = |peer: &Peer| match (peer.link, peer.asked_ms) {
            (Link::Closed { retry_ms }, _) => retry_ms,
            (Link::Opening { since_ms }, _) => since_ms + SILENT_MS,
            (Link::Open, Some(asked_ms)) => asked_ms + SILENT_MS,
            (Link::Open, None) => peer.poll_due_ms,
        };
        self.peers.values().map(of).min().unwrap_or(u64::MAX)
    }

    /// Takes an event in.
    pub fn step(&mut self, event: Event, now_ms: u64, actions: &mut Vec<Action>) {
        match event {
            Event::Tick => {}
            Event::Opened(id) => self.opened(id, now_ms, actions),
            Event::Lost(id, why) => self.lost(id, &why, now_ms, actions),
            Event::Told(id, said) => self.told(id, said, now_ms, actions),
            Event::Strange => self.hurry(now_ms),
            Event::Moved(slots) => {
                for (slot, to) in slots {
                    self.books.note_moved(slot, to, now_ms);
                }
                self.has_news = true;
                self.hurry(now_ms);
            }
        }
        self.decide(now_ms, actions);
        self.tick(now_ms, actions);
    }

    /// Brings the next questions forward.
    fn hurry(&mut self, now_ms: u64) {
        self.urgent_until_ms = now_ms + URGENT_MS;
        for peer in self.peers.values_mut() {
            let earliest = peer.polled_ms.map_or(now_ms, |at| (at + POLL_MIN_MS).max(now_ms));
            peer.poll_due_ms = peer.poll_due_ms.min(earliest);
        }
    }

    fn opened(&mut self, id: PeerId, now_ms: u64, actions: &mut Vec<Action>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !matches!(peer.link, Link::Opening { .. }) {
            return;
        }
        peer.link = Link::Open;
        peer.opened_ms = now_ms;
        peer.asked_ms = None;
        peer.poll_due_ms = now_ms;
        if std::mem::take(&mut peer.told_lost) {
            let text = format!("node {} can be asked again", peer.address);
            actions.push(Action::Log(Level::Notice, text));
        }
    }

    fn lost(&mut self, id: PeerId, why: &str, now_ms: u64, actions: &mut Vec<Action>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if matches!(peer.link, Link::Closed { .. }) {
            return;
        }
        if peer.link == Link::Open {
            self.urgent_until_ms = now_ms + URGENT_MS;
        }
        peer.backoff_ms = (peer.backoff_ms * 2).clamp(RETRY_FIRST_MS, RETRY_MAX_MS);
        peer.link = Link::Closed { retry_ms: now_ms + peer.backoff_ms };
        peer.asked_ms = None;
        self.has_news = true;
        if !std::mem::replace(&mut peer.told_lost, true) {
            let text = format!("node {} cannot be asked: {why}", peer.address);
            actions.push(Action::Log(Level::Warning, text));
        }
    }

    fn told(
        &mut self,
        id: PeerId,
        said: Result<Vec<Row>, String>,
        now_ms: u64,
        actions: &mut Vec<Action>,
    ) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let (Link::Open, Some(at_ms)) = (peer.link, peer.asked_ms.take()) else { return };
        peer.backoff_ms = 0;
        match said {
            Ok(rows) => {
                let before = peer.view.take();
                let is_first = before.as_ref().is_none_or(|view| view.at_ms < peer.opened_ms);
                self.has_news |= is_first || before.as_ref().is_none_or(|it| it.rows != rows);
                let view = View::new(rows, at_ms, now_ms, before.as_ref());
                let own = view.own().map(|row| row.id.clone());
                peer.view = Some(view);
                if let Some(own) = own.filter(|own| peer.id.as_ref() != Some(own)) {
                    peer.id = Some(own);
                    self.urgent_until_ms = now_ms + URGENT_MS;
                }
                self.part_with_twins(id, actions);
            }
            Err(text) => {
                self.has_news |= peer.view.take().is_some();
                if !std::mem::replace(&mut self.told_refusal, true) {
                    let text = format!("node {} refuses to answer: {text}", peer.address);
                    actions.push(Action::Log(Level::Warning, text));
                }
            }
        }
    }

    /// The same node may be known by another address as well, a seed's name perhaps: one of them is enough.
    fn part_with_twins(&mut self, id: PeerId, actions: &mut Vec<Action>) {
        let Some(peer) = self.peers.get(&id) else { return };
        let twins = self.peers.iter().filter(|(other, it)| **other != id && it.id == peer.id);
        // What is configured stays.
        let surplus: Vec<PeerId> = if peer.is_seed {
            twins.filter(|(_, it)| !it.is_seed).map(|(other, _)| *other).collect()
        } else {
            // The one that has just answered is as good as any, unless it is not needed.
            let open = twins.filter(|(_, it)| it.link == Link::Open).count();
            if open > 0 { vec![id] } else { Vec::new() }
        };
        for surplus in surplus {
            let Some(gone) = self.peers.remove(&surplus) else { continue };
            actions.push(Action::Close(surplus));
            // What the one has said last may be newer than what the other has.
            let stays = self.peers.values_mut().find(|it| it.id == gone.id);
            if let (Some(stays), Some(view)) = (stays, gone.view)
                && stays.view.as_ref().is_none_or(|other| view.is_newer_than(other))
            {
                stays.view = Some(view);
                self.has_news = true;
            }
        }
    }

    /// Says what the views come to, and whom to ask from now on.
    fn decide(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        for peer in self.peers.values_mut() {
            let is_old = |view: &View| now_ms >= view.at_ms + KEPT_MS;
            if peer.link != Link::Open && peer.view.as_ref().is_some_and(is_old) {
                peer.view = None;
                self.has_news = true;
            }
        }
        if !std::mem::take(&mut self.has_news) && !self.books.is_waiting() {
            return;
        }
        let said: Vec<Said<'_>> = self
            .peers
            .values()
            .filter_map(|peer| {
                let view = peer.view.as_ref()?;
                // What it said before it was lost is not its word any more.
                let is_open = peer.link == Link::Open && peer.opened_ms <= view.at_ms;
                Some(Said { view, is_open })
            })
            .collect();
        let before = actions.len();
        let members = self.books.settle(&said, now_ms, actions);
        if actions[before..].iter().any(|action| matches!(action, Action::Change(_))) {
            self.urgent_until_ms = now_ms + URGENT_MS;
        }
        if !members.is_empty() {
            self.choose_peers(members, now_ms, actions);
        }
    }

    fn choose_peers(&mut self, members: Vec<Member>, now_ms: u64, actions: &mut Vec<Action>) {
        let mut wanted: BTreeSet<NodeId> = BTreeSet::new();
        for Member { id, address } in members.into_iter().take(ASKED_MAX) {
            let known = self.peers.values_mut().find(|peer| {
                peer.id.as_ref() == Some(&id) || (peer.id.is_none() && peer.address == address)
            });
            match known {
                Some(peer) => {
                    // It was started again elsewhere.
                    let is_elsewhere = !peer.is_seed && peer.address != address;
                    if is_elsewhere && matches!(peer.link, Link::Closed { .. }) {
                        peer.address = address;
                        peer.link = Link::Closed { retry_ms: now_ms };
                    }
                    peer.id.get_or_insert_with(|| id.clone());
                }
                None => self.add(address, Some(id.clone()), false, now_ms),
            }
            wanted.insert(id);
        }
        self.peers.retain(|id, peer| {
            let stays = peer.is_seed || peer.id.as_ref().is_none_or(|id| wanted.contains(id));
            if !stays {
                actions.push(Action::Close(*id));
            }
            stays
        });
    }

    /// Opens what is to be opened, asks what is to be asked, gives up what is silent.
    fn tick(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let is_silent = |peer: &Peer| match (peer.link, peer.asked_ms) {
            (Link::Opening { since_ms }, _) | (Link::Open, Some(since_ms)) => {
                now_ms >= since_ms + SILENT_MS
            }
            _ => false,
        };
        let silent: Vec<PeerId> =
            self.peers.iter().filter(|(_, peer)| is_silent(peer)).map(|(id, _)| *id).collect();
        for id in silent {
            actions.push(Action::Close(id));
            self.lost(id, "it does not answer", now_ms, actions);
        }
        let interval = if now_ms < self.urgent_until_ms { POLL_URGENT_MS } else { self.poll_ms };
        for (id, peer) in &mut self.peers {
            match peer.link {
                Link::Closed { retry_ms } if retry_ms <= now_ms => {
                    peer.link = Link::Opening { since_ms: now_ms };
                    actions.push(Action::Open(*id, peer.address.clone()));
                }
                Link::Open if peer.asked_ms.is_none() && peer.poll_due_ms <= now_ms => {
                    peer.poll_due_ms = now_ms + interval;
                    peer.polled_ms = Some(now_ms);
                    peer.asked_ms = Some(now_ms);
                    actions.push(Action::Ask(*id));
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
