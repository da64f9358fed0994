//! Clients, servers and sentinels by TLS.

use std::process::Command;

use redstart_tests::proxy_support::{
    Client, Folder, Listening, Proxy, Redis, eventually, free_port, proxy_binary,
};
use redstart_tests::server_support::run;
use redstart_tests::tls_support::{Papers, TlsClient, silent};

/// The keys of a pool that speaks TLS to both sides.
fn keys(papers: &Papers, more: &str) -> String {
    let [cert, key, ca] = ["own.crt", "own.key", "ca.crt"].map(|name| papers.path(name));
    format!(
        "  tls_cert: {cert}\n  tls_key: {key}\n  server_tls: true\n  server_tls_ca: {ca}\n  \
         server_tls_cert: {cert}\n  server_tls_key: {key}\n{more}"
    )
}

fn strs(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

/// A server that speaks TLS, and its port for that.
fn server(papers: &Papers) -> (Redis, u16) {
    let tls = free_port();
    (Redis::start_on(free_port(), &strs(&papers.options(tls))), tls)
}

#[test]
fn both_sides_speak_tls() {
    let papers = Papers::new();
    let ((one, one_tls), (other, other_tls)) = (server(&papers), server(&papers));
    let ca = papers.path("ca.crt");
    let more = format!(
        "  tls_ca: {ca}\n  tls_auth_clients: optional\n  server_tls_name: localhost\n  \
         client_connections: 4\n"
    );
    let proxy = Proxy::start(&keys(&papers, &more), &[one_tls, other_tls]);
    let hides = papers.material(false);
    let mut client = TlsClient::connect(proxy.port, &hides).expect("they agree");
    for number in 0..40 {
        let set = client.call(&format!("SET key:{number} {number}")).expect("a reply");
        assert_eq!(set, "+OK\r\n");
    }
    let sizes = [one.port, other.port].map(|port| Client::connect(port).call("DBSIZE"));
    assert!(sizes.iter().all(|size| size != ":0\r\n"), "{sizes:?}");
    let got = client.call("MGET key:0 key:1 key:2 key:3").expect("a reply");
    assert_eq!(got, "*4\r\n$1\r\n0\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n");
    // Much at once, in both directions and on both sides.
    let value = vec![b'v'; 2_000_000];
    client.send(&[b"SET".as_slice(), b"large", &value]).expect("sent");
    assert_eq!(client.receive().expect("a reply"), b"+OK\r\n");
    client.send_raw(&b"*2\r\n$3\r\nGET\r\n$5\r\nlarge\r\n".repeat(20)).expect("sent");
    for _ in 0..20 {
        let reply = client.receive().expect("a reply");
        assert!(reply.len() == value.len() + 12 && reply[100..200] == value[..100]);
    }
    client.send_raw(&b"*2\r\n$3\r\nGET\r\n$5\r\nkey:1\r\n".repeat(20_000)).expect("sent");
    for _ in 0..20_000 {
        assert_eq!(client.receive().expect("a reply"), b"$1\r\n1\r\n");
    }
    // A connection of its own, and one for channels.
    assert_eq!(client.call("WATCH key:1").expect("a reply"), "+OK\r\n");
    assert_eq!(client.call("MULTI").expect("a reply"), "+OK\r\n");
    assert_eq!(client.call("GET key:1").expect("a reply"), "+QUEUED\r\n");
    assert_eq!(client.call("EXEC").expect("a reply"), "*1\r\n$1\r\n1\r\n");
    let mut listener = TlsClient::connect(proxy.port, &papers.material(true)).expect("they agree");
    let heard = listener.call("SUBSCRIBE news").expect("a reply");
    assert_eq!(heard, "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    client.call("PUBLISH news hello").expect("a reply");
    let heard = listener.receive().expect("a message");
    assert_eq!(heard, b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
    // Those who say nothing take no place in the pool; who is one too many is told so.
    let crowd: Vec<_> = (0..50).map(|_| silent(proxy.port)).collect();
    let mut third = TlsClient::connect(proxy.port, &hides).expect("they agree");
    assert_eq!(third.call("PING").expect("a reply"), "+PONG\r\n");
    let fourth = TlsClient::connect(proxy.port, &hides).expect("they agree");
    let mut fifth = TlsClient::connect(proxy.port, &hides).expect("they agree");
    let told = fifth.receive().expect("a reason");
    assert_eq!(told, b"-ERR max number of clients reached\r\n");
    assert!(fifth.receive().is_err());
    drop((crowd, fourth));
    // One who is cut off leaves no trace.
    third.cut();
    eventually("there is a place again", || {
        TlsClient::connect(proxy.port, &hides)
            .is_ok_and(|mut it| it.call("PING").is_ok_and(|said| said == "+PONG\r\n"))
    });
}

#[test]
fn who_is_not_vouched_for_is_not_spoken_to() {
    let (papers, others) = (Papers::new(), Papers::new());
    let (_server, tls) = server(&papers);
    // Its servers are another's, or called something else.
    for more in [
        format!("  server_tls_ca: {}\n", others.path("ca.crt")),
        "  server_tls_name: elsewhere\n".to_owned(),
    ] {
        let [cert, key, ca] = ["own.crt", "own.key", "ca.crt"].map(|name| papers.path(name));
        let mut keys = format!(
            "  server_tls: true\n  server_tls_cert: {cert}\n  server_tls_key: {key}\n{more}"
        );
        if !keys.contains("server_tls_ca") {
            keys += &format!("  server_tls_ca: {ca}\n");
        }
        let proxy = Proxy::start(&keys, &[tls]);
        let said = proxy.client().call("GET k");
        assert!(said.starts_with("-ERR invalid peer certificate"), "{said}");
    }
    // What cannot be had is told when the file is read.
    let folder = Folder::new();
    let file = folder.join("proxy.yml");
    let text = format!(
        "test:\n  listen: 127.0.0.1:{}\n  redis: true\n  tls_cert: {}\n  tls_key: none.key\n  servers:\n    - 127.0.0.1:1:1\n",
        free_port(),
        papers.path("own.crt")
    );
    std::fs::write(&file, text).expect("written");
    let said =
        run(&proxy_binary().display().to_string(), &["-c", &file.display().to_string(), "-t"]);
    let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    assert!(
        !said.status.success()
            && text.contains("cannot be used: a private key cannot be read from none.key"),
        "{text}"
    );
}

/// A real sentinel that listens by TLS alone, and speaks so to servers and other sentinels.
fn sentinel(papers: &Papers, primary: u16) -> Listening {
    let (port, folder) = (free_port(), Folder::new());
    let mut text = format!(
        "port 0\nbind 127.0.0.1\ndir {}\ntls-replication yes\nsentinel monitor pair 127.0.0.1 {primary} 2\n\
         sentinel down-after-milliseconds pair 1000\nsentinel failover-timeout pair 6000\n",
        folder.path().display()
    );
    for pair in papers.options(port).chunks(2) {
        text += &format!("{} {}\n", pair[0].trim_start_matches("--"), pair[1]);
    }
    let file = folder.join("sentinel.conf");
    std::fs::write(&file, text).expect("written");
    let mut command = Command::new("redis-server");
    command.arg(file).arg("--sentinel");
    Listening::start(command, port, folder)
}

/// A proxy before the group of a sentinel, whose authority, and that of servers, is that of these papers.
fn before_sentinel(sentinel: u16, papers: &Papers, shown: &Papers, hold_ms: u32) -> Listening {
    let (port, folder) = (free_port(), Folder::new());
    let [cert, key] = ["own.crt", "own.key"].map(|name| shown.path(name));
    let text = format!(
        "pair:\n  listen: 127.0.0.1:{port}\n  groups: [pair]\n  sentinels: [127.0.0.1:{sentinel}]\n  failover_hold: {hold_ms}\n  \
         sentinel_tls: true\n  server_tls: true\n  server_tls_ca: {}\n  server_tls_cert: {cert}\n  server_tls_key: {key}\n",
        papers.path("ca.crt"),
    );
    let file = folder.join("proxy.yml");
    std::fs::write(&file, text).expect("written");
    let mut command = Command::new(proxy_binary());
    command.arg("-c").arg(file).args(["--workers", "1", "-s", "0"]);
    Listening::start(command, port, folder)
}

#[test]
fn sentinels_are_spoken_to_by_tls() {
    let (papers, others) = (Papers::new(), Papers::new());
    let by_tls = |port: u16, more: &[&str]| {
        let options = papers.options(port);
        let options = [&strs(&options)[..], &["--tls-replication", "yes"], more].concat();
        Redis::start_on(free_port(), &[&options[..], &["--repl-diskless-sync-delay", "0"]].concat())
    };
    let (first, second) = (free_port(), free_port());
    let primary = by_tls(first, &[]);
    let replica = by_tls(second, &["--replicaof", "127.0.0.1", &first.to_string()]);
    eventually("the replica follows by TLS", || {
        replica.client().call("INFO replication").contains("master_link_status:up")
    });
    let sentinels = [(); 2].map(|()| sentinel(&papers, first));
    // One is named, and tells of the other.
    let proxy = before_sentinel(sentinels[0].port, &papers, &papers, 20_000);
    let mut client = proxy.client();
    assert_eq!(client.call("SET k v"), "+OK\r\n");
    assert_eq!(primary.client().call("GET k"), "$1\r\nv\r\n");
    eventually("the sentinels know the replica and each other", || {
        let mut one =
            TlsClient::connect(sentinels[0].port, &papers.material(true)).expect("they agree");
        let facts = one.call("SENTINEL MASTER pair").expect("a reply");
        let has = |name: &str, value: &str| {
            facts.lines().skip_while(|line| *line != name).nth(2) == Some(value)
        };
        has("num-slaves", "1") && has("num-other-sentinels", "1")
    });
    eventually("the proxy has been told of the other sentinel", || {
        proxy.log().contains(&format!("127.0.0.1:{}", sentinels[1].port))
    });
    // Its sentinels are another's: that is said, and who asks is not left waiting.
    let stranger = before_sentinel(sentinels[0].port, &others, &papers, 0);
    let said = stranger.client().call("GET k");
    assert_eq!(said, "-ERR its address is not known yet\r\n");
    eventually("it says why", || {
        let log = stranger.log();
        let named = format!("127.0.0.1:{}", sentinels[0].port);
        log.lines().any(|line| line.contains(&named) && line.contains("invalid peer certificate"))
    });
    primary.kill();
    // What was on its way when its connection ended is not sent again; what comes then waits for the new primary.
    eventually("it is written to the new primary", || client.call("SET k w") == "+OK\r\n");
    assert_eq!(replica.client().call("GET k"), "$1\r\nw\r\n");
    assert_eq!(client.call("GET k"), "$1\r\nw\r\n");
}
