//! `INFO`: the fields that tools look for, as a single standalone server would show them, and the proxy's own
//! sections about pools and servers. What only servers can say is put together from what they say.

use std::fmt::Write;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use redstart_common::clock;
use redstart_common::command;
use redstart_common::resp::RespWrite;

use super::REDIS_VERSION;
use crate::backend::Redirects;
use crate::client::ClientId;
use crate::client::request::Request;
use crate::local::figures::{self, MEMORY, PERSISTENCE, STATS};
use crate::local::proto;
use crate::settings::ListenAddress;
use crate::stats::{PoolStats, ServerStats};
use crate::topology::{PoolId, Role};
use crate::worker::Core;

/// A section.
struct Section {
    name: &'static str,
    write: fn(&Core, PoolId, &[PoolStats], &mut String) -> std::fmt::Result,
    /// Servers have to be asked for parts of it.
    asks: bool,
    /// It is shown only when it is asked for by name, or by `all`.
    on_request: bool,
}

const fn own(
    name: &'static str,
    write: fn(&Core, PoolId, &[PoolStats], &mut String) -> std::fmt::Result,
) -> Section {
    Section { name, write, asks: false, on_request: false }
}

const SECTIONS: &[Section] = &[
    own("Server", server),
    own("Clients", clients),
    Section { asks: true, ..own("Memory", memory) },
    Section { asks: true, ..own("Persistence", persistence) },
    Section { asks: true, ..own("Stats", stats) },
    own("Replication", replication),
    own("CPU", cpu),
    own("Modules", |_, _, _, _| Ok(())),
    Section { on_request: true, ..own("Commandstats", commandstats) },
    own("Errorstats", errorstats),
    Section { on_request: true, ..own("Latencystats", latencystats) },
    own("Cluster", cluster),
    Section { asks: true, ..own("Keyspace", keyspace) },
    own("Pool", pool),
    own("Servers", servers),
];

impl Section {
    /// Whether it is among those that these words ask for.
    fn is_wanted(&self, words: &[Vec<u8>]) -> bool {
        let by_default = !self.on_request;
        (words.is_empty() && by_default)
            || words.iter().any(|word| match word.as_slice() {
                b"all" | b"everything" => true,
                b"default" => by_default,
                other => other.eq_ignore_ascii_case(self.name.as_bytes()),
            })
    }
}

/// `INFO [section …]`
pub fn answer(core: &mut Core, id: ClientId, request: Request<'_>) {
    let now_us = request.now_us;
    let proto = proto(core, id);
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let pool = client.pool;
    let words: Vec<Vec<u8>> = request.args.iter().skip(1).map(<[u8]>::to_ascii_lowercase).collect();
    let asks = SECTIONS.iter().any(|section| section.asks && section.is_wanted(&words));
    let write = move |core: &mut Core| {
        let mut reply = Vec::new();
        reply.verbatim(*b"txt", text(core, pool, &words).as_bytes(), proto);
        reply
    };
    if asks {
        figures::ask(core, id, now_us, write);
    } else {
        let reply = write(core);
        core.down.clients.reply(id, now_us, |out| out.extend_from_slice(&reply));
    }
}

fn text(core: &mut Core, pool: PoolId, words: &[Vec<u8>]) -> String {
    // Other workers' figures are at most a second old; one's own are of this moment.
    let report = core.snapshot();
    core.directory.report(core.number, report);
    let totals = core.directory.totals();
    let mut text = String::new();
    for section in SECTIONS.iter().filter(|section| section.is_wanted(words)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        // Writing to a string does not fail.
        let _ = write!(text, "# {}\r\n", section.name);
        let _ = (section.write)(core, pool, &totals, &mut text);
    }
    text
}

/// The number of this run of the process, as Redis has one: forty hexadecimal digits.
fn run_id() -> &'static str {
    static RUN_ID: OnceLock<String> = OnceLock::new();
    RUN_ID.get_or_init(|| {
        let bytes: [u8; 20] = rand::random();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    })
}

/// The operating system, as `uname` names it.
fn system() -> &'static str {
    static SYSTEM: OnceLock<String> = OnceLock::new();
    SYSTEM.get_or_init(|| {
        let kernel = |what: &str| {
            let text = std::fs::read_to_string(format!("/proc/sys/kernel/{what}"));
            text.unwrap_or_default().trim().to_owned()
        };
        let (name, release) = (kernel("ostype"), kernel("osrelease"));
        if name.is_empty() {
            return std::env::consts::OS.to_owned();
        }
        format!("{name} {release} {}", std::env::consts::ARCH)
    })
}

