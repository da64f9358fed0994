//! Streams. What is said to replicas and the log is what happened: XADD with the id that was made, XCLAIM of what was
//! handed out, and so on.

mod claim;
mod group;
mod idempotence;
mod info;
mod range;
mod read;
mod references;
mod release;
mod trim;
mod write;

use redstart_common::resp::error;

use super::Handlers;
use crate::client::{Client, Flags, Origin, Reply};
use crate::engine::feed::Feed;
use crate::engine::{Call, CommandError};
use crate::types::stream::{Entry, Group, Pending, StreamId};

pub(super) const HANDLERS: Handlers = &[
    ("xack", claim::xack),
    ("xackdel", references::xackdel),
    ("xadd", write::xadd),
    ("xautoclaim", claim::xautoclaim),
    ("xcfgset", idempotence::xcfgset),
    ("xclaim", claim::xclaim),
    ("xdel", write::xdel),
    ("xdelex", references::xdelex),
    ("xgroup|create", group::create),
    ("xgroup|createconsumer", group::create_consumer),
    ("xgroup|delconsumer", group::delete_consumer),
    ("xgroup|destroy", group::destroy),
    ("xgroup|help", group::help),
    ("xgroup|setid", group::set_id),
    ("xidmprecord", idempotence::xidmprecord),
    ("xinfo|consumers", info::consumers),
    ("xinfo|groups", info::groups),
    ("xinfo|help", info::help),
    ("xinfo|stream", info::stream),
    ("xlen", range::xlen),
    ("xnack", release::xnack),
    ("xpending", info::xpending),
    ("xrange", range::xrange),
    ("xread", read::xread),
    ("xreadgroup", read::xreadgroup),
    ("xrevrange", range::xrevrange),
    ("xsetid", write::xsetid),
    ("xtrim", write::xtrim),
];

const INVALID_ID: CommandError =
    CommandError::new("ERR Invalid stream ID specified as stream command argument");
const INVALID_START: CommandError = CommandError::new("ERR invalid start ID for the interval");
const INVALID_END: CommandError = CommandError::new("ERR invalid end ID for the interval");

/// Whether what a client says has happened elsewhere, so that it is to be so here: it is the primary, the log, or a node that
/// hands slots over.
fn repeats(client: &Client) -> bool {
    client.origin != Origin::Client || client.flags.any(Flags::IMPORT)
}

/// The id that an argument names.
fn id(arg: &[u8]) -> Result<StreamId, CommandError> {
    StreamId::parse(arg, 0).ok_or(INVALID_ID)
}

/// Where a range begins: an id, `-`, or an id behind `(`, which is not part of it.
fn range_start(arg: &[u8]) -> Result<StreamId, CommandError> {
    match arg {
        [b'(', id @ ..] if !id.is_empty() => {
            StreamId::parse(id, 0).ok_or(INVALID_ID)?.next().ok_or(INVALID_START)
        }
        _ => StreamId::parse_end(arg, 0).ok_or(INVALID_ID),
    }
}

/// Where a range ends, as [`range_start`].
fn range_end(arg: &[u8]) -> Result<StreamId, CommandError> {
    match arg {
        [b'(', id @ ..] if !id.is_empty() => {
            StreamId::parse(id, u64::MAX).ok_or(INVALID_ID)?.previous().ok_or(INVALID_END)
        }
        _ => StreamId::parse_end(arg, u64::MAX).ok_or(INVALID_ID),
    }
}

fn answer_id(reply: &mut Reply, id: StreamId) {
    reply.bulk(id.text().as_bytes());
}

fn answer_entry(reply: &mut Reply, entry: Entry<'_>) {
    reply.array(2);
    answer_id(reply, entry.id);
    answer_fields(reply, entry);
}

fn answer_fields(reply: &mut Reply, entry: Entry<'_>) {
    reply.array(entry.len() * 2);
    entry.for_each(|name, value| {
        reply.element(name);
        reply.element(value);
    });
}

/// A text with two words of the client's in it.
fn about(parts: [&str; 3], words: [&[u8]; 2]) -> CommandError {
    let mut text = error::about(parts[0], words[0], parts[1]);
    text.extend(error::about("", words[1], parts[2]));
    CommandError::made(text)
}

/// There is no such key or group.
fn no_key_or_group(key: &[u8], group: &[u8]) -> CommandError {
    about(["NOGROUP No such key '", "' or consumer group '", "'"], [key, group])
}

/// There is no such group at a key.
fn no_group(group: &[u8], key: &[u8]) -> CommandError {
    about(["NOGROUP No such consumer group '", "' for key name '", "'"], [group, key])
}

/// Has it repeated that a consumer has a pending entry, and what is known of that. One that is nobody's is repeated as one that
/// a consumer without a name was handed in 1970, which is what servers know that lack XNACK.
fn propagate_claim(
    db: usize,
    feed: &mut Feed,
    key: &[u8],
    group: &Group,
    id: StreamId,
    held: &Pending,
) {
    if !feed.wanted() {
        return;
    }
    let (mut at, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    feed.push(
        db,
        &[
            b"XCLAIM",
            key,
            group.name(),
            group.owner_name(held),
            b"0",
            id.text().as_bytes(),
            b"TIME",
            at.format(held.delivered_ms).as_bytes(),
            b"RETRYCOUNT",
            count.format(held.deliveries).as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            group.last_id.text().as_bytes(),
        ],
    );
}

/// Has it repeated up to where a group was handed entries.
fn propagate_last_id(db: usize, feed: &mut Feed, key: &[u8], group: &Group) {
    if !feed.wanted() {
        return;
    }
    let mut reads = itoa::Buffer::new();
    feed.push(
        db,
        &[
            b"XGROUP",
            b"SETID",
            key,
            group.name(),
            group.last_id.text().as_bytes(),
            b"ENTRIESREAD",
            reads.format(group.entries_read).as_bytes(),
        ],
    );
}

/// What is pushed to the feed from here on stands behind what look-ups have caused.
fn begin_effects(call: &mut Call<'_>) {
    if call.keyspace.shared.has_incidents() {
        call.settle();
    }
    call.propagate_nothing();
}
