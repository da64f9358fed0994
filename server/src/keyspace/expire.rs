//! Active expiry: keys past their deadline are removed although nobody asks for them.
//!
//! A cycle walks the index of deadlines of each database from where the last one ended and removes what is due. It
//! goes on with a database while a tenth or more of what it sees is due, and stops when its time is over. Effort 1
//! to 10 raises the time and lowers the share of stale keys that is tolerated, as in Redis.

use std::time::{Duration, Instant};

use super::Keyspace;

/// How much of an expiry cycle is wanted.
#[derive(Debug, Clone, Copy)]
pub enum Cycle {
    /// The regular one: a quarter of the time between ticks, more with more effort.
    Slow {
        /// Ticks a second.
        hz: u32,
        /// `active-expire-effort`, 1 to 10.
        effort: u32,
    },
}

impl Cycle {
    /// The time that it may take.
    fn budget(self) -> Duration {
        let Self::Slow { hz, effort } = self;
        let extra = effort.saturating_sub(1);
        Duration::from_micros(u64::from((25 + 2 * extra) * 1_000_000 / hz.max(1) / 100))
    }
}

/// Keys looked at between two looks at the clock and the tally.
const BATCH: usize = 200;
/// Streams of a database that are looked at in a cycle for names that are to be forgotten.
const NAMED_STREAMS: usize = 20;
/// Fields of a hash that are removed between two looks at the clock.
const FIELDS_BATCH: usize = 1000;

/// Runs a cycle. What was removed waits as incidents.
pub fn cycle(keyspace: &mut Keyspace, cycle: Cycle) {
    let start = Instant::now();
    let Tally { seen, due, cut_short } = walk(keyspace, cycle, start);
    let cut_short = cut_short | walk_fields(keyspace, cycle.budget(), start);
    let shared = &keyspace.shared;
    shared.expiry_cut_short.set(shared.expiry_cut_short.get() + u64::from(cut_short));
    shared.expiry_time.set(shared.expiry_time.get() + start.elapsed());
    // As Redis has it: a twentieth of what this cycle saw, the rest of what was known.
    let percent = if seen == 0 { 0.0 } else { due as f64 * 100.0 / seen as f64 };
    shared.stale_percent.set(percent * 0.05 + shared.stale_percent.get() * 0.95);
}

/// Has streams forget names of entries that are too old. Nobody is told: each server does so by its own clock.
pub fn forget_names(keyspace: &mut Keyspace) {
    let known = keyspace.dbs.iter_mut().filter(|db| db.named_len() > 0);
    known.for_each(|db| db.forget_old_names(NAMED_STREAMS));
}

/// What a cycle has seen.
#[derive(Default)]
struct Tally {
    /// Keys with a deadline.
    seen: usize,
    /// Those past it.
    due: usize,
    /// Its time was over before the work was done.
    cut_short: bool,
}

/// Visits buckets of an index from `cursor` on, until [`BATCH`] keys were seen, or so many buckets, or the end. `visit`
/// answers the next cursor, and how many keys were seen so far. Answers where to go on.
fn batch(mut cursor: u64, mut visit: impl FnMut(u64) -> (u64, usize)) -> u64 {
    for _ in 0..BATCH {
        let (next, seen) = visit(cursor);
        cursor = next;
        if cursor == 0 || seen >= BATCH {
            break;
        }
    }
    cursor
}

fn walk(keyspace: &mut Keyspace, cycle: Cycle, start: Instant) -> Tally {
    let mut tally = Tally::default();
    let Cycle::Slow { effort, .. } = cycle;
    let extra = effort.saturating_sub(1);
    let budget = cycle.budget();
    let tolerated_percent = 10_u32.saturating_sub(extra) as usize;
    let now = keyspace.shared.now_ms.get();
    for index in 0..keyspace.dbs.len() {
        let db = &mut keyspace.dbs[index];
        while db.volatile_len() > 0 {
            let (mut seen, mut ttl_sum) = (0, 0);
            let mut due: Vec<Box<[u8]>> = Vec::new();
            let cursor = batch(db.expire_cursor, |cursor| {
                let next = db.scan_volatile(cursor, |entry| {
                    let Some(deadline) = entry.deadline() else { return };
                    seen += 1;
                    if deadline <= now && !db.is_aside(entry.key()) {
                        due.push(entry.key().into());
                    } else {
                        ttl_sum += deadline - now;
                    }
                });
                (next, seen)
            });
            db.expire_cursor = cursor;
            for key in &due {
                db.expire_key(key);
            }
            let alive = seen - due.len();
            if alive > 0 {
                // A running mean, so that one odd sample does not show.
                let mean = ttl_sum / alive as i64;
                db.average_ttl_ms = if db.average_ttl_ms == 0 {
                    mean
                } else {
                    (db.average_ttl_ms / 50) * 49 + mean / 50
                };
            }
            tally.seen += seen;
            tally.due += due.len();
            if start.elapsed() > budget {
                tally.cut_short = true;
                return tally;
            }
            if due.len() * 100 <= seen * tolerated_percent || cursor == 0 {
                break;
            }
        }
    }
    tally
}

