use std::borrow::Cow;
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;
use crate::cluster::node::{Flags, Name, Node};
use crate::cluster::slots::SlotSet;

fn name(letter: char) -> Name {
    Name::parse(letter.to_string().repeat(40).as_bytes()).expect("a name")
}

fn header(slots: &SlotSet) -> Header<'_> {
    Header {
        sender: name('a'),
        current_epoch: 7,
        config_epoch: 5,
        offset: 1234,
        slots: Cow::Borrowed(slots),
        primary: Some(name('b')),
        ip: "10.0.0.1",
        port: 7000,
        plain_port: 6999,
        bus_port: 17_000,
        flags: Flags::REPLICA.or(Flags::MYSELF),
        is_up: false,
        marks: mark::PAUSED,
        own_marks: own_mark::TAKES_SLOTS,
    }
}

fn hostname(text: &str) -> Extensions<'_> {
    Extensions { hostname: Some(text), ..Extensions::default() }
}

fn heartbeat(
    header: &Header<'_>,
    kind: Kind,
    extensions: &Extensions<'_>,
    takes_all: bool,
    told: &[Node],
) -> Vec<u8> {
    let mut packet = Vec::new();
    header.heartbeat(kind, extensions, takes_all, told.iter(), 2000, &mut packet);
    packet
}

#[test]
fn what_is_written_lies_where_redis_looks() {
    let mut slots = SlotSet::default();
    slots.insert(0);
    slots.insert(16_383);
    let mut node = Node::new(name('c'), Flags::PRIMARY, 0);
    node.ip = "10.0.0.2".into();
    (node.port, node.bus_port, node.pong_received_ms) = (7001, 17_001, 9000);
    let extensions = hostname("host-1.example");
    let packet = heartbeat(&header(&slots), Kind::Ping, &extensions, false, &[node]);
    assert_eq!(packet.len(), 2256 + 104 + 8 + 16);
    assert_eq!(&packet[..16], b"RCmb\0\0\x09\x50\0\x01\x1b\x58\0\0\0\x01");
    assert_eq!(
        &packet[16..40],
        [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 4, 210]
    );
    assert_eq!((packet[80], packet[2127]), (1, 128));
    assert_eq!(&packet[2168..2177], b"10.0.0.1\0");
    assert_eq!(&packet[2214..2216], [0, 1]);
    assert_eq!(&packet[2246..2256], [0x1b, 0x57, 0x42, 0x68, 0, 18, 1, 5, 0, 1]);
    assert_eq!(&packet[2256 + 44..2256 + 48], [0, 0, 0, 11]);
    assert_eq!(&packet[2256 + 104..2256 + 112], [0, 0, 0, 24, 0, 0, 0, 0]);
    let read = read(&packet).expect("a packet");
    assert_eq!((read.port, read.plain_port, read.bus_port), (7000, 6999, 17_000));
    assert_eq!(
        (read.sender, read.primary, read.is_replica),
        (Some(name('a')), Some(name('b')), true)
    );
    assert_eq!((read.offset, read.ip, read.claimed()), (1234, "10.0.0.1", slots));
    let Body::Heartbeat { gossip: [told], extensions } = read.body else {
        panic!("another body");
    };
    assert_eq!(extensions, hostname("host-1.example"));
    let told = Gossip::read(told);
    assert_eq!((told.name, told.pong_received_s, told.port), (Some(name('c')), 11, 7001));
    assert_eq!((told.ip, told.bus_port, told.flags), ("10.0.0.2", 17_001, Flags::PRIMARY));
}

/// A heartbeat with these extensions behind it.
fn extended(extensions: &[(u16, u32, &[u8])]) -> Vec<u8> {
    let slots = SlotSet::default();
    let mut packet = heartbeat(&header(&slots), Kind::Pong, &Extensions::default(), false, &[]);
    packet[2215] = extensions.len() as u8;
    for (kind, length, data) in extensions {
        packet.extend_from_slice(&length.to_be_bytes());
        packet.extend_from_slice(&kind.to_be_bytes());
        packet.extend_from_slice(&[0; 2]);
        packet.extend_from_slice(data);
    }
    let length = packet.len() as u32;
    packet[4..8].copy_from_slice(&length.to_be_bytes());
    packet
}

