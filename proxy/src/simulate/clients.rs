//! The clients of a history: what they ask, and what they are owed for it.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::hash::{DefaultHasher, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redstart_common::net::Stream;
use redstart_common::net::memory::{self, MemoryStream};
use redstart_common::resp::{ReplyLimits, ReplyScanner, RespWrite};
use tokio::io::ReadBuf;
use tokio::time::{sleep, timeout};

use super::asks::{CHANNELS, KEYS, Owed, Reply, owed};
use super::servers::World;
use super::settings::Fate;
use super::{ANSWERED, Outcome, wire};
use crate::control::Directory;
use crate::topology::PoolId;
use crate::worker::Worker;

/// Replies that are longer may be passed on before they have come whole.
const LONG_BYTES: usize = 8 * 1024;

/// For so long somebody publishes at least: channels are on their way for some seconds.
const CHATTER: Duration = Duration::from_secs(6);

/// A client, and what it is owed.
pub struct Client<'a> {
    number: u32,
    /// What it is in.
    pub world: &'a World,
    /// What it does by chance.
    pub random: SmallRng,
    stream: MemoryStream,
    input: Vec<u8>,
    scanner: ReplyScanner,
    /// What it has said and not sent.
    pub out: Vec<u8>,
    sent: usize,
    /// What it is owed, in order.
    pub owed: VecDeque<Owed>,
    /// It has said something of which nothing is heard, and nothing since.
    pub has_unheard: bool,
    /// The key to which it has written last.
    pub written: Option<Vec<u8>>,
    /// What has run of what it has written, the last by key.
    wrote: HashMap<Vec<u8>, u64>,
    /// A count that it has read.
    count: Option<u64>,
    outcome: Outcome,
    /// Of all that it has read.
    trace: DefaultHasher,
}

/// Another connection to the proxy.
pub fn connect(worker: &Rc<Worker>, directory: &Arc<Directory>, room: usize) -> MemoryStream {
    let (near, far) = memory::pair(room);
    let pool = PoolId::new(0);
    directory.loads.enter(0);
    directory.pool(pool).admit_client();
    worker.accept(Stream::Memory(far), pool);
    near
}

/// The life of a client: batches of requests over one connection after another.
pub async fn live(
    world: &World,
    worker: &Rc<Worker>,
    directory: &Arc<Directory>,
    number: u32,
    seed: u64,
) -> Result<Outcome, String> {
    let mut random = SmallRng::seed_from_u64(seed);
    let room = 1 << random.random_range(9..17);
    let stream = connect(worker, directory, room);
    let mut client = Client::new(number, world, random, stream);
    let is_impatient = client.random.random_bool(0.5);
    let speaks_resp3 = client.random.random_bool(0.4);
    if speaks_resp3 {
        client.greet();
    }
    for _ in 0..client.random.random_range(3..14) {
        if client.random.random_bool(0.15) {
            let counting = client.count_one();
            let ended = timeout(ANSWERED, counting).await.map_err(|_| "no reply to a count")?;
            if !ended.map_err(|why| format!("client {number}: {why}"))? {
                client.begin_again(connect(worker, directory, room), speaks_resp3);
            }
        }
        let count =
            if client.random.random_bool(0.3) { 1 } else { client.random.random_range(2..24) };
        (0..count).for_each(|_| client.ask());
        if client.random.random_bool(0.25) {
            // It goes on asking when it has been heard, and perhaps not answered.
            let rest = Duration::from_millis(client.random.random_range(0..400));
            let _ = timeout(rest, client.send_all()).await;
            sleep(rest).await;
            (0..client.random.random_range(1..8)).for_each(|_| client.ask());
        }
        // Some give up in the middle, and what becomes of their requests they do not learn.
        let gives_up = client.random.random_bool(0.04);
        let limit = if gives_up {
            Duration::from_millis(client.random.random_range(0..40))
        } else {
            ANSWERED
        };
        let is_through = match timeout(limit, client.converse()).await {
            Ok(ended) => ended.map_err(|why| format!("client {number}: {why}"))?,
            Err(_) if gives_up => false,
            Err(_) => {
                let first = client
                    .owed
                    .front()
                    .map(|owed| (format!("{:?}", owed.reply), owed.write, owed.is_sure));
                if world.is_verbose {
                    for (place, it) in worker.core.borrow_mut().up.iter_mut() {
                        println!(
                            "connection {place} to {}: up {}, {} owed, {} to send, {:?}",
                            it.server.name,
                            it.is_up(),
                            it.pipeline.len(),
                            it.unsent,
                            it.duty
                        );
                    }
                    for it in worker.core.borrow().down.clients.iter() {
                        println!(
                            "{:?}: {} bytes read, {} to send, {} owed, blocked {}, paused {}, barrier {}, held {}, looks again {}, waits {}",
                            it.id,
                            it.input.len(),
                            it.output.len(),
                            it.pending.len(),
                            it.blocked,
                            it.paused,
                            it.barrier,
                            it.held,
                            it.looks_again,
                            it.wait.is_some()
                        );
                    }
                }
                let (sent, all) = (client.sent, client.out.len());
                return Err(format!(
                    "client {number}: no reply in time, owed {first:?}, {} in all, {} read, {sent} of {all} sent",
                    client.owed.len(),
                    client.input.len(),
                ));
            }
        };
        if !is_through {
            client.begin_again(connect(worker, directory, room), speaks_resp3);
            if gives_up && is_impatient {
                continue;
            }
        }
        if client.random.random_bool(0.5) {
            sleep(Duration::from_millis(client.random.random_range(0..150))).await;
        }
    }
    client.outcome.trace = client.trace.finish();
    Ok(client.outcome)
}

