//! Settings of Redis Cluster.

use super::Settings;
use super::row::{read_bytes, single};
use crate::cluster::Endpoint;
use crate::cluster::packet::{is_hostname, is_human_name};

/// The names of what clients are told.
pub(super) const ENDPOINTS: [(&str, Endpoint); 3] = [
    ("ip", Endpoint::Ip),
    ("hostname", Endpoint::Hostname),
    ("unknown-endpoint", Endpoint::Unknown),
];

/// The settings of Redis Cluster.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is explained once, in its row")]
pub struct Cluster {
    pub enabled: bool,
    pub config_file: String,
    /// 0 is 10,000 above the port for clients.
    pub port: u16,
    /// In milliseconds.
    pub node_timeout: i64,
    /// In milliseconds.
    pub ping_interval: i64,
    pub announce_ip: String,
    pub announce_hostname: String,
    pub announce_human_nodename: String,
    pub announce_client_ipv4: String,
    pub announce_client_ipv6: String,
    pub announce_port: u16,
    pub announce_tls_port: u16,
    pub announce_bus_port: u16,
    pub allow_reads_when_down: bool,
    pub allow_pubsubshard_when_down: bool,
    pub allow_replica_migration: bool,
    /// In bytes; 0 is no limit.
    pub link_sendbuf_limit: usize,
    pub longer_history_wins: bool,
    pub ranked_elections: bool,
    pub migration_barrier: u32,
    pub preferred_endpoint_type: Endpoint,
    pub replica_no_failover: bool,
    pub replica_validity_factor: u32,
    pub require_full_coverage: bool,
    /// In milliseconds.
    pub manual_failover_timeout: i64,
    /// Below nought is no limit.
    pub slot_migration_max_failover_repl_bytes: i64,
    pub slot_migration_log_max_len: usize,
    pub slot_stats_enabled: bool,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            enabled: false,
            config_file: "nodes.conf".to_owned(),
            port: 0,
            node_timeout: 15_000,
            ping_interval: 1000,
            announce_ip: String::new(),
            announce_hostname: String::new(),
            announce_human_nodename: String::new(),
            announce_client_ipv4: String::new(),
            announce_client_ipv6: String::new(),
            announce_port: 0,
            announce_tls_port: 0,
            announce_bus_port: 0,
            allow_reads_when_down: false,
            allow_pubsubshard_when_down: true,
            allow_replica_migration: true,
            link_sendbuf_limit: 0,
            longer_history_wins: false,
            ranked_elections: false,
            migration_barrier: 1,
            preferred_endpoint_type: Endpoint::Ip,
            replica_no_failover: false,
            replica_validity_factor: 10,
            require_full_coverage: true,
            manual_failover_timeout: 5000,
            slot_migration_max_failover_repl_bytes: 0,
            slot_migration_log_max_len: 1000,
            slot_stats_enabled: false,
        }
    }
}

/// Bytes, or -1 for no limit.
pub(super) fn set_move_lag(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let word = single(words).ok_or("wrong number of arguments")?;
    settings.cluster.slot_migration_max_failover_repl_bytes = match word {
        "-1" => -1,
        word => i64::try_from(read_bytes(word)?)
            .map_err(|_| format!("argument must be between -1 and {} inclusive", i64::MAX))?,
    };
    Ok(())
}

pub(super) fn set_human_name(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let word = single(words).ok_or("wrong number of arguments")?;
    if word.len() >= 256 {
        return Err("Hostnames must be less than 256 characters".to_owned());
    }
    if !is_human_name(word) {
        return Err("Announced human node name contained invalid character".to_owned());
    }
    settings.cluster.announce_human_nodename = word.to_owned();
    Ok(())
}

/// An address, or nothing.
fn ip_of<A: std::str::FromStr>(words: &[&str], wrong: &str) -> Result<String, String> {
    let word = single(words).ok_or("wrong number of arguments")?;
    if !word.is_empty() && word.parse::<A>().is_err() {
        return Err(wrong.to_owned());
    }
    Ok(word.to_owned())
}

pub(super) fn set_client_ipv4(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let ip = ip_of::<std::net::Ipv4Addr>(words, "Invalid IPv4 address")?;
    settings.cluster.announce_client_ipv4 = ip;
    Ok(())
}

pub(super) fn set_client_ipv6(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let ip = ip_of::<std::net::Ipv6Addr>(words, "Invalid IPv6 address")?;
    settings.cluster.announce_client_ipv6 = ip;
    Ok(())
}

pub(super) fn set_hostname(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let word = single(words).ok_or("wrong number of arguments")?;
    if word.len() >= 256 {
        return Err("Hostnames must be less than 256 characters".to_owned());
    }
    if !is_hostname(word) {
        return Err(
            "Hostnames may only contain alphanumeric characters, hyphens or dots".to_owned()
        );
    }
    settings.cluster.announce_hostname = word.to_owned();
    Ok(())
}
