//! Channels through the proxy.

use std::io::Write;
use std::time::Duration;

use redstart_tests::proxy_support::{
    Client, Fake, Proxy, Redis, each_request, eventually, free_port, within,
};

use crate::failover::{Sentinel, follow, pair, proxy as over_sentinel};

fn servers(options: &[&str]) -> Vec<Redis> {
    (0..2).map(|_| Redis::start_on(free_port(), options)).collect()
}

fn proxy(servers: &[Redis], keys: &str, arguments: &[&str]) -> Proxy {
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    Proxy::start_with(&format!("  hash_tag: \"{{}}\"\n{keys}"), &ports, arguments)
}

const ONE_WORKER: &[&str] = &["--workers", "1", "-s", "0"];

fn set_up(keys: &str) -> (Vec<Redis>, Proxy) {
    let servers = servers(&[]);
    let proxy = proxy(&servers, keys, ONE_WORKER);
    (servers, proxy)
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn message(channel: &str, text: &str) -> String {
    format!("*3\r\n$7\r\nmessage\r\n{}{}", bulk(channel), bulk(text))
}

fn subscribed(kind: &str, name: &str, count: usize) -> String {
    format!("*3\r\n{}{}:{count}\r\n", bulk(kind), bulk(name))
}

/// A channel for each of the servers, which is at home there.
fn channels(servers: &[Redis], client: &mut Client) -> Vec<String> {
    let names: Vec<String> = (0..100).map(|number| format!("{{tag:{number}}}c")).collect();
    for name in &names {
        assert_eq!(client.call(&format!("SET {name} 0")), "+OK\r\n");
    }
    servers
        .iter()
        .map(|server| {
            let mut direct = server.client();
            let here = |name: &&String| direct.call(&format!("EXISTS {name}")) == ":1\r\n";
            names.iter().find(here).expect("a channel of it").clone()
        })
        .collect()
}

/// How many connections subscribe to a channel at a server.
fn listeners(server: &Redis, channel: &str) -> u64 {
    let reply = server.client().call(&format!("PUBSUB NUMSUB {channel}"));
    let number = reply.rsplit(':').next().unwrap_or_default();
    number.trim().parse().expect("a number")
}

/// What the same requests are answered by a server and by the proxy is the same.
#[test]
fn a_conversation_is_as_with_one_server() {
    let spare = Redis::start();
    let (_servers, proxy) = set_up("");
    for resp3 in [false, true] {
        let (mut theirs, mut ours) = (spare.client(), proxy.client());
        if resp3 {
            assert!(
                theirs.call("HELLO 3").starts_with('%') && ours.call("HELLO 3").starts_with('%')
            );
        }
        for (request, replies) in [
            ("UNSUBSCRIBE", 1),
            ("PUNSUBSCRIBE", 1),
            ("SUNSUBSCRIBE", 1),
            ("UNSUBSCRIBE a b", 2),
            ("SUBSCRIBE a", 1),
            ("SUBSCRIBE b a c", 3),
            ("PSUBSCRIBE p* q*", 2),
            ("SSUBSCRIBE s", 1),
            ("SSUBSCRIBE s t", 2),
            ("PING", 1),
            ("PING hello", 1),
            ("PING a b", 1),
            ("GET k", 1),
            ("CLIENT ID EXTRA", 1),
            ("NONSENSE", 1),
            ("SUBSCRIBE", 1),
            ("UNSUBSCRIBE b", 1),
            ("UNSUBSCRIBE b", 1),
            ("PUNSUBSCRIBE q*", 1),
            ("SUNSUBSCRIBE t s", 2),
            ("UNSUBSCRIBE a c", 2),
            ("PUNSUBSCRIBE", 1),
            ("PING", 1),
            ("SET k v", 1),
            ("GET k", 1),
            ("DEL k", 1),
            ("SUBSCRIBE a", 1),
            ("RESET", 1),
            ("GET k", 1),
            ("SUBSCRIBE a", 1),
            ("QUIT", 1),
        ] {
            let words: Vec<&str> = request.split(' ').collect();
            theirs.send(&words);
            ours.send(&words);
            for _ in 0..replies {
                let wanted = theirs.receive();
                if request.starts_with("CLIENT") {
                    assert_eq!(ours.receive().get(..8), wanted.get(..8), "{request}");
                } else {
                    assert_eq!(ours.receive(), wanted, "{request} (RESP3: {resp3})");
                }
            }
        }
        assert!(ours.is_closed());
    }
}

#[test]
fn messages_come_to_whoever_listens() {
    let (servers, proxy) = set_up("");
    let (mut two, mut three, mut other) = (proxy.client(), proxy.client(), proxy.client());
    assert!(three.call("HELLO 3").starts_with('%'));
    let channels = channels(&servers, &mut other);
    for channel in &channels {
        assert_eq!(two.call(&format!("SUBSCRIBE {channel}")).get(..4), Some("*3\r\n"));
        assert_eq!(three.call(&format!("SUBSCRIBE {channel}")).get(..4), Some(">3\r\n"));
    }
    assert_eq!(two.call("PSUBSCRIBE {tag*"), subscribed("psubscribe", "{tag*", 3));
    assert_eq!(two.call("SSUBSCRIBE s"), subscribed("ssubscribe", "s", 1));
    for (channel, server) in channels.iter().zip(&servers) {
        assert_eq!(listeners(server, channel), 1, "one subscription for both");
        // The channel's, and the pattern's.
        assert_eq!(other.call(&format!("PUBLISH {channel} hey")), ":2\r\n");
        assert_eq!(two.receive(), message(channel, "hey"));
        let matched =
            format!("*4\r\n{}{}{}{}", bulk("pmessage"), bulk("{tag*"), bulk(channel), bulk("hey"));
        assert_eq!(two.receive(), matched);
        assert_eq!(three.receive(), message(channel, "hey").replacen('*', ">", 1));
    }
    assert_eq!(other.call("SPUBLISH s x"), ":1\r\n");
    assert_eq!(two.receive(), message("s", "x").replacen("$7\r\nmessage", "$8\r\nsmessage", 1));
    assert_eq!(other.call("PUBLISH nobody x"), ":0\r\n");
    let line = other.call("CLIENT LIST");
    assert!(line.contains("flags=P db=0 sub=2 psub=1 ssub=1 "), "{line}");
    let info = other.call("INFO pool");
    assert!(info.contains("subscribers:2\r\nsubscriptions:5\r\n"), "{info}");
    // Who listens, over all servers, clients counted as clients.
    let (one, another) = (&channels[0], &channels[1]);
    let mut direct = servers[1].client();
    assert_eq!(direct.call("SUBSCRIBE elsewhere").get(..4), Some("*3\r\n"));
    let names = other.call("PUBSUB CHANNELS");
    assert!(
        names.starts_with("*3\r\n")
            && [one, another].iter().all(|name| names.contains(name.as_str())),
        "{names}"
    );
    assert_eq!(
        other.call(&format!("PUBSUB NUMSUB {one} {another} elsewhere nobody")),
        format!(
            "*8\r\n{}:2\r\n{}:2\r\n{}:1\r\n{}:0\r\n",
            bulk(one),
            bulk(another),
            bulk("elsewhere"),
            bulk("nobody")
        )
    );
    assert_eq!(other.call("PUBSUB NUMPAT"), ":1\r\n");
    assert_eq!(other.call("PUBSUB SHARDCHANNELS"), "*1\r\n$1\r\ns\r\n");
    assert_eq!(other.call("PUBSUB SHARDNUMSUB s"), "*2\r\n$1\r\ns\r\n:1\r\n");
    drop((two, three));
    eventually("nobody listens", || {
        servers.iter().all(|server| {
            let mut direct = server.client();
            channels.iter().all(|channel| listeners(server, channel) == 0)
                && direct.call("PUBSUB NUMPAT") == ":0\r\n"
        })
    });
}

/// A server that confirms nothing before it has been asked for three channels.
#[test]
fn subscriptions_that_are_sent_at_once_are_passed_on_at_once() {
    let server = Fake::start(|mut stream| {
        let mut asked: Vec<Vec<u8>> = Vec::new();
        each_request(&mut stream, |stream, args| {
            if !args[0].eq_ignore_ascii_case(b"SUBSCRIBE") {
                return stream.write_all(b"+PONG\r\n").is_ok();
            }
            asked.extend(args[1..].iter().map(|name| name.to_vec()));
            if asked.len() < 3 {
                return true;
            }
            let confirmed: String = (1..)
                .zip(&asked)
                .map(|(count, name)| subscribed("subscribe", &String::from_utf8_lossy(name), count))
                .collect();
            stream.write_all(confirmed.as_bytes()).is_ok()
        });
    });
    let proxy = Proxy::start_with("", &[server.port], ONE_WORKER);
    let mut client = proxy.client();
    // One by one, and the last behind what has to wait for its turn.
    client.send(&["SUBSCRIBE", "one"]);
    client.send(&["SUBSCRIBE", "two", "one"]);
    client.send(&["SUBSCRIBE", "three"]);
    client.send(&["PING"]);
    for (name, count) in [("one", 1), ("two", 2), ("one", 2), ("three", 3)] {
        assert_eq!(client.receive(), subscribed("subscribe", name, count));
    }
    assert_eq!(client.receive(), format!("*2\r\n{}{}", bulk("pong"), bulk("")));
}

#[test]
fn a_client_of_resp3_goes_on_while_it_listens() {
    let (_servers, proxy) = set_up("");
    let (mut client, mut other) = (proxy.client(), proxy.client());
    assert!(client.call("HELLO 3").starts_with('%'));
    assert!(client.call("SUBSCRIBE c").starts_with('>'));
    let value = "x".repeat(3_000_000);
    other.send(&["SET", "large", &value]);
    assert_eq!(other.receive(), "+OK\r\n");
    let publishing = std::thread::spawn({
        let port = proxy.port;
        move || {
            let mut client = Client::connect(port);
            for number in 0..2000 {
                assert_eq!(client.call(&format!("PUBLISH c {number}")), ":1\r\n");
            }
        }
    });
    let (mut got, mut heard) = (0, 0);
    let mut asked = 0;
    while heard < 2000 || got < 30 {
        if asked == got && asked < 30 {
            client.send(&["GET", "large"]);
            asked += 1;
        }
        let reply = client.receive();
        if reply.starts_with('>') {
            assert_eq!(reply, message("c", &heard.to_string()).replacen('*', ">", 1));
            heard += 1;
        } else {
            assert!(reply == bulk(&value), "a reply without anything in between");
            got += 1;
        }
    }
    publishing.join().expect("published");
}

#[test]
fn many_listen_and_hear_everything_in_order() {
    const CLIENTS: usize = 200;
    const MESSAGES: usize = 300;
    let servers = servers(&[]);
    let proxy = proxy(&servers, "", &["--workers", "2", "-s", "0"]);
    let mut other = proxy.client();
    let channels = channels(&servers, &mut other);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send(&["SUBSCRIBE", &channels[0], &channels[1]]);
    }
    for client in &mut clients {
        assert_eq!(client.receive(), subscribed("subscribe", &channels[0], 1));
        assert_eq!(client.receive(), subscribed("subscribe", &channels[1], 2));
    }
    for (channel, server) in channels.iter().zip(&servers) {
        assert_eq!(listeners(server, channel), 2, "one subscription for each worker");
    }
    let counted = other.call(&format!("PUBSUB NUMSUB {}", channels[0]));
    assert!(counted.ends_with(&format!(":{CLIENTS}\r\n")), "{counted}");
    let mut pipeline = Vec::new();
    for number in 0..MESSAGES {
        let channel = &channels[number % 2];
        pipeline.extend_from_slice(format!("PUBLISH {channel} {number}\r\n").as_bytes());
    }
    other.send_raw(&pipeline);
    for _ in 0..MESSAGES {
        assert_eq!(other.receive(), ":2\r\n");
    }
    for client in &mut clients {
        let mut next = [0, 1];
        for _ in 0..MESSAGES {
            let said = client.receive();
            let of = channels.iter().position(|channel| said.contains(channel.as_str()));
            let of = of.expect("a channel");
            assert_eq!(said, message(&channels[of], &next[of].to_string()));
            next[of] += 2;
        }
    }
}

