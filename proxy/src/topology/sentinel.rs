//! Groups whose primaries are told by sentinels.
//!
//! ```text
//!   sentinel ◀── asks ─── shell ◀── actions ── watch ──changes──▶ Directory::change
//!   sentinel ── replies, published events ─▶ shell ── events ──▶ watch
//! ```
//!
//! [`watch`] decides and touches nothing; [`shell`] has the sockets and the clock; [`answer`] reads replies.

pub mod answer;
pub mod shell;
#[cfg(test)]
mod simulate;
pub mod watch;

/// A sentinel's identity in a pool; given once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SentinelId(u32);
