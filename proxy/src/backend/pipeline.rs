//! Who waits for the replies of a server connection, in the order in which they will come.
//!
//! A server answers in the order it was asked, so the first waiter owns the next reply. A waiter whose time is
//! up is told so and becomes a tombstone: its late reply is still owed by the server and is swallowed when it
//! comes. All waiters of a pool have the same timeout, so tombstones are always the oldest ones, and a count of
//! them is enough.

use std::collections::VecDeque;

use redstart_common::command::CommandSpec;
use redstart_common::command::spec::Flags;

use crate::client::ClientId;
use crate::gather::GatherId;

/// Capacity an idle queue may keep, in slots.
const IDLE_CAPACITY_MAX: usize = 64;

/// Who is owed a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A request of a client.
    Client {
        /// The client.
        id: ClientId,
        /// The request's number in the client's queue.
        sequence: u32,
    },
    /// An EVALSHA of a client's, for which the server may lack the script.
    Script {
        /// The client.
        id: ClientId,
        /// The request's number in the client's queue.
        sequence: u32,
    },
    /// A request of a client's on a connection of its own.
    Private {
        /// The client.
        id: ClientId,
        /// The request's number in the client's queue.
        sequence: u32,
    },
    /// A part of a request that was split.
    Part {
        /// The request.
        gather: GatherId,
        /// Which part.
        part: u32,
    },
    /// A read that is asked of the next server of the ring where it misses.
    Fill {
        /// The client.
        id: ClientId,
        /// The request's number in the client's queue.
        sequence: u32,
    },
    /// A read that two servers were asked; see [`Hedges`](crate::client::hedge::Hedges).
    Hedged {
        /// Which.
        number: u32,
        /// Whether this is the second of them.
        is_copy: bool,
    },
    /// A question about a value that is brought to where it belongs.
    Copy {
        /// Which.
        number: u32,
        /// Whether it asks for the value, rather than how long that lives.
        is_payload: bool,
    },
    /// Nobody: the reply is part of a longer exchange (the `+QUEUED` of a transaction, say).
    Nobody,
}

/// Whether a request changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It does not: it may run twice, and wherever the keys are.
    Read,
    /// It does not either, but goes on where one before it has stopped (SSCAN and its kin): only the server that was asked
    /// then knows where that is.
    Walk,
    /// It may.
    Write,
}

impl Kind {
    /// The kind of a command.
    #[inline]
    #[must_use]
    pub fn of(row: &CommandSpec) -> Self {
        match row.flags.contains(Flags::READONLY) {
            true if row.name.ends_with("scan") => Self::Walk,
            true => Self::Read,
            false => Self::Write,
        }
    }

    /// Whether it may run twice.
    #[inline]
    #[must_use]
    pub fn may_repeat(self) -> bool {
        self != Self::Write
    }
}

/// A request that was queued or sent.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    /// Who is owed the reply.
    pub target: Target,
    /// When it was queued, in microseconds of the worker's clock.
    pub at_us: u64,
    /// The request's size.
    pub bytes: u32,
    /// Whether it changes anything.
    pub kind: Kind,
    /// How often it was sent again.
    pub attempts: u8,
    /// Replies in front of its own that nobody is owed: those within a transaction, whose bytes are all this slot's.
    pub lead: u16,
}

/// Stands for more replies in front than can be counted: such a request is sent once.
pub const LEAD_UNKNOWN: u16 = u16::MAX;

impl Slot {
    /// A request that is queued now, and whose size will be known when it is.
    #[inline]
    #[must_use]
    pub fn new(target: Target, kind: Kind, at_us: u64) -> Self {
        Self { target, at_us, bytes: 0, kind, attempts: 0, lead: 0 }
    }
}

/// The queue of one connection.
#[derive(Debug, Default)]
pub struct Pipeline {
    slots: VecDeque<Slot>,
    tombstones: usize,
    bytes: u64,
}

