//! Watches the sentinels of a pool and decides what they say together. Pure: events and the time in, actions out.
//!
//! Every sentinel is asked about every group once a second, and at once when it publishes something or when a worker
//! has met with something strange. What it says of a group is its view: an address and the configuration epoch, which
//! counts the failovers that a majority of sentinels has agreed to.
//!
//! ```text
//!   views of a group                                   the primary is
//!   all alike                                          that one
//!   different epochs                                   that of the highest: the others have not heard of it yet
//!   the same epoch, different addresses                that of most; with equal numbers, the one it was
//!   lower than what was accepted before                the one it was, unless a majority of all sentinels says so
//!                                                      for a while (they were told to begin from scratch)
//!   one alone is higher than a majority, for a while   that of the majority: it watches something else
//! ```

mod choose;

use std::collections::BTreeMap;
use std::sync::Arc;

use redstart_common::log::Level;

use self::choose::{Group, Known, View, choose, settle};
use super::SentinelId;
use super::answer::{Answer, Ask, Listed};
use crate::settings::{Groups, SentinelSettings, ServerAddress};
use crate::topology::roster::Change;

/// Between two rounds of questions to a sentinel, in milliseconds.
const POLL_MS: u64 = 1000;
/// The same while something is going on.
const POLL_URGENT_MS: u64 = 100;
/// The least, however much is going on.
const POLL_MIN_MS: u64 = 50;
/// How long something is taken to be going on.
const URGENT_MS: u64 = 30_000;
/// A sentinel that does not answer for so long is taken to be lost.
const SILENT_MS: u64 = 2000;
/// A view counts for so long.
const FRESH_MS: u64 = 4000;
/// Waits before a lost sentinel is tried again; doubled up to the maximum.
const RETRY_FIRST_MS: u64 = 50;
const RETRY_MAX_MS: u64 = 2000;
/// A sentinel that was learnt from others and cannot be reached for so long is forgotten when none names it any more.
const FORGET_MS: u64 = 60_000;
/// Most sentinels of a pool.
const SENTINELS_MAX: usize = 64;

/// What has happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// A sentinel can be asked.
    Opened(SentinelId),
    /// A sentinel cannot be reached, for this reason.
    Lost(SentinelId, String),
    /// A sentinel's reply to a question.
    Told(SentinelId, Ask, Answer),
    /// A sentinel has published something.
    Heard(SentinelId),
    /// A worker has met with something that a change of primary would explain.
    Strange,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Connect to a sentinel; tell [`Event::Opened`] or [`Event::Lost`].
    Open(SentinelId, ServerAddress),
    /// Let go of a sentinel. Nothing more is to be told of it.
    Close(SentinelId),
    /// Ask a sentinel; tell [`Event::Told`].
    Ask(SentinelId, Ask),
    /// The pool has changed.
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
struct Sentinel {
    address: ServerAddress,
    run_id: String,
    is_configured: bool,
    link: Link,
    backoff_ms: u64,
    /// Questions that are not answered yet, and since when the oldest waits.
    unanswered: usize,
    asked_ms: u64,
    poll_due_ms: u64,
    polled_ms: Option<u64>,
    lost_since_ms: u64,
    /// The log has been told that it is lost.
    told_lost: bool,
    listed_ms: u64,
    groups: BTreeMap<Arc<str>, Known>,
    /// The groups it watches, where that is asked.
    names: Option<Vec<Arc<str>>>,
}

/// The sentinels of a pool and its groups.
#[derive(Debug)]
pub struct Watch {
    sentinels: BTreeMap<SentinelId, Sentinel>,
    groups: BTreeMap<Arc<str>, Group>,
    /// Whether the groups are those that the sentinels watch.
    takes_all: bool,
    ids: u32,
    urgent_until_ms: u64,
    told_refusal: bool,
}

impl Watch {
    /// Begins to watch. Groups that are named are in the pool already.
    #[must_use]
    pub fn new(settings: &SentinelSettings, now_ms: u64) -> Self {
        let (groups, takes_all) = match &settings.groups {
            Groups::Named(groups) => {
                let named = groups.iter().map(|(name, _)| (Arc::clone(name), Group::default()));
                (named.collect(), false)
            }
            Groups::All => (BTreeMap::new(), true),
        };
        let mut watch = Self {
            sentinels: BTreeMap::new(),
            groups,
            takes_all,
            ids: 0,
            urgent_until_ms: now_ms + URGENT_MS,
            told_refusal: false,
        };
        for address in &settings.sentinels {
            watch.add(address.clone(), String::new(), true, now_ms);
        }
        watch
    }

