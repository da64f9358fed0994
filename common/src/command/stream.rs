//! Streams: logs of entries, and groups of consumers.

use super::bits::{categories, flags, key_flags};
use super::spec::arguments::{block, integer, key, one_of, string, unix_time, word};
use super::spec::{CommandSpec, Extractor, Group, KeySpec, Keys, Tips};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::Stream);

/// Rows of the group, by name.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "xack",
        arity: -4,
        flags: flags![WRITE, FAST],
        categories: categories![WRITE, STREAM, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE])]),
        summary: "Marks a pending message as correctly processed, effectively removing it from the \
            pending entries list of the consumer group. Return value of the command is the number \
            of messages successfully acknowledged, that is, the IDs we were actually able to \
            resolve in the PEL.",
        complexity: "O(1) for each message ID processed.",
        since: "5.0.0",
        arguments: &[key("key", 0), string("group"), string("id").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "xadd",
        arity: -5,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, STREAM, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE])
            .notes("UPDATE instead of INSERT because of the optional trimming feature")]),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Appends a new entry to a stream",
        complexity: "O(1) when adding a new entry, O(N) when trimming where N being the number of \
            entries evicted.",
        since: "5.0.0",
        history: &[
            (
                "6.2.0",
                "Added the `NOMKSTREAM` option, `MINID` trimming strategy and the `LIMIT` \
                option.",
            ),
            ("7.0.0", "Added support for the `<ms>-*` explicit ID form."),
        ],
        arguments: &[
            key("key", 0),
            word("nomkstream", "NOMKSTREAM").since("6.2.0").optional(),
            block(
                "trim",
                &[
                    one_of(
                        "strategy",
                        &[word("maxlen", "MAXLEN"), word("minid", "MINID").since("6.2.0")],
                    ),
                    one_of("operator", &[word("equal", "="), word("approximately", "~")])
                        .optional(),
                    string("threshold"),
                    integer("count").token("LIMIT").since("6.2.0").optional(),
                ],
            )
            .optional(),
            one_of("id_or_auto", &[word("auto_id", "*"), string("id")]),
            block("field_value", &[string("field"), string("value")]).multiple(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "xautoclaim",
        arity: -6,
        flags: flags![WRITE, FAST],
        categories: categories![WRITE, STREAM, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, DELETE])]),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Changes (or acquires) ownership of messages in a consumer group, as if the \
            messages were delivered to the specified consumer.",
        complexity: "O(1) if COUNT is small.",
        since: "6.2.0",
        history: &[(
            "7.0.0",
            "Added an element to the reply array, containing deleted entries the \
            command cleared from the PEL",
        )],
        arguments: &[
            key("key", 0),
            string("group"),
            string("consumer"),
            string("min-idle-time"),
            string("start"),
            integer("count").token("COUNT").optional(),
            word("justid", "JUSTID").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "xclaim",
        arity: -6,
        flags: flags![WRITE, FAST],
        categories: categories![WRITE, STREAM, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE])]),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Changes (or acquires) ownership of a message in a consumer group, as if the \
            message was delivered to the specified consumer.",
        complexity: "O(log N) with N being the number of messages in the PEL of the consumer \
            group.",
        since: "5.0.0",
        arguments: &[
            key("key", 0),
            string("group"),
            string("consumer"),
            string("min-idle-time"),
            string("id").multiple(),
            integer("ms").token("IDLE").optional(),
            unix_time("unix-time-milliseconds").token("TIME").optional(),
            integer("count").token("RETRYCOUNT").optional(),
            word("force", "FORCE").optional(),
            word("justid", "JUSTID").optional(),
            string("id").token("LASTID").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "xdel",
        arity: -3,
        flags: flags![WRITE, FAST],
        categories: categories![WRITE, STREAM, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, DELETE])]),
        summary: "Removes the specified entries from the stream. Returns the number of items \
            actually deleted, that may be different from the number of IDs passed in case certain \
            IDs do not exist.",
        complexity: "O(1) for each single item to delete in the stream, regardless of the stream \
            size.",
        since: "5.0.0",
        arguments: &[key("key", 0), string("id").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "xgroup",
        arity: -2,
        flags: flags![],
        categories: categories![SLOW],
        summary: "A container for consumer groups commands",
        complexity: "Depends on subcommand.",
        since: "5.0.0",
        declared: XGROUP,
        ..ROW
    },
    CommandSpec {
        name: "xinfo",
        arity: -2,
        flags: flags![],
        categories: categories![SLOW],
        summary: "A container for stream introspection commands",
        complexity: "Depends on subcommand.",
        since: "5.0.0",
        declared: XINFO,
        ..ROW
    },
    CommandSpec {
        name: "xlen",
        arity: 2,
        flags: flags![READONLY, FAST],
        categories: categories![READ, STREAM, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO])]),
        summary: "Return the number of entries in a stream",
        complexity: "O(1)",
        since: "5.0.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "xpending",
        arity: -3,
        flags: flags![READONLY],
        categories: categories![READ, STREAM, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Return information and entries from a stream consumer group pending entries \
            list, that are messages fetched but never acknowledged.",
        complexity: "O(N) with N being the number of elements returned, so asking for a small \
            fixed number of entries per call is O(1). O(M), where M is the total number of entries \
            scanned when used with the IDLE filter. When the command returns just the summary and \
            the list of consumers is small, it runs in O(1) time; otherwise, an additional O(N) \
            time for iterating every consumer.",
        since: "5.0.0",
        history: &[("6.2.0", "Added the `IDLE` option and exclusive range intervals.")],
        arguments: &[
            key("key", 0),
            string("group"),
            block(
                "filters",
                &[
                    integer("min-idle-time").token("IDLE").since("6.2.0").optional(),
                    string("start"),
                    string("end"),
                    integer("count"),
                    string("consumer").optional(),
                ],
            )
            .optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "xrange",
        arity: -4,
        flags: flags![READONLY],
        categories: categories![READ, STREAM, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Return a range of elements in a stream, with IDs matching the specified IDs \
            interval",
        complexity: "O(N) with N being the number of elements being returned. If N is constant \
            (e.g. always asking for the first 10 elements with COUNT), you can consider it O(1).",
        since: "5.0.0",
        history: &[("6.2.0", "Added exclusive ranges.")],
        arguments: &[
            key("key", 0),
            string("start"),
            string("end"),
            integer("count").token("COUNT").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "xread",
        arity: -4,
        flags: flags![READONLY, BLOCKING, MOVABLEKEYS],
        categories: categories![READ, STREAM, SLOW, BLOCKING],
        keys: Keys::of(&[KeySpec::after("STREAMS", 1, key_flags![RO, ACCESS]).range(-1, 1, 2)])
            .by(Extractor::XRead),
        summary: "Return never seen elements in multiple streams, with IDs greater than the ones \
            reported by the caller for each stream. Can block.",
        complexity: "For each stream mentioned: O(N) with N being the number of elements being \
            returned, it means that XREAD-ing with a fixed COUNT is O(1). Note that when the BLOCK \
            option is used, XADD will pay O(M) time in order to serve the M clients blocked on the \
            stream getting new data.",
        since: "5.0.0",
        arguments: &[
            integer("count").token("COUNT").optional(),
            integer("milliseconds").token("BLOCK").optional(),
            block("streams", &[key("key", 0).multiple(), string("id").multiple()]).token("STREAMS"),
        ],
        ..ROW
    },
    CommandSpec {
        name: "xreadgroup",
        arity: -7,
        flags: flags![WRITE, BLOCKING, MOVABLEKEYS],
        categories: categories![WRITE, STREAM, SLOW, BLOCKING],
        keys: Keys::of(&[KeySpec::after("STREAMS", 4, key_flags![RO, ACCESS]).range(-1, 1, 2)])
            .by(Extractor::XRead),
        summary: "Return new entries from a stream using a consumer group, or access the history \
            of the pending entries for a given consumer. Can block.",
        complexity: "For each stream mentioned: O(M) with M being the number of elements returned. \
            If M is constant (e.g. always asking for the first 10 elements with COUNT), you can \
            consider it O(1). On the other side when XREADGROUP blocks, XADD will pay the O(N) \
            time in order to serve the N clients blocked on the stream getting new data.",
        since: "5.0.0",
        arguments: &[
            block("group_consumer", &[string("group"), string("consumer")]).token("GROUP"),
            integer("count").token("COUNT").optional(),
            integer("milliseconds").token("BLOCK").optional(),
            word("noack", "NOACK").optional(),
            block("streams", &[key("key", 0).multiple(), string("id").multiple()]).token("STREAMS"),
        ],
        ..ROW
    },
    CommandSpec {
        name: "xrevrange",
        arity: -4,
        flags: flags![READONLY],
        categories: categories![READ, STREAM, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Return a range of elements in a stream, with IDs matching the specified IDs \
            interval, in reverse order (from greater to smaller IDs) compared to XRANGE",
        complexity: "O(N) with N being the number of elements returned. If N is constant (e.g. \
            always asking for the first 10 elements with COUNT), you can consider it O(1).",
        since: "5.0.0",
        history: &[("6.2.0", "Added exclusive ranges.")],
        arguments: &[
            key("key", 0),
            string("end"),
            string("start"),
            integer("count").token("COUNT").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "xsetid",
        arity: -3,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, STREAM, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE])]),
        summary: "An internal command for replicating stream values",
        complexity: "O(1)",
        since: "5.0.0",
        history: &[("7.0.0", "Added the `entries_added` and `max_deleted_entry_id` arguments.")],
        arguments: &[
            key("key", 0),
            string("last-id"),
            integer("entries_added").token("ENTRIESADDED").since("7.0.0").optional(),
            string("max_deleted_entry_id").token("MAXDELETEDID").since("7.0.0").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "xtrim",
        arity: -4,
        flags: flags![WRITE],
        categories: categories![WRITE, STREAM, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, DELETE])]),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Trims the stream to (approximately if '~' is passed) a certain size",
        complexity: "O(N), with N being the number of evicted entries. Constant times are very \
            small however, since entries are organized in macro nodes containing multiple entries \
            that can be released with a single deallocation.",
        since: "5.0.0",
        history: &[("6.2.0", "Added the `MINID` trimming strategy and the `LIMIT` option.")],
        arguments: &[
            key("key", 0),
            block(
                "trim",
                &[
                    one_of(
                        "strategy",
                        &[word("maxlen", "MAXLEN"), word("minid", "MINID").since("6.2.0")],
                    ),
                    one_of("operator", &[word("equal", "="), word("approximately", "~")])
                        .optional(),
                    string("threshold"),
                    integer("count").token("LIMIT").since("6.2.0").optional(),
                ],
            ),
        ],
        ..ROW
    },
];

