//! What holds at each step, what holds after quiet, and what histories have seen.

use super::super::State;
use super::world::{World, group_name};

/// How long all must have agreed.
const STABLE_MS: i64 = 6_000;
/// By then all agree once nothing fails any more.
const SETTLED_MS: i64 = 300_000;

/// What a history, or all of them, have seen.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub elected: u64,
    pub forced: u64,
    pub switched: u64,
    pub not_elected: u64,
    pub no_good_replica: u64,
    pub converted: u64,
    pub mended: u64,
    pub tilts: u64,
    pub restarts: u64,
    pub wiped: u64,
    pub late_hellos: u64,
    /// The longest time from quiet to agreement.
    pub settled_ms_max: i64,
}

impl Outcome {
    pub fn add(&mut self, other: &Self) {
        self.elected += other.elected;
        self.forced += other.forced;
        self.switched += other.switched;
        self.not_elected += other.not_elected;
        self.no_good_replica += other.no_good_replica;
        self.converted += other.converted;
        self.mended += other.mended;
        self.tilts += other.tilts;
        self.restarts += other.restarts;
        self.wiped += other.wiped;
        self.late_hellos += other.late_hellos;
        self.settled_ms_max = self.settled_ms_max.max(other.settled_ms_max);
    }
}

impl World {
    /// What holds when a sentinel says something.
    pub fn check_event(&mut self, number: usize, event: &str, text: &str) {
        let outcome = &mut self.outcome;
        match event {
            "+switch-master" => outcome.switched += 1,
            "-failover-abort-not-elected" => outcome.not_elected += 1,
            "-failover-abort-no-good-slave" => outcome.no_good_replica += 1,
            "+convert-to-slave" => outcome.converted += 1,
            "+fix-slave-config" => outcome.mended += 1,
            "+tilt" => outcome.tilts += 1,
            "+elected-leader" => {
                let name = text.split(' ').nth(1).unwrap_or_default().to_owned();
                let it = &self.sentinels[number];
                let failover = &it.core.primary(&name).expect("it is watched").failover;
                if failover.is_forced {
                    outcome.forced += 1;
                    return;
                }
                outcome.elected += 1;
                let leader = (number, it.life);
                let known = *self.elections.entry((name, failover.epoch)).or_insert(leader);
                assert_eq!(known.0, leader.0, "two leaders of one epoch: {text}");
            }
            "+selected-slave" => self.check_choice(number, text),
            _ => {}
        }
    }

    /// Whether a replica may be promoted, by what the sentinel was told of it.
    fn check_choice(&mut self, number: usize, text: &str) {
        let parts: Vec<&str> = text.split(' ').collect();
        let (ip, name) = (parts[2], parts[5]);
        let server = self.server_at(ip).expect("a server");
        let told = self.told.get(&(number, server));
        let (at, priority, link_down) = *told.expect("something was told of it");
        let it = &self.sentinels[number];
        let now = self.now + it.skew;
        let primary = it.core.primary(name).expect("it is watched");
        let is_down = primary.own.is_down;
        let age_max = if is_down { 5000 } else { it.core.periods.info_period * 3 };
        let down_ms = if is_down { now - primary.own.down_since } else { 0 };
        assert!(priority != Some(0), "{text}: its priority is 0");
        assert!(now - at <= age_max, "{text}: nothing was heard of it for {} ms", now - at);
        assert!(
            link_down <= primary.own.down_after * 10 + down_ms,
            "{text}: its data is too old ({link_down} ms)"
        );
    }

    /// Why the sentinels and servers do not all agree; nothing if they do.
    pub fn disagreement(&self) -> Option<String> {
        for group in 0..self.setup.groups.len() {
            let name = group_name(group);
            let views = self.sentinels.iter().map(|it| {
                let primary = it.core.primary(&name).expect("it is watched");
                let is_calm = primary.failover.state == State::None && !primary.own.is_down;
                (primary.current_address().ip.clone(), primary.config_epoch, is_calm)
            });
            let views: Vec<_> = views.collect();
            if views.iter().any(|view| view != &views[0] || !view.2) {
                return Some(format!("{name}: {views:?}"));
            }
            let primary = &views[0].0;
            for (number, it) in self.servers.iter().enumerate().filter(|(_, it)| it.group == group)
            {
                let is_right = if it.ip == *primary {
                    it.follows.is_none()
                } else {
                    it.follows.as_deref() == Some(primary) && it.link_is_up
                };
                if !is_right {
                    let follows = &it.follows;
                    return Some(format!("{name}: {primary}; server {number} follows {follows:?}"));
                }
            }
        }
        None
    }

    /// Nothing fails any more: all must come to agree. Answers how long that took.
    pub fn settle(&mut self) -> Result<i64, String> {
        let begun = self.now;
        let mut agreed_since = None;
        loop {
            self.run(500);
            match self.disagreement() {
                None => {
                    let since = *agreed_since.get_or_insert(self.now);
                    if self.now - since >= STABLE_MS {
                        return Ok(since - begun);
                    }
                }
                Some(why) => {
                    agreed_since = None;
                    if self.now - begun > SETTLED_MS {
                        return Err(format!("no agreement: {why}"));
                    }
                }
            }
        }
    }
}
