//! Redis Cluster, decided: who is in the cluster, who owns which slots, who has failed, who takes over.
//!
//! Nothing here does I/O or reads a clock. [`Cluster`] is told what happened ([`Event`], and a method for each request of an
//! operator) with the time and chance ([`Turn`]), and leaves [`Action`]s. The packets are those of Redis's cluster bus, byte for
//! byte (`packet/`), and nodes.conf is Redis's file (`config_file.rs`), so that real nodes and ours make one cluster.
//!
//! ```text
//!   packet ─▶ receive ─▶ gossip · roles · slots · votes ─▶ todo ─▶ end of turn: elections, state, nodes.conf ─▶ send
//!   tick   ─▶ cron: connect, ping, suspect, elect, migrate
//! ```

mod by_id;
mod claims;
mod config_file;
mod cron;
mod describe;
mod door;
mod election;
mod gossip;
mod links;
mod manual;
mod membership;
mod memory;
mod migration;
pub mod moves;
mod node;
mod operator;
mod options;
pub mod packet;
mod publish;
mod receive;
mod shard;
#[cfg(test)]
mod simulate;
mod slots;
mod table;

use std::collections::BTreeMap;

use redstart_common::slot::SLOT_COUNT;

pub use self::by_id::ById;
use self::claims::Brought;
pub use self::config_file::Corrupt;
use self::cron::Todo;
pub use self::door::{Action, Event, Turn};
use self::election::Election;
pub use self::links::Link;
use self::links::Links;
use self::manual::Manual;
use self::memory::Mutual;
use self::moves::{Act, Moves};
pub use self::node::{Called, Flags, Handle, LinkId, NAME_BYTES, Name, Node};
pub use self::operator::{BUS_PORT_ABOVE, FailoverKind, Refusal, SetSlot};
pub use self::options::{Came, Endpoint, Options};
pub use self::slots::{SLOT_BYTES, SLOT_WORDS, SlotSet};
use self::table::Table;

/// What is counted.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Packets that were sent, by their kinds.
    pub sent: [u64; packet::Kind::NAMES.len()],
    /// Packets that came.
    pub received: [u64; packet::Kind::NAMES.len()],
    /// Links that were closed because they held too much.
    pub links_over_limit: u64,
    /// Nodes that may have failed, at the last tick.
    maybe_failed: usize,
}

/// This server's part in a cluster.
pub struct Cluster {
    nodes: Table,
    myself: Handle,
    /// Who owns each slot.
    owners: Box<[Option<Handle>; SLOT_COUNT as usize]>,
    /// Slots of this server that are on their way to another node.
    migrating: BTreeMap<u16, Handle>,
    /// Slots that are on their way to this server.
    importing: BTreeMap<u16, Handle>,
    /// Slots that an operator has brought here, from nodes that have yet to be heard without them.
    brought: BTreeMap<u16, Brought>,
    /// Slots whose owners no longer say that they own them.
    not_claimed: SlotSet,
    /// `cluster_state` is `ok`.
    is_up: bool,
    /// Primaries with slots, when they were counted last.
    size: usize,
    current_epoch: u64,
    last_vote_epoch: u64,
    /// Nodes that were forgotten, and until when they are not learnt of again.
    shunned: BTreeMap<Name, i64>,
    /// A node that was forgotten, while the others are told.
    just_forgotten: Option<Name>,
    links: Links,
    election: Election,
    manual: Manual,
    moves: Moves,
    todo: Todo,
    /// What is counted.
    pub stats: Stats,
    ticks: u64,
    heartbeats: u64,
    /// Nodes that a heartbeat tells of, between two of them.
    told: Vec<Handle>,
    /// Since when this server's primary is a replica itself.
    sub_replica_since_ms: Option<i64>,
    /// What is remembered of a primary that has become this server's replica.
    mutual: Mutual,
    /// The epoch that others have reminded this server of.
    recalled_epoch: u64,
    /// When the state was looked at first.
    began_ms: Option<i64>,
    /// When this server was last among the few.
    minority_ms: i64,
    /// Packets of this kind are dropped.
    dropped_kind: Option<u16>,
    /// And with it the link by which it came.
    closes_where_dropped: bool,
    options: Options,
    /// Slots of this server of which a request needs no further question.
    served: Box<[u64; SLOT_WORDS]>,
    /// Something has changed since `served` was made.
    is_stale: bool,
    changes: u64,
}

impl Cluster {
    /// A cluster of this server alone, which has the name `name`.
    #[must_use]
    pub fn alone(name: Name, options: Options, now_ms: i64) -> Self {
        let mut nodes = Table::default();
        let mut node = Node::new(name, Flags::MYSELF.or(Flags::PRIMARY), now_ms);
        node.flags.put(Flags::NO_FAILOVER, options.no_failover);
        node.ip = options.announced_ip.as_deref().unwrap_or_default().into();
        node.call(Called::Hostname, &options.hostname);
        (node.port, node.plain_port, node.bus_port) =
            (options.port, options.plain_port, options.bus_port);
        let myself = nodes.add(node);
        Self {
            nodes,
            myself,
            owners: Box::new([None; SLOT_COUNT as usize]),
            migrating: BTreeMap::new(),
            importing: BTreeMap::new(),
            brought: BTreeMap::new(),
            not_claimed: SlotSet::default(),
            is_up: false,
            size: 1,
            current_epoch: 0,
            last_vote_epoch: 0,
            shunned: BTreeMap::new(),
            just_forgotten: None,
            links: Links::default(),
            election: Election::default(),
            manual: Manual::default(),
            moves: Moves::default(),
            todo: Todo::default(),
            stats: Stats::default(),
            ticks: 0,
            heartbeats: 0,
            told: Vec::new(),
            sub_replica_since_ms: None,
            mutual: Mutual::default(),
            recalled_epoch: 0,
            began_ms: None,
            minority_ms: 0,
            dropped_kind: None,
            closes_where_dropped: false,
            options,
            served: Box::new([0; SLOT_WORDS]),
            is_stale: true,
            changes: 0,
        }
    }

