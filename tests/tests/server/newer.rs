//! Commands that came after Redis 7.0.15. No server of the distribution has them, so what is expected stands here, from the
//! documentation of those that made them.

use redstart_tests::proxy_support::{Client, eventually};
use redstart_tests::server_support::Server;

/// Requests and what they answer, as one line.
pub fn expect(client: &mut Client, conversation: &[(&str, &str)]) {
    for (words, reply) in conversation {
        assert_eq!(client.call(words).trim_end().replace("\r\n", " "), *reply, "{words}");
    }
}

#[test]
fn strings_on_a_condition() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.port);
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    expect(
        &mut client,
        &[
            ("SET k v1 IFEQ x", "$-1"),
            ("EXISTS k", ":0"),
            ("SET k v1 IFNE x", "+OK"),
            ("SET k v2 IFEQ x", "$-1"),
            ("SET k v2 IFEQ v1 EX 100", "+OK"),
            ("SET k v3 IFNE v2", "$-1"),
            ("SET k v3 IFEQ v2 GET KEEPTTL", "$2 v2"),
            ("TTL k", ":100"),
            ("SET k v4 GET IFEQ nope", "$2 v3"),
            ("GET k", "$2 v3"),
            ("SET k v5 IFEQ v3 NX", "-ERR syntax error"),
            ("SET k v5 XX IFEQ v3", "-ERR syntax error"),
            ("SET k v5 IFEQ v3 IFEQ v3", "-ERR syntax error"),
            ("SET k v5 IFEQ", "-ERR syntax error"),
            ("DIGEST none", "$-1"),
            ("SET n 12345", "+OK"),
            ("SET n 6 IFDEQ 0000000000000000", "$-1"),
            ("SET n 6 IFDNE 0000000000000000", "+OK"),
            ("SET n 7 IFDEQ 12", "-ERR must be exactly 16 hexadecimal characters"),
            ("DELEX n IFEQ 7", ":0"),
            ("DELEX n IFNE 6", ":0"),
            ("DELEX n IFEQ 6", ":1"),
            ("DELEX n IFEQ 6", ":0"),
            ("DELEX n IFNE 6", ":0"),
            ("DELEX k", ":1"),
            ("SET lock token", "+OK"),
            ("DELIFEQ lock other", ":0"),
            ("DELIFEQ lock token", ":1"),
            ("DELIFEQ lock token", ":0"),
            ("RPUSH l 1", ":1"),
            ("SET l x IFEQ 1", wrong),
            ("DELIFEQ l 1", wrong),
            ("DELEX l IFEQ 1", wrong),
            ("DIGEST l", wrong),
            ("DELEX l FOO 1", "-ERR syntax error"),
            ("DELEX l IFEQ", "-ERR syntax error"),
            ("DELEX l", ":1"),
        ],
    );
    // A vector of the algorithm: the empty text.
    client.send(&["SET", "empty", ""]);
    assert_eq!(client.receive(), "+OK\r\n");
    expect(
        &mut client,
        &[
            ("DIGEST empty", "$16 2d06800538d394c2"),
            ("SET empty full IFDEQ 2D06800538D394C2", "+OK"),
            ("GET empty", "$4 full"),
        ],
    );
}

#[test]
fn several_strings_at_once() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.port);
    expect(
        &mut client,
        &[
            ("MSETEX 2 a 1 b 2 EX 100", ":1"),
            ("MGET a b", "*2 $1 1 $1 2"),
            ("TTL b", ":100"),
            ("MSETEX 2 b x c x NX", ":0"),
            ("MSETEX 2 b x c x XX", ":0"),
            ("MSETEX 2 a 3 b 4 XX KEEPTTL", ":1"),
            ("TTL a", ":100"),
            ("MSETEX 1 a 5", ":1"),
            ("TTL a", ":-1"),
            ("MSETEX 2 c 6 d 7 NX PXAT 9999999999999", ":1"),
            ("PEXPIRETIME d", ":9999999999999"),
            ("MSETEX 0 a 1", "-ERR invalid numkeys value"),
            ("MSETEX x a 1", "-ERR invalid numkeys value"),
            ("MSETEX 2 a 1 b", "-ERR wrong number of key-value pairs"),
            ("MSETEX 1 a 1 NX XX", "-ERR syntax error"),
            ("MSETEX 1 a 1 EX 1 KEEPTTL", "-ERR syntax error"),
            ("MSETEX 1 a 1 EX 0", "-ERR invalid expire time in 'msetex' command"),
            ("COMMAND GETKEYS MSETEX 2 a 1 b 2 EX 100", "*2 $1 a $1 b"),
            ("MGET a b c d", "*4 $1 5 $1 4 $1 6 $1 7"),
        ],
    );
}

