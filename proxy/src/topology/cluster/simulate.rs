//! Nodes that disagree, lag, die and come back, move and leave, while slots change hands, from seeds, in virtual time.
//!
//! The model of a cluster is its gossip: every node has a picture of its own; a slot goes to whoever claims it at a higher
//! epoch. A failover and the end of a migration raise the epoch of whoever takes slots. The watch must follow: no slot
//! goes back to an owner of a lower epoch while somebody can tell, and once all is quiet its map is the cluster's.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redstart_common::histories;
use redstart_common::slot::SLOT_COUNT;

use super::PeerId;
use super::view::Row;
use super::watch::{Action, Event, Watch};
use crate::settings::ServerAddress;
use crate::topology::roster::{Change, SlotRange};

/// How many histories the test suite runs.
const HISTORIES: u64 = 2_000;
/// Faults happen until then.
const QUIET_MS: u64 = 20_000;
/// From then on the map must be right: what was lost is found within a second, and told at once.
const SETTLED_MS: u64 = QUIET_MS + 12_000;
/// What a lost node has said counts for so long.
const FORGOTTEN_MS: u64 = 15_000;
/// Slots go in so many pieces of the same size.
const PIECES: u16 = 16;
const PIECE: u16 = SLOT_COUNT / PIECES;

/// What one node knows of another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    port: u16,
    epoch: u64,
    replica_of: Option<u16>,
    is_failed: bool,
}

#[derive(Debug)]
struct Node {
    port: u16,
    is_alive: bool,
    /// It answers nothing, and its connections stay open.
    is_stopped: bool,
    known: BTreeMap<u16, Known>,
    /// Whose each piece is, by what it has heard.
    owners: Vec<Option<u16>>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Opened { id: PeerId, connection: u32, to: Option<u16> },
    Asked { id: PeerId, connection: u32, to: u16 },
    Replied { id: PeerId, connection: u32, number: usize },
    Tick,
    Fault,
    Gossip,
}

struct World {
    is_verbose: bool,
    random: SmallRng,
    now_ms: u64,
    /// By name; a node keeps it wherever it is.
    nodes: BTreeMap<u16, Node>,
    /// Whose each piece is in truth, and since which epoch.
    truth: Vec<(u16, u64)>,
    epoch: u64,
    next: u16,
    watch: Watch,
    connections: BTreeMap<PeerId, (u32, u16)>,
    connection: u32,
    due: BinaryHeap<Reverse<(u64, u64, Due)>>,
    count: u64,
    asked: usize,
    answers: Vec<Vec<Row>>,
    /// The picture that the watch has told: shards with their primaries' ports, and whose each piece is.
    shards: BTreeMap<String, u16>,
    slots: Vec<SlotRange>,
    /// Since which epoch each piece was each node's, and which node was ever on which port.
    taken: BTreeMap<(u16, u16), u64>,
    tenants: BTreeMap<u16, u16>,
    /// The epoch of the owner that was told last, for each piece, and when.
    accepted: Vec<(u64, u64)>,
}

/// Prints an event: of what a node says, its own and others' epochs and pieces.
fn show(now_ms: u64, event: &Event) {
    match event {
        Event::Tick => {}
        Event::Told(id, Ok(rows)) => {
            let row = |row: &Row| {
                let pieces: Vec<u16> =
                    (0..PIECES).filter(|piece| row.claims(piece * PIECE)).collect();
                let of = row.replica_of.as_deref().unwrap_or_default();
                let own = if row.is_myself { "*" } else { "" };
                format!("{own}{}@{} {of} {pieces:?}", row.id, row.epoch)
            };
            let rows: Vec<String> = rows.iter().map(row).collect();
            println!("{now_ms} told by {id:?}: {}", rows.join(", "));
        }
        event => println!("{now_ms} {event:?}"),
    }
}

fn address(port: u16) -> ServerAddress {
    ServerAddress::Tcp { host: "h".to_owned(), port }
}

