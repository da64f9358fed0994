//! What becomes of requests while a primary is replaced: a sentinel that says what the test wants, and real servers.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redstart_tests::proxy_support::{
    Client, Fake, Folder, Listening, Redis, each_request, eventually, free_port, proxy_binary,
};

/// A sentinel of one group, `g`, whose primary the test chooses.
pub(crate) struct Sentinel {
    port: u16,
    /// The epoch, and the primary's port in the lower half.
    says: Arc<AtomicU64>,
    /// Questions for the address so far.
    asked: Arc<AtomicUsize>,
}

impl Sentinel {
    pub(crate) fn start(primary: u16) -> Self {
        let says = Arc::new(AtomicU64::new(1 << 16 | u64::from(primary)));
        let asked = Arc::new(AtomicUsize::new(0));
        let (said, counted) = (Arc::clone(&says), Arc::clone(&asked));
        let fake = Fake::start(move |mut stream| {
            each_request(&mut stream, |stream, args| {
                let now = said.load(Ordering::SeqCst);
                let (epoch, port) = (now >> 16, now & 0xffff);
                let words: Vec<String> =
                    args.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
                let array = |words: &[&str]| {
                    let items = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
                    format!("*{}\r\n{}", words.len(), items.collect::<String>())
                };
                let reply = match words.get(1).map(String::as_str) {
                    _ if words[0] == "SUBSCRIBE" => words[1..]
                        .iter()
                        .map(|name| {
                            format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{name}\r\n:1\r\n", name.len())
                        })
                        .collect(),
                    Some("MYID") => "$4\r\nfake\r\n".to_owned(),
                    Some("MASTER") => {
                        array(&["flags", "master", "config-epoch", &epoch.to_string()])
                    }
                    Some("GET-MASTER-ADDR-BY-NAME") => {
                        counted.fetch_add(1, Ordering::SeqCst);
                        array(&["127.0.0.1", &port.to_string()])
                    }
                    _ => "*0\r\n".to_owned(),
                };
                stream.write_all(reply.as_bytes()).is_ok()
            });
        });
        Self { port: fake.port, says, asked }
    }

    pub(crate) fn switch_to(&self, primary: u16) {
        let before = self.says.load(Ordering::SeqCst);
        self.says.store(((before >> 16) + 1) << 16 | u64::from(primary), Ordering::SeqCst);
    }
}

/// A proxy over the group of a sentinel.
pub(crate) fn proxy(sentinel: &Sentinel, keys: &str) -> Listening {
    let (port, folder) = (free_port(), Folder::new());
    let text = format!(
        "test:\n  listen: 127.0.0.1:{port}\n  sentinels:\n    - 127.0.0.1:{}\n  groups: [g]\n{keys}",
        sentinel.port
    );
    let file = folder.join("proxy.yml");
    std::fs::write(&file, text).expect("written");
    let mut command = std::process::Command::new(proxy_binary());
    command.arg("-c").arg(file).args(["--workers", "1", "-s", "0"]);
    Listening::start(command, port, folder)
}

/// Makes a server the replica of another, whose data it has then.
pub(crate) fn follow(replica: &Redis, primary: &Redis) {
    let mut client = replica.client();
    assert_eq!(client.call(&format!("REPLICAOF 127.0.0.1 {}", primary.port)), "+OK\r\n");
    eventually("the replica follows", || {
        client.call("INFO replication").contains("link_status:up")
    });
}

pub(crate) fn pair() -> (Redis, Redis) {
    let options = ["--repl-diskless-sync-delay", "0"];
    let one = Redis::start_on(free_port(), &options);
    let other = Redis::start_on(free_port(), &options);
    (one, other)
}

#[test]
fn what_a_demoted_primary_refuses_is_sent_to_the_new_one_in_its_order() {
    let (a, b) = pair();
    let sentinel = Sentinel::start(a.port);
    let proxy = proxy(&sentinel, "  failover_hold: 15000\n");
    let mut client = proxy.client();
    assert_eq!(client.call("SET k old"), "+OK\r\n");
    // The roles change, and no sentinel has said so yet.
    follow(&a, &b);
    let mut direct = b.client();
    assert_eq!(direct.call("SET k old"), "+OK\r\n");
    for number in 0..50 {
        client.send(&["APPEND", "k", &format!(":{number}")]);
        client.send(&["GET", "k"]);
    }
    client.send(&["MULTI"]);
    client.send(&["APPEND", "k", ":end"]);
    client.send(&["GET", "k"]);
    client.send(&["EXEC"]);
    let seen = sentinel.asked.load(Ordering::SeqCst);
    eventually("the sentinels are asked again and again", || {
        sentinel.asked.load(Ordering::SeqCst) > seen + 5
    });
    assert!(!client.has_received(), "nothing is answered before there is a primary");
    sentinel.switch_to(b.port);
    let mut value = "old".to_owned();
    for number in 0..50 {
        value += &format!(":{number}");
        assert_eq!(client.receive(), format!(":{}\r\n", value.len()));
        assert_eq!(client.receive(), format!("${}\r\n{value}\r\n", value.len()));
    }
    value += ":end";
    assert_eq!(client.receive(), "+OK\r\n");
    assert_eq!(client.receive(), "+QUEUED\r\n");
    assert_eq!(client.receive(), "+QUEUED\r\n");
    let len = value.len();
    assert_eq!(client.receive(), format!("*2\r\n:{len}\r\n${len}\r\n{value}\r\n"));
    assert_eq!(direct.call("GET k"), format!("${len}\r\n{value}\r\n"));
    let info = client.call("INFO pool");
    assert!(info.contains("failovers:1\r\n"), "{info}");
}

