//! The log of a server: takes the writes of a turn, writes them at its end with one call, and says which replies may
//! leave.
//!
//! What to do is decided by [`Flush`]; here it is done. Bytes that could not be written stay in the buffer, and a write
//! that was cut short is taken off the file again, so that a reader finds whole commands.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redstart_common::log;
use smallvec::SmallVec;

use super::encode::Encoder;
use super::flush::{Flush, Plan, Policy, Then, Verdict, Written};
use super::sync::{Job, SyncThread, Synced, Syncs};

/// A buffer of at most this capacity is kept from turn to turn.
const BUFFER_KEPT_BYTES: usize = 1024 * 1024;
/// Pairs of a mark and an offset of the stream that are kept; without the oldest, less is known for a moment.
const OFFSETS_MAX: usize = 1024;

/// What the log needs of a file. Writes go to its end.
pub trait LogFile: Send + std::marker::Sync + 'static {
    /// Writes some bytes, at least one.
    ///
    /// # Errors
    /// The disk's.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Cuts the file off.
    ///
    /// # Errors
    /// The disk's.
    fn truncate(&self, bytes: u64) -> io::Result<()>;
    /// Waits until what was written is on the disk.
    ///
    /// # Errors
    /// The disk's.
    fn sync(&self) -> io::Result<()>;
}

