//! Keys on their way to another server: beginning and ending a move, and who waits for it.

use std::time::Instant;

use redstart_common::command::{CommandId, Resolved, id_of};
use redstart_common::resp::{Args, OwnedArgs};

use crate::client::{Client, Flags};
use crate::engine::{Call, Engine};
use crate::migrate::Moving;
use crate::migrate::transfer::{Job, Outcome};
use crate::settings::notify::Classes;

const MIGRATE: CommandId = id_of("migrate");

impl Call<'_> {
    /// Sends a job on its way; the client waits for its end.
    pub fn migrate(&mut self, job: Job, copy: bool) {
        let migrations = &mut self.core.migrations;
        let Some(carrier) = &migrations.carrier else { return };
        migrations.tickets += 1;
        let ticket = migrations.tickets;
        migrations.moving.push(Moving {
            ticket,
            client: self.client.id,
            silent: self.client.flags.any(Flags::REPLY_OFF.or(Flags::REPLY_SKIP)),
            db: self.client.db,
            target: job.target.clone(),
            keys: job.items.iter().map(|item| item.key.clone()).collect(),
            copy,
            args: OwnedArgs::from_args(self.args),
            since: Instant::now(),
        });
        self.client.flags.set(Flags::BLOCKED);
        carrier(ticket, job);
    }

    /// Removes keys that another server holds now.
    pub fn remove_migrated<'k>(&mut self, db: usize, keys: impl Iterator<Item = &'k [u8]>) {
        let mut words: Vec<&[u8]> = vec![b"DEL"];
        for key in keys {
            if self.keyspace.db(db).remove(key) {
                words.push(key);
                self.modified_in(db, key);
                self.notify_in(db, Classes::GENERIC, "del", key);
                self.dirty(1);
            }
        }
        if words.len() > 1 {
            self.core.feed.push(db, &words);
        }
    }
}

impl Engine {
    /// Whether the request must wait because of keys on their way; the client is marked so.
    #[cold]
    pub(crate) fn waits_for_move(&self, client: &mut Client, args: Args<'_>) -> bool {
        let found = self.core.renames.resolve(args.at(0), args.get(1));
        let Resolved::Command(id) = found else { return false };
        let migrations = &self.core.migrations;
        if !id.spec().accepts_count(args.len()) {
            return false;
        }
        let queued = client.multi.as_ref().filter(|_| id == const { id_of("exec") });
        let held = match queued {
            Some(multi) => multi
                .queue
                .iter()
                .any(|queued| migrations.holds(queued.command, queued.args.as_args())),
            None if client.flags.any(Flags::MULTI) => false,
            None => migrations.holds(id, args),
        };
        if held {
            client.flags.set(Flags::PAUSED);
        }
        held
    }

    /// Takes note of how a job ended. While writes are paused nothing follows from it yet.
    pub fn finish_migration(&mut self, ticket: u64, outcome: Outcome) {
        self.core.migrations.finished.push((ticket, outcome));
        self.settle_migrations();
    }

    /// Ends the jobs that are done: keys go, clients are told, and who waited goes on.
    pub fn settle_migrations(&mut self) {
        if self.core.stands_still() || self.core.migrations.finished.is_empty() {
            return;
        }
        for (ticket, outcome) in std::mem::take(&mut self.core.migrations.finished) {
            let moving = &mut self.core.migrations.moving;
            let Some(place) = moving.iter().position(|moving| moving.ticket == ticket) else {
                continue;
            };
            let moved = moving.remove(place);
            self.end_move(&moved, outcome);
        }
        self.core.clients.wake_paused();
        // A waiter whose command names a key that was on its way has been passed over.
        for db in 0..self.keyspace.dbs.len() {
            self.core.blocking.note_all(db);
        }
        if self.core.blocking.has_ready() {
            self.serve_ready();
        }
    }

    fn end_move(&mut self, moved: &Moving, outcome: Outcome) {
        let Outcome { arrived, error, link } = outcome;
        self.core.migrations.keep_link(moved.target.clone(), link);
        if !moved.copy {
            let mut nobody = Client::new(0, 0);
            let mut call = Call::aside(&mut self.keyspace, &mut self.core, &mut nobody);
            let gone = moved.keys.iter().zip(&arrived).filter(|(_, arrived)| **arrived);
            call.remove_migrated(moved.db, gone.map(|(key, _)| &**key));
            self.core.feed.end_call();
        }
        let took = u64::try_from(moved.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.core.stats.ran(MIGRATE, took, error.is_some());
        if let Some(text) = &error {
            self.core.stats.count_error(text);
        }
        let slot = self.core.clients.slot_of(moved.client);
        let Some(mut client) = slot.and_then(|slot| self.core.clients.take(slot)) else { return };
        client.flags.clear(Flags::BLOCKED);
        if self.core.unsynced.is_on() {
            client.flags.set(Flags::AWAITS_LOG);
        }
        let before = client.reply.end();
        if !moved.silent {
            match error {
                Some(text) => client.reply.error(text),
                None => client.reply.ok(),
            }
        }
        client.mark();
        if let Some(connection) = &client.connection {
            connection.wake();
        }
        let reply_bytes = client.reply.end().saturating_sub(before);
        self.core.note_command(&client, MIGRATE, took, moved.args.as_args(), reply_bytes);
        self.core.clients.put_back(client);
    }
}
