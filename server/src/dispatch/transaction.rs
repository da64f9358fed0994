//! MULTI, EXEC, DISCARD, WATCH: a queue of commands that run without anything between them.

use redstart_common::command::spec;
use redstart_common::resp::error;

use crate::client::{Flags, Queued};
use crate::engine::{Call, CommandError, CommandResult};
use crate::keyspace::Entry;

/// `MULTI`
pub fn multi(call: &mut Call<'_>) -> CommandResult {
    if call.client.flags.any(Flags::MULTI) {
        return Err(CommandError::new(error::NESTED_MULTI));
    }
    call.client.flags.set(Flags::MULTI);
    call.client.multi = Some(Box::default());
    call.client.reply.ok();
    Ok(())
}

/// Ends a transaction without running it.
pub fn discard_transaction(call: &mut Call<'_>) {
    call.client.multi = None;
    call.client.flags.clear(Flags::MULTI.or(Flags::DIRTY_EXEC).or(Flags::DIRTY_CAS));
    unwatch_all(call);
}

/// `DISCARD`
pub fn discard(call: &mut Call<'_>) -> CommandResult {
    if !call.client.flags.any(Flags::MULTI) {
        return Err(CommandError::new(error::DISCARD_WITHOUT_MULTI));
    }
    discard_transaction(call);
    call.client.reply.ok();
    Ok(())
}

/// Forgets all keys the client watches.
pub fn unwatch_all(call: &mut Call<'_>) {
    for (db, key) in std::mem::take(&mut call.client.watched) {
        call.core.watches.remove(db, &key, call.client.id);
    }
}

/// `WATCH key [key ...]`
pub fn watch(call: &mut Call<'_>) -> CommandResult {
    if call.client.flags.any(Flags::MULTI) {
        return Err(CommandError::new(error::WATCH_INSIDE_MULTI));
    }
    // Once a key has changed EXEC will answer nothing anyway.
    if !call.client.flags.any(Flags::DIRTY_CAS) {
        let db = call.client.db;
        for key in call.args.iter().skip(1) {
            let stale = is_past_deadline(call, db, key);
            if call.core.watches.add(db, key, call.client.id, stale) {
                call.client.watched.push((db, key.into()));
            }
        }
    }
    call.client.reply.ok();
    Ok(())
}

/// `UNWATCH`
pub fn unwatch(call: &mut Call<'_>) -> CommandResult {
    unwatch_all(call);
    call.client.flags.clear(Flags::DIRTY_CAS);
    call.client.reply.ok();
    Ok(())
}

/// Whether a key lies there past its deadline.
fn is_past_deadline(call: &Call<'_>, db: usize, key: &[u8]) -> bool {
    let entry = call.keyspace.dbs[db].look_any(key);
    entry.and_then(Entry::deadline).is_some_and(|deadline| deadline <= call.now_ms())
}

/// Whether a watched key has gone past its deadline since it was watched.
fn watched_expired(call: &Call<'_>) -> bool {
    call.client.watched.iter().any(|(db, key)| {
        is_past_deadline(call, *db, key) && !call.core.watches.is_stale(*db, key, call.client.id)
    })
}

/// `EXEC`
pub fn exec(call: &mut Call<'_>) -> CommandResult {
    if !call.client.flags.any(Flags::MULTI) {
        return Err(CommandError::new(error::EXEC_WITHOUT_MULTI));
    }
    if watched_expired(call) {
        call.client.flags.set(Flags::DIRTY_CAS);
    }
    if call.client.flags.any(Flags::DIRTY_EXEC) {
        discard_transaction(call);
        return Err(CommandError::new(error::EXEC_ABORT));
    }
    if call.client.flags.any(Flags::DIRTY_CAS) {
        discard_transaction(call);
        call.client.reply.null_array();
        return Ok(());
    }
    unwatch_all(call);
    let queue = call.client.multi.take().map(|multi| multi.queue).unwrap_or_default();
    call.client.flags.clear(Flags::MULTI);
    call.client.flags.set(Flags::EXECUTING);
    call.core.feed.begin_frame();
    call.client.reply.array(queue.len());
    let own_row = call.row;
    for queued in &queue {
        run_queued(call, queued);
    }
    call.client.last_command = Some(own_row);
    // That a command within failed is its own failure, not EXEC's.
    call.client.reply.failed = false;
    call.client.flags.clear(Flags::EXECUTING);
    let messages = std::mem::take(&mut call.client.after_exec);
    call.client.reply.raw(&messages);
    call.propagate_nothing();
    call.core.feed.end_frame();
    Ok(())
}

/// Runs one queued command; what a gate says now counts, for much may have changed since it was queued.
fn run_queued(call: &mut Call<'_>, queued: &Queued) {
    let row = spec(queued.command);
    let args = queued.args.as_args();
    // To the log of refusals it is EXEC that the client has asked for.
    call.client.last_command = Some(call.row);
    let mut refused: Option<CommandError> = None;
    if call.client.flags.any(Flags::RESTRICTED) {
        let checked = call.core.check_user(call.client, row, args);
        refused = checked.err().map(super::gates::permission_lost);
    }
    call.client.last_command = Some(queued.command);
    match (refused, call.core.handlers.of(queued.command)) {
        (None, Some(handler)) => {
            super::run(call.keyspace, call.core, call.client, queued.command, handler, args);
        }
        (Some(error), _) => {
            call.client.reply.error(error.text());
            call.core.stats.count_error(error.text());
        }
        (None, None) => call.client.reply.error("ERR unknown command"),
    }
}