/// Sub-commands of XGROUP.
const XGROUP: &[CommandSpec] = &[
    CommandSpec {
        name: "xgroup|create",
        arity: -5,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, STREAM, SLOW],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RW, INSERT])]),
        summary: "Create a consumer group.",
        complexity: "O(1)",
        since: "5.0.0",
        history: &[("7.0.0", "Added the `entries_read` named argument.")],
        arguments: &[
            key("key", 0),
            string("groupname"),
            one_of("id", &[string("id"), word("new_id", "$")]),
            word("mkstream", "MKSTREAM").optional(),
            integer("entries_read").token("ENTRIESREAD").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "xgroup|createconsumer",
        arity: 5,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, STREAM, SLOW],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RW, INSERT])]),
        summary: "Create a consumer in a consumer group.",
        complexity: "O(1)",
        since: "6.2.0",
        arguments: &[key("key", 0), string("groupname"), string("consumername")],
        ..ROW
    },
    CommandSpec {
        name: "xgroup|delconsumer",
        arity: 5,
        flags: flags![WRITE],
        categories: categories![WRITE, STREAM, SLOW],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RW, DELETE])]),
        summary: "Delete a consumer from a consumer group.",
        complexity: "O(1)",
        since: "5.0.0",
        arguments: &[key("key", 0), string("groupname"), string("consumername")],
        ..ROW
    },
    CommandSpec {
        name: "xgroup|destroy",
        arity: 4,
        flags: flags![WRITE],
        categories: categories![WRITE, STREAM, SLOW],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RW, DELETE])]),
        summary: "Destroy a consumer group.",
        complexity: "O(N) where N is the number of entries in the group's pending entries list \
            (PEL).",
        since: "5.0.0",
        arguments: &[key("key", 0), string("groupname")],
        ..ROW
    },
    CommandSpec {
        name: "xgroup|help",
        arity: 2,
        flags: flags![LOADING, STALE],
        categories: categories![STREAM, SLOW],
        summary: "Show helpful text about the different subcommands",
        complexity: "O(1)",
        since: "5.0.0",
        ..ROW
    },
    CommandSpec {
        name: "xgroup|setid",
        arity: -5,
        flags: flags![WRITE],
        categories: categories![WRITE, STREAM, SLOW],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RW, UPDATE])]),
        summary: "Set a consumer group to an arbitrary last delivered ID value.",
        complexity: "O(1)",
        since: "5.0.0",
        history: &[("7.0.0", "Added the optional `entries_read` argument.")],
        arguments: &[
            key("key", 0),
            string("groupname"),
            one_of("id", &[string("id"), word("new_id", "$")]),
            integer("entries_read").token("ENTRIESREAD").optional(),
        ],
        ..ROW
    },
];

