//! What files mean, and what is said about those that mean nothing.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Settings, String> {
    Settings::parse("proxy.yml", text).map_err(|error| error.to_string())
}

fn pool(keys: &str) -> PoolSettings {
    let text = format!("alpha:\n  listen: 127.0.0.1:22121\n  redis: true\n{keys}");
    let text = if keys.contains("servers:") { text } else { text + "  servers:\n   - h:1:1\n" };
    parse(&text).expect("a good file").pools.remove(0)
}

fn names(pool: &PoolSettings) -> Vec<&str> {
    pool.servers.iter().map(|server| server.name.as_str()).collect()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../config")
}

#[test]
fn the_sample_files_load_and_explain_every_key() {
    let mut seen = 0;
    let mut text = String::new();
    for entry in std::fs::read_dir(folder()).expect("config/") {
        let path = entry.expect("an entry").path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("proxy")) {
            Settings::load(&path, false).unwrap_or_else(|error| panic!("{error}"));
            text.push_str(&std::fs::read_to_string(&path).expect("text"));
            seen += 1;
        }
    }
    assert!(seen >= 2);
    // Where output goes is for the command line, mostly.
    let elsewhere = ["log_file", "pid_file"];
    for row in rows::GLOBAL.iter().chain(rows::POOL) {
        let shown = format!("{}:", row.name);
        let is_shown = text.lines().any(|line| {
            let line = line.trim_start();
            // What goes with files is shown as it would stand there: the samples come without certificates.
            let line = if row.name.contains("tls") { line.trim_start_matches("# ") } else { line };
            line.starts_with(&shown)
        });
        assert!(is_shown || elsewhere.contains(&row.name), "no sample shows '{}'", row.name);
    }
}

#[test]
fn defaults_are_twemproxys() {
    let pool = pool("");
    assert_eq!(pool.hash, Some(HashKind::default()));
    assert_eq!((pool.hash_name(), pool.placement().as_str()), ("fnv1a_64", "ketama over fnv1a_64"));
    assert_eq!(pool.distribution, DistributionKind::Ketama);
    assert_eq!((pool.timeout_ms, pool.backlog, pool.client_connections), (None, 512, 0));
    assert_eq!((pool.server_retry_timeout_ms, pool.server_failure_limit), (30_000, 2));
    assert_eq!((pool.server_connections, pool.redis_db), (1, 0));
    assert!(!(pool.preconnect || pool.tcpkeepalive || pool.reuseport));
}

#[test]
fn what_becomes_of_keys_whose_server_is_down_is_said_once() {
    let with = |keys: &str| {
        let pool = pool(keys);
        (pool.on_server_down, pool.server_retry_timeout_ms)
    };
    use OnServerDown::{Eject, Fail, Next, Try};
    assert_eq!(with(""), (Try, 30_000));
    assert_eq!(with("  auto_eject_hosts: false\n"), (Try, 30_000));
    assert_eq!(with("  auto_eject_hosts: true\n"), (Eject, 30_000));
    assert_eq!(with("  auto_eject_hosts: true\n  on_server_down: eject\n"), (Eject, 30_000));
    assert_eq!(with("  on_server_down: next\n  auto_eject_hosts: false\n"), (Next, 30_000));
    assert_eq!(with("  on_server_down: fail\n"), (Fail, 20));
    assert_eq!(with("  on_server_down: fail\n  server_retry_timeout: 700\n"), (Fail, 700));
    let fixed = "  redis: true\n  servers:\n   - h:1:1\n";
    let groups = "  sentinels: [\"h:1\"]\n  groups: [g]\n";
    for (keys, beside, problem) in [
        ("on_server_down: stay", fixed, "is not eject, fail or next"),
        ("on_lost_request: maybe", fixed, "is not error or close"),
        (
            "on_server_down: fail\n  auto_eject_hosts: true",
            fixed,
            "which is 'on_server_down: eject'",
        ),
        ("on_server_down: eject\n  auto_eject_hosts: false", fixed, "'auto_eject_hosts' is false"),
        ("on_server_down: fail\n  failover_hold: 100", fixed, "refuse at once"),
        ("on_server_down: next\n  distribution: random", fixed, "has no order"),
        ("on_server_down: fail", groups, "'on_server_down' does not go with 'sentinels'"),
        ("auto_eject_hosts: true", groups, "'auto_eject_hosts' does not go with 'sentinels'"),
        ("on_server_down: next", "  cluster: [\"h:1\"]\n", "does not go with 'cluster'"),
    ] {
        let error = parse(&format!("a:\n  listen: h:1\n  {keys}\n{beside}")).expect_err(keys);
        assert!(error.contains(problem), "{keys}: {error}");
    }
}

