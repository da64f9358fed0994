//! Reads the files of the log, one after another and command by command, for the engine to run.
//!
//! The engine pulls: it calls [`Loader::next`] as often as its turn allows and serves its clients in between. Where a
//! file begins as an RDB, the loader says so and goes on where that ends. What is held is one buffer and the command at
//! hand.
//!
//! The last file with data may end in the middle of a command or a transaction, as a crash leaves it; with
//! `aof-load-truncated` that end is cut off. Two ways of Redis are not followed, since they lose data: a transaction
//! that breaks off within a command is cut off as a whole (Redis leaves its MULTI in the file, and what is logged behind
//! that is dropped at the next start), and a file in the middle of the chain is refused as it is, not cut and then
//! refused.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use redstart_common::log;
use redstart_common::resp::Args;

use super::chain::{Chain, ChainError};
use super::manifest::{Entry, Kind};
use super::scan::{Found, ScanError, Scanner};
use crate::text::system_words;

/// Bytes asked of the file at once.
const READ_BYTES: usize = 256 * 1024;
/// What an RDB begins with, as Redis and as Valkey write it.
const RDB_MAGICS: [&[u8]; 2] = [b"REDIS", b"VALKEY"];

/// Why loading ended. The server does not start then.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct LoadError(Vec<String>);

impl LoadError {
    /// The lines for the log, all warnings.
    #[must_use]
    pub fn report(&self) -> &[String] {
        &self.0
    }
}

impl From<ChainError> for LoadError {
    fn from(error: ChainError) -> Self {
        Self(error.report())
    }
}

/// What is there to load.
#[derive(Debug)]
pub enum Contents {
    /// No files.
    Absent,
    /// Files without a byte.
    Empty,
    /// Files with data.
    Some(Box<Loader>),
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The file at [`Loader::path`] begins as an RDB, which ends somewhere in it: [`Loader::rdb_loaded`] or
    /// [`Loader::rdb_failed`] is called before the next step.
    Rdb,
    /// A command to be run; [`Loader::args`] gives its arguments.
    Command,
    /// What follows was logged in this second since 1970.
    Time(i64),
    /// All is loaded.
    Done,
}

/// What was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Bytes of all files, as they were.
    pub bytes: u64,
    /// Bytes of the base among them.
    pub base_bytes: u64,
    /// Whether an unfinished end was cut off.
    pub is_truncated: bool,
}

/// Reads a chain of files.
#[derive(Debug)]
pub struct Loader {
    folder: PathBuf,
    /// The name of a file with an RDB before its commands, of before version 7.
    single: Vec<u8>,
    may_truncate: bool,
    waiting: VecDeque<(Entry, u64)>,
    current: Option<Reading>,
    loaded: Loaded,
    /// Bytes of the files that are done.
    done_bytes: u64,
}

#[derive(Debug)]
struct Reading {
    entry: Entry,
    path: PathBuf,
    file: File,
    begun: Instant,
    /// Whether the first bytes have been looked at.
    is_known: bool,
    size: u64,
    scanner: Scanner,
    buf: Vec<u8>,
    /// Where in `buf` the command at hand begins, and the bytes of it when it is whole.
    start: usize,
    whole: usize,
    /// Offset in the file of `buf[start]`.
    offset: u64,
    is_at_end: bool,
    /// Everything before this offset is whole.
    valid_to: u64,
    /// Offset of the MULTI that has no EXEC yet.
    multi_at: Option<u64>,
}

