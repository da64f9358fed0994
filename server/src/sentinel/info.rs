//! What servers say of themselves in INFO, and what follows from it.

use redstart_common::log::Level;

use super::hello::{number, signed};
use super::instance::{Reconfigured, State};
use super::{Action, Instance, Key, Kind, Role, Sentinel};

/// Hexadecimal digits of a run id.
const RUN_ID_LEN: usize = 40;

/// A replica that a primary names: `slave0:ip=…,port=…,…`, or `slave0:ip,port,…` of old.
fn listed_replica(line: &str) -> Option<(&str, i64)> {
    let digit = line.strip_prefix("slave")?.as_bytes().first()?;
    if !digit.is_ascii_digit() {
        return None;
    }
    let until_comma = |text: &'_ str| text.find(',').unwrap_or(text.len());
    if let Some((_, ip)) = line.split_once("ip=") {
        let (_, port) = line.split_once("port=")?;
        return Some((&ip[..until_comma(ip)], signed(&port[..until_comma(port)])));
    }
    let (_, rest) = line.split_once(':')?;
    let (ip, rest) = rest.split_once(',')?;
    let (port, _) = rest.split_once(',')?;
    Some((ip, signed(port)))
}

/// Reads the lines that a replica says of itself.
fn read_replica_line(it: &mut Instance, line: &str, now: i64) {
    let Some((name, value)) = line.split_once(':') else { return };
    match name {
        "master_host"
            if it.follows.as_deref().is_none_or(|host| !host.eq_ignore_ascii_case(value)) =>
        {
            it.follows = Some(value.to_owned());
            it.primary_changed_at = now;
        }
        "master_port" => {
            let port = signed(value);
            if it.follows_port != port {
                it.follows_port = port;
                it.primary_changed_at = now;
            }
        }
        "master_link_status" => it.link_is_up = value.eq_ignore_ascii_case("up"),
        "slave_priority" => it.priority = signed(value),
        "slave_repl_offset" => it.offset = number(value),
        "replica_announced" => it.is_announced = signed(value) != 0,
        _ => {}
    }
}

impl Sentinel {
    /// Takes the reply to INFO in.
    pub(super) fn take_info(&mut self, key: &Key, info: String) {
        let now = self.now;
        let Some(it) = self.instance_mut(key) else { return };
        let mut role = Role::Unknown;
        it.link_down_ms = 0;
        let mut listed = Vec::new();
        let mut has_rebooted = false;
        for line in info.split("\r\n") {
            if let Some(id) = line.strip_prefix("run_id:").and_then(|id| id.get(..RUN_ID_LEN)) {
                has_rebooted = it.run_id.as_deref().is_some_and(|known| known != id);
                it.run_id = Some(id.to_owned());
            }
            if key.kind == Kind::Primary {
                listed.extend(listed_replica(line));
            }
            if let Some(seconds) = line.strip_prefix("master_link_down_since_seconds:") {
                it.link_down_ms = signed(seconds).saturating_mul(1000);
            }
            if line.starts_with("role:master") {
                role = Role::Primary;
            } else if line.starts_with("role:slave") {
                role = Role::Replica;
            }
            if role == Role::Replica {
                read_replica_line(it, line, now);
            }
        }
        it.info_at = now;
        let role_changed = role != it.role;
        if role_changed {
            it.role = role;
            it.role_at = now;
            if role == Role::Replica {
                it.primary_changed_at = now;
            }
        }
        if has_rebooted {
            self.say(Level::Notice, "+reboot", key);
            if key.kind == Kind::Primary
                && let Some(primary) = self.primaries.get_mut(&*key.primary)
                && primary.reboot_down_after != 0
            {
                primary.rebooted_at = Some(now);
            }
        }
        self.add_listed(&key.primary, &listed);
        if role_changed {
            let is_expected = (key.kind == Kind::Primary) == (role == Role::Primary);
            let word = if role == Role::Primary { "master" } else { "slave" };
            let event = if is_expected { "+role-change" } else { "-role-change" };
            let more = format!(" new reported role is {word}");
            self.say_more(Level::Verbose, event, key, &more);
        }
        if let Some(it) = self.instance_mut(key) {
            it.info = Some(info);
        }
        if self.tilt_since.is_some() || key.kind != Kind::Replica {
            return;
        }
        match role {
            Role::Primary => self.replica_is_primary(key),
            Role::Replica => {
                self.mend_replica(key);
                self.note_reconfigured(key);
            }
            Role::Unknown => {}
        }
    }

    /// Adds replicas that are new.
    fn add_listed(&mut self, primary: &str, listed: &[(&str, i64)]) {
        for (host, port) in listed {
            // One whose name is yet to be resolved is added when it is.
            if self.is_unknown_name(host) {
                self.look_up(host);
                continue;
            }
            let Ok(at) = self.address(host, *port, true) else { continue };
            if let Some(key) = self.add_replica(primary, at) {
                self.say(Level::Notice, "+slave", &key);
                self.save();
            }
        }
    }