const CENTERS: &str = "  local_dc: bj
  data_centers:
    bj:
      prefixes: [10.1., 10.]
      reads: {bj: 50, sh: 20:3}
    sh:
      prefixes: [10.2.]
      reads: {sh: 50}
    none:
      prefixes: [11.]
";

#[test]
fn reads_have_priorities_and_data_centers() {
    let with = |keys: &str| {
        parse(&format!("a:\n  listen: h:1\n  cluster: [\"h:1\"]\n{keys}"))
            .map(|mut settings| settings.pools.remove(0))
    };
    let both = with(&format!(
        "  master_read_priority: 10\n  replica_read_priority: 100\n  max_load: 20ms\n  hedge_after: 5\n{CENTERS}"
    ));
    let both = both.expect("a good file");
    assert_eq!(both.read_from, ReadFrom::Priorities { master: 10, replica: 100 });
    assert_eq!(both.max_load, Some(Load::WaitsUs(20_000)));
    assert_eq!((both.hash, both.hash_name(), both.placement().as_str()), (None, "none", "slots"));
    assert_eq!((both.hedge_after_ms, both.hedge_percent), (Some(5), 5));
    let centers = both.data_centers.expect("they are");
    let said = centers.0.iter().map(|it| (it.name.as_str(), it.priority, it.weight));
    assert_eq!(said.collect::<Vec<_>>(), [("bj", 50, 1), ("sh", 20, 3), ("none", 0, 1)]);
    let at = |host: &str| {
        let address = ServerAddress::Tcp { host: host.to_owned(), port: 6379 };
        centers.name_of(Some(&address)).to_owned()
    };
    let hosts = ["10.1.0.1", "10.2.0.1", "10.3.0.1", "11.0.0.1", "12.0.0.1"];
    assert_eq!(hosts.map(at), ["bj", "sh", "bj", "none", ""], "the longest prefix decides");
    assert_eq!(
        with("  replica_read_priority: 60\n").map(|it| it.read_from.priorities()),
        Ok((50, 60))
    );
    assert_eq!(with("  master_read_priority: 60\n").map(|it| it.read_from), Ok(ReadFrom::Master));
    let load = with("  read_from: any\n  max_load: 500\n  hedge_after: 9\n  hedge_budget: 10%\n");
    let load = load.expect("a good file");
    assert_eq!((load.max_load, load.hedge_percent), (Some(Load::Owes(500)), 10));
    for (keys, problem) in [
        ("  master_read_priority: 0\n", "nobody may be read from"),
        ("  master_read_priority: 101\n", "is above 100"),
        ("  read_from: any\n  replica_read_priority: 1\n", "does not go with 'read_from'"),
        ("  hedge_after: 5\n", "'hedge_after' needs 'read_from'"),
        ("  read_from: any\n  hedge_after: 0\n", "cannot be 0"),
        ("  read_from: any\n  hedge_budget: 5\n", "needs 'hedge_after'"),
        ("  read_from: any\n  hedge_after: 1\n  hedge_budget: 101\n", "is not a percentage"),
        ("  read_from: any\n  max_load: 5s\n", "is not milliseconds such as 20ms"),
        ("  read_from: any\n  local_dc: bj\n", "needs 'data_centers'"),
        ("  max_load: 5\n", "'max_load' needs 'read_from'"),
        (CENTERS, "'data_centers' needs 'read_from'"),
        (&format!("  read_from: nearest\n{CENTERS}"), "which measures"),
        (
            &format!("  read_from: any\n{}", CENTERS.replace("local_dc: bj", "local_dc: x")),
            "does not have 'x'",
        ),
        (
            &format!("  read_from: any\n{}", CENTERS.replace("local_dc: bj", "local_dc: none")),
            "no reads",
        ),
        (&format!("  read_from: any\n{}", CENTERS.replace("sh: 20:3", "sx: 20:3")), "none of them"),
        (&format!("  read_from: any\n{}", CENTERS.replace("20:3", "20:0")), "is not a priority"),
        (
            &format!("  read_from: any\n{}", CENTERS.replace("reads: {sh", "read: {sh")),
            "not 'read'",
        ),
    ] {
        let error = with(keys).expect_err(keys);
        assert!(error.contains(problem), "{keys}: {error}");
    }
    let groups = "a:\n  listen: h:1\n  sentinels: [\"h:1\"]\n  groups: [g]\n  failover_hold: 0\n  read_from: any\n  hedge_after: 5\n";
    assert!(parse(groups).expect_err("not kept").contains("needs 'failover_hold'"));
}