#[test]
fn extensions_of_later_versions_are_taken_or_skipped_and_sent_to_those_who_take_them() {
    let mut forgotten = [b'f'; 48];
    forgotten[40..].copy_from_slice(&60_u64.to_be_bytes());
    let packet = extended(&[
        (3, 48, &[b'x'; 40]),
        (0, 16, b"host\0\0\0\0"),
        (9, 8, b""),
        (2, 56, &forgotten),
        (4, 16, b"1.2.3.4\0"),
        (4, 16, b"1.2.3.x\0"),
        (1, 16, b"a_b\0\0\0\0\0"),
    ]);
    let Ok(Packet { body: Body::Heartbeat { extensions, .. }, .. }) = read(&packet) else {
        panic!("refused");
    };
    let said = Extensions {
        shard: Some(name('x')),
        human_name: Some("a_b"),
        // What is no address is none.
        client_ipv4: None,
        forgotten: vec![(name('f'), 60)],
        unknown: vec![9],
        takes_all: true,
        ..hostname("host")
    };
    assert_eq!(extensions, said);
    let slots = SlotSet::default();
    let mine = Extensions { client_ipv6: Some("::1"), ..said };
    for (takes_all, heard) in
        [(true, Extensions { unknown: Vec::new(), ..mine.clone() }), (false, hostname("host"))]
    {
        let packet = heartbeat(&header(&slots), Kind::Ping, &mine, takes_all, &[]);
        let Body::Heartbeat { extensions, .. } = read(&packet).expect("a packet").body else {
            panic!("another body");
        };
        assert_eq!(extensions, heard);
    }
}

#[test]
fn extensions_that_do_not_fit_are_refused() {
    for extension in [
        (0, 64, &b"host\0\0\0\0"[..]),
        (0, 0, b"host\0\0\0\0"),
        (0, 12, b"hos\0"),
        (0, 8, b"hos\0hos\0"),
    ] {
        assert!(matches!(read(&extended(&[extension])), Err(Wrong::Parts(_))), "{extension:?}");
    }
    for hostname in [&b"hosthost"[..], b"ho st\0\0\0", b"ho\nst\0\0\0"] {
        let packet = extended(&[(0, 16, hostname)]);
        let Ok(Packet { body: Body::Heartbeat { extensions, .. }, .. }) = read(&packet) else {
            panic!("{hostname:?}");
        };
        assert_eq!(extensions.hostname, None);
    }
}

#[test]
fn what_could_not_stand_in_the_file_is_no_address() {
    let slots = SlotSet::default();
    let packet = Header { ip: "10.0.0.1\nvars", ..header(&slots) };
    let packet = plain(&packet, Kind::AuthRequest);
    assert_eq!(read(&packet).expect("a packet").ip, "");
}

#[test]
fn packets_are_found_in_a_stream_however_it_is_cut() {
    let slots = SlotSet::default();
    let header = header(&slots);
    let packets = [
        plain(&header, Kind::AuthAck),
        publish(&header, Kind::Publish, b"channel", b"text"),
        fail(&header, &name('d')),
    ];
    let stream: Vec<u8> = packets.iter().flatten().copied().collect();
    for step in [1, 7, 2256, 2257, 5000, stream.len()] {
        let mut frames = Frames::default();
        let mut found = Vec::new();
        for part in stream.chunks(step) {
            let taken = frames.push(part, |packet| {
                found.push(packet.to_vec());
                ControlFlow::<()>::Continue(())
            });
            assert_eq!(taken, Ok(ControlFlow::Continue(())));
        }
        assert_eq!(found, packets, "in steps of {step}");
        assert_eq!(frames.held(), 0, "in steps of {step}");
    }
    let one = |_: &[u8]| ControlFlow::Break(());
    assert_eq!(Frames::default().push(&stream, one), Ok(ControlFlow::Break(())));
    assert_eq!(Frames::default().push(b"GET / HTTP/1.1\r\n", one), Err(NotABus));
    assert_eq!(Frames::default().push(b"RCmb\0\0\0\x10", one), Err(NotABus));
}

proptest! {
    #[test]
    fn nothing_that_comes_breaks_the_reader(
        kind in 0_u16..13,
        count in 0_u16..4,
        extensions in 0_u16..4,
        marks: u8,
        rest in prop::collection::vec(any::<u8>(), 0..400),
        lies in -9_i32..9,
    ) {
        let slots = SlotSet::default();
        let mut packet = plain(&header(&slots), Kind::Ping).to_vec();
        packet.extend_from_slice(&rest);
        packet[12..14].copy_from_slice(&kind.to_be_bytes());
        packet[14..16].copy_from_slice(&count.to_be_bytes());
        packet[2214..2216].copy_from_slice(&extensions.to_be_bytes());
        packet[2253] = marks;
        let length = (packet.len() as i32 + lies / 8) as u32;
        packet[4..8].copy_from_slice(&length.to_be_bytes());
        if let Ok(packet) = read(&packet)
            && let Body::Heartbeat { gossip, .. } = packet.body
        {
            prop_assert_eq!(gossip.len(), usize::from(count));
            gossip.iter().for_each(|told| drop(Gossip::read(told)));
        }
    }
}
