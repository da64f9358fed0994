//! The kinds of pools that histories are about.

use rand::Rng;
use rand::rngs::SmallRng;

use crate::settings::{Global, PoolSettings, Settings};

/// Where a pool of groups reads, and how long it waits.
fn reads(random: &mut SmallRng, fate: Fate, lines: &mut Vec<String>) {
    // Waiting is the default, and it may be turned off.
    let hold = [None, None, Some(2000), Some(0)][random.random_range(0..4)];
    let is_gentle = fate == Fate::Gentle;
    let hold = if is_gentle { Some(HOLD_GENTLE_MS) } else { hold };
    lines.extend(hold.map(|ms: u32| format!("failover_hold: {ms}")));
    if random.random_bool(0.25) {
        return;
    }
    let all = ["master_preferred", "replica", "replica_preferred", "any", "nearest"];
    // Where only replicas may be read and none is known, that is an error.
    let from = if is_gentle { "any" } else { all[random.random_range(0..all.len())] };
    lines.push(format!("read_from: {from}"));
    if random.random_bool(0.3) {
        lines.push(format!("read_after_write: {}", random.random_range(1..200)));
    }
    match random.random_range(0..5) {
        0 => lines.push(format!("max_load: {}", random.random_range(1..8))),
        1 => lines.push(format!("max_load: {}ms", random.random_range(1..50))),
        2 if !is_gentle => lines.push("max_lag: 5s".to_owned()),
        _ => {}
    }
    if hold != Some(0) && random.random_bool(0.6) {
        lines.push(format!("hedge_after: {}", random.random_range(1..40)));
        lines.push(format!("hedge_budget: {}%", random.random_range(1..=100)));
    }
    if from != "nearest" && random.random_bool(0.4) {
        // Each group has a server in both; nobody's priority is 0, for the one that is left may be the only one.
        let (near, far) = (random.random_range(1..100), random.random_range(1..100));
        lines.push(format!(
            "local_dc: here\n  data_centers:\n    here:\n      \
             prefixes: ['127.0.0.1:7000', '127.0.0.1:7003', '127.0.0.1:7004']\n      \
             reads: {{here: '{near}:2', there: '{far}:3'}}\n    there:\n      \
             prefixes: ['127.0.0.1:700']"
        ));
    }
}

/// What a pool is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Fixed servers.
    Servers,
    /// Nodes of a cluster.
    Cluster,
    /// Groups that sentinels watch, of a primary and a replica each.
    Groups,
}

/// What befalls the servers of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Calm,
    /// What no client may notice: slots move, nodes leave the map and come back, and servers take their time.
    Gentle,
    /// Whatever may.
    Rough,
}

/// How long requests wait for nodes where clients are to notice nothing, in milliseconds.
const HOLD_GENTLE_MS: u32 = 4000;

/// What kind of pool a history has, and how rough its world is.
#[derive(Debug, Clone)]
pub struct Manner {
    /// Servers.
    pub servers: u16,
    /// What they are to each other.
    pub kind: Kind,
    /// Every second one is a replica of the one before it, in a cluster.
    pub has_replicas: bool,
    /// Servers that are asked where a read misses.
    pub fallback: u16,
    /// What befalls them.
    pub fate: Fate,
    /// Whether some may leave for a while.
    pub leaves: bool,
    /// A client whose write may have run on a server that was lost sees its connection end.
    pub ends_lost: bool,
    /// The settings that vary.
    lines: Vec<String>,
}

