//! Sentinels, primaries and replicas in one process, from a seed: cut and slow links by direction, packets that wait for a
//! paused process, hellos that come twice, clock jumps, restarts with a file and without one, and operators who act all the
//! while. What the seed decides replays: `REDSTART_SEED=7` runs one history and prints its log, `REDSTART_HISTORIES=1000000`
//! runs many.

mod checks;
mod faults;
mod network;
mod scenarios;
mod server;
mod traffic;
mod world;

use checks::Outcome;
use world::World;

use redstart_common::histories;

/// How many histories the test suite runs.
const HISTORIES: u64 = 10_000;

#[test]
fn histories_end_with_all_sentinels_at_one_primary_and_its_replicas_behind_it() {
    let all = histories::run_all(HISTORIES, World::history, Outcome::add);
    let Some((histories, total)) = all else { return };
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
