//! XREAD and XREADGROUP, at once and when something comes.

use redstart_common::number::parse_i64;
use redstart_common::resp::{Args, OwnedArgs, Proto, error};

use super::super::options::integer;
use super::{
    answer_entry, answer_fields, answer_id, begin_effects, id, propagate_claim, propagate_last_id,
};
use crate::client::{Flags, Open, Reply};
use crate::engine::waiting::Nothing;
use crate::engine::{Call, CommandError, CommandResult, SYNTAX, TIMEOUT_NEGATIVE};
use crate::keyspace::{Kind, Place};
use crate::settings::notify::Classes;
use crate::types::Stream;
use crate::types::stream::{Delivery, Entry, Group, Pending, StreamId};

/// Entries that a waiter is handed at most where it does not say how many.
const COUNT_AFTER_WAITING: usize = 1000;

/// What is to be read.
struct Reading<'a> {
    /// The group and its consumer.
    group: Option<(&'a [u8], &'a [u8])>,
    is_pending: bool,
    /// Pending entries that nobody has dealt with for so many milliseconds are handed out too.
    claim_idle_ms: Option<i64>,
    /// Entries of a stream at most; 0 is any number.
    count: usize,
    /// Entries of all streams at most.
    count_of_all: usize,
    /// Bytes of the reply from which on no entry is added.
    bytes_of_all: usize,
    timeout_ms: Option<i64>,
    /// The index of the first key, and how many there are; as many ids follow.
    streams: (usize, usize),
}

/// From where on a stream is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// Behind this id.
    After(StreamId),
    /// What the group was not handed yet.
    New,
}

/// Milliseconds to wait; 0 is for ever.
fn timeout(arg: &[u8]) -> Result<i64, CommandError> {
    match parse_i64(arg) {
        None => Err(CommandError::new(error::TIMEOUT_NOT_AN_INTEGER)),
        Some(..0) => Err(TIMEOUT_NEGATIVE),
        Some(ms) => Ok(ms),
    }
}

/// The value of an option that limits the whole reply (Redis 8.10).
fn positive(arg: &[u8], option: &str) -> Result<usize, CommandError> {
    let value = parse_i64(arg).and_then(|value| usize::try_from(value).ok());
    value
        .filter(|value| *value > 0)
        .ok_or_else(|| CommandError::made(format!("ERR {option} must be a positive integer")))
}

fn only_for_groups(option: &str) -> CommandError {
    CommandError::made(format!(
        "ERR The {option} option is only supported by XREADGROUP. You called XREAD instead."
    ))
}

