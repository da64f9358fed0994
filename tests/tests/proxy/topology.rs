//! A pool whose servers change while it is under load, through the door that discovery uses.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use redstart_proxy::control::Directory;
use redstart_proxy::proxy::{Proxy, Running};
use redstart_proxy::settings::{ServerAddress, Settings};
use redstart_proxy::topology::roster::Change;
use redstart_tests::proxy_support::{
    Client, Fake, PATIENCE, each_request, eventually, free_port, within,
};

/// How often the topology changes; `REDSTART_CHANGES` is another number.
const CHANGES: u64 = 300;
const CLIENTS: u64 = 12;
const SERVERS: usize = 8;

/// A number that the environment may change.
pub(crate) fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// Counts an open connection as long as it lives.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A server that has a value for every key, which follows from the key.
fn knows_all(open: &Arc<AtomicUsize>) -> Fake {
    let open = Arc::clone(open);
    Fake::start(move |mut stream: TcpStream| {
        let _open = Open::new(&open);
        each_request(&mut stream, |stream, args| {
            let mut reply = String::new();
            if args[0] == b"MGET" {
                reply += &format!("*{}\r\n", args.len() - 1);
            }
            for key in &args[1..] {
                let value = value_of(&String::from_utf8_lossy(key));
                reply += &format!("${}\r\n{value}\r\n", value.len());
            }
            stream.write_all(reply.as_bytes()).is_ok()
        });
    })
}

fn value_of(key: &str) -> String {
    format!("<{key}>")
}

pub(crate) fn bulk(key: &str) -> String {
    let value = value_of(key);
    format!("${}\r\n{value}\r\n", value.len())
}

fn at(port: u16) -> ServerAddress {
    ServerAddress::Tcp { host: "127.0.0.1".to_owned(), port }
}

/// A proxy within this process, so that its door can be reached.
fn start(listen: u16, servers: &[u16]) -> Running {
    let mut text = format!(
        "global:\n  workers: 2\n  stats_port: 0\ntest:\n  listen: 127.0.0.1:{listen}\n  redis: true\n  reuseport: true\n  servers:\n"
    );
    for (number, port) in servers.iter().enumerate() {
        text += &format!("    - 127.0.0.1:{port}:1 shard{number}\n");
    }
    let settings = Settings::parse("proxy.yml", &text).expect("settings");
    Proxy::bind(settings).expect("bound").start().expect("started")
}

pub(crate) fn next(chance: &mut u64, below: u64) -> u64 {
    *chance =
        chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*chance >> 33) % below
}

