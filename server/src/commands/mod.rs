//! Syntax: each command reads its arguments, touches the keyspace and answers. One file for each of Redis's groups;
//! what values mean is in [`crate::types`].

mod acl;
pub mod client;
mod command;
mod config;
mod connection;
mod debug;
mod dump;
mod expiry;
mod generic;
mod hash;
mod info;
mod keys;
mod latency;
mod lcs;
mod list;
mod lolwut;
mod memory;
mod migrate;
mod options;
mod pubsub;
mod server;
mod set;
mod sort;
mod string;
mod tracking;
mod transactions;
mod zset;

use redstart_common::number;

use crate::dispatch::Handler;
use crate::dispatch::error::{CommandError, NOT_A_FLOAT};
use redstart_common::resp::error;

/// A group's handlers, by the full names of their rows.
pub(crate) type Handlers = &'static [(&'static str, Handler)];

/// All handlers.
pub(crate) const GROUPS: &[Handlers] = &[
    acl::HANDLERS,
    client::HANDLERS,
    command::HANDLERS,
    config::HANDLERS,
    connection::HANDLERS,
    debug::HANDLERS,
    dump::HANDLERS,
    generic::HANDLERS,
    hash::HANDLERS,
    keys::HANDLERS,
    latency::HANDLERS,
    list::HANDLERS,
    lolwut::HANDLERS,
    memory::HANDLERS,
    migrate::HANDLERS,
    pubsub::HANDLERS,
    server::HANDLERS,
    set::HANDLERS,
    sort::HANDLERS,
    string::HANDLERS,
    tracking::HANDLERS,
    transactions::HANDLERS,
    zset::HANDLERS,
];

/// Adds two numbers as Redis does on x86: in 80-bit floats, printed with 17 decimals and no trailing zeros.
///
/// # Errors
/// `not_a_number` when the first is none; the usual text when the second is none, or the sum is NaN or infinite.
pub(crate) fn add_long_double(
    old: &[u8],
    amount: &[u8],
    not_a_number: CommandError,
) -> Result<String, CommandError> {
    let old = number::LongDouble::parse(old).ok_or(not_a_number)?;
    let amount = number::LongDouble::parse(amount).ok_or(NOT_A_FLOAT)?;
    old.plus(amount).to_human().ok_or(CommandError::new(error::INCREMENT_NOT_FINITE))
}

/// `count` different places below `length`, ascending: a fair choice of a part.
pub(crate) fn choose_some(count: usize, length: usize) -> Vec<usize> {
    use rand::seq::index;
    let mut chosen = index::sample(&mut rand::rng(), length, count).into_vec();
    chosen.sort_unstable();
    chosen
}
