//! What a connection reads, and the execution of the requests in it.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use redstart_common::log;
use redstart_common::net::buffer;
use redstart_common::resp::{Limits, RequestScanner};
use tokio::io::ReadBuf;

use super::output::is_full;
use super::{Connection, Input, STOP};
use crate::client::{self, Client, Flags};
use crate::engine::Engine;
use crate::keyspace::Shared;
use crate::keyspace::shared::Arriving;
use crate::turn::ahead::{Ahead, Ended};

/// Room that is left behind a large argument, for what little may follow it in its request.
const BEHIND_BYTES: usize = 4 << 10;

/// Of a large argument no more is asked of memory at once than this many times what has come of it: its length is only the
/// client's word. Pages that nothing has come to lie nowhere yet, and each step leaves a buffer to be given back, so the steps
/// are few.
const AHEAD_TIMES: usize = 16;

/// The most that is read of a large argument before others have their turn; as much may be reserved for it in any case.
const LARGE_READ_BYTES: usize = 1 << 20;

/// The part of a look ahead that is a connection's.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    first: usize,
    last: usize,
    ended: Ended,
}

/// What a read has brought.
pub(super) enum Read {
    /// Something, to be executed with what others have sent.
    Some,
    /// So much that it was executed at once: others' turn.
    Much,
    /// The end of the connection.
    End,
}

