//! Commands of Redis 8.10, its modules and Valkey 9.2 that our server has not, and that have keys: a proxy passes them on to
//! servers that have them. They exist for proxies only. What is not known of them is left to those servers: where a number of
//! arguments is not certain, the least that makes sense stands here.
//!
//! The places of keys are from the vendors' documents of commands.

use crate::command::bits::{categories, flags, key_flags};
use crate::command::spec::{CommandSpec, Extractor, Group, KeySpec, Keys};

const READ_FIRST: Keys = Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]);
const WRITE_FIRST: Keys = Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE])]);
const WRITE_SECOND: Keys = Keys::of(&[KeySpec::at(2, key_flags![RW, UPDATE])]);
const TWO: Keys =
    Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE]), KeySpec::at(2, key_flags![RW, UPDATE])]);
/// All but the last argument.
const ALL_BUT_LAST: Keys = Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS]).range(-2, 1, 0)]);
/// Every third argument.
const TRIPLES: Keys = Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE]).range(-1, 3, 0)]);
/// A destination, and as many sources as the number behind it says.
const MERGED: Keys = Keys::of(&[
    KeySpec::at(1, key_flags![RW, UPDATE]),
    KeySpec::at(2, key_flags![RO, ACCESS]).counted(0, 1, 1),
])
.by(Extractor::Counted { count_at: 2, store: true });

const fn row(name: &'static str, arity: i16, keys: Keys) -> CommandSpec {
    CommandSpec {
        name,
        arity,
        keys,
        summary: "A command of newer servers or of their modules, passed on by its keys.",
        complexity: "as the server has it",
        since: "8.0.0",
        is_foreign: true,
        ..CommandSpec::of(Group::Module)
    }
}

/// It reads the key that comes first.
const fn reads(name: &'static str, arity: i16) -> CommandSpec {
    reads_of(name, arity, READ_FIRST)
}

const fn reads_of(name: &'static str, arity: i16, keys: Keys) -> CommandSpec {
    let it = row(name, arity, keys);
    CommandSpec { flags: flags![READONLY], categories: categories![READ, SLOW], ..it }
}

/// It changes the key that comes first.
const fn writes(name: &'static str, arity: i16) -> CommandSpec {
    writes_of(name, arity, WRITE_FIRST)
}

const fn writes_of(name: &'static str, arity: i16, keys: Keys) -> CommandSpec {
    let it = row(name, arity, keys);
    CommandSpec { flags: flags![WRITE, DENYOOM], categories: categories![WRITE, SLOW], ..it }
}

/// It writes what it makes of several keys, whose number stands before them.
const fn merges(name: &'static str, arity: i16) -> CommandSpec {
    let it = row(name, arity, MERGED);
    let flags = flags![WRITE, DENYOOM, MOVABLEKEYS];
    CommandSpec { flags, categories: categories![WRITE, SLOW], ..it }
}

/// It names no key, so that nobody can say where it belongs.
const fn keyless(name: &'static str) -> CommandSpec {
    let it = row(name, -1, Keys::NONE);
    CommandSpec { flags: flags![ADMIN], categories: categories![ADMIN, SLOW, DANGEROUS], ..it }
}

