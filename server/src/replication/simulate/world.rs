//! The world of a history: servers, connections, the time, and what is checked.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::{Bytes, BytesMut};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redstart_common::resp::{Limits, OwnedArgs, RequestScanner};

use super::super::*;
use super::data::{DBS, Data, request};
use super::network::{Coming, Connection, End, PRIMARY, REPLICA};
use super::node::{Inbound, Making, Node, Session, Waiting};

const TICK_MS: i64 = 250;
/// Ports are the numbers of servers, from here on.
const PORT: u16 = 1000;

/// What a history has seen.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub full: u64,
    pub partial: u64,
    pub partial_refused: u64,
    pub promotions: u64,
    pub failovers: u64,
    pub writes: u64,
    pub confirmed: u64,
    pub confirmed_and_promoted: u64,
    pub restarts: u64,
    pub spilled: u64,
    pub read_back: u64,
    pub spill_failures: u64,
}

impl Outcome {
    pub fn add(&mut self, other: &Self) {
        self.full += other.full;
        self.partial += other.partial;
        self.partial_refused += other.partial_refused;
        self.promotions += other.promotions;
        self.failovers += other.failovers;
        self.writes += other.writes;
        self.confirmed += other.confirmed;
        self.confirmed_and_promoted += other.confirmed_and_promoted;
        self.restarts += other.restarts;
        self.spilled += other.spilled;
        self.read_back += other.read_back;
        self.spill_failures += other.spill_failures;
    }
}

struct Scheduled(i64, u64, Coming);

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// A write that WAIT confirmed, and a server that holds it, in the life in which it did.
pub struct Confirmed {
    pub write: u32,
    pub node: usize,
    pub life: u32,
    pub epoch: u64,
}

pub struct World {
    pub now_ms: i64,
    pub rng: SmallRng,
    pub nodes: Vec<Node>,
    pub connections: Vec<Connection>,
    pub blocked: Vec<Vec<bool>>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    sequence: u64,
    writes: u32,
    pub options: Options,
    pub padding_max: usize,
    pub has_faults: bool,
    pub is_verbose: bool,
    pub confirmed: Vec<Confirmed>,
    pub outcome: Outcome,
    /// Full syncs before the faults ended.
    pub fulls_at_heal: u64,
    scratch: Vec<Action>,
}

