//! A call from look-up to done.
//!
//! ```text
//!   args ─▶ row ─▶ gates ─▶ queue (MULTI) ─▶ handler ─▶ feed ─▶ statistics ─▶ waiters of written keys
//! ```

mod busy;
pub mod gates;
mod hold;
mod moves;
mod slots;
pub mod transaction;
pub mod unexpected;

use redstart_common::command::{self, CommandId, Resolved, id_of};
use redstart_common::log;
use redstart_common::resp::{self, Args};

pub(crate) use self::busy::answer_while_busy;
use self::unexpected::Peer;
use crate::client::{Client, Flags, describe};
use crate::engine::feed::Form;
use crate::engine::{Call, CommandError, Core, Engine, Handler, Unblock};
use crate::keyspace::{Entry, Keyspace};
use crate::settings::renames::Renames;

/// The outcome of looking a call's row up.
enum Found {
    /// The name is the row's own.
    Row(CommandId),
    /// The name is what `rename-command` made of it, if anything.
    Renamed(CommandId),
    Refused(CommandError),
}

/// Whether the first word of a request is one that begins a line of HTTP. Checked before the look-up, so that neither a
/// `rename-command` nor a transaction hides it.
fn is_http(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"post") || word.eq_ignore_ascii_case(b"host:")
}

/// Commands that run at once even when the client has begun a transaction.
fn runs_within_multi(id: CommandId) -> bool {
    const AT_ONCE: [CommandId; 6] = [
        id_of("exec"),
        id_of("discard"),
        id_of("multi"),
        id_of("watch"),
        id_of("quit"),
        id_of("reset"),
    ];
    AT_ONCE.contains(&id)
}

/// Whether a command's answers are messages, which CLIENT REPLY does not silence.
fn answers_by_push(id: CommandId) -> bool {
    id.spec().name.ends_with("subscribe")
}

/// Finds the row of a call, sub-commands included.
fn find(renames: &Renames, args: Args<'_>) -> Found {
    match renames.resolve(args.at(0), args.get(1)) {
        Resolved::Command(id) => Found::Row(id),
        Resolved::UnknownCommand => Found::Refused(unknown_command(args)),
        Resolved::UnknownSubcommand(_) => {
            let text = resp::error::unknown_subcommand(args.at(0), args.at(1));
            Found::Refused(CommandError::made(text))
        }
    }
}

fn unknown_command(args: Args<'_>) -> CommandError {
    CommandError::made(resp::error::unknown_command(args.iter()))
}

impl Engine {
    /// Executes one request of a client: looks the row up, lets the gates refuse, queues or runs it.
    ///
    /// The client is out of its place meanwhile. Its reply is appended to its output.
    pub fn execute(&mut self, client: &mut Client, args: Args<'_>) {
        if is_http(args.at(0)) {
            return self.turn_away_http(client);
        }
        let found = find(&self.core.renames, args);
        if let Found::Row(id) = found
            && !self.core.renames.is_empty()
        {
            return self.execute_found(client, Found::Renamed(id), args);
        }
        self.execute_found(client, found, args);
    }

    /// Executes a command of the log. Answers whether it is known.
    pub fn replay(&mut self, client: &mut Client, args: Args<'_>) -> bool {
        let (Found::Row(id) | Found::Renamed(id)) = find(&self.core.renames, args) else {
            return false;
        };
        if self.core.handlers.of(id).is_none() {
            return false;
        }
        let errors = self.core.stats.total_errors;
        self.admit_row(client, id, args);
        self.core.look_for_error(Peer::Log, client, errors);
        // Nobody hears it.
        client.reply.truncate(0);
        true
    }

    /// Executes one request whose row is known.
    #[inline]
    pub fn execute_row(&mut self, client: &mut Client, row: CommandId, args: Args<'_>) {
        self.execute_found(client, Found::Row(row), args);
    }

