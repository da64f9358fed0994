//! What replicas have yet to be sent, and does not fit in memory: the older part of the backlog, in files.
//!
//! ```text
//!   oldest                                                                     newest
//!   ┌── segment 4 ──┬── segment 5 ──┬─ blocks ─┬──────── blocks in memory ────────┐
//!   │ file          │ file          │ on their │                                  │
//!   └───────────────┴───────────────┴─ way ────┴──────────────────────────────────┘
//!        ╰ chunks, read back for replicas that are sent just these
//! ```
//!
//! It is a queue that goes on in files: blocks are written in the order of the stream, and leave memory when they are
//! written; what the slowest replica has been sent goes file by file. All replicas share it. Here it is decided what is written
//! and read, as [`SpillJob`]s that the shell has a thread do; its answers are events. Nothing depends on how long the thread
//! takes, but for memory: until a block is written it stays.

use std::collections::VecDeque;

use bytes::Bytes;

use super::backlog::Backlog;
use super::door::Turn;
use super::driver::Replication;
use super::offset::Offset;
use super::replicas::Replica;

/// Bytes that are written at once, about.
const WRITE_BYTES: u64 = 4 << 20;
/// Bytes that are read back at once.
const CHUNK_BYTES: u64 = 256 << 10;
/// A file holds a sixteenth of what all may, within these bounds: so much may lie there that nobody needs any more.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = (64 << 10)..=(64 << 20);
/// How long nothing is written after a write that failed.
const RETRY_MS: i64 = 10_000;

/// Work on the files. Jobs are done in order, each is answered by the event of its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpillJob {
    /// Write this to a file, which is made if `at` is 0: [`Event::Spilled`](super::Event::Spilled).
    Write {
        /// Number of the job.
        id: u64,
        /// Number of the file.
        segment: u64,
        /// The place in the file.
        at: u64,
        /// What to write, in order.
        pieces: Vec<Bytes>,
    },
    /// Read this from a file: [`Event::ReadBack`](super::Event::ReadBack).
    Read {
        /// Number of the job.
        id: u64,
        /// Number of the file.
        segment: u64,
        /// The place in the file.
        at: u64,
        /// How many bytes.
        bytes: usize,
    },
    /// Files with smaller numbers are of no use any more. There is no answer.
    Free {
        /// See above.
        before: u64,
    },
}

/// A file: bytes of the stream from `start` on.
#[derive(Debug)]
struct Segment {
    number: u64,
    start: Offset,
    bytes: u64,
}

impl Segment {
    fn end(&self) -> Offset {
        self.start.plus(self.bytes as usize)
    }
}

/// The first blocks in memory, while they are written.
#[derive(Debug)]
struct Writing {
    id: u64,
    segment: u64,
    blocks: usize,
    bytes: u64,
}

/// Bytes that were read back.
#[derive(Debug)]
struct Chunk {
    start: Offset,
    bytes: Bytes,
}

impl Chunk {
    fn end(&self) -> Offset {
        self.start.plus(self.bytes.len())
    }

    fn holds(&self, at: Offset) -> bool {
        self.start <= at && at < self.end()
    }
}

/// A read that is under way.
#[derive(Debug)]
struct Reading {
    id: u64,
    start: Offset,
    bytes: usize,
}

/// The part of a backlog that lies in files.
#[derive(Debug, Default)]
pub(super) struct Spilled {
    segments: VecDeque<Segment>,
    /// Bytes of all segments.
    bytes: u64,
    writing: Option<Writing>,
    chunks: Vec<Chunk>,
    reading: Vec<Reading>,
}

impl Spilled {
    /// Where the oldest file begins, if there is one.
    pub(super) fn start(&self) -> Option<Offset> {
        self.segments.front().map(|segment| segment.start)
    }

