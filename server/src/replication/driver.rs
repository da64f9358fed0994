//! Replication as one thing: the role of this server, its history, its backlog, its link and its replicas.

use hashbrown::HashMap;
use rand::RngCore;

use super::backlog::Backlog;
use super::door::{Action, ClientId, Event, Turn};
use super::failover::Failover;
use super::history::{History, SavedHistory};
use super::offset::Offset;
use super::options::Options;
use super::refusal::Refusal;
use super::replica::Upstream;
use super::replicas::{Profile, Replica, Replicas};
use super::snapshots::Snapshots;
use super::spill::Spill;

/// How often full and partial syncs were asked of this server: `sync_full` and so on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyncCounts {
    /// Full syncs.
    pub full: u64,
    /// Partial resyncs.
    pub partial_ok: u64,
    /// Partial resyncs that were not possible.
    pub partial_err: u64,
}

/// Everything that replication knows. See the module.
#[derive(Debug)]
pub struct Replication {
    pub(super) options: Options,
    pub(super) history: History,
    pub(super) backlog: Option<Backlog>,
    pub(super) spill: Spill,
    /// The database that is selected in the stream: what was selected last for the replicas, or, on a replica, by the primary.
    pub(super) stream_db: Option<u32>,
    /// The primary, on a replica.
    pub(super) upstream: Option<Upstream>,
    pub(super) links: u64,
    pub(super) replicas: Replicas,
    /// What clients said by REPLCONF who are not replicas yet.
    pub(super) profiles: HashMap<ClientId, Profile>,
    pub(super) snapshots: Snapshots,
    pub(super) failover: Failover,
    /// Since when nobody follows.
    pub(super) alone_since_ms: i64,
    pub(super) cron_at_ms: i64,
    pub(super) cron_rounds: i64,
    /// A client waits for acknowledgements.
    pub(super) wants_acks: bool,
    /// A block of the backlog was filled: limits are to be looked at.
    pub(super) has_grown: bool,
    pub(super) good_replicas: usize,
    pub(super) counts: SyncCounts,
    /// A failover of the cluster waits for a replica: see [`hold_pings`](Self::hold_pings).
    pub(super) pings_held: bool,
}

impl Replication {
    /// A primary with a history of its own, and nobody who follows.
    pub fn new(options: Options, now_ms: i64, random: &mut dyn RngCore) -> Self {
        Self {
            options,
            history: History::new(random),
            backlog: None,
            spill: Spill::default(),
            stream_db: None,
            upstream: None,
            links: 0,
            replicas: Replicas::default(),
            profiles: HashMap::new(),
            snapshots: Snapshots::default(),
            failover: Failover::None,
            alone_since_ms: now_ms,
            cron_at_ms: now_ms,
            cron_rounds: 0,
            wants_acks: false,
            has_grown: false,
            good_replicas: 0,
            counts: SyncCounts::default(),
            pings_held: false,
        }
    }

    /// At the start, when the settings name a primary: it is reached at the next tick.
    pub fn start_as_replica(&mut self, host: &str, port: u16) {
        self.upstream = Some(Upstream::new(host, port));
        // A round without a primary may just have been made: this one is not waited for.
        self.cron_at_ms = 0;
    }

    /// At the start, when the data was loaded from an RDB file that names its history. On a replica, that history can be
    /// continued. On a primary it is the past of a new one: replicas that have just these bytes can go on. What is written
    /// afterwards (keys that were past their deadline when they were loaded, too) is appended as always.
    pub fn restore(&mut self, saved: SavedHistory, now_ms: i64) {
        self.history.offset = saved.offset;
        if let Some(upstream) = &mut self.upstream {
            self.history.id = saved.id;
            self.history.older = None;
            self.stream_db = Some(saved.db);
            upstream.can_resume = true;
        } else {
            self.history.older = Some(super::history::Older { id: saved.id, until: saved.offset });
            self.backlog = Some(Backlog::new(self.options.backlog_bytes, saved.offset));
            self.alone_since_ms = now_ms;
        }
    }

