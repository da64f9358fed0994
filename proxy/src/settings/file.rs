//! From YAML text to settings.
//!
//! Scalars are taken as the text they were written with, never as YAML's numbers or booleans: `0777`, `12345`
//! and `yes` mean what twemproxy takes them for. Places of errors come from the YAML parser where it reports
//! them, and otherwise from looking up the key in the text.

use redstart_common::hash::{CharSign, HashKind};

use super::cluster::{self, cluster};
use super::document::{Document, Entry, GROUPS_KEY, LIST_KEY, SENTINELS_KEY, Section};
use super::down;
use super::groups::group_list;
use super::reads::{self, CenterList};
use super::server_list::ServerItem;
use super::tls::TlsKeys;
use super::values::{self, Listen};
use super::{
    DistributionKind, Global, Groups, OnLostRequest, OnServerDown, PoolSettings, ReadFrom,
    SentinelSettings, ServerAddress, ServerOrder, ServerSettings, Settings, SettingsError, rows,
};
use crate::route::distribution::SHARDS_MAX;

/// The text of a file, to find lines in.
struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    /// The line on which `section` (and within it `key`) is given, counted from one.
    fn line_of(&self, section: &str, key: Option<&str>) -> Option<usize> {
        self.line_of_nth(section, key, 0)
    }

    /// The line on which `section`, or within it `key`, is given for the time `nth`, counted from zero.
    fn line_of_nth(&self, section: &str, key: Option<&str>, nth: usize) -> Option<usize> {
        let is_key = |line: &str, name: &str| {
            let line = line.trim_start().trim_start_matches(['"', '\'']);
            line.strip_prefix(name)
                .is_some_and(|rest| rest.trim_start_matches(['"', '\'', ' ']).starts_with(':'))
        };
        let indented = |line: &str| line.starts_with([' ', '\t']);
        let mut lines = self.text.lines().zip(1..);
        let is_section = |(line, _): &(&str, usize)| !indented(line) && is_key(line, section);
        let Some(key) = key else {
            return lines.filter(is_section).nth(nth).map(|(_, line)| line);
        };
        let (_, start) = lines.find(is_section)?;
        lines
            .take_while(|(line, _)| {
                indented(line) || line.is_empty() || line.starts_with(['#', '-'])
            })
            .filter(|(line, _)| is_key(line, key))
            .nth(nth)
            .map(|(_, line)| line)
            .or(Some(start))
    }

    /// The line of the list item `item` in a section.
    fn line_of_item(&self, section: &str, item: &str) -> Option<usize> {
        let start = self.line_of(section, None)?;
        self.text
            .lines()
            .zip(1..)
            .skip(start)
            .find(|(line, _)| line.contains(item))
            .map(|(_, line)| line)
            .or(Some(start))
    }

    fn error(&self, section: &str, key: Option<&str>, problem: &str) -> SettingsError {
        let message = match key {
            Some(key) => format!("'{key}' {problem}"),
            None => problem.to_owned(),
        };
        SettingsError::new(self.file, message).within(section).at(self.line_of(section, key))
    }
}

pub(super) fn parse(
    file: &str,
    text: &str,
    skips_memcached: bool,
) -> Result<Settings, SettingsError> {
    let Document(sections) = serde_yaml::from_str(text).map_err(|error| {
        let line = error.location().map(|place| place.line());
        SettingsError::new(file, error.to_string()).at(line)
    })?;
    let source = Source { file, text };
    let mut settings = Settings::default();
    let mut names: Vec<String> = Vec::with_capacity(sections.len());
    for section in sections {
        let name = section.name.as_str();
        if names.iter().any(|other| other == name) {
            let twice = SettingsError::new(file, format!("pool '{name}' is given twice"));
            return Err(twice.at(source.line_of_nth(name, None, 1)));
        }
        if let Some(key) = section.repeated() {
            let repeated = SettingsError::new(file, format!("'{key}' is a duplicate"));
            return Err(repeated.within(name).at(source.line_of_nth(name, Some(key), 1)));
        }
        names.push(section.name.clone());
        if skips_memcached && section.is_of_memcached() {
            settings.skipped.push(section.name);
        } else if section.is_global() {
            settings.global = global(&source, &section)?;
        } else {
            let pool = pool(&source, section)?;
            if let Some(other) =
                settings.pools.iter().find(|other| other.listen.text == pool.listen.text)
            {
                return Err(source.error(
                    &pool.name,
                    Some("listen"),
                    &format!("is the same as that of pool '{}'", other.name),
                ));
            }
            settings.pools.push(pool);
        }
    }
    if settings.pools.is_empty() {
        return Err(SettingsError::new(file, "has no pools"));
    }
    Ok(settings)
}

