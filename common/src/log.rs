//! Log lines as redis-server prints them: `pid:role dd Mon yyyy hh:mm:ss.mmm level message`.
//!
//! Tools grep these lines, so the form is part of the product. Logging is rare (never per request), goes to
//! standard output or to a file that is opened for each line, so that it survives being rotated, and may be
//! called from any thread.

use std::fmt::Arguments;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{PoisonError, RwLock};

mod syslog;

pub use syslog::Facility;
use syslog::Syslog;

/// How much a line matters; Redis's four levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Much, for development.
    Debug = 0,
    /// Rarely useful information.
    Verbose = 1,
    /// What one wants in production.
    Notice = 2,
    /// Only what matters much.
    Warning = 3,
}

impl Level {
    /// The names of redis.conf, from the most to the least.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("debug", Self::Debug),
        ("verbose", Self::Verbose),
        ("notice", Self::Notice),
        ("warning", Self::Warning),
    ];

    fn mark(self) -> char {
        match self {
            Self::Debug => '.',
            Self::Verbose => '-',
            Self::Notice => '*',
            Self::Warning => '#',
        }
    }

    /// The level's name in redis.conf.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }

    fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Debug,
            1 => Self::Verbose,
            2 => Self::Notice,
            _ => Self::Warning,
        }
    }
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Notice as u8);
static ROLE: AtomicU8 = AtomicU8::new(b'M');
static FILE: RwLock<Option<PathBuf>> = RwLock::new(None);
static SYSLOG: RwLock<Option<Syslog>> = RwLock::new(None);

/// Sets the level below which lines are dropped.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// The level below which lines are dropped.
#[must_use]
pub fn level() -> Level {
    Level::from_number(LEVEL.load(Ordering::Relaxed))
}

/// Sets the role letter: `M` primary, `S` replica, `C` child, `X` sentinel.
pub fn set_role(role: char) {
    ROLE.store(u8::try_from(role).unwrap_or(b'M'), Ordering::Relaxed);
}

/// Sends lines to a file, or to standard output with `None`.
pub fn set_file(path: Option<PathBuf>) {
    *FILE.write().unwrap_or_else(PoisonError::into_inner) = path;
}

/// Sends lines to the system's log too, under a name.
pub fn set_syslog(ident: &str, facility: Facility) {
    let syslog = Syslog::new(ident, facility);
    *SYSLOG.write().unwrap_or_else(PoisonError::into_inner) = Some(syslog);
}

/// Writes one line. Use the [`log!`](crate::log!) macro.
pub fn line(level: Level, message: Arguments<'_>) {
    if level >= self::level() {
        emit(text(level, message).as_bytes());
        if let Some(syslog) = &*SYSLOG.read().unwrap_or_else(PoisonError::into_inner) {
            syslog.send(level, message);
        }
    }
}

/// The text of a line with its end, for programs that print it among other output.
#[must_use]
pub fn text(level: Level, message: Arguments<'_>) -> String {
    let now = chrono::Local::now();
    let role = char::from(ROLE.load(Ordering::Relaxed));
    format!(
        "{}:{} {} {} {}\n",
        std::process::id(),
        role,
        now.format("%d %b %Y %H:%M:%S%.3f"),
        level.mark(),
        message
    )
}

/// Writes text as it is, without a prefix: Redis prints its banner so.
pub fn raw(level: Level, text: &str) {
    if level >= self::level() {
        emit(text.as_bytes());
    }
}

/// Opens a log file to add to it, and makes it if it is not there. Lines open the file anew and cannot tell when that
/// fails, so whoever sets it tries this before.
///
/// # Errors
/// When it cannot be opened.
pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn emit(bytes: &[u8]) {
    let file = FILE.read().unwrap_or_else(PoisonError::into_inner);
    // A log that cannot be written has nowhere to say so; the program goes on.
    match &*file {
        Some(path) => {
            if let Ok(mut file) = open(path) {
                let _ = file.write_all(bytes);
            }
        }
        None => {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(bytes);
            let _ = out.flush();
        }
    }
}

/// Writes a log line: `log!(Notice, "Ready to accept connections")`.
#[macro_export]
macro_rules! log {
    ($level:ident, $($message:tt)*) => {
        if $crate::log::Level::$level >= $crate::log::level() {
            $crate::log::line($crate::log::Level::$level, format_args!($($message)*));
        }
    };
}