#[test]
fn counters_with_bounds() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.port);
    expect(
        &mut client,
        &[
            ("INCREX c", "*2 :1 :1"),
            ("INCREX c BYINT 5 EX 100", "*2 :6 :5"),
            ("TTL c", ":100"),
            ("INCREX c EX 500 ENX", "*2 :7 :1"),
            ("TTL c", ":100"),
            ("INCREX c BYINT 10 UBOUND 10", "*2 :7 :0"),
            ("INCREX c BYINT 10 UBOUND 10 SATURATE PERSIST", "*2 :10 :3"),
            ("TTL c", ":-1"),
            ("INCREX c BYINT -20 LBOUND 0 SATURATE", "*2 :0 :-10"),
            ("INCREX new UBOUND 0 EX 10", "*2 :0 :0"),
            ("EXISTS new", ":0"),
            ("SET m 9223372036854775806", "+OK"),
            ("INCREX m BYINT 5", "*2 :9223372036854775806 :0"),
            ("INCREX m BYINT 5 SATURATE", "*2 :9223372036854775807 :1"),
            ("INCREX f BYFLOAT 1.5", "*2 $3 1.5 $3 1.5"),
            ("INCREX f BYFLOAT 1.5 UBOUND 2.25 SATURATE", "*2 $4 2.25 $4 0.75"),
            ("INCREX f", "-ERR value is not an integer or out of range"),
            ("INCREX c XX", "*2 :1 :1"),
            ("INCREX c NX", "*2 :1 :0"),
            ("INCREX c ENX", "-ERR syntax error"),
            ("INCREX c BYINT 1 BYFLOAT 1", "-ERR syntax error"),
            ("INCREX c LBOUND 5 UBOUND 1", "-ERR LBOUND can't be greater than UBOUND"),
            ("INCREX c UBOUND 1.5", "-ERR value is not an integer or out of range"),
        ],
    );
    client.call("HELLO 3");
    expect(&mut client, &[("INCREX f BYFLOAT -0.25", "*2 ,2 ,-0.25")]);
}

#[test]
fn collections() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.port);
    expect(
        &mut client,
        &[
            ("ZADD z 1 a 2.5 b", ":2"),
            ("ZRANK z b WITHSCORE", "*2 :1 $3 2.5"),
            ("ZREVRANK z b withscore", "*2 :0 $3 2.5"),
            ("ZRANK z b", ":1"),
            ("ZRANK z x WITHSCORE", "*-1"),
            ("ZRANK z x", "$-1"),
            ("ZRANK none x WITHSCORE", "*-1"),
            ("ZRANK z a WITHSCORES", "-ERR wrong number of arguments for 'zrank' command"),
            ("ZRANK z a WITHSCORE x", "-ERR wrong number of arguments for 'zrank' command"),
            ("ZSCAN z 0 NOSCORES", "*2 $1 0 *2 $1 a $1 b"),
            ("HSET h f1 v1 f2 v2", ":2"),
            ("HSCAN h 0 NOVALUES", "*2 $1 0 *2 $2 f1 $2 f2"),
            ("HSCAN h 0 MATCH f1 NOVALUES COUNT 10", "*2 $1 0 *1 $2 f1"),
            ("HSCAN h 0 NOSCORES", "-ERR syntax error"),
            ("SADD s1 a b c 1", ":4"),
            ("SADD s2 c d 1 2", ":4"),
            ("SUNIONCARD 2 s1 s2", ":6"),
            ("SUNIONCARD 3 s1 s2 none LIMIT 5", ":5"),
            ("SUNIONCARD 2 s1 s2 APPROX", ":6"),
            ("SUNIONCARD 2 s1 s2 LIMIT 4 APPROX", ":4"),
            ("SUNIONCARD 1 s1 LIMIT 2", ":2"),
            ("SDIFFCARD 2 s1 s2", ":2"),
            ("SDIFFCARD 2 s1 s2 LIMIT 1", ":1"),
            ("SDIFFCARD 2 s1 s1", ":0"),
            ("SDIFFCARD 2 none s1", ":0"),
            ("SDIFFCARD 1 s1 LIMIT 0", ":4"),
            ("SDIFFCARD 2 s1 s2 APPROX", "-ERR syntax error"),
            ("SUNIONCARD 0 s1", "-ERR numkeys should be greater than 0"),
            ("SUNIONCARD 3 s1 s2", "-ERR Number of keys can't be greater than number of args"),
            (
                "SUNIONCARD 1 z",
                "-WRONGTYPE Operation against a key holding the wrong kind of value",
            ),
            ("SETBIT x 0 1", ":0"),
            ("SETBIT x 1 1", ":0"),
            ("SETBIT y 1 1", ":0"),
            ("SETBIT y 2 1", ":0"),
            ("SETBIT w 2 1", ":0"),
            ("SETBIT w 9 1", ":0"),
            ("BITOP DIFF d x y w", ":2"),
            ("BITFIELD d GET u16 0", "*1 :32768"),
            ("BITOP DIFF1 d x y w", ":2"),
            ("BITFIELD d GET u16 0", "*1 :8256"),
            ("BITOP ANDOR d x y w", ":2"),
            ("BITFIELD d GET u16 0", "*1 :16384"),
            ("BITOP ONE d x y w", ":2"),
            ("BITFIELD d GET u16 0", "*1 :32832"),
            ("BITOP ONE d x", ":1"),
            ("BITOP diff d x", "-ERR BITOP DIFF must be called with at least two source keys."),
        ],
    );
}

