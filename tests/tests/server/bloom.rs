//! Bloom filters. The distribution has no RedisBloom; what is expected here was seen with RedisBloom 2.4.23 in a redis-server
//! 7.0.15.

use redstart_tests::proxy_support::{Client, eventually};
use redstart_tests::server_support::Server;

fn line(client: &mut Client, words: &str) -> String {
    client.call(words).trim_end().replace("\r\n", " ")
}

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

const CONVERSATION: &[(&str, &str)] = &[
    ("BF.RESERVE k 0.01 100", "+OK"),
    ("BF.RESERVE k 0.01 100", "-ERR item exists"),
    ("BF.RESERVE n x 1", "-ERR bad error rate"),
    ("BF.RESERVE n 0.5 x", "-ERR bad capacity"),
    ("BF.RESERVE n 0.5 0", "-ERR (capacity should be larger than 0)"),
    ("BF.RESERVE n 0.5 5 EXPANSION", "-ERR no expansion"),
    ("BF.RESERVE n 0.5 5 EXPANSION x", "-ERR bad expansion"),
    ("BF.RESERVE n 0.5 5 EXPANSION 4 NONSCALING", "-Nonscaling filters cannot expand"),
    ("BF.RESERVE n 0.5", "-ERR wrong number of arguments for 'bf.reserve' command"),
    ("BF.ADD k a", ":1"),
    ("BF.ADD k a", ":0"),
    ("BF.MADD k a b c", "*3 :0 :1 :1"),
    ("BF.EXISTS k b", ":1"),
    ("BF.MEXISTS k a x", "*2 :1 :0"),
    ("BF.MEXISTS none a x", "*2 :0 :0"),
    ("BF.CARD k", ":3"),
    ("BF.CARD none", ":0"),
    (
        "BF.INFO k",
        "*10 +Capacity :100 +Size :240 +Number of filters :1 +Number of items inserted :3 +Expansion rate :2",
    ),
    ("BF.INFO k ITEMS", "*1 :3"),
    ("BF.INFO k x", "-Invalid information value"),
    ("BF.INFO none", "-ERR not found"),
    (
        "BF.INSERT fix NONSCALING CAPACITY 2 ITEMS a b c d",
        "*3 :1 :1 -ERR non scaling filter is full",
    ),
    ("BF.INFO fix EXPANSION", "*1 $-1"),
    ("BF.INSERT none NOCREATE ITEMS a", "-ERR not found"),
    ("BF.INSERT none CAPACITY 0 ITEMS a", "-Bad argument received"),
    ("BF.INSERT none FOO ITEMS a", "-Unknown argument received"),
    ("BF.INSERT none CAPACITY 1 ITEMS", "-ERR wrong number of arguments for 'bf.insert' command"),
    ("BF.INSERT grow CAPACITY 1 EXPANSION 3 ITEMS a b c d e f", "*6 :1 :1 :1 :1 :1 :1"),
    ("BF.INFO grow FILTERS", "*1 :3"),
    ("BF.INFO grow CAPACITY", "*1 :13"),
    ("TYPE k", "+MBbloom--"),
    ("OBJECT ENCODING k", "$3 raw"),
    ("SCAN 0 TYPE MBbloom-- MATCH k", "*2 $1 0 *1 $1 k"),
    ("SET s x", "+OK"),
    ("BF.ADD s a", WRONG_TYPE),
    ("BF.EXISTS s a", ":0"),
    ("BF.CARD s", WRONG_TYPE),
    ("GET k", WRONG_TYPE),
    ("BF.SCANDUMP none 0", "-ERR not found"),
    ("BF.SCANDUMP k x", "-Second argument must be numeric"),
    ("BF.LOADCHUNK none 1 x", "-ERR received bad data"),
    ("BF.LOADCHUNK none 9 x", "-ERR not found"),
    ("BF.LOADCHUNK k 5000 xx", "-ERR invalid offset - no link found"),
    ("COPY k copy", ":1"),
    ("BF.ADD copy new", ":1"),
    ("BF.EXISTS k new", ":0"),
    ("COMMAND GETKEYS BF.INSERT k ITEMS a", "*1 $1 k"),
];

#[test]
fn filters_answer_as_those_of_the_module() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.port);
    for (words, reply) in CONVERSATION {
        assert_eq!(line(&mut client, words), *reply, "{words}");
    }
}