    /// A name is resolved now: replicas that are listed by it can be added.
    pub(super) fn look_for_replicas_of_name(&mut self, name: &str) {
        for primary in self.names_of_primaries() {
            let Some(info) = self.primaries.get(&primary).and_then(|it| it.own.info.clone()) else {
                continue;
            };
            let listed = info.split("\r\n").filter_map(listed_replica);
            let listed: Vec<_> = listed.filter(|(host, _)| *host == name).collect();
            self.add_listed(&primary, &listed);
        }
    }

    /// Whether a primary does what a primary should.
    pub(super) fn primary_looks_sane(&self, primary: &str) -> bool {
        self.primaries.get(primary).is_some_and(|it| {
            it.own.role == Role::Primary
                && !it.own.is_down
                && !it.own.is_objectively_down
                && self.now - it.own.info_at < self.periods.info_period.saturating_mul(2)
        })
    }

    /// A replica says that it is a primary: it was promoted by us, or has to be told whom it follows.
    fn replica_is_primary(&mut self, key: &Key) {
        let now = self.now;
        let Some(primary) = self.primaries.get_mut(&*key.primary) else { return };
        let Some(it) = primary.replicas.get(&*key.name) else { return };
        let failover = &mut primary.failover;
        if it.is_promoted && failover.in_progress && failover.state == State::WaitPromotion {
            primary.config_epoch = failover.epoch;
            failover.state = State::ReconfigureReplicas;
            failover.changed_at = now;
            let (from, to) = (primary.own.at.clone(), it.at.clone());
            self.save();
            self.say(Level::Warning, "+promoted-slave", key);
            if self.simulated.after_promotion {
                self.crash();
            }
            let primary = Key::primary(&key.primary);
            self.say(Level::Warning, "+failover-state-reconf-slaves", &primary);
            self.call_reconfig_script(&key.primary, true, &from, &to);
            self.hurry_hellos(&key.primary);
            return;
        }
        let wait = self.periods.publish_period.saturating_mul(4);
        let is_over = !it.is_promoted && now - it.role_at > wait;
        if is_over && self.primary_looks_sane(&key.primary) && self.was_up_for(key, wait) {
            self.send_to_primary(key, "+convert-to-slave");
        }
    }

    /// A replica that follows somebody else for long is told whom it follows.
    fn mend_replica(&mut self, key: &Key) {
        let (Some(primary), Some(it)) = (self.primaries.get(&*key.primary), self.instance(key))
        else {
            return;
        };
        let (at, wait) = (primary.own.at.clone(), primary.failover_timeout);
        let (follows, port, since) = (it.follows.clone(), it.follows_port, it.primary_changed_at);
        let is_right =
            port == i64::from(at.port) && follows.is_some_and(|host| self.is_host(&at, &host));
        if !is_right
            && self.primary_looks_sane(&key.primary)
            && self.was_up_for(key, wait)
            && self.now - since > wait
        {
            self.send_to_primary(key, "+fix-slave-config");
        }
    }

    fn send_to_primary(&mut self, key: &Key, event: &'static str) {
        let Some(at) = self.primaries.get(&*key.primary).map(|it| it.own.at.clone()) else {
            return;
        };
        let host = self.announced(&at).to_owned();
        if self.send_replicaof(key, Some((&host, at.port))) {
            self.say(Level::Notice, event, key);
        }
    }

    /// How far a replica is on its way to the new primary.
    fn note_reconfigured(&mut self, key: &Key) {
        let (Some(primary), Some(it)) = (self.primaries.get(&*key.primary), self.instance(key))
        else {
            return;
        };
        let mut now_is = it.reconfigured;
        if now_is == Reconfigured::Sent
            && let Some(host) = it.follows.clone()
            && let Some(to) = primary.promoted().map(|promoted| promoted.at.clone())
            && it.follows_port == i64::from(to.port)
            && self.is_host(&to, &host)
        {
            now_is = Reconfigured::InProgress;
            self.say(Level::Notice, "+slave-reconf-inprog", key);
        }
        let link_is_up = self.instance(key).is_some_and(|it| it.link_is_up);
        if now_is == Reconfigured::InProgress && link_is_up {
            now_is = Reconfigured::Done;
            self.say(Level::Notice, "+slave-reconf-done", key);
        }
        if let Some(it) = self.instance_mut(key) {
            it.reconfigured = now_is;
        }
    }

    /// Ends at once, as was asked for.
    pub(super) fn crash(&mut self) {
        let text = "Sentinel CRASH because of SENTINEL simulate-failure".to_owned();
        self.actions.push(Action::Log(Level::Warning, text));
        self.actions.push(Action::Crash);
    }
}