    /// Bytes in files.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that were read back and lie in memory.
    pub(super) fn chunk_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum()
    }

    /// What is being written is not awaited any more: the blocks stay, or go, as if it had not begun.
    pub(super) fn give_up_writing(&mut self) {
        self.writing = None;
    }

    /// Length and end of the oldest file.
    pub(super) fn oldest(&self) -> Option<(u64, Offset)> {
        let oldest = self.segments.front()?;
        Some((oldest.bytes, oldest.end()))
    }

    pub(super) fn drop_oldest(&mut self) {
        let Some(segment) = self.segments.pop_front() else { return };
        self.bytes -= segment.bytes;
        if self.writing.as_ref().is_some_and(|writing| writing.segment == segment.number) {
            self.give_up_writing();
        }
    }

    /// What was read back, from `at` on.
    pub(super) fn slice_at(&self, at: Offset) -> Option<&[u8]> {
        let chunk = self.chunks.iter().find(|chunk| chunk.holds(at))?;
        Some(&chunk.bytes[at.since(chunk.start) as usize..])
    }

    /// The number of the first file that is of use; all are, from `next` on.
    fn first_needed(&self, next: u64) -> u64 {
        let oldest = self.segments.front().map(|segment| segment.number);
        let written = self.writing.as_ref().map(|writing| writing.segment);
        oldest.into_iter().chain(written).min().unwrap_or(next)
    }

    /// Lets go what was read back and no reader is at, or comes to next.
    fn keep_chunks_for(&mut self, readers: &[Offset]) {
        let ends: Vec<Offset> = self
            .chunks
            .iter()
            .filter(|chunk| readers.iter().any(|at| chunk.holds(*at)))
            .map(Chunk::end)
            .collect();
        self.chunks.retain(|chunk| {
            readers.iter().any(|at| chunk.holds(*at)) || ends.contains(&chunk.start)
        });
    }

    /// What has to be read for someone who is at this place: the chunk itself, or the one after it.
    fn wanted_at(&self, at: Offset) -> Option<Offset> {
        let is_coming = |at: Offset| {
            self.reading.iter().any(|it| it.start <= at && at < it.start.plus(it.bytes))
        };
        let missing = |at: Offset| self.slice_at(at).is_none() && !is_coming(at);
        if missing(at) {
            return Some(at);
        }
        let end = self.chunks.iter().find(|chunk| chunk.holds(at))?.end();
        missing(end).then_some(end)
    }

    fn segment_at(&self, at: Offset) -> Option<&Segment> {
        let place = self.segments.partition_point(|segment| segment.end() <= at);
        self.segments.get(place).filter(|segment| segment.start <= at)
    }
}

/// What outlives a backlog: numbers are never used twice.
#[derive(Debug, Default)]
pub(super) struct Spill {
    jobs: u64,
    /// The number of the next file.
    next_segment: u64,
    /// The write that the disk is busy with, awaited or not: there is one at a time.
    under_way: Option<u64>,
    /// Files before this one are freed.
    freed: u64,
    /// When a write failed last, if none has succeeded since.
    failed_ms: Option<i64>,
    /// That all files are full was said.
    said_full: bool,
}

impl Spill {
    fn number(&mut self) -> u64 {
        self.jobs += 1;
        self.jobs
    }
}

