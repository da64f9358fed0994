//! What a worker has counted.

use super::Core;
use crate::backend::Duty;
use crate::stats::PoolStats;

impl Core {
    /// Adds what a connection has counted to its server's figures.
    pub(super) fn count(&mut self, backend: usize) {
        let it = self.up.get_mut(backend);
        let counted = std::mem::take(&mut it.counters);
        let stats = self.pools[it.pool].stats.servers.entry(it.server.id).or_default();
        stats.eof += counted.eof;
        stats.errors += counted.errors;
        stats.timed_out += counted.timed_out;
        stats.requests += counted.requests;
        stats.request_bytes += counted.request_bytes;
        stats.responses += counted.responses;
        stats.response_bytes += counted.response_bytes;
        stats.error_responses += counted.error_responses;
        stats.latency.merge(&counted.latency);
        stats.held += counted.held;
        stats.resent += counted.resent;
        stats.redirects.add(&counted.redirects);
        if it.keeps && !it.is_up() {
            stats.waiting += it.pipeline.len() as u64;
        }
        stats.connections += u64::from(it.is_up());
        stats.in_queue += it.unsent;
        stats.in_queue_bytes += it.output.len() as u64;
        stats.out_queue += (it.pipeline.len() as u64).saturating_sub(it.unsent);
        stats.out_queue_bytes += it.pipeline.bytes().saturating_sub(it.output.len() as u64);
    }

    /// What has been counted, as of now.
    pub fn snapshot(&mut self) -> Vec<PoolStats> {
        for (index, pool) in self.pools.iter_mut().enumerate() {
            pool.stats.clients = 0;
            pool.stats.heavy_connections = 0;
            pool.stats.heavy_known = pool.heavies.len() as u64;
            pool.stats.blocked_clients = 0;
            pool.stats.subscribers = 0;
            pool.stats.tracking_clients = 0;
            pool.stats.tracked_keys = self.tracking[index].table.len() as u64;
            let hub = &self.hubs[index];
            pool.stats.topics = hub.totals().map(|count| count as u64);
            pool.stats.subscriptions = hub.asked() as u64;
            let (all, used) = self.privates.count(pool.shared.id);
            (pool.stats.private_connections, pool.stats.private_in_use) = (all as u64, used as u64);
            (pool.stats.client_eof, pool.stats.client_errors) = self.down.clients.gone[index];
            let won = self.down.hedges.won.get(index);
            pool.stats.hedge_wins = won.copied().unwrap_or(0);
            pool.stats.lost = self.down.lost[index];
            pool.stats.leaving_connections = 0;
            pool.stats.clients_unread = self.down.clients.unread[index];
            pool.stats.tallies = self.down.clients.tallies[index].clone();
            pool.stats.latency = pool.stats.tallies.latency();
            // What is known of servers that have left goes with them.
            let topology = &pool.topology;
            pool.stats.servers.retain(|server, _| topology.member(*server).is_some());
            for server in pool.stats.servers.values_mut() {
                server.connections = 0;
                server.in_queue = 0;
                server.in_queue_bytes = 0;
                server.out_queue = 0;
                server.out_queue_bytes = 0;
                server.waiting = 0;
            }
        }
        for client in self.down.clients.iter() {
            let stats = &mut self.pools[client.pool].stats;
            stats.clients += 1;
            stats.blocked_clients += u64::from(client.is_blocked());
            stats.subscribers += u64::from(client.is_listening());
            stats.tracking_clients += u64::from(client.tracks());
        }
        for backend in 0..self.up.places() {
            if !self.up.is_free(backend) {
                let it = self.up.get_mut(backend);
                let (pool, is_heavy) = (it.pool, it.is_heavy && it.is_up());
                let is_leaving = it.duty == Duty::Leaving;
                self.pools[pool].stats.heavy_connections += u64::from(is_heavy);
                self.pools[pool].stats.leaving_connections += u64::from(is_leaving);
                self.count(backend);
            }
        }
        self.pools.iter().map(|pool| pool.stats.clone()).collect()
    }
}
