//! Clusters in one process, from a seed: packets that are late, lost, doubled or overtake each other, links that carry one way,
//! pauses with packets waiting, restarts with the file of now, of before, or none, clocks that jump, and operators who act
//! meanwhile. What the seed decides replays: `REDSTART_SEED=7` runs one history and prints its log,
//! `REDSTART_HISTORIES=1000000` runs many.

mod checks;
mod faults;
mod files;
mod many;
mod moves;
mod node;
mod outcome;
mod packets;
mod scenarios;
mod world;

use outcome::Outcome;
use world::World;

use redstart_common::histories;

/// How many histories the test suite runs.
const HISTORIES: u64 = 10_000;

#[test]
fn histories_end_with_one_primary_for_each_slot_and_all_agreed() {
    let all = histories::run_all(HISTORIES, World::history, Outcome::add);
    let Some((histories, total)) = all else { return };
    // What is never reached proves nothing.
    assert!(total.elections_won > histories / 10 && total.manual > histories / 50, "{total:?}");
    assert!(total.slots_moved > histories / 50 && total.restarts > histories / 2, "{total:?}");
    assert!(total.moves > histories / 10 && total.taken > histories / 20, "{total:?}");
    assert!(total.forgotten > 0 && total.resets > 0 && total.lost_files > 0, "{total:?}");
}

#[test]
fn a_seed_is_a_history_to_the_byte() {
    for seed in 0..20 {
        assert_eq!(
            histories::run(World::history, seed, false).map(|outcome| outcome.digest),
            histories::run(World::history, seed, false).map(|outcome| outcome.digest)
        );
    }
}

/// Histories that were found to end badly: nodes that come back with an old file, and slots that nobody owned then.
#[test]
fn histories_that_ended_badly_end_well() {
    for seed in [14_328, 42_932, 47_644, 56_593, 56_907, 61_133] {
        let outcome = histories::run(World::history, seed, false);
        assert!(outcome.is_ok(), "REDSTART_SEED={seed}: {outcome:?}");
    }
}