#[test]
fn a_lost_connection_is_made_again() {
    let (mut servers, proxy) = set_up("  failover_hold: 10000\n");
    let (mut client, mut other) = (proxy.client(), proxy.client());
    let channels = channels(&servers, &mut other);
    assert_eq!(
        client.call(&format!("SUBSCRIBE {0}", channels[0])),
        subscribed("subscribe", &channels[0], 1)
    );
    assert_eq!(client.call("PSUBSCRIBE {tag*"), subscribed("psubscribe", "{tag*", 2));
    for round in 0..4 {
        if round % 2 == 0 {
            assert_eq!(servers[0].client().call("CLIENT KILL TYPE pubsub"), ":1\r\n");
        } else {
            let port = servers[0].port;
            servers[0].process.kill();
            servers[0] = Redis::start_on(port, &[]);
        }
        eventually("it listens again", || listeners(&servers[0], &channels[0]) == 1);
        eventually("the pattern too", || servers[0].client().call("PUBSUB NUMPAT") == ":1\r\n");
        assert_eq!(other.call(&format!("PUBLISH {} {round}", channels[0])), ":2\r\n");
        assert_eq!(client.receive(), message(&channels[0], &round.to_string()));
        assert!(client.receive().starts_with("*4\r\n$8\r\npmessage\r\n"));
    }
    let log = proxy.log();
    assert!(log.contains("subscription(s) at server 'server0' are interrupted"), "{log}");
    assert!(log.contains("server 'server0' is asked again for 2 subscription(s)"), "{log}");
    // Whoever subscribes while a server is away waits for it.
    let port = servers[1].port;
    servers[1].process.kill();
    client.send(&["SUBSCRIBE", &channels[1]]);
    servers[1] = Redis::start_on(port, &[]);
    assert_eq!(client.receive(), subscribed("subscribe", &channels[1], 3));
}