impl World {
    fn new(seed: u64, is_verbose: bool) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let primaries = random.random_range(1..=4u16);
        let names: Vec<u16> = (1..=primaries * 2).collect();
        let owner = |piece: u16| 1 + piece % primaries;
        let known: BTreeMap<u16, Known> = names
            .iter()
            .map(|name| {
                let of = (*name > primaries).then(|| name - primaries);
                let epoch = u64::from(of.unwrap_or(*name));
                let known = Known { port: 100 + name, epoch, replica_of: of, is_failed: false };
                (*name, known)
            })
            .collect();
        let owners: Vec<Option<u16>> = (0..PIECES).map(|piece| Some(owner(piece))).collect();
        let node = |name: &u16| Node {
            port: 100 + name,
            is_alive: true,
            is_stopped: false,
            known: known.clone(),
            owners: owners.clone(),
        };
        let nodes: BTreeMap<u16, Node> = names.iter().map(|name| (*name, node(name))).collect();
        let seeds = random.random_range(1..=names.len());
        // A seed is a name that is resolved: it stays good wherever its node is.
        let seeds: Vec<ServerAddress> = names[..seeds].iter().map(|name| address(*name)).collect();
        let mut world = Self {
            is_verbose,
            random,
            now_ms: 0,
            nodes,
            truth: (0..PIECES).map(|piece| (owner(piece), u64::from(owner(piece)))).collect(),
            epoch: u64::from(primaries),
            next: primaries * 2 + 1,
            watch: Watch::new(&seeds, false, 0),
            connections: BTreeMap::new(),
            connection: 0,
            due: BinaryHeap::new(),
            count: 0,
            asked: 0,
            answers: Vec::new(),
            shards: BTreeMap::new(),
            slots: Vec::new(),
            taken: (0..PIECES)
                .map(|piece| ((piece, owner(piece)), u64::from(owner(piece))))
                .collect(),
            tenants: names.iter().map(|name| (100 + name, *name)).collect(),
            accepted: vec![(0, 0); usize::from(PIECES)],
        };
        world.later(0, Due::Tick);
        world.later(500, Due::Fault);
        world.later(100, Due::Gossip);
        world
    }

    fn later(&mut self, in_ms: u64, due: Due) {
        self.count += 1;
        self.due.push(Reverse((self.now_ms + in_ms, self.count, due)));
    }

    fn lag(&mut self) -> u64 {
        let slow = self.random.random_bool(0.05);
        self.random.random_range(0..if slow { 1500 } else { 30 })
    }

    /// The node that listens at an address: by its name, or on its port.
    fn at(&self, to: &ServerAddress) -> Option<u16> {
        let ServerAddress::Tcp { port, .. } = to else { return None };
        let named = self.nodes.get(port).map(|_| *port);
        named.or_else(|| self.nodes.iter().find(|(_, it)| it.port == *port).map(|(name, _)| *name))
    }

    fn step(&mut self, event: Event) {
        let mut actions = Vec::new();
        if self.is_verbose {
            show(self.now_ms, &event);
        }
        self.watch.step(event, self.now_ms, &mut actions);
        for action in actions {
            if self.is_verbose && matches!(action, Action::Change(_) | Action::Log(..)) {
                println!("{}   -> {action:?}", self.now_ms);
            }
            match action {
                Action::Open(id, to) => {
                    assert!(!self.connections.contains_key(&id), "opened twice");
                    let to = self.at(&to);
                    self.connection += 1;
                    self.connections.insert(id, (self.connection, to.unwrap_or(0)));
                    let lag = self.lag();
                    self.later(lag, Due::Opened { id, connection: self.connection, to });
                }
                Action::Close(id) => drop(self.connections.remove(&id)),
                Action::Ask(id) => {
                    let (connection, to) = self.connections[&id];
                    self.asked += 1;
                    let lag = self.lag();
                    self.later(lag, Due::Asked { id, connection, to });
                }
                Action::Change(change) => self.change(change),
                Action::Log(..) => {}
            }
        }
        let wake_ms = self.watch.wake_ms();
        if wake_ms < u64::MAX {
            self.later(wake_ms.saturating_sub(self.now_ms), Due::Tick);
        }
    }

    fn change(&mut self, change: Change) {
        let port = |address: ServerAddress| match address {
            ServerAddress::Tcp { port, .. } => port,
            ServerAddress::Unix(_) => 0,
        };
        match change {
            Change::Join { shard, primary, .. } => {
                let primary = port(primary.expect("its address is known"));
                assert!(self.shards.insert(shard.to_string(), primary).is_none(), "it is there");
            }
            Change::Leave { shard } => {
                assert!(self.shards.remove(&*shard).is_some(), "it is not there");
            }
            Change::Promote { shard, primary: to } | Change::Move { shard, to } => {
                let place = self.shards.get_mut(&*shard).expect("it is there");
                *place = port(to);
            }
            Change::Slots(slots) => {
                assert!(slots.iter().all(|range| self.shards.contains_key(&*range.shard)));
                self.slots = slots;
                self.none_goes_back();
            }
            Change::PrimaryState { .. }
            | Change::Replicas { .. }
            | Change::Reweigh { .. }
            | Change::Parting { .. }
            | Change::Fitness { .. } => {}
        }
    }

    /// No piece goes back to who had it before, while what was known of its owner counts.
    fn none_goes_back(&mut self) {
        for piece in 0..PIECES {
            let Some(port) = self.told(piece) else { continue };
            let name = self.tenants[&port];
            let epoch = self.taken.get(&(piece, name)).copied().unwrap_or(0);
            let (accepted, at_ms) = self.accepted[usize::from(piece)];
            let is_forgotten = self.now_ms > at_ms + FORGOTTEN_MS;
            assert!(epoch >= accepted || is_forgotten, "piece {piece} goes back to node {name}");
            self.accepted[usize::from(piece)] = (epoch, self.now_ms);
        }
    }

    fn is_open(&self, id: PeerId, connection: u32) -> bool {
        self.connections.get(&id).is_some_and(|(open, _)| *open == connection)
    }

    fn rows(&self, own: u16) -> Vec<Row> {
        let node = &self.nodes[&own];
        let row = |(name, known): (&u16, &Known)| {
            let mut slots: Vec<(u16, u16)> = Vec::new();
            for (piece, owner) in (0..PIECES).zip(&node.owners) {
                if *owner == Some(*name) {
                    slots.push((piece * PIECE, (piece + 1) * PIECE - 1));
                }
            }
            Row {
                id: name.to_string().into(),
                address: Some(address(known.port)),
                is_myself: *name == own,
                replica_of: known.replica_of.map(|of| of.to_string().into()),
                is_failed: known.is_failed,
                is_connected: !known.is_failed,
                epoch: known.epoch,
                slots: if known.replica_of.is_some() { Vec::new() } else { slots },
                is_parting: false,
            }
        };
        node.known.iter().map(row).collect()
    }

    fn answers(&self, name: u16) -> bool {
        self.nodes.get(&name).is_some_and(|node| node.is_alive && !node.is_stopped)
    }

    fn happen(&mut self, due: Due) {
        if self.is_verbose && due == Due::Fault {
            println!("{} something befalls; the truth was {:?}", self.now_ms, self.truth);
        }
        match due {
            Due::Tick if self.watch.wake_ms() <= self.now_ms => self.step(Event::Tick),
            Due::Tick => {}
            Due::Opened { id, connection, to } if self.is_open(id, connection) => {
                let is_there = to.and_then(|to| self.nodes.get(&to)).is_some_and(|it| it.is_alive);
                if is_there {
                    self.step(Event::Opened(id));
                } else {
                    self.connections.remove(&id);
                    self.step(Event::Lost(id, "refused".to_owned()));
                }
            }
            Due::Asked { id, connection, to } if self.is_open(id, connection) => {
                // Some replies get lost with nobody noticing.
                if !self.answers(to) || self.random.random_bool(0.01) {
                    return;
                }
                self.answers.push(self.rows(to));
                let (number, lag) = (self.answers.len() - 1, self.lag());
                self.later(lag, Due::Replied { id, connection, number });
            }
            Due::Replied { id, connection, number } if self.is_open(id, connection) => {
                let said = std::mem::take(&mut self.answers[number]);
                self.step(Event::Told(id, Ok(said)));
            }
            Due::Fault if self.now_ms < QUIET_MS => {
                self.fault();
                let pause = self.random.random_range(50..1500);
                self.later(pause, Due::Fault);
            }
            Due::Fault => {
                for node in self.nodes.values_mut() {
                    (node.is_alive, node.is_stopped) = (true, false);
                }
            }
            Due::Gossip => {
                self.gossip();
                let most = if self.now_ms < QUIET_MS { 200 } else { 10 };
                let pause = self.random.random_range(1..=most);
                self.later(pause, Due::Gossip);
            }
            _ => {}
        }
    }

    fn any(&mut self) -> u16 {
        let names: Vec<u16> = self.nodes.keys().copied().collect();
        names[self.random.random_range(0..names.len())]
    }

    /// One node tells another about itself and what it claims, and of nodes that the other does not know.
    fn gossip(&mut self) {
        let (from, to) = (self.any(), self.any());
        if from == to || !self.answers(from) || !self.answers(to) {
            return;
        }
        let strangers = !self.nodes[&from].known.contains_key(&to);
        if strangers {
            return;
        }
        let own = self.nodes[&from].known[&from].clone();
        let mut others = self.nodes[&from].known.clone();
        others.retain(|name, _| self.nodes.contains_key(name));
        // A replica has no slots of its own.
        let claims: Vec<usize> = (0..usize::from(PIECES))
            .filter(|piece| self.nodes[&from].owners[*piece] == Some(from))
            .filter(|_| own.replica_of.is_none())
            .collect();
        let alive: BTreeSet<u16> =
            self.nodes.iter().filter(|(_, it)| it.is_alive).map(|(name, _)| *name).collect();
        let node = self.nodes.get_mut(&to).expect("it is there");
        for (name, known) in others {
            node.known.entry(name).or_insert(known);
        }
        let epoch = own.epoch;
        // What the sender has no more is anybody's who claims it.
        for piece in 0..usize::from(PIECES) {
            if node.owners[piece] == Some(from) && !claims.contains(&piece) {
                node.owners[piece] = None;
            }
        }
        for piece in claims {
            let holder = node.owners[piece];
            let held = holder.and_then(|it| node.known.get(&it)).map_or(0, |it| it.epoch);
            if holder.is_none() || held < epoch {
                node.owners[piece] = Some(from);
            }
        }
        node.known.insert(from, Known { is_failed: false, ..own });
        // A primary that hears that its last slot is gone follows whoever took it.
        let has_any = node.owners.contains(&Some(to));
        let heir = node.known[&from].replica_of.is_none() && node.owners.contains(&Some(from));
        if !has_any && heir && node.known[&to].replica_of.is_none() && node.known[&to].epoch < epoch
        {
            let is_new = node.known[&to].epoch == 0;
            if let Some(own) = node.known.get_mut(&to).filter(|_| !is_new) {
                (own.replica_of, own.epoch) = (Some(from), epoch);
            }
        }
        for (name, known) in &mut node.known {
            known.is_failed = !alive.contains(name) && *name != to;
        }
    }

    fn fault(&mut self) {
        let name = self.any();
        match self.random.random_range(0..10) {
            0..=2 => self.migrate(),
            3 => self.fail_over(),
            4 => {
                self.nodes.get_mut(&name).expect("it is there").is_alive = false;
                self.cut(name);
            }
            5 | 6 => {
                for node in self.nodes.values_mut() {
                    (node.is_alive, node.is_stopped) = (true, false);
                }
            }
            7 => self.nodes.get_mut(&name).expect("it is there").is_stopped = true,
            8 => self.move_house(name),
            _ => self.come_or_go(),
        }
    }

    /// A primary takes over a piece of another, as the end of a migration does.
    fn migrate(&mut self) {
        let piece = self.random.random_range(0..usize::from(PIECES));
        let to = self.any();
        let own = self.nodes[&to].known[&to].clone();
        let (from, _) = self.truth[piece];
        if own.replica_of.is_some() || from == to || !self.answers(to) || !self.answers(from) {
            return;
        }
        // Who was replaced and has not heard of it takes nothing.
        let is_current =
            |piece: usize| self.nodes[&to].owners[piece] != Some(to) || self.truth[piece].0 == to;
        if !(0..usize::from(PIECES)).all(is_current) {
            return;
        }
        self.epoch += 1;
        self.take(to, &[piece]);
        // The one before is told, too.
        let node = self.nodes.get_mut(&from).expect("it is there");
        node.owners[piece] = Some(to);
        node.known.entry(to).or_insert(own);
    }

    /// A node claims pieces at the newest epoch.
    fn take(&mut self, name: u16, pieces: &[usize]) {
        let epoch = self.epoch;
        let node = self.nodes.get_mut(&name).expect("it is there");
        let own = node.known.get_mut(&name).expect("it knows itself");
        (own.epoch, own.replica_of) = (epoch, None);
        for piece in pieces {
            node.owners[*piece] = Some(name);
            self.truth[*piece] = (name, epoch);
            self.taken.insert((*piece as u16, name), epoch);
        }
        // What it has already goes by the new epoch as well.
        for (owner, since) in &mut self.truth {
            if *owner == name {
                *since = epoch;
            }
        }
    }

    /// A replica takes over all of a primary that is dead.
    fn fail_over(&mut self) {
        let name = self.any();
        let Some(of) = self.nodes[&name].known[&name].replica_of else { return };
        let is_dead = self.nodes.get(&of).is_none_or(|it| !it.is_alive);
        if !is_dead || !self.answers(name) {
            return;
        }
        let pieces: Vec<usize> =
            (0..usize::from(PIECES)).filter(|piece| self.truth[*piece].0 == of).collect();
        if !pieces.is_empty() {
            self.epoch += 1;
            self.take(name, &pieces);
        }
    }

    /// A node is started again at another address.
    fn move_house(&mut self, name: u16) {
        let port = 1000 + self.next;
        self.next += 1;
        self.tenants.insert(port, name);
        let node = self.nodes.get_mut(&name).expect("it is there");
        node.port = port;
        node.known.get_mut(&name).expect("it knows itself").port = port;
        self.cut(name);
    }

    /// A new node is met, or one without slots is forgotten.
    fn come_or_go(&mut self) {
        let idle = self.nodes.keys().copied().find(|name| {
            let is_needed = self.truth.iter().any(|(owner, _)| owner == name)
                || self
                    .nodes
                    .values()
                    .any(|node| node.known.values().any(|known| known.replica_of == Some(*name)));
            // The first nodes may be seeds, whose names must go on standing for somebody.
            *name > 8 && !is_needed
        });
        if let Some(name) = idle.filter(|_| self.random.random_bool(0.5)) {
            self.nodes.remove(&name);
            for node in self.nodes.values_mut() {
                node.known.remove(&name);
                node.owners.iter_mut().filter(|it| **it == Some(name)).for_each(|it| *it = None);
            }
            self.cut(name);
        } else if self.nodes.len() < 12 {
            let name = self.next.max(9);
            self.next = name + 1;
            let sponsor = self.any();
            let mut known = self.nodes[&sponsor].known.clone();
            known.retain(|name, _| self.nodes.contains_key(name));
            let owners = self.nodes[&sponsor].owners.clone();
            let port = 100 + name;
            self.tenants.insert(port, name);
            let own = Known { port, epoch: 0, replica_of: None, is_failed: false };
            known.insert(name, own.clone());
            let node = Node { port, is_alive: true, is_stopped: false, known, owners };
            self.nodes.insert(name, node);
            self.nodes.get_mut(&sponsor).expect("it is there").known.insert(name, own);
        }
    }

    /// The watch's connections to a node break.
    fn cut(&mut self, name: u16) {
        let cut: Vec<PeerId> =
            self.connections.iter().filter(|(_, (_, to))| *to == name).map(|(id, _)| *id).collect();
        for id in cut {
            self.connections.remove(&id);
            self.step(Event::Lost(id, "reset".to_owned()));
        }
    }

    /// Whose a piece is by the watch's picture, by the port of its primary.
    fn told(&self, piece: u16) -> Option<u16> {
        let slot = piece * PIECE;
        let range = self.slots.iter().find(|it| (it.first..=it.last).contains(&slot))?;
        self.shards.get(&*range.shard).copied()
    }

    fn run(&mut self) {
        while let Some(Reverse((at_ms, _, due))) = self.due.pop() {
            if at_ms > SETTLED_MS {
                break;
            }
            self.now_ms = at_ms;
            self.happen(due);
        }
        for (piece, (owner, _)) in (0..).zip(&self.truth) {
            let port = self.nodes[owner].port;
            assert_eq!(
                self.told(piece),
                Some(port),
                "piece {piece} of node {owner}, when all is quiet"
            );
        }
        let mut primaries: Vec<u16> = self
            .nodes
            .iter()
            .filter(|(name, node)| node.known[name].replica_of.is_none())
            .map(|(_, node)| node.port)
            .collect();
        let mut told: Vec<u16> = self.shards.values().copied().collect();
        primaries.sort_unstable();
        told.sort_unstable();
        assert_eq!(told, primaries, "when all is quiet");
        assert!(self.asked < 8_000, "{} questions", self.asked);
    }
}

#[test]
fn the_watch_follows_a_cluster_through_its_troubles() {
    let history = |seed, is_verbose| {
        World::new(seed, is_verbose).run();
        Ok(())
    };
    histories::run_all(HISTORIES, history, |(), ()| {});
}
