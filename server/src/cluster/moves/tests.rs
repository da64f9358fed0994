//! One side at a time: what is refused in which words, and what time, operators and other nodes end.

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::super::door::{Action, Turn};
use super::super::packet::own_mark;
use super::super::{Cluster, Event, Name, Options, SlotSet};
use super::{Act, Heard, Lag, State, Word};

const MANUAL_MS: i64 = 5000;

fn name(letter: char) -> Name {
    Name::parse(letter.to_string().repeat(40).as_bytes()).expect("a name")
}

/// A node, its time, and what it has asked for.
struct Node {
    cluster: Cluster,
    now_ms: i64,
    random: SmallRng,
    actions: Vec<Action>,
}

impl Node {
    /// Node `a` has slots 0 to 99, `b` 100 to 199, and `c`, which takes no slots, 200 to 299; `d` replicates `b`.
    fn new(myself: char) -> Self {
        let mut text = String::new();
        for (number, letter) in ['a', 'b', 'c', 'd'].into_iter().enumerate() {
            let flags = if letter == myself { "myself," } else { "" };
            let role = if letter == 'd' {
                format!("slave {} 0 0 2 connected", name('b'))
            } else {
                let first = number * 100;
                format!("master - 0 0 {} connected {first}-{}", number + 1, first + 99)
            };
            let node = name(letter);
            text.push_str(&format!(
                "{node} 10.0.0.{number}:700{number}@1700{number} {flags}{role}\n"
            ));
        }
        text.push_str("vars currentEpoch 3 lastVoteEpoch 0\n");
        let options = Options { manual_ms: MANUAL_MS, moves_logged: 2, ..Options::default() };
        let mut cluster = Cluster::from_file(&text, options, 1000).expect("a file");
        for letter in ['a', 'b', 'd'] {
            let handle = cluster.nodes.find(&name(letter)).expect("known");
            cluster.nodes[handle].own_marks = own_mark::TAKES_SLOTS;
        }
        Self { cluster, now_ms: 1000, random: SmallRng::seed_from_u64(1), actions: Vec::new() }
    }

