//! What exporters read of INFO: as of one server, put together from several.

use std::collections::BTreeMap;

use redstart_tests::proxy_support::{Client, Proxy, Redis, eventually};

/// The fields of sections of INFO.
fn fields(client: &mut Client, sections: &str) -> BTreeMap<String, String> {
    let text = client.call(&format!("INFO {sections}"));
    let fields = text.lines().filter_map(|line| line.trim().split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What is counted of commands, less the time they took.
fn counts(client: &mut Client) -> BTreeMap<String, String> {
    let mut all = fields(client, "commandstats errorstats");
    for value in all.values_mut().filter(|value| value.starts_with("calls=")) {
        let parts: Vec<&str> = value.split(',').collect();
        let names: Vec<&str> =
            parts.iter().map(|part| part.split('=').next().unwrap_or("")).collect();
        assert_eq!(names, ["calls", "usec", "usec_per_call", "rejected_calls", "failed_calls"]);
        *value = [parts[0], parts[3], parts[4]].join(",");
    }
    all
}

#[test]
fn commands_and_errors_are_counted_as_by_one_server() {
    let (alone, behind) = (Redis::start(), Redis::start());
    let proxy = Proxy::start("", &[behind.port]);
    let (mut direct, mut client) = (alone.client(), proxy.client());
    for client in [&mut direct, &mut client] {
        for request in [
            "SET a 1",
            "GET a",
            "GET none",
            "GET",
            "LPUSH a x",
            "LPUSH a y",
            "INCR a",
            "NONSENSE",
            "NONSENSE at all",
            "HSET h f",
            "CONFIG GET appendonly",
            "CONFIG GET",
            "CLIENT NONSENSE",
            "ECHO x",
            "SELECT 99",
            "SELECT x",
            "MGET a none",
            "DEL a b",
        ] {
            client.call(request);
        }
        client.send(&["EVAL", "return redis.error_reply('MYERR for me')", "0"]);
        assert_eq!(client.receive(), "-MYERR for me\r\n");
        client.send_raw(b"PING\r\nPING\r\nGET\r\nSET b 1\r\nPING\r\n");
        let replies: Vec<String> = (0..5).map(|_| client.receive()).collect();
        assert!(replies[2].starts_with("-ERR") && replies[4] == "+PONG\r\n");
    }
    // INFO counts itself, and the harness has looked whether they listen.
    let of = |client: &mut Client| {
        let mut counts = counts(client);
        counts.retain(|name, _| name != "cmdstat_info" && name != "cmdstat_command");
        counts
    };
    assert_eq!(of(&mut client), of(&mut direct));
    let latencies = fields(&mut client, "latencystats");
    let get = &latencies["latency_percentiles_usec_get"];
    assert!(get.starts_with("p50=") && get.contains(",p99=") && get.contains(",p99.9="), "{get}");
    let stats = fields(&mut client, "stats");
    let errors: u64 = counts(&mut client)
        .iter()
        .filter(|(name, _)| name.starts_with("errorstat_"))
        .map(|(_, count)| count.trim_start_matches("count=").parse::<u64>().expect("a number"))
        .sum();
    assert_eq!(stats["total_error_replies"], errors.to_string());
    // Sections come by name as they do from a server, and those that cost much only so.
    let text = client.call("INFO");
    let titles: Vec<&str> =
        text.lines().filter_map(|line| line.trim().strip_prefix("# ")).collect();
    let text = direct.call("INFO");
    let wanted: Vec<&str> =
        text.lines().filter_map(|line| line.trim().strip_prefix("# ")).collect();
    assert_eq!(titles[..wanted.len()], wanted);
    assert_eq!(titles[wanted.len()..], ["Pool", "Servers"]);
}

#[test]
fn what_only_servers_know_is_summed_up() {
    let options = ["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"];
    let servers: Vec<Redis> = (0..3)
        .map(|_| Redis::start_on(redstart_tests::proxy_support::free_port(), &options))
        .collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let proxy = Proxy::start("", &ports);
    let mut client = proxy.client();
    for number in 0..100 {
        client.call(&format!("SET key:{number} v"));
        client.call(&format!("GET key:{number}"));
        client.call(&format!("GET none:{number}"));
        client.call(&format!("SET short:{number} v PX 1"));
    }
    eventually("what was to live for a moment has gone", || client.call("DBSIZE") == ":100\r\n");
    let sum = |name: &str, section: &str| -> u64 {
        let of = |server: &Redis| {
            fields(&mut server.client(), section)[name].parse::<u64>().expect("a number")
        };
        servers.iter().map(of).sum()
    };
    // A second later the servers are asked anew.
    eventually("all is summed up", || {
        let stats = fields(&mut client, "stats");
        stats["expired_keys"] == "100"
            && stats["keyspace_hits"] == "100"
            && stats["keyspace_misses"] == "100"
    });
    assert_eq!(sum("keyspace_hits", "stats"), 100);
    let all = fields(&mut client, "everything");
    assert_eq!(
        (all["maxmemory"].as_str(), all["maxmemory_human"].as_str()),
        ("157286400", "150.00M")
    );
    assert_eq!(all["maxmemory_policy"], "allkeys-lru");
    let used: u64 = all["used_memory"].parse().expect("a number");
    let now = sum("used_memory", "memory");
    assert!(used.abs_diff(now) < now / 4, "{used} is not about {now}");
    assert!(all["redstart_memory_rss"].parse::<u64>().expect("a number") > 1 << 20);
    assert!(all["db0"].starts_with("keys=100,expires=0,"));
    assert_eq!((all["rdb_last_bgsave_status"].as_str(), all["aof_enabled"].as_str()), ("ok", "0"));
    assert!(all["os"].starts_with("Linux ") && all["run_id"].len() == 40);
    assert_eq!(servers[1].client().call("CONFIG SET maxmemory-policy noeviction"), "+OK\r\n");
    eventually("they do not say the same", || {
        fields(&mut client, "memory")["maxmemory_policy"] == "mixed"
    });
    // The last word of a server that is lost counts on, so that no counter falls.
    for server in servers {
        server.kill();
    }
    let stats = fields(&mut client, "stats");
    assert_eq!(stats["keyspace_hits"], "100");
    eventually("they are asked in vain", || fields(&mut client, "stats")["keyspace_hits"] == "100");
}
