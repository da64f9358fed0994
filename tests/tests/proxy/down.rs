//! `on_server_down`: what becomes of the keys of a server that is down.

use std::time::{Duration, Instant};

use redstart_tests::proxy_support::{Client, Proxy, Redis, eventually};

const KEYS: usize = 60;

/// Where each key lies, by asking the servers.
fn homes(servers: &mut [Client]) -> Vec<usize> {
    let mut has = |at: usize, key| servers[at].call(&format!("EXISTS k{key}")) == ":1\r\n";
    (0..KEYS).map(|key| (0..4).find(|at| has(*at, key)).expect("a home")).collect()
}

fn set_all(client: &mut Client, value: &str) {
    for key in 0..KEYS {
        assert_eq!(client.call(&format!("SET k{key} {value}")), "+OK\r\n", "k{key}");
    }
}

#[test]
fn keys_stay_with_a_server_that_is_down_and_are_refused_at_once() {
    let servers: Vec<Redis> = (0..3).map(|_| Redis::start()).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let keys =
        "  hash: murmur\n  timeout: 300\n  on_server_down: fail\n  server_failure_limit: 1\n";
    let proxy = Proxy::start(keys, &ports);
    let mut client = proxy.client();
    set_all(&mut client, "v");
    let mut direct: Vec<Client> = servers.iter().map(|server| server.client()).collect();
    let of = homes(&mut direct);
    let its = of.iter().position(|home| *home == 1).expect("some lie there");
    servers[1].signal(libc::SIGSTOP);
    let timed_out = client.call(&format!("GET k{its}"));
    assert_eq!(timed_out, "-ERR Connection timed out\r\n");
    let refused = "-ERR the server of this key is down (on_server_down: fail)\r\n";
    // From here on nobody waits for it, and nobody's key has moved.
    let asked = Instant::now();
    for (key, home) in of.iter().enumerate() {
        let wanted = if *home == 1 { refused } else { "$1\r\nv\r\n" };
        assert_eq!(client.call(&format!("GET k{key}")), wanted, "k{key}");
    }
    for words in [format!("BLPOP k{its} 0"), "DBSIZE".to_owned(), format!("MGET k{its} k0 k1 k2")] {
        assert_eq!(client.call(&words), refused, "{words}");
    }
    assert!(client.call("RANDOMKEY").starts_with('-') && client.call("PING") == "+PONG\r\n");
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    let info = client.call("INFO servers");
    assert!(info.contains("name=server1,") && info.contains("state=down,"), "{info}");
    assert!(info.contains("ejections=1,"), "{info}");
    assert!(client.call("INFO pool").contains("servers_live:3\r\nservers_down:1\r\n"));
    servers[1].signal(libc::SIGCONT);
    eventually("it serves", || client.call(&format!("GET k{its}")) == "$1\r\nv\r\n");
    assert_eq!(client.call("DBSIZE"), format!(":{KEYS}\r\n"));
    let log = proxy.log();
    assert!(
        log.contains("server 'server1' is down, and requests for its keys are refused"),
        "{log}"
    );
    assert!(log.contains("server 'server1' is back"), "{log}");
}

#[test]
fn the_next_server_stands_in_and_no_other_key_moves() {
    let mut servers: Vec<Option<Redis>> = (0..4).map(|_| Some(Redis::start())).collect();
    // Of different weights: a ring that is made without one of them has others elsewhere too.
    let addresses: Vec<String> = servers
        .iter()
        .flatten()
        .zip([1, 4, 2, 1])
        .enumerate()
        .map(|(number, (server, weight))| {
            format!("127.0.0.1:{}:{weight} server{number}", server.port)
        })
        .collect();
    let keys = "  hash: murmur\n  on_server_down: next\n  server_failure_limit: 1\n  server_retry_timeout: 100\n  read_fallback: 1\n";
    let proxy = Proxy::start_over(keys, &addresses, &["--workers", "1", "-s", "0"]);
    let mut client = proxy.client();
    set_all(&mut client, "old");
    let mut direct: Vec<Client> = servers.iter().flatten().map(|it| it.client()).collect();
    let of = homes(&mut direct);
    assert!(of.iter().filter(|home| **home == 1).count() > 10, "{of:?}");
    let port = servers[1].take().expect("it runs").kill();
    eventually("the next has stepped in", || {
        (0..KEYS).all(|key| client.call(&format!("SET k{key} new")) == "+OK\r\n")
    });
    for (key, home) in of.iter().enumerate() {
        let mut has = |at: &usize| direct[*at].call(&format!("GET k{key}")) == "$3\r\nnew\r\n";
        let now: Vec<usize> = [0, 2, 3].into_iter().filter(|at| has(at)).collect();
        assert_eq!(now.len(), 1, "k{key}");
        assert!(*home == 1 || now[0] == *home, "k{key} has moved from {home} to {now:?}");
    }
    assert!(client.call("INFO servers").contains("state=down,"));
    // It comes back empty: what was written meanwhile is found where it was, and brought home.
    let back = Redis::start_on(port, &[]);
    eventually("it is back", || client.call("INFO pool").contains("servers_down:0\r\n"));
    for key in 0..KEYS {
        assert_eq!(client.call(&format!("GET k{key}")), "$3\r\nnew\r\n", "k{key}");
    }
    let mut direct = back.client();
    let its = of.iter().filter(|home| **home == 1).count();
    eventually("all are home", || direct.call("DBSIZE") == format!(":{its}\r\n"));
}
