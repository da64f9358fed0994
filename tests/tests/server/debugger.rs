//! Scripts under the debugger: what a session says and leaves behind, beside redis-server's.

use redstart_tests::proxy_support::{Client, eventually};
use redstart_tests::server_support::{Peer, Server};

const SCRIPT: &str = "local a = {1, x = 'y'}\nlocal function double(n)\n  local twice = n * 2\n  return twice\nend\n\
                      local b = double(21)\nredis.debug('b is', b)\nlocal r = redis.call('set', KEYS[1], b)\n\
                      local bad = redis.pcall('lpush', KEYS[1], 'x')\nredis.breakpoint()\n\
                      local big = string.rep('x', 300)\nlocal nope = redis.error_reply('My error')\n\
                      return redis.call('get', KEYS[1])";

/// What a client says in turn.
const WORDS: &[&[&str]] = &[
    &["h"],
    &["b", "3", "12", "99", "x"],
    &["b"],
    &["w"],
    &["p"],
    &["s"],
    &["p", "a"],
    &["s"],
    &["c"],
    &["t"],
    &["p"],
    &["p", "KEYS"],
    &["p", "nothing"],
    &["e", "1 + 1"],
    &["e", "local z = 1"],
    &["e", "error('oh')"],
    &["e", "a b"],
    &["r", "ping"],
    &["r", "nope"],
    &["redis"],
    &["b", "-3", "-3"],
    &["s"],
    &["s"],
    &["s"],
    &["s"],
    &["s"],
    &["s"],
    &["m"],
    &["s"],
    &["p", "big"],
    &["p", "big"],
    &["m", "10"],
    &["m", "0"],
    &["p", "big"],
    &["l"],
    &["l", "2", "1"],
    &["unknown"],
    &["b", "0"],
    &["s"],
    &["s"],
];

/// All that a session says.
fn session(client: &mut Client, script: &str, key: &str, words: &[&[&str]]) -> Vec<String> {
    client.send(&["EVAL", script, "1", key]);
    let mut said = vec![client.receive()];
    for words in words {
        client.send(words);
        said.push(client.receive());
    }
    while let Some(reply) = client.try_receive() {
        said.push(String::from_utf8_lossy(&reply).into_owned());
    }
    said
}

#[test]
fn a_session_says_what_rediss_does() {
    let [theirs, ours] = Peer::both(&[]);
    for mode in ["YES", "SYNC"] {
        let [theirs, ours] = [&theirs, &ours].map(|peer| {
            let mut client = peer.client();
            assert_eq!(client.call(&format!("SCRIPT DEBUG {mode}")), "+OK\r\n");
            let said = session(&mut client, SCRIPT, "key", WORDS);
            let mut other = peer.client();
            // In a child of the process nothing is kept of it.
            let kept = if mode == "YES" { "$-1\r\n" } else { "$2\r\n42\r\n" };
            assert_eq!(other.call("GET key"), kept, "{}: {mode}", peer.name());
            said
        });
        assert_eq!(ours, theirs, "{mode}");
        assert!(ours.iter().any(|said| said.contains("<endsession>")), "{ours:?}");
    }
}

#[test]
fn sessions_end_by_words_by_errors_and_by_silence() {
    for peer in Peer::both(&[]) {
        let name = peer.name();
        for (script, words, end) in [
            ("return 1", &["a"][..], "script aborted for user request"),
            ("local a = 1\nreturn a .. {}", &["c"], "attempt to concatenate a table value"),
            ("not a script", &[], "Error compiling script"),
        ] {
            let mut client = peer.client();
            assert_eq!(client.call("SCRIPT DEBUG sync"), "+OK\r\n");
            let words: Vec<&[&str]> = words.iter().map(std::slice::from_ref).collect();
            let mut said = Vec::new();
            client.send(&["EVAL", script, "1", "key"]);
            for words in words {
                said.push(client.receive());
                client.send(words);
            }
            while let Some(reply) = client.try_receive() {
                said.push(String::from_utf8_lossy(&reply).into_owned());
            }
            assert!(said.last().is_some_and(|said| said.contains(end)), "{name}: {said:?}");
            assert!(said.iter().any(|said| said.contains("<endsession>")), "{name}: {said:?}");
        }
        // Who leaves has its script go on without it.
        let mut client = peer.client();
        assert_eq!(client.call("SCRIPT DEBUG sync"), "+OK\r\n");
        client.send(&["EVAL", "redis.breakpoint()\nreturn redis.call('set', 'left', 1)", "0"]);
        client.receive();
        drop(client);
        let mut other = peer.client();
        assert_eq!(other.call("GET left"), "$1\r\n1\r\n", "{name}");
        for (words, answer) in [
            ("SCRIPT DEBUG maybe", "-ERR Use SCRIPT DEBUG YES/SYNC/NO\r\n"),
            ("SCRIPT DEBUG yes", "+OK\r\n"),
            (
                "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0",
                "-ERR Please use EVAL instead of EVALSHA for debugging\r\n",
            ),
            ("SCRIPT DEBUG no", "+OK\r\n"),
            ("EVAL return(1) 0", ":1\r\n"),
        ] {
            assert_eq!(other.call(words), answer, "{name}: {words}");
        }
        other.send_raw(b"*1\r\n$4\r\nPING\r\n*3\r\n$6\r\nSCRIPT\r\n$5\r\nDEBUG\r\n$3\r\nyes\r\n");
        assert_eq!(other.receive(), "+PONG\r\n");
        let refused = other.receive();
        assert_eq!(refused, "-ERR SCRIPT DEBUG must be called outside a pipeline\r\n", "{name}");
    }
}

/// The children of a process.
fn children(id: u32) -> Vec<u32> {
    let path = format!("/proc/{id}/task/{id}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

#[test]
fn children_leave_others_alone_and_end_with_their_server() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut other = server.client();
    assert_eq!(other.call("SET kept 1"), "+OK\r\n");
    let begin = || {
        let mut client = server.client();
        assert_eq!(client.call("SCRIPT DEBUG yes"), "+OK\r\n");
        client.send(&[
            "EVAL",
            "redis.call('set', 'kept', 2)\nreturn redis.call('del', 'kept')",
            "0",
        ]);
        client.receive();
        client
    };
    let mut first = begin();
    let _second = begin();
    let id = server.process.id();
    assert_eq!(children(id).len(), 2);
    // The server has forgotten them, and serves others; what they do is theirs.
    first.send(&["s"]);
    first.receive();
    assert_eq!(other.call("GET kept"), "$1\r\n1\r\n");
    eventually("both are forgotten", || other.call("CLIENT LIST").matches("id=").count() == 1);
    first.send(&["c"]);
    let end: Vec<_> = std::iter::from_fn(|| first.try_receive()).collect();
    assert_eq!(end.last().map(Vec::as_slice), Some(&b":1\r\n"[..]));
    eventually("the first has ended", || children(id).len() == 1);
    assert_eq!(other.call("GET kept"), "$1\r\n1\r\n");
    // A connection that the server closes ends, though the child was made with it open.
    assert_eq!(other.call("QUIT"), "+OK\r\n");
    assert!(other.is_closed());
    let left = children(id);
    server.client().send(&["SHUTDOWN"]);
    assert!(server.process.ended().success());
    for child in left {
        assert!(!std::path::Path::new(&format!("/proc/{child}")).exists(), "{child} lives on");
    }
    let again = Server::start_in(server.into_folder(), &["--appendonly", "yes"]);
    assert_eq!(again.client().call("GET kept"), "$1\r\n1\r\n");
}
