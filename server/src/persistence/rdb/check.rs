//! `redis-check-rdb`: reads a file and says what it is made of, or where it is damaged. The words are those of 7.0.15.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use redstart_common::clock::unix_ms;
use redstart_common::log::{self, Level};

use super::decode::{Checksum, Decoder, Doing, Item, Options};
use super::error::{Feature, LoadError, Problem};
use super::format::kind;

/// The types of values by their numbers.
const KINDS: [&str; 28] = [
    "string",
    "list-linked",
    "set-hashtable",
    "zset-v1",
    "hash-hashtable",
    "zset-v2",
    "module-value",
    "",
    "",
    "hash-zipmap",
    "list-ziplist",
    "set-intset",
    "zset-ziplist",
    "hash-ziplist",
    "quicklist",
    "stream",
    "hash-listpack",
    "zset-listpack",
    "quicklist-v2",
    // 7.0.15 has no name for the first of these, and knows no other.
    "unknown",
    "set-listpack",
    "stream-v3",
    "hash-hashtable-md-pre-release",
    "hash-listpack-md-pre-release",
    "hash-hashtable-md",
    "hash-listpack-md",
    "stream-v4",
    "stream-v5",
];

impl Doing {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Type => "read-type",
            Self::Expire => "read-expire",
            Self::Key => "read-key",
            Self::Value => "read-object-value",
            Self::Checksum => "check-sum",
            Self::Length => "read-len",
            Self::Aux => "read-aux",
            Self::ModuleAux => "read-module-aux",
            Self::Functions => "read-functions",
        }
    }
}

/// Runs the program with its arguments, its own name first. Answers the exit code.
#[must_use]
pub fn run(args: &[OsString]) -> i32 {
    let name = args.first().map_or(OsStr::new("redis-check-rdb"), OsString::as_os_str);
    let [_, path] = args else {
        eprintln!("Usage: {} <rdb-file-name>", name.display());
        return 1;
    };
    if path == "-v" || path == "--version" {
        println!("redis-check-rdb {}", crate::REDIS_VERSION);
        return 0;
    }
    log::set_role('C');
    i32::from(!report(Path::new(path), &mut io::stdout()))
}

/// Checks a file and writes what there is to say to `out`; answers whether the file is whole. A server that cannot load
/// its file does the same.
pub fn report(path: &Path, out: &mut impl Write) -> bool {
    match File::open(path) {
        Ok(mut file) => report_open(path.as_os_str(), &mut file, out).is_some(),
        // redis-check-rdb has no word for a file that is not there.
        Err(_) => {
            Report::new(out).begin(path.as_os_str());
            false
        }
    }
}

/// Checks an open file, which `name` is said to be, from where it is; answers where its RDB ends if that is whole.
pub fn report_open(name: &OsStr, file: &mut File, out: &mut impl Write) -> Option<u64> {
    let mut report = Report::new(out);
    report.begin(name);
    let end = report.file(file);
    // Nothing can be done about an output that is closed.
    let _ = report.out.flush();
    end
}

struct Report<'o, W> {
    out: &'o mut W,
    keys: u64,
    volatile: u64,
    expired: u64,
    /// Whether a type is named in an error. Before the first entry it is the type with number 0.
    has_type: bool,
}

/// A text as C sees it: up to the first zero.
fn c_text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or(bytes)
}

impl<'o, W: Write> Report<'o, W> {
    fn new(out: &'o mut W) -> Self {
        Self { out, keys: 0, volatile: 0, expired: 0, has_type: true }
    }

    fn begin(&mut self, name: &OsStr) {
        self.info(0, &[b"Checking RDB file ", name.as_bytes()]);
    }

    fn say(&mut self, parts: &[&[u8]]) {
        let mut line = parts.concat();
        line.push(b'\n');
        let _ = self.out.write_all(&line);
    }

    fn info(&mut self, offset: u64, parts: &[&[u8]]) {
        let offset = format!("[offset {offset}] ");
        self.say(&[&[offset.as_bytes()], parts].concat());
    }

    fn counts(&mut self) {
        for (count, what) in [
            (self.keys, "keys read"),
            (self.volatile, "expires"),
            (self.expired, "already expired"),
        ] {
            self.say(&[format!("[info] {count} {what}").as_bytes()]);
        }
    }

