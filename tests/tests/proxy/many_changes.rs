//! Many changes of a pool's servers under many clients: `make soak`. Nothing of any of them may be left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use redstart_proxy::topology::roster::Change;
use redstart_tests::proxy_support::{Client, Fake, PATIENCE, eventually, free_port, within};

use super::topology::{SERVERS, at, bulk, change, knows_all, next, start};

/// How often the topology changes; `REDSTART_CHANGES` is another number.
const CHANGES: u64 = 300;
/// Clients that are connected all the while; `REDSTART_CHANGE_CLIENTS` is another number.
const CLIENTS: u64 = 200;
/// Threads that drive them.
const DRIVERS: u64 = 4;
/// What a client sends at once.
const REQUESTS: usize = 6;
/// Set where the test runs in a process of its own, so that descriptors and memory are its own.
const ALONE: &str = "REDSTART_ALONE";
/// Memory may grow by so much from half of the changes to the end, in bytes.
const GROWTH_MAX: u64 = 16 << 20;

/// A number that the environment may change.
fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// How many descriptors this process has open.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

/// The resident memory of this process, in bytes.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("/proc");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("pages") * 4096
}

/// All clients ask for what follows from the keys, until they are told to stop. Every reply must be the right one, and no
/// connection may end.
fn load(mut clients: Vec<Client>, number: u64, stop: &AtomicBool, replies: &AtomicU64) {
    let mut chance = number + 1;
    while !stop.load(Ordering::Relaxed) {
        let mut asked = Vec::with_capacity(clients.len() * REQUESTS);
        for client in &mut clients {
            let mut requests = Vec::new();
            for _ in 0..REQUESTS {
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
        }
        for (client, asked) in clients.iter_mut().zip(asked.chunks(REQUESTS)) {
            for wanted in asked {
                let reply = client.receive();
                // A part of a split request that waited for a connection to a server that left.
                let is_part_of_who_left =
                    wanted.starts_with('*') && reply.contains("has left the pool");
                assert!(reply == *wanted || is_part_of_who_left, "{reply:?} instead of {wanted:?}");
                replies.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[test]
#[ignore = "make soak runs it: many clients, and a process of its own"]
fn servers_come_go_and_move_under_load_and_nobody_notices() {
    let name = "many_changes::servers_come_go_and_move_under_load_and_nobody_notices";
    if std::env::var_os(ALONE).is_some() {
        return come_go_and_move();
    }
    // Other tests of this process would be counted, too.
    let own = std::env::current_exe().expect("this program");
    let run = std::process::Command::new(own)
        .args(["--exact", name, "--nocapture", "--ignored"])
        .env(ALONE, "1")
        .output();
    let run = run.expect("it runs");
    let said = String::from_utf8_lossy(&run.stdout);
    let is_run = said.contains("1 passed");
    assert!(run.status.success() && is_run, "{said}{}", String::from_utf8_lossy(&run.stderr));
    said.lines().filter(|line| line.contains("changes")).for_each(|line| println!("{line}"));
}

fn come_go_and_move() {
    let open: Vec<Arc<AtomicUsize>> = (0..SERVERS).map(|_| Arc::default()).collect();
    let servers: Vec<Fake> = open.iter().map(knows_all).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let listen = free_port();
    let running = start(listen, &ports[..3]);
    let directory = running.directory();
    let (changes, count) =
        (number("REDSTART_CHANGES", CHANGES), number("REDSTART_CHANGE_CLIENTS", CLIENTS));
    assert_eq!(Client::connect(listen).call("PING"), "+PONG\r\n", "it serves");
    let begun = std::time::Instant::now();
    let (stop, replies) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut at_half = 0;
    let idle = descriptors();
    std::thread::scope(|scope| {
        let drivers: Vec<_> = (0..DRIVERS)
            .map(|number| {
                let own = (number..count).step_by(DRIVERS as usize);
                let clients: Vec<Client> = own.map(|_| Client::connect(listen)).collect();
                let (stop, replies) = (&stop, &replies);
                scope.spawn(move || load(clients, number, stop, replies))
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
                    || drivers.iter().any(std::thread::ScopedJoinHandle::is_finished)
            });
            if !went_on || drivers.iter().any(std::thread::ScopedJoinHandle::is_finished) {
                break;
            }
            if number == changes / 2 {
                at_half = resident_bytes();
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
    let replies = replies.load(Ordering::SeqCst);
    assert!(replies >= changes * 40);
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
    drop(client);
    // Both ends of what is open to the server are in this process.
    let mut left = 0;
    let is_closed = within(PATIENCE, || {
        left = descriptors();
        left <= idle + 2 * open[0].load(Ordering::SeqCst)
    });
    assert!(is_closed, "{left} descriptors, of which {idle} were there before");
    let (at_end, took) = (resident_bytes(), begun.elapsed());
    println!(
        "{changes} changes, {count} clients, {replies} replies in {took:.1?}; {idle} descriptors before and {left} after; {} MB at half, {} MB at the end",
        at_half >> 20,
        at_end >> 20
    );
    assert!(at_end < at_half + GROWTH_MAX, "{at_half} bytes at half, {at_end} at the end");
}
