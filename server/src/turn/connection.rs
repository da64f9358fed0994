//! A client's connection: reads what comes, has the engine execute it, and sends what the turn left.
//!
//! The task of a connection only reads, into a buffer that the thread's connections share. What was read is executed
//! at the end of the turn (see [`crate::turn::intake`]); only an incomplete request is copied to a buffer of the
//! connection's own. Output is sent after that with one write; when the kernel takes less, the task polls for the
//! rest.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use redstart_common::log;
use redstart_common::net::crowd::LastAsked;
use redstart_common::net::stream::Awaited;
use redstart_common::net::{Stream, buffer, turn};
use redstart_common::resp::{Limits, RequestScanner};
use tokio::io::ReadBuf;

use crate::client::output::PIECES_MAX;
use crate::client::{self, Client, Flags};
use crate::engine::{Core, Engine};
use crate::keyspace::shared::Arriving;
use crate::keyspace::{Keyspace, Shared};
use crate::server::Server;
use crate::turn::ahead::{Ahead, Ended};

/// Output from which on its limits are looked at after each request, not only at the end of the turn.
const OUTPUT_CHECK_BYTES: usize = 16 << 10;

/// Room that is left behind a large argument, for what little may follow it in its request.
const BEHIND_BYTES: usize = 4 << 10;

/// Of a large argument no more is asked of memory at once than this many times what has come of it: its length is only the
/// client's word. Pages that nothing has come to lie nowhere yet, and each step leaves a buffer to be given back, so the steps
/// are few.
const AHEAD_TIMES: usize = 16;

/// The most that is read of a large argument before others have their turn; as much may be reserved for it in any case.
const LARGE_READ_BYTES: usize = 1 << 20;

/// States in which a client's requests have to wait, or will never be heard.
const STOP: Flags =
    Flags::BLOCKED.or(Flags::CLOSE_AFTER_REPLY).or(Flags::CLOSE_ASAP).or(Flags::PAUSED);

/// The part of a look ahead that is a connection's.
#[derive(Clone, Copy)]
struct Plan {
    first: usize,
    last: usize,
    ended: Ended,
}

/// Requests that have been read but not executed yet.
#[derive(Default)]
struct Input {
    scanner: RequestScanner,
    pending: Vec<u8>,
}

