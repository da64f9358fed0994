//! What a command is before it runs: one row a command, one row a sub-command.
//!
//! The rows (in the files named after Redis's groups) hold the facts of Redis 7.0.15 as `COMMAND` and
//! `COMMAND DOCS` print them, recorded by `tests/golden/record_commands.py`, and the few facts which that server
//! knows and hides (see [`Flags`], [`Extractor`], [`Channels`]). Everything here is data known at compile time.

use super::lookup::CommandId;

/// Declares an enum whose variants have a name on the wire.
macro_rules! named_enum {
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every variant.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

mod argument;
mod key_spec;
mod words;

pub(super) use argument::arguments;
pub use argument::{Argument, ArgumentFlags, ArgumentKind};
pub use key_spec::{BeginSearch, Channels, Extractor, FindKeys, KeyFlags, KeySpec, Keys};
pub use words::{Categories, DocFlags, Flags};

named_enum! {
    /// Redis's groups of commands.
    Group {
        /// Keys of any type.
        Generic = "generic",
        /// Strings.
        String = "string",
        /// Lists.
        List = "list",
        /// Sets.
        Set = "set",
        /// Sorted sets.
        SortedSet = "sorted-set",
        /// Hashes.
        Hash = "hash",
        /// Publish and subscribe.
        PubSub = "pubsub",
        /// MULTI and what belongs to it.
        Transactions = "transactions",
        /// The connection itself.
        Connection = "connection",
        /// The server itself.
        Server = "server",
        /// Lua and functions.
        Scripting = "scripting",
        /// HyperLogLogs.
        HyperLogLog = "hyperloglog",
        /// Redis Cluster.
        Cluster = "cluster",
        /// Redis Sentinel.
        Sentinel = "sentinel",
        /// Places on Earth.
        Geo = "geo",
        /// Streams.
        Stream = "stream",
        /// Bitmaps.
        Bitmap = "bitmap",
        /// What Redis has from a module.
        Module = "module",
    }
}

named_enum! {
    /// To which shards a request goes (`request_policy:` of the tips).
    RequestPolicy {
        /// No tip: by its keys, or to any one shard if it has none.
        ByKey = "",
        /// To every node, replicas too.
        AllNodes = "all_nodes",
        /// To every primary.
        AllShards = "all_shards",
        /// Cut by key, each part to its shard.
        MultiShard = "multi_shard",
        /// In a way of its own.
        Special = "special",
    }
}

named_enum! {
    /// How the replies of several shards become one (`response_policy:` of the tips).
    ResponsePolicy {
        /// No tip: concatenated (in key order, for commands cut by key).
        Concatenate = "",
        /// The first reply that is no error.
        OneSucceeded = "one_succeeded",
        /// An error if any is one, else any of them.
        AllSucceeded = "all_succeeded",
        /// 1 when all are 1.
        LogicalAnd = "agg_logical_and",
        /// 1 when any is 1.
        LogicalOr = "agg_logical_or",
        /// The least number.
        Min = "agg_min",
        /// The greatest number.
        Max = "agg_max",
        /// The sum.
        Sum = "agg_sum",
        /// In a way of its own.
        Special = "special",
    }
}

/// The tips of a command: the words as printed, and what a router reads from them.
#[derive(Clone, Copy, Debug)]
pub struct Tips {
    /// The words, in Redis's order.
    pub words: &'static [&'static str],
    /// To which shards a request goes.
    pub request: RequestPolicy,
    /// How replies become one.
    pub response: ResponsePolicy,
    /// Two equal calls may differ in their reply.
    pub nondeterministic_output: bool,
    /// Two equal calls may differ in the order of the reply's elements.
    pub nondeterministic_output_order: bool,
}

impl Tips {
    /// No tips.
    pub const NONE: Self = Self::of(&[]);

