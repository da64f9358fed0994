//! Fields of hashes that live for a time. No server of the distribution has them, so what is expected stands here, from
//! the documentation of Redis 7.4 and 8.0.

use redstart_common::clock::unix_ms;
use redstart_tests::proxy_support::{Client, eventually};
use redstart_tests::server_support::{Server, figure, readable};

fn loaded(server: &Server) -> Client {
    let mut client = Client::connect(server.port);
    eventually("it is loaded", || client.call("PING") == "+PONG\r\n");
    client
}

/// The reply as one line.
fn line(client: &mut Client, words: &str) -> String {
    client.call(words).trim_end().replace("\r\n", " ")
}

/// Requests and what they answer.
fn expect(client: &mut Client, conversation: &[(&str, &str)]) {
    for (words, reply) in conversation {
        assert_eq!(line(client, words), *reply, "{words}");
    }
}

#[test]
fn deadlines_are_given_told_and_taken_away() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.port);
    for limit in [512, 0] {
        client.call(&format!("CONFIG SET hash-max-listpack-entries {limit}"));
        client.call("FLUSHALL");
        expect(
            &mut client,
            &[
                ("HSET h a 1 b 2 c 3", ":3"),
                ("HTTL h FIELDS 2 a x", "*2 :-1 :-2"),
                ("HTTL none FIELDS 2 a b", "*2 :-2 :-2"),
                ("HEXPIRE none 100 FIELDS 1 a", "*1 :-2"),
                ("HEXPIRE h 100 FIELDS 3 a x a", "*3 :1 :-2 :1"),
                ("HTTL h FIELDS 2 a b", "*2 :100 :-1"),
                ("HEXPIRE h 200 NX FIELDS 2 a b", "*2 :0 :1"),
                ("HEXPIRE h 300 XX FIELDS 2 a c", "*2 :1 :0"),
                ("HEXPIRE h 250 GT FIELDS 3 a b c", "*3 :0 :1 :0"),
                ("HEXPIRE h 240 LT FIELDS 3 a b c", "*3 :1 :1 :1"),
                ("HTTL h FIELDS 3 a b c", "*3 :240 :240 :240"),
                ("HPEXPIREAT h 9999999999999 FIELDS 1 a", "*1 :1"),
                ("HPEXPIRETIME h FIELDS 1 a", "*1 :9999999999999"),
                ("HEXPIRETIME h FIELDS 1 a", "*1 :10000000000"),
                ("HEXPIREAT h 9999999999 FIELDS 1 a", "*1 :1"),
                ("HPEXPIRETIME h FIELDS 1 a", "*1 :9999999999000"),
                ("HPERSIST h FIELDS 3 a x a", "*3 :1 :-2 :-1"),
                ("HTTL h FIELDS 1 a", "*1 :-1"),
                // Another value has no deadline, a changed one keeps it.
                ("HINCRBY h b 5", ":7"),
                ("HINCRBYFLOAT h b 1.5", "$3 8.5"),
                ("HTTL h FIELDS 1 b", "*1 :240"),
                ("HSET h b x", ":0"),
                ("HTTL h FIELDS 1 b", "*1 :-1"),
                // A deadline that is past.
                ("HEXPIREAT h 1 FIELDS 2 b x", "*2 :2 :-2"),
                ("HPEXPIRE h 0 FIELDS 1 c", "*1 :2"),
                ("HGETALL h", "*2 $1 a $1 1"),
                ("HEXPIRE h 0 FIELDS 1 a", "*1 :2"),
                ("EXISTS h", ":0"),
                ("SET s x", "+OK"),
                (
                    "HEXPIRE s 1 FIELDS 1 a",
                    "-WRONGTYPE Operation against a key holding the wrong kind of value",
                ),
                (
                    "HTTL s FIELDS 1 a",
                    "-WRONGTYPE Operation against a key holding the wrong kind of value",
                ),
                (
                    "HGETEX s FIELDS 1 a",
                    "-WRONGTYPE Operation against a key holding the wrong kind of value",
                ),
                (
                    "HSETEX s FIELDS 1 a b",
                    "-WRONGTYPE Operation against a key holding the wrong kind of value",
                ),
            ],
        );
    }
    expect(
        &mut client,
        &[
            ("HEXPIRE h x FIELDS 1 a", "-ERR value is not an integer or out of range"),
            ("HEXPIRE h -1 FIELDS 1 a", "-ERR invalid expire time, must be >= 0"),
            (
                "HEXPIRE h 99999999999999 FIELDS 1 a",
                "-ERR invalid expire time in 'hexpire' command",
            ),
            (
                "HPEXPIREAT h 70368744177664 FIELDS 1 a",
                "-ERR invalid expire time in 'hpexpireat' command",
            ),
            ("HPEXPIREAT h 70368744177663 FIELDS 1 a", "*1 :-2"),
            (
                "HEXPIRE h 1 FELDS 1 a",
                "-ERR Mandatory argument FIELDS is missing or not at the right position",
            ),
            ("HEXPIRE h 1 FIELDS 0 a", "-ERR Parameter `numFields` should be greater than 0"),
            (
                "HEXPIRE h 1 FIELDS 2 a",
                "-ERR The `numfields` parameter must match the number of arguments",
            ),
            (
                "HEXPIRE h 1 NX FIELDS 1",
                "-ERR The `numfields` parameter must match the number of arguments",
            ),
            ("HEXPIRE h 1 FIELDS 1", "-ERR wrong number of arguments for 'hexpire' command"),
            ("HTTL h FIELDS x a", "-ERR Number of fields must be a positive integer"),
            (
                "HPERSIST h FIELD 1 a",
                "-ERR Mandatory argument FIELDS is missing or not at the right position",
            ),
        ],
    );
}

