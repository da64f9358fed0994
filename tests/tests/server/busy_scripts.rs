//! Scripts that run long: what others are answered meanwhile, and who may end them.

use redstart_tests::proxy_support::{Client, Redis, eventually, free_port};
use redstart_tests::server_support::{Peer, Server};

const BUSY: &str =
    "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n";

/// Has a script run on a connection of its own until others are told that it does.
fn run(port: u16, words: &[&str]) -> Client {
    let mut caller = Client::connect(port);
    caller.send(words);
    let mut other = Client::connect(port);
    eventually("the script is slow", || other.call("PING").starts_with("-BUSY"));
    caller
}

#[test]
fn others_are_told_and_one_of_them_ends_the_script() {
    for peer in Peer::both(&["--busy-reply-threshold", "10"]) {
        // One that was there before, with a transaction begun, and one that says much at once.
        let mut early = Client::connect(peer.port());
        assert_eq!(early.call("MULTI"), "+OK\r\n");
        assert_eq!(early.call("PING"), "+QUEUED\r\n");
        let mut caller = run(peer.port(), &["EVAL", "while true do end", "0"]);
        let name = peer.name();
        assert_eq!(early.call("GET k"), BUSY, "{name}");
        let aborted = early.call("EXEC");
        assert!(aborted.starts_with("-EXECABORT"), "{name}: {aborted}");
        let mut other = peer.client();
        for (words, answer) in [
            ("PING", BUSY),
            ("SET k v", BUSY),
            ("NOPE", "-ERR unknown command 'NOPE', with args beginning with: \r\n"),
            ("GET", "-ERR wrong number of arguments for 'get' command\r\n"),
            ("MULTI", "+OK\r\n"),
            ("DISCARD", "+OK\r\n"),
            ("WATCH k", "+OK\r\n"),
            ("UNWATCH", "+OK\r\n"),
            ("SHUTDOWN", BUSY),
            ("FUNCTION STATS", BUSY),
            ("FUNCTION KILL", BUSY),
            ("EVAL return(1) 0", BUSY),
        ] {
            assert_eq!(other.call(words), answer, "{name}: {words}");
        }
        other.send_raw(b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPI");
        assert_eq!(other.receive(), BUSY);
        other.send_raw(b"NG\r\n*2\r\n$6\r\nSCRIPT\r\n$4\r\nKILL\r\n");
        assert_eq!(other.receive(), BUSY);
        assert_eq!(other.receive(), "+OK\r\n");
        let told = caller.receive();
        assert!(
            told.starts_with("-ERR Error running script") || told.contains("Script killed by user"),
            "{name}: {told}"
        );
        assert_eq!(other.call("PING"), "+PONG\r\n", "{name}");
        assert_eq!(caller.call("PING"), "+PONG\r\n", "{name}");
        assert_eq!(early.call("PING"), "+PONG\r\n", "{name}");
        assert_eq!(other.call("SCRIPT KILL"), "-NOTBUSY No scripts in execution right now.\r\n");
    }
}

#[test]
fn a_script_cannot_catch_its_end() {
    let server = Server::start(&["--busy-reply-threshold", "10"]);
    let mut other = Client::connect(server.port);
    for script in [
        "while true do pcall(function() while true do end end) end",
        "local function f() return pcall(f) end while true do pcall(f) end",
        "coroutine.wrap(function() while true do end end)()",
        "while true do pcall(redis.call, 'get', 'k') end",
        "for i = 1, 1e9 do local s = ('x'):rep(10) end",
        "while true do xpcall(function() error('x') end, function() while true do end end) end",
    ] {
        let mut caller = run(server.port, &["EVAL", script, "0"]);
        eventually("it is heard", || other.call("SCRIPT KILL") == "+OK\r\n");
        let told = caller.receive();
        assert!(told.starts_with("-ERR"), "{script}: {told}");
        assert_eq!(other.call("PING"), "+PONG\r\n", "{script}");
    }
}

#[test]
fn what_has_written_is_not_killed_but_the_server_can_be_ended() {
    let server = Server::start(&[
        "--busy-reply-threshold",
        "10",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
    ]);
    let mut client = Client::connect(server.port);
    assert_eq!(client.call("SET before 1"), "+OK\r\n");
    let _caller =
        run(server.port, &["EVAL", "redis.call('set', 'half', 1) while true do end", "0"]);
    let answer = client.call("SCRIPT KILL");
    assert!(answer.starts_with("-UNKILLABLE Sorry the script already executed write"), "{answer}");
    client.send(&["SHUTDOWN", "NOSAVE"]);
    assert!(client.is_closed());
    let folder = {
        let mut server = server;
        eventually("it ends", || !server.process.is_alive());
        server.into_folder()
    };
    let server = Server::start_in(folder, &["--appendonly", "yes"]);
    let mut client = Client::connect(server.port);
    assert_eq!(client.call("EXISTS before half"), ":1\r\n");
}

#[test]
fn functions_are_ended_by_their_own_command() {
    const BUSY: &str = "-BUSY Redis is busy running a script. You can only call FUNCTION KILL or \
                        SHUTDOWN NOSAVE.\r\n";
    for peer in Peer::both(&["--busy-reply-threshold", "10"]) {
        let mut client = peer.client();
        let code =
            "#!lua name=slow\nredis.register_function('spin', function() while true do end end)";
        client.send(&["FUNCTION", "LOAD", code]);
        assert_eq!(client.receive(), "$4\r\nslow\r\n");
        let mut caller = run(peer.port(), &["FCALL", "spin", "1", "key", "arg"]);
        assert_eq!(client.call("PING"), BUSY);
        assert_eq!(client.call("SCRIPT KILL"), BUSY);
        let stats = client.call("FUNCTION STATS");
        for part in ["$4\r\nname\r\n$4\r\nspin\r\n", "*5\r\n$5\r\nFCALL\r\n", "$3\r\narg\r\n"] {
            assert!(stats.contains(part), "{}: {stats}", peer.name());
        }
        assert_eq!(client.call("FUNCTION KILL"), "+OK\r\n");
        assert!(caller.receive().starts_with("-ERR"));
        assert_eq!(client.call("PING"), "+PONG\r\n");
    }
}

#[test]
fn what_was_sent_in_the_same_moment_is_heard() {
    let server = Server::start(&["--busy-reply-threshold", "10"]);
    let mut killer = Client::connect(server.port);
    let mut caller = Client::connect(server.port);
    for _ in 0..20 {
        // Both lie in the same turn, most likely.
        caller.send(&["EVAL", "while true do end", "0"]);
        killer.send(&["SCRIPT", "KILL"]);
        let mut told = killer.receive();
        while told != "+OK\r\n" {
            assert!(told.starts_with("-NOTBUSY"), "{told}");
            told = killer.call("SCRIPT KILL");
        }
        assert!(caller.receive().contains("Script killed by user"));
    }
}

#[test]
fn a_replica_is_not_lost_to_a_slow_script() {
    let primary = Redis::start_on(free_port(), &[]);
    let ours = Server::start(&["--busy-reply-threshold", "10"]);
    let mut client = Client::connect(ours.port);
    client.call(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    eventually("the link is up", || {
        client.call("INFO replication").contains("master_link_status:up")
    });
    let mut writer = Client::connect(primary.port);
    let mut caller = run(ours.port, &["EVAL_RO", "while true do end", "0"]);
    assert_eq!(writer.call("SET k v"), "+OK\r\n");
    assert_eq!(client.call("SCRIPT KILL"), "+OK\r\n");
    assert!(caller.receive().starts_with("-ERR"));
    eventually("what was written meanwhile comes", || client.call("GET k") == "$1\r\nv\r\n");
    assert!(client.call("INFO replication").contains("master_link_status:up"));
}

#[test]
fn a_slow_script_sees_its_server_lose_a_replica() {
    for peer in Peer::both(&["--busy-reply-threshold", "10"]) {
        let replica = Redis::start_on(free_port(), &[]);
        let mut client = Client::connect(replica.port);
        client.call(&format!("REPLICAOF 127.0.0.1 {}", peer.port()));
        let mut asker = peer.client();
        eventually("the replica follows", || {
            asker.call("INFO replication").contains("state=online")
        });
        let script = "redis.call('set', 'k', 1)\nrepeat until \
                      redis.call('info', 'replication'):find('connected_slaves:0')\nreturn redis.call('incr', 'k')";
        let mut caller = run(peer.port(), &["EVAL", script, "1", "k"]);
        drop(replica);
        assert_eq!(caller.receive(), ":2\r\n", "{}", peer.name());
        assert_eq!(asker.call("GET k"), "$1\r\n2\r\n", "{}", peer.name());
    }
}
