//! The append-only file: a base, which holds the data as it was, and increments, which hold the writes since, with a
//! manifest that says which files count.
//!
//! ```text
//!   writes of a turn ─▶ encode ─▶ log ─▶ one write ─▶ sync (a thread) ─▶ replies may leave
//!                                  └─ flush: what to do after which result, decided without a disk
//!   manifest ─▶ chain: which file is opened, renamed, retired ─▶ folder
//!   folder ─▶ load ─▶ scan ─▶ commands for the engine
//! ```
//!
//! Files are those of Redis 7.0.15, byte for byte. What walks the data for a base, runs commands and answers clients is
//! the engine's; the RDB part of a file is read and written by its own room.

pub mod chain;
pub mod check;
pub mod commands;
pub mod encode;
pub mod flush;
pub mod growth;
pub mod load;
pub mod log;
pub mod manifest;
pub mod scan;
mod stream;
pub mod sync;

#[cfg(test)]
mod faulty;
