//! The keys of a configuration file, a row each: name, default and what it does.

/// A key of a section.
#[derive(Debug)]
pub struct Row {
    /// As written in the file.
    pub name: &'static str,
    /// What holds when it is absent; `required` when there is no default.
    pub default: &'static str,
    /// What it does, in a sentence.
    pub doc: &'static str,
}

const fn row(name: &'static str, default: &'static str, doc: &'static str) -> Row {
    Row { name, default, doc }
}

/// The keys of the `global` section.
pub const GLOBAL: &[Row] = &[
    row(
        "workers",
        "one per core",
        "Worker threads; each has its own clients and its own connections to servers.",
    ),
    row("metrics", "off", "host:port where Prometheus scrapes /metrics, or off."),
    row("stats_addr", "0.0.0.0", "Address of the JSON statistics; -a wins."),
    row("stats_port", "22222", "Port of the JSON statistics, 0 for none; -s wins."),
    row(
        "stats_interval",
        "30000",
        "Milliseconds between two refreshes of the JSON statistics; -i wins.",
    ),
    row("log_file", "standard output", "Where log lines go; -o wins."),
    row("log_level", "5", "0 (least) to 11 (most); -v wins."),
    row("pid_file", "none", "Where the process id is written; -p wins."),
    row(
        "client_output_limit",
        "256mb",
        "Reply bytes a client may leave unread before it is dropped.",
    ),
    row(
        "subscriber_output_limit",
        "32mb",
        "Bytes of published messages a client may leave unread before it is dropped.",
    ),
    row(
        "client_in_flight_limit",
        "4096",
        "Requests of a client in flight before the proxy stops reading from it.",
    ),
    row(
        "backend_queue_limit",
        "256mb",
        "Request bytes waiting for one server connection before more are refused.",
    ),
    row(
        "coalesce",
        "50",
        "Microseconds a worker rests at the end of a turn when 16 clients or more are active, so that requests gather; 0 is never. The kernel's timer slack, 50 on Linux, comes on top: the default rest lasts about 110. With more than four requests (or keys of split requests) at once, on average, it lasts longer in proportion, at most four times.",
    ),
    row("proto_max_bulk_len", "512mb", "Largest argument of a request."),
];

