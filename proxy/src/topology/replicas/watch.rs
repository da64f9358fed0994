//! Decides which replicas are fit to be read from. Pure: events and the time in, actions out.
//!
//! Every server is asked twice a second, and a replica that is unfit more often. A replica is unfit while it cannot be reached, loads, has lost its primary, or is
//! further behind than it may be; where lag counts, it is unfit until it has told.

use std::collections::BTreeMap;

use super::facts::Facts;
use crate::backend::backoff::MAX_US;
use crate::settings::{Lag, ServerAddress};
use crate::topology::roster::{Change, Fitness};
use crate::topology::{Role, ServerId, ShardId};

/// Between two questions to a server, in milliseconds.
const POLL_MS: u64 = 500;
/// A server that does not answer for so long is taken to be lost.
const SILENT_MS: u64 = 1500;
/// The same to a replica that is not fit to be read from.
const POLL_UNFIT_MS: u64 = 50;
/// Wait before a lost server is tried again.
const RETRY_MS: u64 = MAX_US / 1000;
/// A distance that differs by less, in microseconds, is the same.
const NEAR_US: u32 = 200;

/// A server of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which one.
    pub id: ServerId,
    /// Where it is.
    pub address: ServerAddress,
    /// Its shard.
    pub shard: ShardId,
    /// What it does there.
    pub role: Role,
}

/// What has happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// These are the servers of the pool now.
    Servers(Vec<Listed>),
    /// A server can be asked.
    Opened(ServerId),
    /// A server cannot be reached.
    Lost(ServerId),
    /// What a server says, and how long it took to answer, in microseconds.
    Told(ServerId, Facts, u32),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Connect to a server; tell [`Event::Opened`] or [`Event::Lost`].
    Open(ServerId, ServerAddress),
    /// Let go of a server. Nothing more is to be told of it.
    Close(ServerId),
    /// Ask a server; tell [`Event::Told`].
    Ask(ServerId),
    /// The pool has changed.
    Change(Change),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Closed { retry_ms: u64 },
    Opening { since_ms: u64 },
    Open,
}

#[derive(Debug)]
struct Server {
    listed: Listed,
    link: Link,
    asked_ms: Option<u64>,
    poll_due_ms: u64,
    facts: Option<Facts>,
    distance_us: Option<u32>,
    told: (Fitness, u32),
}

/// The servers of a pool.
#[derive(Debug)]
pub struct Watch {
    servers: BTreeMap<ServerId, Server>,
    lag: Option<Lag>,
    /// Whether distances are told.
    by_distance: bool,
}

impl Watch {
    /// Nobody yet. Replicas may lag by no more than `lag`; with `by_distance` the picture is told how near servers are.
    #[must_use]
    pub fn new(lag: Option<Lag>, by_distance: bool) -> Self {
        Self { servers: BTreeMap::new(), lag, by_distance }
    }

    /// When the next [`Event::Tick`] is due.
    #[must_use]
    pub fn wake_ms(&self) -> u64 {
        let of = |server: &Server| match (server.link, server.asked_ms) {
            (Link::Closed { retry_ms }, _) => retry_ms,
            (Link::Opening { since_ms }, _) => since_ms + SILENT_MS,
            (Link::Open, Some(asked_ms)) => asked_ms + SILENT_MS,
            (Link::Open, None) => server.poll_due_ms,
        };
        self.servers.values().map(of).min().unwrap_or(u64::MAX)
    }

    /// Takes an event in.
    pub fn step(&mut self, event: Event, now_ms: u64, actions: &mut Vec<Action>) {
        match event {
            Event::Tick => {}
            Event::Servers(listed) => self.list(listed, now_ms, actions),
            Event::Opened(id) => {
                if let Some(server) = self.servers.get_mut(&id) {
                    server.link = Link::Open;
                    server.asked_ms = None;
                    server.poll_due_ms = now_ms;
                }
            }
            Event::Lost(id) => self.lost(id, now_ms),
            Event::Told(id, facts, took_us) => {
                if let Some(server) = self.servers.get_mut(&id) {
                    server.asked_ms = None;
                    server.facts = Some(facts);
                    // One slow answer says little.
                    let before = server.distance_us.unwrap_or(took_us);
                    server.distance_us = Some(before - before / 4 + took_us / 4);
                }
            }
        }
        self.tick(now_ms, actions);
        self.decide(now_ms, actions);
    }

