//! The manifest: one line a file, `file NAME seq NUMBER type b|h|i`, the base first, then history, then increments.
//!
//! Read and written as Redis 7.0.15 does, the names with blanks in quotes. Which file follows which is decided here on
//! values; `chain` does it on the disk.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use redstart_common::resp::split_words;

use crate::text::quote;

/// Bytes of a line, its end included.
const LINE_MAX: usize = 1024;

/// What a file of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The data as it was when the log was last rewritten; at most one.
    Base,
    /// Replaced by a rewrite, to be removed.
    History,
    /// The writes since the base, in the order of their numbers.
    Incr,
}

impl Kind {
    const LETTERS: [(u8, Self); 3] =
        [(b'b', Self::Base), (b'h', Self::History), (b'i', Self::Incr)];

    fn letter(self) -> u8 {
        Self::LETTERS[self as usize].0
    }
}

/// One line of the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The file's name, without a folder.
    pub name: Vec<u8>,
    /// Its number within its kind.
    pub seq: i64,
    /// What it is.
    pub kind: Kind,
}

impl Entry {
    /// The name as the file system takes it.
    #[must_use]
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.name))
    }

    /// The name for people.
    #[must_use]
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    fn print(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"file ");
        if needs_quotes(&self.name) {
            quote(&self.name, out);
        } else {
            out.extend_from_slice(&self.name);
        }
        out.extend_from_slice(format!(" seq {} type ", self.seq).as_bytes());
        out.extend_from_slice(&[self.kind.letter(), b'\n']);
    }
}

/// How the files are called: all names begin with `appendfilename`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    stem: String,
}

impl Names {
    /// For this `appendfilename`, which is also the name of the single file that Redis had before version 7.
    #[must_use]
    pub fn new(stem: &str) -> Self {
        Self { stem: stem.to_owned() }
    }

    /// The single file of old.
    #[must_use]
    pub fn single(&self) -> &str {
        &self.stem
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> String {
        format!("{}.manifest", self.stem)
    }

    /// What the manifest is written to before it is renamed.
    #[must_use]
    pub fn manifest_beside(&self) -> String {
        format!("temp-{}.manifest", self.stem)
    }

    /// The increment that collects writes while the first rewrite after `CONFIG SET appendonly yes` runs.
    #[must_use]
    pub fn incr_beside(&self) -> String {
        format!("temp-{}.incr", self.stem)
    }

    fn base(&self, seq: i64, rdb: bool) -> Vec<u8> {
        format!("{}.{seq}.base.{}", self.stem, if rdb { "rdb" } else { "aof" }).into_bytes()
    }

    fn incr(&self, seq: i64) -> Vec<u8> {
        format!("{}.{seq}.incr.aof", self.stem).into_bytes()
    }
}

/// Why a manifest is refused, in redis-server's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// The line that is at fault, its number first and its text without blanks at the ends, where there is one.
    pub at: Option<(usize, Vec<u8>)>,
    /// What is wrong.
    pub what: &'static str,
}

impl ManifestError {
    /// The lines for the log.
    #[must_use]
    pub fn report(&self) -> Vec<String> {
        let mut lines = vec!["\n*** FATAL AOF MANIFEST FILE ERROR ***\n".to_owned()];
        if let Some((number, line)) = &self.at {
            lines.push(format!("Reading the manifest file, at line {number}\n"));
            lines.push(format!(">>> '{}'\n", String::from_utf8_lossy(line)));
        }
        lines.push(format!("{}\n", self.what));
        lines
    }
}

