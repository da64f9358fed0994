//! Libraries of functions: loaded, called, and kept where the data is kept.

use redstart_tests::proxy_support::{Client, Redis, eventually, free_port};
use redstart_tests::server_support::{Peer, Server};

fn ask(client: &mut Client, words: &[&str]) -> String {
    client.send(words);
    client.receive()
}

const LIBRARY: &str = "#!lua name=lib\n\
    redis.register_function('get', function(keys, args) return redis.call('get', keys[1]) end)\n\
    redis.register_function{function_name='put', callback=function(keys, args) \
    return redis.call('set', keys[1], args[1]) end, description='puts', flags={'allow-oom'}}\n\
    redis.register_function{function_name='ro', callback=function() return 'read' end, \
    flags={'no-writes'}}";

/// Libraries that are loaded or refused, and why.
const LIBRARIES: &[&str] = &[
    LIBRARY,
    "return 1",
    "#!lua\nreturn 1",
    "#!lua name=lib",
    "#!lua name=a name=b\nreturn 1",
    "#!lua nme=a\nreturn 1",
    "#!lua name=a-b\nreturn 1",
    "#!lua name=\nreturn 1",
    "#!js name=a\nreturn 1",
    "#!LUA name=a\nredis.register_function('fa', function() return 1 end)",
    "#!lua name=b\nbad syntax",
    "#!lua name=b\nreturn 1",
    "#!lua name=b\nerror('boo')",
    "#!lua name=b\nerror({err='ERR table'})",
    "#!lua name=b\nredis.call('get', 'a')",
    "#!lua name=b\nlocal x = math.random()",
    "#!lua name=b\nfoo()",
    "#!lua name=b\nx = 1",
    "#!lua name=b\nredis.x = 1",
    "#!lua name=b\nredis.register_function()",
    "#!lua name=b\nredis.register_function(1)",
    "#!lua name=b\nredis.register_function('f')",
    "#!lua name=b\nredis.register_function('f', 1)",
    "#!lua name=b\nredis.register_function({}, 1)",
    "#!lua name=b\nredis.register_function(1, 2, 3)",
    "#!lua name=b\nredis.register_function('f-g', function() end)",
    "#!lua name=b\nredis.register_function('f', function() end) redis.register_function('f', function() end)",
    "#!lua name=b\nredis.register_function('get', function() end)",
    "#!lua name=b\nredis.register_function{function_name='f'}",
    "#!lua name=b\nredis.register_function{callback=1}",
    "#!lua name=b\nredis.register_function{callback=function() end}",
    "#!lua name=b\nredis.register_function{[{}]=1}",
    "#!lua name=b\nredis.register_function{nope=1}",
    "#!lua name=b\nredis.register_function{function_name={}}",
    "#!lua name=b\nredis.register_function{description={}}",
    "#!lua name=b\nredis.register_function{flags=1}",
    "#!lua name=b\nredis.register_function{flags={'nope'}}",
    "#!lua name=b\nredis.register_function{flags={{}}}",
    "#!lua name=b\nwhile true do end",
    "#!lua name=c\nlocal hidden = 5 redis.register_function('count', function() hidden = hidden + 1 return hidden end)",
    "#!lua name=d\nredis.log(redis.LOG_NOTICE, redis.REDIS_VERSION) redis.register_function('glob', function() return KEYS end)",
    "#!lua name=e\nredis.register_function('late', function() redis.register_function('g', function() end) end)",
    "#!lua name=f\nredis.register_function('fault', function(keys, args)\n return redis.call('incr', keys[1], 5)\nend)",
    "#!lua name=g\nredis.register_function('writes', function(keys) g = 1 end)",
    "#!lua name=h\nredis.register_function('libs', function() return cjson.encode({math.floor(1.5), string.upper('x'), bit.band(3,1)}) end)",
];

