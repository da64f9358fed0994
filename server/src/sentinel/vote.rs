//! Votes: one for each epoch and primary, given to the first who asks.

use std::collections::BTreeMap;

use rand::Rng;
use redstart_common::log::Level;

use super::hello::number;
use super::{Action, Expect, Key, Reply, Sentinel};

/// Sentinels begin a failover at times that differ by up to so many milliseconds, so that votes are not split.
const DESYNC_MAX: i64 = 1000;

impl Sentinel {
    pub(super) fn some_delay(&mut self) -> i64 {
        self.random.random_range(0..DESYNC_MAX)
    }

    /// Votes for `candidate` in `epoch`, if that is still to be decided. Answers whom the vote is for, and in which epoch
    /// it was given.
    pub(super) fn vote(
        &mut self,
        primary: &str,
        epoch: u64,
        candidate: &str,
    ) -> (Option<String>, u64) {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.save();
            self.say_new_epoch(primary);
        }
        let delay = self.some_delay();
        let (own, now) = (self.epoch, self.now);
        let is_self = candidate.eq_ignore_ascii_case(&self.id);
        let Some(it) = self.primaries.get_mut(primary) else { return (None, 0) };
        if it.own.leader_epoch < epoch && own <= epoch {
            it.own.leader = Some(candidate.to_owned());
            it.own.leader_epoch = own;
            if !is_self {
                // The other is given time.
                it.failover.started_at = now + delay;
            }
            // A vote that was told must not be given again after a crash.
            self.save();
            self.say_of(Level::Warning, "+vote-for-leader", primary, format!("{candidate} {own}"));
        }
        self.primaries
            .get(primary)
            .map_or((None, 0), |it| (it.own.leader.clone(), it.own.leader_epoch))
    }

    /// Who is elected in `epoch`: the one that has the votes of most sentinels in it, and of at least as many as the quorum.
    pub(super) fn elected(&mut self, primary: &str, epoch: u64) -> Option<String> {
        let it = self.primaries.get(primary)?;
        let voters = it.sentinels.len() + 1;
        let quorum = it.quorum as usize;
        let mut votes: BTreeMap<String, usize> = BTreeMap::new();
        for sentinel in it.sentinels.values().filter(|it| it.leader_epoch == epoch) {
            if let Some(leader) = &sentinel.leader {
                *votes.entry(leader.clone()).or_default() += 1;
            }
        }
        // Of those with as many votes, the first keeps the lead.
        let most = |votes: &BTreeMap<String, usize>| {
            let leading = votes.iter().rev().max_by_key(|(_, count)| **count);
            leading.map(|(id, count)| (id.clone(), *count))
        };
        let candidate = most(&votes).map_or_else(|| self.id.clone(), |(id, _)| id);
        let (own_vote, own_epoch) = self.vote(primary, epoch, &candidate);
        if let Some(id) = own_vote.filter(|_| own_epoch == epoch) {
            *votes.entry(id).or_default() += 1;
        }
        most(&votes).filter(|(_, count)| *count > voters / 2 && *count >= quorum).map(|(id, _)| id)
    }

    /// Answers another sentinel's question: whether the primary at an address is down, and whom the vote is for, if one is
    /// asked for by a `candidate` that is not `*`.
    pub fn is_primary_down(
        &mut self,
        host: &str,
        port: i64,
        epoch: u64,
        candidate: &str,
    ) -> (bool, Option<String>, u64) {
        let Ok(at) = self.address(host, port, true) else { return (false, None, 0) };
        let mut known = self.primaries.values();
        let Some(found) = known.find(|it| it.own.at.is_same(&at)) else { return (false, None, 0) };
        let is_down = self.tilt_since.is_none() && found.own.is_down;
        if candidate.eq_ignore_ascii_case("*") {
            return (is_down, None, 0);
        }
        let name = found.own.name.clone();
        let (leader, epoch) = self.vote(&name, epoch, candidate);
        (is_down, leader, epoch)
    }

    /// Asks the other sentinels whether they find the primary down too, and for their votes during a failover.
    pub(super) fn ask_others(&mut self, primary: &str, forced: bool) {
        let (now, ask_period) = (self.now, self.periods.ask_period);
        let Some(it) = self.primaries.get(primary) else { return };
        let is_down = it.own.is_down;
        let host = self.announced(&it.own.at).to_owned();
        let port = it.own.at.port.to_string();
        let keys = it.sentinel_keys();
        for key in keys {
            let Some(it) = self.instance_mut(&key) else { continue };
            let silent = now - it.vote_reply_at;
            if silent > ask_period.saturating_mul(5) {
                it.says_down = false;
                it.leader = None;
            }
            if !is_down
                || !forced && silent < ask_period
                || self.link(&key).is_none_or(|link| link.is_disconnected)
            {
                continue;
            }
            let failing_over = self
                .primaries
                .get(primary)
                .is_some_and(|it| it.failover.state != Default::default());
            let candidate = if failing_over { self.id.clone() } else { "*".to_owned() };
            let epoch = self.epoch.to_string();
            let request = ["SENTINEL", "is-master-down-by-addr", &host, &port, &epoch, &candidate];
            self.send_command(&key, &request, Expect::Vote);
        }
    }

    pub(super) fn take_vote(&mut self, key: &Key, parts: &[Reply]) {
        let [Reply::Integer(down), Reply::Bulk(Some(leader)), Reply::Integer(epoch)] = parts else {
            return;
        };
        let now = self.now;
        let Some(it) = self.instance_mut(key) else { return };
        it.vote_reply_at = now;
        it.says_down = *down == 1;
        if leader == "*" {
            return;
        }
        let epoch = number(&epoch.to_string());
        let is_news = it.leader_epoch != epoch;
        it.leader = Some(leader.clone());
        it.leader_epoch = epoch;
        if is_news {
            let text = format!("{} voted for {leader} {epoch}", key.name);
            self.actions.push(Action::Log(Level::Warning, text));
        }
    }
}
