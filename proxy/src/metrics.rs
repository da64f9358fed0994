//! What Prometheus scrapes. Workers count for themselves; once a second their sums are handed to the `metrics`
//! registry, which the exporter publishes. Nothing here runs per request.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram as Published, Label, counter, gauge, histogram};
use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use redstart_common::command;
use redstart_common::metric::Histogram;

use crate::backend::Redirects;
use crate::control::Directory;
use crate::stats::{LostRequests, PoolStats, ServerStats};
use crate::topology::pool::Rejected;
use crate::topology::{Member, Role, State, Topology};

/// Bounds of the latency buckets, in seconds.
const BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0,
    2.0, 5.0, 10.0, 30.0,
];

const REQUEST_SECONDS: &str = "redstart_proxy_request_duration_seconds";
const BACKEND_SECONDS: &str = "redstart_proxy_backend_duration_seconds";

/// Publishes on `address`.
///
/// # Errors
/// When the address cannot be bound or another recorder is installed.
pub fn install(address: SocketAddr) -> Result<(), metrics_exporter_prometheus::BuildError> {
    PrometheusBuilder::new()
        .with_http_listener(address)
        .set_buckets_for_metric(Matcher::Full(REQUEST_SECONDS.to_owned()), BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(BACKEND_SECONDS.to_owned()), BUCKETS)?
        .upkeep_timeout(Duration::from_secs(5))
        .install()?;
    describe();
    Ok(())
}

