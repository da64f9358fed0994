//! Hellos: how sentinels find each other, and how a new configuration reaches all of them.

use redstart_common::log::Level;

use super::instance::Conflict;
use super::{Action, Address, Key, Kind, Sentinel, WAITING_MAX};

/// What a hello says.
struct Hello<'a> {
    ip: &'a str,
    port: i64,
    id: &'a str,
    epoch: u64,
    primary: &'a str,
    host: &'a str,
    primary_port: i64,
    config_epoch: u64,
}

/// A number as C reads it: the digits that it begins with.
pub(super) fn number(text: &str) -> u64 {
    let text = text.trim_start();
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    text[..end].parse().unwrap_or(if end > 0 { u64::MAX } else { 0 })
}

/// The same with a sign.
pub(super) fn signed(text: &str) -> i64 {
    let text = text.trim_start();
    match text.strip_prefix('-') {
        Some(rest) => -i64::try_from(number(rest)).unwrap_or(i64::MAX),
        None => i64::try_from(number(text.strip_prefix('+').unwrap_or(text))).unwrap_or(i64::MAX),
    }
}

fn read(hello: &str) -> Option<Hello<'_>> {
    let parts: Vec<&str> = hello.split(',').collect();
    let [ip, port, id, epoch, primary, host, primary_port, config_epoch] = parts.as_slice() else {
        return None;
    };
    Some(Hello {
        ip,
        port: signed(port),
        id,
        epoch: number(epoch),
        primary,
        host,
        primary_port: signed(primary_port),
        config_epoch: number(config_epoch),
    })
}

impl Sentinel {
    /// Takes a hello in: from the channel of a server, or from another sentinel.
    pub fn take_hello(&mut self, text: &str) {
        let Some(hello) = read(text) else { return };
        if !self.primaries.contains_key(hello.primary) {
            return;
        }
        // What names stand for has to be known before anything is decided by them.
        let unknown = [hello.ip, hello.host].into_iter().filter(|host| self.is_unknown_name(host));
        let unknown: Vec<String> = unknown.map(str::to_owned).collect();
        if !unknown.is_empty() {
            unknown.iter().for_each(|host| drop(self.look_up(host)));
            if self.waiting_hellos.len() < WAITING_MAX {
                self.waiting_hellos.push_back(text.to_owned());
            }
            return;
        }
        let from = self.find_sender(&hello);
        if hello.epoch > self.epoch {
            self.epoch = hello.epoch;
            self.save();
            self.say_new_epoch(hello.primary);
        }
        let Some(from) = from else { return };
        self.take_configuration(&hello, &from);
        let now = self.now;
        if let Some(it) = self.instance_mut(&from) {
            it.hello_at = now;
        }
    }

    /// The sentinel that a hello is from, which may be new or have moved.
    fn find_sender(&mut self, hello: &Hello<'_>) -> Option<Key> {
        let at = self.address(hello.ip, hello.port, true).ok()?;
        let known = &self.primaries.get(hello.primary)?.sentinels;
        if known.get(hello.id).is_some_and(|it| it.at.is_same(&at)) {
            return Some(Key::beside(hello.primary, Kind::Sentinel, hello.id));
        }
        let has_moved = self.remove_sentinel(hello.primary, hello.id);
        if has_moved {
            let more = format!(" ip {} port {} for {}", hello.ip, hello.port, hello.id);
            let key = Key::primary(hello.primary);
            self.say_more(Level::Notice, "+sentinel-address-switch", &key, &more);
        } else {
            // The sentinel that was there before is there no more.
            let mut known = self.primaries.get(hello.primary)?.sentinels.values();
            let other = known.find(|it| it.at.is_same(&at)).map(|it| it.name.clone());
            if let Some(id) = other {
                let key = Key::beside(hello.primary, Kind::Sentinel, &id);
                self.say(Level::Notice, "+sentinel-invalid-addr", &key);
                for primary in self.names_of_primaries() {
                    self.remove_sentinel(&primary, &id);
                }
            }
        }
        let key = self.add_sentinel(hello.primary, hello.id, at)?;
        if !has_moved {
            self.say(Level::Notice, "+sentinel", &key);
        }
        self.share_link(&key);
        if has_moved {
            self.move_everywhere(&key);
        }
        self.save();
        Some(key)
    }

