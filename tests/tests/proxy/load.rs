//! Clients that write and read back keys of their own while a test disturbs the servers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redstart_tests::proxy_support::{Client, Listening, within};

/// A failover takes the sentinels some seconds. Where the machine is so busy that their timers are late, they decide nothing
/// for half a minute (tilt).
pub const PATIENCE: Duration = Duration::from_secs(180);

/// What a client of the load has seen.
pub struct Seen {
    /// For each of its keys, the number of the last write that was acknowledged, and when.
    pub acknowledged: Vec<(u64, Instant)>,
    pub replies: u64,
    pub errors: Vec<String>,
    pub longest_gap: Duration,
}

const KEYS: usize = 20;

/// Writes and reads back keys of its own, one request at a time; every value says whose it is.
fn load(mut client: Client, number: usize, stop: &AtomicBool, replies: &AtomicU64) -> Seen {
    let now = Instant::now();
    let mut seen = Seen {
        acknowledged: vec![(0, now); KEYS],
        replies: 0,
        errors: Vec::new(),
        longest_gap: Duration::ZERO,
    };
    let mut written = [0; KEYS];
    let mut last = now;
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let place = n as usize % KEYS;
        let key = format!("load{number}:{place}");
        let is_write = n % (2 * KEYS as u64) < KEYS as u64;
        let reply = if is_write {
            written[place] = n;
            client.call(&format!("SET {key} {key}={n}"))
        } else {
            client.call(&format!("GET {key}"))
        };
        let at = Instant::now();
        if reply.starts_with('-') {
            seen.errors.push(reply);
            continue;
        }
        if is_write {
            assert_eq!(reply, "+OK\r\n");
            seen.acknowledged[place] = (n, at);
        } else if reply != "$-1\r\n" {
            let value = reply.lines().nth(1).unwrap_or_default();
            let (of, n) = value.split_once('=').unwrap_or_else(|| panic!("{key}: {reply:?}"));
            assert_eq!(of, key, "somebody else's reply");
            assert!(n.parse::<u64>().is_ok_and(|n| n <= written[place]), "{key}: {reply:?}");
        }
        seen.longest_gap = seen.longest_gap.max(at - last);
        last = at;
        seen.replies += 1;
        replies.fetch_add(1, Ordering::Relaxed);
    }
    seen
}

const CLIENTS: usize = 6;

/// Ends the load when the test ends, however it does.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs the load while `disturb` happens, and gives what the clients saw.
pub fn under_load(proxy: &Listening, disturb: impl FnOnce(&dyn Fn(u64))) -> Vec<Seen> {
    let (stop, replies) = (AtomicBool::new(false), AtomicU64::new(0));
    let wait_for_more = |count: u64| {
        let wanted = replies.load(Ordering::Relaxed) + count;
        let came = within(PATIENCE, || replies.load(Ordering::Relaxed) >= wanted);
        assert!(came, "the load does not go on; {}", proxy.log());
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (client, stop, replies) = (proxy.client(), &stop, &replies);
                scope.spawn(move || load(client, number, stop, replies))
            })
            .collect();
        let ends = Ends(&stop);
        wait_for_more(2000);
        disturb(&wait_for_more);
        wait_for_more(2000);
        drop(ends);
        threads.into_iter().map(|thread| thread.join().expect("no wrong reply")).collect()
    })
}

/// The only error that a client may meet with: nobody can know whether its write has run.
pub fn is_of_a_write_in_flight(error: &str) -> bool {
    error == "-ERR Connection reset by peer\r\n"
        || error.contains("whether the request has run is not known")
}
