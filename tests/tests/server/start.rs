//! How the server starts: what keeps it from starting, and what others see of it then.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};

use redstart_tests::proxy_support::{Folder, PATIENCE, Process, eventually, free_port};
use redstart_tests::server_support::{Server, server_binary};

/// Runs a server that does not start, with a file `a.conf` at hand.
fn run(program: &std::ffi::OsStr, args: &[&str]) -> Output {
    let folder = Folder::new();
    std::fs::write(folder.join("a.conf"), "# a file\nport 0\n").expect("written");
    Command::new(program).args(args).current_dir(folder.path()).output().expect("it runs")
}

#[test]
fn what_is_wrong_is_told_in_the_originals_words() {
    for args in [
        &["--port", "abc"][..],
        &["--port"],
        &["--port", "1", "2"],
        &["--port", "0", "--nonsense", "1"],
        &["a.conf", "--nonsense", "1"],
        &["a.conf", "--port", "7", "--loglevel"],
        &["--loglevel", "--bla"],
        &["--shutdown-on-sigint"],
        &["--shutdown-on-sigterm", "now force", "--shutdown-on-sigint"],
        &["--replicaof", "127.0.0.1", "abc"],
        &["--replicaof", "127.0.0.1"],
        &["--masterauth", "a", "b"],
        &["--appendonly", "yes", "no"],
        &["--hz", "-1"],
        &["--hz", "1", "2"],
        &["--unixsocketperm", "-1"],
        &["--unixsocketperm", "9"],
        &["--proc-title-template", "{what}"],
        &["--proc-title-template", ""],
        &["--supervised", "me"],
        &["--maxmemory-eviction-tenacity", "101"],
        &["--logfile", "no/such/folder"],
        &["--client-output-buffer-limit", "normal"],
    ] {
        let [original, ours] = ["redis-server".as_ref(), server_binary().as_os_str()]
            .map(|program| run(program, args));
        assert_eq!(ours.status.code(), Some(1), "{args:?}");
        assert_eq!(original.status.code(), Some(1), "{args:?}");
        let [original, ours] =
            [original, ours].map(|found| String::from_utf8_lossy(&found.stderr).into_owned());
        assert_eq!(ours, original, "{args:?}");
    }
}

#[test]
fn who_would_listen_nowhere_ends() {
    let found = run(server_binary().as_os_str(), &["--port", "0"]);
    assert_eq!(found.status.code(), Some(1));
    let said = String::from_utf8_lossy(&found.stdout);
    assert!(said.contains(" # Configured to not listen anywhere, exiting.\n"), "{said}");
}

#[test]
fn a_supervisor_hears_when_it_is_ready() {
    for (named, mode) in [(true, "systemd"), (true, "auto"), (false, "systemd")] {
        let folder = Folder::new();
        let socket = UnixDatagram::bind(folder.join("notify")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let (port, log) = (free_port(), folder.join("log"));
        let mut command = Command::new(server_binary());
        // It must stay in the foreground for its supervisor, whatever the file says.
        let stay = if named { "yes" } else { "no" };
        command
            .args(["--port", &port.to_string(), "--supervised", mode, "--daemonize", stay])
            .env_remove("UPSTART_JOB")
            .env_remove("NOTIFY_SOCKET")
            .current_dir(folder.path());
        if named {
            command.env("NOTIFY_SOCKET", folder.join("notify"));
        }
        let mut process = Process::start(&mut command, &log);
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        eventually("it is ready", || said().contains("Ready to accept connections"));
        let mut client = redstart_tests::proxy_support::Client::connect(port);
        let info = client.call("INFO server");
        if !named {
            assert!(said().contains("supervision error: NOTIFY_SOCKET not found!"), "{}", said());
            assert!(info.contains("process_supervised:no\r\n"), "{info}");
            continue;
        }
        assert!(info.contains("process_supervised:systemd\r\n"), "{info}");
        assert!(info.contains(&format!("process_id:{}\r\n", process.id())), "no child: {info}");
        let heard = || {
            let mut message = [0; 200];
            let length = socket.recv(&mut message).expect("a message");
            String::from_utf8_lossy(&message[..length]).into_owned()
        };
        assert_eq!(heard(), "STATUS=Redis is loading...\n");
        assert_eq!(heard(), "STATUS=Ready to accept connections\n");
        assert_eq!(heard(), "READY=1\n");
        process.signal(15);
        assert_eq!(heard(), "STOPPING=1\n");
        eventually("it ends", || !process.is_alive());
    }
}

#[test]
fn the_title_is_what_its_template_says() {
    let server = Server::start(&["--proc-title-template", "{title} {port} {server-mode}"]);
    let shown = || {
        let path = format!("/proc/{}/cmdline", server.process.id());
        let line = std::fs::read(path).expect("a command line");
        String::from_utf8_lossy(&line).trim_end_matches('\0').to_owned()
    };
    let (name, port) = (server_binary().display(), server.port);
    // It is set once the ports are bound, so it may come a moment after they are.
    eventually("the title is shown", || shown() == format!("{name} {port}"));
    // Longer than what the process was started with.
    let mut client = server.client();
    let long = "x".repeat(300);
    let template = format!("{long} {{listen-addr}} {{tls-port}}");
    client.send(&["CONFIG", "SET", "proc-title-template", &template]);
    assert_eq!(client.receive(), "+OK\r\n");
    let title = shown();
    assert!(title.starts_with(&format!("{long} ")), "{title}");
    assert!(title.ends_with(&format!(":{port} 0")), "{title}");
    assert_eq!(client.call("CONFIG SET proc-title-template {port}"), "+OK\r\n");
    assert_eq!(shown(), port.to_string());
    let refused = client.call("CONFIG SET proc-title-template {nothing}");
    assert!(
        refused.contains("template format is invalid or contains unknown variables"),
        "{refused}"
    );
    assert_eq!(client.call("CONFIG SET set-proc-title no").get(..4), Some("-ERR"));
    let plain = Server::start(&["--set-proc-title", "no"]);
    let line = std::fs::read(format!("/proc/{}/cmdline", plain.process.id())).expect("a line");
    assert!(line.windows(17).any(|piece| piece == b"--set-proc-title\0"), "as it was started");
}
