//! Keys of any type.

use super::bits::{categories, flags, key_flags};
use super::spec::arguments::{block, integer, key, one_of, pattern, string, unix_time, word};
use super::spec::{CommandSpec, Extractor, Group, KeySpec, Keys, Tips};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::Generic);

/// Rows of the group, by name.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "copy",
        arity: -3,
        flags: flags![WRITE, DENYOOM],
        categories: categories![KEYSPACE, WRITE, SLOW],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![RO, ACCESS]),
            KeySpec::at(2, key_flags![OW, UPDATE]),
        ]),
        summary: "Copy a key",
        complexity: "O(N) worst case for collections, where N is the number of nested items. O(1) \
            for string values.",
        since: "6.2.0",
        arguments: &[
            key("source", 0),
            key("destination", 1),
            integer("destination-db").token("DB").optional(),
            word("replace", "REPLACE").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "del",
        arity: -2,
        flags: flags![WRITE],
        categories: categories![KEYSPACE, WRITE, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RM, DELETE]).range(-1, 1, 0)]),
        tips: Tips::of(&["request_policy:multi_shard", "response_policy:agg_sum"]),
        summary: "Delete a key",
        complexity: "O(N) where N is the number of keys that will be removed. When a key to remove \
            holds a value other than a string, the individual complexity for this key is O(M) \
            where M is the number of elements in the list, set, sorted set or hash. Removing a \
            single key that holds a string value is O(1).",
        since: "1.0.0",
        arguments: &[key("key", 0).multiple()],
        ..ROW
    },
    CommandSpec {
        name: "dump",
        arity: 2,
        flags: flags![READONLY],
        categories: categories![KEYSPACE, READ, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Return a serialized version of the value stored at the specified key.",
        complexity: "O(1) to access the key and additional O(N*M) to serialize it, where N is the \
            number of Redis objects composing the value and M their average size. For small string \
            values the time complexity is thus O(1)+O(1*M) where M is small, so simply O(1).",
        since: "2.6.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "exists",
        arity: -2,
        flags: flags![READONLY, FAST],
        categories: categories![KEYSPACE, READ, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO]).range(-1, 1, 0)]),
        tips: Tips::of(&["request_policy:multi_shard", "response_policy:agg_sum"]),
        summary: "Determine if a key exists",
        complexity: "O(N) where N is the number of keys to check.",
        since: "1.0.0",
        history: &[("3.0.3", "Accepts multiple `key` arguments.")],
        arguments: &[key("key", 0).multiple()],
        ..ROW
    },
    CommandSpec {
        name: "expire",
        arity: -3,
        flags: flags![WRITE, FAST],
        categories: categories![KEYSPACE, WRITE, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE])]),
        summary: "Set a key's time to live in seconds",
        complexity: "O(1)",
        since: "1.0.0",
        history: &[("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`.")],
        arguments: &[
            key("key", 0),
            integer("seconds"),
            one_of(
                "condition",
                &[word("nx", "NX"), word("xx", "XX"), word("gt", "GT"), word("lt", "LT")],
            )
            .since("7.0.0")
            .optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "expireat",
        arity: -3,
        flags: flags![WRITE, FAST],
        categories: categories![KEYSPACE, WRITE, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE])]),
        summary: "Set the expiration for a key as a UNIX timestamp",
        complexity: "O(1)",
        since: "1.2.0",
        history: &[("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`.")],
        arguments: &[
            key("key", 0),
            unix_time("unix-time-seconds"),
            one_of(
                "condition",
                &[word("nx", "NX"), word("xx", "XX"), word("gt", "GT"), word("lt", "LT")],
            )
            .since("7.0.0")
            .optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "expiretime",
        arity: 2,
        flags: flags![READONLY, FAST],
        categories: categories![KEYSPACE, READ, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Get the expiration Unix timestamp for a key",
        complexity: "O(1)",
        since: "7.0.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "keys",
        arity: 2,
        flags: flags![READONLY],
        categories: categories![KEYSPACE, READ, SLOW, DANGEROUS],
        tips: Tips::of(&["request_policy:all_shards", "nondeterministic_output_order"]),
        summary: "Find all keys matching the given pattern",
        complexity: "O(N) with N being the number of keys in the database, under the assumption \
            that the key names in the database and the given pattern have limited length.",
        since: "1.0.0",
        arguments: &[pattern("pattern")],
        ..ROW
    },
    CommandSpec {
        name: "migrate",
        arity: -6,
        flags: flags![WRITE, MOVABLEKEYS],
        categories: categories![KEYSPACE, WRITE, SLOW, DANGEROUS],
        keys: Keys::of(&[
            KeySpec::at(3, key_flags![RW, ACCESS, DELETE]),
            KeySpec::after("KEYS", -2, key_flags![RW, ACCESS, DELETE, INCOMPLETE]).range(-1, 1, 0),
        ])
        .by(Extractor::Migrate),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Atomically transfer a key from a Redis instance to another one.",
        complexity: "This command actually executes a DUMP+DEL in the source instance, and a \
            RESTORE in the target instance. See the pages of these commands for time complexity. \
            Also an O(N) data transfer between the two instances is performed.",
        since: "2.6.0",
        history: &[
            ("3.0.0", "Added the `COPY` and `REPLACE` options."),
            ("3.0.6", "Added the `KEYS` option."),
            ("4.0.7", "Added the `AUTH` option."),
            ("6.0.0", "Added the `AUTH2` option."),
        ],
        arguments: &[
            string("host"),
            integer("port"),
            one_of("key_or_empty_string", &[key("key", 0), word("empty_string", "")]),
            integer("destination-db"),
            integer("timeout"),
            word("copy", "COPY").since("3.0.0").optional(),
            word("replace", "REPLACE").since("3.0.0").optional(),
            one_of(
                "authentication",
                &[
                    string("password").token("AUTH").since("4.0.7").optional(),
                    block("username_password", &[string("username"), string("password")])
                        .token("AUTH2")
                        .since("6.0.0")
                        .optional(),
                ],
            )
            .optional(),
            key("key", 1).token("KEYS").since("3.0.6").optional().multiple(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "move",
        arity: 3,
        flags: flags![WRITE, FAST],
        categories: categories![KEYSPACE, WRITE, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, UPDATE])]),
        summary: "Move a key to another database",
        complexity: "O(1)",
        since: "1.0.0",
        arguments: &[key("key", 0), integer("db")],
        ..ROW
    },
    CommandSpec {
        name: "object",
        arity: -2,
        flags: flags![],
        categories: categories![SLOW],
        summary: "A container for object introspection commands",
        complexity: "Depends on subcommand.",
        since: "2.2.3",
        declared: OBJECT,
        ..ROW
    },
    CommandSpec {
        name: "persist",
        arity: 2,
        flags: flags![WRITE, FAST],
        categories: categories![KEYSPACE, WRITE, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE])]),
        summary: "Remove the expiration from a key",
        complexity: "O(1)",
        since: "2.2.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "pexpire",
        arity: -3,
        flags: flags![WRITE, FAST],
        categories: categories![KEYSPACE, WRITE, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE])]),
        summary: "Set a key's time to live in milliseconds",
        complexity: "O(1)",
        since: "2.6.0",
        history: &[("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`.")],
        arguments: &[
            key("key", 0),
            integer("milliseconds"),
            one_of(
                "condition",
                &[word("nx", "NX"), word("xx", "XX"), word("gt", "GT"), word("lt", "LT")],
            )
            .since("7.0.0")
            .optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "pexpireat",
        arity: -3,
        flags: flags![WRITE, FAST],
        categories: categories![KEYSPACE, WRITE, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE])]),
        summary: "Set the expiration for a key as a UNIX timestamp specified in milliseconds",
        complexity: "O(1)",
        since: "2.6.0",
        history: &[("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`.")],
        arguments: &[
            key("key", 0),
            unix_time("unix-time-milliseconds"),
            one_of(
                "condition",
                &[word("nx", "NX"), word("xx", "XX"), word("gt", "GT"), word("lt", "LT")],
            )
            .since("7.0.0")
            .optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "pexpiretime",
        arity: 2,
        flags: flags![READONLY, FAST],
        categories: categories![KEYSPACE, READ, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Get the expiration Unix timestamp for a key in milliseconds",
        complexity: "O(1)",
        since: "7.0.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "pttl",
        arity: 2,
        flags: flags![READONLY, FAST],
        categories: categories![KEYSPACE, READ, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Get the time to live for a key in milliseconds",
        complexity: "O(1)",
        since: "2.6.0",
        history: &[("2.8.0", "Added the -2 reply.")],
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "randomkey",
        arity: 1,
        flags: flags![READONLY, TOUCHES_ARBITRARY_KEYS],
        categories: categories![KEYSPACE, READ, SLOW],
        tips: Tips::of(&["request_policy:all_shards", "nondeterministic_output"]),
        summary: "Return a random key from the keyspace",
        complexity: "O(1)",
        since: "1.0.0",
        ..ROW
    },
    CommandSpec {
        name: "rename",
        arity: 3,
        flags: flags![WRITE],
        categories: categories![KEYSPACE, WRITE, SLOW],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![RW, ACCESS, DELETE]),
            KeySpec::at(2, key_flags![OW, UPDATE]),
        ]),
        summary: "Rename a key",
        complexity: "O(1)",
        since: "1.0.0",
        arguments: &[key("key", 0), key("newkey", 1)],
        ..ROW
    },
    CommandSpec {
        name: "renamenx",
        arity: 3,
        flags: flags![WRITE, FAST],
        categories: categories![KEYSPACE, WRITE, FAST],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![RW, ACCESS, DELETE]),
            KeySpec::at(2, key_flags![OW, INSERT]),
        ]),
        summary: "Rename a key, only if the new key does not exist",
        complexity: "O(1)",
        since: "1.0.0",
        history: &[(
            "3.2.0",
            "The command no longer returns an error when source and destination \
            names are the same.",
        )],
        arguments: &[key("key", 0), key("newkey", 1)],
        ..ROW
    },
    CommandSpec {
        name: "restore",
        arity: -4,
        flags: flags![WRITE, DENYOOM],
        categories: categories![KEYSPACE, WRITE, SLOW, DANGEROUS],
        keys: Keys::of(&[KeySpec::at(1, key_flags![OW, UPDATE])]),
        summary: "Create a key using the provided serialized value, previously obtained using \
            DUMP.",
        complexity: "O(1) to create the new key and additional O(N*M) to reconstruct the \
            serialized value, where N is the number of Redis objects composing the value and M \
            their average size. For small string values the time complexity is thus O(1)+O(1*M) \
            where M is small, so simply O(1). However for sorted set values the complexity is \
            O(N*M*log(N)) because inserting values into sorted sets is O(log(N)).",
        since: "2.6.0",
        history: &[
            ("3.0.0", "Added the `REPLACE` modifier."),
            ("5.0.0", "Added the `ABSTTL` modifier."),
            ("5.0.0", "Added the `IDLETIME` and `FREQ` options."),
        ],
        arguments: &[
            key("key", 0),
            integer("ttl"),
            string("serialized-value"),
            word("replace", "REPLACE").since("3.0.0").optional(),
            word("absttl", "ABSTTL").since("5.0.0").optional(),
            integer("seconds").token("IDLETIME").since("5.0.0").optional(),
            integer("frequency").token("FREQ").since("5.0.0").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "scan",
        arity: -2,
        flags: flags![READONLY, TOUCHES_ARBITRARY_KEYS],
        categories: categories![KEYSPACE, READ, SLOW],
        tips: Tips::of(&["nondeterministic_output", "request_policy:special"]),
        summary: "Incrementally iterate the keys space",
        complexity: "O(1) for every call. O(N) for a complete iteration, including enough command \
            calls for the cursor to return back to 0. N is the number of elements inside the \
            collection.",
        since: "2.8.0",
        history: &[("6.0.0", "Added the `TYPE` subcommand.")],
        arguments: &[
            integer("cursor"),
            pattern("pattern").token("MATCH").optional(),
            integer("count").token("COUNT").optional(),
            string("type").token("TYPE").since("6.0.0").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "sort",
        arity: -2,
        flags: flags![WRITE, DENYOOM, MOVABLEKEYS],
        categories: categories![WRITE, SET, SORTEDSET, LIST, SLOW, DANGEROUS],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![RO, ACCESS]),
            KeySpec::unknown(key_flags![RO, ACCESS]).notes(
                "For the optional BY/GET keyword. It is marked 'unknown' because the key \
                    names derive from the content of the key we sort",
            ),
            KeySpec::unknown(key_flags![OW, UPDATE]).notes(
                "For the optional STORE keyword. It is marked 'unknown' because the keyword \
                    can appear anywhere in the argument array",
            ),
        ])
        .by(Extractor::Sort),
        summary: "Sort the elements in a list, set or sorted set",
        complexity: "O(N+M*log(M)) where N is the number of elements in the list or set to sort, \
            and M the number of returned elements. When the elements are not sorted, complexity is \
            O(N).",
        since: "1.0.0",
        arguments: &[
            key("key", 0),
            pattern("pattern").by_key_spec(1).token("BY").optional(),
            block("offset_count", &[integer("offset"), integer("count")]).token("LIMIT").optional(),
            pattern("pattern").by_key_spec(1).token("GET").optional().multiple().multiple_token(),
            one_of("order", &[word("asc", "ASC"), word("desc", "DESC")]).optional(),
            word("sorting", "ALPHA").optional(),
            key("destination", 2).token("STORE").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "sort_ro",
        arity: -2,
        flags: flags![READONLY, MOVABLEKEYS],
        categories: categories![READ, SET, SORTEDSET, LIST, SLOW, DANGEROUS],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![RO, ACCESS]),
            KeySpec::unknown(key_flags![RO, ACCESS]).notes(
                "For the optional BY/GET keyword. It is marked 'unknown' because the key \
                    names derive from the content of the key we sort",
            ),
        ])
        .by(Extractor::SortRo),
        summary: "Sort the elements in a list, set or sorted set. Read-only variant of SORT.",
        complexity: "O(N+M*log(M)) where N is the number of elements in the list or set to sort, \
            and M the number of returned elements. When the elements are not sorted, complexity is \
            O(N).",
        since: "7.0.0",
        arguments: &[
            key("key", 0),
            pattern("pattern").by_key_spec(1).token("BY").optional(),
            block("offset_count", &[integer("offset"), integer("count")]).token("LIMIT").optional(),
            pattern("pattern").by_key_spec(1).token("GET").optional().multiple().multiple_token(),
            one_of("order", &[word("asc", "ASC"), word("desc", "DESC")]).optional(),
            word("sorting", "ALPHA").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "touch",
        arity: -2,
        flags: flags![READONLY, FAST],
        categories: categories![KEYSPACE, READ, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO]).range(-1, 1, 0)]),
        tips: Tips::of(&["request_policy:multi_shard", "response_policy:agg_sum"]),
        summary: "Alters the last access time of a key(s). Returns the number of existing keys \
            specified.",
        complexity: "O(N) where N is the number of keys that will be touched.",
        since: "3.2.1",
        arguments: &[key("key", 0).multiple()],
        ..ROW
    },
    CommandSpec {
        name: "ttl",
        arity: 2,
        flags: flags![READONLY, FAST],
        categories: categories![KEYSPACE, READ, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Get the time to live for a key in seconds",
        complexity: "O(1)",
        since: "1.0.0",
        history: &[("2.8.0", "Added the -2 reply.")],
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "type",
        arity: 2,
        flags: flags![READONLY, FAST],
        categories: categories![KEYSPACE, READ, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO])]),
        summary: "Determine the type stored at key",
        complexity: "O(1)",
        since: "1.0.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "unlink",
        arity: -2,
        flags: flags![WRITE, FAST],
        categories: categories![KEYSPACE, WRITE, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RM, DELETE]).range(-1, 1, 0)]),
        tips: Tips::of(&["request_policy:multi_shard", "response_policy:agg_sum"]),
        summary: "Delete a key asynchronously in another thread. Otherwise it is just as DEL, but \
            non blocking.",
        complexity: "O(1) for each key removed regardless of its size. Then the command does O(N) \
            work in a different thread in order to reclaim memory, where N is the number of \
            allocations the deleted objects where composed of.",
        since: "4.0.0",
        arguments: &[key("key", 0).multiple()],
        ..ROW
    },
    CommandSpec {
        name: "wait",
        arity: 3,
        flags: flags![NOSCRIPT],
        categories: categories![SLOW, CONNECTION],
        tips: Tips::of(&["request_policy:all_shards", "response_policy:agg_min"]),
        summary: "Wait for the synchronous replication of all the write commands sent in the \
            context of the current connection",
        complexity: "O(1)",
        since: "3.0.0",
        arguments: &[integer("numreplicas"), integer("timeout")],
        ..ROW
    },
];

