//! What the engine keeps of replication beside the decisions.

use super::awaited::Awaited;
use crate::client::Client;
use crate::keyspace::NewDatabases;
use crate::persistence::spill::SpillFiles;
use crate::replication::{Action, ClientId, Filter, LinkId, SnapshotId, SpillJob, Target, Waiters};

/// A snapshot for replicas that is to begin, or has.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) snapshot: SnapshotId,
    pub(super) target: Target,
    pub(super) filter: Filter,
}

/// A snapshot that goes to replicas while it is made.
pub struct Relay {
    /// Which one.
    pub snapshot: SnapshotId,
    /// What stands before and behind it.
    pub mark: [u8; 40],
    /// Who gets it.
    pub replicas: Vec<ClientId>,
    /// Its bytes.
    pub chunks: tokio::sync::mpsc::Receiver<bytes::Bytes>,
}

/// What the engine keeps beside the decisions.
#[derive(Default)]
pub struct Replicating {
    /// Snapshots that wait for another save to end.
    pub(super) wanted: Vec<Wanted>,
    /// Snapshots whose bytes the shell has to send.
    pub relays: Vec<Relay>,
    /// Snapshots to sockets that the thread has ended with, and whether all their bytes are made.
    pub(super) ended: Vec<(SnapshotId, bool)>,
    /// Clients that are replicas.
    pub replicas: Vec<ClientId>,
    /// Clients that wait for acknowledgements.
    pub waiting: Waiters,
    /// Clients that wait for disks, and what for.
    pub waiting_for_disks: Vec<(ClientId, Awaited)>,
    /// The mark up to which the disk had the log when those were looked at last.
    pub(super) durable: Option<u64>,
    /// The log is begun again once the data is that of the primary.
    pub log_stopped: bool,
    /// The link whose snapshot is being taken in. What another link still brings is of no use.
    pub loads_from: Option<LinkId>,
    /// The primary's stream as a client, for CLIENT LIST and CLIENT KILL.
    pub primary: Option<(LinkId, Box<Client>)>,
    /// Databases that are filled beside the old ones.
    pub new_databases: Option<NewDatabases>,
    /// Bytes that clients may still write before the next look at the replicas, where they are slowed.
    pub allowance: Option<u64>,
    /// Files of what replicas have yet to be sent.
    pub files: SpillFiles,
    /// Work on them between two calls, to be used again.
    pub(super) jobs: Vec<SpillJob>,
    /// When the log was told last that the primary's writes cannot be saved.
    pub(super) unsaved_told_ms: Option<i64>,
    /// When the allowance was set.
    pub(super) paced_at_ms: i64,
    /// Actions between two calls, to be used again.
    pub(super) actions: Vec<Action>,
}

impl Replicating {
    /// What a client waits for, which it does no longer.
    pub fn take_awaited(&mut self, client: ClientId) -> Option<Awaited> {
        let at = self.waiting_for_disks.iter().position(|(id, _)| *id == client)?;
        Some(self.waiting_for_disks.remove(at).1)
    }

    /// What has come of a snapshot to sockets, once its thread has ended with it: whether all its bytes were made.
    pub fn take_ended(&mut self, snapshot: SnapshotId) -> Option<bool> {
        let place = self.ended.iter().position(|(id, _)| *id == snapshot)?;
        Some(self.ended.remove(place).1)
    }
}
