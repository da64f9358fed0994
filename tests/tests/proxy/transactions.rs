//! Commands that the proxy answers itself, or with several servers, between MULTI and EXEC.

use redstart_tests::proxy_support::{Client, Proxy, Redis};

/// Sends each request of a conversation and gives all replies.
fn replies(client: &mut Client, requests: &[&str]) -> Vec<String> {
    requests.iter().map(|request| client.call(request)).collect()
}

fn line(client: &mut Client, request: &str) -> String {
    client.call(request).trim_end().replace("\r\n", " ")
}

/// What is answered as by a redis-server, to the byte. Each begins in database 0.
const ALIKE: &[&[&str]] = &[
    &["MULTI", "PING", "ECHO x", "PING y", "EXEC"],
    &["MULTI", "PING a b", "EXEC"],
    &[
        "MULTI",
        "CLIENT SETNAME me",
        "CLIENT GETNAME",
        "SET a 1",
        "CLIENT GETNAME",
        "INCR a",
        "EXEC",
    ],
    &["MULTI", "SET a 1", "CLIENT SETNAME x y", "GET a", "EXEC"],
    &[
        "MULTI",
        "CLIENT NO-EVICT on",
        "CLIENT NO-EVICT x",
        "CLIENT SETNAME other",
        "DISCARD",
        "CLIENT GETNAME",
    ],
    // SELECT holds for what follows, and afterwards.
    &[
        "SET k zero",
        "MULTI",
        "SELECT 3",
        "SET k three",
        "SELECT 5",
        "SELECT 3",
        "GET k",
        "EXEC",
        "GET k",
    ],
    &[
        "MULTI",
        "GET k",
        "SELECT 3",
        "GET k",
        "SELECT 0",
        "GET k",
        "SELECT 99",
        "SELECT x",
        "GET k",
        "EXEC",
        "GET k",
    ],
    &["MULTI", "SELECT 3", "DISCARD", "GET k", "MULTI", "SELECT 3", "EXEC", "GET k"],
    &["MULTI", "SELECT 3", "LPUSH k x", "NONSENSE", "EXEC", "GET k"],
    &[
        "MULTI",
        "SELECT 3",
        "LPUSH k x",
        "SELECT 4",
        "EXEC",
        "EXISTS k",
        "SET here 1",
        "SELECT 4",
        "GET here",
    ],
    // What is watched has changed, or has not.
    &[
        "WATCH k",
        "SET k new",
        "MULTI",
        "PING",
        "SELECT 3",
        "CLIENT SETNAME lost",
        "EXEC",
        "GET k",
        "CLIENT GETNAME",
    ],
    &["WATCH k", "MULTI", "ECHO first", "SELECT 3", "GET k", "EXEC", "GET k"],
    &["WATCH k", "MULTI", "PING", "UNWATCH", "EXEC", "WATCH k", "MULTI", "EXEC"],
    // Databases as a whole, and what is put together from all servers where there are several.
    &[
        "SELECT 7", "SET a 1", "MULTI", "DBSIZE", "SET b 2", "DBSIZE", "FLUSHDB", "DBSIZE", "EXEC",
        "DBSIZE",
    ],
    &[
        "SELECT 7",
        "SET a 1",
        "MULTI",
        "SWAPDB 7 8",
        "EXISTS a",
        "SWAPDB 8 7",
        "EXISTS a",
        "SWAPDB x 7",
        "EXEC",
    ],
    &[
        "SELECT 7",
        "FLUSHDB",
        "MULTI",
        "SET only 1",
        "KEYS *",
        "RANDOMKEY",
        "WAIT 1 0",
        "EXEC",
        "FLUSHDB",
    ],
    &[
        "MULTI",
        "SCRIPT LOAD return(5)",
        "EXEC",
        "EVALSHA 4177b9f03a279722f8242b11a78885211e494dcd 0",
    ],
    &["MULTI", "SCRIPT EXISTS 4177b9f03a279722f8242b11a78885211e494dcd", "COMMAND COUNT x", "EXEC"],
    &[
        "MULTI",
        "COMMAND INFO get nonsense",
        "CONFIG GET appendonly",
        "ACL WHOAMI",
        "MODULE LIST",
        "EXEC",
    ],
    &["MULTI", "PUBSUB CHANNELS", "PUBSUB NUMPAT", "PUBSUB NUMSUB a", "PUBLISH a x", "EXEC"],
    &[
        "MULTI",
        "CLIENT GETREDIR",
        "CLIENT TRACKINGINFO",
        "CLIENT KILL ID 123456",
        "CLIENT UNBLOCK 123456",
        "EXEC",
    ],
    &["MULTI", "SET a 1", "WATCH a", "MULTI", "PING", "EXEC", "EXEC"],
    &["MULTI", "GET", "PING", "EXEC", "MULTI", "CLIENT NONSENSE", "EXEC"],
];

