//! Users of the server as clients meet them: logging in, being refused, users in files; and what is told to clients
//! that cache, to monitors and to those who ask what was slow.

use redstart_tests::proxy_support::{Client, Folder, eventually};
use redstart_tests::server_support::Server;

const NO_PERMISSION: &str = "-NOPERM this user has no permissions to";

#[test]
fn a_user_may_do_what_its_rules_say() {
    let server = Server::start(&[]);
    let (mut admin, mut client) = (server.client(), server.client());
    assert_eq!(
        admin.call("ACL SETUSER alice on >secret ~cached:* &news +get +set +multi +exec +publish"),
        "+OK\r\n"
    );
    client.play(
        "> AUTH alice wrong
         < -WRONGPASS invalid username-password pair or user is disabled.
         > AUTH alice secret
         < +OK
         > ACL WHOAMI
         < -NOPERM this user has no permissions to run the 'acl|whoami' command
         > SET cached:1 v
         < +OK
         > GET other
         < -NOPERM this user has no permissions to access one of the keys used as arguments
         > PUBLISH news x
         < :0
         > PUBLISH other x
         < -NOPERM this user has no permissions to access one of the channels used as arguments
         > MULTI
         < +OK
         > GET cached:1
         < +QUEUED
         > DEL cached:1
         < -NOPERM this user has no permissions to run the 'del' command
         > EXEC
         < -EXECABORT Transaction discarded because of previous errors.
         > MULTI
         < +OK
         > GET cached:1
         < +QUEUED
         ",
    );
    // What is allowed may change between queueing and EXEC.
    assert_eq!(admin.call("ACL SETUSER alice -get"), "+OK\r\n");
    let refused = client.call("EXEC");
    assert!(refused.contains("-NOPERM ACLs rules changed between the moment"), "{refused}");
    assert!(client.call("GET cached:1").starts_with(NO_PERMISSION));
    let log = admin.call("ACL LOG");
    for part in
        ["\r\ncommand\r\n", "\r\nkey\r\n", "\r\nchannel\r\n", "\r\nauth\r\n", "\r\nmulti\r\n"]
    {
        assert!(log.contains(part), "{part:?} in {log}");
    }
    assert_eq!(admin.call("ACL DELUSER alice"), ":1\r\n");
    assert!(client.is_closed());
}

#[test]
fn a_listener_is_closed_when_its_channel_is_taken_away() {
    let server = Server::start(&[]);
    let (mut admin, mut client) = (server.client(), server.client());
    admin.call("ACL SETUSER bob on nopass resetchannels &a* +@all");
    assert_eq!(client.call("AUTH bob x"), "+OK\r\n");
    client.call("SUBSCRIBE abc");
    assert_eq!(admin.call("ACL SETUSER bob &b*"), "+OK\r\n");
    assert_eq!(admin.call("PUBLISH abc x"), ":1\r\n");
    assert!(client.receive().contains("abc"));
    assert_eq!(admin.call("ACL SETUSER bob resetchannels &b*"), "+OK\r\n");
    assert!(client.is_closed());
}

#[test]
fn users_are_kept_in_the_configuration() {
    let server = Server::start_with_file(
        "user carl on nopass ~c* +@read\nuser default on >open ~* &* +@all\n",
    );
    let mut client = server.client();
    assert_eq!(client.call("PING"), "-NOAUTH Authentication required.\r\n");
    assert_eq!(client.call("AUTH open"), "+OK\r\n");
    assert!(
        client.call("ACL LIST").contains("user carl on nopass ~c* resetchannels -@all +@read\r\n")
    );
    assert_eq!(client.call("ACL SETUSER dora on"), "+OK\r\n");
    assert_eq!(client.call("CONFIG REWRITE"), "+OK\r\n");
    let file = std::fs::read_to_string(server.folder.join("redis.conf")).expect("it is there");
    let users: Vec<&str> = file.lines().filter(|line| line.starts_with("user ")).collect();
    assert_eq!(users.len(), 3, "{file}");
    assert_eq!(users[0], "user carl on nopass ~c* resetchannels -@all +@read");
    assert!(users[1].starts_with("user default on #"), "{file}");
    assert_eq!(users[2], "user dora on resetchannels -@all");
    assert!(client.call("ACL SAVE").contains("not configured to use an ACL file"));
}