/// Which files make up the data, and the numbers given out so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The file to begin with.
    pub base: Option<Entry>,
    /// Files to be removed, in the order in which they stand in the manifest.
    pub history: Vec<Entry>,
    /// The files to go on with.
    pub incrs: Vec<Entry>,
    base_seq: i64,
    incr_seq: i64,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// What redis-server refuses too.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        let mut manifest = Self::default();
        let mut rest = text;
        let mut number = 0;
        let nowhere = |what| ManifestError { at: None, what };
        if rest.is_empty() {
            return Err(nowhere("Found an empty AOF manifest"));
        }
        while !rest.is_empty() {
            let newline = rest.iter().take(LINE_MAX).position(|&byte| byte == b'\n');
            let (line, behind) =
                rest.split_at(newline.map_or(rest.len().min(LINE_MAX), |end| end + 1));
            rest = behind;
            number += 1;
            if line[0] == b'#' {
                continue;
            }
            // A last line without its end is not distinguished from one that is too long, nor one with a NUL.
            if newline.is_none() || line.contains(&0) {
                return Err(nowhere("The AOF manifest file contains too long line"));
            }
            let line = trim(line);
            let added = parse_line(line).and_then(|entry| manifest.add(entry));
            added.map_err(|what| ManifestError { at: Some((number, line.to_vec())), what })?;
        }
        Ok(manifest)
    }

    /// The text of the manifest.
    #[must_use]
    pub fn print(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for entry in self.base.iter().chain(&self.history).chain(&self.incrs) {
            entry.print(&mut out);
        }
        out
    }

    /// The files to load, in their order.
    pub fn parts(&self) -> impl Iterator<Item = &Entry> {
        self.base.iter().chain(&self.incrs)
    }

    /// Whether no file holds data.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.incrs.is_empty()
    }

    /// The increment that is written to, if there is one.
    #[must_use]
    pub fn last_incr(&self) -> Option<&Entry> {
        self.incrs.last()
    }

    /// Gives out the next base; the one before becomes history.
    pub fn next_base(&mut self, names: &Names, rdb: bool) -> &Entry {
        if let Some(old) = self.base.take() {
            self.history.insert(0, Entry { kind: Kind::History, ..old });
        }
        self.base_seq = self.base_seq.saturating_add(1);
        let name = names.base(self.base_seq, rdb);
        self.base.insert(Entry { name, seq: self.base_seq, kind: Kind::Base })
    }

    /// Gives out the next increment.
    pub fn next_incr(&mut self, names: &Names) -> &Entry {
        self.incr_seq = self.incr_seq.saturating_add(1);
        let name = names.incr(self.incr_seq);
        let place = self.incrs.len();
        self.incrs.push(Entry { name, seq: self.incr_seq, kind: Kind::Incr });
        &self.incrs[place]
    }

    /// The increments that a rewrite has made needless become history; all of them, but for the last while that is
    /// written to.
    pub fn retire_incrs(&mut self, last_is_open: bool) {
        let kept = self.incrs.len().saturating_sub(usize::from(last_is_open));
        let retired = self.incrs.drain(..kept);
        self.history.splice(..0, retired.map(|entry| Entry { kind: Kind::History, ..entry }));
    }

    /// The single file of before version 7 becomes the base.
    pub fn adopt_single(&mut self, names: &Names) {
        let name = names.single().as_bytes().to_vec();
        self.base = Some(Entry { name, seq: 1, kind: Kind::Base });
        self.base_seq = 1;
    }

    /// Whether a single file of old, in the folder above, is to be taken over. `is_moved` says that a file of its name
    /// lies in the log's own folder already.
    #[must_use]
    pub fn wants_single(&self, names: &Names, folder_exists: bool, is_moved: bool) -> bool {
        let began = self.incrs.is_empty()
            && self.base.as_ref().is_some_and(|base| base.name == names.single().as_bytes());
        !folder_exists || self.is_empty() || (began && !is_moved)
    }

    fn add(&mut self, entry: Entry) -> Result<(), &'static str> {
        match entry.kind {
            Kind::Base if self.base.is_some() => {
                return Err("Found duplicate base file information");
            }
            Kind::Base => {
                self.base_seq = entry.seq;
                self.base = Some(entry);
            }
            Kind::History => self.history.push(entry),
            Kind::Incr if entry.seq <= self.incr_seq => {
                return Err("Found a non-monotonic sequence number");
            }
            Kind::Incr => {
                self.incr_seq = entry.seq;
                self.incrs.push(entry);
            }
        }
        Ok(())
    }
}

fn parse_line(line: &[u8]) -> Result<Entry, &'static str> {
    const INVALID: &str = "Invalid AOF manifest file format";
    // Pairs that are not known are for versions to come.
    let words = split_words(line).filter(|words| words.len() >= 6 && words.len() % 2 == 0);
    let words = words.ok_or(INVALID)?;
    let (mut name, mut seq, mut letter) = (None, 0, 0);
    for pair in words.chunks_exact(2) {
        let (key, value) = (until_nul(&pair[0]), until_nul(&pair[1]));
        if key.eq_ignore_ascii_case(b"file") {
            if value.iter().any(|byte| matches!(byte, b'/' | b'\\')) {
                return Err("File can't be a path, just a filename");
            }
            name = Some(value.to_vec());
        } else if key.eq_ignore_ascii_case(b"seq") {
            seq = leading_number(value);
        } else if key.eq_ignore_ascii_case(b"type") {
            letter = value.first().copied().unwrap_or(0);
        }
    }
    let name = name.filter(|_| seq != 0 && letter != 0).ok_or(INVALID)?;
    let kind = Kind::LETTERS.iter().find(|(known, _)| *known == letter);
    let (_, kind) = kind.ok_or("Unknown AOF file type")?;
    Ok(Entry { name, seq, kind: *kind })
}

/// C's `atoll`: what the text begins with, 0 without digits; a number too large is the largest.
fn leading_number(text: &[u8]) -> i64 {
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t'..=b'\r'));
    let text = &text[start.unwrap_or(text.len())..];
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    digits.iter().take_while(|byte| byte.is_ascii_digit()).fold(0_i64, |value, byte| {
        let digit = i64::from(byte - b'0');
        let value = value.saturating_mul(10);
        if negative { value.saturating_sub(digit) } else { value.saturating_add(digit) }
    })
}

fn until_nul(word: &[u8]) -> &[u8] {
    word.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn trim(line: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = line.iter().position(|byte| !is_blank(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}

/// As Redis, and for a single quote too: Redis writes that bare and cannot read its own manifest afterwards.
fn needs_quotes(name: &[u8]) -> bool {
    let is_odd = |&byte: &u8| matches!(byte, b'\\' | b'"' | b'\'') || !byte.is_ascii_graphic();
    name.is_empty() || name.iter().any(is_odd)
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
