//! The text of INFO: true figures only. What the engine does not do yet is shown as not happening, by the values a
//! redis-server shows then.

use std::fmt::{Display, Write};
use std::time::Instant;

use redstart_common::{clock, command};

use crate::client::{Client, Flags, allocated_bytes};
use crate::engine::Core;
use crate::keyspace::{Keyspace, lazyfree};
use crate::observe::memory::{Excess, Overview};
use crate::persistence::aof::chain::State;
use crate::process::supervised::Supervisor;
use crate::replication::Backlog;
use crate::sentinel::Sentinel;

struct Page {
    text: String,
}

impl Page {
    fn section(&mut self, name: &str) {
        if !self.text.is_empty() {
            self.text.push_str("\r\n");
        }
        let _ = write!(self.text, "# {name}\r\n");
    }

    fn field(&mut self, name: &str, value: impl Display) {
        // Writing to a string does not fail.
        let _ = write!(self.text, "{name}:{value}\r\n");
    }

    fn excess(&mut self, name: &str, excess: Excess) {
        self.field(&format!("{name}_ratio"), format_args!("{:.2}", excess.ratio));
        self.field(&format!("{name}_bytes"), excess.bytes);
    }

    fn bytes(&mut self, name: &str, bytes: usize) {
        self.field(name, bytes);
        self.field(&format!("{name}_human"), redstart_common::number::human_memory(bytes as u64));
    }
}

/// Which sections are wanted: none named is the default set.
struct Wanted<'a> {
    named: &'a [String],
}

impl Wanted<'_> {
    fn is(&self, section: &str) -> bool {
        let extra = matches!(section, "commandstats" | "latencystats");
        if self.named.is_empty() {
            return !extra;
        }
        self.named.iter().any(|name| match name.as_str() {
            "all" | "everything" => true,
            "default" => !extra,
            name => name == section,
        })
    }
}

/// The text of INFO for the sections named; none is the default set.
#[must_use]
pub fn text(keyspace: &Keyspace, core: &Core, client: &Client, named: &[String]) -> String {
    let wanted = Wanted { named };
    let mut page = Page { text: String::new() };
    if let Some(sentinel) = &core.sentinel {
        of_sentinel(&mut page, keyspace, core, client, sentinel, &wanted);
        return page.text;
    }
    if wanted.is("server") {
        server(&mut page, keyspace, core);
    }
    if wanted.is("clients") {
        clients(&mut page, core, client);
    }
    if wanted.is("memory") {
        memory_section(&mut page, keyspace, core, client);
    }
    if wanted.is("persistence") {
        persistence(&mut page, core);
    }
    if wanted.is("stats") {
        stats(&mut page, keyspace, core);
    }
    if wanted.is("replication") {
        replication(&mut page, core);
    }
    if wanted.is("cpu") {
        cpu(&mut page);
    }
    if wanted.is("modules") {
        page.section("Modules");
    }
    if wanted.is("commandstats") {
        command_stats(&mut page, core);
    }
    if wanted.is("errorstats") {
        page.section("Errorstats");
        for (word, count) in &core.stats.errors {
            page.field(&format!("errorstat_{word}"), format_args!("count={count}"));
        }
    }
    if wanted.is("latencystats") {
        latency_stats(&mut page, core);
    }
    if wanted.is("cluster") {
        page.section("Cluster");
        page.field("cluster_enabled", u8::from(core.cluster.is_some()));
    }
    if wanted.is("keyspace") {
        page.section("Keyspace");
        for db in keyspace.dbs.iter().filter(|db| db.seen_len() > 0) {
            page.field(
                &format!("db{}", db.index()),
                format_args!(
                    "keys={},expires={},avg_ttl={}{}",
                    db.seen_len(),
                    // With keys aside it is not known how many of these have deadlines.
                    db.volatile_len().min(db.seen_len()),
                    db.average_ttl_ms(),
                    // Redis 7.4 tells it always; what reads 7.0's line is not to find more where there is nothing of it.
                    match db.timed_len() {
                        0 => String::new(),
                        hashes => format!(",subexpiry={hashes}"),
                    }
                ),
            );
        }
    }
    page.text
}

