//! What clients see of the proxy, over real servers.

use std::process::Command;

use redstart_common::resp::error;
use redstart_tests::proxy_support::{Client, PATIENCE, Proxy, Redis, eventually};

const KEYS: &str = "  hash_tag: \"{}\"\n";

fn set_up() -> (Vec<Redis>, Proxy) {
    let servers: Vec<Redis> = (0..2).map(|_| Redis::start()).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let proxy = Proxy::start(KEYS, &ports);
    (servers, proxy)
}

/// Keys of which some lie on either server.
fn keys(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("key:{number}")).collect()
}

#[test]
fn requests_are_split_and_their_replies_merged() {
    let (servers, proxy) = set_up();
    let mut client = proxy.client();
    let keys = keys(100);
    let mut mset = vec!["MSET".to_owned()];
    for key in &keys {
        mset.extend([key.clone(), format!("value of {key}")]);
    }
    client.send(&mset);
    assert_eq!(client.receive(), "+OK\r\n");
    for server in &servers {
        let mut direct = Client::connect(server.port);
        let count: usize = direct.call("DBSIZE")[1..].trim().parse().expect("a number");
        assert!((1..100).contains(&count), "keys lie on both servers, {count} on this one");
    }
    let mut mget = vec!["MGET".to_owned(), "missing".to_owned()];
    mget.extend(keys.iter().rev().cloned());
    client.send(&mget);
    let mut expected = "*101\r\n$-1\r\n".to_owned();
    for key in keys.iter().rev() {
        let value = format!("value of {key}");
        expected += &format!("${}\r\n{value}\r\n", value.len());
    }
    assert_eq!(client.receive(), expected);
    assert_eq!(client.call("DBSIZE"), ":100\r\n");
    for (command, reply) in
        [("EXISTS", ":101\r\n"), ("TOUCH", ":101\r\n"), ("UNLINK", ":100\r\n"), ("DEL", ":0\r\n")]
    {
        let mut request = vec![command.to_owned(), "key:7".to_owned(), "missing".to_owned()];
        request.extend(keys.iter().cloned());
        client.send(&request);
        assert_eq!(client.receive(), reply, "{command}");
    }
    assert_eq!(client.call("RANDOMKEY"), "$-1\r\n");
    assert_eq!(client.call("MSET a"), "-ERR wrong number of arguments for 'mset' command\r\n");
    assert_eq!(client.call("MSET a 1 b"), "-ERR wrong number of arguments for 'mset' command\r\n");
}

#[test]
fn every_server_is_asked_where_that_is_meant() {
    let (_servers, proxy) = set_up();
    let mut client = proxy.client();
    for key in keys(300) {
        client.send(&["SET", &key, "v"]);
        assert_eq!(client.receive(), "+OK\r\n");
    }
    assert!(client.call("KEYS *").starts_with("*300\r\n"));
    assert!(client.call("RANDOMKEY").contains("key:"));
    let mut cursor = "0".to_owned();
    let mut seen = std::collections::HashSet::new();
    let mut rounds = 0;
    loop {
        let reply = client.call(&format!("SCAN {cursor} MATCH key:* COUNT 20 TYPE string"));
        let lines: Vec<&str> = reply.split("\r\n").collect();
        cursor = lines[2].to_owned();
        assert!(cursor.bytes().all(|byte| byte.is_ascii_digit()));
        seen.extend(
            lines.iter().filter(|line| line.starts_with("key:")).map(|line| (*line).to_owned()),
        );
        rounds += 1;
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 300);
    assert!(rounds > 10);
    assert_eq!(client.call("SCAN nonsense"), "-ERR invalid cursor\r\n");
    // Where COUNT leaves room, a call goes on to the next server.
    let whole = client.call("SCAN 0 COUNT 1000");
    assert!(whole.starts_with("*2\r\n$1\r\n0\r\n*300\r\n"), "{whole:.60}");
    let sha = client.call("SCRIPT LOAD return{KEYS[1],ARGV[1]}");
    let sha = sha.split("\r\n").nth(1).expect("a digest").to_owned();
    for key in ["a", "b", "c", "d"] {
        let reply = client.call(&format!("EVALSHA {sha} 1 {key} x"));
        assert_eq!(reply, format!("*2\r\n$1\r\n{key}\r\n$1\r\nx\r\n"));
    }
    assert_eq!(
        client.call(&format!("SCRIPT EXISTS {sha} 0000000000000000000000000000000000000000")),
        "*2\r\n:1\r\n:0\r\n"
    );
    assert_eq!(client.call("FLUSHALL"), "+OK\r\n");
    assert_eq!(client.call("DBSIZE"), ":0\r\n");
}