impl Backlog {
    /// The next blocks to write, if memory holds more than `keep` bytes that are needed from `needed` on, and the files do not
    /// hold `limit` bytes yet.
    fn next_write(
        &mut self,
        spill: &mut Spill,
        needed: Offset,
        keep: u64,
        limit: u64,
    ) -> Option<SpillJob> {
        if spill.under_way.is_some() {
            return None;
        }
        let segment_max = (limit / 16).clamp(*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end());
        let first = self.block_lengths().next()?;
        let last = self.spilled.segments.back().filter(|last| last.bytes + first <= segment_max);
        let (segment, at) = last.map_or((spill.next_segment, 0), |last| (last.number, last.bytes));
        let (mut bytes, mut blocks, mut end) = (0, 0, self.memory_start());
        for length in self.block_lengths() {
            end = end.plus(length as usize);
            let total = bytes + length;
            let is_needed = needed < end && self.held_in_memory() - total >= keep;
            let has_room = self.spilled.bytes + total <= limit
                && (at + total <= segment_max || (at == 0 && blocks == 0));
            if !is_needed || !has_room || (blocks > 0 && total > WRITE_BYTES) {
                break;
            }
            (bytes, blocks) = (total, blocks + 1);
        }
        if blocks == 0 {
            return None;
        }
        if at == 0 {
            spill.next_segment += 1;
        }
        let id = spill.number();
        spill.under_way = Some(id);
        self.spilled.writing = Some(Writing { id, segment, blocks, bytes });
        Some(SpillJob::Write { id, segment, at, pieces: self.first_blocks(blocks) })
    }

    /// Blocks were written: they leave memory. Answers whether that write was awaited.
    fn written(&mut self, id: u64) -> bool {
        let Some(Writing { segment, blocks, bytes, .. }) =
            self.spilled.writing.take_if(|writing| writing.id == id)
        else {
            return false;
        };
        let start = self.memory_start();
        self.drop_blocks(blocks);
        let spilled = &mut self.spilled;
        spilled.bytes += bytes;
        match spilled.segments.back_mut().filter(|last| last.number == segment) {
            Some(last) => last.bytes += bytes,
            None => spilled.segments.push_back(Segment { number: segment, start, bytes }),
        }
        true
    }

    /// The bytes in files cannot be read up to `end`: they are let go, with the rest of their file. Answers where the backlog
    /// begins now.
    fn lose(&mut self, end: Offset) -> Offset {
        let spilled = &mut self.spilled;
        while spilled.segments.front().is_some_and(|segment| segment.start < end) {
            spilled.drop_oldest();
        }
        spilled.reading.clear();
        self.start()
    }
}

impl Replication {
    /// What is to be done with the files now. Call it when a turn has ended and the replicas were given what there is.
    pub fn spill_jobs(&mut self, now_ms: i64, jobs: &mut Vec<SpillJob>) {
        let room = self.spill_limit(now_ms);
        let keep = self.bounds().keep;
        if let Some(backlog) = &mut self.backlog {
            if let Some(needed) = self.replicas.needed_from().filter(|_| room > 0) {
                jobs.extend(backlog.next_write(&mut self.spill, needed, keep, room));
            }
            if backlog.spilled.start().is_some() || backlog.spilled.chunk_bytes() > 0 {
                let readers: Vec<Offset> =
                    self.replicas.iter().filter_map(Replica::reads_at).collect();
                read_for(backlog, &mut self.spill, &readers, jobs);
            }
        }
        let next = self.spill.next_segment;
        let first = self.backlog.as_ref().map_or(next, |it| it.spilled.first_needed(next));
        if first > self.spill.freed {
            self.spill.freed = first;
            jobs.push(SpillJob::Free { before: first });
        }
    }

    /// Whether there are files that are not freed yet.
    #[must_use]
    pub fn has_files(&self) -> bool {
        self.spill.freed < self.spill.next_segment
    }

    /// How many bytes may lie in files; none for a while after a write that failed.
    fn spill_limit(&self, now_ms: i64) -> u64 {
        match self.spill.failed_ms {
            Some(failed) if now_ms - failed < RETRY_MS => 0,
            _ => self.options.spill_bytes,
        }
    }

    /// How many bytes the files can still take, and how many they may hold in all; nothing where they take none.
    pub(super) fn spill_room(&self) -> Option<(u64, u64)> {
        let limit = self.options.spill_bytes;
        let used = self.backlog.as_ref().map_or(0, Backlog::in_files);
        (limit > 0 && self.spill.failed_ms.is_none()).then(|| (limit.saturating_sub(used), limit))
    }

