//! A snapshot: the data of one moment, written while commands go on, without fork.
//!
//! When it begins, every entry belongs to an older epoch. The walk visits the databases bucket by bucket, in small steps,
//! writes what it finds and gives it the new epoch; what is about to change before the walk has come to it is shown to the
//! snapshot first ([`Witness`]). Entries that are added meanwhile are of the new epoch and are passed over.
//!
//! A large value is written in slices over several steps. Meanwhile its writers wait (see [`Snapshot::holds`]); where
//! nobody can wait, for it is removed by expiry, eviction or FLUSHALL, it is taken over whole and written later.
//!
//! ```text
//!   walk, witness ─▶ draft ─▶ full drafts ─▶ who writes them
//!                      aside (while a large value is written: nothing may come between its slices)
//! ```

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use redstart_common::slot::{SLOT_COUNT, key_slot};

use super::rdb::{self, Draft, Slicer, Usage};
use crate::cluster::SlotSet;
use crate::keyspace::detached::{Detached, DetachedTable};
use crate::keyspace::shared::{Witness, is_large};
use crate::keyspace::{Entry, Keyspace};

/// Bytes from which on a draft is full.
const DRAFT_BYTES: usize = 128 << 10;
/// Bytes of a large value that are written between two looks at the clock.
const SLICE_BYTES: usize = 64 << 10;
/// Buckets visited between two looks at the clock.
const BUCKETS_BETWEEN: usize = 8;

/// How eviction data goes into the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uses {
    /// Not at all.
    Unknown,
    /// As seconds that a key was not used, from the clock of now (in seconds, 24 bits).
    Idle {
        /// The clock.
        clock: u32,
    },
    /// As counters of LFU.
    Frequency,
}

impl Uses {
    /// What is said of an entry.
    #[must_use]
    pub fn of(self, entry: &Entry) -> Usage {
        match self {
            Self::Unknown => Usage::Unknown,
            Self::Idle { clock } => {
                Usage::IdleSeconds(u64::from(clock.wrapping_sub(entry.lru()) & 0xff_ffff))
            }
            Self::Frequency => Usage::Frequency((entry.lru() & 0xff) as u8),
        }
    }
}

/// What a step has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is more to do.
    More,
    /// Everything is in the drafts.
    Done,
}

/// A large value that is being written where it lies.
struct Slicing {
    home: usize,
    key: Box<[u8]>,
    slicer: Slicer,
}

/// A large value that has left its place.
struct Parted {
    home: usize,
    entry: Detached,
    slicer: Option<Slicer>,
}

/// Drafts of one stream, and the database that was selected last in it.
#[derive(Default)]
struct Stream {
    draft: Draft,
    keys: usize,
    full: VecDeque<(Draft, usize)>,
    selected: Option<usize>,
}

struct Walk {
    epoch: u8,
    uses: Uses,
    /// The slots that it is of, if not of all data.
    slots: Option<Box<SlotSet>>,
    /// Keys, and of them those with a deadline, by the number of the database when the snapshot began.
    sizes: Vec<(usize, usize)>,
    /// The database that the walk is in, and the cursor within.
    home: usize,
    cursor: u64,
    /// The walk has seen all of that database but for large values that wait to be written.
    home_seen: bool,
    /// What emptied databases held.
    emptied: Vec<Option<DetachedTable>>,
    /// Large values that the walk has met, or whose writers wait, to be written next.
    large: VecDeque<(usize, Box<[u8]>)>,
    slicing: Option<Slicing>,
    /// The first may be under way: then it has a slicer.
    parted: VecDeque<Parted>,
    stream: Stream,
    aside: Stream,
    spare: Vec<Draft>,
    keys_done: usize,
    large_done: u64,
    is_ended: bool,
}

/// A snapshot under way.
pub struct Snapshot {
    walk: RefCell<Walk>,
}

impl Stream {
    fn select(&mut self, home: usize, sizes: &[(usize, usize)]) {
        if self.selected != Some(home) {
            let (keys, volatile) = sizes.get(home).copied().unwrap_or_default();
            rdb::select(&mut self.draft, home, keys, volatile);
            self.selected = Some(home);
        }
    }

