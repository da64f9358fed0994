//! What the proxy is told: pools as twemproxy's YAML writes them, more keys of our own, and a `global` section
//! for what is not a pool.
//!
//! The text becomes typed settings here and nowhere else; an error names file, line, pool and key. Every key is
//! a row in [`rows`], which is what the parser accepts, what `--help-config` prints and what the sample files in
//! `config/` are tested against.

mod cluster;
mod document;
mod down;
mod error;
mod file;
mod groups;
mod reads;
pub mod rows;
mod server_list;
mod tls;
mod values;

use std::path::Path;
use std::sync::Arc;

use redstart_common::hash::{CharSign, HashKind};

use crate::route::lane::Lanes;

pub use error::SettingsError;
pub use tls::{ClientTls, ServerTls};
pub use values::{Listen, ListenAddress, ServerAddress, ServerSettings, resolve_tcp as resolve};

/// All settings of a process.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// What is not a pool.
    pub global: Global,
    /// The pools, in the order of the file.
    pub pools: Vec<PoolSettings>,
    /// The names of pools of memcached, which were left out.
    pub skipped: Vec<String>,
}

/// The `global` section.
#[derive(Debug, Clone)]
pub struct Global {
    /// Worker threads; `None` is one per core.
    pub workers: Option<usize>,
    /// Where Prometheus scrapes, `host:port`; `None` leaves it off.
    pub metrics: Option<String>,
    /// Address of the JSON statistics; `None` means the command line decides.
    pub stats_address: Option<String>,
    /// Port of the JSON statistics; 0 leaves them off.
    pub stats_port: Option<u16>,
    /// How often the JSON statistics are refreshed, in milliseconds.
    pub stats_interval_ms: Option<u64>,
    /// The log file; `None` is standard output.
    pub log_file: Option<String>,
    /// nutcracker's verbosity, 0 to 11.
    pub log_level: Option<u8>,
    /// Where the process id is written.
    pub pid_file: Option<String>,
    /// Reply bytes a client may leave unread before it is dropped.
    pub client_output_bytes_max: usize,
    /// Bytes of messages a client may leave unread before it is dropped.
    pub subscriber_output_bytes_max: usize,
    /// Requests a client may have in flight before the proxy stops reading from it.
    pub client_in_flight_max: usize,
    /// Request bytes that may wait for one backend connection before further ones are refused.
    pub backend_queue_bytes_max: usize,
    /// How long a worker rests at the end of a turn when many clients are active, in microseconds; 0 is never.
    pub coalesce_us: u64,
    /// Largest request argument, in bytes (Redis's `proto-max-bulk-len`).
    pub bulk_bytes_max: usize,
}

impl Default for Global {
    fn default() -> Self {
        Self {
            workers: None,
            metrics: None,
            stats_address: None,
            stats_port: None,
            stats_interval_ms: None,
            log_file: None,
            log_level: None,
            pid_file: None,
            client_output_bytes_max: 256 << 20,
            subscriber_output_bytes_max: 32 << 20,
            client_in_flight_max: 4096,
            backend_queue_bytes_max: 256 << 20,
            coalesce_us: 50,
            bulk_bytes_max: 512 << 20,
        }
    }
}

/// Milliseconds before a server that is down is probed, unless the file says otherwise: nutcracker's time.
const RETRY_TIMEOUT_MS: u64 = 30_000;
/// The same where its keys stay with it, so that nothing is lost by asking it again soon.
const RETRY_TIMEOUT_FAIL_MS: u64 = 20;

/// How keys are spread over the servers of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DistributionKind {
    /// Consistent hashing on twemproxy's ring.
    Ketama,
    /// Remainder of the hash.
    Modula,
    /// Any server, a new one for each key.
    Random,
    /// By the 16,384 slots of a Redis Cluster, as its nodes say.
    Slots,
}

impl DistributionKind {
    /// The name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ketama => "ketama",
            Self::Modula => "modula",
            Self::Random => "random",
            Self::Slots => "slots",
        }
    }
}

/// What becomes of the keys of a fixed server that is down. It is taken to be down after `server_failure_limit` failures in
/// a row, and until a probe has found it well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnServerDown {
    /// It is never taken to be down: every request tries it.
    #[default]
    Try,
    /// It leaves, and keys are spread over the others as if it had never been there.
    Eject,
    /// They stay where they are, and requests for them are refused at once.
    Fail,
    /// The next server has them meanwhile; all other keys stay where they are.
    Next,
}

