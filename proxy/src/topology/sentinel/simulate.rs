//! Sentinels that disagree, lag, die and come back, from seeds, in virtual time.
//!
//! The model of a sentinel is small: it has an epoch and a primary for the one group, persists both, and takes over what
//! another says at a higher epoch. A failover raises the epoch at one of them, as an election does. The watch must follow:
//! it goes back to a lower epoch only where a majority has not heard of the higher one, and once all is quiet it is at
//! the highest.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redstart_common::histories;

use super::SentinelId;
use super::answer::{Answer, Ask, Listed};
use super::watch::{Action, Event, Watch};
use crate::settings::{Groups, SentinelSettings, ServerAddress};
use crate::topology::roster::Change;

/// How many histories the test suite runs.
const HISTORIES: u64 = 600;
/// Faults happen until then.
const QUIET_MS: u64 = 20_000;
/// A view counts for so long, and is that old at most.
const SEEN_MS: u64 = 5_000;
/// From then on all must agree. A sentinel that is started again is found within 2 s, asked at once, and others follow.
const SETTLED_MS: u64 = QUIET_MS + 8_000;

#[derive(Debug, Clone)]
struct Sentinel {
    address: ServerAddress,
    run_id: String,
    is_alive: bool,
    /// It answers nothing, and its connections stay open.
    is_stopped: bool,
    epoch: u64,
    primary: u16,
    /// When it came to each epoch.
    came: Vec<(u64, u64)>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The watch's attempt to connect ends.
    Opened {
        id: SentinelId,
        connection: u32,
        to: usize,
    },
    /// A question arrives.
    Asked {
        id: SentinelId,
        connection: u32,
        to: usize,
        number: usize,
    },
    /// A reply arrives.
    Replied {
        id: SentinelId,
        connection: u32,
        number: usize,
    },
    /// A published event arrives.
    Heard {
        id: SentinelId,
        connection: u32,
    },
    Tick,
    Fault,
    Gossip,
}

struct World {
    random: SmallRng,
    now_ms: u64,
    sentinels: Vec<Sentinel>,
    watch: Watch,
    /// Which of the watch's connections is open to whom.
    connections: BTreeMap<SentinelId, (u32, usize)>,
    connection: u32,
    due: BinaryHeap<Reverse<(u64, u64, Due)>>,
    count: u64,
    asks: Vec<Ask>,
    answers: Vec<Answer>,
    /// What the watch takes for the primary.
    primary: Option<u16>,
    epochs: BTreeMap<u16, u64>,
    next_primary: u16,
    accepted_epoch: u64,
}

