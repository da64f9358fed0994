//! Clients that mean no good, at our server and at the original alike.

use std::io::{Read, Write};
use std::net::TcpStream;

use redstart_tests::proxy_support::PATIENCE;
use redstart_tests::server_support::{Peer, readable};

/// Sends `requests` and gives all that comes until the connection ends.
fn heard_to_the_end(peer: &Peer, requests: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", peer.port())).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(requests).expect("sent");
    let mut heard = Vec::new();
    if let Err(error) = stream.read_to_end(&mut heard) {
        // A connection that is closed with requests unread is reset.
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{}: {error}", peer.name());
    }
    heard
}

#[test]
fn a_line_of_http_ends_the_connection_and_nothing_behind_it_runs() {
    for peer in Peer::both(&["--rename-command", "LASTSAVE", "post"]) {
        for requests in [
            &b"POST / HTTP/1.1\r\nSET done yes\r\n"[..],
            b"SET before yes\r\nGET / HTTP/1.1\r\nhOst: here\r\n\r\nSET done yes\r\n",
            b"*1\r\n$4\r\npOSt\r\n*3\r\n$3\r\nSET\r\n$4\r\ndone\r\n$3\r\nyes\r\n",
            b"*3\r\n$5\r\nHost:\r\n$1\r\na\r\n$1\r\nb\r\nSET done yes\r\n",
            b"MULTI\r\nSET done yes\r\npost\r\nEXEC\r\n",
            b"CLIENT REPLY OFF\r\n\"post\" x\r\nSET done yes\r\n",
        ] {
            let heard = heard_to_the_end(&peer, requests);
            assert_eq!(heard, b"", "{}: {}", peer.name(), readable(requests));
        }
        let mut admin = peer.client();
        assert_eq!(admin.call("MGET before done"), "*2\r\n$3\r\nyes\r\n$-1\r\n", "{}", peer.name());
        // A word that only begins like one of them is an unknown command.
        assert!(admin.call("POSTS").starts_with("-ERR unknown command"), "{}", peer.name());
        // One line for all: whoever sends many must not fill the log.
        assert_eq!(peer.log().matches("Possible SECURITY ATTACK detected.").count(), 1);
    }
}

#[test]
fn a_client_without_its_password_takes_no_memory_by_not_reading() {
    let refusal = "-NOAUTH Authentication required.\r\n";
    for peer in Peer::both(&["--requirepass", "secret"]) {
        let fitting = (16 << 10) / refusal.len();
        let mut client = peer.client();
        client.send_raw("PING\r\n".repeat(fitting).as_bytes());
        for _ in 0..fitting {
            assert_eq!(client.receive(), refusal, "{}", peer.name());
        }
        let heard = heard_to_the_end(&peer, "PING\r\n".repeat(fitting + 1).as_bytes());
        assert_eq!(heard, b"", "{}", peer.name());
        assert!(peer.log().contains("scheduled to be closed ASAP for overcoming of output buffer"));
        // With the password the same is nothing special.
        assert_eq!(client.call("AUTH secret"), "+OK\r\n");
        client.send_raw("PING\r\n".repeat(20 * fitting).as_bytes());
        for _ in 0..20 * fitting {
            assert_eq!(client.receive(), "+PONG\r\n", "{}", peer.name());
        }
    }
}
