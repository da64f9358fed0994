//! Addresses, and the names that stand for them.

use std::collections::HashSet;
use std::net::IpAddr;

use redstart_common::log::Level;

use super::{Action, Sentinel};

/// Names that are remembered, beyond which those that no instance has are forgotten.
const NAMES_MAX: usize = 1024;

/// Where an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The name or address as it was given.
    pub host: String,
    /// The address; empty while the name cannot be resolved.
    pub ip: String,
    /// The port.
    pub port: u16,
}

/// What is asked of the system while a configuration is read, when nothing is served yet.
pub trait Outside {
    /// The address of a name.
    fn resolve(&mut self, name: &str) -> Option<String>;
    /// Whether there is such a file and it may be run.
    fn is_executable(&mut self, path: &str) -> bool;
}

/// Why there is no such address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAddress {
    /// The port is none.
    Port,
    /// The name cannot be resolved, or may not be one.
    Name,
}

/// An address in its usual form, if the text is one and no name.
pub(super) fn as_ip(host: &str) -> Option<String> {
    host.parse::<IpAddr>().ok().map(|ip| ip.to_string())
}

impl Address {
    /// Whether two are the same, by address or, where none is known, by name.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.port == other.port
            && (!self.ip.is_empty() && self.ip == other.ip
                || self.host.eq_ignore_ascii_case(&other.host))
    }
}

impl Sentinel {
    /// The address that a name is known to stand for. An unknown one is looked up, and known later.
    pub(super) fn look_up(&mut self, host: &str) -> Option<String> {
        if let Some(ip) = as_ip(host) {
            return Some(ip);
        }
        if !self.globals.resolve_hostnames {
            return None;
        }
        let found = self.names.get(host).cloned().flatten();
        if found.is_none() {
            self.actions.push(Action::Resolve(host.to_owned()));
        }
        found
    }

    /// Whether a name stands for no address by what is known: it has to be looked up, or may be by now.
    #[must_use]
    pub fn is_unresolved(&self, host: &str) -> bool {
        let is_known = || self.names.get(host).is_some_and(Option::is_some);
        self.globals.resolve_hostnames && as_ip(host).is_none() && !is_known()
    }

    /// Whether a name has to be looked up before it can be said what it stands for.
    #[must_use]
    pub fn is_unknown_name(&self, host: &str) -> bool {
        self.globals.resolve_hostnames && as_ip(host).is_none() && !self.names.contains_key(host)
    }

    /// An address of a name and a port.
    pub(super) fn address(
        &mut self,
        host: &str,
        port: i64,
        unresolved_too: bool,
    ) -> Result<Address, NoAddress> {
        let port = u16::try_from(port).map_err(|_| NoAddress::Port)?;
        let ip = match self.look_up(host) {
            Some(ip) => ip,
            None => {
                let text = format!("Failed to resolve hostname '{host}'");
                self.actions.push(Action::Log(Level::Warning, text));
                if !(self.globals.resolve_hostnames && unresolved_too) {
                    return Err(NoAddress::Name);
                }
                String::new()
            }
        };
        Ok(Address { host: host.to_owned(), ip, port })
    }

    /// Whether a name stands for an instance's host.
    pub(super) fn is_host(&mut self, address: &Address, host: &str) -> bool {
        // Mostly an address is said as it is known, and no name is one.
        if !host.is_empty() && address.ip.eq_ignore_ascii_case(host) {
            return true;
        }
        match self.look_up(host) {
            Some(ip) => address.ip.eq_ignore_ascii_case(&ip),
            None if self.globals.resolve_hostnames => address.host.eq_ignore_ascii_case(host),
            None => address.ip.eq_ignore_ascii_case(host),
        }
    }

    /// What others are told of where an instance is, and what stands in the file. Where a name is not resolved it is the name;
    /// Redis says and writes nothing then, and does not start again with such a file.
    #[must_use]
    pub fn announced<'a>(&self, address: &'a Address) -> &'a str {
        let by_name = self.globals.announce_hostnames || address.ip.is_empty();
        if by_name { &address.host } else { &address.ip }
    }

    /// The same with the port, as replicas are called.
    pub(super) fn announced_with_port(&self, address: &Address) -> String {
        let host = self.announced(address);
        if host.contains(':') {
            format!("[{host}]:{}", address.port)
        } else {
            format!("{host}:{}", address.port)
        }
    }

    /// Names that clients have asked about and that no instance has are looked up again when they are asked about again.
    fn forget_unused_names(&mut self) {
        let all = self.primaries.values().flat_map(|it| {
            std::iter::once(&it.own).chain(it.replicas.values()).chain(it.sentinels.values())
        });
        let used: HashSet<&str> = all.map(|it| it.at.host.as_str()).collect();
        self.names.retain(|name, _| used.contains(name.as_str()));
    }

    /// Remembers what a name stands for, and does what waited for it.
    pub(super) fn resolved(&mut self, name: &str, address: Option<String>) {
        if let (Some(Some(_)), None) = (self.names.get(name), &address) {
            // It was known before: who cannot be asked for it now has not taken it away.
            return;
        }
        if self.names.len() >= NAMES_MAX {
            self.forget_unused_names();
        }
        let known = self.names.insert(name.to_owned(), address.clone());
        if known.as_ref() == Some(&address) {
            return;
        }
        for hello in std::mem::take(&mut self.waiting_hellos) {
            self.take_hello(&hello);
        }
        self.look_for_replicas_of_name(name);
    }
}
