//! How a client is told of changes to what it caches.

use std::collections::BTreeSet;

pub use redstart_common::client_tracking::Choice;

/// How a client tracks.
#[derive(Debug, Default)]
pub struct Mode {
    /// Who is told in its place; 0 is itself.
    pub redirect: u64,
    /// The prefixes it named, in the broadcasting mode.
    pub prefixes: Option<BTreeSet<Box<[u8]>>>,
    /// Which keys it is remembered with.
    pub choice: Choice,
    /// Not told of its own changes.
    pub no_loop: bool,
    /// CLIENT CACHING was given; it counts for the next command.
    pub caching: bool,
    /// The client that was to be told in its place is gone.
    pub broken: bool,
}

impl Mode {
    /// Who is told in the place of a client; -1 when it does not track.
    #[must_use]
    pub fn redirection(mode: Option<&Self>) -> i64 {
        mode.map_or(-1, |mode| mode.redirect as i64)
    }
}
