//! The only exit of a write: what a command changed leaves here, in the form in which it is to be repeated.
//!
//! A handler says how many changes it made ([`Call::dirty`](super::Call::dirty)) and, where repeating the command
//! as it came would not give the same data, what to repeat instead (SPOP becomes SREM, EXPIRE becomes PEXPIREAT,
//! BLPOP becomes LPOP). Each command is encoded once, into one buffer a turn; at the end of the turn the log and the
//! replicas take their parts of it. What one command, one EXEC or one script gave stays together.

use redstart_common::resp::{Args, RespWrite};

/// Who repeats a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Audience(u8);

impl Audience {
    /// Nobody.
    pub const NOBODY: Self = Self(0);
    /// The append-only file.
    pub const LOG: Self = Self(1);
    /// The replicas.
    pub const REPLICAS: Self = Self(2);
    /// Nodes that slots go to.
    pub const MOVES: Self = Self(4);
    /// All of them.
    pub const ALL: Self = Self(7);

    /// Those of both sets.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are in both sets.
    #[inline]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those of this set that are not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether nobody is in it.
    #[inline]
    #[must_use]
    pub const fn is_nobody(self) -> bool {
        self.0 == 0
    }
}

/// How a call leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// As it came, if it changed anything.
    #[default]
    AsGiven,
    /// Only as the handler said.
    Replaced,
}

/// A part of the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    /// A command in a database: where its bytes end, which begin where those of the command before end.
    Command {
        db: u32,
        end: usize,
        to: Audience,
    },
    /// What follows, up to `End`, is one group to these.
    Begin(Audience),
    End,
}

/// A part of the feed, as one that repeats it sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// A command in a database, in RESP.
    Command {
        /// The database's number.
        db: usize,
        /// The command, an array of bulk strings.
        bytes: &'a [u8],
    },
    /// The commands up to [`Part::End`] are one group.
    Begin,
    /// The group ends.
    End,
}

/// Changes on their way out.
#[derive(Default)]
pub struct Feed {
    batch: Batch,
    wanted_by: Audience,
    /// Those that what is pushed now may go to: what comes from a log does not go there again.
    limit: Audience,
    /// How the call that runs leaves.
    pub form: Form,
    /// Changes since the start.
    pub dirty: u64,
    frames: u32,
    /// Where the group that is being pushed begins.
    group: usize,
    /// To whom what the call pushes is no group: each command stands for itself.
    apart: Audience,
}

/// What has left since the feed was last taken.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    records: Vec<Record>,
}

/// Capacity that a buffer may keep between turns, in bytes.
const KEPT_BYTES: usize = 1 << 20;

impl Feed {
    /// A feed that nobody takes anything from yet.
    #[must_use]
    pub fn new() -> Self {
        Self { limit: Audience::ALL, ..Self::default() }
    }

    /// Sets who repeats writes from now on.
    pub fn set_audience(&mut self, audience: Audience) {
        self.wanted_by = audience;
    }

    /// Who repeats writes.
    #[must_use]
    pub fn audience(&self) -> Audience {
        self.wanted_by
    }

    /// Sets whom what is pushed from now on may go to. Answers the limit that was.
    pub fn limit(&mut self, limit: Audience) -> Audience {
        std::mem::replace(&mut self.limit, limit)
    }

    /// Whether anybody repeats writes. If not, handlers need not build what nobody takes.
    #[inline]
    #[must_use]
    pub fn wanted(&self) -> bool {
        !self.wanted_by.and(self.limit).is_nobody()
    }

    /// Adds a command to repeat, after what is pending.
    pub fn push(&mut self, db: usize, args: &[&[u8]]) {
        self.push_to(Audience::ALL, db, args);
    }

    /// Adds a command that only `to` is to repeat.
    pub fn push_to(&mut self, to: Audience, db: usize, args: &[&[u8]]) {
        let to = to.and(self.wanted_by).and(self.limit);
        if !to.is_nobody() {
            self.batch.bytes.array_len(args.len());
            for arg in args {
                self.batch.bytes.bulk(arg);
            }
            self.note(db, to);
        }
    }

    /// Adds a command to repeat as it came.
    #[inline]
    pub fn push_args(&mut self, db: usize, args: Args<'_>) {
        let to = self.wanted_by.and(self.limit);
        if !to.is_nobody() {
            self.batch.bytes.array_len(args.len());
            for arg in args.iter() {
                self.batch.bytes.bulk(arg);
            }
            self.note(db, to);
        }
    }

