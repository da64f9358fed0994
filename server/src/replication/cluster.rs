//! What a cluster asks of replication: there the cluster says who follows whom.

use super::door::Turn;
use super::driver::Replication;

/// The age of data that was never a primary's, in milliseconds: older than any limit.
const AGE_UNKNOWN_MS: i64 = i64::MAX / 4;

impl Replication {
    /// Follows the node at this address.
    pub fn follow_node(&mut self, host: &str, port: u16, turn: &mut Turn) {
        let same = self.upstream.as_ref().is_some_and(|upstream| {
            upstream.host.eq_ignore_ascii_case(host) && upstream.port == port
        });
        if !same {
            self.follow(host, port, turn);
        }
    }

    /// Follows nobody.
    pub fn lead(&mut self, turn: &mut Turn) {
        self.become_primary(turn);
    }

    /// The place in the stream up to which this server has the data: 0 on a replica that has none of it.
    #[must_use]
    pub fn place(&self) -> i64 {
        match &self.upstream {
            Some(upstream) if !upstream.is_streaming() && !upstream.can_resume => 0,
            _ => self.history.offset.bytes(),
        }
    }

    /// How old a replica's data may be, in milliseconds: since when its primary has said nothing.
    #[must_use]
    pub fn data_age_ms(&self, now_ms: i64) -> i64 {
        let down_since = self.upstream.as_ref().and_then(|upstream| upstream.down_since_ms);
        let silent = self.stream_silent_ms(now_ms);
        silent.or(down_since.map(|since| now_ms - since)).unwrap_or(AGE_UNKNOWN_MS)
    }

    /// Has replicas not be pinged: it would move the place that a replica waits for which is to take over.
    pub fn hold_pings(&mut self, held: bool) {
        self.pings_held = held;
    }
}
