//! The settings as the cluster knows them.

/// What clients are told of where a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Endpoint {
    /// Its address.
    #[default]
    Ip,
    /// Its hostname, or `?`.
    Hostname,
    /// Nothing: where they asked.
    Unknown,
}

/// How a client came, which decides by what addresses it finds the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Came {
    /// By IPv6, not IPv4.
    pub by_ipv6: bool,
    /// By TLS.
    pub by_tls: bool,
}

/// The settings as the cluster knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `cluster-node-timeout`
    pub node_timeout_ms: i64,
    /// `cluster-replica-validity-factor`
    pub validity_factor: i64,
    /// `cluster-longer-history-wins`
    pub history_wins: bool,
    /// `cluster-ranked-elections`
    pub ranks_elections: bool,
    /// `cluster-migration-barrier`
    pub migration_barrier: usize,
    /// `cluster-allow-replica-migration`
    pub replicas_migrate: bool,
    /// `cluster-replica-no-failover`
    pub no_failover: bool,
    /// `cluster-require-full-coverage`
    pub full_coverage: bool,
    /// `cluster-preferred-endpoint-type`
    pub endpoint: Endpoint,
    /// `cluster-announce-ip`
    pub announced_ip: Option<String>,
    /// `cluster-announce-hostname`; empty is none.
    pub hostname: String,
    /// `cluster-announce-human-nodename`; empty is none.
    pub human_name: String,
    /// `cluster-announce-client-ipv4` and `-ipv6`; empty is none.
    pub client_ips: [String; 2],
    /// `cluster-ping-interval`, in milliseconds.
    pub ping_ms: u64,
    /// Whether nodes speak TLS with each other (`tls-cluster`).
    pub by_tls: bool,
    /// The port that other nodes are told, and clients who speak as nodes do.
    pub port: u16,
    /// The port that clients without TLS are told where nodes speak it; 0 is none.
    pub plain_port: u16,
    /// The port of the bus that other nodes are told.
    pub bus_port: u16,
    /// `cluster-allow-reads-when-down`
    pub reads_when_down: bool,
    /// `cluster-allow-pubsubshard-when-down`
    pub shard_channels_when_down: bool,
    /// `cluster-link-sendbuf-limit`, in bytes; 0 is none.
    pub link_limit: u64,
    /// `repl-ping-replica-period`, in milliseconds.
    pub replica_ping_ms: i64,
    /// `repl-timeout`, in milliseconds: how long the other side of a move of slots may say nothing.
    pub replica_silence_ms: i64,
    /// `cluster-manual-failover-timeout`, in milliseconds.
    pub manual_ms: i64,
    /// `slot-migration-max-failover-repl-bytes`; below nought is no limit.
    pub move_lag_bytes: i64,
    /// `cluster-slot-migration-log-max-len`
    pub moves_logged: usize,
    /// Nodes ask each other for a password.
    pub authenticates: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node_timeout_ms: 15_000,
            validity_factor: 10,
            history_wins: false,
            ranks_elections: false,
            migration_barrier: 1,
            replicas_migrate: true,
            no_failover: false,
            full_coverage: true,
            endpoint: Endpoint::Ip,
            announced_ip: None,
            hostname: String::new(),
            human_name: String::new(),
            client_ips: [String::new(), String::new()],
            ping_ms: 1000,
            by_tls: false,
            port: 6379,
            plain_port: 0,
            bus_port: 16_379,
            reads_when_down: false,
            shard_channels_when_down: true,
            link_limit: 0,
            replica_ping_ms: 10_000,
            replica_silence_ms: 60_000,
            manual_ms: 5000,
            move_lag_bytes: 0,
            moves_logged: 1000,
            authenticates: false,
        }
    }
}
