//! Servers that are down, slow, silent or talk nonsense, and clients that do.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redstart_tests::proxy_support::{
    Fake, PATIENCE, Proxy, Redis, each_request, eventually, within,
};

/// A server that echoes the key of every request, that of `sleepyN` once so many have been woken.
fn echo_server(woken: &Arc<AtomicUsize>, connections: &Arc<AtomicUsize>) -> Fake {
    let (woken, connections) = (Arc::clone(woken), Arc::clone(connections));
    Fake::start(move |mut stream| {
        connections.fetch_add(1, Ordering::SeqCst);
        each_request(&mut stream, |stream, args| {
            let key = String::from_utf8_lossy(args[1]).into_owned();
            if let Some(number) = key.strip_prefix("sleepy") {
                let number: usize = number.parse().expect("a number");
                assert!(within(PATIENCE, || woken.load(Ordering::SeqCst) > number));
            }
            stream.write_all(format!("${}\r\n{key}\r\n", key.len()).as_bytes()).is_ok()
        });
    })
}

const TIMED_OUT: &str = "-ERR Connection timed out\r\n";

#[test]
fn a_timeout_costs_one_request_and_not_the_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let woken = Arc::new(AtomicUsize::new(0));
    let server = echo_server(&woken, &connections);
    let proxy = Proxy::start("  timeout: 500\n", &[server.port]);
    let (mut slow, mut quick) = (proxy.client(), proxy.client());
    for round in 0..3 {
        let asked = Instant::now();
        assert_eq!(slow.call(&format!("GET sleepy{round}")), TIMED_OUT);
        assert!(asked.elapsed() >= Duration::from_millis(400), "{:?}", asked.elapsed());
        woken.fetch_add(1, Ordering::SeqCst);
        // The late reply is swallowed; whoever comes next gets the reply to its own request.
        eventually("the next is served", || {
            let reply = quick.call(&format!("GET quick{round}"));
            assert!(reply.starts_with("-ERR ") || reply == format!("$6\r\nquick{round}\r\n"));
            !reply.starts_with('-')
        });
        assert_eq!(slow.call("GET other"), "$5\r\nother\r\n");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1, "the connection was kept");
}

#[test]
fn a_server_that_falls_silent_loses_its_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let server = Fake::start(move |mut stream| {
        let silent = counted.fetch_add(1, Ordering::SeqCst) == 0;
        each_request(&mut stream, |stream, _| silent || stream.write_all(b"+OK\r\n").is_ok());
    });
    let proxy = Proxy::start("  timeout: 100\n", &[server.port]);
    let mut client = proxy.client();
    assert_eq!(client.call("SET a 1"), TIMED_OUT);
    eventually("a new connection serves", || client.call("SET a 1") == "+OK\r\n");
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[test]
fn a_server_that_is_down_is_told_at_once_and_found_when_it_is_back() {
    let port = redstart_tests::proxy_support::free_port();
    let proxy = Proxy::start("", &[port]);
    let mut client = proxy.client();
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(client.call("GET a"), "-ERR Connection refused\r\n");
        assert!(asked.elapsed() < Duration::from_secs(2));
    }
    assert_eq!(client.call("MGET a b c"), "-ERR Connection refused\r\n");
    assert_eq!(client.call("DBSIZE"), "-ERR Connection refused\r\n");
    let _server = Redis::start_on(port, &[]);
    eventually("it serves", || client.call("SET a 1") == "+OK\r\n");
}

#[test]
fn requests_in_flight_get_an_error_when_the_server_closes() {
    let server = Fake::start(|mut stream| {
        let mut left = 3;
        each_request(&mut stream, |stream, _| {
            left -= 1;
            left > 0 && stream.write_all(b"+OK\r\n").is_ok()
        });
    });
    let proxy = Proxy::start("", &[server.port]);
    let mut client = proxy.client();
    for _ in 0..5 {
        client.send(&["SET", "a", "1"]);
    }
    assert_eq!(client.receive(), "+OK\r\n");
    assert_eq!(client.receive(), "+OK\r\n");
    for _ in 0..3 {
        assert_eq!(client.receive(), "-ERR Connection reset by peer\r\n");
    }
    eventually("the next connection serves", || client.call("SET a 1") == "+OK\r\n");
}

