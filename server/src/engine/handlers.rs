//! The table of handlers, which is filled from above: see [`crate::commands::handlers`].

use redstart_common::command::{self, CommandId, CommandSpec};

use super::{Call, CommandResult};

/// What a row's handler is: it reads the call's arguments, touches the keyspace and writes the reply.
pub type Handler = fn(&mut Call<'_>) -> CommandResult;

/// The handlers, by row.
pub struct Handlers(Vec<Option<Handler>>);

impl Handlers {
    /// A table of `all`, which has a place for every row.
    #[must_use]
    pub fn new(all: Vec<Option<Handler>>) -> Self {
        Self(all)
    }

    /// The handlers of the rows that `keep` holds for. They live as long as the process.
    pub(super) fn only(&self, keep: impl Fn(&CommandSpec) -> bool) -> &'static Self {
        let rows = command::all().iter().zip(&self.0);
        let kept = rows.map(|(row, handler)| handler.filter(|_| keep(row)));
        Box::leak(Box::new(Self(kept.collect())))
    }

    /// The handler of a row, if it is written yet.
    #[inline]
    #[must_use]
    pub fn of(&self, id: CommandId) -> Option<Handler> {
        self.0[id.index()]
    }
}
