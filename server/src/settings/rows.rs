//! The settings as rows: what each is called, how its text is read and printed, and when it may change.
//!
//! redis.conf, the command line, CONFIG GET, SET and REWRITE are all made from these rows. A row that belongs to a
//! feature that is not built yet ([`Kind::Dormant`]) keeps its value, as Redis keeps the parameters of a feature
//! that is switched off; switching the feature on is what is refused ([`Kind::Only`]).

use redstart_common::log::{Facility, Level};

use super::cluster::{
    ENDPOINTS, set_client_ipv4, set_client_ipv6, set_hostname, set_human_name, set_move_lag,
};
use super::own::*;
use super::replication::{DisklessLoad, PropagationError};
pub use super::row::{Kind, Row, Shape, When};
use super::saving::{Fsync, Sanitize};
use super::tls::AUTH;
use super::{Policy, Protected};
use crate::processors::Work;
use crate::settings::process::Adjustment;
use crate::settings::process::Supervised;

const fn row(name: &'static str, when: When, kind: Kind) -> Row {
    Row { name, alias: None, when, kind }
}

const fn alias(name: &'static str, alias: &'static str, kind: Kind) -> Row {
    Row { name, alias: Some(alias), when: When::Live, kind }
}

macro_rules! flag {
    ($($field:ident).+) => {
        Kind::Bool { get: |s| s.$($field).+, set: |s, value| s.$($field).+ = value }
    };
}

macro_rules! text {
    ($($field:ident).+) => {
        Kind::Text { get: |s| &s.$($field).+, set: |s, value| s.$($field).+ = value }
    };
}

macro_rules! cpulist {
    ($work:ident) => {
        Kind::Text {
            get: |s| &s.processors.0[Work::$work as usize],
            set: |s, value| s.processors.0[Work::$work as usize] = value,
        }
    };
}

macro_rules! number {
    ($($field:ident).+ , $min:expr, $max:expr) => {
        Kind::Number {
            get: |s| s.$($field).+ as i64,
            set: |s, value| s.$($field).+ = value as _,
            min: $min,
            max: $max,
        }
    };
}

macro_rules! bytes {
    ($($field:ident).+ , $min:expr, $max:expr) => {
        Kind::Bytes {
            get: |s| s.$($field).+,
            set: |s, value| s.$($field).+ = value,
            min: $min,
            max: $max,
        }
    };
}

/// The words of a table, which are all that the setting takes.
const fn words<T: Copy, const N: usize>(table: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut words = [""; N];
    let mut at = 0;
    while at < N {
        words[at] = table[at].0;
        at += 1;
    }
    words
}

macro_rules! word {
    ($($field:ident).+, $table:expr) => {
        Kind::Word {
            words: const { &words(&$table) },
            get: |s| {
                $table.iter().find(|(_, value)| *value == s.$($field).+).map_or("", |(word, _)| word)
            },
            set: |s, word| {
                if let Some((_, value)) = $table.iter().find(|(known, _)| *known == word) {
                    s.$($field).+ = *value;
                }
            },
        }
    };
}

const INT_MAX: i64 = i32::MAX as i64;
const LONG_MAX: usize = i64::MAX as usize;
use When::{Live, Start};