    /// Whether `cluster_state` is `ok`.
    #[must_use]
    #[inline]
    pub fn is_up(&self) -> bool {
        self.is_up
    }

    /// A set of bits, slot `n` being bit `n % 64` of word `n / 64`: slots that this server owns, that are neither on their way
    /// to it nor away from it, while the cluster is up. Whether a request for one of these may be served needs no question.
    #[must_use]
    #[inline]
    pub fn served(&self) -> &[u64; SLOT_WORDS] {
        &self.served
    }

    /// Counts what may have changed an answer about any slot, so that those who wait can be looked at again.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// This server as a node.
    #[must_use]
    pub fn myself(&self) -> &Node {
        &self.nodes[self.myself]
    }

    /// Whom this server replicates, as far as that is known.
    #[must_use]
    pub fn my_primary(&self) -> Option<&Node> {
        let myself = self.myself();
        self.nodes.get(myself.primary.filter(|_| myself.is_replica())?)
    }

    /// Whether this server owns a slot.
    #[must_use]
    pub fn is_mine(&self, slot: u16) -> bool {
        self.owner_handle(slot) == Some(self.myself)
    }

    /// Who owns a slot.
    #[must_use]
    pub fn owner(&self, slot: u16) -> Option<&Node> {
        self.nodes.get(self.owner_handle(slot)?)
    }

    /// Where this server's slot is on its way to.
    #[must_use]
    pub fn migrating_to(&self, slot: u16) -> Option<&Node> {
        self.nodes.get(*self.migrating.get(&slot)?)
    }

    /// Where a slot comes from that is on its way to this server.
    #[must_use]
    pub fn importing_from(&self, slot: u16) -> Option<&Node> {
        self.nodes.get(*self.importing.get(&slot)?)
    }

    /// Whether this server is a replica of the node.
    #[must_use]
    pub fn i_am_replica_of(&self, node: &Node) -> bool {
        let myself = self.myself();
        let primary = myself.primary.and_then(|primary| self.nodes.get(primary));
        myself.is_replica() && primary.is_some_and(|primary| primary.name == node.name)
    }

    /// Where clients are sent to find a node: a host, and the port. The host is empty where they are to use the one that they
    /// know.
    #[must_use]
    pub fn endpoint<'n>(&self, node: &'n Node, came: Came) -> (&'n str, u16) {
        let host = match self.options.endpoint {
            Endpoint::Ip => node.client_ip(came.by_ipv6),
            Endpoint::Hostname if node.hostname().is_empty() => "?",
            Endpoint::Hostname => node.hostname(),
            Endpoint::Unknown => "",
        };
        (host, self.port_for(node, came))
    }

    /// The port by which a client finds a node.
    fn port_for(&self, node: &Node, came: Came) -> u16 {
        let is_plain = self.options.by_tls && !came.by_tls && node.plain_port != 0;
        if is_plain { node.plain_port } else { node.port }
    }

    /// A node by its name.
    #[must_use]
    pub fn node(&self, name: &Name) -> Option<&Node> {
        self.nodes.get(self.nodes.find(name)?)
    }

    /// A node by its handle.
    #[must_use]
    pub fn at(&self, handle: Handle) -> Option<&Node> {
        self.nodes.get(handle)
    }

    /// All nodes by name, this server among them.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().map(|(_, node)| node)
    }

    /// What is known of the nodes, and of the links with them, in bytes.
    #[cfg(test)]
    fn known_bytes(&self) -> usize {
        self.nodes.bytes() + self.links_bytes()
    }

    /// How many nodes are known.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Primaries with slots.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The epoch of the cluster.
    #[must_use]
    pub fn current_epoch(&self) -> u64 {
        self.current_epoch
    }

    /// The epoch of this server's last vote.
    #[must_use]
    pub fn last_vote_epoch(&self) -> u64 {
        self.last_vote_epoch
    }

    /// The settings that it goes by.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    fn owner_handle(&self, slot: u16) -> Option<Handle> {
        *self.owners.get(usize::from(slot))?
    }

    /// Notes that an answer about some slot may be another now.
    fn touch(&mut self) {
        self.is_stale = true;
        self.todo.moves |= self.moves.is_active();
    }

    /// Brings up to date what is kept ready. Call it after each step.
    pub fn settle(&mut self) {
        if !std::mem::take(&mut self.is_stale) {
            return;
        }
        self.changes += 1;
        self.served.fill(0);
        let myself = self.myself();
        if self.is_up && myself.is_primary() {
            let mut served = myself.slots.all_words();
            for slot in self.migrating.keys().chain(self.importing.keys()) {
                served[usize::from(slot / 64)] &= !(1 << (slot % 64));
            }
            *self.served = served;
        }
    }
}
