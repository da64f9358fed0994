//! Pending entries that are acknowledged, or go over to another consumer.

use redstart_common::number::parse_i64;
use redstart_common::resp::Args;

use super::super::options::integer_within;
use super::{
    answer_entry, answer_id, begin_effects, id, no_key_or_group, propagate_claim,
    propagate_last_id, range_start, repeats,
};
use crate::client::Reply;
use crate::engine::feed::Feed;
use crate::engine::{Call, CommandError, CommandResult, SYNTAX};
use crate::settings::notify::Classes;
use crate::types::Stream;
use crate::types::stream::{Claim, ConsumerId, Entry, Group, Pending, Row, StreamId};

/// `XACK key group id [id ...]`
pub(super) fn xack(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (key, name, ids) = (args.at(1), args.at(2), args.tail(3));
    let db = call.keyspace.db(call.client.db);
    if db.read_as::<Stream>(key)?.is_none_or(|stream| stream.group(name).is_none()) {
        call.client.reply.integer(0);
        return Ok(());
    }
    // All of it or nothing.
    ids.iter().try_for_each(|arg| id(arg).map(|_| ()))?;
    let group = db.write_as::<Stream>(key)?.and_then(|stream| stream.group_mut(name));
    let acknowledged = group.map_or(0, |group| {
        let ids = ids.iter().filter_map(|arg| StreamId::parse(arg, 0));
        ids.filter(|id| group.acknowledge(*id).is_some()).count()
    });
    call.client.reply.count(acknowledged);
    call.modified_unheard(key);
    call.dirty(acknowledged as u64);
    Ok(())
}

fn number_or(arg: &[u8], option: &str) -> Result<i64, CommandError> {
    parse_i64(arg).ok_or_else(|| CommandError::made(format!("ERR Invalid {option}")))
}

/// How pending entries go over to a consumer.
struct Terms<'a> {
    consumer: &'a [u8],
    /// Who was handed one later keeps it.
    min_idle_ms: i64,
    delivered_ms: i64,
    now_ms: i64,
    /// How often they were handed out, if that is said.
    deliveries: Option<u64>,
    /// Only ids are answered, and it does not count as handing out.
    just_ids: bool,
    /// They go to nobody: the primary or the log says what XNACK did.
    to_nobody: bool,
}

/// What claiming needs beside the group: where effects and answers go.
struct Claiming<'c, 'a> {
    terms: &'c Terms<'a>,
    key: &'a [u8],
    db: usize,
    reply: &'c mut Reply,
    feed: &'c mut Feed,
    consumer: Option<ConsumerId>,
    is_new_consumer: bool,
    changes: u64,
    answered: usize,
}

impl<'c, 'a> Claiming<'c, 'a> {
    fn of(
        key: &'a [u8],
        terms: &'c Terms<'a>,
        db: usize,
        reply: &'c mut Reply,
        feed: &'c mut Feed,
    ) -> Self {
        Self {
            terms,
            key,
            db,
            reply,
            feed,
            consumer: None,
            is_new_consumer: false,
            changes: 0,
            answered: 0,
        }
    }

    /// A pending entry is no longer in the stream: it is pending no more.
    fn forget(&mut self, group: &mut Group, id: StreamId, held: &Pending) {
        propagate_claim(self.db, self.feed, self.key, group, id, held);
        group.acknowledge(id);
        self.changes += 1;
    }

    fn is_too_young(&self, held: &Pending) -> bool {
        let idle = self.terms.now_ms.wrapping_sub(held.delivered_ms);
        self.terms.min_idle_ms > 0 && idle < self.terms.min_idle_ms
    }

    /// The consumer, made where it is not there.
    fn consumer(&mut self, group: &mut Group) -> ConsumerId {
        if let Some(consumer) = self.consumer {
            return consumer;
        }
        let (consumer, is_new) = group.find_or_add(self.terms.consumer, self.terms.now_ms);
        self.is_new_consumer = is_new;
        self.consumer = Some(consumer);
        consumer
    }

    /// Gives a pending entry to the consumer, and answers it. One that was not pending (`held` is none) is made so.
    fn take(&mut self, entry: Entry<'_>, group: &mut Group, held: Option<Pending>) {
        let id = entry.id;
        if self.terms.to_nobody {
            return self.release(id, group, held);
        }
        let consumer = self.consumer(group);
        let before = held.map_or(1, |held| held.deliveries);
        let deliveries = match self.terms.deliveries {
            Some(said) => said,
            None if self.terms.just_ids => before,
            None => before.wrapping_add(1),
        };
        let delivered_ms = self.terms.delivered_ms;
        let pending = Pending { consumer, delivered_ms, deliveries };
        if held.is_some() {
            group.claim(id, Claim { consumer, delivered_ms, deliveries: Some(deliveries) });
        } else {
            group.add_pending(id, pending);
        }
        if self.terms.just_ids {
            answer_id(self.reply, id);
        } else {
            answer_entry(self.reply, entry);
        }
        propagate_claim(self.db, self.feed, self.key, group, id, &pending);
        self.answered += 1;
        self.changes += 1;
    }

