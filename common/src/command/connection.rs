//! The connection itself: who it is, what it speaks.

use super::bits::{categories, flags};
use super::spec::arguments::{block, integer, string};
use super::spec::{CommandSpec, Group, Tips};

mod client;

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::Connection);

/// Rows of the group, by name.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "auth",
        arity: -2,
        flags: flags![NOSCRIPT, LOADING, STALE, FAST, NO_AUTH, ALLOW_BUSY, SENTINEL],
        categories: categories![FAST, CONNECTION],
        summary: "Authenticate to the server",
        complexity: "O(N) where N is the number of passwords defined for the user",
        since: "1.0.0",
        history: &[("6.0.0", "Added ACL style (username and password).")],
        arguments: &[string("username").since("6.0.0").optional(), string("password")],
        ..ROW
    },
    CommandSpec {
        name: "client",
        arity: -2,
        flags: flags![SENTINEL],
        categories: categories![SLOW],
        summary: "A container for client connection commands",
        complexity: "Depends on subcommand.",
        since: "2.4.0",
        declared: client::CLIENT,
        ..ROW
    },
    CommandSpec {
        name: "echo",
        arity: 2,
        flags: flags![LOADING, STALE, FAST],
        categories: categories![FAST, CONNECTION],
        summary: "Echo the given string",
        complexity: "O(1)",
        since: "1.0.0",
        arguments: &[string("message")],
        ..ROW
    },
    CommandSpec {
        name: "hello",
        arity: -1,
        flags: flags![NOSCRIPT, LOADING, STALE, FAST, NO_AUTH, ALLOW_BUSY, SENTINEL],
        categories: categories![FAST, CONNECTION],
        summary: "Handshake with Redis",
        complexity: "O(1)",
        since: "6.0.0",
        history: &[(
            "6.2.0",
            "`protover` made optional; when called without arguments the command \
            reports the current connection's context.",
        )],
        arguments: &[block(
            "arguments",
            &[
                integer("protover"),
                block("username_password", &[string("username"), string("password")])
                    .token("AUTH")
                    .optional(),
                string("clientname").token("SETNAME").optional(),
            ],
        )
        .optional()],
        ..ROW
    },
    CommandSpec {
        name: "ping",
        arity: -1,
        flags: flags![FAST, SENTINEL],
        categories: categories![FAST, CONNECTION],
        tips: Tips::of(&["request_policy:all_shards", "response_policy:all_succeeded"]),
        summary: "Ping the server",
        complexity: "O(1)",
        since: "1.0.0",
        arguments: &[string("message").optional()],
        ..ROW
    },
    CommandSpec {
        name: "quit",
        arity: -1,
        flags: flags![NOSCRIPT, LOADING, STALE, FAST, NO_AUTH, ALLOW_BUSY],
        categories: categories![FAST, CONNECTION],
        summary: "Close the connection",
        complexity: "O(1)",
        since: "1.0.0",
        ..ROW
    },
    CommandSpec {
        name: "reset",
        arity: 1,
        flags: flags![NOSCRIPT, LOADING, STALE, FAST, NO_AUTH, ALLOW_BUSY],
        categories: categories![FAST, CONNECTION],
        summary: "Reset the connection",
        complexity: "O(1)",
        since: "6.2.0",
        ..ROW
    },
    CommandSpec {
        name: "select",
        arity: 2,
        flags: flags![LOADING, STALE, FAST],
        categories: categories![FAST, CONNECTION],
        summary: "Change the selected database for the current connection",
        complexity: "O(1)",
        since: "1.0.0",
        arguments: &[integer("index")],
        ..ROW
    },
];
