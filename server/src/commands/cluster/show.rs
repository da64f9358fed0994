//! The sub-commands of CLUSTER that show something.

use std::fmt::Write;

use redstart_common::resp::Args;
use redstart_common::slot::{SLOT_COUNT, key_slot};

use super::{cluster, node};
use crate::client::Reply;
use crate::cluster::moves::Move;
use crate::cluster::packet::Kind;
use crate::cluster::{Came, Cluster, Endpoint, Handle, Node};
use crate::commands::options::{Options, integer};
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult, SYNTAX};

/// `CLUSTER NODES`
pub fn nodes(call: &mut Call<'_>) -> CommandResult {
    cluster(call)?;
    let wall_ahead_ms = call.core.wall_ahead_ms();
    let came = call.client.came();
    let text = cluster(call)?.describe(wall_ahead_ms, came);
    call.client.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// `CLUSTER MYID`
pub fn myid(call: &mut Call<'_>) -> CommandResult {
    let name = cluster(call)?.myself().name;
    call.client.reply.bulk(name.as_bytes());
    Ok(())
}

/// `CLUSTER MYSHARDID`, of Redis 7.2
pub fn myshardid(call: &mut Call<'_>) -> CommandResult {
    let cluster = cluster(call)?;
    let name = cluster.shard_of(cluster.myself());
    call.client.reply.bulk(name.as_bytes());
    Ok(())
}

/// `CLUSTER KEYSLOT key`
pub fn keyslot(call: &mut Call<'_>) -> CommandResult {
    cluster(call)?;
    call.client.reply.count(usize::from(key_slot(call.args.at(2))));
    Ok(())
}

/// `CLUSTER COUNTKEYSINSLOT slot`
pub fn countkeysinslot(call: &mut Call<'_>) -> CommandResult {
    cluster(call)?;
    let number = integer(call.args.at(2))?;
    let slot = slot_of(number).ok_or(CommandError::new("ERR Invalid slot"))?;
    call.client.reply.count(call.keyspace.dbs[0].slot_len(slot));
    Ok(())
}

/// What CLUSTER SLOT-STATS can order slots by. All but the first are counted only where `cluster-slot-stats-enabled` says so.
const METRICS: [&str; 4] = ["key-count", "cpu-usec", "network-bytes-in", "network-bytes-out"];

/// `CLUSTER SLOT-STATS SLOTSRANGE start end | ORDERBY metric [LIMIT count] [ASC | DESC]`, of Valkey 8.0 and Redis 8.2: how many
/// keys each slot of this shard has, and what it costs.
pub fn slot_stats(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let cluster = cluster(call)?;
    let myself = cluster.myself();
    let owner = myself.primary.and_then(|primary| cluster.at(primary)).unwrap_or(myself);
    let is = |place: usize, name: &str| {
        args.get(place).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    let keys = &call.keyspace.dbs[0];
    let costs = call.core.slot_costs.as_ref();
    let figures = |slot: u16| {
        let cost = costs.map(|costs| costs.of(slot)).unwrap_or_default();
        [keys.slot_len(slot) as u64, cost.us, cost.bytes_in, cost.bytes_out]
    };
    let known = if costs.is_some() { METRICS.len() } else { 1 };
    let counted = |slot: u16| (slot, figures(slot));
    let shown: Vec<(u16, [u64; 4])> = if is(2, "SLOTSRANGE") && args.len() == 5 {
        let (first, last) = (super::slot(args.at(3))?, super::slot(args.at(4))?);
        if first > last {
            return Err(CommandError::made(format!(
                "ERR Start slot number {first} is greater than end slot number {last}"
            )));
        }
        let range = first..=last;
        owner.slots.iter().filter(|slot| range.contains(slot)).map(counted).collect()
    } else if is(2, "ORDERBY") && args.len() >= 4 {
        let metric = METRICS[..known].iter().position(|metric| is(3, metric));
        let unknown = CommandError::new("ERR Unrecognized sort metric for ORDERBY.");
        let metric = metric.ok_or(unknown)?;
        let (limit, ascends) = slot_order(args)?;
        let mut all: Vec<(u16, [u64; 4])> = owner.slots.iter().map(counted).collect();
        // Those with the same figure stay in their order.
        match ascends {
            true => all.sort_by_key(|(_, figures)| figures[metric]),
            false => all.sort_by_key(|(_, figures)| std::cmp::Reverse(figures[metric])),
        }
        all.truncate(limit);
        all
    } else {
        let before = "ERR unknown subcommand or wrong number of arguments for '";
        return Err(CommandError::about(before, args.at(1), "'. Try CLUSTER HELP."));
    };
    let reply = &mut call.client.reply;
    reply.array(shown.len());
    for (slot, figures) in shown {
        reply.array(2);
        reply.count(usize::from(slot));
        reply.map(known);
        for (metric, figure) in METRICS.iter().zip(figures).take(known) {
            reply.bulk(metric.as_bytes());
            reply.integer(figure as i64);
        }
    }
    Ok(())
}

/// `[LIMIT count] [ASC | DESC]`: how many, and whether the least come first.
fn slot_order(args: Args<'_>) -> Result<(usize, bool), CommandError> {
    let (mut limit, mut ascends) = (None, None);
    let mut options = Options::new(args, 4);
    while let Some(word) = options.word() {
        if word.eq_ignore_ascii_case(b"LIMIT") && limit.is_none() && options.left() > 0 {
            let most = i64::from(SLOT_COUNT);
            let wrong = "ERR Limit has to lie in between 1 and 16384 (maximum number of slots).";
            let count = options.integer().ok().filter(|count| (1..=most).contains(count));
            limit = Some(count.ok_or(CommandError::new(wrong))? as usize);
        } else if word.eq_ignore_ascii_case(b"ASC") && ascends.is_none() {
            ascends = Some(true);
        } else if word.eq_ignore_ascii_case(b"DESC") && ascends.is_none() {
            ascends = Some(false);
        } else {
            return Err(SYNTAX);
        }
    }
    Ok((limit.unwrap_or(usize::from(SLOT_COUNT)), ascends.unwrap_or(false)))
}

fn slot_of(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|slot| *slot < SLOT_COUNT)
}

/// `CLUSTER GETKEYSINSLOT slot count`
pub fn getkeysinslot(call: &mut Call<'_>) -> CommandResult {
    cluster(call)?;
    let (number, count) = (integer(call.args.at(2))?, integer(call.args.at(3))?);
    let wrong = CommandError::new("ERR Invalid slot or number of keys");
    let (Some(slot), Ok(count)) = (slot_of(number), usize::try_from(count)) else {
        return Err(wrong);
    };
    let open = call.client.reply.begin();
    let (reply, mut shown) = (&mut call.client.reply, 0);
    call.keyspace.dbs[0].keys_in_slot(slot, count, |key| {
        reply.bulk(key);
        shown += 1;
    });
    reply.end_array(open, shown);
    Ok(())
}

/// `CLUSTER COUNT-FAILURE-REPORTS node-id`
pub fn count_failure_reports(call: &mut Call<'_>) -> CommandResult {
    let node = node(call, 2)?;
    let count = call
        .core
        .cluster_step(call.keyspace, None, |cluster, turn| cluster.count_reports(node, turn.now_ms))
        .unwrap_or(0);
    call.client.reply.count(count);
    Ok(())
}

/// `CLUSTER REPLICAS node-id`, `CLUSTER SLAVES node-id`
pub fn replicas(call: &mut Call<'_>) -> CommandResult {
    let primary = node(call, 2)?;
    let came = call.client.came();
    let wall_ahead_ms = call.core.wall_ahead_ms();
    let cluster = cluster(call)?;
    let Some(primary) = cluster.at(primary).filter(|node| !node.is_replica()) else {
        return Err(CommandError::new("ERR The specified node is not a master"));
    };
    let lines: Vec<String> = primary
        .replicas
        .iter()
        .map(|replica| cluster.describe_node(*replica, wall_ahead_ms, came))
        .collect();
    let reply = &mut call.client.reply;
    reply.array(lines.len());
    lines.iter().for_each(|line| reply.bulk(line.as_bytes()));
    Ok(())
}

/// `CLUSTER INFO`
pub fn info(call: &mut Call<'_>) -> CommandResult {
    let text = info_text(cluster(call)?);
    call.client.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

fn info_text(cluster: &Cluster) -> String {
    let (mut assigned, mut ok, mut maybe_failed, mut failed) = (0, 0, 0, 0);
    for owner in (0..SLOT_COUNT).filter_map(|slot| cluster.owner(slot)) {
        assigned += 1;
        if owner.has_failed() {
            failed += 1;
        } else if owner.may_have_failed() {
            maybe_failed += 1;
        } else {
            ok += 1;
        }
    }
    let myself = cluster.myself();
    let primary = myself.primary.filter(|_| myself.is_replica()).and_then(|it| cluster.at(it));
    let mut text = String::new();
    let mut field = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{name}:{value}\r\n");
    };
    field("cluster_state", &if cluster.is_up() { "ok" } else { "fail" });
    field("cluster_slots_assigned", &assigned);
    field("cluster_slots_ok", &ok);
    field("cluster_slots_pfail", &maybe_failed);
    field("cluster_slots_fail", &failed);
    field("cluster_known_nodes", &cluster.node_count());
    field("cluster_size", &cluster.size());
    field("cluster_current_epoch", &cluster.current_epoch());
    field("cluster_my_epoch", &primary.unwrap_or(myself).config_epoch);
    for (counts, way) in [(&cluster.stats.sent, "sent"), (&cluster.stats.received, "received")] {
        for ((_, kind), count) in Kind::NAMES.iter().zip(counts).filter(|(_, count)| **count > 0) {
            field(&format!("cluster_stats_messages_{kind}_{way}"), count);
        }
        field(&format!("cluster_stats_messages_{way}"), &counts.iter().sum::<u64>());
    }
    // While there is one, and not a line that Redis does not have otherwise.
    for (way, is_import) in [("export", false), ("import", true)] {
        let under_way = |it: &&Move| it.is_import == is_import && !it.state.is_over();
        let count = cluster.moves().iter().filter(under_way).count();
        if count > 0 {
            field(&format!("cluster_slot_migrations_{way}"), &count);
        }
    }
    field("total_cluster_links_buffer_limit_exceeded", &cluster.stats.links_over_limit);
    text
}

/// `CLUSTER LINKS`
pub fn links(call: &mut Call<'_>) -> CommandResult {
    cluster(call)?;
    let wall_ahead_ms = call.core.wall_ahead_ms();
    let Some(cluster) = call.core.cluster.as_deref() else { return Ok(()) };
    let reply = &mut call.client.reply;
    let of_nodes = || cluster.links().filter_map(|(_, link)| Some((link, cluster.at(link.node?)?)));
    reply.array(of_nodes().count());
    for (link, node) in of_nodes() {
        let (used, room) = link.waiting();
        reply.map(6);
        reply.bulk(b"direction");
        reply.bulk(if link.is_inbound { b"from" } else { b"to" });
        reply.bulk(b"node");
        reply.bulk(node.name.as_bytes());
        reply.bulk(b"create-time");
        reply.integer(link.created_ms + wall_ahead_ms);
        reply.bulk(b"events");
        reply.bulk(match (link.is_connected, used > 0) {
            (true, true) => b"rw",
            (true, false) => b"r",
            (false, true) => b"w",
            (false, false) => b"",
        });
        reply.bulk(b"send-buffer-allocated");
        reply.count(room);
        reply.bulk(b"send-buffer-used");
        reply.count(used);
    }
    Ok(())
}

/// Slots that follow each other and have one owner.
fn owned_ranges(cluster: &Cluster) -> Vec<(u16, u16, &Node)> {
    let mut ranges: Vec<(u16, u16, &Node)> = cluster
        .nodes()
        .flat_map(|node| node.slots.ranges().map(move |(first, last)| (first, last, node)))
        .collect();
    ranges.sort_unstable_by_key(|(first, ..)| *first);
    ranges
}

/// The place of a node in its stream, as far as it is known here: of this server it is known best.
fn place(node: &Node, own: i64) -> i64 {
    if node.is_myself() { own } else { node.offset }
}

/// `CLUSTER SLOTS`
pub fn slots(call: &mut Call<'_>) -> CommandResult {
    cluster(call)?;
    let own = call.core.replication.place();
    let came = call.client.came();
    let Some(cluster) = call.core.cluster.as_deref() else { return Ok(()) };
    let reply = &mut call.client.reply;
    let ranges = owned_ranges(cluster);
    reply.array(ranges.len());
    for (first, last, owner) in ranges {
        let serves = |replica: &&Node| !replica.has_failed() && place(replica, own) != 0;
        let replicas = owner.replicas.iter().filter_map(|replica| cluster.at(*replica));
        let replicas: Vec<&Node> = replicas.filter(serves).collect();
        reply.array(3 + replicas.len());
        reply.integer(i64::from(first));
        reply.integer(i64::from(last));
        reply_node(reply, cluster, owner, came);
        replicas.into_iter().for_each(|replica| reply_node(reply, cluster, replica, came));
    }
    Ok(())
}

/// A node as CLUSTER SLOTS has it: where clients find it, its name, and what else is known of where it is.
fn reply_node(reply: &mut Reply, cluster: &Cluster, node: &Node, came: Came) {
    let endpoint = cluster.options().endpoint;
    let (host, port) = cluster.endpoint(node, came);
    reply.array(4);
    match endpoint {
        Endpoint::Unknown => reply.null(),
        _ => reply.bulk(host.as_bytes()),
    }
    reply.integer(i64::from(port));
    reply.bulk(node.name.as_bytes());
    let ip = Some(("ip", node.client_ip(came.by_ipv6))).filter(|_| endpoint != Endpoint::Ip);
    let hostname = Some(("hostname", node.hostname()))
        .filter(|(_, name)| endpoint != Endpoint::Hostname && !name.is_empty());
    reply.map(ip.iter().chain(&hostname).count());
    for (name, value) in ip.into_iter().chain(hostname) {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
}

/// `CLUSTER SHARDS`
pub fn shards(call: &mut Call<'_>) -> CommandResult {
    cluster(call)?;
    let own = call.core.replication.place();
    let came = call.client.came();
    let Some(cluster) = call.core.cluster.as_deref() else { return Ok(()) };
    let reply = &mut call.client.reply;
    let primaries: Vec<&Node> = cluster.nodes().filter(|node| node.is_primary()).collect();
    reply.array(primaries.len());
    for primary in primaries {
        reply.map(2);
        reply.bulk(b"slots");
        reply.array(primary.slots.ranges().count() * 2);
        for (first, last) in primary.slots.ranges() {
            reply.integer(i64::from(first));
            reply.integer(i64::from(last));
        }
        reply.bulk(b"nodes");
        reply.array(1 + primary.replicas.len());
        reply_shard_node(reply, cluster, primary, own, came);
        let replicas = primary.replicas.iter().filter_map(|replica: &Handle| cluster.at(*replica));
        replicas.for_each(|replica| reply_shard_node(reply, cluster, replica, own, came));
    }
    Ok(())
}

fn reply_shard_node(reply: &mut Reply, cluster: &Cluster, node: &Node, own: i64, came: Came) {
    let offset = place(node, own);
    let is_named = !node.hostname().is_empty();
    let (endpoint, _) = cluster.endpoint(node, came);
    let health = if node.has_failed() {
        "fail"
    } else if node.is_replica() && offset == 0 {
        "loading"
    } else {
        "online"
    };
    let options = cluster.options();
    let (plain, by_tls) =
        if options.by_tls { (node.plain_port, node.port) } else { (node.port, 0) };
    let ports = [("port", plain), ("tls-port", by_tls)];
    let ports = ports.into_iter().filter(|(_, port)| *port != 0);
    reply.map(6 + ports.clone().count() + usize::from(is_named));
    let text = |reply: &mut Reply, name: &str, value: &str| {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    };
    text(reply, "id", node.name.as_str());
    for (name, port) in ports {
        reply.bulk(name.as_bytes());
        reply.integer(i64::from(port));
    }
    text(reply, "ip", node.client_ip(came.by_ipv6));
    text(reply, "endpoint", endpoint);
    if is_named {
        text(reply, "hostname", node.hostname());
    }
    text(reply, "role", if node.is_replica() { "replica" } else { "master" });
    reply.bulk(b"replication-offset");
    reply.integer(offset);
    text(reply, "health", health);
}

/// `CLUSTER HELP`
pub fn help(call: &mut Call<'_>) -> CommandResult {
    cluster(call)?;
    call.client.reply.help("CLUSTER", HELP);
    Ok(())
}

const HELP: &[&str] = &[
    "ADDSLOTS <slot> [<slot> ...]",
    "    Assign slots to current node.",
    "ADDSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
    "    Assign slots which are between <start-slot> and <end-slot> to current node.",
    "BUMPEPOCH",
    "    Advance the cluster config epoch.",
    "COUNT-FAILURE-REPORTS <node-id>",
    "    Return number of failure reports for <node-id>.",
    "COUNTKEYSINSLOT <slot>",
    "    Return the number of keys in <slot>.",
    "DELSLOTS <slot> [<slot> ...]",
    "    Delete slots information from current node.",
    "DELSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
    "    Delete slots information which are between <start-slot> and <end-slot> from current node.",
    "FAILOVER [FORCE|TAKEOVER]",
    "    Promote current replica node to being a master.",
    "FORGET <node-id>",
    "    Remove a node from the cluster.",
    "GETKEYSINSLOT <slot> <count>",
    "    Return key names stored by current node in a slot.",
    "FLUSHSLOTS",
    "    Delete current node own slots information.",
    "INFO",
    "    Return information about the cluster.",
    "KEYSLOT <key>",
    "    Return the hash slot for <key>.",
    "MEET <ip> <port> [<bus-port>]",
    "    Connect nodes into a working cluster.",
    "MYID",
    "    Return the node id.",
    "NODES",
    "    Return cluster configuration seen by node. Output format:",
    "    <id> <ip:port> <flags> <master> <pings> <pongs> <epoch> <link> <slot> ...",
    "REPLICATE (<node-id>|NO ONE)",
    "    Configure current node as replica to <node-id>, or turn it into an empty primary.",
    "RESET [HARD|SOFT]",
    "    Reset current node (default: soft).",
    "SET-CONFIG-EPOCH <epoch>",
    "    Set config epoch of current node.",
    "SETSLOT <slot> (IMPORTING <node-id>|MIGRATING <node-id>|STABLE|NODE <node-id>)",
    "    Set slot state.",
    "REPLICAS <node-id>",
    "    Return <node-id> replicas.",
    "SAVECONFIG",
    "    Force saving cluster configuration on disk.",
    "SLOTS",
    "    Return information about slots range mappings. Each range is made of:",
    "    start, end, master and replicas IP addresses, ports and ids",
    "SHARDS",
    "    Return information about slot range mappings and the nodes associated with them.",
    "LINKS",
    "    Return information about all network links between this node and its peers.",
    "    Output format is an array where each array element is a map containing attributes of a link",
];
