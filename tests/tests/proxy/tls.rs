//! Clients, servers and sentinels by TLS.

use redstart_tests::proxy_support::{Client, Proxy, Redis, eventually, free_port, proxy_binary};
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
    let folder = redstart_tests::proxy_support::Folder::new();
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
