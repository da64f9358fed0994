//! The named faults of the past, as scripts. Numbers are those of issues of redis/redis.

use super::network::Node;
use super::world::{Setup, World, group_name};

fn setup(sentinels: usize, groups: &[usize]) -> Setup {
    Setup {
        sentinels,
        groups: groups.to_vec(),
        quorum: sentinels / 2 + 1,
        down_after: 1000,
        failover_timeout: 6000,
        parallel_syncs: 1,
        info_period: 2000,
        tilt_period: 5000,
        forgets: false,
    }
}

/// A world in which all know each other.
fn world(setup: Setup) -> World {
    let mut world = World::new(7, setup, false);
    world.meet(8000);
    assert_eq!(world.disagreement(), None);
    world.record();
    world
}

fn primary_of(world: &World, sentinel: usize, group: usize) -> String {
    let primary = world.sentinels[sentinel].core.primary(&group_name(group));
    primary.expect("it is watched").current_address().ip.clone()
}

fn said(world: &World, event: &str) -> usize {
    world.recorded().iter().filter(|line| line.contains(&format!(" {event} "))).count()
}

/// #1394: some kept the old primary although they had seen the new epoch.
#[test]
fn a_sentinel_that_missed_a_failover_learns_of_it() {
    let mut world = world(setup(3, &[2]));
    let others = (0..2).map(Node::Sentinel).chain((0..3).map(Node::Server));
    for other in others.collect::<Vec<_>>() {
        world.cut_for(Node::Sentinel(2), other, 20_000);
        world.cut_for(other, Node::Sentinel(2), 20_000);
    }
    world.stop_server(0);
    world.run(15_000);
    assert_eq!(primary_of(&world, 2, 0), "10.0.0.0");
    assert_ne!(primary_of(&world, 0, 0), "10.0.0.0");
    world.start_server(0);
    world.settle().expect("agreement");
    assert_ne!(primary_of(&world, 2, 0), "10.0.0.0");
}

/// #4723: the primaries were exchanged again and again, and the new one was made a replica.
#[test]
fn the_new_primary_stays_one_when_the_old_one_is_back() {
    let mut world = world(setup(3, &[2]));
    world.stop_server(0);
    world.run(12_000);
    let new = primary_of(&world, 0, 0);
    assert_ne!(new, "10.0.0.0");
    world.start_server(0);
    world.run(60_000);
    assert_eq!(world.disagreement(), None);
    assert_eq!(said(&world, "+switch-master"), 3, "once at each");
    let converted = world.recorded().iter().filter(|line| line.contains("+convert-to-slave"));
    let converted: Vec<_> = converted.collect();
    assert!(!converted.is_empty(), "the old one is made a replica");
    assert!(converted.iter().all(|line| line.contains("slave 10.0.0.0:6379")), "{converted:?}");
}

/// #14422: one stayed in doubt after a failover. It stood still meanwhile, with packets that waited for it.
#[test]
fn a_sentinel_that_stood_still_through_a_failover_agrees_afterwards() {
    let mut world = world(setup(3, &[2]));
    world.stop_server(0);
    world.run(1200);
    world.sentinels[1].paused_until = world.now + 20_000;
    world.run(15_000);
    assert_ne!(primary_of(&world, 0, 0), primary_of(&world, 1, 0));
    world.start_server(0);
    let ms = world.settle().expect("agreement");
    assert!(ms < 40_000, "{ms} ms");
}

/// #13486: with many primaries that fail at once elections took long, for each raises the epoch of all.
#[test]
fn many_primaries_that_fail_at_once_are_all_failed_over_soon() {
    let groups = 12;
    let mut world = world(setup(3, &vec![1; groups]));
    for group in 0..groups {
        world.stop_server(group * 2);
    }
    let begun = world.now;
    let mut all_moved = false;
    while !all_moved && world.now - begun < 120_000 {
        world.run(500);
        all_moved =
            (0..groups).all(|group| primary_of(&world, 0, group) != format!("10.0.{group}.0"));
    }
    let took = world.now - begun;
    assert!(all_moved && took < 60_000, "{took} ms");
    for group in 0..groups {
        world.start_server(group * 2);
    }
    world.settle().expect("agreement");
}

