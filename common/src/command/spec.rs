//! What a command is before it runs: one row a command, one row a sub-command.
//!
//! The rows (in the files named after Redis's groups) hold the facts of Redis 7.0.15 as `COMMAND` and
//! `COMMAND DOCS` print them, recorded by `tests/golden/record_commands.py`, and the few facts which that server
//! knows and hides (see [`Flags`], [`Extractor`], [`Channels`]). Everything here is data known at compile time.

use super::bits::word_set;
use super::lookup::CommandId;

word_set! {
    /// What kind of command it is: the flags of `COMMAND`, and the ones Redis keeps to itself.
    Flags {
        /// May change the keyspace.
        WRITE = 0, "write";
        /// Reads keys and changes nothing.
        READONLY = 1, "readonly";
        /// May use more memory: refused at `maxmemory`.
        DENYOOM = 2, "denyoom";
        /// For the operator.
        ADMIN = 3, "admin";
        /// Of the publish/subscribe family.
        PUBSUB = 4, "pubsub";
        /// Not for scripts.
        NOSCRIPT = 5, "noscript";
        /// May block the client.
        BLOCKING = 6, "blocking";
        /// Answered while the data set is being loaded.
        LOADING = 7, "loading";
        /// Answered by a replica with stale data.
        STALE = 8, "stale";
        /// Not shown to MONITOR.
        SKIP_MONITOR = 9, "skip_monitor";
        /// Not written to the slow log.
        SKIP_SLOWLOG = 10, "skip_slowlog";
        /// Carries an ASKING with it.
        ASKING = 11, "asking";
        /// Constant or logarithmic time.
        FAST = 12, "fast";
        /// Needs no authentication.
        NO_AUTH = 13, "no_auth";
        /// May be called with no key at all.
        NO_MANDATORY_KEYS = 14, "no_mandatory_keys";
        /// Refused while a replica loads beside its old data.
        NO_ASYNC_LOADING = 15, "no_async_loading";
        /// Not inside MULTI.
        NO_MULTI = 16, "no_multi";
        /// Keys stand where first/last/step cannot tell.
        MOVABLEKEYS = 17, "movablekeys";
        /// Answered while a script overstays its time.
        ALLOW_BUSY = 18, "allow_busy";
        /// No write, yet it may be replicated.
        MAY_REPLICATE = 19, "";
        /// Exists in sentinel mode.
        SENTINEL = 20, "";
        /// Exists in sentinel mode and nowhere else.
        ONLY_SENTINEL = 21, "";
        /// Only with `enable-debug-command` or `enable-module-command`.
        PROTECTED = 22, "";
        /// May touch, and so expire, any key.
        TOUCHES_ARBITRARY_KEYS = 23, "";
    }
}

word_set! {
    /// ACL categories; `COMMAND` prints them with `@` in front.
    Categories {
        /// `@keyspace`
        KEYSPACE = 0, "keyspace";
        /// `@read`
        READ = 1, "read";
        /// `@write`
        WRITE = 2, "write";
        /// `@set`
        SET = 3, "set";
        /// `@sortedset`
        SORTEDSET = 4, "sortedset";
        /// `@list`
        LIST = 5, "list";
        /// `@hash`
        HASH = 6, "hash";
        /// `@string`
        STRING = 7, "string";
        /// `@bitmap`
        BITMAP = 8, "bitmap";
        /// `@hyperloglog`
        HYPERLOGLOG = 9, "hyperloglog";
        /// `@geo`
        GEO = 10, "geo";
        /// `@stream`
        STREAM = 11, "stream";
        /// `@pubsub`
        PUBSUB = 12, "pubsub";
        /// `@admin`
        ADMIN = 13, "admin";
        /// `@fast`
        FAST = 14, "fast";
        /// `@slow`
        SLOW = 15, "slow";
        /// `@blocking`
        BLOCKING = 16, "blocking";
        /// `@dangerous`
        DANGEROUS = 17, "dangerous";
        /// `@connection`
        CONNECTION = 18, "connection";
        /// `@transaction`
        TRANSACTION = 19, "transaction";
        /// `@scripting`
        SCRIPTING = 20, "scripting";
    }
}

