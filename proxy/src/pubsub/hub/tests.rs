use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::pubsub::handover::LAG_US;

fn client(index: u32) -> ClientId {
    ClientId { index, generation: 1 }
}

fn server(number: u32) -> ServerId {
    ServerId::new(number)
}

fn channel(name: &str) -> Topic {
    Topic::new(Kind::Channel, name.as_bytes())
}

fn confirmation(name: &str) -> Vec<u8> {
    format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{name}\r\n:1\r\n", name.len()).into_bytes()
}

fn message(name: &str) -> Vec<u8> {
    format!("*3\r\n$7\r\nmessage\r\n${}\r\n{name}\r\n$1\r\nx\r\n", name.len()).into_bytes()
}

/// What a link was to send, as words.
fn asked(hub: &mut Hub, at: ServerId) -> String {
    let link = hub.link_mut(at).expect("a link");
    let out = String::from_utf8(std::mem::take(&mut link.post.out)).expect("text");
    let words = out.split("\r\n").filter(|word| !word.is_empty() && !word.starts_with(['*', '$']));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn clients_share_one_subscription() {
    let mut hub = Hub::default();
    let (home, topic) = (server(1), channel("c"));
    assert!(!hub.join(&topic, &[home], client(1)));
    assert_eq!(hub.take_wanted(), [home]);
    hub.opened(home, 0);
    assert_eq!(asked(&mut hub, home), "subscribe c");
    assert!(!hub.join(&topic, &[home], client(2)));
    assert_eq!(asked(&mut hub, home), "");
    assert_eq!(
        hub.hear(home, &confirmation("c"), 0),
        Some(News::Active(vec![client(1), client(2)]))
    );
    hub.subscribe(&topic, client(1));
    hub.subscribe(&topic, client(2));
    assert!(hub.join(&topic, &[home], client(3)), "it is there already");
    assert_eq!(hub.hear(home, &message("c"), 0), Some(News::Message(&[client(1), client(2)])));
    assert_eq!(hub.hear(home, &message("other"), 0), Some(News::Message(&[])));
    for one in [1, 2] {
        hub.leave(&topic, client(one));
        assert_eq!(asked(&mut hub, home), "");
    }
    hub.leave(&topic, client(3));
    assert_eq!(asked(&mut hub, home), "unsubscribe c");
    assert_eq!(hub.totals(), [0, 0, 0]);
}

#[test]
fn a_confirmation_counts_for_the_question_it_answers() {
    let mut hub = Hub::default();
    let (home, topic) = (server(1), channel("c"));
    hub.join(&topic, &[home], client(1));
    hub.opened(home, 0);
    hub.leave(&topic, client(1));
    assert!(!hub.join(&topic, &[home], client(2)));
    assert_eq!(asked(&mut hub, home), "subscribe c unsubscribe c subscribe c");
    let end = b"*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n";
    assert_eq!(hub.hear(home, &confirmation("c"), 0), Some(News::Nothing));
    assert_eq!(hub.hear(home, end, 0), Some(News::Nothing));
    assert_eq!(hub.hear(home, &confirmation("c"), 0), Some(News::Active(vec![client(2)])));
    assert_eq!(hub.hear(home, &confirmation("c"), 0), None, "nobody asked");
}

#[test]
fn a_lost_link_asks_again_in_order() {
    let mut hub = Hub::default();
    let home = server(1);
    for (number, name) in ["b", "a", "c"].into_iter().enumerate() {
        hub.join(&channel(name), &[home], client(number as u32));
    }
    hub.opened(home, 0);
    assert_eq!(asked(&mut hub, home), "subscribe b subscribe a subscribe c");
    hub.hear(home, &confirmation("b"), 0);
    hub.subscribe(&channel("b"), client(0));
    assert!(hub.is_active(&channel("b")));
    assert_eq!(hub.lost(home, 0), (3, vec![client(1), client(2)]));
    assert!(!hub.is_active(&channel("b")));
    hub.leave(&channel("a"), client(1));
    hub.join(&channel("d"), &[home], client(5));
    hub.opened(home, 0);
    assert_eq!(asked(&mut hub, home), "subscribe b subscribe c subscribe d");
    assert_eq!(hub.hear(home, &confirmation("b"), 0), Some(News::Active(Vec::new())));
    assert!(hub.is_active(&channel("b")) && !hub.is_active(&channel("c")));
}

#[test]
fn a_topic_of_every_server_is_there_when_all_have_it() {
    let mut hub = Hub::default();
    let topic = channel("__keyevent@0__:del");
    assert!(topic.is_of_keyspace() && !channel("keyevent").is_of_keyspace());
    hub.join(&topic, &[server(1), server(2)], client(1));
    hub.opened(server(1), 0);
    hub.opened(server(2), 0);
    let confirmed = confirmation("__keyevent@0__:del");
    assert_eq!(hub.hear(server(2), &confirmed, 0), Some(News::Nothing));
    assert_eq!(hub.hear(server(1), &confirmed, 0), Some(News::Active(vec![client(1)])));
    assert_eq!(hub.count(&topic), (0, 2));
}

#[test]
fn what_every_server_repeats_is_heard_once() {
    let said = |channel: &str| {
        let len = channel.len();
        let text = format!("*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n${len}\r\n{channel}\r\n$1\r\nx\r\n");
        text.into_bytes()
    };
    for (is_echoed, at_second) in [(true, &[][..]), (false, &[client(1)][..])] {
        let mut hub = Hub::new(is_echoed);
        let all = Topic::new(Kind::Pattern, b"*");
        hub.join(&all, &[server(1), server(2)], client(1));
        hub.subscribe(&all, client(1));
        assert_eq!(hub.hear(server(2), &said("news"), 0), Some(News::Message(at_second)));
        assert_eq!(hub.hear(server(1), &said("news"), 0), Some(News::Message(&[client(1)])));
        for at in [1, 2] {
            let news = hub.hear(server(at), &said("__keyevent@0__:set"), 0);
            assert_eq!(news, Some(News::Message(&[client(1)])));
        }
    }
}

#[test]
fn topics_move_with_their_shards() {
    let mut hub = Hub::default();
    for name in ["stays", "moves"] {
        hub.join(&channel(name), &[server(1)], client(1));
    }
    hub.opened(server(1), 0);
    hub.hear(server(1), &confirmation("stays"), 0);
    hub.hear(server(1), &confirmation("moves"), 0);
    asked(&mut hub, server(1));
    let homes_of = |topic: &Topic| Some(vec![server(if *topic.name == *b"moves" { 2 } else { 1 })]);
    assert_eq!(hub.rehome(0, homes_of), []);
    hub.opened(server(2), 0);
    assert_eq!(asked(&mut hub, server(2)), "subscribe moves");
    assert_eq!(asked(&mut hub, server(1)), "", "it is listened to until the other has confirmed");
    hub.hear(server(2), &confirmation("moves"), 0);
    assert_eq!(asked(&mut hub, server(1)), "unsubscribe moves");
    hub.lost(server(2), 0);
    assert!(hub.is_active(&channel("stays")) && !hub.is_active(&channel("moves")));
    // The first server is replaced by a third.
    assert_eq!(hub.rehome(0, |_| None), []);
    assert_eq!(hub.rehome(0, |_| Some(vec![server(3)])), []);
    hub.drop_links(0, |it| it == server(3));
    assert!(hub.link_mut(server(1)).is_none() && hub.link_mut(server(2)).is_none());
    assert_eq!(hub.take_wanted(), [server(3)]);
    hub.opened(server(3), 0);
    assert_eq!(asked(&mut hub, server(3)), "subscribe stays subscribe moves");
}

/// A server as the hub sees it: what was sent and not taken in, what it subscribes to, and what it said.
#[derive(Default)]
struct Peer {
    is_up: bool,
    unread: Vec<u8>,
    has: BTreeSet<String>,
    said: VecDeque<Vec<u8>>,
}

impl Peer {
    /// Takes in what was sent.
    fn read(&mut self) {
        let text = String::from_utf8(std::mem::take(&mut self.unread)).expect("text");
        let words = text.split("\r\n").filter(|it| !it.is_empty() && !it.starts_with(['*', '$']));
        let words: Vec<&str> = words.collect();
        for pair in words.chunks(2) {
            let (what, name) = (pair[0], pair[1]);
            if what == "subscribe" {
                self.has.insert(name.into())
            } else {
                self.has.remove(name)
            };
            let said =
                format!("*3\r\n${}\r\n{what}\r\n${}\r\n{name}\r\n:0\r\n", what.len(), name.len());
            self.said.push_back(said.into_bytes());
        }
    }
}

proptest! {
    /// Whatever clients, servers and shards do: once it is quiet, each server subscribes to just what is at home there and
    /// wanted, and every client that waits has been told.
    #[test]
    fn servers_end_up_with_what_clients_want(
        steps in prop::collection::vec((0u8..8, 0u32..4, 0u32..4), 1..120),
    ) {
        let mut hub = Hub::default();
        let mut peers: Vec<Peer> = (0..4).map(|_| Peer::default()).collect();
        let mut homes = [0_u32, 1, 2, 3];
        let mut wants: BTreeSet<(u32, u32)> = BTreeSet::new();
        let mut told: BTreeSet<(u32, u32)> = BTreeSet::new();
        let name = |topic: u32| channel(&format!("t{topic}"));
        let quiet = (0..40).flat_map(|_| (0..4).flat_map(|at| [(5, at, 0), (6, at, 0), (7, at, 0)]));
        for (what, one, other) in steps.into_iter().chain(quiet) {
            match what {
                // A client subscribes.
                0 | 1 if wants.insert((one, other)) => {
                    let home = server(homes[other as usize]);
                    if hub.join(&name(other), &[home], client(one)) {
                        hub.subscribe(&name(other), client(one));
                        told.insert((one, other));
                    }
                }
                // A client leaves.
                2 if wants.remove(&(one, other)) => {
                    told.remove(&(one, other));
                    hub.leave(&name(other), client(one));
                }
                // A topic moves.
                3 => {
                    homes[other as usize] = one;
                    let now = homes;
                    let active = hub.rehome(0, |topic| {
                        let at = usize::from(topic.name[1] - b'0');
                        Some(vec![server(now[at])])
                    });
                    for client in active {
                        hub.subscribe(&name(other), client);
                        told.insert((client.index, other));
                    }
                }
                // A connection is lost.
                4 if peers[one as usize].is_up => {
                    peers[one as usize] = Peer::default();
                    hub.lost(server(one), 0);
                }
                // One is opened.
                5 if !peers[one as usize].is_up && hub.link_mut(server(one)).is_some() => {
                    peers[one as usize].is_up = true;
                    hub.opened(server(one), 0);
                }
                // A server takes in what it was sent.
                6 if peers[one as usize].is_up => {
                    let link = hub.link_mut(server(one)).expect("it is up");
                    let out = std::mem::take(&mut link.post.out);
                    peers[one as usize].unread.extend(out);
                    peers[one as usize].read();
                }
                // What it says arrives.
                7 => {
                    let Some(said) = peers[one as usize].said.pop_front() else { continue };
                    match hub.hear(server(one), &said, 0) {
                        Some(News::Active(clients)) => {
                            let frame = String::from_utf8(said).expect("text");
                            let topic = frame.split("\r\nt").nth(1).expect("a name");
                            let topic = u32::from(topic.as_bytes()[0] - b'0');
                            for one in clients {
                                hub.subscribe(&name(topic), one);
                                told.insert((one.index, topic));
                            }
                        }
                        news => prop_assert_eq!(news, Some(News::Nothing)),
                    }
                }
                _ => {}
            }
        }
        for (at, peer) in peers.iter().enumerate() {
            let wanted: BTreeSet<String> = wants
                .iter()
                .filter(|(_, topic)| homes[*topic as usize] == at as u32)
                .map(|(_, topic)| format!("t{topic}"))
                .collect();
            prop_assert_eq!(&peer.has, &wanted, "server {}", at);
        }
        prop_assert_eq!(told, wants);
    }
}

#[test]
fn who_is_refused_is_told() {
    let mut hub = Hub::default();
    hub.join(&channel("c"), &[server(1)], client(1));
    hub.opened(server(1), 0);
    assert_eq!(hub.hear(server(1), b"-NOPERM no\r\n", 0), Some(News::Refused(vec![client(1)])));
}

fn frame(words: &[&str]) -> Vec<u8> {
    let mut frame = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| frame += &format!("${}\r\n{word}\r\n", word.len()));
    frame.into_bytes()
}

