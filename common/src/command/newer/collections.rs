//! Lists and sets: many elements at once, and counts (Redis 8.10).

use crate::command::bits::{categories, flags, key_flags};
use crate::command::spec::arguments::{block, double, integer, key, one_of, word};
use crate::command::spec::{Argument, CommandSpec, Extractor, Group, KeySpec, Keys};

const FROM: Argument = one_of("wherefrom", &[word("left", "LEFT"), word("right", "RIGHT")]);
const TO: Argument = one_of("whereto", &[word("left", "LEFT"), word("right", "RIGHT")]);
const HOW_MANY: Argument = block(
    "how-many",
    &[
        one_of("selector", &[integer("count").token("COUNT"), integer("exactly").token("EXACTLY")]),
        one_of("ordering", &[word("obo", "OBO"), word("bulk", "BULK")]),
    ],
)
.optional();

/// What LMOVEM and BLMOVEM have in common.
const MOVE: CommandSpec = CommandSpec {
    keys: Keys::of(&[
        KeySpec::at(1, key_flags![RW, ACCESS, DELETE]),
        KeySpec::at(2, key_flags![RW, INSERT]),
    ]),
    complexity: "O(N) where N is the number of elements moved.",
    since: "8.10.0",
    ..CommandSpec::of(Group::List)
};

/// What SDIFFCARD and SUNIONCARD have in common.
const CARD: CommandSpec = CommandSpec {
    arity: -3,
    flags: flags![READONLY, MOVABLEKEYS],
    categories: categories![READ, SET, SLOW],
    keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS]).counted(0, 1, 1)])
        .by(Extractor::Counted { count_at: 1, store: false }),
    complexity: "O(N) where N is the total number of elements in all given sets.",
    since: "8.10.0",
    ..CommandSpec::of(Group::Set)
};

/// Rows, by name.
pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "blmovem",
        arity: -6,
        flags: flags![WRITE, DENYOOM, NOSCRIPT, BLOCKING],
        categories: categories![WRITE, LIST, SLOW, BLOCKING],
        summary: "Moves up to (or exactly) a number of elements from one list to another and returns them. \
            Blocks until the elements are available otherwise. Deletes the source list if it becomes empty.",
        arguments: &[
            key("source", 0),
            key("destination", 1),
            FROM,
            TO,
            double("timeout"),
            HOW_MANY,
        ],
        ..MOVE
    },
    CommandSpec {
        name: "lmovem",
        arity: -5,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, LIST, SLOW],
        summary: "Moves up to (or exactly) a number of elements from one list to another and returns them. \
            Deletes the source list if it becomes empty.",
        arguments: &[key("source", 0), key("destination", 1), FROM, TO, HOW_MANY],
        ..MOVE
    },
    CommandSpec {
        name: "sdiffcard",
        summary: "Returns the number of members of the difference between the first set and all successive \
            sets.",
        arguments: &[
            integer("numkeys"),
            key("key", 0).multiple(),
            integer("limit").token("LIMIT").optional(),
        ],
        ..CARD
    },
    CommandSpec {
        name: "sunioncard",
        summary: "Returns the number of members of the union of multiple sets.",
        arguments: &[
            integer("numkeys"),
            key("key", 0).multiple(),
            word("approx", "APPROX").optional(),
            integer("limit").token("LIMIT").optional(),
        ],
        ..CARD
    },
];
