//! Client libraries that others wrote, through the proxy, over redis-server and over our own.

use std::collections::{BTreeMap, BTreeSet};

use redis::{Commands, ConnectionLike};
use redstart_tests::proxy_support::{Proxy, Redis};
use redstart_tests::server_support::{Peer, Server, run, workspace};

const SHARDS: usize = 3;

/// Shards of one make with a proxy before them. The fields keep them running.
struct Setup {
    proxy: Proxy,
    shards: Vec<Peer>,
}

/// The same over either make of server.
fn set_ups() -> Vec<Setup> {
    let makes: [fn() -> Peer; 2] =
        [|| Peer::Original(Redis::start()), || Peer::Ours(Server::start(&[]))];
    makes
        .into_iter()
        .map(|start| {
            let shards: Vec<Peer> = (0..SHARDS).map(|_| start()).collect();
            let ports: Vec<u16> = shards.iter().map(Peer::port).collect();
            let keys = "  hash_tag: \"{}\"\n  hash: murmur\n  distribution: ketama\n";
            Setup { proxy: Proxy::start(keys, &ports), shards }
        })
        .collect()
}

/// Every shard has got some of the keys, so that what is asked of many is asked of all of them.
fn all_shards_hold_keys(setup: &Setup) {
    for shard in &setup.shards {
        let size = shard.client().call("DBSIZE");
        assert!(size != ":0\r\n", "a {} without keys", shard.name());
    }
}

#[test]
fn redis_rs_over_several_shards() {
    for setup in set_ups() {
        for suffix in ["", "?protocol=resp3"] {
            let address = format!("redis://127.0.0.1:{}/{suffix}", setup.proxy.port);
            let client = redis::Client::open(address).expect("a client");
            let mut link = client.get_connection().expect("connected");
            let _: () = redis::cmd("FLUSHALL").query(&mut link).expect("flushed");
            types(&mut link);
            many_keys(&mut link);
            all_shards_hold_keys(&setup);
            pipelines(&mut link);
            transactions(&mut link);
            sessions(&client);
            assert!(link.is_open());
        }
    }
}

/// What a client does on connections that are its own for that long: watching keys, waiting, listening.
fn sessions(client: &redis::Client) {
    let mut link = client.get_connection().expect("connected");
    let (doubled,): (i64,) = redis::transaction(&mut link, &["watched"], |link, pipe| {
        let before: Option<i64> = link.get("watched")?;
        pipe.set("watched", before.unwrap_or(21) * 2).ignore().get("watched").query(link)
    })
    .expect("nobody changed it");
    assert_eq!(doubled, 42);
    let _: i64 = link.rpush("waited-for", "element").expect("pushed");
    let popped: Option<(String, String)> = link.blpop("waited-for", 5.0).expect("popped");
    assert_eq!(popped, Some(("waited-for".to_owned(), "element".to_owned())));
    let nothing: Option<(String, String)> = link.blpop("waited-for", 0.05).expect("in vain");
    assert_eq!(nothing, None);
    let mut listening = client.get_connection().expect("connected");
    let mut listening = listening.as_pubsub();
    listening.subscribe("channel").expect("subscribed");
    listening.psubscribe("chan*").expect("subscribed");
    let _: i64 = link.publish("channel", "said").expect("published");
    for _ in 0..2 {
        let message = listening.get_message().expect("a message");
        assert_eq!(message.get_channel_name(), "channel");
        assert_eq!(message.get_payload::<String>().expect("text"), "said");
    }
    listening.unsubscribe("channel").expect("unsubscribed");
    listening.punsubscribe("chan*").expect("unsubscribed");
    let script = redis::Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    for total in [7, 14] {
        assert_eq!(script.key("scripted").arg(7).invoke::<i64>(&mut link).expect("run"), total);
    }
}

fn types(link: &mut redis::Connection) {
    let _: () = link.set("s", "värde").expect("set");
    assert_eq!(link.get::<_, String>("s").expect("get"), "värde");
    assert_eq!(link.get::<_, Option<String>>("missing").expect("get"), None);
    let binary = b"\r\n\0$5\r\n\xff".to_vec();
    let _: () = link.set("b", &binary).expect("set");
    assert_eq!(link.get::<_, Vec<u8>>("b").expect("get"), binary);
    assert_eq!(link.rpush::<_, _, usize>("l", &["a", "b", "c"]).expect("rpush"), 3);
    assert_eq!(link.lrange::<_, Vec<String>>("l", 0, -1).expect("lrange"), ["a", "b", "c"]);
    let _: () = link.hset_multiple("h", &[("one", 1), ("two", 2)]).expect("hset");
    let hash: BTreeMap<String, i64> = link.hgetall("h").expect("hgetall");
    assert_eq!(hash, [("one".to_owned(), 1), ("two".to_owned(), 2)].into());
    let _: () = link.sadd("t", &[3, 1, 2]).expect("sadd");
    assert_eq!(link.smembers::<_, BTreeSet<i64>>("t").expect("smembers"), [1, 2, 3].into());
    let _: () = link.zadd("z", "m", 1.5).expect("zadd");
    let scores: Vec<(String, f64)> = link.zrange_withscores("z", 0, -1).expect("zrange");
    assert_eq!(scores, [("m".to_owned(), 1.5)]);
    let error = link.lpush::<_, _, i64>("s", 1).expect_err("a string is no list");
    assert_eq!(error.code(), Some("WRONGTYPE"));
}