/// Sub-commands of OBJECT.
const OBJECT: &[CommandSpec] = &[
    CommandSpec {
        name: "object|encoding",
        arity: 3,
        flags: flags![READONLY],
        categories: categories![KEYSPACE, READ, SLOW],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RO])]),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Inspect the internal encoding of a Redis object",
        complexity: "O(1)",
        since: "2.2.3",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "object|freq",
        arity: 3,
        flags: flags![READONLY],
        categories: categories![KEYSPACE, READ, SLOW],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RO])]),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Get the logarithmic access frequency counter of a Redis object",
        complexity: "O(1)",
        since: "4.0.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "object|help",
        arity: 2,
        flags: flags![LOADING, STALE],
        categories: categories![KEYSPACE, SLOW],
        summary: "Show helpful text about the different subcommands",
        complexity: "O(1)",
        since: "6.2.0",
        ..ROW
    },
    CommandSpec {
        name: "object|idletime",
        arity: 3,
        flags: flags![READONLY],
        categories: categories![KEYSPACE, READ, SLOW],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RO])]),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Get the time since a Redis object was last accessed",
        complexity: "O(1)",
        since: "2.2.3",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "object|refcount",
        arity: 3,
        flags: flags![READONLY],
        categories: categories![KEYSPACE, READ, SLOW],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RO])]),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Get the number of references to the value of the key",
        complexity: "O(1)",
        since: "2.2.3",
        arguments: &[key("key", 0)],
        ..ROW
    },
];