fn global(source: &Source<'_>, section: &Section) -> Result<Global, SettingsError> {
    let mut global = Global::default();
    for (key, entry) in &section.entries {
        let set = match entry {
            Entry::Text(text) => set_global(&mut global, key, text),
            _ => Err(unknown(key, rows::GLOBAL)),
        };
        set.map_err(|problem| source.error(&section.name, Some(key), &problem))?;
    }
    Ok(global)
}

fn set_global(global: &mut Global, key: &str, text: &str) -> Result<(), String> {
    match key {
        _ if text.is_empty() => return Err("has no value".to_owned()),
        "workers" => match values::number(text, 1024)? {
            0 => return Err("cannot be 0".to_owned()),
            workers => global.workers = Some(to_usize(workers)),
        },
        "metrics" => {
            if text != "off" {
                values::listen(text).map_err(|_| "is not \"host:port\"".to_owned())?;
            }
            global.metrics = Some(text.to_owned());
        }
        "stats_addr" => global.stats_address = Some(text.to_owned()),
        "stats_port" => {
            global.stats_port = Some(u16::try_from(values::number(text, 65535)?).unwrap_or(0));
        }
        "stats_interval" => global.stats_interval_ms = Some(values::number(text, MS_MAX)?),
        "log_file" => global.log_file = Some(text.to_owned()),
        "log_level" => {
            global.log_level = Some(u8::try_from(values::number(text, 11)?).unwrap_or(11));
        }
        "pid_file" => global.pid_file = Some(text.to_owned()),
        "client_output_limit" => global.client_output_bytes_max = values::bytes(text)?,
        "subscriber_output_limit" => global.subscriber_output_bytes_max = values::bytes(text)?,
        "client_in_flight_limit" => match values::number(text, 1 << 24)? {
            0 => return Err("cannot be 0".to_owned()),
            limit => global.client_in_flight_max = to_usize(limit),
        },
        "backend_queue_limit" => global.backend_queue_bytes_max = values::bytes(text)?,
        "coalesce" => global.coalesce_us = values::number(text, 100_000)?,
        "proto_max_bulk_len" => global.bulk_bytes_max = values::bytes(text)?,
        _ => return Err(unknown(key, rows::GLOBAL)),
    }
    Ok(())
}

/// How long requests wait where sentinels replace what is away, in milliseconds.
const HOLD_MS: u64 = 5000;

/// Most databases of a pool: each has connections of its own.
const DATABASES_MAX: u64 = 1024;

/// Most servers that are asked after the first where a read misses.
const FALLBACK_MAX: u64 = 16;

const MS_MAX: u64 = i32::MAX as u64;

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn unknown(key: &str, rows: &[rows::Row]) -> String {
    let known: Vec<&str> = rows.iter().map(|row| row.name).collect();
    let nearest = known.iter().min_by_key(|name| distance(key, name));
    let meant = nearest.filter(|name| distance(key, name) <= name.len() / 2);
    let meant = meant.map_or_else(String::new, |name| format!(" '{name}', perhaps, and"));
    format!("is unknown; known are{meant} {}", known.join(", "))
}

/// How many letters must be changed, added or left out to make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

