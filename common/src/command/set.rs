//! Sets: members without order.

use super::bits::{categories, flags, key_flags};
use super::spec::arguments::{integer, key, pattern, string};
use super::spec::{CommandSpec, Extractor, Group, KeySpec, Keys, Tips};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::Set);

/// Rows of the group, by name.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "sadd",
        arity: -3,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, SET, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, INSERT])]),
        summary: "Add one or more members to a set",
        complexity: "O(1) for each element added, so O(N) to add N elements when the command is \
            called with multiple arguments.",
        since: "1.0.0",
        history: &[("2.4.0", "Accepts multiple `member` arguments.")],
        arguments: &[key("key", 0), string("member").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "scard",
        arity: 2,
        flags: flags![READONLY, FAST],
        categories: categories![READ, SET, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO])]),
        summary: "Get the number of members in a set",
        complexity: "O(1)",
        since: "1.0.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "sdiff",
        arity: -2,
        flags: flags![READONLY],
        categories: categories![READ, SET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS]).range(-1, 1, 0)]),
        tips: Tips::of(&["nondeterministic_output_order"]),
        summary: "Subtract multiple sets",
        complexity: "O(N) where N is the total number of elements in all given sets.",
        since: "1.0.0",
        arguments: &[key("key", 0).multiple()],
        ..ROW
    },
    CommandSpec {
        name: "sdiffstore",
        arity: -3,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, SET, SLOW],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![OW, UPDATE]),
            KeySpec::at(2, key_flags![RO, ACCESS]).range(-1, 1, 0),
        ]),
        summary: "Subtract multiple sets and store the resulting set in a key",
        complexity: "O(N) where N is the total number of elements in all given sets.",
        since: "1.0.0",
        arguments: &[key("destination", 0), key("key", 1).multiple()],
        ..ROW
    },
    CommandSpec {
        name: "sinter",
        arity: -2,
        flags: flags![READONLY],
        categories: categories![READ, SET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS]).range(-1, 1, 0)]),
        tips: Tips::of(&["nondeterministic_output_order"]),
        summary: "Intersect multiple sets",
        complexity: "O(N*M) worst case where N is the cardinality of the smallest set and M is the \
            number of sets.",
        since: "1.0.0",
        arguments: &[key("key", 0).multiple()],
        ..ROW
    },
    CommandSpec {
        name: "sintercard",
        arity: -3,
        flags: flags![READONLY, MOVABLEKEYS],
        categories: categories![READ, SET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS]).counted(0, 1, 1)])
            .by(Extractor::Counted { count_at: 1, store: false }),
        summary: "Intersect multiple sets and return the cardinality of the result",
        complexity: "O(N*M) worst case where N is the cardinality of the smallest set and M is the \
            number of sets.",
        since: "7.0.0",
        arguments: &[
            integer("numkeys"),
            key("key", 0).multiple(),
            integer("limit").token("LIMIT").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "sinterstore",
        arity: -3,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, SET, SLOW],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![RW, UPDATE]),
            KeySpec::at(2, key_flags![RO, ACCESS]).range(-1, 1, 0),
        ]),
        summary: "Intersect multiple sets and store the resulting set in a key",
        complexity: "O(N*M) worst case where N is the cardinality of the smallest set and M is the \
            number of sets.",
        since: "1.0.0",
        arguments: &[key("destination", 0), key("key", 1).multiple()],
        ..ROW
    },
    CommandSpec {
        name: "sismember",
        arity: 3,
        flags: flags![READONLY, FAST],
        categories: categories![READ, SET, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO])]),
        summary: "Determine if a given value is a member of a set",
        complexity: "O(1)",
        since: "1.0.0",
        arguments: &[key("key", 0), string("member")],
        ..ROW
    },
    CommandSpec {
        name: "smembers",
        arity: 2,
        flags: flags![READONLY],
        categories: categories![READ, SET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        tips: Tips::of(&["nondeterministic_output_order"]),
        summary: "Get all the members in a set",
        complexity: "O(N) where N is the set cardinality.",
        since: "1.0.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "smismember",
        arity: -3,
        flags: flags![READONLY, FAST],
        categories: categories![READ, SET, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Returns the membership associated with the given elements for a set",
        complexity: "O(N) where N is the number of elements being checked for membership",
        since: "6.2.0",
        arguments: &[key("key", 0), string("member").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "smove",
        arity: 4,
        flags: flags![WRITE, FAST],
        categories: categories![WRITE, SET, FAST],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![RW, ACCESS, DELETE]),
            KeySpec::at(2, key_flags![RW, INSERT]),
        ]),
        summary: "Move a member from one set to another",
        complexity: "O(1)",
        since: "1.0.0",
        arguments: &[key("source", 0), key("destination", 1), string("member")],
        ..ROW
    },
    CommandSpec {
        name: "spop",
        arity: -2,
        flags: flags![WRITE, FAST],
        categories: categories![WRITE, SET, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, DELETE])]),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Remove and return one or multiple random members from a set",
        complexity: "Without the count argument O(1), otherwise O(N) where N is the value of the \
            passed count.",
        since: "1.0.0",
        history: &[("3.2.0", "Added the `count` argument.")],
        arguments: &[key("key", 0), integer("count").since("3.2.0").optional()],
        ..ROW
    },
    CommandSpec {
        name: "srandmember",
        arity: -2,
        flags: flags![READONLY],
        categories: categories![READ, SET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Get one or multiple random members from a set",
        complexity: "Without the count argument O(1), otherwise O(N) where N is the absolute value \
            of the passed count.",
        since: "1.0.0",
        history: &[("2.6.0", "Added the optional `count` argument.")],
        arguments: &[key("key", 0), integer("count").since("2.6.0").optional()],
        ..ROW
    },
    CommandSpec {
        name: "srem",
        arity: -3,
        flags: flags![WRITE, FAST],
        categories: categories![WRITE, SET, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, DELETE])]),
        summary: "Remove one or more members from a set",
        complexity: "O(N) where N is the number of members to be removed.",
        since: "1.0.0",
        history: &[("2.4.0", "Accepts multiple `member` arguments.")],
        arguments: &[key("key", 0), string("member").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "sscan",
        arity: -3,
        flags: flags![READONLY],
        categories: categories![READ, SET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Incrementally iterate Set elements",
        complexity: "O(1) for every call. O(N) for a complete iteration, including enough command \
            calls for the cursor to return back to 0. N is the number of elements inside the \
            collection..",
        since: "2.8.0",
        arguments: &[
            key("key", 0),
            integer("cursor"),
            pattern("pattern").token("MATCH").optional(),
            integer("count").token("COUNT").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "sunion",
        arity: -2,
        flags: flags![READONLY],
        categories: categories![READ, SET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS]).range(-1, 1, 0)]),
        tips: Tips::of(&["nondeterministic_output_order"]),
        summary: "Add multiple sets",
        complexity: "O(N) where N is the total number of elements in all given sets.",
        since: "1.0.0",
        arguments: &[key("key", 0).multiple()],
        ..ROW
    },
    CommandSpec {
        name: "sunionstore",
        arity: -3,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, SET, SLOW],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![OW, UPDATE]),
            KeySpec::at(2, key_flags![RO, ACCESS]).range(-1, 1, 0),
        ]),
        summary: "Add multiple sets and store the resulting set in a key",
        complexity: "O(N) where N is the total number of elements in all given sets.",
        since: "1.0.0",
        arguments: &[key("destination", 0), key("key", 1).multiple()],
        ..ROW
    },
];
