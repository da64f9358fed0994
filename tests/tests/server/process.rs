//! The server as a process: how it starts and ends, what it says, and what bad clients get.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};
use std::time::Duration;

use redstart_tests::proxy_support::{Client, Folder, PATIENCE, eventually};
use redstart_tests::server_support::{Server, server_binary, workspace};

fn run(args: &[&str]) -> Output {
    let folder = Folder::new();
    Command::new(server_binary()).args(args).current_dir(folder.path()).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Everything that a server sends on a connection until it closes it.
fn rest_of(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&piece[..count]),
            // A reset is an end too, when it was still being sent to.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("the connection is not closed: {error}; so far {}", text(&all)),
        }
    }
}

#[test]
fn version_and_help() {
    let found = run(&["--version"]);
    assert!(found.status.success());
    assert!(text(&found.stdout).starts_with("Redis server v=7.0.15 "), "{}", text(&found.stdout));
    assert_eq!(text(&run(&["-v"]).stdout), text(&found.stdout));
    assert_eq!(run(&["--help"]).status.code(), Some(1));
}

#[test]
fn a_wrong_configuration_ends_with_1() {
    for (args, reason) in [
        (&["--port", "abc"][..], "argument couldn't be parsed into an integer"),
        (&["--nonsense", "1"], "Bad directive or wrong number of arguments"),
    ] {
        let found = run(args);
        assert_eq!(found.status.code(), Some(1), "{args:?}");
        let said = text(&found.stderr);
        assert!(said.contains("*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***"), "{said}");
        assert!(said.contains(reason), "{said}");
    }
    let found = run(&["no-such-file.conf"]);
    assert_eq!(found.status.code(), Some(1));
}

#[test]
fn includes_may_have_wildcards() {
    let folder = Folder::new();
    std::fs::create_dir(folder.join("conf.d")).expect("a folder");
    // The last one to be read wins; a file whose name begins with a dot is not meant, nor one with another ending.
    for (name, text) in [
        ("20.conf", "maxmemory-samples 7\n"),
        ("10.conf", "maxmemory-samples 6\nslowlog-max-len 77\n"),
        (".90.conf", "maxmemory-samples 8\n"),
        ("30.txt", "maxmemory-samples 9\n"),
    ] {
        std::fs::write(folder.join("conf.d").join(name), text).expect("written");
    }
    let text =
        format!("include {0}/conf.d/*.conf\ninclude {0}/none/*.conf\n", folder.path().display());
    let server = Server::start_with_file(&text);
    let mut client = server.client();
    let said = client.call("CONFIG GET maxmemory-samples");
    assert!(said.ends_with("\r\n7\r\n"), "{said}");
    let said = client.call("CONFIG GET slowlog-max-len");
    assert!(said.ends_with("\r\n77\r\n"), "{said}");
}

#[test]
fn a_port_in_use_ends_with_1() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = holder.local_addr().expect("its address").port().to_string();
    let found = run(&["--port", &port, "--bind", "127.0.0.1"]);
    assert_eq!(found.status.code(), Some(1));
    let said = text(&found.stdout);
    assert!(said.contains("Failed listening on port"), "{said}");
}

#[test]
fn sigterm_ends_with_0_and_a_farewell() {
    let folder = Folder::new();
    let log = folder.join("out");
    let port = redstart_tests::proxy_support::free_port();
    let mut child = Command::new(server_binary())
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--logfile"])
        .arg(&log)
        .current_dir(folder.path())
        .spawn()
        .expect("it runs");
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually("it is ready", || read().contains("Ready to accept connections"));
    // Who is connected keeps it from nothing.
    let mut client = Client::connect(port);
    assert_eq!(client.call("PING"), "+PONG\r\n");
    assert!(redstart_tests::proxy_support::send_signal(child.id(), libc::SIGTERM));
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert!(read().contains("Received SIGTERM scheduling shutdown..."), "{}", read());
    assert!(read().contains("bye bye"), "{}", read());
}

#[test]
fn shutdown_ends_it() {
    let mut server = Server::start(&[]);
    let (mut client, mut other) = (server.client(), server.client());
    assert_eq!(other.call("PING"), "+PONG\r\n");
    client.send(&["SHUTDOWN", "NOSAVE"]);
    assert!(client.is_closed());
    eventually("it ends", || !server.process.is_alive());
    assert!(server.log().contains("bye bye"));
}

