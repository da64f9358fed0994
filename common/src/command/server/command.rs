//! Sub-commands of COMMAND.

use super::super::bits::{categories, flags};
use super::super::spec::arguments::{one_of, pattern, string};
use super::super::spec::{CommandSpec, Group, Tips};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::Server);

/// Rows by name.
pub(super) const COMMAND: &[CommandSpec] = &[
    CommandSpec {
        name: "command|count",
        arity: 2,
        flags: flags![LOADING, STALE, SENTINEL],
        categories: categories![SLOW, CONNECTION],
        summary: "Get total number of Redis commands",
        complexity: "O(1)",
        since: "2.8.13",
        ..ROW
    },
    CommandSpec {
        name: "command|docs",
        arity: -2,
        flags: flags![LOADING, STALE, SENTINEL],
        categories: categories![SLOW, CONNECTION],
        tips: Tips::of(&["nondeterministic_output_order"]),
        summary: "Get array of specific Redis command documentation",
        complexity: "O(N) where N is the number of commands to look up",
        since: "7.0.0",
        arguments: &[string("command-name").optional().multiple()],
        ..ROW
    },
    CommandSpec {
        name: "command|getkeys",
        arity: -4,
        flags: flags![LOADING, STALE, SENTINEL],
        categories: categories![SLOW, CONNECTION],
        summary: "Extract keys given a full Redis command",
        complexity: "O(N) where N is the number of arguments to the command",
        since: "2.8.13",
        ..ROW
    },
    CommandSpec {
        name: "command|getkeysandflags",
        arity: -4,
        flags: flags![LOADING, STALE, SENTINEL],
        categories: categories![SLOW, CONNECTION],
        summary: "Extract keys and access flags given a full Redis command",
        complexity: "O(N) where N is the number of arguments to the command",
        since: "7.0.0",
        ..ROW
    },
    CommandSpec {
        name: "command|help",
        arity: 2,
        flags: flags![LOADING, STALE, SENTINEL],
        categories: categories![SLOW, CONNECTION],
        summary: "Show helpful text about the different subcommands",
        complexity: "O(1)",
        since: "5.0.0",
        ..ROW
    },
    CommandSpec {
        name: "command|info",
        arity: -2,
        flags: flags![LOADING, STALE, SENTINEL],
        categories: categories![SLOW, CONNECTION],
        tips: Tips::of(&["nondeterministic_output_order"]),
        summary: "Get array of specific Redis command details, or all when no argument is given.",
        complexity: "O(N) where N is the number of commands to look up",
        since: "2.8.13",
        history: &[("7.0.0", "Allowed to be called with no argument to get info on all commands.")],
        arguments: &[string("command-name").optional().multiple()],
        ..ROW
    },
    CommandSpec {
        name: "command|list",
        arity: -2,
        flags: flags![LOADING, STALE, SENTINEL],
        categories: categories![SLOW, CONNECTION],
        tips: Tips::of(&["nondeterministic_output_order"]),
        summary: "Get an array of Redis command names",
        complexity: "O(N) where N is the total number of Redis commands",
        since: "7.0.0",
        arguments: &[one_of(
            "filterby",
            &[
                string("module-name").token("MODULE"),
                string("category").token("ACLCAT"),
                pattern("pattern").token("PATTERN"),
            ],
        )
        .token("FILTERBY")
        .optional()],
        ..ROW
    },
];
