//! What becomes of requests whose connection is gone, or whose server turns out to be no primary: those that may be sent
//! again wait, in their order; the others are told.
//!
//! ```text
//!   not sent, or only in part                      it has not run: again
//!   sent, answered by READONLY and its like        it has not run: again
//!   sent, a read                                   it may have run, which does no harm: again
//!   sent, anything else                            it may have run: never again
//! ```
//!
//! A server that answers READONLY is asked nothing more. What it answers to requests that were sent behind is looked at
//! all the same: reads are not believed, for their client's write has not run; writes are as it says.

use super::pipeline::{LEAD_UNKNOWN, Slot, Target};
use super::{Backend, Link, redirect};
use crate::client::redirect::Turned;

/// How often a request is sent again.
pub(super) const ATTEMPTS_MAX: u8 = 8;

/// Requests that wait to be sent again, or for the first time.
#[derive(Debug, Default)]
pub struct Waiting {
    /// Who is owed the replies. Those that nobody is owed (within a transaction) are left out; see [`Slot::lead`].
    pub slots: Vec<Slot>,
    /// The bytes of all requests, one after the other.
    pub bytes: Vec<u8>,
}

impl Waiting {
    fn push(&mut self, slot: Slot, bytes: &[u8]) {
        self.slots.push(slot);
        self.bytes.extend_from_slice(bytes);
    }
}

/// Whether a reply says that the request has not run, because the server is no primary or not ready.
#[must_use]
pub fn is_turned_away(reply: &[u8]) -> bool {
    [&b"-READONLY "[..], b"-LOADING ", b"-MASTERDOWN "].iter().any(|code| reply.starts_with(code))
}

/// Whether a reply says that a transaction has not run.
fn is_aborted(reply: &[u8]) -> bool {
    reply.strip_prefix(b"-").is_some_and(|text| text.starts_with(b"EXECABORT"))
}

impl Backend {
    /// Looks at a reply of a server that has turned something away, now or before. Says whether the request will be sent
    /// again, so that its reply is not to be handed on.
    #[cold]
    pub(super) fn turn_away(&mut self, slot: Slot, reply: &[u8], now_us: u64) -> bool {
        let is_away = is_turned_away(reply);
        if self.turned.is_none() && !is_away {
            return false;
        }
        let has_not_run = is_away || is_aborted(reply);
        if slot.target == Target::Nobody {
            self.turned.get_or_insert_default();
            return true;
        }
        if !has_not_run && !slot.kind.may_repeat() {
            return false;
        }
        self.keep_for_later(slot, now_us)
    }

    /// Looks at an error reply of a cluster's node. Where it is a redirect, the request is put on the list, and the reply
    /// is not to be handed on. A transaction whose parts were turned away has not run as a whole, and goes as a whole.
    #[cold]
    pub(super) fn redirected(
        &mut self,
        slot: Slot,
        reply: &[u8],
        turned: &mut Vec<Turned>,
    ) -> bool {
        let said = redirect::read(reply).map(|said| (said, reply.to_vec()));
        if slot.bytes == 0 {
            // The reply to a part of a transaction, which is owed to nobody.
            self.led = self.led.take().or(said);
            return slot.target == Target::Nobody;
        }
        let led = self.led.take().filter(|_| is_aborted(reply));
        let Some((redirect, reply)) = said.or(led) else { return false };
        // What it was to be told of with this request it does not know.
        self.carried.clear();
        self.counters.redirects.count(&redirect);
        if slot.target != Target::Nobody {
            self.counters.resent += 1;
            let kept = self.kept.front(slot.bytes as usize);
            let bytes = kept.filter(|_| slot.lead != LEAD_UNKNOWN).map(<[u8]>::to_vec);
            turned.push(Turned { slot, bytes, redirect, reply });
        }
        true
    }

    /// Looks at an error reply of a cluster's node on a connection of a client's own. Where it aborts a transaction because a
    /// part of it was redirected, gives that part's reply.
    #[cold]
    pub(super) fn aborted_by_redirect(&mut self, slot: &Slot, reply: &[u8]) -> Option<Vec<u8>> {
        if slot.target == Target::Nobody {
            let said = redirect::read(reply).map(|said| (said, reply.to_vec()));
            self.led = self.led.take().or(said);
            return None;
        }
        let (_, led) = self.led.take()?;
        is_aborted(reply).then_some(led)
    }

