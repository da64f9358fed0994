//! ACL LOG: what was refused lately, newest first.

use std::collections::VecDeque;

/// Refusals alike within this time are one entry.
const ALIKE_MS: i64 = 60_000;
/// Entries looked at for one that is alike.
const LOOKED_AT: usize = 10;

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The command.
    Command,
    /// A key.
    Key,
    /// A channel.
    Channel,
    /// Wrong credentials.
    Auth,
}

impl Reason {
    /// The word in the log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Key => "key",
            Self::Channel => "channel",
            Self::Auth => "auth",
        }
    }
}

/// Where something that was refused was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// By a request.
    Request,
    /// In a transaction.
    Transaction,
    /// By a script.
    Script,
}

impl Context {
    /// The word in the log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Request => "toplevel",
            Self::Transaction => "multi",
            Self::Script => "lua",
        }
    }
}

/// A refusal, and those like it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// How many there were.
    pub count: u64,
    /// Why.
    pub reason: Reason,
    /// Where it was asked for.
    pub context: Context,
    /// The command, key or channel.
    pub object: Vec<u8>,
    /// The user.
    pub user: Vec<u8>,
    /// When it was last, in milliseconds since 1970.
    pub at_ms: i64,
    /// The client, as CLIENT LIST shows it.
    pub client: String,
}

/// The log.
#[derive(Debug, Default)]
pub struct Log {
    entries: VecDeque<Entry>,
}

impl Log {
    /// Adds a refusal, or counts it with one that is alike. `length_max` is `acllog-max-len`.
    pub fn add(&mut self, mut entry: Entry, length_max: usize) {
        let alike = |known: &Entry| {
            known.reason == entry.reason
                && known.context == entry.context
                && (known.at_ms - entry.at_ms).abs() <= ALIKE_MS
                && known.object == entry.object
                && known.user == entry.user
        };
        if let Some(place) = self.entries.iter().take(LOOKED_AT).position(alike)
            && let Some(known) = self.entries.remove(place)
        {
            entry.count += known.count;
        }
        self.entries.push_front(entry);
        self.entries.truncate(length_max);
    }

    /// The entries, newest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}