    pub(super) fn spilled(&mut self, id: u64, turn: &mut Turn) {
        self.spill.under_way.take_if(|job| *job == id);
        let Some(backlog) = &mut self.backlog else { return };
        let is_first = backlog.in_files() == 0;
        if !backlog.written(id) {
            return;
        }
        backlog.trim(self.replicas.needed_from());
        if self.spill.failed_ms.take().is_some() {
            turn.notice("What replicas have yet to be sent can be written to a file again.");
        } else if is_first {
            turn.notice(
                "Replicas are far behind: the older part of what they have yet to be sent goes to a file.",
            );
        }
    }

    pub(super) fn spill_failed(&mut self, id: u64, reason: &str, turn: &mut Turn) {
        self.spill.under_way.take_if(|job| *job == id);
        let Some(backlog) = &mut self.backlog else { return };
        if backlog.spilled.writing.take_if(|writing| writing.id == id).is_none() {
            return;
        }
        self.spill.failed_ms = Some(turn.now_ms);
        turn.warn(format!(
            "What replicas have yet to be sent cannot be written to a file, and stays in memory: {reason}"
        ));
    }

    pub(super) fn read_back(&mut self, id: u64, bytes: Bytes, turn: &mut Turn) {
        let Some(backlog) = &mut self.backlog else { return };
        let reading = &mut backlog.spilled.reading;
        let Some(place) = reading.iter().position(|reading| reading.id == id) else { return };
        let Reading { start, bytes: wanted, .. } = reading.swap_remove(place);
        if bytes.len() == wanted {
            backlog.spilled.chunks.push(Chunk { start, bytes });
        } else {
            self.lost_spill(start.plus(wanted), "the file is too short", turn);
        }
    }

    pub(super) fn read_back_failed(&mut self, id: u64, reason: &str, turn: &mut Turn) {
        let Some(backlog) = &mut self.backlog else { return };
        let reading = &backlog.spilled.reading;
        let Some(read) = reading.iter().find(|reading| reading.id == id) else { return };
        let end = read.start.plus(read.bytes);
        self.lost_spill(end, reason, turn);
    }

    /// What lies in files cannot be read: those who need it need all data.
    fn lost_spill(&mut self, end: Offset, reason: &str, turn: &mut Turn) {
        turn.warn(format!(
            "What replicas have yet to be sent cannot be read back from a file: {reason}"
        ));
        let Some(backlog) = &mut self.backlog else { return };
        let start = backlog.lose(end);
        for client in self.replicas.ids(|replica| replica.needs().is_some_and(|at| at < start)) {
            self.drop_replica(client, true, turn);
        }
    }

    /// Says once that the files are full.
    pub(super) fn look_at_spill(&mut self, turn: &mut Turn) {
        let Some((room, limit)) = self.spill_room() else { return };
        let is_full = room < limit / 16;
        if is_full && !self.spill.said_full {
            turn.warn("What replicas have yet to be sent fills the files up to repl-spill-size.");
        }
        // Half empty is another time.
        self.spill.said_full = is_full || (self.spill.said_full && room < limit / 2);
    }
}

/// Has read back what `readers` need next.
fn read_for(
    backlog: &mut Backlog,
    spill: &mut Spill,
    readers: &[Offset],
    jobs: &mut Vec<SpillJob>,
) {
    let spilled = &mut backlog.spilled;
    spilled.keep_chunks_for(readers);
    for reader in readers {
        let Some(at) = spilled.wanted_at(*reader) else { continue };
        let Some(segment) = spilled.segment_at(at) else { continue };
        let bytes = segment.end().since(at).min(CHUNK_BYTES) as usize;
        let (number, place) = (segment.number, at.since(segment.start));
        let id = spill.number();
        spilled.reading.push(Reading { id, start: at, bytes });
        jobs.push(SpillJob::Read { id, segment: number, at: place, bytes });
    }
}
