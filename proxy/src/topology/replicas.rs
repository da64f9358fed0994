//! How far behind the replicas of a pool are, and how near each server is: asked of the servers themselves, where reads may
//! go to replicas.
//!
//! [`watch`] decides and touches nothing; [`shell`] has the sockets and the clock; [`facts`] reads what INFO says.

pub mod facts;
pub mod shell;
pub mod watch;
