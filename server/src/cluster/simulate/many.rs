//! What the bus of a large cluster costs: bytes, packets, memory and time of a processor, by node and second.

use std::time::{Duration, Instant};

use super::super::{Cluster, Flags, Node, Options};
use super::world::World;

/// A virtual second of all nodes.
const SECOND_MS: i64 = 1000;
/// How long each figure is measured.
const MEASURED_S: i64 = 15;

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

fn clusters(world: &World) -> impl Iterator<Item = &Cluster> {
    world.nodes.iter().filter_map(|node| node.cluster.as_ref())
}

/// Whether something holds of what each node says of the others.
fn all(world: &World, holds: impl Fn(&Cluster) -> bool) -> bool {
    clusters(world).all(holds)
}

fn count(cluster: &Cluster, is: impl Fn(&Node) -> bool) -> usize {
    cluster.nodes().filter(|node| is(node)).count()
}

/// Lets time pass until something holds; answers how much did, in seconds.
fn until(world: &mut World, what: &str, holds: impl Fn(&World) -> bool) -> f64 {
    let (begun_ms, begun) = (world.now_ms, Instant::now());
    while !holds(world) {
        world.run(SECOND_MS / 4).expect("no rule broken");
        assert!(world.now_ms - begun_ms < 300 * SECOND_MS, "in vain: {what}");
    }
    let took_s = (world.now_ms - begun_ms) as f64 / SECOND_MS as f64;
    println!("{took_s:.2} s: {what} (in {:.1} s of ours)", begun.elapsed().as_secs_f64());
    took_s
}

/// What all nodes have done by some time.
struct Done {
    at_ms: i64,
    bytes: u64,
    packets: u64,
    saves: u64,
    decided: Duration,
    begun: Instant,
}

impl Done {
    fn by_now(world: &World) -> Self {
        Self {
            at_ms: world.now_ms,
            bytes: world.bytes_sent,
            packets: world.outcome.packets,
            saves: world.saves,
            decided: world.nodes.iter().filter_map(|node| node.decided).sum(),
            begun: Instant::now(),
        }
    }

    /// Prints what a node has sent and decided since.
    fn tell(&self, world: &World, what: &str) {
        let now = Self::by_now(world);
        let seconds = (now.at_ms - self.at_ms) as f64 / SECOND_MS as f64;
        let per = |count: u64| count as f64 / world.nodes.len() as f64 / seconds;
        let packets = per(now.packets - self.packets);
        let decided_us = per((now.decided - self.decided).as_micros() as u64);
        println!(
            "{what}, {seconds:.2} s: in a second a node sends {:.0} bytes in {packets:.1} packets and takes in as many, decides for \
             {decided_us:.0} us ({:.1} for a packet that comes), saves {:.2} times ({:.1} s of ours)",
            per(now.bytes - self.bytes),
            decided_us / packets,
            per(now.saves - self.saves),
            self.begun.elapsed().as_secs_f64(),
        );
    }
}

/// Prints what a node sends, and how long it decides, for a while.
fn measure(world: &mut World, what: &str) {
    let before = Done::by_now(world);
    world.run(MEASURED_S * SECOND_MS).expect("no rule broken");
    before.tell(world, what);
}

/// Bytes that a node keeps for each node that it knows.
fn known_bytes(world: &World) -> usize {
    let known: usize = clusters(world).map(Cluster::known_bytes).sum();
    known / world.nodes.len() / world.nodes.len()
}

/// `REDSTART_NODES` (1,000) servers, half of them primaries, with Redis's node timeout of 15 s, in virtual time: they meet the first
/// one as by redis-cli, come to know each other, rest, and lose a primary.
#[test]
#[ignore = "a thousand nodes that know each other take minutes and gigabytes"]
fn many_nodes_meet_rest_and_replace_one_that_fails() {
    let nodes = number("REDSTART_NODES", 1000);
    let primaries = nodes / 2;
    let mut world = World::strangers(1, primaries, 1, &Options::default());
    world.keeps_files = false;
    world.nodes.iter_mut().for_each(|node| node.decided = Some(Duration::ZERO));
    let (ip, port) = (world.nodes[0].ip.clone(), i64::from(world.nodes[0].port));
    for node in 1..nodes {
        let met = world.with(node, |cluster, turn| cluster.meet(&ip, port, port + 10_000, turn));
        assert_eq!(met, Ok(Some(true)));
    }
    let before = Done::by_now(&world);
    until(&mut world, "all know all", |world| {
        all(world, |cluster| count(cluster, |node| !node.is_in_handshake()) == nodes)
    });
    before.tell(&world, "until all know all");
    let before = Done::by_now(&world);
    until(&mut world, "the cluster is up for all", |world| all(world, Cluster::is_up));
    for node in primaries..nodes {
        let primary = world.name_of(node - primaries).expect("it runs");
        let asked = world.with(node, |cluster, turn| cluster.replicate(&primary, false, turn));
        assert_eq!(asked, Ok(Some(Ok(()))));
    }
    until(&mut world, "all know who replicates whom", |world| {
        all(world, |cluster| count(cluster, |node| node.primary.is_some()) == nodes - primaries)
    });
    before.tell(&world, "until all are up and know who replicates whom");
    world.run(20 * SECOND_MS).expect("no rule broken");
    println!("{} bytes for each node that a node knows", known_bytes(&world));
    measure(&mut world, "at rest");
    let (gone, heir) = (world.name_of(0).expect("it runs"), primaries);
    world.kill(0);
    let died_ms = world.now_ms;
    let is_gone = |cluster: &Cluster| {
        let node = cluster.find(&gone).and_then(|node| cluster.at(node));
        node.is_some_and(|node| node.flags.any(Flags::FAILED))
    };
    measure(&mut world, "in the first seconds of a primary that is gone");
    until(&mut world, "it has failed for all", |world| all(world, is_gone));
    let heir = world.name_of(heir).expect("it runs");
    until(&mut world, "its replica has its slots for all", |world| {
        let is_led = |owner: &Node| owner.name.as_bytes()[..] == heir;
        all(world, |cluster| cluster.owner(0).is_some_and(is_led))
    });
    println!("{:.2} s after it was gone", (world.now_ms - died_ms) as f64 / SECOND_MS as f64);
    measure(&mut world, "after that");
}

/// A cluster of a thousand nodes has a million pairs: a slot or two, an address and two links are what one knows of another.
#[test]
fn what_a_node_keeps_of_another_is_little() {
    let mut world = World::new(1, 40, 1, &Options::default(), false);
    world.keeps_files = false;
    world.run(10 * SECOND_MS).expect("no rule broken");
    let connected = |cluster: &Cluster| count(cluster, |node| node.link.is_some()) == 79;
    assert!(all(&world, connected) && all(&world, |cluster| cluster.links().count() == 2 * 79));
    let bytes = known_bytes(&world);
    assert!(bytes < 900, "{bytes} bytes");
}
