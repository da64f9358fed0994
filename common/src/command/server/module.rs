//! Sub-commands of MODULE.

use super::super::bits::{categories, flags};
use super::super::spec::arguments::{block, string};
use super::super::spec::{CommandSpec, Group, Tips};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::Server);

/// Rows by name.
pub(super) const MODULE: &[CommandSpec] = &[
    CommandSpec {
        name: "module|help",
        arity: 2,
        flags: flags![LOADING, STALE],
        categories: categories![SLOW],
        summary: "Show helpful text about the different subcommands",
        complexity: "O(1)",
        since: "5.0.0",
        ..ROW
    },
    CommandSpec {
        name: "module|list",
        arity: 2,
        flags: flags![ADMIN, NOSCRIPT],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        tips: Tips::of(&["nondeterministic_output_order"]),
        summary: "List all modules loaded by the server",
        complexity: "O(N) where N is the number of loaded modules.",
        since: "4.0.0",
        ..ROW
    },
    CommandSpec {
        name: "module|load",
        arity: -3,
        flags: flags![ADMIN, NOSCRIPT, NO_ASYNC_LOADING, PROTECTED],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Load a module",
        complexity: "O(1)",
        since: "4.0.0",
        arguments: &[string("path"), string("arg").optional().multiple()],
        ..ROW
    },
    CommandSpec {
        name: "module|loadex",
        arity: -3,
        flags: flags![ADMIN, NOSCRIPT, NO_ASYNC_LOADING, PROTECTED],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Load a module with extended parameters",
        complexity: "O(1)",
        since: "7.0.0",
        arguments: &[
            string("path"),
            block("configs", &[string("name"), string("value")])
                .token("CONFIG")
                .optional()
                .multiple()
                .multiple_token(),
            block("args", &[string("arg")]).token("ARGS").optional().multiple(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "module|unload",
        arity: 3,
        flags: flags![ADMIN, NOSCRIPT, NO_ASYNC_LOADING, PROTECTED],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Unload a module",
        complexity: "O(1)",
        since: "4.0.0",
        arguments: &[string("name")],
        ..ROW
    },
];
