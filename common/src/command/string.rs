//! Strings: bytes and counters.

use super::bits::{categories, flags, key_flags};
use super::spec::arguments::{block, double, integer, key, one_of, string, unix_time, word};
use super::spec::{CommandSpec, DocFlags, Extractor, Group, KeySpec, Keys, Tips};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::String);

/// Rows of the group, by name.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "append",
        arity: 3,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, STRING, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, INSERT])]),
        summary: "Append a value to a key",
        complexity: "O(1). The amortized time complexity is O(1) assuming the appended value is \
            small and the already present value is of any size, since the dynamic string library \
            used by Redis will double the free space available on every reallocation.",
        since: "2.0.0",
        arguments: &[key("key", 0), string("value")],
        ..ROW
    },
    CommandSpec {
        name: "decr",
        arity: 2,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, STRING, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, UPDATE])]),
        summary: "Decrement the integer value of a key by one",
        complexity: "O(1)",
        since: "1.0.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "decrby",
        arity: 3,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, STRING, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, UPDATE])]),
        summary: "Decrement the integer value of a key by the given number",
        complexity: "O(1)",
        since: "1.0.0",
        arguments: &[key("key", 0), integer("decrement")],
        ..ROW
    },
    CommandSpec {
        name: "get",
        arity: 2,
        flags: flags![READONLY, FAST],
        categories: categories![READ, STRING, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Get the value of a key",
        complexity: "O(1)",
        since: "1.0.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "getdel",
        arity: 2,
        flags: flags![WRITE, FAST],
        categories: categories![WRITE, STRING, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, DELETE])]),
        summary: "Get the value of a key and delete the key",
        complexity: "O(1)",
        since: "6.2.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "getex",
        arity: -2,
        flags: flags![WRITE, FAST],
        categories: categories![WRITE, STRING, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, UPDATE])
            .notes("RW and UPDATE because it changes the TTL")]),
        summary: "Get the value of a key and optionally set its expiration",
        complexity: "O(1)",
        since: "6.2.0",
        arguments: &[
            key("key", 0),
            one_of(
                "expiration",
                &[
                    integer("seconds").token("EX"),
                    integer("milliseconds").token("PX"),
                    unix_time("unix-time-seconds").token("EXAT"),
                    unix_time("unix-time-milliseconds").token("PXAT"),
                    word("persist", "PERSIST"),
                ],
            )
            .optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "getrange",
        arity: 4,
        flags: flags![READONLY],
        categories: categories![READ, STRING, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Get a substring of the string stored at a key",
        complexity: "O(N) where N is the length of the returned string. The complexity is \
            ultimately determined by the returned length, but because creating a substring from an \
            existing string is very cheap, it can be considered O(1) for small strings.",
        since: "2.4.0",
        arguments: &[key("key", 0), integer("start"), integer("end")],
        ..ROW
    },
    CommandSpec {
        name: "getset",
        arity: 3,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, STRING, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, UPDATE])]),
        summary: "Set the string value of a key and return its old value",
        complexity: "O(1)",
        since: "1.0.0",
        doc_flags: DocFlags::DEPRECATED,
        deprecated_since: "6.2.0",
        replaced_by: "`SET` with the `!GET` argument",
        arguments: &[key("key", 0), string("value")],
        ..ROW
    },
    CommandSpec {
        name: "incr",
        arity: 2,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, STRING, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, UPDATE])]),
        summary: "Increment the integer value of a key by one",
        complexity: "O(1)",
        since: "1.0.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "incrby",
        arity: 3,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, STRING, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, UPDATE])]),
        summary: "Increment the integer value of a key by the given amount",
        complexity: "O(1)",
        since: "1.0.0",
        arguments: &[key("key", 0), integer("increment")],
        ..ROW
    },
    CommandSpec {
        name: "incrbyfloat",
        arity: 3,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, STRING, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, UPDATE])]),
        summary: "Increment the float value of a key by the given amount",
        complexity: "O(1)",
        since: "2.6.0",
        arguments: &[key("key", 0), double("increment")],
        ..ROW
    },
    CommandSpec {
        name: "lcs",
        arity: -3,
        flags: flags![READONLY],
        categories: categories![READ, STRING, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS]).range(1, 1, 0)]),
        summary: "Find longest common substring",
        complexity: "O(N*M) where N and M are the lengths of s1 and s2, respectively",
        since: "7.0.0",
        arguments: &[
            key("key1", 0),
            key("key2", 0),
            word("len", "LEN").optional(),
            word("idx", "IDX").optional(),
            integer("len").token("MINMATCHLEN").optional(),
            word("withmatchlen", "WITHMATCHLEN").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "mget",
        arity: -2,
        flags: flags![READONLY, FAST],
        categories: categories![READ, STRING, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS]).range(-1, 1, 0)]),
        tips: Tips::of(&["request_policy:multi_shard"]),
        summary: "Get the values of all the given keys",
        complexity: "O(N) where N is the number of keys to retrieve.",
        since: "1.0.0",
        arguments: &[key("key", 0).multiple()],
        ..ROW
    },
    CommandSpec {
        name: "mset",
        arity: -3,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, STRING, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![OW, UPDATE]).range(-1, 2, 0)]),
        tips: Tips::of(&["request_policy:multi_shard", "response_policy:all_succeeded"]),
        summary: "Set multiple keys to multiple values",
        complexity: "O(N) where N is the number of keys to set.",
        since: "1.0.1",
        arguments: &[block("key_value", &[key("key", 0), string("value")]).multiple()],
        ..ROW
    },
    CommandSpec {
        name: "msetnx",
        arity: -3,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, STRING, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![OW, INSERT]).range(-1, 2, 0)]),
        tips: Tips::of(&["request_policy:multi_shard", "response_policy:agg_min"]),
        summary: "Set multiple keys to multiple values, only if none of the keys exist",
        complexity: "O(N) where N is the number of keys to set.",
        since: "1.0.1",
        arguments: &[block("key_value", &[key("key", 0), string("value")]).multiple()],
        ..ROW
    },
    CommandSpec {
        name: "psetex",
        arity: 4,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, STRING, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![OW, UPDATE])]),
        summary: "Set the value and expiration in milliseconds of a key",
        complexity: "O(1)",
        since: "2.6.0",
        arguments: &[key("key", 0), integer("milliseconds"), string("value")],
        ..ROW
    },
    CommandSpec {
        name: "set",
        arity: -3,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, STRING, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, UPDATE, VARIABLE_FLAGS])
            .notes("RW and ACCESS due to the optional `GET` argument")])
        .by(Extractor::Set),
        summary: "Set the string value of a key",
        complexity: "O(1)",
        since: "1.0.0",
        history: &[
            ("2.6.12", "Added the `EX`, `PX`, `NX` and `XX` options."),
            ("6.0.0", "Added the `KEEPTTL` option."),
            ("6.2.0", "Added the `GET`, `EXAT` and `PXAT` option."),
            ("7.0.0", "Allowed the `NX` and `GET` options to be used together."),
        ],
        arguments: &[
            key("key", 0),
            string("value"),
            one_of("condition", &[word("nx", "NX"), word("xx", "XX")]).since("2.6.12").optional(),
            word("get", "GET").since("6.2.0").optional(),
            one_of(
                "expiration",
                &[
                    integer("seconds").token("EX").since("2.6.12"),
                    integer("milliseconds").token("PX").since("2.6.12"),
                    unix_time("unix-time-seconds").token("EXAT").since("6.2.0"),
                    unix_time("unix-time-milliseconds").token("PXAT").since("6.2.0"),
                    word("keepttl", "KEEPTTL").since("6.0.0"),
                ],
            )
            .optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "setex",
        arity: 4,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, STRING, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![OW, UPDATE])]),
        summary: "Set the value and expiration of a key",
        complexity: "O(1)",
        since: "2.0.0",
        arguments: &[key("key", 0), integer("seconds"), string("value")],
        ..ROW
    },
    CommandSpec {
        name: "setnx",
        arity: 3,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, STRING, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![OW, INSERT])]),
        summary: "Set the value of a key, only if the key does not exist",
        complexity: "O(1)",
        since: "1.0.0",
        arguments: &[key("key", 0), string("value")],
        ..ROW
    },
    CommandSpec {
        name: "setrange",
        arity: 4,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, STRING, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE])]),
        summary: "Overwrite part of a string at key starting at the specified offset",
        complexity: "O(1), not counting the time taken to copy the new string in place. Usually, \
            this string is very small so the amortized complexity is O(1). Otherwise, complexity \
            is O(M) with M being the length of the value argument.",
        since: "2.2.0",
        arguments: &[key("key", 0), integer("offset"), string("value")],
        ..ROW
    },
    CommandSpec {
        name: "strlen",
        arity: 2,
        flags: flags![READONLY, FAST],
        categories: categories![READ, STRING, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO])]),
        summary: "Get the length of the value stored in a key",
        complexity: "O(1)",
        since: "2.2.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "substr",
        arity: 4,
        flags: flags![READONLY],
        categories: categories![READ, STRING, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Get a substring of the string stored at a key",
        complexity: "O(N) where N is the length of the returned string. The complexity is \
            ultimately determined by the returned length, but because creating a substring from an \
            existing string is very cheap, it can be considered O(1) for small strings.",
        since: "1.0.0",
        doc_flags: DocFlags::DEPRECATED,
        deprecated_since: "2.0.0",
        replaced_by: "`GETRANGE`",
        arguments: &[key("key", 0), integer("start"), integer("end")],
        ..ROW
    },
];