#[test]
fn servers_are_named_and_numbered_as_twemproxy_does() {
    let list = "  servers:\n   - 10.0.0.1:11211:1\n   - 10.0.0.1:6380:2\n   - /run/a.sock:3\n   - host:7:1 b\n   - [::1]:7:1 aa\n";
    // Flow characters need quotes in YAML; a bare [::1] is none.
    let list = list.replace("[::1]:7:1 aa", "\"[::1]:7:1 aa\"");
    let sorted = pool(&list);
    assert_eq!(names(&sorted), ["b", "aa", "10.0.0.1", "/run/a.sock:", "10.0.0.1:6380"]);
    let as_written = pool(&format!("  server_order: file\n{list}"));
    assert_eq!(names(&as_written), ["10.0.0.1", "10.0.0.1:6380", "/run/a.sock:", "b", "aa"]);
    assert_eq!(as_written.servers[2].address, ServerAddress::Unix("/run/a.sock".into()));
    assert_eq!(as_written.servers[2].weight, 3);
    assert_eq!(as_written.servers[4].address.to_string(), "[::1]:7");
}

#[test]
fn listeners_are_addresses_or_paths_with_a_mode() {
    let listen = |text: &str| {
        let text = format!("a:\n  listen: {text}\n  redis: true\n  servers:\n   - h:1:1\n");
        parse(&text).map(|mut settings| settings.pools.remove(0).listen.address)
    };
    assert_eq!(listen("0.0.0.0:1"), Ok(ListenAddress::Tcp { host: "0.0.0.0".into(), port: 1 }));
    let unix = |mode| Ok(ListenAddress::Unix { path: "/tmp/a b".into(), mode });
    assert_eq!(listen("/tmp/a b 0755"), unix(Some(0o755)));
    assert_eq!(listen("/tmp/ab"), Ok(ListenAddress::Unix { path: "/tmp/ab".into(), mode: None }));
    for bad in ["22121", "h:0", "h:65536", "h:-1", "h:x", "/tmp/a 0999", "/tmp/a 01000"] {
        assert!(listen(bad).is_err(), "{bad}");
    }
}

#[test]
fn crc16_follows_the_order_of_the_servers() {
    assert_eq!(pool("  hash: crc16\n").hash, Some(HashKind::Crc16));
    assert_eq!(pool("  hash: crc16\n  server_order: file\n").hash, Some(HashKind::PredixyCrc16));
    assert_eq!(pool("  hash: crc16_predixy\n").hash, Some(HashKind::PredixyCrc16));
    assert_eq!(pool("  server_order: file\n  hash: crc16_twemproxy\n").hash, Some(HashKind::Crc16));
}