#[test]
fn many_elements_move_between_lists() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.port);
    let refill = "DEL src dst";
    for (words, reply, left, there) in [
        ("LMOVEM src dst LEFT RIGHT", "*1 $1 a", "*3 $1 b $1 c $1 d", "*2 $1 x $1 a"),
        (
            "LMOVEM src dst LEFT RIGHT COUNT 2 BULK",
            "*2 $1 a $1 b",
            "*2 $1 c $1 d",
            "*3 $1 x $1 a $1 b",
        ),
        (
            "LMOVEM src dst LEFT RIGHT COUNT 2 OBO",
            "*2 $1 a $1 b",
            "*2 $1 c $1 d",
            "*3 $1 x $1 a $1 b",
        ),
        (
            "LMOVEM src dst LEFT LEFT COUNT 2 BULK",
            "*2 $1 a $1 b",
            "*2 $1 c $1 d",
            "*3 $1 a $1 b $1 x",
        ),
        (
            "LMOVEM src dst LEFT LEFT COUNT 2 OBO",
            "*2 $1 b $1 a",
            "*2 $1 c $1 d",
            "*3 $1 b $1 a $1 x",
        ),
        (
            "LMOVEM src dst RIGHT LEFT COUNT 2 OBO",
            "*2 $1 c $1 d",
            "*2 $1 a $1 b",
            "*3 $1 c $1 d $1 x",
        ),
        (
            "LMOVEM src dst RIGHT RIGHT COUNT 2 OBO",
            "*2 $1 d $1 c",
            "*2 $1 a $1 b",
            "*3 $1 x $1 d $1 c",
        ),
        (
            "LMOVEM src dst RIGHT RIGHT COUNT 2 BULK",
            "*2 $1 c $1 d",
            "*2 $1 a $1 b",
            "*3 $1 x $1 c $1 d",
        ),
        (
            "LMOVEM src dst LEFT RIGHT COUNT 9 BULK",
            "*4 $1 a $1 b $1 c $1 d",
            "*0",
            "*5 $1 x $1 a $1 b $1 c $1 d",
        ),
        ("LMOVEM src dst LEFT RIGHT EXACTLY 5 BULK", "*-1", "*4 $1 a $1 b $1 c $1 d", "*1 $1 x"),
        (
            "LMOVEM src src LEFT RIGHT COUNT 3 OBO",
            "*3 $1 a $1 b $1 c",
            "*4 $1 d $1 a $1 b $1 c",
            "*1 $1 x",
        ),
        ("LMOVEM none dst LEFT RIGHT COUNT 3 OBO", "*-1", "*4 $1 a $1 b $1 c $1 d", "*1 $1 x"),
        (
            "BLMOVEM src dst LEFT RIGHT 1 EXACTLY 4 OBO",
            "*4 $1 a $1 b $1 c $1 d",
            "*0",
            "*5 $1 x $1 a $1 b $1 c $1 d",
        ),
    ] {
        client.call(refill);
        client.call("RPUSH src a b c d");
        client.call("RPUSH dst x");
        expect(
            &mut client,
            &[(words, reply), ("LRANGE src 0 -1", left), ("LRANGE dst 0 -1", there)],
        );
    }
    expect(
        &mut client,
        &[
            ("LMOVEM src dst LEFT UP", "-ERR syntax error"),
            ("LMOVEM src dst LEFT LEFT COUNT 2", "-ERR syntax error"),
            ("LMOVEM src dst LEFT LEFT COUNT 0 OBO", "-ERR count should be greater than 0"),
            ("LMOVEM src dst LEFT LEFT COUNT 2 OBO x", "-ERR syntax error"),
            ("BLMOVEM src dst LEFT LEFT x", "-ERR timeout is not a float or out of range"),
            ("BLMOVEM src dst LEFT LEFT 0.01", "*-1"),
        ],
    );
}

