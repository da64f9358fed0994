//! The world of a history: who is there, what is on its way, and the time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redstart_common::log::Level;
use redstart_common::resp::split_words;

use super::super::{Action, ConnId, Event, Outside, PORT, Sentinel};
use super::checks::Outcome;
use super::network::{BACK, Connection, Node, Packet, THERE, Way};
use super::server::{self, Server};
use super::traffic::message;

/// Histories begin then: 0 is never.
const BEGIN_MS: i64 = 1_000_000_000;
const SENTINEL_TICK_MS: i64 = 150;
const SERVER_TICK_MS: i64 = 250;

/// A sentinel's process and its file.
pub struct Watcher {
    pub core: Sentinel,
    pub ip: String,
    pub is_up: bool,
    pub paused_until: i64,
    pub life: u32,
    /// By how much its clock is wrong.
    pub skew: i64,
    /// The lines that it wrote last.
    pub file: Vec<String>,
    /// The lines that an operator gave it at first.
    pub first_file: Vec<String>,
    pub conns: BTreeMap<ConnId, usize>,
    /// The highest configuration that it had, by group.
    epochs: BTreeMap<String, u64>,
}

/// What a sentinel was told of a server last: when, its priority if it said one (primaries do not), and for how long its
/// link was down.
pub type Told = (i64, Option<i64>, i64);

/// What happens at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    Tick(usize),
    Servers,
    /// A connection is tried.
    Arrive(usize),
    /// The sentinel hears that it is made.
    Opened(usize),
    Pump(usize, usize),
    /// A hello comes a second time.
    LateHello(usize, String),
    Fault,
    StartServer(usize),
    StartSentinel(usize, bool),
    Heal(usize, usize),
}

/// How a history is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    pub sentinels: usize,
    /// Replicas of each group.
    pub groups: Vec<usize>,
    pub quorum: usize,
    pub down_after: i64,
    pub failover_timeout: i64,
    pub parallel_syncs: i64,
    pub info_period: i64,
    pub tilt_period: i64,
    /// Sentinels lose their files, and are reset.
    pub forgets: bool,
}

pub struct World {
    pub now: i64,
    pub rng: SmallRng,
    pub setup: Setup,
    pub sentinels: Vec<Watcher>,
    pub servers: Vec<Server>,
    pub cut: Vec<Vec<u32>>,
    pub connections: Vec<Connection>,
    /// Those that are not known to be over.
    pub live: Vec<usize>,
    queue: BinaryHeap<Reverse<(i64, u64, Due)>>,
    count: u64,
    pub has_faults: bool,
    is_verbose: bool,
    trace: Option<Vec<String>>,
    pub outcome: Outcome,
    /// Who was elected by which epoch of which group, and in which of its lives.
    pub elections: BTreeMap<(String, u64), (usize, u32)>,
    pub told: BTreeMap<(usize, usize), Told>,
}

/// Nobody asks the system: all are addresses.
struct Nobody;

impl Outside for Nobody {
    fn resolve(&mut self, _: &str) -> Option<String> {
        None
    }

    fn is_executable(&mut self, _: &str) -> bool {
        true
    }
}

pub fn group_name(group: usize) -> String {
    format!("group{group}")
}

