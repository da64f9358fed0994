//! What the clients of a history ask, and what they are owed for it.

use rand::Rng;
use redstart_common::resp::{RespWrite, encode};
use tokio::time::Instant;

use super::clients::Client;
use super::{data, wire};

/// Keys of each kind.
pub const KEYS: u32 = 40;
/// Channels.
pub const CHANNELS: u32 = 6;

/// What a reply must be.
#[derive(Debug)]
pub enum Reply {
    /// This.
    Is(Vec<u8>),
    /// This, or nothing.
    IsOrNull(Vec<u8>),
    /// An integer.
    Number,
    /// A count, which is remembered.
    Count,
    /// An element of this list, or nothing.
    Element(Vec<u8>),
    /// What was written to a key last, and by which server that was said.
    Written,
    /// A map.
    Map,
}

impl Reply {
    /// How long it may be.
    pub fn len(&self) -> usize {
        match self {
            Self::Is(reply) | Self::IsOrNull(reply) => reply.len(),
            Self::Number | Self::Count | Self::Element(_) | Self::Written | Self::Map => 0,
        }
    }
}

/// What a client is owed for a request.
#[derive(Debug)]
pub struct Owed {
    /// What it must be, unless it is an error.
    pub reply: Reply,
    /// The write that has run when this comes.
    pub write: Option<u64>,
    /// The key that is written or read, where order is to be seen.
    pub key: Option<Vec<u8>>,
    /// What is published to a channel when this comes, and when that was asked for.
    pub said: Option<(Instant, String)>,
    /// The script that is known when this comes.
    pub shows: Option<String>,
    /// The script must be known.
    pub is_shown: bool,
    /// The proxy answers by itself, and never with an error but this.
    pub is_sure: bool,
    /// When a key was asked for that replicas lack while it is on its way.
    pub reads: Option<Instant>,
    /// It may run on a server that is lost before it answers and must not run twice, or something before it may of which nothing is
    /// heard.
    pub may_be_lost: bool,
}

impl Owed {
    /// Whether it is asked on a connection of the client's own, which ends when its server leaves.
    pub fn is_alone(&self) -> bool {
        let takes = matches!(self.reply, Reply::Element(_));
        takes || (self.write.is_some() && matches!(self.reply, Reply::IsOrNull(_)))
    }
}

/// What must be exactly so.
pub fn owed(reply: impl Into<Vec<u8>>) -> Owed {
    may_be(Reply::Is(reply.into()))
}

fn may_be(reply: Reply) -> Owed {
    Owed {
        reply,
        write: None,
        key: None,
        said: None,
        shows: None,
        is_shown: false,
        is_sure: false,
        reads: None,
        may_be_lost: false,
    }
}

fn sure(reply: &[u8]) -> Owed {
    Owed { is_sure: true, ..owed(reply) }
}

fn writes(id: u64, key: &[u8], reply: Reply) -> Owed {
    Owed { write: Some(id), key: Some(key.to_vec()), ..may_be(reply) }
}

fn bulk(text: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    reply.bulk(text);
    reply
}

/// Whether a request of this name is lost with a server that may have run it.
fn may_be_lost(name: &[u8]) -> bool {
    let names =
        ["SET", "RPUSH", "BLPOP", "EXEC", "EVAL", "EVALSHA", "SCRIPT", "PUBLISH", "SPUBLISH"];
    names.iter().any(|other| other.as_bytes() == name)
}

