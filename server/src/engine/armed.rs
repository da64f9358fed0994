//! What may refuse commands for now: conditions of the server, each of which is looked at only while it may hold.

use super::Core;

/// A set of conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Armed(u8);

impl Armed {
    /// There is a limit of memory.
    pub const MEMORY: Self = Self(1);
    /// The data set is being loaded.
    pub const LOADING: Self = Self(1 << 1);
    /// What is written may not reach the disk.
    pub const DISK: Self = Self(1 << 2);
    /// Writes need replicas that follow.
    pub const REPLICAS: Self = Self(1 << 3);
    /// Clients may not write, for a primary does.
    pub const READ_ONLY: Self = Self(1 << 4);
    /// The primary is out of reach, and old data is not to be served.
    pub const STALE: Self = Self(1 << 5);

    /// Whether any of `other`'s conditions is in the set.
    #[inline]
    #[must_use]
    pub const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Both sets.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn with(self, holds: bool, other: Self) -> Self {
        if holds { self.or(other) } else { self }
    }
}

impl Core {
    /// Looks which conditions may hold from now on. Call it when one of them may have changed.
    pub fn arm(&mut self) {
        self.armed = Armed::default()
            .with(self.settings.maxmemory > 0, Armed::MEMORY)
            .with(self.saved.loading.is_some(), Armed::LOADING)
            .with(self.saved.refusal(&self.settings).is_some(), Armed::DISK)
            .with(self.settings.replication.min_replicas_to_write > 0, Armed::REPLICAS)
            .with(
                self.replication.is_replica() && self.settings.replication.replica_read_only,
                Armed::READ_ONLY,
            )
            .with(
                self.replication.is_replica()
                    && !self.settings.replication.replica_serve_stale_data,
                Armed::STALE,
            );
    }
}