#[test]
fn who_waits_for_many_elements_does_not_hold_up_others() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.port);
    let (mut many, mut one) = (Client::connect(server.port), Client::connect(server.port));
    many.send(&["BLMOVEM", "src", "dst", "LEFT", "RIGHT", "0", "EXACTLY", "3", "BULK"]);
    let waiting = |client: &mut Client, count: usize| {
        eventually("they wait", || {
            client.call("INFO clients").contains(&format!("blocked_clients:{count}\r\n"))
        });
    };
    waiting(&mut client, 1);
    one.send(&["BLPOP", "src", "0"]);
    waiting(&mut client, 2);
    assert_eq!(client.call("RPUSH src a b"), ":2\r\n");
    assert_eq!(one.receive(), "*2\r\n$3\r\nsrc\r\n$1\r\na\r\n");
    assert_eq!(client.call("RPUSH src c"), ":2\r\n");
    waiting(&mut client, 1);
    assert_eq!(client.call("RPUSH src d e"), ":4\r\n");
    assert_eq!(many.receive(), "*3\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n");
    expect(
        &mut client,
        &[("LRANGE src 0 -1", "*1 $1 e"), ("LRANGE dst 0 -1", "*3 $1 b $1 c $1 d")],
    );
}

#[test]
fn clients_are_ended_by_age() {
    let server = Server::start(&[]);
    let mut old = Client::connect(server.port);
    assert_eq!(old.call("CLIENT KILL MAXAGE 1000"), ":0\r\n");
    expect(
        &mut old,
        &[
            ("CLIENT KILL MAXAGE 0", "-ERR maxage should be greater than 0"),
            ("CLIENT KILL MAXAGE x", "-ERR maxage is not an integer or out of range"),
        ],
    );
    let mut new = None;
    eventually("the first grows old", || {
        let mut client = Client::connect(server.port);
        let killed = client.call("CLIENT KILL MAXAGE 1 SKIPME yes");
        new = Some(client);
        killed == ":1\r\n"
    });
    assert!(old.is_closed());
    assert_eq!(new.expect("a client").call("PING"), "+PONG\r\n");
}

#[test]
fn what_is_repeated_is_known_to_older_servers() {
    let primary = Server::start(&["--repl-diskless-sync-delay", "0"]);
    let replica = redstart_tests::proxy_support::Redis::start();
    let mut first = Client::connect(primary.port);
    let mut second = Client::connect(replica.port);
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
        ("HGETALL h", "*2 $1 f $1 v"),
    ] {
        expect(&mut first, &[(read, answer)]);
        expect(&mut second, &[(read, answer)]);
    }
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
    let sha = client.call("SCRIPT LOAD return(1)");
    let sha = sha.lines().nth(1).expect("a sum").to_owned();
    expect(&mut client, &[(&*format!("SCRIPT SHOW {}", sha.to_uppercase()), "$9 return(1)")]);
}