fn server(core: &Core, pool: PoolId, _: &[PoolStats], out: &mut String) -> std::fmt::Result {
    let port = match &core.pools[pool].shared.settings.listen.address {
        ListenAddress::Tcp { port, .. } => *port,
        ListenAddress::Unix { .. } => 0,
    };
    let seconds = core.directory.clock.seconds();
    write!(
        out,
        "redis_version:{REDIS_VERSION}\r\nredstart_version:{}\r\nredis_mode:{}\r\nredstart_mode:proxy\r\n\
         os:{}\r\narch_bits:{}\r\nmultiplexing_api:epoll\r\nprocess_id:{}\r\nrun_id:{}\r\ntcp_port:{port}\r\n\
         server_time_usec:{}\r\nuptime_in_seconds:{seconds}\r\nuptime_in_days:{}\r\nworkers:{}\r\n",
        env!("CARGO_PKG_VERSION"),
        if core.pools[pool].has_slots() { "cluster" } else { "standalone" },
        system(),
        usize::BITS,
        std::process::id(),
        run_id(),
        clock::unix_us(),
        seconds / 86_400,
        core.directory.workers.len(),
    )
}

/// Most clients of a pool at a time.
pub fn clients_max(core: &Core, pool: PoolId) -> usize {
    match core.pools[pool].shared.settings.client_connections {
        0 => core.directory.clients_max,
        limit => limit.min(core.directory.clients_max),
    }
}

fn clients(core: &Core, pool: PoolId, totals: &[PoolStats], out: &mut String) -> std::fmt::Result {
    write!(
        out,
        "connected_clients:{}\r\nmaxclients:{}\r\nblocked_clients:{}\r\ntracking_clients:{}\r\n",
        core.pools[pool].shared.clients.load(Ordering::Relaxed),
        clients_max(core, pool),
        totals[pool.place()].blocked_clients,
        totals[pool.place()].tracking_clients,
    )
}

fn memory(core: &Core, pool: PoolId, _: &[PoolStats], out: &mut String) -> std::fmt::Result {
    let said = &core.pools[pool].figures;
    said.write(MEMORY, out);
    let (used, resident) = (said.sum("used_memory"), said.sum("used_memory_rss"));
    if used > 0 {
        write!(out, "mem_fragmentation_ratio:{:.2}\r\n", resident as f64 / used as f64)?;
    }
    let rss = resident_bytes().unwrap_or(0);
    let peak = peak_bytes().unwrap_or(rss).max(rss);
    write!(out, "redstart_memory_rss:{rss}\r\nredstart_memory_rss_peak:{peak}\r\n")
}

/// Resident memory of the process.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(page).ok()?)
}

/// The most memory of the process that was ever resident.
fn peak_bytes() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let kibibytes = getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss();
    u64::try_from(kibibytes).ok()?.checked_mul(1024)
}

fn persistence(core: &Core, pool: PoolId, _: &[PoolStats], out: &mut String) -> std::fmt::Result {
    // A proxy has nothing to load; clients that wait for the first line may begin.
    out.push_str("loading:0\r\n");
    core.pools[pool].figures.write(PERSISTENCE, out);
    Ok(())
}

fn stats(core: &Core, pool: PoolId, totals: &[PoolStats], out: &mut String) -> std::fmt::Result {
    let total = &totals[pool.place()];
    let (mut sent, mut received) = (0, 0);
    for server in total.servers.values() {
        sent += server.request_bytes;
        received += server.response_bytes;
    }
    write!(
        out,
        "total_connections_received:{}\r\nrejected_connections:{}\r\ntotal_commands_processed:{}\r\ninstantaneous_ops_per_sec:{}\r\n\
         total_net_input_bytes:{sent}\r\ntotal_net_output_bytes:{received}\r\ntotal_error_replies:{}\r\n\
         pubsub_channels:{}\r\npubsub_patterns:{}\r\npubsubshard_channels:{}\r\ntracking_total_keys:{}\r\n",
        total.clients_total,
        core.pools[pool].shared.rejected.total(),
        total.requests,
        total.requests_per_s,
        total.tallies.errors(),
        total.topics[0],
        total.topics[1],
        total.topics[2],
        total.tracked_keys,
    )?;
    core.pools[pool].figures.write(STATS, out);
    Ok(())
}