impl Pipeline {
    /// Replies owed, tombstones included.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether no reply is owed.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether all replies that are owed are owed to nobody, and were from the beginning.
    #[must_use]
    pub fn is_owed_to_nobody(&self) -> bool {
        self.tombstones == 0 && self.slots.iter().all(|slot| slot.target == Target::Nobody)
    }

    /// Replies that nobody waits for any more.
    #[must_use]
    pub fn tombstones(&self) -> usize {
        self.tombstones
    }

    /// Request bytes whose replies are owed.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a waiter behind the others.
    #[inline]
    pub fn push(&mut self, slot: Slot) {
        self.bytes += u64::from(slot.bytes);
        self.slots.push_back(slot);
    }

    /// The request of the last waiter has become longer.
    #[inline]
    pub fn extend_last(&mut self, bytes: u32) {
        if let Some(slot) = self.slots.back_mut() {
            let before = slot.bytes;
            slot.bytes = before.saturating_add(bytes);
            self.bytes += u64::from(slot.bytes - before);
        }
    }

    /// The owner of the next reply; a tombstone is owned by nobody. `None` when no reply is owed.
    #[inline]
    #[must_use]
    pub fn front(&self) -> Option<Target> {
        let slot = self.slots.front()?;
        Some(if self.tombstones > 0 { Target::Nobody } else { slot.target })
    }

    /// The oldest waiter; a tombstone is owed to nobody.
    #[must_use]
    pub fn front_slot(&self) -> Option<Slot> {
        let target = self.front()?;
        self.slots.front().map(|slot| Slot { target, ..*slot })
    }

    /// The reply to the oldest request is owed to somebody else.
    pub fn retarget_front(&mut self, target: Target) {
        if let Some(slot) = self.slots.front_mut() {
            slot.target = target;
        }
    }

    /// Hands the waiters that were queued before `deadline_us` to `each`, oldest first, with the bytes of requests that stand
    /// before theirs. What `each` gives is who is owed the reply from then on; `None` ends it.
    pub fn retarget_late(
        &mut self,
        deadline_us: u64,
        mut each: impl FnMut(&Slot, u64) -> Option<Target>,
    ) {
        let mut before = 0;
        for (place, slot) in self.slots.iter_mut().enumerate() {
            if slot.at_us > deadline_us {
                return;
            }
            if place >= self.tombstones {
                let Some(target) = each(slot, before) else { return };
                slot.target = target;
            }
            before += u64::from(slot.bytes);
        }
    }

    /// The size of the oldest request that has one.
    #[must_use]
    pub fn first_bytes(&self) -> Option<u64> {
        self.slots.iter().map(|slot| u64::from(slot.bytes)).find(|bytes| *bytes > 0)
    }

    /// The oldest request as a whole, and how many replies stand before its own that nobody is owed.
    #[must_use]
    pub fn first_whole(&self) -> Option<(usize, Slot)> {
        let mut slots = self.slots.iter().enumerate();
        let whole = slots.find(|(_, slot)| slot.bytes > 0);
        let (lead, slot) = whole.or_else(|| self.slots.iter().enumerate().next_back())?;
        Some((lead, *slot))
    }

    /// All requests are as if they were queued now.
    pub fn renew(&mut self, now_us: u64) {
        for slot in &mut self.slots {
            slot.at_us = now_us;
        }
    }

    /// Takes the owner of a reply that has come. `None` when none was owed.
    #[inline]
    pub fn pop(&mut self) -> Option<Slot> {
        let mut slot = self.slots.pop_front()?;
        self.bytes -= u64::from(slot.bytes);
        if self.tombstones > 0 {
            self.tombstones -= 1;
            slot.target = Target::Nobody;
        }
        Some(slot)
    }

    /// Turns every waiter queued before `deadline_us` into a tombstone and hands it to `expired`. A waiter whose
    /// reply is arriving already is left alone when `front_is_busy`.
    pub fn expire(&mut self, deadline_us: u64, front_is_busy: bool, mut expired: impl FnMut(Slot)) {
        if front_is_busy {
            return;
        }
        while let Some(slot) = self.slots.get(self.tombstones) {
            if slot.at_us > deadline_us {
                return;
            }
            self.tombstones += 1;
            expired(*slot);
        }
    }

