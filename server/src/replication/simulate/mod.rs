//! Families of servers in one process, from a seed: lost and half-open links, delays, restarts, promotions, failovers, slow
//! replicas, and writes all the while. What the seed decides replays: `REDSTART_SEED=7` runs one history and prints its log,
//! `REDSTART_HISTORIES=1000000` runs many.

mod data;
mod faults;
mod network;
mod node;
mod scenarios;
mod world;

use world::{Outcome, World};

use redstart_common::histories;

/// How many histories the test suite runs.
const HISTORIES: u64 = 10_000;

#[test]
fn histories_end_with_every_replica_equal_to_its_primary() {
    let all = histories::run_all(HISTORIES, World::history, Outcome::add);
    let Some((histories, total)) = all else { return };
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
