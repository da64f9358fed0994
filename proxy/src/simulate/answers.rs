//! How a server answers: what it turns away, what it queues, what it remembers of a connection.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use redstart_common::resp::RespWrite;
use redstart_common::slot;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::servers::{PIECE, PORT, World};

/// What a connection's server remembers of it.
#[derive(Debug, Default)]
pub struct Session {
    /// What has come and was not looked at.
    pub input: Vec<u8>,
    /// It speaks RESP3.
    pub is_resp3: bool,
    is_asking: bool,
    /// It may read from a replica.
    is_reading: bool,
    /// It was asked for its role, and takes itself for a primary.
    is_vouched: bool,
    /// What is queued behind MULTI.
    pub queued: Option<Vec<Vec<Vec<u8>>>>,
    is_spoilt: bool,
    /// Keys that are watched, and how often they had been written by then.
    watched: Vec<(Vec<u8>, u64)>,
}

/// What is said on a connection without being asked for.
#[derive(Debug, Default)]
pub struct Mailbox {
    /// The channels it listens to, and whether they are of a shard.
    pub channels: RefCell<BTreeSet<(bool, Vec<u8>)>>,
    /// Messages that have not been sent.
    pub mail: RefCell<Vec<u8>>,
    /// There is mail.
    pub news: Notify,
}

impl Mailbox {
    /// Puts a message in.
    pub fn put(&self, words: &[&[u8]]) {
        let mut mail = self.mail.borrow_mut();
        mail.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        words.iter().for_each(|word| mail.bulk(word));
        self.news.notify_one();
    }
}

const SPANS: &str = "TRYAGAIN Multiple keys request during rehashing of slot";
const LOADING: &[u8] = b"-LOADING Redis is loading the dataset in memory\r\n";
const READONLY: &[u8] = b"-READONLY You can't write against a read only replica.\r\n";
const SPOILT: &[u8] = b"-EXECABORT Transaction discarded because of previous errors.\r\n";
const READONLY_NOW: &[u8] = b"-EXECABORT Transaction discarded because of: READONLY You can't write against a read only replica.\r\n";

/// The keys of a request.
fn keys<'a>(name: &str, args: &'a [Vec<u8>]) -> Vec<&'a [u8]> {
    match name {
        "get" | "set" | "blpop" | "rpush" | "ssubscribe" | "spublish" => vec![&args[1]],
        "mget" | "exists" | "watch" => args[1..].iter().map(Vec::as_slice).collect(),
        "eval" | "evalsha" => vec![&args[3]],
        _ => Vec::new(),
    }
}

/// Whether a server that loads its data answers a command.
fn is_answered_while_loading(name: &str) -> bool {
    matches!(
        name,
        "info"
            | "client"
            | "select"
            | "role"
            | "multi"
            | "exec"
            | "discard"
            | "hello"
            | "readonly"
            | "unwatch"
            | "watch"
            | "subscribe"
            | "ssubscribe"
            | "unsubscribe"
            | "sunsubscribe"
    )
}

