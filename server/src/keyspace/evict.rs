//! Eviction: keys are removed by a policy while memory in use is over `maxmemory`.
//!
//! As in Redis the choice is an approximation: a few keys are drawn, and the best candidate of those, and of earlier
//! draws that are still worth considering, goes.

use std::time::Instant;

use rand::Rng;

use redstart_common::memory::used_bytes;

use super::{Db, Entry, Keyspace};
use crate::cron::micros_since;
use crate::dispatch::notify::Classes;
use crate::engine::Core;
use crate::settings::Policy;

/// Candidates remembered between draws.
const POOL: usize = 16;
/// Keys removed between two looks at the clock.
const KEYS_MAX: usize = 4096;

struct Candidate {
    db: usize,
    key: Box<[u8]>,
    /// The higher, the better to evict.
    score: u64,
}

fn score(policy: Policy, entry: &Entry, clock: u32, now_ms: i64, decay_minutes: u32) -> u64 {
    match policy {
        Policy::VolatileTtl => u64::MAX - entry.deadline().map_or(0, i64::unsigned_abs),
        Policy::VolatileLfu | Policy::AllkeysLfu => {
            u64::from(255 - (super::lfu::decay(entry.lru(), now_ms, decay_minutes) & 0xff))
        }
        _ => u64::from(clock.wrapping_sub(entry.lru()) & 0xff_ffff),
    }
}

fn draw(db: &Db, volatile: bool) -> Option<&Entry> {
    if volatile { db.random_volatile() } else { db.random() }
}

/// Finds the next key to evict.
fn choose(
    keyspace: &Keyspace,
    core: &Core,
    pool: &mut Vec<Candidate>,
) -> Option<(usize, Box<[u8]>)> {
    let policy = core.settings.maxmemory_policy;
    let volatile = policy.is_volatile();
    let count = |db: &Db| if volatile { db.volatile_len() } else { db.len() };
    if matches!(policy, Policy::AllkeysRandom | Policy::VolatileRandom) {
        let start = rand::rng().random_range(0..keyspace.dbs.len());
        return (0..keyspace.dbs.len())
            .map(|step| &keyspace.dbs[(start + step) % keyspace.dbs.len()])
            .find_map(|db| draw(db, volatile).map(|entry| (db.index(), entry.key().into())));
    }
    let shared = &keyspace.shared;
    for db in keyspace.dbs.iter().filter(|db| count(db) > 0) {
        for _ in 0..core.settings.maxmemory_samples.min(count(db)) {
            let Some(entry) = draw(db, volatile) else { break };
            let score = score(
                policy,
                entry,
                shared.lru_clock.get(),
                shared.now_ms.get(),
                core.settings.lfu_decay_time,
            );
            let known = pool.iter().any(|held| held.db == db.index() && *held.key == *entry.key());
            let worse = pool.len() == POOL && pool.first().is_some_and(|held| held.score >= score);
            if known || worse {
                continue;
            }
            if pool.len() == POOL {
                pool.remove(0);
            }
            let place = pool.partition_point(|held| held.score < score);
            pool.insert(place, Candidate { db: db.index(), key: entry.key().into(), score });
        }
    }
    while let Some(best) = pool.pop() {
        // A remembered candidate may be gone by now, or may no longer have a deadline.
        let there = keyspace.dbs[best.db].look_any(&best.key);
        if there.is_some_and(|entry| !volatile || entry.deadline().is_some()) {
            return Some((best.db, best.key));
        }
    }
    None
}

/// Evicts until memory is below the limit. Answers whether it is.
pub fn run(keyspace: &mut Keyspace, core: &mut Core) -> bool {
    if core.settings.maxmemory_policy == Policy::NoEviction {
        return false;
    }
    let start = Instant::now();
    let enough = cycle(keyspace, core);
    core.note_latency("eviction-cycle", micros_since(start));
    enough
}

fn cycle(keyspace: &mut Keyspace, core: &mut Core) -> bool {
    let mut pool = Vec::new();
    // What the removals free counts, not what is in use behind them: telling others of a removal takes memory too,
    // and the cure must not call for more of itself.
    let wanted = used_bytes().saturating_sub(core.settings.maxmemory);
    let mut freed = 0;
    for _ in 0..KEYS_MAX {
        if freed >= wanted || !core.out_of_memory() {
            return true;
        }
        let Some((db, key)) = choose(keyspace, core, &mut pool) else { return false };
        let start = Instant::now();
        let before = used_bytes();
        if core.settings.lazyfree_lazy_eviction {
            keyspace.db(db).unlink(&key);
        } else {
            keyspace.db(db).remove(&key);
        }
        core.note_latency("eviction-del", micros_since(start));
        freed += before.saturating_sub(used_bytes());
        core.stats.evicted_keys += 1;
        let mut nobody = crate::client::Client::new(0, 0);
        let word: &[u8] = if core.settings.lazyfree_lazy_eviction { b"UNLINK" } else { b"DEL" };
        core.effects.push(db, &[word, &key]);
        let mut call = crate::dispatch::Call::aside(keyspace, core, &mut nobody);
        call.modified_in(db, &key);
        call.notify_in(db, Classes::EVICTED, "evicted", &key);
        core.effects.flush();
    }
    !core.out_of_memory()
}
