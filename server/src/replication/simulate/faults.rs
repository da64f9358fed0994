//! What goes wrong in a history, how it ends, and what must be true then.

use rand::Rng;

use super::super::*;
use super::data::Data;
use super::network::{Coming, PRIMARY, REPLICA};
use super::node::Node;
use super::world::{Outcome, World};

/// How long faults go on, and how long everything has to come to rest afterwards, in milliseconds.
const FAULTS_MS: i64 = 60_000;
const REST_MS: i64 = 60_000;
/// Nobody needs more full syncs than this after the faults: one for the new place, and some for bad luck in the beginning.
const FULL_SYNCS_AT_REST: u64 = 4;
/// Bytes of the stream that may be on their way at the end.
const LAG_AT_REST: u64 = 300;

fn options(rng: &mut impl Rng) -> Options {
    let spill_bytes = [0, 1 << 18, 1 << 24][rng.random_range(0..3)];
    // Where files take the rest little stays in memory, for in a history little is written.
    let (size_bits, limit_bits) = if spill_bytes > 0 { (14..16, 16) } else { (14..20, 19) };
    Options {
        backlog_bytes: 1 << rng.random_range(size_bits),
        backlog_ttl_s: rng.random_range(0..20),
        timeout_s: rng.random_range(4..8),
        ping_period_s: rng.random_range(1..3),
        diskless_sync: rng.random_bool(0.5),
        diskless_sync_delay_s: rng.random_range(0..3),
        diskless_sync_max_replicas: rng.random_range(0..3),
        diskless_load: [DisklessLoad::Disabled, DisklessLoad::OnEmptyDb, DisklessLoad::SwapDb]
            [rng.random_range(0..3)],
        save_points: rng.random_bool(0.5),
        slow_writers: rng.random_bool(0.5),
        output_limit: OutputLimit {
            hard_bytes: 1 << limit_bits,
            soft_bytes: 1 << (limit_bits - 1),
            soft_seconds: 10,
        },
        spill_bytes,
        ..Options::default()
    }
}

impl World {
    /// One history, from its seed.
    pub fn history(seed: u64, is_verbose: bool) -> Result<Outcome, String> {
        let mut rng = <rand::rngs::SmallRng as rand::SeedableRng>::seed_from_u64(!seed);
        let count = rng.random_range(2..6);
        let mut world = World::new(seed, count, options(&mut rng), is_verbose);
        world.padding_max = [60, 600, 6000][rng.random_range(0..3)];
        world.has_faults = true;
        for node in 1..count {
            let primary = rng.random_range(0..node);
            let in_ms = rng.random_range(0..3000);
            world.schedule(in_ms, Coming::Follow { node, primary });
        }
        let writes = rng.random_range(20..120);
        for _ in 0..writes {
            let in_ms = rng.random_range(0..FAULTS_MS);
            for node in 0..count {
                world.schedule(in_ms, Coming::Write { node });
            }
        }
        for _ in 0..rng.random_range(2..14) {
            let in_ms = rng.random_range(2000..FAULTS_MS);
            world.schedule(in_ms, Coming::Fault);
        }
        world.run(FAULTS_MS);
        world.heal();
        world.run(REST_MS);
        world.check_at_rest()?;
        Ok(world.outcome)
    }

    fn any_node(&mut self) -> usize {
        self.rng.random_range(0..self.nodes.len())
    }

    pub fn fault(&mut self) {
        let node = self.any_node();
        match self.rng.random_range(0..12) {
            0..=2 => {
                if let Some(connection) = self.any_connection() {
                    self.cut(connection);
                }
            }
            3 => {
                if let Some(connection) = self.any_connection() {
                    self.say(|| format!("connection {connection} is half open from now on"));
                    self.connections[connection].is_dead = true;
                }
            }
            4 => self.toggle_partition(),
            5 | 6 => {
                let is_silent = self.rng.random_bool(0.3);
                self.stop(node, is_silent);
            }
            7 => self.save(node),
            8 => self.elect(node),
            9 => self.fail_over(node),
            10 => self.chain(node),
            _ => {
                let size = 1 << self.rng.random_range(14..20);
                let mut options = self.nodes[node].replication.options().clone();
                options.backlog_bytes = size;
                let now_ms = self.now_ms + self.nodes[node].clock_skew_ms;
                self.nodes[node].replication.set_options(options, now_ms);
            }
        }
    }