impl World {
    pub fn new(seed: u64, setup: Setup, is_verbose: bool) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut servers = Vec::new();
        for (group, replicas) in setup.groups.iter().enumerate() {
            let primary = Server::new(group, 0, None, 100);
            let host = primary.ip.clone();
            servers.push(primary);
            for number in 1..=*replicas {
                let priority = *[100, 100, 100, 50, 0].get(rng.random_range(0..5)).unwrap_or(&100);
                // One at least may be promoted.
                let priority = if number == 1 { 100 } else { priority };
                servers.push(Server::new(group, number, Some(host.clone()), priority));
            }
        }
        let nodes = setup.sentinels + servers.len();
        let mut world = Self {
            now: BEGIN_MS,
            rng,
            sentinels: Vec::new(),
            cut: vec![vec![0; nodes]; nodes],
            servers,
            connections: Vec::new(),
            live: Vec::new(),
            queue: BinaryHeap::new(),
            count: 0,
            has_faults: false,
            is_verbose,
            trace: None,
            outcome: Outcome::default(),
            elections: BTreeMap::new(),
            told: BTreeMap::new(),
            setup,
        };
        let mut lines = Vec::new();
        for group in 0..world.setup.groups.len() {
            let (name, setup) = (group_name(group), &world.setup);
            let port = server::PORT;
            lines.push(format!("sentinel monitor {name} 10.0.{group}.0 {port} {}", setup.quorum));
            lines.push(format!("sentinel down-after-milliseconds {name} {}", setup.down_after));
            lines.push(format!("sentinel failover-timeout {name} {}", setup.failover_timeout));
            lines.push(format!("sentinel parallel-syncs {name} {}", setup.parallel_syncs));
        }
        for number in 0..world.setup.sentinels {
            let core = Sentinel::new(world.now, SmallRng::seed_from_u64(0));
            world.sentinels.push(Watcher {
                core,
                ip: format!("10.1.0.{number}"),
                is_up: false,
                paused_until: 0,
                life: 0,
                skew: 0,
                file: lines.clone(),
                first_file: lines.clone(),
                conns: BTreeMap::new(),
                epochs: BTreeMap::new(),
            });
            world.start_sentinel(number, false);
            let first = world.rng.random_range(0..SENTINEL_TICK_MS);
            world.later(first, Due::Tick(number));
        }
        world.later(0, Due::Servers);
        world
    }

    /// All come to know each other, which takes a few seconds where INFO is asked for often. A replica that no sentinel has
    /// ever seen is nobody's to mend.
    pub fn meet(&mut self, for_ms: i64) {
        for it in &mut self.sentinels {
            it.core.periods.info_period = 500;
        }
        self.run(for_ms);
        for it in &mut self.sentinels {
            it.core.periods.info_period = self.setup.info_period;
        }
    }

    // === time ===

    pub fn later(&mut self, in_ms: i64, due: Due) {
        self.count += 1;
        self.queue.push(Reverse((self.now + in_ms.max(0), self.count, due)));
    }

    pub fn say(&mut self, text: impl FnOnce() -> String) {
        if !self.is_verbose && self.trace.is_none() {
            return;
        }
        let line = format!("{:>7} {}", self.now - BEGIN_MS, text());
        if self.is_verbose {
            println!("{line}");
        }
        self.trace.iter_mut().for_each(|trace| trace.push(line.clone()));
    }

    /// Lets the time pass.
    pub fn run(&mut self, for_ms: i64) {
        let end = self.now + for_ms;
        while let Some(Reverse((at, ..))) = self.queue.peek() {
            if *at > end {
                break;
            }
            let Some(Reverse((at, _, due))) = self.queue.pop() else { break };
            self.now = at;
            self.happen(due);
        }
        self.now = end;
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Tick(number) => {
                let it = &self.sentinels[number];
                let mut next = SENTINEL_TICK_MS;
                if it.is_up && it.paused_until <= self.now {
                    self.act(number, Sentinel::tick);
                } else if it.is_up {
                    next = it.paused_until - self.now;
                }
                self.later(next, Due::Tick(number));
            }
            Due::Servers => {
                self.replicate();
                self.later(SERVER_TICK_MS, Due::Servers);
            }
            Due::Arrive(connection) => self.arrive(connection),
            Due::Opened(connection) => self.opened(connection),
            Due::Pump(connection, way) => self.pump(connection, way),
            Due::LateHello(connection, hello) => {
                let it = &self.connections[connection];
                if !it.is_over && self.lives(it.from, it.life) {
                    let (number, id) = (it.from, it.id);
                    self.outcome.late_hellos += 1;
                    self.act(number, |core| core.hear(Event::Replied(id, message(&hello))));
                }
            }
            Due::Fault => self.fault(),
            Due::StartServer(number) => self.start_server(number),
            Due::StartSentinel(number, empty) => self.start_sentinel(number, empty),
            Due::Heal(from, to) => self.cut[from][to] -= 1,
        }
    }

    // === who is there ===

    pub fn index(&self, node: Node) -> usize {
        match node {
            Node::Sentinel(number) => number,
            Node::Server(number) => self.setup.sentinels + number,
        }
    }

    fn find(&self, ip: &str, port: u16) -> Option<Node> {
        if port == PORT {
            return self.sentinels.iter().position(|it| it.ip == ip).map(Node::Sentinel);
        }
        self.servers.iter().position(|it| it.ip == ip).map(Node::Server)
    }

    pub fn server_at(&self, ip: &str) -> Option<usize> {
        self.servers.iter().position(|it| it.ip == ip)
    }

    pub fn lives(&self, sentinel: usize, life: u32) -> bool {
        self.sentinels[sentinel].is_up && self.sentinels[sentinel].life == life
    }

    pub fn life_of(&self, node: Node) -> (bool, u32, i64) {
        match node {
            Node::Sentinel(number) => {
                let it = &self.sentinels[number];
                (it.is_up, it.life, it.paused_until)
            }
            Node::Server(number) => {
                let it = &self.servers[number];
                (it.is_up, it.life, it.paused_until)
            }
        }
    }

    pub fn start_sentinel(&mut self, number: usize, empty: bool) {
        let (now, seed) = (self.now, self.rng.random());
        let setup = self.setup.clone();
        let it = &mut self.sentinels[number];
        if it.is_up {
            return;
        }
        if empty {
            it.file = it.first_file.clone();
            it.epochs.clear();
        }
        let mut core = Sentinel::new(now + it.skew, SmallRng::seed_from_u64(seed));
        core.periods.info_period = setup.info_period;
        core.periods.tilt_period = setup.tilt_period;
        let lines: Vec<Vec<String>> = it.file.iter().map(|line| words(line)).collect();
        for line in Sentinel::in_order(lines, |line| line[1].as_str()) {
            core.configure(&line[1..], &mut Nobody).unwrap_or_else(|why| panic!("{line:?}: {why}"));
        }
        it.core = core;
        it.is_up = true;
        it.paused_until = 0;
        it.life += 1;
        let id = format!("{number:02}{:038}", it.life);
        self.told.retain(|(by, _), _| *by != number);
        self.say(|| format!("s{number} starts{}", if empty { " without a file" } else { "" }));
        self.act(number, |core| core.begin(|| id));
    }

    pub fn stop_sentinel(&mut self, number: usize) {
        self.sentinels[number].is_up = false;
        self.end_connections(Node::Sentinel(number));
        self.say(|| format!("s{number} stops"));
    }

    pub fn start_server(&mut self, number: usize) {
        let loads = self.rng.random_range(0..1500);
        let now = self.now;
        let it = &mut self.servers[number];
        if it.is_up {
            return;
        }
        it.is_up = true;
        it.life += 1;
        it.paused_until = 0;
        it.follows = it.file_follows.clone();
        it.link_is_up = false;
        it.link_down_since = now;
        it.synced_at = None;
        it.loads_until = now + loads;
        self.say(|| format!("server {number} starts"));
    }

    pub fn stop_server(&mut self, number: usize) {
        self.servers[number].is_up = false;
        self.end_connections(Node::Server(number));
        self.say(|| format!("server {number} stops"));
    }

    /// A process has ended: its peers find out.
    fn end_connections(&mut self, node: Node) {
        for number in self.live.clone() {
            let it = &self.connections[number];
            if it.is_over {
                continue;
            }
            if Node::Sentinel(it.from) == node {
                self.connections[number].is_over = true;
            } else if it.to == node && it.is_open {
                self.push(number, BACK, Packet::End);
            }
        }
    }

    // === sentinels act ===

    pub fn act<R>(&mut self, number: usize, act: impl FnOnce(&mut Sentinel) -> R) -> R {
        let it = &mut self.sentinels[number];
        it.core.set_now(self.now + it.skew);
        let result = act(&mut it.core);
        let (mut crashes, mut is_saved) = (false, false);
        for action in self.sentinels[number].core.take_actions() {
            crashes |= action == Action::Crash;
            // Nothing changes between two of the same step.
            if action != Action::Save || !std::mem::replace(&mut is_saved, true) {
                self.carry_out(number, action);
            }
        }
        let it = &mut self.sentinels[number];
        // Mostly they are the same as before.
        let pairs = it.core.primaries().iter().zip(&it.epochs);
        let mut is_same = it.core.primaries().len() == it.epochs.len();
        for ((name, primary), (known, highest)) in pairs {
            is_same &= primary.config_epoch == *highest && name == known;
        }
        for (name, primary) in it.core.primaries().iter().filter(|_| !is_same) {
            let epoch = primary.config_epoch;
            match it.epochs.get_mut(name) {
                Some(highest) => {
                    assert!(epoch >= *highest, "s{number}: the epoch of {name} falls");
                    *highest = epoch;
                }
                None => drop(it.epochs.insert(name.clone(), epoch)),
            }
        }
        if crashes {
            self.stop_sentinel(number);
        }
        result
    }

    fn carry_out(&mut self, number: usize, action: Action) {
        match action {
            Action::Say(level, event, text) => {
                if level > Level::Debug {
                    self.say(|| format!("s{number} {event} {text}"));
                }
                self.check_event(number, event, &text);
            }
            Action::Log(_, text) => self.say(|| format!("s{number} {text}")),
            Action::Connect(id, ip, port) => {
                let (life, index) = (self.sentinels[number].life, self.connections.len());
                let Some(to) = self.find(&ip, port) else { return };
                let (_, to_life, _) = self.life_of(to);
                self.connections.push(Connection {
                    from: number,
                    life,
                    id,
                    to,
                    to_life,
                    is_open: false,
                    ways: [Way::default(), Way::default()],
                    queued: None,
                    is_subscribed: false,
                    is_over: false,
                });
                self.live.push(index);
                self.sentinels[number].conns.insert(id, index);
                let lag = self.lag();
                self.later(lag, Due::Arrive(index));
            }
            Action::Close(id) => {
                if let Some(index) = self.sentinels[number].conns.remove(&id) {
                    self.connections[index].is_over = true;
                }
            }
            Action::Send(id, words) => {
                if let Some(index) = self.sentinels[number].conns.get(&id).copied() {
                    self.push(index, THERE, Packet::Request(words));
                }
            }
            Action::Save => {
                let lines = self.sentinels[number].core.lines();
                self.sentinels[number].file = lines.into_iter().map(|line| line.text).collect();
            }
            Action::Run(..)
            | Action::Kill(_)
            | Action::Resolve(_)
            | Action::LogDelay(_)
            | Action::Crash => {}
        }
    }

    /// Keeps the log from now on.
    pub fn record(&mut self) {
        self.trace = Some(Vec::new());
    }

    /// The log.
    pub fn recorded(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }

    /// The log of a history.
    pub fn trace(seed: u64) -> Vec<String> {
        let mut world = Self::of_seed(seed, false);
        world.trace = Some(Vec::new());
        let outcome = world.live();
        let mut trace = world.trace.unwrap_or_default();
        trace.push(format!("{outcome:?}"));
        trace
    }

    /// A history from its start to agreement.
    pub fn history(seed: u64, is_verbose: bool) -> Result<Outcome, String> {
        let mut world = Self::of_seed(seed, is_verbose);
        let settled_ms_max = world.live()?;
        world.outcome.settled_ms_max = settled_ms_max;
        Ok(world.outcome)
    }
}

fn words(line: &str) -> Vec<String> {
    let words = split_words(line.as_bytes()).expect("words");
    words.into_iter().map(|word| String::from_utf8(word.to_vec()).expect("text")).collect()
}
