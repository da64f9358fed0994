//! What a script or function says of itself: `#!lua flags=no-writes,allow-oom`.

use redstart_common::command::spec::Flags as RowFlags;
use redstart_common::resp::split_words;

/// A set of flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScriptFlags(u8);

impl ScriptFlags {
    /// It writes nothing.
    pub const NO_WRITES: Self = Self(1);
    /// It may write though memory is used up.
    pub const ALLOW_OOM: Self = Self(1 << 1);
    /// It may run on a replica whose data is old.
    pub const ALLOW_STALE: Self = Self(1 << 2);
    /// It does not run in a cluster.
    pub const NO_CLUSTER: Self = Self(1 << 3);
    /// Its keys may lie in several slots.
    pub const ALLOW_CROSS_SLOT: Self = Self(1 << 4);
    /// It says nothing of itself: the rules of before there were flags hold.
    pub const SILENT: Self = Self(1 << 5);

    /// The flags by their names, in Redis's order.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("no-writes", Self::NO_WRITES),
        ("allow-oom", Self::ALLOW_OOM),
        ("allow-stale", Self::ALLOW_STALE),
        ("no-cluster", Self::NO_CLUSTER),
        ("allow-cross-slot-keys", Self::ALLOW_CROSS_SLOT),
    ];

    /// Whether any of `other`'s flags is set.
    #[inline]
    #[must_use]
    pub const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The flag of this name.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, flag)| *flag)
    }

    /// What a call does that runs a script with these flags, by what its row says.
    #[must_use]
    pub fn of_call(self, row: RowFlags) -> RowFlags {
        if self.any(Self::SILENT) {
            return row;
        }
        let said =
            RowFlags::STALE.or(RowFlags::DENYOOM).or(RowFlags::WRITE).or(RowFlags::MAY_REPLICATE);
        let mut flags = row.without(said);
        if !self.any(Self::ALLOW_OOM.or(Self::NO_WRITES)) {
            flags = flags.or(RowFlags::DENYOOM);
        }
        if !self.any(Self::NO_WRITES) {
            flags = flags.or(RowFlags::WRITE);
        }
        if self.any(Self::ALLOW_STALE) {
            flags = flags.or(RowFlags::STALE);
        }
        flags
    }
}

/// The first line of a script, if it says something of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shebang {
    /// What it says.
    pub flags: ScriptFlags,
    /// Its length in bytes, without the line end.
    pub length: usize,
}

/// Reads the first line of a script.
///
/// # Errors
/// What is wrong with it, in Redis's words.
pub fn shebang(script: &[u8]) -> Result<Shebang, Vec<u8>> {
    let about = |text: &str, word: &[u8]| [text.as_bytes(), word].concat();
    if !script.starts_with(b"#!") {
        return Ok(Shebang { flags: ScriptFlags::SILENT, length: 0 });
    }
    let Some(length) = line_end(script) else {
        return Err(b"ERR Invalid script shebang".to_vec());
    };
    let words = split_words(&script[..length]).unwrap_or_default();
    let Some((engine, options)) = words.split_first() else {
        return Err(b"ERR Invalid engine in script shebang".to_vec());
    };
    if engine != b"#!lua" {
        return Err(about("ERR Unexpected engine in script shebang: ", engine));
    }
    let mut flags = ScriptFlags::default();
    for option in options {
        let Some(list) = option.strip_prefix(b"flags=") else {
            return Err(about("ERR Unknown lua shebang option: ", option));
        };
        // An empty list has no flags, but a list may not have an empty one.
        for name in list.split(|byte| *byte == b',').filter(|_| !list.is_empty()) {
            let flag = ScriptFlags::named(name)
                .ok_or_else(|| about("ERR Unexpected flag in script shebang: ", name))?;
            flags = flags.or(flag);
        }
    }
    Ok(Shebang { flags, length })
}

/// Where the first line of a text ends, which is read as C does: what lies behind a zero is not seen.
#[must_use]
pub fn line_end(text: &[u8]) -> Option<usize> {
    let end = memchr::memchr2(b'\n', 0, text)?;
    (text[end] == b'\n').then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(script: &str) -> Result<(ScriptFlags, usize), String> {
        let error = |text: Vec<u8>| String::from_utf8(text).expect("text");
        shebang(script.as_bytes()).map(|found| (found.flags, found.length)).map_err(error)
    }

    #[test]
    fn the_first_line_says_what_a_script_does() {
        let both = ScriptFlags::NO_WRITES.or(ScriptFlags::ALLOW_STALE);
        assert_eq!(read("return 1"), Ok((ScriptFlags::SILENT, 0)));
        assert_eq!(read("#!lua\nreturn 1"), Ok((ScriptFlags::default(), 5)));
        assert_eq!(read("#!lua flags=\nreturn 1"), Ok((ScriptFlags::default(), 12)));
        assert_eq!(read("#!lua flags=no-writes,allow-stale\n"), Ok((both, 33)));
        assert_eq!(read("#!lua flags=no-writes flags=allow-stale\n"), Ok((both, 39)));
    }

    #[test]
    fn faults_are_told_in_redis_words() {
        let fault = |script| read(script).expect_err("a fault");
        assert_eq!(fault("#!lua"), "ERR Invalid script shebang");
        assert_eq!(fault("#!lua\0\n"), "ERR Invalid script shebang");
        assert_eq!(fault("#!lua \"\n"), "ERR Invalid engine in script shebang");
        assert_eq!(fault("#!not-lua\n"), "ERR Unexpected engine in script shebang: #!not-lua");
        assert_eq!(fault("#!lua badger\n"), "ERR Unknown lua shebang option: badger");
        assert_eq!(fault("#!lua flags=bad\n"), "ERR Unexpected flag in script shebang: bad");
    }

    #[test]
    fn what_a_call_does_is_what_its_script_says() {
        let row = RowFlags::STALE.or(RowFlags::MAY_REPLICATE).or(RowFlags::NOSCRIPT);
        assert_eq!(ScriptFlags::SILENT.of_call(row), row);
        let reads = ScriptFlags::NO_WRITES.of_call(row);
        assert_eq!(reads, RowFlags::NOSCRIPT);
        let writes = ScriptFlags::default().of_call(row);
        assert!(writes.contains(RowFlags::WRITE) && writes.contains(RowFlags::DENYOOM));
        let stale = ScriptFlags::ALLOW_STALE.or(ScriptFlags::ALLOW_OOM).of_call(row);
        assert!(stale.contains(RowFlags::STALE) && !stale.contains(RowFlags::DENYOOM));
    }
}