impl Connection {
    /// Reads once and executes what came.
    pub(super) fn poll_input(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<Read> {
        let own = self.input.borrow().pending.capacity() > buffer::READ_BUFFER_BYTES;
        if own {
            return self.poll_large_input(cx);
        }
        let length = self.server.intake.with_free(|free| {
            let mut read = ReadBuf::new(free);
            match self.stream.borrow_mut().poll_read(cx, &mut read) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(_)) => Poll::Ready(0),
                Poll::Ready(Ok(())) => Poll::Ready(read.filled().len()),
            }
        });
        match length {
            Poll::Pending => Poll::Pending,
            Poll::Ready(0) => Poll::Ready(Read::End),
            Poll::Ready(length) => {
                self.queued.set(true);
                let much = self.server.intake.add(&self.server, self, length);
                Poll::Ready(if much { Read::Much } else { Read::Some })
            }
        }
    }

    /// Reads into the connection's own buffer, where a large argument is being gathered: little further than it reaches, so
    /// that the buffer holds little else.
    fn poll_large_input(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<Read> {
        if self.queued.get() {
            self.server.intake.run(&self.server);
        }
        let length = {
            let mut input = self.input.borrow_mut();
            let wanted = input.scanner.wanted();
            let pending = &mut input.pending;
            if pending.capacity() == pending.len() {
                reserve(pending, wanted.unwrap_or(buffer::READ_BUFFER_BYTES));
            }
            let spare = pending.spare_capacity_mut();
            let most = spare.len().min(LARGE_READ_BYTES);
            let mut read = ReadBuf::uninit(&mut spare[..most]);
            match self.stream.borrow_mut().poll_read(cx, &mut read) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Read::End),
                Poll::Ready(Ok(())) => {}
            }
            let length = read.filled().len();
            if length == 0 {
                return Poll::Ready(Read::End);
            }
            crate::uninit::grow(pending, length);
            length
        };
        self.received(length);
        self.go_on();
        Poll::Ready(Read::Much)
    }

    fn received(&self, bytes: usize) {
        let mut engine = self.server.engine.borrow_mut();
        engine.core.stats.bytes_in += bytes as u64;
        engine.core.stats.reads += 1;
        if let Some(client) = engine.core.clients.at(self.slot.get()) {
            client.bytes_in += bytes as u64;
        }
    }

    /// Executes what was left in the connection's own buffer.
    pub(super) fn go_on(self: &Rc<Self>) {
        let mut engine = self.server.engine.borrow_mut();
        engine.refresh();
        self.take_in(&mut engine, &[], &Ahead::default());
    }

    /// Scans the requests in `fresh`, if nothing is left from before and they may be executed as they come.
    pub(crate) fn plan(&self, engine: &mut Engine, fresh: &[u8], ahead: &mut Ahead) {
        let limits = limits_of(engine, true);
        let Some(client) = engine.core.clients.at(self.slot.get()) else { return };
        let mut input = self.input.borrow_mut();
        let Input { scanner, pending } = &mut *input;
        if client.flags.any(STOP) || !client.authenticated || !pending.is_empty() {
            return;
        }
        let first = ahead.len();
        let ended = ahead.scan(scanner, fresh, 0, &limits, &engine.keyspace.dbs[client.db]);
        self.plan.set(Some(Plan { first, last: ahead.len(), ended }));
    }

    /// Executes the requests in what was left and `fresh`, those first that `group` has scanned; keeps what is
    /// incomplete.
    pub(crate) fn take_in(self: &Rc<Self>, engine: &mut Engine, fresh: &[u8], group: &Ahead) {
        let plan = self.plan.take();
        let Some(mut client) = engine.core.clients.take(self.slot.get()) else { return };
        if !fresh.is_empty() {
            engine.core.stats.bytes_in += fresh.len() as u64;
            engine.core.stats.reads += 1;
            client.bytes_in += fresh.len() as u64;
        }
        client.active_ms = engine.keyspace.shared.now_ms.get();
        let mut input = self.input.borrow_mut();
        let Input { scanner, pending } = &mut *input;
        let joined = !pending.is_empty();
        if joined {
            pending.extend_from_slice(fresh);
        }
        let came = pending.len() - self.input_bytes.get().min(pending.len());
        let whole = if joined && scanner.wanted().is_some_and(|wanted| came >= wanted) {
            lend(pending, &engine.keyspace.shared)
        } else {
            None
        };
        let work: &[u8] = match &whole {
            Some(whole) => whole,
            None if joined => pending,
            None => fresh,
        };
        self.input_bytes.set(work.len());
        self.input_capacity.set(buffer::READ_BUFFER_BYTES);
        let plan = plan.map(|plan| (group, plan));
        let (mut at, ended) = self.execute(engine, &mut client, scanner, work, plan);
        self.held.set(ended == Ended::Full && at < work.len());
        if let Some(whole) = whole {
            engine.keyspace.shared.arriving.take();
            // Not a copy where nobody has kept a part of it.
            *pending = if at == 0 { whole.into() } else { whole[at..].to_vec() };
            at = 0;
        }
        if client.flags.any(Flags::CLOSE_AFTER_REPLY.or(Flags::CLOSE_ASAP)) {
            *pending = Vec::new();
        } else if joined {
            pending.drain(..at);
            if pending.is_empty() {
                *pending = Vec::new();
                scanner.release();
            }
        } else {
            pending.extend_from_slice(&fresh[at..]);
        }
        if let Some(wanted) = scanner.wanted()
            && wanted > buffer::READ_BUFFER_BYTES / 2
            && pending.capacity() <= buffer::READ_BUFFER_BYTES
        {
            // A large argument is on its way: gather it in one place.
            reserve(pending, wanted);
        }
        self.input_bytes.set(pending.len());
        self.input_capacity.set(pending.capacity());
        if pending.len() > engine.core.settings.client_query_buffer_limit {
            log!(
                Warning,
                "Closing client that reached max query buffer length: {}",
                crate::client::describe(&client, engine.keyspace.shared.now_ms.get())
            );
            client.flags.set(Flags::CLOSE_ASAP);
        }
        let marks = client.reply.pending() > 0 || client.flags.any(STOP);
        engine.core.clients.put_back(client);
        if marks {
            client::Connection::mark(Rc::clone(self) as Rc<dyn client::Connection>);
        }
    }

    /// Executes the complete requests in `work`, those of `planned` first. Answers where it has stopped, and whether
    /// for want of bytes: [`Ended::Incomplete`].
    fn execute(
        &self,
        engine: &mut Engine,
        client: &mut Client,
        scanner: &mut RequestScanner,
        work: &[u8],
        planned: Option<(&Ahead, Plan)>,
    ) -> (usize, Ended) {
        let mut at = 0;
        let mut ended = Ended::Full;
        if let Some((group, plan)) = planned {
            if !run_scanned(engine, client, group, plan.first..plan.last, work, &mut at) {
                *scanner = RequestScanner::new();
                return (at, Ended::Full);
            }
            ended = plan.ended;
        }
        while at < work.len() && !client.flags.any(STOP) {
            let limits = limits_of(engine, client.authenticated);
            match ended {
                Ended::Incomplete => break,
                Ended::Irregular => match scanner.scan(&work[at..], &limits) {
                    Ok(Some(length)) => {
                        let args = scanner.args(&work[at..]);
                        if !args.is_empty() {
                            if engine.pauses(client, args) {
                                *scanner = RequestScanner::new();
                                return (at, Ended::Full);
                            }
                            engine.execute(client, args);
                        }
                        at += length;
                        ended = Ended::Full;
                        if is_full(engine, client) {
                            break;
                        }
                    }
                    Ok(None) => ended = Ended::Incomplete,
                    Err(error) => {
                        let text = error.wire();
                        client.reply.error(&text);
                        engine.core.stats.count_error(&text);
                        client.flags.set(Flags::CLOSE_AFTER_REPLY);
                        log!(Verbose, "Protocol error ({error}) from client: {}", client.address);
                    }
                },
                Ended::Full => {
                    let mut beyond = self.server.intake.beyond();
                    beyond.clear();
                    ended =
                        beyond.scan(scanner, work, at, &limits, &engine.keyspace.dbs[client.db]);
                    beyond.prefetch(&engine.keyspace);
                    let all = 0..beyond.len();
                    let done = run_scanned(engine, client, &beyond, all, work, &mut at);
                    beyond.clear();
                    if !done {
                        *scanner = RequestScanner::new();
                        return (at, Ended::Full);
                    }
                }
            }
        }
        (at, if client.flags.any(STOP) { Ended::Full } else { ended })
    }
}

