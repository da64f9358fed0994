//! Which requests are known to be heavy: their replies are large, or take their server long. Learnt from replies, forgotten when
//! they are light again. Pure.
//!
//! A request is known by a tag of 16 bits, made of its command and its first argument. Two requests may have the same; then one
//! of them goes on a lane that it did not need, and the other is learnt again.

/// A reply of so many bytes is heavy.
pub const BYTES: u64 = 256 << 10;
/// So is one that took its server so long, in microseconds, by itself.
pub const SERVICE_US: u64 = 5_000;

/// Heavy requests that are known at the same time; later ones take the places of earlier ones.
const KNOWN_MAX: usize = 256;
/// Light replies after which a request whose reply was large is forgotten.
const PROOF_BYTES: u8 = 3;
/// The same for one that took long: anything may hold a server up once.
const PROOF_TIME: u8 = 1;
/// Bytes of an argument that count, at its beginning and at its end.
const COUNTED: usize = 32;

/// Spreads what is multiplied with it over all bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The tag of a request; 0 is none.
#[must_use]
pub fn tag(command: usize, what: &[u8]) -> u16 {
    let mut hash = ((command as u64) << 32 | what.len() as u64).wrapping_mul(SPREAD);
    let ends = (what.len() > COUNTED).then(|| &what[what.len() - COUNTED..]);
    for part in [&what[..what.len().min(COUNTED)], ends.unwrap_or_default()] {
        let (words, rest) = part.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        for word in words.iter().chain([&last]) {
            hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(SPREAD);
            hash ^= hash >> 29;
        }
    }
    ((hash >> 48) as u16).max(1)
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    tag: u16,
    proof: u8,
}

/// The heavy requests of a pool, as one worker has seen them.
#[derive(Debug)]
pub struct Heavies {
    known: Box<[Known; KNOWN_MAX]>,
    count: usize,
}

impl Default for Heavies {
    fn default() -> Self {
        Self { known: Box::new([Known::default(); KNOWN_MAX]), count: 0 }
    }
}

impl Heavies {
    fn place(tag: u16) -> usize {
        usize::from(tag) % KNOWN_MAX
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none is known.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a request is known to be heavy.
    #[inline]
    #[must_use]
    pub fn knows(&self, tag: u16) -> bool {
        self.count > 0 && self.known[Self::place(tag)].tag == tag && tag != 0
    }

    /// Takes note of a reply: its bytes, and how long its server took for it, in microseconds, if that is known.
    pub fn weigh(&mut self, tag: u16, bytes: u64, service_us: Option<u64>) {
        if tag == 0 {
            return;
        }
        let proof = match service_us {
            _ if bytes >= BYTES => PROOF_BYTES,
            Some(us) if us >= SERVICE_US => PROOF_TIME,
            _ => 0,
        };
        let known = &mut self.known[Self::place(tag)];
        if proof > 0 {
            self.count += usize::from(known.tag == 0);
            let before = if known.tag == tag { known.proof } else { 0 };
            *known = Known { tag, proof: proof.max(before) };
        } else if known.tag == tag {
            known.proof -= 1;
            if known.proof == 0 {
                *known = Known::default();
                self.count -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_heavy_is_known_until_it_is_light_again() {
        let mut heavies = Heavies::default();
        let (large, slow) = (tag(1, b"large"), tag(2, b"slow"));
        heavies.weigh(large, BYTES - 1, Some(SERVICE_US - 1));
        heavies.weigh(large, 10, None);
        assert!(heavies.is_empty() && !heavies.knows(large));
        heavies.weigh(large, BYTES, None);
        heavies.weigh(slow, 5, Some(SERVICE_US));
        assert!(heavies.knows(large) && heavies.knows(slow) && heavies.len() == 2);
        heavies.weigh(slow, 5, Some(9));
        assert!(!heavies.knows(slow), "it was held up once");
        for round in 0..3 {
            assert!(heavies.knows(large), "{round}");
            heavies.weigh(large, 10, None);
        }
        assert!(heavies.is_empty());
        heavies.weigh(0, BYTES, None);
        assert!(heavies.is_empty() && !heavies.knows(0), "what has no tag is not known");
    }

    #[test]
    fn tags_tell_commands_and_arguments_apart() {
        let long = [b'x'; 100];
        let mut other = long;
        other[99] = b'y';
        let tags = [
            tag(1, b"a"),
            tag(2, b"a"),
            tag(1, b"b"),
            tag(1, b""),
            tag(1, &long),
            tag(1, &other),
            tag(1, &long[..99]),
        ];
        for (place, one) in tags.iter().enumerate() {
            assert!(*one != 0 && tags[..place].iter().all(|other| other != one), "{place}");
        }
        assert_eq!(tag(1, &long), tag(1, &long.clone()));
    }

    proptest! {
        /// The count is that of the known, whatever happens; a heavy one is known at once.
        #[test]
        fn the_count_holds(steps in prop::collection::vec((any::<u16>(), any::<bool>(), any::<bool>()), 1..2000)) {
            let mut heavies = Heavies::default();
            for (tag, is_large, is_slow) in steps {
                let tag = tag % 700;
                let bytes = if is_large { BYTES } else { 0 };
                heavies.weigh(tag, bytes, is_slow.then_some(SERVICE_US));
                if (is_large || is_slow) && tag != 0 {
                    prop_assert!(heavies.knows(tag));
                }
                let known = heavies.known.iter().filter(|known| known.tag != 0).count();
                prop_assert_eq!(heavies.len(), known);
            }
        }
    }
}
