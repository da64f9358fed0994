//! What a client does on a connection of its own, through the proxy: watching keys and waiting.

use std::time::{Duration, Instant};

use redstart_tests::proxy_support::{Client, Proxy, Redis, eventually, within};

use crate::failover::{Sentinel, follow, pair, proxy as over_sentinel};

const CROSSED: &str = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";

fn set_up(keys: &str) -> (Vec<Redis>, Proxy) {
    let servers: Vec<Redis> = (0..2).map(|_| Redis::start()).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let proxy = Proxy::start(&format!("  hash_tag: \"{{}}\"\n{keys}"), &ports);
    (servers, proxy)
}

/// For each of the servers a tag whose keys lie there.
fn tags(servers: &[Redis], client: &mut Client) -> Vec<String> {
    let tags: Vec<String> = (0..100).map(|number| format!("{{tag:{number}}}")).collect();
    for tag in &tags {
        assert_eq!(client.call(&format!("SET {tag} 0")), "+OK\r\n");
    }
    servers
        .iter()
        .map(|server| {
            let mut direct = server.client();
            let here = |tag: &&String| direct.call(&format!("EXISTS {tag}")) == ":1\r\n";
            tags.iter().find(here).expect("a tag of it").clone()
        })
        .collect()
}

fn field(client: &mut Client, section: &str, name: &str) -> u64 {
    let info = client.call(&format!("INFO {section}"));
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("{name} in {info}")).trim().parse().expect("a number")
}

fn blocked(server: &Redis) -> u64 {
    field(&mut server.client(), "clients", "blocked_clients")
}

#[test]
fn a_transaction_runs_only_if_what_it_watches_has_not_changed() {
    let (servers, proxy) = set_up("");
    let (mut client, mut other) = (proxy.client(), proxy.client());
    for tag in tags(&servers, &mut client) {
        client.play(&format!(
            "> SET {tag}k 1
             < +OK
             > WATCH {tag}k {tag}other
             < +OK
             > GET {tag}k
             < $1
             < 1
             > MULTI
             < +OK
             > INCR {tag}k
             < +QUEUED
             > EXEC
             < *1
             < :2
             > WATCH {tag}k
             < +OK"
        ));
        assert_eq!(other.call(&format!("INCR {tag}k")), ":3\r\n");
        client.play(&format!(
            "> MULTI
             < +OK
             > SET {tag}k lost
             < +QUEUED
             > EXEC
             < *-1
             > GET {tag}k
             < $1
             < 3
             > WATCH {tag}k
             < +OK
             > SET {tag}k 4
             < +OK
             > MULTI
             < +OK
             > WATCH {tag}k
             < -ERR WATCH inside MULTI is not allowed
             > EXEC
             < *-1
             > WATCH {tag}k
             < +OK
             > UNWATCH
             < +OK"
        ));
        assert_eq!(other.call(&format!("INCR {tag}k")), ":5\r\n");
        client.play("> MULTI\n< +OK\n> PING\n< +QUEUED\n> EXEC\n< *1\n< +PONG");
        assert_eq!(client.call(&format!("WATCH {tag}k")), "+OK\r\n");
        assert_eq!(other.call(&format!("INCR {tag}k")), ":6\r\n");
        client.play(&format!(
            "> MULTI
             < +OK
             > DISCARD
             < +OK
             > MULTI
             < +OK
             > EXEC
             < *0
             > WATCH {tag}k
             < +OK
             > MULTI
             < +OK
             > NONSENSE
             < -ERR unknown command 'NONSENSE', with args beginning with: 
             > EXEC
             < -EXECABORT Transaction discarded because of previous errors.
             > MULTI
             < +OK
             > GET {tag}k
             < +QUEUED
             > EXEC
             < *1
             < $1
             < 6"
        ));
        assert!(client.call("HELLO 3").starts_with('%'));
        assert_eq!(client.call(&format!("WATCH {tag}k")), "+OK\r\n");
        assert_eq!(other.call(&format!("INCR {tag}k")), ":7\r\n");
        client.play("> MULTI\n< +OK\n> EXEC\n< _\n> RESET\n< +RESET");
    }
    // One connection of each protocol for each server was enough, and all are free again.
    let info = client.call("INFO pool");
    assert!(info.contains("private_connections:4\r\nprivate_in_use:0\r\n"), "{info}");
    assert!(within(Duration::from_secs(5), || {
        servers.iter().all(|server| !server.client().call("CLIENT LIST").contains("multi=1"))
    }));
}

