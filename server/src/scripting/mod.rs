//! Lua: scripts of EVAL and libraries of functions.
//!
//! ```text
//!   EVAL ─▶ eval (cache, compile) ─▶ run ─▶ border ─▶ Lua ─▶ border::command ─▶ run::gates ─▶ dispatch ─▶ handlers
//!   client ◀─ border::result ◀──────────────────────┘    ◀─ border::reply ◀──────────────────────────┘
//! ```
//!
//! One interpreter runs scripts, another functions, as in Redis. Both live as long as the engine, or until they are emptied,
//! and are made on first use ([`sandbox`]). The Lua is 5.1.5 with Redis's read-only tables and the fixes of its faults
//! (`server/lua/README.md`).
//!
//! A script calls commands as the client that has called it: with its user's rights and its place in the world, but with a
//! database, a protocol and a reply of its own ([`run`]). Time stands still for it, nothing waits, and what its commands
//! change leaves as one group. A script that runs long lets others be told so ([`run::Run::interrupt`]).

mod api;
mod border;
pub mod debug;
pub mod eval;
pub mod flags;
pub mod functions;
mod library;
pub mod run;
mod sandbox;
pub mod session;
pub mod state;