#[test]
fn who_cannot_subscribe_is_told() {
    let (mut servers, proxy) = set_up("");
    let mut client = proxy.client();
    let channels = channels(&servers, &mut client);
    servers[1].process.kill();
    assert_eq!(
        client.call(&format!("SUBSCRIBE {} {}", channels[0], channels[1])),
        "-ERR Connection refused\r\n"
    );
    assert_eq!(client.call("PSUBSCRIBE *"), "-ERR Connection refused\r\n");
    assert_eq!(
        client.call(&format!("GET {}", channels[0])),
        "$1\r\n0\r\n",
        "it listens to nothing"
    );
    assert_eq!(
        client.call(&format!("SUBSCRIBE {}", channels[0])),
        subscribed("subscribe", &channels[0], 1)
    );
    eventually("the other is not subscribed to", || {
        servers[0].client().call("PUBSUB NUMPAT") == ":0\r\n"
    });
    // What a client subscribes to is bounded.
    let names: Vec<String> =
        (0..20).map(|number| "n".repeat(1_000_000) + &number.to_string()).collect();
    let mut request = vec!["SSUBSCRIBE"];
    request.extend(names.iter().map(String::as_str));
    client.send(&request);
    assert_eq!(
        client.receive(),
        "-ERR the names of all subscriptions of a client take more than 16777216 bytes\r\n"
    );
    // A server may refuse it as well.
    let strict = Redis::start();
    assert_eq!(strict.client().call("ACL SETUSER default resetchannels &allowed"), "+OK\r\n");
    let proxy = Proxy::start("", &[strict.port]);
    let mut client = proxy.client();
    assert_eq!(client.call("SUBSCRIBE allowed"), subscribed("subscribe", "allowed", 1));
    assert!(client.call("SUBSCRIBE other").starts_with("-NOPERM"));
    assert_eq!(client.call("SUBSCRIBE allowed"), subscribed("subscribe", "allowed", 1));
    assert_eq!(proxy.client().call("PUBLISH allowed x"), ":1\r\n");
    assert_eq!(client.receive(), message("allowed", "x"));
}

