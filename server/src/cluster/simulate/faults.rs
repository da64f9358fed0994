//! What goes wrong, and what operators do.

use std::collections::BTreeSet;

use rand::Rng;

use super::super::{FailoverKind, Options, SetSlot};
use super::outcome::Outcome;
use super::world::{Coming, World};

/// What an operator has begun and goes on with.
#[derive(Debug)]
pub enum Work {
    /// The slot that is on its way has come.
    EndMove { slot: u16, from: usize, to: usize },
    /// A node is brought in again.
    Meet { node: usize },
    /// It is to replicate somebody.
    Replicate { node: usize },
}

impl World {
    /// A whole history.
    pub fn history(seed: u64, is_verbose: bool) -> Result<Outcome, String> {
        let mut world = Self::of_seed(seed, is_verbose);
        world.run(2600)?;
        let faults = world.random.random_range(2..9);
        for _ in 0..faults {
            let at_ms = world.random.random_range(0..6000);
            world.schedule(at_ms, Coming::Fault);
        }
        world.run(7000)?;
        world.heal()?;
        world.converge()?;
        Ok(world.outcome)
    }

    fn of_seed(seed: u64, is_verbose: bool) -> Self {
        use rand::SeedableRng;
        let mut random = rand::rngs::SmallRng::seed_from_u64(seed ^ 0x5eed);
        let primaries = random.random_range(3..=4);
        let replicas = match random.random_range(0..10) {
            0 => 0,
            1..=7 => 1,
            _ => 2,
        };
        let options = Options {
            node_timeout_ms: [500, 1000, 2000, 2000][random.random_range(0..4)],
            validity_factor: [0, 10, 10][random.random_range(0..3)],
            full_coverage: random.random_bool(0.7),
            replicas_migrate: random.random_bool(0.7),
            history_wins: random.random_bool(0.3),
            ranks_elections: random.random_bool(0.5),
            ..Options::default()
        };
        let mut world = Self::new(seed, primaries, replicas, &options, is_verbose);
        world.is_loose = random.random_bool(0.5);
        if random.random_bool(0.5) {
            world.lost = random.random_range(0..60);
            world.doubled = random.random_range(0..60);
            world.overtaken = random.random_range(0..60);
            world.delay_ms = random.random_range(1..60);
        }
        world
    }

    fn any_node(&mut self) -> usize {
        self.random.random_range(0..self.nodes.len())
    }

    /// A node that runs and is what is wanted by its own word.
    pub fn any_that(&mut self, is: impl Fn(&super::super::Node) -> bool) -> Option<usize> {
        let now_ms = self.now_ms;
        let fit: Vec<usize> = (0..self.nodes.len())
            .filter(|node| {
                let node = &self.nodes[*node];
                node.is_running(now_ms)
                    && node.cluster.as_ref().is_some_and(|cluster| is(cluster.myself()))
            })
            .collect();
        (!fit.is_empty()).then(|| fit[self.random.random_range(0..fit.len())])
    }

    pub fn fault(&mut self) -> Result<(), String> {
        let kinds = if self.is_loose { 18 } else { 9 };
        match self.random.random_range(0..kinds) {
            0 | 1 => self.restart_any(),
            2 => {
                let node = self.any_node();
                let timeout_ms = self.nodes[node].options.node_timeout_ms;
                let for_ms = self.random.random_range(50..timeout_ms * 3);
                self.log(Some(node), &format!("is stopped for {for_ms} ms"));
                self.nodes[node].stopped_until_ms = self.now_ms + for_ms;
            }
            3 => self.part(),
            4 => {
                let (from, to) = (self.any_node(), self.any_node());
                let for_ms = self.random.random_range(100..5000);
                self.log(None, &format!("nothing gets from {from} to {to} for {for_ms} ms"));
                self.blocked_until_ms.insert((from, to), self.now_ms + for_ms);
            }
            5 => {
                let node = self.any_node();
                let by_ms = self.random.random_range(-4_000_000..4_000_000);
                self.log(Some(node), &format!("has its clock set by {by_ms} ms"));
                self.nodes[node].wall_ahead_ms += by_ms;
            }
            6 => self.fail_over(FailoverKind::Plain)?,
            7 => self.fail_over(FailoverKind::Force)?,
            8 => {
                self.lost = self.random.random_range(0..100);
                self.delay_ms = self.random.random_range(1..100);
            }
            9 => self.fail_over(FailoverKind::Takeover)?,
            10 | 11 => self.begin_move()?,
            12 => self.throw_out()?,
            13 => self.lose_file(),
            _ => self.move_at_once()?,
        }
        Ok(())
    }

    fn restart_any(&mut self) {
        let node = self.any_node();
        self.kill(node);
        self.outcome.restarts += 1;
        let in_ms = self.random.random_range(100..6000);
        let text = match self.random.random_range(0..4) {
            // A slot that an operator has just given to a node is on its disk half a second later.
            0 if self.now_ms - self.slot_moved_ms > 700 => {
                self.may_lose |= self.nodes[node].synced_file != self.nodes[node].file;
                Some(self.nodes[node].synced_file.clone())
            }
            1 if self.is_loose && !self.nodes[node].old_files.is_empty() => {
                let old = &self.nodes[node].old_files;
                let text = old[self.random.random_range(0..old.len())].clone();
                self.outcome.old_files += 1;
                self.has_amnesia = true;
                Some(text)
            }
            _ => None,
        };
        self.schedule(in_ms, Coming::Start { node, text });
    }

