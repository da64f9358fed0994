//! Lists: pushed and popped at both ends, blocking forms included.

use super::bits::{categories, flags, key_flags};
use super::spec::arguments::{double, integer, key, one_of, string, word};
use super::spec::{CommandSpec, DocFlags, Extractor, Group, KeySpec, Keys};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::List);

/// Rows of the group, by name.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "blmove",
        arity: 6,
        flags: flags![WRITE, DENYOOM, NOSCRIPT, BLOCKING],
        categories: categories![WRITE, LIST, SLOW, BLOCKING],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![RW, ACCESS, DELETE]),
            KeySpec::at(2, key_flags![RW, INSERT]),
        ]),
        summary: "Pop an element from a list, push it to another list and return it; or block \
            until one is available",
        complexity: "O(1)",
        since: "6.2.0",
        arguments: &[
            key("source", 0),
            key("destination", 1),
            one_of("wherefrom", &[word("left", "LEFT"), word("right", "RIGHT")]),
            one_of("whereto", &[word("left", "LEFT"), word("right", "RIGHT")]),
            double("timeout"),
        ],
        ..ROW
    },
    CommandSpec {
        name: "blmpop",
        arity: -5,
        flags: flags![WRITE, BLOCKING, MOVABLEKEYS],
        categories: categories![WRITE, LIST, SLOW, BLOCKING],
        keys: Keys::of(&[KeySpec::at(2, key_flags![RW, ACCESS, DELETE]).counted(0, 1, 1)])
            .by(Extractor::Counted { count_at: 2, store: false }),
        summary: "Pop elements from a list, or block until one is available",
        complexity: "O(N+M) where N is the number of provided keys and M is the number of elements \
            returned.",
        since: "7.0.0",
        arguments: &[
            double("timeout"),
            integer("numkeys"),
            key("key", 0).multiple(),
            one_of("where", &[word("left", "LEFT"), word("right", "RIGHT")]),
            integer("count").token("COUNT").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "blpop",
        arity: -3,
        flags: flags![WRITE, NOSCRIPT, BLOCKING],
        categories: categories![WRITE, LIST, SLOW, BLOCKING],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, DELETE]).range(-2, 1, 0)]),
        summary: "Remove and get the first element in a list, or block until one is available",
        complexity: "O(N) where N is the number of provided keys.",
        since: "2.0.0",
        history: &[("6.0.0", "`timeout` is interpreted as a double instead of an integer.")],
        arguments: &[key("key", 0).multiple(), double("timeout")],
        ..ROW
    },
    CommandSpec {
        name: "brpop",
        arity: -3,
        flags: flags![WRITE, NOSCRIPT, BLOCKING],
        categories: categories![WRITE, LIST, SLOW, BLOCKING],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, DELETE]).range(-2, 1, 0)]),
        summary: "Remove and get the last element in a list, or block until one is available",
        complexity: "O(N) where N is the number of provided keys.",
        since: "2.0.0",
        history: &[("6.0.0", "`timeout` is interpreted as a double instead of an integer.")],
        arguments: &[key("key", 0).multiple(), double("timeout")],
        ..ROW
    },
    CommandSpec {
        name: "brpoplpush",
        arity: 4,
        flags: flags![WRITE, DENYOOM, NOSCRIPT, BLOCKING],
        categories: categories![WRITE, LIST, SLOW, BLOCKING],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![RW, ACCESS, DELETE]),
            KeySpec::at(2, key_flags![RW, INSERT]),
        ]),
        summary: "Pop an element from a list, push it to another list and return it; or block \
            until one is available",
        complexity: "O(1)",
        since: "2.2.0",
        doc_flags: DocFlags::DEPRECATED,
        deprecated_since: "6.2.0",
        replaced_by: "`BLMOVE` with the `RIGHT` and `LEFT` arguments",
        history: &[("6.0.0", "`timeout` is interpreted as a double instead of an integer.")],
        arguments: &[key("source", 0), key("destination", 1), double("timeout")],
        ..ROW
    },
    CommandSpec {
        name: "lindex",
        arity: 3,
        flags: flags![READONLY],
        categories: categories![READ, LIST, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Get an element from a list by its index",
        complexity: "O(N) where N is the number of elements to traverse to get to the element at \
            index. This makes asking for the first or the last element of the list O(1).",
        since: "1.0.0",
        arguments: &[key("key", 0), integer("index")],
        ..ROW
    },
    CommandSpec {
        name: "linsert",
        arity: 5,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, LIST, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, INSERT])]),
        summary: "Insert an element before or after another element in a list",
        complexity: "O(N) where N is the number of elements to traverse before seeing the value \
            pivot. This means that inserting somewhere on the left end on the list (head) can be \
            considered O(1) and inserting somewhere on the right end (tail) is O(N).",
        since: "2.2.0",
        arguments: &[
            key("key", 0),
            one_of("where", &[word("before", "BEFORE"), word("after", "AFTER")]),
            string("pivot"),
            string("element"),
        ],
        ..ROW
    },
    CommandSpec {
        name: "llen",
        arity: 2,
        flags: flags![READONLY, FAST],
        categories: categories![READ, LIST, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO])]),
        summary: "Get the length of a list",
        complexity: "O(1)",
        since: "1.0.0",
        arguments: &[key("key", 0)],
        ..ROW
    },
    CommandSpec {
        name: "lmove",
        arity: 5,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, LIST, SLOW],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![RW, ACCESS, DELETE]),
            KeySpec::at(2, key_flags![RW, INSERT]),
        ]),
        summary: "Pop an element from a list, push it to another list and return it",
        complexity: "O(1)",
        since: "6.2.0",
        arguments: &[
            key("source", 0),
            key("destination", 1),
            one_of("wherefrom", &[word("left", "LEFT"), word("right", "RIGHT")]),
            one_of("whereto", &[word("left", "LEFT"), word("right", "RIGHT")]),
        ],
        ..ROW
    },
    CommandSpec {
        name: "lmpop",
        arity: -4,
        flags: flags![WRITE, MOVABLEKEYS],
        categories: categories![WRITE, LIST, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, DELETE]).counted(0, 1, 1)])
            .by(Extractor::Counted { count_at: 1, store: false }),
        summary: "Pop elements from a list",
        complexity: "O(N+M) where N is the number of provided keys and M is the number of elements \
            returned.",
        since: "7.0.0",
        arguments: &[
            integer("numkeys"),
            key("key", 0).multiple(),
            one_of("where", &[word("left", "LEFT"), word("right", "RIGHT")]),
            integer("count").token("COUNT").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "lpop",
        arity: -2,
        flags: flags![WRITE, FAST],
        categories: categories![WRITE, LIST, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, DELETE])]),
        summary: "Remove and get the first elements in a list",
        complexity: "O(N) where N is the number of elements returned",
        since: "1.0.0",
        history: &[("6.2.0", "Added the `count` argument.")],
        arguments: &[key("key", 0), integer("count").since("6.2.0").optional()],
        ..ROW
    },
    CommandSpec {
        name: "lpos",
        arity: -3,
        flags: flags![READONLY],
        categories: categories![READ, LIST, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Return the index of matching elements on a list",
        complexity: "O(N) where N is the number of elements in the list, for the average case. \
            When searching for elements near the head or the tail of the list, or when the MAXLEN \
            option is provided, the command may run in constant time.",
        since: "6.0.6",
        arguments: &[
            key("key", 0),
            string("element"),
            integer("rank").token("RANK").optional(),
            integer("num-matches").token("COUNT").optional(),
            integer("len").token("MAXLEN").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "lpush",
        arity: -3,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, LIST, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, INSERT])]),
        summary: "Prepend one or multiple elements to a list",
        complexity: "O(1) for each element added, so O(N) to add N elements when the command is \
            called with multiple arguments.",
        since: "1.0.0",
        history: &[("2.4.0", "Accepts multiple `element` arguments.")],
        arguments: &[key("key", 0), string("element").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "lpushx",
        arity: -3,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, LIST, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, INSERT])]),
        summary: "Prepend an element to a list, only if the list exists",
        complexity: "O(1) for each element added, so O(N) to add N elements when the command is \
            called with multiple arguments.",
        since: "2.2.0",
        history: &[("4.0.0", "Accepts multiple `element` arguments.")],
        arguments: &[key("key", 0), string("element").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "lrange",
        arity: 4,
        flags: flags![READONLY],
        categories: categories![READ, LIST, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Get a range of elements from a list",
        complexity: "O(S+N) where S is the distance of start offset from HEAD for small lists, \
            from nearest end (HEAD or TAIL) for large lists; and N is the number of elements in \
            the specified range.",
        since: "1.0.0",
        arguments: &[key("key", 0), integer("start"), integer("stop")],
        ..ROW
    },
    CommandSpec {
        name: "lrem",
        arity: 4,
        flags: flags![WRITE],
        categories: categories![WRITE, LIST, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, DELETE])]),
        summary: "Remove elements from a list",
        complexity: "O(N+M) where N is the length of the list and M is the number of elements \
            removed.",
        since: "1.0.0",
        arguments: &[key("key", 0), integer("count"), string("element")],
        ..ROW
    },
    CommandSpec {
        name: "lset",
        arity: 4,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, LIST, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE])]),
        summary: "Set the value of an element in a list by its index",
        complexity: "O(N) where N is the length of the list. Setting either the first or the last \
            element of the list is O(1).",
        since: "1.0.0",
        arguments: &[key("key", 0), integer("index"), string("element")],
        ..ROW
    },
    CommandSpec {
        name: "ltrim",
        arity: 4,
        flags: flags![WRITE],
        categories: categories![WRITE, LIST, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, DELETE])]),
        summary: "Trim a list to the specified range",
        complexity: "O(N) where N is the number of elements to be removed by the operation.",
        since: "1.0.0",
        arguments: &[key("key", 0), integer("start"), integer("stop")],
        ..ROW
    },
    CommandSpec {
        name: "rpop",
        arity: -2,
        flags: flags![WRITE, FAST],
        categories: categories![WRITE, LIST, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, ACCESS, DELETE])]),
        summary: "Remove and get the last elements in a list",
        complexity: "O(N) where N is the number of elements returned",
        since: "1.0.0",
        history: &[("6.2.0", "Added the `count` argument.")],
        arguments: &[key("key", 0), integer("count").since("6.2.0").optional()],
        ..ROW
    },
    CommandSpec {
        name: "rpoplpush",
        arity: 3,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, LIST, SLOW],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![RW, ACCESS, DELETE]),
            KeySpec::at(2, key_flags![RW, INSERT]),
        ]),
        summary: "Remove the last element in a list, prepend it to another list and return it",
        complexity: "O(1)",
        since: "1.2.0",
        doc_flags: DocFlags::DEPRECATED,
        deprecated_since: "6.2.0",
        replaced_by: "`LMOVE` with the `RIGHT` and `LEFT` arguments",
        arguments: &[key("source", 0), key("destination", 1)],
        ..ROW
    },
    CommandSpec {
        name: "rpush",
        arity: -3,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, LIST, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, INSERT])]),
        summary: "Append one or multiple elements to a list",
        complexity: "O(1) for each element added, so O(N) to add N elements when the command is \
            called with multiple arguments.",
        since: "1.0.0",
        history: &[("2.4.0", "Accepts multiple `element` arguments.")],
        arguments: &[key("key", 0), string("element").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "rpushx",
        arity: -3,
        flags: flags![WRITE, DENYOOM, FAST],
        categories: categories![WRITE, LIST, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, INSERT])]),
        summary: "Append an element to a list, only if the list exists",
        complexity: "O(1) for each element added, so O(N) to add N elements when the command is \
            called with multiple arguments.",
        since: "2.2.0",
        history: &[("4.0.0", "Accepts multiple `element` arguments.")],
        arguments: &[key("key", 0), string("element").multiple()],
        ..ROW
    },
];