    fn add(&mut self, address: ServerAddress, run_id: String, is_configured: bool, now_ms: u64) {
        let id = SentinelId(self.ids);
        self.ids += 1;
        let sentinel = Sentinel {
            address,
            run_id,
            is_configured,
            link: Link::Closed { retry_ms: now_ms },
            backoff_ms: 0,
            unanswered: 0,
            asked_ms: now_ms,
            poll_due_ms: now_ms,
            polled_ms: None,
            lost_since_ms: now_ms,
            told_lost: false,
            listed_ms: now_ms,
            groups: BTreeMap::new(),
            names: None,
        };
        self.sentinels.insert(id, sentinel);
    }

    /// How many sentinels are known.
    #[cfg(test)]
    pub(super) fn sentinel_count(&self) -> usize {
        self.sentinels.len()
    }

    /// When the next [`Event::Tick`] is due.
    #[must_use]
    pub fn wake_ms(&self) -> u64 {
        let of = |sentinel: &Sentinel| match sentinel.link {
            Link::Closed { retry_ms } => retry_ms,
            Link::Opening { since_ms } => since_ms + SILENT_MS,
            Link::Open if sentinel.unanswered > 0 => sentinel.asked_ms + SILENT_MS,
            Link::Open => sentinel.poll_due_ms,
        };
        self.sentinels.values().map(of).min().unwrap_or(u64::MAX)
    }

    /// Takes an event in.
    pub fn step(&mut self, event: Event, now_ms: u64, actions: &mut Vec<Action>) {
        match event {
            Event::Tick => {}
            Event::Opened(id) => self.opened(id, now_ms, actions),
            Event::Lost(id, why) => self.lost(id, &why, now_ms, actions),
            Event::Told(id, ask, answer) => self.told(id, &ask, answer, now_ms, actions),
            Event::Heard(id) => {
                self.urgent_until_ms = now_ms + URGENT_MS;
                self.hurry(Some(id), now_ms);
            }
            Event::Strange => {
                self.urgent_until_ms = now_ms + URGENT_MS;
                self.hurry(None, now_ms);
            }
        }
        self.tick(now_ms, actions);
        self.decide(now_ms, actions);
    }

    /// Brings the next round of questions forward.
    fn hurry(&mut self, id: Option<SentinelId>, now_ms: u64) {
        for (other, sentinel) in &mut self.sentinels {
            if id.is_none_or(|id| id == *other) {
                let earliest =
                    sentinel.polled_ms.map_or(now_ms, |at| (at + POLL_MIN_MS).max(now_ms));
                sentinel.poll_due_ms = sentinel.poll_due_ms.min(earliest);
            }
        }
    }

    fn opened(&mut self, id: SentinelId, now_ms: u64, actions: &mut Vec<Action>) {
        let Some(sentinel) = self.sentinels.get_mut(&id) else { return };
        if !matches!(sentinel.link, Link::Opening { .. }) {
            return;
        }
        sentinel.link = Link::Open;
        sentinel.unanswered = 0;
        sentinel.poll_due_ms = now_ms;
        if std::mem::take(&mut sentinel.told_lost) {
            actions
                .push(Action::Log(Level::Notice, format!("sentinel {} is back", sentinel.address)));
        }
        ask(id, sentinel, Ask::Id, now_ms, actions);
    }

    fn lost(&mut self, id: SentinelId, why: &str, now_ms: u64, actions: &mut Vec<Action>) {
        let Some(sentinel) = self.sentinels.get_mut(&id) else { return };
        match sentinel.link {
            Link::Closed { .. } => return,
            Link::Open => sentinel.lost_since_ms = now_ms,
            Link::Opening { .. } => {}
        }
        sentinel.backoff_ms = (sentinel.backoff_ms * 2).clamp(RETRY_FIRST_MS, RETRY_MAX_MS);
        sentinel.link = Link::Closed { retry_ms: now_ms + sentinel.backoff_ms };
        sentinel.unanswered = 0;
        for known in sentinel.groups.values_mut() {
            known.epoch = None;
        }
        if !std::mem::replace(&mut sentinel.told_lost, true) {
            let text = format!("sentinel {} is lost: {why}", sentinel.address);
            actions.push(Action::Log(Level::Warning, text));
        }
    }

