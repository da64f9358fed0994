//! Channels: the clients of a worker share one subscription of each at its server.
//!
//! ```text
//!   client::subscribe ──join, leave──▶ hub ──what to ask──▶ link ──▶ server
//!   clients ◀──────────message──────── hub ◀───replies───── link ◀──
//! ```
//!
//! A channel is at home at the shard of its name, where PUBLISH goes as well. Patterns, and channels of keyspace notifications,
//! are at home in every shard, for what they match may be said anywhere. The nodes of a cluster tell each other what is
//! published, but not what becomes of keys: there only what may match a keyspace notification is at home everywhere, and of what
//! all of them say the first is listened to. A topic that moves is listened to at its home before until the new one has confirmed
//! it ([`handover`] says what counts meanwhile). The hub knows no sockets and no clock.

mod handover;
pub mod hub;
pub mod link;
pub mod message;
pub mod post;

/// What a subscription is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A channel.
    Channel,
    /// All channels whose names match a pattern.
    Pattern,
    /// A shard channel.
    Shard,
}

impl Kind {
    /// The command that subscribes, which its confirmation is called after.
    #[must_use]
    pub fn subscribe(self) -> &'static str {
        match self {
            Self::Channel => "subscribe",
            Self::Pattern => "psubscribe",
            Self::Shard => "ssubscribe",
        }
    }

    /// The command that ends it.
    #[must_use]
    pub fn unsubscribe(self) -> &'static str {
        match self {
            Self::Channel => "unsubscribe",
            Self::Pattern => "punsubscribe",
            Self::Shard => "sunsubscribe",
        }
    }
}

/// A channel or pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    /// What it is.
    pub kind: Kind,
    /// Its name, or the pattern.
    pub name: Box<[u8]>,
}

impl Topic {
    /// A channel or pattern of this name.
    #[must_use]
    pub fn new(kind: Kind, name: &[u8]) -> Self {
        Self { kind, name: name.into() }
    }

    /// Whether servers say things there of their own, each of its own keys.
    #[must_use]
    pub fn is_of_keyspace(&self) -> bool {
        match self.kind {
            Kind::Channel => is_of_keyspace(&self.name),
            Kind::Pattern => KEYSPACE.iter().any(|start| may_match(&self.name, start)),
            Kind::Shard => false,
        }
    }
}

/// How the channels begin on which servers tell what becomes of their keys.
const KEYSPACE: [&[u8]; 2] = [b"__keyspace@", b"__keyevent@"];

/// Whether a server tells there what becomes of its keys.
#[must_use]
pub fn is_of_keyspace(channel: &[u8]) -> bool {
    KEYSPACE.iter().any(|start| channel.starts_with(start))
}

/// Whether a pattern may match a name that begins so. It may say yes where there is none.
fn may_match(pattern: &[u8], start: &[u8]) -> bool {
    let mut rest = pattern;
    for byte in start {
        rest = match rest {
            [b'*', ..] => return true,
            [b'?', rest @ ..] => rest,
            // What a class holds is not looked at.
            [b'[', rest @ ..] => match rest.iter().position(|byte| *byte == b']') {
                Some(end) => &rest[end + 1..],
                None => return true,
            },
            [b'\\', other, rest @ ..] | [other, rest @ ..] if other == byte => rest,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_may_hear_of_keys_are_known() {
        let pattern = |name: &str| Topic::new(Kind::Pattern, name.as_bytes()).is_of_keyspace();
        for name in [
            "*",
            "_*",
            "__key*",
            "__keyspace@0__:*",
            "__keyevent@0__:set",
            "??key*",
            "[_]_keye*",
            r"\_\_keyspace@*",
            "[_",
            "__key????e@",
            "__key?????@x",
        ] {
            assert!(pattern(name), "{name}");
        }
        for name in ["", "news*", "?", "__", "__keys", r"\*", "___*", "__keyevent", "a*_"] {
            assert!(!pattern(name), "{name}");
        }
        assert!(!Topic::new(Kind::Shard, b"__keyspace@0__:k").is_of_keyspace());
        assert!(Topic::new(Kind::Channel, b"__keyspace@0__:k").is_of_keyspace());
    }
}
