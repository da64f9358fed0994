//! The regular work of replication: time-outs, tries, acknowledgements, signs of life, and what may be given up.

use bytes::Bytes;

use super::door::{Action, LoadBy, Turn};
use super::driver::Replication;
use super::failover::Failover;
use super::handshake::command;
use super::replica::Link;
use super::replicas::Stage;

/// Between two rounds, in milliseconds; less while this server fails over.
const ROUND_MS: i64 = 1000;
const ROUND_FAILING_OVER_MS: i64 = 100;

impl Replication {
    pub(super) fn tick(&mut self, turn: &mut Turn) {
        self.check_limits(turn);
        self.look_at_spill(turn);
        let round_ms = if self.failover.is_under_way() { ROUND_FAILING_OVER_MS } else { ROUND_MS };
        // A failover that begins does not wait for the end of a long round.
        self.cron_at_ms = self.cron_at_ms.min(turn.now_ms + round_ms);
        if turn.now_ms < self.cron_at_ms {
            return;
        }
        self.cron_at_ms = turn.now_ms + round_ms;
        self.update_failover(turn);
        self.look_after_link(turn);
        self.send_regular_ack(turn);
        self.ping_replicas(turn);
        self.send_signs_of_life(turn);
        self.drop_silent_replicas(turn);
        self.give_up_backlog(turn);
        self.start_pending_snapshot(turn);
        self.count_good_replicas(turn.now_ms);
        self.cron_rounds += 1;
    }

    pub(super) fn end_of_turn(&mut self, turn: &mut Turn) {
        if self.wants_acks && !turn.is_paused {
            self.wants_acks = false;
            self.ask_for_acks();
        }
        self.update_failover(turn);
        if std::mem::take(&mut self.has_grown) {
            self.check_limits(turn);
        }
        if let Some(backlog) = &mut self.backlog {
            self.has_grown = backlog.trim(self.replicas.needed_from());
        }
    }

    fn look_after_link(&mut self, turn: &mut Turn) {
        let Some(upstream) = &self.upstream else { return };
        let is_late = |heard_ms: i64| turn.seconds_since(heard_ms) > self.options.timeout_s;
        match &upstream.link {
            Link::Connecting { heard_ms, .. } | Link::Handshake { heard_ms, .. }
                if is_late(*heard_ms) =>
            {
                turn.warn("Timeout connecting to the MASTER...");
                self.try_again(turn);
            }
            Link::Preparing { heard_ms, .. } if is_late(*heard_ms) => self.late_transfer(turn),
            Link::Receiving(state) if is_late(state.heard_ms) => self.late_transfer(turn),
            Link::Streaming(state) if is_late(state.heard_ms) => {
                turn.warn("MASTER timeout: no data nor PING received...");
                self.lost_stream(turn);
            }
            _ => {}
        }
        let Some(upstream) = &self.upstream else { return };
        match &upstream.link {
            Link::Waiting => {
                turn.notice(format!("Connecting to MASTER {}:{}", upstream.host, upstream.port));
                self.connect(turn);
            }
            // The primary sees that we live while we load.
            Link::Loading(state) => newline_to_primary(state.link, turn),
            Link::Receiving(state) if state.by != LoadBy::File => {
                newline_to_primary(state.link, turn);
            }
            _ => {}
        }
    }

    fn late_transfer(&mut self, turn: &mut Turn) {
        turn.warn(
            "Timeout receiving bulk data from MASTER... If the problem persists try to set the 'repl-timeout' parameter in redis.conf to a larger value.",
        );
        self.try_again(turn);
    }

    /// So that a link that is dead without a word is seen by the other side. It is a part of the stream, so only the first
    /// primary of a chain sends it.
    fn ping_replicas(&mut self, turn: &mut Turn) {
        if self.upstream.is_some() || self.replicas.is_empty() {
            return;
        }
        // A ping would move the offset that a failover waits for.
        let would_disturb = (self.failover.has_end() || self.pings_held) && turn.is_paused;
        if self.cron_rounds % self.options.ping_period_s.max(1) == 0 && !would_disturb {
            self.push(&command(&[b"ping"]));
        }
    }

    /// To those who wait for a snapshot. It is no part of the stream.
    fn send_signs_of_life(&mut self, turn: &mut Turn) {
        let to_sockets = self.snapshots.go_to_sockets();
        for replica in self.replicas.iter() {
            let is_waiting = match replica.stage {
                Stage::WaitStart { .. } => true,
                Stage::WaitEnd { .. } => !to_sockets,
                _ => false,
            };
            if is_waiting {
                turn.act(Action::SendReplica(replica.id, Bytes::from_static(b"\n")));
            }
        }
    }

    fn drop_silent_replicas(&mut self, turn: &mut Turn) {
        let timeout_s = self.options.timeout_s;
        let to_sockets = self.snapshots.go_to_sockets();
        let mut gone = Vec::new();
        for replica in self.replicas.iter() {
            let kind = match replica.stage {
                Stage::Online { .. } | Stage::AwaitAck { .. }
                    if !replica.is_old && turn.seconds_since(replica.acked_ms) > timeout_s =>
                {
                    "streaming sync"
                }
                // It holds up all others who get the same snapshot.
                Stage::WaitEnd { .. }
                    if to_sockets
                        && replica
                            .stuck_since_ms
                            .is_some_and(|since| turn.seconds_since(since) > timeout_s) =>
                {
                    "full sync"
                }
                _ => continue,
            };
            gone.push((replica.id, format!("({kind}): {}", replica.name())));
        }
        for (client, what) in gone {
            turn.warn(format!("Disconnecting timedout replica {what}"));
            self.drop_replica(client, true, turn);
        }
    }

    /// While a snapshot goes to sockets: whether this replica's takes nothing more at the moment.
    pub fn snapshot_stuck(&mut self, client: super::ClientId, is_stuck: bool, now_ms: i64) {
        if let Some(replica) = self.replicas.get_mut(client) {
            replica.stuck_since_ms =
                if is_stuck { replica.stuck_since_ms.or(Some(now_ms)) } else { None };
        }
    }

    /// A primary that nobody has followed for long needs no backlog. Without one its offset stands still, so its name has to go
    /// too: what is written from now on must not be taken for the history that others know.
    fn give_up_backlog(&mut self, turn: &mut Turn) {
        let ttl_s = self.options.backlog_ttl_s;
        let keeps = ttl_s == 0 || self.upstream.is_some() || !self.replicas.is_empty();
        if keeps || self.backlog.is_none() || turn.seconds_since(self.alone_since_ms) <= ttl_s {
            return;
        }
        self.disown_history(turn);
        self.backlog = None;
        turn.notice(format!(
            "Replication backlog freed after {ttl_s} seconds without connected replicas."
        ));
    }

    /// Whether a failover is being prepared or done, for gates.
    #[must_use]
    pub fn is_failing_over(&self) -> bool {
        !matches!(self.failover, Failover::None)
    }
}

fn newline_to_primary(link: super::LinkId, turn: &mut Turn) {
    turn.act(Action::SendPrimary(link, Bytes::from_static(b"\n")));
}
