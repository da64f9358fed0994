//! What a client waits for.

use redstart_common::command::CommandId;
use redstart_common::resp::OwnedArgs;

use crate::types::Kind;

/// What a waiter is told when its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nothing {
    /// `$-1` or `_`.
    Null,
    /// `*-1` or `_`.
    NullArray,
    /// Null where it may not wait, a null array when its time is over: the moves between lists.
    Moved,
    /// How many replicas have acknowledged this offset by then.
    Acked(i64),
    /// Which disks have by then what it waits for.
    OnDisks,
    /// The end of the server is waited for: nothing, or an error when it does not come.
    Ended,
}

/// What a client waits for.
pub struct Blocked {
    /// Keys must hold this to be of use.
    pub kind: Kind,
    /// The database.
    pub db: usize,
    /// Any of these will do.
    pub keys: Vec<Box<[u8]>>,
    /// When it gives up, in milliseconds since 1970.
    pub deadline_ms: Option<i64>,
    /// What it is told then.
    pub nothing: Nothing,
    /// The command to run again.
    pub command: CommandId,
    /// Its arguments.
    pub args: OwnedArgs,
    /// Its place among those who wait: a number that grows.
    pub place: u64,
}
