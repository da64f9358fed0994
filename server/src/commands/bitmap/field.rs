//! BITFIELD: integers of any width, at any bit of a string.

use super::{bytes_of, offset};
use crate::client::reply::Reply;
use crate::commands::options::{Options, integer};
use crate::encoding::bits;
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult, SYNTAX};
use crate::keyspace::Place;
use crate::settings::Settings;
use crate::settings::notify::Classes;
use redstart_common::number;

/// How wide an integer is, and whether it has a sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Width {
    signed: bool,
    bits: u32,
}

/// What becomes of a number that does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Overflow {
    /// Its lowest bits stay.
    Wrap,
    /// The nearest that fits is taken.
    Saturate,
    /// Nothing is written.
    Fail,
}

enum Action {
    Get,
    Set(i64),
    Increment(i64),
}

/// One sub-command.
struct Operation {
    action: Action,
    width: Width,
    /// The first bit.
    at: usize,
    overflow: Overflow,
}

/// The sub-commands in their order. They are read twice, to be checked and to be done: that costs less than to keep
/// them.
struct Operations<'a> {
    options: Options<'a>,
    overflow: Overflow,
    settings: &'a Settings,
}

impl<'a> Operations<'a> {
    fn new(options: Options<'a>, settings: &'a Settings) -> Self {
        Self { options, overflow: Overflow::Wrap, settings }
    }

    fn next(&mut self) -> Result<Option<Operation>, CommandError> {
        let options = &mut self.options;
        let (word, wanted) = loop {
            let Some(word) = options.word() else { return Ok(None) };
            if !word.eq_ignore_ascii_case(b"OVERFLOW") {
                break (word, if word.eq_ignore_ascii_case(b"GET") { 2 } else { 3 });
            }
            self.overflow = overflow(options.need()?)?;
        };
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if !(is("GET") || is("SET") || is("INCRBY")) || options.left() < wanted {
            return Err(SYNTAX);
        }
        let width = width(options.need()?)?;
        let at = offset(options.need()?, Some(width.bits), self.settings)?;
        let action = if is("GET") {
            Action::Get
        } else {
            let number = integer(options.need()?)?;
            if is("SET") { Action::Set(number) } else { Action::Increment(number) }
        };
        Ok(Some(Operation { action, width, at, overflow: self.overflow }))
    }
}

fn overflow(word: &[u8]) -> Result<Overflow, CommandError> {
    const NAMES: [(&str, Overflow); 3] =
        [("WRAP", Overflow::Wrap), ("SAT", Overflow::Saturate), ("FAIL", Overflow::Fail)];
    let found = NAMES.into_iter().find(|(known, _)| word.eq_ignore_ascii_case(known.as_bytes()));
    let unknown = CommandError::new("ERR Invalid OVERFLOW type specified");
    found.map(|(_, overflow)| overflow).ok_or(unknown)
}

fn width(arg: &[u8]) -> Result<Width, CommandError> {
    const WRONG: CommandError = CommandError::new(
        "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
    );
    // As a C string: up to the first NUL.
    let arg = arg.split(|byte| *byte == 0).next().unwrap_or_default();
    let (signed, digits) = match arg {
        [b'i', digits @ ..] => (true, digits),
        [b'u', digits @ ..] => (false, digits),
        _ => return Err(WRONG),
    };
    match number::parse_i64(digits) {
        Some(bits) if (1..=if signed { 64 } else { 63 }).contains(&bits) => {
            Ok(Width { signed, bits: bits as u32 })
        }
        _ => Err(WRONG),
    }
}

impl Width {
    /// The number that the lowest bits stand for.
    fn read(self, field: u64) -> i64 {
        if self.signed {
            let unused = 64 - self.bits;
            (field << unused).cast_signed() >> unused
        } else {
            // An unsigned one has 63 bits at most.
            field.cast_signed()
        }
    }

    fn lowest_bits(self, number: i64) -> u64 {
        number.cast_unsigned() & (u64::MAX >> (64 - self.bits))
    }

    /// What is stored of `number` raised by `by`; `None` when nothing is to be. Either the number fits, or `by` is 0.
    fn fit(self, number: i64, by: i64, overflow: Overflow) -> Option<u64> {
        let (above, below) = if self.signed {
            self.passes_signed(number, by)
        } else {
            self.passes_unsigned(number.cast_unsigned(), by)
        };
        let wrapped = self.lowest_bits(number.wrapping_add(by));
        match overflow {
            Overflow::Fail if above || below => None,
            Overflow::Saturate if above => Some(self.lowest_bits(self.largest())),
            Overflow::Saturate if below => Some(self.lowest_bits(self.smallest())),
            _ => Some(wrapped),
        }
    }

    fn largest(self) -> i64 {
        let bits = if self.signed { self.bits - 1 } else { self.bits };
        // The mask of no bits at all is that of a signed integer of one.
        if bits == 0 { 0 } else { (u64::MAX >> (64 - bits)).cast_signed() }
    }

    fn smallest(self) -> i64 {
        if self.signed { -self.largest() - 1 } else { 0 }
    }

    /// Whether the sum lies above the largest or below the smallest.
    fn passes_unsigned(self, number: u64, by: i64) -> (bool, bool) {
        let largest = self.largest().cast_unsigned();
        if number > largest {
            return (true, false);
        }
        let (room, held) = ((largest - number).cast_signed(), number.cast_signed());
        (by > room, by < -held)
    }