/// predixy's rule on the keys of the hash-tag transcript.
#[test]
fn hash_tags_choose_the_group_as_predixy_does() {
    use crate::route::distribution::Distribution;
    use crate::route::pool::hash_of;
    let pool = pool(
        "  hash: crc16\n  hash_tag: \"{}\"\n  distribution: modula\n  server_order: file\n  servers:\n   - h:2:1\n   - h:1:1\n",
    );
    let distribution = Distribution::build(pool.distribution, &pool.servers, &[0, 1]);
    for (key, group) in [("k1", 0), ("k2", 1), ("{oo}k1", 1), ("{oo}k2", 1)] {
        let hash =
            hash_of(pool.hash.expect("a hash"), pool.char_sign, pool.hash_tag, key.as_bytes());
        assert_eq!(distribution.shard(hash), Some(group), "{key}");
    }
}

#[test]
fn values_are_taken_as_written() {
    let pool = pool("  redis_auth: 0123\n  timeout: 0\n  server_failure_limit: 3\n");
    assert_eq!(pool.redis_auth.as_deref(), Some("0123"));
    assert_eq!((pool.timeout_ms, pool.server_failure_limit), (None, 3));
}

#[test]
fn global_is_not_a_pool() {
    let settings = parse(
        "global:\n  workers: 3\n  client_output_limit: 1mb\n  stats_port: 0\na:\n  listen: h:1\n  redis: true\n  servers:\n   - h:1:1\n",
    )
    .expect("a good file");
    assert_eq!(settings.pools.len(), 1);
    assert_eq!(settings.global.workers, Some(3));
    assert_eq!(settings.global.client_output_bytes_max, 1 << 20);
    assert_eq!(settings.global.stats_port, Some(0));
}

#[test]
fn a_pool_may_be_called_global() {
    let settings = parse("global:\n  listen: h:1\n  redis: true\n  servers:\n   - h:1:1\n");
    let settings = settings.expect("a good file");
    assert_eq!(settings.pools.len(), 1);
    assert_eq!(settings.pools[0].name, "global");
    assert_eq!(settings.global.workers, None);
}

#[test]
fn weights_may_be_megabytes_as_long_as_their_sum_can_be_held() {
    let weights = |weights: &[u64]| {
        let mut text = String::from("a:\n  listen: h:1\n  redis: true\n  servers:\n");
        for (port, weight) in (1..).zip(weights) {
            text += &format!("   - h:{port}:{weight}\n");
        }
        let pool = parse(&text)?.pools.remove(0);
        Ok(pool.servers.iter().map(|server| u64::from(server.weight)).collect::<Vec<_>>())
    };
    const MOST: u64 = i32::MAX as u64;
    for good in [&[8_388_608, 3, 1][..], &[MOST, MOST, 1]] {
        assert_eq!(weights(good).as_deref(), Ok(good));
    }
    for (bad, words) in [
        (
            &[1, MOST + 1][..],
            "proxy.yml:6: pool 'a': server 'h:2:2147483648' has a weight that is above 2147483647",
        ),
        (
            &[MOST, MOST, 2],
            "proxy.yml:4: pool 'a': 'servers' weigh 4294967296 together, which is above 4294967295",
        ),
    ] {
        assert_eq!(weights(bad), Err(words.to_owned()));
    }
}

