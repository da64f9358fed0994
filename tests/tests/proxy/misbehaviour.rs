//! Many clients that do what no client should, each in one of eight ways: what they make the proxy keep is bounded, others are
//! served meanwhile, and nothing stays behind.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use redstart_tests::proxy_support::{Client, Proxy, Redis, eventually, free_port, within};

/// How many there are; the soak has a thousand.
fn bad_clients() -> usize {
    std::env::var("REDSTART_BAD_CLIENTS").map_or(160, |text| text.parse().expect("a number"))
}

/// The value of a line `name:value` of a section of INFO, as a number.
fn fact(client: &mut Client, section: &str, name: &str) -> u64 {
    let info = client.call(&format!("INFO {section}"));
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{name}: {info}"))
}

/// What a bad client sends. Keys that begin with 0 lie on a server that is well, those with 1 on one that is away.
fn misdeed(number: usize) -> Vec<u8> {
    match number % 8 {
        // Large replies, small replies and messages that nobody reads.
        0 => b"GET 0:large\r\n".repeat(400),
        1 => b"GET 0:small\r\n".repeat(50_000),
        2 => b"SUBSCRIBE 0:noise\r\n".to_vec(),
        // Requests that have to wait, and that never end.
        3 => {
            let value = "x".repeat(50_000);
            format!("*3\r\n$3\r\nSET\r\n$3\r\n1:k\r\n$50000\r\n{value}\r\n")
                .repeat(100)
                .into_bytes()
        }
        4 => b"*3\r\n$3\r\nSET\r\n$3\r\n0:h\r\n$400000000\r\nxxx".to_vec(),
        5 => b"*2000000\r\n$3\r\nDEL\r\n$1\r\n0\r\n".to_vec(),
        // Connections of their own.
        6 => b"BLPOP 0:never 0\r\n".to_vec(),
        _ => {
            let queued = "SET 0:t v\r\n".repeat(2000);
            format!("WATCH 0:watched{number}\r\nMULTI\r\n{queued}").into_bytes()
        }
    }
}

/// Sends as much as is taken at once.
fn send(stream: &mut TcpStream, mut bytes: &[u8]) {
    let until = Instant::now() + Duration::from_millis(5);
    while !bytes.is_empty() && Instant::now() < until {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            // It was dropped for what it does.
            Err(_) => return,
        }
    }
}

#[test]
fn what_bad_clients_cost_is_bounded_and_nothing_stays() {
    let count = bad_clients();
    let (server, away) = (Redis::start(), free_port());
    let keys = "  hash: atol\n  distribution: modula\n  server_order: file\n  failover_hold: 500\n  private_connections: 8\n";
    let addresses = [
        format!("127.0.0.1:{}:1 alpha", server.port),
        format!(
            "127.0.0.1:{away}:1 beta\nglobal:\n  client_output_limit: 2mb\n  subscriber_output_limit: 1mb\n  backend_queue_limit: 8mb"
        ),
    ];
    let proxy = Proxy::start_over(keys, &addresses, &["--workers", "1", "-s", "0"]);
    let (mut good, mut publisher) = (proxy.client(), proxy.client());
    assert_eq!(good.call(&format!("SET 0:large {}", "x".repeat(100_000))), "+OK\r\n");
    assert_eq!(good.call("SET 0:small s"), "+OK\r\n");
    let noise = format!("PUBLISH 0:noise {}", "n".repeat(50_000));
    let mut peaks = Vec::new();
    for round in 0..2 {
        let mut bad: Vec<TcpStream> = Vec::with_capacity(count);
        let mut peak = 0;
        let mut most_private = 0;
        for number in 0..count {
            let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).expect("a connection");
            stream.set_nonblocking(true).expect("a socket");
            send(&mut stream, &misdeed(number));
            bad.push(stream);
            if number.is_multiple_of(8) {
                assert_eq!(good.call("GET 0:small"), "$1\r\ns\r\n", "others are served");
                assert!(publisher.call(&noise).starts_with(':'));
                peak = peak.max(proxy.process.resident_bytes());
            }
        }
        let _ = within(Duration::from_millis(1500), || {
            assert_eq!(good.call("GET 0:small"), "$1\r\ns\r\n", "others are served");
            assert!(publisher.call(&noise).starts_with(':'));
            most_private = most_private.max(fact(&mut good, "pool", "private_connections"));
            peak = peak.max(proxy.process.resident_bytes());
            false
        });
        assert!(most_private <= 8, "{most_private} connections of clients' own");
        assert!(fact(&mut good, "pool", "private_refused") > 0);
        // How much is published in that time depends on how busy the machine is.
        eventually("who listens and does not read is dropped", || {
            assert!(publisher.call(&noise).starts_with(':'));
            fact(&mut good, "pool", "subscribers_dropped") > 0
        });
        eventually("nobody is held longer than he may", || {
            fact(&mut good, "pool", "waiting_requests") == 0
        });
        drop(bad);
        eventually("nothing is left of them", || {
            let left = ["private_in_use", "subscriptions", "waiting_requests"];
            fact(&mut good, "clients", "connected_clients") == 2
                && left.iter().all(|name| fact(&mut good, "pool", name) == 0)
        });
        println!("round {round}: {count} clients, {} MB at most", peak >> 20);
        assert!(peak < (96 << 20) + count as u64 * (1 << 20), "{peak} bytes for {count} clients");
        peaks.push(peak);
    }
    let [first, second] = peaks[..] else { panic!("two rounds") };
    assert!(second < first + first / 4 + (32 << 20), "{first} bytes, and then {second}");
}
