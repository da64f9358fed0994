//! Groups watched by real sentinels: two groups, one port, and primaries that die, stop and come back under load.

use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, Instant};

use redstart_tests::proxy_support::{
    Client, Folder, Listening, Redis, eventually, free_port, proxy_binary, within,
};

use redstart_tests::server_support::server_binary;

use crate::load::{PATIENCE, Seen, is_of_a_write_in_flight, under_load};

const GROUPS: [&str; 2] = ["ooxx", "xxoo"];
/// After this many milliseconds sentinels take a server to be down.
const DOWN_AFTER_MS: u64 = 1000;

/// Two groups of a primary and a replica, and three sentinels.
struct Cluster {
    servers: HashMap<u16, Redis>,
    /// The ports of each group, the primary's first.
    groups: [[u16; 2]; 2],
    sentinels: Vec<Listening>,
}

impl Cluster {
    fn start() -> Self {
        Self::start_with(&[], "")
    }

    fn start_with(options: &[&str], sentinel_options: &str) -> Self {
        let mut servers = HashMap::new();
        let groups = GROUPS.map(|_| {
            let (primary, replica) = (free_port(), free_port());
            let fast = [&["--repl-diskless-sync-delay", "0"], options].concat();
            servers.insert(primary, Redis::start_on(primary, &fast));
            let text = primary.to_string();
            let follow = [&fast[..], &["--replicaof", "127.0.0.1", &text]].concat();
            servers.insert(replica, Redis::start_on(replica, &follow));
            [primary, replica]
        });
        let sentinels =
            (0..3).map(|number| sentinel(&groups, sentinel_options, number == 0)).collect();
        let cluster = Self { servers, groups, sentinels };
        for sentinel in &cluster.sentinels {
            let mut client = sentinel.client();
            if sentinel_options.contains("requirepass") {
                assert_eq!(client.call("AUTH watcher"), "+OK\r\n");
            }
            for group in GROUPS {
                let knows_all = within(PATIENCE, || {
                    let facts = client.call(&format!("SENTINEL MASTER {group}"));
                    let fact = |name: &str| {
                        let mut lines = facts.lines().skip_while(|line| *line != name);
                        lines.nth(2).unwrap_or_default().to_owned()
                    };
                    fact("num-slaves") == "1" && fact("num-other-sentinels") == "2"
                });
                assert!(knows_all, "sentinels find replicas and each other");
            }
        }
        cluster
    }

    fn server(&self, port: u16) -> &Redis {
        &self.servers[&port]
    }

    /// Waits until a sentinel tells another primary than `before`, and says when that was, and which.
    fn switched(&self, group: &str, before: u16) -> (Instant, u16) {
        let mut clients: Vec<Client> = self.sentinels.iter().map(|it| it.client()).collect();
        let question = format!("SENTINEL GET-MASTER-ADDR-BY-NAME {group}");
        let mut now = before;
        let has = within(PATIENCE, || {
            for client in &mut clients {
                let reply = client.call(&question);
                let port = reply.lines().nth(4).and_then(|port| port.parse().ok());
                now = port.unwrap_or(before);
                if now != before {
                    return true;
                }
            }
            false
        });
        assert!(has, "the sentinels choose another primary");
        (Instant::now(), now)
    }
}

/// A sentinel, of ours or the original's: both kinds are in one group here.
fn sentinel(groups: &[[u16; 2]; 2], options: &str, is_ours: bool) -> Listening {
    let (port, folder) = (free_port(), Folder::new());
    let mut text =
        format!("port {port}\nbind 127.0.0.1\ndir {}\n{options}", folder.path().display());
    for (name, ports) in GROUPS.iter().zip(groups) {
        text += &format!(
            "sentinel monitor {name} 127.0.0.1 {} 2\nsentinel down-after-milliseconds {name} {DOWN_AFTER_MS}\n\
             sentinel failover-timeout {name} 6000\n",
            ports[0]
        );
        if options.contains("requirepass") {
            text += &format!("sentinel auth-pass {name} secret\n");
        }
    }
    let file = folder.join("sentinel.conf");
    std::fs::write(&file, text).expect("written");
    let mut command =
        if is_ours { Command::new(server_binary()) } else { Command::new("redis-server") };
    command.arg(file).arg("--sentinel");
    Listening::start(command, port, folder)
}

