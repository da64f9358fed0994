//! MIGRATE: between our server and the original both ways, and what others see while a key is on its way.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use redstart_tests::proxy_support::{Client, PATIENCE, Redis, eventually, free_port};
use redstart_tests::server_support::Server;

/// Reads requests until their bytes contain `what`.
fn read_until(stream: &mut TcpStream, what: &[u8]) {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    while !all.windows(what.len()).any(|part| part == what) {
        let count = stream.read(&mut piece).expect("a request");
        assert!(count > 0, "the connection ended before {}", what.escape_ascii());
        all.extend_from_slice(&piece[..count]);
    }
}

/// Clients whose requests have come but are held back.
fn waiting(client: &mut Client) -> usize {
    let list = client.call("CLIENT LIST");
    let waits = |line: &&str| line.contains(" qbuf=") && !line.contains(" qbuf=0 ");
    list.lines().filter(waits).filter(|line| !line.contains(" cmd=client|list ")).count()
}

#[test]
fn keys_go_to_the_original_and_back() {
    let (server, original) = (Server::start(&[]), Redis::start());
    let (mut ours, mut theirs) = (server.client(), Client::connect(original.port));
    ours.call("SET number 12");
    ours.call("RPUSH list a b c");
    ours.call("HSET hash f v");
    ours.call("SET mortal x PX 90000");
    let to_them = |rest: &str| format!("MIGRATE 127.0.0.1 {} {rest}", original.port);
    assert_eq!(ours.call(&to_them("number 0 1000")), "+OK\r\n");
    assert_eq!(ours.call(&to_them("number 0 1000")), "+NOKEY\r\n");
    assert_eq!(theirs.call("GET number"), "$2\r\n12\r\n");
    ours.send(&[
        "MIGRATE",
        "127.0.0.1",
        &original.port.to_string(),
        "",
        "3",
        "1000",
        "KEYS",
        "list",
        "hash",
        "mortal",
        "missing",
    ]);
    assert_eq!(ours.receive(), "+OK\r\n");
    assert_eq!(ours.call("DBSIZE"), ":0\r\n");
    assert!(ours.call("INFO stats").contains("\r\nmigrate_cached_sockets:1\r\n"));
    assert_eq!(theirs.call("SELECT 3"), "+OK\r\n");
    assert_eq!(theirs.call("LRANGE list 0 -1"), "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    let left: i64 = theirs.call("PTTL mortal")[1..].trim_end().parse().expect("a number");
    assert!((1..=90_000).contains(&left), "{left}");
    // The same connection, another database: it is selected anew.
    ours.call("SET hash other");
    assert_eq!(
        ours.call(&to_them("hash 3 1000")),
        "-ERR Target instance replied with error: BUSYKEY Target key name already exists.\r\n"
    );
    assert_eq!(ours.call(&to_them("hash 3 1000 COPY REPLACE")), "+OK\r\n");
    assert_eq!(ours.call("GET hash"), "$5\r\nother\r\n");
    assert_eq!(theirs.call("GET hash"), "$5\r\nother\r\n");
    let to_us = format!("MIGRATE 127.0.0.1 {} list 7 1000", server.port);
    assert_eq!(theirs.call(&to_us), "+OK\r\n");
    assert_eq!(ours.call("SELECT 7"), "+OK\r\n");
    assert_eq!(ours.call("LRANGE list 0 -1"), "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
}

#[test]
fn what_goes_wrong_is_told_in_the_originals_words() {
    let (server, original) = (Server::start(&[]), Redis::start());
    let mut ours = server.client();
    ours.call("SET k v");
    let port = original.port;
    for (rest, said) in [
        (
            format!("{port} k 99 1000"),
            "-ERR Target instance replied with error: ERR DB index is out of range\r\n",
        ),
        (format!("{port} k 0 1000 NONSENSE"), "-ERR syntax error\r\n"),
        (format!("{port} k 0 1000 AUTH"), "-ERR syntax error\r\n"),
        (format!("{port} k 0 x"), "-ERR value is not an integer or out of range\r\n"),
        (format!("{port} k x 0"), "-ERR value is not an integer or out of range\r\n"),
        (
            format!("{port} k 0 1000 KEYS k"),
            "-ERR When using MIGRATE KEYS option, the key argument must be set to the empty string\r\n",
        ),
        ("0 k 0 1000".to_owned(), "-IOERR error or timeout writing to target instance\r\n"),
        (
            format!("{} k 0 1000", free_port()),
            "-IOERR error or timeout writing to target instance\r\n",
        ),
    ] {
        assert_eq!(ours.call(&format!("MIGRATE 127.0.0.1 {rest}")), said, "{rest}");
    }
    assert_eq!(
        ours.call(&format!("MIGRATE no.such.host.invalid {port} k 0 1000")),
        "-IOERR error or timeout connecting to the client\r\n"
    );
    let refused = ours.call(&format!("MIGRATE 127.0.0.1 {port} k 0 1000 AUTH2 someone secret"));
    assert!(refused.starts_with("-ERR Target instance replied with error: WRONGPASS"), "{refused}");
    assert_eq!(ours.call("GET k"), "$1\r\nv\r\n");
    // In a transaction nobody else is served meanwhile, and the keys go all the same.
    ours.call("MULTI");
    ours.call(&format!("MIGRATE 127.0.0.1 {port} k 0 1000 REPLACE"));
    assert_eq!(ours.call("EXEC"), "*1\r\n+OK\r\n");
    assert_eq!(ours.call("EXISTS k"), ":0\r\n");
}

#[test]
fn others_are_served_while_keys_are_on_their_way() {
    let server = Server::start(&[]);
    let target = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = target.local_addr().expect("its address").port();
    let (mut mover, mut other, mut reader, mut flusher) =
        (server.client(), server.client(), server.client(), server.client());
    other.call("SET k v");
    other.call("SET free v");
    mover.send(&["MIGRATE", "127.0.0.1", &port.to_string(), "k", "0", "60000"]);
    let (mut stream, _) = target.accept().expect("it connects");
    read_until(&mut stream, b"RESTORE");
    assert_eq!(other.call("GET free"), "$1\r\nv\r\n");
    reader.send(&["SET", "k", "changed", "XX"]);
    flusher.send(&["FLUSHALL"]);
    eventually("both wait", || waiting(&mut other) == 2);
    assert_eq!(other.call("EXISTS free"), ":1\r\n");
    stream.write_all(b"+OK\r\n+OK\r\n").expect("answered");
    assert_eq!(mover.receive(), "+OK\r\n");
    // It was gone by the time the write could run.
    assert_eq!(reader.receive(), "$-1\r\n");
    assert_eq!(flusher.receive(), "+OK\r\n");
    assert_eq!(other.call("DBSIZE"), ":0\r\n");
}

#[test]
fn a_key_whose_arrival_is_not_confirmed_stays() {
    let server = Server::start(&[]);
    let target = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = target.local_addr().expect("its address").port().to_string();
    let mut client = server.client();
    client.call("MSET a 1 b 2");
    client.send(&["MIGRATE", "127.0.0.1", &port, "", "0", "60000", "KEYS", "a", "b"]);
    let (mut stream, _) = target.accept().expect("it connects");
    read_until(&mut stream, b"\r\nb\r\n");
    stream.write_all(b"+OK\r\n+OK\r\n").expect("answered");
    drop(stream);
    assert_eq!(client.receive(), "-IOERR error or timeout reading to target instance\r\n");
    assert_eq!(client.call("EXISTS a"), ":0\r\n");
    assert_eq!(client.call("GET b"), "$1\r\n2\r\n");
    // Silence is as good as a broken connection, but it is not tried again.
    client.send(&["MIGRATE", "127.0.0.1", &port, "b", "0", "50"]);
    let (silent, _) = target.accept().expect("it connects");
    assert_eq!(client.receive(), "-IOERR error or timeout reading to target instance\r\n");
    assert_eq!(client.call("GET b"), "$1\r\n2\r\n");
    drop(silent);
}
