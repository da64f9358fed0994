//! Reads that miss are asked of the next servers of the ring (`read_fallback`), and what is found there is brought home.
//!
//! ```text
//!   read ──▶ its server ──miss──▶ the next on the ring ──miss──▶ … ──▶ the miss is the answer
//!                                          │ found: the answer
//!                                          └─DUMP, PTTL──▶ RESTORE at its server, with the time it has left
//! ```
//!
//! Only commands whose reply says for certain that the key is not there are asked again, so that what its server has is never
//! mixed with what another has. RESTORE without REPLACE overwrites nothing: whatever was written at home meanwhile stays. What
//! was sent behind the read has its turn meanwhile; only the reply waits.

use std::collections::HashMap;

use redstart_common::net::buffer;
use redstart_common::resp::encode;
use smallvec::SmallVec;

use super::request::{Request, write_args};
use super::{ClientId, absent, dispatch::Next, forward};
use crate::backend::pipeline::{Kind, Slot, Target};
use crate::route::distribution::ShardIndex;
use crate::topology::{PoolId, ShardId};
use crate::worker::Core;

/// The commands that are asked again, each with the replies that say that the key is not there.
const FILLED: &[(&str, &[&[u8]])] = &[
    ("dump", NULL),
    ("get", NULL),
    ("hgetall", EMPTY),
    ("hkeys", EMPTY),
    ("hlen", ZERO),
    ("hvals", EMPTY),
    ("llen", ZERO),
    ("pttl", GONE),
    ("scard", ZERO),
    ("smembers", EMPTY),
    ("ttl", GONE),
    ("type", &[b"+none\r\n"]),
    ("zcard", ZERO),
];

const NULL: &[&[u8]] = &[b"$-1\r\n", b"_\r\n"];
/// There are no empty collections.
const EMPTY: &[&[u8]] = &[b"*0\r\n", b"~0\r\n", b"%0\r\n"];
const ZERO: &[&[u8]] = &[b":0\r\n"];
const GONE: &[&[u8]] = &[b":-2\r\n"];

/// Whether a command is asked again where it misses.
#[must_use]
pub fn is_filled(name: &str) -> bool {
    FILLED.iter().any(|(other, _)| *other == name)
}

fn is_miss(name: &str, reply: &[u8]) -> bool {
    FILLED.iter().any(|(other, misses)| *other == name && misses.contains(&reply))
}

/// A read that may be asked again.
#[derive(Debug)]
struct Filling {
    pool: PoolId,
    lane: u32,
    name: &'static str,
    request: Vec<u8>,
    key: Vec<u8>,
    hash: u64,
    /// The shards that were asked, its own first.
    asked: SmallVec<[ShardId; 2]>,
    /// What its own answered.
    miss: Vec<u8>,
}

/// A value on its way home.
#[derive(Debug)]
struct Copying {
    pool: PoolId,
    lane: u32,
    home: ShardId,
    key: Vec<u8>,
    payload: Option<Vec<u8>>,
    ttl: Option<i64>,
}

/// What a worker's reads wait for.
#[derive(Debug, Default)]
pub struct Fills {
    reads: HashMap<(ClientId, u32), Filling>,
    copies: HashMap<u32, Copying>,
    number: u32,
}

/// What a reply to such a read means.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is the answer.
    Answer,
    /// The next is to be asked.
    Missed,
    /// It is the answer, and comes from elsewhere.
    Found,
}

impl Fills {
    /// Whether nothing is waited for.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.reads.is_empty() && self.copies.is_empty()
    }

    /// Looks at the reply to a read.
    pub fn look(&mut self, id: ClientId, sequence: u32, reply: &[u8]) -> Outcome {
        let Some(filling) = self.reads.get(&(id, sequence)) else { return Outcome::Answer };
        let is_elsewhere = filling.asked.len() > 1;
        // What goes wrong elsewhere is no answer.
        if is_miss(filling.name, reply) || (is_elsewhere && reply.starts_with(b"-")) {
            return Outcome::Missed;
        }
        if is_elsewhere {
            return Outcome::Found;
        }
        self.reads.remove(&(id, sequence));
        Outcome::Answer
    }

    /// Takes in a reply about a value that is to be brought home: the payload, or how long it lives. Says whether both
    /// are there.
    pub fn take(&mut self, number: u32, is_payload: bool, reply: &[u8]) -> bool {
        let Some(copying) = self.copies.get_mut(&number) else { return false };
        if is_payload {
            copying.payload = bulk(reply).map(<[u8]>::to_vec);
            return false;
        }
        let text = reply.strip_prefix(b":").and_then(|text| text.strip_suffix(b"\r\n"));
        let text = text.and_then(|text| std::str::from_utf8(text).ok());
        copying.ttl = text.and_then(|text| text.parse().ok());
        true
    }
}

