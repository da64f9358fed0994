//! The configuration's lines: those of primaries, read and written.

use std::fmt::Write as _;

use super::change::{UNRECOGNIZED, no_address};
use super::hello::{number, signed};
use super::{Outside, Primary, Sentinel};
use crate::settings::file::{ConfigLine, as_word};

/// The options that lines of a configuration begin with, as they are written: each name's lines are written over where
/// they stand, and those that are not needed any more go.
pub const OPTIONS: [&str; 23] = [
    "sentinel myid",
    "sentinel deny-scripts-reconfig",
    "sentinel resolve-hostnames",
    "sentinel announce-hostnames",
    "sentinel monitor",
    "sentinel down-after-milliseconds",
    "sentinel failover-timeout",
    "sentinel parallel-syncs",
    "sentinel notification-script",
    "sentinel client-reconfig-script",
    "sentinel auth-pass",
    "sentinel auth-user",
    "sentinel master-reboot-down-after-period",
    "sentinel config-epoch",
    "sentinel leader-epoch",
    "sentinel known-replica",
    "sentinel known-sentinel",
    "sentinel rename-command",
    "sentinel current-epoch",
    "sentinel announce-ip",
    "sentinel announce-port",
    "sentinel sentinel-user",
    "sentinel sentinel-pass",
];

/// Older words for some of them.
pub const ALIASES: [(&str, &str); 1] = [("sentinel known-slave", "sentinel known-replica")];

/// Options that stand before those of primaries, whatever their order in the file.
const FIRST: [&str; 10] = [
    "announce-ip",
    "announce-port",
    "deny-scripts-reconfig",
    "sentinel-user",
    "sentinel-pass",
    "current-epoch",
    "myid",
    "resolve-hostnames",
    "announce-hostnames",
    "monitor",
];

/// In which round a line of a file is taken in: what is for all, the primaries, what is of them.
#[must_use]
pub(super) fn round(option: &str) -> usize {
    let is = |name: &&&str| name.eq_ignore_ascii_case(option);
    match FIRST.iter().find(is) {
        Some(&"monitor") => 1,
        Some(_) => 0,
        None => 2,
    }
}

/// A line in the making.
struct Lines(Vec<ConfigLine>);

impl Lines {
    fn put(&mut self, option: &str, values: &[&str]) {
        self.put_if(option, values, true);
    }

    fn put_if(&mut self, option: &str, values: &[&str], is_needed: bool) {
        let known = OPTIONS.iter().find(|known| known.strip_prefix("sentinel ") == Some(option));
        let Some(option) = known.copied() else { return };
        let mut text = option.to_owned();
        for value in values {
            // Whatever a client has set must be read back as what it is, and never as a line of its own.
            // Writing to a string does not fail.
            let _ = write!(text, " {}", as_word(value));
        }
        self.0.push(ConfigLine { option, text, is_needed });
    }
}

fn yes_no(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}

impl Sentinel {
    /// The lines of the configuration as it is now.
    #[must_use]
    pub fn lines(&self) -> Vec<ConfigLine> {
        let mut lines = Lines(Vec::new());
        let globals = &self.globals;
        lines.put("myid", &[&self.id]);
        let denies = globals.deny_scripts_reconfig;
        lines.put_if("deny-scripts-reconfig", &[yes_no(denies)], !denies);
        let resolves = globals.resolve_hostnames;
        lines.put_if("resolve-hostnames", &[yes_no(resolves)], resolves);
        let announces = globals.announce_hostnames;
        lines.put_if("announce-hostnames", &[yes_no(announces)], announces);
        for primary in self.primaries.values() {
            self.put_primary(&mut lines, primary);
        }
        lines.put("current-epoch", &[&self.epoch.to_string()]);
        if let Some(ip) = &globals.announce_ip {
            lines.put("announce-ip", &[]);
            // Redis quotes this one whatever it is.
            let mut quoted = vec![b' '];
            crate::text::quote(ip.as_bytes(), &mut quoted);
            if let Some(line) = lines.0.last_mut() {
                line.text.push_str(&String::from_utf8_lossy(&quoted));
            }
        }
        if globals.announce_port != 0 {
            lines.put("announce-port", &[&globals.announce_port.to_string()]);
        }
        for (option, value) in
            [("sentinel-user", &globals.user), ("sentinel-pass", &globals.password)]
        {
            if let Some(value) = value {
                lines.put(option, &[value]);
            }
        }
        lines.0
    }

