//! Values as JSON. Tables within tables wait on a list and on Lua's stack, not on the processor's.

use mlua::{Lua, Value};

use super::super::numbers::print_general;
use super::super::stack::{self, Seen, Stack};
use super::{Answer, Arguments, Config, Invalid, Raise, one};

/// Tables that may lie in each other whatever has been set: so many have room on the stack of Redis's own library.
const DEPTH_MAX: i32 = 2_660;
/// Bytes that a text may have.
const TEXT_BYTES_MAX: usize = 1 << 30;

/// A table that is being written. It lies on the stack, an object's last key above it.
enum Open {
    /// An array: the elements that are written, and all of them.
    Array(i32, i32),
    /// An object, and whether none of its pairs is written yet.
    Object(bool),
}

/// What a table is.
enum Shape {
    Array(i32),
    Object,
}

fn refuse(type_name: &str, reason: &str) -> Raise {
    Raise::text(format!("Cannot serialise {type_name}: {reason}"))
}

/// What is written so far.
#[derive(Default)]
struct Writer {
    out: Vec<u8>,
    open: Vec<Open>,
    refused: Option<Raise>,
}

/// `cjson.encode(value)`
pub(super) fn encode(lua: &Lua, args: &Arguments, config: &Config) -> Answer {
    let (1, Some(value)) = (args.len(), args.get(1)) else {
        return Err(Raise::argument(1, "expected 1 argument"));
    };
    // What has to be dropped lies here, not in the frames that an error of Lua's may pass over.
    let mut writer = Writer::default();
    stack::run::<()>(lua, value, |stack| {
        writer.refused = writer.write_all(stack, config).err();
        stack.clear();
    })?;
    match writer.refused {
        Some(refused) => Err(refused),
        None => Ok(one(Value::String(lua.create_string(&writer.out)?))),
    }
}

impl Writer {
    /// Writes the value on top, with all that it holds.
    fn write_all(&mut self, stack: &mut Stack<'_>, config: &Config) -> Result<(), Raise> {
        loop {
            self.write(stack, config)?;
            if self.out.len() > TEXT_BYTES_MAX {
                return Err(Raise::text("resulting string too large"));
            }
            // What comes next is put on top.
            loop {
                match self.open.last_mut() {
                    None => return Ok(()),
                    Some(Open::Array(written, all)) if written == all => self.out.push(b']'),
                    Some(Open::Array(written, _)) => {
                        if *written > 0 {
                            self.out.push(b',');
                        }
                        *written += 1;
                        stack.push_element(-1, *written);
                        break;
                    }
                    Some(Open::Object(is_first)) => {
                        if stack.next(-2) {
                            if !std::mem::take(is_first) {
                                self.out.push(b',');
                            }
                            write_key(stack.see(-2), config, &mut self.out)?;
                            break;
                        }
                        self.out.push(b'}');
                    }
                }
                self.open.pop();
                stack.pop(1);
            }
        }
    }

    /// Writes the value on top, and takes it off. A table stays there, open.
    fn write(&mut self, stack: &mut Stack<'_>, config: &Config) -> Result<(), Raise> {
        let out = &mut self.out;
        match stack.see(-1) {
            Seen::Text(text) => write_text(text, out),
            Seen::Number(number) => write_number(number, config, out)?,
            Seen::Boolean(true) => out.extend_from_slice(b"true"),
            Seen::Boolean(false) => out.extend_from_slice(b"false"),
            Seen::Nil | Seen::Null => out.extend_from_slice(b"null"),
            Seen::Table => {
                let depth = self.open.len() as i32 + 1;
                // A table, a key and a value, and a key and a value while its shape is found out.
                if depth > config.encode_depth.get().min(DEPTH_MAX) || !stack.reserve(4) {
                    let text = format!("Cannot serialise, excessive nesting ({depth})");
                    return Err(Raise::text(text));
                }
                match shape(stack, config)? {
                    Shape::Array(length) if length > 0 => {
                        out.push(b'[');
                        self.open.push(Open::Array(0, length));
                    }
                    _ => {
                        out.push(b'{');
                        self.open.push(Open::Object(true));
                        stack.push_nil();
                    }
                }
                return Ok(());
            }
            Seen::Other(name) => return Err(refuse(name, "type not supported")),
        }
        stack.pop(1);
        Ok(())
    }
}

/// What the table on top is. An array has no keys but whole numbers above zero, and not too few for the greatest.
fn shape(stack: &mut Stack<'_>, config: &Config) -> Result<Shape, Raise> {
    let (mut most, mut items) = (0_i32, 0_i64);
    stack.push_nil();
    while stack.next(-2) {
        let key = match stack.see(-2) {
            // What is greater counts as the greatest.
            Seen::Number(number) if number >= 1.0 && number.floor() == number => number as i32,
            _ => {
                stack.pop(2);
                return Ok(Shape::Object);
            }
        };
        most = most.max(key);
        items += 1;
        stack.pop(1);
    }
    let (ratio, safe) = (i64::from(config.sparse_ratio.get()), config.sparse_safe.get());
    if ratio > 0 && i64::from(most) > items.saturating_mul(ratio) && most > safe {
        if !config.sparse_converted.get() {
            return Err(refuse("table", "excessively sparse array"));
        }
        return Ok(Shape::Object);
    }
    Ok(Shape::Array(most))
}

fn write_key(key: Seen<'_>, config: &Config, out: &mut Vec<u8>) -> Result<(), Raise> {
    match key {
        Seen::Text(text) => write_text(text, out),
        Seen::Number(number) => {
            out.push(b'"');
            write_number(number, config, out)?;
            out.push(b'"');
        }
        other => return Err(refuse(other.type_name(), "table key must be a number or string")),
    }
    out.push(b':');
    Ok(())
}

fn write_number(number: f64, config: &Config, out: &mut Vec<u8>) -> Result<(), Raise> {
    if !number.is_finite() {
        match config.encode_invalid.get() {
            Invalid::Refused => return Err(refuse("number", "must not be NaN or Inf")),
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

/// Whether a byte is written as it is.
const PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut byte = 0;
    while byte < 0x20 {
        plain[byte] = false;
        byte += 1;
    }
    plain[b'"' as usize] = false;
    plain[b'\\' as usize] = false;
    plain[b'/' as usize] = false;
    plain[0x7f] = false;
    plain
};

fn write_text(text: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text;
    loop {
        let plain = rest.iter().take_while(|byte| PLAIN[usize::from(**byte)]).count();
        out.extend_from_slice(&rest[..plain]);
        let Some(byte) = rest.get(plain) else { break };
        rest = &rest[plain + 1..];
        let escape = match byte {
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
            other => *other,
        };
        out.extend_from_slice(&[b'\\', escape]);
    }
    out.push(b'"');
}
