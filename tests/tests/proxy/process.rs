//! The proxy as a process: its command line, its sockets, its signals, and what it does without a configuration.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use redstart_tests::proxy_support::{
    Client, Folder, Listening, Process, Proxy, Redis, eventually, free_port, proxy_binary,
    send_signal,
};

fn run(args: &[&str]) -> (bool, String) {
    let output =
        Command::new(proxy_binary()).args(args).stdin(Stdio::null()).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text.into_owned())
}

#[test]
fn the_command_line_tells_what_it_is_asked() {
    let (ok, text) = run(&["-V"]);
    assert!(ok && text.starts_with("This is redstart-proxy-"), "{text}");
    let (ok, text) = run(&["-h"]);
    assert!(ok && text.contains("--conf-file") && text.contains("22121"), "{text}");
    let (ok, text) = run(&["-D"]);
    assert!(ok && text.contains("server_ejected_at") && text.contains("forward_error"), "{text}");
    let (ok, text) = run(&["--help-config"]);
    assert!(ok && text.contains("server_failure_limit"), "{text}");
    let folder = Folder::new();
    let file = folder.join("proxy.yml");
    let path = file.display().to_string();
    std::fs::write(&file, "a:\n  listen: 127.0.0.1:1\n  redis: true\n  servers:\n   - h:1:1\n")
        .expect("written");
    let (ok, text) = run(&["-t", "-c", &path]);
    assert!(ok && text.contains("syntax is ok"), "{text}");
    std::fs::write(&file, "a:\n  listen: 127.0.0.1:1\n  timeout: x\n").expect("written");
    let (ok, text) = run(&["-t", "-c", &path]);
    assert!(!ok && text.contains("proxy.yml:3: pool 'a': 'timeout' is not a number"), "{text}");
    let (ok, text) = run(&["-c", "/nonexistent/proxy.yml"]);
    assert!(!ok && text.contains("cannot be read"), "{text}");
}

#[test]
fn a_listener_that_is_taken_is_told_at_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let folder = Folder::new();
    let file = folder.join("proxy.yml");
    let text = format!("a:\n  listen: 127.0.0.1:{port}\n  redis: true\n  servers:\n   - h:1:1\n");
    std::fs::write(&file, text).expect("written");
    let (ok, text) = run(&["-s", "0", "-c", &file.display().to_string()]);
    assert!(!ok && text.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{text}");
}

/// What the pid file says. It is written once the ports are bound, so it may come a moment after they are.
fn pid_in(file: &std::path::Path) -> Option<u32> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// A process that nobody is the parent of; it ends with the test all the same.
struct Daemon(u32);

impl Drop for Daemon {
    fn drop(&mut self) {
        let ended = send_signal(self.0, libc::SIGTERM);
        assert!(std::thread::panicking() || ended);
    }
}