/// All settings.
pub static ROWS: &[Row] = &[
    // Network.
    row("bind", Live, Kind::Own { get: |s| s.bind.join(" "), set: set_bind }),
    row("port", Live, number!(port, 0, 65_535)),
    row("protected-mode", Live, flag!(protected_mode)),
    row("tcp-backlog", Start, number!(tcp_backlog, 0, INT_MAX)),
    row("tcp-keepalive", Live, number!(tcp_keepalive, 0, INT_MAX)),
    row("timeout", Live, number!(timeout, 0, INT_MAX)),
    row("unixsocket", Start, text!(unixsocket)),
    row(
        "unixsocketperm",
        Start,
        Kind::Own { get: |s| format!("{:o}", s.unixsocketperm), set: set_socket_mode },
    ),
    row("maxclients", Live, number!(maxclients, 1, u32::MAX as i64)),
    row("bind-source-addr", Live, text!(bind_source_addr)),
    row("socket-mark-id", Start, number!(socket_mark_id, 0, u32::MAX as i64)),
    // Process.
    row("daemonize", Start, flag!(daemonize)),
    row("pidfile", Start, text!(pidfile)),
    row("loglevel", Live, word!(loglevel, Level::NAMES)),
    row("logfile", Start, text!(logfile)),
    row("dir", When::Protected, Kind::Own { get: |_| current_dir(), set: set_dir }),
    row("always-show-logo", Start, flag!(always_show_logo)),
    row("supervised", Start, word!(supervised, Supervised::NAMES)),
    row("syslog-enabled", Start, flag!(syslog_enabled)),
    row("syslog-ident", Start, text!(syslog_ident)),
    row("syslog-facility", Start, word!(syslog_facility, Facility::NAMES)),
    row("availability-zone", Live, text!(availability_zone)),
    row("set-proc-title", Start, flag!(set_proc_title)),
    row(
        "proc-title-template",
        Live,
        Kind::Own { get: |s| s.proc_title_template.clone(), set: set_title_template },
    ),
    row("crash-log-enabled", Live, flag!(crash_log_enabled)),
    row(
        "crash-memcheck-enabled",
        Live,
        Kind::Only("no", "looking through the memory after a crash"),
    ),
    row("use-exit-on-panic", Start, flag!(use_exit_on_panic)),
    row("watchdog-period", Live, number!(watchdog_period, 0, INT_MAX)),
    row("disable-thp", Start, flag!(disable_thp)),
    row("oom-score-adj", Live, word!(oom_score_adj, Adjustment::NAMES)),
    row("oom-score-adj-values", Live, Kind::Own { get: print_adjustments, set: set_adjustments }),
    row("server_cpulist", Start, cpulist!(Serving)),
    row("bio_cpulist", Start, cpulist!(Background)),
    row("aof_rewrite_cpulist", Start, cpulist!(LogBase)),
    row("bgsave_cpulist", Start, cpulist!(Dump)),
    row("io-threads", Start, Kind::Only("1", "more than one I/O thread")),
    row("io-threads-do-reads", Start, Kind::Dormant("no", Shape::Flag)),
    row("ignore-warnings", Live, Kind::Dormant("", Shape::Text)),
    row("shutdown-timeout", Live, number!(replication.shutdown_timeout, 0, INT_MAX)),
    row(
        "shutdown-on-sigint",
        Live,
        Kind::Own {
            get: |s| print_shutdown(&s.shutdown_on_sigint),
            set: |s, words| read_shutdown(words, &mut s.shutdown_on_sigint),
        },
    ),
    row(
        "shutdown-on-sigterm",
        Live,
        Kind::Own {
            get: |s| print_shutdown(&s.shutdown_on_sigterm),
            set: |s, words| read_shutdown(words, &mut s.shutdown_on_sigterm),
        },
    ),
    row("hz", Live, Kind::Own { get: |s| s.hz.to_string(), set: set_hz }),
    row("dynamic-hz", Live, flag!(dynamic_hz)),
    // Access.
    row("requirepass", Live, text!(requirepass)),
    row("enable-debug-command", Start, word!(enable_debug_command, Protected::NAMES)),
    row("enable-protected-configs", Start, word!(enable_protected_configs, Protected::NAMES)),
    row("enable-module-command", Start, word!(enable_module_command, Protected::NAMES)),
    row("aclfile", Start, text!(aclfile)),
    row("acllog-max-len", Live, number!(acllog_max_len, 0, i64::MAX)),
    row(
        "acl-pubsub-default",
        Live,
        word!(acl_pubsub_all, [("allchannels", true), ("resetchannels", false)]),
    ),
    // Data.
    row("databases", Start, number!(databases, 1, INT_MAX)),
    row("maxmemory", Live, bytes!(maxmemory, 0, usize::MAX)),
    row("maxmemory-policy", Live, word!(maxmemory_policy, Policy::NAMES)),
    row("maxmemory-samples", Live, number!(maxmemory_samples, 1, INT_MAX)),
    row("maxmemory-eviction-tenacity", Live, number!(maxmemory_eviction_tenacity, 0, 100)),
    row("maxmemory-clients", Live, Kind::Own { get: print_clients_limit, set: set_clients_limit }),
    row("lfu-log-factor", Live, number!(lfu_log_factor, 0, INT_MAX)),
    row("lfu-decay-time", Live, number!(lfu_decay_time, 0, INT_MAX)),
    row("active-expire-effort", Live, number!(active_expire_effort, 1, 10)),
    row("lazyfree-lazy-eviction", Live, flag!(lazyfree_lazy_eviction)),
    row("lazyfree-lazy-expire", Live, flag!(lazyfree_lazy_expire)),
    row("lazyfree-lazy-server-del", Live, flag!(lazyfree_lazy_server_del)),
    row("lazyfree-lazy-user-del", Live, flag!(lazyfree_lazy_user_del)),
    row("lazyfree-lazy-user-flush", Live, flag!(lazyfree_lazy_user_flush)),
    alias(
        "hash-max-listpack-entries",
        "hash-max-ziplist-entries",
        number!(packed.hash_entries, 0, i64::MAX),
    ),
    alias(
        "hash-max-listpack-value",
        "hash-max-ziplist-value",
        bytes!(packed.hash_value, 0, LONG_MAX),
    ),
    row("set-max-intset-entries", Live, number!(packed.set_intset_entries, 0, i64::MAX)),
    alias(
        "zset-max-listpack-entries",
        "zset-max-ziplist-entries",
        number!(packed.zset_entries, 0, i64::MAX),
    ),
    alias(
        "zset-max-listpack-value",
        "zset-max-ziplist-value",
        bytes!(packed.zset_value, 0, LONG_MAX),
    ),
    alias(
        "list-max-listpack-size",
        "list-max-ziplist-size",
        number!(packed.list_node, i32::MIN as i64, INT_MAX),
    ),
    row("list-compress-depth", Live, number!(packed.list_compress_depth, 0, INT_MAX)),
    row("stream-node-max-bytes", Live, bytes!(packed.stream_node_bytes, 0, LONG_MAX)),
    row("stream-node-max-entries", Live, number!(packed.stream_node_entries, 0, i64::MAX)),
    row("stream-idmp-duration", Live, number!(stream_names.seconds, 1, 86_400)),
    row("stream-idmp-maxsize", Live, number!(stream_names.most, 1, 10_000)),
    row("hll-sparse-max-bytes", Live, bytes!(hll_sparse_max_bytes, 0, LONG_MAX)),
    row("activerehashing", Live, Kind::Dormant("yes", Shape::Flag)),
    row("activedefrag", Live, Kind::Only("no", "active defragmentation")),
    row("active-defrag-cycle-max", Live, Kind::Dormant("25", Shape::Number(1, 99))),
    row("active-defrag-cycle-min", Live, Kind::Dormant("1", Shape::Number(1, 99))),
    row("active-defrag-ignore-bytes", Live, Kind::Dormant("104857600", Shape::Bytes(1, i64::MAX))),
    row("active-defrag-max-scan-fields", Live, Kind::Dormant("1000", Shape::Number(1, i64::MAX))),
    row("active-defrag-threshold-lower", Live, Kind::Dormant("10", Shape::Number(0, 1000))),
    row("active-defrag-threshold-upper", Live, Kind::Dormant("100", Shape::Number(0, 1000))),
    row("jemalloc-bg-thread", Live, flag!(jemalloc_bg_thread)),
    // Clients.
    row("client-query-buffer-limit", Live, bytes!(client_query_buffer_limit, 1 << 20, LONG_MAX)),
    row(
        "client-output-buffer-limit",
        Live,
        Kind::Own { get: print_output_limits, set: set_output_limits },
    ),
    row("proto-max-bulk-len", Live, bytes!(proto_max_bulk_len, 1 << 20, LONG_MAX)),
    row(
        "notify-keyspace-events",
        Live,
        Kind::Own { get: |s| s.notify_keyspace_events.letters(), set: set_events },
    ),
    row("tracking-table-max-keys", Live, number!(tracking_table_max_keys, 0, i64::MAX)),
    // Watching.
    // Redstart's own.
    row("coalesce-us", Live, number!(coalesce_us, 0, 100_000)),
    row("repl-slow-writers", Live, flag!(replication.repl_slow_writers)),
    row("repl-spill-size", Live, bytes!(replication.repl_spill_size, 0, LONG_MAX)),
    // The second names are Valkey's.
    alias(
        "slowlog-log-slower-than",
        "commandlog-execution-slower-than",
        number!(command_logs.slow.from, -1, i64::MAX),
    ),
    alias(
        "slowlog-max-len",
        "commandlog-slow-execution-max-len",
        number!(command_logs.slow.length_max, 0, i64::MAX),
    ),
    row(
        "commandlog-request-larger-than",
        Live,
        number!(command_logs.large_request.from, -1, i64::MAX),
    ),
    row(
        "commandlog-large-request-max-len",
        Live,
        number!(command_logs.large_request.length_max, 0, i64::MAX),
    ),
    row("commandlog-reply-larger-than", Live, number!(command_logs.large_reply.from, -1, i64::MAX)),
    row(
        "commandlog-large-reply-max-len",
        Live,
        number!(command_logs.large_reply.length_max, 0, i64::MAX),
    ),
    row("slowlog-entry-max-argc", Live, number!(command_logs.args_max, 2, INT_MAX)),
    row("slowlog-entry-max-string-len", Live, number!(command_logs.arg_bytes_max, 1, INT_MAX)),
    row("latency-tracking", Live, flag!(latency_tracking)),
    row(
        "latency-tracking-info-percentiles",
        Live,
        Kind::Own { get: print_percentiles, set: set_percentiles },
    ),
    row("latency-monitor-threshold", Live, number!(latency_monitor_threshold, 0, i64::MAX)),
    // Scripts.
    alias("busy-reply-threshold", "lua-time-limit", number!(busy_reply_threshold_ms, 0, i64::MAX)),
    // Snapshots and the log.
    row("save", Live, Kind::Own { get: print_save, set: set_save }),
    row(
        "dbfilename",
        Live,
        Kind::Own { get: |s| s.saving.dbfilename.clone(), set: set_dbfilename },
    ),
    row("rdbcompression", Live, flag!(saving.rdbcompression)),
    row("rdbchecksum", Start, flag!(saving.rdbchecksum)),
    row("rdb-del-sync-files", Live, flag!(saving.rdb_del_sync_files)),
    row("rdb-save-incremental-fsync", Live, flag!(saving.rdb_save_incremental_fsync)),
    row("rdb-key-save-delay", Live, number!(saving.rdb_key_save_delay, -INT_MAX - 1, INT_MAX)),
    row("key-load-delay", Live, number!(saving.key_load_delay, -INT_MAX - 1, INT_MAX)),
    row(
        "loading-process-events-interval-bytes",
        Live,
        number!(saving.loading_process_events_interval_bytes, 1024, INT_MAX),
    ),
    row("sanitize-dump-payload", Live, word!(saving.sanitize_dump_payload, Sanitize::NAMES)),
    row("stop-writes-on-bgsave-error", Live, flag!(saving.stop_writes_on_bgsave_error)),
    row("appendonly", Live, flag!(saving.appendonly)),
    row(
        "appendfilename",
        Start,
        Kind::Own { get: |s| s.saving.appendfilename.clone(), set: set_appendfilename },
    ),
    row(
        "appenddirname",
        Start,
        Kind::Own { get: |s| s.saving.appenddirname.clone(), set: set_appenddirname },
    ),
    row("appendfsync", Live, word!(saving.appendfsync, Fsync::NAMES)),
    row("no-appendfsync-on-rewrite", Live, flag!(saving.no_appendfsync_on_rewrite)),
    row(
        "auto-aof-rewrite-percentage",
        Live,
        number!(saving.auto_aof_rewrite_percentage, 0, INT_MAX),
    ),
    row("auto-aof-rewrite-min-size", Live, bytes!(saving.auto_aof_rewrite_min_size, 0, LONG_MAX)),
    row("aof-load-truncated", Live, flag!(saving.aof_load_truncated)),
    row("aof-use-rdb-preamble", Live, flag!(saving.aof_use_rdb_preamble)),
    row("aof-timestamp-enabled", Live, flag!(saving.aof_timestamp_enabled)),
    row("aof-disable-auto-gc", Live, flag!(saving.aof_disable_auto_gc)),
    row("aof-rewrite-incremental-fsync", Live, flag!(saving.aof_rewrite_incremental_fsync)),
    row(
        "propagation-error-behavior",
        Live,
        word!(replication.propagation_error_behavior, PropagationError::NAMES),
    ),
    // Replication.
    Row {
        when: Start,
        ..alias("replicaof", "slaveof", Kind::Own { get: print_primary, set: set_primary })
    },
    row("masterauth", Live, text!(replication.masterauth)),
    row("masteruser", Live, text!(replication.masteruser)),
    alias(
        "replica-serve-stale-data",
        "slave-serve-stale-data",
        flag!(replication.replica_serve_stale_data),
    ),
    alias("replica-read-only", "slave-read-only", flag!(replication.replica_read_only)),
    alias("replica-lazy-flush", "slave-lazy-flush", flag!(replication.replica_lazy_flush)),
    alias("replica-priority", "slave-priority", number!(replication.replica_priority, 0, INT_MAX)),
    alias("replica-announce-ip", "slave-announce-ip", text!(replication.replica_announce_ip)),
    alias(
        "replica-announce-port",
        "slave-announce-port",
        number!(replication.replica_announce_port, 0, 65_535),
    ),
    alias(
        "replica-ignore-maxmemory",
        "slave-ignore-maxmemory",
        flag!(replication.replica_ignore_maxmemory),
    ),
    row("replica-announced", Live, flag!(replication.replica_announced)),
    row(
        "replica-ignore-disk-write-errors",
        Live,
        flag!(replication.replica_ignore_disk_write_errors),
    ),
    row("repl-backlog-size", Live, bytes!(replication.repl_backlog_size, 1, LONG_MAX)),
    row("repl-backlog-ttl", Live, number!(replication.repl_backlog_ttl, 0, i64::MAX)),
    row("repl-disable-tcp-nodelay", Live, flag!(replication.repl_disable_tcp_nodelay)),
    row("repl-diskless-load", Live, word!(replication.repl_diskless_load, DisklessLoad::NAMES)),
    row("repl-diskless-sync", Live, flag!(replication.repl_diskless_sync)),
    row(
        "repl-diskless-sync-delay",
        Live,
        number!(replication.repl_diskless_sync_delay, 0, INT_MAX),
    ),
    row(
        "repl-diskless-sync-max-replicas",
        Live,
        number!(replication.repl_diskless_sync_max_replicas, 0, INT_MAX),
    ),
    alias(
        "repl-ping-replica-period",
        "repl-ping-slave-period",
        number!(replication.repl_ping_replica_period, 1, INT_MAX),
    ),
    row("repl-timeout", Live, number!(replication.repl_timeout, 1, INT_MAX)),
    alias(
        "min-replicas-to-write",
        "min-slaves-to-write",
        number!(replication.min_replicas_to_write, 0, INT_MAX),
    ),
    alias(
        "min-replicas-max-lag",
        "min-slaves-max-lag",
        number!(replication.min_replicas_max_lag, 0, INT_MAX),
    ),
    // Cluster.
    row("cluster-enabled", Start, flag!(cluster.enabled)),
    row("cluster-config-file", Start, text!(cluster.config_file)),
    row("cluster-port", Start, number!(cluster.port, 0, 65_535)),
    row("cluster-node-timeout", Live, number!(cluster.node_timeout, 0, i64::MAX)),
    row("cluster-ping-interval", Live, number!(cluster.ping_interval, 0, INT_MAX)),
    row("cluster-announce-ip", Live, text!(cluster.announce_ip)),
    row(
        "cluster-announce-hostname",
        Live,
        Kind::Own { get: |s| s.cluster.announce_hostname.clone(), set: set_hostname },
    ),
    row(
        "cluster-announce-human-nodename",
        Live,
        Kind::Own { get: |s| s.cluster.announce_human_nodename.clone(), set: set_human_name },
    ),
    row(
        "cluster-announce-client-ipv4",
        Live,
        Kind::Own { get: |s| s.cluster.announce_client_ipv4.clone(), set: set_client_ipv4 },
    ),
    row(
        "cluster-announce-client-ipv6",
        Live,
        Kind::Own { get: |s| s.cluster.announce_client_ipv6.clone(), set: set_client_ipv6 },
    ),
    row("cluster-announce-port", Live, number!(cluster.announce_port, 0, 65_535)),
    row("cluster-announce-tls-port", Live, number!(cluster.announce_tls_port, 0, 65_535)),
    row("cluster-announce-bus-port", Live, number!(cluster.announce_bus_port, 0, 65_535)),
    row("cluster-allow-reads-when-down", Live, flag!(cluster.allow_reads_when_down)),
    row("cluster-allow-pubsubshard-when-down", Live, flag!(cluster.allow_pubsubshard_when_down)),
    row("cluster-allow-replica-migration", Live, flag!(cluster.allow_replica_migration)),
    row("cluster-link-sendbuf-limit", Live, bytes!(cluster.link_sendbuf_limit, 0, LONG_MAX)),
    row("cluster-longer-history-wins", Live, flag!(cluster.longer_history_wins)),
    row("cluster-ranked-elections", Live, flag!(cluster.ranked_elections)),
    row("cluster-migration-barrier", Live, number!(cluster.migration_barrier, 0, INT_MAX)),
    row("cluster-preferred-endpoint-type", Live, word!(cluster.preferred_endpoint_type, ENDPOINTS)),
    alias(
        "cluster-replica-no-failover",
        "cluster-slave-no-failover",
        flag!(cluster.replica_no_failover),
    ),
    alias(
        "cluster-replica-validity-factor",
        "cluster-slave-validity-factor",
        number!(cluster.replica_validity_factor, 0, INT_MAX),
    ),
    row("cluster-slot-stats-enabled", Live, flag!(cluster.slot_stats_enabled)),
    row("cluster-require-full-coverage", Live, flag!(cluster.require_full_coverage)),
    row(
        "cluster-manual-failover-timeout",
        Live,
        number!(cluster.manual_failover_timeout, 1, INT_MAX),
    ),
    row(
        "cluster-slot-migration-log-max-len",
        Live,
        number!(cluster.slot_migration_log_max_len, 0, LONG_MAX as i64),
    ),
    row(
        "slot-migration-max-failover-repl-bytes",
        Live,
        Kind::Own {
            get: |s| s.cluster.slot_migration_max_failover_repl_bytes.to_string(),
            set: set_move_lag,
        },
    ),
    // TLS.
    row("tls-port", Live, number!(tls.port, 0, 65_535)),
    row("tls-cluster", Live, flag!(tls.cluster)),
    row("tls-replication", Live, flag!(tls.replication)),
    row("tls-auth-clients", Live, word!(tls.auth_clients, AUTH)),
    row("tls-ca-cert-dir", Live, text!(tls.ca_cert_dir)),
    row("tls-ca-cert-file", Live, text!(tls.ca_cert_file)),
    row("tls-cert-file", Live, text!(tls.cert_file)),
    row("tls-ciphers", Live, text!(tls.ciphers)),
    row("tls-ciphersuites", Live, text!(tls.ciphersuites)),
    row("tls-client-cert-file", Live, text!(tls.client_cert_file)),
    row("tls-client-key-file", Live, text!(tls.client_key_file)),
    row("tls-client-key-file-pass", Live, text!(tls.client_key_file_pass)),
    row("tls-dh-params-file", Live, Kind::Only("", "key exchange by finite-field Diffie-Hellman")),
    row("tls-key-file", Live, text!(tls.key_file)),
    row("tls-key-file-pass", Live, text!(tls.key_file_pass)),
    row("tls-prefer-server-ciphers", Live, flag!(tls.prefer_server_ciphers)),
    row("tls-protocols", Live, text!(tls.protocols)),
    row("tls-session-cache-size", Live, number!(tls.session_cache_size, 0, INT_MAX)),
    row("tls-session-cache-timeout", Live, number!(tls.session_cache_timeout, 0, INT_MAX)),
    row("tls-session-caching", Live, flag!(tls.session_caching)),
];

