//! The settings as rows: what each is called, how its text is read and printed, and when it may change.
//!
//! redis.conf, the command line, CONFIG GET, SET and REWRITE are all made from these rows. A row that belongs to a
//! feature that is not built yet ([`Kind::Dormant`]) keeps its value, as Redis keeps the parameters of a feature
//! that is switched off; switching the feature on is what is refused ([`Kind::Only`]).

use redstart_common::log::Level;
use redstart_common::number::parse_i64;

use super::{OutputLimits, Policy, Protected, Settings};
use crate::dispatch::notify::Classes;

/// When a setting may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At any time.
    Live,
    /// Before the start only.
    Start,
    /// Before the start, and later where `enable-protected-configs` allows.
    Protected,
}

/// A setting's value: how to find, read and print it.
pub enum Kind {
    /// `yes` or `no`.
    Bool(fn(&mut Settings) -> &mut bool),
    /// A whole number within bounds.
    Number { get: fn(&Settings) -> i64, set: fn(&mut Settings, i64), min: i64, max: i64 },
    /// Bytes, with an optional unit.
    Bytes { get: fn(&Settings) -> usize, set: fn(&mut Settings, usize), min: usize, max: usize },
    /// Text as it is.
    Text(fn(&mut Settings) -> &mut String),
    /// One of some words.
    Word {
        words: &'static [&'static str],
        get: fn(&Settings) -> &'static str,
        set: fn(&mut Settings, &str),
    },
    /// Anything that has rules of its own.
    Own { get: fn(&Settings) -> String, set: fn(&mut Settings, &[&str]) -> Result<(), String> },
    /// A parameter of a feature that is off: kept and shown. The text is its default.
    Dormant(&'static str),
    /// A switch of a feature that is not built yet: only this value is taken.
    Only(&'static str, &'static str),
}

/// A setting.
pub struct Row {
    /// Its name in redis.conf.
    pub name: &'static str,
    /// Its older name.
    pub alias: Option<&'static str>,
    /// When it may change.
    pub when: When,
    /// Its value.
    pub kind: Kind,
}

const fn row(name: &'static str, when: When, kind: Kind) -> Row {
    Row { name, alias: None, when, kind }
}

const fn alias(name: &'static str, alias: &'static str, kind: Kind) -> Row {
    Row { name, alias: Some(alias), when: When::Live, kind }
}

