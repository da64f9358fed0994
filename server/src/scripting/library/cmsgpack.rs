//! `cmsgpack`: MessagePack, as version 0.4.0 of the library of that name reads and writes it.

use mlua::{Lua, MultiValue, Table, Value};

use super::stack::{self, Seen, Stack};
use super::{Answer, Arguments, Functions, Raise, add_function, one};

/// Tables within each other from which on nothing is written: they may go round in a circle.
const LEVELS_MAX: usize = 16;
/// Values that lie on Lua's stack in Redis's own library while one is read: it has no room for more.
const SLOTS_MAX: usize = 7_990;
/// Bytes that may be packed at once.
const PACKED_BYTES_MAX: usize = 1 << 30;

/// The library.
pub(super) fn library(lua: &Lua, functions: &Functions) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    add_function(lua, functions, &library, "pack", pack)?;
    add_function(lua, functions, &library, "unpack", |lua, args| unpack(lua, &args, None))?;
    add_function(lua, functions, &library, "unpack_one", |lua, args| {
        let offset = args.integer_or(lua, 2, 0)?;
        unpack(lua, &args, Some((1, offset)))
    })?;
    add_function(lua, functions, &library, "unpack_limit", |lua, args| {
        let limit = args.integer(lua, 2)?;
        let offset = args.integer_or(lua, 3, 0)?;
        unpack(lua, &args, Some((limit, offset)))
    })?;
    library.raw_set("_NAME", "cmsgpack")?;
    library.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    library.raw_set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    library.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(library)
}

/// `cmsgpack.pack(…)`
fn pack(lua: &Lua, args: Arguments) -> Answer {
    if args.len() == 0 {
        return Err(Raise::text("bad argument #0 to 'pack' (MessagePack pack needs input.)"));
    }
    // What has to be dropped lies here, not in the frames that an error of Lua's may pass over.
    let mut out = Vec::new();
    let mut fits = true;
    for value in args.iter() {
        stack::run::<()>(lua, value, |stack| {
            fits &= write(stack, 0, &mut out);
            stack.clear();
        })?;
    }
    if !fits {
        return Err(Raise::text("resulting string too large"));
    }
    Ok(one(Value::String(lua.create_string(&out)?)))
}

/// Writes the value on top, and takes it off. It goes no deeper than tables are written. Answers whether it was not too much.
fn write(stack: &mut Stack<'_>, level: usize, out: &mut Vec<u8>) -> bool {
    match stack.see(-1) {
        _ if out.len() > PACKED_BYTES_MAX => return false,
        Seen::Text(text) => {
            write_head(
                out,
                text.len(),
                [(0xa0, 31), (0xd9, 0xff), (0xda, 0xffff), (0xdb, u64::MAX)],
            );
            out.extend_from_slice(text);
        }
        Seen::Boolean(truth) => out.push(if truth { 0xc3 } else { 0xc2 }),
        Seen::Number(number) => write_number(out, number),
        // A key and a value above the table, and a copy of one of them.
        Seen::Table if level < LEVELS_MAX => {
            if !stack.reserve(4) || !write_table(stack, level, out) {
                return false;
            }
        }
        _ => out.push(0xc0),
    }
    stack.pop(1);
    true
}

/// Writes what begins a string, an array or a map of `length`: in the first of the forms that has room for it.
fn write_head(out: &mut Vec<u8>, length: usize, [short, byte, word, long]: [(u8, u64); 4]) {
    let length = length as u64;
    if length <= short.1 {
        out.push(short.0 | length as u8);
    } else if byte.1 > 0 && length <= byte.1 {
        out.extend_from_slice(&[byte.0, length as u8]);
    } else if length <= word.1 {
        out.push(word.0);
        out.extend_from_slice(&(length as u16).to_be_bytes());
    } else {
        out.push(long.0);
        out.extend_from_slice(&(length as u32).to_be_bytes());
    }
}

