//! Writing packets.

use std::borrow::Cow;

use bytes::Bytes;

use super::{
    Extensions, GOSSIP_BYTES, HEADER_BYTES, IP_BYTES, Kind, SIGNATURE, VERSION, at, mark, own,
};
use crate::cluster::node::{Flags, Name, Node};
use crate::cluster::slots::SlotSet;

/// What all packets of a node say of it.
pub(in crate::cluster) struct Header<'h> {
    pub(in crate::cluster) sender: Name,
    pub(in crate::cluster) current_epoch: u64,
    pub(in crate::cluster) config_epoch: u64,
    pub(in crate::cluster) offset: i64,
    pub(in crate::cluster) slots: Cow<'h, SlotSet>,
    pub(in crate::cluster) primary: Option<Name>,
    pub(in crate::cluster) ip: &'h str,
    pub(in crate::cluster) port: u16,
    pub(in crate::cluster) plain_port: u16,
    pub(in crate::cluster) bus_port: u16,
    pub(in crate::cluster) flags: Flags,
    pub(in crate::cluster) is_up: bool,
    pub(in crate::cluster) marks: u8,
    pub(in crate::cluster) own_marks: u8,
}

fn put(packet: &mut [u8], at: usize, bytes: &[u8]) {
    packet[at..at + bytes.len()].copy_from_slice(bytes);
}

/// An address with its end mark, cut where it is too long.
fn ip(text: &str) -> &[u8] {
    &text.as_bytes()[..text.len().min(IP_BYTES - 1)]
}

impl Header<'_> {
    /// The header, with room for `more` bytes. Its length is yet to be filled in.
    fn begin(&self, kind: Kind, more: usize) -> Vec<u8> {
        let mut packet = Vec::with_capacity(HEADER_BYTES + more);
        self.write_to(&mut packet, kind);
        packet
    }

    /// Appends the header. Its length is yet to be filled in.
    fn write_to(&self, out: &mut Vec<u8>, kind: Kind) {
        let start = out.len();
        out.extend_from_slice(SIGNATURE);
        out.resize(start + at::SLOTS, 0);
        self.slots.write_to(out);
        out.resize(start + HEADER_BYTES, 0);
        let packet = &mut out[start..];
        put(packet, at::VERSION, &VERSION.to_be_bytes());
        put(packet, at::PORT, &self.port.to_be_bytes());
        put(packet, at::KIND, &(kind as u16).to_be_bytes());
        put(packet, at::CURRENT_EPOCH, &self.current_epoch.to_be_bytes());
        put(packet, at::CONFIG_EPOCH, &self.config_epoch.to_be_bytes());
        put(packet, at::OFFSET, &self.offset.to_be_bytes());
        put(packet, at::SENDER, self.sender.as_bytes());
        if let Some(primary) = &self.primary {
            put(packet, at::PRIMARY, primary.as_bytes());
        }
        put(packet, at::IP, ip(self.ip));
        put(packet, at::PLAIN_PORT, &self.plain_port.to_be_bytes());
        put(packet, at::BUS_PORT, &self.bus_port.to_be_bytes());
        put(packet, at::FLAGS, &self.flags.0.to_be_bytes());
        packet[at::STATE] = u8::from(!self.is_up);
        packet[at::MARKS] = self.marks;
        packet[at::OWN_MARKS] = self.own_marks;
    }

    /// Appends a PING, PONG or MEET, with what is told of other nodes. `takes_all` says whether the receiver takes extensions of later
    /// versions than Redis 7.0, `wall_ahead_ms` how far the wall clock is ahead of the cluster's.
    pub(in crate::cluster) fn heartbeat<'n>(
        &self,
        kind: Kind,
        extensions: &Extensions<'_>,
        takes_all: bool,
        told: impl ExactSizeIterator<Item = &'n Node>,
        wall_ahead_ms: i64,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        out.reserve(HEADER_BYTES + told.len() * GOSSIP_BYTES + EXTENSIONS_BYTES);
        self.write_to(out, kind);
        put(&mut out[start..], at::COUNT, &(told.len() as u16).to_be_bytes());
        told.for_each(|node| tell(out, node, wall_ahead_ms));
        let count = extensions.write_to(out, takes_all);
        let packet = &mut out[start..];
        // Without any it says that they are taken.
        packet[at::MARKS] |= mark::EXTENSIONS;
        put(packet, at::EXTENSIONS, &count.to_be_bytes());
        end(packet);
    }
}

