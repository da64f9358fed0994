//! What a command is before it runs: one row for each of Redis 7.0.15's commands and sub-commands, and for
//! some that came later.
//!
//! - `spec` says what a row holds, and the files named after Redis's groups hold the rows, `newer` those of later
//!   versions;
//! - [`lookup`] finds the row of a request, by name and sub-command;
//! - [`keys`] finds the keys (and channels) among a request's arguments;
//! - [`reply`] prints rows as `COMMAND` and its sub-commands do.
//!
//! The server hangs its handlers on [`CommandId`]s, the proxy routes by the rows' key specs and tips. A row says
//! nothing of whether it is implemented.

mod bits;
pub mod keys;
pub mod lookup;
pub mod reply;
pub mod spec;

mod bitmap;
mod cluster;
mod connection;
mod generic;
mod geo;
mod hash;
mod hyperloglog;
mod list;
mod newer;
mod pubsub;
mod scripting;
mod sentinel;
mod server;
mod set;
mod sorted_set;
mod stream;
mod string;
mod transactions;

pub use lookup::{
    CommandId, Mode, Resolved, all, commands, count, id_of, lookup, lookup_full_name, lookup_in,
    lookup_sub, resolve, resolve_in, spec,
};
pub use spec::CommandSpec;
