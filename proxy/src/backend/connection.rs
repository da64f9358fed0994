//! The task of a server connection: opens it, then reads replies and hands each to whoever is owed it.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use redstart_common::log;
use redstart_common::net::{buffer, turn};
use redstart_common::resp::{ReplyLimits, ReplyScanner};
use tokio::io::ReadBuf;

use super::again::{Waiting, is_turned_away};
use super::pipeline::Target;
use super::skipper::Skipper;
use super::{Backend, Duty, Link, Streaming, error_text, probe};
use crate::client::chores::Chore;
use crate::client::fate::Loss;
use crate::client::{forward, redirect};
use crate::downstream::Downstream;
use crate::output::{LARGE_BYTES, keep};
use crate::route::heavy::{self, Heavies};
use crate::worker::{Core, Worker};

/// A kept rest of at most this many bytes is copied in front of what is read next; a longer one is appended to.
const PREFIX_BYTES_MAX: usize = 8 * 1024;
/// Bytes of an incomplete reply to a part of a split request from which on it is passed on as it comes.
const FLOW_BYTES: usize = 128 * 1024;
/// How a reply begins of a server that has not loaded its data.
const LOADING: &[u8] = b"-LOADING ";
/// Reads after which other connections get their turn.
const READS_MAX: u32 = 16;
/// The same on a connection whose replies are large by nature.
const READS_HEAVY_MAX: u32 = 2;

/// Opens a connection and serves it until it ends. `epoch` is that of the place when the connection was wanted: in another it is
/// not wanted any more, and closed as soon as it is open, if the place has been given to another before this begins as well.
pub async fn run(worker: Rc<Worker>, backend: usize, epoch: u32) {
    let (shared, server, manner, reads, is_private) = {
        let core = &mut *worker.core.borrow_mut();
        let it = core.up.get_mut(backend);
        let shared = Arc::clone(&core.pools[it.pool].shared);
        let is_private = matches!(it.duty, Duty::Private { .. });
        (shared, Arc::clone(&it.server), it.manner, it.reads, is_private)
    };
    let settings = &shared.settings;
    let opened = if is_private {
        probe::open_private(settings, &server, manner).await
    } else {
        probe::open(settings, &server, manner, reads).await.map(|stream| (stream, 0))
    };
    {
        let core = &mut *worker.core.borrow_mut();
        if core.up.get_mut(backend).epoch != epoch {
            return;
        }
        match opened {
            Ok((stream, remote_id)) => {
                let it = core.up.get_mut(backend);
                it.remote_id = remote_id;
                core.pools[it.pool].stats.server_connections_total += 1;
                let now_us = core.clock.now_us();
                core.up.opened(backend, stream, now_us);
                if server.is_told_down.swap(false, Ordering::Relaxed) {
                    log!(
                        Notice,
                        "pool '{}': server '{}' can be reached again",
                        settings.name,
                        server.name
                    );
                }
            }
            Err(error) => {
                let why = error_text(&error);
                // It is tried again and again, by every worker: what is new is said once.
                if !server.is_told_down.swap(true, Ordering::Relaxed) {
                    log!(
                        Warning,
                        "pool '{}': cannot connect to server '{}': {why}",
                        settings.name,
                        server.name
                    );
                }
                // A lack of descriptors is no fault of the server's.
                let is_ours = error.raw_os_error().is_some_and(|code| {
                    use nix::errno::Errno;
                    matches!(Errno::from_raw(code), Errno::EMFILE | Errno::ENFILE)
                });
                let how = match error.kind() {
                    _ if is_private && is_ours => Ending::Turned,
                    io::ErrorKind::Unsupported => Ending::Refused,
                    io::ErrorKind::TimedOut => Ending::Silence,
                    _ => Ending::Error,
                };
                core.close_backend(backend, &why, how);
                return;
            }
        }
    }
    poll_fn(|cx| poll(&worker, backend, epoch, cx)).await;
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The server closed it.
    Eof,
    /// It failed, or the server talked nonsense.
    Error,
    /// The server was silent for too long.
    Silence,
    /// The server turned requests away.
    Turned,
    /// The server lacks the database that was asked for.
    Refused,
    /// The server is taken to be down, and requests for it are refused from now on.
    Barred,
}

enum Step {
    Wait,
    Again,
    End,
}

