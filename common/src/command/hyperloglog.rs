//! HyperLogLogs: approximate counting of distinct elements.

use super::bits::{categories, flags, key_flags};
use super::spec::arguments::{key, string};
use super::spec::{CommandSpec, DocFlags, Group, KeySpec, Keys};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::HyperLogLog);

/// Rows of the group, by name.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "pfadd",
        arity: -2,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, HYPERLOGLOG, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, INSERT])]),
        summary: "Adds the specified elements to the specified HyperLogLog.",
        complexity: "O(1) to add every element.",
        since: "2.8.9",
        arguments: &[key("key", 0), string("element").optional().multiple()],
        ..ROW
    },
    CommandSpec {
        name: "pfcount",
        arity: -2,
        flags: flags![READONLY, MAY_REPLICATE],
        categories: categories![READ, HYPERLOGLOG, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS]).range(-1, 1, 0).notes(
            "RW because it may change the internal representation of the key, and propagate \
                to replicas",
        )]),
        summary: "Return the approximated cardinality of the set(s) observed by the HyperLogLog at \
            key(s).",
        complexity: "O(1) with a very small average constant time when called with a single key. \
            O(N) with N being the number of keys, and much bigger constant times, when called with \
            multiple keys.",
        since: "2.8.9",
        arguments: &[key("key", 0).multiple()],
        ..ROW
    },
    CommandSpec {
        name: "pfdebug",
        arity: 3,
        flags: flags![WRITE, DENYOOM, ADMIN],
        categories: categories![WRITE, HYPERLOGLOG, ADMIN, SLOW, DANGEROUS],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RW, ACCESS])]),
        summary: "Internal commands for debugging HyperLogLog values",
        complexity: "N/A",
        since: "2.8.9",
        doc_flags: DocFlags::SYSCMD,
        arguments: &[string("subcommand"), key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "pfmerge",
        arity: -2,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, HYPERLOGLOG, SLOW],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![RW, ACCESS, INSERT]),
            KeySpec::at(2, key_flags![RO, ACCESS]).range(-1, 1, 0),
        ]),
        summary: "Merge N different HyperLogLogs into a single one.",
        complexity: "O(N) to merge N HyperLogLogs, but with high constant times.",
        since: "2.8.9",
        arguments: &[key("destkey", 0), key("sourcekey", 1).multiple()],
        ..ROW
    },
    CommandSpec {
        name: "pfselftest",
        arity: 1,
        flags: flags![ADMIN],
        categories: categories![HYPERLOGLOG, ADMIN, SLOW, DANGEROUS],
        summary: "An internal command for testing HyperLogLog values",
        complexity: "N/A",
        since: "2.8.9",
        doc_flags: DocFlags::SYSCMD,
        ..ROW
    },
];