#[test]
fn a_transaction_that_watches_is_tied_to_one_shard() {
    let (servers, proxy) = set_up("");
    let mut client = proxy.client();
    let tags = tags(&servers, &mut client);
    let (here, there) = (&tags[0], &tags[1]);
    client.play(&format!(
        "> WATCH {here}a {there}a
         < {CROSSED_LINE}
         > WATCH {here}a
         < +OK
         > WATCH {there}a
         < {CROSSED_LINE}
         > SET {there}a free
         < +OK
         > MULTI
         < +OK
         > SET {here}a 1
         < +QUEUED
         > GET {there}a
         < {CROSSED_LINE}
         > EXEC
         < -EXECABORT Transaction discarded because of previous errors.
         > EXISTS {here}a
         < :0
         > WATCH {there}a
         < +OK
         > MULTI
         < +OK
         > GET {here}a
         < {CROSSED_LINE}
         > DISCARD
         < +OK
         > MULTI
         < +OK
         > GET {here}
         < +QUEUED
         > EXEC
         < *1
         < $1
         < 0",
        CROSSED_LINE = CROSSED.trim_end()
    ));
}

#[test]
fn what_is_sent_at_once_runs_in_its_order() {
    let (servers, proxy) = set_up("");
    let mut client = proxy.client();
    let tag = tags(&servers, &mut client).remove(1);
    for round in 0..50 {
        let requests = [
            format!("SET {tag}k {round}"),
            format!("WATCH {tag}k"),
            format!("GET {tag}k"),
            "MULTI".to_owned(),
            format!("INCR {tag}k"),
            "EXEC".to_owned(),
            format!("RPUSH {tag}list {round}"),
            format!("BLPOP {tag}none {tag}list 0"),
            format!("GET {tag}k"),
            format!("BLPOP {tag}none 0.01"),
            format!("DEL {tag}k {tag}list"),
        ];
        client.send_raw((requests.join("\r\n") + "\r\n").as_bytes());
        let bulk = |text: String| format!("${}\r\n{text}\r\n", text.len());
        let expected = [
            "+OK\r\n".to_owned(),
            "+OK\r\n".to_owned(),
            bulk(round.to_string()),
            "+OK\r\n".to_owned(),
            "+QUEUED\r\n".to_owned(),
            format!("*1\r\n:{}\r\n", round + 1),
            ":1\r\n".to_owned(),
            format!("*2\r\n{}{}", bulk(format!("{tag}list")), bulk(round.to_string())),
            bulk((round + 1).to_string()),
            "*-1\r\n".to_owned(),
            ":1\r\n".to_owned(),
        ];
        for (request, expected) in requests.iter().zip(expected) {
            assert_eq!(client.receive(), expected, "{request}");
        }
    }
}

#[test]
fn counting_by_watch_loses_nothing() {
    let (_servers, proxy) = set_up("");
    let port = proxy.port;
    let counting: Vec<_> = (0..6)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::connect(port);
                let mut done = 0;
                while done < 30 {
                    assert_eq!(client.call("WATCH n"), "+OK\r\n");
                    let now = client.call("GET n");
                    let now: u64 =
                        now.split("\r\n").nth(1).and_then(|now| now.parse().ok()).unwrap_or(0);
                    client.send_raw(format!("MULTI\r\nSET n {}\r\nEXEC\r\n", now + 1).as_bytes());
                    assert_eq!(client.receive(), "+OK\r\n");
                    assert_eq!(client.receive(), "+QUEUED\r\n");
                    done += u64::from(client.receive() == "*1\r\n+OK\r\n");
                }
            })
        })
        .collect();
    for one in counting {
        one.join().expect("it counted");
    }
    assert_eq!(proxy.client().call("GET n"), "$3\r\n180\r\n");
}