fn request<'a>(call: &Call<'a>, for_group: bool) -> Result<Reading<'a>, CommandError> {
    let args = call.args;
    let mut reading = Reading {
        group: None,
        is_pending: true,
        claim_idle_ms: None,
        count: 0,
        count_of_all: usize::MAX,
        bytes_of_all: usize::MAX,
        timeout_ms: None,
        streams: (0, 0),
    };
    let mut at = 1;
    while let Some(word) = args.get(at) {
        let more = args.len() - at - 1;
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        if is(b"BLOCK") && more > 0 {
            if call.client.flags.any(Flags::SCRIPT) {
                let after = " command is not allowed with BLOCK option from scripts";
                return Err(CommandError::about("ERR ", args.at(0), after));
            }
            at += 1;
            reading.timeout_ms = Some(timeout(args.at(at))?);
        } else if is(b"COUNT") && more > 0 {
            at += 1;
            reading.count = usize::try_from(integer(args.at(at))?).unwrap_or(0);
        } else if is(b"MAXCOUNT") && more > 0 {
            at += 1;
            reading.count_of_all = positive(args.at(at), "MAXCOUNT")?;
        } else if is(b"MAXSIZE") && more > 0 {
            at += 1;
            reading.bytes_of_all = positive(args.at(at), "MAXSIZE")?;
        } else if is(b"STREAMS") && more > 0 {
            if !more.is_multiple_of(2) {
                return Err(CommandError::new(
                    "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must \
                     be specified.",
                ));
            }
            reading.streams = (at + 1, more / 2);
            break;
        } else if is(b"GROUP") && more >= 2 {
            if !for_group {
                return Err(only_for_groups("GROUP"));
            }
            reading.group = Some((args.at(at + 1), args.at(at + 2)));
            at += 2;
        } else if is(b"CLAIM") && more > 0 {
            if !for_group {
                return Err(only_for_groups("CLAIM"));
            }
            at += 1;
            let wrong = "ERR min-idle-time is not an integer or out of range";
            let idle = parse_i64(args.at(at)).ok_or(CommandError::new(wrong))?;
            if idle < 0 {
                return Err(CommandError::new("ERR min-idle-time must be a positive integer"));
            }
            reading.claim_idle_ms = Some(idle);
        } else if is(b"NOACK") {
            if !for_group {
                return Err(only_for_groups("NOACK"));
            }
            reading.is_pending = false;
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    if reading.streams.0 == 0 {
        return Err(SYNTAX);
    }
    if reading.count_of_all < reading.count {
        return Err(CommandError::new("ERR MAXCOUNT must be greater than or equal to COUNT"));
    }
    if for_group && reading.group.is_none() {
        return Err(CommandError::new("ERR Missing GROUP option for XREADGROUP"));
    }
    Ok(reading)
}

fn meaningless(sign: &str) -> CommandError {
    CommandError::made(format!(
        "ERR The {sign} ID is meaningless in the context of XREADGROUP: you want to read the history \
         of this consumer by specifying a proper ID, or use the > ID to get new messages. The \
         {sign} ID would just return an empty result set."
    ))
}

/// From where on a stream is to be read, which may not be there.
fn from(arg: &[u8], for_group: bool, stream: Option<&Stream>) -> Result<From, CommandError> {
    let last = |stream: &Stream| stream.facts().last_id;
    Ok(match arg {
        b"$" if for_group => return Err(meaningless("$")),
        b"$" => From::After(stream.map_or(StreamId::MIN, last)),
        b"+" if for_group => return Err(meaningless("+")),
        // Redis 7.4: the last entry, or what comes next.
        b"+" => From::After(stream.map_or(StreamId::MIN, |stream| {
            stream.last_entry_id().and_then(StreamId::previous).unwrap_or_else(|| last(stream))
        })),
        b">" if for_group => From::New,
        b">" => {
            return Err(CommandError::new(
                "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> \
                 <consumer> option.",
            ));
        }
        _ => match id(arg)? {
            // The original has no other sign for `>`.
            StreamId::MAX if for_group => From::New,
            id => From::After(id),
        },
    })
}

/// Room for what so many streams are read from; that of one needs no allocation.
fn room<'r>(count: usize, one: &'r mut [From], many: &'r mut Vec<From>) -> &'r mut [From] {
    if count == 1 {
        return one;
    }
    many.resize(count, From::New);
    many
}

impl<'a> Reading<'a> {
    fn keys(&self, args: Args<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (first, count) = self.streams;
        args.iter().skip(first).take(count)
    }

    fn most(&self) -> usize {
        if self.count == 0 { usize::MAX } else { self.count }
    }
}

/// The streams that are answered, begun with the first: pairs of a key and entries, or a map in RESP3.
struct Answer {
    /// There can be one only, so that nothing is left to be told at the end.
    is_one: bool,
    open: Option<Open>,
    streams: usize,
    /// Entries that may still be added, of whatever stream.
    left: usize,
    /// Bytes of output from which on none is.
    bytes_until: usize,
}

impl Answer {
    fn of(streams: usize, reading: &Reading<'_>, reply: &Reply) -> Self {
        Self {
            is_one: streams == 1,
            open: None,
            streams: 0,
            left: reading.count_of_all,
            bytes_until: reply.pending().saturating_add(reading.bytes_of_all),
        }
    }

    /// Whether no more streams are looked at, and none of the entries of this one.
    fn is_full(&self, reply: &Reply) -> bool {
        self.left == 0 || self.streams > 0 && reply.pending() >= self.bytes_until
    }

    fn begin_stream(&mut self, reply: &mut Reply, key: &[u8]) {
        let is_map = reply.proto == Proto::Resp3;
        match self.streams {
            0 if !self.is_one => self.open = Some(reply.begin()),
            0 if is_map => reply.map(1),
            0 => reply.array(1),
            _ => {}
        }
        self.streams += 1;
        if !is_map {
            reply.array(2);
        }
        reply.bulk(key);
    }

    /// Answers whether there was any.
    fn end(self, reply: &mut Reply) -> bool {
        match (self.open, reply.proto) {
            (Some(open), Proto::Resp2) => reply.end_array(open, self.streams),
            (Some(open), Proto::Resp3) => reply.end_map(open, self.streams),
            (None, _) => {}
        }
        self.streams > 0
    }

    /// Answers the entries behind an id.
    fn answer_after(
        &mut self,
        reply: &mut Reply,
        stream: &Stream,
        after: StreamId,
        count: usize,
        most: usize,
    ) {
        let open = reply.begin();
        let mut written = 0;
        if let Some(start) = after.next() {
            for entry in stream.range(start, StreamId::MAX).take(count.min(self.left)) {
                if reply.pending() > most {
                    break;
                }
                answer_entry(reply, entry);
                written += 1;
                if reply.pending() >= self.bytes_until {
                    break;
                }
            }
        }
        self.left -= written;
        reply.end_array(open, written);
    }
}

/// `XREAD [COUNT count] [MAXCOUNT count] [MAXSIZE bytes] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]`
pub(super) fn xread(call: &mut Call<'_>) -> CommandResult {
    let reading = request(call, false)?;
    let args = call.args;
    if call.client.flags.any(Flags::SERVING) {
        return serve(call, &reading);
    }
    let (first, count) = reading.streams;
    let (mut one, mut many) = ([From::New], Vec::new());
    let ids = room(count, &mut one, &mut many);
    for ((key, arg), id) in reading.keys(args).zip(args.iter().skip(first + count)).zip(&mut *ids) {
        let stream = call.keyspace.db(call.client.db).read_as::<Stream>(key)?;
        *id = from(arg, false, stream)?;
    }
    let most = call.output_most();
    let mut answer = Answer::of(count, &reading, &call.client.reply);
    for (key, from) in reading.keys(args).zip(&*ids) {
        if answer.is_full(&call.client.reply) {
            break;
        }
        let stream = call.keyspace.db(call.client.db).read_as::<Stream>(key)?;
        let (Some(stream), From::After(after)) = (stream, *from) else { continue };
        if stream.last_entry_id().is_some_and(|last| last > after) {
            let reply = &mut call.client.reply;
            answer.begin_stream(reply, key);
            answer.answer_after(reply, stream, after, reading.most(), most);
        }
    }
    if !answer.end(&mut call.client.reply) {
        wait(call, &reading, ids);
    }
    Ok(())
}

/// Nothing is there: the client waits if it wants to. What its ids mean now is what they mean when something comes.
fn wait(call: &mut Call<'_>, reading: &Reading<'_>, ids: &[From]) {
    let Some(timeout_ms) = reading.timeout_ms else {
        call.client.reply.null_array();
        return;
    };
    let args = call.args;
    let (first, count) = reading.streams;
    call.block_as(Kind::Stream, reading.keys(args), timeout_ms, Nothing::NullArray, || {
        let mut fixed = OwnedArgs::new();
        args.iter().take(first + count).for_each(|arg| fixed.push(arg));
        for from in ids {
            match from {
                From::After(id) => fixed.push(id.text().as_bytes()),
                From::New => fixed.push(b">"),
            }
        }
        fixed
    });
}

/// Whether a group has pending entries of a stream that are to be handed out once more; if it has none yet, when it will.
fn claimable(reading: &Reading<'_>, group: &Group, stream: &Stream, now_ms: i64) -> Claimable {
    let Some(idle_ms) = reading.claim_idle_ms else { return Claimable::Never };
    let oldest = group.oldest_delivery_ms(stream);
    let from = oldest.unwrap_or(now_ms).saturating_add(idle_ms);
    if oldest.is_some() && from <= now_ms { Claimable::Now } else { Claimable::From(from) }
}

/// When pending entries are to be handed out once more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Claimable {
    Now,
    /// Not before then, in milliseconds since 1970.
    From(i64),
    /// It was not asked for.
    Never,
}