#[test]
fn events_of_keys_come_from_every_server() {
    let servers = servers(&["--notify-keyspace-events", "KEA"]);
    let proxy = proxy(&servers, "", ONE_WORKER);
    let (mut events, mut matching, mut other) = (proxy.client(), proxy.client(), proxy.client());
    let keys = channels(&servers, &mut other);
    let name = "__keyevent@0__:set";
    assert_eq!(events.call(&format!("SUBSCRIBE {name}")), subscribed("subscribe", name, 1));
    assert_eq!(
        matching.call("PSUBSCRIBE __keyspace@*:{tag*"),
        subscribed("psubscribe", "__keyspace@*:{tag*", 1)
    );
    for key in &keys {
        assert_eq!(other.call(&format!("SET {key} v")), "+OK\r\n");
        assert_eq!(events.receive(), message(name, key));
        let said = matching.receive();
        assert!(
            said.contains(&format!("__keyspace@0__:{key}\r\n")) && said.ends_with("$3\r\nset\r\n"),
            "{said}"
        );
    }
    assert!(!events.has_received() && !matching.has_received(), "each came once");
}

#[test]
fn who_does_not_read_is_dropped_and_others_are_not() {
    let servers = servers(&[]);
    let ports: Vec<String> = servers
        .iter()
        .enumerate()
        .map(|(number, server)| format!("127.0.0.1:{}:1 server{number}", server.port))
        .collect();
    let port = free_port();
    let folder = redstart_tests::proxy_support::Folder::new();
    let config = format!(
        "global:\n  subscriber_output_limit: 1mb\ntest:\n  listen: 127.0.0.1:{port}\n  redis: true\n  servers:\n    - {}\n    - {}\n",
        ports[0], ports[1]
    );
    let file = folder.join("proxy.yml");
    std::fs::write(&file, config).expect("written");
    let mut command = std::process::Command::new(redstart_tests::proxy_support::proxy_binary());
    command.arg("-c").arg(&file).args(ONE_WORKER);
    let proxy = redstart_tests::proxy_support::Listening::start(command, port, folder);
    let (mut slow, mut quick, mut other) = (proxy.client(), proxy.client(), proxy.client());
    for client in [&mut slow, &mut quick] {
        assert_eq!(client.call("SUBSCRIBE c"), subscribed("subscribe", "c", 1));
    }
    let text = "y".repeat(100_000);
    let mut sent = 0;
    let dropped = within(Duration::from_secs(20), || {
        for _ in 0..20 {
            other.send(&["PUBLISH", "c", &text]);
            other.receive();
            assert!(quick.receive() == message("c", &text));
            sent += 1;
        }
        other.call("INFO pool").contains("subscribers_dropped:1\r\n")
    });
    assert!(dropped, "after {sent} messages");
    let log = proxy.log();
    assert!(log.contains("bytes of what it subscribes to unread, and is dropped"), "{log}");
    let mut read = 0;
    while slow.try_receive().is_some() {
        read += 1;
    }
    assert!(read < sent);
    assert!(other.call("INFO pool").contains("subscribers:1\r\n"));
}

