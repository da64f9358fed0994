//! What clients in WAIT and WAITAOF wait for, and how far it has come.

use crate::client::reply::Reply;
use crate::persistence::aof::chain::State;
use crate::persistence::logging::Logging;
use crate::replication::{Offset, Replication};

/// What a client waits for.
#[derive(Debug, Clone, Copy)]
pub struct Awaited {
    /// The place of the stream that replicas are to reach.
    pub offset: Offset,
    /// How many of them.
    pub replicas: i64,
    /// What of it has to be on disks, for WAITAOF; for WAIT it need not.
    pub disks: Option<Disks>,
}

/// What has to be on disks.
#[derive(Debug, Clone, Copy)]
pub struct Disks {
    /// The mark of this server's log behind what the client has written.
    pub mark: u64,
    /// Whether it has to be on this server's disk; the replicas' counts in any case.
    pub local: bool,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is on this server's disk, where that was asked for.
    pub local: Option<bool>,
    /// How many replicas have it.
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
    /// The reply: a number, or a pair of them for WAITAOF.
    pub fn write(self, reply: &mut Reply) {
        if let Some(local) = self.local {
            reply.array(2);
            reply.integer(i64::from(local));
        }
        reply.count(self.replicas);
    }
}

impl Awaited {
    /// How far it has come.
    #[must_use]
    pub fn standing(&self, replication: &Replication, logging: &Logging) -> Standing {
        match self.disks {
            None => Standing { local: None, replicas: replication.acked(self.offset) },
            Some(Disks { mark, .. }) => Standing {
                local: Some(logging.durable().is_some_and(|durable| durable >= mark)),
                replicas: replication.fsynced(self.offset),
            },
        }
    }

    /// Whether it has come far enough.
    #[must_use]
    pub fn is_reached(&self, standing: Standing) -> bool {
        let wants_local = self.disks.is_some_and(|disks| disks.local);
        i64::try_from(standing.replicas).unwrap_or(i64::MAX) >= self.replicas
            && (!wants_local || standing.local == Some(true))
    }

    /// What the client is answered, if it waits no longer.
    #[must_use]
    pub fn outcome(
        &self,
        standing: Standing,
        logging: &Logging,
    ) -> Option<Result<Standing, NoLog>> {
        if self.disks.is_some_and(|disks| disks.local) && logging.state == State::Off {
            return Some(Err(NoLog));
        }
        self.is_reached(standing).then_some(Ok(standing))
    }
}
