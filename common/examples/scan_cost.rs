//! What finding and writing a message costs, in nanoseconds: the shortest of many short trials, so the cost without
//! disturbance rather than a typical one.
//!
//! `cargo run --release -p redstart-common --example scan_cost`

use std::hint::black_box;
use std::time::Instant;

use redstart_common::hash::{CharSign, HashKind};
use redstart_common::resp::encode::{self, RespWrite as _};
use redstart_common::resp::{Limits, ReplyLimits, ReplyScanner, RequestScanner};
use redstart_common::{glob, number, slot};

const FRAMES: usize = 32;
const TRIALS: usize = 4000;
const ROUNDS: usize = 8;

/// Nanoseconds for each of the `frames` that `work` handles.
fn cost(name: &str, frames: usize, mut work: impl FnMut()) {
    let mut best = f64::INFINITY;
    for _ in 0..TRIALS {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            work();
        }
        best = best.min(start.elapsed().as_nanos() as f64);
    }
    println!("{name:32} {:8.1} ns", best / (frames * ROUNDS) as f64);
}

fn request(args: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..FRAMES {
        encode::request(&mut out, args.iter().copied());
    }
    out
}

fn scan_requests(name: &str, input: &[u8]) {
    let (mut scanner, limits) = (RequestScanner::new(), Limits::default());
    cost(name, FRAMES, || {
        let mut rest = black_box(input);
        while let Ok(Some(used)) = scanner.scan(rest, &limits) {
            black_box(scanner.args(rest).at(0));
            rest = &rest[used..];
        }
        assert!(rest.is_empty());
    });
}

fn scan_replies(name: &str, reply: &[u8]) {
    let (mut scanner, limits) = (ReplyScanner::new(), ReplyLimits::default());
    let input = reply.repeat(FRAMES);
    cost(name, FRAMES, || {
        let mut rest = black_box(&input[..]);
        while let Ok(Some(used)) = scanner.scan(rest, &limits) {
            rest = &rest[used..];
        }
        assert!(rest.is_empty());
    });
}

fn main() {
    let value = [b'x'; 100];
    scan_requests("request SET key 100 B", &request(&[b"SET", b"key:000000000123", &value]));
    scan_requests("request GET key", &request(&[b"GET", b"key:000000000123"]));
    let keys: Vec<&[u8]> =
        [&b"MGET"[..]].into_iter().chain([&b"key:000000000123"[..]; 10]).collect();
    scan_requests("request MGET 10 keys", &request(&keys));
    scan_requests("request inline PING", &b"PING\r\n".repeat(FRAMES));

    let mut bulk = Vec::new();
    bulk.bulk(&value);
    scan_replies("reply $100", &bulk);
    scan_replies("reply +OK", b"+OK\r\n");
    scan_replies("reply +PONG", b"+PONG\r\n");
    scan_replies("reply :12345", b":12345\r\n");
    scan_replies("reply $-1", b"$-1\r\n");
    scan_replies("reply *10 of $100", &[&b"*10\r\n"[..], &bulk.repeat(10)].concat());

    let mut out = Vec::with_capacity(64 * 1024);
    cost("write $100", FRAMES, || {
        out.clear();
        for _ in 0..FRAMES {
            black_box(&mut out).bulk(black_box(&value));
        }
    });
    cost("write :12345", FRAMES, || {
        out.clear();
        for _ in 0..FRAMES {
            black_box(&mut out).integer(black_box(12345));
        }
    });

    let key = black_box(&b"key:000000000123"[..]);
    for kind in HashKind::ALL {
        cost(&format!("hash {kind} of 16 B"), 1, || {
            black_box(kind.hash(black_box(key), CharSign::Signed));
        });
    }
    cost("slot of 16 B", 1, || {
        black_box(slot::key_slot(black_box(key)));
    });
    cost("glob key:*1?3", 1, || {
        black_box(glob::matches(black_box(b"key:*1?3"), black_box(key), false));
    });
    cost("print 0.1 as %.17g", 1, || {
        black_box(number::FloatText::new().format_17g(black_box(0.1)));
    });
    cost("INCRBYFLOAT 10.5 0.1", 1, || {
        let sum = |old: &[u8], more: &[u8]| {
            number::LongDouble::parse(old)?.plus(number::LongDouble::parse(more)?).to_human()
        };
        black_box(sum(black_box(b"10.5"), black_box(b"0.1")));
    });
}
