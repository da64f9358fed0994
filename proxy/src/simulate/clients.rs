//! The clients of a history: what they ask, and what they are owed for it.

use std::collections::VecDeque;
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
use redstart_common::resp::{ReplyLimits, ReplyScanner, RespWrite, encode};
use tokio::io::ReadBuf;
use tokio::time::{sleep, timeout};

use super::servers::World;
use super::{ANSWERED, Outcome, wire};
use crate::control::Directory;
use crate::topology::PoolId;
use crate::worker::Worker;

/// Replies that are longer may be passed on before they have come whole.
const LONG_BYTES: usize = 8 * 1024;
/// Keys of each kind.
const KEYS: u32 = 40;

/// What a client is owed for a request.
#[derive(Debug)]
struct Owed {
    reply: Vec<u8>,
    /// The write that has run when this comes.
    write: Option<u64>,
    /// It may as well be this.
    or: Option<&'static [u8]>,
    /// The proxy answers by itself, and never with an error but this.
    is_sure: bool,
}

fn owed(reply: impl Into<Vec<u8>>) -> Owed {
    Owed { reply: reply.into(), write: None, or: None, is_sure: false }
}

struct Client<'a> {
    number: u32,
    world: &'a World,
    random: SmallRng,
    stream: MemoryStream,
    input: Vec<u8>,
    scanner: ReplyScanner,
    out: Vec<u8>,
    sent: usize,
    owed: VecDeque<Owed>,
    outcome: Outcome,
    /// Of all that it has read.
    trace: DefaultHasher,
}

