//! SCAN: the client's cursor says which server is asked, and where it was.
//!
//! Where a server ends before as many keys have come as COUNT asks for, the call goes on to the next: over servers with few keys
//! each, one call tells all keys, as it would of one server. A server whose turn has come and that cannot be asked ends the call with
//! what there is; its error comes with the next.

use redstart_common::resp::{Args, RespWrite, error};

use super::dispatch::refuse;
use super::request::Request;
use super::{ClientId, forward};
use crate::backend::Refusal;
use crate::backend::pipeline::{Kind, Slot, Target};
use crate::gather::{self, Merge, header};
use crate::route::scan::{Leg, leg};
use crate::topology::PoolId;
use crate::worker::Core;

/// Keys that redis-server looks at where nothing is said of it.
const COUNT_USUAL: u64 = 10;

/// A scan that may go on to another server within its call.
#[derive(Debug)]
pub struct Scan {
    /// The request's number in its client's queue.
    pub sequence: u32,
    /// Its words, less the cursor, as they are sent.
    name: Vec<u8>,
    options: Vec<u8>,
    words: u64,
    /// After so many keys it ends.
    count: u64,
    /// The cursor with which the server that is being asked begins; 0 for the first, whose error is the call's.
    begin: u32,
    /// The cursor with which the one after it begins.
    next: u32,
    /// Keys that have come, as they are sent, and how many.
    keys: Vec<u8>,
    found: u64,
}

/// What becomes of a call after a server has answered.
#[derive(Debug, PartialEq, Eq)]
pub enum After {
    /// It goes on to the next server.
    On,
    /// This is its reply.
    Reply(Vec<u8>),
}

impl Scan {
    fn new(sequence: u32, args: Args<'_>, next: u32) -> Self {
        let mut options = Vec::new();
        args.iter().skip(2).for_each(|word| options.bulk(word));
        Self {
            sequence,
            name: args.at(0).to_vec(),
            options,
            words: args.len() as u64,
            count: count(args),
            begin: 0,
            next,
            keys: Vec::new(),
            found: 0,
        }
    }

    /// Takes the reply of a server, in which its cursor has become one of the pool's.
    pub fn take(&mut self, reply: &[u8]) -> After {
        let Some((cursor, keys, found)) = gather::scanned(reply) else {
            return After::Reply(match self.begin {
                0 => reply.to_vec(),
                begin => self.reply(begin.to_string().as_bytes()),
            });
        };
        self.keys.extend_from_slice(keys);
        self.found += found;
        if cursor == self.next.to_string().as_bytes() && self.next != 0 && self.found < self.count {
            return After::On;
        }
        After::Reply(self.reply(cursor))
    }

    fn reply(&self, cursor: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.keys.len() + 48);
        out.array_len(2);
        out.bulk(cursor);
        header(&mut out, b'*', self.found);
        out.extend_from_slice(&self.keys);
        out
    }
}

/// What COUNT says. Where it is no number a server says so, and the call ends there.
fn count(args: Args<'_>) -> u64 {
    let mut words = args.iter().skip(2);
    while let Some(option) = words.next() {
        let value = words.next().unwrap_or_default();
        if option.eq_ignore_ascii_case(b"COUNT") {
            let text = std::str::from_utf8(value).unwrap_or_default();
            return text.parse().unwrap_or(0);
        }
    }
    COUNT_USUAL
}

/// `SCAN cursor …`
pub fn begin(core: &mut Core, id: ClientId, request: Request<'_>) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let Request { args, now_us, .. } = request;
    let pool = client.pool;
    let cursor = std::str::from_utf8(args.at(1))
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse::<u64>().ok());
    let Some(cursor) = cursor else {
        return refuse(core, id, now_us, |out| out.error(error::INVALID_CURSOR));
    };
    let topology = &core.pools[pool].topology;
    if topology.shards.is_empty() {
        return forward::refused(core, id, now_us, &Refusal::nobody());
    }
    if topology.live.is_empty() {
        return forward::written(core, id, None, Kind::Read, now_us, |_| {});
    }
    let Some(leg) = leg(cursor, topology) else {
        // All that are left have been walked.
        return core.down.clients.reply(id, now_us, |out| {
            out.array_len(2);
            out.bulk(b"0");
            out.array_len(0);
        });
    };
    let backend = backend(core, id, pool, leg);
    if let Err(refusal) = core.up.check(backend, now_us) {
        return forward::refused(core, id, now_us, &refusal);
    }
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let scan = Scan::new(client.begin(now_us), args, leg.next);
    ask(core, id, backend, leg, &scan, now_us);
    if leg.next != 0
        && let Some(client) = core.down.clients.get_mut(id)
    {
        client.scans.push(scan);
    }
}

