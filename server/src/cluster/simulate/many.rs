//! What the bus of a large cluster costs: bytes, packets and time of a processor, by node and second.

use std::time::{Duration, Instant};

use super::super::Options;
use super::world::World;

/// A virtual second of all nodes.
const SECOND_MS: i64 = 1000;

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// `REDSTART_NODES` (300), half of them primaries, with Redis's node timeout of 15 s: what they send and work at rest, in virtual time,
/// and after a primary has died.
#[test]
#[ignore = "hundreds of nodes know each other, which takes gigabytes and minutes"]
fn many_nodes_at_rest_and_with_one_that_fails() {
    let nodes = number("REDSTART_NODES", 300);
    let options = Options::default();
    let began = Instant::now();
    let mut world = World::new(1, nodes / 2, 1, &options, false);
    let mut links_up_s = 0;
    // All connect to all.
    while world.connections.len() < nodes * (nodes - 1) || links_up_s == 0 {
        world.run(SECOND_MS).expect("no rule broken");
        links_up_s += 1;
        assert!(links_up_s < 60, "{} connections", world.connections.len());
    }
    world.run(20 * SECOND_MS).expect("no rule broken");
    println!("{nodes} nodes are connected, after {:?}", began.elapsed());
    let measured_s = 15;
    let measure = |world: &mut World, what: &str| {
        let (bytes, packets, at) = (world.bytes_sent, world.outcome.packets, Instant::now());
        world.run(measured_s * SECOND_MS).expect("no rule broken");
        let per = (nodes as i64 * measured_s) as f64;
        let worked: Duration = at.elapsed();
        println!(
            "{what}: a node sends {:.0} bytes in {:.1} packets in a second, and works {:.0} us (with the simulator's own work)",
            (world.bytes_sent - bytes) as f64 / per,
            (world.outcome.packets - packets) as f64 / per,
            worked.as_micros() as f64 / per
        );
    };
    measure(&mut world, "at rest");
    world.kill(0);
    measure(&mut world, "in the first 15 s of a node that is gone");
    measure(&mut world, "in the next 15 s");
    let heir = nodes / 2;
    let mut waited_s = 0;
    while !world.nodes[heir].cluster.as_ref().is_some_and(|cluster| cluster.myself().is_primary()) {
        world.run(SECOND_MS).expect("no rule broken");
        waited_s += 1;
        assert!(waited_s < 60, "nobody takes its place");
    }
    println!(
        "its replica has taken its place at most {} s after it was gone",
        2 * measured_s + waited_s
    );
}