fn connect(worker: &Rc<Worker>, directory: &Arc<Directory>, room: usize) -> MemoryStream {
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
    for _ in 0..client.random.random_range(3..14) {
        let count =
            if client.random.random_bool(0.3) { 1 } else { client.random.random_range(2..24) };
        (0..count).for_each(|_| client.ask());
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
                let first = client.owed.front().map(|owed| {
                    (String::from_utf8_lossy(&owed.reply).into_owned(), owed.write, owed.is_sure)
                });
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
            client.begin_again(connect(worker, directory, room));
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
    client.converse().await.map_err(|why| format!("when all was quiet: {why}"))?;
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
            outcome: Outcome::default(),
            trace: DefaultHasher::default(),
        }
    }

    /// Goes on over another connection, and does not learn what became of what it has asked.
    fn begin_again(&mut self, stream: MemoryStream) {
        self.outcome.given_up += 1;
        self.stream = stream;
        self.input.clear();
        self.scanner = ReplyScanner::new();
        self.out.clear();
        self.sent = 0;
        self.owed.clear();
    }

    fn say(&mut self, words: &[&[u8]]) {
        encode::request(&mut self.out, words.iter().copied());
    }

    fn push(&mut self, words: &[&[u8]], owed: Owed) {
        self.say(words);
        self.owed.push_back(owed);
    }

    fn key(&mut self, kind: &str) -> Vec<u8> {
        format!("{kind}:{}", self.random.random_range(0..KEYS)).into_bytes()
    }

    /// Adds a request, or a few that belong together.
    fn ask(&mut self) {
        match self.random.random_range(0..23) {
            0..5 => self.get("g"),
            5 => self.get("L"),
            6..9 => {
                let keys: Vec<Vec<u8>> =
                    (0..self.random.random_range(1..6)).map(|_| self.key("g")).collect();
                let mut reply = format!("*{}\r\n", keys.len()).into_bytes();
                keys.iter().for_each(|key| reply.bulk(&wire::value_of(key)));
                self.with_keys(b"MGET", &keys, reply);
            }
            9 => {
                let keys: Vec<Vec<u8>> =
                    (0..self.random.random_range(1..6)).map(|_| self.key("g")).collect();
                let reply = format!(":{}\r\n", keys.len()).into_bytes();
                self.with_keys(b"EXISTS", &keys, reply);
            }
            10..14 => self.set(0),
            14 => {
                let padding = self.random.random_range(1..40_000);
                self.set(padding);
            }
            15 => self.push(&[b"PING"], Owed { is_sure: true, ..owed(*b"+PONG\r\n") }),
            16 => {
                let reply = *b"-ERR unknown command 'NOSUCH', with args beginning with: \r\n";
                self.push(&[b"NOSUCH"], Owed { is_sure: true, ..owed(reply) });
            }
            17 => {
                let key = self.key("q");
                let seconds = format!("0.{:02}", self.random.random_range(1..9));
                self.push(&[b"BLPOP", &key, seconds.as_bytes()], owed(*b"*-1\r\n"));
            }
            18 | 19 => self.transaction(),
            20 | 21 => self.get_missing(),
            _ => {
                // Nothing is said to the write; what comes next is answered again.
                self.say(&[b"CLIENT", b"REPLY", b"SKIP"]);
                let (key, id) = (self.key("w"), self.world.next_id().to_string());
                self.say(&[b"SET", &key, id.as_bytes()]);
                self.push(&[b"PING"], Owed { is_sure: true, ..owed(*b"+PONG\r\n") });
            }
        }
    }

    fn get(&mut self, kind: &str) {
        let key = self.key(kind);
        let mut reply = Vec::new();
        reply.bulk(&wire::value_of(&key));
        self.push(&[b"GET", &key], owed(reply));
    }

    /// Asks for a key that some servers lack.
    fn get_missing(&mut self) {
        let key = self.key("m");
        let mut reply = Vec::new();
        reply.bulk(&wire::value_of(&key));
        let or = (!self.world.is_found(&key)).then_some(&b"$-1\r\n"[..]);
        self.push(&[b"GET", &key], Owed { or, ..owed(reply) });
    }

    fn with_keys(&mut self, name: &[u8], keys: &[Vec<u8>], reply: Vec<u8>) {
        let mut words = vec![name];
        words.extend(keys.iter().map(Vec::as_slice));
        self.push(&words, owed(reply));
    }

    fn set(&mut self, padding: usize) {
        let key = self.key("w");
        let id = self.world.next_id();
        let mut value = id.to_string().into_bytes();
        if padding > 0 {
            value.push(b' ');
            value.resize(value.len() + padding, b'x');
        }
        self.push(&[b"SET", &key, &value], Owed { write: Some(id), ..owed(*b"+OK\r\n") });
    }

    fn transaction(&mut self) {
        let tag = self.random.random_range(0..KEYS);
        let (read, written) = (format!("g:{{{tag}}}"), format!("w:{{{tag}}}"));
        let id = self.world.next_id();
        let mut reply = b"*2\r\n+OK\r\n".to_vec();
        reply.bulk(&wire::value_of(read.as_bytes()));
        self.push(&[b"MULTI"], owed(*b"+OK\r\n"));
        let number = id.to_string();
        self.push(&[b"SET", written.as_bytes(), number.as_bytes()], owed(*b"+QUEUED\r\n"));
        self.push(&[b"GET", read.as_bytes()], owed(*b"+QUEUED\r\n"));
        self.push(&[b"EXEC"], Owed { write: Some(id), ..owed(reply) });
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
            let ended = match ended {
                Ok(()) if !room.filled().is_empty() => None,
                Ok(()) => Some("its connection was closed".to_owned()),
                Err(error) => Some(format!("its connection failed: {error}")),
            };
            if let Some(why) = ended {
                // Of a long reply the first half has been passed on when its server is lost, and there is no other half.
                let is_torn = self.owed.iter().any(|owed| owed.reply.len() > LONG_BYTES);
                return if is_torn && self.world.is_rough() { Ok(false) } else { Err(why) };
            }
            if self.sent == self.out.len() {
                self.out.clear();
                self.sent = 0;
            }
            self.trace.write(room.filled());
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
            if self.world.is_verbose {
                let at = self.world.began.elapsed();
                let wanted = String::from_utf8_lossy(&owed.reply[..owed.reply.len().min(60)]);
                println!("{at:?} client {}: {:?} for {wanted:?}", self.number, shown());
            }
            if *reply == *owed.reply {
                if let Some(id) = owed.write {
                    self.world.told(id);
                }
            } else if owed.or == Some(reply) {
                // That is as good.
            } else if reply[0] == b'-' && !owed.is_sure && self.world.is_rough() {
                self.outcome.errors += 1;
            } else {
                let wanted = &owed.reply[..owed.reply.len().min(120)];
                return Err(format!("{:?} for {:?}", shown(), String::from_utf8_lossy(wanted)));
            }
        }
        self.input.drain(..at);
        Ok(())
    }
}
