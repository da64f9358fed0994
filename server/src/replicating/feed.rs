//! The stream on its way to replicas, and clients that wait for it to have arrived.

use super::awaited::NoLog;
use crate::client::{Client, Flags, Reply};
use crate::engine::Core;
use crate::engine::feed::{Audience, Batch, Part};
use crate::keyspace::Keyspace;
use crate::replication::{ClientId, Event, Offset, Replication};

/// Bytes of the stream that are copied from the backlog for one replica before its socket has taken them.
const AHEAD_BYTES: usize = 256 << 10;

/// Gives a replica's connection what it may be sent of the stream, no more than up to `limit`. Answers how many bytes it got.
pub fn feed_replica(
    replication: &mut Replication,
    client: &mut Client,
    limit: Offset,
    now_ms: i64,
) -> usize {
    let room = AHEAD_BYTES.saturating_sub(client.reply.pending());
    if room == 0 {
        replication.sent(client.id, 0, now_ms);
        return 0;
    }
    let mut taken = 0;
    for slice in replication.pending(client.id, limit) {
        let part = &slice[..slice.len().min(room - taken)];
        client.reply.raw(part);
        taken += part.len();
        if taken == room {
            break;
        }
    }
    if taken > 0 {
        replication.sent(client.id, taken, now_ms);
    } else {
        // It is not its socket that is waited for.
        replication.would_take_more(client.id);
    }
    taken
}

impl Core {
    /// Takes what a turn has written into the backlog.
    pub(crate) fn append_to_backlog(&mut self, batch: &Batch) {
        const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
        const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
        let (mut begins, mut last) = (false, 0);
        let before = self.replication.history().offset;
        for part in batch.parts(Audience::REPLICAS) {
            match part {
                Part::Begin => begins = true,
                Part::Command { db, bytes } => {
                    last = db as u32;
                    if std::mem::take(&mut begins) {
                        self.replication.append(last, MULTI);
                    }
                    self.replication.append(last, bytes);
                }
                Part::End => self.replication.append(last, EXEC),
            }
        }
        self.use_allowance(self.replication.history().offset.since(before));
    }

    /// The end of a turn: replicas are given what was written.
    pub(crate) fn feed_replicas(&mut self, keyspace: &mut Keyspace) {
        if self.replication.backlog().is_none() && !self.replication.is_replica() {
            if self.replication.has_files() {
                self.spill();
            }
            return;
        }
        self.tell_replication(keyspace, Event::EndOfTurn);
        let now_ms = self.replication_now_ms();
        let limit = self.stream_limit();
        let Self { clients, replication, replicating, .. } = self;
        for id in &replicating.replicas {
            if let Some(client) = clients.by_id(*id)
                && feed_replica(replication, client, limit, now_ms) > 0
            {
                client.mark();
            }
        }
        self.spill();
        self.slow_writers_if_behind();
    }

    /// Has written to files what does not fit in memory, and read back what is to be sent next.
    fn spill(&mut self) {
        let now_ms = self.replication_now_ms();
        let mut jobs = std::mem::take(&mut self.replicating.jobs);
        self.replication.spill_jobs(now_ms, &mut jobs);
        for job in jobs.drain(..) {
            self.replicating.files.take(job, &self.shell.folder);
        }
        self.replicating.jobs = jobs;
    }

    /// The place up to which the stream may leave: as in Redis, replicas hear of no write that is promised and not on the disk.
    fn stream_limit(&self) -> Offset {
        let end = self.replication.history().offset;
        let Some(log) = self.logging.log.as_ref() else { return end };
        i64::try_from(log.released_offset(end.bytes().unsigned_abs()))
            .ok()
            .and_then(Offset::after)
            .unwrap_or(end)
    }

    /// A connection of a replica has sent all it had: gives it more. Answers whether there was more.
    pub fn feed_more(&mut self, slot: usize) -> bool {
        let now_ms = self.replication_now_ms();
        let limit = self.stream_limit();
        let Self { clients, replication, .. } = self;
        let Some(client) = clients.at(slot) else { return false };
        if !client.flags.any(Flags::REPLICA) {
            return false;
        }
        let fed = feed_replica(replication, client, limit, now_ms);
        // What is in the backlog is written, and logged.
        if fed > 0 {
            client.reply.output.release();
        }
        fed > 0
    }

    /// Answers those in WAIT whose offset enough replicas have acknowledged, and those in WAITAOF.
    pub(crate) fn serve_wait(&mut self) {
        if !self.replicating.waiting.is_empty() {
            for (id, acked) in self.replicating.waiting.take_served(&self.replication.acks()) {
                self.end_wait(id, |reply| reply.count(acked));
            }
        }
        self.serve_wait_for_disks();
    }

    /// Answers those in WAITAOF who have what they wait for, and those for whom the log that they wait for is gone.
    pub(crate) fn serve_wait_for_disks(&mut self) {
        let Self { replication, logging, replicating, .. } = self;
        let mut served = Vec::new();
        replicating.waiting_for_disks.retain(|(client, awaited)| {
            let standing = awaited.standing(replication, logging);
            let outcome = awaited.outcome(standing, logging);
            served.extend(outcome.map(|outcome| (*client, outcome)));
            outcome.is_none()
        });
        for (id, outcome) in served {
            match outcome {
                Ok(standing) => self.end_wait(id, |reply| standing.write(reply)),
                Err(NoLog) => {
                    self.end_wait(id, |reply| reply.error(NoLog::TEXT));
                    self.stats.count_error(NoLog::TEXT);
                }
            }
        }
    }

    /// The disk may have come further: looks at those in WAITAOF if it has.
    pub(crate) fn look_at_disk(&mut self) {
        let durable = self.logging.durable();
        if durable != self.replicating.durable {
            self.replicating.durable = durable;
            self.serve_wait_for_disks();
        }
    }

    fn end_wait(&mut self, id: ClientId, answer: impl FnOnce(&mut Reply)) {
        let Some(client) = self.clients.by_id(id) else { return };
        let Some(blocked) = client.blocked.take() else { return };
        client.flags.clear(Flags::BLOCKED);
        let before = client.reply.end();
        answer(&mut client.reply);
        if client.flags.any(Flags::REPLY_OFF) {
            client.reply.truncate(before);
        }
        client.mark();
        if let Some(connection) = &client.connection {
            connection.wake();
        }
        self.blocking.remove(id, &blocked);
    }

    /// A newline came from a replica.
    pub fn heard_of_replica(&mut self, id: ClientId) {
        let now_ms = self.replication_now_ms();
        self.replication.heard_of(id, now_ms);
    }

    /// A client is gone.
    pub fn replica_gone(&mut self, keyspace: &mut Keyspace, id: ClientId) {
        self.replicating.replicas.retain(|replica| *replica != id);
        self.replicating.waiting.remove(id);
        self.replicating.take_awaited(id);
        self.tell_replication(keyspace, Event::ClientClosed(id));
    }
}
