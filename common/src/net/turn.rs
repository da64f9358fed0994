//! The turn of an event loop: work is done per turn, not per request.
//!
//! A turn is all the tasks that were ready after one wait for the kernel. They read, parse, execute and append
//! to output buffers; nothing is sent. Just before the loop would wait again, the turn ends: first the hooks
//! run in order (log, replicas, backends), then every connection marked dirty is flushed, once.
//!
//! Tokio calls [`end`] through `on_thread_park`. When a thread is so busy that it never parks, the marks pile
//! up, so whoever marks calls [`end_if_full`] at a point where it holds no borrow of its own.
//!
//! ```text
//!   wait ─▶ read, execute, mark ─▶ … ─▶ hooks ─▶ flush every marked connection ─▶ wait
//! ```

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Context;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// Something with output that waits for the end of the turn.
pub trait Flush {
    /// Sends what is there without waiting; what the kernel does not take must be left to the owner's own task.
    fn flush(self: Rc<Self>);
}

/// Marks after which a turn ends even if the thread has more to do.
const MARKS_MAX: usize = 512;
/// Task polls between two looks at the poller when the thread is busy.
const EVENT_INTERVAL: u32 = 512;

struct Turn {
    dirty: RefCell<Vec<Rc<dyn Flush>>>,
    spare: RefCell<Vec<Rc<dyn Flush>>>,
    hooks: RefCell<Vec<Rc<dyn Fn()>>>,
    rests: RefCell<Vec<Rc<dyn Fn()>>>,
    ending: Cell<bool>,
}

thread_local! {
    static TURN: Turn = const {
        Turn {
            dirty: RefCell::new(Vec::new()),
            spare: RefCell::new(Vec::new()),
            hooks: RefCell::new(Vec::new()),
            rests: RefCell::new(Vec::new()),
            ending: Cell::new(false),
        }
    };
}

/// Builds the runtime of one engine or worker: single-threaded, with the end of the turn in its place.
///
/// # Errors
/// What creating the poller says.
pub fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .on_thread_park(park)
        .build_local(LocalOptions::default())
}

/// As [`runtime`], for a simulation: its time is virtual and passes when nobody has anything to do.
///
/// # Errors
/// As [`runtime`].
pub fn simulated_runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .event_interval(EVENT_INTERVAL)
        .on_thread_park(park)
        .build_local(LocalOptions::default())
}

/// Adds a hook that runs at the end of every turn of this thread, before connections are flushed.
pub fn add_hook(hook: impl Fn() + 'static) {
    TURN.with(|turn| turn.hooks.borrow_mut().push(Rc::new(hook)));
}

/// Adds a hook that runs before every wait of this thread, when everything has been sent.
pub fn add_rest(hook: impl Fn() + 'static) {
    TURN.with(|turn| turn.rests.borrow_mut().push(Rc::new(hook)));
}

/// Marks a connection for flushing at the end of this turn. The caller marks it once until it is flushed.
pub fn mark(connection: Rc<dyn Flush>) {
    TURN.with(|turn| turn.dirty.borrow_mut().push(connection));
}

/// Ends the turn now if many connections wait. Call it where nothing of the engine is borrowed.
pub fn end_if_full() {
    if TURN.with(|turn| turn.dirty.borrow().len() >= MARKS_MAX) {
        end();
    }
}

/// Runs hooks that may add others.
fn run(hooks: &RefCell<Vec<Rc<dyn Fn()>>>) {
    let count = hooks.borrow().len();
    for place in 0..count {
        let hook = hooks.borrow().get(place).map(Rc::clone);
        if let Some(hook) = hook {
            hook();
        }
    }
}

/// Ends the turn, and rests where that is wanted.
fn park() {
    end();
    // As in `end`.
    let _ = TURN.try_with(|turn| run(&turn.rests));
}

/// The task that calls this goes on after another look at the poller, which is there for those who are ready meanwhile. A task
/// that wakes itself is run again before that: a busy one would keep everybody else out for [`EVENT_INTERVAL`] of its polls.
pub fn go_on_after_the_others(cx: &mut Context<'_>) {
    // What is polled once has asked to be woken then, and is not needed any more.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

/// Ends the turn: runs the hooks, then flushes every marked connection. Does nothing when called from within.
pub fn end() {
    // The thread-local is gone while the thread is being torn down, and parking then has nothing to flush.
    let _ = TURN.try_with(|turn| {
        if turn.ending.replace(true) {
            return;
        }
        run(&turn.hooks);
        // A flush may mark others (a client closed by it, say), so go on until none is left.
        while !turn.dirty.borrow().is_empty() {
            let mut batch = turn.spare.take();
            std::mem::swap(&mut batch, &mut *turn.dirty.borrow_mut());
            for connection in batch.drain(..) {
                connection.flush();
            }
            turn.spare.replace(batch);
        }
        turn.ending.set(false);
    });
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::task::Poll;

    use tokio::io::AsyncReadExt;

    use super::*;

    #[test]
    fn a_busy_task_lets_those_in_who_become_ready() {
        runtime().expect("a runtime").block_on(async {
            let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
            theirs.set_nonblocking(true).expect("a socket");
            let mut theirs = tokio::net::UnixStream::from_std(theirs).expect("a socket");
            let (heard, polls) = (Rc::new(Cell::new(false)), Cell::new(0));
            let is_heard = Rc::clone(&heard);
            let reader = tokio::task::spawn_local(async move {
                theirs.read_u8().await.expect("a byte");
                is_heard.set(true);
            });
            poll_fn(|cx| {
                polls.set(polls.get() + 1);
                match polls.get() {
                    1 => ours.write_all(b"x").expect("there is room"),
                    _ if heard.get() => return Poll::Ready(()),
                    _ => {}
                }
                go_on_after_the_others(cx);
                Poll::Pending
            })
            .await;
            reader.await.expect("it has read");
            assert!(polls.get() < 10, "{} polls", polls.get());
        });
    }

    struct Counted {
        name: &'static str,
        seen: Rc<RefCell<Vec<&'static str>>>,
    }

    impl Flush for Counted {
        fn flush(self: Rc<Self>) {
            self.seen.borrow_mut().push(self.name);
            if self.name == "first" {
                mark(Rc::new(Self { name: "marked by a flush", seen: Rc::clone(&self.seen) }));
            }
        }
    }

    #[test]
    fn hooks_run_before_flushes_and_late_marks_are_served() {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let hook_seen = Rc::clone(&seen);
        add_hook(move || hook_seen.borrow_mut().push("hook"));
        mark(Rc::new(Counted { name: "first", seen: Rc::clone(&seen) }));
        mark(Rc::new(Counted { name: "second", seen: Rc::clone(&seen) }));
        end();
        assert_eq!(*seen.borrow(), ["hook", "first", "second", "marked by a flush"]);
    }

    #[test]
    fn the_runtime_ends_a_turn_before_it_waits() {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let in_task = Rc::clone(&seen);
        runtime().expect("a runtime").block_on(async move {
            mark(Rc::new(Counted { name: "marked", seen: in_task }));
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        });
        assert_eq!(*seen.borrow(), ["marked"]);
    }
}