#[test]
fn users_are_kept_in_a_file_of_their_own() {
    let folder = Folder::new();
    let path = folder.join("users.acl");
    std::fs::write(&path, "user eve on >e ~e* +get\n").expect("written");
    let server = Server::start_in(folder, &["--aclfile", "users.acl"]);
    let mut admin = server.client();
    let mut eve = server.client();
    assert_eq!(eve.call("AUTH eve e"), "+OK\r\n");
    assert_eq!(admin.call("ACL SETUSER fred on nopass"), "+OK\r\n");
    assert_eq!(admin.call("ACL SAVE"), "+OK\r\n");
    let saved = std::fs::read_to_string(&path).expect("it is there");
    assert!(saved.contains("user fred on nopass resetchannels -@all\n"), "{saved}");
    std::fs::write(&path, format!("{saved}user fred on\n")).expect("written");
    let refused = admin.call("ACL LOAD");
    assert!(
        refused.starts_with("-ERR WARNING: Duplicate user 'fred' found on line 4."),
        "{refused}"
    );
    assert_eq!(eve.call("GET e1"), "$-1\r\n");
    std::fs::write(&path, "user gina on nopass\n").expect("written");
    assert_eq!(admin.call("ACL LOAD"), "+OK\r\n");
    assert_eq!(admin.call("ACL USERS"), "*2\r\n$7\r\ndefault\r\n$4\r\ngina\r\n");
    assert!(eve.is_closed());
}

#[test]
fn secrets_are_shown_to_nobody() {
    let server = Server::start(&["--slowlog-log-slower-than", "0"]);
    let (mut client, mut monitor) = (server.client(), server.client());
    assert_eq!(monitor.call("MONITOR"), "+OK\r\n");
    client.call("AUTH someone hidden");
    client.call("CONFIG SET masterauth hidden");
    client.call("ACL SETUSER someone >hidden");
    client.call("MIGRATE 127.0.0.1 1 key 0 10 AUTH2 hidden hidden");
    let log = client.call("SLOWLOG GET 10");
    assert!(log.contains("(redacted)") && !log.contains("hidden"), "{log}");
    assert!(monitor.receive().contains("\"AUTH\" \"(redacted)\" \"(redacted)\""));
    let migrate = monitor.receive();
    assert!(migrate.contains("\"AUTH2\" \"(redacted)\" \"(redacted)\""), "{migrate}");
}

#[test]
fn caches_are_told_after_the_reply() {
    let server = Server::start(&[]);
    let (mut cache, mut writer) = (server.client(), server.client());
    assert!(cache.call("HELLO 3").starts_with('%'));
    assert_eq!(cache.call("CLIENT TRACKING on"), "+OK\r\n");
    assert_eq!(cache.call("GET k"), "_\r\n");
    writer.call("SET k 1");
    let told = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n";
    assert_eq!(cache.receive(), told);
    assert_eq!(cache.call("GET k"), "$1\r\n1\r\n");
    assert_eq!(cache.call("SET k 2"), "+OK\r\n");
    assert_eq!(cache.receive(), told);
    assert!(writer.call("INFO clients").contains("\r\ntracking_clients:1\r\n"));
    assert_eq!(cache.call("CLIENT TRACKING off"), "+OK\r\n");
    assert_eq!(cache.call("CLIENT TRACKING on BCAST PREFIX a"), "+OK\r\n");
    writer.send_raw(b"SET a1 x\r\nSET b x\r\nSET a2 x\r\n");
    assert_eq!(cache.receive(), ">2\r\n$10\r\ninvalidate\r\n*2\r\n$2\r\na1\r\n$2\r\na2\r\n");
    drop(cache);
    (0..3).for_each(|_| assert_eq!(writer.receive(), "+OK\r\n"));
    eventually("it is forgotten", || {
        server.client().call("INFO clients").contains("\r\ntracking_clients:0\r\n")
    });
}

