//! Keys lie where nutcracker puts them: the real one is asked, key by key.
//!
//! One nutcracker serves a pool for every hash, distribution and set of servers, over backends that answer every
//! request with their own number. What comes back is compared with what our settings, hashes and distributions say
//! about the same configuration file.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Command;

use redstart_common::resp::encode;
use redstart_proxy::route::distribution::{Distribution, ShardIndex};
use redstart_proxy::route::pool::hash_of;
use redstart_proxy::settings::{PoolSettings, ServerAddress, Settings};
use redstart_tests::proxy_support::{
    Client, Fake, Folder, Process, each_request, eventually, free_port, free_ports,
};

const HASHES: &[&str] = &[
    "one_at_a_time",
    "md5",
    "crc16",
    "crc32",
    "crc32a",
    "fnv1_64",
    "fnv1a_64",
    "fnv1_32",
    "fnv1a_32",
    "hsieh",
    "murmur",
    "jenkins",
];

/// Weights of the servers of each set.
const SETS: &[(&str, &[u32])] = &[
    ("one", &[1]),
    ("two", &[1; 2]),
    ("three", &[1; 3]),
    ("five", &[1; 5]),
    ("many", &[1; 25]),
    ("weighted", &[1, 2, 5, 10, 3]),
];

/// Keys of all sorts: numbered as applications number them, and bytes of any kind, but for what would end a line.
fn keys() -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for number in 0..4000 {
        keys.push(format!("user:{number}").into_bytes());
        keys.push(format!("key:{number:012}").into_bytes());
    }
    let mut chance = 1_u64;
    let mut next = || {
        chance =
            chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) as usize
    };
    for _ in 0..4000 {
        let len = 1 + next() % 40;
        keys.push((0..len).map(|_| next() as u8).collect());
    }
    for word in
        ["café", "日本語", "{tag}a", "a{tag}b", "{}{x}", "{", "}{", "{a", "$$", "naïve{über}x"]
    {
        keys.push(word.as_bytes().to_vec());
    }
    keys
}

fn config(backends: &[u16]) -> (String, Vec<u16>) {
    let mut text = String::new();
    let mut ports = Vec::new();
    let free = free_ports(HASHES.len() * 2 * SETS.len());
    for hash in HASHES {
        for distribution in ["ketama", "modula"] {
            for (set, weights) in SETS {
                // Half of the pools look at hash tags, and half give their servers names.
                let port = free[ports.len()];
                let _ = write!(
                    text,
                    "{hash}-{distribution}-{set}:\n  listen: 127.0.0.1:{port}\n  hash: {hash}\n  distribution: {distribution}\n  redis: true\n"
                );
                if ports.len() % 2 == 0 {
                    text += "  hash_tag: \"{}\"\n";
                }
                text += "  servers:\n";
                for (number, (weight, backend)) in weights.iter().zip(backends).enumerate() {
                    let name = if ports.len() % 4 < 2 {
                        String::new()
                    } else {
                        format!(" s{}", number * 7)
                    };
                    let _ = writeln!(text, "   - 127.0.0.1:{backend}:{weight}{name}");
                }
                ports.push(port);
            }
        }
    }
    (text, ports)
}

/// Where our code puts each key: the port of its server.
fn ours(pool: &PoolSettings, keys: &[Vec<u8>]) -> Vec<u16> {
    let live: Vec<ShardIndex> = (0..pool.servers.len() as ShardIndex).collect();
    let distribution = Distribution::build(pool.distribution, &pool.servers, &live);
    keys.iter()
        .map(|key| {
            let hash = hash_of(pool.hash.expect("a hash"), pool.char_sign, pool.hash_tag, key);
            let server = distribution.shard(hash).expect("a server");
            match &pool.servers[usize::from(server)].address {
                ServerAddress::Tcp { port, .. } => *port,
                ServerAddress::Unix(path) => panic!("{}", path.display()),
            }
        })
        .collect()
}

/// Where nutcracker puts each key.
fn theirs(port: u16, keys: &[Vec<u8>]) -> Vec<u16> {
    let mut client = Client::connect(port);
    let mut places = Vec::with_capacity(keys.len());
    for batch in keys.chunks(500) {
        let mut requests = Vec::new();
        for key in batch {
            encode::request(&mut requests, [b"GET".as_slice(), key].into_iter());
        }
        client.send_raw(&requests);
        for _ in batch {
            let reply = client.receive();
            places.push(reply.trim().trim_start_matches(':').parse().expect("a port"));
        }
    }
    places
}

/// Starts nutcracker; `None` when it does not come up.
fn start_nutcracker(folder: &Folder, text: &str, ports: &[u16]) -> Option<Process> {
    let file = folder.join("nutcracker.yml");
    std::fs::write(&file, text).expect("written");
    let mut command = Command::new("nutcracker");
    command.arg("-c").arg(&file).args(["-a", "127.0.0.1", "-s", &free_port().to_string()]);
    command.arg("-o").arg(folder.join("out")).arg("-p").arg(folder.join("pid"));
    let mut nutcracker = Process::start(&mut command, &folder.join("log"));
    let is_up =
        || ports.iter().all(|port| std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok());
    eventually("nutcracker listens or ends", || is_up() || !nutcracker.is_alive());
    nutcracker.is_alive().then_some(nutcracker)
}

#[test]
fn every_key_lies_where_nutcracker_puts_it() {
    let backends: Vec<Fake> = (0..25)
        .map(|_| {
            Fake::start(|mut stream| {
                let port = stream.local_addr().expect("its address").port();
                let reply = format!(":{port}\r\n");
                each_request(&mut stream, |stream, _| stream.write_all(reply.as_bytes()).is_ok());
            })
        })
        .collect();
    let backend_ports: Vec<u16> = backends.iter().map(|backend| backend.port).collect();
    let folder = Folder::new();
    // Of so many ports that were free one may be taken meanwhile; then others are tried.
    let (text, ports, _nutcracker) = (0..10)
        .find_map(|_| {
            let (text, ports) = config(&backend_ports);
            start_nutcracker(&folder, &text, &ports).map(|process| (text, ports, process))
        })
        .expect("nutcracker runs");
    let settings = Settings::parse("nutcracker.yml", &text).expect("a good file");
    assert_eq!(settings.pools.len(), ports.len());
    let keys = keys();
    assert!(keys.len() > 10_000);
    for (pool, port) in settings.pools.iter().zip(&ports) {
        let (ours, theirs) = (ours(pool, &keys), theirs(*port, &keys));
        let wrong: Vec<&Vec<u8>> = keys
            .iter()
            .zip(ours.iter().zip(&theirs))
            .filter(|(_, (ours, theirs))| ours != theirs)
            .map(|(key, _)| key)
            .collect();
        assert!(
            wrong.is_empty(),
            "pool {}: {} of {} keys differ, such as {:?}",
            pool.name,
            wrong.len(),
            keys.len(),
            String::from_utf8_lossy(wrong[0])
        );
    }
}
