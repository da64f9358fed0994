//! The server's settings, typed. `rows.rs` names each for redis.conf, the command line and CONFIG.

pub mod cluster;
pub mod file;
pub mod notify;
pub mod own;
pub mod process;
pub mod renames;
pub mod replication;
mod rewrite;
mod row;
pub mod rows;
pub mod saving;
pub(crate) mod title;
pub mod tls;
pub mod watching;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use redstart_common::command::Mode;
use redstart_common::net::Stream;

use crate::client::{Client, Flags};
use crate::settings::notify::Classes;

/// How keys are chosen for eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// The least recently used of those with a deadline.
    VolatileLru,
    /// The least frequently used of those with a deadline.
    VolatileLfu,
    /// Any of those with a deadline.
    VolatileRandom,
    /// The one with the nearest deadline.
    VolatileTtl,
    /// The least recently used.
    AllkeysLru,
    /// The least frequently used.
    AllkeysLfu,
    /// Any.
    AllkeysRandom,
    /// The one whose last change is the longest ago, of those with a deadline (Redis 8.6).
    VolatileLrm,
    /// The one whose last change is the longest ago (Redis 8.6).
    AllkeysLrm,
    /// None: writes are refused.
    #[default]
    NoEviction,
}

impl Policy {
    /// The names of redis.conf.
    pub const NAMES: [(&'static str, Self); 10] = [
        ("volatile-lru", Self::VolatileLru),
        ("volatile-lfu", Self::VolatileLfu),
        ("volatile-random", Self::VolatileRandom),
        ("volatile-ttl", Self::VolatileTtl),
        ("allkeys-lru", Self::AllkeysLru),
        ("allkeys-lfu", Self::AllkeysLfu),
        ("allkeys-random", Self::AllkeysRandom),
        ("noeviction", Self::NoEviction),
        ("volatile-lrm", Self::VolatileLrm),
        ("allkeys-lrm", Self::AllkeysLrm),
    ];

    /// Whether entries keep frequencies.
    #[must_use]
    pub fn is_lfu(self) -> bool {
        matches!(self, Self::VolatileLfu | Self::AllkeysLfu)
    }

    /// Whether entries keep times of use.
    #[must_use]
    pub fn is_lru(self) -> bool {
        matches!(self, Self::VolatileLru | Self::AllkeysLru) || self.is_lrm()
    }

    /// Whether entries keep times of change, which count as their use.
    #[must_use]
    pub fn is_lrm(self) -> bool {
        matches!(self, Self::VolatileLrm | Self::AllkeysLrm)
    }

    /// Whether only keys with a deadline are chosen.
    #[must_use]
    pub fn is_volatile(self) -> bool {
        matches!(
            self,
            Self::VolatileLru
                | Self::VolatileLfu
                | Self::VolatileRandom
                | Self::VolatileTtl
                | Self::VolatileLrm
        )
    }

    /// The name in redis.conf.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, policy)| *policy == self)
            .map_or("noeviction", |(name, _)| name)
    }
}

/// How much output may wait for a class of clients, in bytes and seconds; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutputLimits {
    /// Beyond this the client is closed at once.
    pub hard_bytes: usize,
    /// Beyond this it is closed when it stays there …
    pub soft_bytes: usize,
    /// … for so long.
    pub soft_seconds: u64,
}

/// Bytes that may wait for a client that has yet to authenticate, whatever the limits: as many as lie in the fixed
/// buffer that Redis gives each client. One that may do nothing must not take memory by not reading.
const UNAUTHENTICATED_OUTPUT_MAX: usize = 16 << 10;