    fn list(&mut self, listed: Vec<Listed>, now_ms: u64, actions: &mut Vec<Action>) {
        self.servers.retain(|id, _| {
            let stays = listed.iter().any(|it| it.id == *id);
            if !stays {
                actions.push(Action::Close(*id));
            }
            stays
        });
        for listed in listed {
            let new = |listed: Listed| Server {
                listed,
                link: Link::Closed { retry_ms: now_ms },
                asked_ms: None,
                poll_due_ms: now_ms,
                facts: None,
                distance_us: None,
                told: (Fitness::Fit, 0),
            };
            match self.servers.get_mut(&listed.id) {
                Some(server) => server.listed = listed,
                None => drop(self.servers.insert(listed.id, new(listed))),
            }
        }
    }

    fn lost(&mut self, id: ServerId, now_ms: u64) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.link = Link::Closed { retry_ms: now_ms + RETRY_MS };
            server.asked_ms = None;
            server.facts = None;
        }
    }

    fn tick(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let is_silent = |server: &Server| match (server.link, server.asked_ms) {
            (Link::Opening { since_ms }, _) | (Link::Open, Some(since_ms)) => {
                now_ms >= since_ms + SILENT_MS
            }
            _ => false,
        };
        let silent: Vec<ServerId> =
            self.servers.iter().filter(|(_, it)| is_silent(it)).map(|(id, _)| *id).collect();
        for id in silent {
            actions.push(Action::Close(id));
            self.lost(id, now_ms);
        }
        for (id, server) in &mut self.servers {
            match server.link {
                Link::Closed { retry_ms } if retry_ms <= now_ms => {
                    server.link = Link::Opening { since_ms: now_ms };
                    actions.push(Action::Open(*id, server.listed.address.clone()));
                }
                Link::Open if server.asked_ms.is_none() && server.poll_due_ms <= now_ms => {
                    server.poll_due_ms = now_ms + POLL_MS;
                    server.asked_ms = Some(now_ms);
                    actions.push(Action::Ask(*id));
                }
                _ => {}
            }
        }
    }

    fn decide(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let offsets: BTreeMap<ShardId, u64> = self
            .servers
            .values()
            .filter(|server| server.listed.role == Role::Primary)
            .filter_map(|server| Some((server.listed.shard, server.facts.as_ref()?.offset)))
            .collect();
        for (id, server) in &mut self.servers {
            let was_tried =
                !matches!(server.link, Link::Opening { .. }) || server.told.0 != Fitness::Fit;
            let fitness = match (&server.facts, self.lag) {
                _ if server.listed.role == Role::Primary => Fitness::Fit,
                (Some(facts), _) if facts.is_loading => Fitness::Loading,
                (Some(facts), lag) => {
                    let offset = offsets.get(&server.listed.shard).copied();
                    let most = lag.unwrap_or(Lag::Bytes(u64::MAX));
                    if facts.lags(most, offset) { Fitness::Lagging } else { Fitness::Fit }
                }
                (None, Some(_)) => Fitness::Lagging,
                (None, None) if matches!(server.link, Link::Closed { .. }) => Fitness::Unreachable,
                (None, None) if was_tried && server.link != Link::Open => server.told.0,
                (None, None) => Fitness::Fit,
            };
            let distance_us = match server.distance_us {
                Some(now) if self.by_distance => {
                    if now.abs_diff(server.told.1) > NEAR_US.max(server.told.1 / 2) {
                        now
                    } else {
                        server.told.1
                    }
                }
                _ => 0,
            };
            if fitness != Fitness::Fit {
                server.poll_due_ms = server.poll_due_ms.min(now_ms + POLL_UNFIT_MS);
            }
            if server.told != (fitness, distance_us) {
                server.told = (fitness, distance_us);
                actions.push(Action::Change(Change::Fitness { server: *id, fitness, distance_us }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::roster;

    fn listed(number: u32, role: Role) -> Listed {
        let address = ServerAddress::Tcp { host: "h".to_owned(), port: 1 };
        Listed { id: ServerId::new(number), address, shard: roster::shard_of_tests(), role }
    }

    fn facts(offset: u64) -> Facts {
        Facts { is_loading: false, is_linked: true, offset, silent_s: 0 }
    }

    struct Play {
        watch: Watch,
        now_ms: u64,
        actions: Vec<Action>,
    }

    impl Play {
        fn new(lag: Option<Lag>, by_distance: bool) -> Self {
            let watch = Watch::new(lag, by_distance);
            let mut play = Self { watch, now_ms: 0, actions: Vec::new() };
            let servers = vec![listed(1, Role::Primary), listed(2, Role::Replica)];
            play.step(Event::Servers(servers));
            play
        }

        fn step(&mut self, event: Event) {
            self.watch.step(event, self.now_ms, &mut self.actions);
        }

        fn tells(&mut self, number: u32, facts: Facts, took_us: u32) {
            self.step(Event::Told(ServerId::new(number), facts, took_us));
        }

        fn told(&mut self) -> Vec<(u32, Fitness, u32)> {
            let of = |action| match action {
                Action::Change(Change::Fitness { server, fitness, distance_us }) => {
                    let number = (1..9).find(|number| ServerId::new(*number) == server);
                    Some((number.expect("a small one"), fitness, distance_us))
                }
                _ => None,
            };
            std::mem::take(&mut self.actions).into_iter().filter_map(of).collect()
        }
    }

    #[test]
    fn a_replica_that_lags_is_unfit_until_it_has_come_up() {
        let mut play = Play::new(Some(Lag::Bytes(100)), false);
        assert_eq!(play.told(), [(2, Fitness::Lagging, 0)], "nobody knows yet");
        (1..=2).for_each(|number| play.step(Event::Opened(ServerId::new(number))));
        play.tells(1, facts(1000), 10);
        play.tells(2, facts(950), 10);
        assert_eq!(play.told(), [(2, Fitness::Fit, 0)]);
        play.tells(1, facts(2000), 10);
        assert_eq!(play.told(), [(2, Fitness::Lagging, 0)]);
        play.tells(2, Facts { is_loading: true, ..facts(0) }, 10);
        assert_eq!(play.told(), [(2, Fitness::Loading, 0)]);
        play.now_ms += POLL_UNFIT_MS;
        play.step(Event::Tick);
        assert_eq!(play.actions, [Action::Ask(ServerId::new(2))], "asked sooner than who is fit");
        play.tells(2, facts(2000), 10);
        assert_eq!(play.told(), [(2, Fitness::Fit, 0)]);
        play.tells(2, Facts { is_linked: false, ..facts(2000) }, 10);
        assert_eq!(play.told(), [(2, Fitness::Lagging, 0)]);
    }

    #[test]
    fn a_silent_replica_is_unfit_and_tried_again() {
        let mut play = Play::new(None, false);
        (1..=2).for_each(|number| play.step(Event::Opened(ServerId::new(number))));
        play.tells(1, facts(5), 10);
        assert_eq!(play.told(), []);
        play.now_ms = SILENT_MS;
        play.step(Event::Tick);
        assert!(play.actions.contains(&Action::Close(ServerId::new(2))));
        assert_eq!(play.told(), [(2, Fitness::Unreachable, 0)]);
        play.now_ms += RETRY_MS;
        play.step(Event::Tick);
        let opens =
            |action: &Action| matches!(action, Action::Open(id, _) if *id == ServerId::new(2));
        assert!(play.actions.iter().any(opens));
        assert_eq!(play.told(), [], "an attempt is no success");
        play.step(Event::Opened(ServerId::new(2)));
        play.tells(2, facts(5), 10);
        assert_eq!(play.told(), [(2, Fitness::Fit, 0)]);
        // It leaves, and what is told of it then is nothing.
        play.step(Event::Servers(vec![listed(1, Role::Primary)]));
        play.tells(2, Facts { is_loading: true, ..facts(0) }, 10);
        assert_eq!(play.told(), []);
    }

    #[test]
    fn distances_are_told_when_they_change_much() {
        let mut play = Play::new(None, true);
        (1..=2).for_each(|number| play.step(Event::Opened(ServerId::new(number))));
        play.tells(1, facts(5), 1000);
        play.tells(2, facts(5), 100);
        assert_eq!(play.told(), [(1, Fitness::Fit, 1000)], "a tenth of a millisecond is next door");
        play.tells(1, facts(5), 1400);
        assert_eq!(play.told(), [], "nothing to speak of");
        (0..20).for_each(|_| play.tells(1, facts(5), 4000));
        assert!(!play.told().is_empty());
    }
}
