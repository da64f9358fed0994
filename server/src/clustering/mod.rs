//! The cluster, done: what [`Cluster`] decides is carried out on the engine here, and what concerns sockets is asked of the
//! shell.

pub mod file;
pub mod moves;
mod replies;
pub mod state;

use std::path::{Path, PathBuf};

use redstart_common::{clock, log};

use self::file::{Found, NodesFile};
use crate::client::Client;
use crate::cluster::{Action, BUS_PORT_ABOVE, Cluster, Corrupt, Event, Name, Options, Turn};
use crate::engine::asks::Ask;
use crate::engine::{Core, Engine};
use crate::keyspace::Keyspace;
use crate::pause::Pause;
use crate::pubsub::Channel;
use crate::text::system_words;

pub use self::state::Clustering;

/// The two clocks may differ by so many milliseconds more or less without a step of either.
const WALL_JITTER_MS: i64 = 2;

impl Engine {
    /// Takes part in a cluster from now on: that of nodes.conf, or one of this server alone.
    ///
    /// # Errors
    /// The line for the log: the file is another process's, cannot be read or written, or is not whole.
    pub fn join_cluster(&mut self) -> Result<(), String> {
        let core = &mut self.core;
        let options = core.cluster_options();
        let now_ms = core.cluster_now_ms();
        let name = PathBuf::from(&core.settings.cluster.config_file);
        let path = std::path::absolute(core.shell.folder.join(&name)).unwrap_or(name);
        let (cluster, file) = core.find_cluster(&path, options, now_ms)?;
        core.clustering.file = Some(file);
        core.clustering.bus_port = core.bus_port();
        self.enter_cluster(cluster);
        Ok(())
    }
}

impl Core {
    /// The settings as the cluster knows them.
    fn cluster_options(&self) -> Options {
        let settings = &self.settings.cluster;
        let or = |announced: u16, own: u16| if announced == 0 { own } else { announced };
        let by_tls = self.settings.tls.cluster;
        // As in Redis: with a port for TLS announced, the plain one is what is announced too, if anything.
        let (port, plain_port) = match (by_tls, settings.announce_tls_port) {
            (false, _) => (or(settings.announce_port, self.shell.port), 0),
            (true, 0) => {
                let plain = if self.settings.listens_plainly() { self.shell.port } else { 0 };
                (or(settings.announce_port, self.cluster_port()), plain)
            }
            (true, announced) => (announced, settings.announce_port),
        };
        Options {
            node_timeout_ms: settings.node_timeout,
            validity_factor: i64::from(settings.replica_validity_factor),
            history_wins: settings.longer_history_wins,
            ranks_elections: settings.ranked_elections,
            migration_barrier: settings.migration_barrier as usize,
            replicas_migrate: settings.allow_replica_migration,
            no_failover: settings.replica_no_failover,
            full_coverage: settings.require_full_coverage,
            endpoint: settings.preferred_endpoint_type,
            announced_ip: Some(settings.announce_ip.clone()).filter(|ip| !ip.is_empty()),
            hostname: settings.announce_hostname.clone(),
            human_name: settings.announce_human_nodename.clone(),
            client_ips: [
                settings.announce_client_ipv4.clone(),
                settings.announce_client_ipv6.clone(),
            ],
            ping_ms: settings.ping_interval.unsigned_abs(),
            by_tls,
            port,
            plain_port,
            bus_port: or(settings.announce_bus_port, self.bus_port()),
            reads_when_down: settings.allow_reads_when_down,
            shard_channels_when_down: settings.allow_pubsubshard_when_down,
            link_limit: settings.link_sendbuf_limit as u64,
            replica_ping_ms: i64::from(self.settings.replication.repl_ping_replica_period) * 1000,
            replica_silence_ms: i64::from(self.settings.replication.repl_timeout) * 1000,
            manual_ms: settings.manual_failover_timeout,
            move_lag_bytes: settings.slot_migration_max_failover_repl_bytes,
            moves_logged: settings.slot_migration_log_max_len,
            authenticates: !self.settings.replication.masterauth.is_empty(),
        }
    }