fn proxy(sentinels: &[u16], keys: &str) -> Listening {
    let (port, folder) = (free_port(), Folder::new());
    let mut text = format!(
        "pair:\n  listen: 127.0.0.1:{port}\n  hash: crc16\n  hash_tag: \"{{}}\"\n  distribution: modula\n  groups: [ooxx, xxoo]\n{keys}  sentinels:\n"
    );
    for sentinel in sentinels {
        text += &format!("    - 127.0.0.1:{sentinel}\n");
    }
    let file = folder.join("proxy.yml");
    std::fs::write(&file, text).expect("written");
    let mut command = Command::new(proxy_binary());
    command.arg("-c").arg(file).args(["--workers", "2", "-s", "0"]);
    Listening::start(command, port, folder)
}

#[test]
fn two_groups_are_one_endpoint() {
    let cluster = Cluster::start();
    // One sentinel is named; it tells of the others.
    let proxy = proxy(&[cluster.sentinels[0].port], "");
    let mut client = proxy.client();
    client.play(
        "> SET k1 v1
         < +OK
         > SET k2 v2
         < +OK
         > SET {oo}k1 v3
         < +OK
         > SET {oo}k2 v4
         < +OK
         > MGET k1 k2 {oo}k1 {oo}k2
         < *4
         < $2
         < v1
         < $2
         < v2
         < $2
         < v3
         < $2
         < v4
         > MULTI
         < +OK
         > GET k1
         < +QUEUED
         > GET k2
         < -CROSSSLOT Keys in request don't hash to the same slot
         > EXEC
         < -EXECABORT Transaction discarded because of previous errors.
         > MULTI
         < +OK
         > INCR {oo}n
         < +QUEUED
         > GET {oo}k2
         < +QUEUED
         > EXEC
         < *2
         < :1
         < $2
         < v4",
    );
    client.play(
        "> WATCH k1 k2
         < -CROSSSLOT Keys in request don't hash to the same slot
         > WATCH {oo}k2
         < +OK
         > MULTI
         < +OK
         > GET k1
         < -CROSSSLOT Keys in request don't hash to the same slot
         > EXEC
         < -EXECABORT Transaction discarded because of previous errors.
         > WATCH {oo}k2
         < +OK
         > MULTI
         < +OK
         > GET {oo}k2
         < +QUEUED
         > EXEC
         < *1
         < $2
         < v4",
    );
    let keys = |port: u16| {
        let mut direct = cluster.server(port).client();
        let mut keys: Vec<String> = direct
            .call("KEYS *k*")
            .lines()
            .filter(|line| !line.starts_with(['*', '$']))
            .map(str::to_owned)
            .collect();
        keys.sort();
        keys
    };
    let [ooxx, xxoo] = cluster.groups.map(|ports| ports[0]);
    assert_eq!(keys(ooxx), ["k1"]);
    assert_eq!(keys(xxoo), ["k2", "{oo}k1", "{oo}k2"]);
    eventually("INFO names all servers", || {
        let info = client.call("INFO servers");
        cluster.groups.iter().zip(GROUPS).all(|(ports, group)| {
            let has = |port: u16, role: &str| {
                let name = format!("name=127.0.0.1:{port},");
                let facts = format!("role={role},group={group},");
                info.lines().any(|line| {
                    line.contains(&name) && line.contains(&facts) && line.contains("state=live")
                })
            };
            has(ports[0], "primary") && has(ports[1], "replica")
        })
    });
    eventually("the other sentinels are learnt", || {
        cluster.sentinels[1..]
            .iter()
            .all(|it| proxy.log().contains(&format!("sentinel 127.0.0.1:{}", it.port)))
    });
}

/// What was acknowledged after the switch is there, on the server that is the primary now.
fn nothing_is_lost_after(switch: Instant, seen: &[Seen], proxy: &Listening) {
    let mut client = proxy.client();
    for (number, seen) in seen.iter().enumerate() {
        for (place, (n, at)) in seen.acknowledged.iter().enumerate() {
            if *at > switch {
                let key = format!("load{number}:{place}");
                let reply = client.call(&format!("GET {key}"));
                let has = reply.lines().nth(1).and_then(|value| value.split_once('='));
                let has: u64 = has.and_then(|(_, n)| n.parse().ok()).unwrap_or(0);
                assert!(has >= *n, "{key}: {n} was acknowledged, {has} is there");
            }
        }
    }
}

