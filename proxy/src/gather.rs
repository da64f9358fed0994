//! The replies of a split request become one reply.
//!
//! A request that names keys of several servers, or that goes to every server, is sent in parts. Their replies
//! are kept side by side as they come and merged when the last one is there. The first error among the parts,
//! in their order, is the reply of the whole. Large values do not wait for that: they flow ([`Flow`]).

mod flow;

use redstart_common::net::buffer;
use slab::Slab;

use self::flow::{Flow, State};

use crate::backend::skipper::Skipper;
use crate::client::ClientId;
use crate::route::scan::cursor_after;

/// Spare gathers whose vectors are kept for reuse.
const SPARES_MAX: usize = 64;

/// A split request; the generation tells a reused place from its former holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatherId {
    index: u32,
    generation: u32,
}

/// How replies become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// An array with one element per key, in the order of the keys.
    Values,
    /// The sum of the numbers.
    Sum,
    /// The least of the numbers.
    Least,
    /// The first reply: all say the same.
    First,
    /// One array of all elements.
    Concatenate,
    /// Any of the replies that are not null, chosen by this number.
    Any(u32),
    /// Arrays of 0 and 1: 1 where all are 1, or where it is known.
    And,
    /// The cursor of a scan over several shards; see [`scan`](crate::route::scan).
    Scan {
        /// The cursor that leads back into the shard that was asked, less its own.
        here: u32,
        /// The cursor with which the shard after it begins.
        next: u32,
    },
}

#[derive(Debug, Clone, Copy, Default)]
struct Part {
    start: usize,
    len: usize,
}

#[derive(Debug, Default)]
struct Gather {
    generation: u32,
    merge: Option<Merge>,
    client: ClientId,
    sequence: u32,
    missing: u32,
    parts: Vec<Part>,
    /// For each key, the part that holds its value; for each element of [`Merge::And`], whether it is known to be 1.
    order: Vec<u16>,
    bytes: Vec<u8>,
    /// Its parts go out as they come.
    flow: Option<Box<Flow>>,
}

/// A merged reply and whose it is.
#[derive(Debug)]
pub struct Merged {
    /// The client.
    pub client: ClientId,
    /// The request's number in the client's queue.
    pub sequence: u32,
    /// The reply.
    pub reply: Vec<u8>,
    /// Bytes of the parts' replies.
    pub parts_bytes: usize,
}

/// What is to become of the client whose request flows.
#[derive(Debug, PartialEq, Eq)]
pub enum Flowed {
    /// More has to come.
    On,
    /// All has gone out.
    Done,
    /// This is the reply: an error, or the whole for a client whose turn it is not.
    Whole(Vec<u8>),
    /// It breaks off.
    Broken,
}

/// The split requests of a worker.
#[derive(Debug, Default)]
pub struct Gathers {
    slab: Slab<Gather>,
    spares: Vec<Gather>,
    generation: u32,
}

/// The text of an error for replies that do not fit together.
pub const MISFIT: &[u8] = b"-ERR a server of this pool sent a reply of an unexpected shape\r\n";

impl Gathers {
    /// Begins a request of `parts` parts. `order` names for each key the part that holds its value where the merge is
    /// [`Merge::Values`], may say 1 of elements of [`Merge::And`] that are known to be, and is empty otherwise.
    pub fn begin(
        &mut self,
        merge: Merge,
        client: ClientId,
        sequence: u32,
        parts: usize,
        order: &[u16],
    ) -> GatherId {
        self.generation = self.generation.wrapping_add(1);
        let mut gather = self.spares.pop().unwrap_or_default();
        gather.generation = self.generation;
        gather.merge = Some(merge);
        gather.flow = None;
        gather.client = client;
        gather.sequence = sequence;
        gather.missing = parts as u32;
        gather.parts.clear();
        gather.parts.resize(parts, Part::default());
        gather.order.clear();
        gather.order.extend_from_slice(order);
        gather.bytes = buffer::take();
        let index = self.slab.insert(gather) as u32;
        GatherId { index, generation: self.generation }
    }

    /// Takes the reply to a part; gives the merged reply when it was the last one.
    pub fn part(&mut self, id: GatherId, part: u32, reply: &[u8]) -> Option<Merged> {
        let gather = self.slab.get_mut(id.index as usize)?;
        if gather.generation != id.generation {
            return None;
        }
        let place = gather.parts.get_mut(part as usize)?;
        *place = Part { start: gather.bytes.len(), len: reply.len() };
        gather.bytes.extend_from_slice(reply);
        gather.missing -= 1;
        if gather.missing > 0 {
            return None;
        }
        let mut gather = self.slab.remove(id.index as usize);
        let mut reply = buffer::take();
        gather.merge_into(&mut reply);
        let merged = Merged {
            client: gather.client,
            sequence: gather.sequence,
            reply,
            parts_bytes: gather.bytes.len(),
        };
        buffer::give(std::mem::take(&mut gather.bytes));
        if self.spares.len() < SPARES_MAX && gather.order.capacity() <= 4096 {
            self.spares.push(gather);
        }
        Some(merged)
    }

