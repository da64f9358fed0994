//! Many sockets that are rarely used, watched together. Each costs its descriptor and what the kernel keeps of it; a socket of the
//! runtime's has a place in the runtime and a task that waits for it besides, a kilobyte and more.
//!
//! The kernel's own set of descriptors is a descriptor that the runtime waits for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::Timespec;
use tokio::io::unix::AsyncFd;

use super::descriptor;

/// Sockets that are told of at once.
const EVENTS_MAX: usize = 64;

/// A set of sockets.
#[derive(Debug)]
pub struct Watch {
    set: AsyncFd<OwnedFd>,
}

/// A socket with which there is something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// The number that it was given.
    pub id: u64,
    /// There is something to read, be it the end or an error.
    pub is_readable: bool,
    /// There is room for what is to be sent.
    pub has_room: bool,
}

fn flags(wants_room: bool) -> EventFlags {
    let more = if wants_room { EventFlags::OUT } else { EventFlags::empty() };
    EventFlags::IN | EventFlags::RDHUP | more
}

impl Watch {
    /// An empty set, of the runtime that this is called in.
    ///
    /// # Errors
    /// The system's words: out of descriptors, most likely.
    pub fn new() -> io::Result<Self> {
        let set = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { set: descriptor::readable(set)? })
    }

    /// Watches a socket, which is told of by this number, until it is closed.
    ///
    /// # Errors
    /// The system's words.
    pub fn add(&self, socket: impl AsFd, id: u64) -> io::Result<()> {
        Ok(epoll::add(self.set.get_ref(), socket, EventData::new_u64(id), flags(false))?)
    }

    /// Has a socket told of, or no more, when there is room for what is to be sent.
    ///
    /// # Errors
    /// The system's words.
    pub fn want_room(&self, socket: impl AsFd, id: u64, wants: bool) -> io::Result<()> {
        Ok(epoll::modify(self.set.get_ref(), socket, EventData::new_u64(id), flags(wants))?)
    }

    /// Waits for sockets with which there is something to do, and puts them into `into`. One with which this has not been done is told
    /// of again.
    ///
    /// # Errors
    /// The system's words.
    pub async fn ready(&self, into: &mut Vec<Ready>) -> io::Result<()> {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut events = Vec::with_capacity(EVENTS_MAX);
        into.clear();
        loop {
            let mut guard = self.set.readable().await?;
            match epoll::wait(self.set.get_ref(), spare_capacity(&mut events), Some(&at_once)) {
                Ok(0) => guard.clear_ready(),
                Ok(_) => break,
                Err(error) if error == rustix::io::Errno::INTR => {}
                Err(error) => return Err(error.into()),
            }
        }
        into.extend(events.iter().map(|event| {
            let flags = event.flags;
            Ready {
                id: event.data.u64(),
                is_readable: flags.intersects(EventFlags::all().difference(EventFlags::OUT)),
                has_room: flags.contains(EventFlags::OUT),
            }
        }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;
    use crate::net::turn;

    async fn ready(watch: &Watch) -> Vec<Ready> {
        let mut found = Vec::new();
        let waited = tokio::time::timeout(Duration::from_secs(5), watch.ready(&mut found)).await;
        waited.expect("in time").expect("ready");
        found.sort_by_key(|ready| ready.id);
        found
    }

    fn pair() -> (UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("a socket");
        (ours, theirs)
    }

    #[test]
    fn sockets_are_told_of_while_there_is_something_to_do() {
        turn::runtime().expect("a runtime").block_on(async {
            let watch = Watch::new().expect("a set");
            let (mut one, mut far_one) = pair();
            let (mut two, far_two) = pair();
            watch.add(&one, 1).expect("added");
            watch.add(&two, 2).expect("added");
            let reads = |id: u64| Ready { id, is_readable: true, has_room: false };
            far_one.write_all(b"xy").expect("written");
            let mut byte = [0];
            for expected in b"xy" {
                // What was left is told of again.
                assert_eq!(ready(&watch).await, [reads(1)]);
                one.read_exact(&mut byte).expect("a byte");
                assert_eq!(byte[0], *expected);
            }
            let nothing = tokio::time::timeout(Duration::from_millis(20), ready(&watch)).await;
            assert!(nothing.is_err(), "{nothing:?}");
            drop(far_two);
            far_one.write_all(b"z").expect("written");
            assert_eq!(ready(&watch).await, [reads(1), reads(2)]);
            assert_eq!(two.read(&mut byte).expect("the end"), 0);
            drop(two);
            one.read_exact(&mut byte).expect("a byte");
            while one.write(&[0; 4096]).is_ok() {}
            watch.want_room(&one, 1, true).expect("changed");
            let nothing = tokio::time::timeout(Duration::from_millis(20), ready(&watch)).await;
            assert!(nothing.is_err(), "{nothing:?}");
            // There is room when most of it has been read.
            far_one.set_nonblocking(true).expect("a socket");
            while far_one.read(&mut [0; 4096]).is_ok() {}
            assert_eq!(ready(&watch).await, [Ready { id: 1, is_readable: false, has_room: true }]);
            watch.want_room(&one, 1, false).expect("changed");
            let nothing = tokio::time::timeout(Duration::from_millis(20), ready(&watch)).await;
            assert!(nothing.is_err(), "{nothing:?}");
        });
    }
}