#[test]
fn nonsense_closes_the_server_connection_and_reaches_nobody() {
    for nonsense in
        ["HTTP/1.1 400 Bad Request\r\n\r\n", "$-7\r\n", "*1\r\n!\r\n", ":12a\r\n", "\r\n", "\0\0\0"]
    {
        let number = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&number);
        let server = Fake::start(move |mut stream| {
            let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
            each_request(&mut stream, |stream, _| {
                let reply: &[u8] = if first { nonsense.as_bytes() } else { b"+OK\r\n" };
                stream.write_all(reply).is_ok()
            });
        });
        let proxy = Proxy::start("  timeout: 2000\n", &[server.port]);
        let mut client = proxy.client();
        let reply = client.call("SET a 1");
        assert!(reply.starts_with("-ERR "), "{nonsense:?} gave {reply}");
        eventually("the next connection serves", || client.call("SET a 1") == "+OK\r\n");
    }
}

#[test]
fn a_reply_nobody_asked_for_reaches_nobody() {
    let server = Fake::start(|mut stream| {
        let mut count = 0;
        each_request(&mut stream, |stream, args| {
            count += 1;
            // Two replies to the second request of a connection.
            let key = String::from_utf8_lossy(args[1]).into_owned();
            let reply = format!("+{key}\r\n");
            let extra = if count == 2 { "+stray\r\n" } else { "" };
            stream.write_all((reply + extra).as_bytes()).is_ok()
        });
    });
    let proxy = Proxy::start("", &[server.port]);
    let mut client = proxy.client();
    for number in 0..20 {
        let reply = client.call(&format!("GET k{number}"));
        assert!(reply == format!("+k{number}\r\n") || reply.starts_with("-ERR "), "{reply}");
    }
}

#[test]
fn a_reply_that_breaks_off_in_the_middle_ends_the_client() {
    let server = Fake::start(|mut stream| {
        each_request(&mut stream, |stream, args| {
            if args[1] == b"whole" {
                return stream.write_all(b"+OK\r\n").is_ok();
            }
            let _ = stream.write_all(b"$1000000\r\n");
            let _ = stream.write_all(&vec![b'x'; 500_000]);
            false
        });
    });
    let proxy = Proxy::start("", &[server.port]);
    let mut client = proxy.client();
    client.send(&["GET", "broken"]);
    assert!(client.is_closed(), "half a reply must not be taken for a whole one");
    eventually("others are served", || proxy.client().call("GET whole") == "+OK\r\n");
}

#[test]
fn what_a_server_cannot_do_now_reaches_the_client_as_it_is() {
    let loading = "-LOADING Redis is loading the dataset in memory\r\n";
    let eject = "  auto_eject_hosts: true\n  server_failure_limit: 1\n";
    for (keys, text) in [("", loading), (eject, "-BUSY script\r\n"), (eject, "-OOM command\r\n")] {
        let server = Fake::start(move |mut stream| {
            each_request(&mut stream, |stream, _| stream.write_all(text.as_bytes()).is_ok());
        });
        let proxy = Proxy::start(keys, &[server.port]);
        let mut client = proxy.client();
        for _ in 0..5 {
            assert_eq!(client.call("GET a"), text);
        }
    }
}

#[test]
fn a_server_that_loads_leaves_until_it_has() {
    let loading = Arc::new(AtomicBool::new(true));
    let is_loading = Arc::clone(&loading);
    let server = Fake::start(move |mut stream| {
        each_request(&mut stream, |stream, args| {
            let loads = is_loading.load(Ordering::SeqCst);
            let reply = match args[0] {
                b"INFO" => format!("$11\r\nloading:{}\r\n\r\n", u8::from(loads)),
                _ if loads => "-LOADING Redis is loading the dataset in memory\r\n".to_owned(),
                b"PING" => "+PONG\r\n".to_owned(),
                _ => "+FAKE\r\n".to_owned(),
            };
            stream.write_all(reply.as_bytes()).is_ok()
        });
    });
    let other = Redis::start();
    let proxy = Proxy::start(
        "  auto_eject_hosts: true\n  server_failure_limit: 2\n  server_retry_timeout: 100\n",
        &[server.port, other.port],
    );
    let mut client = proxy.client();
    let mut set = |number: u64| client.call(&format!("SET {} v", value_of(number)));
    let mut errors = 0;
    for number in 0..200 {
        match set(number).as_str() {
            "+OK\r\n" => {}
            text => {
                assert!(text.starts_with("-LOADING"), "{text}");
                errors += 1;
            }
        }
    }
    assert_eq!(errors, 2, "so many failures are the limit");
    loading.store(false, Ordering::SeqCst);
    eventually("it is back", || (0..50).any(|number| set(number) == "+FAKE\r\n"));
}