    pub fn any_connection(&mut self) -> Option<usize> {
        let open: Vec<usize> = (0..self.connections.len())
            .filter(|at| self.is_open(*at, REPLICA) && self.is_open(*at, PRIMARY))
            .collect();
        (!open.is_empty()).then(|| open[self.rng.random_range(0..open.len())])
    }

    /// Both ends learn that the connection is gone; what was on the way is lost.
    pub fn cut(&mut self, connection: usize) {
        self.say(|| format!("connection {connection} is cut"));
        self.connections[connection].is_dead = true;
        for end in [REPLICA, PRIMARY] {
            if self.is_open(connection, end) {
                self.connections[connection].is_closed[end] = true;
                self.lose_end(connection, end);
            }
        }
    }

    fn toggle_partition(&mut self) {
        let (one, other) = (self.any_node(), self.any_node());
        let is_blocked = !self.blocked[one][other];
        self.say(|| format!("between {one} and {other}: blocked {is_blocked}"));
        self.blocked[one][other] = is_blocked;
        self.blocked[other][one] = is_blocked;
        if is_blocked {
            for connection in &mut self.connections {
                let [a, b] = [connection.ends[0].node, connection.ends[1].node];
                connection.is_dead |= [a, b] == [one, other] || [b, a] == [one, other];
            }
        }
    }

    pub fn save(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        if it.is_up && !it.is_loading {
            it.disk = Some((it.data.clone(), it.replication.saved_history()));
            self.say(|| format!("{node}: saved"));
        }
    }

    /// The process ends, and starts again after a while. Silent: nobody is told, as when a machine goes.
    pub fn stop(&mut self, node: usize, is_silent: bool) {
        if !self.nodes[node].is_up {
            return;
        }
        if self.rng.random_bool(0.5) {
            self.save(node); // a clean end
        }
        self.say(|| format!("{node}: stopped"));
        self.outcome.restarts += 1;
        for connection in 0..self.connections.len() {
            for end in [REPLICA, PRIMARY] {
                if self.connections[connection].ends[end].node == node
                    && self.is_open(connection, end)
                {
                    self.connections[connection].is_dead |= is_silent;
                    self.close(connection, end);
                }
            }
        }
        self.nodes[node].is_up = false;
        let in_ms = self.rng.random_range(0..5000);
        self.schedule(in_ms, Coming::Start { node });
    }

    pub fn start(&mut self, node: usize) {
        let now_ms = self.now_ms + self.nodes[node].clock_skew_ms;
        let options = self.nodes[node].replication.options().clone();
        let replication = Replication::new(options, now_ms, &mut self.rng);
        let old = std::mem::replace(&mut self.nodes[node], Node::new(replication, 0));
        let it = &mut self.nodes[node];
        it.clock_skew_ms = old.clock_skew_ms;
        it.life = old.life + 1;
        it.epoch = old.epoch + 1;
        it.configured = old.configured;
        it.disk = old.disk;
        if let Some(primary) = it.configured {
            it.replication.start_as_replica(&format!("n{primary}"), 1000 + primary as u16);
        }
        if let Some((data, saved)) = it.disk.clone() {
            if let Some(saved) = saved {
                it.replication.restore(saved, now_ms);
            }
            it.replace(data);
        } else {
            it.replace(Data::default());
        }
        self.say(|| format!("{node}: started"));
    }

    /// A monitor promotes this server, and tells the others one after the other.
    fn elect(&mut self, node: usize) {
        self.promote(node);
        for other in 0..self.nodes.len() {
            if other != node && self.rng.random_bool(0.7) {
                let in_ms = self.rng.random_range(0..4000);
                self.schedule(in_ms, Coming::Follow { node: other, primary: node });
            }
        }
    }