#[test]
fn a_server_that_is_lost_between_watch_and_exec_makes_exec_null() {
    let (mut servers, proxy) = set_up("  failover_hold: 5000\n");
    let mut client = proxy.client();
    let tags = tags(&servers, &mut client);
    for (restarts, tag) in [(false, &tags[0]), (true, &tags[1])] {
        let at = usize::from(restarts);
        assert_eq!(client.call(&format!("WATCH {tag}k")), "+OK\r\n");
        let port = servers[at].port;
        if restarts {
            servers[at].process.kill();
            let again = Redis::start_on(port, &[]);
            servers[at] = again;
        } else {
            // Only the connection is lost: somebody ends it at the server.
            let mut direct = servers[at].client();
            eventually("the connection is ended", || {
                direct.call("CLIENT KILL TYPE normal SKIPME yes") != ":0\r\n"
            });
        }
        client.send_raw(format!("MULTI\r\nSET {tag}k half\r\nEXEC\r\n").as_bytes());
        assert_eq!(client.receive(), "+OK\r\n");
        assert_eq!(client.receive(), "+QUEUED\r\n");
        assert_eq!(client.receive(), "*-1\r\n");
        assert_eq!(client.call(&format!("EXISTS {tag}k")), ":0\r\n", "nothing has run");
        client.play(&format!(
            "> WATCH {tag}k\n< +OK\n> MULTI\n< +OK\n> SET {tag}k v\n< +QUEUED\n> EXEC\n< *1\n< +OK"
        ));
    }
}

#[test]
fn clients_wait_for_elements_as_with_one_server() {
    // A request's timeout is no bound of how long somebody waits.
    let (servers, proxy) = set_up("  timeout: 300\n");
    let (mut client, mut other) = (proxy.client(), proxy.client());
    for (tag, server) in tags(&servers, &mut client).iter().zip(&servers) {
        let conversations = [
            (format!("BLPOP {tag}l 0"), format!("RPUSH {tag}l v"), "*2\r\nKEY\r\n$1\r\nv\r\n"),
            (format!("BRPOP {tag}l 0"), format!("RPUSH {tag}l v"), "*2\r\nKEY\r\n$1\r\nv\r\n"),
            (
                format!("BLMOVE {tag}l {tag}m LEFT RIGHT 0"),
                format!("RPUSH {tag}l v"),
                "$1\r\nv\r\n",
            ),
            (format!("BRPOPLPUSH {tag}l {tag}m 0"), format!("RPUSH {tag}l v"), "$1\r\nv\r\n"),
            (
                format!("BLMPOP 0 2 {tag}none {tag}l LEFT COUNT 5"),
                format!("RPUSH {tag}l v"),
                "*2\r\nKEY\r\n*1\r\n$1\r\nv\r\n",
            ),
            (
                format!("BZPOPMIN {tag}z 0"),
                format!("ZADD {tag}z 1 v"),
                "*3\r\nKEY\r\n$1\r\nv\r\n$1\r\n1\r\n",
            ),
            (
                format!("BZPOPMAX {tag}z 0"),
                format!("ZADD {tag}z 1 v"),
                "*3\r\nKEY\r\n$1\r\nv\r\n$1\r\n1\r\n",
            ),
            (
                format!("BZMPOP 0 1 {tag}z MIN"),
                format!("ZADD {tag}z 1 v"),
                "*2\r\nKEY\r\n*1\r\n*2\r\n$1\r\nv\r\n$1\r\n1\r\n",
            ),
            (
                format!("XREAD BLOCK 0 STREAMS {tag}x $"),
                format!("XADD {tag}x 1-1 f v"),
                "*1\r\n*2\r\nKEY\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n",
            ),
        ];
        for (number, (wait, write, reply)) in conversations.iter().enumerate() {
            client.send_raw(format!("{wait}\r\nECHO after\r\n").as_bytes());
            eventually("it waits", || blocked(server) == 1);
            if number == 0 {
                let is_answered = within(Duration::from_millis(900), || client.has_received());
                assert!(!is_answered, "neither its time is up nor may it be overtaken");
            }
            other.send(&write.split(' ').collect::<Vec<_>>());
            assert!(!other.receive().starts_with('-'), "{write}");
            let key = write.split(' ').nth(1).expect("a key");
            let key = format!("${}\r\n{key}", key.len());
            assert_eq!(client.receive(), reply.replace("KEY", &key), "{wait}");
            assert_eq!(client.receive(), "$5\r\nafter\r\n");
        }
        assert_eq!(client.call(&format!("XGROUP CREATE {tag}x g 0")), "+OK\r\n");
        let read = client.call(&format!("XREADGROUP GROUP g c BLOCK 0 STREAMS {tag}x >"));
        assert!(read.contains("1-1"), "{read}");
        assert_eq!(
            client.call(&format!("XREADGROUP GROUP g c BLOCK 10 STREAMS {tag}x >")),
            "*-1\r\n"
        );
        assert_eq!(client.call(&format!("BLMOVE {tag}no {tag}m LEFT LEFT 0.01")), "*-1\r\n");
        assert!(
            client
                .call(&format!("BLPOP {tag}l nonsense"))
                .starts_with("-ERR timeout is not a float")
        );
        assert!(client.call(&format!("BLPOP {tag}z2 {tag} 0")).starts_with("-WRONGTYPE"));
        assert!(client.call("BLMPOP 0 0 k LEFT").starts_with("-ERR numkeys"));
    }
    let far: Vec<String> = (0..50).map(|number| format!("key:{number}")).collect();
    assert_eq!(client.call(&format!("BLPOP {} 0", far.join(" "))), CROSSED);
    assert!(client.call("HELLO 3").starts_with('%'));
    assert_eq!(client.call("BLPOP none 0.01"), "_\r\n");
    // Within a transaction nobody waits.
    assert_eq!(client.call("MULTI"), "+OK\r\n");
    assert_eq!(client.call("BLPOP none 0"), "+QUEUED\r\n");
    assert_eq!(client.call("EXEC"), "*1\r\n_\r\n");
    assert_eq!(field(&mut other, "clients", "blocked_clients"), 0);
}

