//! HyperLogLogs: how many different elements were added, within about one percent, in 12 KB at most.
//!
//! An element's hash chooses one of 16384 registers and offers it a number: how many zeros the rest of the hash
//! begins with, and one. A register keeps the largest offer. The bytes are those of Redis, for to clients a
//! HyperLogLog is a string:
//!
//! ```text
//!   "HYLL" │ form: u8 │ 3 bytes of no use │ cardinality: u64, little endian │ registers
//! ```
//!
//! The registers are [`dense`], six bits each, or [`sparse`], runs of equal ones. The highest bit of the cardinality
//! says that it is out of date.
//!
//! A string may come from anywhere: its header is checked by [`is_valid`], and whoever meets damage behind it
//! answers [`Corrupt`].

pub mod dense;
mod estimate;
mod hash;
pub mod sparse;

pub use estimate::Histogram;
pub use hash::offer;

/// Registers.
pub const REGISTERS: usize = 1 << 14;
/// Bytes before the registers.
pub const HEADER: usize = 16;

const MAGIC: &[u8; 4] = b"HYLL";
const FORM: usize = 4;
const CARDINALITY: usize = 8;
/// The byte of the cardinality's highest bit, and the bit.
const STALE: (usize, u8) = (15, 0x80);

/// The registers do not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt;

/// How the registers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Six bits each.
    Dense,
    /// Runs of equal ones.
    Sparse,
}

/// The numbers of all registers, a byte each.
pub type Registers = [u8; REGISTERS];

/// One to which nothing was added, in the sparse form.
#[must_use]
pub fn empty() -> Vec<u8> {
    let mut text = Vec::with_capacity(HEADER + 8);
    text.extend_from_slice(MAGIC);
    text.extend_from_slice(&[1, 0, 0, 0]);
    text.extend_from_slice(&[0; 8]);
    text.extend_from_slice(&sparse::NOTHING);
    text
}

/// Whether a string is a HyperLogLog by its header and length.
#[must_use]
pub fn is_valid(text: &[u8]) -> bool {
    text.len() >= HEADER
        && text.starts_with(MAGIC)
        && match text[FORM] {
            0 => text.len() == dense::BYTES,
            form => form == 1,
        }
}

/// The form of a valid one.
#[must_use]
pub fn form(text: &[u8]) -> Form {
    if text[FORM] == 0 { Form::Dense } else { Form::Sparse }
}

/// The cardinality that was noted when it was last counted, unless something was added since.
#[must_use]
pub fn noted(text: &[u8]) -> Option<u64> {
    if text[STALE.0] & STALE.1 != 0 {
        return None;
    }
    text[CARDINALITY..].first_chunk().map(|number| u64::from_le_bytes(*number))
}

/// Notes the cardinality.
pub fn note(text: &mut [u8], cardinality: u64) {
    text[CARDINALITY..HEADER].copy_from_slice(&cardinality.to_le_bytes());
}

/// Says that the noted cardinality is out of date.
pub fn forget(text: &mut [u8]) {
    text[STALE.0] |= STALE.1;
}

/// Counts: the estimated number of different elements.
///
/// # Errors
/// When the registers do not add up.
pub fn count(text: &[u8]) -> Result<u64, Corrupt> {
    let registers = &text[HEADER..];
    let histogram = match form(text) {
        Form::Dense => dense::histogram(registers),
        Form::Sparse => sparse::histogram(registers)?,
    };
    Ok(histogram.cardinality())
}

/// Raises each of `largest` to the register of `text`.
///
/// # Errors
/// When the registers do not add up; some may have been raised then.
pub fn merge(largest: &mut Registers, text: &[u8]) -> Result<(), Corrupt> {
    let registers = &text[HEADER..];
    match form(text) {
        Form::Dense => {
            dense::merge(largest, registers);
            Ok(())
        }
        Form::Sparse => sparse::runs_within(registers, |at, length, number| {
            largest[at..at + length].iter_mut().for_each(|held| *held = (*held).max(number));
        }),
    }
}

/// Has an element counted among what is gathered.
pub fn gather(largest: &mut Registers, element: &[u8]) {
    let (index, number) = offer(element);
    largest[index] = largest[index].max(number);
}

/// The cardinality of what was gathered by [`merge`] or [`gather`].
#[must_use]
pub fn count_registers(registers: &Registers) -> u64 {
    /// Registers that are passed at once when all of them are 0, as nearly all are in what came from sparse forms.
    const BLOCK: usize = 8;
    // Two, for neighbours often hold the same number, and a count has to wait for the one before it.
    let mut histograms = [Histogram::default(), Histogram::default()];
    let mut zeros = 0;
    for block in registers.as_chunks::<BLOCK>().0 {
        if *block == [0; BLOCK] {
            zeros += BLOCK as u32;
        } else {
            block.iter().enumerate().for_each(|(at, number)| histograms[at % 2].add(*number, 1));
        }
    }
    let [mut histogram, other] = histograms;
    histogram.add_all(&other);
    histogram.add(0, zeros);
    histogram.cardinality()
}

/// Gives the string the dense form.
///
/// # Errors
/// When the registers do not add up; the string stays as it was.
pub fn to_dense(text: &mut Vec<u8>) -> Result<(), Corrupt> {
    if form(text) == Form::Dense {
        return Ok(());
    }
    let mut registers = [0; REGISTERS];
    merge(&mut registers, text)?;
    text[FORM] = 0;
    text.resize(dense::BYTES, 0);
    dense::pack(&mut text[HEADER..], &registers);
    Ok(())
}

/// Whether a register would be raised by an offer.
///
/// # Errors
/// When the register is not there.
pub fn would_raise(text: &[u8], index: usize, number: u8) -> Result<bool, Corrupt> {
    let registers = &text[HEADER..];
    Ok(match form(text) {
        Form::Dense => dense::get(registers, index) < number,
        Form::Sparse => number > sparse::NUMBER_MAX || sparse::get(registers, index)? < number,
    })
}

/// Offers a register a number, and answers whether it was raised. A sparse form that would pass `sparse_bytes_max`
/// bytes, header included, or cannot hold the number, becomes dense.
///
/// # Errors
/// When the registers do not add up; the string stays as it was.
pub fn raise(
    text: &mut Vec<u8>,
    index: usize,
    number: u8,
    sparse_bytes_max: usize,
) -> Result<bool, Corrupt> {
    let mut cursor = sparse::Cursor::default();
    raise_at(text, &mut cursor, index, number, sparse_bytes_max)
}

/// As [`raise`]; a `cursor` that is handed on finds the registers faster when their indexes ascend.
///
/// # Errors
/// As [`raise`].
pub fn raise_at(
    text: &mut Vec<u8>,
    cursor: &mut sparse::Cursor,
    index: usize,
    number: u8,
    sparse_bytes_max: usize,
) -> Result<bool, Corrupt> {
    if form(text) == Form::Sparse {
        match sparse::raise(text, cursor, index, number, sparse_bytes_max)? {
            sparse::Outcome::Raised => {
                forget(text);
                return Ok(true);
            }
            sparse::Outcome::Kept => return Ok(false),
            sparse::Outcome::DoesNotFit => to_dense(text)?,
        }
    }
    Ok(dense::raise(&mut text[HEADER..], index, number))
}

#[cfg(test)]
mod tests;