    fn cut(&mut self, spare: &mut Vec<Draft>) {
        if !self.draft.bytes.is_empty() {
            let fresh = spare.pop().unwrap_or_default();
            let draft = std::mem::replace(&mut self.draft, fresh);
            self.full.push_back((draft, std::mem::take(&mut self.keys)));
        }
    }

    #[inline]
    fn cut_if_full(&mut self, spare: &mut Vec<Draft>) {
        if self.draft.bytes.len() >= DRAFT_BYTES {
            self.cut(spare);
        }
    }

    fn full_bytes(&self) -> usize {
        self.full.iter().map(|(draft, _)| draft.bytes.len()).sum()
    }
}

impl Walk {
    /// Whether a large value is being written: nothing may come between its slices.
    fn is_within_large(&self) -> bool {
        self.slicing.is_some() || self.parted.front().is_some_and(|parted| parted.slicer.is_some())
    }

    /// Writes an entry whole.
    #[inline]
    fn write(&mut self, home: usize, entry: &Entry) {
        let stream = if self.is_within_large() { &mut self.aside } else { &mut self.stream };
        stream.select(home, &self.sizes);
        rdb::entry(&mut stream.draft, entry, self.uses.of(entry));
        stream.keys += 1;
        self.keys_done += 1;
        stream.cut_if_full(&mut self.spare);
    }

    /// A large value is complete: what was written beside it follows.
    fn close_large(&mut self) {
        self.large_done += 1;
        self.stream.keys += 1;
        self.keys_done += 1;
        if self.aside.selected.is_some() {
            self.stream.cut(&mut self.spare);
            let aside = std::mem::take(&mut self.aside);
            self.stream.full.extend(aside.full);
            self.spare.push(std::mem::replace(&mut self.stream.draft, aside.draft));
            self.stream.keys = aside.keys;
            self.stream.selected = aside.selected;
        }
        self.stream.cut_if_full(&mut self.spare);
    }

    /// Writes a slice of the large value that is being written where it lies. Answers whether it is complete.
    fn slice(&mut self, entry: &Entry, budget: usize) -> bool {
        let Some(slicing) = &mut self.slicing else { return true };
        let done = slicing.slicer.advance(&mut self.stream.draft, entry, budget);
        if done {
            self.slicing = None;
            self.close_large();
        } else {
            self.stream.cut_if_full(&mut self.spare);
        }
        done
    }

    /// Writes a slice of the first value that has left its place.
    fn slice_parted(&mut self) {
        let Some(parted) = self.parted.front_mut() else { return };
        if parted.slicer.is_none() {
            self.stream.select(parted.home, &self.sizes);
            let usage = self.uses.of(&parted.entry);
            parted.slicer = Some(Slicer::begin(&mut self.stream.draft, &parted.entry, usage));
        }
        let Some(slicer) = &mut parted.slicer else { return };
        if slicer.advance(&mut self.stream.draft, &*parted.entry, SLICE_BYTES) {
            self.parted.pop_front();
            self.close_large();
        } else {
            self.stream.cut_if_full(&mut self.spare);
        }
    }

    /// Writes a slice of the large value at a key, which may be its first one.
    fn slice_at(&mut self, home: usize, key: &[u8], entry: Option<&mut Entry>) {
        // Its writer may have been told to wait for it after the walk had met it, or it may be gone.
        let Some(entry) = entry.filter(|entry| entry.epoch() != self.epoch) else {
            self.large_done += 1;
            return;
        };
        if self.slicing.is_none() {
            self.stream.select(home, &self.sizes);
            let slicer = Slicer::begin(&mut self.stream.draft, entry, self.uses.of(entry));
            self.slicing = Some(Slicing { home, key: key.into(), slicer });
        }
        if self.slice(entry, SLICE_BYTES) {
            entry.set_epoch(self.epoch);
        }
    }

    /// Writes a part of what comes next.
    fn advance(&mut self, keyspace: &mut Keyspace) {
        if self.slicing.is_none() && !self.parted.is_empty() {
            return self.slice_parted();
        }
        let mut emptied = std::mem::take(&mut self.emptied);
        let next = match &self.slicing {
            Some(slicing) => Some((slicing.home, slicing.key.clone())),
            None => self.large.pop_front(),
        };
        match next {
            Some((home, key)) => {
                let entry = match emptied.get_mut(home) {
                    Some(Some(table)) => table.find(&key),
                    _ => keyspace.by_home(home).and_then(|db| db.find_for_walk(&key)),
                };
                self.slice_at(home, &key, entry);
            }
            None => self.visit_buckets(keyspace, &mut emptied),
        }
        self.emptied = emptied;
    }

