//! Sentinels, primaries and replicas in one process, from a seed: cut and slow links by direction, packets that wait for a
//! paused process, hellos that come twice, clock jumps, restarts with a file and without one, and operators who act all the
//! while. What the seed decides replays: `REDSTART_SEED=7` runs one history and prints its log, `REDSTART_HISTORIES=1000000`
//! runs many.

mod faults;
mod network;
mod scenarios;
mod server;
mod traffic;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use world::{Outcome, World};

/// How many histories the test suite runs.
const HISTORIES: u64 = 2000;
/// Threads that share them.
const THREADS: u64 = 2;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn run(seed: u64, is_verbose: bool) -> Result<Outcome, String> {
    let result = std::panic::catch_unwind(|| World::history(seed, is_verbose));
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| panic.downcast_ref::<&str>().copied().unwrap_or("?").to_owned()))
    })
}

#[test]
fn histories_end_with_all_sentinels_at_one_primary_and_its_replicas_behind_it() {
    if let Some(seed) = number("REDSTART_SEED") {
        let outcome = run(seed, true);
        println!("{outcome:?}");
        assert!(outcome.is_ok(), "seed {seed}");
        return;
    }
    let histories = number("REDSTART_HISTORIES").unwrap_or(HISTORIES);
    let next = AtomicU64::new(0);
    let total = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let mut total = Outcome::default();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= histories {
                            return total;
                        }
                        match run(seed, false) {
                            Ok(outcome) => total.add(&outcome),
                            Err(why) => panic!("REDSTART_SEED={seed}: {why}"),
                        }
                    }
                })
            })
            .collect();
        let mut total = Outcome::default();
        for thread in threads {
            match thread.join() {
                Ok(outcome) => total.add(&outcome),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        total
    });
    println!("{histories} histories: {total:?}");
    // What is never reached proves nothing.
    assert!(total.elected > histories / 2 && total.switched > histories / 3, "{total:?}");
    assert!(total.forced > histories / 20 && total.tilts > histories / 10, "{total:?}");
    assert!(total.restarts > histories / 10 && total.wiped > histories / 50, "{total:?}");
    assert!(total.converted > histories / 20 && total.not_elected > histories / 50, "{total:?}");
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..20 {
        let (one, other) = (World::trace(seed), World::trace(seed));
        assert!(one.len() > 20, "seed {seed}: {one:?}");
        assert_eq!(one, other, "seed {seed}");
    }
}
