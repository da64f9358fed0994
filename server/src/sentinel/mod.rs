//! Sentinel, decided: who watches whom, who is down, who leads a failover and how it goes on.
//!
//! Nothing in here does I/O or reads a clock. A [`Sentinel`] is told what happened ([`Event`]) or that time has passed
//! ([`Sentinel::tick`]), or is asked by a command; what is to be done comes out as [`Action`]s, in the order in which it is to
//! be done. Its whole outside is the wall clock in milliseconds that each call is given, and chance from a seed.
//!
//! Names on the wire, in the log and in the file are Redis's ("master", "slave"); in the code a server is a primary or a
//! replica.

mod address;
mod change;
mod config;
mod down;
mod failover;
mod hello;
mod info;
mod instance;
mod links;
mod report;
mod say;
mod scripts;
#[cfg(test)]
mod simulate;
#[cfg(test)]
mod tests;
mod vote;

use std::collections::{BTreeMap, VecDeque};

use rand::rngs::SmallRng;
use redstart_common::log::Level;

pub use self::address::{Address, Outside};
pub use self::change::{Changed, Refused};
pub use self::config::{ALIASES, OPTIONS};
pub use self::instance::{Instance, Key, Kind, Primary, Role, State};
use self::links::{Expect, Link, LinkId};
pub use self::report::{Periods, Quorum};
use self::scripts::Scripts;

/// The channel on which sentinels find each other.
pub const HELLO_CHANNEL: &str = "__sentinel__:hello";
/// The port that a sentinel listens on where nothing else is said.
pub const PORT: u16 = 26_379;
/// Hellos and names that wait for a name to be resolved.
const WAITING_MAX: usize = 64;

/// A connection, for as long as the process lives: no two are called the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A reply to what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+…`
    Simple(String),
    /// `-…`
    Error(String),
    /// `:…`
    Integer(i64),
    /// `$…`; `None` is nil.
    Bulk(Option<String>),
    /// `*…`
    Array(Vec<Reply>),
}

/// What happened outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A connection is made; our own address on it.
    Connected(ConnId, String),
    /// A connection failed or ended.
    Closed(ConnId),
    /// The next reply has come on a connection.
    Replied(ConnId, Reply),
    /// A name was looked up; `None` if there is no such address.
    Resolved(String, Option<String>),
    /// A script runs, as this process.
    ScriptStarted(u64, u32),
    /// The system could not make a process for a script.
    ScriptNotStarted(u64),
    /// A script has ended, with this exit code, or by this signal (0 if by none).
    ScriptEnded(u64, i32, i32),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Log an event and, above the level of debugging, publish it on the channel of its name.
    Say(Level, &'static str, String),
    /// Log a line.
    Log(Level, String),
    /// Log that no failover starts before this time, in milliseconds since 1970.
    LogDelay(i64),
    /// Connect to an address (an IP) and port.
    Connect(ConnId, String, u16),
    /// Close a connection, if it is still there.
    Close(ConnId),
    /// Send a request, now or once the connection is made.
    Send(ConnId, Vec<String>),
    /// Look a name up, and tell with [`Event::Resolved`].
    Resolve(String),
    /// Write the configuration to the disk: what follows must not happen before.
    Save,
    /// Run a script: its number, and its words.
    Run(u64, Vec<String>),
    /// Kill a script that takes too long.
    Kill(u64),
    /// End the process at once with status 99.
    Crash,
}

/// A sentinel.
pub struct Sentinel {
    /// What it is called by others: 40 hexadecimal digits; empty until it is chosen.
    pub id: String,
    /// The highest epoch it has heard of.
    pub epoch: u64,
    /// How often things are done, and how long others may take.
    pub periods: Periods,
    /// The port it listens on.
    pub port: u16,
    /// The password that its own clients need, which others are likely to need as well.
    pub own_password: Option<String>,
    /// Failures that it simulates (SENTINEL SIMULATE-FAILURE).
    pub simulated: Simulated,
    pub(super) primaries: BTreeMap<String, Primary>,
    links: BTreeMap<LinkId, Link>,
    next_link: u64,
    next_conn: u64,
    conns: BTreeMap<ConnId, LinkId>,
    tilt_since: Option<i64>,
    last_tick: i64,
    scripts: Scripts,
    globals: Globals,
    names: BTreeMap<String, Option<String>>,
    waiting_hellos: VecDeque<String>,
    random: SmallRng,
    now: i64,
    actions: Vec<Action>,
}

/// Failures that a sentinel simulates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Simulated {
    /// It ends once it is elected.
    pub after_election: bool,
    /// It ends once it has promoted a replica.
    pub after_promotion: bool,
}

/// What is set for all primaries together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Globals {
    /// What others are to know us by, in the place of the address that we are seen with.
    pub announce_ip: Option<String>,
    /// The same for the port; 0 is our own.
    pub announce_port: u16,
    /// Whether SENTINEL SET may not change scripts.
    pub deny_scripts_reconfig: bool,
    /// The user for other sentinels.
    pub user: Option<String>,
    /// The password for other sentinels.
    pub password: Option<String>,
    /// Whether names may stand for addresses.
    pub resolve_hostnames: bool,
    /// Whether names are told to others where there are any.
    pub announce_hostnames: bool,
}