    /// The nodes are parted in two, one way or both.
    fn part(&mut self) {
        let side: Vec<bool> = (0..self.nodes.len()).map(|_| self.random.random_bool(0.4)).collect();
        let (for_ms, one_way) = (self.random.random_range(500..8000), self.random.random_bool(0.3));
        self.log(None, &format!("{side:?} are parted for {for_ms} ms, one way: {one_way}"));
        for from in 0..side.len() {
            for to in 0..side.len() {
                if side[from] != side[to] && (side[from] || !one_way) {
                    self.blocked_until_ms.insert((from, to), self.now_ms + for_ms);
                }
            }
        }
    }

    fn fail_over(&mut self, kind: FailoverKind) -> Result<(), String> {
        let Some(node) = self.any_that(|node| node.is_replica()) else { return Ok(()) };
        let outcome = self.with(node, |cluster, turn| cluster.fail_over(kind, turn))?;
        self.log(Some(node), &format!("{kind:?} is asked for: {outcome:?}"));
        if outcome.is_some_and(|outcome| outcome.is_ok()) {
            match kind {
                FailoverKind::Takeover => self.outcome.takeovers += 1,
                _ => self.outcome.manual += 1,
            }
        }
        Ok(())
    }

    pub fn name_of(&self, node: usize) -> Option<Vec<u8>> {
        let cluster = self.nodes[node].cluster.as_ref()?;
        Some(cluster.myself().name.as_bytes().to_vec())
    }

    fn begin_move(&mut self) -> Result<(), String> {
        let Some(from) = self.any_that(|node| node.has_vote()) else { return Ok(()) };
        let Some(to) = self.any_that(|node| node.is_primary()).filter(|to| *to != from) else {
            return Ok(());
        };
        let (Some(from_name), Some(to_name)) = (self.name_of(from), self.name_of(to)) else {
            return Ok(());
        };
        let Some(cluster) = &self.nodes[from].cluster else { return Ok(()) };
        let slots: Vec<u16> = cluster.myself().slots.iter().collect();
        let slot = slots[self.random.random_range(0..slots.len())];
        self.log(Some(from), &format!("slot {slot} is on its way to {to}"));
        let came = self.with(to, |cluster, turn| {
            cluster.set_slot(slot, SetSlot::Importing(&from_name), 0, turn)
        })?;
        if came.is_some_and(|came| came.is_ok()) {
            self.with(from, |cluster, turn| {
                cluster.set_slot(slot, SetSlot::Migrating(&to_name), 0, turn)
            })?;
            let in_ms = self.random.random_range(10..3000);
            self.schedule(in_ms, Coming::Operate(Work::EndMove { slot, from, to }));
        }
        Ok(())
    }

    pub fn operate(&mut self, work: Work) -> Result<(), String> {
        match work {
            Work::EndMove { slot, from, to } => {
                let Some(to_name) = self.name_of(to) else { return Ok(()) };
                let until_ms =
                    self.nodes[from].stopped_until_ms.max(self.nodes[to].stopped_until_ms);
                if until_ms > self.now_ms {
                    // Operators wait for an answer.
                    let in_ms = until_ms - self.now_ms + 1;
                    self.schedule(in_ms, Coming::Operate(Work::EndMove { slot, from, to }));
                    return Ok(());
                }
                // Nobody gives a slot to a node that has failed: whoever takes its place may not know of it, in Redis too.
                let has_failed = self.nodes[from].cluster.as_ref().is_some_and(|cluster| {
                    let to = cluster.find(&to_name).and_then(|to| cluster.at(to));
                    to.is_none_or(|to| to.has_failed())
                });
                if has_failed {
                    return Ok(());
                }
                // The new owner first, as redis-cli does: where it refuses, the old one keeps the slot.
                for node in [to, from] {
                    let outcome = self.with(node, |cluster, turn| {
                        cluster.set_slot(slot, SetSlot::Node(&to_name), 0, turn)
                    })?;
                    self.log(Some(node), &format!("slot {slot} is {to}'s: {outcome:?}"));
                    if outcome.is_none_or(|outcome| outcome.is_err()) {
                        self.may_lose = true;
                        return Ok(());
                    }
                }
                // Then redis-cli tells all other primaries; scripts do not.
                if self.random.random_bool(0.5) {
                    self.tell_other_primaries(slot, &to_name)?;
                }
                if let Some(value) = self.nodes[from].data.remove(&slot) {
                    self.nodes[to].data.insert(slot, value);
                }
                self.outcome.slots_moved += 1;
                self.slot_moved_ms = self.now_ms;
            }
            Work::Meet { node } => {
                let (ip, port) = (self.nodes[node].ip.clone(), i64::from(self.nodes[node].port));
                let Some(by) = (0..self.nodes.len()).find(|by| {
                    !self.outcasts.contains(by) && self.nodes[*by].is_running(self.now_ms)
                }) else {
                    return Ok(());
                };
                self.log(Some(by), &format!("meets {node}"));
                self.with(by, |cluster, turn| cluster.meet(&ip, port, port + 10_000, turn))?;
                // A node that does not hear of it in time would be known to all and know nobody.
                let (ip, port) = (self.nodes[by].ip.clone(), i64::from(self.nodes[by].port));
                self.with(node, |cluster, turn| cluster.meet(&ip, port, port + 10_000, turn))?;
            }
            Work::Replicate { node } => {
                let Some(primary) = self.any_that(|node| node.has_vote()) else { return Ok(()) };
                let Some(name) = self.name_of(primary) else { return Ok(()) };
                let outcome =
                    self.with(node, |cluster, turn| cluster.replicate(&name, false, turn))?;
                self.log(Some(node), &format!("is to replicate {primary}: {outcome:?}"));
            }
        }
        Ok(())
    }