macro_rules! flag {
    ($($field:ident).+) => { Kind::Bool(|s| &mut s.$($field).+) };
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

macro_rules! guard {
    ($field:ident) => {
        Kind::Word {
            words: &["no", "yes", "local"],
            get: |s| protected_word(s.$field),
            set: |s, word| s.$field = protected_of(word),
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
    row("unixsocket", Start, Kind::Text(|s| &mut s.unixsocket)),
    row(
        "unixsocketperm",
        Start,
        Kind::Own { get: |s| format!("{:o}", s.unixsocketperm), set: set_socket_mode },
    ),
    row("maxclients", Live, number!(maxclients, 1, u32::MAX as i64)),
    row("bind-source-addr", Live, Kind::Dormant("")),
    row("socket-mark-id", Start, Kind::Only("0", "marking sockets")),
    // Process.
    row("daemonize", Start, flag!(daemonize)),
    row("pidfile", Start, Kind::Text(|s| &mut s.pidfile)),
    row(
        "loglevel",
        Live,
        Kind::Word {
            words: &["debug", "verbose", "notice", "warning"],
            get: |s| s.loglevel.name(),
            set: set_log_level,
        },
    ),
    row("logfile", Start, Kind::Text(|s| &mut s.logfile)),
    row("dir", When::Protected, Kind::Own { get: |_| current_dir(), set: set_dir }),
    row("always-show-logo", Start, flag!(always_show_logo)),
    row("supervised", Start, Kind::Only("no", "supervision by upstart or systemd")),
    row("syslog-enabled", Start, Kind::Only("no", "logging to syslog")),
    row("syslog-ident", Start, Kind::Dormant("redis")),
    row("syslog-facility", Start, Kind::Dormant("local0")),
    row("set-proc-title", Start, Kind::Dormant("no")),
    row("proc-title-template", Live, Kind::Dormant("{title} {listen-addr} {server-mode}")),
    row("crash-log-enabled", Live, Kind::Dormant("no")),
    row("crash-memcheck-enabled", Live, Kind::Dormant("no")),
    row("use-exit-on-panic", Start, Kind::Dormant("no")),
    row("disable-thp", Start, Kind::Dormant("no")),
    row("oom-score-adj", Live, Kind::Only("no", "adjusting the OOM score")),
    row("oom-score-adj-values", Live, Kind::Dormant("0 200 800")),
    row("server_cpulist", Start, Kind::Only("", "pinning to processors")),
    row("bio_cpulist", Start, Kind::Only("", "pinning to processors")),
    row("aof_rewrite_cpulist", Start, Kind::Only("", "pinning to processors")),
    row("bgsave_cpulist", Start, Kind::Only("", "pinning to processors")),
    row("io-threads", Start, Kind::Only("1", "more than one I/O thread")),
    row("io-threads-do-reads", Start, Kind::Dormant("no")),
    row("ignore-warnings", Start, Kind::Dormant("")),
    row("shutdown-timeout", Live, Kind::Dormant("10")),
    row("shutdown-on-sigint", Live, Kind::Only("default", "other ways to shut down")),
    row("shutdown-on-sigterm", Live, Kind::Only("default", "other ways to shut down")),
    row("hz", Live, Kind::Own { get: |s| s.hz.to_string(), set: set_hz }),
    row("dynamic-hz", Live, flag!(dynamic_hz)),
    // Access.
    row("requirepass", Live, Kind::Text(|s| &mut s.requirepass)),
    row("enable-debug-command", Start, guard!(enable_debug_command)),
    row("enable-protected-configs", Start, guard!(enable_protected_configs)),
    row("enable-module-command", Start, Kind::Dormant("no")),
    row("aclfile", Start, Kind::Text(|s| &mut s.aclfile)),
    row("acllog-max-len", Live, number!(acllog_max_len, 0, i64::MAX)),
    row(
        "acl-pubsub-default",
        Live,
        Kind::Word {
            words: &["allchannels", "resetchannels"],
            get: |s| if s.acl_pubsub_all { "allchannels" } else { "resetchannels" },
            set: |s, word| s.acl_pubsub_all = word == "allchannels",
        },
    ),
    // Data.
    row("databases", Start, number!(databases, 1, INT_MAX)),
    row("maxmemory", Live, bytes!(maxmemory, 0, LONG_MAX)),
    row(
        "maxmemory-policy",
        Live,
        Kind::Word {
            words: &[
                "volatile-lru",
                "volatile-lfu",
                "volatile-random",
                "volatile-ttl",
                "allkeys-lru",
                "allkeys-lfu",
                "allkeys-random",
                "noeviction",
            ],
            get: |s| s.maxmemory_policy.name(),
            set: set_policy,
        },
    ),
    row("maxmemory-samples", Live, number!(maxmemory_samples, 1, INT_MAX)),
    row("maxmemory-eviction-tenacity", Live, Kind::Dormant("10")),
    row("maxmemory-clients", Live, Kind::Only("0", "evicting clients")),
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
        number!(packed.hash_value, 0, i64::MAX),
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
        number!(packed.zset_value, 0, i64::MAX),
    ),
    alias(
        "list-max-listpack-size",
        "list-max-ziplist-size",
        number!(packed.list_node, i32::MIN as i64, INT_MAX),
    ),
    row("list-compress-depth", Live, Kind::Dormant("0")),
    row("stream-node-max-bytes", Live, Kind::Dormant("4096")),
    row("stream-node-max-entries", Live, Kind::Dormant("100")),
    row("hll-sparse-max-bytes", Live, Kind::Dormant("3000")),
    row("activerehashing", Live, Kind::Dormant("yes")),
    row("activedefrag", Live, Kind::Only("no", "active defragmentation")),
    row("active-defrag-cycle-max", Live, Kind::Dormant("25")),
    row("active-defrag-cycle-min", Live, Kind::Dormant("1")),
    row("active-defrag-ignore-bytes", Live, Kind::Dormant("104857600")),
    row("active-defrag-max-scan-fields", Live, Kind::Dormant("1000")),
    row("active-defrag-threshold-lower", Live, Kind::Dormant("10")),
    row("active-defrag-threshold-upper", Live, Kind::Dormant("100")),
    row("jemalloc-bg-thread", Live, Kind::Dormant("no")),
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
    row("slowlog-log-slower-than", Live, number!(slowlog_log_slower_than, -1, i64::MAX)),
    row("slowlog-max-len", Live, number!(slowlog_max_len, 0, i64::MAX)),
    row("latency-tracking", Live, flag!(latency_tracking)),
    row(
        "latency-tracking-info-percentiles",
        Live,
        Kind::Own { get: print_percentiles, set: set_percentiles },
    ),
    row("latency-monitor-threshold", Live, number!(latency_monitor_threshold, 0, i64::MAX)),
    // Scripts.
    alias("busy-reply-threshold", "lua-time-limit", Kind::Dormant("5000")),
    // Snapshots and the log.
    row("save", Live, Kind::Own { get: print_save, set: set_save }),
    row("dbfilename", Live, Kind::Dormant("dump.rdb")),
    row("rdbcompression", Live, Kind::Dormant("yes")),
    row("rdbchecksum", Start, Kind::Dormant("yes")),
    row("rdb-del-sync-files", Live, Kind::Dormant("no")),
    row("rdb-save-incremental-fsync", Live, Kind::Dormant("yes")),
    row("rdb-key-save-delay", Live, Kind::Dormant("0")),
    row("key-load-delay", Live, Kind::Dormant("0")),
    row("loading-process-events-interval-bytes", Live, Kind::Dormant("2097152")),
    row("sanitize-dump-payload", Live, Kind::Dormant("no")),
    row("stop-writes-on-bgsave-error", Live, Kind::Dormant("yes")),
    row("appendonly", Live, Kind::Only("no", "the append-only file")),
    row("appendfilename", Start, Kind::Dormant("appendonly.aof")),
    row("appenddirname", Start, Kind::Dormant("appendonlydir")),
    row("appendfsync", Live, Kind::Dormant("everysec")),
    row("no-appendfsync-on-rewrite", Live, Kind::Dormant("no")),
    row("auto-aof-rewrite-percentage", Live, Kind::Dormant("100")),
    row("auto-aof-rewrite-min-size", Live, Kind::Dormant("67108864")),
    row("aof-load-truncated", Live, Kind::Dormant("yes")),
    row("aof-use-rdb-preamble", Live, Kind::Dormant("yes")),
    row("aof-timestamp-enabled", Live, Kind::Dormant("no")),
    row("aof-disable-auto-gc", Live, Kind::Dormant("no")),
    row("aof-rewrite-incremental-fsync", Live, Kind::Dormant("yes")),
    row("propagation-error-behavior", Live, Kind::Dormant("ignore")),
    // Replication.
    alias("replicaof", "slaveof", Kind::Only("", "replication")),
    row("masterauth", Live, Kind::Dormant("")),
    row("masteruser", Live, Kind::Dormant("")),
    alias("replica-serve-stale-data", "slave-serve-stale-data", Kind::Dormant("yes")),
    alias("replica-read-only", "slave-read-only", Kind::Dormant("yes")),
    alias("replica-lazy-flush", "slave-lazy-flush", Kind::Dormant("no")),
    alias("replica-priority", "slave-priority", Kind::Dormant("100")),
    alias("replica-announce-ip", "slave-announce-ip", Kind::Dormant("")),
    alias("replica-announce-port", "slave-announce-port", Kind::Dormant("0")),
    alias("replica-ignore-maxmemory", "slave-ignore-maxmemory", Kind::Dormant("yes")),
    row("replica-announced", Live, Kind::Dormant("yes")),
    row("replica-ignore-disk-write-errors", Live, Kind::Dormant("no")),
    row("repl-backlog-size", Live, Kind::Dormant("1048576")),
    row("repl-backlog-ttl", Live, Kind::Dormant("3600")),
    row("repl-disable-tcp-nodelay", Live, Kind::Dormant("no")),
    row("repl-diskless-load", Live, Kind::Dormant("disabled")),
    row("repl-diskless-sync", Live, Kind::Dormant("yes")),
    row("repl-diskless-sync-delay", Live, Kind::Dormant("5")),
    row("repl-diskless-sync-max-replicas", Live, Kind::Dormant("0")),
    alias("repl-ping-replica-period", "repl-ping-slave-period", Kind::Dormant("10")),
    row("repl-timeout", Live, Kind::Dormant("60")),
    alias("min-replicas-to-write", "min-slaves-to-write", Kind::Only("0", "replication")),
    alias("min-replicas-max-lag", "min-slaves-max-lag", Kind::Dormant("10")),
    // Cluster.
    row("cluster-enabled", Start, Kind::Only("no", "cluster mode")),
    row("cluster-config-file", Start, Kind::Dormant("nodes.conf")),
    row("cluster-port", Start, Kind::Dormant("0")),
    row("cluster-node-timeout", Live, Kind::Dormant("15000")),
    row("cluster-announce-ip", Live, Kind::Dormant("")),
    row("cluster-announce-hostname", Live, Kind::Dormant("")),
    row("cluster-announce-port", Live, Kind::Dormant("0")),
    row("cluster-announce-tls-port", Live, Kind::Dormant("0")),
    row("cluster-announce-bus-port", Live, Kind::Dormant("0")),
    row("cluster-allow-reads-when-down", Live, Kind::Dormant("no")),
    row("cluster-allow-pubsubshard-when-down", Live, Kind::Dormant("yes")),
    row("cluster-allow-replica-migration", Live, Kind::Dormant("yes")),
    row("cluster-link-sendbuf-limit", Live, Kind::Dormant("0")),
    row("cluster-migration-barrier", Live, Kind::Dormant("1")),
    row("cluster-preferred-endpoint-type", Live, Kind::Dormant("ip")),
    alias("cluster-replica-no-failover", "cluster-slave-no-failover", Kind::Dormant("no")),
    alias("cluster-replica-validity-factor", "cluster-slave-validity-factor", Kind::Dormant("10")),
    row("cluster-require-full-coverage", Live, Kind::Dormant("yes")),
    // TLS.
    row("tls-port", Start, Kind::Only("0", "TLS")),
    row("tls-cluster", Live, Kind::Only("no", "TLS")),
    row("tls-replication", Live, Kind::Only("no", "TLS")),
    row("tls-auth-clients", Live, Kind::Dormant("yes")),
    row("tls-ca-cert-dir", Live, Kind::Dormant("")),
    row("tls-ca-cert-file", Live, Kind::Dormant("")),
    row("tls-cert-file", Live, Kind::Dormant("")),
    row("tls-ciphers", Live, Kind::Dormant("")),
    row("tls-ciphersuites", Live, Kind::Dormant("")),
    row("tls-client-cert-file", Live, Kind::Dormant("")),
    row("tls-client-key-file", Live, Kind::Dormant("")),
    row("tls-client-key-file-pass", Live, Kind::Dormant("")),
    row("tls-dh-params-file", Live, Kind::Dormant("")),
    row("tls-key-file", Live, Kind::Dormant("")),
    row("tls-key-file-pass", Live, Kind::Dormant("")),
    row("tls-prefer-server-ciphers", Live, Kind::Dormant("no")),
    row("tls-protocols", Live, Kind::Dormant("")),
    row("tls-session-cache-size", Live, Kind::Dormant("20480")),
    row("tls-session-cache-timeout", Live, Kind::Dormant("300")),
    row("tls-session-caching", Live, Kind::Dormant("yes")),
];

/// Rows that CONFIG GET shows only when asked by their full names: they are for tests.
pub const HIDDEN: &[&str] = &[
    "key-load-delay",
    "rdb-key-save-delay",
    "loading-process-events-interval-bytes",
    "use-exit-on-panic",
];

/// The row with a name, in any case of letters; older names count.
#[must_use]
pub fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| {
        row.name.eq_ignore_ascii_case(name)
            || row.alias.is_some_and(|alias| alias.eq_ignore_ascii_case(name))
    })
}

