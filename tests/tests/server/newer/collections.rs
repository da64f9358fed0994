//! Lists, sets, sorted sets and hashes.

use redstart_tests::proxy_support::{Client, eventually};
use redstart_tests::server_support::Server;

use super::expect;

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
