//! What a handler is given: the arguments, the keyspace, the client, and the engine's other parts.

use redstart_common::command::CommandId;
use redstart_common::resp::{Args, OwnedArgs, error};

use super::feed::Form;
use super::waiting::{Blocked, Nothing};
use super::watch::Presence;
use crate::client::{Client, Clients, Flags};
use crate::engine::Core;
use crate::keyspace::shared::IncidentKind;
use crate::keyspace::{Db, Keyspace, Kind};
use crate::replicating::awaited::Awaited;
use crate::replication::Offset;
use crate::settings::notify::Classes;

/// One run of a command.
///
/// The parts are fields, not methods, so that a handler can hold a value of the keyspace and write the reply at
/// the same time.
pub struct Call<'a> {
    /// The databases.
    pub keyspace: &'a mut Keyspace,
    /// Everything else of the engine.
    pub core: &'a mut Core,
    /// Who asks.
    pub client: &'a mut Client,
    /// The arguments; the first is the command's name.
    pub args: Args<'a>,
    /// The command's row.
    pub row: CommandId,
}

/// Marks the transaction that client `id` may begin as spoiled; `own` is the client that runs.
fn spoil(own: &mut Client, clients: &mut Clients, id: u64) {
    if id == own.id {
        own.flags.set(Flags::DIRTY_CAS);
    } else if let Some(other) = clients.by_id(id) {
        other.flags.set(Flags::DIRTY_CAS);
    }
}

/// Why a waiter stops waiting without having been served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unblock {
    /// Its time is over.
    Timeout,
    /// CLIENT UNBLOCK … ERROR.
    Error,
    /// This server follows a primary now.
    RoleChange,
    /// The server does not end after all.
    Lives,
    /// The stream that it waits for is gone.
    StreamGone,
    /// The keys are served elsewhere, or nowhere: with the error that says so.
    Elsewhere(super::CommandError),
}

impl<'a> Call<'a> {
    /// A call that no request asked for: what the engine does by itself, or in the place of a refused command.
    #[must_use]
    pub fn aside(keyspace: &'a mut Keyspace, core: &'a mut Core, client: &'a mut Client) -> Self {
        let row = const { redstart_common::command::id_of("ping") };
        Self { keyspace, core, client, args: Args::new(&[], &[]), row }
    }

    /// The client's database.
    #[inline]
    pub fn db(&mut self) -> &mut Db {
        self.keyspace.db(self.client.db)
    }

    /// Whether this server is a node of a cluster, which has one database.
    #[must_use]
    pub fn is_in_cluster(&self) -> bool {
        self.core.cluster.is_some()
    }

