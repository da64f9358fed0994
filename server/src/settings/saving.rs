//! Settings of what is written to disk: snapshots and the append-only file.

/// When the append-only file is put on disk for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fsync {
    /// Once a second.
    #[default]
    EverySecond,
    /// Before any reply to a write leaves.
    Always,
    /// When the system does it.
    No,
}

impl Fsync {
    /// The names of redis.conf.
    pub const NAMES: [(&'static str, Self); 3] =
        [("everysec", Self::EverySecond), ("always", Self::Always), ("no", Self::No)];
}

/// Whose values are checked to the last when they come in as dumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sanitize {
    /// Nobody's.
    #[default]
    No,
    /// Everybody's.
    Yes,
    /// Those that clients bring by RESTORE, unless they are primaries.
    Clients,
}

impl Sanitize {
    /// The names of redis.conf.
    pub const NAMES: [(&'static str, Self); 3] =
        [("no", Self::No), ("yes", Self::Yes), ("clients", Self::Clients)];
}

/// What is written to disk, how and when. Names and defaults are redis.conf's.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is explained once, in its row")]
pub struct Saving {
    pub dbfilename: String,
    pub rdbcompression: bool,
    pub rdbchecksum: bool,
    pub rdb_del_sync_files: bool,
    pub rdb_save_incremental_fsync: bool,
    /// Microseconds to rest after each key that is saved; a negative number rests one in that many keys. For tests.
    pub rdb_key_save_delay: i32,
    /// The same for loading.
    pub key_load_delay: i32,
    pub loading_process_events_interval_bytes: usize,
    pub sanitize_dump_payload: Sanitize,
    pub stop_writes_on_bgsave_error: bool,
    pub appendonly: bool,
    pub appendfilename: String,
    pub appenddirname: String,
    pub appendfsync: Fsync,
    pub no_appendfsync_on_rewrite: bool,
    pub auto_aof_rewrite_percentage: u32,
    pub auto_aof_rewrite_min_size: usize,
    pub aof_load_truncated: bool,
    pub aof_use_rdb_preamble: bool,
    pub aof_timestamp_enabled: bool,
    pub aof_disable_auto_gc: bool,
    pub aof_rewrite_incremental_fsync: bool,
}

impl Default for Saving {
    fn default() -> Self {
        Self {
            dbfilename: "dump.rdb".to_owned(),
            rdbcompression: true,
            rdbchecksum: true,
            rdb_del_sync_files: false,
            rdb_save_incremental_fsync: true,
            rdb_key_save_delay: 0,
            key_load_delay: 0,
            loading_process_events_interval_bytes: 2 << 20,
            sanitize_dump_payload: Sanitize::No,
            stop_writes_on_bgsave_error: true,
            appendonly: false,
            appendfilename: "appendonly.aof".to_owned(),
            appenddirname: "appendonlydir".to_owned(),
            appendfsync: Fsync::EverySecond,
            no_appendfsync_on_rewrite: false,
            auto_aof_rewrite_percentage: 100,
            auto_aof_rewrite_min_size: 64 << 20,
            aof_load_truncated: true,
            aof_use_rdb_preamble: true,
            aof_timestamp_enabled: false,
            aof_disable_auto_gc: false,
            aof_rewrite_incremental_fsync: true,
        }
    }
}
