//! The sparse form: runs of equal registers.
//!
//! ```text
//!   00llllll            1 to 64 registers that are 0
//!   01llllll llllllll   1 to 16384 registers that are 0
//!   1nnnnnll            1 to 4 registers that are 1 to 32
//! ```
//!
//! Lengths and numbers are kept less one. Which of several possible sequences stands for the same registers depends
//! on how they came about; [`raise`] divides and joins runs just as Redis does.

use super::{Corrupt, HEADER, Histogram, REGISTERS};

/// The registers of one to which nothing was added.
pub const NOTHING: [u8; 2] = [0x7f, 0xff];
/// The largest number that fits.
pub const NUMBER_MAX: u8 = 32;

const VALUE: u8 = 0x80;
const KIND: u8 = 0xc0;
const LONG_ZEROS: u8 = 0x40;
const VALUES_MAX: usize = 4;
const ZEROS_MAX: usize = 64;
/// Bytes that a search passes at once where all runs in them are short.
const BLOCK: usize = 16;
/// How many runs are looked at for such that can be joined.
const JOIN_RUNS: usize = 5;

const _: () = assert!(1 << 14 == REGISTERS, "the longest run covers all registers");

/// A run, and how many bytes it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    number: u8,
    length: usize,
    bytes: usize,
}

/// The run at `at`. Where the second byte of a long one is cut off, it counts as zero.
fn run_at(registers: &[u8], at: usize) -> Run {
    let first = registers[at];
    if first & VALUE != 0 {
        Run { number: (first >> 2 & 0x1f) + 1, length: usize::from(first & 3) + 1, bytes: 1 }
    } else if first & KIND == LONG_ZEROS {
        let second = registers.get(at + 1).copied().unwrap_or(0);
        let length = usize::from(u16::from_be_bytes([first & 0x3f, second])) + 1;
        Run { number: 0, length, bytes: 2 }
    } else {
        Run { number: 0, length: usize::from(first) + 1, bytes: 1 }
    }
}

fn runs(registers: &[u8]) -> impl Iterator<Item = Run> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let run = (at < registers.len()).then(|| run_at(registers, at))?;
        at += run.bytes;
        Some(run)
    })
}

/// How many registers hold each number. `registers` are the bytes behind the header.
///
/// # Errors
/// When they do not add up.
pub fn histogram(registers: &[u8]) -> Result<Histogram, Corrupt> {
    let mut histogram = Histogram::default();
    let mut covered = 0;
    for run in runs(registers) {
        covered += run.length;
        histogram.add(run.number, run.length as u32);
    }
    if covered == REGISTERS { Ok(histogram) } else { Err(Corrupt) }
}

/// Visits the runs that are not zero: first register, length, number.
///
/// # Errors
/// When they do not add up; some have been visited then.
pub(super) fn runs_within(
    registers: &[u8],
    mut visit: impl FnMut(usize, usize, u8),
) -> Result<(), Corrupt> {
    let mut at = 0;
    for run in runs(registers) {
        if at + run.length > REGISTERS {
            return Err(Corrupt);
        }
        if run.number > 0 {
            visit(at, run.length, run.number);
        }
        at += run.length;
    }
    if at == REGISTERS { Ok(()) } else { Err(Corrupt) }
}

/// The runs as PFDEBUG DECODE shows them.
#[must_use]
pub fn describe(text: &[u8]) -> String {
    use std::fmt::Write;
    let mut described = String::new();
    for run in runs(&text[HEADER..]) {
        if !described.is_empty() {
            described.push(' ');
        }
        let Run { number, length, bytes } = run;
        let written = match (number, bytes) {
            (0, 1) => write!(described, "z:{length}"),
            (0, _) => write!(described, "Z:{length}"),
            _ => write!(described, "v:{number},{length}"),
        };
        written.expect("a string takes all");
    }
    described
}

/// A place among the runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Where the run begins.
    at: usize,
    /// Its first register.
    first: usize,
    /// Where the run before begins.
    previous: Option<usize>,
}

/// How many registers a block of runs covers, when each of its bytes is a run.
#[inline]
fn block_length(block: &[u8; BLOCK]) -> Option<usize> {
    let long = |byte: &u8| u8::from(byte & KIND == LONG_ZEROS);
    if block.iter().map(long).fold(0, |seen, is| seen | is) != 0 {
        return None;
    }
    let length = |byte: &u8| u16::from(byte & if byte & VALUE != 0 { 3 } else { 63 });
    Some(usize::from(block.iter().map(length).sum::<u16>()) + BLOCK)
}