#[test]
fn a_client_that_leaves_waits_no_more() {
    let (servers, proxy) = set_up("");
    let mut other = proxy.client();
    let tag = tags(&servers, &mut other).remove(0);
    for _ in 0..20 {
        let mut leaving: Vec<Client> = (0..3).map(|_| proxy.client()).collect();
        for client in &mut leaving {
            client.send(&["BLPOP", &format!("{tag}q"), "0"]);
        }
        eventually("they wait", || blocked(&servers[0]) == 3);
        assert_eq!(field(&mut other, "clients", "blocked_clients"), 3);
        drop(leaving);
        eventually("nobody waits", || blocked(&servers[0]) == 0);
    }
    assert_eq!(other.call(&format!("RPUSH {tag}q v")), ":1\r\n");
    assert_eq!(other.call(&format!("LLEN {tag}q")), ":1\r\n", "nobody took it away");
    eventually("their connections are gone", || {
        other.call("INFO pool").contains("private_connections:0\r\nprivate_in_use:0\r\n")
    });
}

#[test]
fn a_waiting_client_can_be_let_go() {
    let (servers, proxy) = set_up("");
    let (mut client, mut other) = (proxy.client(), proxy.client());
    let tag = tags(&servers, &mut other).remove(1);
    let id = client.call("CLIENT ID")[1..].trim().to_owned();
    assert_eq!(other.call(&format!("CLIENT UNBLOCK {id}")), ":0\r\n", "it does not wait");
    for (how, reply) in [
        ("", "*-1\r\n"),
        (" TIMEOUT", "*-1\r\n"),
        (" ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
    ] {
        client.send(&["BRPOP", &format!("{tag}q"), "0"]);
        eventually("it waits", || blocked(&servers[1]) == 1);
        assert!(
            other
                .call("CLIENT LIST")
                .lines()
                .any(|line| { line.contains(&format!("id={id} ")) && line.contains("flags=b ") })
        );
        assert_eq!(other.call(&format!("CLIENT UNBLOCK {id}{how}")), ":1\r\n");
        assert_eq!(client.receive(), reply);
    }
    assert_eq!(
        other.call(&format!("CLIENT UNBLOCK {id} NONSENSE")),
        "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR\r\n"
    );
    assert_eq!(other.call("CLIENT UNBLOCK x"), "-ERR value is not an integer or out of range\r\n");
    client.send(&["BRPOP", &format!("{tag}q"), "0"]);
    eventually("it waits", || blocked(&servers[1]) == 1);
    assert_eq!(other.call(&format!("CLIENT KILL ID {id}")), ":1\r\n");
    assert!(client.is_closed());
    eventually("nobody waits", || blocked(&servers[1]) == 0);
}

#[test]
fn there_are_no_more_private_connections_than_there_may_be() {
    let (servers, proxy) = set_up("  private_connections: 2\n");
    let mut client = proxy.client();
    let tag = tags(&servers, &mut client).remove(0);
    let wait = format!("BLPOP {tag}q 0");
    let mut waiting: Vec<Client> = (0..2).map(|_| proxy.client()).collect();
    for (number, one) in waiting.iter_mut().enumerate() {
        one.send(&wait.split(' ').collect::<Vec<_>>());
        eventually("it waits", || blocked(&servers[0]) == number as u64 + 1);
    }
    let refused = client.call(&wait);
    assert!(refused.starts_with("-ERR all 2 private connections to server 'server"), "{refused}");
    assert_eq!(client.call(&format!("WATCH {tag}k")), refused);
    assert_eq!(field(&mut client, "pool", "private_refused"), 2);
    assert_eq!(client.call(&format!("RPUSH {tag}q a")), ":1\r\n");
    assert!(waiting[0].receive().ends_with("$1\r\na\r\n"));
    assert_eq!(client.call(&format!("WATCH {tag}k")), "+OK\r\n", "one is free again");
    assert_eq!(client.call("UNWATCH"), "+OK\r\n");
    // A client of the other protocol needs a connection of its own, for which an unused one makes place.
    assert!(client.call("HELLO 3").starts_with('%'));
    assert_eq!(client.call(&format!("WATCH {tag}k")), "+OK\r\n");
    let (_servers, proxy) = set_up("  private_connections: 0\n");
    assert_eq!(
        proxy.client().call("WATCH k"),
        "-ERR this pool has no private connections (private_connections: 0)\r\n"
    );
}

#[test]
fn what_waits_is_sent_again_only_if_it_has_not_run() {
    let (mut servers, proxy) = set_up("  failover_hold: 10000\n");
    let (mut taking, mut reading, mut new_only) = (proxy.client(), proxy.client(), proxy.client());
    let mut other = proxy.client();
    let tag = tags(&servers, &mut other).remove(0);
    taking.send(&["BLPOP", &format!("{tag}q"), "0"]);
    reading.send(&["XREAD", "BLOCK", "0", "STREAMS", &format!("{tag}x"), "0"]);
    new_only.send(&["XREAD", "BLOCK", "0", "STREAMS", &format!("{tag}x"), "$"]);
    eventually("they wait", || blocked(&servers[0]) == 3);
    let port = servers[0].port;
    servers[0].process.kill();
    for told in [&mut taking, &mut new_only] {
        let error = told.receive();
        assert!(error.ends_with("whether it has run is not known\r\n"), "{error}");
    }
    // It begins while the server is away.
    taking.send(&["BLPOP", &format!("{tag}q"), "20"]);
    servers[0] = Redis::start_on(port, &[]);
    eventually("both wait at the new server", || blocked(&servers[0]) == 2);
    assert_eq!(other.call(&format!("XADD {tag}x 7-7 f v")), "$3\r\n7-7\r\n");
    assert!(reading.receive().contains("7-7"));
    assert_eq!(other.call(&format!("RPUSH {tag}q v")), ":1\r\n");
    assert!(taking.receive().ends_with("$1\r\nv\r\n"));
    // Without a hold the client is told at once.
    let (mut servers, proxy) = set_up("");
    let mut client = proxy.client();
    let tag = tags(&servers, &mut client).remove(0);
    servers[0].process.kill();
    assert_eq!(client.call(&format!("BLPOP {tag}q 0")), "-ERR Connection refused\r\n");
    assert_eq!(client.call(&format!("WATCH {tag}q")), "-ERR Connection refused\r\n");
}

#[test]
fn waiting_goes_on_at_the_new_primary() {
    let (a, b) = pair();
    let sentinel = Sentinel::start(a.port);
    let proxy = over_sentinel(&sentinel, "  failover_hold: 15000\n");
    let (mut waiting, mut limited, mut watching) = (proxy.client(), proxy.client(), proxy.client());
    assert_eq!(watching.call("WATCH k"), "+OK\r\n");
    waiting.send(&["BLPOP", "q", "0"]);
    limited.send(&["BLPOP", "q2", "4"]);
    let begun = Instant::now();
    eventually("they wait", || blocked(&a) == 2);
    // The primary is demoted, which lets those go who wait there.
    follow(&a, &b);
    assert!(!waiting.has_received() && !limited.has_received());
    sentinel.switch_to(b.port);
    eventually("they wait at the new primary", || blocked(&b) == 2);
    watching.play("> MULTI\n< +OK\n> SET k v\n< +QUEUED\n> EXEC\n< *-1");
    assert_eq!(b.client().call("RPUSH q v"), ":1\r\n");
    assert_eq!(waiting.receive(), "*2\r\n$1\r\nq\r\n$1\r\nv\r\n");
    assert_eq!(limited.receive(), "*-1\r\n");
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(8), "{took:?}");
    // The primary is replaced and does not know: those who wait there are asked back.
    waiting.send(&["BLPOP", "q", "0"]);
    eventually("it waits", || blocked(&b) == 1);
    assert_eq!(a.client().call("REPLICAOF NO ONE"), "+OK\r\n");
    sentinel.switch_to(a.port);
    eventually("it waits at the new primary", || blocked(&a) == 1 && blocked(&b) == 0);
    assert_eq!(watching.call("RPUSH q w"), ":1\r\n");
    assert_eq!(waiting.receive(), "*2\r\n$1\r\nq\r\n$1\r\nw\r\n");
}

