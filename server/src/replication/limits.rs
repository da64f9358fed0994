//! A replica that takes less than is written: what Redis does about it, and what can be done before.
//!
//! Redis drops a replica whose lag passes its output limit. It comes back, needs all data, lags again while it loads, and is
//! dropped again: a loop of full syncs that never ends as long as the writers write. With [`Options::slow_writers`] the
//! writers are slowed instead, before the lag reaches the limit: so much that what is left of it lasts. A replica that takes
//! nothing at all for `repl-timeout` is dropped all the same.
//!
//! [`Options::slow_writers`]: super::Options::slow_writers

use super::door::{ClientId, Turn};
use super::driver::Replication;
use super::replicas::Replica;

/// While writers are slowed, each tick of 100 ms may use this part of what is left.
const PART_PER_TICK: u64 = 50;
/// They may always write so much, or one large value would never get through. In bytes.
const TICK_BYTES_MIN: u64 = 4 << 10;

/// How fast the engine's clients may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As they like.
    Free,
    /// So many bytes of the stream until the next tick; when they are used, writes wait for it.
    Bytes(u64),
}

impl Replication {
    /// How fast writers may go on. Asked at each tick, and after each turn while they are free; it costs a look
    /// at each replica.
    #[must_use]
    pub fn pace(&self) -> Pace {
        let limit = self.options.output_limit;
        let hard = self.hard_limit();
        if !self.options.slow_writers || self.upstream.is_some() || hard == 0 {
            return Pace::Free;
        }
        let begin = if limit.soft_bytes == 0 { hard / 2 } else { limit.soft_bytes.min(hard / 2) };
        let lag = self.replicas.iter().map(|replica| self.lag_bytes(replica)).max().unwrap_or(0);
        if lag < begin {
            return Pace::Free;
        }
        Pace::Bytes((hard.saturating_sub(lag) / PART_PER_TICK).max(TICK_BYTES_MIN))
    }

    /// Memory taken by what is kept of the stream for replicas, beyond what the backlog keeps anyway. It is not counted when
    /// keys are evicted, or each that is would add to it.
    #[must_use]
    pub fn bytes_for_replicas(&self) -> u64 {
        self.backlog.as_ref().map_or(0, |backlog| backlog.memory() - backlog.memory_of_setting())
    }

    /// Bytes of the stream that are kept for a replica.
    pub(super) fn lag_bytes(&self, replica: &Replica) -> u64 {
        replica.needs().map_or(0, |from| self.history.offset.since(from))
    }

    /// The limit as it acts: never below the size of the backlog, or a partial resync would end in it.
    fn hard_limit(&self) -> u64 {
        match self.options.output_limit.hard_bytes {
            0 => 0,
            bytes => bytes.max(self.options.backlog_bytes),
        }
    }

    /// Drops those who lag too far.
    pub(super) fn check_limits(&mut self, turn: &mut Turn) {
        let limit = self.options.output_limit;
        let hard = self.hard_limit();
        let slows_writers = self.options.slow_writers && self.upstream.is_none();
        let timeout_ms = self.options.timeout_s.saturating_mul(1000);
        let mut gone: Vec<ClientId> = Vec::new();
        let end = self.history.offset;
        for replica in self.replicas.iter_mut() {
            let lag = replica.needs().map_or(0, |from| end.since(from));
            let is_soft = limit.soft_bytes > 0 && lag >= limit.soft_bytes;
            let soft_since = replica.soft_since_ms.filter(|_| is_soft);
            replica.soft_since_ms = is_soft.then(|| soft_since.unwrap_or(turn.now_ms));
            // Slowing the writers stands for the soft limit: its time is what a load takes.
            let is_soft_over = !slows_writers
                && soft_since.is_some_and(|since| {
                    turn.seconds_since(since)
                        > i64::try_from(limit.soft_seconds).unwrap_or(i64::MAX)
                });
            let is_stuck = slows_writers
                && is_soft
                && replica.stuck_since_ms.is_some_and(|since| turn.now_ms - since > timeout_ms);
            if (hard > 0 && lag >= hard) || is_soft_over || is_stuck {
                gone.push(replica.id);
            }
        }
        for client in gone {
            if let Some(replica) = self.replicas.get(client) {
                turn.warn(format!(
                    "Client {} scheduled to be closed ASAP for overcoming of output buffer limits.",
                    replica.name()
                ));
            }
            self.drop_replica(client, true, turn);
        }
    }
}
