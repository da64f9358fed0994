//! Whether a server takes part: it is taken to be down after failures in a row, and comes back only after a probe that found
//! it well. A pure state machine; the probes themselves are made elsewhere, and what becomes of its keys meanwhile is the
//! roster's to say.
//!
//! ```text
//!            failure × limit               retry time over               PING and loading:0
//!   Live ─────────────────────▶ Out ─────────────────────▶ Probing ─────────────────────▶ Live
//!                                ▲                            │
//!                                └──────── probe failed ──────┘
//! ```
//!
//! One incident is one failure, however many workers, connections and requests see it: what had begun before the last
//! failure that counted, tells nothing new.

use crate::clock::Moment;
use crate::settings::OnServerDown;

/// Longest wait before a server that was found unwell is asked again, in milliseconds: it may come up at any moment, and one
/// process asks it once.
const PROBE_AGAIN_MS_MAX: u64 = 20;

/// When servers of a pool are taken to be down and asked again.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// What becomes of the keys of one that is down, if any ever is.
    pub on_down: OnServerDown,
    /// Failures in a row after which one is.
    pub failure_limit: u32,
    /// Milliseconds before one that is out is probed.
    pub retry_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Live,
    Out {
        until_ms: u64,
    },
    Probing,
}

/// One server.
#[derive(Debug, Clone, Default)]
pub struct Health {
    state: State,
    failures: u32,
    failed_at_us: Option<u64>,
    ejections: u64,
    ejected_at_us: u64,
}

impl Health {
    /// Whether it takes part.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.state == State::Live
    }

    /// Something that had begun at `since_us` failed: a connection or a request. Says whether the server is taken to
    /// be down for it.
    pub fn failed(&mut self, rules: &Rules, since_us: u64, now: Moment) -> bool {
        let is_old_news = self.failed_at_us.is_some_and(|at_us| since_us <= at_us);
        if rules.on_down == OnServerDown::Try || self.state != State::Live || is_old_news {
            return false;
        }
        self.failures += 1;
        self.failed_at_us = Some(now.us);
        if self.failures < rules.failure_limit {
            return false;
        }
        self.failures = 0;
        self.ejections += 1;
        self.ejected_at_us = now.unix_us;
        self.state = State::Out { until_ms: now.ms() + rules.retry_ms };
        true
    }

    /// A good reply came.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Whether its time out is over. It is being probed from then on.
    pub fn is_due_for_probe(&mut self, now: Moment) -> bool {
        let is_due = matches!(self.state, State::Out { until_ms } if until_ms <= now.ms());
        if is_due {
            self.state = State::Probing;
        }
        is_due
    }

    /// A probe has ended. Says whether the server is back.
    pub fn probed(&mut self, rules: &Rules, is_well: bool, now: Moment) -> bool {
        if self.state != State::Probing {
            return false;
        }
        self.state = match is_well {
            true => State::Live,
            false => {
                State::Out { until_ms: now.ms() + rules.retry_ms.clamp(1, PROBE_AGAIN_MS_MAX) }
            }
        };
        is_well
    }

    /// How often it was taken to be down, and when last, in microseconds since 1970 (0 if never).
    #[must_use]
    pub fn ejections(&self) -> (u64, u64) {
        (self.ejections, self.ejected_at_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { on_down: OnServerDown::Eject, failure_limit: 2, retry_ms: 500 };

    fn at(ms: u64) -> Moment {
        Moment { us: ms * 1000, unix_us: 1 }
    }

    /// A failure of something that has just begun.
    fn fails(health: &mut Health, ms: u64) -> bool {
        health.failed(&RULES, ms * 1000, at(ms))
    }

    #[test]
    fn failures_in_a_row_eject_and_only_a_good_probe_brings_back() {
        let mut health = Health::default();
        assert!(!fails(&mut health, 1));
        health.succeeded();
        assert!(!fails(&mut health, 10));
        assert!(fails(&mut health, 20));
        assert!(!health.is_live());
        assert!(!fails(&mut health, 30), "it is out already");
        assert!(!health.is_due_for_probe(at(519)));
        assert!(health.is_due_for_probe(at(520)));
        assert!(!health.is_due_for_probe(at(520)), "it is being probed");
        assert!(!health.probed(&RULES, false, at(530)));
        assert!(!health.is_live());
        assert!(!health.is_due_for_probe(at(549)));
        assert!(health.is_due_for_probe(at(550)), "who was asked once is asked again soon");
        assert!(health.probed(&RULES, true, at(1040)));
        assert!(health.is_live());
        assert_eq!(health.ejections(), (1, 1));
    }

    #[test]
    fn an_incident_counts_once_however_many_see_it() {
        let mut health = Health::default();
        // A request of time 5 times out at 105; then its connection is closed, and another worker's times out.
        assert!(!health.failed(&RULES, 5_000, at(105)));
        assert!(!health.failed(&RULES, 5_000, at(106)));
        assert!(!health.failed(&RULES, 90_000, at(190)));
        assert!(health.is_live());
        assert!(
            health.failed(&RULES, 106_000, at(206)),
            "this one began after the first was known"
        );
    }

    #[test]
    fn where_every_request_tries_its_server_nobody_is_down() {
        let rules = Rules { on_down: OnServerDown::Try, failure_limit: 1, retry_ms: 1 };
        let mut health = Health::default();
        assert!(!health.failed(&rules, 1, at(1)));
        assert!(health.is_live());
    }
}
