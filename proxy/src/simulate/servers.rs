//! The servers of a history: what they answer, what they have run, and what befalls them.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redstart_common::net::memory::{self, MemoryStream};
use redstart_common::resp::RespWrite;
use redstart_common::slot::{self, SLOT_COUNT};
use tokio::time::{Instant, sleep, sleep_until};

use super::groups::Groups;
use super::settings::{Kind, Manner};
use super::wire;
use crate::control::Directory;
use crate::settings::ServerAddress;
use crate::topology::PoolId;
use crate::topology::roster::{Change, SlotRange};

/// Slots move in pieces of this size.
const PIECE: u16 = 1024;
/// The first server's port.
const PORT: u16 = 7000;

/// A server as it is, whatever others take it for.
#[derive(Debug)]
pub struct Server {
    /// Whether it can be connected to.
    pub is_up: bool,
    /// It reads and says nothing until then.
    pub hangs_until: Instant,
    /// It answers LOADING until then.
    pub loads_until: Instant,
    connections: Vec<Rc<MemoryStream>>,
}

/// The servers, and what all of them have run.
#[derive(Debug)]
pub struct World {
    random: RefCell<SmallRng>,
    /// The servers, by their places.
    pub servers: RefCell<Vec<Server>>,
    /// Who of them is a primary, where they are groups.
    pub groups: Option<Groups>,
    /// Whose each piece of the slots is, in a cluster.
    owners: RefCell<Vec<usize>>,
    /// The piece that is on its way, and to whom.
    moving: Cell<Option<(usize, usize)>>,
    is_cluster: bool,
    /// Keys of which some servers lack the value, where reads that miss are asked of others; these have been brought home.
    brought: RefCell<HashSet<(usize, Vec<u8>)>>,
    /// Every server is asked for such a key before it counts as missing.
    asks_all: bool,
    is_rough: Cell<bool>,
    /// How often each write ran.
    runs: RefCell<HashMap<u64, u32>>,
    /// The writes that somebody was told of.
    told: RefCell<Vec<u64>>,
    /// What has befallen.
    pub faults: Cell<u64>,
    /// When each write was asked for: that of the first comes first.
    asked: RefCell<Vec<Instant>>,
    /// Whether to tell what happens.
    pub is_verbose: bool,
    /// When the history began.
    pub began: Instant,
}

/// What a connection's server remembers of it.
#[derive(Debug, Default)]
struct Session {
    input: Vec<u8>,
    is_asking: bool,
    queued: Option<Vec<Vec<Vec<u8>>>>,
    is_spoilt: bool,
}

impl World {
    /// Servers that are all well.
    pub fn new(seed: u64, manner: &Manner, is_verbose: bool) -> Self {
        let now = Instant::now();
        let server =
            || Server { is_up: true, hangs_until: now, loads_until: now, connections: Vec::new() };
        let pieces = usize::from(SLOT_COUNT / PIECE);
        let count = usize::from(manner.servers);
        Self {
            random: RefCell::new(SmallRng::seed_from_u64(seed ^ 0x5eed)),
            servers: RefCell::new((0..count).map(|_| server()).collect()),
            groups: (manner.kind == Kind::Groups).then(|| Groups::new(count / 2)),
            owners: RefCell::new((0..pieces).map(|piece| piece % count).collect()),
            moving: Cell::new(None),
            is_cluster: manner.kind == Kind::Cluster,
            brought: RefCell::default(),
            asks_all: manner.fallback + 1 >= manner.servers,
            is_rough: Cell::new(manner.is_rough),
            runs: RefCell::default(),
            told: RefCell::default(),
            faults: Cell::new(0),
            asked: RefCell::default(),
            is_verbose,
            began: now,
        }
    }

    /// Whether errors are to be expected.
    pub fn is_rough(&self) -> bool {
        self.is_rough.get()
    }

    /// A number for a write.
    pub fn next_id(&self) -> u64 {
        let mut asked = self.asked.borrow_mut();
        asked.push(Instant::now());
        asked.len() as u64
    }

    /// Somebody was told that a write has run.
    pub fn told(&self, id: u64) {
        self.told.borrow_mut().push(id);
    }

    /// Writes that ran.
    pub fn writes(&self) -> u64 {
        self.runs.borrow().len() as u64
    }

