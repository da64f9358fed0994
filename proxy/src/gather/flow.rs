//! Large replies of parts that go out as they come. Pure: bytes in, pieces out.
//!
//! Each part is an array. Once all of them have begun as they should, the elements go out in the order of the whole, those that
//! come before their turn are held, and nothing is held twice. What breaks off after that cannot be an error reply any more.

use super::{Merge, array, header};
use crate::backend::skipper::Skipper;
use crate::output::Output;

/// One part.
#[derive(Debug, Default)]
struct Part {
    /// What has come before its turn.
    held: Output,
    /// Elements that are still to go out; `None` until its header has come.
    left: Option<u64>,
    is_complete: bool,
}

/// A reply that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfit;

/// How far the reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not all parts have begun.
    Waiting,
    /// Elements may go out.
    Ready,
    /// All parts are there, one of them an error, which is the reply.
    Failed,
}

/// The reply that is put together.
#[derive(Debug)]
pub struct Flow {
    parts: Vec<Part>,
    /// For each element, the part that holds it; empty where the parts follow each other.
    order: Vec<u16>,
    at: usize,
    element: Skipper,
    has_begun: bool,
    /// The part that failed first, in their order, and how.
    error: Option<(usize, Vec<u8>)>,
    held_bytes: usize,
}

impl Flow {
    /// Whether replies that are merged so may flow.
    #[must_use]
    pub fn suits(merge: Merge) -> bool {
        matches!(merge, Merge::Values | Merge::Concatenate)
    }

    /// Nothing has come. `order` names for each element the part that holds it, or is empty where parts follow each other.
    #[must_use]
    pub fn new(parts: usize, order: Vec<u16>) -> Self {
        Self {
            parts: (0..parts).map(|_| Part::default()).collect(),
            order,
            at: 0,
            element: Skipper::default(),
            has_begun: false,
            error: None,
            held_bytes: 0,
        }
    }

    /// Bytes that are held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Whether anything went out.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The error that is the reply, if a part has failed.
    #[must_use]
    pub fn error(&self) -> Option<&[u8]> {
        self.error.as_ref().map(|(_, error)| error.as_slice())
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> State {
        match &self.error {
            Some(_) if self.is_complete() => State::Failed,
            None if self.parts.iter().all(|part| part.left.is_some()) => State::Ready,
            _ => State::Waiting,
        }
    }

    /// Whether all parts are there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.parts.iter().all(|part| part.is_complete)
    }

    /// Takes a piece of a part, the first of which has its header whole. What can go out at once is handed to `emit`.
    ///
    /// # Errors
    /// When it does not fit, and something has gone out already.
    pub fn take(
        &mut self,
        part: usize,
        mut piece: &[u8],
        is_last: bool,
        emit: &mut impl FnMut(&[u8]),
    ) -> Result<(), Misfit> {
        let Some(it) = self.parts.get_mut(part) else { return Err(Misfit) };
        it.is_complete |= is_last;
        if it.left.is_none() {
            if piece.starts_with(b"-") {
                return self.fail(part, piece);
            }
            // A part has one header and many pieces: only with the first is counted what is wanted of it.
            let order = &self.order;
            let wanted =
                || order.iter().filter(|owner| usize::from(**owner) == part).count() as u64;
            match array(piece) {
                Some((count, at)) if order.is_empty() || count == wanted() => {
                    it.left = Some(count);
                    piece = &piece[at..];
                }
                _ => return self.fail(part, super::MISFIT),
            }
        }
        if self.error.is_some() {
            return Ok(());
        }
        if self.has_begun && self.current() == Some(part) && self.parts[part].held.is_empty() {
            let count = self.emit_from(piece, part, emit)?;
            piece = &piece[count..];
        }
        if !piece.is_empty() {
            self.parts[part].held.push(piece);
            self.held_bytes += piece.len();
        }
        Ok(())
    }

    /// A part has failed: what has come of the others is not needed.
    fn fail(&mut self, part: usize, error: &[u8]) -> Result<(), Misfit> {
        if self.has_begun {
            return Err(Misfit);
        }
        if self.error.as_ref().is_none_or(|(other, _)| *other > part) {
            self.error = Some((part, error.to_vec()));
        }
        self.parts.iter_mut().for_each(|part| part.held.clear());
        self.held_bytes = 0;
        Ok(())
    }

    /// The part whose element is next; `None` when all have gone out.
    fn current(&self) -> Option<usize> {
        if self.order.is_empty() {
            return self.parts.iter().position(|part| part.left != Some(0));
        }
        self.order.get(self.at).map(|part| usize::from(*part))
    }

    /// Hands on what may go out, if all parts have begun. Says whether that was all there is.
    ///
    /// # Errors
    /// When a part breaks off.
    pub fn drain(&mut self, emit: &mut impl FnMut(&[u8])) -> Result<bool, Misfit> {
        if self.state() != State::Ready {
            return Ok(false);
        }
        if !self.has_begun {
            self.has_begun = true;
            let count: u64 = self.parts.iter().filter_map(|part| part.left).sum();
            let mut line = Vec::new();
            header(&mut line, b'*', count);
            emit(&line);
        }
        while let Some(part) = self.current() {
            let mut held = std::mem::take(&mut self.parts[part].held);
            if held.is_empty() {
                // Nothing more comes of it, and an element is missing.
                return if self.parts[part].is_complete { Err(Misfit) } else { Ok(false) };
            }
            let count = self.emit_from(held.front(), part, emit);
            let taken = *count.as_ref().unwrap_or(&0);
            held.skip(taken);
            self.held_bytes -= taken;
            self.parts[part].held = held;
            count?;
        }
        Ok(true)
    }