#[test]
fn slow_commands_are_noted_by_the_latency_monitor() {
    let server =
        Server::start(&["--enable-debug-command", "yes", "--latency-monitor-threshold", "20"]);
    let mut client = server.client();
    assert_eq!(client.call("LATENCY LATEST"), "*0\r\n");
    assert_eq!(client.call("DEBUG SLEEP 0.03"), "+OK\r\n");
    let latest = client.call("LATENCY LATEST");
    assert!(latest.starts_with("*1\r\n*4\r\n$7\r\ncommand\r\n:"), "{latest}");
    assert!(client.call("LATENCY HISTORY command").starts_with("*1\r\n*2\r\n:"));
    assert!(client.call("LATENCY GRAPH command").contains("\ncommand - high "));
    assert!(client.call("LATENCY DOCTOR").contains("1. command: 1 latency spikes"));
    assert_eq!(client.call("LATENCY RESET command nothing"), ":1\r\n");
    assert_eq!(
        client.call("LATENCY GRAPH command"),
        "-ERR No samples available for event 'command'\r\n"
    );
}

#[test]
fn the_largest_clients_go_when_all_take_too_much() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.call("CONFIG SET maxmemory-clients 4mb");
    let mut greedy: Vec<Client> = (0..3)
        .map(|_| {
            let mut client = server.client();
            client.call("MULTI");
            client
        })
        .collect();
    let value = "x".repeat(2 << 20);
    let request = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n", value.len());
    for client in &mut greedy {
        // Whoever is closed for it may not have sent all.
        client.try_send_raw(request.as_bytes());
    }
    eventually("two are closed", || {
        client.call("INFO stats").contains("\r\nevicted_clients:2\r\n")
    });
    assert_eq!(client.call("PING"), "+PONG\r\n");
}

#[test]
fn who_waits_to_log_in_is_let_in_when_nobody_needs_to() {
    let server = Server::start(&["--requirepass", "secret"]);
    let (mut admin, mut client) = (server.client(), server.client());
    assert_eq!(client.call("PING"), "-NOAUTH Authentication required.\r\n");
    assert_eq!(admin.call("AUTH secret"), "+OK\r\n");
    assert_eq!(admin.call("CONFIG SET requirepass other"), "+OK\r\n");
    assert_eq!(client.call("PING"), "-NOAUTH Authentication required.\r\n");
    assert!(client.call("AUTH secret").starts_with("-WRONGPASS"));
    assert_eq!(admin.call("ACL SETUSER default nopass"), "+OK\r\n");
    assert_eq!(client.call("PING"), "+PONG\r\n");
    assert_eq!(admin.call("CONFIG SET requirepass other"), "+OK\r\n");
    assert_eq!(server.client().call("PING"), "-NOAUTH Authentication required.\r\n");
}

#[test]
fn the_port_may_change_while_it_runs() {
    let server = Server::start(&[]);
    let taken = redstart_tests::proxy_support::free_port();
    let holder = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let held = holder.local_addr().expect("its address").port();
    let mut client = server.client();
    assert_eq!(
        client.call(&format!("CONFIG SET maxmemory 1gb port {held}")),
        "-ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this \
         port. Check server logs.\r\n"
    );
    assert_eq!(client.call("CONFIG GET maxmemory"), "*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n");
    assert_eq!(server.client().call("PING"), "+PONG\r\n");
    assert_eq!(client.call(&format!("CONFIG SET port {taken}")), "+OK\r\n");
    assert_eq!(Client::connect(taken).call("PING"), "+PONG\r\n");
    assert!(client.call("INFO server").contains(&format!("\r\ntcp_port:{taken}\r\n")));
    assert!(std::net::TcpStream::connect(("127.0.0.1", server.port)).is_err());
    assert_eq!(client.call("CONFIG SET bind 127.0.0.2"), "+OK\r\n");
    assert!(std::net::TcpStream::connect(("127.0.0.1", taken)).is_err());
    assert!(std::net::TcpStream::connect(("127.0.0.2", taken)).is_ok());
    assert!(client.call("CONFIG SET bind 203.0.113.1").contains("Failed to bind to specified"));
    assert!(std::net::TcpStream::connect(("127.0.0.2", taken)).is_ok());
    assert_eq!(client.call("PING"), "+PONG\r\n");
}
