//! `MEMORY` and `LATENCY`: what keys take, and how long commands took.

use redstart_common::command::{self, Mode};

use super::Handlers;
use super::options::{Options, integer};
use crate::dispatch::Call;
use crate::dispatch::error::{CommandResult, SYNTAX};

pub(super) const HANDLERS: Handlers = &[
    ("latency|help", latency_help),
    ("latency|histogram", histogram),
    ("memory|help", memory_help),
    ("memory|usage", usage),
];

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

/// `LATENCY HISTOGRAM [command [command ...]]`
pub fn histogram(call: &mut Call<'_>) -> CommandResult {
    let named = call.args.tail(2);
    let rows: Vec<_> = if named.is_empty() {
        command::all().iter().collect()
    } else {
        named
            .iter()
            .filter_map(|name| command::lookup_full_name(Mode::Server, name))
            .flat_map(|id| std::iter::once(id.spec()).chain(id.spec().subcommands()))
            .collect()
    };
    let open = call.client.reply.begin();
    let mut count = 0;
    for row in rows {
        let stats = call.core.stats.of(row.id);
        let Some(latency) = stats.latency.as_ref().filter(|latency| latency.count() > 0) else {
            continue;
        };
        count += 1;
        let reply = &mut call.client.reply;
        reply.bulk(row.name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        reply.integer(latency.count() as i64);
        reply.bulk(b"histogram_usec");
        // Cumulative counts at powers of two, as Redis prints them.
        let (mut limit, mut sum) = (1_u64, 0);
        let mut steps: Vec<(u64, u64)> = Vec::new();
        for (upper, times) in latency.iter() {
            while limit < upper {
                limit *= 2;
            }
            sum += times;
            match steps.last_mut() {
                Some(last) if last.0 == limit => last.1 = sum,
                _ => steps.push((limit, sum)),
            }
        }
        reply.map(steps.len());
        for (limit, sum) in steps {
            reply.integer(limit as i64);
            reply.integer(sum as i64);
        }
    }
    call.client.reply.end_map(open, count);
    Ok(())
}

/// `LATENCY HELP`
pub fn latency_help(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.help(
        "LATENCY",
        &[
            "HISTOGRAM [COMMAND ...]",
            "    Return a cumulative distribution of latencies in the format of a histogram for the \
             specified command names.",
        ],
    );
    Ok(())
}
