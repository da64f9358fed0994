//! The text of INFO: true figures only. What the engine does not do yet is shown as not happening, by the values a
//! redis-server shows then.

use std::fmt::{Display, Write};

use redstart_common::{clock, command};

use crate::client::{Client, Flags};
use crate::engine::Core;
use crate::keyspace::{Keyspace, lazyfree};
use crate::observe::memory::{Excess, Overview};
use crate::process::supervised::Supervisor;

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
        page.field("cluster_enabled", 0);
    }
    if wanted.is("keyspace") {
        page.section("Keyspace");
        for db in keyspace.dbs.iter().filter(|db| !db.is_empty()) {
            page.field(
                &format!("db{}", db.index()),
                format_args!(
                    "keys={},expires={},avg_ttl={}",
                    db.len(),
                    db.volatile_len(),
                    db.average_ttl_ms()
                ),
            );
        }
    }
    page.text
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
    page.field("redis_mode", "standalone");
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
    page.field("io_threads_active", 0);
}

fn clients(page: &mut Page, core: &Core, client: &Client) {
    let all = || core.clients.iter().chain(std::iter::once(client));
    let largest = |of: fn(&Client) -> usize| all().map(of).max().unwrap_or(0);
    page.section("Clients");
    page.field("connected_clients", core.clients.len());
    page.field("cluster_connections", 0);
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
    page.field("used_memory_lua", 0);
    page.field("used_memory_vm_eval", 0);
    page.field("used_memory_lua_human", "0B");
    page.field("used_memory_scripts_eval", 0);
    page.field("number_of_cached_scripts", 0);
    page.field("number_of_functions", 0);
    page.field("number_of_libraries", 0);
    page.field("used_memory_vm_functions", 0);
    page.bytes("used_memory_vm_total", 0);
    page.field("used_memory_functions", 0);
    page.bytes("used_memory_scripts", 0);
    page.bytes("maxmemory", core.settings.maxmemory);
    page.field("maxmemory_policy", core.settings.maxmemory_policy.name());
    page.excess("allocator_frag", found.fragmentation());
    page.excess("allocator_rss", found.kept_pages());
    page.excess("rss_overhead", found.beside_allocator());
    page.excess("mem_fragmentation", found.total());
    page.field("mem_not_counted_for_evict", 0);
    page.field("mem_replication_backlog", 0);
    page.field("mem_total_replication_buffers", 0);
    page.field("mem_clients_slaves", 0);
    page.field("mem_clients_normal", found.clients);
    page.field("mem_cluster_links", 0);
    page.field("mem_aof_buffer", 0);
    page.field("mem_allocator", "jemalloc-5.3.1");
    page.field("active_defrag_running", 0);
    page.field("lazyfree_pending_objects", lazyfree::pending());
    page.field("lazyfreed_objects", lazyfree::freed());
}

fn persistence(page: &mut Page, core: &Core) {
    page.section("Persistence");
    for name in ["loading", "async_loading", "current_cow_peak", "current_cow_size"] {
        page.field(name, 0);
    }
    page.field("current_cow_size_age", 0);
    page.field("current_fork_perc", "0.00");
    page.field("current_save_keys_processed", 0);
    page.field("current_save_keys_total", 0);
    page.field("rdb_changes_since_last_save", core.feed.dirty);
    page.field("rdb_bgsave_in_progress", 0);
    page.field("rdb_last_save_time", core.started_unix_s);
    page.field("rdb_last_bgsave_status", "ok");
    page.field("rdb_last_bgsave_time_sec", -1);
    page.field("rdb_current_bgsave_time_sec", -1);
    for name in [
        "rdb_saves",
        "rdb_last_cow_size",
        "rdb_last_load_keys_expired",
        "rdb_last_load_keys_loaded",
        "aof_enabled",
        "aof_rewrite_in_progress",
        "aof_rewrite_scheduled",
    ] {
        page.field(name, 0);
    }
    page.field("aof_last_rewrite_time_sec", -1);
    page.field("aof_current_rewrite_time_sec", -1);
    page.field("aof_last_bgrewrite_status", "ok");
    page.field("aof_rewrites", 0);
    page.field("aof_rewrites_consecutive_failures", 0);
    page.field("aof_last_write_status", "ok");
    page.field("aof_last_cow_size", 0);
    page.field("module_fork_in_progress", 0);
    page.field("module_fork_last_cow_size", 0);
}

fn stats(page: &mut Page, keyspace: &Keyspace, core: &Core) {
    let stats = &core.stats;
    let [ops, bytes_in, bytes_out] = core.rates.means();
    let shared = &keyspace.shared;
    page.section("Stats");
    page.field("total_connections_received", stats.connections);
    page.field("total_commands_processed", stats.commands);
    page.field("instantaneous_ops_per_sec", ops as u64);
    page.field("total_net_input_bytes", stats.bytes_in);
    page.field("total_net_output_bytes", stats.bytes_out);
    page.field("total_net_repl_input_bytes", 0);
    page.field("total_net_repl_output_bytes", 0);
    page.field("instantaneous_input_kbps", format_args!("{:.2}", bytes_in / 1024.0));
    page.field("instantaneous_output_kbps", format_args!("{:.2}", bytes_out / 1024.0));
    page.field("instantaneous_input_repl_kbps", "0.00");
    page.field("instantaneous_output_repl_kbps", "0.00");
    page.field("rejected_connections", stats.rejected_connections);
    page.field("sync_full", 0);
    page.field("sync_partial_ok", 0);
    page.field("sync_partial_err", 0);
    page.field("expired_keys", shared.expired_keys.get());
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
    page.field("latest_fork_usec", 0);
    page.field("total_forks", 0);
    page.field("migrate_cached_sockets", core.migrations.link_count());
    for name in [
        "slave_expires_tracked_keys",
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
    page.field("unexpected_error_replies", 0);
    page.field("total_error_replies", stats.total_errors);
    page.field("dump_payload_sanitizations", 0);
    page.field("total_reads_processed", stats.reads);
    page.field("total_writes_processed", stats.writes);
    page.field("io_threaded_reads_processed", 0);
    page.field("io_threaded_writes_processed", 0);
    page.field("reply_buffer_shrinks", 0);
    page.field("reply_buffer_expands", 0);
}

fn replication(page: &mut Page, core: &Core) {
    page.section("Replication");
    page.field("role", "master");
    page.field("connected_slaves", 0);
    page.field("master_failover_state", "no-failover");
    page.field("master_replid", &core.replication_id);
    page.field("master_replid2", "0".repeat(40));
    page.field("master_repl_offset", 0);
    page.field("second_repl_offset", -1);
    page.field("repl_backlog_active", 0);
    page.field("repl_backlog_size", 1_048_576);
    page.field("repl_backlog_first_byte_offset", 0);
    page.field("repl_backlog_histlen", 0);
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