    #[inline]
    fn execute_found(&mut self, client: &mut Client, found: Found, args: Args<'_>) {
        let before = client.reply.end();
        if client.flags.any(Flags::REPLY_SKIP_NEXT) {
            client.flags.clear(Flags::REPLY_SKIP_NEXT);
            client.flags.set(Flags::REPLY_SKIP);
        }
        match found {
            Found::Row(id) => match self.core.named.of(id) {
                Some(handler) => self.admit(client, id, handler, args),
                None => self.admit_renamed(client, args),
            },
            Found::Renamed(id) => self.admit_row(client, id, args),
            Found::Refused(error) => self.refuse(client, None, &error),
        }
        const CLOSELY: Flags = Flags::REPLY_OFF
            .or(Flags::REPLY_SKIP)
            .or(Flags::TRACKING)
            .or(Flags::REPLICA)
            .or(Flags::IMPORT)
            .or(Flags::ASKING);
        if client.flags.any(CLOSELY) {
            self.finish_reply(client, before);
        }
        if self.core.blocking.has_ready() && !client.flags.any(Flags::EXECUTING) {
            self.serve_ready();
        }
    }

    /// Closes the connection of a client that speaks HTTP: a web page may have its reader's browser send such a request, and
    /// commands in its body would run with the rights of that machine. What else the client has sent is not heard.
    #[cold]
    fn turn_away_http(&mut self, client: &mut Client) {
        const QUIET_MS: i64 = 60_000;
        let now = self.keyspace.shared.now_ms.get();
        let last = self.core.stats.attack_logged_ms;
        if last.is_none_or(|last| (now - last).abs() > QUIET_MS) {
            self.core.stats.attack_logged_ms = Some(now);
            log!(
                Warning,
                "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: \
                 commands to Redis. This is likely due to an attacker attempting to use Cross Protocol \
                 Scripting to compromise your Redis instance. Connection aborted."
            );
        }
        client.close_asap();
    }

    /// Takes back a reply that is not wanted, and adds what had to wait for it.
    #[cold]
    fn finish_reply(&mut self, client: &mut Client, before: usize) {
        if client.flags.any(Flags::REPLICA) {
            self.silence_replica(client, before);
        }
        if client.flags.any(Flags::IMPORT) {
            self.silence_source(client, before);
        }
        // It holds for one command.
        if client.last_command != Some(const { id_of("asking") }) && !client.flags.any(Flags::MULTI)
        {
            client.flags.clear(Flags::ASKING);
        }
        if client.flags.any(Flags::REPLY_OFF.or(Flags::REPLY_SKIP)) {
            if !client.last_command.is_some_and(answers_by_push) {
                client.reply.truncate(before);
            }
            client.flags.clear(Flags::REPLY_SKIP);
        }
        self.core.tracking.tell_pending(&mut self.core.clients, Some(client));
        let about_clients = client.last_command.and_then(|id| id.spec().container);
        let keeps = about_clients == Some(const { id_of("client") });
        if let Some(mode) = &mut client.tracking
            && !keeps
            && !client.flags.any(Flags::MULTI)
        {
            mode.caching = false;
        }
    }

    /// Nobody hears what a source's commands answer; one that could not be done ends the move.
    fn silence_source(&mut self, client: &mut Client, before: usize) {
        if client.last_command == Some(const { id_of("cluster|syncslots") }) {
            return;
        }
        let reply = client.reply.output.tail_from(before).unwrap_or_default();
        let error = reply
            .strip_prefix(b"-")
            .map(|text| String::from_utf8_lossy(text).trim_end().to_owned());
        client.reply.truncate(before);
        if let Some(text) = error {
            self.core.import_failed(&mut self.keyspace, client, &text);
        }
    }

    /// What a replica is sent is the stream, and a reply would be taken for a part of it: the replica that asks for one goes.
    fn silence_replica(&mut self, client: &mut Client, before: usize) {
        const OWN: [CommandId; 3] = [id_of("psync"), id_of("replconf"), id_of("sync")];
        let is_own = client.last_command.is_some_and(|id| OWN.contains(&id));
        if is_own || client.reply.end() <= before {
            return;
        }
        let name = client.last_command.map_or("<unknown>", |id| id.spec().name);
        let reply = client.reply.output.tail_from(before).unwrap_or_default();
        if let Some(text) = reply.strip_prefix(b"-") {
            self.core.unexpected_error(Peer::Replica, text, name);
        }
        client.reply.truncate(before);
        let line = describe(client, self.keyspace.shared.now_ms.get());
        log!(Warning, "Replica generated a reply to command '{name}', disconnecting it: {line}");
        client.close_asap();
    }

    /// Takes a request whose name is not its row's own, or whose row has no handler.
    #[cold]
    fn admit_renamed(&mut self, client: &mut Client, args: Args<'_>) {
        match find(&self.core.renames, args) {
            Found::Row(id) | Found::Renamed(id) => self.admit_row(client, id, args),
            Found::Refused(error) => self.refuse(client, None, &error),
        }
    }

