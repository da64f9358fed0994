//! What the engine asks of the process around it. The shell carries it out at the end of the turn.

use crate::replication::Action;

/// One wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A waiter's deadline may be nearer than the next look.
    LookAtDeadlines,
    /// Keys have to be evicted though nobody asks for anything.
    GoOnEvicting,
    /// The save that is under way goes on.
    GoOnSaving,
    /// Something of replication that concerns sockets or files.
    Replication(Action),
    /// A snapshot goes to replicas while it is made: see [`Replicating::relays`](crate::replicating::Replicating).
    Relay,
    /// The server ends.
    Stop,
}
