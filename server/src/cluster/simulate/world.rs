//! Time, the network, and what happens in them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::super::{Action, Cluster, Event, LinkId, Name, Options, SlotSet};
use super::files::{first_file, place, share};
use super::moves::{MoveLink, Sent};
use super::node::Node;
use super::outcome::Outcome;

/// When the world begins: the clocks show years after 1970, as they do.
pub const START_MS: i64 = 1_700_000_000_000;
const TICK_MS: i64 = 100;
/// The port for clients of the first node; each has another.
pub const FIRST_PORT: u16 = 7000;
pub const BUS_PORT_ABOVE: u16 = 10_000;

/// What will happen.
#[derive(Debug)]
pub enum Coming {
    Tick {
        node: usize,
        life: u32,
    },
    Connect {
        connection: usize,
    },
    Deliver {
        connection: usize,
        to: usize,
        bytes: Vec<u8>,
    },
    Closed {
        connection: usize,
        to: usize,
    },
    /// A connection that came while its target was stopped.
    Accepted {
        connection: usize,
    },
    Start {
        node: usize,
        text: Option<String>,
    },
    Fault,
    /// The link of a move stands, or cannot be made.
    MoveUp {
        link: usize,
    },
    /// Something comes by the link of a move: to the target (0), or to the source (1).
    Moved {
        link: usize,
        to: usize,
        sent: Sent,
    },
    /// What waits at one end of the link of a move is looked at again.
    MovedAgain {
        link: usize,
        to: usize,
    },
    /// One end of the link of a move hears that it is gone.
    MoveLost {
        link: usize,
        to: usize,
    },
    /// The snapshot of a move begins, or is sent.
    Snapshot {
        node: usize,
        life: u32,
        name: Name,
        is_begin: bool,
    },
    /// An operator goes on with what was begun.
    Operate(super::faults::Work),
}

/// One end of a connection: a server in one of its lives.
#[derive(Debug, Clone, Copy)]
pub struct End {
    pub node: usize,
    pub life: u32,
    pub link: LinkId,
}

/// A connection. The first end has made it.
pub struct Connection {
    pub ends: [Option<End>; 2],
    target: Option<usize>,
    pub is_open: bool,
    /// Nothing that is sent arrives before what was sent before, unless this is not so.
    pub busy_until_ms: [i64; 2],
}

/// A cluster, and all around it.
pub struct World {
    pub now_ms: i64,
    pub nodes: Vec<Node>,
    pub connections: Vec<Connection>,
    /// When what comes, in which order it was put there, and where it lies in `coming`.
    queue: BinaryHeap<Reverse<(i64, u64, usize)>>,
    coming: Vec<Option<Coming>>,
    free: Vec<usize>,
    sequence: u64,
    pub random: SmallRng,
    /// Until when nothing gets from one node to another.
    pub blocked_until_ms: BTreeMap<(usize, usize), i64>,
    /// Out of a thousand packets so many are lost, doubled, and overtaken.
    pub lost: u32,
    pub doubled: u32,
    pub overtaken: u32,
    pub delay_ms: i64,
    /// Operators do what Redis makes no promises about.
    pub is_loose: bool,
    /// Nodes that were reset or have lost their file, and are to be met again.
    pub outcasts: BTreeSet<usize>,
    /// Names that nobody has any more.
    pub gone: BTreeSet<Name>,
    /// Nodes whose file went back in time, so that they may vote twice.
    pub has_amnesia: bool,
    /// Who has won which epoch, and who was given a vote by whom.
    pub winners: BTreeMap<u64, usize>,
    pub votes: BTreeMap<(Name, u64), String>,
    /// Links of moves, the numbers of clients by which they come, and what waits at their ends.
    pub move_links: Vec<MoveLink>,
    pub clients: u64,
    pub waiting_moved: BTreeMap<(usize, usize), VecDeque<Sent>>,
    /// Writes that there were, and the last one of each slot.
    pub writes: u64,
    pub acknowledged: BTreeMap<u16, u64>,
    /// A replica has taken over, or a file is lost: what was acknowledged may be lost.
    pub may_lose: bool,
    /// When an operator has last ended the move of a slot.
    pub slot_moved_ms: i64,
    pub outcome: Outcome,
    /// Links and packets that leave, between two steps, and room for packets.
    pub ready: Vec<LinkId>,
    pub packets: Vec<(LinkId, usize, Vec<u8>)>,
    pub rooms: Vec<Vec<u8>>,
    /// What all nodes have sent, and how often they have saved their files.
    pub bytes_sent: u64,
    pub saves: u64,
    /// Files are written, which takes long where there are hundreds of nodes.
    pub keeps_files: bool,
    pub is_verbose: bool,
}

