//! Commands that Redis has added since 7.0.15, as the version that brought them tells of them. The other files of rows are
//! recorded from a redis-server 7.0.15; this one is written by hand. Those that our server lacks stand in `foreign`.

pub(super) mod bloom;
pub(super) mod collections;
pub(super) mod command_log;
pub(super) mod foreign;
pub(super) mod hash;
pub(super) mod stream;
pub(super) mod string;

use super::bits::{categories, flags};
use super::spec::Argument;
use super::spec::arguments::{block, integer, one_of, string, unix_time, word};
use super::spec::{CommandSpec, Group, Tips};

/// The four ways to say when something ends.
const SECONDS: Argument = integer("seconds").token("EX");
const MILLISECONDS: Argument = integer("milliseconds").token("PX");
const UNIX_SECONDS: Argument = unix_time("unix-time-seconds").token("EXAT");
const UNIX_MILLISECONDS: Argument = unix_time("unix-time-milliseconds").token("PXAT");

/// Commands of the original that take more arguments since, with the arity that they had.
pub(super) const WIDENED: &[(&str, i16)] =
    &[("zrank", 3), ("zrevrank", 3), ("cluster|replicate", 3)];

/// Sub-commands, by their containers, whose other sub-commands stand with them.
pub(super) const SUBCOMMANDS: &[(&str, &[CommandSpec])] =
    &[("client", CLIENT), ("cluster", CLUSTER), ("script", SCRIPT), ("sentinel", SENTINEL)];

/// Words of Valkey 8.0 for what has the word master in it.
const SENTINEL: &[CommandSpec] = &[
    CommandSpec {
        name: "sentinel|get-primary-addr-by-name",
        arity: 3,
        summary: "Returns the port and address of a primary instance.",
        arguments: &[string("primary-name")],
        ..OF_SENTINEL
    },
    CommandSpec {
        name: "sentinel|is-primary-down-by-addr",
        arity: 6,
        summary: "Determines whether a primary instance is down.",
        arguments: &[string("ip"), integer("port"), integer("current-epoch"), string("runid")],
        ..OF_SENTINEL
    },
    CommandSpec {
        name: "sentinel|primaries",
        arity: 2,
        summary: "Returns a list of monitored primaries.",
        complexity: "O(N) where N is the number of primaries",
        ..OF_SENTINEL
    },
    CommandSpec {
        name: "sentinel|primary",
        arity: 3,
        summary: "Returns the state of a primary instance.",
        arguments: &[string("primary-name")],
        ..OF_SENTINEL
    },
];

const OF_SENTINEL: CommandSpec = CommandSpec {
    flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
    categories: categories![ADMIN, SLOW, DANGEROUS],
    complexity: "O(1)",
    since: "8.0.0",
    ..CommandSpec::of(Group::Sentinel)
};

const CLUSTER: &[CommandSpec] = &[CommandSpec {
    name: "cluster|slot-stats",
    arity: -4,
    flags: flags![STALE, LOADING],
    categories: categories![SLOW],
    tips: Tips::of(&["request_policy:all_shards", "nondeterministic_output"]),
    summary: "Return an array of slot usage statistics for slots assigned to the current node.",
    complexity: "O(N) where N is the total number of slots based on arguments. O(N*log(N)) with \
        ORDERBY subcommand.",
    since: "8.0.0",
    arguments: &[one_of(
        "filter",
        &[
            block("slotsrange", &[integer("start-slot"), integer("end-slot")]).token("SLOTSRANGE"),
            block(
                "orderby",
                &[
                    string("metric"),
                    integer("limit").token("LIMIT").optional(),
                    one_of("order", &[word("asc", "ASC"), word("desc", "DESC")]).optional(),
                ],
            )
            .token("ORDERBY"),
        ],
    )],
    ..CommandSpec::of(Group::Cluster)
}];

const SCRIPT: &[CommandSpec] = &[CommandSpec {
    name: "script|show",
    arity: 3,
    flags: flags![NOSCRIPT],
    categories: categories![SLOW, SCRIPTING],
    summary: "Show server script in the script cache.",
    complexity: "O(1)",
    since: "8.0.0",
    arguments: &[string("sha1")],
    ..CommandSpec::of(Group::Scripting)
}];

const CLIENT: &[CommandSpec] = &[
    CommandSpec {
        name: "client|capa",
        arity: -3,
        flags: flags![NOSCRIPT, LOADING, STALE],
        categories: categories![SLOW, CONNECTION],
        summary: "A client claims its capability.",
        complexity: "O(1)",
        since: "8.0.0",
        arguments: &[string("capability").multiple()],
        ..CommandSpec::of(Group::Connection)
    },
    CommandSpec {
        name: "client|no-touch",
        arity: 3,
        flags: flags![NOSCRIPT, LOADING, STALE],
        categories: categories![SLOW, CONNECTION],
        summary: "Controls whether commands sent by the client affect the LRU/LFU of accessed keys.",
        complexity: "O(1)",
        since: "7.2.0",
        arguments: &[one_of("enabled", &[word("on", "ON"), word("off", "OFF")])],
        ..CommandSpec::of(Group::Connection)
    },
    CommandSpec {
        name: "client|setinfo",
        arity: 4,
        flags: flags![NOSCRIPT, LOADING, STALE],
        categories: categories![SLOW, CONNECTION],
        tips: Tips::of(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
        summary: "Sets information specific to the client or connection.",
        complexity: "O(1)",
        since: "7.2.0",
        arguments: &[one_of(
            "attr",
            &[string("libname").token("lib-name"), string("libver").token("lib-ver")],
        )],
        ..CommandSpec::of(Group::Connection)
    },
];

/// Rows, by name.
pub(super) const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "waitaof",
    arity: 4,
    flags: flags![NOSCRIPT],
    categories: categories![SLOW, CONNECTION],
    tips: Tips::of(&["request_policy:all_shards", "response_policy:agg_min"]),
    summary: "Blocks until all of the preceding write commands sent by the connection are written to \
        the append-only file of the master and/or replicas.",
    complexity: "O(1)",
    since: "7.2.0",
    arguments: &[integer("numlocal"), integer("numreplicas"), integer("timeout")],
    ..CommandSpec::of(Group::Generic)
}];
