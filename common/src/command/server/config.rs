//! Sub-commands of CONFIG.

use super::super::bits::{categories, flags};
use super::super::spec::arguments::{block, string};
use super::super::spec::{CommandSpec, Group, Tips};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::Server);

/// Rows by name.
pub(super) const CONFIG: &[CommandSpec] = &[
    CommandSpec {
        name: "config|get",
        arity: -3,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Get the values of configuration parameters",
        complexity: "O(N) when N is the number of configuration parameters provided",
        since: "2.0.0",
        history: &[("7.0.0", "Added the ability to pass multiple pattern parameters in one call")],
        arguments: &[block("parameter", &[string("parameter")]).multiple()],
        ..ROW
    },
    CommandSpec {
        name: "config|help",
        arity: 2,
        flags: flags![LOADING, STALE],
        categories: categories![SLOW],
        summary: "Show helpful text about the different subcommands",
        complexity: "O(1)",
        since: "5.0.0",
        ..ROW
    },
    CommandSpec {
        name: "config|resetstat",
        arity: 2,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Reset the stats returned by INFO",
        complexity: "O(1)",
        since: "2.0.0",
        ..ROW
    },
    CommandSpec {
        name: "config|rewrite",
        arity: 2,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Rewrite the configuration file with the in memory configuration",
        complexity: "O(1)",
        since: "2.8.0",
        ..ROW
    },
    CommandSpec {
        name: "config|set",
        arity: -4,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        tips: Tips::of(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
        summary: "Set configuration parameters to the given values",
        complexity: "O(N) when N is the number of configuration parameters provided",
        since: "2.0.0",
        history: &[("7.0.0", "Added the ability to set multiple parameters in one call.")],
        arguments: &[block("parameter_value", &[string("parameter"), string("value")]).multiple()],
        ..ROW
    },
];
