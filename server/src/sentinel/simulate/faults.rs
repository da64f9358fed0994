//! What goes wrong in a history, and how it goes on without.

use rand::Rng;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::network::Node;
use super::world::{Due, Setup, World, group_name};

/// A sentinel that comes back without its file has lost its votes, so that it must not come back while the elections may
/// still be under way in which it gave them: candidates wait for at most 10 s, and begin up to 1 s late.
const FORGOTTEN_MS: i64 = 15_000;

/// The sentinel that may lose its file or be reset. A server that is away while all sentinels forget is forgotten, and
/// nobody makes it a replica when it is back: that is what operators are told of SENTINEL RESET.
const FORGETFUL: usize = 0;

impl World {
    /// The world of a seed.
    pub fn of_seed(seed: u64, is_verbose: bool) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed ^ 0x5e4d);
        let sentinels = *[3, 3, 3, 5].get(rng.random_range(0..4)).unwrap_or(&3);
        let groups = *[1, 1, 1, 2, 3].get(rng.random_range(0..5)).unwrap_or(&1);
        let forgets = rng.random_bool(0.3);
        let majority = sentinels / 2 + 1;
        let quorum = if forgets { majority } else { rng.random_range(1..=majority) };
        let setup = Setup {
            sentinels,
            groups: (0..groups).map(|_| rng.random_range(1..=3)).collect(),
            quorum,
            down_after: rng.random_range(500..3000),
            failover_timeout: rng.random_range(3000..12_000),
            parallel_syncs: rng.random_range(1..=2),
            info_period: rng.random_range(1000..6000),
            tilt_period: rng.random_range(2000..10_000),
            forgets,
        };
        Self::new(seed, setup, is_verbose)
    }

    /// Everything that happens in a history. Answers how long it took until all agreed at its end.
    pub fn live(&mut self) -> Result<i64, String> {
        self.meet(6000);
        self.has_faults = true;
        let faults = self.rng.random_range(2..10);
        for _ in 0..faults {
            let at = self.rng.random_range(0..25_000);
            self.later(at, Due::Fault);
        }
        self.run(30_000);
        self.heal();
        self.settle()
    }

    /// All that was broken is whole again.
    pub fn heal(&mut self) {
        self.has_faults = false;
        self.say(|| "all is quiet".to_owned());
        for number in 0..self.servers.len() {
            self.start_server(number);
            let it = &mut self.servers[number];
            it.paused_until = it.paused_until.min(self.now);
            it.priority = it.priority.max(1);
        }
        for number in 0..self.sentinels.len() {
            let it = &mut self.sentinels[number];
            it.paused_until = it.paused_until.min(self.now);
        }
        // Cuts end by themselves; what is left of them is short.
    }

    fn any_server(&mut self) -> usize {
        self.rng.random_range(0..self.servers.len())
    }

    fn any_sentinel(&mut self) -> usize {
        self.rng.random_range(0..self.sentinels.len())
    }

    /// A server that is a primary in its own eyes, if there is one.
    fn any_primary(&mut self) -> usize {
        let group = self.rng.random_range(0..self.setup.groups.len());
        let is_one = |it: &super::server::Server| it.group == group && it.follows.is_none();
        self.servers.iter().position(is_one).unwrap_or(0)
    }

    fn any_node(&mut self) -> Node {
        if self.rng.random_bool(0.5) {
            Node::Sentinel(self.any_sentinel())
        } else {
            Node::Server(self.any_server())
        }
    }

    pub fn cut_for(&mut self, from: Node, to: Node, ms: i64) {
        let index = |node| match node {
            Node::Sentinel(number) => number,
            Node::Server(number) => self.setup.sentinels + number,
        };
        let (from, to) = (index(from), index(to));
        self.cut[from][to] += 1;
        self.later(ms, Due::Heal(from, to));
    }

    fn isolate_for(&mut self, node: Node, ms: i64) {
        let sentinels = (0..self.sentinels.len()).map(Node::Sentinel);
        let servers = (0..self.servers.len()).map(Node::Server);
        for other in sentinels.chain(servers).collect::<Vec<_>>() {
            if other != node {
                self.cut_for(node, other, ms);
                self.cut_for(other, node, ms);
            }
        }
    }

    /// Something goes wrong, or somebody does something.
    pub fn fault(&mut self) {
        // After the end of the faults nothing begins.
        if !self.has_faults {
            return;
        }
        match self.rng.random_range(0..17) {
            0..3 => {
                let number = self.any_primary();
                self.kill_server(number);
            }
            3 => {
                let number = self.any_server();
                self.kill_server(number);
            }
            4 => {
                let number =
                    if self.rng.random_bool(0.5) { self.any_primary() } else { self.any_server() };
                let ms = self.rng.random_range(300..15_000);
                self.say(|| format!("server {number} stands still for {ms} ms"));
                self.servers[number].paused_until = self.now + ms;
            }
            5 => {
                let (from, to) = (self.any_node(), self.any_node());
                let ms = self.rng.random_range(500..15_000);
                self.say(|| format!("cut from {from:?} to {to:?} for {ms} ms"));
                self.cut_for(from, to, ms);
            }
            6 => {
                let node = if self.rng.random_bool(0.5) {
                    Node::Server(self.any_primary())
                } else {
                    self.any_node()
                };
                let ms = self.rng.random_range(500..15_000);
                self.say(|| format!("{node:?} is alone for {ms} ms"));
                self.isolate_for(node, ms);
            }
            7 => {
                let open: Vec<usize> = (0..self.connections.len())
                    .filter(|it| !self.connections[*it].is_over)
                    .collect();
                if open.is_empty() {
                    return;
                }
                let it = open[self.rng.random_range(0..open.len())];
                let way = self.rng.random_range(0..2);
                self.say(|| format!("way {way} of connection {it} loses all"));
                let way = &mut self.connections[it].ways[way];
                way.is_lost = true;
                way.packets.clear();
            }
            8 => {
                let number = self.any_sentinel();
                let ms = self.rng.random_range(300..8_000);
                self.say(|| format!("s{number} stands still for {ms} ms"));
                self.sentinels[number].paused_until = self.now + ms;
            }
            9 => {
                let number = self.any_sentinel();
                let ms = self.rng.random_range(-60_000..60_000);
                self.say(|| format!("the clock of s{number} jumps by {ms} ms"));
                self.sentinels[number].skew += ms;
            }
            10 => {
                let number = self.any_sentinel();
                if self.sentinels[number].is_up {
                    self.stop_sentinel(number);
                    self.outcome.restarts += 1;
                    let ms = self.rng.random_range(100..8_000);
                    self.later(ms, Due::StartSentinel(number, false));
                }
            }
            11 if self.setup.forgets => {
                let number = FORGETFUL;
                if self.sentinels[number].is_up {
                    self.stop_sentinel(number);
                    self.outcome.wiped += 1;
                    self.later(FORGOTTEN_MS, Due::StartSentinel(number, true));
                }
            }
            12 if self.setup.forgets => {
                let number = FORGETFUL;
                if self.sentinels[number].is_up {
                    self.say(|| format!("s{number} is reset"));
                    self.act(number, |core| core.reset_matching("*"));
                }
            }
            13 => {
                let (number, group) = (self.any_sentinel(), self.setup.groups.len());
                let name = group_name(self.rng.random_range(0..group));
                let it = &self.sentinels[number];
                if it.is_up && it.paused_until <= self.now {
                    self.say(|| format!("s{number} is asked to fail {name} over"));
                    // It may be refused.
                    let _ = self.act(number, |core| core.force_failover(&name));
                }
            }
            14 => {
                let number = self.any_server();
                let priority = if self.rng.random_bool(0.5) { 0 } else { 10 };
                self.say(|| format!("server {number} has priority {priority}"));
                self.servers[number].priority = priority;
            }
            15 => {
                // Somebody has a server follow another, or nobody.
                let (number, other) = (self.any_server(), self.any_server());
                let host = (self.servers[other].group == self.servers[number].group
                    && number != other)
                    .then(|| self.servers[other].ip.clone());
                // A primary that is made to follow its own replica, which follows it, leaves nobody whose data is young
                // enough where `down-after-milliseconds` is short beside the period of INFO, by Redis's rules: no failover
                // mends that.
                let may = host.is_none() || self.servers[number].follows.is_some();
                if may && self.servers[number].is_up {
                    self.say(|| format!("server {number} is told to follow {host:?}"));
                    self.servers[number].follow(host, self.now);
                }
            }
            _ => {
                // All of a group at once.
                let group = self.rng.random_range(0..self.setup.groups.len());
                for number in 0..self.servers.len() {
                    if self.servers[number].group == group && self.rng.random_bool(0.7) {
                        self.kill_server(number);
                    }
                }
            }
        }
    }

    fn kill_server(&mut self, number: usize) {
        if self.servers[number].is_up {
            self.stop_server(number);
            let ms = self.rng.random_range(300..25_000);
            self.later(ms, Due::StartServer(number));
        }
    }
}
