//! Sub-commands of MEMORY.

use super::super::bits::{categories, flags, key_flags};
use super::super::spec::arguments::{integer, key};
use super::super::spec::{CommandSpec, Group, KeySpec, Keys, Tips};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::Server);

/// Rows by name.
pub(super) const MEMORY: &[CommandSpec] = &[
    CommandSpec {
        name: "memory|doctor",
        arity: 2,
        flags: flags![],
        categories: categories![SLOW],
        tips: Tips::of(&[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ]),
        summary: "Outputs memory problems report",
        complexity: "O(1)",
        since: "4.0.0",
        ..ROW
    },
    CommandSpec {
        name: "memory|help",
        arity: 2,
        flags: flags![LOADING, STALE],
        categories: categories![SLOW],
        summary: "Show helpful text about the different subcommands",
        complexity: "O(1)",
        since: "4.0.0",
        ..ROW
    },
    CommandSpec {
        name: "memory|malloc-stats",
        arity: 2,
        flags: flags![],
        categories: categories![SLOW],
        tips: Tips::of(&[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ]),
        summary: "Show allocator internal stats",
        complexity: "Depends on how much memory is allocated, could be slow",
        since: "4.0.0",
        ..ROW
    },
    CommandSpec {
        name: "memory|purge",
        arity: 2,
        flags: flags![],
        categories: categories![SLOW],
        tips: Tips::of(&["request_policy:all_shards", "response_policy:all_succeeded"]),
        summary: "Ask the allocator to release memory",
        complexity: "Depends on how much memory is allocated, could be slow",
        since: "4.0.0",
        ..ROW
    },
    CommandSpec {
        name: "memory|stats",
        arity: 2,
        flags: flags![],
        categories: categories![SLOW],
        tips: Tips::of(&[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ]),
        summary: "Show memory usage details",
        complexity: "O(1)",
        since: "4.0.0",
        ..ROW
    },
    CommandSpec {
        name: "memory|usage",
        arity: -3,
        flags: flags![READONLY],
        categories: categories![READ, SLOW],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RO])]),
        summary: "Estimate the memory usage of a key",
        complexity: "O(N) where N is the number of samples.",
        since: "4.0.0",
        arguments: &[key("key", 0), integer("count").token("SAMPLES").optional()],
        ..ROW
    },
];
