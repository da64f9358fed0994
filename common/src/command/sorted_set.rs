//! Sorted sets: members ordered by score.

use super::bits::{categories, flags, key_flags};
use super::spec::arguments::{block, double, integer, key, one_of, pattern, string, word};
use super::spec::{CommandSpec, DocFlags, Extractor, Group, KeySpec, Keys, Tips};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::SortedSet);

/// Rows of the group, by name.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "bzmpop",
        arity: -5,
        flags: flags![WRITE, BLOCKING, MOVABLEKEYS],
        categories: categories![WRITE, SORTEDSET, SLOW, BLOCKING],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RW, ACCESS, DELETE]).counted(0, 1, 1)])
            .by(Extractor::Counted { count_at: 2, store: false }),
        summary: "Remove and return members with scores in a sorted set or block until one is \
            available",
        complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number \
            of elements in the sorted set, and M being the number of elements popped.",
        since: "7.0.0",
        arguments: &[
            double("timeout"),
            integer("numkeys"),
            key("key", 0).multiple(),
            one_of("where", &[word("min", "MIN"), word("max", "MAX")]),
            integer("count").token("COUNT").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "bzpopmax",
        arity: -3,
        flags: flags![WRITE, NOSCRIPT, BLOCKING, FAST],
        categories: categories![WRITE, SORTEDSET, FAST, BLOCKING],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, DELETE]).range(-2, 1, 0)]),
        summary: "Remove and return the member with the highest score from one or more sorted \
            sets, or block until one is available",
        complexity: "O(log(N)) with N being the number of elements in the sorted set.",
        since: "5.0.0",
        history: &[("6.0.0", "`timeout` is interpreted as a double instead of an integer.")],
        arguments: &[key("key", 0).multiple(), double("timeout")],
        ..ROW
    },
    CommandSpec {
        name: "bzpopmin",
        arity: -3,
        flags: flags![WRITE, NOSCRIPT, BLOCKING, FAST],
        categories: categories![WRITE, SORTEDSET, FAST, BLOCKING],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, DELETE]).range(-2, 1, 0)]),
        summary: "Remove and return the member with the lowest score from one or more sorted sets, \
            or block until one is available",
        complexity: "O(log(N)) with N being the number of elements in the sorted set.",
        since: "5.0.0",
        history: &[("6.0.0", "`timeout` is interpreted as a double instead of an integer.")],
        arguments: &[key("key", 0).multiple(), double("timeout")],
        ..ROW
    },
    CommandSpec {
        name: "zadd",
        arity: -4,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, SORTEDSET, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE])]),
        summary: "Add one or more members to a sorted set, or update its score if it already \
            exists",
        complexity: "O(log(N)) for each item added, where N is the number of elements in the \
            sorted set.",
        since: "1.2.0",
        history: &[
            ("2.4.0", "Accepts multiple elements."),
            ("3.0.2", "Added the `XX`, `NX`, `CH` and `INCR` options."),
            ("6.2.0", "Added the `GT` and `LT` options."),
        ],
        arguments: &[
            key("key", 0),
            one_of("condition", &[word("nx", "NX"), word("xx", "XX")]).since("3.0.2").optional(),
            one_of("comparison", &[word("gt", "GT"), word("lt", "LT")]).since("6.2.0").optional(),
            word("change", "CH").since("3.0.2").optional(),
            word("increment", "INCR").since("3.0.2").optional(),
            block("score_member", &[double("score"), string("member")]).multiple(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "zcard",
        arity: 2,
        flags: flags![READONLY, FAST],
        categories: categories![READ, SORTEDSET, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO])]),
        summary: "Get the number of members in a sorted set",
        complexity: "O(1)",
        since: "1.2.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "zcount",
        arity: 4,
        flags: flags![READONLY, FAST],
        categories: categories![READ, SORTEDSET, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Count the members in a sorted set with scores within the given values",
        complexity: "O(log(N)) with N being the number of elements in the sorted set.",
        since: "2.0.0",
        arguments: &[key("key", 0), double("min"), double("max")],
        ..ROW
    },
    CommandSpec {
        name: "zdiff",
        arity: -3,
        flags: flags![READONLY, MOVABLEKEYS],
        categories: categories![READ, SORTEDSET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS]).counted(0, 1, 1)])
            .by(Extractor::Counted { count_at: 1, store: false }),
        summary: "Subtract multiple sorted sets",
        complexity: "O(L + (N-K)log(N)) worst case where L is the total number of elements in all \
            the sets, N is the size of the first set, and K is the size of the result set.",
        since: "6.2.0",
        arguments: &[
            integer("numkeys"),
            key("key", 0).multiple(),
            word("withscores", "WITHSCORES").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "zdiffstore",
        arity: -4,
        flags: flags![WRITE, DENYOOM, MOVABLEKEYS],
        categories: categories![WRITE, SORTEDSET, SLOW],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![OW, UPDATE]),
            KeySpec::at(2, key_flags![RO, ACCESS]).counted(0, 1, 1),
        ])
        .by(Extractor::Counted { count_at: 2, store: true }),
        summary: "Subtract multiple sorted sets and store the resulting sorted set in a new key",
        complexity: "O(L + (N-K)log(N)) worst case where L is the total number of elements in all \
            the sets, N is the size of the first set, and K is the size of the result set.",
        since: "6.2.0",
        arguments: &[key("destination", 0), integer("numkeys"), key("key", 1).multiple()],
        ..ROW
    },
    CommandSpec {
        name: "zincrby",
        arity: 4,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, SORTEDSET, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, UPDATE])]),
        summary: "Increment the score of a member in a sorted set",
        complexity: "O(log(N)) where N is the number of elements in the sorted set.",
        since: "1.2.0",
        arguments: &[key("key", 0), integer("increment"), string("member")],
        ..ROW
    },
    CommandSpec {
        name: "zinter",
        arity: -3,
        flags: flags![READONLY, MOVABLEKEYS],
        categories: categories![READ, SORTEDSET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS]).counted(0, 1, 1)])
            .by(Extractor::Counted { count_at: 1, store: false }),
        summary: "Intersect multiple sorted sets",
        complexity: "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K \
            being the number of input sorted sets and M being the number of elements in the \
            resulting sorted set.",
        since: "6.2.0",
        arguments: &[
            integer("numkeys"),
            key("key", 0).multiple(),
            integer("weight").token("WEIGHTS").optional().multiple(),
            one_of("aggregate", &[word("sum", "SUM"), word("min", "MIN"), word("max", "MAX")])
                .token("AGGREGATE")
                .optional(),
            word("withscores", "WITHSCORES").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "zintercard",
        arity: -3,
        flags: flags![READONLY, MOVABLEKEYS],
        categories: categories![READ, SORTEDSET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS]).counted(0, 1, 1)])
            .by(Extractor::Counted { count_at: 1, store: false }),
        summary: "Intersect multiple sorted sets and return the cardinality of the result",
        complexity: "O(N*K) worst case with N being the smallest input sorted set, K being the \
            number of input sorted sets.",
        since: "7.0.0",
        arguments: &[
            integer("numkeys"),
            key("key", 0).multiple(),
            integer("limit").token("LIMIT").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "zinterstore",
        arity: -4,
        flags: flags![WRITE, DENYOOM, MOVABLEKEYS],
        categories: categories![WRITE, SORTEDSET, SLOW],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![OW, UPDATE]),
            KeySpec::at(2, key_flags![RO, ACCESS]).counted(0, 1, 1),
        ])
        .by(Extractor::Counted { count_at: 2, store: true }),
        summary: "Intersect multiple sorted sets and store the resulting sorted set in a new key",
        complexity: "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K \
            being the number of input sorted sets and M being the number of elements in the \
            resulting sorted set.",
        since: "2.0.0",
        arguments: &[
            key("destination", 0),
            integer("numkeys"),
            key("key", 1).multiple(),
            integer("weight").token("WEIGHTS").optional().multiple(),
            one_of("aggregate", &[word("sum", "SUM"), word("min", "MIN"), word("max", "MAX")])
                .token("AGGREGATE")
                .optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "zlexcount",
        arity: 4,
        flags: flags![READONLY, FAST],
        categories: categories![READ, SORTEDSET, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Count the number of members in a sorted set between a given lexicographical \
            range",
        complexity: "O(log(N)) with N being the number of elements in the sorted set.",
        since: "2.8.9",
        arguments: &[key("key", 0), string("min"), string("max")],
        ..ROW
    },
    CommandSpec {
        name: "zmpop",
        arity: -4,
        flags: flags![WRITE, MOVABLEKEYS],
        categories: categories![WRITE, SORTEDSET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, DELETE]).counted(0, 1, 1)])
            .by(Extractor::Counted { count_at: 1, store: false }),
        summary: "Remove and return members with scores in a sorted set",
        complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number \
            of elements in the sorted set, and M being the number of elements popped.",
        since: "7.0.0",
        arguments: &[
            integer("numkeys"),
            key("key", 0).multiple(),
            one_of("where", &[word("min", "MIN"), word("max", "MAX")]),
            integer("count").token("COUNT").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "zmscore",
        arity: -3,
        flags: flags![READONLY, FAST],
        categories: categories![READ, SORTEDSET, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Get the score associated with the given members in a sorted set",
        complexity: "O(N) where N is the number of members being requested.",
        since: "6.2.0",
        arguments: &[key("key", 0), string("member").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "zpopmax",
        arity: -2,
        flags: flags![WRITE, FAST],
        categories: categories![WRITE, SORTEDSET, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, DELETE])]),
        summary: "Remove and return members with the highest scores in a sorted set",
        complexity: "O(log(N)*M) with N being the number of elements in the sorted set, and M \
            being the number of elements popped.",
        since: "5.0.0",
        arguments: &[key("key", 0), integer("count").optional()],
        ..ROW
    },
    CommandSpec {
        name: "zpopmin",
        arity: -2,
        flags: flags![WRITE, FAST],
        categories: categories![WRITE, SORTEDSET, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, DELETE])]),
        summary: "Remove and return members with the lowest scores in a sorted set",
        complexity: "O(log(N)*M) with N being the number of elements in the sorted set, and M \
            being the number of elements popped.",
        since: "5.0.0",
        arguments: &[key("key", 0), integer("count").optional()],
        ..ROW
    },
    CommandSpec {
        name: "zrandmember",
        arity: -2,
        flags: flags![READONLY],
        categories: categories![READ, SORTEDSET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Get one or multiple random elements from a sorted set",
        complexity: "O(N) where N is the number of elements returned",
        since: "6.2.0",
        arguments: &[
            key("key", 0),
            block("options", &[integer("count"), word("withscores", "WITHSCORES").optional()])
                .optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "zrange",
        arity: -4,
        flags: flags![READONLY],
        categories: categories![READ, SORTEDSET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Return a range of members in a sorted set",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the \
            number of elements returned.",
        since: "1.2.0",
        history: &[("6.2.0", "Added the `REV`, `BYSCORE`, `BYLEX` and `LIMIT` options.")],
        arguments: &[
            key("key", 0),
            string("start"),
            string("stop"),
            one_of("sortby", &[word("byscore", "BYSCORE"), word("bylex", "BYLEX")])
                .since("6.2.0")
                .optional(),
            word("rev", "REV").since("6.2.0").optional(),
            block("offset_count", &[integer("offset"), integer("count")])
                .token("LIMIT")
                .since("6.2.0")
                .optional(),
            word("withscores", "WITHSCORES").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "zrangebylex",
        arity: -4,
        flags: flags![READONLY],
        categories: categories![READ, SORTEDSET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Return a range of members in a sorted set, by lexicographical range",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the \
            number of elements being returned. If M is constant (e.g. always asking for the first \
            10 elements with LIMIT), you can consider it O(log(N)).",
        since: "2.8.9",
        doc_flags: DocFlags::DEPRECATED,
        deprecated_since: "6.2.0",
        replaced_by: "`ZRANGE` with the `BYLEX` argument",
        arguments: &[
            key("key", 0),
            string("min"),
            string("max"),
            block("offset_count", &[integer("offset"), integer("count")]).token("LIMIT").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "zrangebyscore",
        arity: -4,
        flags: flags![READONLY],
        categories: categories![READ, SORTEDSET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Return a range of members in a sorted set, by score",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the \
            number of elements being returned. If M is constant (e.g. always asking for the first \
            10 elements with LIMIT), you can consider it O(log(N)).",
        since: "1.0.5",
        doc_flags: DocFlags::DEPRECATED,
        deprecated_since: "6.2.0",
        replaced_by: "`ZRANGE` with the `BYSCORE` argument",
        history: &[("2.0.0", "Added the `WITHSCORES` modifier.")],
        arguments: &[
            key("key", 0),
            double("min"),
            double("max"),
            word("withscores", "WITHSCORES").since("2.0.0").optional(),
            block("offset_count", &[integer("offset"), integer("count")]).token("LIMIT").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "zrangestore",
        arity: -5,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, SORTEDSET, SLOW],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![OW, UPDATE]),
            KeySpec::at(2, key_flags![RO, ACCESS]),
        ]),
        summary: "Store a range of members from sorted set into another key",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the \
            number of elements stored into the destination key.",
        since: "6.2.0",
        arguments: &[
            key("dst", 0),
            key("src", 1),
            string("min"),
            string("max"),
            one_of("sortby", &[word("byscore", "BYSCORE"), word("bylex", "BYLEX")]).optional(),
            word("rev", "REV").optional(),
            block("offset_count", &[integer("offset"), integer("count")]).token("LIMIT").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "zrank",
        arity: -3,
        flags: flags![READONLY, FAST],
        categories: categories![READ, SORTEDSET, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Determine the index of a member in a sorted set",
        complexity: "O(log(N))",
        since: "2.0.0",
        arguments: &[key("key", 0), string("member")],
        ..ROW
    },
    CommandSpec {
        name: "zrem",
        arity: -3,
        flags: flags![WRITE, FAST],
        categories: categories![WRITE, SORTEDSET, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, DELETE])]),
        summary: "Remove one or more members from a sorted set",
        complexity: "O(M*log(N)) with N being the number of elements in the sorted set and M the \
            number of elements to be removed.",
        since: "1.2.0",
        history: &[("2.4.0", "Accepts multiple elements.")],
        arguments: &[key("key", 0), string("member").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "zremrangebylex",
        arity: 4,
        flags: flags![WRITE],
        categories: categories![WRITE, SORTEDSET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, DELETE])]),
        summary: "Remove all members in a sorted set between the given lexicographical range",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the \
            number of elements removed by the operation.",
        since: "2.8.9",
        arguments: &[key("key", 0), string("min"), string("max")],
        ..ROW
    },
    CommandSpec {
        name: "zremrangebyrank",
        arity: 4,
        flags: flags![WRITE],
        categories: categories![WRITE, SORTEDSET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, DELETE])]),
        summary: "Remove all members in a sorted set within the given indexes",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the \
            number of elements removed by the operation.",
        since: "2.0.0",
        arguments: &[key("key", 0), integer("start"), integer("stop")],
        ..ROW
    },
    CommandSpec {
        name: "zremrangebyscore",
        arity: 4,
        flags: flags![WRITE],
        categories: categories![WRITE, SORTEDSET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, DELETE])]),
        summary: "Remove all members in a sorted set within the given scores",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the \
            number of elements removed by the operation.",
        since: "1.2.0",
        arguments: &[key("key", 0), double("min"), double("max")],
        ..ROW
    },
    CommandSpec {
        name: "zrevrange",
        arity: -4,
        flags: flags![READONLY],
        categories: categories![READ, SORTEDSET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Return a range of members in a sorted set, by index, with scores ordered from \
            high to low",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the \
            number of elements returned.",
        since: "1.2.0",
        doc_flags: DocFlags::DEPRECATED,
        deprecated_since: "6.2.0",
        replaced_by: "`ZRANGE` with the `REV` argument",
        arguments: &[
            key("key", 0),
            integer("start"),
            integer("stop"),
            word("withscores", "WITHSCORES").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "zrevrangebylex",
        arity: -4,
        flags: flags![READONLY],
        categories: categories![READ, SORTEDSET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Return a range of members in a sorted set, by lexicographical range, ordered \
            from higher to lower strings.",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the \
            number of elements being returned. If M is constant (e.g. always asking for the first \
            10 elements with LIMIT), you can consider it O(log(N)).",
        since: "2.8.9",
        doc_flags: DocFlags::DEPRECATED,
        deprecated_since: "6.2.0",
        replaced_by: "`ZRANGE` with the `REV` and `BYLEX` arguments",
        arguments: &[
            key("key", 0),
            string("max"),
            string("min"),
            block("offset_count", &[integer("offset"), integer("count")]).token("LIMIT").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "zrevrangebyscore",
        arity: -4,
        flags: flags![READONLY],
        categories: categories![READ, SORTEDSET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Return a range of members in a sorted set, by score, with scores ordered from \
            high to low",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the \
            number of elements being returned. If M is constant (e.g. always asking for the first \
            10 elements with LIMIT), you can consider it O(log(N)).",
        since: "2.2.0",
        doc_flags: DocFlags::DEPRECATED,
        deprecated_since: "6.2.0",
        replaced_by: "`ZRANGE` with the `REV` and `BYSCORE` arguments",
        history: &[("2.1.6", "`min` and `max` can be exclusive.")],
        arguments: &[
            key("key", 0),
            double("max"),
            double("min"),
            word("withscores", "WITHSCORES").optional(),
            block("offset_count", &[integer("offset"), integer("count")]).token("LIMIT").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "zrevrank",
        arity: -3,
        flags: flags![READONLY, FAST],
        categories: categories![READ, SORTEDSET, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Determine the index of a member in a sorted set, with scores ordered from high \
            to low",
        complexity: "O(log(N))",
        since: "2.0.0",
        arguments: &[key("key", 0), string("member")],
        ..ROW
    },
    CommandSpec {
        name: "zscan",
        arity: -3,
        flags: flags![READONLY],
        categories: categories![READ, SORTEDSET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        tips: Tips::of(&["nondeterministic_output"]),
        summary: "Incrementally iterate sorted sets elements and associated scores",
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
        name: "zscore",
        arity: 3,
        flags: flags![READONLY, FAST],
        categories: categories![READ, SORTEDSET, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Get the score associated with the given member in a sorted set",
        complexity: "O(1)",
        since: "1.2.0",
        arguments: &[key("key", 0), string("member")],
        ..ROW
    },
    CommandSpec {
        name: "zunion",
        arity: -3,
        flags: flags![READONLY, MOVABLEKEYS],
        categories: categories![READ, SORTEDSET, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS]).counted(0, 1, 1)])
            .by(Extractor::Counted { count_at: 1, store: false }),
        summary: "Add multiple sorted sets",
        complexity: "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted sets, \
            and M being the number of elements in the resulting sorted set.",
        since: "6.2.0",
        arguments: &[
            integer("numkeys"),
            key("key", 0).multiple(),
            integer("weight").token("WEIGHTS").optional().multiple(),
            one_of("aggregate", &[word("sum", "SUM"), word("min", "MIN"), word("max", "MAX")])
                .token("AGGREGATE")
                .optional(),
            word("withscores", "WITHSCORES").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "zunionstore",
        arity: -4,
        flags: flags![WRITE, DENYOOM, MOVABLEKEYS],
        categories: categories![WRITE, SORTEDSET, SLOW],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![OW, UPDATE]),
            KeySpec::at(2, key_flags![RO, ACCESS]).counted(0, 1, 1),
        ])
        .by(Extractor::Counted { count_at: 2, store: true }),
        summary: "Add multiple sorted sets and store the resulting sorted set in a new key",
        complexity: "O(N)+O(M log(M)) with N being the sum of the sizes of the input sorted sets, \
            and M being the number of elements in the resulting sorted set.",
        since: "2.0.0",
        arguments: &[
            key("destination", 0),
            integer("numkeys"),
            key("key", 1).multiple(),
            integer("weight").token("WEIGHTS").optional().multiple(),
            one_of("aggregate", &[word("sum", "SUM"), word("min", "MIN"), word("max", "MAX")])
                .token("AGGREGATE")
                .optional(),
        ],
        ..ROW
    },
];