impl World {
    /// Whether a key of the piece on its way has gone already.
    pub fn has_gone(key: &[u8]) -> bool {
        key.iter().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte)) % 2 == 0
    }

    /// Where a request for these keys belongs, if not here.
    fn elsewhere(
        &self,
        place: usize,
        keys: &[&[u8]],
        is_asking: bool,
        (reads, is_channel): (bool, bool),
    ) -> Option<String> {
        let first = slot::key_slot(keys.first()?);
        if keys.iter().any(|key| slot::key_slot(key) != first) {
            return Some("CROSSSLOT Keys in request don't hash to the same slot".to_owned());
        }
        let piece = usize::from(first / PIECE);
        let owner = self.owners.borrow()[piece];
        let port = |place: usize| PORT + place as u16;
        if self.has_replicas && owner ^ 1 == place && reads {
            // It has what its primary had a while ago.
            return None;
        }
        let gone = keys.iter().filter(|key| Self::has_gone(key)).count();
        // A channel is where its slot is, and does not move before that.
        let moving = self.moving.get().filter(|(moving, _)| *moving == piece && !is_channel);
        match moving {
            Some((_, to)) if owner == place && gone > 0 => Some(if gone == keys.len() {
                format!("ASK {first} 127.0.0.1:{}", port(to))
            } else {
                SPANS.to_owned()
            }),
            Some((_, to)) if to == place && is_asking => {
                let is_torn = gone < keys.len() && keys.len() > 1;
                is_torn.then(|| SPANS.to_owned())
            }
            _ if owner == place => None,
            _ => Some(format!("MOVED {first} 127.0.0.1:{}", port(owner))),
        }
    }

    /// Answers a request. What was said by ASKING holds for the next, or for the transaction that it begins.
    pub fn answer(
        &self,
        place: usize,
        session: &mut Session,
        mailbox: &Mailbox,
        args: Vec<Vec<u8>>,
        out: &mut Vec<u8>,
    ) {
        let says_so = args[0].eq_ignore_ascii_case(b"asking");
        self.answer_one(place, session, mailbox, args, out);
        session.is_asking &= says_so || session.queued.is_some();
    }

    fn answer_one(
        &self,
        place: usize,
        session: &mut Session,
        mailbox: &Mailbox,
        args: Vec<Vec<u8>>,
        out: &mut Vec<u8>,
    ) {
        let name = String::from_utf8_lossy(&args[0]).to_ascii_lowercase();
        let loads = self.servers.borrow()[place].loads_until > Instant::now();
        let keys = keys(&name, &args);
        let reads = session.is_reading && matches!(&name[..], "get" | "mget" | "exists");
        let is_channel = matches!(&name[..], "ssubscribe" | "spublish");
        if loads && !is_answered_while_loading(&name) {
            session.is_spoilt |= session.queued.is_some();
            out.extend_from_slice(LOADING);
            return;
        }
        if self.is_cluster
            && let Some(why) = self.elsewhere(place, &keys, session.is_asking, (reads, is_channel))
        {
            session.is_spoilt |= session.queued.is_some();
            out.extend_from_slice(format!("-{why}\r\n").as_bytes());
            return;
        }
        if matches!(&name[..], "set" | "blpop" | "rpush") && !self.is_primary(place) {
            session.is_spoilt |= session.queued.is_some();
            out.extend_from_slice(READONLY);
            return;
        }
        if !matches!(&name[..], "exec" | "discard" | "multi")
            && let Some(queued) = &mut session.queued
        {
            queued.push(args);
            out.extend_from_slice(b"+QUEUED\r\n");
            return;
        }
        match &name[..] {
            "ping" if args.len() > 1 && !mailbox.channels.borrow().is_empty() => {
                out.extend_from_slice(b"*2\r\n$4\r\npong\r\n");
                out.bulk(&args[1]);
            }
            "ping" if args.len() > 1 => out.bulk(&args[1]),
            "ping" => out.extend_from_slice(b"+PONG\r\n"),
            "hello" => {
                session.is_resp3 = true;
                out.extend_from_slice(b"%1\r\n$5\r\nproto\r\n:3\r\n");
            }
            "role" if self.is_primary(place) => {
                session.is_vouched = true;
                out.extend_from_slice(b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
            }
            "role" => out.extend_from_slice(
                b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:7000\r\n$9\r\nconnected\r\n:0\r\n",
            ),
            "info" => {
                let role = if self.is_primary(place) {
                    "role:master\r\nmaster_repl_offset:0\r\n"
                } else {
                    "role:slave\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:0\r\nslave_repl_offset:0\r\n"
                };
                out.bulk(format!("{role}loading:{}\r\n", u8::from(loads)).as_bytes());
            }
            "client" => out.extend_from_slice(b":7\r\n"),
            "asking" => {
                session.is_asking = true;
                out.extend_from_slice(b"+OK\r\n");
            }
            "readonly" => {
                session.is_reading = true;
                out.extend_from_slice(b"+OK\r\n");
            }
            "watch" => {
                let version = |key: &Vec<u8>| (key.clone(), self.data.version(key));
                session.watched.extend(args[1..].iter().map(version));
                out.extend_from_slice(b"+OK\r\n");
            }
            "unwatch" => {
                session.watched.clear();
                out.extend_from_slice(b"+OK\r\n");
            }
            "multi" => {
                session.queued = Some(Vec::new());
                session.is_spoilt = false;
                out.extend_from_slice(b"+OK\r\n");
            }
            "discard" => {
                session.queued = None;
                session.watched.clear();
                out.extend_from_slice(b"+OK\r\n");
            }
            "exec" => self.exec(place, session, out),
            "subscribe" | "ssubscribe" | "unsubscribe" | "sunsubscribe" => {
                listen(&name, &args[1..], mailbox, out);
            }
            _ => {
                if matches!(&name[..], "get" | "mget" | "exists") {
                    self.is_read(place, session.is_vouched);
                }
                self.execute(place, session, &args, out);
            }
        }
    }

    fn exec(&self, place: usize, session: &mut Session, out: &mut Vec<u8>) {
        let watched = std::mem::take(&mut session.watched);
        let Some(queued) = session.queued.take() else {
            out.extend_from_slice(b"-ERR EXEC without MULTI\r\n");
            return;
        };
        let writes = |args: &Vec<Vec<u8>>| {
            [&b"set"[..], b"rpush"].contains(&&args[0].to_ascii_lowercase()[..])
        };
        if session.is_spoilt {
            out.extend_from_slice(SPOILT);
        } else if !self.is_primary(place) && queued.iter().any(writes) {
            // It has become a replica since: redis-server refuses the whole then.
            out.extend_from_slice(READONLY_NOW);
        } else if watched.iter().any(|(key, version)| self.data.version(key) != *version) {
            out.extend_from_slice(if session.is_resp3 { b"_\r\n" } else { b"*-1\r\n" });
        } else {
            out.extend_from_slice(format!("*{}\r\n", queued.len()).as_bytes());
            for args in queued {
                self.execute(place, session, &args, out);
            }
        }
    }

    /// What is published on a server, to whoever listens there; and to whom besides. Says how many have heard it.
    pub fn publish(&self, place: usize, command: &[u8], channel: &[u8], text: &[u8]) -> usize {
        let is_of_shard = command.eq_ignore_ascii_case(b"spublish");
        let kind: &[u8] = if is_of_shard { b"smessage" } else { b"message" };
        let count = self.servers.borrow().len();
        let is_told_all = self.is_cluster && !is_of_shard;
        if is_told_all {
            // The other nodes are told, which takes a while.
            for to in (0..count).filter(|to| *to != place) {
                let most = if self.chance(0.1) { 500 } else { 40 };
                let lag = Duration::from_millis(self.up_to(most));
                self.bus.send((place, to), lag, &[kind, channel, text]);
            }
        }
        let hears = |other: usize| match () {
            () if is_told_all => other == place,
            () if self.has_replicas || self.groups.is_some() => other / 2 == place / 2,
            () => other == place,
        };
        let words = [kind, channel, text];
        (0..count).filter(|at| hears(*at)).map(|at| self.tell(at, &words)).sum()
    }

    /// A message reaches those who listen to its channel at a node. Says how many.
    pub fn tell(&self, place: usize, words: &[&[u8]]) -> usize {
        let topic = (words[0] == b"smessage", words[1].to_vec());
        let mut heard = 0;
        for (_, mailbox) in &self.servers.borrow()[place].connections {
            if mailbox.channels.borrow().contains(&topic) {
                mailbox.put(words);
                heard += 1;
            }
        }
        heard
    }

    /// Slots have changed hands: who listened to channels in them is told to go elsewhere.
    pub fn part_with(&self, piece: usize, before: usize) {
        for (_, mailbox) in &self.servers.borrow()[before].connections {
            let lost: Vec<_> = mailbox
                .channels
                .borrow()
                .iter()
                .filter(|(is_of_shard, name)| {
                    *is_of_shard && usize::from(slot::key_slot(name) / PIECE) == piece
                })
                .cloned()
                .collect();
            for it in lost {
                mailbox.channels.borrow_mut().remove(&it);
                let mut mail = mailbox.mail.borrow_mut();
                confirm("sunsubscribe", &it.1, 0, &mut mail);
                mailbox.news.notify_one();
            }
        }
    }
}

/// Somebody listens to channels, or does so no more.
fn listen(name: &str, channels: &[Vec<u8>], mailbox: &Mailbox, out: &mut Vec<u8>) {
    let is_of_shard = matches!(name, "ssubscribe" | "sunsubscribe");
    for channel in channels {
        let mut listens = mailbox.channels.borrow_mut();
        if name.contains("unsub") {
            listens.remove(&(is_of_shard, channel.clone()));
        } else {
            listens.insert((is_of_shard, channel.clone()));
        }
        let count = listens.iter().filter(|(other, _)| *other == is_of_shard).count();
        confirm(name, channel, count, out);
    }
}

fn confirm(name: &str, channel: &[u8], count: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"*3\r\n");
    out.bulk(name.as_bytes());
    out.bulk(channel);
    out.extend_from_slice(format!(":{count}\r\n").as_bytes());
}
