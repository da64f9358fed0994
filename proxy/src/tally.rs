//! What clients were answered, by command: how long it took and how often it was an error.
//!
//! It is counted where a reply is handed to its client, with the times that the turn knows anyway: an entry of a table and an
//! addition for each reply. Of errors the code is noted too, which is the word that they begin with.

use std::collections::BTreeMap;

use redstart_common::command::{self, CommandId};
use redstart_common::metric::Histogram;

/// Most codes of errors that are told apart: scripts and servers of others may make up any.
const CODES_MAX: usize = 128;
/// Bytes at the beginning of an error among which its code ends, as in redis-server.
const CODE_BYTES_MAX: usize = 32;
/// The code of errors without one, and of those for which there is no place.
const CODE_USUAL: &str = "ERR";

/// Which command a reply is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Which(u16);

impl Which {
    /// None that is known.
    pub const NONE: Self = Self(0x7fff);

    /// A command, if it is one.
    #[inline]
    #[must_use]
    pub fn of(command: Option<CommandId>) -> Self {
        command.map_or(Self::NONE, |command| Self(command.index() as u16))
    }

    /// In fifteen bits.
    #[inline]
    #[must_use]
    pub fn bits(self) -> u16 {
        self.0
    }

    /// From fifteen bits.
    #[inline]
    #[must_use]
    pub fn from_bits(bits: u16) -> Self {
        Self(bits & Self::NONE.0)
    }
}

/// One command.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Time from reading a request to its reply being on its way.
    pub latency: Histogram,
    /// Requests that the proxy did not carry out.
    pub rejected: u64,
    /// Replies that were errors, those to rejected requests among them.
    pub errors: u64,
}

impl Tally {
    fn merge(&mut self, other: &Self) {
        self.latency.merge(&other.latency);
        self.rejected += other.rejected;
        self.errors += other.errors;
    }

    /// Requests that were carried out, and failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.errors.saturating_sub(self.rejected)
    }
}

/// What clients of a pool were answered.
#[derive(Debug, Clone)]
pub struct Tallies {
    by_command: Box<[Option<Box<Tally>>]>,
    /// Replies to what is no command.
    others: Tally,
    codes: BTreeMap<Box<str>, u64>,
}

impl Default for Tallies {
    fn default() -> Self {
        Self {
            by_command: vec![None; command::count()].into_boxed_slice(),
            others: Tally::default(),
            codes: BTreeMap::new(),
        }
    }
}

impl Tallies {
    #[inline]
    fn of(&mut self, which: Which) -> &mut Tally {
        match self.by_command.get_mut(usize::from(which.0)) {
            Some(place) => place.get_or_insert_default(),
            None => &mut self.others,
        }
    }

    /// Counts a reply, of which the beginning is enough, that took so many microseconds.
    #[inline]
    pub fn answered(&mut self, which: Which, us: u64, reply: &[u8]) {
        self.of(which).latency.record(us);
        if reply.first() == Some(&b'-') {
            self.note_error(which, reply);
        }
    }

    #[cold]
    fn note_error(&mut self, which: Which, reply: &[u8]) {
        self.of(which).errors += 1;
        let code = code(reply);
        if let Some(count) = self.codes.get_mut(code) {
            *count += 1;
        } else {
            let code = if self.codes.len() < CODES_MAX { code } else { CODE_USUAL };
            *self.codes.entry(code.into()).or_default() += 1;
        }
    }

    /// Counts a request that is not carried out. Its reply counts as any other.
    #[cold]
    pub fn reject(&mut self, which: Which) {
        self.of(which).rejected += 1;
    }

    /// Adds what another worker has counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.by_command.iter_mut().zip(&other.by_command) {
            if let Some(theirs) = theirs {
                mine.get_or_insert_default().merge(theirs);
            }
        }
        self.others.merge(&other.others);
        for (code, count) in &other.codes {
            *self.codes.entry(code.clone()).or_default() += count;
        }
    }

    /// The commands that were answered, by their places in the table of commands.
    pub fn commands(&self) -> impl Iterator<Item = (usize, &Tally)> {
        let all = self.by_command.iter().enumerate();
        all.filter_map(|(place, tally)| Some((place, tally.as_deref()?)))
    }

    /// Codes of errors, and how often each was answered.
    pub fn codes(&self) -> impl Iterator<Item = (&str, u64)> {
        self.codes.iter().map(|(code, count)| (&**code, *count))
    }

    /// Errors that were answered.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.codes.values().sum()
    }

    /// Time from reading any request to its reply being on its way.
    #[must_use]
    pub fn latency(&self) -> Histogram {
        let mut all = self.others.latency.clone();
        self.commands().for_each(|(_, tally)| all.merge(&tally.latency));
        all
    }
}

/// The code of an error reply, as redis-server finds it.
fn code(reply: &[u8]) -> &str {
    let text = reply.get(1..).unwrap_or_default();
    let start = &text[..text.len().min(CODE_BYTES_MAX)];
    let end = start.iter().position(|byte| *byte == b' ');
    let word = end.map_or(&b""[..], |end| &start[..end]);
    let is_plain = !word.is_empty() && word.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(word).ok().filter(|_| is_plain).unwrap_or(CODE_USUAL)
}

#[cfg(test)]
mod tests {
    use redstart_common::command::lookup;

    use super::*;

    #[test]
    fn errors_are_told_apart_by_their_first_word() {
        for (reply, wanted) in [
            ("-ERR no\r\n", "ERR"),
            ("-WRONGTYPE Operation against\r\n", "WRONGTYPE"),
            ("-nonsense\r\n", "ERR"),
            ("- x\r\n", "ERR"),
            ("-a\tb c\r\n", "ERR"),
            ("-AVERYLONGWORDTHATISNOCODEATALLANYMORE x\r\n", "ERR"),
            ("-\r\n", "ERR"),
            ("", "ERR"),
        ] {
            assert_eq!(code(reply.as_bytes()), wanted, "{reply}");
        }
    }

    #[test]
    fn what_is_counted_adds_up_over_workers() {
        let get = Which::of(lookup(b"get"));
        let (mut one, mut all) = (Tallies::default(), Tallies::default());
        one.answered(get, 7, b"$1\r\nv\r\n");
        one.answered(get, 3, b"-WRONGTYPE x\r\n");
        one.reject(get);
        one.answered(get, 0, b"-ERR wrong number\r\n");
        one.answered(Which::NONE, 0, b"-ERR unknown command\r\n");
        assert_eq!(Which::from_bits(get.bits()), get);
        all.merge(&one);
        all.merge(&one);
        let commands: Vec<(usize, &Tally)> = all.commands().collect();
        let [(place, tally)] = commands[..] else { panic!("one command") };
        assert_eq!(place, usize::from(get.bits()));
        assert_eq!((tally.latency.count(), tally.latency.sum_us()), (6, 20));
        assert_eq!((tally.rejected, tally.failed()), (2, 2));
        assert_eq!(all.codes().collect::<Vec<_>>(), [("ERR", 4), ("WRONGTYPE", 2)]);
        assert_eq!((all.errors(), all.latency().count()), (6, 8));
    }

    #[test]
    fn codes_that_somebody_makes_up_take_no_more_than_their_share() {
        let mut tallies = Tallies::default();
        for number in 0..1000 {
            tallies.answered(Which::NONE, 0, format!("-CODE{number} x\r\n").as_bytes());
        }
        assert!(tallies.codes().count() <= CODES_MAX + 1);
        assert_eq!(tallies.errors(), 1000);
    }
}