#[test]
fn keys_of_one_request_must_lie_together() {
    let (_servers, proxy) = set_up();
    proxy.client().play(
        "> SADD {t}a 1 2 3
         < :3
         > SADD {t}b 2 3 4
         < :3
         > SINTERSTORE {t}c {t}a {t}b
         < :2
         > RENAME {t}c {t}d
         < +OK
         > SINTERCARD 2 {t}a {t}d
         < :2
         > COPY {t}d {t}e
         < :1
         > EVAL return{KEYS[1],KEYS[2]} 2 {t}x {t}y
         < *2
         < $4
         < {t}x
         < $4
         < {t}y
         > EVAL return(1) 0
         < :1
         > MSETNX {t}1 a {t}2 b
         < :1",
    );
    let mut client = proxy.client();
    let crossed = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";
    let far = keys(50).join(" ");
    assert_eq!(client.call(&format!("SUNION {far}")), crossed);
    assert_eq!(client.call(&format!("ZUNION 50 {far}")), crossed);
    assert_eq!(client.call("PING"), "+PONG\r\n");
}

#[test]
fn the_proxy_answers_for_itself() {
    let (_servers, proxy) = set_up();
    let mut client = proxy.client();
    client.play(
        "> PING
         < +PONG
         > PING hello
         < $5
         < hello
         > ECHO hey
         < $3
         < hey
         > SELECT 0
         < +OK
         > SELECT 1
         < -ERR DB index is out of range
         > CLIENT SETNAME tester
         < +OK
         > CLIENT GETNAME
         < $6
         < tester
         > CLIENT SETINFO LIB-NAME x
         < +OK
         > READONLY
         < +OK
         > ROLE
         < *3
         < $6
         < master
         < :0
         < *0
         > CLUSTER NODES
         < -ERR This instance has cluster support disabled
         > CLUSTER KEYSLOT k
         < -ERR This instance has cluster support disabled
         > ASKING
         < -ERR This instance has cluster support disabled
         > MODULE LIST
         < *0
         > ACL WHOAMI
         < $7
         < default
         > ACL LIST
         < -ERR command 'acl list' is not supported through the proxy
         > CONFIG GET save
         < *2
         < $4
         < save
         < $0
         <
         > COMMAND GETKEYS get k
         < *1
         < $1
         < k
         > AUTH secret
         < -ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?
         > NONSENSE a b
         < -ERR unknown command 'NONSENSE', with args beginning with: 'a' 'b' 
         > GET
         < -ERR wrong number of arguments for 'get' command
         > CLIENT NONSENSE
         < -ERR unknown subcommand 'NONSENSE'. Try CLIENT HELP.
         > CLIENT KILL TYPE Nobody
         < -ERR Unknown client type 'Nobody'
         > CLIENT LIST TYPE Nobody
         < -ERR Unknown client type 'Nobody'
         > CLIENT KILL USER nobody
         < -ERR No such user 'nobody'
         > RESET
         < +RESET
         > CLIENT GETNAME
         < $-1",
    );
    assert!(client.call("TIME").starts_with("*2\r\n$10\r\n"));
    let info = client.call("INFO");
    for line in [
        "redis_version:7.0.15",
        "loading:0",
        "role:master",
        "cluster_enabled:0",
        "name:test",
        "maxmemory_policy:noeviction",
        "rdb_bgsave_in_progress:0",
        "rdb_changes_since_last_save:0",
        "aof_enabled:0",
    ] {
        assert!(info.contains(&format!("{line}\r\n")), "{line} in {info}");
    }
    let keys = |client: &mut Client| -> usize {
        let info = client.call("INFO keyspace");
        let (_, after) = info.split_once("\r\ndb0:keys=").unwrap_or(("", "0,"));
        after.split(',').next().and_then(|count| count.parse().ok()).expect("a count")
    };
    for number in 0..20 {
        client.call(&format!("SET counted:{number} v EX 100"));
    }
    let held: usize =
        client.call("DBSIZE").trim_matches([':', '\r', '\n']).parse().expect("a count");
    eventually("the keys of all servers are told, at most a second late", || {
        held >= 20 && keys(&mut client) == held
    });
    let hello = client.call("HELLO 2");
    assert!(hello.starts_with("*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n"), "{hello}");
    assert_eq!(client.call("HELLO 4"), "-NOPROTO unsupported protocol version\r\n");
    // Clients that look whether a connection has ended before they use it again must not find it open after QUIT.
    for _ in 0..50 {
        assert_eq!(
            client.call("PSUBSCRIBE hello"),
            "*3\r\n$10\r\npsubscribe\r\n$5\r\nhello\r\n:1\r\n"
        );
        assert_eq!(client.call("QUIT"), "+OK\r\n");
        assert!(client.has_ended());
        client = proxy.client();
    }
}