fn protected_word(value: Protected) -> &'static str {
    match value {
        Protected::No => "no",
        Protected::Yes => "yes",
        Protected::Local => "local",
    }
}

fn protected_of(word: &str) -> Protected {
    match word {
        "yes" => Protected::Yes,
        "local" => Protected::Local,
        _ => Protected::No,
    }
}

fn set_bind(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    if words.len() > 16 {
        return Err("Too many bind addresses specified.".to_owned());
    }
    settings.bind =
        words.iter().filter(|word| !word.is_empty()).map(|word| (*word).to_owned()).collect();
    Ok(())
}

fn set_socket_mode(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    match words {
        [word] => match u32::from_str_radix(word, 8) {
            Ok(mode) if mode <= 0o777 => {
                settings.unixsocketperm = mode;
                Ok(())
            }
            Ok(_) => Err("argument must be between 0 and 777 inclusive".to_owned()),
            Err(_) => Err("argument couldn't be parsed as an octal number".to_owned()),
        },
        _ => Err("wrong number of arguments".to_owned()),
    }
}

fn set_hz(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let hz = single(words)
        .and_then(|word| parse_i64(word.as_bytes()))
        .ok_or("argument couldn't be parsed into an integer")?;
    // Out of range values are brought into it, as Redis does.
    settings.hz = hz.clamp(1, 500) as u32;
    Ok(())
}

