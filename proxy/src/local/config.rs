//! `CONFIG GET`: what tools ask before they begin, answered truthfully for a proxy.

use redstart_common::command::CommandSpec;
use redstart_common::glob;
use redstart_common::resp::RespWrite;

use crate::client::ClientId;
use crate::client::dispatch::refuse;
use crate::client::request::Request;
use crate::local::{info, proto};
use crate::settings::ListenAddress;
use crate::texts;
use crate::topology::PoolId;
use crate::worker::Core;

/// Whether this one of CONFIG's sub-commands is answered.
#[must_use]
pub fn serves(row: &CommandSpec) -> bool {
    matches!(row.name, "config|get" | "config|help")
}

/// Answers `CONFIG …`.
pub fn answer(core: &mut Core, id: ClientId, request: Request<'_>) {
    match request.row.name {
        "config|get" => get(core, id, request),
        "config|help" => core.down.clients.reply(id, request.now_us, |out| {
            out.array_len(2);
            out.simple("CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands (through the proxy) are:");
            out.simple("GET <pattern> [<pattern> ...]");
        }),
        _ => refuse(core, id, request.now_us, |out| texts::not_shared(out, request.row)),
    }
}

fn get(core: &mut Core, id: ClientId, request: Request<'_>) {
    let proto = proto(core, id);
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let pool = client.pool;
    let shown = facts(core, pool);
    let patterns: Vec<Vec<u8>> =
        request.args.iter().skip(2).map(<[u8]>::to_ascii_lowercase).collect();
    let found: Vec<&(&str, String)> = shown
        .iter()
        .filter(|(name, _)| {
            patterns.iter().any(|pattern| glob::matches(pattern, name.as_bytes(), false))
        })
        .collect();
    core.down.clients.reply(id, request.now_us, |out| {
        out.map_len(found.len(), proto);
        for (name, value) in found {
            out.bulk(name.as_bytes());
            out.bulk(value.as_bytes());
        }
    });
}

/// The settings shown, under the names Redis has for them where it has one.
fn facts(core: &Core, pool: PoolId) -> Vec<(&'static str, String)> {
    let settings = &core.pools[pool].shared.settings;
    let global = &core.directory.global;
    let (bind, port, socket) = match &settings.listen.address {
        ListenAddress::Tcp { host, port } => (host.clone(), *port, String::new()),
        ListenAddress::Unix { path, .. } => (String::new(), 0, path.display().to_string()),
    };
    vec![
        // The proxy keeps no data: what a tool asks in order to adapt to persistence or memory limits is "none".
        ("save", String::new()),
        ("appendonly", "no".to_owned()),
        ("maxmemory", "0".to_owned()),
        ("maxmemory-policy", "noeviction".to_owned()),
        ("databases", settings.databases.to_string()),
        ("timeout", "0".to_owned()),
        ("slowlog-log-slower-than", "-1".to_owned()),
        ("slowlog-max-len", "0".to_owned()),
        ("notify-keyspace-events", String::new()),
        ("cluster-enabled", if settings.cluster.is_some() { "yes" } else { "no" }.to_owned()),
        ("bind", bind),
        ("port", port.to_string()),
        ("unixsocket", socket),
        ("tcp-backlog", settings.backlog.to_string()),
        ("maxclients", info::clients_max(core, pool).to_string()),
        ("proto-max-bulk-len", global.bulk_bytes_max.to_string()),
        ("client-output-buffer-limit", format!("normal {} 0 0", global.client_output_bytes_max)),
        ("logfile", global.log_file.clone().unwrap_or_default()),
        ("pidfile", global.pid_file.clone().unwrap_or_default()),
        ("io-threads", core.directory.workers.len().to_string()),
        ("redstart-pool", settings.name.clone()),
        ("redstart-hash", settings.hash_name().to_owned()),
        ("redstart-distribution", settings.distribution.name().to_owned()),
        ("redstart-servers", core.pools[pool].topology.members.len().to_string()),
    ]
}
