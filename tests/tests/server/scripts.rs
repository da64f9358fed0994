//! Scripts and functions: answers that are the original's to the byte, what leaves for others, what is refused, and faults of
//! Lua that must stay closed.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use redstart_common::resp::split_words;
use redstart_tests::proxy_support::{Client, PATIENCE, eventually};
use redstart_tests::server_support::{Peer, Server, figure, readable};

/// The calls of `scripts.txt`.
fn calls() -> Vec<Vec<Vec<u8>>> {
    let lines = include_str!("scripts.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| split_words(line.as_bytes()).expect("quotes match")).collect()
}

fn eval(client: &mut Client, script: &str) -> String {
    client.send(&["EVAL", script, "0"]);
    client.receive()
}

#[test]
fn answers_are_the_originals() {
    let [theirs, ours] = Peer::both(&["--enable-debug-command", "yes"]);
    let (mut theirs, mut ours) = (theirs.client(), ours.client());
    let calls = calls();
    assert!(calls.len() > 400, "{}", calls.len());
    let mut differences = Vec::new();
    for words in &calls {
        theirs.send(words);
        ours.send(words);
        let wanted = theirs.try_receive().expect("the original answers");
        let found = ours.try_receive().expect("it answers");
        if found != wanted {
            let words: Vec<_> = words.iter().map(|word| readable(word)).collect();
            let [wanted, found] = [readable(&wanted), readable(&found)];
            differences.push(format!("{words:?}\n  {wanted}\n  {found}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn resp3_clients_get_the_types_of_resp3() {
    let [theirs, ours] = Peer::both(&[]);
    let (mut theirs, mut ours) = (theirs.client(), ours.client());
    theirs.call("HELLO 3");
    ours.call("HELLO 3");
    for script in [
        "return {double=3.5}",
        "return {map={a=1}}",
        "return {set={a=true}}",
        "return {verbatim_string={format='txt',string='hello'}}",
        "return {verbatim_string={format='t',string='hello'}}",
        "return {big_number='123'}",
        "return {true,false,nil}",
        "redis.setresp(3) return {true,false}",
        "redis.setresp(3) redis.call('hset','h','f','v') return redis.call('hgetall','h')",
        "redis.call('hset','h','f','v') return redis.call('hgetall','h')",
        "redis.setresp(3) return redis.call('zscore','none','m')",
        "redis.setresp(3) redis.call('zadd','z','1.5','m') return redis.call('zrange','z',0,-1,'withscores')",
        "redis.setresp(3) redis.call('sadd','s','m') return redis.call('smembers','s')",
        "redis.setresp(3) return redis.call('command','getkeys','set','a','b')",
        "return nil",
        "return {err='a b'}",
        "return function() end",
    ] {
        assert_eq!(eval(&mut ours, script), eval(&mut theirs, script), "{script}");
    }
}

#[test]
fn a_line_break_in_an_error_does_not_end_the_reply() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.port);
    for script in [
        "return {err='ERR a\\r\\n+injected'}",
        "return redis.error_reply('ERR a\\r\\n+injected')",
        "error('a\\r\\n+injected')",
        "error({err='ERR a\\r\\n+injected'})",
        "return {ok='a\\r\\n+injected'}",
        "return {{err='ERR a\\n+injected'}}",
    ] {
        let reply = eval(&mut client, script);
        assert!(!reply.contains("\n+injected"), "{script}: {reply:?}");
        assert_eq!(client.call("ECHO next"), "$4\r\nnext\r\n", "{script}");
    }
}

/// One test for each of the faults of Lua and its libraries that were published in 2024 and 2025.
#[test]
fn known_faults_of_lua_are_closed() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.port);
    // CVE-2024-31449: the stack of `bit.tohex`.
    assert_eq!(eval(&mut client, "return bit.tohex(65535, -2147483648)"), "$8\r\n0000FFFF\r\n");
    // CVE-2024-46981: values that the collector calls; nothing makes one.
    let reply = eval(&mut client, "return newproxy(true)");
    assert!(reply.contains("nonexistent global variable 'newproxy'"), "{reply}");
    let collected = "local t = setmetatable({}, {__gc = function() error('called') end}) t = nil \
                     collectgarbage() collectgarbage() return 'fine'";
    assert_eq!(eval(&mut client, collected), "$4\r\nfine\r\n");
    assert_eq!(client.call("SCRIPT FLUSH"), "+OK\r\n");
    // CVE-2025-49844: the name of a chunk was not held while it was parsed.
    let parsed = "collectgarbage('setpause', 0) collectgarbage('setstepmul', 1000000) \
                  local code = {} for i = 1, 2000 do code[i] = 'local a' .. (i % 150) .. ' = \"' .. i .. \
                  ('x'):rep(50) .. '\"' if i % 150 == 0 then code[i] = code[i] .. ' do end' end end \
                  for i = 1, 20 do local text = 'do ' .. table.concat(code, ' end do ') .. ' end return ' .. i \
                  local made, fault = loadstring(text, ('name' .. i):rep(40)) \
                  if not made or made() ~= i then return fault or 'wrong' end end \
                  collectgarbage('setpause', 200) collectgarbage('setstepmul', 200) return 'parsed'";
    assert_eq!(eval(&mut client, parsed), "$6\r\nparsed\r\n");
    // CVE-2025-46817: `unpack` of ranges whose length does not fit.
    for range in ["0, 2147483647", "-2147483648, 2147483647", "1, 2147483647", "-2, 2147483646"] {
        let reply = eval(&mut client, &format!("return unpack({{}}, {range})"));
        assert!(reply.contains("too many results to unpack"), "{range}: {reply}");
    }
    assert_eq!(eval(&mut client, "return ({})[-2147483648] == nil"), ":1\r\n");
    // CVE-2025-46818: a script changes what the strings of others do.
    for change in [
        "getmetatable('').__index = function() end",
        "getmetatable('').__add = function() end",
        "rawset(getmetatable(''), '__index', 1)",
        "setmetatable(getmetatable(''), {})",
        "string.rep = nil",
        "getmetatable(_G).__index = nil",
        "coroutine.wrap(function() _G.x = 1 end)()",
        "table.insert(redis, 1)",
        "cjson.encode = nil",
    ] {
        let reply = eval(&mut client, change);
        assert!(reply.contains("Attempt to modify a readonly table"), "{change}: {reply}");
    }
    assert_eq!(eval(&mut client, "return ('x'):rep(3)"), "$3\r\nxxx\r\n");
    // CVE-2025-46819: long strings with long delimiters, which end nowhere.
    let reply = eval(&mut client, &format!("return [{}[", "=".repeat(100_000)));
    assert!(reply.contains("unfinished long string"), "{reply:.200}");
    let reply = eval(&mut client, &format!("return [{}", "=".repeat(100_000)));
    assert!(reply.contains("invalid long string delimiter"), "{reply:.200}");
    // What is compiled is not verified, and not taken.
    let reply = eval(&mut client, "return loadstring(string.dump(function() end)) == nil");
    assert_eq!(reply, ":1\r\n");
    assert_eq!(client.call("PING"), "+PONG\r\n");
}

#[test]
fn nothing_that_a_script_does_ends_the_server() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.port);
    for (script, told) in [
        ("local function f() return 1 + f() end return f()", "stack overflow"),
        ("return string.rep('x', 2147483647)", "resulting string too large"),
        ("return string.rep(('x'):rep(1000), 1000000)", "resulting string too large"),
        ("return #string.rep('', 2147483647)", ":0"),
        ("return string.find(('a'):rep(100000), ('a?'):rep(100000))", "pattern too complex"),
        ("return string.find(('a'):rep(100000), ('a-'):rep(100000) .. 'b')", "pattern too complex"),
        ("return string.gsub(('a'):rep(9000), ('(a*)'):rep(40), '')", "too many captures"),
        ("local t = {} t[1] = t return cjson.encode(t)", "excessive nesting"),
        (
            "cjson.encode_max_depth(2147483647) local t = {} t[1] = t return cjson.encode(t)",
            "excessive",
        ),
        (
            "cjson.decode_max_depth(2147483647) return cjson.decode(('['):rep(1000000))",
            "too many nested",
        ),
        ("return #cmsgpack.pack((function() local t = {} t[1] = t return t end)())", ":17"),
        ("return cmsgpack.unpack(('\\145'):rep(1000000))", "stack overflow"),
        ("return cmsgpack.unpack('\\221\\255\\255\\255\\255')", "Missing bytes"),
        ("return cmsgpack.unpack('\\223\\255\\255\\255\\255\\1')", "Missing bytes"),
        ("return struct.pack('c2147483647', 'x')", "string too short"),
        ("return {struct.unpack('c2147483647', 'x')}", "data string too short"),
        ("return {struct.unpack('b', 'x', -9223372036854775808)}", "data string too short"),
        (
            "return redis.call(unpack((function() local t = {} for i = 1, 7999 do t[i] = 'x' end return t end)()))",
            "Unknown Redis command",
        ),
        (
            "return cmsgpack.pack(unpack((function() local t = {} for i = 1, 7900 do t[i] = 'x' end return t end)())) ~= nil",
            ":1",
        ),
        (
            "local f = function() return coroutine.wrap(f)() end return coroutine.wrap(function() return 5 end)()",
            ":5",
        ),
        ("local function f() return coroutine.wrap(f)() end return f()", "C stack overflow"),
        ("local function f(s) return (s:gsub('.', f)) end return f('x')", "stack overflow"),
        ("return xpcall(function() error() end, function() error() end)", "$-1"),
        ("error(setmetatable({}, {__index = function() error('no') end}))", "-ERR"),
        ("error({})", "-ERR unknown error"),
        ("return setmetatable({}, {__index = function() error('no') end})", "*0"),
        ("return pcall()", "bad argument #1 to 'pcall'"),
        ("return loadstring(('('):rep(100000))", "$-1"),
        ("return loadstring(('a.'):rep(100000) .. 'b = 1') ~= nil", ":1"),
        (
            "local t = {} for i = 1, 300 do t[i] = 'a' .. i end return loadstring('local ' .. table.concat(t, ','))",
            "$-1",
        ),
        ("return math.random(-2147483648, 2147483647) ~= nil", ":1"),
        ("return tostring(2^1023 * 2):rep(2)", "$6\r\ninfinf"),
        ("return redis.sha1hex(('x'):rep(1000)):len()", ":40"),
    ] {
        let reply = eval(&mut client, script);
        assert!(reply.contains(told), "{script}: {reply:.300}");
        assert_eq!(client.call("PING"), "+PONG\r\n", "{script}");
    }
}

