//! HyperLogLogs: strings that estimate how many different elements were added.

use super::Handlers;
use crate::encoding::hll::{self, Form, Registers};
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult};
use crate::keyspace::{Held, Place, Str};
use crate::settings::notify::Classes;

mod selftest;

pub(super) const HANDLERS: Handlers = &[
    ("pfadd", pfadd),
    ("pfcount", pfcount),
    ("pfdebug", pfdebug),
    ("pfmerge", pfmerge),
    ("pfselftest", selftest::pfselftest),
];

impl From<hll::Corrupt> for CommandError {
    fn from(_: hll::Corrupt) -> Self {
        Self::new("INVALIDOBJ Corrupted HLL object detected")
    }
}

/// The bytes of a string that is a HyperLogLog.
fn checked(text: Str<'_>) -> Result<&[u8], CommandError> {
    match text {
        Str::Bytes(bytes) if hll::is_valid(bytes) => Ok(bytes),
        _ => Err(CommandError::new("WRONGTYPE Key is not a valid HyperLogLog string value.")),
    }
}

/// The HyperLogLog of a key that is there, to be changed in place.
fn checked_mut<'h>(held: &'h mut Held<'_>) -> Result<&'h mut [u8], CommandError> {
    checked(held.string()?)?;
    // What is valid is no number.
    Ok(held.bytes_mut()?.unwrap_or_default())
}

/// Adds the elements that change anything. Answers how many did, and whether all were looked at.
fn add<'e>(
    text: &mut Vec<u8>,
    elements: impl Iterator<Item = &'e [u8]>,
    sparse_bytes_max: usize,
) -> (u64, Result<(), hll::Corrupt>) {
    let mut raised = 0;
    for element in elements {
        let (index, number) = hll::offer(element);
        match hll::raise(text, index, number, sparse_bytes_max) {
            Ok(one) => raised += u64::from(one),
            Err(corrupt) => return (raised, Err(corrupt)),
        }
    }
    (raised, Ok(()))
}

/// As [`add`], to one that is there.
fn add_to_held<'e>(
    mut held: Held<'_>,
    elements: impl Iterator<Item = &'e [u8]>,
    sparse_bytes_max: usize,
) -> Result<u64, CommandError> {
    let text = checked_mut(&mut held)?;
    if hll::form(text) == Form::Dense {
        let mut raised = 0;
        for element in elements {
            let (index, number) = hll::offer(element);
            raised += u64::from(hll::dense::raise(&mut text[hll::HEADER..], index, number));
        }
        if raised > 0 {
            hll::forget(text);
        }
        return Ok(raised);
    }
    // Most elements were seen before: nothing is moved before one changes something.
    let mut elements = elements.peekable();
    while let Some(element) = elements.peek() {
        let (index, number) = hll::offer(element);
        if hll::would_raise(text, index, number)? {
            break;
        }
        elements.next();
    }
    if elements.peek().is_none() {
        return Ok(0);
    }
    let mut text = text.to_vec();
    let (raised, outcome) = add(&mut text, elements, sparse_bytes_max);
    if outcome.is_ok() && raised > 0 {
        hll::forget(&mut text);
    }
    // What was added before damage was met stays, as in Redis, though nobody is told.
    held.set_raw(&text);
    outcome?;
    Ok(raised)
}

/// `PFADD key [element ...]`
pub fn pfadd(call: &mut Call<'_>) -> CommandResult {
    let (key, elements) = (call.args.at(1), call.args.tail(2));
    let sparse_bytes_max = call.core.settings.hll_sparse_max_bytes;
    let changes = match call.keyspace.db(call.client.db).place_to_write(key) {
        Place::Held(held) => add_to_held(held, elements.iter(), sparse_bytes_max)?,
        Place::Vacant(vacant) => {
            let mut text = hll::empty();
            let (raised, outcome) = add(&mut text, elements.iter(), sparse_bytes_max);
            outcome?;
            hll::forget(&mut text);
            vacant.set_raw(key, &text);
            // That it is there now is a change of its own.
            raised + 1
        }
    };
    if changes > 0 {
        call.modified(key);
        call.notify(Classes::STRING, "pfadd", key);
        call.dirty(changes);
    }
    call.client.reply.integer(i64::from(changes > 0));
    Ok(())
}