#[test]
fn config_rewrite_keeps_what_was_set() {
    let server = Server::start_with_file("# mine\nmaxmemory 100mb\n\n# about nothing\ntimeout 0\n");
    let mut client = server.client();
    assert_eq!(client.call("CONFIG SET timeout 77 maxmemory-policy allkeys-lru"), "+OK\r\n");
    assert_eq!(client.call("CONFIG REWRITE"), "+OK\r\n");
    let file = std::fs::read_to_string(server.folder.join("redis.conf")).expect("it is there");
    assert!(file.starts_with("# mine\n"), "{file}");
    assert!(file.contains("\n# about nothing\ntimeout 77\n"), "{file}");
    assert!(file.contains("maxmemory-policy allkeys-lru\n"), "{file}");
    // Its folder, which the file names, goes with the first server.
    drop(server);
    let file: String = file
        .lines()
        .filter(|line| !line.starts_with("dir "))
        .map(|line| format!("{line}\n"))
        .collect();
    let again = Server::start_with_file(&file);
    let mut client = again.client();
    assert_eq!(client.call("CONFIG GET timeout"), "*2\r\n$7\r\ntimeout\r\n$2\r\n77\r\n");
    assert_eq!(client.call("CONFIG GET maxmemory"), "*2\r\n$9\r\nmaxmemory\r\n$9\r\n104857600\r\n");
}

#[test]
fn the_sample_configuration_is_taken() {
    let sample =
        std::fs::read_to_string(workspace().join("config/server.conf")).expect("the sample");
    let server = Server::start_with_file(&sample);
    assert_eq!(server.client().call("PING"), "+PONG\r\n");
}

#[test]
fn a_unix_socket_serves() {
    let server = Server::start(&["--unixsocket", "here.sock", "--unixsocketperm", "700"]);
    let path = server.folder.join("here.sock");
    let mut stream = UnixStream::connect(&path).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(b"PING\r\n").expect("sent");
    let mut reply = [0; 7];
    stream.read_exact(&mut reply).expect("a reply");
    assert_eq!(&reply, b"+PONG\r\n");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&path).expect("it is there").permissions(),
    );
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_password_is_asked_for() {
    let server = Server::start(&["--requirepass", "secret"]);
    let mut client = server.client();
    assert_eq!(client.call("GET k"), "-NOAUTH Authentication required.\r\n");
    assert_eq!(
        client.call("AUTH wrong"),
        "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
    );
    assert_eq!(client.call("AUTH secret"), "+OK\r\n");
    assert_eq!(client.call("GET k"), "$-1\r\n");
    assert_eq!(server.client().call("HELLO 2 AUTH default secret").as_bytes()[0], b'*');
}

#[test]
fn too_many_clients_are_told_so() {
    let server = Server::start(&["--maxclients", "3"]);
    // The harness's own first connection may not be forgotten yet.
    let mut kept: Vec<Client> = Vec::new();
    eventually("three clients are served", || {
        let mut client = server.client();
        client.try_send_raw(b"PING\r\n");
        if client.try_receive().is_some_and(|reply| reply == b"+PONG\r\n") {
            kept.push(client);
        }
        kept.len() == 3
    });
    let mut refused = TcpStream::connect(("127.0.0.1", server.port)).expect("connected");
    assert_eq!(text(&rest_of(&mut refused)), "-ERR max number of clients reached\r\n");
    drop(kept);
    eventually("there is room again", || {
        let mut client = server.client();
        client.try_send_raw(b"PING\r\n");
        client.try_receive().is_some_and(|reply| reply == b"+PONG\r\n")
    });
}

#[test]
fn bad_input_gets_the_originals_words() {
    let server = Server::start(&[]);
    for (input, said) in [
        (&b"*abc\r\n"[..], "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*2147483648\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\nPING\r\n", "-ERR Protocol error: expected '$', got 'P'\r\n"),
        (b"*2\r\n$3\r\nGET\r\n$629145600\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (b"*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (b"GET \"unbalanced\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("connected");
        stream.write_all(input).expect("sent");
        assert_eq!(text(&rest_of(&mut stream)), said, "to {}", input.escape_ascii());
    }
    // Binary nonsense, in pieces: an answer or a farewell, never a crash.
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("connected");
    let _ = stream.write_all(&[0xff; 70_000]);
    let said = text(&rest_of(&mut stream));
    assert!(said.is_empty() || said.contains("too big inline request"), "{said}");
    assert_eq!(server.client().call("PING"), "+PONG\r\n");
}

#[test]
fn half_a_command_waits_without_memory() {
    let server = Server::start(&[]);
    let mut halves: Vec<TcpStream> = Vec::new();
    let before = server.process.resident_bytes();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("connected");
        // Announces 500 MB and two million arguments, sends next to nothing.
        stream.write_all(b"*2000000\r\n$3\r\nSET\r\n$1\r\nk\r\n$524288000\r\nabc").expect("sent");
        halves.push(stream);
    }
    assert_eq!(server.client().call("PING"), "+PONG\r\n");
    let grown = server.process.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "50 half commands cost {grown} bytes");
    drop(halves);
    assert_eq!(server.client().call("PING"), "+PONG\r\n");
}

