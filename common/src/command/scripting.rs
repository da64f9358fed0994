//! Lua scripts and functions.

use super::bits::{categories, flags, key_flags};
use super::spec::arguments::{integer, key, one_of, string, word};
use super::spec::{CommandSpec, Extractor, Group, KeySpec, Keys, Tips};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::Scripting);

/// Rows of the group, by name.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "eval",
        arity: -3,
        flags: flags![NOSCRIPT, STALE, SKIP_MONITOR, NO_MANDATORY_KEYS, MOVABLEKEYS, MAY_REPLICATE],
        categories: categories![SLOW, SCRIPTING],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RW, ACCESS, UPDATE]).counted(0, 1, 1).notes(
            "We cannot tell how the keys will be used so we assume the worst, RW and UPDATE",
        )])
        .by(Extractor::Counted { count_at: 2, store: false }),
        summary: "Execute a Lua script server side",
        complexity: "Depends on the script that is executed.",
        since: "2.6.0",
        arguments: &[
            string("script"),
            integer("numkeys"),
            key("key", 0).optional().multiple(),
            string("arg").optional().multiple(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "eval_ro",
        arity: -3,
        flags: flags![READONLY, NOSCRIPT, STALE, SKIP_MONITOR, NO_MANDATORY_KEYS, MOVABLEKEYS],
        categories: categories![SLOW, SCRIPTING],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RO, ACCESS]).counted(0, 1, 1).notes(
            "We cannot tell how the keys will be used so we assume the worst, RO and ACCESS",
        )])
        .by(Extractor::Counted { count_at: 2, store: false }),
        summary: "Execute a read-only Lua script server side",
        complexity: "Depends on the script that is executed.",
        since: "7.0.0",
        arguments: &[
            string("script"),
            integer("numkeys"),
            key("key", 0).optional().multiple(),
            string("arg").optional().multiple(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "evalsha",
        arity: -3,
        flags: flags![NOSCRIPT, STALE, SKIP_MONITOR, NO_MANDATORY_KEYS, MOVABLEKEYS, MAY_REPLICATE],
        categories: categories![SLOW, SCRIPTING],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RW, ACCESS, UPDATE]).counted(0, 1, 1)])
            .by(Extractor::Counted { count_at: 2, store: false }),
        summary: "Execute a Lua script server side",
        complexity: "Depends on the script that is executed.",
        since: "2.6.0",
        arguments: &[
            string("sha1"),
            integer("numkeys"),
            key("key", 0).optional().multiple(),
            string("arg").optional().multiple(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "evalsha_ro",
        arity: -3,
        flags: flags![READONLY, NOSCRIPT, STALE, SKIP_MONITOR, NO_MANDATORY_KEYS, MOVABLEKEYS],
        categories: categories![SLOW, SCRIPTING],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RO, ACCESS]).counted(0, 1, 1)])
            .by(Extractor::Counted { count_at: 2, store: false }),
        summary: "Execute a read-only Lua script server side",
        complexity: "Depends on the script that is executed.",
        since: "7.0.0",
        arguments: &[
            string("sha1"),
            integer("numkeys"),
            key("key", 0).optional().multiple(),
            string("arg").optional().multiple(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "fcall",
        arity: -3,
        flags: flags![NOSCRIPT, STALE, SKIP_MONITOR, NO_MANDATORY_KEYS, MOVABLEKEYS, MAY_REPLICATE],
        categories: categories![SLOW, SCRIPTING],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RW, ACCESS, UPDATE]).counted(0, 1, 1).notes(
            "We cannot tell how the keys will be used so we assume the worst, RW and UPDATE",
        )])
        .by(Extractor::Counted { count_at: 2, store: false }),
        summary: "Invoke a function",
        complexity: "Depends on the function that is executed.",
        since: "7.0.0",
        arguments: &[
            string("function"),
            integer("numkeys"),
            key("key", 0).optional().multiple(),
            string("arg").optional().multiple(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "fcall_ro",
        arity: -3,
        flags: flags![READONLY, NOSCRIPT, STALE, SKIP_MONITOR, NO_MANDATORY_KEYS, MOVABLEKEYS],
        categories: categories![SLOW, SCRIPTING],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RO, ACCESS]).counted(0, 1, 1).notes(
            "We cannot tell how the keys will be used so we assume the worst, RO and ACCESS",
        )])
        .by(Extractor::Counted { count_at: 2, store: false }),
        summary: "Invoke a read-only function",
        complexity: "Depends on the function that is executed.",
        since: "7.0.0",
        arguments: &[
            string("function"),
            integer("numkeys"),
            key("key", 0).optional().multiple(),
            string("arg").optional().multiple(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "function",
        arity: -2,
        flags: flags![],
        categories: categories![SLOW],
        summary: "A container for function commands",
        complexity: "Depends on subcommand.",
        since: "7.0.0",
        declared: FUNCTION,
        ..ROW
    },
    CommandSpec {
        name: "script",
        arity: -2,
        flags: flags![],
        categories: categories![SLOW],
        summary: "A container for Lua scripts management commands",
        complexity: "Depends on subcommand.",
        since: "2.6.0",
        declared: SCRIPT,
        ..ROW
    },
];