    #[cold]
    fn admit_row(&mut self, client: &mut Client, id: CommandId, args: Args<'_>) {
        if let Some(handler) = self.core.handlers.of(id) {
            return self.admit(client, id, handler, args);
        }
        client.last_command = Some(id);
        // A container named alone lacks its sub-command, if it has any that runs.
        let row = command::spec(id);
        let runs = row.subcommands().iter().any(|sub| self.core.handlers.of(sub.id).is_some());
        let error = if runs { CommandError::arity(row.name) } else { unknown_command(args) };
        self.refuse(client, runs.then_some(id), &error);
    }

    fn admit(&mut self, client: &mut Client, id: CommandId, handler: Handler, args: Args<'_>) {
        let row = command::spec(id);
        client.last_command = Some(id);
        if !row.accepts_count(args.len()) {
            return self.refuse(client, Some(id), &CommandError::arity(row.name));
        }
        if let Err(error) = self.gates(client, row, args) {
            return self.refuse(client, Some(id), &error);
        }
        if client.flags.any(Flags::MULTI) && !runs_within_multi(id) {
            client.queue(id, args);
            client.reply.raw(b"+QUEUED\r\n");
            return;
        }
        run(&mut self.keyspace, &mut self.core, client, id, handler, args);
        self.core.feed.end_call();
    }

    /// Answers with an error a command that was not run.
    fn refuse(&mut self, client: &mut Client, id: Option<CommandId>, error: &CommandError) {
        refuse(&mut self.keyspace, &mut self.core, client, id, error);
    }

    /// Serves those who wait for keys that were written, until nothing is ready any more.
    pub(crate) fn serve_ready(&mut self) {
        while let Some((db, key)) = self.core.blocking.next_ready() {
            let mut behind = 0;
            while let Some((place, id)) = self.core.blocking.next_waiter(db, &key, behind) {
                behind = place;
                if !self.serve_waiter(id, db, &key) {
                    break;
                }
            }
        }
    }

    /// Runs the command of one waiter again. Answers whether the key may have something left for the next.
    fn serve_waiter(&mut self, id: u64, db: usize, key: &[u8]) -> bool {
        let Some(mut client) =
            self.core.clients.slot_of(id).and_then(|slot| self.core.clients.take(slot))
        else {
            return true;
        };
        let Some(blocked) = client.blocked.take() else {
            self.core.clients.put_back(client);
            return true;
        };
        let migrations = &self.core.migrations;
        if !migrations.is_empty() && migrations.holds(blocked.command, blocked.args.as_args()) {
            client.blocked = Some(blocked);
            self.core.clients.put_back(client);
            return true;
        }
        let kind = self.keyspace.db(db).peek(key).map(Entry::kind);
        if kind != Some(blocked.kind) {
            let is_gone = blocked.command == const { id_of("xreadgroup") };
            client.blocked = Some(blocked);
            self.core.clients.put_back(client);
            if is_gone {
                self.core.unblock(id, Unblock::StreamGone);
            }
            // Who waits for something else may be behind.
            return kind.is_some() || self.core.blocking.has_group_readers();
        }
        let handler = self.core.handlers.of(blocked.command);
        client.flags.clear(Flags::BLOCKED);
        client.flags.set(Flags::SERVING);
        client.served_key = (blocked.keys.len() > 1).then(|| key.into());
        let own_db = std::mem::replace(&mut client.db, blocked.db);
        let before = client.reply.end();
        self.core.time.refresh(&self.keyspace.shared);
        if let Some(handler) = handler {
            let args = blocked.args.as_args();
            run(&mut self.keyspace, &mut self.core, &mut client, blocked.command, handler, args);
        }
        client.db = own_db;
        client.flags.clear(Flags::SERVING);
        client.served_key = None;
        if client.flags.any(Flags::BLOCKED) {
            // Nothing for this one after all: it keeps its place.
            client.blocked = Some(blocked);
            self.core.clients.put_back(client);
            return true;
        }
        self.core.blocking.remove(id, &blocked);
        if client.flags.any(Flags::REPLY_OFF) {
            client.reply.truncate(before);
        }
        client.mark();
        if let Some(connection) = &client.connection {
            connection.wake();
        }
        self.core.clients.put_back(client);
        self.core.feed.end_call();
        true
    }