/// Asks for what follows from the keys until it is told to stop. Every reply must be the right one.
fn load(mut client: Client, number: u64, stop: &AtomicBool, replies: &AtomicU64) {
    let mut chance = number + 1;
    let mut asked = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let mut requests = Vec::new();
        asked.clear();
        for _ in 0..20 {
            let key = format!("k{}", next(&mut chance, 5000));
            if next(&mut chance, 8) == 0 {
                let other = format!("k{}", next(&mut chance, 5000));
                requests.extend_from_slice(format!("MGET {key} {other}\r\n").as_bytes());
                asked.push(format!("*2\r\n{}{}", bulk(&key), bulk(&other)));
            } else {
                requests.extend_from_slice(format!("GET {key}\r\n").as_bytes());
                asked.push(bulk(&key));
            }
        }
        client.send_raw(&requests);
        for wanted in &asked {
            let reply = client.receive();
            // A part of a split request that waited for a connection to a server that left.
            let is_part_of_who_left =
                wanted.starts_with('*') && reply.contains("has left the pool");
            assert!(reply == *wanted || is_part_of_who_left, "{reply:?} instead of {wanted:?}");
            replies.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Changes the pool by chance.
fn change(directory: &Directory, chance: &mut u64, ports: &[u16], names: &mut Vec<String>) {
    let pool = directory.pools[0].id;
    let port = ports[next(chance, ports.len() as u64) as usize];
    let shard: Arc<str> = names[next(chance, names.len() as u64) as usize].as_str().into();
    let change = match next(chance, 4) {
        0 if names.len() < 6 => {
            let name = format!("shard{}", next(chance, 1000));
            names.push(name.clone());
            names.sort();
            names.dedup();
            Change::Join { shard: name.as_str().into(), weight: 1, primary: Some(at(port)) }
        }
        1 if names.len() > 1 => {
            names.retain(|name| **name != *shard);
            Change::Leave { shard }
        }
        2 => Change::Reweigh { shard, weight: 1 + next(chance, 3) as u32 },
        _ => Change::Move { shard, to: at(port) },
    };
    directory.change(pool, [change]);
}

/// A proxy within this process before some of these servers.
pub(crate) struct Stage {
    open: Vec<Arc<AtomicUsize>>,
    ports: Vec<u16>,
    /// Where the proxy listens.
    pub(crate) listen: u16,
    running: Running,
    /// Whether clients are to stop.
    pub(crate) stop: AtomicBool,
    /// Replies that they have had.
    pub(crate) replies: AtomicU64,
}

impl Stage {
    pub(crate) fn start() -> Self {
        let open: Vec<Arc<AtomicUsize>> = (0..SERVERS).map(|_| Arc::default()).collect();
        let servers: Vec<Fake> = open.iter().map(knows_all).collect();
        let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
        let listen = free_port();
        let running = start(listen, &ports[..3]);
        let (stop, replies) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { open, ports, listen, running, stop, replies }
    }

    /// Changes the pool so many times while clients ask, and has them stop. `each` is told of each change.
    pub(crate) fn change(
        &self,
        changes: u64,
        clients: &[std::thread::ScopedJoinHandle<'_, ()>],
        mut each: impl FnMut(u64),
    ) {
        let directory = self.running.directory();
        let mut names: Vec<String> = (0..3).map(|number| format!("shard{number}")).collect();
        let mut chance = 7;
        let has_failed = || clients.iter().any(std::thread::ScopedJoinHandle::is_finished);
        for number in 0..changes {
            change(&directory, &mut chance, &self.ports, &mut names);
            // The next change comes when some requests have met with this one.
            let enough = self.replies.load(Ordering::Relaxed) + 40 + number % 60;
            let went_on =
                within(PATIENCE, || self.replies.load(Ordering::Relaxed) >= enough || has_failed());
            if !went_on || has_failed() {
                break;
            }
            each(number);
        }
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Connections that are open to the server that has all shards in the end.
    pub(crate) fn open_in_the_end(&self) -> usize {
        self.open[0].load(Ordering::SeqCst)
    }

    /// Connections to servers that have left which still owe replies, as the workers reported last.
    pub(crate) fn leaving_connections(&self) -> u64 {
        self.running.directory().totals().iter().map(|pool| pool.leaving_connections).sum()
    }

    /// In the end one server has all shards, and nobody has a connection to the others.
    pub(crate) fn end(&self, changes: u64) {
        assert!(self.replies.load(Ordering::SeqCst) >= changes * 40);
        let directory = self.running.directory();
        let pool = &directory.pools[0];
        let shards: Vec<Arc<str>> =
            pool.topology.load().shards.iter().map(|shard| Arc::clone(&shard.name)).collect();
        let here = at(self.ports[0]);
        directory.change(
            pool.id,
            shards.iter().map(|shard| Change::Move { shard: Arc::clone(shard), to: here.clone() }),
        );
        eventually("connections to those who left are closed", || {
            self.open[1..].iter().all(|count| count.load(Ordering::SeqCst) == 0)
        });
        let mut client = Client::connect(self.listen);
        assert_eq!(client.call("GET k"), bulk("k"));
        // Two workers, one lane in use.
        assert!(self.open_in_the_end() <= 2 * shards.len());
    }
}

#[test]
fn servers_come_go_and_move_under_load_and_nobody_notices() {
    let changes = number("REDSTART_CHANGES", CHANGES);
    let stage = Stage::start();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (client, stage) = (Client::connect(stage.listen), &stage);
                scope.spawn(move || load(client, number, &stage.stop, &stage.replies))
            })
            .collect();
        stage.change(changes, &clients, |_| {});
    });
    stage.end(changes);
}

#[test]
fn what_waits_for_a_server_that_moves_is_answered_by_the_other() {
    let answers = |stream: &mut TcpStream, args: &[&[u8]]| {
        let reply = match args[0] {
            b"SELECT" => "+OK\r\n".to_owned(),
            _ => bulk(&String::from_utf8_lossy(args[1])),
        };
        stream.write_all(reply.as_bytes()).is_ok()
    };
    let good = Fake::start(move |mut stream| each_request(&mut stream, answers));
    // The kernel takes connections, but nobody answers to SELECT.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("its address").port();
    let listen = free_port();
    let text = format!(
        "global:\n  workers: 1\n  stats_port: 0\ntest:\n  listen: 127.0.0.1:{listen}\n  redis: true\n  redis_db: 1\n  servers:\n    - 127.0.0.1:{port}:1 a\n    - 127.0.0.1:{port}:1 b\n"
    );
    let settings = Settings::parse("proxy.yml", &text).expect("settings");
    let running = Proxy::bind(settings).expect("bound").start().expect("started");
    let directory = running.directory();
    let mut client = Client::connect(listen);
    for number in 0..20 {
        client.send(&["GET", &format!("k{number}")]);
    }
    let _connections = [silent.accept().expect("connected"), silent.accept().expect("connected")];
    let pool = directory.pools[0].id;
    // One shard moves; the other leaves, and its keys fall to the first.
    assert!(directory.change(
        pool,
        [
            Change::Move { shard: "a".into(), to: at(good.port) },
            Change::Leave { shard: "b".into() }
        ]
    ));
    for number in 0..20 {
        assert_eq!(client.receive(), bulk(&format!("k{number}")));
    }
}
