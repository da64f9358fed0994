//! Entries that are removed with regard to who still has them pending: XDELEX and XACKDEL of Redis 8.2. What is said to
//! replicas and the log is what came of it, in words that every Redis knows: XACK and XDEL.

use redstart_common::resp::Args;

use super::super::options::integer;
use super::{begin_effects, id};
use crate::engine::{Call, CommandError, CommandResult, SYNTAX};
use crate::settings::notify::Classes;
use crate::types::Stream;
use crate::types::stream::{Group, StreamId};

/// What becomes of an entry that somebody may still have to deal with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// It goes, and stays pending where it is.
    KeepReferences,
    /// It goes, and is pending nowhere any more.
    DeleteReferences,
    /// It goes only if every group has read and acknowledged it.
    Acknowledged,
}

/// What came of an entry, as it is answered.
const NOT_THERE: i64 = -1;
const REMOVED: i64 = 1;
const STAYS: i64 = 2;

const COUNT: CommandError = CommandError::new("ERR Number of IDs must be a positive integer");
const MISMATCH: CommandError =
    CommandError::new("ERR The `numids` parameter must match the number of arguments");

/// Reads `[KEEPREF | DELREF | ACKED] IDS numids id [id ...]` from the argument at `first` on.
fn request(args: Args<'_>, first: usize) -> Result<(Policy, Vec<StreamId>), CommandError> {
    let (mut policy, mut ids) = (None, None);
    let mut at = first;
    while let Some(word) = args.get(at) {
        at += 1;
        let named = [
            (&b"keepref"[..], Policy::KeepReferences),
            (b"delref", Policy::DeleteReferences),
            (b"acked", Policy::Acknowledged),
        ];
        let named = named.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
        if let Some((_, named)) = named.filter(|_| policy.is_none()) {
            policy = Some(*named);
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
    Ok((policy.unwrap_or(Policy::KeepReferences), ids.ok_or(SYNTAX)?))
}

/// Whether a group has still to read or to acknowledge an entry.
fn awaits(group: &Group, id: StreamId) -> bool {
    group.last_id < id || group.pending().get(id).is_some()
}

/// What a call has done, to be repeated.
#[derive(Default)]
struct Done {
    removed: Vec<StreamId>,
    /// By the name of a group.
    acknowledged: Vec<(Box<[u8]>, StreamId)>,
}

impl Done {
    /// Removes an entry by a policy. Answers what came of it.
    fn remove(&mut self, stream: &mut Stream, policy: Policy, id: StreamId) -> i64 {
        if policy == Policy::Acknowledged
            && (stream.groups().is_empty() || stream.groups().iter().any(|group| awaits(group, id)))
        {
            return if stream.contains(id) { STAYS } else { NOT_THERE };
        }
        let was_there = stream.remove([id]) > 0;
        if was_there {
            self.removed.push(id);
        }
        if policy == Policy::DeleteReferences {
            for group in stream.groups_mut() {
                if group.acknowledge(id).is_some() {
                    self.acknowledged.push((group.name().into(), id));
                }
            }
        }
        if was_there { REMOVED } else { NOT_THERE }
    }

    /// Has it repeated, and told to those who listen.
    fn tell(mut self, call: &mut Call<'_>) {
        let changes = self.removed.len() + self.acknowledged.len();
        if changes == 0 {
            return;
        }
        let key = call.arg(1);
        begin_effects(call);
        let db = call.client.db;
        self.acknowledged.sort();
        for of_group in self.acknowledged.chunk_by(|one, other| one.0 == other.0) {
            let ids: Vec<_> = of_group.iter().map(|(_, id)| id.text()).collect();
            let mut words: Vec<&[u8]> = vec![b"XACK", key, &of_group[0].0];
            words.extend(ids.iter().map(|id| id.as_bytes()));
            call.core.feed.push(db, &words);
        }
        if !self.removed.is_empty() {
            let ids: Vec<_> = self.removed.iter().map(|id| id.text()).collect();
            let mut words: Vec<&[u8]> = vec![b"XDEL", key];
            words.extend(ids.iter().map(|id| id.as_bytes()));
            call.core.feed.push(db, &words);
            call.modified(key);
            call.notify(Classes::STREAM, "xdel", key);
        } else {
            call.modified_unheard(key);
        }
        call.dirty(changes as u64);
    }
}

fn answer(call: &mut Call<'_>, results: &[i64]) {
    call.client.reply.array(results.len());
    results.iter().for_each(|result| call.client.reply.integer(*result));
}

/// `XDELEX key [KEEPREF | DELREF | ACKED] IDS numids id [id ...]`
pub(super) fn xdelex(call: &mut Call<'_>) -> CommandResult {
    let (policy, ids) = request(call.args, 2)?;
    let stream = call.keyspace.db(call.client.db).write_as::<Stream>(call.args.at(1))?;
    let mut done = Done::default();
    let results: Vec<i64> = match stream {
        Some(stream) => ids.iter().map(|id| done.remove(stream, policy, *id)).collect(),
        None => vec![NOT_THERE; ids.len()],
    };
    answer(call, &results);
    done.tell(call);
    Ok(())
}

/// `XACKDEL key group [KEEPREF | DELREF | ACKED] IDS numids id [id ...]`
pub(super) fn xackdel(call: &mut Call<'_>) -> CommandResult {
    let (policy, ids) = request(call.args, 3)?;
    let name = call.args.at(2);
    let stream = call.keyspace.db(call.client.db).write_as::<Stream>(call.args.at(1))?;
    let mut done = Done::default();
    let mut settle = |stream: &mut Stream, id: StreamId| {
        let acknowledged = stream.group_mut(name).and_then(|group| group.acknowledge(id));
        if acknowledged.is_none() {
            return NOT_THERE;
        }
        done.acknowledged.push((name.into(), id));
        // That it is pending here no more counts, whether or not the entry was still there.
        match done.remove(stream, policy, id) {
            STAYS => STAYS,
            _ => REMOVED,
        }
    };
    let results: Vec<i64> = match stream {
        Some(stream) => ids.iter().map(|id| settle(stream, *id)).collect(),
        None => vec![NOT_THERE; ids.len()],
    };
    answer(call, &results);
    done.tell(call);
    Ok(())
}