impl OnServerDown {
    /// Those that a file can ask for, by their names there.
    pub const NAMES: [(&'static str, Self); 3] =
        [("eject", Self::Eject), ("fail", Self::Fail), ("next", Self::Next)];
}

/// What a client gets whose request may have run on a server that was lost, which nobody can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLostRequest {
    /// An error in the place of the reply.
    #[default]
    Error,
    /// The end of its connection, as from a server that is lost itself.
    Close,
}

impl OnLostRequest {
    /// The names in files.
    pub const NAMES: [(&'static str, Self); 2] = [("error", Self::Error), ("close", Self::Close)];
}

/// In which order the servers of a pool are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerOrder {
    /// By name: shorter first, then by bytes. twemproxy's rule.
    Sorted,
    /// As written. predixy's rule.
    File,
}

/// Which groups of the sentinels a pool is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// These, in this order, each with its share of the keys.
    Named(Vec<(Arc<str>, u32)>),
    /// All that the sentinels watch, in the order of their names.
    All,
}

/// What a pool of sentinel groups is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentinelSettings {
    /// Where the sentinels are that are asked first; others are learnt from them.
    pub sentinels: Vec<ServerAddress>,
    /// The groups.
    pub groups: Groups,
    /// The ACL user towards sentinels.
    pub user: Option<String>,
    /// The password towards sentinels.
    pub password: Option<String>,
    /// How they are spoken to, where that is by TLS.
    pub tls: Option<ServerTls>,
}

/// Which servers of a shard reads go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// The primary.
    Master,
    /// The primary, or a replica while that is away.
    MasterPreferred,
    /// Replicas only.
    Replica,
    /// A replica, or the primary while there is none.
    ReplicaPreferred,
    /// Any of them.
    Any,
    /// Whichever answers soonest.
    Nearest,
    /// By priorities, 0 to 100, of which 0 is never: predixy's `MasterReadPriority` and `DynamicSlaveReadPriority`.
    Priorities {
        /// The primary's.
        master: u8,
        /// That of replicas.
        replica: u8,
    },
}

impl ReadFrom {
    /// Those that have a name in the file.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("master", Self::Master),
        ("master_preferred", Self::MasterPreferred),
        ("replica", Self::Replica),
        ("replica_preferred", Self::ReplicaPreferred),
        ("any", Self::Any),
        ("nearest", Self::Nearest),
    ];
}

impl ReadFrom {
    /// How much the primary and replicas are preferred; 0 is never read from.
    #[must_use]
    pub fn priorities(self) -> (u8, u8) {
        match self {
            Self::Master => (100, 0),
            Self::MasterPreferred => (100, 50),
            Self::Replica => (0, 100),
            Self::ReplicaPreferred => (50, 100),
            Self::Any | Self::Nearest => (50, 50),
            Self::Priorities { master, replica } => (master, replica),
        }
    }
}

/// How much a replica that is read from may owe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// So many replies, on a connection of a worker's.
    Owes(usize),
    /// The oldest reply for so long, in microseconds.
    WaitsUs(u64),
}

impl Load {
    /// Whether a server that owes so many replies, the oldest for so long, owes too much.
    #[must_use]
    pub fn is_over(self, owes: usize, waits_us: u64) -> bool {
        match self {
            Self::Owes(most) => owes > most,
            Self::WaitsUs(most_us) => waits_us > most_us,
        }
    }
}

/// A data center, as the one in which the proxy is sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataCenter {
    /// Its name.
    pub name: String,
    /// How the addresses of its servers begin.
    pub prefixes: Vec<String>,
    /// How much it is preferred for reads, 0 to 100; 0 is never read from.
    pub priority: u8,
    /// Its share among those of the same priority.
    pub weight: u32,
}

/// All data centers, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataCenters(pub Vec<DataCenter>);

impl DataCenters {
    /// The place of the data center in which an address is: the longest prefix decides.
    #[must_use]
    pub fn place_of(&self, address: &ServerAddress) -> Option<usize> {
        let text = address.to_string();
        let fits = |center: &DataCenter| {
            let prefixes =
                center.prefixes.iter().filter(|prefix| text.starts_with(prefix.as_str()));
            prefixes.map(String::len).max()
        };
        let places = self.0.iter().enumerate();
        let found = places.filter_map(|(place, center)| Some((fits(center)?, place)));
        found.max_by_key(|(len, place)| (*len, std::cmp::Reverse(*place))).map(|(_, place)| place)
    }

    /// The name of the data center in which an address is; empty where no prefix fits.
    #[must_use]
    pub fn name_of(&self, address: Option<&ServerAddress>) -> &str {
        let place = address.and_then(|address| self.place_of(address));
        place.map_or("", |place| &self.0[place].name)
    }
}

/// How far behind a replica may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lag {
    /// In bytes of the stream of changes.
    Bytes(u64),
    /// In seconds since it last heard its primary.
    Seconds(u64),
}

