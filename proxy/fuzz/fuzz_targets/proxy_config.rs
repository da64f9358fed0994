//! The proxy's configuration: an error that names the file, or pools over which keys can be placed.
//!
//! In the text, bytes from 0x80 on stand for the names of keys and for pieces that make a file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redstart_proxy::route::distribution::{Distribution, ShardIndex};
use redstart_proxy::route::pool::hash_of;
use redstart_proxy::settings::rows::{GLOBAL, POOL};
use redstart_proxy::settings::{PoolSettings, Settings};

const PIECES: &[&str] = &[
    "a:\n  redis: true\n  listen: 127.0.0.1:1\n  servers:\n",
    "b:\n  redis: true\n  listen: /s 0600\n  servers:\n",
    "global:\n",
    "   - h:1:1\n",
    "   - h:2:3 n\n",
    "   - /p:1 m\n",
    "  server_order: file\n",
    "  hash_tag: \"{}\"\n",
    "\n  ",
    "   - ",
    ": ",
    "true",
    "crc16",
    "murmur",
    "modula",
    "random",
    "<<: *x",
    "&x ",
    "!!str ",
    "? ",
    "|-\n",
];
/// Building a ring or a table of more would only be slow.
const WEIGHT_SUM_MAX: u64 = 10_000;

fuzz_target!(|data: &[u8]| {
    let Some(text) = expand(data) else { return };
    match Settings::parse("proxy.yml", &text) {
        Err(error) => assert!(error.to_string().contains("proxy.yml")),
        Ok(settings) => {
            assert!(!settings.pools.is_empty());
            settings.pools.iter().for_each(check);
        }
    }
});

fn expand(data: &[u8]) -> Option<String> {
    let names: Vec<&str> = GLOBAL.iter().chain(POOL).map(|row| row.name).collect();
    let mut text = Vec::with_capacity(data.len() * 4);
    for byte in data {
        match byte.checked_sub(0x80).map(usize::from) {
            None => text.push(*byte),
            Some(number) => {
                let piece = PIECES.get(number).copied();
                let piece = piece.or_else(|| names.get(number - PIECES.len()).copied());
                text.extend_from_slice(piece?.as_bytes());
            }
        }
    }
    String::from_utf8(text).ok()
}

fn check(pool: &PoolSettings) {
    assert!(pool.servers.is_empty() == pool.sentinel.is_some());
    assert!(!pool.listen.text.is_empty());
    let _ = pool.warnings();
    let weights: u64 = pool.servers.iter().map(|server| u64::from(server.weight)).sum();
    if weights > WEIGHT_SUM_MAX || pool.servers.is_empty() {
        return;
    }
    let live: Vec<ShardIndex> = (0..pool.servers.len() as ShardIndex).collect();
    // A cluster's slots need none.
    let Some(hash) = pool.hash else { return };
    let distribution = Distribution::build(pool.distribution, &pool.servers, &live);
    for key in [&b"a"[..], b"{tag}k", b"", b"\xff\x00{}"] {
        let hash = hash_of(hash, pool.char_sign, pool.hash_tag, key);
        let server = distribution.shard(hash).expect("live servers take every key");
        assert!(usize::from(server) < pool.servers.len());
    }
}