impl World {
    pub fn new(seed: u64, count: usize, options: Options, is_verbose: bool) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let nodes = (0..count)
            .map(|number| {
                let skew = rng.random_range(0..5000);
                let options = Options { announced_port: PORT + number as u16, ..options.clone() };
                Node::new(Replication::new(options, skew, &mut rng), skew)
            })
            .collect();
        let mut world = Self {
            now_ms: 0,
            rng,
            nodes,
            connections: Vec::new(),
            blocked: vec![vec![false; count]; count],
            queue: BinaryHeap::new(),
            sequence: 0,
            writes: 0,
            options,
            padding_max: 100,
            has_faults: false,
            is_verbose,
            confirmed: Vec::new(),
            outcome: Outcome::default(),
            fulls_at_heal: 0,
            scratch: Vec::new(),
        };
        for node in 0..count {
            let first = world.rng.random_range(0..TICK_MS);
            world.schedule(first, Coming::Tick { node });
        }
        world
    }

    pub fn schedule(&mut self, in_ms: i64, coming: Coming) {
        self.sequence += 1;
        self.queue.push(Reverse(Scheduled(self.now_ms + in_ms.max(0), self.sequence, coming)));
    }

    /// Orders that are not carried out yet are taken back.
    pub fn forget_orders(&mut self) {
        self.queue
            .retain(|Reverse(Scheduled(_, _, coming))| !matches!(coming, Coming::Follow { .. }));
    }

    pub fn say(&self, text: impl FnOnce() -> String) {
        if self.is_verbose {
            println!("{:>7} {}", self.now_ms, text());
        }
    }

    /// Lets the time pass.
    pub fn run(&mut self, for_ms: i64) {
        let end = self.now_ms + for_ms;
        while let Some(Reverse(Scheduled(at, ..))) = self.queue.peek() {
            if *at > end {
                break;
            }
            let Some(Reverse(Scheduled(at, _, coming))) = self.queue.pop() else { break };
            self.now_ms = at;
            self.happen(coming);
        }
        self.now_ms = end;
    }

    fn happen(&mut self, coming: Coming) {
        match coming {
            Coming::Tick { node } => {
                if self.nodes[node].is_up {
                    self.event(node, Event::Tick);
                    self.settle(node);
                }
                self.schedule(TICK_MS, Coming::Tick { node });
            }
            Coming::Connected { connection } => self.connected(connection),
            Coming::Refused { node, life, link } => {
                if self.lives(node, life) {
                    self.event(node, Event::ConnectFailed(link, "Connection refused"));
                    self.settle(node);
                }
            }
            Coming::Deliver { connection, to, bytes, is_stream } => {
                self.deliver(connection, to, bytes, is_stream);
            }
            Coming::Closed { connection, end } => self.other_end_closed(connection, end),
            Coming::SnapshotDone { node, life, number } => self.snapshot_done(node, life, number),
            Coming::FileSent { connection } => {
                let end = self.connections[connection].ends[PRIMARY];
                if self.is_open(connection, PRIMARY) {
                    self.event(end.node, Event::FileSent(connection as u64));
                    self.settle(end.node);
                }
            }
            Coming::Loaded { node, life, link } => self.loaded(node, life, link),
            Coming::Write { node } => self.write(node),
            Coming::Fault => self.fault(),
            Coming::Start { node } => self.start(node),
            Coming::Follow { node, primary } => self.follow(node, primary),
            Coming::AbortFailover { node } => {
                if self.nodes[node].is_up {
                    let _ = self.with(node, |replication, turn| {
                        replication.fail_over(FailoverOptions::Abort, turn)
                    });
                    self.settle(node);
                }
            }
            Coming::Spilled { node, life, job, is_well, read } => {
                if self.lives(node, life) {
                    self.event(
                        node,
                        match (is_well, read) {
                            (true, Some(bytes)) => Event::ReadBack(job, bytes),
                            (true, None) => Event::Spilled(job),
                            (false, Some(_)) => Event::ReadBackFailed(job, "Input/output error"),
                            (false, None) => Event::SpillFailed(job, "No space left on device"),
                        },
                    );
                    self.settle(node);
                }
            }
        }
    }

    /// Has the disk do what is to be done with the files of what replicas have yet to be sent. What it says comes later.
    fn spill(&mut self, node: usize) {
        let mut jobs = Vec::new();
        let it = &mut self.nodes[node];
        it.replication.spill_jobs(self.now_ms + it.clock_skew_ms, &mut jobs);
        for work in jobs {
            let is_well = !self.has_faults || self.rng.random_bool(0.97);
            self.outcome.spill_failures += u64::from(!is_well);
            let took_ms = self.rng.random_range(0..40);
            let it = &mut self.nodes[node];
            let (job, read) = match work {
                SpillJob::Write { id, segment, at, pieces } => {
                    let file = it.spilled.entry(segment).or_default();
                    assert!(at as usize <= file.len(), "a gap");
                    file.truncate(at as usize);
                    let part = pieces.concat();
                    // One that fails may have written some of it.
                    let length = if is_well { part.len() } else { part.len() / 2 };
                    file.extend_from_slice(&part[..length]);
                    self.outcome.spilled += u64::from(is_well);
                    (id, None)
                }
                SpillJob::Read { id, segment, at, bytes } => {
                    let file = &it.spilled[&segment];
                    let at = at as usize;
                    self.outcome.read_back += 1;
                    (id, Some(Bytes::copy_from_slice(&file[at..at + bytes])))
                }
                SpillJob::Free { before } => {
                    it.spilled.retain(|number, _| *number >= before);
                    continue;
                }
            };
            it.disk_busy_until = it.disk_busy_until.max(self.now_ms) + took_ms;
            let (life, in_ms) = (it.life, it.disk_busy_until - self.now_ms);
            self.schedule(in_ms, Coming::Spilled { node, life, job, is_well, read });
        }
    }

    pub fn lives(&self, node: usize, life: u32) -> bool {
        self.nodes[node].is_up && self.nodes[node].life == life
    }

    /// Whether an end of a connection is open, and its server still the one that opened it.
    pub fn is_open(&self, connection: usize, end: usize) -> bool {
        let connection = &self.connections[connection];
        let End { node, life } = connection.ends[end];
        !connection.is_closed[end] && self.lives(node, life)
    }

    pub fn with<R>(
        &mut self,
        node: usize,
        call: impl FnOnce(&mut Replication, &mut Turn) -> R,
    ) -> R {
        let it = &mut self.nodes[node];
        let mut turn = Turn {
            now_ms: self.now_ms + it.clock_skew_ms,
            data_is_empty: it.data.is_empty(),
            is_paused: it.is_paused,
            durable: None,
            random: &mut self.rng,
            actions: &mut self.scratch,
        };
        let result = call(&mut it.replication, &mut turn);
        it.todo.extend(self.scratch.drain(..));
        result
    }

    pub fn event(&mut self, node: usize, event: Event) {
        self.with(node, |replication, turn| replication.handle(event, turn));
    }

    /// Ends the turn: carries out what is to be done, and sends what is pending.
    pub fn settle(&mut self, node: usize) {
        self.perform(node);
        self.event(node, Event::EndOfTurn);
        self.perform(node);
        self.pump_all(node);
        self.spill(node);
    }

    fn perform(&mut self, node: usize) {
        while let Some(action) = self.nodes[node].todo.pop_front() {
            self.act(node, action);
        }
    }

    fn act(&mut self, node: usize, action: Action) {
        match action {
            Action::Log(_, text) => self.say(|| format!("{node}: {text}")),
            Action::Connect { link, port, .. } => self.connect(node, link, port),
            Action::CloseLink(link) => {
                let it = &mut self.nodes[node];
                if let Some((_, connection)) = it.link.take_if(|(current, _)| *current == link) {
                    it.session = Session::default();
                    it.receiving.clear();
                    it.new_data = None;
                    it.is_loading = false;
                    if let Some(connection) = connection {
                        self.close(connection, REPLICA);
                    }
                }
            }
            Action::SendPrimary(link, bytes) => {
                if let Some((current, Some(connection))) = self.nodes[node].link
                    && current == link
                {
                    self.send(connection, PRIMARY, bytes, false);
                }
            }
            Action::Receive { .. } => self.nodes[node].receiving.clear(),
            Action::SnapshotBytes(_, bytes) => self.nodes[node].receiving.extend_from_slice(&bytes),
            Action::Load(link) => {
                let it = &mut self.nodes[node];
                it.is_loading = true;
                let life = it.life;
                let in_ms = self.rng.random_range(0..3000);
                self.schedule(in_ms, Coming::Loaded { node, life, link });
            }
            Action::EmptyData => self.nodes[node].replace(Data::default()),
            Action::SwapDatabases => {
                let data = self.nodes[node].new_data.take().expect("new databases");
                self.nodes[node].replace(data);
            }
            Action::DropNewDatabases => self.nodes[node].new_data = None,
            Action::Synced => self.nodes[node].mark(),
            Action::Stream(_, db) => {
                self.nodes[node].session = Session { db, ..Session::default() }
            }
            Action::Execute(link, bytes) => self.execute(node, link, bytes),
            Action::SendReplica(client, bytes) => {
                if bytes.starts_with(b"+CONTINUE") {
                    self.check_continued(client as usize);
                }
                self.send(client as usize, REPLICA, bytes, false);
            }
            Action::StreamTo(client) => {
                if let Some(inbound) = self.nodes[node].inbound.get_mut(&(client as usize)) {
                    inbound.streams = true;
                }
            }
            Action::CloseReplica(client) | Action::CloseAfterReply(client) => {
                self.nodes[node].inbound.remove(&(client as usize));
                self.close(client as usize, PRIMARY);
            }
            Action::StartSnapshot { snapshot, target, .. } => {
                self.start_snapshot(node, snapshot, target)
            }
            Action::AbortSnapshot(id) => {
                let making = &mut self.nodes[node].making;
                assert_eq!(making.take().map(|making| making.id), Some(id));
            }
            Action::SendFile(client, id) => {
                let bytes = self.nodes[node].files[&id].clone();
                let mut out = format!("${}\r\n", bytes.len()).into_bytes();
                out.extend(bytes);
                self.send(client as usize, REPLICA, out.into(), false);
                let in_ms = self.rng.random_range(0..500);
                self.schedule(in_ms, Coming::FileSent { connection: client as usize });
            }
            Action::AcksMoved => self.serve_waiting(node),
            Action::BecamePrimary => {
                self.nodes[node].configured = None;
                self.check_promoted(node);
            }
            // Clients that wait are sent away.
            Action::BecameReplica => self.nodes[node].waiting.clear(),
            Action::PauseWrites => self.nodes[node].is_paused = true,
            Action::ResumeWrites => self.nodes[node].is_paused = false,
        }
    }

    fn connect(&mut self, node: usize, link: LinkId, port: u16) {
        let to = usize::from(port - PORT);
        let life = self.nodes[node].life;
        self.nodes[node].link = Some((link, None));
        self.nodes[node].configured = Some(to);
        if self.blocked[node][to] {
            return; // no answer
        }
        let delay_ms = self.rng.random_range(1..30);
        if !self.nodes[to].is_up {
            self.schedule(delay_ms, Coming::Refused { node, life, link });
            return;
        }
        let window = if self.has_faults && self.rng.random_bool(0.1) { 600 } else { 100_000 };
        let delay_ms = if self.has_faults && self.rng.random_bool(0.1) { 700 } else { delay_ms };
        self.connections.push(Connection {
            ends: [End { node, life }, End { node: to, life: self.nodes[to].life }],
            link,
            is_closed: [false; 2],
            is_dead: false,
            busy_until: [0; 2],
            in_flight: 0,
            window,
            delay_ms,
        });
        let connection = self.connections.len() - 1;
        self.nodes[node].link = Some((link, Some(connection)));
        self.schedule(delay_ms, Coming::Connected { connection });
    }

    fn connected(&mut self, connection: usize) {
        let [replica, primary] = self.connections[connection].ends;
        if self.connections[connection].is_dead || !self.is_open(connection, REPLICA) {
            return;
        }
        let link = self.connections[connection].link;
        if !self.is_open(connection, PRIMARY) {
            self.event(replica.node, Event::ConnectFailed(link, "Connection refused"));
        } else {
            let inbound =
                Inbound { buffer: BytesMut::new(), scanner: RequestScanner::new(), streams: false };
            self.nodes[primary.node].inbound.insert(connection, inbound);
            self.event(replica.node, Event::Connected(link));
        }
        self.settle(replica.node);
    }

    pub fn send(&mut self, connection: usize, to: usize, bytes: Bytes, is_stream: bool) {
        if !self.is_open(connection, 1 - to) {
            return;
        }
        let jitter = self.rng.random_range(0..5);
        let it = &mut self.connections[connection];
        let at = (self.now_ms + it.delay_ms + jitter).max(it.busy_until[to]);
        it.busy_until[to] = at;
        let in_ms = at - self.now_ms;
        self.schedule(in_ms, Coming::Deliver { connection, to, bytes, is_stream });
    }

    /// An end closes; the other learns of it after what was sent.
    pub fn close(&mut self, connection: usize, end: usize) {
        let it = &mut self.connections[connection];
        if it.is_closed[end] {
            return;
        }
        it.is_closed[end] = true;
        let other = 1 - end;
        let at = (self.now_ms + it.delay_ms).max(it.busy_until[other]);
        let in_ms = at - self.now_ms;
        self.schedule(in_ms, Coming::Closed { connection, end: other });
    }

    fn other_end_closed(&mut self, connection: usize, end: usize) {
        if self.connections[connection].is_dead || !self.is_open(connection, end) {
            return;
        }
        self.connections[connection].is_closed[end] = true;
        self.lose_end(connection, end);
    }

    /// An end is told that its connection is gone.
    pub fn lose_end(&mut self, connection: usize, end: usize) {
        let node = self.connections[connection].ends[end].node;
        if end == REPLICA {
            let link = self.connections[connection].link;
            self.event(node, Event::LinkClosed(link, "connection lost"));
        } else {
            self.nodes[node].inbound.remove(&connection);
            self.event(node, Event::ClientClosed(connection as u64));
        }
        self.settle(node);
    }

    fn deliver(&mut self, connection: usize, to: usize, bytes: Bytes, is_stream: bool) {
        if self.connections[connection].is_dead {
            return;
        }
        if is_stream {
            self.connections[connection].in_flight -= bytes.len();
            let primary = self.connections[connection].ends[PRIMARY].node;
            if self.is_open(connection, PRIMARY) {
                self.pump(primary, connection);
                self.spill(primary);
            }
        }
        if !self.is_open(connection, to) {
            return;
        }
        let node = self.connections[connection].ends[to].node;
        if to == REPLICA {
            let link = self.connections[connection].link;
            self.event(node, Event::Received(link, bytes));
        } else {
            self.requests(node, connection, bytes);
        }
        self.settle(node);
    }

    /// Requests of a replica.
    fn requests(&mut self, node: usize, connection: usize, bytes: Bytes) {
        let Some(inbound) = self.nodes[node].inbound.get_mut(&connection) else { return };
        inbound.buffer.extend_from_slice(&bytes);
        loop {
            let Some(inbound) = self.nodes[node].inbound.get_mut(&connection) else { return };
            let limits = Limits::default();
            let Some(length) = inbound.scanner.scan(&inbound.buffer, &limits).expect("a request")
            else {
                return;
            };
            let args = OwnedArgs::from_args(inbound.scanner.args(&inbound.buffer));
            let _ = inbound.buffer.split_to(length);
            self.request(node, connection, &args);
            self.perform(node);
        }
    }

    fn request(&mut self, node: usize, connection: usize, args: &OwnedArgs) {
        let client = connection as u64;
        let args = args.as_args();
        let now_ms = self.now_ms + self.nodes[node].clock_skew_ms;
        if args.is_empty() {
            self.nodes[node].replication.heard_of(client, now_ms);
            return;
        }
        // What replicas say about themselves is heard always, as in Redis.
        if self.nodes[node].is_loading && args.at(0) != b"REPLCONF" {
            let error = &b"-LOADING Redis is loading the dataset in memory\r\n"[..];
            self.send(connection, REPLICA, error.into(), false);
            return;
        }
        let peer = format!("n{}", self.connections[connection].ends[REPLICA].node);
        let before = self.nodes[node].replication.counts();
        let ask = match args.at(0) {
            b"PING" => {
                self.send(connection, REPLICA, b"+PONG\r\n"[..].into(), false);
                return;
            }
            b"REPLCONF" => {
                let result =
                    self.with(node, |replication, turn| replication.replconf(client, args, turn));
                match result {
                    Ok(Replconf::Ok) => {
                        self.send(connection, REPLICA, b"+OK\r\n"[..].into(), false)
                    }
                    Ok(Replconf::Silent) => {}
                    Err(refusal) => panic!("{refusal:?}"),
                }
                return;
            }
            b"SYNC" => Ask::Sync,
            b"PSYNC" => Ask::Psync {
                id: args.at(1),
                first_byte: args.at(2),
                failover: args.get(3) == Some(b"FAILOVER"),
            },
            other => panic!("{other:?}"),
        };
        let (could, asked) = match ask {
            Ask::Psync { id, .. } => (self.could_continue(node, connection), id != b"?"),
            Ask::Sync => (false, false),
        };
        let sync = SyncRequest { client, peer_ip: &peer, line: "", has_pending_output: false, ask };
        let result = self.with(node, |replication, turn| replication.sync(sync, turn));
        let counts = self.nodes[node].replication.counts();
        self.outcome.full += counts.full - before.full;
        self.outcome.partial += counts.partial_ok - before.partial_ok;
        self.outcome.partial_refused += counts.partial_err - before.partial_err;
        match result {
            Err(refusal) => {
                let error = [&b"-"[..], &refusal.wire(), b"\r\n"].concat();
                self.send(connection, REPLICA, error.into(), false);
            }
            Ok(()) => assert!(
                !could || !asked || counts.full == before.full,
                "a full sync where the stream could have gone on"
            ),
        }
    }

    /// Whether, seen from above, the replica has a beginning of what this server has, and the rest is in the backlog.
    fn could_continue(&self, node: usize, connection: usize) -> bool {
        let primary = &self.nodes[node];
        let replica = &self.nodes[self.connections[connection].ends[REPLICA].node];
        // One that has gone on to something else meanwhile asked from another place.
        let still_asks = self.is_open(connection, REPLICA)
            && replica.link.is_some_and(|(_, its)| its == Some(connection));
        let offset = replica.replication.history().offset;
        let is_kin = still_asks && {
            let (here, there) = (primary.replication.history(), replica.replication.history());
            here.id == there.id || here.older.is_some_and(|older| older.id == there.id)
        };
        is_kin
            && primary.digest_at(offset.bytes()) == Some(replica.data.digest())
            && primary.replication.backlog().is_some_and(|backlog| backlog.holds(offset))
            && primary
                .replication
                .history()
                .includes(replica.replication.history().id.as_bytes(), offset.next_byte())
                == Ok(())
    }

    /// The heart of it: who goes on must have the very data that this server had at that place.
    fn check_continued(&self, connection: usize) {
        let [replica, primary] = self.connections[connection].ends;
        let it = &self.nodes[replica.node];
        if !self.is_open(connection, REPLICA)
            || it.link.is_none_or(|(_, its)| its != Some(connection))
        {
            return;
        }
        let offset = it.replication.history().offset.bytes();
        let here = self.nodes[primary.node].digest_at(offset);
        assert!(
            here.is_none_or(|here| here == it.data.digest()),
            "{} continues at {offset} from {} with other data",
            replica.node,
            primary.node
        );
    }

    fn start_snapshot(&mut self, node: usize, id: SnapshotId, target: Target) {
        assert!(self.nodes[node].making.is_none());
        if self.has_faults && self.rng.random_bool(0.03) {
            self.event(node, Event::SnapshotRefused(id));
            return;
        }
        let it = &mut self.nodes[node];
        let db = it.replication.saved_history().map_or(0, |saved| saved.db);
        it.making = Some(Making { id, target, bytes: it.data.encode(db) });
        let life = it.life;
        self.event(node, Event::SnapshotStarted(id));
        let in_ms = self.rng.random_range(0..1500);
        self.schedule(in_ms, Coming::SnapshotDone { node, life, number: id.0 });
    }

    fn snapshot_done(&mut self, node: usize, life: u32, number: u64) {
        let is_it = |making: &mut Making| making.id.0 == number;
        if !self.lives(node, life) {
            return;
        }
        let Some(making) = self.nodes[node].making.take_if(is_it) else { return };
        if self.has_faults && self.rng.random_bool(0.03) {
            self.event(node, Event::SnapshotFailed(making.id));
            self.settle(node);
            return;
        }
        match making.target {
            Target::File => {
                self.nodes[node].files.insert(making.id, making.bytes);
            }
            Target::Sockets { mark, replicas } => {
                let sent = [&b"$EOF:"[..], &mark, b"\r\n", &making.bytes, &mark].concat();
                let sent = Bytes::from(sent);
                for client in replicas {
                    let cut = self.rng.random_range(0..sent.len());
                    self.send(client as usize, REPLICA, sent.slice(..cut), false);
                    self.send(client as usize, REPLICA, sent.slice(cut..), false);
                }
            }
        }
        self.event(node, Event::SnapshotDone(making.id));
        self.settle(node);
    }

    fn loaded(&mut self, node: usize, life: u32, link: LinkId) {
        let it = &mut self.nodes[node];
        if !(it.is_up && it.life == life && it.is_loading)
            || it.link.is_none_or(|(current, _)| current != link)
        {
            return;
        }
        it.is_loading = false;
        if self.has_faults && self.rng.random_bool(0.03) {
            self.event(node, Event::LoadFailed(link, "Input/output error"));
            self.settle(node);
            return;
        }
        let it = &mut self.nodes[node];
        let (data, db) = Data::decode(&std::mem::take(&mut it.receiving));
        if self.options.diskless_load == DisklessLoad::SwapDb {
            it.new_data = Some(data);
        } else {
            it.replace(data);
        }
        self.event(node, Event::Loaded(link, db));
        self.settle(node);
    }

    fn execute(&mut self, node: usize, link: LinkId, bytes: Bytes) {
        if self.nodes[node].link.is_none_or(|(current, _)| current != link) {
            return;
        }
        self.nodes[node].session.stream.push(bytes);
        loop {
            let it = &mut self.nodes[node];
            let Session { stream, db, queue } = &mut it.session;
            let asks = match stream.next_request().expect("a sound stream") {
                None => break,
                Some(args) => Node::execute(&mut it.data, db, queue, &args),
            };
            if asks {
                self.hand_over(node);
                let args = OwnedArgs::from_slices(&[&b"REPLCONF"[..], b"GETACK", b"*"]);
                self.with(node, |replication, turn| {
                    replication.replconf(u64::MAX, args.as_args(), turn)
                })
                .expect("GETACK is known");
            }
            let session = &mut self.nodes[node].session;
            let is_open = session.queue.is_some();
            session.stream.done(is_open);
            if !is_open {
                self.hand_over(node);
                self.nodes[node].mark();
            }
        }
    }

    fn hand_over(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        let bytes = it.session.stream.take_applied();
        it.replication.applied(&bytes, it.session.db);
    }

    fn pump_all(&mut self, node: usize) {
        let mut streaming: Vec<usize> = self.nodes[node]
            .inbound
            .iter()
            .filter(|(_, inbound)| inbound.streams)
            .map(|(connection, _)| *connection)
            .collect();
        streaming.sort_unstable();
        for connection in streaming {
            self.pump(node, connection);
        }
    }

    /// Sends what is pending, as far as the window lets it.
    fn pump(&mut self, node: usize, connection: usize) {
        if !self.nodes[node].inbound.get(&connection).is_some_and(|inbound| inbound.streams) {
            return;
        }
        let now_ms = self.now_ms + self.nodes[node].clock_skew_ms;
        loop {
            let it = &self.connections[connection];
            let room = it.window.saturating_sub(it.in_flight);
            let replication = &mut self.nodes[node].replication;
            let limit = replication.history().offset;
            let Some(slice) = replication.pending(connection as u64, limit).next() else { return };
            let length = slice.len().min(room);
            let piece = Bytes::copy_from_slice(&slice[..length]);
            replication.sent(connection as u64, length, now_ms);
            if length == 0 {
                return;
            }
            self.connections[connection].in_flight += length;
            self.send(connection, REPLICA, piece, true);
        }
    }

    /// A client writes, if this server takes writes, and perhaps waits for a replica.
    fn write(&mut self, node: usize) {
        let it = &self.nodes[node];
        if !it.is_up || it.is_loading || it.is_paused || it.replication.is_replica() {
            return;
        }
        let db = self.rng.random_range(0..DBS as u32);
        let count = if self.rng.random_bool(0.2) { 3 } else { 1 };
        let mut bytes = Vec::new();
        if count > 1 {
            bytes.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n");
        }
        for _ in 0..count {
            self.writes += 1;
            let padding = self.rng.random_range(0..self.padding_max);
            bytes.extend(request(self.writes, padding));
            self.nodes[node].data.write(db, self.writes);
        }
        if count > 1 {
            bytes.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
        }
        self.outcome.writes += 1;
        let it = &mut self.nodes[node];
        it.replication.append(db, &bytes);
        it.mark();
        let offset = it.replication.history().offset;
        let write = self.writes;
        if self.rng.random_bool(0.5) && self.nodes[node].replication.wait(offset, 1) == Ok(0) {
            self.nodes[node].waiting.push(Waiting { offset, write });
        }
        self.settle(node);
    }

    fn serve_waiting(&mut self, node: usize) {
        let waiting = std::mem::take(&mut self.nodes[node].waiting);
        if self.nodes[node].replication.is_replica() {
            return; // clients are sent away
        }
        for client in waiting {
            if self.nodes[node].replication.acked(client.offset) == 0 {
                self.nodes[node].waiting.push(client);
                continue;
            }
            self.outcome.confirmed += 1;
            self.confirm(node, &client);
        }
    }

    /// WAIT says that a replica has the write: so it must.
    fn confirm(&mut self, node: usize, client: &Waiting) {
        let holders: Vec<usize> = self.nodes[node]
            .replication
            .replicas
            .iter()
            .filter(|replica| {
                replica.is_online()
                    && replica.acked.is_some_and(|acked| acked >= client.offset.bytes())
            })
            .map(|replica| replica.id as usize)
            .collect();
        for connection in holders {
            let End { node: holder, life } = self.connections[connection].ends[REPLICA];
            let it = &self.nodes[holder];
            let follows = it.link.is_some_and(|(_, its)| its == Some(connection));
            if !self.lives(holder, life) || !follows {
                continue; // it has had it, and has gone on to something else since
            }
            assert!(
                it.data.log.contains(&client.write),
                "WAIT confirmed what {holder} does not have"
            );
            self.confirmed.push(Confirmed {
                write: client.write,
                node: holder,
                life,
                epoch: it.epoch,
            });
        }
    }

    /// Whoever takes over keeps what it confirmed.
    pub fn check_promoted(&mut self, node: usize) {
        self.outcome.promotions += 1;
        let it = &self.nodes[node];
        let held = self.confirmed.iter().filter(|confirmed| {
            confirmed.node == node && confirmed.life == it.life && confirmed.epoch == it.epoch
        });
        for confirmed in held {
            self.outcome.confirmed_and_promoted += 1;
            assert!(it.data.log.contains(&confirmed.write), "{node} lost a confirmed write");
        }
    }

    pub fn follow(&mut self, node: usize, primary: usize) {
        if !self.nodes[node].is_up || node == primary {
            return;
        }
        if self.nodes[node].is_loading {
            self.schedule(500, Coming::Follow { node, primary });
            return;
        }
        let port = (PORT + primary as u16).to_string();
        let host = format!("n{primary}");
        self.say(|| format!("{node}: REPLICAOF {primary}"));
        let _ = self.with(node, |replication, turn| {
            replication.replicaof(u64::MAX, &host, port.as_bytes(), "", turn)
        });
        self.settle(node);
    }

    pub fn promote(&mut self, node: usize) {
        if !self.nodes[node].is_up || self.nodes[node].is_loading {
            return;
        }
        self.say(|| format!("{node}: REPLICAOF NO ONE"));
        let _ = self.with(node, |replication, turn| replication.replicaof_no_one("", turn));
        self.settle(node);
    }
}
