//! Bitmaps: strings seen as bits and small integers.

mod field;

use super::Handlers;
use super::options::integer;
use crate::encoding::bits::{self, Combination, Span};
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult, SYNTAX};
use crate::keyspace::entry::VALUE_BYTES_MAX;
use crate::keyspace::{Place, Str, Taken, Value};
use crate::settings::Settings;
use crate::settings::notify::Classes;
use redstart_common::number;
use redstart_common::resp::error;

pub(super) const HANDLERS: Handlers = &[
    ("bitcount", bitcount),
    ("bitfield", field::bitfield),
    ("bitfield_ro", field::bitfield_ro),
    ("bitop", bitop),
    ("bitpos", bitpos),
    ("getbit", getbit),
    ("setbit", setbit),
];

/// Bytes that may be written from an offset on beyond the byte that holds it: those of the widest integer.
const FIELD_BYTES_MAX: usize = 8;

/// Where a bit lies, as an argument tells it; one that begins with `#` counts in steps of `width` bits, if there is
/// one.
///
/// # Errors
/// When it is no number, or the bit lies beyond the longest string.
fn offset(arg: &[u8], width: Option<u32>, settings: &Settings) -> Result<usize, CommandError> {
    const WRONG: CommandError = CommandError::new(error::BIT_OFFSET);
    let (digits, width) = match (width, arg) {
        (Some(width), [b'#', digits @ ..]) => (digits, i64::from(width)),
        _ => (arg, 1),
    };
    // What 64 bits do not hold wraps around in the original.
    let offset = number::parse_i64(digits).ok_or(WRONG)?.wrapping_mul(width);
    let bytes_max = settings.proto_max_bulk_len.min(VALUE_BYTES_MAX - FIELD_BYTES_MAX);
    match usize::try_from(offset) {
        Ok(offset) if offset / 8 < bytes_max => Ok(offset),
        _ => Err(WRONG),
    }
}

/// The bytes of a string; `digits` holds those of a number.
fn bytes_of<'a>(text: Option<Str<'a>>, digits: &'a mut itoa::Buffer) -> &'a [u8] {
    match text {
        None => b"",
        Some(Str::Bytes(bytes)) => bytes,
        Some(Str::Int(number)) => digits.format(number).as_bytes(),
    }
}

/// `GETBIT key offset`
pub fn getbit(call: &mut Call<'_>) -> CommandResult {
    let bit = offset(call.arg(2), None, &call.core.settings)?;
    let mut digits = itoa::Buffer::new();
    let text = call.keyspace.db(call.client.db).read_str(call.args.at(1))?;
    call.client.reply.integer(i64::from(bits::get(bytes_of(text, &mut digits), bit)));
    Ok(())
}

/// `SETBIT key offset value`
pub fn setbit(call: &mut Call<'_>) -> CommandResult {
    let key = call.arg(1);
    let bit = offset(call.arg(2), None, &call.core.settings)?;
    let on = match number::parse_i64(call.arg(3)) {
        Some(on @ (0 | 1)) => on == 1,
        _ => return Err(CommandError::new(error::BIT_VALUE)),
    };
    let (at, mask) = (bit / 8, bits::mask(bit));
    let (was, changed) = match call.keyspace.db(call.client.db).place_to_write(key) {
        Place::Held(held) => {
            let mut digits = itoa::Buffer::new();
            let had = bytes_of(Some(held.string()?), &mut digits).len();
            let byte = &mut held.bytes_grown(at + 1)?[at];
            let was = *byte & mask != 0;
            if was != on {
                *byte ^= mask;
            }
            (was, was != on || had <= at)
        }
        Place::Vacant(vacant) => {
            vacant.splice(key, at + 1, at, &[if on { mask } else { 0 }]);
            (false, true)
        }
    };
    if changed {
        call.modified(key);
        call.notify(Classes::STRING, "setbit", key);
        call.dirty(1);
    }
    call.client.reply.integer(i64::from(was));
    Ok(())
}

/// Whether a range counts bits: `BIT`, not `BYTE`.
fn counts_bits(unit: &[u8]) -> Result<bool, CommandError> {
    if unit.eq_ignore_ascii_case(b"BIT") {
        Ok(true)
    } else if unit.eq_ignore_ascii_case(b"BYTE") {
        Ok(false)
    } else {
        Err(SYNTAX)
    }
}

/// The bits of a range within a string of `length` bytes; `None` when there are none. Negative ends count from the
/// string's end.
fn span(start: i64, end: i64, in_bits: bool, length: usize) -> Option<Span> {
    let total = if in_bits { length * 8 } else { length } as i64;
    let from_end = |at: i64| if at < 0 { (total + at).max(0) } else { at };
    let (start, end) = (from_end(start), from_end(end).min(total - 1));
    if start > end {
        return None;
    }
    let (first, last) = (start as usize, end as usize);
    Some(if in_bits { Span { first, last } } else { Span::of_bytes(first, last) })
}

