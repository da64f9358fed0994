//! Eviction: keys are removed by a policy while memory in use is over `maxmemory`.
//!
//! As in Redis the choice is an approximation: a few keys are drawn, and the best candidate of those, and of earlier
//! draws that are still worth considering, goes.

use std::time::{Duration, Instant};

use rand::Rng;

use redstart_common::memory::used_bytes;

use super::{Db, Entry, Keyspace, lazyfree};
use crate::cron::micros_since;
use crate::dispatch::notify::Classes;
use crate::engine::Core;
use crate::settings::Policy;

/// Candidates remembered between draws.
const POOL: usize = 16;
/// Keys removed between two looks at the clock.
const KEYS_BETWEEN: usize = 16;
/// How long removed values that another thread frees are waited for when nothing else is left to evict.
const FREEING_WAIT: Duration = Duration::from_millis(1);

/// What eviction came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Memory in use is below the limit.
    Enough,
    /// It is not yet: eviction goes on later.
    Later,
    /// It is not, and there is nothing that may be evicted.
    None,
}

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

/// How long eviction may take at once, by `maxmemory-eviction-tenacity`: up to 10 it grows in equal steps, to half a
/// millisecond; from there by 15 % each, as in Redis, to some minutes; 100 is without end.
fn time_limit(tenacity: u32) -> Duration {
    const STEP_US: u64 = 50;
    const STEPS: u32 = 10;
    match tenacity {
        0..=STEPS => Duration::from_micros(STEP_US * u64::from(tenacity)),
        100.. => Duration::MAX,
        _ => {
            let base = (STEP_US * u64::from(STEPS)) as f64;
            Duration::from_micros((base * 1.15_f64.powi((tenacity - STEPS) as i32)) as u64)
        }
    }
}

/// Evicts until memory is below the limit or time is up.
pub fn run(keyspace: &mut Keyspace, core: &mut Core) -> Room {
    if core.settings.maxmemory_policy == Policy::NoEviction {
        return Room::None;
    }
    let start = Instant::now();
    let room = match cycle(keyspace, core, start) {
        Room::None if freed_by_others(core) => Room::Enough,
        room => room,
    };
    core.note_latency("eviction-cycle", micros_since(start));
    room
}

/// Waits a little for what is being freed by another thread, if that may be enough.
fn freed_by_others(core: &Core) -> bool {
    let start = Instant::now();
    while lazyfree::pending() > 0 && core.out_of_memory() && start.elapsed() < FREEING_WAIT {
        std::thread::yield_now();
    }
    !core.out_of_memory()
}

fn cycle(keyspace: &mut Keyspace, core: &mut Core, start: Instant) -> Room {
    let limit = time_limit(core.settings.maxmemory_eviction_tenacity);
    let mut pool = Vec::new();
    // What the removals free counts, not what is in use behind them: telling others of a removal takes memory too,
    // and the cure must not call for more of itself.
    let wanted = core.bytes_over_limit();
    let mut freed = 0;
    let mut removed = 0_usize;
    loop {
        if freed >= wanted || !core.out_of_memory() {
            return Room::Enough;
        }
        if removed > 0 && removed.is_multiple_of(KEYS_BETWEEN) && start.elapsed() > limit {
            return Room::Later;
        }
        let Some((db, key)) = choose(keyspace, core, &mut pool) else { return Room::None };
        let began = Instant::now();
        let before = used_bytes();
        if core.settings.lazyfree_lazy_eviction {
            keyspace.db(db).unlink(&key);
        } else {
            keyspace.db(db).remove(&key);
        }
        core.note_latency("eviction-del", micros_since(began));
        freed += before.saturating_sub(used_bytes());
        core.stats.evicted_keys += 1;
        let mut nobody = crate::client::Client::new(0, 0);
        let word: &[u8] = if core.settings.lazyfree_lazy_eviction { b"UNLINK" } else { b"DEL" };
        core.effects.push(db, &[word, &key]);
        let mut call = crate::dispatch::Call::aside(keyspace, core, &mut nobody);
        call.modified_in(db, &key);
        call.notify_in(db, Classes::EVICTED, "evicted", &key);
        core.effects.flush();
        removed += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenacity_is_time() {
        let micros = [0, 1, 10, 11, 99].map(|tenacity| time_limit(tenacity).as_micros());
        assert_eq!(micros[..4], [0, 50, 500, 575]);
        assert!((100_000_000..300_000_000).contains(&micros[4]), "minutes, of {}", micros[4]);
        assert_eq!(time_limit(100), Duration::MAX);
    }
}
