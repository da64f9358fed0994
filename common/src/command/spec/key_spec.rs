//! Where a command's keys and channels are.

use crate::command::bits::word_set;

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
    pub(in crate::command) const fn at(index: i16, flags: KeyFlags) -> Self {
        Self::begin(BeginSearch::Index(index), flags)
    }

    /// The one argument after `keyword`.
    pub(in crate::command) const fn after(
        keyword: &'static str,
        start_from: i16,
        flags: KeyFlags,
    ) -> Self {
        Self::begin(BeginSearch::Keyword { keyword, start_from }, flags)
    }

    /// Keys at places nobody can tell.
    pub(in crate::command) const fn unknown(flags: KeyFlags) -> Self {
        Self { find: FindKeys::Unknown, ..Self::begin(BeginSearch::Unknown, flags) }
    }

    /// A range in place of one argument.
    pub(in crate::command) const fn range(self, last: i16, step: i16, limit: i16) -> Self {
        Self { find: FindKeys::Range { last, step, limit }, ..self }
    }

    /// As many as a count says.
    pub(in crate::command) const fn counted(self, count_at: i16, first: i16, step: i16) -> Self {
        Self { find: FindKeys::KeyNumber { count_at, first, step }, ..self }
    }

    /// With a remark.
    pub(in crate::command) const fn notes(self, notes: &'static str) -> Self {
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
    /// `numkeys` at `count_at`, and so many keys after it, each with its value.
    CountedPairs { count_at: u8 },
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
    pub(in crate::command) const fn by(self, extractor: Extractor) -> Self {
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