#[test]
fn a_transaction_of_anything_is_answered_as_by_one_server() {
    let (alone, behind) = (Redis::start(), Redis::start());
    let proxy = Proxy::start("  databases: 16\n", &[behind.port]);
    for hello in ["HELLO 2", "HELLO 3"] {
        for conversation in ALIKE {
            let (mut direct, mut client) = (alone.client(), proxy.client());
            for client in [&mut direct, &mut client] {
                assert!(client.call(hello).contains("redis"));
            }
            let wanted = replies(&mut direct, conversation);
            assert_eq!(replies(&mut client, conversation), wanted, "{hello}: {conversation:?}");
            // All of it at once is the same, and so is what others see of the connections that they share.
            let mut again = (alone.client(), proxy.client());
            let text = conversation.join("\r\n") + "\r\nCLIENT SETNAME end\r\n";
            let mut seen = [Vec::new(), Vec::new()];
            for (client, seen) in [&mut again.0, &mut again.1].into_iter().zip(&mut seen) {
                client.send_raw(format!("{hello}\r\n{text}").as_bytes());
                client.receive();
                seen.extend(conversation.iter().map(|_| client.receive()));
                assert_eq!(client.receive(), "+OK\r\n");
            }
            assert_eq!(seen[0], seen[1], "{hello}, at once: {conversation:?}");
            let (mut direct, mut client) = (alone.client(), proxy.client());
            for request in ["GET k", "DBSIZE"] {
                assert_eq!(client.call(request), direct.call(request), "after {conversation:?}");
            }
        }
    }
    // A protocol chosen within the transaction holds from there on.
    for (before, within) in [("2", "3"), ("3", "2")] {
        let (mut direct, mut client) = (alone.client(), proxy.client());
        let hello = format!("HELLO {within}");
        let conversation = [
            "HSET h f v",
            "MULTI",
            "HGETALL h",
            hello.as_str(),
            "HGETALL h",
            "HELLO 9",
            "CONFIG GET appendonly",
            "EXEC",
            "HGETALL h",
        ];
        let mut seen = [&mut direct, &mut client].map(|client| {
            client.call(&format!("HELLO {before}"));
            replies(client, &conversation)
        });
        for replies in &mut seen {
            // Each has its own number.
            let exec = &mut replies[7];
            let at = exec.find("$2\r\nid\r\n:").expect("HELLO's reply") + 9;
            let end = at + exec[at..].find('\r').expect("a line");
            exec.replace_range(at..end, "N");
        }
        assert_eq!(seen[0], seen[1]);
    }
}