#[test]
fn what_waits_too_long_is_told_and_never_runs() {
    let (a, b) = pair();
    let sentinel = Sentinel::start(a.port);
    let proxy = proxy(&sentinel, "  failover_hold: 400\n");
    let mut client = proxy.client();
    assert_eq!(client.call("SET k v"), "+OK\r\n");
    a.kill();
    let asked = Instant::now();
    client.send(&["APPEND", "k", "x"]);
    client.send(&["GET", "k"]);
    client.send(&["MULTI"]);
    client.send(&["APPEND", "k", "y"]);
    client.send(&["EXEC"]);
    for reply in 0..5 {
        let text = client.receive();
        match reply {
            2 => assert_eq!(text, "+OK\r\n"),
            3 => assert_eq!(text, "+QUEUED\r\n"),
            // The first may have met with the end of the connection.
            0 if text == "-ERR Connection reset by peer\r\n" => {}
            _ => assert!(
                text.starts_with("-ERR the server of this key was away for 400 ms: "),
                "{text}"
            ),
        }
    }
    assert!(asked.elapsed() >= Duration::from_millis(350), "{:?}", asked.elapsed());
    assert!(asked.elapsed() < Duration::from_millis(2500), "{:?}", asked.elapsed());
    sentinel.switch_to(b.port);
    eventually("the new primary serves", || client.call("SET other v") == "+OK\r\n");
    let mut direct = b.client();
    assert_eq!(direct.call("GET k"), "$-1\r\n");
    assert_eq!(direct.call("DBSIZE"), ":1\r\n");
}

/// A server that says it is a primary, answers some requests, and ends the connection at `END`.
fn breaks_off(runs: &Arc<AtomicUsize>) -> Fake {
    let runs = Arc::clone(runs);
    Fake::start(move |mut stream| {
        each_request(&mut stream, |stream, args| {
            let reply = match args[0] {
                b"ROLE" => "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n",
                b"PING" => "+PONG\r\n",
                b"GET" if args[1] == b"END" => return false,
                b"GET" => "$3\r\nold\r\n",
                _ => {
                    runs.fetch_add(1, Ordering::SeqCst);
                    "+OK\r\n"
                }
            };
            stream.write_all(reply.as_bytes()).is_ok()
        });
    })
}

#[test]
fn a_lost_connection_costs_writes_in_flight_and_nothing_else() {
    let (a, _b) = pair();
    let mut direct = a.client();
    let runs = Arc::new(AtomicUsize::new(0));
    let broken = breaks_off(&runs);
    let sentinel = Sentinel::start(broken.port);
    let proxy = proxy(&sentinel, "  failover_hold: 15000\n");
    let mut client = proxy.client();
    assert_eq!(client.call("GET k"), "$3\r\nold\r\n");
    assert_eq!(direct.call("SET k new"), "+OK\r\n");
    assert_eq!(direct.call("SET END new"), "+OK\r\n");
    sentinel.switch_to(a.port);
    let mut requests = Vec::new();
    for words in ["GET END", "APPEND k 1", "GET k", "MGET k END", "APPEND k 2", "GET k"] {
        requests.extend_from_slice(format!("{words}\r\n").as_bytes());
    }
    // In one piece, so that all are under way when the connection ends.
    client.send_raw(&requests);
    assert_eq!(client.receive(), "$3\r\nnew\r\n");
    assert_eq!(client.receive(), "-ERR Connection reset by peer\r\n");
    assert_eq!(client.receive(), "$3\r\nnew\r\n");
    assert_eq!(client.receive(), "*2\r\n$3\r\nnew\r\n$3\r\nnew\r\n");
    assert_eq!(client.receive(), "-ERR Connection reset by peer\r\n");
    assert_eq!(client.receive(), "$3\r\nnew\r\n");
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    assert_eq!(client.call("APPEND k 3"), ":4\r\n");
}

