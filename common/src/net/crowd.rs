//! How many clients ask at the same time, and for how much at once: by this a thread decides whether to rest.
//!
//! With many clients that each ask for little, a thread that is quicker than they are serves one or two of them a
//! turn, and the waiting, waking and sleeping around a turn costs more than the requests. A rest of some microseconds
//! lets several gather, which then share it. Few clients, or busy turns, need none.

use std::cell::Cell;

/// Microseconds in which whoever asks belongs to the same crowd.
const WINDOW_US: u64 = 2048;
/// Clients that are a crowd.
const CROWD_MIN: u32 = 16;

/// When a client has last asked: the crowd's mark on it.
#[derive(Debug, Default)]
pub struct LastAsked(Cell<u64>);

/// The clients that ask a thread.
#[derive(Debug, Default)]
pub struct Crowd {
    window: Cell<u64>,
    asking: Cell<u32>,
    before: Cell<u32>,
    served: Cell<u32>,
    reads: Cell<u32>,
    asked: Cell<u32>,
    depth: Cell<u32>,
}

impl Crowd {
    /// A client has asked for so many things at once. Any clock of microseconds will do.
    #[inline]
    pub fn note(&self, client: &LastAsked, now_us: u64, things: u32) {
        // Windows count from one, so that a client without a mark belongs to none.
        let window = now_us / WINDOW_US + 1;
        if window != self.window.get() {
            let follows = window == self.window.get() + 1;
            self.before.set(if follows { self.asking.get() } else { 0 });
            self.asking.set(0);
            self.window.set(window);
        }
        if client.0.replace(window) != window {
            self.asking.set(self.asking.get() + 1);
        }
        self.served.set(self.served.get() + 1);
        self.reads.set(self.reads.get() + 1);
        self.asked.set(self.asked.get().saturating_add(things));
    }

    /// Clients that have asked in the present window of time or in the one before, whichever had more. 0 when they are
    /// too few to wait for.
    #[inline]
    #[must_use]
    pub fn size(&self) -> u32 {
        let size = self.asking.get().max(self.before.get());
        if size < CROWD_MIN { 0 } else { size }
    }

    /// How often clients have asked since this was last called: once a turn.
    #[inline]
    #[must_use]
    pub fn take_served(&self) -> u32 {
        self.served.take()
    }

    /// How many things a client asks for at once, on average since this was last called.
    #[inline]
    #[must_use]
    pub fn depth(&self) -> u32 {
        if let Some(depth) = self.asked.take().checked_div(self.reads.take()) {
            self.depth.set(depth);
        }
        self.depth.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(crowd: &Crowd, clients: &[LastAsked], now_us: u64) -> u32 {
        clients.iter().for_each(|client| crowd.note(client, now_us, 1));
        crowd.size()
    }

    fn clients(count: usize) -> Vec<LastAsked> {
        (0..count).map(|_| LastAsked::default()).collect()
    }

    #[test]
    fn many_clients_are_a_crowd_and_a_busy_one_is_not() {
        let (crowd, all) = (Crowd::default(), clients(50));
        assert_eq!(ask(&crowd, &all[..15], 10), 0);
        for turn in 0..1000 {
            assert_eq!(ask(&crowd, &all[..1], turn), 0, "the same client again");
        }
        assert_eq!(ask(&crowd, &all[15..], 1000), 50);
    }

    #[test]
    fn a_crowd_is_known_for_a_window_and_then_forgotten() {
        let (crowd, all) = (Crowd::default(), clients(50));
        ask(&crowd, &all, 0);
        assert_eq!(ask(&crowd, &all[..2], WINDOW_US), 50, "the window before counts");
        assert_eq!(ask(&crowd, &all[..2], 2 * WINDOW_US), 0);
        ask(&crowd, &all, 3 * WINDOW_US);
        assert_eq!(ask(&crowd, &all[..2], 5 * WINDOW_US), 0, "a window was empty");
    }

    #[test]
    fn served_and_depth_are_those_since_the_last_look() {
        let (crowd, all) = (Crowd::default(), clients(3));
        assert_eq!((crowd.take_served(), crowd.depth()), (0, 0));
        crowd.note(&all[0], 0, 10);
        crowd.note(&all[1], 0, 20);
        assert_eq!((crowd.take_served(), crowd.depth()), (2, 15));
        assert_eq!((crowd.take_served(), crowd.depth()), (0, 15), "the last known depth");
        crowd.note(&all[2], 0, u32::MAX);
        crowd.note(&all[2], 0, 7);
        assert_eq!(crowd.depth(), u32::MAX / 2, "no overflow");
    }
}