fn single<'w>(words: &[&'w str]) -> Option<&'w str> {
    match words {
        [word] => Some(word),
        _ => None,
    }
}

fn set_log_level(settings: &mut Settings, word: &str) {
    settings.loglevel = match word {
        "debug" => Level::Debug,
        "verbose" => Level::Verbose,
        "warning" => Level::Warning,
        _ => Level::Notice,
    };
}

fn current_dir() -> String {
    std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default()
}

fn set_dir(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let word = single(words).ok_or("wrong number of arguments")?;
    std::env::set_current_dir(word).map_err(|error| {
        let text = error.to_string();
        // The system's words alone, as strerror gives them.
        text.split(" (os error").next().unwrap_or_default().to_owned()
    })?;
    settings.dir = word.to_owned();
    Ok(())
}

fn set_policy(settings: &mut Settings, word: &str) {
    if let Some((_, policy)) = Policy::NAMES.iter().find(|(name, _)| *name == word) {
        settings.maxmemory_policy = *policy;
    }
}

fn set_events(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let word = single(words).ok_or("wrong number of arguments")?;
    settings.notify_keyspace_events = Classes::parse(word.as_bytes())
        .ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?;
    Ok(())
}

fn print_output_limits(settings: &Settings) -> String {
    let classes = settings.client_output_buffer_limit;
    [("normal", classes.normal), ("slave", classes.replica), ("pubsub", classes.pubsub)]
        .iter()
        .map(|(name, limits)| {
            format!("{name} {} {} {}", limits.hard_bytes, limits.soft_bytes, limits.soft_seconds)
        })
        .collect::<Vec<_>>()
        .join(" ")
}

