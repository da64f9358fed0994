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

mod door;
mod node;
mod options;
mod slots;
mod table;

use std::collections::BTreeMap;

use redstart_common::slot::SLOT_COUNT;

pub use self::door::{Action, Event, Turn};
pub use self::node::{Flags, Handle, LinkId, NAME_BYTES, Name, Node};
pub use self::options::{Endpoint, Options};
pub use self::slots::{SLOT_BYTES, SLOT_WORDS, SlotSet};
use self::table::Table;

/// This server's part in a cluster.
#[derive(Clone)]
pub struct Cluster {
    nodes: Table,
    myself: Handle,
    /// Who owns each slot.
    owners: Box<[Option<Handle>; SLOT_COUNT as usize]>,
    /// Slots of this server that are on their way to another node.
    migrating: BTreeMap<u16, Handle>,
    /// Slots that are on their way to this server.
    importing: BTreeMap<u16, Handle>,
    /// `cluster_state` is `ok`.
    is_up: bool,
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
        let myself = nodes.add(Node::new(name, Flags::MYSELF.or(Flags::PRIMARY), now_ms));
        Self {
            nodes,
            myself,
            owners: Box::new([None; SLOT_COUNT as usize]),
            migrating: BTreeMap::new(),
            importing: BTreeMap::new(),
            is_up: false,
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
    pub fn endpoint<'n>(&self, node: &'n Node) -> (&'n str, u16) {
        let host = match self.options.endpoint {
            Endpoint::Ip => &node.ip,
            Endpoint::Hostname if node.hostname.is_empty() => "?",
            Endpoint::Hostname => &node.hostname,
            Endpoint::Unknown => "",
        };
        (host, node.port)
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
            let mut served = *myself.slots.words();
            for slot in self.migrating.keys().chain(self.importing.keys()) {
                served[usize::from(slot / 64)] &= !(1 << (slot % 64));
            }
            *self.served = served;
        }
    }
}