#[test]
fn a_reply_of_tables_within_tables_ends_somewhere() {
    let server = Server::start(&[]);
    for script in ["local t = {} t[1] = t return t", "local t = {} t.set = {[t] = true} return t"] {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let request = format!("*3\r\n$4\r\nEVAL\r\n${}\r\n{script}\r\n$1\r\n0\r\n", script.len());
        stream.write_all(request.as_bytes()).expect("sent");
        let mut lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
        let depth = lines.by_ref().take_while(|line| line == "*1").count();
        assert!((2_000..8_000).contains(&depth), "{depth}");
        let mut client = Client::connect(server.port);
        assert!(client.call("INFO errorstats").contains("errorstat_ERR:count="));
    }
}

#[test]
fn monitors_see_the_call_and_then_what_it_calls() {
    let [theirs, ours] = Peer::both(&[]);
    let shown = |peer: &Peer| {
        let mut monitor = peer.client();
        assert_eq!(monitor.call("MONITOR"), "+OK\r\n");
        let mut client = peer.client();
        client.send(&[
            "EVAL",
            "redis.call('select', 2) return redis.call('set', KEYS[1], ARGV[1])",
            "1",
            "k",
            "v",
        ]);
        assert_eq!(client.receive(), "+OK\r\n");
        (0..3)
            .map(|_| {
                let line = monitor.receive();
                // The moment and the address differ.
                let (_, rest) = line.split_once(" [").expect("a place");
                let (place, words) = rest.split_once("] ").expect("words");
                let place = place.split(':').next().unwrap_or_default().to_owned();
                format!("{place} {words}")
            })
            .collect::<Vec<_>>()
    };
    let wanted = shown(&theirs);
    assert_eq!(shown(&ours), wanted);
    assert!(wanted[2].starts_with("2 lua "), "{wanted:?}");
}