#[test]
fn a_killed_primary_costs_a_short_wait() {
    let mut cluster = Cluster::start();
    let ports: Vec<u16> = cluster.sentinels.iter().map(|it| it.port).collect();
    let proxy = proxy(&ports, "  failover_hold: 60000\n");
    let victim = cluster.groups[1][0];
    let mut times = None;
    let seen = under_load(&proxy, |wait_for_more| {
        let killed = Instant::now();
        drop(cluster.servers.remove(&victim));
        let (switched, new) = cluster.switched("xxoo", victim);
        assert_eq!(new, cluster.groups[1][1]);
        times = Some((killed, switched));
        wait_for_more(5000);
    });
    let (killed, switched) = times.expect("it was switched");
    let detection = switched - killed;
    for seen in &seen {
        assert!(
            seen.longest_gap <= detection + Duration::from_secs(1),
            "{:?} with {detection:?}",
            seen.longest_gap
        );
        // Each client has one request under way.
        assert!(seen.errors.len() <= 1, "{:?}", seen.errors);
        assert!(
            seen.errors.iter().all(|error| is_of_a_write_in_flight(error)),
            "{:?}",
            seen.errors
        );
    }
    nothing_is_lost_after(switched + Duration::from_secs(1), &seen, &proxy);
    let info = proxy.client().call("INFO pool");
    assert!(info.contains("failovers:1\r\n"), "{info}");
}

#[test]
fn a_stopped_primary_that_comes_back_takes_no_write() {
    let cluster = Cluster::start();
    let ports: Vec<u16> = cluster.sentinels.iter().map(|it| it.port).collect();
    let proxy = proxy(&ports, "  failover_hold: 60000\n");
    let victim = cluster.groups[0][0];
    let mut switch = None;
    let seen = under_load(&proxy, |wait_for_more| {
        cluster.server(victim).signal(libc::SIGSTOP);
        let (switched, new) = cluster.switched("ooxx", victim);
        assert_eq!(new, cluster.groups[0][1]);
        switch = Some(switched);
        wait_for_more(3000);
        cluster.server(victim).signal(libc::SIGCONT);
        // The sentinels end its clients' connections when they turn it into a replica.
        let follows = within(PATIENCE, || {
            let mut back = cluster.server(victim).client();
            back.send(&["INFO", "replication"]);
            let info = back.try_receive().unwrap_or_default();
            String::from_utf8_lossy(&info).contains("master_link_status:up")
        });
        assert!(follows, "it follows the new primary");
        wait_for_more(3000);
    });
    for seen in &seen {
        assert!(seen.errors.len() <= 1, "{:?}", seen.errors);
        assert!(
            seen.errors.iter().all(|error| is_of_a_write_in_flight(error)),
            "{:?}",
            seen.errors
        );
    }
    nothing_is_lost_after(switch.expect("it was switched") + Duration::from_secs(1), &seen, &proxy);
}

#[test]
fn reads_go_to_the_replicas_of_the_groups() {
    let cluster = Cluster::start();
    let ports: Vec<u16> = cluster.sentinels.iter().map(|it| it.port).collect();
    let proxy = proxy(&ports, "  read_from: replica_preferred\n");
    let mut client = proxy.client();
    for (key, [_, replica]) in [("k1", cluster.groups[0]), ("k2", cluster.groups[1])] {
        assert_eq!(client.call(&format!("SET {key} v")), "+OK\r\n");
        let mut direct = cluster.server(replica).client();
        eventually("the replica has it", || direct.call(&format!("GET {key}")) == "$1\r\nv\r\n");
        let count = |direct: &mut Client| {
            let info = direct.call("INFO commandstats");
            let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls="));
            line.and_then(|line| line.split(',').next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        let before = count(&mut direct);
        eventually("it is read from", || {
            assert_eq!(client.call(&format!("GET {key}")), "$1\r\nv\r\n");
            count(&mut direct) > before
        });
    }
}

#[test]
fn passwords_and_users_are_told_apart() {
    let options = [
        "--requirepass",
        "secret",
        "--masterauth",
        "secret",
        "--user",
        "app",
        "on",
        ">pass",
        "~*",
        "&*",
        "+@all",
    ];
    let cluster =
        Cluster::start_with(&options, "requirepass watcher\nsentinel sentinel-pass watcher\n");
    let ports: Vec<u16> = cluster.sentinels.iter().map(|it| it.port).collect();
    let keys = "  redis_auth: front\n  server_user: app\n  server_password: pass\n  sentinel_password: watcher\n";
    let proxy = proxy(&ports, keys);
    let mut client = proxy.client();
    assert_eq!(client.call("GET k1"), "-NOAUTH Authentication required.\r\n");
    assert_eq!(client.call("AUTH front"), "+OK\r\n");
    assert_eq!(client.call("SET k1 v"), "+OK\r\n");
    assert_eq!(client.call("SET k2 v"), "+OK\r\n");
    let mut direct = cluster.server(cluster.groups[0][0]).client();
    assert_eq!(direct.call("AUTH secret"), "+OK\r\n");
    assert!(direct.call("CLIENT LIST").contains("user=app"));
}
