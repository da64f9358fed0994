//! `MEMORY`: what keys take, and the server.

use super::Handlers;
use super::options::{Options, integer};
use crate::client::Reply;
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult, SYNTAX};
use crate::observe::memory::{Excess, Overview};

pub(super) const HANDLERS: Handlers = &[
    ("memory|doctor", doctor),
    ("memory|help", memory_help),
    ("memory|malloc-stats", malloc_stats),
    ("memory|purge", purge),
    ("memory|stats", stats),
    ("memory|usage", usage),
];

/// How many parts of a collection MEMORY USAGE looks at unless told, as in Redis.
const SAMPLES: usize = 5;

/// `MEMORY USAGE key [SAMPLES count]`
pub fn usage(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let mut options = Options::new(args, 3);
    let mut samples = SAMPLES;
    while let Some(word) = options.word() {
        if !word.eq_ignore_ascii_case(b"SAMPLES") || options.left() == 0 {
            return Err(SYNTAX);
        }
        samples = match integer(options.need()?)? {
            ..0 => return Err(SYNTAX),
            0 => usize::MAX,
            samples => samples as usize,
        };
    }
    match call.keyspace.db(call.client.db).peek(args.at(2)) {
        Some(entry) => {
            let inside = entry.object().map_or(0, |object| object.allocated_bytes(samples));
            // The table's words for this key, at its usual fill.
            let bytes = entry.allocated_bytes() + inside + 12;
            call.client.reply.count(bytes);
        }
        None => call.client.reply.null(),
    }
    Ok(())
}

/// `MEMORY STATS`
pub fn stats(call: &mut Call<'_>) -> CommandResult {
    let found = Overview::of(call.keyspace, call.core, call.client);
    let dbs: Vec<_> = call.keyspace.dbs.iter().filter(|db| !db.is_empty()).collect();
    let reply = &mut call.client.reply;
    // What belongs to features that are not in use is zero, as it is in Redis then.
    const COUNTS: usize = 27;
    reply.map(COUNTS + dbs.len());
    let count = |reply: &mut Reply, name: &str, number: i64| {
        reply.bulk(name.as_bytes());
        reply.integer(number);
    };
    let share = |reply: &mut Reply, name: &str, number: f64| {
        reply.bulk(name.as_bytes());
        reply.double(number);
    };
    let excess = |reply: &mut Reply, names: [&str; 2], excess: Excess| {
        share(reply, names[0], excess.ratio);
        count(reply, names[1], excess.bytes);
    };
    count(reply, "peak.allocated", found.peak as i64);
    count(reply, "total.allocated", found.used as i64);
    count(reply, "startup.allocated", found.startup as i64);
    count(reply, "replication.backlog", 0);
    count(reply, "clients.slaves", 0);
    count(reply, "clients.normal", found.clients as i64);
    let links = call.core.cluster.as_ref().map_or(0, |cluster| cluster.links_bytes());
    count(reply, "cluster.links", links as i64);
    count(reply, "aof.buffer", 0);
    let scripting = &call.core.scripting;
    count(reply, "lua.caches", (scripting.eval_vm_bytes() + scripting.scripts_overhead()) as i64);
    let functions = scripting.functions_vm_bytes() + scripting.libraries_overhead();
    count(reply, "functions.caches", functions as i64);
    for db in dbs {
        reply.bulk(format!("db.{}", db.index()).as_bytes());
        reply.map(3);
        let [main, deadlines] = db.tables_bytes();
        count(reply, "overhead.hashtable.main", main as i64);
        count(reply, "overhead.hashtable.expires", deadlines as i64);
        count(reply, "overhead.hashtable.slot-to-keys", 0);
    }
    count(reply, "overhead.total", found.overhead as i64);
    count(reply, "keys.count", found.keys as i64);
    count(reply, "keys.bytes-per-key", found.bytes_per_key() as i64);
    count(reply, "dataset.bytes", found.dataset as i64);
    share(reply, "dataset.percentage", found.dataset_percent());
    share(reply, "peak.percentage", found.peak_percent());
    count(reply, "allocator.allocated", found.allocator.allocated as i64);
    count(reply, "allocator.active", found.allocator.active as i64);
    count(reply, "allocator.resident", found.allocator.resident as i64);
    let fragmentation = ["allocator-fragmentation.ratio", "allocator-fragmentation.bytes"];
    excess(reply, fragmentation, found.fragmentation());
    excess(reply, ["allocator-rss.ratio", "allocator-rss.bytes"], found.kept_pages());
    excess(reply, ["rss-overhead.ratio", "rss-overhead.bytes"], found.beside_allocator());
    excess(reply, ["fragmentation", "fragmentation.bytes"], found.total());
    Ok(())
}

/// `MEMORY DOCTOR`
pub fn doctor(call: &mut Call<'_>) -> CommandResult {
    let found = Overview::of(call.keyspace, call.core, call.client);
    let report = found.report(call.core.clients.len());
    call.client.reply.verbatim(*b"txt", report.as_bytes());
    Ok(())
}

/// `MEMORY PURGE`
pub fn purge(call: &mut Call<'_>) -> CommandResult {
    if !crate::process::allocator::purge() {
        return Err(CommandError::new("ERR Error purging dirty pages"));
    }
    call.client.reply.ok();
    Ok(())
}

/// `MEMORY MALLOC-STATS`
pub fn malloc_stats(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.verbatim(*b"txt", &crate::process::allocator::report());
    Ok(())
}

/// `MEMORY HELP`
pub fn memory_help(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.help(
        "MEMORY",
        &[
            "DOCTOR",
            "    Return memory problems reports.",
            "MALLOC-STATS",
            "    Return internal statistics report from the memory allocator.",
            "PURGE",
            "    Attempt to purge dirty pages for reclamation by the allocator.",
            "STATS",
            "    Return information about the memory usage of the server.",
            "USAGE <key> [SAMPLES <count>]",
            "    Return memory in bytes used by <key> and its value. Nested values are",
            "    sampled up to <count> times (default: 5, 0 means sample all).",
        ],
    );
    Ok(())
}