#[test]
fn resp3_comes_unchanged_from_the_servers() {
    let (_servers, proxy) = set_up();
    let mut client = proxy.client();
    assert!(client.call("HELLO 3 SETNAME three").starts_with("%7\r\n"));
    client.play(
        "> HSET h f v
         < :1
         > HGETALL h
         < %1
         < $1
         < f
         < $1
         < v
         > SADD s a
         < :1
         > SMEMBERS s
         < ~1
         < $1
         < a
         > ZADD z 1.5 m
         < :1
         > ZSCORE z m
         < ,1.5
         > GET missing
         < _
         > MGET missing missing2 missing3 missing4
         < *4
         < _
         < _
         < _
         < _
         > CONFIG GET appendonly
         < %1
         < $10
         < appendonly
         < $2
         < no
         > HELLO 2
         < *14
         < $6
         < server
         < $5
         < redis
         < $7
         < version
         < $6
         < 7.0.15
         < $5
         < proto
         < :2
         < $2
         < id
         < :2
         < $4
         < mode
         < $10
         < standalone
         < $4
         < role
         < $6
         < master
         < $7
         < modules
         < *0
         > GET missing
         < $-1",
    );
}

#[test]
fn a_change_of_protocol_overtakes_nothing() {
    let (_servers, proxy) = set_up();
    let mut client = proxy.client();
    for round in 0..200 {
        client.send_raw(
            format!("SET k {round}\r\nHELLO 3\r\nGET k\r\nINCR k\r\nHELLO 2\r\nGET k\r\n")
                .as_bytes(),
        );
        assert_eq!(client.receive(), "+OK\r\n");
        assert!(client.receive().starts_with('%'));
        let text = round.to_string();
        assert_eq!(client.receive(), format!("${}\r\n{text}\r\n", text.len()));
        assert_eq!(client.receive(), format!(":{}\r\n", round + 1));
        assert!(client.receive().starts_with('*'));
        let text = (round + 1).to_string();
        assert_eq!(client.receive(), format!("${}\r\n{text}\r\n", text.len()));
    }
}

#[test]
fn transactions_run_whole_on_one_server() {
    let (_servers, proxy) = set_up();
    let mut client = proxy.client();
    client.play(
        "> MULTI
         < +OK
         > SET {t}a 1
         < +QUEUED
         > INCR {t}a
         < +QUEUED
         > MGET {t}a {t}b
         < +QUEUED
         > PING
         < +QUEUED
         > EXEC
         < *4
         < +OK
         < :2
         < *2
         < $1
         < 2
         < $-1
         < +PONG
         > MULTI
         < +OK
         > EXEC
         < *0
         > MULTI
         < +OK
         > MULTI
         < -ERR MULTI calls can not be nested
         > DISCARD
         < +OK
         > EXEC
         < -ERR EXEC without MULTI
         > DISCARD
         < -ERR DISCARD without MULTI
         > MULTI
         < +OK
         > NONSENSE
         < -ERR unknown command 'NONSENSE', with args beginning with: 
         > SET {t}a 9
         < +QUEUED
         > EXEC
         < -EXECABORT Transaction discarded because of previous errors.
         > GET {t}a
         < $1
         < 2",
    );
    assert_eq!(client.call("MULTI"), "+OK\r\n");
    let crossed =
        keys(20).iter().any(|key| client.call(&format!("SET {key} v")).starts_with("-CROSSSLOT"));
    assert!(crossed);
    assert!(client.call("EXEC").starts_with("-EXECABORT"));
    assert_eq!(client.call("GET key:0"), "$-1\r\n");
}

