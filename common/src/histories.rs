//! Runs histories of simulations, each from a seed, on a few threads: `REDSTART_SEED=7` runs one and has it print its log,
//! `REDSTART_HISTORIES=1000000` runs so many, from `REDSTART_FIRST_SEED` (0) on: a million can be run in pieces.

use std::fmt::Debug;
use std::panic::RefUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};

/// Threads that share the histories.
const THREADS: u64 = 2;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Runs one history; a panic in it is an error of its own words. `history` takes the seed, and whether to print the log.
///
/// # Errors
/// Those of the history.
pub fn run<O>(
    history: impl Fn(u64, bool) -> Result<O, String> + RefUnwindSafe,
    seed: u64,
    is_verbose: bool,
) -> Result<O, String> {
    let result = std::panic::catch_unwind(|| history(seed, is_verbose));
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| panic.downcast_ref::<&str>().copied().unwrap_or("?").to_owned()))
    })
}

/// Runs as many histories as the environment asks for, or `usual`. Answers how many, and the sum of what they came to; nothing
/// when one alone was asked for.
///
/// # Panics
/// When one fails, with its seed.
pub fn run_all<O: Default + Debug + Send>(
    usual: u64,
    history: impl Fn(u64, bool) -> Result<O, String> + RefUnwindSafe + Sync,
    add: impl Fn(&mut O, &O) + Sync,
) -> Option<(u64, O)> {
    if let Some(seed) = number("REDSTART_SEED") {
        let outcome = run(&history, seed, true);
        println!("{outcome:?}");
        assert!(outcome.is_ok(), "seed {seed}");
        return None;
    }
    let histories = number("REDSTART_HISTORIES").unwrap_or(usual);
    let first = number("REDSTART_FIRST_SEED").unwrap_or(0);
    let next = AtomicU64::new(first);
    let work = || {
        let mut total = O::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first.saturating_add(histories) {
                return total;
            }
            match run(&history, seed, false) {
                Ok(outcome) => add(&mut total, &outcome),
                Err(why) => panic!("REDSTART_SEED={seed}: {why}"),
            }
        }
    };
    let total = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let mut total = O::default();
        for thread in threads {
            match thread.join() {
                Ok(outcome) => add(&mut total, &outcome),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        total
    });
    println!("{histories} histories from seed {first} on: {total:?}");
    Some((histories, total))
}