    fn remove_sentinel(&mut self, primary: &str, id: &str) -> bool {
        let Some(primary) = self.primaries.get_mut(primary) else { return false };
        let Some(gone) = primary.sentinels.remove(id) else { return false };
        self.release_link(gone.link);
        true
    }

    /// A sentinel that has moved has done so for all primaries.
    fn move_everywhere(&mut self, key: &Key) {
        let Some(at) = self.instance(key).map(|it| it.at.clone()) else { return };
        let mut count = 0;
        for name in self.names_of_primaries() {
            let other = Key::beside(&name, Kind::Sentinel, &key.name);
            if self.instance(&other).is_none() {
                continue;
            }
            self.close_links(&other);
            if name != *key.primary
                && let Some(it) = self.instance_mut(&other)
            {
                it.at = at.clone();
                count += 1;
            }
        }
        if count > 0 {
            let more = format!(" {count} additional matching instances");
            self.say_more(Level::Notice, "+sentinel-address-update", key, &more);
        }
    }

    /// Takes a newer configuration over.
    fn take_configuration(&mut self, hello: &Hello<'_>, from: &Key) {
        let Some(primary) = self.primaries.get_mut(hello.primary) else { return };
        if primary.config_epoch >= hello.config_epoch {
            if primary.config_epoch == hello.config_epoch {
                self.look_for_conflict(hello);
            }
            return;
        }
        primary.config_epoch = hello.config_epoch;
        // A failover of ours that is older is over: its end would put the promoted replica in the new primary's place, at
        // the new one's epoch, and nobody could tell who is right. Redis goes on with it where the new primary is the old
        // one.
        let is_over = primary.failover.in_progress && primary.failover.epoch <= hello.config_epoch;
        let (own, old) = (primary.own.at.clone(), primary.current_address().clone());
        let is_same = |sentinel: &mut Self, at: &Address| {
            hello.primary_port == i64::from(at.port) && sentinel.is_host(at, hello.host)
        };
        if is_same(self, &own) && !is_over {
            // Redis keeps it in memory only, so that it falls at the next start.
            return self.save();
        }
        let is_news = !is_same(self, &old);
        let Ok(new) = self.address(hello.host, hello.primary_port, true) else { return };
        self.say(Level::Warning, "+config-update-from", from);
        if is_news || !is_over {
            self.say_switch(hello.primary, &old, (hello.host, new.port));
        }
        self.change_address(hello.primary, new.clone());
        if is_news || !is_over {
            self.call_reconfig_script(hello.primary, false, &old, &new);
        }
    }

    /// Failovers that are asked for at two sentinels at once may end with two primaries of one epoch, and no hello decides
    /// between them. After some time the sentinel with the greater id, or any that has a primary which does what it should,
    /// says its own again at a new epoch. Redis leaves it at that until the next failover. First configurations, which
    /// are of epoch 0, are left alone: what they name may never have been one group.
    fn look_for_conflict(&mut self, hello: &Hello<'_>) {
        let (now, period) = (self.now, self.periods.publish_period);
        let Some(primary) = self.primaries.get(hello.primary) else { return };
        let at = primary.current_address().clone();
        if primary.config_epoch == 0
            || primary.failover.in_progress
            || self.tilt_since.is_some()
            || hello.primary_port == i64::from(at.port) && self.is_host(&at, hello.host)
        {
            return;
        }
        let goes_first = *self.id > *hello.id;
        let is_sane = self.primary_looks_sane(hello.primary);
        let Some(primary) = self.primaries.get_mut(hello.primary) else { return };
        let before =
            primary.conflict.filter(|it| (0..period.saturating_mul(4)).contains(&(now - it.last)));
        let since = before.map_or(now, |it| it.since);
        primary.conflict = Some(Conflict { since, last: now });
        let patience = period.saturating_mul(if goes_first { 3 } else { 12 });
        if now - since <= patience || !is_sane {
            return;
        }
        self.epoch = self.epoch.saturating_add(1);
        primary.config_epoch = self.epoch;
        primary.conflict = None;
        self.save();
        let text = format!(
            "Sentinel {} has another primary of the same epoch for '{}': ours is told at a new one",
            hello.id, hello.primary
        );
        self.actions.push(Action::Log(Level::Warning, text));
        self.say_new_epoch(hello.primary);
        self.hurry_hellos(hello.primary);
    }
}