fn pool(source: &Source<'_>, section: Section) -> Result<PoolSettings, SettingsError> {
    let says_redis = section.entries.iter().any(|(key, _)| key == "redis");
    let name = section.name.as_str();
    let placeholder = Listen::tcp("", 0);
    let mut pool = PoolSettings::new(name, placeholder, Vec::new());
    let mut seen = Seen::default();
    for (key, entry) in section.entries {
        let key = key.as_str();
        match entry {
            Entry::Text(text) => set_pool(&mut pool, &mut seen, key, &text)
                .map_err(|problem| source.error(name, Some(key), &problem))?,
            Entry::Unknown => {
                return Err(source.error(name, Some(key), &unknown(key, rows::POOL)));
            }
            Entry::Centers(centers) => seen.centers = Some(centers),
            Entry::Groups(groups) => {
                seen.groups = Some(
                    group_list(&groups)
                        .map_err(|problem| source.error(name, Some(key), &problem))?,
                );
            }
            Entry::List(items) if key == SENTINELS_KEY => {
                seen.sentinels = addresses(source, name, "sentinel", &items)?;
            }
            Entry::List(items) if key == cluster::KEY => {
                seen.seeds = addresses(source, name, "node", &items)?;
                seen.has_cluster = true;
            }
            // No other key has a list.
            Entry::List(_) => {}
            Entry::Servers(items) => {
                for ServerItem { text: item, user, password } in items {
                    let server = values::server(&item).map_err(|problem| {
                        SettingsError::new(source.file, format!("server '{item}' {problem}"))
                            .within(name)
                            .at(source.line_of_item(name, &item))
                    })?;
                    pool.servers.push(ServerSettings { user, password, ..server });
                }
            }
        }
    }
    let listen =
        seen.listen.take().ok_or_else(|| source.error(name, None, "'listen' is missing"))?;
    pool.listen = listen;
    let is_sentinel = sentinels(source, &mut pool, &mut seen)?;
    let is_cluster = cluster(&mut pool, &mut seen)
        .map_err(|(key, problem)| source.error(name, Some(key), problem))?;
    let is_discovered = is_sentinel || is_cluster;
    pool.failover_hold_ms = seen.hold_ms.unwrap_or(if is_discovered { HOLD_MS } else { 0 });
    if pool.read_fallback > 0 && pool.distribution != DistributionKind::Ketama {
        let problem = "needs 'distribution: ketama', whose ring says which server is next";
        return Err(source.error(name, Some("read_fallback"), problem));
    }
    if pool.databases > 1 && pool.redis_db > 0 {
        return Err(source.error(name, Some("redis_db"), "does not go with several 'databases'"));
    }
    reads::reads(&mut pool, &mut seen, is_discovered)
        .map_err(|(key, problem)| source.error(name, Some(key), &problem))?;
    down::on_server_down(&mut pool, &seen)
        .map_err(|(key, problem)| source.error(name, Some(key), problem))?;
    if !seen.redis && !is_discovered {
        let key = says_redis.then_some("redis");
        return Err(source.error(
            name,
            key,
            "must be 'redis: true': memcached's protocol is not supported (--skip-memcached leaves such pools out)",
        ));
    }
    if pool.servers.is_empty() && !is_discovered {
        return Err(source.error(name, None, "has no servers"));
    }
    if pool.servers.len() > SHARDS_MAX {
        let problem = format!("has more than {SHARDS_MAX} servers");
        return Err(source.error(name, Some(LIST_KEY), &problem));
    }
    let weights: u64 = pool.servers.iter().map(|server| u64::from(server.weight)).sum();
    if u32::try_from(weights).is_err() {
        let problem = format!("weigh {weights} together, which is above {}", u32::MAX);
        return Err(source.error(name, Some(LIST_KEY), &problem));
    }
    finish(source, &mut pool, seen.hash.take())?;
    let tls = std::mem::take(&mut seen.tls);
    tls.finish(&mut pool).map_err(|(key, problem)| source.error(name, Some(key), &problem))?;
    Ok(pool)
}

/// The addresses of a list of sentinels or of a cluster's nodes.
fn addresses(
    source: &Source<'_>,
    pool: &str,
    what: &str,
    items: &[String],
) -> Result<Vec<ServerAddress>, SettingsError> {
    let address = |item: &String| {
        values::address(item).map_err(|problem| {
            SettingsError::new(source.file, format!("{what} '{item}' {problem}"))
                .within(pool)
                .at(source.line_of_item(pool, item))
        })
    };
    items.iter().map(address).collect()
}

/// What a section says that is put together only when all of it is read.
#[derive(Default)]
pub(super) struct Seen {
    listen: Option<Listen>,
    redis: bool,
    pub(super) hash: Option<String>,
    pub(super) has_distribution: bool,
    pub(super) has_order: bool,
    pub(super) has_cluster: bool,
    pub(super) seeds: Vec<ServerAddress>,
    is_sorted: bool,
    hold_ms: Option<u64>,
    pub(super) ejects: Option<bool>,
    pub(super) on_server_down: Option<OnServerDown>,
    pub(super) retry_ms: Option<u64>,
    pub(super) has_read_from: bool,
    pub(super) master_priority: Option<u8>,
    pub(super) replica_priority: Option<u8>,
    pub(super) centers: Option<CenterList>,
    pub(super) local_center: Option<String>,
    pub(super) hedge_percent: Option<u8>,
    sentinels: Vec<ServerAddress>,
    groups: Option<Groups>,
    sentinel_user: Option<String>,
    sentinel_password: Option<String>,
    tls: TlsKeys,
}