impl Manner {
    /// One by chance.
    pub fn choose(random: &mut SmallRng) -> Self {
        let mut lines = Vec::new();
        let mut fallback = 0;
        let kind = [Kind::Servers, Kind::Cluster, Kind::Groups][random.random_range(0..3)];
        let has_replicas = kind == Kind::Cluster && random.random_bool(0.5);
        let fate = match random.random_range(0..20) {
            0..3 => Fate::Calm,
            3..10 if kind == Kind::Cluster => Fate::Gentle,
            _ => Fate::Rough,
        };
        let is_gentle = fate == Fate::Gentle;
        if has_replicas {
            reads(random, fate, &mut lines);
        } else if kind == Kind::Cluster {
            let hold = if is_gentle { HOLD_GENTLE_MS } else { 2000 };
            lines.push(format!("failover_hold: {hold}"));
        } else {
            let distribution = ["ketama", "modula"][random.random_range(0..2)];
            // A read that misses is asked of the next servers of the ring, which ketama has.
            if kind == Kind::Servers && distribution == "ketama" && random.random_bool(0.4) {
                fallback = random.random_range(1..4);
                lines.push(format!("read_fallback: {fallback}"));
            }
            lines.push(format!("distribution: {distribution}"));
            lines.push("hash: fnv1a_64".to_owned());
            match random.random_range(0..7) {
                _ if kind == Kind::Groups => reads(random, fate, &mut lines),
                2..5 => {
                    let what = ["eject", "fail", "next"][random.random_range(0..3)];
                    lines.push(format!("on_server_down: {what}"));
                    lines.push(format!("server_failure_limit: {}", random.random_range(1..3)));
                    if what != "fail" {
                        lines.push("server_retry_timeout: 300".to_owned());
                    }
                }
                0 => lines.extend([
                    "auto_eject_hosts: true".to_owned(),
                    "server_retry_timeout: 300".to_owned(),
                    format!("server_failure_limit: {}", random.random_range(1..3)),
                ]),
                1 => lines.push("failover_hold: 2000".to_owned()),
                _ => {}
            }
        }
        let ends_lost = random.random_bool(0.4);
        if ends_lost {
            lines.push("on_lost_request: close".to_owned());
        }
        let timeout = if is_gentle { 10_000 } else { random.random_range(150..1500) };
        lines.push(format!("timeout: {timeout}"));
        lines.push(format!("server_connections: {}", random.random_range(1..3)));
        lines.push(format!("heavy_connections: {}", random.random_range(0..3)));
        let servers = match kind {
            Kind::Groups => 2 * random.random_range(1..4),
            Kind::Cluster if has_replicas => 2 * random.random_range(1..4),
            Kind::Servers | Kind::Cluster => random.random_range(2..6),
        };
        let leaves = fate == Fate::Rough || (is_gentle && random.random_bool(0.6));
        Self { servers, kind, has_replicas, fallback, fate, leaves, ends_lost, lines }
    }

    /// Whether replicas may be read.
    pub fn reads_replicas(&self) -> bool {
        self.lines.iter().any(|line| line.starts_with("read_from"))
    }

    /// The settings of the pool, read as those of people are.
    pub fn settings(&self) -> Result<(PoolSettings, Global), String> {
        let mut text = "p:\n  listen: 127.0.0.1:1\n  redis: true\n".to_owned();
        match self.kind {
            Kind::Cluster => text.push_str("  cluster: [127.0.0.1:7000]\n"),
            Kind::Servers => {
                text.push_str("  hash_tag: \"{}\"\n  servers:\n");
                for place in 0..self.servers {
                    text.push_str(&format!("    - 127.0.0.1:{}:1\n", 7000 + place));
                }
            }
            Kind::Groups => {
                text.push_str("  hash_tag: \"{}\"\n  sentinels: [127.0.0.1:26379]\n  groups:\n");
                for number in 0..self.servers / 2 {
                    text.push_str(&format!("    - {}\n", super::groups::name(number.into())));
                }
            }
        }
        for line in &self.lines {
            text.push_str(&format!("  {line}\n"));
        }
        let mut settings =
            Settings::parse("simulation", &text).map_err(|error| error.to_string())?;
        // A rest is the thread's, and its time is not virtual.
        settings.global.coalesce_us = 0;
        Ok((settings.pools.remove(0), settings.global))
    }
}