    /// The wall clock of this command, in milliseconds since 1970.
    #[inline]
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.keyspace.shared.now_ms.get()
    }

    /// Bytes that may wait for the client before it is closed for them: a reply that is already longer need not go on.
    #[must_use]
    pub fn output_most(&self) -> usize {
        match self.core.settings.client_output_buffer_limit.of(self.client).hard_bytes {
            0 => usize::MAX,
            most => most,
        }
    }

    /// The argument at `index`, which arity has promised.
    #[inline]
    #[must_use]
    pub fn arg(&self, index: usize) -> &'a [u8] {
        self.args.at(index)
    }

    /// Counts changes; one or more has the command propagated.
    #[inline]
    pub fn dirty(&mut self, changes: u64) {
        self.core.feed.dirty += changes;
    }

    /// A key of the client's database has changed: watchers and waiters are told.
    #[inline]
    pub fn modified(&mut self, key: &[u8]) {
        self.modified_in(self.client.db, key);
    }

    /// A key of the client's database has changed in a way that neither watchers nor waiters hear of: who reads it may have
    /// to wait for the log all the same.
    #[inline]
    pub fn modified_unheard(&mut self, key: &[u8]) {
        if self.core.unsynced.is_on() {
            self.core.unsynced.note(key);
        }
    }

    /// A key of database `db` has changed.
    #[inline]
    pub fn modified_in(&mut self, db: usize, key: &[u8]) {
        if self.core.unsynced.is_on() {
            self.core.unsynced.note(key);
        }
        if !self.core.watches.is_empty() {
            self.tell_watchers(db, key);
        }
        if !self.core.blocking.is_empty() {
            self.core.blocking.note(db, key);
        }
        if !self.core.tracking.is_idle() {
            let Core { tracking, clients, .. } = &mut *self.core;
            tracking.changed(clients, self.client, key);
        }
    }

    #[cold]
    fn tell_watchers(&mut self, db: usize, key: &[u8]) {
        // What expired did so before.
        if self.keyspace.shared.has_incidents() {
            self.settle();
        }
        let Core { watches, clients, .. } = &mut *self.core;
        let is_there = || self.keyspace.dbs[db].look_any(key).is_some();
        watches.touch(db, key, is_there, |id| spoil(self.client, clients, id));
    }

    /// A key past its deadline was removed, and may have been set again by now.
    fn expired(&mut self, db: usize, key: &[u8]) {
        if self.core.blocking.has_group_readers() {
            self.core.blocking.note(db, key);
        }
        if !self.core.tracking.is_idle() {
            let Core { tracking, clients, .. } = &mut *self.core;
            tracking.changed(clients, self.client, key);
        }
        let Core { watches, clients, .. } = &mut *self.core;
        watches.touch(db, key, || false, |id| spoil(self.client, clients, id));
    }

    /// A whole database is about to be emptied, or exchanged for `other`: watchers of keys that are, or will be,
    /// there are told.
    pub fn modified_all(&mut self, db: usize, other: Option<usize>) {
        let presence = |keyspace: &Keyspace, key: &[u8]| {
            other.map_or(Presence::Absent, |other| presence(&keyspace.dbs[other], key))
        };
        self.replaced_by(db, presence);
    }

    /// A whole database is about to be emptied, or to be replaced by `new`, which is none of the engine's yet.
    pub fn replaced_all(&mut self, db: usize, new: Option<&Db>) {
        self.replaced_by(db, |_, key| new.map_or(Presence::Absent, |new| presence(new, key)));
    }

    fn replaced_by(&mut self, db: usize, after: impl Fn(&Keyspace, &[u8]) -> Presence) {
        self.core.unsynced.note_all();
        if self.core.watches.is_empty() {
            return;
        }
        let keyspace = &*self.keyspace;
        let change = |key: &[u8]| (presence(&keyspace.dbs[db], key), after(keyspace, key));
        let Core { watches, clients, .. } = &mut *self.core;
        watches.touch_all(db, change, |id| spoil(self.client, clients, id));
    }

    /// Publishes a keyspace event of the client's database, if its class is wanted.
    #[inline]
    pub fn notify(&mut self, class: Classes, event: &str, key: &[u8]) {
        self.notify_in(self.client.db, class, event, key);
    }

    /// Publishes a keyspace event of database `db`, if its class is wanted.
    #[inline]
    pub fn notify_in(&mut self, db: usize, class: Classes, event: &str, key: &[u8]) {
        if self.keyspace.shared.has_incidents() {
            self.settle();
        }
        if self.core.settings.notify_keyspace_events.any(class) {
            self.publish_event(db, event, key);
        }
    }

    #[cold]
    fn publish_event(&mut self, db: usize, event: &str, key: &[u8]) {
        use crate::pubsub::Channel::Plain;
        // What lies aside nobody sees.
        if self.keyspace.dbs[db].is_aside(key) {
            return;
        }
        let wanted = self.core.settings.notify_keyspace_events;
        let core = &mut *self.core;
        if core.pubsub.is_silent() {
            return;
        }
        if wanted.any(Classes::KEYSPACE) {
            let mut channel = format!("__keyspace@{db}__:").into_bytes();
            channel.extend_from_slice(key);
            let message = event.as_bytes();
            core.pubsub.publish(
                &mut core.clients,
                Some(&mut *self.client),
                Plain,
                &channel,
                message,
            );
        }
        if wanted.any(Classes::KEYEVENT) {
            let channel = format!("__keyevent@{db}__:{event}").into_bytes();
            core.pubsub.publish(&mut core.clients, Some(&mut *self.client), Plain, &channel, key);
        }
    }

    /// Takes the incidents of look-ups and has them propagated and published, in their order.
    pub fn settle(&mut self) {
        for incident in self.keyspace.shared.take_incidents() {
            match incident.what {
                IncidentKind::Expired => {
                    let word: &[u8] =
                        if self.core.settings.lazyfree_lazy_expire { b"UNLINK" } else { b"DEL" };
                    self.core.feed.push(incident.db, &[word, &incident.key]);
                    self.notify_in(incident.db, Classes::EXPIRED, "expired", &incident.key);
                    self.expired(incident.db, &incident.key);
                }
                IncidentKind::FieldsExpired { emptied } => {
                    let mut words: Vec<&[u8]> = vec![b"HDEL", &incident.key];
                    words.extend(incident.fields.iter().map(|field| &**field));
                    self.core.feed.push(incident.db, &words);
                    self.notify_in(incident.db, Classes::HASH, "hexpired", &incident.key);
                    if emptied {
                        self.notify_in(incident.db, Classes::GENERIC, "del", &incident.key);
                    }
                    self.modified_in(incident.db, &incident.key);
                }
                IncidentKind::Missed => {
                    self.notify_in(incident.db, Classes::MISS, "keymiss", &incident.key);
                }
                IncidentKind::Added => {
                    self.notify_in(incident.db, Classes::NEW, "new", &incident.key);
                }
            }
        }
    }

    /// Has `args` propagated instead of the command as it came. May be called several times.
    pub fn propagate_instead(&mut self, args: &[&[u8]]) {
        if self.keyspace.shared.has_incidents() {
            self.settle();
        }
        self.core.feed.form = Form::Replaced;
        self.core.feed.push(self.client.db, args);
    }

    /// Has the command propagated as it came, with other words in some places.
    pub fn propagate_changed(&mut self, changes: &[(usize, &[u8])]) {
        if self.keyspace.shared.has_incidents() {
            self.settle();
        }
        self.core.feed.form = Form::Replaced;
        self.core.feed.push_changed(self.client.db, self.args, changes);
    }

    /// Has nothing propagated for this command but what the handler adds.
    pub fn propagate_nothing(&mut self) {
        self.core.feed.form = Form::Replaced;
    }

    /// A key was emptied and removed by the command: what follows from that.
    pub fn removed(&mut self, key: &[u8]) {
        self.notify(Classes::GENERIC, "del", key);
    }

    /// A call within this one: by the same client, under the same row, with arguments of its own.
    pub fn within<'b>(&'b mut self, args: Args<'b>) -> Call<'b> {
        Call {
            keyspace: &mut *self.keyspace,
            core: &mut *self.core,
            client: &mut *self.client,
            args,
            row: self.row,
        }
    }

    /// Whether the client may be made to wait.
    #[must_use]
    pub fn may_block(&self) -> bool {
        !self.client.flags.any(Flags::EXECUTING.or(Flags::DENY_BLOCKING))
    }

    /// Makes the client wait for any of `keys` to hold a `kind`, for `timeout_ms` (0 is for ever). Where it may not
    /// wait it is told `nothing` at once.
    pub fn block<'k>(
        &mut self,
        kind: Kind,
        keys: impl Iterator<Item = &'k [u8]>,
        timeout_ms: i64,
        nothing: Nothing,
    ) {
        let args = self.args;
        self.block_as(kind, keys, timeout_ms, nothing, || OwnedArgs::from_args(args));
    }

    /// As [`Call::block`]; when the client is served, its command has the arguments that `args` makes now.
    pub fn block_as<'k>(
        &mut self,
        kind: Kind,
        keys: impl Iterator<Item = &'k [u8]>,
        timeout_ms: i64,
        nothing: Nothing,
        args: impl FnOnce() -> OwnedArgs,
    ) {
        if !self.may_block() {
            return self.answer_nothing(nothing);
        }
        self.client.flags.set(Flags::BLOCKED);
        if self.client.flags.any(Flags::SERVING) {
            return;
        }
        let deadline_ms = (timeout_ms > 0).then(|| self.now_ms().saturating_add(timeout_ms));
        let mut blocked = Blocked {
            kind,
            db: self.client.db,
            keys: keys.map(Box::from).collect(),
            deadline_ms,
            nothing,
            command: self.row,
            args: args(),
            place: 0,
        };
        self.core.blocking.add(self.client.id, &mut blocked);
        self.client.blocked = Some(Box::new(blocked));
        if deadline_ms.is_some() {
            self.core.alarm();
        }
    }

    /// Makes the client wait until `wanted` replicas have acknowledged an offset, for `timeout_ms` (0 is for ever).
    pub fn wait_for_replicas(&mut self, offset: Offset, wanted: i64, timeout_ms: i64) {
        let count = usize::try_from(wanted).unwrap_or(0);
        self.core.replicating.waiting.add(self.client.id, offset, count);
        self.block(Kind::Stream, std::iter::empty(), timeout_ms, Nothing::Acked(offset.bytes()));
    }

    /// Makes the client wait for disks, for `timeout_ms` (0 is for ever).
    pub fn wait_for_disks(&mut self, awaited: Awaited, timeout_ms: i64) {
        self.core.replicating.waiting_for_disks.push((self.client.id, awaited));
        self.block(Kind::Stream, std::iter::empty(), timeout_ms, Nothing::OnDisks);
    }

    /// Whether a command that waited for several keys may take from this one: from that which was written, as Redis does,
    /// though another of them may hold something by now.
    #[inline]
    #[must_use]
    pub fn may_take(&self, key: &[u8]) -> bool {
        self.client.served_key.as_deref().is_none_or(|served| served == key)
    }

    /// Makes the client wait for the end of the server.
    pub fn wait_for_end(&mut self) {
        self.block(Kind::Stream, std::iter::empty(), 0, Nothing::Ended);
    }

    fn answer_nothing(&mut self, nothing: Nothing) {
        match nothing {
            Nothing::Null | Nothing::Moved => self.client.reply.null(),
            Nothing::NullArray => self.client.reply.null_array(),
            Nothing::Acked(_) => self.client.reply.integer(0),
            Nothing::OnDisks => self.client.reply.array(0),
            Nothing::Ended => {}
        }
    }
}