fn describe() {
    describe_gauge!("redstart_proxy_clients", "Clients connected now.");
    describe_counter!("redstart_proxy_clients_accepted_total", "Clients accepted.");
    describe_counter!("redstart_proxy_clients_left_total", "Clients that closed their connection.");
    describe_counter!(
        "redstart_proxy_clients_failed_total",
        "Clients whose connection failed or was closed by the proxy."
    );
    describe_counter!("redstart_proxy_requests_total", "Requests received from clients.");
    describe_counter!(
        "redstart_proxy_commands_total",
        "Requests received from clients, by command."
    );
    describe_counter!(
        "redstart_proxy_refused_total",
        "Requests the proxy refused with an error of its own."
    );
    describe_counter!("redstart_proxy_errors_total", "Errors that clients were answered, by code.");
    describe_counter!(
        "redstart_proxy_forward_errors_total",
        "Requests that could not be sent to a server."
    );
    describe_counter!(
        "redstart_proxy_lost_requests_total",
        "Requests that may have run on a server that was lost before it answered, by reason (connection, timeout, replaced) and by what their clients got (on_lost_request)."
    );
    describe_gauge!(
        "redstart_proxy_leaving_connections",
        "Connections to servers that have left, which still owe replies."
    );
    describe_counter!(
        "redstart_proxy_fragments_total",
        "Parts of requests that were split over servers."
    );
    describe_histogram!(
        REQUEST_SECONDS,
        "Time from reading a request to its reply being on its way."
    );
    describe_gauge!(
        "redstart_proxy_private_connections",
        "Connections that serve one client at a time."
    );
    describe_gauge!("redstart_proxy_private_in_use", "Those of them that a client has at present.");
    describe_gauge!(
        "redstart_proxy_blocked_clients",
        "Clients that wait for something to happen, as by BLPOP."
    );
    describe_gauge!("redstart_proxy_subscribers", "Clients that subscribe to anything.");
    describe_gauge!("redstart_proxy_subscriptions", "Subscriptions at servers.");
    describe_counter!("redstart_proxy_messages_total", "Published messages handed to clients.");
    describe_counter!(
        "redstart_proxy_subscribers_dropped_total",
        "Clients dropped because they left messages unread."
    );
    describe_gauge!(
        "redstart_proxy_tracking_clients",
        "Clients that are told of keys that change."
    );
    describe_counter!(
        "redstart_proxy_clients_unread_total",
        "Clients dropped because they left replies unread."
    );
    describe_counter!("redstart_proxy_clients_rejected_total", "Clients refused, by reason.");
    describe_counter!(
        "redstart_proxy_fallback_reads_total",
        "Reads that missed and were asked of the next server (read_fallback)."
    );
    describe_counter!(
        "redstart_proxy_fallback_hits_total",
        "Those of them that were answered there."
    );
    describe_gauge!(
        "redstart_proxy_heavy_known",
        "Requests (command and key) that are known to be heavy, counted once for each worker."
    );
    describe_gauge!("redstart_proxy_heavy_connections", "Connections open for heavy requests.");
    describe_counter!(
        "redstart_proxy_heavy_requests_total",
        "Requests that went on connections of their own because they are heavy (heavy_connections)."
    );
    describe_counter!("redstart_proxy_replica_reads_total", "Reads that went to replicas.");
    describe_counter!(
        "redstart_proxy_load_skips_total",
        "Reads for which a replica was passed over because it owed too much (max_load)."
    );
    describe_counter!(
        "redstart_proxy_hedged_reads_total",
        "Reads that were not answered in time and sent to a second server (hedge_after)."
    );
    describe_counter!("redstart_proxy_hedge_wins_total", "Those of them that it answered first.");
    describe_counter!(
        "redstart_proxy_hedges_denied_total",
        "Times that late reads were left as they were because the budget was spent (hedge_budget)."
    );
    describe_counter!(
        "redstart_proxy_private_refused_total",
        "Requests refused because all private connections were in use."
    );
    describe_gauge!("redstart_proxy_backend_connections", "Connections open to the server.");
    describe_gauge!(
        "redstart_proxy_backend_ejected",
        "1 while the server is ejected from its pool."
    );
    describe_gauge!(
        "redstart_proxy_backend_unsent_requests",
        "Requests queued for the server and not sent yet."
    );
    describe_gauge!(
        "redstart_proxy_backend_in_flight_requests",
        "Requests sent to the server and not answered yet."
    );
    describe_counter!(
        "redstart_proxy_backend_ejections_total",
        "Times the server was ejected from its pool, or taken to be down (on_server_down)."
    );
    describe_gauge!(
        "redstart_proxy_backend_state",
        "1 for the group, role and state that the server is in, 0 for those it was in."
    );
    describe_gauge!(
        "redstart_proxy_backend_waiting_requests",
        "Requests that wait for the server, which is away or being replaced."
    );
    describe_counter!(
        "redstart_proxy_backend_held_total",
        "Requests that had to wait because the server was away."
    );
    describe_counter!("redstart_proxy_backend_resent_total", "Requests that were sent again.");
    describe_gauge!(
        "redstart_proxy_backend_slots",
        "Slots of a Redis Cluster that the server owns."
    );
    describe_counter!(
        "redstart_proxy_redirects_total",
        "Requests that a node of a Redis Cluster sent elsewhere, or to be asked again, by kind."
    );
    describe_counter!(
        "redstart_proxy_failovers_total",
        "Times another server became the primary of the group."
    );
    describe_counter!("redstart_proxy_backend_closed_total", "Connections the server closed.");
    describe_counter!(
        "redstart_proxy_backend_failed_total",
        "Connections to the server that failed otherwise."
    );
    describe_counter!(
        "redstart_proxy_backend_timeouts_total",
        "Requests the server did not answer in time."
    );
    describe_counter!("redstart_proxy_backend_requests_total", "Requests sent to the server.");
    describe_counter!(
        "redstart_proxy_backend_request_bytes_total",
        "Bytes of requests sent to the server."
    );
    describe_counter!(
        "redstart_proxy_backend_responses_total",
        "Replies received from the server."
    );
    describe_counter!(
        "redstart_proxy_backend_response_bytes_total",
        "Bytes of replies received from the server."
    );
    describe_counter!(
        "redstart_proxy_backend_error_responses_total",
        "Error replies received from the server."
    );
    describe_histogram!(
        BACKEND_SECONDS,
        "Time from queueing a request for the server to its reply."
    );
}

/// A published histogram and what of ours it has seen.
struct Seen {
    published: Published,
    before: Histogram,
}

impl Seen {
    fn new(published: Published) -> Self {
        Self { published, before: Histogram::default() }
    }