#[test]
fn fields_are_read_set_and_deleted_with_their_deadlines() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.port);
    // Redis 7.4 tells of such hashes; where there is none the line is that of 7.0.
    client.call("HSET other f v");
    assert!(client.call("INFO keyspace").ends_with("db0:keys=1,expires=0,avg_ttl=0\r\n\r\n"));
    client.call("HEXPIRE other 100 FIELDS 1 f");
    assert!(
        client.call("INFO keyspace").contains("db0:keys=1,expires=0,avg_ttl=0,subexpiry=1\r\n")
    );
    client.call("DEL other");
    expect(
        &mut client,
        &[
            ("HSETEX h EX 100 FIELDS 2 a 1 b 2", ":1"),
            ("HTTL h FIELDS 2 a b", "*2 :100 :100"),
            ("HSETEX h FNX FIELDS 2 b x c x", ":0"),
            ("HSETEX h FXX FIELDS 2 b x c x", ":0"),
            ("HSETEX h FXX KEEPTTL FIELDS 1 b x", ":1"),
            ("HTTL h FIELDS 1 b", "*1 :100"),
            ("HSETEX h NX FIELDS 1 b z", ":0"),
            ("HSETEX none XX FIELDS 1 b z", ":0"),
            ("EXISTS none", ":0"),
            ("HSETEX h NX XX FIELDS 1 b z", "-ERR syntax error"),
            ("HSETEX h XX FNX PXAT 9999999999999 FIELDS 1 c 3", ":1"),
            ("HSETEX h FIELDS 1 b y", ":1"),
            ("HTTL h FIELDS 1 b", "*1 :-1"),
            ("HGETEX h FIELDS 3 a b x", "*3 $1 1 $1 y $-1"),
            ("HGETEX h EX 50 FIELDS 2 a x", "*2 $1 1 $-1"),
            ("HGETEX h PERSIST FIELDS 2 c b", "*2 $1 3 $1 y"),
            ("HTTL h FIELDS 3 a b c", "*3 :50 :-1 :-1"),
            ("HGETEX h EXAT 1 FIELDS 1 c", "*1 $1 3"),
            ("HGETEX none EX 1 FIELDS 2 a b", "*2 $-1 $-1"),
            ("HSETEX h PXAT 1 FIELDS 1 b z", ":1"),
            ("HGETALL h", "*2 $1 a $1 1"),
            ("HGETDEL h FIELDS 2 x a", "*2 $-1 $1 1"),
            ("EXISTS h", ":0"),
            ("HGETDEL h FIELDS 1 a", "*1 $-1"),
            ("HSETEX h PXAT 1 FIELDS 1 b z", ":1"),
            ("EXISTS h", ":0"),
            ("HSETEX h FXX FIELDS 1 a 1", ":0"),
            ("EXISTS h", ":0"),
            (
                "HSETEX h EX 1 PX 1 FIELDS 1 a 1",
                "-ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
            ),
            (
                "HGETEX h EX 1 PERSIST FIELDS 1 a",
                "-ERR Only one of EX, PX, EXAT, PXAT or PERSIST arguments can be specified",
            ),
            (
                "HSETEX h FNX FXX FIELDS 1 a 1",
                "-ERR Only one of FXX or FNX arguments can be specified",
            ),
            ("HSETEX h NOPE FIELDS 1 a 1", "-ERR unknown argument: NOPE"),
            ("HGETEX h KEEPTTL FIELDS 1 a", "-ERR unknown argument: KEEPTTL"),
            ("HSETEX h FIELDS 2 a 1", "-ERR wrong number of arguments for 'hsetex' command"),
            ("HSETEX h FIELDS 0 a 1", "-ERR invalid number of fields"),
            ("HGETEX h EX 1 a b", "-ERR unknown argument: a"),
            (
                "HGETEX h PERSIST PERSIST PERSIST",
                "-ERR Only one of EX, PX, EXAT, PXAT or PERSIST arguments can be specified",
            ),
            ("HGETEX h FIELDS 1 a FIELDS 1 b", "-ERR multiple FIELDS argument"),
            ("HSETEX h EX x FIELDS 1 a 1", "-ERR value is not an integer or out of range"),
        ],
    );
}