    /// From now on nothing befalls anybody.
    pub fn calm(&self) {
        self.is_rough.set(false);
        let now = Instant::now();
        for server in self.servers.borrow_mut().iter_mut() {
            server.is_up = true;
            server.hangs_until = now;
            server.loads_until = now;
        }
        if let Some(groups) = &self.groups {
            groups.calm();
        }
    }

    /// No write ran twice, and what somebody was told has run.
    pub fn judge(&self) -> Result<(), String> {
        let runs = self.runs.borrow();
        if let Some((id, count)) = runs.iter().filter(|(_, count)| **count > 1).min() {
            return Err(format!("write {id} ran {count} times"));
        }
        let told = self.told.borrow();
        if let Some(id) = told.iter().find(|id| !runs.contains_key(id)) {
            return Err(format!("write {id} was acknowledged and did not run"));
        }
        self.groups.as_ref().map_or(Ok(()), |groups| groups.judge(&told))
    }

    /// Yes, as often as `share` says.
    pub fn chance(&self, share: f64) -> bool {
        self.random.borrow_mut().random_bool(share)
    }

    /// A number by chance.
    pub fn up_to(&self, most: u64) -> u64 {
        self.random.borrow_mut().random_range(0..=most)
    }

    /// The picture of the cluster as it is now: shards and slots. Of a pool of servers there is none.
    pub fn picture(&self) -> Vec<Change> {
        if let Some(groups) = &self.groups {
            return groups.told_at_first();
        }
        if !self.is_cluster {
            return Vec::new();
        }
        let name = |place: usize| -> Arc<str> { format!("node-{place}").into() };
        let count = self.servers.borrow().len();
        let join = |place: usize| Change::Join {
            shard: name(place),
            weight: 1,
            primary: Some(address(place)),
        };
        let owners = self.owners.borrow();
        let slots = owners.iter().enumerate().map(|(piece, owner)| SlotRange {
            first: piece as u16 * PIECE,
            last: piece as u16 * PIECE + PIECE - 1,
            shard: name(*owner),
        });
        (0..count).map(join).chain([Change::Slots(slots.collect())]).collect()
    }