#[test]
fn a_script_may_do_what_its_caller_may() {
    let [theirs, ours] = Peer::both(&[]);
    let answers = |peer: &Peer| {
        let mut client = peer.client();
        client.call("ACL SETUSER u on nopass +@scripting +get +acl|whoami ~a*");
        assert_eq!(client.call("AUTH u x"), "+OK\r\n");
        let mut answers: Vec<String> = [
            "return redis.call('get', 'a1')",
            "return redis.call('get', 'b1')",
            "return redis.call('set', 'a1', 1)",
            "return redis.pcall('publish', 'c', 'm')",
            "return {tostring(redis.acl_check_cmd('get', 'a')), tostring(redis.acl_check_cmd('get', 'b'))}",
            "return tostring(redis.acl_check_cmd('set', 'a', 1))",
        ]
        .iter()
        .map(|script| eval(&mut client, script))
        .collect();
        let mut admin = peer.client();
        let log = admin.call("ACL LOG");
        answers.push(log.matches("$3\r\nlua\r\n").count().to_string());
        answers
    };
    assert_eq!(answers(&ours), answers(&theirs));
}

#[test]
fn writes_are_refused_where_the_original_refuses_them() {
    let options = ["--maxmemory", "1", "--min-replicas-to-write", "1"];
    for options in [&options[..2], &options[2..]] {
        let [theirs, ours] = Peer::both(options);
        let (mut theirs, mut ours) = (theirs.client(), ours.client());
        for script in [
            "return redis.call('set', 'a', 1)",
            "return redis.call('get', 'a')",
            "return redis.pcall('set', 'a', 1)",
            "redis.call('del', 'a') return redis.call('set', 'a', 1)",
            "#!lua\nreturn 1",
            "#!lua flags=allow-oom\nreturn redis.call('set', 'a', 1)",
            "#!lua flags=no-writes\nreturn redis.call('get', 'a')",
            "#!lua flags=no-writes\nreturn redis.call('set', 'a', 1)",
        ] {
            assert_eq!(eval(&mut ours, script), eval(&mut theirs, script), "{options:?} {script}");
        }
        // The flags of a script count in a transaction as well.
        for words in [
            &["MULTI"][..],
            &["EVAL", "#!lua flags=no-writes\nreturn 5", "0"],
            &["EXEC"],
            &["MULTI"],
            &["EVAL", "#!lua\nreturn 5", "0"],
            &["EXEC"],
        ] {
            ours.send(words);
            theirs.send(words);
            assert_eq!(ours.receive(), theirs.receive(), "{options:?} {words:?}");
        }
    }
}

