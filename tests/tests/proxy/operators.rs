//! What those who run a proxy see and say: refused and dropped clients, silent servers, taken ports, files of nutcracker's.

use std::net::TcpListener;
use std::process::Command;

use redstart_tests::proxy_support::{
    Client, Folder, Listening, Proxy, Redis, eventually, free_port, proxy_binary,
};

fn line(client: &mut Client, words: &str) -> String {
    client.call(words).trim_end().replace("\r\n", " ")
}

/// A proxy of a whole configuration, in which `PORT` stands for where it listens.
fn proxy_of(config: &str, arguments: &[&str]) -> Listening {
    let (port, folder) = (free_port(), Folder::new());
    let file = folder.join("proxy.yml");
    std::fs::write(&file, config.replace("PORT", &port.to_string())).expect("written");
    let mut command = Command::new(proxy_binary());
    command.arg("-c").arg(file).args(["--workers", "1", "-s", "0"]).args(arguments);
    Listening::start(command, port, folder)
}

#[test]
fn refused_clients_and_silent_servers_are_told_of() {
    let server = Redis::start();
    let proxy = Proxy::start("  client_connections: 2\n  timeout: 200\n", &[server.port]);
    let mut client = proxy.client();
    eventually("whoever looked whether it listens has left", || {
        client.call("INFO clients").contains("connected_clients:1\r\n")
    });
    let _second = proxy.client();
    assert_eq!(line(&mut client, "SET k v"), "+OK");
    for _ in 0..3 {
        let mut refused = proxy.client();
        assert_eq!(refused.receive(), "-ERR max number of clients reached\r\n");
    }
    assert!(client.call("INFO stats").contains("rejected_connections:3\r\n"));
    let told = "pool 'test': clients are refused (client_connections), 1 so far";
    assert_eq!(proxy.log().matches("clients are refused").count(), 1, "{}", proxy.log());
    assert!(proxy.log().contains(told));
    server.signal(libc::SIGSTOP);
    let mut asked = 4;
    for _ in 0..asked {
        assert_eq!(line(&mut client, "GET k"), "-ERR Connection timed out");
    }
    assert_eq!(proxy.log().matches("server 'server0' does not answer").count(), 1);
    server.signal(libc::SIGCONT);
    eventually("it answers again", || {
        asked += 1;
        line(&mut client, "GET k") == "$1 v"
    });
    eventually("the log says so", || proxy.log().contains("server 'server0' answers again"));
    // What was refused for the server's silence did not time out itself.
    let info = client.call("INFO servers");
    let (_, rest) = info.split_once(",timeouts=").expect("a figure");
    let timeouts: u64 = rest.split(',').next().and_then(|it| it.parse().ok()).expect("a number");
    assert!((2..=asked).contains(&timeouts), "{timeouts} of {asked}");
}

#[test]
fn a_file_of_nutcrackers_is_taken_as_far_as_it_goes() {
    let servers: Vec<Redis> = (0..2).map(|_| Redis::start()).collect();
    assert_eq!(servers[0].client().call("CONFIG SET requirepass own"), "+OK\r\n");
    let mut direct = servers[1].client();
    assert_eq!(direct.call("ACL SETUSER app on >other ~* &* +@all"), "+OK\r\n");
    assert_eq!(direct.call("ACL SETUSER default off"), "+OK\r\n");
    let listed = format!(
        "    - server: 127.0.0.1:{}:1 one\n      server_password: own\n    - server: 127.0.0.1:{}:1 two\n      server_user: app\n      server_password: other\n",
        servers[0].port, servers[1].port
    );
    let config = format!(
        "cache:\n  listen: 127.0.0.1:1\n  servers:\n    - 127.0.0.1:2:1\nmain:\n  listen: 127.0.0.1:PORT\n  redis: true\n  distribution: modula\n  cross_server: first_key\n  servers:\n{listed}"
    );
    let proxy = proxy_of(&config, &["--skip-memcached"]);
    eventually("the log names what is left out", || {
        proxy.log().contains("pool 'cache' is one of memcached, and is left out")
    });
    let mut client = proxy.client();
    // Each server knows who asks.
    let keys: Vec<String> = (0..20).map(|number| format!("k{number}")).collect();
    for key in &keys {
        assert_eq!(line(&mut client, &format!("RPUSH {key} x")), ":1");
    }
    // Keys of both: the server of the first has it.
    for pair in keys.windows(2) {
        assert_eq!(line(&mut client, &format!("RPOPLPUSH {} {}", pair[0], pair[1])), "$1 x");
    }
    // What only other servers have goes to where its key lies, and they answer.
    for words in ["JSON.GET k1", "VADD k2 VALUES 1 0.5 e", "ARSET k3 0 v", "JSON.MGET k1 k2 $"] {
        let reply = line(&mut client, words);
        assert!(reply.starts_with("-ERR unknown command '"), "{reply}");
    }
    assert_eq!(
        line(&mut client, "JSON.GET"),
        "-ERR wrong number of arguments for 'json.get' command"
    );
    assert_eq!(
        line(&mut client, "HOTKEYS GET"),
        "-ERR command 'hotkeys' is not supported through the proxy"
    );
}