/// Rows that CONFIG GET shows only when asked by their full names: they are for tests.
pub const HIDDEN: &[&str] = &[
    "key-load-delay",
    "rdb-key-save-delay",
    "loading-process-events-interval-bytes",
    "use-exit-on-panic",
    "watchdog-period",
];

/// The row with a name, in any case of letters; older names count.
#[must_use]
pub fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| {
        row.name.eq_ignore_ascii_case(name)
            || row.alias.is_some_and(|alias| alias.eq_ignore_ascii_case(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn names_are_unique_and_defaults_read_back() {
        let mut names: Vec<&str> =
            ROWS.iter().flat_map(|row| std::iter::once(row.name).chain(row.alias)).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        let mut settings = Settings::default();
        for row in ROWS.iter().filter(|row| !["dir", "replicaof"].contains(&row.name)) {
            let text = row.print(&settings);
            let words: Vec<&str> = match row.kind {
                Kind::Own { .. } if row.name != "proc-title-template" => text.split(' ').collect(),
                _ => vec![&text],
            };
            if let Err(error) = row.parse(&mut settings, &words) {
                panic!("{} does not take its own default {text:?}: {error}", row.name);
            }
            assert_eq!(row.print(&settings), text);
        }
    }

    #[test]
    fn wrong_values_are_told_in_redis_words() {
        let mut settings = Settings::default();
        for (name, value, text) in [
            ("port", "abc", "argument couldn't be parsed into an integer"),
            ("port", "70000", "argument must be between 0 and 65535 inclusive"),
            ("protected-mode", "maybe", "argument must be 'yes' or 'no'"),
            ("maxmemory", "10x", "argument must be a memory value"),
            (
                "tls-dh-params-file",
                "dh.pem",
                "Redstart does not support key exchange by finite-field Diffie-Hellman yet",
            ),
        ] {
            let row = find(name).expect("known");
            assert_eq!(row.parse(&mut settings, &[value]), Err(text.to_owned()));
        }
    }
}