/// Whether a watched key is there.
fn presence(db: &Db, key: &[u8]) -> Presence {
    match db.look_any(key) {
        None => Presence::Absent,
        Some(entry) if entry.deadline().is_some_and(|deadline| deadline <= db.now_ms()) => {
            Presence::Stale
        }
        Some(_) => Presence::Live,
    }
}

impl Core {
    /// Ends a client's waiting without serving it. Answers whether it waited.
    pub fn unblock(&mut self, id: u64, why: Unblock) -> bool {
        let Some(client) = self.clients.by_id(id) else { return false };
        let Some(blocked) = client.blocked.take() else { return false };
        client.flags.clear(Flags::BLOCKED);
        // However it ends: what is acknowledged later is no answer to what the client waits for then.
        self.replicating.waiting.remove(id);
        let awaited = self.replicating.take_awaited(id);
        let before = client.reply.end();
        match (&why, blocked.nothing) {
            (Unblock::Timeout, Nothing::Null) => client.reply.null(),
            (Unblock::Timeout, Nothing::NullArray | Nothing::Moved) => client.reply.null_array(),
            // It has no time.
            (Unblock::Timeout, Nothing::Ended) => {}
            (Unblock::Timeout, Nothing::Acked(offset)) => {
                let acked = Offset::after(offset).map_or(0, |at| self.replication.acked(at));
                client.reply.count(acked);
            }
            (Unblock::Timeout, Nothing::OnDisks) => {
                if let Some(awaited) = awaited {
                    awaited.standing(&self.replication, &self.logging).write(&mut client.reply);
                }
            }
            (Unblock::RoleChange, _) => {
                let text = "UNBLOCKED force unblock from blocking operation, instance state changed \
                            (master -> replica?)";
                client.reply.error(text);
                self.stats.count_error(text);
            }
            (Unblock::Lives, _) => {
                let text = "ERR Errors trying to SHUTDOWN. Check logs.";
                client.reply.error(text);
                self.stats.count_error(text);
            }
            (Unblock::Elsewhere(error), _) => {
                client.reply.error(error.text());
                self.stats.count_error(error.text());
                self.stats.waited(blocked.command, 0, true);
            }
            (Unblock::StreamGone, _) => {
                let text = error::STREAM_GONE;
                client.reply.error(text);
                self.stats.count_error(text);
                self.stats.waited(blocked.command, 0, true);
            }
            (Unblock::Error, _) => {
                let text = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
                client.reply.error(text);
                self.stats.count_error(text);
                self.stats.waited(blocked.command, 0, true);
            }
        }
        if client.flags.any(Flags::REPLY_OFF) {
            client.reply.truncate(before);
        }
        client.mark();
        if let Some(connection) = &client.connection {
            connection.wake();
        }
        self.blocking.remove(id, &blocked);
        true
    }
}