#[test]
fn a_port_that_is_taken_is_said_before_the_terminal_is_left() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let folder = Folder::new();
    let config = format!(
        "p:\n  listen: 127.0.0.1:{}\n  redis: true\n  servers:\n    - 127.0.0.1:1:1\n",
        free_port()
    );
    std::fs::write(folder.join("c.yml"), config).expect("written");
    let place = format!("127.0.0.1:{port}");
    for options in [["--metrics", &place, "-s", "0"], ["-s", &port, "-a", "127.0.0.1"]] {
        let mut command = Command::new(proxy_binary());
        command.arg("-d").arg("-c").arg(folder.join("c.yml")).args(options);
        command.arg("-o").arg(folder.join("log"));
        let done = command.output().expect("it ends");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(
            !done.status.success() && said.contains(&format!("cannot listen on {place}")),
            "{said}"
        );
    }
}

#[test]
fn a_client_that_reads_gets_all_and_one_that_does_not_is_dropped() {
    const COUNT: usize = 48;
    let servers: Vec<Redis> = (0..2).map(|_| Redis::start()).collect();
    let listed: String =
        servers.iter().map(|server| format!("    - 127.0.0.1:{}:1\n", server.port)).collect();
    let config = format!(
        "global:\n  client_output_limit: 16mb\ntest:\n  listen: 127.0.0.1:PORT\n  redis: true\n  servers:\n{listed}"
    );
    let proxy = proxy_of(&config, &[]);
    let mut client = proxy.client();
    let value = vec![b'x'; 1 << 20];
    for number in 0..COUNT {
        client.send(&[b"SET", format!("k{number}").as_bytes(), &value]);
        assert_eq!(client.receive(), "+OK\r\n");
    }
    let len = value.len() + "$1048576\r\n\r\n".len();
    let mut reader = proxy.client();
    let gets: String = (0..COUNT).map(|number| format!("GET k{number}\r\n")).collect();
    let names: String = (0..COUNT).map(|number| format!(" k{number}")).collect();
    for _ in 0..2 {
        reader.send_raw(gets.as_bytes());
        for _ in 0..COUNT {
            assert_eq!(reader.try_receive().expect("a reply").len(), len);
        }
        reader.send_raw(format!("MGET{names}\r\nPING\r\n").as_bytes());
        let reply = reader.try_receive().expect("a reply");
        assert_eq!(reply.len(), COUNT * len + format!("*{COUNT}\r\n").len());
        assert_eq!(reader.receive(), "+PONG\r\n");
    }
    // This one asks for more than it may leave, of a proxy that does not know how large it is, and reads nothing.
    let proxy = proxy_of(&config, &[]);
    let (mut idle, mut client) = (proxy.client(), proxy.client());
    idle.send_raw(gets.as_bytes());
    eventually("it is dropped, which is told and counted", || {
        client.call("INFO pool").contains("clients_unread:1\r\n")
    });
    assert!(proxy.log().contains("bytes of replies unread (client_output_limit), and is dropped"));
}