    fn put_primary(&self, lines: &mut Lines, primary: &Primary) {
        let name = primary.own.name.as_str();
        let at = primary.current_address();
        let [port, quorum] = [u32::from(at.port), primary.quorum].map(|number| number.to_string());
        lines.put("monitor", &[name, self.announced(at), &port, &quorum]);
        let periods = &self.periods;
        for (option, value, default) in [
            ("down-after-milliseconds", primary.own.down_after, periods.default_down_after),
            ("failover-timeout", primary.failover_timeout, periods.default_failover_timeout),
            ("parallel-syncs", primary.parallel_syncs, 1),
            ("master-reboot-down-after-period", primary.reboot_down_after, 0),
        ] {
            if value != default {
                lines.put(option, &[name, &value.to_string()]);
            }
        }
        for (option, value) in [
            ("notification-script", &primary.notification_script),
            ("client-reconfig-script", &primary.reconfig_script),
            ("auth-pass", &primary.password),
            ("auth-user", &primary.user),
        ] {
            if let Some(value) = value {
                lines.put(option, &[name, value]);
            }
        }
        lines.put("config-epoch", &[name, &primary.config_epoch.to_string()]);
        lines.put("leader-epoch", &[name, &primary.own.leader_epoch.to_string()]);
        let mut written: Vec<(String, u16)> = Vec::new();
        for replica in primary.replicas.values() {
            // Where the promoted replica is the primary already, the old primary is a replica.
            let at = if replica.at.is_same(at) { &primary.own.at } else { &replica.at };
            let one = (self.announced(at).to_ascii_lowercase(), at.port);
            // Redis takes no file in which a replica stands twice.
            if !written.contains(&one) {
                lines.put("known-replica", &[name, self.announced(at), &at.port.to_string()]);
                written.push(one);
            }
        }
        for sentinel in primary.sentinels.values() {
            let (host, port) = (self.announced(&sentinel.at), sentinel.at.port.to_string());
            if let Some(id) = sentinel.run_id.as_deref() {
                lines.put("known-sentinel", &[name, host, &port, id]);
            }
        }
        for (from, to) in primary.renames.values() {
            lines.put("rename-command", &[name, from, to]);
        }
    }

    /// In which order lines of a configuration are taken in, given what they begin with: what is for all, the primaries,
    /// what is of them; within each as they stand.
    pub fn in_order<L>(mut lines: Vec<L>, option: impl Fn(&L) -> &str) -> Vec<L> {
        lines.sort_by_key(|line| round(option(line)));
        lines
    }

    pub(super) fn configure_primary(
        &mut self,
        option: &str,
        name: &str,
        values: &[&str],
        outside: &mut dyn Outside,
    ) -> Result<(), String> {
        const NO_SUCH: &str = "No such master with specified name.";
        const NOT_POSITIVE: &str = "negative or zero time parameter.";
        // A `known-sentinel` of three words is of a version that knew no ids, and says nothing.
        if option == "known-sentinel" && values.len() == 2 {
            return Ok(());
        }
        let is_known = match option {
            "known-slave" | "known-replica" | "rename-command" => values.len() == 2,
            "known-sentinel" => values.len() == 3,
            _ => values.len() == 1,
        };
        let recognized = ["known-slave", "known-replica", "known-sentinel", "rename-command"]
            .contains(&option)
            || PRIMARY_OPTIONS.contains(&option);
        if !is_known || !recognized {
            return Err(UNRECOGNIZED.to_owned());
        }
        let it = self.primaries.get_mut(name).ok_or(NO_SUCH)?;
        let value = values[0];
        let positive = || match signed(value) {
            ms if ms > 0 && ms <= i64::from(i32::MAX) => Ok(ms),
            _ => Err(NOT_POSITIVE.to_owned()),
        };
        match option {
            "down-after-milliseconds" => {
                let ms = positive()?;
                it.own.down_after = ms;
                it.others_mut().for_each(|other| other.down_after = ms);
            }
            "failover-timeout" => it.failover_timeout = positive()?,
            "parallel-syncs" => it.parallel_syncs = signed(value),
            "notification-script" => {
                if !outside.is_executable(value) {
                    return Err(
                        "Notification script seems non existing or non executable.".to_owned()
                    );
                }
                it.notification_script = Some(value.to_owned());
            }
            "client-reconfig-script" => {
                if !outside.is_executable(value) {
                    return Err("Client reconfiguration script seems non existing or non \
                                executable."
                        .to_owned());
                }
                it.reconfig_script = Some(value.to_owned());
            }
            "auth-pass" => it.password = Some(value.to_owned()),
            "auth-user" => it.user = Some(value.to_owned()),
            "config-epoch" => {
                it.config_epoch = number(value);
                self.epoch = self.epoch.max(number(value));
            }
            "leader-epoch" => it.own.leader_epoch = number(value),
            "master-reboot-down-after-period" => match signed(value) {
                ms if ms >= 0 => it.reboot_down_after = ms,
                _ => return Err("negative time parameter.".to_owned()),
            },
            "rename-command" => {
                let key = value.to_ascii_lowercase();
                if it.renames.contains_key(&key) {
                    return Err(
                        "Same command renamed multiple times with rename-command.".to_owned()
                    );
                }
                it.renames.insert(key, (value.to_owned(), values[1].to_owned()));
            }
            "known-sentinel" => {
                let at = self.address(value, signed(values[1]), true).map_err(no_address)?;
                let key = self.add_sentinel(name, values[2], at);
                let key = key.ok_or("Duplicate runid for sentinel.")?;
                self.share_link(&key);
            }
            _ => {
                let at = self.address(value, signed(values[1]), true).map_err(no_address)?;
                // Files of other sentinels are known to name one twice: that is no reason not to start.
                self.add_replica(name, at);
            }
        }
        Ok(())
    }
}

const PRIMARY_OPTIONS: [&str; 10] = [
    "down-after-milliseconds",
    "failover-timeout",
    "parallel-syncs",
    "notification-script",
    "client-reconfig-script",
    "auth-pass",
    "auth-user",
    "config-epoch",
    "leader-epoch",
    "master-reboot-down-after-period",
];
