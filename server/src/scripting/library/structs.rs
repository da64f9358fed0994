//! `struct`: values as bytes in the forms of C.

use mlua::{Lua, MultiValue, Table, Value};

use super::arguments::{is_number, to_number};
use super::{Answer, Arguments, Functions, Raise, add_function, one};

/// The library.
pub(super) fn library(lua: &Lua, functions: &Functions) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    add_function(lua, functions, &library, "pack", pack)?;
    add_function(lua, functions, &library, "unpack", unpack)?;
    add_function(lua, functions, &library, "size", size)?;
    Ok(library)
}

/// Bytes of the largest integer.
const INTEGER_BYTES_MAX: usize = 32;
/// What `!` aligns to where no number follows it.
const ALIGNMENT_DEFAULT: usize = 8;
/// Bytes that one packed string may have.
const PACKED_BYTES_MAX: usize = 1 << 30;
/// Values that may be unpacked at once: so many have room on Lua's stack.
const VALUES_MAX: usize = 7_900;

/// A format that is being read, and what it has said so far.
struct Format<'a> {
    text: &'a [u8],
    is_little: bool,
    alignment: usize,
}

/// One item of a format: its letter, and its size in bytes.
#[derive(Clone, Copy)]
struct Item {
    letter: u8,
    size: usize,
}

impl<'a> Format<'a> {
    fn new(text: &'a [u8]) -> Self {
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        Self { text, is_little: true, alignment: 1 }
    }

    fn number(&mut self, default: usize) -> Result<usize, Raise> {
        let mut number: Option<i32> = None;
        while let [digit @ b'0'..=b'9', rest @ ..] = self.text {
            let more = number.unwrap_or(0).checked_mul(10);
            let more = more.and_then(|more| more.checked_add(i32::from(digit - b'0')));
            number = Some(more.ok_or_else(|| Raise::text("integral size overflow"))?);
            self.text = rest;
        }
        Ok(number.map_or(default, |number| usize::try_from(number).unwrap_or(0)))
    }

    /// The next item that stands for bytes, or for nothing but alignment and order, which have taken effect.
    fn next(&mut self) -> Result<Option<Item>, Raise> {
        let [letter, rest @ ..] = self.text else { return Ok(None) };
        self.text = rest;
        let size = match letter {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.number(1)?,
            b'i' | b'I' => {
                let size = self.number(4)?;
                if size > INTEGER_BYTES_MAX {
                    return Err(Raise::text(format!(
                        "integral size {size} is larger than limit of {INTEGER_BYTES_MAX}"
                    )));
                }
                size
            }
            _ => 0,
        };
        Ok(Some(Item { letter: *letter, size }))
    }

    /// Bytes that an item is moved by, so that it lies where its kind has to.
    fn padding(&self, at: usize, item: Item) -> usize {
        if item.size == 0 || item.letter == b'c' {
            return 0;
        }
        // As in C, a size that is no power of two is masked all the same.
        let size = item.size.min(self.alignment);
        size.wrapping_sub(at & (size - 1)) & (size - 1)
    }

    /// Takes an item that stands for no bytes.
    fn control(&mut self, letter: u8) -> Result<(), Raise> {
        match letter {
            b' ' => {}
            b'>' => self.is_little = false,
            b'<' => self.is_little = true,
            b'!' => {
                let alignment = self.number(ALIGNMENT_DEFAULT)?;
                if !alignment.is_power_of_two() {
                    return Err(Raise::text(format!("alignment {alignment} is not a power of 2")));
                }
                self.alignment = alignment;
            }
            _ => {
                let text = [b"invalid format option '", &[letter][..], b"'"].concat();
                return Err(Raise::argument(1, text));
            }
        }
        Ok(())
    }

    /// Bytes in the order of the format, from such of this machine.
    fn ordered<const N: usize>(&self, little: [u8; N]) -> [u8; N] {
        let mut bytes = little;
        if !self.is_little {
            bytes.reverse();
        }
        bytes
    }
}

/// `struct.pack(format, …)`
fn pack(lua: &Lua, mut args: Arguments) -> Answer {
    let text = args.string(lua, 1)?;
    // As in C, where a mark lies behind the arguments.
    args.push(Value::Nil);
    let text = text.as_bytes();
    let mut format = Format::new(&text);
    let mut place = 2;
    let mut out: Vec<u8> = Vec::new();
    while let Some(item) = format.next()? {
        let padding = format.padding(out.len(), item);
        out.resize(out.len() + padding, 0);
        match item.letter {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let number = args.number(lua, place)?;
                place += 1;
                put_integer(&mut out, number, item.size, format.is_little);
            }
            b'x' => out.push(0),
            b'f' => {
                let number = args.number(lua, place)? as f32;
                place += 1;
                out.extend_from_slice(&format.ordered(number.to_le_bytes()));
            }
            b'd' => {
                let number = args.number(lua, place)?;
                place += 1;
                out.extend_from_slice(&format.ordered(number.to_le_bytes()));
            }
            b'c' | b's' => {
                let string = args.string(lua, place)?;
                let bytes = string.as_bytes();
                place += 1;
                let size = if item.size == 0 { bytes.len() } else { item.size };
                let Some(bytes) = bytes.get(..size) else {
                    return Err(Raise::argument(place, "string too short"));
                };
                out.extend_from_slice(bytes);
                if item.letter == b's' {
                    out.push(0);
                }
            }
            letter => format.control(letter)?,
        }
        if out.len() > PACKED_BYTES_MAX {
            return Err(Raise::text("resulting string too large"));
        }
    }
    Ok(one(Value::String(lua.create_string(&out)?)))
}

