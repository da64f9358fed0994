//! What a client is told when replication refuses a command: the exact texts of Redis.

use redstart_common::resp::error::{about, out_of_range_between};

/// Why a command about replication was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Options without values, or unknown ones.
    Syntax,
    /// Something that should be a number is none.
    NotAnInteger,
    /// A number outside these bounds.
    OutOfRange(i64, i64),
    /// REPLICAOF with a port that is none.
    InvalidPort,
    /// REPLCONF ip-address with so many bytes.
    LongAddress(usize),
    /// REPLCONF with an option that is not known.
    UnknownReplconf(Vec<u8>),
    /// REPLCONF version with something else than `X.Y.Z`.
    BadVersion(Vec<u8>),
    /// REPLCONF rdb-filter-only with quotes that do not close.
    MissingFilter,
    /// REPLCONF rdb-filter-only with a filter that is not known.
    UnknownFilter(Vec<u8>),
    /// A text of its own.
    Fixed(&'static str),
}

impl Refusal {
    pub(super) const FAILING_OVER: Self = Self::Fixed("NOMASTERLINK Can't SYNC while failing over");
    pub(super) const NO_PRIMARY_LINK: Self =
        Self::Fixed("NOMASTERLINK Can't SYNC while not connected with my master");
    pub(super) const PENDING_OUTPUT: Self =
        Self::Fixed("ERR SYNC and PSYNC are invalid with pending output");
    pub(super) const FILTER_NEEDS_EOF: Self =
        Self::Fixed("ERR Filtered replica requires EOF capability");
    pub(super) const FAILOVER_TO_PRIMARY: Self =
        Self::Fixed("ERR PSYNC FAILOVER can't be sent to a master.");
    pub(super) const FAILOVER_OTHER_ID: Self =
        Self::Fixed("ERR PSYNC FAILOVER replid must match my replid.");
    pub(super) const REPLICAOF_BY_REPLICA: Self =
        Self::Fixed("ERR Command is not valid when client is a replica.");
    pub(super) const REPLICAOF_FAILING_OVER: Self =
        Self::Fixed("ERR REPLICAOF not allowed while failing over.");
    pub(super) const NO_FAILOVER: Self = Self::Fixed("ERR No failover in progress.");
    pub(super) const FAILOVER_TIMEOUT: Self =
        Self::Fixed("ERR FAILOVER timeout must be greater than 0");
    pub(super) const FAILOVER_BUSY: Self = Self::Fixed("ERR FAILOVER already in progress.");
    pub(super) const FAILOVER_ON_REPLICA: Self =
        Self::Fixed("ERR FAILOVER is not valid when server is a replica.");
    pub(super) const FAILOVER_NO_REPLICAS: Self =
        Self::Fixed("ERR FAILOVER requires connected replicas.");
    pub(super) const FAILOVER_FORCE: Self = Self::Fixed(
        "ERR FAILOVER with force option requires both a timeout and target HOST and IP.",
    );
    pub(super) const FAILOVER_NO_TARGET: Self =
        Self::Fixed("ERR FAILOVER target HOST and PORT is not a replica.");
    pub(super) const FAILOVER_NOT_ONLINE: Self =
        Self::Fixed("ERR FAILOVER target replica is not online.");
    /// WAITAOF on a replica.
    pub const WAITAOF_ON_REPLICA: Self = Self::Fixed(
        "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated.",
    );
    /// WAIT on a replica.
    pub const WAIT_ON_REPLICA: Self = Self::Fixed(
        "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated.",
    );

    /// The error reply, without the leading `-` and the line end.
    #[must_use]
    pub fn wire(&self) -> Vec<u8> {
        match self {
            Self::Syntax => b"ERR syntax error".to_vec(),
            Self::NotAnInteger => b"ERR value is not an integer or out of range".to_vec(),
            Self::OutOfRange(min, max) => out_of_range_between(*min, *max).into_bytes(),
            Self::InvalidPort => b"ERR Invalid master port".to_vec(),
            Self::LongAddress(bytes) => format!(
                "ERR REPLCONF ip-address provided by replica instance is too long: {bytes} bytes"
            )
            .into_bytes(),
            Self::UnknownReplconf(word) => about("ERR Unrecognized REPLCONF option: ", word, ""),
            Self::BadVersion(word) => about("ERR Unrecognized version format: ", word, ""),
            Self::MissingFilter => b"ERR Missing rdb-filter-only values".to_vec(),
            Self::UnknownFilter(word) => {
                about("ERR Unsupported rdb-filter-only option: ", word, "")
            }
            Self::Fixed(text) => text.as_bytes().to_vec(),
        }
    }
}
