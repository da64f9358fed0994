//! What a sentinel tells of itself and of what it watches.

use super::instance::Reconfigured;
use super::{Instance, Key, Kind, Role, Sentinel};

/// How often things are done, and how long others may take, in milliseconds. SENTINEL DEBUG changes them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are Redis's names")]
pub struct Periods {
    pub info_period: i64,
    pub ping_period: i64,
    pub ask_period: i64,
    pub publish_period: i64,
    pub default_down_after: i64,
    pub default_failover_timeout: i64,
    pub tilt_trigger: i64,
    pub tilt_period: i64,
    pub replica_reconf_timeout: i64,
    pub min_link_reconnect_period: i64,
    pub election_timeout: i64,
    pub script_max_runtime: i64,
    pub script_retry_delay: i64,
}

impl Default for Periods {
    fn default() -> Self {
        Self {
            info_period: 10_000,
            ping_period: 1000,
            ask_period: 1000,
            publish_period: 2000,
            default_down_after: 30_000,
            default_failover_timeout: 180_000,
            tilt_trigger: 2000,
            tilt_period: 30_000,
            replica_reconf_timeout: 10_000,
            min_link_reconnect_period: 15_000,
            election_timeout: 10_000,
            script_max_runtime: 60_000,
            script_retry_delay: 30_000,
        }
    }
}

impl Periods {
    /// All of them by their names, in Redis's order.
    #[must_use]
    pub fn all(&self) -> [(&'static str, i64); 13] {
        [
            ("INFO-PERIOD", self.info_period),
            ("PING-PERIOD", self.ping_period),
            ("ASK-PERIOD", self.ask_period),
            ("PUBLISH-PERIOD", self.publish_period),
            ("DEFAULT-DOWN-AFTER", self.default_down_after),
            ("DEFAULT-FAILOVER-TIMEOUT", self.default_failover_timeout),
            ("TILT-TRIGGER", self.tilt_trigger),
            ("TILT-PERIOD", self.tilt_period),
            ("SLAVE-RECONF-TIMEOUT", self.replica_reconf_timeout),
            ("MIN-LINK-RECONNECT-PERIOD", self.min_link_reconnect_period),
            ("ELECTION-TIMEOUT", self.election_timeout),
            ("SCRIPT-MAX-RUNTIME", self.script_max_runtime),
            ("SCRIPT-RETRY-DELAY", self.script_retry_delay),
        ]
    }

    pub(super) fn named_mut(&mut self, name: &str) -> Option<&mut i64> {
        Some(match name.to_ascii_lowercase().as_str() {
            "info-period" => &mut self.info_period,
            "ping-period" => &mut self.ping_period,
            "ask-period" => &mut self.ask_period,
            "publish-period" => &mut self.publish_period,
            "default-down-after" => &mut self.default_down_after,
            "default-failover-timeout" => &mut self.default_failover_timeout,
            "tilt-trigger" => &mut self.tilt_trigger,
            "tilt-period" => &mut self.tilt_period,
            "slave-reconf-timeout" => &mut self.replica_reconf_timeout,
            "min-link-reconnect-period" => &mut self.min_link_reconnect_period,
            "election-timeout" => &mut self.election_timeout,
            "script-max-runtime" => &mut self.script_max_runtime,
            "script-retry-delay" => &mut self.script_retry_delay,
            _ => return None,
        })
    }
}

/// Whether a failover could be decided on and authorized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    /// Sentinels that can be reached, ourselves among them.
    pub usable: usize,
    /// They are as many as have to agree that the primary is down.
    pub is_reached: bool,
    /// They are more than half of all.
    pub is_majority: bool,
}