    fn push(&mut self, now: &Histogram) {
        let before = std::mem::replace(&mut self.before, now.clone());
        let mut before = before.iter().peekable();
        for (upper_us, count) in now.iter() {
            while before.next_if(|(upper, _)| *upper < upper_us).is_some() {}
            let known =
                before.next_if(|(upper, _)| *upper == upper_us).map_or(0, |(_, count)| count);
            let new = usize::try_from(count.saturating_sub(known)).unwrap_or(usize::MAX);
            if new > 0 {
                self.published.record_many(upper_us as f64 / 1e6, new);
            }
        }
    }
}

struct ServerHandles {
    labels: [Label; 2],
    gauges: [Gauge; 5],
    counters: [Counter; 11],
    /// Of nodes of a cluster only: their slots, and their redirects by kind.
    slots: Option<(Gauge, [Counter; 4])>,
    /// The gauge of the group, role and state that it is in.
    state: Option<([String; 3], Gauge)>,
    latency: Seen,
}

impl ServerHandles {
    fn new(pool: &str, server: &str) -> Self {
        let labels = [Label::new("pool", pool.to_owned()), Label::new("server", server.to_owned())];
        let gauge = |name: &'static str| gauge!(name, labels.to_vec());
        let counter = |name: &'static str| counter!(name, labels.to_vec());
        Self {
            gauges: [
                gauge("redstart_proxy_backend_connections"),
                gauge("redstart_proxy_backend_ejected"),
                gauge("redstart_proxy_backend_unsent_requests"),
                gauge("redstart_proxy_backend_in_flight_requests"),
                gauge("redstart_proxy_backend_waiting_requests"),
            ],
            counters: [
                counter("redstart_proxy_backend_ejections_total"),
                counter("redstart_proxy_backend_closed_total"),
                counter("redstart_proxy_backend_failed_total"),
                counter("redstart_proxy_backend_timeouts_total"),
                counter("redstart_proxy_backend_requests_total"),
                counter("redstart_proxy_backend_request_bytes_total"),
                counter("redstart_proxy_backend_responses_total"),
                counter("redstart_proxy_backend_response_bytes_total"),
                counter("redstart_proxy_backend_error_responses_total"),
                counter("redstart_proxy_backend_held_total"),
                counter("redstart_proxy_backend_resent_total"),
            ],
            slots: None,
            state: None,
            latency: Seen::new(histogram!(BACKEND_SECONDS, labels.to_vec())),
            labels,
        }
    }

    fn push_state(&mut self, now: [&str; 3]) {
        if let Some((before, gauge)) = &self.state {
            if *before == now {
                return;
            }
            gauge.set(0.0);
        }
        let mut labels = self.labels.to_vec();
        for (name, value) in ["group", "role", "state"].into_iter().zip(now) {
            labels.push(Label::new(name, value.to_owned()));
        }
        let gauge = gauge!("redstart_proxy_backend_state", labels);
        gauge.set(1.0);
        self.state = Some((now.map(str::to_owned), gauge));
    }

    fn push_slots(&mut self, slots: u32, redirects: &Redirects) {
        let labels = &self.labels;
        let (gauge, counters) = self.slots.get_or_insert_with(|| {
            let counter = |(kind, _): (&'static str, u64)| {
                let mut labels = labels.to_vec();
                labels.push(Label::new("kind", kind));
                counter!("redstart_proxy_redirects_total", labels)
            };
            let gauge = gauge!("redstart_proxy_backend_slots", labels.to_vec());
            (gauge, redirects.named().map(counter))
        });
        gauge.set(f64::from(slots));
        for (counter, (_, count)) in counters.iter().zip(redirects.named()) {
            counter.absolute(count);
        }
    }

    /// The server is in the pool no more.
    fn left(&mut self) {
        if let Some((slots, _)) = &self.slots {
            slots.set(0.0);
        }
        if let Some((_, gauge)) = self.state.take() {
            gauge.set(0.0);
        }
        for gauge in &self.gauges {
            gauge.set(0.0);
        }
    }