fn poll(worker: &Rc<Worker>, backend: usize, epoch: u32, cx: &mut Context<'_>) -> Poll<()> {
    let is_heavy = worker.core.borrow_mut().up.get_mut(backend).is_heavy;
    for _ in 0..if is_heavy { READS_HEAVY_MAX } else { READS_MAX } {
        let step = step(worker, backend, epoch, cx);
        worker.end_turn_if_full();
        match step {
            Step::Wait => return Poll::Pending,
            Step::End => return Poll::Ready(()),
            Step::Again => {}
        }
    }
    turn::end();
    turn::go_on_after_the_others(cx);
    Poll::Pending
}

fn step(worker: &Rc<Worker>, backend: usize, epoch: u32, cx: &mut Context<'_>) -> Step {
    let core = &mut *worker.core.borrow_mut();
    let it = core.up.get_mut(backend);
    if it.epoch != epoch {
        return Step::End;
    }
    if !it.is_up() {
        return Step::End;
    }
    if it.waker.is_none() {
        it.waker = Some(cx.waker().clone());
    }
    if it.blocked && !it.is_turned() {
        match it.poll_write(cx) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => {
                it.blocked = false;
                it.unsent = 0;
            }
            Poll::Ready(Err(error)) => {
                core.close_backend(backend, &error_text(&error), Ending::Error);
                return Step::End;
            }
        }
    }
    buffer::with_read_buffer(|shared| {
        let it = core.up.get_mut(backend);
        let Link::Up(stream) = &mut it.link else { return Step::End };
        let kept = it.input.len();
        let prefix = if kept <= PREFIX_BYTES_MAX.min(shared.len() / 2) { kept } else { 0 };
        shared[..prefix].copy_from_slice(&it.input[..prefix]);
        let mut space = ReadBuf::new(&mut shared[prefix..]);
        let count = match stream.poll_read(cx, &mut space) {
            Poll::Pending => return Step::Wait,
            Poll::Ready(Ok(())) => space.filled().len(),
            Poll::Ready(Err(error)) => {
                core.close_backend(backend, &error_text(&error), Ending::Error);
                return Step::End;
            }
        };
        if count == 0 {
            let why = nix::errno::Errno::ECONNRESET.desc();
            core.close_backend(backend, why, Ending::Eof);
            return Step::End;
        }
        it.quiet_since_us = std::mem::replace(&mut it.heard_us, core.clock.now_us());
        let mut input = std::mem::take(&mut it.input);
        let used = if kept > prefix {
            input.extend_from_slice(&shared[..count]);
            replies_owned(core, backend, &mut input)
        } else {
            let bytes = &shared[..prefix + count];
            replies(core, backend, bytes).inspect(|used| {
                let wanted = core.up.get_mut(backend).scanner.wanted().unwrap_or(0);
                keep(&mut input, &bytes[*used..], wanted);
            })
        };
        match used {
            Ok(_) => {
                let it = core.up.get_mut(backend);
                // What a reply said may have changed the picture, and let go of this very connection.
                if it.epoch != epoch {
                    buffer::give(input);
                    return Step::End;
                }
                it.input = input;
                if it.has_left() {
                    core.release_backend(backend);
                    return Step::End;
                }
                if it.is_done_turning() {
                    core.turned_away(backend);
                    return Step::End;
                }
                Step::Again
            }
            Err(Nonsense) => {
                let it = core.up.get_mut(backend);
                let settings = &core.pools[it.pool].shared.settings;
                log!(
                    Warning,
                    "pool '{}': server '{}' sent what is no reply; its connection is closed",
                    settings.name,
                    it.server.name
                );
                core.close_backend(backend, "Invalid argument", Ending::Error);
                Step::End
            }
        }
    })
}

/// The server sent something that is no reply, or a reply that nobody asked for.
#[derive(Debug)]
struct Nonsense;