    /// Empties the queue, handing every waiter that was not told yet to `each`.
    pub fn fail(&mut self, mut each: impl FnMut(Slot)) {
        let told = std::mem::take(&mut self.tombstones);
        for slot in self.slots.drain(..).skip(told) {
            each(slot);
        }
        self.bytes = 0;
    }

    /// Empties the queue, handing every waiter to `each`, with whether it was told that its time is up.
    pub fn take(&mut self, mut each: impl FnMut(Slot, bool)) {
        let told = std::mem::take(&mut self.tombstones);
        for (place, slot) in self.slots.drain(..).enumerate() {
            each(slot, place < told);
        }
        self.bytes = 0;
    }

    /// When the oldest waiter was queued.
    #[must_use]
    pub fn oldest_us(&self) -> Option<u64> {
        self.slots.front().map(|slot| slot.at_us)
    }

    /// Gives back memory an idle queue does not need.
    pub fn trim(&mut self) {
        if self.slots.is_empty() && self.slots.capacity() > IDLE_CAPACITY_MAX {
            self.slots = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(sequence: u32, at_us: u64) -> Slot {
        let target = Target::Client { id: ClientId { index: 1, generation: 1 }, sequence };
        Slot { bytes: 10, ..Slot::new(target, Kind::Write, at_us) }
    }

    #[test]
    fn a_late_reply_is_swallowed_and_the_next_finds_its_owner() {
        let mut pipeline = Pipeline::default();
        pipeline.push(slot(1, 100));
        pipeline.push(slot(2, 200));
        pipeline.push(slot(3, 300));
        let mut told = Vec::new();
        pipeline.expire(200, false, |slot| told.push(slot.at_us));
        assert_eq!(told, [100, 200]);
        pipeline.expire(250, false, |_| panic!("told twice"));
        assert_eq!(pipeline.front(), Some(Target::Nobody));
        assert_eq!(pipeline.pop().map(|slot| slot.target), Some(Target::Nobody));
        assert_eq!(pipeline.pop().map(|slot| slot.target), Some(Target::Nobody));
        assert_eq!(pipeline.pop().map(|slot| slot.target), Some(slot(3, 300).target));
        assert!(pipeline.pop().is_none());
        assert_eq!((pipeline.bytes(), pipeline.tombstones()), (0, 0));
    }

    #[test]
    fn closing_tells_only_those_who_still_wait() {
        let mut pipeline = Pipeline::default();
        (1..=4).for_each(|n| pipeline.push(slot(n, u64::from(n))));
        pipeline.expire(2, false, |_| {});
        let mut told = Vec::new();
        pipeline.fail(|slot| told.push(slot.at_us));
        assert_eq!(told, [3, 4]);
        assert!(pipeline.is_empty() && pipeline.front().is_none());
    }

    #[test]
    fn a_request_may_grow_after_it_was_queued() {
        let mut pipeline = Pipeline::default();
        pipeline.extend_last(5);
        pipeline.push(slot(1, 1));
        pipeline.push(slot(2, 2));
        pipeline.extend_last(7);
        assert_eq!(pipeline.bytes(), 27);
        assert_eq!(pipeline.pop().map(|slot| slot.bytes), Some(10));
        assert_eq!(pipeline.pop().map(|slot| slot.bytes), Some(17));
        pipeline.push(slot(3, 3));
        pipeline.extend_last(u32::MAX);
        assert_eq!(pipeline.pop().map(|slot| slot.bytes), Some(u32::MAX));
        assert_eq!(pipeline.bytes(), 0);
    }

    #[test]
    fn a_reply_on_its_way_is_given_its_time() {
        let mut pipeline = Pipeline::default();
        pipeline.push(slot(1, 1));
        pipeline.expire(10, true, |_| panic!("it is arriving"));
        assert_eq!(pipeline.tombstones(), 0);
    }
}
