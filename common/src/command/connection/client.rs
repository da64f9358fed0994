//! Sub-commands of CLIENT.

use super::super::bits::{categories, flags};
use super::super::spec::arguments::{block, integer, one_of, string, word};
use super::super::spec::{CommandSpec, Group, Tips};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::Connection);

/// Rows by name.
pub(super) const CLIENT: &[CommandSpec] = &[
    CommandSpec {
        name: "client|caching",
        arity: 3,
        flags: flags![NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![SLOW, CONNECTION],
        summary: "Instruct the server about tracking or not keys in the next request",
        complexity: "O(1)",
        since: "6.0.0",
        arguments: &[one_of("mode", &[word("yes", "YES"), word("no", "NO")])],
        ..ROW
    },
    CommandSpec {
        name: "client|getname",
        arity: 2,
        flags: flags![NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![SLOW, CONNECTION],
        summary: "Get the current connection name",
        complexity: "O(1)",
        since: "2.6.9",
        ..ROW
    },
    CommandSpec {
        name: "client|getredir",
        arity: 2,
        flags: flags![NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![SLOW, CONNECTION],
        summary: "Get tracking notifications redirection client ID if any",
        complexity: "O(1)",
        since: "6.0.0",
        ..ROW
    },
    CommandSpec {
        name: "client|help",
        arity: 2,
        flags: flags![LOADING, STALE, SENTINEL],
        categories: categories![SLOW, CONNECTION],
        summary: "Show helpful text about the different subcommands",
        complexity: "O(1)",
        since: "5.0.0",
        ..ROW
    },
    CommandSpec {
        name: "client|id",
        arity: 2,
        flags: flags![NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![SLOW, CONNECTION],
        summary: "Returns the client ID for the current connection",
        complexity: "O(1)",
        since: "5.0.0",
        ..ROW
    },
    CommandSpec {
        name: "client|info",
        arity: 2,
        flags: flags![NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![SLOW, CONNECTION],
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Returns information about the current client connection.",
        complexity: "O(1)",
        since: "6.2.0",
        ..ROW
    },
    CommandSpec {
        name: "client|kill",
        arity: -3,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS, CONNECTION],
        summary: "Kill the connection of a client",
        complexity: "O(N) where N is the number of client connections",
        since: "2.4.0",
        history: &[
            ("2.8.12", "Added new filter format."),
            ("2.8.12", "`ID` option."),
            ("3.2.0", "Added `master` type in for `TYPE` option."),
            (
                "5.0.0",
                "Replaced `slave` `TYPE` with `replica`. `slave` still supported for \
                backward compatibility.",
            ),
            ("6.2.0", "`LADDR` option."),
        ],
        arguments: &[one_of(
            "filter",
            &[
                string("ip:port").deprecated_since("2.8.12"),
                one_of(
                    "new-format",
                    &[
                        integer("client-id").token("ID").since("2.8.12").optional(),
                        one_of(
                            "normal_master_slave_pubsub",
                            &[
                                word("normal", "NORMAL"),
                                word("master", "MASTER").since("3.2.0"),
                                word("slave", "SLAVE"),
                                word("replica", "REPLICA").since("5.0.0"),
                                word("pubsub", "PUBSUB"),
                            ],
                        )
                        .token("TYPE")
                        .since("2.8.12")
                        .optional(),
                        string("username").token("USER").optional(),
                        string("ip:port").token("ADDR").optional(),
                        string("ip:port").token("LADDR").since("6.2.0").optional(),
                        string("yes/no").token("SKIPME").optional(),
                    ],
                )
                .multiple(),
            ],
        )],
        ..ROW
    },
    CommandSpec {
        name: "client|list",
        arity: -2,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS, CONNECTION],
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Get the list of client connections",
        complexity: "O(N) where N is the number of client connections",
        since: "2.4.0",
        history: &[
            ("2.8.12", "Added unique client `id` field."),
            ("5.0.0", "Added optional `TYPE` filter."),
            ("6.0.0", "Added `user` field."),
            (
                "6.2.0",
                "Added `argv-mem`, `tot-mem`, `laddr` and `redir` fields and the optional \
                `ID` filter.",
            ),
            ("7.0.0", "Added `resp`, `multi-mem`, `rbs` and `rbp` fields."),
            ("7.0.3", "Added `ssub` field."),
        ],
        arguments: &[
            one_of(
                "normal_master_replica_pubsub",
                &[
                    word("normal", "NORMAL"),
                    word("master", "MASTER"),
                    word("replica", "REPLICA"),
                    word("pubsub", "PUBSUB"),
                ],
            )
            .token("TYPE")
            .since("5.0.0")
            .optional(),
            block("id", &[integer("client-id").multiple()]).token("ID").since("6.2.0").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "client|no-evict",
        arity: 3,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS, CONNECTION],
        summary: "Set client eviction mode for the current connection",
        complexity: "O(1)",
        since: "7.0.0",
        arguments: &[one_of("enabled", &[word("on", "ON"), word("off", "OFF")])],
        ..ROW
    },
    CommandSpec {
        name: "client|pause",
        arity: -3,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS, CONNECTION],
        summary: "Stop processing commands from clients for some time",
        complexity: "O(1)",
        since: "2.9.50",
        history: &[("6.2.0", "`CLIENT PAUSE WRITE` mode added along with the `mode` option.")],
        arguments: &[
            integer("timeout"),
            one_of("mode", &[word("write", "WRITE"), word("all", "ALL")]).since("6.2.0").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "client|reply",
        arity: 3,
        flags: flags![NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![SLOW, CONNECTION],
        summary: "Instruct the server whether to reply to commands",
        complexity: "O(1)",
        since: "3.2.0",
        arguments: &[one_of(
            "on_off_skip",
            &[word("on", "ON"), word("off", "OFF"), word("skip", "SKIP")],
        )],
        ..ROW
    },
    CommandSpec {
        name: "client|setname",
        arity: 3,
        flags: flags![NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![SLOW, CONNECTION],
        summary: "Set the current connection name",
        complexity: "O(1)",
        since: "2.6.9",
        arguments: &[string("connection-name")],
        ..ROW
    },
    CommandSpec {
        name: "client|tracking",
        arity: -3,
        flags: flags![NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![SLOW, CONNECTION],
        summary: "Enable or disable server assisted client side caching support",
        complexity: "O(1). Some options may introduce additional complexity.",
        since: "6.0.0",
        arguments: &[
            one_of("status", &[word("on", "ON"), word("off", "OFF")]),
            integer("client-id").token("REDIRECT").optional(),
            string("prefix").token("PREFIX").optional().multiple().multiple_token(),
            word("bcast", "BCAST").optional(),
            word("optin", "OPTIN").optional(),
            word("optout", "OPTOUT").optional(),
            word("noloop", "NOLOOP").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "client|trackinginfo",
        arity: 2,
        flags: flags![NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![SLOW, CONNECTION],
        summary: "Return information about server assisted client side caching for the current \
            connection",
        complexity: "O(1)",
        since: "6.2.0",
        ..ROW
    },
    CommandSpec {
        name: "client|unblock",
        arity: -3,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS, CONNECTION],
        summary: "Unblock a client blocked in a blocking command from a different connection",
        complexity: "O(log N) where N is the number of client connections",
        since: "5.0.0",
        arguments: &[
            integer("client-id"),
            one_of("timeout_error", &[word("timeout", "TIMEOUT"), word("error", "ERROR")])
                .optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "client|unpause",
        arity: 2,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS, CONNECTION],
        summary: "Resume processing of clients that were paused",
        complexity: "O(N) Where N is the number of paused clients",
        since: "6.2.0",
        ..ROW
    },
];
