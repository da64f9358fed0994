//! What the connections have read in this turn, executed together at its end.
//!
//! Connections read one after the other into one buffer of the thread. Before the loop waits again, and before
//! output is sent, all of it is scanned, looked at ahead (see [`crate::ahead`]) and executed in the order it came.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use redstart_common::net::buffer::READ_BUFFER_BYTES;
use redstart_common::net::turn;

use crate::ahead::Ahead;
use crate::connection::Connection;
use crate::server::Server;

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
}

/// Clients that must have asked within two milliseconds before a thread rests.
const CROWD_MIN: u32 = 16;
/// A turn that has served more than this part of the crowd needs no rest: enough had gathered.
const CROWD_PART: u32 = 4;

/// How many clients ask, and how many of them this turn has served.
///
/// With many clients that each ask for little, a thread that is quicker than they are serves one or two of them a
/// turn, and the waiting, waking and sleeping around a turn costs more than the requests. A rest of some
/// microseconds lets several gather. Few clients, or busy turns, never wait for it.
#[derive(Default)]
struct Crowd {
    window: Cell<i64>,
    asking: Cell<u32>,
    last: Cell<u32>,
    served: Cell<u32>,
}

impl Crowd {
    /// Begins a turn at a time in milliseconds. Answers the window of time that it is in.
    fn begin(&self, now_ms: i64) -> i64 {
        let window = now_ms / 2;
        if window != self.window.get() {
            let follows = window == self.window.get() + 1;
            self.last.set(if follows { self.asking.get() } else { 0 });
            self.asking.set(0);
            self.window.set(window);
        }
        window
    }

    fn note(&self, is_new: bool) {
        self.served.set(self.served.get() + 1);
        self.asking.set(self.asking.get() + u32::from(is_new));
    }

    /// Whether the turn that ends served few of a crowd.
    fn wants_rest(&self) -> bool {
        let served = self.served.take();
        let crowd = self.last.get().max(self.asking.get());
        served > 0 && crowd >= CROWD_MIN && served < crowd / CROWD_PART
    }
}

/// Bytes read and not yet executed.
pub struct Intake {
    arena: RefCell<Box<[u8]>>,
    used: Cell<usize>,
    arrivals: RefCell<Vec<Arrival>>,
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

    /// Takes in `length` bytes that `connection` has read to where [`with_free`](Self::with_free) said.
    pub fn add(&self, server: &Server, connection: &Rc<Connection>, length: usize) {
        let start = self.used.get();
        let connection = Rc::clone(connection);
        self.arrivals.borrow_mut().push(Arrival { connection, start, length });
        self.used.set(start + length);
        let full = ARENA_BYTES - self.used.get() < READ_BUFFER_BYTES
            || self.arrivals.borrow().len() >= ARRIVALS_MAX;
        if full || length >= LARGE_BYTES {
            self.run(server);
            turn::end_if_full();
        }
    }

    /// Lends the look-ahead of a single connection.
    pub fn beyond(&self) -> std::cell::RefMut<'_, Ahead> {
        self.beyond.borrow_mut()
    }

    /// Rests for some microseconds if that lets requests gather.
    pub fn rest(&self, length_us: impl FnOnce() -> u64) {
        if !self.crowd.wants_rest() {
            return;
        }
        let length_us = length_us();
        if length_us > 0 {
            // Nothing else is to be done on this thread, and what comes meanwhile waits in the kernel.
            std::thread::sleep(Duration::from_micros(length_us));
        }
    }

    /// Executes what was read.
    pub fn run(&self, server: &Server) {
        if self.arrivals.borrow().is_empty() {
            return;
        }
        let mut arrivals = self.arrivals.replace(self.spare.take());
        {
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
                    arrival.connection.plan(&mut engine, bytes, &mut ahead);
                    count += 1;
                }
                ahead.prefetch(&engine.keyspace);
                engine.refresh();
                let window = self.crowd.begin(engine.keyspace.shared.now_ms.get());
                for arrival in &rest[..count] {
                    self.crowd.note(arrival.connection.taken(window));
                    let bytes = &arena[arrival.start..][..arrival.length];
                    arrival.connection.take_in(&mut engine, bytes, &ahead);
                }
                rest = &rest[count..];
            }
        }
        arrivals.clear();
        self.spare.replace(arrivals);
        self.used.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A turn at `now_ms` that serves these clients, of which each has its last window in `seen`.
    fn turn(crowd: &Crowd, seen: &mut [i64], now_ms: i64, clients: std::ops::Range<usize>) -> bool {
        let window = crowd.begin(now_ms);
        for client in clients {
            crowd.note(std::mem::replace(&mut seen[client], window) != window);
        }
        crowd.wants_rest()
    }

    #[test]
    fn only_a_crowd_served_a_few_at_a_time_is_waited_for() {
        let (crowd, mut seen) = (Crowd::default(), [0; 50]);
        assert!(!turn(&crowd, &mut seen, 1000, 0..8), "few clients so far");
        assert!(!turn(&crowd, &mut seen, 1000, 8..28), "many at a time");
        assert!(turn(&crowd, &mut seen, 1000, 28..31), "thirty-one ask, three at a time");
    }

    #[test]
    fn a_lone_client_never_waits_however_much_it_asks() {
        let (crowd, mut seen) = (Crowd::default(), [0; 50]);
        for turns in 0..1000 {
            assert!(!turn(&crowd, &mut seen, 1000 + turns / 100, 0..1));
        }
    }

    #[test]
    fn a_crowd_that_has_gone_is_forgotten() {
        let (crowd, mut seen) = (Crowd::default(), [0; 50]);
        turn(&crowd, &mut seen, 1000, 0..50);
        assert!(turn(&crowd, &mut seen, 1002, 0..2), "the last window counts");
        assert!(!turn(&crowd, &mut seen, 1010, 0..2));
        assert!(!crowd.wants_rest(), "a turn that served nobody");
    }
}
