//! Which servers of a pool take part: ejected after failures in a row, back only after a probe that found them
//! well. A pure state machine; the probes themselves are made elsewhere.
//!
//! ```text
//!            failure × limit               retry time over               PING and loading:0
//!   Live ─────────────────────▶ Out ─────────────────────▶ Probing ─────────────────────▶ Live
//!                                ▲                            │
//!                                └──────── probe failed ──────┘
//! ```

use redstart_common::clock;

use crate::route::distribution::ServerIndex;

/// What an event changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing that matters to the distribution.
    None,
    /// The server left.
    Ejected,
    /// The server is back.
    Readmitted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Live,
    Out { until_ms: u64 },
    Probing,
}

#[derive(Debug, Clone)]
struct Server {
    state: State,
    failures: u32,
    ejections: u64,
    ejected_at_us: u64,
}

/// The servers of one pool.
#[derive(Debug)]
pub struct Health {
    servers: Vec<Server>,
    eject: bool,
    failure_limit: u32,
    retry_ms: u64,
}

impl Health {
    /// All servers live.
    #[must_use]
    pub fn new(count: usize, eject: bool, failure_limit: u32, retry_ms: u64) -> Self {
        let server = Server { state: State::Live, failures: 0, ejections: 0, ejected_at_us: 0 };
        Self { servers: vec![server; count], eject, failure_limit, retry_ms }
    }

    /// The servers that take part.
    pub fn live(&self) -> impl Iterator<Item = ServerIndex> + '_ {
        self.servers
            .iter()
            .enumerate()
            .filter(|(_, server)| server.state == State::Live)
            .map(|(index, _)| index as ServerIndex)
    }

    fn server(&mut self, server: ServerIndex) -> Option<&mut Server> {
        self.servers.get_mut(usize::from(server))
    }

    /// A connection failed or a request timed out.
    pub fn failed(&mut self, server: ServerIndex, now_ms: u64) -> Change {
        let (eject, limit, until_ms) = (self.eject, self.failure_limit, now_ms + self.retry_ms);
        let Some(server) = self.server(server) else { return Change::None };
        if !eject || server.state != State::Live {
            return Change::None;
        }
        server.failures += 1;
        if server.failures < limit {
            return Change::None;
        }
        server.failures = 0;
        server.ejections += 1;
        server.ejected_at_us = u64::try_from(clock::unix_us()).unwrap_or(0);
        server.state = State::Out { until_ms };
        Change::Ejected
    }

    /// A good reply came.
    pub fn succeeded(&mut self, server: ServerIndex) {
        if let Some(server) = self.server(server) {
            server.failures = 0;
        }
    }

    /// The servers whose time out is over. They are being probed from now on.
    pub fn due_for_probe(&mut self, now_ms: u64) -> Vec<ServerIndex> {
        let mut due = Vec::new();
        for (index, server) in self.servers.iter_mut().enumerate() {
            if matches!(server.state, State::Out { until_ms } if until_ms <= now_ms) {
                server.state = State::Probing;
                due.push(index as ServerIndex);
            }
        }
        due
    }

    /// A probe has ended.
    pub fn probed(&mut self, server: ServerIndex, is_well: bool, now_ms: u64) -> Change {
        // A server found unwell is asked again soon: it may come up at any moment.
        let until_ms = now_ms + self.retry_ms.clamp(1, 1000);
        let Some(server) = self.server(server) else { return Change::None };
        if server.state != State::Probing {
            return Change::None;
        }
        if is_well {
            server.state = State::Live;
            Change::Readmitted
        } else {
            server.state = State::Out { until_ms };
            Change::None
        }
    }

    /// For each server: how often it was ejected, and when last, in microseconds since 1970 (0 if never).
    #[must_use]
    pub fn ejections(&self) -> Vec<(u64, u64)> {
        self.servers.iter().map(|server| (server.ejections, server.ejected_at_us)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(health: &Health) -> Vec<ServerIndex> {
        health.live().collect()
    }

    #[test]
    fn failures_in_a_row_eject_and_only_a_good_probe_brings_back() {
        let mut health = Health::new(3, true, 2, 500);
        assert_eq!(health.failed(1, 0), Change::None);
        health.succeeded(1);
        assert_eq!(health.failed(1, 10), Change::None);
        assert_eq!(health.failed(1, 20), Change::Ejected);
        assert_eq!(live(&health), [0, 2]);
        assert_eq!(health.failed(1, 30), Change::None);
        assert!(health.due_for_probe(519).is_empty());
        assert_eq!(health.due_for_probe(520), [1]);
        assert!(health.due_for_probe(520).is_empty(), "it is being probed");
        assert_eq!(health.probed(1, false, 530), Change::None);
        assert_eq!(live(&health), [0, 2]);
        assert_eq!(health.due_for_probe(1030), [1]);
        assert_eq!(health.probed(1, true, 1040), Change::Readmitted);
        assert_eq!(live(&health), [0, 1, 2]);
        assert_eq!(health.ejections()[1].0, 1);
    }

    #[test]
    fn without_auto_eject_nobody_leaves() {
        let mut health = Health::new(1, false, 1, 1);
        assert_eq!(health.failed(0, 0), Change::None);
        assert_eq!(live(&health), [0]);
    }

    #[test]
    fn every_server_may_be_out() {
        let mut health = Health::new(2, true, 1, 1);
        health.failed(0, 0);
        health.failed(1, 0);
        assert!(live(&health).is_empty());
    }
}
