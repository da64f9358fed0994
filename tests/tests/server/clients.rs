//! Clients that wait, idle, send too much or send nonsense, at our server and at the original alike.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use redstart_tests::proxy_support::{Client, PATIENCE, eventually, within};
use redstart_tests::server_support::{Peer, Random, readable};

/// Whether a client of this name waits, by the flags of CLIENT LIST.
fn is_held(admin: &mut Client, name: &str) -> bool {
    let list = admin.call("CLIENT LIST");
    let line = list.lines().find(|line| line.contains(&format!(" name={name} ")));
    let flags = line.and_then(|line| line.split(" flags=").nth(1)?.split(' ').next());
    flags.is_some_and(|flags| flags.contains('b'))
}

fn named(peer: &Peer, name: &str) -> Client {
    let mut client = peer.client();
    assert_eq!(client.call(&format!("CLIENT SETNAME {name}")), "+OK\r\n");
    client
}

#[test]
fn a_pause_of_writes_holds_writes_until_it_is_lifted() {
    for peer in Peer::both(&[]) {
        let (mut admin, mut writer) = (peer.client(), named(&peer, "writer"));
        let (mut batch, mut speaker) = (named(&peer, "batch"), named(&peer, "speaker"));
        // A transaction is held as a whole, when it is to run.
        assert_eq!(batch.call("MULTI"), "+OK\r\n");
        assert_eq!(batch.call("INCR n"), "+QUEUED\r\n");
        assert_eq!(admin.call("SET soon x PX 30"), "+OK\r\n");
        assert_eq!(admin.call("SET late x"), "+OK\r\n");
        assert_eq!(admin.call("CLIENT PAUSE 60000 WRITE"), "+OK\r\n");
        writer.send(&["SET", "k", "v"]);
        speaker.send(&["PUBLISH", "c", "m"]);
        batch.send(&["EXEC"]);
        for name in ["writer", "speaker", "batch"] {
            assert!(within(PATIENCE, || is_held(&mut admin, name)), "{}, {name}", peer.name());
        }
        assert_eq!(admin.call("MGET k n late"), "*3\r\n$-1\r\n$-1\r\n$1\r\nx\r\n");
        // Nothing changes by itself either: what is past its time is not seen, but stays.
        eventually("its time is over", || admin.call("GET soon") == "$-1\r\n");
        assert_eq!(admin.call("DBSIZE"), ":2\r\n", "{}", peer.name());
        assert_eq!(admin.call("CLIENT UNPAUSE"), "+OK\r\n");
        assert_eq!(writer.receive(), "+OK\r\n");
        assert_eq!(speaker.receive(), ":0\r\n");
        assert_eq!(batch.receive(), "*1\r\n:1\r\n");
        eventually("it is gone", || admin.call("DBSIZE") == ":3\r\n");
        assert_eq!(writer.call("SET k w"), "+OK\r\n");
    }
}

#[test]
fn a_pause_of_everything_ends_by_itself() {
    for peer in Peer::both(&[]) {
        let (mut admin, mut reader) = (peer.client(), peer.client());
        let start = Instant::now();
        assert_eq!(admin.call("CLIENT PAUSE 400"), "+OK\r\n");
        // Several requests wait together, in order.
        reader.send_raw(b"PING\r\nSET k v\r\nGET k\r\n");
        assert_eq!(reader.receive(), "+PONG\r\n");
        assert!(start.elapsed() >= Duration::from_millis(390), "{}", peer.name());
        assert_eq!(reader.receive(), "+OK\r\n");
        assert_eq!(reader.receive(), "$1\r\nv\r\n");
        assert_eq!(admin.call("CLIENT PAUSE 50 ALL"), "+OK\r\n");
        assert_eq!(admin.call("GET k"), "$1\r\nv\r\n");
        for (words, said) in [
            ("CLIENT PAUSE abc", "-ERR timeout is not an integer or out of range\r\n"),
            ("CLIENT PAUSE -1", "-ERR timeout is negative\r\n"),
            ("CLIENT PAUSE 1 SOME", "-ERR CLIENT PAUSE mode must be WRITE or ALL\r\n"),
            ("CLIENT UNPAUSE", "+OK\r\n"),
        ] {
            assert_eq!(admin.call(words), said, "{}", peer.name());
        }
    }
}

