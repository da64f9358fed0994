//! What the connections have read in this turn, executed together at its end.
//!
//! Connections read one after the other into one buffer of the thread. Before the loop waits again, and before
//! output is sent, all of it is scanned, looked at ahead (see [`crate::turn::ahead`]) and executed in the order it came.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use redstart_common::net::buffer::READ_BUFFER_BYTES;
use redstart_common::net::crowd::Crowd;
use redstart_common::net::turn;

use crate::server::Server;
use crate::turn::ahead::Ahead;
use crate::turn::connection::Connection;

/// Bytes that may be read before they are executed.
const ARENA_BYTES: usize = 4 * READ_BUFFER_BYTES;
/// Reads of so many bytes are executed at once: they belong to a large argument or a deep pipeline.
const LARGE_BYTES: usize = READ_BUFFER_BYTES / 4;
/// Connections that may have read before their requests are executed.
const ARRIVALS_MAX: usize = 256;

struct Arrival {
    connection: Rc<Connection>,
    start: usize,
    length: usize,
    /// It is being executed, or has been.
    begun: Cell<bool>,
}

/// A turn that has served more than this part of the crowd needs no rest: enough had gathered.
const CROWD_PART: u32 = 4;

/// Bytes read and not yet executed.
pub struct Intake {
    arena: RefCell<Box<[u8]>>,
    used: Cell<usize>,
    arrivals: RefCell<Vec<Arrival>>,
    /// Those that are being executed.
    running: RefCell<Vec<Arrival>>,
    spare: RefCell<Vec<Arrival>>,
    crowd: Crowd,
    ahead: RefCell<Ahead>,
    /// For a connection's requests beyond those that were looked at together with others'.
    beyond: RefCell<Ahead>,
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            arena: RefCell::new(vec![0; ARENA_BYTES].into_boxed_slice()),
            used: Cell::new(0),
            arrivals: RefCell::default(),
            running: RefCell::default(),
            spare: RefCell::default(),
            crowd: Crowd::default(),
            ahead: RefCell::default(),
            beyond: RefCell::default(),
        }
    }
}

impl Intake {
    /// Lends the free part of the buffer to `read`, which answers how many bytes it has put there.
    ///
    /// There is always room for [`READ_BUFFER_BYTES`].
    pub fn with_free<R>(&self, read: impl FnOnce(&mut [u8]) -> R) -> R {
        let start = self.used.get();
        read(&mut self.arena.borrow_mut()[start..start + READ_BUFFER_BYTES])
    }

    /// Takes in `length` bytes that `connection` has read to where [`with_free`](Self::with_free) said. Answers whether
    /// they were so many that they were executed at once.
    pub fn add(&self, server: &Server, connection: &Rc<Connection>, length: usize) -> bool {
        let start = self.used.get();
        let connection = Rc::clone(connection);
        let begun = Cell::new(false);
        self.arrivals.borrow_mut().push(Arrival { connection, start, length, begun });
        self.used.set(start + length);
        let full = ARENA_BYTES - self.used.get() < READ_BUFFER_BYTES
            || self.arrivals.borrow().len() >= ARRIVALS_MAX;
        if full || length >= LARGE_BYTES {
            self.run(server);
            turn::end_if_full();
        }
        length >= LARGE_BYTES
    }

    /// Lends the look-ahead of a single connection.
    pub fn beyond(&self) -> std::cell::RefMut<'_, Ahead> {
        self.beyond.borrow_mut()
    }

    /// Rests for some microseconds if that lets requests gather.
    pub fn rest(&self, length_us: impl FnOnce() -> u64) {
        let served = self.crowd.take_served();
        if served == 0 || served >= self.crowd.size() / CROWD_PART {
            return;
        }
        let length_us = length_us();
        if length_us > 0 {
            // Nothing else is to be done on this thread, and what comes meanwhile waits in the kernel.
            std::thread::sleep(Duration::from_micros(length_us));
        }
    }

    /// Hands what was read in this turn and has not begun to be executed to `answer`, which says whether it has taken it.
    pub(crate) fn answer_waiting(&self, mut answer: impl FnMut(&Rc<Connection>, &[u8]) -> bool) {
        let arena = self.arena.borrow();
        for arrival in self.running.borrow().iter().filter(|arrival| !arrival.begun.get()) {
            if answer(&arrival.connection, &arena[arrival.start..][..arrival.length]) {
                arrival.begun.set(true);
                arrival.connection.taken();
            }
        }
    }

    /// Executes what was read.
    pub fn run(&self, server: &Server) {
        if self.arrivals.borrow().is_empty() {
            return;
        }
        self.running.replace(self.arrivals.replace(self.spare.take()));
        {
            let arrivals = self.running.borrow();
            let arena = self.arena.borrow();
            let mut ahead = self.ahead.borrow_mut();
            let mut engine = server.engine.borrow_mut();
            let mut rest = arrivals.as_slice();
            while !rest.is_empty() {
                ahead.clear();
                let mut count = 0;
                // Whoever has read twice is served twice, for its second read goes on where the first one ended.
                while let Some(arrival) = rest.get(count)
                    && (count == 0 || ahead.has_room() && !arrival.connection.is_planned())
                {
                    let bytes = &arena[arrival.start..][..arrival.length];
                    if !arrival.begun.get() {
                        arrival.connection.plan(&mut engine, bytes, &mut ahead);
                    }
                    count += 1;
                }
                ahead.prefetch(&engine.keyspace);
                engine.refresh();
                let now_us = engine.keyspace.shared.now_ms.get().cast_unsigned() * 1000;
                for arrival in &rest[..count] {
                    // While a script ran, it may have been answered.
                    if arrival.begun.replace(true) {
                        continue;
                    }
                    self.crowd.note(arrival.connection.taken(), now_us, 1);
                    let bytes = &arena[arrival.start..][..arrival.length];
                    arrival.connection.take_in(&mut engine, bytes, &ahead);
                }
                rest = &rest[count..];
            }
        }
        let mut arrivals = self.running.take();
        arrivals.clear();
        self.spare.replace(arrivals);
        self.used.set(0);
    }
}
