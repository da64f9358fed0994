//! A Redis-compatible server: one thread owns one keyspace.
//!
//! ```text
//!   socket ─▶ connection ─▶ resp::request ─▶ dispatch ─▶ commands ─▶ keyspace ─▶ types ─▶ encoding
//!   socket ◀─ connection ◀─ client::reply ◀──────────────┘    └─▶ effects ─▶ sinks
//! ```

pub mod acl;
pub mod client;
pub mod cluster;
pub mod clustering;
pub mod commands;
pub mod dispatch;
pub mod embedded;
pub mod encoding;
pub mod engine;
pub mod eviction;
pub mod keyspace;
pub mod migrate;
pub mod observe;
pub mod pause;
pub mod persistence;
pub mod process;
pub mod processors;
pub mod pubsub;
pub mod replicating;
pub mod replication;
pub mod saving;
pub mod scripting;
pub mod sentinel;
pub mod server;
pub mod settings;
pub mod text;
pub mod tracking;
pub mod turn;
pub mod types;
mod uninit;

/// The version of Redis whose behaviour is followed, as clients see it.
pub const REDIS_VERSION: &str = "7.0.15";
