//! `CLUSTER` for clients that look for one: a single node, at the proxy's own address, that owns every slot.

use redstart_common::hash::{CharSign, HashKind};
use redstart_common::resp::encode::Proto;
use redstart_common::resp::{RespWrite, error};
use redstart_common::slot::{SLOT_COUNT, key_slot};

use crate::client::dispatch::refuse;
use crate::client::request::Request;
use crate::client::{ClientId, forward};
use crate::local::proto;
use crate::texts;
use crate::topology::{PoolId, State};
use crate::worker::Core;

/// What `CLUSTER HELP` says can be asked.
const HELP: &[&str] = &[
    "CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands (through the proxy) are:",
    "COUNTKEYSINSLOT <slot>",
    "GETKEYSINSLOT <slot> <count>",
    "INFO",
    "KEYSLOT <key>",
    "LINKS",
    "MYID",
    "NODES",
    "REPLICAS <node-id>",
    "SHARDS",
    "SLOTS",
    "HELP",
];

/// The one node.
struct Myself {
    id: String,
    host: String,
    port: u16,
}

impl Myself {
    /// The node as a client sees it: where that client is connected to.
    fn of(core: &mut Core, id: ClientId) -> Option<(Self, PoolId)> {
        let client = core.down.clients.get_mut(id)?;
        let place = client.session.local_address.rsplit_once(':');
        let (host, port) = place.unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = port.parse().unwrap_or_default();
        let settings = &core.pools[client.pool].shared.settings;
        // The same after a restart.
        let part = |number: u8| {
            let text = format!("{number} {} {}", settings.name, settings.listen.text);
            format!("{:08x}", HashKind::Md5.hash(text.as_bytes(), CharSign::Signed) as u32)
        };
        let name = (0..5).map(part).collect();
        Some((Self { id: name, host, port }, client.pool))
    }
}

/// Answers `CLUSTER …` and `ASKING`.
pub fn answer(core: &mut Core, id: ClientId, request: Request<'_>) {
    let Request { args, now_us, .. } = request;
    let Some((node, pool)) = Myself::of(core, id) else { return };
    if !core.pools[pool].has_slots() {
        return refuse(core, id, now_us, |out| out.error(error::CLUSTER_DISABLED));
    }
    let proto = proto(core, id);
    let clients = &mut core.down.clients;
    match request.row.name {
        "asking" => clients.reply(id, now_us, |out| out.simple("OK")),
        "cluster|slots" => clients.reply(id, now_us, |out| slots(&node, proto, out)),
        "cluster|shards" => clients.reply(id, now_us, |out| shards(&node, proto, out)),
        "cluster|nodes" => {
            let Myself { id: name, host, port } = &node;
            let text = format!(
                "{name} {host}:{port}@0 myself,master - 0 0 1 connected 0-{}\n",
                SLOT_COUNT - 1
            );
            clients.reply(id, now_us, |out| out.verbatim(*b"txt", text.as_bytes(), proto));
        }
        "cluster|info" => {
            let text = info(core, pool);
            let clients = &mut core.down.clients;
            clients.reply(id, now_us, |out| out.verbatim(*b"txt", text.as_bytes(), proto));
        }
        "cluster|myid" => clients.reply(id, now_us, |out| out.bulk(node.id.as_bytes())),
        "cluster|keyslot" => {
            clients.reply(id, now_us, |out| out.integer(i64::from(key_slot(args.at(2)))));
        }
        "cluster|links" => clients.reply(id, now_us, |out| out.array_len(0)),
        "cluster|replicas" | "cluster|slaves" if args.at(2) == node.id.as_bytes() => {
            clients.reply(id, now_us, |out| out.array_len(0));
        }
        "cluster|replicas" | "cluster|slaves" => {
            let text = [b"ERR Unknown node ", args.at(2)].concat();
            refuse(core, id, now_us, |out| out.error(&text));
        }
        "cluster|countkeysinslot" | "cluster|getkeysinslot" => {
            let slot = std::str::from_utf8(args.at(2)).ok().and_then(|text| text.parse().ok());
            let topology = &core.pools[pool].topology;
            let shard = match slot.filter(|slot: &u16| *slot < SLOT_COUNT) {
                Some(slot) => topology.distribution.shard(u64::from(slot)),
                // Any node knows how to refuse it.
                None => topology.live.first().copied(),
            };
            forward::request(core, id, shard, &request);
        }
        "cluster|help" => clients.reply(id, now_us, |out| {
            out.array_len(HELP.len());
            HELP.iter().for_each(|line| out.simple(line));
        }),
        _ => refuse(core, id, now_us, |out| texts::not_shared(out, request.row)),
    }
}

fn slots(node: &Myself, proto: Proto, out: &mut Vec<u8>) {
    out.array_len(1);
    out.array_len(3);
    out.integer(0);
    out.integer(i64::from(SLOT_COUNT - 1));
    out.array_len(4);
    out.bulk(node.host.as_bytes());
    out.integer(i64::from(node.port));
    out.bulk(node.id.as_bytes());
    out.map_len(0, proto);
}

fn shards(node: &Myself, proto: Proto, out: &mut Vec<u8>) {
    out.array_len(1);
    out.map_len(2, proto);
    out.bulk(b"slots");
    out.array_len(2);
    out.integer(0);
    out.integer(i64::from(SLOT_COUNT - 1));
    out.bulk(b"nodes");
    out.array_len(1);
    out.map_len(7, proto);
    out.bulk(b"id");
    out.bulk(node.id.as_bytes());
    out.bulk(b"port");
    out.integer(i64::from(node.port));
    for name in [b"ip".as_slice(), b"endpoint"] {
        out.bulk(name);
        out.bulk(node.host.as_bytes());
    }
    out.bulk(b"role");
    out.bulk(b"master");
    out.bulk(b"replication-offset");
    out.integer(0);
    out.bulk(b"health");
    out.bulk(b"online");
}

/// The state of the slots is that of the cluster behind.
fn info(core: &Core, pool: PoolId) -> String {
    let topology = &core.pools[pool].topology;
    let (mut assigned, mut failed) = (0, 0);
    for shard in &topology.shards {
        assigned += shard.slots;
        if topology.primary(shard).state != State::Live {
            failed += shard.slots;
        }
    }
    let is_ok = assigned == u32::from(SLOT_COUNT) && failed == 0;
    format!(
        "cluster_state:{}\r\ncluster_slots_assigned:{assigned}\r\ncluster_slots_ok:{}\r\ncluster_slots_pfail:0\r\n\
         cluster_slots_fail:{failed}\r\ncluster_known_nodes:1\r\ncluster_size:1\r\ncluster_current_epoch:1\r\n\
         cluster_my_epoch:1\r\ncluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n\
         total_cluster_links_buffer_limit_exceeded:0\r\n",
        if is_ok { "ok" } else { "fail" },
        assigned - failed,
    )
}