    /// Looks at an error reply of a replica. Where it does not serve the read at present, the request is put on the list for
    /// the primary, and the reply is not to be handed on.
    #[cold]
    pub(super) fn falls_back(&mut self, slot: Slot, reply: &[u8], list: &mut Waiting) -> bool {
        if !is_turned_away(reply) && redirect::read(reply).is_none() {
            return false;
        }
        if let Some(bytes) = self.kept.front(slot.bytes as usize)
            && slot.target != Target::Nobody
        {
            self.counters.resent += 1;
            list.push(Slot { attempts: slot.attempts.saturating_add(1), ..slot }, bytes);
            return true;
        }
        slot.target == Target::Nobody
    }

    /// Notes the oldest request, for which a reply is on its way, to be sent again. Says whether that is possible.
    fn keep_for_later(&mut self, slot: Slot, now_us: u64) -> bool {
        let Some(bytes) = self.kept.front(slot.bytes as usize) else { return false };
        if slot.attempts >= ATTEMPTS_MAX || slot.lead == LEAD_UNKNOWN {
            return false;
        }
        let slot = Slot { attempts: slot.attempts + 1, at_us: now_us, ..slot };
        self.turned.get_or_insert_default().push(slot, bytes);
        self.counters.resent += 1;
        true
    }

    /// As [`Backend::turn_away`], for a large reply that begins to arrive: it is swallowed where the request will be sent
    /// again.
    #[cold]
    pub(super) fn turn_large_away(&mut self, now_us: u64) {
        let Some(slot) = self.pipeline.front_slot() else { return };
        if slot.kind.may_repeat()
            && slot.target != Target::Nobody
            && self.keep_for_later(slot, now_us)
        {
            self.pipeline.retarget_front(Target::Nobody);
        }
    }

    /// Whether a server that has turned something away has answered all it was sent.
    #[must_use]
    pub fn is_done_turning(&self) -> bool {
        let sent = self.pipeline.bytes().saturating_sub(self.output.len() as u64);
        self.turned.is_some() && self.pipeline.first_bytes().is_none_or(|bytes| bytes > sent)
    }

    /// Takes away all that waits, sorted as the table above says. Who cannot be served any more is handed to `lost`.
    pub(super) fn salvage(&mut self, now_us: u64, mut lost: impl FnMut(Slot)) -> Waiting {
        let mut waiting = self.turned.take().map_or_else(Waiting::default, |turned| *turned);
        let was_up = matches!(self.link, Link::Up(_));
        let unsent = self.output.len();
        let mut rest = Vec::with_capacity(unsent);
        self.output.drain_into(&mut rest);
        // What is known of the bytes: all from the first unanswered request on, or only those that were not sent.
        let recorded = std::mem::take(&mut self.recorded).min(rest.len());
        let kept = self.kept.take();
        let total = self.pipeline.bytes() as usize;
        let stream = match kept {
            Some(mut kept) if kept.len() + rest.len() - recorded == total => {
                kept.extend_from_slice(&rest[recorded..]);
                kept
            }
            _ => rest,
        };
        let known_from = total.saturating_sub(stream.len());
        let sent_to = total.saturating_sub(unsent);
        let mut at = 0;
        let resent = &mut self.counters.resent;
        self.pipeline.take(|slot, is_told| {
            let (start, end) = (at, at + slot.bytes as usize);
            at = end;
            if is_told || slot.target == Target::Nobody {
                return;
            }
            let is_sent = was_up && end <= sent_to;
            let may = slot.lead != LEAD_UNKNOWN
                && (!is_sent || (slot.kind.may_repeat() && slot.attempts < ATTEMPTS_MAX));
            let bytes =
                start.checked_sub(known_from).and_then(|at| stream.get(at..end - known_from));
            let (true, Some(bytes)) = (may, bytes) else { return lost(slot) };
            let slot = if is_sent {
                *resent += 1;
                Slot { attempts: slot.attempts + 1, at_us: now_us, ..slot }
            } else {
                slot
            };
            waiting.push(slot, bytes);
        });
        self.unsent = 0;
        waiting
    }
}
