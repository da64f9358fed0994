//! Why a command did not do what it was asked: always the client's fault, and always answered with a text that
//! clients match on.

use std::borrow::Cow;

use crate::keyspace::WrongType;

/// An error reply, without the leading `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError(Cow<'static, str>);

/// What a handler answers: its reply is written, or an error is to be.
pub type CommandResult = Result<(), CommandError>;

impl CommandError {
    /// An error with this text, code word included.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// An error with a text made for the occasion.
    #[must_use]
    pub fn made(text: String) -> Self {
        Self(Cow::Owned(text))
    }

    /// The text the client sees.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The wrong-arity text for a command (`get`, `client|list`).
    #[must_use]
    pub fn arity(name: &str) -> Self {
        Self::made(format!("ERR wrong number of arguments for '{name}' command"))
    }

    /// An expiry that does not fit.
    #[must_use]
    pub fn invalid_expire(name: &str) -> Self {
        Self::made(format!("ERR invalid expire time in '{name}' command"))
    }
}

impl From<WrongType> for CommandError {
    fn from(_: WrongType) -> Self {
        WRONG_TYPE
    }
}

/// The key holds another type.
pub const WRONG_TYPE: CommandError =
    CommandError::new("WRONGTYPE Operation against a key holding the wrong kind of value");
/// Options that do not fit together or are unknown.
pub const SYNTAX: CommandError = CommandError::new("ERR syntax error");
/// A number was expected.
pub const NOT_AN_INTEGER: CommandError =
    CommandError::new("ERR value is not an integer or out of range");
/// A number was expected.
pub const NOT_A_FLOAT: CommandError = CommandError::new("ERR value is not a valid float");
/// A number below zero.
pub const OUT_OF_RANGE: CommandError = CommandError::new("ERR index out of range");
/// A count below zero.
pub const NOT_POSITIVE: CommandError =
    CommandError::new("ERR value is out of range, must be positive");
/// The key must exist.
pub const NO_SUCH_KEY: CommandError = CommandError::new("ERR no such key");
/// No database has that number.
pub const DB_OUT_OF_RANGE: CommandError = CommandError::new("ERR DB index is out of range");
/// A blocking command's timeout.
pub const TIMEOUT_NOT_A_FLOAT: CommandError =
    CommandError::new("ERR timeout is not a float or out of range");
/// A blocking command's timeout.
pub const TIMEOUT_NEGATIVE: CommandError = CommandError::new("ERR timeout is negative");
/// A string would grow too long.
pub const STRING_TOO_LONG: CommandError =
    CommandError::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