/// Has a reader that waits looked after when what is pending at one of its keys has been so for long enough.
fn look_again(call: &mut Call<'_>, reading: &Reading<'_>) -> CommandResult {
    let (Some((group, _)), true) = (reading.group, reading.claim_idle_ms.is_some()) else {
        return Ok(());
    };
    let now_ms = call.now_ms();
    for key in reading.keys(call.args) {
        let stream = call.keyspace.db(call.client.db).peek_as::<Stream>(key)?;
        let group = stream.and_then(|stream| Some((stream, stream.group(group)?)));
        let at = group.map(|(stream, group)| claimable(reading, group, stream, now_ms));
        if let Some(Claimable::From(at_ms)) = at {
            call.core.blocking.retry_at(call.client.db, key, at_ms);
        }
    }
    call.core.alarm();
    Ok(())
}

/// `XREADGROUP GROUP group consumer [COUNT count] [MAXCOUNT count] [MAXSIZE bytes] [BLOCK milliseconds]
/// [CLAIM min-idle-time] [NOACK] STREAMS key [key ...] id [id ...]` (CLAIM of Redis 8.4, MAXCOUNT and MAXSIZE of 8.10)
pub(super) fn xreadgroup(call: &mut Call<'_>) -> CommandResult {
    let reading = request(call, true)?;
    let args = call.args;
    begin_effects(call);
    if call.client.flags.any(Flags::SERVING) {
        return serve(call, &reading);
    }
    let Some((group, _)) = reading.group else { return Err(SYNTAX) };
    let (first, count) = reading.streams;
    let (mut one, mut many) = ([From::New], Vec::new());
    let ids = room(count, &mut one, &mut many);
    for ((key, arg), id) in reading.keys(args).zip(args.iter().skip(first + count)).zip(&mut *ids) {
        let stream = call.keyspace.db(call.client.db).read_as::<Stream>(key)?;
        if stream.is_none_or(|stream| stream.group(group).is_none()) {
            let parts = [
                "NOGROUP No such key '",
                "' or consumer group '",
                "' in XREADGROUP with GROUP option",
            ];
            return Err(super::about(parts, [key, group]));
        }
        *id = from(arg, true, stream)?;
    }
    let now_ms = call.now_ms();
    let mut answer = Answer::of(count, &reading, &call.client.reply);
    for (key, from) in reading.keys(args).zip(&*ids) {
        if answer.is_full(&call.client.reply) {
            break;
        }
        let has_any = |group: &Group, stream: &Stream| match from {
            From::After(_) => true,
            From::New => {
                stream.last_entry_id().is_some_and(|last| last > group.last_id)
                    || claimable(&reading, group, stream, now_ms) == Claimable::Now
            }
        };
        hand_out(call, &reading, key, *from, &mut answer, reading.most(), has_any)?;
    }
    if !answer.end(&mut call.client.reply) {
        wait(call, &reading, ids);
        if call.client.flags.any(Flags::BLOCKED) {
            look_again(call, &reading)?;
        }
    }
    Ok(())
}