fn set_output_limits(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let words: Vec<&str> = words.iter().flat_map(|word| word.split_ascii_whitespace()).collect();
    if words.is_empty() || !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".to_owned());
    }
    let mut classes = settings.client_output_buffer_limit;
    for part in words.chunks_exact(4) {
        let wrong = || "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
        let limits = OutputLimits {
            hard_bytes: parse_bytes(part[1]).ok_or_else(wrong)?,
            soft_bytes: parse_bytes(part[2]).ok_or_else(wrong)?,
            soft_seconds: part[3].parse().map_err(|_| wrong())?,
        };
        match part[0].to_ascii_lowercase().as_str() {
            "normal" => classes.normal = limits,
            "slave" | "replica" => classes.replica = limits,
            "pubsub" => classes.pubsub = limits,
            _ => {
                return Err(
                    "Invalid client class specified in buffer limit configuration.".to_owned()
                );
            }
        }
    }
    settings.client_output_buffer_limit = classes;
    Ok(())
}

fn print_save(settings: &Settings) -> String {
    let points = settings.save.iter().map(|(seconds, changes)| format!("{seconds} {changes}"));
    points.collect::<Vec<_>>().join(" ")
}

/// Several words are a line of a file and add to what is there; one word is the whole, as CONFIG SET gives it.
fn set_save(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let parts: Vec<&str> = words.iter().flat_map(|word| word.split_ascii_whitespace()).collect();
    let mut points = Vec::new();
    if !parts.len().is_multiple_of(2) {
        return Err("Invalid save parameters".to_owned());
    }
    for pair in parts.chunks_exact(2) {
        let number = |text: &str, least: i64| {
            parse_i64(text.as_bytes()).filter(|number| *number >= least && *number <= INT_MAX)
        };
        match (number(pair[0], 1), number(pair[1], 0)) {
            (Some(seconds), Some(changes)) => points.push((seconds, changes)),
            _ => return Err("Invalid save parameters".to_owned()),
        }
    }
    if words.len() == 1 {
        settings.save.clear();
    }
    settings.save.extend(points);
    Ok(())
}

fn print_percentiles(settings: &Settings) -> String {
    let shares = &settings.latency_tracking_info_percentiles;
    shares.iter().map(f64::to_string).collect::<Vec<_>>().join(" ")
}

