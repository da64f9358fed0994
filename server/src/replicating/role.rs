//! What follows for the engine from being a replica or a primary.

use redstart_common::log;
use redstart_common::resp::RespWrite;

use crate::client::{Client, Flags};
use crate::engine::{Call, Core, Unblock};
use crate::keyspace::{Keyspace, NewDatabases};
use crate::persistence::aof::chain::State;
use crate::replication::{DisklessLoad, Options, OutputLimit, SavedHistory};
use crate::saving::load::Origin;

impl Core {
    /// The settings as replication knows them.
    #[must_use]
    pub fn replication_options(&self) -> Options {
        use crate::settings::replication::DisklessLoad as Load;
        let settings = &self.settings.replication;
        let limit = self.settings.client_output_buffer_limit.replica;
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        Options {
            backlog_bytes: settings.repl_backlog_size as u64,
            backlog_ttl_s: settings.repl_backlog_ttl.cast_signed(),
            timeout_s: i64::from(settings.repl_timeout),
            ping_period_s: i64::from(settings.repl_ping_replica_period),
            diskless_sync: settings.repl_diskless_sync,
            diskless_sync_delay_s: i64::from(settings.repl_diskless_sync_delay),
            diskless_sync_max_replicas: settings.repl_diskless_sync_max_replicas as usize,
            diskless_load: match settings.repl_diskless_load {
                Load::Disabled => DisklessLoad::Disabled,
                Load::OnEmptyDb => DisklessLoad::OnEmptyDb,
                Load::SwapDb => DisklessLoad::SwapDb,
            },
            min_replicas_to_write: settings.min_replicas_to_write as usize,
            min_replicas_max_lag_s: i64::from(settings.min_replicas_max_lag),
            primary_user: text(&settings.masteruser).map(String::into_bytes),
            primary_password: text(&settings.masterauth).map(String::into_bytes),
            announced_port: match settings.replica_announce_port {
                0 if self.settings.tls.replication && self.settings.tls.port != 0 => {
                    self.settings.tls.port
                }
                0 => self.shell.port,
                port => port,
            },
            announced_ip: text(&settings.replica_announce_ip),
            announced: settings.replica_announced,
            priority: i64::from(settings.replica_priority),
            read_only: settings.replica_read_only,
            save_points: !self.settings.save.is_empty(),
            output_limit: OutputLimit {
                hard_bytes: limit.hard_bytes as u64,
                soft_bytes: limit.soft_bytes as u64,
                soft_seconds: limit.soft_seconds,
            },
            slow_writers: settings.repl_slow_writers,
            // An engine without a folder leaves nothing on any disk.
            spill_bytes: match self.shell.embedded && self.shell.folder.as_os_str().is_empty() {
                true => 0,
                false => settings.repl_spill_size as u64,
            },
        }
    }

    /// Has changed settings take effect.
    pub fn apply_replication_settings(&mut self) {
        let options = self.replication_options();
        let now_ms = self.replication_now_ms();
        self.replication.set_options(options, now_ms);
        self.arm();
    }

    /// At the start: follows the primary that the settings name, or the cluster.
    pub fn begin_replication(&mut self, keyspace: &mut Keyspace) {
        self.apply_replication_settings();
        let of_cluster = self.cluster.as_ref().and_then(|cluster| cluster.my_primary());
        let of_cluster = of_cluster
            .filter(|primary| !primary.ip.is_empty())
            .map(|primary| (primary.ip.to_string(), primary.port));
        if let Some((host, port)) = self.settings.replication.replicaof.clone().or(of_cluster) {
            self.replication.start_as_replica(&host, port);
        }
        self.role_changed(keyspace);
    }

    /// The data that was loaded belongs to this place of a history.
    pub fn restore_history(&mut self, keyspace: &mut Keyspace, origin: &Origin) {
        let Origin { id: Some(id), offset: Some(offset), stream_db: Some(db) } = origin else {
            return;
        };
        // What was left out of the load may have begun it already.
        if !self.replication.is_replica() && self.replication.backlog().is_some() {
            return;
        }
        if let Some(saved) = SavedHistory::from_fields(id.as_bytes(), *offset, *db) {
            let now_ms = self.replication_now_ms();
            self.replication.restore(saved, now_ms);
            self.replicate(keyspace, None, |_, _| ());
        }
    }

    /// Keys past their deadline stay, unseen, while nothing may change here by itself.
    pub(crate) fn note_expiry(&self, keyspace: &crate::keyspace::Shared) {
        let is_replica = self.replication.is_replica();
        keyspace.keep_expired.set(self.stands_still() || is_replica);
        keyspace.own_volatile.keep(is_replica && !self.settings.replication.replica_read_only);
    }

    /// On a replica that takes writes: removes what its clients wrote and what is past its deadline.
    pub(crate) fn expire_own(&mut self, keyspace: &mut Keyspace) {
        /// Names that are looked at in one go.
        const LOOKS: usize = 256;
        let shared = std::rc::Rc::clone(&keyspace.shared);
        if shared.own_volatile.is_empty()
            || self.saved.loading.is_some()
            || !self.settings.active_expire
            || self.paused.is_some()
        {
            return;
        }
        let now_ms = shared.now_ms.get();
        let mut nobody = Client::new(0, 0);
        for _ in 0..shared.own_volatile.len().min(LOOKS) {
            let Some((db, key)) = shared.own_volatile.take() else { break };
            let deadline = keyspace.dbs[db].look_any(&key).and_then(|entry| entry.deadline());
            match deadline {
                Some(deadline) if deadline <= now_ms => keyspace.dbs[db].expire_key(&key),
                Some(_) => shared.own_volatile.put_back((db, key)),
                None => {}
            }
        }
        if shared.has_incidents() {
            Call::aside(keyspace, self, &mut nobody).settle();
            self.feed.end_call();
        }
    }