    fn push(&mut self, stats: &ServerStats, member: &Member, group: &str) {
        self.push_state([group, member.role.name(), member.state.name()]);
        let is_out = u64::from(member.state == State::Ejected);
        let gauges = [stats.connections, is_out, stats.in_queue, stats.out_queue, stats.waiting];
        for (gauge, value) in self.gauges.iter().zip(gauges) {
            gauge.set(value as f64);
        }
        let counters = [
            member.ejections,
            stats.eof,
            stats.errors,
            stats.timed_out,
            stats.requests,
            stats.request_bytes,
            stats.responses,
            stats.response_bytes,
            stats.error_responses,
            stats.held,
            stats.resent,
        ];
        for (counter, value) in self.counters.iter().zip(counters) {
            counter.absolute(value);
        }
        self.latency.push(&stats.latency);
    }
}

struct PoolHandles {
    name: String,
    gauges: [Gauge; 10],
    counters: [Counter; 19],
    /// As [`LostRequests::named`](crate::stats::LostRequests::named) has them.
    lost: [Counter; 6],
    commands: HashMap<usize, Counter>,
    errors: HashMap<Box<str>, Counter>,
    latency: Seen,
    /// By name: a server that comes back goes on counting.
    servers: HashMap<Box<str>, ServerHandles>,
}

impl PoolHandles {
    fn new(name: &str) -> Self {
        let labels = [Label::new("pool", name.to_owned())];
        let counter = |name: &'static str| counter!(name, labels.to_vec());
        Self {
            name: name.to_owned(),
            gauges: [
                "redstart_proxy_clients",
                "redstart_proxy_private_connections",
                "redstart_proxy_private_in_use",
                "redstart_proxy_blocked_clients",
                "redstart_proxy_subscribers",
                "redstart_proxy_subscriptions",
                "redstart_proxy_tracking_clients",
                "redstart_proxy_heavy_known",
                "redstart_proxy_heavy_connections",
                "redstart_proxy_leaving_connections",
            ]
            .map(|name| gauge!(name, labels.to_vec())),
            counters: [
                counter("redstart_proxy_clients_accepted_total"),
                counter("redstart_proxy_clients_left_total"),
                counter("redstart_proxy_clients_failed_total"),
                counter("redstart_proxy_requests_total"),
                counter("redstart_proxy_refused_total"),
                counter("redstart_proxy_forward_errors_total"),
                counter("redstart_proxy_fragments_total"),
                counter("redstart_proxy_private_refused_total"),
                counter("redstart_proxy_messages_total"),
                counter("redstart_proxy_subscribers_dropped_total"),
                counter("redstart_proxy_clients_unread_total"),
                counter("redstart_proxy_fallback_reads_total"),
                counter("redstart_proxy_fallback_hits_total"),
                counter("redstart_proxy_replica_reads_total"),
                counter("redstart_proxy_load_skips_total"),
                counter("redstart_proxy_hedged_reads_total"),
                counter("redstart_proxy_hedge_wins_total"),
                counter("redstart_proxy_hedges_denied_total"),
                counter("redstart_proxy_heavy_requests_total"),
            ],
            lost: LostRequests::default().named().map(|(reason, got, _)| {
                let mut labels = labels.to_vec();
                labels.extend([Label::new("reason", reason), Label::new("got", got)]);
                counter!("redstart_proxy_lost_requests_total", labels)
            }),
            commands: HashMap::new(),
            errors: HashMap::new(),
            latency: Seen::new(histogram!(REQUEST_SECONDS, labels.to_vec())),
            servers: HashMap::new(),
        }
    }

    fn push_rejected(&self, rejected: &Rejected) {
        let reasons =
            [("client_connections", &rejected.by_limit), ("descriptors", &rejected.by_descriptors)];
        for (reason, count) in reasons {
            let pool = self.name.clone();
            counter!("redstart_proxy_clients_rejected_total", "pool" => pool, "reason" => reason)
                .absolute(count.load(Ordering::Relaxed));
        }
    }

