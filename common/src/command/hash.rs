//! Hashes: fields and values under one key.

use super::bits::{categories, flags, key_flags};
use super::spec::arguments::{block, double, integer, key, pattern, string, word};
use super::spec::{CommandSpec, DocFlags, Group, KeySpec, Keys, Tips};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::Hash);

/// Rows of the group, by name.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "hdel",
        arity: -3,
        flags: flags![WRITE, FAST],
        categories: categories![WRITE, HASH, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, DELETE])]),
        summary: "Delete one or more hash fields",
        complexity: "O(N) where N is the number of fields to be removed.",
        since: "2.0.0",
        history: &[("2.4.0", "Accepts multiple `field` arguments.")],
        arguments: &[key("key", 0), string("field").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "hexists",
        arity: 3,
        flags: flags![READONLY, FAST],
        categories: categories![READ, HASH, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO])]),
        summary: "Determine if a hash field exists",
        complexity: "O(1)",
        since: "2.0.0",
        arguments: &[key("key", 0), string("field")],
        ..ROW
    },
    CommandSpec {
        name: "hget",
        arity: 3,
        flags: flags![READONLY, FAST],
        categories: categories![READ, HASH, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Get the value of a hash field",
        complexity: "O(1)",
        since: "2.0.0",
        arguments: &[key("key", 0), string("field")],
        ..ROW
    },
    CommandSpec {
        name: "hgetall",
        arity: 2,
        flags: flags![READONLY],
        categories: categories![READ, HASH, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        tips: Tips::of(&["nondeterministic_output_order"]),
        summary: "Get all the fields and values in a hash",
        complexity: "O(N) where N is the size of the hash.",
        since: "2.0.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "hincrby",
        arity: 4,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, HASH, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, UPDATE])]),
        summary: "Increment the integer value of a hash field by the given number",
        complexity: "O(1)",
        since: "2.0.0",
        arguments: &[key("key", 0), string("field"), integer("increment")],
        ..ROW
    },
    CommandSpec {
        name: "hincrbyfloat",
        arity: 4,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, HASH, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, UPDATE])]),
        summary: "Increment the float value of a hash field by the given amount",
        complexity: "O(1)",
        since: "2.6.0",
        arguments: &[key("key", 0), string("field"), double("increment")],
        ..ROW
    },
    CommandSpec {
        name: "hkeys",
        arity: 2,
        flags: flags![READONLY],
        categories: categories![READ, HASH, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        tips: Tips::of(&["nondeterministic_output_order"]),
        summary: "Get all the fields in a hash",
        complexity: "O(N) where N is the size of the hash.",
        since: "2.0.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "hlen",
        arity: 2,
        flags: flags![READONLY, FAST],
        categories: categories![READ, HASH, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO])]),
        summary: "Get the number of fields in a hash",
        complexity: "O(1)",
        since: "2.0.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "hmget",
        arity: -3,
        flags: flags![READONLY, FAST],
        categories: categories![READ, HASH, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Get the values of all the given hash fields",
        complexity: "O(N) where N is the number of fields being requested.",
        since: "2.0.0",
        arguments: &[key("key", 0), string("field").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "hmset",
        arity: -4,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, HASH, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE])]),
        summary: "Set multiple hash fields to multiple values",
        complexity: "O(N) where N is the number of fields being set.",
        since: "2.0.0",
        doc_flags: DocFlags::DEPRECATED,
        deprecated_since: "4.0.0",
        replaced_by: "`HSET` with multiple field-value pairs",
        arguments: &[
            key("key", 0),
            block("field_value", &[string("field"), string("value")]).multiple(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "hrandfield",
        arity: -2,
        flags: flags![READONLY],
        categories: categories![READ, HASH, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Get one or multiple random fields from a hash",
        complexity: "O(N) where N is the number of fields returned",
        since: "6.2.0",
        arguments: &[
            key("key", 0),
            block("options", &[integer("count"), word("withvalues", "WITHVALUES").optional()])
                .optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "hscan",
        arity: -3,
        flags: flags![READONLY],
        categories: categories![READ, HASH, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Incrementally iterate hash fields and associated values",
        complexity: "O(1) for every call. O(N) for a complete iteration, including enough command \
            calls for the cursor to return back to 0. N is the number of elements inside the \
            collection..",
        since: "2.8.0",
        arguments: &[
            key("key", 0),
            integer("cursor"),
            pattern("pattern").token("MATCH").optional(),
            integer("count").token("COUNT").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "hset",
        arity: -4,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, HASH, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE])]),
        summary: "Set the string value of a hash field",
        complexity: "O(1) for each field/value pair added, so O(N) to add N field/value pairs when \
            the command is called with multiple field/value pairs.",
        since: "2.0.0",
        history: &[("4.0.0", "Accepts multiple `field` and `value` arguments.")],
        arguments: &[
            key("key", 0),
            block("field_value", &[string("field"), string("value")]).multiple(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "hsetnx",
        arity: 4,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, HASH, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, INSERT])]),
        summary: "Set the value of a hash field, only if the field does not exist",
        complexity: "O(1)",
        since: "2.0.0",
        arguments: &[key("key", 0), string("field"), string("value")],
        ..ROW
    },
    CommandSpec {
        name: "hstrlen",
        arity: 3,
        flags: flags![READONLY, FAST],
        categories: categories![READ, HASH, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO])]),
        summary: "Get the length of the value of a hash field",
        complexity: "O(1)",
        since: "3.2.0",
        arguments: &[key("key", 0), string("field")],
        ..ROW
    },
    CommandSpec {
        name: "hvals",
        arity: 2,
        flags: flags![READONLY],
        categories: categories![READ, HASH, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        tips: Tips::of(&["nondeterministic_output_order"]),
        summary: "Get all the values in a hash",
        complexity: "O(N) where N is the size of the hash.",
        since: "2.0.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
];