    fn passes_signed(self, number: i64, by: i64) -> (bool, bool) {
        let (largest, smallest) = (self.largest(), self.smallest());
        // The original computes the room before it looks at the number: one far below the smallest has so much that
        // it wraps around, and counts as above the largest.
        let (room, fall) = (largest.wrapping_sub(number), smallest.wrapping_sub(number));
        let narrow = self.bits < 64;
        let above =
            number > largest || (narrow && by > room) || (number >= 0 && by > 0 && by > room);
        let below =
            number < smallest || (narrow && by < fall) || (number < 0 && by < 0 && by < fall);
        (above, below && !above)
    }
}

fn answer_field(reply: &mut Reply, bytes: &[u8], operation: &Operation) {
    let field = bits::get_field(bytes, operation.at, operation.width.bits);
    reply.integer(operation.width.read(field));
}

/// What one sub-command did to its field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    /// It was only read, or the number did not fit.
    Nothing,
    /// What was there was written again.
    Same,
    /// Another number was written.
    Changed,
}

fn perform(reply: &mut Reply, bytes: &mut [u8], operation: &Operation) -> Done {
    let Operation { width, at, overflow, .. } = *operation;
    let old = bits::get_field(bytes, at, width.bits);
    let (new, replaces) = match operation.action {
        Action::Get => {
            answer_field(reply, bytes, operation);
            return Done::Nothing;
        }
        Action::Set(number) => (width.fit(number, 0, overflow), true),
        Action::Increment(by) => (width.fit(width.read(old), by, overflow), false),
    };
    let Some(new) = new else {
        reply.null();
        return Done::Nothing;
    };
    bits::set_field(bytes, at, width.bits, new);
    reply.integer(width.read(if replaces { old } else { new }));
    if new == old { Done::Same } else { Done::Changed }
}

fn run(call: &mut Call<'_>, read_only: bool) -> CommandResult {
    let (args, key) = (call.args, call.args.at(1));
    let settings = &call.core.settings;
    let operations = || Operations::new(Options::new(args, 2), settings);
    let mut count = 0;
    // Bytes that what is written needs.
    let mut needed = 0;
    let mut writes = 0;
    let mut checked = operations();
    while let Some(operation) = checked.next()? {
        count += 1;
        if !matches!(operation.action, Action::Get) {
            writes += 1;
            needed = needed.max((operation.at + operation.width.bits as usize).div_ceil(8));
        }
    }
    let db = call.keyspace.db(call.client.db);
    let reply = &mut call.client.reply;
    let mut operations = operations();
    if writes == 0 {
        let mut digits = itoa::Buffer::new();
        let bytes = bytes_of(db.read_str(key)?, &mut digits);
        reply.array(count);
        while let Some(operation) = operations.next()? {
            answer_field(reply, bytes, &operation);
        }
        return Ok(());
    }
    if read_only {
        return Err(CommandError::new("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    // Whatever is written to a string that grew counts as a change.
    let (bytes, grown) = match db.place_to_write(key) {
        Place::Held(held) => {
            let mut digits = itoa::Buffer::new();
            let length = bytes_of(Some(held.string()?), &mut digits).len();
            (held.bytes_grown(needed)?, length < needed)
        }
        Place::Vacant(vacant) => (vacant.zeros(key, needed), true),
    };
    reply.array(count);
    let mut changes = 0;
    while let Some(operation) = operations.next()? {
        let done = perform(reply, bytes, &operation);
        changes += u64::from(done == Done::Changed || (done == Done::Same && grown));
    }
    if changes > 0 {
        call.modified(key);
        call.notify(Classes::STRING, "setbit", key);
        call.dirty(changes);
    }
    Ok(())
}

/// `BITFIELD key [GET encoding offset | [OVERFLOW WRAP | SAT | FAIL] SET | INCRBY encoding offset number ...]`
pub fn bitfield(call: &mut Call<'_>) -> CommandResult {
    run(call, false)
}

/// `BITFIELD_RO key [GET encoding offset ...]`
pub fn bitfield_ro(call: &mut Call<'_>) -> CommandResult {
    run(call, true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Width {
        width(text.as_bytes()).expect("a width")
    }

    #[test]
    fn widths_are_those_that_a_reply_can_hold() {
        assert_eq!(of("i64"), Width { signed: true, bits: 64 });
        assert_eq!(of("u1\0x"), Width { signed: false, bits: 1 });
        for wrong in ["", "8", "u64", "i65", "i0", "u-1", "I8", "i08", "u 1", "u"] {
            assert!(width(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn far_below_the_smallest_of_63_bits_saturates_upwards() {
        // A slip of the original that clients may see.
        let stored = of("i63").fit(i64::MIN, 0, Overflow::Saturate);
        assert_eq!(stored.map(|field| of("i63").read(field)), Some((1 << 62) - 1));
    }

    proptest! {
        #[test]
        fn numbers_are_fitted_as_in_wide_arithmetic(
            signed in any::<bool>(), bits in 1_u32..=62, field in any::<u64>(), by in any::<i64>(),
            small in -300_i64..300,
        ) {
            let width = Width { signed, bits };
            let (least, most) = if signed {
                (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1)
            } else {
                (0, (1_i128 << bits) - 1)
            };
            let number = width.read(field & (u64::MAX >> (64 - bits)));
            prop_assert!((least..=most).contains(&i128::from(number)));
            for by in [by, small] {
                let sum = i128::from(number) + i128::from(by);
                let fits = (least..=most).contains(&sum);
                let read = |field: Option<u64>| field.map(|field| i128::from(width.read(field)));
                prop_assert_eq!(
                    read(width.fit(number, by, Overflow::Saturate)),
                    Some(sum.clamp(least, most))
                );
                prop_assert_eq!(
                    read(width.fit(number, by, Overflow::Fail)),
                    fits.then_some(sum)
                );
                let wrapped = read(width.fit(number, by, Overflow::Wrap)).expect("always");
                prop_assert_eq!((wrapped - sum).rem_euclid(1 << bits), 0);
            }
        }
    }
}
