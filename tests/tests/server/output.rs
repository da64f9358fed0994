//! What waits to be sent, and what large requests take, at our server and at the original alike.

use std::io::{Read, Write};
use std::net::TcpStream;

use redstart_tests::proxy_support::{PATIENCE, eventually};
use redstart_tests::server_support::{Peer, figure};

const MB: u64 = 1 << 20;

fn connected(peer: &Peer) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", peer.port())).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

#[test]
fn a_pipeline_that_is_read_only_once_it_is_written_ends() {
    const REQUESTS: usize = 300_000;
    for peer in Peer::both(&[]) {
        let value = "v".repeat(1000);
        assert_eq!(peer.client().call(&format!("SET k {value}")), "+OK\r\n");
        let mut stream = connected(&peer);
        stream.write_all("GET k\r\n".repeat(REQUESTS).as_bytes()).expect("all is taken");
        let reply = format!("$1000\r\n{value}\r\n");
        let mut piece = reply.repeat(1000).into_bytes();
        for _ in 0..REQUESTS / 1000 {
            piece.fill(0);
            stream.read_exact(&mut piece).expect("replies");
            assert!(
                piece.chunks(reply.len()).all(|one| one == reply.as_bytes()),
                "{}",
                peer.name()
            );
        }
        assert_eq!(peer.client().call("PING"), "+PONG\r\n");
    }
}

#[test]
fn replies_of_every_length_come_whole_however_slowly_they_are_read() {
    for peer in Peer::both(&[]) {
        let mut admin = peer.client();
        let lengths = [1, 100, 4090, 16_380, 33_000, 65_530, 70_000, 400_000, 3_000_000];
        let mut requests = String::from("*1\r\n$4\r\nPING\r\n");
        let mut expected = String::from("+PONG\r\n");
        for length in lengths {
            let value: String = (0..length).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
            admin.send(&["SET", &format!("k{length}"), &value]);
            assert_eq!(admin.receive(), "+OK\r\n");
            requests += &format!("GET k{length}\r\nMGET k{length} none k{length}\r\nECHO x\r\n");
            let bulk = format!("${length}\r\n{value}\r\n");
            expected += &format!("{bulk}*3\r\n{bulk}$-1\r\n{bulk}$1\r\nx\r\n");
        }
        requests += "INCR all\r\n";
        expected += ":1\r\n";
        let mut stream = connected(&peer);
        stream.write_all(requests.as_bytes()).expect("sent");
        // What a reply shares with a value does not change with it.
        eventually("all of it has run", || admin.call("EXISTS all") == ":1\r\n");
        for length in lengths {
            assert_eq!(admin.call(&format!("SETRANGE k{length} 0 X")), format!(":{length}\r\n"));
        }
        assert_eq!(admin.call("GETRANGE k3000000 0 2"), "$3\r\nXbc\r\n");
        let mut heard = vec![0; expected.len()];
        let mut at = 0;
        while at < heard.len() {
            let end = heard.len().min(at + 10_000);
            let count = stream.read(&mut heard[at..end]).expect("replies");
            assert!(count > 0, "{}: it ended at {at}", peer.name());
            at += count;
        }
        assert!(heard == expected.as_bytes(), "{}", peer.name());
        let mut stream = connected(&peer);
        stream.write_all(b"GETDEL k3000000\r\nFLUSHALL\r\nQUIT\r\n").expect("sent");
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).expect("replies");
        assert_eq!(heard.len(), 3_000_000 + 12 + 5 + 5, "{}", peer.name());
        assert!(heard.starts_with(b"$3000000\r\nXbc"), "{}", peer.name());
    }
}

#[test]
fn a_large_value_lies_in_memory_once() {
    let [_, ours] = Peer::both(&[]);
    let mut client = ours.client();
    let value = "v".repeat(100 << 20);
    let before = ours.resident_bytes();
    client.send(&["SET", "k", &value, "EX", "1000"]);
    assert_eq!(client.receive(), "+OK\r\n");
    let Peer::Ours(server) = &ours else { unreachable!("the second is ours") };
    let peak = server.process.peak_bytes() - before;
    assert!(peak < 130 * MB, "{peak} bytes to store 100 MB");
    // Those who ask for it share it.
    let mut slow: Vec<TcpStream> = (0..5).map(|_| connected(&ours)).collect();
    for stream in &mut slow {
        stream.write_all(b"GET k\r\n").expect("sent");
    }
    eventually("all wait", || {
        let list = client.call("CLIENT LIST");
        let waiting = |line: &&str| line.contains(" omem=") && !line.contains(" omem=0 ");
        list.lines().filter(waiting).count() == 5
    });
    let peak = server.process.peak_bytes() - before;
    assert!(peak < 140 * MB, "{peak} bytes to send 100 MB five times");
    // The allocator counts it by steps of a quarter.
    assert!(figure(&mut client, "used_memory") < 130 * MB);
    // It is changed by itself, and they still get what they asked for.
    assert_eq!(client.call("APPEND k xyz"), format!(":{}\r\n", value.len() + 3));
    assert_eq!(client.call("GETRANGE k -5 -1"), "$5\r\nvvxyz\r\n");
    assert!(client.call("TTL k").starts_with(':'));
    for mut stream in slow {
        let mut heard = vec![0; value.len() + 14];
        stream.read_exact(&mut heard).expect("the value");
        assert!(heard.ends_with(b"vvv\r\n"));
    }
}

#[test]
fn an_argument_takes_no_memory_before_it_comes() {
    for peer in Peer::both(&[]) {
        let mut admin = peer.client();
        let mut stream = connected(&peer);
        let before = peer.resident_bytes();
        stream.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\n").expect("sent");
        stream.write_all(&[b'v'; 100_000]).expect("sent");
        eventually("it has come", || figure(&mut admin, "total_net_input_bytes") > 100_000);
        assert!(peer.resident_bytes() < before + 16 * MB, "{}", peer.name());
        if let Peer::Ours(_) = peer {
            assert!(figure(&mut admin, "used_memory") < 16 * MB);
        }
    }
}

#[test]
fn a_connection_that_has_ended_is_no_client_any_more() {
    for peer in Peer::both(&[]) {
        let mut admin = peer.client();
        for _ in 0..50 {
            let mut leaver = peer.client();
            assert_eq!(leaver.call("QUIT"), "+OK\r\n");
            // A real one closes a moment after its reply.
            assert!(leaver.has_ended() || matches!(peer, Peer::Original(_)));
            assert!(leaver.is_closed());
            assert_eq!(admin.call("CLIENT LIST").matches("id=").count(), 1, "{}", peer.name());
        }
    }
}
