//! CLIENT TRACKING through the proxy: caches of clients hear of every change.

use std::collections::BTreeMap;

use redstart_tests::proxy_support::{Client, Proxy, Redis, eventually};

fn line(client: &mut Client, words: &str) -> String {
    client.call(words).trim_end().replace("\r\n", " ")
}

fn expect(client: &mut Client, conversation: &[(&str, &str)]) {
    for (words, reply) in conversation {
        assert_eq!(line(client, words), *reply, "{words}");
    }
}

/// What a client is told of these keys.
fn invalidated(keys: &[&str]) -> String {
    let keys: String = keys.iter().map(|key| format!("${}\r\n{key}\r\n", key.len())).collect();
    format!(">2\r\n$10\r\ninvalidate\r\n*{}\r\n{keys}", keys.matches('$').count())
}

/// Reads a key until it may be cached, which is said not to be so while its server is not heard.
pub fn may_cache(client: &mut Client, key: &str) {
    eventually("the server is heard", || {
        client.send(&["GET", key]);
        // What is said of the key comes behind the reply.
        while client.receive().starts_with('>') {}
        is_quiet(client)
    });
}

/// Whether a client was told nothing since its last reply.
fn is_quiet(client: &mut Client) -> bool {
    client.send(&["PING"]);
    let mut quiet = true;
    while client.receive() != "+PONG\r\n" {
        quiet = false;
    }
    quiet
}

fn set_up(workers: &str) -> (Vec<Redis>, Proxy) {
    let servers: Vec<Redis> = (0..2).map(|_| Redis::start()).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let keys = "  hash_tag: \"{}\"\n";
    let proxy = Proxy::start_with(keys, &ports, &["--workers", workers, "-s", "0"]);
    (servers, proxy)
}

fn tracking(proxy: &Proxy, options: &str) -> Client {
    let mut client = proxy.client();
    assert!(client.call("HELLO 3").starts_with('%'));
    assert_eq!(client.call(&format!("CLIENT TRACKING ON{options}")), "+OK\r\n");
    client
}

#[test]
fn who_has_read_a_key_hears_that_it_changed() {
    let (mut servers, proxy) = set_up("2");
    let mut writer = proxy.client();
    // Keys of both servers, which are there before anybody listens.
    let names = ["a", "b", "c", "d", "e", "f"];
    for name in names {
        assert_eq!(line(&mut writer, &format!("SET {name} 0")), "+OK");
    }
    let mut reader = tracking(&proxy, "");
    for name in names {
        may_cache(&mut reader, name);
    }
    for name in names {
        assert_eq!(line(&mut writer, &format!("SET {name} 1")), "+OK");
        assert_eq!(reader.receive(), invalidated(&[name]));
    }
    // It is told once, and only of what it has read since.
    assert_eq!(line(&mut writer, "SET a 2"), "+OK");
    expect(&mut reader, &[("GET b", "$1 1")]);
    assert_eq!(line(&mut writer, "SET b 2"), "+OK");
    assert_eq!(reader.receive(), invalidated(&["b"]));
    // By any way of reading, and of changing.
    expect(&mut reader, &[("MGET a b c d", "*4 $1 2 $1 2 $1 1 $1 1")]);
    let mut heard: Vec<String> = Vec::new();
    for name in ["a", "b", "c", "d"] {
        writer.call(&format!("APPEND {name} x"));
        heard.push(reader.receive());
    }
    assert_eq!(heard, ["a", "b", "c", "d"].map(|name| invalidated(&[name])));
    expect(&mut reader, &[("EVAL return(redis.call('get',KEYS[1])) 1 a", "$2 2x")]);
    for server in &servers {
        server.client().call("DEL a");
    }
    assert_eq!(reader.receive(), invalidated(&["a"]));
    expect(
        &mut reader,
        &[("MULTI", "+OK"), ("STRLEN b", "+QUEUED"), ("GET {b}no", "+QUEUED"), ("EXEC", "*2 :2 _")],
    );
    expect(&mut writer, &[("SET {b}no x", "+OK"), ("PEXPIRE b 20", ":1")]);
    assert_eq!(reader.receive(), invalidated(&["{b}no"]));
    // Setting the deadline is a change, and passing it one too, if it was read in between.
    assert_eq!(reader.receive(), invalidated(&["b"]));
    assert!(proxy.client().call("CLIENT LIST").contains(" flags=t "));
    eventually("they are counted", || {
        writer.call("INFO clients").contains("tracking_clients:1\r\n")
    });
    expect(&mut reader, &[("GET c", "$2 1x")]);
    expect(&mut writer, &[("FLUSHALL", "+OK")]);
    // Each server tells of it.
    for _ in 0..2 {
        assert_eq!(reader.receive(), ">2\r\n$10\r\ninvalidate\r\n_\r\n");
    }
    // A server that is lost may change unseen.
    servers.remove(0).kill();
    assert_eq!(reader.receive(), ">2\r\n$10\r\ninvalidate\r\n_\r\n");
    expect(&mut reader, &[("CLIENT TRACKING OFF", "+OK"), ("CLIENT GETREDIR", ":-1")]);
}

