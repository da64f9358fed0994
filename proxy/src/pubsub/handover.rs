//! A topic on its way from one home to another, where the nodes of a cluster tell each other what is published: for a while both
//! are listened to, and each message is handed on once.
//!
//! ```text
//!   Waiting      the new home has not confirmed     the old one counts
//!   Comparing    both say what is published         the old one counts, and what each has said is counted by its words
//!   Leaving      the old one is left                the new one counts, but for what the old one has said already; of the old one,
//!                                                   what the new one has said before it counted
//! ```
//!
//! A message has no name, and what a node was told before it was asked is not known: by its words alone it cannot be seen whether
//! the new home says something late that the old one has said before the new one was asked. But what one node says another says
//! within [`LAG_US`]. So words that neither has said for so long are on nobody's way, and whatever one says from then on the
//! other says too: what one has said more often than the other is still to come from that. The home changes when this is known of
//! all words that may be on their way. Words that are repeated without such a rest put that off, and the old home counts until
//! then. No message is lost or handed on twice, whatever its words are, as long as both links stand and the nodes keep to that time.
//!
//! Where the link to the old home is lost, the new one counts as soon as it has confirmed. What the old one had not said by then, and
//! the new one had said already, is lost with it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::topology::ServerId;

/// How long what one node of a cluster says may take to be said by another, in microseconds.
pub(super) const LAG_US: u64 = 1_000_000;
/// Different words that are compared. Where more are on their way, comparing begins again.
const WORDS_MAX: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Comparing { since_us: u64 },
    Leaving { since_us: u64 },
}

/// How often each of the two has said the same words since neither had for a while.
#[derive(Debug)]
struct Words {
    old: u32,
    new: u32,
    since_us: u64,
    last_us: u64,
}

/// A topic on its way.
#[derive(Debug)]
pub(super) struct Handover {
    /// The home before.
    pub(super) old: ServerId,
    stage: Stage,
    words: HashMap<u64, Words>,
}

impl Handover {
    /// The home is another than this one.
    pub(super) fn from(home: ServerId) -> Self {
        Self { old: home, stage: Stage::Waiting, words: HashMap::new() }
    }

    /// Whether the new home counts.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Leaving { .. })
    }

    /// Which of the two say what is published, now that this may have changed.
    pub(super) fn stands(&mut self, old: bool, new: bool, now_us: u64) {
        match self.stage {
            Stage::Waiting if new && old => self.stage = Stage::Comparing { since_us: now_us },
            Stage::Waiting if new => self.stage = Stage::Leaving { since_us: now_us },
            Stage::Comparing { .. } if !new => {
                self.stage = Stage::Waiting;
                self.words.clear();
            }
            Stage::Comparing { since_us } if !old => {
                self.words.retain(|_, it| it.since_us >= since_us + LAG_US);
                self.stage = Stage::Leaving { since_us: now_us };
            }
            _ => {}
        }
    }

    /// Whether what the old home or the new one says is handed on.
    pub(super) fn hands_on(&mut self, is_old: bool, frame: &[u8], now_us: u64) -> bool {
        match self.stage {
            Stage::Waiting => return is_old,
            Stage::Comparing { .. } => self.compare(is_old, words_of(frame), now_us),
            Stage::Leaving { .. } => {
                let Some(it) = self.words.get_mut(&words_of(frame)) else { return !is_old };
                return if is_old {
                    let is_due = it.new > it.old;
                    it.old += u32::from(is_due);
                    is_due
                } else {
                    let was_said = it.old > it.new;
                    it.new += u32::from(was_said);
                    !was_said
                };
            }
        }
        is_old
    }

    fn compare(&mut self, is_old: bool, words: u64, now_us: u64) {
        if self.words.len() >= WORDS_MAX && !self.words.contains_key(&words) {
            self.words.clear();
            self.stage = Stage::Comparing { since_us: now_us };
        }
        let fresh = || Words { old: 0, new: 0, since_us: now_us, last_us: now_us };
        let it = self.words.entry(words).or_insert_with(fresh);
        if it.last_us + LAG_US <= now_us {
            *it = fresh();
        }
        it.last_us = now_us;
        *if is_old { &mut it.old } else { &mut it.new } += 1;
    }

    /// Time has passed. Says whether all is done.
    pub(super) fn settle(&mut self, now_us: u64) -> bool {
        match self.stage {
            Stage::Waiting => false,
            Stage::Comparing { since_us } => {
                self.words.retain(|_, it| it.last_us + LAG_US > now_us);
                let is_known = |it: &Words| it.since_us >= since_us + LAG_US;
                if now_us >= since_us + LAG_US && self.words.values().all(is_known) {
                    self.words.retain(|_, it| it.old != it.new);
                    self.stage = Stage::Leaving { since_us: now_us };
                }
                false
            }
            Stage::Leaving { since_us } => now_us >= since_us + LAG_US,
        }
    }
}