    fn step<R>(&mut self, step: impl FnOnce(&mut Cluster, &mut Turn<'_>) -> R) -> R {
        let mut turn = Turn {
            now_ms: self.now_ms,
            wall_ahead_ms: 0,
            offset: 0,
            data_age_ms: 0,
            follows: false,
            random: &mut self.random,
            actions: &mut self.actions,
        };
        let result = step(&mut self.cluster, &mut turn);
        self.cluster.settle();
        result
    }

    fn asks(&mut self, words: &str) -> Result<(), String> {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        self.step(|cluster, turn| cluster.move_slots(&words, turn)).map_err(|refusal| refusal.0)
    }

    fn establishes(&mut self, client: u64, words: &str) -> Result<(), String> {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        let leftover = |slot: u16| slot == 50;
        let outcome =
            self.step(|cluster, turn| cluster.establish_move(client, &words, leftover, turn));
        outcome.map_err(|refusal| refusal.0)
    }

    fn hears(&mut self, heard: Heard<'_>) {
        let name = self.cluster.moves()[0].name;
        self.step(|cluster, turn| cluster.hear_move(&name, heard, turn));
    }

    fn says(&mut self, word: Word) {
        self.hears(Heard::Said(word, Lag::default()));
    }

    fn tick_at(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        self.step(|cluster, turn| cluster.handle(Event::Tick, turn));
    }

    fn end_turn(&mut self) {
        self.step(|cluster, turn| cluster.handle(Event::EndOfTurn, turn));
    }

    fn state(&self) -> State {
        self.cluster.moves()[0].state
    }

    fn message(&self) -> &str {
        &self.cluster.moves()[0].message
    }

    /// What was asked for moves since this was called last.
    fn acts(&mut self) -> Vec<Act> {
        let acts = self.actions.drain(..).filter_map(|action| match action {
            Action::Move(act) => Some(act),
            _ => None,
        });
        acts.collect()
    }

    /// Node `a` has let go of slots 0 to 9, which node `b` may take.
    fn that_has_said_yes() -> Self {
        let mut node = Self::new('a');
        node.asks(&format!("SLOTSRANGE 0 9 NODE {}", name('b'))).expect("begun");
        for heard in [
            Heard::Connected,
            Heard::Accepted,
            Heard::SnapshotBegun,
            Heard::SnapshotSent,
            Heard::Said(Word::RequestPause, Lag::default()),
            Heard::Said(Word::Probed, Lag::default()),
            Heard::Said(Word::RequestFailover, Lag::default()),
        ] {
            node.hears(heard);
        }
        assert_eq!(node.state(), State::FailoverGranted);
        node
    }
}

fn held(acts: &[Act]) -> Option<String> {
    acts.iter().rev().find_map(|act| match act {
        Act::Hold(slots) => Some(slots.text()),
        _ => None,
    })
}

#[test]
fn what_makes_no_sense_is_refused_in_valkey_s_words_and_nothing_is_begun() {
    let mut node = Node::new('a');
    let (a, b, c, d) = (name('a'), name('b'), name('c'), name('d'));
    for (words, text) in [
        ("INVALID 0 1".to_owned(), "syntax error"),
        ("SLOTSRANGE 0".to_owned(), "No end slot for final slot range"),
        ("SLOTSRANGE 16384 16385".to_owned(), "Invalid or out of range slot"),
        ("SLOTSRANGE 0 x".to_owned(), "Invalid or out of range slot"),
        ("SLOTSRANGE x 0".to_owned(), "No slot ranges specified"),
        ("SLOTSRANGE 1 0".to_owned(), "Start slot number 1 is greater than end slot number 0."),
        ("SLOTSRANGE 0 400".to_owned(), "Requested slots span multiple shards"),
        ("SLOTSRANGE 400 401".to_owned(), "Slot 400 has no node served."),
        ("SLOTSRANGE 0 5 3 6".to_owned(), "Slot range 3-6 overlaps with previous range 0-5."),
        (format!("SLOTSRANGE 100 101 NODE {a}"), "Slots are not served by this node."),
        ("SLOTSRANGE 0 0 NODE blah".to_owned(), "Invalid node name: blah"),
        (format!("SLOTSRANGE 0 0 NODE {a}"), "Target node can not be this node."),
        (format!("SLOTSRANGE 0 0 NODE {d}"), "Target node is not a primary"),
        (
            format!("SLOTSRANGE 1 1 NODE {b} SLOTSRANGE 0 2 NODE {b}"),
            "Slot ranges in migrations overlap",
        ),
    ] {
        assert_eq!(node.asks(&words), Err(text.to_owned()), "{words}");
    }
    let refused = node.asks(&format!("SLOTSRANGE 0 0 NODE {c}")).expect_err("no Redstart");
    assert!(refused.contains("it is no Redstart"), "{refused}");
    assert!(node.acts().is_empty() && node.cluster.moves().is_empty());
    node.asks(&format!("SLOTSRANGE 0 9 20 29 NODE {b} SLOTSRANGE 30 30 NODE {b}")).expect("begun");
    assert_eq!(node.cluster.moves().len(), 2);
    assert_eq!(node.cluster.moves()[1].ranges_text(), "0-9 20-29");
    let again = node.asks(&format!("SLOTSRANGE 25 35 NODE {b}"));
    assert_eq!(again, Err("I am already migrating slot 25.".to_owned()));
    assert_eq!(
        Node::new('d').asks("x"),
        Err("Slot migration can only be used on primary nodes.".to_owned())
    );
}

#[test]
fn a_target_refuses_what_it_cannot_take() {
    let (a, b, job) = (name('a'), name('b'), name('f'));
    let mut node = Node::new('b');
    for (words, text) in [
        (format!("SOURCE {a} NAME {job}"), "syntax error"),
        (
            format!("SOURCE {} NAME {job} SLOTSRANGE 0 9", name('e')),
            "Target node does not know the source node",
        ),
        (format!("SOURCE {b} NAME {job} SLOTSRANGE 0 9"), "Source node is target node itself"),
        (
            format!("SOURCE {a} NAME {job} SLOTSRANGE 200 201"),
            "Target node does not agree about current slot ownership",
        ),
        (
            format!("SOURCE {a} NAME {job} SLOTSRANGE 50 51"),
            "Target node still has keys of slot 50",
        ),
    ] {
        assert_eq!(node.establishes(7, &words), Err(text.to_owned()), "{words}");
    }
    node.establishes(7, &format!("SOURCE {a} NAME {job} SLOTSRANGE 0 9")).expect("taken");
    let other = format!("SOURCE {a} NAME {} SLOTSRANGE 5 5", name('e'));
    assert_eq!(
        node.establishes(8, &other),
        Err("Slot is already being imported on the target by a different migration".to_owned())
    );
    assert!(
        node.acts().iter().any(|act| matches!(act, Act::SetAside(slots) if slots.text() == "0-9"))
    );
}

#[test]
fn a_target_takes_slots_by_an_epoch_of_its_own_and_in_time_only() {
    for late_ms in [MANUAL_MS - 1, MANUAL_MS] {
        let mut node = Node::new('b');
        let words = format!("SOURCE {} NAME {} SLOTSRANGE 0 9", name('a'), name('f'));
        node.establishes(7, &words).expect("taken");
        for word in [Word::Ack, Word::SnapshotEof, Word::Probe, Word::Paused] {
            node.says(word);
        }
        assert_eq!(node.state(), State::FailoverRequested);
        node.acts();
        node.now_ms += late_ms;
        node.says(Word::FailoverGranted);
        let acts = node.acts();
        if late_ms < MANUAL_MS {
            assert_eq!(node.state(), State::Success);
            assert!(node.cluster.is_mine(9) && !node.cluster.is_mine(10));
            assert_eq!(node.cluster.myself().config_epoch, 4);
            assert!(acts.iter().any(|act| matches!(act, Act::BringHome(_))));
        } else {
            assert_eq!(node.message(), "Source node did not let go of the slots in time");
            assert!(!node.cluster.is_mine(9));
            assert!(
                acts.iter().any(|act| matches!(act, Act::Empty(slots) if slots.text() == "0-9"))
            );
        }
        assert!(acts.contains(&Act::CloseClient(7)));
    }
}

#[test]
fn a_source_holds_writers_when_little_is_on_its_way_and_lets_go_of_them_when_it_takes_too_long() {
    let mut node = Node::new('a');
    node.asks(&format!("SLOTSRANGE 0 9 NODE {}", name('b'))).expect("begun");
    for heard in [Heard::Connected, Heard::Accepted, Heard::SnapshotBegun, Heard::SnapshotSent] {
        node.hears(heard);
    }
    node.says(Word::RequestPause);
    // The target is far behind, then much waits here, then a MIGRATE is under way.
    node.now_ms += 1000;
    node.says(Word::Probed);
    node.hears(Heard::Said(Word::Probed, Lag { bytes: 1, is_busy: false }));
    node.hears(Heard::Said(Word::Probed, Lag { bytes: 0, is_busy: true }));
    assert_eq!((node.state(), held(&node.acts())), (State::WaitingToPause, None));
    node.says(Word::Probed);
    assert_eq!((node.state(), held(&node.acts())), (State::FailoverPaused, Some("0-9".to_owned())));
    node.tick_at(node.now_ms + 2 * MANUAL_MS + 1);
    assert_eq!(node.message(), "Timed out before streaming completed");
    assert_eq!(held(&node.acts()), Some(String::new()));
}

#[test]
fn what_is_written_while_writers_are_held_ends_the_move() {
    let mut node = Node::new('a');
    node.asks(&format!("SLOTSRANGE 0 9 NODE {}", name('b'))).expect("begun");
    for heard in [Heard::Connected, Heard::Accepted, Heard::SnapshotBegun, Heard::SnapshotSent] {
        node.hears(heard);
    }
    node.says(Word::RequestPause);
    node.says(Word::Probed);
    node.hears(Heard::Written);
    assert_eq!(node.message(), "Slots were written to while their writers were held");
}

#[test]
fn a_yes_is_taken_back_by_an_operator_or_the_failure_of_the_target_alone() {
    // Neither time, nor the loss of the link, nor FLUSHALL.
    let mut node = Node::that_has_said_yes();
    node.hears(Heard::Lost("gone"));
    node.step(|cluster, turn| cluster.moves_flushed(turn));
    node.tick_at(node.now_ms + 20 * MANUAL_MS);
    assert_eq!(node.state(), State::FailoverGranted);
    assert_eq!(node.cluster.myself().config_epoch, 1);
    assert_eq!(held(&node.acts()), Some("0-9".to_owned()));
    // Not even the operator at once: the target is asked, and does not answer.
    node.step(|cluster, turn| cluster.cancel_moves(turn)).expect("cancelled");
    assert_eq!(node.state(), State::FailoverGranted);
    node.tick_at(node.now_ms + 1001);
    assert_eq!(node.state(), State::Cancelled);
    // Newer than what the target would have taken.
    assert!(node.cluster.myself().config_epoch > 4);
    assert_eq!(held(&node.acts()), Some(String::new()));
    assert!(node.step(|cluster, turn| cluster.cancel_moves(turn)).is_err());

    let mut node = Node::that_has_said_yes();
    let target = node.cluster.nodes.find(&name('b')).expect("known");
    node.cluster.nodes[target].flags.set(super::super::Flags::FAILED);
    node.tick_at(node.now_ms + 20 * MANUAL_MS);
    assert_eq!(node.message(), "Target node has failed; the slots stay here");
    assert!(node.cluster.is_mine(0) && node.cluster.myself().config_epoch > 4);
}

#[test]
fn a_source_sees_by_the_owners_of_slots_how_it_went() {
    for (owner, state) in [('b', State::Success), ('c', State::Failed)] {
        let mut node = Node::that_has_said_yes();
        let owner = node.cluster.nodes.find(&name(owner)).expect("known");
        for slot in 0..10 {
            node.cluster.release_slot(slot);
            node.cluster.give_slot(slot, owner);
        }
        assert!(node.cluster.has_todo());
        node.end_turn();
        assert_eq!(node.state(), state);
        assert_eq!(held(&node.acts()), Some(String::new()));
    }
}

#[test]
fn moves_that_are_over_are_kept_up_to_a_number() {
    let mut node = Node::new('a');
    for slot in 0..5 {
        node.asks(&format!("SLOTSRANGE {slot} {slot} NODE {}", name('b'))).expect("begun");
        node.hears(Heard::Lost("refused"));
        assert_eq!(node.message(), "Unable to connect to target node: refused");
    }
    node.asks(&format!("SLOTSRANGE 9 9 NODE {}", name('b'))).expect("begun");
    node.tick_at(2000);
    let slots: Vec<SlotSet> = node.cluster.moves().iter().map(|it| it.slots.clone()).collect();
    assert_eq!(slots.iter().map(SlotSet::text).collect::<Vec<_>>(), ["9-9", "4-4"]);
    // Nothing is heard for too long.
    node.tick_at(200_000);
    assert_eq!(node.message(), "Timed out after too long with no interaction");
}
