//! Who is down: by what we see ourselves, and by what enough sentinels say.

use redstart_common::log::Level;

use super::links::Link;
use super::{Instance, Key, Kind, Role, Sentinel};

impl Sentinel {
    /// Whether an instance has been silent for too long, or does what it should not do, by what is known now.
    pub(super) fn is_found_down(&self, key: &Key, it: &Instance, link: &Link) -> bool {
        let now = self.now;
        let silent = match link.waits_since {
            0 if link.is_disconnected => now - link.last_ok,
            0 => 0,
            since => now - since,
        };
        let patience = it.down_after.saturating_add(self.periods.info_period.saturating_mul(2));
        let is_replica =
            key.kind == Kind::Primary && it.role == Role::Replica && now - it.role_at > patience;
        let reboots = key.kind == Kind::Primary
            && self.primaries.get(&*key.primary).is_some_and(|primary| {
                primary.rebooted_at.is_some_and(|at| now - at > primary.reboot_down_after)
            });
        silent > it.down_after || is_replica || reboots
    }

    /// Notes whether an instance has been silent for too long, or does what it should not do.
    pub(super) fn look_whether_down(&mut self, key: &Key) {
        let now = self.now;
        let Some((it, link)) = self.with_link(key) else { return };
        let is_down = self.is_found_down(key, it, link);
        let is_news = is_down != it.is_down;
        self.close_stale(key);
        if !is_news {
            return;
        }
        self.say(Level::Warning, if is_down { "+sdown" } else { "-sdown" }, key);
        let Some(it) = self.instance_mut(key) else { return };
        it.is_down = is_down;
        if is_down {
            it.down_since = now;
        } else {
            it.script_kill_sent = false;
        }
    }

    /// Whether enough sentinels say that a primary is down.
    pub(super) fn look_whether_objectively_down(&mut self, primary: &str) {
        let Some(it) = self.primaries.get(primary) else { return };
        let say_so = 1 + it.sentinels.values().filter(|it| it.says_down).count();
        let is_down = it.own.is_down && say_so >= it.quorum as usize;
        if is_down == it.own.is_objectively_down {
            return;
        }
        let (now, key) = (self.now, Key::primary(primary));
        if is_down {
            let more = format!(" #quorum {say_so}/{}", it.quorum);
            self.say_more(Level::Warning, "+odown", &key, &more);
        } else {
            self.say(Level::Warning, "-odown", &key);
        }
        let Some(it) = self.instance_mut(&key) else { return };
        it.is_objectively_down = is_down;
        if is_down {
            it.objectively_down_since = now;
        }
    }

    /// Whether an instance was not down for `ms` by now.
    pub(super) fn was_up_for(&self, key: &Key, ms: i64) -> bool {
        self.instance(key).is_some_and(|it| {
            let last = it.down_since.max(it.objectively_down_since);
            last == 0 || self.now - last > ms
        })
    }
}
