//! Values as JSON. Tables within tables wait on a list, not on the stack.

use std::vec;

use mlua::{Lua, Table, Value};

use super::super::arguments::type_name;
use super::super::numbers::print_general;
use super::{Answer, Arguments, Config, Invalid, Raise, one};

/// Tables that may lie in each other whatever has been set: so many have room on the stack of Redis's own library.
const DEPTH_MAX: i32 = 2_660;
/// Bytes that a text may have.
const TEXT_BYTES_MAX: usize = 1 << 30;

/// A table that is being written.
enum Open {
    /// An array: the table, the elements that are written, and all of them.
    Array(Table, i64, i64),
    /// An object: what is left of its pairs, and whether none is written yet.
    Object(vec::IntoIter<(Value, Value)>, bool),
}

/// What a table is.
enum Shape {
    Array(i64),
    Object,
}

fn refuse(value: &Value, reason: &str) -> Raise {
    Raise::text(format!("Cannot serialise {}: {reason}", type_name(value)))
}

/// `cjson.encode(value)`
pub(super) fn encode(lua: &Lua, args: &Arguments, config: &Config) -> Answer {
    let (1, Some(value)) = (args.len(), args.get(1)) else {
        return Err(Raise::argument(1, "expected 1 argument"));
    };
    let mut out = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut next = Some(value.clone());
    loop {
        if let Some(value) = next.take() {
            write(&value, config, &mut out, &mut open)?;
        }
        if out.len() > TEXT_BYTES_MAX {
            return Err(Raise::text("resulting string too large"));
        }
        match open.last_mut() {
            None => break,
            Some(Open::Array(table, written, all)) => {
                if written == all {
                    out.push(b']');
                    open.pop();
                    continue;
                }
                if *written > 0 {
                    out.push(b',');
                }
                *written += 1;
                next = Some(table.raw_get(*written)?);
            }
            Some(Open::Object(pairs, is_first)) => {
                let Some((key, value)) = pairs.next() else {
                    out.push(b'}');
                    open.pop();
                    continue;
                };
                if !std::mem::take(is_first) {
                    out.push(b',');
                }
                write_key(&key, config, &mut out)?;
                next = Some(value);
            }
        }
    }
    Ok(one(Value::String(lua.create_string(&out)?)))
}

fn write(
    value: &Value,
    config: &Config,
    out: &mut Vec<u8>,
    open: &mut Vec<Open>,
) -> Result<(), Raise> {
    match value {
        Value::String(text) => write_text(&text.as_bytes(), out),
        Value::Integer(number) => write_number(value, *number as f64, config, out)?,
        Value::Number(number) => write_number(value, *number, config, out)?,
        Value::Boolean(true) => out.extend_from_slice(b"true"),
        Value::Boolean(false) => out.extend_from_slice(b"false"),
        Value::Nil => out.extend_from_slice(b"null"),
        Value::LightUserData(place) if place.0.is_null() => out.extend_from_slice(b"null"),
        Value::Table(table) => {
            let depth = open.len() as i32 + 1;
            if depth > config.encode_depth.get().min(DEPTH_MAX) {
                return Err(Raise::text(format!("Cannot serialise, excessive nesting ({depth})")));
            }
            let mut pairs: Vec<(Value, Value)> = Vec::new();
            table.for_each(|key: Value, value: Value| {
                pairs.push((key, value));
                Ok(())
            })?;
            match shape(value, &pairs, config)? {
                Shape::Array(length) if length > 0 => {
                    out.push(b'[');
                    open.push(Open::Array(table.clone(), 0, length));
                }
                _ => {
                    out.push(b'{');
                    open.push(Open::Object(pairs.into_iter(), true));
                }
            }
        }
        other => return Err(refuse(other, "type not supported")),
    }
    Ok(())
}

/// An array has no keys but whole numbers above zero, and not too few for the greatest.
fn shape(table: &Value, pairs: &[(Value, Value)], config: &Config) -> Result<Shape, Raise> {
    let (mut most, mut items) = (0_i64, 0_i64);
    for (key, _) in pairs {
        let key = match key {
            Value::Integer(number) if *number >= 1 => (*number).min(i64::from(i32::MAX)),
            // Whole, but beyond what is told as an integer.
            Value::Number(number) if *number >= 1.0 && number.floor() == *number => {
                i64::from(i32::MAX)
            }
            _ => return Ok(Shape::Object),
        };
        most = most.max(key);
        items += 1;
    }
    let (ratio, safe) = (i64::from(config.sparse_ratio.get()), i64::from(config.sparse_safe.get()));
    if ratio > 0 && most > items.saturating_mul(ratio) && most > safe {
        if !config.sparse_converted.get() {
            return Err(refuse(table, "excessively sparse array"));
        }
        return Ok(Shape::Object);
    }
    Ok(Shape::Array(most))
}

fn write_key(key: &Value, config: &Config, out: &mut Vec<u8>) -> Result<(), Raise> {
    match key {
        Value::String(text) => write_text(&text.as_bytes(), out),
        Value::Integer(_) | Value::Number(_) => {
            out.push(b'"');
            let number = match key {
                Value::Integer(number) => *number as f64,
                Value::Number(number) => *number,
                _ => 0.0,
            };
            write_number(key, number, config, out)?;
            out.push(b'"');
        }
        other => return Err(refuse(other, "table key must be a number or string")),
    }
    out.push(b':');
    Ok(())
}

fn write_number(
    value: &Value,
    number: f64,
    config: &Config,
    out: &mut Vec<u8>,
) -> Result<(), Raise> {
    if !number.is_finite() {
        match config.encode_invalid.get() {
            Invalid::Refused => return Err(refuse(value, "must not be NaN or Inf")),
            Invalid::Printed if number.is_nan() => {
                out.extend_from_slice(b"nan");
                return Ok(());
            }
            Invalid::Printed => {}
            Invalid::Null => {
                out.extend_from_slice(b"null");
                return Ok(());
            }
        }
    }
    print_general(number, usize::try_from(config.precision.get()).unwrap_or(14), out);
    Ok(())
}

fn write_text(text: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(text.len() + 2);
    out.push(b'"');
    for byte in text {
        let escape = match byte {
            b'"' | b'\\' | b'/' => *byte,
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0c => b'f',
            b'\r' => b'r',
            0..=0x1f | 0x7f => {
                out.extend_from_slice(b"\\u00");
                out.push(DIGITS[usize::from(byte >> 4)]);
                out.push(DIGITS[usize::from(byte & 15)]);
                continue;
            }
            _ => {
                out.push(*byte);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', escape]);
    }
    out.push(b'"');
}