/// Hands on every complete reply in `bytes`. Says how many bytes are used up.
fn replies(core: &mut Core, backend: usize, bytes: &[u8]) -> Result<usize, Nonsense> {
    let now_us = core.clock.now_us();
    let Core { up, down, pools, .. } = core;
    let it = up.get_mut(backend);
    let heavies = &mut pools[it.pool].heavies;
    // Only of the first can be said how long the server took for it by itself.
    let mut quiet_since_us = Some(it.quiet_since_us);
    let mut at = 0;
    let mut well = false;
    let mut refusal = None;
    let mut turned = Vec::new();
    let mut fallen = Waiting::default();
    while at < bytes.len() {
        let rest = &bytes[at..];
        if let Some(streaming) = &mut it.streaming {
            let (count, complete) = streaming.skipper.feed(rest).map_err(|_| Nonsense)?;
            at += count;
            let client = streaming.client;
            it.counters.response_bytes += count as u64;
            streaming.bytes += count as u64;
            let bytes = streaming.bytes;
            if let Some((gather, part)) = streaming.part {
                down.flow(gather, part, &rest[..count], complete, now_us);
            } else if let Some(client) = client {
                down.clients.stream(client, &rest[..count]);
            }
            if complete {
                it.streaming = None;
                quiet_since_us = None;
                let slot = it.pipeline.pop().ok_or(Nonsense)?;
                if bytes >= heavy::BYTES || it.is_heavy {
                    weigh(heavies, down, slot.target, bytes, None);
                }
                it.answered(&slot);
                it.counters.responses += 1;
                it.counters.latency.record(now_us.saturating_sub(slot.at_us));
                if let Target::Client { id, .. }
                | Target::Script { id, .. }
                | Target::Fill { id, .. } = slot.target
                {
                    down.clients.end_stream(id, now_us);
                } else if let Target::Private { id, sequence } = slot.target {
                    down.clients.end_stream(id, now_us);
                    down.chores.push(Chore::Settled { id, sequence, is_error: false });
                }
                well = true;
            }
            continue;
        }
        match it.scanner.scan(rest, &ReplyLimits::default()) {
            Ok(Some(len)) => {
                let reply = &rest[..len];
                at += len;
                // Nobody asked: a RESP3 push belongs to no request.
                if reply[0] == b'>' {
                    continue;
                }
                let slot = it.pipeline.pop().ok_or(Nonsense)?;
                it.counters.responses += 1;
                it.counters.response_bytes += len as u64;
                let service_us =
                    quiet_since_us.take().map(|us| now_us.saturating_sub(us.max(slot.at_us)));
                if it.is_heavy || service_us.is_some_and(|us| us >= heavy::SERVICE_US) {
                    weigh(heavies, down, slot.target, len as u64, service_us);
                }
                let is_refusal = reply[0] == b'-' && {
                    it.counters.error_responses += 1;
                    is_turned_away(reply)
                };
                if is_refusal {
                    refusal = Some((slot.at_us, reply.starts_with(LOADING)));
                    // What it was to be told of with this request it does not know.
                    it.carried.clear();
                }
                it.counters.latency.record(now_us.saturating_sub(slot.at_us));
                if it.keeps {
                    let is_error = reply[0] == b'-';
                    let is_elsewhere = is_error
                        && (it.reads && it.falls_back(slot, reply, &mut fallen)
                            || it.follows && it.redirected(slot, reply, &mut turned));
                    let is_away = is_elsewhere
                        || ((is_error || it.is_turned()) && it.turn_away(slot, reply, now_us));
                    it.answered(&slot);
                    if is_away {
                        continue;
                    }
                } else if it.follows && reply[0] == b'-' {
                    let why = it.aborted_by_redirect(&slot, reply);
                    if let (Some(why), Target::Private { id, sequence }) = (why, slot.target) {
                        let loss = Loss::Redirected;
                        down.chores.push(Chore::Lost { id, sequence, loss, why });
                        continue;
                    }
                }
                well |= slot.target != Target::Nobody && !is_refusal;
                match slot.target {
                    Target::Client { id, sequence } => {
                        down.clients.answer(id, sequence, reply, now_us);
                    }
                    target => down.answer(target, reply, now_us),
                }
            }
            Ok(None) => {
                if rest.len() >= LARGE_BYTES
                    && rest[0] != b'>'
                    && begin_stream(it, down, rest.len(), now_us)
                {
                    continue;
                }
                break;
            }
            Err(_) => return Err(Nonsense),
        }
    }
    if well && it.suspect {
        let (pool, server) = (it.pool, it.server.id);
        if it.server.is_told_silent.swap(false, Ordering::Relaxed) {
            let name = &core.pools[pool].shared.settings.name;
            log!(Notice, "pool '{name}': server '{}' answers again", it.server.name);
        }
        up.is_well(backend);
        core.pools[pool].shared.succeeded(server);
    }
    if !fallen.slots.is_empty() {
        let it = core.up.get_mut(backend);
        let (pool, lane) = (it.pool, it.lane);
        let shard = match it.duty {
            Duty::Shared { shard, .. } => Some(shard),
            Duty::Private { .. } | Duty::Leaving | Duty::Limbo => None,
        };
        forward::again(core, pool, shard, lane, &fallen);
    }
    if !turned.is_empty() {
        let it = core.up.get_mut(backend);
        let (pool, lane, by) = (it.pool, it.lane, it.server.address.clone());
        redirect::follow(core, pool, lane, by.as_ref(), turned);
    }
    if let Some((since_us, is_loading)) = refusal {
        core.note_refusal(backend, since_us, is_loading);
    }
    Ok(at)
}

