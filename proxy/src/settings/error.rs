//! An error in a configuration file, and where it is.

use std::fmt;

/// What is wrong with a configuration file: `proxy.yml:7: pool 'alpha': 'timeout' is not a number`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    file: String,
    line: Option<usize>,
    pool: Option<String>,
    message: String,
}

impl SettingsError {
    /// An error of the file as a whole.
    #[must_use]
    pub fn new(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, pool: None, message: message.into() }
    }

    /// The same error at a line, counted from one.
    #[must_use]
    pub fn at(mut self, line: Option<usize>) -> Self {
        self.line = line;
        self
    }

    /// The same error within a pool (or the `global` section).
    #[must_use]
    pub fn within(mut self, pool: &str) -> Self {
        self.pool = Some(pool.to_owned());
        self
    }

    /// The line, counted from one, where it is known.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.line
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        match self.pool.as_deref() {
            Some("global") => f.write_str("global: ")?,
            Some(pool) => write!(f, "pool '{pool}': ")?,
            None => {}
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for SettingsError {}