#[test]
fn idle_clients_are_closed_after_their_time() {
    for peer in Peer::both(&["--timeout", "1"]) {
        let start = Instant::now();
        let (mut idle, mut listener, mut blocked) = (peer.client(), peer.client(), peer.client());
        assert_eq!(idle.call("PING"), "+PONG\r\n");
        listener.send(&["SUBSCRIBE", "c"]);
        listener.receive();
        blocked.send(&["BLPOP", "list", "0"]);
        assert!(idle.is_closed(), "{}", peer.name());
        assert!(start.elapsed() >= Duration::from_millis(950), "{}", peer.name());
        // Who listens or waits for an element is not idle.
        let mut other = peer.client();
        assert_eq!(other.call("PUBLISH c m"), ":1\r\n", "{}", peer.name());
        assert_eq!(listener.receive(), "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n");
        assert_eq!(other.call("RPUSH list e"), ":1\r\n");
        assert_eq!(blocked.receive(), "*2\r\n$4\r\nlist\r\n$1\r\ne\r\n");
    }
}

/// All that comes back for some bytes when nothing follows them.
fn answer(port: u16, input: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // It may be closed before everything is sent.
    let _ = stream.write_all(input);
    let _ = stream.shutdown(Shutdown::Write);
    let mut all = Vec::new();
    let mut piece = [0; 65_536];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("neither answered nor closed: {error} to {}", readable(input)),
        }
    }
}

fn bulk(length: usize) -> Vec<u8> {
    let mut request = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${length}\r\n").into_bytes();
    request.resize(request.len() + length, b'x');
    request.extend_from_slice(b"\r\n");
    request
}

