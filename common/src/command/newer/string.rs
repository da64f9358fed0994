//! Strings: on a condition, several at once, and counters with bounds.

use super::{MILLISECONDS, SECONDS, UNIX_MILLISECONDS, UNIX_SECONDS};
use crate::command::bits::{categories, flags, key_flags};
use crate::command::spec::arguments::{block, double, integer, key, one_of, string, word};
use crate::command::spec::{CommandSpec, Extractor, Group, KeySpec, Keys};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::String);

/// Rows of the group, by name.
pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "delex",
        arity: -2,
        flags: flags![WRITE, FAST],
        categories: categories![WRITE, STRING, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, DELETE])]),
        summary: "Conditionally removes the specified key based on value or digest comparison.",
        complexity: "O(1) for IFEQ/IFNE, O(N) for IFDEQ/IFDNE where N is the length of the string \
            value.",
        since: "8.4.0",
        arguments: &[
            key("key", 0),
            one_of(
                "condition",
                &[
                    string("ifeq-value").token("IFEQ"),
                    string("ifne-value").token("IFNE"),
                    string("ifdeq-digest").token("IFDEQ"),
                    string("ifdne-digest").token("IFDNE"),
                ],
            )
            .optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "delifeq",
        arity: 3,
        flags: flags![WRITE, FAST],
        categories: categories![WRITE, STRING, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, DELETE])]),
        summary: "Delete key if value matches string.",
        complexity: "O(1)",
        since: "9.0.0",
        arguments: &[key("key", 0), string("value")],
        ..ROW
    },
    CommandSpec {
        name: "digest",
        arity: 2,
        flags: flags![READONLY, FAST],
        categories: categories![READ, STRING, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Returns the XXH3 hash of a string value.",
        complexity: "O(N) where N is the length of the string value.",
        since: "8.4.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "increx",
        arity: -2,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, STRING, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, UPDATE])]),
        summary: "Increments the numeric value of a key by a number and sets its expiration time. Uses 0 as \
            initial value if the key doesn't exist.",
        complexity: "O(1)",
        since: "8.8.0",
        arguments: &[
            key("key", 0),
            one_of(
                "increment",
                &[double("float").token("BYFLOAT"), integer("integer").token("BYINT")],
            )
            .optional(),
            string("lowerbound").token("LBOUND").optional(),
            string("upperbound").token("UBOUND").optional(),
            word("saturate", "SATURATE").optional(),
            one_of(
                "expiration",
                &[
                    SECONDS,
                    MILLISECONDS,
                    UNIX_SECONDS,
                    UNIX_MILLISECONDS,
                    word("persist", "PERSIST"),
                ],
            )
            .optional(),
            word("enx", "ENX").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "msetex",
        arity: -4,
        flags: flags![WRITE, DENYOOM, MOVABLEKEYS],
        categories: categories![WRITE, STRING, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![OW, UPDATE]).counted(0, 1, 2)])
            .by(Extractor::CountedPairs { count_at: 1 }),
        summary: "Atomically sets multiple string keys with a shared expiration in a single operation.",
        complexity: "O(N) where N is the number of keys to set.",
        since: "8.4.0",
        arguments: &[
            integer("numkeys"),
            block("data", &[key("key", 0), string("value")]).multiple(),
            one_of("condition", &[word("nx", "NX"), word("xx", "XX")]).optional(),
            one_of(
                "expiration",
                &[
                    SECONDS,
                    MILLISECONDS,
                    UNIX_SECONDS,
                    UNIX_MILLISECONDS,
                    word("keepttl", "KEEPTTL"),
                ],
            )
            .optional(),
        ],
        ..ROW
    },
];