/// Appends an integer of any size. Numbers that no integer stands for are what x86 makes of them.
fn put_integer(out: &mut Vec<u8>, number: f64, size: usize, is_little: bool) {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    let value = if number < 0.0 || number.is_nan() {
        if number >= -HALF { number as i64 } else { i64::MIN }.cast_unsigned()
    } else if number < HALF * 2.0 {
        number as u64
    } else {
        0
    };
    let start = out.len();
    out.extend(value.to_le_bytes().into_iter().chain(std::iter::repeat(0)).take(size));
    if !is_little {
        out[start..].reverse();
    }
}

fn integer(bytes: &[u8], is_little: bool, is_signed: bool) -> f64 {
    let mut value = 0_u64;
    let mut take = |byte: &u8| value = value << 8 | u64::from(*byte);
    if is_little {
        bytes.iter().rev().for_each(&mut take);
    } else {
        bytes.iter().for_each(&mut take);
    }
    if !is_signed {
        return value as f64;
    }
    let bits = (bytes.len() as u32 * 8).clamp(1, 64);
    let unused = 64 - bits;
    (((value << unused).cast_signed()) >> unused) as f64
}

/// `struct.unpack(format, data [, position])`
fn unpack(lua: &Lua, args: Arguments) -> Answer {
    let text = args.string(lua, 1)?;
    let text = text.as_bytes();
    let data = args.string(lua, 2)?;
    let data = data.as_bytes();
    let position = args.integer_or(lua, 3, 1)?;
    if position == 0 {
        return Err(Raise::argument(3, "offset must be 1 or greater"));
    }
    let too_short = || Raise::argument(2, "data string too short");
    // One below zero is far behind the end, as in C.
    let mut at = usize::try_from(position.wrapping_sub(1)).unwrap_or(usize::MAX);
    let mut format = Format::new(&text);
    let mut values: Vec<Value> = Vec::new();
    while let Some(mut item) = format.next()? {
        at = at.saturating_add(format.padding(at, item));
        let within =
            |at: usize, size: usize| at.checked_add(size).and_then(|end| data.get(at..end));
        let bytes = within(at, item.size).ok_or_else(too_short)?;
        if values.len() >= VALUES_MAX {
            return Err(Raise::text("stack overflow (too many results)"));
        }
        match item.letter {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let is_signed = item.letter.is_ascii_lowercase();
                values.push(Value::Number(integer(bytes, format.is_little, is_signed)));
            }
            b'x' => {}
            b'f' => {
                let bytes: [u8; 4] = bytes.try_into().map_err(|_| too_short())?;
                let number = f32::from_le_bytes(format.ordered(bytes));
                values.push(Value::Number(f64::from(number)));
            }
            b'd' => {
                let bytes: [u8; 8] = bytes.try_into().map_err(|_| too_short())?;
                values.push(Value::Number(f64::from_le_bytes(format.ordered(bytes))));
            }
            b'c' => {
                if item.size == 0 {
                    let size = values.pop().filter(|size| is_number(lua, size));
                    let size =
                        size.ok_or_else(|| Raise::text("format 'c0' needs a previous size"))?;
                    let size = to_number(lua, Some(&size));
                    if !(0.0..=data.len() as f64).contains(&size) {
                        return Err(too_short());
                    }
                    item.size = size as usize;
                }
                let bytes = within(at, item.size).ok_or_else(too_short)?;
                values.push(Value::String(lua.create_string(bytes)?));
            }
            b's' => {
                let rest = data.get(at..).unwrap_or_default();
                let length = memchr::memchr(0, rest)
                    .ok_or_else(|| Raise::text("unfinished string in data"))?;
                values.push(Value::String(lua.create_string(&rest[..length])?));
                item.size = length + 1;
            }
            letter => format.control(letter)?,
        }
        at = at.saturating_add(item.size);
    }
    values.push(Value::Number(at as f64 + 1.0));
    Ok(MultiValue::from_vec(values))
}

/// `struct.size(format)`
fn size(lua: &Lua, args: Arguments) -> Answer {
    let text = args.string(lua, 1)?;
    let text = text.as_bytes();
    let mut format = Format::new(&text);
    let mut at = 0_usize;
    while let Some(item) = format.next()? {
        at = at.saturating_add(format.padding(at, item));
        match item.letter {
            b's' => return Err(Raise::argument(1, "option 's' has no fixed size")),
            b'c' if item.size == 0 => {
                return Err(Raise::argument(1, "option 'c0' has no fixed size"));
            }
            letter if !letter.is_ascii_alphanumeric() => format.control(letter)?,
            _ => {}
        }
        at = at.saturating_add(item.size);
    }
    Ok(one(Value::Number(at as f64)))
}
