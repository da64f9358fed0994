//! Heavy requests go on connections of their own, and the order of one client holds.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use redstart_tests::proxy_support::{
    Client, Fake, PATIENCE, Proxy, Redis, each_request, eventually, within,
};

/// The value of a line `name:value` of INFO.
fn fact(client: &mut Client, name: &str) -> String {
    let info = client.call("INFO pool");
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().to_owned()
}

#[test]
fn nobody_waits_behind_what_is_known_to_be_heavy() {
    let (connections, may_answer) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let (counted, may) = (Arc::clone(&connections), Arc::clone(&may_answer));
    // It tells on which connection it was asked, and takes its time for lists.
    let server = Fake::start(move |mut stream| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        let may = Arc::clone(&may);
        each_request(&mut stream, |stream, args| {
            let mut reply = format!(":{number}\r\n");
            if args[0] == b"LRANGE" {
                assert!(within(PATIENCE, || may.load(Ordering::SeqCst)));
                let element = format!("$100000\r\n{}\r\n", "x".repeat(100_000));
                reply = format!("*4\r\n{reply}{}", element.repeat(3));
            }
            stream.write_all(reply.as_bytes()).is_ok()
        });
    });
    let proxy = Proxy::start("", &[server.port]);
    let (mut heavy, mut light) = (proxy.client(), proxy.client());
    assert_eq!(light.call("GET a"), ":0\r\n");
    // The first is not known, and goes where all go.
    assert!(heavy.call("LRANGE list 0 -1").starts_with("*4\r\n:0\r\n"));
    assert_eq!(fact(&mut light, "heavy_known"), "1");
    may_answer.store(false, Ordering::SeqCst);
    heavy.send_raw(b"LRANGE list 0 -1\r\nGET b\r\nLRANGE other 0 -1\r\n");
    assert!(within(PATIENCE, || connections.load(Ordering::SeqCst) == 2));
    for _ in 0..20 {
        assert_eq!(light.call("GET a"), ":0\r\n", "on its own connection, and not behind the list");
    }
    assert!(!heavy.has_received());
    may_answer.store(true, Ordering::SeqCst);
    assert!(heavy.receive().starts_with("*4\r\n:1\r\n"));
    assert_eq!(heavy.receive(), ":1\r\n", "behind what its client asked before");
    assert!(heavy.receive().starts_with("*4\r\n:1\r\n"));
    assert_eq!(heavy.call("GET b"), ":0\r\n", "back where all go");
    assert_eq!(fact(&mut light, "heavy_known"), "2");
    assert_eq!(fact(&mut light, "heavy_requests"), "1");
    assert_eq!(fact(&mut light, "heavy_connections"), "1");
}

#[test]
fn the_order_of_a_client_holds_over_lanes() {
    let servers = [Redis::start(), Redis::start()];
    let proxy = Proxy::start("  hash: murmur\n", &[servers[0].port, servers[1].port]);
    let mut client = proxy.client();
    let elements = "x ".repeat(1000);
    for list in ["a", "b", "c", "d"] {
        for _ in 0..60 {
            assert!(client.call(&format!("RPUSH {list} {elements}")).starts_with(':'));
        }
    }
    for list in ["a", "b", "c", "d"] {
        assert!(client.call(&format!("LRANGE {list} 0 -1")).starts_with("*60000\r\n"));
    }
    let known: usize = fact(&mut client, "heavy_known").parse().expect("a number");
    assert!(known >= 4, "{known}");
    // Light ones and heavy ones of both servers, and what one adds the next must see.
    for round in 1..6 {
        for list in ["a", "b", "c", "d"] {
            let lines = format!(
                "SET last:{list} {round}\r\nRPUSH {list} {round}\r\nLRANGE {list} 0 -1\r\nRPUSH {list} y\r\nGET last:{list}\r\n\
                 LRANGE {list} 0 -1\r\nLLEN {list}\r\n"
            );
            client.send_raw(lines.as_bytes());
        }
        for _ in 0..4 {
            let count = 60_000 + 2 * round;
            assert_eq!(client.receive(), "+OK\r\n");
            assert_eq!(client.receive(), format!(":{}\r\n", count - 1));
            let all = client.receive();
            assert!(all.starts_with(&format!("*{}\r\n", count - 1)));
            assert!(all.ends_with(&format!("$1\r\n{round}\r\n")));
            assert_eq!(client.receive(), format!(":{count}\r\n"));
            assert_eq!(client.receive(), format!("$1\r\n{round}\r\n"));
            assert!(client.receive().starts_with(&format!("*{count}\r\n")));
            assert_eq!(client.receive(), format!(":{count}\r\n"));
        }
    }
    // What is light again is forgotten, and what only took long once (LTRIM may).
    eventually("none of these is heavy any more", || {
        let before = fact(&mut client, "heavy_requests");
        for list in ["a", "b", "c", "d"] {
            assert_eq!(client.call(&format!("LTRIM {list} 0 0")), "+OK\r\n");
            assert_eq!(client.call(&format!("LRANGE {list} 0 -1")), "*1\r\n$1\r\nx\r\n");
        }
        fact(&mut client, "heavy_requests") == before
    });
    assert!(client.call("KEYS *").starts_with("*8\r\n"));
}
