//! redis-check-aof: says whether log files are whole, and cuts off what is not, in the words of Redis 7.0.15.
//!
//! Differs where the original errs: a log is not taken for a manifest because one of its values begins with `file`, and
//! lengths in a damaged file allocate nothing.

mod input;

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::path::Path;

use redstart_common::log::{self, Level};

use self::input::{Input, leading_long};
use super::chain::read_manifest;
use super::manifest::Manifest;
use crate::text::system_words;

/// Bytes that an annotation's line may have, its end included, and those of a manifest's line.
const ANNOTATION_MAX: usize = 1023;
const MANIFEST_LINE_MAX: usize = 1024;
const RDB_MAGICS: [&[u8]; 2] = [b"REDIS", b"VALKEY"];
/// An RDB has at least its magic and version.
const RDB_BYTES_MIN: u64 = 8;

/// The process ends with exit code 1; what there is to say has been said.
struct Abort;

/// What became of a file that did not end the check.
enum Outcome {
    Valid,
    Empty,
    Truncated,
    TruncatedToTime,
}

/// Runs `redis-check-aof [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>` with `args`, the program's
/// name first, and returns the exit code. `answers` is asked before a file is cut.
///
/// `check_rdb` is called with a file's name for people, the file, and where to write; it says what redis-check-rdb says,
/// and returns where in the file the RDB ends, or nothing if it is damaged.
pub fn run(
    args: &[String],
    answers: &mut dyn BufRead,
    out: &mut dyn Write,
    check_rdb: &mut dyn FnMut(&str, &mut File, &mut dyn Write) -> Option<u64>,
) -> i32 {
    let mut check = Check {
        answers,
        out,
        check_rdb,
        may_fix: false,
        time_max: 0,
        error: None,
        error_at: 0,
        line: 1,
    };
    let code = match check.run(args) {
        Ok(()) => 0,
        Err(Abort) => 1,
    };
    // A closed output has nowhere to say so.
    let _ = check.out.flush();
    code
}

struct Check<'a> {
    answers: &'a mut dyn BufRead,
    out: &'a mut dyn Write,
    check_rdb: &'a mut dyn FnMut(&str, &mut File, &mut dyn Write) -> Option<u64>,
    may_fix: bool,
    /// What was logged after this second is cut off; 0 is no such wish.
    time_max: i64,
    /// What is wrong, and where the piece begins that was being read.
    error: Option<Vec<u8>>,
    error_at: u64,
    /// Lines so far, over all files.
    line: u64,
}

macro_rules! say {
    ($check:expr, $($text:tt)*) => {
        // A check whose output is closed still has its exit code.
        { let _ = writeln!($check.out, $($text)*); }
    };
}