/// What a pool over a Redis Cluster is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSettings {
    /// The nodes that are asked first; others are learnt from them.
    pub seeds: Vec<ServerAddress>,
}

/// One pool: an endpoint over servers.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    /// The pool's name, the key of its section.
    pub name: String,
    /// Where it listens.
    pub listen: Listen,
    /// The hash of a key. A cluster has none: its nodes say which slots they have, and a key's slot is the same everywhere.
    pub hash: Option<HashKind>,
    /// How the hashes that read `char` take bytes from 0x80 on.
    pub char_sign: CharSign,
    /// How servers are numbered.
    pub server_order: ServerOrder,
    /// The two characters between which the hashed part of a key lies.
    pub hash_tag: Option<[u8; 2]>,
    /// How keys are spread.
    pub distribution: DistributionKind,
    /// Milliseconds a request may wait for its reply; `None` is for ever.
    pub timeout_ms: Option<u64>,
    /// Length of the kernel's queue of connections not yet accepted.
    pub backlog: u32,
    /// Most clients at a time; 0 is no limit.
    pub client_connections: usize,
    /// Whether accepted connections get TCP keepalive.
    pub tcpkeepalive: bool,
    /// Whether each worker has a listener of its own on the port.
    pub reuseport: bool,
    /// Whether connections to servers open at start.
    pub preconnect: bool,
    /// The password clients must give; servers are given it too, unless they have one of their own.
    pub redis_auth: Option<String>,
    /// The ACL user towards servers.
    pub server_user: Option<String>,
    /// The password towards servers.
    pub server_password: Option<String>,
    /// How clients are spoken to, where that is by TLS.
    pub client_tls: Option<ClientTls>,
    /// How servers are spoken to, where that is by TLS.
    pub server_tls: Option<ServerTls>,
    /// How many databases clients may choose from.
    pub databases: u16,
    /// The database selected on servers.
    pub redis_db: u32,
    /// Connections per worker and server.
    pub server_connections: usize,
    /// Most connections per worker, server, protocol version and database on which heavy requests go.
    pub heavy_connections: usize,
    /// Most connections per worker and server that serve one client at a time.
    pub private_connections: usize,
    /// Whether a request whose keys lie on several servers goes to that of the first.
    pub first_key_decides: bool,
    /// Whether channels are subscribed to at every server, rather than where their names lie.
    pub subscribe_everywhere: bool,
    /// How many more servers of the ring are asked where a read misses.
    pub read_fallback: u8,
    /// What becomes of the keys of a server that is down.
    pub on_server_down: OnServerDown,
    /// What a client gets whose request may have run on a server that was lost.
    pub on_lost_request: OnLostRequest,
    /// Milliseconds before a server that is down is probed.
    pub server_retry_timeout_ms: u64,
    /// Failures in a row after which a server is taken to be down.
    pub server_failure_limit: u32,
    /// Milliseconds that requests wait for a server that is away or being replaced; 0 is not at all.
    pub failover_hold_ms: u64,
    /// Which servers of a shard reads go to.
    pub read_from: ReadFrom,
    /// How far behind a replica may be that is read from; `None` is however far.
    pub max_lag: Option<Lag>,
    /// How much a replica may owe that is read from; `None` is however much.
    pub max_load: Option<Load>,
    /// The data centers in which the servers are, where that counts for reads.
    pub data_centers: Option<DataCenters>,
    /// Milliseconds after which a read that is not answered is sent to another server as well.
    pub hedge_after_ms: Option<u64>,
    /// Reads of a hundred for which that may be done.
    pub hedge_percent: u8,
    /// Milliseconds after a write during which its client reads from the primary.
    pub read_after_write_ms: u64,
    /// The servers, numbered as [`ServerOrder`] says.
    pub servers: Vec<ServerSettings>,
    /// The sentinels that tell the servers, where those are not fixed.
    pub sentinel: Option<SentinelSettings>,
    /// The Redis Cluster that the servers are nodes of.
    pub cluster: Option<ClusterSettings>,
    /// Set for the pool of in-process engines.
    pub embedded: bool,
}

