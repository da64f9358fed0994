//! A failover, from its start until the new primary has the old one's place here.

use std::cmp::Ordering;

use redstart_common::log::Level;

use super::instance::{Reconfigured, State};
use super::{Action, Address, Instance, Key, Kind, Primary, Role, Sentinel};

/// The better of two replicas comes first: the smaller priority, then the longer history, then the smaller run id.
fn by_fitness(one: &Instance, other: &Instance) -> Ordering {
    let run_id = |it: &Instance| {
        let id = it.run_id.as_ref().map(|id| id.to_ascii_lowercase());
        (id.is_none(), id)
    };
    one.priority
        .cmp(&other.priority)
        .then(other.offset.cmp(&one.offset))
        .then_with(|| run_id(one).cmp(&run_id(other)))
}

impl Sentinel {
    /// Begins a failover, if a primary is objectively down and the last attempt is long ago. Answers whether it did.
    pub(super) fn start_failover_if_needed(&mut self, name: &str) -> bool {
        let now = self.now;
        let Some(it) = self.primaries.get_mut(name) else { return false };
        let failover = &mut it.failover;
        if !it.own.is_objectively_down || failover.in_progress {
            return false;
        }
        if now - failover.started_at < it.failover_timeout.saturating_mul(2) {
            if failover.delay_logged != failover.started_at {
                failover.delay_logged = failover.started_at;
                let until =
                    failover.started_at.saturating_add(it.failover_timeout.saturating_mul(2));
                self.actions.push(Action::LogDelay(until));
            }
            return false;
        }
        self.start_failover(name);
        true
    }

    pub(super) fn start_failover(&mut self, name: &str) {
        let (now, delay) = (self.now, self.some_delay());
        let Some(it) = self.primaries.get_mut(name) else { return };
        // Nobody comes to the end of it, but anybody can say that they have.
        self.epoch = self.epoch.saturating_add(1);
        it.failover.state = State::WaitStart;
        it.failover.in_progress = true;
        it.failover.epoch = self.epoch;
        it.failover.started_at = now + delay;
        it.failover.changed_at = now;
        self.say_new_epoch(name);
        self.say(Level::Warning, "+try-failover", &Key::primary(name));
    }

    /// One step of a failover.
    pub(super) fn go_on_with_failover(&mut self, name: &str) {
        let Some(it) = self.primaries.get(name).filter(|it| it.failover.in_progress) else {
            return;
        };
        match it.failover.state {
            State::WaitStart => self.wait_for_votes(name),
            State::SelectReplica => self.select_replica(name),
            State::SendPromotion => self.promote(name),
            State::WaitPromotion => self.wait_for_promotion(name),
            State::ReconfigureReplicas => self.reconfigure_replicas(name),
            State::None | State::UpdateConfig => {}
        }
    }

    fn enter(&mut self, name: &str, state: State) {
        let now = self.now;
        if let Some(it) = self.primaries.get_mut(name) {
            it.failover.state = state;
            it.failover.changed_at = now;
        }
    }

    fn abort(&mut self, name: &str, event: &'static str) {
        self.say(Level::Warning, event, &Key::primary(name));
        let now = self.now;
        let Some(it) = self.primaries.get_mut(name) else { return };
        it.failover.in_progress = false;
        it.failover.is_forced = false;
        it.failover.state = State::None;
        it.failover.changed_at = now;
        if let Some(promoted) = it.failover.promoted.take()
            && let Some(replica) = it.replicas.get_mut(&*promoted)
        {
            replica.is_promoted = false;
        }
    }

    fn wait_for_votes(&mut self, name: &str) {
        let Some(it) = self.primaries.get(name) else { return };
        let forced = it.failover.is_forced;
        // Votes are given in the epoch in which they are asked for, which is the one of now: it may have moved on since the
        // start, for the failover of another primary. Who is elected leads in that epoch. Redis takes votes of any
        // epoch for one in the epoch of the start, in which another may have been elected.
        let epoch = if forced { it.failover.epoch } else { self.epoch };
        let patience = self.periods.election_timeout.min(it.failover_timeout);
        let waited = self.now - it.failover.started_at;
        let leader = self.elected(name, epoch);
        let leads = leader.is_some_and(|id| id.eq_ignore_ascii_case(&self.id));
        if !leads && !forced {
            if waited > patience {
                self.abort(name, "-failover-abort-not-elected");
            }
            return;
        }
        if let Some(it) = self.primaries.get_mut(name) {
            it.failover.epoch = epoch;
        }
        let key = Key::primary(name);
        self.say(Level::Warning, "+elected-leader", &key);
        if self.simulated.after_election {
            self.crash();
        }
        self.enter(name, State::SelectReplica);
        self.say(Level::Warning, "+failover-state-select-slave", &key);
    }

