//! What a connection on which a server speaks unasked is driven by, whatever it says there.

use std::task::Waker;

/// The side of it that the worker's state holds.
#[derive(Debug, Default)]
pub struct Post {
    /// What is to be sent.
    pub out: Vec<u8>,
    /// Wakes its task.
    pub waker: Option<Waker>,
    /// Which connection it is: its task ends when another has its place, or none.
    pub number: u64,
    /// When the server last said anything, in microseconds of the worker's clock.
    pub heard_us: u64,
    /// When it was last asked whether it is there.
    pub pinged_us: u64,
}

impl Post {
    /// Has its task look at it.
    pub fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// It is open: the server has just been heard.
    pub fn opened(&mut self, now_us: u64) {
        (self.heard_us, self.pinged_us) = (now_us, now_us);
    }

    /// Asks whether the server is there, if it was not asked for so long. Says whether it has been silent for too long.
    pub fn look(&mut self, now_us: u64, ping_us: u64, silence_us: u64) -> bool {
        if self.heard_us + silence_us <= now_us {
            return true;
        }
        if self.pinged_us + ping_us <= now_us {
            self.pinged_us = now_us;
            self.out.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
            self.wake();
        }
        false
    }
}