    /// Bytes of the replies that have come to a request.
    #[must_use]
    pub fn bytes_of(&self, id: GatherId) -> usize {
        let gather = self.slab.get(id.index as usize);
        gather.filter(|it| it.generation == id.generation).map_or(0, Gather::held_bytes)
    }

    /// Whose request it is, and its number in the client's queue; `None` when it is over.
    #[must_use]
    pub fn owner_of(&self, id: GatherId) -> Option<(ClientId, u32)> {
        let gather = self.slab.get(id.index as usize)?;
        (gather.generation == id.generation).then_some((gather.client, gather.sequence))
    }

    fn get_mut(&mut self, id: GatherId) -> Option<&mut Gather> {
        self.slab.get_mut(id.index as usize).filter(|gather| gather.generation == id.generation)
    }

    /// Whether the parts of a request go out as they come.
    #[must_use]
    pub fn is_flowing(&self, id: GatherId) -> bool {
        let gather = self.slab.get(id.index as usize);
        gather.is_some_and(|it| it.generation == id.generation && it.flow.is_some())
    }

    /// The reply to a part begins to arrive and is large: from now on parts go out as they come, if they can. Says whether
    /// that is so.
    pub fn begin_flow(&mut self, id: GatherId) -> bool {
        let Some(gather) = self.get_mut(id) else { return false };
        if gather.flow.is_some() {
            return true;
        }
        if !gather.merge.is_some_and(Flow::suits) {
            return false;
        }
        let mut flow = Flow::new(gather.parts.len(), std::mem::take(&mut gather.order));
        let bytes = std::mem::take(&mut gather.bytes);
        for (part, place) in gather.parts.iter().enumerate().filter(|(_, place)| place.len > 0) {
            let reply = &bytes[place.start..place.start + place.len];
            // Nothing has gone out yet, so that whatever does not fit can be told.
            let _ = flow.take(part, reply, true, &mut |_| {});
        }
        buffer::give(bytes);
        gather.flow = Some(Box::new(flow));
        true
    }

    /// Takes a piece of a part of a request that flows. What goes out to its client, whose turn it is if `may_go`, is handed to
    /// `emit`; whatever ends the request ends it here.
    pub fn flow(
        &mut self,
        id: GatherId,
        part: u32,
        piece: &[u8],
        is_last: bool,
        may_go: bool,
        mut emit: impl FnMut(&[u8]),
    ) -> Flowed {
        let Some(flow) = self.get_mut(id).and_then(|gather| gather.flow.as_mut()) else {
            return Flowed::On;
        };
        let mut fits = flow.take(part as usize, piece, is_last, &mut emit).map(|()| false);
        if fits.is_ok() && (may_go || flow.has_begun()) {
            fits = flow.drain(&mut emit);
        }
        let flowed = match (fits, flow.state()) {
            (Err(_), _) => Flowed::Broken,
            (Ok(true), _) => Flowed::Done,
            (_, State::Failed) => Flowed::Whole(flow.error().unwrap_or_default().to_vec()),
            (_, State::Ready) if flow.is_complete() && !flow.has_begun() => {
                let mut whole = Vec::with_capacity(flow.held_bytes() + 16);
                match flow.drain(&mut |piece| whole.extend_from_slice(piece)) {
                    Ok(true) => Flowed::Whole(whole),
                    _ => Flowed::Whole(MISFIT.to_vec()),
                }
            }
            _ => Flowed::On,
        };
        if flowed != Flowed::On {
            self.forget(id);
        }
        flowed
    }

    /// Whether anything of a request that flows has gone out.
    #[must_use]
    pub fn has_begun(&self, id: GatherId) -> bool {
        let gather = self.slab.get(id.index as usize).filter(|it| it.generation == id.generation);
        gather.and_then(|it| it.flow.as_ref()).is_some_and(|flow| flow.has_begun())
    }

    /// How its replies become one; `None` when it is over.
    #[must_use]
    pub fn merge_of(&self, id: GatherId) -> Option<Merge> {
        let gather = self.slab.get(id.index as usize)?;
        gather.merge.filter(|_| gather.generation == id.generation)
    }

