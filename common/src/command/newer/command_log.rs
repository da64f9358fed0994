//! COMMANDLOG, of Valkey 8.1.

use crate::command::bits::{categories, flags};
use crate::command::spec::arguments::{integer, one_of, word};
use crate::command::spec::{Argument, CommandSpec, Group, Tips};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec { since: "8.1.0", ..CommandSpec::of(Group::Server) };

/// The logs that there are.
const TYPE: Argument = one_of(
    "type",
    &[
        word("slow", "slow"),
        word("large-request", "large-request"),
        word("large-reply", "large-reply"),
    ],
);

/// Rows, by name.
pub(in crate::command) const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "commandlog",
    arity: -2,
    flags: flags![],
    categories: categories![SLOW],
    summary: "A container for command log commands.",
    complexity: "Depends on subcommand.",
    declared: SUBCOMMANDS,
    ..ROW
}];

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "commandlog|get",
        arity: 4,
        flags: flags![ADMIN, LOADING, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        tips: Tips::of(&["request_policy:all_nodes", "nondeterministic_output"]),
        summary: "Returns the specified command log's entries.",
        complexity: "O(N) where N is the number of entries returned",
        arguments: &[integer("count"), TYPE],
        ..ROW
    },
    CommandSpec {
        name: "commandlog|help",
        arity: 2,
        flags: flags![LOADING, STALE],
        categories: categories![SLOW],
        summary: "Show helpful text about the different subcommands",
        complexity: "O(1)",
        ..ROW
    },
    CommandSpec {
        name: "commandlog|len",
        arity: 3,
        flags: flags![ADMIN, LOADING, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        tips: Tips::of(&[
            "request_policy:all_nodes",
            "response_policy:agg_sum",
            "nondeterministic_output",
        ]),
        summary: "Returns the number of entries in the specified type of command log.",
        complexity: "O(1)",
        arguments: &[TYPE],
        ..ROW
    },
    CommandSpec {
        name: "commandlog|reset",
        arity: 3,
        flags: flags![ADMIN, LOADING, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        tips: Tips::of(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
        summary: "Clears the entries of the specified type of command log.",
        complexity: "O(N) where N is the number of entries in the commandlog",
        arguments: &[TYPE],
        ..ROW
    },
];
