//! The dense form: six bits a register, the lowest bits of a byte first, so that four registers fill three bytes.

use super::{HEADER, Histogram, REGISTERS, Registers};

const PACKED: usize = REGISTERS / 4 * 3;
/// Bytes of a HyperLogLog in the dense form, header included.
pub const BYTES: usize = HEADER + PACKED;

const LARGEST: u32 = 63;

fn unpack([a, b, c]: [u8; 3]) -> [u8; 4] {
    [a & 63, (a >> 6 | b << 2) & 63, (b >> 4 | c << 4) & 63, c >> 2]
}

/// A register. `registers` are the bytes behind the header.
#[must_use]
pub fn get(registers: &[u8], index: usize) -> u8 {
    let at = index / 4 * 3;
    unpack([registers[at], registers[at + 1], registers[at + 2]])[index % 4]
}

fn set(registers: &mut [u8], index: usize, number: u8) {
    let at = index / 4 * 3;
    let shift = index % 4 * 6;
    let three = &mut registers[at..at + 3];
    let mut bits = u32::from_le_bytes([three[0], three[1], three[2], 0]);
    bits = bits & !(LARGEST << shift) | (u32::from(number) & LARGEST) << shift;
    three.copy_from_slice(&bits.to_le_bytes()[..3]);
}

/// Offers a register a number, and answers whether it was raised.
pub fn raise(registers: &mut [u8], index: usize, number: u8) -> bool {
    let raised = get(registers, index) < number;
    if raised {
        set(registers, index, number);
    }
    raised
}

/// How many registers hold each number.
#[must_use]
pub fn histogram(registers: &[u8]) -> Histogram {
    let mut histogram = Histogram::default();
    for three in registers.as_chunks::<3>().0 {
        unpack(*three).into_iter().for_each(|number| histogram.add(number, 1));
    }
    histogram
}

/// Raises each of `largest` to its register.
pub fn merge(largest: &mut Registers, registers: &[u8]) {
    for (four, three) in largest.as_chunks_mut::<4>().0.iter_mut().zip(registers.as_chunks::<3>().0)
    {
        let numbers = unpack(*three);
        four.iter_mut().zip(numbers).for_each(|(held, number)| *held = (*held).max(number));
    }
}

/// Writes all registers.
pub fn pack(registers: &mut [u8], numbers: &Registers) {
    for (three, four) in registers.as_chunks_mut::<3>().0.iter_mut().zip(numbers.as_chunks::<4>().0)
    {
        let bits =
            four.iter().rev().fold(0_u32, |bits, number| bits << 6 | u32::from(*number) & LARGEST);
        three.copy_from_slice(&bits.to_le_bytes()[..3]);
    }
}