#[test]
fn a_client_that_never_reads_is_dropped_at_its_limit() {
    let server = Server::start(&["--client-output-buffer-limit", "normal 8mb 0 0"]);
    let value = "x".repeat(1 << 20);
    let mut client = server.client();
    client.send(&["SET", "big", &value]);
    assert_eq!(client.receive(), "+OK\r\n");
    // A few kilobytes of requests that ask for a gigabyte, in the shape of libraries and of people.
    for request in ["*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n", "GET big\r\n"] {
        let mut deaf = TcpStream::connect(("127.0.0.1", server.port)).expect("connected");
        deaf.set_write_timeout(Some(Duration::from_secs(1))).expect("a timeout");
        // It may be dropped while it still writes.
        let _ = deaf.write_all(request.repeat(1000).as_bytes());
        eventually("it is dropped", || !server.client().call("CLIENT LIST").contains("cmd=get"));
    }
    let peak = server.process.peak_bytes();
    assert!(peak < 64 << 20, "a limit of 8 MB let {peak} bytes be used");
    assert_eq!(client.call("STRLEN big"), ":1048576\r\n");
}

#[test]
fn more_replies_than_may_wait_all_come_in_the_end() {
    let server = Server::start(&[]);
    let value = "x".repeat(1 << 20);
    let mut client = server.client();
    client.send(&["SET", "big", &value]);
    assert_eq!(client.receive(), "+OK\r\n");
    // Output of 256 MB stops a client's requests; they were read all the same.
    let count = 400;
    let mut bytes = "*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n".repeat(count);
    bytes.push_str("PING\r\n");
    client.send_raw(bytes.as_bytes());
    for number in 0..count {
        assert_eq!(client.receive().len(), value.len() + 12, "reply {number}");
    }
    assert_eq!(client.receive(), "+PONG\r\n");
}

/// Where the threads of a process of this name may run, as the system tells.
fn processors_of(pid: &str, thread: &str) -> Option<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
    threads.flatten().find_map(|entry| {
        let named = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        (named.trim() == thread).then(|| line.trim().to_owned())
    })
}

#[test]
fn threads_run_and_connections_come_from_where_the_settings_say() {
    let own = std::fs::read_to_string("/proc/self/status").expect("a status");
    let all = own.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("a list");
    let (all, ends) = (all.trim(), |at: char| at == '-' || at == ',');
    let first = all.split(ends).next().expect("a processor");
    let last = all.rsplit(ends).next().expect("a processor");
    let primary = Server::start(&[]);
    let server = Server::start(&[
        "--server_cpulist",
        first,
        "--bio_cpulist",
        last,
        "--aof_rewrite_cpulist",
        "nonsense",
        "--appendonly",
        "yes",
        "--bind-source-addr",
        "127.0.0.3",
        "--replicaof",
        "127.0.0.1",
        &primary.port.to_string(),
    ]);
    let mut client = Client::connect(server.port);
    let info = client.call("INFO server");
    let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")).expect("an id").trim();
    let main = std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("a name");
    assert_eq!(processors_of(pid, main.trim()).as_deref(), Some(first));
    eventually("a thread that syncs runs elsewhere", || {
        processors_of(pid, "bio_aof_fsync").as_deref() == Some(last)
    });
    assert_eq!(
        client.call("CONFIG GET bio_cpulist"),
        format!("*2\r\n$11\r\nbio_cpulist\r\n${}\r\n{last}\r\n", last.len())
    );
    eventually("the replica comes from its address", || {
        Client::connect(primary.port).call("CLIENT LIST TYPE replica").contains(" addr=127.0.0.3:")
    });
    // Later connections come from where the setting says then.
    client.call("CONFIG SET bind-source-addr 127.0.0.4");
    client.call(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    client.call("REPLICAOF NO ONE");
    client.call(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    eventually("it comes from another", || {
        Client::connect(primary.port).call("CLIENT LIST TYPE replica").contains(" addr=127.0.0.4:")
    });
    let refused = run(&["--crash-memcheck-enabled", "yes"]);
    assert!(!refused.status.success());
    assert!(
        text(&refused.stderr).contains("does not support looking through the memory"),
        "{}",
        text(&refused.stderr)
    );
}