/// A hub of a cluster with a client that listens to a topic at server 1, which is at home at server 2 from now on.
fn on_its_way(topic: &Topic) -> Hub {
    let mut hub = Hub::new(true);
    hub.join(topic, &[server(1)], client(1));
    hub.opened(server(1), 0);
    let name = std::str::from_utf8(&topic.name).expect("text");
    hub.hear(server(1), &frame(&[topic.kind.subscribe(), name, "1"]), 0);
    hub.subscribe(topic, client(1));
    assert_eq!(hub.rehome(0, |_| Some(vec![server(2)])), []);
    hub.opened(server(2), 0);
    asked(&mut hub, server(1));
    hub
}

#[test]
fn a_message_that_both_say_while_a_topic_moves_is_heard_once() {
    let mut hub = on_its_way(&channel("c"));
    let said = |text| frame(&["message", "c", text]);
    let hears = |hub: &mut Hub, at, text| {
        hub.hear(server(at), &said(text), 0) == Some(News::Message(&[client(1)]))
    };
    assert!(hears(&mut hub, 1, "a"));
    assert_eq!(asked(&mut hub, server(2)), "subscribe c");
    hub.hear(server(2), &confirmation("c"), 0);
    assert!(!hears(&mut hub, 2, "a"), "it is late");
    assert!(!hears(&mut hub, 2, "b") && hears(&mut hub, 1, "b"));
    assert_eq!(hub.settle(LAG_US), []);
    assert!(hears(&mut hub, 2, "c") && !hears(&mut hub, 1, "c") && !hears(&mut hub, 3, "c"));
    assert_eq!(asked(&mut hub, server(1)), "", "it may have something left to say");
    // Where it is to go from there waits until that is over.
    assert_eq!(hub.rehome(LAG_US, |_| Some(vec![server(3)])), []);
    assert!(hub.link_mut(server(3)).is_none());
    assert_eq!(hub.settle(2 * LAG_US), []);
    assert_eq!(asked(&mut hub, server(1)), "unsubscribe c");
    hub.opened(server(3), 0);
    assert_eq!(asked(&mut hub, server(3)), "subscribe c");
    assert!(hears(&mut hub, 2, "d") && !hears(&mut hub, 3, "d"));
    // Where the home before is lost there is nothing to wait for.
    hub.hear(server(3), &confirmation("c"), 0);
    hub.lost(server(2), 0);
    assert!(hears(&mut hub, 3, "e"));
    // So it goes where the new one is lost as well.
    hub.lost(server(3), 0);
    assert_eq!(hub.rehome(0, |_| Some(vec![server(1)])), []);
    assert_eq!(asked(&mut hub, server(1)), "subscribe c");
    hub.hear(server(1), &frame(&["unsubscribe", "c", "0"]), 0);
    hub.hear(server(1), &confirmation("c"), 0);
    assert!(hears(&mut hub, 1, "f"));
}

