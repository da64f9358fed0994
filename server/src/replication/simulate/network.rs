//! Connections that deliver in order and late, or not at all.

use bytes::Bytes;

use super::super::LinkId;

/// One end of a connection: a server in one of its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub node: usize,
    pub life: u32,
}

/// A connection from a replica to its primary.
#[derive(Debug)]
pub struct Connection {
    /// The replica, which has connected, and the primary.
    pub ends: [End; 2],
    pub link: LinkId,
    /// Which ends have closed it.
    pub is_closed: [bool; 2],
    /// Nothing arrives any more, and nobody is told.
    pub is_dead: bool,
    /// When the last piece to each end arrives; the next is not before.
    pub busy_until: [i64; 2],
    /// Bytes of the stream on the way to the replica, and how many may be.
    pub in_flight: usize,
    pub window: usize,
    pub delay_ms: i64,
}

/// The ends, as numbers.
pub const REPLICA: usize = 0;
pub const PRIMARY: usize = 1;

/// What will happen.
#[derive(Debug)]
pub enum Coming {
    Tick { node: usize },
    Connected { connection: usize },
    Refused { node: usize, life: u32, link: LinkId },
    Deliver { connection: usize, to: usize, bytes: Bytes, is_stream: bool },
    Closed { connection: usize, end: usize },
    SnapshotDone { node: usize, life: u32, number: u64 },
    FileSent { connection: usize },
    Loaded { node: usize, life: u32, link: LinkId },
    Write { node: usize },
    Fault,
    Start { node: usize },
    Follow { node: usize, primary: usize },
    AbortFailover { node: usize },
    Spilled { node: usize, life: u32, job: u64, is_well: bool, read: Option<Bytes> },
}
