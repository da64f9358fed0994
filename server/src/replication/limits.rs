//! A replica that takes less than is written: what Redis does about it, and what can be done before.
//!
//! Redis drops a replica whose lag passes its output limit. It comes back, needs all data, lags again while it loads, and is
//! dropped again: a loop of full syncs that never ends as long as the writers write. Two settings break it. With
//! [`Options::spill_bytes`] the older part of the lag goes to files, and the limit judges what lies in memory only. With
//! [`Options::slow_writers`] the writers are slowed, before the lag reaches the limit or the files are full: so much that what
//! is left lasts. A replica that takes nothing at all for `repl-timeout` is dropped all the same.
//!
//! ```text
//!             keep      begin           hard
//!   memory ────┼──────────┼───────────────┤      beyond `keep` the older part is written to files, if they take more
//!              │          ╰ slowed        ╰ dropped
//!   files ──────────────────┼────────────────────┤  repl-spill-size
//!                           ╰ half: slowed       ╰ full: memory grows again
//! ```
//!
//! [`Options::slow_writers`]: super::Options::slow_writers
//! [`Options::spill_bytes`]: super::Options::spill_bytes

use super::door::{ClientId, Turn};
use super::driver::Replication;
use super::offset::Offset;
use super::replicas::Replica;

/// While writers are slowed, each tick of 100 ms may use this part of what is left.
const PART_PER_TICK: u64 = 50;
/// They may always write so much, or one large value would never get through. In bytes.
const TICK_BYTES_MIN: u64 = 4 << 10;
/// Where files take the rest, no more than this is kept in memory for replicas, but for the backlog's own size.
const KEEP_BYTES_MAX: u64 = 32 << 20;

/// How fast the engine's clients may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As they like.
    Free,
    /// So many bytes of the stream until the next tick; when they are used, writes wait for it.
    Bytes(u64),
}

/// What a replica's lag in memory leads to, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// So much stays in memory where files take the rest.
    pub(super) keep: u64,
    /// From here on writers are slowed, if they are at all.
    pub(super) begin: u64,
    /// Here it is dropped if it stays so for long.
    pub(super) soft: u64,
    /// Here it is dropped.
    pub(super) hard: u64,
}

impl Replication {
    /// How fast writers may go on. Asked at each tick, and after each turn while they are free; it costs a look
    /// at each replica.
    #[must_use]
    pub fn pace(&self) -> Pace {
        let Bounds { begin, hard, .. } = self.bounds();
        let is_limited = self.options.output_limit.hard_bytes > 0;
        if !self.options.slow_writers || self.upstream.is_some() || !is_limited {
            return Pace::Free;
        }
        let lags = self.replicas.iter().map(|replica| self.lag_in_memory(replica));
        let Some(lag) = lags.max() else { return Pace::Free };
        let memory = hard.saturating_sub(lag);
        let by_memory = (lag >= begin).then_some(memory);
        let by_files = self
            .spill_room()
            .and_then(|(room, limit)| (room <= limit / 2).then(|| room.saturating_add(memory)));
        match by_memory.into_iter().chain(by_files).min() {
            Some(left) => Pace::Bytes((left / PART_PER_TICK).max(TICK_BYTES_MIN)),
            None => Pace::Free,
        }
    }

    /// Memory taken by what is kept of the stream for replicas, beyond what the backlog keeps anyway. It is not counted when
    /// keys are evicted, or each that is would add to it.
    #[must_use]
    pub fn bytes_for_replicas(&self) -> u64 {
        self.backlog.as_ref().map_or(0, |backlog| backlog.memory() - backlog.memory_of_setting())
    }

    /// Bytes of the stream that are kept in memory for a replica.
    fn lag_in_memory(&self, replica: &Replica) -> u64 {
        let start = self.backlog.as_ref().map_or(Offset::ZERO, super::Backlog::memory_start);
        replica.needs().map_or(0, |from| self.history.offset.since(from.max(start)))
    }

    /// The bounds that act. The hard one is never below the size of the backlog, or a partial resync would end in it.
    pub(super) fn bounds(&self) -> Bounds {
        let limit = self.options.output_limit;
        let size = self.options.backlog_bytes;
        let hard = if limit.hard_bytes == 0 { u64::MAX } else { limit.hard_bytes.max(size) };
        let soft = if limit.soft_bytes == 0 { u64::MAX } else { limit.soft_bytes };
        let begin = soft.min(hard / 2);
        if self.options.spill_bytes == 0 {
            return Bounds { keep: u64::MAX, begin, soft, hard };
        }
        // The backlog is held in memory whoever lags: where it is large, the others are beyond it.
        let keep = (begin / 2).min(KEEP_BYTES_MAX).max(size);
        let above = keep.saturating_add(keep / 2);
        Bounds {
            keep,
            begin: begin.max(above),
            soft: soft.max(above),
            hard: hard.max(keep.saturating_mul(2)),
        }
    }

    /// Drops those who lag too far.
    pub(super) fn check_limits(&mut self, turn: &mut Turn) {
        let limit = self.options.output_limit;
        let Bounds { soft, hard, .. } = self.bounds();
        let slows_writers = self.options.slow_writers && self.upstream.is_none();
        let timeout_ms = self.options.timeout_s.saturating_mul(1000);
        let mut gone: Vec<ClientId> = Vec::new();
        let end = self.history.offset;
        let in_memory = self.backlog.as_ref().map_or(Offset::ZERO, super::Backlog::memory_start);
        for replica in self.replicas.iter_mut() {
            let lag = replica.needs().map_or(0, |from| end.since(from));
            let memory = replica.needs().map_or(0, |from| end.since(from.max(in_memory)));
            let is_soft = memory >= soft;
            let soft_since = replica.soft_since_ms.filter(|_| is_soft);
            replica.soft_since_ms = is_soft.then(|| soft_since.unwrap_or(turn.now_ms));
            // Slowing the writers stands for the soft limit: its time is what a load takes.
            let is_soft_over = !slows_writers
                && soft_since.is_some_and(|since| {
                    turn.seconds_since(since)
                        > i64::try_from(limit.soft_seconds).unwrap_or(i64::MAX)
                });
            let is_stuck = slows_writers
                && limit.soft_bytes > 0
                && lag >= limit.soft_bytes
                && replica.stuck_since_ms.is_some_and(|since| turn.now_ms - since > timeout_ms);
            if memory >= hard || is_soft_over || is_stuck {
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
