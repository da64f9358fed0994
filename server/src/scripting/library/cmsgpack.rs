//! `cmsgpack`: MessagePack, as version 0.4.0 of the library of that name reads and writes it.

use mlua::{Lua, MultiValue, Table, Value};

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
    let mut out = Vec::new();
    for value in args.iter() {
        write(value, 0, &mut out)?;
    }
    Ok(one(Value::String(lua.create_string(&out)?)))
}

/// Writes a value. It goes no deeper than tables are written.
fn write(value: &Value, level: usize, out: &mut Vec<u8>) -> Result<(), Raise> {
    if out.len() > PACKED_BYTES_MAX {
        return Err(Raise::text("resulting string too large"));
    }
    match value {
        Value::String(text) => {
            let text = text.as_bytes();
            write_head(
                out,
                text.len(),
                [(0xa0, 31), (0xd9, 0xff), (0xda, 0xffff), (0xdb, u64::MAX)],
            );
            out.extend_from_slice(&text);
        }
        Value::Boolean(truth) => out.push(if *truth { 0xc3 } else { 0xc2 }),
        Value::Integer(number) => write_integer(out, *number),
        Value::Number(number) => write_number(out, *number),
        Value::Table(table) if level < LEVELS_MAX => write_table(table, level, out)?,
        _ => out.push(0xc0),
    }
    Ok(())
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

fn write_table(table: &Table, level: usize, out: &mut Vec<u8>) -> Result<(), Raise> {
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    table.for_each(|key: Value, value: Value| {
        pairs.push((key, value));
        Ok(())
    })?;
    let mut most = 0;
    let is_array = pairs.iter().all(|(key, _)| match key {
        Value::Integer(number @ 1..=0x7fff_ffff) => {
            most = most.max(*number);
            true
        }
        _ => false,
    });
    if is_array && most == pairs.len() as i64 {
        write_head(out, pairs.len(), [(0x90, 15), (0, 0), (0xdc, 0xffff), (0xdd, u64::MAX)]);
        for place in 1..=most {
            let value: Value = table.raw_get(place)?;
            write(&value, level + 1, out)?;
        }
    } else {
        write_head(out, pairs.len(), [(0x80, 15), (0, 0), (0xde, 0xffff), (0xdf, u64::MAX)]);
        for (key, value) in &pairs {
            write(key, level + 1, out)?;
            write(value, level + 1, out)?;
        }
    }
    Ok(())
}

/// What is being read.
enum Open {
    /// An array: the elements that are read, and how many are still to come.
    Array(Table, i64, u32),
    /// A map: the pairs that are still to come, and the key whose value comes next.
    Map(Table, u32, Option<Value>),
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
enum Head {
    Whole(Value),
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

    fn text(&mut self, lua: &Lua, length: usize) -> Result<Head, Raise> {
        Ok(Head::Whole(Value::String(lua.create_string(self.take(length)?)?)))
    }

    /// Reads the first byte of a value and what belongs to it.
    fn head(&mut self, lua: &Lua) -> Result<Head, Raise> {
        let [first] = self.fixed::<1>()?;
        let number = |number: f64| Head::Whole(Value::Number(number));
        Ok(match first {
            0x00..=0x7f => number(f64::from(first)),
            0x80..=0x8f => Head::Map(u32::from(first & 15)),
            0x90..=0x9f => Head::Array(u32::from(first & 15)),
            0xa0..=0xbf => self.text(lua, usize::from(first & 31))?,
            0xc0 => Head::Whole(Value::Nil),
            0xc2 | 0xc3 => Head::Whole(Value::Boolean(first == 0xc3)),
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
                self.text(lua, usize::from(length))?
            }
            0xda => {
                let length = u16::from_be_bytes(self.fixed()?);
                self.text(lua, usize::from(length))?
            }
            0xdb => {
                let length = u32::from_be_bytes(self.fixed()?);
                self.text(lua, length as usize)?
            }
            0xdc => Head::Array(u32::from(u16::from_be_bytes(self.fixed()?))),
            0xdd => Head::Array(u32::from_be_bytes(self.fixed()?)),
            0xde => Head::Map(u32::from(u16::from_be_bytes(self.fixed()?))),
            0xdf => Head::Map(u32::from_be_bytes(self.fixed()?)),
            0xe0..=0xff => number(f64::from(first.cast_signed())),
            _ => return Err(Raise::text("Bad data format in input.")),
        })
    }

    /// Reads a value; `slots` are taken already.
    fn value(&mut self, lua: &Lua, slots: usize) -> Result<Value, Raise> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            if slots + open.len() * Open::SLOTS > SLOTS_MAX {
                return Err(Raise::text(
                    "stack overflow (too many return values at once; use unpack_one or unpack_limit \
                     instead.)",
                ));
            }
            let mut whole = match self.head(lua)? {
                Head::Whole(value) => value,
                Head::Array(0) | Head::Map(0) => Value::Table(lua.create_table()?),
                Head::Array(count) => {
                    open.push(Open::Array(lua.create_table()?, 0, count));
                    continue;
                }
                Head::Map(count) => {
                    open.push(Open::Map(lua.create_table()?, count, None));
                    continue;
                }
            };
            loop {
                let left = match open.last_mut() {
                    None => return Ok(whole),
                    Some(Open::Array(table, read, left)) => {
                        *read += 1;
                        table.raw_set(*read, whole)?;
                        *left -= 1;
                        *left
                    }
                    Some(Open::Map(table, left, key)) => match key.take() {
                        None => {
                            *key = Some(whole);
                            break;
                        }
                        Some(name) => {
                            set(table, name, whole)?;
                            *left -= 1;
                            *left
                        }
                    },
                };
                if left > 0 {
                    break;
                }
                whole = match open.pop() {
                    Some(Open::Array(table, ..) | Open::Map(table, ..)) => Value::Table(table),
                    None => Value::Nil,
                };
            }
        }
    }
}

fn set(table: &Table, key: Value, value: Value) -> Result<(), Raise> {
    match key {
        Value::Nil => Err(Raise::Plain(b"table index is nil".to_vec())),
        Value::Number(number) if number.is_nan() => {
            Err(Raise::Plain(b"table index is NaN".to_vec()))
        }
        key => Ok(table.raw_set(key, value)?),
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
    let mut values = Vec::new();
    while !reader.bytes.is_empty() && values.len() < most {
        values.push(reader.value(lua, values.len())?);
    }
    if !reads_all {
        let stopped = length - reader.bytes.len();
        let stopped = if reader.bytes.is_empty() { -1 } else { stopped as i64 };
        values.insert(0, Value::Integer(stopped));
    }
    Ok(MultiValue::from_vec(values))
}