    /// Has an entry be nobody's.
    fn release(&mut self, id: StreamId, group: &mut Group, held: Option<Pending>) {
        let deliveries = self.terms.deliveries.or(held.map(|held| held.deliveries)).unwrap_or(1);
        let released = match held {
            Some(_) => group.release(id, |_| deliveries),
            None => group.add_released(id, deliveries),
        };
        if let Some(released) = released {
            propagate_claim(self.db, self.feed, self.key, group, id, &released);
        }
        answer_id(self.reply, id);
        self.answered += 1;
        self.changes += 1;
    }
}

/// What follows when entries were claimed.
fn after_claiming(call: &mut Call<'_>, key: &[u8], changes: u64, is_new_consumer: bool) {
    call.modified_unheard(key);
    call.dirty(changes);
    if is_new_consumer {
        call.dirty(1);
        call.notify(Classes::STREAM, "xgroup-createconsumer", key);
    }
}

/// The options of XCLAIM.
struct ClaimOptions {
    ids: usize,
    force: bool,
    just_ids: bool,
    delivered_ms: Option<i64>,
    deliveries: Option<u64>,
    last_id: StreamId,
}

fn claim_options(args: Args<'_>, now_ms: i64) -> Result<ClaimOptions, CommandError> {
    let ids = args.iter().skip(5).take_while(|arg| StreamId::parse(arg, 0).is_some()).count();
    let mut found = ClaimOptions {
        ids,
        force: false,
        just_ids: false,
        delivered_ms: None,
        deliveries: None,
        last_id: StreamId::MIN,
    };
    let mut at = 5 + ids;
    while let Some(word) = args.get(at) {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let value = args.get(at + 1);
        at += 1;
        if is(b"FORCE") {
            found.force = true;
            continue;
        } else if is(b"JUSTID") {
            found.just_ids = true;
            continue;
        }
        let Some(value) = value else {
            return Err(unknown_option(word));
        };
        at += 1;
        if is(b"IDLE") {
            let idle = number_or(value, "IDLE option argument for XCLAIM")?;
            found.delivered_ms = Some(now_ms.wrapping_sub(idle));
        } else if is(b"TIME") {
            found.delivered_ms = Some(number_or(value, "TIME option argument for XCLAIM")?);
        } else if is(b"RETRYCOUNT") {
            let count = number_or(value, "RETRYCOUNT option argument for XCLAIM")?;
            found.deliveries = u64::try_from(count).ok();
        } else if is(b"LASTID") {
            found.last_id = id(value)?;
        } else {
            return Err(unknown_option(word));
        }
    }
    Ok(found)
}

fn unknown_option(word: &[u8]) -> CommandError {
    CommandError::about("ERR Unrecognized XCLAIM option '", word, "'")
}

/// `XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-ms] [RETRYCOUNT count] [FORCE] [JUSTID]
/// [LASTID id]`
pub(super) fn xclaim(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (key, group_name) = (args.at(1), args.at(2));
    let now_ms = call.now_ms();
    let db = call.keyspace.db(call.client.db);
    if db.read_as::<Stream>(key)?.is_none_or(|stream| stream.group(group_name).is_none()) {
        return Err(no_key_or_group(key, group_name));
    }
    let min_idle_ms = number_or(args.at(4), "min-idle-time argument for XCLAIM")?.max(0);
    let options = claim_options(args, now_ms)?;
    begin_effects(call);
    let terms = Terms {
        consumer: args.at(3),
        min_idle_ms,
        // Who has counted wrong means now. -1 is what the original takes for unsaid.
        delivered_ms: options.delivered_ms.filter(|at| (0..=now_ms).contains(at)).unwrap_or(now_ms),
        now_ms,
        deliveries: options.deliveries,
        just_ids: options.just_ids,
        to_nobody: repeats(call.client) && args.at(3).is_empty() && options.delivered_ms == Some(0),
    };
    let stream = call.keyspace.db(call.client.db).write_as::<Stream>(key)?;
    let (reply, feed) = (&mut call.client.reply, &mut call.core.feed);
    let open = reply.begin();
    let mut claiming = Claiming::of(key, &terms, call.client.db, reply, feed);
    let claimed = stream.and_then(|stream| {
        stream.with_group(group_name, |stream, group| {
            let has_moved = options.last_id > group.last_id;
            group.last_id = group.last_id.max(options.last_id);
            for arg in args.iter().skip(5).take(options.ids) {
                let Some(id) = StreamId::parse(arg, 0) else { continue };
                let held = group.pending().get(id).copied();
                match (stream.get(id), held) {
                    (None, Some(held)) => claiming.forget(group, id, &held),
                    (Some(_), Some(held)) if claiming.is_too_young(&held) => {}
                    (Some(entry), None) if options.force => claiming.take(entry, group, None),
                    (Some(entry), Some(held)) => claiming.take(entry, group, Some(held)),
                    (_, None) => {}
                }
            }
            if has_moved && claiming.changes == 0 {
                propagate_last_id(claiming.db, claiming.feed, key, group);
                claiming.changes += 1;
            }
        })
    });
    let (answered, changes) = (claiming.answered, claiming.changes);
    let is_new_consumer = claiming.is_new_consumer && claimed.is_some();
    call.client.reply.end_array(open, answered);
    after_claiming(call, key, changes, is_new_consumer);
    Ok(())
}