    /// Hands on what belongs to elements in a row of a part, as far as it is there. Says how many bytes.
    fn emit_from(
        &mut self,
        bytes: &[u8],
        part: usize,
        emit: &mut impl FnMut(&[u8]),
    ) -> Result<usize, Misfit> {
        let mut at = 0;
        while at < bytes.len() && self.current() == Some(part) {
            let (count, is_whole) = self.element.feed(&bytes[at..]).map_err(|_| Misfit)?;
            at += count;
            if !is_whole {
                break;
            }
            self.element.reset();
            self.at += 1;
            let left = &mut self.parts[part].left;
            *left = left.map(|left| left.saturating_sub(1));
        }
        if at > 0 {
            emit(&bytes[..at]);
        }
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reply(values: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        header(&mut out, b'*', values.len() as u64);
        for value in values {
            header(&mut out, b'$', value.len() as u64);
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    #[test]
    fn an_error_before_anything_has_gone_out_is_the_reply() {
        let mut flow = Flow::new(3, vec![0, 1, 2]);
        let mut nothing = |_: &[u8]| panic!("it is not known yet");
        flow.take(0, &reply(&[b"a"]), true, &mut nothing).expect("it fits");
        flow.take(2, b"-ERR two\r\n", true, &mut nothing).expect("it fits");
        assert_eq!((flow.state(), flow.held_bytes()), (State::Waiting, 0));
        flow.take(1, b"-ERR one\r\n", true, &mut nothing).expect("it fits");
        assert_eq!(flow.drain(&mut nothing), Ok(false));
        assert_eq!(flow.state(), State::Failed);
        assert_eq!(flow.error(), Some(&b"-ERR one\r\n"[..]), "the first in their order");
        let mut flow = Flow::new(2, vec![0, 1, 1]);
        flow.take(1, &reply(&[b"a"]), true, &mut nothing).expect("it can be told");
        flow.take(0, &reply(&[b"a"]), true, &mut nothing).expect("it fits");
        assert_eq!(flow.error(), Some(crate::gather::MISFIT), "one of two values");
    }

    #[test]
    fn what_does_not_fit_later_ends_it() {
        let mut out = Vec::new();
        let mut emit = |piece: &[u8]| out.extend_from_slice(piece);
        let mut flow = Flow::new(2, vec![0, 1, 0]);
        flow.take(1, &reply(&[b"b"]), true, &mut emit).expect("it fits");
        flow.take(0, b"*2\r\n$1\r\na\r\n", false, &mut emit).expect("it fits");
        assert_eq!(flow.drain(&mut emit), Ok(false));
        assert_eq!(flow.take(0, b"$-7\r\n", false, &mut emit), Err(Misfit));
        let mut flow = Flow::new(1, vec![0, 0]);
        flow.take(0, b"*2\r\n$1\r\na\r\n", true, &mut emit).expect("it fits");
        assert_eq!(flow.drain(&mut emit), Err(Misfit), "it is complete, and one is missing");
    }

    proptest! {
        /// However the parts come, in pieces of any size, what goes out is what merging them whole gives, and nothing is held
        /// that is not needed.
        #[test]
        fn pieces_give_what_the_whole_gives(
            owners in prop::collection::vec(0u16..3, 1..40),
            sizes in prop::collection::vec(0usize..300, 40),
            in_a_row in any::<bool>(),
            cuts in prop::collection::vec((0usize..3, 1usize..500), 0..200),
        ) {
            let values: Vec<Vec<u8>> =
                sizes.iter().zip(0u8..).map(|(size, at)| vec![at; *size]).collect();
            let of = |part: u16| -> Vec<&[u8]> {
                let own = owners.iter().zip(&values).filter(|(owner, _)| **owner == part);
                own.map(|(_, value)| value.as_slice()).collect()
            };
            let parts: Vec<Vec<u8>> = (0..3).map(|part| reply(&of(part))).collect();
            let wanted = if in_a_row {
                reply(&(0..3).flat_map(of).collect::<Vec<_>>())
            } else {
                reply(&owners.iter().zip(&values).map(|(_, it)| it.as_slice()).collect::<Vec<_>>())
            };
            let order = if in_a_row { Vec::new() } else { owners.clone() };
            let mut flow = Flow::new(3, order);
            let (mut out, mut at) = (Vec::new(), [0; 3]);
            let mut is_done = false;
            // What is left comes at the end.
            let rest = (0..3).map(|part| (part, usize::MAX));
            for (part, size) in cuts.into_iter().chain(rest) {
                // A header comes whole.
                let size = if at[part] == 0 { size.max(6) } else { size };
                let piece = &parts[part][at[part]..][..size.min(parts[part].len() - at[part])];
                if piece.is_empty() && size != usize::MAX {
                    continue;
                }
                if piece.is_empty() {
                    continue;
                }
                at[part] += piece.len();
                let mut emit = |piece: &[u8]| out.extend_from_slice(piece);
                let is_last = at[part] == parts[part].len();
                flow.take(part, piece, is_last, &mut emit).expect("it fits");
                is_done = flow.drain(&mut emit).expect("it fits");
            }
            prop_assert!(is_done && flow.is_complete());
            prop_assert_eq!(flow.held_bytes(), 0);
            prop_assert!(out == wanted);
        }
    }
}