/// The bytes of a bulk string.
fn bulk(reply: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr(b'\n', reply)?;
    let len: usize = std::str::from_utf8(reply.get(1..end - 1)?).ok()?.parse().ok()?;
    (reply.first() == Some(&b'$')).then(|| reply.get(end + 1..end + 1 + len)).flatten()
}

/// A read that is asked of the next servers where it misses; its key is the argument at `place`.
pub fn ask(core: &mut Core, id: ClientId, request: Request<'_>, place: usize) -> Next {
    let now_us = request.now_us;
    let Some(client) = core.down.clients.get_mut(id) else { return Next::Taken };
    let (pool, lane) = (client.pool, client.lane);
    let key = request.args.at(place);
    let it = &core.pools[pool];
    let hash = it.hash(key);
    let Some(shard) = it.topology.distribution.shard(hash) else {
        return absent::nobody(core, id, now_us);
    };
    let home = it.topology.shards[usize::from(shard)].id;
    let mut asked = None;
    forward::by(core, id, Some(shard), Kind::Read, now_us, |up, backend, target| {
        if let Target::Client { id, sequence } = target {
            asked = Some(sequence);
            let slot = Slot::new(Target::Fill { id, sequence }, Kind::Read, now_us);
            up.send(backend, slot, |output| request.write(output));
        }
    });
    if let Some(sequence) = asked {
        let mut bytes = buffer::take();
        write_args(request.args, &mut bytes);
        let filling = Filling {
            pool,
            lane,
            name: request.row.name,
            request: bytes,
            key: key.to_vec(),
            hash,
            asked: SmallVec::from_slice(&[home]),
            miss: Vec::new(),
        };
        core.down.fills.reads.insert((id, sequence), filling);
    }
    Next::Taken
}

/// A read has missed: the next server is asked, or, if all that may be were, the miss is the answer.
pub fn missed(core: &mut Core, id: ClientId, sequence: u32, reply: Vec<u8>) {
    let now_us = core.clock.now_us();
    let Some(mut filling) = core.down.fills.reads.remove(&(id, sequence)) else {
        return core.down.clients.answer(id, sequence, &reply, now_us);
    };
    if filling.miss.is_empty() {
        filling.miss = reply;
    }
    if let Some((shard, identity)) = next(core, &filling) {
        let backend = core.pools[filling.pool].backend(shard, filling.lane);
        if core.up.check(backend, now_us).is_ok() {
            let slot = Slot::new(Target::Fill { id, sequence }, Kind::Read, now_us);
            core.up.send(backend, slot, |output| output.push(&filling.request));
            filling.asked.push(identity);
            core.pools[filling.pool].stats.fallback_reads += 1;
            core.down.fills.reads.insert((id, sequence), filling);
            return;
        }
    }
    core.down.clients.answer(id, sequence, &filling.miss, now_us);
    buffer::give(filling.request);
}

/// The next server of the ring that was not asked, if one more may be.
fn next(core: &Core, filling: &Filling) -> Option<(ShardIndex, ShardId)> {
    let pool = &core.pools[filling.pool];
    let topology = &pool.topology;
    if filling.asked.len() > usize::from(pool.shared.settings.read_fallback) {
        return None;
    }
    let identity = |shard: ShardIndex| topology.shards[usize::from(shard)].id;
    let shard = topology
        .distribution
        .next(filling.hash, |shard| filling.asked.contains(&identity(shard)))?;
    Some((shard, identity(shard)))
}

