//! Replies of commands as people read them.

use redstart_common::resp::{Reader, Value};

use crate::text::quote;

/// Tables within tables that are told apart.
const DEPTH_MAX: usize = 128;

/// Adds a reply, encoded as RESP, to `out`. What cannot be read ends it.
pub fn human(reply: &[u8], out: &mut Vec<u8>) {
    value(&mut Reader::new(reply), out, 0);
}

/// Adds one value; nothing where it cannot be read to its end.
fn value(reader: &mut Reader<'_>, out: &mut Vec<u8>, depth: usize) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    let is_typed_null = reader.rest().first() == Some(&b'_');
    match reader.read()? {
        Value::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::BigNumber(digits) => out.extend_from_slice(digits),
        Value::Double(text) => out.extend_from_slice(&[b"(double) ", text].concat()),
        Value::Null if is_typed_null => out.extend_from_slice(b"(null)"),
        Value::Null => out.extend_from_slice(b"NULL"),
        Value::Boolean(truth) => out.extend_from_slice(if truth { b"#true" } else { b"#false" }),
        Value::Simple(text) => quote(&[b"+", text].concat(), out),
        Value::Error(text) => quote(&[b"-", text].concat(), out),
        Value::Bulk(text) => quote(text, out),
        Value::Verbatim(format, text) => quote(&[&format[..], b":", text].concat(), out),
        Value::Array(count) | Value::Push(count) => {
            several(reader, out, depth, count, ["[", "]"], &[","])?;
        }
        Value::Set(count) => several(reader, out, depth, count, ["~(", ")"], &[","])?,
        Value::Map(pairs) => {
            several(reader, out, depth, pairs.saturating_mul(2), ["{", "}"], &[" => ", ","])?;
        }
        Value::Attribute(_) => return None,
    }
    Some(())
}

/// Adds several values, with the texts of `between` in turn between them.
fn several(
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    depth: usize,
    count: usize,
    [open, close]: [&str; 2],
    between: &[&str],
) -> Option<()> {
    out.extend_from_slice(open.as_bytes());
    let mut between = between.iter().cycle();
    for place in 0..count {
        if place > 0 {
            out.extend_from_slice(between.next().map_or(&[][..], |text| text.as_bytes()));
        }
        value(reader, out, depth + 1)?;
    }
    out.extend_from_slice(close.as_bytes());
    Some(())
}
