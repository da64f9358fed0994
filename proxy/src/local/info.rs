//! `INFO`: the fields that tools look for, as a single standalone server would show them, and the proxy's own
//! sections about pools and servers.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use redstart_common::clock;
use redstart_common::number::human_memory;
use redstart_common::resp::RespWrite;

use super::REDIS_VERSION;
use crate::backend::Redirects;
use crate::client::ClientId;
use crate::client::request::Request;
use crate::local::{keyspace, proto};
use crate::settings::ListenAddress;
use crate::stats::{PoolStats, ServerStats};
use crate::topology::{PoolId, Role};
use crate::worker::Core;

type Section = (&'static str, fn(&Core, PoolId, &[PoolStats], &mut String) -> std::fmt::Result);

const SECTIONS: &[Section] = &[
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Replication", replication),
    ("CPU", cpu),
    ("Commandstats", commandstats),
    ("Cluster", cluster),
    ("Pool", pool),
    ("Servers", servers),
];

/// Shown only when asked for by name, or by `all`.
const ON_REQUEST: &[&str] = &["Commandstats"];

/// `INFO [section …]`
pub fn answer(core: &mut Core, id: ClientId, request: Request<'_>) {
    let proto = proto(core, id);
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let pool = client.pool;
    // Other workers' figures are at most a second old; one's own are of this moment.
    let report = core.snapshot();
    core.directory.report(core.number, report);
    let totals = core.directory.totals();
    let wanted: Vec<Vec<u8>> =
        request.args.iter().skip(1).map(<[u8]>::to_ascii_lowercase).collect();
    let is_wanted = |name: &str| {
        let by_default = !ON_REQUEST.contains(&name);
        (wanted.is_empty() && by_default)
            || wanted.iter().any(|word| match word.as_slice() {
                b"all" | b"everything" => true,
                b"default" => by_default,
                other => other.eq_ignore_ascii_case(name.as_bytes()),
            })
    };
    let mut text = String::new();
    for (name, write) in SECTIONS.iter().filter(|(name, _)| is_wanted(name)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        // Writing to a string does not fail.
        let _ = write!(text, "# {name}\r\n");
        let _ = write(core, pool, &totals, &mut text);
    }
    match is_wanted("Keyspace") {
        true => keyspace::answer(core, id, text, request.now_us),
        false => core
            .down
            .clients
            .reply(id, request.now_us, |out| out.verbatim(*b"txt", text.as_bytes(), proto)),
    }
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
         os:{}\r\narch_bits:{}\r\nmultiplexing_api:epoll\r\nprocess_id:{}\r\ntcp_port:{port}\r\n\
         uptime_in_seconds:{seconds}\r\nuptime_in_days:{}\r\nworkers:{}\r\n",
        env!("CARGO_PKG_VERSION"),
        if core.pools[pool].has_slots() { "cluster" } else { "standalone" },
        std::env::consts::OS,
        usize::BITS,
        std::process::id(),
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

fn memory(_: &Core, _: PoolId, _: &[PoolStats], out: &mut String) -> std::fmt::Result {
    let rss = resident_bytes().unwrap_or(0);
    let peak = peak_bytes().unwrap_or(rss).max(rss);
    let (rss_human, peak_human) = (human_memory(rss), human_memory(peak));
    write!(
        out,
        "used_memory:{rss}\r\nused_memory_human:{rss_human}\r\nused_memory_rss:{rss}\r\n\
         used_memory_rss_human:{rss_human}\r\nused_memory_peak:{peak}\r\nused_memory_peak_human:{peak_human}\r\n\
         maxmemory:0\r\nmaxmemory_human:0B\r\nmaxmemory_policy:noeviction\r\nmem_allocator:jemalloc\r\n"
    )
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

fn persistence(core: &Core, _: PoolId, _: &[PoolStats], out: &mut String) -> std::fmt::Result {
    // A proxy has nothing to load; clients that wait for the first line may begin. Nor has it anything to save, so
    // that nothing is ever due: tools that watch the rest see what a server without data of its own would show.
    let started_s = clock::unix_us() / 1_000_000 - core.directory.clock.seconds() as i64;
    write!(
        out,
        "loading:0\r\nrdb_changes_since_last_save:0\r\nrdb_bgsave_in_progress:0\r\n\
         rdb_last_save_time:{started_s}\r\nrdb_last_bgsave_status:ok\r\naof_enabled:0\r\n\
         aof_rewrite_in_progress:0\r\n"
    )
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
        "total_connections_received:{}\r\nrejected_connections:{}\r\ntotal_commands_processed:{}\r\ntotal_net_input_bytes:{sent}\r\n\
         total_net_output_bytes:{received}\r\ntotal_error_replies:{}\r\n\
         pubsub_channels:{}\r\npubsub_patterns:{}\r\npubsubshard_channels:{}\r\ntracking_total_keys:{}\r\n",
        total.clients_total,
        core.pools[pool].shared.rejected.total(),
        total.requests,
        total.refused
            + total.forward_errors
            + total.servers.values().map(|server| server.error_responses).sum::<u64>(),
        total.topics[0],
        total.topics[1],
        total.topics[2],
        total.tracked_keys,
    )
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
        "used_cpu_sys:{}.{:06}\r\nused_cpu_user:{}.{:06}\r\n",
        system.tv_sec(),
        system.tv_usec(),
        user.tv_sec(),
        user.tv_usec()
    )
}

fn commandstats(
    _: &Core,
    pool: PoolId,
    totals: &[PoolStats],
    out: &mut String,
) -> std::fmt::Result {
    for (spec, calls) in
        redstart_common::command::all().iter().zip(totals[pool.place()].commands.iter())
    {
        if *calls > 0 {
            write!(out, "cmdstat_{}:calls={calls}\r\n", spec.name)?;
        }
    }
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
        settings.hash.name(),
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
