//! Redis Cluster.

use super::bits::{categories, flags};
use super::spec::arguments::{block, integer, one_of, string, word};
use super::spec::{CommandSpec, DocFlags, Group, Tips};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::Cluster);

/// Rows of the group, by name.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "asking",
        arity: 1,
        flags: flags![FAST],
        categories: categories![FAST, CONNECTION],
        summary: "Sent by cluster clients after an -ASK redirect",
        complexity: "O(1)",
        since: "3.0.0",
        ..ROW
    },
    CommandSpec {
        name: "cluster",
        arity: -2,
        flags: flags![],
        categories: categories![SLOW],
        summary: "A container for cluster commands",
        complexity: "Depends on subcommand.",
        since: "3.0.0",
        declared: CLUSTER,
        ..ROW
    },
    CommandSpec {
        name: "readonly",
        arity: 1,
        flags: flags![LOADING, STALE, FAST],
        categories: categories![FAST, CONNECTION],
        summary: "Enables read queries for a connection to a cluster replica node",
        complexity: "O(1)",
        since: "3.0.0",
        ..ROW
    },
    CommandSpec {
        name: "readwrite",
        arity: 1,
        flags: flags![LOADING, STALE, FAST],
        categories: categories![FAST, CONNECTION],
        summary: "Disables read queries for a connection to a cluster replica node",
        complexity: "O(1)",
        since: "3.0.0",
        ..ROW
    },
];

