//! What it costs to find a command's row and its first key, in nanoseconds a call.
//!
//!     cargo run --release -p redstart-common --example command_cost

use redstart_common::command::{Resolved, keys, lookup, resolve};
use redstart_common::resp::OwnedArgs;
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: u32 = 5_000_000;

fn measure(label: &str, mut call: impl FnMut()) {
    // The best of several runs: what the machine's other work adds is not the code's.
    let nanos = (0..7)
        .map(|_| {
            let begin = Instant::now();
            for _ in 0..ROUNDS {
                call();
            }
            begin.elapsed().as_nanos() as f64 / f64::from(ROUNDS)
        })
        .fold(f64::INFINITY, f64::min);
    println!("{label:32} {nanos:6.2} ns");
}

fn main() {
    for name in [
        "GET",
        "set",
        "HSET",
        "zadd",
        "lrange",
        "ZRANGEBYSCORE",
        "georadiusbymember_ro",
        "nosuchcommand",
    ] {
        measure(&format!("lookup {name}"), || {
            black_box(lookup(black_box(name.as_bytes())));
        });
    }
    let mixed: [&[u8]; 8] = [b"GET", b"SET", b"INCR", b"LPUSH", b"RPOP", b"SADD", b"HSET", b"ZADD"];
    let mut turn = 0;
    measure("lookup, eight in turn", || {
        turn = (turn + 5) % mixed.len();
        black_box(lookup(black_box(mixed[turn])));
    });
    for line in ["GET k", "SET k v", "MSET a 1 b 2", "XGROUP CREATE k g $", "EVAL s 1 k"] {
        let words: Vec<&str> = line.split(' ').collect();
        let owned = OwnedArgs::from_slices(&words);
        measure(&format!("row and first key of {line}"), || {
            let args = black_box(owned.as_args());
            if let Resolved::Command(id) = resolve(args.at(0), args.get(1)) {
                black_box(keys::first(id.spec(), args));
            }
        });
    }
}
