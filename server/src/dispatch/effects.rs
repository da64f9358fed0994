//! The only exit of a write: what a command changed leaves here, in the form in which it is to be repeated.
//!
//! A handler says how many changes it made ([`Call::dirty`](super::Call::dirty)) and, where repeating the command
//! as it came would not give the same data, what to repeat instead (SPOP becomes SREM, EXPIRE becomes PEXPIREAT,
//! BLPOP becomes LPOP). The dispatcher hands the outcome to the sinks: the log and the replicas are such. What one
//! command or one EXEC gave stays together.

use redstart_common::resp::{Args, OwnedArgs};

/// Something that repeats writes: a log, a link to replicas, a test.
pub trait Sink {
    /// One command to repeat in database `db`. PUBLISH and SPUBLISH are for replicas alone. Within a group, `MULTI` and `EXEC` come as commands of their own.
    fn append(&mut self, db: usize, args: Args<'_>);
}

/// How a call leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Form {
    /// As it came, if it changed anything.
    #[default]
    AsGiven,
    /// Only as the handler said.
    Replaced,
}

/// Changes on their way to the sinks.
#[derive(Default)]
pub struct Effects {
    sinks: Vec<Box<dyn Sink>>,
    pending: Vec<(usize, OwnedArgs)>,
    pub(super) form: Form,
    /// Changes since the start; `rdb_changes_since_last_save` counts from here.
    pub dirty: u64,
    in_transaction: bool,
}

impl Effects {
    /// Adds a sink.
    pub fn add_sink(&mut self, sink: Box<dyn Sink>) {
        self.sinks.push(sink);
    }

    /// Whether anybody repeats writes. If not, handlers need not build what nobody takes.
    #[inline]
    #[must_use]
    pub fn wanted(&self) -> bool {
        !self.sinks.is_empty()
    }

    /// Adds a command to repeat, after what is pending.
    pub fn push(&mut self, db: usize, args: &[&[u8]]) {
        if self.wanted() {
            self.pending.push((db, OwnedArgs::from_slices(args)));
        }
    }

    /// Adds a command to repeat as it came.
    #[inline]
    pub(super) fn push_args(&mut self, db: usize, args: Args<'_>) {
        if self.wanted() {
            self.pending.push((db, OwnedArgs::from_args(args)));
        }
    }

    /// From here to [`Effects::end_transaction`], all that is pushed is one group.
    pub(super) fn begin_transaction(&mut self) {
        self.in_transaction = true;
    }

    pub(super) fn end_transaction(&mut self) {
        self.in_transaction = false;
        self.flush();
    }

    /// Hands what is pending to the sinks. Several commands of one call go as a group.
    #[inline]
    pub fn flush(&mut self) {
        if self.pending.is_empty() || self.in_transaction {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        let group = pending.len() > 1;
        let word = |text: &[u8]| OwnedArgs::from_slices(&[text]);
        for sink in &mut self.sinks {
            if group {
                sink.append(pending[0].0, word(b"MULTI").as_args());
            }
            for (db, args) in &pending {
                sink.append(*db, args.as_args());
            }
            if group {
                sink.append(pending[0].0, word(b"EXEC").as_args());
            }
        }
    }
}