/// Hands a consumer entries of a stream, if there are any to hand out; its consumer is made where it is not there.
fn hand_out(
    call: &mut Call<'_>,
    reading: &Reading<'_>,
    key: &[u8],
    from: From,
    answer: &mut Answer,
    most: usize,
    has_any: impl Fn(&Group, &Stream) -> bool,
) -> CommandResult {
    let Some((group_name, consumer_name)) = reading.group else { return Ok(()) };
    let is_served = call.client.flags.any(Flags::SERVING);
    let now_ms = call.now_ms();
    let db = call.keyspace.db(call.client.db);
    // Redis looks a second time, and counts that, but for who has waited.
    let place = if is_served { db.place_to_write(key) } else { db.place_to_read(key) };
    let Place::Held(mut held) = place else { return Ok(()) };
    let stream = held.collection::<Stream>()?;
    if !stream.group(group_name).is_some_and(|group| has_any(group, stream)) {
        return Ok(());
    }
    let (reply, feed, db) = (&mut call.client.reply, &mut call.core.feed, call.client.db);
    answer.begin_stream(reply, key);
    let stream = held.collection_mut::<Stream>()?;
    let is_new = stream.with_group(group_name, |stream, group| {
        let (consumer, is_new) = group.find_or_add(consumer_name, now_ms);
        if is_new && !reading.is_pending {
            feed.push(db, &[b"XGROUP", b"CREATECONSUMER", key, group_name, consumer_name]);
        }
        let open = reply.begin();
        let (most, bytes_until) = (most.min(answer.left), answer.bytes_until);
        let written = match from {
            From::After(id) => {
                let own = group.consumer(consumer).pending();
                let start = id.next();
                let ids: Vec<StreamId> = start
                    .into_iter()
                    .flat_map(|start| own.iter_from(start).map(|(id, ())| id).take(most))
                    .collect();
                let mut written = 0;
                for id in ids {
                    hand_again(reply, stream, group, id, now_ms);
                    written += 1;
                    if reply.pending() >= bytes_until {
                        break;
                    }
                }
                written
            }
            From::New => {
                let is_pending = reading.is_pending;
                let with_history = reading.claim_idle_ms.is_some();
                let delivery = Delivery { consumer, is_pending, now_ms, most };
                let claimed = reading.claim_idle_ms.map_or(0, |idle_ms| {
                    group.deliver_idle(stream, delivery, idle_ms, |entry, before, group| {
                        answer_with_history(reply, entry, Some((&before, now_ms)));
                        if let Some(held) = group.pending().get(entry.id) {
                            propagate_claim(db, feed, key, group, entry.id, held);
                        }
                        reply.pending() < bytes_until
                    })
                });
                let is_full = claimed > 0 && reply.pending() >= bytes_until;
                let left = if is_full { 0 } else { most - claimed };
                let delivery = Delivery { most: left, ..delivery };
                let count = group.deliver(stream, delivery, |entry, group| {
                    if with_history {
                        answer_with_history(reply, entry, None);
                    } else {
                        answer_entry(reply, entry);
                    }
                    if is_pending
                        && feed.wanted()
                        && let Some(held) = group.pending().get(entry.id)
                    {
                        propagate_claim(db, feed, key, group, entry.id, held);
                    }
                    reply.pending() < bytes_until
                });
                if count > 0 && !is_pending {
                    propagate_last_id(db, feed, key, group);
                }
                claimed + count
            }
        };
        answer.left -= written;
        reply.end_array(open, written);
        is_new
    });
    call.modified_unheard(key);
    if is_new == Some(true) {
        call.dirty(1);
        call.notify(Classes::STREAM, "xgroup-createconsumer", key);
    }
    call.dirty(1);
    Ok(())
}

