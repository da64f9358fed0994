//! What the servers of a pool say of themselves in INFO, put together: sums where sums have a meaning, else the most, the least,
//! the worst, or what all of them say.
//!
//! They are asked when a client wants to know, at most once a second for each worker. Of a server that does not answer in time
//! its last word counts: a counter that fell and rose again would be taken for a restart.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use redstart_common::number::human_memory;
use redstart_common::resp::encode::Proto;

use super::beside::ask_primaries;
use super::later_by;
use crate::client::ClientId;
use crate::settings::PoolSettings;
use crate::topology::ShardId;
use crate::worker::Core;

/// How long what the servers have said is told again, in microseconds: some libraries ask for INFO on each new connection.
const FRESH_US: u64 = 1_000_000;
/// How long a server may take to answer. One that is down must not hold up who wants to know how the proxy is.
const LIMIT: Duration = Duration::from_millis(250);

/// How the words of several servers become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Together {
    /// The sum.
    Sum,
    /// The sum, or 0 where one of them says 0, which is no limit.
    Limit,
    /// The most.
    Most,
    /// The least.
    Least,
    /// `ok` where all say so, else what another says.
    Worst,
    /// What all of them say, or `mixed`.
    Same,
}

/// A field of a section.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    name: &'static str,
    together: Together,
    /// It is shown once more, for people.
    is_memory: bool,
    /// What is shown where no server has said anything; `None` leaves it out.
    unsaid: Option<&'static str>,
}

const fn field(name: &'static str, together: Together) -> Field {
    Field { name, together, is_memory: false, unsaid: None }
}

const fn sum(name: &'static str) -> Field {
    field(name, Together::Sum)
}

const fn most(name: &'static str) -> Field {
    field(name, Together::Most)
}

const fn worst(name: &'static str) -> Field {
    Field { unsaid: Some("ok"), ..field(name, Together::Worst) }
}

impl Field {
    const fn memory(self) -> Self {
        Self { is_memory: true, ..self }
    }

    const fn or(self, unsaid: &'static str) -> Self {
        Self { unsaid: Some(unsaid), ..self }
    }
}

/// Of memory.
pub const MEMORY: &[Field] = &[
    sum("used_memory").memory().or("0"),
    sum("used_memory_rss").memory().or("0"),
    sum("used_memory_peak").memory().or("0"),
    sum("used_memory_overhead"),
    sum("used_memory_startup"),
    sum("used_memory_dataset"),
    sum("allocator_allocated"),
    sum("allocator_active"),
    sum("allocator_resident"),
    sum("used_memory_lua").memory(),
    sum("used_memory_vm_eval"),
    sum("used_memory_scripts_eval"),
    // All servers have the same ones, or come to have them.
    most("number_of_cached_scripts"),
    most("number_of_functions"),
    most("number_of_libraries"),
    sum("used_memory_vm_functions"),
    sum("used_memory_vm_total").memory(),
    sum("used_memory_functions"),
    sum("used_memory_scripts").memory(),
    field("maxmemory", Together::Limit).memory().or("0"),
    field("maxmemory_policy", Together::Same).or("noeviction"),
    sum("allocator_frag_bytes"),
    sum("allocator_rss_bytes"),
    sum("rss_overhead_bytes"),
    sum("mem_fragmentation_bytes"),
    sum("mem_not_counted_for_evict"),
    sum("mem_replication_backlog"),
    sum("mem_total_replication_buffers"),
    sum("mem_clients_slaves"),
    sum("mem_clients_normal"),
    sum("mem_cluster_links"),
    sum("mem_aof_buffer"),
    field("mem_allocator", Together::Same).or("jemalloc"),
    most("active_defrag_running"),
    sum("lazyfree_pending_objects"),
    sum("lazyfreed_objects"),
];