    fn told(
        &mut self,
        id: SentinelId,
        ask: &Ask,
        answer: Answer,
        now_ms: u64,
        actions: &mut Vec<Action>,
    ) {
        let Some(sentinel) = self.sentinels.get_mut(&id) else { return };
        if sentinel.link != Link::Open {
            return;
        }
        sentinel.unanswered = sentinel.unanswered.saturating_sub(1);
        sentinel.asked_ms = now_ms;
        sentinel.backoff_ms = 0;
        match (ask, answer) {
            (_, Answer::Refused(text)) => self.refused(id, ask, &text, actions),
            (_, Answer::Id(run_id)) => self.identified(id, run_id, actions),
            (_, Answer::Groups(names)) => sentinel.names = Some(names),
            (Ask::Primary(group), Answer::Primary { epoch, is_down }) => {
                let known = sentinel.groups.entry(Arc::clone(group)).or_default();
                known.epoch = Some((epoch, is_down));
            }
            (Ask::Address(group), Answer::Address(primary)) => {
                let known = sentinel.groups.entry(Arc::clone(group)).or_default();
                let epoch = known.epoch.take();
                // The epoch was told before the address: at worst it is too old for it, never too new.
                known.view = primary.zip(epoch).map(|(primary, (epoch, is_down))| View {
                    primary,
                    epoch,
                    is_down,
                    at_ms: now_ms,
                });
            }
            (Ask::Replicas(group), Answer::Replicas(replicas)) => {
                let known = sentinel.groups.entry(Arc::clone(group)).or_default();
                let primary = known.view.as_ref().map(|view| view.primary.clone());
                known.replicas = primary.map(|primary| (primary, replicas));
            }
            (Ask::Sentinels(_), Answer::Sentinels(listed)) => self.listed(listed, now_ms, actions),
            _ => {}
        }
    }

    fn refused(&mut self, id: SentinelId, ask: &Ask, text: &str, actions: &mut Vec<Action>) {
        let Some(sentinel) = self.sentinels.get_mut(&id) else { return };
        match ask {
            // It does not watch the group, or not any more.
            Ask::Primary(group) if text.starts_with("ERR No such master") => {
                sentinel.groups.remove(group);
            }
            // An older sentinel does not know who it is, and those that do not know a group say so for each question.
            Ask::Id => {}
            _ if text.starts_with("ERR No such master") => {}
            _ if !std::mem::replace(&mut self.told_refusal, true) => actions.push(Action::Log(
                Level::Warning,
                format!("sentinel {} refuses to answer: {text}", sentinel.address),
            )),
            _ => {}
        }
    }

    /// A sentinel has told who it is. The same one may be known by another address as well.
    fn identified(&mut self, id: SentinelId, run_id: String, actions: &mut Vec<Action>) {
        let twin = self.sentinels.iter().find(|(other, it)| **other != id && it.run_id == run_id);
        let twin = twin.map(|(other, it)| (*other, it.is_configured));
        let Some(sentinel) = self.sentinels.get_mut(&id) else { return };
        sentinel.run_id = run_id;
        // What is configured stays; of two that are learnt, the older.
        let surplus = match twin {
            Some((twin, false)) => Some(if sentinel.is_configured { twin } else { id.max(twin) }),
            Some((_, true)) if !sentinel.is_configured => Some(id),
            _ => None,
        };
        if let Some(surplus) = surplus {
            self.sentinels.remove(&surplus);
            actions.push(Action::Close(surplus));
        }
    }

    /// A sentinel has told which others there are.
    fn listed(&mut self, listed: Vec<Listed>, now_ms: u64, actions: &mut Vec<Action>) {
        for Listed { run_id, address } in listed {
            let count = self.sentinels.len();
            let known = self.sentinels.values_mut().find(|sentinel| {
                sentinel.address == address || (!run_id.is_empty() && sentinel.run_id == run_id)
            });
            match known {
                Some(sentinel) => {
                    sentinel.listed_ms = now_ms;
                    // It was started again elsewhere.
                    if !sentinel.is_configured
                        && sentinel.address != address
                        && matches!(sentinel.link, Link::Closed { .. })
                    {
                        sentinel.address = address;
                    }
                }
                None if count < SENTINELS_MAX => {
                    actions.push(Action::Log(
                        Level::Notice,
                        format!("sentinel {address} is there too, say the others"),
                    ));
                    self.add(address, run_id, false, now_ms);
                }
                None => {}
            }
        }
    }

