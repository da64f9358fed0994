//! What is counted: plain numbers of one worker, read by INFO, the JSON statistics and Prometheus alike.

use std::collections::BTreeMap;

use redstart_common::command;
use redstart_common::metric::Histogram;

use crate::backend::Redirects;
use crate::tally::Tallies;
use crate::topology::ServerId;

/// Why nobody knows whether a request has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The connection on which it was sent has ended.
    Connection,
    /// Its server did not answer in time.
    Timeout,
    /// Its server was a primary, and has been replaced.
    Replaced,
}

/// Requests that may have run on a server that was lost before it answered, parts of split ones each by itself: by reason, those
/// whose clients were told so, and those in whose place the client's connection was ended (`on_lost_request`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LostRequests([[u64; 2]; 3]);

impl LostRequests {
    /// Counts one.
    pub fn count(&mut self, why: Lost, is_ended: bool) {
        self.0[why as usize][usize::from(is_ended)] += 1;
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().flatten().zip(other.0.iter().flatten()) {
            *mine += theirs;
        }
    }

    /// Reasons and what was done by their names, and how often there was each.
    #[must_use]
    pub fn named(&self) -> [(&'static str, &'static str, u64); 6] {
        let [connection, timeout, replaced] = self.0;
        [
            ("connection", "error", connection[0]),
            ("connection", "close", connection[1]),
            ("timeout", "error", timeout[0]),
            ("timeout", "close", timeout[1]),
            ("replaced", "error", replaced[0]),
            ("replaced", "close", replaced[1]),
        ]
    }

    /// All of them, and those of them that have ended their client's connection.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        let ended = self.0.iter().map(|[_, ended]| ended).sum();
        (self.0.iter().flatten().sum(), ended)
    }
}

/// One server of a pool, as one worker has seen it.
#[derive(Debug, Clone, Default)]
pub struct ServerStats {
    /// Connections the server closed.
    pub eof: u64,
    /// Connections that failed otherwise.
    pub errors: u64,
    /// Requests that were not answered in time.
    pub timed_out: u64,
    /// Connections open now.
    pub connections: u64,
    /// Requests sent or queued.
    pub requests: u64,
    /// Their bytes.
    pub request_bytes: u64,
    /// Replies received.
    pub responses: u64,
    /// Their bytes.
    pub response_bytes: u64,
    /// Replies that were errors.
    pub error_responses: u64,
    /// Requests not sent yet.
    pub in_queue: u64,
    /// Their bytes.
    pub in_queue_bytes: u64,
    /// Requests sent and not answered.
    pub out_queue: u64,
    /// Their bytes.
    pub out_queue_bytes: u64,
    /// Requests that wait for the server, which is away.
    pub waiting: u64,
    /// Requests that had to wait for it.
    pub held: u64,
    /// Requests that were sent again.
    pub resent: u64,
    /// Requests that it sent elsewhere, as a node of a cluster.
    pub redirects: Redirects,
    /// Time from queueing a request to its reply.
    pub latency: Histogram,
}

impl ServerStats {
    fn merge(&mut self, other: &Self) {
        self.eof += other.eof;
        self.errors += other.errors;
        self.timed_out += other.timed_out;
        self.connections += other.connections;
        self.requests += other.requests;
        self.request_bytes += other.request_bytes;
        self.responses += other.responses;
        self.response_bytes += other.response_bytes;
        self.error_responses += other.error_responses;
        self.in_queue += other.in_queue;
        self.in_queue_bytes += other.in_queue_bytes;
        self.out_queue += other.out_queue;
        self.out_queue_bytes += other.out_queue_bytes;
        self.waiting += other.waiting;
        self.held += other.held;
        self.resent += other.resent;
        self.redirects.add(&other.redirects);
        self.latency.merge(&other.latency);
    }
}

/// One pool, as one worker has seen it.
#[derive(Debug, Clone)]
pub struct PoolStats {
    /// Clients accepted.
    pub clients_total: u64,
    /// Clients connected now.
    pub clients: u64,
    /// Clients that left.
    pub client_eof: u64,
    /// Clients whose connection failed or was closed by the proxy.
    pub client_errors: u64,
    /// Those of them that left too much unread.
    pub clients_unread: u64,
    /// Connections to servers that were opened.
    pub server_connections_total: u64,
    /// Requests that could not be sent to a server.
    pub forward_errors: u64,
    /// Requests that may have run on a server that was lost.
    pub lost: LostRequests,
    /// Connections to servers that have left, or that are read from no more, which are still owed replies.
    pub leaving_connections: u64,
    /// Parts of split requests.
    pub fragments: u64,
    /// Connections that serve one client at a time.
    pub private_connections: u64,
    /// Those of them that are in use.
    pub private_in_use: u64,
    /// Requests refused because all of them were in use.
    pub private_refused: u64,
    /// Clients that wait for something to happen.
    pub blocked_clients: u64,
    /// Clients that subscribe to anything.
    pub subscribers: u64,
    /// Channels, patterns and shard channels that they subscribe to, counted once for each worker.
    pub topics: [u64; 3],
    /// Subscriptions at servers.
    pub subscriptions: u64,
    /// Messages handed to clients.
    pub messages: u64,
    /// Clients dropped because they left messages unread.
    pub subscribers_dropped: u64,
    /// Clients that are told of keys that change.
    pub tracking_clients: u64,
    /// Keys that they have read, counted once for each worker.
    pub tracked_keys: u64,
    /// Reads that were asked of a further server.
    pub fallback_reads: u64,
    /// Those that were answered there.
    pub fallback_hits: u64,
    /// Reads that went to replicas.
    pub replica_reads: u64,
    /// Reads for which a replica was passed over because it owed too much.
    pub load_skips: u64,
    /// Reads that a second server was asked.
    pub hedged_reads: u64,
    /// Those that it answered first.
    pub hedge_wins: u64,
    /// Times that late reads were left as they were because the budget was spent.
    pub hedges_denied: u64,
    /// Requests that went on lanes of their own because they are heavy.
    pub heavy_requests: u64,
    /// Requests that are known to be, counted once for each worker.
    pub heavy_known: u64,
    /// Connections of those lanes that are open.
    pub heavy_connections: u64,
    /// Requests received.
    pub requests: u64,
    /// Requests the proxy refused or answered with an error of its own.
    pub refused: u64,
    /// Requests, by command.
    pub commands: Box<[u64]>,
    /// Requests of the last second.
    pub requests_per_s: u64,
    /// What clients were answered.
    pub tallies: Tallies,
    /// Time from reading a request to its reply being on its way.
    pub latency: Histogram,
    /// Its servers. One that has nothing to tell may be missing.
    pub servers: BTreeMap<ServerId, ServerStats>,
}