fn set_percentiles(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let mut shares = Vec::new();
    for word in words.iter().flat_map(|word| word.split_ascii_whitespace()) {
        let share: f64 =
            word.parse().map_err(|_| "Invalid latency-tracking-info-percentiles parameters")?;
        if !(0.0..=100.0).contains(&share) {
            return Err(
                "latency-tracking-info-percentiles should be a value between 0.0 and 100.0"
                    .to_owned(),
            );
        }
        shares.push(share);
    }
    settings.latency_tracking_info_percentiles = shares;
    Ok(())
}

/// Bytes with an optional unit: `100`, `1k` (1000), `1kb` (1024), `m`, `mb`, `g`, `gb`.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let scale: usize = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(scale)
}

impl Row {
    /// The value as CONFIG GET prints it.
    #[must_use]
    pub fn print(&self, settings: &Settings) -> String {
        match &self.kind {
            Kind::Bool(field) => {
                // The accessor lends mutably; a copy is cheap and CONFIG GET is rare.
                let yes = *field(&mut settings.clone());
                if yes { "yes" } else { "no" }.to_owned()
            }
            Kind::Number { get, .. } => get(settings).to_string(),
            Kind::Bytes { get, .. } => get(settings).to_string(),
            Kind::Text(field) => field(&mut settings.clone()).clone(),
            Kind::Word { get, .. } => get(settings).to_owned(),
            Kind::Own { get, .. } => get(settings),
            Kind::Dormant(default) => {
                settings.dormant.get(self.name).cloned().unwrap_or_else(|| (*default).to_owned())
            }
            Kind::Only(value, _) => (*value).to_owned(),
        }
    }

    /// Reads the value from the words of a configuration line or the value of CONFIG SET.
    ///
    /// # Errors
    /// What is wrong with it, in Redis's words where Redis has them.
    pub fn parse(&self, settings: &mut Settings, words: &[&str]) -> Result<(), String> {
        let only = || single(words).ok_or_else(|| "wrong number of arguments".to_owned());
        match &self.kind {
            Kind::Bool(field) => {
                *field(settings) = match only()?.to_ascii_lowercase().as_str() {
                    "yes" => true,
                    "no" => false,
                    _ => return Err("argument must be 'yes' or 'no'".to_owned()),
                };
            }
            Kind::Number { set, min, max, .. } => {
                let value = parse_i64(only()?.as_bytes())
                    .ok_or("argument couldn't be parsed into an integer")?;
                if value < *min || value > *max {
                    return Err(format!("argument must be between {min} and {max} inclusive"));
                }
                set(settings, value);
            }
            Kind::Bytes { set, min, max, .. } => {
                let value = parse_bytes(only()?).ok_or("argument must be a memory value")?;
                if value < *min || value > *max {
                    return Err(format!("argument must be between {min} and {max} inclusive"));
                }
                set(settings, value);
            }
            Kind::Text(field) => *field(settings) = only()?.to_owned(),
            Kind::Word { words: known, set, .. } => {
                let word = only()?.to_ascii_lowercase();
                if !known.contains(&word.as_str()) {
                    return Err(format!(
                        "argument(s) must be one of the following: {}",
                        known.join(", ")
                    ));
                }
                set(settings, &word);
            }
            Kind::Own { set, .. } => set(settings, words)?,
            Kind::Dormant(_) => {
                settings.dormant.insert(self.name, words.join(" "));
            }
            Kind::Only(value, what) => {
                let given = words.join(" ");
                let off = given.eq_ignore_ascii_case(value)
                    || (self.name == "replicaof" && given.eq_ignore_ascii_case("no one"));
                if !off {
                    return Err(format!("Redstart does not support {what} yet"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_read_back() {
        let mut names: Vec<&str> =
            ROWS.iter().flat_map(|row| std::iter::once(row.name).chain(row.alias)).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        let mut settings = Settings::default();
        for row in ROWS.iter().filter(|row| row.name != "dir") {
            let text = row.print(&settings);
            let words: Vec<&str> = match row.kind {
                Kind::Own { .. } => text.split(' ').collect(),
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
            ("appendonly", "yes", "Redstart does not support the append-only file yet"),
        ] {
            let row = find(name).expect("known");
            assert_eq!(row.parse(&mut settings, &[value]), Err(text.to_owned()));
        }
    }
}
