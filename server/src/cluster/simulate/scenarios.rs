//! Single stories with a known end.

use super::super::{FailoverKind, Options};
use super::world::World;

fn cluster(primaries: usize, replicas: usize) -> World {
    let options = Options { node_timeout_ms: 1000, ..Options::default() };
    let mut world = World::new(1, primaries, replicas, &options, false);
    world.run(4000).expect("nothing happens");
    for node in &world.nodes {
        assert!(node.cluster.as_ref().is_some_and(super::super::Cluster::is_up));
    }
    world
}

fn is_primary(world: &World, node: usize) -> bool {
    world.nodes[node].cluster.as_ref().is_some_and(|cluster| cluster.myself().is_primary())
}

fn slots(world: &World, node: usize) -> usize {
    world.nodes[node].cluster.as_ref().map_or(0, |cluster| cluster.myself().slots.len())
}

#[test]
fn a_replica_takes_the_place_of_a_primary_that_dies_and_the_primary_follows_it_when_it_returns() {
    let mut world = cluster(3, 1);
    let had = slots(&world, 0);
    world.kill(0);
    world.run(5000).expect("no rule broken");
    assert_eq!((is_primary(&world, 3), slots(&world, 3)), (true, had));
    world.start(0, None);
    world.converge().expect("agreed");
    assert!(!is_primary(&world, 0) && is_primary(&world, 3));
}

#[test]
fn a_manual_failover_changes_places_and_back() {
    let mut world = cluster(3, 1);
    for (replica, primary) in [(3, 0), (0, 3), (3, 0)] {
        let asked =
            world.with(replica, |cluster, turn| cluster.fail_over(FailoverKind::Plain, turn));
        assert_eq!(asked, Ok(Some(Ok(()))));
        world.run(2500).expect("no rule broken");
        assert!(is_primary(&world, replica) && !is_primary(&world, primary));
        world.run(2500).expect("no rule broken");
    }
    world.converge().expect("agreed");
}

#[test]
fn a_minority_stops_serving_within_the_node_timeout_and_a_second() {
    let mut world = cluster(3, 1);
    for other in 1..6 {
        let until_ms = world.now_ms + 20_000;
        world.blocked_until_ms.insert((0, other), until_ms);
        world.blocked_until_ms.insert((other, 0), until_ms);
    }
    world.run(2600).expect("no rule broken");
    assert!(world.nodes[0].cluster.as_ref().is_some_and(|cluster| !cluster.is_up()));
    world.run(5000).expect("no rule broken");
    assert!(is_primary(&world, 3));
    world.converge().expect("agreed");
    assert!(!is_primary(&world, 0));
}

#[test]
fn without_most_primaries_nobody_is_elected() {
    let mut world = cluster(3, 1);
    world.kill(0);
    world.kill(1);
    world.run(20_000).expect("no rule broken");
    assert!(!is_primary(&world, 3) && !is_primary(&world, 4));
    world.start(0, None);
    world.start(1, None);
    world.converge().expect("agreed");
}

/// valkey#1191: a node that begins again without its file leaves a node without address behind.
#[test]
fn a_primary_that_loses_its_file_is_replaced() {
    let mut world = cluster(3, 1);
    world.kill(0);
    world.nodes[0].file.clear();
    world.start(0, Some(String::new()));
    world.run(15_000).expect("no rule broken");
    assert!(is_primary(&world, 3) && slots(&world, 3) > 0);
}

/// redis#5081: the age of a replica's data counts from when it had its primary, not from when it began to follow this one.
#[test]
fn a_second_failover_soon_after_the_first_is_not_held_up() {
    let mut world = cluster(3, 2);
    world.kill(0);
    world.run(4000).expect("no rule broken");
    let second = if is_primary(&world, 3) { 3 } else { 6 };
    world.kill(second);
    world.run(12_000).expect("no rule broken");
    let third = if second == 3 { 6 } else { 3 };
    assert!(is_primary(&world, third));
}

/// redis#9797: of many primaries that die at once all are replaced.
#[test]
fn many_primaries_that_die_at_once_are_all_replaced() {
    let mut world = cluster(9, 1);
    for node in 0..4 {
        world.kill(node);
    }
    world.run(60_000).expect("no rule broken");
    for replica in 9..13 {
        assert!(is_primary(&world, replica), "{replica}");
    }
}