/// Removes fields of hashes that are past their deadline: of each database the index is walked once, from where the last
/// cycle ended, and again while more than a tenth of the hashes that were seen had such fields. Answers whether the time
/// was over before.
fn walk_fields(keyspace: &mut Keyspace, budget: Duration, start: Instant) -> bool {
    let now = keyspace.shared.now_ms.get();
    for index in 0..keyspace.dbs.len() {
        let db = &mut keyspace.dbs[index];
        while db.timed_len() > 0 {
            let mut seen = 0;
            let mut due: Vec<Box<[u8]>> = Vec::new();
            let cursor = batch(db.fields_cursor, |cursor| {
                let next = db.scan_timed(cursor, |entry, next_due| {
                    seen += 1;
                    // One without deadlines is to leave the index.
                    if next_due.is_none_or(|next_due| next_due <= now) && !db.is_aside(entry.key())
                    {
                        due.push(entry.key().into());
                    }
                });
                (next, seen)
            });
            db.fields_cursor = cursor;
            for key in &due {
                db.expire_fields(key, FIELDS_BATCH);
                if start.elapsed() > budget {
                    return true;
                }
            }
            if due.len() * 10 <= seen || cursor == 0 {
                break;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Deadline;
    use crate::types::{Hash, Limits};

    #[test]
    fn due_fields_go_and_others_stay() {
        let mut keyspace = Keyspace::new(2);
        keyspace.shared.now_ms.set(1000);
        for n in 0..500_u32 {
            let db = keyspace.db(1);
            let key = n.to_le_bytes();
            let hash = db.write_or_create::<Hash>(&key).expect("a hash");
            for field in [&b"stays"[..], b"goes"] {
                hash.set(field, b"v", &Limits::default());
            }
            let due = if n % 2 == 0 { 1500 } else { 90_000 };
            hash.make_timed().set_deadline(b"goes", Some(due));
            if n % 4 == 0 {
                hash.remove(b"stays");
            }
            db.note_field_deadlines(&key);
        }
        keyspace.shared.now_ms.set(2000);
        for _ in 0..50 {
            cycle(&mut keyspace, Cycle::Slow { hz: 10, effort: 1 });
        }
        let db = keyspace.db(1);
        assert_eq!((db.len(), db.timed_len()), (375, 250));
        db.check();
        assert_eq!(keyspace.shared.expired_fields.get(), 250);
        assert_eq!(keyspace.shared.take_incidents().len(), 250);
    }

    #[test]
    fn due_keys_go_and_others_stay() {
        let mut keyspace = Keyspace::new(2);
        keyspace.shared.now_ms.set(1000);
        for n in 0..5000_u32 {
            let deadline = if n % 2 == 0 { Deadline::At(1500) } else { Deadline::At(90_000) };
            keyspace.db(1).set_string(&n.to_le_bytes(), b"v", deadline);
        }
        keyspace.shared.now_ms.set(2000);
        for _ in 0..200 {
            cycle(&mut keyspace, Cycle::Slow { hz: 10, effort: 1 });
        }
        // A tenth of stale keys is tolerated in a batch, but each cycle goes on where the last one ended.
        assert_eq!(keyspace.db(1).len(), 2500);
        assert_eq!(keyspace.shared.expired_keys.get(), 2500);
        assert_eq!(keyspace.shared.take_incidents().len(), 2500);
        assert!((80_000..=90_000).contains(&keyspace.db(1).average_ttl_ms()));
        keyspace.db(1).check();
        let shared = &keyspace.shared;
        assert!(shared.expiry_time.get() > Duration::ZERO && shared.expiry_cut_short.get() == 0);
        assert!(shared.stale_percent.get() > 0.0 && shared.stale_percent.get() < 50.0);
        // A rate at which no cycle has any time.
        keyspace.db(1).set_string(b"k", b"v", Deadline::At(90_000));
        cycle(&mut keyspace, Cycle::Slow { hz: u32::MAX, effort: 1 });
        assert_eq!(keyspace.shared.expiry_cut_short.get(), 1);
    }
}