impl Loader {
    /// Looks at the files of a chain. `may_truncate` is the setting `aof-load-truncated`.
    ///
    /// # Errors
    /// When a file of the manifest is missing.
    pub fn open(chain: &Chain, may_truncate: bool) -> Result<Contents, LoadError> {
        let manifest = chain.manifest();
        if manifest.is_empty() {
            return Ok(Contents::Absent);
        }
        let bytes = chain.bytes_total()?;
        if bytes == 0 {
            return Ok(Contents::Empty);
        }
        let folder = chain.folder();
        let size = |entry: &Entry| {
            std::fs::metadata(folder.join(entry.path())).map_or(0, |found| found.len())
        };
        let base_bytes = manifest.base.as_ref().map_or(0, size);
        Ok(Contents::Some(Box::new(Self {
            single: chain.names().single().as_bytes().to_vec(),
            may_truncate,
            waiting: manifest.parts().map(|entry| (entry.clone(), size(entry))).collect(),
            current: None,
            loaded: Loaded { bytes, base_bytes, is_truncated: false },
            done_bytes: 0,
            folder,
        })))
    }

    /// Goes on to the next thing to do.
    ///
    /// # Errors
    /// The disk's, damage, and an end that is cut off where it may not be.
    #[expect(clippy::should_implement_trait, reason = "steps end with one, and may fail")]
    pub fn next(&mut self) -> Result<Step, LoadError> {
        loop {
            let Some(reading) = &mut self.current else {
                let Some((entry, size)) = self.waiting.pop_front() else { return Ok(Step::Done) };
                self.current = Some(Reading::open(&self.folder, entry, size)?);
                continue;
            };
            if !reading.is_known {
                if reading.is_rdb()? {
                    log!(
                        Notice,
                        "{}",
                        if reading.entry.name == self.single {
                            "Reading RDB preamble from AOF file..."
                        } else {
                            "Reading RDB base file on AOF loading..."
                        }
                    );
                    return Ok(Step::Rdb);
                }
                continue;
            }
            match reading.step() {
                Ok(Some(step)) => return Ok(step),
                Ok(None) => self.end_file(None)?,
                Err(Stop::Short) => self.end_file(Some(Stop::Short))?,
                Err(stop) => return Err(reading.refuse(&stop)),
            }
        }
    }

    /// The arguments of the command that [`next`](Self::next) found; none after any other step.
    #[must_use]
    pub fn args(&self) -> Args<'_> {
        match &self.current {
            Some(reading) if reading.whole > 0 => {
                reading.scanner.args(&reading.buf[reading.start..])
            }
            _ => Args::new(&[], &[]),
        }
    }

    /// The file at hand.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.current.as_ref().map(|reading| reading.path.as_path())
    }

    /// The name of the file at hand, for INFO and log lines.
    #[must_use]
    pub fn file_name(&self) -> String {
        self.current.as_ref().map(|reading| reading.entry.shown()).unwrap_or_default()
    }

    /// Where in its file the command at hand lies.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.current
            .as_ref()
            .map_or(0..0, |reading| reading.offset..reading.offset + reading.whole as u64)
    }

    /// The RDB at the beginning of the file at hand is loaded; it ends before this offset.
    ///
    /// # Errors
    /// The disk's.
    pub fn rdb_loaded(&mut self, end: u64) -> Result<(), LoadError> {
        let Some(reading) = &mut self.current else { return Ok(()) };
        reading.go_on_at(end)?;
        if reading.entry.name == self.single {
            log!(Notice, "Reading the remaining AOF tail...");
        }
        Ok(())
    }

    /// What to say when the RDB at the beginning of the file at hand cannot be loaded.
    #[must_use]
    pub fn rdb_failed(&self) -> LoadError {
        let name = self.file_name();
        LoadError(vec![if name.as_bytes() == self.single {
            format!("Error reading the RDB preamble of the AOF file {name}, AOF loading aborted")
        } else {
            format!("Error reading the RDB base file {name}, AOF loading aborted")
        }])
    }

    /// What to say when the command at hand is not known.
    #[must_use]
    pub fn unknown_command(&self) -> LoadError {
        let command = String::from_utf8_lossy(self.args().get(0).unwrap_or_default()).into_owned();
        let name = self.file_name();
        LoadError(vec![format!("Unknown command '{command}' reading the append only file {name}")])
    }

    /// Bytes of all files, and how many of them are behind.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        let here = self.current.as_ref().map_or(0, |reading| reading.offset);
        (self.loaded.bytes, self.done_bytes + here)
    }

    /// What was loaded, after [`Step::Done`].
    #[must_use]
    pub fn loaded(&self) -> Loaded {
        self.loaded
    }

    fn end_file(&mut self, stop: Option<Stop>) -> Result<(), LoadError> {
        let Some(reading) = self.current.take() else { return Ok(()) };
        if stop.is_some() || reading.multi_at.is_some() {
            // Files without a byte may follow: a rewrite had just begun.
            let is_last = self.waiting.iter().all(|(_, size)| *size == 0);
            reading.truncate(self.may_truncate, is_last)?;
            self.loaded.is_truncated = true;
        }
        if reading.size > 0 {
            let kind = if reading.entry.kind == Kind::Base { "base" } else { "incr" };
            let (name, seconds) = (reading.entry.shown(), reading.begun.elapsed().as_secs_f32());
            log!(Notice, "DB loaded from {kind} file {name}: {seconds:.3} seconds");
        }
        self.done_bytes += reading.size;
        Ok(())
    }
}

