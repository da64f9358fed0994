//! Requests that have to wait: for the end of CLIENT PAUSE, or for keys on their way.

use redstart_common::command::{CommandId, Resolved, id_of, keys, spec::Flags as RowFlags};
use redstart_common::resp::Args;
use redstart_common::slot::key_slot;

use crate::client::{Client, Flags, Origin};
use crate::engine::{Core, Engine};
use crate::pause::Pause;

fn is_held(core: &Core, kind: Pause, client: &Client, id: CommandId, args: Args<'_>) -> bool {
    if kind == Pause::All {
        return true;
    }
    let flags = core.scripting.flags_of(id.spec(), args);
    let writes = |flags: RowFlags| flags.intersects(RowFlags::WRITE.or(RowFlags::MAY_REPLICATE));
    if client.flags.any(Flags::MULTI) && id != const { id_of("exec") } {
        return false;
    }
    writes(flags)
        || (id == const { id_of("exec") }
            && client.multi.as_ref().is_some_and(|multi| {
                multi.queue.iter().any(|queued| {
                    let row = queued.command.spec();
                    writes(core.scripting.flags_of(row, queued.args.as_args()))
                })
            }))
}

impl Engine {
    /// Whether the request must wait, because of CLIENT PAUSE or for keys on their way; the client is marked so.
    #[inline]
    pub fn pauses(&mut self, client: &mut Client, args: Args<'_>) -> bool {
        if !self.core.migrations.is_empty() && self.waits_for_move(client, args) {
            return true;
        }
        if self.core.save.is_some() && self.waits_for_save(client, args) {
            return true;
        }
        if self.core.clustering.moving.holds() && self.waits_for_slots(client, args) {
            return true;
        }
        let paused = match self.core.replicating.allowance {
            Some(0) => self.core.paused.or(Some((Pause::Writes, i64::MAX))),
            _ => self.core.paused,
        };
        let Some((kind, _)) = paused else { return false };
        // Replicas and the primary are heard at any time.
        if client.flags.any(Flags::REPLICA) || client.origin != Origin::Client {
            return false;
        }
        self.core.check_pause(&self.keyspace.shared);
        if self.core.paused.is_none() && self.core.replicating.allowance != Some(0) {
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
        if unpauses || !is_held(&self.core, kind, client, id, args) {
            return false;
        }
        client.flags.set(Flags::PAUSED);
        true
    }

    /// Whether the request must wait because it would write to slots that are being handed over, or to all; the client is marked
    /// so.
    #[cold]
    fn waits_for_slots(&mut self, client: &mut Client, args: Args<'_>) -> bool {
        if client.origin != Origin::Client || client.flags.any(Flags::REPLICA.or(Flags::IMPORT)) {
            return false;
        }
        let found = self.core.renames.resolve(args.at(0), args.get(1));
        let Resolved::Command(id) = found else { return false };
        if !id.spec().accepts_count(args.len())
            || !is_held(&self.core, Pause::Writes, client, id, args)
        {
            return false;
        }
        let moving = &self.core.clustering.moving;
        let queued = client.multi.as_ref().filter(|_| id == const { id_of("exec") });
        let is_there = |id: CommandId, args: Args<'_>| {
            let mut places = keys::positions(id.spec(), args).peekable();
            if places.peek().is_none() {
                return id.spec().flags.contains(RowFlags::WRITE);
            }
            places.any(|place| moving.holds_slot(key_slot(args.get(place).unwrap_or_default())))
        };
        let held = match queued {
            Some(multi) => {
                multi.queue.iter().any(|queued| is_there(queued.command, queued.args.as_args()))
            }
            None => is_there(id, args),
        };
        if held {
            client.flags.set(Flags::PAUSED);
        }
        held
    }

    /// Whether the request must wait until a large value that it would change is saved; the client is marked so.
    #[cold]
    fn waits_for_save(&mut self, client: &mut Client, args: Args<'_>) -> bool {
        let Some(save) = self.core.save.as_mut().filter(|save| !save.is_sent()) else {
            return false;
        };
        if client.origin != Origin::Client {
            return false;
        }
        let found = self.core.renames.resolve(args.at(0), args.get(1));
        let Resolved::Command(id) = found else { return false };
        if !id.spec().accepts_count(args.len()) {
            return false;
        }
        let db = client.db;
        let queued = client.multi.as_ref().filter(|_| id == const { id_of("exec") });
        let mut held = false;
        let mut look = |id: CommandId, args: Args<'_>| {
            if !id.spec().flags.contains(RowFlags::WRITE) {
                return;
            }
            for place in keys::positions(id.spec(), args) {
                let key = args.get(place).unwrap_or_default();
                let db = &self.keyspace.dbs[db];
                held |= db.look_any(key).is_some_and(|entry| save.snapshot.holds(db.home(), entry));
            }
        };
        match queued {
            Some(multi) => {
                multi.queue.iter().for_each(|queued| look(queued.command, queued.args.as_args()));
            }
            None if client.flags.any(Flags::MULTI) => {}
            None => look(id, args),
        }
        if held {
            client.flags.set(Flags::PAUSED);
            save.waiting.push(client.id);
        }
        held
    }
}