#[test]
fn fields_past_their_deadline_go_and_are_told_of() {
    let server =
        Server::start(&["--notify-keyspace-events", "KEA", "--enable-debug-command", "yes"]);
    let (mut client, mut listener) = (Client::connect(server.port), Client::connect(server.port));
    listener.call("SUBSCRIBE __keyspace@0__:h");
    client.call("HSET h a 1 b 2 c 3");
    client.call("HPEXPIRE h 1 FIELDS 1 a");
    // Nobody asks for it: the active expiry finds it.
    eventually("a goes", || figure(&mut client, "expired_subkeys") == 1);
    assert_eq!(line(&mut client, "HLEN h"), ":2");
    assert_eq!(line(&mut client, "DEBUG SET-ACTIVE-EXPIRE 0"), "+OK");
    client.call("HPEXPIRE h 1 FIELDS 1 b");
    eventually("b goes by a look", || line(&mut client, "HGETALL h") == "*2 $1 c $1 3");
    client.call("HPEXPIRE h 1 FIELDS 1 c");
    eventually("the key goes with the last", || line(&mut client, "EXISTS h") == ":0");
    assert_eq!(figure(&mut client, "expired_subkeys"), 3);
    assert_eq!(figure(&mut client, "expired_keys"), 0);
    for event in
        ["hset", "hexpire", "hexpired", "hexpire", "hexpired", "hexpire", "hexpired", "del"]
    {
        let told = listener.receive();
        assert!(told.ends_with(&format!("\r\n{event}\r\n")), "{event}: {told}");
    }
}

/// What a server holds of `h`: fields, values, and deadlines of `a` and `b`.
fn state(client: &mut Client) -> [String; 4] {
    [
        line(client, "HGET h a"),
        line(client, "HGET h c"),
        line(client, "HPEXPIRETIME h FIELDS 3 a b c"),
        line(client, "OBJECT ENCODING h"),
    ]
}

