//! Keys on their way to another server.
//!
//! The values are taken at once and sent by a thread; meanwhile the client that asked waits, and others are served.
//! So that a key is never lost, doubled or changed in between, requests that name a key on its way wait too, as do
//! those that write without naming keys (FLUSHALL, SWAPDB), until the key is gone from here or stays. Redis has
//! everybody wait. What may be seen in between is that KEYS, SCAN or DBSIZE still count a key that has arrived.

pub mod transfer;

use std::time::{Duration, Instant};

use hashbrown::HashMap;
use redstart_common::command::spec::Flags as RowFlags;
use redstart_common::command::{CommandId, Resolved, id_of, keys};
use redstart_common::resp::{Args, OwnedArgs};

use crate::client::{Client, Flags};
use crate::dispatch::Call;
use crate::dispatch::notify::Classes;
use crate::engine::Engine;
use transfer::{Job, Link, Outcome, Target};

/// Connections that are kept, at most.
const LINKS_MAX: usize = 64;
/// How long an unused connection is kept.
const LINK_TTL: Duration = Duration::from_secs(10);

/// Who carries jobs while the engine goes on.
type Carrier = Box<dyn Fn(u64, Job)>;

/// Everything that is on its way, and connections for what comes next.
#[derive(Default)]
pub struct Migrations {
    links: HashMap<Target, (Link, Instant)>,
    moving: Vec<Moving>,
    finished: Vec<(u64, Outcome)>,
    tickets: u64,
    carrier: Option<Carrier>,
}

/// One MIGRATE.
struct Moving {
    ticket: u64,
    client: u64,
    /// The client does not want to hear how it went.
    silent: bool,
    db: usize,
    target: Target,
    keys: Vec<Box<[u8]>>,
    /// Keys stay here as well, so nobody needs to wait for them.
    copy: bool,
    args: OwnedArgs,
    since: Instant,
}

const MIGRATE: CommandId = id_of("migrate");

impl Migrations {
    /// Has jobs done by `carrier`, who ends each with [`Engine::finish_migration`]. Without one they are done in
    /// the place of the command.
    pub fn set_carrier(&mut self, carrier: impl Fn(u64, Job) + 'static) {
        self.carrier = Some(Box::new(carrier));
    }

    /// Whether somebody carries jobs while the engine goes on.
    #[must_use]
    pub fn has_carrier(&self) -> bool {
        self.carrier.is_some()
    }

    /// Connections that are kept.
    #[must_use]
    pub fn link_count(&self) -> usize {
        self.links.len()
    }

    /// A kept connection to a target.
    pub fn take_link(&mut self, target: &Target) -> Option<Link> {
        self.links.remove(target).map(|(link, _)| link)
    }

    /// Keeps a connection for later jobs.
    pub fn keep_link(&mut self, target: Target, link: Option<Link>) {
        let Some(link) = link else { return };
        if self.links.len() >= LINKS_MAX
            && let Some(any) = self.links.keys().next().cloned()
        {
            self.links.remove(&any);
        }
        self.links.insert(target, (link, Instant::now()));
    }

    /// Closes connections that nobody has used for a while.
    pub fn close_idle_links(&mut self) {
        self.links.retain(|_, (_, used)| used.elapsed() <= LINK_TTL);
    }

    /// Whether keys are on their way.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.moving.is_empty()
    }

    /// Whether a command must wait until keys have arrived.
    #[cold]
    pub fn holds(&self, id: CommandId, args: Args<'_>) -> bool {
        if self.moving.iter().all(|moving| moving.copy) {
            return false;
        }
        let row = id.spec();
        let mut places = keys::positions(row, args).peekable();
        if places.peek().is_none() {
            return row.flags.contains(RowFlags::WRITE);
        }
        // Whatever the database, for some commands name a second one.
        places.any(|place| {
            let key = args.get(place).unwrap_or_default();
            let moving = self.moving.iter().filter(|moving| !moving.copy);
            moving.flat_map(|moving| &moving.keys).any(|held| **held == *key)
        })
    }
}

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
            self.core.effects.push(db, &words);
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
        if self.core.paused.is_some() || self.core.migrations.finished.is_empty() {
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
        for client in self.core.clients.iter_mut() {
            if client.flags.any(Flags::PAUSED) {
                client.flags.clear(Flags::PAUSED);
                if let Some(connection) = &client.connection {
                    connection.wake();
                }
            }
        }
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
            self.core.effects.flush();
        }
        let took = u64::try_from(moved.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.core.stats.ran(MIGRATE, took, error.is_some());
        if let Some(text) = &error {
            self.core.stats.count_error(text);
        }
        let slot = self.core.clients.slot_of(moved.client);
        let Some(mut client) = slot.and_then(|slot| self.core.clients.take(slot)) else { return };
        client.flags.clear(Flags::BLOCKED);
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
        self.core.note_slow(&client, MIGRATE, took, moved.args.as_args());
        self.core.clients.put_back(client);
    }
}
