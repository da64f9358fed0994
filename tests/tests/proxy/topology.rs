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
pub(crate) const SERVERS: usize = 8;

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
pub(crate) fn knows_all(open: &Arc<AtomicUsize>) -> Fake {
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

pub(crate) fn at(port: u16) -> ServerAddress {
    ServerAddress::Tcp { host: "127.0.0.1".to_owned(), port }
}

/// A proxy within this process, so that its door can be reached.
pub(crate) fn start(listen: u16, servers: &[u16]) -> Running {
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
pub(crate) fn change(
    directory: &Directory,
    chance: &mut u64,
    ports: &[u16],
    names: &mut Vec<String>,
) {
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

#[test]
fn servers_come_go_and_move_under_load_and_nobody_notices() {
    let open: Vec<Arc<AtomicUsize>> = (0..SERVERS).map(|_| Arc::default()).collect();
    let servers: Vec<Fake> = open.iter().map(knows_all).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let listen = free_port();
    let running = start(listen, &ports[..3]);
    let directory = running.directory();
    let changes = std::env::var("REDSTART_CHANGES").ok().and_then(|text| text.parse().ok());
    let changes = changes.unwrap_or(CHANGES);
    let (stop, replies) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (client, stop, replies) = (Client::connect(listen), &stop, &replies);
                scope.spawn(move || load(client, number, stop, replies))
            })
            .collect();
        let mut names: Vec<String> = (0..3).map(|number| format!("shard{number}")).collect();
        let mut chance = 7;
        for number in 0..changes {
            change(&directory, &mut chance, &ports, &mut names);
            // The next change comes when some requests have met with this one.
            let enough = replies.load(Ordering::Relaxed) + 40 + number % 60;
            let went_on = within(PATIENCE, || {
                replies.load(Ordering::Relaxed) >= enough
                    || clients.iter().any(std::thread::ScopedJoinHandle::is_finished)
            });
            if !went_on || clients.iter().any(std::thread::ScopedJoinHandle::is_finished) {
                break;
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert!(replies.load(Ordering::SeqCst) >= changes * 40);
    // In the end one server has all shards, and nobody has a connection to the others.
    let pool = &directory.pools[0];
    let shards: Vec<Arc<str>> =
        pool.topology.load().shards.iter().map(|shard| Arc::clone(&shard.name)).collect();
    let here = at(ports[0]);
    directory.change(
        pool.id,
        shards.iter().map(|shard| Change::Move { shard: Arc::clone(shard), to: here.clone() }),
    );
    eventually("connections to those who left are closed", || {
        open[1..].iter().all(|count| count.load(Ordering::SeqCst) == 0)
    });
    let mut client = Client::connect(listen);
    assert_eq!(client.call("GET k"), bulk("k"));
    // Two workers, one lane in use.
    assert!(open[0].load(Ordering::SeqCst) <= 2 * shards.len());
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
