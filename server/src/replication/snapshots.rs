//! Snapshots for replicas: which of them share one, when it begins, and what each gets.
//!
//! Replicas that want the same, and arrive within the delay, share one walk over the data. One that comes later joins a
//! snapshot into a file that is being made, since the stream from its beginning is in the backlog; a snapshot that goes to
//! sockets as it is made cannot be joined.

use rand::RngCore;

use super::door::{Action, ClientId, Filter, SnapshotId, Target, Turn};
use super::driver::Replication;
use super::offset::Offset;
use super::replicas::{Replica, Stage};

/// The snapshot that is being made for replicas, and whether another could be begun.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    running: Option<Running>,
    begun: u64,
    /// The shell cannot begin one.
    are_impossible: bool,
}

#[derive(Debug)]
struct Running {
    id: SnapshotId,
    to_sockets: bool,
    filter: Filter,
    /// What those for whom it was begun all understand.
    eof: bool,
    psync2: bool,
    /// Who asked before it began.
    members: Vec<ClientId>,
    /// The data as it was at this place, once it has begun.
    start: Option<Offset>,
}

impl Snapshots {
    /// Whether one is being made that goes to sockets.
    pub(super) fn go_to_sockets(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.to_sockets)
    }
}

impl Replication {
    /// Whether the shell can begin a snapshot for replicas now. It cannot while other work of that kind stands in the way.
    pub fn set_snapshots_possible(&mut self, are_possible: bool, turn: &mut Turn) {
        self.snapshots.are_impossible = !are_possible;
        if are_possible {
            self.start_pending_snapshot(turn);
        }
    }

    /// The snapshot that is made for replicas, and whether it goes to sockets: what INFO and BGSAVE need to know.
    #[must_use]
    pub fn running_snapshot(&self) -> Option<(SnapshotId, bool)> {
        self.snapshots.running.as_ref().map(|running| (running.id, running.to_sockets))
    }

    /// How many replicas wait for the snapshot that is being made.
    #[must_use]
    pub fn awaiting_snapshot(&self) -> usize {
        let Some(running) = &self.snapshots.running else { return 0 };
        self.replicas.iter().filter(|replica| replica.waits_for(running.id)).count()
    }

    /// How many snapshots were begun for replicas.
    #[must_use]
    pub fn snapshots_begun(&self) -> u64 {
        self.snapshots.begun
    }

    /// Whether a replica is waiting for its snapshot, or gets it: `rdb-del-sync-files` leaves the file then.
    #[must_use]
    pub fn is_syncing_replicas(&self) -> bool {
        self.replicas.iter().any(|replica| {
            matches!(
                replica.stage,
                Stage::WaitStart { .. } | Stage::WaitEnd { .. } | Stage::SendBulk { .. }
            )
        })
    }

    /// A replica came that needs all data.
    pub(super) fn want_snapshot(&mut self, client: ClientId, turn: &mut Turn) {
        let Some(replica) = self.replicas.get(client) else { return };
        let (eof, filter, rdb_only) =
            (replica.profile.eof, replica.profile.filter, replica.profile.rdb_only);
        if let Some(running) = &self.snapshots.running {
            if running.to_sockets {
                turn.notice("Current BGSAVE has socket target. Waiting for next BGSAVE for SYNC");
                return;
            }
            let fits = replica.may_join(running.eof, running.psync2, running.filter);
            let start = running.start.filter(|start| {
                fits && (rdb_only || self.backlog.as_ref().is_some_and(|log| log.holds(*start)))
            });
            match start {
                Some(start) => {
                    let id = running.id;
                    self.set_up_full_sync(client, id, start, turn);
                    turn.notice("Waiting for end of BGSAVE for SYNC");
                }
                None => turn.notice(
                    "Can't attach the replica to the current BGSAVE. Waiting for next BGSAVE for SYNC",
                ),
            }
        } else if self.options.diskless_sync && eof && self.options.diskless_sync_delay_s > 0 {
            turn.notice("Delay next BGSAVE for diskless SYNC");
        } else if self.snapshots.are_impossible {
            turn.notice(
                "No BGSAVE in progress, but another BG operation is active. BGSAVE for replication delayed",
            );
        } else {
            let psync2 = self.replicas.get(client).is_some_and(|replica| replica.profile.psync2);
            self.start_snapshot(eof, psync2, filter, turn);
        }
    }