    /// Whose request it is; `None` when it is over.
    #[must_use]
    pub fn client_of(&self, id: GatherId) -> Option<ClientId> {
        let gather = self.slab.get(id.index as usize)?;
        (gather.generation == id.generation).then_some(gather.client)
    }

    /// Ends a request that nobody waits for any more: what is still to come of it is ignored.
    pub fn forget(&mut self, id: GatherId) {
        if self.client_of(id).is_some() {
            buffer::give(self.slab.remove(id.index as usize).bytes);
        }
    }

    /// Split requests under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether none is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Gives back memory an idle worker does not need.
    pub fn trim(&mut self) {
        self.spares = Vec::new();
        if self.slab.is_empty() {
            self.slab.shrink_to_fit();
        }
    }
}

impl Gather {
    fn held_bytes(&self) -> usize {
        self.bytes.len() + self.flow.as_ref().map_or(0, |flow| flow.held_bytes())
    }

    fn reply(&self, part: usize) -> &[u8] {
        let Part { start, len } = self.parts[part];
        &self.bytes[start..start + len]
    }

    fn replies(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.parts.len()).map(|part| self.reply(part))
    }

    fn merge_into(&self, out: &mut Vec<u8>) {
        if let Some(error) = self.replies().find(|reply| reply.first() == Some(&b'-')) {
            out.extend_from_slice(error);
            return;
        }
        let start = out.len();
        let merged = match self.merge {
            Some(Merge::Values) => self.values(out),
            Some(Merge::Sum) => self.sum(out),
            Some(Merge::Least) => self.least(out),
            Some(Merge::First) | None => {
                out.extend_from_slice(self.reply(0));
                Some(())
            }
            Some(Merge::Concatenate) => self.concatenate(out),
            Some(Merge::Any(chance)) => {
                self.any(chance, out);
                Some(())
            }
            Some(Merge::And) => self.and(out),
            Some(Merge::Scan { here, next }) => self.scan(here, next, out),
        };
        if merged.is_none() {
            out.truncate(start);
            out.extend_from_slice(MISFIT);
        }
    }

    fn values(&self, out: &mut Vec<u8>) -> Option<()> {
        header(out, b'*', self.order.len() as u64);
        let mut places = smallvec::SmallVec::<[usize; 16]>::new();
        let mut wanted = smallvec::SmallVec::<[u64; 16]>::from_elem(0, self.parts.len());
        for owner in &self.order {
            *wanted.get_mut(usize::from(*owner))? += 1;
        }
        for (part, wanted) in wanted.into_iter().enumerate() {
            let (count, at) = array(self.reply(part))?;
            if count != wanted {
                return None;
            }
            places.push(at);
        }
        for owner in &self.order {
            let part = usize::from(*owner);
            let at = places[part];
            let rest = &self.reply(part)[at..];
            let len = element(rest)?;
            out.extend_from_slice(&rest[..len]);
            places[part] += len;
        }
        Some(())
    }

    fn sum(&self, out: &mut Vec<u8>) -> Option<()> {
        let mut sum = 0_i64;
        for reply in self.replies() {
            sum = sum.checked_add(integer(reply)?)?;
        }
        out.extend_from_slice(format!(":{sum}\r\n").as_bytes());
        Some(())
    }

    fn least(&self, out: &mut Vec<u8>) -> Option<()> {
        let numbers: Option<Vec<i64>> = self.replies().map(integer).collect();
        let least = numbers?.into_iter().min()?;
        out.extend_from_slice(format!(":{least}\r\n").as_bytes());
        Some(())
    }

    fn concatenate(&self, out: &mut Vec<u8>) -> Option<()> {
        let mut total = 0;
        for reply in self.replies() {
            total += array(reply)?.0;
        }
        header(out, b'*', total);
        for reply in self.replies() {
            out.extend_from_slice(&reply[array(reply)?.1..]);
        }
        Some(())
    }

    fn any(&self, chance: u32, out: &mut Vec<u8>) {
        let is_value = |reply: &&[u8]| !reply.starts_with(b"$-1") && !reply.starts_with(b"_");
        let count = self.replies().filter(is_value).count();
        let chosen = if count == 0 {
            self.replies().next()
        } else {
            self.replies().filter(is_value).nth(chance as usize % count)
        };
        out.extend_from_slice(chosen.unwrap_or(b"$-1\r\n"));
    }

    fn and(&self, out: &mut Vec<u8>) -> Option<()> {
        let (count, _) = array(self.reply(0))?;
        let mut places = smallvec::SmallVec::<[usize; 16]>::new();
        for reply in self.replies() {
            let (other, at) = array(reply)?;
            if other != count {
                return None;
            }
            places.push(at);
        }
        header(out, b'*', count);
        for number in 0..count as usize {
            let mut all = true;
            for (part, at) in places.iter_mut().enumerate() {
                let rest = &self.reply(part)[*at..];
                let len = element(rest)?;
                all &= integer(&rest[..len])? == 1;
                *at += len;
            }
            all |= self.order.get(number) == Some(&1);
            out.extend_from_slice(if all { b":1\r\n" } else { b":0\r\n" });
        }
        Some(())
    }

    /// Puts the server into the cursor that its reply carries.
    fn scan(&self, here: u32, next: u32, out: &mut Vec<u8>) -> Option<()> {
        let reply = self.reply(0);
        let (2, at) = array(reply)? else { return None };
        let len = element(&reply[at..])?;
        let cursor = bulk(&reply[at..at + len])?;
        let cursor = std::str::from_utf8(cursor).ok()?.parse::<u64>().ok()?;
        let Some(next) = cursor_after(cursor, here, next) else {
            out.extend_from_slice(
                b"-ERR the cursor of a server is too large to carry its number\r\n",
            );
            return Some(());
        };
        let text = next.to_string();
        out.extend_from_slice(b"*2\r\n");
        header(out, b'$', text.len() as u64);
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&reply[at + len..]);
        Some(())
    }
}

