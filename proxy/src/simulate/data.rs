//! What all servers of a history have: values by rule, and what they were told to keep. All of a shard have the same: nobody lags
//! behind anybody.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};

use redstart_common::resp::RespWrite;
use tokio::time::Instant;

use super::answers::Session;
use super::servers::World;
use super::wire;
use crate::scripts;

/// A script that reads its key.
pub const READS: &[u8] = b"return redis.call('get', KEYS[1])";
/// A script that writes to its key.
pub const WRITES: &[u8] = b"return redis.call('set', KEYS[1], ARGV[1])";

/// What was said when a write was not run, and is not to be run later.
type Denied = HashSet<u64>;

/// When a write ran, by the count of all, and on which server.
#[derive(Debug, Clone, Copy)]
struct Ran {
    turn: usize,
    place: usize,
}

/// What servers have, and what they have run.
#[derive(Debug, Default)]
pub struct Data {
    /// Keys of which some servers lack the value, where reads that miss are asked of others; these have been brought home.
    brought: RefCell<HashSet<(usize, Vec<u8>)>>,
    /// How often each write ran.
    runs: RefCell<HashMap<u64, u32>>,
    /// When and where each ran first.
    ran: RefCell<HashMap<u64, Ran>>,
    /// What was written to each key last.
    values: RefCell<HashMap<Vec<u8>, u64>>,
    /// The writes that somebody was told of.
    told: RefCell<Vec<u64>>,
    /// The writes of which somebody was told that they have not run.
    denied: RefCell<Denied>,
    /// When each write was asked for: that of the first comes first.
    asked: RefCell<Vec<Instant>>,
    /// How often each key was written.
    versions: RefCell<HashMap<Vec<u8>, u64>>,
    /// What is only counted up, each time by one, under WATCH.
    counters: RefCell<HashMap<Vec<u8>, u64>>,
    /// An increment that was lost.
    lost: RefCell<Option<String>>,
    lists: RefCell<HashMap<Vec<u8>, VecDeque<u64>>>,
    /// Elements that were taken out of lists, and those that a client was given.
    popped: Cell<u64>,
    given: RefCell<HashSet<u64>>,
    /// Somebody has left in the middle.
    pub has_given_up: Cell<bool>,
    /// The scripts of each server.
    scripts: RefCell<HashSet<(usize, String)>>,
    /// The scripts that the proxy has seen.
    shown: RefCell<HashSet<String>>,
}

