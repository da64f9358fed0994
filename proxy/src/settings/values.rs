//! The values of single keys: numbers, switches, listeners and servers, each as twemproxy reads it.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use redstart_common::net::Address;

use super::{Lag, Load};
use crate::route::distribution::Share;

/// The port twemproxy leaves out of a server's name.
const KETAMA_PORT: &str = "11211";
/// Bound of a weight: twemproxy keeps it in an `int`. Their sum over a pool has a bound of its own.
const WEIGHT_MAX: u32 = i32::MAX as u32;

/// Where a pool listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// As written in the file.
    pub text: String,
    /// As understood.
    pub address: ListenAddress,
}

/// The two kinds of listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// Host name or address, and port.
    Tcp {
        /// Host name or address; empty is every address.
        host: String,
        /// 0 lets the kernel choose.
        port: u16,
    },
    /// A Unix socket.
    Unix {
        /// Its path.
        path: PathBuf,
        /// Permission bits, if given.
        mode: Option<u32>,
    },
}

impl Listen {
    /// A TCP listener.
    #[must_use]
    pub fn tcp(host: &str, port: u16) -> Self {
        Self {
            text: format!("{host}:{port}"),
            address: ListenAddress::Tcp { host: host.to_owned(), port },
        }
    }

    /// What stands after `listen:` in a file.
    ///
    /// # Errors
    /// In words, when the text is no listener.
    pub fn parse(text: &str) -> Result<Self, String> {
        listen(text)
    }

    /// The socket address to bind, resolving a host name.
    ///
    /// # Errors
    /// When the name does not resolve.
    pub fn resolve(&self) -> std::io::Result<Address> {
        match &self.address {
            ListenAddress::Unix { path, mode } => {
                Ok(Address::Unix { path: path.clone(), mode: *mode })
            }
            ListenAddress::Tcp { host, port } => resolve_tcp(host, *port).map(Address::Tcp),
        }
    }
}

/// Resolves a host, taking IPv4 first, as most tools expect of `localhost`.
///
/// # Errors
/// When the name does not resolve.
pub fn resolve_tcp(host: &str, port: u16) -> std::io::Result<SocketAddr> {
    let host = match host.trim_start_matches('[').trim_end_matches(']') {
        "" | "*" => "0.0.0.0",
        other => other,
    };
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    found
        .iter()
        .find(|address| address.is_ipv4())
        .or(found.first())
        .copied()
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::NotFound, "no address found"))
}

/// One server of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// What it is called in the ring, in statistics and in logs.
    pub name: String,
    /// Where it is.
    pub address: ServerAddress,
    /// Its share of the keys.
    pub weight: u32,
    /// The ACL user towards it, where that is not the pool's.
    pub user: Option<String>,
    /// The password towards it, where that is not the pool's.
    pub password: Option<String>,
}

impl Share for ServerSettings {
    fn name(&self) -> &str {
        &self.name
    }

    fn weight(&self) -> u32 {
        self.weight
    }
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerAddress {
    /// Host name or address, and port; the name is resolved at each new connection.
    Tcp {
        /// Host name or address.
        host: String,
        /// Its port.
        port: u16,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What has this name among `names`.
pub(super) fn named<T: Copy>(text: &str, names: &[(&str, T)]) -> Option<T> {
    names.iter().find(|(name, _)| *name == text).map(|(_, meant)| *meant)
}

/// `true` or `false`, nothing else.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("is not \"true\" or \"false\"".to_owned()),
    }
}

/// Decimal digits only, at most `max`.
pub(super) fn number(text: &str, max: u64) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is not a number".to_owned());
    }
    match text.parse::<u64>() {
        Ok(number) if number <= max => Ok(number),
        _ => Err(format!("is above {max}")),
    }
}

/// A size: digits and an optional `k`, `m`, `g` (1000s) or `kb`, `mb`, `gb` (1024s), as in redis.conf.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let factor: u64 = match text[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return Err("is not a size such as 64mb".to_owned()),
    };
    let number = number(&text[..digits], u64::MAX / factor)?;
    usize::try_from(number * factor).map_err(|_| "is too large".to_owned())
}

/// How far behind: seconds such as `5s`, or a size such as `10mb`.
pub(super) fn lag(text: &str) -> Result<Lag, String> {
    let problem = || "is not seconds such as 5s, or a size such as 10mb".to_owned();
    match text.strip_suffix('s') {
        Some(seconds) => number(seconds, u64::from(u32::MAX)).map(Lag::Seconds),
        None => bytes(text).map(|bytes| Lag::Bytes(bytes as u64)),
    }
    .map_err(|_| problem())
}