    fn fail_over(&mut self, node: usize) {
        let it = &self.nodes[node];
        if !it.is_up || it.is_loading || it.replication.is_replica() {
            return;
        }
        let target = it
            .replication
            .replicas
            .iter()
            .next()
            .map(|first| (first.ip().to_owned(), first.profile.port));
        let to = target.filter(|_| self.rng.random_bool(0.5));
        let timeout_ms = self.rng.random_bool(0.6).then(|| self.rng.random_range(1..5000));
        let force = to.is_some() && timeout_ms.is_some() && self.rng.random_bool(0.5);
        let options = FailoverOptions::Begin { to, timeout_ms, force };
        self.say(|| format!("{node}: FAILOVER {options:?}"));
        if self.with(node, |replication, turn| replication.fail_over(options, turn)).is_ok() {
            self.outcome.failovers += 1;
            if self.rng.random_bool(0.3) {
                let in_ms = self.rng.random_range(0..5000);
                self.schedule(in_ms, Coming::AbortFailover { node });
            }
        }
        self.settle(node);
    }

    /// A replica is told to follow another server.
    fn chain(&mut self, node: usize) {
        let primary = self.any_node();
        if self.nodes[node].replication.is_replica() {
            self.follow(node, primary);
        }
    }

    /// All faults end, and somebody puts the family in order.
    fn heal(&mut self) {
        self.say(|| "the network heals".to_owned());
        self.has_faults = false;
        let count = self.nodes.len();
        self.blocked = vec![vec![false; count]; count];
        for connection in &mut self.connections {
            connection.window = 100_000;
            connection.delay_ms = 10;
        }
        for node in 0..count {
            if !self.nodes[node].is_up {
                self.start(node);
            }
            let _ = self.with(node, |replication, turn| {
                replication.fail_over(FailoverOptions::Abort, turn)
            });
            self.settle(node);
        }
        // What was ordered in the time of faults is done with, and loads that are under way end.
        self.run(6000);
        let first = self.any_node();
        for _ in 0..100 {
            if !self.nodes[first].is_loading {
                break;
            }
            self.run(100);
        }
        self.forget_orders();
        self.promote(first);
        let mut placed = vec![first];
        for node in (0..count).filter(|node| *node != first) {
            let primary = placed[self.rng.random_range(0..placed.len())];
            placed.push(node);
            self.follow(node, primary);
        }
        for _ in 0..10 {
            let in_ms = self.rng.random_range(0..20_000);
            self.schedule(in_ms, Coming::Write { node: first });
        }
        self.outcome_at_heal();
    }

    fn outcome_at_heal(&mut self) {
        self.fulls_at_heal = self.outcome.full;
    }

    fn check_at_rest(&self) -> Result<(), String> {
        let primaries: Vec<usize> = (0..self.nodes.len())
            .filter(|node| !self.nodes[*node].replication.is_replica())
            .collect();
        let [primary] = primaries[..] else { return Err(format!("primaries: {primaries:?}")) };
        let whole = &self.nodes[primary];
        for (number, node) in self.nodes.iter().enumerate() {
            if number == primary {
                continue;
            }
            if !node.replication.is_link_up() {
                return Err(format!("{number} is not connected: {:?}", node.replication.role()));
            }
            if node.data != whole.data {
                return Err(format!("{number} differs from {primary}"));
            }
            let (there, here) = (node.replication.history(), whole.replication.history());
            // Pings are on their way.
            if there.id != here.id
                || there.offset > here.offset
                || here.offset.since(there.offset) > LAG_AT_REST
            {
                return Err(format!(
                    "{number} is at another place than {primary}: {there:?} {here:?}"
                ));
            }
            if node.digest_at(i64::MAX) != Some(node.data.digest()) {
                return Err(format!("{number} has changed without a write"));
            }
        }
        let fulls = self.outcome.full - self.fulls_at_heal;
        if fulls > FULL_SYNCS_AT_REST * self.nodes.len() as u64 {
            return Err(format!("{fulls} full syncs at rest"));
        }
        Ok(())
    }
}
