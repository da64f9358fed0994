//! Clients and replicas by TLS, beside the original's.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use redstart_tests::proxy_support::{Client, Redis, eventually, free_port};
use redstart_tests::server_support::{Peer, Server, run, workspace};
use redstart_tests::tls_support::{Papers, TlsClient, silent};

fn strs(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

/// Waits for a port beside the one that was waited for at the start: it is bound a moment later.
fn await_port(port: u16) {
    eventually("it listens for TLS too", || TcpStream::connect(("127.0.0.1", port)).is_ok());
}

/// A server, ours or the original, that serves TLS on a port beside its own, with further options.
fn start(is_ours: bool, papers: &Papers, tls: u16, more: &[&str]) -> Peer {
    let options = papers.options(tls);
    let options = [&strs(&options), more].concat();
    let peer = match is_ours {
        false => Peer::Original(Redis::start_on(free_port(), &options)),
        true => Peer::Ours(Server::start(&options)),
    };
    await_port(tls);
    peer
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
    for is_ours in [false, true] {
        let (papers, tls) = (Papers::new(), free_port());
        let shows = papers.material(true);
        let peer = start(is_ours, &papers, tls, &[]);
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
        let mut wrong = TcpStream::connect(("127.0.0.1", tls)).expect("connected");
        wrong.write_all(b"*1\r\n$4\r\nPING\r\n").expect("sent");
        let mut said = Vec::new();
        // It ends, by a reset perhaps, and at most with an alert.
        let _ = wrong.read_to_end(&mut said);
        assert!(said.is_empty() || said[0] == 21, "{name}: {said:?}");

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
        let killed = other.call("CLIENT KILL TYPE normal SKIPME yes").expect("a reply");
        assert!(killed.starts_with(':') && killed != ":0\r\n", "{name}: {killed}");
        assert_eq!(client.receive().expect_err("closed").kind(), ErrorKind::ConnectionAborted);
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
    }
}

#[test]
fn a_silent_crowd_keeps_nobody_out() {
    let (papers, tls) = (Papers::new(), free_port());
    let server = start(true, &papers, tls, &["--maxclients", "40"]);
    let shows = papers.material(true);
    let mut early = TlsClient::connect(tls, &shows).expect("they agree");
    // With TLS 1.3 it may think so before the server does.
    assert_eq!(early.call("PING").expect("a reply"), "+PONG\r\n");
    let crowd: Vec<_> = (0..100).map(|_| silent(tls)).collect();
    let mut plain = Client::connect(server.port());
    assert_eq!(plain.call("PING"), "+PONG\r\n");
    let others: Vec<_> = (0..30)
        .map(|_| {
            let mut client = TlsClient::connect(tls, &shows).expect("they agree");
            assert_eq!(client.call("PING").expect("a reply"), "+PONG\r\n");
            client
        })
        .collect();
    assert_eq!(early.call("PING").expect("a reply"), "+PONG\r\n");
    let count = plain.call("CLIENT LIST").matches("id=").count();
    assert_eq!(count, others.len() + 2, "those who have not agreed are no clients");
    // Full is full: then even the handshake is not begun.
    let plains: Vec<_> = (count..40)
        .map(|_| {
            let mut client = Client::connect(server.port());
            assert_eq!(client.call("PING"), "+PONG\r\n");
            client
        })
        .collect();
    assert!(TlsClient::connect(tls, &shows).is_err());
    drop((others, plains, crowd));
    eventually("there is room again", || {
        TlsClient::connect(tls, &shows).is_ok_and(|mut client| client.call("PING").is_ok())
    });
}

#[test]
fn who_comes_while_a_script_runs_is_heard() {
    let (papers, tls) = (Papers::new(), free_port());
    let server = start(true, &papers, tls, &["--busy-reply-threshold", "10"]);
    let shows = papers.material(true);
    let mut early = TlsClient::connect(tls, &shows).expect("they agree");
    let mut caller = TlsClient::connect(tls, &shows).expect("they agree");
    caller.send(&["EVAL", "while true do end", "0"]).expect("sent");
    let mut plain = Client::connect(server.port());
    eventually("the script is slow", || plain.call("PING").starts_with("-BUSY"));
    // What takes several records, and more than is read at once.
    let many = b"*1\r\n$4\r\nPING\r\n".repeat(5000);
    early.send_raw(&many).expect("sent");
    for _ in 0..5000 {
        assert!(early.receive().expect("a reply").starts_with(b"-BUSY"));
    }
    let waits = silent(tls);
    let mut late = TlsClient::connect(tls, &shows).expect("they agree");
    assert!(late.call("PING").expect("a reply").starts_with("-BUSY"));
    assert_eq!(late.call("SCRIPT KILL").expect("a reply"), "+OK\r\n");
    let told = String::from_utf8(caller.receive().expect("a reply")).expect("text");
    assert!(told.starts_with("-ERR") && told.contains("killed by user"), "{told}");
    for client in [&mut early, &mut caller, &mut late] {
        assert_eq!(client.call("PING").expect("a reply"), "+PONG\r\n");
    }
    drop(waits);
}

#[test]
fn replicas_follow_by_tls_from_and_to_the_original() {
    let papers = Papers::new();
    let start = |is_ours: bool, more: &[&str]| {
        let tls = free_port();
        let soon = ["--tls-replication", "yes", "--repl-diskless-sync-delay", "0"];
        (start(is_ours, &papers, tls, &[&soon, more].concat()), tls)
    };
    for (primary_is_ours, replica_is_ours) in [(false, true), (true, false), (true, true)] {
        let (primary, tls) = start(primary_is_ours, &[]);
        let mut client = primary.client();
        let value = "v".repeat(2_000_000);
        client.send(&["SET", "large", &value]);
        assert_eq!(client.receive(), "+OK\r\n");
        let more = ["--replicaof", "localhost", &tls.to_string()];
        let (replica, own_tls) = start(replica_is_ours, &more);
        let mut follower = replica.client();
        let who = format!("{} of {}", replica.name(), primary.name());
        eventually(&format!("{who}: it has the data"), || {
            follower.call("INFO replication").contains("master_link_status:up")
                && follower.call("STRLEN large") == ":2000000\r\n"
        });
        assert_eq!(client.call("SET k streamed"), "+OK\r\n");
        eventually(&format!("{who}: it follows"), || {
            follower.call("GET k") == "$8\r\nstreamed\r\n"
        });
        let told = client.call("INFO replication");
        assert!(told.contains(&format!(",port={own_tls},state=online")), "{who}: {told}");
        assert_eq!(client.call("WAIT 1 20000"), ":1\r\n", "{who}");
    }
}

#[test]
fn what_cannot_be_had_keeps_the_server_from_starting() {
    let papers = Papers::new();
    let port = free_port().to_string();
    let good = papers.options(free_port());
    for (option, value, reason) in [
        ("--tls-cert-file", "none.crt", "Failed to load certificate: none.crt"),
        ("--tls-key-file", "", "No tls-key-file configured!"),
        ("--tls-ca-cert-file", "", "Either tls-ca-cert-file or tls-ca-cert-dir must be specified"),
        ("--tls-protocols", "TLSv1.1", "'TLSv1.1' is no version of TLS that is supported"),
        ("--tls-ciphers", "AES128-SHA", "'AES128-SHA' is no cipher suite that is supported"),
        ("--tls-dh-params-file", "dh.pem", "does not support key exchange by finite-field"),
    ] {
        let mut args = vec!["--port", &port];
        args.extend(strs(&good));
        args.extend([option, value]);
        let binary = redstart_tests::server_support::server_binary().display().to_string();
        let said = run(&binary, &args);
        let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
        assert!(!said.status.success() && text.contains(reason), "{option} {value}: {text}");
    }
}

/// A file that OpenSSL has made: certificates of X.509 version 1, as Redis's own recipe makes them, and keys that are locked.
fn sample(name: &str) -> String {
    let path = workspace().join("common/src/net/tls/samples").join(name);
    path.display().to_string()
}

#[test]
fn certificates_of_version_1_and_locked_keys_are_good() {
    for is_ours in [false, true] {
        let port = free_port();
        let text = port.to_string();
        let [cert, key, ca] = ["ec.crt", "locked.key", "ca.crt"].map(sample);
        let options = [
            ["--tls-port", &text],
            ["--tls-cert-file", &cert],
            ["--tls-key-file", &key],
            ["--tls-key-file-pass", "secret"],
            ["--tls-ca-cert-file", &ca],
            ["--tls-replication", "yes"],
            ["--repl-diskless-sync-delay", "0"],
        ];
        let peer = match is_ours {
            false => Peer::Original(Redis::start_on(free_port(), &options.concat())),
            true => Peer::Ours(Server::start(&options.concat())),
        };
        await_port(port);
        let name = peer.name();
        let [cert, key] = ["rsa.crt", "rsa.key"].map(sample);
        for protocol in ["TLSv1.2", "TLSv1.3"] {
            let set = format!("CONFIG SET tls-protocols {protocol}");
            assert_eq!(peer.client().call(&set), "+OK\r\n", "{name}");
            let args =
                ["--tls", "-p", &text, "--cert", &cert, "--key", &key, "--cacert", &ca, "ping"];
            let said = run("redis-cli", &args);
            let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
            assert_eq!(said, "PONG\n", "{name} {protocol}");
        }
        let wrong = "CONFIG SET tls-key-file-pass wrong";
        assert!(peer.client().call(wrong).starts_with("-ERR CONFIG SET failed"), "{name}");
        // Ours follows either.
        let own = free_port().to_string();
        let mut options = options;
        options[0][1] = &own;
        let options = [&options.concat()[..], &["--replicaof", "127.0.0.1", &text]].concat();
        let replica = Server::start(&options);
        eventually("it follows", || {
            replica.client().call("INFO replication").contains("master_link_status:up")
        });
    }
}