#[test]
fn listening_goes_on_at_the_new_primary() {
    let (a, b) = pair();
    follow(&b, &a);
    let sentinel = Sentinel::start(a.port);
    let proxy = over_sentinel(&sentinel, "  failover_hold: 15000\n");
    let mut client = proxy.client();
    for (number, name) in ["one", "two", "three"].into_iter().enumerate() {
        assert_eq!(
            client.call(&format!("SUBSCRIBE {name}")),
            subscribed("subscribe", name, number + 1)
        );
    }
    assert_eq!(b.client().call("REPLICAOF NO ONE"), "+OK\r\n");
    sentinel.switch_to(b.port);
    for name in ["one", "two", "three"] {
        eventually("it listens at the new primary", || listeners(&b, name) == 1);
        eventually("and not at the old one", || listeners(&a, name) == 0);
        assert_eq!(b.client().call(&format!("PUBLISH {name} x")), ":1\r\n");
        assert_eq!(client.receive(), message(name, "x"));
    }
    assert_eq!(client.call("UNSUBSCRIBE two"), subscribed("unsubscribe", "two", 2));
    eventually("one is not listened to", || listeners(&b, "two") == 0);
}

#[test]
fn what_others_publish_is_heard_where_that_is_wanted() {
    let (servers, proxy) = set_up("  subscribe_everywhere: true\n");
    let (mut client, mut other) = (proxy.client(), proxy.client());
    let channels = channels(&servers, &mut other);
    assert_eq!(
        client.call(&format!("SUBSCRIBE {}", channels[0])),
        subscribed("subscribe", &channels[0], 1)
    );
    assert_eq!(servers[1].client().call(&format!("PUBLISH {} direct", channels[0])), ":1\r\n");
    assert_eq!(client.receive(), message(&channels[0], "direct"));
    // A transaction, and a script, may run where the channel is not at home.
    other.play(&format!(
        "> MULTI\n< +OK\n> GET {1}\n< +QUEUED\n> PUBLISH {0} tx\n< +QUEUED\n> EXEC\n< *2\n< $1\n< 0\n< :1",
        channels[0], channels[1]
    ));
    assert_eq!(client.receive(), message(&channels[0], "tx"));
    let body = "return redis.call('PUBLISH', ARGV[1], 'script')";
    other.send(&["EVAL", body, "1", &channels[1], &channels[0]]);
    assert_eq!(other.receive(), ":1\r\n");
    assert_eq!(client.receive(), message(&channels[0], "script"));
    // Otherwise a transaction may publish where its keys lie, and is told where it may not.
    let (servers, proxy) = set_up("");
    let mut client = proxy.client();
    let channels = self::channels(&servers, &mut client);
    client.play(&format!(
        "> MULTI\n< +OK\n> GET {0}\n< +QUEUED\n> PUBLISH {0} x\n< +QUEUED\n> PUBLISH {1} x\n< -CROSSSLOT Keys in request don't hash to the same slot\n> EXEC\n< -EXECABORT Transaction discarded because of previous errors.",
        channels[0], channels[1]
    ));
}