/// The sections of a sentinel.
fn of_sentinel(
    page: &mut Page,
    keyspace: &Keyspace,
    core: &Core,
    client: &Client,
    sentinel: &Sentinel,
    wanted: &Wanted<'_>,
) {
    if wanted.is("server") {
        server(page, keyspace, core);
    }
    if wanted.is("clients") {
        clients(page, core, client);
    }
    if wanted.is("stats") {
        stats(page, keyspace, core);
    }
    if wanted.is("cpu") {
        cpu(page);
    }
    if !wanted.is("sentinel") {
        return;
    }
    let simulated = sentinel.simulated;
    let flags = u8::from(simulated.after_election) | u8::from(simulated.after_promotion) << 1;
    let tilt = sentinel.tilt_seconds();
    page.section("Sentinel");
    page.field("sentinel_masters", sentinel.primaries().len());
    page.field("sentinel_tilt", u8::from(tilt.is_some()));
    page.field("sentinel_tilt_since_seconds", tilt.unwrap_or(-1));
    page.field("sentinel_running_scripts", sentinel.scripts_running());
    page.field("sentinel_scripts_queue_length", sentinel.scripts().len());
    page.field("sentinel_simulate_failure_flags", flags);
    for (number, (name, primary)) in sentinel.primaries().iter().enumerate() {
        let status = match &primary.own {
            own if own.is_objectively_down => "odown",
            own if own.is_down => "sdown",
            _ => "ok",
        };
        let at = &primary.own.at;
        page.field(
            &format!("master{number}"),
            format_args!(
                "name={name},status={status},address={}:{},slaves={},sentinels={}",
                sentinel.announced(at),
                at.port,
                primary.replicas.len(),
                primary.sentinels.len() + 1
            ),
        );
    }
}

fn server(page: &mut Page, keyspace: &Keyspace, core: &Core) {
    let uptime = core.started.elapsed().as_secs();
    let system = nix::sys::utsname::uname().ok();
    let part = |part: Option<&std::ffi::OsStr>| {
        part.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
    };
    page.section("Server");
    page.field("redis_version", crate::REDIS_VERSION);
    page.field("redis_git_sha1", "00000000");
    page.field("redis_git_dirty", 0);
    page.field("redis_build_id", env!("CARGO_PKG_VERSION"));
    page.field("redstart_version", env!("CARGO_PKG_VERSION"));
    let mode = match (&core.settings.sentinel, &core.cluster) {
        (Some(_), _) => "sentinel",
        (None, Some(_)) => "cluster",
        (None, None) => "standalone",
    };
    page.field("redis_mode", mode);
    page.field(
        "os",
        format_args!(
            "{} {} {}",
            part(system.as_ref().map(|s| s.sysname())),
            part(system.as_ref().map(|s| s.release())),
            part(system.as_ref().map(|s| s.machine()))
        ),
    );
    page.field("arch_bits", usize::BITS);
    page.field("monotonic_clock", "POSIX clock_gettime");
    page.field("multiplexing_api", "epoll");
    page.field("atomicvar_api", "c11-builtin");
    page.field("gcc_version", "0.0.0");
    page.field("process_id", std::process::id());
    page.field("process_supervised", core.shell.supervisor.map_or("no", Supervisor::name));
    page.field("run_id", &core.run_id);
    page.field("tcp_port", core.shell.port);
    page.field("server_time_usec", clock::unix_us());
    page.field("uptime_in_seconds", uptime);
    page.field("uptime_in_days", uptime / 86_400);
    page.field("hz", core.settings.hz);
    page.field("configured_hz", core.settings.hz);
    page.field("lru_clock", keyspace.shared.lru_clock.get());
    page.field("executable", &core.shell.executable);
    let config = core.shell.config_file.as_deref().map(std::path::Path::display);
    page.field("config_file", config.map(|path| path.to_string()).unwrap_or_default());
    if !core.settings.availability_zone.is_empty() {
        page.field("availability_zone", &core.settings.availability_zone);
    }
    page.field("io_threads_active", 0);
    if let Some(ms) = core.ending.waits_for_ms(core.replication_now_ms()) {
        page.field("shutdown_in_milliseconds", ms);
    }
}

fn clients(page: &mut Page, core: &Core, client: &Client) {
    let all = || core.clients.iter().chain(std::iter::once(client));
    let largest = |of: fn(&Client) -> usize| all().map(of).max().unwrap_or(0);
    page.section("Clients");
    let replicas = all().filter(|client| client.flags.any(Flags::REPLICA)).count();
    let primary = usize::from(core.replicating.primary.is_some());
    page.field("connected_clients", (core.clients.len() + primary).saturating_sub(replicas));
    page.field("cluster_connections", core.cluster_connections());
    page.field("maxclients", core.settings.maxclients);
    page.field(
        "client_recent_max_input_buffer",
        largest(|client| client.connection.as_ref().map_or(0, |c| c.input_capacity())),
    );
    page.field("client_recent_max_output_buffer", largest(|client| client.reply.pending()));
    let paused = all().filter(|client| client.flags.any(Flags::PAUSED)).count();
    page.field("blocked_clients", core.blocking.len() + paused);
    page.field("tracking_clients", core.tracking.client_count());
    page.field("clients_in_timeout_table", core.blocking.with_deadline());
}

