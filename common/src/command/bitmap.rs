//! Bitmaps: strings seen as bits and small integers.

use super::bits::{categories, flags, key_flags};
use super::spec::arguments::{block, integer, key, one_of, string, word};
use super::spec::{CommandSpec, Extractor, Group, KeySpec, Keys};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::Bitmap);

/// Rows of the group, by name.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "bitcount",
        arity: -2,
        flags: flags![READONLY],
        categories: categories![READ, BITMAP, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Count set bits in a string",
        complexity: "O(N)",
        since: "2.6.0",
        history: &[("7.0.0", "Added the `BYTE|BIT` option.")],
        arguments: &[
            key("key", 0),
            block(
                "index",
                &[
                    integer("start"),
                    integer("end"),
                    one_of("index_unit", &[word("byte", "BYTE"), word("bit", "BIT")])
                        .since("7.0.0")
                        .optional(),
                ],
            )
            .optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "bitfield",
        arity: -2,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, BITMAP, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, UPDATE, VARIABLE_FLAGS])
            .notes("This command allows both access and modification of the key")])
        .by(Extractor::BitField),
        summary: "Perform arbitrary bitfield integer operations on strings",
        complexity: "O(1) for each subcommand specified",
        since: "3.2.0",
        arguments: &[
            key("key", 0),
            one_of(
                "operation",
                &[
                    block("encoding_offset", &[string("encoding"), integer("offset")]).token("GET"),
                    block(
                        "write",
                        &[
                            one_of(
                                "wrap_sat_fail",
                                &[word("wrap", "WRAP"), word("sat", "SAT"), word("fail", "FAIL")],
                            )
                            .token("OVERFLOW")
                            .optional(),
                            one_of(
                                "write_operation",
                                &[
                                    block(
                                        "encoding_offset_value",
                                        &[string("encoding"), integer("offset"), integer("value")],
                                    )
                                    .token("SET"),
                                    block(
                                        "encoding_offset_increment",
                                        &[
                                            string("encoding"),
                                            integer("offset"),
                                            integer("increment"),
                                        ],
                                    )
                                    .token("INCRBY"),
                                ],
                            ),
                        ],
                    ),
                ],
            )
            .optional()
            .multiple(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "bitfield_ro",
        arity: -2,
        flags: flags![READONLY, FAST],
        categories: categories![READ, BITMAP, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Perform arbitrary bitfield integer operations on strings. Read-only variant of \
            BITFIELD",
        complexity: "O(1) for each subcommand specified",
        since: "6.0.0",
        arguments: &[
            key("key", 0),
            block("encoding_offset", &[string("encoding"), integer("offset")])
                .token("GET")
                .optional()
                .multiple()
                .multiple_token(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "bitop",
        arity: -4,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, BITMAP, SLOW],
        keys: Keys::of(&[
            KeySpec::at(2, key_flags![OW, UPDATE]),
            KeySpec::at(3, key_flags![RO, ACCESS]).range(-1, 1, 0),
        ]),
        summary: "Perform bitwise operations between strings",
        complexity: "O(N)",
        since: "2.6.0",
        arguments: &[string("operation"), key("destkey", 0), key("key", 1).multiple()],
        ..ROW
    },
    CommandSpec {
        name: "bitpos",
        arity: -3,
        flags: flags![READONLY],
        categories: categories![READ, BITMAP, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Find first bit set or clear in a string",
        complexity: "O(N)",
        since: "2.8.7",
        history: &[("7.0.0", "Added the `BYTE|BIT` option.")],
        arguments: &[
            key("key", 0),
            integer("bit"),
            block(
                "index",
                &[
                    integer("start"),
                    block(
                        "end_index",
                        &[
                            integer("end"),
                            one_of("index_unit", &[word("byte", "BYTE"), word("bit", "BIT")])
                                .since("7.0.0")
                                .optional(),
                        ],
                    )
                    .optional(),
                ],
            )
            .optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "getbit",
        arity: 3,
        flags: flags![READONLY, FAST],
        categories: categories![READ, BITMAP, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Returns the bit value at offset in the string value stored at key",
        complexity: "O(1)",
        since: "2.2.0",
        arguments: &[key("key", 0), integer("offset")],
        ..ROW
    },
    CommandSpec {
        name: "setbit",
        arity: 4,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, BITMAP, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, UPDATE])]),
        summary: "Sets or clears the bit at offset in the string value stored at key",
        complexity: "O(1)",
        since: "2.2.0",
        arguments: &[key("key", 0), integer("offset"), integer("value")],
        ..ROW
    },
];
