//! Redis Sentinel. These rows exist in sentinel mode only.

use super::bits::{categories, flags};
use super::spec::arguments::{bare, block, integer, one_of, pattern, string};
use super::spec::{CommandSpec, DocFlags, Group};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::Sentinel);

/// Rows of the group, by name.
pub(super) const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "sentinel",
    arity: -2,
    flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
    categories: categories![ADMIN, SLOW, DANGEROUS],
    summary: "A container for Sentinel commands",
    complexity: "Depends on subcommand.",
    since: "2.8.4",
    declared: SENTINEL,
    ..ROW
}];

/// Sub-commands of SENTINEL.
const SENTINEL: &[CommandSpec] = &[
    CommandSpec {
        name: "sentinel|ckquorum",
        arity: 3,
        flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Check for a Sentinel quorum",
        since: "2.8.4",
        arguments: &[string("master-name")],
        ..ROW
    },
    CommandSpec {
        name: "sentinel|config",
        arity: -3,
        flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Configure Sentinel",
        complexity: "O(1)",
        since: "6.2.0",
        arguments: &[one_of(
            "set_or_get",
            &[
                block("set_param_value", &[string("parameter"), string("value")])
                    .token("SET")
                    .multiple(),
                string("parameter").token("GET").multiple(),
            ],
        )],
        ..ROW
    },
    CommandSpec {
        name: "sentinel|debug",
        arity: -2,
        flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "List or update the current configurable parameters",
        complexity: "O(N) where N is the number of configurable parameters",
        since: "7.0.0",
        arguments: &[block("parameter_value", &[string("parameter"), string("value")]).multiple()],
        ..ROW
    },
    CommandSpec {
        name: "sentinel|failover",
        arity: 3,
        flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Force a failover",
        since: "2.8.4",
        arguments: &[string("master-name")],
        ..ROW
    },
    CommandSpec {
        name: "sentinel|flushconfig",
        arity: 2,
        flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Rewrite configuration file",
        complexity: "O(1)",
        since: "2.8.4",
        ..ROW
    },
    CommandSpec {
        name: "sentinel|get-master-addr-by-name",
        arity: 3,
        flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Get port and address of a master",
        complexity: "O(1)",
        since: "2.8.4",
        arguments: &[string("master-name")],
        ..ROW
    },
    CommandSpec {
        name: "sentinel|help",
        arity: 2,
        flags: flags![LOADING, STALE, ONLY_SENTINEL, SENTINEL],
        categories: categories![SLOW],
        summary: "Show helpful text about the different subcommands",
        complexity: "O(1)",
        since: "6.2.0",
        ..ROW
    },
    CommandSpec {
        name: "sentinel|info-cache",
        arity: -3,
        flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Get cached INFO from the instances in the deployment",
        complexity: "O(N) where N is the number of instances",
        since: "3.2.0",
        arguments: &[string("nodename").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "sentinel|is-master-down-by-addr",
        arity: 6,
        flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Check if a master is down",
        complexity: "O(1)",
        since: "2.8.4",
        arguments: &[string("ip"), integer("port"), integer("current-epoch"), string("runid")],
        ..ROW
    },
    CommandSpec {
        name: "sentinel|master",
        arity: 3,
        flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Shows the state of a master",
        complexity: "O(1)",
        since: "2.8.4",
        arguments: &[string("master-name")],
        ..ROW
    },
    CommandSpec {
        name: "sentinel|masters",
        arity: 2,
        flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "List the monitored masters",
        complexity: "O(N) where N is the number of masters",
        since: "2.8.4",
        ..ROW
    },
    CommandSpec {
        name: "sentinel|monitor",
        arity: 6,
        flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Start monitoring",
        complexity: "O(1)",
        since: "2.8.4",
        arguments: &[string("name"), string("ip"), integer("port"), integer("quorum")],
        ..ROW
    },
    CommandSpec {
        name: "sentinel|myid",
        arity: 2,
        flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Get the Sentinel instance ID",
        complexity: "O(1)",
        since: "6.2.0",
        ..ROW
    },
    CommandSpec {
        name: "sentinel|pending-scripts",
        arity: 2,
        flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Get information about pending scripts",
        since: "2.8.4",
        ..ROW
    },
    CommandSpec {
        name: "sentinel|remove",
        arity: 3,
        flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Stop monitoring",
        complexity: "O(1)",
        since: "2.8.4",
        arguments: &[string("master-name")],
        ..ROW
    },
    CommandSpec {
        name: "sentinel|replicas",
        arity: 3,
        flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "List the monitored replicas",
        complexity: "O(N) where N is the number of replicas",
        since: "5.0.0",
        arguments: &[string("master-name")],
        ..ROW
    },
    CommandSpec {
        name: "sentinel|reset",
        arity: 3,
        flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Reset masters by name pattern",
        complexity: "O(N) where N is the number of monitored masters",
        since: "2.8.4",
        arguments: &[pattern("pattern")],
        ..ROW
    },
    CommandSpec {
        name: "sentinel|sentinels",
        arity: 3,
        flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "List the Sentinel instances",
        complexity: "O(N) where N is the number of Sentinels",
        since: "2.8.4",
        arguments: &[string("master-name")],
        ..ROW
    },
    CommandSpec {
        name: "sentinel|set",
        arity: -5,
        flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Change the configuration of a monitored master",
        complexity: "O(1)",
        since: "2.8.4",
        arguments: &[
            string("master-name"),
            block("option_value", &[string("option"), string("value")]).multiple(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "sentinel|simulate-failure",
        arity: -3,
        flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Simulate failover scenarios",
        since: "3.2.0",
        arguments: &[one_of(
            "mode",
            &[bare("crash-after-election"), bare("crash-after-promotion"), bare("help")],
        )
        .optional()
        .multiple()],
        ..ROW
    },
    CommandSpec {
        name: "sentinel|slaves",
        arity: 3,
        flags: flags![ADMIN, ONLY_SENTINEL, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "List the monitored slaves",
        complexity: "O(N) where N is the number of slaves",
        since: "2.8.0",
        doc_flags: DocFlags::DEPRECATED,
        deprecated_since: "5.0.0",
        replaced_by: "`SENTINEL REPLICAS`",
        arguments: &[string("master-name")],
        ..ROW
    },
];
