//! The connection to a server that listens for all clients of a worker, to channels or to keys that change: opened when it is
//! needed, and again when it is lost.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use redstart_common::net::{Stream, buffer, turn};
use redstart_common::resp::{ReplyLimits, ReplyScanner};
use tokio::io::ReadBuf;

use super::post::Post;
use crate::backend::backoff::MAX_US;
use crate::backend::{error_text, probe};
use crate::client::{subscribe, tracking};
use crate::output::keep;
use crate::route::lane::Manner;
use crate::settings::PoolSettings;
use crate::topology::{Endpoint, PoolId, ServerId};
use crate::worker::{Core, Worker};

/// Before another attempt to connect: a server that is back is to be heard at once.
const RETRY: Duration = Duration::from_micros(MAX_US);
/// Reads after which others get their turn.
const READS_MAX: u32 = 16;

/// What is listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// What is published.
    Channels,
    /// Keys that change.
    Keys,
}

impl Purpose {
    /// What a link is driven by, unless its server has no say any more.
    pub fn post(self, core: &mut Core, pool: PoolId, server: ServerId) -> Option<&mut Post> {
        match self {
            Self::Channels => core.hub(pool).link_mut(server).map(|link| &mut link.post),
            Self::Keys => core.tracking(pool).link_mut(server).map(|link| &mut link.post),
        }
    }

    async fn open(self, pool: &PoolSettings, server: &Endpoint) -> io::Result<(Stream, Vec<u8>)> {
        match self {
            Self::Channels => {
                let stream = probe::open(pool, server, Manner::default(), false).await?;
                Ok((stream, Vec::new()))
            }
            Self::Keys => probe::open_for_keys(pool, server).await,
        }
    }

    fn opened(self, core: &mut Core, pool: PoolId, server: &Endpoint) {
        match self {
            Self::Channels => subscribe::opened(core, pool, server),
            Self::Keys => tracking::opened(core, pool, server),
        }
    }

    fn lost(self, core: &mut Core, pool: PoolId, server: &Endpoint, why: &str) {
        match self {
            Self::Channels => subscribe::lost(core, pool, server, why),
            Self::Keys => tracking::lost(core, pool, server, why),
        }
    }

    fn hear(self, core: &mut Core, pool: PoolId, server: &Endpoint, frame: &[u8]) -> bool {
        match self {
            Self::Channels => subscribe::hear(core, pool, server, frame),
            Self::Keys => tracking::hear(core, pool, server, frame),
        }
    }
}

/// Serves a link until nobody needs it.
pub async fn run(
    worker: Rc<Worker>,
    purpose: Purpose,
    pool: PoolId,
    server: Arc<Endpoint>,
    number: u64,
) {
    let shared = Arc::clone(&worker.core.borrow().pools[pool].shared);
    loop {
        let opened = purpose.open(&shared.settings, &server).await;
        if !is_current(&worker, purpose, pool, &server, number) {
            return;
        }
        let why = match opened {
            Ok((stream, input)) => {
                purpose.opened(&mut worker.core.borrow_mut(), pool, &server);
                let scanner = ReplyScanner::default();
                let mut open = Open { purpose, stream, input, scanner, sent: 0 };
                // What came with the answer to what opened it.
                open.hear(&worker, pool, &server);
                let ended = poll_fn(|cx| open.poll(&worker, pool, &server, number, cx)).await;
                let Some(error) = ended else { return };
                error_text(&error)
            }
            Err(error) => error_text(&error),
        };
        if !is_current(&worker, purpose, pool, &server, number) {
            return;
        }
        purpose.lost(&mut worker.core.borrow_mut(), pool, &server, &why);
        tokio::time::sleep(RETRY).await;
        if !is_current(&worker, purpose, pool, &server, number) {
            return;
        }
    }
}

fn is_current(
    worker: &Rc<Worker>,
    purpose: Purpose,
    pool: PoolId,
    server: &Endpoint,
    number: u64,
) -> bool {
    let core = &mut *worker.core.borrow_mut();
    purpose.post(core, pool, server.id).is_some_and(|post| post.number == number)
}

struct Open {
    purpose: Purpose,
    stream: Stream,
    input: Vec<u8>,
    scanner: ReplyScanner,
    /// Bytes in front of the link's output that are gone.
    sent: usize,
}

impl Open {
    /// `None` when the link is not needed any more.
    fn poll(
        &mut self,
        worker: &Rc<Worker>,
        pool: PoolId,
        server: &Endpoint,
        number: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Error>> {
        for _ in 0..READS_MAX {
            {
                let core = &mut *worker.core.borrow_mut();
                let post = self.purpose.post(core, pool, server.id);
                let Some(post) = post.filter(|post| post.number == number) else {
                    return Poll::Ready(None);
                };
                post.waker = Some(cx.waker().clone());
                if let Poll::Ready(Err(error)) = self.write(&mut post.out, cx) {
                    return Poll::Ready(Some(error));
                }
            }
            let read = buffer::with_read_buffer(|shared| {
                let mut space = ReadBuf::new(shared);
                match self.stream.poll_read(cx, &mut space) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) if space.filled().is_empty() => {
                        Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
                    }
                    Poll::Ready(Ok(())) => {
                        self.input.extend_from_slice(space.filled());
                        Poll::Ready(Ok(()))
                    }
                }
            });
            match read {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Some(error)),
                Poll::Ready(Ok(())) => {}
            }
            if !self.hear(worker, pool, server) {
                let error = io::Error::other("the server sent what is no message");
                return Poll::Ready(Some(error));
            }
            worker.end_turn_if_full();
        }
        turn::end();
        turn::go_on_after_the_others(cx);
        Poll::Pending
    }

    fn write(&mut self, out: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A link that was opened anew begins with its output.
        self.sent = self.sent.min(out.len());
        while self.sent < out.len() {
            match self.stream.poll_write(cx, &out[self.sent..]) {
                Poll::Ready(Ok(count)) => self.sent += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        *out = Vec::new();
        self.sent = 0;
        self.stream.poll_flush(cx)
    }

    /// Takes in every whole frame. Says whether they were any.
    fn hear(&mut self, worker: &Rc<Worker>, pool: PoolId, server: &Endpoint) -> bool {
        let core = &mut *worker.core.borrow_mut();
        let mut input = std::mem::take(&mut self.input);
        let mut at = 0;
        while at < input.len() {
            match self.scanner.scan(&input[at..], &ReplyLimits::default()) {
                Ok(Some(len)) => {
                    if !self.purpose.hear(core, pool, server, &input[at..at + len]) {
                        return false;
                    }
                    at += len;
                }
                Ok(None) => break,
                Err(_) => return false,
            }
        }
        if at == input.len() {
            buffer::give(input);
        } else {
            let rest = input.split_off(at);
            keep(&mut input, &rest, self.scanner.wanted().unwrap_or(0));
            self.input = input;
        }
        true
    }
}
