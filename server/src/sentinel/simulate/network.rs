//! Connections between sentinels and what they watch. What is sent on one arrives in its order, if it arrives: it waits
//! while its direction is cut, and while who is to read it stands still.

use std::collections::VecDeque;

use super::super::{ConnId, Reply};

/// Who is at the end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// A sentinel, by its number.
    Sentinel(usize),
    /// A server, by its number.
    Server(usize),
}

/// What travels.
#[derive(Debug, Clone)]
pub enum Packet {
    /// From the sentinel.
    Request(Vec<String>),
    /// To the sentinel.
    Reply(Reply),
    /// The other end is gone.
    End,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Way {
    /// What is on its way, and when it is there.
    pub packets: VecDeque<(i64, Packet)>,
    /// Nothing arrives any more: the packets of this way are lost.
    pub is_lost: bool,
    /// The last of them is not there before.
    pub last: i64,
}

/// A connection that a sentinel has made.
#[derive(Debug)]
pub struct Connection {
    /// The sentinel.
    pub from: usize,
    /// In which of its lives.
    pub life: u32,
    /// What it calls the connection.
    pub id: ConnId,
    /// To whom.
    pub to: Node,
    /// In which of its lives.
    pub to_life: u32,
    /// The other end has taken it.
    pub is_open: bool,
    /// To the other end, and back.
    pub ways: [Way; 2],
    /// Commands between MULTI and EXEC.
    pub queued: Option<Vec<Vec<String>>>,
    /// It listens to hellos.
    pub is_subscribed: bool,
    /// It has ended, at both ends.
    pub is_over: bool,
}

/// To the other end.
pub const THERE: usize = 0;
/// Back to the sentinel.
pub const BACK: usize = 1;