#[test]
fn an_error_names_file_line_pool_and_key() {
    let rest = "  redis: true\n  servers:\n   - h:1:1\n";
    for (text, wanted) in [
        (
            format!("a:\n  listen: h:1\n  timeout: soon\n{rest}"),
            "proxy.yml:3: pool 'a': 'timeout' is not a number",
        ),
        (
            format!("a:\n  listen: h:1\n  hash: sha1\n{rest}"),
            "proxy.yml:3: pool 'a': 'hash' 'sha1' is not a valid hash",
        ),
        (
            format!("a:\n  listen: h:1\n  colour: red\n{rest}"),
            "proxy.yml:3: pool 'a': 'colour' is unknown; known are",
        ),
        (
            format!("a:\n  listen: h:1\n  preconnect: yes\n{rest}"),
            "proxy.yml:3: pool 'a': 'preconnect' is not \"true\"",
        ),
        (
            format!("a:\n  listen: h:1\n  hash_tag: \"{{\"\n{rest}"),
            "proxy.yml:3: pool 'a': 'hash_tag' is not two",
        ),
        (
            format!("a:\n  listen: h:1\n  server_connections: 0\n{rest}"),
            "proxy.yml:3: pool 'a': 'server_connections' cannot be 0",
        ),
        (format!("a:\n{rest}"), "proxy.yml:1: pool 'a': 'listen' is missing"),
        (
            "a:\n  listen: h:1\n  redis: false\n  servers:\n   - h:1:1\n".to_owned(),
            "proxy.yml:3: pool 'a': 'redis' must be",
        ),
        (
            "a:\n  listen: h:1\n  servers:\n   - h:1:1\n".to_owned(),
            "proxy.yml:1: pool 'a': must be 'redis: true'",
        ),
        ("a:\n  listen: h:1\n  redis: true\n".to_owned(), "proxy.yml:1: pool 'a': has no servers"),
        (
            "a:\n  listen: h:1\n  cluster: [h:1, h:x]\n".to_owned(),
            "proxy.yml:3: pool 'a': node 'h:x' has an invalid port",
        ),
        (
            "a:\n  listen: h:1\n  cluster: []\n".to_owned(),
            "proxy.yml:3: pool 'a': 'cluster' has no seeds",
        ),
        (
            format!("a:\n  listen: h:1\n  cluster: [h:1]\n{rest}"),
            "proxy.yml:5: pool 'a': 'servers' does not go with 'cluster'",
        ),
        (
            "a:\n  listen: h:1\n  cluster: [h:1]\n  hash: md5\n".to_owned(),
            "proxy.yml:4: pool 'a': 'hash' does not go with 'cluster'",
        ),
        (
            "a:\n  listen: h:1\n  cluster: [h:1]\n  distribution: modula\n".to_owned(),
            "proxy.yml:4: pool 'a': 'distribution' does not go with 'cluster'",
        ),
        (
            "a:\n  listen: h:1\n  cluster: [h:1]\n  hash_tag: \"$$\"\n".to_owned(),
            "proxy.yml:4: pool 'a': 'hash_tag' is \"{}\" in a cluster",
        ),
        (
            "a:\n  listen: h:1\n  cluster: [h:1]\n  redis_db: 1\n".to_owned(),
            "proxy.yml:4: pool 'a': 'redis_db' is 0 in a cluster",
        ),
        (
            "a:\n  listen: h:1\n  cluster: [h:1]\n  auto_eject_hosts: true\n".to_owned(),
            "proxy.yml:4: pool 'a': 'auto_eject_hosts' does not go with 'cluster'",
        ),
        (
            format!("a:\n  listen: h:1\n  read_from: any\n{rest}"),
            "proxy.yml:3: pool 'a': 'read_from' needs 'sentinels' or 'cluster'",
        ),
        (
            "a:\n  listen: h:1\n  cluster: [h:1]\n  read_from: slave\n".to_owned(),
            "proxy.yml:4: pool 'a': 'read_from' is not one of master, master_preferred, replica,",
        ),
        (
            "a:\n  listen: h:1\n  cluster: [h:1]\n  max_lag: 5s\n".to_owned(),
            "proxy.yml:4: pool 'a': 'max_lag' needs 'read_from'",
        ),
        (
            "a:\n  listen: h:1\n  cluster: [h:1]\n  read_from: any\n  max_lag: soon\n".to_owned(),
            "proxy.yml:5: pool 'a': 'max_lag' is not seconds such as 5s, or a size",
        ),
        (
            "a:\n  listen: h:1\n  cluster: [h:1]\n  sentinels: [h:2]\n  groups: [g]\n".to_owned(),
            "proxy.yml:4: pool 'a': 'sentinels' does not go with 'cluster'",
        ),
        (
            "a:\n  listen: h:1\n  redis: true\n  servers:\n   - h:1:1\n   - h:x:1\n".to_owned(),
            "proxy.yml:6: pool 'a': server 'h:x:1' has an invalid port",
        ),
        (
            "a:\n  listen: h:1\n  redis: true\n  servers:\n   - h:1:0\n".to_owned(),
            "proxy.yml:5: pool 'a': server 'h:1:0' has a zero weight",
        ),
        (
            "a:\n  listen: h:1\n  redis: true\n  servers:\n   - h:1:1\n   - h:1:2\n".to_owned(),
            "proxy.yml:4: pool 'a': has servers with the same name 'h:1'",
        ),
        (
            format!("a:\n  listen: h:1\n{rest}b:\n  listen: h:1\n{rest}"),
            "proxy.yml:7: pool 'b': 'listen' is the same as that of pool 'a'",
        ),
        (
            format!("global:\n  workers: 0\na:\n  listen: h:1\n{rest}"),
            "proxy.yml:2: global: 'workers' cannot be 0",
        ),
    ] {
        let error = parse(&text).expect_err(&text);
        assert!(error.starts_with(wanted), "{error}\nwanted: {wanted}");
    }
}

