//! Words of settings that concern the process.

/// What `oom-score-adj` says about the process's score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Adjustment {
    /// It stays as it was found.
    #[default]
    No,
    /// `oom-score-adj-values` are added to what was found.
    Relative,
    /// `oom-score-adj-values` replace it.
    Absolute,
}

impl Adjustment {
    /// The names of redis.conf. Of two for the same the first is shown.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("no", Self::No),
        ("yes", Self::Relative),
        ("relative", Self::Relative),
        ("absolute", Self::Absolute),
    ];
}

/// What `supervised` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Supervised {
    /// By nobody.
    #[default]
    No,
    /// By upstart, which waits for the process to stop itself.
    Upstart,
    /// By systemd, which waits for a message (`sd_notify(3)`).
    Systemd,
    /// By whom the environment shows.
    Auto,
}

impl Supervised {
    /// The names of redis.conf, in the order in which an error lists them.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("upstart", Self::Upstart),
        ("systemd", Self::Systemd),
        ("auto", Self::Auto),
        ("no", Self::No),
    ];
}
