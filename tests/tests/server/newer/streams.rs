//! Streams: entries that go with regard to groups, come back to them, and are added once.

use redstart_tests::proxy_support::{Client, eventually};
use redstart_tests::server_support::Server;

use super::expect;

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

/// What DUMP gives of the stream `s`.
fn payload_of(client: &mut Client) -> Vec<u8> {
    client.send(&["DUMP", "s"]);
    let reply = client.try_receive().expect("an answer");
    let head = reply.iter().position(|byte| *byte == b'\n').expect("a length") + 1;
    reply[head..reply.len() - 2].to_vec()
}

#[test]
fn what_a_producer_sends_twice_is_added_once() {
    let primary = Server::start(&[
        "--repl-diskless-sync-delay",
        "0",
        "--appendonly",
        "yes",
        "--enable-debug-command",
        "yes",
    ]);
    let follower = Server::start(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    let older = redstart_tests::proxy_support::Redis::start();
    let mut client = Client::connect(primary.port);
    let (mut own, mut old) = (Client::connect(follower.port), Client::connect(older.port));
    let refused = "-ERR Invalid stream ID specified as stream command argument";
    expect(
        &mut client,
        &[
            ("XADD s IDMP p a f v", refused),
            ("XADD s IDMP p", "-ERR wrong number of arguments for 'xadd' command"),
            (
                "XADD s IDMP p a 1-1 f v",
                "-ERR IDMP/IDMPAUTO can be used only with auto-generated IDs",
            ),
            ("XADD s IDMP p a IDMPAUTO p * f v", "-ERR IDMP/IDMPAUTO specified multiple times"),
            ("XADD s NOMKSTREAM IDMP p a * f v", "$-1"),
            ("XCFGSET s IDMP-MAXSIZE 3", "-ERR no such key"),
            ("EXISTS s", ":0"),
            ("XTRIM s IDMP p a MAXLEN 1", "-ERR syntax error"),
            (
                "CONFIG SET stream-idmp-maxsize 0",
                "-ERR CONFIG SET failed (possibly related to argument 'stream-idmp-maxsize') - argument must be between 1 and 10000 inclusive",
            ),
        ],
    );
    for (empty, error) in [
        (
            &["XADD", "s", "IDMP", "", "a", "*", "f", "v"][..],
            "IDMP requires a non-empty producer ID",
        ),
        (&["XADD", "s", "IDMP", "p", "", "*", "f", "v"], "IDMP requires a non-empty idempotent ID"),
        (
            &["XADD", "s", "IDMPAUTO", "", "*", "f", "v"],
            "IDMPAUTO requires a non-empty producer ID",
        ),
    ] {
        client.send(empty);
        assert_eq!(client.receive(), format!("-ERR {error}\r\n"));
    }
    let once = |client: &mut Client, words: &str| client.call(words).trim_end().to_owned();
    let first = once(&mut client, "XADD s IDMP p a * f 1");
    assert_eq!(once(&mut client, "XADD s MAXLEN 9 IDMP p a * f 2"), first);
    assert_ne!(once(&mut client, "XADD s IDMP q a MAXLEN ~ 9 * f 3"), first);
    let made = once(&mut client, "XADD s IDMPAUTO p KEEPREF * f 1 g 2");
    assert_eq!(once(&mut client, "XADD s IDMPAUTO p * g 2 f 1"), made);
    assert_ne!(once(&mut client, "XADD s IDMPAUTO q * g 2 f 1"), made);
    expect(
        &mut client,
        &[
            ("XLEN s", ":4"),
            ("XCFGSET s", "-ERR At least one parameter must be specified"),
            ("XCFGSET s IDMP-DURATION", "-ERR syntax error"),
            ("XCFGSET s IDMP-DURATION 0", "-ERR IDMP-DURATION must be between 1 and 86400 seconds"),
            (
                "XCFGSET s IDMP-MAXSIZE 10001",
                "-ERR IDMP-MAXSIZE must be between 1 and 10000 entries",
            ),
            (
                "XCFGSET s IDMP-MAXSIZE 3 IDMP-MAXSIZE 3",
                "-ERR IDMP-MAXSIZE specified multiple times",
            ),
            // As it is: nothing is forgotten.
            ("XCFGSET s IDMP-DURATION 100 IDMP-MAXSIZE 100", "+OK"),
            ("XIDMPRECORD s p a 0-5", "-ERR No such message in stream"),
        ],
    );
    let known = |client: &mut Client| {
        let told = client.call("XINFO STREAM s").replace("\r\n", " ");
        let from = told.find("$13 idmp-duration").expect("it knows producers");
        told[from..].split(" $6 groups").next().expect("the part").to_owned()
    };
    let wanted = "$13 idmp-duration :100 $12 idmp-maxsize :100 $12 pids-tracked :2 $12 iids-tracked :4 \
                  $10 iids-added :4 $15 iids-duplicates :2";
    assert_eq!(known(&mut client), wanted);
    // Those of the last and of the duplicates are counted where they are seen.
    let names = |told: String| told.split(" $15 iids-dup").next().expect("the part").to_owned();
    old.call(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    eventually("an older replica has the entries", || old.call("XLEN s") == ":4\r\n");
    eventually("a replica knows them", || {
        own.call("EXISTS s") == ":1\r\n" && names(known(&mut own)) == names(known(&mut client))
    });
    assert!(!once(&mut client, "XADD s IDMP p b * f 4").is_empty());
    eventually("an older replica goes on", || old.call("XLEN s") == ":5\r\n");
    let entries = client.call("XRANGE s - +");
    assert_eq!(old.call("XRANGE s - +"), entries);
    eventually("so does the other", || own.call("XRANGE s - +") == entries);
    eventually("it knows the name", || names(known(&mut own)) == names(known(&mut client)));
    // In the snapshot, in the log, in a payload, and in a copy.
    let before = known(&mut client);
    client.call("CONFIG SET appendonly no");
    expect(&mut client, &[("SAVE", "+OK"), ("DEBUG RELOAD", "+OK")]);
    assert_eq!(known(&mut client), before);
    client.call("CONFIG SET aof-use-rdb-preamble no");
    client.call("CONFIG SET appendonly yes");
    eventually("the log is whole", || {
        client.call("INFO persistence").contains("aof_rewrite_in_progress:0")
    });
    expect(&mut client, &[("DEBUG LOADAOF", "+OK")]);
    assert_eq!(names(known(&mut client)), names(before));
    assert_eq!(once(&mut client, "XADD s IDMP p a * f 5"), first);
    expect(&mut client, &[("COPY s t", ":1"), ("XLEN t", ":5")]);
    let payload = payload_of(&mut client);
    client.send(&[b"RESTORE", &b"u"[..], b"0", &payload]);
    assert_eq!(client.receive(), "+OK\r\n");
    assert_eq!(once(&mut client, "XADD u IDMP p a * f 5"), first);
    // Less is remembered: all of it is forgotten, and the oldest go first from then on.
    expect(&mut client, &[("XCFGSET s IDMP-MAXSIZE 2", "+OK")]);
    let again = once(&mut client, "XADD s IDMP p a * f 1");
    assert_ne!(again, first);
    for name in ["b", "c"] {
        client.call(&format!("XADD s IDMP p {name} * f 1"));
    }
    assert_ne!(once(&mut client, "XADD s IDMP p a * f 1"), again);
    expect(&mut client, &[("XCFGSET s IDMP-DURATION 1", "+OK")]);
    client.call("XADD s IDMP p a * f 1");
    eventually("it is forgotten in time", || known(&mut client).contains("iids-tracked :0"));
    eventually("elsewhere too", || known(&mut own).contains("iids-tracked :0"));
    assert!(old.call("INFO replication").contains("master_link_status:up"));
}

#[test]
fn entries_that_are_given_back_are_anybodys() {
    let debug = ["--enable-debug-command", "yes"];
    let primary = Server::start(&[&["--repl-diskless-sync-delay", "0"][..], &debug].concat());
    let follower = Server::start(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    let older = redstart_tests::proxy_support::Redis::start();
    let mut client = Client::connect(primary.port);
    let (mut own, mut old) = (Client::connect(follower.port), Client::connect(older.port));
    old.call(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    for id in 1..=6 {
        client.call(&format!("XADD s 0-{id} f v"));
    }
    client.call("XGROUP CREATE s g 0");
    client.call("XREADGROUP GROUP g one COUNT 4 STREAMS s >");
    let unknown = "-NOGROUP No such key 's' or consumer group 'x'";
    expect(
        &mut client,
        &[
            ("XNACK s x FAIL IDS 1 0-1", unknown),
            ("XNACK s g LOUD IDS 1 0-1", "-ERR mode must be SILENT, FAIL, or FATAL"),
            ("XNACK s g FAIL IDS 0 0-1", "-ERR numids must be a positive integer"),
            ("XNACK s g FAIL IDS 2 0-1", "-ERR number of IDs doesn't match numids"),
            ("XNACK s g FAIL FORCE RETRYCOUNT 1", "-ERR syntax error, expected IDS keyword"),
            ("XNACK s g FAIL IDS 1 0-1 TIME", "-ERR Unrecognized XNACK option 'TIME'"),
            (
                "XNACK s g FAIL IDS 1 0-1 RETRYCOUNT -1",
                "-ERR Invalid RETRYCOUNT value, must be >= 0",
            ),
            ("XNACK s g FAIL IDS 3 0-1 0-5 0-9", ":1"),
            ("XNACK s g SILENT IDS 1 0-2", ":1"),
            ("XNACK s g FATAL IDS 1 0-3", ":1"),
            ("XNACK s g FAIL IDS 2 0-6 0-9 FORCE RETRYCOUNT 7", ":1"),
            ("XPENDING s g", "*4 :5 $3 0-1 $3 0-6 *1 *2 $3 one $1 1"),
            ("XINFO CONSUMERS s other", "-NOGROUP No such consumer group 'other' for key name 's'"),
        ],
    );
    let told = client.call("XINFO STREAM s FULL").replace("\r\n", " ");
    assert!(told.contains(
        "$9 pel-count :5 $12 nacked-count :4 $7 pending *5 *4 $3 0-1 $0  :0 :1 *4 $3 0-2 $0  :0 :0 \
         *4 $3 0-3 $0  :0 :9223372036854775807 *4 $3 0-4 $3 one :"
    ), "{told}");
    assert!(told.contains(" *4 $3 0-6 $0  :0 :7 $9 consumers *1 "), "{told}");
    // It is the same after a snapshot and at the replica; the older one has them with somebody who has no name.
    let full = |client: &mut Client| {
        let told = client.call("XINFO STREAM s FULL").replace("\r\n", " ");
        told.split("$9 consumers").next().expect("the part").to_owned()
    };
    let before = full(&mut client);
    eventually("a replica has it", || full(&mut own) == before);
    eventually("an older one as well as it can", || {
        old.call("XPENDING s g - + 9").replace("\r\n", " ").contains("*4 $3 0-2 $0  :")
    });
    expect(&mut client, &[("DEBUG RELOAD", "+OK")]);
    assert_eq!(full(&mut client), before);
    let payload = payload_of(&mut client);
    old.call("REPLICAOF NO ONE");
    old.send(&[b"RESTORE", &b"copy"[..], b"0", &payload]);
    assert_eq!(old.receive(), "+OK\r\n");
    // A client that claims is handed them at once, and one that waits too.
    let given = client.call("XREADGROUP GROUP g two CLAIM 3600000 COUNT 1 STREAMS s >");
    assert!(
        given.replace("\r\n", " ").starts_with("*1 *2 $1 s *1 *4 $3 0-1 *2 $1 f $1 v :"),
        "{given}"
    );
    expect(
        &mut client,
        &[
            ("XCLAIM s g two 1000 0-2 JUSTID", "*1 $3 0-2"),
            ("XACK s g 0-1 0-2 0-3 0-6", ":4"),
            ("XPENDING s g", "*4 :1 $3 0-4 $3 0-4 *1 *2 $3 one $1 1"),
            ("XGROUP SETID s g 0-6", "+OK"),
        ],
    );
    let mut waiting = Client::connect(primary.port);
    waiting.send(
        &"XREADGROUP GROUP g three BLOCK 0 CLAIM 3600000 STREAMS s >"
            .split(' ')
            .collect::<Vec<_>>(),
    );
    eventually("it waits", || client.call("INFO clients").contains("blocked_clients:1"));
    expect(&mut client, &[("XNACK s g SILENT IDS 1 0-4", ":1")]);
    assert!(waiting.receive().contains("0-4"));
    eventually("the replica has that", || full(&mut own) == full(&mut client));
}

#[test]
fn a_reply_of_several_streams_has_a_measure() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.port);
    for stream in ["a", "b", "c"] {
        (1..=3).for_each(|id| {
            client.call(&format!("XADD {stream} 0-{id} f v"));
        });
        client.call(&format!("XGROUP CREATE {stream} g 0"));
    }
    let entry = |id: u8| format!("*2 $3 0-{id} *2 $1 f $1 v");
    let of_a = format!("*2 $1 a *2 {} {}", entry(1), entry(2));
    expect(
        &mut client,
        &[
            ("XREAD MAXCOUNT 0 STREAMS a 0", "-ERR MAXCOUNT must be a positive integer"),
            ("XREAD MAXSIZE x STREAMS a 0", "-ERR MAXSIZE must be a positive integer"),
            (
                "XREAD COUNT 3 MAXCOUNT 2 STREAMS a 0",
                "-ERR MAXCOUNT must be greater than or equal to COUNT",
            ),
            (
                "XREAD COUNT 2 MAXCOUNT 3 STREAMS a b c 0 0 0",
                &format!("*2 {of_a} *2 $1 b *1 {}", entry(1)),
            ),
            ("XREAD MAXSIZE 1 STREAMS a b 0 0", &format!("*1 *2 $1 a *1 {}", entry(1))),
            ("XREAD MAXSIZE 60 STREAMS a b 0 0", &format!("*1 {of_a}")),
            ("XREADGROUP GROUP g me MAXCOUNT 2 STREAMS a b c > > >", &format!("*1 {of_a}")),
            (
                "XREADGROUP GROUP g me MAXSIZE 1 STREAMS a b 0 >",
                &format!("*1 *2 $1 a *1 {}", entry(1)),
            ),
            (
                "XREADGROUP GROUP g me MAXSIZE 1 STREAMS a b > >",
                &format!("*1 *2 $1 a *1 {}", entry(3)),
            ),
            // What there was no room for was handed to nobody.
            ("XPENDING b g", "*4 :0 $-1 $-1 *-1"),
            (
                "COMMAND GETKEYS XREADGROUP GROUP g me MAXCOUNT 2 CLAIM 5 STREAMS a b > >",
                "*2 $1 a $1 b",
            ),
        ],
    );
    let mut waiting = Client::connect(server.port);
    waiting.send(&"XREAD BLOCK 0 MAXCOUNT 1 STREAMS a b $ $".split(' ').collect::<Vec<_>>());
    eventually("it waits", || client.call("INFO clients").contains("blocked_clients:1"));
    expect(
        &mut client,
        &[
            ("MULTI", "+OK"),
            ("XADD a 0-4 f v", "+QUEUED"),
            ("XADD a 0-5 f v", "+QUEUED"),
            ("EXEC", "*2 $3 0-4 $3 0-5"),
        ],
    );
    assert_eq!(
        waiting.receive().replace("\r\n", " ").trim_end(),
        format!("*1 *2 $1 a *1 {}", entry(4))
    );
}