word_set! {
    /// What a command does with a key, and how far the key spec can be trusted.
    KeyFlags {
        /// Reads the value.
        RO = 0, "RO";
        /// Changes the value.
        RW = 1, "RW";
        /// Replaces the value without looking.
        OW = 2, "OW";
        /// Deletes the key.
        RM = 3, "RM";
        /// Returns, copies or uses the user's data.
        ACCESS = 4, "access";
        /// The new value may depend on the old.
        UPDATE = 5, "update";
        /// Adds data; what is there stays.
        INSERT = 6, "insert";
        /// Deletes part of the content.
        DELETE = 7, "delete";
        /// No key, but routed in a cluster as if it were one (shard channels).
        NOT_KEY = 8, "not_key";
        /// The spec may miss keys.
        INCOMPLETE = 9, "incomplete";
        /// The access flags depend on other arguments.
        VARIABLE_FLAGS = 10, "variable_flags";
    }
}

word_set! {
    /// Remarks of `COMMAND DOCS` on a command.
    DocFlags {
        /// There is a better way since [`CommandSpec::deprecated_since`].
        DEPRECATED = 0, "deprecated";
        /// For the system itself, not for users.
        SYSCMD = 1, "syscmd";
    }
}

word_set! {
    /// How often an argument may stand.
    ArgumentFlags {
        /// May be left out.
        OPTIONAL = 0, "optional";
        /// May be repeated.
        MULTIPLE = 1, "multiple";
        /// Repeated together with its token.
        MULTIPLE_TOKEN = 2, "multiple_token";
    }
}

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

/// Where a key spec begins to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeginSearch {
    /// At an argument (the command's name is 0).
    Index(i16),
    /// After a word, searched from `start_from` on; a negative one counts from the end and searches backwards.
    Keyword { keyword: &'static str, start_from: i16 },
    /// Nobody can tell.
    Unknown,
}

/// Which arguments are keys, seen from where [`BeginSearch`] led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindKeys {
    /// From there to `last` (relative; negative counts from the end of the call), every `step`-th. A `limit`
    /// above 1 takes only that fraction of the rest.
    Range { last: i16, step: i16, limit: i16 },
    /// As many as the number at `count_at` says, from `first` on (both relative), every `step`-th.
    KeyNumber { count_at: i16, first: i16, step: i16 },
    /// Nobody can tell.
    Unknown,
}

/// One rule that finds keys among a call's arguments.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// A remark, `""` if there is none.
    pub notes: &'static str,
    /// What is done with the keys.
    pub flags: KeyFlags,
    /// Where to begin.
    pub begin: BeginSearch,
    /// What to take.
    pub find: FindKeys,
}

impl KeySpec {
    const fn begin(begin: BeginSearch, flags: KeyFlags) -> Self {
        Self { notes: "", flags, begin, find: FindKeys::Range { last: 0, step: 1, limit: 0 } }
    }

    /// The one argument at `index`.
    pub(super) const fn at(index: i16, flags: KeyFlags) -> Self {
        Self::begin(BeginSearch::Index(index), flags)
    }

    /// The one argument after `keyword`.
    pub(super) const fn after(keyword: &'static str, start_from: i16, flags: KeyFlags) -> Self {
        Self::begin(BeginSearch::Keyword { keyword, start_from }, flags)
    }

    /// Keys at places nobody can tell.
    pub(super) const fn unknown(flags: KeyFlags) -> Self {
        Self { find: FindKeys::Unknown, ..Self::begin(BeginSearch::Unknown, flags) }
    }

    /// A range in place of one argument.
    pub(super) const fn range(self, last: i16, step: i16, limit: i16) -> Self {
        Self { find: FindKeys::Range { last, step, limit }, ..self }
    }

    /// As many as a count says.
    pub(super) const fn counted(self, count_at: i16, first: i16, step: i16) -> Self {
        Self { find: FindKeys::KeyNumber { count_at, first, step }, ..self }
    }

