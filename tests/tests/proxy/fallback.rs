//! `read_fallback`: what a new server of the ring lacks is found where it was, and brought to it.

use redstart_tests::proxy_support::{Client, Proxy, Redis, eventually};

fn line(client: &mut Client, words: &str) -> String {
    client.call(words).trim_end().replace("\r\n", " ")
}

#[test]
fn a_server_that_joins_is_filled_by_what_is_read() {
    let servers: Vec<Redis> = (0..3).map(|_| Redis::start()).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let before = Proxy::start("  hash: murmur\n", &ports[..2]);
    let after = Proxy::start("  hash: murmur\n  read_fallback: 1\n", &ports);
    let (mut old, mut new) = (before.client(), after.client());
    for number in 0..60 {
        for words in [
            format!("SET string{number} {number}"),
            format!("HSET hash{number} field {number}"),
            format!("SADD set{number} {number}"),
            format!("PEXPIRE string{number} 100000"),
        ] {
            assert!(!old.call(&words).starts_with('-'));
        }
    }
    let large = "x".repeat(100_000);
    for number in 0..6 {
        assert_eq!(old.call(&format!("SET large{number} {large}")), "+OK\r\n");
    }
    let mut third = servers[2].client();
    assert_eq!(third.call("DBSIZE"), ":0\r\n");
    // What is sent behind a read that takes another way is answered behind it.
    for number in 0..60 {
        new.send_raw(
            format!(
                "GET string{number}\r\nPING\r\nHGETALL hash{number}\r\nSMEMBERS set{number}\r\n"
            )
            .as_bytes(),
        );
        let text = number.to_string();
        let bulk = format!("${}\r\n{text}\r\n", text.len());
        assert_eq!(new.receive(), bulk);
        assert_eq!(new.receive(), "+PONG\r\n");
        assert_eq!(new.receive(), format!("*2\r\n$5\r\nfield\r\n{bulk}"));
        assert_eq!(new.receive(), format!("*1\r\n{bulk}"));
    }
    for number in 0..6 {
        assert_eq!(new.call(&format!("GET large{number}")), format!("$100000\r\n{large}\r\n"));
    }
    let fact = |client: &mut Client, name: &str| -> u64 {
        let info = client.call("INFO pool");
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|text| text.parse().ok()).expect("a number")
    };
    let hits = fact(&mut new, "fallback_hits");
    assert!(hits > 20 && fact(&mut new, "fallback_reads") == hits, "{hits}");
    // All of it is where it belongs now, with the time it has left.
    eventually("it is brought home", || third.call("DBSIZE") == format!(":{hits}\r\n"));
    let keys = third.call("KEYS string*");
    let some = keys.lines().nth(2).expect("a key").to_owned();
    let left: i64 = third.call(&format!("PTTL {some}"))[1..].trim().parse().expect("a number");
    assert!(left > 50_000 && left <= 100_000, "{left}");
    assert_eq!(line(&mut new, &format!("TYPE {some}")), "+string");
    let again = fact(&mut new, "fallback_reads");
    // What was written since is not overwritten, and what is nowhere is missed.
    assert_eq!(line(&mut new, &format!("SET {some} new")), "+OK");
    assert_eq!(line(&mut new, &format!("GET {some}")), "$3 new");
    assert_eq!(fact(&mut new, "fallback_reads"), again);
    assert_eq!(line(&mut new, "GET nowhere"), "$-1");
    assert_eq!(line(&mut new, "TTL nowhere"), ":-2");
    assert_eq!(fact(&mut new, "fallback_reads"), again + 2);
    // Where the other is down, the miss is the answer.
    drop(servers);
    eventually("nobody is there", || new.call("GET nowhere").starts_with("-ERR "));
}
