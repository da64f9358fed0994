//! What a client has queued since MULTI.

use redstart_common::command::spec::Flags as RowFlags;
use redstart_common::command::{CommandId, spec};
use redstart_common::resp::{Args, OwnedArgs};

use super::{Client, Flags};

/// What MULTI has gathered.
#[derive(Default)]
pub struct Multi {
    /// The commands, in order.
    pub queue: Vec<Queued>,
    /// Bytes their arguments take.
    pub bytes: usize,
}

/// A command that waits in a queue: its row and its arguments.
pub struct Queued {
    /// The row.
    pub command: CommandId,
    /// The arguments, command name included.
    pub args: OwnedArgs,
}

impl Client {
    /// Adds a command to MULTI's queue. After a refusal nothing more is kept, for EXEC will refuse as well.
    pub fn queue(&mut self, command: CommandId, args: Args<'_>) {
        if self.flags.any(Flags::DIRTY_EXEC.or(Flags::DIRTY_CAS)) {
            return;
        }
        let multi = self.multi.get_or_insert_default();
        multi.bytes += args.iter().map(<[u8]>::len).sum::<usize>();
        multi.queue.push(Queued { command, args: OwnedArgs::from_args(args) });
    }

    /// Whether a queued command may take memory.
    pub fn queues_memory(&self) -> bool {
        let takes = |queued: &Queued| spec(queued.command).flags.contains(RowFlags::DENYOOM);
        self.multi.as_ref().is_some_and(|multi| multi.queue.iter().any(takes))
    }
}
