//! Families of servers in one process, from a seed: lost and half-open links, delays, restarts, promotions, failovers, slow
//! replicas, and writes all the while. What the seed decides replays: `REDSTART_SEED=7` runs one history and prints its log,
//! `REDSTART_HISTORIES=1000000` runs many.

mod data;
mod faults;
mod network;
mod node;
mod scenarios;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use world::World;

/// How many histories the test suite runs.
const HISTORIES: u64 = 10_000;
/// Threads that share them.
const THREADS: u64 = 2;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn run(seed: u64, is_verbose: bool) -> Result<world::Outcome, String> {
    let result = std::panic::catch_unwind(|| World::history(seed, is_verbose));
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| panic.downcast_ref::<&str>().copied().unwrap_or("?").to_owned()))
    })
}

#[test]
fn histories_end_with_every_replica_equal_to_its_primary() {
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
                    let mut total = world::Outcome::default();
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
        let mut total = world::Outcome::default();
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
    assert!(total.partial > histories && total.full > histories / 2, "{total:?}");
    assert!(total.confirmed > histories && total.promotions > histories / 4, "{total:?}");
    assert!(
        total.failovers > histories / 50 && total.confirmed_and_promoted > histories / 10,
        "{total:?}"
    );
    assert!(
        total.spilled > histories / 20
            && total.read_back > histories / 30
            && total.spill_failures > 0,
        "{total:?}"
    );
}
