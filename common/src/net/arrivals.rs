//! Connections that have come and whose two ends have to agree first, as TLS demands.
//!
//! Their handshakes run beside everything else: what the other end says is awaited by a task, and worked out on another thread,
//! for it takes as long as hundreds of requests. Who says nothing is let go in time, and before that when its place is needed: the
//! one that has waited longest first. So a silent crowd keeps nobody out.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use super::Stream;
use super::layered::Handshake;

/// How long a handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes of a thread that are under way, at most.
const HANDSHAKES_MAX: usize = 1024;
/// Handshakes of a thread that are worked out at the same time.
const THREADS_MAX: usize = 2;

/// All of a thread's.
#[derive(Debug)]
pub struct Arrivals {
    /// In the order in which they came.
    waiting: RefCell<VecDeque<Rc<Arrival>>>,
    threads: Semaphore,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { waiting: RefCell::default(), threads: Semaphore::new(THREADS_MAX) }
    }
}

/// One of them.
#[derive(Debug)]
pub struct Arrival {
    /// Away while its handshake is worked out, or once [`Arrivals::go_on_now`] has given it.
    stream: RefCell<Option<Stream>>,
    /// It has to go.
    given_up: Notify,
}

/// Why two ends did not agree, and the connection, if it is at hand.
#[derive(Debug)]
pub struct Disagreement {
    /// Why.
    pub error: io::Error,
    /// Who it was.
    pub stream: Option<Stream>,
}

impl Arrivals {
    /// Takes a connection in, in whose favour the oldest of too many gives way.
    pub fn enter(&self, stream: Stream) -> Rc<Arrival> {
        let stream = RefCell::new(Some(stream));
        let arrival = Rc::new(Arrival { stream, given_up: Notify::new() });
        self.waiting.borrow_mut().push_back(Rc::clone(&arrival));
        self.keep_at_most(HANDSHAKES_MAX);
        arrival
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets those go that have waited longest, until no more than `most` are left.
    pub fn keep_at_most(&self, most: usize) {
        let mut waiting = self.waiting.borrow_mut();
        while waiting.len() > most {
            if let Some(oldest) = waiting.pop_front() {
                oldest.given_up.notify_one();
            }
        }
    }

    /// Carries out the handshake of one. `None` where [`go_on_now`](Self::go_on_now) has done that.
    ///
    /// # Errors
    /// That the ends do not agree, that time is over, or that others needed its place.
    pub async fn agree(&self, arrival: &Rc<Arrival>) -> Result<Option<Stream>, Disagreement> {
        let agreed = tokio::select! {
            agreed = self.carry_out(arrival) => agreed,
            () = arrival.given_up.notified() => Err(io::Error::other("others need its place")),
            () = tokio::time::sleep(HANDSHAKE_TIMEOUT) => Err(io::ErrorKind::TimedOut.into()),
        };
        self.waiting.borrow_mut().retain(|other| !Rc::ptr_eq(other, arrival));
        let stream = arrival.stream.take();
        match agreed {
            Ok(()) => Ok(stream),
            Err(error) => Err(Disagreement { error, stream }),
        }
    }

    async fn carry_out(&self, arrival: &Arrival) -> io::Result<()> {
        loop {
            let step = poll_fn(|cx| match arrival.stream.borrow_mut().as_mut() {
                Some(stream) => stream.poll_handshake(cx),
                None => Poll::Ready(Ok(Handshake::Done)),
            });
            let Handshake::Came(bytes) = step.await? else { return Ok(()) };
            // It is never closed.
            let _place = self.threads.acquire().await;
            let Some(mut stream) = arrival.stream.take() else { return Ok(()) };
            let working = tokio::task::spawn_blocking(move || {
                let outcome = stream.work_out(&bytes);
                (stream, outcome)
            });
            let (stream, outcome) = working.await.map_err(io::Error::other)?;
            arrival.stream.replace(Some(stream));
            outcome?;
        }
    }

    /// Goes on with all of them past the runtime, for those who cannot return to it now, and gives those that are through.
    pub fn go_on_now(&self) -> Vec<Result<Stream, Disagreement>> {
        let mut through = Vec::new();
        self.waiting.borrow_mut().retain(|arrival| {
            let mut place = arrival.stream.borrow_mut();
            let outcome = match place.as_mut().map(carry_out_now) {
                // It is being worked out.
                None => return true,
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Some(outcome) => outcome,
            };
            match (outcome, place.take()) {
                (Ok(()), stream) => through.extend(stream.map(Ok)),
                (Err(error), stream) => through.push(Err(Disagreement { error, stream })),
            }
            // Its task finds nothing left to do.
            arrival.given_up.notify_one();
            false
        });
        through
    }
}

fn carry_out_now(stream: &mut Stream) -> io::Result<()> {
    while let Handshake::Came(bytes) = stream.handshake_now()? {
        stream.work_out(&bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::layered::tests::awkward;
    use crate::net::memory;

    fn run<F: Future>(future: F) -> F::Output {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().expect("a runtime").block_on(future)
    }

    #[test]
    fn who_agrees_comes_in_and_who_is_silent_goes() {
        run(async {
            let arrivals = Arrivals::default();
            let (ours, theirs) = memory::pair(1000);
            let mut peer = awkward(theirs, 3, 1000, 1000);
            let arrival = arrivals.enter(awkward(ours, 3, 1000, 1000));
            let (through, heard) = tokio::join!(arrivals.agree(&arrival), peer.handshake());
            heard.expect("they agree");
            assert!(through.expect("they agree").is_some());
            assert!(arrivals.is_empty());

            let (ours, _silent) = memory::pair(1000);
            let arrival = arrivals.enter(awkward(ours, 3, 1000, 1000));
            let begun = tokio::time::Instant::now();
            let over = arrivals.agree(&arrival).await.expect_err("nobody answers");
            assert_eq!(over.error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(begun.elapsed().as_secs(), HANDSHAKE_TIMEOUT.as_secs());
            assert!(over.stream.is_some() && arrivals.is_empty());
        });
    }

    #[test]
    fn the_oldest_gives_way() {
        run(async {
            let arrivals = Arrivals::default();
            let silent: Vec<_> = (0..3).map(|_| memory::pair(1000)).collect();
            let (ours, _theirs): (Vec<_>, Vec<_>) = silent.into_iter().unzip();
            let entered: Vec<_> = ours
                .into_iter()
                .map(|stream| arrivals.enter(awkward(stream, 1, 1000, 1000)))
                .collect();
            arrivals.keep_at_most(2);
            let gone = arrivals.agree(&entered[0]).await.expect_err("it was let go");
            assert_eq!(gone.error.to_string(), "others need its place");
            assert_eq!(arrivals.len(), 2);
        });
    }

    #[test]
    fn past_the_runtime_they_go_on_too() {
        run(async {
            let arrivals = Arrivals::default();
            let (ours, theirs) = memory::pair(1000);
            let mut peer = awkward(theirs, 2, 1000, 1000);
            let arrival = arrivals.enter(awkward(ours, 2, 1000, 1000));
            let mut through = Vec::new();
            for _ in 0..4 {
                through.extend(arrivals.go_on_now());
                let _ = carry_out_now(&mut peer);
            }
            through.extend(arrivals.go_on_now());
            assert!(matches!(through.as_slice(), [Ok(_)]), "{through:?}");
            assert!(arrivals.is_empty());
            let left = arrivals.agree(&arrival).await;
            assert!(matches!(left, Err(Disagreement { stream: None, .. }) | Ok(None)));
        });
    }
}
