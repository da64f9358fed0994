//! The words in which the cluster and the server talk: news come in as events and requests, wishes go out as actions.
//!
//! Actions are carried out in order. What is to be sent lies with its link ([`Cluster::output`](super::Cluster::output)) and
//! leaves only at the end of a turn, when what was to be saved is on the disk: no vote is cast and no epoch shown that a restart
//! could forget.

use bytes::Bytes;
use rand::RngCore;
use redstart_common::log::Level;

use super::moves::Act;
use super::node::LinkId;

/// What happened outside. Requests of operators come by methods of their own, because they are answered at once.
#[derive(Debug)]
pub enum Event<'a> {
    /// A node has connected to this server. The link's number is [`Cluster::new_link`](super::Cluster::new_link)'s.
    Accepted {
        /// The connection.
        link: LinkId,
        /// Where it comes from.
        peer_ip: String,
        /// The address of this server that it came to.
        local_ip: String,
    },
    /// A link that was asked for stands.
    Connected {
        /// The connection.
        link: LinkId,
        /// Where it leads to.
        peer_ip: String,
        /// The address of this server's end.
        local_ip: String,
    },
    /// A link could not be made, was closed by the other side, or broke; the reason is what the operating system says.
    Closed(LinkId, &'a str),
    /// Bytes came.
    Received(LinkId, &'a [u8]),
    /// A tenth of a second has passed.
    Tick,
    /// The turn is over, and what was put off until then is due.
    EndOfTurn,
}

/// What the server is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Connect to a node, without waiting.
    Connect {
        /// The number of the link.
        link: LinkId,
        /// The address.
        ip: String,
        /// The port of the bus.
        port: u16,
    },
    /// Close a link at once. Nothing is told about it any more.
    Close(LinkId),
    /// Write nodes.conf now, or end.
    Save {
        /// And wait until it is on the disk.
        synced: bool,
    },
    /// Replicate the node at this address from now on.
    Follow {
        /// The address.
        ip: String,
        /// The port for clients.
        port: u16,
    },
    /// Replicate nobody: this server is a primary now.
    Lead,
    /// Remove all data.
    EmptyData,
    /// Writes of clients wait for so long, or until [`Action::ResumeWrites`].
    PauseWrites {
        /// In milliseconds.
        for_ms: i64,
    },
    /// They go on.
    ResumeWrites,
    /// The keys of this slot are another node's: remove them here.
    DeleteSlot(u16),
    /// What was published on another node.
    Publish {
        /// The channel.
        channel: Bytes,
        /// The message.
        message: Bytes,
        /// Whether it is for the shard only.
        sharded: bool,
    },
    /// Something for slots that go to another node as one step.
    Move(Act),
    /// A line for the log.
    Log(Level, String),
}

/// What a step is given, and where it leaves what is to be done.
pub struct Turn<'a> {
    /// The time, in milliseconds. It began as the wall clock's at the start, and never goes back or jumps.
    pub now_ms: i64,
    /// How far the wall clock is ahead of it. Only what other nodes and operators are shown goes by the wall clock.
    pub wall_ahead_ms: i64,
    /// Where this server is in its stream: what it has written as a primary, or processed as a replica.
    pub offset: i64,
    /// How old a replica's data may be, in milliseconds: since when its primary has said nothing.
    pub data_age_ms: i64,
    /// Whether this server follows anybody.
    pub follows: bool,
    /// Chance.
    pub random: &'a mut dyn RngCore,
    /// What is to be done, in order.
    pub actions: &'a mut Vec<Action>,
}

impl Turn<'_> {
    pub(super) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(super) fn log(&mut self, level: Level, text: impl Into<String>) {
        self.actions.push(Action::Log(level, text.into()));
    }

    pub(super) fn warn(&mut self, text: impl Into<String>) {
        self.log(Level::Warning, text);
    }

    pub(super) fn notice(&mut self, text: impl Into<String>) {
        self.log(Level::Notice, text);
    }

    pub(super) fn verbose(&mut self, text: impl Into<String>) {
        self.log(Level::Verbose, text);
    }
}
