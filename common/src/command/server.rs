//! The server itself: settings, persistence, replication, users, figures.

use super::bits::{categories, flags, key_flags};
use super::spec::arguments::{block, integer, key, one_of, string, word};
use super::spec::{CommandSpec, DocFlags, Group, KeySpec, Keys, Tips};

mod acl;
mod command;
mod config;
mod latency;
mod memory;
mod module;
mod slowlog;

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::Server);

/// Rows of the group, by name.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "acl",
        arity: -2,
        flags: flags![SENTINEL],
        categories: categories![SLOW],
        summary: "A container for Access List Control commands ",
        complexity: "Depends on subcommand.",
        since: "6.0.0",
        declared: acl::ACL,
        ..ROW
    },
    CommandSpec {
        name: "bgrewriteaof",
        arity: 1,
        flags: flags![ADMIN, NOSCRIPT, NO_ASYNC_LOADING],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Asynchronously rewrite the append-only file",
        complexity: "O(1)",
        since: "1.0.0",
        ..ROW
    },
    CommandSpec {
        name: "bgsave",
        arity: -1,
        flags: flags![ADMIN, NOSCRIPT, NO_ASYNC_LOADING],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Asynchronously save the dataset to disk",
        complexity: "O(1)",
        since: "1.0.0",
        history: &[("3.2.2", "Added the `SCHEDULE` option.")],
        arguments: &[word("schedule", "SCHEDULE").since("3.2.2").optional()],
        ..ROW
    },
    CommandSpec {
        name: "command",
        arity: -1,
        flags: flags![LOADING, STALE, SENTINEL],
        categories: categories![SLOW, CONNECTION],
        tips: Tips::of(&["nondeterministic_output_order"]),
        summary: "Get array of Redis command details",
        complexity: "O(N) where N is the total number of Redis commands",
        since: "2.8.13",
        declared: command::COMMAND,
        ..ROW
    },
    CommandSpec {
        name: "config",
        arity: -2,
        flags: flags![],
        categories: categories![SLOW],
        summary: "A container for server configuration commands",
        complexity: "Depends on subcommand.",
        since: "2.0.0",
        declared: config::CONFIG,
        ..ROW
    },
    CommandSpec {
        name: "dbsize",
        arity: 1,
        flags: flags![READONLY, FAST],
        categories: categories![KEYSPACE, READ, FAST],
        tips: Tips::of(&["request_policy:all_shards", "response_policy:agg_sum"]),
        summary: "Return the number of keys in the selected database",
        complexity: "O(1)",
        since: "1.0.0",
        ..ROW
    },
    CommandSpec {
        name: "debug",
        arity: -2,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE, PROTECTED],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "A container for debugging commands",
        complexity: "Depends on subcommand.",
        since: "1.0.0",
        doc_flags: DocFlags::SYSCMD,
        ..ROW
    },
    CommandSpec {
        name: "failover",
        arity: -1,
        flags: flags![ADMIN, NOSCRIPT, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Start a coordinated failover between this server and one of its replicas.",
        complexity: "O(1)",
        since: "6.2.0",
        arguments: &[
            block("target", &[string("host"), integer("port"), word("force", "FORCE").optional()])
                .token("TO")
                .optional(),
            word("abort", "ABORT").optional(),
            integer("milliseconds").token("TIMEOUT").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "flushall",
        arity: -1,
        flags: flags![WRITE],
        categories: categories![KEYSPACE, WRITE, SLOW, DANGEROUS],
        tips: Tips::of(&["request_policy:all_shards", "response_policy:all_succeeded"]),
        summary: "Remove all keys from all databases",
        complexity: "O(N) where N is the total number of keys in all databases",
        since: "1.0.0",
        history: &[
            ("4.0.0", "Added the `ASYNC` flushing mode modifier."),
            ("6.2.0", "Added the `SYNC` flushing mode modifier."),
        ],
        arguments: &[one_of(
            "async",
            &[word("async", "ASYNC").since("4.0.0"), word("sync", "SYNC").since("6.2.0")],
        )
        .optional()],
        ..ROW
    },
    CommandSpec {
        name: "flushdb",
        arity: -1,
        flags: flags![WRITE],
        categories: categories![KEYSPACE, WRITE, SLOW, DANGEROUS],
        tips: Tips::of(&["request_policy:all_shards", "response_policy:all_succeeded"]),
        summary: "Remove all keys from the current database",
        complexity: "O(N) where N is the number of keys in the selected database",
        since: "1.0.0",
        history: &[
            ("4.0.0", "Added the `ASYNC` flushing mode modifier."),
            ("6.2.0", "Added the `SYNC` flushing mode modifier."),
        ],
        arguments: &[one_of(
            "async",
            &[word("async", "ASYNC").since("4.0.0"), word("sync", "SYNC").since("6.2.0")],
        )
        .optional()],
        ..ROW
    },
    CommandSpec {
        name: "info",
        arity: -1,
        flags: flags![LOADING, STALE, SENTINEL],
        categories: categories![SLOW, DANGEROUS],
        tips: Tips::of(&[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ]),
        summary: "Get information and statistics about the server",
        complexity: "O(1)",
        since: "1.0.0",
        history: &[("7.0.0", "Added support for taking multiple section arguments.")],
        arguments: &[string("section").optional().multiple()],
        ..ROW
    },
    CommandSpec {
        name: "lastsave",
        arity: 1,
        flags: flags![LOADING, STALE, FAST],
        categories: categories![ADMIN, FAST, DANGEROUS],
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Get the UNIX time stamp of the last successful save to disk",
        complexity: "O(1)",
        since: "1.0.0",
        ..ROW
    },
    CommandSpec {
        name: "latency",
        arity: -2,
        flags: flags![],
        categories: categories![SLOW],
        summary: "A container for latency diagnostics commands",
        complexity: "Depends on subcommand.",
        since: "2.8.13",
        declared: latency::LATENCY,
        ..ROW
    },
    CommandSpec {
        name: "lolwut",
        arity: -1,
        flags: flags![READONLY, FAST],
        categories: categories![READ, FAST],
        summary: "Display some computer art and the Redis version",
        since: "5.0.0",
        arguments: &[integer("version").token("VERSION").optional()],
        ..ROW
    },
    CommandSpec {
        name: "memory",
        arity: -2,
        flags: flags![],
        categories: categories![SLOW],
        summary: "A container for memory diagnostics commands",
        complexity: "Depends on subcommand.",
        since: "4.0.0",
        declared: memory::MEMORY,
        ..ROW
    },
    CommandSpec {
        name: "module",
        arity: -2,
        flags: flags![],
        categories: categories![SLOW],
        summary: "A container for module commands",
        complexity: "Depends on subcommand.",
        since: "4.0.0",
        declared: module::MODULE,
        ..ROW
    },
    CommandSpec {
        name: "monitor",
        arity: 1,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Listen for all requests received by the server in real time",
        since: "1.0.0",
        ..ROW
    },
    CommandSpec {
        name: "psync",
        arity: -3,
        flags: flags![ADMIN, NOSCRIPT, NO_ASYNC_LOADING, NO_MULTI],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Internal command used for replication",
        since: "2.8.0",
        arguments: &[string("replicationid"), integer("offset")],
        ..ROW
    },
    CommandSpec {
        name: "replconf",
        arity: -1,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE, ALLOW_BUSY],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "An internal command for configuring the replication stream",
        complexity: "O(1)",
        since: "3.0.0",
        doc_flags: DocFlags::SYSCMD,
        ..ROW
    },
    CommandSpec {
        name: "replicaof",
        arity: 3,
        flags: flags![ADMIN, NOSCRIPT, STALE, NO_ASYNC_LOADING],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Make the server a replica of another instance, or promote it as master.",
        complexity: "O(1)",
        since: "5.0.0",
        arguments: &[one_of(
            "args",
            &[
                block("host-port", &[string("host"), integer("port")]),
                block("no-one", &[word("no", "NO"), word("one", "ONE")]),
            ],
        )],
        ..ROW
    },
    CommandSpec {
        name: "restore-asking",
        arity: -4,
        flags: flags![WRITE, DENYOOM, ASKING],
        categories: categories![KEYSPACE, WRITE, SLOW, DANGEROUS],
        keys: Keys::of(&[KeySpec::at(1, key_flags![OW, UPDATE])]),
        summary: "An internal command for migrating keys in a cluster",
        complexity: "O(1) to create the new key and additional O(N*M) to reconstruct the \
            serialized value, where N is the number of Redis objects composing the value and M \
            their average size. For small string values the time complexity is thus O(1)+O(1*M) \
            where M is small, so simply O(1). However for sorted set values the complexity is \
            O(N*M*log(N)) because inserting values into sorted sets is O(log(N)).",
        since: "3.0.0",
        doc_flags: DocFlags::SYSCMD,
        history: &[
            ("3.0.0", "Added the `REPLACE` modifier."),
            ("5.0.0", "Added the `ABSTTL` modifier."),
            ("5.0.0", "Added the `IDLETIME` and `FREQ` options."),
        ],
        arguments: &[
            key("key", 0),
            integer("ttl"),
            string("serialized-value"),
            word("replace", "REPLACE").since("3.0.0").optional(),
            word("absttl", "ABSTTL").since("5.0.0").optional(),
            integer("seconds").token("IDLETIME").since("5.0.0").optional(),
            integer("frequency").token("FREQ").since("5.0.0").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "role",
        arity: 1,
        flags: flags![NOSCRIPT, LOADING, STALE, FAST, SENTINEL],
        categories: categories![ADMIN, FAST, DANGEROUS],
        summary: "Return the role of the instance in the context of replication",
        complexity: "O(1)",
        since: "2.8.12",
        ..ROW
    },
    CommandSpec {
        name: "save",
        arity: 1,
        flags: flags![ADMIN, NOSCRIPT, NO_ASYNC_LOADING, NO_MULTI],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Synchronously save the dataset to disk",
        complexity: "O(N) where N is the total number of keys in all databases",
        since: "1.0.0",
        ..ROW
    },
    CommandSpec {
        name: "shutdown",
        arity: -1,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE, NO_MULTI, ALLOW_BUSY, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Synchronously save the dataset to disk and then shut down the server",
        complexity: "O(N) when saving, where N is the total number of keys in all databases when \
            saving data, otherwise O(1)",
        since: "1.0.0",
        history: &[("7.0.0", "Added the `NOW`, `FORCE` and `ABORT` modifiers.")],
        arguments: &[
            one_of("nosave_save", &[word("nosave", "NOSAVE"), word("save", "SAVE")]).optional(),
            word("now", "NOW").since("7.0.0").optional(),
            word("force", "FORCE").since("7.0.0").optional(),
            word("abort", "ABORT").since("7.0.0").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "slaveof",
        arity: 3,
        flags: flags![ADMIN, NOSCRIPT, STALE, NO_ASYNC_LOADING],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Make the server a replica of another instance, or promote it as master.",
        complexity: "O(1)",
        since: "1.0.0",
        doc_flags: DocFlags::DEPRECATED,
        deprecated_since: "5.0.0",
        replaced_by: "`REPLICAOF`",
        arguments: &[one_of(
            "args",
            &[
                block("host-port", &[string("host"), integer("port")]),
                block("no-one", &[word("no", "NO"), word("one", "ONE")]),
            ],
        )],
        ..ROW
    },
    CommandSpec {
        name: "slowlog",
        arity: -2,
        flags: flags![],
        categories: categories![SLOW],
        summary: "A container for slow log commands",
        complexity: "Depends on subcommand.",
        since: "2.2.12",
        declared: slowlog::SLOWLOG,
        ..ROW
    },
    CommandSpec {
        name: "swapdb",
        arity: 3,
        flags: flags![WRITE, FAST],
        categories: categories![KEYSPACE, WRITE, FAST, DANGEROUS],
        summary: "Swaps two Redis databases",
        complexity: "O(N) where N is the count of clients watching or blocking on keys from both \
            databases.",
        since: "4.0.0",
        arguments: &[integer("index1"), integer("index2")],
        ..ROW
    },
    CommandSpec {
        name: "sync",
        arity: 1,
        flags: flags![ADMIN, NOSCRIPT, NO_ASYNC_LOADING, NO_MULTI],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Internal command used for replication",
        since: "1.0.0",
        ..ROW
    },
    CommandSpec {
        name: "time",
        arity: 1,
        flags: flags![LOADING, STALE, FAST],
        categories: categories![FAST],
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Return the current server time",
        complexity: "O(1)",
        since: "2.6.0",
        ..ROW
    },
];