#[test]
fn what_scripts_call_and_fail_at_is_counted() {
    let [theirs, ours] = Peer::both(&[]);
    let counted = |peer: &Peer| {
        let mut client = peer.client();
        for script in [
            "redis.call('set', 'a', 1) redis.call('get', 'a')",
            "redis.pcall('nope') redis.pcall('get') redis.pcall('lpush', 'a', 1)",
            "redis.call('lpush', 'a', 1)",
            "return redis.error_reply('MYERR oh')",
            "error('boo')",
            "return {err='alone'}",
        ] {
            eval(&mut client, script);
        }
        let info = client.call("INFO commandstats") + &client.call("INFO errorstats");
        info.lines()
            .filter(|line| line.starts_with("cmdstat_") || line.starts_with("errorstat_"))
            .filter(|line| !line.starts_with("cmdstat_info"))
            .map(|line| {
                let fields = line.split(',').filter(|field| !field.starts_with("usec"));
                fields.collect::<Vec<_>>().join(",")
            })
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(counted(&ours), counted(&theirs));
}

#[test]
fn memory_of_scripts_is_told() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.port);
    assert_eq!(figure(&mut client, "number_of_cached_scripts"), 0);
    for number in 0..10 {
        assert!(eval(&mut client, &format!("return {number}")).starts_with(':'));
    }
    assert_eq!(figure(&mut client, "number_of_cached_scripts"), 10);
    assert!(figure(&mut client, "used_memory_vm_eval") > 10_000);
    assert!(figure(&mut client, "used_memory_scripts_eval") > 100);
    assert_eq!(client.call("SCRIPT FLUSH ASYNC"), "+OK\r\n");
    assert_eq!(figure(&mut client, "number_of_cached_scripts"), 0);
    assert_eq!(figure(&mut client, "used_memory_vm_eval"), 0);
    // What a script has stored leaves with the next collection.
    assert_eq!(
        eval(&mut client, "local t = {} for i = 1, 100000 do t[i] = 'x' .. i end"),
        "$-1\r\n"
    );
    eventually("memory is given back", || {
        eval(&mut client, "collectgarbage()");
        figure(&mut client, "used_memory_vm_eval") < 1_000_000
    });
}

#[test]
fn time_stands_still_for_a_script() {
    let server = Server::start(&["--enable-debug-command", "yes"]);
    let mut client = Client::connect(server.port);
    let script = "redis.call('set', 'k', 'v', 'px', 50) local at = redis.call('time') \
                  local function us(t) return t[1] * 1000000 + t[2] end local from = us(at) \
                  while us(redis.call('time')) - from < 100000 do end \
                  return {redis.call('get', 'k'), redis.call('pttl', 'k')}";
    assert_eq!(eval(&mut client, script), "*2\r\n$1\r\nv\r\n:50\r\n");
    assert_eq!(client.call("GET k"), "$-1\r\n");
}

#[test]
fn a_watcher_and_a_listener_hear_of_their_own_scripts() {
    let [theirs, ours] = Peer::both(&[]);
    let answers = |peer: &Peer| {
        let mut client = peer.client();
        client.call("HELLO 3");
        let mut answers = vec![client.call("WATCH k"), client.call("SUBSCRIBE c")];
        client.send(&[
            "EVAL",
            "redis.call('set', 'k', 1) redis.call('publish', 'c', 'm') return 1",
            "0",
        ]);
        answers.extend([client.receive(), client.receive()]);
        answers.extend([client.call("MULTI"), client.call("EXEC")]);
        answers
    };
    assert_eq!(answers(&ours), answers(&theirs));
}
