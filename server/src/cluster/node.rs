//! What a node of the cluster is: its name, its flags, and what this server knows of it.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

use rand::RngCore;

use super::packet::own_mark;
use super::slots::SlotSet;

/// Bytes of a name.
pub const NAME_BYTES: usize = 40;

/// What Redis calls a node's id: 40 characters of `0`–`9` and `a`–`z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name([u8; NAME_BYTES]);

impl Name {
    /// A name as text, if it can be one.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let bytes: [u8; NAME_BYTES] = text.try_into().ok()?;
        let (words, _) = bytes.as_chunks::<8>();
        words.iter().all(|word| is_of_a_name(u64::from_ne_bytes(*word))).then_some(Self(bytes))
    }

    /// A name by chance: hexadecimal digits.
    pub fn random(random: &mut dyn RngCore) -> Self {
        let mut bytes = [0; NAME_BYTES];
        for pair in bytes.chunks_exact_mut(16) {
            fill_hex(pair, random.next_u64());
        }
        fill_hex(&mut bytes[32..], random.next_u64());
        Self(bytes)
    }

    /// Its characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII is ever in it.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; NAME_BYTES] {
        &self.0
    }
}

/// Whether each of eight bytes is a digit or a small letter: each packet has many names.
fn is_of_a_name(bytes: u64) -> bool {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = EACH << 7;
    // The high bit of each byte that is at least this; none of them has it set before.
    let at_least = |least: u8| bytes + (0x80 - u64::from(least)) * EACH;
    if bytes & HIGH != 0 {
        return false;
    }
    let digits = at_least(b'0') & !at_least(b'9' + 1);
    let letters = at_least(b'a') & !at_least(b'z' + 1);
    (digits | letters) & HIGH == HIGH
}