/// A read was answered from elsewhere: the value is brought home.
pub fn found(core: &mut Core, id: ClientId, sequence: u32) {
    let now_us = core.clock.now_us();
    let Some(filling) = core.down.fills.reads.remove(&(id, sequence)) else { return };
    let Filling { pool, lane, key, asked, request, .. } = filling;
    buffer::give(request);
    let (Some(home), Some(from)) = (asked.first().copied(), asked.last()) else { return };
    if asked.len() < 2 {
        return;
    }
    core.pools[pool].stats.fallback_hits += 1;
    let Some(from) = core.pools[pool].topology.place_of(*from) else { return };
    let backend = core.pools[pool].backend(from, lane);
    if core.up.check(backend, now_us).is_err() {
        return;
    }
    core.down.fills.number = core.down.fills.number.wrapping_add(1);
    let number = core.down.fills.number;
    for (name, is_payload) in [(&b"DUMP"[..], true), (b"PTTL", false)] {
        let slot = Slot::new(Target::Copy { number, is_payload }, Kind::Read, now_us);
        core.up.send(backend, slot, |output| {
            encode::request(output.tail(), [name, &key].into_iter());
        });
    }
    let copying = Copying { pool, lane, home, key, payload: None, ttl: None };
    core.down.fills.copies.insert(number, copying);
}

/// What is known of a value is all there is: it is stored at home.
pub fn copied(core: &mut Core, number: u32) {
    let now_us = core.clock.now_us();
    let Some(copying) = core.down.fills.copies.remove(&number) else { return };
    let Copying { pool, lane, home, key, payload, ttl } = copying;
    let (Some(payload), Some(ttl)) = (payload, ttl) else { return };
    // It may have gone meanwhile.
    if ttl < -1 || ttl == 0 {
        return;
    }
    let Some(home) = core.pools[pool].topology.place_of(home) else { return };
    let backend = core.pools[pool].backend(home, lane);
    if core.up.check(backend, now_us).is_ok() {
        let ttl = ttl.max(0).to_string();
        let slot = Slot::new(Target::Nobody, Kind::Write, now_us);
        core.up.send(backend, slot, |output| {
            let words = [&b"RESTORE"[..], &key, ttl.as_bytes(), &payload];
            encode::request(output.tail(), words.into_iter());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_that_there_is_no_key_is_a_miss() {
        for (name, reply, wanted) in [
            ("get", &b"$-1\r\n"[..], true),
            ("get", b"_\r\n", true),
            ("get", b"$0\r\n\r\n", false),
            ("hgetall", b"%0\r\n", true),
            ("hgetall", b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", false),
            ("ttl", b":0\r\n", false),
            ("ttl", b":-1\r\n", false),
            ("ttl", b":-2\r\n", true),
            ("llen", b":0\r\n", true),
            ("type", b"+none\r\n", true),
            ("hget", b"$-1\r\n", false),
        ] {
            assert_eq!(is_miss(name, reply), wanted, "{name} {reply:?}");
        }
        // These may say so of a key that is there.
        assert!(!["hget", "strlen", "getrange", "lrange", "exists"].iter().any(|it| is_filled(it)));
    }

    #[test]
    fn replies_about_a_value_are_gathered() {
        let mut fills = Fills::default();
        let copying = || Copying {
            pool: PoolId::new(0),
            lane: 0,
            home: crate::topology::roster::shard_of_tests(),
            key: b"k".to_vec(),
            payload: None,
            ttl: None,
        };
        fills.copies.insert(1, copying());
        assert!(!fills.take(1, true, b"$3\r\na\r\n\r\n"));
        assert!(fills.take(1, false, b":-1\r\n"));
        assert_eq!(fills.copies[&1].payload.as_deref(), Some(&b"a\r\n"[..]));
        assert_eq!(fills.copies[&1].ttl, Some(-1));
        fills.copies.insert(2, copying());
        assert!(!fills.take(2, true, b"-ERR no\r\n") && fills.take(2, false, b"-ERR no\r\n"));
        assert!(fills.copies[&2].payload.is_none() && fills.copies[&2].ttl.is_none());
        assert!(!fills.take(3, false, b":1\r\n"), "nobody asked");
    }
}