    /// With a remark.
    pub(super) const fn notes(self, notes: &'static str) -> Self {
        Self { notes, ..self }
    }
}

/// A command's own way to find its keys, where specs are not enough. Redis hides these functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Extractor {
    /// None: the specs say it all.
    None,
    /// `numkeys` at `count_at` and the keys after it; a destination at 1 if `store`.
    Counted { count_at: u8, store: bool },
    /// SORT: the key, and the last STORE.
    Sort,
    /// SORT_RO: the key.
    SortRo,
    /// MIGRATE: the third argument, or those after KEYS.
    Migrate,
    /// GEORADIUS and GEORADIUSBYMEMBER: the key, and the last STORE or STOREDIST.
    GeoRadius,
    /// XREAD and XREADGROUP: the first half of what follows STREAMS.
    XRead,
    /// SET: the key; GET makes it a read as well.
    Set,
    /// BITFIELD: the key; only GETs make it a read.
    BitField,
}

/// The keys of a command: the specs, and what is derived from them once.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// The specs as `COMMAND` prints them.
    pub specs: &'static [KeySpec],
    /// First key of the legacy range; 0 if there is none.
    pub first: i16,
    /// Last key of the legacy range; negative counts from the end.
    pub last: i16,
    /// Step of the legacy range.
    pub step: i16,
    /// The command's own way.
    pub extractor: Extractor,
    /// All flags of all specs.
    pub any_flags: KeyFlags,
    /// A spec leads to real keys (not [`KeyFlags::NOT_KEY`]).
    pub has_real: bool,
}

impl Keys {
    /// No keys.
    pub const NONE: Self = Self::of(&[]);

    /// Keys by spec. The legacy range is glued from the specs as Redis glues it: over the plain ranges, as long as
    /// each begins where the one before it ended.
    #[must_use]
    pub const fn of(specs: &'static [KeySpec]) -> Self {
        let mut keys = Self {
            specs,
            first: 0,
            last: 0,
            step: 0,
            extractor: Extractor::None,
            any_flags: KeyFlags::NONE,
            has_real: false,
        };
        let mut i = 0;
        while i < specs.len() {
            keys.any_flags = keys.any_flags.or(specs[i].flags);
            keys.has_real |= !specs[i].flags.contains(KeyFlags::NOT_KEY);
            if let (BeginSearch::Index(at), FindKeys::Range { last, step, .. }) =
                (specs[i].begin, specs[i].find)
            {
                let follows = keys.first == 0 || keys.last == at - 1;
                if specs.len() == 1 || (step == 1 && follows) {
                    let last = if last < 0 { last } else { at + last };
                    keys.first = if keys.first == 0 { at } else { keys.first };
                    // A negative end reaches further than any other, hence the unsigned comparison.
                    keys.last = if last as u16 > keys.last as u16 { last } else { keys.last };
                    keys.step = step;
                }
            }
            i += 1;
        }
        keys
    }

    /// With a way of its own.
    pub(super) const fn by(self, extractor: Extractor) -> Self {
        Self { extractor, ..self }
    }

    /// True when a call may hold keys: what `COMMAND GETKEYS` asks first.
    #[must_use]
    #[inline]
    pub const fn may_have_keys(&self) -> bool {
        self.has_real || !matches!(self.extractor, Extractor::None)
    }
}

/// The channels among a call's arguments, for ACL. Redis hides them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Channels {
    /// None.
    None,
    /// All arguments are channels to subscribe to.
    Subscribe,
    /// All arguments are patterns to subscribe to.
    SubscribePatterns,
    /// All arguments are channels to leave.
    Unsubscribe,
    /// All arguments are patterns to leave.
    UnsubscribePatterns,
    /// The first argument is a channel to publish on.
    Publish,
}

named_enum! {
    /// The type of an argument.
    ArgumentKind {
        /// Any bytes.
        String = "string",
        /// A whole number.
        Integer = "integer",
        /// A number.
        Double = "double",
        /// A key.
        Key = "key",
        /// A glob pattern.
        Pattern = "pattern",
        /// A Unix time.
        UnixTime = "unix-time",
        /// Nothing but its token.
        PureToken = "pure-token",
        /// One of the arguments within.
        OneOf = "oneof",
        /// All of the arguments within.
        Block = "block",
    }
}

