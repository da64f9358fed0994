//! What a connection sends: at the end of a turn, and by its task where the kernel took less than there was.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};

use redstart_common::log;
use redstart_common::net::turn;

use super::Connection;
use crate::client::output::PIECES_MAX;
use crate::client::{self, Client, Flags};
use crate::engine::{Core, Engine};

/// Output from which on its limits are looked at after each request, not only at the end of the turn.
const OUTPUT_CHECK_BYTES: usize = 16 << 10;

impl turn::Flush for Connection {
    fn flush(self: Rc<Self>) {
        self.dirty.set(false);
        if self.broken.get() {
            return;
        }
        let mut engine = self.server.engine.borrow_mut();
        let core = &mut engine.core;
        let Some(client) = core.clients.at(self.slot.get()) else { return };
        if client.flags.any(Flags::CLOSE_ASAP) {
            // What waits for it is not sent any more.
            return self.close(&mut engine);
        }
        release(core, self.slot.get());
        let Some(client) = core.clients.at(self.slot.get()) else { return };
        if self.stuck.get() {
            // The task polls for the rest; meanwhile what waits may pass the limit at any turn.
            return self.check_output(&mut engine);
        }
        if client.reply.pending() == 0 {
            if client.flags.any(Flags::CLOSE_AFTER_REPLY) {
                self.close(&mut engine);
            }
            return;
        }
        let output = &client.reply.output;
        if !output.may_send() {
            // All of it waits for the disk.
            return self.check_output(&mut engine);
        }
        let mut stream = self.stream.borrow_mut();
        if client.flags.any(Flags::CLOSE_AFTER_REPLY) {
            stream.hold_for_end();
        }
        let outcome = match output.single() {
            Some(bytes) => stream.try_write(bytes),
            None => {
                let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
                let count = output.pieces(&mut pieces);
                stream.try_write_vectored(&pieces[..count])
            }
        };
        let is_behind = stream.is_behind();
        drop(stream);
        let sent = match outcome {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                self.broken.set(true);
                client::Connection::wake(&*self);
                return;
            }
        };
        let is_replica = client.flags.any(Flags::REPLICA);
        core.stats.written(sent, is_replica);
        let done = client.reply.output.took(sent) && !is_behind;
        // The stream took all there was: the task goes on with what the backlog still has.
        let goes_on = is_replica && done && core.replication.is_behind(client.id);
        let limits = core.settings.client_output_buffer_limit.of(client);
        if !done && !is_behind && !client.reply.output.may_send() {
            self.check_output(&mut engine);
        } else if !done {
            self.stuck.set(true);
            client::Connection::wake(&*self);
            let now = engine.keyspace.shared.now_ms.get();
            let client = engine.core.clients.at(self.slot.get());
            if client.is_some_and(|client| limits.exceeded(client, now)) {
                self.close_for_output(&mut engine.core);
            }
        } else if client.flags.any(Flags::CLOSE_AFTER_REPLY) {
            self.close(&mut engine);
        } else if goes_on {
            self.stuck.set(true);
            client::Connection::wake(&*self);
        } else if self.held.get() || self.ended.get() {
            client::Connection::wake(&*self);
        }
    }
}

/// What the turn has left for a client may leave, as far as it does not wait for the disk.
#[inline]
pub(super) fn release(core: &mut Core, slot: usize) {
    let Some(client) = core.clients.at(slot) else { return };
    if client.flags.any(Flags::AWAITS_LOG.or(Flags::HELD)) {
        core.unsynced.release(client, core.logging.marks());
    } else {
        client.reply.output.release();
    }
}

impl Connection {
    /// Whether there are replies that wait for the disk.
    pub(super) fn awaits_disk(&self) -> bool {
        self.with_client(|client| client.reply.output.is_held()).unwrap_or(false)
    }

    /// Sends what the end of a turn could not. Breaks when the connection has failed.
    pub(super) fn poll_output(&self, cx: &mut Context<'_>) -> std::ops::ControlFlow<()> {
        use std::ops::ControlFlow::{Break, Continue};
        let mut engine = self.server.engine.borrow_mut();
        let core = &mut engine.core;
        let slot = self.slot.get();
        loop {
            let Some(client) = core.clients.at(slot) else { return Break(()) };
            // What this turn has added waits for its end.
            let output = &mut client.reply.output;
            if !output.may_send() {
                // The backlog may hold more for a replica.
                if client.flags.any(Flags::REPLICA) && core.feed_more(slot) {
                    continue;
                }
                break;
            }
            let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
            let count = output.pieces(&mut pieces);
            match self.stream.borrow_mut().poll_write_vectored(cx, &pieces[..count]) {
                Poll::Ready(Ok(sent)) => {
                    output.took(sent);
                    core.stats.written(sent, client.flags.any(Flags::REPLICA));
                }
                Poll::Ready(Err(_)) => return Break(()),
                Poll::Pending => return Continue(()),
            }
        }
        match self.stream.borrow_mut().poll_flush(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Break(()),
            Poll::Pending => return Continue(()),
        }
        if let Some(client) = core.clients.at(slot) {
            client.soft_limit_since_ms = 0;
        }
        self.stuck.set(false);
        Continue(())
    }

    /// Closes a client whose waiting output is over its limit now.
    fn check_output(&self, engine: &mut Engine) {
        let limits = engine.core.settings.client_output_buffer_limit;
        let now = engine.keyspace.shared.now_ms.get();
        let client = engine.core.clients.at(self.slot.get());
        let over = client.is_some_and(|client| {
            !client.flags.any(Flags::CLOSE_ASAP) && limits.of(client).exceeded(client, now)
        });
        if over {
            self.close_for_output(&mut engine.core);
        }
    }

    fn close_for_output(&self, core: &mut Core) {
        if let Some(client) = core.clients.at(self.slot.get()) {
            close_for_output(client, redstart_common::clock::unix_ms());
        }
    }
}

/// Whether a client has more output than its limit allows: it is closed, and its next requests are not heard.
#[inline]
pub(super) fn is_full(engine: &Engine, client: &mut Client) -> bool {
    client.reply.pending() >= OUTPUT_CHECK_BYTES && is_full_closely(engine, client)
}

#[cold]
fn is_full_closely(engine: &Engine, client: &mut Client) -> bool {
    let now = engine.keyspace.shared.now_ms.get();
    let over = engine.core.settings.client_output_buffer_limit.of(client).exceeded(client, now);
    if over {
        close_for_output(client, now);
    }
    over
}

/// Closes a client that has more output than its limit allows.
fn close_for_output(client: &mut Client, now_ms: i64) {
    log!(
        Warning,
        "Client {} scheduled to be closed ASAP for overcoming of output buffer limits.",
        crate::client::describe(client, now_ms)
    );
    client.close_asap();
}