#[test]
fn entries_go_with_regard_to_who_has_them_pending() {
    let primary = Server::start(&[]);
    let replica = Server::start(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    let mut client = Client::connect(primary.port);
    expect(&mut client, &[("XDELEX none IDS 2 1-1 1-2", "*2 :-1 :-1"), ("EXISTS none", ":0")]);
    for id in 1..=6 {
        client.call(&format!("XADD s 0-{id} f v"));
    }
    expect(
        &mut client,
        &[
            // Without a group nobody has to acknowledge anything.
            ("XADD other 0-1 f v", "$3 0-1"),
            ("XDELEX other ACKED IDS 1 0-1", "*1 :1"),
            ("XGROUP CREATE s one 0", "+OK"),
            ("XGROUP CREATE s two 0", "+OK"),
        ],
    );
    client.call("XREADGROUP GROUP one c COUNT 5 STREAMS s >");
    client.call("XREADGROUP GROUP two c COUNT 4 STREAMS s >");
    expect(
        &mut client,
        &[
            ("XACKDEL s one ACKED IDS 2 0-1 0-9", "*2 :2 :-1"),
            ("XACKDEL s two IDS 1 0-1 ACKED", "*1 :1"),
            ("XACKDEL s one KEEPREF IDS 1 0-2", "*1 :1"),
            ("XPENDING s two", "*4 :3 $3 0-2 $3 0-4 *1 *2 $1 c $1 3"),
            ("XDELEX s DELREF IDS 2 0-2 0-3", "*2 :-1 :1"),
            ("XPENDING s two", "*4 :1 $3 0-4 $3 0-4 *1 *2 $1 c $1 1"),
            ("XPENDING s one", "*4 :2 $3 0-4 $3 0-5 *1 *2 $1 c $1 2"),
            // Acknowledged by one, not read by the other.
            ("XACK s one 0-5", ":1"),
            ("XDELEX s ACKED IDS 2 0-5 0-7", "*2 :2 :-1"),
            ("XDELEX s IDS 1 0-5", "*1 :1"),
            ("XLEN s", ":2"),
            ("XACKDEL s none IDS 1 0-4", "*1 :-1"),
            ("XDELEX s IDS 0 0-4", "-ERR Number of IDs must be a positive integer"),
            (
                "XDELEX s IDS 2 0-4",
                "-ERR The `numids` parameter must match the number of arguments",
            ),
            (
                "XDELEX s IDS 1 0-4 0-6",
                "-ERR The `numids` parameter must match the number of arguments",
            ),
            ("XDELEX s ACKED KEEPREF IDS 1 0-4", "-ERR syntax error"),
            ("XDELEX s IDS 1 x", "-ERR Invalid stream ID specified as stream command argument"),
        ],
    );
    let mut follower = Client::connect(replica.port);
    for question in ["XRANGE s - +", "XPENDING s one", "XPENDING s two"] {
        let wanted = client.call(question);
        eventually(question, || follower.call(question) == wanted);
    }
}

#[test]
fn streams_are_cut_with_regard_to_groups_and_idle_entries_are_handed_out_again() {
    let primary = Server::start(&["--repl-diskless-sync-delay", "0"]);
    let replica = redstart_tests::proxy_support::Redis::start();
    let mut client = Client::connect(primary.port);
    let mut old = Client::connect(replica.port);
    old.call(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    eventually("they are linked", || {
        old.call("INFO replication").contains("master_link_status:up")
    });
    for id in 1..=6 {
        client.call(&format!("XADD s 0-{id} f v"));
    }
    client.call("XGROUP CREATE s g 0");
    client.call("XREADGROUP GROUP g one COUNT 4 STREAMS s >");
    expect(
        &mut client,
        &[
            ("XACK s g 0-1 0-3", ":2"),
            ("XTRIM s MAXLEN 1 ACKED", ":2"),
            ("XRANGE s - + COUNT 1", "*1 *2 $3 0-2 *2 $1 f $1 v"),
            ("XADD s DELREF MAXLEN ~ 4 0-7 f v", "$3 0-7"),
            ("XPENDING s g", "*4 :1 $3 0-4 $3 0-4 *1 *2 $3 one $1 1"),
            ("XADD s KEEPREF MAXLEN 4 0-8 f v", "$3 0-8"),
            ("XPENDING s g", "*4 :1 $3 0-4 $3 0-4 *1 *2 $3 one $1 1"),
            ("XLEN s", ":4"),
            ("XADD s ACKED 0-9 f v", "$3 0-9"),
            ("XTRIM s KEEPREF MAXLEN = 5", ":0"),
            ("XTRIM s MINID 0-6 DELREF", ":1"),
            ("XTRIM s MAXLEN 4 DELREF ACKED", "-ERR syntax error"),
            (
                "XADD s KEEPREF DELREF * f v",
                "-ERR Invalid stream ID specified as stream command argument",
            ),
            ("XRANGE s 0-6 0-6", "*1 *2 $3 0-6 *2 $1 f $1 v"),
            (
                "XREAD CLAIM 1 STREAMS s 0",
                "-ERR The CLAIM option is only supported by XREADGROUP. You called XREAD instead.",
            ),
            (
                "XREADGROUP GROUP g two CLAIM -1 STREAMS s >",
                "-ERR min-idle-time must be a positive integer",
            ),
            (
                "XREADGROUP GROUP g two CLAIM x STREAMS s >",
                "-ERR min-idle-time is not an integer or out of range",
            ),
            // New entries have no history yet; those of the consumer itself are told as ever.
            (
                "XREADGROUP GROUP g one CLAIM 100000 COUNT 1 STREAMS s >",
                "*1 *2 $1 s *1 *4 $3 0-6 *2 $1 f $1 v :0 :0",
            ),
            (
                "XREADGROUP GROUP g one CLAIM 0 STREAMS s 0",
                "*1 *2 $1 s *2 *2 $3 0-4 *-1 *2 $3 0-6 *2 $1 f $1 v",
            ),
        ],
    );
    // One is gone and stays pending; the other goes over, before what is new.
    let claimed =
        client.call("XREADGROUP GROUP g two CLAIM 0 COUNT 2 STREAMS s >").replace("\r\n", " ");
    let (first, second) = claimed.split_once(" *4 $3 0-7 ").expect("two entries");
    assert!(first.starts_with("*1 *2 $1 s *2 *4 $3 0-6 *2 $1 f $1 v :"), "{claimed}");
    assert!(first.ends_with(" :2"), "{claimed}");
    assert_eq!(second, "*2 $1 f $1 v :0 :0 ");
    // Who waits is handed what has been pending for long enough.
    client.call("XREADGROUP GROUP g two STREAMS s >");
    let mut waiting = Client::connect(primary.port);
    waiting.send(
        &"XREADGROUP GROUP g three BLOCK 60000 CLAIM 300 COUNT 1 STREAMS s >"
            .split(' ')
            .collect::<Vec<_>>(),
    );
    let given = waiting.receive();
    assert!(given.contains("0-6") && given.trim_end().ends_with(":3"), "{given}");
    // Nothing is pending when this one begins to wait.
    client.call("XGROUP CREATE s other $");
    waiting.send(
        &"XREADGROUP GROUP other a BLOCK 60000 CLAIM 100 STREAMS s >"
            .split(' ')
            .collect::<Vec<_>>(),
    );
    eventually("it waits", || client.call("INFO clients").contains("blocked_clients:1"));
    client.call("XGROUP CREATECONSUMER s other b");
    client.call("XCLAIM s other b 0 0-9 FORCE JUSTID");
    let given = waiting.receive();
    assert!(given.contains("0-9") && given.trim_end().ends_with(":1"), "{given}");
    for question in ["XRANGE s - +", "XPENDING s g - + 9 one", "XINFO STREAM s"] {
        let wanted = client.call(question);
        eventually(question, || {
            let told = old.call(question);
            // How long something has been pending is another number each time.
            told.lines().count() == wanted.lines().count()
                && (question.starts_with("XPENDING") || told == wanted)
        });
    }
    let owners = |client: &mut Client| client.call("XPENDING s g");
    eventually("the same owners", || owners(&mut client) == owners(&mut old));
    assert!(old.call("INFO replication").contains("master_link_status:up"));
}

#[test]
fn who_follows_is_sent_to_the_primary() {
    let primary = Server::start(&[]);
    let server = Server::start(&[]);
    let away = format!("-REDIRECT 127.0.0.1:{}", primary.port);
    let (mut client, mut waiting) = (Client::connect(server.port), Client::connect(server.port));
    expect(
        &mut client,
        &[
            ("READONLY", "-ERR This instance has cluster support disabled"),
            ("CLIENT CAPA unheard-of REDIRECT", "+OK"),
            ("SET k v", "+OK"),
        ],
    );
    waiting.call("CLIENT CAPA redirect");
    waiting.send(&["BLPOP", "list", "0"]);
    let mut plain = Client::connect(server.port);
    eventually("the wait", || plain.call("INFO clients").contains("blocked_clients:1"));
    plain.call(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    assert_eq!(waiting.receive().trim_end(), away);
    expect(
        &mut client,
        &[
            ("GET k", &away),
            ("SET k v", &away),
            ("PING", "+PONG"),
            ("MULTI", "+OK"),
            ("GET k", &away),
            ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
            ("READONLY", "+OK"),
            ("ASKING", "-ERR This instance has cluster support disabled"),
        ],
    );
    eventually("the sync", || client.call("GET k").trim_end() == "$-1");
    expect(
        &mut client,
        &[
            ("SET k v", &away),
            ("READWRITE", "+OK"),
            ("GET k", &away),
            ("RESET", "+RESET"),
            ("SET k v", "-READONLY You can't write against a read only replica."),
        ],
    );
    assert!(client.call("HELLO").contains("$4\r\nrole\r\n$7\r\nreplica\r\n"));
}