/// An argument as `COMMAND DOCS` describes it.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: ArgumentKind,
    /// The key spec that finds it, if it is a key.
    pub key_spec: Option<u8>,
    /// The word that introduces it. MIGRATE has an empty one.
    /// The word that introduces it. MIGRATE has an empty one.
    pub token: Option<&'static str>,
    /// The version it came with; `""` if it came with the command.
    pub since: &'static str,
    /// The version that deprecated it; `""` if none did.
    pub deprecated_since: &'static str,
    /// How often it may stand.
    pub flags: ArgumentFlags,
    /// What is inside a `OneOf` or `Block`.
    pub arguments: &'static [Argument],
}

impl Argument {
    const fn new(name: &'static str, kind: ArgumentKind) -> Self {
        Self {
            name,
            kind,
            key_spec: None,
            token: None,
            since: "",
            deprecated_since: "",
            flags: ArgumentFlags::NONE,
            arguments: &[],
        }
    }

    /// Found by the key spec of this index.
    pub(super) const fn by_key_spec(self, index: u8) -> Self {
        Self { key_spec: Some(index), ..self }
    }

    /// Introduced by a word.
    pub(super) const fn token(self, token: &'static str) -> Self {
        Self { token: Some(token), ..self }
    }

    /// Came with a later version than the command.
    pub(super) const fn since(self, since: &'static str) -> Self {
        Self { since, ..self }
    }

    /// Deprecated since that version.
    pub(super) const fn deprecated_since(self, deprecated_since: &'static str) -> Self {
        Self { deprecated_since, ..self }
    }

    /// May be left out.
    pub(super) const fn optional(self) -> Self {
        Self { flags: self.flags.or(ArgumentFlags::OPTIONAL), ..self }
    }

    /// May be repeated.
    pub(super) const fn multiple(self) -> Self {
        Self { flags: self.flags.or(ArgumentFlags::MULTIPLE), ..self }
    }

    /// May be repeated together with its token.
    pub(super) const fn multiple_token(self) -> Self {
        Self { flags: self.flags.or(ArgumentFlags::MULTIPLE_TOKEN), ..self }
    }
}

/// The words in which rows describe arguments.
pub(super) mod arguments {
    use super::{Argument, ArgumentKind};

    /// Any bytes.
    pub const fn string(name: &'static str) -> Argument {
        Argument::new(name, ArgumentKind::String)
    }

    /// A whole number.
    pub const fn integer(name: &'static str) -> Argument {
        Argument::new(name, ArgumentKind::Integer)
    }

    /// A number.
    pub const fn double(name: &'static str) -> Argument {
        Argument::new(name, ArgumentKind::Double)
    }

    /// A key, found by the key spec of that index.
    pub const fn key(name: &'static str, spec: u8) -> Argument {
        Argument::new(name, ArgumentKind::Key).by_key_spec(spec)
    }

    /// A glob pattern.
    pub const fn pattern(name: &'static str) -> Argument {
        Argument::new(name, ArgumentKind::Pattern)
    }

    /// A Unix time.
    pub const fn unix_time(name: &'static str) -> Argument {
        Argument::new(name, ArgumentKind::UnixTime)
    }

    /// Nothing but its token.
    pub const fn word(name: &'static str, token: &'static str) -> Argument {
        Argument::new(name, ArgumentKind::PureToken).token(token)
    }

    /// A pure token of which Redis tells only the name.
    pub const fn bare(name: &'static str) -> Argument {
        Argument::new(name, ArgumentKind::PureToken)
    }

    /// One of several.
    pub const fn one_of(name: &'static str, arguments: &'static [Argument]) -> Argument {
        Argument { arguments, ..Argument::new(name, ArgumentKind::OneOf) }
    }

    /// Several together.
    pub const fn block(name: &'static str, arguments: &'static [Argument]) -> Argument {
        Argument { arguments, ..Argument::new(name, ArgumentKind::Block) }
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
