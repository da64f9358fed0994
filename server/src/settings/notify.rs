//! Keyspace notifications: which classes of events are published.

/// Classes of events, as letters of `notify-keyspace-events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Classes(pub u16);

impl Classes {
    /// `K`: on `__keyspace@db__:key`.
    pub const KEYSPACE: Self = Self(1);
    /// `E`: on `__keyevent@db__:event`.
    pub const KEYEVENT: Self = Self(1 << 1);
    /// `g`: DEL, EXPIRE, RENAME …
    pub const GENERIC: Self = Self(1 << 2);
    /// `$`: strings.
    pub const STRING: Self = Self(1 << 3);
    /// `l`: lists.
    pub const LIST: Self = Self(1 << 4);
    /// `s`: sets.
    pub const SET: Self = Self(1 << 5);
    /// `h`: hashes.
    pub const HASH: Self = Self(1 << 6);
    /// `z`: sorted sets.
    pub const ZSET: Self = Self(1 << 7);
    /// `x`: keys that expired.
    pub const EXPIRED: Self = Self(1 << 8);
    /// `e`: keys that were evicted.
    pub const EVICTED: Self = Self(1 << 9);
    /// `t`: streams.
    pub const STREAM: Self = Self(1 << 10);
    /// `m`: reads of keys that are not there.
    pub const MISS: Self = Self(1 << 11);
    /// `d`: events of modules.
    pub const MODULE: Self = Self(1 << 12);
    /// `n`: keys that are new.
    pub const NEW: Self = Self(1 << 13);
    /// What `A` stands for: all but `m`, `n`.
    pub const ALL: Self = Self(
        Self::GENERIC.0
            | Self::STRING.0
            | Self::LIST.0
            | Self::SET.0
            | Self::HASH.0
            | Self::ZSET.0
            | Self::EXPIRED.0
            | Self::EVICTED.0
            | Self::STREAM.0
            | Self::MODULE.0,
    );

    const LETTERS: [(u8, Self); 15] = [
        (b'A', Self::ALL),
        (b'g', Self::GENERIC),
        (b'$', Self::STRING),
        (b'l', Self::LIST),
        (b's', Self::SET),
        (b'h', Self::HASH),
        (b'z', Self::ZSET),
        (b'x', Self::EXPIRED),
        (b'e', Self::EVICTED),
        (b't', Self::STREAM),
        (b'd', Self::MODULE),
        (b'n', Self::NEW),
        (b'K', Self::KEYSPACE),
        (b'E', Self::KEYEVENT),
        (b'm', Self::MISS),
    ];

    /// Whether any class of `other` is in here.
    #[inline]
    #[must_use]
    pub fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Reads the setting's letters; `None` when one is unknown.
    #[must_use]
    pub fn parse(letters: &[u8]) -> Option<Self> {
        letters.iter().try_fold(Self(0), |classes, letter| {
            let (_, class) = Self::LETTERS.iter().find(|(known, _)| known == letter)?;
            Some(Self(classes.0 | class.0))
        })
    }

    /// The setting's letters, `A` for all the usual ones.
    #[must_use]
    pub fn letters(self) -> String {
        let mut text = String::new();
        if self.all(Self::ALL) {
            text.push('A');
        }
        for (letter, class) in &Self::LETTERS[1..] {
            let covered = self.all(Self::ALL) && Self::ALL.any(*class);
            if self.any(*class) && !covered {
                text.push(char::from(*letter));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_come_back_in_redis_order() {
        for (given, back) in [("KEA", "AKE"), ("", ""), ("Kx", "xK"), ("g$lshzxetdKEmn", "AnKEm")] {
            assert_eq!(Classes::parse(given.as_bytes()).expect("known").letters(), back);
        }
        assert_eq!(Classes::parse(b"KQ"), None);
    }
}