/// Makes room for the `wanted` bytes that an argument lacks, as far as what has come of it vouches for them.
fn reserve(pending: &mut Vec<u8>, wanted: usize) {
    let vouched = (pending.len() * (AHEAD_TIMES - 1)).max(LARGE_READ_BYTES);
    pending.reserve_exact((wanted + BEHIND_BYTES).min(vouched));
}

/// Lends a large request to the keyspace while it is executed, so that a value that is most of it may stay where it lies.
fn lend(pending: &mut Vec<u8>, shared: &Shared) -> Option<Bytes> {
    if pending.len() <= buffer::READ_BUFFER_BYTES {
        return None;
    }
    let allocated = pending.capacity();
    let whole = Bytes::from(std::mem::take(pending));
    shared.arriving.replace(Some(Arriving { bytes: whole.clone(), allocated }));
    Some(whole)
}

fn limits_of(engine: &Engine, authenticated: bool) -> Limits {
    Limits {
        proto_max_bulk_len: engine.core.settings.proto_max_bulk_len,
        unauthenticated: !authenticated,
        ..Limits::default()
    }
}

/// Executes scanned requests and moves `at` behind the last. Answers whether all were executed.
fn run_scanned(
    engine: &mut Engine,
    client: &mut Client,
    scanned: &Ahead,
    which: std::ops::Range<usize>,
    work: &[u8],
    at: &mut usize,
) -> bool {
    for index in which {
        if client.flags.any(STOP) {
            return false;
        }
        let (row, args, end) = scanned.request(index, work);
        if engine.pauses(client, args) {
            return false;
        }
        engine.execute_row(client, row, args);
        *at = end;
        if is_full(engine, client) {
            return false;
        }
    }
    true
}