fn many_keys(link: &mut redis::Connection) {
    let _: () = redis::cmd("FLUSHALL").query(link).expect("flushed");
    let pairs: Vec<(String, i64)> =
        (0..1000).map(|number| (format!("k{number}"), number)).collect();
    let _: () = link.mset(&pairs).expect("mset");
    let names: Vec<&String> = pairs.iter().map(|(name, _)| name).collect();
    let values: Vec<i64> = link.mget(&names).expect("mget");
    assert!(values.into_iter().eq(0..1000));
    // What is missing stands at its place.
    let some: Vec<Option<i64>> = link.mget(&["k1", "none", "k999", "nothing"]).expect("mget");
    assert_eq!(some, [Some(1), None, Some(999), None]);
    for count in [7, 100] {
        let options = redis::ScanOptions::default().with_count(count);
        let mut found: Vec<String> =
            link.scan_options(options).expect("scan").map(|key| key.expect("a key")).collect();
        found.sort();
        found.dedup();
        assert_eq!(found.len(), 1000);
    }
    let few: BTreeSet<String> =
        link.scan_match("k99?").expect("scan").map(|key| key.expect("a key")).collect();
    assert_eq!(few.len(), 10);
    assert_eq!(link.exists::<_, i64>(&["k1", "k2", "none"]).expect("exists"), 2);
    assert_eq!(link.del::<_, i64>(&names[500..]).expect("del"), 500);
    assert_eq!(redis::cmd("DBSIZE").query::<i64>(link).expect("dbsize"), 500);
}

fn pipelines(link: &mut redis::Connection) {
    let mut pipe = redis::pipe();
    for number in 0..500 {
        pipe.set(format!("p{number}"), number).ignore();
        pipe.incr(format!("p{number}"), 1);
        pipe.get(format!("p{}", number / 2));
    }
    let replies: Vec<i64> = pipe.query(link).expect("a pipeline");
    let expected = (0..500).flat_map(|number| [number + 1, number / 2 + 1]);
    assert!(replies.into_iter().eq(expected), "replies stand in the order of the requests");
}

fn transactions(link: &mut redis::Connection) {
    let (third, text): (i64, String) = redis::pipe()
        .atomic()
        .set("{t}n", 11)
        .ignore()
        .incr("{t}n", 1)
        .set("{t}s", "x")
        .ignore()
        .get("{t}s")
        .query(link)
        .expect("a transaction");
    assert_eq!((third, text.as_str()), (12, "x"));
    let mut crossed = redis::pipe();
    crossed.atomic();
    for number in 0..50 {
        crossed.incr(format!("k{number}"), 1);
    }
    let error = crossed.query::<Vec<i64>>(link).expect_err("keys of several shards");
    let said = format!("{error:?}");
    assert!(said.to_lowercase().contains("crossslot"), "{said}");
    assert_eq!(link.get::<_, i64>("k7").expect("unchanged"), 7);
}

/// What redis-py is asked; the port and the protocol come as arguments.
const PYTHON: &str = r"
import sys, redis
link = redis.Redis(port=int(sys.argv[1]), protocol=int(sys.argv[2]), decode_responses=True)
link.flushall()
assert link.ping() is True
assert link.set('s', 'värde', ex=100) is True and link.get('s') == 'värde' and 0 < link.ttl('s') <= 100
assert link.get('missing') is None
assert link.rpush('l', 1, 2, 3) == 3 and link.lrange('l', 0, -1) == ['1', '2', '3']
assert link.hset('h', mapping={'a': 1, 'b': 2}) == 2 and link.hgetall('h') == {'a': '1', 'b': '2'}
assert link.sadd('t', 'x', 'y') == 2 and set(link.smembers('t')) == {'x', 'y'}
assert link.zadd('z', {'m': 1.5, 'n': 2}) == 2
assert [tuple(pair) for pair in link.zrange('z', 0, -1, withscores=True)] == [('m', 1.5), ('n', 2.0)]
assert link.zscore('z', 'm') == 1.5
try:
    link.lpush('s', 1)
    raise SystemExit('no WRONGTYPE')