#[test]
fn own_replies_stand_in_their_places_over_several_servers() {
    let servers: Vec<Redis> = (0..3).map(|_| Redis::start()).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let proxy = Proxy::start("  hash_tag: \"{}\"\n", &ports);
    let mut client = proxy.client();
    for number in 0..20 {
        assert_eq!(client.call(&format!("SET key:{number} v")), "+OK\r\n");
    }
    let requests = [
        "SET {t}a 1",
        "DBSIZE",
        "INFO keyspace",
        "INCR {t}a",
        "CLIENT LIST",
        "TIME",
        "SCAN 0 COUNT 100",
        "INCR {t}a",
    ];
    assert_eq!(client.call("MULTI"), "+OK\r\n");
    for request in requests {
        assert_eq!(client.call(request), "+QUEUED\r\n", "{request}");
    }
    let reply = client.call("EXEC");
    assert!(reply.starts_with("*8\r\n+OK\r\n:21\r\n$"), "{reply}");
    let (before, after) = reply.split_once("\r\n:2\r\n").expect("INCR's reply between the two");
    assert!(before.contains("db0:keys=21,") && after.starts_with('$'), "{reply}");
    assert!(after.contains(" addr=127.0.0.1:") && after.contains("\r\n*2\r\n$10\r\n"), "{reply}");
    assert!(reply.ends_with("\r\n:3\r\n"), "{reply}");
    // What comes behind EXEC waits, and comes in its order.
    client.send_raw(b"MULTI\r\nINFO\r\nGET {t}a\r\nSELECT 0\r\nEXEC\r\nGET {t}a\r\nPING\r\n");
    for wanted in ["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "+QUEUED\r\n"] {
        assert_eq!(client.receive(), wanted);
    }
    let reply = client.receive();
    assert!(reply.starts_with("*3\r\n$") && reply.ends_with("\r\n$1\r\n3\r\n+OK\r\n"), "{reply}");
    assert_eq!((client.receive(), client.receive()), ("$1\r\n3\r\n".into(), "+PONG\r\n".into()));
    // A large part of the server's comes as it is.
    let large = "x".repeat(300_000);
    client.send(&["SET", "{t}large", &large]);
    client.receive();
    for request in ["MULTI", "GET {t}large", "CLIENT GETNAME", "GET {t}large"] {
        client.call(request);
    }
    let piece = format!("$300000\r\n{large}\r\n");
    assert!(client.call("EXEC") == format!("*3\r\n{piece}$-1\r\n{piece}"));
    // They are as many as a client may have under way, and no more.
    for (count, wanted) in [(4096, "*4096\r\n+PONG\r\n"), (4097, "-EXECABORT ")] {
        client.send_raw(format!("MULTI\r\n{}EXEC\r\n", "PING\r\n".repeat(count)).as_bytes());
        let replies: Vec<String> = (0..count + 2).map(|_| client.receive()).collect();
        assert_eq!(replies[4096], "+QUEUED\r\n");
        assert!(replies[count + 1].starts_with(wanted), "{}", replies[count + 1]);
        assert_eq!(replies[count].starts_with("-ERR the transaction is too large"), count > 4096);
    }
    // What changes all servers cannot take its place among other changes.
    for request in [
        "FLUSHALL",
        "CONFIG SET save x",
        "MONITOR",
        "SUBSCRIBE c",
        "CLIENT REPLY OFF",
        "SWAPDB 0 0",
    ] {
        assert_eq!(client.call("MULTI"), "+OK\r\n");
        assert_eq!(client.call("CLIENT SETNAME never"), "+QUEUED\r\n");
        let reply = client.call(request);
        assert!(
            reply.contains(" is not supported inside a transaction through the proxy"),
            "{reply}"
        );
        assert!(client.call("EXEC").starts_with("-EXECABORT"), "{request}");
    }
    assert_eq!(line(&mut client, "CLIENT GETNAME"), "$-1");
    // No server is needed for what is the proxy's own.
    for server in servers {
        server.kill();
    }
    assert_eq!(client.call("MULTI"), "+OK\r\n");
    for request in
        ["PING", "CLIENT SETNAME me", "CLIENT GETNAME", "SELECT 1", "CONFIG GET databases"]
    {
        assert_eq!(client.call(request), "+QUEUED\r\n");
    }
    let wanted = "*5 +PONG +OK $2 me -ERR DB index is out of range *2 $9 databases $1 1";
    assert_eq!(line(&mut client, "EXEC"), wanted);
}

#[test]
fn the_first_key_of_a_transaction_may_decide_where_it_goes() {
    let servers: Vec<Redis> = (0..3).map(|_| Redis::start()).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let proxy = Proxy::start("  cross_server: first_key\n", &ports);
    let mut client = proxy.client();
    for number in 0..5 {
        let keys: Vec<String> = (0..10).map(|part| format!("{number}:{part}")).collect();
        client.call("MULTI");
        for key in &keys {
            assert_eq!(client.call(&format!("RPUSH {key} x")), "+QUEUED\r\n");
        }
        assert_eq!(client.call("EXEC"), format!("*10\r\n{}", ":1\r\n".repeat(10)));
        let here =
            |server: &&Redis| server.client().call(&format!("EXISTS {}", keys[9])) == ":1\r\n";
        let home = servers.iter().find(here).expect("a server that has it");
        assert_eq!(home.client().call(&format!("EXISTS {}", keys.join(" "))), ":10\r\n");
        assert_eq!(client.call(&format!("EXISTS {}", keys[0])), ":1\r\n", "the first lies at home");
        // So it does for what is watched.
        let watch = format!("WATCH {} {}", keys[0], keys[1]);
        let set = format!("SET {} seen", keys[4]);
        for (request, reply) in [
            (watch.as_str(), "+OK"),
            (&format!("WATCH {}", keys[5]), "+OK"),
            ("MULTI", "+OK"),
            (&set, "+QUEUED"),
            ("EXEC", "*1 +OK"),
        ] {
            assert_eq!(line(&mut client, request), reply, "{request}");
        }
        assert_eq!(home.client().call(&format!("GET {}", keys[4])), "$4\r\nseen\r\n");
    }
}
