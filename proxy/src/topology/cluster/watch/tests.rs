//! Nodes as a conversation.

use super::*;
use crate::topology::roster::SlotRange;

fn at(port: u16) -> ServerAddress {
    ServerAddress::Tcp { host: "h".to_owned(), port }
}

/// A primary that is called by its port.
fn primary(port: u16, epoch: u64, slots: &[(u16, u16)]) -> Row {
    Row {
        id: port.to_string().into(),
        address: Some(at(port)),
        is_myself: false,
        replica_of: None,
        is_failed: false,
        is_connected: true,
        epoch,
        slots: slots.to_vec(),
        is_parting: false,
    }
}

/// Slots of it are on their way elsewhere.
fn parting(row: Row) -> Row {
    Row { is_parting: true, ..row }
}

fn replica(port: u16, of: u16) -> Row {
    Row { replica_of: Some(of.to_string().into()), ..primary(port, 0, &[]) }
}

fn failed(row: Row) -> Row {
    Row { is_failed: true, is_connected: false, ..row }
}

struct Play {
    watch: Watch,
    now_ms: u64,
    actions: Vec<Action>,
    open: BTreeMap<PeerId, u16>,
    dead: BTreeSet<u16>,
    asked: BTreeSet<PeerId>,
}

impl Play {
    /// A watch whose seeds are on these ports.
    fn new(seeds: &[u16]) -> Self {
        Self::reading(seeds, false)
    }

    /// The same, and whether replicas are read.
    fn reading(seeds: &[u16], reads_replicas: bool) -> Self {
        let seeds: Vec<ServerAddress> = seeds.iter().map(|port| at(*port)).collect();
        let mut play = Self {
            watch: Watch::new(&seeds, reads_replicas, 0),
            now_ms: 0,
            actions: Vec::new(),
            open: BTreeMap::new(),
            dead: BTreeSet::new(),
            asked: BTreeSet::new(),
        };
        play.step(Event::Tick);
        play
    }

