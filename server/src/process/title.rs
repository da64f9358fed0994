//! What `ps` shows of the process: `proc-title-template`, filled in and written where its arguments were.

use std::fs::OpenOptions;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use redstart_common::log;

use crate::engine::Core;
use crate::settings::title::{fill, value};

/// Where the process's arguments and its environment lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    start: u64,
    arguments_end: u64,
    end: u64,
}

impl Place {
    /// Reads it from `/proc/self/stat` (proc(5): `arg_start` is field 48). The name in field 2 may hold anything, so
    /// fields are counted from its end.
    fn of(stat: &str) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split_ascii_whitespace().skip(48 - 3).map(str::parse::<u64>);
        let mut next = || fields.next()?.ok();
        let Range { start, end: arguments_end } = next()?..next()?;
        let environment = next()?..next()?;
        // The kernel lays one behind the other; else only the arguments' own room is taken.
        let end = if environment.start == arguments_end { environment.end } else { arguments_end };
        (start < arguments_end && end >= arguments_end).then_some(Self {
            start,
            arguments_end,
            end,
        })
    }

    /// The bytes to write for a title: it ends with a zero, and zeros cover what is left of the arguments.
    fn bytes(self, title: &str) -> Vec<u8> {
        let room = (self.end - self.start) as usize;
        let arguments = (self.arguments_end - self.start) as usize;
        let mut bytes = title.as_bytes().to_vec();
        bytes.truncate(room.saturating_sub(1));
        bytes.resize(arguments.max(bytes.len() + 1), 0);
        bytes
    }
}

/// Writes through the kernel, which checks the addresses, rather than through a pointer. Nobody reads what was there:
/// the standard library's arguments were read at the start, and the environment has been moved
/// (`environment.rs`).
fn write(title: &str) -> io::Result<()> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let place = Place::of(&stat).ok_or(io::ErrorKind::InvalidData)?;
    let memory = OpenOptions::new().write(true).open("/proc/self/mem")?;
    memory.write_all_at(&place.bytes(title), place.start)
}

impl Core {
    /// Shows the title that the settings ask for, where this process is a server of its own.
    pub fn show_title(&self) {
        let Some(name) = self.shell.title.as_deref().filter(|_| self.settings.set_proc_title)
        else {
            return;
        };
        let file = self.shell.config_file.as_ref().map(|path| path.display().to_string());
        let file = file.as_deref().unwrap_or("-");
        let filled = fill(&self.settings.proc_title_template, |variable| {
            value(&self.settings, name, file, variable)
        });
        if let Some(Err(error)) = filled.map(|title| write(&title)) {
            log!(Verbose, "The title of the process cannot be set: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_takes_the_room_there_is() {
        let fields = |from: u32| (from..=52).map(|_| "7").collect::<Vec<_>>().join(" ");
        let mut stat: Vec<String> = fields(3).split(' ').map(str::to_owned).collect();
        for (field, text) in [(48, "100"), (49, "110"), (50, "110"), (51, "116")] {
            stat[field - 3] = text.to_owned();
        }
        let place = Place::of(&format!("1 (a) b) {}", stat.join(" "))).expect("all there");
        assert_eq!(place, Place { start: 100, arguments_end: 110, end: 116 });
        assert_eq!(place.bytes("abc"), b"abc\0\0\0\0\0\0\0");
        assert_eq!(place.bytes("abcdefghijkl"), b"abcdefghijkl\0");
        assert_eq!(place.bytes("abcdefghijklmnopqrst"), b"abcdefghijklmno\0");
        assert_eq!(Place::of("1 (x) S 1 2"), None);
    }
}