#[test]
fn a_cache_is_never_left_with_what_has_changed() {
    let (servers, proxy) = set_up("1");
    let mut reader = tracking(&proxy, "");
    let mut broad = tracking(&proxy, " BCAST");
    may_cache(&mut reader, "k");
    let key_of = servers.iter().position(|server| {
        assert_eq!(proxy.client().call("SET k 0"), "+OK\r\n");
        server.client().call("EXISTS k") == ":1\r\n"
    });
    let mut direct = servers[key_of.expect("one has it")].client();
    let mut caches: [BTreeMap<usize, String>; 2] = Default::default();
    let mut asked = [0_usize; 2];
    for round in 1..150 {
        let (before, after) = (round % 4, round % 7);
        for client in [&mut reader, &mut broad] {
            client.send_raw("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".repeat(before).as_bytes());
        }
        direct.send(&["SET", "k", &round.to_string()]);
        for client in [&mut reader, &mut broad] {
            client.send_raw("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".repeat(after).as_bytes());
        }
        assert_eq!(direct.receive(), "+OK\r\n");
        let text = round.to_string();
        let last = format!("${}\r\n{text}\r\n", text.len());
        for (at, client) in [&mut reader, &mut broad].into_iter().enumerate() {
            asked[at] += before + after;
            eventually("the cache holds nothing, or what is there", || {
                while asked[at] > 0 || client.has_received() {
                    let frame = client.receive();
                    if frame.starts_with('>') {
                        caches[at].clear();
                    } else {
                        asked[at] -= 1;
                        caches[at].insert(0, frame);
                    }
                }
                caches[at].get(&0).is_none_or(|cached| *cached == last)
            });
        }
    }
}