#[test]
fn any_server_will_do_for_a_whole_transaction() {
    let servers: Vec<Redis> = (0..4).map(|_| Redis::start()).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let proxy = Proxy::start("  distribution: random\n", &ports);
    let mut client = proxy.client();
    for number in 0..10 {
        assert_eq!(client.call("MULTI"), "+OK\r\n");
        for request in ["SET a{n} 1", "SET b{n} 2", "MGET a{n} b{n}"] {
            assert_eq!(client.call(&request.replace("{n}", &number.to_string())), "+QUEUED\r\n");
        }
        assert_eq!(
            client.call("EXEC"),
            "*3\r\n+OK\r\n+OK\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n",
            "all of it on one server"
        );
    }
    let used = servers.iter().filter(|server| server.client().call("DBSIZE") != ":0\r\n").count();
    assert!(used > 1, "each transaction chooses anew");
}

#[test]
fn replies_come_in_the_order_of_the_requests() {
    let (_servers, proxy) = set_up();
    let client = proxy.client();
    let mut requests = Vec::new();
    let mut expected = String::new();
    for number in 0..5000 {
        let value = "x".repeat(if number % 500 == 7 { 70_000 } else { number % 40 });
        requests.extend_from_slice(
            format!("*3\r\n$3\r\nSET\r\n$4\r\n{number:04}\r\n${}\r\n{value}\r\n", value.len())
                .as_bytes(),
        );
        requests.extend_from_slice(format!("GET {number:04}\r\nECHO {number}\r\n").as_bytes());
        let text = number.to_string();
        expected += &format!("+OK\r\n${}\r\n{value}\r\n${}\r\n{text}\r\n", value.len(), text.len());
    }
    let mut got = String::new();
    // Reading and writing go on at once: neither side may wait for the other.
    std::thread::scope(|scope| {
        let (mut sender, mut receiver) = client.halves();
        scope.spawn(move || sender.send_raw(&requests));
        for _ in 0..15_000 {
            got += &receiver.receive();
        }
    });
    assert!(got == expected, "replies differ");
}

#[test]
fn a_client_that_stops_sending_still_gets_its_replies() {
    use std::io::{Read, Write};
    let (_servers, proxy) = set_up();
    for _ in 0..20 {
        let mut stream =
            std::net::TcpStream::connect(("127.0.0.1", proxy.port)).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(b"SET a 1\r\nMGET a b c d\r\nGET a\r\nPING\r\nGET").expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("half closed");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("answered and closed");
        assert_eq!(text, "+OK\r\n*4\r\n$1\r\n1\r\n$-1\r\n$-1\r\n$-1\r\n$1\r\n1\r\n+PONG\r\n");
    }
}

#[test]
fn client_reply_and_kill_do_what_they_say() {
    let (_servers, proxy) = set_up();
    let mut client = proxy.client();
    client.send_raw(b"CLIENT REPLY OFF\r\nSET a 1\r\nPING\r\nCLIENT REPLY ON\r\nGET a\r\n");
    assert_eq!(client.receive(), "+OK\r\n");
    assert_eq!(client.receive(), "$1\r\n1\r\n");
    client.send_raw(b"CLIENT REPLY SKIP\r\nSET a 2\r\nGET a\r\n");
    assert_eq!(client.receive(), "$1\r\n2\r\n");
    let mut victim = proxy.client();
    let id = victim.call("CLIENT ID");
    let id = id[1..].trim();
    let list = client.call("CLIENT LIST");
    assert!(list.contains(&format!("id={id} ")), "{list}");
    assert_eq!(client.call(&format!("CLIENT KILL ID {id}")), ":1\r\n");
    assert!(victim.is_closed());
    assert_eq!(client.call(&format!("CLIENT KILL ID {id}")), ":0\r\n");
    // The filters of Valkey 9 are the proxy's own too.
    let mut named = proxy.client();
    named.call("CLIENT SETNAME other");
    let list = client.call("CLIENT LIST NAME other FLAGS N DB 0 IP 127.0.0.1");
    assert!(list.contains(" name=other ") && list.matches("id=").count() == 1, "{list}");
    assert_eq!(client.call("CLIENT LIST NOT-TYPE normal"), "$0\r\n\r\n");
    assert_eq!(client.call("CLIENT LIST TYPE replica"), "$0\r\n\r\n");
    let list = client.call("CLIENT LIST SKIPME yes");
    assert!(list.contains(" name=other ") && list.matches("id=").count() == 1, "{list}");
    assert_eq!(client.call("CLIENT LIST DB 1"), "-ERR DB number should be between 0 and 0\r\n");
    assert_eq!(client.call("CLIENT KILL NOT-NAME other"), ":0\r\n");
    assert_eq!(client.call("CLIENT KILL NAME other MAXAGE 1000"), ":0\r\n");
    assert_eq!(client.call("CLIENT KILL NAME other NOT-LIB-NAME x"), ":1\r\n");
    assert!(named.is_closed());
    assert_eq!(client.call("CLIENT KILL NOT-NAME other SKIPME no"), ":1\r\n");
    assert!(client.is_closed());
}