fn words_of(frame: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    frame.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1000;

    fn handover() -> Handover {
        Handover::from(ServerId::new(1))
    }

    #[test]
    fn the_old_home_counts_until_what_is_on_its_way_is_known() {
        let mut it = handover();
        assert!(it.hands_on(true, b"a", 0) && !it.hands_on(false, b"a", 0));
        it.stands(true, true, 0);
        // Said by the old one before, as nobody knows any more.
        assert!(!it.hands_on(false, b"a", 10 * MS));
        assert!(!it.settle(LAG_US) && !it.is_leaving(), "it may be on its way to the old one");
        assert!(!it.settle(LAG_US + 10 * MS) && it.is_leaving());
        assert!(it.hands_on(false, b"b", LAG_US + 11 * MS));
        assert!(!it.hands_on(true, b"b", LAG_US + 12 * MS));
        assert!(!it.settle(2 * LAG_US) && it.settle(2 * LAG_US + 10 * MS));
    }

    #[test]
    fn what_only_one_has_said_is_still_to_come_from_the_other() {
        let mut it = handover();
        it.stands(true, true, 0);
        let at = LAG_US + 1;
        assert!(it.hands_on(true, b"a", at) && it.hands_on(true, b"a", at));
        assert!(!it.hands_on(false, b"a", at) && !it.hands_on(false, b"b", at));
        assert!(!it.settle(at) && it.is_leaving());
        assert!(!it.hands_on(false, b"a", at), "the old one has said it");
        assert!(it.hands_on(false, b"a", at) && !it.hands_on(true, b"a", at), "said once more");
        assert!(it.hands_on(true, b"b", at), "the new one has said it when it did not count");
        assert!(!it.hands_on(true, b"b", at));
    }

    #[test]
    fn words_without_a_rest_put_it_off() {
        let mut it = handover();
        it.stands(true, true, 0);
        let mut now_us = 0;
        while now_us < 10 * LAG_US {
            assert!(it.hands_on(true, b"tick", now_us) && !it.hands_on(false, b"tick", now_us));
            assert!(!it.settle(now_us) && !it.is_leaving());
            now_us += LAG_US / 2;
        }
        it.settle(now_us + LAG_US);
        assert!(it.is_leaving());
    }

    #[test]
    fn a_link_that_is_lost_decides_it() {
        let mut it = handover();
        it.stands(true, true, 0);
        it.stands(true, false, 5);
        assert!(
            it.hands_on(true, b"a", 6) && !it.hands_on(false, b"a", 6),
            "back to the beginning"
        );
        it.stands(true, true, 7);
        it.stands(false, true, 8);
        assert!(it.is_leaving() && it.hands_on(false, b"a", 9));
        let mut it = handover();
        it.stands(false, true, 5);
        assert!(it.is_leaving());
    }

    #[test]
    fn no_more_words_are_remembered_than_may_be() {
        let mut it = handover();
        it.stands(true, true, 0);
        for number in 0..3 * WORDS_MAX as u64 {
            assert!(it.hands_on(true, &number.to_le_bytes(), LAG_US + number / 100));
            assert!(it.words.len() <= WORDS_MAX);
        }
        it.settle(LAG_US + 4 * WORDS_MAX as u64 / 100);
        assert!(!it.is_leaving());
    }

    /// Published at a time and a node, with words of which there are few, and heard at the old home and the new one so much later.
    #[derive(Debug, Clone)]
    struct Message {
        at_ms: u64,
        origin: usize,
        words: u8,
        lags_ms: [u64; 2],
    }

    fn message() -> impl Strategy<Value = Message> {
        let lag = || prop_oneof![5 => 0..20_u64, 1 => 0..900_u64];
        (0..6000_u64, 0..3_usize, 0..4_u8, (lag(), lag())).prop_map(
            |(at_ms, origin, words, lags)| Message {
                at_ms,
                origin,
                words,
                lags_ms: [lags.0, lags.1],
            },
        )
    }

    proptest! {
        /// Messages of few words reach both homes by any ways, each way in its order. Each is handed on as often as it was published,
        /// and in the end the new home counts.
        #[test]
        fn each_message_is_handed_on_once(
            mut messages in prop::collection::vec(message(), 0..60),
            confirmed_ms in 0_u64..3000,
        ) {
            messages.sort_by_key(|it| it.at_ms);
            let mut heard: Vec<(u64, bool, u8)> = Vec::new();
            let mut last = [[0; 2]; 3];
            for it in &messages {
                for (place, last) in last[it.origin].iter_mut().enumerate() {
                    *last = (it.at_ms + it.lags_ms[place]).max(*last);
                    heard.push((*last, place == 0, it.words));
                }
            }
            heard.sort_by_key(|(at_ms, ..)| *at_ms);
            let mut it = handover();
            let (mut heard, mut handed_on) = (heard.into_iter().peekable(), [0; 4]);
            let mut is_done = false;
            for now_ms in 0..12_000_u64 {
                if now_ms == confirmed_ms {
                    it.stands(true, true, now_ms * MS);
                }
                if now_ms % 10 == 0 && !is_done {
                    is_done = it.settle(now_ms * MS);
                }
                while let Some((_, is_old, words)) = heard.next_if(|(at_ms, ..)| *at_ms <= now_ms) {
                    // The new one says what comes behind its confirmation.
                    if !is_old && now_ms <= confirmed_ms {
                        continue;
                    }
                    let counts = if is_done { !is_old } else { it.hands_on(is_old, &[words], now_ms * MS) };
                    handed_on[usize::from(words)] += u32::from(counts);
                }
            }
            prop_assert!(is_done);
            for words in 0..4_u8 {
                let published = messages.iter().filter(|it| it.words == words).count();
                prop_assert_eq!(handed_on[usize::from(words)] as usize, published, "{}", words);
            }
        }
    }
}