/// Why a file is not read any further.
enum Stop {
    /// It ends too early.
    Short,
    Damaged(ScanError),
    Disk(io::Error),
}

impl Reading {
    fn open(folder: &Path, entry: Entry, size: u64) -> Result<Self, LoadError> {
        let path = folder.join(entry.path());
        let file = File::open(&path).map_err(|error| {
            let (name, words) = (entry.shown(), system_words(&error));
            LoadError(vec![if error.kind() == io::ErrorKind::NotFound {
                format!("The append log file {name} doesn't exist: {words}")
            } else {
                format!("Fatal error: can't open the append log file {name} for reading: {words}")
            }])
        })?;
        Ok(Self {
            entry,
            path,
            file,
            begun: Instant::now(),
            is_known: false,
            size,
            scanner: Scanner::default(),
            buf: Vec::new(),
            start: 0,
            whole: 0,
            offset: 0,
            is_at_end: false,
            valid_to: 0,
            multi_at: None,
        })
    }

    fn is_rdb(&mut self) -> Result<bool, LoadError> {
        let enough = RDB_MAGICS.iter().map(|magic| magic.len()).max().unwrap_or(0);
        while self.buf.len() < enough && !self.is_at_end {
            self.fill().map_err(|error| self.refuse(&Stop::Disk(error)))?;
        }
        self.is_known = true;
        Ok(RDB_MAGICS.iter().any(|magic| self.buf.starts_with(magic)))
    }

    fn go_on_at(&mut self, offset: u64) -> Result<(), LoadError> {
        let moved = io::Seek::seek(&mut self.file, io::SeekFrom::Start(offset));
        moved.map_err(|error| self.refuse(&Stop::Disk(error)))?;
        self.buf.clear();
        (self.start, self.whole, self.is_at_end) = (0, 0, false);
        (self.offset, self.valid_to) = (offset, offset);
        Ok(())
    }

    /// The next command or time; nothing at the end of the file.
    fn step(&mut self) -> Result<Option<Step>, Stop> {
        self.start += self.whole;
        self.offset += self.whole as u64;
        self.whole = 0;
        loop {
            match self.scanner.scan(&self.buf[self.start..]).map_err(Stop::Damaged)? {
                Found::Command(bytes) => {
                    self.whole = bytes;
                    self.note_transaction();
                    self.valid_to = self.offset + bytes as u64;
                    return Ok(Some(Step::Command));
                }
                Found::Annotation(bytes, time) => {
                    self.start += bytes;
                    self.offset += bytes as u64;
                    self.valid_to = self.offset;
                    if let Some(time) = time {
                        return Ok(Some(Step::Time(time)));
                    }
                }
                Found::Incomplete if self.is_at_end && self.start == self.buf.len() => {
                    return Ok(None);
                }
                Found::Incomplete if self.is_at_end || self.lacks_bytes() => {
                    return Err(Stop::Short);
                }
                Found::Incomplete => self.fill().map_err(Stop::Disk)?,
            }
        }
    }