/// Of snapshots and logs.
pub const PERSISTENCE: &[Field] = &[
    sum("rdb_changes_since_last_save").or("0"),
    most("rdb_bgsave_in_progress").or("0"),
    field("rdb_last_save_time", Together::Least),
    worst("rdb_last_bgsave_status"),
    most("rdb_last_bgsave_time_sec"),
    most("rdb_current_bgsave_time_sec"),
    sum("rdb_saves"),
    most("rdb_last_cow_size"),
    most("aof_enabled").or("0"),
    most("aof_rewrite_in_progress").or("0"),
    most("aof_rewrite_scheduled"),
    most("aof_last_rewrite_time_sec"),
    most("aof_current_rewrite_time_sec"),
    worst("aof_last_bgrewrite_status"),
    sum("aof_rewrites"),
    worst("aof_last_write_status"),
    most("aof_last_cow_size"),
    sum("aof_current_size"),
    sum("aof_base_size"),
];

/// Of what was counted.
pub const STATS: &[Field] = &[
    sum("sync_full"),
    sum("sync_partial_ok"),
    sum("sync_partial_err"),
    sum("expired_keys").or("0"),
    most("expired_stale_perc"),
    sum("expired_time_cap_reached_count"),
    sum("expire_cycle_cpu_milliseconds"),
    sum("evicted_keys").or("0"),
    sum("total_eviction_exceeded_time"),
    most("current_eviction_exceeded_time"),
    sum("keyspace_hits").or("0"),
    sum("keyspace_misses").or("0"),
    most("latest_fork_usec"),
    sum("total_forks"),
    sum("migrate_cached_sockets"),
    sum("slave_expires_tracked_keys"),
    sum("active_defrag_hits"),
    sum("active_defrag_misses"),
    sum("active_defrag_key_hits"),
    sum("active_defrag_key_misses"),
    sum("total_active_defrag_time"),
    most("current_active_defrag_time"),
    sum("unexpected_error_replies"),
    sum("dump_payload_sanitizations"),
];

/// What a database holds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Held {
    keys: u64,
    expires: u64,
    /// The sum of the time that keys have left, in milliseconds.
    ttl_ms: u128,
}

/// What one server has said.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Said {
    /// By the names of fields that are put together.
    values: HashMap<&'static str, Box<str>>,
    /// By the server's numbers of databases.
    databases: BTreeMap<u32, Held>,
}

/// What the primaries of a pool have said last.
#[derive(Debug, Default)]
pub struct Figures {
    by_shard: HashMap<ShardId, Said>,
    /// When they had answered last.
    heard_us: Option<u64>,
    /// They are being asked.
    is_asking: bool,
}

/// Asks the servers, unless that was done just now or is under way, and answers a client with what `write` makes then.
pub fn ask(
    core: &mut Core,
    id: ClientId,
    now_us: u64,
    write: impl FnOnce(&mut Core) -> Vec<u8> + 'static,
) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let pool = client.pool;
    let figures = &mut core.pools[pool].figures;
    if let Some(heard_us) = figures.heard_us
        && (figures.is_asking || now_us.saturating_sub(heard_us) < FRESH_US)
    {
        let reply = write(core);
        return core.down.clients.reply(id, now_us, |out| out.extend_from_slice(&reply));
    }
    figures.is_asking = true;
    let shared = Arc::clone(&core.pools[pool].shared);
    let asking =
        async move { ask_primaries(&shared, Proto::Resp2, vec![b"INFO".to_vec()], LIMIT).await };
    later_by(core, id, now_us, asking, move |core, replies| {
        let now_us = core.clock.now_us();
        let it = &mut core.pools[pool];
        let topology = Arc::clone(&it.topology);
        it.figures.by_shard.retain(|shard, _| topology.place_of(*shard).is_some());
        for (shard, reply) in replies {
            if let Some(said) = read(&reply) {
                it.figures.by_shard.insert(shard, said);
            }
        }
        (it.figures.heard_us, it.figures.is_asking) = (Some(now_us), false);
        write(core)
    });
}

impl Figures {
    /// Appends the lines of fields.
    pub fn write(&self, fields: &[Field], out: &mut String) {
        for field in fields {
            let Some(value) = self.value(field) else { continue };
            // Writing to a string does not fail.
            let _ = write!(out, "{}:{value}\r\n", field.name);
            if field.is_memory {
                let bytes = value.parse().unwrap_or(0);
                let _ = write!(out, "{}_human:{}\r\n", field.name, human_memory(bytes));
            }
        }
    }