    /// The replica that is best promoted: none that is down, of which nothing was heard lately, that was cut off from its
    /// primary for long, or that is not to be promoted.
    pub(super) fn best_replica(&self, name: &str) -> Option<Key> {
        let primary = self.primaries.get(name)?;
        let mut link_down_max = primary.own.down_after.saturating_mul(10);
        let mut info_age_max = self.periods.info_period.saturating_mul(3);
        if primary.own.is_down {
            let down_ms = self.now - primary.own.down_since;
            link_down_max = link_down_max.saturating_add(down_ms);
            info_age_max = self.periods.ping_period.saturating_mul(5);
        }
        let is_fit = |it: &&Instance| {
            let answers = self.links.get(&it.link).is_some_and(|link| {
                !link.is_disconnected
                    && self.now - link.last_ok <= self.periods.ping_period.saturating_mul(5)
            });
            !it.is_down
                && answers
                && it.priority != 0
                && self.now - it.info_at <= info_age_max
                && it.link_down_ms <= link_down_max
        };
        let best = primary.replicas.values().filter(is_fit).min_by(|a, b| by_fitness(a, b))?;
        Some(Key::beside(name, Kind::Replica, &best.name))
    }

    fn select_replica(&mut self, name: &str) {
        let Some(best) = self.best_replica(name) else {
            return self.abort(name, "-failover-abort-no-good-slave");
        };
        self.say(Level::Warning, "+selected-slave", &best);
        if let Some(it) = self.primaries.get_mut(name) {
            it.failover.promoted = Some(best.name.clone());
        }
        if let Some(it) = self.instance_mut(&best) {
            it.is_promoted = true;
        }
        self.enter(name, State::SendPromotion);
        self.say(Level::Notice, "+failover-state-send-slaveof-noone", &best);
    }

    fn promoted_key(&self, name: &str) -> Option<Key> {
        let promoted = self.primaries.get(name)?.promoted()?;
        Some(Key::beside(name, Kind::Replica, &promoted.name))
    }

    /// Whether the failover has been in its state for longer than it may.
    fn is_late(&self, name: &str) -> bool {
        self.primaries
            .get(name)
            .is_some_and(|it| self.now - it.failover.changed_at > it.failover_timeout)
    }

    fn promote(&mut self, name: &str) {
        let Some(key) = self.promoted_key(name) else { return };
        if self.link(&key).is_none_or(|link| link.is_disconnected) {
            if self.is_late(name) {
                self.abort(name, "-failover-abort-slave-timeout");
            }
            return;
        }
        if self.send_replicaof(&key, None) {
            self.say(Level::Notice, "+failover-state-wait-promotion", &key);
            self.enter(name, State::WaitPromotion);
        }
    }

    fn wait_for_promotion(&mut self, name: &str) {
        if self.is_late(name) {
            self.abort(name, "-failover-abort-slave-timeout");
        }
    }

    /// Sends the other replicas to the new primary, a few at a time.
    fn reconfigure_replicas(&mut self, name: &str) {
        let now = self.now;
        let Some(it) = self.primaries.get(name) else { return };
        let most = it.parallel_syncs;
        let under_way = |it: &&Instance| {
            matches!(it.reconfigured, Reconfigured::Sent | Reconfigured::InProgress)
        };
        let mut in_progress = it.replicas.values().filter(under_way).count() as i64;
        let keys = it.replica_keys();
        let Some(to) = it.promoted().map(|promoted| promoted.at.clone()) else { return };
        let host = self.announced(&to).to_owned();
        for key in keys {
            if in_progress >= most {
                break;
            }
            let Some(it) = self.instance(&key) else { continue };
            if it.is_promoted || it.reconfigured == Reconfigured::Done {
                continue;
            }
            if it.reconfigured == Reconfigured::Sent
                && now - it.reconfigure_sent_at > self.periods.replica_reconf_timeout
            {
                // It is told again by the sentinel that finds it following the wrong primary.
                self.say(Level::Notice, "-slave-reconf-sent-timeout", &key);
                if let Some(it) = self.instance_mut(&key) {
                    it.reconfigured = Reconfigured::Done;
                }
            }
            let can = self.instance(&key).is_some_and(|it| !under_way(&it))
                && self.link(&key).is_some_and(|link| !link.is_disconnected);
            if can && self.send_to_new_primary(&key, (&host, to.port)) {
                if let Some(it) = self.instance_mut(&key) {
                    it.reconfigure_sent_at = now;
                }
                self.say(Level::Notice, "+slave-reconf-sent", &key);
                in_progress += 1;
            }
        }
        self.look_for_end(name, &to);
    }