#[test]
fn a_shard_channel_whose_slot_has_gone_is_asked_for_until_it_is_found() {
    let topic = Topic::new(Kind::Shard, b"c");
    let mut hub = on_its_way(&topic);
    assert_eq!(hub.rehome(0, |_| Some(vec![server(1)])), []);
    let confirmed = frame(&["ssubscribe", "c", "1"]);
    hub.hear(server(2), &confirmed, 0);
    hub.hear(server(2), &frame(&["sunsubscribe", "c", "0"]), 0);
    assert!(hub.is_active(&topic));
    // Nobody has asked for this: the slot is another's.
    let ended = frame(&["sunsubscribe", "c", "0"]);
    assert_eq!(hub.hear(server(1), &ended, 0), Some(News::Elsewhere));
    assert!(!hub.is_active(&topic));
    asked(&mut hub, server(1));
    hub.ask_those_elsewhere();
    assert_eq!(asked(&mut hub, server(1)), "ssubscribe c");
    assert_eq!(hub.hear(server(1), b"-MOVED 7365 h:2\r\n", 0), Some(News::Elsewhere));
    assert!(!hub.is_active(&topic));
    assert_eq!(hub.rehome(0, |_| Some(vec![server(2)])), []);
    asked(&mut hub, server(2));
    assert_eq!(hub.hear(server(2), &confirmed, 0), Some(News::Active(Vec::new())));
    assert!(hub.is_active(&topic));
    assert_eq!(
        hub.hear(server(2), &frame(&["unsubscribe", "c", "0"]), 0),
        None,
        "that is nonsense"
    );
}