/// `XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]`
pub(super) fn xautoclaim(call: &mut Call<'_>) -> CommandResult {
    /// Pending entries that are looked at for each that is wanted.
    const ATTEMPTS: usize = 10;
    const COUNT_MAX: i64 = i64::MAX / 16;
    let args = call.args;
    let (key, group_name) = (args.at(1), args.at(2));
    let now_ms = call.now_ms();
    // Before anything is said of the arguments, as the key may be past its deadline.
    let there = call.keyspace.db(call.client.db).read_as::<Stream>(key);
    let there = there.map(|stream| stream.is_some_and(|stream| stream.group(group_name).is_some()));
    let min_idle_ms = number_or(args.at(4), "min-idle-time argument for XAUTOCLAIM")?.max(0);
    let start = range_start(args.at(5))?;
    let (mut wanted, mut just_ids, mut at) = (100, false, 6);
    while let Some(word) = args.get(at) {
        at += 1;
        if word.eq_ignore_ascii_case(b"COUNT") && at < args.len() {
            let text = "ERR COUNT must be > 0";
            let count = integer_within(args.at(at), 1..=COUNT_MAX, text);
            wanted = count.map_err(|_| CommandError::new(text))? as usize;
            at += 1;
        } else if word.eq_ignore_ascii_case(b"JUSTID") {
            just_ids = true;
        } else {
            return Err(SYNTAX);
        }
    }
    if !there? {
        return Err(no_key_or_group(key, group_name));
    }
    begin_effects(call);
    let terms = Terms {
        consumer: args.at(3),
        min_idle_ms,
        delivered_ms: now_ms,
        now_ms,
        deliveries: None,
        just_ids,
        to_nobody: false,
    };
    let stream = call.keyspace.db(call.client.db).write_as::<Stream>(key)?;
    let (reply, feed) = (&mut call.client.reply, &mut call.core.feed);
    reply.array(3);
    let cursor = reply.end();
    let open = reply.begin();
    let mut claiming = Claiming::of(key, &terms, call.client.db, reply, feed);
    let found = stream.and_then(|stream| {
        stream.with_group(group_name, |stream, group| {
            let attempts = wanted.saturating_mul(ATTEMPTS);
            claim_from(&mut claiming, stream, group, start, wanted, attempts)
        })
    });
    let (answered, changes) = (claiming.answered, claiming.changes);
    let is_new_consumer = claiming.is_new_consumer;
    let (next, deleted) = found.unwrap_or_default();
    let reply = &mut call.client.reply;
    reply.end_array(open, answered);
    reply.insert_bulk(cursor, next.text().as_bytes());
    reply.array(deleted.len());
    deleted.iter().for_each(|id| answer_id(reply, *id));
    after_claiming(call, key, changes, is_new_consumer);
    Ok(())
}

/// Claims pending entries from an id on. Answers where to go on (the lowest id at the end), and those that were deleted.
fn claim_from(
    claiming: &mut Claiming<'_, '_>,
    stream: &Stream,
    group: &mut Group,
    start: StreamId,
    mut wanted: usize,
    mut attempts: usize,
) -> (StreamId, Vec<StreamId>) {
    let mut deleted = Vec::new();
    let mut place = group.pending().seek(start);
    let at = |pending: &Row<Pending>, place| pending.at(place).map(|(id, held)| (id, *held));
    while attempts > 0 && wanted > 0 {
        let Some((id, held)) = at(group.pending(), place) else { break };
        attempts -= 1;
        let Some(entry) = stream.get(id) else {
            claiming.forget(group, id, &held);
            deleted.push(id);
            place = group.pending().seek(id);
            wanted -= 1;
            continue;
        };
        if !claiming.is_too_young(&held) {
            claiming.take(entry, group, Some(held));
            wanted -= 1;
        }
        place = group.pending().after(place);
    }
    let next = at(group.pending(), place).map_or(StreamId::MIN, |(id, _)| id);
    (next, deleted)
}
