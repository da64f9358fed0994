//! Databases: SELECT, and what names another one, over servers of a pool.

use redstart_tests::proxy_support::{Client, Proxy, Redis, eventually};

fn line(client: &mut Client, words: &str) -> String {
    client.call(words).trim_end().replace("\r\n", " ")
}

fn expect(client: &mut Client, conversation: &[(&str, &str)]) {
    for (words, reply) in conversation {
        assert_eq!(line(client, words), *reply, "{words}");
    }
}

const OUT_OF_RANGE: &str = "-ERR DB index is out of range";

#[test]
fn each_client_has_its_database() {
    let servers: Vec<Redis> = (0..2).map(|_| Redis::start()).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let keys = "  hash_tag: \"{}\"\n  databases: 4\n";
    let proxy = Proxy::start(keys, &ports);
    let (mut one, mut zero, mut waiter) = (proxy.client(), proxy.client(), proxy.client());
    expect(
        &mut one,
        &[
            ("SELECT 4", OUT_OF_RANGE),
            ("SELECT -1", OUT_OF_RANGE),
            ("SELECT x", "-ERR value is not an integer or out of range"),
            ("SELECT 1", "+OK"),
            ("MSET a 1 b 2 c 3 d 4", "+OK"),
            ("MGET a b c d", "*4 $1 1 $1 2 $1 3 $1 4"),
            ("DBSIZE", ":4"),
            ("EVAL return(redis.call('get',KEYS[1])) 1 a", "$1 1"),
            ("CONFIG GET databases", "*2 $9 databases $1 4"),
        ],
    );
    expect(
        &mut zero,
        &[("GET a", "$-1"), ("DBSIZE", ":0"), ("SET a zero", "+OK"), ("KEYS *", "*1 $1 a")],
    );
    expect(
        &mut one,
        &[
            ("GET a", "$1 1"),
            ("MULTI", "+OK"),
            ("INCR a", "+QUEUED"),
            ("MOVE a 9", OUT_OF_RANGE),
            ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
            ("MULTI", "+OK"),
            ("INCR a", "+QUEUED"),
            ("COPY a {a}copy DB 2", "+QUEUED"),
            ("EXEC", "*2 :2 :1"),
            ("MOVE a 0", ":0"),
            ("MOVE b 0", ":1"),
            ("MOVE c 4", OUT_OF_RANGE),
            ("COPY c {c}copy DB 4", OUT_OF_RANGE),
            ("COPY c {c}copy", ":1"),
            (
                "SWAPDB 0 1",
                "-ERR SWAPDB is not supported over several servers, which would not swap at the same moment",
            ),
            // What is watched is watched in its database.
            ("WATCH a", "+OK"),
            ("SELECT 2", "-ERR SELECT between WATCH and MULTI is not supported through the proxy"),
            ("SELECT 1", "+OK"),
        ],
    );
    assert_eq!(line(&mut zero, "SET a other"), "+OK");
    expect(
        &mut one,
        &[("MULTI", "+OK"), ("INCR a", "+QUEUED"), ("EXEC", "*1 :3"), ("WATCH a", "+OK")],
    );
    expect(
        &mut zero,
        &[("GET b", "$1 2"), ("SELECT 1", "+OK"), ("SET a 5", "+OK"), ("SELECT 0", "+OK")],
    );
    expect(&mut one, &[("MULTI", "+OK"), ("INCR a", "+QUEUED"), ("EXEC", "*-1")]);
    // What is sent in one go runs in its order, whatever connections it goes on.
    one.send_raw(b"SET m x\r\nMOVE m 3\r\nSELECT 3\r\nGET m\r\nMOVE m 1\r\nSELECT 1\r\nGET m\r\n");
    for wanted in ["+OK", ":1", "+OK", "$1\r\nx", ":1", "+OK", "$1\r\nx"] {
        assert_eq!(one.receive().trim_end(), wanted);
    }
    // Who waits does so in its database.
    assert_eq!(line(&mut waiter, "SELECT 2"), "+OK");
    waiter.send(&["BLPOP", "queue", "0"]);
    eventually("it waits", || zero.call("INFO clients").contains("blocked_clients:1\r\n"));
    assert!(zero.call("CLIENT LIST").contains(" db=2 "));
    assert_eq!(line(&mut zero, "RPUSH queue wrong"), ":1");
    expect(&mut one, &[("SELECT 2", "+OK"), ("GET {a}copy", "$1 2"), ("RPUSH queue right", ":1")]);
    assert_eq!(waiter.receive(), "*2\r\n$5\r\nqueue\r\n$5\r\nright\r\n");
    // It is kept when connections are lost and opened again, and by the other protocol.
    for server in &servers {
        assert!(server.client().call("CLIENT KILL TYPE normal").starts_with(':'));
    }
    eventually("it is there", || line(&mut one, "GET {a}copy") == "$1 2");
    assert!(one.call("HELLO 3").starts_with("%7"));
    assert_eq!(line(&mut one, "GET {a}copy"), "$1 2");
    let mut seen = Vec::new();
    let mut cursor = "0".to_owned();
    loop {
        let reply = line(&mut one, &format!("SCAN {cursor}"));
        let words: Vec<&str> = reply.split(' ').collect();
        cursor = words[2].to_owned();
        seen.extend(words[4..].iter().skip(1).step_by(2).map(|word| (*word).to_owned()));
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen, ["{a}copy"]);
    expect(
        &mut one,
        &[("FLUSHDB", "+OK"), ("DBSIZE", ":0"), ("RESET", "+RESET"), ("GET b", "$1 2")],
    );
    expect(&mut zero, &[("FLUSHALL", "+OK"), ("SELECT 1", "+OK"), ("DBSIZE", ":0")]);
}