/// A digest as servers write it.
pub fn digest(body: &[u8]) -> String {
    scripts::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Data {
    /// A number for a write.
    pub fn next_id(&self) -> u64 {
        let mut asked = self.asked.borrow_mut();
        asked.push(Instant::now());
        asked.len() as u64
    }

    /// Somebody was told that a write has run.
    pub fn told(&self, id: u64) {
        self.told.borrow_mut().push(id);
    }

    /// Somebody was told that a write has not run.
    pub fn denied(&self, id: u64) {
        self.denied.borrow_mut().insert(id);
    }

    /// A client was given an element of a list. Says whether nobody was before.
    pub fn gives(&self, id: u64) -> bool {
        self.given.borrow_mut().insert(id)
    }

    /// Whether the second of two writes ran before the first. With `by_server` that counts only where one server ran both.
    pub fn is_overtaken(&self, first: u64, second: u64, by_server: bool) -> bool {
        let ran = self.ran.borrow();
        let (Some(first), Some(second)) = (ran.get(&first), ran.get(&second)) else { return false };
        second.turn < first.turn && (!by_server || first.place == second.place)
    }

    /// Whether a read on a server has found something older than a write that was asked for before it.
    pub fn is_missed(&self, write: u64, found: u64, place: usize, by_server: bool) -> bool {
        let ran = self.ran.borrow();
        let Some(write) = ran.get(&write).filter(|it| !by_server || it.place == place) else {
            return false;
        };
        ran.get(&found).is_none_or(|found| found.turn < write.turn)
    }

    /// Writes that ran.
    pub fn writes(&self) -> u64 {
        self.runs.borrow().len() as u64
    }

    /// Whether the proxy has been told of a script, and somebody has heard so.
    pub fn is_shown(&self, digest: &str) -> bool {
        self.shown.borrow().contains(digest)
    }

    /// A client has heard that a script is known.
    pub fn show(&self, digest: String) {
        self.shown.borrow_mut().insert(digest);
    }

    /// A server that ends forgets its scripts.
    pub fn forget_scripts(&self, place: usize) {
        self.scripts.borrow_mut().retain(|(other, _)| *other != place);
    }

    /// How often a key was written.
    pub fn version(&self, key: &[u8]) -> u64 {
        self.versions.borrow().get(key).copied().unwrap_or(0)
    }

    fn touch(&self, key: &[u8]) {
        *self.versions.borrow_mut().entry(key.to_vec()).or_default() += 1;
    }

    /// Whether a list has an element.
    pub fn has_any(&self, key: &[u8]) -> bool {
        self.lists.borrow().get(key).is_some_and(|list| !list.is_empty())
    }

    /// The first element of a list, which is then there no more.
    fn pop(&self, key: &[u8]) -> Option<u64> {
        let id = self.lists.borrow_mut().get_mut(key)?.pop_front()?;
        self.touch(key);
        self.popped.set(self.popped.get() + 1);
        Some(id)
    }

    /// No write ran twice, what somebody was told has run, and what somebody was told has not run has not. `may_lose` says that
    /// connections were lost, and elements of lists with them.
    pub fn judge(&self, may_lose: bool) -> Result<(), String> {
        let runs = self.runs.borrow();
        if let Some((id, count)) = runs.iter().filter(|(_, count)| **count > 1).min() {
            return Err(format!("write {id} ran {count} times"));
        }
        if let Some(id) = self.told.borrow().iter().find(|id| !runs.contains_key(id)) {
            return Err(format!("write {id} was acknowledged and did not run"));
        }
        if let Some(id) = self.denied.borrow().iter().find(|id| runs.contains_key(id)) {
            return Err(format!("write {id} ran, and its client was told that it did not"));
        }
        if let Some(why) = &*self.lost.borrow() {
            return Err(why.clone());
        }
        let given = self.given.borrow().len() as u64;
        if !may_lose && given != self.popped.get() {
            return Err(format!("{} elements were popped, and {given} given", self.popped.get()));
        }
        Ok(())
    }

    /// The writes that somebody was told of.
    pub fn all_told(&self) -> Vec<u64> {
        self.told.borrow().clone()
    }
}

impl World {
    /// Whether a server has a key. All have those that are not of the kind that may be missing.
    fn has(&self, place: usize, key: &[u8]) -> bool {
        let Some(number) = key.strip_prefix(b"m:") else { return true };
        let sum: usize = number.iter().map(|byte| usize::from(*byte)).sum();
        let is_brought = || self.data.brought.borrow().contains(&(place, key.to_vec()));
        (sum + place).is_multiple_of(3) || is_brought()
    }

    /// Whether whoever asks for a key must be given its value.
    pub fn is_found(&self, key: &[u8]) -> bool {
        let count = self.servers.borrow().len();
        self.asks_all && !self.is_rough() && (0..count).any(|place| self.has(place, key))
    }

    /// Whether this is an element of a list that nobody else was given.
    pub fn is_element(&self, key: &[u8], reply: &[u8]) -> bool {
        let words = wire::take_words(&mut reply.to_vec()).ok().flatten().unwrap_or_default();
        let [of, element] = &words[..] else { return false };
        let id = std::str::from_utf8(element).ok().and_then(|text| text.parse().ok());
        of == key && id.is_some_and(|id| self.data.gives(id))
    }

    /// A write runs. `id` is its number, perhaps with more behind it.
    fn write(&self, place: usize, key: &[u8], value: &[u8]) {
        let text = String::from_utf8_lossy(value);
        let mut words = text.split(' ');
        let id: u64 = words.next().and_then(|word| word.parse().ok()).expect("a number");
        *self.data.runs.borrow_mut().entry(id).or_default() += 1;
        let mut ran = self.data.ran.borrow_mut();
        let turn = ran.len();
        ran.entry(id).or_insert(Ran { turn, place });
        self.data.values.borrow_mut().insert(key.to_vec(), id);
        self.data.touch(key);
        if key.starts_with(b"c:") {
            let count: u64 = words.next().and_then(|word| word.parse().ok()).expect("a count");
            let mut counters = self.data.counters.borrow_mut();
            let before = std::mem::replace(counters.entry(key.to_vec()).or_default(), count);
            if count != before + 1 {
                let key = String::from_utf8_lossy(key);
                let why = format!("{key} became {count} and was {before}: an increment is lost");
                self.data.lost.borrow_mut().get_or_insert(why);
            }
        }
        if let Some(groups) = &self.groups {
            groups.ran(place, id, self.data.asked.borrow()[id as usize - 1]);
        }
    }

    fn get(&self, place: usize, key: &[u8], session: &Session, out: &mut Vec<u8>) {
        if key.starts_with(b"c:") {
            let count = self.data.counters.borrow().get(key).copied().unwrap_or(0);
            out.bulk(count.to_string().as_bytes());
        } else if key.starts_with(b"w:") {
            let written = self.data.values.borrow().get(key).copied().unwrap_or(0);
            out.bulk(format!("{written} {place}").as_bytes());
        } else if self.has(place, key) && !self.has_left_replica(place, key) {
            out.bulk(&wire::value_of(key));
        } else {
            out.extend_from_slice(if session.is_resp3 { b"_\r\n" } else { b"$-1\r\n" });
        }
    }

    /// Runs a command that nothing speaks against.
    pub fn execute(&self, place: usize, session: &Session, args: &[Vec<u8>], out: &mut Vec<u8>) {
        match &args[0].to_ascii_lowercase()[..] {
            b"get" | b"dump" => self.get(place, &args[1], session, out),
            b"pttl" => {
                let answer = if self.has(place, &args[1]) { ":-1\r\n" } else { ":-2\r\n" };
                out.extend_from_slice(answer.as_bytes());
            }
            b"restore" if self.has(place, &args[1]) => {
                out.extend_from_slice(b"-BUSYKEY Target key name already exists.\r\n");
            }
            b"restore" => {
                assert_eq!(args[2], b"0");
                assert_eq!(args[3], wire::value_of(&args[1]), "another key's value comes home");
                self.data.brought.borrow_mut().insert((place, args[1].clone()));
                out.extend_from_slice(b"+OK\r\n");
            }
            b"mget" => {
                out.extend_from_slice(format!("*{}\r\n", args.len() - 1).as_bytes());
                args[1..].iter().for_each(|key| self.get(place, key, session, out));
            }
            b"exists" => {
                let is_there = |key: &&Vec<u8>| !self.has_left_replica(place, key);
                let count = args[1..].iter().filter(is_there).count();
                out.extend_from_slice(format!(":{count}\r\n").as_bytes());
            }
            b"set" => {
                self.write(place, &args[1], &args[2]);
                out.extend_from_slice(b"+OK\r\n");
            }
            b"rpush" => {
                self.write(place, &args[1], &args[2]);
                let id = std::str::from_utf8(&args[2]).expect("text").parse().expect("a number");
                let mut lists = self.data.lists.borrow_mut();
                let list = lists.entry(args[1].clone()).or_default();
                list.push_back(id);
                out.extend_from_slice(format!(":{}\r\n", list.len()).as_bytes());
            }
            b"blpop" => match self.data.pop(&args[1]) {
                Some(id) => {
                    if self.groups.as_ref().is_some_and(|groups| groups.is_deposed(place)) {
                        // With what this server has, it is lost.
                        self.data.given.borrow_mut().insert(id);
                    }
                    out.extend_from_slice(b"*2\r\n");
                    out.bulk(&args[1]);
                    out.bulk(id.to_string().as_bytes());
                }
                None => {
                    out.extend_from_slice(if session.is_resp3 { b"_\r\n" } else { b"*-1\r\n" });
                }
            },
            b"publish" | b"spublish" => {
                let heard = self.publish(place, &args[0], &args[1], &args[2]);
                out.extend_from_slice(format!(":{heard}\r\n").as_bytes());
            }
            b"script" if args[1].eq_ignore_ascii_case(b"load") => {
                let digest = digest(&args[2]);
                out.bulk(digest.as_bytes());
                self.data.scripts.borrow_mut().insert((place, digest));
            }
            b"eval" => {
                self.data.scripts.borrow_mut().insert((place, digest(&args[1])));
                self.run_script(place, session, &args[1], args, out);
            }
            b"evalsha" => {
                let named = String::from_utf8_lossy(&args[1]).into_owned();
                let body = [READS, WRITES].into_iter().find(|body| digest(body) == named);
                let is_here = self.data.scripts.borrow().contains(&(place, named));
                match body.filter(|_| is_here) {
                    Some(body) => self.run_script(place, session, body, args, out),
                    None => {
                        out.extend_from_slice(b"-NOSCRIPT No matching script. Please use EVAL.\r\n")
                    }
                }
            }
            other => panic!("a server was sent {:?}", String::from_utf8_lossy(other)),
        }
    }

    fn run_script(
        &self,
        place: usize,
        session: &Session,
        body: &[u8],
        args: &[Vec<u8>],
        out: &mut Vec<u8>,
    ) {
        if body == READS {
            self.get(place, &args[3], session, out);
        } else if self.is_primary(place) {
            self.write(place, &args[3], &args[4]);
            out.extend_from_slice(b"+OK\r\n");
        } else {
            out.extend_from_slice(
                b"-READONLY You can't write against a read only replica. script: 1, on @user_script:1.\r\n",
            );
        }
    }
}
