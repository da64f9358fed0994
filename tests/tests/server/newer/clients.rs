//! What is said of and to clients.

use redstart_tests::proxy_support::{Client, eventually};
use redstart_tests::server_support::Server;

use super::expect;

#[test]
fn clients_are_ended_by_age() {
    let server = Server::start(&[]);
    let mut old = Client::connect(server.port);
    assert_eq!(old.call("CLIENT KILL MAXAGE 1000"), ":0\r\n");
    expect(
        &mut old,
        &[
            ("CLIENT KILL MAXAGE 0", "-ERR maxage should be greater than 0"),
            ("CLIENT KILL MAXAGE x", "-ERR maxage is not an integer or out of range"),
        ],
    );
    let mut new = None;
    eventually("the first grows old", || {
        let mut client = Client::connect(server.port);
        let killed = client.call("CLIENT KILL MAXAGE 1 SKIPME yes");
        new = Some(client);
        killed == ":1\r\n"
    });
    assert!(old.is_closed());
    assert_eq!(new.expect("a client").call("PING"), "+PONG\r\n");
}

#[test]
fn who_follows_is_sent_to_the_primary() {
    let primary = Server::start(&[]);
    let server = Server::start(&[]);
    let away = format!("-REDIRECT 127.0.0.1:{}", primary.port);
    let (mut client, mut waiting) = (Client::connect(server.port), Client::connect(server.port));
    expect(
        &mut client,
        &[
            ("READONLY", "-ERR This instance has cluster support disabled"),
            ("CLIENT CAPA unheard-of REDIRECT", "+OK"),
            ("SET k v", "+OK"),
        ],
    );
    waiting.call("CLIENT CAPA redirect");
    waiting.send(&["BLPOP", "list", "0"]);
    let mut plain = Client::connect(server.port);
    eventually("the wait", || plain.call("INFO clients").contains("blocked_clients:1"));
    plain.call(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    assert_eq!(waiting.receive().trim_end(), away);
    expect(
        &mut client,
        &[
            ("GET k", &away),
            ("SET k v", &away),
            ("PING", "+PONG"),
            ("MULTI", "+OK"),
            ("GET k", &away),
            ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
            ("READONLY", "+OK"),
            ("ASKING", "-ERR This instance has cluster support disabled"),
        ],
    );
    eventually("the sync", || client.call("GET k").trim_end() == "$-1");
    expect(
        &mut client,
        &[
            ("SET k v", &away),
            ("READWRITE", "+OK"),
            ("GET k", &away),
            ("RESET", "+RESET"),
            ("SET k v", "-READONLY You can't write against a read only replica."),
        ],
    );
    assert!(client.call("HELLO").contains("$4\r\nrole\r\n$7\r\nreplica\r\n"));
}