#[test]
fn whoever_starts_it_in_the_background_is_told_what_is_wrong() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let folder = Folder::new();
    let (file, pid, log) = (folder.join("proxy.yml"), folder.join("pid"), folder.join("proxy.log"));
    let text = |port: u16| {
        format!("a:\n  listen: 127.0.0.1:{port}\n  redis: true\n  servers:\n   - h:1:1\n")
    };
    let path = |file: &std::path::Path| file.display().to_string();
    let start = |log: &str, pid: &str| {
        run(&["-d", "-s", "0", "--workers", "1", "-c", &path(&file), "-o", log, "-p", pid])
    };
    std::fs::write(&file, text(port)).expect("written");
    let (ok, said) = start(&path(&log), &path(&pid));
    assert!(!ok && said.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{said}");
    assert!(!pid.exists(), "nothing runs");

    let port = free_port();
    std::fs::write(&file, text(port)).expect("written");
    let (ok, said) = start(&path(&folder.join("nowhere/log")), &path(&pid));
    assert!(!ok && said.contains("cannot open the log file"), "{said}");

    // Nobody is left to hear of the pid file but whoever reads the log.
    let (ok, said) = start(&path(&log), &path(&folder.join("nowhere/pid")));
    assert!(ok, "{said}");
    let logged = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually("the log tells it", || logged().contains("nowhere/pid"));
    eventually("it ends", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err());

    let (ok, said) = start(&path(&log), &path(&pid));
    assert!(ok, "{said}");
    eventually("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    eventually("the pid is there", || pid_in(&pid).is_some());
    let daemon = Daemon(pid_in(&pid).expect("a pid"));
    assert_eq!(Client::connect(port).call("PING"), "+PONG\r\n");
    drop(daemon);
    eventually("it ends", || !pid.exists());
}

#[test]
fn with_few_descriptors_servers_come_before_clients() {
    let server = Redis::start();
    let folder = Folder::new();
    let (port, file) = (free_port(), folder.join("proxy.yml"));
    let text = format!(
        "a:\n  listen: 127.0.0.1:{port}\n  redis: true\n  servers:\n   - 127.0.0.1:{}:1\n",
        server.port
    );
    std::fs::write(&file, text).expect("written");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" -s 0 --workers 2 -c \"$1\""]);
    command.arg(proxy_binary()).arg(&file);
    let proxy = Listening::start(command, port, folder);
    let mut clients: Vec<Client> = (0..80).map(|_| Client::connect(port)).collect();
    let late = clients.split_off(50);
    let admitted = late.into_iter().filter_map(|mut client| {
        client.try_send_raw(b"PING\r\n");
        let reply = client.try_receive().expect("a reply");
        assert!(reply == b"+PONG\r\n" || reply == b"-ERR max number of clients reached\r\n");
        reply.starts_with(b"+").then_some(client)
    });
    let admitted: Vec<Client> = admitted.collect();
    // Whoever found out that the proxy listens has left, and may have held a place until just now.
    assert!(admitted.len() <= 1);
    clients.truncate(20);
    // No server was needed until now, and yet its connections find their place.
    for client in &mut clients {
        assert_eq!(client.call("SET k v"), "+OK\r\n");
        assert!(client.call("HELLO 3").starts_with("%7\r\n"));
        assert_eq!(client.call("GET k"), "$1\r\nv\r\n");
    }
    assert!(!proxy.log().contains("Too many open files"), "{}", proxy.log());
    drop(clients);
    eventually("there is a place again", || {
        let mut client = Client::connect(port);
        client.try_send_raw(b"PING\r\n");
        client.try_receive().is_some_and(|reply| reply == b"+PONG\r\n")
    });
}

#[test]
fn a_unix_socket_has_its_mode_and_goes_with_the_process() {
    let server = Redis::start();
    let folder = Folder::new();
    let socket = folder.join("proxy.sock");
    let pid = folder.join("pid");
    let file = folder.join("proxy.yml");
    let text = format!(
        "a:\n  listen: {} 0640\n  redis: true\n  server_connections: 3\n  preconnect: true\n  servers:\n   - localhost:{}:1\n",
        socket.display(),
        server.port
    );
    std::fs::write(&file, text).expect("written");
    let mut command = Command::new(proxy_binary());
    command.arg("-c").arg(&file).args(["-s", "0", "--workers", "2", "-p"]).arg(&pid);
    let mut process = Process::start(&mut command, &folder.join("log"));
    eventually("it listens", || UnixStream::connect(&socket).is_ok());
    let mode = || std::fs::metadata(&socket).expect("a socket").permissions().mode();
    eventually("it has its mode", || mode() & 0o777 == 0o640);
    eventually("the pid is there", || pid_in(&pid) == Some(process.id()));
    for number in 0..10 {
        let mut stream = UnixStream::connect(&socket).expect("connected");
        stream
            .write_all(format!("SET k{number} v\r\nGET k{number}\r\nQUIT\r\n").as_bytes())
            .expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("answered");
        assert_eq!(text, "+OK\r\n$1\r\nv\r\n+OK\r\n");
    }
    // SIGHUP, SIGUSR1, SIGTTIN and SIGTTOU change the log at most.
    for signal in [1, 10, 21, 22] {
        process.signal(signal);
    }
    eventually("the signals are seen", || {
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        ["SIGHUP", "SIGTTIN: the log level is", "SIGTTOU: the log level is"]
            .iter()
            .all(|words| log.contains(words))
    });
    assert!(process.is_alive());
    process.signal(15);
    eventually("it ends", || !process.is_alive());
    assert!(!socket.exists() && !pid.exists());
}