    /// Keys past their deadline were left out of a load: those who go on from this history have them, and are told.
    pub(crate) fn tell_expired_at_load(
        &mut self,
        keyspace: &mut Keyspace,
        origin: &Origin,
        expired: Vec<(usize, Box<[u8]>)>,
    ) {
        if expired.is_empty() {
            return;
        }
        if self.replication.backlog().is_none() {
            self.restore_history(keyspace, origin);
        }
        let word: &[u8] = if self.settings.lazyfree_lazy_expire { b"UNLINK" } else { b"DEL" };
        let mut command = Vec::new();
        for (db, key) in expired {
            command.clear();
            command.array_len(2);
            command.bulk(word);
            command.bulk(&key);
            self.replication.append(db as u32, &command);
        }
    }

    pub(super) fn role_changed(&mut self, keyspace: &mut Keyspace) {
        self.note_expiry(&keyspace.shared);
        let role = if self.replication.is_replica() { 'S' } else { 'M' };
        redstart_common::log::set_role(role);
        // What goes wrong is in the log.
        crate::process::oom::apply(&self.settings, self.replication.is_replica());
        self.arm();
    }

    pub(super) fn became_replica(&mut self, keyspace: &mut Keyspace) {
        let blocked: Vec<u64> = self
            .clients
            .iter()
            .filter(|client| client.flags.any(Flags::BLOCKED) && client.blocked.is_some())
            .map(|client| client.id)
            .collect();
        for id in blocked {
            let follows =
                self.clients.by_id(id).is_some_and(|client| client.flags.any(Flags::FOLLOWS));
            let why = match self.redirection().filter(|_| follows) {
                Some(error) => Unblock::Elsewhere(error),
                None => Unblock::RoleChange,
            };
            self.unblock(id, why);
        }
        self.replicating.waiting.clear();
        self.role_changed(keyspace);
    }

    /// All data goes, and what is on the disk with it: this server begins from nothing.
    pub(crate) fn empty_all(&mut self, keyspace: &mut Keyspace) {
        self.empty_for_sync(keyspace);
        self.begin_log_again(keyspace);
    }

    /// All data goes, for a primary's takes its place. Saving and the log stop before.
    pub(super) fn empty_for_sync(&mut self, keyspace: &mut Keyspace) {
        self.stop_saving_for_sync(keyspace);
        self.tell_all_is_gone(keyspace, None);
        self.scripting.forget_libraries();
        keyspace.shared.own_volatile.clear();
        let lazily = self.settings.replication.replica_lazy_flush;
        for db in &mut keyspace.dbs {
            db.forget_aside();
            if lazily {
                db.clear_lazily();
            } else {
                db.clear();
            }
        }
    }

    /// The databases that were filled beside the old ones take their place.
    pub(super) fn take_new_databases(&mut self, keyspace: &mut Keyspace) {
        let Some(new) = self.replicating.new_databases.take() else { return };
        self.stop_saving_for_sync(keyspace);
        self.tell_all_is_gone(keyspace, Some(&new));
        keyspace.shared.own_volatile.clear();
        keyspace.take_over(new);
        for db in 0..keyspace.dbs.len() {
            self.blocking.note_all(db);
        }
    }

    fn stop_saving_for_sync(&mut self, keyspace: &mut Keyspace) {
        if self.logging.state != State::Off {
            self.stop_log(keyspace);
            self.replicating.log_stopped = true;
        }
        self.give_up_saving(keyspace);
    }

    /// Those who watch keys, or cache them, are told that all of them may be others now.
    fn tell_all_is_gone(&mut self, keyspace: &mut Keyspace, new: Option<&NewDatabases>) {
        let mut nobody = Client::new(0, 0);
        let mut call = Call::aside(keyspace, self, &mut nobody);
        for db in 0..call.keyspace.dbs.len() {
            call.replaced_all(db, new.map(|new| &new.dbs[db]));
        }
        let Self { tracking, clients, .. } = self;
        tracking.emptied(clients, &mut nobody);
        tracking.tell_pending(clients, None);
    }

    /// A write of the primary comes while nothing can be written to disk: the replica goes on, or ends, for it would keep less
    /// than it acknowledges.
    pub(crate) fn unsaved_write_of_primary(&mut self) {
        /// Between two lines about it.
        const EVERY_MS: i64 = 10_000;
        if !self.settings.replication.replica_ignore_disk_write_errors {
            log!(Warning, "Replica was unable to write command to disk.");
            std::process::exit(1);
        }
        let now_ms = self.replication_now_ms();
        if self.replicating.unsaved_told_ms.is_none_or(|told| now_ms > told + EVERY_MS) {
            self.replicating.unsaved_told_ms = Some(now_ms);
            log!(
                Warning,
                "Replica is applying a command even though it is unable to write to disk."
            );
        }
    }

    /// The data is that of the primary, or nobody's but ours: the log that stopped for a sync begins with it.
    pub(super) fn begin_log_again(&mut self, keyspace: &mut Keyspace) {
        if std::mem::take(&mut self.replicating.log_stopped)
            && self.settings.saving.appendonly
            && self.logging.state == State::Off
            && !self.start_log(keyspace, false)
        {
            log!(Warning, "Failed enabling the AOF after successful master synchronization!");
            self.logging.scheduled = true;
        }
    }
}