    /// Somebody connects to a port.
    pub fn connect(world: &Rc<Self>, port: u16) -> io::Result<Option<MemoryStream>> {
        let place = usize::from(port - PORT);
        let now = Instant::now();
        let mut servers = world.servers.borrow_mut();
        let Some(server) = servers.get_mut(place) else { return Ok(None) };
        if !server.is_up {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        // A server that hangs has a queue for those who connect, which fills.
        if server.hangs_until > now && world.chance(0.3) {
            return Ok(None);
        }
        let room = 1 << (10 + world.up_to(7));
        let (near, far) = memory::pair(room);
        let far = Rc::new(far);
        server.connections.push(Rc::clone(&far));
        tokio::task::spawn_local(serve(Rc::clone(world), place, far));
        Ok(Some(near))
    }

    /// What a message takes on its way, and how long the server hangs.
    async fn rest(&self, place: usize) {
        let until = self.servers.borrow()[place].hangs_until;
        sleep_until(until).await;
        if self.chance(0.5) {
            sleep(Duration::from_micros(self.up_to(3000))).await;
        }
    }

    /// The server ends without a word.
    pub fn kill(&self, place: usize) {
        self.servers.borrow_mut()[place].is_up = false;
        self.drop_connections(place);
    }

    /// Resets all connections of a server.
    pub fn drop_connections(&self, place: usize) {
        let mut servers = self.servers.borrow_mut();
        for connection in servers[place].connections.drain(..) {
            connection.reset();
        }
    }

    /// Whether a key of the piece on its way has gone already.
    fn has_gone(key: &[u8]) -> bool {
        key.iter().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte)) % 2 == 0
    }

    /// Where a request for these keys belongs, if not here.
    fn elsewhere(&self, place: usize, keys: &[&[u8]], is_asking: bool) -> Option<String> {
        let first = slot::key_slot(keys.first()?);
        if keys.iter().any(|key| slot::key_slot(key) != first) {
            return Some("CROSSSLOT Keys in request don't hash to the same slot".to_owned());
        }
        let piece = usize::from(first / PIECE);
        let owner = self.owners.borrow()[piece];
        let gone = keys.iter().filter(|key| Self::has_gone(key)).count();
        let moving = self.moving.get().filter(|(moving, _)| *moving == piece);
        let port = |place: usize| PORT + place as u16;
        match moving {
            Some((_, to)) if owner == place && gone > 0 => Some(if gone == keys.len() {
                format!("ASK {first} 127.0.0.1:{}", port(to))
            } else {
                "TRYAGAIN Multiple keys request during rehashing of slot".to_owned()
            }),
            Some((_, to)) if to == place && is_asking => {
                let is_torn = gone < keys.len() && keys.len() > 1;
                is_torn
                    .then(|| "TRYAGAIN Multiple keys request during rehashing of slot".to_owned())
            }
            _ if owner == place => None,
            _ => Some(format!("MOVED {first} 127.0.0.1:{}", port(owner))),
        }
    }

    fn answer(&self, place: usize, session: &mut Session, args: Vec<Vec<u8>>, out: &mut Vec<u8>) {
        let name = String::from_utf8_lossy(&args[0]).to_ascii_lowercase();
        let is_asking = std::mem::take(&mut session.is_asking);
        let loads = self.servers.borrow()[place].loads_until > Instant::now();
        let keys: Vec<&[u8]> = match &name[..] {
            "get" | "set" | "blpop" => vec![&args[1]],
            "mget" | "exists" => args[1..].iter().map(Vec::as_slice).collect(),
            _ => Vec::new(),
        };
        if loads
            && !matches!(
                &name[..],
                "info" | "client" | "select" | "role" | "multi" | "exec" | "discard"
            )
        {
            session.is_spoilt |= session.queued.is_some();
            out.extend_from_slice(b"-LOADING Redis is loading the dataset in memory\r\n");
            return;
        }
        if self.is_cluster
            && let Some(why) = self.elsewhere(place, &keys, is_asking)
        {
            session.is_spoilt |= session.queued.is_some();
            out.extend_from_slice(format!("-{why}\r\n").as_bytes());
            return;
        }
        if matches!(&name[..], "set" | "blpop") && !self.is_primary(place) {
            session.is_spoilt |= session.queued.is_some();
            out.extend_from_slice(b"-READONLY You can't write against a read only replica.\r\n");
            return;
        }
        if !matches!(&name[..], "exec" | "discard" | "multi")
            && let Some(queued) = &mut session.queued
        {
            queued.push(args);
            out.extend_from_slice(b"+QUEUED\r\n");
            return;
        }
        match &name[..] {
            "ping" => out.extend_from_slice(b"+PONG\r\n"),
            "role" if self.is_primary(place) => {
                out.extend_from_slice(b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
            }
            "role" => out.extend_from_slice(
                b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:7000\r\n$9\r\nconnected\r\n:0\r\n",
            ),
            "info" => {
                let role = if self.is_primary(place) {
                    "role:master\r\nmaster_repl_offset:0\r\n"
                } else {
                    "role:slave\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:0\r\nslave_repl_offset:0\r\n"
                };
                out.bulk(format!("{role}loading:{}\r\n", u8::from(loads)).as_bytes());
            }
            "client" => out.extend_from_slice(b":7\r\n"),
            "asking" => {
                session.is_asking = true;
                out.extend_from_slice(b"+OK\r\n");
            }
            "multi" => {
                session.queued = Some(Vec::new());
                session.is_spoilt = false;
                out.extend_from_slice(b"+OK\r\n");
            }
            "discard" => {
                session.queued = None;
                out.extend_from_slice(b"+OK\r\n");
            }
            "exec" => match session.queued.take() {
                None => out.extend_from_slice(b"-ERR EXEC without MULTI\r\n"),
                Some(_) if session.is_spoilt => out.extend_from_slice(
                    b"-EXECABORT Transaction discarded because of previous errors.\r\n",
                ),
                // It has become a replica since: redis-server refuses the whole then.
                Some(queued)
                    if !self.is_primary(place)
                        && queued.iter().any(|args| args[0].eq_ignore_ascii_case(b"set")) =>
                {
                    out.extend_from_slice(
                        b"-EXECABORT Transaction discarded because of: READONLY You can't write against a read only replica.\r\n",
                    );
                }
                Some(queued) => {
                    out.extend_from_slice(format!("*{}\r\n", queued.len()).as_bytes());
                    for args in queued {
                        self.execute(place, &args, out);
                    }
                }
            },
            _ => self.execute(place, &args, out),
        }
    }

    /// Whether a server has a key. All have those that are not of the kind that may be missing.
    fn has(&self, place: usize, key: &[u8]) -> bool {
        let Some(number) = key.strip_prefix(b"m:") else { return true };
        let sum: usize = number.iter().map(|byte| usize::from(*byte)).sum();
        (sum + place).is_multiple_of(3) || self.brought.borrow().contains(&(place, key.to_vec()))
    }

    /// Whether whoever asks for a key must be given its value.
    pub fn is_found(&self, key: &[u8]) -> bool {
        let count = self.servers.borrow().len();
        self.asks_all && !self.is_rough() && (0..count).any(|place| self.has(place, key))
    }

    fn is_primary(&self, place: usize) -> bool {
        self.groups.as_ref().is_none_or(|groups| groups.is_primary(place))
    }

    fn execute(&self, place: usize, args: &[Vec<u8>], out: &mut Vec<u8>) {
        match &args[0].to_ascii_lowercase()[..] {
            b"get" | b"dump" if !self.has(place, &args[1]) => out.extend_from_slice(b"$-1\r\n"),
            b"pttl" => {
                let answer = if self.has(place, &args[1]) { ":-1\r\n" } else { ":-2\r\n" };
                out.extend_from_slice(answer.as_bytes());
            }
            b"restore" if self.has(place, &args[1]) => {
                out.extend_from_slice(b"-BUSYKEY Target key name already exists.\r\n");
            }
            b"restore" => {
                assert_eq!(args[2], b"0");
                assert_eq!(args[3], wire::value_of(&args[1]), "another key's value comes home");
                self.brought.borrow_mut().insert((place, args[1].clone()));
                out.extend_from_slice(b"+OK\r\n");
            }
            b"get" | b"dump" => out.bulk(&wire::value_of(&args[1])),
            b"mget" => {
                out.extend_from_slice(format!("*{}\r\n", args.len() - 1).as_bytes());
                args[1..].iter().for_each(|key| out.bulk(&wire::value_of(key)));
            }
            b"exists" => out.extend_from_slice(format!(":{}\r\n", args.len() - 1).as_bytes()),
            b"set" => {
                let id = args[2].split(|byte| *byte == b' ').next().unwrap_or_default();
                let id = std::str::from_utf8(id).expect("text").parse().expect("a number");
                *self.runs.borrow_mut().entry(id).or_default() += 1;
                if let Some(groups) = &self.groups {
                    groups.ran(place, id, self.asked.borrow()[id as usize - 1]);
                }
                out.extend_from_slice(b"+OK\r\n");
            }
            b"blpop" => out.extend_from_slice(b"*-1\r\n"),
            other => panic!("a server was sent {:?}", String::from_utf8_lossy(other)),
        }
    }
}

