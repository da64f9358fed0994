//! Adding and removing entries.

use redstart_common::resp::Args;

use super::super::options::integer;
use super::idempotence;
use super::references::{propagate_acknowledged, propagate_removed};
use super::{INVALID_ID, begin_effects, id, trim};
use crate::engine::feed::Audience;
use crate::engine::{Call, CommandError, CommandResult, NO_SUCH_KEY, SYNTAX};
use crate::keyspace::Place;
use crate::settings::notify::Classes;
use crate::types::Stream;
use crate::types::stream::{AddError, Gone, References, StreamId, Trim, Wanted};

const NOT_ABOVE_ZERO: CommandError =
    CommandError::new("ERR The ID specified in XADD must be greater than 0-0");

fn refused(why: AddError) -> CommandError {
    CommandError::new(match why {
        AddError::Exhausted => {
            "ERR The stream has exhausted the last possible ID, unable to add more items"
        }
        AddError::NotAbove => {
            "ERR The ID specified in XADD is equal or smaller than the target stream top item"
        }
        AddError::TooLong => "ERR Elements are too large to be stored",
    })
}

/// Names and values.
#[derive(Clone)]
struct Pairs<'a> {
    args: Args<'a>,
    at: usize,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let value = self.args.get(self.at + 1)?;
        let name = self.args.at(self.at);
        self.at += 2;
        Some((name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.args.len() - self.at) / 2;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Pairs<'_> {}

/// `XADD key [NOMKSTREAM] [KEEPREF | DELREF | ACKED] [IDMPAUTO producer | IDMP producer name] [MAXLEN | MINID [= | ~]
/// threshold [LIMIT count]] * | id field value [field value ...]`
pub(super) fn xadd(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let request = trim::request(call, true)?;
    let first = request.id_at + 1;
    if args.len() < first + 2 || (args.len() - first) % 2 == 1 {
        return Err(CommandError::arity("xadd"));
    }
    if request.wanted == Wanted::Exactly(StreamId::MIN) {
        return Err(NOT_ABOVE_ZERO);
    }
    let pairs = Pairs { args, at: first };
    // Before the key is there for nothing.
    if args.bytes_total() > 1 << 30
        && pairs.clone().map(|(name, value)| name.len() + value.len()).sum::<usize>() > 1 << 30
    {
        return Err(refused(AddError::TooLong));
    }
    let key = args.at(1);
    let now_ms = u64::try_from(call.now_ms()).unwrap_or(0);
    let limits = &call.core.settings.packed;
    let memory = call.core.settings.stream_names;
    let auto = request.producer.filter(|(_, name)| name.is_none());
    let auto = auto.map(|_| idempotence::name_of(pairs.clone()));
    let producer = request.producer.map(|(producer, name)| {
        (producer, name.or(auto.as_ref().map(|name| &name[..])).unwrap_or_default())
    });
    let db = call.keyspace.db(call.client.db);
    let stream = if request.only_if_present {
        match db.write_as::<Stream>(key)? {
            Some(stream) => stream,
            None => {
                call.client.reply.null();
                return Ok(());
            }
        }
    } else {
        db.write_or_create::<Stream>(key)?
    };
    if let Some((producer, name)) = producer {
        let known = stream.idempotence_or(memory);
        known.forget_old(now_ms);
        if let Some(id) = known.find(producer, name) {
            known.duplicates += 1;
            call.client.reply.bulk(id.text().as_bytes());
            return Ok(());
        }
    }
    let id = stream.add(request.wanted, now_ms, pairs, limits).map_err(refused)?;
    if let Some((producer, name)) = producer {
        stream.idempotence_or(memory).note(producer, name, id);
    }
    let (removed, gone) = match &request.trim {
        Some((trim, _)) => stream.trim_by(trim, request.references.unwrap_or(References::Keep)),
        None => (0, Gone::default()),
    };
    // Words that older servers do not know are left out, and approximate ones are not repeated.
    let is_newer = request.references.is_some() || producer.is_some();
    let about = request.trim.as_ref().filter(|(trim, _)| trim.by_nodes || is_newer);
    let threshold = about
        .filter(|_| call.core.feed.wanted())
        .map(|(trim, at)| (*at, threshold(stream, trim, is_newer)));
    let text = id.text();
    call.client.reply.bulk(text.as_bytes());
    call.modified(key);
    call.notify(Classes::STREAM, "xadd", key);
    call.dirty(1);
    if removed > 0 {
        call.notify(Classes::STREAM, "xtrim", key);
    }
    let made = (request.id_at, text.as_bytes());
    match &threshold {
        _ if is_newer => {
            if producer.is_some() {
                call.keyspace.db(call.client.db).note_names(key);
            }
            propagate_added(call, &request, producer, text.as_bytes(), threshold, gone);
        }
        Some((at, threshold)) => {
            call.propagate_changed(&[(at - 1, b"="), (*at, threshold), made]);
        }
        None if call.core.feed.wanted() && !matches!(request.wanted, Wanted::Exactly(_)) => {
            call.propagate_changed(&[made]);
        }
        None => {}
    }
    Ok(())
}

/// The threshold by which a cut is repeated.
fn threshold(stream: &Stream, trim: &Trim, is_newer: bool) -> Vec<u8> {
    match is_newer {
        true => trim::threshold_of_the_rest(stream, trim),
        false => trim::exact_threshold(stream, trim),
    }
}

/// Has it repeated in words that every Redis knows that an entry was added and others went with regard to the groups. What its
/// producer calls it follows for replicas by itself, so that those have at least the entry that know nothing of names.
fn propagate_added(
    call: &mut Call<'_>,
    request: &trim::Request<'_>,
    producer: Option<(&[u8], &[u8])>,
    id: &[u8],
    threshold: Option<(usize, Vec<u8>)>,
    mut gone: Gone,
) {
    begin_effects(call);
    if !call.core.feed.wanted() {
        return;
    }
    let (args, key) = (call.args, call.arg(1));
    let mut words: Vec<&[u8]> = vec![b"XADD", key];
    let is_cut = request.references != Some(References::Acknowledged);
    if let (Some((trim, _)), Some((_, threshold))) = (&request.trim, &threshold)
        && is_cut
    {
        words.extend([trim.keep.word().as_bytes(), b"=", threshold]);
    }
    let (before, db) = (words.len(), call.client.db);
    words.push(id);
    words.extend(args.iter().skip(request.id_at + 1));
    match producer {
        None => call.core.feed.push(db, &words),
        Some((producer, name)) => {
            let feed = &mut call.core.feed;
            feed.keep_apart_for(Audience::REPLICAS);
            feed.push_to(Audience::REPLICAS, db, &words);
            let named = [b"XIDMPRECORD", key, producer, name, id];
            feed.push_to(Audience::REPLICAS, db, &named);
            words.splice(before..before, [&b"IDMP"[..], producer, name]);
            feed.push_to(Audience::ALL.without(Audience::REPLICAS), db, &words);
        }
    }
    propagate_acknowledged(call, key, &mut gone);
    if !is_cut {
        propagate_removed(call, key, &gone);
    }
}

/// `XTRIM key MAXLEN | MINID [= | ~] threshold [LIMIT count] [KEEPREF | DELREF | ACKED]`
pub(super) fn xtrim(call: &mut Call<'_>) -> CommandResult {
    let request = trim::request(call, false)?;
    let key = call.arg(1);
    let stream = call.keyspace.db(call.client.db).write_as::<Stream>(key)?;
    let (Some(stream), Some((trim, at))) = (stream, &request.trim) else {
        call.client.reply.integer(0);
        return Ok(());
    };
    let (removed, mut gone) = stream.trim_by(trim, request.references.unwrap_or(References::Keep));
    call.client.reply.integer(removed as i64);
    if removed == 0 {
        return Ok(());
    }
    let is_newer = request.references.is_some();
    let threshold = (trim.by_nodes || is_newer).then(|| threshold(stream, trim, is_newer));
    call.notify(Classes::STREAM, "xtrim", key);
    match threshold {
        Some(threshold) if is_newer => {
            begin_effects(call);
            if request.references == Some(References::Acknowledged) {
                propagate_removed(call, key, &gone);
            } else {
                let word = trim.keep.word().as_bytes();
                call.core.feed.push(call.client.db, &[b"XTRIM", key, word, b"=", &threshold]);
                propagate_acknowledged(call, key, &mut gone);
            }
        }
        Some(threshold) => call.propagate_changed(&[(at - 1, b"="), (*at, &threshold)]),
        None => {}
    }
    call.modified(key);
    call.dirty(removed);
    Ok(())
}

/// `XDEL key id [id ...]`
pub(super) fn xdel(call: &mut Call<'_>) -> CommandResult {
    let key = call.arg(1);
    let ids = call.args.tail(2);
    let Place::Held(mut held) = call.keyspace.db(call.client.db).place_to_write(key) else {
        call.client.reply.integer(0);
        return Ok(());
    };
    held.collection::<Stream>()?;
    // All of it or nothing.
    ids.iter().try_for_each(|arg| id(arg).map(|_| ()))?;
    let stream = held.collection_mut::<Stream>()?;
    let removed = stream.remove(ids.iter().filter_map(|arg| StreamId::parse(arg, 0)));
    call.client.reply.count(removed);
    if removed > 0 {
        call.modified(key);
        call.notify(Classes::STREAM, "xdel", key);
        call.dirty(removed as u64);
    }
    Ok(())
}

/// `XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]`
pub(super) fn xsetid(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let last_id = id(args.at(2))?;
    let (mut added, mut max_deleted, mut at) = (None, None, 3);
    while let Some(word) = args.get(at) {
        let value = args.get(at + 1).ok_or(SYNTAX)?;
        if word.eq_ignore_ascii_case(b"ENTRIESADDED") {
            let wrong = CommandError::new("ERR entries_added must be positive");
            added = Some(u64::try_from(integer(value)?).map_err(|_| wrong)?);
        } else if word.eq_ignore_ascii_case(b"MAXDELETEDID") {
            let id = StreamId::parse(value, 0).ok_or(INVALID_ID)?;
            if last_id < id {
                return Err(CommandError::new(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
            max_deleted = Some(id);
        } else {
            return Err(SYNTAX);
        }
        at += 2;
    }
    let key = args.at(1);
    let Place::Held(mut held) = call.keyspace.db(call.client.db).place_to_write(key) else {
        return Err(NO_SUCH_KEY);
    };
    let stream = held.collection::<Stream>()?;
    if stream.last_entry_id().is_some_and(|top| last_id < top) {
        return Err(CommandError::new(
            "ERR The ID specified in XSETID is smaller than the target stream top item",
        ));
    }
    if added.is_some_and(|added| added < stream.len()) {
        return Err(CommandError::new(
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        ));
    }
    let max_deleted = max_deleted.filter(|id| *id != StreamId::MIN);
    held.collection_mut::<Stream>()?.set_facts(last_id, added, max_deleted);
    call.client.reply.ok();
    call.modified_unheard(key);
    call.dirty(1);
    call.notify(Classes::STREAM, "xsetid", key);
    Ok(())
}