/// Puts together what belongs to sentinels, if that is what the pool is made of.
fn sentinels(
    source: &Source<'_>,
    pool: &mut PoolSettings,
    seen: &mut Seen,
) -> Result<bool, SettingsError> {
    let refuse = |key: &str, problem: &str| Err(source.error(&pool.name, Some(key), problem));
    if pool.server_user.is_some() && pool.server_password.is_none() {
        return refuse("server_user", "needs 'server_password'");
    }
    let sentinels = std::mem::take(&mut seen.sentinels);
    match (sentinels.is_empty(), &seen.groups) {
        (true, None) if seen.sentinel_user.is_some() => {
            return refuse("sentinel_user", "needs 'sentinels'");
        }
        (true, None) if seen.sentinel_password.is_some() => {
            return refuse("sentinel_password", "needs 'sentinels'");
        }
        (true, None) => return Ok(false),
        (true, Some(_)) => return refuse(GROUPS_KEY, "needs 'sentinels'"),
        (false, None) => return refuse(SENTINELS_KEY, "needs 'groups'"),
        (false, Some(_)) => {}
    }
    if !pool.servers.is_empty() {
        return refuse(LIST_KEY, "does not go with 'sentinels', which tell the servers");
    }
    if seen.is_sorted {
        return refuse("server_order", "does not go with 'groups', whose order counts");
    }
    if seen.sentinel_user.is_some() && seen.sentinel_password.is_none() {
        return refuse("sentinel_user", "needs 'sentinel_password'");
    }
    pool.server_order = ServerOrder::File;
    pool.sentinel = Some(SentinelSettings {
        sentinels,
        groups: seen.groups.take().unwrap_or(Groups::All),
        user: seen.sentinel_user.take(),
        password: seen.sentinel_password.take(),
        tls: None,
    });
    Ok(true)
}

fn set_pool(pool: &mut PoolSettings, seen: &mut Seen, key: &str, text: &str) -> Result<(), String> {
    match key {
        _ if text.is_empty() => return Err("has no value".to_owned()),
        "listen" => seen.listen = Some(values::listen(text)?),
        "hash" => seen.hash = Some(text.to_owned()),
        "char_sign" => {
            pool.char_sign = match text {
                "signed" => CharSign::Signed,
                "unsigned" => CharSign::Unsigned,
                _ => return Err("is not \"signed\" or \"unsigned\"".to_owned()),
            }
        }
        "server_order" => {
            seen.has_order = true;
            pool.server_order = match text {
                "sorted" => {
                    seen.is_sorted = true;
                    ServerOrder::Sorted
                }
                "file" => ServerOrder::File,
                _ => return Err("is not \"sorted\" or \"file\"".to_owned()),
            }
        }
        "hash_tag" => {
            pool.hash_tag = Some(
                <[u8; 2]>::try_from(text.as_bytes())
                    .map_err(|_| "is not two characters such as \"{}\"".to_owned())?,
            );
        }
        "distribution" => {
            seen.has_distribution = true;
            pool.distribution = match text {
                "ketama" => DistributionKind::Ketama,
                "modula" => DistributionKind::Modula,
                "random" => DistributionKind::Random,
                _ => return Err("is not ketama, modula or random".to_owned()),
            }
        }
        "timeout" => pool.timeout_ms = Some(values::number(text, MS_MAX)?).filter(|ms| *ms > 0),
        "backlog" => pool.backlog = u32::try_from(values::number(text, MS_MAX)?).unwrap_or(512),
        "client_connections" => pool.client_connections = to_usize(values::number(text, MS_MAX)?),
        "tcpkeepalive" => pool.tcpkeepalive = values::switch(text)?,
        "reuseport" => pool.reuseport = values::switch(text)?,
        "preconnect" => pool.preconnect = values::switch(text)?,
        "redis" => seen.redis = values::switch(text)?,
        "redis_auth" => pool.redis_auth = Some(text.to_owned()),
        "redis_db" => pool.redis_db = u32::try_from(values::number(text, MS_MAX)?).unwrap_or(0),
        "databases" => match values::number(text, DATABASES_MAX)? {
            0 => return Err("cannot be 0".to_owned()),
            count => pool.databases = u16::try_from(count).unwrap_or(1),
        },
        "server_connections" => match values::number(text, 1024)? {
            0 => return Err("cannot be 0".to_owned()),
            count => pool.server_connections = to_usize(count),
        },
        "heavy_connections" => pool.heavy_connections = to_usize(values::number(text, 64)?),
        "private_connections" => {
            pool.private_connections = to_usize(values::number(text, 65_536)?);
        }
        "read_fallback" => {
            pool.read_fallback = u8::try_from(values::number(text, FALLBACK_MAX)?).unwrap_or(0);
        }
        "cross_server" => {
            pool.first_key_decides = match text {
                "refuse" => false,
                "first_key" => true,
                _ => return Err("is not \"refuse\" or \"first_key\"".to_owned()),
            }
        }
        "subscribe_everywhere" => pool.subscribe_everywhere = values::switch(text)?,
        "failover_hold" => seen.hold_ms = Some(values::number(text, MS_MAX)?),
        "master_read_priority" => seen.master_priority = Some(reads::priority(text)?),
        "replica_read_priority" => seen.replica_priority = Some(reads::priority(text)?),
        "local_dc" => seen.local_center = Some(text.to_owned()),
        "max_load" => pool.max_load = Some(values::load(text)?),
        "hedge_after" => match values::number(text, MS_MAX)? {
            0 => return Err("cannot be 0".to_owned()),
            ms => pool.hedge_after_ms = Some(ms),
        },
        "hedge_budget" => seen.hedge_percent = Some(values::percent(text)?),
        "read_from" => {
            seen.has_read_from = true;
            pool.read_from = values::named(text, &ReadFrom::NAMES).ok_or_else(|| {
                let names: Vec<&str> = ReadFrom::NAMES.iter().map(|(name, _)| *name).collect();
                format!("is not one of {}", names.join(", "))
            })?;
        }
        "max_lag" => pool.max_lag = Some(values::lag(text)?),
        "read_after_write" => pool.read_after_write_ms = values::number(text, MS_MAX)?,
        "server_user" => pool.server_user = Some(text.to_owned()),
        "server_password" => pool.server_password = Some(text.to_owned()),
        "sentinel_user" => seen.sentinel_user = Some(text.to_owned()),
        "sentinel_password" => seen.sentinel_password = Some(text.to_owned()),
        "auto_eject_hosts" => seen.ejects = Some(values::switch(text)?),
        "on_server_down" => {
            let named = values::named(text, &OnServerDown::NAMES);
            seen.on_server_down = Some(named.ok_or("is not eject, fail or next")?);
        }
        "on_lost_request" => {
            let named = values::named(text, &OnLostRequest::NAMES);
            pool.on_lost_request = named.ok_or("is not error or close")?;
        }
        "server_retry_timeout" => seen.retry_ms = Some(values::number(text, MS_MAX)?),
        "server_failure_limit" => {
            pool.server_failure_limit =
                u32::try_from(values::number(text, MS_MAX)?.max(1)).unwrap_or(2);
        }
        _ if seen.tls.set(key, text)? => {}
        _ => return Err(unknown(key, rows::POOL)),
    }
    Ok(())
}