impl OutputLimits {
    /// Whether the client's output is over a limit now; notes since when it is over the soft one.
    pub fn exceeded(self, client: &mut Client, now_ms: i64) -> bool {
        let waiting = client.reply.pending();
        if !client.authenticated && waiting > UNAUTHENTICATED_OUTPUT_MAX {
            return true;
        }
        if self.hard_bytes > 0 && waiting >= self.hard_bytes {
            return true;
        }
        if self.soft_bytes == 0 || waiting < self.soft_bytes {
            client.soft_limit_since_ms = 0;
            return false;
        }
        if client.soft_limit_since_ms == 0 {
            client.soft_limit_since_ms = now_ms;
            return false;
        }
        (now_ms - client.soft_limit_since_ms).unsigned_abs() / 1000 > self.soft_seconds
    }
}

/// The output limits of each class of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputClasses {
    /// Ordinary clients.
    pub normal: OutputLimits,
    /// Replicas.
    pub replica: OutputLimits,
    /// Clients that listen to channels.
    pub pubsub: OutputLimits,
}

impl Default for OutputClasses {
    fn default() -> Self {
        Self {
            normal: OutputLimits::default(),
            replica: OutputLimits { hard_bytes: 256 << 20, soft_bytes: 64 << 20, soft_seconds: 60 },
            pubsub: OutputLimits { hard_bytes: 32 << 20, soft_bytes: 8 << 20, soft_seconds: 60 },
        }
    }
}

impl OutputClasses {
    /// The limits of a client's class.
    #[must_use]
    pub fn of(self, client: &Client) -> OutputLimits {
        // A monitor is an ordinary client, as in Redis.
        if client.flags.any(Flags::REPLICA) {
            self.replica
        } else if client.flags.any(Flags::SUBSCRIBED) {
            self.pubsub
        } else {
            self.normal
        }
    }
}