/// The run that covers a register, and the place of the one before.
fn locate(registers: &[u8], from: Cursor, index: usize) -> Result<(Cursor, Run, Cursor), Corrupt> {
    let mut place = if from.first <= index { from } else { Cursor::default() };
    let mut before = place;
    // A block that is not passed is not looked at again.
    let mut single_until = 0;
    while place.at < registers.len() {
        if place.at >= single_until
            && let Some(block) = registers[place.at..].first_chunk()
        {
            match block_length(block) {
                Some(length) if place.first + length <= index => {
                    let (at, first) = (place.at + BLOCK, place.first + length);
                    let last = run_at(registers, at - 1);
                    before =
                        Cursor { at: at - 1, first: first - last.length, previous: Some(at - 2) };
                    place = Cursor { at, first, previous: Some(at - 1) };
                    continue;
                }
                _ => single_until = place.at + BLOCK,
            }
        }
        let run = run_at(registers, place.at);
        if index < place.first + run.length {
            return Ok((place, run, before));
        }
        before = place;
        place = Cursor {
            at: place.at + run.bytes,
            first: place.first + run.length,
            previous: Some(place.at),
        };
    }
    Err(Corrupt)
}

/// A register. `registers` are the bytes behind the header.
///
/// # Errors
/// When no run covers it.
pub fn get(registers: &[u8], index: usize) -> Result<u8, Corrupt> {
    locate(registers, Cursor::default(), index).map(|(_, run, _)| run.number)
}

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The register holds as much already.
    Kept,
    /// The register was raised.
    Raised,
    /// The number, or the runs that would be needed, do not fit; nothing was changed.
    DoesNotFit,
}

/// Some runs, written.
#[derive(Default)]
struct Sequence {
    bytes: [u8; 5],
    length: usize,
}

impl Sequence {
    fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    /// Adds a run, if it has any registers.
    fn add(&mut self, number: u8, length: usize) {
        if length == 0 {
        } else if number > 0 {
            self.push(value(number, length));
        } else if length > ZEROS_MAX {
            let [high, low] = ((length - 1) as u16).to_be_bytes();
            self.push(high | LONG_ZEROS);
            self.push(low);
        } else {
            self.push((length - 1) as u8);
        }
    }
}

fn value(number: u8, length: usize) -> u8 {
    VALUE | (number - 1) << 2 | (length - 1) as u8
}

/// Offers a register a number, where `text`, header included, may become `bytes_max` long. The search begins at
/// `cursor`, which is moved to where one for a register behind this one may begin.
///
/// # Errors
/// When no run covers the register; nothing was changed.
pub fn raise(
    text: &mut Vec<u8>,
    cursor: &mut Cursor,
    index: usize,
    number: u8,
    bytes_max: usize,
) -> Result<Outcome, Corrupt> {
    if number > NUMBER_MAX {
        return Ok(Outcome::DoesNotFit);
    }
    let (place, run, before) = locate(&text[HEADER..], *cursor, index)?;
    *cursor = before;
    if run.number >= number {
        return Ok(Outcome::Kept);
    }
    let start = HEADER + place.at;
    if run.length == 1 && run.bytes == 1 {
        text[start] = value(number, 1);
    } else {
        let mut sequence = Sequence::default();
        sequence.add(run.number, index - place.first);
        sequence.add(number, 1);
        sequence.add(run.number, place.first + run.length - 1 - index);
        let length = text.len() + sequence.length - run.bytes;
        if sequence.length > run.bytes && length > bytes_max {
            return Ok(Outcome::DoesNotFit);
        }
        let end = (start + run.bytes).min(text.len());
        text.splice(start..end, sequence.bytes[..sequence.length].iter().copied());
        // One byte less where the run was cut off, as Redis counts it.
        text.truncate(length);
    }
    join(text, HEADER + place.previous.unwrap_or(0));
    Ok(Outcome::Raised)
}

/// Joins neighbours of the same number, among a few runs from `at` on.
fn join(text: &mut Vec<u8>, mut at: usize) {
    for _ in 0..JOIN_RUNS {
        let Some(&first) = text.get(at) else { return };
        if first & VALUE == 0 {
            at += if first & KIND == LONG_ZEROS { 2 } else { 1 };
            continue;
        }
        if let Some(&second) = text.get(at + 1)
            && second & VALUE != 0
        {
            let (one, other) = (run_at(text, at), run_at(text, at + 1));
            let length = one.length + other.length;
            if one.number == other.number && length <= VALUES_MAX {
                text[at] = value(one.number, length);
                text.remove(at + 1);
                continue;
            }
        }
        at += 1;
    }
}