#[test]
fn a_cluster_says_itself_where_keys_lie() {
    let text = "a:\n  listen: h:1\n  cluster: [h:1, \"[::1]:2\"]\n  hash_tag: \"{}\"\n";
    let pool = parse(text).expect(text).pools.remove(0);
    assert_eq!(pool.distribution, DistributionKind::Slots);
    assert_eq!((pool.hash_tag, pool.failover_hold_ms), (Some(*b"{}"), 5000));
    assert_eq!(pool.made_of(), "a Redis Cluster");
    assert_eq!(pool.cluster.map(|cluster| cluster.seeds.len()), Some(2));
    let text = "a:\n  listen: h:1\n  cluster: [h:1]\n  failover_hold: 0\n";
    let pool = parse(text).expect(text).pools.remove(0);
    assert_eq!(pool.failover_hold_ms, 0);
    assert!(pool.keeps(), "slots are followed all the same");
    let text = "a:\n  listen: h:1\n  cluster: [h:1]\n  read_from: nearest\n  max_lag: 5s\n  read_after_write: 9\n";
    let pool = parse(text).expect(text).pools.remove(0);
    assert_eq!((pool.read_from, pool.max_lag), (ReadFrom::Nearest, Some(Lag::Seconds(5))));
    assert_eq!(pool.read_after_write_ms, 9);
    let pool = parse(&text.replace("5s", "10mb")).expect(text).pools.remove(0);
    assert_eq!(pool.max_lag, Some(Lag::Bytes(10 << 20)));
}