/// The cursor of a reply to SCAN, its keys as they are sent, and how many; `None` where it is something else.
#[must_use]
pub fn scanned(reply: &[u8]) -> Option<(&[u8], &[u8], u64)> {
    let (2, at) = array(reply)? else { return None };
    let len = element(&reply[at..])?;
    let cursor = bulk(&reply[at..at + len])?;
    let rest = &reply[at + len..];
    let (found, from) = array(rest)?;
    Some((cursor, &rest[from..], found))
}

/// Appends a header such as `*3`.
#[inline]
pub fn header(out: &mut Vec<u8>, kind: u8, count: u64) {
    redstart_common::resp::encode::header(out, kind, count as usize);
}

/// The number on a header line and where the line ends.
fn line_number(bytes: &[u8]) -> Option<(i64, usize)> {
    let (negative, mut at) = if bytes.get(1) == Some(&b'-') { (true, 2) } else { (false, 1) };
    let mut number = 0_i64;
    let start = at;
    while let Some(digit) = bytes.get(at).filter(|byte| byte.is_ascii_digit()) {
        number = number.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
        at += 1;
    }
    if at == start || bytes.get(at..at + 2) != Some(b"\r\n") {
        return None;
    }
    Some((if negative { -number } else { number }, at + 2))
}

/// Count of an array (or set) and where its elements begin.
#[must_use]
pub fn array(reply: &[u8]) -> Option<(u64, usize)> {
    if !matches!(reply.first(), Some(b'*' | b'~')) {
        return None;
    }
    let (count, at) = line_number(reply)?;
    Some((u64::try_from(count).ok()?, at))
}

fn integer(reply: &[u8]) -> Option<i64> {
    if reply.first() != Some(&b':') {
        return None;
    }
    line_number(reply).map(|(number, _)| number)
}

fn bulk(reply: &[u8]) -> Option<&[u8]> {
    if reply.first() != Some(&b'$') {
        return None;
    }
    let (len, at) = line_number(reply)?;
    reply.get(at..at + usize::try_from(len).ok()?)
}

