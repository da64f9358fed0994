//! Replication, decided: who holds which history, what a replica asks of its primary, what a primary does for its replicas.
//!
//! Nothing here opens a socket, reads a clock or touches a key. [`Replication`] is told what happened ([`Event`]) or asked what a
//! client wants, and leaves in a [`Turn`] what is to be done ([`Action`]); the shell does it. So a simulator can run whole
//! families of servers through lost links, restarts and promotions, from a seed that replays.
//!
//! ```text
//!   this server as a replica                            this server as a primary
//!   link ─▶ handshake ─▶ transfer ─▶ load               REPLCONF, PSYNC ─▶ replicas ─▶ snapshot ─▶ sockets or file
//!                └────▶ stream ─▶ applied ─▶ backlog ◀── append ◀── what the engine wrote
//!                                              └───────▶ replicas, each at its offset
//! ```

mod backlog;
mod cluster;
mod cron;
mod door;
mod driver;
mod failover;
mod handshake;
mod history;
mod ids;
mod limits;
mod offset;
mod options;
mod psync;
mod refusal;
mod replconf;
mod replica;
mod replicas;
mod report;
mod snapshots;
mod spill;
mod stream;
mod transfer;
mod waiters;

#[cfg(test)]
mod simulate;
#[cfg(test)]
mod spill_tests;
#[cfg(test)]
mod tests;

pub use backlog::{BACKLOG_BYTES_MIN, Backlog};
pub use door::{Action, ClientId, Event, Filter, LinkId, LoadBy, SnapshotId, Target, Turn};
pub use driver::Replication;
pub use failover::{FailoverOptions, parse_failover};
pub use handshake::LINE_BYTES_MAX;
pub use history::{History, Mismatch, Older, SavedHistory};
pub use ids::ReplicationId;
pub use limits::Pace;
pub use offset::Offset;
pub use options::{DisklessLoad, Options, OutputLimit};
pub use psync::{Ask, SyncRequest};
pub use refusal::Refusal;
pub use replconf::Replconf;
pub use report::{ReplicaReport, RoleReport};
pub use spill::SpillJob;
pub use stream::{Stream, StreamError};
pub use waiters::Waiters;
