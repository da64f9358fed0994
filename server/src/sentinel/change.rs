//! What operators change while a sentinel runs.

use redstart_common::glob;
use redstart_common::log::Level;
use redstart_common::number::parse_i64;

use super::address::NoAddress;
use super::hello::number;
use super::{Action, Globals, Key, Outside, Primary, Sentinel, State};

/// Why something was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There is no primary of that name.
    NoSuchPrimary,
    /// Something else, in Redis's words.
    Because(String),
}

/// How many changes were made, and why no more were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Changes.
    pub count: usize,
    /// What ended them early.
    pub refused: Option<String>,
}

const SCRIPTS_DENIED: &str = "Reconfiguration of scripts path is denied for security reasons. Check the \
                              deny-scripts-reconfig configuration directive in your Sentinel configuration";

/// The words for an instance that cannot be made.
pub(super) fn no_address(reason: NoAddress) -> String {
    match reason {
        NoAddress::Port => "Invalid port number.",
        NoAddress::Name => "Can't resolve instance hostname.",
    }
    .to_owned()
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

pub(super) fn flag(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

impl Sentinel {
    /// Watches a primary.
    ///
    /// # Errors
    /// Redis's words for why not.
    pub fn watch(&mut self, name: &str, host: &str, port: i64, quorum: u32) -> Result<(), String> {
        let at = self.address(host, port, true).map_err(no_address)?;
        if self.primaries.contains_key(name) {
            return Err("Duplicate master name.".to_owned());
        }
        let down_after = self.periods.default_down_after;
        let primary = Primary {
            own: self.fresh(Key::primary(name), at, down_after),
            config_epoch: 0,
            quorum,
            parallel_syncs: 1,
            failover_timeout: self.periods.default_failover_timeout,
            failover: Default::default(),
            password: None,
            user: None,
            notification_script: None,
            reconfig_script: None,
            reboot_down_after: 0,
            rebooted_at: None,
            conflict: None,
            renames: Default::default(),
            replicas: Default::default(),
            sentinels: Default::default(),
        };
        self.primaries.insert(name.to_owned(), primary);
        Ok(())
    }

    /// Watches a primary because a client wants it.
    ///
    /// # Errors
    /// As [`Sentinel::watch`].
    pub fn monitor(
        &mut self,
        name: &str,
        host: &str,
        port: i64,
        quorum: u32,
    ) -> Result<(), String> {
        if self.look_up(host).is_none() {
            return Err("Invalid IP address or hostname specified".to_owned());
        }
        self.watch(name, host, port, quorum)?;
        self.save();
        self.say_monitor(name);
        Ok(())
    }

    /// Watches a primary no more.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn remove(&mut self, name: &str) -> Result<(), Refused> {
        if !self.primaries.contains_key(name) {
            return Err(Refused::NoSuchPrimary);
        }
        self.say(Level::Warning, "-monitor", &Key::primary(name));
        self.reset(name, false, false);
        if let Some(gone) = self.primaries.remove(name) {
            self.release_link(gone.own.link);
        }
        self.save();
        Ok(())
    }

    /// Forgets what is known of the primaries whose names fit. Answers how many do.
    pub fn reset_matching(&mut self, pattern: &str) -> usize {
        let names = self.names_of_primaries();
        let fits = |name: &&String| glob::matches(pattern.as_bytes(), name.as_bytes(), false);
        let names: Vec<_> = names.iter().filter(fits).collect();
        for name in &names {
            // Others know of a promotion that has been told already, and its epoch is known here: only its end is forgotten.
            if self.primaries.get(*name).is_some_and(|it| {
                it.failover.in_progress && it.failover.state >= State::ReconfigureReplicas
            }) {
                self.switch_to_promoted(name);
            }
            self.reset(name, false, true);
        }
        names.len()
    }

    /// Begins a failover that somebody asks for.
    ///
    /// # Errors
    /// When one is under way, or nobody could be promoted.
    pub fn force_failover(&mut self, name: &str) -> Result<(), Refused> {
        let it = self.primaries.get(name).ok_or(Refused::NoSuchPrimary)?;
        if it.failover.in_progress {
            return Err(Refused::Because("-INPROG Failover already in progress".to_owned()));
        }
        if self.best_replica(name).is_none() {
            return Err(Refused::Because("-NOGOODSLAVE No suitable replica to promote".to_owned()));
        }
        let text = format!("Executing user requested FAILOVER of '{name}'");
        self.actions.push(Action::Log(Level::Warning, text));
        self.start_failover(name);
        if let Some(it) = self.primaries.get_mut(name) {
            it.failover.is_forced = true;
        }
        Ok(())
    }

    /// SENTINEL SET: pairs of options and values. Changes are kept up to the first that is wrong.
    ///
    /// # Errors
    /// When there is no such primary.
    pub fn set(
        &mut self,
        name: &str,
        words: &[&str],
        outside: &mut dyn Outside,
    ) -> Result<Changed, Refused> {
        if !self.primaries.contains_key(name) {
            return Err(Refused::NoSuchPrimary);
        }
        let mut count = 0;
        let mut rest = words;
        while let [option, values @ ..] = rest {
            let used = match self.set_one(name, option, values, outside) {
                Ok(used) => used,
                Err(reason) => {
                    if count > 0 {
                        self.save();
                    }
                    return Ok(Changed { count, refused: Some(reason) });
                }
            };
            count += 1;
            let mut shown = values[..used].to_vec();
            if option.eq_ignore_ascii_case("auth-pass") {
                shown[0] = "******";
            }
            let more = format!(" {option} {}", shown.join(" "));
            self.say_more(Level::Warning, "+set", &Key::primary(name), &more);
            rest = &values[used..];
        }
        if count > 0 {
            self.save();
        }
        Ok(Changed { count, refused: None })
    }

    /// Sets one option. Answers how many words its value has.
    fn set_one(
        &mut self,
        name: &str,
        option: &str,
        values: &[&str],
        outside: &mut dyn Outside,
    ) -> Result<usize, String> {
        let unknown =
            || format!("Unknown option or number of arguments for SENTINEL SET '{option}'");
        let wrong = |value: &str| format!("Invalid argument '{value}' for SENTINEL SET '{option}'");
        let value = *values.first().ok_or_else(unknown)?;
        let least = |least: i64| {
            let number = parse_i64(value.as_bytes()).filter(|number| *number >= least);
            number.ok_or_else(|| wrong(value))
        };
        let denied = self.globals.deny_scripts_reconfig;
        let it = self.primaries.get_mut(name).ok_or_else(unknown)?;
        match option.to_ascii_lowercase().as_str() {
            "down-after-milliseconds" => {
                let ms = least(1)?;
                it.own.down_after = ms;
                it.others_mut().for_each(|other| other.down_after = ms);
            }
            "failover-timeout" => it.failover_timeout = least(1)?,
            "parallel-syncs" => it.parallel_syncs = least(1)?,
            "quorum" => it.quorum = u32::try_from(least(1)?).map_err(|_| wrong(value))?,
            "master-reboot-down-after-period" => it.reboot_down_after = least(0)?,
            "notification-script" | "client-reconfig-script" => {
                if denied {
                    return Err(SCRIPTS_DENIED.to_owned());
                }
                let is_notification = option.eq_ignore_ascii_case("notification-script");
                if !value.is_empty() && !outside.is_executable(value) {
                    let what =
                        if is_notification { "Notification" } else { "Client reconfiguration" };
                    return Err(format!("{what} script seems non existing or non executable"));
                }
                let script = if is_notification {
                    &mut it.notification_script
                } else {
                    &mut it.reconfig_script
                };
                *script = text(value);
            }
            "auth-pass" => {
                it.password = text(value);
                self.drop_server_links(name);
            }
            "auth-user" => {
                it.user = text(value);
                self.drop_server_links(name);
            }
            "rename-command" => {
                let to = *values.get(1).ok_or_else(unknown)?;
                if value.is_empty() || to.is_empty() {
                    return Err(wrong(if value.is_empty() { value } else { to }));
                }
                let key = value.to_ascii_lowercase();
                it.renames.remove(&key);
                if !value.eq_ignore_ascii_case(to) {
                    it.renames.insert(key, (value.to_owned(), to.to_owned()));
                }
                return Ok(2);
            }
            _ => return Err(unknown()),
        }
        Ok(1)
    }

    /// Closes the connections to a primary and its replicas: they are made again with other words.
    fn drop_server_links(&mut self, name: &str) {
        let mut keys = vec![Key::primary(name)];
        keys.extend(self.primaries.get(name).map(Primary::replica_keys).unwrap_or_default());
        keys.iter().for_each(|key| self.close_links(key));
    }

    /// SENTINEL CONFIG SET.
    ///
    /// # Errors
    /// Redis's words for what is wrong.
    pub fn set_global(&mut self, option: &str, value: &str) -> Result<(), String> {
        let wrong = || format!("Invalid value '{value}' to SENTINEL CONFIG SET '{option}'");
        let mut drops = false;
        let globals = &mut self.globals;
        match option.to_ascii_lowercase().as_str() {
            "resolve-hostnames" => globals.resolve_hostnames = flag(value).ok_or_else(wrong)?,
            "announce-hostnames" => globals.announce_hostnames = flag(value).ok_or_else(wrong)?,
            "announce-ip" => globals.announce_ip = text(value),
            "announce-port" => {
                let port = parse_i64(value.as_bytes()).and_then(|port| u16::try_from(port).ok());
                globals.announce_port = port.ok_or_else(wrong)?;
            }
            "sentinel-user" => {
                globals.user = text(value);
                drops = true;
            }
            "sentinel-pass" => {
                globals.password = text(value);
                drops = true;
            }
            _ => return Err(format!("Invalid argument '{option}' to SENTINEL CONFIG SET")),
        }
        self.save();
        if drops {
            self.drop_sentinel_links();
        }
        Ok(())
    }

    /// SENTINEL DEBUG: sets periods, in pairs of their names and milliseconds, up to the first that is wrong.
    ///
    /// # Errors
    /// Redis's words for what is wrong.
    pub fn set_periods(&mut self, words: &[&str]) -> Result<(), String> {
        let mut rest = words;
        while let [option, values @ ..] = rest {
            let unknown =
                || format!("Unknown option or number of arguments for SENTINEL DEBUG '{option}'");
            let value = *values.first().ok_or_else(unknown)?;
            let place = self.periods.named_mut(option).ok_or_else(unknown)?;
            let number = parse_i64(value.as_bytes()).filter(|ms| *ms > 0);
            *place = number.ok_or_else(|| {
                format!("Invalid argument '{value}' for SENTINEL DEBUG '{option}'")
            })?;
            rest = &values[1..];
        }
        Ok(())
    }

    /// Writes the configuration.
    pub fn flush(&mut self) {
        self.save();
    }

    // === lines of the configuration ===

    /// Takes the words of a `sentinel` line of a configuration in, the first left out.
    ///
    /// # Errors
    /// Redis's words for what is wrong.
    pub fn configure(&mut self, words: &[String], outside: &mut dyn Outside) -> Result<(), String> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let Some((option, values)) = words.split_first() else { return Ok(()) };
        let option = option.to_ascii_lowercase();
        // What names stand for is asked at once: nobody is served yet.
        let host = match (option.as_str(), values) {
            ("monitor" | "known-replica" | "known-slave" | "known-sentinel", [_, host, ..]) => {
                Some(*host)
            }
            _ => None,
        };
        if let Some(host) = host.filter(|host| self.is_unknown_name(host)) {
            let found = outside.resolve(host);
            self.names.insert(host.to_owned(), found);
        }
        match (option.as_str(), values) {
            ("monitor", [name, host, port, quorum]) => {
                let quorum = u32::try_from(super::hello::signed(quorum)).unwrap_or(0);
                if quorum == 0 {
                    return Err("Quorum must be 1 or greater.".to_owned());
                }
                self.watch(name, host, super::hello::signed(port), quorum)
            }
            ("current-epoch", [epoch]) => {
                self.epoch = self.epoch.max(number(epoch));
                Ok(())
            }
            ("myid", [id]) => {
                if id.len() != 40 {
                    return Err("Malformed Sentinel id in myid option.".to_owned());
                }
                self.id = (*id).to_owned();
                Ok(())
            }
            (_, [value]) => self.globals.configure(&option, value),
            (_, [name, values @ ..]) => self.configure_primary(&option, name, values, outside),
            (_, []) => Err(UNRECOGNIZED.to_owned()),
        }
    }
}

pub(super) const UNRECOGNIZED: &str = "Unrecognized sentinel configuration statement.";

impl Globals {
    fn configure(&mut self, option: &str, value: &str) -> Result<(), String> {
        match option {
            "announce-ip" => self.announce_ip = text(value).or(self.announce_ip.take()),
            "announce-port" => {
                self.announce_port = u16::try_from(super::hello::signed(value)).unwrap_or(0);
            }
            "deny-scripts-reconfig" => {
                self.deny_scripts_reconfig = flag(value)
                    .ok_or("Please specify yes or no for the deny-scripts-reconfig options.")?;
            }
            "sentinel-user" => self.user = text(value).or(self.user.take()),
            "sentinel-pass" => self.password = text(value).or(self.password.take()),
            "resolve-hostnames" => {
                self.resolve_hostnames = flag(value)
                    .ok_or("Please specify yes or no for the resolve-hostnames option.")?;
            }
            "announce-hostnames" => {
                self.announce_hostnames = flag(value)
                    .ok_or("Please specify yes or no for the announce-hostnames option.")?;
            }
            _ => return Err(UNRECOGNIZED.to_owned()),
        }
        Ok(())
    }
}