fn write_integer(out: &mut Vec<u8>, number: i64) {
    match number {
        0..=127 => out.push(number as u8),
        128..=0xff => out.extend_from_slice(&[0xcc, number as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        0x1_0000_0000.. => {
            out.push(0xcf);
            out.extend_from_slice(&number.to_be_bytes());
        }
        -32..=-1 => out.push(number as i8 as u8),
        -128..=-33 => out.extend_from_slice(&[0xd0, number as i8 as u8]),
        -0x8000..=-129 => {
            out.push(0xd1);
            out.extend_from_slice(&(number as i16).to_be_bytes());
        }
        -0x8000_0000..=-0x8001 => {
            out.push(0xd2);
            out.extend_from_slice(&(number as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// Writes a number that Lua does not tell as an integer: as one where it is, else in 32 bits where they hold it.
fn write_number(out: &mut Vec<u8>, number: f64) {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    if number.fract() == 0.0 && (-HALF..HALF).contains(&number) {
        write_integer(out, number as i64);
    } else if f64::from(number as f32) == number {
        out.push(0xca);
        out.extend_from_slice(&(number as f32).to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// How many pairs the table on top has, and whether they are the elements of an array.
fn shape(stack: &mut Stack<'_>) -> (usize, bool) {
    let (mut pairs, mut most, mut is_array) = (0_usize, 0.0, true);
    stack.push_nil();
    while stack.next(-2) {
        pairs += 1;
        match stack.see(-2) {
            Seen::Number(key) if (1.0..=2_147_483_647.0).contains(&key) && key.fract() == 0.0 => {
                most = key.max(most);
            }
            _ => is_array = false,
        }
        stack.pop(1);
    }
    (pairs, is_array && most == pairs as f64)
}

/// Writes the table on top.
fn write_table(stack: &mut Stack<'_>, level: usize, out: &mut Vec<u8>) -> bool {
    let (pairs, is_array) = shape(stack);
    if is_array {
        write_head(out, pairs, [(0x90, 15), (0, 0), (0xdc, 0xffff), (0xdd, u64::MAX)]);
        for place in 1..=pairs as i32 {
            stack.push_element(-1, place);
            if !write(stack, level + 1, out) {
                return false;
            }
        }
        return true;
    }
    write_head(out, pairs, [(0x80, 15), (0, 0), (0xde, 0xffff), (0xdf, u64::MAX)]);
    stack.push_nil();
    while stack.next(-2) {
        stack.push_copy(-2);
        if !write(stack, level + 1, out) || !write(stack, level + 1, out) {
            return false;
        }
    }
    true
}

/// What is being read. It lies on the stack.
enum Open {
    /// An array: the elements that are read, and how many are still to come.
    Array(i32, u32),
    /// A map: the pairs that are still to come, and whether a key lies above it whose value comes next.
    Map(u32, bool),
}

impl Open {
    /// Values that it takes on the stack of Redis's own library.
    const SLOTS: usize = 2;
}

/// Bytes that are being read.
struct Reader<'a> {
    bytes: &'a [u8],
}

fn missing() -> Raise {
    Raise::text("Missing bytes in input.")
}

/// What a value begins with.
enum Head<'a> {
    Nil,
    Boolean(bool),
    Number(f64),
    Text(&'a [u8]),
    Array(u32),
    Map(u32),
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Raise> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or_else(missing)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Raise> {
        self.take(N)?.try_into().map_err(|_| missing())
    }

    fn text(&mut self, length: usize) -> Result<Head<'a>, Raise> {
        Ok(Head::Text(self.take(length)?))
    }

    /// Reads the first byte of a value and what belongs to it.
    fn head(&mut self) -> Result<Head<'a>, Raise> {
        let [first] = self.fixed::<1>()?;
        let number = Head::Number;
        Ok(match first {
            0x00..=0x7f => number(f64::from(first)),
            0x80..=0x8f => Head::Map(u32::from(first & 15)),
            0x90..=0x9f => Head::Array(u32::from(first & 15)),
            0xa0..=0xbf => self.text(usize::from(first & 31))?,
            0xc0 => Head::Nil,
            0xc2 | 0xc3 => Head::Boolean(first == 0xc3),
            0xca => number(f64::from(f32::from_be_bytes(self.fixed()?))),
            0xcb => number(f64::from_be_bytes(self.fixed()?)),
            0xcc => number(f64::from(u8::from_be_bytes(self.fixed()?))),
            0xcd => number(f64::from(u16::from_be_bytes(self.fixed()?))),
            0xce => number(f64::from(u32::from_be_bytes(self.fixed()?))),
            // As the library of Redis has it, a number of 64 bits is one with a sign.
            0xcf | 0xd3 => number(i64::from_be_bytes(self.fixed()?) as f64),
            0xd0 => number(f64::from(i8::from_be_bytes(self.fixed()?))),
            0xd1 => number(f64::from(i16::from_be_bytes(self.fixed()?))),
            0xd2 => number(f64::from(i32::from_be_bytes(self.fixed()?))),
            0xd9 => {
                let length = u8::from_be_bytes(self.fixed()?);
                self.text(usize::from(length))?
            }
            0xda => {
                let length = u16::from_be_bytes(self.fixed()?);
                self.text(usize::from(length))?
            }
            0xdb => {
                let length = u32::from_be_bytes(self.fixed()?);
                self.text(length as usize)?
            }
            0xdc => Head::Array(u32::from(u16::from_be_bytes(self.fixed()?))),
            0xdd => Head::Array(u32::from_be_bytes(self.fixed()?)),
            0xde => Head::Map(u32::from(u16::from_be_bytes(self.fixed()?))),
            0xdf => Head::Map(u32::from_be_bytes(self.fixed()?)),
            0xe0..=0xff => number(f64::from(first.cast_signed())),
            _ => return Err(Raise::text("Bad data format in input.")),
        })
    }

    /// Reads a value, which is pushed; `slots` are taken already.
    fn value(
        &mut self,
        stack: &mut Stack<'_>,
        open: &mut Vec<Open>,
        slots: usize,
    ) -> Result<(), Raise> {
        loop {
            if slots + open.len() * Open::SLOTS > SLOTS_MAX || !stack.reserve(3) {
                return Err(Raise::text(
                    "stack overflow (too many return values at once; use unpack_one or unpack_limit \
                     instead.)",
                ));
            }
            match self.head()? {
                Head::Nil => stack.push_nil(),
                Head::Boolean(truth) => stack.push_boolean(truth),
                Head::Number(number) => stack.push_number(number),
                Head::Text(text) => stack.push_text(text),
                Head::Array(0) | Head::Map(0) => stack.push_table(0, 0),
                Head::Array(count) => {
                    stack.push_table(0, 0);
                    open.push(Open::Array(0, count));
                    continue;
                }
                Head::Map(count) => {
                    stack.push_table(0, 0);
                    open.push(Open::Map(count, false));
                    continue;
                }
            }
            // A value is whole, and lies on top.
            loop {
                let left = match open.last_mut() {
                    None => return Ok(()),
                    Some(Open::Array(read, left)) => {
                        // More elements than it can number have no room in memory.
                        *read = read.wrapping_add(1);
                        stack.set_element(-2, *read);
                        *left -= 1;
                        *left
                    }
                    Some(Open::Map(_, has_key @ false)) => {
                        *has_key = true;
                        break;
                    }
                    Some(Open::Map(left, has_key)) => {
                        *has_key = false;
                        check_key(stack.see(-2))?;
                        stack.set_pair(-3);
                        *left -= 1;
                        *left
                    }
                };
                if left > 0 {
                    break;
                }
                open.pop();
            }
        }
    }
}

fn check_key(key: Seen<'_>) -> Result<(), Raise> {
    match key {
        Seen::Nil => Err(Raise::Plain(b"table index is nil".to_vec())),
        Seen::Number(number) if number.is_nan() => {
            Err(Raise::Plain(b"table index is NaN".to_vec()))
        }
        _ => Ok(()),
    }
}

/// Reads all values, or as many as `limits` says from its offset on, and then answers first where it has stopped.
fn unpack(lua: &Lua, args: &Arguments, limits: Option<(i64, i64)>) -> Answer {
    let text = args.string(lua, 1)?;
    let text = text.as_bytes();
    let length = text.len();
    let (limit, offset) = limits.unwrap_or((0, 0));
    if offset < 0 || limit < 0 {
        return Err(Raise::text(format!(
            "Invalid request to unpack with offset of {offset} and limit of {length}."
        )));
    }
    let Some(bytes) = usize::try_from(offset).ok().and_then(|offset| text.get(offset..)) else {
        return Err(Raise::text(format!(
            "Start offset {offset} greater than input length {length}."
        )));
    };
    let reads_all = limit == 0 && offset == 0;
    let most = if reads_all { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) };
    let mut reader = Reader { bytes };
    // What has to be dropped lies here, not in the frames that an error of Lua's may pass over.
    let (mut open, mut refused) = (Vec::new(), None);
    let values = stack::run::<MultiValue>(lua, (), |stack| {
        let mut count = 0;
        while refused.is_none() && !reader.bytes.is_empty() && count < most {
            refused = reader.value(stack, &mut open, count).err();
            count += 1;
        }
        if refused.is_some() {
            return stack.clear();
        }
        if !reads_all && stack.reserve(1) {
            let stopped = length - reader.bytes.len();
            stack.push_number(if reader.bytes.is_empty() { -1.0 } else { stopped as f64 });
            stack.sink();
        }
    })?;
    refused.map_or(Ok(values), Err)
}
