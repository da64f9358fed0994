//! Eviction: keys are removed by a policy while memory in use is over `maxmemory`.
//!
//! As in Redis the choice is an approximation: a few keys are drawn, and the best candidate of those, and of earlier
//! draws that are still worth considering, goes.

use std::time::{Duration, Instant};

use rand::Rng;

use super::candidates::{Candidate, Candidates, Room};
use crate::client::Client;
use crate::encoding::table::Drawn;
use crate::engine::{Core, Engine};
use crate::keyspace::{Db, Entry, Keyspace, lazyfree, lfu};
use crate::observe::latency::micros_since;
use crate::observe::memory::used_bytes;
use crate::settings::Policy;
use crate::settings::notify::Classes;

/// Keys removed between two looks at the clock.
const KEYS_BETWEEN: usize = 16;
/// How often keys are drawn before it is held that there is none but those that lie aside.
const DRAWS_BESIDE_ASIDE: u32 = 1000;
/// How long removed values that another thread frees are waited for when nothing else is left to evict.
const FREEING_WAIT: Duration = Duration::from_millis(1);

fn score(policy: Policy, entry: &Entry, clock: u32, now_ms: i64, decay_minutes: u32) -> u64 {
    match policy {
        Policy::VolatileTtl => u64::MAX - entry.deadline().map_or(0, i64::unsigned_abs),
        Policy::VolatileLfu | Policy::AllkeysLfu => {
            u64::from(255 - (lfu::decay(entry.lru(), now_ms, decay_minutes) & 0xff))
        }
        _ => u64::from(clock.wrapping_sub(entry.lru()) & 0xff_ffff),
    }
}

/// Finds the next key to evict and puts it into `key`.
fn choose(keyspace: &Keyspace, core: &mut Core, key: &mut Vec<u8>) -> Option<usize> {
    let Core { candidates, settings, .. } = core;
    let policy = settings.maxmemory_policy;
    let volatile = policy.is_volatile();
    let count = |db: &Db| if volatile { db.volatile_len() } else { db.seen_len() };
    let mut drawn = Drawn::new();
    // Where keys lie aside, which are not this shard's to evict, others may be hard to draw, or not be there.
    let mut draws = DRAWS_BESIDE_ASIDE;
    let may_draw = |draws: &mut u32| {
        *draws -= u32::from(keyspace.dbs.iter().any(|db| db.aside().is_some()));
        *draws > 0
    };
    if matches!(policy, Policy::AllkeysRandom | Policy::VolatileRandom) {
        let start = rand::rng().random_range(0..keyspace.dbs.len());
        let dbs = (0..keyspace.dbs.len()).map(|step| (start + step) % keyspace.dbs.len());
        let db = dbs.map(|index| &keyspace.dbs[index]).find(|db| count(db) > 0)?;
        while may_draw(&mut draws) {
            let mut is_found = false;
            drawn.clear();
            db.sample(volatile, 1, &mut drawn, |entry| {
                key.clear();
                key.extend_from_slice(entry.key());
                is_found = !db.is_aside(key);
            });
            if is_found {
                return Some(db.index());
            }
        }
        return None;
    }
    if candidates.policy != policy {
        *candidates = Candidates { policy, ..Candidates::default() };
    }
    let shared = &keyspace.shared;
    let rate = |entry: &Entry| {
        score(policy, entry, shared.lru_clock.get(), shared.now_ms.get(), settings.lfu_decay_time)
    };
    // Candidates that are gone, or were used meanwhile, may be all there are: then it is drawn again.
    while may_draw(&mut draws) {
        let mut any = false;
        for db in keyspace.dbs.iter().filter(|db| count(db) > 0) {
            any = true;
            drawn.clear();
            db.sample(volatile, settings.maxmemory_samples, &mut drawn, |entry| {
                if !db.is_aside(entry.key()) {
                    candidates.offer(db.index(), entry, rate(entry));
                }
            });
        }
        if !any {
            return None;
        }
        while let Some(best) = candidates.held.pop() {
            let there = keyspace.dbs[best.db].look_any(&best.key);
            let is_good = there.is_some_and(|entry| {
                (!volatile || entry.deadline().is_some())
                    && rate(entry) >= best.score
                    && !keyspace.dbs[best.db].is_aside(&best.key)
            });
            let Candidate { db, key: found, .. } = best;
            if is_good {
                candidates.spare = std::mem::replace(key, found);
                return Some(db);
            }
            candidates.spare = found;
        }
    }
    None
}

impl Engine {
    /// Frees memory by the policy until it is below the limit, or it has taken too long: then the rest is done later.
    ///
    /// `current` is the client that is being served, if it may be closed for what it takes.
    pub(crate) fn make_room(&mut self, current: Option<&mut Client>) -> Room {
        // While clients pause, nothing changes.
        let ignores = self.core.replication.is_replica()
            && self.core.settings.replication.replica_ignore_maxmemory;
        if !self.core.out_of_memory() || self.core.stands_still() || ignores {
            self.core.stats.memory_fits(true);
            return Room::Enough;
        }
        // Rather a client that takes too much than data.
        self.core.evict_clients(current);
        let room = run(&mut self.keyspace, &mut self.core);
        self.core.stats.memory_fits(room == Room::Enough);
        if room == Room::Later {
            self.core.evict_on();
        }
        room
    }
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
    let mut key = Vec::new();
    // What the removals free counts, not what is in use behind them: telling others of a removal takes memory too,
    // and the cure must not call for more of itself.
    let wanted = core.bytes_over_limit();
    let mut freed = 0;
    let mut removed = 0_usize;
    let mut nobody = core.clients.take_nobody();
    let room = loop {
        if freed >= wanted || !core.out_of_memory() {
            break Room::Enough;
        }
        if removed > 0 && removed.is_multiple_of(KEYS_BETWEEN) && start.elapsed() > limit {
            break Room::Later;
        }
        let Some(db) = choose(keyspace, core, &mut key) else { break Room::None };
        // The clock is read for the latency monitor only.
        let began = (core.settings.latency_monitor_threshold > 0).then(Instant::now);
        let before = used_bytes();
        if core.settings.lazyfree_lazy_eviction {
            keyspace.db(db).unlink(&key);
        } else {
            keyspace.db(db).remove(&key);
        }
        if let Some(began) = began {
            core.note_latency("eviction-del", micros_since(began));
        }
        freed += before.saturating_sub(used_bytes());
        core.stats.evicted_keys += 1;
        let word: &[u8] = if core.settings.lazyfree_lazy_eviction { b"UNLINK" } else { b"DEL" };
        core.feed.push(db, &[word, &key]);
        let mut call = crate::engine::Call::aside(keyspace, core, &mut nobody);
        call.modified_in(db, &key);
        call.notify_in(db, Classes::EVICTED, "evicted", &key);
        core.feed.end_call();
        removed += 1;
    };
    core.clients.give_nobody(nobody);
    room
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