fn replication(_: &Core, _: PoolId, _: &[PoolStats], out: &mut String) -> std::fmt::Result {
    write!(out, "role:master\r\nconnected_slaves:0\r\n")
}

fn cpu(_: &Core, _: PoolId, _: &[PoolStats], out: &mut String) -> std::fmt::Result {
    use nix::sys::resource::{UsageWho, getrusage};
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Ok(()) };
    let (system, user) = (usage.system_time(), usage.user_time());
    write!(
        out,
        "used_cpu_sys:{}.{:06}\r\nused_cpu_user:{}.{:06}\r\n\
         used_cpu_sys_children:0.000000\r\nused_cpu_user_children:0.000000\r\n",
        system.tv_sec(),
        system.tv_usec(),
        user.tv_sec(),
        user.tv_usec()
    )
}

/// By command: how often it was carried out, and how long a reply took from the request on, servers and network included.
fn commandstats(
    _: &Core,
    pool: PoolId,
    totals: &[PoolStats],
    out: &mut String,
) -> std::fmt::Result {
    let total = &totals[pool.place()];
    for (place, tally) in total.tallies.commands() {
        let (Some(spec), Some(asked)) = (command::all().get(place), total.commands.get(place))
        else {
            continue;
        };
        let calls = asked.saturating_sub(tally.rejected);
        let us = tally.latency.sum_us();
        let per_call = us.checked_div(calls).map_or(0.0, |_| us as f64 / calls as f64);
        write!(
            out,
            "cmdstat_{}:calls={calls},usec={us},usec_per_call={per_call:.2},rejected_calls={},failed_calls={}\r\n",
            spec.name,
            tally.rejected,
            tally.failed(),
        )?;
    }
    Ok(())
}

/// How often clients were answered each kind of error.
fn errorstats(_: &Core, pool: PoolId, totals: &[PoolStats], out: &mut String) -> std::fmt::Result {
    for (code, count) in totals[pool.place()].tallies.codes() {
        write!(out, "errorstat_{code}:count={count}\r\n")?;
    }
    Ok(())
}

fn latencystats(
    _: &Core,
    pool: PoolId,
    totals: &[PoolStats],
    out: &mut String,
) -> std::fmt::Result {
    for (place, tally) in totals[pool.place()].tallies.commands() {
        let Some(spec) = command::all().get(place) else { continue };
        if tally.latency.count() <= tally.rejected {
            continue;
        }
        let of = |share| tally.latency.percentile_us(share) as f64;
        write!(
            out,
            "latency_percentiles_usec_{}:p50={:.3},p99={:.3},p99.9={:.3}\r\n",
            spec.name,
            of(0.5),
            of(0.99),
            of(0.999),
        )?;
    }
    Ok(())
}

fn keyspace(core: &Core, pool: PoolId, _: &[PoolStats], out: &mut String) -> std::fmt::Result {
    let it = &core.pools[pool];
    it.figures.write_databases(&it.shared.settings, out);
    Ok(())
}

fn cluster(core: &Core, pool: PoolId, _: &[PoolStats], out: &mut String) -> std::fmt::Result {
    write!(out, "cluster_enabled:{}\r\n", u8::from(core.pools[pool].has_slots()))
}