/// The length of the first element of `bytes`; `None` where it is not there whole.
#[inline]
#[must_use]
pub fn element(bytes: &[u8]) -> Option<usize> {
    if bytes.first() == Some(&b'$') {
        let (len, at) = line_number(bytes)?;
        let end = if len < 0 { at } else { at + usize::try_from(len).ok()? + 2 };
        return (end <= bytes.len()).then_some(end);
    }
    match Skipper::default().feed(bytes) {
        Ok((len, true)) => Some(len),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn merge(merge: Merge, order: &[u16], replies: &[&str]) -> String {
        let mut gathers = Gathers::default();
        let id = gathers.begin(merge, ClientId::default(), 7, replies.len(), order);
        let mut merged = None;
        // The last part arrives first: order of arrival must not matter.
        for (part, reply) in replies.iter().enumerate().rev() {
            assert!(merged.is_none());
            merged = gathers.part(id, part as u32, reply.as_bytes());
        }
        assert!(gathers.is_empty());
        String::from_utf8(merged.expect("all parts are there").reply).expect("text")
    }

    #[test]
    fn values_come_in_the_order_of_the_keys() {
        let merged = merge(
            Merge::Values,
            &[0, 1, 1, 0],
            &["*2\r\n$1\r\na\r\n$-1\r\n", "*2\r\n$1\r\nb\r\n$2\r\ncc\r\n"],
        );
        assert_eq!(merged, "*4\r\n$1\r\na\r\n$1\r\nb\r\n$2\r\ncc\r\n$-1\r\n");
    }

    #[test]
    fn numbers_add_up_and_the_first_error_wins() {
        assert_eq!(merge(Merge::Sum, &[], &[":2\r\n", ":0\r\n", ":40\r\n"]), ":42\r\n");
        assert_eq!(merge(Merge::Sum, &[], &[":2\r\n", "-ERR b\r\n", "-ERR c\r\n"]), "-ERR b\r\n");
        assert_eq!(merge(Merge::First, &[], &["+OK\r\n", "+OK\r\n"]), "+OK\r\n");
    }

    #[test]
    fn arrays_are_joined() {
        let merged =
            merge(Merge::Concatenate, &[], &["*1\r\n$1\r\na\r\n", "*0\r\n", "*1\r\n$1\r\nb\r\n"]);
        assert_eq!(merged, "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
        assert_eq!(merge(Merge::Least, &[], &[":7\r\n", ":-2\r\n", ":5\r\n"]), ":-2\r\n");
        assert_eq!(
            merge(
                Merge::And,
                &[0, 1, 0],
                &["*3\r\n:1\r\n:0\r\n:0\r\n", "*3\r\n:1\r\n:1\r\n:1\r\n"]
            ),
            "*3\r\n:1\r\n:1\r\n:0\r\n"
        );
        assert_eq!(
            merge(Merge::And, &[], &["*2\r\n:1\r\n:0\r\n", "*2\r\n:1\r\n:1\r\n"]),
            "*2\r\n:1\r\n:0\r\n"
        );
    }

    #[test]
    fn a_random_key_is_not_null_if_there_is_any() {
        for chance in 0..5 {
            assert_eq!(merge(Merge::Any(chance), &[], &["$-1\r\n", "$1\r\nk\r\n"]), "$1\r\nk\r\n");
        }
        assert_eq!(merge(Merge::Any(3), &[], &["$-1\r\n", "$-1\r\n"]), "$-1\r\n");
    }

    #[test]
    fn replies_that_do_not_fit_give_an_error() {
        let misfit = std::str::from_utf8(MISFIT).expect("text");
        assert_eq!(
            merge(Merge::Values, &[0, 1], &["*1\r\n$1\r\na\r\n", "*2\r\n$1\r\nb\r\n$1\r\nc\r\n"]),
            misfit
        );
        assert_eq!(merge(Merge::Sum, &[], &["+OK\r\n", ":1\r\n"]), misfit);
        assert_eq!(merge(Merge::Concatenate, &[], &["$1\r\na\r\n"]), misfit);
    }

    #[test]
    fn a_scan_goes_from_server_to_server() {
        let reply =
            |cursor: &str| format!("*2\r\n${}\r\n{cursor}\r\n*1\r\n$1\r\nk\r\n", cursor.len());
        let scan = |next, cursor| merge(Merge::Scan { here: 3, next }, &[], &[&reply(cursor)]);
        assert_eq!(scan(9, "96"), reply(&(96 << 20 | 3).to_string()));
        assert_eq!(scan(9, "0"), reply("9"));
        assert_eq!(scan(0, "0"), reply("0"));
        assert!(scan(0, "18446744073709551615").starts_with("-ERR"));
    }

    #[test]
    fn a_reply_to_a_finished_request_is_ignored() {
        let mut gathers = Gathers::default();
        let id = gathers.begin(Merge::Sum, ClientId::default(), 0, 1, &[]);
        assert!(gathers.part(id, 0, b":1\r\n").is_some());
        let _ = gathers.begin(Merge::Sum, ClientId::default(), 0, 1, &[]);
        assert!(gathers.part(id, 0, b":1\r\n").is_none());
    }

    proptest! {
        #[test]
        fn no_reply_makes_a_merge_panic(
            replies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..4),
            order in prop::collection::vec(0u16..4, 0..6),
        ) {
            for kind in [Merge::Values, Merge::Sum, Merge::Concatenate, Merge::And,
                         Merge::Scan { here: 1, next: 2 }] {
                let parts = replies.len();
                let order: Vec<u16> = order.iter().map(|part| part % parts as u16).collect();
                let mut gathers = Gathers::default();
                let id = gathers.begin(kind, ClientId::default(), 0, parts, &order);
                for (part, reply) in replies.iter().enumerate() {
                    let _ = gathers.part(id, part as u32, reply);
                }
            }
        }
    }
}
