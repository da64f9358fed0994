//! The end of the server as it is known while it is on its way.

use crate::pause::Paused;

/// How the server is to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Manner {
    /// A dump is written though there are no save points.
    pub save: bool,
    /// None is written though there are some.
    pub nosave: bool,
    /// Replicas that lag are not waited for.
    pub now: bool,
    /// What goes wrong is no reason to go on.
    pub force: bool,
    /// A node of a cluster that owns slots does not end, unless it is forced to (Valkey 9.0).
    pub safe: bool,
}

/// An end that is on its way.
#[derive(Debug, Default)]
pub struct Ending {
    /// A signal asked for it, and the regular work has not seen that yet.
    pub(super) asked: Option<Manner>,
    /// It began with a signal, which may come again.
    pub(super) by_signal: bool,
    /// Replicas are waited for.
    pub(super) waits: Option<Waits>,
}

#[derive(Debug)]
pub(super) struct Waits {
    pub(super) manner: Manner,
    /// By replication's clock.
    pub(super) until_ms: i64,
    /// The pause that was on before.
    pub(super) paused_before: Paused,
}

impl Ending {
    /// Has the regular work begin it.
    pub fn ask(&mut self, manner: Manner) {
        self.asked.get_or_insert(manner);
    }

    /// Whether an end was asked for or begun.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.asked.is_some() || self.waits.is_some()
    }

    /// Milliseconds that replicas are waited for at most, from now on.
    #[must_use]
    pub fn waits_for_ms(&self, now_ms: i64) -> Option<i64> {
        self.waits.as_ref().map(|waits| (waits.until_ms - now_ms).max(0))
    }
}