    /// An operator tells those primaries whose slot it is that neither have it nor had it, as far as they answer.
    fn tell_other_primaries(&mut self, slot: u16, owner: &[u8]) -> Result<(), String> {
        for node in 0..self.nodes.len() {
            let is_other = self.nodes[node].is_running(self.now_ms)
                && self.nodes[node]
                    .cluster
                    .as_ref()
                    .is_some_and(|it| it.myself().is_primary() && !it.is_mine(slot));
            if is_other {
                self.with(node, |cluster, turn| {
                    cluster.set_slot(slot, SetSlot::Node(owner), 0, turn).is_ok()
                })?;
            }
        }
        Ok(())
    }

    /// A replica is forgotten by all, reset, and brought in again.
    fn throw_out(&mut self) -> Result<(), String> {
        let Some(node) = self.any_that(|node| node.is_replica()) else { return Ok(()) };
        let Some(name) = self.name_of(node) else { return Ok(()) };
        self.log(Some(node), "is thrown out");
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            self.with(other, |cluster, turn| cluster.forget(&name, turn).is_ok())?;
        }
        let hard = self.random.random_bool(0.7);
        if hard {
            self.gone.extend(super::super::Name::parse(&name));
        }
        self.with(node, |cluster, turn| cluster.reset(hard, turn))?;
        self.outcome.forgotten += 1;
        self.outcome.resets += 1;
        self.outcasts.insert(node);
        Ok(())
    }

    /// A node begins again without its file: with another name, where the old one was.
    fn lose_file(&mut self) {
        // More, and nobody might be left to elect anybody. And epochs that were taken without a vote may be two nodes' at once:
        // they part when they hear each other, which a node that is gone never does, in Redis too.
        let unvoted = self.outcome.takeovers + self.outcome.taken + self.outcome.slots_moved;
        if self.outcome.lost_files > 0 || unvoted > 0 {
            return;
        }
        let node = self.any_node();
        let Some(name) = self.name_of(node) else { return };
        self.log(Some(node), "loses its file");
        self.kill(node);
        self.gone.extend(super::super::Name::parse(&name));
        self.outcasts.insert(node);
        self.outcome.lost_files += 1;
        self.may_lose = true;
        (self.nodes[node].file, self.nodes[node].place) = (String::new(), 0);
        let in_ms = self.random.random_range(100..3000);
        self.schedule(in_ms, Coming::Start { node, text: Some(String::new()) });
    }

    /// What operators have begun with slots and not ended stays open until they close it: until then they hear of no newer owner.
    fn close_slots(&mut self) -> Result<(), String> {
        for node in 0..self.nodes.len() {
            let Some(cluster) = &self.nodes[node].cluster else { continue };
            let open = cluster.importing.keys().chain(cluster.migrating.keys());
            let open: BTreeSet<u16> = open.copied().collect();
            for slot in open {
                self.with(node, |cluster, turn| {
                    cluster.set_slot(slot, SetSlot::Stable, 0, turn).is_ok()
                })?;
            }
        }
        Ok(())
    }

    /// All that is broken is mended, and operators bring in those who are outside.
    fn heal(&mut self) -> Result<(), String> {
        self.log(None, "all is mended");
        (self.lost, self.doubled, self.overtaken, self.delay_ms) = (0, 0, 0, 2);
        self.blocked_until_ms.clear();
        for node in 0..self.nodes.len() {
            self.start(node, None);
        }
        // Those that are stopped go on by themselves.
        let stopped_ms = self.nodes.iter().map(|node| node.stopped_until_ms - self.now_ms).max();
        self.run(stopped_ms.unwrap_or(0).max(0) + 1000)?;
        self.close_slots()?;
        if self.outcasts.is_empty() {
            return Ok(());
        }
        for node in self.outcasts.clone() {
            self.schedule(10, Coming::Operate(Work::Meet { node }));
            self.schedule(6000, Coming::Operate(Work::Replicate { node }));
        }
        self.run(7000)
    }
}
