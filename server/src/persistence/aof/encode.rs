//! Writes as bytes of the log: SELECT where the database changes, MULTI and EXEC around what belongs together, and
//! `#TS:` lines where the time moves, if they are wanted.
//!
//! Commands come encoded; they are copied, since the log may have to keep them while the disk is slow.

use std::io::Write;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// What the bytes so far have told a reader.
#[derive(Debug, Default)]
pub struct Encoder {
    /// The database that is selected; unknown at the start of a file.
    database: Option<u32>,
    /// The time of the last `#TS:` line, in seconds since 1970.
    time: i64,
    is_in_group: bool,
}

impl Encoder {
    /// What follows begins a new file, or will be read without what came before: the next command is preceded by a
    /// SELECT.
    pub fn forget_database(&mut self) {
        self.database = None;
    }

    /// Writes `#TS:` where the time has moved on since the last one. Not within a group: a file is cut at such lines.
    pub fn time(&mut self, unix_seconds: i64, out: &mut Vec<u8>) {
        if self.time < unix_seconds && !self.is_in_group {
            self.time = unix_seconds;
            let _ = write!(out, "#TS:{unix_seconds}\r\n");
        }
    }

    /// Begins what is to be run as a whole or not at all. Its first command is for `database`.
    pub fn begin_group(&mut self, database: u32, out: &mut Vec<u8>) {
        debug_assert!(!self.is_in_group, "groups do not nest in the log");
        self.select(database, out);
        out.extend_from_slice(MULTI);
        self.is_in_group = true;
    }

    /// Writes whole commands for `database`.
    pub fn commands(&mut self, database: u32, encoded: &[u8], out: &mut Vec<u8>) {
        self.select(database, out);
        out.extend_from_slice(encoded);
    }

    /// Ends the group.
    pub fn end_group(&mut self, out: &mut Vec<u8>) {
        debug_assert!(self.is_in_group, "there is no group to end");
        out.extend_from_slice(EXEC);
        self.is_in_group = false;
    }

    /// Whether a group has begun and not ended. The log is not written out then.
    #[must_use]
    pub fn is_in_group(&self) -> bool {
        self.is_in_group
    }

    fn select(&mut self, database: u32, out: &mut Vec<u8>) {
        if self.database != Some(database) {
            self.database = Some(database);
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(database);
            let _ = write!(out, "*2\r\n$6\r\nSELECT\r\n${}\r\n{digits}\r\n", digits.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEL: &[u8] = b"*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n";

    fn shown(out: &[u8]) -> String {
        String::from_utf8_lossy(out).replace("\r\n", " ")
    }

    #[test]
    fn select_stands_where_the_database_changes() {
        let (mut encoder, mut out) = (Encoder::default(), Vec::new());
        encoder.commands(0, DEL, &mut out);
        encoder.commands(0, DEL, &mut out);
        encoder.commands(12, DEL, &mut out);
        assert_eq!(
            shown(&out),
            "*2 $6 SELECT $1 0 *2 $3 DEL $1 k *2 $3 DEL $1 k *2 $6 SELECT $2 12 *2 $3 DEL $1 k "
        );
        out.clear();
        encoder.forget_database();
        encoder.commands(12, DEL, &mut out);
        assert_eq!(shown(&out), "*2 $6 SELECT $2 12 *2 $3 DEL $1 k ");
    }

    #[test]
    fn a_group_may_change_the_database_within() {
        let (mut encoder, mut out) = (Encoder::default(), Vec::new());
        encoder.begin_group(1, &mut out);
        encoder.commands(1, DEL, &mut out);
        encoder.commands(2, DEL, &mut out);
        encoder.end_group(&mut out);
        assert_eq!(
            shown(&out),
            "*2 $6 SELECT $1 1 *1 $5 MULTI *2 $3 DEL $1 k *2 $6 SELECT $1 2 *2 $3 DEL $1 k *1 $4 EXEC "
        );
    }

    #[test]
    fn the_time_stands_where_it_moves_and_never_in_a_group() {
        let (mut encoder, mut out) = (Encoder::default(), Vec::new());
        encoder.time(100, &mut out);
        encoder.time(100, &mut out);
        encoder.time(99, &mut out);
        encoder.begin_group(0, &mut out);
        encoder.time(101, &mut out);
        encoder.end_group(&mut out);
        encoder.time(101, &mut out);
        assert_eq!(shown(&out), "#TS:100 *2 $6 SELECT $1 0 *1 $5 MULTI *1 $4 EXEC #TS:101 ");
    }
}