impl Default for PoolStats {
    fn default() -> Self {
        Self {
            clients_total: 0,
            clients: 0,
            client_eof: 0,
            client_errors: 0,
            clients_unread: 0,
            server_connections_total: 0,
            forward_errors: 0,
            lost: LostRequests::default(),
            leaving_connections: 0,
            fragments: 0,
            private_connections: 0,
            private_in_use: 0,
            private_refused: 0,
            blocked_clients: 0,
            subscribers: 0,
            topics: [0; 3],
            subscriptions: 0,
            messages: 0,
            subscribers_dropped: 0,
            tracking_clients: 0,
            tracked_keys: 0,
            fallback_reads: 0,
            fallback_hits: 0,
            heavy_requests: 0,
            heavy_known: 0,
            heavy_connections: 0,
            replica_reads: 0,
            load_skips: 0,
            hedged_reads: 0,
            hedge_wins: 0,
            hedges_denied: 0,
            requests: 0,
            refused: 0,
            commands: vec![0; command::count()].into_boxed_slice(),
            requests_per_s: 0,
            tallies: Tallies::default(),
            latency: Histogram::default(),
            servers: BTreeMap::new(),
        }
    }
}

impl PoolStats {
    /// Adds what another worker has seen.
    pub fn merge(&mut self, other: &Self) {
        self.clients_total += other.clients_total;
        self.clients += other.clients;
        self.client_eof += other.client_eof;
        self.client_errors += other.client_errors;
        self.clients_unread += other.clients_unread;
        self.server_connections_total += other.server_connections_total;
        self.forward_errors += other.forward_errors;
        self.lost.add(&other.lost);
        self.leaving_connections += other.leaving_connections;
        self.fragments += other.fragments;
        self.private_connections += other.private_connections;
        self.private_in_use += other.private_in_use;
        self.private_refused += other.private_refused;
        self.blocked_clients += other.blocked_clients;
        self.subscribers += other.subscribers;
        for (mine, theirs) in self.topics.iter_mut().zip(other.topics) {
            *mine += theirs;
        }
        self.subscriptions += other.subscriptions;
        self.messages += other.messages;
        self.subscribers_dropped += other.subscribers_dropped;
        self.tracking_clients += other.tracking_clients;
        self.tracked_keys += other.tracked_keys;
        self.fallback_reads += other.fallback_reads;
        self.fallback_hits += other.fallback_hits;
        self.heavy_requests += other.heavy_requests;
        self.heavy_known += other.heavy_known;
        self.heavy_connections += other.heavy_connections;
        self.replica_reads += other.replica_reads;
        self.load_skips += other.load_skips;
        self.hedged_reads += other.hedged_reads;
        self.hedge_wins += other.hedge_wins;
        self.hedges_denied += other.hedges_denied;
        self.requests += other.requests;
        self.refused += other.refused;
        for (mine, theirs) in self.commands.iter_mut().zip(other.commands.iter()) {
            *mine += theirs;
        }
        self.requests_per_s += other.requests_per_s;
        self.tallies.merge(&other.tallies);
        self.latency.merge(&other.latency);
        for (server, theirs) in &other.servers {
            self.servers.entry(*server).or_default().merge(theirs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_add_up() {
        let (mut all, mut one) = (PoolStats::default(), PoolStats::default());
        let server = ServerId::new(7);
        one.requests = 3;
        one.lost.count(Lost::Timeout, true);
        one.commands[5] = 2;
        let seen = one.servers.entry(server).or_default();
        seen.responses = 4;
        seen.latency.record(10);
        all.merge(&one);
        all.merge(&one);
        assert_eq!((all.requests, all.commands[5], all.servers[&server].responses), (6, 4, 8));
        assert_eq!(all.servers[&server].latency.count(), 2);
        assert_eq!(all.lost.named()[3], ("timeout", "close", 2));
        all.lost.count(Lost::Replaced, false);
        assert_eq!((all.lost.named()[4].2, all.lost.totals()), (1, (3, 2)));
    }
}