/// Room for the extensions that most nodes have.
const EXTENSIONS_BYTES: usize = 128;

/// Appends what is told of a node.
fn tell(packet: &mut Vec<u8>, node: &Node, wall_ahead_ms: i64) {
    let mut told = [0; GOSSIP_BYTES];
    // Seconds since 1970, as others count them; 0 stays 0.
    let seconds = |ms: i64| match ms {
        0 => 0,
        ms => u32::try_from((ms + wall_ahead_ms) / 1000).unwrap_or(0),
    };
    put(&mut told, 0, node.name.as_bytes());
    put(&mut told, 40, &seconds(node.ping_sent_ms).to_be_bytes());
    put(&mut told, 44, &seconds(node.pong_received_ms).to_be_bytes());
    put(&mut told, 48, ip(&node.ip));
    put(&mut told, 94, &node.port.to_be_bytes());
    put(&mut told, 96, &node.bus_port.to_be_bytes());
    put(&mut told, 98, &node.flags.0.to_be_bytes());
    put(&mut told, 100, &node.plain_port.to_be_bytes());
    packet.extend_from_slice(&told);
}

/// Fills in the length of a packet.
fn end(packet: &mut [u8]) {
    let length = (packet.len() as u32).to_be_bytes();
    put(packet, at::LENGTH, &length);
}

fn finish(mut packet: Vec<u8>) -> Bytes {
    end(&mut packet);
    Bytes::from(packet)
}

/// A packet that is nothing but its header.
pub(in crate::cluster) fn plain(header: &Header<'_>, kind: Kind) -> Bytes {
    finish(header.begin(kind, 0))
}

/// A node has failed.
pub(in crate::cluster) fn fail(header: &Header<'_>, about: &Name) -> Bytes {
    let mut packet = header.begin(Kind::Fail, about.as_bytes().len());
    packet.extend_from_slice(about.as_bytes());
    finish(packet)
}

/// A message of a client.
pub(in crate::cluster) fn publish(
    header: &Header<'_>,
    kind: Kind,
    channel: &[u8],
    message: &[u8],
) -> Bytes {
    let mut packet = header.begin(kind, 8 + channel.len() + message.len());
    packet.extend_from_slice(&(channel.len() as u32).to_be_bytes());
    packet.extend_from_slice(&(message.len() as u32).to_be_bytes());
    packet.extend_from_slice(channel);
    packet.extend_from_slice(message);
    finish(packet)
}

/// Something that only nodes of ours look at: one of [`own`]'s words.
pub(in crate::cluster) fn to_own(header: &Header<'_>, kind: u8, payload: &[u8]) -> Bytes {
    let mut packet = header.begin(Kind::Module, 13 + payload.len());
    packet.extend_from_slice(&own::ID.to_be_bytes());
    packet.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    packet.push(kind);
    packet.extend_from_slice(payload);
    finish(packet)
}

/// The slots of a node, and the epoch by which it has them.
pub(in crate::cluster) fn update(
    header: &Header<'_>,
    name: &Name,
    epoch: u64,
    slots: &SlotSet,
) -> Bytes {
    let mut packet = header.begin(Kind::Update, 8 + 40 + 2048);
    packet.extend_from_slice(&epoch.to_be_bytes());
    packet.extend_from_slice(name.as_bytes());
    slots.write_to(&mut packet);
    finish(packet)
}