impl Default for Globals {
    fn default() -> Self {
        Self {
            announce_ip: None,
            announce_port: 0,
            deny_scripts_reconfig: true,
            user: None,
            password: None,
            resolve_hostnames: false,
            announce_hostnames: false,
        }
    }
}

impl Sentinel {
    /// A sentinel that watches nobody yet. `now` is the time in milliseconds since 1970.
    #[must_use]
    pub fn new(now: i64, random: SmallRng) -> Self {
        Self {
            id: String::new(),
            epoch: 0,
            periods: Periods::default(),
            port: PORT,
            own_password: None,
            simulated: Simulated::default(),
            primaries: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 0,
            next_conn: 0,
            conns: BTreeMap::new(),
            tilt_since: None,
            last_tick: now,
            scripts: Scripts::default(),
            globals: Globals::default(),
            names: BTreeMap::new(),
            waiting_hellos: VecDeque::new(),
            random,
            now,
            actions: Vec::new(),
        }
    }

    /// Sets the time at which what follows happens, in milliseconds since 1970.
    pub fn set_now(&mut self, now: i64) {
        self.now = now;
    }

    /// What is to be done by now. Call it after each call that changes anything.
    #[must_use]
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// What is set for all primaries together.
    #[must_use]
    pub fn globals(&self) -> &Globals {
        &self.globals
    }

    /// The primaries that are watched, by name.
    #[must_use]
    pub fn primaries(&self) -> &BTreeMap<String, Primary> {
        &self.primaries
    }

    /// A primary.
    #[must_use]
    pub fn primary(&self, name: &str) -> Option<&Primary> {
        self.primaries.get(name)
    }

    /// The start is done and the configuration read: an id is chosen if there is none, and all that is watched is told.
    pub fn begin(&mut self, new_id: impl FnOnce() -> String) {
        if self.id.is_empty() {
            self.id = new_id();
            self.save();
        }
        self.actions.push(Action::Log(Level::Warning, format!("Sentinel ID is {}", self.id)));
        for name in self.names_of_primaries() {
            self.say_monitor(&name);
        }
    }

    /// Something happened.
    pub fn hear(&mut self, event: Event) {
        match event {
            Event::Connected(conn, local) => self.connected(conn, local),
            Event::Closed(conn) => self.closed(conn),
            Event::Replied(conn, reply) => self.replied(conn, reply),
            Event::Resolved(name, address) => self.resolved(&name, address),
            Event::ScriptStarted(job, pid) => self.script_started(job, pid),
            Event::ScriptNotStarted(job) => self.script_not_started(job),
            Event::ScriptEnded(job, code, signal) => self.script_ended(job, code, signal),
        }
    }

    /// The regular work, some ten times a second.
    pub fn tick(&mut self) {
        self.look_for_tilt();
        let mut switched = None;
        for name in self.names_of_primaries() {
            let Some(key) = self.primaries.get(&name).map(|it| it.own.key.clone()) else {
                continue;
            };
            self.handle(&key);
            let Some(primary) = self.primaries.get(&name) else { continue };
            let replicas: Vec<Key> = primary.replica_keys();
            let sentinels: Vec<Key> = primary.sentinel_keys();
            for key in replicas.iter().chain(&sentinels) {
                self.handle(key);
            }
            if self.primaries[&name].failover.state == instance::State::UpdateConfig {
                switched = Some(name);
            }
        }
        if let Some(name) = switched {
            self.switch_to_promoted(&name);
        }
        self.run_scripts();
        self.look_at_slow_scripts();
    }

    fn handle(&mut self, key: &Key) {
        // Mostly there is nothing to be done.
        let is_quiet = self.tilt_since.is_none() && self.is_quiet(key);
        if !is_quiet {
            self.reconnect(key);
            self.send_regular(key);
        }
        if let Some(since) = self.tilt_since {
            if self.now - since < self.periods.tilt_period {
                return;
            }
            self.tilt_since = None;
            self.say_nobody(Level::Warning, "-tilt", "#tilt mode exited".to_owned());
        }
        if !is_quiet {
            self.look_whether_down(key);
        }
        if key.kind == Kind::Primary {
            self.look_whether_objectively_down(&key.primary);
            if self.start_failover_if_needed(&key.primary) {
                self.ask_others(&key.primary, true);
            }
            self.go_on_with_failover(&key.primary);
            self.ask_others(&key.primary, false);
        }
    }

    /// Notes when the clock jumped, or this process stood still: what is known is worth little for a while.
    fn look_for_tilt(&mut self) {
        let passed = self.now - self.last_tick;
        if passed < 0 || passed > self.periods.tilt_trigger {
            self.tilt_since = Some(self.now);
            self.say_nobody(Level::Warning, "+tilt", "#tilt mode entered".to_owned());
        }
        self.last_tick = self.now;
    }

    fn save(&mut self) {
        self.actions.push(Action::Save);
    }

    fn names_of_primaries(&self) -> Vec<String> {
        self.primaries.keys().cloned().collect()
    }
}

/// A primary that a client wants to be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What it is to be called.
    pub name: String,
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: i64,
    /// How many sentinels have to say that it is down.
    pub quorum: u32,
}
