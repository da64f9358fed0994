//! What a proxy without a configuration keeps: the data of the engines inside of it, over stops, crashes and changes of
//! hands.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use redstart_tests::proxy_support::{
    Client, Folder, Process, eventually, free_port, proxy_binary, within,
};

/// A proxy on embedded engines in this folder, which keeps their data.
fn keeper(folder: &Folder, more: &[&str]) -> (Process, u16) {
    let port = free_port();
    let mut command = Command::new(proxy_binary());
    command.args(["--workers", "1", "--metrics", "off", "--listen", &format!("127.0.0.1:{port}")]);
    command.args(more).current_dir(folder.path()).env("TMPDIR", folder.path());
    let mut process = Process::start(&mut command, &folder.join("log"));
    eventually("it listens", || {
        assert!(process.is_alive(), "{}", log(folder));
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    (process, port)
}

fn log(folder: &Folder) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// Starts a proxy that is to be refused, and answers what it says.
fn refused(folder: &Folder, more: &[&str]) -> String {
    let output = Command::new(proxy_binary())
        .args(["--metrics", "off", "--listen", &format!("127.0.0.1:{}", free_port())])
        .args(more)
        .current_dir(folder.path())
        .env("TMPDIR", folder.path())
        .output()
        .expect("it runs");
    assert!(!output.status.success(), "it is not refused");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Stops a proxy as an operator does.
fn stop(mut process: Process, signal: i32) {
    process.signal(signal);
    eventually("it ends", || !process.is_alive());
}

/// The names in a folder, in order.
fn names(folder: PathBuf) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn data_survives_a_restart_and_belongs_to_one_process() {
    let folder = Folder::new();
    let (process, port) = keeper(&folder, &["--embedded", "3"]);
    eventually("the log says where the data is", || {
        let log = log(&folder);
        log.contains("3 engines") && log.contains("redstart-data")
    });
    let mut client = Client::connect(port);
    for number in 0..300 {
        assert_eq!(client.call(&format!("SET key:{number} value:{number}")), "+OK\r\n");
    }
    let said = refused(&folder, &[]);
    assert!(said.contains("is used by another process"), "{said}");
    let said = refused(&folder, &["--data", "./redstart-data"]);
    assert!(said.contains("is used by another process"), "{said}");
    stop(process, libc::SIGTERM);
    // Another number of engines would look for keys where they are not.
    let said = refused(&folder, &["--embedded", "2"]);
    assert!(said.contains("--embedded 3"), "{said}");
    let (process, port) = keeper(&folder, &[]);
    let mut client = Client::connect(port);
    assert_eq!(client.call("DBSIZE"), ":300\r\n");
    for number in 0..300 {
        let value = format!("value:{number}");
        let reply = format!("${}\r\n{value}\r\n", value.len());
        assert_eq!(client.call(&format!("GET key:{number}")), reply);
    }
    stop(process, libc::SIGINT);
}

/// Fills keys of all types, in small and large forms. Keys of one request of several carry the same tag.
const WRITES: &[&str] = &[
    "SET {a}text some-text",
    "SET {a}number 12345",
    "APPEND {a}appended one,",
    "APPEND {a}appended two",
    "SETBIT bits 70000 1",
    "SET leaves soon PX 100000000",
    "RPUSH list:small a b 3",
    "HSET hash:small field value number 7",
    "SADD set:numbers 3 1 2",
    "SADD set:words red green",
    "ZADD zset:small 1.5 one -inf low +inf high",
    "PFADD visitors a b c d",
];

/// What is asked of them; every reply has one order only.
const READS: &[&str] = &[
    "MGET {a}text {a}number {a}appended",
    "OBJECT ENCODING {a}number",
    "GETBIT bits 70000",
    "STRLEN bits",
    "PEXPIRETIME leaves",
    "LRANGE list:small 0 -1",
    "HGETALL hash:small",
    "SMEMBERS set:numbers",
    "SMISMEMBER set:words red green blue",
    "ZRANGE zset:small 0 -1 WITHSCORES",
    "PFCOUNT visitors",
    "LLEN list:large",
    "LINDEX list:large 1234",
    "HLEN hash:large",
    "HGET hash:large field:1234",
    "SCARD set:large",
    "SISMEMBER set:large member:1234",
    "ZCARD zset:large",
    "ZRANGEBYSCORE zset:large 1234 1236",
    "STRLEN large",
    "TYPE visitors",
    "DBSIZE",
];

#[test]
fn a_named_folder_keeps_all_types() {
    let folder = Folder::new();
    let data = folder.join("kept/here");
    let named = data.display().to_string();
    let (process, port) = keeper(&folder, &["--data", &named, "--embedded", "2"]);
    let mut client = Client::connect(port);
    for request in WRITES {
        assert!(!client.call(request).starts_with('-'), "{request}");
    }
    for number in 0..2000 {
        for request in [
            format!("RPUSH list:large element:{number}"),
            format!("HSET hash:large field:{number} value:{number}"),
            format!("SADD set:large member:{number}"),
            format!("ZADD zset:large {number} member:{number}"),
        ] {
            client.send(&request.split(' ').collect::<Vec<_>>());
        }
        for _ in 0..4 {
            assert!(client.receive().starts_with(':'));
        }
    }
    client.send(&["SET", "large", &"x".repeat(3 << 20)]);
    assert_eq!(client.receive(), "+OK\r\n");
    let before: Vec<String> = READS.iter().map(|request| client.call(request)).collect();
    assert!(before.iter().all(|reply| !reply.starts_with('-')), "{before:?}");
    stop(process, libc::SIGTERM);
    assert_eq!(names(folder.path().to_owned()), ["kept", "log"]);
    assert_eq!(names(data.clone()), ["engine-0", "engine-1", "engines", "lock"]);
    assert_eq!(names(data.join("engine-0")), ["dump.rdb"]);
    let (process, port) = keeper(&folder, &["--data", &named]);
    let mut client = Client::connect(port);
    for (request, before) in READS.iter().zip(before) {
        assert_eq!(client.call(request), before, "{request}");
    }
    // What cannot be loaded is not overwritten with nothing.
    stop(process, libc::SIGTERM);
    let dump = data.join("engine-1/dump.rdb");
    let mut bytes = std::fs::read(&dump).expect("a dump");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&dump, &bytes).expect("written");
    let said = refused(&folder, &["--data", &named]);
    assert!(said.contains("cannot load its data from") && said.contains("engine-1"), "{said}");
    assert_eq!(std::fs::read(&dump).expect("the dump"), bytes);
}

/// Asks an engine itself, at the socket that it has in the proxy's folder for what is temporary.
fn ask(folder: &Folder, engine: usize, requests: &str) -> String {
    let name = format!("engine-{engine}.sock");
    let socket = names(folder.path().to_owned())
        .into_iter()
        .filter(|entry| entry.starts_with("redstart-"))
        .map(|entry| folder.join(&entry).join(&name))
        .find_map(|path| UnixStream::connect(path).ok());
    let mut socket = socket.expect("an engine");
    socket.write_all(format!("{requests}\r\nQUIT\r\n").as_bytes()).expect("sent");
    let mut text = String::new();
    socket.read_to_string(&mut text).expect("answered");
    text
}

#[test]
fn a_kill_loses_what_came_after_the_save_point_at_most() {
    const ENGINES: usize = 2;
    let folder = Folder::new();
    let mut saved = 0;
    for _ in 0..3 {
        let (mut process, port) = keeper(&folder, &["--embedded", "2"]);
        for engine in 0..ENGINES {
            let points = ask(&folder, engine, "CONFIG GET save");
            assert!(points.contains("3600 1 300 100 60 10000"), "{points}");
            assert!(ask(&folder, engine, "CONFIG SET save \"1 1\"").starts_with("+OK"));
        }
        let value = |number: u64| format!("${}\r\n{number}\r\n", number.to_string().len());
        let mut client = Client::connect(port);
        for number in 0..saved {
            assert_eq!(client.call(&format!("GET key:{number}")), value(number));
        }
        let sent = AtomicU64::new(saved);
        let mut writer = Client::connect(port);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                loop {
                    let number = sent.load(Ordering::Relaxed);
                    let request = format!("SET key:{number} {number}\r\n");
                    if !writer.try_send_raw(request.as_bytes()) || writer.try_receive().is_none() {
                        return;
                    }
                    sent.store(number + 1, Ordering::Relaxed);
                    // So many a second that there is always something to save, and not much.
                    let _ = within(std::time::Duration::from_millis(1), || false);
                }
            });
            eventually("something is written", || sent.load(Ordering::Relaxed) > saved + 10);
            let saves = |engine| {
                let info = ask(&folder, engine, "INFO persistence");
                let line = info.lines().find_map(|line| line.strip_prefix("rdb_saves:"));
                line.and_then(|count| count.trim().parse::<u64>().ok()).expect("a count")
            };
            let written = sent.load(Ordering::Relaxed);
            let before: Vec<u64> = (0..ENGINES).map(saves).collect();
            // One that may have begun before, and one that has not.
            eventually("save points act", || {
                (0..ENGINES).all(|engine| saves(engine) >= before[engine] + 2)
            });
            process.kill();
            saved = written;
        });
    }
    let (process, port) = keeper(&folder, &[]);
    let mut client = Client::connect(port);
    for number in 0..saved {
        assert_eq!(client.call(&format!("EXISTS key:{number}")), ":1\r\n", "{number} of {saved}");
    }
    stop(process, libc::SIGTERM);
}

#[test]
fn without_persistence_nothing_is_read_or_written() {
    let folder = Folder::new();
    let (process, port) = keeper(&folder, &["--embedded", "2"]);
    assert_eq!(Client::connect(port).call("SET k v"), "+OK\r\n");
    stop(process, libc::SIGTERM);
    let files = || {
        let mut all = names(folder.join("redstart-data"));
        for engine in ["engine-0", "engine-1"] {
            all.extend(names(folder.join("redstart-data").join(engine)));
        }
        all
    };
    let before = files();
    let (process, port) = keeper(&folder, &["--embedded", "3", "--no-persistence"]);
    let mut client = Client::connect(port);
    assert_eq!(client.call("DBSIZE"), ":0\r\n");
    for number in 0..100 {
        assert_eq!(client.call(&format!("SET key:{number} v")), "+OK\r\n");
    }
    stop(process, libc::SIGTERM);
    assert_eq!(files(), before);
    assert_eq!(names(folder.path().to_owned()), ["log", "redstart-data"]);
    let said = refused(&folder, &["--no-persistence", "--data", "elsewhere"]);
    assert!(said.contains("cannot be used with"), "{said}");
}