/// The life of a client that publishes, until all is calm.
pub async fn chatter(
    world: &World,
    worker: &Rc<Worker>,
    directory: &Arc<Directory>,
    seed: u64,
) -> Result<(), String> {
    let stream = connect(worker, directory, 4096);
    let mut client = Client::new(u32::MAX - 1, world, SmallRng::seed_from_u64(seed), stream);
    while world.is_eventful() || world.began.elapsed() < CHATTER {
        let channel = format!("ch:{}", client.random.random_range(0..CHANNELS));
        client.publish(b"PUBLISH", &channel);
        if !client.converse().await.map_err(|why| format!("who publishes: {why}"))? {
            return Err("the connection of one who publishes has ended".to_owned());
        }
        sleep(Duration::from_millis(client.random.random_range(0..40))).await;
    }
    Ok(())
}

/// Asks for a key of every place once all is quiet: nothing may be refused.
pub async fn look_around(
    world: &World,
    worker: &Rc<Worker>,
    directory: &Arc<Directory>,
) -> Result<Outcome, String> {
    let stream = connect(worker, directory, 4096);
    let mut client = Client::new(u32::MAX, world, SmallRng::seed_from_u64(0), stream);
    for number in 0..KEYS {
        let key = format!("g:{number}").into_bytes();
        let mut reply = Vec::new();
        reply.bulk(&wire::value_of(&key));
        client.push(&[b"GET", &key], Owed { is_sure: true, ..owed(reply) });
    }
    let mut last = Vec::new();
    for channel in 0..CHANNELS {
        for command in [&b"PUBLISH"[..], b"SPUBLISH"] {
            last.push(client.publish(command, &format!("ch:{channel}")));
        }
    }
    let ended = client.converse().await.map_err(|why| format!("when all was quiet: {why}"))?;
    if !ended {
        return Err("when all was quiet a connection was closed".to_owned());
    }
    *world.last.borrow_mut() = last;
    client.outcome.trace = client.trace.finish();
    Ok(client.outcome)
}

impl<'a> Client<'a> {
    fn new(number: u32, world: &'a World, random: SmallRng, stream: MemoryStream) -> Self {
        Self {
            number,
            world,
            random,
            stream,
            input: Vec::new(),
            scanner: ReplyScanner::new(),
            out: Vec::new(),
            sent: 0,
            owed: VecDeque::new(),
            has_unheard: false,
            written: None,
            wrote: HashMap::new(),
            count: None,
            outcome: Outcome::default(),
            trace: DefaultHasher::default(),
        }
    }