#[test]
fn databases_of_one_server_swap_and_one_that_lacks_them_says_so() {
    let server = Redis::start_on(redstart_tests::proxy_support::free_port(), &["--databases", "2"]);
    let keys = "  databases: 3\n  auto_eject_hosts: true\n  server_failure_limit: 1\n";
    let proxy = Proxy::start(keys, &[server.port]);
    let (mut client, mut monitor) = (proxy.client(), proxy.client());
    assert_eq!(line(&mut monitor, "MONITOR"), "+OK");
    expect(
        &mut client,
        &[
            ("SET k zero", "+OK"),
            ("SELECT 1", "+OK"),
            ("SET k one", "+OK"),
            ("SWAPDB 0 1", "+OK"),
            ("GET k", "$4 zero"),
            ("SWAPDB 0 3", OUT_OF_RANGE),
            ("SWAPDB x 3", "-ERR invalid first DB index"),
            ("SELECT 2", "+OK"),
        ],
    );
    let lacks = "the server has no database 2, which the pool has (databases)";
    eventually("it says so", || line(&mut client, "GET k") == format!("-ERR {lacks}"));
    assert_eq!(line(&mut client, "BLPOP k 1"), format!("-ERR {lacks}"));
    expect(&mut client, &[("SELECT 0", "+OK"), ("GET k", "$3 one")]);
    let first = monitor.receive();
    assert!(first.contains(" [0 127.0.0.1:"), "{first}");
    let second = monitor.receive();
    assert!(second.contains(" [0 127.0.0.1:") && second.contains("SELECT"), "{second}");
    let third = monitor.receive();
    assert!(third.contains(" [1 127.0.0.1:"), "{third}");
    // With one database there is no other to go to.
    let single = Proxy::start("", &[server.port]);
    expect(
        &mut single.client(),
        &[
            ("SELECT 1", OUT_OF_RANGE),
            ("MOVE k 1", OUT_OF_RANGE),
            ("COPY k l DB 1", OUT_OF_RANGE),
            ("COPY k l DB 0", ":1"),
            ("SWAPDB 0 0", "+OK"),
        ],
    );
}
