//! The engine: one keyspace and all that serves it, owned by one thread.

pub mod armed;
pub mod asks;
mod call;
mod core;
mod error;
pub mod feed;
mod handlers;
mod pause;
mod sentinel;
mod time;
mod tracking;
pub mod unsynced;
mod users;
pub mod waiting;
pub mod watch;

use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use self::armed::Armed;
use self::feed::Feed;
use self::unsynced::Unsynced;
use self::waiting::Blocking;
use self::watch::Watches;
use crate::acl::Users;
use crate::client::Clients;
use crate::cluster::Cluster;
use crate::clustering::state::Clustering;
use crate::eviction::candidates::Candidates;
use crate::keyspace::Keyspace;
use crate::migrate::Migrations;
use crate::observe::command_log::{CommandLogs, Limits};
use crate::observe::latency::Monitor;
use crate::observe::stats::Stats;
use crate::persistence::logging::Logging;
use crate::persistence::state::Saved;
use crate::pubsub::PubSub;
use crate::replicating::state::Replicating;
use crate::replication::{Options, Replication};
use crate::saving::ending::Ending;
use crate::scripting::state::Scripting;
use crate::settings::Settings;
use crate::settings::renames::Renames;
use crate::tracking::Tracking;

pub use self::call::{Call, Unblock};
pub use self::core::{Core, Shell, random_hex};
pub use self::error::*;
pub use self::handlers::{Handler, Handlers};
pub use self::time::Time;
pub use crate::pause::{Pause, Paused};

/// A keyspace and what serves it.
pub struct Engine {
    /// The databases.
    pub keyspace: Keyspace,
    /// Everything else.
    pub core: Core,
}

impl Engine {
    /// An empty engine that runs `handlers`.
    #[must_use]
    pub fn new(settings: Settings, handlers: &'static Handlers) -> Self {
        let count = settings.databases;
        let keyspace = Keyspace::new(count);
        // The lines were tried when they were read: an error here cannot come from a configuration.
        let mode = settings.mode();
        let renames = Renames::of(mode, &settings.renames).unwrap_or_else(|_| Renames::none(mode));
        let mut random = SmallRng::from_os_rng();
        let mut engine = Self {
            keyspace,
            core: Core {
                candidates: Candidates::default(),
                users: Users::new(settings.requirepass.as_bytes(), settings.acl_pubsub_all),
                clients: Clients::default(),
                stats: Stats::new(),
                pubsub: PubSub::default(),
                watches: Watches::new(count),
                unsynced: Unsynced::default(),
                tracking: Tracking::default(),
                blocking: Blocking::new(count),
                feed: Feed::new(),
                command_logs: CommandLogs::default(),
                slot_costs: None,
                latency: Monitor::default(),
                noted_from: Limits::NONE,
                time: Time::new(),
                handlers,
                named: if renames.is_empty() {
                    handlers
                } else {
                    handlers.only(|row| renames.keeps_name(row))
                },
                renames,
                monitors: Vec::new(),
                run_id: random_hex(),
                started: Instant::now(),
                shell: Shell::default(),
                rates: crate::observe::rates::Rates::default(),
                memory_peak: std::cell::Cell::new(0),
                memory_at_start: redstart_common::memory::used_bytes(),
                started_unix_s: redstart_common::clock::unix_ms() / 1000,
                replication: Replication::new(Options::default(), 0, &mut random),
                replicating: Replicating::default(),
                cluster: None,
                clustering: Clustering::default(),
                random,
                cron_paused: false,
                checksums_skipped: false,
                paused: None,
                migrations: Migrations::default(),
                scripting: Scripting::default(),
                others: None,
                armed: Armed::default(),
                ending: Ending::default(),
                saved: Saved::new(redstart_common::clock::unix_ms() / 1000),
                logging: Logging::default(),
                save: None,
                save_number: 0,
                reports: None,
                asks: Vec::new(),
                rebind: None,
                tls: None,
                sentinel: None,
                settings,
            },
        };
        engine.apply_settings();
        engine.refresh();
        engine
    }

    /// Has the engine, which is empty yet, be a node of a cluster.
    pub fn enter_cluster(&mut self, cluster: Cluster) {
        self.keyspace = Keyspace::by_slot();
        self.core.cluster = Some(Box::new(cluster));
        self.apply_settings();
        self.refresh();
    }

    /// Reads the clocks; call it before each batch of requests.
    #[inline]
    pub fn refresh(&mut self) {
        self.core.time.refresh(&self.keyspace.shared);
        let seconds = self.keyspace.shared.now_ms.get() / 1000;
        self.keyspace.shared.lru_clock.set(seconds as u32 & 0xff_ffff);
    }

    /// Has settings take effect that the keyspace keeps copies of. Call it after any change of settings.
    pub fn apply_settings(&mut self) {
        self.core.apply_settings(&self.keyspace.shared);
    }

    /// Takes a client out of everything it takes part in.
    pub fn forget_client(&mut self, slot: usize) {
        let Some(mut client) = self.core.clients.remove(slot) else { return };
        self.core.replica_gone(&mut self.keyspace, client.id);
        if client.flags.any(crate::client::Flags::IMPORT) {
            self.core.source_gone(&mut self.keyspace, client.id);
        }
        if let Some(blocked) = client.blocked.take() {
            self.core.blocking.remove(client.id, &blocked);
        }
        for (db, key) in std::mem::take(&mut client.watched) {
            self.core.watches.remove(db, &key, client.id);
        }
        self.core.pubsub.forget(&mut client);
        self.core.tracking.disable(&mut client);
        self.core.monitors.retain(|id| *id != client.id);
        client.reply.output.clear();
    }
}