/// A connection and its place among the engine's clients.
pub struct Connection {
    server: Rc<Server>,
    slot: Cell<usize>,
    stream: RefCell<Stream>,
    descriptor: i32,
    input: RefCell<Input>,
    input_bytes: Cell<usize>,
    input_capacity: Cell<usize>,
    /// What was left is not for want of bytes: there may be whole requests in it.
    held: Cell<bool>,
    dirty: Cell<bool>,
    /// What it has read waits for the end of the turn.
    queued: Cell<bool>,
    plan: Cell<Option<Plan>>,
    /// When it last asked; see [`Intake`](crate::turn::intake::Intake).
    asked: LastAsked,
    /// The kernel took less than there was: the task has to poll.
    stuck: Cell<bool>,
    broken: Cell<bool>,
    /// Nothing more will come, but replies wait for the disk.
    ended: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl client::Connection for Connection {
    fn mark(self: Rc<Self>) {
        if !self.dirty.replace(true) {
            turn::mark(self);
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn input_bytes(&self) -> usize {
        self.input_bytes.get()
    }

    fn input_capacity(&self) -> usize {
        self.input_capacity.get()
    }

    fn descriptor(&self) -> i32 {
        self.descriptor
    }

    fn gather_packets(&self) {
        // A socket that cannot do it sends at once, as before.
        let _ = self.stream.borrow().set_nodelay(false);
    }

    fn read_waiting(&self, room: &mut [u8]) -> io::Result<usize> {
        let mut stream = self.stream.borrow_mut();
        loop {
            match stream.read_now(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    stream.wait(Awaited::Input, None)?;
                }
                outcome => return outcome,
            }
        }
    }

    fn write_waiting(&self, mut bytes: &[u8], most: Duration) -> io::Result<()> {
        let mut stream = self.stream.borrow_mut();
        while !bytes.is_empty() || stream.is_behind() {
            let written = match bytes {
                [] => stream.flush_now().map(|()| 0),
                _ => stream.write_now(bytes),
            };
            match written {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    stream.wait(Awaited::Room, Some(most))?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn let_go(&self) {
        self.stream.borrow_mut().fall_silent();
        self.broken.set(true);
        client::Connection::wake(self);
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn std::any::Any> {
        self
    }
}

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

/// Whether a connection has ended, by what reading from it has come to.
fn is_end(read: &io::Result<usize>) -> bool {
    match read {
        Ok(length) => *length == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// What the turn has left for a client may leave, as far as it does not wait for the disk.
#[inline]
fn release(core: &mut Core, slot: usize) {
    let Some(client) = core.clients.at(slot) else { return };
    if client.flags.any(Flags::AWAITS_LOG.or(Flags::HELD)) {
        core.unsynced.release(client, core.logging.marks());
    } else {
        client.reply.output.release();
    }
}

impl Connection {
    /// Takes a stream in as a client and serves it until it ends.
    pub async fn serve(server: Rc<Server>, stream: Stream) {
        let connection = Self::new(Rc::clone(&server), stream);
        if server.admit(&connection) {
            connection.go_through().await;
        }
    }

    /// A stream that is no client yet.
    pub(crate) fn new(server: Rc<Server>, stream: Stream) -> Rc<Self> {
        let descriptor = stream.as_raw_fd();
        Rc::new(Self {
            server,
            slot: Cell::new(usize::MAX),
            descriptor,
            input: RefCell::default(),
            input_bytes: Cell::new(0),
            input_capacity: Cell::new(0),
            held: Cell::new(false),
            dirty: Cell::new(false),
            queued: Cell::new(false),
            plan: Cell::new(None),
            asked: LastAsked::default(),
            stuck: Cell::new(false),
            broken: Cell::new(false),
            ended: Cell::new(false),
            waker: RefCell::new(None),
            stream: RefCell::new(stream),
        })
    }

    /// Serves a client until it ends.
    pub(crate) async fn go_through(self: Rc<Self>) {
        poll_fn(|cx| self.poll(cx)).await;
        let mut engine = self.server.engine.borrow_mut();
        engine.forget_client(self.slot.replace(usize::MAX));
    }

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

    /// The stream, for the server when it takes the connection in.
    pub(crate) fn stream(&self) -> std::cell::RefMut<'_, Stream> {
        self.stream.borrow_mut()
    }

    /// Sets the connection's place among the clients.
    pub(crate) fn set_slot(&self, slot: usize) {
        self.slot.set(slot);
    }

    /// Ends the connection in this turn: whoever sees it end finds no trace of it among the clients. The task follows.
    fn close(&self, engine: &mut Engine) {
        engine.forget_client(self.slot.replace(usize::MAX));
        self.stream.borrow_mut().shut_down();
        client::Connection::wake(self);
    }

    fn with_client<R>(&self, body: impl FnOnce(&mut Client) -> R) -> Option<R> {
        let mut engine = self.server.engine.borrow_mut();
        engine.core.clients.at(self.slot.get()).map(body)
    }

    /// Reads and executes until nothing more comes. Ready when the connection has ended.
    fn poll(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<()> {
        let known = self.waker.borrow().as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !known {
            *self.waker.borrow_mut() = Some(cx.waker().clone());
        }
        loop {
            if self.broken.get() {
                return Poll::Ready(());
            }
            if self.stuck.get() && self.poll_output(cx).is_break() {
                return Poll::Ready(());
            }
            let Some((flags, waiting)) =
                self.with_client(|client| (client.flags, client.reply.pending()))
            else {
                return Poll::Ready(());
            };
            if flags.any(Flags::CLOSE_ASAP) {
                return Poll::Ready(());
            }
            if self.ended.get() {
                return if self.awaits_disk() { Poll::Pending } else { Poll::Ready(()) };
            }
            if flags.any(Flags::CLOSE_AFTER_REPLY) {
                return if waiting == 0 { Poll::Ready(()) } else { Poll::Pending };
            }
            // Requests may be left from before the client waited or was paused.
            if self.held.get() && !flags.any(Flags::BLOCKED.or(Flags::PAUSED)) {
                self.go_on();
                return rest(cx);
            }
            match self.poll_input(cx) {
                Poll::Ready(Read::Some) => {}
                Poll::Ready(Read::Much) => return rest(cx),
                Poll::Ready(Read::End) => {
                    // Who has asked and then closed its half is still answered.
                    if self.queued.get() || self.dirty.get() {
                        turn::end();
                    }
                    if !self.awaits_disk() {
                        return Poll::Ready(());
                    }
                    self.ended.set(true);
                    return Poll::Pending;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether there are replies that wait for the disk.
    fn awaits_disk(&self) -> bool {
        self.with_client(|client| client.reply.output.is_held()).unwrap_or(false)
    }

    /// Sends what the end of a turn could not. Breaks when the connection has failed.
    fn poll_output(&self, cx: &mut Context<'_>) -> std::ops::ControlFlow<()> {
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

    /// Reads once and executes what came.
    fn poll_input(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<Read> {
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
    fn go_on(self: &Rc<Self>) {
        let mut engine = self.server.engine.borrow_mut();
        engine.refresh();
        self.take_in(&mut engine, &[], &Ahead::default());
    }

    /// Whether its client is in its place, and not the one that is being served.
    pub(crate) fn is_in_place(&self, core: &mut Core) -> bool {
        core.clients.at(self.slot.get()).is_some()
    }

    /// Whether its client brings slots that another node hands over.
    pub(crate) fn imports(&self, core: &mut Core) -> bool {
        core.clients.at(self.slot.get()).is_some_and(|client| client.flags.any(Flags::IMPORT))
    }

    /// Whether requests of the connection are among those that were looked at ahead.
    pub(crate) fn is_planned(&self) -> bool {
        self.plan.get().is_some()
    }

    /// Nothing that it has read waits any more.
    pub(crate) fn taken(&self) -> &LastAsked {
        self.queued.set(false);
        &self.asked
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

/// Bytes that are read at once while a script runs.
const BUSY_READ_BYTES: usize = 16 << 10;

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

/// What a read has brought.
enum Read {
    /// Something, to be executed with what others have sent.
    Some,
    /// So much that it was executed at once: others' turn.
    Much,
    /// The end of the connection.
    End,
}

/// Ends the turn and lets others have theirs, the kernel's news included, before this connection reads again.
fn rest(cx: &mut Context<'_>) -> Poll<()> {
    turn::end();
    turn::go_on_after_the_others(cx);
    Poll::Pending
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

/// Whether a client has more output than its limit allows: it is closed, and its next requests are not heard.
#[inline]
fn is_full(engine: &Engine, client: &mut Client) -> bool {
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
