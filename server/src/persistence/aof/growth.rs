//! How large the log is, and when it is rewritten by itself.

/// The setting `auto-aof-rewrite-…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Automatic {
    /// Growth in per cent of the size after the last rewrite; 0 is never.
    pub percentage: u64,
    /// A log of at most this many bytes is left alone.
    pub bytes_min: u64,
}

/// Sizes of the files, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// All files but the one that is written to.
    others: u64,
    /// All files when the log was last rewritten; after a start, the base.
    rewritten: u64,
}

impl Sizes {
    /// After loading files of `bytes` with a base of `base_bytes` among them; `open_bytes` is what the increment has that
    /// is written to.
    #[must_use]
    pub fn loaded(bytes: u64, base_bytes: u64, open_bytes: u64) -> Self {
        Self { others: bytes.saturating_sub(open_bytes), rewritten: base_bytes }
    }

    /// The log goes on in another file; the one before has `left_bytes`.
    pub fn switch(&mut self, left_bytes: u64) {
        self.others = self.others.saturating_add(left_bytes);
    }

    /// A rewrite is done.
    pub fn rewrite(&mut self, base_bytes: u64, open_bytes: u64) {
        self.others = base_bytes;
        self.rewritten = base_bytes.saturating_add(open_bytes);
    }

    /// Bytes of all files (`aof_current_size`).
    #[must_use]
    pub fn current(&self, open_bytes: u64) -> u64 {
        self.others.saturating_add(open_bytes)
    }

    /// Bytes of all files when the log was last rewritten (`aof_base_size`).
    #[must_use]
    pub fn at_rewrite(&self) -> u64 {
        self.rewritten
    }

    /// The growth in per cent, if it is a reason to rewrite the log.
    #[must_use]
    pub fn growth_due(&self, open_bytes: u64, automatic: &Automatic) -> Option<i64> {
        let current = self.current(open_bytes);
        if automatic.percentage == 0 || current <= automatic.bytes_min {
            return None;
        }
        let share = u128::from(current) * 100 / u128::from(self.rewritten.max(1));
        let growth = i64::try_from(share).unwrap_or(i64::MAX) - 100;
        let wanted = i64::try_from(automatic.percentage).unwrap_or(i64::MAX);
        (growth >= wanted).then_some(growth)
    }
}

/// Failed rewrites in a row after which the automatic ones wait.
const FAILURES_FREE: u64 = 3;
const DELAY_MINUTES_MAX: u32 = 60;

/// Whether a rewrite may begin by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Granted,
    /// Not yet.
    Refused,
    /// Not before so many minutes, which is to be said once: "Background AOF rewrite has repeatedly failed and triggered
    /// the limit, will retry in … minutes".
    RefusedFor(u32),
}

/// The pause after rewrites that failed one after another: 1, 2, 4 … 60 minutes. What a client asks for is not
/// held up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackOff {
    failures: u64,
    delay_minutes: u32,
    next_at_s: Option<i64>,
}

impl BackOff {
    /// A rewrite failed.
    pub fn failed(&mut self) {
        self.failures += 1;
    }

    /// A rewrite succeeded, or a client asked for one that has to wait for something else.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failed rewrites in a row (`aof_rewrites_consecutive_failures`).
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// Whether a rewrite that is due may begin. `now_s` is in seconds.
    pub fn ask(&mut self, now_s: i64) -> Permission {
        if self.failures < FAILURES_FREE {
            self.delay_minutes = 0;
            self.next_at_s = None;
            return Permission::Granted;
        }
        match self.next_at_s {
            Some(at) if now_s < at => Permission::Refused,
            Some(_) => {
                self.next_at_s = None;
                Permission::Granted
            }
            None => {
                self.delay_minutes = (self.delay_minutes * 2).clamp(1, DELAY_MINUTES_MAX);
                self.next_at_s = Some(now_s + i64::from(self.delay_minutes) * 60);
                Permission::RefusedFor(self.delay_minutes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_MORE: Automatic = Automatic { percentage: 50, bytes_min: 100 };

    #[test]
    fn growth_counts_from_the_last_rewrite() {
        let mut sizes = Sizes::loaded(1000, 800, 200);
        assert_eq!((sizes.current(200), sizes.at_rewrite()), (1000, 800));
        assert_eq!(sizes.growth_due(399, &HALF_MORE), None);
        assert_eq!(sizes.growth_due(400, &HALF_MORE), Some(50));
        assert_eq!(sizes.growth_due(400, &Automatic { percentage: 0, ..HALF_MORE }), None);
        assert_eq!(sizes.growth_due(400, &Automatic { bytes_min: 1200, ..HALF_MORE }), None);
        sizes.switch(400);
        assert_eq!(sizes.current(30), 1230);
        sizes.rewrite(500, 30);
        assert_eq!((sizes.current(40), sizes.at_rewrite()), (540, 530));
        assert_eq!(sizes.growth_due(40, &HALF_MORE), None);
    }

    #[test]
    fn a_log_without_a_base_grows_from_one_byte() {
        assert_eq!(Sizes::default().growth_due(101, &HALF_MORE), Some(10_000));
        assert_eq!(Sizes::default().growth_due(u64::MAX, &HALF_MORE), Some(i64::MAX - 100));
    }

    #[test]
    fn the_pause_doubles_up_to_an_hour() {
        let (mut back_off, mut now) = (BackOff::default(), 1000);
        for _ in 0..3 {
            assert_eq!(back_off.ask(now), Permission::Granted);
            back_off.failed();
        }
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(back_off.ask(now), Permission::RefusedFor(minutes));
            now += i64::from(minutes) * 60;
            assert_eq!(back_off.ask(now - 1), Permission::Refused);
            assert_eq!(back_off.ask(now), Permission::Granted);
            back_off.failed();
        }
        back_off.reset();
        assert_eq!(back_off.ask(now), Permission::Granted);
        assert_eq!(back_off.failures(), 0);
    }
}
