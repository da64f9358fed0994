//! Servers from the configuration file. All take part, but for those that were ejected.

use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Topology;
use crate::backend::health::{Change, Health};
use crate::route::distribution::{Distribution, ServerIndex};
use crate::settings::PoolSettings;

/// What all workers know of a pool.
#[derive(Debug)]
pub struct SharedPool {
    /// Its settings.
    pub settings: PoolSettings,
    /// Its present picture.
    pub topology: Arc<ArcSwap<Topology>>,
    /// Clients connected now, over all workers.
    pub clients: AtomicUsize,
    health: Mutex<Health>,
}

impl SharedPool {
    /// A pool whose servers are all taken to be alive.
    #[must_use]
    pub fn new(settings: PoolSettings) -> Self {
        let health = Health::new(
            settings.servers.len(),
            settings.auto_eject_hosts,
            settings.server_failure_limit,
            settings.server_retry_timeout_ms,
        );
        let topology = Arc::new(ArcSwap::from_pointee(picture(&settings, &health)));
        Self { settings, topology, clients: AtomicUsize::new(0), health: Mutex::new(health) }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a failure; says whether the server was ejected for it.
    pub fn failed(&self, server: ServerIndex, now_ms: u64) -> bool {
        let mut health = self.health();
        let ejected = health.failed(server, now_ms) == Change::Ejected;
        if ejected {
            self.topology.store(Arc::new(picture(&self.settings, &health)));
        }
        ejected
    }

    /// Takes note of a good reply.
    pub fn succeeded(&self, server: ServerIndex) {
        self.health().succeeded(server);
    }

    /// The ejected servers that are due for a probe. Each is given out once until the probe's end is told.
    pub fn due_for_probe(&self, now_ms: u64) -> Vec<ServerIndex> {
        self.health().due_for_probe(now_ms)
    }

    /// The probe of an ejected server has ended.
    pub fn probed(&self, server: ServerIndex, is_well: bool, now_ms: u64) {
        let mut health = self.health();
        if health.probed(server, is_well, now_ms) == Change::Readmitted {
            self.topology.store(Arc::new(picture(&self.settings, &health)));
        }
    }

    /// For each server: how often it was ejected, and when last, in microseconds since 1970 (0 if never).
    #[must_use]
    pub fn ejections(&self) -> Vec<(u64, u64)> {
        self.health().ejections()
    }

    /// Counts a client in, unless the pool is full.
    pub fn admit_client(&self) -> bool {
        let max = self.settings.client_connections;
        let before = self.clients.fetch_add(1, Ordering::Relaxed);
        if max != 0 && before >= max {
            self.clients.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Counts a client out.
    pub fn release_client(&self) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

fn picture(settings: &PoolSettings, health: &Health) -> Topology {
    let live: Vec<ServerIndex> = health.live().collect();
    Topology {
        distribution: Distribution::build(settings.distribution, &settings.servers, &live),
        live: live.into_boxed_slice(),
    }
}