/// How much a replica may owe: milliseconds such as `20ms`, or a number of requests.
pub(super) fn load(text: &str) -> Result<Load, String> {
    let problem = || "is not milliseconds such as 20ms, or a number of requests".to_owned();
    match text.strip_suffix("ms") {
        Some(ms) => number(ms, u64::from(u32::MAX)).map(|ms| Load::WaitsUs(ms * 1000)),
        None => number(text, 1 << 20).map(|count| Load::Owes(count as usize)),
    }
    .map_err(|_| problem())
}

/// A share of 1 to 100, with or without a percent sign.
pub(super) fn percent(text: &str) -> Result<u8, String> {
    match number(text.strip_suffix('%').unwrap_or(text), 100) {
        Ok(percent) if percent > 0 => Ok(percent as u8),
        _ => Err("is not a percentage of 1 to 100".to_owned()),
    }
}

fn port(text: &str) -> Option<u16> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// `host:port`, split at the last colon, or `/path [octal mode]`.
pub(super) fn listen(text: &str) -> Result<Listen, String> {
    let address = if text.starts_with('/') {
        let (path, mode) = match text.rsplit_once(' ') {
            None => (text, None),
            Some((path, mode)) => match u32::from_str_radix(mode, 8) {
                Ok(bits) if bits <= 0o777 => (path.trim_end(), Some(bits)),
                _ => {
                    return Err(
                        "has an invalid file permission in \"socket_path permission\"".to_owned()
                    );
                }
            },
        };
        ListenAddress::Unix { path: PathBuf::from(path), mode }
    } else {
        let Some((host, digits)) = text.rsplit_once(':') else {
            return Err("is not \"hostname:port\" or \"/path [mode]\"".to_owned());
        };
        let port = port(digits)
            .filter(|port| *port != 0)
            .ok_or("has an invalid port in \"hostname:port\"")?;
        ListenAddress::Tcp { host: host.to_owned(), port }
    };
    Ok(Listen { text: text.to_owned(), address })
}

/// `host:port` of a sentinel or of a cluster's node.
pub(super) fn address(text: &str) -> Result<ServerAddress, String> {
    let (host, digits) = text.rsplit_once(':').ok_or("is not \"hostname:port\"")?;
    let port = port(digits).filter(|port| *port != 0).ok_or("has an invalid port")?;
    if host.is_empty() {
        return Err("has no host".to_owned());
    }
    Ok(ServerAddress::Tcp { host: host.to_owned(), port })
}

/// `host:port:weight [name]` or `/path:weight [name]`, read from the right.
///
/// Without a name, the text before the weight is the name, less the port when that is 11211; a path keeps the
/// colon before its weight.
pub(super) fn server(text: &str) -> Result<ServerSettings, String> {
    let invalid = || "is not \"hostname:port:weight [name]\" or \"/path:weight [name]\"".to_owned();
    let (place, name) = match text.rsplit_once(' ') {
        Some((place, name)) if !name.is_empty() => (place.trim_end(), Some(name)),
        Some(_) => return Err(invalid()),
        None => (text, None),
    };
    let (before, weight) = place.rsplit_once(':').ok_or_else(invalid)?;
    let weight = number(weight, u64::from(WEIGHT_MAX))
        .map_err(|problem| format!("has a weight that {problem}"))?;
    if weight == 0 {
        return Err("has a zero weight".to_owned());
    }
    let (address, default_name) = if place.starts_with('/') {
        (ServerAddress::Unix(PathBuf::from(before)), format!("{before}:"))
    } else {
        let (host, digits) = before.rsplit_once(':').ok_or_else(invalid)?;
        let port = port(digits).filter(|port| *port != 0).ok_or("has an invalid port")?;
        if host.is_empty() {
            return Err(invalid());
        }
        let name = if digits == KETAMA_PORT { host } else { before };
        (ServerAddress::Tcp { host: host.to_owned(), port }, name.to_owned())
    };
    Ok(ServerSettings {
        name: name.map_or(default_name, str::to_owned),
        address,
        weight: u32::try_from(weight).unwrap_or(WEIGHT_MAX),
        user: None,
        password: None,
    })
}
