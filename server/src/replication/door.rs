//! The words in which replication and the shell talk: news come in as events, wishes go out as actions.
//!
//! Actions are carried out in order, before anything else happens to the data. Links and snapshots have numbers that are
//! never used twice, so news of one that is given up are known as late, and ignored.

use bytes::Bytes;
use rand::RngCore;
use redstart_common::log::Level;

use super::offset::Offset;

/// A try to reach the primary, and the connection that came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// The client whose connection a replica uses: its id.
pub type ClientId = u64;

/// A snapshot that is made for replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotId(pub u64);

/// What a snapshot holds: all, or what `REPLCONF rdb-filter-only` leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Filter {
    /// Without keys.
    pub no_data: bool,
    /// Without libraries of functions.
    pub no_functions: bool,
}

impl Filter {
    /// Whether something is left out.
    #[must_use]
    pub fn leaves_out(self) -> bool {
        self.no_data || self.no_functions
    }
}

/// Where a snapshot goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To these replicas while it is made, as `$EOF:<mark>\r\n`, the RDB, and the mark again.
    Sockets {
        /// 40 characters by chance.
        mark: [u8; 40],
        /// Who gets it.
        replicas: Vec<ClientId>,
    },
    /// Into a file, which is sent when it is complete.
    File,
}

/// What becomes of a snapshot that the primary sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadBy {
    /// It is kept in a file, and loaded when it is complete.
    File,
    /// It is loaded as it comes, into the databases, which are empty.
    Parser,
    /// It is loaded as it comes, into new databases. The old ones answer reads meanwhile if they are an earlier state of the
    /// same data.
    NewDatabases {
        /// Whether they are.
        serve_old: bool,
    },
}