fn fill(client: &mut Client) {
    client.call("BF.RESERVE small 0.01 50");
    for number in 0..300 {
        client.call(&format!("BF.MADD small {number} x{number} {number}y"));
    }
    // Its bits are written in slices.
    client.call("BF.RESERVE large 0.001 2000000");
    client.call("BF.MADD large a b c");
    client.call("BF.RESERVE fix 0.1 3 NONSCALING");
}

fn state(client: &mut Client) -> String {
    ["DEBUG DIGEST", "BF.INFO small", "BF.INFO large", "BF.EXISTS large c", "BF.EXISTS small 7y"]
        .map(|words| client.call(words))
        .concat()
}

#[test]
fn filters_survive_in_every_form_of_the_data() {
    for options in [
        &["--save", "900 1"][..],
        &["--appendonly", "yes"],
        &["--appendonly", "yes", "--aof-use-rdb-preamble", "no"],
    ] {
        for rewrites in [false, true] {
            let options = [options, &["--enable-debug-command", "yes"]].concat();
            let server = Server::start(&options);
            let mut client = Client::connect(server.port);
            fill(&mut client);
            let before = state(&mut client);
            if options[0] == "--save" {
                let words = if rewrites { "BGSAVE" } else { "SAVE" };
                assert!(client.call(words).starts_with('+'));
                eventually("it is saved", || {
                    let told = client.call("INFO persistence");
                    told.contains("rdb_bgsave_in_progress:0")
                        && told.contains("rdb_last_bgsave_status:ok")
                });
            } else if rewrites {
                assert!(client.call("BGREWRITEAOF").starts_with("+Background"));
                eventually("it is rewritten", || {
                    client.call("INFO persistence").contains("aof_rewrite_in_progress:0")
                });
            }
            client.call("BF.ADD fix last");
            let after = state(&mut client);
            let kept = if options[0] == "--save" { &before } else { &after };
            drop(client);
            // Killed, so that nothing is written at the end.
            let server = Server::start_in(server.into_folder(), &options);
            let mut client = Client::connect(server.port);
            eventually("it is loaded", || client.call("PING") == "+PONG\r\n");
            assert_eq!(&state(&mut client), kept, "{options:?} {rewrites}");
        }
    }
}

#[test]
fn a_filter_goes_from_one_server_to_another() {
    let first =
        Server::start(&["--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"]);
    let second = Server::start(&["--enable-debug-command", "yes"]);
    let (mut from, mut to) = (Client::connect(first.port), Client::connect(second.port));
    fill(&mut from);
    // In pieces.
    let piece = |client: &mut Client, key: &str, at: i64| {
        client.send(&["BF.SCANDUMP", key, &at.to_string()]);
        let reply = client.try_receive().expect("a piece");
        let mut lines = reply.splitn(4, |byte| *byte == b'\n');
        let mut number = |skip: usize| {
            let line = lines.nth(skip).expect("a line");
            std::str::from_utf8(&line[1..line.len() - 1])
                .expect("text")
                .parse::<i64>()
                .expect("a number")
        };
        let (next, length) = (number(1), number(0));
        let end = reply.len() - 2;
        (next, reply[end - length as usize..end].to_vec())
    };
    for key in ["small", "large"] {
        let mut at = 0;
        loop {
            let (next, bytes) = piece(&mut from, key, at);
            if next == 0 {
                break;
            }
            to.send(&[b"BF.LOADCHUNK", key.as_bytes(), next.to_string().as_bytes(), &bytes]);
            assert_eq!(to.receive(), "+OK\r\n");
            at = next;
        }
    }
    to.call("BF.RESERVE fix 0.1 3 NONSCALING");
    assert_eq!(state(&mut from), state(&mut to));
    // And as a replica.
    to.call("FLUSHALL");
    to.call(&format!("REPLICAOF 127.0.0.1 {}", first.port));
    eventually("the data comes", || state(&mut from) == state(&mut to));
    from.call("BF.MADD small new newer newest");
    from.call("BF.INSERT other CAPACITY 5 ITEMS a b");
    eventually("changes come", || state(&mut from) == state(&mut to));
    assert!(to.call("BF.ADD small x").starts_with("-READONLY"));
}
