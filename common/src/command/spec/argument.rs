//! A command's arguments as `COMMAND DOCS` describes them. Nothing is parsed by them.

use crate::command::bits::word_set;

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
    pub(in crate::command) const fn by_key_spec(self, index: u8) -> Self {
        Self { key_spec: Some(index), ..self }
    }

    /// Introduced by a word.
    pub(in crate::command) const fn token(self, token: &'static str) -> Self {
        Self { token: Some(token), ..self }
    }

    /// Came with a later version than the command.
    pub(in crate::command) const fn since(self, since: &'static str) -> Self {
        Self { since, ..self }
    }

    /// Deprecated since that version.
    pub(in crate::command) const fn deprecated_since(self, deprecated_since: &'static str) -> Self {
        Self { deprecated_since, ..self }
    }

    /// May be left out.
    pub(in crate::command) const fn optional(self) -> Self {
        Self { flags: self.flags.or(ArgumentFlags::OPTIONAL), ..self }
    }

    /// May be repeated.
    pub(in crate::command) const fn multiple(self) -> Self {
        Self { flags: self.flags.or(ArgumentFlags::MULTIPLE), ..self }
    }

    /// May be repeated together with its token.
    pub(in crate::command) const fn multiple_token(self) -> Self {
        Self { flags: self.flags.or(ArgumentFlags::MULTIPLE_TOKEN), ..self }
    }
}

/// The words in which rows describe arguments.
pub(in crate::command) mod arguments {
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