    /// As [`Feed::push_args`], with other words in some places.
    pub fn push_changed(&mut self, db: usize, args: Args<'_>, changes: &[(usize, &[u8])]) {
        let to = self.wanted_by.and(self.limit);
        if !to.is_nobody() {
            self.batch.bytes.array_len(args.len());
            for (place, arg) in args.iter().enumerate() {
                let changed = changes.iter().find(|(at, _)| *at == place);
                self.batch.bytes.bulk(changed.map_or(arg, |(_, word)| word));
            }
            self.note(db, to);
        }
    }

    fn note(&mut self, db: usize, to: Audience) {
        let end = self.batch.bytes.len();
        self.batch.records.push(Record::Command { db: db as u32, end, to });
    }

    /// From here to [`Feed::end_frame`], all that is pushed is one group. Frames within frames belong to the outermost.
    pub fn begin_frame(&mut self) {
        self.frames += 1;
    }

    /// Ends a frame.
    pub fn end_frame(&mut self) {
        self.frames = self.frames.saturating_sub(1);
        self.end_call();
    }

    /// Takes back what the group that is being pushed holds so far.
    pub fn drop_group(&mut self) {
        let records = &mut self.batch.records;
        records.truncate(self.group);
        let end = self.batch.end();
        self.batch.bytes.truncate(end);
    }

    /// What the call that runs pushes is no group, unless it is part of one: keys that SCAN comes by and that have
    /// expired, say, have nothing to do with each other.
    pub fn keep_apart(&mut self) {
        self.apart = Audience::ALL;
    }

    /// As [`keep_apart`](Self::keep_apart), for some. A server that does not know one of the commands of a group does none of
    /// them: what is said to replicas in two words, one of which older ones do not know, has to stand for itself.
    pub fn keep_apart_for(&mut self, audience: Audience) {
        self.apart = self.apart.or(audience);
    }

    /// A call is done, with all that follows from it: what it has pushed, if that is more than one command, is a group.
    #[inline]
    pub fn end_call(&mut self) {
        let apart = std::mem::take(&mut self.apart);
        if self.frames > 0 {
            return;
        }
        let records = &mut self.batch.records;
        let together = Audience::ALL.without(apart);
        if records.len() > self.group + 1 && !together.is_nobody() {
            records.insert(self.group, Record::Begin(together));
            records.push(Record::End);
        }
        self.group = records.len();
    }

    /// Whether a group is open, so that nothing can be taken.
    #[must_use]
    pub fn is_framed(&self) -> bool {
        self.frames > 0
    }

    /// Whether nothing waits to be taken.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batch.records.is_empty()
    }

    /// Bytes that wait to be taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batch.bytes.len()
    }

    /// Memory that is taken for what waits.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.batch.bytes.capacity()
    }

    /// Takes what has left so far, but for a group that is open: it leaves whole. Give the batch back once it is repeated.
    #[must_use]
    pub fn take(&mut self) -> Batch {
        let group = std::mem::take(&mut self.group);
        if self.frames == 0 {
            return std::mem::take(&mut self.batch);
        }
        let mut open = Batch { bytes: Vec::new(), records: self.batch.records.split_off(group) };
        let start = self.batch.end();
        open.bytes = self.batch.bytes.split_off(start);
        for record in &mut open.records {
            if let Record::Command { end, .. } = record {
                *end -= start;
            }
        }
        std::mem::replace(&mut self.batch, open)
    }

    /// Takes a batch's memory back, to be used again.
    pub fn give_back(&mut self, mut batch: Batch) {
        if self.batch.records.is_empty() {
            batch.records.clear();
            batch.bytes.clear();
            batch.bytes.shrink_to(KEPT_BYTES);
            batch.records.shrink_to(KEPT_BYTES / size_of::<Record>());
            self.batch = batch;
        }
    }
}

impl Batch {
    /// Where the bytes of the last command end.
    fn end(&self) -> usize {
        let ends = self.records.iter().rev().find_map(|record| match record {
            Record::Command { end, .. } => Some(*end),
            Record::Begin(_) | Record::End => None,
        });
        ends.unwrap_or(0)
    }