/// `PFCOUNT key [key ...]`
pub fn pfcount(call: &mut Call<'_>) -> CommandResult {
    let keys = call.args.tail(1);
    if keys.len() > 1 {
        let mut largest = [0; hll::REGISTERS];
        gather(call, &mut largest, 1)?;
        call.client.reply.integer(hll::count_registers(&largest).cast_signed());
        return Ok(());
    }
    let key = call.args.at(1);
    let cardinality = match call.keyspace.db(call.client.db).place_to_read(key) {
        Place::Vacant(_) => 0,
        Place::Held(mut held) => {
            let text = checked_mut(&mut held)?;
            match hll::noted(text) {
                Some(noted) => noted,
                None => {
                    let cardinality = hll::count(text)?;
                    hll::note(text, cardinality);
                    // The value has changed, and is to be the same wherever it is repeated.
                    call.modified(key);
                    call.dirty(1);
                    cardinality
                }
            }
        }
    };
    call.client.reply.integer(cardinality.cast_signed());
    Ok(())
}

/// Merges the HyperLogLogs of the keys from argument `from` on. Answers whether any is dense.
fn gather(call: &mut Call<'_>, largest: &mut Registers, from: usize) -> Result<bool, CommandError> {
    let db = call.keyspace.db(call.client.db);
    let mut any_dense = false;
    for key in call.args.tail(from).iter() {
        let Some(text) = db.read_str(key)? else { continue };
        let text = checked(text)?;
        any_dense |= hll::form(text) == Form::Dense;
        hll::merge(largest, text)?;
    }
    Ok(any_dense)
}

/// `PFMERGE destkey [sourcekey ...]`
pub fn pfmerge(call: &mut Call<'_>) -> CommandResult {
    let key = call.args.at(1);
    let mut largest = [0; hll::REGISTERS];
    let any_dense = gather(call, &mut largest, 1)?;
    let sparse_bytes_max = call.core.settings.hll_sparse_max_bytes;
    let place = call.keyspace.db(call.client.db).place_to_write(key);
    let mut text = match &place {
        Place::Held(held) => checked(held.string()?)?.to_vec(),
        Place::Vacant(_) => hll::empty(),
    };
    if any_dense {
        hll::to_dense(&mut text)?;
    }
    let mut cursor = hll::sparse::Cursor::default();
    for (index, number) in largest.iter().enumerate() {
        if hll::form(&text) == Form::Dense {
            // The destination's own registers are among those that were gathered.
            hll::dense::pack(&mut text[hll::HEADER..], &largest);
            break;
        }
        if *number > 0 {
            hll::raise_at(&mut text, &mut cursor, index, *number, sparse_bytes_max)?;
        }
    }
    hll::forget(&mut text);
    match place {
        Place::Held(held) => held.set_raw(&text),
        Place::Vacant(vacant) => vacant.set_raw(key, &text),
    }
    call.modified(key);
    // Redis calls it an addition of many elements.
    call.notify(Classes::STRING, "pfadd", key);
    call.dirty(1);
    call.client.reply.ok();
    Ok(())
}

/// `PFDEBUG GETREG | DECODE | ENCODING | TODENSE key`
pub fn pfdebug(call: &mut Call<'_>) -> CommandResult {
    let (word, key) = (call.args.at(1), call.args.at(2));
    let Place::Held(mut held) = call.keyspace.db(call.client.db).place_to_write(key) else {
        return Err(CommandError::new("ERR The specified key does not exist"));
    };
    let text = checked_mut(&mut held)?;
    let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    let form = hll::form(text);
    if is("ENCODING") {
        call.client.reply.simple(match form {
            Form::Dense => "dense",
            Form::Sparse => "sparse",
        });
    } else if is("DECODE") {
        if form == Form::Dense {
            return Err(CommandError::new("ERR HLL encoding is not sparse"));
        }
        call.client.reply.bulk(hll::sparse::describe(text).as_bytes());
    } else if is("GETREG") || is("TODENSE") {
        let mut dense = text.to_vec();
        hll::to_dense(&mut dense)?;
        let converted = form == Form::Sparse;
        if converted {
            held.set_raw(&dense);
            // The others are to have it in the same form; watchers are not told.
            call.dirty(1);
        }
        if is("TODENSE") {
            call.client.reply.integer(i64::from(converted));
        } else {
            call.client.reply.array(hll::REGISTERS);
            for index in 0..hll::REGISTERS {
                let number = hll::dense::get(&dense[hll::HEADER..], index);
                call.client.reply.integer(i64::from(number));
            }
        }
    } else {
        return Err(CommandError::about("ERR Unknown PFDEBUG subcommand '", word, "'"));
    }
    Ok(())
}