    /// The port by which nodes reach this one's data: that for TLS where they speak it.
    #[must_use]
    pub fn cluster_port(&self) -> u16 {
        if self.settings.tls.cluster { self.settings.tls.port } else { self.shell.port }
    }

    /// The port that the bus listens on: it stays though that for clients may change.
    #[must_use]
    pub fn bus_port(&self) -> u16 {
        match (self.clustering.bus_port, self.settings.cluster.port) {
            // Whoever starts the server sees to it that this is a port.
            (0, 0) => {
                u16::try_from(i64::from(self.cluster_port()) + BUS_PORT_ABOVE).unwrap_or(u16::MAX)
            }
            (0, port) | (port, _) => port,
        }
    }

    /// About how many connections the bus takes: two for each other node.
    #[must_use]
    pub fn cluster_connections(&self) -> usize {
        self.cluster.as_ref().map_or(0, |cluster| (cluster.node_count() - 1) * 2)
    }

    fn find_cluster(
        &mut self,
        path: &Path,
        options: Options,
        now_ms: i64,
    ) -> Result<(Cluster, NodesFile), String> {
        match NodesFile::open(path)? {
            Found::Text(file, text) => {
                let cluster = Cluster::from_file(&text, options, now_ms)
                    .map_err(|Corrupt| Corrupt::TEXT.to_owned())?;
                log!(Notice, "Node configuration loaded, I'm {}", cluster.myself().name);
                Ok((cluster, file))
            }
            Found::Nothing => {
                let cluster = Cluster::alone(Name::random(&mut self.random), options, now_ms);
                log!(Notice, "No cluster configuration found, I'm {}", cluster.myself().name);
                let file = NodesFile::create(path, &cluster.to_file(0))?;
                Ok((cluster, file))
            }
        }
    }

    /// Whether an answer about slots may be another than when this was asked last.
    pub fn cluster_has_changed(&mut self) -> bool {
        let changes = self.cluster.as_ref().map_or(0, |cluster| cluster.changes());
        std::mem::replace(&mut self.clustering.seen_changes, changes) != changes
    }

    /// Milliseconds of the cluster's clock: the wall clock's at the start, and from there on without jumps.
    #[must_use]
    pub fn cluster_now_ms(&mut self) -> i64 {
        let began = &mut self.clustering.began_unix_ms;
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        if *began == 0 {
            *began = clock::unix_ms() - elapsed;
        }
        *began + elapsed
    }

    /// How far the wall clock is ahead of the cluster's, in milliseconds.
    #[must_use]
    pub fn wall_ahead_ms(&mut self) -> i64 {
        let ahead_ms = clock::unix_ms() - self.cluster_now_ms();
        // Both are cut to whole milliseconds: what is shown of one moment is to be the same each time.
        if (ahead_ms - self.clustering.wall_ahead_ms).abs() > WALL_JITTER_MS {
            self.clustering.wall_ahead_ms = ahead_ms;
        }
        self.clustering.wall_ahead_ms
    }

    /// Has changed settings take effect.
    pub fn apply_cluster_settings(&mut self, keyspace: &mut Keyspace) {
        let options = self.cluster_options();
        if self.cluster.as_ref().is_some_and(|cluster| *cluster.options() != options) {
            self.cluster_step(keyspace, None, |cluster, _| cluster.set_options(options));
        }
    }

    /// The data is loaded: what it says of slots is taken in.
    pub fn fit_cluster_to_data(&mut self, keyspace: &mut Keyspace) {
        if self.cluster.is_none() {
            return;
        }
        self.settle_aside(keyspace);
        let aside = keyspace.dbs[0].aside().cloned().unwrap_or_default();
        let used = keyspace.dbs[0].used_slots().filter(|slot| !aside.contains(*slot));
        let used: Vec<u16> = used.collect();
        self.cluster_step(keyspace, None, |cluster, turn| cluster.fit_to_data(&used, turn));
    }

