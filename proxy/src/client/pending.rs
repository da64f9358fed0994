//! The requests of a client that are not answered yet, in the order they came, and the replies that arrived
//! before their turn.
//!
//! Requests of one client go to several servers, whose replies come in any order; the client must see them in
//! the order of its requests. A reply whose turn it is goes straight to the client's output. One that is early
//! is parked: small ones side by side in one buffer, large ones in the buffer they came in.

use std::collections::VecDeque;

use redstart_common::net::buffer;

use crate::output::{LARGE_BYTES, Output};
use crate::tally::{Tallies, Which};

/// Dead bytes among the parked ones after which the living are moved together.
const DEAD_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug)]
#[expect(clippy::box_collection, reason = "a vector in place would double the size of every entry")]
enum State {
    /// The reply is still to come.
    Waiting,
    /// The reply is being passed on piece by piece; only the first entry can be in this state.
    Streaming,
    /// Part of `parked`.
    Parked { start: u32, len: u32 },
    /// A reply in its own buffer.
    Large(Box<Vec<u8>>),
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// When the request was read, in microseconds of the worker's clock.
    at_us: u32,
    /// What it asked for, and [`MUTED`].
    what: u16,
    /// What it is known by, if it may turn out to be heavy.
    tag: u16,
}

/// Set where the client asked not to be told (`CLIENT REPLY`).
const MUTED: u16 = 1 << 15;

impl Entry {
    #[inline]
    fn is_muted(&self) -> bool {
        self.what & MUTED != 0
    }

    #[inline]
    fn which(&self) -> Which {
        Which::from_bits(self.what)
    }
}

// One is kept for every request in flight.
const _: () = assert!(size_of::<Entry>() == 24);

/// The queue of one client.
#[derive(Debug, Default)]
pub struct Pending {
    ring: VecDeque<Entry>,
    /// Sequence number of the first entry.
    head: u32,
    parked: Vec<u8>,
    parked_live: usize,
    large_bytes: usize,
}

impl Pending {
    /// Requests that are not answered yet.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether every request is answered.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Bytes held in replies that came early.
    #[must_use]
    pub fn parked_bytes(&self) -> usize {
        self.parked.len() + self.large_bytes
    }

    /// Adds a request, with what it is known by, and gives its sequence number.
    #[inline]
    pub fn push(&mut self, at_us: u32, muted: bool, tag: u16, which: Which) -> u32 {
        let sequence = self.next_sequence();
        let what = which.bits() | if muted { MUTED } else { 0 };
        self.ring.push_back(Entry { state: State::Waiting, at_us, what, tag });
        sequence
    }

    /// What a request is known by.
    #[must_use]
    pub fn tag(&self, sequence: u32) -> u16 {
        self.ring.get(sequence.wrapping_sub(self.head) as usize).map_or(0, |entry| entry.tag)
    }

    /// Whether no request was answered yet, as far as is known.
    #[must_use]
    pub fn is_unproven(&self) -> bool {
        self.head == 0
    }

    /// The number that the next request will have.
    #[must_use]
    pub fn next_sequence(&self) -> u32 {
        self.head.wrapping_add(self.ring.len() as u32)
    }

    /// Whether a request has not been answered yet.
    #[must_use]
    pub fn awaits(&self, sequence: u32) -> bool {
        (sequence.wrapping_sub(self.head) as usize) < self.ring.len()
    }

    /// Whether the replies to all requests from `first` on, up to `end`, have come early and wait for their turn.
    #[must_use]
    pub fn are_parked(&self, first: u32, end: u32) -> bool {
        let from = first.wrapping_sub(self.head) as usize;
        let count = end.wrapping_sub(first) as usize;
        let mut entries = self.ring.iter().skip(from).take(count);
        entries.all(|entry| matches!(entry.state, State::Parked { .. } | State::Large(_)))
    }

    /// The first request that is not answered, of those for which `is_left_out` does not say yes.
    #[must_use]
    pub fn first_awaited(&self, is_left_out: impl Fn(u32) -> bool) -> Option<u32> {
        let numbered = self.ring.iter().zip(0_u32..);
        let mut awaited = numbered
            .filter(|(entry, _)| matches!(entry.state, State::Waiting | State::Streaming))
            .map(|(_, at)| self.head.wrapping_add(at));
        awaited.find(|sequence| !is_left_out(*sequence))
    }

    /// How far a request stands behind the first.
    #[must_use]
    pub fn place_of(&self, sequence: u32) -> u32 {
        sequence.wrapping_sub(self.head)
    }

    /// Whether the reply to `sequence` may go out now.
    #[inline]
    #[must_use]
    pub fn is_first(&self, sequence: u32) -> bool {
        sequence == self.head && !self.ring.is_empty()
    }