    /// Goes on over another connection, and does not learn what became of what it has asked.
    fn begin_again(&mut self, stream: MemoryStream, speaks_resp3: bool) {
        self.outcome.given_up += 1;
        self.world.data.has_given_up.set(true);
        self.stream = stream;
        self.input.clear();
        self.scanner = ReplyScanner::new();
        self.out.clear();
        self.sent = 0;
        self.owed.clear();
        self.has_unheard = false;
        self.written = None;
        self.wrote.clear();
        if speaks_resp3 {
            self.greet();
        }
    }

    /// Counts a counter up by one, unless somebody else does at the same time. False says that the connection was closed.
    async fn count_one(&mut self) -> Result<bool, String> {
        if !self.converse().await? {
            return Ok(false);
        }
        let tag = self.random.random_range(0..3);
        let errors = self.outcome.errors;
        self.watch(&format!("c:{{{tag}}}"));
        if !self.converse().await? {
            return Ok(false);
        }
        match self.count.take().filter(|_| self.outcome.errors == errors) {
            Some(count) => self.count_up(tag, count + 1),
            None => self.push(&[b"UNWATCH"], owed(*b"+OK\r\n")),
        }
        self.converse().await
    }

    /// Sends what there is to send, and reads nothing.
    async fn send_all(&mut self) {
        let Self { stream, out, sent, .. } = self;
        // An end is noticed where it reads.
        let _ = poll_fn(|cx| {
            while *sent < out.len() {
                match stream.poll_write(cx, &out[*sent..]) {
                    Poll::Ready(Ok(count)) => *sent += count,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(Ok(()))
        })
        .await;
    }

    /// Sends what there is to send and reads until nothing is owed. False says that the connection was closed, as it may be.
    async fn converse(&mut self) -> Result<bool, String> {
        while !self.owed.is_empty() {
            let mut bytes = vec![0; 8192];
            let mut room = ReadBuf::new(&mut bytes);
            let Self { stream, out, sent, .. } = self;
            let ended = poll_fn(|cx| {
                while *sent < out.len() {
                    match stream.poll_write(cx, &out[*sent..]) {
                        Poll::Ready(Ok(count)) => *sent += count,
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending => break,
                    }
                }
                stream.poll_read(cx, &mut room)
            })
            .await;
            let is_reset = ended.is_err();
            let ended = match ended {
                Ok(()) if !room.filled().is_empty() => None,
                Ok(()) => Some("its connection was closed".to_owned()),
                Err(error) => Some(format!("its connection failed: {error}")),
            };
            if let Some(why) = ended {
                // Of a long reply the first half has been passed on when its server is lost, and there is no other half.
                let is_torn = self.owed.iter().any(|owed| owed.reply.len() > LONG_BYTES);
                // An end that finds requests unread takes replies away that were on their way.
                let looked_at = if is_reset { self.owed.len() } else { 1 };
                let may_be_lost = |owed: &Owed| match self.world.fate_at_first() {
                    Fate::Calm => false,
                    Fate::Gentle => owed.is_alone(),
                    Fate::Rough => owed.may_be_lost,
                };
                let is_lost = self.owed.iter().take(looked_at).any(may_be_lost);
                let is_ended = is_lost && self.world.ends_lost;
                self.world.ended.set(self.world.ended.get() + u64::from(is_ended));
                let may_be = is_ended || (is_torn && self.world.is_rough());
                let first = self.owed.front().map(|owed| format!("{:?}", owed.reply));
                let why = format!("{why}, owed {}", first.unwrap_or_default());
                return if may_be { Ok(false) } else { Err(why) };
            }
            if self.sent == self.out.len() {
                self.out.clear();
                self.sent = 0;
            }
            self.input.extend_from_slice(room.filled());
            self.take_replies()?;
            if self.random.random_bool(0.02) {
                // It does not read for a while.
                sleep(Duration::from_millis(self.random.random_range(0..200))).await;
            }
        }
        Ok(true)
    }

    fn take_replies(&mut self) -> Result<(), String> {
        let mut at = 0;
        while at < self.input.len() {
            let found = self.scanner.scan(&self.input[at..], &ReplyLimits::default());
            let Some(len) = found.map_err(|error| format!("no reply: {error:?}"))? else { break };
            let reply = &self.input[at..at + len];
            at += len;
            let shown = || String::from_utf8_lossy(&reply[..len.min(120)]).into_owned();
            let Some(owed) = self.owed.pop_front() else {
                return Err(format!("a reply that nobody asked for: {:?}", shown()));
            };
            self.outcome.replies += 1;
            // What HELLO answers has the client's number, which no other client of the process has.
            if !matches!(owed.reply, Reply::Map) {
                self.trace.write(reply);
            }
            let wanted = || format!("{:?}", owed.reply).chars().take(160).collect::<String>();
            if self.world.is_verbose {
                let at = self.world.began.elapsed();
                println!("{at:?} client {}: {:?} for {}", self.number, shown(), wanted());
            }
            let is_null = [&b"$-1\r\n"[..], b"*-1\r\n", b"_\r\n"].contains(&reply);
            let is_as_wanted = match &owed.reply {
                Reply::Is(wanted) => {
                    // A null, or fewer of many.
                    let may_lack = |asked| {
                        let is_like_it = is_null || (wanted[0] != b'$' && reply[0] == wanted[0]);
                        is_like_it && self.world.may_lack(asked)
                    };
                    reply == wanted || owed.reads.is_some_and(may_lack)
                }
                Reply::IsOrNull(wanted) => reply == wanted || is_null,
                Reply::Number => reply[0] == b':',
                Reply::Map => [b'%', b'*'].contains(&reply[0]),
                Reply::Count => {
                    let text = String::from_utf8_lossy(reply);
                    self.count = text.split("\r\n").nth(1).and_then(|count| count.parse().ok());
                    reply[0] == b'$' && self.count.is_some()
                }
                Reply::Written => wire::written(reply).is_some(),
                Reply::Element(key) => is_null || self.world.is_element(key, reply),
            };
            if is_as_wanted {
                match owed.write {
                    Some(id) if is_null => self.world.data.denied(id),
                    Some(id) => {
                        self.world.data.told(id);
                        if let Some(key) = &owed.key {
                            let before = self.wrote.insert(key.clone(), id);
                            self.world.comes_behind(before, id)?;
                        }
                    }
                    None => {}
                }
                if let (Reply::Written, Some(key)) = (&owed.reply, &owed.key)
                    && let (Some(write), Some(found)) = (self.wrote.get(key), wire::written(reply))
                {
                    self.world.finds(*write, found)?;
                    self.outcome.read_back += 1;
                }
                self.world.published.borrow_mut().extend(owed.said);
                if let Some(digest) = owed.shows {
                    self.world.data.show(digest);
                }
            } else if owed.is_shown && self.owed.is_empty() && reply.starts_with(b"-NOSCRIPT") {
                // A client that has sent more behind it is told, for that would be overtaken.
                return Err(format!("{:?} for a script that is known", shown()));
            } else if reply[0] == b'-'
                && !owed.is_sure
                && self.world.may_tell(&owed, !self.owed.is_empty(), reply)
            {
                self.outcome.errors += 1;
                // Where what may have run ends the connection, what is answered by an error has not.
                let is_denied = self.world.ends_lost || has_not_run(reply);
                if let Some(id) = owed.write.filter(|_| is_denied) {
                    self.world.data.denied(id);
                }
            } else {
                return Err(format!("{:?} for {}", shown(), wanted()));
            }
        }
        self.input.drain(..at);
        Ok(())
    }
}

/// Whether an error says that a write has not run.
fn has_not_run(reply: &[u8]) -> bool {
    let codes =
        ["-EXECABORT", "-READONLY", "-MOVED", "-ASK ", "-TRYAGAIN", "-LOADING", "-NOSCRIPT"];
    codes.iter().any(|code| reply.starts_with(code.as_bytes()))
}