/// Calls behind them.
const CALLS: &[&[&str]] = &[
    &["FCALL", "put", "1", "k", "v"],
    &["FCALL", "get", "1", "k"],
    &["FCALL_RO", "get", "1", "k"],
    &["FCALL_RO", "put", "1", "k", "v"],
    &["FCALL_RO", "ro", "0"],
    &["FCALL", "ro", "0"],
    &["FCALL", "nope", "0"],
    &["FCALL", "GET", "0"],
    &["FCALL", "get", "x"],
    &["FCALL", "get", "5"],
    &["FCALL", "get", "-1"],
    &["FCALL", "get"],
    &["FCALL", "count", "0"],
    &["FCALL", "count", "0"],
    &["FCALL", "glob", "0"],
    &["FCALL", "late", "0"],
    &["FCALL", "fault", "1", "k"],
    &["FCALL", "writes", "0"],
    &["FCALL", "libs", "0"],
    &["FUNCTION", "LIST", "LIBRARYNAME", "c"],
    &["FUNCTION", "LIST", "LIBRARYNAME", "[cd]", "WITHCODE", "NOPE"],
    &["FUNCTION", "LIST", "LIBRARYNAME"],
    &["FUNCTION", "LIST", "LIBRARYNAME", "nope"],
    &["FUNCTION", "LIST", "LIBRARYNAME", "c", "WITHCODE"],
    &["FUNCTION", "STATS"],
    &["FUNCTION", "LOAD"],
    &["FUNCTION", "LOAD", "NOPE", "#!lua name=c\nreturn 1"],
    &["FUNCTION", "LOAD", "REPLACE", "#!lua name=c\nreturn 1"],
    &["FCALL", "count", "0"],
    &[
        "FUNCTION",
        "LOAD",
        "REPLACE",
        "#!lua name=c\nredis.register_function('count2', function() return 2 end)",
    ],
    &["FCALL", "count", "0"],
    &["FCALL", "count2", "0"],
    &[
        "FUNCTION",
        "LOAD",
        "REPLACE",
        "#!lua name=c\nredis.register_function('get', function() return 2 end)",
    ],
    &["FCALL", "count2", "0"],
    &["FUNCTION", "DELETE", "nope"],
    &["FUNCTION", "DELETE", "c"],
    &["FCALL", "count2", "0"],
    &["FUNCTION", "RESTORE", "junk"],
    &["FUNCTION", "RESTORE", "junk", "NOPE"],
    &["FUNCTION", "RESTORE", "junk", "FLUSH", "x"],
    &["FUNCTION", "FLUSH", "NOPE"],
    &["FUNCTION", "FLUSH", "SYNC", "x"],
    &["FUNCTION", "HELP"],
    &["FUNCTION", "NOPE"],
    &["MULTI"],
    &["FCALL", "put", "1", "m", "v"],
    &["FCALL_RO", "ro", "0"],
    &["EXEC"],
    &["FUNCTION", "FLUSH", "ASYNC"],
    &["FUNCTION", "LIST"],
    &["FCALL", "get", "1", "k"],
];

