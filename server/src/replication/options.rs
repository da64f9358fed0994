//! The settings that replication decides by, as plain data; the shell fills them in and hands them over when they change.

/// How a replica takes in a snapshot: `repl-diskless-load`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisklessLoad {
    /// Into a file first.
    Disabled,
    /// Straight from the socket where no data is lost by that, otherwise into a file first.
    OnEmptyDb,
    /// Straight from the socket into new databases that replace the old ones when all went well.
    SwapDb,
}

/// The class `replica` of `client-output-buffer-limit`. 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimit {
    /// Bytes at which a replica is dropped.
    pub hard_bytes: u64,
    /// Bytes at which it is dropped if it stays above them for [`soft_seconds`](Self::soft_seconds).
    pub soft_bytes: u64,
    /// See there.
    pub soft_seconds: u64,
}

/// What replication needs to know of redis.conf.
#[derive(Debug, Clone)]
pub struct Options {
    /// `repl-backlog-size`
    pub backlog_bytes: u64,
    /// `repl-backlog-ttl`; 0 is for ever.
    pub backlog_ttl_s: i64,
    /// `repl-timeout`
    pub timeout_s: i64,
    /// `repl-ping-replica-period`
    pub ping_period_s: i64,
    /// `repl-diskless-sync`
    pub diskless_sync: bool,
    /// `repl-diskless-sync-delay`
    pub diskless_sync_delay_s: i64,
    /// `repl-diskless-sync-max-replicas`; 0 is no such number.
    pub diskless_sync_max_replicas: usize,
    /// `repl-diskless-load`
    pub diskless_load: DisklessLoad,
    /// `min-replicas-to-write`; 0 asks for none.
    pub min_replicas_to_write: usize,
    /// `min-replicas-max-lag`; 0 asks for none.
    pub min_replicas_max_lag_s: i64,
    /// `masteruser`
    pub primary_user: Option<Vec<u8>>,
    /// `masterauth`
    pub primary_password: Option<Vec<u8>>,
    /// `replica-announce-port`, or the port that is listened to.
    pub announced_port: u16,
    /// `replica-announce-ip`
    pub announced_ip: Option<String>,
    /// `replica-announced`
    pub announced: bool,
    /// `replica-priority`
    pub priority: i64,
    /// `replica-read-only`
    pub read_only: bool,
    /// Whether there are save points (`save`). Without them a snapshot into a file that no replica waits for any more is of
    /// no use.
    pub save_points: bool,
    /// `client-output-buffer-limit replica`
    pub output_limit: OutputLimit,
    /// Whether writers are slowed before a replica that cannot keep up is dropped. Off is what Redis does.
    pub slow_writers: bool,
    /// `repl-spill-size`: bytes of what replicas have yet to be sent that may lie in files; 0 is none, which is what Redis does.
    pub spill_bytes: u64,
}

impl Default for Options {
    /// The defaults of redis.conf.
    fn default() -> Self {
        Self {
            backlog_bytes: 1 << 20,
            backlog_ttl_s: 3600,
            timeout_s: 60,
            ping_period_s: 10,
            diskless_sync: true,
            diskless_sync_delay_s: 5,
            diskless_sync_max_replicas: 0,
            diskless_load: DisklessLoad::Disabled,
            min_replicas_to_write: 0,
            min_replicas_max_lag_s: 10,
            primary_user: None,
            primary_password: None,
            announced_port: 6379,
            announced_ip: None,
            announced: true,
            priority: 100,
            read_only: true,
            save_points: true,
            output_limit: OutputLimit {
                hard_bytes: 256 << 20,
                soft_bytes: 64 << 20,
                soft_seconds: 60,
            },
            slow_writers: false,
            spill_bytes: 0,
        }
    }
}