#[test]
fn clients_choose_what_they_hear() {
    let (_servers, proxy) = set_up("2");
    let mut writer = proxy.client();
    let mut opt_in = tracking(&proxy, " OPTIN");
    expect(&mut opt_in, &[("CLIENT CACHING YES", "+OK")]);
    eventually("both servers are heard", || {
        let mut quiet = true;
        for name in ["a", "b", "c", "d"] {
            for words in [&["CLIENT", "CACHING", "YES"][..], &["GET", name]] {
                opt_in.send(words);
                while opt_in.receive().starts_with('>') {}
            }
            quiet &= is_quiet(&mut opt_in);
        }
        quiet
    });
    for name in ["a", "b", "c", "d"] {
        writer.call(&format!("SET {name} 1"));
        assert_eq!(opt_in.receive(), invalidated(&[name]));
    }
    expect(&mut opt_in, &[("GET a", "$1 1"), ("CLIENT CACHING YES", "+OK"), ("GET b", "$1 1")]);
    expect(&mut opt_in, &[("GET c", "$1 1")]);
    expect(&mut writer, &[("MSET a 2 c 2", "+OK"), ("SET b 2", "+OK")]);
    assert_eq!(opt_in.receive(), invalidated(&["b"]));
    expect(
        &mut opt_in,
        &[
            (
                "CLIENT CACHING NO",
                "-ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
            ),
            ("CLIENT CACHING YES", "+OK"),
            (
                "CLIENT TRACKINGINFO",
                "%3 $5 flags ~3 $2 on $5 optin $11 caching-yes $8 redirect :0 $8 prefixes *0",
            ),
            ("MULTI", "+OK"),
            ("GET a", "+QUEUED"),
            ("EXEC", "*1 $1 2"),
        ],
    );
    expect(&mut writer, &[("SET a 3", "+OK")]);
    assert_eq!(opt_in.receive(), invalidated(&["a"]));
    // Prefixes are heard whether the keys were read or not.
    let mut broad = tracking(&proxy, " BCAST PREFIX user: PREFIX item: NOLOOP");
    assert_eq!(
        line(&mut broad, "CLIENT TRACKINGINFO"),
        "%3 $5 flags ~3 $2 on $5 bcast $6 noloop $8 redirect :0 $8 prefixes *2 $5 item: $5 user:"
    );
    eventually("it hears both servers", || {
        (0..4).all(|number| {
            writer.call(&format!("SET user:{number} x"));
            writer.call(&format!("SET other:{number} x"));
            broad.send(&["PING"]);
            let mut heard = false;
            loop {
                let frame = broad.receive();
                if frame == "+PONG\r\n" {
                    return heard;
                }
                let is_told = frame.starts_with(">2\r\n$10\r\ninvalidate\r\n*1\r\n");
                assert!(is_told && frame.contains("user:"), "{frame}");
                heard = true;
            }
        })
    });
    // Another client hears, on whichever worker it is.
    let mut hearers: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    let mut teller = proxy.client();
    for hearer in &mut hearers {
        let id = hearer.call("CLIENT ID")[1..].trim().to_owned();
        assert!(hearer.call("SUBSCRIBE __redis__:invalidate").ends_with(":1\r\n"));
        expect(&mut teller, &[(&format!("CLIENT TRACKING ON REDIRECT {id}"), "+OK")]);
        assert_eq!(line(&mut teller, "CLIENT GETREDIR"), format!(":{id}"));
        eventually("its server is heard", || {
            writer.call("SET k 0");
            teller.call("GET k");
            writer.call("SET k 1");
            let told = "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\nk\r\n";
            hearer.receive() == told
        });
    }
    expect(
        &mut teller,
        &[(
            "CLIENT TRACKING ON REDIRECT 1000000",
            "-ERR The client ID you want redirect to does not exist",
        )],
    );
    assert!(teller.call("HELLO 3").starts_with('%'));
    drop(hearers);
    eventually("it is told that nobody hears for it", || {
        teller.send(&["GET", "k"]);
        writer.call("SET k 2");
        // A push may come before a reply: all that comes up to this one's is looked at.
        teller.send(&["PING"]);
        let mut broken = false;
        loop {
            let frame = teller.receive();
            if frame == "+PONG\r\n" {
                return broken;
            }
            broken |= frame.starts_with(">2\r\n$21\r\ntracking-redir-broken\r\n:");
        }
    });
    // It may be told once more.
    teller.send(&["CLIENT", "TRACKINGINFO"]);
    let mut info = teller.receive();
    while info.starts_with('>') {
        info = teller.receive();
    }
    assert!(info.contains("broken_redirect"), "{info}");
    teller.send(&["RESET"]);
    while teller.receive() != "+RESET\r\n" {}
    expect(&mut teller, &[("CLIENT GETREDIR", ":-1")]);
}
