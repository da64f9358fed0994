//! What the engine keeps of the cluster beside the decisions.

use bytes::Bytes;
use redstart_common::net::listen::Bound;
use redstart_common::resp::RequestScanner;
use tokio::sync::mpsc::Receiver;

use super::file::NodesFile;
use crate::cluster::moves::Word;
use crate::cluster::{Action, Name, SlotSet};

/// What the engine keeps of the cluster beside the decisions.
#[derive(Default)]
pub struct Clustering {
    /// nodes.conf.
    pub(super) file: Option<NodesFile>,
    /// Actions between two calls, to be used again.
    pub(super) actions: Vec<Action>,
    /// The cluster's clock at the start of the engine, in milliseconds since 1970.
    pub(super) began_unix_ms: i64,
    /// How far the wall clock was last found to be ahead.
    pub(super) wall_ahead_ms: i64,
    /// [`Cluster::changes`](crate::cluster::Cluster::changes), when it was asked last.
    pub(super) seen_changes: u64,
    /// The port of the bus, once this is a node.
    pub(super) bus_port: u16,
    /// Sockets that were bound for the bus, until the shell takes them.
    pub bus: Vec<Bound>,
    /// Slots on their way as one step.
    pub moving: Moving,
}

/// Slots on their way as one step, as far as the engine has to do with them.
#[derive(Default)]
pub struct Moving {
    /// Those that leave.
    pub(super) outgoing: Vec<Outgoing>,
    /// What sources are to be told at the end of the turn, and the clients that they are.
    pub(super) to_say: Vec<(u64, Word)>,
    /// Moves whose snapshots wait for another save to end.
    pub(super) wanted: Vec<Name>,
    /// The snapshot that is under way, and its number.
    pub(super) snapshot: Option<(u64, Name)>,
    /// The number of the last snapshot.
    pub(super) snapshots: u64,
    /// Slots whose writers wait.
    pub(super) held: SlotSet,
    /// Slots that lie aside and whose keys are being removed.
    pub(super) emptying: SlotSet,
    /// Slots of `emptying` that have no key left.
    pub(super) emptied: SlotSet,
    /// Slots whose keys lie aside no more, which the log and replicas have yet to hear.
    pub(super) home: SlotSet,
    /// Keys of lost slots that were removed in this step of the cluster.
    pub(super) removed: usize,
    /// Slots that were lost in it and have more.
    pub(super) lost: SlotSet,
    /// Reads commands of the feed.
    pub(super) scanner: RequestScanner,
}

/// A move of slots from here: what is to be sent by its link.
pub struct Outgoing {
    /// Its name.
    pub name: Name,
    /// Its slots.
    pub slots: SlotSet,
    /// What the link is to send next.
    pub pending: Vec<u8>,
    /// What was written since the snapshot began, until it is sent.
    pub(super) behind: Option<Vec<u8>>,
    /// Pieces of the snapshot, until the link takes them.
    pub chunks: Option<Receiver<Bytes>>,
    /// All pieces of the snapshot were taken.
    pub(super) is_drained: bool,
    /// The snapshot is complete by its maker's word.
    pub(super) is_complete: bool,
    /// What is written to its slots is to be sent.
    pub(super) is_tapped: bool,
    /// In this turn it was written to though its writers are held.
    pub(super) is_written: bool,
    /// What the target has said and is not understood yet.
    pub(super) input: Vec<u8>,
}

impl Outgoing {
    pub(super) fn new(name: Name, slots: SlotSet) -> Self {
        Self {
            name,
            slots,
            pending: Vec::new(),
            behind: None,
            chunks: None,
            is_drained: false,
            is_complete: false,
            is_tapped: false,
            is_written: false,
            input: Vec::new(),
        }
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.pending.len() + self.behind.as_ref().map_or(0, Vec::len)
    }
}

impl Moving {
    /// Whether writers of some slots wait.
    #[inline]
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether writers of a slot wait.
    #[must_use]
    pub fn holds_slot(&self, slot: u16) -> bool {
        self.held.contains(slot)
    }

    /// Whether keys of lost slots have yet to be removed.
    #[must_use]
    pub fn is_emptying(&self) -> bool {
        !self.emptying.is_empty()
    }

    /// Whether keys of a slot have yet to be removed.
    #[must_use]
    pub fn empties(&self, slot: u16) -> bool {
        self.emptying.contains(slot)
    }

    /// A move from here.
    pub fn outgoing(&mut self, name: &Name) -> Option<&mut Outgoing> {
        self.outgoing.iter_mut().find(|it| it.name == *name)
    }

    /// Bytes that wait to be sent for a move from here.
    #[must_use]
    pub fn waiting_bytes(&self, name: &Name) -> usize {
        self.outgoing.iter().find(|it| it.name == *name).map_or(0, Outgoing::waiting_bytes)
    }

    /// Bytes that wait to be sent for all moves from here.
    #[must_use]
    pub fn all_waiting_bytes(&self) -> usize {
        self.outgoing.iter().map(Outgoing::waiting_bytes).sum()
    }

    /// Links that have something to send.
    pub fn ready(&self) -> impl Iterator<Item = Name> + '_ {
        self.outgoing.iter().filter(|it| !it.pending.is_empty()).map(|it| it.name)
    }
}
