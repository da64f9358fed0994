//! What has been added for those who watch a server since Redis 7.0: COMMANDLOG (Valkey 8.1), and the filters of CLIENT LIST and
//! CLIENT KILL (Redis 7.4, Valkey 8.1 and 9).

use redstart_tests::proxy_support::{Client, eventually};
use redstart_tests::server_support::Server;

use crate::newer::expect;

/// The field of an entry of COMMANDLOG GET, of the first entry: 2 is the amount, 3 the arguments.
fn entry(client: &mut Client, line: &str) -> Vec<String> {
    client.call(line).split("\r\n").map(str::to_owned).collect()
}

#[test]
fn large_requests_and_replies_are_noted() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.port);
    let wrong = "-ERR type should be one of the following: slow, large-request, large-reply";
    expect(
        &mut client,
        &[
            ("COMMANDLOG LEN slow", ":0"),
            ("COMMANDLOG LEN large-request", ":0"),
            ("COMMANDLOG LEN large-reply", ":0"),
            ("COMMANDLOG LEN small", wrong),
            ("COMMANDLOG GET -1 small", wrong),
            ("COMMANDLOG RESET small", wrong),
            ("COMMANDLOG GET -2 slow", "-ERR count should be greater than or equal to -1"),
            ("COMMANDLOG GET x slow", "-ERR count should be greater than or equal to -1"),
            ("COMMANDLOG GET slow", "-ERR wrong number of arguments for 'commandlog|get' command"),
            ("COMMANDLOG", "-ERR wrong number of arguments for 'commandlog' command"),
            (
                "CONFIG GET commandlog-re*",
                "*4 $30 commandlog-request-larger-than $7 1048576 $28 commandlog-reply-larger-than $7 1048576",
            ),
            ("CONFIG SET commandlog-request-larger-than 100", "+OK"),
            ("CONFIG SET commandlog-reply-larger-than 200", "+OK"),
        ],
    );
    // 100 bytes as an array of bulk strings, and one byte less.
    let value = "v".repeat(100 - "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$66\r\n\r\n".len());
    assert_eq!(client.call(&format!("SET k {}", &value[1..])), "+OK\r\n");
    assert_eq!(client.call("COMMANDLOG LEN large-request"), ":0\r\n");
    client.call("CLIENT SETNAME me");
    assert_eq!(client.call(&format!("SET k {value}")), "+OK\r\n");
    assert_eq!(client.call("COMMANDLOG LEN Large-Request"), ":1\r\n");
    let noted = entry(&mut client, "COMMANDLOG GET -1 large-request");
    assert_eq!((&*noted[0], &*noted[1], &*noted[2], &*noted[4]), ("*1", "*6", ":0", ":100"));
    assert_eq!((&*noted[5], &*noted[7], &*noted[9], &*noted[11]), ("*3", "SET", "k", &*value));
    assert_eq!(noted[15], "me");
    // In a transaction each command is noted with its own size; of replies, EXEC's is not noted, as it is not in the slow log.
    client.call("MULTI");
    client.call(&format!("SET k {value}"));
    client.call("GET k");
    client.call("EXEC");
    assert_eq!(client.call("COMMANDLOG LEN large-request"), ":2\r\n");
    assert_eq!(client.call("COMMANDLOG LEN large-reply"), ":0\r\n");
    let long = "w".repeat(300);
    assert_eq!(client.call(&format!("SET k {long}")), "+OK\r\n");
    assert!(client.call("GET k").contains(&long));
    assert_eq!(client.call("COMMANDLOG LEN large-reply"), ":1\r\n");
    let noted = entry(&mut client, "COMMANDLOG GET 1 large-reply");
    assert_eq!((&*noted[4], &*noted[7]), (":308", "GET"));
    expect(
        &mut client,
        &[
            ("CONFIG SET commandlog-large-request-max-len 1", "+OK"),
            ("COMMANDLOG LEN large-request", ":1"),
            ("CONFIG SET commandlog-large-request-max-len 0", "+OK"),
            ("COMMANDLOG LEN large-request", ":0"),
            ("COMMANDLOG RESET large-reply", "+OK"),
            ("COMMANDLOG LEN large-reply", ":0"),
            ("CONFIG SET commandlog-reply-larger-than -1", "+OK"),
        ],
    );
    client.call("GET k");
    client.call(&format!("SET k {long}"));
    assert_eq!(client.call("COMMANDLOG LEN large-reply"), ":0\r\n");
    assert_eq!(client.call("COMMANDLOG LEN large-request"), ":0\r\n");
    // The slow log is one of them, by either command and either name of its settings.
    expect(
        &mut client,
        &[
            ("CONFIG SET commandlog-execution-slower-than 0", "+OK"),
            (
                "CONFIG SET slowlog-entry-max-argc 1",
                "-ERR CONFIG SET failed (possibly related to argument 'slowlog-entry-max-argc') - argument must be between 2 and 2147483647 inclusive",
            ),
            ("CONFIG GET slowlog-log-slower-than", "*2 $23 slowlog-log-slower-than $1 0"),
            ("SLOWLOG RESET", "+OK"),
        ],
    );
    client.call("GET none");
    assert!(client.call("SLOWLOG GET").contains("none"));
    assert!(client.call("COMMANDLOG GET 10 slow").contains("none"));
    assert_eq!(client.call("COMMANDLOG RESET slow"), "+OK\r\n");
    expect(
        &mut client,
        &[
            ("CONFIG SET slowlog-entry-max-argc 2 slowlog-entry-max-string-len 3", "+OK"),
            ("MGET none second", "*2 $-1 $-1"),
        ],
    );
    let kept = client.call("SLOWLOG GET 1");
    assert!(kept.contains("MGE... (1 more bytes)\r\n$22\r\n... (2 more arguments)\r\n"), "{kept}");
    expect(
        &mut client,
        &[
            ("CONFIG SET slowlog-log-slower-than 1000000", "+OK"),
            ("COMMANDLOG RESET slow", "+OK"),
            ("COMMANDLOG LEN slow", ":0"),
            (
                "CONFIG GET commandlog-slow-execution-max-len",
                "*2 $33 commandlog-slow-execution-max-len $3 128",
            ),
        ],
    );
}

