//! A connection while a script of another client runs: what it asks is answered there, and sent.

use std::io::{self, IoSlice};
use std::rc::Rc;

use redstart_common::resp::{Limits, RequestScanner};

use super::output::release;
use super::{Connection, Input, STOP};
use crate::client::output::PIECES_MAX;
use crate::client::{self, Client, Flags};
use crate::engine::Core;
use crate::keyspace::Keyspace;

/// Bytes that are read at once while a script runs.
const BUSY_READ_BYTES: usize = 16 << 10;

impl Connection {
    /// Reads what the client asks while a script of another runs, behind `fresh`, which was read before; has it answered, and
    /// sends that.
    pub(crate) fn serve_while_busy(
        self: &Rc<Self>,
        keyspace: &mut Keyspace,
        core: &mut Core,
        fresh: &[u8],
    ) {
        // Who has asked of the script is out of its place.
        let Some(mut client) = core.clients.take(self.slot.get()) else { return };
        {
            let mut input = self.input.borrow_mut();
            let Input { scanner, pending } = &mut *input;
            if self.plan.take().is_some() {
                // It has been scanned, but not been executed.
                *scanner = RequestScanner::new();
            }
            pending.extend_from_slice(fresh);
            if fresh.is_empty() && !client.flags.any(STOP) {
                let mut room = [0; BUSY_READ_BYTES];
                let read = self.stream.borrow_mut().read_now(&mut room);
                if self.stream.borrow().has_unread() {
                    // The kernel does not announce it again.
                    client::Connection::wake(&**self);
                }
                if client.flags.any(Flags::REPLICA) && is_end(&read) {
                    // The script may ask who follows.
                    core.replica_gone(keyspace, client.id);
                }
                let length = read.unwrap_or(0);
                pending.extend_from_slice(&room[..length]);
                core.stats.bytes_in += length as u64;
                core.stats.reads += u64::from(length > 0);
                client.bytes_in += length as u64;
            }
            answer_while_busy(keyspace, core, &mut client, scanner, pending);
            self.held.set(!pending.is_empty() && client.flags.any(STOP));
            self.input_bytes.set(pending.len());
            self.input_capacity.set(pending.capacity());
        }
        let marks = client.reply.pending() > 0 || client.flags.any(STOP);
        core.clients.put_back(client);
        if marks {
            client::Connection::mark(Rc::clone(self) as Rc<dyn client::Connection>);
        }
    }

    /// Sends what the client is owed while a script of another runs: what may leave, as at the end of a turn.
    pub(crate) fn send_while_busy(&self, core: &mut Core) {
        let slot = self.slot.get();
        let mut stream = self.stream.borrow_mut();
        if stream.is_behind() {
            // It shows at reading if it has failed. What is left then, the task sends.
            let _ = stream.flush_now();
            if stream.is_behind() {
                self.stuck.set(true);
                return client::Connection::wake(self);
            }
        }
        if core.clients.at(slot).is_none_or(|client| client.reply.pending() == 0) {
            return;
        }
        release(core, slot);
        let Some(client) = core.clients.at(slot) else { return };
        let output = &mut client.reply.output;
        let mut total = 0;
        while output.may_send() {
            let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
            let count = output.pieces(&mut pieces);
            let Some(piece) = pieces[..count].first() else { break };
            let length = piece.len();
            let Ok(sent) = stream.write_now(piece) else { break };
            output.took(sent);
            total += sent;
            if sent < length {
                break;
            }
        }
        if stream.is_behind() {
            self.stuck.set(true);
            client::Connection::wake(self);
        }
        let is_replica = client.flags.any(Flags::REPLICA);
        if total > 0 {
            core.stats.written(total, is_replica);
        }
    }
}

/// Whether a connection has ended, by what reading from it has come to.
fn is_end(read: &io::Result<usize>) -> bool {
    match read {
        Ok(length) => *length == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// Answers the complete requests in `pending`, and takes them out.
fn answer_while_busy(
    keyspace: &mut Keyspace,
    core: &mut Core,
    client: &mut Client,
    scanner: &mut RequestScanner,
    pending: &mut Vec<u8>,
) {
    let mut at = 0;
    while at < pending.len() && !client.flags.any(STOP) {
        let limits = Limits {
            proto_max_bulk_len: core.settings.proto_max_bulk_len,
            unauthenticated: !client.authenticated,
            ..Limits::default()
        };
        match scanner.scan(&pending[at..], &limits) {
            Ok(Some(length)) => {
                let args = scanner.args(&pending[at..]);
                if !args.is_empty() {
                    crate::dispatch::answer_while_busy(keyspace, core, client, args);
                }
                at += length;
            }
            Ok(None) => break,
            Err(error) => {
                let text = error.wire();
                client.reply.error(&text);
                core.stats.count_error(&text);
                client.flags.set(Flags::CLOSE_AFTER_REPLY);
            }
        }
    }
    pending.drain(..at);
}