    fn visit_buckets(&mut self, keyspace: &mut Keyspace, emptied: &mut [Option<DetachedTable>]) {
        if std::mem::take(&mut self.home_seen) {
            emptied[self.home] = None;
            self.home += 1;
        }
        let home = self.home;
        if home >= self.sizes.len() {
            rdb::end(&mut self.stream.draft);
            self.stream.cut(&mut self.spare);
            self.is_ended = true;
            return;
        }
        if !self.seek_slot(keyspace) {
            self.home_seen = true;
            return;
        }
        if let (None, Some(db)) = (&emptied[home], keyspace.by_home(home)) {
            db.prefetch_walk(self.cursor, BUCKETS_BETWEEN);
        }
        for _ in 0..BUCKETS_BETWEEN {
            let cursor = self.cursor;
            let visit = |entry: &mut Entry| self.visit(home, entry);
            self.cursor = match (&mut emptied[home], keyspace.by_home(home)) {
                (Some(table), _) => table.walk(cursor, visit),
                (None, Some(db)) => db.walk(cursor, visit),
                (None, None) => 0,
            };
            self.home_seen = self.cursor == 0 || !self.seek_slot(keyspace);
            if self.home_seen || !self.large.is_empty() {
                return;
            }
        }
    }

    /// Moves the cursor of a snapshot of some slots to the next of them that has keys, unless it is within one. Answers
    /// whether there is one.
    fn seek_slot(&mut self, keyspace: &mut Keyspace) -> bool {
        let Some(slots) = &self.slots else { return true };
        let Some(db) = keyspace.by_home(self.home) else { return false };
        let current = (self.cursor % u64::from(SLOT_COUNT)) as u16;
        let is_wanted = |slot: u16| slots.contains(slot) && db.slot_len(slot) > 0;
        if is_wanted(current) {
            return true;
        }
        match (current..SLOT_COUNT).find(|slot| is_wanted(*slot)) {
            Some(slot) => {
                self.cursor = u64::from(slot);
                true
            }
            None => false,
        }
    }

    /// Whether an entry is of what is saved.
    fn is_of_it(&self, entry: &Entry) -> bool {
        self.slots.as_ref().is_none_or(|slots| slots.contains(key_slot(entry.key())))
    }

    #[inline]
    fn visit(&mut self, home: usize, entry: &mut Entry) {
        if entry.epoch() == self.epoch || !self.is_of_it(entry) {
            return;
        }
        if is_large(entry) {
            self.large.push_back((home, entry.key().into()));
        } else {
            self.write(home, entry);
            entry.set_epoch(self.epoch);
        }
    }
}

impl Snapshot {
    /// Begins a snapshot of the data of now. End it with [`Keyspace::end_epoch`].
    #[must_use]
    pub fn begin(keyspace: &mut Keyspace, uses: Uses) -> Rc<Self> {
        Self::begin_of(keyspace, uses, None)
    }

    /// As [`begin`](Self::begin), of the keys of some slots only, where there is a table for each.
    #[must_use]
    pub fn begin_of(keyspace: &mut Keyspace, uses: Uses, slots: Option<Box<SlotSet>>) -> Rc<Self> {
        let keys = |db: &crate::keyspace::Db| match &slots {
            Some(slots) => slots.iter().map(|slot| db.slot_len(slot)).sum(),
            None => db.len(),
        };
        let sizes = keyspace.dbs.iter().map(|db| (keys(db), db.volatile_len())).collect();
        let count = keyspace.dbs.len();
        let snapshot = Rc::new(Self {
            walk: RefCell::new(Walk {
                epoch: 0,
                uses,
                slots,
                sizes,
                home: 0,
                cursor: 0,
                home_seen: false,
                emptied: (0..count).map(|_| None).collect(),
                large: VecDeque::new(),
                slicing: None,
                parted: VecDeque::new(),
                stream: Stream::default(),
                aside: Stream::default(),
                spare: Vec::new(),
                keys_done: 0,
                large_done: 0,
                is_ended: false,
            }),
        });
        keyspace.begin_epoch(Rc::clone(&snapshot) as Rc<dyn Witness>);
        snapshot.walk.borrow_mut().epoch = keyspace.shared.epoch.get();
        snapshot
    }