/// Sub-commands of FUNCTION.
const FUNCTION: &[CommandSpec] = &[
    CommandSpec {
        name: "function|delete",
        arity: 3,
        flags: flags![WRITE, NOSCRIPT],
        categories: categories![WRITE, SLOW, SCRIPTING],
        tips: Tips::of(&["request_policy:all_shards", "response_policy:all_succeeded"]),
        summary: "Delete a function by name",
        complexity: "O(1)",
        since: "7.0.0",
        arguments: &[string("library-name")],
        ..ROW
    },
    CommandSpec {
        name: "function|dump",
        arity: 2,
        flags: flags![NOSCRIPT],
        categories: categories![SLOW, SCRIPTING],
        summary: "Dump all functions into a serialized binary payload",
        complexity: "O(N) where N is the number of functions",
        since: "7.0.0",
        ..ROW
    },
    CommandSpec {
        name: "function|flush",
        arity: -2,
        flags: flags![WRITE, NOSCRIPT],
        categories: categories![WRITE, SLOW, SCRIPTING],
        tips: Tips::of(&["request_policy:all_shards", "response_policy:all_succeeded"]),
        summary: "Deleting all functions",
        complexity: "O(N) where N is the number of functions deleted",
        since: "7.0.0",
        arguments: &[one_of("async", &[word("async", "ASYNC"), word("sync", "SYNC")]).optional()],
        ..ROW
    },
    CommandSpec {
        name: "function|help",
        arity: 2,
        flags: flags![LOADING, STALE],
        categories: categories![SLOW, SCRIPTING],
        summary: "Show helpful text about the different subcommands",
        complexity: "O(1)",
        since: "7.0.0",
        ..ROW
    },
    CommandSpec {
        name: "function|kill",
        arity: 2,
        flags: flags![NOSCRIPT, ALLOW_BUSY],
        categories: categories![SLOW, SCRIPTING],
        tips: Tips::of(&["request_policy:all_shards", "response_policy:one_succeeded"]),
        summary: "Kill the function currently in execution.",
        complexity: "O(1)",
        since: "7.0.0",
        ..ROW
    },
    CommandSpec {
        name: "function|list",
        arity: -2,
        flags: flags![NOSCRIPT],
        categories: categories![SLOW, SCRIPTING],
        tips: Tips::of(&["nondeterministic_output_order"]),
        summary: "List information about all the functions",
        complexity: "O(N) where N is the number of functions",
        since: "7.0.0",
        arguments: &[
            string("library-name-pattern").token("LIBRARYNAME").optional(),
            word("withcode", "WITHCODE").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "function|load",
        arity: -3,
        flags: flags![WRITE, DENYOOM, NOSCRIPT],
        categories: categories![WRITE, SLOW, SCRIPTING],
        tips: Tips::of(&["request_policy:all_shards", "response_policy:all_succeeded"]),
        summary: "Create a function with the given arguments (name, code, description)",
        complexity: "O(1) (considering compilation time is redundant)",
        since: "7.0.0",
        arguments: &[word("replace", "REPLACE").optional(), string("function-code")],
        ..ROW
    },
    CommandSpec {
        name: "function|restore",
        arity: -3,
        flags: flags![WRITE, DENYOOM, NOSCRIPT],
        categories: categories![WRITE, SLOW, SCRIPTING],
        tips: Tips::of(&["request_policy:all_shards", "response_policy:all_succeeded"]),
        summary: "Restore all the functions on the given payload",
        complexity: "O(N) where N is the number of functions on the payload",
        since: "7.0.0",
        arguments: &[
            string("serialized-value"),
            one_of(
                "policy",
                &[word("flush", "FLUSH"), word("append", "APPEND"), word("replace", "REPLACE")],
            )
            .optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "function|stats",
        arity: 2,
        flags: flags![NOSCRIPT, ALLOW_BUSY],
        categories: categories![SLOW, SCRIPTING],
        tips: Tips::of(&[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ]),
        summary: "Return information about the function currently running (name, description, \
            duration)",
        complexity: "O(1)",
        since: "7.0.0",
        ..ROW
    },
];

/// Sub-commands of SCRIPT.
const SCRIPT: &[CommandSpec] = &[
    CommandSpec {
        name: "script|debug",
        arity: 3,
        flags: flags![NOSCRIPT],
        categories: categories![SLOW, SCRIPTING],
        summary: "Set the debug mode for executed scripts.",
        complexity: "O(1)",
        since: "3.2.0",
        arguments: &[one_of("mode", &[word("yes", "YES"), word("sync", "SYNC"), word("no", "NO")])],
        ..ROW
    },
    CommandSpec {
        name: "script|exists",
        arity: -3,
        flags: flags![NOSCRIPT],
        categories: categories![SLOW, SCRIPTING],
        tips: Tips::of(&["request_policy:all_shards", "response_policy:agg_logical_and"]),
        summary: "Check existence of scripts in the script cache.",
        complexity: "O(N) with N being the number of scripts to check (so checking a single script \
            is an O(1) operation).",
        since: "2.6.0",
        arguments: &[string("sha1").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "script|flush",
        arity: -2,
        flags: flags![NOSCRIPT],
        categories: categories![SLOW, SCRIPTING],
        tips: Tips::of(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
        summary: "Remove all the scripts from the script cache.",
        complexity: "O(N) with N being the number of scripts in cache",
        since: "2.6.0",
        history: &[("6.2.0", "Added the `ASYNC` and `SYNC` flushing mode modifiers.")],
        arguments: &[one_of("async", &[word("async", "ASYNC"), word("sync", "SYNC")])
            .since("6.2.0")
            .optional()],
        ..ROW
    },
    CommandSpec {
        name: "script|help",
        arity: 2,
        flags: flags![LOADING, STALE],
        categories: categories![SLOW, SCRIPTING],
        summary: "Show helpful text about the different subcommands",
        complexity: "O(1)",
        since: "5.0.0",
        ..ROW
    },
    CommandSpec {
        name: "script|kill",
        arity: 2,
        flags: flags![NOSCRIPT, ALLOW_BUSY],
        categories: categories![SLOW, SCRIPTING],
        tips: Tips::of(&["request_policy:all_shards", "response_policy:one_succeeded"]),
        summary: "Kill the script currently in execution.",
        complexity: "O(1)",
        since: "2.6.0",
        ..ROW
    },
    CommandSpec {
        name: "script|load",
        arity: 3,
        flags: flags![NOSCRIPT, STALE],
        categories: categories![SLOW, SCRIPTING],
        tips: Tips::of(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
        summary: "Load the specified Lua script into the script cache.",
        complexity: "O(N) with N being the length in bytes of the script body.",
        since: "2.6.0",
        arguments: &[string("script")],
        ..ROW
    },
];
