//! Sentinels as a conversation, and as chance has it.

use super::choose::CONTRADICTED_MS;
use super::*;
use crate::settings::Groups;

pub(in crate::topology::sentinel) fn at(port: u16) -> ServerAddress {
    ServerAddress::Tcp { host: "10.0.0.1".to_owned(), port }
}

fn settings(sentinels: u16, groups: Groups) -> SentinelSettings {
    SentinelSettings {
        sentinels: (0..sentinels).map(|number| at(26_379 + number)).collect(),
        groups,
        user: None,
        password: None,
        tls: None,
    }
}

fn named(name: &str) -> Groups {
    Groups::Named(vec![(name.into(), 1)])
}

struct Play {
    watch: Watch,
    now_ms: u64,
    actions: Vec<Action>,
}

impl Play {
    fn new(settings: &SentinelSettings) -> Self {
        let mut play = Self { watch: Watch::new(settings, 0), now_ms: 0, actions: Vec::new() };
        play.step(Event::Tick);
        play
    }

    fn step(&mut self, event: Event) {
        self.watch.step(event, self.now_ms, &mut self.actions);
    }

    fn open(&mut self, number: u32) {
        self.step(Event::Opened(SentinelId(number)));
    }

    /// A sentinel says who it is and what it knows of the group `g`.
    fn says(&mut self, number: u32, epoch: u64, primary: u16) {
        let id = SentinelId(number);
        let group: Arc<str> = "g".into();
        let answer = Answer::Primary { epoch, is_down: false };
        self.step(Event::Told(id, Ask::Primary(Arc::clone(&group)), answer));
        let answer = Answer::Address(Some(at(primary)));
        self.step(Event::Told(id, Ask::Address(Arc::clone(&group)), answer));
        let answer = Answer::Replicas(vec![(at(9), false)]);
        self.step(Event::Told(id, Ask::Replicas(group), answer));
    }

    /// The primaries that were told since the last look.
    fn promoted(&mut self) -> Vec<u16> {
        let of = |action: Action| match action {
            Action::Change(Change::Promote {
                primary: ServerAddress::Tcp { port, .. }, ..
            }) => Some(port),
            _ => None,
        };
        std::mem::take(&mut self.actions).into_iter().filter_map(of).collect()
    }
}

#[test]
fn the_highest_epoch_counts_and_none_below_it() {
    let mut play = Play::new(&settings(3, named("g")));
    (0..3).for_each(|number| play.open(number));
    play.says(0, 4, 1);
    assert_eq!(play.promoted(), [1]);
    play.says(1, 5, 2);
    assert_eq!(play.promoted(), [2], "it has been elected, the others have not heard of it yet");
    play.says(0, 4, 1);
    play.says(2, 4, 1);
    assert!(play.promoted().is_empty());
    play.says(0, 5, 2);
    play.says(2, 5, 2);
    assert!(play.promoted().is_empty());
}

#[test]
fn with_the_same_epoch_the_majority_counts_and_then_what_was() {
    let mut play = Play::new(&settings(3, named("g")));
    (0..3).for_each(|number| play.open(number));
    play.says(0, 1, 1);
    play.says(1, 1, 2);
    assert_eq!(play.promoted(), [1], "one against one: nothing changes");
    play.says(2, 1, 2);
    assert_eq!(play.promoted(), [2]);
}

#[test]
fn an_old_sentinel_alone_brings_no_old_primary_back() {
    let mut play = Play::new(&settings(3, named("g")));
    (0..3).for_each(|number| play.open(number));
    (0..3).for_each(|number| play.says(number, 3, 2));
    play.promoted();
    for number in 0..2 {
        play.step(Event::Lost(SentinelId(number), "test".to_owned()));
    }
    for _ in 0..40 {
        play.now_ms += 1000;
        play.says(2, 2, 1);
    }
    assert!(play.promoted().is_empty());
}

#[test]
fn one_that_watches_something_else_is_outvoted_after_a_while() {
    let mut play = Play::new(&settings(3, named("g")));
    (0..3).for_each(|number| play.open(number));
    play.says(2, 90, 7);
    assert_eq!(play.promoted(), [7]);
    let mut told = Vec::new();
    for _ in 0..(CONTRADICTED_MS / 1000 + 1) {
        (0..3).for_each(|number| {
            play.says(number, if number == 2 { 90 } else { 3 }, if number == 2 { 7 } else { 1 })
        });
        told.extend(play.promoted());
        play.now_ms += 1000;
    }
    assert_eq!(told, [1]);
}

#[test]
fn sentinels_are_learnt_from_each_other_and_counted_once() {
    let mut play = Play::new(&settings(1, named("g")));
    play.open(0);
    let ask = Ask::Sentinels("g".into());
    let listed = |run_id: &str, port| Listed { run_id: run_id.to_owned(), address: at(port) };
    let others = Answer::Sentinels(vec![listed("b", 2), listed("c", 3)]);
    play.step(Event::Told(SentinelId(0), ask.clone(), others.clone()));
    play.step(Event::Told(SentinelId(0), ask.clone(), others));
    assert_eq!(play.watch.sentinels.len(), 3);
    // The first one is listed by another, under an address of its own.
    play.open(1);
    play.step(Event::Told(SentinelId(1), ask, Answer::Sentinels(vec![listed("a", 77)])));
    assert_eq!(play.watch.sentinels.len(), 4);
    play.open(3);
    play.step(Event::Told(SentinelId(3), Ask::Id, Answer::Id("a".to_owned())));
    play.actions.clear();
    play.step(Event::Told(SentinelId(0), Ask::Id, Answer::Id("a".to_owned())));
    assert_eq!(play.watch.sentinels.len(), 3);
    assert!(play.actions.contains(&Action::Close(SentinelId(3))), "what is configured stays");
}

#[test]
fn a_silent_sentinel_is_given_up_and_tried_again() {
    let mut play = Play::new(&settings(1, named("g")));
    let id = SentinelId(0);
    assert!(play.actions.contains(&Action::Open(id, at(26_379))));
    play.open(0);
    play.actions.clear();
    play.now_ms = play.watch.wake_ms();
    assert_eq!(play.now_ms, SILENT_MS);
    play.step(Event::Tick);
    assert!(play.actions.contains(&Action::Close(id)));
    play.now_ms = play.watch.wake_ms();
    play.actions.clear();
    play.step(Event::Tick);
    assert_eq!(play.actions, [Action::Open(id, at(26_379))]);
}

#[test]
fn all_groups_of_the_sentinels_are_taken_where_that_is_wanted() {
    let mut play = Play::new(&settings(1, Groups::All));
    play.open(0);
    let names = |list: &[&str]| Answer::Groups(list.iter().map(|name| (*name).into()).collect());
    play.step(Event::Told(SentinelId(0), Ask::Groups, names(&["b", "a"])));
    let joined: Vec<_> = std::mem::take(&mut play.actions)
        .into_iter()
        .filter_map(|action| match action {
            Action::Change(Change::Join { shard, .. }) => Some(shard.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(joined, ["a", "b"], "in an order that is the same everywhere");
    play.step(Event::Told(SentinelId(0), Ask::Groups, names(&["b"])));
    assert!(play.actions.contains(&Action::Change(Change::Leave { shard: "a".into() })));
}
