//! Settings of the command logs, of which the slow log is one.

/// From what on a command is noted in a log, and how many entries it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// Microseconds or bytes; negative is never.
    pub from: i64,
    /// Entries that are kept; with none nothing is noted.
    pub length_max: usize,
}

impl LogSettings {
    /// From what on a command is noted; nothing reaches the largest number.
    #[must_use]
    pub fn limit(self) -> u64 {
        if self.length_max == 0 { u64::MAX } else { u64::try_from(self.from).unwrap_or(u64::MAX) }
    }
}

/// The settings of all command logs, with Valkey's defaults.
#[derive(Debug, Clone, Copy)]
pub struct CommandLogSettings {
    /// `slowlog-*`: microseconds that a command took.
    pub slow: LogSettings,
    /// `commandlog-*request*`: bytes of a request.
    pub large_request: LogSettings,
    /// `commandlog-*reply*`: bytes of a reply.
    pub large_reply: LogSettings,
    /// `slowlog-entry-max-argc`: arguments that are kept of a command; the last says how many more there were.
    pub args_max: usize,
    /// `slowlog-entry-max-string-len`: bytes that are kept of an argument.
    pub arg_bytes_max: usize,
}

impl Default for CommandLogSettings {
    fn default() -> Self {
        let large = LogSettings { from: 1 << 20, length_max: 128 };
        Self {
            slow: LogSettings { from: 10_000, length_max: 128 },
            large_request: large,
            large_reply: large,
            args_max: 32,
            arg_bytes_max: 128,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_off_has_no_limit() {
        let log = |from, length_max| LogSettings { from, length_max }.limit();
        assert_eq!(log(0, 1), 0);
        assert_eq!(log(7, 1), 7);
        assert_eq!(log(-1, 128), u64::MAX);
        assert_eq!(log(7, 0), u64::MAX);
    }
}
