//! The task of a client: reads what it sends and hands it to be dispatched.
//!
//! Everything is borrowed for the length of a batch; nothing is held while the task waits.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use redstart_common::net::{buffer, turn};
use tokio::io::ReadBuf;

use super::{ClientId, Gone, dispatch};
use crate::output::keep;
use crate::worker::{Core, Worker};

/// A kept rest of at most this many bytes is copied in front of what is read next; a longer one is appended to.
const PREFIX_BYTES_MAX: usize = 8 * 1024;
/// Reads after which other clients get their turn.
const READS_MAX: u32 = 16;

/// Serves a client until it is gone.
pub async fn serve(worker: Rc<Worker>, id: ClientId) {
    poll_fn(|cx| poll(&worker, id, cx)).await;
}

enum Step {
    /// Nothing to read now.
    Wait,
    /// There may be more.
    Again,
    /// The client is gone.
    End,
}

fn poll(worker: &Rc<Worker>, id: ClientId, cx: &mut Context<'_>) -> Poll<()> {
    for _ in 0..READS_MAX {
        let step = step(worker, id, cx);
        worker.end_turn_if_full();
        match step {
            Step::Wait => return Poll::Pending,
            Step::End => return Poll::Ready(()),
            Step::Again => {}
        }
    }
    // A client that never stops sending must neither starve the others nor keep the turn from ending.
    turn::end();
    turn::go_on_after_the_others(cx);
    Poll::Pending
}

/// Bytes that are read of a client while nothing it sends is looked at.
const AHEAD_BYTES_MAX: usize = 1 << 20;

/// Reads what a client sends while it waits for something to happen: not to look at it, but to see whether it is still there.
fn read_ahead(core: &mut Core, id: ClientId, cx: &mut Context<'_>) -> Step {
    buffer::with_read_buffer(|shared| {
        let Some(client) = core.down.clients.get_mut(id) else { return Step::End };
        if client.input.len() >= AHEAD_BYTES_MAX {
            return Step::Wait;
        }
        let mut space = ReadBuf::new(shared);
        match client.stream.poll_read(cx, &mut space) {
            Poll::Pending => Step::Wait,
            Poll::Ready(Ok(())) if !space.filled().is_empty() => {
                client.input.extend_from_slice(space.filled());
                Step::Again
            }
            Poll::Ready(ended) => {
                let why = if ended.is_ok() { Gone::Left } else { Gone::Failed };
                core.close_client(id, why);
                Step::End
            }
        }
    })
}

fn step(worker: &Rc<Worker>, id: ClientId, cx: &mut Context<'_>) -> Step {
    let core = &mut *worker.core.borrow_mut();
    let in_flight_max = core.limits.in_flight_max;
    let Some(client) = core.down.clients.get_mut(id) else { return Step::End };
    if client.waker.is_none() {
        client.waker = Some(cx.waker().clone());
    }
    if client.blocked {
        match client.output.poll_send(&mut client.stream, cx) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => {
                client.blocked = false;
                core.down.clients.mark(id);
            }
            Poll::Ready(Err(_)) => {
                core.close_client(id, Gone::Failed);
                return Step::End;
            }
        }
    }
    let Some(client) = core.down.clients.get_mut(id) else { return Step::End };
    if client.must_wait(in_flight_max) {
        client.paused = true;
        return if client.is_waiting() { read_ahead(core, id, cx) } else { Step::Wait };
    }
    if client.paused {
        client.paused = false;
        if !client.input.is_empty() {
            let input = std::mem::take(&mut client.input);
            dispatch::owned_batch(core, id, input);
            return Step::Again;
        }
    }
    buffer::with_read_buffer(|shared| {
        let Some(client) = core.down.clients.get_mut(id) else { return Step::End };
        let kept = client.input.len();
        let prefix = if kept <= PREFIX_BYTES_MAX.min(shared.len() / 2) { kept } else { 0 };
        shared[..prefix].copy_from_slice(&client.input[..prefix]);
        let mut space = ReadBuf::new(&mut shared[prefix..]);
        let count = match client.stream.poll_read(cx, &mut space) {
            Poll::Pending => return Step::Wait,
            Poll::Ready(Ok(())) => space.filled().len(),
            Poll::Ready(Err(_)) => {
                core.close_client(id, Gone::Failed);
                return Step::End;
            }
        };
        if count == 0 {
            // It sends no more, but it may still read: what it asked for is answered first.
            let has_output = !client.output.is_empty() || client.stream.is_behind();
            if client.pending.is_empty() && !has_output {
                core.close_client(id, Gone::Left);
                return Step::End;
            }
            client.closing.get_or_insert(Gone::Left);
            return Step::Wait;
        }
        if kept > prefix {
            let mut input = std::mem::take(&mut client.input);
            input.extend_from_slice(&shared[..count]);
            dispatch::owned_batch(core, id, input);
        } else {
            let bytes = &shared[..prefix + count];
            let used = dispatch::batch(core, id, bytes);
            if let Some(client) = core.down.clients.get_mut(id) {
                let wanted = client.scanner.wanted().unwrap_or(0);
                keep(&mut client.input, &bytes[used..], wanted);
            }
        }
        Step::Again
    })
}