/// `BITCOUNT key [start end [BYTE | BIT]]`
pub fn bitcount(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let mut digits = itoa::Buffer::new();
    let Some(text) = call.keyspace.db(call.client.db).read_str(args.at(1))? else {
        call.client.reply.integer(0);
        return Ok(());
    };
    let bytes = bytes_of(Some(text), &mut digits);
    let count = match args.len() {
        2 => bits::count(bytes),
        4 | 5 => {
            let (start, end) = (integer(args.at(2))?, integer(args.at(3))?);
            // Crossed ends are empty before clamping, and before the unit is looked at.
            let crossed = start < 0 && end < 0 && start > end;
            match args.get(4) {
                _ if crossed => 0,
                unit => span(start, end, unit.map_or(Ok(false), counts_bits)?, bytes.len())
                    .map_or(0, |span| bits::count_within(bytes, span)),
            }
        }
        _ => return Err(SYNTAX),
    };
    call.client.reply.count(count);
    Ok(())
}

/// `BITPOS key bit [start [end [BYTE | BIT]]]`
pub fn bitpos(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let bit = match integer(args.at(2))? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::new("ERR The bit argument must be 1 or 0.")),
    };
    let mut digits = itoa::Buffer::new();
    let Some(text) = call.keyspace.db(call.client.db).read_str(args.at(1))? else {
        // Zeros without end.
        call.client.reply.integer(if bit { -1 } else { 0 });
        return Ok(());
    };
    let bytes = bytes_of(Some(text), &mut digits);
    if args.len() > 6 {
        return Err(SYNTAX);
    }
    let start = args.get(3).map_or(Ok(0), integer)?;
    let in_bits = args.get(5).map_or(Ok(false), counts_bits)?;
    let end = args.get(4).map(integer).transpose()?;
    let position = match span(start, end.unwrap_or(-1), in_bits, bytes.len()) {
        None => -1,
        Some(span) => match bits::find(bytes, span, bit) {
            Some(at) => at as i64,
            // Without an end, zeros follow what is there.
            None if !bit && end.is_none() => bytes.len() as i64 * 8,
            None => -1,
        },
    };
    call.client.reply.integer(position);
    Ok(())
}

enum Operation {
    Combine(Combination),
    Not,
    /// The first string and all others, together.
    FirstAndOthers(Against),
    /// Bits set in exactly one.
    One,
}

/// What becomes of a bit of the first string and of that bit in any of the others (Redis 8.2).
#[derive(Clone, Copy)]
enum Against {
    /// It is in the first and in none of the others.
    Diff,
    /// It is in one of the others and not in the first.
    Diff1,
    /// It is in the first and in one of the others.
    AndOr,
}

fn operation(name: &[u8]) -> Result<Operation, CommandError> {
    const NAMES: [(&str, Operation); 8] = [
        ("AND", Operation::Combine(Combination::And)),
        ("OR", Operation::Combine(Combination::Or)),
        ("XOR", Operation::Combine(Combination::Xor)),
        ("NOT", Operation::Not),
        ("DIFF", Operation::FirstAndOthers(Against::Diff)),
        ("DIFF1", Operation::FirstAndOthers(Against::Diff1)),
        ("ANDOR", Operation::FirstAndOthers(Against::AndOr)),
        ("ONE", Operation::One),
    ];
    let found = NAMES.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
    found.map(|(_, operation)| operation).ok_or(SYNTAX)
}

/// `BITOP AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE destkey key [key ...]`
pub fn bitop(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (operation, target) = (operation(args.at(1))?, args.at(2));
    if matches!(operation, Operation::Not) && args.len() != 4 {
        return Err(CommandError::new("ERR BITOP NOT must be called with a single source key."));
    }
    if matches!(operation, Operation::FirstAndOthers(_)) && args.len() < 5 {
        return Err(CommandError::made(format!(
            "ERR BITOP {} must be called with at least two source keys.",
            String::from_utf8_lossy(args.at(1)).to_ascii_uppercase()
        )));
    }
    let db = call.keyspace.db(call.client.db);
    let mut gathered = Vec::new();
    // Bits of the other strings, or those that were seen twice.
    let mut beside = Vec::new();
    for (nth, key) in args.tail(3).iter().enumerate() {
        let mut digits = itoa::Buffer::new();
        let bytes = bytes_of(db.read_str(key)?, &mut digits);
        match operation {
            Operation::Combine(how) if nth > 0 => bits::combine(&mut gathered, bytes, how),
            Operation::FirstAndOthers(_) if nth > 0 => {
                bits::combine(&mut beside, bytes, Combination::Or);
            }
            Operation::One if nth > 0 => {
                let mut again = gathered.clone();
                bits::combine(&mut again, bytes, Combination::And);
                bits::combine(&mut beside, &again, Combination::Or);
                bits::combine(&mut gathered, bytes, Combination::Or);
            }
            _ => gathered.extend_from_slice(bytes),
        }
    }
    match operation {
        Operation::Combine(_) => {}
        Operation::Not => bits::invert(&mut gathered),
        Operation::FirstAndOthers(Against::Diff) | Operation::One => {
            bits::clear(&mut gathered, &beside);
        }
        Operation::FirstAndOthers(Against::Diff1) => {
            bits::clear(&mut beside, &gathered);
            gathered = beside;
        }
        Operation::FirstAndOthers(Against::AndOr) => {
            bits::combine(&mut gathered, &beside, Combination::And);
        }
    }
    let length = gathered.len();
    if length > 0 {
        db.put(target, Taken { value: Value::Raw(gathered), deadline: None });
        call.modified(target);
        call.notify(Classes::STRING, "set", target);
        call.dirty(1);
    } else if db.remove(target) {
        call.modified(target);
        call.removed(target);
        call.dirty(1);
    }
    call.client.reply.count(length);
    Ok(())
}