type Fields = Vec<(&'static str, String)>;

impl Sentinel {
    /// Whether a failover of a primary could be decided on and authorized.
    #[must_use]
    pub fn quorum(&self, name: &str) -> Option<Quorum> {
        let primary = self.primaries.get(name)?;
        let others = primary.sentinels.values();
        let usable = 1 + others.filter(|it| !it.is_down && !it.is_objectively_down).count();
        let voters = primary.sentinels.len() + 1;
        Some(Quorum {
            usable,
            is_reached: usable >= primary.quorum as usize,
            is_majority: usable > voters / 2,
        })
    }

    /// Seconds for which what is known is worth little; `None` if that is not so.
    #[must_use]
    pub fn tilt_seconds(&self) -> Option<i64> {
        self.tilt_since.map(|since| (self.now - since) / 1000)
    }

    /// The fields of an instance, as SENTINEL MASTER and its kin show them.
    #[must_use]
    pub fn fields(&self, key: &Key) -> Fields {
        let (Some(it), Some(link)) = (self.instance(key), self.link(key)) else {
            return Vec::new();
        };
        let Some(primary) = self.primaries.get(&*key.primary) else { return Vec::new() };
        let failover = Some(&primary.failover).filter(|_| key.kind == Kind::Primary);
        let since = |at: i64| (self.now - at).to_string();
        let since_or_never = |at: i64| if at == 0 { "0".to_owned() } else { since(at) };
        let mut fields: Fields = vec![
            ("name", it.name.clone()),
            ("ip", self.announced(&it.at).to_owned()),
            ("port", it.at.port.to_string()),
            ("runid", it.run_id.clone().unwrap_or_default()),
            ("flags", self.flags(key)),
            ("link-pending-commands", link.pending.to_string()),
            ("link-refcount", link.owners.to_string()),
        ];
        if let Some(failover) = failover.filter(|it| it.in_progress) {
            fields.push(("failover-state", failover.state.word().to_owned()));
        }
        fields.extend([
            ("last-ping-sent", since_or_never(link.waits_since)),
            ("last-ok-ping-reply", since(link.last_ok)),
            ("last-ping-reply", since(link.last_pong)),
        ]);
        if it.is_down {
            fields.push(("s-down-time", since(it.down_since)));
        }
        if it.is_objectively_down {
            fields.push(("o-down-time", since(it.objectively_down_since)));
        }
        fields.push(("down-after-milliseconds", it.down_after.to_string()));
        if key.kind != Kind::Sentinel {
            let role = if it.role == Role::Primary { "master" } else { "slave" };
            fields.extend([
                ("info-refresh", since_or_never(it.info_at)),
                ("role-reported", role.to_owned()),
                ("role-reported-time", since(it.role_at)),
            ]);
        }
        match key.kind {
            Kind::Primary => {
                fields.extend([
                    ("config-epoch", primary.config_epoch.to_string()),
                    ("num-slaves", primary.replicas.len().to_string()),
                    ("num-other-sentinels", primary.sentinels.len().to_string()),
                    ("quorum", primary.quorum.to_string()),
                    ("failover-timeout", primary.failover_timeout.to_string()),
                    ("parallel-syncs", primary.parallel_syncs.to_string()),
                ]);
                for (name, script) in [
                    ("notification-script", &primary.notification_script),
                    ("client-reconfig-script", &primary.reconfig_script),
                ] {
                    fields.extend(script.clone().map(|script| (name, script)));
                }
            }
            Kind::Replica => fields.extend([
                ("master-link-down-time", it.link_down_ms.to_string()),
                ("master-link-status", if it.link_is_up { "ok" } else { "err" }.to_owned()),
                ("master-host", it.follows.clone().unwrap_or_else(|| "?".to_owned())),
                ("master-port", it.follows_port.to_string()),
                ("slave-priority", it.priority.to_string()),
                ("slave-repl-offset", it.offset.to_string()),
                ("replica-announced", i64::from(it.is_announced).to_string()),
            ]),
            Kind::Sentinel => fields.extend([
                ("last-hello-message", since(it.hello_at)),
                ("voted-leader", it.leader.clone().unwrap_or_else(|| "?".to_owned())),
                ("voted-leader-epoch", it.leader_epoch.to_string()),
            ]),
        }
        fields
    }

    fn flags(&self, key: &Key) -> String {
        let (Some(it), Some(link)) = (self.instance(key), self.link(key)) else {
            return String::new();
        };
        let of_failover = |holds: fn(&super::instance::Failover) -> bool| {
            key.kind == Kind::Primary
                && self.primaries.get(&*key.primary).is_some_and(|it| holds(&it.failover))
        };
        let flags = [
            (it.is_down, "s_down"),
            (it.is_objectively_down, "o_down"),
            (true, key.kind.word()),
            (link.is_disconnected, "disconnected"),
            (it.says_down, "master_down"),
            (of_failover(|it| it.in_progress), "failover_in_progress"),
            (it.is_promoted, "promoted"),
            (it.reconfigured == Reconfigured::Sent, "reconf_sent"),
            (it.reconfigured == Reconfigured::InProgress, "reconf_inprog"),
            (it.reconfigured == Reconfigured::Done, "reconf_done"),
            (of_failover(|it| it.is_forced), "force_failover"),
            (it.script_kill_sent, "script_kill_sent"),
        ];
        let set = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, word)| *word);
        set.collect::<Vec<_>>().join(",")
    }

    /// Keys of a primary's replicas that others may know of.
    #[must_use]
    pub fn announced_replicas(&self, name: &str) -> Option<Vec<Key>> {
        let primary = self.primaries.get(name)?;
        let is_announced =
            |key: &Key| self.instance(key).is_some_and(|it: &Instance| it.is_announced);
        Some(primary.replica_keys().into_iter().filter(is_announced).collect())
    }

    /// Keys of the other sentinels of a primary.
    #[must_use]
    pub fn sentinels_of(&self, name: &str) -> Option<Vec<Key>> {
        Some(self.primaries.get(name)?.sentinel_keys())
    }

    /// How long ago INFO came from an instance in milliseconds, if it did.
    #[must_use]
    pub fn info_age(&self, it: &Instance) -> i64 {
        if it.info_at == 0 { 0 } else { self.now - it.info_at }
    }
}
