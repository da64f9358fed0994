//! Entries that are removed with regard to who still has them pending: XDELEX and XACKDEL of Redis 8.2, and
//! the policies of XADD and XTRIM. What is said to
//! replicas and the log is what came of it, in words that every Redis knows: XACK and XDEL.

use redstart_common::resp::Args;

use super::super::options::integer;
use super::{begin_effects, id};
use crate::engine::{Call, CommandError, CommandResult, SYNTAX};
use crate::settings::notify::Classes;
use crate::types::Stream;
use crate::types::stream::{Gone, References, StreamId};

/// What came of an entry, as it is answered.
const NOT_THERE: i64 = -1;
const REMOVED: i64 = 1;
const STAYS: i64 = 2;

const COUNT: CommandError = CommandError::new("ERR Number of IDs must be a positive integer");
const MISMATCH: CommandError =
    CommandError::new("ERR The `numids` parameter must match the number of arguments");

/// The policy that a word names.
pub(super) fn policy(word: &[u8]) -> Option<References> {
    let named = [
        (&b"keepref"[..], References::Keep),
        (b"delref", References::Delete),
        (b"acked", References::Acknowledged),
    ];
    named.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, named)| *named)
}

/// Reads `[KEEPREF | DELREF | ACKED] IDS numids id [id ...]` from the argument at `first` on.
fn request(args: Args<'_>, first: usize) -> Result<(References, Vec<StreamId>), CommandError> {
    let (mut found, mut ids) = (None, None);
    let mut at = first;
    while let Some(word) = args.get(at) {
        at += 1;
        if let Some(named) = policy(word).filter(|_| found.is_none()) {
            found = Some(named);
        } else if word.eq_ignore_ascii_case(b"ids") && ids.is_none() {
            let count = integer(args.get(at).ok_or(SYNTAX)?).map_err(|_| COUNT)?;
            let count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(COUNT)?;
            if count > args.len() - at - 1 {
                return Err(MISMATCH);
            }
            let named: Result<Vec<_>, _> = args.tail(at + 1).iter().take(count).map(id).collect();
            ids = Some(named?);
            at += 1 + count;
        } else {
            return Err(if ids.is_some() { MISMATCH } else { SYNTAX });
        }
    }
    Ok((found.unwrap_or(References::Keep), ids.ok_or(SYNTAX)?))
}

/// Removes an entry by a policy. Answers what came of it.
fn remove(stream: &mut Stream, policy: References, id: StreamId, gone: &mut Gone) -> i64 {
    if policy == References::Acknowledged && stream.is_awaited(id) {
        return if stream.contains(id) { STAYS } else { NOT_THERE };
    }
    let was_there = stream.remove([id]) > 0;
    if was_there {
        gone.removed.push(id);
    }
    if policy == References::Delete {
        stream.delete_references(id, gone);
    }
    if was_there { REMOVED } else { NOT_THERE }
}

/// Has it repeated that entries of groups are pending no more.
pub(super) fn propagate_acknowledged(call: &mut Call<'_>, key: &[u8], gone: &mut Gone) {
    gone.acknowledged.sort();
    for of_group in gone.acknowledged.chunk_by(|one, other| one.0 == other.0) {
        let ids: Vec<_> = of_group.iter().map(|(_, id)| id.text()).collect();
        let mut words: Vec<&[u8]> = vec![b"XACK", key, &of_group[0].0];
        words.extend(ids.iter().map(|id| id.as_bytes()));
        call.core.feed.push(call.client.db, &words);
    }
}

/// Has it repeated that entries were removed.
pub(super) fn propagate_removed(call: &mut Call<'_>, key: &[u8], gone: &Gone) {
    if !gone.removed.is_empty() {
        let ids: Vec<_> = gone.removed.iter().map(|id| id.text()).collect();
        let mut words: Vec<&[u8]> = vec![b"XDEL", key];
        words.extend(ids.iter().map(|id| id.as_bytes()));
        call.core.feed.push(call.client.db, &words);
    }
}

/// Has it repeated what has gone, and told to those who listen.
fn tell(mut gone: Gone, call: &mut Call<'_>) {
    let changes = gone.removed.len() + gone.acknowledged.len();
    if changes == 0 {
        return;
    }
    let key = call.arg(1);
    begin_effects(call);
    propagate_acknowledged(call, key, &mut gone);
    propagate_removed(call, key, &gone);
    if gone.removed.is_empty() {
        call.modified_unheard(key);
    } else {
        call.modified(key);
        call.notify(Classes::STREAM, "xdel", key);
    }
    call.dirty(changes as u64);
}

fn answer(call: &mut Call<'_>, results: &[i64]) {
    call.client.reply.array(results.len());
    results.iter().for_each(|result| call.client.reply.integer(*result));
}

/// `XDELEX key [KEEPREF | DELREF | ACKED] IDS numids id [id ...]`
pub(super) fn xdelex(call: &mut Call<'_>) -> CommandResult {
    let (policy, ids) = request(call.args, 2)?;
    let stream = call.keyspace.db(call.client.db).write_as::<Stream>(call.args.at(1))?;
    let mut gone = Gone::default();
    let results: Vec<i64> = match stream {
        Some(stream) => ids.iter().map(|id| remove(stream, policy, *id, &mut gone)).collect(),
        None => vec![NOT_THERE; ids.len()],
    };
    answer(call, &results);
    tell(gone, call);
    Ok(())
}

/// `XACKDEL key group [KEEPREF | DELREF | ACKED] IDS numids id [id ...]`
pub(super) fn xackdel(call: &mut Call<'_>) -> CommandResult {
    let (policy, ids) = request(call.args, 3)?;
    let name = call.args.at(2);
    let stream = call.keyspace.db(call.client.db).write_as::<Stream>(call.args.at(1))?;
    let mut gone = Gone::default();
    let mut settle = |stream: &mut Stream, id: StreamId| {
        let acknowledged = stream.group_mut(name).and_then(|group| group.acknowledge(id));
        if acknowledged.is_none() {
            return NOT_THERE;
        }
        gone.acknowledged.push((name.into(), id));
        // That it is pending here no more counts, whether or not the entry was still there.
        match remove(stream, policy, id, &mut gone) {
            STAYS => STAYS,
            _ => REMOVED,
        }
    };
    let results: Vec<i64> = match stream {
        Some(stream) => ids.iter().map(|id| settle(stream, *id)).collect(),
        None => vec![NOT_THERE; ids.len()],
    };
    answer(call, &results);
    tell(gone, call);
    Ok(())
}
