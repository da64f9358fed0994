//! A Redis-compatible server: one thread owns one keyspace.
//!
//! ```text
//!   socket ─▶ connection ─▶ resp::request ─▶ dispatch ─▶ commands ─▶ keyspace ─▶ types ─▶ encoding
//!   socket ◀─ connection ◀─ client::reply ◀──────────────┘    └─▶ effects ─▶ sinks
//! ```

pub mod acl;
pub mod ahead;
pub mod allocator;
pub mod banner;
pub mod client;
mod client_eviction;
pub mod commands;
pub mod connection;
pub mod cron;
mod disk;
pub mod dispatch;
pub mod embedded;
pub mod encoding;
pub mod engine;
pub mod environment;
pub mod info;
pub mod intake;
pub mod keyspace;
pub mod latency;
pub mod memory;
pub mod migrate;
pub mod oom;
pub mod pause;
pub mod persistence;
pub mod pubsub;
pub mod redact;
pub mod renames;
pub mod replication;
pub mod reserve;
pub mod server;
pub mod settings;
pub mod slowlog;
pub mod supervised;
pub mod text;
pub mod title;
pub mod tracking;
pub mod types;
mod uninit;

/// The version of Redis whose behaviour is followed, as clients see it.
pub const REDIS_VERSION: &str = "7.0.15";
