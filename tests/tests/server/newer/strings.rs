//! Strings: conditions, several at once, counters.

use redstart_tests::proxy_support::Client;
use redstart_tests::server_support::Server;

use super::expect;

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