/// A call goes on to the next server.
pub fn go_on(core: &mut Core, id: ClientId, sequence: u32) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let pool = client.pool;
    let Some(place) = client.scans.iter().position(|scan| scan.sequence == sequence) else {
        return;
    };
    let mut scan = client.scans.swap_remove(place);
    let now_us = core.clock.now_us();
    match leg(u64::from(scan.next), &core.pools[pool].topology) {
        Some(leg) => {
            (scan.begin, scan.next) = (leg.here, leg.next);
            let backend = backend(core, id, pool, leg);
            if core.up.check(backend, now_us).is_err() {
                let reply = scan.reply(leg.here.to_string().as_bytes());
                return core.down.clients.answer_owned(id, sequence, reply, now_us);
            }
            ask(core, id, backend, leg, &scan, now_us);
            if let Some(client) = core.down.clients.get_mut(id) {
                client.scans.push(scan);
            }
        }
        None => {
            let reply = scan.reply(b"0");
            core.down.clients.answer_owned(id, sequence, reply, now_us);
        }
    }
}

fn backend(core: &mut Core, id: ClientId, pool: PoolId, leg: Leg) -> usize {
    let lane = core.down.clients.get_mut(id).map_or(0, |client| client.lane);
    core.pools[pool].backend(leg.shard, lane)
}

fn ask(core: &mut Core, id: ClientId, backend: usize, leg: Leg, scan: &Scan, now_us: u64) {
    let merge = Merge::Scan { here: leg.here, next: leg.next };
    let gather = core.down.gathers.begin(merge, id, scan.sequence, 1, &[]);
    let target = Target::Part { gather, part: 0 };
    core.up.send(backend, Slot::new(target, Kind::Walk, now_us), |output| {
        let out = output.tail();
        header(out, b'*', scan.words);
        out.bulk(&scan.name);
        out.bulk(leg.cursor.to_string().as_bytes());
        out.extend_from_slice(&scan.options);
    });
}

#[cfg(test)]
mod tests {
    use redstart_common::resp::{Limits, RequestScanner};

    use super::*;

    fn scan(request: &str, next: u32) -> Scan {
        let mut scanner = RequestScanner::default();
        let line = format!("{request}\r\n");
        assert!(matches!(scanner.scan(line.as_bytes(), &Limits::default()), Ok(Some(_))));
        Scan::new(7, scanner.args(line.as_bytes()), next)
    }

    fn reply(cursor: &str, keys: &[&str]) -> Vec<u8> {
        let mut out = format!("*2\r\n${}\r\n{cursor}\r\n*{}\r\n", cursor.len(), keys.len());
        keys.iter().for_each(|key| out += &format!("${}\r\n{key}\r\n", key.len()));
        out.into_bytes()
    }

    #[test]
    fn a_call_goes_on_while_count_leaves_room() {
        let mut it = scan("SCAN 0 MATCH * count 3", 2);
        assert_eq!(it.take(&reply("2", &["a"])), After::On);
        (it.begin, it.next) = (2, 3);
        assert_eq!(it.take(&reply("3", &["b", "c"])), After::Reply(reply("3", &["a", "b", "c"])));
        let mut it = scan("SCAN 0", 2);
        assert_eq!(
            it.take(&reply("1048577", &[])),
            After::Reply(reply("1048577", &[])),
            "it has more"
        );
        let mut it = scan("SCAN 5", 0);
        assert_eq!(it.take(&reply("0", &["a"])), After::Reply(reply("0", &["a"])), "the last");
        let mut it = scan("SCAN 0 COUNT x", 2);
        assert_eq!(it.take(b"-ERR no integer\r\n"), After::Reply(b"-ERR no integer\r\n".to_vec()));
    }

    #[test]
    fn an_error_of_a_later_server_loses_no_key() {
        let mut it = scan("SCAN 0", 2);
        assert_eq!(it.take(&reply("2", &["a"])), After::On);
        (it.begin, it.next) = (2, 3);
        assert_eq!(it.take(b"-ERR away\r\n"), After::Reply(reply("2", &["a"])));
    }

    #[test]
    fn count_is_found_among_the_options() {
        assert_eq!(scan("SCAN 0", 0).count, 10);
        assert_eq!(scan("SCAN 0 MATCH count COUNT 70 TYPE set", 0).count, 70);
        assert_eq!(scan("SCAN 0 COUNT", 0).count, 0);
    }
}