    /// Begins one for those who have waited long enough, or are enough.
    pub(super) fn start_pending_snapshot(&mut self, turn: &mut Turn) {
        if self.snapshots.running.is_some() || self.snapshots.are_impossible {
            return;
        }
        let is_waiting = |replica: &&Replica| matches!(replica.stage, Stage::WaitStart { .. });
        let Some(filter) = self.replicas.iter().find(is_waiting).map(|first| first.profile.filter)
        else {
            return;
        };
        let (mut eof, mut psync2, mut count, mut longest_s) = (true, true, 0, 0);
        for replica in self.replicas.iter() {
            if let Stage::WaitStart { since_ms } = replica.stage
                && replica.profile.filter == filter
            {
                eof &= replica.profile.eof;
                psync2 &= replica.profile.psync2;
                count += 1;
                longest_s = turn.seconds_since(since_ms).max(longest_s);
            }
        }
        let options = &self.options;
        let are_enough =
            options.diskless_sync_max_replicas > 0 && count >= options.diskless_sync_max_replicas;
        if !options.diskless_sync || are_enough || longest_s >= options.diskless_sync_delay_s {
            self.start_snapshot(eof, psync2, filter, turn);
        }
    }

    fn start_snapshot(&mut self, eof: bool, psync2: bool, filter: Filter, turn: &mut Turn) {
        // A filtered snapshot never goes to the file, which would replace the real one.
        let to_sockets = (self.options.diskless_sync || filter.leaves_out()) && eof;
        let members = self.replicas.ids(|replica| {
            matches!(replica.stage, Stage::WaitStart { .. })
                && replica.profile.filter == filter
                && (replica.profile.eof || !to_sockets)
        });
        turn.notice(format!(
            "Starting BGSAVE for SYNC with target: {}",
            if to_sockets { "replicas sockets" } else { "disk" }
        ));
        self.snapshots.begun += 1;
        let id = SnapshotId(self.snapshots.begun);
        let target = if to_sockets {
            Target::Sockets { mark: mark(turn.random), replicas: members.clone() }
        } else {
            Target::File
        };
        self.snapshots.running =
            Some(Running { id, to_sockets, filter, eof, psync2, members, start: None });
        turn.act(Action::StartSnapshot { snapshot: id, target, filter });
    }

    fn running(&mut self, id: SnapshotId) -> Option<&mut Running> {
        self.snapshots.running.as_mut().filter(|running| running.id == id)
    }

    pub(super) fn snapshot_started(&mut self, id: SnapshotId, turn: &mut Turn) {
        let start = self.history.offset;
        let Some(running) = self.running(id) else { return };
        running.start = Some(start);
        for client in std::mem::take(&mut running.members) {
            self.set_up_full_sync(client, id, start, turn);
        }
    }

    fn set_up_full_sync(
        &mut self,
        client: ClientId,
        snapshot: SnapshotId,
        from: Offset,
        turn: &mut Turn,
    ) {
        let Some(replica) = self.replicas.get_mut(client) else { return };
        replica.stage = Stage::WaitEnd { snapshot, from };
        if !replica.is_old {
            let answer = format!("+FULLRESYNC {} {from}\r\n", self.history.id);
            turn.act(Action::SendReplica(client, answer.into()));
        }
        if self.upstream.is_none() {
            // What it is sent begins with the choice of a database.
            self.stream_db = None;
        }
    }

    pub(super) fn snapshot_refused(&mut self, id: SnapshotId, turn: &mut Turn) {
        let Some(running) = self.running(id) else { return };
        let members = std::mem::take(&mut running.members);
        self.snapshots.running = None;
        turn.warn("BGSAVE for replication failed");
        for client in members {
            if self.replicas.remove(client).is_some() {
                let error = &b"-ERR BGSAVE failed, replication can't continue\r\n"[..];
                turn.act(Action::SendReplica(client, error.into()));
                turn.act(Action::CloseAfterReply(client));
            }
        }
        self.note_alone(turn);
    }

    pub(super) fn snapshot_failed(&mut self, id: SnapshotId, turn: &mut Turn) {
        if self.running(id).is_none() {
            return;
        }
        self.snapshots.running = None;
        for client in self.replicas.ids(|replica| replica.waits_for(id)) {
            turn.warn("SYNC failed. BGSAVE child returned an error");
            self.drop_replica(client, true, turn);
        }
        self.start_pending_snapshot(turn);
    }