impl PoolSettings {
    /// A pool with twemproxy's defaults.
    #[must_use]
    pub fn new(name: &str, listen: Listen, servers: Vec<ServerSettings>) -> Self {
        Self {
            name: name.to_owned(),
            listen,
            hash: Some(HashKind::default()),
            char_sign: CharSign::Signed,
            server_order: ServerOrder::Sorted,
            hash_tag: None,
            distribution: DistributionKind::Ketama,
            timeout_ms: None,
            backlog: 512,
            client_connections: 0,
            tcpkeepalive: false,
            reuseport: false,
            preconnect: false,
            redis_auth: None,
            server_user: None,
            server_password: None,
            client_tls: None,
            server_tls: None,
            databases: 1,
            redis_db: 0,
            server_connections: 1,
            heavy_connections: 2,
            private_connections: 512,
            first_key_decides: false,
            subscribe_everywhere: false,
            read_fallback: 0,
            on_server_down: OnServerDown::Try,
            on_lost_request: OnLostRequest::Error,
            server_retry_timeout_ms: RETRY_TIMEOUT_MS,
            server_failure_limit: 2,
            failover_hold_ms: 0,
            read_from: ReadFrom::Master,
            max_lag: None,
            max_load: None,
            data_centers: None,
            hedge_after_ms: None,
            hedge_percent: 5,
            read_after_write_ms: 0,
            servers,
            sentinel: None,
            cluster: None,
            embedded: false,
        }
    }

    /// How many shards there are to begin with.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        match self.sentinel.as_ref().map(|sentinel| &sentinel.groups) {
            Some(Groups::Named(groups)) => groups.len(),
            Some(Groups::All) => 0,
            None => self.servers.len(),
        }
    }

    /// The lanes to each server.
    #[must_use]
    pub fn lanes(&self) -> Lanes {
        Lanes::new(self.server_connections, self.heavy_connections, self.databases)
    }

    /// Whether somebody has to be asked which servers there are.
    #[must_use]
    pub fn is_discovered(&self) -> bool {
        self.sentinel.is_some() || self.cluster.is_some()
    }

    /// Whether what was sent is kept, to be sent again, and requests wait for a server that is away. In a cluster they must
    /// be able to follow their slots at least.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.failover_hold_ms > 0 || self.cluster.is_some()
    }

    /// The user and password towards a server, by its name: its own, or those of the pool.
    #[must_use]
    pub fn credentials(&self, server: &str) -> (Option<&str>, Option<&str>) {
        let own = self.servers.iter().find(|it| it.name == server && it.password.is_some());
        match own {
            Some(own) => (own.user.as_deref(), own.password.as_deref()),
            None => (self.server_user.as_deref(), self.password_of_servers()),
        }
    }

    /// The password towards servers.
    #[must_use]
    pub fn password_of_servers(&self) -> Option<&str> {
        self.server_password.as_deref().or(self.redis_auth.as_deref())
    }

    /// The name of its hash, `none` in a cluster.
    #[must_use]
    pub fn hash_name(&self) -> &'static str {
        self.hash.map_or("none", HashKind::name)
    }

    /// How keys are placed, in words.
    #[must_use]
    pub fn placement(&self) -> String {
        let distribution = self.distribution.name();
        self.hash
            .map_or(distribution.to_owned(), |hash| format!("{distribution} over {}", hash.name()))
    }

    /// What it is made of, in words.
    #[must_use]
    pub fn made_of(&self) -> String {
        match self.sentinel.as_ref().map(|sentinel| &sentinel.groups) {
            Some(Groups::Named(groups)) => format!("{} sentinel group(s)", groups.len()),
            Some(Groups::All) => "all groups of the sentinels".to_owned(),
            None if self.cluster.is_some() => "a Redis Cluster".to_owned(),
            None => format!("{} server(s)", self.servers.len()),
        }
    }

    /// Warnings about settings that work as written but hardly as meant.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.hash == Some(HashKind::Crc32)
            && self.distribution == DistributionKind::Ketama
            && self.shard_count() > 1
        {
            warnings.push(format!(
                "pool '{}': hash crc32 has 15 bits, so with ketama every key falls on one server; \
                 crc32a is the full one",
                self.name
            ));
        }
        if self.distribution == DistributionKind::Random && self.shard_count() > 1 {
            warnings.push(format!(
                "pool '{}': distribution random sends each request to any server; a key written is not \
                 found again unless the servers hold the same data",
                self.name
            ));
        }
        warnings
    }
}

impl Settings {
    /// Reads a configuration file. Pools of memcached are an error, or left out if they are to be skipped.
    ///
    /// # Errors
    /// When the file cannot be read or says something that is not understood.
    pub fn load(path: &Path, skips_memcached: bool) -> Result<Self, SettingsError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| SettingsError::new(&name, format!("cannot be read: {error}")))?;
        file::parse(&name, &text, skips_memcached)
    }

    /// Reads the text of a configuration file called `file`.
    ///
    /// # Errors
    /// When the text says something that is not understood.
    pub fn parse(file: &str, text: &str) -> Result<Self, SettingsError> {
        file::parse(file, text, false)
    }
}

#[cfg(test)]
mod tests;
