//! Commands that came after Redis 7.0.15. No server of the distribution has them, so what is expected stands here, from the
//! documentation of those that made them.

mod clients;
mod collections;
mod streams;
mod strings;

use redstart_tests::proxy_support::{Client, eventually};
use redstart_tests::server_support::Server;

/// Requests and what they answer, as one line.
pub fn expect(client: &mut Client, conversation: &[(&str, &str)]) {
    for (words, reply) in conversation {
        assert_eq!(client.call(words).trim_end().replace("\r\n", " "), *reply, "{words}");
    }
}

#[test]
fn what_is_repeated_is_known_to_older_servers() {
    let primary = Server::start(&["--repl-diskless-sync-delay", "0"]);
    let replica = redstart_tests::proxy_support::Redis::start();
    let mut first = Client::connect(primary.port);
    let mut second = Client::connect(replica.port);
    let follower = Server::start(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    let mut third = Client::connect(follower.port);
    second.call(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    eventually("they are linked", || {
        second.call("INFO replication").contains("master_link_status:up")
    });
    for words in [
        "SET k v IFNE x",
        "SET k w IFEQ v GET",
        "SET k x IFEQ w EX 1000",
        "SET k y IFEQ x KEEPTTL",
        "MSETEX 2 a 1 b 2 PXAT 9999999999999",
        "MSETEX 2 a 3 b 4 KEEPTTL",
        "MSETEX 1 c 5",
        "INCREX c BYINT 3",
        "INCREX c BYINT 3 EX 100 ENX",
        "INCREX f BYFLOAT 0.1",
        "SET gone x",
        "DELEX gone IFEQ x",
        "SET gone2 x",
        "DELIFEQ gone2 x",
        "ZADD z1 1 a 2 b",
        "ZADD z2 5 b 7 c",
        "ZUNIONSTORE union 2 z1 z2 AGGREGATE COUNT",
        "ZINTERSTORE inter 2 z1 z2 WEIGHTS 0.5 -inf AGGREGATE count",
        "GEOADD places 0 0 in 10 10 out 1 1 in2",
        "GEOSEARCHSTORE found places BYPOLYGON 4 -1 -1 2 -1 2 2 -1 2",
        "GEOSEARCHSTORE gone3 places BYPOLYGON 3 50 50 51 50 51 51",
        "HSETEX h NX FNX FIELDS 1 f v",
        "HSETEX h EX 100 FIELDS 2 g w h w",
        "HSETEX h KEEPTTL FIELDS 2 g x n y",
    ] {
        assert!(!first.call(words).starts_with('-'), "{words}");
    }
    for read in ["DBSIZE", "MGET k a b c f", "PEXPIRETIME k", "PEXPIRETIME a", "PEXPIRETIME c"] {
        eventually(read, || first.call(read) == second.call(read));
    }
    for (read, answer) in [
        ("ZRANGE union 0 -1 WITHSCORES", "*6 $1 a $1 1 $1 c $1 1 $1 b $1 2"),
        ("ZRANGE inter 0 -1 WITHSCORES", "*2 $1 b $4 -inf"),
        ("ZRANGE found 0 -1", "*2 $2 in $3 in2"),
        ("EXISTS gone3", ":0"),
        ("HGETALL h", "*8 $1 f $1 v $1 g $1 x $1 h $1 w $1 n $1 y"),
    ] {
        expect(&mut first, &[(read, answer)]);
        expect(&mut second, &[(read, answer)]);
    }
    let deadlines = first.call("HPEXPIRETIME h FIELDS 4 f g h n");
    assert!(deadlines.starts_with("*4\r\n:-1\r\n:1"), "{deadlines}");
    eventually("one of ours knows the deadlines", || {
        third.call("HPEXPIRETIME h FIELDS 4 f g h n") == deadlines
    });
    assert!(second.call("INFO replication").contains("master_link_status:up"));
}

#[test]
fn options_that_came_later() {
    let server = Server::start(&[
        "--save",
        "",
        "--rdb-key-save-delay",
        "1000000",
        "--enable-debug-command",
        "yes",
    ]);
    let mut client = Client::connect(server.port);
    expect(
        &mut client,
        &[
            ("ZADD z1 1 a 2 b", ":2"),
            ("SADD s b c", ":2"),
            ("ZUNION 2 z1 s AGGREGATE COUNT WITHSCORES", "*6 $1 a $1 1 $1 c $1 1 $1 b $1 2"),
            (
                "ZUNION 2 z1 s WEIGHTS 10 3 AGGREGATE COUNT WITHSCORES",
                "*6 $1 c $1 3 $1 a $2 10 $1 b $2 13",
            ),
            (
                "ZUNION 2 z1 s WEIGHTS inf -inf AGGREGATE COUNT WITHSCORES",
                "*6 $1 c $4 -inf $1 b $1 0 $1 a $3 inf",
            ),
            ("ZINTER 2 z1 s AGGREGATE COUNT WITHSCORES", "*2 $1 b $1 2"),
            ("ZINTER 2 z1 s AGGREGATE NUMBER", "-ERR syntax error"),
            ("GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania", ":2"),
            ("GEOSEARCH g BYPOLYGON 3 13 38 14 38 13.5 39", "*1 $7 Palermo"),
            (
                "GEOSEARCH g BYPOLYGON 4 13 37 16 37 16 39 13 39 ASC WITHDIST",
                "*2 *2 $7 Catania $10 76454.0837 *2 $7 Palermo $11 100405.5658",
            ),
            ("GEOSEARCH none BYPOLYGON 3 13 38 14 38 13.5 39", "*0"),
            (
                "GEOSEARCH g BYPOLYGON 2 13 38 14 38",
                "-ERR GEOSEARCH BYPOLYGON must have at least 3 vertices",
            ),
            (
                "GEOSEARCH g BYPOLYGON 4 13 38 14 38 13.5 39",
                "-ERR GEOSEARCH BYPOLYGON must have at least 3 vertices",
            ),
            ("GEOSEARCH g BYPOLYGON x 13 38 14 38 13.5 39", "-ERR invalid number of vertices"),
            (
                "GEOSEARCH g BYPOLYGON 3 13 38 14 38 13.5 99",
                "-ERR invalid longitude,latitude pair 13.500000,99.000000",
            ),
            ("GEOSEARCH g FROMMEMBER Palermo BYPOLYGON 3 13 38 14 38 13.5 39", "-ERR syntax error"),
            ("GEOSEARCH g BYPOLYGON 3 13 38 14 38 13.5 39 FROMLONLAT 1 1", "-ERR syntax error"),
            ("GEOSEARCH g BYPOLYGON 3 13 38 14 38 13.5 39 BYRADIUS 1 km", "-ERR syntax error"),
            ("GEORADIUS g 1 1 1 km BYPOLYGON 3 13 38 14 38 13.5 39", "-ERR syntax error"),
            (
                "SCRIPT SHOW e0e1f9fabfc9d4800c877a703b823ac0578ff8db",
                "-NOSCRIPT No matching script. Please use EVAL.",
            ),
            ("SCRIPT SHOW what", "-NOSCRIPT No matching script. Please use EVAL."),
            ("EVAL return(1) 0", ":1"),
            (
                "SCRIPT SHOW 80bd3ce85ab5eac3a1c7b3eee1ef0f4b7e2d4b6f",
                "-NOSCRIPT No matching script. Please use EVAL.",
            ),
            ("BGSAVE CANCEL", "-ERR Background saving is currently not in progress or scheduled"),
            ("BGSAVE", "+Background saving started"),
            ("BGSAVE CANCEL", "+Background saving cancelled"),
            ("BGREWRITEAOF", "+Background append only file rewriting started"),
            ("BGSAVE SCHEDULE", "+Background saving scheduled"),
            ("BGSAVE CANCEL", "+Scheduled background saving cancelled"),
            (
                "CLUSTER SLOT-STATS SLOTSRANGE 0 1",
                "-ERR This instance has cluster support disabled",
            ),
        ],
    );
    assert!(client.call("INFO persistence").contains("rdb_last_bgsave_status:ok"));
    for (command, key) in [("SADD", "names"), ("HSET", "fields"), ("ZADD", "scored")] {
        let mut words = vec![command.to_owned(), key.to_owned()];
        for number in 0..1000 {
            let pair = [number.to_string(), format!("member:{number}")];
            words.extend(pair.into_iter().skip(usize::from(command == "SADD")));
        }
        client.send(&words);
        assert_eq!(client.receive(), ":1000\r\n");
        let told = client.call(&format!("DEBUG HTSTATS-KEY {key}"));
        assert!(told.contains("Hash table 0 stats (main hash table):\n table size: "), "{told}");
        assert!(told.contains("\n number of elements: 1000\n"), "{told}");
    }
    assert!(!client.call("INFO server").contains("availability_zone"));
    expect(
        &mut client,
        &[
            ("CONFIG SET availability-zone here maxmemory-policy allkeys-lrm", "+OK"),
            ("CONFIG GET maxmemory-policy", "*2 $16 maxmemory-policy $11 allkeys-lrm"),
        ],
    );
    assert!(client.call("INFO server").contains("\r\navailability_zone:here\r\n"));
    let hello = client.call("HELLO");
    assert!(
        hello.starts_with("*16\r\n") && hello.contains("availability_zone\r\n$4\r\nhere\r\n"),
        "{hello}"
    );
    let sha = client.call("SCRIPT LOAD return(1)");
    let sha = sha.lines().nth(1).expect("a sum").to_owned();
    expect(&mut client, &[(&*format!("SCRIPT SHOW {}", sha.to_uppercase()), "$9 return(1)")]);
}

#[test]
fn scripts_find_redis_by_valkeys_name_too() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for (words, reply) in [
        (&["EVAL", "return server.call('incr', KEYS[1])", "1", "k"][..], ":1\r\n"),
        (&["EVAL", "return server == redis and 1 or 0", "0"], ":1\r\n"),
        (
            &[
                "FUNCTION",
                "LOAD",
                "#!lua name=l\nserver.register_function('f', function() return server.call('incr', 'k') end)",
            ],
            "$1\r\nl\r\n",
        ),
        (&["FCALL", "f", "0"], ":2\r\n"),
    ] {
        client.send(words);
        assert_eq!(client.receive(), reply, "{words:?}");
    }
}