/// All settings. Names and defaults are redis.conf's; sizes are in bytes unless their name says otherwise.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is explained once, in its row")]
pub struct Settings {
    pub databases: usize,
    pub port: u16,
    /// Bind a port that the kernel chooses, though `port` is 0: for tests and embedding.
    pub ephemeral_port: bool,
    pub bind: Vec<String>,
    pub unixsocket: String,
    pub unixsocketperm: u32,
    pub tcp_backlog: u32,
    /// The mark (`SO_MARK`) of what goes out over TCP to clients and over the cluster's bus; 0 is none.
    pub socket_mark_id: u32,
    pub tcp_keepalive: u64,
    pub timeout: u64,
    pub protected_mode: bool,
    pub requirepass: String,
    pub aclfile: String,
    pub acllog_max_len: usize,
    /// Whether new users may hear and speak on all channels.
    pub acl_pubsub_all: bool,
    /// The words of `user` lines, without the first.
    pub users: Vec<Vec<String>>,
    /// The names of `rename-command` lines: of now, and to be; an empty one is none.
    pub renames: Vec<(String, String)>,
    pub tracking_table_max_keys: usize,
    pub maxclients: usize,
    pub hz: u32,
    pub dynamic_hz: bool,
    pub maxmemory: usize,
    pub maxmemory_policy: Policy,
    /// In bytes; a negative number is a percentage of `maxmemory`, and 0 is no limit.
    pub maxmemory_clients: i64,
    /// From 0 to 100: how long a command may have to wait for eviction.
    pub maxmemory_eviction_tenacity: u32,
    pub maxmemory_samples: usize,
    pub lfu_log_factor: u32,
    pub lfu_decay_time: u32,
    pub proto_max_bulk_len: usize,
    /// How long the engine rests at the end of a turn that served few of many clients, in microseconds.
    pub coalesce_us: u64,
    pub client_query_buffer_limit: usize,
    pub client_output_buffer_limit: OutputClasses,
    pub notify_keyspace_events: Classes,
    pub bind_source_addr: String,
    pub processors: crate::processors::Lists,
    pub syslog_enabled: bool,
    pub syslog_ident: String,
    pub syslog_facility: redstart_common::log::Facility,
    pub command_logs: watching::CommandLogSettings,
    /// Where the server runs, as clients choose servers by it.
    pub availability_zone: String,
    pub latency_tracking: bool,
    /// In milliseconds; 0 is off.
    pub latency_monitor_threshold: u64,
    pub latency_tracking_info_percentiles: Vec<f64>,
    pub active_expire_effort: u32,
    pub active_expire: bool,
    pub lazyfree_lazy_eviction: bool,
    pub lazyfree_lazy_expire: bool,
    pub jemalloc_bg_thread: bool,
    pub lazyfree_lazy_server_del: bool,
    pub lazyfree_lazy_user_del: bool,
    pub lazyfree_lazy_user_flush: bool,
    /// From how many milliseconds on a script lets others be told that it runs; 0 is never.
    pub busy_reply_threshold_ms: u64,
    /// The packed forms' limits: `*-max-listpack-*` and `set-max-intset-entries`.
    pub packed: crate::types::Limits,
    /// How long, and how many, names of entries are known of a producer, where the stream does not say.
    pub stream_names: crate::types::stream::Memory,
    /// Bytes up to which a HyperLogLog stays in its sparse form.
    pub hll_sparse_max_bytes: usize,
    pub loglevel: redstart_common::log::Level,
    pub logfile: String,
    pub dir: String,
    pub pidfile: String,
    pub daemonize: bool,
    pub always_show_logo: bool,
    pub supervised: crate::settings::process::Supervised,
    pub set_proc_title: bool,
    pub proc_title_template: String,
    pub crash_log_enabled: bool,
    pub use_exit_on_panic: bool,
    /// Milliseconds for which the thread may stand still before the log is told where; 0 is for ever.
    pub watchdog_period: u64,
    pub disable_thp: bool,
    pub oom_score_adj: crate::settings::process::Adjustment,
    /// For a primary, a replica, and a child that saves.
    pub oom_score_adj_values: [i32; 3],
    /// Which of `save`, `nosave`, `now` and `force` were given.
    pub shutdown_on_sigint: own::Shutdown,
    pub shutdown_on_sigterm: own::Shutdown,
    pub enable_debug_command: Protected,
    pub enable_module_command: Protected,
    pub enable_protected_configs: Protected,
    /// After so many seconds with so many changes a snapshot is wanted.
    pub save: Vec<(i64, i64)>,
    /// Whether `save` was set, so that its defaults no longer count.
    pub save_given: bool,
    /// What is written to disk.
    pub saving: saving::Saving,
    /// Who follows whom.
    pub replication: replication::Replication,
    /// Redis Cluster.
    pub cluster: cluster::Cluster,
    /// TLS.
    pub tls: tls::Tls,
    /// Parameters of features that are off, by the names of their rows.
    pub dormant: std::collections::BTreeMap<&'static str, String>,
    /// The `sentinel` lines, where the program acts as a sentinel.
    pub sentinel: Option<Vec<SentinelLine>>,
}

/// A `sentinel` line of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentinelLine {
    /// Its number in the file, from 1.
    pub number: usize,
    /// All of it.
    pub text: String,
    /// Its words but the first.
    pub words: Vec<String>,
}

/// Who may use what `enable-*-command` guards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protected {
    /// Nobody.
    #[default]
    No,
    /// Everybody.
    Yes,
    /// Clients on this machine.
    Local,
}

