//! Sub-commands of SLOWLOG.

use super::super::bits::{categories, flags};
use super::super::spec::arguments::integer;
use super::super::spec::{CommandSpec, Group, Tips};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::Server);

/// Rows by name.
pub(super) const SLOWLOG: &[CommandSpec] = &[
    CommandSpec {
        name: "slowlog|get",
        arity: -2,
        flags: flags![ADMIN, LOADING, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        tips: Tips::of(&["request_policy:all_nodes", "nondeterministic_output"]),
        summary: "Get the slow log's entries",
        complexity: "O(N) where N is the number of entries returned",
        since: "2.2.12",
        history: &[("4.0.0", "Added client IP address, port and name to the reply.")],
        arguments: &[integer("count").optional()],
        ..ROW
    },
    CommandSpec {
        name: "slowlog|help",
        arity: 2,
        flags: flags![LOADING, STALE],
        categories: categories![SLOW],
        summary: "Show helpful text about the different subcommands",
        complexity: "O(1)",
        since: "6.2.0",
        ..ROW
    },
    CommandSpec {
        name: "slowlog|len",
        arity: 2,
        flags: flags![ADMIN, LOADING, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        tips: Tips::of(&[
            "request_policy:all_nodes",
            "response_policy:agg_sum",
            "nondeterministic_output",
        ]),
        summary: "Get the slow log's length",
        complexity: "O(1)",
        since: "2.2.12",
        ..ROW
    },
    CommandSpec {
        name: "slowlog|reset",
        arity: 2,
        flags: flags![ADMIN, LOADING, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        tips: Tips::of(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
        summary: "Clear all entries from the slow log",
        complexity: "O(N) where N is the number of entries in the slowlog",
        since: "2.2.12",
        ..ROW
    },
];