    /// Serves waiters whose keys are to be looked at again, and tells those whose time is over so.
    pub fn expire_waiters(&mut self) {
        let now = self.keyspace.shared.now_ms.get();
        self.core.blocking.note_retries(now);
        if self.core.blocking.has_ready() {
            self.serve_ready();
        }
        while let Some(id) = self.core.blocking.overdue(now) {
            if !self.core.unblock(id, Unblock::Timeout) {
                break;
            }
        }
    }
}

/// Answers with an error a command that was not run.
fn refuse(
    keyspace: &mut Keyspace,
    core: &mut Core,
    client: &mut Client,
    id: Option<CommandId>,
    error: &CommandError,
) {
    if id == Some(const { id_of("exec") }) {
        return abort_exec(keyspace, core, client, error);
    }
    if client.flags.any(Flags::MULTI) {
        client.flags.set(Flags::DIRTY_EXEC);
    }
    client.reply.error(error.text());
    core.stats.count_error(error.text());
    if let Some(id) = id {
        core.stats.rejected(id);
    }
}

/// Ends the transaction of an EXEC that was refused.
fn abort_exec(keyspace: &mut Keyspace, core: &mut Core, client: &mut Client, error: &CommandError) {
    let reason = error.text().strip_prefix(b"ERR ").unwrap_or(error.text());
    // A client of a cluster has to see where to go.
    let text = match error.redirects() {
        true => reason.to_vec(),
        false => [b"EXECABORT Transaction discarded because of: ", reason].concat(),
    };
    let mut call = Call::aside(keyspace, core, client);
    transaction::discard_transaction(&mut call);
    call.client.reply.error(&text);
    call.core.stats.count_error(&text);
    call.core.stats.rejected(const { id_of("exec") });
}

/// Runs a row's handler and does what follows from it: the feed, statistics, slow log, monitors.
pub(crate) fn run(
    keyspace: &mut Keyspace,
    core: &mut Core,
    client: &mut Client,
    id: CommandId,
    handler: Handler,
    args: Args<'_>,
) {
    let before = client.reply.end();
    let dirty = core.feed.dirty;
    let db = client.db;
    let since = core.time.mark();
    core.feed.form = Form::AsGiven;
    client.reply.failed = false;
    let keeps_use = client.flags.any(Flags::NO_TOUCH) && id != const { id_of("touch") };
    if keeps_use {
        keyspace.shared.no_touch.set(true);
    }
    // What expires, the node says that the keys come from.
    let imports = client.flags.any(Flags::IMPORT);
    if imports {
        keyspace.shared.ignore_expiry.set(true);
    }
    let mut call = Call { keyspace, core, client, args, row: id };
    let result = handler(&mut call);
    if keeps_use {
        call.keyspace.shared.no_touch.set(false);
    }
    if imports {
        call.keyspace.shared.ignore_expiry.set(false);
    }
    if call.keyspace.shared.has_incidents() {
        call.settle();
    }
    let Call { keyspace, core, client, .. } = call;
    let failed = client.reply.failed || result.is_err();
    if let Err(error) = result {
        client.reply.truncate(before);
        client.reply.error(error.text());
        core.stats.count_error(error.text());
    }
    // Behind the command itself, so that those within EXEC come before it.
    if core.has_monitors() && !client.flags.any(Flags::SERVING) {
        core.feed_monitors(client, id, args);
    }
    if core.feed.dirty != dirty {
        client.flags.set(Flags::WROTE);
        if core.unsynced.is_on() {
            client.flags.set(Flags::AWAITS_LOG);
        }
        if core.feed.form == Form::AsGiven {
            core.feed.push_args(db, args);
        }
    } else if core.unsynced.is_any() && core.unsynced.are_seen_by(id, args) {
        client.flags.set(Flags::AWAITS_LOG);
    }
    if client.flags.any(Flags::BLOCKED.or(Flags::TRACKING)) {
        core.tracking.remember(client, id, args);
        if client.flags.any(Flags::BLOCKED) {
            if !client.flags.any(Flags::SERVING) {
                core.stats.waits(id);
            }
            return;
        }
    }
    let took = core.time.lap(&keyspace.shared, client.flags.any(Flags::EXECUTING), since);
    if client.flags.any(Flags::SERVING) {
        core.stats.waited(id, took, failed);
    } else {
        core.stats.ran(id, took, failed);
    }
    core.note_command(client, id, took, args, client.reply.end().saturating_sub(before));
}
