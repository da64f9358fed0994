//! Bloom filters, which Redis 7 has from the module RedisBloom and Redis 8 of its own.

use crate::command::bits::{categories, flags, key_flags};
use crate::command::spec::arguments::{double, integer, key, one_of, string, word};
use crate::command::spec::{Argument, CommandSpec, Group, KeySpec, Keys};

/// What those have in common that read.
const READ: CommandSpec = CommandSpec {
    flags: flags![READONLY, MODULE, FAST],
    categories: categories![READ, FAST],
    keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
    complexity: "O(k), where k is the number of hash functions used by the last sub-filter",
    since: "8.0.0",
    ..CommandSpec::of(Group::Module)
};

/// What those have in common that write.
const WRITE: CommandSpec = CommandSpec {
    flags: flags![WRITE, DENYOOM, MODULE],
    categories: categories![WRITE, SLOW],
    keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE, INSERT])]),
    ..READ
};

const ITEMS: Argument = string("item").multiple();
const EXPANSION: Argument = integer("expansion").token("EXPANSION").optional();
const NONSCALING: Argument = word("nonscaling", "NONSCALING").optional();

/// Rows, by name.
pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "bf.add",
        arity: 3,
        summary: "Adds an item to a Bloom Filter",
        arguments: &[key("key", 0), string("item")],
        ..WRITE
    },
    CommandSpec {
        name: "bf.card",
        arity: 2,
        summary: "Returns the cardinality of a Bloom filter",
        complexity: "O(1)",
        arguments: &[key("key", 0)],
        ..READ
    },
    CommandSpec {
        name: "bf.exists",
        arity: 3,
        summary: "Checks whether an item exists in a Bloom Filter",
        arguments: &[key("key", 0), string("item")],
        ..READ
    },
    CommandSpec {
        name: "bf.info",
        arity: -2,
        summary: "Returns information about a Bloom Filter",
        complexity: "O(1)",
        arguments: &[
            key("key", 0),
            one_of(
                "single_value",
                &[
                    word("capacity", "CAPACITY"),
                    word("size", "SIZE"),
                    word("filters", "FILTERS"),
                    word("items", "ITEMS"),
                    word("expansion", "EXPANSION"),
                ],
            )
            .optional(),
        ],
        ..READ
    },
    CommandSpec {
        name: "bf.insert",
        arity: -4,
        summary: "Adds one or more items to a Bloom Filter. A filter will be created if it does not exist",
        complexity: "O(k * n), where k is the number of hash functions and n is the number of items",
        arguments: &[
            key("key", 0),
            integer("capacity").token("CAPACITY").optional(),
            double("error").token("ERROR").optional(),
            EXPANSION,
            word("nocreate", "NOCREATE").optional(),
            NONSCALING,
            word("items", "ITEMS"),
            ITEMS,
        ],
        ..WRITE
    },
    CommandSpec {
        name: "bf.loadchunk",
        arity: 4,
        summary: "Restores a filter previously saved using SCANDUMP",
        complexity: "O(n), where n is the capacity",
        arguments: &[key("key", 0), integer("iterator"), string("data")],
        ..WRITE
    },
    CommandSpec {
        name: "bf.madd",
        arity: -3,
        summary: "Adds one or more items to a Bloom Filter. A filter will be created if it does not exist",
        complexity: "O(k * n), where k is the number of hash functions and n is the number of items",
        arguments: &[key("key", 0), ITEMS],
        ..WRITE
    },
    CommandSpec {
        name: "bf.mexists",
        arity: -3,
        summary: "Checks whether one or more items exist in a Bloom Filter",
        complexity: "O(k * n), where k is the number of hash functions and n is the number of items",
        arguments: &[key("key", 0), ITEMS],
        ..READ
    },
    CommandSpec {
        name: "bf.reserve",
        arity: -4,
        summary: "Creates a new Bloom Filter",
        complexity: "O(1)",
        arguments: &[
            key("key", 0),
            double("error_rate"),
            integer("capacity"),
            EXPANSION,
            NONSCALING,
        ],
        ..WRITE
    },
    CommandSpec {
        name: "bf.scandump",
        arity: 3,
        summary: "Begins an incremental save of the Bloom Filter",
        complexity: "O(n), where n is the capacity",
        arguments: &[key("key", 0), integer("iterator")],
        ..READ
    },
];