    /// Asks or tells the cluster something, and does what follows from it; nothing where there is none. `current` is the
    /// client that is being served.
    pub fn cluster_step<R>(
        &mut self,
        keyspace: &mut Keyspace,
        mut current: Option<&mut Client>,
        step: impl FnOnce(&mut Cluster, &mut Turn<'_>) -> R,
    ) -> Option<R> {
        self.cluster.as_ref()?;
        // What is decided counts from the last byte that was written.
        self.hand_over();
        let mut actions = std::mem::take(&mut self.clustering.actions);
        let (now_ms, wall_ahead_ms) = (self.cluster_now_ms(), self.wall_ahead_ms());
        let mut turn = Turn {
            now_ms,
            wall_ahead_ms,
            offset: self.replication.place(),
            data_age_ms: self.replication.data_age_ms(self.replication_now_ms()),
            follows: self.replication.is_replica(),
            random: &mut self.random,
            actions: &mut actions,
        };
        let cluster = self.cluster.as_mut()?;
        let result = step(cluster, &mut turn);
        cluster.settle();
        let is_relieved = cluster.is_relieved();
        self.replication.hold_pings(is_relieved);
        for action in actions.drain(..) {
            self.act_for_cluster(keyspace, &mut current, action);
        }
        self.clustering.actions = actions;
        self.set_lost_aside(keyspace);
        if self.clustering.moving.is_emptying() {
            self.empty_what_is_mine(keyspace);
        }
        Some(result)
    }

    /// What was put off until the end of the turn.
    pub fn end_turn_of_cluster(&mut self, keyspace: &mut Keyspace) {
        if self.cluster.as_ref().is_some_and(|cluster| cluster.has_todo()) {
            self.tell_cluster(keyspace, Event::EndOfTurn);
        }
        self.end_turn_of_moves(keyspace);
    }

    /// Tells the cluster what happened.
    pub fn tell_cluster(&mut self, keyspace: &mut Keyspace, event: Event<'_>) {
        self.cluster_step(keyspace, None, |cluster, turn| cluster.handle(event, turn));
    }

    /// Writes nodes.conf.
    ///
    /// # Errors
    /// The file system's words.
    pub fn save_cluster(&mut self, synced: bool) -> Result<(), String> {
        let wall_ahead_ms = self.wall_ahead_ms();
        let (Some(cluster), Some(file)) = (&self.cluster, &mut self.clustering.file) else {
            return Ok(());
        };
        let text = cluster.to_file(wall_ahead_ms);
        file.save(&text, synced).map_err(|error| system_words(&error))
    }

    fn act_for_cluster(
        &mut self,
        keyspace: &mut Keyspace,
        current: &mut Option<&mut Client>,
        action: Action,
    ) {
        match action {
            Action::Log(level, text) => redstart_common::log::line(level, format_args!("{text}")),
            Action::Save { synced } => {
                if self.save_cluster(synced).is_err() {
                    log!(Warning, "Fatal: can't update cluster config file.");
                    std::process::exit(1);
                }
            }
            Action::Follow { ip, port } => {
                self.replicate(keyspace, current.as_deref_mut(), |replication, turn| {
                    replication.follow_node(&ip, port, turn);
                });
            }
            Action::Lead => {
                self.replicate(keyspace, current.as_deref_mut(), |replication, turn| {
                    replication.lead(turn);
                });
                self.settle_aside(keyspace);
            }
            Action::EmptyData => self.empty_all(keyspace),
            Action::PauseWrites { for_ms } => {
                let until_ms = keyspace.shared.now_ms.get().saturating_add(for_ms);
                self.pause(Pause::Writes, until_ms, &keyspace.shared);
            }
            Action::ResumeWrites => self.unpause(&keyspace.shared),
            Action::DeleteSlot(slot) => self.lose_slot(keyspace, slot),
            Action::Move(act) => self.act_for_move(keyspace, current, act),
            Action::Publish { channel, message, sharded } => {
                let kind = if sharded { Channel::Shard } else { Channel::Plain };
                self.pubsub.publish(&mut self.clients, None, kind, &channel, &message);
            }
            shells @ (Action::Connect { .. } | Action::Close(_)) => {
                self.asks.push(Ask::Bus(shells));
            }
        }
    }
}