    /// What an RDB file that is made now says of its history; nothing if its data belongs to none that others could continue.
    #[must_use]
    pub fn saved_history(&self) -> Option<SavedHistory> {
        let is_known = match &self.upstream {
            None => self.backlog.is_some(),
            Some(upstream) => upstream.can_resume || upstream.is_streaming_with_offsets(),
        };
        is_known.then(|| SavedHistory {
            id: self.history.id,
            offset: self.history.offset,
            db: self.stream_db.unwrap_or(0),
        })
    }

    /// The settings changed.
    pub fn set_options(&mut self, options: Options, now_ms: i64) {
        if let Some(backlog) = &mut self.backlog {
            backlog.resize(options.backlog_bytes);
            backlog.trim(self.replicas.needed_from());
        }
        self.options = options;
        self.count_good_replicas(now_ms);
    }

    /// The settings as they are known here.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What happened.
    pub fn handle(&mut self, event: Event, turn: &mut Turn) {
        match event {
            Event::Connected(link) => self.connected(link, turn),
            Event::ConnectFailed(link, reason) => self.connect_failed(link, reason, turn),
            Event::Received(link, bytes) => self.received(link, bytes, turn),
            Event::LinkClosed(link, reason) => self.link_closed(link, reason, turn),
            Event::Loaded(link, db) => self.loaded(link, db, turn),
            Event::LoadFailed(link, reason) => self.load_failed(link, reason, turn),
            Event::SnapshotStarted(id) => self.snapshot_started(id, turn),
            Event::SnapshotRefused(id) => self.snapshot_refused(id, turn),
            Event::SnapshotDone(id) => self.snapshot_done(id, turn),
            Event::SnapshotFailed(id) => self.snapshot_failed(id, turn),
            Event::FileSent(client) => self.file_sent(client, turn),
            Event::Spilled(job) => self.spilled(job, turn),
            Event::SpillFailed(job, reason) => self.spill_failed(job, reason, turn),
            Event::ReadBack(job, bytes) => self.read_back(job, bytes, turn),
            Event::ReadBackFailed(job, reason) => self.read_back_failed(job, reason, turn),
            Event::ClientClosed(client) => {
                self.profiles.remove(&client);
                self.drop_replica(client, false, turn);
            }
            Event::Tick => self.tick(turn),
            Event::EndOfTurn => {
                self.send_durable_ack(turn);
                self.end_of_turn(turn);
            }
        }
    }

    /// DEBUG CHANGE-REPL-ID: the history goes on under a name that nobody knows.
    pub fn change_id(&mut self, turn: &mut Turn) {
        self.disown_history(turn);
    }

    /// Whether this server is a replica.
    #[must_use]
    pub fn is_replica(&self) -> bool {
        self.upstream.is_some()
    }

    /// Where the primary is, of a replica.
    #[must_use]
    pub fn primary_address(&self) -> Option<(&str, u16)> {
        self.upstream.as_ref().map(|upstream| (upstream.host.as_str(), upstream.port))
    }

    /// Whether the link to the primary is up: `master_link_status`.
    #[must_use]
    pub fn is_link_up(&self) -> bool {
        self.upstream.as_ref().is_some_and(|upstream| upstream.is_streaming())
    }

    /// Whether the client is a replica, in any stage.
    #[must_use]
    pub fn is_replica_client(&self, client: ClientId) -> bool {
        self.replicas.get(client).is_some()
    }

    /// How often syncs were asked for.
    #[must_use]
    pub fn counts(&self) -> SyncCounts {
        self.counts
    }

    /// CONFIG RESETSTAT.
    pub fn reset_counts(&mut self) {
        self.counts = SyncCounts::default();
    }

    /// For how long nothing has come by the stream of the primary, if it runs, in milliseconds.
    #[must_use]
    pub fn stream_silent_ms(&self, now_ms: i64) -> Option<i64> {
        match &self.upstream.as_ref()?.link {
            super::replica::Link::Streaming(state) => Some(now_ms - state.heard_ms),
            _ => None,
        }
    }

