//! What all threads know of a pool: its settings, its picture, its clients, and the way to change the picture.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::roster::{Change, Roster};
use super::{Endpoint, PoolId, ServerId, Topology};
use crate::backend::health::Rules;
use crate::clock::Moment;
use crate::scripts::Scripts;
use crate::settings::{Groups, PoolSettings, ServerAddress, ServerOrder};

/// Seconds between two lines in the log about clients that are refused.
const REJECTED_TOLD_S: u64 = 10;

/// Clients that were refused, by reason.
#[derive(Debug, Default)]
pub struct Rejected {
    /// Because the pool has as many as it may.
    pub by_limit: AtomicU64,
    /// Because the process has no descriptors left for more.
    pub by_descriptors: AtomicU64,
    /// When the log was told last, in seconds, and one more; 0 is never.
    told_s: AtomicU64,
}

impl Rejected {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_limit.load(Ordering::Relaxed) + self.by_descriptors.load(Ordering::Relaxed)
    }

    /// Counts one. Says whether the log is to be told, how many there were being part of it.
    pub fn count(&self, is_full: bool, now_s: u64) -> Option<u64> {
        let reason = if is_full { &self.by_descriptors } else { &self.by_limit };
        reason.fetch_add(1, Ordering::Relaxed);
        let told = self.told_s.load(Ordering::Relaxed);
        if told != 0 && now_s < told - 1 + REJECTED_TOLD_S {
            return None;
        }
        self.told_s.store(now_s + 1, Ordering::Relaxed);
        Some(self.total())
    }
}

/// What all workers know of a pool.
#[derive(Debug)]
pub struct SharedPool {
    /// Which one it is.
    pub id: PoolId,
    /// Its settings.
    pub settings: PoolSettings,
    /// Its present picture.
    pub topology: Arc<ArcSwap<Topology>>,
    /// Clients connected now, over all workers.
    pub clients: AtomicUsize,
    /// Clients that were refused.
    pub rejected: Rejected,
    /// Told when a worker meets with something that a change of primary would explain.
    pub strange: Notify,
    /// What nodes of a cluster have said of single slots since the last look.
    moved: Mutex<BTreeMap<u16, ServerAddress>>,
    /// Clients that watch what others ask, over all workers.
    pub monitors: AtomicUsize,
    /// The scripts that its clients have shown.
    pub scripts: Scripts,
    roster: Mutex<Roster>,
}

impl SharedPool {
    /// A pool whose servers are all taken to be alive.
    #[must_use]
    pub fn new(id: PoolId, settings: PoolSettings) -> Self {
        let rules = Rules {
            on_down: settings.on_server_down,
            failure_limit: settings.server_failure_limit,
            retry_ms: settings.server_retry_timeout_ms,
        };
        let groups = settings.sentinel.as_ref().map(|sentinel| &sentinel.groups);
        let order = match groups {
            Some(Groups::All) => ServerOrder::Sorted,
            _ => settings.server_order,
        };
        let mut roster = Roster::new(settings.distribution, order, rules, settings.is_discovered());
        if let Some(Groups::Named(groups)) = groups {
            for (name, weight) in groups {
                let shard = Arc::clone(name);
                roster.apply(Change::Join { shard, weight: *weight, primary: None });
            }
        }
        // Fixed servers are discovered here, all at once.
        for server in &settings.servers {
            roster.apply(Change::Join {
                shard: server.name.as_str().into(),
                weight: server.weight,
                primary: Some(server.address.clone()),
            });
        }
        let topology = Arc::new(ArcSwap::from_pointee(roster.picture()));
        Self {
            id,
            settings,
            topology,
            clients: AtomicUsize::new(0),
            rejected: Rejected::default(),
            strange: Notify::new(),
            moved: Mutex::default(),
            monitors: AtomicUsize::new(0),
            scripts: Scripts::default(),
            roster: Mutex::new(roster),
        }
    }

    /// A node of a cluster says that a slot lies at another.
    pub fn note_moved(&self, slot: u16, to: ServerAddress) {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).insert(slot, to);
        self.strange.notify_one();
    }

    /// What nodes of a cluster have said of single slots since the last call.
    pub fn take_moved(&self) -> BTreeMap<u16, ServerAddress> {
        std::mem::take(&mut *self.moved.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, roster: &mut Roster) {
        self.topology.store(Arc::new(roster.picture()));
    }

    /// Takes changes in. Says whether there is another picture for it, of which the workers are to be told; see
    /// [`Directory::change`](crate::control::Directory::change).
    pub fn apply(&self, changes: impl IntoIterator<Item = Change>) -> bool {
        let mut roster = self.roster();
        let mut changed = false;
        for change in changes {
            changed |= roster.apply(change);
        }
        if changed {
            self.publish(&mut roster);
        }
        changed
    }

    /// Takes note of the failure of something that had begun at `since_us`; says whether the server is taken to be
    /// down for it.
    pub fn failed(&self, server: ServerId, since_us: u64, now: Moment) -> bool {
        let mut roster = self.roster();
        let is_down = roster.failed(server, since_us, now);
        if is_down {
            self.publish(&mut roster);
        }
        is_down
    }

    /// Takes note of a good reply.
    pub fn succeeded(&self, server: ServerId) {
        self.roster().succeeded(server);
    }

    /// The servers that are down and due for a probe. Each is given out once until the probe's end is told.
    pub fn due_for_probe(&self, now: Moment) -> Vec<Arc<Endpoint>> {
        self.roster().due_for_probe(now)
    }

    /// The probe of a server that was down has ended.
    pub fn probed(&self, server: ServerId, is_well: bool, now: Moment) {
        let mut roster = self.roster();
        if roster.probed(server, is_well, now) {
            self.publish(&mut roster);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_of_refused_clients_now_and_then() {
        let rejected = Rejected::default();
        let told: Vec<Option<u64>> =
            [0, 0, 9, 10, 11, 25].iter().map(|at| rejected.count(*at == 9, *at)).collect();
        assert_eq!(told, [Some(1), None, None, Some(4), None, Some(6)]);
        assert_eq!((rejected.total(), rejected.by_descriptors.load(Ordering::Relaxed)), (6, 1));
    }
}
