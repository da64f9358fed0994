//! XNACK of Redis 8.8: pending entries that their consumers give back. What is repeated is XCLAIM, which older servers know
//! (see [`propagate_claim`](super::propagate_claim)).

use redstart_common::number::parse_i64;
use redstart_common::resp::Args;

use super::super::options::integer;
use super::{begin_effects, id, no_key_or_group, propagate_claim};
use crate::engine::{Call, CommandError, CommandResult};
use crate::types::Stream;
use crate::types::stream::StreamId;

/// What is counted of the time that an entry was with its consumer.
#[derive(Clone, Copy)]
enum Counts {
    /// It never was there.
    Not,
    /// It was, as all the times before.
    As,
    /// It was once too often: it counts as handed out as often as can be counted.
    ForEver,
}

/// What XNACK wants.
struct Request {
    counts: Counts,
    /// How often it counts as handed out, if that is said.
    deliveries: Option<u64>,
    /// Entries that are not pending become so.
    force: bool,
    ids: Vec<StreamId>,
}

impl Request {
    fn deliveries(&self, before: u64) -> u64 {
        match (self.deliveries, self.counts) {
            (Some(said), _) => said,
            (None, Counts::Not) => before.saturating_sub(1),
            (None, Counts::As) => before,
            (None, Counts::ForEver) => i64::MAX as u64,
        }
    }
}

fn request(args: Args<'_>) -> Result<Request, CommandError> {
    let word = args.at(3);
    let words = [(&b"SILENT"[..], Counts::Not), (b"FAIL", Counts::As), (b"FATAL", Counts::ForEver)];
    let named = words.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
    let wrong = CommandError::new("ERR mode must be SILENT, FAIL, or FATAL");
    let counts = named.ok_or(wrong)?.1;
    let (mut deliveries, mut force, mut ids, mut at) = (None, false, None, 4);
    while let Some(word) = args.get(at) {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let value = args.get(at + 1);
        at += 1;
        match value {
            _ if is(b"FORCE") => force = true,
            Some(count) if is(b"IDS") => {
                let count = parse_i64(count)
                    .filter(|count| (1..=i64::from(i32::MAX)).contains(count))
                    .ok_or(CommandError::new("ERR numids must be a positive integer"))?;
                at += 1;
                if count as usize > args.len() - at {
                    return Err(CommandError::new("ERR number of IDs doesn't match numids"));
                }
                ids = Some(at..at + count as usize);
                at += count as usize;
            }
            Some(count) if is(b"RETRYCOUNT") => {
                let wrong = CommandError::new("ERR Invalid RETRYCOUNT value, must be >= 0");
                deliveries = Some(u64::try_from(integer(count)?).map_err(|_| wrong)?);
                at += 1;
            }
            _ => return Err(CommandError::about("ERR Unrecognized XNACK option '", word, "'")),
        }
    }
    let ids = ids.ok_or(CommandError::new("ERR syntax error, expected IDS keyword"))?;
    let ids: Result<Vec<_>, _> = ids.map(|at| id(args.at(at))).collect();
    Ok(Request { counts, deliveries, force, ids: ids? })
}

/// `XNACK key group SILENT | FAIL | FATAL IDS numids id [id ...] [RETRYCOUNT count] [FORCE]` (Redis 8.8)
pub(super) fn xnack(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (key, name) = (args.at(1), args.at(2));
    let db = call.keyspace.db(call.client.db);
    if db.read_as::<Stream>(key)?.is_none_or(|stream| stream.group(name).is_none()) {
        return Err(no_key_or_group(key, name));
    }
    let request = request(args)?;
    begin_effects(call);
    let stream = call.keyspace.db(call.client.db).write_as::<Stream>(key)?;
    let (feed, db) = (&mut call.core.feed, call.client.db);
    let released = stream.and_then(|stream| {
        stream.with_group(name, |stream, group| {
            let mut released = 0;
            for id in &request.ids {
                let held = match group.release(*id, |before| request.deliveries(before)) {
                    None if request.force && stream.contains(*id) => {
                        group.add_released(*id, request.deliveries(0))
                    }
                    held => held,
                };
                if let Some(held) = held {
                    propagate_claim(db, feed, key, group, *id, &held);
                    released += 1;
                }
            }
            released
        })
    });
    let released = released.unwrap_or(0_usize);
    call.client.reply.count(released);
    if released > 0 {
        // Who waits to claim may do so now.
        call.modified(key);
        call.dirty(released as u64);
    }
    Ok(())
}
