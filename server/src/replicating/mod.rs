//! Replication, done: what [`Replication`] decides is carried out on the engine here, and what concerns sockets is asked
//! of the shell.

pub mod awaited;
pub mod feed;
mod pace;
mod role;
pub mod state;

use redstart_common::log;

use self::state::Wanted;
use crate::client::{Client, Flags};
use crate::engine::Core;
use crate::engine::asks::Ask;
use crate::keyspace::Keyspace;
use crate::pause::Pause;
use crate::persistence::rdb::SaveFile;
use crate::persistence::saver::{Output, Purpose, Sink};
use crate::replication::{
    Action, ClientId, Event, Filter, Offset, Replication, SnapshotId, Target, Turn,
};

pub use self::state::{Relay, Replicating};

/// Chunks of a snapshot that may wait to be sent to replicas.
const CHUNKS_MAX: usize = 2;

/// The served client is out of its place among the others.
fn find<'c>(
    core: &'c mut Core,
    current: &'c mut Option<&mut Client>,
    id: ClientId,
) -> Option<&'c mut Client> {
    match current {
        Some(client) if client.id == id => Some(&mut **client),
        _ => core.clients.by_id(id),
    }
}

impl Core {
    /// Milliseconds of the clock that replication goes by.
    #[must_use]
    pub fn replication_now_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Asks or tells replication something, and does what follows from it. `current` is the client that is being served.
    pub fn replicate<R>(
        &mut self,
        keyspace: &mut Keyspace,
        mut current: Option<&mut Client>,
        step: impl FnOnce(&mut Replication, &mut Turn<'_>) -> R,
    ) -> R {
        // What is decided counts from the last byte that was written.
        self.hand_over();
        let end = self.replication.history().offset.bytes().unsigned_abs();
        let durable = self
            .logging
            .durable_offset(end)
            .and_then(|durable| i64::try_from(durable).ok())
            .and_then(Offset::after);
        let mut actions = std::mem::take(&mut self.replicating.actions);
        let mut turn = Turn {
            now_ms: self.replication_now_ms(),
            data_is_empty: keyspace.is_empty(),
            is_paused: self.paused.is_some(),
            durable,
            random: &mut self.random,
            actions: &mut actions,
        };
        let result = step(&mut self.replication, &mut turn);
        for action in actions.drain(..) {
            self.act(keyspace, &mut current, action);
        }
        self.replicating.actions = actions;
        self.begin_wanted_snapshot(keyspace, current);
        self.note_audience();
        result
    }

    /// Tells replication what happened.
    pub fn tell_replication(&mut self, keyspace: &mut Keyspace, event: Event<'_>) {
        self.replicate(keyspace, None, |replication, turn| replication.handle(event, turn));
    }

    fn act(&mut self, keyspace: &mut Keyspace, current: &mut Option<&mut Client>, action: Action) {
        match action {
            Action::Log(level, text) => redstart_common::log::line(level, format_args!("{text}")),
            Action::SendReplica(id, bytes) => {
                if let Some(client) = find(self, current, id) {
                    client.reply.raw(&bytes);
                    client.mark();
                }
            }
            Action::StreamTo(id) => {
                if let Some(client) = find(self, current, id) {
                    client.mark();
                }
            }
            Action::CloseReplica(id) => {
                self.replicating.replicas.retain(|replica| *replica != id);
                if let Some(client) = find(self, current, id) {
                    client.close_asap();
                }
            }
            Action::CloseAfterReply(id) => {
                self.replicating.replicas.retain(|replica| *replica != id);
                if let Some(client) = find(self, current, id) {
                    client.flags.set(Flags::CLOSE_AFTER_REPLY);
                    client.mark();
                }
            }
            Action::StartSnapshot { snapshot, target, filter } => {
                self.replicating.wanted.push(Wanted { snapshot, target, filter });
            }
            Action::AbortSnapshot(id) => {
                self.replicating.wanted.retain(|wanted| wanted.snapshot != id);
                self.give_up_purpose(keyspace, Purpose::Replicas(id.0));
            }
            Action::AcksMoved => self.serve_wait(),
            Action::EmptyData => {
                self.replicating.loads_from = None;
                self.empty_for_sync(keyspace);
            }
            Action::SwapDatabases => {
                self.replicating.loads_from = None;
                self.take_new_databases(keyspace);
            }
            Action::DropNewDatabases => {
                self.replicating.loads_from = None;
                self.replicating.new_databases = None;
            }
            Action::Synced => self.begin_log_again(keyspace),
            Action::BecameReplica => self.became_replica(keyspace),
            Action::BecamePrimary => {
                self.begin_log_again(keyspace);
                self.role_changed(keyspace);
            }
            Action::PauseWrites => self.pause(Pause::Writes, i64::MAX, &keyspace.shared),
            Action::ResumeWrites => self.unpause(&keyspace.shared),
            shells => self.asks.push(Ask::Replication(shells)),
        }
    }

    /// Writes are kept for replicas once somebody has followed.
    fn note_audience(&mut self) {
        use crate::engine::feed::Audience;
        let wanted = self.replication.backlog().is_some() && !self.replication.is_replica();
        let rest = self.feed.audience().without(Audience::REPLICAS);
        let replicas = if wanted { Audience::REPLICAS } else { Audience::NOBODY };
        self.feed.set_audience(rest.or(replicas));
    }

    /// Begins the next snapshot that replicas wait for, if no other save stands in the way.
    pub fn begin_wanted_snapshot(
        &mut self,
        keyspace: &mut Keyspace,
        mut current: Option<&mut Client>,
    ) {
        if self.save.is_some() || self.replicating.wanted.is_empty() {
            return;
        }
        let Wanted { snapshot, target, filter } = self.replicating.wanted.remove(0);
        let begun = self.begin_snapshot(keyspace, snapshot, target, filter);
        let event =
            if begun { Event::SnapshotStarted(snapshot) } else { Event::SnapshotRefused(snapshot) };
        self.replicate(keyspace, current.take(), |replication, turn| {
            replication.handle(event, turn)
        });
    }

    fn begin_snapshot(
        &mut self,
        keyspace: &mut Keyspace,
        snapshot: SnapshotId,
        target: Target,
        filter: Filter,
    ) -> bool {
        let purpose = Purpose::Replicas(snapshot.0);
        // The database that is selected in the stream from here on is none: the first write selects one.
        let head = if filter.no_functions {
            self.head_without_functions(keyspace, false)
        } else {
            self.head(keyspace, false)
        };
        let sink = match target {
            Target::File => {
                self.saved.saves += 1;
                self.saved.last_try_unix_s = redstart_common::clock::unix_ms() / 1000;
                let path = self.dump_path();
                let temporary =
                    path.with_file_name(format!("temp-bgsave-{}.rdb", std::process::id()));
                let on_the_way = self.settings.saving.rdb_save_incremental_fsync;
                match SaveFile::create_as(temporary, &path, on_the_way) {
                    Ok(file) => Sink::File(file),
                    Err(error) => {
                        log!(Warning, "{error}");
                        self.saved.last_failed = true;
                        self.arm();
                        return false;
                    }
                }
            }
            Target::Sockets { mark, replicas } => {
                let (sender, chunks) = tokio::sync::mpsc::channel(CHUNKS_MAX);
                self.replicating.relays.push(Relay { snapshot, mark, replicas, chunks });
                self.asks.push(Ask::Relay);
                Sink::Stream(sender)
            }
        };
        let to_sockets = matches!(sink, Sink::Stream(_));
        let output = Output { purpose, sink, head };
        let begun = if filter.no_data {
            self.begin_empty_save(output)
        } else {
            self.begin_save(keyspace, vec![output])
        };
        if begun.is_err() {
            self.replicating.relays.retain(|relay| relay.snapshot != snapshot);
            return false;
        }
        if to_sockets {
            log!(Notice, "Background RDB transfer started by pid {}", std::process::id());
        } else {
            log!(Notice, "Background saving started by pid {}", std::process::id());
        }
        true
    }

    /// All data was flushed: the snapshot that replicas are waiting for is of no use, and they ask again.
    pub(crate) fn give_up_replica_snapshot(&mut self, keyspace: &mut Keyspace) {
        let Some((id, _)) = self.replication.running_snapshot() else { return };
        self.give_up_purpose(keyspace, Purpose::Replicas(id.0));
        self.tell_replication(keyspace, Event::SnapshotFailed(id));
    }

    /// A snapshot for replicas is written, or has failed. Where it goes to sockets the shell says when it is sent.
    pub(crate) fn replica_snapshot_ended(
        &mut self,
        keyspace: &mut Keyspace,
        number: u64,
        changes: u64,
        result: Result<u64, String>,
    ) {
        let id = SnapshotId(number);
        let to_sockets =
            self.replication.running_snapshot().is_some_and(|(running, to)| running == id && to);
        if !to_sockets {
            // It is the dump, as BGSAVE would have written it.
            self.dump_ended(&result, changes);
            let event = match result {
                Ok(_) => Event::SnapshotDone(id),
                Err(_) => Event::SnapshotFailed(id),
            };
            self.tell_replication(keyspace, event);
            return;
        }
        match result {
            Ok(_) => {
                let count = self.replication.awaiting_snapshot();
                log!(
                    Warning,
                    "Diskless rdb transfer, done reading from pipe, {count} replicas still up."
                );
                log!(Notice, "Background RDB transfer terminated with success");
                self.replicating.ended.push((id, true));
            }
            Err(reason) => {
                log!(Warning, "{reason}");
                log!(Warning, "Background transfer error");
                self.replicating.ended.push((id, false));
            }
        }
    }

    /// The primary's stream as a client, up to date.
    pub fn primary_client(&mut self, wall_now_ms: i64) -> Option<&Client> {
        let now_ms = self.replication_now_ms();
        let silent_ms = self.replication.stream_silent_ms(now_ms)?;
        let db = self.replication.saved_history().map_or(0, |saved| saved.db as usize);
        let (_, client) = self.replicating.primary.as_mut()?;
        client.active_ms = wall_now_ms - silent_ms;
        client.db = db;
        Some(client)
    }

    /// A client has become a replica: its output is the stream from now on.
    pub fn note_replica(&mut self, client: &mut Client) {
        client.flags.set(Flags::REPLICA);
        if self.settings.replication.repl_disable_tcp_nodelay
            && let Some(connection) = &client.connection
        {
            connection.gather_packets();
        }
        if !self.replicating.replicas.contains(&client.id) {
            self.replicating.replicas.push(client.id);
        }
    }
}