#[test]
fn without_a_configuration_engines_run_inside() {
    let folder = Folder::new();
    let port = free_port();
    let mut command = Command::new(proxy_binary());
    command.args(["--embedded", "3", "--workers", "2", "--listen", &format!("127.0.0.1:{port}")]);
    command.args(["--no-persistence", "--metrics", "off"]);
    command.current_dir(folder.path()).env("TMPDIR", folder.path());
    let mut process = Process::start(&mut command, &folder.join("log"));
    eventually("it listens", || {
        assert!(process.is_alive(), "{:?}", std::fs::read_to_string(folder.join("log")));
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    eventually("the log says what runs", || {
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        log.contains("3 engines") && log.contains("in memory only") && log.contains("redis-cli -p")
    });
    let mut client = Client::connect(port);
    for number in 1..=8 {
        assert_eq!(client.call(&format!("SET k{number} v")), "+OK\r\n");
    }
    let servers = client.call("INFO servers");
    assert!(!servers.contains("requests=0,"), "a handful of keys is spread: {servers}");
    assert_eq!(client.call("FLUSHALL"), "+OK\r\n");
    for number in 0..200 {
        assert_eq!(client.call(&format!("SET user:{number}:{} v", number * 7919)), "+OK\r\n");
    }
    assert_eq!(client.call("DBSIZE"), ":200\r\n");
    assert!(client.call("KEYS *").starts_with("*200\r\n"));
    assert_eq!(
        client.call("MGET user:0:0 user:1:7919 user:2:15838"),
        "*3\r\n$1\r\nv\r\n$1\r\nv\r\n$1\r\nv\r\n"
    );
    let servers = client.call("INFO servers");
    assert_eq!(servers.matches("state=live").count(), 3, "{servers}");
    assert!(client.call("HELLO 3").starts_with("%7\r\n"));
    assert_eq!(client.call("GET missing"), "_\r\n");
    process.signal(2);
    eventually("it ends", || !process.is_alive());
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .expect("a folder")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left, ["log"], "engines leave nothing behind");
}

#[test]
fn idle_clients_cost_little_and_memory_goes_back() {
    let servers: Vec<Redis> = (0..2).map(|_| Redis::start()).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let proxy = Proxy::start("  preconnect: true\n", &ports);
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..1500 {
        let mut client = proxy.client();
        client.send(&["GET", "k"]);
        assert_eq!(client.receive(), "$-1\r\n");
        clients.push(client);
    }
    let idle = proxy.process.resident_bytes();
    assert!(idle < 40 << 20, "{idle} bytes with 1500 idle clients");
    let value = "x".repeat(1 << 20);
    for (number, client) in clients.iter_mut().enumerate().take(200) {
        client.send(&["SET", &format!("k{number}"), &value]);
    }
    for client in clients.iter_mut().take(200) {
        assert_eq!(client.receive(), "+OK\r\n");
    }
    eventually("memory goes back", || proxy.process.resident_bytes() < idle + (16 << 20));
}

#[test]
fn a_crash_is_told_in_the_log_and_ends_the_process_by_its_signal() {
    use std::os::unix::process::ExitStatusExt;
    const ABORTED: i32 = 6;
    let folder = Folder::new();
    let (log, port) = (folder.join("log"), free_port());
    let file = folder.join("proxy.yml");
    let pool =
        format!("a:\n  listen: 127.0.0.1:{port}\n  redis: true\n  servers:\n   - 127.0.0.1:1:1\n");
    std::fs::write(&file, pool).expect("written");
    let mut command = Command::new(proxy_binary());
    command.arg("-c").arg(&file).arg("-o").arg(&log).args(["-s", "0"]);
    let mut process = Process::start(&mut command, &folder.join("output"));
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually("it is ready", || said().contains("ready"));
    process.signal(ABORTED);
    assert_eq!(process.ended().signal(), Some(ABORTED));
    let said = said();
    for line in [
        "=== REDSTART-PROXY BUG REPORT START: Cut & paste starting from here ===",
        concat!("redstart-proxy ", env!("CARGO_PKG_VERSION"), " crashed by signal: 6, si_code: 0"),
        "------ STACK TRACE ------",
        "=== REDSTART-PROXY BUG REPORT END. Make sure to include from START to END. ===",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
}