#[test]
fn clients_are_filtered() {
    let server = Server::start(&[]);
    let mut admin = Client::connect(server.port);
    let mut worker = Client::connect(server.port);
    let mut reader = Client::connect(server.port);
    worker.call("CLIENT SETNAME worker");
    worker.call("CLIENT SETINFO LIB-NAME lib");
    worker.call("SELECT 3");
    reader.call("CLIENT CAPA redirect");
    reader.call("SUBSCRIBE news");
    let ids = |admin: &mut Client, filters: &str| -> Vec<u64> {
        let list = admin.call(&format!("CLIENT LIST {filters}"));
        let ids = list.split("id=").skip(1).filter(|line| !line.starts_with("fd"));
        ids.filter_map(|line| line.split(' ').next()?.parse().ok()).collect()
    };
    let own: u64 =
        admin.call("CLIENT ID").trim_start_matches(':').trim().parse().expect("a number");
    let (second, third) = (own + 1, own + 2);
    for (filters, found) in [
        ("NAME worker", vec![second]),
        ("NOT-NAME worker", vec![own, third]),
        ("TYPE pubsub", vec![third]),
        ("FLAGS P", vec![third]),
        ("NOT-FLAGS P SKIPME yes", vec![second]),
        ("DB 3", vec![second]),
        ("CAPA r", vec![third]),
        ("LIB-NAME lib", vec![second]),
        ("NOT-IP 127.0.0.1", vec![]),
        ("IP 127.0.0.1 USER default", vec![own, second, third]),
        (&*format!("ID {third} {own}"), vec![third, own]),
        (&*format!("NOT-ID {third} {own} MAXAGE 1000"), vec![]),
        (&*format!("NOT-ID {third} {own} TYPE normal"), vec![second]),
    ] {
        assert_eq!(ids(&mut admin, filters), found, "{filters}");
    }
    expect(
        &mut admin,
        &[
            ("CLIENT LIST NOT-FLAGS x!", "-ERR Unknown flags found in the NOT-FLAGS filter: x!"),
            ("CLIENT LIST DB 16", "-ERR DB number should be between 0 and 15"),
            ("CLIENT KILL NOT-USER nobody", "-ERR No such user 'nobody'"),
            ("CLIENT KILL IDLE 1000", ":0"),
            ("CLIENT KILL NAME worker LIB-VER 1", ":0"),
        ],
    );
    let killed = format!("CLIENT KILL NOT-ID {own} SKIPME no");
    assert_eq!(admin.call(&killed), ":2\r\n");
    assert!(worker.is_closed());
    eventually("the third is gone", || ids(&mut admin, "TYPE pubsub").is_empty());
    assert_eq!(admin.call("CLIENT KILL TYPE normal SKIPME no"), ":1\r\n");
    assert!(admin.is_closed());
}
