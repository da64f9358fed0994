//! Requests that arrive together: whatever way they are cut into reads, they are answered in their order and as
//! redis-server answers them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use redstart_tests::proxy_support::PATIENCE;
use redstart_tests::server_support::{Peer, Random, readable};

fn request(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// Sends `bytes` in pieces that end at `cuts`, says that nothing more comes, and reads all that is answered.
fn converse(port: u16, bytes: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut stream = connect(port);
    let mut reader = stream.try_clone().expect("a second handle");
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        // A reset is an end as well: of a connection that was closed for what it sent.
        let _ = reader.read_to_end(&mut all);
        all
    });
    let mut from = 0;
    for &to in cuts.iter().chain([&bytes.len()]) {
        if stream.write_all(&bytes[from..to]).is_err() {
            break;
        }
        from = to;
    }
    // Refused where the server has closed already.
    let _ = stream.shutdown(Shutdown::Write);
    reading.join().expect("the reader ends")
}

/// Requests of every shape, many more than are looked at together.
fn mixture() -> Vec<u8> {
    let mut bytes = request(&["FLUSHALL"]);
    for n in 0..400 {
        let (key, number) = (format!("key:{}", n % 37), n.to_string());
        bytes.extend(match n % 16 {
            0 => request(&["SET", &key, &number]),
            1 => request(&["GET", &key]),
            2 => format!("SET {key} \"in line {n}\"\r\n").into_bytes(),
            3 => request(&["NOSUCH", &key]),
            4 => request(&["GET"]),
            5 => request(&["SADD", "set", &number, &key]),
            6 => request(&["SELECT", if n % 3 == 0 { "1" } else { "0" }]),
            7 => request(&["MULTI"]),
            8 => request(&["INCR", "counter"]),
            9 => request(&["EXEC"]),
            10 => b"\r\n*0\r\n".to_vec(),
            11 => request(&["MGET", &key, "key:1", "none"]),
            12 => request(&["LPUSH", &key, &number]),
            13 => request(&["CLIENT", "REPLY", "SKIP"]),
            14 => request(&["HSET", "hash", &key, &number]),
            _ => request(&["DEL", &key]),
        });
    }
    bytes
}

#[test]
fn a_pipeline_is_answered_the_same_however_it_is_cut() {
    let [theirs, ours] = Peer::both(&[]);
    let bytes = mixture();
    let expected = converse(theirs.port(), &bytes, &[]);
    assert!(expected.len() > 2000, "{}", readable(&expected));
    let mut random = Random::new(7);
    for round in 0..30 {
        let mut cuts: Vec<usize> = (0..round * 2).map(|_| random.below(bytes.len())).collect();
        cuts.sort_unstable();
        let answered = converse(ours.port(), &bytes, &cuts);
        assert_eq!(readable(&answered), readable(&expected), "cut at {cuts:?}");
    }
}

#[test]
fn what_comes_before_a_fault_is_answered() {
    let [theirs, ours] = Peer::both(&[]);
    for fault in [&b"*1\r\n:3\r\nabc\r\n"[..], b"*x\r\n", b"GET \"unbalanced\r\n", b"*1\r\n$-1\r\n"]
    {
        let mut bytes = request(&["SET", "k", "v"]).repeat(3);
        bytes.extend_from_slice(fault);
        bytes.extend(request(&["GET", "k"]));
        let expected = converse(theirs.port(), &bytes, &[]);
        let answered = converse(ours.port(), &bytes, &[]);
        assert_eq!(readable(&answered), readable(&expected), "{}", fault.escape_ascii());
    }
}

#[test]
fn requests_behind_one_that_waits_are_kept_for_later() {
    for peer in Peer::both(&[]) {
        let mut waiting = connect(peer.port());
        let mut bytes = request(&["PING", "before"]);
        bytes.extend(request(&["BLPOP", "list", "0"]));
        bytes.extend(request(&["SET", "after", "1"]));
        bytes.extend(b"PING inline\r\n");
        bytes.extend(&request(&["GET", "after"])[..9]);
        waiting.write_all(&bytes).expect("sent");
        let mut said = [0; 12];
        waiting.read_exact(&mut said).expect("the first answer");
        let mut other = peer.client();
        assert_eq!(other.call("GET after"), "$-1\r\n", "{}", peer.name());
        assert_eq!(other.call("RPUSH list x"), ":1\r\n");
        waiting.write_all(&request(&["GET", "after"])[9..]).expect("sent");
        waiting.shutdown(Shutdown::Write).expect("closed");
        let mut rest = Vec::new();
        waiting.read_to_end(&mut rest).expect("the rest");
        let wanted = b"*2\r\n$4\r\nlist\r\n$1\r\nx\r\n+OK\r\n$6\r\ninline\r\n$1\r\n1\r\n";
        assert_eq!(readable(&rest), readable(wanted), "{}", peer.name());
    }
}

#[test]
fn a_client_killed_by_another_of_the_same_turn_runs_nothing_more() {
    for peer in Peer::both(&[]) {
        let mut victim = connect(peer.port());
        victim.write_all(b"CLIENT ID\r\n").expect("sent");
        let mut said = [0; 64];
        let length = victim.read(&mut said).expect("its id");
        let id = String::from_utf8_lossy(&said[1..length]).trim().to_owned();
        let mut killer = peer.client();
        assert_eq!(killer.call(&format!("CLIENT KILL ID {id}")), ":1\r\n", "{}", peer.name());
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = victim.read_to_end(&mut rest);
        assert_eq!(rest, b"", "{}", peer.name());
    }
}
