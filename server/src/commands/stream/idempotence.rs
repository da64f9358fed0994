//! Entries that a producer may send twice: XCFGSET and XIDMPRECORD of Redis 8.6, and the names that XADD makes.

use std::ops::RangeInclusive;

use xxhash_rust::xxh3::Xxh3;

use super::super::options::integer;
use super::{id, repeats};
use crate::engine::{Call, CommandError, CommandResult, NO_SUCH_KEY, SYNTAX};
use crate::keyspace::Place;
use crate::types::Stream;
use crate::types::stream::Memory;

/// The name of an entry that its producer gave none: what it is made of, in whatever order. It is Redis's, so that servers of
/// both kinds know an entry by the same name: the sum and the exclusive-or of the hashes of the pairs, each of a field, its
/// length and its value.
pub(super) fn name_of<'t>(pairs: impl Iterator<Item = (&'t [u8], &'t [u8])>) -> [u8; 16] {
    let (mut sum, mut mixed) = ([0_u64; 2], [0_u64; 2]);
    let mut state = Xxh3::new();
    for (field, value) in pairs {
        state.reset();
        state.update(field);
        state.update(&(field.len() as u64).to_le_bytes());
        state.update(value);
        let pair = state.digest128();
        for (at, half) in [pair as u64, (pair >> 64) as u64].into_iter().enumerate() {
            sum[at] = sum[at].wrapping_add(half);
            mixed[at] ^= half;
        }
    }
    let low = sum[0] ^ mixed[1].rotate_left(1);
    let high = sum[1] ^ mixed[0].rotate_left(1);
    (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
}

/// A value of XCFGSET.
fn measure(
    arg: &[u8],
    option: &str,
    unit: &str,
    within: RangeInclusive<i64>,
) -> Result<u64, CommandError> {
    let value = integer(arg)?;
    let value = u64::try_from(value).ok().filter(|_| within.contains(&value));
    value.ok_or_else(|| {
        let (least, most) = within.into_inner();
        CommandError::made(format!("ERR {option} must be between {least} and {most} {unit}"))
    })
}

/// `XCFGSET key [IDMP-DURATION seconds] [IDMP-MAXSIZE names]` (Redis 8.6)
pub(super) fn xcfgset(call: &mut Call<'_>) -> CommandResult {
    let (args, key) = (call.args, call.arg(1));
    let usual = call.core.settings.stream_names;
    let stream = call.keyspace.db(call.client.db).read_as::<Stream>(key)?;
    let stream = stream.ok_or(NO_SUCH_KEY)?;
    let before = stream.idempotence().map_or(usual, |known| known.memory());
    let (mut seconds, mut most, mut at) = (None, None, 2);
    while let Some(word) = args.get(at) {
        let value = args.get(at + 1).ok_or(SYNTAX)?;
        let (place, option, unit, within) = if word.eq_ignore_ascii_case(b"IDMP-DURATION") {
            (&mut seconds, "IDMP-DURATION", "seconds", Memory::SECONDS)
        } else if word.eq_ignore_ascii_case(b"IDMP-MAXSIZE") {
            (&mut most, "IDMP-MAXSIZE", "entries", Memory::MOST)
        } else {
            return Err(SYNTAX);
        };
        if place.is_some() {
            return Err(CommandError::made(format!("ERR {option} specified multiple times")));
        }
        *place = Some(measure(value, option, unit, within)?);
        at += 2;
    }
    if seconds.is_none() && most.is_none() {
        return Err(CommandError::new("ERR At least one parameter must be specified"));
    }
    let wanted =
        Memory { seconds: seconds.unwrap_or(before.seconds), most: most.unwrap_or(before.most) };
    let db = call.keyspace.db(call.client.db);
    let stream = db.write_as::<Stream>(key)?.ok_or(NO_SUCH_KEY)?;
    let is_first = stream.idempotence().is_none();
    if stream.idempotence_or(wanted).remember(wanted) || is_first {
        call.modified_unheard(key);
        call.dirty(1);
    }
    call.client.reply.ok();
    Ok(())
}

/// `XIDMPRECORD key producer name id` (Redis 8.6): an entry that is there has this name.
pub(super) fn xidmprecord(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (key, producer, name, id) = (args.at(1), args.at(2), args.at(3), id(args.at(4))?);
    if producer.is_empty() {
        return Err(CommandError::new("ERR producer ID must be non-empty"));
    }
    if name.is_empty() {
        return Err(CommandError::new("ERR idempotent ID must be non-empty"));
    }
    let memory = call.core.settings.stream_names;
    let db = call.keyspace.db(call.client.db);
    let Place::Held(mut held) = db.place_to_write(key) else { return Err(NO_SUCH_KEY) };
    let stream = held.collection::<Stream>()?;
    // What is repeated was so: the entry may have been cut off since.
    if !repeats(call.client) && !stream.contains(id) {
        return Err(CommandError::new("ERR No such message in stream"));
    }
    let known = stream.idempotence().and_then(|known| known.find(producer, name));
    if known.is_some_and(|known| known != id) {
        return Err(CommandError::new(
            "ERR IID already exists for this producer with a different stream ID",
        ));
    }
    if known.is_none() {
        held.collection_mut::<Stream>()?.idempotence_or(memory).note(producer, name, id);
        call.keyspace.db(call.client.db).note_names(key);
        call.modified_unheard(key);
        call.dirty(1);
    }
    call.client.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(pairs: &[(&[u8], &[u8])]) -> [u8; 16] {
        name_of(pairs.iter().copied())
    }

    #[test]
    fn names_are_of_what_an_entry_is_made_of() {
        let one = name(&[(b"a", b"1"), (b"b", b"2")]);
        assert_eq!(one, name(&[(b"b", b"2"), (b"a", b"1")]));
        for other in [
            name(&[(b"a", b"2"), (b"b", b"1")]),
            name(&[(b"a", b"1")]),
            name(&[(b"a", b"1"), (b"a", b"1"), (b"b", b"2")]),
            name(&[(b"a1", b""), (b"b", b"2")]),
        ] {
            assert_ne!(one, other);
        }
    }
}