#[test]
fn a_server_that_loads_is_waited_for() {
    let loading = Arc::new(AtomicUsize::new(20));
    let left = Arc::clone(&loading);
    let server = Fake::start(move |mut stream| {
        each_request(&mut stream, |stream, args| {
            let is_loading = left.load(Ordering::SeqCst) > 0;
            let reply = match args[0] {
                b"ROLE" => "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n",
                b"PING" if is_loading => {
                    left.fetch_sub(1, Ordering::SeqCst);
                    "-LOADING Redis is loading the dataset in memory\r\n"
                }
                b"PING" => "+PONG\r\n",
                _ if is_loading => "-LOADING Redis is loading the dataset in memory\r\n",
                _ => "+DONE\r\n",
            };
            stream.write_all(reply.as_bytes()).is_ok()
        });
    });
    let sentinel = Sentinel::start(server.port);
    let proxy = proxy(&sentinel, "  failover_hold: 15000\n");
    let mut client = proxy.client();
    assert_eq!(client.call("SET k v"), "+DONE\r\n");
    // It loads again, and the connection stays.
    loading.store(5, Ordering::SeqCst);
    client.send(&["SET", "k", "v"]);
    client.send(&["GET", "k"]);
    assert_eq!(client.receive(), "+DONE\r\n");
    assert_eq!(client.receive(), "+DONE\r\n");
}

#[test]
fn what_waits_is_bounded() {
    let (a, b) = pair();
    let sentinel = Sentinel::start(a.port);
    let (port, folder) = (free_port(), Folder::new());
    let text = format!(
        "global:\n  backend_queue_limit: 64kb\ntest:\n  listen: 127.0.0.1:{port}\n  sentinels:\n    - 127.0.0.1:{}\n  groups:\n    - g: 2\n  failover_hold: 15000\n",
        sentinel.port
    );
    let file = folder.join("proxy.yml");
    std::fs::write(&file, text).expect("written");
    let mut command = std::process::Command::new(proxy_binary());
    command.arg("-c").arg(file).args(["--workers", "1", "-s", "0"]);
    let proxy = Listening::start(command, port, folder);
    let mut client = proxy.client();
    assert_eq!(client.call("SET k v"), "+OK\r\n");
    a.kill();
    let value = "x".repeat(1000);
    eventually("the end is noticed", || proxy.log().contains("127.0.0.1"));
    for number in 0..200 {
        client.send(&["SET", &format!("k{number}"), &value]);
    }
    eventually("too much is refused", || {
        let info = Client::connect(port).call("INFO servers");
        info.contains("waiting=6")
    });
    sentinel.switch_to(b.port);
    let replies: Vec<String> = (0..200).map(|_| client.receive()).collect();
    let served = replies.iter().filter(|reply| *reply == "+OK\r\n").count();
    let refused = replies.iter().filter(|reply| reply.contains("too many requests wait")).count();
    assert!(served >= 55 && served + refused >= 199, "{served} served, {refused} refused");
}

/// All that a port sends until it closes the connection.
fn read_all(port: u16, request: &str) -> String {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("connected");
    stream.write_all(request.as_bytes()).expect("asked");
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

#[test]
fn figures_name_group_role_and_state() {
    let (a, b) = pair();
    let sentinel = Sentinel::start(a.port);
    let (port, stats, metrics, folder) = (free_port(), free_port(), free_port(), Folder::new());
    let text = format!(
        "test:\n  listen: 127.0.0.1:{port}\n  sentinels:\n    - 127.0.0.1:{}\n  groups: [g]\n",
        sentinel.port
    );
    let file = folder.join("proxy.yml");
    std::fs::write(&file, text).expect("written");
    let mut command = std::process::Command::new(proxy_binary());
    command.arg("-c").arg(file).args(["--workers", "1", "-a", "127.0.0.1", "-i", "1"]);
    command.args(["-s", &stats.to_string(), "--metrics", &format!("127.0.0.1:{metrics}")]);
    let proxy = Listening::start(command, port, folder);
    let mut client = proxy.client();
    assert_eq!(client.call("SET k v"), "+OK\r\n");
    let get = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let state = |port: u16, role: &str, value: u8| {
        format!(
            "redstart_proxy_backend_state{{pool=\"test\",server=\"127.0.0.1:{port}\",group=\"g\",role=\"{role}\",state=\"live\"}} {value}\n"
        )
    };
    // They are published once a second.
    eventually("the metrics tell", || {
        read_all(metrics, get).contains(&state(a.port, "primary", 1))
    });
    sentinel.switch_to(b.port);
    eventually("it is switched", || client.call("INFO pool").contains("failovers:1\r\n"));
    assert_eq!(client.call("SET k v"), "+OK\r\n");
    let name = format!("127.0.0.1:{}", b.port);
    eventually("the page tells", || {
        let page: serde_json::Value = serde_json::from_str(&read_all(stats, "")).expect("JSON");
        let server = &page["test"][&name];
        page["test"]["failovers"] == 1
            && (&server["role"], &server["group"], &server["state"])
                == (&"primary".into(), &"g".into(), &"live".into())
            && server["requests"].as_u64() > Some(0)
    });
    let wanted = [
        state(b.port, "primary", 1),
        "redstart_proxy_failovers_total{pool=\"test\",group=\"g\"} 1\n".to_owned(),
        format!("redstart_proxy_backend_resent_total{{pool=\"test\",server=\"{name}\"}} 0\n"),
        format!("redstart_proxy_backend_waiting_requests{{pool=\"test\",server=\"{name}\"}} 0\n"),
        state(a.port, "primary", 0),
    ];
    eventually("the metrics tell", || {
        let page = read_all(metrics, get);
        wanted.iter().all(|line| page.contains(line.as_str()))
    });
}
