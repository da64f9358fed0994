//! Clients and replicas by TLS, beside the original's.

use std::io::ErrorKind;

use redstart_tests::proxy_support::{Client, Redis, eventually, free_port};
use redstart_tests::server_support::{Peer, Server, run};
use redstart_tests::tls_support::{Papers, TlsClient, silent};

fn strs(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

/// What redis-cli says by TLS, with a certificate to show.
fn cli(papers: &Papers, port: u16, words: &[&str]) -> String {
    let port = port.to_string();
    let [cert, key, ca] = ["own.crt", "own.key", "ca.crt"].map(|name| papers.path(name));
    let mut args = vec!["--tls", "-h", "localhost", "-p", &port];
    args.extend(["--cert", &cert, "--key", &key, "--cacert", &ca]);
    args.extend(words);
    let said = run("redis-cli", &args);
    String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned()
}

/// Much at once, in both directions: what the transport holds back, and what the kernel does not announce.
fn says_much(client: &mut TlsClient) {
    let value = vec![b'v'; 3_000_000];
    client.send(&[b"SET".as_slice(), b"large", &value]).expect("sent");
    assert_eq!(client.receive().expect("a reply"), b"+OK\r\n");
    let gets = b"*2\r\n$3\r\nGET\r\n$5\r\nlarge\r\n".repeat(20);
    client.send_raw(&gets).expect("sent");
    for _ in 0..20 {
        let reply = client.receive().expect("a reply");
        assert!(reply.len() == value.len() + 12 && reply[100..200] == value[..100]);
    }
    let pings = b"*2\r\n$4\r\nECHO\r\n$3\r\nabc\r\n".repeat(50_000);
    client.send_raw(&pings).expect("sent");
    for _ in 0..50_000 {
        assert_eq!(client.receive().expect("a reply"), b"$3\r\nabc\r\n");
    }
}

#[test]
fn clients_are_served_by_tls_as_by_the_original() {
    let papers = Papers::new();
    let shows = papers.material(true);
    for is_ours in [false, true] {
        let tls = free_port();
        let options = papers.options(tls);
        let peer = match is_ours {
            false => Peer::Original(Redis::start_on(free_port(), &strs(&options))),
            true => Peer::Ours(Server::start(&strs(&options))),
        };
        let name = peer.name();
        assert_eq!(cli(&papers, tls, &["SET", "k", "by tls"]), "OK\n", "{name}");
        let mut plain = peer.client();
        assert_eq!(plain.call("GET k"), "$6\r\nby tls\r\n", "{name}");
        let mut client = TlsClient::connect(tls, &shows).expect("they agree");
        assert_eq!(client.call("CLIENT SETNAME secret").expect("a reply"), "+OK\r\n");
        says_much(&mut client);
        let list = plain.call("CLIENT LIST");
        let line = list.lines().find(|line| line.contains("name=secret")).expect("a line");
        assert!(line.contains(&format!("laddr=127.0.0.1:{tls} ")), "{name}: {line}");

        // Without a certificate nobody is served, until that is not asked for.
        let hides = papers.material(false);
        let call = |words: &str| TlsClient::connect(tls, &hides)?.call(words);
        assert!(call("PING").is_err(), "{name}");
        assert_eq!(plain.call("CONFIG SET tls-auth-clients no"), "+OK\r\n", "{name}");
        assert_eq!(call("PING").expect("a reply"), "+PONG\r\n", "{name}");
        assert_eq!(plain.call("CONFIG SET tls-auth-clients optional"), "+OK\r\n", "{name}");
        assert_eq!(call("PING").expect("a reply"), "+PONG\r\n", "{name}");
        // Nor whoever does not speak it.
        let mut wrong = Client::connect(tls);
        wrong.send(&["PING"]);
        assert!(wrong.try_receive().is_none_or(|said| !said.starts_with(b"+")), "{name}");

        // Another certificate in the same place counts from now on; what there was goes on.
        let bad = format!("CONFIG SET tls-cert-file {}", papers.path("none"));
        assert_eq!(
            plain.call(&bad),
            "-ERR CONFIG SET failed (possibly related to argument 'tls-cert-file') - Unable to update \
             TLS configuration. Check server logs.\r\n",
            "{name}"
        );
        let old = papers.material(false);
        papers.write_again();
        assert_eq!(call("PING").expect("a reply"), "+PONG\r\n", "{name}: files are not watched");
        let again = format!("CONFIG SET tls-cert-file {}", papers.path("own.crt"));
        assert_eq!(plain.call(&again), "+OK\r\n", "{name}");
        assert!(TlsClient::connect(tls, &old).is_err(), "{name}: it is another's");
        let new = papers.material(true);
        let mut other = TlsClient::connect(tls, &new).expect("they agree");
        assert_eq!(other.call("GET k").expect("a reply"), "$6\r\nby tls\r\n", "{name}");
        assert_eq!(client.call("GET k").expect("a reply"), "$6\r\nby tls\r\n", "{name}");
        // An end is told, by those who are told to leave too.
        assert_eq!(other.call("CLIENT KILL TYPE normal SKIPME yes").expect("a reply"), ":3\r\n");
        assert_eq!(client.call("PING").expect_err("closed").kind(), ErrorKind::ConnectionAborted);
        assert_eq!(other.call("QUIT").expect("a reply"), "+OK\r\n", "{name}");
        assert_eq!(other.receive().expect_err("closed").kind(), ErrorKind::ConnectionAborted);

        // The port moves, and may go.
        let mut plain = peer.client();
        let moved = free_port();
        assert_eq!(plain.call(&format!("CONFIG SET tls-port {moved}")), "+OK\r\n", "{name}");
        assert_eq!(cli(&papers, moved, &["GET", "k"]), "by tls\n", "{name}");
        assert!(TlsClient::connect(tls, &new).is_err(), "{name}");
        assert_eq!(plain.call("CONFIG SET tls-port 0"), "+OK\r\n", "{name}");
        assert!(TlsClient::connect(moved, &new).is_err(), "{name}");
        papers.write_again();
        break;
    }
}