#[test]
fn what_is_given_twice_or_is_no_yaml_is_refused_with_its_line() {
    let rest = "  redis: true\n  servers:\n   - h:1:1\n";
    for (text, words) in [
        (
            format!("a:\n  listen: h:1\n  listen: h:2\n{rest}"),
            "proxy.yml:3: pool 'a': 'listen' is a duplicate",
        ),
        (
            format!("b:\n  listen: h:9\n{rest}a:\n  listen: h:1\n{rest}{rest}"),
            "proxy.yml:11: pool 'a': 'redis' is a duplicate",
        ),
        (
            format!("a:\n  listen: h:1\n{rest}a:\n  listen: h:2\n{rest}"),
            "proxy.yml:6: pool 'a' is given twice",
        ),
        ("global:\n  workers: 1\n  workers: 2\n".to_owned(), "3: global: 'workers' is a duplicate"),
        ("a: [\n".to_owned(), "line"),
        ("just text\n".to_owned(), "pools"),
        (String::new(), "pools"),
        ("a:\n  listen: {x: y}\n".to_owned(), "line 2"),
    ] {
        let error = parse(&text).expect_err(&text);
        assert!(error.contains(words), "{error}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-c:\\- \\n\\[\\]{}\"'0-9/&*#]{0,200}") {
        let _ = parse(&text);
    }
}

#[test]
fn pools_of_memcached_are_left_out_where_that_is_wanted() {
    let text = "cache:\n  listen: 127.0.0.1:1\n  servers:\n    - h:1:1\nmain:\n  listen: 127.0.0.1:2\n  redis: true\n  servers:\n    - h:2:1\n";
    let refused = Settings::parse("p.yml", text).expect_err("memcached");
    let refused = refused.to_string();
    assert!(refused.contains("pool 'cache'") && refused.contains("--skip-memcached"), "{refused}");
    let settings = super::file::parse("p.yml", text, true).expect("one is left");
    assert_eq!(settings.skipped, ["cache"]);
    assert_eq!(settings.pools.len(), 1);
    let only = super::file::parse("p.yml", &text[..text.find("main").expect("there")], true);
    assert!(only.expect_err("no pools").to_string().contains("has no pools"));
}

#[test]
fn servers_have_credentials_of_their_own_or_the_pools() {
    let pool = |servers: &str| {
        let text = format!(
            "p:\n  listen: 127.0.0.1:1\n  redis: true\n  redis_auth: clients\n  servers:\n{servers}"
        );
        Settings::parse("p.yml", &text).map(|settings| settings.pools[0].clone())
    };
    let good = "    - h:1:1 one\n    - server: h:2:1 two\n      server_user: u\n      server_password: p\n    - server: h:3:1 three\n      server_password: q\n";
    let it = pool(good).expect("good");
    assert_eq!(it.credentials("one"), (None, Some("clients")));
    assert_eq!(it.credentials("two"), (Some("u"), Some("p")));
    assert_eq!(it.credentials("three"), (None, Some("q")));
    for (servers, wanted) in [
        ("    - server: h:1:1\n      server_user: u\n", "needs 'server_password'"),
        ("    - server_password: p\n", "lacks 'server'"),
        ("    - server: h:1:1\n      password: p\n", "'password' of a server is unknown"),
    ] {
        let text = pool(servers).expect_err("wrong").to_string();
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn keys_of_tls_go_together_or_are_refused() {
    let pool = |keys: &str| {
        let text =
            format!("p:\n  listen: 127.0.0.1:1\n  redis: true\n{keys}  servers:\n    - h:1:1\n");
        Settings::parse("p.yml", &text).map(|settings| settings.pools[0].clone())
    };
    let plain = pool("  server_tls: false\n  sentinel_tls: false\n").expect("good");
    assert!(plain.client_tls.is_none() && plain.server_tls.is_none());
    for (keys, wanted) in [
        ("  tls_cert: a\n", "'tls_cert' needs 'tls_key'"),
        ("  tls_key: a\n", "'tls_key' needs 'tls_cert'"),
        ("  tls_ca: a\n", "'tls_ca' needs 'tls_cert'"),
        ("  tls_auth_clients: yes\n", "'tls_auth_clients' needs 'tls_cert'"),
        ("  tls_cert: a\n  tls_key: b\n  tls_auth_clients: yes\n", "needs 'tls_ca'"),
        ("  tls_cert: a\n  tls_key: b\n  tls_ca: c\n", "'tls_ca' goes with 'tls_auth_clients"),
        ("  tls_auth_clients: maybe\n", "is not no, optional or yes"),
        (
            "  tls_cert: none\n  tls_key: b\n",
            "cannot be used: a certificate cannot be read from none",
        ),
        ("  server_tls: true\n", "'server_tls' needs 'server_tls_ca'"),
        ("  server_tls_ca: a\n", "'server_tls_ca' needs 'server_tls: true'"),
        ("  server_tls_name: a\n", "'server_tls_name' needs 'server_tls: true'"),
        (
            "  server_tls: true\n  server_tls_ca: none\n",
            "authorities (CA) cannot be read from none",
        ),
        (
            "  server_tls: true\n  server_tls_ca: a\n  server_tls_cert: b\n",
            "'server_tls_cert' needs 'server_tls_key'",
        ),
        ("  sentinel_tls: true\n", "'sentinel_tls' needs 'sentinels'"),
    ] {
        let text = pool(keys).expect_err(keys).to_string();
        assert!(text.contains(wanted), "{keys}: {text}");
    }
}