/// A pause of a server is one incident: two workers with several connections each see it, requests time out and silent
/// connections are closed, and it counts as one failure, as with nutcracker.
#[test]
fn one_incident_is_one_failure() {
    let pauses = Arc::new(AtomicBool::new(false));
    let is_paused = Arc::clone(&pauses);
    let server = Fake::start(move |mut stream| {
        each_request(&mut stream, |stream, _| {
            eventually("the pause is over", || !is_paused.load(Ordering::SeqCst));
            stream.write_all(b"+OK\r\n").is_ok()
        });
    });
    let proxy = Proxy::start_with(
        "  timeout: 200\n  auto_eject_hosts: true\n  server_failure_limit: 2\n  server_connections: 3\n",
        &[server.port],
        &["--workers", "2", "-s", "0"],
    );
    let mut clients: Vec<_> = (0..12).map(|_| proxy.client()).collect();
    for client in &mut clients {
        assert_eq!(client.call("SET a 1"), "+OK\r\n");
    }
    pauses.store(true, Ordering::SeqCst);
    for client in &mut clients {
        client.send(&["SET", "a", "1"]);
    }
    for client in &mut clients {
        assert_eq!(client.receive(), TIMED_OUT);
    }
    eventually("silent connections are closed", || proxy.log().contains("does not answer"));
    pauses.store(false, Ordering::SeqCst);
    eventually("it serves again", || clients[0].call("SET a 1") == "+OK\r\n");
    let info = clients[0].call("INFO servers");
    assert!(info.contains("ejections=0,"), "{info}");
}

/// How soon is held by the test of the pure back-off.
#[test]
fn a_server_that_is_back_is_served() {
    let eject = "  auto_eject_hosts: true\n  server_failure_limit: 1\n  server_retry_timeout: 50\n";
    let fail = "  on_server_down: fail\n  server_failure_limit: 1\n";
    for keys in ["", "  preconnect: true\n", "  failover_hold: 50\n", eject, fail] {
        let port = redstart_tests::proxy_support::free_port();
        let proxy = Proxy::start(keys, &[port]);
        let mut client = proxy.client();
        for round in 1..3 {
            // Long enough for the pauses between attempts to be as long as they get.
            let away = Instant::now();
            while away.elapsed() < Duration::from_millis(200) {
                assert!(client.call("GET a").starts_with("-ERR "), "{keys}");
            }
            let server = Redis::start_on(port, &[]);
            eventually("it serves", || client.call("GET a") == "$-1\r\n");
            let log = proxy.log();
            let told = log.matches("cannot connect to server").count();
            assert_eq!(told, round, "said once each time: {keys}: {log}");
            server.kill();
            eventually("its end is noticed", || client.call("GET a").starts_with("-ERR "));
        }
    }
}

#[test]
fn what_speaks_http_is_hung_up_on() {
    let server = Redis::start();
    let proxy = Proxy::start("", &[server.port]);
    let body = "SET hacked yes\r\n";
    let get = "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nContent-Length: 16\r\n\r\n";
    let array = "*2\r\n$4\r\npost\r\n$1\r\n/\r\n";
    for head in [get, post, array] {
        let mut client = proxy.client();
        client.send_raw(format!("{head}{body}").as_bytes());
        if head == get {
            assert_eq!(client.receive(), "-ERR wrong number of arguments for 'get' command\r\n");
        }
        assert!(client.is_closed(), "{head}");
    }
    assert_eq!(proxy.client().call("GET hacked"), "$-1\r\n");
}

