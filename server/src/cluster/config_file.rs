//! Reading nodes.conf: what CLUSTER NODES shows, and a line of variables at the end.

use super::Cluster;
use super::node::{Called, Flags, Handle, Name};
use super::operator::BUS_PORT_ABOVE;
use super::options::Options;
use super::packet::is_hostname;

/// The file is not what a node has written, or not all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt;

impl Corrupt {
    /// The line for the log.
    pub const TEXT: &'static str = "Unrecoverable error: corrupted cluster config file.";
}

impl Cluster {
    /// Makes the cluster that a file tells of.
    ///
    /// # Errors
    /// It is empty, cut off, or was never such a file.
    pub fn from_file(text: &str, options: Options, now_ms: i64) -> Result<Self, Corrupt> {
        // Whole lines only: the last one has the epochs, and half a number is another number.
        let text = text.strip_suffix('\n').ok_or(Corrupt)?;
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
        let name_of = |line: &str| Name::parse(line.split(' ').next()?.as_bytes());
        let is_myself = |line: &&str| {
            line.split_ascii_whitespace().nth(2).is_some_and(|flags| {
                flags.split(',').any(|flag| flag.eq_ignore_ascii_case("myself"))
            })
        };
        let mut mine = lines().filter(is_myself);
        let (Some(line), None) = (mine.next(), mine.next()) else { return Err(Corrupt) };
        let mut cluster = Self::alone(name_of(line).ok_or(Corrupt)?, options.clone(), now_ms);
        let mut has_vars = false;
        for line in lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            if words.first().is_some_and(|word| word.eq_ignore_ascii_case("vars")) {
                cluster.read_vars(&words[1..])?;
                has_vars = true;
            } else {
                cluster.read_node(&words, now_ms)?;
            }
        }
        if !has_vars {
            return Err(Corrupt);
        }
        cluster.current_epoch = cluster.newest_epoch();
        // An address that is not announced any more stays until it is found out again.
        let announced = options.announced_ip.clone();
        cluster.set_options(options);
        if let Some(ip) = announced {
            cluster.nodes[cluster.myself].ip = ip.into();
        }
        cluster.settle();
        Ok(cluster)
    }

    fn read_vars(&mut self, words: &[&str]) -> Result<(), Corrupt> {
        let (pairs, []) = words.as_chunks::<2>() else { return Err(Corrupt) };
        let mut epochs = 0;
        for [name, value] in pairs {
            if name.eq_ignore_ascii_case("myShardId") {
                let shard = Name::parse(value.as_bytes()).ok_or(Corrupt)?;
                self.nodes[self.myself].shard = Some(shard);
                continue;
            }
            let value = value.parse().map_err(|_| Corrupt);
            if name.eq_ignore_ascii_case("currentEpoch") {
                self.current_epoch = value?;
                epochs += 1;
            } else if name.eq_ignore_ascii_case("lastVoteEpoch") {
                self.last_vote_epoch = value?;
                epochs += 1;
            }
        }
        if epochs == 2 { Ok(()) } else { Err(Corrupt) }
    }

    /// The node with a name, which is made if it is not there yet.
    fn named(&mut self, name: &str, now_ms: i64) -> Result<Handle, Corrupt> {
        let name = Name::parse(name.as_bytes()).ok_or(Corrupt)?;
        let made = || super::Node::new(name, Flags::default(), now_ms);
        Ok(self.nodes.find(&name).unwrap_or_else(|| self.nodes.add(made())))
    }

    fn read_node(&mut self, words: &[&str], now_ms: i64) -> Result<(), Corrupt> {
        let [name, address, flags, primary, ping, pong, epoch, _, slots @ ..] = words else {
            return Err(Corrupt);
        };
        let handle = self.named(name, now_ms)?;
        self.read_address(handle, address)?;
        self.nodes[handle].flags = read_flags(flags)?;
        if *primary != "-" {
            let primary = self.named(primary, now_ms)?;
            if primary == handle {
                return Err(Corrupt);
            }
            self.join_primary(handle, primary);
        }
        let moment = |word: &str| if word == "0" { 0 } else { now_ms };
        let node = &mut self.nodes[handle];
        node.ping_sent_ms = moment(ping);
        node.pong_received_ms = moment(pong);
        if node.has_failed() {
            node.failed_ms = now_ms;
        }
        let epoch = epoch.parse().map_err(|_| Corrupt)?;
        node.config_epoch = if node.is_replica() && node.primary.is_some() { 0 } else { epoch };
        node.epoch_as_primary = node.config_epoch;
        for word in slots {
            self.read_slots(handle, word, now_ms)?;
        }
        Ok(())
    }

    /// `ip:port@bus-port,hostname`, and of what later versions write behind that the name of the shard.
    fn read_address(&mut self, handle: Handle, address: &str) -> Result<(), Corrupt> {
        let mut parts = address.split(',');
        let (place, hostname) = (parts.next().ok_or(Corrupt)?, parts.next().unwrap_or_default());
        let (ip, ports) = place.rsplit_once(':').ok_or(Corrupt)?;
        let (port, bus_port) = match ports.split_once('@') {
            Some((port, bus_port)) => (port, Some(bus_port)),
            None => (ports, None),
        };
        if let Some(shard) = parts.find_map(|part| part.strip_prefix("shard-id=")) {
            self.nodes[handle].shard = Name::parse(shard.as_bytes());
        }
        let number = |text: &str| text.parse::<u16>().map_err(|_| Corrupt);
        let port = number(port)?;
        let above = i64::from(port) + BUS_PORT_ABOVE;
        let node = &mut self.nodes[handle];
        node.ip = ip.into();
        node.port = port;
        node.bus_port = match bus_port {
            Some(bus_port) => number(bus_port)?,
            None => u16::try_from(above).map_err(|_| Corrupt)?,
        };
        if is_hostname(hostname) {
            node.call(Called::Hostname, hostname);
        }
        Ok(())
    }

    fn read_slots(&mut self, handle: Handle, word: &str, now_ms: i64) -> Result<(), Corrupt> {
        let slot = |text: &str| {
            let slot = text.parse::<u16>().ok();
            slot.filter(|slot| *slot < redstart_common::slot::SLOT_COUNT).ok_or(Corrupt)
        };
        if let Some(open) = word.strip_prefix('[') {
            let open = open.strip_suffix(']').ok_or(Corrupt)?;
            if let Some((number, name)) = open.split_once("->-") {
                let node = self.named(name, now_ms)?;
                self.migrating.insert(slot(number)?, node);
            } else if let Some((number, name)) = open.split_once("-<-") {
                let node = self.named(name, now_ms)?;
                self.importing.insert(slot(number)?, node);
            } else {
                return Err(Corrupt);
            }
            return Ok(());
        }
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        self.give_run(slot(first)?, slot(last)?, handle);
        Ok(())
    }
}

fn read_flags(words: &str) -> Result<Flags, Corrupt> {
    let mut flags = Flags::default();
    for word in words.split(',').filter(|word| !word.eq_ignore_ascii_case("noflags")) {
        let known = Flags::NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(word));
        flags.set(known.ok_or(Corrupt)?.0);
    }
    Ok(flags)
}

#[cfg(test)]
mod tests;
