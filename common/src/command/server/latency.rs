//! Sub-commands of LATENCY.

use super::super::bits::{categories, flags};
use super::super::spec::arguments::string;
use super::super::spec::{CommandSpec, Group, Tips};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::Server);

/// Rows by name.
pub(super) const LATENCY: &[CommandSpec] = &[
    CommandSpec {
        name: "latency|doctor",
        arity: 2,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        tips: Tips::of(&[
            "nondeterministic_output",
            "request_policy:all_nodes",
            "response_policy:special",
        ]),
        summary: "Return a human readable latency analysis report.",
        complexity: "O(1)",
        since: "2.8.13",
        ..ROW
    },
    CommandSpec {
        name: "latency|graph",
        arity: 3,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        tips: Tips::of(&[
            "nondeterministic_output",
            "request_policy:all_nodes",
            "response_policy:special",
        ]),
        summary: "Return a latency graph for the event.",
        complexity: "O(1)",
        since: "2.8.13",
        arguments: &[string("event")],
        ..ROW
    },
    CommandSpec {
        name: "latency|help",
        arity: 2,
        flags: flags![LOADING, STALE],
        categories: categories![SLOW],
        summary: "Show helpful text about the different subcommands.",
        complexity: "O(1)",
        since: "2.8.13",
        ..ROW
    },
    CommandSpec {
        name: "latency|histogram",
        arity: -2,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        tips: Tips::of(&[
            "nondeterministic_output",
            "request_policy:all_nodes",
            "response_policy:special",
        ]),
        summary: "Return the cumulative distribution of latencies of a subset of commands or all.",
        complexity: "O(N) where N is the number of commands with latency information being \
            retrieved.",
        since: "7.0.0",
        arguments: &[string("command").optional().multiple()],
        ..ROW
    },
    CommandSpec {
        name: "latency|history",
        arity: 3,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        tips: Tips::of(&[
            "nondeterministic_output",
            "request_policy:all_nodes",
            "response_policy:special",
        ]),
        summary: "Return timestamp-latency samples for the event.",
        complexity: "O(1)",
        since: "2.8.13",
        arguments: &[string("event")],
        ..ROW
    },
    CommandSpec {
        name: "latency|latest",
        arity: 2,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        tips: Tips::of(&[
            "nondeterministic_output",
            "request_policy:all_nodes",
            "response_policy:special",
        ]),
        summary: "Return the latest latency samples for all events.",
        complexity: "O(1)",
        since: "2.8.13",
        ..ROW
    },
    CommandSpec {
        name: "latency|reset",
        arity: -2,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        tips: Tips::of(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
        summary: "Reset latency data for one or more events.",
        complexity: "O(1)",
        since: "2.8.13",
        arguments: &[string("event").optional().multiple()],
        ..ROW
    },
];
