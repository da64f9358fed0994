//! CLIENT PAUSE: commands, or only writes, wait for a time.

use redstart_common::command::{CommandId, Resolved, id_of, spec::Flags as RowFlags};
use redstart_common::resp::Args;

use crate::client::{Client, Flags};
use crate::engine::{Core, Engine};
use crate::keyspace::Shared;

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

impl Core {
    /// Begins a pause, or makes the one that is on longer or stricter.
    pub fn pause(&mut self, kind: Pause, until_ms: i64, shared: &Shared) {
        let (kind, until_ms) = match self.paused {
            Some((Pause::All, until)) => (Pause::All, until.max(until_ms)),
            Some((_, until)) => (kind, until.max(until_ms)),
            None => (kind, until_ms),
        };
        self.paused = Some((kind, until_ms));
        // A paused data set does not change by itself either.
        shared.keep_expired.set(true);
    }

    /// Ends the pause that is on.
    pub fn unpause(&mut self, shared: &Shared) {
        self.paused = None;
        shared.keep_expired.set(false);
        for client in self.clients.iter_mut() {
            if client.flags.any(Flags::PAUSED) {
                client.flags.clear(Flags::PAUSED);
                if let Some(connection) = &client.connection {
                    connection.wake();
                }
            }
        }
    }

    /// Ends the pause if its time is over. The regular work asks at each round, and so does a request that would wait: as
    /// in Redis a pause may last a round of the regular work longer than was asked for.
    pub fn check_pause(&mut self, shared: &Shared) {
        if self.paused.is_some_and(|(_, until)| until <= shared.now_ms.get()) {
            self.unpause(shared);
        }
    }
}

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
