//! Reading a packet: every length is checked before what it measures is looked at.

use super::{Extensions, GOSSIP_BYTES, HEADER_BYTES, IP_BYTES, Kind, VERSION, at, mark};
use crate::cluster::node::{Flags, NAME_BYTES, Name};
use crate::cluster::slots::{SLOT_BYTES, SlotSet};

/// Why a packet is not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// It is of another version of the bus, or no packet at all: it is ignored.
    Foreign,
    /// Its parts do not fit; the line says how.
    Parts(String),
}

/// A packet.
#[derive(Debug)]
pub struct Packet<'p> {
    /// The number of its kind.
    pub kind: u16,
    /// Who sent it, if that is a name.
    pub sender: Option<Name>,
    /// The epoch of the cluster that the sender knows of.
    pub current_epoch: u64,
    /// The epoch of the configuration of the sender, or of its primary.
    pub config_epoch: u64,
    /// Where the sender is in its stream.
    pub offset: i64,
    /// The slots of the sender, or of its primary.
    pub slots: &'p [u8; SLOT_BYTES],
    /// Whether the sender says that it replicates somebody.
    pub is_replica: bool,
    /// Whom, if that is a name.
    pub primary: Option<Name>,
    /// The address that the sender says it has; empty if it leaves that to the connection.
    pub ip: &'p str,
    /// Its port for clients.
    pub port: u16,
    /// Its port for clients without TLS, where the other is with it.
    pub plain_port: u16,
    /// Its port of the bus.
    pub bus_port: u16,
    /// What is true of the sender.
    pub flags: Flags,
    /// The first byte of marks.
    pub marks: u8,
    /// The last byte of marks, which Redis leaves empty.
    pub own_marks: u8,
    /// What the kind has.
    pub body: Body<'p>,
}

/// What differs between the kinds.
#[derive(Debug)]
pub enum Body<'p> {
    /// PING, PONG and MEET.
    Heartbeat {
        /// What the sender tells of other nodes.
        gossip: &'p [[u8; GOSSIP_BYTES]],
        /// What the sender says of itself besides.
        extensions: Extensions<'p>,
    },
    /// A node has failed.
    Fail(Option<Name>),
    /// A message of a client.
    Publish {
        /// The channel.
        channel: &'p [u8],
        /// The message.
        message: &'p [u8],
        /// Whether it is for the shard only.
        sharded: bool,
    },
    /// May I take over?
    AuthRequest,
    /// You may.
    AuthAck,
    /// Pause your clients: I am to take over.
    ManualStart,
    /// The slots of a third node.
    Update {
        /// Its name.
        name: Option<Name>,
        /// The epoch of its configuration.
        config_epoch: u64,
        /// Its slots.
        slots: &'p [u8; SLOT_BYTES],
    },
    /// Something of a module's.
    Module {
        /// The module's number.
        id: u64,
        /// What the module calls a kind.
        kind: u8,
        /// What it has to say.
        payload: &'p [u8],
    },
    /// A kind of a later version.
    Unknown,
}

/// What is told of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gossip<'p> {
    /// Its name, if it can be one.
    pub name: Option<Name>,
    /// When it last answered the teller, in seconds since 1970.
    pub pong_received_s: u32,
    /// Its address; empty if that is no text.
    pub ip: &'p str,
    /// Its port for clients.
    pub port: u16,
    /// Its port of the bus.
    pub bus_port: u16,
    /// Its port for clients without TLS.
    pub plain_port: u16,
    /// What the teller holds true of it.
    pub flags: Flags,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes[at..].first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn name_at(bytes: &[u8], at: usize) -> Option<Name> {
    Name::parse(&bytes[at..at + NAME_BYTES])
}

/// An address up to its end mark. What could not stand in nodes.conf is none.
fn ip_at(bytes: &[u8], at: usize) -> &str {
    let bytes = &bytes[at..at + IP_BYTES - 1];
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b".:-_%".contains(byte);
    match std::str::from_utf8(&bytes[..end]) {
        Ok(text) if text.bytes().all(|byte| fits(&byte)) => text,
        _ => "",
    }
}

impl<'p> Gossip<'p> {
    /// Reads what is told of a node.
    #[must_use]
    pub fn read(bytes: &'p [u8; GOSSIP_BYTES]) -> Self {
        Self {
            name: name_at(bytes, 0),
            pong_received_s: u32_at(bytes, 44),
            ip: ip_at(bytes, 48),
            port: u16_at(bytes, 94),
            bus_port: u16_at(bytes, 96),
            flags: Flags(u16_at(bytes, 98)),
            plain_port: u16_at(bytes, 100),
        }
    }
}

/// The number of a packet's kind, if it is as long as to have one.
#[must_use]
pub fn kind_of(bytes: &[u8]) -> Option<u16> {
    (bytes.len() >= at::COUNT).then(|| u16_at(bytes, at::KIND))
}