fn pool(core: &Core, pool: PoolId, totals: &[PoolStats], out: &mut String) -> std::fmt::Result {
    let it = &core.pools[pool];
    let (settings, total) = (&it.shared.settings, &totals[pool.place()]);
    let (lost, lost_closed) = total.lost.totals();
    write!(
        out,
        "name:{}\r\nlisten:{}\r\nhash:{}\r\ndistribution:{}\r\ndatabases:{}\r\nservers:{}\r\nservers_live:{}\r\nservers_down:{}\r\nrequests:{}\r\n\
         fragments:{}\r\nforward_errors:{}\r\nlost_requests:{}\r\nlost_requests_closed:{}\r\nlatency_us_p50:{}\r\nlatency_us_p99:{}\r\nfailovers:{}\r\n\
         private_connections:{}\r\nprivate_in_use:{}\r\nprivate_refused:{}\r\n\
         subscribers:{}\r\nsubscriptions:{}\r\nmessages:{}\r\nsubscribers_dropped:{}\r\nclients_unread:{}\r\nfallback_reads:{}\r\nfallback_hits:{}\r\n\
         heavy_requests:{}\r\nheavy_known:{}\r\nheavy_connections:{}\r\nleaving_connections:{}\r\n\
         waiting_requests:{}\r\nheld_requests:{}\r\nresent_requests:{}\r\n",
        settings.name,
        settings.listen.text,
        settings.hash_name(),
        settings.distribution.name(),
        settings.databases,
        it.topology.members.len(),
        it.topology.live.len(),
        it.topology.members.iter().filter(|it| it.state.is_down()).count(),
        total.requests,
        total.fragments,
        total.forward_errors,
        lost,
        lost_closed,
        total.latency.percentile_us(0.5),
        total.latency.percentile_us(0.99),
        it.topology.shards.iter().map(|shard| shard.failovers).sum::<u64>(),
        total.private_connections,
        total.private_in_use,
        total.private_refused,
        total.subscribers,
        total.subscriptions,
        total.messages,
        total.subscribers_dropped,
        total.clients_unread,
        total.fallback_reads,
        total.fallback_hits,
        total.heavy_requests,
        total.heavy_known,
        total.heavy_connections,
        total.leaving_connections,
        total.servers.values().map(|server| server.waiting).sum::<u64>(),
        total.servers.values().map(|server| server.held).sum::<u64>(),
        total.servers.values().map(|server| server.resent).sum::<u64>(),
    )?;
    if it.reads.is_some() {
        write!(
            out,
            "replica_reads:{}\r\nload_skips:{}\r\nhedged_reads:{}\r\nhedge_wins:{}\r\nhedges_denied:{}\r\n",
            total.replica_reads,
            total.load_skips,
            total.hedged_reads,
            total.hedge_wins,
            total.hedges_denied,
        )?;
    }
    if settings.cluster.is_some() {
        let mut redirects = Redirects::default();
        total.servers.values().for_each(|server| redirects.add(&server.redirects));
        let served: u32 = it.topology.shards.iter().map(|shard| shard.slots).sum();
        write!(out, "slots_served:{served}\r\n")?;
        for (kind, count) in redirects.named() {
            write!(out, "redirects_{kind}:{count}\r\n")?;
        }
    }
    Ok(())
}

fn servers(core: &Core, pool: PoolId, totals: &[PoolStats], out: &mut String) -> std::fmt::Result {
    let it = &core.pools[pool];
    let topology = it.shared.topology.load();
    let nothing = ServerStats::default();
    for (index, member) in topology.members.iter().enumerate() {
        let stats = totals[pool.place()].servers.get(&member.endpoint.id).unwrap_or(&nothing);
        let shard = &topology.shards[usize::from(member.shard)];
        let address =
            member.endpoint.address.as_ref().map_or_else(String::new, ToString::to_string);
        write!(
            out,
            "server{index}:name={},address={address},weight={},state={},connections={},requests={},responses={},\
             errors={},timeouts={},ejections={},in_flight={},latency_us_p50={},latency_us_p99={},role={},group={},\
             waiting={},held={},resent={}",
            member.endpoint.name,
            shard.weight,
            member.state.name(),
            stats.connections,
            stats.requests,
            stats.responses,
            stats.error_responses,
            stats.timed_out,
            member.ejections,
            stats.in_queue + stats.out_queue,
            stats.latency.percentile_us(0.5),
            stats.latency.percentile_us(0.99),
            member.role.name(),
            shard.name,
            stats.waiting,
            stats.held,
            stats.resent,
        )?;
        if let Some(centers) = &it.shared.settings.data_centers {
            write!(out, ",dc={}", centers.name_of(member.endpoint.address.as_ref()))?;
        }
        if it.shared.settings.cluster.is_some() {
            let slots = if member.role == Role::Primary { shard.slots } else { 0 };
            write!(out, ",slots={slots}")?;
            for (kind, count) in stats.redirects.named() {
                write!(out, ",{kind}={count}")?;
            }
        }
        out.push_str("\r\n");
    }
    Ok(())
}