    fn note_transaction(&mut self) {
        let name = self.scanner.args(&self.buf[self.start..]).get(0).unwrap_or_default();
        match name.len() {
            5 if name.eq_ignore_ascii_case(b"multi") => {
                self.multi_at.get_or_insert(self.offset);
            }
            4 if name.eq_ignore_ascii_case(b"exec") => self.multi_at = None,
            7 if name.eq_ignore_ascii_case(b"discard") => self.multi_at = None,
            _ => {}
        }
    }

    /// Whether the argument at hand says that it is longer than the rest of the file: nothing is read into memory then.
    fn lacks_bytes(&self) -> bool {
        let needed = self.scanner.needed().unwrap_or(0) as u64;
        self.offset.saturating_add(needed) > self.size
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buf.drain(..self.start);
        self.start = 0;
        // One large command must not keep its room for ever.
        if self.buf.capacity() > 4 * READ_BYTES && self.buf.len() < READ_BYTES {
            self.buf.shrink_to(READ_BYTES);
        }
        // An argument whose length is known and within the file is read without growing twice.
        let needed = self.scanner.needed().unwrap_or(0).saturating_sub(self.buf.len());
        let wanted = needed.max(READ_BYTES);
        self.buf.reserve(wanted);
        let read = (&mut self.file).take(wanted as u64).read_to_end(&mut self.buf)?;
        self.is_at_end = read < wanted;
        Ok(())
    }

    fn refuse(&self, stop: &Stop) -> LoadError {
        let name = self.entry.shown();
        LoadError(match stop {
            Stop::Short => vec![unexpected_end(&name)],
            Stop::Disk(error) => vec![format!(
                "Unrecoverable error reading the append only file {name}: {}",
                system_words(error)
            )],
            // The last line is Redis's.
            Stop::Damaged(error) => vec![
                format!(
                    "At offset {}, in the command at offset {}: {error}",
                    self.offset + error.offset() as u64,
                    self.offset
                ),
                format!(
                    "Bad file format reading the append only file {name}: make a backup of your AOF file, then use \
                     ./redis-check-aof --fix <filename.manifest>"
                ),
            ],
        })
    }

    /// Cuts the unfinished end off, if that may be done.
    fn truncate(&self, may_truncate: bool, is_last: bool) -> Result<(), LoadError> {
        let name = self.entry.shown();
        let whole_to = self.multi_at.unwrap_or(self.valid_to);
        if self.multi_at.is_some() {
            log!(Warning, "Revert incomplete MULTI/EXEC transaction in AOF file {name}");
        }
        if !may_truncate {
            return Err(LoadError(vec![unexpected_end(&name)]));
        }
        log!(Warning, "!!! Warning: short read while loading the AOF file {name}!!!");
        if !is_last {
            return Err(LoadError(vec![
                "Fatal error: the truncated file is not the last file".to_owned(),
            ]));
        }
        log!(Warning, "!!! Truncating the AOF {name} at offset {whole_to} !!!");
        let cut = OpenOptions::new().write(true).open(&self.path).and_then(|file| {
            file.set_len(whole_to)?;
            file.sync_all()
        });
        if let Err(error) = cut {
            let words = system_words(&error);
            log!(Warning, "Error truncating the AOF file {name}: {words}");
            return Err(LoadError(vec![unexpected_end(&name)]));
        }
        log!(Warning, "AOF {name} loaded anyway because aof-load-truncated is enabled");
        Ok(())
    }
}

fn unexpected_end(name: &str) -> String {
    format!(
        "Unexpected end of file reading the append only file {name}. You can: 1) Make a backup of your AOF file, then \
         use ./redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set the 'aof-load-truncated' \
         configuration option to yes and restart the server."
    )
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
