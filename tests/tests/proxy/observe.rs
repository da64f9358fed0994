//! MONITOR, CLIENT PAUSE and CLIENT LIST of the proxy.

use std::time::{Duration, Instant};

use redstart_tests::proxy_support::{Client, Proxy, Redis, eventually, within};

fn set_up(workers: &str) -> (Vec<Redis>, Proxy) {
    let servers: Vec<Redis> = (0..2).map(|_| Redis::start()).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let keys = "  hash_tag: \"{}\"\n";
    let proxy = Proxy::start_with(keys, &ports, &["--workers", workers, "-s", "0"]);
    (servers, proxy)
}

/// The next line that a monitor shows, without its time.
fn shown(monitor: &mut Client) -> String {
    let line = monitor.receive();
    let (time, rest) = line.split_once(' ').expect("a time");
    assert!(
        time.starts_with('+') && time.split_once('.').is_some_and(|(_, us)| us.len() == 6),
        "{line}"
    );
    let (_, rest) = rest.split_once("] ").expect("an address");
    rest.trim_end().to_owned()
}

#[test]
fn a_monitor_shows_what_all_clients_ask() {
    let (_servers, proxy) = set_up("2");
    let mut monitor = proxy.client();
    assert_eq!(monitor.call("MONITOR"), "+OK\r\n");
    assert_eq!(monitor.call("MONITOR"), "+OK\r\n");
    // Some of them are on the other worker.
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    eventually("all workers show", || {
        clients.iter_mut().for_each(|client| {
            client.call("PING");
        });
        let mut seen = 0;
        while monitor.has_received() {
            assert_eq!(shown(&mut monitor), "\"PING\"");
            seen += 1;
        }
        seen >= 4
    });
    // What is still on its way comes before what each client says last.
    for (number, client) in clients.iter_mut().enumerate() {
        client.call(&format!("ECHO last{number}"));
    }
    let mut last = 0;
    while last < clients.len() {
        last += usize::from(shown(&mut monitor).starts_with("\"ECHO\""));
    }
    let id = clients[0].call("CLIENT LIST");
    assert!(id.contains("flags=O "), "{id}");
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&[&b"SET"[..], format!("k{number}").as_bytes(), b"a\"b\\\x00\r\n\xff"]);
        assert_eq!(client.receive(), "+OK\r\n");
        assert_eq!(
            shown(&mut monitor),
            format!("\"SET\" \"k{number}\" \"a\\\"b\\\\\\x00\\r\\n\\xff\"")
        );
    }
    // What has to wait for its turn is shown once; what is unknown or about the server, and passwords, are not.
    clients[1].send_raw(b"GET k0\r\nBLPOP none 0.01\r\nWATCH k0\r\nNONSENSE\r\nAUTH default secret\r\nCONFIG GET save\r\nMGET k0 k1\r\n");
    for _ in 0..7 {
        clients[1].receive();
    }
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(shown(&mut monitor));
    }
    assert_eq!(
        seen,
        [
            "\"GET\" \"k0\"",
            "\"BLPOP\" \"none\" \"0.01\"",
            "\"WATCH\" \"k0\"",
            "\"AUTH\" \"default\" \"(redacted)\"",
            "\"MGET\" \"k0\" \"k1\""
        ]
    );
    // It may go on asking, which it is shown as well.
    monitor.send(&["GET", "none"]);
    assert_eq!(shown(&mut monitor), "\"GET\" \"none\"");
    assert_eq!(monitor.receive(), "$-1\r\n");
    assert_eq!(monitor.call("RESET"), "+RESET\r\n");
    assert_eq!(clients[2].call("PING"), "+PONG\r\n");
    assert_eq!(monitor.call("ECHO quiet"), "$5\r\nquiet\r\n");
    assert!(!monitor.has_received());
}

#[test]
fn a_pause_holds_clients_back() {
    let (_servers, proxy) = set_up("2");
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    for (request, reply) in [
        ("CLIENT PAUSE x", "-ERR timeout is not an integer or out of range\r\n"),
        ("CLIENT PAUSE -1", "-ERR timeout is negative\r\n"),
        ("CLIENT PAUSE 10 FOO", "-ERR CLIENT PAUSE mode must be WRITE or ALL\r\n"),
        ("CLIENT UNPAUSE", "+OK\r\n"),
        ("CLIENT PAUSE 600", "+OK\r\n"),
    ] {
        assert_eq!(clients[0].call(request), reply);
    }
    let begun = Instant::now();
    for client in &mut clients {
        client.send_raw(b"INCR n\r\nGET n\r\n");
    }
    let mut seen = Vec::new();
    for client in &mut clients {
        seen.push(client.receive());
        assert!(client.receive().starts_with('$'));
    }
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(400) && took < Duration::from_secs(5), "{took:?}");
    seen.sort();
    assert_eq!(seen, [":1\r\n", ":2\r\n", ":3\r\n", ":4\r\n"]);
    // Only writes are held back, until somebody says otherwise.
    assert_eq!(clients[0].call("CLIENT PAUSE 100000 WRITE"), "+OK\r\n");
    clients[1].send_raw(b"GET n\r\nINCR n\r\nGET n\r\n");
    clients[2].send_raw(b"MULTI\r\nGET n\r\nEXEC\r\nPUBLISH c x\r\n");
    assert_eq!(clients[1].receive(), "$1\r\n4\r\n");
    assert_eq!(clients[2].receive(), "+OK\r\n");
    assert_eq!(clients[2].receive(), "+QUEUED\r\n");
    assert_eq!(clients[2].receive(), "*1\r\n$1\r\n4\r\n");
    clients[3].send_raw(b"SET gone v\r\n");
    let is_answered = within(Duration::from_millis(200), || {
        clients[1].has_received() || clients[2].has_received()
    });
    assert!(!is_answered, "the pause is not over");
    // Whoever leaves meanwhile has not written.
    drop(clients.pop());
    eventually("it is gone", || {
        clients[0].call("INFO clients").contains("connected_clients:3\r\n")
    });
    assert_eq!(clients[0].call("CLIENT UNPAUSE"), "+OK\r\n");
    assert_eq!(clients[1].receive(), ":5\r\n");
    assert_eq!(clients[1].receive(), "$1\r\n5\r\n");
    assert_eq!(clients[2].receive(), ":0\r\n");
    assert_eq!(clients[0].call("EXISTS gone"), ":0\r\n");
}

#[test]
fn listeners_are_clients_of_their_own_type() {
    let (_servers, proxy) = set_up("2");
    let (mut client, mut listener) = (proxy.client(), proxy.client());
    let id = listener.call("CLIENT ID")[1..].trim().to_owned();
    assert!(!listener.call("SUBSCRIBE c").starts_with('-'));
    let listeners = client.call("CLIENT LIST TYPE pubsub");
    assert!(
        listeners.contains(&format!("id={id} ")) && listeners.matches(" addr=").count() == 1,
        "{listeners}"
    );
    assert!(!client.call("CLIENT LIST TYPE normal").contains(&format!("id={id} ")));
    assert_eq!(client.call("CLIENT GETREDIR"), ":-1\r\n");
    assert_eq!(client.call("CLIENT KILL TYPE pubsub"), ":1\r\n");
    assert!(listener.is_closed());
}