impl Protected {
    /// The names of redis.conf.
    pub const NAMES: [(&'static str, Self); 3] =
        [("no", Self::No), ("yes", Self::Yes), ("local", Self::Local)];
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            databases: 16,
            port: 6379,
            ephemeral_port: false,
            bind: vec!["*".to_owned(), "-::*".to_owned()],
            unixsocket: String::new(),
            unixsocketperm: 0,
            tcp_backlog: 511,
            socket_mark_id: 0,
            tcp_keepalive: 300,
            timeout: 0,
            protected_mode: true,
            requirepass: String::new(),
            aclfile: String::new(),
            acllog_max_len: 128,
            acl_pubsub_all: false,
            users: Vec::new(),
            renames: Vec::new(),
            tracking_table_max_keys: 1_000_000,
            maxclients: 10_000,
            hz: 10,
            dynamic_hz: true,
            maxmemory: 0,
            maxmemory_policy: Policy::NoEviction,
            maxmemory_clients: 0,
            maxmemory_eviction_tenacity: 10,
            maxmemory_samples: 5,
            lfu_log_factor: 10,
            lfu_decay_time: 1,
            proto_max_bulk_len: 512 << 20,
            client_query_buffer_limit: 1 << 30,
            client_output_buffer_limit: OutputClasses::default(),
            notify_keyspace_events: Classes::default(),
            bind_source_addr: String::new(),
            processors: crate::processors::Lists::default(),
            syslog_enabled: false,
            syslog_ident: "redis".to_owned(),
            syslog_facility: redstart_common::log::Facility::Local0,
            availability_zone: String::new(),
            command_logs: watching::CommandLogSettings::default(),
            coalesce_us: 50,
            latency_tracking: true,
            latency_monitor_threshold: 0,
            latency_tracking_info_percentiles: vec![50.0, 99.0, 99.9],
            active_expire_effort: 1,
            active_expire: true,
            lazyfree_lazy_eviction: false,
            lazyfree_lazy_expire: false,
            jemalloc_bg_thread: true,
            lazyfree_lazy_server_del: false,
            lazyfree_lazy_user_del: false,
            lazyfree_lazy_user_flush: false,
            busy_reply_threshold_ms: 5000,
            packed: crate::types::Limits::default(),
            stream_names: crate::types::stream::Memory::USUAL,
            hll_sparse_max_bytes: 3000,
            loglevel: redstart_common::log::Level::Notice,
            logfile: String::new(),
            dir: ".".to_owned(),
            pidfile: String::new(),
            daemonize: false,
            always_show_logo: false,
            supervised: crate::settings::process::Supervised::No,
            set_proc_title: true,
            proc_title_template: "{title} {listen-addr} {server-mode}".to_owned(),
            crash_log_enabled: true,
            use_exit_on_panic: false,
            watchdog_period: 0,
            disable_thp: true,
            oom_score_adj: crate::settings::process::Adjustment::No,
            oom_score_adj_values: [0, 200, 800],
            shutdown_on_sigint: own::Shutdown::default(),
            shutdown_on_sigterm: own::Shutdown::default(),
            enable_debug_command: Protected::No,
            enable_module_command: Protected::No,
            enable_protected_configs: Protected::No,
            save_given: false,
            save: vec![(3600, 1), (300, 100), (60, 10_000)],
            saving: saving::Saving::default(),
            replication: replication::Replication::default(),
            cluster: cluster::Cluster::default(),
            tls: tls::Tls::default(),
            dormant: std::collections::BTreeMap::new(),
            sentinel: None,
        }
    }
}

impl Settings {
    /// Which table of commands is served.
    #[must_use]
    pub fn mode(&self) -> Mode {
        if self.sentinel.is_some() { Mode::Sentinel } else { Mode::Server }
    }

    /// Whether there is a TCP port without TLS.
    #[must_use]
    pub fn listens_plainly(&self) -> bool {
        self.port != 0 || self.ephemeral_port
    }

    /// The addresses to bind, and whether one may be missing on this machine (`-` in front).
    pub fn bind_addresses(&self) -> impl Iterator<Item = (String, bool)> + '_ {
        self.bind.iter().map(|name| match name.strip_prefix('-') {
            Some(name) => (name.to_owned(), true),
            None => (name.clone(), false),
        })
    }

    /// Whether the protected mode turns a connection away that needs no password: it comes from elsewhere.
    #[must_use]
    pub fn protects_from(&self, stream: &Stream) -> bool {
        self.protected_mode && !stream.is_local()
    }
}

/// Finds the addresses of a name in `bind`; `*` and `::*` are all of their family.
///
/// # Errors
/// What the resolver says.
pub fn resolve(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let name = match name {
        "*" => "0.0.0.0",
        "::*" => "::",
        other => other,
    };
    Ok((name, port).to_socket_addrs()?.collect())
}