impl Check<'_> {
    fn run(&mut self, args: &[String]) -> Result<(), Abort> {
        let name = args.first().map_or("redis-check-aof", String::as_str);
        let path = match args.get(1..).unwrap_or_default() {
            [path] => path,
            [option, path] if option == "--fix" => {
                self.may_fix = true;
                path
            }
            [option, time, path] if option == "--truncate-to-timestamp" => {
                let (value, used, in_range) = leading_long(time.as_bytes());
                // Text without a number counts as used up only when it is empty.
                if !in_range || used != time.len() {
                    say!(self, "Invalid timestamp, aborting...");
                    return Err(Abort);
                }
                self.time_max = value;
                path
            }
            _ => {
                say!(
                    self,
                    "Usage: {name} [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>"
                );
                return Err(Abort);
            }
        };
        if self.is_manifest(path)? {
            return self.check_chain(path);
        }
        let has_rdb = self.is_rdb(path)?;
        say!(self, "Start checking Old-Style AOF");
        let outcome = self.check_file(path, path, true, has_rdb)?;
        self.conclude("AOF", path, &outcome);
        Ok(())
    }

    fn check_chain(&mut self, path: &str) -> Result<(), Abort> {
        say!(self, "Start checking Multi Part AOF");
        let manifest = self.manifest(path)?;
        let folder = match Path::new(path).parent() {
            Some(folder) if folder.as_os_str().is_empty() => ".".into(),
            Some(folder) => folder.display().to_string(),
            None => "/".into(),
        };
        let mut left = manifest.parts().count();
        if let Some(base) = &manifest.base {
            left -= 1;
            let name = base.shown();
            let path = format!("{folder}/{name}");
            let has_rdb = self.is_rdb(&path)?;
            let form = if has_rdb { "RDB" } else { "RESP" };
            say!(self, "Start to check BASE AOF ({form} format).");
            let outcome = self.check_file(&name, &path, left == 0, has_rdb)?;
            self.conclude("BASE AOF", &name, &outcome);
        }
        if !manifest.incrs.is_empty() {
            say!(self, "Start to check INCR files.");
        }
        for incr in &manifest.incrs {
            left -= 1;
            let name = incr.shown();
            let outcome = self.check_file(&name, &format!("{folder}/{name}"), left == 0, false)?;
            self.conclude("INCR AOF", &name, &outcome);
        }
        say!(self, "All AOF files and manifest are valid");
        Ok(())
    }

    fn manifest(&mut self, path: &str) -> Result<Manifest, Abort> {
        read_manifest(Path::new(path)).map_err(|error| {
            for line in error.report() {
                let text = log::text(Level::Warning, format_args!("{line}"));
                let _ = self.out.write_all(text.as_bytes());
            }
            Abort
        })
    }

    fn conclude(&mut self, what: &str, name: &str, outcome: &Outcome) {
        match outcome {
            Outcome::Valid => say!(self, "{what} {name} is valid"),
            Outcome::Empty => say!(self, "{what} {name} is empty"),
            Outcome::Truncated => say!(self, "Successfully truncated AOF {name}"),
            Outcome::TruncatedToTime => {
                say!(self, "Successfully truncated AOF {name} to timestamp {}", self.time_max)
            }
        }
    }

    fn check_file(
        &mut self,
        name: &str,
        path: &str,
        is_last: bool,
        has_rdb: bool,
    ) -> Result<Outcome, Abort> {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        let mut file = opened.map_err(|error| {
            say!(self, "Cannot open file {path}: {}, aborting...", system_words(&error));
            Abort
        })?;
        let Ok(size) = file.metadata().map(|found| found.len()) else {
            say!(self, "Cannot stat file: {name}, aborting...");
            return Err(Abort);
        };
        if size == 0 {
            return Ok(Outcome::Empty);
        }
        let mut start = 0;
        if has_rdb {
            let Some(end) = (self.check_rdb)(name, &mut file, self.out) else {
                say!(self, "RDB preamble of AOF file is not sane, aborting.");
                return Err(Abort);
            };
            start = end;
            say!(self, "RDB preamble is OK, proceeding with AOF tail...");
        }
        let mut input = Input::new(file, start).map_err(|_| {
            say!(self, "Failed to read from AOF {name}, aborting...");
            Abort
        })?;
        let Some(valid_to) = self.read(&mut input, name, path, is_last)? else {
            return Ok(Outcome::TruncatedToTime);
        };
        self.judge(&input.into_file(), name, size, valid_to, is_last)
    }

    /// Reads to the end or to what is wrong, and says up to where everything is whole; nothing if the file was cut at a
    /// time.
    fn read(
        &mut self,
        input: &mut Input,
        name: &str,
        path: &str,
        is_last: bool,
    ) -> Result<Option<u64>, Abort> {
        let (mut valid_to, mut is_in_multi) = (input.position(), false);
        loop {
            if !is_in_multi {
                valid_to = input.position();
            }
            match input.peek() {
                None if input.is_at_end() => break,
                None => {
                    say!(self, "Failed to read from AOF {name}, aborting...");
                    return Err(Abort);
                }
                Some(b'#') => {
                    if !self.annotation(input, path, is_last)? {
                        return Ok(None);
                    }
                }
                Some(b'*') => {
                    if self.command(input, path, &mut is_in_multi).is_none() {
                        break;
                    }
                }
                Some(_) => {
                    say!(self, "AOF {name} format error");
                    break;
                }
            }
        }
        if input.is_at_end() && is_in_multi && self.error.is_none() {
            self.error = Some("Reached EOF before reading EXEC for MULTI".into());
        }
        if let Some(error) = &self.error {
            let _ = write!(self.out, "0x{:>16x}: ", self.error_at);
            let _ = self.out.write_all(&[error, &b"\n"[..]].concat());
        }
        Ok(Some(valid_to))
    }

    fn judge(
        &mut self,
        file: &File,
        name: &str,
        size: u64,
        valid_to: u64,
        is_last: bool,
    ) -> Result<Outcome, Abort> {
        let diff = i128::from(size) - i128::from(valid_to);
        if diff == 0 && self.time_max != 0 {
            say!(self, "Truncate nothing in AOF {name} to timestamp {}", self.time_max);
            return Ok(Outcome::Valid);
        }
        say!(
            self,
            "AOF analyzed: filename={name}, size={size}, ok_up_to={valid_to}, ok_up_to_line={}, diff={diff}",
            self.line
        );
        if diff <= 0 {
            return Ok(Outcome::Valid);
        }
        if !self.may_fix {
            say!(self, "AOF {name} is not valid. Use the --fix option to try fixing it.");
            return Err(Abort);
        }
        if !is_last {
            say!(self, "Failed to truncate AOF {name} because it is not the last file");
            return Err(Abort);
        }
        say!(
            self,
            "This will shrink the AOF {name} from {size} bytes, with {diff} bytes, to {valid_to} bytes"
        );
        let _ = write!(self.out, "Continue? [y/N]: ");
        let _ = self.out.flush();
        if !self.is_agreed() {
            say!(self, "Aborting...");
            return Err(Abort);
        }
        if cut(file, valid_to).is_err() {
            say!(self, "Failed to truncate AOF {name}");
            return Err(Abort);
        }
        Ok(Outcome::Truncated)
    }

    fn is_agreed(&mut self) -> bool {
        let first = self.answers.fill_buf().ok().and_then(|bytes| bytes.first().copied());
        first.is_some_and(|byte| byte.eq_ignore_ascii_case(&b'y'))
    }

    /// Reads a remark; false if the file was cut here, since what follows is too young.
    fn annotation(&mut self, input: &mut Input, path: &str, is_last: bool) -> Result<bool, Abort> {
        self.error_at = input.position();
        let Some(line) = input.line(ANNOTATION_MAX) else {
            say!(self, "Failed to read annotations from AOF {path}, aborting...");
            return Err(Abort);
        };
        let Some(rest) = line.strip_prefix(b"#TS:").filter(|_| self.time_max != 0) else {
            return Ok(true);
        };
        let (time, used, in_range) = leading_long(rest);
        if !in_range || rest.get(used) != Some(&b'\r') {
            say!(self, "Invalid timestamp annotation");
            return Err(Abort);
        }
        let (at, wanted) = (self.error_at, self.time_max);
        if time <= wanted {
            return Ok(true);
        }
        if at == 0 {
            say!(self, "AOF {path} has nothing before timestamp {wanted}, aborting...");
            return Err(Abort);
        }
        if !is_last {
            say!(
                self,
                "Failed to truncate AOF {path} to timestamp {wanted} to offset {at} because it is not the last file."
            );
            say!(
                self,
                "If you insist, please delete all files after this file according to the manifest file and delete the \
                 corresponding records in manifest file manually. Then re-run redis-check-aof."
            );
            return Err(Abort);
        }
        if cut(input.file(), at).is_err() {
            say!(self, "Failed to truncate AOF {path} to timestamp {wanted}");
            return Err(Abort);
        }
        Ok(false)
    }

    /// Reads a command; nothing if something is wrong with it.
    fn command(&mut self, input: &mut Input, path: &str, is_in_multi: &mut bool) -> Option<()> {
        let count = self.number(input, b'*')?;
        for index in 0..count {
            let word = self.text(input)?;
            if index > 0 {
                continue;
            }
            if word.eq_ignore_ascii_case(b"multi") {
                if *is_in_multi {
                    return self.fail(format!("Unexpected MULTI in AOF {path}"));
                }
                *is_in_multi = true;
            } else if word.eq_ignore_ascii_case(b"exec") {
                if !*is_in_multi {
                    return self.fail(format!("Unexpected EXEC in AOF {path}"));
                }
                *is_in_multi = false;
            }
        }
        Some(())
    }

    /// Reads an argument and gives its first bytes, up to a NUL.
    fn text(&mut self, input: &mut Input) -> Option<Vec<u8>> {
        let length = self.number(input, b'$')?;
        let Some(bytes) = u64::try_from(length).ok().filter(|_| length <= i64::MAX - 2) else {
            return self.fail(format!(
                "Expected to read string of {length} bytes, which is not in the suitable range"
            ));
        };
        self.error_at = input.position();
        let payload = input.payload(bytes + 2);
        if payload.bytes != bytes + 2 {
            return self.fail(format!(
                "Expected to read {} bytes, got {} bytes",
                bytes + 2,
                payload.bytes
            ));
        }
        self.line_end(&payload.last)?;
        let length = payload.first.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        let first = &payload.first[..length];
        Some(first.split(|&byte| byte == 0).next().unwrap_or_default().to_vec())
    }

    fn number(&mut self, input: &mut Input, marker: u8) -> Option<i64> {
        const LINE_MAX: usize = 127;
        self.error_at = input.position();
        let line = input.line(LINE_MAX)?;
        if line[0] != marker {
            // The byte is shown as it is, also where it is no text; a NUL ends the sentence.
            let mut error =
                format!("Expected prefix '{}', got: '", char::from(marker)).into_bytes();
            if line[0] != 0 {
                error.extend_from_slice(&[line[0], b'\'']);
            }
            self.error = Some(error);
            return None;
        }
        let (value, used, _) = leading_long(&line[1..]);
        self.line_end(&line[1 + used..])?;
        Some(value)
    }

    fn line_end(&mut self, bytes: &[u8]) -> Option<()> {
        if bytes.starts_with(b"\r\n") {
            self.line += 1;
            return Some(());
        }
        // C's signed bytes.
        let shown = |at: usize| bytes.get(at).map_or(0, |&byte| i32::from(byte.cast_signed()));
        self.fail(format!("Expected \\r\\n, got: {:02x}{:02x}", shown(0), shown(1)))
    }

    fn fail<T>(&mut self, error: String) -> Option<T> {
        self.error = Some(error.into_bytes());
        None
    }

    fn is_manifest(&mut self, path: &str) -> Result<bool, Abort> {
        let mut input = self.look_into(path)?;
        let mut is_first = true;
        while let Some(line) = input.line(MANIFEST_LINE_MAX) {
            if line.starts_with(b"file") {
                return Ok(true);
            }
            if line[0] == b'#' {
                continue;
            }
            let is_log = line[0] == b'*' || RDB_MAGICS.iter().any(|magic| line.starts_with(magic));
            if is_first && is_log {
                return Ok(false);
            }
            is_first = false;
        }
        if !input.is_at_end() {
            say!(self, "Cannot read file: {path}");
            return Err(Abort);
        }
        Ok(false)
    }

    fn is_rdb(&mut self, path: &str) -> Result<bool, Abort> {
        let mut input = self.look_into(path)?;
        let first = input.payload(RDB_BYTES_MIN);
        let has_magic = RDB_MAGICS.iter().any(|magic| first.first.starts_with(magic));
        Ok(first.bytes == RDB_BYTES_MIN && has_magic)
    }

    fn look_into(&mut self, path: &str) -> Result<Input, Abort> {
        let opened = File::open(path).and_then(|file| Input::new(file, 0));
        opened.map_err(|error| {
            say!(self, "Cannot open file {path}: {}", system_words(&error));
            Abort
        })
    }
}

fn cut(file: &File, bytes: u64) -> io::Result<()> {
    file.set_len(bytes)?;
    file.sync_all()
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
