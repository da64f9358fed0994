//! A client's connection: reads what comes, has the engine execute it, and sends what the turn left.
//!
//! The task of a connection only reads, into a buffer that the thread's connections share. What was read is executed
//! at the end of the turn (see [`crate::turn::intake`]); only an incomplete request is copied to a buffer of the
//! connection's own. Output is sent after that with one write; when the kernel takes less, the task polls for the
//! rest.

mod busy;
mod input;
mod output;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use redstart_common::net::crowd::LastAsked;
use redstart_common::net::stream::Awaited;
use redstart_common::net::{Stream, turn};
use redstart_common::resp::RequestScanner;

use self::input::{Plan, Read};
use crate::client::{self, Client, Flags};
use crate::engine::{Core, Engine};
use crate::server::Server;

/// States in which a client's requests have to wait, or will never be heard.
const STOP: Flags =
    Flags::BLOCKED.or(Flags::CLOSE_AFTER_REPLY).or(Flags::CLOSE_ASAP).or(Flags::PAUSED);

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

    fn transport_bytes(&self) -> usize {
        // Who writes to it now has what it holds elsewhere.
        self.stream.try_borrow().map_or(0, |stream| stream.held())
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
}

/// Ends the turn and lets others have theirs, the kernel's news included, before this connection reads again.
fn rest(cx: &mut Context<'_>) -> Poll<()> {
    turn::end();
    turn::go_on_after_the_others(cx);
    Poll::Pending
}
