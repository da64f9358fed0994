//! `MEMORY` and `LATENCY`: what keys take, and how long commands took.

use super::Handlers;
use super::options::{Options, integer};
use crate::dispatch::Call;
use crate::dispatch::error::{CommandResult, SYNTAX};

pub(super) const HANDLERS: Handlers = &[("memory|help", memory_help), ("memory|usage", usage)];

/// `MEMORY USAGE key [SAMPLES count]`
pub fn usage(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let mut options = Options::new(args, 3);
    while let Some(word) = options.word() {
        if !word.eq_ignore_ascii_case(b"SAMPLES") || options.left() == 0 {
            return Err(SYNTAX);
        }
        // Everything is counted, so there is nothing to sample; a wrong count is refused all the same.
        if integer(options.need()?)? < 0 {
            return Err(SYNTAX);
        }
    }
    match call.keyspace.db(call.client.db).peek(args.at(2)) {
        Some(entry) => {
            let inside = entry.object().map_or(0, crate::types::Object::allocated_bytes);
            // The table's words for this key, at its usual fill.
            let bytes = entry.allocated_bytes() + inside + 12;
            call.client.reply.count(bytes);
        }
        None => call.client.reply.null(),
    }
    Ok(())
}

/// `MEMORY HELP`
pub fn memory_help(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.help(
        "MEMORY",
        &[
            "USAGE <key> [SAMPLES <count>]",
            "    Return memory in bytes used by <key> and its value.",
        ],
    );
    Ok(())
}