    /// The sum of a field, as far as it is known.
    #[must_use]
    pub fn sum(&self, name: &str) -> u64 {
        let said = self.by_shard.values().filter_map(|said| said.values.get(name));
        said.filter_map(|value| value.parse::<u64>().ok()).sum()
    }

    fn value(&self, field: &Field) -> Option<String> {
        let said = self.by_shard.values().filter_map(|said| said.values.get(field.name));
        let mut said: Vec<&str> = said.map(|value| &**value).collect();
        said.sort_unstable();
        together(field.together, &said).or_else(|| field.unsaid.map(str::to_owned))
    }

    /// Appends the lines of the databases.
    pub fn write_databases(&self, settings: &PoolSettings, out: &mut String) {
        let mut databases = BTreeMap::<u32, Held>::new();
        for (db, held) in self.by_shard.values().flat_map(|said| &said.databases) {
            // A pool of one database calls it the first, whatever number it has at the servers.
            let db = match db.checked_sub(settings.redis_db) {
                Some(db) if db < u32::from(settings.databases) => db,
                _ => continue,
            };
            let all = databases.entry(db).or_default();
            all.keys += held.keys;
            all.expires += held.expires;
            all.ttl_ms += held.ttl_ms;
        }
        for (db, Held { keys, expires, ttl_ms }) in databases {
            let avg_ttl = ttl_ms.checked_div(u128::from(expires)).unwrap_or(0);
            // Writing to a string does not fail.
            let _ = write!(out, "db{db}:keys={keys},expires={expires},avg_ttl={avg_ttl}\r\n");
        }
    }
}

/// What several servers say of one thing becomes one. `None` where none says anything of use.
fn together(how: Together, said: &[&str]) -> Option<String> {
    let numbers = || said.iter().filter_map(|value| value.parse::<f64>().ok());
    let whole = |value: &f64| *value >= i64::MIN as f64 && *value <= i64::MAX as f64;
    let show = |value: f64| match value.fract() == 0.0 && whole(&value) {
        true => (value as i64).to_string(),
        false => format!("{value:.2}"),
    };
    let sum = || {
        let numbers = said.iter().filter_map(|value| value.parse::<i128>().ok());
        numbers.reduce(|one, other| one.saturating_add(other)).map(|sum| sum.to_string())
    };
    match how {
        Together::Sum => sum(),
        Together::Limit if said.contains(&"0") => Some("0".to_owned()),
        Together::Limit => sum(),
        Together::Most => numbers().reduce(f64::max).map(show),
        Together::Least => numbers().reduce(f64::min).map(show),
        Together::Worst => {
            let worst = said.iter().find(|value| **value != "ok").or(said.first());
            worst.map(|value| (*value).to_owned())
        }
        Together::Same => match said {
            [first, rest @ ..] if rest.iter().all(|other| other == first) => {
                Some((*first).to_owned())
            }
            [] => None,
            _ => Some("mixed".to_owned()),
        },
    }
}

/// Reads a server's reply to INFO; `None` for one that is none.
fn read(reply: &[u8]) -> Option<Said> {
    if !matches!(reply.first(), Some(b'$' | b'=')) {
        return None;
    }
    let text = String::from_utf8_lossy(reply);
    let mut said = Said::default();
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        if let Some((db, held)) = database(name, value) {
            said.databases.insert(db, held);
        } else if let Some(field) =
            [MEMORY, PERSISTENCE, STATS].into_iter().flatten().find(|field| field.name == name)
        {
            said.values.insert(field.name, value.into());
        }
    }
    Some(said)
}

