//! Clusters in one process, from a seed: packets that are late, lost, doubled or overtake each other, links that carry one way,
//! pauses with packets waiting, restarts with the file of now, of before, or none, clocks that jump, and operators who act
//! meanwhile. What the seed decides replays: `REDSTART_SEED=7` runs one history and prints its log,
//! `REDSTART_HISTORIES=1000000` runs many.

mod checks;
mod faults;
mod node;
mod scenarios;
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
fn histories_end_with_one_primary_for_each_slot_and_all_agreed() {
    if let Some(seed) = number("REDSTART_SEED") {
        let outcome = run(seed, true);
        println!("{outcome:?}");
        assert!(outcome.is_ok(), "seed {seed}");
        return;
    }
    let histories = number("REDSTART_HISTORIES").unwrap_or(HISTORIES);
    let next = AtomicU64::new(0);
    let total = std::thread::scope(|scope| {
        let work = || {
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
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
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
    assert!(total.elections_won > histories / 10 && total.manual > histories / 50, "{total:?}");
    assert!(total.slots_moved > histories / 50 && total.restarts > histories / 2, "{total:?}");
    assert!(total.forgotten > 0 && total.resets > 0 && total.lost_files > 0, "{total:?}");
}

#[test]
fn a_seed_is_a_history_to_the_byte() {
    for seed in 0..20 {
        assert_eq!(
            run(seed, false).map(|outcome| outcome.digest),
            run(seed, false).map(|outcome| outcome.digest)
        );
    }
}
