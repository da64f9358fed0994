//! The bytes of requests that were sent and are not answered yet, oldest first, so that they can be sent again.
//!
//! They are bounded: where more is under way than is kept, nothing of what was sent can be sent again until all of it is
//! answered.

/// Most bytes that are kept of one connection.
const BYTES_MAX: usize = 64 << 20;
/// Answered bytes in front after which the others are moved together.
const DEAD_BYTES_MAX: usize = 64 * 1024;

/// The bytes.
#[derive(Debug, Default)]
pub struct Kept {
    bytes: Vec<u8>,
    /// Bytes in front that are answered.
    head: usize,
    is_lost: bool,
}

impl Kept {
    /// Bytes of requests that are not answered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.head
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether more is under way than could be kept.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Keeps what is being sent.
    pub fn record(&mut self, piece: &[u8]) {
        if self.is_lost {
            return;
        }
        if self.len() + piece.len() > BYTES_MAX {
            *self = Self { is_lost: true, ..Self::default() };
            return;
        }
        self.bytes.extend_from_slice(piece);
    }

    /// The oldest bytes.
    #[must_use]
    pub fn front(&self, bytes: usize) -> Option<&[u8]> {
        self.part(0, bytes)
    }

    /// Bytes behind the `before` oldest.
    #[must_use]
    pub fn part(&self, before: usize, bytes: usize) -> Option<&[u8]> {
        if self.is_lost {
            return None;
        }
        let from = self.head + before;
        self.bytes.get(from..from + bytes)
    }

    /// The oldest bytes are answered.
    #[inline]
    pub fn answered(&mut self, bytes: usize) {
        if self.is_lost {
            return;
        }
        self.head = (self.head + bytes).min(self.bytes.len());
        if self.head == self.bytes.len() {
            self.bytes.clear();
            self.head = 0;
        } else if self.head > DEAD_BYTES_MAX && self.head > self.bytes.len() / 2 {
            self.bytes.drain(..self.head);
            self.head = 0;
        }
    }

    /// All of them; `None` when they are lost. Nothing is kept afterwards.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        let Self { mut bytes, head, is_lost } = std::mem::take(self);
        bytes.drain(..head);
        (!is_lost).then_some(bytes)
    }

    /// Nothing is under way: what comes can be kept again.
    pub fn reset(&mut self) {
        self.is_lost = false;
    }

    /// Gives back memory that is not needed while nothing is under way.
    pub fn trim(&mut self) {
        if self.is_empty() {
            self.bytes = Vec::new();
            self.head = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn too_much_is_lost_until_all_is_answered() {
        let mut kept = Kept::default();
        kept.record(b"one");
        kept.record(&vec![b'x'; BYTES_MAX]);
        assert!(kept.is_lost() && kept.is_empty());
        kept.record(b"two");
        kept.answered(3);
        assert_eq!(kept.front(0), None);
        assert_eq!(kept.take(), None);
        kept.record(b"three");
        assert_eq!(kept.take(), Some(b"three".to_vec()));
    }

    proptest! {
        #[test]
        fn what_is_not_answered_is_kept(steps in prop::collection::vec((0usize..40_000, 0usize..40_000), 1..40)) {
            let (mut kept, mut model) = (Kept::default(), Vec::new());
            for (number, (sent, answered)) in steps.into_iter().enumerate() {
                let piece = vec![number as u8; sent];
                kept.record(&piece);
                model.extend_from_slice(&piece);
                let answered = answered.min(model.len());
                prop_assert_eq!(kept.front(answered), Some(&model[..answered]));
                kept.answered(answered);
                model.drain(..answered);
                prop_assert_eq!(kept.len(), model.len());
            }
            prop_assert_eq!(kept.take(), Some(model));
        }
    }
}