/// #12271: with different primaries for the same name they stay apart, and no data is given up for it. That is what Redis
/// does too, and no promise is made but this: a failover, which has a newer epoch, ends it.
#[test]
fn different_first_primaries_stay_until_a_failover_decides() {
    let mut world = World::new(7, setup(3, &[2]), false);
    world.meet(8000);
    // One is started with another primary, which is one.
    world.stop_sentinel(2);
    world.sentinels[2].first_file[0] =
        format!("sentinel monitor {} 10.0.0.1 6379 2", group_name(0));
    world.servers[1].follow(None, world.now);
    world.start_sentinel(2, true);
    world.run(3000);
    assert_eq!(primary_of(&world, 2, 0), "10.0.0.1");
    assert_eq!(primary_of(&world, 0, 0), "10.0.0.0");
    world.act(0, |core| core.force_failover(&group_name(0))).expect("a failover");
    world.settle().expect("agreement");
}

/// #1446: failovers that are asked for at two sentinels at once need no votes, and may have the same epoch.
#[test]
fn two_failovers_at_once_end_with_one_primary() {
    for (one, other) in [(0, 1), (1, 0), (0, 2), (2, 1)] {
        let mut world = world(setup(3, &[3]));
        let name = group_name(0);
        // The replica that one chooses is down for the other.
        world.cut_for(Node::Server(1), Node::Sentinel(other), 3000);
        world.run(2500);
        world.act(one, |core| core.force_failover(&name)).expect("one");
        world.act(other, |core| core.force_failover(&name)).expect("another");
        world.settle().expect("agreement");
    }
}

/// What is left when both have come to their ends: each sentinel stayed with what it had heard first.
#[test]
fn sentinels_with_two_primaries_of_one_epoch_come_together() {
    for apart in 0..3 {
        let mut world = world(setup(3, &[3]));
        let name = group_name(0);
        let new = world.sentinels[0].core.primaries[&name].replicas["10.0.0.1:6379"].at.clone();
        world.servers[1].follow(None, world.now);
        for number in 0..3 {
            let new = new.clone();
            world.act(number, |core| {
                core.epoch = 5;
                if number == apart {
                    core.change_address(&name, new);
                }
                core.primaries.get_mut(&name).expect("it is watched").config_epoch = 5;
            });
        }
        assert_ne!(primary_of(&world, apart, 0), primary_of(&world, (apart + 1) % 3, 0));
        let ms = world.settle().expect("agreement");
        assert!(ms < 60_000, "{ms} ms");
    }
}

/// Microsoft's redis#48: while the clock is not to be trusted nothing is decided.
#[test]
fn a_clock_that_jumps_starts_no_failover() {
    let mut world = world(setup(3, &[1]));
    for number in 0..3 {
        world.sentinels[number].skew += 100_000;
    }
    world.run(20_000);
    assert_eq!(said(&world, "+tilt"), 3);
    assert_eq!(said(&world, "-tilt"), 3);
    assert_eq!(said(&world, "+try-failover"), 0);
    assert_eq!(world.disagreement(), None);
}

/// #8313: a sentinel did not start again with the file that it had written.
#[test]
fn what_is_written_at_any_moment_of_a_failover_is_read() {
    let mut world = world(setup(3, &[2]));
    world.stop_server(0);
    for step in 0..100 {
        world.run(150);
        let number = step % 3;
        let before = world.sentinels[number].core.lines();
        world.stop_sentinel(number);
        world.sentinels[number].file = before.iter().map(|line| line.text.clone()).collect();
        world.start_sentinel(number, false);
        assert_eq!(world.sentinels[number].core.lines(), before);
    }
    world.start_server(0);
    world.settle().expect("agreement");
}