/// Rows, family by family.
pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    // Arrays (Redis 8.8).
    reads("arcount", 2),
    writes("ardel", -3),
    writes("ardelrange", -4),
    reads("arget", 3),
    reads("argetrange", 4),
    reads("argrep", -4),
    reads("arinfo", -2),
    writes("arinsert", -3),
    reads("arlastitems", -3),
    reads("arlen", 2),
    reads("armget", -3),
    writes("armset", -4),
    reads("arnext", 2),
    reads("arop", -4),
    writes("arring", -4),
    reads("arscan", -4),
    writes("arseek", 3),
    writes("arset", -4),
    // Members of sets that live for a time (8.12).
    writes("sexpire", -4),
    writes("sexpireat", -4),
    reads("sexpiretime", -3),
    writes("spersist", -3),
    writes("spexpire", -4),
    writes("spexpireat", -4),
    reads("spexpiretime", -3),
    reads("spttl", -3),
    reads("sttl", -3),
    // Path hashes (Valkey 9.2).
    reads("phcard", 2),
    writes("phdel", -3),
    writes("phdelprefix", 3),
    reads("phexists", 3),
    reads("phget", -4),
    reads("phgetall", 3),
    reads("phlongest", -3),
    reads("phmget", -6),
    writes("phmset", -7),
    reads("phprefixes", -3),
    reads("phscan", -3),
    writes("phset", -7),
    // Suggestions, whose key comes first, unlike the names of indexes.
    writes("ft.sugadd", -4),
    writes("ft.sugdel", 3),
    reads("ft.sugget", -3),
    reads("ft.suglen", 2),
    // Vector sets (8.0).
    writes("vadd", -4),
    reads("vcard", 2),
    reads("vdim", 2),
    reads("vemb", -3),
    reads("vgetattr", 3),
    reads("vinfo", 2),
    reads("vismember", 3),
    reads("vlinks", -3),
    reads("vrandmember", -2),
    reads("vrange", -4),
    writes("vrem", 3),
    writes("vsetattr", 4),
    reads("vsim", -3),
    // JSON.
    writes("json.arrappend", -4),
    reads("json.arrindex", -4),
    writes("json.arrinsert", -5),
    reads("json.arrlen", -2),
    writes("json.arrpop", -2),
    writes("json.arrtrim", 5),
    writes("json.clear", -2),
    // Behind the word MEMORY.
    writes_of("json.debug", -2, WRITE_SECOND),
    writes("json.del", -2),
    writes("json.forget", -2),
    reads("json.get", -2),
    writes("json.merge", 4),
    reads_of("json.mget", -3, ALL_BUT_LAST),
    writes_of("json.mset", -4, TRIPLES),
    writes("json.numincrby", 4),
    writes("json.nummultby", 4),
    writes("json.numpowby", 4),
    reads("json.objkeys", -2),
    reads("json.objlen", -2),
    reads("json.resp", -2),
    writes("json.set", -4),
    writes("json.strappend", -3),
    reads("json.strlen", -2),
    writes("json.toggle", 3),
    reads("json.type", -2),
    // Time series.
    writes("ts.add", -4),
    writes("ts.alter", -2),
    writes("ts.create", -2),
    writes_of("ts.createrule", -6, TWO),
    writes("ts.decrby", -3),
    writes("ts.del", 4),
    writes_of("ts.deleterule", 3, TWO),
    reads("ts.get", -2),
    writes("ts.incrby", -3),
    reads("ts.info", -2),
    writes_of("ts.madd", -4, TRIPLES),
    reads("ts.range", -4),
    reads("ts.revrange", -4),
    // Cuckoo filters.
    writes("cf.add", 3),
    writes("cf.addnx", 3),
    writes("cf.compact", -2),
    reads("cf.count", 3),
    writes("cf.del", 3),
    reads("cf.exists", 3),
    reads("cf.info", 2),
    writes("cf.insert", -4),
    writes("cf.insertnx", -4),
    writes("cf.loadchunk", 4),
    reads("cf.mexists", -3),
    writes("cf.reserve", -3),
    reads("cf.scandump", 3),
    // Counting sketches.
    writes("cms.incrby", -4),
    reads("cms.info", 2),
    writes("cms.initbydim", 4),
    writes("cms.initbyprob", 4),
    merges("cms.merge", -4),
    reads("cms.query", -3),
    // The most frequent.
    writes("topk.add", -3),
    reads("topk.count", -3),
    writes("topk.incrby", -4),
    reads("topk.info", 2),
    reads("topk.list", -2),
    reads("topk.query", -3),
    writes("topk.reserve", -3),
    // Digests of distributions.
    writes("tdigest.add", -3),
    reads("tdigest.byrank", -3),
    reads("tdigest.byrevrank", -3),
    reads("tdigest.cdf", -3),
    writes("tdigest.create", -2),
    reads("tdigest.info", 2),
    reads("tdigest.max", 2),
    merges("tdigest.merge", -4),
    reads("tdigest.min", 2),
    reads("tdigest.quantile", -3),
    reads("tdigest.rank", -3),
    writes("tdigest.reset", 2),
    reads("tdigest.revrank", -3),
    reads("tdigest.trimmed_mean", 4),
    // Of the server they reach, which a client of a proxy does not choose; or of all servers, in ways of their own.
    keyless("backup"),
    keyless("clusterscan"),
    keyless("ft.aggregate"),
    keyless("ft.create"),
    keyless("ft.search"),
    keyless("himport"),
    keyless("hotkeys"),
    keyless("sflush"),
    keyless("trimslots"),
    keyless("ts.mget"),
    keyless("ts.mrange"),
    keyless("ts.mrevrange"),
    keyless("ts.queryindex"),
];