/// What happened outside. Requests of clients come by methods of their own, because they are answered at once.
#[derive(Debug)]
pub enum Event<'a> {
    /// The link to the primary stands.
    Connected(LinkId),
    /// It could not be made. The reason is what the operating system says.
    ConnectFailed(LinkId, &'a str),
    /// The primary sent these bytes.
    Received(LinkId, Bytes),
    /// The link is closed. The reason is what the operating system says, or `connection lost`.
    LinkClosed(LinkId, &'a str),
    /// The primary's snapshot is loaded; the number is its `repl-stream-db`, or 0.
    Loaded(LinkId, u32),
    /// It could not be stored or loaded.
    LoadFailed(LinkId, &'a str),
    /// The snapshot begins with the data as it is at this moment.
    SnapshotStarted(SnapshotId),
    /// It could not be begun.
    SnapshotRefused(SnapshotId),
    /// It is complete: in the sockets' output, or in the file.
    SnapshotDone(SnapshotId),
    /// It failed; the reason is what the operating system says.
    SnapshotFailed(SnapshotId),
    /// The file has been sent to the replica.
    FileSent(ClientId),
    /// [`SpillJob::Write`](super::SpillJob) is done.
    Spilled(u64),
    /// It could not be done; the reason is what the operating system says.
    SpillFailed(u64, &'a str),
    /// [`SpillJob::Read`](super::SpillJob) is done.
    ReadBack(u64, Bytes),
    /// It could not be done; the reason is what the operating system says.
    ReadBackFailed(u64, &'a str),
    /// A replica's connection, or one that sent REPLCONF, is closed.
    ClientClosed(ClientId),
    /// Time has passed. At least ten times a second.
    Tick,
    /// A turn is over, and what it wrote is appended.
    EndOfTurn,
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Connect to the primary, without waiting.
    Connect {
        /// Its number in what is told about it.
        link: LinkId,
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
    },
    /// Close the link, and forget what came by it and is not applied: incomplete requests, an open MULTI, the file of a
    /// snapshot that is not loaded. A load that is under way ends.
    CloseLink(LinkId),
    /// Send to the primary.
    SendPrimary(LinkId, Bytes),
    /// A snapshot is about to come.
    Receive {
        /// By which link.
        link: LinkId,
        /// Its bytes, if the primary said so.
        size: Option<u64>,
        /// What becomes of it.
        by: LoadBy,
    },
    /// The next bytes of it.
    SnapshotBytes(LinkId, Bytes),
    /// It is complete. Load it, or finish loading it, and say [`Event::Loaded`] or [`Event::LoadFailed`]. Nothing is read
    /// from the link meanwhile.
    Load(LinkId),
    /// Remove all data: a snapshot is about to take its place, or could not. Saving and the log stop before; the log is begun
    /// again after [`Action::Synced`].
    EmptyData,
    /// The new databases take the place of the old ones.
    SwapDatabases,
    /// What was loaded into new databases is given up.
    DropNewDatabases,
    /// A full sync is complete.
    Synced,
    /// The stream goes on, or begins, by this link. The database is the one that is selected in it.
    Stream(LinkId, u32),
    /// These bytes of the stream came; see [`Stream`](super::stream::Stream).
    Execute(LinkId, Bytes),
    /// Send to a replica, before anything of the stream.
    SendReplica(ClientId, Bytes),
    /// The replica may now be sent the stream: see [`pending`](super::Replication::pending).
    StreamTo(ClientId),
    /// Close the connection of a replica at once.
    CloseReplica(ClientId),
    /// Close it when what was sent to it is gone.
    CloseAfterReply(ClientId),
    /// Begin a snapshot now, and say [`Event::SnapshotStarted`] or [`Event::SnapshotRefused`] before any other write.
    StartSnapshot {
        /// Its number in what is told about it.
        snapshot: SnapshotId,
        /// Where it goes.
        target: Target,
        /// What it leaves out.
        filter: Filter,
    },
    /// Nobody waits for the snapshot any more.
    AbortSnapshot(SnapshotId),
    /// Send `$<bytes>\r\n` and the snapshot's file, then say [`Event::FileSent`].
    SendFile(ClientId, SnapshotId),
    /// Replicas have acknowledged more, or are gone: clients in WAIT may be served.
    AcksMoved,
    /// This server is now a replica: blocked clients are sent away, the log's role changes.
    BecameReplica,
    /// This server is now a primary. A log that stopped for a sync is begun again.
    BecamePrimary,
    /// Writes of clients wait until [`Action::ResumeWrites`]: CLIENT PAUSE WRITE without end.
    PauseWrites,
    /// They go on.
    ResumeWrites,
    /// A line for the log.
    Log(Level, String),
}

/// What a step is given, and where it leaves what is to be done.
pub struct Turn<'a> {
    /// The time, in milliseconds from any fixed moment; it never goes back.
    pub now_ms: i64,
    /// Whether all databases are empty.
    pub data_is_empty: bool,
    /// Whether clients are paused.
    pub is_paused: bool,
    /// The place up to which the stream is on this server's disk, where it keeps a log of it that would do alone.
    pub durable: Option<Offset>,
    /// Chance.
    pub random: &'a mut dyn RngCore,
    /// What is to be done, in order.
    pub actions: &'a mut Vec<Action>,
}

impl Turn<'_> {
    pub(super) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(super) fn notice(&mut self, text: impl Into<String>) {
        self.actions.push(Action::Log(Level::Notice, text.into()));
    }

    pub(super) fn warn(&mut self, text: impl Into<String>) {
        self.actions.push(Action::Log(Level::Warning, text.into()));
    }

    pub(super) fn verbose(&mut self, text: impl Into<String>) {
        self.actions.push(Action::Log(Level::Verbose, text.into()));
    }

    /// Whole seconds since a moment, as Redis counts them: the difference of two clocks that show seconds.
    pub(super) fn seconds_since(&self, moment_ms: i64) -> i64 {
        seconds_between(moment_ms, self.now_ms)
    }
}

/// Whole seconds between two moments, as Redis counts them.
pub(super) fn seconds_between(from_ms: i64, to_ms: i64) -> i64 {
    to_ms.div_euclid(1000) - from_ms.div_euclid(1000)
}
