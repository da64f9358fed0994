//! CLIENT PAUSE: commands, or only writes, wait for a time.

/// What is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// Commands that may write, or whose effects would leave the server.
    Writes,
    /// All commands.
    All,
}

/// A pause that is on, and until when, in milliseconds since 1970.
pub type Paused = Option<(Pause, i64)>;