    pub(super) fn snapshot_done(&mut self, id: SnapshotId, turn: &mut Turn) {
        let Some(running) = self.running(id) else { return };
        let to_sockets = running.to_sockets;
        self.snapshots.running = None;
        for client in self.replicas.ids(|replica| replica.waits_for(id)) {
            let Some(replica) = self.replicas.get_mut(client) else { continue };
            let Stage::WaitEnd { from, .. } = replica.stage else { continue };
            if !to_sockets {
                replica.stage = Stage::SendBulk { from };
                turn.act(Action::SendFile(client, id));
                continue;
            }
            turn.notice(format!(
                "Streamed RDB transfer with replica {} succeeded (socket). Waiting for REPLCONF ACK from slave to enable streaming",
                replica.name()
            ));
            let is_ready = replica.acked_early;
            let stage =
                if is_ready { Stage::Online { next: from } } else { Stage::AwaitAck { from } };
            self.put_online(client, stage, turn);
        }
        self.start_pending_snapshot(turn);
    }

    pub(super) fn file_sent(&mut self, client: ClientId, turn: &mut Turn) {
        if let Some(Stage::SendBulk { from }) =
            self.replicas.get(client).map(|replica| replica.stage)
        {
            self.put_online(client, Stage::Online { next: from }, turn);
        }
    }

    /// The replica has its snapshot.
    fn put_online(&mut self, client: ClientId, stage: Stage, turn: &mut Turn) {
        let Some(replica) = self.replicas.get_mut(client) else { return };
        if replica.profile.rdb_only {
            replica.stage = Stage::Done;
            turn.notice(format!(
                "RDB transfer completed, rdb only replica ({}) should be disconnected asap",
                replica.name()
            ));
            let id = replica.id;
            if let Some(gone) = self.replicas.remove(id) {
                turn.warn(format!("Connection with replica {} lost.", gone.name()));
                turn.act(Action::CloseAfterReply(id));
            }
            self.note_alone(turn);
            return;
        }
        replica.stage = stage;
        replica.acked_ms = turn.now_ms;
        turn.notice(format!("Synchronization with replica {} succeeded", replica.name()));
        if matches!(stage, Stage::Online { .. }) {
            turn.act(Action::StreamTo(client));
        }
        self.count_good_replicas(turn.now_ms);
    }

    /// Lets a replica go. `close`: its connection is still open.
    pub(super) fn drop_replica(&mut self, client: ClientId, close: bool, turn: &mut Turn) {
        let Some(replica) = self.replicas.remove(client) else { return };
        self.let_go(&replica, close, turn);
        self.abort_useless_snapshot(turn);
        self.note_alone(turn);
    }

    /// Lets all replicas go: what they follow is no longer what it was called.
    pub(super) fn drop_replicas(&mut self, turn: &mut Turn) {
        for replica in self.replicas.take_all() {
            self.let_go(&replica, true, turn);
        }
        self.abort_useless_snapshot(turn);
        self.note_alone(turn);
    }

    fn let_go(&mut self, replica: &Replica, close: bool, turn: &mut Turn) {
        turn.warn(format!("Connection with replica {} lost.", replica.name()));
        if close {
            turn.act(Action::CloseReplica(replica.id));
        }
        turn.act(Action::AcksMoved);
    }

    fn abort_useless_snapshot(&mut self, turn: &mut Turn) {
        let Some(running) = &self.snapshots.running else { return };
        let id = running.id;
        let is_awaited = self
            .replicas
            .iter()
            .any(|replica| replica.waits_for(id) || running.members.contains(&replica.id));
        if is_awaited || (!running.to_sockets && self.options.save_points) {
            return;
        }
        if running.to_sockets {
            turn.warn("Diskless rdb transfer, last replica dropped, killing fork child.");
        }
        self.snapshots.running = None;
        turn.act(Action::AbortSnapshot(id));
        self.start_pending_snapshot(turn);
    }

    /// Ends the snapshot that is being made: its data is about to be replaced.
    pub(super) fn abort_snapshot(&mut self, turn: &mut Turn) {
        if let Some(running) = self.snapshots.running.take() {
            turn.act(Action::AbortSnapshot(running.id));
        }
    }

    /// Gives the history up: what is here, or what is written to it, is no longer what others know by its name. The offset alone
    /// says nothing then, so a snapshot from before cannot be joined by who comes later.
    pub(super) fn disown_history(&mut self, turn: &mut Turn) {
        self.history.disown(turn.random);
        if let Some(running) = &mut self.snapshots.running {
            running.start = None;
        }
    }

    fn note_alone(&mut self, turn: &mut Turn) {
        if self.replicas.is_empty() {
            self.alone_since_ms = turn.now_ms;
        }
        self.count_good_replicas(turn.now_ms);
        if let Some(backlog) = &mut self.backlog {
            self.has_grown |= backlog.trim(self.replicas.needed_from());
        }
    }
}

fn mark(random: &mut dyn RngCore) -> [u8; 40] {
    *super::ReplicationId::random(random).as_bytes()
}