    /// Opens what is to be opened, asks what is to be asked, gives up what is silent.
    fn tick(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let mut silent = Vec::new();
        for (id, sentinel) in &self.sentinels {
            let is_silent = match sentinel.link {
                Link::Opening { since_ms } => now_ms >= since_ms + SILENT_MS,
                Link::Open => sentinel.unanswered > 0 && now_ms >= sentinel.asked_ms + SILENT_MS,
                Link::Closed { .. } => false,
            };
            if is_silent {
                silent.push(*id);
            }
        }
        for id in silent {
            actions.push(Action::Close(id));
            self.lost(id, "it does not answer", now_ms, actions);
        }
        self.sentinels.retain(|_, sentinel| {
            let is_unreachable = !matches!(sentinel.link, Link::Open)
                && now_ms >= sentinel.lost_since_ms + FORGET_MS;
            let is_forgotten = !sentinel.is_configured
                && is_unreachable
                && now_ms >= sentinel.listed_ms + FORGET_MS
                && matches!(sentinel.link, Link::Closed { .. });
            if is_forgotten {
                let text = format!("sentinel {} is forgotten", sentinel.address);
                actions.push(Action::Log(Level::Notice, text));
            }
            !is_forgotten
        });
        let interval = if now_ms < self.urgent_until_ms { POLL_URGENT_MS } else { POLL_MS };
        for (id, sentinel) in &mut self.sentinels {
            match sentinel.link {
                Link::Closed { retry_ms } if retry_ms <= now_ms => {
                    sentinel.link = Link::Opening { since_ms: now_ms };
                    actions.push(Action::Open(*id, sentinel.address.clone()));
                }
                Link::Open if sentinel.unanswered == 0 && sentinel.poll_due_ms <= now_ms => {
                    sentinel.poll_due_ms = now_ms + interval;
                    sentinel.polled_ms = Some(now_ms);
                    if self.takes_all {
                        ask(*id, sentinel, Ask::Groups, now_ms, actions);
                    }
                    for group in self.groups.keys() {
                        for make in [Ask::Primary, Ask::Address, Ask::Replicas, Ask::Sentinels] {
                            ask(*id, sentinel, make(Arc::clone(group)), now_ms, actions);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Says what the views come to.
    fn decide(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        if self.takes_all {
            self.decide_groups(actions);
        }
        let majority = self.sentinels.len() / 2 + 1;
        for (name, group) in &mut self.groups {
            let views: Vec<(&View, &Known)> = self
                .sentinels
                .values()
                .filter_map(|sentinel| sentinel.groups.get(name))
                .filter_map(|known| Some((known.view.as_ref()?, known)))
                .filter(|(view, _)| now_ms < view.at_ms + FRESH_MS)
                .collect();
            if views.is_empty() {
                let asked = self.sentinels.values().filter(|it| it.link == Link::Open);
                let all_answered = asked.clone().count() > 0
                    && asked.clone().all(|it| it.polled_ms.is_some() && it.unanswered == 0);
                if all_answered && group.primary.is_none() && !group.told_unknown {
                    group.told_unknown = true;
                    let text = format!("no sentinel knows a primary of group '{name}'");
                    actions.push(Action::Log(Level::Warning, text));
                }
                continue;
            }
            let chosen = choose(&views, group, majority, now_ms);
            let Some((view, known)) = chosen else { continue };
            settle(name, group, view, known, actions);
        }
    }

    /// Groups come and go as the sentinels say.
    fn decide_groups(&mut self, actions: &mut Vec<Action>) {
        let lists: Vec<&Vec<Arc<str>>> = self
            .sentinels
            .values()
            .filter(|sentinel| sentinel.link == Link::Open)
            .filter_map(|sentinel| sentinel.names.as_ref())
            .collect();
        let mut new: Vec<Arc<str>> = lists.iter().flat_map(|names| names.iter().cloned()).collect();
        new.retain(|name| !self.groups.contains_key(name));
        new.sort();
        new.dedup();
        // A group is gone when a majority is there and none of it watches the group.
        let is_majority = lists.len() > self.sentinels.len() / 2;
        let gone: Vec<Arc<str>> = self
            .groups
            .keys()
            .filter(|name| is_majority && lists.iter().all(|names| !names.contains(name)))
            .cloned()
            .collect();
        for name in gone {
            self.groups.remove(&name);
            actions.push(Action::Log(Level::Notice, format!("group '{name}' has left")));
            actions.push(Action::Change(Change::Leave { shard: name }));
        }
        let has_new = !new.is_empty();
        for name in new {
            actions.push(Action::Log(Level::Notice, format!("group '{name}' joins")));
            actions.push(Action::Change(Change::Join {
                shard: Arc::clone(&name),
                weight: 1,
                primary: None,
            }));
            self.groups.insert(name, Group::default());
        }
        if has_new {
            for sentinel in self.sentinels.values_mut() {
                sentinel.poll_due_ms = 0;
            }
        }
    }
}

fn ask(id: SentinelId, sentinel: &mut Sentinel, ask: Ask, now_ms: u64, actions: &mut Vec<Action>) {
    if sentinel.unanswered == 0 {
        sentinel.asked_ms = now_ms;
    }
    sentinel.unanswered += 1;
    actions.push(Action::Ask(id, ask));
}

#[cfg(test)]
mod tests;