    /// Every connection opens at once, but for those to the dead.
    fn step(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let from = self.actions.len();
            self.watch.step(event, self.now_ms, &mut self.actions);
            for action in &self.actions[from..] {
                match action {
                    Action::Open(id, ServerAddress::Tcp { port, .. })
                        if self.dead.contains(port) =>
                    {
                        events.push(Event::Lost(*id, "refused".to_owned()));
                    }
                    Action::Open(id, ServerAddress::Tcp { port, .. }) => {
                        self.open.insert(*id, *port);
                        events.push(Event::Opened(*id));
                    }
                    Action::Close(id) => {
                        self.open.remove(id);
                        self.asked.remove(id);
                    }
                    Action::Ask(id) => {
                        self.asked.insert(*id);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Time passes until the node on a port has been asked, and it says this.
    fn says(&mut self, port: u16, rows: &[Row]) {
        let (id, _) = self.open.iter().find(|(_, open)| **open == port).expect("it is connected");
        let id = *id;
        let mut rows = rows.to_vec();
        rows.iter_mut().for_each(|row| row.is_myself = row.address == Some(at(port)));
        while !self.asked.contains(&id) {
            self.now_ms = self.watch.wake_ms().max(self.now_ms + 1);
            self.step(Event::Tick);
        }
        self.asked.remove(&id);
        self.step(Event::Told(id, Ok(rows)));
    }

    fn loses(&mut self, port: u16) {
        self.dead.insert(port);
        let (id, _) = self.open.iter().find(|(_, open)| **open == port).expect("it is connected");
        let id = *id;
        self.open.remove(&id);
        self.asked.remove(&id);
        self.step(Event::Lost(id, "test".to_owned()));
    }

    /// What has changed since the last look.
    fn changes(&mut self) -> Vec<Change> {
        let change = |action| match action {
            Action::Change(change) => Some(change),
            _ => None,
        };
        std::mem::take(&mut self.actions).into_iter().filter_map(change).collect()
    }
}

fn join(port: u16) -> Change {
    Change::Join { shard: port.to_string().into(), weight: 1, primary: Some(at(port)) }
}

fn slots(ranges: &[(u16, u16, u16)]) -> Change {
    let range = |(first, last, port): &(u16, u16, u16)| SlotRange {
        first: *first,
        last: *last,
        shard: port.to_string().into(),
    };
    Change::Slots(ranges.iter().map(range).collect())
}

#[test]
fn nodes_are_learnt_from_a_seed_and_make_one_picture() {
    let mut play = Play::new(&[1]);
    let rows = [primary(1, 1, &[(0, 9)]), primary(2, 2, &[(10, 16_383)]), replica(3, 2)];
    play.says(1, &rows);
    let replicas = Change::Replicas { shard: "2".into(), replicas: vec![(at(3), false)] };
    assert_eq!(play.changes(), [join(1), join(2), replicas, slots(&[(0, 9, 1), (10, 16_383, 2)])]);
    assert_eq!(play.open.values().copied().collect::<Vec<_>>(), [1, 2, 3]);
    play.says(2, &rows);
    play.says(3, &rows);
    assert!(play.changes().is_empty());
    assert_eq!(play.watch.peers.len(), 3);
}

#[test]
fn the_higher_epoch_has_the_slot_and_a_node_knows_its_own() {
    let mut play = Play::new(&[1, 2, 3]);
    let before = [primary(1, 1, &[(0, 99)]), primary(2, 2, &[(100, 16_383)]), primary(3, 3, &[])];
    (1..=3).for_each(|port| play.says(port, &before));
    play.changes();
    // The third has taken a slot, and the first has not heard of it.
    let after =
        [primary(1, 1, &[(0, 99)]), primary(2, 2, &[(100, 16_383)]), primary(3, 4, &[(5, 5)])];
    play.says(3, &after);
    let taken = slots(&[(0, 4, 1), (5, 5, 3), (6, 99, 1), (100, 16_383, 2)]);
    assert_eq!(play.changes(), [taken]);
    play.says(1, &before);
    play.says(2, &before);
    assert!(play.changes().is_empty(), "they are behind");
    // The first gives a slot away without a new epoch, as SETSLOT by hand does: it knows best what it has not.
    let given = [
        primary(1, 1, &[(0, 4), (6, 98)]),
        primary(2, 2, &[(99, 16_383)]),
        primary(3, 4, &[(5, 5)]),
    ];
    play.says(2, &given);
    assert_eq!(play.changes().len(), 1, "the second has the higher epoch");
    play.says(1, &given);
    assert!(play.changes().is_empty());
}

/// Three nodes, of which the second gives slot 500 to the first: before that, and as the second tells it, who has not heard at
/// which epoch the first has taken it; and as the third sees it, which had the slot still earlier.
fn given_away() -> [[Row; 3]; 3] {
    let of_all = |first: Row, second: Row, third: Row| [first, second, third];
    let second = |slots: &[(u16, u16)]| primary(2, 5, slots);
    [
        of_all(primary(1, 1, &[(0, 99)]), second(&[(100, 16_383)]), primary(3, 4, &[])),
        of_all(
            primary(1, 1, &[(0, 99), (500, 500)]),
            second(&[(100, 499), (501, 16_383)]),
            primary(3, 4, &[]),
        ),
        of_all(primary(1, 1, &[(0, 99)]), primary(2, 2, &[]), primary(3, 4, &[(500, 500)])),
    ]
}

/// Slot 500 is the node's on this port, and all others are as in [`given_away`].
fn slot_500_at(port: u16) -> Change {
    slots(&[(0, 99, 1), (100, 499, 2), (500, 500, port), (501, 16_383, 2)])
}

#[test]
fn who_gave_a_slot_away_names_the_next_one_and_no_earlier_owner_gets_it_back() {
    let [before, given, behind] = given_away();
    let mut play = Play::new(&[1, 2, 3]);
    (1..=3).for_each(|port| play.says(port, &before));
    play.changes();
    play.says(3, &behind);
    assert!(play.changes().is_empty());
    play.loses(1);
    play.says(2, &given);
    assert_eq!(play.changes(), [slot_500_at(1)]);
    // The second is misled by the third in its turn, and is lost.
    let misled = [before[0].clone(), given[1].clone(), behind[2].clone()];
    play.says(2, &misled);
    play.says(3, &behind);
    play.loses(2);
    play.says(3, &behind);
    assert!(play.changes().is_empty());
    // Who claims it at a higher epoch has it.
    let taken = [before[0].clone(), given[1].clone(), primary(3, 8, &[(500, 500)])];
    play.says(3, &taken);
    assert_eq!(play.changes(), [slot_500_at(3)]);
}

#[test]
fn a_claim_of_the_past_counts_when_moved_confirms_it_or_the_holder_is_silent_for_long() {
    for confirms in [true, false] {
        let [before, _, behind] = given_away();
        let mut play = Play::new(&[1, 2, 3]);
        (1..=3).for_each(|port| play.says(port, &before));
        play.says(3, &behind);
        // The second names nobody.
        let gone = [before[0].clone(), primary(2, 5, &[(100, 499), (501, 16_383)])];
        let gone = [gone[0].clone(), gone[1].clone(), primary(3, 4, &[])];
        play.changes();
        play.says(2, &gone);
        assert!(play.changes().is_empty(), "the third may not have heard that it lost the slot");
        if confirms {
            play.now_ms += 1;
            play.step(Event::Moved(vec![(500, at(3))]));
            assert_eq!(play.changes(), [slot_500_at(3)], "at once");
            play.says(3, &behind);
            play.says(2, &gone);
        }
        let now_ms = play.now_ms;
        while play.now_ms < now_ms + 14_000 {
            play.says(2, &gone);
            play.says(3, &behind);
        }
        assert!(play.changes().is_empty(), "it stays where it is");
        play.now_ms = now_ms + 15_000;
        play.says(2, &gone);
        assert_eq!(play.changes().pop(), (!confirms).then(|| slot_500_at(3)));
    }
}

#[test]
fn a_late_reply_is_told_by_its_epoch_from_that_of_a_node_that_begins_again() {
    let [before, ..] = given_away();
    let mut play = Play::new(&[1, 2, 3]);
    (1..=3).for_each(|port| play.says(port, &before));
    play.changes();
    let taken = [
        primary(1, 1, &[(0, 99)]),
        primary(2, 5, &[(100, 499), (501, 16_383)]),
        primary(3, 7, &[(500, 500)]),
    ];
    // The third was asked before it took the slot, and its answer is on its way for long.
    let third = *play.open.iter().find(|(_, port)| **port == 3).expect("it is connected").0;
    while !play.asked.contains(&third) {
        play.now_ms = play.watch.wake_ms().max(play.now_ms + 1);
        play.step(Event::Tick);
    }
    play.now_ms += 5;
    play.says(2, &taken);
    assert_eq!(play.changes(), [slot_500_at(3)]);
    play.now_ms += 5;
    play.says(3, &before);
    assert!(play.changes().is_empty(), "it had no slot when it said that");
    play.says(3, &taken);
    assert!(play.changes().is_empty());
    // Asked since, it says that it is a replica now: it knows best, at whatever epoch.
    let follows = [taken[0].clone(), taken[1].clone(), Row { epoch: 1, ..replica(3, 1) }];
    play.says(3, &follows);
    let told = play.changes();
    let replicas = Change::Replicas { shard: "1".into(), replicas: vec![(at(3), false)] };
    assert!(told.contains(&replicas), "{told:?}");
}

#[test]
fn a_new_node_counts_as_soon_as_one_of_the_others_knows_it() {
    let [before, given, _] = given_away();
    let mut play = Play::new(&[1, 2, 3]);
    (1..=3).for_each(|port| play.says(port, &before));
    let mut after = given.to_vec();
    after[0] = before[0].clone();
    after.push(primary(4, 6, &[(500, 500)]));
    play.says(2, &after);
    assert_eq!(play.changes().last(), Some(&slot_500_at(4)));
    play.says(4, &after);
    play.says(1, &before);
    play.says(3, &before);
    assert!(play.changes().is_empty(), "the others have not met it yet");
    let told = play.watch.peers.values().filter(|peer| peer.view.is_some()).count();
    assert_eq!(told, 4, "it is asked");
}

#[test]
fn what_a_node_said_last_counts_whichever_connection_it_came_by() {
    let [before, given, _] = given_away();
    // The name of a seed stands for the first node, which takes its time there.
    let mut play = Play::new(&[50, 2]);
    play.says(2, &before);
    let seed = *play.open.iter().find(|(_, port)| **port == 50).expect("it is connected").0;
    while !play.open.values().any(|port| *port == 1) {
        play.now_ms += 1;
        play.step(Event::Tick);
    }
    play.now_ms += 100;
    let taken = [Row { epoch: 6, ..given[0].clone() }, given[1].clone(), given[2].clone()];
    play.says(1, &taken);
    assert_eq!(play.changes().last(), Some(&slot_500_at(1)));
    play.now_ms += 100;
    let mut late = before.to_vec();
    late[0].is_myself = true;
    play.step(Event::Told(seed, Ok(late)));
    assert!(play.changes().is_empty());
    assert!(!play.open.values().any(|port| *port == 1), "one of the two is enough");
}

#[test]
fn a_replica_that_takes_over_keeps_the_shard() {
    let mut play = Play::new(&[1, 2, 3]);
    let before = [primary(1, 1, &[(0, 99)]), primary(2, 2, &[(100, 16_383)]), replica(3, 1)];
    (1..=3).for_each(|port| play.says(port, &before));
    play.changes();
    play.loses(1);
    assert!(play.changes().is_empty());
    let fails = [failed(before[0].clone()), before[1].clone(), before[2].clone()];
    play.says(2, &fails);
    assert!(play.changes().is_empty(), "the other one still has a link to it");
    play.says(3, &fails);
    assert_eq!(play.changes(), [Change::PrimaryState { shard: "1".into(), is_down: true }]);
    let after = [failed(primary(1, 1, &[])), before[1].clone(), primary(3, 3, &[(0, 99)])];
    play.says(3, &after);
    let promote = Change::Promote { shard: "1".into(), primary: at(3) };
    assert_eq!(play.changes(), [promote], "slots stay in the shard");
    play.says(2, &after);
    // The old one comes back, and says what it knew.
    play.dead.clear();
    play.now_ms += 1000;
    play.step(Event::Tick);
    play.says(1, &before);
    assert!(play.changes().is_empty());
    let joined = [replica(1, 3), before[1].clone(), primary(3, 3, &[(0, 99)])];
    play.says(1, &joined);
    let replicas = Change::Replicas { shard: "1".into(), replicas: vec![(at(1), false)] };
    assert_eq!(play.changes(), [replicas]);
}

#[test]
fn a_replaced_primary_is_not_believed_though_it_alone_can_be_reached() {
    let mut play = Play::new(&[1, 3]);
    let before = [primary(1, 1, &[(0, 16_383)]), replica(3, 1)];
    play.says(1, &before);
    let after = [failed(primary(1, 1, &[])), primary(3, 2, &[(0, 16_383)])];
    play.says(3, &after);
    play.changes();
    play.loses(3);
    for _ in 0..8 {
        play.says(1, &before);
        play.now_ms += 1000;
    }
    assert!(play.changes().is_empty());
}

#[test]
fn what_moved_says_counts_at_once_and_until_it_is_denied() {
    let mut play = Play::new(&[1, 2]);
    let rows = [primary(1, 9, &[(0, 99)]), primary(2, 2, &[(100, 16_383)])];
    play.says(1, &rows);
    play.says(2, &rows);
    play.changes();
    play.now_ms += 10;
    play.step(Event::Moved(vec![(7, at(2))]));
    let moved = slots(&[(0, 6, 1), (7, 7, 2), (8, 99, 1), (100, 16_383, 2)]);
    assert_eq!(play.changes(), [moved]);
    // It is asked at once, and has not got it.
    play.says(2, &rows);
    assert_eq!(play.changes(), [slots(&[(0, 99, 1), (100, 16_383, 2)])]);
    play.step(Event::Moved(vec![(7, at(77)), (60_000, at(1))]));
    assert!(play.changes().is_empty(), "nobody knows it");
}

#[test]
fn nodes_come_move_and_leave() {
    let mut play = Play::new(&[1, 2]);
    let rows = [primary(1, 1, &[(0, 99)]), primary(2, 2, &[(100, 16_383)])];
    play.says(1, &rows);
    play.says(2, &rows);
    play.changes();
    let more = [rows[0].clone(), rows[1].clone(), primary(3, 0, &[])];
    play.says(1, &more);
    assert_eq!(play.changes(), [join(3)], "it is there before it has slots");
    play.says(2, &more);
    play.says(3, &more);
    // It is started again elsewhere; the others hear of it.
    play.loses(3);
    let elsewhere = Row { address: Some(at(33)), ..primary(3, 0, &[]) };
    let moved = [rows[0].clone(), rows[1].clone(), elsewhere];
    play.now_ms += 1;
    play.says(1, &moved);
    play.says(2, &moved);
    let to = Change::Move { shard: "3".into(), to: at(33) };
    play.dead.clear();
    assert_eq!(play.changes(), [to]);
    assert!(play.open.values().any(|port| *port == 33), "{:?}", play.open);
    // It is sent away, and knows but itself from then on.
    let alone = [Row { address: Some(at(33)), ..primary(3, 0, &[]) }];
    play.says(33, &alone);
    play.says(1, &rows);
    assert_eq!(play.changes(), [], "one of two has not forgotten it");
    play.says(2, &rows);
    assert_eq!(play.changes(), [Change::Leave { shard: "3".into() }]);
    assert_eq!(play.open.values().copied().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_node_known_by_two_addresses_is_asked_once() {
    // A name that stands for any of the nodes, and an address of one.
    let mut play = Play::new(&[50]);
    let rows = [primary(1, 1, &[(0, 16_383)]), replica(2, 1)];
    let by_name = |own: usize| {
        let mut rows = rows.to_vec();
        rows[own].is_myself = true;
        rows
    };
    let seed = *play.open.keys().next().expect("it is connected");
    play.step(Event::Told(seed, Ok(by_name(0))));
    let mut ports: Vec<u16> = play.open.values().copied().collect();
    ports.sort_unstable();
    assert_eq!(ports, [2, 50]);
    // The name stands for the other one now.
    play.loses(50);
    play.dead.clear();
    play.now_ms += 100;
    play.step(Event::Tick);
    let seed = *play.open.iter().find(|(_, port)| **port == 50).expect("it is tried again").0;
    while !play.asked.contains(&seed) {
        play.now_ms = play.watch.wake_ms().max(play.now_ms + 1);
        play.step(Event::Tick);
    }
    play.step(Event::Told(seed, Ok(by_name(1))));
    let mut ports: Vec<u16> = play.open.values().copied().collect();
    ports.sort_unstable();
    assert_eq!(ports, [1, 50]);
}

#[test]
fn a_silent_node_is_given_up_and_tried_again() {
    let mut play = Play::new(&[1]);
    let id = PeerId(0);
    assert!(play.asked.contains(&id));
    play.now_ms = play.watch.wake_ms();
    assert_eq!(play.now_ms, SILENT_MS);
    play.actions.clear();
    play.step(Event::Tick);
    assert!(play.actions.contains(&Action::Close(id)));
    play.now_ms = play.watch.wake_ms();
    play.actions.clear();
    play.step(Event::Tick);
    assert!(play.actions.contains(&Action::Open(id, at(1))));
}

#[test]
fn a_shard_that_gives_slots_away_does_so_until_it_was_not_seen_for_a_while() {
    let mut play = Play::reading(&[1, 2], true);
    let rows = [primary(1, 1, &[(0, 8000)]), primary(2, 2, &[(8001, 16_383)])];
    play.says(1, &rows);
    play.says(2, &rows);
    play.changes();
    let is_told = |is_parting| vec![Change::Parting { shard: "1".into(), is_parting }];
    play.says(1, &[parting(rows[0].clone()), rows[1].clone()]);
    assert_eq!(play.changes(), is_told(true));
    // The next slot may be on its way when it is asked next, or may have gone already.
    for row in [&rows[0], &parting(rows[0].clone()), &rows[0]] {
        play.says(1, &[row.clone(), rows[1].clone()]);
        assert_eq!(play.changes(), []);
    }
    let since_ms = play.now_ms;
    let mut told = Vec::new();
    while told.is_empty() && play.now_ms < since_ms + 10_000 {
        play.says(1, &rows);
        play.says(2, &rows);
        told = play.changes();
    }
    assert_eq!(told, is_told(false));
    assert!(play.now_ms >= since_ms + 2500, "after {} ms", play.now_ms - since_ms);
}
