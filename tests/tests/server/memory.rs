//! What happens when memory runs out, at our server and at the original alike: writes refused, keys evicted, clients
//! that do not read let go.

use std::time::{Duration, Instant};

use redstart_common::resp::encode;
use redstart_tests::proxy_support::{Client, PATIENCE, eventually, within};
use redstart_tests::server_support::{Peer, Server, figure};

const REFUSED: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
/// What a limit may be passed by for a moment: the command that ran last, and the buffers of this test's clients.
const SLACK_BYTES: u64 = 512 << 10;

/// Sends many requests at once and gives their replies.
fn all(client: &mut Client, requests: impl Iterator<Item = Vec<String>>) -> Vec<String> {
    let mut bytes = Vec::new();
    let mut count = 0;
    for request in requests {
        encode::request(&mut bytes, request.iter().map(String::as_bytes));
        count += 1;
    }
    client.send_raw(&bytes);
    (0..count).map(|_| client.receive()).collect()
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// Sets the limit to what is in use now and so much more.
fn limit_to(client: &mut Client, more: i64) -> u64 {
    let limit = figure(client, "used_memory").checked_add_signed(more).expect("a limit");
    assert_eq!(client.call(&format!("CONFIG SET maxmemory {limit}")), "+OK\r\n");
    limit
}

#[test]
fn without_eviction_writes_are_refused_and_reads_are_not() {
    for peer in Peer::both(&[]) {
        let mut client = peer.client();
        assert_eq!(client.call("SET first x"), "+OK\r\n");
        limit_to(&mut client, 2 << 20);
        let value = "v".repeat(1000);
        let mut taken = 0;
        let refusal = loop {
            let reply = client.call(&format!("SET key:{taken} {value}"));
            if reply != "+OK\r\n" {
                break reply;
            }
            taken += 1;
        };
        assert_eq!(refusal, REFUSED, "{}", peer.name());
        // Two megabytes hold some two thousand values of a thousand bytes.
        assert!((1000..2500).contains(&taken), "{}: {taken} were taken", peer.name());
        // Further below, so that no buffer that is freed makes room.
        limit_to(&mut client, -300_000);
        client.play(
            "> GET first
             < $1
             < x
             > LPUSH list a
             < -OOM command not allowed when used memory > 'maxmemory'.
             > EXISTS list
             < :0
             > MULTI
             < +OK
             > SET second x
             < -OOM command not allowed when used memory > 'maxmemory'.
             > EXEC
             < -EXECABORT Transaction discarded because of previous errors.
             > EXPIRE first 1000
             < :1
             > DEL first
             < :1",
        );
        // What is freed may be written again.
        all(&mut client, (0..taken).map(|number| words(&format!("DEL key:{number}"))));
        eventually("writes are taken again", || client.call("SET second x") == "+OK\r\n");
        assert_eq!(figure(&mut client, "evicted_keys"), 0);
    }
}

/// Keys of three groups, restored with what eviction goes by.
struct Groups {
    /// How many there are of each.
    keep: usize,
    go: usize,
}

const GROUPS: Groups = Groups { keep: 500, go: 4000 };

impl Groups {
    /// Fills the server: `keep` and `go` are the ends of RESTORE, such as `IDLETIME 0`, or of EXPIRE.
    fn fill(&self, client: &mut Client, keep: &str, go: &str) {
        client.send(&["SET", "model", &"v".repeat(1000)]);
        assert_eq!(client.receive(), "+OK\r\n");
        client.send(&["DUMP", "model"]);
        let dumped = client.try_receive().expect("a payload");
        let start = dumped.iter().position(|byte| *byte == b'\n').expect("a length") + 1;
        let payload = &dumped[start..dumped.len() - 2];
        assert_eq!(client.call("DEL model"), ":1\r\n");
        let mut requests = Vec::new();
        for (name, count, end) in [("keep", self.keep, keep), ("go", self.go, go)] {
            let (ttl, end) = end.split_once(' ').unwrap_or((end, ""));
            for number in 0..count {
                let key = format!("{name}:{number}");
                let mut request: Vec<&[u8]> =
                    vec![b"RESTORE", key.as_bytes(), ttl.as_bytes(), payload];
                request.extend(end.split_whitespace().map(str::as_bytes));
                encode::request(&mut requests, request.into_iter());
            }
        }
        client.send_raw(&requests);
        for _ in 0..self.keep + self.go {
            assert_eq!(client.receive(), "+OK\r\n");
        }
    }

    /// How many of each are left.
    fn left(&self, client: &mut Client) -> (usize, usize) {
        let mut count = |name: &str, count: usize| {
            all(client, (0..count).map(|number| words(&format!("EXISTS {name}:{number}"))))
                .iter()
                .filter(|reply| *reply == ":1\r\n")
                .count()
        };
        (count("keep", self.keep), count("go", self.go))
    }
}

#[test]
fn eviction_takes_what_its_policy_names_and_keeps_the_limit() {
    // What is restored is the time to live, then idle seconds or a frequency.
    for (policy, keep, go) in [
        ("allkeys-lru", "0 IDLETIME 0", "0 IDLETIME 50000"),
        ("volatile-lru", "0 IDLETIME 90000", "9000000 IDLETIME 50000"),
        ("allkeys-lfu", "0 FREQ 200", "0 FREQ 1"),
        ("volatile-lfu", "0 FREQ 0", "9000000 FREQ 100"),
        ("volatile-ttl", "9000000", "1000000"),
        ("volatile-random", "0", "1000000"),
    ] {
        for peer in Peer::both(&["--maxmemory-policy", policy]) {
            let who = format!("{policy}, {}", peer.name());
            let mut client = peer.client();
            GROUPS.fill(&mut client, keep, go);
            // Half of those that are to go have to.
            let limit = limit_to(&mut client, -2_000_000);
            assert!(
                within(PATIENCE, || figure(&mut client, "used_memory") <= limit + SLACK_BYTES),
                "{who}: {} of {limit} bytes are in use",
                figure(&mut client, "used_memory")
            );
            // The replies of the count take memory themselves, so that it may go on meanwhile.
            let before = figure(&mut client, "evicted_keys") as usize;
            let (kept, left) = GROUPS.left(&mut client);
            let after = figure(&mut client, "evicted_keys") as usize;
            let gone = GROUPS.keep - kept + GROUPS.go - left;
            assert!((before..=after).contains(&gone), "{who}: {before} {gone} {after}");
            // The choice is made among a few keys at a time, so that a rare one may be wrong.
            assert!(kept + 5 >= GROUPS.keep, "{who}: {kept} of those to keep");
            assert!((500..3500).contains(&left), "{who}: {left} of those to go");

            // The limit holds under load, too.
            let value = "w".repeat(1000);
            for round in 0..8 {
                let end = if policy.starts_with("volatile") { " EX 1" } else { "" };
                let requests =
                    (0..500).map(|number| words(&format!("SET new:{round}:{number} {value}{end}")));
                let replies = all(&mut client, requests);
                assert!(replies.iter().all(|reply| reply == "+OK\r\n"), "{who}");
                let used = figure(&mut client, "used_memory");
                assert!(used <= limit + SLACK_BYTES, "{who}: {used} of {limit} bytes");
            }
        }
    }
}

#[test]
fn a_limit_far_below_is_reached_while_writes_are_taken() {
    for peer in Peer::both(&["--maxmemory-policy", "allkeys-random"]) {
        let mut client = peer.client();
        let value = "v".repeat(200);
        for part in 0..20 {
            let keys = part * 5000..(part + 1) * 5000;
            all(&mut client, keys.map(|number| words(&format!("SET key:{number} {value}"))));
        }
        let limit = limit_to(&mut client, -16_000_000);
        // It takes longer than one command may wait, but nobody is refused meanwhile.
        for number in 0..50 {
            assert_eq!(client.call(&format!("SET new:{number} x")), "+OK\r\n", "{}", peer.name());
        }
        assert!(
            within(PATIENCE, || figure(&mut client, "used_memory") <= limit + SLACK_BYTES),
            "{}: {} of {limit} bytes are in use",
            peer.name(),
            figure(&mut client, "used_memory")
        );
        let evicted = figure(&mut client, "evicted_keys");
        assert!((30_000..95_000).contains(&evicted), "{}: {evicted}", peer.name());
    }
}

#[test]
fn replies_that_were_sent_cost_no_keys() {
    let server = Server::start(&["--maxmemory-policy", "allkeys-lru"]);
    let mut client = server.client();
    let value = "v".repeat(1000);
    all(&mut client, (0..3000).map(|number| words(&format!("SET key:{number} {value}"))));
    let used = figure(&mut client, "used_memory");
    let many: Vec<String> = (0..100).map(|number| format!("key:{number}")).collect();
    let mut clients: Vec<Client> = (0..40).map(|_| server.client()).collect();
    for client in &mut clients {
        client.send(&[&["MGET".to_owned()][..], &many].concat());
    }
    for client in &mut clients {
        assert!(client.receive().starts_with("*100\r\n"));
    }
    // The replies took four megabytes, some of which are kept for the next ones.
    assert_eq!(client.call(&format!("CONFIG SET maxmemory {}", used + (1 << 20))), "+OK\r\n");
    assert_eq!(client.call("SET more x"), "+OK\r\n");
    let (evicted, keys) = (figure(&mut client, "evicted_keys"), client.call("DBSIZE"));
    assert_eq!((evicted, keys.as_str()), (0, ":3001\r\n"));
    eventually("they are given back", || figure(&mut client, "allocator_allocated") < 8 << 20);
}

#[test]
fn that_a_key_was_evicted_is_told_before_the_reply_to_the_command_that_made_room() {
    for peer in Peer::both(&[]) {
        let mut client = peer.client();
        client.call("HELLO 3");
        assert_eq!(client.call("CLIENT TRACKING ON"), "+OK\r\n");
        assert_eq!(client.call("CONFIG SET maxmemory-policy volatile-random"), "+OK\r\n");
        limit_to(&mut client, 200 << 10);
        assert_eq!(client.call("SETEX fleeting 1000 x"), "+OK\r\n");
        assert_eq!(client.call("GET fleeting"), "$1\r\nx\r\n");
        assert_eq!(client.call("SETBIT large 3200000 0"), ":0\r\n");
        let told = client.call("GETBIT large 0");
        assert_eq!(told, ">2\r\n$10\r\ninvalidate\r\n*1\r\n$8\r\nfleeting\r\n", "{}", peer.name());
        assert_eq!(client.receive(), ":0\r\n");
        assert_eq!(client.call("EXISTS fleeting large"), ":1\r\n");
    }
}

#[test]
fn transactions_are_refused_as_a_whole() {
    for peer in Peer::both(&[]) {
        let (mut client, mut other) = (peer.client(), peer.client());
        assert_eq!(client.call("SET first x"), "+OK\r\n");
        let aborted = format!("-EXECABORT Transaction discarded because of: {}", &REFUSED[1..]);
        let discarded = "-EXECABORT Transaction discarded because of previous errors.\r\n";
        let nothing = "*0\r\n";
        for (queued, then, outcome) in [
            ("GET first", "", "*1\r\n$1\r\nx\r\n"),
            ("SET first y", "", &aborted),
            // A queue that grows takes memory, whatever is in it.
            ("GET first", "GET first", discarded),
            ("", "", nothing),
        ] {
            assert_eq!(client.call("MULTI"), "+OK\r\n");
            if !queued.is_empty() {
                assert_eq!(client.call(queued), "+QUEUED\r\n");
            }
            assert_eq!(other.call("CONFIG SET maxmemory 1"), "+OK\r\n");
            if !then.is_empty() {
                assert_eq!(client.call(then), REFUSED, "{}", peer.name());
            }
            assert_eq!(client.call("EXEC"), outcome, "{queued} {then}, {}", peer.name());
            assert_eq!(other.call("CONFIG SET maxmemory 0"), "+OK\r\n");
        }
        assert_eq!(client.call("MULTI"), "+OK\r\n");
        assert_eq!(other.call("CONFIG SET maxmemory 1"), "+OK\r\n");
        assert_eq!(client.call("DISCARD"), "+OK\r\n");
        assert_eq!(client.call("GET first"), "$1\r\nx\r\n", "{}", peer.name());
    }
}

#[test]
fn with_nothing_to_evict_writes_are_refused() {
    for peer in Peer::both(&["--maxmemory-policy", "volatile-ttl"]) {
        let mut client = peer.client();
        let value = "v".repeat(1000);
        all(&mut client, (0..2000).map(|number| words(&format!("SET key:{number} {value}"))));
        limit_to(&mut client, -1_000_000);
        assert_eq!(client.call("SET more x"), REFUSED, "{}", peer.name());
        assert_eq!(client.call("DBSIZE"), ":2000\r\n");
        assert_eq!(figure(&mut client, "evicted_keys"), 0);
    }
}

fn frequency(client: &mut Client, key: &str) -> u64 {
    let reply = client.call(&format!("OBJECT FREQ {key}"));
    let number = reply.strip_prefix(':').and_then(|rest| rest.trim_end().parse().ok());
    number.unwrap_or_else(|| panic!("{reply}"))
}

#[test]
fn frequencies_grow_with_use_and_fall_with_time() {
    let peers = Peer::both(&["--maxmemory-policy", "allkeys-lfu"]);
    let mut replies = Vec::new();
    for peer in &peers {
        let mut client = peer.client();
        assert_eq!(client.call("SET k v"), "+OK\r\n");
        assert_eq!(frequency(&mut client, "k"), 5);
        all(&mut client, (0..1000).map(|_| words("GET k")));
        let grown = frequency(&mut client, "k");
        assert!((8..60).contains(&grown), "{}: {grown} after a thousand reads", peer.name());
        assert_eq!(client.call("CONFIG SET lfu-log-factor 0"), "+OK\r\n");
        all(&mut client, (0..20).map(|_| words("GET k")));
        // The minute may turn once in between.
        let more = frequency(&mut client, "k");
        assert!((grown + 19..=grown + 20).contains(&more), "{}: {grown}, {more}", peer.name());
        all(&mut client, (0..300).map(|_| words("GET k")));
        assert!(frequency(&mut client, "k") >= 254);
        let mut said = client.call("OBJECT IDLETIME k");
        assert_eq!(client.call("CONFIG SET maxmemory-policy allkeys-lru"), "+OK\r\n");
        said += &client.call("OBJECT FREQ k");
        assert!(said.contains("An LFU maxmemory policy is not selected"), "{said}");
        replies.push(said);
        assert_eq!(client.call("CONFIG SET maxmemory-policy allkeys-lfu"), "+OK\r\n");
    }
    assert_eq!(replies[0], replies[1]);
    // Frequencies fall by one with each minute of the wall clock, which turns within sixty seconds.
    let mut clients = peers.each_ref().map(Peer::client);
    let before = clients.each_mut().map(|client| {
        client.call("SET cold v");
        frequency(client, "cold")
    });
    for ((peer, client), before) in peers.iter().zip(&mut clients).zip(before) {
        assert!(
            within(Duration::from_secs(70), || frequency(client, "cold") < before),
            "{}: it does not fall",
            peer.name()
        );
    }
}

/// Listens to a channel and reads no more than that.
fn deaf_listener(peer: &Peer) -> Client {
    let mut listener = peer.client();
    listener.send(&["SUBSCRIBE", "news"]);
    assert!(listener.receive().starts_with("*3\r\n$9\r\nsubscribe\r\n"));
    listener
}

fn listeners(client: &mut Client) -> bool {
    client.call("PUBSUB NUMSUB news") == "*2\r\n$4\r\nnews\r\n:1\r\n"
}

/// Bytes that wait for the listener, by CLIENT LIST.
fn waiting_bytes(client: &mut Client) -> u64 {
    let list = client.call("CLIENT LIST TYPE pubsub");
    let figure = list.split(' ').find_map(|field| field.strip_prefix("omem="));
    figure.map_or(0, |bytes| bytes.parse().expect("a number"))
}

#[test]
fn a_listener_that_does_not_read_is_let_go_at_the_hard_limit() {
    for peer in Peer::both(&[]) {
        let mut publisher = peer.client();
        publisher.send(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0"]);
        assert_eq!(publisher.receive(), "+OK\r\n");
        let _deaf = deaf_listener(&peer);
        let mut hearing = peer.client();
        hearing.send(&["SUBSCRIBE", "other"]);
        hearing.receive();
        let news = "n".repeat(100_000);
        let before = peer.resident_bytes();
        // The kernel takes some of it before the server has to keep any.
        let mut sent = 0;
        while listeners(&mut publisher) {
            sent += 1;
            assert!(sent < 400, "{}: still there after {sent} messages", peer.name());
            publisher.send(&["PUBLISH", "news", &news]);
            publisher.receive();
        }
        assert!(sent > 10, "{}: gone after {sent} messages", peer.name());
        let grown = peer.resident_bytes().saturating_sub(before);
        assert!(grown < 32 << 20, "{}: {grown} bytes for one listener", peer.name());
        // Others hear on.
        assert_eq!(publisher.call("PUBLISH other x"), ":1\r\n");
        assert!(hearing.receive().starts_with("*3\r\n$7\r\nmessage\r\n"));
    }
}

#[test]
fn a_listener_that_stays_over_the_soft_limit_is_let_go() {
    for peer in Peer::both(&[]) {
        let mut publisher = peer.client();
        publisher.send(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 256kb 1"]);
        assert_eq!(publisher.receive(), "+OK\r\n");
        let _deaf = deaf_listener(&peer);
        let news = "n".repeat(50_000);
        let mut sent = 0;
        while waiting_bytes(&mut publisher) < 300_000 {
            sent += 1;
            assert!(sent < 800 && listeners(&mut publisher), "{}: {sent}", peer.name());
            publisher.send(&["PUBLISH", "news", &news]);
            publisher.receive();
        }
        let over = Instant::now();
        assert!(listeners(&mut publisher), "{}: it has a second", peer.name());
        assert!(
            within(PATIENCE, || {
                publisher.call("PUBLISH news x");
                !listeners(&mut publisher)
            }),
            "{}: it stays",
            peer.name()
        );
        assert!(over.elapsed() > Duration::from_millis(900), "{}", peer.name());
    }
}

#[test]
fn a_listener_that_reads_in_time_stays() {
    for peer in Peer::both(&[]) {
        let mut publisher = peer.client();
        publisher.send(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 256kb 1"]);
        assert_eq!(publisher.receive(), "+OK\r\n");
        let mut slow = deaf_listener(&peer);
        let news = "n".repeat(50_000);
        let mut sent = 0;
        for _ in 0..2 {
            while waiting_bytes(&mut publisher) < 300_000 {
                sent += 1;
                assert!(sent < 1600, "{}", peer.name());
                publisher.send(&["PUBLISH", "news", &news]);
                publisher.receive();
            }
            while sent > 0 {
                assert!(slow.receive().starts_with("*3\r\n$7\r\nmessage\r\n"), "{}", peer.name());
                sent -= 1;
            }
            eventually("nothing waits", || waiting_bytes(&mut publisher) == 0);
        }
        // More than the soft limit's second has to pass with the listener under it.
        let start = Instant::now();
        assert!(within(PATIENCE, || start.elapsed() > Duration::from_millis(1500)));
        assert!(listeners(&mut publisher), "{}: it read in time", peer.name());
    }
}

#[test]
fn an_idle_server_gives_back_what_it_does_not_use() {
    let server = Server::start(&[]);
    let mut client = server.client();
    assert!(client.call("CONFIG GET jemalloc-bg-thread").ends_with("$3\r\nyes\r\n"));
    let empty = server.process.resident_bytes();
    let value = "v".repeat(40_000);
    all(&mut client, (0..2000).map(|number| words(&format!("SET key:{number} {value}"))));
    let full = server.process.resident_bytes();
    assert!(full > empty + (60 << 20), "{empty} bytes grew only to {full}");
    assert_eq!(client.call("FLUSHALL"), "+OK\r\n");
    // Its allocator keeps what is free for ten seconds, and nobody asks for anything meanwhile.
    let given_back =
        within(Duration::from_secs(60), || server.process.resident_bytes() < empty + (20 << 20));
    assert!(given_back, "{} of {full} bytes are still held", server.process.resident_bytes());
}

#[test]
fn a_key_is_measured_by_as_many_samples_as_asked_for() {
    for peer in Peer::both(&[]) {
        let mut client = peer.client();
        let long = "x".repeat(10_000);
        for at in 0..300 {
            // One in a hundred is long.
            let tail = if at % 100 == 99 { &long } else { "short" };
            for request in [
                format!("RPUSH list {at}{tail}"),
                format!("HSET hash {at} {tail}"),
                format!("SADD set {at}{tail}"),
                format!("ZADD zset {at} {at}{tail}"),
            ] {
                assert!(client.call(&request).starts_with(':'));
            }
        }
        let mut usage = |request: &str| -> u64 {
            let reply = client.call(&format!("MEMORY USAGE {request}"));
            reply.trim_start_matches(':').trim_end().parse().expect("a number")
        };
        for key in ["list", "hash", "set", "zset"] {
            let whole = usage(&format!("{key} SAMPLES 0"));
            assert!((30_000..100_000).contains(&whole), "{} {key}: {whole}", peer.name());
            let beyond = usage(&format!("{key} SAMPLES 100000"));
            // What one of many samples comes to is rounded.
            assert!(whole.abs_diff(beyond) <= 1000, "{} {key}: {beyond}", peer.name());
            assert_eq!(usage(key), usage(&format!("{key} SAMPLES 5")), "{} {key}", peer.name());
        }
        for wrong in ["hash SAMPLES", "hash SAMPLES -1", "hash 5"] {
            let reply = client.call(&format!("MEMORY USAGE {wrong}"));
            assert_eq!(reply, "-ERR syntax error\r\n", "{} {wrong}", peer.name());
        }
        let reply = client.call("MEMORY USAGE hash SAMPLES x");
        assert_eq!(reply, "-ERR value is not an integer or out of range\r\n", "{}", peer.name());
        assert_eq!(client.call("MEMORY USAGE none"), "$-1\r\n");
    }
}

#[test]
fn a_large_key_is_not_measured_whole_unless_asked() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let member =
        |at: usize| format!("{at:06}{}", if at < 5 { "" } else { "yyyyyyyyyyyyyyyyyyyyyyyy" });
    all(&mut client, (0..5000).map(|at| words(&format!("ZADD large {at} {}", member(at)))));
    let mut usage = |samples: &str| -> u64 {
        let reply = client.call(&format!("MEMORY USAGE large SAMPLES {samples}"));
        reply.trim_start_matches(':').trim_end().parse().expect("a number")
    };
    let whole = usage("0");
    assert_eq!(usage("1000000"), whole);
    for samples in ["1", "5", "100"] {
        let told = usage(samples);
        assert!(told.abs_diff(whole) < whole / 3, "{samples}: {told} of {whole}");
    }
}