/// Sub-commands of CLUSTER.
const CLUSTER: &[CommandSpec] = &[
    CommandSpec {
        name: "cluster|addslots",
        arity: -3,
        flags: flags![ADMIN, STALE, NO_ASYNC_LOADING],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Assign new hash slots to receiving node",
        complexity: "O(N) where N is the total number of hash slot arguments",
        since: "3.0.0",
        arguments: &[integer("slot").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "cluster|addslotsrange",
        arity: -4,
        flags: flags![ADMIN, STALE, NO_ASYNC_LOADING],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Assign new hash slots to receiving node",
        complexity: "O(N) where N is the total number of the slots between the start slot and end \
            slot arguments.",
        since: "7.0.0",
        arguments: &[
            block("start-slot_end-slot", &[integer("start-slot"), integer("end-slot")]).multiple()
        ],
        ..ROW
    },
    CommandSpec {
        name: "cluster|bumpepoch",
        arity: 2,
        flags: flags![ADMIN, STALE, NO_ASYNC_LOADING],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Advance the cluster config epoch",
        complexity: "O(1)",
        since: "3.0.0",
        ..ROW
    },
    CommandSpec {
        name: "cluster|cancelslotmigrations",
        arity: 2,
        flags: flags![ADMIN, STALE, NO_ASYNC_LOADING],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Cancel all slot migrations that this node is the source of",
        complexity: "O(N), where N is the number of slot migrations",
        since: "9.0.0",
        ..ROW
    },
    CommandSpec {
        name: "cluster|count-failure-reports",
        arity: 3,
        flags: flags![ADMIN, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Return the number of failure reports active for a given node",
        complexity: "O(N) where N is the number of failure reports",
        since: "3.0.0",
        arguments: &[string("node-id")],
        ..ROW
    },
    CommandSpec {
        name: "cluster|countkeysinslot",
        arity: 3,
        flags: flags![STALE],
        categories: categories![SLOW],
        summary: "Return the number of local keys in the specified hash slot",
        complexity: "O(1)",
        since: "3.0.0",
        arguments: &[integer("slot")],
        ..ROW
    },
    CommandSpec {
        name: "cluster|delslots",
        arity: -3,
        flags: flags![ADMIN, STALE, NO_ASYNC_LOADING],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Set hash slots as unbound in receiving node",
        complexity: "O(N) where N is the total number of hash slot arguments",
        since: "3.0.0",
        arguments: &[integer("slot").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "cluster|delslotsrange",
        arity: -4,
        flags: flags![ADMIN, STALE, NO_ASYNC_LOADING],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Set hash slots as unbound in receiving node",
        complexity: "O(N) where N is the total number of the slots between the start slot and end \
            slot arguments.",
        since: "7.0.0",
        arguments: &[
            block("start-slot_end-slot", &[integer("start-slot"), integer("end-slot")]).multiple()
        ],
        ..ROW
    },
    CommandSpec {
        name: "cluster|failover",
        arity: -2,
        flags: flags![ADMIN, STALE, NO_ASYNC_LOADING],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Forces a replica to perform a manual failover of its master.",
        complexity: "O(1)",
        since: "3.0.0",
        arguments: &[
            one_of("options", &[word("force", "FORCE"), word("takeover", "TAKEOVER")]).optional()
        ],
        ..ROW
    },
    CommandSpec {
        name: "cluster|flushslots",
        arity: 2,
        flags: flags![ADMIN, STALE, NO_ASYNC_LOADING],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Delete a node's own slots information",
        complexity: "O(1)",
        since: "3.0.0",
        ..ROW
    },
    CommandSpec {
        name: "cluster|forget",
        arity: 3,
        flags: flags![ADMIN, STALE, NO_ASYNC_LOADING],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Remove a node from the nodes table",
        complexity: "O(1)",
        since: "3.0.0",
        arguments: &[string("node-id")],
        ..ROW
    },
    CommandSpec {
        name: "cluster|getkeysinslot",
        arity: 4,
        flags: flags![STALE],
        categories: categories![SLOW],
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Return local key names in the specified hash slot",
        complexity: "O(log(N)) where N is the number of requested keys",
        since: "3.0.0",
        arguments: &[integer("slot"), integer("count")],
        ..ROW
    },
    CommandSpec {
        name: "cluster|getslotmigrations",
        arity: 2,
        flags: flags![ADMIN, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Get the status of ongoing and recently finished slot migrations",
        complexity: "O(N), where N is the number of slot migrations that are known",
        since: "9.0.0",
        ..ROW
    },
    CommandSpec {
        name: "cluster|help",
        arity: 2,
        flags: flags![LOADING, STALE],
        categories: categories![SLOW],
        summary: "Show helpful text about the different subcommands",
        complexity: "O(1)",
        since: "5.0.0",
        ..ROW
    },
    CommandSpec {
        name: "cluster|info",
        arity: 2,
        flags: flags![STALE],
        categories: categories![SLOW],
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Provides info about Redis Cluster node state",
        complexity: "O(1)",
        since: "3.0.0",
        ..ROW
    },
    CommandSpec {
        name: "cluster|keyslot",
        arity: 3,
        flags: flags![STALE],
        categories: categories![SLOW],
        summary: "Returns the hash slot of the specified key",
        complexity: "O(N) where N is the number of bytes in the key",
        since: "3.0.0",
        arguments: &[string("key")],
        ..ROW
    },
    CommandSpec {
        name: "cluster|links",
        arity: 2,
        flags: flags![STALE],
        categories: categories![SLOW],
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Returns a list of all TCP links to and from peer nodes in cluster",
        complexity: "O(N) where N is the total number of Cluster nodes",
        since: "7.0.0",
        ..ROW
    },
    CommandSpec {
        name: "cluster|meet",
        arity: -4,
        flags: flags![ADMIN, STALE, NO_ASYNC_LOADING],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Force a node cluster to handshake with another node",
        complexity: "O(1)",
        since: "3.0.0",
        history: &[("4.0.0", "Added the optional `cluster_bus_port` argument.")],
        arguments: &[
            string("ip"),
            integer("port"),
            integer("cluster_bus_port").since("4.0.0").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "cluster|migrateslots",
        arity: -4,
        flags: flags![ADMIN, STALE, NO_ASYNC_LOADING],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Begin to hand slots over to other nodes, each set of slots as one step",
        complexity: "O(N) where N is the number of slots",
        since: "9.0.0",
        arguments: &[block(
            "migration",
            &[
                word("slotsrange", "SLOTSRANGE"),
                block("start-slot_end-slot", &[integer("start-slot"), integer("end-slot")])
                    .multiple(),
                string("node-id").token("NODE"),
            ],
        )
        .multiple()],
        ..ROW
    },
    CommandSpec {
        name: "cluster|myid",
        arity: 2,
        flags: flags![STALE],
        categories: categories![SLOW],
        summary: "Return the node id",
        complexity: "O(1)",
        since: "3.0.0",
        ..ROW
    },
    CommandSpec {
        name: "cluster|myshardid",
        arity: 2,
        flags: flags![STALE],
        categories: categories![SLOW],
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Return the node shard id",
        complexity: "O(1)",
        since: "7.2.0",
        ..ROW
    },
    CommandSpec {
        name: "cluster|nodes",
        arity: 2,
        flags: flags![STALE],
        categories: categories![SLOW],
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Get Cluster config for the node",
        complexity: "O(N) where N is the total number of Cluster nodes",
        since: "3.0.0",
        ..ROW
    },
    CommandSpec {
        name: "cluster|replicas",
        arity: 3,
        flags: flags![ADMIN, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "List replica nodes of the specified master node",
        complexity: "O(1)",
        since: "5.0.0",
        arguments: &[string("node-id")],
        ..ROW
    },
    CommandSpec {
        name: "cluster|replicate",
        arity: -3,
        flags: flags![ADMIN, STALE, NO_ASYNC_LOADING],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Reconfigure a node as a replica of the specified master node",
        complexity: "O(1)",
        since: "3.0.0",
        arguments: &[string("node-id")],
        ..ROW
    },
    CommandSpec {
        name: "cluster|reset",
        arity: -2,
        flags: flags![ADMIN, NOSCRIPT, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Reset a Redis Cluster node",
        complexity: "O(N) where N is the number of known nodes. The command may execute a FLUSHALL \
            as a side effect.",
        since: "3.0.0",
        arguments: &[one_of("hard_soft", &[word("hard", "HARD"), word("soft", "SOFT")]).optional()],
        ..ROW
    },
    CommandSpec {
        name: "cluster|saveconfig",
        arity: 2,
        flags: flags![ADMIN, STALE, NO_ASYNC_LOADING],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Forces the node to save cluster state on disk",
        complexity: "O(1)",
        since: "3.0.0",
        ..ROW
    },
    CommandSpec {
        name: "cluster|set-config-epoch",
        arity: 3,
        flags: flags![ADMIN, STALE, NO_ASYNC_LOADING],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Set the configuration epoch in a new node",
        complexity: "O(1)",
        since: "3.0.0",
        arguments: &[integer("config-epoch")],
        ..ROW
    },
    CommandSpec {
        name: "cluster|setslot",
        arity: -4,
        flags: flags![ADMIN, STALE, NO_ASYNC_LOADING],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Bind a hash slot to a specific node",
        complexity: "O(1)",
        since: "3.0.0",
        arguments: &[
            integer("slot"),
            one_of(
                "subcommand",
                &[
                    string("node-id").token("IMPORTING"),
                    string("node-id").token("MIGRATING"),
                    string("node-id").token("NODE"),
                    word("stable", "STABLE"),
                ],
            ),
        ],
        ..ROW
    },
    CommandSpec {
        name: "cluster|shards",
        arity: 2,
        flags: flags![STALE],
        categories: categories![SLOW],
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Get array of cluster slots to node mappings",
        complexity: "O(N) where N is the total number of cluster nodes",
        since: "7.0.0",
        ..ROW
    },
    CommandSpec {
        name: "cluster|slaves",
        arity: 3,
        flags: flags![ADMIN, STALE],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "List replica nodes of the specified master node",
        complexity: "O(1)",
        since: "3.0.0",
        doc_flags: DocFlags::DEPRECATED,
        deprecated_since: "5.0.0",
        replaced_by: "`CLUSTER REPLICAS`",
        arguments: &[string("node-id")],
        ..ROW
    },
    CommandSpec {
        name: "cluster|slots",
        arity: 2,
        flags: flags![STALE],
        categories: categories![SLOW],
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Get array of Cluster slot to node mappings",
        complexity: "O(N) where N is the total number of Cluster nodes",
        since: "3.0.0",
        doc_flags: DocFlags::DEPRECATED,
        deprecated_since: "7.0.0",
        replaced_by: "`CLUSTER SHARDS`",
        history: &[
            ("4.0.0", "Added node IDs."),
            ("7.0.0", "Added additional networking metadata field."),
        ],
        ..ROW
    },
    CommandSpec {
        name: "cluster|syncslots",
        arity: -3,
        flags: flags![ADMIN, STALE, NO_ASYNC_LOADING],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Internal command: what the nodes of a slot migration say to each other",
        complexity: "Depends on subcommand.",
        since: "9.0.0",
        ..ROW
    },
];
