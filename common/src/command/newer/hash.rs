//! Hashes: fields that live for a time (Redis 7.4), and what reads, sets and deletes them with it (Redis 8.0).

use super::{MILLISECONDS, SECONDS, UNIX_MILLISECONDS, UNIX_SECONDS};
use crate::command::bits::{categories, flags, key_flags};
use crate::command::spec::arguments::{block, integer, key, one_of, string, unix_time, word};
use crate::command::spec::{Argument, CommandSpec, Group, KeySpec, Keys, Tips};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec {
    keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE])]),
    complexity: "O(N) where N is the number of specified fields",
    ..CommandSpec::of(Group::Hash)
};

/// What those have in common that only read.
const READ: CommandSpec = CommandSpec {
    arity: -5,
    flags: flags![READONLY, FAST],
    categories: categories![READ, HASH, FAST],
    keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
    since: "7.4.0",
    arguments: &[key("key", 0), FIELDS],
    ..ROW
};

/// What those have in common that set a time to live.
const EXPIRE: CommandSpec = CommandSpec {
    arity: -6,
    flags: flags![WRITE, DENYOOM, FAST],
    categories: categories![WRITE, HASH, FAST],
    since: "7.4.0",
    ..ROW
};

const FIELDS: Argument =
    block("fields", &[integer("numfields"), string("field").multiple()]).token("FIELDS");

const CONDITION: Argument =
    one_of("condition", &[word("nx", "NX"), word("xx", "XX"), word("gt", "GT"), word("lt", "LT")])
        .optional();

/// Rows of the group, by name.
pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "hexpire",
        summary: "Set expiry for hash field using relative time to expire (seconds)",
        arguments: &[key("key", 0), integer("seconds"), CONDITION, FIELDS],
        ..EXPIRE
    },
    CommandSpec {
        name: "hexpireat",
        summary: "Set expiry for hash field using an absolute Unix timestamp (seconds)",
        arguments: &[key("key", 0), unix_time("unix-time-seconds"), CONDITION, FIELDS],
        ..EXPIRE
    },
    CommandSpec {
        name: "hexpiretime",
        summary: "Returns the expiration time of a hash field as a Unix timestamp, in seconds.",
        ..READ
    },
    CommandSpec {
        name: "hgetdel",
        arity: -5,
        flags: flags![WRITE, FAST],
        categories: categories![WRITE, HASH, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, DELETE])]),
        summary: "Returns the value of a field and deletes it from the hash.",
        since: "8.0.0",
        arguments: &[key("key", 0), FIELDS],
        ..ROW
    },
    CommandSpec {
        name: "hgetex",
        arity: -5,
        flags: flags![WRITE, FAST],
        categories: categories![WRITE, HASH, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, UPDATE])
            .notes("RW and UPDATE because it changes the TTL")]),
        summary: "Get the value of one or more fields of a given hash key, and optionally set their \
            expiration.",
        since: "8.0.0",
        arguments: &[
            key("key", 0),
            one_of(
                "expiration",
                &[
                    SECONDS,
                    MILLISECONDS,
                    UNIX_SECONDS,
                    UNIX_MILLISECONDS,
                    word("persist", "PERSIST"),
                ],
            )
            .optional(),
            FIELDS,
        ],
        ..ROW
    },
    CommandSpec {
        name: "hpersist",
        arity: -5,
        flags: flags![WRITE, FAST],
        categories: categories![WRITE, HASH, FAST],
        summary: "Removes the expiration time for each specified field",
        since: "7.4.0",
        arguments: &[key("key", 0), FIELDS],
        ..ROW
    },
    CommandSpec {
        name: "hpexpire",
        summary: "Set expiry for hash field using relative time to expire (milliseconds)",
        arguments: &[key("key", 0), integer("milliseconds"), CONDITION, FIELDS],
        ..EXPIRE
    },
    CommandSpec {
        name: "hpexpireat",
        summary: "Set expiry for hash field using an absolute Unix timestamp (milliseconds)",
        arguments: &[key("key", 0), unix_time("unix-time-milliseconds"), CONDITION, FIELDS],
        ..EXPIRE
    },
    CommandSpec {
        name: "hpexpiretime",
        summary: "Returns the expiration time of a hash field as a Unix timestamp, in msec.",
        ..READ
    },
    CommandSpec {
        name: "hpttl",
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Returns the TTL in milliseconds of a hash field.",
        ..READ
    },
    CommandSpec {
        name: "hsetex",
        arity: -6,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, HASH, FAST],
        summary: "Set the value of one or more fields of a given hash key, and optionally set their \
            expiration.",
        complexity: "O(N) where N is the number of fields being set.",
        since: "8.0.0",
        arguments: &[
            key("key", 0),
            one_of("key-condition", &[word("nx", "NX"), word("xx", "XX")]).optional(),
            one_of("condition", &[word("fnx", "FNX"), word("fxx", "FXX")]).optional(),
            one_of(
                "expiration",
                &[
                    SECONDS,
                    MILLISECONDS,
                    UNIX_SECONDS,
                    UNIX_MILLISECONDS,
                    word("keepttl", "KEEPTTL"),
                ],
            )
            .optional(),
            block(
                "fields",
                &[
                    integer("numfields"),
                    block("data", &[string("field"), string("value")]).multiple(),
                ],
            )
            .token("FIELDS"),
        ],
        ..ROW
    },
    CommandSpec {
        name: "httl",
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Returns the TTL in seconds of a hash field.",
        ..READ
    },
];