    /// Writes more, for about as long as `budget`, and while less than `room` bytes wait to be taken.
    pub fn step(&self, keyspace: &mut Keyspace, budget: Duration, room: usize) -> Step {
        let start = Instant::now();
        let mut walk = self.walk.borrow_mut();
        while !walk.is_ended {
            if walk.stream.full_bytes() >= room {
                return Step::More;
            }
            walk.advance(keyspace);
            if start.elapsed() >= budget && !walk.is_ended {
                return Step::More;
            }
        }
        Step::Done
    }

    /// Whether it is of all data, so that every entry has been looked at in the end.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.walk.borrow().slots.is_none()
    }

    /// Takes the next full draft, with the number of keys that end in it.
    pub fn take_draft(&self) -> Option<(Draft, usize)> {
        self.walk.borrow_mut().stream.full.pop_front()
    }

    /// Takes a draft back, to be used again.
    pub fn give_back(&self, mut draft: Draft) {
        /// Drafts that are kept.
        const SPARE_MAX: usize = 32;
        draft.clear();
        let mut walk = self.walk.borrow_mut();
        if walk.spare.len() < SPARE_MAX && draft.bytes.capacity() <= 4 * DRAFT_BYTES {
            walk.spare.push(draft);
        }
    }

    /// Bytes that wait to be taken.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        let walk = self.walk.borrow();
        walk.stream.full_bytes() + walk.aside.full_bytes()
    }

    /// Keys written so far.
    #[must_use]
    pub fn keys_done(&self) -> usize {
        self.walk.borrow().keys_done
    }

    /// Keys there were when it began.
    #[must_use]
    pub fn keys_total(&self) -> usize {
        self.walk.borrow().sizes.iter().map(|(keys, _)| keys).sum()
    }

    /// Large values that nobody has to wait for any more: written in slices, or found to be written whole, or gone.
    #[must_use]
    pub fn large_done(&self) -> u64 {
        self.walk.borrow().large_done
    }

    /// Whether the writers of this entry have to wait until it is written, for it is large. If so it is written next.
    pub fn holds(&self, home: usize, entry: &Entry) -> bool {
        let mut walk = self.walk.borrow_mut();
        if entry.epoch() == walk.epoch || !is_large(entry) || !walk.is_of_it(entry) {
            return false;
        }
        let is_first = match (&walk.slicing, walk.large.front()) {
            (Some(slicing), _) if slicing.home == home && *slicing.key == *entry.key() => true,
            (_, Some((at, key))) => *at == home && **key == *entry.key(),
            _ => false,
        };
        if !is_first {
            walk.large.push_front((home, entry.key().into()));
        }
        true
    }
}

impl Witness for Snapshot {
    fn before_change(&self, home: usize, entry: &Entry) {
        let mut walk = self.walk.borrow_mut();
        if !walk.is_of_it(entry) {
            return;
        }
        let is_under_way = walk
            .slicing
            .as_ref()
            .is_some_and(|slicing| slicing.home == home && *slicing.key == *entry.key());
        if is_under_way {
            walk.slice(entry, usize::MAX);
        } else {
            walk.write(home, entry);
        }
    }

    fn removed(&self, home: usize, entry: Detached) {
        let mut walk = self.walk.borrow_mut();
        if !walk.is_of_it(&entry) {
            return;
        }
        match walk.slicing.take() {
            Some(slicing) if slicing.home == home && *slicing.key == *entry.key() => {
                let slicer = Some(slicing.slicer);
                walk.parted.push_front(Parted { home, entry, slicer });
            }
            other => {
                walk.slicing = other;
                walk.parted.push_back(Parted { home, entry, slicer: None });
            }
        }
    }

    fn emptied(&self, home: usize, entries: DetachedTable) -> Option<DetachedTable> {
        let mut walk = self.walk.borrow_mut();
        let is_seen = walk.is_ended || home < walk.home;
        match walk.emptied.get_mut(home) {
            Some(place @ None) if !is_seen => {
                *place = Some(entries);
                None
            }
            _ => Some(entries),
        }
    }
}

#[cfg(test)]
mod tests;