#[test]
fn passwords_are_asked_of_clients_and_given_to_servers() {
    let port = redstart_tests::proxy_support::free_port();
    let server = Redis::start_on(port, &["--requirepass", "secret"]);
    let proxy = Proxy::start("  redis_auth: secret\n  redis_db: 3\n", &[server.port]);
    let conversation = "> GET k
         < -NOAUTH Authentication required.
         > AUTH wrong
         < -WRONGPASS invalid username-password pair or user is disabled.
         > HELLO 3
         < -{HELLO}
         > AUTH default secret
         < +OK
         > SET k v
         < +OK";
    proxy.client().play(&conversation.replace("{HELLO}", error::HELLO_NO_AUTH));
    let mut client = proxy.client();
    assert!(client.call("HELLO 3 AUTH default secret").starts_with("%7"));
    assert_eq!(client.call("GET k"), "$1\r\nv\r\n");
    let mut direct = Client::connect(port);
    assert_eq!(direct.call("AUTH secret"), "+OK\r\n");
    assert_eq!(direct.call("SELECT 3"), "+OK\r\n");
    assert_eq!(direct.call("GET k"), "$1\r\nv\r\n");
}

#[test]
fn client_connections_is_a_limit() {
    let server = Redis::start();
    let proxy = Proxy::start("  client_connections: 3\n", &[server.port]);
    eventually("the test's own probe is gone", || {
        let mut one = proxy.client();
        one.send(&["INFO", "clients"]);
        one.try_receive().is_some_and(|reply| {
            String::from_utf8_lossy(&reply).contains("connected_clients:1\r\n")
        })
    });
    let mut clients: Vec<Client> = Vec::new();
    eventually("three are let in", || {
        clients.clear();
        clients.extend((0..3).map(|_| proxy.client()));
        clients.iter_mut().all(|client| {
            client.send(&["PING"]);
            client.try_receive().as_deref() == Some(b"+PONG\r\n")
        })
    });
    let mut fourth = proxy.client();
    assert_eq!(fourth.receive(), "-ERR max number of clients reached\r\n");
    assert!(fourth.is_closed());
}

#[test]
fn workers_share_the_clients() {
    let server = Redis::start();
    for arguments in ["  reuseport: false\n", "  reuseport: true\n"] {
        let proxy = Proxy::start_with(arguments, &[server.port], &["--workers", "2", "-s", "0"]);
        let mut clients: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.call(&format!("SET k{number} v")), "+OK\r\n");
        }
        let list = clients[0].call("CLIENT LIST");
        assert_eq!(list.matches("id=").count(), 20, "{list}");
        eventually("all are counted", || {
            clients[0].call("INFO clients").contains("connected_clients:20\r\n")
        });
    }
}

#[test]
fn redis_cli_and_redis_benchmark_work() {
    let (_servers, proxy) = set_up();
    let port = proxy.port.to_string();
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(["-p", &port]).args(args).output().expect(program);
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {text}");
        text
    };
    assert_eq!(run("redis-cli", &["set", "k", "v"]).trim(), "OK");
    assert_eq!(run("redis-cli", &["get", "k"]).trim(), "v");
    assert_eq!(run("redis-cli", &["--scan"]).trim(), "k");
    for pipeline in ["1", "16"] {
        let text = run("redis-benchmark", &["-q", "-n", "1000", "-P", pipeline]);
        assert!(!text.contains("rror"), "{text}");
        assert!(text.contains("MSET (10 keys)"), "{text}");
    }
}