    /// Reads the words; an unknown policy does not compile in a row.
    #[must_use]
    pub const fn of(words: &'static [&'static str]) -> Self {
        let mut tips = Self {
            words,
            request: RequestPolicy::ByKey,
            response: ResponsePolicy::Concatenate,
            nondeterministic_output: false,
            nondeterministic_output_order: false,
        };
        let mut i = 0;
        while i < words.len() {
            match words[i].as_bytes() {
                b"nondeterministic_output" => tips.nondeterministic_output = true,
                b"nondeterministic_output_order" => tips.nondeterministic_output_order = true,
                b"request_policy:all_nodes" => tips.request = RequestPolicy::AllNodes,
                b"request_policy:all_shards" => tips.request = RequestPolicy::AllShards,
                b"request_policy:multi_shard" => tips.request = RequestPolicy::MultiShard,
                b"request_policy:special" => tips.request = RequestPolicy::Special,
                b"response_policy:one_succeeded" => tips.response = ResponsePolicy::OneSucceeded,
                b"response_policy:all_succeeded" => tips.response = ResponsePolicy::AllSucceeded,
                b"response_policy:agg_logical_and" => tips.response = ResponsePolicy::LogicalAnd,
                b"response_policy:agg_logical_or" => tips.response = ResponsePolicy::LogicalOr,
                b"response_policy:agg_min" => tips.response = ResponsePolicy::Min,
                b"response_policy:agg_max" => tips.response = ResponsePolicy::Max,
                b"response_policy:agg_sum" => tips.response = ResponsePolicy::Sum,
                b"response_policy:special" => tips.response = ResponsePolicy::Special,
                _ => panic!("a tip that no router knows"),
            }
            i += 1;
        }
        tips
    }
}

/// One command or sub-command. What a call needs stands first, in the first cache line; what only `COMMAND DOCS`
/// needs stands last.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct CommandSpec {
    /// Lower case; a sub-command's is `container|sub`.
    pub name: &'static str,
    /// The place of this row among all rows.
    pub id: CommandId,
    /// How many arguments a call has, the name included; negative for "at least that many".
    pub arity: i16,
    /// What kind of command it is.
    pub flags: Flags,
    /// Its ACL categories, implied ones included.
    pub categories: Categories,
    /// Id of the first sub-command; they are neighbours.
    pub(super) first_sub: CommandId,
    /// Number of sub-commands; 0 for all but containers.
    pub(super) sub_count: u16,
    /// Where its keys are.
    pub keys: Keys,
    /// The container of a sub-command.
    pub container: Option<CommandId>,
    /// Where its channels are.
    pub channels: Channels,
    /// Its group.
    pub group: Group,
    /// Hints for routers.
    pub tips: Tips,

    /// What it does.
    pub summary: &'static str,
    /// What it costs; `""` if nothing is said.
    pub complexity: &'static str,
    /// The version it came with.
    pub since: &'static str,
    /// Only servers other than ours have it; a proxy passes it on.
    pub is_foreign: bool,
    /// Remarks.
    pub doc_flags: DocFlags,
    /// The version that deprecated it; `""` if none did.
    pub deprecated_since: &'static str,
    /// What to use instead, in words; `""` if nothing is said.
    pub replaced_by: &'static str,
    /// (version, what changed), oldest first.
    pub history: &'static [(&'static str, &'static str)],
    /// Its arguments.
    pub arguments: &'static [Argument],
    /// The rows of its sub-commands as declared; [`CommandSpec::subcommands`] gives them as users see them.
    pub(super) declared: &'static [CommandSpec],
}

impl CommandSpec {
    /// What rows of a group begin with.
    pub(super) const fn of(group: Group) -> Self {
        Self {
            name: "",
            id: CommandId::UNSET,
            arity: 0,
            flags: Flags::NONE,
            categories: Categories::NONE,
            first_sub: CommandId::UNSET,
            sub_count: 0,
            keys: Keys::NONE,
            container: None,
            channels: Channels::None,
            group,
            tips: Tips::NONE,
            summary: "",
            complexity: "",
            since: "",
            is_foreign: false,
            doc_flags: DocFlags::NONE,
            deprecated_since: "",
            replaced_by: "",
            history: &[],
            arguments: &[],
            declared: &[],
        }
    }

    /// True when a call of `count` arguments (the name included) has the right number of them.
    #[must_use]
    #[inline]
    pub const fn accepts_count(&self, count: usize) -> bool {
        let arity = self.arity.unsigned_abs() as usize;
        if self.arity >= 0 { count == arity } else { count >= arity }
    }

    /// The name without the container's: `get` of `config|get`.
    #[must_use]
    pub fn own_name(&self) -> &'static str {
        match self.container {
            Some(_) => self.name.split_once('|').map_or(self.name, |(_, own)| own),
            None => self.name,
        }
    }

    /// True for a command whose work is done by sub-commands (CONFIG, XGROUP …).
    #[must_use]
    #[inline]
    pub const fn is_container(&self) -> bool {
        self.sub_count != 0
    }
}