fn memory_section(page: &mut Page, keyspace: &Keyspace, core: &Core, client: &Client) {
    let found = Overview::of(keyspace, core, client);
    page.section("Memory");
    page.bytes("used_memory", found.used);
    page.bytes("used_memory_rss", found.resident);
    page.bytes("used_memory_peak", found.peak);
    page.field("used_memory_peak_perc", format_args!("{:.2}%", found.peak_percent()));
    page.field("used_memory_overhead", found.overhead);
    page.field("used_memory_startup", found.startup);
    page.field("used_memory_dataset", found.dataset);
    page.field("used_memory_dataset_perc", format_args!("{:.2}%", found.dataset_percent()));
    page.field("allocator_allocated", found.allocator.allocated);
    page.field("allocator_active", found.allocator.active);
    page.field("allocator_resident", found.allocator.resident);
    page.bytes("total_system_memory", system_memory_bytes());
    let scripting = &core.scripting;
    let [eval, functions] = [scripting.eval_vm_bytes(), scripting.functions_vm_bytes()];
    let [scripts, libraries] = [scripting.scripts_overhead(), scripting.libraries_overhead()];
    page.field("used_memory_lua", eval);
    page.field("used_memory_vm_eval", eval);
    page.field("used_memory_lua_human", redstart_common::number::human_memory(eval as u64));
    page.field("used_memory_scripts_eval", scripts);
    page.field("number_of_cached_scripts", scripting.scripts.len());
    page.field("number_of_functions", scripting.libraries.functions.len());
    page.field("number_of_libraries", scripting.libraries.libraries.len());
    page.field("used_memory_vm_functions", functions);
    page.bytes("used_memory_vm_total", eval + functions);
    page.field("used_memory_functions", libraries);
    page.bytes("used_memory_scripts", scripts + libraries);
    page.bytes("maxmemory", core.settings.maxmemory);
    page.field("maxmemory_policy", core.settings.maxmemory_policy.name());
    page.excess("allocator_frag", found.fragmentation());
    page.excess("allocator_rss", found.kept_pages());
    page.excess("rss_overhead", found.beside_allocator());
    page.excess("mem_fragmentation", found.total());
    page.field("mem_not_counted_for_evict", core.uncounted_bytes());
    let backlog = core.replication.backlog();
    page.field("mem_total_replication_buffers", backlog.map_or(0, Backlog::memory));
    let replicas = core.clients.iter().filter(|client| client.flags.any(Flags::REPLICA));
    let (count, replica_bytes) =
        replicas.map(allocated_bytes).fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
    // What was held for replicas that are gone is the backlog's until it is trimmed.
    let held = if count == 0 { 0 } else { core.replication.bytes_for_replicas() };
    page.field("mem_replication_backlog", backlog.map_or(0, Backlog::memory) - held);
    page.field("mem_clients_slaves", replica_bytes as u64 + held);
    page.field("mem_clients_normal", found.clients - replica_bytes);
    let links = core.cluster.as_ref().map_or(0, |cluster| cluster.links_bytes());
    page.field("mem_cluster_links", links);
    let log = core.logging.log.as_ref();
    page.field("mem_aof_buffer", log.map_or(0, |log| log.buffer_capacity()));
    page.field("mem_allocator", "jemalloc-5.3.1");
    page.field("active_defrag_running", 0);
    page.field("lazyfree_pending_objects", lazyfree::pending());
    page.field("lazyfreed_objects", lazyfree::freed());
}