/// Sub-commands of XINFO.
const XINFO: &[CommandSpec] = &[
    CommandSpec {
        name: "xinfo|consumers",
        arity: 4,
        flags: flags![READONLY],
        categories: categories![READ, STREAM, SLOW],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RO, ACCESS])]),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "List the consumers in a consumer group",
        complexity: "O(1)",
        since: "5.0.0",
        arguments: &[key("key", 0), string("groupname")],
        ..ROW
    },
    CommandSpec {
        name: "xinfo|groups",
        arity: 3,
        flags: flags![READONLY],
        categories: categories![READ, STREAM, SLOW],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RO, ACCESS])]),
        summary: "List the consumer groups of a stream",
        complexity: "O(1)",
        since: "5.0.0",
        history: &[("7.0.0", "Added the `entries-read` and `lag` fields")],
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "xinfo|help",
        arity: 2,
        flags: flags![LOADING, STALE],
        categories: categories![STREAM, SLOW],
        summary: "Show helpful text about the different subcommands",
        complexity: "O(1)",
        since: "5.0.0",
        ..ROW
    },
    CommandSpec {
        name: "xinfo|stream",
        arity: -3,
        flags: flags![READONLY],
        categories: categories![READ, STREAM, SLOW],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RO, ACCESS])]),
        summary: "Get information about a stream",
        complexity: "O(1)",
        since: "5.0.0",
        history: &[
            ("6.0.0", "Added the `FULL` modifier."),
            (
                "7.0.0",
                "Added the `max-deleted-entry-id`, `entries-added`, \
                `recorded-first-entry-id`, `entries-read` and `lag` fields",
            ),
        ],
        arguments: &[
            key("key", 0),
            block("full", &[integer("count").token("COUNT").optional()]).token("FULL").optional(),
        ],
        ..ROW
    },
];
