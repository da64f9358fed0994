//! Many changes of a pool's servers under many clients: `make soak`. Nothing of any of them may be left behind.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redstart_tests::proxy_support::{Client, PATIENCE, within};

use super::topology::{Stage, bulk, next, number};

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

/// How many descriptors this process has open.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

/// What they are.
fn open_files() -> Vec<String> {
    let all = std::fs::read_dir("/proc/self/fd").expect("/proc").flatten();
    let mut found: Vec<String> = all
        .filter_map(|entry| Some(std::fs::read_link(entry.path()).ok()?.display().to_string()))
        .collect();
    found.sort();
    found
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
    let stage = Stage::start();
    let (changes, count) =
        (number("REDSTART_CHANGES", CHANGES), number("REDSTART_CHANGE_CLIENTS", CLIENTS));
    // All workers are asked for it. One that has not begun yet would be taken for what was left behind: it has descriptors of its own.
    let clients = Client::connect(stage.listen).call("CLIENT LIST");
    assert!(clients.contains("cmd=client|list"), "{clients}");
    let begun = std::time::Instant::now();
    let mut at_half = 0;
    let idle = descriptors();
    std::thread::scope(|scope| {
        let drivers: Vec<_> = (0..DRIVERS)
            .map(|number| {
                let own = (number..count).step_by(DRIVERS as usize);
                let clients: Vec<Client> = own.map(|_| Client::connect(stage.listen)).collect();
                let stage = &stage;
                scope.spawn(move || load(clients, number, &stage.stop, &stage.replies))
            })
            .collect();
        stage.change(changes, &drivers, |number| {
            if number == changes / 2 {
                at_half = resident_bytes();
            }
        });
    });
    stage.end(changes);
    // Both ends of what is open to the server are in this process.
    let mut left = 0;
    let is_closed = within(PATIENCE, || {
        left = descriptors();
        left <= idle + 2 * stage.open_in_the_end()
    });
    let open = stage.open_in_the_end();
    let leaving = stage.leaving_connections();
    assert!(
        is_closed,
        "{left} descriptors, of which {idle} were there before; {open} connections to the server that is left, {leaving} to others: {:?}",
        open_files()
    );
    let (at_end, took) = (resident_bytes(), begun.elapsed());
    let replies = stage.replies.load(Ordering::SeqCst);
    println!(
        "{changes} changes, {count} clients, {replies} replies in {took:.1?}; {idle} descriptors before and {left} after; {} MB at half, {} MB at the end",
        at_half >> 20,
        at_end >> 20
    );
    assert!(at_end < at_half + GROWTH_MAX, "{at_half} bytes at half, {at_end} at the end");
}