/// Where the server of this place is.
pub fn address(place: usize) -> ServerAddress {
    ServerAddress::Tcp { host: "127.0.0.1".to_owned(), port: PORT + place as u16 }
}

/// The life of a connection at its server.
async fn serve(world: Rc<World>, place: usize, stream: Rc<MemoryStream>) {
    let mut session = Session::default();
    loop {
        match wire::read(&stream).await {
            Ok(bytes) if !bytes.is_empty() => session.input.extend(bytes),
            _ => break,
        }
        world.rest(place).await;
        let mut out = Vec::new();
        while let Some(args) = wire::take_request(&mut session.input) {
            if args[0].eq_ignore_ascii_case(b"blpop") && session.queued.is_none() {
                if send(&world, &stream, &mut out).await.is_err() {
                    break;
                }
                let seconds =
                    std::str::from_utf8(&args[2]).expect("text").parse().expect("seconds");
                sleep(Duration::from_secs_f64(seconds)).await;
            }
            let before = out.len();
            let asked = world.is_verbose.then(|| wire::show(&args));
            world.answer(place, &mut session, args, &mut out);
            if let Some(asked) = asked {
                let said = String::from_utf8_lossy(&out[before..out.len().min(before + 60)]);
                println!("{:?} server {place}: {asked} -> {said:?}", world.began.elapsed());
            }
            if world.chance(0.1) {
                if send(&world, &stream, &mut out).await.is_err() {
                    break;
                }
                world.rest(place).await;
            }
        }
        if send(&world, &stream, &mut out).await.is_err() {
            break;
        }
    }
    let mut servers = world.servers.borrow_mut();
    servers[place].connections.retain(|other| !Rc::ptr_eq(other, &stream));
}