fn persistence(page: &mut Page, core: &Core) {
    let (saved, logging) = (&core.saved, &core.logging);
    let flag = |holds: bool| u8::from(holds);
    let status = |failed: bool| if failed { "err" } else { "ok" };
    let seconds = |since: Option<Instant>| since.map_or(-1, |at| at.elapsed().as_secs() as i64);
    page.section("Persistence");
    let loading = saved.loading.as_ref();
    page.field("loading", flag(loading.is_some_and(|loading| !loading.beside)));
    page.field("async_loading", flag(loading.is_some_and(|loading| loading.beside)));
    // There is no fork, so that nothing is copied on writing.
    for name in ["current_cow_peak", "current_cow_size", "current_cow_size_age"] {
        page.field(name, 0);
    }
    let (done, total) =
        core.save.as_ref().map_or((0, 0), |save| (save.keys_written(), save.snapshot.keys_total()));
    let percent = if total == 0 { 0.0 } else { done as f64 * 100.0 / total as f64 };
    page.field("current_fork_perc", format_args!("{percent:.2}"));
    page.field("current_save_keys_processed", done);
    page.field("current_save_keys_total", total);
    let changes = core.feed.dirty.saturating_sub(saved.changes_saved);
    page.field("rdb_changes_since_last_save", changes);
    page.field("rdb_bgsave_in_progress", flag(core.writes_rdb_since().is_some()));
    page.field("rdb_last_save_time", saved.last_save_unix_s);
    page.field("rdb_last_bgsave_status", status(saved.last_failed));
    page.field("rdb_last_bgsave_time_sec", saved.last_took_s.unwrap_or(-1));
    page.field("rdb_current_bgsave_time_sec", seconds(core.writes_rdb_since()));
    page.field("rdb_saves", saved.saves);
    page.field("rdb_last_cow_size", 0);
    page.field("rdb_last_load_keys_expired", saved.keys_expired);
    page.field("rdb_last_load_keys_loaded", saved.keys_loaded);
    page.field("aof_enabled", flag(logging.state != State::Off));
    page.field("aof_rewrite_in_progress", flag(logging.rewrite.is_some()));
    page.field("aof_rewrite_scheduled", flag(logging.scheduled));
    page.field("aof_last_rewrite_time_sec", logging.last_took_s.unwrap_or(-1));
    page.field(
        "aof_current_rewrite_time_sec",
        seconds(logging.rewrite.as_ref().map(|it| it.since)),
    );
    page.field("aof_last_bgrewrite_status", status(logging.last_failed));
    page.field("aof_rewrites", logging.rewrites);
    page.field("aof_rewrites_consecutive_failures", logging.back_off.failures());
    page.field("aof_last_write_status", status(saved.log_error.is_some()));
    page.field("aof_last_cow_size", 0);
    page.field("module_fork_in_progress", 0);
    page.field("module_fork_last_cow_size", 0);
    if let (State::On | State::AwaitRewrite, Some(log)) = (logging.state, &logging.log) {
        page.field("aof_current_size", logging.sizes.current(log.file_bytes()));
        page.field("aof_base_size", logging.sizes.at_rewrite());
        page.field("aof_pending_rewrite", 0);
        page.field("aof_buffer_length", log.buffered_bytes());
        page.field("aof_pending_bio_fsync", flag(log.state().is_syncing()));
        page.field("aof_delayed_fsync", log.state().delayed_syncs());
    }
    if let Some(loading) = loading {
        let (total, done) = (loading.total_bytes, loading.loaded_bytes);
        let percent = if total == 0 { 0.0 } else { done as f64 * 100.0 / total as f64 };
        let elapsed = redstart_common::clock::unix_ms() / 1000 - loading.since_unix_s;
        let eta = match done {
            0 => 1,
            _ => (elapsed as f64 * (total.saturating_sub(done)) as f64 / done as f64) as i64,
        };
        page.field("loading_start_time", loading.since_unix_s);
        page.field("loading_total_bytes", total);
        page.field("loading_rdb_used_mem", loading.rdb_used_mem);
        page.field("loading_loaded_bytes", done);
        page.field("loading_loaded_perc", format_args!("{percent:.2}"));
        page.field("loading_eta_seconds", eta);
    }
}