fn fill_hex(digits: &mut [u8], mut chance: u64) {
    for digit in digits {
        *digit = b"0123456789abcdef"[(chance & 15) as usize];
        chance >>= 4;
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The place of a node in this server's table. It may be given again once the node is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(NonZeroU32);

impl Handle {
    /// The handle of a place.
    pub(super) fn at(place: usize) -> Self {
        // So many nodes do not fit in memory.
        Self(NonZeroU32::MIN.saturating_add(u32::try_from(place).unwrap_or(u32::MAX)))
    }

    /// The place.
    #[inline]
    pub(super) fn place(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// A connection of the bus. The numbers are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub NonZeroU64);

/// What is true of a node, with the bits of the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u16);

impl Flags {
    /// It is a primary.
    pub const PRIMARY: Self = Self(1);
    /// It is a replica.
    pub const REPLICA: Self = Self(2);
    /// It may have failed: it has not answered in time.
    pub const MAYBE_FAILED: Self = Self(4);
    /// It has failed: most primaries say so.
    pub const FAILED: Self = Self(8);
    /// It is this server.
    pub const MYSELF: Self = Self(16);
    /// It has yet to answer for the first time.
    pub const HANDSHAKE: Self = Self(32);
    /// Its address is not known.
    pub const NO_ADDRESS: Self = Self(64);
    /// It is to be sent a MEET.
    pub const MEET: Self = Self(128);
    /// A primary to which replicas of others may move.
    pub const MIGRATE_TO: Self = Self(256);
    /// A replica that does not want to be elected.
    pub const NO_FAILOVER: Self = Self(512);

    /// The names of CLUSTER NODES, in its order.
    pub(super) const NAMES: [(Self, &'static str); 8] = [
        (Self::MYSELF, "myself"),
        (Self::PRIMARY, "master"),
        (Self::REPLICA, "slave"),
        (Self::MAYBE_FAILED, "fail?"),
        (Self::FAILED, "fail"),
        (Self::HANDSHAKE, "handshake"),
        (Self::NO_ADDRESS, "noaddr"),
        (Self::NO_FAILOVER, "nofailover"),
    ];

    /// All of both.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether any of the others is set.
    #[must_use]
    pub const fn any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    pub(super) fn set(&mut self, others: Self) {
        self.0 |= others.0;
    }

    pub(super) fn clear(&mut self, others: Self) {
        self.0 &= !others.0;
    }

    pub(super) fn put(&mut self, flag: Self, on: bool) {
        if on { self.set(flag) } else { self.clear(flag) }
    }
}

/// How many ways there are in which a node is called something else.
const CALLED: usize = 4;

/// What a node may be called beside its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// Its name in the network.
    Hostname,
    /// What people call it.
    Human,
    /// Where clients find it by IPv4, where this is elsewhere than nodes do.
    ClientIpv4,
    /// The same by IPv6.
    ClientIpv6,
}

/// A node as this server knows it. Times are milliseconds of the cluster's clock; 0 is never.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name; by chance until it has answered.
    pub name: Name,
    /// What is true of it.
    pub flags: Flags,
    /// When this server learnt of it.
    pub created_ms: i64,
    /// The newest configuration that it was heard to have.
    pub config_epoch: u64,
    /// The slots that are its own.
    pub slots: SlotSet,
    /// Who replicates it.
    pub replicas: Vec<Handle>,
    /// Whom it replicates, if that node is known.
    pub primary: Option<Handle>,
    /// When it was sent the PING that it has not answered.
    pub ping_sent_ms: i64,
    /// When it was last known to answer.
    pub pong_received_ms: i64,
    /// When anything came from it.
    pub data_received_ms: i64,
    /// When it was held to have failed.
    pub failed_ms: i64,
    /// When this server voted for one of its replicas.
    pub voted_ms: i64,
    /// Since when it is a primary whose replicas are all gone.
    pub orphaned_ms: i64,
    /// Where it is in the stream of its shard.
    pub offset: i64,
    /// Its address; empty if it is not known.
    pub ip: Box<str>,
    /// What else it is called, where it says so.
    called: Option<Box<[Box<str>; CALLED]>>,
    /// The name of its shard, if it says one.
    pub shard: Option<Name>,
    /// Whether it takes extensions of later versions than Redis 7.0.
    pub(super) takes_extensions: bool,
    /// Its port for clients.
    pub port: u16,
    /// Its port without TLS, where the other is with it.
    pub plain_port: u16,
    /// Its port of the bus.
    pub bus_port: u16,
    /// The connection that this server made to it.
    pub link: Option<LinkId>,
    /// The connection that it made to this server.
    pub inbound: Option<LinkId>,
    /// What it says of itself in a byte that Redis leaves empty.
    pub(super) own_marks: u8,
    /// The newest epoch that it was heard to have as a primary.
    pub(super) epoch_as_primary: u64,
    /// Since when it says less of itself than is known, and is told so.
    pub(super) reminded_ms: i64,
    /// Since when it says nothing of slots that it had and that nobody claims.
    pub(super) left_ms: i64,
    /// What it had when it was a primary last, where it is a replica by its own word.
    pub(super) had: Option<Box<SlotSet>>,
    /// The replica of this node that this server voted for last.
    pub(super) voted_for: Option<Box<Name>>,
    /// Who says that it has failed, and since when that was last heard.
    pub(super) reports: Vec<(Handle, i64)>,
    /// The packet that it was told of in last.
    pub(super) in_gossip: u64,
}

impl Node {
    pub(super) fn new(name: Name, flags: Flags, now_ms: i64) -> Self {
        Self {
            name,
            flags,
            created_ms: now_ms,
            config_epoch: 0,
            slots: SlotSet::default(),
            replicas: Vec::new(),
            primary: None,
            ping_sent_ms: 0,
            pong_received_ms: 0,
            data_received_ms: 0,
            failed_ms: 0,
            voted_ms: 0,
            orphaned_ms: 0,
            offset: 0,
            ip: Box::default(),
            called: None,
            shard: None,
            takes_extensions: false,
            port: 0,
            plain_port: 0,
            bus_port: 0,
            link: None,
            inbound: None,
            own_marks: 0,
            epoch_as_primary: 0,
            reminded_ms: 0,
            left_ms: 0,
            had: None,
            voted_for: None,
            reports: Vec::new(),
            in_gossip: 0,
        }
    }

    /// What it is called, if it says so; empty otherwise.
    #[must_use]
    pub fn called(&self, how: Called) -> &str {
        self.called.as_ref().map_or("", |all| &all[how as usize])
    }

    /// Its name in the network, if it says one; empty otherwise.
    #[must_use]
    pub fn hostname(&self) -> &str {
        self.called(Called::Hostname)
    }

    /// Notes what it is called; answers whether that is news.
    pub(super) fn call(&mut self, how: Called, text: &str) -> bool {
        // Each packet says so of its sender, and most are called nothing.
        if self.called.is_none() && text.is_empty() || self.called(how) == text {
            return false;
        }
        let all = self.called.get_or_insert_default();
        all[how as usize] = text.into();
        // Most nodes are called nothing else.
        self.called.take_if(|all| all.iter().all(|text| text.is_empty()));
        true
    }

    /// Where clients find it that came by IPv6, or by IPv4.
    #[must_use]
    pub fn client_ip(&self, is_ipv6: bool) -> &str {
        match self.called(if is_ipv6 { Called::ClientIpv6 } else { Called::ClientIpv4 }) {
            "" => &self.ip,
            ip => ip,
        }
    }

    /// Bytes that it takes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let called = self.called.as_ref().map_or(0, |all| {
            size_of_val(&**all) + all.iter().map(|text| text.len()).sum::<usize>()
        });
        size_of::<Self>()
            + self.slots.heap_bytes()
            + self.had.as_ref().map_or(0, |had| size_of_val(&**had) + had.heap_bytes())
            + self.replicas.capacity() * size_of::<Handle>()
            + self.reports.capacity() * size_of::<(Handle, i64)>()
            + self.ip.len()
            + self.voted_for.as_ref().map_or(0, |_| NAME_BYTES)
            + called
    }

    /// What the log calls it: its name, and what people call it.
    pub(super) fn shown(&self) -> String {
        match self.called(Called::Human) {
            "" => self.name.to_string(),
            human => format!("{} ({human})", self.name),
        }
    }

    /// Whether it is a primary.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.flags.any(Flags::PRIMARY)
    }

    /// Whether it is a replica.
    #[must_use]
    pub fn is_replica(&self) -> bool {
        self.flags.any(Flags::REPLICA)
    }

    /// Whether it is this server.
    #[must_use]
    pub fn is_myself(&self) -> bool {
        self.flags.any(Flags::MYSELF)
    }

    /// Whether it is held to have failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.flags.any(Flags::FAILED)
    }

    /// Whether it may have failed.
    #[must_use]
    pub fn may_have_failed(&self) -> bool {
        self.flags.any(Flags::MAYBE_FAILED)
    }

    /// Whether it has yet to answer for the first time.
    #[must_use]
    pub fn is_in_handshake(&self) -> bool {
        self.flags.any(Flags::HANDSHAKE)
    }

    /// Whether it takes slots as one step: it is a Redstart, and says so.
    #[must_use]
    pub fn takes_slots(&self) -> bool {
        self.own_marks & own_mark::TAKES_SLOTS != 0
    }

    /// A primary with slots has a vote.
    #[must_use]
    pub fn has_vote(&self) -> bool {
        self.is_primary() && !self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_digits_and_small_letters() {
        for byte in 0..=u8::MAX {
            for place in [0, 7, 8, 39] {
                let mut text = [b'a'; NAME_BYTES];
                text[place] = byte;
                let is_name = matches!(byte, b'0'..=b'9' | b'a'..=b'z');
                assert_eq!(Name::parse(&text).is_some(), is_name, "{byte}");
            }
        }
        assert!(Name::parse(&[b'a'; NAME_BYTES - 1]).is_none());
    }
}