/// Sends what there is, in pieces.
async fn send(world: &World, stream: &MemoryStream, out: &mut Vec<u8>) -> io::Result<()> {
    let mut at = 0;
    while at < out.len() {
        let piece = if world.chance(0.2) { 1 + world.up_to(40) as usize } else { out.len() };
        let end = out.len().min(at + piece);
        at += poll_fn(|cx| stream.poll_write(cx, &out[at..end])).await?;
        if end < out.len() && world.chance(0.3) {
            sleep(Duration::from_micros(world.up_to(500))).await;
        }
    }
    out.clear();
    Ok(())
}

/// Tells the proxy of the cluster as it is, late.
pub async fn discover(world: Rc<World>, directory: Arc<Directory>) {
    let pool = PoolId::new(0);
    loop {
        let strange = tokio::time::timeout(
            Duration::from_millis(200 + world.up_to(800)),
            directory.pool(pool).strange.notified(),
        );
        // Somebody has noticed something, or it is time to look.
        let _ = strange.await;
        sleep(Duration::from_millis(world.up_to(60))).await;
        directory.pool(pool).take_moved();
        directory.change(pool, world.picture());
    }
}

/// What befalls the servers.
pub async fn befall(world: Rc<World>, directory: Arc<Directory>) {
    loop {
        sleep(Duration::from_millis(5 + world.up_to(120))).await;
        if !world.is_rough() {
            return;
        }
        world.faults.set(world.faults.get() + 1);
        let count = world.servers.borrow().len();
        let place = world.up_to(count as u64 - 1) as usize;
        let for_ms = |most| Duration::from_millis(world.up_to(most));
        match world.up_to(9) {
            0 => {
                world.kill(place);
                let until = for_ms(600);
                let world = Rc::clone(&world);
                tokio::task::spawn_local(async move {
                    sleep(until).await;
                    let loads = Duration::from_millis(world.up_to(300));
                    let server = &mut world.servers.borrow_mut()[place];
                    server.is_up = true;
                    server.loads_until = Instant::now() + loads;
                });
            }
            1 => {
                let until = Instant::now() + for_ms(2500);
                world.servers.borrow_mut()[place].hangs_until = until;
            }
            2 | 3 => {
                let connections = world.servers.borrow()[place].connections.clone();
                if let Some(one) = connections.get(world.up_to(7) as usize) {
                    one.reset();
                }
            }
            4 => {
                // The server ends a connection as one that has been idle for long.
                let connections = world.servers.borrow()[place].connections.clone();
                if let Some(one) = connections.get(world.up_to(3) as usize) {
                    one.shut_down();
                }
            }
            5.. if world.groups.is_some() => super::groups::fail_over(&world, place / 2),
            5.. if world.is_cluster => match world.moving.take() {
                Some((piece, to)) => world.owners.borrow_mut()[piece] = to,
                None => {
                    let piece = world.up_to(u64::from(SLOT_COUNT / PIECE) - 1) as usize;
                    if world.owners.borrow()[piece] != place {
                        world.moving.set(Some((piece, place)));
                    }
                }
            },
            5 | 6 => {
                // A server leaves the ring, and comes back.
                let shard: Arc<str> = format!("127.0.0.1:{}", PORT + place as u16).into();
                let pool = PoolId::new(0);
                if count > 1 && directory.change(pool, [Change::Leave { shard: shard.clone() }]) {
                    sleep(for_ms(100)).await;
                    let primary = Some(address(place));
                    directory.change(pool, [Change::Join { shard, weight: 1, primary }]);
                }
            }
            _ => {
                let shard: Arc<str> = format!("127.0.0.1:{}", PORT + place as u16).into();
                let weight = 1 + world.up_to(3) as u32;
                directory.change(PoolId::new(0), [Change::Reweigh { shard, weight }]);
            }
        }
    }
}