/// Reads `db0:keys=1,expires=0,avg_ttl=0`, and whatever more a server says.
fn database(name: &str, value: &str) -> Option<(u32, Held)> {
    let db = name.strip_prefix("db")?.parse().ok()?;
    let field = |name: &str| {
        let mut fields = value.split(',').filter_map(|field| field.split_once('='));
        fields.find(|(key, _)| *key == name)?.1.parse::<u64>().ok()
    };
    let (keys, expires) = (field("keys")?, field("expires")?);
    let ttl_ms = u128::from(field("avg_ttl").unwrap_or(0)) * u128::from(expires);
    Some((db, Held { keys, expires, ttl_ms }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Listen;

    fn figures(texts: &[&str]) -> Figures {
        let mut figures = Figures::default();
        for (number, text) in texts.iter().enumerate() {
            let reply = format!("${}\r\n{}\r\n", text.len(), text.replace('\n', "\r\n"));
            let said = read(reply.as_bytes()).expect("a reply to INFO");
            figures.by_shard.insert(ShardId::new(number as u32), said);
        }
        figures
    }

    #[test]
    fn databases_are_the_sum_of_what_servers_hold() {
        let figures = figures(&[
            "# Keyspace\ndb0:keys=3,expires=2,avg_ttl=100\ndb2:keys=1,expires=0,avg_ttl=0",
            "db0:keys=5,expires=2,avg_ttl=300,subexpiry=1",
            "db1:keys=x",
        ]);
        let mut settings = PoolSettings::new("p", Listen::tcp("", 0), Vec::new());
        let shown = |settings: &PoolSettings| {
            let mut text = String::new();
            figures.write_databases(settings, &mut text);
            text
        };
        settings.databases = 16;
        assert_eq!(
            shown(&settings),
            "db0:keys=8,expires=4,avg_ttl=200\r\ndb2:keys=1,expires=0,avg_ttl=0\r\n"
        );
        (settings.databases, settings.redis_db) = (1, 2);
        assert_eq!(shown(&settings), "db0:keys=1,expires=0,avg_ttl=0\r\n");
        assert_eq!(read(b"-ERR Connection refused\r\n"), None);
    }

    #[test]
    fn each_field_is_put_together_as_it_has_a_meaning() {
        let shown = |texts: &[&str], fields: &[Field]| {
            let mut text = String::new();
            figures(texts).write(fields, &mut text);
            text.replace("\r\n", " ")
        };
        let (one, other) = (
            "used_memory:1024\nmaxmemory:100\nmaxmemory_policy:noeviction\nnumber_of_functions:2",
            "used_memory:1024\nmaxmemory:0\nmaxmemory_policy:allkeys-lru\nnumber_of_functions:1",
        );
        let fields: Vec<Field> =
            ["used_memory", "maxmemory", "maxmemory_policy", "number_of_functions"]
                .iter()
                .map(|name| *MEMORY.iter().find(|field| field.name == *name).expect("a field"))
                .collect();
        assert_eq!(
            shown(&[one, other], &fields),
            "used_memory:2048 used_memory_human:2.00K maxmemory:0 maxmemory_human:0B maxmemory_policy:mixed number_of_functions:2 "
        );
        assert_eq!(
            shown(&[one], &fields),
            "used_memory:1024 used_memory_human:1.00K maxmemory:100 maxmemory_human:100B maxmemory_policy:noeviction number_of_functions:2 "
        );
        let saved = |texts: &[&str]| shown(texts, PERSISTENCE);
        assert_eq!(
            saved(&[
                "rdb_last_save_time:7\nrdb_last_bgsave_status:ok",
                "rdb_last_save_time:5\nrdb_last_bgsave_status:err"
            ]),
            "rdb_changes_since_last_save:0 rdb_bgsave_in_progress:0 rdb_last_save_time:5 rdb_last_bgsave_status:err aof_enabled:0 \
             aof_rewrite_in_progress:0 aof_last_bgrewrite_status:ok aof_last_write_status:ok "
        );
        // A field that is no number, or too large a one, does no harm.
        assert_eq!(together(Together::Sum, &["x", "3"]).as_deref(), Some("3"));
        assert_eq!(together(Together::Most, &["0.25", "0.5"]).as_deref(), Some("0.50"));
        assert_eq!(together(Together::Most, &["-1", "-1"]).as_deref(), Some("-1"));
        let large = u128::MAX.to_string();
        assert_eq!(together(Together::Sum, &[&large, "1"]).as_deref(), Some("1"));
        assert_eq!(figures(&["keyspace_hits:3", "keyspace_hits:4"]).sum("keyspace_hits"), 7);
    }

    #[test]
    fn no_field_is_named_twice() {
        let mut names: Vec<&str> =
            [MEMORY, PERSISTENCE, STATS].into_iter().flatten().map(|field| field.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