#[test]
fn wait_counts_the_replicas_of_every_shard() {
    let (servers, proxy) = set_up("");
    let mut client = proxy.client();
    let tags = tags(&servers, &mut client);
    assert_eq!(client.call("WAIT 0 0"), ":0\r\n");
    let replica = Redis::start_on(
        redstart_tests::proxy_support::free_port(),
        &["--repl-diskless-sync-delay", "0"],
    );
    follow(&replica, &servers[0]);
    client.send_raw(
        format!("SET {0}k v\r\nSET {1}k v\r\nWAIT 1 50\r\nPING\r\n", tags[0], tags[1]).as_bytes(),
    );
    assert_eq!(client.receive(), "+OK\r\n");
    assert_eq!(client.receive(), "+OK\r\n");
    assert_eq!(client.receive(), ":0\r\n", "one shard has no replica");
    assert_eq!(client.receive(), "+PONG\r\n");
    // Whoever watches keys means their shard.
    assert_eq!(client.call(&format!("WATCH {}k", tags[0])), "+OK\r\n");
    assert_eq!(client.call(&format!("INCR {}", tags[0])), ":1\r\n");
    assert_eq!(client.call("WAIT 1 5000"), ":1\r\n");
    assert_eq!(replica.client().call(&format!("GET {}", tags[0])), "$1\r\n1\r\n");
    assert_eq!(client.call("UNWATCH"), "+OK\r\n");
    assert!(client.call("WAIT x 0").starts_with("-ERR value is not an integer"));
    // Who waits for ever is let go, or leaves.
    let id = client.call("CLIENT ID")[1..].trim().to_owned();
    client.send(&["WAIT", "5", "0"]);
    eventually("it waits", || blocked(&servers[1]) == 1);
    assert_eq!(proxy.client().call(&format!("CLIENT UNBLOCK {id} ERROR")), ":1\r\n");
    assert_eq!(client.receive(), "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    eventually("nobody waits", || servers.iter().all(|server| blocked(server) == 0));
    client.send(&["WAIT", "5", "0"]);
    eventually("it waits", || blocked(&servers[1]) == 1);
    drop(client);
    eventually("nobody waits", || servers.iter().all(|server| blocked(server) == 0));
}