    /// Ends a failover when all replicas that can be reached follow the new primary, or when it takes too long.
    fn look_for_end(&mut self, name: &str, to: &Address) {
        let Some(it) = self.primaries.get(name) else { return };
        if it.promoted().is_none_or(|promoted| promoted.is_down) {
            return;
        }
        let is_left =
            |it: &Instance| !it.is_promoted && it.reconfigured != Reconfigured::Done && !it.is_down;
        let are_left = it.replicas.values().any(is_left);
        let (is_late, key) = (self.is_late(name), Key::primary(name));
        if is_late {
            self.say(Level::Warning, "+failover-end-for-timeout", &key);
        }
        if !are_left || is_late {
            self.say(Level::Warning, "+failover-end", &key);
            self.enter(name, State::UpdateConfig);
        }
        if !is_late {
            return;
        }
        let host = self.announced(to).to_owned();
        let keys = self.primaries.get(name).map(Primary::replica_keys).unwrap_or_default();
        for key in keys {
            let Some(it) = self.instance(&key) else { continue };
            let is_done = it.is_promoted
                || matches!(it.reconfigured, Reconfigured::Done | Reconfigured::Sent);
            let is_reachable = self.link(&key).is_some_and(|link| !link.is_disconnected);
            if !is_done && is_reachable && self.send_to_new_primary(&key, (&host, to.port)) {
                self.say(Level::Notice, "+slave-reconf-sent-be", &key);
            }
        }
    }

    /// The promoted replica takes the primary's place.
    pub(super) fn switch_to_promoted(&mut self, name: &str) {
        let Some(it) = self.primaries.get(name) else { return };
        let old = it.own.at.clone();
        let new = it.promoted().map_or_else(|| old.clone(), |promoted| promoted.at.clone());
        let host = self.announced(&new).to_owned();
        self.say_switch(name, &old, (&host, new.port));
        self.change_address(name, new);
    }

    pub(super) fn say_switch(&mut self, name: &str, old: &Address, new: (&str, u16)) {
        let (host, port) = new;
        let text = format!("{name} {} {} {host} {port}", self.announced(old), old.port);
        self.say_of(Level::Warning, "+switch-master", name, text);
    }

    /// A primary is somewhere else from now on; who was it, and all its replicas, are replicas of it.
    pub(super) fn change_address(&mut self, name: &str, new: Address) {
        let Some(it) = self.primaries.get(name) else { return };
        let replicas = it.replicas.values().map(|it| it.at.clone());
        let mut replicas: Vec<Address> = replicas.filter(|at| !at.is_same(&new)).collect();
        if !it.own.at.is_same(&new) {
            replicas.push(it.own.at.clone());
        }
        self.reset(name, true, false);
        if let Some(it) = self.primaries.get_mut(name) {
            it.own.at = new;
            it.own.objectively_down_since = 0;
            it.own.down_since = 0;
        }
        for at in replicas {
            if let Some(key) = self.add_replica(name, at) {
                self.say(Level::Notice, "+slave", &key);
            }
        }
        self.save();
    }

    /// Forgets what is known of a primary: its replicas, the other sentinels unless they are kept, and a failover.
    pub(super) fn reset(&mut self, name: &str, keeps_sentinels: bool, is_told: bool) {
        let now = self.now;
        let Some(it) = self.primaries.get_mut(name) else { return };
        let mut gone: Vec<Instance> = std::mem::take(&mut it.replicas).into_values().collect();
        if !keeps_sentinels {
            gone.extend(std::mem::take(&mut it.sentinels).into_values());
        }
        it.own.is_down = false;
        it.own.is_objectively_down = false;
        it.own.script_kill_sent = false;
        it.own.leader = None;
        it.own.run_id = None;
        it.own.follows = None;
        it.own.role = Role::Primary;
        it.own.role_at = now;
        it.rebooted_at = None;
        it.conflict = None;
        it.failover.state = State::None;
        it.failover.in_progress = false;
        it.failover.is_forced = false;
        it.failover.changed_at = 0;
        it.failover.started_at = 0;
        it.failover.promoted = None;
        gone.iter().for_each(|it| self.release_link(it.link));
        let key = Key::primary(name);
        self.close_links(&key);
        if let Some(link) = self.link_mut(&key) {
            link.waits_since = now;
            link.last_ping = 0;
            link.last_ok = now;
            link.last_pong = now;
        }
        if is_told {
            self.say(Level::Warning, "+reset-master", &key);
        }
    }
}