#[test]
fn answers_are_the_originals() {
    let [theirs, ours] = Peer::both(&[]);
    let (mut theirs, mut ours) = (theirs.client(), ours.client());
    let loads: Vec<[&str; 3]> = LIBRARIES.iter().map(|code| ["FUNCTION", "LOAD", code]).collect();
    let calls = loads.iter().map(|words| &words[..]).chain(CALLS.iter().copied());
    let mut differences = Vec::new();
    for words in calls {
        let [wanted, found] = [ask(&mut theirs, words), ask(&mut ours, words)];
        if wanted != found {
            differences.push(format!("{words:?}\n  {wanted:?}\n  {found:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// How many libraries there are, and what a function of the first answers.
fn serves(client: &mut Client) -> bool {
    client.call("FUNCTION STATS").contains("$15\r\nlibraries_count\r\n:2\r\n")
        && ask(client, &["FCALL_RO", "ro", "0"]) == "$4\r\nread\r\n"
        && ask(client, &["FCALL", "two", "0"]) == ":2\r\n"
}

fn load(client: &mut Client) {
    assert_eq!(ask(client, &["FUNCTION", "LOAD", LIBRARY]), "$3\r\nlib\r\n");
    let second = "#!lua name=second\nredis.register_function{function_name='two', \
                  callback=function() return 2 end, flags={'no-writes'}}";
    assert_eq!(ask(client, &["FUNCTION", "LOAD", second]), "$6\r\nsecond\r\n");
}

#[test]
fn a_payload_goes_from_each_server_to_the_other() {
    let [theirs, ours] = Peer::both(&[]);
    for (from, to) in [(&theirs, &ours), (&ours, &theirs)] {
        let (mut from, mut to) = (from.client(), to.client());
        ask(&mut from, &["FUNCTION", "FLUSH"]);
        ask(&mut to, &["FUNCTION", "FLUSH"]);
        load(&mut from);
        from.send(&["FUNCTION", "DUMP"]);
        let reply = from.try_receive().expect("a payload");
        let start = reply.iter().position(|byte| *byte == b'\n').expect("a length") + 1;
        let payload = &reply[start..reply.len() - 2];
        let mut restore = |policy: &[u8]| {
            to.send(&[b"FUNCTION", &b"RESTORE"[..], payload, policy]);
            to.receive()
        };
        assert_eq!(restore(b"APPEND"), "+OK\r\n");
        let refusal = restore(b"APPEND");
        assert!(refusal.starts_with("-ERR Library "), "{refusal}");
        assert!(refusal.ends_with(" already exists\r\n"), "{refusal}");
        assert_eq!(restore(b"REPLACE"), "+OK\r\n");
        assert_eq!(restore(b"FLUSH"), "+OK\r\n");
        assert!(serves(&mut to));
    }
}

#[test]
fn functions_survive_in_every_form_of_the_data() {
    for options in [
        &["--save", "900 1"][..],
        &["--appendonly", "yes"],
        &["--appendonly", "yes", "--aof-use-rdb-preamble", "no"],
    ] {
        for rewrites in [false, true] {
            let server = Server::start(options);
            let mut client = Client::connect(server.port);
            load(&mut client);
            assert_eq!(client.call("SET k v"), "+OK\r\n");
            if options[0] == "--save" {
                assert_eq!(client.call("SAVE"), "+OK\r\n");
            } else if rewrites {
                assert!(client.call("BGREWRITEAOF").starts_with("+Background"));
                eventually("it is rewritten", || {
                    client.call("INFO persistence").contains("aof_rewrite_in_progress:0")
                });
            }
            drop(client);
            let server = Server::start_in(server.into_folder(), options);
            let mut client = Client::connect(server.port);
            eventually("it is loaded", || client.call("PING") == "+PONG\r\n");
            assert!(serves(&mut client), "{options:?} {rewrites}");
            assert_eq!(client.call("GET k"), "$1\r\nv\r\n");
        }
    }
}

#[test]
fn the_original_loads_our_file_and_we_load_its() {
    let ours = Server::start(&[]);
    let mut client = Client::connect(ours.port);
    load(&mut client);
    assert_eq!(client.call("SAVE"), "+OK\r\n");
    drop(client);
    let folder = ours.into_folder();
    let path = folder.join("dump.rdb");
    let theirs = Redis::start_on(free_port(), &["--dir", &folder.path().display().to_string()]);
    let mut client = Client::connect(theirs.port);
    eventually("it is loaded", || client.call("PING") == "+PONG\r\n");
    assert!(serves(&mut client));
    assert_eq!(client.call("SAVE"), "+OK\r\n");
    drop((client, theirs));
    assert!(path.exists());
    let ours = Server::start_in(folder, &[]);
    let mut client = Client::connect(ours.port);
    eventually("it is loaded", || client.call("PING") == "+PONG\r\n");
    assert!(serves(&mut client));
}

#[test]
fn functions_go_to_replicas_and_come_from_primaries() {
    let theirs = Redis::start_on(free_port(), &[]);
    let ours = Server::start(&["--repl-diskless-sync-delay", "0"]);
    for (primary, replica) in [(theirs.port, ours.port), (ours.port, theirs.port)] {
        let (mut first, mut second) = (Client::connect(primary), Client::connect(replica));
        assert_eq!(second.call("REPLICAOF NO ONE"), "+OK\r\n");
        assert_eq!(ask(&mut first, &["FUNCTION", "FLUSH"]), "+OK\r\n");
        assert_eq!(ask(&mut second, &["FUNCTION", "FLUSH"]), "+OK\r\n");
        let own = "#!lua name=own\nredis.register_function('own', function() end)";
        assert_eq!(ask(&mut second, &["FUNCTION", "LOAD", own]), "$3\r\nown\r\n");
        load(&mut first);
        second.call(&format!("REPLICAOF 127.0.0.1 {primary}"));
        // What the replica had is replaced.
        eventually("the libraries come with the data", || serves(&mut second));
        let third = "#!lua name=second\nredis.register_function('two', function() return 3 end)";
        assert_eq!(ask(&mut first, &["FUNCTION", "LOAD", "REPLACE", third]), "$6\r\nsecond\r\n");
        eventually("a change comes", || {
            ask(&mut second, &["FCALL", "two", "0"]).contains("READONLY")
                || ask(&mut second, &["FUNCTION", "LIST", "WITHCODE"]).contains("return 3")
        });
        assert_eq!(ask(&mut first, &["FUNCTION", "DELETE", "second"]), "+OK\r\n");
        eventually("a removal comes", || {
            ask(&mut second, &["FUNCTION", "STATS"]).contains("libraries_count\r\n:1\r\n")
        });
        assert_eq!(second.call("REPLICAOF NO ONE"), "+OK\r\n");
    }
}
