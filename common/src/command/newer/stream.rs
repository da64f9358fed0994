//! Streams: removing entries with regard to who still has them pending, giving pending ones back, and producers that may send
//! an entry twice.

use crate::command::bits::{categories, flags, key_flags};
use crate::command::spec::arguments::{block, integer, key, one_of, string, word};
use crate::command::spec::{Argument, CommandSpec, Group, KeySpec, Keys};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec {
    flags: flags![WRITE, FAST],
    categories: categories![WRITE, STREAM, FAST],
    since: "8.2.0",
    ..CommandSpec::of(Group::Stream)
};

const POLICY: Argument = one_of(
    "condition",
    &[word("keepref", "KEEPREF"), word("delref", "DELREF"), word("acked", "ACKED")],
)
.optional();
const IDS: Argument = block("ids", &[integer("numids"), string("id").multiple()]).token("IDS");

/// Rows of the group, by name.
pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "xackdel",
        arity: -6,
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE, DELETE])]),
        summary: "Acknowledges and conditionally deletes one or multiple entries for a stream consumer \
            group.",
        complexity: "O(1) for each entry ID processed.",
        arguments: &[key("key", 0), string("group"), POLICY, IDS],
        ..ROW
    },
    CommandSpec {
        name: "xcfgset",
        arity: -2,
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE])]),
        summary: "Sets the IDMP configuration parameters for a stream.",
        complexity: "O(1)",
        since: "8.6.0",
        arguments: &[
            key("key", 0),
            block(
                "idmp-duration-block",
                &[word("idmp-duration-token", "IDMP-DURATION"), integer("duration")],
            )
            .optional(),
            block(
                "idmp-maxsize-block",
                &[word("idmp-maxsize-token", "IDMP-MAXSIZE"), integer("maxsize")],
            )
            .optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "xdelex",
        arity: -5,
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, DELETE])]),
        summary: "Deletes one or multiple entries from the stream.",
        complexity: "O(1) for each single item to delete in the stream, regardless of the stream size.",
        arguments: &[key("key", 0), POLICY, IDS],
        ..ROW
    },
    CommandSpec {
        name: "xidmprecord",
        arity: 5,
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE])]),
        summary: "Sets the IDMP metadata of an existing entry of a stream.",
        complexity: "O(1)",
        since: "8.6.0",
        arguments: &[key("key", 0), string("pid"), string("iid"), string("id")],
        ..ROW
    },
    CommandSpec {
        name: "xnack",
        arity: -7,
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE])]),
        summary: "Releases pending messages back to the group's PEL without acknowledging them, making \
            them available for re-delivery.",
        complexity: "O(1) for each message ID processed.",
        since: "8.8.0",
        arguments: &[
            key("key", 0),
            string("group"),
            one_of(
                "mode",
                &[word("silent", "SILENT"), word("fail", "FAIL"), word("fatal", "FATAL")],
            ),
            IDS,
            integer("count").token("RETRYCOUNT").optional(),
            word("force", "FORCE").optional(),
        ],
        ..ROW
    },
];