#[test]
fn deadlines_survive_in_every_form_of_the_data() {
    for limit in ["512", "2"] {
        for options in [
            &["--save", "900 1"][..],
            &["--appendonly", "yes"],
            &["--appendonly", "yes", "--aof-use-rdb-preamble", "no"],
        ] {
            for rewrites in [false, true] {
                let options = [options, &["--hash-max-listpack-entries", limit]].concat();
                let server = Server::start(&options);
                let mut client = Client::connect(server.port);
                client.call("HSET h a 1 b 2 c 3 gone x");
                client.call("HEXPIRE h 1000 FIELDS 2 a b");
                client.call("HINCRBYFLOAT h a 0.5");
                client.call("HPEXPIRE h 1 FIELDS 1 gone");
                client.call("HGETEX h PXAT 9999999999999 FIELDS 1 b");
                client.call("HSETEX h EX 500 FIELDS 1 d x");
                client.call("HGETDEL h FIELDS 1 d");
                eventually("one is past its deadline", || line(&mut client, "HLEN h") == ":3");
                let before = state(&mut client);
                if options[0] == "--save" {
                    assert_eq!(client.call("SAVE"), "+OK\r\n");
                    let file = std::fs::read(server.folder.join("dump.rdb")).expect("a file");
                    assert_eq!(&file[..9], b"REDIS0012");
                    assert!(server.log().contains("The RDB is of version 12"), "{}", server.log());
                } else if rewrites {
                    assert!(client.call("BGREWRITEAOF").starts_with("+Background"));
                    eventually("it is rewritten", || {
                        client.call("INFO persistence").contains("aof_rewrite_in_progress:0")
                    });
                }
                drop(client);
                let server = Server::start_in(server.into_folder(), &options);
                let mut client = loaded(&server);
                assert_eq!(state(&mut client), before, "{options:?} {rewrites}");
                assert_eq!(line(&mut client, "HLEN h"), ":3");
                // Without deadlines the file is of the version that 7.0 reads.
                client.call("HPERSIST h FIELDS 2 a b");
                eventually("the index is empty", || {
                    let saved = client.call("SAVE") == "+OK\r\n";
                    let file = std::fs::read(server.folder.join("dump.rdb")).expect("a file");
                    saved && &file[..9] == b"REDIS0010"
                });
            }
        }
    }
}

#[test]
fn a_payload_carries_deadlines() {
    let server = Server::start(&["--enable-debug-command", "yes"]);
    let mut client = Client::connect(server.port);
    for limit in [512, 0] {
        client.call(&format!("CONFIG SET hash-max-listpack-entries {limit}"));
        client.call("DEL h copy");
        client.call("HSET h a 1 b 2 c 3");
        client.call("HPEXPIREAT h 9999999999999 FIELDS 1 a");
        client.call("HPEXPIREAT h 9999999999990 FIELDS 1 b");
        let before = state(&mut client);
        client.send(&["DUMP", "h"]);
        let reply = client.try_receive().expect("a payload");
        let start = reply.iter().position(|byte| *byte == b'\n').expect("a length") + 1;
        let payload = &reply[start..reply.len() - 2];
        assert_eq!(payload[payload.len() - 10..payload.len() - 8], [12, 0]);
        client.call("RENAME h copy");
        client.send(&[b"RESTORE", &b"h"[..], b"0", payload]);
        assert_eq!(client.receive(), "+OK\r\n", "{}", readable(payload));
        assert_eq!(state(&mut client), before);
        let digests = line(&mut client, "DEBUG DIGEST-VALUE h copy");
        let digests: Vec<&str> = digests.split(' ').filter(|word| word.len() > 30).collect();
        assert_eq!(digests[0], digests[1]);
        client.call("COPY copy h REPLACE");
        assert_eq!(state(&mut client), before);
        // The copy is its own.
        client.call("HPERSIST copy FIELDS 2 a b");
        assert_eq!(state(&mut client), before);
        client.call("HPEXPIRE h 1 FIELDS 2 a b");
        eventually("they go", || line(&mut client, "HGETALL h") == "*2 $1 c $1 3");
        assert_eq!(line(&mut client, "HLEN copy"), ":3");
    }
}

