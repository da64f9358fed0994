//! MULTI and what belongs to it.

use super::bits::{categories, flags, key_flags};
use super::spec::arguments::key;
use super::spec::{CommandSpec, Group, KeySpec, Keys};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::Transactions);

/// Rows of the group, by name.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "discard",
        arity: 1,
        flags: flags![NOSCRIPT, LOADING, STALE, FAST, ALLOW_BUSY],
        categories: categories![FAST, TRANSACTION],
        summary: "Discard all commands issued after MULTI",
        complexity: "O(N), when N is the number of queued commands",
        since: "2.0.0",
        ..ROW
    },
    CommandSpec {
        name: "exec",
        arity: 1,
        flags: flags![NOSCRIPT, LOADING, STALE, SKIP_SLOWLOG],
        categories: categories![SLOW, TRANSACTION],
        summary: "Execute all commands issued after MULTI",
        complexity: "Depends on commands in the transaction",
        since: "1.2.0",
        ..ROW
    },
    CommandSpec {
        name: "multi",
        arity: 1,
        flags: flags![NOSCRIPT, LOADING, STALE, FAST, ALLOW_BUSY],
        categories: categories![FAST, TRANSACTION],
        summary: "Mark the start of a transaction block",
        complexity: "O(1)",
        since: "1.2.0",
        ..ROW
    },
    CommandSpec {
        name: "unwatch",
        arity: 1,
        flags: flags![NOSCRIPT, LOADING, STALE, FAST, ALLOW_BUSY],
        categories: categories![FAST, TRANSACTION],
        summary: "Forget about all watched keys",
        complexity: "O(1)",
        since: "2.2.0",
        ..ROW
    },
    CommandSpec {
        name: "watch",
        arity: -2,
        flags: flags![NOSCRIPT, LOADING, STALE, FAST, ALLOW_BUSY],
        categories: categories![FAST, TRANSACTION],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO]).range(-1, 1, 0)]),
        summary: "Watch the given keys to determine execution of the MULTI/EXEC block",
        complexity: "O(1) for every key.",
        since: "2.2.0",
        arguments: &[key("key", 0).multiple()],
        ..ROW
    },
];