fn stats(page: &mut Page, keyspace: &Keyspace, core: &Core) {
    let stats = &core.stats;
    let rates = core.rates.means();
    let kilobytes = |bytes: f64| format!("{:.2}", bytes / 1024.0);
    let shared = &keyspace.shared;
    page.section("Stats");
    page.field("total_connections_received", stats.connections);
    page.field("total_commands_processed", stats.commands);
    page.field("instantaneous_ops_per_sec", rates.commands as u64);
    page.field("total_net_input_bytes", stats.bytes_in + stats.repl_bytes_in);
    page.field("total_net_output_bytes", stats.bytes_out + stats.repl_bytes_out);
    page.field("total_net_repl_input_bytes", stats.repl_bytes_in);
    page.field("total_net_repl_output_bytes", stats.repl_bytes_out);
    page.field("instantaneous_input_kbps", kilobytes(rates.bytes_in));
    page.field("instantaneous_output_kbps", kilobytes(rates.bytes_out));
    page.field("instantaneous_input_repl_kbps", kilobytes(rates.repl_bytes_in));
    page.field("instantaneous_output_repl_kbps", kilobytes(rates.repl_bytes_out));
    page.field("rejected_connections", stats.rejected_connections);
    let syncs = core.replication.counts();
    page.field("sync_full", syncs.full);
    page.field("sync_partial_ok", syncs.partial_ok);
    page.field("sync_partial_err", syncs.partial_err);
    page.field("expired_keys", shared.expired_keys.get());
    page.field("expired_subkeys", shared.expired_fields.get());
    page.field("expired_stale_perc", format_args!("{:.2}", shared.stale_percent.get()));
    page.field("expired_time_cap_reached_count", shared.expiry_cut_short.get());
    page.field("expire_cycle_cpu_milliseconds", shared.expiry_time.get().as_millis());
    page.field("evicted_keys", stats.evicted_keys);
    page.field("evicted_clients", stats.evicted_clients);
    let [over_now, over_in_all] = stats.over_memory();
    page.field("total_eviction_exceeded_time", over_in_all.as_millis());
    page.field("current_eviction_exceeded_time", over_now.as_millis());
    page.field("keyspace_hits", shared.hits.get());
    page.field("keyspace_misses", shared.misses.get());
    page.field("pubsub_channels", core.pubsub.channel_count());
    page.field("pubsub_patterns", core.pubsub.pattern_count());
    page.field("pubsubshard_channels", core.pubsub.shard_channel_count());
    page.field("latest_fork_usec", stats.save_begin_time.as_micros());
    page.field("total_forks", stats.background_saves);
    page.field("migrate_cached_sockets", core.migrations.link_count());
    page.field("slave_expires_tracked_keys", keyspace.shared.own_volatile.len());
    for name in [
        "active_defrag_hits",
        "active_defrag_misses",
        "active_defrag_key_hits",
        "active_defrag_key_misses",
        "total_active_defrag_time",
        "current_active_defrag_time",
    ] {
        page.field(name, 0);
    }
    let (keys, items) = core.tracking.sizes();
    page.field("tracking_total_keys", keys);
    page.field("tracking_total_items", items);
    page.field("tracking_total_prefixes", core.tracking.prefix_count());
    page.field("unexpected_error_replies", stats.unexpected_errors);
    page.field("total_error_replies", stats.total_errors);
    page.field("dump_payload_sanitizations", stats.sanitizations);
    page.field("total_reads_processed", stats.reads);
    page.field("total_writes_processed", stats.writes);
    page.field("io_threaded_reads_processed", 0);
    page.field("io_threaded_writes_processed", 0);
    page.field("reply_buffer_shrinks", 0);
    page.field("reply_buffer_expands", 0);
}

fn replication(page: &mut Page, core: &Core) {
    page.section("Replication");
    for (name, value) in core.replication.info(core.replication_now_ms()) {
        page.field(&name, value);
    }
}

fn cpu(page: &mut Page) {
    use nix::sys::resource::{UsageWho, getrusage};
    page.section("CPU");
    for (suffix, who) in [
        ("", UsageWho::RUSAGE_SELF),
        ("_children", UsageWho::RUSAGE_CHILDREN),
        ("_main_thread", UsageWho::RUSAGE_THREAD),
    ] {
        let Ok(usage) = getrusage(who) else { continue };
        for (name, time) in [("sys", usage.system_time()), ("user", usage.user_time())] {
            page.field(
                &format!("used_cpu_{name}{suffix}"),
                format_args!("{}.{:06}", time.tv_sec(), time.tv_usec()),
            );
        }
    }
}

fn command_stats(page: &mut Page, core: &Core) {
    page.section("Commandstats");
    for row in command::all() {
        let call = core.stats.of(row.id);
        if call.calls == 0 && call.rejected == 0 && call.failed == 0 {
            continue;
        }
        let mean = if call.calls == 0 { 0.0 } else { call.us as f64 / call.calls as f64 };
        page.field(
            &format!("cmdstat_{}", row.name),
            format_args!(
                "calls={},usec={},usec_per_call={mean:.2},rejected_calls={},failed_calls={}",
                call.calls, call.us, call.rejected, call.failed
            ),
        );
    }
}

fn latency_stats(page: &mut Page, core: &Core) {
    page.section("Latencystats");
    for row in command::all() {
        let Some(latency) = &core.stats.of(row.id).latency else { continue };
        if latency.count() == 0 {
            continue;
        }
        let shares: Vec<String> = core
            .settings
            .latency_tracking_info_percentiles
            .iter()
            .map(|percent| {
                format!("p{percent}={:.3}", latency.percentile_us(percent / 100.0) as f64)
            })
            .collect();
        page.field(&format!("latency_percentiles_usec_{}", row.name), shares.join(","));
    }
}

fn system_memory_bytes() -> usize {
    let kib = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        text.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok())
    });
    kib.unwrap_or(0) * 1024
}