    /// The history of the data.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The backlog, if there is one.
    #[must_use]
    pub fn backlog(&self) -> Option<&Backlog> {
        self.backlog.as_ref()
    }

    /// Takes what the engine wrote to this database, as requests. On a replica, and as long as nobody has ever followed, it is
    /// not kept.
    pub fn append(&mut self, db: u32, bytes: &[u8]) {
        if self.upstream.is_some() || self.backlog.is_none() {
            return;
        }
        if self.stream_db != Some(db) {
            self.stream_db = Some(db);
            let mut digits = itoa::Buffer::new();
            let select = super::handshake::command(&[b"SELECT", digits.format(db).as_bytes()]);
            self.push(&select);
        }
        self.push(bytes);
    }

    /// Takes what the primary's stream has done here, byte for byte; `db` is what is selected in it now.
    pub fn applied(&mut self, bytes: &[u8], db: u32) {
        if let Some(unread) = self.upstream.as_mut().and_then(Upstream::unapplied_mut) {
            *unread = unread.saturating_sub(bytes.len() as u64);
            self.stream_db = Some(db);
            self.push(bytes);
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let Some(backlog) = &mut self.backlog else { return };
        self.history.offset = self.history.offset.plus(bytes.len());
        if backlog.append(bytes) {
            self.has_grown = true;
            backlog.trim(self.replicas.needed_from());
        }
    }

    /// The bytes of the stream that a replica has not been sent, in order, as far as they are at hand and lie before `limit`.
    /// Nothing as long as it may not be sent any.
    pub fn pending(&self, client: ClientId, limit: Offset) -> impl Iterator<Item = &[u8]> {
        let next = self.replicas.get(client).and_then(Replica::reads_at);
        let mut left = next.map_or(0, |next| limit.since(next));
        let slices = next.zip(self.backlog.as_ref()).map(|(next, backlog)| backlog.slices(next));
        slices.into_iter().flatten().map_while(move |slice| {
            let part = &slice[..slice.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
            left -= part.len() as u64;
            (!part.is_empty()).then_some(part)
        })
    }

    /// Whether a replica that may be sent the stream has not been sent all of it.
    #[must_use]
    pub fn is_behind(&self, client: ClientId) -> bool {
        let next = self.replicas.get(client).and_then(Replica::reads_at);
        next.is_some_and(|next| next < self.history.offset)
    }

    /// So many of them were written to its socket. Zero says that the socket takes none.
    pub fn sent(&mut self, client: ClientId, bytes: usize, now_ms: i64) {
        let end = self.history.offset;
        let Some(replica) = self.replicas.get_mut(client) else { return };
        if let super::replicas::Stage::Online { next } = &mut replica.stage {
            *next = next.plus(bytes).min(end);
            let is_stuck = bytes == 0 && *next < end;
            replica.stuck_since_ms =
                if is_stuck { replica.stuck_since_ms.or(Some(now_ms)) } else { None };
        }
    }

    /// The socket of a replica would take more, were there any.
    pub fn would_take_more(&mut self, client: ClientId) {
        if let Some(replica) = self.replicas.get_mut(client) {
            replica.stuck_since_ms = None;
        }
    }

    /// REPLICAOF NO ONE. `by` is the client's line of CLIENT LIST.
    pub fn replicaof_no_one(&mut self, by: &str, turn: &mut Turn) -> Result<(), Refusal> {
        if self.failover.is_under_way() {
            return Err(Refusal::REPLICAOF_FAILING_OVER);
        }
        if self.upstream.is_some() {
            self.become_primary(turn);
            turn.notice(format!("MASTER MODE enabled (user request from '{by}')"));
        }
        Ok(())
    }

    /// REPLICAOF of a host and a port. False if that is the primary already, which is answered
    /// `+OK Already connected to specified master`.
    pub fn replicaof(
        &mut self,
        client: ClientId,
        host: &str,
        port: &[u8],
        by: &str,
        turn: &mut Turn,
    ) -> Result<bool, Refusal> {
        if self.failover.is_under_way() {
            return Err(Refusal::REPLICAOF_FAILING_OVER);
        }
        if self.is_replica_client(client) {
            return Err(Refusal::REPLICAOF_BY_REPLICA);
        }
        let port = redstart_common::number::parse_i64(port)
            .and_then(|port| u16::try_from(port).ok())
            .ok_or(Refusal::InvalidPort)?;
        let same = self.upstream.as_ref().is_some_and(|upstream| {
            upstream.host.eq_ignore_ascii_case(host) && upstream.port == port
        });
        if same {
            turn.notice(
                "REPLICAOF would result into synchronization with the master we are already connected with. No operation performed.",
            );
            return Ok(false);
        }
        self.follow(host, port, turn);
        turn.notice(format!("REPLICAOF {host}:{port} enabled (user request from '{by}')"));
        Ok(true)
    }

    /// How many replicas have acknowledged this offset; and asks the others, if those are fewer than wanted. WAIT begins with
    /// it.
    pub fn wait(&mut self, offset: Offset, wanted: i64) -> Result<usize, Refusal> {
        if self.upstream.is_some() {
            return Err(Refusal::WAIT_ON_REPLICA);
        }
        let acked = self.replicas.acked(offset);
        self.wants_acks |= (acked as i64) < wanted;
        Ok(acked)
    }

    /// The same for WAITAOF: how many have the stream on their disk up to this offset.
    pub fn wait_for_disks(&mut self, offset: Offset, wanted: usize) -> Result<usize, Refusal> {
        if self.upstream.is_some() {
            return Err(Refusal::WAITAOF_ON_REPLICA);
        }
        let fsynced = self.replicas.fsynced(offset);
        self.wants_acks |= fsynced < wanted;
        Ok(fsynced)
    }

    /// Asks all replicas at once what they have applied.
    pub fn ask_for_acks(&mut self) {
        if self.upstream.is_none() && !self.replicas.is_empty() {
            self.push(&super::handshake::command(&[b"REPLCONF", b"GETACK", b"*"]));
        }
    }

    /// What those who follow have acknowledged, the most first.
    #[must_use]
    pub fn acks(&self) -> Vec<Offset> {
        self.replicas.acks()
    }

    /// How many replicas have acknowledged this offset.
    #[must_use]
    pub fn acked(&self, offset: Offset) -> usize {
        self.replicas.acked(offset)
    }

    /// How many replicas have the stream on their disk up to this offset.
    #[must_use]
    pub fn fsynced(&self, offset: Offset) -> usize {
        self.replicas.fsynced(offset)
    }

    /// Whether enough replicas follow closely that writes of clients are taken: `min-replicas-to-write`.
    #[must_use]
    pub fn has_enough_replicas(&self) -> bool {
        let Options { min_replicas_to_write, min_replicas_max_lag_s, .. } = self.options;
        self.upstream.is_some()
            || min_replicas_to_write == 0
            || min_replicas_max_lag_s == 0
            || self.good_replicas >= min_replicas_to_write
    }

    pub(super) fn count_good_replicas(&mut self, now_ms: i64) {
        self.good_replicas = self.replicas.good(now_ms, self.options.min_replicas_max_lag_s);
    }

    /// From a replica to a primary.
    pub(super) fn become_primary(&mut self, turn: &mut Turn) {
        if self.upstream.is_none() {
            return;
        }
        self.leave_link(turn);
        self.forget_resume(turn);
        self.upstream = None;
        let (id, until) = (self.history.id, self.history.offset.next_byte());
        self.history.fork(turn.random);
        turn.warn(format!(
            "Setting secondary replication ID to {id}, valid up to offset: {until}. New replication ID is {}",
            self.history.id
        ));
        // They come back at once and continue, under the new name.
        self.drop_replicas(turn);
        // Whoever continues may have selected anything.
        self.stream_db = None;
        // The time that the backlog is kept begins now, or it would be gone before the replicas come.
        self.alone_since_ms = turn.now_ms;
        turn.act(Action::BecamePrimary);
    }
}
