//! What the engine asks of the process around it. The shell carries it out at the end of the turn.

use crate::cluster;
use crate::replication::Action;
use crate::sentinel;

/// One wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A waiter's deadline may be nearer than the next look.
    LookAtDeadlines,
    /// Keys have to be evicted though nobody asks for anything.
    GoOnEvicting,
    /// The save that is under way goes on.
    GoOnSaving,
    /// The data is loaded again, and this client is told when that is done (DEBUG RELOAD, DEBUG LOADAOF).
    Reload {
        /// The client's id.
        client: u64,
        /// From where.
        source: Source,
    },
    /// Something of replication that concerns sockets or files.
    Replication(Action),
    /// Something of the cluster that concerns sockets.
    Bus(cluster::Action),
    /// A link to the node that slots go to as one step.
    SlotLink {
        /// The move.
        name: cluster::Name,
        /// The node's address.
        ip: String,
        /// Its port for clients.
        port: u16,
    },
    /// That link is of no use any more.
    CloseSlotLink(cluster::Name),
    /// The snapshot of a move has begun: its pieces are to be sent.
    SlotChunks(cluster::Name),
    /// Keys of slots that have left have yet to be removed.
    GoOnEmptying,
    /// A snapshot goes to replicas while it is made: see [`Replicating::relays`](crate::replicating::Replicating).
    Relay,
    /// Something of Sentinel that concerns sockets, names or scripts.
    Sentinel(sentinel::Action),
    /// A primary is to be watched whose name has to be looked up first; the client waits for the answer.
    Monitor {
        /// The client's id.
        client: u64,
        /// What is to be watched.
        wanted: sentinel::Wanted,
    },
    /// The server ends.
    Stop,
}

/// Where the data is loaded from again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The dump.
    Dump {
        /// Keys that are there already are replaced; otherwise that is an error.
        replaces: bool,
    },
    /// The append-only file.
    Log,
}
