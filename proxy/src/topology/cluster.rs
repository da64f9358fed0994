//! The nodes of a Redis Cluster, and which slots lie where.
//!
//! ```text
//!   node ◀── asks ─── shell ◀── actions ── watch ──changes──▶ Directory::change
//!   node ── what it knows ─▶ shell ── events ──▶ watch ◀── what workers were told by MOVED
//! ```
//!
//! [`watch`] decides whom to ask and when, [`settle`] what the answers come to: `facts` of nodes, `slots` of slots. All of them
//! touch nothing. [`shell`] has the
//! sockets and the clock; [`view`] reads replies.

mod facts;
pub mod settle;
pub mod shell;
#[cfg(test)]
mod simulate;
mod slots;
pub mod view;
pub mod watch;

/// The identity of somebody who is asked, in a pool; given once. A node's own identity is in what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(u32);
