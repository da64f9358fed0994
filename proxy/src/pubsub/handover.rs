//! A topic on its way from one home to another, where the nodes of a cluster repeat what is published: both are listened to for a
//! while, and each message counts once.
//!
//! ```text
//!   Arriving   the new home has not confirmed                        the old one counts
//!   Leaving    it has; the old one is asked to say no more           both count
//!   Settling   the old one has confirmed that; the new one may be    the new one counts, but for what the old one has said
//!              behind it with what both were told, as may the way
//!              between the nodes: it goes on for a while
//! ```
//!
//! A message has no name, so messages are told apart by what they say. One counts if its server has said it more often than it
//! was handed on: of two servers that are told the same, in whatever order, whoever is first hands it on, and nothing that either
//! has said is missing.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use smallvec::SmallVec;

use crate::topology::ServerId;

/// Different messages that are remembered. Beyond, what comes counts if the new home says it.
const MESSAGES_MAX: usize = 16 * 1024;

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Arriving,
    Leaving,
    Settling,
}

/// How often a message was said by whom, and how often it was handed on.
#[derive(Debug, Default)]
struct Heard {
    handed_on: u32,
    said: SmallVec<[(ServerId, u32); 2]>,
}

/// A topic on its way.
#[derive(Debug)]
pub(super) struct Handover {
    /// The homes before: the last of them is the one that counted last.
    pub(super) before: SmallVec<[ServerId; 1]>,
    pub(super) phase: Phase,
    /// Since when the new home has passed all that it had been told, in microseconds.
    pub(super) passed_us: Option<u64>,
    heard: HashMap<u64, Heard>,
}

impl Handover {
    /// The home is another than this one.
    pub(super) fn from(home: ServerId) -> Self {
        Self {
            before: SmallVec::from_buf([home]),
            phase: Phase::Arriving,
            passed_us: None,
            heard: HashMap::new(),
        }
    }

    /// The home has changed once more, from this one. What was handed on stays so.
    pub(super) fn goes_on(&mut self, home: ServerId) {
        self.before.retain(|other| *other != home);
        self.before.push(home);
        (self.phase, self.passed_us) = (Phase::Arriving, None);
    }

    /// Whether what a server says counts: `home` is the new one, and `is_asked` whether it has been asked.
    pub(super) fn counts(
        &mut self,
        (home, is_asked): (ServerId, bool),
        server: ServerId,
        frame: &[u8],
    ) -> bool {
        if self.phase == Phase::Arriving && !is_asked && self.before.len() == 1 {
            // What is said by now the new one will not say.
            return self.before.contains(&server);
        }
        if server != home && !self.before.contains(&server) {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        frame.hash(&mut hasher);
        let number = hasher.finish();
        if self.heard.len() >= MESSAGES_MAX && !self.heard.contains_key(&number) {
            return server == home;
        }
        let heard = self.heard.entry(number).or_default();
        let said = match heard.said.iter_mut().find(|(other, _)| *other == server) {
            Some((_, said)) => said,
            None => {
                heard.said.push((server, 0));
                let last = heard.said.len() - 1;
                &mut heard.said[last].1
            }
        };
        *said += 1;
        // What it has said before it was heard at all, the other has been heard to say.
        if self.phase == Phase::Arriving && server == home && !self.before.contains(&home) {
            return false;
        }
        let counts = *said > heard.handed_on;
        heard.handed_on += u32::from(counts);
        counts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: u32 = 1;
    const NEW: u32 = 2;

    #[test]
    fn who_is_first_hands_it_on_and_nobody_else_counts() {
        let (old, new) = (ServerId::new(OLD), ServerId::new(NEW));
        let mut handover = Handover::from(old);
        assert!(
            handover.counts((new, false), old, b"a") && handover.counts((new, true), old, b"a")
        );
        assert!(
            !handover.counts((new, true), new, b"b"),
            "it was subscribed to before, as all are"
        );
        assert!(handover.counts((new, true), old, b"b"));
        handover.phase = Phase::Leaving;
        assert!(!handover.counts((new, true), new, b"a"));
        assert!(handover.counts((new, true), new, b"a"), "it is said once more");
        assert!(!handover.counts((new, true), old, b"a"));
        assert!(!handover.counts((new, true), ServerId::new(3), b"c"));
        handover.goes_on(new);
        assert!(handover.counts((ServerId::new(3), true), new, b"d"));
        assert!(!handover.counts((ServerId::new(3), true), old, b"d"));
        // Back to where it was, before anybody else has confirmed.
        let mut handover = Handover::from(old);
        handover.goes_on(new);
        assert!(
            handover.counts((old, true), old, b"e") && !handover.counts((old, true), new, b"e")
        );
    }

    proptest! {
        /// Both are told the same from some message on, each in its own time; the old one up to some message, which is behind that.
        /// Each message is handed on once, and that at once when the first of both says it.
        #[test]
        fn each_message_is_handed_on_once(
            before in 0_u32..5,
            both in 0_u32..8,
            after in 0_u32..5,
            turns in prop::collection::vec(any::<bool>(), 0..40),
        ) {
            let (old, new) = (ServerId::new(OLD), ServerId::new(NEW));
            let mut handover = Handover::from(old);
            let mut handed_on = Vec::new();
            let (mut of_old, mut of_new) = (0..before + both, before..before + both + after);
            let ends = std::iter::repeat_n(true, 20).chain(std::iter::repeat_n(false, 20));
            for is_old in turns.into_iter().chain(ends) {
                // What the new one says comes behind its confirmation.
                let (server, said) = if is_old { (old, of_old.next()) } else { (new, of_new.next()) };
                let Some(said) = said else { continue };
                if !is_old {
                    handover.phase = Phase::Leaving;
                }
                if handover.counts((new, true), server, &said.to_be_bytes()) {
                    handed_on.push(said);
                }
            }
            handed_on.sort_unstable();
            prop_assert_eq!(handed_on, (0..before + both + after).collect::<Vec<_>>());
        }
    }
}