#[test]
fn an_ejected_server_returns_only_when_it_is_well() {
    let servers: Vec<Redis> = (0..2).map(|_| Redis::start()).collect();
    let loading = Arc::new(AtomicBool::new(true));
    let port = redstart_tests::proxy_support::free_port();
    let ports = [servers[0].port, servers[1].port, port];
    let proxy = Proxy::start(
        "  auto_eject_hosts: true\n  server_failure_limit: 2\n  server_retry_timeout: 100\n",
        &ports,
    );
    let mut client = proxy.client();
    let all_served = |client: &mut redstart_tests::proxy_support::Client| {
        (0..60).all(|number| client.call(&format!("SET {} v", value_of(number))) == "+OK\r\n")
    };
    eventually("the dead server is out", || all_served(&mut client));
    assert!(client.call("INFO servers").contains("name=server2,"));
    assert!(client.call("INFO servers").contains("state=ejected"));
    // It listens, but has not loaded its data yet.
    let probes = Arc::new(AtomicUsize::new(0));
    let (is_loading, probed) = (Arc::clone(&loading), Arc::clone(&probes));
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (is_loading, probed) = (Arc::clone(&is_loading), Arc::clone(&probed));
            std::thread::spawn(move || {
                each_request(&mut stream, |stream, args| {
                    let text = match args[0] {
                        b"PING" => "+PONG\r\n".to_owned(),
                        b"INFO" => {
                            probed.fetch_add(1, Ordering::SeqCst);
                            let info = format!(
                                "loading:{}\r\n",
                                u8::from(is_loading.load(Ordering::SeqCst))
                            );
                            format!("${}\r\n{info}\r\n", info.len())
                        }
                        _ => "+FAKE\r\n".to_owned(),
                    };
                    stream.write_all(text.as_bytes()).is_ok()
                });
            });
        }
    });
    eventually("it is probed", || probes.load(Ordering::SeqCst) >= 3);
    assert!(all_served(&mut client), "it does not take part while it loads");
    loading.store(false, Ordering::SeqCst);
    eventually("it is back", || {
        (0..60).any(|number| client.call(&format!("SET {} v", value_of(number))) == "+FAKE\r\n")
    });
}

/// The value every key must have: nobody may ever get another's.
fn value_of(key: u64) -> String {
    format!("value-{:016x}", key.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Four clients write and read values that follow from their keys while one of three servers is killed and started
/// again. Every reply must be the right one, a null (its key moved) or an error, and the time of errors is bounded.
#[test]
fn a_killed_server_under_load_confuses_nobody() {
    let mut servers: Vec<Option<Redis>> = (0..3).map(|_| Some(Redis::start())).collect();
    let ports: Vec<u16> = servers.iter().flatten().map(|server| server.port).collect();
    let proxy = Proxy::start(
        "  timeout: 1000\n  auto_eject_hosts: true\n  server_failure_limit: 2\n  server_retry_timeout: 300\n",
        &ports,
    );
    let replies = AtomicU64::new(0);
    let errors = AtomicU64::new(0);
    let last_error_ms = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for worker in 0..4_u64 {
            let client = proxy.client();
            let (replies, errors, last_error_ms, stop) = (&replies, &errors, &last_error_ms, &stop);
            scope.spawn(move || load(client, worker, start, replies, errors, last_error_ms, stop));
        }
        let ended = || stop.store(true, Ordering::SeqCst);
        let wait_for = |count: u64| {
            if !within(6 * PATIENCE, || replies.load(Ordering::SeqCst) >= count) {
                ended();
                panic!("only {} replies", replies.load(Ordering::SeqCst));
            }
        };
        wait_for(150_000);
        assert_eq!(errors.load(Ordering::SeqCst), 0);
        let killed_ms = start.elapsed().as_millis() as u64;
        let port = servers[1].take().map(Redis::kill).expect("it ran");
        wait_for(550_000);
        let healed_ms = last_error_ms.load(Ordering::SeqCst);
        assert!(healed_ms < killed_ms + 3000, "errors went on for {} ms", healed_ms - killed_ms);
        servers[1] = Some(Redis::start_on(port, &[]));
        let mut direct = redstart_tests::proxy_support::Client::connect(port);
        if !within(PATIENCE, || direct.call("DBSIZE") != ":0\r\n") {
            ended();
            panic!("it serves no more");
        }
        wait_for(1_050_000);
        ended();
    });
    assert!(replies.load(Ordering::SeqCst) >= 1_000_000);
}