    fn file(&mut self, file: impl Read) -> Option<u64> {
        let options = Options { passes_over: true, ..Options::default() };
        let mut decoder = Decoder::new(file, options);
        let now = unix_ms();
        loop {
            let item = match decoder.next() {
                Ok(Item::End(sum)) => {
                    self.end(decoder.offset(), sum);
                    return Some(decoder.offset());
                }
                Ok(Item::EmptyKey(_)) => None,
                Ok(item) => Some(self.item(&item, now)),
                Err(error) => {
                    self.error(&decoder, &error);
                    return None;
                }
            };
            match item {
                Some(Some(said)) => {
                    let offset = decoder.offset();
                    self.info(offset, &[&said]);
                }
                Some(None) => {}
                None => {
                    self.keys += 1;
                    self.problem(&decoder, b"Unexpected EOF reading RDB file");
                    return None;
                }
            }
        }
    }

    /// Counts an item, and answers what is said of it.
    fn item(&mut self, item: &Item<'_>, now: i64) -> Option<Vec<u8>> {
        match item {
            Item::Aux { name, value } => {
                let (name, value) = (c_text(name), c_text(value));
                Some([b"AUX FIELD ", name, b" = '", value, b"'"].concat())
            }
            Item::Select(db) => Some(format!("Selecting DB ID {db}").into_bytes()),
            Item::ModuleAux { module } => Some(format!("MODULE AUX for: {module}").into_bytes()),
            Item::Entry { deadline, .. } => {
                self.keys += 1;
                self.has_type = false;
                self.volatile += u64::from(deadline.is_some());
                self.expired += u64::from(deadline.is_some_and(|deadline| deadline < now));
                None
            }
            Item::Resize { .. } | Item::Function(_) | Item::EmptyKey(_) | Item::End(_) => None,
        }
    }

    fn end(&mut self, offset: u64, sum: Checksum) {
        match sum {
            Checksum::Right => self.info(offset, &[b"Checksum OK"]),
            Checksum::NotMade => self
                .info(offset, &[b"RDB file was saved with checksum disabled: no check performed."]),
            Checksum::NotLookedAt => {}
        }
        self.info(offset, &[b"\\o/ RDB looks OK! \\o/"]);
        self.counts();
    }

    fn error<R: Read>(&mut self, decoder: &Decoder<R>, error: &LoadError) {
        self.keys += u64::from(decoder.has_key);
        let (text, is_internal) = match (&error.problem, decoder.doing) {
            (Problem::Short | Problem::Io(_), Doing::Functions) => {
                let what = decoder.missing_of_function;
                (format!("Failed loading library, Failed loading {what}"), false)
            }
            (Problem::Short | Problem::Io(_), _) => {
                ("Unexpected EOF reading RDB file".to_owned(), false)
            }
            (Problem::Signature, _) => {
                ("Wrong signature trying to load DB from file".to_owned(), false)
            }
            (Problem::Checksum { .. }, _) => ("RDB CRC error".to_owned(), false),
            (Problem::Feature(Feature::Type(number)), _) => {
                (format!("Invalid object type: {number}"), false)
            }
            (Problem::Feature(Feature::Module(name)), _) => (
                format!(
                    "Internal error in RDB reading offset 0, function at rdb.c:2636 -> The RDB file contains module \
                     data I can't load: no matching module type '{name}'"
                ),
                true,
            ),
            (Problem::Corrupt { reason, .. }, Doing::ModuleAux) if reason == "bad when_opcode" => {
                (reason.to_string(), false)
            }
            (Problem::Corrupt { reason, line }, _) => (
                format!(
                    "Internal error in RDB reading offset 0, function at rdb.c:{line} -> {reason}"
                ),
                true,
            ),
            (Problem::Version(_) | Problem::TooLong(_) | Problem::Feature(_), _) => {
                (error.log_lines().join(" "), false)
            }
        };
        self.problem(decoder, text.as_bytes());
        if is_internal {
            let _ = self.out.flush();
            log::line(
                Level::Warning,
                format_args!("Terminating server after rdb file reading failure."),
            );
        }
    }

    fn problem<R: Read>(&mut self, decoder: &Decoder<R>, text: &[u8]) {
        self.say(&[b"--- RDB ERROR DETECTED ---"]);
        self.info(decoder.offset(), &[text]);
        let doing = format!("[additional info] While doing: {}", decoder.doing.name());
        self.say(&[doing.as_bytes()]);
        if decoder.has_key {
            self.say(&[b"[additional info] Reading key '", c_text(decoder.key()), b"'"]);
        }
        let shown = match decoder.kind {
            Some(kind::HASH_DEADLINES_VALKEY) => Some((22, "hash-volatile")),
            Some(kind) => Some((kind, KINDS.get(kind as usize).copied().unwrap_or("unknown"))),
            None => self.has_type.then_some((0, KINDS[0])),
        };
        if let Some((number, name)) = shown {
            let line = format!("[additional info] Reading type {number} ({name})");
            self.say(&[line.as_bytes()]);
        }
        self.counts();
    }
}