fn address(port: u16) -> ServerAddress {
    ServerAddress::Tcp { host: "h".to_owned(), port }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let count = random.random_range(1..=5u16);
        let sentinels: Vec<Sentinel> = (0..count)
            .map(|number| Sentinel {
                address: address(26_000 + number),
                run_id: format!("run{number}"),
                is_alive: true,
                is_stopped: false,
                epoch: 0,
                primary: 1,
                came: vec![(0, 0)],
            })
            .collect();
        let configured = random.random_range(1..=sentinels.len());
        let settings = SentinelSettings {
            sentinels: sentinels[..configured].iter().map(|it| it.address.clone()).collect(),
            groups: Groups::Named(vec![("g".into(), 1)]),
            user: None,
            password: None,
            tls: None,
        };
        let mut world = Self {
            random,
            now_ms: 0,
            sentinels,
            watch: Watch::new(&settings, 0),
            connections: BTreeMap::new(),
            connection: 0,
            due: BinaryHeap::new(),
            count: 0,
            asks: Vec::new(),
            answers: Vec::new(),
            primary: None,
            epochs: BTreeMap::from([(1, 0)]),
            next_primary: 2,
            accepted_epoch: 0,
        };
        world.later(0, Due::Tick);
        world.later(500, Due::Fault);
        world.later(300, Due::Gossip);
        world
    }

    fn later(&mut self, in_ms: u64, due: Due) {
        self.count += 1;
        self.due.push(Reverse((self.now_ms + in_ms, self.count, due)));
    }

    fn lag(&mut self) -> u64 {
        if self.random.random_bool(0.05) {
            self.random.random_range(0..3000)
        } else {
            self.random.random_range(0..40)
        }
    }

    fn step(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.watch.step(event, self.now_ms, &mut actions);
        for action in actions {
            match action {
                Action::Open(id, to) => {
                    assert!(!self.connections.contains_key(&id), "opened twice");
                    let to = self.sentinels.iter().position(|it| it.address == to);
                    let to = to.expect("there is nobody else");
                    self.connection += 1;
                    self.connections.insert(id, (self.connection, to));
                    let lag = self.lag();
                    self.later(lag, Due::Opened { id, connection: self.connection, to });
                }
                Action::Close(id) => drop(self.connections.remove(&id)),
                Action::Ask(id, ask) => {
                    let (connection, to) = self.connections[&id];
                    let number = self.asks.len();
                    self.asks.push(ask);
                    // What is sent on a connection arrives in its order.
                    let lag = u64::from(connection % 17);
                    self.later(lag, Due::Asked { id, connection, to, number });
                }
                Action::Change(Change::Promote {
                    primary: ServerAddress::Tcp { port, .. },
                    ..
                }) => {
                    let epoch = self.epochs[&port];
                    if epoch < self.accepted_epoch {
                        // What is known of a sentinel may be some seconds old.
                        let seen_ms = self.now_ms.saturating_sub(SEEN_MS);
                        let has_heard = |it: &Sentinel| {
                            it.came.iter().any(|(at_ms, came)| *came > epoch && *at_ms <= seen_ms)
                        };
                        let behind = self.sentinels.iter().filter(|it| !has_heard(it)).count();
                        let majority = self.watch.sentinel_count() / 2 + 1;
                        assert!(behind >= majority, "back to epoch {epoch} by {behind}");
                    }
                    self.accepted_epoch = epoch;
                    self.primary = Some(port);
                }
                Action::Change(_) | Action::Log(..) => {}
            }
        }
        let wake_ms = self.watch.wake_ms();
        if wake_ms < u64::MAX {
            self.later(wake_ms.saturating_sub(self.now_ms), Due::Tick);
        }
    }

    fn is_open(&self, id: SentinelId, connection: u32) -> bool {
        self.connections.get(&id).is_some_and(|(open, _)| *open == connection)
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Tick if self.watch.wake_ms() <= self.now_ms => self.step(Event::Tick),
            Due::Tick => {}
            Due::Opened { id, connection, to } if self.is_open(id, connection) => {
                if self.sentinels[to].is_alive {
                    self.step(Event::Opened(id));
                } else {
                    self.connections.remove(&id);
                    self.step(Event::Lost(id, "refused".to_owned()));
                }
            }
            Due::Asked { id, connection, to, number } if self.is_open(id, connection) => {
                let it = &self.sentinels[to];
                if !it.is_alive || it.is_stopped {
                    return;
                }
                let answer = match &self.asks[number] {
                    Ask::Id => Answer::Id(it.run_id.clone()),
                    Ask::Primary(_) => Answer::Primary { epoch: it.epoch, is_down: false },
                    Ask::Address(_) => Answer::Address(Some(address(it.primary))),
                    Ask::Replicas(_) => Answer::Replicas(vec![(address(it.primary + 1), false)]),
                    Ask::Groups => Answer::Groups(vec!["g".into()]),
                    Ask::Sentinels(_) => Answer::Sentinels(
                        self.sentinels
                            .iter()
                            .filter(|other| other.run_id != it.run_id)
                            .map(|other| Listed {
                                run_id: other.run_id.clone(),
                                address: other.address.clone(),
                            })
                            .collect(),
                    ),
                };
                self.answers.push(answer);
                let lag = 20 + u64::from(connection % 7);
                let answer = self.answers.len() - 1;
                self.later(lag, Due::Replied { id, connection, number: number << 32 | answer });
            }
            Due::Replied { id, connection, number } if self.is_open(id, connection) => {
                let (ask, answer) = (number >> 32, number & 0xffff_ffff);
                let (ask, answer) = (self.asks[ask].clone(), self.answers[answer].clone());
                self.step(Event::Told(id, ask, answer));
            }
            Due::Heard { id, connection } if self.is_open(id, connection) => {
                self.step(Event::Heard(id));
            }
            Due::Fault if self.now_ms < QUIET_MS => {
                self.fault();
                let pause = self.random.random_range(50..2500);
                self.later(pause, Due::Fault);
            }
            Due::Fault => {
                for it in &mut self.sentinels {
                    (it.is_alive, it.is_stopped) = (true, false);
                }
            }
            Due::Gossip => self.gossip(),
            _ => {}
        }
    }

    /// Two sentinels meet: who knows less learns.
    fn gossip(&mut self) {
        let count = self.sentinels.len();
        let (one, other) = (self.random.random_range(0..count), self.random.random_range(0..count));
        let from = self.sentinels[one].clone();
        let to = &mut self.sentinels[other];
        let both = from.is_alive && !from.is_stopped && to.is_alive && !to.is_stopped;
        if both && from.epoch > to.epoch {
            (to.epoch, to.primary) = (from.epoch, from.primary);
            to.came.push((self.now_ms, to.epoch));
            self.publish(other);
        }
        let pause = if self.now_ms < QUIET_MS { self.random.random_range(10..600) } else { 20 };
        self.later(pause, Due::Gossip);
    }

    fn publish(&mut self, from: usize) {
        let open: Vec<_> = self.connections.iter().map(|(id, link)| (*id, *link)).collect();
        for (id, (connection, to)) in open {
            // What is published may get lost with its connection; polling is the net.
            if to == from && self.random.random_bool(0.7) {
                let lag = self.lag();
                self.later(lag, Due::Heard { id, connection });
            }
        }
    }

    fn fault(&mut self) {
        let number = self.random.random_range(0..self.sentinels.len());
        match self.random.random_range(0..6) {
            // A failover, which a sentinel that knows of all before it is elected to lead.
            0 | 1 => {
                let newest = self.sentinels.iter().map(|it| it.epoch).max().unwrap_or(0);
                let leader = self
                    .sentinels
                    .iter()
                    .position(|it| it.is_alive && !it.is_stopped && it.epoch == newest);
                if let Some(leader) = leader {
                    let primary = self.next_primary;
                    self.next_primary += 1;
                    self.epochs.insert(primary, newest + 1);
                    let it = &mut self.sentinels[leader];
                    (it.epoch, it.primary) = (newest + 1, primary);
                    it.came.push((self.now_ms, it.epoch));
                    self.publish(leader);
                }
            }
            2 => {
                self.sentinels[number].is_alive = false;
                self.cut(number);
            }
            3 => {
                (self.sentinels[number].is_alive, self.sentinels[number].is_stopped) = (true, false)
            }
            4 => self.sentinels[number].is_stopped = true,
            _ => self.cut(number),
        }
    }

    /// The watch's connections to a sentinel break.
    fn cut(&mut self, number: usize) {
        let cut: Vec<SentinelId> = self
            .connections
            .iter()
            .filter(|(_, (_, to))| *to == number)
            .map(|(id, _)| *id)
            .collect();
        for id in cut {
            self.connections.remove(&id);
            self.step(Event::Lost(id, "reset".to_owned()));
        }
    }

    fn run(&mut self) {
        while let Some(Reverse((at_ms, _, due))) = self.due.pop() {
            if at_ms > SETTLED_MS {
                break;
            }
            self.now_ms = at_ms;
            self.happen(due);
        }
        let newest = self.sentinels.iter().max_by_key(|it| it.epoch).expect("sentinels");
        assert_eq!(self.primary, Some(newest.primary), "when all is quiet");
        assert!(self.asks.len() < 40_000, "{} questions", self.asks.len());
    }
}

#[test]
fn the_watch_follows_sentinels_through_their_troubles() {
    let history = |seed, _| {
        World::new(seed).run();
        Ok(())
    };
    histories::run_all(HISTORIES, history, |(), ()| {});
}