fn load(
    client: redstart_tests::proxy_support::Client,
    worker: u64,
    start: Instant,
    replies: &AtomicU64,
    errors: &AtomicU64,
    last_error_ms: &AtomicU64,
    stop: &AtomicBool,
) {
    let mut client = client;
    let mut chance = worker + 1;
    let mut asked: VecDeque<(u64, bool)> = VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        let mut requests = Vec::new();
        for _ in 0..100 {
            chance = chance
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let key = (chance >> 33) % 2000;
            let is_write = chance >> 62 == 0;
            let value = value_of(key);
            if is_write {
                requests.extend_from_slice(format!("SET k{key} {value}\r\n").as_bytes());
            } else {
                requests.extend_from_slice(format!("GET k{key}\r\n").as_bytes());
            }
            asked.push_back((key, is_write));
        }
        client.send_raw(&requests);
        while let Some((key, is_write)) = asked.pop_front() {
            let reply = client.receive();
            let value = value_of(key);
            let right = if is_write {
                "+OK\r\n".to_owned()
            } else {
                format!("${}\r\n{value}\r\n", value.len())
            };
            if reply.starts_with('-') {
                errors.fetch_add(1, Ordering::Relaxed);
                last_error_ms.fetch_max(start.elapsed().as_millis() as u64, Ordering::Relaxed);
            } else {
                assert!(reply == right || (!is_write && reply == "$-1\r\n"), "k{key}: {reply}");
            }
            replies.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn bad_clients_are_answered_or_dropped_and_cost_little() {
    let server = Redis::start();
    let proxy =
        Proxy::start_with("", &[server.port], &["--workers", "1", "-s", "0", "-m", "16384"]);
    for (request, reply) in [
        (&b"*1\r\n:3\r\n"[..], "-ERR Protocol error: expected '$', got ':'\r\n"),
        (
            b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$629145600\r\n",
            "-ERR Protocol error: invalid bulk length\r\n",
        ),
        (b"*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"SET \"a\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
    ] {
        let mut client = proxy.client();
        client.send_raw(b"PING\r\n");
        client.send_raw(request);
        assert_eq!(client.receive(), "+PONG\r\n");
        assert_eq!(client.receive(), reply);
        assert!(client.is_closed());
    }
    let before = proxy.process.resident_bytes();
    // Two million arguments announced, of which few come; half a command; a large value of which little comes.
    let mut idle = Vec::new();
    for request in [
        &b"*2000000\r\n$3\r\nDEL\r\n$1\r\na\r\n"[..],
        b"*2\r\n$3\r\nGE",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$400000000\r\nxxx",
    ] {
        for _ in 0..50 {
            let mut client = proxy.client();
            client.send_raw(request);
            idle.push(client);
        }
    }
    assert_eq!(proxy.client().call("PING"), "+PONG\r\n");
    let grown = proxy.process.resident_bytes().saturating_sub(before);
    assert!(grown < 20 << 20, "150 halves of requests cost {grown} bytes");
    // Garbage without a line end is refused once it is too long.
    let mut garbage = proxy.client();
    let _ = garbage.try_send_raw(&vec![b'g'; 200_000]);
    assert_eq!(garbage.receive(), "-ERR Protocol error: too big inline request\r\n");
    let mut arguments = proxy.client();
    let count = 200_000;
    let mut request = format!("*{count}\r\n$3\r\nDEL\r\n").into_bytes();
    for _ in 1..count {
        request.extend_from_slice(b"$1\r\na\r\n");
    }
    arguments.send_raw(&request);
    assert_eq!(arguments.receive(), ":0\r\n");
}

#[test]
fn a_client_that_never_reads_is_bounded() {
    let server = Redis::start();
    let config = "  timeout: 5000\n";
    let proxy = Proxy::start_with(config, &[server.port], &["--workers", "1", "-s", "0"]);
    let mut other = proxy.client();
    let big = "x".repeat(100_000);
    assert_eq!(other.call(&format!("SET big {big}")), "+OK\r\n");
    let (mut sender, _receiver) = proxy.client().halves();
    let flood = b"GET big\r\n".repeat(1000);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            // 20 GB of replies would come of this; it ends when the proxy takes no more, or lets go.
            for _ in 0..200 {
                if !sender.try_send_raw(&flood) {
                    break;
                }
            }
        });
        let start = Instant::now();
        let mut peak = 0;
        while start.elapsed() < Duration::from_secs(3) {
            assert_eq!(other.call("PING"), "+PONG\r\n");
            assert!(other.call("GET other").starts_with('$'));
            peak = peak.max(proxy.process.resident_bytes());
        }
        assert!(peak < 700 << 20, "{peak} bytes for one client that does not read");
        drop(_receiver);
        let _ = writer.join();
    });
}

