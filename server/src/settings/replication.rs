//! Settings of replication.

/// How a replica takes in a snapshot of its primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DisklessLoad {
    /// By way of a file.
    #[default]
    Disabled,
    /// From the socket, where there is no data that could be lost.
    OnEmptyDb,
    /// From the socket, beside the old data, which serves meanwhile.
    SwapDb,
}

impl DisklessLoad {
    /// The names of redis.conf.
    pub const NAMES: [(&'static str, Self); 3] =
        [("disabled", Self::Disabled), ("on-empty-db", Self::OnEmptyDb), ("swapdb", Self::SwapDb)];
}

/// What follows when a primary's stream or the append-only file is answered with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PropagationError {
    /// The log says so.
    #[default]
    Ignore,
    /// The process ends.
    Panic,
    /// The process ends if it was the stream, which only a replica has.
    PanicOnReplicas,
}

impl PropagationError {
    /// The names of redis.conf.
    pub const NAMES: [(&'static str, Self); 3] = [
        ("ignore", Self::Ignore),
        ("panic", Self::Panic),
        ("panic-on-replicas", Self::PanicOnReplicas),
    ];
}

/// Who follows whom, and how. Names and defaults are redis.conf's.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is explained once, in its row")]
pub struct Replication {
    /// The primary's host and port.
    pub replicaof: Option<(String, u16)>,
    pub masterauth: String,
    pub masteruser: String,
    pub replica_serve_stale_data: bool,
    pub replica_read_only: bool,
    pub replica_lazy_flush: bool,
    pub replica_priority: u32,
    pub replica_announce_ip: String,
    pub replica_announce_port: u16,
    pub replica_announced: bool,
    pub replica_ignore_maxmemory: bool,
    pub replica_ignore_disk_write_errors: bool,
    pub repl_backlog_size: usize,
    /// In seconds.
    pub repl_backlog_ttl: u64,
    pub repl_disable_tcp_nodelay: bool,
    pub repl_diskless_load: DisklessLoad,
    pub repl_diskless_sync: bool,
    /// In seconds.
    pub repl_diskless_sync_delay: u32,
    pub repl_diskless_sync_max_replicas: u32,
    /// In seconds.
    pub repl_ping_replica_period: u32,
    /// In seconds.
    pub repl_timeout: u32,
    pub repl_slow_writers: bool,
    pub repl_spill_size: usize,
    /// How long SHUTDOWN waits for replicas, in seconds.
    pub shutdown_timeout: u32,
    pub propagation_error_behavior: PropagationError,
    pub min_replicas_to_write: u32,
    /// In seconds.
    pub min_replicas_max_lag: u32,
}

impl Default for Replication {
    fn default() -> Self {
        Self {
            replicaof: None,
            masterauth: String::new(),
            masteruser: String::new(),
            replica_serve_stale_data: true,
            replica_read_only: true,
            replica_lazy_flush: false,
            replica_priority: 100,
            replica_announce_ip: String::new(),
            replica_announce_port: 0,
            replica_announced: true,
            replica_ignore_maxmemory: true,
            replica_ignore_disk_write_errors: false,
            repl_backlog_size: 1 << 20,
            repl_backlog_ttl: 3600,
            repl_disable_tcp_nodelay: false,
            repl_diskless_load: DisklessLoad::Disabled,
            repl_diskless_sync: true,
            repl_diskless_sync_delay: 5,
            repl_diskless_sync_max_replicas: 0,
            repl_ping_replica_period: 10,
            repl_timeout: 60,
            repl_slow_writers: false,
            repl_spill_size: 0,
            shutdown_timeout: 10,
            propagation_error_behavior: PropagationError::Ignore,
            min_replicas_to_write: 0,
            min_replicas_max_lag: 10,
        }
    }
}