/// Reads a whole packet.
///
/// # Errors
/// It is none of this bus, or its parts do not fit.
pub fn read(bytes: &[u8]) -> Result<Packet<'_>, Wrong> {
    if bytes.len() < HEADER_BYTES
        || u16_at(bytes, at::VERSION) != VERSION
        || u32_at(bytes, at::LENGTH) as usize != bytes.len()
    {
        return Err(Wrong::Foreign);
    }
    let kind = u16_at(bytes, at::KIND);
    let slots = bytes[at::SLOTS..].first_chunk().ok_or(Wrong::Foreign)?;
    Ok(Packet {
        kind,
        sender: name_at(bytes, at::SENDER),
        current_epoch: u64_at(bytes, at::CURRENT_EPOCH),
        config_epoch: u64_at(bytes, at::CONFIG_EPOCH),
        offset: u64_at(bytes, at::OFFSET).cast_signed(),
        slots,
        is_replica: bytes[at::PRIMARY..at::IP].iter().any(|byte| *byte != 0),
        primary: name_at(bytes, at::PRIMARY),
        ip: ip_at(bytes, at::IP),
        port: u16_at(bytes, at::PORT),
        plain_port: u16_at(bytes, at::PLAIN_PORT),
        bus_port: u16_at(bytes, at::BUS_PORT),
        flags: Flags(u16_at(bytes, at::FLAGS)),
        marks: bytes[at::MARKS],
        own_marks: bytes[at::OWN_MARKS],
        body: body(bytes, kind)?,
    })
}

impl Packet<'_> {
    /// The slots of the sender, or of its primary.
    #[must_use]
    pub fn claimed(&self) -> SlotSet {
        SlotSet::from_bytes(self.slots)
    }
}

/// The line for a packet whose parts add up to another length than it says.
fn misfit(kind: u16, length: usize, expected: u64) -> Wrong {
    Wrong::Parts(format!(
        "Received invalid {} packet of length {length} but expected length {expected}",
        Kind::name_of(kind)
    ))
}

fn body(bytes: &[u8], kind: u16) -> Result<Body<'_>, Wrong> {
    let data = &bytes[HEADER_BYTES..];
    let exactly = |expected: usize| {
        if data.len() == expected {
            Ok(data)
        } else {
            Err(misfit(kind, bytes.len(), (HEADER_BYTES + expected) as u64))
        }
    };
    let Some(known) = Kind::of(kind) else { return Ok(Body::Unknown) };
    Ok(match known {
        Kind::Ping | Kind::Pong | Kind::Meet => heartbeat(bytes, kind)?,
        Kind::Fail => Body::Fail(name_at(exactly(NAME_BYTES)?, 0)),
        Kind::AuthRequest => exactly(0).map(|_| Body::AuthRequest)?,
        Kind::AuthAck => exactly(0).map(|_| Body::AuthAck)?,
        Kind::ManualStart => exactly(0).map(|_| Body::ManualStart)?,
        Kind::Update => {
            let data = exactly(8 + NAME_BYTES + SLOT_BYTES)?;
            Body::Update {
                config_epoch: u64_at(data, 0),
                name: name_at(data, 8),
                slots: data[8 + NAME_BYTES..].first_chunk().ok_or(Wrong::Foreign)?,
            }
        }
        Kind::Publish | Kind::PublishShard => {
            let (channel, message) = match data.len() {
                ..8 => (0, 0),
                _ => (u64::from(u32_at(data, 0)), u64::from(u32_at(data, 4))),
            };
            let expected = 8 + channel + message;
            if data.len() as u64 != expected {
                return Err(misfit(kind, bytes.len(), HEADER_BYTES as u64 + expected));
            }
            let (channel, message) = data[8..].split_at(channel as usize);
            Body::Publish { channel, message, sharded: known == Kind::PublishShard }
        }
        Kind::Module => {
            let inner = if data.len() < 12 { 0 } else { u64::from(u32_at(data, 8)) };
            let expected = 13 + inner;
            if data.len() as u64 != expected {
                return Err(misfit(kind, bytes.len(), HEADER_BYTES as u64 + expected));
            }
            Body::Module { id: u64_at(data, 0), kind: data[12], payload: &data[13..] }
        }
    })
}

fn heartbeat(bytes: &[u8], kind: u16) -> Result<Body<'_>, Wrong> {
    let data = &bytes[HEADER_BYTES..];
    let count = usize::from(u16_at(bytes, at::COUNT));
    let told = count * GOSSIP_BYTES;
    if data.len() < told {
        return Err(misfit(kind, bytes.len(), (HEADER_BYTES + told) as u64));
    }
    let (gossip, mut rest) = data.split_at(told);
    let (gossip, _) = gossip.as_chunks();
    let mut extensions = Extensions::default();
    if bytes[at::MARKS] & mark::EXTENSIONS != 0 {
        let count = u16_at(bytes, at::EXTENSIONS);
        (extensions, rest) = Extensions::read(count, rest, kind, bytes.len())?;
    }
    if !rest.is_empty() {
        return Err(misfit(kind, bytes.len(), (bytes.len() - rest.len()) as u64));
    }
    Ok(Body::Heartbeat { gossip, extensions })
}