#[test]
fn replicas_hear_what_was_done() {
    let primary =
        Server::start(&["--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes"]);
    let mut first = Client::connect(primary.port);
    first.call("HSET h a 1 b 2 c 3 d 4");
    first.call("HPEXPIREAT h 9999999999999 FIELDS 1 a");
    let replica = Server::start(&[
        "--replicaof",
        "127.0.0.1",
        &primary.port.to_string(),
        "--enable-debug-command",
        "yes",
    ]);
    let mut second = Client::connect(replica.port);
    eventually("the data comes", || line(&mut second, "HLEN h") == ":4");
    assert_eq!(state(&mut first), state(&mut second));
    first.call("HEXPIRE h 1000 FIELDS 1 b");
    first.call("HINCRBYFLOAT h b 0.25");
    first.call("HGETEX h EX 900 FIELDS 1 c");
    first.call("HSETEX h EX 800 FIELDS 2 e 5 f 6");
    first.call("HGETEX h PERSIST FIELDS 1 e");
    first.call("HGETDEL h FIELDS 1 f");
    first.call("HEXPIREAT h 1 FIELDS 1 d");
    let digest = |client: &mut Client| client.call("DEBUG DIGEST");
    let mut equal = |what: &str| {
        eventually(what, || {
            digest(&mut first) == digest(&mut second) && state(&mut first) == state(&mut second)
        });
    };
    equal("both hold the same");
    // A replica removes nothing by itself, and shows nothing that is past its deadline.
    let mut first = Client::connect(primary.port);
    let mut second = Client::connect(replica.port);
    let soon = unix_ms() + 300;
    first.call(&format!("HPEXPIREAT h {soon} FIELDS 2 a b"));
    first.call("CLIENT PAUSE 100000 WRITE");
    eventually("the deadline comes", || unix_ms() > soon);
    eventually("it is hidden", || line(&mut second, "HMGET h a b") == "*2 $-1 $-1");
    assert_eq!(line(&mut first, "HMGET h a b"), "*2 $-1 $-1");
    assert_eq!(figure(&mut second, "expired_subkeys"), 0);
    assert_eq!(line(&mut second, "HLEN h"), line(&mut first, "HLEN h"));
    first.call("CLIENT UNPAUSE");
    eventually("the primary removes it", || figure(&mut first, "expired_subkeys") == 3);
    equal("the replica hears of it");
}

#[test]
fn a_large_hash_is_saved_while_its_fields_come_due() {
    let server = Server::start(&["--save", ""]);
    let mut client = Client::connect(server.port);
    let script = "for i = 1, 60000 do redis.call('HSET', 'h', i, i) \
         redis.call('HPEXPIRE', 'h', i % 3 == 0 and 400 or 10000000, 'FIELDS', 1, i) end return 1";
    client.send(&["EVAL", script, "0"]);
    assert_eq!(client.receive(), ":1\r\n");
    client.call("CONFIG SET rdb-key-save-delay 1");
    assert!(client.call("BGSAVE").starts_with("+Background"));
    eventually("a third goes", || line(&mut client, "HLEN h") == ":40000");
    eventually("it is saved", || {
        client.call("INFO persistence").contains("rdb_bgsave_in_progress:0")
    });
    assert!(client.call("INFO persistence").contains("rdb_last_bgsave_status:ok"));
    let server = Server::start_in(
        {
            drop(client);
            server.into_folder()
        },
        &[],
    );
    let mut client = loaded(&server);
    eventually("what was due goes", || line(&mut client, "HLEN h") == ":40000");
    eventually("all of it", || figure(&mut client, "expired_subkeys") <= 20_000);
    assert_eq!(line(&mut client, "HGET h 20000"), "$5 20000");
}
