//! The bus and nodes.conf: what is not a packet or a file is refused; what is a file is written and read again as the same; and
//! no packet of a node breaks a cluster.
//!
//! The first byte chooses: the file, bytes as they come, or packets with a whole header whose fields are the input's.
#![no_main]

use std::ops::ControlFlow;

use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use redstart_server::cluster::packet::{self, Frames};
use redstart_server::cluster::{Cluster, Event, Name, Options, Turn};

fuzz_target!(|data: &[u8]| {
    let [choice, body @ ..] = data else { return };
    match choice % 3 {
        0 => file(body),
        1 => stream(body, usize::from(choice / 3) + 1),
        _ => packets(body),
    }
});

fn file(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    if let Ok(cluster) = Cluster::from_file(&text, Options::default(), 1_700_000_000_000) {
        let written = cluster.to_file(0);
        let again = Cluster::from_file(&written, Options::default(), 1_700_000_000_000);
        let again = again.unwrap_or_else(|_| panic!("what was written is refused:\n{written}"));
        assert_eq!(again.to_file(0), written);
    }
}

fn stream(bytes: &[u8], step: usize) {
    let mut frames = Frames::default();
    for part in bytes.chunks(step) {
        // An error is as good as a packet: neither may panic.
        let taken = frames.push(part, |bytes| {
            drop(packet::read(bytes));
            ControlFlow::<()>::Continue(())
        });
        if taken.is_err() {
            return;
        }
    }
}

/// Two nodes that know each other; what the second one sends is the input.
fn packets(mut input: &[u8]) {
    let (mine, theirs) = ("a".repeat(40), "b".repeat(40));
    let text = format!(
        "{mine} 10.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-8191\n\
         {theirs} 10.0.0.2:7001@17001 master - 0 0 2 connected 8192-16383\n\
         vars currentEpoch 2 lastVoteEpoch 0\n"
    );
    let Ok(mut cluster) = Cluster::from_file(&text, Options::default(), 1_700_000_000_000) else {
        panic!("the file of the test is refused");
    };
    assert!(Name::parse(theirs.as_bytes()).is_some());
    let (mut random, mut actions) = (SmallRng::seed_from_u64(1), Vec::new());
    let mut now_ms = 1_700_000_000_000;
    let link = cluster.new_link();
    let ip = || "10.0.0.2".to_owned();
    let accepted = Event::Accepted { link, peer_ip: ip(), local_ip: "10.0.0.1".to_owned() };
    let mut tell = |cluster: &mut Cluster, event: Event<'_>, now_ms: i64| {
        let mut turn = Turn {
            now_ms,
            wall_ahead_ms: 0,
            offset: 1,
            data_age_ms: 0,
            follows: false,
            random: &mut random,
            actions: &mut actions,
        };
        cluster.handle(event, &mut turn);
        cluster.settle();
        actions.clear();
    };
    tell(&mut cluster, accepted, now_ms);
    while let [kind, count, marks, extensions, length, rest @ ..] = input {
        let (body, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        input = rest;
        let mut packet = vec![0; packet::HEADER_BYTES];
        packet[..4].copy_from_slice(packet::SIGNATURE);
        packet[9] = 1;
        packet[13] = kind % 12;
        packet[15] = count % 3;
        packet[40..80].copy_from_slice(theirs.as_bytes());
        packet[2215] = extensions % 3;
        packet[2253] = *marks;
        // The body says what the header holds, too: epochs, slots, a primary, an address.
        for (place, byte) in body.iter().enumerate() {
            packet[16 + place * 7 % 24] ^= byte;
            packet[80 + place * 97 % 2100] ^= byte;
        }
        packet.extend_from_slice(body);
        let padding = usize::from(count % 3) * packet::GOSSIP_BYTES;
        packet.resize(packet.len().max(packet::HEADER_BYTES + padding), b'c');
        let total = packet.len() as u32;
        packet[4..8].copy_from_slice(&total.to_be_bytes());
        now_ms += i64::from(*marks) * 20;
        tell(&mut cluster, Event::Received(link, &packet), now_ms);
        tell(&mut cluster, Event::Tick, now_ms);
        tell(&mut cluster, Event::EndOfTurn, now_ms);
    }
    let written = cluster.to_file(0);
    assert!(Cluster::from_file(&written, Options::default(), now_ms).is_ok(), "{written}");
}