    /// The parts that `reader` is to repeat. A group of which only one command is the reader's is none to it.
    pub fn parts(&self, reader: Audience) -> impl Iterator<Item = Part<'_>> {
        let is_readers = move |record: &&Record| matches!(record, Record::Command { to, .. } if !to.and(reader).is_nobody());
        let mut start = 0;
        let mut in_group = false;
        self.records.iter().enumerate().filter_map(move |(place, record)| match *record {
            Record::Command { db, end, to } => {
                let bytes = &self.bytes[start..end];
                start = end;
                (!to.and(reader).is_nobody()).then_some(Part::Command { db: db as usize, bytes })
            }
            Record::Begin(to) => {
                let group = self.records[place..].iter().take_while(|it| **it != Record::End);
                in_group = !to.and(reader).is_nobody() && group.filter(is_readers).count() > 1;
                in_group.then_some(Part::Begin)
            }
            Record::End => in_group.then_some(Part::End),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(batch: &Batch, reader: Audience) -> String {
        let part = |part| match part {
            Part::Begin => "(".to_owned(),
            Part::End => ")".to_owned(),
            Part::Command { db, bytes } => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                format!("{db}:{}", text.split("\r\n").nth(2).unwrap_or_default())
            }
        };
        batch.parts(reader).map(part).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_a_call_or_a_frame_gave_stays_together() {
        let mut feed = Feed::new();
        feed.push(0, &[b"unheard"]);
        feed.end_call();
        assert!(feed.is_empty() && !feed.wanted());
        feed.set_audience(Audience::ALL);
        feed.push(0, &[b"one"]);
        feed.end_call();
        feed.push(0, &[b"two"]);
        feed.push(1, &[b"three"]);
        feed.end_call();
        feed.begin_frame();
        feed.push(0, &[b"four"]);
        feed.end_call();
        feed.begin_frame();
        feed.push(0, &[b"five"]);
        feed.end_frame();
        feed.push(2, &[b"six"]);
        feed.end_frame();
        feed.begin_frame();
        feed.push(3, &[b"seven"]);
        feed.end_frame();
        feed.keep_apart();
        feed.push(4, &[b"eight"]);
        feed.push(4, &[b"nine"]);
        feed.end_call();
        feed.keep_apart_for(Audience::REPLICAS);
        feed.push(5, &[b"ten"]);
        feed.push(5, &[b"eleven"]);
        feed.end_call();
        let batch = feed.take();
        let all = "0:one ( 0:two 1:three ) ( 0:four 0:five 2:six ) 3:seven 4:eight 4:nine";
        assert_eq!(told(&batch, Audience::LOG), format!("{all} ( 5:ten 5:eleven )"));
        assert_eq!(told(&batch, Audience::REPLICAS), format!("{all} 5:ten 5:eleven"));
        feed.give_back(batch);
        assert!(feed.is_empty());
    }

    #[test]
    fn what_came_before_an_open_group_can_leave() {
        let mut feed = Feed::new();
        feed.set_audience(Audience::ALL);
        feed.push(0, &[b"one"]);
        feed.push(0, &[b"two"]);
        feed.end_call();
        feed.begin_frame();
        feed.push(0, &[b"three"]);
        let first = feed.take();
        assert_eq!(told(&first, Audience::LOG), "( 0:one 0:two )");
        feed.give_back(first);
        assert!(feed.take().records.is_empty());
        feed.push(0, &[b"four"]);
        feed.end_frame();
        assert_eq!(told(&feed.take(), Audience::LOG), "( 0:three 0:four )");
    }

    #[test]
    fn a_group_can_be_taken_back() {
        let mut feed = Feed::new();
        feed.set_audience(Audience::ALL);
        feed.push(0, &[b"one"]);
        feed.end_call();
        feed.begin_frame();
        feed.push(0, &[b"two"]);
        feed.push(0, &[b"three"]);
        feed.drop_group();
        feed.end_frame();
        feed.push(1, &[b"four"]);
        feed.end_call();
        assert_eq!(told(&feed.take(), Audience::LOG), "0:one 1:four");
    }

    #[test]
    fn each_gets_only_its_own() {
        let mut feed = Feed::new();
        feed.set_audience(Audience::ALL);
        feed.push(0, &[b"set"]);
        feed.push_to(Audience::REPLICAS, 0, &[b"publish"]);
        feed.end_call();
        let before = feed.limit(Audience::LOG);
        feed.push(0, &[b"from the primary"]);
        feed.end_call();
        feed.limit(before);
        feed.push_to(Audience::LOG, 0, &[b"a"]);
        feed.push_to(Audience::REPLICAS, 0, &[b"b"]);
        feed.push_to(Audience::LOG, 0, &[b"c"]);
        feed.end_call();
        let batch = feed.take();
        assert_eq!(told(&batch, Audience::LOG), "0:set 0:from the primary ( 0:a 0:c )");
        assert_eq!(told(&batch, Audience::REPLICAS), "( 0:set 0:publish ) 0:b");
    }
}