#[test]
fn what_is_gathered_for_a_client_that_never_reads_is_bounded() {
    let servers = [Redis::start(), Redis::start()];
    // By names, so that the keys always lie alike: requests for one server are not gathered.
    let mut addresses = [("alpha", &servers[0]), ("beta", &servers[1])]
        .map(|(name, server)| format!("127.0.0.1:{}:1 {name}", server.port));
    addresses[1] += "\nglobal:\n  client_output_limit: 16mb";
    let proxy = Proxy::start_over("", &addresses, &["--workers", "1", "-s", "0"]);
    let mut other = proxy.client();
    let big = "x".repeat(1 << 20);
    let keys: Vec<String> = (0..20).map(|number| format!("user:{}", number * 7919)).collect();
    for key in &keys {
        assert_eq!(other.call(&format!("SET {key} {big}")), "+OK\r\n");
    }
    // Eight keys of both servers.
    let line = |part: usize| {
        let wanted = keys.iter().cycle().skip(part).take(8);
        wanted.fold("MGET".to_owned(), |line, key| line + " " + key)
    };
    // A gigabyte: each request fits, all together do not. They come at once: of a client that asks while replies wait for
    // it, no more is read.
    let mut sender = proxy.client();
    let lines: String = (0..128).map(|part| line(part) + "\r\n").collect();
    sender.send_raw(lines.as_bytes());
    let mut peak = 0;
    // It is given as much as it may leave unread, and no more is asked for it.
    let _ = within(Duration::from_secs(1), || {
        assert_eq!(other.call("PING"), "+PONG\r\n");
        peak = peak.max(proxy.process.resident_bytes());
        false
    });
    assert_eq!(sender.try_receive().map(|reply| reply.len()), Some(4 + 8 * ((1 << 20) + 12)));
    assert!(peak < 150 << 20, "{peak} bytes for one client that does not read");
    // One that reads gets as much.
    let mut reader = proxy.client();
    for part in 0..4 {
        assert_eq!(reader.call(&line(part)).len(), 4 + 8 * ((1 << 20) + 12));
    }
}

/// A server that answers, but is lost with the first write (`INCR`) or pop (`BLPOP`) that it is sent.
fn mortal() -> Fake {
    Fake::start(|mut stream| {
        each_request(&mut stream, |stream, args| match args[0] {
            b"INCR" | b"BLPOP" => false,
            b"GET" => stream.write_all(b"$1\r\nv\r\n").is_ok(),
            _ => stream.write_all(b"+OK\r\n").is_ok(),
        });
    })
}

#[test]
fn who_may_have_written_to_a_lost_server_is_told_or_left() {
    const PIPELINE: &[u8] = b"GET a\r\nINCR b\r\nGET c\r\nINCR d\r\nGET e\r\n";
    for hold in ["", "  failover_hold: 2000\n"] {
        let server = mortal();
        let proxy = Proxy::start(hold, &[server.port]);
        let mut client = proxy.client();
        client.send_raw(b"GET a\r\nINCR b\r\n");
        assert_eq!(client.receive(), "$1\r\nv\r\n");
        assert!(client.receive().starts_with("-ERR Connection reset by peer"), "{hold}");
        assert_eq!(client.call("PING"), "+PONG\r\n");

        let proxy = Proxy::start(&format!("  on_lost_request: close\n{hold}"), &[server.port]);
        let mut client = proxy.client();
        client.send_raw(PIPELINE);
        // What was before it is answered; nothing else is.
        assert_eq!(client.receive(), "$1\r\nv\r\n", "{hold}");
        assert_eq!(client.try_receive(), None, "{hold}");
        // A read is no loss: it is asked again, or its client told.
        let mut reader = proxy.client();
        reader.send_raw(b"GET a\r\n");
        assert!(reader.try_receive().is_some(), "{hold}");
        // Who waited on a connection of its own.
        let mut popper = proxy.client();
        popper.send(&["BLPOP", "list", "0"]);
        assert_eq!(popper.try_receive(), None, "{hold}");
        let mut client = proxy.client();
        eventually("the two INCR and the BLPOP are counted", || {
            client.call("INFO pool").contains("\r\nlost_requests_closed:3\r\n")
        });
    }
}

#[test]
fn a_request_that_was_cut_by_key_ends_with_the_part_that_was_lost() {
    let (mortal, alive) = (mortal(), Redis::start());
    let keys = "  distribution: modula\n  hash: crc16\n  on_lost_request: close\n";
    let proxy = Proxy::start(keys, &[mortal.port, alive.port]);
    // Keys of both servers: the parts of DEL go to each, and this server is lost with what it does not know as well.
    let mut client = proxy.client();
    client.send(&["MSET", "a", "1", "b", "2", "c", "3", "d", "4"]);
    assert_eq!(client.receive(), "+OK\r\n");
    let mut lost = false;
    for key in ["a", "b", "c", "d"] {
        let mut client = proxy.client();
        client.send(&["INCR", key]);
        lost |= client.try_receive().is_none();
    }
    assert!(lost, "one of them lies on each");
    assert_eq!(proxy.client().call("PING"), "+PONG\r\n");
}
