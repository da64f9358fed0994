//! XGROUP.

use redstart_common::resp::error;

use super::super::options::integer;
use super::{id, no_group};
use crate::engine::{Call, CommandError, CommandResult};
use crate::keyspace::Place;
use crate::settings::notify::Classes;
use crate::types::Stream;
use crate::types::stream::{Group, StreamId, UNKNOWN_READS};

const NO_KEY: CommandError = CommandError::new(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the \
     MKSTREAM option to create an empty stream automatically.",
);

fn syntax(call: &Call<'_>) -> CommandError {
    CommandError::made(error::subcommand_syntax(b"XGROUP", call.arg(1)))
}

/// Options of CREATE and SETID: whether a stream is to be made, and how many entries were read.
fn options(call: &Call<'_>, creates: bool) -> Result<(bool, i64), CommandError> {
    let args = call.args;
    let (mut makes, mut reads, mut at) = (false, UNKNOWN_READS, 5);
    while let Some(word) = args.get(at) {
        at += 1;
        if creates && word.eq_ignore_ascii_case(b"MKSTREAM") {
            makes = true;
        } else if word.eq_ignore_ascii_case(b"ENTRIESREAD") && at < args.len() {
            reads = integer(args.at(at))?;
            if reads < UNKNOWN_READS {
                return Err(CommandError::new("ERR value for ENTRIESREAD must be positive or -1"));
            }
            at += 1;
        } else {
            return Err(syntax(call));
        }
    }
    Ok((makes, reads))
}

/// The id of CREATE: `$` is the stream's last.
fn id_or_last(arg: &[u8], stream: Option<&Stream>) -> Result<StreamId, CommandError> {
    match arg {
        b"$" => Ok(stream.map_or(StreamId::MIN, |stream| stream.facts().last_id)),
        _ => id(arg),
    }
}

/// `XGROUP CREATE key group id | $ [MKSTREAM] [ENTRIESREAD entries-read]`
pub(super) fn create(call: &mut Call<'_>) -> CommandResult {
    const MOST_ARGS: usize = 8;
    let args = call.args;
    let (makes, reads) = options(call, true)?;
    let (key, name) = (args.at(2), args.at(3));
    let is_there = match call.keyspace.db(call.client.db).place_to_write(key) {
        Place::Held(held) => {
            held.collection::<Stream>()?;
            true
        }
        Place::Vacant(_) if !makes => return Err(NO_KEY),
        Place::Vacant(_) => false,
    };
    if args.len() > MOST_ARGS {
        return Err(syntax(call));
    }
    let db = call.keyspace.db(call.client.db);
    let last_id = id_or_last(args.at(4), db.peek_as::<Stream>(key)?)?;
    let stream = db.write_or_create::<Stream>(key)?;
    let is_new = stream.add_group(Group::new(name, last_id, reads));
    if !is_there {
        call.modified(key);
    }
    if !is_new {
        return Err(CommandError::new("BUSYGROUP Consumer Group name already exists"));
    }
    call.client.reply.ok();
    call.modified_unheard(key);
    call.dirty(1);
    call.notify(Classes::STREAM, "xgroup-create", key);
    Ok(())
}

/// Looks whether the key is there, and whether a group must be and is.
fn need_group(call: &mut Call<'_>, needs_group: bool) -> CommandResult {
    let (key, name) = (call.arg(2), call.arg(3));
    match call.keyspace.db(call.client.db).place_to_write(key) {
        Place::Vacant(_) => Err(NO_KEY),
        Place::Held(held) if needs_group && held.collection::<Stream>()?.group(name).is_none() => {
            Err(no_group(name, key))
        }
        Place::Held(held) => held.collection::<Stream>().map(|_| ()).map_err(CommandError::from),
    }
}

/// The group of the call, which is there, to be changed; with the last id of its stream.
fn group_of<'c>(call: &'c mut Call<'_>) -> Result<Option<(StreamId, &'c mut Group)>, CommandError> {
    let (key, name) = (call.arg(2), call.arg(3));
    let stream = call.keyspace.db(call.client.db).write_as::<Stream>(key)?;
    Ok(stream.and_then(|stream| {
        let last_id = stream.facts().last_id;
        stream.group_mut(name).map(|group| (last_id, group))
    }))
}

/// `XGROUP SETID key group id | $ [ENTRIESREAD entries-read]`
pub(super) fn set_id(call: &mut Call<'_>) -> CommandResult {
    let (_, reads) = options(call, false)?;
    need_group(call, true)?;
    if !matches!(call.args.len(), 5 | 7) {
        return Err(syntax(call));
    }
    let wanted = match call.arg(4) {
        b"$" => None,
        arg => Some(StreamId::parse_end(arg, 0).ok_or(super::INVALID_ID)?),
    };
    if let Some((last_id, group)) = group_of(call)? {
        group.last_id = wanted.unwrap_or(last_id);
        group.entries_read = reads;
    }
    call.client.reply.ok();
    changed(call, "xgroup-setid");
    Ok(())
}

fn changed(call: &mut Call<'_>, event: &str) {
    let key = call.arg(2);
    call.modified_unheard(key);
    call.dirty(1);
    call.notify(Classes::STREAM, event, key);
}

/// `XGROUP DESTROY key group`
pub(super) fn destroy(call: &mut Call<'_>) -> CommandResult {
    need_group(call, false)?;
    let (key, name) = (call.arg(2), call.arg(3));
    let stream = call.keyspace.db(call.client.db).write_as::<Stream>(key)?;
    if stream.and_then(|stream| stream.remove_group(name)).is_none() {
        call.client.reply.integer(0);
        return Ok(());
    }
    call.client.reply.integer(1);
    changed(call, "xgroup-destroy");
    // Who waits for it is told that it is gone.
    call.core.blocking.note(call.client.db, key);
    Ok(())
}

/// `XGROUP CREATECONSUMER key group consumer`
pub(super) fn create_consumer(call: &mut Call<'_>) -> CommandResult {
    need_group(call, true)?;
    let (name, now_ms) = (call.arg(4), call.now_ms());
    let is_new =
        group_of(call)?.is_some_and(|(_, group)| group.add_consumer(name, now_ms).is_some());
    call.client.reply.integer(i64::from(is_new));
    if is_new {
        changed(call, "xgroup-createconsumer");
    }
    Ok(())
}

/// `XGROUP DELCONSUMER key group consumer`
pub(super) fn delete_consumer(call: &mut Call<'_>) -> CommandResult {
    need_group(call, true)?;
    let name = call.arg(4);
    let pending = group_of(call)?.and_then(|(_, group)| group.remove_consumer(name));
    call.client.reply.count(pending.unwrap_or(0));
    if pending.is_some() {
        changed(call, "xgroup-delconsumer");
    }
    Ok(())
}

/// `XGROUP HELP`
pub(super) fn help(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.help(
        "XGROUP",
        &[
            "CREATE <key> <groupname> <id|$> [option]",
            "    Create a new consumer group. Options are:",
            "    * MKSTREAM",
            "      Create the empty stream if it does not exist.",
            "    * ENTRIESREAD entries_read",
            "      Set the group's entries_read counter (internal use).",
            "CREATECONSUMER <key> <groupname> <consumer>",
            "    Create a new consumer in the specified group.",
            "DELCONSUMER <key> <groupname> <consumer>",
            "    Remove the specified consumer.",
            "DESTROY <key> <groupname>",
            "    Remove the specified group.",
            "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
            "    Set the current group ID and entries_read counter.",
        ],
    );
    Ok(())
}
