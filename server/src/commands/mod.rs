//! Syntax: each command reads its arguments, touches the keyspace and answers. One file for each of Redis's groups;
//! what values mean is in [`crate::types`].

mod acl;
mod bitmap;
mod bloom;
pub mod client;
mod cluster;
mod command;
mod command_log;
mod config;
mod connection;
mod debug;
mod dump;
mod expiry;
mod generic;
mod geo;
mod hash;
mod hyperloglog;
mod info;
mod keys;
mod latency;
mod lcs;
mod list;
mod lolwut;
mod memory;
mod migrate;
mod module;
mod options;
mod persistence;
mod pubsub;
mod replication;
mod scripting;
mod sentinel;
mod server;
mod set;
mod slots;
mod sort;
mod stream;
mod string;
mod tracking;
mod transactions;
mod zset;

use std::sync::OnceLock;

use redstart_common::command::{Mode, count as rows, lookup_full_name};
use redstart_common::number;

use crate::engine::{self, Call, Handler};
use crate::engine::{CommandError, NOT_A_FLOAT};
use crate::keyspace::Deadline;
use crate::settings::notify::Classes;
use crate::types::Object;
use redstart_common::resp::error;

/// A group's handlers, by the full names of their rows.
pub(crate) type Handlers = &'static [(&'static str, Handler)];

/// All handlers.
pub(crate) const GROUPS: &[Handlers] = &[
    acl::HANDLERS,
    bitmap::HANDLERS,
    bloom::HANDLERS,
    client::HANDLERS,
    cluster::HANDLERS,
    slots::HANDLERS,
    command::HANDLERS,
    command_log::HANDLERS,
    config::HANDLERS,
    connection::HANDLERS,
    debug::HANDLERS,
    dump::HANDLERS,
    generic::HANDLERS,
    geo::HANDLERS,
    hash::HANDLERS,
    hash::deadlines::HANDLERS,
    hyperloglog::HANDLERS,
    keys::HANDLERS,
    latency::HANDLERS,
    list::HANDLERS,
    list::many::HANDLERS,
    lolwut::HANDLERS,
    memory::HANDLERS,
    migrate::HANDLERS,
    module::HANDLERS,
    persistence::HANDLERS,
    pubsub::HANDLERS,
    replication::HANDLERS,
    scripting::HANDLERS,
    sentinel::HANDLERS,
    server::HANDLERS,
    set::HANDLERS,
    sort::HANDLERS,
    stream::HANDLERS,
    string::HANDLERS,
    string::conditional::HANDLERS,
    string::increx::HANDLERS,
    tracking::HANDLERS,
    transactions::HANDLERS,
    zset::HANDLERS,
];

/// The command by which a removal is repeated.
pub(crate) fn removal_word(lazily: bool) -> &'static [u8] {
    if lazily { b"UNLINK" } else { b"DEL" }
}

/// How it is told that elements were taken out of a collection.
#[derive(Clone, Copy)]
pub(crate) struct Removal {
    /// The class of the event.
    pub class: Classes,
    /// The event.
    pub event: &'static str,
    /// Whether watchers and trackers of the key hear of it only after the events, as with most list commands.
    pub watchers_last: bool,
}

/// What follows when a command has taken elements out of the collection at `key`: an empty one goes, who watches or
/// tracks the key is told, the event is published, and `del` behind it for a key that went.
pub(crate) fn after_removal(
    call: &mut Call<'_>,
    key: &[u8],
    removal: Removal,
    empty: bool,
    changes: usize,
) {
    if empty {
        call.db().remove(key);
    }
    if !removal.watchers_last {
        call.modified(key);
    }
    call.notify(removal.class, removal.event, key);
    if empty {
        call.removed(key);
    }
    if removal.watchers_last {
        call.modified(key);
    }
    call.dirty(changes as u64);
}

/// Puts a result where a command with a destination wants it, which counts as `changes`; an empty one removes what
/// is there.
pub(crate) fn store_result(
    call: &mut Call<'_>,
    target: &[u8],
    result: Object,
    class: Classes,
    event: &str,
    changes: usize,
) {
    if !result.is_empty() {
        call.db().set_object(target, result, Deadline::Clear);
        call.modified(target);
        call.notify(class, event, target);
        call.dirty(changes as u64);
    } else if call.db().remove(target) {
        call.modified(target);
        call.removed(target);
        call.dirty(1);
    }
}

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

/// The handlers of all rows that have one.
///
/// # Panics
/// When a handler names no row: a mistake in the tables, found by any test.
pub fn handlers() -> &'static engine::Handlers {
    static HANDLERS: OnceLock<engine::Handlers> = OnceLock::new();
    HANDLERS.get_or_init(|| {
        let mut all = vec![None; rows()];
        for (name, handler) in GROUPS.iter().copied().flatten() {
            let id = lookup_full_name(Mode::Server, name.as_bytes())
                .or_else(|| lookup_full_name(Mode::Sentinel, name.as_bytes()));
            let id = id.unwrap_or_else(|| panic!("no row is named {name}"));
            all[id.index()] = Some(*handler);
        }
        engine::Handlers::new(all)
    })
}
