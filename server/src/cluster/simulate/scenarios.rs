//! Single stories with a known end.

use super::super::moves::State;
use super::super::{Cluster, FailoverKind, Options, SetSlot, SlotSet};
use super::faults::Work;
use super::world::World;

fn cluster(primaries: usize, replicas: usize) -> World {
    let options = Options { node_timeout_ms: 1000, ..Options::default() };
    let mut world = World::new(1, primaries, replicas, &options, false);
    world.run(4000).expect("nothing happens");
    for node in &world.nodes {
        assert!(node.cluster.as_ref().is_some_and(Cluster::is_up));
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

/// How long it takes until the replicas of the first of many primaries, which die at once, have all taken over, in milliseconds, and how
/// many elections were begun.
fn all_replaced_ms(seed: u64, primaries: usize, die: usize, ranks_elections: bool) -> (i64, u64) {
    let options = Options { node_timeout_ms: 1000, ranks_elections, ..Options::default() };
    let mut world = World::new(seed, primaries, 1, &options, false);
    world.run(4000).expect("nothing happens");
    // What is on its way when two ask at the same time decides: some way, as between places.
    world.delay_ms = 60;
    for node in 0..die {
        world.kill(node);
    }
    let from_ms = world.now_ms;
    while !(primaries..primaries + die).all(|replica| is_primary(&world, replica)) {
        world.run(100).expect("no rule broken");
        assert!(world.now_ms - from_ms < 600_000, "seed {seed}: they are never all replaced");
    }
    let epochs = world.nodes[primaries].cluster.as_ref().expect("it runs").current_epoch();
    (world.now_ms - from_ms, epochs - primaries as u64)
}

/// Half of the primaries but one: all others have to vote for each of their replicas. By Redis's rules those that ask at the same time
/// take votes from each other, and ask again after four node timeouts.
#[test]
fn half_of_the_primaries_but_one_that_die_at_once_are_all_replaced_soon_by_ranked_elections() {
    for (primaries, die, seeds) in [(8, 3, 5), (16, 7, 3)] {
        let of = |ranked| {
            let times = (1..=seeds).map(|seed| all_replaced_ms(seed, primaries, die, ranked));
            let times: Vec<(i64, u64)> = times.collect();
            println!("{die} of {primaries} primaries, ranked: {ranked}: {times:?}");
            times.into_iter().map(|(ms, _)| ms).max().unwrap_or(0)
        };
        let (ranked_ms, plain_ms) = (of(true), of(false));
        // They are held to have failed after the node timeout and what the news takes to get around; then half a second is waited.
        assert!(ranked_ms < 5000 && ranked_ms <= plain_ms, "{ranked_ms} ms, {plain_ms} ms");
    }
}

/// valkey#974: two take the place of one primary in two parts of the network, by the same epoch.
#[test]
fn of_two_that_took_over_by_one_epoch_the_longer_history_wins_where_that_is_wanted() {
    let mut shorter_won = 0;
    for (seed, history_wins) in (1..=8).flat_map(|seed| [(seed, true), (seed, false)]) {
        let options = Options { node_timeout_ms: 1000, history_wins, ..Options::default() };
        let mut world = World::new(seed, 3, 2, &options, false);
        world.run(4000).expect("nothing happens");
        world.is_loose = true;
        world.kill(0);
        // One part has a replica and another primary, the other one the rest.
        let part = |node: usize| usize::from(node == 3 || node == 1);
        let until_ms = world.now_ms + 20_000;
        for (from, to) in (0..9).flat_map(|from| (0..9).map(move |to| (from, to))) {
            if part(from) != part(to) {
                world.blocked_until_ms.insert((from, to), until_ms);
            }
        }
        for (replica, written) in [(3, 1000), (6, 20_000)] {
            world
                .with(replica, |cluster, turn| cluster.fail_over(FailoverKind::Takeover, turn))
                .expect("no rule broken");
            world.nodes[replica].place += written;
        }
        let epoch = |world: &World, node: usize| {
            world.nodes[node].cluster.as_ref().map(|it| it.myself().config_epoch)
        };
        assert_eq!(epoch(&world, 3), epoch(&world, 6));
        world.run(1000).expect("no rule broken");
        world.blocked_until_ms.clear();
        world.converge().expect("agreed");
        let longer_won = is_primary(&world, 6);
        assert_ne!(longer_won, is_primary(&world, 3));
        assert!(longer_won || !history_wins, "seed {seed}");
        shorter_won += u32::from(!longer_won);
    }
    // By their names, without it: both come about.
    assert!((1..8).contains(&shorter_won), "{shorter_won}");
}

/// A node that comes back with its file of before it was promoted says that it replicates its own replica.
#[test]
fn a_primary_with_the_file_of_a_replica_is_told_what_it_was() {
    let mut world = cluster(3, 1);
    let old = world.nodes[3].file.clone();
    world
        .with(3, |cluster, turn| cluster.fail_over(FailoverKind::Force, turn))
        .expect("no rule broken");
    world.run(5000).expect("no rule broken");
    assert!(is_primary(&world, 3) && !is_primary(&world, 0));
    world.has_amnesia = true;
    world.kill(3);
    world.start(3, Some(old.clone()));
    world.run(1500).expect("no rule broken");
    assert!(is_primary(&world, 3) && slots(&world, 3) > 0);
    world.converge().expect("agreed");
    // Where nobody is left who knows, or they are of another make, the two end it between themselves.
    world.kill(3);
    for node in 0..6 {
        let Some(cluster) = &mut world.nodes[node].cluster else { continue };
        for handle in cluster.nodes.handles() {
            cluster.nodes[handle].epoch_as_primary = 0;
        }
    }
    world.start(3, Some(old));
    world.run(15_000).expect("no rule broken");
    world.converge().expect("agreed");
}

/// Has slots 0 to 99 of node 0 moved to node 1 as one step.
fn move_slots(world: &mut World) {
    let to = world.name_of(1).expect("it runs");
    let words: [&[u8]; 5] = [b"SLOTSRANGE", b"0", b"99", b"NODE", &to];
    let begun = world.with(0, |cluster, turn| cluster.move_slots(&words, turn));
    assert_eq!(begun, Ok(Some(Ok(()))));
}

fn owns(world: &World, node: usize) -> bool {
    world.nodes[node].cluster.as_ref().is_some_and(|cluster| cluster.is_mine(0))
}

fn state(world: &World, node: usize) -> Option<State> {
    world.nodes[node].cluster.as_ref()?.moves().first().map(|it| it.state)
}

/// Runs until a node's move has come to a state, or is over.
fn run_until(world: &mut World, node: usize, wanted: State) -> bool {
    for _ in 0..20_000 {
        match state(world, node) {
            Some(state) if state == wanted => return true,
            Some(state) if state.is_over() => return false,
            _ => world.run(1).expect("no rule broken"),
        }
    }
    false
}

#[test]
fn slots_move_as_one_step_with_all_that_was_written() {
    let mut world = cluster(3, 1);
    move_slots(&mut world);
    world.run(3000).expect("no rule broken");
    assert_eq!((state(&world, 0), state(&world, 1)), (Some(State::Success), Some(State::Success)));
    assert!(owns(&world, 1) && !owns(&world, 0));
    world.converge().expect("agreed");
    assert_eq!(world.outcome.taken, 1);
}

#[test]
fn whichever_side_dies_at_whichever_stage_the_slots_have_one_owner_with_all_data() {
    const OF_SOURCE: [State; 7] = [
        State::Connecting,
        State::ReadingEstablish,
        State::WaitingToSnapshot,
        State::Snapshotting,
        State::WaitingToPause,
        State::FailoverPaused,
        State::FailoverGranted,
    ];
    const OF_TARGET: [State; 4] = [
        State::WaitingForAck,
        State::ReceivingSnapshot,
        State::WaitingForPaused,
        State::FailoverRequested,
    ];
    let stages = OF_SOURCE.iter().map(|it| (0, *it)).chain(OF_TARGET.iter().map(|it| (1, *it)));
    for (seen_on, stage) in stages {
        for dies in [0, 1] {
            // Nobody takes its place: it comes back.
            let mut world = cluster(3, 0);
            world.delay_ms = 4;
            move_slots(&mut world);
            assert!(run_until(&mut world, seen_on, stage), "{stage:?} is never reached");
            world.kill(dies);
            world.run(700).expect("no rule broken");
            world.start(dies, None);
            world.run(25_000).expect("no rule broken");
            world.converge().unwrap_or_else(|why| panic!("{stage:?}, {dies} dies: {why}"));
            assert_ne!(owns(&world, 0), owns(&world, 1), "{stage:?}, {dies} dies");
            assert!(!world.may_lose, "{stage:?}, {dies} dies");
        }
    }
}

#[test]
fn a_source_that_has_let_go_and_hears_nothing_waits_for_the_target_or_its_failure() {
    // Cut off from the target alone: it hears by the others that the slots are taken.
    let mut world = cluster(3, 0);
    move_slots(&mut world);
    assert!(run_until(&mut world, 0, State::FailoverGranted));
    let until_ms = world.now_ms + 60_000;
    world.blocked_until_ms.insert((1, 0), until_ms);
    world.run(3000).expect("no rule broken");
    assert_eq!((state(&world, 0), state(&world, 1)), (Some(State::Success), Some(State::Success)));
    // The yes never arrives, and no link is lost: half of the time that a manual failover may take is waited for an effect.
    let mut world = cluster(3, 0);
    move_slots(&mut world);
    assert!(run_until(&mut world, 0, State::FailoverPaused));
    assert!(run_until(&mut world, 1, State::FailoverRequested));
    assert!(run_until(&mut world, 0, State::FailoverGranted));
    world.move_links.iter_mut().for_each(|link| link.lose_what_is_sent());
    world.run(2400).expect("no rule broken");
    assert_eq!(state(&world, 0), Some(State::FailoverGranted));
    world.run(300).expect("no rule broken");
    assert_eq!(state(&world, 0), Some(State::Failed));
    assert!(owns(&world, 0) && !owns(&world, 1));
    world.converge().expect("agreed");
}

/// How long the writers of slots wait when the link of their move is lost behind the source's yes, before it has come to the target
/// or after: a way there and back, where it was half of what a manual failover may take and more.
#[test]
fn a_source_whose_link_is_lost_behind_its_yes_knows_at_once_how_it_went() {
    for (target_heard, outcome) in [(false, State::Failed), (true, State::Success)] {
        let mut world = cluster(3, 0);
        world.delay_ms = 10;
        move_slots(&mut world);
        assert!(run_until(&mut world, 0, State::FailoverGranted));
        if target_heard {
            // It takes them, and nothing arrives of what it says then: the source has to ask.
            world.lost = 1000;
            assert!(run_until(&mut world, 1, State::Success));
            world.lost = 0;
        }
        let granted_ms = world.now_ms;
        world.break_links_of(0);
        while !state(&world, 0).is_some_and(State::is_over) {
            world.run(1).expect("no rule broken");
            assert!(world.now_ms - granted_ms < 100, "{target_heard}: the writers still wait");
        }
        assert_eq!(state(&world, 0), Some(outcome));
        assert_eq!((owns(&world, 0), owns(&world, 1)), (!target_heard, target_heard));
        world.converge().expect("agreed");
        assert!(!world.may_lose);
    }
}

#[test]
fn a_target_that_fails_when_it_was_to_take_slots_leaves_them_to_the_source() {
    let mut world = cluster(3, 1);
    move_slots(&mut world);
    assert!(run_until(&mut world, 0, State::FailoverGranted));
    world.kill(1);
    world.run(20_000).expect("no rule broken");
    assert_eq!(state(&world, 0), Some(State::Failed));
    assert!(owns(&world, 0));
    world.start(1, None);
    world.converge().expect("agreed");
    assert!(owns(&world, 0));
}

/// The source of a move may get a newer epoch between its yes and the target's word, for another one, which the target has not heard of: by
/// its claims nothing that the target took would be the target's.
#[test]
fn a_source_that_gets_a_newer_epoch_behind_its_yes_keeps_its_word() {
    for (seed, raises) in (1..=6).flat_map(|seed| (1..=3).map(move |raises| (seed, raises))) {
        let options = Options { node_timeout_ms: 1000, ..Options::default() };
        let mut world = World::new(seed, 3, 1, &options, false);
        world.run(4000).expect("nothing happens");
        world.delay_ms = 4;
        // Both take epochs without a vote, which may be the same for a moment.
        world.is_loose = true;
        move_slots(&mut world);
        assert!(run_until(&mut world, 0, State::FailoverGranted));
        for _ in 0..raises {
            world.with(0, |cluster, turn| cluster.raise_above(1, turn)).expect("no rule broken");
        }
        // The source does not hear at once that they are taken, and tells all of its epoch meanwhile.
        let until_ms = world.now_ms + 50;
        world.blocked_until_ms.insert((1, 0), until_ms);
        assert!(run_until(&mut world, 1, State::Success));
        world.with(0, |cluster, turn| cluster.broadcast_pong(false, turn)).expect("no rule broken");
        world.run(3000).expect("no rule broken");
        world.converge().unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        assert!(owns(&world, 1) && !owns(&world, 0), "seed {seed}, {raises}");
        assert!(!world.may_lose);
    }
}

/// A slot comes to node 2 by an operator's word while node 0, from which it comes, has got an epoch that node 2 has not heard of. By Redis's
/// rules it goes back, and nobody owns it once node 0 has been told; in our histories it was seed 14328.
#[test]
fn a_slot_that_an_operator_moves_is_the_new_owners_whichever_epoch_the_old_one_has() {
    const SLOT: u16 = 700;
    for late in [vec![0], vec![1, 3, 4, 5], vec![0, 1, 3, 4, 5]] {
        for (tells_source, source_dies) in [(true, false), (false, false), (false, true)] {
            let mut world = cluster(3, 1);
            for (slot, from, to) in [(12_345, 2, 0), (SLOT, 0, 2)] {
                let names = [from, to].map(|node| world.name_of(node).expect("it runs"));
                for (node, word) in
                    [(to, SetSlot::Importing(&names[0])), (from, SetSlot::Migrating(&names[1]))]
                {
                    let done =
                        world.with(node, |cluster, turn| cluster.set_slot(slot, word, 0, turn));
                    assert_eq!(done, Ok(Some(Ok(()))));
                }
            }
            // All hear of the new epoch, but for node 2, which hears some of the others later than the rest.
            let now_ms = world.now_ms;
            for other in [0, 1, 3, 4, 5] {
                let for_ms = if late.contains(&other) { 60 } else { 20 };
                world.blocked_until_ms.insert((other, 2), now_ms + for_ms);
            }
            let owned = Work::EndMove { slot: 12_345, from: 2, to: 0 };
            world.operate(owned).expect("no rule broken");
            world.run(10).expect("no rule broken");
            let epoch = |world: &World, node: usize| {
                world.nodes[node].cluster.as_ref().map(|it| it.myself().config_epoch)
            };
            assert!(epoch(&world, 0) > epoch(&world, 2));
            if tells_source {
                let moved = Work::EndMove { slot: SLOT, from: 0, to: 2 };
                world.operate(moved).expect("no rule broken");
            } else {
                let name = world.name_of(2).expect("it runs");
                let word = SetSlot::Node(&name);
                let done = world.with(2, |cluster, turn| cluster.set_slot(SLOT, word, 0, turn));
                assert_eq!(done, Ok(Some(Ok(()))));
                world.may_lose = true;
            }
            if source_dies {
                world.kill(0);
            }
            let owns = |world: &World| {
                world.nodes[2].cluster.as_ref().is_some_and(|cluster| cluster.is_mine(SLOT))
            };
            for _ in 0..5000 {
                world.run(1).expect("no rule broken");
                assert!(owns(&world), "{late:?}, {tells_source}, {source_dies}");
            }
            world.start(0, None);
            world.run(1000).expect("no rule broken");
            for node in [0, 3] {
                let stable = world
                    .with(node, |cluster, turn| cluster.set_slot(SLOT, SetSlot::Stable, 0, turn));
                assert_eq!(stable, Ok(Some(Ok(()))));
            }
            world.converge().expect("agreed");
            assert!(owns(&world), "{late:?}, {tells_source}, {source_dies}");
        }
    }
}

/// Two nodes are each told to take a slot from the other, and nobody tells either that it has gone: they do not outbid each other for ever.
#[test]
fn two_that_are_to_have_a_slot_of_each_others_end_it() {
    let mut world = cluster(3, 1);
    world.may_lose = true;
    for (from, to) in [(0, 2), (2, 0), (0, 2), (2, 0)] {
        let names = [from, to].map(|node| world.name_of(node).expect("it runs"));
        for word in [SetSlot::Importing(&names[0]), SetSlot::Node(&names[1])] {
            let done = world.with(to, |cluster, turn| cluster.set_slot(700, word, 0, turn));
            assert_eq!(done, Ok(Some(Ok(()))));
        }
        world.run(1000).expect("no rule broken");
    }
    let epoch = world.nodes[1].cluster.as_ref().map(Cluster::current_epoch);
    assert!(epoch.is_some_and(|epoch| epoch < 40), "{epoch:?}");
    world.converge().expect("agreed");
}

/// A slot comes to a primary that has the newest epoch, or to one that takes a newer one, and it comes back with its file of before: nobody
/// claims the slot, and no epoch tells that.
#[test]
fn a_slot_whose_new_owner_forgets_it_is_found_again() {
    const SLOT: u16 = 700;
    for (to, source_goes_on) in [(2, false), (2, true), (1, false), (1, true)] {
        let mut world = cluster(3, 1);
        (world.has_amnesia, world.may_lose, world.is_loose) = (true, true, true);
        let old = world.nodes[to].file.clone();
        let mut moves = vec![(SLOT, 0, to)];
        // The source has a newer epoch by then, which says nothing of what it had.
        moves.extend(source_goes_on.then_some((12_345, 2, 0)));
        for (slot, from, to) in moves {
            let names = [from, to].map(|node| world.name_of(node).expect("it runs"));
            for (node, word) in
                [(to, SetSlot::Importing(&names[0])), (from, SetSlot::Migrating(&names[1]))]
            {
                let done = world.with(node, |cluster, turn| cluster.set_slot(slot, word, 0, turn));
                assert_eq!(done, Ok(Some(Ok(()))));
            }
            world.operate(Work::EndMove { slot, from, to }).expect("no rule broken");
            world.run(1000).expect("no rule broken");
        }
        world.kill(to);
        world.start(to, Some(old));
        world.converge().unwrap_or_else(|why| panic!("{to}, {source_goes_on}: {why}"));
    }
}

/// What an operator takes from a node nobody gives it back.
#[test]
fn slots_that_are_deleted_stay_so() {
    let mut world = cluster(3, 1);
    let slots: SlotSet = [700].into_iter().collect();
    world.with(0, |cluster, _| cluster.assign(&slots, true)).expect("no rule broken");
    world.run(30_000).expect("no rule broken");
    assert!(world.nodes[0].cluster.as_ref().is_some_and(|cluster| cluster.owner(700).is_none()));
}
