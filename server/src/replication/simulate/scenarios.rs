//! Single stories with a known end: where a partial resync is possible, nothing else may happen.

use super::super::*;
use super::network::Coming;
use super::world::World;

fn family(count: usize, options: Options) -> World {
    let mut world = World::new(1, count, options, false);
    for node in 1..count {
        world.schedule(0, Coming::Follow { node, primary: node - 1 });
    }
    world.run(60_000);
    for node in 1..count {
        assert!(world.nodes[node].replication.is_link_up(), "{node}");
    }
    write(&mut world, 0, 10);
    world
}

fn write(world: &mut World, node: usize, count: i64) {
    for at in 0..count {
        world.schedule(at * 100, Coming::Write { node });
    }
    world.run(count * 100 + 3000);
}

fn fulls(world: &World) -> u64 {
    world.outcome.full
}

fn assert_equal(world: &World) {
    let first = &world.nodes[0];
    for (number, node) in world.nodes.iter().enumerate() {
        assert_eq!(node.data, first.data, "{number}");
        assert_eq!(node.replication.history().id, first.replication.history().id, "{number}");
    }
}

#[test]
fn a_chain_that_is_cut_goes_on_where_it_was() {
    let mut world = family(4, Options::default());
    assert_eq!(fulls(&world), 3);
    for connection in 0..world.connections.len() {
        world.cut(connection);
        write(&mut world, 0, 5);
        assert_equal(&world);
    }
    assert_eq!((fulls(&world), world.outcome.partial >= 3), (3, true));
}

#[test]
fn a_promoted_replica_is_followed_without_a_full_sync_by_its_primary_too() {
    let mut world = family(3, Options::default());
    world.promote(1);
    world.follow(0, 1);
    world.run(5000);
    write(&mut world, 1, 10);
    assert_equal(&world);
    assert_eq!(fulls(&world), 2);
}

#[test]
fn restarts_with_the_saved_history_need_no_full_sync() {
    for node in [0, 1] {
        let mut world = family(2, Options::default());
        world.save(node);
        world.nodes[node].disk.as_ref().unwrap().1.unwrap();
        world.stop(node, false);
        world.run(10_000);
        write(&mut world, 0, 10);
        assert_equal(&world);
        assert_eq!(fulls(&world), 1, "{node}");
    }
}

#[test]
fn a_failover_changes_places_without_a_full_sync() {
    let mut world = family(2, Options::default());
    let begin = FailoverOptions::Begin { to: None, timeout_ms: None, force: false };
    world.with(0, |replication, turn| replication.fail_over(begin, turn)).unwrap();
    world.settle(0);
    world.run(5000);
    assert!(world.nodes[0].replication.is_replica() && !world.nodes[1].replication.is_replica());
    write(&mut world, 1, 10);
    assert_equal(&world);
    assert_eq!(fulls(&world), 1);
}

#[test]
fn replicas_that_come_together_share_one_snapshot() {
    let options = Options { diskless_sync_delay_s: 2, ..Options::default() };
    let mut world = World::new(3, 6, options, false);
    for node in 1..6 {
        world.schedule(node as i64 * 100, Coming::Follow { node, primary: 0 });
    }
    world.run(30_000);
    write(&mut world, 0, 5);
    assert_equal(&world);
    assert_eq!(world.nodes[0].replication.snapshots_begun(), 1);
}

#[test]
fn a_replica_that_missed_more_than_the_backlog_gets_everything_once() {
    let mut world = family(2, Options { backlog_bytes: 1, ..Options::default() });
    world.blocked[1][0] = true;
    let connection = world.connections.len() - 1;
    world.cut(connection);
    world.padding_max = 8000;
    write(&mut world, 0, 50);
    world.blocked[1][0] = false;
    world.run(80_000);
    write(&mut world, 0, 5);
    assert_equal(&world);
    assert_eq!(fulls(&world), 2);
}