impl World {
    /// A cluster that stands: `primaries` with as many replicas each, all of whom know each other.
    pub fn new(
        seed: u64,
        primaries: usize,
        replicas: usize,
        options: &Options,
        is_verbose: bool,
    ) -> Self {
        let mut world = Self::nobody(seed, is_verbose);
        let count = primaries * (1 + replicas);
        let names: Vec<Name> = (0..count).map(|_| Name::random(&mut world.random)).collect();
        for number in 0..count {
            world.add(number, seed, options, first_file(&names, primaries, number));
        }
        world
    }

    fn nobody(seed: u64, is_verbose: bool) -> Self {
        Self {
            now_ms: START_MS,
            nodes: Vec::new(),
            connections: Vec::new(),
            queue: BinaryHeap::new(),
            coming: Vec::new(),
            free: Vec::new(),
            sequence: 0,
            random: SmallRng::seed_from_u64(seed),
            blocked_until_ms: BTreeMap::new(),
            lost: 0,
            doubled: 0,
            overtaken: 0,
            delay_ms: 2,
            is_loose: false,
            outcasts: BTreeSet::new(),
            gone: BTreeSet::new(),
            has_amnesia: false,
            winners: BTreeMap::new(),
            votes: BTreeMap::new(),
            move_links: Vec::new(),
            clients: 0,
            waiting_moved: BTreeMap::new(),
            writes: 0,
            acknowledged: BTreeMap::new(),
            may_lose: false,
            slot_moved_ms: 0,
            outcome: Outcome::default(),
            ready: Vec::new(),
            packets: Vec::new(),
            rooms: Vec::new(),
            bytes_sent: 0,
            saves: 0,
            keeps_files: true,
            is_verbose,
        }
    }

    /// As many servers that do not know each other: the first ones share the slots, and each has an epoch of its own.
    pub fn strangers(seed: u64, primaries: usize, replicas: usize, options: &Options) -> Self {
        let mut world = Self::nobody(seed, false);
        let count = primaries * (1 + replicas);
        for number in 0..count {
            let name = Name::random(&mut world.random);
            let slots = if number < primaries { share(number, primaries) } else { String::new() };
            let at = place(number);
            let text = format!(
                "{name} {at} myself,master - 0 0 {} connected{slots}\n\
                 vars currentEpoch {count} lastVoteEpoch 0\n",
                number + 1
            );
            world.add(number, seed, options, text);
        }
        world
    }

    /// Adds a server and starts it with this file.
    fn add(&mut self, number: usize, seed: u64, options: &Options, text: String) {
        let port = FIRST_PORT + number as u16;
        let options = Options { port, bus_port: port + BUS_PORT_ABOVE, ..options.clone() };
        let mut node = Node::new(number, options, seed);
        (node.file, node.synced_file) = (text.clone(), text);
        self.nodes.push(node);
        self.start(number, None);
    }

    pub fn log(&self, node: Option<usize>, line: &str) {
        if self.is_verbose {
            let at = self.now_ms - START_MS;
            let node = node.map_or_else(|| "-".to_owned(), |node| node.to_string());
            println!("{:6}.{:03} {node:>2} {line}", at / 1000, at % 1000);
        }
    }