except redis.ResponseError as error:
    assert 'WRONGTYPE' in str(error)
link.flushall()
assert link.mset({f'k{n}': n for n in range(1000)}) is True
assert link.mget([f'k{n}' for n in range(1000)]) == [str(n) for n in range(1000)]
assert link.mget('k1', 'none', 'k2') == ['1', None, '2']
assert set(link.scan_iter(count=9)) == {f'k{n}' for n in range(1000)}
assert set(link.scan_iter(match='k99?')) == {f'k99{n}' for n in range(10)}
assert link.dbsize() == 1000 and link.exists('k1', 'none', 'k2') == 2
pipe = link.pipeline(transaction=False)
for n in range(300):
    pipe.incr(f'k{n}').get(f'k{n}')
assert pipe.execute() == [value for n in range(300) for value in (n + 1, str(n + 1))]
with link.pipeline(transaction=True) as pipe:
    pipe.set('{t}n', 11).incr('{t}n').rpush('{t}l', 'a', 'b').lrange('{t}l', 0, -1)
    assert pipe.execute() == [True, 12, 2, ['a', 'b']]
with link.pipeline(transaction=True) as pipe:
    for n in range(50):
        pipe.incr(f'k{n}')
    try:
        pipe.execute()
        raise SystemExit('no error')
    except redis.ResponseError as error:
        assert 'hash to the same slot' in str(error), error
assert link.delete(*[f'k{n}' for n in range(1000)]) == 1000
assert link.info('server')['redis_version'] == '7.0.15'
print('fine')
";

#[test]
fn redis_py_over_several_shards() {
    let python = workspace().join("target/venv/bin/python");
    if !python.exists() {
        println!("left out: target/venv is not there; `make venv` creates it");
        return;
    }
    let python = python.display().to_string();
    for setup in set_ups() {
        for protocol in ["2", "3"] {
            let found = run(&python, &["-c", PYTHON, &setup.proxy.port.to_string(), protocol]);
            assert!(
                found.status.success() && found.stdout.starts_with(b"fine"),
                "RESP{protocol} over {}: {found:?}",
                setup.shards[0].name()
            );
        }
    }
}

#[test]
fn redis_cli_and_redis_benchmark_without_a_configuration() {
    let proxy = Proxy::embedded(2);
    let port = proxy.port.to_string();
    let cli = |args: &[&str]| {
        let found = run("redis-cli", &[&["-p", &port], args].concat());
        assert!(found.status.success(), "redis-cli {args:?}: {found:?}");
        String::from_utf8_lossy(&found.stdout).into_owned()
    };
    assert_eq!(cli(&["set", "k", "v"]), "OK\n");
    assert_eq!(cli(&["get", "k"]), "v\n");
    assert_eq!(cli(&["mset", "a", "1", "b", "2", "c", "3"]), "OK\n");
    assert_eq!(cli(&["mget", "a", "none", "b", "c"]), "1\n\n2\n3\n");
    let scanned: BTreeSet<String> = cli(&["--scan"]).lines().map(str::to_owned).collect();
    assert_eq!(scanned, ["a", "b", "c", "k"].map(str::to_owned).into());
    assert!(cli(&["scan", "0", "count", "1000"]).starts_with(|first: char| first.is_ascii_digit()));
    let info = cli(&["info"]);
    for line in ["redis_version:7.0.15", "# Server", "# Clients"] {
        assert!(info.contains(line), "no {line} in {info}");
    }
    assert!(cli(&["-3", "hello"]).contains("proto"));
    let found = run("redis-benchmark", &["-p", &port, "-q", "-n", "1000"]);
    let said = String::from_utf8_lossy(&found.stdout).into_owned()
        + &String::from_utf8_lossy(&found.stderr);
    assert!(found.status.success() && !said.to_lowercase().contains("error"), "{said}");
    for name in [
        "PING_INLINE",
        "PING_MBULK",
        "SET",
        "GET",
        "INCR",
        "LPUSH",
        "RPUSH",
        "LPOP",
        "RPOP",
        "SADD",
        "HSET",
        "SPOP",
        "ZADD",
        "ZPOPMIN",
        "LRANGE_100",
        "LRANGE_300",
        "LRANGE_500",
        "LRANGE_600",
        "MSET (10 keys)",
    ] {
        assert!(said.contains(name), "{name} is missing: {said}");
    }
}
