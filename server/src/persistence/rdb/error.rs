//! What can be wrong with a file, in words that operators know from redis-server.

use std::borrow::Cow;
use std::fmt;
use std::io;

/// What a file may need and this server does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feature {
    /// A value, or what stands beside them, belongs to the module of this name.
    Module(String),
    /// Slots of a cluster were being moved to the writer.
    SlotImport,
    /// A type that nobody told us about.
    Type(u8),
}

impl fmt::Display for Feature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module(name) => write!(out, "the module '{name}'"),
            Self::SlotImport => out.write_str("the import of slots into a cluster"),
            Self::Type(number @ 100..=127) => {
                write!(out, "RDB encoding type {number} of Redis Enterprise")
            }
            Self::Type(number) => write!(out, "RDB encoding type {number}"),
        }
    }
}

/// What is wrong.
#[derive(Debug)]
pub enum Problem {
    /// The file is no RDB.
    Signature,
    /// The version of the format is not known.
    Version(i64),
    /// The file ends too early.
    Short,
    /// It cannot be read.
    Io(io::Error),
    /// It is damaged.
    Corrupt {
        /// In which way.
        reason: Cow<'static, str>,
        /// Where redis-server 7.0.15 of Debian finds it: a line of its `rdb.c`, which its messages name.
        line: u16,
    },
    /// A string is longer than an entry can hold.
    TooLong(u64),
    /// The checksum differs.
    Checksum {
        /// That of the bytes.
        expected: u64,
        /// That in the file.
        found: u64,
    },
    /// It needs what this server does not have.
    Feature(Feature),
}

/// Where redis-server says that a file ends too early, and that a checksum differs.
const SHORT: (&str, u16) = ("Unexpected EOF reading RDB file", 3249);
const CHECKSUM: (&str, u16) = ("RDB CRC error", 3225);

/// Why a file was not loaded.
#[derive(Debug)]
pub struct LoadError {
    /// Bytes of the file that were read before.
    pub offset: u64,
    /// The key whose value was being read.
    pub key: Option<Vec<u8>>,
    /// Who wrote the file, as it says itself: `redis-ver 7.0.15`.
    pub writer: Option<String>,
    /// What is wrong.
    pub problem: Problem,
}

impl LoadError {
    /// The lines that redis-server logs; the last one says all by itself.
    #[must_use]
    pub fn log_lines(&self) -> Vec<String> {
        let internal = |reason: &str, line: u16| {
            format!(
                "Internal error in RDB reading offset {}, function at rdb.c:{line} -> {reason}{}",
                self.offset,
                self.at_key()
            )
        };
        match &self.problem {
            Problem::Signature => vec!["Wrong signature trying to load DB from file".to_owned()],
            Problem::Version(version) => vec![format!("Can't handle RDB format version {version}")],
            Problem::Short => vec![
                "Short read or OOM loading DB. Unrecoverable error, aborting now.".to_owned(),
                internal(SHORT.0, SHORT.1),
            ],
            Problem::Io(error) => vec![
                "Short read or OOM loading DB. Unrecoverable error, aborting now.".to_owned(),
                internal(&format!("Error reading RDB file: {error}"), SHORT.1),
            ],
            Problem::Corrupt { reason, line } => vec![internal(reason, *line)],
            Problem::TooLong(length) => vec![format!(
                "A string of {length} bytes at RDB offset {} is longer than this server holds{}",
                self.offset,
                self.at_key()
            )],
            Problem::Checksum { expected, found } => vec![
                format!(
                    "Wrong RDB checksum expected: ({expected:x}) but got ({found:x}). Aborting now."
                ),
                internal(CHECKSUM.0, CHECKSUM.1),
            ],
            Problem::Feature(feature) => vec![format!(
                "The RDB file, written by {}, needs {feature}, which this server does not have: offset {}{}",
                self.writer.as_deref().unwrap_or("an unknown version"),
                self.offset,
                self.at_key()
            )],
        }
    }

    /// Whether the file itself is at fault, so that a check of it tells more.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(
            self.problem,
            Problem::Short | Problem::Io(_) | Problem::Corrupt { .. } | Problem::Checksum { .. }
        )
    }

    fn at_key(&self) -> String {
        match &self.key {
            Some(key) => format!(", key '{}'", key.escape_ascii()),
            None => String::new(),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.log_lines().join(" "))
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a value was not read.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It is a collection of nothing, which writers of old have left behind.
    Empty,
    /// Something is wrong.
    Problem(Problem),
}

impl Fault {
    /// What the log says of it where a client has brought the value.
    pub(crate) fn log_line(self) -> Option<String> {
        let Self::Problem(problem) = self else { return None };
        let error = LoadError { offset: 0, key: None, writer: None, problem };
        error.log_lines().pop()
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Feature> for Fault {
    fn from(feature: Feature) -> Self {
        Self::Problem(Problem::Feature(feature))
    }
}

pub(super) const SHORT_READ: Fault = Fault::Problem(Problem::Short);

/// Damage that redis-server finds in a line of its `rdb.c`.
pub(super) fn corrupt(reason: impl Into<Cow<'static, str>>, line: u16) -> Fault {
    Fault::Problem(Problem::Corrupt { reason: reason.into(), line })
}