/// The keys of a pool.
pub const POOL: &[Row] = &[
    row("listen", "required", "host:port, or /path and optional octal mode."),
    row(
        "hash",
        "fnv1a_64",
        "Hash of a key: one_at_a_time md5 crc16 crc32 crc32a fnv1_64 fnv1a_64 fnv1_32 fnv1a_32 hsieh murmur jenkins, atol, crc16_twemproxy, crc16_predixy.",
    ),
    row(
        "char_sign",
        "signed",
        "How byte-wise hashes read bytes from 0x80 on: signed as on x86, unsigned as on arm.",
    ),
    row(
        "server_order",
        "sorted",
        "How servers are numbered: sorted by name as twemproxy does, or file as predixy does.",
    ),
    row(
        "hash_tag",
        "none",
        "Two characters; the part of a key between them is hashed instead of the whole.",
    ),
    row("distribution", "ketama", "ketama, modula or random."),
    row("timeout", "wait for ever", "Milliseconds a request may wait for its reply."),
    row("backlog", "512", "Length of the queue of connections not yet accepted."),
    row("client_connections", "0", "Most clients at a time; 0 is no limit."),
    row("tcpkeepalive", "false", "TCP keepalive on accepted connections."),
    row("reuseport", "false", "A listener per worker, connections spread by the kernel."),
    row("preconnect", "false", "Connect to the servers at start."),
    row(
        "redis",
        "false",
        "Must be true, which sentinels and cluster imply: the protocol spoken is Redis's.",
    ),
    row(
        "redis_auth",
        "none",
        "Password that clients must give; servers are given it too, unless server_password is set.",
    ),
    row("server_user", "none", "ACL user towards the servers; needs server_password."),
    row("server_password", "none", "Password towards the servers."),
    row(
        "databases",
        "1",
        "Databases that clients may SELECT; each has connections of its own to the servers, opened when it is used.",
    ),
    row(
        "redis_db",
        "0",
        "Database selected on the servers; it does not go with several databases.",
    ),
    row(
        "server_connections",
        "1",
        "Connections per worker and server; a client keeps to one of them.",
    ),
    row(
        "heavy_connections",
        "2",
        "Most connections per worker and server that requests whose replies are large (256 KB) or take long (5 ms) go on, so that others do not wait behind them; opened when they are needed. 0 sends all on the same.",
    ),
    row(
        "private_connections",
        "512",
        "Most connections per worker and server that serve one client at a time: one for each client that waits (BLPOP …) or watches keys; 0 refuses both.",
    ),
    row(
        "cross_server",
        "refuse",
        "What becomes of a request that is not cut by key and whose keys lie on several servers: refuse (CROSSSLOT), or first_key, which sends it to the server of the first, as nutcracker does; so it does a transaction.",
    ),
    row(
        "subscribe_everywhere",
        "false",
        "Subscribe to channels at every server, rather than where their names lie: for what scripts, transactions or clients of the servers publish.",
    ),
    row(
        "read_fallback",
        "0",
        "Servers of the ring (ketama) that are asked, one after the other, where a read of one key misses (GET, HGETALL, SMEMBERS, TTL …); what is found is stored where the key belongs, with the time it has left.",
    ),
    row(
        "auto_eject_hosts",
        "false",
        "A server that fails server_failure_limit times in a row leaves the distribution: nutcracker's word for on_server_down: eject.",
    ),
    row(
        "on_server_down",
        "try the server",
        "What becomes of the keys of a fixed server that fails server_failure_limit times in a row, until it is well: eject (all keys are spread over the others), fail (they stay, and requests for them are refused at once), or next (the next server has them; no other keys move).",
    ),
    row(
        "server_retry_timeout",
        "30000, 20 with on_server_down: fail",
        "Milliseconds before a server that is down is probed; it returns once it answers and has loaded its data.",
    ),
    row("server_failure_limit", "2", "Failures in a row before a server is taken to be down."),
    row(
        "failover_hold",
        "0, 5000 with sentinels or cluster",
        "Milliseconds that requests wait for a server that is away or being replaced, rather than being refused at once.",
    ),
    row(
        "on_lost_request",
        "error",
        "What a client gets whose write may have run on a server that was lost before it answered: error (in the place of the reply), or close (its connection ends behind the replies before it, as it would have without a proxy; libraries then connect again by their own rules).",
    ),
    row(
        "read_from",
        "master",
        "Where reads go, with sentinels or cluster: master, master_preferred (a replica while it is away), replica (only), replica_preferred (the primary while there is none), any, or nearest (whichever answers soonest).",
    ),
    row(
        "max_lag",
        "however far",
        "Replicas further behind are not read from: bytes of changes, such as 10mb, or seconds since they heard their primary, such as 5s.",
    ),
    row(
        "master_read_priority",
        "50",
        "With replica_read_priority, in place of read_from: how much primaries are preferred for reads, 0 (never) to 100.",
    ),
    row(
        "replica_read_priority",
        "0",
        "The same for replicas. The highest priority is read from; among equals whoever owes the fewest replies.",
    ),
    row(
        "max_load",
        "however much",
        "Replicas that owe more are read from only if all do: replies on a worker's connection, such as 500, or the time that the oldest has been waited for, such as 20ms.",
    ),
    row("local_dc", "none", "The one of data_centers that the proxy is in."),
    row(
        "data_centers",
        "none",
        "Mapping of names to prefixes, a list of what addresses there begin with, and reads, a mapping of data centers to priority or priority:weight: where reads of a proxy in that data center go. Priority 0, or none, is never; the highest counts before that of roles, equals share by weight.",
    ),
    row(
        "hedge_after",
        "never",
        "Milliseconds after which a read that is not answered is sent to another server that may serve it as well; the first answer counts.",
    ),
    row("hedge_budget", "5%", "Reads of a hundred for which that may be done."),
    row(
        "read_after_write",
        "0",
        "Milliseconds after a client has sent a write during which it reads from the primary of that shard.",
    ),
    row(
        "servers",
        "required without sentinels or cluster",
        "List of host:port:weight [name] or /path:weight [name]; or of mappings with that as server, and server_user and server_password of its own.",
    ),
    row(
        "sentinels",
        "none",
        "List of host:port of sentinels, which tell the servers; others are learnt from them. It goes with groups, not with servers.",
    ),
    row(
        "groups",
        "required with sentinels",
        "List of the sentinels' names of primaries, as name or name: weight, in the order that the distribution goes by; or all.",
    ),
    row(
        "cluster",
        "none",
        "List of host:port of nodes of a Redis Cluster, which are asked first; others are learnt from them. Servers, hash, distribution, server_order, auto_eject_hosts, on_server_down, databases and redis_db do not go with it.",
    ),
    row("sentinel_user", "none", "ACL user towards the sentinels; needs sentinel_password."),
    row("sentinel_password", "none", "Password towards the sentinels."),
    row(
        "tls_cert",
        "none",
        "Certificate in PEM, those that vouch for it behind it: with it clients connect by TLS; needs tls_key.",
    ),
    row("tls_key", "none", "Its private key in PEM, not encrypted."),
    row(
        "tls_ca",
        "none",
        "Authorities that vouch for clients: a file in PEM or a folder of them; needs tls_auth_clients.",
    ),
    row(
        "tls_auth_clients",
        "no",
        "Whether clients must show a certificate of tls_ca: no, optional (one that is shown must be good) or yes.",
    ),
    row(
        "server_tls",
        "false",
        "Whether servers with a host and port are spoken to by TLS; needs server_tls_ca.",
    ),
    row(
        "server_tls_ca",
        "none",
        "Authorities that vouch for servers and sentinels: a file in PEM or a folder of them.",
    ),
    row(
        "server_tls_cert",
        "none",
        "Certificate in PEM that is shown to servers and sentinels which ask; needs server_tls_key.",
    ),
    row("server_tls_key", "none", "Its private key in PEM, not encrypted."),
    row(
        "server_tls_name",
        "none",
        "Name or address that the certificates of servers and sentinels must be for; without it any of server_tls_ca is taken, as between servers of Redis.",
    ),
    row("sentinel_tls", "false", "Whether sentinels are spoken to by TLS; needs server_tls_ca."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_listed_twice_and_each_is_explained() {
        for rows in [GLOBAL, POOL] {
            for (place, row) in rows.iter().enumerate() {
                assert!(row.doc.ends_with('.'), "{}", row.name);
                assert!(rows[..place].iter().all(|other| other.name != row.name), "{}", row.name);
            }
        }
    }
}