    fn push(&mut self, stats: &PoolStats) {
        let gauges = [
            stats.clients,
            stats.private_connections,
            stats.private_in_use,
            stats.blocked_clients,
            stats.subscribers,
            stats.subscriptions,
            stats.tracking_clients,
            stats.heavy_known,
            stats.heavy_connections,
            stats.leaving_connections,
        ];
        for (gauge, value) in self.gauges.iter().zip(gauges) {
            gauge.set(value as f64);
        }
        let counters = [
            stats.clients_total,
            stats.client_eof,
            stats.client_errors,
            stats.requests,
            stats.refused,
            stats.forward_errors,
            stats.fragments,
            stats.private_refused,
            stats.messages,
            stats.subscribers_dropped,
            stats.clients_unread,
            stats.fallback_reads,
            stats.fallback_hits,
            stats.replica_reads,
            stats.load_skips,
            stats.hedged_reads,
            stats.hedge_wins,
            stats.hedges_denied,
            stats.heavy_requests,
        ];
        for (counter, value) in self.counters.iter().zip(counters) {
            counter.absolute(value);
        }
        for (counter, (.., count)) in self.lost.iter().zip(stats.lost.named()) {
            counter.absolute(count);
        }
        for (index, calls) in stats.commands.iter().enumerate().filter(|(_, calls)| **calls > 0) {
            let pool = &self.name;
            self.commands
                .entry(index)
                .or_insert_with(|| {
                    let command = command::all().get(index).map_or("", |spec| spec.name);
                    counter!("redstart_proxy_commands_total", "pool" => pool.clone(), "command" => command)
                })
                .absolute(*calls);
        }
        for (code, count) in stats.tallies.codes() {
            if !self.errors.contains_key(code) {
                let labels = [("pool", self.name.clone()), ("code", code.to_owned())];
                let counter = counter!("redstart_proxy_errors_total", &labels);
                self.errors.insert(code.into(), counter);
            }
            if let Some(counter) = self.errors.get(code) {
                counter.absolute(count);
            }
        }
        self.latency.push(&stats.latency);
    }

    fn push_servers(&mut self, stats: &PoolStats, topology: &Topology, is_cluster: bool) {
        let nothing = ServerStats::default();
        let pool = &self.name;
        for shard in topology.shards.iter().filter(|shard| shard.failovers > 0) {
            let labels =
                [Label::new("pool", pool.clone()), Label::new("group", shard.name.to_string())];
            counter!("redstart_proxy_failovers_total", labels.to_vec()).absolute(shard.failovers);
        }
        for member in &topology.members {
            let name = &member.endpoint.name;
            let handles =
                self.servers.entry(name.clone()).or_insert_with(|| ServerHandles::new(pool, name));
            let seen = stats.servers.get(&member.endpoint.id).unwrap_or(&nothing);
            let shard = &topology.shards[usize::from(member.shard)];
            handles.push(seen, member, &shard.name);
            if is_cluster {
                let slots = if member.role == Role::Primary { shard.slots } else { 0 };
                handles.push_slots(slots, &seen.redirects);
            }
        }
        for (name, handles) in &mut self.servers {
            if !topology.members.iter().any(|member| member.endpoint.name == *name) {
                handles.left();
            }
        }
    }
}

/// Hands the workers' sums to the registry.
pub struct Publisher {
    pools: Vec<PoolHandles>,
}

impl Publisher {
    /// A publisher for the pools of a process.
    #[must_use]
    pub fn new(directory: &Directory) -> Self {
        let pools =
            directory.pools.iter().map(|pool| PoolHandles::new(&pool.settings.name)).collect();
        Self { pools }
    }

    /// Publishes the figures as of now.
    pub fn push(&mut self, directory: &Directory) {
        let totals = directory.totals();
        for ((handles, total), shared) in self.pools.iter_mut().zip(&totals).zip(&directory.pools) {
            handles.push(total);
            handles.push_rejected(&shared.rejected);
            let is_cluster = shared.settings.cluster.is_some();
            handles.push_servers(total, &shared.topology.load(), is_cluster);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_published() {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full("latency".to_owned()), BUCKETS)
            .expect("buckets")
            .build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let mut seen = Seen::new(histogram!("latency"));
            let mut ours = Histogram::default();
            ours.record_many(10, 5);
            ours.record(3_000_000);
            seen.push(&ours);
            seen.push(&ours);
            ours.record(10);
            ours.record(700);
            seen.push(&ours);
        });
        let text = handle.render();
        assert!(text.contains("latency_count 8"), "{text}");
        assert!(text.contains("latency_bucket{le=\"0.00005\"} 6"), "{text}");
        assert!(text.contains("latency_bucket{le=\"0.001\"} 7"), "{text}");
    }
}
