//! Why a command did not do what it was asked: always the client's fault, and always answered with a text that
//! clients match on. The texts are those of [`redstart_common::resp::error`].

use std::borrow::Cow;

use redstart_common::resp::error;

use crate::keyspace::WrongType;

/// An error reply, without the leading `-`. Words of the client may be part of it, so it is bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError(Cow<'static, [u8]>);

/// What a handler answers: its reply is written, or an error is to be.
pub type CommandResult = Result<(), CommandError>;

impl CommandError {
    /// An error with this text, code word included.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text.as_bytes()))
    }

    /// An error with a text made for the occasion.
    #[must_use]
    pub fn made(text: impl Into<Vec<u8>>) -> Self {
        Self(Cow::Owned(text.into()))
    }

    /// An error that repeats a word of the client's; see [`error::about`].
    #[must_use]
    pub fn about(before: &str, word: &[u8], after: &str) -> Self {
        Self::made(error::about(before, word, after))
    }

    /// Whether it tells a client to ask elsewhere, or otherwise.
    #[must_use]
    pub fn redirects(&self) -> bool {
        let word = self.0.split(|byte| *byte == b' ').next().unwrap_or_default();
        let words: [&[u8]; 6] =
            [b"REDIRECT", b"MOVED", b"ASK", b"CROSSSLOT", b"TRYAGAIN", b"CLUSTERDOWN"];
        words.contains(&word)
    }

    /// The text the client sees.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.0
    }

    /// The wrong-arity text for a command (`get`, `client|list`).
    #[must_use]
    pub fn arity(name: &str) -> Self {
        Self::made(error::wrong_arity(name))
    }

    /// An expiry that does not fit.
    #[must_use]
    pub fn invalid_expire(name: &str) -> Self {
        Self::made(error::invalid_expire(name))
    }
}

impl From<WrongType> for CommandError {
    fn from(_: WrongType) -> Self {
        WRONG_TYPE
    }
}

/// The key holds another type.
pub const WRONG_TYPE: CommandError = CommandError::new(error::WRONG_TYPE);
/// Options that do not fit together or are unknown.
pub const SYNTAX: CommandError = CommandError::new(error::SYNTAX);
/// A number was expected.
pub const NOT_AN_INTEGER: CommandError = CommandError::new(error::NOT_AN_INTEGER);
/// A number was expected.
pub const NOT_A_FLOAT: CommandError = CommandError::new(error::NOT_A_FLOAT);
/// A number below zero.
pub const OUT_OF_RANGE: CommandError = CommandError::new(error::INDEX_OUT_OF_RANGE);
/// A count below zero.
pub const NOT_POSITIVE: CommandError = CommandError::new(error::MUST_BE_POSITIVE);
/// The key must exist.
pub const NO_SUCH_KEY: CommandError = CommandError::new(error::NO_SUCH_KEY);
/// Source and destination are one.
pub const SAME_OBJECT: CommandError = CommandError::new(error::SAME_OBJECT);
/// No database has that number.
pub const DB_OUT_OF_RANGE: CommandError = CommandError::new(error::DB_INDEX_OUT_OF_RANGE);
/// A blocking command's timeout.
pub const TIMEOUT_NOT_A_FLOAT: CommandError = CommandError::new(error::TIMEOUT_NOT_A_FLOAT);
/// A blocking command's timeout.
pub const TIMEOUT_NEGATIVE: CommandError = CommandError::new(error::TIMEOUT_NEGATIVE);
/// A string would grow too long.
pub const STRING_TOO_LONG: CommandError = CommandError::new(error::STRING_TOO_LONG);