impl Client<'_> {
    fn say(&mut self, words: &[&[u8]]) {
        encode::request(&mut self.out, words.iter().copied());
    }

    pub fn push(&mut self, words: &[&[u8]], owed: Owed) {
        self.say(words);
        let may_be_lost = std::mem::take(&mut self.has_unheard) || may_be_lost(words[0]);
        self.owed.push_back(Owed { may_be_lost, ..owed });
    }

    fn key(&mut self, kind: &str) -> Vec<u8> {
        format!("{kind}:{}", self.random.random_range(0..KEYS)).into_bytes()
    }

    /// Adds a request, or a few that belong together.
    pub fn ask(&mut self) {
        match self.random.random_range(0..36) {
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
            15 => self.push(&[b"PING"], sure(b"+PONG\r\n")),
            16 => {
                let reply = b"-ERR unknown command 'NOSUCH', with args beginning with: \r\n";
                self.push(&[b"NOSUCH"], sure(reply));
            }
            17 => {
                let key = self.key("q");
                let seconds = format!("0.{:02}", self.random.random_range(1..9));
                let reply = may_be(Reply::Element(key.clone()));
                self.push(&[b"BLPOP", &key, seconds.as_bytes()], reply);
            }
            18 | 19 => self.transaction(),
            20 | 21 => self.get_missing(),
            22 => {
                // Nothing is said to the write; what comes next is answered again.
                self.say(&[b"CLIENT", b"REPLY", b"SKIP"]);
                self.set_unheard();
                self.push(&[b"PING"], sure(b"+PONG\r\n"));
            }
            23 => {
                self.say(&[b"CLIENT", b"REPLY", b"OFF"]);
                for _ in 0..self.random.random_range(0..4) {
                    self.set_unheard();
                    let key = self.key("g");
                    self.say(&[b"GET", &key]);
                }
                self.push(&[b"CLIENT", b"REPLY", b"ON"], sure(b"+OK\r\n"));
            }
            24 => self.script(data::READS),
            25 => self.script(data::WRITES),
            26 | 27 => {
                let (key, id) = (self.key("q"), self.world.data.next_id());
                let text = id.to_string();
                self.push(&[b"RPUSH", &key, text.as_bytes()], writes(id, &key, Reply::Number));
            }
            28 | 29 => {
                let command: &[u8] =
                    if self.random.random_bool(0.5) { b"PUBLISH" } else { b"SPUBLISH" };
                let channel = format!("ch:{}", self.random.random_range(0..CHANNELS));
                self.publish(command, &channel);
            }
            30..34 => {
                // Most of what it reads so it has just written.
                let key = self.written.clone().filter(|_| self.random.random_bool(0.8));
                let key = key.unwrap_or_else(|| self.key("w"));
                let owed = Owed { key: Some(key.clone()), ..may_be(Reply::Written) };
                self.push(&[b"GET", &key], owed);
            }
            34 => {
                let version: &[u8] = if self.random.random_bool(0.5) { b"2" } else { b"3" };
                self.greet_in(version);
            }
            _ => {
                let (key, id) = (self.key("w"), self.world.data.next_id());
                let digest = data::digest(data::READS);
                let owed = Owed { shows: Some(digest.clone()), ..owed(bulk(digest.as_bytes())) };
                self.push(&[b"SCRIPT", b"LOAD", data::READS], owed);
                let text = id.to_string();
                self.push(
                    &[b"SET", &key, text.as_bytes()],
                    writes(id, &key, Reply::Is(b"+OK\r\n".to_vec())),
                );
            }
        }
    }

    /// A write of which nothing is heard.
    fn set_unheard(&mut self) {
        let (key, id) = (self.key("w"), self.world.data.next_id().to_string());
        self.say(&[b"SET", &key, id.as_bytes()]);
        self.has_unheard = true;
    }

    /// Says something on a channel that is like nothing else.
    pub fn publish(&mut self, command: &[u8], channel: &str) -> String {
        let text = format!("{channel} {}", self.world.data.next_id());
        let said = (!command.starts_with(b"S")).then(|| (Instant::now(), text.clone()));
        let owed = Owed { said, ..may_be(Reply::Number) };
        self.push(&[command, channel.as_bytes(), text.as_bytes()], owed);
        text
    }

    /// Runs a script, by its digest if the proxy has been told of it.
    fn script(&mut self, body: &[u8]) {
        let digest = data::digest(body);
        let is_shown = self.world.data.is_shown(&digest) && self.random.random_bool(0.8);
        let (name, script): (&[u8], &[u8]) =
            if is_shown { (b"EVALSHA", digest.as_bytes()) } else { (b"EVAL", body) };
        let shows = Some(digest.clone());
        if body == data::READS {
            let key = self.key("g");
            let owed = owed(bulk(&wire::value_of(&key)));
            self.push(&[name, script, b"1", &key], Owed { shows, is_shown, ..owed });
        } else {
            let (key, id) = (self.key("w"), self.world.data.next_id());
            let text = id.to_string();
            let owed = writes(id, &key, Reply::Is(b"+OK\r\n".to_vec()));
            let owed = Owed { shows, is_shown, ..owed };
            self.push(&[name, script, b"1", &key, text.as_bytes()], owed);
        }
    }

    /// Watches a counter and reads it.
    pub fn watch(&mut self, key: &str) {
        self.push(&[b"WATCH", key.as_bytes()], owed(*b"+OK\r\n"));
        self.push(&[b"GET", key.as_bytes()], may_be(Reply::Count));
    }

    /// Counts a watched counter up.
    pub fn count_up(&mut self, tag: u32, count: u64) {
        let (key, read) = (format!("c:{{{tag}}}"), format!("g:{{{tag}}}"));
        let id = self.world.data.next_id();
        let value = format!("{id} {count}");
        self.push(&[b"MULTI"], owed(*b"+OK\r\n"));
        self.push(&[b"SET", key.as_bytes(), value.as_bytes()], owed(*b"+QUEUED\r\n"));
        self.push(&[b"GET", read.as_bytes()], owed(*b"+QUEUED\r\n"));
        let mut reply = b"*2\r\n+OK\r\n".to_vec();
        reply.bulk(&wire::value_of(read.as_bytes()));
        self.push(&[b"EXEC"], writes(id, key.as_bytes(), Reply::IsOrNull(reply)));
    }

    /// Speaks RESP3 from now on.
    pub fn greet(&mut self) {
        self.greet_in(b"3");
    }

    fn greet_in(&mut self, version: &[u8]) {
        self.push(&[b"HELLO", version], Owed { is_sure: true, ..may_be(Reply::Map) });
    }

    fn get(&mut self, kind: &str) {
        let key = self.key(kind);
        let owed = owed(bulk(&wire::value_of(&key)));
        self.push(&[b"GET", &key], Owed { reads: Some(Instant::now()), ..owed });
    }

    /// Asks for a key that some servers lack.
    fn get_missing(&mut self) {
        let key = self.key("m");
        let reply = bulk(&wire::value_of(&key));
        let reply =
            if self.world.is_found(&key) { Reply::Is(reply) } else { Reply::IsOrNull(reply) };
        self.push(&[b"GET", &key], may_be(reply));
    }

    fn with_keys(&mut self, name: &[u8], keys: &[Vec<u8>], reply: Vec<u8>) {
        let mut words = vec![name];
        words.extend(keys.iter().map(Vec::as_slice));
        self.push(&words, Owed { reads: Some(Instant::now()), ..owed(reply) });
    }

    fn set(&mut self, padding: usize) {
        let key = self.written.clone().filter(|_| self.random.random_bool(0.3));
        let key = key.unwrap_or_else(|| self.key("w"));
        self.written = Some(key.clone());
        let id = self.world.data.next_id();
        let mut value = id.to_string().into_bytes();
        if padding > 0 {
            value.push(b' ');
            value.resize(value.len() + padding, b'x');
        }
        self.push(&[b"SET", &key, &value], writes(id, &key, Reply::Is(b"+OK\r\n".to_vec())));
    }

    fn transaction(&mut self) {
        let tag = self.random.random_range(0..KEYS);
        let (read, written) = (format!("g:{{{tag}}}"), format!("w:{{{tag}}}"));
        let id = self.world.data.next_id();
        let mut reply = b"*2\r\n+OK\r\n".to_vec();
        reply.bulk(&wire::value_of(read.as_bytes()));
        self.push(&[b"MULTI"], owed(*b"+OK\r\n"));
        let number = id.to_string();
        self.push(&[b"SET", written.as_bytes(), number.as_bytes()], owed(*b"+QUEUED\r\n"));
        self.push(&[b"GET", read.as_bytes()], owed(*b"+QUEUED\r\n"));
        self.push(&[b"EXEC"], writes(id, written.as_bytes(), Reply::Is(reply)));
        self.written = Some(written.into_bytes());
    }
}