/// Begins to pass on the reply at hand piece by piece, if that is possible: it goes to a client whose turn it is,
/// or to nobody.
fn begin_stream(it: &mut Backend, down: &mut Downstream, bytes: usize, now_us: u64) -> bool {
    if it.is_turned() {
        it.turn_large_away(now_us);
    }
    if let Some(Target::Hedged { number, is_copy }) = it.pipeline.front() {
        match down.begins_hedged(number, is_copy) {
            Some(target) => it.pipeline.retarget_front(target),
            None => return false,
        }
    }
    let mut part = None;
    let client = match it.pipeline.front() {
        Some(
            Target::Client { id, sequence }
            | Target::Script { id, sequence }
            | Target::Fill { id, sequence }
            | Target::Private { id, sequence },
        ) => {
            if !down.clients.is_there(id) {
                None
            } else if !down.clients.may_stream(id, sequence) {
                return false;
            } else {
                down.clients.begin_stream(id).then_some(id)
            }
        }
        Some(Target::Nobody) => None,
        Some(Target::Part { gather, part: number }) => match down.gathers.client_of(gather) {
            // Its client is gone.
            None => None,
            Some(client) if bytes >= FLOW_BYTES && down.gathers.begin_flow(gather) => {
                part = Some((gather, number));
                Some(client)
            }
            Some(_) => return false,
        },
        Some(Target::Copy { .. } | Target::Hedged { .. }) | None => return false,
    };
    if let Some(Target::Script { id, sequence }) = it.pipeline.front() {
        down.has_script(id, sequence);
    }
    if let Some(Target::Fill { id, sequence }) = it.pipeline.front() {
        // What is large is there.
        down.chores.push(Chore::Found { id, sequence });
    }
    it.scanner = ReplyScanner::default();
    it.streaming = Some(Streaming { skipper: Skipper::default(), client, part, bytes: 0 });
    true
}

/// Takes note of how heavy a request was that is about to be answered.
#[cold]
fn weigh(heavies: &mut Heavies, down: &Downstream, target: Target, bytes: u64, us: Option<u64>) {
    if let Target::Client { id, sequence }
    | Target::Script { id, sequence }
    | Target::Fill { id, sequence } = down.hedges.target(target)
    {
        heavies.weigh(down.clients.tag_of(id, sequence), bytes, us);
    }
}

/// As [`replies`], with bytes that were kept: a single large reply is handed on without being copied. What is not
/// used up stays in `input`.
fn replies_owned(core: &mut Core, backend: usize, input: &mut Vec<u8>) -> Result<usize, Nonsense> {
    let it = core.up.get_mut(backend);
    if it.streaming.is_none()
        && !it.is_turned()
        && let Some(Target::Client { id, sequence }) = it.pipeline.front()
    {
        match it.scanner.scan(input, &ReplyLimits::default()) {
            Ok(Some(len)) if len == input.len() && input[0] != b'>' && input[0] != b'-' => {
                let now_us = core.clock.now_us();
                let slot = it.pipeline.pop().ok_or(Nonsense)?;
                it.answered(&slot);
                it.counters.responses += 1;
                it.counters.response_bytes += len as u64;
                it.counters.latency.record(now_us.saturating_sub(slot.at_us));
                if len as u64 >= heavy::BYTES || it.is_heavy {
                    let heavies = &mut core.pools[it.pool].heavies;
                    weigh(heavies, &core.down, slot.target, len as u64, None);
                }
                let reply = std::mem::take(input);
                core.down.clients.answer_owned(id, sequence, reply, now_us);
                return Ok(len);
            }
            // The scanner has moved on to the next reply: look at this one again.
            Ok(Some(_)) => it.scanner = ReplyScanner::default(),
            Ok(None) if core.down.clients.may_stream(id, sequence) => {}
            Ok(None) => return Ok(0),
            Err(_) => return Err(Nonsense),
        }
    }
    let used = replies(core, backend, input)?;
    if used == input.len() {
        buffer::give(std::mem::take(input));
    } else {
        input.drain(..used);
    }
    Ok(used)
}