/// What depends on several keys: the hash's flavour, the order of the servers, and names given twice.
fn finish(
    source: &Source<'_>,
    pool: &mut PoolSettings,
    hash: Option<String>,
) -> Result<(), SettingsError> {
    if let Some(hash) = hash {
        let named = hash_named(&hash, pool.server_order).ok_or_else(|| {
            source.error(&pool.name, Some("hash"), &format!("'{hash}' is not a valid hash"))
        })?;
        pool.hash = Some(named);
    }
    if pool.server_order == ServerOrder::Sorted {
        sort_by_name(&mut pool.servers);
    }
    for (place, server) in pool.servers.iter().enumerate() {
        if pool.servers[..place].iter().any(|other| other.name == server.name) {
            return Err(SettingsError::new(
                source.file,
                format!("has servers with the same name '{}'", server.name),
            )
            .within(&pool.name)
            .at(source.line_of(&pool.name, Some(LIST_KEY))));
        }
    }
    Ok(())
}

/// twemproxy's order: shorter names first, then by bytes.
pub(super) fn sort_by_name(servers: &mut [ServerSettings]) {
    servers
        .sort_by(|a, b| (a.name.len(), a.name.as_bytes()).cmp(&(b.name.len(), b.name.as_bytes())));
}

/// The hash of a name. Plain `crc16` is twemproxy's, whose upper half holds residue, with twemproxy's order of
/// servers, and predixy's true 16 bits with predixy's; `crc16_twemproxy` and `crc16_predixy` say it outright.
fn hash_named(name: &str, order: ServerOrder) -> Option<HashKind> {
    Some(match (name, order) {
        ("crc16", ServerOrder::File) | ("crc16_predixy", _) => HashKind::PredixyCrc16,
        ("crc16", ServerOrder::Sorted) | ("crc16_twemproxy", _) => HashKind::Crc16,
        (other, _) => HashKind::from_name(other)?,
    })
}