    /// Whether a reply is being passed on piece by piece.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        self.ring.front().is_some_and(|entry| matches!(entry.state, State::Streaming))
    }

    /// Whether a reply is being passed on piece by piece, and its pieces are wanted.
    #[must_use]
    pub fn hears_stream(&self) -> bool {
        self.is_streaming() && self.ring.front().is_some_and(|entry| !entry.is_muted())
    }

    /// Whether nothing was asked after `sequence`.
    #[must_use]
    pub fn is_last(&self, sequence: u32) -> bool {
        !self.ring.is_empty()
            && sequence.wrapping_sub(self.head).wrapping_add(1) as usize == self.ring.len()
    }

    /// The oldest request is as if it was asked now.
    pub fn restart_clock(&mut self, now_us: u32) {
        if let Some(entry) = self.ring.front_mut() {
            entry.at_us = now_us;
        }
    }

    fn entry(&mut self, sequence: u32) -> Option<&mut Entry> {
        self.ring.get_mut(sequence.wrapping_sub(self.head) as usize)
    }

    /// Takes the reply to a request: to the output when it is its turn, with any that waited behind it, else
    /// aside.
    #[inline]
    pub fn answer(
        &mut self,
        sequence: u32,
        reply: &[u8],
        output: &mut Output,
        now_us: u32,
        tallies: &mut Tallies,
    ) {
        if self.is_first(sequence) {
            if let Some(entry) = self.ring.pop_front() {
                self.head = self.head.wrapping_add(1);
                if !entry.is_muted() {
                    output.push(reply);
                }
                let us = u64::from(now_us.wrapping_sub(entry.at_us));
                tallies.answered(entry.which(), us, reply);
            }
            self.settle(output, now_us, tallies);
        } else if reply.len() >= LARGE_BYTES {
            self.park_owned(sequence, reply.to_vec());
        } else {
            self.park(sequence, reply);
        }
    }

    /// As [`Pending::answer`], with a reply in its own buffer.
    pub fn answer_owned(
        &mut self,
        sequence: u32,
        reply: Vec<u8>,
        output: &mut Output,
        now_us: u32,
        tallies: &mut Tallies,
    ) {
        if reply.len() < LARGE_BYTES {
            self.answer(sequence, &reply, output, now_us, tallies);
            buffer::give(reply);
            return;
        }
        self.park_owned(sequence, reply);
        self.settle(output, now_us, tallies);
    }

    fn park(&mut self, sequence: u32, reply: &[u8]) {
        if self.parked.capacity() == 0 {
            self.parked = buffer::take();
        }
        let start = self.parked.len() as u32;
        let Some(entry) = self.entry(sequence) else { return };
        entry.state = State::Parked { start, len: reply.len() as u32 };
        self.parked.extend_from_slice(reply);
        self.parked_live += reply.len();
    }

    fn park_owned(&mut self, sequence: u32, reply: Vec<u8>) {
        let bytes = reply.len();
        if let Some(entry) = self.entry(sequence) {
            entry.state = State::Large(Box::new(reply));
            self.large_bytes += bytes;
        }
    }

    /// Forgets a request and those behind it, which will not be answered.
    pub fn cut(&mut self, sequence: u32) {
        let kept = sequence.wrapping_sub(self.head) as usize;
        while self.ring.len() > kept {
            match self.ring.pop_back().map(|entry| entry.state) {
                Some(State::Parked { len, .. }) => self.parked_live -= len as usize,
                Some(State::Large(reply)) => self.large_bytes -= reply.len(),
                Some(State::Waiting | State::Streaming) | None => {}
            }
        }
    }

    /// Marks the first request as being answered piece by piece. Says whether its pieces are wanted.
    pub fn begin_stream(&mut self) -> bool {
        self.ring.front_mut().is_some_and(|entry| {
            entry.state = State::Streaming;
            !entry.is_muted()
        })
    }

    /// Ends the streamed reply: the next requests have their turn.
    pub fn end_stream(&mut self, output: &mut Output, now_us: u32, tallies: &mut Tallies) {
        if let Some(entry) = self.ring.pop_front() {
            self.head = self.head.wrapping_add(1);
            let us = u64::from(now_us.wrapping_sub(entry.at_us));
            // What goes out piece by piece is no error.
            tallies.answered(entry.which(), us, b"");
        }
        self.settle(output, now_us, tallies);
    }

    /// Sends every reply whose turn has come.
    fn settle(&mut self, output: &mut Output, now_us: u32, tallies: &mut Tallies) {
        while let Some(entry) = self.ring.front_mut() {
            let muted = entry.is_muted();
            let us = u64::from(now_us.wrapping_sub(entry.at_us));
            let which = entry.which();
            match &mut entry.state {
                State::Waiting | State::Streaming => break,
                State::Parked { start, len } => {
                    let (start, len) = (*start as usize, *len as usize);
                    self.parked_live -= len;
                    let reply = &self.parked[start..start + len];
                    tallies.answered(which, us, reply);
                    if !muted {
                        output.push(reply);
                    }
                }
                State::Large(reply) => {
                    let reply = std::mem::take(&mut **reply);
                    self.large_bytes -= reply.len();
                    tallies.answered(which, us, &reply);
                    if !muted {
                        output.push_owned(reply);
                    }
                }
            }
            self.ring.pop_front();
            self.head = self.head.wrapping_add(1);
        }
        if self.parked_live == 0 {
            self.parked.clear();
        } else if self.parked.len() - self.parked_live > DEAD_BYTES_MAX
            && self.parked.len() > 2 * self.parked_live
        {
            self.compact();
        }
        if self.ring.is_empty() && self.parked.capacity() > 0 {
            buffer::give(std::mem::take(&mut self.parked));
        }
    }

    fn compact(&mut self) {
        let mut fresh = buffer::take();
        for entry in &mut self.ring {
            if let State::Parked { start, len } = &mut entry.state {
                let old = *start as usize;
                *start = fresh.len() as u32;
                fresh.extend_from_slice(&self.parked[old..old + *len as usize]);
            }
        }
        buffer::give(std::mem::replace(&mut self.parked, fresh));
    }

    /// Gives back what an idle client does not need.
    pub fn trim(&mut self) {
        if self.ring.is_empty() && self.ring.capacity() > 0 {
            self.ring = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_cut_off_is_not_answered() {
        let (mut pending, mut output, mut tallies) =
            (Pending::default(), Output::default(), Tallies::default());
        let sequences: Vec<u32> = (0..4).map(|_| pending.push(0, false, 0, Which::NONE)).collect();
        pending.answer(sequences[3], b"+late\r\n", &mut output, 0, &mut tallies);
        pending.answer_owned(sequences[2], vec![b'x'; LARGE_BYTES], &mut output, 0, &mut tallies);
        pending.cut(sequences[1]);
        assert!(!pending.awaits(sequences[1]) && pending.awaits(sequences[0]));
        for sequence in [sequences[2], sequences[1], sequences[0]] {
            pending.answer(sequence, b"+one\r\n", &mut output, 0, &mut tallies);
        }
        assert!(pending.is_empty() && pending.parked_bytes() == 0);
        assert_eq!(output.len(), b"+one\r\n".len());
    }

    #[test]
    fn early_replies_wait_for_their_turn() {
        let (mut pending, mut output, mut tallies) =
            (Pending::default(), Output::default(), Tallies::default());
        let sequences: Vec<u32> = (0..3).map(|_| pending.push(0, false, 0, Which::NONE)).collect();
        pending.answer(sequences[2], b"+c\r\n", &mut output, 5, &mut tallies);
        pending.answer(sequences[1], b"+b\r\n", &mut output, 5, &mut tallies);
        assert!(output.is_empty());
        pending.answer(sequences[0], b"+a\r\n", &mut output, 7, &mut tallies);
        assert_eq!(output.contents(), b"+a\r\n+b\r\n+c\r\n");
        assert!(pending.is_empty());
        let latency = tallies.latency();
        assert_eq!((latency.count(), latency.sum_us()), (3, 21));
    }

    #[test]
    fn what_is_answered_is_awaited_no_more() {
        let (mut output, mut tallies) = (Output::default(), Tallies::default());
        let mut pending = Pending { head: u32::MAX, ..Pending::default() };
        let next = pending.next_sequence();
        let sequences: Vec<u32> = (0..2).map(|_| pending.push(0, false, 0, Which::NONE)).collect();
        assert_eq!(sequences, [next, next.wrapping_add(1)]);
        pending.answer(sequences[0], b"+a\r\n", &mut output, 0, &mut tallies);
        assert!(!pending.awaits(sequences[0]) && pending.awaits(sequences[1]));
        assert!(!pending.awaits(pending.next_sequence()));
    }

    #[test]
    fn the_first_that_is_not_answered_is_known() {
        let (mut pending, mut output, mut tallies) =
            (Pending::default(), Output::default(), Tallies::default());
        let all: Vec<u32> = (0..4).map(|_| pending.push(0, false, 0, Which::NONE)).collect();
        assert_eq!(pending.first_awaited(|_| false), Some(all[0]));
        pending.answer(all[1], b"+b\r\n", &mut output, 0, &mut tallies);
        assert_eq!(pending.first_awaited(|it| it == all[0]), Some(all[2]));
        assert_eq!(pending.first_awaited(|it| it != all[3]), Some(all[3]));
        assert_eq!(pending.first_awaited(|_| true), None);
        pending.answer(all[0], b"+a\r\n", &mut output, 0, &mut tallies);
        assert_eq!((pending.place_of(all[2]), pending.place_of(all[3])), (0, 1));
    }

    #[test]
    fn a_muted_request_is_answered_with_silence() {
        let (mut pending, mut output, mut tallies) =
            (Pending::default(), Output::default(), Tallies::default());
        let muted = pending.push(0, true, 0, Which::NONE);
        let heard = pending.push(0, false, 0, Which::NONE);
        pending.answer(heard, b"+b\r\n", &mut output, 0, &mut tallies);
        pending.answer(muted, b"+a\r\n", &mut output, 0, &mut tallies);
        assert_eq!(output.contents(), b"+b\r\n");
    }

    #[test]
    fn what_was_asked_is_known_until_it_is_answered() {
        let (mut pending, mut output, mut tallies) =
            (Pending::default(), Output::default(), Tallies::default());
        let get = Which::of(redstart_common::command::lookup(b"get"));
        let set = Which::of(redstart_common::command::lookup(b"set"));
        let first = pending.push(0, true, 3, set);
        let second = pending.push(0, false, 0, get);
        let third = pending.push(0, false, 0, get);
        assert!(!pending.are_parked(second, third.wrapping_add(1)));
        pending.answer_owned(third, vec![b'x'; LARGE_BYTES], &mut output, 5, &mut tallies);
        pending.answer(second, b"-WRONGTYPE x\r\n", &mut output, 5, &mut tallies);
        assert!(pending.are_parked(second, third.wrapping_add(1)));
        assert!(!pending.are_parked(first, second) && pending.are_parked(second, second));
        pending.answer(first, b"-OOM x\r\n", &mut output, 7, &mut tallies);
        let seen: Vec<(u64, u64, u64)> = tallies
            .commands()
            .map(|(_, it)| (it.latency.count(), it.latency.sum_us(), it.errors))
            .collect();
        let of = |which: Which| {
            let place = usize::from(which.bits());
            let at = tallies.commands().position(|(other, _)| other == place);
            seen[at.expect("it was counted")]
        };
        assert_eq!((of(set), of(get)), ((1, 7, 1), (2, 14, 1)));
        assert_eq!(tallies.codes().collect::<Vec<_>>(), [("OOM", 1), ("WRONGTYPE", 1)]);
    }

    #[test]
    fn a_streamed_reply_holds_the_others_back() {
        let (mut pending, mut output, mut tallies) =
            (Pending::default(), Output::default(), Tallies::default());
        let streamed = pending.push(0, false, 0, Which::NONE);
        let behind = pending.push(0, false, 0, Which::NONE);
        assert!(pending.is_first(streamed) && pending.begin_stream());
        output.push(b"$4\r\nab");
        pending.answer(behind, b"+b\r\n", &mut output, 0, &mut tallies);
        output.push(b"cd\r\n");
        pending.end_stream(&mut output, 0, &mut tallies);
        assert_eq!(output.contents(), b"$4\r\nabcd\r\n+b\r\n");
    }

    proptest! {
        /// Replies of any size in any order leave in the order of the requests.
        #[test]
        fn order_is_kept(
            sizes in prop::collection::vec(prop_oneof![4 => 1usize..200, 1 => 15_000usize..20_000], 1..60),
            seed in any::<u64>(),
            start in any::<u32>(),
        ) {
            let mut pending = Pending { head: start, ..Pending::default() };
            let (mut output, mut tallies) = (Output::default(), Tallies::default());
            let mut waiting: Vec<(u32, Vec<u8>)> = Vec::new();
            let mut expected = Vec::new();
            let mut chance = seed;
            for (number, size) in sizes.iter().enumerate() {
                let reply = vec![number as u8; *size];
                expected.extend_from_slice(&reply);
                waiting.push((pending.push(0, false, 0, Which::NONE), reply));
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if chance >> 62 != 0 {
                    let place = (chance >> 32) as usize % waiting.len();
                    let (sequence, reply) = waiting.swap_remove(place);
                    pending.answer(sequence, &reply, &mut output, 0, &mut tallies);
                }
            }
            for (sequence, reply) in waiting.into_iter().rev() {
                pending.answer_owned(sequence, reply, &mut output, 0, &mut tallies);
            }
            prop_assert!(pending.is_empty());
            prop_assert_eq!(pending.parked_bytes(), 0);
            prop_assert_eq!(output.contents(), expected);
        }
    }
}