impl LogFile for File {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(&mut &*self, bytes)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// The process has to end with exit code 1; the log lines that say why are written.
#[derive(Debug, PartialEq, Eq)]
pub struct Fatal;

/// Events for LATENCY, by Redis's names.
pub type Latencies = SmallVec<[(&'static str, Duration); 3]>;

/// The log.
#[derive(Debug)]
pub struct Log<F = File, S = SyncThread<F>> {
    file: Arc<F>,
    file_bytes: u64,
    buffer: Vec<u8>,
    encoder: Encoder,
    flush: Flush,
    syncs: S,
    /// The stream's offset behind what is written, and behind what is on the disk.
    written_offset: u64,
    synced_offset: u64,
    /// Offsets behind the marks that are being synced.
    offsets: VecDeque<(u64, u64)>,
    latencies: Latencies,
}

impl<F: LogFile, S: Syncs<F>> Log<F, S> {
    /// A log that goes on at the end of `file`, which has `file_bytes`, and counts its marks from `mark` on. `offset` is
    /// that of the replication stream, all of which is on the disk in some form; `now_ms` is the log's clock (see
    /// [`Flush`]).
    #[must_use]
    pub fn new(
        file: F,
        file_bytes: u64,
        syncs: S,
        (policy, mark): (Policy, u64),
        offset: u64,
        now_ms: u64,
    ) -> Self {
        Self {
            file: Arc::new(file),
            file_bytes,
            buffer: Vec::new(),
            encoder: Encoder::default(),
            flush: Flush::new(policy, mark, now_ms),
            syncs,
            written_offset: offset,
            synced_offset: offset,
            offsets: VecDeque::new(),
            latencies: Latencies::new(),
        }
    }

    /// Notes the time, for `aof-timestamp-enabled`: before the writes of a turn.
    pub fn time(&mut self, unix_seconds: i64) {
        self.append(|encoder, buffer| encoder.time(unix_seconds, buffer));
    }

    /// Begins a group, of which a reader runs all or nothing; its first command is for `database`.
    pub fn begin_group(&mut self, database: u32) {
        self.append(|encoder, buffer| encoder.begin_group(database, buffer));
    }

    /// Adds whole commands, encoded, for `database`: one or many.
    pub fn commands(&mut self, database: u32, encoded: &[u8]) {
        self.append(|encoder, buffer| encoder.commands(database, encoded, buffer));
    }

    /// Ends the group.
    pub fn end_group(&mut self) {
        self.append(|encoder, buffer| encoder.end_group(buffer));
    }

    /// Writes and syncs what is due: at the end of each turn, when [`woken`](SyncThread::start), and after
    /// [`Flush::wake_in_ms`]. `offset` is that of the replication stream at this moment. With `force`, nothing is waited
    /// for: before a rewrite and at the end.
    ///
    /// # Errors
    /// When the process has to end.
    pub fn flush(&mut self, now_ms: u64, offset: u64, force: bool) -> Result<(), Fatal> {
        self.latencies.clear();
        self.take_synced(now_ms)?;
        if self.encoder.is_in_group() {
            return Ok(());
        }
        if self.buffer.is_empty() {
            // The stream may have grown by what is not logged.
            self.written_offset = offset;
        }
        match self.flush.plan(now_ms, force) {
            Plan::Nothing => Ok(()),
            Plan::Sync => {
                self.sync(now_ms);
                Ok(())
            }
            Plan::Write { is_late } => {
                if is_late {
                    log!(
                        Notice,
                        "Asynchronous AOF fsync is taking too long (disk is busy?). Writing the AOF buffer without \
                         waiting for fsync to complete, this may slow down Redis."
                    );
                }
                self.write(now_ms, offset)
            }
        }
    }

    /// Leaves the file, in which all is written, for another: a rewrite begins. The old one is synced and closed on the
    /// thread. Returns the mark at which the new one begins, for [`rewritten`](Self::rewritten).
    ///
    /// # Errors
    /// Gives the new file back when the old one does not take what is in the buffer.
    pub fn switch_to(&mut self, file: F, now_ms: u64) -> Result<u64, F> {
        if !self.buffer.is_empty() {
            return Err(file);
        }
        let mark = self.flush.leave_file(now_ms);
        let file = std::mem::replace(&mut self.file, Arc::new(file));
        self.note_offset(mark);
        self.syncs.start(Job { file, mark, is_current: false });
        self.file_bytes = 0;
        self.encoder.forget_database();
        Ok(mark)
    }

    /// The rewrite that began at `mark` is done, and its base is on the disk.
    pub fn rewritten(&mut self, mark: u64) {
        self.flush.rewritten(mark);
        self.learn_offset();
    }

    /// Gives up what is in the buffer, since the rewrite that it was for has failed. Replies that wait for it may leave:
    /// there is no log yet.
    pub fn discard(&mut self) {
        self.buffer = Vec::new();
        self.encoder = Encoder::default();
        self.flush.discard();
    }

    /// Writes and syncs everything, at the end of the log or of the process. What cannot be done is said in the log.
    ///
    /// # Errors
    /// When an acknowledged write is lost.
    pub fn finish(&mut self, now_ms: u64, offset: u64) -> Result<(), Fatal> {
        self.flush(now_ms, offset, true)?;
        while let Some(synced) = self.syncs.wait() {
            self.take(&synced, now_ms)?;
        }
        let mark = self.flush.sync_begins(now_ms);
        self.note_offset(mark);
        let result = self.file.sync();
        self.take(&Synced { mark, is_current: true, result, took: Duration::ZERO }, now_ms)
    }

    /// The decisions of the log: settings, marks, counters.
    #[must_use]
    pub fn state(&self) -> &Flush {
        &self.flush
    }

    /// The same, to change settings.
    pub fn state_mut(&mut self) -> &mut Flush {
        &mut self.flush
    }

    /// Bytes of the file that is written to.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Memory of the buffer.
    #[must_use]
    pub fn buffer_capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// The offset of the replication stream up to which the effects are on the disk, for WAITAOF: `end`, where it ends,
    /// unless something waits to be synced.
    #[must_use]
    pub fn durable_offset(&self, end: u64) -> u64 {
        if self.flush.synced_to() < self.flush.appended() { self.synced_offset } else { end }
    }

    /// The offset up to which the replication stream may leave: `offset`, where it ends, unless something waits to be
    /// synced before it counts.
    #[must_use]
    pub fn released_offset(&self, offset: u64) -> u64 {
        if self.flush.released() < self.flush.appended() { self.synced_offset } else { offset }
    }

    /// What the last [`flush`](Self::flush) took.
    #[must_use]
    pub fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    fn append(&mut self, add: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let before = self.buffer.len();
        add(&mut self.encoder, &mut self.buffer);
        self.flush.append(self.buffer.len() - before);
    }

    fn write(&mut self, now_ms: u64, offset: u64) -> Result<(), Fatal> {
        let begun = Instant::now();
        let result = self.write_all();
        let took = begun.elapsed();
        let how = if self.flush.is_syncing() {
            "aof-write-pending-fsync"
        } else if self.flush.is_saving() {
            "aof-write-active-child"
        } else {
            "aof-write-alone"
        };
        self.latencies.extend([(how, took), ("aof-write", took)]);
        if matches!(result, Written::All) {
            self.written_offset = offset;
        }
        let verdict = self.flush.wrote(result, now_ms);
        self.file_bytes += verdict.kept_bytes as u64;
        if verdict.kept_bytes == self.buffer.len() {
            self.buffer.clear();
            if self.buffer.capacity() > BUFFER_KEPT_BYTES {
                self.buffer = Vec::new();
            }
        } else {
            self.buffer.drain(..verdict.kept_bytes);
        }
        self.obey(verdict, now_ms)
    }

    /// Writes until all is written or an error comes: a short write may be followed by a good one.
    fn write_all(&self) -> Written {
        let mut bytes = 0;
        let error = loop {
            if bytes == self.buffer.len() {
                return Written::All;
            }
            match self.file.write(&self.buffer[bytes..]) {
                Ok(0) => break io::ErrorKind::WriteZero.into(),
                Ok(more) => bytes += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error,
            }
        };
        if bytes == 0 {
            return Written::Nothing(error);
        }
        let cut = self.file.truncate(self.file_bytes);
        Written::Short { bytes, of: self.buffer.len(), cut }
    }

    fn sync(&mut self, now_ms: u64) {
        let mark = self.flush.sync_begins(now_ms);
        self.note_offset(mark);
        self.syncs.start(Job { file: self.file.clone(), mark, is_current: true });
    }

    fn take_synced(&mut self, now_ms: u64) -> Result<(), Fatal> {
        while let Some(synced) = self.syncs.poll() {
            if self.flush.policy() == Policy::Always {
                self.latencies.push(("aof-fsync-always", synced.took));
            }
            self.take(&synced, now_ms)?;
        }
        Ok(())
    }

    fn take(&mut self, synced: &Synced, now_ms: u64) -> Result<(), Fatal> {
        let verdict = self.flush.synced(synced.mark, synced.is_current, &synced.result);
        self.learn_offset();
        self.obey(verdict, now_ms)
    }

    fn obey(&mut self, verdict: Verdict, now_ms: u64) -> Result<(), Fatal> {
        for line in &verdict.lines {
            log!(Warning, "{line}");
        }
        match verdict.then {
            Then::Nothing => Ok(()),
            Then::Sync => {
                self.sync(now_ms);
                Ok(())
            }
            Then::Exit => Err(Fatal),
        }
    }

    /// What is written now will be synced when `mark` is.
    fn note_offset(&mut self, mark: u64) {
        if self.offsets.len() == OFFSETS_MAX {
            self.offsets.pop_front();
        }
        self.offsets.push_back((mark, self.written_offset));
    }

    fn learn_offset(&mut self) {
        while let Some(&(mark, offset)) = self.offsets.front()
            && mark <= self.flush.synced_to()
        {
            self.synced_offset = offset;
            self.offsets.pop_front();
        }
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
