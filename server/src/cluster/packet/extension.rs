//! What stands behind the gossip of a heartbeat: the hostname of Redis 7.0, and what later versions have added.
//!
//! Each has its length with its head (a multiple of 8), its kind, and two bytes of nothing. Redis 7.2 and Valkey say that they take
//! them by the mark alone, and send theirs to whom they have heard it from. To Redis 7.0, which logs what it does not know with each
//! packet, only a hostname is sent.

use super::{Kind, Wrong};
use crate::cluster::node::{NAME_BYTES, Name};

/// Bytes in front of what an extension says.
const HEAD: usize = 8;

const HOSTNAME: u16 = 0;
const HUMAN_NAME: u16 = 1;
const FORGOTTEN: u16 = 2;
const SHARD: u16 = 3;
const CLIENT_IPV4: u16 = 4;
const CLIENT_IPV6: u16 = 5;

/// What a node says of itself in extensions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extensions<'p> {
    /// Its name in the network.
    pub hostname: Option<&'p str>,
    /// What people call it.
    pub human_name: Option<&'p str>,
    /// The name of its shard.
    pub shard: Option<Name>,
    /// Where clients find it by IPv4, if that is elsewhere than nodes do.
    pub client_ipv4: Option<&'p str>,
    /// The same by IPv6.
    pub client_ipv6: Option<&'p str>,
    /// Nodes that an operator had it forget, and for how many seconds they are not to be learnt of.
    pub forgotten: Vec<(Name, u64)>,
    /// Extensions that are not known, which were skipped.
    pub unknown: Vec<u16>,
    /// Whether the sender takes those of later versions than Redis 7.0.
    pub takes_all: bool,
}

impl<'p> Extensions<'p> {
    /// Appends all that are there, those of Redis 7.0 alone unless `takes_all`; answers how many.
    pub(super) fn write_to(&self, packet: &mut Vec<u8>, takes_all: bool) -> u16 {
        let mut count = 0;
        let mut put = |kind: u16, parts: [&[u8]; 2]| {
            if !takes_all && kind != HOSTNAME {
                return;
            }
            let padded = (parts[0].len() + parts[1].len()).next_multiple_of(8);
            packet.extend_from_slice(&((HEAD + padded) as u32).to_be_bytes());
            packet.extend_from_slice(&kind.to_be_bytes());
            packet.extend_from_slice(&[0; 2]);
            let end = packet.len() + padded;
            parts.iter().for_each(|part| packet.extend_from_slice(part));
            packet.resize(end, 0);
            count += 1;
        };
        fn text(text: Option<&str>) -> Option<[&[u8]; 2]> {
            Some([text.filter(|text| !text.is_empty())?.as_bytes(), &[0]])
        }
        let all = [
            (HOSTNAME, text(self.hostname)),
            (HUMAN_NAME, text(self.human_name)),
            (SHARD, self.shard.as_ref().map(|shard| [&shard.as_bytes()[..], &[]])),
            (CLIENT_IPV4, text(self.client_ipv4)),
            (CLIENT_IPV6, text(self.client_ipv6)),
        ];
        for (kind, parts) in all {
            if let Some(parts) = parts {
                put(kind, parts);
            }
        }
        for (name, for_s) in &self.forgotten {
            put(FORGOTTEN, [name.as_bytes(), &for_s.to_be_bytes()]);
        }
        count
    }

    /// Reads so many from the front of `rest`, of a packet of this kind and length. Answers what is left.
    pub(super) fn read(
        count: u16,
        mut rest: &'p [u8],
        kind: u16,
        packet_bytes: usize,
    ) -> Result<(Self, &'p [u8]), Wrong> {
        let mut found = Self { takes_all: count == 0, ..Self::default() };
        for _ in 0..count {
            let head = rest.first_chunk::<4>().filter(|_| rest.len() >= HEAD);
            let length = head.map_or(usize::MAX, |head| u32::from_be_bytes(*head) as usize);
            if length > rest.len() {
                return Err(Wrong::Parts(format!(
                    "Received invalid {} packet with extension data that exceeds total packet length \
                     ({packet_bytes})",
                    Kind::name_of(kind)
                )));
            }
            if length < HEAD || !length.is_multiple_of(8) {
                return Err(Wrong::Parts(format!(
                    "Received a {} packet without proper padding ({length} bytes)",
                    Kind::name_of(kind)
                )));
            }
            let extension;
            (extension, rest) = rest.split_at(length);
            let number = u16::from_be_bytes([extension[4], extension[5]]);
            found.takes_all |= number != HOSTNAME;
            found.take(number, &extension[HEAD..]);
        }
        Ok((found, rest))
    }

    fn take(&mut self, number: u16, bytes: &'p [u8]) {
        match number {
            HOSTNAME => self.hostname = text(bytes, is_hostname),
            HUMAN_NAME => self.human_name = text(bytes, is_human_name),
            SHARD => self.shard = bytes.first_chunk::<NAME_BYTES>().and_then(|it| Name::parse(it)),
            CLIENT_IPV4 => self.client_ipv4 = text(bytes, is_ip),
            CLIENT_IPV6 => self.client_ipv6 = text(bytes, is_ip),
            FORGOTTEN => {
                let name = bytes.first_chunk::<NAME_BYTES>().and_then(|it| Name::parse(it));
                let for_s = bytes.get(NAME_BYTES..).and_then(|rest| rest.first_chunk());
                if let (Some(name), Some(for_s)) = (name, for_s) {
                    self.forgotten.push((name, u64::from_be_bytes(*for_s)));
                }
            }
            other => self.unknown.push(other),
        }
    }
}

/// A text up to its end mark; one that is none by Redis's rules is none.
fn text(bytes: &[u8], is_right: impl Fn(&str) -> bool) -> Option<&str> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    is_right(text).then_some(text)
}

/// Whether a text may be announced as a hostname.
#[must_use]
pub fn is_hostname(text: &str) -> bool {
    text.len() < 256
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
}

/// Whether a text may be what people call a node.
#[must_use]
pub fn is_human_name(text: &str) -> bool {
    text.len() < 256
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

fn is_ip(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}