    pub fn schedule(&mut self, in_ms: i64, coming: Coming) {
        self.sequence += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.coming.push(None);
            self.coming.len() - 1
        });
        self.coming[place] = Some(coming);
        self.queue.push(Reverse((self.now_ms + in_ms.max(0), self.sequence, place)));
    }

    pub fn chance(&mut self, of_thousand: u32) -> bool {
        of_thousand > 0 && self.random.random_range(0..1000) < of_thousand
    }

    /// Lets so much time pass.
    pub fn run(&mut self, ms: i64) -> Result<(), String> {
        let end_ms = self.now_ms + ms;
        while let Some(Reverse((at_ms, _, place))) =
            self.queue.peek().copied().filter(|next| next.0.0 <= end_ms)
        {
            self.queue.pop();
            self.now_ms = self.now_ms.max(at_ms);
            self.free.push(place);
            if let Some(coming) = self.coming[place].take() {
                self.happen(coming)?;
            }
        }
        self.now_ms = end_ms;
        Ok(())
    }

    fn happen(&mut self, coming: Coming) -> Result<(), String> {
        match coming {
            Coming::Tick { node, life } => {
                if self.nodes[node].life != life || self.nodes[node].cluster.is_none() {
                    return Ok(());
                }
                let stopped_ms = self.nodes[node].stopped_until_ms - self.now_ms;
                if stopped_ms > 0 {
                    // What waited in sockets may be looked at first, or not.
                    let late_ms = self.random.random_range(0..2);
                    self.schedule(stopped_ms + late_ms, Coming::Tick { node, life });
                    return Ok(());
                }
                self.replicate(node);
                self.tell(node, Event::Tick)?;
                self.schedule(TICK_MS, Coming::Tick { node, life });
            }
            Coming::Connect { connection } => self.try_connect(connection)?,
            Coming::Accepted { connection } => {
                let (Some(end), Some(from)) =
                    (self.end_that_lives(connection, 1), self.connections[connection].ends[0])
                else {
                    return Ok(());
                };
                let peer_ip = self.nodes[from.node].ip.clone();
                let local_ip = self.nodes[end.node].ip.clone();
                self.tell(end.node, Event::Accepted { link: end.link, peer_ip, local_ip })?;
            }
            Coming::Deliver { connection, to, bytes } => self.deliver(connection, to, bytes)?,
            Coming::Closed { connection, to } => {
                let Some(end) = self.end_that_lives(connection, to) else { return Ok(()) };
                let stopped_ms = self.nodes[end.node].stopped_until_ms - self.now_ms;
                if stopped_ms > 0 {
                    self.schedule(stopped_ms, Coming::Closed { connection, to });
                    return Ok(());
                }
                self.nodes[end.node].links.remove(end.link);
                self.tell(end.node, Event::Closed(end.link, "connection closed"))?;
            }
            Coming::Start { node, text } => self.start(node, text),
            Coming::Fault => self.fault()?,
            Coming::MovedAgain { link, to } => self.deliver_waiting(link, to)?,
            coming @ (Coming::MoveUp { .. }
            | Coming::Moved { .. }
            | Coming::MoveLost { .. }
            | Coming::Snapshot { .. }) => self.happen_to_move(coming)?,
            Coming::Operate(work) => self.operate(work)?,
        }
        Ok(())
    }

    /// Starts a server with its file, or with another one.
    pub fn start(&mut self, number: usize, text: Option<String>) {
        let now_ms = self.now_ms;
        let node = &mut self.nodes[number];
        if node.cluster.is_some() {
            return;
        }
        node.life += 1;
        let text = text.unwrap_or_else(|| node.file.clone());
        node.clock_ahead_ms = node.wall_ahead_ms;
        let clock_ms = now_ms + node.clock_ahead_ms;
        node.cluster = Some(if text.is_empty() {
            Cluster::alone(Name::random(&mut node.random), node.options.clone(), clock_ms)
        } else {
            Cluster::from_file(&text, node.options.clone(), clock_ms)
                .expect("a file that was written")
        });
        (node.upstream, node.heard_ms) = (None, None);
        let life = node.life;
        self.settle_aside(number);
        self.log(Some(number), "starts");
        let in_ms = self.random.random_range(0..TICK_MS);
        self.schedule(in_ms, Coming::Tick { node: number, life });
    }

    /// Ends a server at once.
    pub fn kill(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if node.cluster.take().is_none() {
            return;
        }
        node.stopped_until_ms = 0;
        let links = std::mem::take(&mut node.links);
        self.log(Some(number), "is killed");
        for (link, connection) in links.iter() {
            self.close(*connection, number, link);
        }
        self.break_links_of(number);
    }

    pub fn end_that_lives(&self, connection: usize, side: usize) -> Option<End> {
        let end = self.connections[connection].ends[side]?;
        let node = &self.nodes[end.node];
        (node.life == end.life && node.links.get(end.link).is_some()).then_some(end)
    }

    /// One side closes a connection; the other hears of it.
    fn close(&mut self, connection: usize, node: usize, link: LinkId) {
        let found = &mut self.connections[connection];
        let was_open = std::mem::replace(&mut found.is_open, false);
        let mine = found.ends[0].is_some_and(|end| end.node == node && end.link == link);
        let to = usize::from(mine);
        if was_open && found.ends[to].is_some() {
            let at_ms = found.busy_until_ms[to].max(self.now_ms + self.delay_ms);
            self.schedule(at_ms - self.now_ms, Coming::Closed { connection, to });
        }
    }

    /// The server with an address.
    pub fn find(&self, ip: &str, port: u16) -> Option<usize> {
        let number = usize::from(port.checked_sub(FIRST_PORT)?);
        self.nodes.get(number).is_some_and(|node| node.ip == ip).then_some(number)
    }

    /// How long nothing gets from one node to another.
    pub fn blocked_ms(&self, from: usize, to: usize) -> i64 {
        let until_ms = self.blocked_until_ms.get(&(from, to)).copied().unwrap_or(0);
        until_ms - self.now_ms
    }

    fn try_connect(&mut self, connection: usize) -> Result<(), String> {
        let Some(from) = self.end_that_lives(connection, 0) else { return Ok(()) };
        let to = self.connections[connection].target;
        if let Some(to) = to {
            let blocked_ms = self.blocked_ms(from.node, to).max(self.blocked_ms(to, from.node));
            if blocked_ms > 0 {
                // Tried again and again, as the kernel does.
                self.schedule(blocked_ms.min(1000), Coming::Connect { connection });
                return Ok(());
            }
        }
        let Some(to) = to.filter(|to| self.nodes[*to].cluster.is_some()) else {
            self.nodes[from.node].links.remove(from.link);
            return self.tell(from.node, Event::Closed(from.link, "Connection refused"));
        };
        let target = &mut self.nodes[to];
        let Some(link) = target.cluster.as_mut().map(Cluster::new_link) else { return Ok(()) };
        target.links.insert(link, connection);
        let (life, to_ip) = (target.life, target.ip.clone());
        let from_ip = self.nodes[from.node].ip.clone();
        let found = &mut self.connections[connection];
        found.ends[1] = Some(End { node: to, life, link });
        found.is_open = true;
        let stopped_ms = self.nodes[to].stopped_until_ms - self.now_ms;
        if stopped_ms > 0 {
            // The kernel takes it meanwhile.
            self.schedule(stopped_ms, Coming::Accepted { connection });
        } else {
            let (peer_ip, local_ip) = (from_ip.clone(), to_ip.clone());
            self.tell(to, Event::Accepted { link, peer_ip, local_ip })?;
        }
        self.tell(
            from.node,
            Event::Connected { link: from.link, peer_ip: to_ip, local_ip: from_ip },
        )
    }

    /// A replica takes what its primary has; a primary writes.
    fn replicate(&mut self, number: usize) {
        let now_ms = self.now_ms;
        let node = &self.nodes[number];
        let Some((ip, port)) = &node.upstream else {
            let writes = node
                .cluster
                .as_ref()
                .is_some_and(|cluster| cluster.is_up() && !cluster.myself().slots.is_empty());
            if writes && node.writes_paused_until_ms <= now_ms {
                let more = self.random.random_range(0..100);
                self.nodes[number].place += more;
                self.write(number);
            }
            return;
        };
        let primary = self.find(ip, *port);
        let Some(primary) = primary.filter(|primary| *primary != number) else { return };
        let is_cut = self.blocked_ms(primary, number).max(self.blocked_ms(number, primary)) > 0;
        let (reached, place) = (self.nodes[primary].is_running(now_ms), self.nodes[primary].place);
        let has_data =
            self.nodes[primary].upstream.is_none() || self.nodes[primary].heard_ms.is_some();
        let Ok([primary, node]) = self.nodes.get_disjoint_mut([primary, number]) else { return };
        if reached && !is_cut && has_data && node.link_at_ms <= now_ms {
            (node.place, node.heard_ms) = (place, Some(now_ms));
            if node.data != primary.data {
                node.data.clone_from(&primary.data);
            }
            if node.aside != primary.aside {
                node.aside = primary.aside.clone();
            }
        }
    }

    /// Tells a node's cluster what happened, ends its turn, and lets out what it sends.
    pub fn tell(&mut self, number: usize, event: Event<'_>) -> Result<(), String> {
        self.with(number, |cluster, turn| cluster.handle(event, turn)).map(drop)
    }

    /// Has a node's cluster do something, ends its turn, and lets out what it sends.
    pub fn with<R>(
        &mut self,
        number: usize,
        step: impl FnOnce(&mut Cluster, &mut super::super::Turn<'_>) -> R,
    ) -> Result<Option<R>, String> {
        let now_ms = self.now_ms;
        let Some(result) = self.nodes[number].step(now_ms, step) else { return Ok(None) };
        self.carry_out(number)?;
        if self.nodes[number].cluster.as_ref().is_some_and(Cluster::has_todo) {
            self.nodes[number].step(now_ms, |cluster, turn| cluster.handle(Event::EndOfTurn, turn));
            self.carry_out(number)?;
        }
        self.send(number);
        self.check_node(number)?;
        Ok(Some(result))
    }

    fn carry_out(&mut self, number: usize) -> Result<(), String> {
        if self.nodes[number].actions.is_empty() {
            return Ok(());
        }
        for action in std::mem::take(&mut self.nodes[number].actions) {
            match action {
                Action::Log(_, line) => {
                    self.log(Some(number), &line);
                    self.note(number, &line)?;
                }
                Action::Connect { link, ip, port } => {
                    let life = self.nodes[number].life;
                    let connection = self.connections.len();
                    let port = port.checked_sub(BUS_PORT_ABOVE);
                    let target = port.and_then(|port| self.find(&ip, port));
                    self.connections.push(Connection {
                        ends: [Some(End { node: number, life, link }), None],
                        target,
                        is_open: false,
                        busy_until_ms: [0; 2],
                    });
                    self.nodes[number].links.insert(link, connection);
                    let delay_ms = self.delay_ms;
                    self.schedule(delay_ms, Coming::Connect { connection });
                }
                Action::Close(link) => {
                    if let Some(connection) = self.nodes[number].links.remove(link) {
                        self.close(connection, number, link);
                    }
                }
                Action::Save { synced } => {
                    let node = &mut self.nodes[number];
                    self.saves += 1;
                    if let Some(cluster) = node.cluster.as_ref().filter(|_| self.keeps_files) {
                        let text = cluster.to_file(node.wall_ahead_ms - node.clock_ahead_ms);
                        node.old_files.push(std::mem::replace(&mut node.file, text));
                        if synced {
                            node.synced_file.clone_from(&node.file);
                        }
                    }
                }
                Action::Follow { ip, port } => {
                    let delay_ms = self.random.random_range(20..400);
                    let node = &mut self.nodes[number];
                    if node.upstream.is_none() {
                        node.heard_ms = None;
                    }
                    node.upstream = Some((ip, port));
                    node.link_at_ms = self.now_ms + delay_ms;
                }
                Action::Lead => {
                    let node = &mut self.nodes[number];
                    (node.upstream, node.heard_ms) = (None, None);
                    self.settle_aside(number);
                }
                Action::EmptyData => {
                    let node = &mut self.nodes[number];
                    node.place = 0;
                    node.data.clear();
                    node.aside = SlotSet::default();
                    self.may_lose = true;
                }
                Action::PauseWrites { for_ms } => {
                    self.nodes[number].writes_paused_until_ms = self.now_ms + for_ms;
                }
                Action::ResumeWrites => self.nodes[number].writes_paused_until_ms = 0,
                Action::DeleteSlot(slot) => {
                    self.nodes[number].data.remove(&slot);
                }
                Action::Move(act) => self.carry_out_move(number, act)?,
                Action::Publish { .. } => {}
            }
        }
        Ok(())
    }
}
