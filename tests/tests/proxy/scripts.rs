//! Scripts through the proxy: they are found on whichever server they are called.

use redstart_tests::proxy_support::{Client, Proxy, Redis, eventually};

const KEYS: &str = "  hash_tag: \"{}\"\n";
const NO_SCRIPT: &str = "-NOSCRIPT No matching script. Please use EVAL.\r\n";

fn set_up() -> (Vec<Redis>, Proxy) {
    let options = ["--busy-reply-threshold", "50"];
    let servers: Vec<Redis> = (0..2)
        .map(|_| Redis::start_on(redstart_tests::proxy_support::free_port(), &options))
        .collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let proxy = Proxy::start(KEYS, &ports);
    (servers, proxy)
}

fn load(client: &mut Client, body: &str) -> String {
    client.send(&["SCRIPT", "LOAD", body]);
    let reply = client.receive();
    reply.split("\r\n").nth(1).expect("a digest").to_owned()
}

fn flush_behind(servers: &[Redis]) {
    for server in servers {
        assert_eq!(server.client().call("SCRIPT FLUSH"), "+OK\r\n");
    }
}

/// For each of two servers a key that lies there.
fn key_of_each(servers: &[Redis], client: &mut Client) -> Vec<String> {
    let keys: Vec<String> = (0..100).map(|number| format!("key:{number}")).collect();
    for key in &keys {
        assert_eq!(client.call(&format!("SET {key} 0")), "+OK\r\n");
    }
    servers
        .iter()
        .map(|server| {
            let mut direct = server.client();
            let here = |key: &&String| direct.call(&format!("EXISTS {key}")) == ":1\r\n";
            keys.iter().find(here).expect("a key of it").clone()
        })
        .collect()
}

