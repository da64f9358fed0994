//! The names of replication histories: 40 characters, drawn by chance.
//!
//! Two servers that tell the same name and have the same offset hold the same data. So a name is given up whenever that
//! would no longer be true.

use std::fmt;

use rand::RngCore;

/// Characters of a name.
pub const ID_LEN: usize = 40;

/// The name of a replication history.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplicationId([u8; ID_LEN]);

impl ReplicationId {
    /// What is shown where there is no name.
    pub const NONE: Self = Self([b'0'; ID_LEN]);

    /// A new name: hexadecimal digits, as Redis makes them.
    pub fn random(random: &mut dyn RngCore) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut id = [0; ID_LEN];
        random.fill_bytes(&mut id);
        for byte in &mut id {
            *byte = DIGITS[usize::from(*byte & 15)];
        }
        Self(id)
    }

    /// A name that another server gave: 40 visible characters. Redis does not ask whether they are hexadecimal digits.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let id: [u8; ID_LEN] = text.try_into().ok()?;
        id.iter().all(u8::is_ascii_graphic).then_some(Self(id))
    }

    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Every constructor takes ASCII only.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The characters as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; ID_LEN] {
        &self.0
    }

    /// Whether `asked` is this name; upper and lower case are the same, as in Redis.
    #[must_use]
    pub fn is_named(&self, asked: &[u8]) -> bool {
        self.0.eq_ignore_ascii_case(asked)
    }
}

impl fmt::Display for ReplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ReplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    #[test]
    fn a_new_name_is_forty_hexadecimal_digits() {
        let id = ReplicationId::random(&mut SmallRng::seed_from_u64(1));
        assert!(id.as_bytes().iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        assert_eq!(ReplicationId::parse(id.as_bytes()), Some(id));
    }

    #[test]
    fn names_of_another_length_or_with_blanks_are_none() {
        assert_eq!(ReplicationId::parse(b"?"), None);
        assert_eq!(ReplicationId::parse(&[b'a'; 41]), None);
        assert_eq!(ReplicationId::parse(&[b' '; 40]), None);
    }

    #[test]
    fn names_are_the_same_in_upper_case() {
        let id = ReplicationId::random(&mut SmallRng::seed_from_u64(2));
        assert!(id.is_named(id.as_str().to_uppercase().as_bytes()));
        assert!(!id.is_named(b"?"));
    }
}
