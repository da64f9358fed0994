//! SYNC and PSYNC: may the replica go on where it stopped, or does it need all data?

use super::backlog::Backlog;
use super::door::{Action, ClientId, Turn};
use super::failover::Failover;
use super::handshake::text;
use super::history::Mismatch;
use super::offset::Offset;
use super::refusal::Refusal;
use super::replicas::{Replica, Stage};
use super::{ReplicationId, driver::Replication};

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    /// `SYNC`, also as a line of words.
    Sync,
    /// `PSYNC id offset`, and whether `FAILOVER` follows.
    Psync {
        /// The history that the replica has.
        id: &'a [u8],
        /// The first byte that it wants.
        first_byte: &'a [u8],
        /// This server is to become the primary first.
        failover: bool,
    },
}

/// Who asks for a sync, and how.
#[derive(Debug, Clone, Copy)]
pub struct SyncRequest<'a> {
    /// The client.
    pub client: ClientId,
    /// The address it comes from.
    pub peer_ip: &'a str,
    /// Its line of CLIENT LIST.
    pub line: &'a str,
    /// Whether replies to it wait to be sent.
    pub has_pending_output: bool,
    /// What it asks.
    pub ask: Ask<'a>,
}

impl Replication {
    /// SYNC or PSYNC. Without an error nothing is replied here; what is sent goes out as actions. What the engine wrote before
    /// has to be appended before this is called.
    pub fn sync(&mut self, request: SyncRequest, turn: &mut Turn) -> Result<(), Refusal> {
        if self.is_replica_client(request.client) {
            return Ok(());
        }
        if let Ask::Psync { id, failover: true, .. } = request.ask {
            self.promote_by_psync(id, request.line, turn)?;
        }
        if !matches!(self.failover, Failover::None) {
            return Err(Refusal::FAILING_OVER);
        }
        if self.upstream.is_some() && !self.is_link_up() {
            return Err(Refusal::NO_PRIMARY_LINK);
        }
        if request.has_pending_output {
            return Err(Refusal::PENDING_OUTPUT);
        }
        let profile = self.profiles.get(&request.client).cloned().unwrap_or_default();
        if profile.filter.leaves_out() && !profile.eof {
            return Err(Refusal::FILTER_NEEDS_EOF);
        }
        let mut replica = Replica {
            id: request.client,
            peer_ip: request.peer_ip.to_owned(),
            profile,
            stage: Stage::WaitStart { since_ms: turn.now_ms },
            is_old: matches!(request.ask, Ask::Sync),
            acked: None,
            fsynced: None,
            acked_ms: turn.now_ms,
            acked_early: false,
            soft_since_ms: None,
            stuck_since_ms: None,
        };
        turn.notice(format!("Replica {} asks for synchronization", replica.name()));
        if let Ask::Psync { id, first_byte, .. } = request.ask {
            let Some(first_byte) = redstart_common::number::parse_i64(first_byte) else {
                turn.warn(format!(
                    "Replica {} asks for synchronization but with a wrong offset",
                    replica.name()
                ));
                return Err(Refusal::NotAnInteger);
            };
            if let Some(from) = self.may_continue(&replica, id, first_byte, turn) {
                self.counts.partial_ok += 1;
                self.profiles.remove(&request.client);
                replica.stage = Stage::Online { next: from };
                self.go_on(replica, from, turn);
                return Ok(());
            }
            self.counts.partial_err += u64::from(id.first() != Some(&b'?'));
        }
        self.counts.full += 1;
        self.profiles.remove(&request.client);
        self.replicas.push(replica);
        self.begin_backlog(turn);
        self.want_snapshot(request.client, turn);
        Ok(())
    }

    fn promote_by_psync(&mut self, id: &[u8], line: &str, turn: &mut Turn) -> Result<(), Refusal> {
        turn.warn(format!("Failover request received for replid {}.", text(id)));
        if self.upstream.is_none() {
            return Err(Refusal::FAILOVER_TO_PRIMARY);
        }
        if !self.history.id.is_named(id) {
            return Err(Refusal::FAILOVER_OTHER_ID);
        }
        self.become_primary(turn);
        turn.notice(format!("MASTER MODE enabled (failover request from '{line}')"));
        Ok(())
    }

    /// The place from which the replica can be sent the stream, if it has the same bytes before it and the backlog holds those
    /// after it.
    fn may_continue(
        &self,
        replica: &Replica,
        id: &[u8],
        first_byte: i64,
        turn: &mut Turn,
    ) -> Option<Offset> {
        if let Err(mismatch) = self.history.includes(id, first_byte) {
            turn.notice(if id.first() == Some(&b'?') {
                format!("Full resync requested by replica {}", replica.name())
            } else if mismatch == Mismatch::Name {
                format!(
                    "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for '{}', my replication IDs are '{}' and '{}')",
                    text(id),
                    self.history.id,
                    self.history.second_id()
                )
            } else {
                format!(
                    "Partial resynchronization not accepted: Requested offset for second ID was {first_byte}, but I can reply up to {}",
                    self.history.second_offset()
                )
            });
            return None;
        }
        let from = Offset::before_byte(first_byte)
            .filter(|from| self.backlog.as_ref().is_some_and(|backlog| backlog.holds(*from)));
        if from.is_none() {
            turn.notice(format!(
                "Unable to partial resync with replica {} for lack of backlog (Replica request was: {first_byte}).",
                replica.name()
            ));
            if first_byte > self.history.offset.bytes() {
                turn.warn(format!(
                    "Warning: replica {} tried to PSYNC with an offset that is greater than the master replication offset.",
                    replica.name()
                ));
            }
        }
        from
    }

    fn go_on(&mut self, replica: Replica, from: Offset, turn: &mut Turn) {
        let answer = if replica.profile.psync2 {
            format!("+CONTINUE {}\r\n", self.history.id)
        } else {
            "+CONTINUE\r\n".to_owned()
        };
        let id = replica.id;
        turn.act(Action::SendReplica(id, answer.into()));
        turn.notice(format!(
            "Partial resynchronization request from {} accepted. Sending {} bytes of backlog starting from offset {}.",
            replica.name(),
            self.history.offset.since(from),
            from.next_byte()
        ));
        self.replicas.push(replica);
        turn.act(Action::StreamTo(id));
        self.count_good_replicas(turn.now_ms);
    }

    /// The first replica of a primary begins a history: what was written before is in no backlog, so nobody can have it.
    fn begin_backlog(&mut self, turn: &mut Turn) {
        if self.backlog.is_some() || self.replicas.len() != 1 {
            return;
        }
        self.disown_history(turn);
        self.backlog = Some(Backlog::new(self.options.backlog_bytes, self.history.offset));
        self.stream_db = None;
        turn.notice(format!(
            "Replication backlog created, my new replication IDs are '{}' and '{}'",
            self.history.id,
            ReplicationId::NONE
        ));
    }
}