#[test]
fn a_server_that_lacks_a_script_is_given_it() {
    let (servers, proxy) = set_up();
    let mut client = proxy.client();
    let keys = key_of_each(&servers, &mut client);
    let sha = load(&mut client, "return redis.call('INCR', KEYS[1])");
    flush_behind(&servers);
    for round in 1..=3 {
        for key in &keys {
            assert_eq!(client.call(&format!("EVALSHA {sha} 1 {key}")), format!(":{round}\r\n"));
        }
    }
    // A script that was never loaded, but seen in EVAL by one server.
    client.send(&["EVAL", "return redis.call('DECR', KEYS[1])", "1", &keys[0]]);
    assert_eq!(client.receive(), ":2\r\n");
    // The digest, as a server works it out that nobody else asks.
    let sha = load(&mut Redis::start().client(), "return redis.call('DECR', KEYS[1])");
    assert_eq!(client.call(&format!("EVALSHA {sha} 1 {}", keys[1])), ":2\r\n");
    let unknown = "0000000000000000000000000000000000000000";
    assert_eq!(client.call(&format!("EVALSHA {unknown} 1 {}", keys[1])), NO_SCRIPT);
    assert_eq!(client.call(&format!("EVALSHA nonsense 1 {}", keys[1])), NO_SCRIPT);
    let both = format!("EVALSHA {sha} 2 {} {}", keys[0], keys[1]);
    assert_eq!(client.call(&both), "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
    assert_eq!(client.call("EVAL_RO return(5) 0"), ":5\r\n");
    // In a transaction there is no second attempt, so the body goes along.
    flush_behind(&servers);
    let mut transaction = String::new();
    for request in ["MULTI", &format!("EVALSHA {sha} 1 {}", keys[0]), "EXEC"] {
        transaction += &client.call(request);
    }
    assert_eq!(transaction, "+OK\r\n+QUEUED\r\n*1\r\n:1\r\n");
}

#[test]
fn a_script_that_is_given_again_overtakes_nothing() {
    let (servers, proxy) = set_up();
    let mut client = proxy.client();
    let sha = load(&mut client, "redis.call('SET', KEYS[1], ARGV[1]) return 1");
    for round in 0..50 {
        let value = round.to_string();
        let flushed = round % 10 == 9;
        if flushed {
            flush_behind(&servers);
        }
        client.send(&["EVALSHA", &sha, "1", "k", &value]);
        client.send(&["GET", "k"]);
        let (set, get) = (client.receive(), client.receive());
        if set == ":1\r\n" {
            assert_eq!(get, format!("${}\r\n{value}\r\n", value.len()));
        } else {
            // What came behind had run already: the client is told, and nothing is turned round.
            assert!(flushed && set == NO_SCRIPT, "{round}: {set}");
            let before = (round - 1).to_string();
            assert_eq!(get, format!("${}\r\n{before}\r\n", before.len()));
        }
    }
    // A server that restarts has no scripts, whatever its connection carried before.
    let mut servers = servers;
    let ports: Vec<u16> = servers.drain(..).map(Redis::kill).collect();
    let _again: Vec<Redis> = ports.iter().map(|port| Redis::start_on(*port, &[])).collect();
    eventually("the servers are served again", || client.call("DBSIZE") == ":0\r\n");
    for round in 0..20 {
        let (key, value) = (format!("k{round}"), round.to_string());
        client.send(&["EVALSHA", &sha, "1", &key, &value]);
        client.send(&["GET", &key]);
        assert_eq!(client.receive(), ":1\r\n");
        assert_eq!(client.receive(), format!("${}\r\n{value}\r\n", value.len()));
    }
}

#[test]
fn all_servers_are_told_of_scripts_and_functions() {
    let (servers, proxy) = set_up();
    let mut client = proxy.client();
    let sha = load(&mut client, "return 1");
    for server in &servers {
        assert_eq!(server.client().call(&format!("SCRIPT EXISTS {sha}")), "*1\r\n:1\r\n");
    }
    assert_eq!(servers[1].client().call("SCRIPT FLUSH"), "+OK\r\n");
    // A script exists where it can be called: one that a server lacks is given it, and so is one that was only seen in EVAL.
    assert_eq!(client.call(&format!("SCRIPT EXISTS {sha}")), "*1\r\n:1\r\n");
    assert_eq!(client.call("EVAL return(7) 0"), ":7\r\n");
    let seen = load(&mut Redis::start().client(), "return(7)").to_uppercase();
    let own = load(&mut servers[0].client(), "return(8)");
    let exists = format!("SCRIPT EXISTS {seen} nonsense {sha} {own}");
    assert_eq!(client.call(&exists), "*4\r\n:1\r\n:0\r\n:1\r\n:0\r\n", "one server has the last");
    load(&mut servers[1].client(), "return(8)");
    assert_eq!(client.call(&exists), "*4\r\n:1\r\n:0\r\n:1\r\n:1\r\n");
    assert_eq!(client.call("SCRIPT FLUSH ASYNC"), "+OK\r\n");
    assert_eq!(client.call(&exists), "*4\r\n:0\r\n:0\r\n:0\r\n:0\r\n");
    assert_eq!(client.call(&format!("EVALSHA {sha} 0")), NO_SCRIPT, "it is forgotten here as well");
    assert!(client.call("SCRIPT FLUSH NONSENSE").starts_with("-ERR SCRIPT FLUSH only support"));
    assert_eq!(
        client.call("SCRIPT DEBUG YES"),
        "-ERR command 'script debug' is not supported through the proxy\r\n"
    );
    let library =
        "#!lua name=lib\nredis.register_function('f', function(keys, args) return args[1] end)";
    client.send(&["FUNCTION", "LOAD", library]);
    assert_eq!(client.receive(), "$3\r\nlib\r\n");
    for server in &servers {
        assert!(server.client().call("FUNCTION LIST").contains("lib"));
    }
    for key in ["a", "b", "c", "d", "e"] {
        assert_eq!(client.call(&format!("FCALL f 1 {key} x")), "$1\r\nx\r\n");
    }
    assert_eq!(client.call("FCALL f 0 y"), "$1\r\ny\r\n");
    assert!(client.call("FUNCTION LIST").contains("lib"));
    let dump = {
        client.send(&["FUNCTION", "DUMP"]);
        let reply = client.try_receive().expect("a reply");
        let start = reply.iter().position(|byte| *byte == b'\n').expect("a header") + 1;
        reply[start..reply.len() - 2].to_vec()
    };
    assert_eq!(client.call("FUNCTION DELETE lib"), "+OK\r\n");
    client.send(&[&b"FUNCTION"[..], b"RESTORE", &dump]);
    assert_eq!(client.receive(), "+OK\r\n");
    assert!(servers.iter().all(|server| server.client().call("FCALL f 0 z") == "$1\r\nz\r\n"));
    assert_eq!(client.call("FUNCTION FLUSH"), "+OK\r\n");
    assert_eq!(client.call("FUNCTION LIST"), "*0\r\n");
}

#[test]
fn a_busy_script_is_ended_whoever_runs_it() {
    let (servers, proxy) = set_up();
    let mut client = proxy.client();
    let keys = key_of_each(&servers, &mut client);
    let idle = "-NOTBUSY No scripts in execution right now.\r\n";
    assert_eq!(client.call("SCRIPT KILL"), idle);
    assert_eq!(client.call("FUNCTION KILL"), idle);
    assert!(client.call("FUNCTION STATS").contains("running_script\r\n$-1\r\n"));
    for key in &keys {
        let mut busy = proxy.client();
        busy.send(&["EVAL", "while true do end", "1", key]);
        eventually("the script is ended", || client.call("SCRIPT KILL") == "+OK\r\n");
        assert!(busy.receive().contains("Script killed by user"));
        assert_eq!(client.call(&format!("GET {key}")), "$1\r\n0\r\n");
    }
    let library = "#!lua name=lib\nredis.register_function('f', function() while true do end end)";
    client.send(&["FUNCTION", "LOAD", library]);
    assert_eq!(client.receive(), "$3\r\nlib\r\n");
    let mut busy = proxy.client();
    busy.send(&["FCALL", "f", "1", &keys[1]]);
    eventually("the function is seen to run", || {
        client.call("FUNCTION STATS").contains("running_script\r\n*6\r\n")
    });
    assert_eq!(client.call("FUNCTION KILL"), "+OK\r\n");
    assert!(busy.receive().starts_with("-ERR"));
}
