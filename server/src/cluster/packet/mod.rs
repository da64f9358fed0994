//! The packets of the cluster bus, version 1, as Redis 7.0 has them. All numbers are big-endian.
//!
//! ```text
//!   0 "RCmb"      16 current epoch   80   slots, 2,048 B      2168 own address, 46 B     2250 flags of the sender
//!   4 length      24 config epoch    2128 primary, 40 B       2214 extensions            2252 1 if it holds the cluster down
//!   8 version     32 offset                                   2246 port without TLS      2253 marks, 3 B
//!   10 port       40 sender, 40 B                             2248 port of the bus       2256 what the kind has
//!   12 kind
//!   14 nodes that are told of
//! ```

mod extension;
mod frames;
mod read;
mod write;

pub use self::extension::{Extensions, is_hostname, is_human_name};
pub use self::frames::{Frames, NotABus};
pub use self::read::{Body, Gossip, Packet, Wrong, kind_of, read};
pub(super) use self::write::{Header, fail, plain, publish, to_own, update};

/// Bytes in front of what differs between the kinds.
pub const HEADER_BYTES: usize = 2256;
/// Bytes of what is told about one node.
pub const GOSSIP_BYTES: usize = 104;
/// Bytes of an address, the end mark included.
pub const IP_BYTES: usize = 46;
/// What a packet begins with.
pub const SIGNATURE: &[u8; 4] = b"RCmb";
/// The version of the bus.
pub const VERSION: u16 = 1;

/// What is asked or said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
#[allow(missing_docs, reason = "the bus's own words")]
pub enum Kind {
    Ping = 0,
    Pong = 1,
    Meet = 2,
    Fail = 3,
    Publish = 4,
    AuthRequest = 5,
    AuthAck = 6,
    Update = 7,
    ManualStart = 8,
    Module = 9,
    PublishShard = 10,
}

impl Kind {
    /// All kinds, in the order of their numbers, with the names of CLUSTER INFO.
    pub const NAMES: [(Self, &'static str); 11] = [
        (Self::Ping, "ping"),
        (Self::Pong, "pong"),
        (Self::Meet, "meet"),
        (Self::Fail, "fail"),
        (Self::Publish, "publish"),
        (Self::AuthRequest, "auth-req"),
        (Self::AuthAck, "auth-ack"),
        (Self::Update, "update"),
        (Self::ManualStart, "mfstart"),
        (Self::Module, "module"),
        (Self::PublishShard, "publishshard"),
    ];

    /// The kind with a number.
    #[must_use]
    pub fn of(number: u16) -> Option<Self> {
        Self::NAMES.get(usize::from(number)).map(|(kind, _)| *kind)
    }

    /// Its name; `unknown` for a number that is none's.
    #[must_use]
    pub fn name_of(number: u16) -> &'static str {
        Self::NAMES.get(usize::from(number)).map_or("unknown", |(_, name)| name)
    }
}

/// Marks of a packet: the first of the three bytes.
pub(super) mod mark {
    /// The sender has paused its clients for a manual failover.
    pub(in crate::cluster) const PAUSED: u8 = 1;
    /// Vote though the primary is up.
    pub(in crate::cluster) const FORCE: u8 = 2;
    /// There are extensions.
    pub(in crate::cluster) const EXTENSIONS: u8 = 4;
}

/// Marks of a packet: the last of the three bytes, which Redis leaves empty and does not look at.
pub(super) mod own_mark {
    /// The sender takes slots as one step (CLUSTER SYNCSLOTS): it is a Redstart.
    pub(in crate::cluster) const TAKES_SLOTS: u8 = 1;
    /// Of two primaries with the same epoch, the one with the longer history is to win (`cluster-longer-history-wins`).
    pub(in crate::cluster) const HISTORY_WINS: u8 = 2;
    /// The sender votes again for a replica that it has voted for and that has not won (`cluster-ranked-elections`).
    pub(in crate::cluster) const VOTES_AGAIN: u8 = 4;
}

/// What nodes of ours say to each other in the bus's message of a module, which Redis does not look at where the module is not
/// its own.
pub(super) mod own {
    /// The number of the module that this would be.
    pub(in crate::cluster) const ID: u64 = u64::from_be_bytes(*b"Redstart");
    /// What you were told you may take is not yours to take any more. The name of a move follows.
    pub(in crate::cluster) const WITHDRAW: u8 = 1;
    /// The move is over here. Its name follows, and one of the three below.
    pub(in crate::cluster) const WITHDRAWN: u8 = 2;
    /// Nothing is known of the move.
    pub(in crate::cluster) const UNKNOWN: u8 = 0;
    /// The slots were not taken.
    pub(in crate::cluster) const NOT_TAKEN: u8 = 1;
    /// They were.
    pub(in crate::cluster) const TAKEN: u8 = 2;
}

/// Where the fields of the header lie.
mod at {
    pub(super) const LENGTH: usize = 4;
    pub(super) const VERSION: usize = 8;
    pub(super) const PORT: usize = 10;
    pub(super) const KIND: usize = 12;
    pub(super) const COUNT: usize = 14;
    pub(super) const CURRENT_EPOCH: usize = 16;
    pub(super) const CONFIG_EPOCH: usize = 24;
    pub(super) const OFFSET: usize = 32;
    pub(super) const SENDER: usize = 40;
    pub(super) const SLOTS: usize = 80;
    pub(super) const PRIMARY: usize = 2128;
    pub(super) const IP: usize = 2168;
    pub(super) const EXTENSIONS: usize = 2214;
    pub(super) const PLAIN_PORT: usize = 2246;
    pub(super) const BUS_PORT: usize = 2248;
    pub(super) const FLAGS: usize = 2250;
    pub(super) const STATE: usize = 2252;
    pub(super) const MARKS: usize = 2253;
    pub(super) const OWN_MARKS: usize = 2255;
}

// The fields follow each other.
const _: () = assert!(at::SLOTS + super::SLOT_BYTES == at::PRIMARY);
const _: () = assert!(at::PRIMARY + super::NAME_BYTES == at::IP);
const _: () = assert!(at::IP + IP_BYTES == at::EXTENSIONS);
const _: () = assert!(at::MARKS + 3 == HEADER_BYTES);

#[cfg(test)]
mod tests;
