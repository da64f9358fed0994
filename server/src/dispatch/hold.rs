//! Requests that have to wait: for the end of CLIENT PAUSE, or for keys on their way.

use redstart_common::command::{CommandId, Resolved, id_of, spec::Flags as RowFlags};
use redstart_common::resp::Args;

use crate::client::{Client, Flags};
use crate::engine::Engine;
use crate::pause::Pause;

fn is_held(kind: Pause, client: &Client, id: CommandId) -> bool {
    if kind == Pause::All {
        return true;
    }
    let flags = id.spec().flags;
    let writes = |flags: RowFlags| flags.intersects(RowFlags::WRITE.or(RowFlags::MAY_REPLICATE));
    if client.flags.any(Flags::MULTI) && id != const { id_of("exec") } {
        return false;
    }
    writes(flags)
        || (id == const { id_of("exec") }
            && client.multi.as_ref().is_some_and(|multi| {
                multi.queue.iter().any(|queued| writes(queued.command.spec().flags))
            }))
}

impl Engine {
    /// Whether the request must wait, because of CLIENT PAUSE or for keys on their way; the client is marked so.
    #[inline]
    pub fn pauses(&mut self, client: &mut Client, args: Args<'_>) -> bool {
        if !self.core.migrations.is_empty() && self.waits_for_move(client, args) {
            return true;
        }
        let Some((kind, _)) = self.core.paused else { return false };
        self.core.check_pause(&self.keyspace.shared);
        if self.core.paused.is_none() {
            return false;
        }
        let found = self.core.renames.resolve(args.at(0), args.get(1));
        let Resolved::Command(id) = found else { return false };
        if !id.spec().accepts_count(args.len()) {
            // It will be refused, and that needs no waiting.
            return false;
        }
        // Whoever could end the pause must be heard, or it could only be waited for.
        let unpauses = id == const { id_of("client|unpause") };
        if unpauses || !is_held(kind, client, id) {
            return false;
        }
        client.flags.set(Flags::PAUSED);
        true
    }
}
