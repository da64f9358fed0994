//! What clients in WAITAOF wait for, and how far it has come.

use crate::client::reply::Reply;
use crate::persistence::aof::chain::State;
use crate::persistence::logging::Logging;
use crate::replication::{Offset, Replication};

/// What a client waits for.
#[derive(Debug, Clone, Copy)]
pub struct Awaited {
    /// The place of the stream that replicas are to have on their disks.
    pub offset: Offset,
    /// How many of them.
    pub replicas: usize,
    /// The mark of this server's log behind what the client has written.
    pub mark: u64,
    /// Whether it has to be on this server's disk as well.
    pub local: bool,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is on this server's disk.
    pub local: bool,
    /// How many replicas have it on theirs.
    pub replicas: usize,
}

/// The log that was to have it is turned off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoLog;

impl NoLog {
    /// What the client is told.
    pub const TEXT: &str =
        "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
}

impl Standing {
    /// The reply: a pair of numbers.
    pub fn write(self, reply: &mut Reply) {
        reply.array(2);
        reply.integer(i64::from(self.local));
        reply.count(self.replicas);
    }
}

impl Awaited {
    /// How far it has come.
    #[must_use]
    pub fn standing(&self, replication: &Replication, logging: &Logging) -> Standing {
        Standing {
            local: logging.durable().is_some_and(|durable| durable >= self.mark),
            replicas: replication.fsynced(self.offset),
        }
    }

    /// Whether it has come far enough.
    #[must_use]
    pub fn is_reached(&self, standing: Standing) -> bool {
        standing.replicas >= self.replicas && (standing.local || !self.local)
    }

    /// What the client is answered, if it waits no longer.
    #[must_use]
    pub fn outcome(
        &self,
        standing: Standing,
        logging: &Logging,
    ) -> Option<Result<Standing, NoLog>> {
        if self.local && logging.state == State::Off {
            return Some(Err(NoLog));
        }
        self.is_reached(standing).then_some(Ok(standing))
    }
}