#[test]
fn the_longest_argument_is_a_setting() {
    const TOO_LONG: &str = "-ERR Protocol error: invalid bulk length\r\n";
    const TOO_LARGE: &str = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
    for peer in Peer::both(&["--proto-max-bulk-len", "1mb"]) {
        let said = |input: &[u8]| String::from_utf8_lossy(&answer(peer.port(), input)).into_owned();
        assert_eq!(said(&bulk(1 << 20)), "+OK\r\n");
        assert_eq!(
            said(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048577\r\n"),
            TOO_LONG,
            "{}",
            peer.name()
        );
        assert_eq!(said(b"*2\r\n$3\r\nGET\r\n$629145600\r\n"), TOO_LONG, "{}", peer.name());
        let mut client = peer.client();
        assert_eq!(client.call("STRLEN k"), ":1048576\r\n");
        assert_eq!(client.call("APPEND k y"), TOO_LARGE, "{}", peer.name());
        assert_eq!(client.call("SETRANGE k 1048576 y"), TOO_LARGE, "{}", peer.name());
        // It holds at once, on connections that are open already.
        assert_eq!(client.call("CONFIG SET proto-max-bulk-len 2mb"), "+OK\r\n");
        client.send_raw(&bulk(2 << 20));
        assert_eq!(client.receive(), "+OK\r\n", "{}", peer.name());
        assert_eq!(
            client.call("CONFIG SET proto-max-bulk-len 1"),
            "-ERR CONFIG SET failed (possibly related to argument 'proto-max-bulk-len') - argument must be between 1048576 and 9223372036854775807 inclusive\r\n"
        );
    }
}

#[test]
fn two_million_arguments_are_taken_and_their_memory_goes_back() {
    let count = 2_000_000;
    let mut request = format!("*{count}\r\n$3\r\nDEL\r\n").into_bytes();
    for _ in 1..count {
        request.extend_from_slice(b"$1\r\na\r\n");
    }
    for peer in Peer::both(&[]) {
        let mut client = peer.client();
        assert_eq!(client.call("SET a x"), "+OK\r\n");
        let before = peer.resident_bytes();
        client.send_raw(&request);
        assert_eq!(client.receive(), ":1\r\n", "{}", peer.name());
        let grown = peer.resident_bytes().saturating_sub(before);
        assert!(grown < 300 << 20, "{}: {grown} bytes", peer.name());
        if matches!(peer, Peer::Ours(_)) {
            assert_eq!(client.call("PING"), "+PONG\r\n");
            eventually("memory goes back", || peer.resident_bytes() < before + (48 << 20));
        }
    }
}

#[test]
fn strangers_may_send_little() {
    for peer in Peer::both(&["--requirepass", "secret"]) {
        for (input, said) in [
            (&b"*11\r\n"[..], "-ERR Protocol error: unauthenticated multibulk length\r\n"),
            (b"*1\r\n$16385\r\n", "-ERR Protocol error: unauthenticated bulk length\r\n"),
            (b"*1\r\n$4\r\nPING\r\n", "-NOAUTH Authentication required.\r\n"),
            (b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*11\r\n$4\r\n", "+OK\r\n"),
        ] {
            let found = answer(peer.port(), input);
            assert_eq!(String::from_utf8_lossy(&found), said, "{}", peer.name());
        }
    }
}

#[test]
fn a_request_that_grows_without_end_is_cut_off() {
    for peer in Peer::both(&["--client-query-buffer-limit", "1mb"]) {
        let before = peer.resident_bytes();
        let mut stream = TcpStream::connect(("127.0.0.1", peer.port())).expect("connected");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(b"*2\r\n$3\r\nGET\r\n$400000000\r\n").expect("sent");
        let piece = [b'x'; 65_536];
        let mut sent = 0_usize;
        while stream.write_all(&piece).is_ok() {
            sent += piece.len();
            assert!(sent < 32 << 20, "{}: {sent} bytes are taken", peer.name());
        }
        let grown = peer.resident_bytes().saturating_sub(before);
        assert!(grown < 64 << 20, "{}: {grown} bytes", peer.name());
        assert_eq!(peer.client().call("PING"), "+PONG\r\n");
    }
}

/// Requests as clients send them, to be damaged.
const REQUESTS: &[&[u8]] = &[
    b"*1\r\n$4\r\nPING\r\n",
    b"*2\r\n$4\r\nECHO\r\n$5\r\nhowdy\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n",
    b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
    b"*5\r\n$5\r\nRPUSH\r\n$1\r\nl\r\n$1\r\na\r\n$2\r\n-1\r\n$0\r\n\r\n",
    b"*4\r\n$6\r\nLRANGE\r\n$1\r\nl\r\n$1\r\n0\r\n$2\r\n-1\r\n",
    b"PING\r\n",
    b"set k \"a b\\x00c\"\n",
    b"GET 'k'\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"\r\n",
];

fn damaged(random: &mut Random) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..1 + random.below(6) {
        input.extend_from_slice(random.pick(REQUESTS));
    }
    for _ in 0..random.below(4) {
        if input.is_empty() {
            break;
        }
        let at = random.below(input.len());
        match random.below(5) {
            0 => input[at] = random.number() as u8,
            1 => {
                input.remove(at);
            }
            2 => input.insert(at, b"\r\n*$0123456789-\"' \0\xff"[random.below(20)]),
            3 => input.truncate(at.max(1)),
            _ => {
                let piece = input[at..(at + 9).min(input.len())].to_vec();
                input.splice(at..at, piece);
            }
        }
    }
    input
}

#[test]
fn damaged_requests_get_the_originals_replies() {
    let [original, ours] = Peer::both(&[]);
    let mut random = Random::new(7);
    for round in 0..3000 {
        let input = damaged(&mut random);
        let (expected, found) = (answer(original.port(), &input), answer(ours.port(), &input));
        assert!(
            expected == found,
            "round {round}: to {}\nredis-server:    {}\nredstart-server: {}",
            readable(&input),
            readable(&expected),
            readable(&found)
        );
        if round % 100 == 0 {
            for peer in [&original, &ours] {
                assert_eq!(peer.client().call("FLUSHALL"), "+OK\r\n");
            }
        }
    }
}

#[test]
fn half_a_request_waits_and_its_client_is_forgotten_with_it() {
    for peer in Peer::both(&[]) {
        let mut admin = peer.client();
        let mut halves: Vec<Client> = (0..20).map(|_| peer.client()).collect();
        for half in &mut halves {
            half.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nval");
        }
        // Whoever sends the rest gets an answer.
        halves[7].send_raw(b"ue\r\n");
        assert_eq!(halves[7].receive(), "+OK\r\n");
        assert_eq!(admin.call("GET k"), "$5\r\nvalue\r\n");
        drop(halves);
        assert!(
            within(PATIENCE, || admin.call("CLIENT LIST").matches("id=").count() == 1),
            "{}: they stay",
            peer.name()
        );
    }
}

#[test]
fn a_command_that_waits_is_counted_once_however_it_ends() {
    for peer in Peer::both(&[]) {
        let (mut client, mut admin) = (named(&peer, "waits"), peer.client());
        assert_eq!(client.call("BLPOP none 0.01"), "*-1\r\n");
        client.send(&["BLPOP", "list", "0"]);
        eventually("it waits", || is_held(&mut admin, "waits"));
        assert_eq!(admin.call("RPUSH list a"), ":1\r\n");
        assert_eq!(client.receive(), "*2\r\n$4\r\nlist\r\n$1\r\na\r\n");
        let id = client.call("CLIENT ID").trim_start_matches(':').trim().to_owned();
        client.send(&["BLPOP", "list", "0"]);
        eventually("it waits", || is_held(&mut admin, "waits"));
        assert_eq!(admin.call(&format!("CLIENT UNBLOCK {id} ERROR")), ":1\r\n");
        assert!(client.receive().starts_with("-UNBLOCKED"));
        let told = admin.call("INFO commandstats");
        let line = told.lines().find(|line| line.starts_with("cmdstat_blpop:")).unwrap_or_default();
        let name = peer.name();
        assert!(line.starts_with("cmdstat_blpop:calls=3,"), "{name}: {line}");
        assert!(line.ends_with(",rejected_calls=0,failed_calls=1"), "{name}: {line}");
    }
}

#[test]
fn a_client_over_its_output_limit_is_sent_nothing() {
    for peer in Peer::both(&["--client-output-buffer-limit", "normal 200000 0 0"]) {
        let mut admin = peer.client();
        let value = "v".repeat(1000);
        for number in 0..300 {
            assert_eq!(admin.call(&format!("SET key:{number} {value}")), "+OK\r\n");
        }
        for command in [
            "RPUSH l a",
            "SADD s a b",
            "HSET h f v",
            "ZADD z 1 a 2 b",
            &format!("SETRANGE long 299999 {value}"),
        ] {
            assert!(admin.call(command).starts_with(':'), "{}: {command}", peer.name());
        }
        for (requests, what) in [
            ("GET long\r\n", "one reply"),
            ("MGET key:0\r\nGET long\r\nGET key:1\r\n", "one among others"),
            ("MULTI\r\nGET long\r\nSET done yes\r\nEXEC\r\n", "a transaction"),
            ("SRANDMEMBER s -999999999\r\n", "a set's members without end"),
            ("HRANDFIELD h -999999999\r\n", "a hash's fields without end"),
            ("ZRANDMEMBER z -999999999\r\n", "a sorted set's members without end"),
        ] {
            let mut stream = TcpStream::connect(("127.0.0.1", peer.port())).expect("connected");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            stream.write_all(requests.as_bytes()).expect("sent");
            let mut heard = Vec::new();
            // A connection that is closed with requests unread is reset, which is fine too.
            let _ = stream.read_to_end(&mut heard);
            assert_eq!(
                heard.len(),
                0,
                "{}: {what}: {}",
                peer.name(),
                readable(&heard[..heard.len().min(100)])
            );
        }
        assert_eq!(admin.call("GET done"), "$3\r\nyes\r\n", "{}", peer.name());
    }
}