/// Answers an entry with how many milliseconds nobody has dealt with it, and how often it was handed out before: zeros for one
/// that was not.
fn answer_with_history(reply: &mut Reply, entry: Entry<'_>, before: Option<(&Pending, i64)>) {
    reply.array(4);
    answer_id(reply, entry.id);
    answer_fields(reply, entry);
    reply.integer(before.map_or(0, |(held, now_ms)| now_ms.saturating_sub(held.delivered_ms)));
    reply.integer(before.map_or(0, |(held, _)| held.deliveries as i64));
}

/// Answers an entry that a consumer has already; one that is deleted is told by its id.
fn hand_again(reply: &mut Reply, stream: &Stream, group: &mut Group, id: StreamId, now_ms: i64) {
    match stream.get(id) {
        Some(entry) => {
            answer_entry(reply, entry);
            group.hand_again(id, now_ms);
        }
        None => {
            reply.array(2);
            answer_id(reply, id);
            reply.null_array();
        }
    }
}

/// Serves a client that has waited, from the stream that was written. If that has nothing for it, it waits on.
fn serve(call: &mut Call<'_>, reading: &Reading<'_>) -> CommandResult {
    let args = call.args;
    let now_ms = call.now_ms();
    let (first, count) = reading.streams;
    let served = reading.keys(args).zip(args.iter().skip(first + count));
    let Some((key, arg)) = served.into_iter().find(|(key, _)| call.may_take(key)) else {
        return Ok(());
    };
    let count = if reading.count == 0 { COUNT_AFTER_WAITING } else { reading.count };
    let Some(stream) = call.keyspace.db(call.client.db).peek_as::<Stream>(key)? else {
        // It was past its deadline.
        if reading.group.is_some() {
            return Err(CommandError::new(error::STREAM_GONE));
        }
        call.block(Kind::Stream, reading.keys(args), 0, Nothing::NullArray);
        return Ok(());
    };
    let from = from(arg, reading.group.is_some(), None)?;
    let group = match reading.group {
        Some((group, _)) => Some(stream.group(group).ok_or(CommandError::new(
            "NOGROUP the consumer group this client was blocked on no longer exists",
        ))?),
        None => None,
    };
    let after = match (group, from) {
        (Some(group), _) => group.last_id,
        (None, From::After(id)) => id,
        (None, From::New) => return Err(SYNTAX),
    };
    let is_claimable =
        group.is_some_and(|group| claimable(reading, group, stream, now_ms) == Claimable::Now);
    if stream.facts().last_id <= after && !is_claimable {
        call.block(Kind::Stream, reading.keys(args), 0, Nothing::NullArray);
        return look_again(call, reading);
    }
    let mut answer = Answer::of(1, reading, &call.client.reply);
    if reading.group.is_some() {
        hand_out(call, reading, key, From::New, &mut answer, count, |_, _| true)?;
    } else {
        let most = call.output_most();
        let db = call.keyspace.db(call.client.db);
        if let Some(stream) = db.peek_as::<Stream>(key)? {
            let reply = &mut call.client.reply;
            answer.begin_stream(reply, key);
            answer.answer_after(reply, stream, after, count, most);
        }
    }
    answer.end(&mut call.client.reply);
    Ok(())
}
