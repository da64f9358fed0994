//! Replies of commands as people read them.

use crate::text::quote;

/// Tables within tables that are told apart.
const DEPTH_MAX: usize = 128;

/// Adds a reply, encoded as RESP, to `out`. What cannot be read ends it.
pub fn human(reply: &[u8], out: &mut Vec<u8>) {
    value(reply, out, 0);
}

/// Adds one value. Answers with what lies behind it.
fn value<'a>(reply: &'a [u8], out: &mut Vec<u8>, depth: usize) -> Option<&'a [u8]> {
    let end = memchr::memmem::find(reply, b"\r\n")?;
    let (line, rest) = (&reply[..end], &reply[end + 2..]);
    let (kind, text) = line.split_first()?;
    if depth > DEPTH_MAX {
        return None;
    }
    let length = || redstart_common::number::parse_i64(text);
    match kind {
        b':' | b'(' => out.extend_from_slice(text),
        b',' => out.extend_from_slice(&[b"(double) ", text].concat()),
        b'_' => out.extend_from_slice(b"(null)"),
        b'#' => out.extend_from_slice(if text == b"t" { b"#true" } else { b"#false" }),
        b'+' | b'-' => quote(line, out),
        b'$' | b'=' => {
            let Ok(length) = usize::try_from(length()?) else {
                out.extend_from_slice(b"NULL");
                return Some(rest);
            };
            quote(rest.get(..length)?, out);
            return rest.get(length + 2..);
        }
        b'*' | b'~' | b'>' => {
            let Ok(count) = usize::try_from(length()?) else {
                out.extend_from_slice(b"NULL");
                return Some(rest);
            };
            let (open, close) = if *kind == b'~' { ("~(", ")") } else { ("[", "]") };
            return several(rest, out, depth, count, [open, ",", close]);
        }
        b'%' => {
            let mut rest = rest;
            out.push(b'{');
            for place in 0..length()? {
                if place > 0 {
                    out.push(b',');
                }
                rest = value(rest, out, depth + 1)?;
                out.extend_from_slice(b" => ");
                rest = value(rest, out, depth + 1)?;
            }
            out.push(b'}');
            return Some(rest);
        }
        _ => return None,
    }
    Some(rest)
}

fn several<'a>(
    mut rest: &'a [u8],
    out: &mut Vec<u8>,
    depth: usize,
    count: usize,
    [open, between, close]: [&str; 3],
) -> Option<&'a [u8]> {
    out.extend_from_slice(open.as_bytes());
    for place in 0..count {
        if place > 0 {
            out.extend_from_slice(between.as_bytes());
        }
        rest = value(rest, out, depth + 1)?;
    }
    out.extend_from_slice(close.as_bytes());
    Some(rest)
}
