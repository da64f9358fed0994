//! Programs and libraries that others wrote, against our server.

use redis::Commands;
use redstart_tests::server_support::{Server, run, workspace};

fn cli(server: &Server, args: &[&str]) -> String {
    let port = server.port.to_string();
    let found = run("redis-cli", &[&["-p", &port], args].concat());
    assert!(found.status.success(), "redis-cli {args:?}: {found:?}");
    String::from_utf8_lossy(&found.stdout).into_owned()
}

#[test]
fn redis_cli() {
    let server = Server::start(&[]);
    assert_eq!(cli(&server, &["ping"]), "PONG\n");
    assert_eq!(cli(&server, &["set", "k", "v"]), "OK\n");
    assert_eq!(cli(&server, &["get", "k"]), "v\n");
    assert_eq!(cli(&server, &["-3", "hset", "h", "a", "1"]), "1\n");
    let mut scanned: Vec<String> = cli(&server, &["--scan"]).lines().map(str::to_owned).collect();
    scanned.sort();
    assert_eq!(scanned, ["h", "k"]);
    assert!(cli(&server, &["info", "server"]).contains("redis_version:7.0.15"));
    assert!(cli(&server, &["-3", "hgetall", "h"]).contains('1'));
}

#[test]
fn redis_benchmark_without_errors() {
    let server = Server::start(&[]);
    let port = server.port.to_string();
    let found = run("redis-benchmark", &["-p", &port, "-q", "-n", "2000", "-P", "4"]);
    let said = String::from_utf8_lossy(&found.stdout).into_owned()
        + &String::from_utf8_lossy(&found.stderr);
    assert!(found.status.success(), "{said}");
    assert!(!said.to_lowercase().contains("error"), "{said}");
    for name in ["PING_INLINE", "SET", "LRANGE_600", "MSET (10 keys)"] {
        assert!(said.contains(name), "{name} is missing: {said}");
    }
}

#[test]
fn redis_rs() {
    let server = Server::start(&[]);
    for suffix in ["", "?protocol=resp3"] {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/{suffix}", server.port))
            .expect("a client");
        let mut link = client.get_connection().expect("connected");
        let _: () = redis::cmd("FLUSHALL").query(&mut link).expect("flushed");
        let _: () = link.set("s", "värde").expect("set");
        let value: String = link.get("s").expect("get");
        assert_eq!(value, "värde");
        let length: usize = link.rpush("l", &["a", "b", "c"]).expect("rpush");
        assert_eq!(length, 3);
        let list: Vec<String> = link.lrange("l", 0, -1).expect("lrange");
        assert_eq!(list, ["a", "b", "c"]);
        let _: () = link.hset_multiple("h", &[("one", 1), ("two", 2)]).expect("hset");
        let hash: std::collections::BTreeMap<String, i64> = link.hgetall("h").expect("hgetall");
        assert_eq!(
            hash.into_iter().collect::<Vec<_>>(),
            [("one".to_owned(), 1), ("two".to_owned(), 2)]
        );
        let _: () = link.sadd("t", &[3, 1, 2]).expect("sadd");
        let set: std::collections::BTreeSet<i64> = link.smembers("t").expect("smembers");
        assert_eq!(set.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
        let _: () = link.zadd("z", "m", 1.5).expect("zadd");
        let scores: Vec<(String, f64)> = link.zrange_withscores("z", 0, -1).expect("zrange");
        assert_eq!(scores, [("m".to_owned(), 1.5)]);
        let (first, second): (i64, i64) =
            redis::pipe().incr("n", 1).incr("n", 10).query(&mut link).expect("a pipeline");
        assert_eq!((first, second), (1, 11));
        let (third, text): (i64, String) =
            redis::pipe().atomic().incr("n", 1).get("s").query(&mut link).expect("a transaction");
        assert_eq!((third, text.as_str()), (12, "värde"));
    }
}

/// What redis-py is asked; the port and the protocol come as arguments.
const PYTHON: &str = r"
import sys, redis
link = redis.Redis(port=int(sys.argv[1]), protocol=int(sys.argv[2]), decode_responses=True)
link.flushall()
assert link.set('s', 'v', ex=100) is True and link.get('s') == 'v' and 0 < link.ttl('s') <= 100
assert link.rpush('l', 1, 2, 3) == 3 and link.lrange('l', 0, -1) == ['1', '2', '3']
assert link.hset('h', mapping={'a': 1, 'b': 2}) == 2 and link.hgetall('h') == {'a': '1', 'b': '2'}
assert link.sadd('t', 'x', 'y') == 2 and set(link.smembers('t')) == {'x', 'y'}
assert link.zadd('z', {'m': 1.5, 'n': 2}) == 2
assert [tuple(pair) for pair in link.zrange('z', 0, -1, withscores=True)] == [('m', 1.5), ('n', 2.0)]
pipe = link.pipeline(transaction=False)
assert pipe.incr('c').incr('c').get('s').execute() == [1, 2, 'v']
with link.pipeline() as pipe:
    pipe.watch('c')
    pipe.multi()
    pipe.incr('c').sadd('t', 'z')
    assert pipe.execute() == [3, 1]
assert sorted(link.scan_iter()) == ['c', 'h', 'l', 's', 't', 'z']
assert link.info('server')['redis_version'] == '7.0.15'
try:
    link.lpush('s', 1)
    raise SystemExit('no WRONGTYPE')
except redis.ResponseError as error:
    assert 'WRONGTYPE' in str(error)
print('fine')
";

#[test]
fn redis_py() {
    let python = workspace().join("target/venv/bin/python");
    if !python.exists() {
        println!("left out: target/venv is not there; `make venv` creates it");
        return;
    }
    let server = Server::start(&[]);
    let python = python.display().to_string();
    for protocol in ["2", "3"] {
        let found = run(&python, &["-c", PYTHON, &server.port.to_string(), protocol]);
        assert!(
            found.status.success() && found.stdout.starts_with(b"fine"),
            "RESP{protocol}: {found:?}"
        );
    }
}
