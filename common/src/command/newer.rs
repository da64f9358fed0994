//! Commands that Redis has added since 7.0.15, as the version that brought them tells of them. The other files of rows are
//! recorded from a redis-server 7.0.15; this one is written by hand.

use super::bits::{categories, flags};
use super::spec::arguments::integer;
use super::spec::{CommandSpec, Group, Tips};

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
