//! The words of the proxy's own errors, and those it shares with Redis.

use std::fmt::Write as _;

use redstart_common::command::CommandSpec;
use redstart_common::resp::Args;

/// No password was given yet.
pub const NOAUTH: &[u8] = b"NOAUTH Authentication required.";
/// Keys of one command lie on several servers.
pub const CROSSSLOT: &[u8] = b"CROSSSLOT Keys in request don't hash to the same slot";
/// A transaction with a refused command.
pub const EXECABORT: &[u8] = b"EXECABORT Transaction discarded because of previous errors.";
/// Too many clients.
pub const MAX_CLIENTS: &[u8] = b"ERR max number of clients reached";

/// Bytes of arguments that the error for an unknown command repeats.
const SHOWN_BYTES_MAX: usize = 128;

/// Appends an error reply. A line end in the text would end the reply, so it becomes a blank.
pub fn error(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'-');
    out.extend(text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
    out.extend_from_slice(b"\r\n");
}

fn cut(text: &[u8], max: usize) -> &[u8] {
    // C strings end at a zero byte.
    let end = memchr::memchr(0, text).unwrap_or(text.len());
    &text[..end.min(max)]
}

/// There is no such command.
pub fn unknown_command(out: &mut Vec<u8>, args: Args<'_>) {
    let mut text = b"ERR unknown command '".to_vec();
    text.extend_from_slice(cut(args.get(0).unwrap_or_default(), SHOWN_BYTES_MAX));
    text.extend_from_slice(b"', with args beginning with: ");
    let mut shown = Vec::new();
    for arg in args.iter().skip(1) {
        if shown.len() >= SHOWN_BYTES_MAX {
            break;
        }
        shown.push(b'\'');
        let room = SHOWN_BYTES_MAX - (shown.len() - 1);
        shown.extend_from_slice(cut(arg, room));
        shown.extend_from_slice(b"' ");
    }
    text.extend_from_slice(&shown);
    error(out, &text);
}

/// There is no such sub-command.
pub fn unknown_subcommand(out: &mut Vec<u8>, container: &CommandSpec, name: &[u8]) {
    let mut text = b"ERR unknown subcommand '".to_vec();
    text.extend_from_slice(cut(name, SHOWN_BYTES_MAX));
    text.extend_from_slice(b"'. Try ");
    text.extend_from_slice(container.name.to_ascii_uppercase().as_bytes());
    text.extend_from_slice(b" HELP.");
    error(out, &text);
}

/// The wrong number of arguments.
pub fn arity(out: &mut Vec<u8>, row: &CommandSpec) {
    formatted(out, format_args!("ERR wrong number of arguments for '{}' command", row.name));
}

/// A command that a connection shared by many clients cannot carry.
pub fn not_shared(out: &mut Vec<u8>, row: &CommandSpec) {
    let name = row.name.replace('|', " ");
    formatted(out, format_args!("ERR command '{name}' is not supported through the proxy"));
}

/// Appends an error reply from a format.
pub fn formatted(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let mut line = String::new();
    // Writing to a string does not fail.
    let _ = line.write_fmt(text);
    error(out, line.as_bytes());
}

#[cfg(test)]
mod tests {
    use redstart_common::resp::OwnedArgs;

    use super::*;

    #[test]
    fn an_unknown_command_is_told_as_redis_tells_it() {
        let mut out = Vec::new();
        unknown_command(&mut out, OwnedArgs::from_slices(&["foo", "a", "b"]).as_args());
        assert_eq!(out, b"-ERR unknown command 'foo', with args beginning with: 'a' 'b' \r\n");
        out.clear();
        unknown_command(&mut out, OwnedArgs::from_slices(&["fo\r\no"]).as_args());
        assert_eq!(out, b"-ERR unknown command 'fo  o', with args beginning with: \r\n");
    }
}
